#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fuzz.sh SRCDIR BUILDDIR [HARNESS...] - build the harnesses of tests/fuzz with
# clang, libFuzzer and the sanitizers, in BUILDDIR/fuzz, and run each for
# MINUTES (or FUZZ_SECONDS), as many at a time as there are processors (or
# FUZZ_JOBS).  HARNESS.log is what each said.  What it learnt goes to
# HARNESS.new; an input that fails is left there as crash-*, timeout-* or
# oom-*, and the exit status is 1.  With FUZZ_MERGE=1 what brings coverage is
# then added to the corpus in SRCDIR.
#
# Limits.  No input is longer than 64 KiB, and none makes a store of more than
# 8 MiB, so what is taken beyond these is not in proportion:
#   one allocation    16 MiB, four times the greatest that there is (the buffer
#                     of load, the simulated disk's images)
#   memory in all     512 MiB: that of the fuzzer with the corpus, and 64 MiB
#                     which the sanitizer keeps back
#   time              30 s of the wall clock: an input takes milliseconds, the
#                     slowest half a second, and a busy machine may need
#                     twenty times as much
# fuzz_dir.c has closer ones for each call, in proportion to the files.

set -eu

src=$1
dir=$2/fuzz
shift 2
[ $# -gt 0 ] || set -- api dir hint load model names segment
: "${FUZZ_CC:=clang}" "${MINUTES:=1}" "${XXHASH_CFLAGS:=}" "${ISAL_LIBS:=}"
: "${JANSSON_CFLAGS:=}" "${JANSSON_LIBS:=}" "${FUZZ_MERGE:=}"
: "${FUZZ_SECONDS:=$((MINUTES * 60))}"
: "${FUZZ_JOBS:=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)}"

command -v "$FUZZ_CC" >/dev/null || {
	echo "fuzz: no $FUZZ_CC" >&2
	exit 1
}
mkdir -p "$dir/obj"
cd "$dir"
flags="-std=c11 -g -O2 -pthread -fno-sanitize-recover=undefined
    -fsanitize=address,undefined -I.. -I$src/include -I$src/src
    -I$src/tests/lib $XXHASH_CFLAGS $JANSSON_CFLAGS"

# The library's sources are one program with the harness: the fuzzer sees
# where it gets to in all of them.  What simulates is not of interest.
rm -f obj/*.o
(
	cd obj
	"$FUZZ_CC" -I../.. $flags -fsanitize=fuzzer-no-link -c "$src"/src/*.c
	"$FUZZ_CC" -I../.. $flags -c "$src"/tests/lib/sim*.c \
	    "$src"/tests/lib/model.c "$src"/tests/lib/oracle.c \
	    "$src"/tests/lib/tmpdir.c "$src"/tests/lib/victim.c \
	    "$src"/tests/lib/world.c
)

build()
{
	case $1 in
	load) set -- "$1" "$src"/tools/format*.c "$src/tools/text.c" ;;
	model) set -- "$1" $(ls "$src"/tests/model/*.c | grep -v /test_) ;;
	names) set -- "$1" "$src/tools/text.c" ;;
	*) set -- "$1" "$src/tests/fuzz/repair.c" ;;
	esac
	name=$1
	shift
	"$FUZZ_CC" $flags -fsanitize=fuzzer -o "fuzz_$name" \
	    "$src/tests/fuzz/fuzz_$name.c" "$@" obj/*.o $ISAL_LIBS \
	    $JANSSON_LIBS
}

run()
{
	corpus=$src/tests/fuzz/corpus/$1
	max_len=32768
	len_control=100
	case $1 in
	api | dir | model) # programs, not files
		max_len=1024
		len_control=10
		;;
	load) max_len=4096 ;;
	esac
	set -- "$1" -timeout=30 -rss_limit_mb=512 -malloc_limit_mb=16 \
	    -max_len=$max_len -len_control=$len_control \
	    -artifact_prefix="$1.new/"
	[ ! -f "$src/tests/fuzz/$1.dict" ] ||
	    set -- "$@" -dict="$src/tests/fuzz/$1.dict"
	name=$1
	shift
	mkdir -p "$name.new"
	"./fuzz_$name" "$@" -max_total_time="$FUZZ_SECONDS" \
	    -print_final_stats=1 "$name.new" "$corpus" >"$name.log" 2>&1 || {
		echo "fuzz: $name has found something; see $dir/$name.log" >&2
		tail -n 30 "$name.log" >&2
		return 1
	}
	[ -z "$FUZZ_MERGE" ] ||
	    "./fuzz_$name" "$@" -merge=1 "$corpus" "$name.new" >>"$name.log" \
		2>&1
	# Edges, features; executions.
	sed -n -e 's/^#[0-9]*.*DONE */fuzz: '"$name"': /p' \
	    -e 's/^stat::/fuzz: '"$name"': /p' "$name.log" >&2
}

# The quarantine is a window of what was freed last, not all of it.
ASAN_OPTIONS=quarantine_size_mb=64${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export ASAN_OPTIONS
status=0
for name; do
	build "$name"
done
echo "fuzz: $*: $FUZZ_SECONDS s each, $FUZZ_JOBS at a time" >&2
while [ $# -gt 0 ]; do
	pids=
	for name; do
		[ "$(echo $pids | wc -w)" -lt "$FUZZ_JOBS" ] || break
		run "$name" &
		pids="$pids $!"
		shift
	done
	for pid in $pids; do
		wait "$pid" || status=1
	done
done
exit $status
