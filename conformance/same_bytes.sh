#!/usr/bin/env bash
# Holds that a change of the house changes no output: both binaries turn the same dumps into tables and checkpoints, and
# every file is compared byte by byte.
#   same_bytes.sh OLD_BIN NEW_BIN [FOLDER]
# Left out are what tells the time (metrics.arrow of an update, run.json) and logs. Words that the new version spells otherwise are
# compared as the new one spells them, in manifests alone.
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2")
cd "$(dirname "$0")/.."
work=$(mktemp -d "${3:-${TMPDIR:-/tmp}}/same-bytes.XXXX")
trap 'rm -rf "$work"' EXIT
run=$work/run policy=fixtures/policy

# Exit statuses are output too: what is refused is refused by both.
try() {    # NAME COMMAND…
  local name=$1 status=0
  shift
  "$@" --quiet > /dev/null 2>&1 || status=$?
  echo "$name $status" >> "$run/statuses"
}

# Dumps that both begin with: two that are stored, and made-up ones of every kind of evidence.
dumps=$work/dumps
mkdir -p "$dumps"
cp -r fixtures/dump "$dumps/fixture"
[ -d ../shared/golden/dump ] && cp -r ../shared/golden/dump "$dumps/golden"
sample() {    # NAME FLAG…
  local name=$1
  shift
  "$old/crux-rollout" --quiet --checkpoint $policy --prompts fixtures/prompts-heldout.jsonl --group-size 4 --max-tokens 48 \
    --batch 256 --output "$dumps/$name" "$@" > /dev/null 2>&1
  rm -rf "$dumps/$name"/{manifest.json,run.json,logs,run.log,.lock}
}
sample cool --temperature 0.8 --logits --logits-type bf16
sample tokens --temperature 1 --top-p 0.95
sample wide --temperature 1.2 --logits --logits-type f32
mkdir -p "$dumps/cases"
for file in fixtures/cases/*/*.jsonl fixtures/cases/*/*.rollouts.zst; do
  [ -f "$file" ] && cp "$file" "$dumps/cases/$(basename "$(dirname "$file")")-$(basename "$file")"
done

models=()    # What recipes compare with: the policy a step further, and a critic.
steps() {
  local bin=$1
  try step-plan "$bin/crux-plan" --input "$run/fixture/ingest" --scores "$run/fixture/score" --recipe recipes/grpo.yaml \
    --set optimizer.lr=3e-4 --output "$run/beside/plan"
  try step-update "$bin/crux-update" --plan "$run/beside/plan" --checkpoint $policy --output "$run/beside/update"
  local step
  step=$(ls -d "$run"/beside/update/step-* | tail -n 1)
  models=(--checkpoint $policy --reference "$step" --critic $policy --process-reward "$step" --process-reference $policy \
    --q-network "$step")
}

expand() {    # BIN DUMP RECIPE SETTING…
  local bin=$1 dump=$2 recipe=$3 base=$run/$2/$3
  shift 3
  local set=()
  for setting in "$@"; do set+=(--set "$setting"); done
  try "$dump-$recipe-jobs" "$bin/crux-plan" --input "$run/$dump/ingest" --scores "$run/$dump/score" \
    --recipe "recipes/$recipe.yaml" "${set[@]}" --tokenizer $policy --output "$base/expansion"
  # Continuations are the old binary's, so that each run plans on the same.
  [ -d "$work/results/$dump-$recipe" ] || "$old/crux-rollout" --quiet --checkpoint $policy --jobs "$base/expansion/jobs" \
    --output "$work/results/$dump-$recipe" --batch 256 --logits > /dev/null 2>&1 || true
  try "$dump-$recipe-join" "$bin/crux-ingest" --input "$work/results/$dump-$recipe" --jobs "$base/expansion/jobs" \
    --output "$base/joined"
  try "$dump-$recipe-score" "$bin/crux-score" --input "$base/joined" --output "$base/scored" --reward auto
  try "$dump-$recipe-plan" "$bin/crux-plan" --input "$base/joined" --scores "$base/scored" --jobs "$base/expansion/jobs" \
    --recipe "recipes/$recipe.yaml" "${set[@]}" --output "$base/plan"
}

whole() {    # BIN
  local bin=$1 dump recipe name
  for folder in "$dumps"/*; do
    dump=$(basename "$folder")
    local evidence=()
    [ "$dump" = tokens ] && evidence=(--checkpoint $policy)
    try "$dump-ingest" "$bin/crux-ingest" --input "$folder" --output "$run/$dump/ingest"
    try "$dump-score" "$bin/crux-score" --input "$run/$dump/ingest" --output "$run/$dump/score" "${evidence[@]}"
    [ "$dump" = fixture ] && steps "$bin"
  done
  for dump in fixture golden cool wide; do
    [ -d "$dumps/$dump" ] || continue
    try "$dump-score-all" "$bin/crux-score" --input "$run/$dump/ingest" --output "$run/$dump/score-all" "${models[@]}" \
      --top-k 5 --sum-p-squared
  done
  for recipe in recipes/*.yaml; do
    name=$(basename "$recipe" .yaml)
    for dump in fixture golden cool wide; do
      [ -d "$run/$dump/score-all" ] || continue
      try "$dump-$name" "$bin/crux-plan" --input "$run/$dump/ingest" --scores "$run/$dump/score-all" --recipe "$recipe" \
        --tokenizer $policy --output "$run/$dump/plans/$name"
    done
    for dump in tokens cases; do
      try "$dump-$name" "$bin/crux-plan" --input "$run/$dump/ingest" --scores "$run/$dump/score" --recipe "$recipe" \
        --tokenizer $policy --output "$run/$dump/plans/$name"
    done
  done
  for dump in fixture wide; do
    expand "$bin" $dump fr3e expansion.anchors=2 expansion.replicates=3
    expand "$bin" $dump vineppo "expansion.step_separators=['. ']" expansion.minimum_step_characters=1 expansion.replicates=2
    expand "$bin" $dump s-grpo "expansion.inducer='#### '" "expansion.thought_end='####'" expansion.exits=2
  done
  for name in dapo-top20 dapo-top20-current raft grpo-kl prime ppo-critic; do
    try "update-$name" "$bin/crux-update" --plan "$run/fixture/plans/$name" --checkpoint $policy --output "$run/updates/$name"
  done
}

for side in old new; do
  mkdir -p "$run"
  whole "${!side}"
  # Not of the run's outcome: when things happened.
  find "$run" \( -path '*/update*/metrics.arrow' -o -name run.json -o -name '*.log' -o -name '*.lock' -o -name '*heartbeat*' \) -delete
  # What is called otherwise now.
  find "$run" \( -name '*.json' -o -name '*.jsonl' \) -exec sed -i 's/reward_rubbish/reward_invalid/g; s/reward_died/reward_crashed/g' {} +
  mv "$run" "$work/$side"
done

differing=0
diff -rq "$work/old" "$work/new" > "$work/differences" || differing=$(wc -l < "$work/differences")
head -n 20 "$work/differences"
tables=$(find "$work/new" -name '*.arrow' | wc -l) files=$(find "$work/new" -type f | wc -l)
weights=$(find "$work/new" -name '*.safetensors' | wc -l)
failed=$(grep -vc ' 0$' "$work/new/statuses" || true)
echo "same bytes: $(ls "$dumps" | wc -l) dumps, $(ls recipes/*.yaml | wc -l) recipes, $(wc -l < "$work/new/statuses") commands" \
  "($failed refused, the same of both), $files files ($tables tables, $weights of weights): $differing differ"
[ "$differing" = 0 ]
