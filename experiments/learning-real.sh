#!/usr/bin/env bash
# A real model learns: SmolLM2-135M-Instruct on word problems of real/make_problems.py, from its own rollouts, every
# parameter trained; then experiments/learning-real.md and .svg. Interrupted, it goes on where it stopped.
#   make .venv-real/installed build && experiments/learning-real.sh    (OUT=run/real/loop  ITERATIONS=24  RECIPE=grpo  LR=1e-5)
# The checkpoint is stored in float32, because bfloat16 can't carry single steps of this size.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.build/release} VENV=${VENV:-.venv-real} OUT=${OUT:-run/real/loop}
ITERATIONS=${ITERATIONS:-24} RECIPE=${RECIPE:-grpo} LR=${LR:-1e-5}

"$VENV/bin/python" real/make_checkpoint.py run/real/smollm2-f32 --dtype float32
"$VENV/bin/python" real/make_problems.py run/real/problems
"$BIN/crux-loop" --recipe "recipes/$RECIPE.yaml" --output "$OUT" --iterations "$ITERATIONS" \
  --checkpoint run/real/smollm2-f32 --prompts run/real/problems/train.jsonl --prompts-per-iteration 16 --group-size 8 \
  --max-tokens 24 --stop $'\n' --batch 128 --threads 2 --prune \
  --heldout run/real/problems/heldout.jsonl --eval-every 4 --heldout-samples 4 --heldout-greedy \
  --set optimizer.lr="$LR" --set optimizer.warmup_steps=2
"$BIN/crux-report" --loops "$RECIPE=$OUT" --output experiments/learning-real \
  --title "SmolLM2-135M-Instruct on word problems, $RECIPE"
