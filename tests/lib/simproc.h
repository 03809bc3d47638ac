/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simproc.h - the half of the simulated machine that its processes make up,
 * as simos.c, simcalls.c and simmem.c share it.
 *
 * Every call of the table begins with ENTER(): it counts, advances the clock,
 * stops the victim if this is where it shall stop, and says whether the call
 * shall fail.  Then the call does its work on the disk (simdisk.h), all at
 * once.
 */
#ifndef SIMPROC_H
#define SIMPROC_H

#include "simdisk.h"

#include <setjmp.h>

#define FAULT_MAX 16
#define CLOCK_START_NS (UINT64_C(1700000000) * 1000000000u)

struct desc {
	bool is_open, writable, is_victim;
	uint32_t node;
};

struct lock {
	uint32_t desc; /* number of its descriptor */
	uint64_t byte;
	enum os_lock kind;
};

enum mutex_state { MUTEX_FREE, MUTEX_LOCKED, MUTEX_DEAD };

struct mutex {
	uint32_t node;
	uint64_t off;
	enum mutex_state state;
	bool is_victims;
};

struct mapping {
	uint8_t *addr;
	uint64_t len;
	bool writable, by_pwrite, is_victim;
	uint32_t node;
};

struct fault {
	enum simos_kind kind;
	uint64_t left; /* calls until it strikes, that one included */
	int error;
	bool sticky;
};

/* What a state holds besides the disk. */
struct world {
	uint64_t clock_ns;
	uint64_t wall_ns; /* so far, modulo 2^64, is the wall clock ahead */
	uint64_t boots;
	bool no_boot_id;
	struct rng random; /* what os->random gives */
	struct rng dice;   /* the machine's own choices */
	enum os_fs fs;
	uint32_t pid;
};

struct sim {
	struct disk disk;
	struct world world;
	uint64_t seed;
	bool shadow;
	FILE *trace;

	struct desc *descs;
	uint32_t desc_count, desc_cap;
	struct lock *locks;
	uint32_t lock_count, lock_cap;
	struct mutex *mutexes;
	uint32_t mutex_count, mutex_cap;
	struct mapping *maps;
	uint32_t map_count, map_cap;

	bool running, stopped_inside;
	jmp_buf stop;
	uint64_t stop_step;
	unsigned stop_inside;
	uint64_t steps;
	uint8_t *step_kinds;
	uint64_t step_cap;
	uint64_t counts[SIMOS_KIND_COUNT];
	struct fault faults[FAULT_MAX];
	uint32_t fault_count;
	void (*struck)(enum simos_kind kind);
};

extern struct sim sim;

extern const struct os_table os_sim;

struct sim_kind {
	const char *text;
	bool is_step, changes;
};
extern const struct sim_kind sim_kinds[];

/* What ENTER() is made of. */
void count_call(enum simos_kind kind);
void trace_call(enum simos_kind kind, const char *format, ...)
    ATTR_PRINTF(2, 3);
/* Stop here if it is time; len is of a call that can be half done. */
void maybe_stop(enum simos_kind kind, size_t len);
/* The error that an armed fault gives to this call, or 0. */
int strike(enum simos_kind kind);

/* The arguments after kind are printf's, and are evaluated for a trace only.
 * ENTER_LEN is for calls that can be stopped within, ENTER for the others. */
#define ENTER_LEN(kind, len, ...)                                              \
	(count_call(kind),                                                     \
	    sim.trace != NULL ? trace_call(kind, __VA_ARGS__) : (void)0,       \
	    maybe_stop(kind, len))
#define ENTER(kind, ...) (ENTER_LEN(kind, 0, __VA_ARGS__), strike(kind))

/* Whether the running step is the one to stop in, not before. */
bool stops_inside(size_t len);
_Noreturn void stop_victim(void);

/* In simcalls.c. */
int sim_resolve(const char *path, uint32_t *ret_node);
void desc_close(uint32_t desc);
void mapping_end(struct mapping *mapping);
void check_shadow(uint32_t node);

/* In simmem.c. */
void *sim_malloc(size_t size);
void *sim_calloc(size_t count, size_t size);
void *sim_realloc(void *p, size_t size);
void *sim_aligned(size_t align, size_t size);
void *sim_pages(size_t size);
void sim_free_pages(void *p, size_t size);
void sim_free(void *p);
void memory_init(void);
void memory_free_all(bool victims_only);
uint64_t memory_report(FILE *stream); /* prints and counts what is left */

/* A line about one thing that was left; stream may be NULL. */
void sim_report(FILE *stream, const char *format, ...) ATTR_PRINTF(2, 3);

static inline struct node *
node_at(uint32_t node)
{
	return &sim.disk.nodes[node];
}

static inline const char *
node_name(uint32_t node)
{
	return disk_name_text(node_at(node)->name);
}

#endif
