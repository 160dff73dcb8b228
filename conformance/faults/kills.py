#!/usr/bin/env python3
"""Kills runs of every stage, and of the loop, at random moments, and lets them go on.

    kills.py BIN [--kills N] [--stages ingest,…] [--seed S]

A run is one process, three tasks that share a directory, or a loop with the stages it starts. It is killed once or
several times before it is left alone, at moments that are even over the time of an undisturbed run: of tasks all of
them, or one. After each kill the directory is looked at: a kill counts as one that met half-done work where the
directory was claimed and not finished, and what has its final name must have the bytes of the undisturbed run. After the
last, the same command must end with exit code 0 and the same bytes, so that no row is lost, doubled or changed, and
run.json must list every process that had begun. metrics.arrow of updates and the times in run.json are not compared.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from faults import ROOT, digests, prepare, stages

TASKS = 3
SECONDS = 300
# How many kills a run gets before it is left alone: one mostly.
KILLS_OF_A_RUN = [1, 1, 1, 2, 4]
# After so many runs the undisturbed time is taken anew: other work on the machine changes it.
RUNS_OF_A_TIME = 6
# Many small shards and several steps, so that starting up is little of a run.
PROMPTS, GROUP, SHARD, TOKENS = 32, 4, 2, 48


class Work:
    """One command that makes a directory, as one process or as tasks."""

    def __init__(self, stage, command, bin_folder, folder, tasks):
        self.stage, self.folder, self.tasks = stage, folder, tasks
        self.name = stage + (f" by {tasks} tasks" if tasks > 1 else "")
        self.command = [str(bin_folder / command[0]), "--quiet", *map(str, command[1:])]
        self.runs, self.whole = 0, None

    def start(self, output):
        """Every task in a process group of its own, so that what it starts is killed with it."""
        shares = [["--tasks", str(self.tasks), "--rank", str(rank)] if self.tasks > 1 else [] for rank in range(self.tasks)]
        return [subprocess.Popen([*self.command, "--output", str(output), *share], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
                for share in shares]

    def output(self, name):
        # The stage's name is part of it: see digests.
        return self.folder / f"{self.stage}-{self.tasks}-{name}"

    def measure(self):
        """The time of an undisturbed run, and that its bytes are always the same."""
        output, begin = self.output("whole"), time.monotonic()
        wrong = self.finish(output)
        self.seconds = time.monotonic() - begin
        if wrong: sys.exit(f"{self.name} without kills: {wrong}")
        found = digests(output)
        if self.whole not in (None, found): sys.exit(f"{self.name}: two undisturbed runs differ")
        self.whole = found
        shutil.rmtree(output)

    def finish(self, output):
        """Runs to the end; what went wrong."""
        processes = self.start(output)
        for process in processes:
            try: said = process.communicate(timeout=SECONDS)[1]
            except subprocess.TimeoutExpired:
                kill(processes)
                return "it hangs"
            if process.returncode != 0:
                kill(processes)
                return f"exit code {process.returncode}: {said.strip()[-400:]}"
        return None

    def kill_once(self, output, chance):
        """Whether a process still ran, whether work was half-done then, what was wrong."""
        processes = self.start(output)
        time.sleep(chance.random() * self.seconds)
        victims = processes if chance.random() < 0.5 else [chance.choice(processes)]
        ran = any(process.poll() is None for process in victims)
        kill(victims)
        half = ran and is_half_done(output)
        for process in processes:
            if process in victims: continue
            try: said = process.communicate(timeout=SECONDS)[1]
            except subprocess.TimeoutExpired:
                kill(processes)
                return ran, half, "a task hangs after another was killed"
            if process.returncode not in (0, 75): return ran, half, f"a task beside the killed one: {process.returncode}, {said[-400:]}"
        return ran, half, self.standing(output)

    def standing(self, output):
        """What has its final name and not its final bytes."""
        if not output.exists(): return None
        whole, found = (output / "manifest.json").exists(), {name: digest for name, digest in digests(output).items() if is_final(name)}
        if whole and set(self.whole) - set(found): return f"it looks whole and lacks {sorted(set(self.whole) - set(found))[0]}"
        # A loop's own tables grow with its iterations.
        growing = set() if whole or self.stage != "loop" else {name for name in found if "/" not in name}
        wrong = [name for name, digest in found.items() if self.whole.get(name) != digest and name not in growing]
        return f"{wrong[0]} has its name and other bytes" if wrong else None

    def judge_end(self, output, begun):
        """What is wrong about a run that went on after its kills."""
        wrong = self.finish(output)
        if wrong: return wrong
        if digests(output) != self.whole: return "other bytes than undisturbed"
        attempts = json.loads((output / "run.json").read_text())["attempts"]
        listed = {attempt["process"] for attempt in attempts}
        if begun - listed: return f"run.json doesn't list process {min(begun - listed)}, which had begun"
        if not any(attempt.get("status") == 0 for attempt in attempts): return "run.json lists no attempt that ended well"
        return None


def is_final(name):
    """Whether a file has its final name, in a folder that has its own."""
    return not any(part.startswith(".") or part.endswith(".tmp-crux") for part in pathlib.PurePath(name).parts)


def is_half_done(output):
    """Claimed and not finished. Tasks that still run may finish it only if nothing of the killed one is missing."""
    return (output / ".work" / "configuration.json").exists() and not (output / "manifest.json").exists()


def begun(output):
    """Processes that have noted their beginning in an unfinished directory."""
    return {int(path.name.split("-")[2]) for path in (output / ".work").glob("attempt-*") if not path.name.endswith(".tmp-crux")}


def kill(processes):
    for process in processes:
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass
    for process in processes: process.communicate()


def replace(command, flag, value):
    command[command.index(flag) + 1] = value


def works(bin_folder, folder, names):
    """The commands, on a dump of many small shards."""
    base = prepare(bin_folder, folder)
    prompts = (ROOT / "fixtures/prompts-train.jsonl").read_text().splitlines()[:PROMPTS]
    (base / "many.jsonl").write_text("\n".join(prompts) + "\n")
    many = folder / "many"
    many.mkdir()
    shutil.copy(base / "prompts.jsonl", many)
    commands = stages(bin_folder, many)
    replace(commands["rollout"], "--rollouts-per-shard", 1)
    replace(commands["ingest"], "--input", many / "rollout")
    replace(commands["plan"], "--recipe", ROOT / "recipes/grpo.yaml")
    commands["update"] += ["--save-every", "1"]
    dump = commands["rollout"].copy()
    for flag, value in {"--prompts": base / "many.jsonl", "--group-size": GROUP, "--max-tokens": TOKENS, "--rollouts-per-shard": SHARD}.items():
        replace(dump, flag, value)
    made = commands | {"rollout": dump}
    for name in ("rollout", "ingest", "score", "plan"):
        subprocess.run([str(bin_folder / made[name][0]), "--quiet", *map(str, made[name][1:]), "--output", str(many / name)],
                       check=True, stdout=subprocess.DEVNULL)
    for name in names:
        yield Work(name, commands[name], bin_folder, folder, 1)
        if name in ("rollout", "ingest", "score"): yield Work(name, commands[name], bin_folder, folder, TASKS)


def run_with_kills(work, number, kills, chance, counts):
    """One run with up to `kills` kills; what was wrong. Counts the kills."""
    output, processes, wrong = work.output(f"killed-{number}"), set(), []
    if work.runs % RUNS_OF_A_TIME == 0: work.measure()
    work.runs += 1
    for _ in range(kills):
        ran, half, complaint = work.kill_once(output, chance)
        counts.update({"kills": 1, "met a running process": ran, "met half-done work": half})
        if complaint: wrong.append(complaint)
        processes |= begun(output)
        # Finished before or beside the kill: there is nothing left to kill.
        if (output / "manifest.json").exists(): break
    complaint = work.judge_end(output, processes)
    if complaint: wrong.append(f"at the end: {complaint}")
    if not wrong: shutil.rmtree(output)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--stages", default="rollout,ingest,score,plan,update,loop")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder, chance = pathlib.Path(tempfile.mkdtemp(prefix="crux-kills-")), random.Random(asked.seed)
    all_works = list(works(asked.bin.resolve(), folder, asked.stages.split(",")))
    counts, complaints, number = {work.name: collections.Counter() for work in all_works}, [], 0
    while (killed := sum(count["kills"] for count in counts.values())) < asked.kills:
        work, number = all_works[number % len(all_works)], number + 1
        kills = min(chance.choice(KILLS_OF_A_RUN), asked.kills - killed)
        for complaint in run_with_kills(work, number, kills, chance, counts[work.name]):
            complaints.append(f"{work.name}, run {number}: {complaint}")
    total = sum(counts.values(), collections.Counter())
    for name, found in [*counts.items(), ("all", total)]:
        print(f"{name}: " + ", ".join(f"{what} {count}" for what, count in found.items()))
    print(f"{number} runs, {len(complaints)} complaints")
    for complaint in complaints: print(complaint)
    if complaints: sys.exit(f"{folder} is kept")
    shutil.rmtree(folder)
    if 2 * total["met half-done work"] < total["kills"]: sys.exit("fewer than half of the kills met half-done work")


if __name__ == "__main__": main()
