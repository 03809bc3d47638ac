#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# coverage.sh SRCDIR BUILDDIR - turn the counters that a run of the tests left
# in BUILDDIR into a summary and pages under BUILDDIR/coverage.

set -eu

# As the compiler noted them, without "..".
srcdir=$(cd "$1" && pwd -P)
builddir=$(cd "$2" && pwd -P)
cd "$builddir"
rm -rf coverage
mkdir coverage

gcov=gcov
case $CC in
*clang*)
	gcov='llvm-cov gcov'
	;;
esac

if command -v gcovr >/dev/null; then
	gcovr --root "$srcdir" --gcov-executable "$gcov" \
	    --filter "$srcdir/src/" --filter "$srcdir/tools/" \
	    --html-details coverage/index.html --print-summary \
	    --txt coverage/summary.txt .
	cat coverage/summary.txt
elif command -v lcov >/dev/null; then
	# lcov wants one word for the tool.
	printf '#!/bin/sh\nexec %s "$@"\n' "$gcov" >coverage/gcov
	chmod +x coverage/gcov
	lcov --quiet --capture --directory . --base-directory "$builddir" \
	    --gcov-tool "$builddir/coverage/gcov" --output-file coverage/all
	lcov --quiet --extract coverage/all "$srcdir/src/*" \
	    "$srcdir/tools/*" --output-file coverage/kvlog
	genhtml --quiet --output-directory coverage coverage/kvlog
	lcov --list coverage/kvlog
else
	echo 'coverage: neither gcovr nor lcov is here' >&2
	exit 1
fi
echo "coverage: see $builddir/coverage/index.html"
