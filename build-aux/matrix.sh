#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# matrix.sh SRCDIR DIR [ROW...] - build and test SRCDIR in every way that is
# promised to work, or in the ways named, each in DIR/ROW.  A row that fails
# does not stop the others.  Ends with a table; exits 1 if a row failed.
#
# Rows for other machines run their programs here: i386 by the processor,
# s390x, which has the other byte order, by qemu.  They look for Check of that
# architecture (Debian: dpkg --add-architecture i386; apt-get update; apt-get
# install check:i386); musl would need one of its own.  Without it the programs
# are built and tested by scripts, which read the golden files and have the
# independent reader agree.  The table says so.
#
# Debian's gcc-multilib and its cross compilers exclude each other;
# gcc-12-multilib does not, but lacks the way to the kernel's headers.
#
# Under ThreadSanitizer the bench goes without peers: what they do is not known
# to it, and it takes their locks for races.

set -u

srcdir=$1
dir=$2
shift 2
: "${MAKE:=make}"

# Name, compiler, CFLAGS, CPPFLAGS, arguments of configure, and what must be
# there: files or commands, each with the Debian package that has it.
rows='gcc|gcc|-g -O2|||gcc:gcc
gcc-asan-ubsan|gcc|-g -O1||--enable-sanitize=address,undefined|gcc:gcc
gcc-tsan|gcc|-g -O1||--enable-sanitize=thread --without-peers|gcc:gcc
gcc-ndebug|gcc|-O2|-DNDEBUG||gcc:gcc
gcc-no-linux|gcc|-g -O2||--disable-linux|gcc:gcc
gcc-no-robust-mutex|gcc|-g -O2||--disable-robust-mutex|gcc:gcc
gcc-no-isal|gcc|-g -O2||--without-isal --without-jansson --without-libedit|gcc:gcc
clang|clang|-g -O2|||clang:clang
clang-asan-ubsan|clang|-g -O1||--enable-sanitize=address,undefined|clang:clang
clang-tsan|clang|-g -O1||--enable-sanitize=thread --without-peers|clang:clang
clang-ndebug|clang|-O2|-DNDEBUG||clang:clang
musl|musl-gcc|-g -O2||--without-isal --without-jansson --without-libedit --without-peers|musl-gcc:musl-tools
m32|gcc -m32|-g -O2|-idirafter /usr/include/x86_64-linux-gnu|--without-isal --without-jansson --without-libedit --without-peers|/usr/lib32/libc.so:gcc-12-multilib
s390x|s390x-linux-gnu-gcc|-g -O2||--host=s390x-linux-gnu --without-isal --without-jansson --without-libedit --without-peers --disable-shared|s390x-linux-gnu-gcc:gcc-s390x-linux-gnu qemu-s390x:qemu-user'

if [ -f "$srcdir/config.status" ]; then
	echo "matrix: $srcdir is configured in place; run" \
	    "\"$MAKE distclean\" there first" >&2
	exit 1
fi

wanted=" $* "
mkdir -p "$dir" || exit 1
: >"$dir/table" || exit 1

# The first of the row's needs that is not there.
missing()
{
	for need in $needs; do
		thing=${need%%:*}
		[ -e "$thing" ] || command -v "$thing" >/dev/null || {
			echo "no $thing (Debian: ${need#*:})"
			return
		}
	done
}

# pkg-config shall find the libraries of that architecture only.
use_architecture()
{
	PKG_CONFIG_LIBDIR=/usr/lib/$1/pkgconfig:/usr/share/pkgconfig
	export PKG_CONFIG_LIBDIR
}

# What a row needs besides its line: environment, and arguments of make check.
prepare_row()
{
	tests=
	case $name in
	musl)
		# Headers that need no more than a C library, of the system's.
		include=$(pkg-config --variable=includedir libxxhash)
		mkdir headers
		ln -s "$include"/xxhash.h "$include"/xxh*.h headers 2>/dev/null
		ln -s /usr/include/uthash.h headers
		cppflags="-isystem $PWD/headers"
		XXHASH_CFLAGS=$cppflags
		XXHASH_LIBS=' '
		PKG_CONFIG_LIBDIR=$PWD # nothing there
		KVLOG_PLACE_UNKNOWN=1
		CXX=no
		export XXHASH_CFLAGS XXHASH_LIBS PKG_CONFIG_LIBDIR \
		    KVLOG_PLACE_UNKNOWN CXX
		tests='$(CLI_TESTS) tests/examples.test tests/exports.test'
		;;
	m32)
		use_architecture i386-linux-gnu
		CXX=no
		export CXX
		;;
	s390x)
		use_architecture s390x-linux-gnu
		qemu='qemu-s390x -L /usr/s390x-linux-gnu'
		mkdir run
		run=
		for program in kvlog kvlog-compact kvlog-verify; do
			cat >"run/$program" <<-END
				#!/bin/sh
				exec $qemu '$PWD/$program' "\$@"
			END
			chmod +x "run/$program"
			variable=$(echo "$program" | tr a-z- A-Z_)
			run="$run $variable='$PWD/run/$program'; export $variable;"
		done
		CK_TIMEOUT_MULTIPLIER=20
		KVLOG_PLACE_UNKNOWN=1
		CXX=no
		export CK_TIMEOUT_MULTIPLIER KVLOG_PLACE_UNKNOWN CXX
		# The bench starts programs itself.
		tests=$(cd "$srcdir" && ls tests/cli/*.test | grep -v /bench)
		;;
	esac
}

# The steps of one row, in its directory; leaves the name of the step that
# failed in step, if one did.
run_row()
{
	step=configure
	"$srcdir/configure" --enable-werror CC="$cc" CFLAGS="$cflags" \
	    CPPFLAGS="$cppflags" $args >configure.out 2>&1 || return
	if grep -q '^HAVE_CHECK_TRUE = #' Makefile; then
		note='; by scripts alone, without Check'
	elif [ "$name" = s390x ]; then
		# Those of crashes would take hours.
		tests="\$(UNIT_TESTS) \$(MODEL_TESTS) \$(API_TESTS) $tests"
		note='; without the crash tests'
	fi
	step=make
	$MAKE >make.out 2>&1 || return
	step='make check'
	set -- ${tests:+"TESTS=$tests"}
	[ "$name" != s390x ] ||
		set -- "$@" "LOG_COMPILER=$qemu" \
		    "TESTS_ENVIRONMENT=$run"
	$MAKE check "$@" >check.out 2>&1 || return
	step=
}

# What make hands down is about the build that asked, not about these.
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR 2>/dev/null
MAKE="$MAKE -j$(nproc 2>/dev/null || echo 1)"

# A line of the table.
do_row()
{
	why=$(missing)
	if [ -n "$why" ]; then
		printf '%-20s skipped  %s\n' "$name" "$why"
		return
	fi
	echo "matrix: $name" >&2
	rm -rf "${dir:?}/$name"
	mkdir "$dir/$name" && cd "$dir/$name" || exit 1
	begin=$(date +%s)
	note=
	prepare_row
	run_row </dev/null
	seconds=$(($(date +%s) - begin))
	if [ -z "$step" ]; then
		printf '%-20s ok       %d s%s\n' "$name" "$seconds" "$note"
	else
		printf '%-20s FAILED   %s, %d s%s: see %s\n' "$name" "$step" \
		    "$seconds" "$note" "$dir/$name"
	fi
}

echo "$rows" | while IFS='|' read -r name cc cflags cppflags args needs; do
	case $wanted in
	'  ' | *" $name "*) (do_row >>"$dir/table") ;;
	esac
done

cat "$dir/table"
[ -s "$dir/table" ] || {
	echo "matrix: no row named$wanted" >&2
	exit 1
}
! grep -q ' FAILED ' "$dir/table"
