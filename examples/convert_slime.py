#!/usr/bin/env python3
"""Makes shards of slime's debug rollouts (--save-debug-rollout-data 'dir/{rollout_id}.pt').

    python examples/convert_slime.py dir/12.pt dir/13.pt --output dump/slime.rollouts.zst --temperature 1 [--reward-key score]
    crux-ingest --input dump --output run/ingest

Needs torch, safetensors, zstandard. A .pt file is a pickle: loading it runs what is in it, so take only files that you made or trust.
Temperature and top-p are not in the file. Samples that slime gave up (aborted, pending, failed) or took out (remove_sample) are left
out and counted. Several samples of one rollout_id (compact rollouts) count once in slime's loss and by themselves here: extras.rollout
says which belong together.
"""
import argparse
import collections
import json
import sys

import torch
import zstandard
from safetensors.torch import save

FINISH = {"completed": "stop", "truncated": "length"}


def status(sample):
    """A word, also where the sample holds slime's own enum."""
    return str(getattr(sample.get("status"), "value", sample.get("status")) or "completed").lower()


def floats(values, prompt, count, name):
    """[L] of [R]: 0 on the prompt."""
    values = torch.as_tensor(values, dtype=torch.float32).flatten()
    if len(values) != count:
        raise ValueError(f"found {len(values)} entries in {name}, expected {count}, one for each token of the response")
    return torch.cat([torch.zeros(prompt), values])


def support(sample, mask):
    """Which tokens top-p left, of masked-in tokens alone; slime has them for every token of the response."""
    ids, offsets = (torch.as_tensor(sample[f"rollout_top_p_token_{key}"]).flatten().tolist() for key in ("ids", "offsets"))
    if len(offsets) != len(mask) + 1:
        raise ValueError(f"found {len(offsets)} top-p offsets, expected {len(mask) + 1}")
    kept = [ids[offsets[i]:offsets[i + 1]] for i, trained in enumerate(mask) if trained]
    ends = torch.tensor([0] + [len(one) for one in kept], dtype=torch.int64).cumsum(0)
    return dict(support_token_ids=torch.tensor(sum(kept, []), dtype=torch.int32), support_offsets=ends)


def experts(values, length):
    """[L-1 or L, layers, k], in the narrowest type."""
    values = torch.as_tensor(values)
    if values.ndim != 3 or values.shape[0] not in (length - 1, length):
        raise ValueError(f"found rollout_routed_experts {list(values.shape)}, expected [{length - 1}, layers, k]")
    return values.to(torch.uint8 if values.numel() == 0 or values.max() < 256 else torch.uint16).contiguous()


def tensors(sample):
    tokens, count = [int(token) for token in sample["tokens"]], int(sample["response_length"])
    prompt = len(tokens) - count
    if prompt < 1 or count < 1:
        raise ValueError(f"found {len(tokens)} tokens and response_length {count}, expected a prompt and a response")
    given = sample.get("loss_mask")
    mask = [1] * count if given is None else [int(bit) for bit in given]
    if len(mask) != count:
        raise ValueError(f"found {len(mask)} entries in loss_mask, expected {count}")
    found = dict(
        token_ids=torch.tensor(tokens, dtype=torch.int32), loss_mask=torch.tensor([0] * prompt + mask, dtype=torch.uint8))
    for theirs, ours in [("rollout_log_probs", "rollout_logprobs"), ("teacher_log_probs", "teacher_logprobs")]:
        if sample.get(theirs) is not None:
            found[ours] = floats(sample[theirs], prompt, count, theirs)
    if sample.get("rollout_top_p_token_ids") is not None:
        found |= support(sample, mask)
    if sample.get("rollout_routed_experts") is not None:
        found["routed_experts"] = experts(sample["rollout_routed_experts"], len(tokens))
    return found


def reward(sample, key):
    value = sample.get("reward")
    if isinstance(value, dict):
        if key is None:
            raise SystemExit(f"found rewards by name, {sorted(value)}: say which with --reward-key")
        value = value.get(key)
    return None if value is None else float(value)


def metadata(sample, rollout, options):
    prompt, versions = sample.get("prompt"), sample.get("weight_versions") or []
    value = reward(sample, options.reward_key)
    fields = dict(
        rollout_id=f"{rollout}-{sample['index']}", group_id=f"{rollout}-{sample['group_index']}",
        prompt=prompt if isinstance(prompt, str) else None, completion=sample.get("response"),
        messages=None if prompt is None or isinstance(prompt, str) else json.dumps(prompt),
        reward=value, reference_answer=sample.get("label"), finish_reason=FINISH.get(status(sample)),
        temperature=options.temperature, top_p=options.top_p, policy_version=versions[-1] if versions else None,
        rollout=sample.get("rollout_id"), session_id=sample.get("session_id"))
    if sample.get("rollout_top_p_token_ids") is not None:
        fields["logprobs_kind"] = options.logprobs_kind
    if isinstance(sample.get("reward"), dict):
        fields["rewards"] = json.dumps({key: one for key, one in sample["reward"].items() if isinstance(one, (int, float))})
    if sample.get("metadata"):
        fields["metadata"] = json.dumps(sample["metadata"], default=str)
    return {key: value if isinstance(value, str) else str(value) for key, value in fields.items() if value is not None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", nargs="+", help="slime's .pt files")
    parser.add_argument("--output", required=True, help="shard to write, NAME.rollouts.zst")
    parser.add_argument("--temperature", type=float, required=True, help="that slime sampled with (--rollout-temperature)")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--reward-key", help="which of several rewards, where a sample's are a dictionary")
    parser.add_argument("--logprobs-kind", choices=["full", "support"],
                        help="with top-p's tokens: whether log-probabilities are over the vocabulary or over these")
    options = parser.parse_args()
    counts, compressor = collections.Counter(), zstandard.ZstdCompressor(level=1, write_checksum=True)
    with open(options.output, "wb") as shard:
        for path in options.input:
            content = torch.load(path, map_location="cpu", weights_only=False)
            for number, sample in enumerate(content["samples"]):
                if status(sample) not in FINISH or sample.get("remove_sample"):
                    counts["removed" if sample.get("remove_sample") else status(sample)] += 1
                    continue
                try:
                    blob = save(tensors(sample), metadata=metadata(sample, content["rollout_id"], options))
                except (ValueError, KeyError) as error:
                    counts["unusable"] += 1
                    print(f"{path}, sample {number}: {error}", file=sys.stderr)
                    continue
                counts["written"] += 1
                shard.write(compressor.compress(blob))
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())), file=sys.stderr)
    if not counts["written"]:
        sys.exit(f"{options.output}: found no sample to write, expected at least one that is completed or truncated")


if __name__ == "__main__":
    main()
