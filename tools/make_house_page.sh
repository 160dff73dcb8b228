#!/bin/sh
# docs/house.md anew: the code before the rooms were put in order (commit 98bd0eb) beside the code now.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'git worktree remove --force "$folder/before"; rm -rf "$folder"' EXIT
git worktree add -q --detach "$folder/before" 98bd0eb
ln -s "$PWD" "$folder/now"
{
  sed '/^| /,$d' docs/house.md
  (cd "$folder" && "$OLDPWD"/tools/house.py before now)
} > "$folder/page"
cp "$folder/page" docs/house.md
