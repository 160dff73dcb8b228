#!/usr/bin/env python3
"""Walks the tutorial as a stranger would: runs every block of docs/tutorial.md in an empty folder, in order, and holds
what is printed against what the page says is printed (numbers apart, which other rollouts change).

    tutorial.py BIN_FOLDER
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMBER = r"[-+]?[0-9][0-9.,e+-]*"


def blocks(page):
    """Fenced blocks: language and text."""
    return re.findall(r"^```(\w+)\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)


def pattern(line):
    """What a printed line must look like: any numbers, and anything for its dots."""
    words = re.split(rf"({NUMBER}|…)", line.strip())
    return "".join(".*" if word == "…" else NUMBER if re.fullmatch(NUMBER, word) else re.escape(word) for word in words)


def missing(printed, output):
    return [line for line in printed.splitlines() if line.strip() and not re.search(pattern(line), output)]


def main():
    binaries = os.path.abspath(sys.argv[1])
    with open(os.path.join(ROOT, "docs", "tutorial.md"), encoding="utf-8") as file:
        page = blocks(file.read())
    faults, output = [], ""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, CRUX=ROOT, PATH=f"{binaries}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
        for number, (language, block) in enumerate(page):
            if language == "text":
                faults += [f"block {number}: not printed: {line}" for line in missing(block, output)]
                continue
            if block.startswith("CRUX="):
                continue
            # The second way to a dump goes beside the first.
            place = os.path.join(folder, "other") if block.startswith("head ") else folder
            os.makedirs(place, exist_ok=True)
            command = ["bash", "-euc", block] if language == "sh" else [sys.executable, "-c", block]
            run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
            output = run.stdout + run.stderr
            if run.returncode != 0:
                faults.append(f"block {number}: exit status {run.returncode}: {block.splitlines()[0]}\n{output[-2000:]}")
    for fault in faults:
        print("FAIL tutorial", fault)
    print(f"{'FAIL' if faults else 'ok'} tutorial: {len(page)} blocks of docs/tutorial.md, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
