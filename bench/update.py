"""Peer of crux-bench's update figures: one optimizer step of a plan in PyTorch and transformers, float32 weights, sdpa attention.

usage: update.py PLAN_DIR CHECKPOINT FORM PRECISION THREADS
FORM: batched   sequences of equal length together (nothing is padded)
      single    one sequence at a time
      grouped   PrefixGrouper (arXiv 2506.05433): a group's prompt once; needs one prompt of one group
      with "-kept" behind it the head runs on the tokens whose weight is not zero, else on every completion token.
PRECISION: f32, or bf16: forward passes and the loss under torch.autocast, weights and moments in float32.
Prints "ready", then answers each line that it reads with "SECONDS LOSS GRADIENT_NORM" of one more step: forward, backward, gradient
clipping and AdamW (fused), no data loading.
"""
import json
import sys
import time

import pyarrow.ipc as ipc
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM

plan, checkpoint, form, precision, threads = sys.argv[1:6]
torch.set_num_threads(int(threads))
layout, _, head = form.partition("-")
rows = ipc.open_file(plan + "/plan.arrow").read_all().to_pylist()
recipe = json.load(open(plan + "/recipe.resolved.json"))
objective, settings = recipe["objective"], recipe["optimizer"]
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa").train()
optimizer = torch.optim.AdamW(
    model.parameters(), lr=settings["lr"], betas=settings["betas"], eps=settings["eps"], weight_decay=settings["weight_decay"], fused=True)


def column(batch, name, dtype):
    return torch.tensor([row[name] for row in batch], dtype=dtype)


class Batch:
    """Rows of one length with the tokens that the head is asked about."""

    def __init__(self, batch):
        self.rows, self.ids = batch, column(batch, "token_ids", torch.long)
        weights = column(batch, "token_weights", torch.float32)
        self.asked = (weights != 0 if head == "kept" else column(batch, "loss_mask", torch.bool))[:, 1:]
        self.old, self.advantages = (column(batch, name, torch.float32)[:, 1:][self.asked] for name in ("old_logprobs", "advantages"))
        self.weights, self.targets = weights[:, 1:][self.asked], self.ids[:, 1:][self.asked]

    def hidden(self):
        """[asked, C]: the states that predict the asked tokens."""
        return model.model(input_ids=self.ids, use_cache=False).last_hidden_state[:, :-1][self.asked]

    def loss(self):
        """The clipped surrogate without a dual clip, weighted."""
        logprobs = -cross_entropy(model.lm_head(self.hidden()), self.targets, reduction="none")
        ratio = (logprobs - self.old).exp()
        clipped = ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"])
        return (self.weights * torch.maximum(-self.advantages * ratio, -self.advantages * clipped)).sum()


def grouped_attention(module, q, k, v, mask, *, prefix_grouper, **_):
    """sdpa over prompt and completions apart, as PrefixGrouper hands them over; queries are the last of the keys."""
    def attend(q, k, v, _):
        causal = None if q.shape[2] == k.shape[2] else torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        return scaled_dot_product_attention(q, k, v, attn_mask=causal, is_causal=causal is None, enable_gqa=True).transpose(1, 2)

    return prefix_grouper.forward(attend, q, k, v), None


class GroupedBatch(Batch):
    """One prompt and its completions behind each other."""

    def __init__(self, batch):
        super().__init__(batch)
        from prefix_grouper import PrefixGrouper

        AttentionInterface.register("grouped", grouped_attention)
        model.set_attn_implementation("grouped")
        prompt = batch[0]["loss_mask"].index(True)
        assert all(row["token_ids"][:prompt] == batch[0]["token_ids"][:prompt] for row in batch), "rows of several prompts"
        prefix, suffix = self.ids[:1, :prompt], self.ids[:, prompt:]
        self.grouper = PrefixGrouper.from_ungrouped_masks(torch.ones_like(prefix), torch.ones_like(suffix), len(batch))
        self.grouped = self.grouper.concat_input(prefix, torch.ones_like(prefix), suffix, torch.ones_like(suffix))
        self.positions = torch.cat([torch.arange(prompt), torch.arange(prompt, self.ids.shape[1]).repeat(len(batch))])[None]
        self.asked_suffix = self.asked[:, prompt - 1:]

    def hidden(self):
        states = model.model(input_ids=self.grouped, position_ids=self.positions, use_cache=False, prefix_grouper=self.grouper).last_hidden_state
        _, _, suffix, _ = self.grouper.split_output(states, include_prefix_last=1)
        return suffix[:, :-1][self.asked_suffix]


def batches():
    if layout == "grouped":
        return [GroupedBatch(rows)]
    if layout == "single":
        return [Batch([row]) for row in rows]
    lengths = sorted({len(row["token_ids"]) for row in rows})
    return [Batch([row for row in rows if len(row["token_ids"]) == length]) for length in lengths]


def step(parts):
    optimizer.zero_grad()
    total = 0.0
    for part in parts:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = part.loss()
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"]).item()
    optimizer.step()
    return total, norm


def exact_norm(clipped):
    """The gradient's norm summed in float64 (torch's own, of float32 lanes, is off in its fifth digit here), from what clipping left."""
    pieces = (piece for p in model.parameters() for piece in p.grad.flatten().split(1 << 22))
    return sum(piece.double().square().sum().item() for piece in pieces) ** 0.5 / min(1, settings["max_grad_norm"] / (clipped + 1e-6))


parts = batches()
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    loss, norm = step(parts)
    print(time.perf_counter() - start, loss, exact_norm(norm), flush=True)
