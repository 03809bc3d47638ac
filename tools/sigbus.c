/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sigbus.c - a message in place of a core dump when a page of a mapped file
 * cannot be read.
 *
 * The kernel reports that as SIGBUS.  A library must not take signals away
 * from its application; a program may.  The handler runs in the middle of
 * anything, so it uses only open(), read(), write() and _exit(), which are
 * async-signal-safe, and no memory but its own.  Which file it was is read
 * from /proc/self/maps, where the system has it.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MAP_LINE_MAX 4352 /* a path and the numbers before it */

/* Set before the handler is. */
static const char *store_path = "";

static void
put_bytes(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t written = write(STDERR_FILENO, text, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return;
		text += written;
		len -= (size_t)written;
	}
}

static void
put_text(const char *text)
{
	put_bytes(text, strlen(text));
}

static void
put_number(uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	put_bytes(digits + at, sizeof digits - at);
}

/* Hexadecimal digits at *p, which is moved behind them and one delimiter. */
static uint64_t
take_hex(const char **p)
{
	uint64_t number = 0;

	for (;; (*p)++) {
		char c = **p;

		if (c >= '0' && c <= '9')
			number = number << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			number = number << 4 | (uint64_t)(c - 'a' + 10);
		else
			break;
	}
	if (**p != '\0')
		(*p)++;
	return number;
}

/*
 * If a line of /proc/self/maps ("FROM-TO rwxp OFFSET DEVICE INODE PATH")
 * holds address, say which file it is, and where.
 */
static bool
say_place(const char *line, uint64_t address)
{
	const char *p = line;
	uint64_t from = take_hex(&p);
	uint64_t to = take_hex(&p);
	uint64_t offset;
	const char *path = strchr(line, '/');

	if (address < from || address >= to)
		return false;
	while (*p != ' ' && *p != '\0')
		p++; /* permissions */
	if (*p != '\0')
		p++;
	offset = take_hex(&p);
	put_text(path != NULL ? path : "no file");
	put_text(", offset ");
	put_number(offset + (address - from));
	return true;
}

static bool
say_file(uint64_t address)
{
	static char line[MAP_LINE_MAX];
	char block[1024];
	size_t line_len = 0;
	ssize_t len;
	bool said = false;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	while (!said && (len = read(fd, block, sizeof block)) > 0) {
		for (ssize_t i = 0; i < len && !said; i++) {
			if (block[i] == '\n') {
				line[line_len] = '\0';
				said = say_place(line, address);
				line_len = 0;
			} else if (line_len < sizeof line - 1) {
				line[line_len++] = block[i];
			}
		}
	}
	close(fd);
	return said;
}

static void
on_sigbus(int signal_number, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code <= 0) {
		/* Sent by a process: SA_RESETHAND has restored the default. */
		raise(signal_number);
		return;
	}
	put_text("ERROR: I/O error while reading a mapped file of ");
	put_text(store_path);
	put_text(" (");
	if (!say_file((uint64_t)(uintptr_t)info->si_addr))
		put_text("place unknown");
	put_text("); the medium is failing or the file was truncated: check "
		 "the system log and copy what is readable\n");
	_exit(CLI_FAILED);
}

void
sigbus_install(const char *store)
{
	struct sigaction action;

	store_path = store;
	memset(&action, 0, sizeof action);
	action.sa_sigaction = on_sigbus;
	action.sa_flags = SA_SIGINFO | (int)SA_RESETHAND;
	sigemptyset(&action.sa_mask);
	/* Without it there is a core dump in place of a message. */
	(void)sigaction(SIGBUS, &action, NULL);
}
