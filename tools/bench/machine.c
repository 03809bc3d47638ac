/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine.c - the machine under the benchmark: its clock, its name, its
 * limits, and what the processes use of it.
 *
 * Limits are what any store that writes records into mapped files is up
 * against, measured in the same directory and the same rounds as the
 * engines, so that a noisy neighbour shows in both.
 */
#include "config.h"

#include "bench.h"
#include "numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif
#if defined __x86_64__ && defined __GNUC__
#include <cpuid.h>
#endif
#include <unistd.h>

#define LIMIT_RECORD_LEN 128u
#define LIMIT_COPY_MAX ((uint64_t)256 << 20) /* bytes copied at most */
#define LIMIT_COPY_MIN ((uint64_t)1 << 20)
#define LIMIT_SYNC_FILE ((uint64_t)4 << 20) /* bytes of prewritten blocks */
#define LIMIT_SYNC_COUNT 1000u
#define LIMIT_SYNC_STEP 4096u
#define LIMIT_MISS_COUNT 500000u

bool clock_uses_tsc;
double clock_ns_per_tick = 1.0;

static volatile uint64_t sink; /* so that loads are not left out */

/* The counter counts the same time at any speed and in any sleep. */
static bool
tsc_is_invariant(void)
{
#if defined __x86_64__ && defined __GNUC__
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007u, &a, &b, &c, &d) != 0 &&
	       (d & (1u << 8)) != 0;
#else
	return false;
#endif
}

void
clock_init(void)
{
	uint64_t ns, ticks, end_ns;

	clock_uses_tsc = tsc_is_invariant();
	if (!clock_uses_tsc)
		return;
	ns = clock_ns();
	ticks = clock_ticks();
	do {
		end_ns = clock_ns();
	} while (end_ns - ns < 50000000u);
	ticks = clock_ticks() - ticks;
	clock_ns_per_tick = (double)(end_ns - ns) / (double)ticks;
}

static void
describe_cpu(char *text, size_t size)
{
	char line[256];
	char *value;
	FILE *file;

	snprintf(text, size, "?");
	file = fopen("/proc/cpuinfo", "r");
	if (file == NULL)
		return;
	while (fgets(line, sizeof line, file) != NULL) {
		value = strchr(line, ':');
		if (strncmp(line, "model name", 10) == 0 && value != NULL) {
			value += 1 + strspn(value + 1, " ");
			value[strcspn(value, "\n")] = '\0';
			snprintf(text, size, "%s", value);
			break;
		}
	}
	fclose(file);
}

static void
describe_filesystem(const char *dir, char *text, size_t size)
{
#ifdef __linux__
	static const struct {
		unsigned long magic;
		const char *name;
	} known[] = {
	    {0xef53, "ext4"},
	    {0x58465342, "xfs"},
	    {0x9123683e, "btrfs"},
	    {0x2fc12fc1, "zfs"},
	    {0x01021994, "tmpfs (nothing is durable)"},
	    {0x794c7630, "overlayfs"},
	    {0xf2f52010, "f2fs"},
	    {0x6969, "nfs"},
	};
	struct statfs fs;
	size_t i;

	if (statfs(dir, &fs) == 0) {
		for (i = 0; i < sizeof known / sizeof known[0]; i++) {
			if (known[i].magic == (unsigned long)fs.f_type) {
				snprintf(text, size, "%s", known[i].name);
				return;
			}
		}
		snprintf(text, size, "type 0x%lx", (unsigned long)fs.f_type);
		return;
	}
#else
	(void)dir;
#endif
	snprintf(text, size, "?");
}

static uint64_t
pages_to_bytes(int name)
{
	long pages = sysconf(name), page_size = sysconf(_SC_PAGESIZE);

	return pages > 0 && page_size > 0
		   ? (uint64_t)pages * (uint64_t)page_size
		   : 0;
}

/* Memory that can be had, by dropping clean pages of files too. */
static uint64_t
memory_available(void)
{
	uint64_t kib, group = group_available();
	uint64_t available = pages_to_bytes(_SC_AVPHYS_PAGES);
	char line[256];
	FILE *file;

	file = fopen("/proc/meminfo", "r");
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			available = kib * 1024;
	}
	if (file != NULL)
		fclose(file);
	return available < group ? available : group;
}

void
machine_describe(const char *dir, struct machine *machine)
{
	struct utsname uts;
	long cores;

	memset(machine, 0, sizeof *machine);
	describe_cpu(machine->cpu, sizeof machine->cpu);
	describe_filesystem(
	    dir, machine->filesystem, sizeof machine->filesystem);
	if (uname(&uts) == 0)
		snprintf(machine->kernel, sizeof machine->kernel, "%.60s %.60s",
		    uts.sysname, uts.release);
	else
		snprintf(machine->kernel, sizeof machine->kernel, "?");
	cores = sysconf(_SC_NPROCESSORS_ONLN);
	machine->cores = cores > 0 ? (unsigned)cores : 0;
	machine->memory = pages_to_bytes(_SC_PHYS_PAGES);
	machine->memory_available = memory_available();
	machine->uses_tsc = clock_uses_tsc;
}

/*
 * A new file of len allocated bytes, mapped shared and already without a
 * name.  Returns its descriptor, or -1 with errno set.
 */
static int
scratch_create(const char *dir, uint64_t len, uint8_t **ret_map)
{
	char path[4096];
	void *map;
	int fd, rc;

	snprintf(path, sizeof path, "%s/limit.XXXXXX", dir);
	fd = mkstemp(path);
	if (fd == -1)
		return -1;
	unlink(path);
	rc = posix_fallocate(fd, 0, (off_t)len);
	if (rc != 0) {
		close(fd);
		errno = rc;
		return -1;
	}
	map =
	    mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		rc = errno;
		close(fd);
		errno = rc;
		return -1;
	}
	*ret_map = map;
	return fd;
}

/*
 * A virtual machine's host takes back free memory within seconds, and to get
 * a page again costs several times what a store does with it.  So pages are
 * used and freed right before they are needed, and in the way they will be
 * used, since the kernel keeps pages freed by mappings of files apart from
 * others.
 */
void
machine_warm(const char *dir, uint64_t want)
{
	uint64_t at, available = memory_available();
	uint8_t *map;
	int fd;

	if (want > available / 2)
		want = available / 2;
	if (want == 0)
		return;
	fd = scratch_create(dir, want, &map);
	if (fd == -1)
		return; /* no room: then memory stays as it is */
	for (at = 0; at < want; at += 4096)
		map[at] = 1;
	munmap(map, (size_t)want);
	close(fd);
}

static void
copy_records(uint8_t *map, uint64_t len)
{
	static uint8_t records[512 * LIMIT_RECORD_LEN];
	uint64_t at;

	memset(records, 0x5a, sizeof records);
	for (at = 0; at < len; at += LIMIT_RECORD_LEN)
		memcpy(
		    map + at, records + at % sizeof records, LIMIT_RECORD_LEN);
}

/* The first word of some line, number's own. */
static inline uint64_t
load_from(const uint8_t *map, uint64_t lines, uint64_t number)
{
	uint64_t word;

	memcpy(&word, map + scale(mix(number), lines) * 64, sizeof word);
	return word;
}

/* Each load's place depends on what was loaded before. */
static double
time_dependent_misses(const uint8_t *map, uint64_t len)
{
	uint64_t word = 0, start_ns = clock_ns();

	for (uint64_t i = 0; i < LIMIT_MISS_COUNT; i++)
		word = load_from(map, len / 64, i + word);
	sink = word;
	return (double)(clock_ns() - start_ns) / LIMIT_MISS_COUNT;
}

static double
time_independent_misses(const uint8_t *map, uint64_t len)
{
	uint64_t sum = 0, start_ns = clock_ns();

	for (uint64_t i = 0; i < LIMIT_MISS_COUNT; i++)
		sum += load_from(map, len / 64, ~i);
	sink = sum;
	return (double)(clock_ns() - start_ns) / LIMIT_MISS_COUNT;
}

static double
time_reading(const uint8_t *map, uint64_t len)
{
	uint64_t word[8], sum[8] = {0}, start_ns = clock_ns();

	for (uint64_t at = 0; at + sizeof word <= len; at += sizeof word) {
		memcpy(word, map + at, sizeof word);
		for (int i = 0; i < 8; i++)
			sum[i] += word[i];
	}
	for (int i = 1; i < 8; i++)
		sum[0] += sum[i];
	sink = sum[0];
	return (double)(clock_ns() - start_ns) /
	       ((double)len / LIMIT_RECORD_LEN);
}

/* A file as large as a store, first written, then read. */
static bool
measure_copy(const char *dir, uint64_t key_count, double *ns)
{
	uint64_t start_ns, len = key_count * LIMIT_RECORD_LEN;
	uint8_t *map;
	int fd;

	len = len > LIMIT_COPY_MAX ? LIMIT_COPY_MAX : len;
	len = len < LIMIT_COPY_MIN ? LIMIT_COPY_MIN : len;
	machine_warm(dir, 2 * len);
	fd = scratch_create(dir, len, &map);
	if (fd == -1)
		return false;
	start_ns = clock_ns();
	copy_records(map, len);
	ns[LIMIT_COPY] =
	    (double)(clock_ns() - start_ns) / ((double)len / LIMIT_RECORD_LEN);
	ns[LIMIT_READ] = time_reading(map, len);
	ns[LIMIT_MISS] = time_dependent_misses(map, len);
	ns[LIMIT_MISSES] = time_independent_misses(map, len);
	munmap(map, (size_t)len);
	close(fd);
	return true;
}

/* Of blocks already written, or those that are merely allocated. */
static bool
measure_sync(const char *dir, bool written, double *ret_ns)
{
	uint64_t start_ns, at, i;
	bool ok = false;
	uint8_t *map;
	int fd, saved;

	fd = scratch_create(dir, LIMIT_SYNC_FILE, &map);
	if (fd == -1)
		return false;
	if (written)
		copy_records(map, LIMIT_SYNC_FILE);
	if (fsync(fd) != 0)
		goto out;
	start_ns = clock_ns();
	for (i = 0; i < LIMIT_SYNC_COUNT; i++) {
		/* A page each: what is written once is allocated no more. */
		at = i * LIMIT_SYNC_STEP % LIMIT_SYNC_FILE;
		memset(map + at, (int)(i & 0x7f), LIMIT_RECORD_LEN);
		if (fdatasync(fd) != 0)
			goto out;
	}
	*ret_ns = (double)(clock_ns() - start_ns) / LIMIT_SYNC_COUNT;
	ok = true;
out:
	saved = errno;
	munmap(map, LIMIT_SYNC_FILE);
	close(fd);
	errno = saved;
	return ok;
}

bool
machine_measure(const char *dir, uint64_t key_count, struct limits *limits)
{
	return measure_copy(dir, key_count, limits->ns) &&
	       measure_sync(dir, true, &limits->ns[LIMIT_SYNC]) &&
	       measure_sync(dir, false, &limits->ns[LIMIT_SYNC_FRESH]);
}

void
machine_rss_reset(void)
{
#ifdef __linux__
	int fd;

	fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return; /* the peak is then that of the process so far */
	if (write(fd, "5", 1) != 1)
		(void)0;
	close(fd);
#endif
}

void
machine_rss(uint64_t *ret_peak, uint64_t *ret_now, uint64_t *ret_anon)
{
	struct rusage usage;
	char line[256];
	uint64_t kib;
	FILE *file;

	getrusage(RUSAGE_SELF, &usage);
	*ret_peak = (uint64_t)usage.ru_maxrss * 1024;
	*ret_now = *ret_anon = 0;
	file = fopen("/proc/self/status", "r");
	if (file == NULL)
		return;
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "VmHWM: %" SCNu64, &kib) == 1)
			*ret_peak = kib * 1024;
		else if (sscanf(line, "VmRSS: %" SCNu64, &kib) == 1)
			*ret_now = kib * 1024;
		else if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
			*ret_anon = kib * 1024;
	}
	fclose(file);
}

uint64_t
machine_written(void)
{
	uint64_t written = UINT64_MAX;
	char line[256];
	FILE *file;

	file = fopen("/proc/self/io", "r");
	if (file == NULL)
		return written;
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "write_bytes: %" SCNu64, &written) == 1)
			break;
	}
	fclose(file);
	return written;
}

void
machine_private(uint64_t *ret_private, uint64_t *ret_dirty)
{
	uint64_t kib, clean = 0;
	char line[256];
	FILE *file;

	*ret_dirty = 0;
	file = fopen("/proc/self/smaps_rollup", "r");
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1)
			clean = kib * 1024;
		else if (sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1)
			*ret_dirty = kib * 1024;
	}
	if (file != NULL)
		fclose(file);
	*ret_private = clean + *ret_dirty;
}
