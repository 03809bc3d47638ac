/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay.c - runs a harness without libFuzzer: over every file of its corpus,
 * as it is and with a few changes that are the same in every run.
 *
 *	fuzz_NAME [FILE...]
 *
 * Without files those of $top_srcdir/tests/fuzz/corpus/NAME.
 */
#include "config.h"

#include "fuzz.h"

#include "base.h"
#include "files.h"
#include "rng.h"

#include <fcntl.h>
#include <signal.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define CHANGED_ALL 1500 /* versions of all files together, about */
#else
#define CHANGED_ALL 9000
#endif
#define CHANGED_MAX 300 /* of one */
#define CHANGES 6       /* at most, in each of them */

static const char *current = "nothing";
static unsigned version;
static const uint8_t *input;
static size_t input_len;

/* A fault has no other way to say what led to it; FUZZ_SAVE names a file that
 * shall hold it. */
static void
say_where(int number)
{
	char text[200];
	int len = snprintf(
	    text, sizeof text, "replay: %s, version %u\n", current, version);

	const char *path = getenv("FUZZ_SAVE");
	int fd;

	if (len > 0)
		(void)!write(STDERR_FILENO, text, (size_t)len);
	fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
	if (fd >= 0)
		(void)!write(fd, input, input_len);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static size_t
change(struct rng *rng, uint8_t *bytes, size_t len)
{
	static const uint8_t edges[] = {0, 1, 7, 8, 127, 128, 254, 255};

	for (uint64_t n = 1 + rng_below(rng, CHANGES); n > 0 && len > 0; n--) {
		size_t at = (size_t)rng_below(rng, len);

		switch (rng_below(rng, 5)) {
		case 0:
			bytes[at] ^= (uint8_t)(1u << rng_below(rng, 8));
			break;
		case 1:
			bytes[at] = edges[rng_below(rng, sizeof edges)];
			break;
		case 2:
			bytes[at] = (uint8_t)rng_next(rng);
			break;
		case 3: /* something from elsewhere */
			memmove(bytes + at, bytes + rng_below(rng, at + 1),
			    (size_t)rng_below(rng, len - at));
			break;
		default:
			if (rng_below(rng, 8) == 0)
				len = at;
			break;
		}
	}
	return len;
}

static void
try(const uint8_t *bytes, size_t len)
{
	input = bytes;
	input_len = len;
	(void)LLVMFuzzerTestOneInput(bytes, len);
}

static void
replay(const char *path, unsigned changed_count)
{
	struct rng rng;
	size_t len;
	uint8_t *bytes = files_read(path, &len);
	uint8_t *changed = malloc(len + 1);

	FUZZ_CHECK(changed != NULL);
	current = path;
	version = 0;
	try(bytes, len);
	rng_init(&rng, len);
	for (version = 1; version <= changed_count; version++) {
		memcpy(changed, bytes, len);
		try(changed, change(&rng, changed, len));
	}
	free(changed);
	free(bytes);
}

static void
replay_corpus(const char *program)
{
	const char *src = getenv("top_srcdir");
	const char *name = strstr(program, "fuzz_");
	struct tree tree;
	char dir[1024];
	unsigned changed;

	/* The last one: directories may be called so too. */
	for (const char *next = name; next != NULL;
	     next = strstr(next + 1, "fuzz_"))
		name = next;
	FUZZ_CHECK(name != NULL);
	(void)snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s",
	    src != NULL ? src : ".", name + 5);
	tree_read(dir, &tree);
	FUZZ_CHECK(tree.count > 0);
	changed = (unsigned)min_u64(CHANGED_MAX, CHANGED_ALL / tree.count);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(dir, tree.files[i].name);

		replay(path, changed);
		free(path);
	}
	tree_fini(&tree);
}

int
main(int argc, char **argv)
{
	(void)signal(SIGABRT, say_where);
	(void)signal(SIGSEGV, say_where);
	(void)signal(SIGBUS, say_where);
	for (int i = 1; i < argc; i++)
		replay(argv[i], CHANGED_MAX);
	if (argc == 1)
		replay_corpus(argv[0]);
	return 0;
}
