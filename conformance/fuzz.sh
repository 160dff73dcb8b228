#!/usr/bin/env bash
# Feeds readers and stages with what libFuzzer makes of fixtures/fuzz, with the address sanitizer and, in C, the one for
# undefined behaviour. An execution may take 5 s; no single allocation more than 512 MiB, the process no more than 3 GiB.
#
#     fuzz.sh FUZZER SECONDS [TARGET…]
#
# What is found on the way is kept in .build/fuzz-corpus/TARGET and gone on from; what fails in .build/fuzz-findings.
set -uo pipefail
fuzzer=$1 seconds=$2
shift 2
corpus=.build/fuzz-corpus findings=.build/fuzz-findings
if [ $# -eq 0 ]; then mapfile -t targets < <("$fuzzer" | cut -f 1); else targets=("$@"); fi
total=0 failed=0
for target in "${targets[@]}"; do
  mkdir -p "$corpus/$target" "$findings/$target"
  log=$findings/$target/log.txt seeds=()
  [ -d "fixtures/fuzz/$target" ] && seeds=("fixtures/fuzz/$target")
  # What the target writes itself is closed: it is no finding.
  SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1 \
    "$fuzzer" "--target=$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=3072 -malloc_limit_mb=512 \
    -print_final_stats=1 -close_fd_mask=3 -artifact_prefix="$findings/$target/" "$corpus/$target" "${seeds[@]}" 2> "$log"
  status=$?
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  total=$((total + ${executed:-0}))
  printf '%-16s %10s executions, %s\n' "$target" "${executed:-?}" "$([ $status -eq 0 ] && echo nothing found || echo "FAILED: $log")"
  [ $status -eq 0 ] || failed=$((failed + 1))
done
echo "$total executions of ${#targets[@]} targets, $failed with findings"
[ "$failed" -eq 0 ]
