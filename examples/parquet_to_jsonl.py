#!/usr/bin/env python3
"""Makes JSON lines of Parquet files, a row each, nested columns as objects and lists: TRL's completions, prompt sets of verl and others.

    python examples/parquet_to_jsonl.py completions_00003.parquet … > completions.jsonl
    crux-ingest --input completions.jsonl --tokenizer policy/ --reward-columns accuracy_reward --output run/ingest

Needs pyarrow. What JSON has no word for: times become their text, bytes are left out and said.
"""
import json
import sys

import pyarrow.parquet

left_out = set()


def plain(value, name):
    """As JSON has it."""
    if isinstance(value, dict):
        return {key: plain(one, f"{name}.{key}") for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one, name) for one in value]
    if isinstance(value, bytes):
        left_out.add(name)
        return None
    return value


for path in sys.argv[1:] or sys.exit(__doc__):
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            print(json.dumps({key: plain(value, key) for key, value in row.items()}, ensure_ascii=False, default=str))
if left_out:
    print(f"left out, bytes: {', '.join(sorted(left_out))}", file=sys.stderr)
