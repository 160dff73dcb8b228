#!/bin/sh
# One archive of what tools/install.sh lays out, executables stripped; the same files give the same bytes.
#   tools/make_dist.sh BIN_FOLDER OUTPUT_FOLDER
set -eu
bin=$1 output=$2
cd "$(dirname "$0")/.."
name=crux-$("$bin/crux-plan" --version)-linux-$(uname -m)
time=$(git log -1 --format=%ct 2> /dev/null || echo 0)
rm -rf "${output:?}/$name"
tools/install.sh "$bin" "$output/$name"
strip "$output/$name"/bin/*
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$output" -cf - "$name" | gzip -n6 > "$output/$name.tar.gz"
echo "$output/$name.tar.gz: $(wc -c < "$output/$name.tar.gz") bytes"
