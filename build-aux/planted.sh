#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# planted.sh SRCDIR [NAME...] - plant each bug of SRCDIR/tests/planted, or
# those named, and see that the tests it names catch it.  Run by "make
# check-planted" in the build directory, where the test programs are built.
#
# A bug is a patch against src/ whose head says what is broken, which rule or
# invariant that is, and who must catch it:
#
#     Caught-by: tests/unit/test_repair CK_RUN_CASE=order
#
# A line for each test program, the cheapest first, with what its environment
# needs; all of them must fail.  First the same runs must pass without a bug.
#
# Only what a patch changes is compiled.  It is linked before the library, so
# that the library's own file of that name is not wanted any more.  Nothing is
# installed or changed; all is done in a directory that is removed at the end.

set -u

srcdir=$1
shift
: "${COMPILE:?}" "${LINK:?}" "${LIBS:=}" "${PLANTED_SECONDS:=300}"
: "${CK_DEFAULT_TIMEOUT:=60}"
top_srcdir=$srcdir top_builddir=$PWD
export top_srcdir top_builddir CK_DEFAULT_TIMEOUT
unset KVLOG_SEED

scratch=$PWD/planted.$$
running=
trap 'stop; rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$scratch" || exit 1

stop()
{
	[ -z "$running" ] || kill "$running" 2>/dev/null
	[ -z "$running" ] || wait "$running" 2>/dev/null
	running=
}

# The first failure that a log of Check tells, or a violation that the crash
# tests find, in one line.
first_failure()
{
	{
		sed -n 's/^[^ ]*:[0-9]*:[FE]:[^:]*:\([^:]*\):[0-9]*: */\1: /p' \
		    "$scratch/log"
		sed -n 's/^VIOLATION: //p' "$scratch/out"
	} | head -n 1 | cut -c 1-120
}

# run PROGRAM [VARIABLE=VALUE...]: 0: it passed; 1: it failed, as $failure
# says.  It is not waited for once a test has failed.  Check ends the process
# group that it is in: timeout makes it one of its own.
run()
{
	program=$1
	shift
	: >"$scratch/log" >"$scratch/out"
	(
		cd "$scratch" || exit 1
		exec env CK_LOG_FILE_NAME="$scratch/log" "$@" \
		    timeout "$PLANTED_SECONDS" "$program"
	) >"$scratch/out" 2>&1 &
	running=$!
	failure=
	while kill -0 "$running" 2>/dev/null && [ -z "$failure" ]; do
		sleep 0.1
		failure=$(first_failure)
	done
	[ -z "$failure" ] || stop
	status=0
	[ -z "$running" ] || wait "$running" || status=$?
	running=
	[ -n "$failure" ] || failure=$(first_failure)
	[ -n "$failure" ] || [ $status -eq 0 ] ||
		failure="exit status $status: $(tail -n 1 "$scratch/out")"
	[ -z "$failure" ]
}

# Lines "PROGRAM VARIABLE=VALUE..." of these patches.
catchers()
{
	sed -n '/^---/d; s/^Caught-by: *//p' "$@"
}

# Compile what the patch changes, into $scratch/obj.
build()
{
	rm -rf "$scratch/src" "$scratch/obj"
	mkdir "$scratch/obj" &&
		cp -R "$srcdir/src" "$scratch/src" &&
		chmod -R u+w "$scratch/src" || return 1
	patch -d "$scratch" -p1 -s -F2 --no-backup-if-mismatch \
	    <"$patch" >"$scratch/why" 2>&1 || {
		failure="does not apply: $(head -n 1 "$scratch/why")"
		return 1
	}
	# Of a header that is changed everything may make use.
	changed=$(sed -n 's|^+++ b/\(src/[^ 	]*\.c\).*|\1|p' "$patch")
	! grep -q '^+++ b/src/.*\.h' "$patch" ||
		changed=$(cd "$scratch" && echo src/*.c)
	for file in $changed; do
		object=${file#src/}
		$COMPILE -w -c -o "$scratch/obj/${object%.c}.o" \
		    "$scratch/$file" >"$scratch/why" 2>&1 || {
			failure="does not build: $(grep error "$scratch/why" |
			    head -n 1)"
			return 1
		}
	done
}

# Link a test program with it.
link()
{
	$LINK -o "$scratch/planted_test" "$1.o" "$scratch"/obj/*.o \
	    tests/lib/libtest.la libkvlog-core.la $LIBS \
	    >"$scratch/why" 2>&1 || {
		failure="does not link: $(tail -n 1 "$scratch/why")"
		return 1
	}
}

passed=0
failed=0

# say NAME ok|FAILED TEXT
say()
{
	if [ "$2" = ok ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	printf '%-6s  %-44s  %s\n' "$2" "$1" "$3"
}

if [ $# -eq 0 ]; then
	set -- "$srcdir"/tests/planted/*.patch
else
	for name; do
		shift
		set -- "$@" "$srcdir/tests/planted/$name.patch"
	done
fi
for patch; do
	[ -f "$patch" ] || {
		echo "planted: no $patch" >&2
		exit 1
	}
done

# Without a bug.
catchers "$@" | sort -u >"$scratch/catchers"
while read -r test arguments; do
	if run "$PWD/$test" $arguments; then
		passed=$((passed + 1))
	else
		say 'no bug' FAILED "$test $arguments: $failure"
	fi
done <"$scratch/catchers"
[ $failed -gt 0 ] ||
	echo "without a bug all of $passed test runs pass"

# With each.
for patch; do
	name=${patch##*/}
	name=${name%.patch}
	if ! build; then
		say "$name" FAILED "$failure"
		continue
	fi
	catchers "$patch" >"$scratch/catchers"
	[ -s "$scratch/catchers" ] ||
		say "$name" FAILED 'the patch names no test'
	while read -r test arguments; do
		if ! link "$test"; then
			say "$name" FAILED "$failure"
		elif run "$scratch/planted_test" $arguments; then
			say "$name" FAILED "NOT CAUGHT by $test $arguments"
		else
			say "$name" ok "caught by $test: $failure"
		fi
	done <"$scratch/catchers"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
