#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# coverage.sh SRCDIR DIR - what the tests run of the library.  Builds SRCDIR
# in DIR with gcc's counters, runs the tests, and has coverage.py compare the
# counters with tests/coverage.txt.
#
# Without optimisation, so that a branch of the source is one of the program,
# and without asserts, whose failing no test can want.  Processes that tests
# start end by _exit(), which gcc's counters do not outlive: it gets one that
# writes them, for which the tests need the library inside.  A second build has the
# files that stand in for calls of Linux and for libisal; what runs of it are
# the tests that are quick.

set -eu

src=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
: "${MAKE:=make}"

if [ -f "$src/config.status" ]; then
	echo "coverage: $src is configured in place; run \"$MAKE distclean\"" \
	    'there first' >&2
	exit 1
fi
for need in gcc gcov python3; do
	command -v $need >/dev/null || {
		echo "coverage: no $need" >&2
		exit 1
	}
done

# Counting takes time.
: "${CK_DEFAULT_TIMEOUT:=600}" "${CK_TIMEOUT_MULTIPLIER:=5}"
export CK_DEFAULT_TIMEOUT CK_TIMEOUT_MULTIPLIER

# What make hands down is about the build that asked, not about these.
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR 2>/dev/null || :
MAKE="$MAKE -j$(nproc 2>/dev/null || echo 1)"

cat >"$dir/exit.c" <<'END'
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);

void
_exit(int status)
{
	struct rlimit limit;

	/* Half a file of counters would spoil all of it. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	    limit.rlim_cur == RLIM_INFINITY)
		__gcov_dump();
	for (;;)
		syscall(SYS_exit_group, status);
}
END
gcc -c -o "$dir/exit.o" "$dir/exit.c"

# run NAME TESTS ARGUMENT... - build DIR/NAME, configured so, and run TESTS.
run()
{
	name=$1
	tests=$2
	shift 2
	echo "coverage: $name" >&2
	rm -rf "${dir:?}/$name"
	mkdir "$dir/$name"
	cd "$dir/$name"
	"$src/configure" --enable-coverage --enable-werror --disable-shared \
	    --enable-static "$@" CC=gcc CFLAGS='-g -O0' CPPFLAGS=-DNDEBUG \
	    LIBS="$dir/exit.o -lgcov" >configure.out 2>&1 &&
	    $MAKE >make.out 2>&1 &&
	    $MAKE check ${tests:+"TESTS=$tests"} >check.out 2>&1 || {
		echo "coverage: $name failed: see $dir/$name" >&2
		exit 1
	}
}

run all '' --without-peers
run portable 'tests/unit/test_os tests/unit/test_sum tests/api/test_open' \
    --disable-linux --without-isal --without-jansson --without-peers
python3 "$src/build-aux/coverage.py" "$src" "$src/tests/coverage.txt" \
    "$dir/all" "$dir/portable"
