"""Make the small checkpoints of fixtures/families and what PyTorch says about them.

usage: make_family_fixtures.py OUT_DIR [CASE…]

For each case: a random tiny checkpoint written by transformers (single or sharded, bf16 or f32, tied or not) and
`reference.json`: token sequences, which positions carry a derivative, the float64 log-probabilities and entropies of
each token, and the L2 norm and a projection of every parameter's gradient for given derivatives of the log-probabilities.
The gradient itself would be as large as the checkpoint; its projection on a fixed pseudo-random direction moves with any
element.
"""
import json
import os
import sys

import torch
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, MinistralConfig, MinistralForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

SIZE = dict(vocab_size=40, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
            bos_token_id=None, eos_token_id=0, pad_token_id=0)


def gemma3_of_transformers_4(config):
    """The keys that a file of transformers 4 has in rope_parameters' and layer_types' place."""
    del config["rope_parameters"], config["layer_types"]
    config |= dict(rope_theta=500000.0, rope_local_base_freq=5000.0, rope_scaling=dict(rope_type="linear", factor=2.0), sliding_window_pattern=2)


CASES = {
    "llama-untied": (LlamaForCausalLM, LlamaConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_parameters=dict(
        rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)), torch.float32, None),
    "llama-biased-sharded": (LlamaForCausalLM, LlamaConfig(**SIZE, num_key_value_heads=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="linear", rope_theta=5000.0, factor=2.0)), torch.bfloat16, "9KB"),
    "qwen2-tied": (Qwen2ForCausalLM, Qwen2Config(**SIZE, num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=dict(
        rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=16)), torch.bfloat16, None),
    "qwen2-untied-sharded": (Qwen2ForCausalLM, Qwen2Config(**SIZE, num_key_value_heads=4, tie_word_embeddings=False, use_sliding_window=True, sliding_window=5,
        max_window_layers=1, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), torch.float32, "20KB"),
    "mistral-untied-window": (MistralForCausalLM, MistralConfig(**SIZE, num_key_value_heads=2, head_dim=10, sliding_window=5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), torch.bfloat16, None),
    "ministral-tied-by-layer": (MinistralForCausalLM, MinistralConfig(**SIZE, num_key_value_heads=1, head_dim=6, sliding_window=4, tie_word_embeddings=True,
        layer_types=["full_attention", "sliding_attention"], rope_parameters=dict(rope_type="default", rope_theta=10000.0)), torch.float32, None),
    "gemma3-tied": (Gemma3ForCausalLM, Gemma3TextConfig(**SIZE | dict(num_hidden_layers=3), num_key_value_heads=2, head_dim=10, sliding_window=5,
        query_pre_attn_scalar=20, layer_types=["sliding_attention", "sliding_attention", "full_attention"], rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=10000.0), full_attention=dict(rope_type="linear", rope_theta=1000000.0, factor=8.0))),
        torch.bfloat16, None),
    "gemma3-capped-sharded": (Gemma3ForCausalLM, Gemma3TextConfig(**SIZE, num_key_value_heads=1, head_dim=8, sliding_window=4, query_pre_attn_scalar=6,
        layer_types=["full_attention", "sliding_attention"], final_logit_softcapping=1.5, attention_bias=True, tie_word_embeddings=False), torch.float32,
        "20KB", gemma3_of_transformers_4),
    "qwen3-untied": (Qwen3ForCausalLM, Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=10, tie_word_embeddings=False, attention_bias=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0)), torch.float16, None),
}


def direction(n):
    """A fixed direction that another program can make without sharing a generator: sin(1.7 i + 0.3)."""
    return torch.sin(1.7 * torch.arange(n, dtype=torch.float64) + 0.3)


def reference(model, vocab):
    gen = torch.Generator().manual_seed(5)
    prompt = torch.randint(0, vocab, (7,), generator=gen).tolist()
    sequences = []
    for length, temperature in ((6, 1.0), (9, 1.0), (4, 0.7)):
        tail = torch.randint(0, vocab, (length,), generator=gen).tolist()
        derivative = [0.0] * 7 + [round(x, 3) for x in torch.randn(length, generator=gen).tolist()]
        tail[1] = 0          # the padding token, whose embedding gets no gradient as an input
        sequences.append(dict(token_ids=prompt + tail, temperature=temperature, derivatives=derivative))
    for s in sequences:
        ids = torch.tensor(s["token_ids"])
        z = model(input_ids=ids[None]).logits[0, :-1] / s["temperature"]
        logp = torch.log_softmax(z, -1)
        chosen = logp.gather(1, ids[1:, None])[:, 0]
        (chosen * torch.tensor(s["derivatives"][1:], dtype=torch.float64)).sum().backward()
        s["logprobs"] = [0.0] + chosen.tolist()
        s["entropy"] = [0.0] + (-(logp.exp() * logp).sum(-1)).tolist()
    gradients = {n: dict(norm=p.grad.norm().item(), projection=(p.grad.flatten() * direction(p.numel())).sum().item()) for n, p in model.named_parameters()}
    return dict(sequences=sequences, gradients=gradients)


def main():
    out, *wanted = sys.argv[1:]
    for name, (kind, config, dtype, shard, *rewrite) in CASES.items():
        if wanted and name not in wanted:
            continue
        torch.manual_seed(11)
        model = kind(config)
        with torch.no_grad():
            for p in model.parameters():          # initial norms of 1 and biases of 0 would hide a missing term
                p.add_(0.1 * torch.randn_like(p))
        model = model.to(dtype)
        path = f"{out}/{name}"
        os.makedirs(path, exist_ok=True)
        model.save_pretrained(path, **({"max_shard_size": shard} if shard else {}))
        for change in rewrite:
            keys = json.load(open(f"{path}/config.json"))
            change(keys)
            json.dump(keys, open(f"{path}/config.json", "w"), indent=2)
        model = kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").to(torch.float64).train()
        json.dump(reference(model, config.vocab_size), open(f"{path}/reference.json", "w"))
        print(name, sorted(os.listdir(path)))


main()
