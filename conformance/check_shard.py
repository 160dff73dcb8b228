"""Entropies of a shard with split logits, as crux-score wrote them, against float64.

usage: check_shard.py SHARD INGEST_DIR SCORE_DIR
"""
import json
import sys

import pyarrow.ipc as ipc
import torch

from shards import rows

shard, ingest, score = sys.argv[1:]
counts = json.load(open(f"{ingest}/manifest.json"))["counts"]
entropies = {row["rollout_id"]: row["entropy"] for row in ipc.open_file(f"{score}/scores-00000.arrow").read_all().to_pylist()}
worst = 0.0
for meta, tensors in rows(shard):
    bits = tensors["logits_high"].to(torch.int32) << 8 | tensors["logits_low"].to(torch.int32)
    kind = dict(bf16=torch.bfloat16, f16=torch.float16)[meta["logits_dtype"]]
    logits = bits.to(torch.uint16).view(kind).double() / float(meta["temperature"])
    logprobs = torch.log_softmax(logits, -1)
    expected = -(logprobs.exp() * logprobs).sum(-1)
    mask = tensors["loss_mask"].bool()
    worst = max(worst, (torch.tensor(entropies[meta["rollout_id"]], dtype=torch.float64)[mask] - expected).abs().max().item())
good = worst < 5e-6 and counts["rejected"] == 0 and counts["rollouts"] == len(entropies)
print(f"{'ok  ' if good else 'FAIL'} {len(entropies)} rollouts written by examples/write_shard.py, entropies within {worst:.1e} of float64 (limit 5e-6), {counts['rejected']} rejected")
sys.exit(not good)
