#!/bin/sh
# docs/house.md anew: the code before the rooms were put in order (commit 98bd0eb) beside the code now.
set -eu
cd "$(dirname "$0")/.."
house=$PWD
folder=$(mktemp -d)
trap 'git worktree remove --force "$folder/before" 2> /dev/null; rm -rf "$folder"' EXIT
git worktree add -q --detach "$folder/before" 98bd0eb
ln -s "$house" "$folder/now"
table=$(cd "$folder" && python3 "$house/tools/house.py" before now)
cat > docs/house.md <<PAGE
# The code, measured

By \`tools/house.py\`, before the rooms were put in order (commit 98bd0eb) and now; \`tools/make_house_page.sh\` makes this
page. A circle is a set of files of one room of which each names something of every other, directly or not. What an
addition touches are the files outside of Tests that name a member of the registry, counted for each member that is
there: its own file, the registry's line, and whatever else knows it by name. Lines were broken at 170 columns before and
at 120 now, which makes functions and files longer.

$table
PAGE
