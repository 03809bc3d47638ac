#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# matrix.sh SRCDIR DIR [ROW...] - build and test SRCDIR in every way that is
# promised to work, or in the ways named, each in DIR/ROW.  A row that fails
# does not stop the others.  Ends with a table; exits 1 if a row failed.

set -u

srcdir=$1
dir=$2
shift 2
: "${MAKE:=make}"

# Name, compiler, CFLAGS, CPPFLAGS, arguments of configure.
rows='gcc|gcc|-g -O2||
gcc-asan-ubsan|gcc|-g -O1||--enable-sanitize=address,undefined
gcc-tsan|gcc|-g -O1||--enable-sanitize=thread
gcc-ndebug|gcc|-O2|-DNDEBUG|
gcc-no-linux|gcc|-g -O2||--disable-linux
gcc-no-isal|gcc|-g -O2||--without-isal --without-jansson
clang|clang|-g -O2||
clang-asan-ubsan|clang|-g -O1||--enable-sanitize=address,undefined
clang-tsan|clang|-g -O1||--enable-sanitize=thread
clang-ndebug|clang|-O2|-DNDEBUG|'

if [ -f "$srcdir/config.status" ]; then
	echo "matrix: $srcdir is configured in place; run" \
	    "\"$MAKE distclean\" there first" >&2
	exit 1
fi

wanted=" $* "
mkdir -p "$dir" || exit 1
: >"$dir/table" || exit 1

# The steps of one row, in its directory; prints the name of the step that
# failed, if one did.
run_row()
{
	step=configure
	"$srcdir/configure" --enable-werror CC="$cc" CFLAGS="$cflags" \
	    CPPFLAGS="$cppflags" $args >configure.out 2>&1 || return
	step=make
	$MAKE >make.out 2>&1 || return
	step='make check'
	$MAKE check >check.out 2>&1 || return
	step=
}

# What make hands down is about the build that asked, not about these.
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR 2>/dev/null
MAKE="$MAKE -j$(nproc 2>/dev/null || echo 1)"

echo "$rows" | while IFS='|' read -r name cc cflags cppflags args; do
	case $wanted in
	'  ' | *" $name "*) ;;
	*) continue ;;
	esac
	if ! command -v "$cc" >/dev/null; then
		printf '%-20s skipped  no %s\n' "$name" "$cc"
		continue
	fi >>"$dir/table"
	echo "matrix: $name" >&2
	rm -rf "${dir:?}/$name"
	mkdir "$dir/$name" && cd "$dir/$name" || exit 1
	begin=$(date +%s)
	run_row </dev/null
	seconds=$(($(date +%s) - begin))
	if [ -z "$step" ]; then
		printf '%-20s ok       %d s\n' "$name" "$seconds"
	else
		printf '%-20s FAILED   %s, %d s: see %s\n' "$name" "$step" \
		    "$seconds" "$dir/$name"
	fi >>"$dir/table"
done

cat "$dir/table"
[ -s "$dir/table" ] || {
	echo "matrix: no row named$wanted" >&2
	exit 1
}
! grep -q ' FAILED ' "$dir/table"
