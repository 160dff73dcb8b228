#!/usr/bin/env bash
# Runs every stage with four threads under the thread sanitizer: ingest and score of logits, by a checkpoint and in one
# pass; plans; updates, also from a disk and in 16 bits; sampling, many and one at a time; a loop. Exit 1 where two threads
# touch one place without an order, or a stage ends otherwise than well.
#
#     races.sh BIN_DIR      of executables that were built with --sanitize thread
set -uo pipefail
bin=$1 work=$(mktemp -d) failed=0
trap 'rm -rf "$work"' EXIT
here=$(dirname "$0") policy=fixtures/policy
export TSAN_OPTIONS="suppressions=$here/races.supp exitcode=66 log_path=$work/races"
head -n 4 fixtures/prompts-heldout.jsonl > "$work/prompts.jsonl"

run() {    # COMMAND FLAG…
  local command=$1 start=$SECONDS
  shift
  if "$bin/$command" "$@" --threads 4 > "$work/said" 2>&1; then echo "ok   $command ${*: -2} ($((SECONDS - start)) s)"
  else
    echo "FAIL $command $*: exit $?"
    tail -n 3 "$work/said"
    failed=1
  fi
}

run crux-ingest --input fixtures/dump --output "$work/ingest"
run crux-ingest --input fixtures/dump --output "$work/copied" --logits copy --score
run crux-score --input "$work/ingest" --output "$work/logits" --reward numeric
run crux-score --input "$work/ingest" --output "$work/score" --checkpoint $policy --reference $policy
for recipe in dapo-top20 grpo-kl clip-cov reinforce-pp gspo; do
  run crux-plan --input "$work/ingest" --scores "$work/score" --recipe "recipes/$recipe.yaml" --output "$work/plan-$recipe"
  run crux-update --plan "$work/plan-$recipe" --checkpoint $policy --output "$work/update-$recipe"
done
run crux-update --plan "$work/plan-dapo-top20" --checkpoint $policy --output "$work/disk" --micro-batch-tokens 256 \
  --memory 150M --offload "$work"
if grep -q avx512_bf16 /proc/cpuinfo; then
  run crux-update --plan "$work/plan-dapo-top20" --checkpoint $policy --output "$work/half" --precision bf16
fi
for precision in bf16-weights bf16 bf16-amx; do
  run crux-rollout --checkpoint $policy --prompts "$work/prompts.jsonl" --output "$work/$precision" --group-size 8 \
    --max-tokens 16 --precision $precision
done
# Delta rules, and experts. Every second rollout is right.
judge='import json, sys
for line in sys.stdin: print(json.dumps(dict(id=json.loads(line)["id"], score=int(json.loads(line)["id"]) % 2)), flush=True)'
printf '{"group_id": "%s", "prompt_token_ids": [%s]}\n' a "3, 9, 4, 11, 6" b "3, 9, 4, 7" > "$work/ids.jsonl"
for family in qwen3.5-untied qwen3-moe-untied; do
  model=fixtures/families/$family own=$work/$family
  run crux-rollout --checkpoint $model --prompts "$work/ids.jsonl" --output "$own/rollout" --group-size 8 --max-tokens 16 --logits
  run crux-ingest --input "$own/rollout" --output "$own/ingest"
  run crux-score --input "$own/ingest" --output "$own/score" --checkpoint $model --reward-command "python3 -c '$judge'"
  run crux-plan --input "$own/ingest" --scores "$own/score" --recipe recipes/dapo-top20.yaml --output "$own/plan"
  run crux-update --plan "$own/plan" --checkpoint $model --output "$own/update"
done
run crux-rollout --checkpoint $policy --prompts "$work/prompts.jsonl" --output "$work/many" --group-size 8 --max-tokens 32 --logits
run crux-rollout --checkpoint $policy --prompts "$work/prompts.jsonl" --output "$work/one" --group-size 2 --max-tokens 16 --batch 1
run crux-loop --recipe recipes/dapo-top20.yaml --checkpoint $policy --prompts fixtures/prompts-train.jsonl --output "$work/loop" \
  --iterations 1 --prompts-per-iteration 8 --group-size 4 --max-tokens 24

# Besides reports a log may say how a suppression was matched.
reports=$(cat "$work"/races.* 2> /dev/null | grep -c "WARNING: ThreadSanitizer")
cat "$work"/races.* 2> /dev/null | grep -E "^SUMMARY" | sort | uniq -c
echo "$reports reports of races"
[ "$failed" -eq 0 ] && [ "$reports" -eq 0 ]
