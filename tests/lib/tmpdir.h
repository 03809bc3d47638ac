/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tmpdir.h - a directory of a test's own, under $TMPDIR or /tmp.
 */
#ifndef TMPDIR_H
#define TMPDIR_H

/* Make an empty one and return its path; exits with a message if it cannot.
 * Give the path to tmpdir_remove(). */
char *tmpdir_create(void);

/* Remove path and all that is in it (symbolic links are not followed), and
 * free path.  NULL is fine. */
void tmpdir_remove(char *path);

#endif
