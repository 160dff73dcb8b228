"""A plan trains anywhere: one optimizer step from plan.arrow and recipe.resolved.json in PyTorch and transformers.

usage: train_elsewhere.py PLAN_DIR CHECKPOINT      (prints loss and gradient norm of each step, as crux-update's metrics do)

The loss of a step is the sum over tokens of token_weights * l(token): no group, reward or entropy is needed any more.
"""
import json
import sys

import pyarrow.ipc as ipc
import torch
from transformers import AutoModelForCausalLM

plan, checkpoint = sys.argv[1:3]
rows = ipc.open_file(plan + "/plan.arrow").read_all().to_pylist()
recipe = json.load(open(plan + "/recipe.resolved.json"))
objective, settings = recipe["objective"], recipe["optimizer"]
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
optimizer = torch.optim.AdamW(
    model.parameters(), lr=settings["lr"], betas=settings["betas"], eps=settings["eps"], weight_decay=settings["weight_decay"])


def token_losses(logprobs, row):
    old, advantage = torch.tensor(row["old_logprobs"][1:]), torch.tensor(row["advantages"][1:])
    if objective["type"] == "nll":
        return -advantage * logprobs
    assert objective["type"] == "ppo_clip", "this example knows nll and ppo_clip"
    ratio = (logprobs - old).clamp(-20, 20).exp()
    loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"]))
    if objective["clip_dual"]:
        loss = torch.where(advantage < 0, torch.minimum(loss, -advantage * objective["clip_dual"]), loss)
    return loss


for epoch in range(recipe["schedule"]["epochs"]):
    for step in sorted({row["step"] for row in rows}):
        optimizer.zero_grad()
        total = 0.0
        for row in (r for r in rows if r["step"] == step):
            ids = torch.tensor(row["token_ids"])
            logits = model(input_ids=ids[None]).logits[0, :-1] / row["temperature"]
            logprobs = torch.log_softmax(logits, -1).gather(1, ids[1:, None])[:, 0]
            loss = (torch.tensor(row["token_weights"][1:]) * token_losses(logprobs, row)).sum()
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"] or float("inf")).item()
        optimizer.step()
        print(f"step {step}: loss {total:.6f}, gradient norm {norm:.6f}")
