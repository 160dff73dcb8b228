"""Holds advantages, masks, losses and gradients against verl's core_algos and TRL's GRPOTrainer on random batches.

    check_methods.py BIN_DIR

Both sides get the same float32 numbers; verl and TRL compute in float64 here, so what differs is the method, not the rounding.
Limits: 1e-5, absolute for losses of size 1, relative for larger numbers.
"""
import json
import subprocess
import sys
import types

import numpy as np
import torch

for name in ("ray",):     # verl imports it at the top for things that no formula needs
    try:
        __import__(name)
    except ImportError:
        sys.modules[name] = types.ModuleType(name)

import check_credit  # noqa: E402
import check_divergences  # noqa: E402
from verl.trainer.ppo import core_algos  # noqa: E402
from verl.workers.config import ActorConfig  # noqa: E402

LIMIT = 1e-5
failures = 0
checks = 0


class Probe:
    def __init__(self, folder):
        self.process = subprocess.Popen([folder + "/crux-probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SystemExit(answer["error"])
        return answer


def compare(name, ours, theirs):
    global failures, checks
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    worst = float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))) if ours.size else 0.0
    checks += 1
    if not worst <= LIMIT:
        failures += 1
        print(f"FAIL {name}: differs by {worst:.3g}")
    return worst


class Batch:
    """Groups of different sizes, responses of different lengths; right-padded as verl has them, and as lists as we have them."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.sizes = [5, 1, 4, 3, 2]
        self.groups = [f"g{i}" for i, size in enumerate(self.sizes) for _ in range(size)]
        self.n = len(self.groups)
        self.lengths = rng.integers(1, 14, self.n)
        self.width = int(self.lengths.max()) + 2
        self.mask = (np.arange(self.width)[None] < self.lengths[:, None]).astype(np.float64)
        self.rewards = np.float32(rng.choice([0, 1, 0.25, -1], self.n))
        self.rewards[-2:] = 1     # a group without contrast
        def f(low, high):
            return np.float32(rng.uniform(low, high, (self.n, self.width))).astype(np.float64) * self.mask
        self.old, self.reference = f(-3, -0.1), f(-3, -0.1)
        self.current = np.float32(self.old + f(-0.8, 0.8)).astype(np.float64) * self.mask
        self.values, self.returns, self.predicted = f(-1, 1), f(-1, 1), f(-1, 1)
        self.advantages, self.entropy = f(-2, 2), f(0, 3)
        # One number for a row, as groups give them: what some losses of TRL read.
        self.row_advantages = np.float32(rng.uniform(-2, 2, self.n)).astype(np.float64)
        self.sampler = np.float32(self.old + f(-0.3, 0.3)).astype(np.float64) * self.mask

    def t(self, array):
        return torch.tensor(array, dtype=torch.float64)

    @property
    def token_rewards(self):
        rewards = np.zeros((self.n, self.width))
        rewards[np.arange(self.n), self.lengths - 1] = self.rewards
        return rewards

    def cut(self, array, row):
        return [float(x) for x in array[row, : self.lengths[row]]]

    def rows(self, **columns):
        return [
            {"group": self.groups[i], "reward": float(self.rewards[i]), "mask": [True] * int(self.lengths[i]), "entropy": self.cut(self.entropy, i),
             "columns": {name: self.cut(array, i) for name, array in columns.items()}}
            for i in range(self.n)
        ]

    def padded(self, lists):
        out = np.zeros((self.n, self.width))
        for i, row in enumerate(lists):
            out[i, : len(row)] = row
        return out


def plan(probe, batch, recipe, **columns):
    return probe.ask(recipe=recipe, rows=batch.rows(**columns))["rows"]


def check_advantages(probe, batch):
    rewards, mask, index = batch.t(batch.token_rewards), batch.t(batch.mask), np.array(batch.groups)
    cases = {
        "grpo": ("preset: verl\nadvantage: grpo", lambda: core_algos.compute_grpo_outcome_advantage(rewards, mask, index)),
        "dr_grpo": ("preset: verl\nadvantage: {type: grpo, normalize: none}", lambda: core_algos.compute_grpo_outcome_advantage(rewards, mask, index, norm_adv_by_std_in_grpo=False)),
        "rloo": ("preset: verl\nadvantage: rloo", lambda: core_algos.compute_rloo_outcome_advantage(rewards, mask, index)),
        "reinforce_pp_baseline": ("preset: verl\nadvantage: reinforce_pp_baseline", lambda: core_algos.compute_reinforce_plus_plus_baseline_outcome_advantage(rewards, mask, index)),
        "reinforce_pp": ("advantage: {type: reinforce_pp, gamma: 0.97}",
                         lambda: core_algos.compute_reinforce_plus_plus_outcome_advantage(rewards, mask, config=types.SimpleNamespace(gamma=0.97))),
    }
    for name, (recipe, theirs) in cases.items():
        ours = batch.padded([row["advantages"] for row in plan(probe, batch, recipe)])
        compare(f"advantage {name}", ours, theirs()[0].numpy())
    for gamma, lam in [(1, 1), (1, 0.95), (0.9, 0.8)]:
        rows = plan(probe, batch, f"advantage: {{type: gae, gamma: {gamma}, lambda: {lam}}}", values=batch.values)
        advantages, returns = core_algos.compute_gae_advantage_return(rewards, batch.t(batch.values), mask, torch.tensor(gamma), torch.tensor(lam))
        compare(f"gae {gamma} {lam}", batch.padded([row["advantages"] for row in rows]), (advantages * mask).numpy())     # verl leaves padding as it falls
        compare(f"gae returns {gamma} {lam}", batch.padded([row["returns"] for row in rows]), (returns * mask).numpy())
    for estimator in ["k1", "k2", "k3", "abs"]:     # in the rewards, as ray_trainer.apply_kl_penalty
        kl = core_algos.kl_penalty(batch.t(batch.old), batch.t(batch.reference), estimator) * mask
        rows = plan(probe, batch, f"advantage: gae\nkl: {{estimator: {estimator}, coef: 0.3, placement: reward}}", values=batch.values, old_logprobs=batch.old, reference_logprobs=batch.reference)
        theirs = core_algos.compute_gae_advantage_return(rewards - 0.3 * kl, batch.t(batch.values), mask, torch.tensor(1.0), torch.tensor(1.0))[0]
        compare(f"{estimator} in the reward", batch.padded([row["advantages"] for row in rows]), (theirs * mask).numpy())


AGGREGATIONS = {
    "token_mean": "token-mean", "sequence_mean_token_mean": "seq-mean-token-mean", "sequence_mean_token_sum": "seq-mean-token-sum",
    "constant": "seq-mean-token-sum-norm",
}


def weights(probe, batch, aggregation, more=""):
    text = f"{{type: constant, length: {batch.width}}}" if aggregation == "constant" else aggregation
    rows = plan(probe, batch, f"advantage: raw_reward\naggregation: {text}\n{more}")
    return batch.padded([row["weights"] for row in rows]), batch.padded([row["klWeights"] for row in rows])


def units(batch, token_weights, kl_weights=None, outputs=None, advantages=None):
    outputs = batch.current if outputs is None else outputs
    advantages = batch.advantages if advantages is None else advantages
    return [[{
        "outputs": batch.cut(outputs, i), "old": batch.cut(batch.old, i), "advantages": batch.cut(advantages, i), "weights": batch.cut(token_weights, i),
        "mask": [True] * int(batch.lengths[i]), "reference": batch.cut(batch.reference, i), "klWeights": batch.cut(token_weights if kl_weights is None else kl_weights, i),
        "returns": batch.cut(batch.returns, i), "values": batch.cut(batch.values, i), "sampler": batch.cut(batch.sampler, i),
        "reward": float(batch.rewards[i]),
    }] for i in range(batch.n)]


def check_loss(probe, batch, name, recipe, token_weights, theirs, kl_weights=None, outputs=None, advantages=None, value=None):
    """`theirs` maps the trained outputs to a loss; its gradient comes from autograd. `value`: of another form with the same
    gradient, which ours is."""
    answer = probe.ask(recipe=recipe, units=units(batch, token_weights, kl_weights, outputs, advantages))
    leaf = batch.t(batch.current if outputs is None else outputs).requires_grad_(True)
    loss = theirs(leaf)
    loss.backward()
    compare(f"loss {name}", answer["loss"], loss.item() if value is None else value(leaf.detach()).item())
    compare(f"gradient {name}", batch.padded([unit[0] for unit in answer["gradients"]]), leaf.grad.numpy() * batch.mask)


def actor(**options):
    policy_loss = {key: options.pop(key) for key in list(options) if key.startswith(("clip_cov", "kl_cov", "ppo_kl", "dro_"))}
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **options)
    for key, value in policy_loss.items():
        object.__setattr__(config.policy_loss, key, value)
    return config


def check_losses(probe, batch):
    mask, advantages, old = batch.t(batch.mask), batch.t(batch.advantages), batch.t(batch.old)

    def verl(loss_name, mode, **options):
        function = core_algos.get_policy_loss_fn(loss_name)
        return lambda current: function(old, current, advantages, mask, loss_agg_mode=mode, config=actor(**options))[0]

    for ours, mode in AGGREGATIONS.items():
        w, _ = weights(probe, batch, ours)
        for low, high, dual in [(0.2, 0.2, 3.0), (0.2, 0.28, 10.0), (0.1, 0.3, 1.5)]:
            check_loss(probe, batch, f"ppo_clip {low} {high} {dual} {ours}", f"objective: {{type: ppo_clip, clip_low: {low}, clip_high: {high}, clip_dual: {dual}}}", w,
                       verl("vanilla", mode, clip_ratio=0.2, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=dual))
        check_loss(probe, batch, f"preset verl {ours}", "preset: verl", w, verl("vanilla", mode, clip_ratio=0.2))
        check_loss(probe, batch, f"cispo {ours}", "preset: verl\nobjective: cispo", w, verl("cispo", mode, clip_ratio=0.2))
        # Every eligible token, so that chance has no part.
        check_loss(probe, batch, f"clip_cov {ours}", "objective: {type: clip_cov, ratio: 1, covariance_low: 0.2, covariance_high: 5}", w,
                   verl("clip_cov", mode, clip_ratio=0.2, clip_cov_ratio=1.0, clip_cov_lb=0.2, clip_cov_ub=5.0))
        check_loss(probe, batch, f"kl_cov {ours}", "objective: {type: kl_cov, ratio: 0.1, coef: 0.7}", w, verl("kl_cov", mode, clip_ratio=0.2, kl_cov_ratio=0.1, ppo_kl_coef=0.7))
        check_loss(probe, batch, f"value {ours}", "advantage: gae\nobjective: value", w,
                   lambda v, mode=mode: core_algos.compute_value_loss(v, batch.t(batch.returns), batch.t(batch.values), mask, 0.5, mode)[0], outputs=batch.predicted)
        for estimator in ["k1", "k2", "k3", "abs", "k1+", "k3+"]:
            def penalised(current, mode=mode, estimator=estimator):
                kl = core_algos.kl_penalty(current, batch.t(batch.reference), estimator)
                return verl("vanilla", mode, clip_ratio=0.2)(current) + 0.3 * core_algos.agg_loss(kl, mask, mode)
            check_loss(probe, batch, f"kl {estimator} {ours}", f"preset: verl\nkl: {{estimator: '{estimator}', coef: 0.3}}", w, penalised)
    w, _ = weights(probe, batch, "sequence_mean_token_mean")
    check_loss(probe, batch, "gspo", "objective: {type: gspo, clip_low: 0.05, clip_high: 0.08}", w,
               verl("gspo", "seq-mean-token-mean", clip_ratio=0.2, clip_ratio_low=0.05, clip_ratio_high=0.08))


def check_newer_losses(probe, batch):
    mask, advantages, old = batch.t(batch.mask), batch.t(batch.advantages), batch.t(batch.old)

    def verl(loss_name, mode, **options):
        function = core_algos.get_policy_loss_fn(loss_name)
        return lambda current: function(old, current, advantages, mask, loss_agg_mode=mode, config=actor(**options))[0]

    def surrogate(current, kept, cap, w):
        """verl's value has lp where ours has 1: the ratio stands still in both, and gives one gradient."""
        ratio = (current - old).clamp(-20, 20).exp().clamp(max=cap)
        return -(batch.t(w) * kept * advantages * ratio).sum()

    def kept(current, divergence, low, high):
        now, before = current.exp(), old.exp()
        if divergence == "tv":
            return torch.where(advantages > 0, now - before <= high, now - before >= -low).double()
        b = before * (old - current) + (1 - before) * ((1 - before + 1e-8) / (1 - now + 1e-8)).log()
        return torch.where(advantages > 0, (b <= high) | (now <= before), (b <= low) | (now >= before)).double()

    below = np.minimum(batch.current, -0.01) * batch.mask     # probabilities stay below 1
    for ours, mode in AGGREGATIONS.items():
        w, _ = weights(probe, batch, ours)
        for divergence, low, high, cap in [("tv", 0.05, 0.1, 1.5), ("kl", 0.02, 0.03, 3.0)]:
            check_loss(probe, batch, f"dppo {divergence} {ours}", f"objective: {{type: dppo, divergence: {divergence}, low: {low}, high: {high}, cap: {cap}}}", w,
                       verl(f"dppo_{divergence}", mode, clip_ratio=0.2, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=cap), outputs=below,
                       value=lambda current, d=divergence, l=low, h=high, c=cap, w=w: surrogate(current, kept(current, d, l, h), c, w))
        check_loss(probe, batch, f"dro {ours}", "objective: {type: dro, beta: 0.3}", w, verl("dro", mode, clip_ratio=0.2, dro_beta=0.3))
        check_loss(probe, batch, f"gpg {ours}", "objective: nll", w, verl("gpg", mode, clip_ratio=0.2))
    w, _ = weights(probe, batch, "sequence_mean_token_mean")
    for pos, neg in [(1.0, 1.05), (0.5, 2.0)]:
        check_loss(probe, batch, f"sapo {pos} {neg}", f"objective: {{type: sapo, tau_pos: {pos}, tau_neg: {neg}}}", w,
                   verl("sapo", "seq-mean-token-mean", clip_ratio=0.2, tau_pos=pos, tau_neg=neg))
    check_loss(probe, batch, "gmpo, verl", "preset: verl\nobjective: gmpo", w, verl("geo_mean", "token-mean", clip_ratio=0.2))
    check_loss(probe, batch, "gmpo, verl, wide", "objective: {type: gmpo, clip_low: 0.4, clip_high: 0.5}", w,
               verl("geo_mean", "token-mean", clip_ratio=0.2, clip_ratio_low=0.4, clip_ratio_high=0.5))
    check_formulas(probe, batch)


def check_formulas(probe, batch):
    """What neither has: prime-rl's loss, ROLL's TOPR, ms-swift's FIPO, CE-GPPO's README, NeMo-RL's KL, in autograd."""
    old, advantages, w = batch.t(batch.old), batch.t(batch.advantages), weights(probe, batch, "token_mean")[0]
    lower = batch.t(np.minimum(batch.current, -0.01))

    def mean(losses):
        return (batch.t(w) * losses).sum()

    def prime(current):
        ratio, moved = (current - old).exp(), (current.exp() - old.exp()).detach()
        keep = torch.where(advantages > 0, moved <= 0.2, moved >= -0.2)
        return mean(-1.0 * keep * advantages * ratio + 1e-3 * (current - old) ** 2)

    def topr(current):
        taper = torch.where(batch.t(batch.rewards)[:, None] > 0, torch.ones(()).double(), (current - old).exp().detach().clamp(max=1))
        return mean(-advantages * taper * current)

    def fipo(current):
        d = ((current - old) * batch.t(batch.mask)).detach()
        distance = torch.arange(batch.width)[None] - torch.arange(batch.width)[:, None]
        decay = torch.where(distance >= 0, 2.0 ** (-distance.double() / 32), 0)
        factor = (d @ decay.T).exp()
        guarded = (advantages < 0) & (d.exp() > 2)
        factor = torch.where(guarded, factor.clamp(0.8, 1), factor.clamp(1, 1.2))
        ratio = (current - old).exp()
        return mean(factor * torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.28)))

    def ce_gppo(current):
        ratio = (current - old).exp()
        low, high = 0.75 * 0.8 / ratio.detach() * ratio, 1.28 / ratio.detach() * ratio
        ratio = torch.where((advantages < 0) & (ratio < 0.8), low, torch.where((advantages > 0) & (ratio > 1.28), high, ratio))
        return mean(torch.where(advantages < 0, torch.minimum(-advantages * ratio, -advantages * 2.0), -advantages * ratio))

    check_loss(probe, batch, "prime-rl", "objective: {type: dppo, cap: .inf, squared: 1.0e-3}", w, prime, outputs=lower.numpy() * batch.mask)
    check_loss(probe, batch, "topr", "objective: topr", w, topr)
    check_loss(probe, batch, "fipo", "objective: {type: fipo, clip_high: 0.28, guarded_ratio: 2}", w, fipo)
    check_loss(probe, batch, "ce_gppo", "objective: {type: ce_gppo, clip_dual: 2}", w, ce_gppo)
    for name, power in [("k1", 1), ("k2", 2), ("k3", 3)]:
        def nemo(current):
            d = current - batch.t(batch.reference)
            k = {1: d, 2: d * d / 2, 3: torch.expm1(-d) + d}[power]
            return mean(0.3 * k * (current - current.detach()).exp())
        bounds = ", bounded: false" if name == "k3" else ""
        check_loss(probe, batch, f"kl by its score {name}", f"objective: nll\nkl: {{estimator: {name}, coef: 0.3, weighted: score{bounds}}}", w, nemo,
                   advantages=np.zeros_like(batch.advantages))


def check_trl(probe, batch):
    from trl import GRPOTrainer

    accelerator = types.SimpleNamespace(
        pad_across_processes=lambda x, **_: x, gather=lambda x: x, num_processes=1, reduce=lambda x, **_: x, sync_gradients=True, gather_for_metrics=lambda x: x)
    mask, entropy = batch.t(batch.mask), batch.t(batch.entropy)
    for share in [0.1, 0.2, 0.5, 1.0]:
        theirs = GRPOTrainer.get_high_entropy_mask(types.SimpleNamespace(accelerator=accelerator), entropy, mask, 1 - share)
        rows = plan(probe, batch, f"advantage: raw_reward\nentropy: {{mask: {{top: {share}}}}}")
        compare(f"trl mask {share}", batch.padded([row["mask"] for row in rows]), theirs.double().numpy())

    def loss(current, loss_type, share, beta, level="token", unbiased=False, threshold=None, advantages=None, more={}):
        from collections import defaultdict
        trainer = types.SimpleNamespace(
            accelerator=accelerator, top_entropy_quantile=share, aux_loss_enabled=False, off_policy_mask_threshold=threshold, importance_sampling_level=level, beta=beta,
            args=types.SimpleNamespace(use_bias_correction_kl=unbiased, delta=None, steps_per_generation=1, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05,
                                       vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0),
            get_off_policy_mask=GRPOTrainer.get_off_policy_mask, get_gamma_weights=GRPOTrainer.get_gamma_weights, loss_type=loss_type, epsilon_low=0.2, epsilon_high=0.2,
            use_vllm=False, vllm_importance_sampling_correction=False, model=types.SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
            max_completion_length=batch.width, _entropy_bonus_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)),
            _get_per_token_logps_and_entropies=lambda *_, **__: (current, entropy.detach(), None))
        trainer.get_high_entropy_mask = lambda *a: GRPOTrainer.get_high_entropy_mask(trainer, *a)
        ids = torch.zeros(batch.n, batch.width, dtype=torch.long)
        return GRPOTrainer._compute_loss(trainer, None, {
            "prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": mask, "advantages": batch.t(batch.advantages if advantages is None else advantages),
            "old_per_token_logps": batch.t(batch.old), "ref_per_token_logps": batch.t(batch.reference), "num_items_in_batch": mask.sum(), **more})

    for ours, theirs in {"token_mean": "dapo", "sequence_mean_token_mean": "grpo", "constant": "dr_grpo"}.items():
        for share in [1.0, 0.2]:
            more = "" if share == 1 else f"preset: trl\nentropy: {{mask: {{top: {share}}}}}"
            w, kl = weights(probe, batch, ours, more)
            for beta in [0.0, 0.04]:
                check_loss(probe, batch, f"trl {theirs} {share} {beta}", f"preset: trl\nkl: {{coef: {beta}, weighted: none}}", w,
                           lambda current, t=theirs, s=share, b=beta: loss(current, t, s, b), kl_weights=kl)

    # Its losses of later versions, and the KL that it weighs by the ratio. One advantage for a row, as its trainer gives them.
    rows = np.repeat(batch.row_advantages[:, None], batch.width, 1) * batch.mask
    for ours, theirs, recipe, level in [
        ("sequence_mean_token_mean", "sapo", "objective: sapo", "token"), ("token_mean", "vespo", "objective: vespo", "token"),
        ("sequence_mean_token_sum", "luspo", "objective: {type: gspo, clip_low: 0.2, clip_high: 0.2}", "sequence"),
    ]:
        w, kl = weights(probe, batch, ours)
        for beta in [0.0, 0.04]:
            # TRL weighs by the sequence's ratio where its loss does; ours is the token's.
            unbiased = beta > 0 and level == "token"
            check_loss(probe, batch, f"trl {theirs} {beta}", f"preset: trl\n{recipe}\naggregation: {ours}\nkl: {{coef: {beta}, weighted: {'ratio' if unbiased else 'none'}}}", w,
                       lambda current, t=theirs, b=beta, l=level, u=unbiased: loss(current, t, 1.0, b, level=l, unbiased=u, advantages=batch.row_advantages),
                       kl_weights=kl, advantages=rows)
    w, kl = weights(probe, batch, "token_mean")
    for threshold in [0.01, 0.1]:
        for against, sampler in [("trainer", {}), ("sampler", {"sampling_per_token_logps": batch.t(batch.sampler)})]:
            check_loss(probe, batch, f"trl off-policy mask {threshold} {against}",
                       f"preset: trl\nobjective: {{type: ppo_clip, drop_stale: {{threshold: {threshold}, against: {against}}}}}\nkl: {{coef: 0.04}}", w,
                       lambda current, t=threshold, m=sampler: loss(current, "dapo", 1.0, 0.04, unbiased=True, threshold=t, advantages=batch.row_advantages, more=m),
                       kl_weights=kl, advantages=rows)
    check_trl_gmpo(probe, batch, accelerator, rows)

    # Scaling by the whole batch, scale_rewards="batch": with Bessel's deviation and 1e-4.
    rows = plan(probe, batch, "advantage: {type: grpo, normalize: batch, epsilon: 1e-4}")
    rewards, groups = torch.tensor(batch.rewards, dtype=torch.float64), np.array(batch.groups)
    means = torch.tensor([rewards[torch.tensor(groups == g)].mean() for g in batch.groups])
    theirs = (rewards - means) / (rewards.std() + 1e-4)
    theirs[torch.tensor([batch.groups.count(g) == 1 for g in batch.groups])] = 0
    compare("trl batch scaling", [row["advantages"][0] for row in rows], theirs.numpy())


def check_trl_gmpo(probe, batch, accelerator, rows):
    from collections import defaultdict

    from trl.experimental.gmpo import GMPOTrainer
    mask, ids = batch.t(batch.mask), torch.zeros(batch.n, batch.width, dtype=torch.long)

    def loss(current):
        trainer = types.SimpleNamespace(
            accelerator=accelerator, top_entropy_quantile=1.0, epsilon_low=0.4, epsilon_high=0.4, beta=0.0, model=types.SimpleNamespace(training=True),
            current_gradient_accumulation_steps=1, _metrics=defaultdict(lambda: defaultdict(list)),
            _get_per_token_logps_and_entropies=lambda *_, **__: (current, batch.t(batch.entropy), None))
        return GMPOTrainer._compute_loss(trainer, None, {
            "prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": mask, "advantages": batch.t(batch.row_advantages),
            "old_per_token_logps": batch.t(batch.old)})

    w, _ = weights(probe, batch, "sequence_mean_token_mean")
    check_loss(probe, batch, "gmpo, trl", "objective: gmpo", w, loss, advantages=rows)


def check_preferences(probe, batch):
    """H-DPO in autograd, alpha 1 beside TRL's sigmoid loss in words: -logsigmoid(beta ((LPw - LPl) - (LRw - LRl)))."""
    for alpha in [1.0, 0.9, 1.2]:
        pairs = [(0, 1), (2, 5), (6, 3)]
        one = [[units(batch, np.full((batch.n, batch.width), 1 / 6))[i][0] for i in pair] for pair in pairs]
        answer = probe.ask(recipe=f"objective: {{type: h_dpo, alpha: {alpha}, beta: 0.1}}", units=one)
        leaf = batch.t(batch.current).requires_grad_(True)
        policy, reference = (leaf * batch.t(batch.mask)).sum(-1), batch.t(batch.reference * batch.mask).sum(-1)
        loss = 0
        for w, l in pairs:
            loss = loss - torch.nn.functional.logsigmoid(alpha * 0.1 * (policy[w] - policy[l]) - 0.1 * (reference[w] - reference[l])) / len(pairs)
        loss.backward()
        compare(f"h_dpo {alpha}", answer["loss"], loss.item())
        for pair, gradients in zip(pairs, answer["gradients"]):
            for i, gradient in zip(pair, gradients):
                compare(f"h_dpo gradient {alpha}", gradient, leaf.grad[i, : batch.lengths[i]].numpy())


def main():
    probe = Probe(sys.argv[1])
    for seed in range(8):
        batch = Batch(seed)
        check_advantages(probe, batch)
        check_losses(probe, batch)
        check_newer_losses(probe, batch)
        check_trl(probe, batch)
        check_preferences(probe, batch)
        check_divergences.run(seed, compare)
        check_credit.run(probe, batch, compare, plan)
    print(f"methods: {checks} comparisons with verl and TRL, {failures} beyond {LIMIT}")
    sys.exit(1 if failures else 0)


main()
