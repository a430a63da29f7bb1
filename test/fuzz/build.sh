#!/usr/bin/env bash
# Builds a harness with libFuzzer and the sanitizers: build.sh HARNESS OUTPUT, as in build.sh exact /tmp/exact.
# Only the programs are watched for coverage. Of misaligned access the kernel's machines think nothing.
set -euo pipefail
cd "$(dirname "$0")"
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile() { # SOURCE FLAGS...
	clang -g -O1 -fno-strict-aliasing -fno-sanitize-recover=all -Wall -Wno-unused-function -I. -Ikernel -I../../bpf-src \
		"${@:2}" -c "$1.c" -o "$objects/$1.o"
}
compile kernel -fsanitize=address,undefined
compile "$1" -fsanitize=address,undefined
compile programs -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=alignment
clang -fsanitize=fuzzer,address,undefined "$objects"/*.o -o "$2"
