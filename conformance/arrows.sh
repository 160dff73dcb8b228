#!/usr/bin/env bash
# Holds what each room imports against what Package.swift lets it: an arrow that the code takes is declared, and one that
# is declared is taken. (SwiftPM's own check, --explicit-target-dependency-import-check, passes over a room that is
# reached through another.) And nothing that ships has libdispatch's threads: once a second it looks in /proc how they
# fare, and ends the process by a trap where it can't open a file there. make lint runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} package describe --type json | python3 -c '
import json, os, re, sys

rooms = json.load(sys.stdin)["targets"]
names = {room["name"] for room in rooms} | {"ArgumentParser", "GRDB", "Logging", "Yams"}
imported = re.compile(r"^(?:@\w+ )?(?:\w+ )?import (\w+)", re.M)
dispatched = re.compile(r"\bDispatch(?:Queue|Source|Group|WorkItem)\b")
wrong = 0
for room in rooms:
    taken = set()
    for path, _, files in os.walk(room["path"]):
        for file in files:
            if file.endswith(".swift"):
                text = open(os.path.join(path, file), encoding="utf-8").read()
                taken |= set(imported.findall(text))
                if room["type"] != "test" and room["name"] != "Bench" and dispatched.search(text):
                    print(os.path.join(path, file), "uses threads of libdispatch, expected ThreadTeam or parallelMap")
                    wrong += 1
    taken &= names
    declared = set(room.get("target_dependencies", [])) | set(room.get("product_dependencies", []))
    for other in sorted(taken - declared):
        print(room["name"], "imports", other + ", which Package.swift does not say")
    # All tests are given what tests share.
    declared -= {"TestSupport"} - taken
    for other in sorted(declared - taken):
        print("Package.swift lets", room["name"], "import", other + ", which it does not")
    wrong += len(taken ^ declared)
sys.exit(1 if wrong else 0)
'
