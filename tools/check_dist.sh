#!/bin/bash
# Runs the archive of `make dist` in a Debian that has nothing but itself: debootstrap's smallest variant, no Swift, no
# libraries of ours, an empty environment, no network. The dump in fixtures/ goes through all stages there.
#   tools/check_dist.sh ARCHIVE [SUITE] [MIRROR]        # root; SUITE bookworm, MIRROR http://deb.debian.org/debian
# ROOTFS=FOLDER takes a copy of a folder that debootstrap has made before.
set -euo pipefail
archive=$(realpath "$1") suite=${2:-bookworm} mirror=${3:-http://deb.debian.org/debian}
cd "$(dirname "$0")/.."
[ -n "${ROOTFS:-}" ] || command -v debootstrap > /dev/null || { echo "debootstrap: not found; apt-get install debootstrap" >&2; exit 2; }

root=$(mktemp -d -t crux-dist.XXXXXX)
trap 'rm -rf "$root" "$root.log"' EXIT
if [ -n "${ROOTFS:-}" ]; then cp -a "$ROOTFS/." "$root/"
else debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
fi
mkdir "$root/opt/crux" "$root/work"
tar -xzf "$archive" -C "$root/opt/crux" --strip-components=1
cp -R fixtures/dump fixtures/policy "$root/work/"

# /proc is mounted within the namespace: Swift takes a program's arguments from there, crux its neighbours.
run() {
  unshare --net --mount-proc --pid --fork chroot "$root" /usr/bin/env -i \
    /bin/sh -ec "mount -t proc proc /proc; cd /work; export PATH=/opt/crux/bin:/usr/bin:/bin; $1"
}

run '! command -v swift; for each in /opt/crux/bin/*; do ldd "$each" | sed "s/ (0x.*//" | grep -v vdso; done | sort | uniq -c'
run 'for each in ingest score plan update rollout loop report runs slurm; do crux $each --version > /dev/null; done; crux --help | head -n 1'
run 'crux ingest --input dump --output run/ingest
     crux score --input run/ingest --output run/score
     crux plan --input run/ingest --scores run/score --recipe /opt/crux/share/crux/recipes/dapo-top20.yaml --output run/plan
     crux update --plan run/plan --checkpoint policy --output run/update
     crux report page --input run/ingest --scores run/score --plan run/plan --tokenizer policy --output run/page.html
     crux runs scan run; crux runs list run; crux runs lineage run/update/step-000001
     ls run/update/step-000001/model.safetensors'
[ -s "$root/opt/crux/share/man/man1/crux-score.1" ] && [ -s "$root/opt/crux/share/doc/crux/LICENSE" ]
echo "$(basename "$archive") runs in an empty $suite"
