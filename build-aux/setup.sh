# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# setup.sh - from a bare Debian machine to a built tree; read with "." by
# run_tests.sh and run_demo.sh, from the top of the tree.
#
#   kvlog_install_packages [PACKAGE...]
#                            install what is missing of what a build needs, or
#                            of these
#   kvlog_build DIR [ARG...] configure with ARGs and make, in DIR
#   kvlog_jobs               print how many jobs make shall run at once
#
# All say what they do on standard error and leave standard output alone.

kvlog_packages='build-essential pkg-config autoconf automake libtool check
libxxhash-dev uthash-dev libisal-dev libjansson-dev libedit-dev mandoc python3
db-util lmdb-utils strace'

# What kvlog-bench compares with: for "make bench-peers" alone.
# shellcheck disable=SC2034
kvlog_peer_packages='liblmdb-dev libtkrzw-dev libkyotocabinet-dev
libleveldb-dev librocksdb-dev libsqlite3-dev libdb5.3-dev libgdbm-dev
libwiredtiger-dev'

kvlog_say()
{
	printf '== %s\n' "$*" >&2
}

kvlog_jobs()
{
	nproc 2>/dev/null || echo 1
}

# As root, or by sudo where we are not.
kvlog_as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

kvlog_apt_get()
{
	kvlog_as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
	    -o Dpkg::Use-Pty=0 "$@" >&2 </dev/null
}

# Never fatal: where packages cannot be installed, configure knows better
# whether something that matters is missing, and says what it is called.
kvlog_install_packages()
{
	if ! command -v dpkg-query >/dev/null ||
	    ! command -v apt-get >/dev/null; then
		kvlog_say "not Debian: installing nothing"
		return 0
	fi

	kvlog_missing=
	for kvlog_package in ${*:-$kvlog_packages}; do
		case $(dpkg-query -W -f '${Status}' "$kvlog_package" \
		    2>/dev/null) in
		*' installed') ;;
		*) kvlog_missing="$kvlog_missing $kvlog_package" ;;
		esac
	done
	[ -n "$kvlog_missing" ] || return 0

	kvlog_say "installing:$kvlog_missing"
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
		kvlog_say "neither root nor sudo: going on without"
		return 0
	fi
	kvlog_apt_get update || kvlog_say "apt-get update failed: going on"
	# One word each, as intended.
	# shellcheck disable=SC2086
	kvlog_apt_get install --no-install-recommends $kvlog_missing ||
	    kvlog_say "apt-get install failed: going on without"
	return 0
}

# Run a command whose output matters only if it fails.
kvlog_quietly()
{
	kvlog_log=$(mktemp) || return 1
	if "$@" >"$kvlog_log" 2>&1; then
		rm -f "$kvlog_log"
		return 0
	fi
	kvlog_say "failed: $*"
	cat "$kvlog_log" >&2
	rm -f "$kvlog_log"
	return 1
}

# kvlog_stale OUTPUT INPUT... - OUTPUT is missing or older than an INPUT.
kvlog_stale()
{
	[ -e "$1" ] || return 0
	kvlog_output=$1
	shift
	[ -n "$(find "$@" -newer "$kvlog_output")" ]
}

# Configures again only if it must: the arguments or ./configure are new.
kvlog_build()
{
	kvlog_dir=$1
	shift

	# kvlog.h has the version.
	if kvlog_stale configure configure.ac m4/kvlog_peer.m4 \
	    include/kvlog.h || kvlog_stale Makefile.in Makefile.am; then
		kvlog_say "autogen.sh"
		kvlog_quietly ./autogen.sh || return 1
	fi

	mkdir -p "$kvlog_dir" || return 1
	if kvlog_stale "$kvlog_dir/config.status" configure ||
	    [ "$(cat "$kvlog_dir/configured" 2>/dev/null)" != "$*" ]; then
		kvlog_say "configure $* (in $kvlog_dir)"
		kvlog_top=$PWD
		(cd "$kvlog_dir" && rm -f configured &&
			kvlog_quietly "$kvlog_top/configure" "$@") || return 1
		printf '%s\n' "$*" >"$kvlog_dir/configured"
	fi

	kvlog_say "make (in $kvlog_dir)"
	kvlog_quietly make -C "$kvlog_dir" -j "$(kvlog_jobs)"
}
