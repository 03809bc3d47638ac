/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files.h - whole files and flat directories, for tests that damage them.
 * What cannot be done ends the test program with a message.
 */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "dir/name" in memory of the caller's: free(). */
char *files_path(const char *dir, const char *name);

/* All of a file, in memory of the caller's: free(). */
uint8_t *files_read(const char *path, size_t *ret_len);

/* Make or replace a file. */
void files_write(const char *path, const void *bytes, size_t len);

/* Change bytes of a file in place. */
void files_patch(const char *path, size_t off, const void *bytes, size_t len);

/* Invert one bit of one byte. */
void files_flip(const char *path, size_t off, unsigned bit);

/* Remove the hint files of a store; how many there were. */
unsigned files_remove_hints(const char *dir);
/* Invert a bit at this offset in each of them; how many there are. */
unsigned files_damage_hints(const char *dir, size_t off);

bool files_exist(const char *path);
size_t files_len(const char *path);

/* A directory's contents in memory; files only. */
struct tree {
	struct tree_file {
		char *name;
		uint8_t *bytes;
		size_t len;
	} * files;
	size_t count;
};

/* Sorted by name.  Free with tree_fini(). */
void tree_read(const char *dir, struct tree *ret_tree);
void tree_fini(struct tree *tree);

/* Make dir hold exactly these files; creates it if need be.  Files that are
 * there stay the same files (inodes), with new contents. */
void tree_write(const char *dir, struct tree *tree);

/* The file of this name, or NULL. */
struct tree_file *tree_find(struct tree *tree, const char *name);

/* Descriptors this process has open; 0 where that cannot be told. */
size_t files_fd_count(void);

/* Wait until all other threads of this process sleep, where that can be
 * known; not for longer than some seconds. */
void files_await_sleep(void);

#endif
