#!/usr/bin/env python3
"""What a dump of a real model says of its own entropies, held against the truth.

    .venv-real/bin/python real/check_evidence.py BIN_DIR CHECKPOINT PROMPTS.jsonl WORK_DIR

crux-rollout samples the same rollouts three times and stores their logits as float32, which is the truth here (in
float64 from there on), bfloat16 and float16. Then
- the expected error that crux-score prints for 16-bit logits lies within 20 % of the measured one (root mean square;
  entropies and log-probabilities),
- every interval made from the best 5, 20 and 50 log-probabilities holds the true entropy, whether they are float32,
  were rounded to bfloat16 or to four decimals, as text dumps have them,
- no stage warns of anything.
"""
import glob, json, math, os, subprocess, sys

import numpy as np
import pyarrow.ipc as ipc
import torch, zstandard
from safetensors.torch import save

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
from shards import rows

BEST = (5, 20, 50)
ROUNDINGS = {
    "float32": lambda logprobs: logprobs.float(),
    "bfloat16": lambda logprobs: logprobs.bfloat16().float(),
    "4 decimals": lambda logprobs: torch.from_numpy(np.round(logprobs.numpy(), 4)).float(),
}
# Of entropies near 0 an interval is as narrow as float32 sums are exact.
SLACK = 1e-5


class Run:
    def __init__(self, bin, work):
        self.bin, self.work, self.failed = bin, work, False

    def crux(self, stage, name, *flags):
        """Runs a stage into WORK/NAME; its summary, with whatever it warned of counted against us."""
        output = os.path.join(self.work, name)
        done = subprocess.run([f"{self.bin}/crux-{stage}", *flags, "--output", output], capture_output=True, text=True)
        if done.returncode: sys.exit(f"FAIL: crux-{stage}: {done.stderr}")
        for line in done.stderr.splitlines():
            if "warning" in line.lower(): self.check(False, f"{name}: {line}")
        return json.loads(done.stdout.splitlines()[-1])

    def check(self, holds, text):
        print("ok  " if holds else "FAIL", text)
        self.failed |= not holds

    def score(self, name, shards):
        """Summary and rows by rollout of a scored dump."""
        self.crux("ingest", name + "/ingest", "--input", shards)
        summary = self.crux("score", name + "/score", "--input", os.path.join(self.work, name, "ingest"))
        found = {}
        for path in sorted(glob.glob(os.path.join(self.work, name, "score", "scores-*.arrow"))):
            for row in ipc.open_file(path).read_all().to_pylist(): found[row["rollout_id"]] = row
        return summary, found


def sampled(values, mask):
    return torch.tensor(values, dtype=torch.float64)[mask]


def root_mean_square(values): return math.sqrt(float((values ** 2).mean()))


def distribution(meta, tensors):
    """What a frame's logits say, in float64: of M sampled tokens entropy, own log-probability and the best ones."""
    if "logits" in tensors:
        logits = tensors["logits"].double()
    else:
        kind = dict(bf16=torch.bfloat16, f16=torch.float16)[meta["logits_dtype"]]
        halves = tensors["logits_high"].int() << 8 | tensors["logits_low"].int()
        logits = halves.to(torch.uint16).view(kind).double()
    mask, logprobs = tensors["loss_mask"].bool(), torch.log_softmax(logits, -1)
    chosen = tensors["token_ids"][mask].long()
    return dict(
        mask=mask, entropy=-(logprobs.exp() * logprobs).sum(-1), logprob=logprobs.gather(1, chosen[:, None])[:, 0],
        best=logprobs.topk(max(BEST), -1), vocabulary=logprobs.shape[-1])


def check_storage(run, truth, type):
    """The printed expected errors against the measured ones, and crux-score's entropies against the stored logits'."""
    summary, scores = run.score(type, os.path.join(run.work, "dump-" + type))
    stored = {meta["rollout_id"]: distribution(meta, tensors) for meta, tensors in dump(run, type)}
    for key in ("entropy", "logprob"):
        errors = torch.cat([stored[id][key] - one[key] for id, one in truth.items()])
        measured, printed = root_mean_square(errors), summary["report"][f"{key}_error_expected"]
        run.check(
            abs(printed / measured - 1) <= 0.2,
            f"{type} logits: {key} off by {measured:.5f} (root mean square of {len(errors)} tokens), "
            f"foretold {printed:.5f}: {printed / measured - 1:+.0%}")
    check_entropies(run, scores, stored, type)


def check_entropies(run, scores, stored, type):
    errors = torch.cat([sampled(scores[id]["entropy"], one["mask"]) - one["entropy"] for id, one in stored.items()])
    worst = errors.abs().max().item()
    run.check(worst < 1e-4, f"{type} logits of {len(stored)} rollouts: entropies within {worst:.1e} of float64")


def dump(run, type): return rows(os.path.join(run.work, "dump-" + type, "*.rollouts.zst"))


def write_best(path, frames, truth, best, rounding):
    """The dump with its best log-probabilities instead of logits."""
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/rollouts-00000.rollouts.zst", "wb") as shard:
        for meta, tensors in frames:
            one = truth[meta["rollout_id"]]
            values, ids = (part[:, :best] for part in one["best"])
            sampled_logprobs = torch.zeros(len(one["mask"]))
            sampled_logprobs[one["mask"]] = rounding(one["logprob"])
            kept = {key: tensors[key] for key in ("token_ids", "loss_mask")}
            kept["rollout_logprobs"] = sampled_logprobs
            kept["topk_token_ids"], kept["topk_logprobs"] = ids.int().contiguous(), rounding(values).contiguous()
            meta = {key: value for key, value in meta.items() if not key.startswith("logits")}
            meta.update(vocab_size=str(one["vocabulary"]), logits_kind="raw")
            shard.write(zstandard.ZstdCompressor(level=1, write_checksum=True).compress(save(kept, metadata=meta)))


def check_intervals(run, frames, truth, best, name):
    folder = f"top{best}-{name.replace(' ', '-')}"
    write_best(os.path.join(run.work, folder, "dump"), frames, truth, best, ROUNDINGS[name])
    _, scores = run.score(folder, os.path.join(run.work, folder, "dump"))
    true = torch.cat([one["entropy"] for one in truth.values()])
    low, high = (
        torch.cat([sampled(scores[id][column], one["mask"]) for id, one in truth.items()])
        for column in ("entropy_low", "entropy_high"))
    missed = int(((true < low - SLACK) | (true > high + SLACK)).sum())
    run.check(
        missed == 0,
        f"best {best}, {name}: {len(true) - missed} of {len(true)} intervals hold the true entropy, "
        f"median width {(high - low).median():.4f} nats")


def main(bin, checkpoint, prompts, work):
    run = Run(bin, work)
    for type in ("f32", "bf16", "f16"):
        run.crux(
            "rollout", "dump-" + type, "--checkpoint", checkpoint, "--prompts", prompts, "--group-size", "6",
            "--max-tokens", "24", "--stop", "\n", "--seed", "7", "--logits", "--logits-type", type)
    frames = list(dump(run, "f32"))
    truth = {meta["rollout_id"]: distribution(meta, tensors) for meta, tensors in frames}
    _, scores = run.score("f32", os.path.join(work, "dump-f32"))
    check_entropies(run, scores, truth, "f32")
    for type in ("bf16", "f16"): check_storage(run, truth, type)
    for best in BEST:
        for name in ROUNDINGS: check_intervals(run, frames, truth, best, name)
    run.crux(
        "plan", "plan", "--input", f"{work}/f16/ingest", "--scores", f"{work}/f16/score",
        "--recipe", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "recipes", "grpo.yaml"))
    sys.exit(run.failed)


if __name__ == "__main__": main(*sys.argv[1:])
