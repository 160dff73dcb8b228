"""Checkpoints as transformers loads them, by the class that config.json names, and their parameters as files name them."""
import transformers
from transformers import AutoConfig


def eager_experts(config):
    """transformers' grouped products of experts know no float64."""
    return dict(experts_implementation="eager") if config.model_type in ("qwen3_moe", "gpt_oss") else {}


def load(path, **arguments):
    config = AutoConfig.from_pretrained(path)
    if config.model_type.startswith("qwen3_5"):
        from gated_delta_rule import compute_float64_in_float64
        compute_float64_in_float64()
    return getattr(transformers, config.architectures[0]).from_pretrained(path, **arguments, **eager_experts(config))


def vocabulary(model):
    return model.config.get_text_config().vocab_size


def stored_name(name, model):
    """Of a text model beside others: files still have the names of transformers 4, where there were any."""
    if not hasattr(model.config, "text_config") or model.config.model_type == "qwen3_5":
        return name
    name = name.replace("model.language_model.", "language_model.model.")
    return "language_model." + name if name.startswith("lm_head") else name


def text_parameters(model):
    """Stored name → parameter, without what only images reach."""
    others = ("model.vision_tower.", "model.multi_modal_projector.", "model.visual.")
    return {stored_name(n, model): p for n, p in model.named_parameters() if not n.startswith(others)}


def stored_tensors(model, tensors):
    """Tensors by transformers' names → by the names that files have, where experts lie apart."""
    stored = {}
    for name, tensor in tensors.items():
        if model.config.model_type != "qwen3_moe" or ".mlp.experts." not in name:
            stored[name] = tensor
            continue
        place = name.rsplit(".", 1)[0]
        for number, expert in enumerate(tensor):
            if name.endswith("gate_up_proj"):
                gate, up = expert.chunk(2)
                stored[f"{place}.{number}.gate_proj.weight"], stored[f"{place}.{number}.up_proj.weight"] = gate, up
            else:
                stored[f"{place}.{number}.down_proj.weight"] = expert
    return stored
