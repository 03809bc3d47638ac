/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crowd.c - run processes on one store at the same time.
 *
 *     open | work | measure memory | close
 *          1      2                3
 *
 * The processes meet at each of the three points before anyone goes on: so
 * all that is measured is measured while all of them have the store open.
 */
#include "config.h"

#include "crowd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

/* Wait for the others; false if one of them will not come. */
static bool
meet(struct crowd *crowd, unsigned point)
{
	const struct timespec nap = {.tv_nsec = 50000};
	unsigned all = point * (crowd->readers + crowd->writers);

	atomic_fetch_add(&crowd->arrived, 1);
	while (atomic_load(&crowd->arrived) < all) {
		if (atomic_load(&crowd->abandoned))
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

/* A page that it had alone before may be another one's too now. */
static uint64_t
gain(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

static bool
take_part(
    const struct crowd_work *work, struct crowd_part *part, struct crowd *crowd)
{
	uint64_t private_bytes, dirty_bytes;
	bool ok;

	machine_private(&private_bytes, &dirty_bytes);
	if (!work->open(work->arg, part))
		return false;
	ok = meet(crowd, 1) && work->work(work->arg, part, crowd);
	if (!part->writes)
		atomic_fetch_add(&crowd->done, 1);
	if (ok && meet(crowd, 2)) {
		machine_private(&part->private_bytes, &part->dirty_bytes);
		part->private_bytes = gain(private_bytes, part->private_bytes);
		part->dirty_bytes = gain(dirty_bytes, part->dirty_bytes);
		ok = meet(crowd, 3);
	}
	return work->close(work->arg, part) && ok;
}

static pid_t
start_part(
    const struct crowd_work *work, struct crowd_part *part, struct crowd *crowd)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
	_exit(take_part(work, part, crowd) ? 0 : (int)BENCH_EXIT_FAILED);
}

/* Wait for count processes; whether all of them ended well. */
static bool
wait_parts(struct crowd *crowd, unsigned count)
{
	bool ok = true;
	int status;

	while (count > 0) {
		if (waitpid(-1, &status, 0) == -1) {
			if (errno == EINTR)
				continue;
			perror("kvlog-bench: waitpid");
			return false;
		}
		count--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		if (WIFSIGNALED(status))
			fprintf(stderr,
			    "kvlog-bench: a process was killed by signal %d\n",
			    WTERMSIG(status));
		atomic_store(&crowd->abandoned, true);
		ok = false;
	}
	return ok;
}

static void
add_up(const struct crowd *crowd, struct measure *measure)
{
	const struct crowd_part *part;
	uint64_t *ops, *ns;

	for (unsigned i = 0; i < crowd->readers + crowd->writers; i++) {
		part = &crowd->parts[i];
		ops = part->writes ? &measure->writer_ops : &measure->ops;
		ns = part->writes ? &measure->writer_ns : &measure->ns;
		*ops += part->ops;
		if (part->ns > *ns)
			*ns = part->ns;
		if (part->writes)
			continue;
		measure->private_bytes += part->private_bytes;
		measure->dirty_bytes += part->dirty_bytes;
		histogram_merge(&measure->latency, &part->latency);
	}
	measure->longest_ns = measure->latency.max;
}

static enum bench_exit
first_error(const struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->readers + crowd->writers; i++) {
		if (crowd->parts[i].error != BENCH_EXIT_DONE)
			return crowd->parts[i].error;
	}
	return BENCH_EXIT_FAILED;
}

enum bench_exit
crowd_run(const struct crowd_work *work, unsigned readers, unsigned writers,
    struct measure *measure)
{
	unsigned i, all = readers + writers;
	enum bench_exit status = BENCH_EXIT_DONE;
	struct crowd *crowd;
	size_t size = sizeof *crowd + all * sizeof crowd->parts[0];

	crowd = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crowd == MAP_FAILED) {
		perror("kvlog-bench: mmap");
		return BENCH_EXIT_FAILED;
	}
	crowd->readers = readers;
	crowd->writers = writers;
	fflush(NULL);
	for (i = 0; i < all; i++) {
		struct crowd_part *part = &crowd->parts[i];

		part->writes = i >= readers;
		part->number = part->writes ? i - readers : i;
		if (start_part(work, part, crowd) == -1) {
			perror("kvlog-bench: fork");
			atomic_store(&crowd->abandoned, true);
			break;
		}
	}
	if (!wait_parts(crowd, i) || i < all)
		status = first_error(crowd);
	else
		add_up(crowd, measure);
	munmap(crowd, size);
	return status;
}
