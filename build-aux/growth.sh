#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# growth.sh - what operations cost as a store grows, and when it is twice as
# large as the memory there is: pages with plots, made by kvlog-bench.
#
#	KVLOG_BENCH=./kvlog-bench build-aux/growth.sh [growth | memory]...
#
# Can be set: SIZES and ENGINES; READS of each size; SPAN, seconds after which
# a benchmark ends, whatever it has done; MEMORY, MiB that a run may use: by a
# control group if we may make one, else what is more is locked; BENCH_DIR,
# where the stores are made, one at a time.  30 million keys take 10 GB of disk.

set -eu

bench=${KVLOG_BENCH:-kvlog-bench}
sizes=${SIZES:-1k,10k,100k,1M,3M,10M,30M}
engines=${ENGINES:-kvlog,lmdb,tkrzw,kyotocabinet}
reads=${READS:-1M}
span=${SPAN:-20}
memory=${MEMORY:-256}
dir=${BENCH_DIR:-${TMPDIR:-/tmp}}
works=fillrandom,readrandom,multireadrandom,readmissing,readhot,overwrite

# Only engines of this build; kvlog always is.
known=$("$bench" --help | sed -n '/^Engines:/,$s/^  \([a-z-]*\) .*/\1/p')
use=
for engine in $(printf '%s' "$engines" | tr ',' ' '); do
	if printf '%s\n' "$known" | grep -qx "$engine"; then
		use=${use:+$use,}$engine
	else
		echo "growth.sh: $engine is not in this build: left out" >&2
	fi
done

run()
{
	"$bench" --engines="$use" --benchmarks=$works --rounds=1 \
		--reads="$reads" --seconds="$span" --dir="$dir" "$@"
}

growth()
{
	run --num="$sizes" --report=growth >growth.txt
	echo "growth/index.html, growth.txt"
}

# A new control group: of the second kind, or of the first.
make_group()
{
	group=/sys/fs/cgroup/kvlog-bench.$$
	tasks=cgroup.procs
	if grep -qw memory /sys/fs/cgroup/cgroup.subtree_control \
		2>/dev/null; then
		mkdir "$group" 2>/dev/null
	else
		group=/sys/fs/cgroup/memory/kvlog-bench.$$
		[ -f /sys/fs/cgroup/memory/memory.limit_in_bytes ] &&
			mkdir "$group" 2>/dev/null
	fi
}

# A record takes about 150 bytes: half of them fit.
memory()
{
	num=$((memory * 2 * 1048576 / 150))
	if make_group; then
		trap 'rmdir "$group"' EXIT
		# What is here ends before the group does.
		(
			sh -c 'echo $PPID' >"$group/$tasks"
			run --num=$num --report=growth-memory --memory="$memory"
		) >growth-memory.txt
	else
		# No control groups, or not for us.  What does not fit is
		# loaded in the same memory: the peers take hours.
		free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' \
			/proc/meminfo)
		run --num=$num --report=growth-memory \
			--ballast=$((free - memory)) >growth-memory.txt
	fi
	echo "growth-memory/index.html, growth-memory.txt"
}

[ $# -gt 0 ] || set -- growth memory
for part in "$@"; do
	case $part in
	growth | memory) $part ;;
	*)
		echo "growth.sh: $part: growth or memory" >&2
		exit 2
		;;
	esac
done
