#!/usr/bin/env python3
"""Gives each stage and the loop less address space than it may need (ulimit -v), and looks at what is left.

    memory_limits.py BIN [--sizes N] [--stages ingest,…] [--parallel N]

N sizes in equal ratios from far too little to ample. After each the run must have told the truth: with exit code 0 its
directory is complete, with the bytes of an undisturbed run; with exit code 4 one line says that memory or a thread was
missing and what to do, the directory doesn't look whole, and the same command without a limit makes the right bytes.
Below what the system's loader needs for the libraries it says so itself (exit code 127; in the loop, 4 of the stage that
wasn't started). No run may hang or end by a signal.
"""
import argparse
import collections
import concurrent.futures
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

from faults import ROOT, SECONDS, digests, prepare, stages

SMALLEST, LARGEST = 16 << 20, 6 << 30
REFUSED, NOT_LOADED = 4, 127
WORDS = ["no memory", "bytes of memory", "further thread", "Cannot allocate memory", "ulimit -v", "--memory"]


def commands(bin_folder, base):
    """As in faults.py, with a scorer that multiplies."""
    found = stages(bin_folder, base)
    found["score-checkpoint"] = [*found["score"], "--checkpoint", ROOT / "fixtures/policy"]
    return found


class Limited:
    def __init__(self, name, command, bin_folder, work):
        self.name, self.work = name, work
        self.command = [str(bin_folder / command[0]), "--quiet", *map(str, command[1:])]
        self.whole = None

    def run(self, output, size=None):
        def limit():
            if size: resource.setrlimit(resource.RLIMIT_AS, (size, size))
        try:
            done = subprocess.run(self.command + ["--output", str(output)], preexec_fn=limit, capture_output=True, text=True,
                                  errors="replace", timeout=SECONDS)
            return done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            return None, ""

    def within(self, size):
        """(exit code, what was wrong, what was said)"""
        # The stage's name is part of it: see digests.
        output = self.work / f"{self.name}-{size >> 20}"
        status, said = self.run(output, size)
        wrong = self.judge(output, status, said)
        if status != 0 and not wrong:
            again, words = self.run(output)
            if again != 0: wrong = [f"the next run ends with {again}: {words.strip()[-300:]}"]
            elif digests(output) != self.whole: wrong = ["the next run has other bytes"]
        if not wrong: shutil.rmtree(output, ignore_errors=True)
        return status, wrong, said

    def judge(self, output, status, said):
        if status is None: return ["it hangs"]
        if status < 0: return [f"signal {-status}"]
        complete = (output / "manifest.json").exists()
        if status == 0: return [] if complete and digests(output) == self.whole else ["exit code 0, and not the right bytes"]
        if complete: return ["it looks whole"]
        if status == NOT_LOADED: return [] if "shared libraries" in said or "shared object" in said else ["exit code 127"]
        wrong = [] if status == REFUSED else [f"exit code {status}"]
        if not any(word in said for word in WORDS) and "shared libraries" not in said: wrong.append("no word of memory")
        # The loop adds a line of its own to its stage's.
        if len(said.strip().splitlines()) > (3 if self.name == "loop" else 1): wrong.append("more than a sentence")
        return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--sizes", type=int, default=40)
    parser.add_argument("--stages", default="rollout,ingest,score,score-checkpoint,plan,update,loop")
    parser.add_argument("--parallel", type=int, default=2)
    asked = parser.parse_args()
    bin_folder, work = asked.bin.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="crux-memory-limits-"))
    base = prepare(bin_folder, work)
    sizes = [round(SMALLEST * (LARGEST / SMALLEST) ** (i / (asked.sizes - 1))) for i in range(asked.sizes)]
    findings = []
    for name in asked.stages.split(","):
        stage = Limited(name, commands(bin_folder, base)[name], bin_folder, work)
        undisturbed = work / f"{name}-undisturbed"
        status, said = stage.run(undisturbed)
        if status != 0: sys.exit(f"{name} without a limit ended with {status}: {said}")
        stage.whole = digests(undisturbed)
        codes, first = collections.Counter(), None
        with concurrent.futures.ThreadPoolExecutor(asked.parallel) as pool:
            for size, (status, wrong, said) in zip(sizes, pool.map(stage.within, sizes)):
                codes[status] += 1
                if status == 0 and first is None: first = size
                findings += [f"{name} within {size >> 20} MiB: {complaint}: {said.strip()[-300:]}" for complaint in wrong]
        done = f"done from {first >> 20} MiB on" if first else "never done"
        print(f"{name}: {len(sizes)} sizes, {done}; exit codes " + ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str)), flush=True)
    print("\n".join(findings))
    print(f"{len(findings)} complaints")
    if findings: sys.exit(f"{work} is kept")
    shutil.rmtree(work)


if __name__ == "__main__": main()
