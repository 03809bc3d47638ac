#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run_tests.sh [--ci] - build the tree in build/ and run all tests, on a Debian
# machine as it comes: packages that are missing are installed first, by sudo
# if need be.
#
# With --ci, or CI=true in the environment, the tests run a second time under
# AddressSanitizer and UndefinedBehaviorSanitizer, in build-asan/, and "make
# distcheck", with the tests that need files of the source, is one more test.
#
# The last line is "N passed, N failed, N skipped": a Check program counts as
# the checks in it, everything else that make check runs as one.  The exit
# status is 0 if nothing failed.

set -u

cd "$(dirname "$0")" || exit 1
. build-aux/setup.sh

ci=false
[ "${CI:-}" = true ] && ci=true
for arg in "$@"; do
	case $arg in
	--ci)
		ci=true
		;;
	*)
		echo "usage: run_tests.sh [--ci]" >&2
		exit 2
		;;
	esac
done

passed=0
failed=0
skipped=0

# Print "PASSED FAILED SKIPPED" of the tests that were run in a directory.
count_results()
{
	find "$1" -name '*.trs' | while read -r trs; do
		result=$(sed -n 's/^:global-test-result: //p' "$trs")
		printf 'result %s\n' "${result:-ERROR}"
		[ "$result" = SKIP ] ||
		    grep -E '^[0-9]+%: Checks: ' "${trs%.trs}.log"
	done | awk '
	function settle()
	{
		if (result == "SKIP")
			skip++
		else if (result == "PASS")
			pass += checks > 0 ? checks : 1
		else if (result != "") {
			# A program may also fail outside of its checks.
			pass += checks - bad
			fail += bad > 0 ? bad : 1
		}
		checks = bad = 0
	}
	$1 == "result" { settle(); result = $2; next }
	{
		gsub(/,/, "")
		checks += $3
		bad += $5 + $7
	}
	END { settle(); print pass + 0, fail + 0, skip + 0 }'
}

# What took longest in a directory, where files know when they were made.
print_slowest()
{
	find "$1/tests" -name '*.log' -exec stat -c '%W %Y %n' {} + |
	    awk '$1 > 0 { print $2 - $1, "s", $3 }' | sort -rn | head -n 5
}

# Build and test in a directory; the rest are arguments of configure.
run_tests()
{
	dir=$1
	if ! kvlog_build "$@"; then
		failed=$((failed + 1))
		return
	fi

	kvlog_say "make check (in $dir)"
	started=$(date +%s)
	find "$dir" -name '*.trs' -exec rm -f {} +
	rm -f "$dir/test-suite.log"
	# One more than there are processors, as some wait for the disk.
	make -C "$dir" -k -j "$(($(kvlog_jobs) + 1))" check \
	    >"$dir/check.out" 2>&1
	status=$?

	find "$dir" -name '*.log' ! -name test-suite.log \
	    -exec grep -hE '^[0-9]+%: Checks: ' {} +
	set -- $(count_results "$dir")
	# What does not compile has no results.
	[ $status -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1 "$3"
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
	if [ $status -ne 0 ]; then
		if [ -f "$dir/test-suite.log" ]; then
			cat "$dir/test-suite.log"
		else
			cat "$dir/check.out"
		fi
	else
		sed -n '/^SKIP/,/^$/p' "$dir/test-suite.log" 2>/dev/null
	fi
	kvlog_say "$dir: $1 passed, $2 failed, $3 skipped, in" \
	    "$(($(date +%s) - started)) s; the longest:"
	print_slowest "$dir" >&2
}

kvlog_install_packages
run_tests build --enable-werror

if $ci; then
	# Most of the time goes into remembering what was freed and by whom.
	ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=5${ASAN_OPTIONS:+:$ASAN_OPTIONS}
	export ASAN_OPTIONS
	# What is compiled once and little optimised is compiled fast; so some
	# warnings are false, and they were errors above.
	run_tests build-asan --enable-sanitize=address,undefined \
	    --disable-shared CFLAGS='-g -O1'

	kvlog_say "make distcheck (in build)"
	mkdir -p build
	# Whether the tarball is whole shows without optimisation, too.
	# shellcheck disable=SC2016
	if make -C build -j "$(kvlog_jobs)" distcheck TESTS='$(TARBALL_TESTS)' \
	    DISTCHECK_CONFIGURE_FLAGS='--disable-werror --without-peers CFLAGS=-O0' \
	    >build/distcheck.out 2>&1
	then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		tail -n 200 build/distcheck.out
		find build -path '*/_build/*' -name test-suite.log \
		    -exec cat {} +
	fi
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
