"""Peer of crux-bench's generation figures: transformers' generate on a model of random weights.

usage: generate.py CONFIGURATION f32|bf16

Reads "BATCH PROMPT NEW THREADS" lines, answers each with generated tokens per second; the weights are made once.
"""
import sys
import time

import torch

import sampling_shape

model = sampling_shape.model(sys.argv[1], sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    batch, prompt, new, threads = map(int, line.split())
    torch.set_num_threads(threads)
    ids = torch.randint(1, model.config.vocab_size, (batch, prompt))
    start = time.perf_counter()
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                             do_sample=True, top_k=0, top_p=1.0)
    assert out.shape[1] == prompt + new
    print(batch * new / (time.perf_counter() - start), flush=True)
