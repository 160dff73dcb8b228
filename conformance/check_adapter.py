"""Loads adapters that crux-update wrote with peft, and holds their log-probabilities against those of the merged checkpoint in crux-score.

    check_adapter.py BASE STEP INGEST RESCORED        (RESCORED: crux-score of INGEST with --checkpoint STEP/merged)
"""
import glob
import sys

import pyarrow.ipc
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, step, ingest, rescored = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), step).eval()
worst = 0.0
for name in sorted(glob.glob(ingest + "/rollouts-*.arrow")):
    rows = pyarrow.ipc.open_file(name).read_all().to_pylist()[:16]
    marks = pyarrow.ipc.open_file(name.replace(ingest + "/rollouts-", rescored + "/scores-")).read_all().to_pylist()
    for row, mark in zip(rows, marks):
        ids = torch.tensor([row["token_ids"]])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0].double() / row["temperature"], -1)
        for t, trained in enumerate(row["loss_mask"]):
            if trained:
                worst = max(worst, abs(logprobs[t - 1, ids[0, t]].item() - mark["old_logprobs"][t]))
limit = 1e-4     # two float32 forward passes
print(f"{'ok  ' if worst <= limit else 'FAIL'} adapters in peft against merged in crux-score: log-probabilities differ by at most {worst:.2g} (limit {limit})")
sys.exit(0 if worst <= limit else 1)
