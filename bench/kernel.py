"""Peer of crux-bench's kernel figures: the entropy of bfloat16 logits rows in PyTorch, eager and compiled, and in NumPy.

usage: kernel.py FILE VOCABULARY THREADS
FILE holds the rows, one after the other. Prints "ready", then answers each line that it reads ("eager", "compiled", "numpy") with
"SECONDS MEAN_ENTROPY" of one pass over all rows. Rows go by 64 at a time, so that what is in between stays small for all three.
"""
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

path, vocabulary, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
bits = np.fromfile(path, dtype=np.uint16).reshape(-1, vocabulary)
rows = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
AT_ONCE = 64


def entropy(logits):
    logprobs = torch.log_softmax(logits.float(), -1)
    return -(logprobs.exp() * logprobs).sum(-1)


compiled_entropy = torch.compile(entropy)


def in_torch(function):
    with torch.no_grad():
        return torch.cat([function(part) for part in rows.split(AT_ONCE)]).double().mean().item()


def numpy_entropy(part):
    logits = (part.astype(np.uint32) << 16).view(np.float32)
    d = logits - logits.max(-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(-1)
    return np.log(s) - (e * d).sum(-1) / s


def in_numpy():
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(numpy_entropy, (bits[i:i + 8] for i in range(0, len(bits), 8)))
        return float(np.concatenate(list(parts)).astype(np.float64).mean())


forms = dict(eager=lambda: in_torch(entropy), compiled=lambda: in_torch(compiled_entropy), numpy=in_numpy)
for form in forms.values():
    form()
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    mean = forms[line.strip()]()
    print(time.perf_counter() - start, mean, flush=True)
