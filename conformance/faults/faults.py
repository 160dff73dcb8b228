#!/usr/bin/env python3
"""Makes calls of the system fail, one at a time, in each stage, in the loop and in its stages, and looks at what is left.

    faults.py BIN [--each N] [--commands ingest,…] [--calls open,…] [--parallel N] [--list]

Of each kind of call and each error, N calls of a run are made to fail (all, where there are no more), evenly over it, the
first and the last among them. After each the run must have told the truth: with exit code 0 its directory is complete,
with the bytes of an undisturbed run; with another one the words name what failed and why, the directory doesn't look
whole unless it is, and the same command without faults makes the right bytes, and a run.json that lists all who had
begun. No run may hang or end by a signal, but for those that are killed. Reports and the catalog, which have no
manifest, are held to the same by their own content. update/metrics.arrow, what is made of it, and the times in run.json
are not compared.
"""
import argparse
import collections
import concurrent.futures
import errno
import hashlib
import json
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
    "pwrite": ["ENOSPC", "EIO", "EINTR", HALF, KILLED], "fsync": ["EIO", "ENOSPC", "EINTR", KILLED], "fdatasync": ["EIO", "EINTR"],
    "rename": ["EIO", "ENOSPC", KILLED], "link": ["EIO", "ENOSPC", KILLED], "mkdir": ["ENOSPC", "EIO", KILLED],
    "unlink": ["EIO", KILLED], "rmdir": ["EIO"], "ftruncate": ["ENOSPC", "EIO", "EINTR"], "mmap": ["ENOMEM", "EAGAIN"],
    "opendir": ["EMFILE", "ENOMEM", "EIO"], "readdir": ["EIO"], "stat": ["EIO", "ENOMEM"], "flock": ["EIO", "EINTR", "ENOLCK"],
    "fallocate": ["ENOSPC", "EIO", "EINTR"], "thread": ["EAGAIN"], "close": ["EIO", "EINTR"],
}


# SQLite's own words for what failed.
OF_SQLITE = {errno.EIO: ("disk I/O error",), errno.ENOSPC: ("database or disk is full", "disk I/O error"),
             errno.EINTR: ("disk I/O error",), errno.ENOMEM: ("out of memory", "disk I/O error"), errno.EMFILE: ("unable to open database file",)}

FIXTURES, RECIPES = ROOT / "fixtures", ROOT / "recipes"


def stages(bin_folder, base):
    """Name → executable and arguments without --output, of what reads what base has."""
    common = ["--threads", "2"]
    return {
        "rollout": ["crux-rollout", "--checkpoint", FIXTURES / "policy", "--prompts", base / "prompts.jsonl", "--group-size", "2",
                    "--max-tokens", "24", "--rollouts-per-shard", "4", "--logits", *common],
        "ingest": ["crux-ingest", "--input", FIXTURES / "dump", *common],
        "score": ["crux-score", "--input", base / "ingest", *common],
        "plan": ["crux-plan", "--input", base / "ingest", "--scores", base / "score", "--recipe", RECIPES / "dapo-top20.yaml", *common],
        "update": ["crux-update", "--plan", base / "plan", "--checkpoint", FIXTURES / "policy", "--memory", "1G", *common],
        "loop": ["crux-loop", "--recipe", RECIPES / "grpo.yaml", "--checkpoint", FIXTURES / "policy", "--prompts",
                 base / "prompts.jsonl", "--iterations", "1", "--prompts-per-iteration", "4", "--group-size", "4", "--max-tokens", "60",
                 "--threads", "1"],
    }


FEW_JOBS = 6
# Of an expansion that is small enough to be run often.
EXPANSION = ["--recipe", RECIPES / "fr3e.yaml", "--set", "expansion.anchors=1", "--set", "expansion.replicates=2"]


def commands(bin_folder, base):
    """Every way to write something: name → Command."""
    found = {name: Command(words) for name, words in stages(bin_folder, base).items()}
    made = stages(bin_folder, base)
    planned = ["crux-plan", "--input", base / "ingest", "--scores", base / "score", "--threads", "2"]
    found |= {
        "ingest --logits copy --score": Command(made["ingest"] + ["--logits", "copy", "--score"]),
        "ingest of lines": Command(["crux-ingest", "--input", base / "lines.txt", "--threads", "2"]),
        "ingest of jobs' results": Command(["crux-ingest", "--input", base / "results", "--jobs", base / "expansion/jobs", "--threads", "2"]),
        "ingest as the last of two tasks": Command(made["ingest"] + ["--tasks", "2", "--rank", "1"], before=made["ingest"] + ["--tasks", "2", "--rank", "0"]),
        "rollout of jobs": Command(["crux-rollout", "--checkpoint", FIXTURES / "policy", "--jobs", base / "jobs.jsonl", "--threads", "2"]),
        "score --checkpoint --top-k": Command(made["score"] + ["--checkpoint", FIXTURES / "policy", "--top-k", "4", "--sum-p-squared"]),
        "score as the last of two tasks": Command(made["score"] + ["--tasks", "2", "--rank", "1"], before=made["score"] + ["--tasks", "2", "--rank", "0"]),
        "plan of an expansion": Command(planned + EXPANSION),
        "plan of jobs' results": Command(["crux-plan", "--input", base / "joined", "--scores", base / "joined-score", "--jobs", base / "expansion/jobs",
                                          "--threads", "2", *EXPANSION]),
        "plan --sweep": Command(planned + ["--recipe", RECIPES / "dapo-top20.yaml", "--sweep", "entropy.mask.top=0.1,0.5"], kind=Files),
        "update --save-every --metrics": Command(made["update"] + ["--save-every", "1", "--metrics", "jsonl,tensorboard"]),
        "update of merged adapters": Command(["crux-update", "--plan", base / "adapters-plan", *made["update"][3:]]),
        "report page": Command(["crux-report", "page", "--input", base / "ingest", "--scores", base / "score", "--plan", base / "plan",
                                "--threads", "2"], kind=Page),
        "runs scan": Command(["crux-runs", "scan", base], kind=Catalog),
    }
    for program in ("rollout", "ingest", "score", "plan", "update"):
        found[f"crux-{program} in a loop"] = Command(made["loop"], program=f"crux-{program}")
    return found


def has_times(path):
    """Whether a file tells when things happened."""
    return path.name == "run.json" or path.stem == "metrics" and "update" in path.parent.name or ".tfevents." in path.name


def digests(folder):
    """Every file by its digest, but for those with times."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and not has_times(path)}


class Directory:
    """What a stage makes: whole where its manifest is there."""

    def __init__(self, place, bin_folder): self.place = place

    def words(self): return ["--output", self.place]

    # A lock that nobody holds, which the system has kept from being taken away, keeps nobody out.
    def content(self): return {name: digest for name, digest in digests(self.place).items() if pathlib.PurePath(name).name != ".lock"}

    def is_complete(self): return (self.place / "manifest.json").exists()

    def is_right(self, whole): return self.is_complete() and not self.is_wrong(whole)

    def is_wrong(self, whole):
        return self.is_complete() and {name: digest for name, digest in self.content().items() if not name.startswith(".")} != whole

    def begun(self):
        """Processes that have noted their beginning in an unfinished directory."""
        return {int(path.name.split("-")[2]) for path in (self.place / ".work").glob("attempt-*") if not path.name.endswith(".tmp-crux")}

    def lacking(self, begun):
        """What is wrong about the record of a finished directory's runs."""
        attempts = json.loads((self.place / "run.json").read_text())["attempts"]
        if begun - {attempt["process"] for attempt in attempts}: return "run.json doesn't list a process that had begun"
        return None if any(attempt.get("status") == 0 for attempt in attempts) else "run.json lists no attempt that ended well"

    def remove(self): shutil.rmtree(self.place, ignore_errors=True)


class Files:
    """A report: files that begin with one name, each whole or not there."""

    def __init__(self, place, bin_folder): self.place = place

    def words(self): return ["--output", self.place]

    # A temporary file that a kill has left doesn't look whole; nothing else leaves one.
    def paths(self):
        return [path for path in self.place.parent.glob(self.place.name + ".*")
                if not path.name.endswith((".log", ".txt")) and not (f"-{KILLED}-" in self.place.name and path.name.endswith(".tmp-crux"))]

    def content(self): return {path.name.removeprefix(self.place.name): hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths()}

    def is_right(self, whole): return self.content() == whole

    def is_wrong(self, whole): return any(whole.get(name) != digest for name, digest in self.content().items())

    def begun(self): return set()

    def lacking(self, begun): return None

    def remove(self):
        for path in self.paths(): path.unlink()


class Page(Files):
    def words(self): return ["--output", f"{self.place}.html"]


class Catalog(Files):
    """The catalog, by what it answers."""

    def __init__(self, place, bin_folder): self.place, self.runs = place, bin_folder / "crux-runs"

    def words(self): return ["--catalog", f"{self.place}.sqlite"]

    def content(self):
        listing = subprocess.run([self.runs, "list", "--catalog", f"{self.place}.sqlite", "--limit", "0", "--format", "json", "--sort", "path"],
                                 capture_output=True, text=True)
        rows = json.loads(listing.stdout).get("runs", []) if listing.returncode == 0 else []
        return {row["path"]: {key: value for key, value in row.items() if key != "id"} for row in rows}

    # Each run is recorded whole or not at all; the rest comes with the next scan.
    def is_wrong(self, whole): return any(whole.get(path) != row for path, row in self.content().items())


class Command:
    def __init__(self, words, kind=Directory, program=None, before=None):
        self.words, self.kind, self.before = words, kind, before
        # The one whose calls fail.
        self.program = program or words[0]


class Subject:
    """A command whose calls are made to fail."""

    def __init__(self, name, command, bin_folder, work, library):
        self.name, self.command, self.bin_folder, self.work, self.library = name, command, bin_folder, work, library
        self.label = "".join(letter if letter.isalnum() else "-" for letter in name)

    def output(self, name):
        # Of updates the name says so: see has_times.
        return self.command.kind(self.work / f"{self.label}-{name}", self.bin_folder)

    def run(self, output, fault=None, words=None):
        environment, words = dict(os.environ) | {"CRUX_CATALOG": "none"}, words or self.command.words
        if fault: environment |= {"LD_PRELOAD": str(self.library), "FAULT_PROGRAM": self.command.program, **fault}
        line = [self.bin_folder / words[0], *words[1:], "--quiet", *output.words()]
        try:
            done = subprocess.run(list(map(str, line)), env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS)
            return done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            return None, ""

    def begin(self, output):
        """What has to be there before: another task's share."""
        if self.command.before: self.run(output, words=self.command.before)

    def count(self):
        """How often an undisturbed run makes each call, and what it leaves."""
        output, log = self.output("undisturbed"), self.work / f"{self.label}-counts.txt"
        self.begin(output)
        status, said = self.run(output, {"FAULT_CALL": "count", "FAULT_LOG": str(log)})
        if status != 0: sys.exit(f"{self.name} without faults ended with {status}: {said}")
        counts = collections.Counter()
        for line in log.read_text().splitlines(): counts[line.split()[0]] += int(line.split()[1])
        self.whole = output.content()
        return counts

    def inject(self, call, error, time):
        """What was wrong about a run whose call failed: (whether it was reached, its exit code, complaints, path, its words)."""
        number = error if isinstance(error, int) else getattr(errno, error)
        name = f"{call}-{error}-{time}"
        output, log = self.output(name), self.work / f"{self.label}-{name}.log"
        self.begin(output)
        status, said = self.run(output, {"FAULT_CALL": call, "FAULT_ERROR": str(number), "FAULT_AT": str(time), "FAULT_LOG": str(log)})
        path = log.read_text().splitlines()[0].split(" ", 1)[1].strip() if log.exists() else ""
        wrong = self.judge(output, status, said, number, call) if path else []
        if path and not wrong: wrong = self.again(output)
        if not wrong: output.remove()
        log.unlink(missing_ok=True)
        return bool(path), status, wrong, path, said

    def judge(self, output, status, said, number, call):
        if status is None: return ["it hangs"]
        # A loop says that one of its stages was killed.
        if number == KILLED: return [] if status in (-9, 75) else [f"killed, and exit code {status}"]
        if status < 0: return [f"signal {-status}"]
        if status == 0:
            if not output.is_right(self.whole): return ["exit code 0, and not the right bytes"]
            return [wrong] if (wrong := output.lacking(set())) else []
        wrong = ["it looks whole and isn't"] if output.is_wrong(self.whole) else []
        if status not in (4, 75): wrong.append(f"exit code {status}")
        if number > 0 and not any(word in said for word in (os.strerror(number), *OF_SQLITE.get(number, ()))): wrong.append("no word of the cause")
        if not any(word in said for word in ("/", "thread", "stdout")): wrong.append("no word of the place")
        # A descriptor is closed all the same, as Linux has it: there is nothing to be made again.
        if number == errno.EINTR and call != "close": wrong.append("an interrupted call isn't made again")
        return wrong

    def again(self, output):
        begun = output.begun()
        status, said = self.run(output)
        if status != 0: return [f"the next run ends with {status}: {said.strip()[-300:]}"]
        if output.content() != self.whole: return ["the next run has other bytes"]
        return [wrong] if (wrong := output.lacking(begun)) else []


def times(count, each):
    """Which of `count` calls fail."""
    if count <= each: return range(count)
    if each == 1: return [count // 2]
    return sorted({round(i * (count - 1) / (each - 1)) for i in range(each)})


def prepare(bin_folder, work):
    """What the six stages read."""
    base = work / "base"
    base.mkdir()
    prompts = (FIXTURES / "prompts-train.jsonl").read_text().splitlines()[:6]
    (base / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    made = stages(bin_folder, base)
    for name in ("ingest", "score", "plan"): make(bin_folder, made[name], base / name)
    return base


def make(bin_folder, words, output):
    subprocess.run([str(bin_folder / words[0]), *map(str, words[1:]), "--quiet", "--output", str(output)], check=True, stdout=subprocess.DEVNULL)


def prepare_more(bin_folder, base):
    """What the other commands read: an expansion with its results, a plan for adapters, lines under a name that doesn't say so."""
    shutil.copy(FIXTURES / "cases/A11-canonical-equality/in.jsonl", base / "lines.txt")
    planned = ["crux-plan", "--input", base / "ingest", "--scores", base / "score"]
    make(bin_folder, planned + EXPANSION, base / "expansion")
    jobs = base / "expansion/jobs"
    requests = next(jobs.glob("*.jsonl")).read_text().splitlines()[:FEW_JOBS]
    (base / "jobs.jsonl").write_text("\n".join(requests) + "\n")
    make(bin_folder, ["crux-rollout", "--checkpoint", FIXTURES / "policy", "--jobs", jobs, "--batch", "256"], base / "results")
    make(bin_folder, ["crux-ingest", "--input", base / "results", "--jobs", jobs], base / "joined")
    make(bin_folder, ["crux-score", "--input", base / "joined"], base / "joined-score")
    adapters = "trainable={type: lora, rank: 4, alpha: 8, targets: [q_proj, v_proj], merged: true}"
    make(bin_folder, planned + ["--recipe", RECIPES / "grpo.yaml", "--set", adapters], base / "adapters-plan")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--commands", help="by commas; all without it")
    parser.add_argument("--calls", default=",".join(ERRORS))
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the commands' names")
    asked = parser.parse_args()
    if asked.list: sys.exit("\n".join(commands(asked.bin, pathlib.Path())))
    bin_folder, work = asked.bin.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="crux-faults-"))
    library = work / "failing_calls.so"
    subprocess.run(["clang", "-O1", "-shared", "-fPIC", "-o", library, HERE / "failing_calls.c", "-ldl"], check=True)
    base = prepare(bin_folder, work)
    prepare_more(bin_folder, base)
    known = commands(bin_folder, base)
    total = complaints = 0
    names = [name.strip() for name in asked.commands.split(",")] if asked.commands else list(known)
    for name in names:
        subject = Subject(name, known[name], bin_folder, work, library)
        counts, injected, codes = subject.count(), collections.Counter(), collections.Counter()
        findings = collections.defaultdict(list)
        plan = [(call, error, time) for call in asked.calls.split(",") for error in ERRORS[call]
                for time in times(counts.get(call, 0), asked.each)]
        with concurrent.futures.ThreadPoolExecutor(asked.parallel) as pool:
            for (call, error, time), (reached, status, wrong, path, said) in zip(plan, pool.map(lambda one: subject.inject(*one), plan)):
                if not reached: continue
                injected[call] += 1
                codes[status] += 1
                for complaint in wrong: findings[(call, str(error), complaint)].append((time, path, said.strip()[-300:]))
        total += sum(injected.values())
        print(f"{name}: {sum(injected.values())} faults: " + ", ".join(f"{call} {injected[call]} (of {counts[call]} calls)" for call in injected))
        print("  exit codes: " + ", ".join(f"{code}: {number}" for code, number in sorted(codes.items(), key=str)), flush=True)
        complaints += sum(map(len, findings.values()))
        for (call, error, complaint), places in sorted(findings.items()):
            print(f"  {call}, {error}: {complaint} ({len(places)} times), such as number {places[0][0]}, {places[0][1]}: {places[0][2]}", flush=True)
    print(f"{total} faults over {len(names)} commands, {complaints} complaints")
    if complaints: sys.exit(f"{work} is kept")
    shutil.rmtree(work)


if __name__ == "__main__": main()
