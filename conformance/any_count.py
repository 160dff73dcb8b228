#!/usr/bin/env python3
"""Holds that what is written doesn't depend on how many tasks and threads write it.

    any_count.py BIN [--commands ingest,…]

Every command that writes runs with 1, 2 and 7 tasks, each of 1 to 4 threads, and must leave the bytes of one task of one
thread. Where models compute, last bits depend on the number of threads (docs/running.md): those commands run twice with
each number, and must leave the same bytes both times, whatever the number of tasks.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "faults"))
from faults import Catalog, commands, prepare, prepare_more

TASKS, THREADS = (1, 2, 7), (1, 2, 3, 4)
# Of these the bytes are those of a number of threads.
COMPUTES = ("update", "loop", "--checkpoint")


def words_with(words, threads):
    """A command's words with another number of threads."""
    words = list(words)
    words[words.index("--threads") + 1] = threads
    return words


def run(name, command, bin_folder, output, tasks, threads):
    """What a run of so many tasks leaves."""
    words = words_with(command.words, threads)
    for rank in range(tasks):
        share = ["--tasks", tasks, "--rank", rank] if tasks > 1 else []
        line = [bin_folder / words[0], *words[1:], "--quiet", *output.words(), *share]
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
        if done.returncode != 0: sys.exit(f"{name}, task {rank} of {tasks}, {threads} threads: exit code {done.returncode}, {done.stderr}")
    return output.content()


def check(name, command, bin_folder, work):
    """How many runs there were, and those whose bytes are others."""
    first, runs, wrong = {}, 0, []
    depends = any(word in name for word in COMPUTES)
    for threads in THREADS:
        for tasks in (TASKS[0], *TASKS) if depends else TASKS:
            output = command.kind(work / f"{command.words[0]}-{runs}", bin_folder)
            found = run(name, command, bin_folder, output, tasks, threads)
            if found != first.setdefault(threads if depends else None, found): wrong.append(f"{name}: {tasks} tasks of {threads} threads")
            if not found: wrong.append(f"{name}: nothing was written")
            output.remove()
            runs += 1
    return runs, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--commands", help="by commas; all without it")
    asked = parser.parse_args()
    bin_folder, work = asked.bin.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="crux-counts-"))
    base = prepare(bin_folder, work)
    prepare_more(bin_folder, base)
    known = {name: command for name, command in commands(bin_folder, base).items()
             if not command.before and command.program == command.words[0] and command.kind is not Catalog}
    total, complaints = 0, []
    for name in [name.strip() for name in asked.commands.split(",")] if asked.commands else known:
        runs, wrong = check(name, known[name], bin_folder, work)
        print(f"{name}: {runs} runs, {len(wrong)} with other bytes", flush=True)
        total, complaints = total + runs, complaints + wrong
    print(f"{total} runs with {TASKS} tasks of {THREADS} threads: {len(complaints)} with other bytes")
    for complaint in complaints: print(complaint)
    shutil.rmtree(work)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__": main()
