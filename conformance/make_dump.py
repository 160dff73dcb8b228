"""Sample a small dump from any Hugging Face causal LM, without a tokenizer: random prompts, answers right or wrong by chance.

usage: make_dump.py CHECKPOINT OUT_DIR [--groups 5] [--size 4] [--tokens 14] [--dtype bf16|f16|f32] [--temperature 1.0] [--seed 3] [--routes]
--routes: each token takes experts by chance, and the dump says which, in every second rollout behind its first token.
"""
import argparse
import os

import torch
import zstandard
from safetensors.torch import save

from checkpoints import load, vocabulary
from replay import random_routes, replayed

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
parser.add_argument("out")
parser.add_argument("--groups", type=int, default=5)
parser.add_argument("--size", type=int, default=4)
parser.add_argument("--tokens", type=int, default=14)
parser.add_argument("--dtype", default="f32")
parser.add_argument("--temperature", type=float, default=1.0)
parser.add_argument("--seed", type=int, default=3)
parser.add_argument("--routes", action="store_true")
a = parser.parse_args()

torch.manual_seed(a.seed)
model = load(a.checkpoint, dtype=torch.float32).eval()
vocab = vocabulary(model)
generator = torch.Generator().manual_seed(a.seed)
dtype = dict(bf16=torch.bfloat16, f16=torch.float16, f32=torch.float32)[a.dtype]
os.makedirs(a.out, exist_ok=True)
compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
with open(f"{a.out}/rollouts-00000.rollouts.zst", "wb") as shard:
    for group in range(a.groups):
        prompt = torch.randint(1, vocab, (5 + group,)).tolist()
        shared = random_routes(model, len(prompt), generator) if a.routes else None
        for sample in range(a.size):
            ids, logits, logprobs = list(prompt), [], []
            start = sample % 2
            # Recorded of the prompt as its group has it, of the rest by itself.
            own = torch.cat([shared, random_routes(model, a.tokens - sample - 1, generator)])[start:] if a.routes else None
            for _ in range(a.tokens - sample):
                with torch.no_grad(), replayed(model, own, start):
                    z = model(input_ids=torch.tensor([ids])).logits[0, -1]
                logp = torch.log_softmax(z.double() / a.temperature, -1)
                token = torch.multinomial(logp.exp(), 1).item()
                ids.append(token)
                logits.append(z)
                logprobs.append(logp[token].item())
            right = sample == 0 or (sample < a.size - 1 and torch.rand(()) < 0.4)
            tensors = dict(
                token_ids=torch.tensor(ids, dtype=torch.int32),
                loss_mask=torch.tensor([0] * len(prompt) + [1] * len(logits), dtype=torch.uint8),
                rollout_logprobs=torch.tensor([0.0] * len(prompt) + logprobs, dtype=torch.float32),
                logits=torch.stack(logits).to(dtype).contiguous())
            if a.routes:
                tensors["routed_experts"] = own.to(torch.uint8).contiguous()
            meta = dict(
                rollout_id=f"g{group}-{sample}", group_id=f"g{group}", sample_index=str(sample), completion="#### 7" if right else "#### 8",
                reference_answer="7", data_source="openai/gsm8k", finish_reason="length", temperature=str(a.temperature), top_p="1.0", logits_kind="raw")
            if a.routes:
                meta["routed_experts_start"] = str(start)
            shard.write(compressor.compress(save(tensors, metadata=meta)))
