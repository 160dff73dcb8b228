"""examples/run_jobs.py against a server that is slow, fails and gets its client killed: no result waits for another, none is lost, nothing is
asked for twice. Standard library only."""
import http.server, json, os, signal, subprocess, sys, tempfile, threading, time

RUN_JOBS = os.path.join(os.path.dirname(__file__), "..", "examples", "run_jobs.py")


class Server(http.server.ThreadingHTTPServer):
    """Answers by the job's seed: its number. `slow` ones wait until they are released, `failing` ones fail."""
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.slow, self.failing, self.release = [], set(), {}, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = body.get("seed", body.get("sampling_params", {}).get("sampling_seed"))
        self.server.asked.append(number)
        if number in self.server.slow: self.server.release.wait(30)
        status = self.server.failing.get(number, 200)
        if self.path == "/generate":
            answer = {"text": "4", "output_ids": [5], "meta_info": {"id": body["rid"], "finish_reason": {"type": "stop", "matched": 5}}}
        else: answer = {"choices": [{"index": 0, "text": "4", "token_ids": [5], "finish_reason": "abort" if status == "abort" else "stop"}]}
        data = json.dumps(answer).encode()
        self.send_response(status if isinstance(status, int) else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try: self.wfile.write(data)
        except BrokenPipeError: pass

    def log_message(self, *_): pass


def job(number, dialect):
    if dialect == "sglang": return {"rid": f"j{number}", "input_ids": [1], "sampling_params": {"sampling_seed": number}}
    return {"custom_id": f"j{number}", "url": "/v1/completions", "method": "POST", "body": {"prompt": [1], "seed": number}}


def rows(path):
    with open(path) as file: return [json.loads(line) for line in file]


def names(path): return sorted(row.get("custom_id") or row["rid"] for row in rows(path))


def check(dialect, folder):
    server, jobs, output = Server(), os.path.join(folder, dialect + "-jobs.jsonl"), os.path.join(folder, dialect + ".jsonl")
    with open(jobs, "w") as file: file.writelines(json.dumps(job(number, dialect)) + "\n" for number in range(20))
    command = [sys.executable, RUN_JOBS, "--jobs", jobs, "--server", server.url, "--output", output, "--concurrency", "4", "--retries", "0"]
    # The first job doesn't end: all others are on the disk all the same when the client is killed.
    server.slow = {0}
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (os.path.exists(output) and len(open(output).readlines()) == 19): time.sleep(0.05)
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode != 0 and "another run_jobs.py" in second.stderr, second
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert names(output) == sorted(f"j{number}" for number in range(1, 20)), "a slow job held others back, or a kill lost them"
    # A line that was cut off, and a server that fails once: what has no good result is asked for again, and nothing else.
    with open(output, "a") as file: file.write('{"custom_id": "j0", "resp')
    server.slow, server.asked, server.failing = set(), [], {0: 500}
    server.release.set()
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 1 and server.asked == [0]
    server.asked, server.failing = [], {0: "abort"} if dialect == "openai" else {}
    status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if dialect == "openai":
        assert status == 1 and server.asked == [0]
        server.asked, server.failing = [], {}
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    assert status == 0 and server.asked == [0]
    server.asked = []
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0 and server.asked == []
    server.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for dialect in ["openai", "sglang"]: check(dialect, folder)
    print("run_jobs.py: a slow job holds nobody back, a kill loses nothing, a rerun asks for what is missing alone")
