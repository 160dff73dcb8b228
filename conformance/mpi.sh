#!/usr/bin/env bash
# An update by 1, 2 and 4 ranks of a real MPI against the plain one: weights, metrics, bytes of equal runs, going on,
# failing, and the memory of each rank. make check-mpi
#
#     mpi.sh BIN PYTHON      # needs mpirun, and BIN/libcrux-mpi.so (make mpi)
set -euo pipefail
bin=$(realpath "$1") python=$2
cd "$(dirname "$0")/.."
# OpenMPI asks root to say so, and starts more ranks than there are processors only where it may.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'status=$?; [ $status -eq 0 ] || tail -n 20 "$work/log" >&2; rm -rf "$work"' EXIT
policy=fixtures/policy
say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

mpi=(mpirun --oversubscribe -n)
update() {    # RANKS (0: without MPI) FLAG…
  local count=$1
  shift
  if [ "$count" -eq 0 ]; then "$bin/crux-update" --threads 1 --weights f32 "$@" 2>> "$work/log"
  else "${mpi[@]}" "$count" "$bin/crux-update" --mpi --threads 1 --weights f32 "$@" 2>> "$work/log"; fi
}

# Bytes of all files but those that tell the time.
digest() { (cd "$1" && find . -type f ! -name run.json ! -name metrics.arrow ! -path '*/.work/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
same() { [ "$(digest "$1")" = "$(digest "$2")" ] || fail "$1 differs from $2"; }
compare() { "$python" conformance/compare_weights.py "$@" || fail "$*"; }

say "== scores and models that recipes compare with"
quiet() { "$@" --quiet --threads 1 > /dev/null; }
quiet "$bin/crux-ingest" --input fixtures/dump --output "$work/ingest"
quiet "$bin/crux-score" --input "$work/ingest" --output "$work/score-plain"
quiet "$bin/crux-plan" --input "$work/ingest" --scores "$work/score-plain" --recipe recipes/grpo.yaml \
  --set optimizer.lr=3e-4 --output "$work/beside/plan"
quiet "$bin/crux-update" --plan "$work/beside/plan" --checkpoint $policy --output "$work/beside/update"
beside=$(ls -d "$work"/beside/update/step-* | tail -n 1)
quiet "$bin/crux-score" --input "$work/ingest" --output "$work/score" --checkpoint $policy --reference "$beside" \
  --critic $policy --process-reward "$beside" --process-reference $policy --q-network "$beside"

plan() {    # NAME RECIPE SETTING…
  local name=$1 recipe=$2 set=()
  shift 2
  for setting in "$@"; do set+=(--set "$setting"); done
  quiet "$bin/crux-plan" --input "$work/ingest" --scores "$work/score" --recipe "recipes/$recipe.yaml" "${set[@]}" \
    --output "$work/$name/plan"
}

# A plan by the plain update, and by 1, 2 and 4 ranks. Adam's first step goes by a gradient's sign, so eps is large enough
# that what noise alone has decided doesn't count.
hold() {    # NAME FLAG…
  local name=$1 count
  shift
  update 0 --plan "$work/$name/plan" --checkpoint $policy "$@" --output "$work/$name/plain" > /dev/null
  for count in 1 2 4; do
    update "$count" --plan "$work/$name/plan" --checkpoint $policy "$@" --output "$work/$name/$count" > "$work/said"
    [ "$(wc -l < "$work/said")" -eq 1 ] || fail "$count ranks have written more than one line to stdout"
  done
  # One rank by itself is the plain update.
  same "$work/$name/plain" "$work/$name/1"
  for count in 1 2 4; do compare "$name, $count ranks" $policy "$work/$name/plain" "$work/$name/$count"; done
}

steps=(optimizer.lr=3e-4 optimizer.eps=1e-4)
plan full grpo "${steps[@]}" schedule.groups_per_step=8 schedule.epochs=2
plan masked dapo-top20-current "${steps[@]}" schedule.groups_per_step=12
plan covariance clip-cov "${steps[@]}" objective.ratio=0.01
plan lora grpo "${steps[@]}" trainable.type=lora schedule.groups_per_step=12
plan pairs dpo "${steps[@]}" schedule.groups_per_step=12
plan divergence etpo "${steps[@]}" schedule.groups_per_step=12
plan target etpo-q "${steps[@]}" schedule.groups_per_step=12
plan critic ppo-critic "${steps[@]}" schedule.groups_per_step=12
plan penalty grpo-kl "${steps[@]}" schedule.groups_per_step=12
plan bonus grpo-entropy-adaptive "${steps[@]}" schedule.groups_per_step=12 schedule.epochs=2 \
  "entropy.bonus={coef: 0.1, adaptive: {target: 5, step: 0.05}}"
plan distilled distill "${steps[@]}" schedule.groups_per_step=12

say "== 1, 2 and 4 ranks against the plain update: relative L2 of weights, and of what the update has changed"
hold full --save-every 2
hold masked
hold covariance
hold lora
hold pairs
hold divergence --reference "$beside" --q-network "$beside"
hold target
hold critic
hold penalty
hold bonus
hold distilled --reference "$beside"

say "== the same command again: the same bytes"
update 4 --plan "$work/full/plan" --checkpoint $policy --save-every 2 --output "$work/full/again" > /dev/null
same "$work/full/4" "$work/full/again"
update 4 --plan "$work/target/plan" --checkpoint $policy --output "$work/target/again" > /dev/null
same "$work/target/4" "$work/target/again"

say "== interrupted between two steps, and gone on with"
interrupted=(--plan "$work/full/plan" --checkpoint $policy --save-every 1)
update 2 "${interrupted[@]}" --output "$work/full/whole" > /dev/null
"${mpi[@]}" 2 "$bin/crux-update" --mpi --threads 1 --weights f32 "${interrupted[@]}" --output "$work/full/cut" \
  > /dev/null 2> "$work/words" &
launcher=$!
for _ in $(seq 600); do compgen -G "$work/full/cut/step-*" > /dev/null && break; sleep 0.02; done
# mpirun hands SIGUSR1 on to all ranks.
kill -USR1 $launcher
status=0
wait $launcher || status=$?
[ "$status" -eq 75 ] || { cat "$work/words"; fail "interrupted ranks have ended with $status"; }
[ "$(grep -c "crux-update: error" "$work/words")" -eq 1 ] || { cat "$work/words"; fail "one error was expected"; }
grep "crux-update: error" "$work/words"
[ ! -f "$work/full/cut/manifest.json" ] || fail "it was to be interrupted"
say "steps saved before: $(ls -d "$work"/full/cut/step-* | wc -l)"
status=0
update 4 "${interrupted[@]}" --output "$work/full/cut" > /dev/null || status=$?
[ "$status" -eq 5 ] || fail "another number of ranks has gone on with it ($status)"
tail -n 20 "$work/log" | grep -o "ranks was 2, now 4" | head -n 1
update 2 "${interrupted[@]}" --output "$work/full/cut" > /dev/null
same "$work/full/whole" "$work/full/cut"

say "== resumed with another number of ranks"
update 4 --plan "$work/full/plan" --checkpoint $policy --resume-from "$work/full/2" --output "$work/full/four-after-two" > /dev/null
update 0 --plan "$work/full/plan" --checkpoint $policy --resume-from "$work/full/plain" --output "$work/full/plain-after-plain" > /dev/null
update 2 --plan "$work/target/plan" --checkpoint $policy --resume-from "$work/target/4" --output "$work/target/two-after-four" > /dev/null
update 0 --plan "$work/target/plan" --checkpoint $policy --resume-from "$work/target/plain" --output "$work/target/plain-after-plain" > /dev/null
compare "4 ranks after 2" $policy "$work/full/plain-after-plain" "$work/full/four-after-two"
compare "2 ranks after 4, with a target network" $policy "$work/target/plain-after-plain" "$work/target/two-after-four"

say "== what goes wrong"
# Runs a command that is to end with a status, and shows its errors.
expect() {
  local wanted=$1 status=0
  shift
  timeout 120 "$@" > /dev/null 2> "$work/words" || status=$?
  grep "crux-update: \(error\|warning\)" "$work/words" || true
  [ "$status" -eq "$wanted" ] || { cat "$work/words"; fail "ended with $status, expected $wanted: $*"; }
}
once() { [ "$(grep -c "crux-update: error" "$work/words")" -eq 1 ] || { cat "$work/words"; fail "one error was expected"; }; }
common=(--plan "$work/full/plan" --checkpoint $policy --threads 1)
expect 3 "${mpi[@]}" 2 "$bin/crux-update" --mpi --plan "$work/nowhere" --checkpoint $policy --output "$work/no"; once
expect 2 "${mpi[@]}" 2 "$bin/crux-update" --mpi "${common[@]}" --memory 20M --output "$work/no"; once
expect 5 "${mpi[@]}" 2 "$bin/crux-update" --mpi "${common[@]}" --output "$work/full/4"; once
expect 2 "${mpi[@]}" 1 "$bin/crux-update" --mpi --plan "$work/full/plan" --checkpoint $policy --threads 1 --output "$work/no" \
  : -n 1 "$bin/crux-update" --mpi --plan "$work/full/plan" --checkpoint $policy --threads 2 --output "$work/no"; once
expect 4 "${mpi[@]}" 2 "$bin/crux-update" --mpi "${common[@]}" --output /proc/no; once
expect 2 env CRUX_MPI=/nowhere/libcrux-mpi.so "$bin/crux-update" --mpi "${common[@]}" --output "$work/no"; once
expect 2 env OMPI_COMM_WORLD_RANK= SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 "$bin/crux-update" --mpi "${common[@]}" --output "$work/no"; once
expect 0 "${mpi[@]}" 2 "$bin/crux-update" "${common[@]}" --tasks auto --output "$work/idle"
grep -q "with --mpi" "$work/words" || fail "nobody has said that a rank idles"
[ ! -e "$work/no" ] || fail "a refused update has made a directory"

say "-- a full disk while rank 0 saves what the others send"
status=0
(ulimit -f 6000; "${mpi[@]}" 2 "$bin/crux-update" --mpi "${common[@]}" --output "$work/full-disk" > /dev/null 2> "$work/words") || status=$?
[ "$status" -eq 4 ] || { cat "$work/words"; fail "a full disk has ended it with $status"; }
grep "crux-update: error" "$work/words"; once
[ ! -f "$work/full-disk/manifest.json" ] || fail "a full disk has left a finished directory"
[ -z "$(find "$work/full-disk" -maxdepth 1 -name 'step-??????')" ] || fail "a full disk has left a step"

say "-- a rank is killed"
"${mpi[@]}" 4 "$bin/crux-update" --mpi "${interrupted[@]}" --threads 1 --output "$work/full/killed" > /dev/null 2> "$work/words" &
launcher=$!
for _ in $(seq 600); do compgen -G "$work/full/killed/step-*" > /dev/null && break; sleep 0.02; done
victim=$(pgrep --parent $launcher crux-update | tail -n 1)
kill -9 "$victim"
status=0
wait $launcher || status=$?
[ "$status" -ne 0 ] || fail "a killed rank has been taken for success"
grep -m 1 "signal 9" "$work/words" || { cat "$work/words"; fail "nobody has said what has happened"; }
[ ! -f "$work/full/killed/manifest.json" ] || fail "a killed rank has left a finished directory"
update 4 --plan "$work/full/plan" --checkpoint $policy --save-every 1 --output "$work/full/four" > /dev/null
"${mpi[@]}" 4 "$bin/crux-update" --mpi "${interrupted[@]}" --threads 1 --weights f32 --overwrite --output "$work/full/killed" > /dev/null 2>> "$work/log"
same "$work/full/four" "$work/full/killed"

say "== scores and rollouts by ranks"
for count in 2 4; do
  "${mpi[@]}" "$count" "$bin/crux-score" --quiet --threads 1 --tasks auto --input "$work/ingest" --output "$work/score-$count" \
    --checkpoint $policy --reference "$beside" --critic $policy --process-reward "$beside" --process-reference $policy \
    --q-network "$beside" > /dev/null
  same "$work/score" "$work/score-$count"
done
sampling=(--checkpoint $policy --prompts fixtures/prompts-heldout.jsonl --group-size 2 --max-tokens 32 --rollouts-per-shard 32 --logits)
"$bin/crux-rollout" --quiet --threads 1 "${sampling[@]}" --output "$work/rollout" > /dev/null
for count in 2 4; do
  "${mpi[@]}" "$count" "$bin/crux-rollout" --quiet --threads 1 --tasks auto "${sampling[@]}" --output "$work/rollout-$count" > /dev/null
  same "$work/rollout" "$work/rollout-$count"
done
say "the same bytes with 2 and 4 ranks"

say "== memory of each rank: 0.1 billion parameters, two steps"
"$python" conformance/make_wide_checkpoint.py $policy "$work/wide/checkpoint"
# A small dump: what counts are the parameters.
head -n 8 fixtures/prompts-train.jsonl > "$work/few.jsonl"
quiet "$bin/crux-rollout" --checkpoint $policy --prompts "$work/few.jsonl" --group-size 4 --max-tokens 24 \
  --temperature 1.5 --output "$work/few"
quiet "$bin/crux-ingest" --input "$work/few" --output "$work/few-ingest"
quiet "$bin/crux-score" --input "$work/few-ingest" --output "$work/few-score"
quiet "$bin/crux-plan" --input "$work/few-ingest" --scores "$work/few-score" --recipe recipes/grpo.yaml \
  --set filter.degenerate_groups=keep --set schedule.groups_per_step=4 --set optimizer.eps=1e-4 --output "$work/wide/plan"
# Micro-batches of a size, so that passes take as much with any number of ranks.
for count in 0 2 4; do
  update "$count" --plan "$work/wide/plan" --checkpoint "$work/wide/checkpoint" --memory 3G --micro-batch-tokens 64 \
    --output "$work/wide-$count" > "$work/said-$count"
done
"$python" conformance/mpi_memory.py "$work"/said-0 "$work"/said-2 "$work"/said-4
say "all as it should be"
