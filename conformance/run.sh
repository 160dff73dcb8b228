#!/usr/bin/env bash
# Everything against other implementations: tokenizers, generation and jobs, then all stages on all families. make conformance
#   run.sh PYTHON BIN_DIR
set -euo pipefail
# Not realpath: resolving the link would step out of the virtual environment.
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") bin=$2
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
# The models are tiny: PyTorch's threads would only wait for each other, for minutes where others use the machine too.
export OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
try() { "$@" || failed=1; }

# One dump through all stages with each recipe, beside the same computation in PyTorch.
compare() {    # NAME CHECKPOINT DUMP RECIPE…
  local name=$1 checkpoint=$2 dump=$3 run=$work/$1
  shift 3
  "$bin/crux-ingest" --quiet --input "$dump" --output "$run/ingest" > /dev/null
  "$bin/crux-score" --quiet --input "$run/ingest" --output "$run/score" > /dev/null
  for recipe in "$@"; do
    echo "== $name, $recipe"
    "$bin/crux-plan" --quiet --input "$run/ingest" --scores "$run/score" --recipe "fixtures/recipes/$recipe.yaml" --output "$run/$recipe/plan" > /dev/null
    "$bin/crux-update" --quiet --plan "$run/$recipe/plan" --checkpoint "$checkpoint" --output "$run/$recipe/update" > /dev/null
    "$python" conformance/make_expected.py "$dump" "$checkpoint" "fixtures/recipes/$recipe.yaml" "$run/$recipe/expected" > /dev/null 2>&1
    try "$python" conformance/compare_expected.py "$run/$recipe/expected" "$checkpoint" "$run/score" "$run/$recipe/plan" "$run/$recipe/update"
    step=$(ls -d "$run/$recipe"/update/step-* | tail -n 1)
    "$bin/crux-score" --quiet --input "$run/ingest" --output "$run/$recipe/rescored" --checkpoint "$step" > /dev/null
    try "$python" conformance/check_checkpoint.py "$step" "$run/ingest" "$run/$recipe/rescored"
    try "$python" conformance/arrow_tables.py "$run/ingest" "$run/score" "$run/$recipe/plan" "$run/$recipe/update"
  done
}

echo "== methods and rewards, beside verl and TRL"
try "$python" conformance/check_methods.py "$bin"
try "$python" conformance/check_coverage.py "$bin"
reward_score=$("$python" -c 'import importlib.util as u; print(u.find_spec("verl").submodule_search_locations[0])')/utils/reward_score
"$python" conformance/make_reward_fixture.py "$reward_score" "$work/rewards.json" > /dev/null
# The tests hold ours against the fixture; here the fixture is held against verl as it is.
try cmp "$work/rewards.json" fixtures/rewards.json && echo "rewards: the fixture's verdicts are verl's"

# With VINEPPO=CHECKOUT of McGill-NLP/VinePPO, which no registry has.
if [ -n "${VINEPPO:-}" ]; then
  "$python" conformance/make_segmentation_fixture.py "$VINEPPO" "$work/segmentation.json" > /dev/null
  try cmp "$work/segmentation.json" fixtures/segmentation.json && echo "segmentation: the fixture's cuts are VinePPO's"
fi

echo "== tokenizers, generation, shards, jobs"
try "$python" conformance/check_tokenizer.py "$bin" fixtures "$work/tokenizers"
try "$python" conformance/check_tokenizers.py "$bin" "$work/kinds"
try "$python" conformance/check_templates.py "$bin" fixtures "$work/templates"
try "$python" conformance/check_generation.py "$bin" fixtures/policy fixtures/prompts-heldout.jsonl "$work/generation"
for dtype in bfloat16 float16; do
  shard=$work/written-$dtype.rollouts.zst
  "$python" examples/write_shard.py --engine transformers --model fixtures/policy --prompts fixtures/prompts-heldout.jsonl --limit 4 --group-size 4 --max-tokens 48 \
    --temperature 0.9 --dtype $dtype --output "$shard" 2> /dev/null
  "$bin/crux-ingest" --quiet --input "$shard" --output "$work/written-$dtype/ingest" > /dev/null
  "$bin/crux-score" --quiet --input "$work/written-$dtype/ingest" --output "$work/written-$dtype/score" > /dev/null
  try "$python" conformance/check_shard.py "$shard" "$work/written-$dtype/ingest" "$work/written-$dtype/score"
done
try "$python" conformance/tutorial.py "$bin"
try "$python" conformance/check_run_jobs.py
mkdir -p "$work/jobs"
try conformance/jobs.sh "$python" "$bin" "$work/jobs"

echo "== dumps of other programs"
try "$python" conformance/check_dialects.py "$bin" "$work/dialects"

echo "== the page, in a browser"
try conformance/browser.sh "$python" "$bin"

compare policy fixtures/policy fixtures/dump dapo-top20 grpo grpo-entropy-shaped raft
dtypes=(f32 bf16 f16)
i=0
for family in fixtures/families/*; do
  name=$(basename "$family")
  "$python" conformance/make_dump.py "$family" "$work/$name-dump" --dtype "${dtypes[$((i % 3))]}" --temperature 0.9
  compare "$name" "$family" "$work/$name-dump" dapo-top20 grpo-entropy-shaped
  i=$((i + 1))
done
echo "== random configurations of every family"
try "$python" conformance/check_families.py "$bin" "$work/random-families" --count 1
echo "== gradients in bf16"
for checkpoint in fixtures/policy fixtures/families/*; do
  name=$(basename "$checkpoint")
  echo "$name"
  try "$python" conformance/check_precision.py "$bin" "$checkpoint" "$work/$name/ingest" "$work/$name/score" "$work/$name/precision"
done
# On a float32 checkpoint, so that the merged weights are not rounded.
echo "== adapters"
adapters=$work/adapters base=fixtures/families/llama-untied run=$work/llama-untied
"$bin/crux-plan" --quiet --input "$run/ingest" --scores "$run/score" --recipe recipes/grpo.yaml --set trainable.type=lora --set trainable.merged=true \
  --set optimizer.lr=3e-2 --set "reward={}" --output "$adapters/plan" > /dev/null
"$bin/crux-update" --quiet --plan "$adapters/plan" --checkpoint $base --output "$adapters/update" > /dev/null
step=$(ls -d "$adapters"/update/step-* | tail -n 1)
"$bin/crux-score" --quiet --input "$run/ingest" --output "$adapters/rescored" --checkpoint "$step/merged" > /dev/null
try "$python" conformance/check_adapter.py $base "$step" "$run/ingest" "$adapters/rescored"

# In float32, with nothing lost: transformers takes the type from the configuration.
echo "== float32 weights"
"$bin/crux-update" --quiet --plan "$work/policy/dapo-top20/plan" --checkpoint fixtures/policy --output "$work/float32" --weights f32 > /dev/null
step=$(ls -d "$work"/float32/step-* | tail -n 1)
"$bin/crux-score" --quiet --input "$work/policy/ingest" --output "$work/float32-rescored" --checkpoint "$work/policy/dapo-top20/update" > /dev/null
try "$python" conformance/check_checkpoint.py "$step" "$work/policy/ingest" "$work/float32-rescored" float32

echo "== metrics elsewhere"
"$bin/crux-update" --quiet --plan "$work/policy/dapo-top20/plan" --checkpoint fixtures/policy --output "$work/metrics/update" \
  --metrics jsonl,tensorboard > /dev/null
"$bin/crux-loop" --quiet --recipe recipes/grpo.yaml --checkpoint fixtures/policy --prompts fixtures/prompts-train.jsonl \
  --heldout fixtures/prompts-heldout.jsonl --iterations 3 --prompts-per-iteration 4 --group-size 4 --max-tokens 40 --eval-every 2 \
  --metrics jsonl,tensorboard --output "$work/metrics/loop" > /dev/null
try "$python" conformance/check_metrics.py "$work/metrics/update" "$work/metrics/loop"

echo "== plans trained elsewhere"
try "$python" conformance/check_train_elsewhere.py "$bin" "$work/elsewhere"

echo "== plans handed over, and deltas"
try "$python" conformance/check_export.py "$bin" "$work/export"

[ $failed = 0 ] && echo "conformance: all within limits" || { echo "conformance: some limits are broken, see FAIL above"; exit 1; }
