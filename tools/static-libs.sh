#!/bin/sh
# A folder with nothing but the static forms of the C libraries and of libstdc++, and pkg-config files that lead there: a
# build with PKG_CONFIG_PATH=FOLDER/pkgconfig takes OpenBLAS, zstd, zlib, libcrypto, xxHash, SQLite and libstdc++ into the
# executables. (GRDB asks for SQLite without pkg-config: the linker finds it in the folder that the others name.)
#   tools/static-libs.sh FOLDER
set -eu
mkdir -p "$1/pkgconfig"
folder=$(cd "$1" && pwd)
unset PKG_CONFIG_PATH
for module in openblas libzstd zlib libcrypto libxxhash sqlite3; do
  # As the linker calls it: zlib's library is libz.
  name=${module#lib}
  [ "$module" != zlib ] || name=z
  found=
  for directory in $(pkg-config --libs-only-L "$module" | sed 's/-L//g') "/usr/lib/$(uname -m)-linux-gnu" /usr/lib64 /usr/lib; do
    if [ -f "$directory/lib$name.a" ]; then found=$directory/lib$name.a; break; fi
  done
  [ -n "$found" ] || { echo "lib$name.a: found none; the development package of $name has it" >&2; exit 1; }
  ln -sf "$(readlink -f "$found")" "$folder/lib$name.a"
  printf 'Name: %s\nDescription: static\nVersion: %s\nLibs: -L%s -l%s\nCflags: %s\n' \
    "$module" "$(pkg-config --modversion "$module")" "$folder" "$name" "$(pkg-config --cflags "$module")" \
    > "$folder/pkgconfig/$module.pc"
done

# The linker takes the first folder that has a library, so libstdc++ comes from here too.
library=$(${CC:-cc} -print-file-name=libstdc++.a 2> /dev/null || clang -print-file-name=libstdc++.a)
case $library in /*) ln -sf "$library" "$folder/libstdc++.a" ;; esac
