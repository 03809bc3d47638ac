/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h - what the fuzzing harnesses have in common.  Each is one function
 * over arbitrary bytes, which libFuzzer calls ("make fuzz"), or replay.c with
 * what stands in corpus/ ("make check").
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "base.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Also with NDEBUG, and of the harness alone. */
#define FUZZ_CHECK(claim)                                                      \
	((claim) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #claim))

static inline _Noreturn void
fuzz_failed(const char *file, int line, const char *claim)
{
	(void)fprintf(stderr, "%s:%d: not so: %s\n", file, line, claim);
	abort();
}

/* FUZZ_VERBOSE=1: what was done, and what came of it. */
static inline void ATTR_PRINTF(1, 2) fuzz_tell(const char *format, ...)
{
	va_list args;

	if (getenv("FUZZ_VERBOSE") == NULL)
		return;
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

/* What is left of an input that is read as a program; then there are zeros. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline unsigned
take_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

#endif
