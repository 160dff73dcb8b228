"""A checkpoint that crux-update wrote loads in transformers, and transformers' log-probabilities are those of crux-score.

usage: check_checkpoint.py STEP_DIR INGEST_DIR SCORE_DIR [DTYPE]   (SCORE_DIR made by crux-score --checkpoint STEP_DIR)
DTYPE: the type that transformers must take by itself.
"""
import glob
import sys

import pyarrow.ipc as ipc
import torch

from checkpoints import load
from replay import replayed

step, ingest, score, *wanted = sys.argv[1:]
own = str(load(step).dtype).removeprefix("torch.")
if wanted and [own] != wanted:
    raise SystemExit(f"FAIL transformers loads {step} as {own}, expected {wanted[0]}")
model = load(step, dtype=torch.float32).eval()
worst = 0.0
for name in sorted(glob.glob(ingest + "/rollouts-*.arrow")):
    rows = ipc.open_file(name).read_all().to_pylist()
    marks = ipc.open_file(name.replace(ingest, score).replace("rollouts-", "scores-")).read_all().to_pylist()
    for row, mark in list(zip(rows, marks))[:40]:
        ids = torch.tensor(row["token_ids"])
        *shape, start = row["routed_experts_shape"] or [0]
        routes = torch.tensor(row["routed_experts"]).view(shape) if shape else None
        with torch.no_grad(), replayed(model, routes, start):
            logp = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].double() / row["temperature"], -1)
        theirs = logp.gather(1, ids[1:, None])[:, 0]
        mask = torch.tensor(row["loss_mask"][1:])
        ours = torch.tensor(mark["old_logprobs"][1:], dtype=torch.float64)
        worst = max(worst, (ours - theirs)[mask].abs().max().item())
print(f"{'ok  ' if worst <= 1e-4 else 'FAIL'} log-probabilities of the written checkpoint in transformers: {worst:.3g} (limit 0.0001)")
sys.exit(worst > 1e-4)
