#!/usr/bin/env python3
"""Figures for real/run.sh.

    figure.py SUMMARY.json KEY          the value of a key in a stage's summary, on whatever level it stands
    figure.py --results RESULTS.jsonl --seconds N     what an engine's results hold
"""
import argparse, json, sys


def find(value, key):
    """The first value under `key`, outer levels first; None where there is none."""
    if not isinstance(value, dict): return None
    if key in value: return value[key]
    return next((found for inner in value.values() if (found := find(inner, key)) is not None), None)


def results(path, seconds):
    lines = [json.loads(line) for line in open(path, encoding="utf8")]
    bodies = [line["response"]["body"] for line in lines if not line.get("error")]
    answers = sum(len(body["choices"]) for body in bodies)
    tokens = sum(body["usage"]["completion_tokens"] for body in bodies)
    rate = tokens / max(seconds, 1)
    return f"{answers} answers to {len(bodies)} requests, {tokens} tokens in {seconds:.0f} s, {rate:.0f} tokens/s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", nargs="?")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--results")
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    if arguments.results: return print(results(arguments.results, arguments.seconds))
    found = find(json.load(open(arguments.summary, encoding="utf8")), arguments.key)
    if found is None: sys.exit(f"{arguments.summary}: found no {arguments.key}, expected it in the summary")
    print(found)


if __name__ == "__main__": main()
