#!/bin/bash
# A DocC archive for each room below the stages, of what it offers other rooms. STRICT=1 ends with an error where a comment's
# links or parameters don't fit the code; without, it is a warning.
#   tools/make_reference.sh BUILD_FOLDER OUTPUT_FOLDER
set -euo pipefail
build=$1 output=$2
target=$(swiftc -print-target-info | sed -n 's/.*"unversionedTriple": "\(.*\)",/\1/p' | head -n 1)
rm -rf "$output" && mkdir -p "$output"
flags=()
for map in Sources/*/include "$build"/*.build/module.modulemap; do
  case $map in *.modulemap) flags+=(-Xcc "-fmodule-map-file=$map") ;; *) flags+=(-I "$map") ;; esac
done
for map in Sources/C*/module.modulemap "$(dirname "$build")"/checkouts/*/Sources/{*,*/include}/module.modulemap; do [ ! -f "$map" ] || flags+=(-Xcc "-fmodule-map-file=$map"); done
for room in ${ROOMS:-Scratch Randomness Files Arrow Formats Quantiles Entropy FrameMeasures Credit Objectives Rewards Tokenizer Tensors Optimizers \
    Models Recipes LearningCurves StageSupport RunViews Compression Catalog}; do
  [ -d "Sources/$room" ] || continue
  mkdir -p "$output/$room.graph"
  swift symbolgraph-extract -module-name "$room" -target "$target" -I "$build/Modules" "${flags[@]}" \
    $(pkg-config --cflags-only-I openblas libzstd zlib libcrypto libxxhash sqlite3) -minimum-access-level package -output-dir "$output/$room.graph"
  docc convert --fallback-display-name "$room" --fallback-bundle-identifier "crux.$room" ${STRICT:+--warnings-as-errors} \
    --additional-symbol-graph-dir "$output/$room.graph" --output-dir "$output/$room.doccarchive"
  echo "$output/$room.doccarchive: $(find "$output/$room.doccarchive/data" -name '*.json' | wc -l) pages"
done
