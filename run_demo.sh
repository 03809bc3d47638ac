#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run_demo.sh [--mode=real|golden|failure] - install what is missing, build,
# and show kvlog at its main job.
#
#   real     (default) load the package descriptions this machine has, read
#            them back, show statistics, kill a writer with SIGKILL, show that
#            nothing it had acknowledged is missing, and let many processes
#            share a store
#   golden   the same with a small fixed input: the same output every time
#   failure  what errors look like; ends with exit status 2

set -u

cd "$(dirname "$0")" || exit 1
. build-aux/setup.sh

usage()
{
	echo "usage: run_demo.sh [--mode=real|golden|failure]" >&2
	exit 2
}

mode=real
for arg in "$@"; do
	case $arg in
	--mode=real | --mode=golden | --mode=failure)
		mode=${arg#--mode=}
		;;
	*)
		usage
		;;
	esac
done

kvlog_install_packages
kvlog_build build || exit 1
kvlog_quietly make -C build examples/acknowledged || exit 1

top=$PWD
PATH=$top/build:$top/build/examples:$PATH
dir=$(mktemp -d "${TMPDIR:-/tmp}/kvlog-demo.XXXXXX") || exit 1
writer=
clean_up()
{
	[ -z "$writer" ] || kill -9 "$writer" 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1

die()
{
	echo "FAILED: $*" >&2
	exit 1
}

# Show a command, then run it.
show()
{
	echo "\$ $*"
	"$@"
}

# KEY<TAB>VALUE of what a Debian machine has: its package lists, its
# dictionary, or failing those the names of its files.
real_input()
{
	# One line a package: name, then version and short description.
	apt-cache dumpavail 2>/dev/null | awk '
	    /^Package: / { name = $2 }
	    /^Version: / { version = $2 }
	    /^Description(-en)?: / {
		sub(/^[^ ]* /, ""); gsub(/\\/, "\\\\"); gsub(/\t/, "\\t")
		print name "\t" version " " $0
	    }' >input.txt
	if [ "$(wc -l <input.txt)" -lt 1000 ] &&
	    [ -r /usr/share/dict/words ]; then
		awk '{ gsub(/\\/, "\\\\"); print $0 "\tword " NR }' \
		    /usr/share/dict/words >input.txt
	fi
	if [ "$(wc -l <input.txt)" -lt 1000 ]; then
		find /usr -type f 2>/dev/null | awk '
		    { gsub(/\\/, "\\\\"); gsub(/\t/, "\\t")
		      print $0 "\tfile " NR }' >input.txt
	fi
}

# What a dump must print: the last value of each key, in order of bytes.
expected()
{
	awk -F '\t' '{ last[$1] = $0 } END { for (k in last) print last[k] }' \
	    input.txt | LC_ALL=C sort -t "$(printf '\t')" -k 1,1
}

# Kill a process that writes and acknowledges, and look for what it had
# acknowledged.
kill_a_writer()
{
	echo
	echo "A writer that says of each record when it is in the store:"
	: >acknowledged.txt
	acknowledged demo.kvlog >>acknowledged.txt &
	writer=$!
	# Let it write for a while, but wait for at least 1000 records.
	tries=0
	while [ "$(wc -l <acknowledged.txt)" -lt 1000 ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || die "the writer does not get on"
		sleep 0.1
	done
	[ "$mode" = golden ] || sleep 1
	kill -9 "$writer"
	wait "$writer" 2>/dev/null
	writer=
	# The last line may have been cut off with the process.
	sed -n '/^ack:[0-9]\{10\}$/p' acknowledged.txt >whole.txt
	kvlog scan demo.kvlog ack: >found.txt || die "scan"
	[ "$(wc -l <whole.txt)" -ge 1000 ] || die "too few were acknowledged"
	missing=$(LC_ALL=C comm -23 whole.txt found.txt | wc -l)
	if [ "$mode" = golden ]; then
		echo "killed with SIGKILL; acknowledged records missing: $missing"
	else
		echo "killed with SIGKILL after $(wc -l <whole.txt)" \
		    "acknowledged records; of these missing: $missing"
	fi
	[ "$missing" -eq 0 ] || die "acknowledged records are missing"
}

# Many processes at one store, killed at random.
share_a_store()
{
	echo
	echo "Four processes write, four read, and one after the other is" \
	    "killed and started again:"
	show kvlog-stress --writers=4 --readers=4 --duration=3 --kill \
	    stress.kvlog || die "stress"
}

demo_real()
{
	real_input
	echo "Input: $(wc -l <input.txt) records of this machine, for example"
	sed -n '1000s/\(.\{70\}\).*/  \1.../p' input.txt
	echo
	show kvlog create demo.kvlog || die "create"
	show kvlog load demo.kvlog input.txt || die "load"
	show kvlog count demo.kvlog || die "count"
	echo
	echo "\$ kvlog dump demo.kvlog   (compared with the input)"
	kvlog dump demo.kvlog >dump.txt || die "dump"
	expected >expected.txt
	cmp -s dump.txt expected.txt || die "the dump differs from the input"
	echo "all $(wc -l <dump.txt) records read back as they were loaded"
	key=$(sed -n '500s/	.*//p' input.txt)
	show kvlog get demo.kvlog "$key" || die "get"
	echo
	show kvlog stats demo.kvlog || die "stats"
	kill_a_writer
	share_a_store
	cmp_after_kill
	echo
	show kvlog stats demo.kvlog || die "stats"
	echo
	echo "OK: real scenario completed"
}

# The loaded records are as they were, too.
cmp_after_kill()
{
	kvlog dump demo.kvlog | grep -v '^ack:' >after.txt
	cmp -s after.txt expected.txt || die "loaded records have changed"
}

demo_golden()
{
	cp "$top/tests/data/golden.txt" input.txt || exit 1
	show kvlog create demo.kvlog --size=1M || die "create"
	show kvlog load demo.kvlog input.txt || die "load"
	show kvlog put demo.kvlog greeting hello || die "put"
	show kvlog get demo.kvlog greeting || die "get"
	show kvlog delete demo.kvlog greeting || die "delete"
	show kvlog get demo.kvlog greeting
	show kvlog get demo.kvlog user:1 || die "get"
	show kvlog count demo.kvlog || die "count"
	show kvlog scan demo.kvlog user: --values || die "scan"
	show kvlog dump demo.kvlog || die "dump"
	kvlog dump demo.kvlog >dump.txt || die "dump"
	expected >expected.txt
	cmp -s dump.txt expected.txt || die "the dump differs from the input"
	kvlog stats demo.kvlog |
	    grep -E '^(Database|Records|Segments|Live bytes):' || die "stats"
	kill_a_writer
	cmp_after_kill
	echo "OK: golden scenario completed"
}

# Run a command that must fail, and say how it ended.
fails()
{
	show "$@"
	status=$?
	echo "exit=$status"
	[ "$status" -ne 0 ] || die "this should have failed"
}

demo_failure()
{
	kvlog create -q demo.kvlog && kvlog put -q demo.kvlog key value ||
	    die "create"

	echo "Wrong usage:"
	fails kvlog frobnicate demo.kvlog 2>&1

	echo
	echo "A store that another process has for itself:"
	mkfifo input || exit 1
	kvlog load -q --exclusive demo.kvlog input &
	writer=$!
	exec 3>input
	tries=0
	while kvlog put -q --timeout=0 demo.kvlog key value 2>/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "the lock is not held"
		sleep 0.1
	done
	fails kvlog put --timeout=100 demo.kvlog key value 2>&1 |
	    sed 's/process [0-9]*/process PID/'
	exec 3>&-
	wait "$writer"
	writer=

	echo
	echo "A segment with both copies of its header damaged:"
	cp -r demo.kvlog damaged.kvlog
	for offset in 100 4196; do
		printf 'XXXX' | dd of=damaged.kvlog/00000001.seg bs=1 \
		    seek=$offset conv=notrunc 2>/dev/null
	done
	fails kvlog get damaged.kvlog key 2>&1

	echo
	echo "A store that is not there:"
	fails kvlog get missing.kvlog key 2>&1
	exit "$status"
}

"demo_$mode"
