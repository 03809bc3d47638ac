/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group.c - the control group of Linux that this process runs in, of the
 * second kind or, of the first kind, the one for memory.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRIES 20 /* until what is over a limit has left memory */

/* What a kind of groups calls things. */
static const struct kind {
	const char *mark; /* in a line of /proc/self/cgroup, before the path */
	const char *root;
	const char *limit, *used, *none;
} kinds[] = {
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
	"memory.usage_in_bytes", "-1"},
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current", "max"},
};

/* The path below the root, of the kind that has a limit for memory. */
static const struct kind *
find_group(char *path, size_t size)
{
	const struct kind *found = NULL;
	char line[512], file_name[1024];
	FILE *file = fopen("/proc/self/cgroup", "r");

	while (
	    found == NULL && file != NULL && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
			const struct kind *kind = &kinds[i];
			const char *at = strstr(line, kind->mark);

			if (at == NULL)
				continue;
			snprintf(path, size, "%s%s", kind->root,
			    at + strlen(kind->mark));
			snprintf(file_name, sizeof file_name, "%s/%s", path,
			    kind->limit);
			if (access(file_name, F_OK) == 0)
				found = kind;
		}
	}
	if (file != NULL)
		fclose(file);
	return found;
}

/* The number that a file of the group begins with; false if there is none. */
static bool
read_number(const char *path, const char *name, uint64_t *ret_number)
{
	char file_name[1024];
	FILE *file;
	bool ok;

	snprintf(file_name, sizeof file_name, "%s/%s", path, name);
	file = fopen(file_name, "r");
	ok = file != NULL && fscanf(file, "%" SCNu64, ret_number) == 1;
	if (file != NULL)
		fclose(file);
	return ok;
}

uint64_t
group_available(void)
{
	char path[700];
	const struct kind *kind = find_group(path, sizeof path);
	uint64_t limit, used;

	if (kind == NULL || !read_number(path, kind->limit, &limit))
		return UINT64_MAX;
	if (!read_number(path, kind->used, &used))
		used = 0;
	return limit > used ? limit - used : 0;
}

static bool
write_limit(const char *path, const struct kind *kind, uint64_t bytes)
{
	char file_name[1024];
	FILE *file;
	bool ok;

	snprintf(file_name, sizeof file_name, "%s/%s", path, kind->limit);
	file = fopen(file_name, "w");
	if (file == NULL)
		return false;
	ok = (bytes == 0 ? fputs(kind->none, file)
			 : fprintf(file, "%" PRIu64, bytes)) >= 0;
	return (fclose(file) == 0) & ok;
}

bool
group_limit(uint64_t bytes)
{
	char path[700];
	const struct kind *kind = find_group(path, sizeof path);

	if (kind == NULL) {
		errno = ENOENT;
		return false;
	}
	for (unsigned i = 0; i < TRIES; i++) {
		if (bytes > 0)
			sync(); /* what is not written cannot leave */
		if (write_limit(path, kind, bytes))
			return true;
		if (errno != EBUSY)
			break;
	}
	return false;
}
