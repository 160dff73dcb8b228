#!/usr/bin/env bash
# The best recipe to the end, three seeds, in four legs that go on from one another: 600 iterations with a learning rate that falls in a
# line, 200 from there with one that starts anew, lower, then twice 100 without the shaping, which keeps the policy uncertain. Then
# experiments/learning-best.md and .svg. Interrupted, it goes on where it stopped.
#   experiments/learning-best.sh            (OUT=run/best  SEEDS="1 2 3"  JOBS=2  RECIPE=grpo-entropy-shaped)
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.build/release} OUT=${OUT:-run/best} SEEDS=${SEEDS:-1 2 3} JOBS=${JOBS:-2} RECIPE=${RECIPE:-grpo-entropy-shaped}

leg() {    # NAME SEED CHECKPOINT ITERATIONS LEARNING-RATE DECAY-STEPS MORE…
  "$BIN/crux-loop" --recipe "recipes/$RECIPE.yaml" --seed "$2" --output "$OUT/$1" --iterations "$4" --checkpoint "$3" \
    --prompts fixtures/prompts-train.jsonl --heldout fixtures/prompts-heldout.jsonl --tokens 16000 --prompts-per-iteration 60 --group-size 8 \
    --max-tokens 72 --batch 512 --eval-every 25 --threads 1 --prune --set schedule.groups_per_step=64 --set optimizer.lr="$5" \
    --set optimizer.betas=[0.9,0.99] --set optimizer.warmup_steps=20 --set optimizer.decay_steps="$6" --set optimizer.weight_decay=0 \
    "${@:7}" > "$OUT/$1.log" 2>&1
}

end() { ls -d "$OUT/$1"/iteration-*/update/step-* | tail -n 1; }    # of a leg

legs() {    # SEED
  mkdir -p "$OUT"
  leg "first-$1" "$1" fixtures/policy 600 1.8e-4 620
  leg "second-$1" "1$1" "$(end "first-$1")" 200 1.3e-4 210
  leg "third-$1" "2$1" "$(end "second-$1")" 100 1.3e-4 110 --set entropy.shaping=null
  leg "fourth-$1" "3$1" "$(end "third-$1")" 100 1.3e-4 110 --set entropy.shaping=null
}
export -f leg end legs
export BIN OUT RECIPE

printf '%s\n' $SEEDS | xargs -P "$JOBS" -I{} bash -euo pipefail -c 'legs {}'

loops=()
for seed in $SEEDS; do loops+=("$RECIPE=$OUT/first-$seed+$OUT/second-$seed+$OUT/third-$seed+$OUT/fourth-$seed"); done
"$BIN/crux-report" --loops "${loops[@]}" --output experiments/learning-best --title "$RECIPE to the end, 16,000 sampled tokens per iteration"
