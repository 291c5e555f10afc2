// SPDX-License-Identifier: MIT
//
// Task stacks: one large reservation cut into slots, committed page by page as it is touched.
//
//   arena  | guard | usable stack ........ | guard | usable stack ........ | …
//            4 KiB   slot_bytes - 4 KiB
//                    ^ base               ^ top: the stack grows down from here
//
// Invariants
//   1. A slot is cut once, gets its guard then, and is never unmapped while the runtime runs.
//   2. A stack is in one place: under a task, a worker's spare one, in a worker's cache, or in the depot. A worker that
//      sleeps has no spare one, and one that does not shares it when somebody is starved of stacks (sched.c).
//   3. depot[0, clean) hold no pages; above them the warm ones, taken first. A worker that has nothing to do gives back
//      the pages of those past RT_WARM_STACKS, the oldest first.
//   4. A cached stack that ran deeper than WARM_BYTES gives that part back, sooner or later: every TRIM_EVERYth is
//      looked at.
//
// Guards are MADV_GUARD_INSTALL where the kernel has it (6.13): no mapping of its own a stack. Elsewhere PROT_NONE, and
// then the number of stacks is capped below half of vm.max_map_count, because each guard splits the mapping in two. A
// stack of a size of its own is mapped and unmapped by itself. Threads: any worker. Rejected: split stacks, copied
// stacks (pointers into them dangle), huge pages (a page a parked task).
#include "rt/rt_int.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) ((void)(low), (void)(high))
#endif
#ifdef TARE_ASAN
#include <sanitizer/asan_interface.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { GUARD_BYTES = 4096, WARM_BYTES = 16 * 1024, STACKS_MAX_DEFAULT = 1 << 20, STACK_BYTES_MIN = 16 * 1024 };
#ifdef TARE_HARD
enum { TRIM_EVERY = 1 };
#else
enum { TRIM_EVERY = 16 };
#endif
enum { MOVED = RT_STACK_CACHE / 2 };
enum { SPACE_SHARE = 4 };

static struct {
	char *arena;
	size_t arena_bytes, slot_bytes;
	uint32_t slots_max;
	bool guard_by_madvise;
	struct tare_spin spin; // guards what follows
	uint32_t slots_cut;
	struct rt_stack *depot; // room for every slot; pages come as they are used
	uint32_t depot_count, depot_clean;
	atomic_ullong trimmed_bytes; // ever given back: what was asked, some of it may never have been touched
} stacks;

static struct rt_stack stack_at(char *base)
{
	return (struct rt_stack){.base = base, .bytes = stacks.slot_bytes - GUARD_BYTES};
}

static size_t max_map_count(void)
{
	size_t count = 65530;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	if (file != NULL) {
		if (fscanf(file, "%zu", &count) != 1)
			count = 65530;
		fclose(file);
	}
	return count;
}

// Reserves as many slots as the address space gives, halving on refusal, but not below what little was asked for. Where
// it is limited others need some of it too.
static int arena_reserve(uint32_t slots, struct tare_error *err)
{
	const uint32_t least = TARE_MIN(slots, 64u);
	uint64_t most = tare_address_space() / SPACE_SHARE / stacks.slot_bytes;
	for (slots = (uint32_t)TARE_MAX(TARE_MIN((uint64_t)slots, most), (uint64_t)least); slots >= least; slots /= 2) {
		size_t bytes = (size_t)slots * stacks.slot_bytes;
		void *arena =
		    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (arena == MAP_FAILED)
			continue;
		(void)madvise(arena, bytes, MADV_NOHUGEPAGE); // a kernel without huge pages refuses, rightly
		stacks.arena = arena;
		stacks.arena_bytes = bytes;
		stacks.slots_max = slots;
		return 0;
	}
	return tare_error_set(err, -ENOMEM, "can't reserve address space for task stacks (raise RLIMIT_AS: ulimit -v)");
}

int rt_stacks_init(size_t stack_bytes, uint32_t stacks_max, struct tare_error *err)
{
	if (stack_bytes < STACK_BYTES_MIN || stack_bytes % GUARD_BYTES != 0)
		return tare_error_set(err, -EINVAL, "stack size of %zu bytes: must be a multiple of %d and at least %d",
				      stack_bytes, GUARD_BYTES, STACK_BYTES_MIN);
	memset(&stacks, 0, sizeof stacks);
	stacks.slot_bytes = stack_bytes;
	int rc = arena_reserve(stacks_max != 0 ? stacks_max : STACKS_MAX_DEFAULT, err);
	if (rc < 0)
		return rc;
	stacks.guard_by_madvise = madvise(stacks.arena, GUARD_BYTES, MADV_GUARD_INSTALL) == 0;
	if (!stacks.guard_by_madvise)
		stacks.slots_max = (uint32_t)TARE_MIN((size_t)stacks.slots_max, max_map_count() / 2 - 64);
	void *depot = mmap(NULL, stacks.slots_max * sizeof *stacks.depot, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (depot == MAP_FAILED) {
		munmap(stacks.arena, stacks.arena_bytes);
		return tare_error_set(err, -ENOMEM, "can't reserve the table of task stacks");
	}
	stacks.depot = depot;
	return 0;
}

void rt_stacks_done(void)
{
#ifdef TARE_ASAN
	// Of tasks that were dropped; the next runtime's stacks may come to stand here.
	ASAN_UNPOISON_MEMORY_REGION(stacks.arena, (size_t)stacks.slots_cut * stacks.slot_bytes);
#endif
	munmap(stacks.depot, stacks.slots_max * sizeof *stacks.depot);
	munmap(stacks.arena, stacks.arena_bytes);
	memset(&stacks, 0, sizeof stacks);
}

uint64_t rt_stacks_made(void)
{
	tare_spin_lock(&stacks.spin);
	uint64_t made = stacks.slots_cut;
	tare_spin_unlock(&stacks.spin);
	return made;
}

uint64_t rt_stacks_trimmed_bytes(void)
{
	return atomic_load_explicit(&stacks.trimmed_bytes, memory_order_relaxed);
}

uint64_t rt_stacks_cached(void)
{
	tare_spin_lock(&stacks.spin);
	uint64_t cached = stacks.depot_count;
	tare_spin_unlock(&stacks.spin);
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_stack_cache *cache = &rt.workers[i].stacks;
		tare_spin_lock(&cache->spin);
		cached += cache->count + (atomic_load_explicit(&cache->spare, memory_order_relaxed) != NULL);
		tare_spin_unlock(&cache->spin);
	}
	return cached;
}

static int slot_cut(struct rt_stack *ret)
{
	tare_spin_lock(&stacks.spin);
	bool some = stacks.slots_cut < stacks.slots_max;
	uint32_t slot = stacks.slots_cut;
	stacks.slots_cut += some;
	tare_spin_unlock(&stacks.spin);
	if (!some)
		return -ENOMEM;
	char *guard = stacks.arena + (size_t)slot * stacks.slot_bytes;
	int rc = stacks.guard_by_madvise ? madvise(guard, GUARD_BYTES, MADV_GUARD_INSTALL)
					 : mprotect(guard, GUARD_BYTES, PROT_NONE);
	if (rc != 0)
		return -ENOMEM; // the slot is lost; without a guard it must not be used
	*ret = stack_at(guard + GUARD_BYTES);
	(void)VALGRIND_STACK_REGISTER(ret->base, ret->base + ret->bytes);
	return 0;
}

static bool cache_pop(struct rt_stack_cache *cache, struct rt_stack *ret)
{
	tare_spin_lock(&cache->spin);
	bool some = cache->count > 0;
	if (some)
		*ret = cache->stacks[--cache->count];
	tare_spin_unlock(&cache->spin);
	return some;
}

static bool depot_pop(struct rt_stack *ret)
{
	tare_spin_lock(&stacks.spin);
	bool some = stacks.depot_count > 0;
	if (some) {
		*ret = stacks.depot[--stacks.depot_count];
		stacks.depot_clean = TARE_MIN(stacks.depot_clean, stacks.depot_count);
	}
	tare_spin_unlock(&stacks.spin);
	return some;
}

static int own_map(size_t bytes, struct rt_stack *ret)
{
	bytes = (bytes + GUARD_BYTES - 1) & ~(size_t)(GUARD_BYTES - 1);
	char *map =
	    mmap(NULL, bytes + GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(map, GUARD_BYTES, PROT_NONE) != 0) {
		munmap(map, bytes + GUARD_BYTES);
		return -ENOMEM;
	}
	*ret = (struct rt_stack){.base = map + GUARD_BYTES, .bytes = bytes};
	return 0;
}

TARE_NOIPA static int take_shared(struct rt_worker *worker, struct rt_stack *ret)
{
	if (cache_pop(&worker->stacks, ret) || depot_pop(ret) || slot_cut(ret) == 0)
		return 0;
	// The reservation is used up: what other workers keep warm is the last resort.
	for (int i = 0; i < rt.worker_count; i++)
		if (cache_pop(&rt.workers[i].stacks, ret))
			return 0;
	return -ENOMEM;
}

int rt_stack_take(struct rt_worker *worker, size_t bytes, struct rt_stack *ret)
{
	if (TARE_UNLIKELY(bytes != 0 && bytes != stacks.slot_bytes))
		return own_map(bytes, ret);
	char *spare = atomic_load_explicit(&worker->stacks.spare, memory_order_relaxed);
	if (TARE_UNLIKELY(spare == NULL))
		return take_shared(worker, ret);
	atomic_store_explicit(&worker->stacks.spare, NULL, memory_order_relaxed);
	*ret = stack_at(spare);
	return 0;
}

static void give_back(char *base, size_t bytes)
{
	if (madvise(base, bytes, MADV_DONTNEED) == 0)
		atomic_fetch_add_explicit(&stacks.trimmed_bytes, bytes, memory_order_relaxed);
}

// Gives back what ran deeper than the warm part. Whether it did is read off the last line of the warm part: a task that
// went deeper has almost surely left something there, and one that has not costs no more than its pages until it next
// runs deep.
TARE_NOIPA static void trim(char *base)
{
	size_t bytes = stacks.slot_bytes - GUARD_BYTES;
	if (bytes <= WARM_BYTES)
		return;
	const uint64_t *line = (const uint64_t *)(base + bytes - WARM_BYTES);
	uint64_t touched = 0;
	for (size_t i = 0; i < TARE_CACHE_LINE / sizeof *line; i++)
		touched |= line[i];
	if (TARE_UNLIKELY(touched != 0))
		give_back(base, bytes - WARM_BYTES + GUARD_BYTES);
}

// False: it is full.
static bool cache_push(struct rt_stack_cache *cache, const struct rt_stack *stack)
{
	tare_spin_lock(&cache->spin);
	bool room = cache->count < RT_STACK_CACHE;
	if (TARE_LIKELY(room))
		cache->stacks[cache->count++] = *stack;
	tare_spin_unlock(&cache->spin);
	return room;
}

// The oldest go, the warmest stay.
TARE_NOIPA static void cache_make_room(struct rt_stack_cache *cache)
{
	struct rt_stack moved[MOVED];
	tare_spin_lock(&cache->spin);
	bool full = cache->count == RT_STACK_CACHE; // others take, but only the owner gives
	if (full) {
		memcpy(moved, cache->stacks, sizeof moved);
		cache->count -= MOVED;
		memmove(cache->stacks, cache->stacks + MOVED, cache->count * sizeof cache->stacks[0]);
	}
	tare_spin_unlock(&cache->spin);
	if (!full)
		return;
	tare_spin_lock(&stacks.spin);
	memcpy(stacks.depot + stacks.depot_count, moved, sizeof moved);
	stacks.depot_count += MOVED;
	tare_spin_unlock(&stacks.spin);
}

TARE_NOIPA static void give_shared(struct rt_worker *worker, char *base)
{
	struct rt_stack given = stack_at(base);
	if (cache_push(&worker->stacks, &given))
		return;
	cache_make_room(&worker->stacks);
	(void)cache_push(&worker->stacks, &given);
}

bool rt_stack_give(struct rt_worker *worker, struct rt_stack *stack)
{
	struct rt_stack_cache *cache = &worker->stacks;
	char *base = stack->base;
	size_t bytes = stack->bytes;
#ifdef TARE_ASAN
	ASAN_UNPOISON_MEMORY_REGION(base, bytes);
#endif
	*stack = (struct rt_stack){NULL, 0};
	if (TARE_UNLIKELY((size_t)(base - stacks.arena) >= stacks.arena_bytes)) {
		munmap(base - GUARD_BYTES, bytes + GUARD_BYTES);
		return false;
	}
	if (++cache->given % TRIM_EVERY == 0)
		trim(base);
	bool spare = atomic_load_explicit(&cache->spare, memory_order_relaxed) == NULL;
	if (TARE_LIKELY(spare))
		atomic_store_explicit(&cache->spare, base, memory_order_relaxed);
	else
		give_shared(worker, base);
	return !spare;
}

bool rt_stack_share(struct rt_worker *worker)
{
	char *spare = atomic_load_explicit(&worker->stacks.spare, memory_order_relaxed);
	if (spare == NULL)
		return false;
	give_shared(worker, spare);
	atomic_store_explicit(&worker->stacks.spare, NULL, memory_order_relaxed);
	return true;
}

bool rt_stacks_trim(unsigned count, unsigned keep)
{
	for (; count > 0; count--) {
		tare_spin_lock(&stacks.spin);
		bool some = stacks.depot_count - stacks.depot_clean > keep;
		if (some) {
			const struct rt_stack *stack = &stacks.depot[stacks.depot_clean++];
			give_back(stack->base, stack->bytes); // the guard's marker stays
		}
		tare_spin_unlock(&stacks.spin);
		if (!some)
			return false;
	}
	return true;
}
