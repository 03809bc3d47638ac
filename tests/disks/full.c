/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * full.c - a store on a real file system that has no room: what an
 * application sees of it.
 *
 *     full KIND DIRECTORY FROM TO STEP
 *
 * DIRECTORY is the root of a small file system that holds nothing else.  KIND
 * says what is scarce: space (bytes), inodes (number), fsize (bytes in a
 * file, by setrlimit).  For each amount from FROM to TO, and each way to go
 * on, a store lives through want and plenty:
 *
 *     made, and filled until nothing more goes in
 *     closed; or killed; or killed, and its control page of another boot; or
 *         copied with holes
 *     opened again, with nothing left at all: read, read-only, deleted from,
 *         compacted
 *     room again, under an open handle: written to without reopening
 *
 * A model in memory that outlives the process knows what was acknowledged.
 * After each step the contents are the model's and kvlog_verify() finds no
 * damage.  Each case runs in a process of its own, so that a signal (SIGBUS,
 * SIGXFSZ) is seen, and fails the test.
 */
#include "config.h"

#include <kvlog.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 500u
#define VALUE_MAX 6000u
#define BLOCK 512u /* no file system's is smaller */
#define NEVER 0u   /* no value */

/* What the store must hold; shared with the processes that are killed. */
struct model {
	uint32_t version[KEYS]; /* NEVER, or which value */
	uint32_t busy;          /* a call on this key is under way, or KEYS */
	uint32_t busy_version;  /* it makes that of it */
	uint32_t last_version;
	uint32_t calls;
	bool had_reserve; /* when it was made */
	bool broken;      /* the handle may be, since that call */
	uint32_t broken_key, broken_version;
};

enum scarce { SPACE, INODES, FSIZE };

enum way { GO_ON, CLOSED, KILLED, REBOOTED, COPIED, WAY_COUNT };
static const char *const way_names[] = {
    "go on", "closed", "killed", "another boot", "sparse copy"};

/* What became of the calls, for the table. */
struct tally {
	uint32_t cases, not_made, compacted, not_compacted, not_opened;
	uint32_t most_deletes;
};

/* What is kept for want of space. */
static const char *const reserves[] = {
    "reserve", "reserve.open", "reserve.compact"};

static struct model *model;
static struct tally *tally;
/* Allocated space needs more when it is written to, so that any write may be
 * refused, and breaks the handle. */
static bool cow;
static bool xfs; /* see compact() */
static enum scarce scarce;
static uint64_t amount;
static enum way way;
static char root[1024], store[1100], ballast[1100];
static char step_name[200] = "-";
static struct kvlog_error err;

static void
fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "FAILED: %s, %" PRIu64 " left, %s, %s: ", root, amount,
	    way_names[way], step_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(stderr);
	_exit(1);
}

static void
step(const char *name)
{
	snprintf(step_name, sizeof step_name, "%s", name);
}

/* Want */

/* Fill a file until nothing goes in; 512 bytes at a time in the end. */
static void
stuff(int fd)
{
	static const char zeros[1 << 20];
	size_t len = sizeof zeros;
	struct statvfs vfs;

	if (fstatvfs(fd, &vfs) == 0) {
		uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
		off_t end = lseek(fd, 0, SEEK_END);

		/* Most of it at once. */
		if (room > 2 * sizeof zeros &&
		    posix_fallocate(
			fd, end, (off_t)(room - 2 * sizeof zeros)) == 0)
			lseek(fd, 0, SEEK_END);
	}
	for (unsigned tries = 0; len >= BLOCK;) {
		ssize_t n = write(fd, zeros, len);

		if (n > 0)
			continue;
		if (n < 0 && errno != ENOSPC)
			fail("ballast: %s", strerror(errno));
		/* Freed space comes back when a journal says so. */
		fsync(fd);
		if (len > BLOCK || ++tries > 2)
			len /= 2;
	}
}

/* So many bytes are left. */
static void
starve_space(uint64_t left)
{
	int fd = open(ballast, O_RDWR | O_CREAT | O_APPEND, 0600);
	struct stat st;

	sync();
	if (fd < 0)
		fail("%s: %s", ballast, strerror(errno));
	stuff(fd);
	if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < left)
		fail("ballast is too small");
	if (left > 0 && ftruncate(fd, st.st_size - (off_t)left) != 0)
		fail("ballast: %s", strerror(errno));
	fsync(fd);
	close(fd);
	sync();
}

/* Names of files that take an inode each. */
static const char *
inode_name(uint64_t i)
{
	static char name[1200];

	snprintf(name, sizeof name, "%s/%" PRIu64, ballast, i);
	return name;
}

static void
starve_inodes(uint64_t left)
{
	uint64_t count = 0;
	int fd;

	if (mkdir(ballast, 0700) != 0 && errno != EEXIST)
		fail("%s: %s", ballast, strerror(errno));
	while ((fd = open(inode_name(count), O_CREAT | O_WRONLY, 0600)) >= 0) {
		close(fd);
		count++;
	}
	if (errno != ENOSPC)
		fail("ballast: %s", strerror(errno));
	while (left-- > 0 && count > 0)
		unlink(inode_name(--count));
	sync();
}

static void
limit_fsize(uint64_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
		fail("getrlimit: %s", strerror(errno));
	limit.rlim_cur = (rlim_t)bytes;
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		fail("setrlimit: %s", strerror(errno));
}

static void
starve(uint64_t left)
{
	if (scarce == SPACE)
		starve_space(left);
	else if (scarce == INODES)
		starve_inodes(left);
	else
		limit_fsize(left);
}

static void
feed(void)
{
	if (scarce == SPACE) {
		if (unlink(ballast) != 0 && errno != ENOENT)
			fail("%s: %s", ballast, strerror(errno));
	} else if (scarce == INODES) {
		for (uint64_t i = 0; unlink(inode_name(i)) == 0; i++)
			;
		rmdir(ballast);
	} else {
		limit_fsize(RLIM_INFINITY);
	}
	sync();
}

/* The store */

/* A message says what, where and what to do. */
static void
check_text(const char *call)
{
	if (err.status != KVLOG_NOSPACE)
		fail("%s: detail has status %d", call, (int)err.status);
	if (strstr(err.text, root) == NULL && !cow)
		fail("%s says not where: %s", call, err.text);
	if (strstr(err.text, scarce == FSIZE ? "ulimit -f" : "make room") ==
	    NULL)
		fail("%s says not what to do: %s", call, err.text);
}

static enum kvlog_status
try_open(unsigned flags, struct kvlog **ret_db)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = flags;
	o.durability = KVLOG_DURABILITY_NONE;
	if ((flags & KVLOG_OPEN_CREATE) != 0)
		o.segment_size = 64 * 1024;
	o.timeout_ms = 5000;
	memset(&err, 0, sizeof err);
	return kvlog_open(store, &o, ret_db, &err);
}

static struct kvlog *
must_open(unsigned flags)
{
	struct kvlog *db = NULL;

	if (try_open(flags, &db) != KVLOG_OK)
		fail("open: %s", err.text);
	return db;
}

static void
must_close(struct kvlog *db)
{
	memset(&err, 0, sizeof err);
	if (kvlog_close(db, &err) == KVLOG_OK)
		return;
	/* Without a reserve, or when the one that was killed has used it, the
	 * clean end may not be noted. */
	if (err.status != KVLOG_NOSPACE ||
	    (model->had_reserve && way != KILLED && way != REBOOTED))
		fail("close: %s", err.text);
	check_text("close");
}

static size_t
make_key(char key[16], uint32_t i)
{
	return (size_t)snprintf(key, 16, "key%06" PRIu32, i);
}

/* Values of all lengths; some are zeros, of which copies make holes. */
static size_t
make_value(uint8_t value[VALUE_MAX], uint32_t key, uint32_t version)
{
	uint32_t mix = (key * 2654435761u) ^ (version * 2246822519u);
	size_t len = mix % 3 == 0 ? VALUE_MAX : (mix >> 8) % 900;

	memset(value, mix % 6 == 0 ? 0 : (int)(mix >> 16 & 0xff), len);
	if (len >= 8) {
		memcpy(value, &key, 4);
		memcpy(value + 4, &version, 4);
	}
	return len;
}

/* One commit; the model follows what it says.  False: no space. */
static bool
commit(struct kvlog *db, uint32_t i, bool remove)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	uint8_t value[VALUE_MAX];
	char key[16];
	size_t key_len = make_key(key, i), len;
	enum kvlog_status st;

	how.err = &err;
	model->calls++;
	model->busy_version = remove ? NEVER : ++model->last_version;
	model->busy = i;
	if (remove) {
		st = kvlog_delete(db, key, key_len, &how, NULL);
	} else {
		len = make_value(value, i, model->busy_version);
		st = kvlog_put(db, key, key_len, value, len, &how, NULL);
	}
	if (st == KVLOG_OK ||
	    (st == KVLOG_NOTFOUND && remove && model->version[i] == NEVER)) {
		model->version[i] = model->busy_version;
	} else if (st == KVLOG_NOSPACE && !cow) {
		check_text(remove ? "delete" : "put");
	} else if (cow && (st == KVLOG_NOSPACE || st == KVLOG_BROKEN)) {
		/* It may have been written or not.  Nothing is, behind it. */
		if (!model->broken) {
			model->broken_key = i;
			model->broken_version = model->busy_version;
		}
		model->broken = true;
		st = KVLOG_NOSPACE;
	} else {
		fail("%s of %s: status %d, %s", remove ? "delete" : "put", key,
		    (int)st, err.text);
	}
	model->busy = KEYS;
	return st != KVLOG_NOSPACE;
}

/* Work that may fail for want of space, and harm nobody. */
static void
maintain(struct kvlog *db)
{
	bool more;

	if (kvlog_maintain(db, 100, &more) != KVLOG_OK && !cow)
		fail("maintain");
}

static uint32_t
some_key(void)
{
	return (model->calls * 2654435761u >> 7) % KEYS;
}

static void
check(struct kvlog *db)
{
	uint8_t wanted[VALUE_MAX], found[VALUE_MAX];
	uint64_t count = 0, stored;
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st;

	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t version = model->version[i];
		char key[16];
		size_t len = 0, wanted_len;

		st = kvlog_get(
		    db, key, make_key(key, i), found, sizeof found, &len);
		if (i == model->busy) {
			/* It was killed in the midst: done or not. */
			wanted_len = make_value(wanted, i, model->busy_version);
			if (model->busy_version == NEVER
				? st == KVLOG_NOTFOUND
				: st == KVLOG_OK && len == wanted_len &&
				      memcmp(found, wanted, len) == 0)
				version = model->busy_version;
			model->version[i] = version;
			model->busy = KEYS;
		}
		count += version != NEVER;
		if (version == NEVER && st == KVLOG_NOTFOUND)
			continue;
		wanted_len = make_value(wanted, i, version);
		if (st != KVLOG_OK || version == NEVER || len != wanted_len ||
		    memcmp(found, wanted, len) != 0)
			fail("%s is not as it should be (status %d)", key,
			    (int)st);
	}
	if (kvlog_count(db, &stored) != KVLOG_OK || stored != count)
		fail("%" PRIu64 " keys, not %" PRIu64, stored, count);
	if (kvlog_iter_create(db, NULL, 0, &iter) != KVLOG_OK)
		fail("no walk");
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK)
		count--;
	kvlog_iter_destroy(iter);
	if (st != KVLOG_NOTFOUND || count != 0)
		fail("the walk ends with status %d", (int)st);
}

static void
check_files(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};

	memset(&err, 0, sizeof err);
	if (kvlog_verify(store, NULL, &report, &err) != KVLOG_OK ||
	    report.damage_count != 0)
		fail("verify: %s", err.text);
}

static void
check_readonly(void)
{
	struct kvlog *db = must_open(KVLOG_OPEN_READONLY);

	check(db);
	must_close(db);
}

/* What happens between want and want */

/* Puts until they are refused. */
static void
fill(struct kvlog *db)
{
	step("fill");
	for (unsigned n = 0; n < 5000 && commit(db, some_key(), false); n++)
		if (n % 40 == 39)
			maintain(db);
	/* What did not fit by its size may fit when it is small. */
	for (unsigned n = 0; n < 50; n++)
		(void)commit(db, some_key(), false);
}

/* Fill it in another process, go on there, and kill that at some time. */
static void
fill_and_be_killed(void)
{
	int status, ready[2];
	char byte;
	pid_t pid;

	step("fill, to be killed");
	if (pipe(ready) != 0)
		fail("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		struct kvlog *db = must_open(0);

		if (write(ready[1], "", 1) != 1)
			_exit(1);
		fill(db);
		for (;;)
			(void)commit(db, some_key(), model->calls / 8 % 4 == 0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		fail("the one to be killed could not open the store");
	close(ready[0]);
	usleep((useconds_t)(model->last_version * 37 + amount / 512 * 131) %
	       10000);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		fail("ended by itself, status 0x%x", (unsigned)status);
}

/* As after a crash of the machine that lost nothing. */
static void
forget_boot(void)
{
	char name[1200];
	uint8_t zeros[4096] = {0};
	int fd;

	if (scarce == FSIZE)
		feed(); /* for us */
	snprintf(name, sizeof name, "%s/kvlog.lock", store);
	fd = open(name, O_WRONLY);
	if (fd < 0 || pwrite(fd, zeros, sizeof zeros, 0) != sizeof zeros)
		fail("%s: %s", name, strerror(errno));
	close(fd);
}

static void
run(const char *format, ...)
{
	char command[6000];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	if (system(command) != 0)
		fail("%s", command);
}

/* Away and back, with holes wherever there are zeros. */
static void
copy_sparse(void)
{
	char away[] = "/tmp/kvlog-full.XXXXXX";

	if (mkdtemp(away) == NULL)
		fail("mkdtemp: %s", strerror(errno));
	run("cp -a '%s' '%s/s' && rm -rf '%s'", store, away, store);
	sync();
	run("cp -a --sparse=always '%s/s' '%s' && rm -rf '%s'", away, store,
	    away);
}

static bool
reserve_is_there(unsigned i)
{
	char name[1200];
	struct stat st;

	snprintf(name, sizeof name, "%s/%s", store, reserves[i]);
	return stat(name, &st) == 0 && st.st_size >= 8192 &&
	       (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size;
}

static bool
reserves_are_there(void)
{
	return reserve_is_there(0) && reserve_is_there(1) &&
	       reserve_is_there(2);
}

/* The handle that goes on; NULL: the way cannot be gone. */
static struct kvlog *
go_the_way(struct kvlog *db)
{
	if (way == GO_ON)
		return db;
	must_close(db);
	if (way == KILLED || way == REBOOTED)
		fill_and_be_killed();
	if (way == REBOOTED)
		forget_boot();
	check_files();
	if (way == COPIED) {
		feed();
		copy_sparse();
	}
	starve(scarce == FSIZE ? amount : 0);
	step("read-only");
	check_readonly();
	step("opened again");
	if (try_open(0, &db) == KVLOG_OK)
		return db;
	if (err.status != KVLOG_NOSPACE)
		fail("open: %s", err.text);
	check_text("open");
	/* A copy with holes has neither reserve nor space. */
	if (way != COPIED && model->had_reserve)
		fail("open: %s", err.text);
	__atomic_add_fetch(&tally->not_opened, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Deletes until they are refused, or three of four keys are gone. */
static void
delete_much(struct kvlog *db)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < KEYS; i++) {
		if (model->version[i] == NEVER || i % 4 == 0)
			continue;
		if (commit(db, i, true))
			done++;
		else if (reserve_is_there(0) ||
			 (model->had_reserve && way != KILLED &&
			     way != REBOOTED)) /* these have used it */
			fail("delete number %" PRIu32 ": %s", done + 1,
			    err.text);
	}
	if (done > tally->most_deletes)
		tally->most_deletes = done;
}

static void
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report r = {.size = sizeof r};
	/* XFS may refuse even what a first run has just given back; then the
	 * result is counted, and must still be honest. */
	bool possible = !xfs && model->had_reserve && reserve_is_there(2);
	enum kvlog_status st;

	memset(&err, 0, sizeof err);
	st = kvlog_compact_offline(store, &o, &r, &err);
	if (st == KVLOG_OK) {
		tally->compacted++;
	} else if (st == KVLOG_NOSPACE) {
		check_text("compact");
		tally->not_compacted++;
		if (possible)
			fail("with a reserve: %s", err.text);
	} else {
		fail("compact: %s", err.text);
	}
}

/* Room again: everything goes, in the same handle. */
static void
write_again(struct kvlog *db)
{
	for (unsigned n = 0; n < 100; n++) {
		if (!commit(db, some_key(), n % 5 == 4))
			fail("put: %s", err.text);
		if (!reserves_are_there())
			fail("a put without a reserve");
	}
}

static void
make_and_fill(struct kvlog **ret_db)
{
	struct kvlog *db = NULL;

	step("create");
	*ret_db = NULL;
	if (try_open(KVLOG_OPEN_CREATE, &db) != KVLOG_OK) {
		check_text("create");
		tally->not_made++;
		step("create on a full disk, again");
		if (try_open(KVLOG_OPEN_CREATE, &db) != KVLOG_NOSPACE)
			fail("status %d, %s", (int)err.status, err.text);
		feed();
		step("create with room");
		db = must_open(KVLOG_OPEN_CREATE);
		write_again(db);
		check(db);
		must_close(db);
		check_files();
		return;
	}
	/* A limit of file sizes hits the reserve's header, too. */
	model->had_reserve = scarce != FSIZE && reserves_are_there();
	if (way != KILLED && way != REBOOTED)
		fill(db);
	check(db);
	if (kvlog_sync(db) != KVLOG_OK)
		fail("sync");
	*ret_db = db;
}

/* Where nothing is promised but honesty: want, then room, then all is as it
 * was acknowledged. */
static void
live_cow(void)
{
	struct kvlog *db = NULL;

	step("create");
	starve(amount);
	if (try_open(KVLOG_OPEN_CREATE, &db) != KVLOG_OK) {
		check_text("create");
		tally->not_made++;
	} else {
		fill(db);
		for (unsigned n = 0; n < 20; n++)
			(void)commit(db, some_key(), true);
		(void)kvlog_close(db, NULL);
		step("read-only");
		if (try_open(KVLOG_OPEN_READONLY, &db) == KVLOG_OK)
			(void)kvlog_close(db, NULL);
		else
			fail("open: %s", err.text);
		step("compact");
		compact();
	}
	feed();
	step("room again");
	db = must_open(KVLOG_OPEN_CREATE);
	if (model->broken) {
		model->busy = model->broken_key;
		model->busy_version = model->broken_version;
		model->broken = false;
	}
	check(db);
	write_again(db);
	check(db);
	must_close(db);
	check_files();
}

static void
live(void)
{
	struct kvlog *db;

	if (cow) {
		live_cow();
		return;
	}
	if (scarce == FSIZE) /* or nothing could be made at all */
		must_close(must_open(KVLOG_OPEN_CREATE));
	starve(amount);
	make_and_fill(&db);
	if (db == NULL)
		return;
	db = go_the_way(db);
	if (db != NULL) {
		check(db);
		step("delete");
		delete_much(db);
		check(db);
		step("close");
		must_close(db);
		check_files();
		starve(scarce == FSIZE ? amount : 0);
		step("compact");
		compact();
		check_files();
		check_readonly();
		step("open behind the compaction");
		db = must_open(0);
		check(db);
		starve(scarce == FSIZE ? amount : 0);
		step("fill again");
		while (commit(db, some_key(), false))
			;
		check(db);
	}
	step("room again");
	feed();
	if (db == NULL)
		db = must_open(0);
	write_again(db);
	check(db);
	must_close(db);
	check_files();
}

/* One case in a process of its own. */
static bool
run_case(void)
{
	char command[2400];
	int status;
	pid_t pid;

	memset(model, 0, sizeof *model);
	model->busy = KEYS;
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		live();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	tally->cases++;
	if (WIFSIGNALED(status))
		fprintf(stderr,
		    "FAILED: %s, %" PRIu64 " left, %s: killed by signal %d, "
		    "%s\n",
		    root, amount, way_names[way], WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	feed();
	snprintf(command, sizeof command, "rm -rf '%s' '%s'", store, ballast);
	if (system(command) != 0)
		fail("%s", command);
	return status == 0;
}

static void *
shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return p;
}

int
main(int argc, char **argv)
{
	struct statfs info = {0};
	uint64_t from, to, by;
	unsigned failed = 0;

	if (argc != 6) {
		fprintf(stderr,
		    "usage: full space|inodes|fsize DIRECTORY FROM TO STEP\n");
		return 2;
	}
	cow = statfs(argv[2], &info) == 0 &&
	      (uint32_t)info.f_type == 0x9123683e; /* btrfs */
	xfs = (uint32_t)info.f_type == 0x58465342;
	scarce = argv[1][0] == 's' ? SPACE : argv[1][0] == 'i' ? INODES : FSIZE;
	snprintf(root, sizeof root, "%s", argv[2]);
	snprintf(store, sizeof store, "%s/s", root);
	snprintf(ballast, sizeof ballast, "%s/ballast", root);
	from = strtoull(argv[3], NULL, 0);
	to = strtoull(argv[4], NULL, 0);
	by = strtoull(argv[5], NULL, 0);
	model = shared(sizeof *model);
	tally = shared(sizeof *tally);
	if (by == 0)
		return 2;
	for (amount = from; amount <= to && failed < 10; amount += by)
		for (way = GO_ON; way < WAY_COUNT; way++)
			failed += !run_case();
	printf("%-7s %s: %" PRIu32 " cases, %u failed; %" PRIu32
	       " stores not made, %" PRIu32
	       " copies not opened; compacted %" PRIu32 ", not %" PRIu32
	       "; up to %" PRIu32 " deletes\n",
	    argv[1], root, tally->cases, failed, tally->not_made,
	    tally->not_opened, tally->compacted, tally->not_compacted,
	    tally->most_deletes);
	return failed == 0 ? 0 : 1;
}
