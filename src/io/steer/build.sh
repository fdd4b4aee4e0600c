#!/bin/sh
# Builds steer.bpf.o, or the file that is named, from steer.bpf.c; tests/steering.rs holds both together.
#
# The committed object is that of Debian's clang 14 (package `clang`, bookworm). The kernel wants BTF, which
# comes with -g; -gcodeview leaves out DWARF, which nobody reads and which would bring paths.
set -eu
cd "$(dirname "$0")"
exec "${CLANG:-clang}" -target bpfel -mcpu=v3 -O2 -g -gcodeview -fdebug-compilation-dir=. \
    -Wall -Wextra -Werror -c steer.bpf.c -o "${1:-steer.bpf.o}"
