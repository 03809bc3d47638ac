/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_hint.c - hint files, as evidence of keys and as files to be checked.
 */
#include "config.h"

#include "verify.h"

#include "hint.h"

struct hint *
verify_open_hint(struct verify *v, size_t i)
{
	struct segment *seg = v->live[i]->seg;
	bool exact;

	if (v->live[i]->made_up)
		return NULL;
	atomic_store(&seg->end, verify_limit(v, i, &exact));
	return exact ? hint_open(seg, &v->dir) : NULL;
}
