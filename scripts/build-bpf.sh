#!/usr/bin/env bash
# Compiles every bpf-src/*.bpf.c into bpf/<arch>/, for both architectures: the programs read no registers, so either
# machine can build both. Instruction set v2 is what Linux 5.10 knows on every architecture.
set -euo pipefail
cd "$(dirname "$0")/.."

build() { # <directory> <what bpf/bpf_tracing.h calls the architecture>
	mkdir -p "bpf/$1"
	for source in bpf-src/*.bpf.c; do
		object="bpf/$1/$(basename "${source%.c}").o"
		clang -O2 -g -target bpf -mcpu=v2 "-D__TARGET_ARCH_$2" "-I/usr/include/$(uname -m)-linux-gnu" -Ibpf-src \
			-Wall -Werror -c "$source" -o "$object.tmp"
		llvm-strip -g "$object.tmp" # DWARF goes, BTF stays
		mv "$object.tmp" "$object"
	done
}

shopt -s nullglob
build x64 x86
build arm64 arm64
