#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# manlinks.sh SRCDIR - print, for every exported function that is not itself
# the name of a page, "FUNCTION PAGE": where man/*.3 describes it.  The page
# is the one whose NAME section has it, otherwise the one whose SYNOPSIS has,
# otherwise kvlog.3.

set -eu

srcdir=$1

awk '
FILENAME == ARGV[ARGC - 1] {
	if ($1 ~ /^kvlog_[a-z0-9_]+;$/)
		function_[++n] = substr($1, 1, length($1) - 1)
	next
}
FNR == 1 {
	page = FILENAME
	sub(/.*\//, "", page)
	section = ""
	is_page[page] = 1
}
$1 == ".Sh" { section = $2 }
section == "NAME" && $1 == ".Nm" && !($2 in by_name) { by_name[$2] = page }
section == "SYNOPSIS" && ($1 == ".Fn" || $1 == ".Fo") {
	if (!($2 in by_synopsis))
		by_synopsis[$2] = page
}
END {
	for (i = 1; i <= n; i++) {
		f = function_[i]
		if ((f ".3") in is_page)
			continue
		print f, f in by_name ? by_name[f] : \
		    f in by_synopsis ? by_synopsis[f] : "kvlog.3"
	}
}' "$srcdir"/man/*.3 "$srcdir"/src/libkvlog.map
