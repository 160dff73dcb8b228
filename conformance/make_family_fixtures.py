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
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig,
                          Glm4Config, Glm4ForCausalLM, GptOssConfig, GptOssForCausalLM, GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM, Ministral3Config,
                          Ministral3ForCausalLM, MinistralConfig, MinistralForCausalLM, Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig,
                          MistralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Olmo3Config, Olmo3ForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3_5Config, Qwen3_5ForCausalLM, Qwen3_5ForConditionalGeneration, Qwen3_5TextConfig, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM, SeedOssConfig, SeedOssForCausalLM, SmolLM3Config, SmolLM3ForCausalLM)

from gated_delta_rule import compute_float64_in_float64
from checkpoints import eager_experts, stored_tensors, text_parameters

SIZE = dict(vocab_size=40, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
            bos_token_id=None, eos_token_id=0, pad_token_id=0)


def gemma3_of_transformers_4(config):
    """The keys that a file of transformers 4 has in rope_parameters' and layer_types' place."""
    del config["rope_parameters"], config["layer_types"]
    config |= dict(rope_theta=500000.0, rope_local_base_freq=5000.0, rope_scaling=dict(rope_type="linear", factor=2.0), sliding_window_pattern=2)


def without_rope_parameters(**keys):
    """A file of transformers 4."""
    def change(config):
        del config["rope_parameters"]
        config |= keys
    return change




def default(**more):
    """A new one each time: configurations write into theirs."""
    return dict(rope_type="default", rope_theta=10000.0) | more


SMALL_IMAGES = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)

CASES = {
    "gemma2-tied": (Gemma2ForCausalLM, Gemma2Config(**SIZE | dict(num_hidden_layers=3), num_key_value_heads=2, head_dim=10, sliding_window=5,
        query_pre_attn_scalar=20, attn_logit_softcapping=0.7, final_logit_softcapping=1.5, rope_parameters=default()), torch.bfloat16, None),
    "gemma2-uncapped-sharded": (Gemma2ForCausalLM, Gemma2Config(**SIZE, num_key_value_heads=1, head_dim=8, sliding_window=4, query_pre_attn_scalar=6,
        attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True, tie_word_embeddings=False, rope_parameters=default()),
        torch.float32, "20KB"),
    "gemma3-with-images": (Gemma3ForConditionalGeneration, Gemma3Config(text_config=Gemma3TextConfig(**SIZE, num_key_value_heads=2, head_dim=10,
        sliding_window=5, query_pre_attn_scalar=20, layer_types=["sliding_attention", "full_attention"]), vision_config=SMALL_IMAGES | dict(
        model_type="siglip_vision_model"), mm_tokens_per_image=4, image_token_index=39, boi_token_index=38, eoi_token_index=37), torch.bfloat16, None),
    "glm4-untied": (Glm4ForCausalLM, Glm4Config(**SIZE, num_key_value_heads=2, head_dim=12, tie_word_embeddings=False, attention_bias=True,
        rope_parameters=default(partial_rotary_factor=0.5)), torch.bfloat16, None),
    "glm4-tied-sharded": (Glm4ForCausalLM, Glm4Config(**SIZE, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, attention_bias=False,
        rope_parameters=default()), torch.float32, "9KB", without_rope_parameters(rope_theta=10000.0, partial_rotary_factor=0.5)),
    "gpt-oss-untied": (GptOssForCausalLM, GptOssConfig(**SIZE | dict(num_hidden_layers=3, intermediate_size=10), num_key_value_heads=2, head_dim=10,
        sliding_window=5, num_local_experts=6, num_experts_per_tok=2, swiglu_limit=0.02, tie_word_embeddings=False, router_aux_loss_coef=0.0,
        rope_parameters=dict(rope_type="yarn", rope_theta=150000.0, factor=4.0, truncate=False, original_max_position_embeddings=16)), torch.bfloat16,
        None),
    "granite-tied": (GraniteForCausalLM, GraniteConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=True, embedding_multiplier=3.0,
        attention_multiplier=0.3, residual_multiplier=0.4, logits_scaling=1.7, rope_parameters=default()), torch.bfloat16, None),
    "granite-biased": (GraniteForCausalLM, GraniteConfig(**SIZE, num_key_value_heads=4, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters=default()), torch.float32, None),
    "ministral3-scaled": (Ministral3ForCausalLM, Ministral3Config(**SIZE, num_key_value_heads=2, head_dim=10, tie_word_embeddings=True,
        sliding_window=6, rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=4, beta_fast=32.0,
        beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.3)), torch.float32, None),
    "ministral3-with-images": (Mistral3ForConditionalGeneration, Mistral3Config(text_config=Ministral3Config(**SIZE, num_key_value_heads=1, head_dim=8,
        tie_word_embeddings=False, rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16,
        beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)), vision_config=SMALL_IMAGES | dict(
        model_type="pixtral", head_dim=8), image_token_index=39, tie_word_embeddings=False), torch.bfloat16, None),
    "olmo2-untied": (Olmo2ForCausalLM, Olmo2Config(**SIZE, num_key_value_heads=2, tie_word_embeddings=False, rope_parameters=default()),
        torch.bfloat16, None),
    "olmo2-biased-sharded": (Olmo2ForCausalLM, Olmo2Config(**SIZE, num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True,
        rope_parameters=default()), torch.float32, "9KB"),
    "olmo3-scaled": (Olmo3ForCausalLM, Olmo3Config(**SIZE | dict(num_hidden_layers=3), num_key_value_heads=2, tie_word_embeddings=False, sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=5000.0), full_attention=dict(rope_type="yarn", rope_theta=500000.0, factor=4.0,
            original_max_position_embeddings=16))), torch.bfloat16, None),
    "olmo3-before-5": (Olmo3ForCausalLM, Olmo3Config(**SIZE | dict(num_hidden_layers=4), num_key_value_heads=4, tie_word_embeddings=False,
        sliding_window=4), torch.float32, None, without_rope_parameters(rope_theta=500000.0, rope_scaling=dict(rope_type="linear", factor=2.0))),
    "phi3-untied": (Phi3ForCausalLM, Phi3Config(**SIZE, num_key_value_heads=2, tie_word_embeddings=False, sliding_window=6, rope_parameters=default()),
        torch.bfloat16, None),
    "phi3-long-tied": (Phi3ForCausalLM, Phi3Config(**SIZE | dict(hidden_size=32), num_key_value_heads=4, tie_word_embeddings=True,
        original_max_position_embeddings=14, rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
        short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0], original_max_position_embeddings=14)), torch.float32, "20KB"),
    "qwen3.5-untied": (Qwen3_5ForCausalLM, Qwen3_5TextConfig(**SIZE | dict(num_hidden_layers=4), num_key_value_heads=2, head_dim=8,
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6, linear_value_head_dim=5, tie_word_embeddings=False), torch.bfloat16,
        None),
    "qwen3.5-tied-sharded": (Qwen3_5ForCausalLM, Qwen3_5TextConfig(**SIZE, num_key_value_heads=1, head_dim=10, linear_num_key_heads=3,
        linear_num_value_heads=3, linear_key_head_dim=4, linear_value_head_dim=8, linear_conv_kernel_dim=3, attention_bias=True,
        layer_types=["full_attention", "linear_attention"], tie_word_embeddings=True, rope_parameters=default(partial_rotary_factor=0.4)), torch.float32,
        "9KB"),
    "qwen3.5-with-images": (Qwen3_5ForConditionalGeneration, Qwen3_5Config(text_config=Qwen3_5TextConfig(**SIZE, num_key_value_heads=2, head_dim=8,
        linear_num_key_heads=1, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention",
        "full_attention"], tie_word_embeddings=True).to_dict(), vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=1,
        out_hidden_size=24, num_position_embeddings=4, patch_size=2, temporal_patch_size=1), image_token_id=39, video_token_id=38, vision_start_token_id=37,
        vision_end_token_id=36, tie_word_embeddings=True), torch.bfloat16, None),
    "qwen3-moe-untied": (Qwen3MoeForCausalLM, Qwen3MoeConfig(**SIZE, num_key_value_heads=2, head_dim=10, moe_intermediate_size=10, num_experts=6,
        num_experts_per_tok=2, norm_topk_prob=True, tie_word_embeddings=False, rope_parameters=default()), torch.bfloat16, None),
    "qwen3-moe-partly-sharded": (Qwen3MoeForCausalLM, Qwen3MoeConfig(**SIZE | dict(num_hidden_layers=3), num_key_value_heads=1, head_dim=8,
        moe_intermediate_size=8, num_experts=16, num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1], tie_word_embeddings=True,
        use_sliding_window=True, sliding_window=5, max_window_layers=0, attention_bias=True, rope_parameters=default()), torch.float32, "30KB"),
    "seed-oss-untied": (SeedOssForCausalLM, SeedOssConfig(**SIZE, attention_dropout=0.0, residual_dropout=0.0, num_key_value_heads=2, head_dim=10, tie_word_embeddings=False, rope_parameters=default()),
        torch.bfloat16, None),
    "seed-oss-biased": (SeedOssForCausalLM, SeedOssConfig(**SIZE, attention_dropout=0.0, residual_dropout=0.0, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, attention_bias=False,
        attention_out_bias=True, mlp_bias=True, rope_parameters=default()), torch.float32, None),
    "smollm3-tied": (SmolLM3ForCausalLM, SmolLM3Config(**SIZE | dict(num_hidden_layers=4), num_key_value_heads=2, no_rope_layer_interval=2,
        rope_parameters=default()), torch.bfloat16, None),
    "smollm3-window": (SmolLM3ForCausalLM, SmolLM3Config(**SIZE | dict(num_hidden_layers=3), num_key_value_heads=4, no_rope_layers=[1, 0, 1],
        use_sliding_window=True, sliding_window=5, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, rope_parameters=default()),
        torch.float32, None),
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
        # The whole sequence: its length decides which factors longrope takes.
        z = model(input_ids=ids[None]).logits[0, :-1] / s["temperature"]
        logp = torch.log_softmax(z, -1)
        chosen = logp.gather(1, ids[1:, None])[:, 0]
        (chosen * torch.tensor(s["derivatives"][1:], dtype=torch.float64)).sum().backward()
        s["logprobs"] = [0.0] + chosen.tolist()
        s["entropy"] = [0.0] + (-(logp.exp() * logp).sum(-1)).tolist()
    trained = stored_tensors(model, {n: p.grad for n, p in text_parameters(model).items()})
    gradients = {n: dict(norm=g.norm().item(), projection=(g.flatten() * direction(g.numel())).sum().item()) for n, g in trained.items()}
    return dict(sequences=sequences, gradients=gradients)


def main():
    compute_float64_in_float64()
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
        model = kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", **eager_experts(config)).to(torch.float64).train()
        json.dump(reference(model, getattr(config, "text_config", config).vocab_size), open(f"{path}/reference.json", "w"))
        print(name, sorted(os.listdir(path)))


main()
