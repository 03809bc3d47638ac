/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_registry.c - one writer per process, and descriptors of a lock file
 * closed together, or at once in a forked child.
 */
#include "config.h"

#include "os.h"
#include "registry.h"
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static int
open_null(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

static struct registry_entry *
join(uint64_t dev, uint64_t ino, int fd)
{
	struct registry_entry *entry;

	ck_assert_int_eq(registry_join(dev, ino, fd, &entry), 0);
	return entry;
}

START_TEST(a_process_has_one_writer_of_a_file)
{
	struct registry_entry *a = join(1, 1, open_null());
	struct registry_entry *b = join(1, 1, open_null());
	struct registry_entry *other = join(1, 2, open_null());

	ck_assert(registry_claim_writer(a));
	ck_assert(!registry_claim_writer(b));
	ck_assert(registry_claim_writer(other));
	registry_drop_writer(a);
	ck_assert(registry_claim_writer(b));
	registry_leave(a, 0);
	registry_leave(b, 0);
	registry_leave(other, 0);
}
END_TEST

/* Not before, where that would end the locks of all. */
START_TEST(descriptors_are_closed_with_the_last_handle)
{
	int first = open_null(), second = open_null();
	struct registry_entry *a = join(1, 1, first);
	struct registry_entry *b = join(1, 1, second);

	registry_leave(b, second);
	ck_assert(is_open(first));
	ck_assert(is_open(second) == !OS_LOCKS_OF_OPEN_FILE);
	registry_leave(a, first);
	ck_assert(!is_open(first));
	ck_assert(!is_open(second));
}
END_TEST

START_TEST(a_forked_child_begins_anew)
{
	int first = open_null(), second = open_null(), third = open_null();
	struct registry_entry *a = join(1, 1, first);
	struct registry_entry *again = join(1, 1, second);
	struct registry_entry *other = join(1, 2, third);
	const uint32_t forks = registry_forks();
	int status;
	pid_t pid;

	ck_assert(registry_claim_writer(a));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct registry_entry *b;

		if (is_open(first) || is_open(second) || is_open(third))
			_exit(2);
		b = join(1, 1, open_null());
		_exit(b != a && registry_claim_writer(b) &&
			      registry_forks() == forks + 1
			  ? 0
			  : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_uint_eq(registry_forks(), forks);
	ck_assert(is_open(first) && is_open(second) && is_open(third));
	registry_leave(a, first);
	registry_leave(again, second);
	registry_leave(other, third);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("registry");
	TCase *tc = tcase_create("registry");

	tcase_add_test(tc, a_process_has_one_writer_of_a_file);
	tcase_add_test(tc, descriptors_are_closed_with_the_last_handle);
	tcase_add_test(tc, a_forked_child_begins_anew);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
