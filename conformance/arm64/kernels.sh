#!/usr/bin/env bash
# The kernels as arm64 runs them, by emulation, beside this processor's: errors within their bounds on both, and the same
# bytes where that is promised. Needs clang, qemu-user and Debian's arm64 cross headers; speed can't be told this way.
#
#     kernels.sh CLANG
set -euo pipefail
clang=$1
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../../Sources/CKernels
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-O2 -fno-strict-aliasing -I "$kernels/include")
"$clang" "${flags[@]}" -march=native "$here/kernels.c" "$kernels"/*.c -o "$work/own" -lm -lpthread -ldl
for file in "$here/kernels.c" "$kernels"/*.c; do
  "$clang" --target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include "${flags[@]}" -c "$file" \
    -o "$work/$(basename "$file" .c).o"
done
aarch64-linux-gnu-gcc -static "$work"/*.o -o "$work/arm64" -lm -lpthread
status=0
"$work/own" > "$work/own.txt" || status=1
qemu-aarch64 "$work/arm64" > "$work/arm64.txt" || status=1
grep FAILED "$work/own.txt" "$work/arm64.txt" && status=1
diff <(grep ^bytes "$work/own.txt") <(grep ^bytes "$work/arm64.txt") || { echo "bytes differ"; status=1; }
echo "$(grep -c ^error "$work/arm64.txt") kernels within their bounds and $(grep -c ^bytes "$work/arm64.txt") with the same bytes on arm64, of those that ran"
exit $status
