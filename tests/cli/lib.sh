# SPDX-License-Identifier: BSD-2-Clause
#
# lib.sh - read by the tests of the command-line program, each of which runs
# in a new directory of its own:
#
#	. "$(dirname "$0")/lib.sh"
#	name 'a missing key'
#	run 1 get s nothing		# expects exit status 1
#	out_is </dev/null		# exact standard output
#	err_is <<-END			# exact standard error
#	Key not found: nothing
#	END
#	finish
#
# KVLOG is the program; a case that fails is printed, and the test goes on.

set -u
LC_ALL=C
export LC_ALL
unset POSIXLY_CORRECT NO_COLOR

cli_dir=$(cd "$(dirname "$0")" && pwd)
KVLOG=${KVLOG:-./kvlog}
case $KVLOG in
/*) ;;
*) KVLOG=$PWD/$KVLOG ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/kvlog-cli.XXXXXX") || exit 1
children=
trap 'test -z "$children" || kill $children 2>/dev/null
cd / && rm -rf "$work" "$work.failed"' EXIT
trap 'echo "FAILED: $case_name: ended from outside: $what"; exit 1' HUP INT TERM
cd "$work" || exit 1

failures=0
case_name=
what=

name()
{
	case_name=$1
}

# Noted in a file, too: what stands behind a pipe has variables of its own.
fail()
{
	echo "FAILED: $case_name: $*" | tee -a "$work.failed"
	failures=$((failures + 1))
}

# Run the program with what is standard input here; results in out and err.
run()
{
	expected=$1
	shift
	what="kvlog $*"
	"$KVLOG" "$@" >out 2>err
	status=$?
	[ $status -eq "$expected" ] || {
		fail "$what: exit status $status, not $expected"
		sed 's/^/    /' err
	}
}

same()
{
	cmp -s "$1" "$2" || {
		fail "$what: $2 is not what is expected"
		diff -u "$1" "$2" | sed 's/^/    /'
	}
}

out_is()
{
	cat >expected
	same expected out
}

err_is()
{
	cat >expected
	same expected err
}

# Some line of the file matches the extended regular expression.
has()
{
	grep -Eq -e "$2" "$1" || {
		fail "$what: $1 has no line that matches '$2'"
		sed 's/^/    /' "$1"
	}
}

lacks()
{
	! grep -Eq -e "$2" "$1" || {
		fail "$what: $1 has a line that matches '$2'"
		sed 's/^/    /' "$1"
	}
}

# An error in one line, and nothing on standard output.
error_like()
{
	out_is </dev/null
	has err "$1"
	[ "$(grep -c '^ERROR: .' err)" -eq 1 ] ||
		fail "$what: not one line ERROR:"
}

# Wait up to ten seconds for a command to succeed.
await()
{
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		if [ $tries -ge 1000 ]; then
			fail "waited in vain: $*"
			return 1
		fi
		sleep 0.05
	done
}

# Change one byte of the store s where a text stands in its segments.
damage()
{
	place=$(grep -obUaF -e "$1" s/*.seg /dev/null | head -n 1)
	if [ -z "$place" ]; then
		fail "'$1' is not in the segments of s"
		return
	fi
	file=${place%%:*}
	offset=${place#*:}
	printf '\001' | dd of="$file" bs=1 seek="${offset%%:*}" conv=notrunc \
		2>/dev/null
}

finish()
{
	[ -e "$work.failed" ] || exit 0
	echo "$(wc -l <"$work.failed") failed"
	exit 1
}

# The rest; what has failed before has failed.
skip()
{
	[ ! -e "$work.failed" ] || finish
	echo "skipped: $*"
	exit 77
}
