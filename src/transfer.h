/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.h - a file of one directory into another: linked, cloned or copied;
 * and whether what arrived is sound.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "base.h"
#include "dir.h"

enum transfer_how { TRANSFER_LINKED, TRANSFER_CLONED, TRANSFER_COPIED };

struct transfer {
	struct dir *from, *to;
	bool copy_only;   /* neither links nor clones */
	bool sync_linked; /* nobody has made the file durable yet */
	/* Called with bytes that are done; false: stop. */
	bool (*go_on)(void *arg, uint64_t bytes);
	void *arg;
};

/*
 * Give the directory a file of this name, which it has not, that is durable
 * but for the name.  A copy is read again, and compared.  *ret_gone, and
 * KVLOG_OK: the other directory has none.  KVLOG_CANCELLED, _NOSPACE, _NOMEM,
 * _IO.
 */
enum kvlog_status transfer_file(const struct transfer *t, const char *name,
    enum transfer_how *ret_how, bool *ret_gone, struct kvlog_error *err);

/*
 * Read all records of a segment file, up to end, and verify their sums.
 * *ret_damaged, and KVLOG_OK: one at *ret_off, or what stands there, is not
 * as it was written.  KVLOG_NOMEM, _IO; KVLOG_CORRUPT: no header is readable.
 */
enum kvlog_status transfer_verify(struct dir *dir, const char *name,
    const struct file_id *id, uint64_t end, bool *ret_damaged,
    uint64_t *ret_off, struct kvlog_error *err);

#endif
