/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tmpdir.c - make and remove temporary directories.
 */
#include "config.h"

#include "tmpdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static _Noreturn void
fail(const char *what, const char *path)
{
	(void)fprintf(
	    stderr, "tmpdir: %s %s: %s\n", what, path, strerror(errno));
	exit(99); /* to automake: the test could not even begin */
}

char *
tmpdir_create(void)
{
	static const char template[] = "/kvlog-test.XXXXXX";
	const char *parent = getenv("TMPDIR");
	size_t size;
	char *path;

	if (parent == NULL || *parent == '\0')
		parent = "/tmp";
	size = strlen(parent) + sizeof template;
	path = malloc(size);
	if (path == NULL)
		fail("malloc for", parent);
	(void)snprintf(path, size, "%s%s", parent, template);
	if (mkdtemp(path) == NULL)
		fail("mkdtemp", path);
	return path;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st;
	(void)type;
	(void)place;
	return remove(path);
}

void
tmpdir_remove(char *path)
{
	if (path == NULL)
		return;
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		fail("remove", path);
	free(path);
}
