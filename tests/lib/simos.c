/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simos.c - the life of the simulated machine and of the victim: steps,
 * stops, faults, states.
 */
#include "config.h"

#include "registry.h"
#include "simproc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define STEP_NS 1000u /* what every call takes */

struct sim sim;

#if defined __SANITIZE_THREAD__
#define TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif

#if TSAN
/* A process that is stopped here leaves its mutexes locked for ever, and the
 * detector of deadlocks remembers no more than 64 of them. */
const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}
#endif

struct simos_state {
	struct disk disk;
	struct world world;
};

const struct sim_kind sim_kinds[] = {
#define KIND(name, text, is_step, changes) {text, is_step, changes},
    SIMOS_KINDS(KIND)
#undef KIND
};

const char *
simos_step_name(enum simos_kind kind)
{
	return sim_kinds[kind].text;
}

bool
simos_step_changes(enum simos_kind kind)
{
	return sim_kinds[kind].changes;
}

/* Steps. */

static void
note_step(enum simos_kind kind)
{
	sim.steps++;
	if (sim.steps >= sim.step_cap) {
		sim.step_cap = sim.step_cap * 2 + 1024;
		sim.step_kinds = disk_alloc(sim.step_kinds, sim.step_cap);
	}
	sim.step_kinds[sim.steps] = (uint8_t)kind;
}

_Noreturn void
stop_victim(void)
{
	if (sim.trace != NULL)
		(void)fprintf(sim.trace, "       stopped %s it\n",
		    sim.stopped_inside ? "within" : "before");
	longjmp(sim.stop, 1);
}

int
strike(enum simos_kind kind)
{
	int error = 0;

	for (uint32_t i = 0; i < sim.fault_count; i++) {
		struct fault *fault = &sim.faults[i];

		if (fault->kind != kind || fault->left == 0)
			continue;
		if (--fault->left > 0)
			continue;
		error = fault->error;
		if (fault->sticky)
			fault->left = 1;
	}
	if (error != 0 && sim.struck != NULL)
		sim.struck(kind);
	if (error != 0 && sim.trace != NULL)
		(void)fprintf(
		    sim.trace, "       made to fail: %s\n", strerror(error));
	return error;
}

void
trace_call(enum simos_kind kind, const char *format, ...)
{
	va_list args;

	if (sim.running && sim_kinds[kind].is_step)
		(void)fprintf(sim.trace, "%5" PRIu64 "  ", sim.steps);
	else
		(void)fprintf(sim.trace, "       ");
	(void)fprintf(sim.trace, "%s ", sim_kinds[kind].text);
	va_start(args, format);
	(void)vfprintf(sim.trace, format, args);
	va_end(args);
	(void)fputc('\n', sim.trace);
}

bool
stops_inside(size_t len)
{
	return sim.running && sim.steps == sim.stop_step &&
	       sim.stop_inside > 0 && len > 1;
}

void
count_call(enum simos_kind kind)
{
	sim.counts[kind]++;
	sim.world.clock_ns += STEP_NS;
	if (sim.running && sim_kinds[kind].is_step)
		note_step(kind);
}

void
maybe_stop(enum simos_kind kind, size_t len)
{
	if (sim.running && sim_kinds[kind].is_step &&
	    sim.steps == sim.stop_step && !stops_inside(len))
		stop_victim();
}

void
sim_report(FILE *stream, const char *format, ...)
{
	va_list args;

	if (stream == NULL)
		return;
	va_start(args, format);
	(void)fputs("simos: still ", stream);
	(void)vfprintf(stream, format, args);
	(void)fputc('\n', stream);
	va_end(args);
}

/* The life of the machine and of the victim. */

void
simos_init(uint64_t seed)
{
	memset(&sim, 0, sizeof sim);
	disk_init(&sim.disk);
	sim.seed = seed;
	sim.world.clock_ns = CLOCK_START_NS;
	sim.world.fs = OS_FS_PLAIN;
	sim.world.pid = 4711;
	rng_init(&sim.world.random, rng_mix(seed));
	rng_init(&sim.world.dice, rng_mix(~seed));
	memory_init();
	os = &os_sim;
}

/* End the victim, or everybody; whose memory is freed is always the
 * victim's. */
static void
end_processes(bool everybody)
{
	if (sim.running)
		disk_bug("the victim cannot end itself");
	for (uint32_t i = sim.map_count; i-- > 0;)
		if (everybody || sim.maps[i].is_victim)
			mapping_end(&sim.maps[i]);
	for (uint32_t i = sim.desc_count; i-- > 0;)
		if (sim.descs[i].is_open &&
		    (everybody || sim.descs[i].is_victim))
			desc_close(i);
	for (uint32_t i = 0; i < sim.mutex_count; i++)
		if (sim.mutexes[i].state == MUTEX_LOCKED &&
		    (everybody || sim.mutexes[i].is_victims))
			sim.mutexes[i].state = MUTEX_DEAD;
	memory_free_all(true);
	registry_forget();
}

void
simos_fini(void)
{
	end_processes(true);
	memory_free_all(false);
	disk_fini(&sim.disk);
	free(sim.descs);
	free(sim.locks);
	free(sim.mutexes);
	free(sim.maps);
	free(sim.step_kinds);
	memset(&sim, 0, sizeof sim);
	os = &os_real;
}

bool
simos_run(void (*fn)(void *arg), void *arg)
{
	if (sim.running)
		disk_bug("simos_run() within simos_run()");
	registry_forget(); /* the victim is a new process */
	sim.steps = 0;
	sim.stopped_inside = false;
	memset(sim.counts, 0, sizeof sim.counts);
	sim.running = true;
	if (setjmp(sim.stop) != 0) {
		sim.running = false;
		end_processes(false);
		return true;
	}
	fn(arg);
	sim.running = false;
	return false;
}

void
simos_stop_at(uint64_t step, unsigned inside)
{
	sim.stop_step = step;
	sim.stop_inside = inside;
}

bool
simos_stopped_inside(void)
{
	return sim.stopped_inside;
}

uint64_t
simos_steps(void)
{
	return sim.steps;
}

enum simos_kind
simos_step_kind(uint64_t step)
{
	assert(step >= 1 && step <= sim.steps);
	return (enum simos_kind)sim.step_kinds[step];
}

uint64_t
simos_count(enum simos_kind kind)
{
	return sim.counts[kind];
}

void
simos_trace(FILE *stream)
{
	sim.trace = stream;
}

void
simos_kill(void)
{
	end_processes(true);
}

void
simos_forget(void)
{
	memory_free_all(false);
}

uint64_t
simos_leaks(FILE *stream)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < sim.desc_count; i++) {
		if (!sim.descs[i].is_open)
			continue;
		sim_report(stream, "open: %s", node_name(sim.descs[i].node));
		count++;
	}
	for (uint32_t i = 0; i < sim.map_count; i++, count++)
		sim_report(stream, "mapped: %s", node_name(sim.maps[i].node));
	for (uint32_t i = 0; i < sim.lock_count; i++, count++)
		sim_report(stream, "locked: byte %" PRIu64, sim.locks[i].byte);
	return count + memory_report(stream);
}

void
simos_power_loss(enum simos_loss choice, uint64_t seed)
{
	struct rng rng;

	end_processes(true);
	rng_init(&rng, rng_mix(seed) ^ (uint64_t)choice);
	disk_power_loss(&sim.disk, choice, seed, &rng);
	sim.world.boots++;
	sim.mutex_count = 0;
}

uint64_t
simos_pending(void)
{
	return disk_pending(&sim.disk);
}

uint64_t
simos_subsets(void)
{
	return disk_subsets(&sim.disk);
}

struct simos_state *
simos_save(void)
{
	struct simos_state *state = disk_alloc(NULL, sizeof *state);

	disk_copy(&sim.disk, &state->disk);
	state->world = sim.world;
	return state;
}

void
simos_restore(const struct simos_state *state)
{
	end_processes(true);
	disk_release(&sim.disk);
	disk_copy(&state->disk, &sim.disk);
	sim.world = state->world;
	sim.mutex_count = 0;
	simos_fail_clear();
	simos_stop_at(0, 0);
}

void
simos_state_free(struct simos_state *state)
{
	if (state == NULL)
		return;
	disk_release(&state->disk);
	free(state);
}

uint64_t
simos_image_hash(void)
{
	return disk_hash(&sim.disk);
}

void
simos_fail(enum simos_kind kind, uint64_t nth, int error, bool sticky)
{
	if (sim.fault_count == FAULT_MAX)
		disk_bug("more than %d faults", FAULT_MAX);
	assert(nth > 0 && error != 0);
	sim.faults[sim.fault_count++] =
	    (struct fault){kind, nth, error, sticky};
}

void
simos_fail_clear(void)
{
	sim.fault_count = 0;
}

void
simos_on_fault(void (*struck)(enum simos_kind kind))
{
	sim.struck = struck;
}

void
simos_set_capacity(uint64_t bytes)
{
	sim.disk.capacity = bytes;
}

uint64_t
simos_used(void)
{
	return sim.disk.used;
}

void
simos_set_fs(enum os_fs fs)
{
	sim.world.fs = fs;
	sim.disk.cow = fs == OS_FS_COW;
}

void
simos_set_boot_id(bool on)
{
	sim.world.no_boot_id = !on;
}

void
simos_set_clock_ms(uint64_t ms)
{
	sim.world.wall_ns = ms * 1000000u - sim.world.clock_ns;
}

void
simos_set_pid(uint32_t pid)
{
	sim.world.pid = pid;
}

void
simos_set_shadow(bool on)
{
	if (sim.map_count > 0)
		disk_bug("shadows cannot begin while files are mapped");
	sim.shadow = on;
}

void
simos_check_shadow(void)
{
	for (uint32_t i = 0; i < sim.disk.node_count; i++)
		if (sim.disk.nodes[i].kind == NODE_FILE)
			check_shadow(i);
}

bool
simos_peek(const char *path, const uint8_t **ret_bytes, uint64_t *ret_size)
{
	uint32_t node;

	if (sim_resolve(path, &node) != 0 || node_at(node)->kind != NODE_FILE)
		return false;
	*ret_bytes = node_at(node)->cache->bytes;
	*ret_size = node_at(node)->cache->size;
	return true;
}

void
simos_poke(const char *path, uint64_t off, const void *src, size_t len)
{
	uint32_t at;
	struct node *node;

	if (sim_resolve(path, &at) != 0 || node_at(at)->kind != NODE_FILE)
		disk_bug("%s is no file", path);
	node = node_at(at);
	if (node->maps > 0)
		disk_bug("%s is mapped", path);
	if (off > node->cache->size || len > node->cache->size - off)
		disk_bug(
		    "%s has only %" PRIu64 " bytes", path, node->cache->size);
	if (len == 0)
		return;
	image_write(&node->cache, off, src, len);
	if (off < node->disk->size)
		image_write(&node->disk, off, src,
		    (size_t)min_u64(len, node->disk->size - off));
}
