#!/bin/sh
# Lays out executables, recipes, licence, documentation, man pages and completions below a prefix.
#   tools/install.sh BIN_FOLDER PREFIX
# Man pages need python3; without one they are left out, and that is said.
set -eu
bin=$1 prefix=$2
cd "$(dirname "$0")/.."
commands="ingest score plan update rollout loop report runs slurm"

mkdir -p "$prefix/bin" "$prefix/share/crux" "$prefix/share/doc/crux" "$prefix/share/man/man1" \
  "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
install -m 755 "$bin/crux" "$prefix/bin/"
for command in $commands; do
  name=crux-$command
  install -m 755 "$bin/$name" "$prefix/bin/"
  "$bin/$name" --generate-completion-script bash > "$prefix/share/bash-completion/completions/$name"
  "$bin/$name" --generate-completion-script zsh > "$prefix/share/zsh/site-functions/_$name"
  "$bin/$name" --generate-completion-script fish > "$prefix/share/fish/vendor_completions.d/$name.fish"
done
# What crux-update --mpi loads, to be compiled against a cluster's MPI, and where make mpi has made it, itself.
mkdir -p "$prefix/share/crux/mpi"
cp tools/mpi/crux_mpi.c Sources/CGang/gang.h "$prefix/share/crux/mpi/"
if [ -f "$bin/libcrux-mpi.so" ]; then
  mkdir -p "$prefix/lib/crux"
  install -m 755 "$bin/libcrux-mpi.so" "$prefix/lib/crux/"
fi
cp -R recipes examples "$prefix/share/crux/"
cp -R LICENSE README.md CHANGELOG.md docs "$prefix/share/doc/crux/"
if command -v python3 > /dev/null; then tools/make_man.py "$bin" "$prefix/share/man/man1"
else echo "no python3: no man pages" >&2; fi
