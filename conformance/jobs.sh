#!/usr/bin/env bash
# Jobs out to a server and home again, in every dialect: jobs.sh PYTHON BIN_DIR WORK_DIR
set -euo pipefail
python=$1 bin=$2 work=$3 port=$((20000 + RANDOM % 20000))
"$python" conformance/tiny_server.py fixtures/policy $port 2> /dev/null &
server=$!
trap 'kill $server 2> /dev/null || true' EXIT
for _ in $(seq 120); do "$python" -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2> /dev/null && break; sleep 0.5; done
"$bin/crux-ingest" --quiet --input fixtures/dump/rollouts-00000.rollouts.zst --output "$work/ingest" > /dev/null
"$bin/crux-score" --quiet --input "$work/ingest" --output "$work/score" > /dev/null
for engine in openai sglang chat; do
  recipe=(--recipe recipes/fr3e.yaml --set expansion.anchors=1 --set expansion.replicates=2)
  "$bin/crux-plan" --quiet --input "$work/ingest" --scores "$work/score" "${recipe[@]}" --tokenizer fixtures/policy --engine $engine --output "$work/$engine/jobs" > /dev/null
  "$python" examples/run_jobs.py --jobs "$work/$engine/jobs/jobs" --server http://127.0.0.1:$port --output "$work/$engine.jsonl" --concurrency 4 --retries 0 > /dev/null || [ $? = 1 ]
  "$bin/crux-ingest" --quiet --input "$work/$engine.jsonl" --jobs "$work/$engine/jobs/jobs" --output "$work/$engine/partial" > "$work/$engine/partial.json"
  grep -q '"rejected_engine_error"' "$work/$engine/partial.json" || { echo "FAIL $engine: the server's failures did not show"; exit 1; }
  # What failed is submitted once more, from the file that the join wrote.
  "$python" examples/run_jobs.py --jobs "$work/$engine/partial/missing.jsonl" --server http://127.0.0.1:$port --output "$work/$engine.jsonl" --retries 3 > /dev/null
  "$bin/crux-ingest" --quiet --input "$work/$engine.jsonl" --jobs "$work/$engine/jobs/jobs" --output "$work/$engine/joined" > "$work/$engine/joined.json"
  grep -q '"missing":0' "$work/$engine/joined.json" || { echo "FAIL $engine: results are missing"; cat "$work/$engine/joined.json"; exit 1; }
  # Our own forward pass agrees with the engine's log-probabilities.
  "$bin/crux-score" --input "$work/$engine/joined" --output "$work/$engine/score" --checkpoint fixtures/policy > "$work/$engine/score.json" 2> /dev/null
  "$bin/crux-plan" --quiet --input "$work/$engine/joined" --scores "$work/$engine/score" "${recipe[@]}" --jobs "$work/$engine/jobs/jobs" --output "$work/$engine/plan" > /dev/null
  "$python" - "$work/$engine/score.json" $engine <<'P'
import json, sys
worst = json.load(open(sys.argv[1]))["report"]["sampler_checkpoint_max"]
print(f"jobs, {sys.argv[2]}: all results home; log-probabilities differ from the engine's by at most {worst:.1e}")
sys.exit(worst > 1e-4)
P
done
