#!/usr/bin/env python3
"""Samples rollouts and writes them as a shard with full-vocabulary logits, the two bytes of each logit apart.

    python examples/write_shard.py --engine transformers --model policy/ --prompts prompts.jsonl --output dump/rollouts-00000.rollouts.zst
    python examples/write_shard.py --engine vllm         --model policy/ --prompts prompts.jsonl --output dump/rollouts-00000.rollouts.zst
    crux-ingest --input dump --output run/ingest

Needs torch, safetensors, zstandard and the engine. Prompts are JSON lines: group_id, prompt, and what a reward needs (reference_answer,
data_source). `write` below is all that a producer of its own has to take over: one zstd frame for each rollout, appended to the file, so
a crash costs the rollout that was being written.

Why apart: sign, exponent and first mantissa bit of neighbouring logits repeat, the low bytes are noise. zstd shrinks the former well and
copies the latter, where mixed bytes keep it busy for less gain.
"""
import argparse
import json
import sys

import torch
import zstandard
from safetensors.torch import save


def halves(logits):
    """High and low bytes [M, V] of bfloat16 or float16 logits [M, V]."""
    pairs = logits.contiguous().view(torch.uint8).unflatten(-1, (-1, 2))        # little-endian: the low byte first
    return pairs[..., 1].contiguous(), pairs[..., 0].contiguous()


def narrowed(logits, dtype, rollout_id):
    """Logits in 16 bits: in bfloat16 where float16 can't hold them, and then it is said."""
    if dtype == torch.float16 and (logits.abs()[logits.isfinite()] > torch.finfo(dtype).max).any():
        print(f"{rollout_id}: logits beyond 65504, stored in bfloat16", file=sys.stderr)
        dtype = torch.bfloat16
    return logits.to(dtype)


def write(shard, compressor, prompt, completion, logits, logprobs, metadata):
    """Token ids of prompt and completion, logits [M, V] and log-probabilities [M] that produced the M tokens of the completion."""
    pad, logits = [0] * len(prompt), logits.cpu()
    high, low = halves(logits)
    tensors = dict(
        token_ids=torch.tensor(prompt + completion, dtype=torch.int32),
        loss_mask=torch.tensor(pad + [1] * len(completion), dtype=torch.uint8),
        rollout_logprobs=torch.tensor(pad + list(logprobs), dtype=torch.float32),
        logits_high=high, logits_low=low)
    kind = {torch.bfloat16: "bf16", torch.float16: "f16"}[logits.dtype]
    shard.write(compressor.compress(save(tensors, metadata=dict(metadata, logits_kind="raw", logits_dtype=kind))))


def prompt_ids(tokenizer, text):
    """No second beginning-of-text where a rendered chat prompt brings its own."""
    begins = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return tokenizer(text, add_special_tokens=not begins).input_ids


def with_transformers(options, prompts):
    """One rollout after the other: (prompt, completion, logits, logprobs, text, whether it stopped by itself)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto").eval()
    torch.manual_seed(options.seed)
    for row in prompts:
        prompt = torch.tensor([prompt_ids(tokenizer, row["prompt"])])
        with torch.no_grad():
            out = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=options.temperature, top_p=1.0, top_k=0,
                num_return_sequences=options.group_size, max_new_tokens=options.max_tokens, return_dict_in_generate=True, output_logits=True)
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        for index, sequence in enumerate(out.sequences.tolist()):
            completion = sequence[prompt.shape[1]:]
            # What follows the first end of sequence is padding.
            stop = next((i for i, token in enumerate(completion) if token in ends), None)
            completion = completion if stop is None else completion[:stop + 1]
            logits = torch.stack([step[index] for step in out.logits[:len(completion)]])
            chosen = torch.log_softmax(logits.float() / options.temperature, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
            yield row, index, prompt[0].tolist(), completion, logits, chosen.tolist(), tokenizer.decode(completion, skip_special_tokens=True), stop is not None


def with_vllm(options, prompts):
    """The same. Every logit of the vocabulary comes as an object of its own: for small vocabularies, or short completions."""
    from vllm import LLM, SamplingParams
    engine = LLM(options.model, max_logprobs=-1, logprobs_mode="raw_logits", seed=options.seed)
    sampling = SamplingParams(n=options.group_size, temperature=options.temperature, max_tokens=options.max_tokens, logprobs=-1)
    ids = [dict(prompt_token_ids=prompt_ids(engine.get_tokenizer(), row["prompt"])) for row in prompts]
    for row, request in zip(prompts, engine.generate(ids, sampling)):
        for output in request.outputs:
            completion, steps = list(output.token_ids), output.logprobs
            logits = torch.full((len(steps), max(max(step) for step in steps) + 1), -torch.inf)
            for position, step in enumerate(steps):
                logits[position, list(step)] = torch.tensor([entry.logprob for entry in step.values()])    # with raw_logits a logit
            chosen = torch.log_softmax(logits / options.temperature, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
            yield row, output.index, list(request.prompt_token_ids), completion, logits, chosen.tolist(), output.text, output.finish_reason == "stop"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["transformers", "vllm"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], default="float16",
                        help="of the stored logits; float16 is eight times finer at the same size, up to 65504")
    parser.add_argument("--limit", type=int, help="this many prompts only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with open(options.prompts, encoding="utf8") as file:
        prompts = [json.loads(line) for line in file if line.strip()][:options.limit]
    rollouts = dict(transformers=with_transformers, vllm=with_vllm)[options.engine](options, prompts)
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    with open(options.output, "wb") as shard:
        for row, index, prompt, completion, logits, logprobs, text, stopped in rollouts:
            metadata = dict(
                rollout_id=f"{row['group_id']}-{index:02d}", group_id=row["group_id"], sample_index=str(index), prompt=row["prompt"], completion=text,
                reference_answer=row.get("reference_answer", ""), data_source=row.get("data_source", ""),
                finish_reason="stop" if stopped else "length", temperature=str(options.temperature), top_p="1.0")
            write(shard, compressor, prompt, completion, narrowed(logits, getattr(torch, options.dtype), metadata["rollout_id"]), logprobs, metadata)


if __name__ == "__main__":
    main()
