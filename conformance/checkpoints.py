"""Checkpoints as transformers loads them, by the class that config.json names, and their parameters as files name them."""
import transformers
from transformers import AutoConfig


def load(path, **arguments):
    return getattr(transformers, AutoConfig.from_pretrained(path).architectures[0]).from_pretrained(path, **arguments)


def vocabulary(model):
    return model.config.get_text_config().vocab_size


def stored_name(name, model):
    """Of a text model beside others: files still have the names of transformers 4."""
    if not hasattr(model.config, "text_config"):
        return name
    name = name.replace("model.language_model.", "language_model.model.")
    return "language_model." + name if name.startswith("lm_head") else name


def text_parameters(model):
    """Stored name → parameter, without what only images reach."""
    others = ("model.vision_tower.", "model.multi_modal_projector.")
    return {stored_name(n, model): p for n, p in model.named_parameters() if not n.startswith(others)}
