#!/usr/bin/env bash
# The whole way beside a real engine and a real model: vLLM samples answers to word problems from SmolLM2, Crux plans
# FR3E, vLLM runs the jobs, Crux updates, and vLLM serves what came of it. Every step is held to a limit; the first that
# is broken ends the run.
#   real/run.sh VENV BIN_DIR WORK_DIR    (make real)    ANCHORS=2  REPLICATES=4  START_SECONDS=1200 SERVE_SECONDS=5400
set -euo pipefail
venv=$(cd "$1" && pwd) bin=$(cd "$2" && pwd)
mkdir -p "$3"
work=$(cd "$3" && pwd)
cd "$(dirname "$0")/.."
python=$venv/bin/python run=$work/run problems=$work/problems
export PATH=$venv/bin:$PATH HF_HUB_OFFLINE=1
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1

# MARK: helpers

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { say "FAIL: $*"; exit 1; }

# figure FILE KEY…: a number or text in a stage's summary, whatever level its key is on.
figure() { "$python" real/figure.py "$@"; }

# crux STAGE NAME FLAGS…: runs it into $run/NAME, keeps its summary, and shows what it reports where it fails.
crux() {
  "$bin/crux-$1" "${@:3}" --output "$run/$2" > "$run/$2.json" 2> "$run/$2.log" && return
  cat "$run/$2.log"
  fail "crux-$1 ended with an error"
}

server=0
stop_server() {
  [ $server = 0 ] && return
  # A group of its own: vLLM's workers go with it.
  kill -TERM -- -$server 2> /dev/null || true
  for _ in $(seq 100); do kill -0 -- -$server 2> /dev/null || break; sleep 0.1; done
  kill -KILL -- -$server 2> /dev/null || true
  wait $server 2> /dev/null || true
  server=0
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# serve CHECKPOINT NAME: starts vLLM on a free port of the loopback and waits until it answers. It ends after
# SERVE_SECONDS, whatever becomes of us. Without chunked prefill, because requests with a seed end vLLM's CPU engine
# when a prompt's pass is cut ("CPU Generator does not use offset").
serve() {
  local began=$SECONDS
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  setsid timeout --kill-after=10 "${SERVE_SECONDS:-5400}" vllm serve "$1" --served-model-name policy --dtype float32 \
    --enforce-eager --host 127.0.0.1 --port "$port" --max-logprobs 20 --max-model-len 2048 \
    --no-enable-chunked-prefill > "$run/$2.log" 2>&1 < /dev/null &
  server=$!
  until "$python" -c "from urllib.request import *; urlopen('http://127.0.0.1:$port/health', timeout=5)" 2> /dev/null
  do
    kill -0 $server 2> /dev/null || { tail -n 30 "$run/$2.log"; fail "vLLM did not start, see $run/$2.log"; }
    [ $((SECONDS - began)) -lt "${START_SECONDS:-1200}" ] || fail "vLLM is not up after $SECONDS s, see $run/$2.log"
    sleep 1
  done
  say "vLLM serves $2 after $((SECONDS - began)) s"
}

# ask REQUESTS RESULTS: every line must come home.
ask() {
  local began=$SECONDS
  "$python" examples/run_jobs.py --jobs "$1" --server "http://127.0.0.1:$port" --output "$run/$2.jsonl" > "$run/$2.log" ||
    fail "$2: $(tail -n 1 "$run/$2.log")"
  say "$2: $(figure --results "$run/$2.jsonl" --seconds $((SECONDS - began)))"
}

# agree SCORE INGEST CHECKPOINT: the engine's log-probabilities of its own tokens against ours.
agree() {
  "$python" real/check_logprobs.py "$run/$2" "$run/$1" "$3" > "$run/$1-agree.log" 2>&1 ||
    fail "$1: $(cat "$run/$1-agree.log")"
  while read -r line; do say "$1: $line"; done < "$run/$1-agree.log"
}

# calm NAME…: nothing is wrong with this dump, so no stage may warn. (vLLM doesn't tell how large its vocabulary is;
# that score says so is right.)
calm() {
  local name
  for name in "$@"; do
    grep -i warning "$run/$name.log" | grep -v "how large the vocabulary is" && fail "$name warns of something"
    true
  done
}

# MARK: the way

rm -rf "$run"
mkdir -p "$run"
SECONDS=0
"$python" real/make_checkpoint.py "$work/smollm2"
"$python" real/make_problems.py "$problems"
serve "$work/smollm2" server-before
ask "$problems/requests.jsonl" rollouts
crux ingest ingest --input "$run/rollouts.jsonl" --requests "$problems/requests.jsonl"
[ "$(figure "$run/ingest.json" rollouts)" = 128 ] || fail "not every answer is accepted, see $run/ingest/rejected.arrow"
say "ingest: $(figure "$run/ingest.json" rollouts) rollouts"
crux score score-topk --input "$run/ingest"
crux score score --input "$run/ingest" --checkpoint "$work/smollm2"
agree score ingest "$work/smollm2"
calm ingest score-topk score
say "score: $(figure "$run/score.json" correct) of $(figure "$run/score.json" judged) right"

# How much of an entropy mask intervals leave open, and what their middles would choose.
crux plan mask --report-only --input "$run/ingest" --scores "$run/score-topk" --recipe recipes/dapo-top20.yaml \
  --set entropy.mask.max_undecided=1
undecided=$(figure "$run/mask.json" undecided_tokens) tokens=$(figure "$run/mask.json" trainable_tokens)
say "Top-20 % from the best 20: $undecided of $tokens tokens are undecided"

recipe=(--recipe recipes/fr3e.yaml --set expansion.anchors="${ANCHORS:-2}")
recipe+=(--set expansion.replicates="${REPLICATES:-4}")
crux plan expansion --input "$run/ingest" --scores "$run/score" "${recipe[@]}" --tokenizer "$work/smollm2"
ask "$run/expansion/jobs" continuations
crux ingest joined --input "$run/continuations.jsonl" --jobs "$run/expansion/jobs"
[ "$(figure "$run/joined.json" missing)" = 0 ] || fail "results are missing: $(figure "$run/joined.json" missing)"
crux score joined-score --input "$run/joined" --checkpoint "$work/smollm2"
agree joined-score joined "$work/smollm2"
crux plan plan --input "$run/joined" --scores "$run/joined-score" --jobs "$run/expansion/jobs" "${recipe[@]}"
crux update update --plan "$run/plan" --checkpoint "$work/smollm2"
calm expansion joined joined-score plan update
say "update: $(figure "$run/update.json" steps) steps"
crux report page.html page --input "$run/joined" --scores "$run/joined-score" --plan "$run/plan" \
  --jobs "$run/expansion/jobs" --update "$run/update" --tokenizer "$work/smollm2" --minimum-count 9 \
  --title "SmolLM2-135M-Instruct, FR3E"
say "page: $(figure "$run/page.html.json" rollouts) rollouts in $run/page.html"
stop_server

updated=$(ls -d "$run"/update/step-* | tail -n 1)
serve "$updated" server-after
ask "$problems/requests-after.jsonl" rollouts-after
crux ingest ingest-after --input "$run/rollouts-after.jsonl" --requests "$problems/requests-after.jsonl"
crux score score-after --input "$run/ingest-after" --checkpoint "$updated"
agree score-after ingest-after "$updated"
calm ingest-after score-after
stop_server

# The same model's own dump: what it says of its entropies.
head -n 16 "$problems/train.jsonl" > "$run/evidence.jsonl"
"$python" real/check_evidence.py "$bin" "$work/smollm2" "$run/evidence.jsonl" "$run/evidence" ||
  fail "evidence: see above"
say "make real: all within limits"
