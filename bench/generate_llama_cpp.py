"""Peer of crux-bench's generation figures: llama.cpp (llama-cpp-python) on a model of random weights.

usage: generate_llama_cpp.py CONFIGURATION f32|bf16

Needs llama-cpp-python, gguf and numpy. Reads "BATCH PROMPT NEW THREADS" lines, answers each with generated tokens per
second. All sequences go through the model together, a token each, as llama.cpp's own server has them; tokens are drawn
from the whole distribution. Weights are BF16 or F32, keys and values F16, which is llama.cpp's default.
"""
import ctypes
import json
import os
import sys
import tempfile
import time

import gguf
import llama_cpp as llama
import numpy as np

shape, precision = json.loads(sys.argv[1]), sys.argv[2]
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16}


def bf16(values):
    """The upper halves of float32 numbers, as the bytes that GGUF holds."""
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def write_model(path):
    """A GGUF file of the shape, without a tokenizer."""
    name = {"qwen2": "qwen2", "llama": "llama"}[shape["model_type"]]
    hidden, heads, shared = shape["hidden_size"], shape["num_attention_heads"], shape["num_key_value_heads"]
    width, inner, vocabulary = hidden // heads, shape["intermediate_size"], shape["vocab_size"]
    writer, random = gguf.GGUFWriter(path, name), np.random.default_rng(0)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(4096)
    writer.add_embedding_length(hidden)
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type({"f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16}[precision])

    def matrix(key, rows, columns):
        values = random.uniform(-0.02, 0.02, (rows, columns)).astype(np.float32)
        writer.add_tensor(key, bf16(values) if precision == "bf16" else values, raw_dtype=TYPES[precision])

    def vector(key, count, value):
        writer.add_tensor(key, np.full(count, value, np.float32))

    matrix("token_embd.weight", vocabulary, hidden)
    vector("output_norm.weight", hidden, 1)
    for layer in range(shape["num_hidden_layers"]):
        block = f"blk.{layer}."
        for part, rows in (("q", heads * width), ("k", shared * width), ("v", shared * width)):
            matrix(block + f"attn_{part}.weight", rows, hidden)
            if name == "qwen2":
                vector(block + f"attn_{part}.bias", rows, 0)
        matrix(block + "attn_output.weight", hidden, heads * width)
        matrix(block + "ffn_gate.weight", inner, hidden)
        matrix(block + "ffn_up.weight", inner, hidden)
        matrix(block + "ffn_down.weight", hidden, inner)
        vector(block + "attn_norm.weight", hidden, 1)
        vector(block + "ffn_norm.weight", hidden, 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def context(model, sequences, tokens, threads):
    parameters = llama.llama_context_default_params()
    parameters.n_ctx, parameters.n_seq_max = sequences * tokens, sequences
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.kv_unified = True
    return llama.llama_init_from_model(model, parameters)


def fill(batch, entries):
    """`entries`: (token, place, sequence, whether its logits are wanted)."""
    batch.n_tokens = len(entries)
    for i, (token, place, sequence, wanted) in enumerate(entries):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, place, 1, wanted
        batch.seq_id[i][0] = sequence


def decode(made, batch, entries):
    fill(batch, entries)
    if llama.llama_decode(made, batch) != 0:
        sys.exit("llama_decode failed")


def prefill(made, batch, prompts, draw):
    """Every sequence's first new token."""
    entries = [(token, place, sequence, place == len(prompt) - 1)
               for sequence, prompt in enumerate(prompts) for place, token in enumerate(prompt)]
    first = {}
    for start in range(0, len(entries), 512):
        part = entries[start:start + 512]
        decode(made, batch, part)
        first.update({sequence: draw(made, i) for i, (_, _, sequence, wanted) in enumerate(part) if wanted})
    return [first[sequence] for sequence in range(len(prompts))]


def rate(model, sequences, prompt, new, threads):
    made, batch = context(model, sequences, prompt + new, threads), llama.llama_batch_init(512, 0, 1)
    sampler = llama.llama_sampler_init_dist(1)
    random = np.random.default_rng(0)
    prompts = [random.integers(1, shape["vocab_size"], prompt).tolist() for _ in range(sequences)]

    def draw(made, index):
        return llama.llama_sampler_sample(sampler, made, index)

    start = time.perf_counter()
    tokens = prefill(made, batch, prompts, draw)
    for place in range(prompt, prompt + new - 1):
        decode(made, batch, [(token, place, sequence, True) for sequence, token in enumerate(tokens)])
        tokens = [draw(made, sequence) for sequence in range(sequences)]
    seconds = time.perf_counter() - start
    llama.llama_sampler_free(sampler)
    llama.llama_batch_free(batch)
    llama.llama_free(made)
    return sequences * new / seconds


answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what llama.cpp prints is no answer
silent = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(silent, ctypes.c_void_p(0))
with tempfile.TemporaryDirectory() as folder:
    write_model(folder + "/model.gguf")
    llama.llama_backend_init()
    loaded = llama.llama_model_load_from_file((folder + "/model.gguf").encode(), llama.llama_model_default_params())
    if not loaded:
        sys.exit("llama.cpp did not load the model")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        batch, prompt, new, threads = map(int, line.split())
        print(rate(loaded, batch, prompt, new, threads), file=answers, flush=True)
