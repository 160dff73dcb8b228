#!/usr/bin/env bash
# The chain and the loop on a real Slurm: Debian's slurmctld and two slurmd on this machine, started for this script and
# stopped by it. What jobs have made, killed and queued again on the way, is held against the same made by hand, byte by
# byte but for the column of wall-clock seconds (update/metrics.arrow) and Slurm's own folders (slurm/).
#
#     slurm.sh BIN        # needs slurmctld slurmd slurm-client munge, BIN/libcrux-mpi.so; root, as slurmd does
set -euo pipefail
bin=$(realpath "$1")
cd "$(dirname "$0")/.."
. conformance/slurm_cluster.sh
work=$(mktemp -d)
# A folder with what shells and sbatch trip over.
run="$work/a run's 100%"
mkdir -p "$run"
finish() {
  status=$?
  stop_cluster "$work/cluster"
  if [ "$status" -eq 0 ]; then rm -rf "$work"; else echo "slurm.sh: failed; $work is kept" >&2; fi
}
trap finish EXIT
say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

# Waits until the queue is empty.
drain() {
  for _ in $(seq "${1:-600}"); do
    [ -z "$(squeue --noheader --format=%i)" ] && return
    sleep 1
  done
  squeue >&2
  fail "jobs are still in the queue"
}

# Every file below a folder but those that differ between equal runs, with its digest.
digests() {
  (cd "$1" && find . -name slurm -prune -o -type f ! -path '*/update/metrics.arrow' ! -name run.json -print0 | sort -z | xargs -0 sha256sum)
}

same() {
  diff <(digests "$1") <(digests "$2") || fail "$1 differs from $2"
  say "same bytes: $3, $(digests "$2" | wc -l) files"
}

# Waits for the process of a stage that works as a task of a job array, and has it stand still: name, task's number.
catch() {
  local process
  for _ in $(seq 1200); do
    for process in $(pgrep -x "$1"); do
      if tr '\0' '\n' < "/proc/$process/environ" 2> /dev/null | grep -qx "SLURM_ARRAY_TASK_ID=$2"; then
        kill -STOP "$process" && echo "$process" && return
      fi
    done
    sleep 0.05
  done
  fail "no $1 of task $2"
}

# Waits until a file is there.
appears() {
  for _ in $(seq 1200); do compgen -G "$1" > /dev/null && return; sleep 0.1; done
  fail "$1 did not appear"
}

start_cluster "$work/cluster"
sinfo --Node
head -n 240 fixtures/prompts-train.jsonl > "$run/prompts.jsonl"
head -n 16 fixtures/prompts-heldout.jsonl > "$run/heldout.jsonl"
common=(--checkpoint fixtures/policy --prompts "$run/prompts.jsonl")
sampling="--group-size 8 --max-tokens 72 --rollouts-per-shard 64 --logits --stop \"it's\""

say "== the same by hand"
hand=$work/hand
quiet() { "$@" --quiet --threads 1 > /dev/null; }
eval "quiet $bin/crux-rollout $sampling" '"${common[@]}" --output "$hand/rollout"'
quiet "$bin/crux-ingest" --input "$hand/rollout" --output "$hand/ingest"
quiet "$bin/crux-score" --input "$hand/ingest" --output "$hand/score" --checkpoint fixtures/policy
for recipe in grpo dapo-top20; do
  quiet "$bin/crux-plan" --input "$hand/ingest" --scores "$hand/score" --recipe recipes/$recipe.yaml \
    --output "$hand/$recipe/plan"
  quiet "$bin/crux-update" --plan "$hand/$recipe/plan" --checkpoint fixtures/policy --output "$hand/$recipe/update" \
    --memory 921M
done

say "== what the chain would submit"
chain=("$bin/crux-slurm" "${common[@]}" --output "$run/chain" --recipe recipes/grpo.yaml
  --recipe recipes/dapo-top20.yaml --array rollout=3 --array 2 --cpus-per-task 1 --job-memory 1G --time 10
  --flags "rollout=$sampling" --flags "score=--checkpoint fixtures/policy" --sbatch=--nice=1)
"${chain[@]}" --dry-run
cat "$run/chain/slurm/score.sh"
for script in "$run"/chain/slurm/*.sh; do bash -n "$script"; done

say "== the chain; one task is killed, another one signalled, an update cancelled"
"${chain[@]}"
first=$(catch crux-rollout 0) second=$(catch crux-rollout 1)
squeue --format='%.8i %.9T %.24j %.20E %.8N'
update=$(squeue --noheader --format='%F %j' | awk '/crux-update/ { print $1; exit }')
rollout=$(squeue --noheader --format='%F %j' | awk '/crux-rollout/ { print $1; exit }')
scancel "${update}_1"
kill -9 "$first"
scancel --batch --signal=USR1 "${rollout}_1"
sleep 1
kill -CONT "$second"
drain
grep -H "queued again" "$run"/chain/slurm/rollout-*.log | sed "s|.*/||"
[ "$(cat "$run"/chain/slurm/rollout-*.log | grep -c "queued again")" -ge 2 ] || fail "two tasks should have been queued again"
[ -f "$run/chain/grpo/update/manifest.json" ] || fail "grpo should have been updated"
[ ! -f "$run/chain/dapo-top20/update/manifest.json" ] || fail "dapo-top20's update was cancelled"

say "== once more: what is left"
"${chain[@]}"
drain
same "$hand" "$run/chain" "a chain of $(cat "$run"/chain/slurm/*.exit | wc -l) tasks"

say "== once more: nothing is left"
"${chain[@]}" 2> "$work/said" || fail "a finished chain"
cat "$work/said"
[ -z "$(squeue --noheader)" ] || fail "a finished chain has nothing to submit"

say "== a script by hand"
sbatch --wait "$run/chain/slurm/score.sh"
same "$hand" "$run/chain" "a finished stage submitted again"

say "== a job whose owner cancels it stays cancelled"
cancelled=("$bin/crux-slurm" "${common[@]}" --output "$run/cancelled" --until rollout --flags "rollout=$sampling" --threads 1)
"${cancelled[@]}" --array rollout=2
second=$(catch crux-rollout 1)
scancel "$(squeue --noheader --format=%F | head -n 1)"
kill -CONT "$second"
drain
[ ! -f "$run/cancelled/rollout/manifest.json" ] || fail "it should have been cut short"
# None where it was cancelled before there was a folder for them.
{ find "$run/cancelled/rollout/.work" -name '[0-9]*.json' 2> /dev/null || true; } | wc -l | sed 's/$/ shards were made before/'

say "== and goes on; a task that is slow is signalled before its time limit and queued again"
"${cancelled[@]}" --array rollout=2 --time 1 --stop-before 50
second=$(catch crux-rollout 1)
# Until it has a SIGTERM to look at. slurmctld looks at time limits every half minute.
for _ in $(seq 600); do grep -q '^ShdPnd:.*4...$' "/proc/$second/status" && break; sleep 0.1; done
kill -CONT "$second"
drain
grep -H "queued again" "$run"/cancelled/slurm/rollout-*.log | sed "s|.*/||" || fail "no signal before the time limit"
same "$hand/rollout" "$run/cancelled/rollout" "rollouts cut short by their owner and by their time limit"

say "== an update of two ranks of MPI; it is signalled, and queued again"
gang=("$bin/crux-slurm" --input fixtures/dump --checkpoint fixtures/policy --output "$run/gang" --recipe recipes/grpo.yaml
  --set schedule.groups_per_step=8 --set schedule.epochs=4 --set optimizer.lr=1e-4 --set optimizer.eps=1e-4
  --flags "update=--save-every 1 --weights f32" --ranks 2 --cpus-per-task 1
  --job-memory update=1G --time 10)
# What is loopback to MPI too, where a node has no other way.
export OMPI_MCA_btl_tcp_if_include=lo
"${gang[@]}"
cat "$run/gang/slurm/update.sh"
appears "$run/gang/grpo/update/step-000001"
scancel --batch --signal=USR1 "$(squeue --noheader --format='%F %j' | awk '/crux-update/ { print $1; exit }')"
drain
cat "$run"/gang/slurm/update-*.log
grep -q "queued again" "$run"/gang/slurm/update-*.log || fail "no signal has reached the ranks"
[ "$(cat "$run"/gang/slurm/update-*.exit)" = 0 ] || fail "the update"
grep -q '"ranks" *: *"2"' "$run/gang/grpo/update/manifest.json" || fail "one rank alone has done it"
quiet "$bin/crux-update" --plan "$run/gang/grpo/plan" --checkpoint fixtures/policy --output "$work/alone" --weights f32
python3 conformance/compare_weights.py "two ranks" fixtures/policy "$work/alone" "$run/gang/grpo/update"
say "-- ranks on two nodes"
"${gang[@]}" --output "$run/apart" --sbatch update=--nodes=2
drain
cat "$run"/apart/slurm/update-*.log
same "$run/gang" "$run/apart" "an update of two ranks on two nodes"

say "== words for what goes wrong"
expect() {
  local wanted=$1 status=0; shift
  "$@" > /dev/null 2> "$work/said" || status=$?
  cat "$work/said"
  [ "$status" -eq "$wanted" ] || fail "exit code $status, expected $wanted"
}
expect 4 "${chain[@]}" --partition nowhere --resubmit
expect 2 "${chain[@]}" --flags "score=--rewad math"
expect 4 env PATH=/nonexistent "${chain[@]}" --resubmit

say "== a loop by hand, and one whose stages are jobs; it is killed and run again meanwhile"
loop=("$bin/crux-loop" --recipe recipes/grpo.yaml --checkpoint fixtures/policy --prompts "$run/prompts.jsonl"
  --heldout "$run/heldout.jsonl" --iterations 2 --prompts-per-iteration 12 --group-size 4 --max-tokens 60
  --rollouts-per-shard 16 --threads 1 --set optimizer.lr=1e-4)
"${loop[@]}" --output "$work/loop-hand" --quiet > /dev/null
jobs=(--slurm --poll-seconds 1 --array 2 --time 10)
"${loop[@]}" --output "$run/loop" "${jobs[@]}" > /dev/null 2> "$work/first" &
pid=$!
appears "$run/loop/iteration-0001/slurm/iteration-0001-score.sh"
kill -9 "$pid"
wait "$pid" || true
cat "$work/first"
say "-- killed, and run again"
"${loop[@]}" --output "$run/loop" "${jobs[@]}" > /dev/null 2> "$work/second" &
pid=$!
for _ in $(seq 1200); do grep -q "job [0-9]*: iteration-0001-heldout-rollout" "$work/second" && break; sleep 0.1; done
kill -9 "$pid"
wait "$pid" || true
cat "$work/second"
say "-- killed while its job was in the queue, and run again"
"${loop[@]}" --output "$run/loop" "${jobs[@]}" > /dev/null 2> "$work/third" || { cat "$work/third"; fail "the loop"; }
cat "$work/third"
grep -q "is in the queue already" "$work/third" || fail "the loop did not find its job"
# Of a log's name, STEP-JOB.log or STEP-JOB_TASK.log, the job.
submitted=$(find "$run/loop" -name '*.log' | sed -E 's/.*-([0-9]+)(_[0-9]+)?\.log$/\1/' | sort -u | wc -l)
stages=$(find "$run/loop" -name '*.sh' | wc -l)
[ "$submitted" -eq "$stages" ] || fail "$submitted jobs for $stages stages: one was submitted twice"
same "$work/loop-hand" "$run/loop" "a loop of $stages jobs, killed twice"
say "all as it should be"
