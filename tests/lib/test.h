/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test.h - what every Check program of this tree starts from.
 */
#ifndef TEST_H
#define TEST_H

#include <check.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Check writes each place that a test comes to into a file, to tell which was
 * the last if it is killed: a system call for each assertion that holds, and
 * more time than all the rest of those that loop.  Here it is told of a place
 * the first time only.
 */
static inline void
test_mark_point(const char *file, int line)
{
	static atomic_bool known[4096];
	atomic_bool *this = &known[(unsigned)line % 4096];

	if (atomic_load_explicit(this, memory_order_relaxed))
		return;
	atomic_store_explicit(this, true, memory_order_relaxed);
	_mark_point(file, line);
}
#define _mark_point(file, line) test_mark_point(file, line)

/* Sanitizers make all some times slower. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define TEST_IS_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_IS_SANITIZED 1
#endif
#endif
#ifndef TEST_IS_SANITIZED
#define TEST_IS_SANITIZED 0
#endif

/* Run suite, print what fails, give main() its exit code.  Tests fork one by
 * one unless CK_FORK=no. */
static inline int
test_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
