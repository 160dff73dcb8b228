#!/usr/bin/env python3
"""Runs Crux's re-expansion jobs on an OpenAI-compatible server (vLLM, …) or on SGLang. Standard library only.

    vllm serve policy/ --served-model-name policy --max-logprobs 1 --port 8000 &
    python docs/run_jobs.py --jobs run/plan/jobs --server http://localhost:8000 --output results.jsonl
    crux-ingest --input results.jsonl --jobs run/plan/jobs --output run2/ingest

Each line is sent as crux-plan wrote it: `crux-plan --engine openai` (token ids to /v1/completions), `chat` (text to
/v1/chat/completions) or `sglang` (input_ids to /generate). Results are appended as they come, whatever their order; run
again after an interruption, only what has no good result yet is sent. A file of lines such as missing.jsonl serves as --jobs too.
"""
import argparse, concurrent.futures, glob, json, os, threading, time, urllib.error, urllib.request


def job_lines(path):
    for name in sorted(glob.glob(path + "/jobs-*.jsonl")) if os.path.isdir(path) else [path]:
        with open(name, encoding="utf8") as file:
            for line in file:
                if line.strip(): yield json.loads(line)


def finished(path):
    """custom_ids that have a good result already."""
    done = set()
    if os.path.exists(path):
        with open(path, encoding="utf8") as file:
            for line in file:
                try: row = json.loads(line)
                except ValueError: continue     # cut off by an interruption
                if not row.get("error"): done.add(row.get("custom_id") or row.get("meta_info", {}).get("id"))
    return done


def post(url, body, timeout):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as response: return response.status, json.load(response)


def run(job, server, timeout, retries):
    """One result line: batch output for OpenAI's shape, the bare response for SGLang."""
    is_batch = "custom_id" in job
    url, body = (server + job["url"], job["body"]) if is_batch else (server + "/generate", job)
    for attempt in range(retries + 1):
        try:
            status, answer = post(url, body, timeout)
            return {"custom_id": job["custom_id"], "response": {"status_code": status, "body": answer}, "error": None} if is_batch else answer
        except urllib.error.HTTPError as error:
            message = f"status {error.code}: {error.read().decode(errors='replace')[:500]}"
            if error.code < 500 and error.code != 429: break     # the request itself is at fault
        except (OSError, ValueError) as error: message = str(error)
        if attempt < retries: time.sleep(min(30, 2 ** attempt))
    return {"custom_id": job.get("custom_id") or job["rid"], "response": None, "error": {"message": message}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", required=True, help="jobs folder of crux-plan, or a file of request lines")
    parser.add_argument("--server", required=True, help="such as http://localhost:8000")
    parser.add_argument("--output", required=True, help="JSON lines, appended to")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--retries", type=int, default=3)
    arguments = parser.parse_args()
    done = finished(arguments.output)
    jobs = [job for job in job_lines(arguments.jobs) if (job.get("custom_id") or job.get("rid")) not in done]
    print(f"{len(jobs)} jobs to run, {len(done)} done already")
    lock, failed = threading.Lock(), 0
    needs_newline = os.path.exists(arguments.output) and os.path.getsize(arguments.output) > 0 and open(arguments.output, "rb").read()[-1:] != b"\n"
    with open(arguments.output, "a", encoding="utf8") as out, concurrent.futures.ThreadPoolExecutor(arguments.concurrency) as pool:
        if needs_newline: out.write("\n")
        for result in pool.map(lambda job: run(job, arguments.server.rstrip("/"), arguments.timeout, arguments.retries), jobs):
            with lock:
                out.write(json.dumps(result) + "\n")
                out.flush()
            failed += bool(result.get("error"))
    print(f"{len(jobs) - failed} succeeded, {failed} failed; join with crux-ingest --jobs, which writes missing.jsonl for what is left")


if __name__ == "__main__": main()
