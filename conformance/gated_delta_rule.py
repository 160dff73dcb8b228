"""The gated delta rule, token by token, in the type of its arguments. transformers' own is float32 whatever the model's type is, so
that gradients of a float64 model would be off in their fourth digit."""
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5


def unit(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def gated_delta_rule(query, key, value, g, beta, initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=False, **_):
    repeats = value.shape[2] // key.shape[2]
    query, key = (x.repeat_interleave(repeats, dim=2) for x in (query, key))
    if use_qk_l2norm_in_kernel:
        query, key = unit(query), unit(key)
    query = query / query.shape[-1] ** 0.5
    state = initial_state if initial_state is not None else value.new_zeros(value.shape[0], value.shape[2], key.shape[-1], value.shape[-1])
    outputs = []
    for t in range(value.shape[1]):
        q, k, v = query[:, t], key[:, t], value[:, t]
        state = state * g[:, t].exp()[..., None, None]
        u = beta[:, t, :, None] * (v - torch.einsum("bhkv,bhk->bhv", state, k))
        state = state + torch.einsum("bhk,bhv->bhkv", k, u)
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q))
    return torch.stack(outputs, dim=1), state if output_final_state else None


def compute_float64_in_float64():
    """Whatever is computed in another type stays transformers' own."""
    def choose(own):
        if getattr(own, "chooses", False):
            return own

        def rule(query, *rest, **more):
            return (gated_delta_rule if query.dtype == torch.float64 else own)(query, *rest, **more)
        rule.chooses = True
        return rule
    for name in ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"):
        setattr(modeling_qwen3_5, name, choose(getattr(modeling_qwen3_5, name)))
