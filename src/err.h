/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err.h - status texts and the caller's error detail.
 */
#ifndef ERR_H
#define ERR_H

#include "base.h"
#include <kvlog.h>

/* A status in words, one line; never NULL. */
const char *err_text(enum kvlog_status status);

/*
 * Fill *err (which may be NULL) and return status, so that a failing line is
 * one line.  sys_errno is 0 or an errno value, whose text is appended.
 */
enum kvlog_status err_set(struct kvlog_error *err, enum kvlog_status status,
    int sys_errno, const char *format, ...) ATTR_PRINTF(4, 5);

/* As err_set(), for a place in a segment's file. */
enum kvlog_status err_set_at(struct kvlog_error *err, enum kvlog_status status,
    uint32_t segment, uint64_t offset, const char *format, ...)
    ATTR_PRINTF(5, 6);

/*
 * The status that a failed system call stands for: NOSPACE for ENOSPC,
 * EDQUOT and EFBIG, NOMEM for ENOMEM, otherwise IO.
 */
enum kvlog_status err_status_of(int sys_errno);

/* err_set() with the status that sys_errno stands for. */
enum kvlog_status err_sys(struct kvlog_error *err, int sys_errno,
    const char *format, ...) ATTR_PRINTF(3, 4);

#endif
