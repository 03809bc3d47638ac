/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nursery.c - fork on behalf of another process.
 *
 * A byte asks for a child, its status is the answer, and the end of the
 * stream is the end.
 */
#include "config.h"

#include "nursery.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nobody outlives who waits for him. */
static void
die_with_parent(void)
{
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

static void
serve(int fd, int (*work)(void *arg), void *arg)
{
	int status;
	pid_t pid;
	char byte;

	while (read(fd, &byte, 1) == 1) {
		pid = fork();
		if (pid == 0) {
			die_with_parent();
			close(fd);
			_exit(work(arg));
		}
		if (pid == -1 || waitpid(pid, &status, 0) != pid)
			break;
		if (write(fd, &status, sizeof status) != sizeof status)
			break;
	}
}

bool
nursery_open(struct nursery *nursery, int (*work)(void *arg), void *arg)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return false;
	fflush(NULL);
	nursery->pid = fork();
	if (nursery->pid == 0) {
		die_with_parent();
		close(fds[0]);
		serve(fds[1], work, arg);
		_exit(0);
	}
	close(fds[1]);
	nursery->fd = fds[0];
	if (nursery->pid > 0)
		return true;
	close(fds[0]);
	nursery->pid = 0;
	return false;
}

bool
nursery_run(struct nursery *nursery, int *ret_status)
{
	/* No signal for one that has gone. */
	if (send(nursery->fd, "", 1, MSG_NOSIGNAL) == 1 &&
	    read(nursery->fd, ret_status, sizeof *ret_status) ==
		sizeof *ret_status)
		return true;
	errno = ECHILD;
	return false;
}

void
nursery_close(struct nursery *nursery)
{
	if (nursery->pid == 0)
		return;
	close(nursery->fd);
	waitpid(nursery->pid, NULL, 0);
	nursery->pid = 0;
}
