#!/usr/bin/env bash
# Runs that start together in one directory, as an overlapping cron job or the first second of a job array starts them. Each either
# finishes it or says who is at work there (exit 75), and what is finished is what one run alone makes, byte for byte.
#
#     stress.sh BIN PAIRS STARTS
set -euo pipefail
bin=$1 pairs=$2 starts=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() { "$bin/crux-ingest" --quiet --input fixtures/dump --logits copy --threads 2 "$@"; }
# But for the record of who ran when.
digest() { (cd "$1" && find . -type f ! -name run.json -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

run --output "$work/whole" > /dev/null
whole=$(digest "$work/whole")
finished=0 named=0 wrong=0 unfinished=0

# Counts how each process ended, then looks at the directory.
judge() {
  local output=$1; shift
  for index in "$@"; do
    case $(cat "$work/status.$index") in
      0) finished=$((finished + 1)) ;;
      75) if grep -q "somebody else is at work" "$work/errors.$index"; then named=$((named + 1)); else wrong=$((wrong + 1)); fi ;;
      *) wrong=$((wrong + 1)); cat "$work/errors.$index" >&2 ;;
    esac
  done
  if [ ! -f "$output/manifest.json" ]; then unfinished=$((unfinished + 1))
  elif [ "$(digest "$output")" != "$whole" ]; then wrong=$((wrong + 1)); ls -la "$output" >&2; fi
  rm -rf "$output"
}

start() {
  local index=$1; shift
  { local code=0; run "$@" > /dev/null 2> "$work/errors.$index" || code=$?; echo $code > "$work/status.$index"; } &
}

for ((pair = 0; pair < pairs; pair++)); do
  start 0 --output "$work/out"
  sleep "0.0$((RANDOM % 10))"
  start 1 --output "$work/out"
  wait
  judge "$work/out" 0 1
done
echo "pairs: $pairs; runs that finished $finished, that named who is at work $named; directories unfinished $unfinished; wrong $wrong"

for tasks in 2 3 7; do
  finished=0 named=0 unfinished=0
  for ((round = 0; round < starts; round++)); do
    for ((rank = 0; rank < tasks; rank++)); do start "$rank" --output "$work/a/b/out" --tasks "$tasks" --rank "$rank"; done
    wait
    judge "$work/a/b/out" $(seq 0 $((tasks - 1)))
    rm -rf "$work/a"
  done
  echo "$tasks tasks, $starts starts: finished $finished, named $named; directories unfinished $unfinished; wrong $wrong"
done
[ "$wrong" -eq 0 ]
