#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fuzz.sh SRCDIR BUILDDIR [HARNESS...] - build the harnesses of tests/fuzz with
# clang, libFuzzer and the sanitizers, in BUILDDIR/fuzz, and run each for
# FUZZ_SECONDS.  What is found goes to BUILDDIR/fuzz/HARNESS.new; an input that
# fails is left there as crash-*, and the exit status is 1.

set -eu

src=$1
dir=$2/fuzz
shift 2
[ $# -gt 0 ] || set -- hint names segment
: "${FUZZ_CC:=clang}" "${FUZZ_SECONDS:=60}" "${XXHASH_CFLAGS:=}"
: "${ISAL_LIBS:=}"

command -v "$FUZZ_CC" >/dev/null || {
	echo "fuzz: no $FUZZ_CC" >&2
	exit 1
}
mkdir -p "$dir"
cd "$dir"
status=0
for name; do
	extra=
	[ "$name" != names ] || extra=$src/tools/text.c
	# The library's sources are one program with the harness: the fuzzer
	# sees where it gets to in all of them.
	"$FUZZ_CC" -std=c11 -g -O1 -pthread -fno-sanitize-recover=undefined \
	    -fsanitize=fuzzer,address,undefined -I.. -I"$src/include" \
	    -I"$src/src" $XXHASH_CFLAGS -o "fuzz_$name" \
	    "$src/tests/fuzz/fuzz_$name.c" $extra "$src"/src/*.c $ISAL_LIBS
	mkdir -p "$name.new"
	echo "fuzz: $name, $FUZZ_SECONDS s" >&2
	"./fuzz_$name" -max_total_time="$FUZZ_SECONDS" -timeout=10 \
	    -max_len=32768 -artifact_prefix="$name.new/" -verbosity=0 \
	    -print_final_stats=1 "$name.new" "$src/tests/fuzz/corpus/$name" ||
	    status=1
done
exit $status
