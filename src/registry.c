/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.c - a hash table of lock files by device and inode; the library's
 * only global state.
 */
#include "config.h"

#include "registry.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) os->malloc(size)
#define uthash_free(p, size) os->free(p)
#define uthash_nonfatal_oom(entry) ((entry)->added = false)
#include <uthash.h>

struct identity {
	uint64_t dev, ino;
};

/* A descriptor that waits to be closed. */
struct descriptor {
	struct descriptor *next;
	int fd;
};

struct registry_entry {
	struct identity identity;
	struct descriptor *descriptors;
	unsigned handles;
	bool writer;
	struct store *store; /* the writer's, while it is offered */
	unsigned sharers;    /* handles on that */
	uint64_t nonce;      /* of the writer's page; 0: it has none yet */
	bool added;          /* uthash found the memory */
	UT_hash_handle hh;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct registry_entry *entries;
static uint32_t owner_pid; /* whose entries they are */
_Atomic uint32_t registry_fork_count;

/* Around fork(): nobody changes the entries meanwhile, and the child closes
 * what it has inherited.  It frees nothing: other threads may have held any
 * lock of the C library. */
static void
fork_begins(void)
{
	pthread_mutex_lock(&registry_lock);
}

static void
fork_ends(void)
{
	pthread_mutex_unlock(&registry_lock);
}

static void
forked(void)
{
	for (struct registry_entry *e = entries; e != NULL; e = e->hh.next)
		for (struct descriptor *d = e->descriptors; d != NULL;
		     d = d->next)
			os->close(d->fd);
	entries = NULL;
	atomic_fetch_add(&registry_fork_count, 1);
	pthread_mutex_unlock(&registry_lock);
}

static void
watch_forks(void)
{
	(void)pthread_atfork(fork_begins, fork_ends, forked);
}

void
registry_forget(void)
{
	pthread_mutex_init(&registry_lock, NULL);
	entries = NULL;
}

/* With the lock held. */
static struct registry_entry *
find_or_add(const struct identity *identity)
{
	struct registry_entry *entry = NULL;

	/* A child of clone(2), or one that os simulates. */
	if (owner_pid != os->pid()) {
		owner_pid = os->pid();
		entries = NULL;
	}
	HASH_FIND(hh, entries, identity, sizeof *identity, entry);
	if (entry != NULL)
		return entry;
	entry = os->calloc(1, sizeof *entry);
	if (entry == NULL)
		return NULL;
	entry->identity = *identity;
	entry->added = true;
	HASH_ADD(hh, entries, identity, sizeof entry->identity, entry);
	if (entry->added)
		return entry;
	os->free(entry);
	return NULL;
}

/* Close the one with this number, or all if it is -1. */
static void
close_descriptors(struct registry_entry *entry, int fd)
{
	struct descriptor **at = &entry->descriptors, *d;

	while ((d = *at) != NULL) {
		if (fd != -1 && d->fd != fd) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		os->close(d->fd);
		os->free(d);
	}
}

int
registry_join(
    uint64_t dev, uint64_t ino, int fd, struct registry_entry **ret_entry)
{
	struct identity identity;
	struct registry_entry *entry;
	struct descriptor *d = os->malloc(sizeof *d);

	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
	memset(&identity, 0, sizeof identity);
	identity.dev = dev;
	identity.ino = ino;
	pthread_mutex_lock(&registry_lock);
	entry = d != NULL ? find_or_add(&identity) : NULL;
	if (entry != NULL) {
		d->fd = fd;
		d->next = entry->descriptors;
		entry->descriptors = d;
		entry->handles++;
	}
	pthread_mutex_unlock(&registry_lock);
	if (entry == NULL) {
		os->free(d);
		os->close(fd);
		return ENOMEM;
	}
	*ret_entry = entry;
	return 0;
}

void
registry_leave(struct registry_entry *entry, int fd)
{
	if (entry == NULL)
		return;
	pthread_mutex_lock(&registry_lock);
	assert(entry->handles > 0);
	if (--entry->handles == 0) {
		close_descriptors(entry, -1);
		HASH_DELETE(hh, entries, entry);
		os->free(entry);
	} else if (OS_LOCKS_OF_OPEN_FILE) {
		close_descriptors(entry, fd);
	}
	pthread_mutex_unlock(&registry_lock);
}

bool
registry_claim_writer(struct registry_entry *entry)
{
	bool claimed;

	pthread_mutex_lock(&registry_lock);
	claimed = !entry->writer;
	entry->writer = true;
	pthread_mutex_unlock(&registry_lock);
	return claimed;
}

bool
registry_has_writer(struct registry_entry *entry)
{
	bool has;

	pthread_mutex_lock(&registry_lock);
	has = entry->writer;
	pthread_mutex_unlock(&registry_lock);
	return has;
}

void
registry_set_nonce(struct registry_entry *entry, uint64_t nonce)
{
	pthread_mutex_lock(&registry_lock);
	entry->nonce = nonce;
	pthread_mutex_unlock(&registry_lock);
}

uint64_t
registry_nonce(struct registry_entry *entry)
{
	uint64_t nonce;

	pthread_mutex_lock(&registry_lock);
	nonce = entry->nonce;
	pthread_mutex_unlock(&registry_lock);
	return nonce;
}

void
registry_drop_writer(struct registry_entry *entry)
{
	pthread_mutex_lock(&registry_lock);
	entry->writer = false;
	pthread_mutex_unlock(&registry_lock);
}

void
registry_offer_writer(struct registry_entry *entry, struct store *store)
{
	pthread_mutex_lock(&registry_lock);
	entry->store = store;
	entry->sharers = 1;
	pthread_mutex_unlock(&registry_lock);
}

struct store *
registry_share_writer(struct registry_entry *entry)
{
	struct store *store;

	pthread_mutex_lock(&registry_lock);
	store = entry->store;
	if (store != NULL)
		entry->sharers++;
	pthread_mutex_unlock(&registry_lock);
	return store;
}

bool
registry_withdraw_writer(struct registry_entry *entry)
{
	bool last;

	pthread_mutex_lock(&registry_lock);
	last = --entry->sharers == 0;
	if (last)
		entry->store = NULL;
	pthread_mutex_unlock(&registry_lock);
	return last;
}
