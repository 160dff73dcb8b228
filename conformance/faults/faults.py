#!/usr/bin/env python3
"""Makes calls of the system fail, one at a time, in each stage and in the loop, and looks at what is left.

    faults.py BIN [--each N] [--stages ingest,…] [--calls open,…] [--parallel N]

Of each kind of call and each error, N calls of a run are made to fail (all, where there are no more), evenly over it, the
first and the last among them. After each the run must have told the truth: with exit code 0 its directory is complete,
with the bytes of an undisturbed run; with another one the words name what failed and why, the directory doesn't look
whole unless it is, and the same command without faults makes the right bytes. No run may hang or end by a signal.
update/metrics.arrow and run.json are left out: they have times.
"""
import argparse
import collections
import concurrent.futures
import errno
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 120
HALF, KILLED = -1, -2
# What each call may end with, by the names of errno.
ERRORS = {
    "open": ["EIO", "EMFILE", "ENOMEM", "ENOSPC", "EINTR"], "read": ["EIO", "EINTR", "ENOMEM", HALF],
    "pread": ["EIO", "EINTR", HALF], "write": ["ENOSPC", "EIO", "EINTR", "EAGAIN", HALF, KILLED],
    "pwrite": ["ENOSPC", "EIO", "EINTR", HALF], "fsync": ["EIO", "ENOSPC", "EINTR", KILLED], "fdatasync": ["EIO", "EINTR"],
    "rename": ["EIO", "ENOSPC", KILLED], "link": ["EIO", "ENOSPC"], "mkdir": ["ENOSPC", "EIO", KILLED],
    "unlink": ["EIO", KILLED], "rmdir": ["EIO"], "ftruncate": ["ENOSPC", "EIO", "EINTR"], "mmap": ["ENOMEM", "EAGAIN"],
    "opendir": ["EMFILE", "ENOMEM", "EIO"], "readdir": ["EIO"], "stat": ["EIO", "ENOMEM"], "flock": ["EIO", "EINTR", "ENOLCK"],
    "fallocate": ["ENOSPC", "EIO", "EINTR"], "thread": ["EAGAIN"], "close": ["EIO", "EINTR"],
}


def stages(bin_folder, base):
    """Name → (executable, arguments without --output, whether it reads what base has)."""
    fixtures = ROOT / "fixtures"
    recipe = ROOT / "recipes/dapo-top20.yaml"
    common = ["--threads", "2"]
    return {
        "rollout": ["crux-rollout", "--checkpoint", fixtures / "policy", "--prompts", base / "prompts.jsonl", "--group-size", "2",
                    "--max-tokens", "24", "--rollouts-per-shard", "4", "--logits", *common],
        "ingest": ["crux-ingest", "--input", fixtures / "dump", *common],
        "score": ["crux-score", "--input", base / "ingest", *common],
        "plan": ["crux-plan", "--input", base / "ingest", "--scores", base / "score", "--recipe", recipe, *common],
        "update": ["crux-update", "--plan", base / "plan", "--checkpoint", fixtures / "policy", "--memory", "1G", *common],
        "loop": ["crux-loop", "--recipe", ROOT / "recipes/grpo.yaml", "--checkpoint", fixtures / "policy", "--prompts",
                 base / "prompts.jsonl", "--iterations", "1", "--prompts-per-iteration", "4", "--group-size", "4", "--max-tokens", "60",
                 "--threads", "1"],
    }


def digests(folder):
    """Every file by its digest, but for those with times and the lock of whoever was killed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and path.name != "run.json" and not name.endswith("update/metrics.arrow") and not (name == "metrics.arrow" and "update" in folder.name):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Stage:
    def __init__(self, name, command, bin_folder, work, library):
        self.name, self.work, self.library = name, work, library
        self.executable = command[0]
        self.command = [str(bin_folder / command[0]), "--quiet", *map(str, command[1:])]

    def folder(self, name):
        # The stage's name is part of it: see digests.
        return self.work / f"{self.name}-{name}"

    def run(self, output, fault=None):
        environment = dict(os.environ)
        if fault: environment |= {"LD_PRELOAD": str(self.library), "FAULT_PROGRAM": self.executable, **fault}
        try:
            done = subprocess.run(self.command + ["--output", str(output)], env=environment, capture_output=True, text=True,
                                  errors="replace", timeout=SECONDS)
            return done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            return None, ""

    def count(self):
        """How often an undisturbed run makes each call, and what it leaves."""
        output, log = self.folder("undisturbed"), self.folder("counts.txt")
        status, said = self.run(output, {"FAULT_CALL": "count", "FAULT_LOG": str(log)})
        if status != 0: sys.exit(f"{self.name} without faults ended with {status}: {said}")
        counts = dict((line.split()[0], int(line.split()[1])) for line in log.read_text().splitlines())
        self.whole = digests(output)
        return counts

    def inject(self, call, error, time):
        """What was wrong about a run whose call failed: (whether it was reached, its exit code, complaints, path)."""
        number = error if isinstance(error, int) else getattr(errno, error)
        name = f"{call}-{error}-{time}"
        output, log = self.folder(name), self.folder(name + ".log")
        fault = {"FAULT_CALL": call, "FAULT_ERROR": str(number), "FAULT_AT": str(time), "FAULT_LOG": str(log)}
        status, said = self.run(output, fault)
        path = log.read_text().split(" ", 1)[1].strip() if log.exists() else ""
        wrong = self.judge(output, status, said, number) if path else []
        if path and not wrong: wrong = self.again(output)
        if not wrong: shutil.rmtree(output, ignore_errors=True)
        log.unlink(missing_ok=True)
        return bool(path), status, wrong, path, said

    def judge(self, output, status, said, number):
        if status is None: return ["it hangs"]
        if status < 0: return [] if number == KILLED and status == -9 else [f"signal {-status}"]
        complete = (output / "manifest.json").exists()
        if status == 0: return [] if complete and digests(output) == self.whole else ["exit code 0, and not the right bytes"]
        wrong = []
        if complete and {k: v for k, v in digests(output).items() if not k.startswith(".")} != self.whole:
            wrong.append("it looks whole and isn't")
        reason = os.strerror(number) if number > 0 else ""
        if status not in (4, 75): wrong.append(f"exit code {status}")
        if reason not in said: wrong.append("no word of the cause")
        if "/" not in said and "thread" not in said: wrong.append("no word of the place")
        return wrong

    def again(self, output):
        status, said = self.run(output)
        if status != 0: return [f"the next run ends with {status}: {said.strip()[-300:]}"]
        return [] if digests(output) == self.whole else ["the next run has other bytes"]


def times(count, each):
    """Which of `count` calls fail."""
    if count <= each: return range(count)
    return sorted({round(i * (count - 1) / (each - 1)) for i in range(each)})


def prepare(bin_folder, work):
    base = work / "base"
    base.mkdir()
    prompts = (ROOT / "fixtures/prompts-train.jsonl").read_text().splitlines()[:6]
    (base / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    for name, command in list(stages(bin_folder, base).items()):
        if name in ("ingest", "score", "plan"):
            subprocess.run([str(bin_folder / command[0]), "--quiet", *map(str, command[1:]), "--output", str(base / name)],
                           check=True, stdout=subprocess.DEVNULL)
    return base


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--stages", default="rollout,ingest,score,plan,update,loop")
    parser.add_argument("--calls", default=",".join(ERRORS))
    parser.add_argument("--parallel", type=int, default=2)
    asked = parser.parse_args()
    bin_folder, work = asked.bin.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="crux-faults-"))
    library = work / "failing_calls.so"
    subprocess.run(["clang", "-O1", "-shared", "-fPIC", "-o", library, HERE / "failing_calls.c", "-ldl"], check=True)
    base = prepare(bin_folder, work)
    findings, total, kept = collections.defaultdict(list), 0, False
    for name in asked.stages.split(","):
        stage = Stage(name, stages(bin_folder, base)[name], bin_folder, work, library)
        counts, injected, codes = stage.count(), collections.Counter(), collections.Counter()
        plan = [(call, error, time) for call in asked.calls.split(",") for error in ERRORS[call]
                for time in times(counts.get(call, 0), asked.each)]
        with concurrent.futures.ThreadPoolExecutor(asked.parallel) as pool:
            for (call, error, time), (reached, status, wrong, path, said) in zip(plan, pool.map(lambda one: stage.inject(*one), plan)):
                if not reached: continue
                injected[call] += 1
                codes[status] += 1
                for complaint in wrong: findings[(name, call, str(error), complaint)].append((time, path, said.strip()[-300:]))
        total += sum(injected.values())
        print(f"{name}: {sum(injected.values())} faults: " + ", ".join(f"{call} {injected[call]} (of {counts[call]} calls)" for call in injected))
        print(f"  exit codes: " + ", ".join(f"{code}: {number}" for code, number in sorted(codes.items(), key=str)), flush=True)
    for (name, call, error, complaint), places in sorted(findings.items()):
        print(f"{name}: {call}, {error}: {complaint} ({len(places)} times), such as number {places[0][0]}, {places[0][1]}: {places[0][2]}")
    print(f"{total} faults, {sum(map(len, findings.values()))} complaints")
    if findings: sys.exit(f"{work} is kept")
    shutil.rmtree(work)


if __name__ == "__main__": main()
