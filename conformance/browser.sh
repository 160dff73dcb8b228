#!/usr/bin/env bash
# The page of crux-report in a real browser: browser.sh PYTHON BIN_DIR. make browser
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") bin=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d -t crux-page.XXXXXX)
trap 'rm -rf "$work"' EXIT
"$python" conformance/check_page.py "$bin" "$work"
