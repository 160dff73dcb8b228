"""Shapes of the models that the sampling peers run, from the JSON that crux-bench gives them: random weights, the same for
all that a peer's own format can hold."""
import json

import torch
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def configuration(text):
    fields = {"max_position_embeddings": 4096, **json.loads(text)}
    return AutoConfig.for_model(
        fields.pop("model_type"), bos_token_id=None, eos_token_id=None, pad_token_id=0, **fields)


def model(text, precision):
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(configuration(text)).to(DTYPES[precision]).eval()
    made.generation_config.eos_token_id = None
    return made
