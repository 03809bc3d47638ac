#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# growth.sh - what operations cost as a store grows, and when it is twice as
# large as the memory there is: pages with plots, made by kvlog-bench.
#
#	KVLOG_BENCH=./kvlog-bench build-aux/growth.sh [growth | memory]...
#
# SIZES, ENGINES, MEMORY (MiB that a run may use: by a control group if we may
# make one, else what is more is locked) and BENCH_DIR (where the stores are
# made) can be set.  30 million keys take 16 GB of disk.

set -eu

bench=${KVLOG_BENCH:-kvlog-bench}
sizes=${SIZES:-1k,10k,100k,1M,3M,10M,30M}
engines=${ENGINES:-kvlog,lmdb,tkrzw,kyotocabinet}
memory=${MEMORY:-512}
dir=${BENCH_DIR:-${TMPDIR:-/tmp}}
works=fillrandom,readrandom,multireadrandom,readmissing,readhot,overwrite
group=/sys/fs/cgroup/kvlog-bench.$$

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
		--seconds=20 --dir="$dir" "$@"
}

growth()
{
	run --num="$sizes" --reads=1M --report=growth >growth.txt
	echo "growth/index.html, growth.txt"
}

# A record takes about 150 bytes: half of them fit.
memory()
{
	num=$((memory * 2 * 1048576 / 150))
	if grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null &&
	    mkdir "$group" 2>/dev/null; then
		trap 'rmdir "$group"' EXIT
		echo $((memory * 1048576)) >"$group/memory.max"
		# What is here ends before the group does.
		(
			sh -c 'echo $PPID' >"$group/cgroup.procs"
			run --num=$num --report=growth-memory
		) >growth-memory.txt
	else
		# No control groups of the second kind, or not for us.
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
