"""A plan trains anywhere: what crux-update computes of plan.arrow and recipe.resolved.json, in PyTorch.

usage: train_elsewhere.py PLAN_DIR CHECKPOINT [--reference DIR] [--q-network DIR] [--output DIR] [--seed 0]
                          [--dtype float32]

Prints loss and gradient norm of each optimizer step, as crux-update's metrics do, one JSON line each. With --output the
result is saved, a checkpoint or PEFT adapters. What is not computed here is refused by name. Every step of every epoch
runs the whole schedule: warm-up and decay, clipping, decoupled weight decay, the KL term, masks that are made anew from
the policy as it stands (entropy.mask.policy: current), entropy bonuses, critics, Q networks, preference pairs, adapters.

The loss of a step is the sum over tokens of token_weights * l(token), plus coef * kl_weights * KL(token): no group,
reward or entropy is needed any more.
"""
import argparse
import fractions
import hashlib
import json
import math
import os

import numpy as np
import pyarrow.ipc as ipc
import torch
from torch.nn.functional import logsigmoid, softplus

parser = argparse.ArgumentParser()
parser.add_argument("plan")
parser.add_argument("checkpoint")
parser.add_argument("--reference", help="frozen reference, for etpo_policy")
parser.add_argument("--q-network", help="Q network, for etpo_policy with target q_network")
parser.add_argument("--output", help="folder for the trained checkpoint or adapters")
parser.add_argument("--seed", type=int, default=0, help="as crux-update's: adapters and clip_cov draw from it")
parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
options = parser.parse_args()
dtype = getattr(torch, options.dtype)
rows = ipc.open_file(options.plan + "/plan.arrow").read_all().to_pylist()
if any(row.get("routed_experts") is not None for row in rows):
    raise SystemExit(f"{options.plan}/plan.arrow: found routed experts, which transformers' routers don't take: score with "
                     "--ignore-routed-experts and plan again, or use crux-update")
recipe = json.load(open(options.plan + "/recipe.resolved.json"))
objective, kl, mask = recipe["objective"], recipe["kl"], recipe["entropy"]["mask"]
settings, trainable = recipe["optimizer"], recipe["trainable"]
is_current = mask is not None and mask["policy"] == "current"


def refuse(what):
    raise SystemExit(f"{options.plan}/recipe.resolved.json: {what} is not computed here; use crux-update")


def known(value, names, key):
    if value not in names:
        refuse(f"{key}: {value}")
    return value


def column(row, name):
    """A per-token column from the second token on, where predictions begin; None where the plan has none."""
    return None if row.get(name) is None else torch.tensor(row[name][1:], dtype=dtype)


# --- random numbers of crux-update -----------------------------------------------------------------------------------

GOLDEN = 0x9E37_79B9_7F4A_7C15


def splitmix(seed, start, count):
    """Outputs start to start + count - 1 of SplitMix64, as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))


# --- what is trained -------------------------------------------------------------------------------------------------

def load(directory):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)


def load_critic(directory):
    """A critic; a language model becomes one whose value head is 0."""
    from transformers import AutoConfig, AutoModelForTokenClassification
    names = AutoConfig.from_pretrained(directory).architectures or [""]
    model = AutoModelForTokenClassification.from_pretrained(directory, dtype=dtype, num_labels=1)
    if names[0].endswith("ForCausalLM"):
        for parameter in model.score.parameters():
            torch.nn.init.zeros_(parameter)
    return model


def adapt(model):
    """PEFT's adapters, begun as crux-update begins them: A uniform in ±1/√inputs, drawn layer by layer, B zero."""
    from peft import LoraConfig, get_peft_model
    order = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    targets, rank = trainable["targets"], trainable["rank"]
    config = LoraConfig(r=rank, lora_alpha=trainable["alpha"], target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(model, config).to(dtype)
    drawn = 0
    modules = dict(model.named_modules())
    for layer in range(model.config.num_hidden_layers):
        for target in (name for name in order if name in targets):
            place = "self_attn" if target in order[:4] else "mlp"
            a = modules[f"base_model.model.model.layers.{layer}.{place}.{target}"].lora_A["default"].weight
            uniform = (splitmix(options.seed, drawn, a.numel()) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53
            a.data = torch.tensor(np.float32((2 * uniform - 1) / math.sqrt(a.shape[1]))).reshape(a.shape).to(dtype)
            drawn += a.numel()
    return model


known(trainable["type"], ["full", "lora"], "trainable.type")
known(settings["type"], ["adamw"], "optimizer.type")
model = (load_critic if objective["type"] == "value" else load)(options.checkpoint)
if trainable["type"] == "lora":
    model = adapt(model)
model.eval()      # no dropout
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(
    parameters, lr=settings["lr"], betas=settings["betas"], eps=settings["eps"], weight_decay=settings["weight_decay"])


def learning_rate(step):
    """Up in a line over warmup_steps, then, with decay_steps, down in a line to 0. `step` counts from 1."""
    warmup, decay = settings["warmup_steps"], settings["decay_steps"]
    if step < warmup:
        return settings["lr"] * step / warmup
    return settings["lr"] * (1 if decay is None else max(0, (decay - step) / max(1, decay - warmup)))


# --- what the model says ---------------------------------------------------------------------------------------------

def read(row, network=None):
    """Logits of positions 0 to L - 2, each of which predicts the next token, and those tokens."""
    ids = torch.tensor(row["token_ids"])
    return (network or model)(input_ids=ids[None]).logits[0, :-1].to(dtype), ids[1:, None]


def logprobs_of(row):
    """Log-probabilities of tokens 1 to L - 1 at the temperature they were sampled with, and the entropies there."""
    logits, tokens = read(row)
    logp = torch.log_softmax((logits / row["temperature"]).masked_fill(~reachable(row, logits), -math.inf), -1)
    return logp.gather(1, tokens)[:, 0], -(logp.exp() * logp.clamp(min=-1e30)).sum(-1)


def reachable(row, logits):
    """Which tokens could be drawn at each place: all, but where the plan has the sampler's mask."""
    result = torch.ones_like(logits, dtype=torch.bool)
    ids, offsets = row.get("support_token_ids"), row.get("support_offsets")
    if offsets is None:
        return result
    places = [t for t, is_trained in enumerate(row["loss_mask"][1:]) if is_trained]
    for place, start, end in zip(places, offsets, offsets[1:]):
        if end > start:
            result[place] = False
            result[place, ids[start:end]] = True
    return result


def divergences(row):
    """KL(π || π*) of each state, π* ∝ reference · exp(Q / beta), or · exp(advantage / beta) of the sampled token."""
    logits, tokens = read(row)
    with torch.no_grad():
        target = torch.log_softmax(read(row, reference)[0] / row["temperature"], -1)
        if q_network is not None:
            target = target + read(row, q_network)[0] / objective["beta"]
        else:
            bonus = (column(row, "advantages") / objective["beta"]).clamp(-10, 10)
            target = target.scatter_add(1, tokens, bonus[:, None])
        target = torch.log_softmax(target, -1)
    logp = torch.log_softmax(logits / row["temperature"], -1)
    return (logp.exp() * (logp - target)).sum(-1)


def distances(row):
    """How far each state's distribution is from the teacher's."""
    s = torch.log_softmax(read(row)[0] / row["temperature"], -1)
    with torch.no_grad():
        t = torch.log_softmax(read(row, reference)[0] / row["temperature"], -1).clamp(min=-30)
    if objective["support"] != "full":
        chosen = (t if objective["support"] == "teacher" else s).topk(min(objective["top_k"], s.shape[-1]), -1).indices
        s, t = s.gather(-1, chosen), t.gather(-1, chosen)
        if objective["tail"] == "renormalize":
            s, t = torch.log_softmax(s, -1), torch.log_softmax(t, -1)
        elif objective["tail"] == "bucket":
            s, t = (torch.cat([p, torch.log1p(-p.exp().sum(-1, keepdim=True).clamp(max=math.exp(-1e-7)))], -1)
                    for p in (s, t))
    kind, beta = objective["divergence"], objective.get("beta")
    forward, reverse = (t.exp() * (t - s)).sum(-1), (s.exp() * (s - t)).sum(-1)
    if objective["support"] != "full" and objective["tail"] == "drop" and kind == "forward":
        return forward.clamp(min=0)
    if kind == "jsd" and beta not in (0, 1):
        m = torch.logsumexp(torch.stack([s + math.log(1 - beta), t + math.log(beta)]), 0)
        return (beta * t.exp() * (t - m) + (1 - beta) * s.exp() * (s - m)).sum(-1)
    share = {"forward": 1, "reverse": 0, "mixed": objective.get("mix"), "jsd": 1 - (beta or 0)}[kind]
    return share * forward + (1 - share) * reverse


# --- losses of tokens ------------------------------------------------------------------------------------------------

def ratio_of(logprobs, row):
    return (logprobs - column(row, "old_logprobs")).clamp(-20, 20).exp()


def ppo_clip(logprobs, row, marks=None):
    advantage, ratio = column(row, "advantages"), ratio_of(logprobs, row)
    loss = torch.maximum(
        -advantage * ratio, -advantage * ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"]))
    if objective.get("clip_dual"):
        loss = torch.where(advantage < 0, torch.minimum(loss, -advantage * objective["clip_dual"]), loss)
    return loss if marks is None else torch.where(marks, 0, loss)


def gspo(logprobs, row):
    """One ratio for the sequence; its derivative goes through each token's own log-probability."""
    trained = torch.tensor(row["loss_mask"][1:])
    mean = (logprobs - column(row, "old_logprobs"))[trained].mean().clamp(max=10)
    ratio = (mean.detach() + (logprobs - logprobs.detach()) * (mean < 10)).exp()
    advantage = column(row, "advantages")
    return torch.maximum(
        -advantage * ratio, -advantage * ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"]))


def cispo(logprobs, row):
    ratio = ratio_of(logprobs, row).detach().clamp(1 - objective["clip_low"], 1 + objective["clip_high"])
    return -ratio * column(row, "advantages") * logprobs


def log_ratios(logprobs, row):
    return logprobs - column(row, "old_logprobs")


def of_trained(values, row):
    return values[torch.tensor(row["loss_mask"][1:])]


def sapo(logprobs, row):
    advantage = column(row, "advantages")
    tau = torch.where(advantage > 0, objective["tau_pos"], objective["tau_neg"])
    return -advantage * 4 / tau * torch.sigmoid(tau * (ratio_of(logprobs, row) - 1))


def dppo(logprobs, row):
    advantage, d = column(row, "advantages"), log_ratios(logprobs, row)
    now, old = logprobs.detach().exp().clamp(max=1), column(row, "old_logprobs").exp().clamp(max=1)
    up = advantage > 0
    threshold = torch.where(up, objective["high"], objective["low"])
    if objective["divergence"] == "tv":
        kept = torch.where(up, now - old, old - now) <= threshold
    else:
        drawn = -old * d.detach() + (1 - old) * ((1 - old + 1e-8) / (1 - now + 1e-8)).log()
        kept = (drawn <= threshold) | torch.where(up, now <= old, now >= old)
    ratio = ratio_of(logprobs, row)
    cap = objective["cap"] if objective["cap"] is not None else math.inf
    # Also at the cap the derivative is that of the ratio as a fixed weight.
    weight = ratio.detach().clamp(max=cap)
    surrogate = -advantage * weight * (1 + logprobs - logprobs.detach())
    return torch.where(kept, surrogate, 0) + objective["squared"] * d * d


def dro(logprobs, row):
    return -column(row, "advantages") * logprobs + objective["beta"] / 2 * log_ratios(logprobs, row) ** 2


def ce_gppo(logprobs, row):
    advantage, ratio = column(row, "advantages"), ratio_of(logprobs, row)
    step = 1 + logprobs - logprobs.detach()
    loss = -advantage * ratio
    if objective["clip_dual"]:
        loss = torch.where((advantage < 0) & (ratio > objective["clip_dual"]), -advantage * objective["clip_dual"], loss)
    low = objective["beta_low"] * (1 - objective["clip_low"])
    high = objective["beta_high"] * (1 + objective["clip_high"])
    loss = torch.where((advantage < 0) & (ratio < 1 - objective["clip_low"]), -low * advantage * step, loss)
    return torch.where((advantage > 0) & (ratio > 1 + objective["clip_high"]), -high * advantage * step, loss)


def topr(logprobs, row):
    taper = ratio_of(logprobs, row).detach()
    if objective["level"] == "sequence_sum":
        taper = of_trained(log_ratios(logprobs, row).detach().clamp(-20, 20), row).sum().clamp(-20, 20).exp()
    return -column(row, "advantages") * (1 if row["reward"] > 0 else taper.clamp(max=1)) * logprobs


def vespo(logprobs, row):
    advantage = column(row, "advantages")
    total = of_trained(log_ratios(logprobs, row).detach().clamp(-20, 20), row).sum().clamp(math.log(1e-8), 20)
    k = torch.where(advantage < 0, objective["k_neg"], objective["k_pos"])
    lam = torch.where(advantage < 0, objective["lambda_neg"], objective["lambda_pos"])
    return -advantage * (lam + k * total - lam * total.exp()).exp() * logprobs


def gmpo(logprobs, row):
    """The row's loss, as tokens that each have it: weights of a row's tokens are alike but where a mask has made them 0."""
    advantage, weights = column(row, "advantages"), column(row, "token_weights")
    trained = torch.tensor(row["loss_mask"][1:])
    kept = trained & (weights != 0)
    if not kept.any():
        return torch.zeros_like(logprobs)
    d = log_ratios(logprobs, row)
    clipped = torch.where(advantage > 0, d.clamp(max=objective["clip_high"]), d.clamp(min=-objective["clip_low"]))
    loss = -advantage[kept].mean() * clipped[kept].mean().exp()
    row_weight = weights[kept].log().mean().exp() * trained.sum()
    # Summed up with their weights the tokens give the row's loss once.
    return torch.where(kept, loss * row_weight / weights[kept].sum(), 0)


def fipo(logprobs, row):
    ratio, advantage = ratio_of(logprobs, row).detach(), column(row, "advantages")
    d = log_ratios(logprobs, row).detach().clamp(-20, 20)
    trained = torch.tensor(row["loss_mask"][1:])
    counted = trained if objective["delta"] is None else trained & (ratio <= objective["delta"])
    decay, future, weights = 2 ** (-1 / objective["half_life"]), 0.0, torch.ones_like(ratio)
    for t in reversed(range(len(ratio))):
        future = future * decay + (float(d[t]) if counted[t] else 0.0)
        guarded = advantage[t] < 0 and ratio[t] > objective["guarded_ratio"]
        low, high = (objective["guarded_low"], 1) if guarded else (objective["weight_low"], objective["weight_high"])
        weights[t] = min(max(math.exp(future), low), high)
    return weights * ppo_clip(logprobs, row)


def nll(logprobs, row):
    return -column(row, "advantages") * logprobs


def size(difference):
    """|difference|, without a derivative as far as two float32 passes differ, where its sign would be chance."""
    return torch.where(difference.abs() > 1e-4, difference.abs(), difference.abs().detach())


def kl_cov(logprobs, row, marks):
    price = size(logprobs - column(row, "old_logprobs")) * objective["coef"]
    return -column(row, "advantages") * ratio_of(logprobs, row) + torch.where(marks, price, 0)


def clipped_value(values, row):
    old, returns = column(row, "values"), column(row, "returns")
    loss = (values - returns) ** 2
    if objective["clip"] is not None and old is not None:
        bounded = torch.minimum(torch.maximum(values, old - objective["clip"]), old + objective["clip"])
        loss = torch.maximum(loss, (bounded - returns) ** 2)
    return loss / 2


def huber(q, row):
    return torch.nn.functional.huber_loss(q, column(row, "returns"), reduction="none", delta=objective["huber"])


# What the model is asked for each token, and the loss of it.
TOKEN_LOSSES = {
    "ppo_clip": ppo_clip, "gspo": gspo, "cispo": cispo, "nll": nll, "sapo": sapo, "dppo": dppo, "dro": dro,
    "ce_gppo": ce_gppo, "topr": topr, "vespo": vespo, "gmpo": gmpo, "fipo": fipo, "clip_cov": ppo_clip, "kl_cov": kl_cov,
    "value": clipped_value, "etpo_q": huber, "etpo_policy": lambda divergence, row: divergence,
    "distill": lambda divergence, row: divergence,
}
SEQUENCE_LOSSES = ["h_dpo", "prime_ce"]
MARKED = ["clip_cov", "kl_cov"]
kind = known(objective["type"], list(TOKEN_LOSSES) + SEQUENCE_LOSSES, "objective.type")
has_kl = kl.get("coef", 0) != 0 and kl.get("placement") == "loss"
if has_kl and kind in ["value", "etpo_q", "etpo_policy", "distill"]:
    refuse(f"a KL term with objective.type: {kind}, which has no log-probabilities,")
reference = q_network = None
if kind == "etpo_policy":
    if options.reference is None or (objective["target"] == "q_network") != (options.q_network is not None):
        raise SystemExit("objective etpo_policy needs --reference, and with target q_network --q-network")
    reference = load(options.reference).eval()
    q_network = options.q_network and load(options.q_network).eval()


if kind == "distill":
    if options.reference is None or options.q_network is not None:
        raise SystemExit("objective distill needs --reference, its teacher, and no --q-network")
    reference = load(options.reference).eval()


def kl_term(logprobs, row):
    """coef · Σ kl_weights · KL(token), whatever the entropy mask leaves out."""
    against, weights = column(row, "reference_logprobs"), column(row, "kl_weights")
    if not has_kl or against is None or weights is None:
        return 0
    d = logprobs - against
    name = known(kl["estimator"], ["k1", "k2", "k3", "abs", "k1+", "k3+", "abs+"], "kl.estimator")
    minus = (-d).clamp(-20, 20) if kl.get("bounded") else -d
    weighted = kl.get("weighted", "none")
    k3 = torch.expm1(minus) - minus
    k3 = k3.clamp(-10, 10) if kl.get("bounded") and weighted != "ratio" else k3
    value = {"k1": d, "k2": d * d / 2, "k3": k3, "abs": size(d)}[name.rstrip("+")]
    if name.endswith("+"):      # the value of one, the derivative of k2
        value = value.detach() + d * d / 2 - (d * d / 2).detach()
    if weighted == "ratio":
        value = value * ratio_of(logprobs, row)
        value = value.clamp(-10, 10) if kl.get("bounded") and name == "k3" else value
    elif weighted == "score":
        # Where a bound binds there is no derivative.
        is_free = value < 10 if kl.get("bounded") and name == "k3" else torch.ones_like(value, dtype=torch.bool)
        value = torch.where(is_free, value * (logprobs - logprobs.detach()).exp(), value)
    return kl["coef"] * (weights * value).sum()


def taught(logprobs, row):
    """The row where a teacher is held against the policy as it stands: the plan's advantages have log-probabilities of then."""
    teacher = (recipe.get("advantage") or {}).get("teacher") or {}
    if teacher.get("policy") != "current" or row.get("teacher_logprobs") is None:
        return row
    moved = column(row, "advantages") + teacher["coef"] * (column(row, "old_logprobs") - logprobs.detach())
    return {**row, "advantages": [row["advantages"][0]] + moved.nan_to_num(nan=0.0).tolist()}


def is_stale(logprobs, row):
    """Whether the policy has moved away from a rollout of negative advantage."""
    stale, trained = objective.get("drop_stale"), torch.tensor(row["loss_mask"][1:])
    if stale is None or column(row, "advantages")[trained].sum() >= 0:
        return False
    anchor = column(row, "rollout_logprobs" if stale["against"] == "sampler" else "old_logprobs")
    return bool((anchor - logprobs.detach())[trained].nan_to_num(nan=0.0).mean() > stale["threshold"])


def likelihood(logprobs, row):
    """The likelihood of right answers beside the objective."""
    auxiliary = objective.get("auxiliary")
    if auxiliary is None:
        return 0
    known(auxiliary["type"], ["positive_nll", "environment_nll"], "objective.auxiliary.type")
    # The environment's coefficients are in the plan's weights.
    return -auxiliary.get("coef", 1) * (column(row, "auxiliary_weights") * logprobs).sum()


class EntropyBonus:
    """What is taken off the loss for the policy's entropy, and how its coefficient moves."""

    def __init__(self, settings):
        self.settings, self.adaptive = settings, settings.get("adaptive")
        self.coef, self.previous = settings["coef"], math.inf
        if settings["tokens"] == "kept" and is_current:
            refuse("entropy.bonus.tokens: kept with a mask of the current policy")
        self.begin()

    def begin(self):
        self.entropy, self.tokens = 0.0, 0
        resting = self.adaptive is not None and self.previous > self.adaptive["target"]
        self.applied = 0.0 if resting else self.coef

    def term(self, entropies, row):
        weights = column(row, "entropy_weights")
        acted = torch.tensor(row["loss_mask"][1:]) & (weights != 0)
        self.entropy, self.tokens = self.entropy + float(entropies[acted].sum()), self.tokens + int(acted.sum())
        return -self.applied * (weights[acted] * entropies[acted]).sum()

    def end(self):
        if self.adaptive is not None and self.tokens:
            self.previous = self.entropy / self.tokens
            if self.previous <= self.adaptive["target"]:
                self.coef = min(self.coef + self.adaptive["step"], self.adaptive["max"])
            else:
                self.coef = max(self.coef - self.adaptive["step"], self.adaptive["min"])
        self.begin()


bonus = EntropyBonus(recipe["entropy"]["bonus"]) if recipe["entropy"].get("bonus") else None
if bonus and kind in SEQUENCE_LOSSES:
    refuse(f"entropy.bonus with objective.type: {kind}")


def token_loss(row, scale, marks):
    """The loss of one row; `scale`: factors on its planned weights, where a mask was made anew."""
    trained = torch.tensor(row["loss_mask"][1:])
    if kind == "value":
        outputs = read(row)[0][:, 0]
    elif kind == "etpo_q":
        logits, tokens = read(row)
        outputs = logits.gather(1, tokens)[:, 0]
    elif kind == "etpo_policy":
        outputs = divergences(row)
    elif kind == "distill":
        outputs = distances(row)
        if objective.get("importance_cap") is not None:
            with torch.no_grad():
                outputs_weight = ratio_of(logprobs_of(row)[0], row).clamp(max=objective["importance_cap"])
            outputs = outputs * outputs_weight
    else:
        outputs, entropies = logprobs_of(row)
        row = taught(outputs, row)
    weights = column(row, "token_weights") * (1 if scale is None else scale)
    losses = TOKEN_LOSSES[kind](outputs, row, *([marks] if kind in MARKED else []))
    # Selected, not multiplied: outside the mask anything may stand.
    policy = 0 if is_stale(outputs, row) else (weights[trained] * losses[trained]).sum()
    entropy = bonus.term(entropies, row) if bonus else 0
    return policy + kl_term(outputs, row) + likelihood(outputs, row) + entropy


def sequence_sums(row):
    """Σ lp and Σ lp_ref over the trained tokens, the sequence's weight, and its KL term."""
    trained, logprobs = torch.tensor(row["loss_mask"][1:]), logprobs_of(row)[0]
    weights = column(row, "token_weights")[trained]
    against = column(row, "reference_logprobs")[trained].sum()
    return logprobs[trained].sum(), against, weights[0] if len(weights) else 0, kl_term(logprobs, row)


def preference_loss(chosen, rejected):
    (lp_w, ref_w, weight_w, kl_w), (lp_l, ref_l, weight_l, kl_l) = sequence_sums(chosen), sequence_sums(rejected)
    margin = objective["alpha"] * objective["beta"] * (lp_w - lp_l) - objective["beta"] * (ref_w - ref_l)
    return -(weight_w + weight_l) * logsigmoid(margin) + kl_w + kl_l


def outcome_loss(row):
    logprobs, against, weight, kl_term_of_row = sequence_sums(row)
    score = objective["beta"] * (logprobs - against)
    return weight * (softplus(score) - score * row["reward"]) + kl_term_of_row


# --- what is decided over a whole step from the policy as it stands --------------------------------------------------

def covariance_marks(step, logprobs, seed):
    """Tokens that clip_cov leaves out and kl_cov lets pay, by (A - mean A)(lp - mean lp) of the step's tokens."""
    trained = [torch.tensor(row["loss_mask"][1:]) for row in step]
    flat = torch.cat([lp[m] for lp, m in zip(logprobs, trained)]).double()
    advantage = torch.cat([column(row, "advantages")[m] for row, m in zip(step, trained)]).double()
    old = torch.cat([column(row, "old_logprobs")[m] for row, m in zip(step, trained)]).double()
    covariance = ((advantage - advantage.mean()) * (flat - flat.mean())).numpy()
    count = max(1, int(objective["ratio"] * len(covariance)))
    if kind == "kl_cov":
        chosen = np.argsort(-covariance, kind="stable")[:count]
    else:
        ratio = (flat - old).clamp(-20, 20).exp()
        clipped = -advantage * ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"]) > -advantage * ratio
        bounds = (covariance > objective["covariance_low"]) & (covariance < objective["covariance_high"])
        eligible = np.flatnonzero(bounds & ~clipped.numpy())
        # Those whose hash with the seed is smallest: output i of SplitMix64, the seed itself counted as its first.
        keys = splitmix(seed - GOLDEN & 0xFFFF_FFFF_FFFF_FFFF, 0, len(covariance))[eligible]
        chosen = eligible[np.argsort(keys, kind="stable")[:count]]
    marks, places = torch.zeros(len(covariance), dtype=torch.bool), np.cumsum([0] + [int(m.sum()) for m in trained])
    marks[torch.tensor(chosen, dtype=torch.long)] = True
    result = []
    for m, start, end in zip(trained, places, places[1:]):
        row = torch.zeros(len(m), dtype=torch.bool)
        row[m] = marks[start:end]
        result.append(row)
    return result


def keep(entropies):
    """The mask over one scope's tokens: the share with the highest or the lowest entropy."""
    if mask.get("random") is not None:
        refuse("entropy.mask.random with policy: current, which draws as crux-update draws,")
    is_top = mask.get("bottom") is None
    # The decimal as it is written: 0.2 means a fifth, not the nearest binary number.
    share = fractions.Fraction(str(mask["top"] if is_top else mask["bottom"]))
    values, n = entropies.double().numpy(), len(entropies)
    if mask.get("ties") == "exact_count":
        chosen = np.argsort(-values if is_top else values, kind="stable")[: max(1, math.ceil(share * n))]
        kept = np.zeros(n, dtype=bool)
        kept[chosen] = True
        return kept
    place, ordered = (1 - share if is_top else share) * (n - 1), np.sort(values)
    low = math.floor(place)
    cut = ordered[low] + (ordered[min(low + 1, n - 1)] - ordered[low]) * float(place - low)
    return values >= cut if is_top else values <= cut


def current_scales(step, entropies):
    """Factors on planned weights: 0 where the new mask leaves a token out, else the old denominator over the new."""
    trained = [torch.tensor(row["loss_mask"][1:]) for row in step]
    groups = {"step": lambda i: 0, "group": lambda i: step[i]["group_id"], "rollout": lambda i: i}
    scope = groups[known(mask["scope"], groups, "entropy.mask.scope with policy: current")]
    kept = [torch.zeros(len(m), dtype=torch.bool) for m in trained]
    for name in dict.fromkeys(scope(i) for i in range(len(step))):
        members = [i for i in range(len(step)) if scope(i) == name and trained[i].any()]
        if members:
            marks = torch.tensor(keep(torch.cat([entropies[i][trained[i]] for i in members])))
            for i, part in zip(members, marks.split([int(trained[i].sum()) for i in members])):
                kept[i][trained[i]] = part
    scale = 1.0
    if recipe["aggregation"]["type"] == "token_mean" and mask.get("normalizer") == "kept":
        scale = sum(int(m.sum()) for m in trained) / max(1, sum(int(k.sum()) for k in kept))
    return [k.to(dtype) * scale for k in kept]


def of_states(step, values):
    """One number for all tokens behind the same prefix: computed apart they differ in last bits, and a mask would break
    ties by chance."""
    known_states, result = {}, []
    for row, numbers in zip(step, values):
        numbers, prefix = numbers.clone(), hashlib.sha256(str(row["temperature"]).encode())
        for t, is_trained in enumerate(row["loss_mask"][1:]):
            prefix.update(row["token_ids"][t].to_bytes(4, "little"))
            if is_trained:
                numbers[t] = known_states.setdefault(prefix.digest(), numbers[t])
        result.append(numbers)
    return result


def preview(step, seed):
    if not is_current and kind not in MARKED:
        return [None] * len(step), [None] * len(step)
    with torch.no_grad():
        answers = [logprobs_of(row) for row in step]
    entropies = of_states(step, [entropy for _, entropy in answers])
    scales = current_scales(step, entropies) if is_current else [None] * len(step)
    marks = covariance_marks(step, [lp for lp, _ in answers], seed) if kind in MARKED else [None] * len(step)
    return scales, marks


# --- steps -----------------------------------------------------------------------------------------------------------

def losses(step, done):
    """The step's losses, row by row or pair by pair, so that one graph at a time is in memory."""
    if kind == "h_dpo":
        yield from (preference_loss(chosen, rejected) for chosen, rejected in zip(step[::2], step[1::2]))
    elif kind == "prime_ce":
        yield from (outcome_loss(row) for row in step)
    else:
        scales, marks = preview(step, options.seed + done)
        yield from (token_loss(*inputs) for inputs in zip(step, scales, marks))


done = 0
for epoch in range(recipe["schedule"]["epochs"]):
    for number in sorted({row["step"] for row in rows}):
        optimizer.zero_grad()
        total = 0.0
        for loss in losses([row for row in rows if row["step"] == number], done):
            total += float(loss)
            if getattr(loss, "requires_grad", False):
                loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"] or math.inf).item()
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise SystemExit(f"step {done + 1}: loss {total}, gradient norm {norm}")
        if bonus:
            bonus.end()
        done += 1
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done)
        optimizer.step()
        print(json.dumps({"step": done, "loss": total, "grad_norm": norm}), flush=True)

if options.output:
    os.makedirs(options.output, exist_ok=True)
    model.save_pretrained(options.output)
