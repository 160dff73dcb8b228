"""Holds advantages and corrections of crux-plan against verl's and TRL's own functions: a part of check_methods.py."""
import inspect
import math
import re
import types
from collections import defaultdict

import numpy as np
import torch

from verl.trainer.ppo import core_algos, rollout_corr_helper


class Asking:
    """Random batches, their plan by crux-probe, and the comparison, as check_methods.py has them."""

    def __init__(self, probe, batch, compare, plan):
        self.probe, self.batch, self.compare, self.plan = probe, batch, compare, plan

    def advantages(self, recipe, rows=None, **columns):
        answer = self.probe.ask(recipe=recipe, rows=rows)["rows"] if rows else self.plan(self.probe, self.batch, recipe, **columns)
        return self.batch.padded([row["advantages"] for row in answer])

    def weights(self, recipe, **columns):
        return [self.batch.padded([row[name] for row in self.plan(self.probe, self.batch, recipe, **columns)]) for name in ("weights", "klWeights")]


def check_estimators(asking):
    batch = asking.batch
    rewards, mask, index = batch.t(batch.token_rewards), batch.t(batch.mask), np.array(batch.groups)
    alone = np.array([batch.groups.count(group) == 1 for group in batch.groups])
    asking.compare("advantage opo", asking.advantages("preset: verl\nadvantage: opo"), core_algos.compute_opo_outcome_advantage(rewards, mask, index)[0].numpy())
    theirs = core_algos.compute_gpg_outcome_advantage(rewards.clone(), mask, index)[0].numpy()
    asking.compare("advantage gpg", asking.advantages("preset: verl\nadvantage: {type: grpo, normalize: none, scale: nonzero}"), theirs)
    for ours, vectorised in {"grpo": core_algos.compute_grpo_vectorized_outcome_advantage, "rloo": core_algos.compute_rloo_vectorized_outcome_advantage}.items():
        found, theirs = asking.advantages(f"advantage: {ours}"), vectorised(rewards, mask, index)[0].numpy()
        # The vectorised forms differ from the plain ones in a group of one; ours has nothing to compare there.
        asking.compare(f"advantage {ours} vectorised", found[~alone], theirs[~alone])
    check_best_of_group(asking, rewards, mask, index, alone)
    check_remax(asking, mask)
    check_token_baseline(asking, rewards, mask, index)
    check_several_rewards(asking, mask, index, alone)


def check_best_of_group(asking, rewards, mask, index, alone):
    """verl refuses groups of one, so the batch is asked without them."""
    keep = torch.tensor(~alone)
    for std in [True, False]:
        config = {"norm_adv_by_std_in_grpo": std}
        theirs = core_algos.compute_grpo_passk_outcome_advantage(rewards[keep], mask[keep], index[~alone], config=config)[0].numpy()
        found = asking.advantages(f"advantage: {{type: pass_at_k, normalize: {'std' if std else 'none'}}}")
        asking.compare(f"advantage grpo_passk, std {std}", found[~alone], theirs)


def check_remax(asking, mask):
    batch = asking.batch
    greedy = {group: float(np.float32(0.5 + number)) for number, group in enumerate(dict.fromkeys(batch.groups))}
    penalties = batch.entropy * 0.1
    rows = batch.rows(old_logprobs=-penalties, reference_logprobs=penalties * 0)
    baselines = [{"group": group, "reward": reward, "mask": [True], "greedy": True, "columns": {"old_logprobs": [-1.0], "reference_logprobs": [-1.0]}}
                 for group, reward in greedy.items()]
    # k1 = old - reference = -penalty: with coefficient 1 each token gets +penalty.
    found = asking.advantages("advantage: remax\nkl: {estimator: k1, coef: 1, placement: reward}", rows + baselines)
    token_rewards = batch.t(batch.token_rewards + np.float32(penalties) * batch.mask)
    theirs = core_algos.compute_remax_outcome_advantage(token_rewards, torch.tensor([greedy[group] for group in batch.groups], dtype=torch.float64), mask)[0]
    asking.compare("advantage remax", found, theirs.numpy())


def check_token_baseline(asking, rewards, mask, index):
    batch = asking.batch
    sums = np.float32(np.exp(batch.old) ** 2 * 1.1).astype(np.float64) * batch.mask
    for zero in [True, False]:
        recipe = f"preset: verl\nadvantage: {{type: otb, tail: {'zero' if zero else 'own'}}}"
        found = asking.advantages(recipe, old_logprobs=batch.old, sum_p_squared=sums)
        # Without contrast ours is 0 on a zeroed tail too.
        contrast = np.array([len({float(r) for r, g in zip(batch.rewards, batch.groups) if g == group}) > 1 or batch.groups.count(group) == 1 for group in batch.groups])
        for name, function in {"otb": core_algos.compute_optimal_token_baseline_advantage, "tir_otb": core_algos.compute_multi_turn_optimal_token_baseline_advantage}.items():
            theirs = function(rewards, mask, index, batch.t(batch.old), batch.t(sums), handle_zero_tail=zero)[0].numpy()
            asking.compare(f"advantage {name}, zero tail {zero}", found[contrast], theirs[contrast])


def check_several_rewards(asking, mask, index, alone):
    batch = asking.batch
    rng = np.random.default_rng(batch.n + int(batch.lengths.sum()))
    other = np.float32(rng.choice([0, 0.5, 2], batch.n)).astype(np.float64)
    rows = batch.rows()
    for row, value in zip(rows, other):
        row["rewards"] = {"other": float(value)}
    components = "reward: {components: {correct: 1, other: 0.25}}"
    # verl: each reward by its GRPO, the sum whitened over tokens. Its groups of one keep their reward, so they are left out.
    keep, kept = torch.tensor(~alone), [row for row, single in zip(rows, alone) if not single]
    total = 0
    for weight, values in [(1, batch.rewards), (0.25, other)]:
        tokens = np.zeros((batch.n, batch.width))
        tokens[np.arange(batch.n), batch.lengths - 1] = values
        total = total + weight * core_algos.compute_grpo_outcome_advantage(batch.t(tokens)[keep], mask[keep], index[~alone])[0]
    import verl.utils.torch_functional as verl_F
    theirs = (verl_F.masked_whiten(total, mask[keep]) * mask[keep]).numpy()
    found = np.zeros((int((~alone).sum()), batch.width))
    for i, row in enumerate(asking.probe.ask(recipe=f"preset: verl\n{components}\nadvantage: gdpo", rows=kept)["rows"]):
        found[i, : len(row["advantages"])] = row["advantages"]
    asking.compare("advantage gdpo", found, theirs)
    # TRL's normalize_then_sum, groups of one size as its view wants them: the formula of its trainer, by groups.
    sums = np.zeros(batch.n)
    for weight, values in [(1, batch.rewards.astype(np.float64)), (0.25, other)]:
        for group in set(batch.groups):
            members = [i for i, name in enumerate(batch.groups) if name == group]
            deviation = np.std(values[members], ddof=1) if len(members) > 1 else 0
            sums[members] += weight * (values[members] - values[members].mean()) / (deviation + 1e-4)
    trl = (sums - sums.mean()) / (np.std(sums, ddof=1) + 1e-4)
    answer = asking.probe.ask(recipe=f"preset: trl\n{components}\nadvantage: gdpo", rows=rows)["rows"]
    asking.compare("advantage normalize_then_sum", [row["advantages"][0] for row in answer], trl)


def check_corrections(asking):
    batch = asking.batch
    sampler = np.float32(batch.old + batch.entropy * 0.3 * np.sign(np.sin(np.arange(batch.width)))).astype(np.float64) * batch.mask
    columns, ratio = {"old_logprobs": batch.old, "rollout_logprobs": sampler}, batch.t(batch.old - sampler)
    plain = asking.weights("advantage: raw_reward")[0]
    levels = {"token": "token", "sequence": "sequence_sum"}
    for theirs, level in levels.items():
        for threshold, ours in [(2.0, "mode: truncate, high: 2"), (5.0, "mode: truncate, high: 5"), ("0.5_5.0", "mode: mask, low: 0.5, high: 5")]:
            for normalised in [False, True]:
                weights, _ = rollout_corr_helper.compute_rollout_correction_weights(ratio, batch.t(batch.mask), theirs, threshold, normalised)
                recipe = f"preset: verl\nadvantage: raw_reward\ncorrection: {{level: {level}, {ours}, normalize: {'batch' if normalised else 'none'}}}"
                asking.compare(f"verl weights {theirs} {threshold} {normalised}", asking.weights(recipe, **columns)[0], plain * weights.numpy() * batch.mask)
    check_rejections(asking, ratio, columns)
    check_trl_ratios(asking, sampler, columns, plain)


def check_rejections(asking, ratio, columns):
    batch = asking.batch
    levels = {"token": "token", "seq_sum": "sequence_sum", "seq_mean": "sequence_mean", "seq_max": "sequence_max"}
    for option in sorted(rollout_corr_helper.SUPPORTED_ROLLOUT_RS_OPTIONS):
        level, metric = option.rsplit("_", 1)
        for threshold in ["0.7_1.3", "0.5_2.0"] if metric == "k1" else ["0.05", "0.6"]:
            kept, _ = rollout_corr_helper.compute_rollout_rejection_mask(ratio, batch.t(batch.mask), option, threshold)
            bounds = f"high: {threshold}"
            if metric == "k1":     # of the inverse there
                low, high = (float(bound) for bound in threshold.split("_"))
                bounds = f"low: {1 / high!r}, high: {1 / low!r}"
            recipe = f"preset: verl\nadvantage: raw_reward\ncorrection: {{reject: [{{metric: {metric}, level: {levels[level]}, {bounds}}}]}}\nkl: {{coef: 1}}"
            weights, kl = asking.weights(recipe, **columns)
            # Rejected tokens leave the mask that losses are averaged over.
            theirs = kept.numpy() / max(1, kept.sum().item())
            asking.compare(f"verl rejection {option} {threshold}", weights, theirs)
            asking.compare(f"verl rejection {option} {threshold}, KL", kl, theirs)


def trl_modes():
    from trl import GRPOTrainer

    return sorted(set(re.findall(r"'((?:token|sequence)_(?:truncate|mask))'", inspect.getsource(GRPOTrainer))))


def check_trl_ratios(asking, sampler, columns, plain):
    """By the lines of TRL's trainer, which stand in the middle of what samples and can't be called."""
    batch = asking.batch
    difference = (batch.old - sampler) * batch.mask
    for mode in trl_modes():
        level, kind = mode.split("_")
        logs = difference.sum(-1, keepdims=True) if level == "sequence" else difference
        for low, high in [(None, 3.0), (0.5, 2.0)]:
            ratio = np.exp(logs)
            least = low if low is not None else (0 if kind == "truncate" else -math.inf)
            ratio = np.clip(ratio, least, high) if kind == "truncate" else np.where((ratio < least) | (ratio > high), 0, ratio)
            ours = f"level: {'sequence_sum' if level == 'sequence' else 'token'}, mode: {kind}, low: {low or 0}, high: {high}"
            recipe = f"preset: trl\nadvantage: raw_reward\ncorrection: {{{ours}}}"
            asking.compare(f"trl {mode} {low} {high}", asking.weights(recipe, **columns)[0], plain * ratio * batch.mask)


def check_teacher(asking):
    """The sampled token's term, as slime and ms-swift subtract it from finished advantages."""
    batch = asking.batch
    plain = asking.advantages("advantage: grpo")
    for coefficient in [1.0, 0.3]:
        recipe = f"advantage: {{type: grpo, teacher: {{coef: {coefficient}}}}}"
        found = asking.advantages(recipe, old_logprobs=batch.old, teacher_logprobs=batch.reference)
        asking.compare(f"teacher {coefficient}", found, plain - coefficient * (batch.old - batch.reference) * batch.mask)


def run(probe, batch, compare, plan):
    asking = Asking(probe, batch, compare, plan)
    check_estimators(asking)
    check_corrections(asking)
    check_teacher(asking)
