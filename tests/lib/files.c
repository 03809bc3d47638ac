/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files.c - read, write, copy and damage files.
 */
#include "config.h"

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void
fail(const char *what, const char *path)
{
	(void)fprintf(
	    stderr, "files: %s %s: %s\n", what, path, strerror(errno));
	abort();
}

static void *
must_alloc(void *old, size_t size)
{
	void *p = realloc(old, size > 0 ? size : 1);

	if (p == NULL)
		fail("memory for", "files");
	return p;
}

char *
files_path(const char *dir, const char *name)
{
	size_t size = strlen(dir) + strlen(name) + 2;
	char *path = must_alloc(NULL, size);

	(void)snprintf(path, size, "%s/%s", dir, name);
	return path;
}

uint8_t *
files_read(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;
	size_t len, done = 0;

	if (fd == -1 || fstat(fd, &st) != 0)
		fail("open", path);
	len = (size_t)st.st_size;
	bytes = must_alloc(NULL, len);
	while (done < len) {
		ssize_t n = read(fd, bytes + done, len - done);

		if (n <= 0)
			fail("read", path);
		done += (size_t)n;
	}
	(void)close(fd);
	*ret_len = len;
	return bytes;
}

static void
write_at(int fd, const char *path, const void *bytes, size_t len, size_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)bytes + done, len - done,
		    (off_t)(off + done));

		if (n <= 0)
			fail("write", path);
		done += (size_t)n;
	}
}

void
files_write(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd == -1)
		fail("create", path);
	write_at(fd, path, bytes, len, 0);
	(void)close(fd);
}

void
files_patch(const char *path, size_t off, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd == -1)
		fail("open", path);
	write_at(fd, path, bytes, len, off);
	(void)close(fd);
}

void
files_flip(const char *path, size_t off, unsigned bit)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	if (fd == -1 || pread(fd, &byte, 1, (off_t)off) != 1)
		fail("read", path);
	byte ^= (uint8_t)(1u << bit);
	write_at(fd, path, &byte, 1, off);
	(void)close(fd);
}

/* Do it with each hint file; how many there are. */
static unsigned
each_hint(const char *dir, void (*fn)(const char *path, size_t off), size_t off)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	unsigned count = 0;

	if (stream == NULL)
		fail("open", dir);
	while ((entry = readdir(stream)) != NULL) {
		size_t len = strlen(entry->d_name);
		char *path;

		if (len < 5 || strcmp(entry->d_name + len - 5, ".hint") != 0)
			continue;
		path = files_path(dir, entry->d_name);
		fn(path, off);
		free(path);
		count++;
	}
	(void)closedir(stream);
	return count;
}

static void
remove_one(const char *path, size_t off)
{
	(void)off;
	if (remove(path) != 0)
		fail("remove", path);
}

unsigned
files_remove_hints(const char *dir)
{
	return each_hint(dir, remove_one, 0);
}

static void
flip_one(const char *path, size_t off)
{
	files_flip(path, off, 2);
}

unsigned
files_damage_hints(const char *dir, size_t off)
{
	return each_hint(dir, flip_one, off);
}

bool
files_exist(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

size_t
files_len(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		fail("stat", path);
	return (size_t)st.st_size;
}

static int
compare_names(const void *va, const void *vb)
{
	const struct tree_file *a = va, *b = vb;

	return strcmp(a->name, b->name);
}

static bool
is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void
tree_read(const char *dir, struct tree *ret_tree)
{
	DIR *stream = opendir(dir);
	const struct dirent *entry;

	if (stream == NULL)
		fail("list", dir);
	memset(ret_tree, 0, sizeof *ret_tree);
	while ((entry = readdir(stream)) != NULL) {
		struct tree_file *f;
		char *path;

		if (is_dots(entry->d_name))
			continue;
		ret_tree->files = must_alloc(ret_tree->files,
		    (ret_tree->count + 1) * sizeof *ret_tree->files);
		f = &ret_tree->files[ret_tree->count++];
		f->name = must_alloc(NULL, strlen(entry->d_name) + 1);
		memcpy(f->name, entry->d_name, strlen(entry->d_name) + 1);
		path = files_path(dir, f->name);
		f->bytes = files_read(path, &f->len);
		free(path);
	}
	(void)closedir(stream);
	if (ret_tree->count > 0)
		qsort(ret_tree->files, ret_tree->count, sizeof *ret_tree->files,
		    compare_names);
}

void
tree_fini(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->files[i].name);
		free(tree->files[i].bytes);
	}
	free(tree->files);
	memset(tree, 0, sizeof *tree);
}

void
tree_write(const char *dir, struct tree *tree)
{
	DIR *stream;
	const struct dirent *entry;

	if (mkdir(dir, 0777) != 0 && errno != EEXIST)
		fail("make", dir);
	stream = opendir(dir);
	if (stream == NULL)
		fail("list", dir);
	while ((entry = readdir(stream)) != NULL)
		if (!is_dots(entry->d_name) &&
		    tree_find(tree, entry->d_name) == NULL &&
		    unlinkat(dirfd(stream), entry->d_name, 0) != 0)
			fail("remove", entry->d_name);
	(void)closedir(stream);
	for (size_t i = 0; i < tree->count; i++) {
		char *path = files_path(dir, tree->files[i].name);

		files_write(path, tree->files[i].bytes, tree->files[i].len);
		free(path);
	}
}

struct tree_file *
tree_find(struct tree *tree, const char *name)
{
	for (size_t i = 0; i < tree->count; i++)
		if (strcmp(tree->files[i].name, name) == 0)
			return &tree->files[i];
	return NULL;
}

size_t
files_fd_count(void)
{
	DIR *stream = opendir("/proc/self/fd");
	size_t count = 0;

	if (stream == NULL)
		return 0;
	while (readdir(stream) != NULL)
		count++;
	(void)closedir(stream);
	return count;
}

/* Whether a thread of this process sleeps, by the letter behind its name. */
static bool
sleeps(const char *tid)
{
	char path[300], text[128] = "", *state;
	FILE *stream;

	(void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", tid);
	stream = fopen(path, "r");
	if (stream == NULL)
		return true; /* it has ended */
	(void)fread(text, 1, sizeof text - 1, stream);
	(void)fclose(stream);
	state = strrchr(text, ')');
	return state != NULL && strncmp(state, ") S", 3) == 0;
}

void
files_await_sleep(void)
{
	bool all = false;

	for (unsigned i = 0; i < 10000 && !all; i++) {
		DIR *stream = opendir("/proc/self/task");
		const struct dirent *entry;

		if (stream == NULL)
			return;
		all = true;
		while ((entry = readdir(stream)) != NULL)
			all = all && (entry->d_name[0] == '.' ||
					 atol(entry->d_name) == getpid() ||
					 sleeps(entry->d_name));
		(void)closedir(stream);
		if (!all)
			(void)usleep(1000);
	}
}
