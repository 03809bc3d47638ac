/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test.h - what every Check program of this tree starts from.
 */
#ifndef TEST_H
#define TEST_H

#include <check.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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
