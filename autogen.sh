#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# autogen.sh - make ./configure, after a checkout or a change of configure.ac.
# Needs autoconf, automake, libtool and pkg-config.

set -eu

cd "$(dirname "$0")"
for tool in autoreconf automake libtoolize pkg-config; do
	command -v "$tool" >/dev/null || {
		echo "autogen.sh: $tool is missing (Debian: autoconf automake" \
		    "libtool pkg-config)" >&2
		exit 1
	}
done
exec autoreconf --install --force "$@"
