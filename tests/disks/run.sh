#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Stores on small full disks, and backups where files can share blocks: file
# systems in images, mounted by loop devices (root needed), and tmpfs.
#
#	run.sh [KIND...]	ext4-4k ext4-1k ext4-inodes xfs btrfs tmpfs
#				tmpfs-inodes fsize readonly clone-xfs
#				clone-btrfs; default: all
#
# FULL is the program of full.c, KVLOG and VERIFY are the command-line programs.  What this
# machine cannot do is skipped, with the reason; all that was mounted and made
# goes away at the end, also by a signal.  Exit status: 0, 1, or 77 if all was
# skipped.

set -u
LC_ALL=C
export LC_ALL

work=$(mktemp -d "${TMPDIR:-/tmp}/kvlog-disks.XXXXXX") || exit 1
mnt=$work/m
mkdir "$mnt"
trap 'cd /; umount "$mnt" 2>/dev/null || umount -l "$mnt" 2>/dev/null
rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM

status=0
done_count=0

skip()
{
	echo "skipped: $kind: $*"
}

bad()
{
	echo "FAILED: $kind: $*"
	status=1
}

# image SIZE TYPE [MKFS-OPTION...]: mount a new file system of this type.
image()
{
	size=$1
	type=$2
	shift 2
	[ "$(id -u)" -eq 0 ] || {
		skip 'loop devices need root'
		return 1
	}
	command -v "mkfs.$type" >/dev/null || {
		skip "there is no mkfs.$type"
		return 1
	}
	rm -f "$work/image"
	truncate -s "$size" "$work/image" &&
	    "mkfs.$type" "$@" "$work/image" >"$work/mkfs" 2>&1 || {
		bad "mkfs.$type: $(tail -n 1 "$work/mkfs")"
		return 1
	}
	mount -o loop "$work/image" "$mnt" 2>"$work/mount" || {
		skip "cannot be mounted: $(tail -n 1 "$work/mount")"
		return 1
	}
	rm -rf "$mnt/lost+found"
}

tmpfs()
{
	mount -t tmpfs -o "$1" tmpfs "$mnt" 2>"$work/mount" || {
		skip "cannot be mounted: $(tail -n 1 "$work/mount")"
		return 1
	}
}

# full WHAT FROM TO STEP
full()
{
	done_count=$((done_count + 1))
	"$FULL" "$1" "$mnt" "$2" "$3" "$4" || bad "$1 $2 to $3"
}

# Where space that is there may be refused, all goes through pwrite.
writes_by_pwrite()
{
	command -v strace >/dev/null || {
		skip 'there is no strace'
		return
	}
	strace -f -y -e trace=mmap,pwrite64 -o "$work/trace" \
	    "$KVLOG" put -q "$mnt/t" key value || bad 'put'
	grep -q "pwrite64([0-9]*<$mnt/t/[0-9]*\.seg>" "$work/trace" ||
		bad 'records do not go through pwrite'
	grep -q "pwrite64([0-9]*<$mnt/t/kvlog.lock>" "$work/trace" ||
		bad 'control words do not go through pwrite'
	! grep "mmap(.*PROT_WRITE.*MAP_SHARED.*<$mnt/" "$work/trace" ||
		bad 'a file is mapped for writing'
	"$KVLOG" put -q "$mnt/t" other value && rm -rf "$mnt/t"
}

# The medium becomes read-only under an open store, as after an error.
readonly_medium()
{
	done_count=$((done_count + 1))
	"$KVLOG" put -q "$mnt/t" key value || bad 'put'
	# A program that has the store open, and writes when told.
	mkfifo "$work/pipe"
	"$KVLOG" load -q "$mnt/t" - <"$work/pipe" >"$work/out" 2>&1 &
	pid=$!
	exec 3>"$work/pipe"
	awk 'BEGIN { for (i = 0; i < 20000; i++) printf "k%d\t%0100d\n", i, i }' >&3
	umount "$mnt" 2>/dev/null && bad 'unmounted while a store is open'
	mount -o remount,abort "$mnt" 2>/dev/null
	awk 'BEGIN { for (i = 0; i < 90000; i++) printf "m%d\t%0100d\n", i, i }' >&3
	exec 3>&-
	wait $pid
	code=$?
	[ $code -eq 5 ] || bad "load on a medium that failed: exit status $code"
	grep -q '^ERROR: .' "$work/out" || bad 'no error is told'
	umount "$mnt" || umount -l "$mnt"
	mount -o loop "$work/image" "$mnt" || {
		bad 'cannot be mounted again'
		return
	}
	[ "$("$KVLOG" get "$mnt/t" key)" = value ] || bad 'a value is lost'
	"$KVLOG" put -q "$mnt/t" again value || bad 'put, mounted again'
	rm -f "$work/pipe"
}

in_use()
{
	df --output=used -B 1K "$mnt" | tail -n 1
}

# Links are refused for files that may not be changed, and clones are not: the
# backup has files of its own, which share their blocks with the store's.
clones()
{
	command -v chattr >/dev/null || {
		skip 'there is no chattr'
		return
	}
	done_count=$((done_count + 1))
	s=$mnt/s
	b=$mnt/b
	head -c 15000000 /dev/urandom | od -An -v -tx1 -w50 | tr -d ' ' |
	    awk '{ print NR "\t" $0 }' | "$KVLOG" load -q "$s" || bad 'load'
	"$KVLOG" put -q "$s" last 1 || bad 'put'
	chattr +i "$s"/*.seg 2>"$work/chattr" || {
		skip "$(tail -n 1 "$work/chattr")"
		rm -rf "$s"
		return
	}
	sync
	before=$(in_use)
	"$KVLOG" backup --read-only --json "$s" "$b" >"$work/out" ||
	    bad 'backup'
	sync
	more=$(($(in_use) - before))
	grep -q '"linked":0,"cloned":[1-9]' "$work/out" ||
	    bad "nothing was cloned: $(cat "$work/out")"
	[ $more -lt 9000 ] || bad "$more KiB more: blocks are not shared"
	chattr -i "$s"/*.seg

	# Each has its own bytes from now on.
	rm -r "$s"
	"$KVLOG" put -q "$b" other 2 || bad 'put'
	"$VERIFY" -q "$b" || bad 'the backup is not sound'
	[ "$("$KVLOG" get "$b" last)" = 1 ] || bad 'a value is lost'
	rm -r "$b"
}

away()
{
	umount "$mnt" || {
		bad 'cannot be unmounted'
		umount -l "$mnt"
	}
	rm -f "$work/image"
}

[ $# -gt 0 ] || set -- ext4-4k ext4-1k ext4-inodes xfs btrfs tmpfs \
	tmpfs-inodes fsize readonly clone-xfs clone-btrfs
for kind in "$@"; do
	case $kind in
	ext4-4k)
		image 16M ext4 -q -m 0 -b 4096 || continue
		full space 0 700000 20480
		away
		;;
	ext4-1k)
		image 16M ext4 -q -m 0 -b 1024 || continue
		full space 0 700000 21504
		away
		;;
	ext4-inodes)
		image 16M ext4 -q -m 0 -N 64 || continue
		full inodes 0 16 1
		away
		;;
	xfs)
		image 300M xfs -q || continue
		full space 0 900000 28672
		away
		;;
	btrfs)
		image 128M btrfs -q || continue
		writes_by_pwrite
		full space 0 1200000 40960
		away
		;;
	tmpfs)
		tmpfs size=8m || continue
		full space 0 500000 "${TMPFS_STEP-8192}"
		away
		;;
	tmpfs-inodes)
		tmpfs size=16m,nr_inodes=64 || continue
		full inodes 0 12 1
		away
		;;
	fsize)
		tmpfs size=32m || continue
		full fsize 0 65000 5000
		away
		;;
	readonly)
		image 64M ext4 -q || continue
		readonly_medium
		away
		;;
	clone-xfs)
		image 300M xfs -q || continue
		clones
		away
		;;
	clone-btrfs)
		image 300M btrfs -q || continue
		clones
		away
		;;
	*)
		echo "unknown: $kind" >&2
		exit 2
		;;
	esac
done
[ $done_count -gt 0 ] || [ $status -ne 0 ] || exit 77
exit $status
