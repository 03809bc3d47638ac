/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err.c - status texts and the caller's error detail.
 *
 * A detail is one line that fits struct kvlog_error.text.  What does not fit
 * has a long path in it, near its beginning: bytes are missing there, and "..."
 * stands for them.  What is wrong, what to do and the system's reason come
 * behind the path, and are kept.
 */
#include "config.h"

#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEAD_LEN 40    /* kept before the "..." */
#define WHOLE_LEN 4608 /* the longest path there is, and some text */

/* Numbers are ABI, and are given here a second time so that a slip in the
 * public header does not compile. */
#define STATUS_MAP(X)                                                          \
	X(KVLOG_OK, 0, "ok")                                                   \
	X(KVLOG_NOTFOUND, 1, "not found")                                      \
	X(KVLOG_CONFLICT, 2, "a condition of the write does not hold")         \
	X(KVLOG_TOOSMALL, 3, "buffer too small")                               \
	X(KVLOG_INVAL, 4, "invalid argument")                                  \
	X(KVLOG_TOOBIG, 5, "key, value or batch too big")                      \
	X(KVLOG_NOMEM, 6, "out of memory")                                     \
	X(KVLOG_IO, 7, "input/output error")                                   \
	X(KVLOG_NOSPACE, 8, "no space left")                                   \
	X(KVLOG_CORRUPT, 9, "stored data is damaged or missing")               \
	X(KVLOG_VERSION, 10, "format is of another version of kvlog")          \
	X(KVLOG_BUSY, 11, "locked by another process")                         \
	X(KVLOG_READONLY, 12, "opened for reading only")                       \
	X(KVLOG_BROKEN, 13,                                                    \
	    "a write or sync failed; the store must be reopened")              \
	X(KVLOG_TIMEOUT, 14, "timed out")                                      \
	X(KVLOG_NOSTORE, 15, "no store there")                                 \
	X(KVLOG_NOTSTORE, 16, "not a store")                                   \
	X(KVLOG_UNSUPPORTED, 17, "not supported here")                         \
	X(KVLOG_CANCELLED, 18, "cancelled")                                    \
	X(KVLOG_FORKED, 19, "handle of a parent process")                      \
	X(KVLOG_TOOOLD, 20, "compaction has taken it")                         \
	X(KVLOG_NOBUCKET, 21, "no such bucket")

#define STATUS_ASSERT(name, number, text)                                      \
	static_assert((name) == (number), #name " changed its number");
STATUS_MAP(STATUS_ASSERT)

const char *
err_text(enum kvlog_status status)
{
	switch (status) {
#define STATUS_CASE(name, number, text)                                        \
	case name:                                                             \
		return text;
		STATUS_MAP(STATUS_CASE)
	}
	return "unknown status";
}

/* strerror_r() comes in two kinds: POSIX's returns an int and fills buf,
 * GNU's returns the text, which may lie elsewhere. */
static void
reason(int sys_errno, char *buf, size_t cap)
{
#if defined __GLIBC__ && defined _GNU_SOURCE
	char room[128];

	snprintf(buf, cap, "%s", strerror_r(sys_errno, room, sizeof room));
#else
	buf[0] = '\0';
	if (strerror_r(sys_errno, buf, cap) != 0 && buf[0] == '\0')
		snprintf(buf, cap, "error %d", sys_errno);
#endif
}

/* What to do about it, where that is the same whatever failed. */
static const char *
advice(int sys_errno)
{
	switch (sys_errno) {
	case ENOSPC:
		return "; make room on the disk";
	case EDQUOT:
		return "; make room within the quota";
	case EFBIG:
		return "; raise the limit of file sizes (ulimit -f)";
	default:
		return "";
	}
}

/* Whether this byte is one of a UTF-8 character, but not its first. */
static bool
is_inside(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

/* The greatest length <= len at which no UTF-8 character of text is cut. */
static size_t
cut_point(const char *text, size_t len)
{
	while (len > 0 && is_inside(text[len]))
		len--;
	return len;
}

/* Names may hold any byte but NUL and '/'; the detail is one line. */
static void
one_line(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static void
fill(struct kvlog_error *err, enum kvlog_status status, int sys_errno,
    const char *format, va_list args)
{
	const size_t cap = sizeof err->text;
	char why[160] = "", whole[WHOLE_LEN];
	size_t room, len, head, tail;
	const char *what_to_do = advice(sys_errno);

	err->status = status;
	err->sys_errno = sys_errno;
	err->segment = 0;
	err->offset = 0;

	if (sys_errno == 0 && status == KVLOG_NOMEM)
		sys_errno = ENOMEM; /* for its text */
	if (sys_errno != 0) {
		memcpy(why, ": ", 3);
		reason(sys_errno, why + 2, sizeof why - 2 - strlen(what_to_do));
		strcat(why, what_to_do);
	}
	room = cap - 1 - strlen(why);
	if (vsnprintf(whole, sizeof whole, format, args) < 0)
		whole[0] = '\0';
	len = strlen(whole);
	head = tail = len;
	if (len > room) {
		head = cut_point(whole, HEAD_LEN);
		tail = len - (room - HEAD_LEN - 3);
		while (is_inside(whole[tail]))
			tail++;
	}
	snprintf(err->text, cap, "%.*s%s%s%s", (int)head, whole,
	    len > room ? "..." : "", whole + tail, why);
	one_line(err->text);
}

enum kvlog_status
err_set(struct kvlog_error *err, enum kvlog_status status, int sys_errno,
    const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return status;
	va_start(args, format);
	fill(err, status, sys_errno, format, args);
	va_end(args);
	return status;
}

enum kvlog_status
err_set_at(struct kvlog_error *err, enum kvlog_status status, uint32_t segment,
    uint64_t offset, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return status;
	va_start(args, format);
	fill(err, status, 0, format, args);
	va_end(args);
	err->segment = segment;
	err->offset = offset;
	return status;
}

enum kvlog_status
err_status_of(int sys_errno)
{
	switch (sys_errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return KVLOG_NOSPACE;
	case ENOMEM:
		return KVLOG_NOMEM;
	default:
		return KVLOG_IO;
	}
}

enum kvlog_status
err_sys(struct kvlog_error *err, int sys_errno, const char *format, ...)
{
	enum kvlog_status status = err_status_of(sys_errno);
	va_list args;

	if (err == NULL)
		return status;
	va_start(args, format);
	fill(err, status, sys_errno, format, args);
	va_end(args);
	return status;
}
