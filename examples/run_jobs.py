#!/usr/bin/env python3
"""Runs Crux's re-expansion jobs, or any batch of requests, on an OpenAI-compatible server (vLLM, …) or on SGLang. Standard library only.

    vllm serve policy/ --served-model-name policy --max-logprobs 20 --port 8000 &
    python examples/run_jobs.py --jobs run/plan/jobs --server http://localhost:8000 --output results.jsonl
    crux-ingest --input results.jsonl --jobs run/plan/jobs --output run2/ingest

Each line is sent as crux-plan wrote it: `crux-plan --engine openai` (token ids to /v1/completions), `chat` (text to
/v1/chat/completions) or `sglang` (input_ids to /generate). A file of lines such as missing.jsonl, or the request file of a
batch of your own, serves as --jobs too (ingest such results with --requests FILE).

Every result is on the disk before its job counts as done: whole lines, appended in the order in which they come, each synced.
Stop or kill it whenever you like; run again, only what has no good result yet is sent. Exit code 1: some jobs failed.
"""
import argparse, fcntl, glob, json, os, sys, threading, time, urllib.error, urllib.request

FAILED = {"abort", "aborted", "error", "failed", "cancelled", "canceled", "timeout"}    # finish reasons that crux-ingest refuses


def job_lines(path):
    names = sorted(glob.glob(glob.escape(path) + "/jobs-*.jsonl")) if os.path.isdir(path) else [path]
    if not names: sys.exit(f"{path}: found no jobs-*.jsonl, expected the jobs folder of crux-plan or a file of request lines")
    for name in names:
        with open(name, encoding="utf8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip(): continue
                try: job = json.loads(line)
                except ValueError: job = None
                if not isinstance(job, dict) or name_of(job) is None or not ("body" in job and "url" in job or "sampling_params" in job):
                    sys.exit(f"{name}: line {number}: found {line[:60]!r}, expected a request with custom_id, url and body, or with rid and sampling_params")
                yield job


def name_of(row):
    """What a request or a result calls itself; custom_ids may be numbers."""
    name = next((row[key] for key in ("custom_id", "rid") if row.get(key) is not None), None)
    if name is None: name = (row.get("meta_info") or {}).get("id")
    return None if name is None else str(name)


def is_good(row):
    """Whether a result is one that crux-ingest takes."""
    if not isinstance(row, dict) or row.get("error"): return False
    if "meta_info" in row:
        reason = (row["meta_info"] or {}).get("finish_reason")
        return str(reason.get("type") if isinstance(reason, dict) else reason).lower() not in FAILED
    choices = ((row.get("response") or {}).get("body") or {}).get("choices") or []
    return bool(choices) and not any(str(choice.get("finish_reason")).lower() in FAILED for choice in choices)


def finished(path):
    """Names of the jobs that have a good result already."""
    done = set()
    if os.path.exists(path):
        with open(path, encoding="utf8", errors="replace") as file:
            for line in file:
                try: row = json.loads(line)
                except ValueError: continue     # cut off by an interruption
                if is_good(row): done.add(name_of(row))
    return done


def post(url, body, timeout):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response: return response.status, json.load(response)


def run(job, server, timeout, retries):
    """One result line: batch output for OpenAI's shape, the bare response for SGLang."""
    is_batch = "custom_id" in job
    url, body = (server + job["url"], job["body"]) if is_batch else (server + "/generate", job)
    message = "no attempt was made"
    for attempt in range(retries + 1):
        try:
            status, answer = post(url, body, timeout)
            if is_batch: return {"custom_id": job["custom_id"], "response": {"status_code": status, "body": answer}, "error": None}
            if isinstance(answer, dict): return {**answer, "rid": job["rid"]}
            return {"custom_id": job["rid"], "response": None, "error": {"message": f"an answer that is no object: {str(answer)[:200]}"}}
        except urllib.error.HTTPError as error:
            message = f"status {error.code}: {error.read().decode(errors='replace')[:500]}"
            if error.code < 500 and error.code not in (408, 429): break     # the request itself is at fault
        except Exception as error: message = f"{type(error).__name__}: {error}"     # whatever it is, it costs this job alone
        if attempt < retries: time.sleep(min(30, 2 ** attempt))
    return {"custom_id": job.get("custom_id") or job["rid"], "response": None, "error": {"message": message}}


class Results:
    """The output file: whole lines, on the disk before `append` returns. One process at a time."""
    def __init__(self, path):
        self.file = open(path, "ab+")
        try: fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError: sys.exit(f"{path}: another run_jobs.py is writing there; wait for it, or choose another --output")
        self.lock, self.good, self.failed = threading.Lock(), 0, 0
        end = self.file.seek(0, os.SEEK_END)
        if end:
            self.file.seek(end - 1)
            if self.file.read(1) != b"\n": self.write(b"\n")    # a line that a kill cut off ends here

    def write(self, data):
        self.file.write(data)
        self.file.flush()
        os.fsync(self.file.fileno())

    def append(self, result):
        line = json.dumps(result).encode() + b"\n"
        with self.lock:
            self.write(line)
            if is_good(result): self.good += 1
            else: self.failed += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", required=True, help="jobs folder of crux-plan, or a file of request lines")
    parser.add_argument("--server", required=True, help="such as http://localhost:8000")
    parser.add_argument("--output", required=True, help="JSON lines, appended to")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--retries", type=int, default=3)
    arguments = parser.parse_args()
    results, done = Results(arguments.output), finished(arguments.output)
    jobs = [job for job in job_lines(arguments.jobs) if name_of(job) not in done]
    print(f"{len(jobs)} jobs to run, {len(done)} done already", flush=True)
    waiting, taking, broken = iter(jobs), threading.Lock(), []

    def work():
        try:
            while not broken:
                with taking: job = next(waiting, None)
                if job is None: return
                results.append(run(job, arguments.server.rstrip("/"), arguments.timeout, arguments.retries))
        except BaseException as error: broken.append(error)     # the output can't be written: going on would lose results

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, min(arguments.concurrency, len(jobs))))]
    for thread in threads: thread.start()
    said = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        for thread in threads: thread.join(0.2 / len(threads))
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"{results.good + results.failed} of {len(jobs)} answered, {results.failed} failed", file=sys.stderr, flush=True)
    if broken: sys.exit(f"{arguments.output}: {broken[0]}; what is written there is whole, run again")
    print(f"{results.good} succeeded, {results.failed} failed; join with crux-ingest --jobs, which writes missing.jsonl for what is left")
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__": main()
