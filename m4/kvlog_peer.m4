dnl SPDX-License-Identifier: BSD-2-Clause

dnl KVLOG_PEER(VARIABLE, MODULE, HEADER, FUNCTION)
dnl
dnl Look for a store that kvlog-bench compares with.  Where MODULE has no .pc
dnl file, or one that names libraries that are not installed, its bare library
dnl is tried.  Sets have_MODULE to yes or no, VARIABLE_CFLAGS and VARIABLE_LIBS,
dnl and adds to peers, PEERS_CFLAGS, PEERS_LIBS and config.h.
AC_DEFUN([KVLOG_PEER],
	[PKG_CHECK_MODULES([$1], [$2],
		[:],
		[:])
	have_$2=no
	kvlog_save_CPPFLAGS=$CPPFLAGS
	kvlog_save_LIBS=$LIBS
	CPPFLAGS="$CPPFLAGS $$1[]_CFLAGS"
	for kvlog_libs in "$$1[]_LIBS" "-l$2"; do
		test -n "$kvlog_libs" || continue
		AC_MSG_CHECKING([whether $4 links with $kvlog_libs])
		LIBS="$kvlog_libs $kvlog_save_LIBS"
		AC_LINK_IFELSE(
			[AC_LANG_PROGRAM(
				[[#include <stdint.h>
				#include <stdbool.h>
				#include <$3>]],
				[[return (intptr_t)&$4 == 0;]])],
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
