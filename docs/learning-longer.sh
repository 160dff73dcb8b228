#!/usr/bin/env bash
# The best recipe of the learning table, carried on from where the table's loops end, with a learning rate that falls in a line to 0; then
# docs/learning-longer.md and .svg. Interrupted, it goes on where it stopped.
#   bash docs/learning-longer.sh            (OUT=run/table  LONGER=run/longer  MORE=200  SEEDS="1 2 3"  JOBS=2  RECIPE=grpo-entropy-shaped)
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.build/release} OUT=${OUT:-run/table} LONGER=${LONGER:-run/longer} MORE=${MORE:-200} SEEDS=${SEEDS:-1 2 3} JOBS=${JOBS:-2}
RECIPE=${RECIPE:-grpo-entropy-shaped}

run() {    # SEED
  local start
  start=$(ls -d "$OUT/$RECIPE-$1"/iteration-*/update/step-* | tail -n 1)
  mkdir -p "$LONGER"
  # About four steps an iteration.
  "$BIN/crux-loop" --recipe "recipes/$RECIPE.yaml" --seed "1$1" --output "$LONGER/$RECIPE-$1" --iterations "$MORE" --checkpoint "$start" \
    --prompts fixtures/prompts-train.jsonl --heldout fixtures/prompts-heldout.jsonl --tokens 16000 --max-tokens 72 --batch 512 --eval-every 50 \
    --threads 1 --prune --group-size 8 --prompts-per-iteration 60 --set schedule.groups_per_step=15 --set optimizer.weight_decay=0 \
    --set optimizer.lr=8e-5 --set optimizer.warmup_steps=10 --set optimizer.decay_steps=$((4 * MORE)) > "$LONGER/$RECIPE-$1.log" 2>&1
}
export -f run
export BIN OUT LONGER MORE RECIPE
printf '%s\n' $SEEDS | xargs -P "$JOBS" -I{} bash -c 'run {}'

loops=()
for seed in $SEEDS; do loops+=("$RECIPE=$LONGER/$RECIPE-$seed"); done
"$BIN/crux-report" --loops "${loops[@]}" --output "${REPORT:-docs/learning-longer}" --title "$RECIPE, $MORE iterations more with a falling learning rate"
