#!/usr/bin/env bash
# The best recipe to the end, three seeds: 600 iterations with a learning rate that falls in a line, then 200 from there with one that
# starts anew, lower. Then docs/learning-best.md and .svg. Interrupted, it goes on where it stopped.
#   docs/learning-best.sh            (OUT=run/best  SEEDS="1 2 3"  JOBS=2  RECIPE=grpo-entropy-shaped)
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.build/release} OUT=${OUT:-run/best} SEEDS=${SEEDS:-1 2 3} JOBS=${JOBS:-2} RECIPE=${RECIPE:-grpo-entropy-shaped}

leg() {    # DIRECTORY SEED CHECKPOINT ITERATIONS LEARNING-RATE DECAY-STEPS
  "$BIN/crux-loop" --recipe "recipes/$RECIPE.yaml" --seed "$2" --output "$1" --iterations "$4" --checkpoint "$3" \
    --prompts fixtures/prompts-train.jsonl --heldout fixtures/prompts-heldout.jsonl --tokens 16000 --prompts-per-iteration 60 --group-size 8 \
    --max-tokens 72 --batch 512 --eval-every 50 --threads 1 --prune --set schedule.groups_per_step=64 --set optimizer.lr="$5" \
    --set optimizer.betas=[0.9,0.99] --set optimizer.warmup_steps=20 --set optimizer.decay_steps="$6" --set optimizer.weight_decay=0 > "$1.log" 2>&1
}

both() {    # SEED
  mkdir -p "$OUT"
  leg "$OUT/first-$1" "$1" fixtures/policy 600 1.8e-4 620
  leg "$OUT/second-$1" "1$1" "$OUT/first-$1/iteration-0600/update/step-000600" 200 1.3e-4 210
}
export -f leg both
export BIN OUT RECIPE

printf '%s\n' $SEEDS | xargs -P "$JOBS" -I{} bash -euo pipefail -c 'both {}'

loops=()
for seed in $SEEDS; do loops+=("$RECIPE=$OUT/first-$seed+$OUT/second-$seed"); done
"$BIN/crux-report" --loops "${loops[@]}" --output docs/learning-best --title "$RECIPE to the end, 16,000 sampled tokens per iteration"
