#!/usr/bin/env bash
# The learning table: every recipe on the tiny policy of the fixtures, the same number of sampled tokens per iteration, the
# same optimizer, three seeds; then experiments/learning-table.md and .svg. Interrupted, it goes on where it stopped.
#   make table            (OUT=run/table  ITERATIONS=400  SEEDS="1 2 3"  JOBS=2  RECIPES="grpo dapo …"  REPORT=experiments/learning-table
#                          MORE="--set optimizer.lr=1e-4 …", laid over everything  TEACHER=run/table/grpo-1/…)
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.build/release} OUT=${OUT:-run/table} ITERATIONS=${ITERATIONS:-400} SEEDS=${SEEDS:-1 2 3} JOBS=${JOBS:-2}
MORE=${MORE:-}
# By default all but the companions, and what needs other rollouts, named rewards or a teacher. TEACHER=DIR, a checkpoint, lets
# the recipes of distillation run: opd, grpo-opd, rlsd and distill.
COMPANIONS="ppo-critic prime-reward-model etpo-q" OTHER_ROLLOUTS="remax grpo-echo arpo aepo gdpo sdpo" DISTILLATION="opd grpo-opd rlsd distill"
TEACHER=${TEACHER:-}
left_out="$COMPANIONS $OTHER_ROLLOUTS"; [ -n "$TEACHER" ] || left_out+=" $DISTILLATION"
RECIPES=${RECIPES:-$(ls recipes | sed 's/.yaml//' | grep -vxF "${left_out// /$'\n'}")}

# What a recipe needs on this task: rollouts per prompt, prompts of the first iteration (later ones follow from the token
# budget), groups per optimizer step (about four steps an iteration for all), how it finds steps and answers, and the model
# that learns beside it.
companion() { echo "--companion recipes/$1.yaml --companion-set optimizer.lr=$2 --companion-set optimizer.weight_decay=0 --companion-set schedule.groups_per_step=15"; }
settings() {
  case $1 in
    fr3e)    echo "--group-size 4 --prompts-per-iteration 15 --set expansion.anchors=4 --set expansion.replicates=4 --set schedule.groups_per_step=24" ;;
    vineppo) echo "--group-size 4 --prompts-per-iteration 24 --set expansion.step_separators=['._'] --set expansion.minimum_step_characters=1
                   --set expansion.replicates=3 --set schedule.groups_per_step=6 --set schedule.epochs=1" ;;
    s-grpo)  echo "--group-size 1 --prompts-per-iteration 280 --set expansion.thought_end='####' --set expansion.inducer='####_'
                   --set expansion.exits=4 --set schedule.groups_per_step=70" ;;
    treepo)  echo "--group-size 4 --prompts-per-iteration 80 --set expansion.width=8 --set expansion.segment=12 --set expansion.rounds=2
                   --set schedule.groups_per_step=20" ;;
    ppo)     echo "--group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15 $(companion ppo-critic 2e-4)" ;;
    prime)   echo "--group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15 $(companion prime-reward-model 7e-5)" ;;
    etpo)    echo "--group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15 $(companion etpo-q 2e-4)" ;;
    opd|grpo-opd|rlsd|distill)
             echo "--group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15 --reference ${TEACHER:?a checkpoint to learn from}" ;;
    *)       echo "--group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15" ;;
  esac
}

run() {    # RECIPE SEED
  local more=()
  for word in $(settings "$1"); do more+=("${word//_\'/ \'}"); done
  mkdir -p "$OUT"
  "$BIN/crux-loop" --recipe "recipes/$1.yaml" --seed "$2" --output "$OUT/$1-$2" --iterations "$ITERATIONS" --checkpoint fixtures/policy \
    --prompts fixtures/prompts-train.jsonl --heldout fixtures/prompts-heldout.jsonl --tokens 16000 --max-tokens 72 --batch 512 --eval-every 50 \
    --threads 1 --prune --set optimizer.lr=7e-5 --set optimizer.warmup_steps=40 --set optimizer.weight_decay=0 "${more[@]}" $MORE \
    > "$OUT/$1-$2.log" 2>&1 || { echo "$1, seed $2: failed, see $OUT/$1-$2.log"; return 1; }
}
export -f run settings companion
export BIN OUT ITERATIONS MORE TEACHER

for seed in $SEEDS; do for recipe in $RECIPES; do echo "$recipe $seed"; done; done | xargs -P "$JOBS" -L 1 bash -c 'run "$0" "$1"'

loops=()
for seed in $SEEDS; do for recipe in $RECIPES; do loops+=("$recipe=$OUT/$recipe-$seed"); done; done
"$BIN/crux-report" --loops "${loops[@]}" --output "${REPORT:-experiments/learning-table}" --title "${#loops[@]} loops from the fixture policy, 16,000 sampled tokens per iteration"
