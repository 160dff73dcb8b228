"""Hold our stage files against reference results (scores.json, plan.json, update.json, exp_avg and model safetensors).

usage: compare_expected.py EXPECTED_DIR CHECKPOINT SCORE_DIR PLAN_DIR UPDATE_DIR
EXPECTED_DIR holds what the float64 reference wrote; scores.json may lie beside it or one folder up.
Tolerances: float32 forward and backward against float64 land near 2e-5 (exp_avg) and 1e-4 (change of the parameters); the limits leave an
order of magnitude for longer runs. Exits 1 if any limit is broken.
"""
import glob
import json
import os
import sys

import pyarrow.ipc as ipc
import torch
from safetensors import safe_open

expected, checkpoint, score, plan, update = sys.argv[1:6]
failures = []


def rows(pattern):
    return [row for path in sorted(glob.glob(pattern)) for row in ipc.open_file(path).read_all().to_pylist()]


def load(path):
    files = sorted(glob.glob(path)) if "*" in path else [path]
    return {k: f.get_tensor(k) for name in files for f in [safe_open(name, "pt")] for k in f.keys()}


def check(what, value, limit):
    ok = value <= limit
    print(f"{'ok  ' if ok else 'FAIL'} {what}: {value:.3g} (limit {limit:g})")
    if not ok:
        failures.append(what)


scores_path = expected + "/scores.json" if os.path.exists(expected + "/scores.json") else os.path.dirname(expected.rstrip("/")) + "/scores.json"
ours = {r["rollout_id"]: r for r in rows(score + "/scores-*.arrow")}
theirs = json.load(open(scores_path))
check("rollouts scored", abs(len(ours) - len(theirs)), 0)
check("entropy", max(abs(a - b) for r in theirs for a, b in zip(r["entropy"], ours[r["rollout_id"]]["entropy"])), 1e-5)
check("verdicts that differ", sum(r["correct"] != ours[r["rollout_id"]]["correct"] for r in theirs), 0)

ours = {r["rollout_id"]: r for r in rows(plan + "/plan*.arrow")}
theirs = json.load(open(expected + "/plan.json"))
check("rollouts planned", abs(len(ours) - len(theirs)), 0)
check("steps that differ", sum(r["step"] != ours[r["rollout_id"]]["step"] for r in theirs), 0)
check("advantages", max(abs(a - b) for r in theirs for a, b in zip(r["advantages"], ours[r["rollout_id"]]["advantages"])), 1e-6)
check("weights", max(abs(a - b) for r in theirs for a, b in zip(r["token_weights"], ours[r["rollout_id"]]["token_weights"])), 1e-6)
check("mask bits that differ", sum(a != b for r in theirs for a, b in zip(r["entropy_mask"], ours[r["rollout_id"]]["entropy_mask"])), 0)

ours = rows(update + "/metrics.arrow")
theirs = json.load(open(expected + "/update.json"))
check("steps done", abs(len(ours) - len(theirs)), 0)
for a, b in zip(ours, theirs):
    limit = max(1e-6, 1e-4 * abs(b["loss"]))
    check(f"step {a['step']} loss", abs(a["loss"] - b["loss"]), limit)
    check(f"step {a['step']} gradient norm, relative", abs(a["grad_norm"] / b["grad_norm"] - 1), 1e-3)
    # Of tokens without weight crux-update asks a few, each of which stands for others: three standard errors of a share.
    share, asked = max(b["clip_fraction"], 1 / b["tokens"]), a["evaluated_tokens"]
    limit = 2e-3 if asked == b["tokens"] else 3 * (share * (1 - share) / asked) ** 0.5
    check(f"step {a['step']} clip fraction", abs(a["clip_fraction_low"] + a["clip_fraction_high"] - b["clip_fraction"]), limit)

last = sorted(glob.glob(update + "/step-*"))[-1]
state, reference = load(last.replace("/step-", "/optimizer-") + "/optimizer.safetensors"), load(expected + "/exp_avg.safetensors")
# Gradients whose terms cancel (a key's bias where nothing is rotated has none) are held to a ten-millionth of the whole: the
# rounding of the terms.
floor = 1e-4 * sum(t.double().norm() ** 2 for t in reference.values()) ** 0.5
check("exp_avg, worst relative L2 of a parameter", max(
    ((state["exp_avg." + n].double() - t.double()).norm() / t.double().norm().clamp_min(floor)).item() for n, t in reference.items()), 1e-3)
before, after = load(checkpoint + "/*.safetensors"), load(expected + "/model.safetensors")
saved = load(last + "/model*.safetensors")
change = difference = 0.0
for name, target in after.items():
    now = state.get("master." + name, saved.get(name)).double()
    change += (target.double() - before[name].double()).norm().item() ** 2
    difference += (now - target.double()).norm().item() ** 2
check("parameters, relative L2 of the total change", (difference / change) ** 0.5, 2e-3)
sys.exit(1 if failures else 0)
