/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.c - find helper programs, run them, take their time.
 */
#include "config.h"

#include "process.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The directory of this program, without the slash; false if unknown. */
static bool
own_dir(char path[PROCESS_PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", path, PROCESS_PATH_MAX - 1);
	char *slash;

	if (len <= 0)
		return false;
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	return true;
}

bool
process_find(const char *name, char ret_path[PROCESS_PATH_MAX])
{
	/* Libtool keeps the true program of a build in .libs. */
	static const char *const places[] = {"", "/..", NULL};
	char dir[PROCESS_PATH_MAX];
	size_t i;
	int len;

	for (i = 0; own_dir(dir) && places[i] != NULL; i++) {
		len = snprintf(ret_path, PROCESS_PATH_MAX, "%s%s/%s", dir,
		    places[i], name);
		if (len > 0 && len < PROCESS_PATH_MAX &&
		    access(ret_path, X_OK) == 0)
			return true;
	}
	len = snprintf(
	    ret_path, PROCESS_PATH_MAX, "%s/%s", BENCH_LIBEXECDIR, name);
	return len > 0 && len < PROCESS_PATH_MAX && access(ret_path, X_OK) == 0;
}

int
process_time(char *const argv[], uint64_t *ret_ns)
{
	posix_spawn_file_actions_t actions;
	uint64_t start_ns;
	int rc, status;
	pid_t pid;

	rc = posix_spawn_file_actions_init(&actions);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(
		    &actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	start_ns = clock_ns();
	if (rc == 0)
		rc = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	if (rc != 0) {
		errno = rc;
		return -1;
	}
	while (waitpid(pid, &status, 0) == -1) {
		if (errno != EINTR)
			return -1;
	}
	*ret_ns = clock_ns() - start_ns;
	posix_spawn_file_actions_destroy(&actions);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
