dnl SPDX-License-Identifier: BSD-2-Clause

dnl KVLOG_PEER(VARIABLE, NAME, MODULE, HEADER, FUNCTION, PACKAGE)
dnl
dnl Look for a store that kvlog-bench compares with, unless --without-NAME is
dnl given or, in its place, --without-peers; Debian's PACKAGE has it.  Where
dnl MODULE has no .pc file, or one that names libraries that are not installed,
dnl its bare library is tried.  Sets VARIABLE_CFLAGS and VARIABLE_LIBS, and adds
dnl to peers, PEERS_CFLAGS, PEERS_LIBS and config.h.
AC_DEFUN([KVLOG_PEER],
	[AC_ARG_WITH([$2],
		[AS_HELP_STRING([--without-$2],
			[kvlog-bench does not know $2])],
		[],
		[with_$2=$with_peers])
	have_$2=no
	AS_IF([test "x$with_$2" != xno],
		[PKG_CHECK_MODULES([$1], [$3],
			[:],
			[:])
		kvlog_save_CPPFLAGS=$CPPFLAGS
		kvlog_save_LIBS=$LIBS
		CPPFLAGS="$CPPFLAGS $$1[]_CFLAGS"
		for kvlog_libs in "$$1[]_LIBS" "-l$3"; do
			test -n "$kvlog_libs" || continue
			AC_MSG_CHECKING([whether $5 links with $kvlog_libs])
			LIBS="$kvlog_libs $kvlog_save_LIBS"
			AC_LINK_IFELSE(
				[AC_LANG_PROGRAM(
					[[#include <stdint.h>
					#include <stdbool.h>
					#include <$4>]],
					[[return (intptr_t)&$5 == 0;]])],
				[have_$2=yes])
			AC_MSG_RESULT([$have_$2])
			AS_IF([test "x$have_$2" = xyes],
				[AC_DEFINE([HAVE_$1], [1],
					[Define to 1 to measure $2 in kvlog-bench.])
				PEERS_CFLAGS="$PEERS_CFLAGS $$1[]_CFLAGS"
				PEERS_LIBS="$PEERS_LIBS $kvlog_libs"
				$1[]_LIBS=$kvlog_libs
				peers="$peers $2"
				break])
		done
		CPPFLAGS=$kvlog_save_CPPFLAGS
		LIBS=$kvlog_save_LIBS])
	AS_IF([test "x$with_$2,$have_$2" = xyes,no],
		[AC_MSG_ERROR([$2 is missing (Debian: $6)])])])
