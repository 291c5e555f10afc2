// SPDX-License-Identifier: MIT
//
// Stacks counted: each stack that was seen, once, with two sums. For samplers that can't allocate: one is a signal
// handler.
//
//   map | slots: where in the rows a hash's stack is | rows: struct rt_stack_seen, one behind the other |
//
// The memory is one mapping, reserved whole and touched as it fills. When it is full, what is new is counted as lost
// and what is known goes on being counted, so a profile of any length takes no more.
//
// Threads: one writer at a time. A reader comes when the writer is done (rt_noter_end).
// Rejected: a log of samples (grows with the time, and somebody has to drain it).
#include "rt/rt_int.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

enum { SLOTS = 16384, FULL = SLOTS / 4 * 3, ROWS_BYTES = 4 << 20 };

struct map {
	uint32_t count;
	uint32_t slots[SLOTS]; // a row's place plus one
	alignas(struct rt_stack_seen) char rows[ROWS_BYTES];
};

int rt_tally_init(struct rt_tally *tally)
{
	void *map =
	    mmap(NULL, sizeof(struct map), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*tally = (struct rt_tally){.map = map};
	return 0;
}

void rt_tally_done(struct rt_tally *tally)
{
	if (tally->map != NULL)
		munmap(tally->map, sizeof(struct map));
	*tally = (struct rt_tally){.map = NULL};
}

static uint64_t hash_of(const uintptr_t *frames, int count, uint32_t kind, const char *label)
{
	uint64_t hash = ((uint64_t)(uintptr_t)label ^ kind) * UINT64_C(0x9e3779b97f4a7c15);
	for (int i = 0; i < count; i++) {
		hash = (hash ^ frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

static bool same(const struct rt_stack_seen *seen, const uintptr_t *frames, int count)
{
	if (seen->count != (uint32_t)count)
		return false;
	for (int i = 0; i < count; i++)
		if (seen->frames[i] != frames[i])
			return false;
	return true;
}

void rt_tally_add(struct rt_tally *tally, const uintptr_t *frames, int count, uint32_t kind, const char *label,
		  const double values[2])
{
	struct map *map = (struct map *)tally->map;
	uint64_t hash = hash_of(frames, count, kind, label);
	unsigned at = (unsigned)hash % SLOTS;
	struct rt_stack_seen *seen = NULL;
	for (; map->slots[at] != 0; at = (at + 1) % SLOTS) {
		seen = (struct rt_stack_seen *)(map->rows + map->slots[at] - 1);
		if (seen->hash == hash && seen->kind == kind && seen->label == label && same(seen, frames, count))
			break;
	}
	size_t bytes = sizeof *seen + (size_t)count * sizeof *frames;
	if (map->slots[at] == 0 && (map->count >= FULL || ROWS_BYTES - tally->used < bytes)) {
		for (int i = 0; i < 2; i++)
			tally->lost[i] += values[i];
		return;
	}
	if (map->slots[at] == 0) {
		seen = (struct rt_stack_seen *)(map->rows + tally->used);
		*seen = (struct rt_stack_seen){.hash = hash, .label = label, .kind = kind, .count = (uint32_t)count};
		for (int i = 0; i < count; i++)
			seen->frames[i] = frames[i];
		map->slots[at] = (uint32_t)tally->used + 1;
		map->count++;
		tally->used += bytes;
	}
	for (int i = 0; i < 2; i++)
		seen->values[i] += values[i];
}

const struct rt_stack_seen *rt_tally_next(const struct rt_tally *tally, const struct rt_stack_seen *after)
{
	const struct map *map = (const struct map *)tally->map;
	if (map == NULL)
		return NULL;
	const char *next = after != NULL ? (const char *)&after->frames[after->count] : map->rows;
	return next < map->rows + tally->used ? (const struct rt_stack_seen *)next : NULL;
}

void rt_noter_end(struct rt_noter *noter)
{
	atomic_store(&noter->on, false);
	// After on: whoever enters from here on sees it, and who was in before is waited for. A few microseconds,
	// unless the thread lost its CPU.
	while (atomic_load(&noter->busy)) {
		tare_cpu_relax();
		sched_yield();
	}
}
