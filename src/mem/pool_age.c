// SPDX-License-Identifier: MIT
//
// A pool's memory: one reservation of address space, committed as objects are made, and given back page by page.
//
//   objects | marks | free, gone and their summaries | pages | (trails, copies)        each from a page boundary on
//   ^ committed up to `committed` objects, doubling; a page of objects goes back when all objects on it are gone
//
//   not made --make--> out of the depot --exchange--> free --tick, tick--> gone --bring_back--> out of the depot
//
// Invariants
//   1. Objects before `made` are in `free`, in `gone`, or out of the depot (taken, or in a thread's cache).
//   2. pages[p] counts the objects of page p that are gone. PAGE_GONE: the system has the page, it reads as zeros.
//   3. While `purging` nothing leaves `gone`, so what all stands on a page is the ticker's alone.
//   4. Objects leave sets lowest address first and go highest address first: use gathers on few pages.
//
// Threads: whoever holds the pool's spinlock; the ticker, one at a time, gives pages back without it.
// Rejected: slabs from the heap (whether they reach the system is the heap's to decide, and one object holds 64 KiB);
// telling from a page fault (userfaultfd); MADV_FREE (it reads as either, and counts as resident until memory is
// short).
#include "mem/pool_int.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#ifdef TARE_ASAN
#include <sanitizer/lsan_interface.h>
#endif

enum {
	PAGE_GONE = 0x8000,
	COMMIT_BYTES_MIN = 64 * 1024,
	CHUNK = 128, // objects that go in one hold of the lock
	TRIM_BYTES_MIN = 1 << 20,
	// Of the pool in its reservation. Not where pages begin, as the areas do: a load is taken to depend on a store
	// before it to the same place of another page, and the first objects' marks are stored to in each take and
	// give.
	POOL_AT = 2048,
};

// ---- sets ---------------------------------------------------------------------------------------------------------

void mem_pool_set_add(struct mem_pool_set *set, uint64_t index)
{
	set->words[index / 64] |= UINT64_C(1) << index % 64;
	set->summary[index / 4096] |= UINT64_C(1) << index / 64 % 64;
	set->hint = TARE_MIN(set->hint, index / 4096);
	set->count++;
}

static void set_remove(struct mem_pool_set *set, uint64_t index)
{
	set->words[index / 64] &= ~(UINT64_C(1) << index % 64);
	if (set->words[index / 64] == 0)
		set->summary[index / 4096] &= ~(UINT64_C(1) << index / 64 % 64);
	set->count--;
}

uint64_t mem_pool_set_take_lowest(struct mem_pool_set *set)
{
	while (set->summary[set->hint] == 0)
		set->hint++;
	uint64_t word = set->hint * 64 + (unsigned)__builtin_ctzll(set->summary[set->hint]);
	uint64_t index = word * 64 + (unsigned)__builtin_ctzll(set->words[word]);
	set_remove(set, index);
	return index;
}

// The highest one below `end`, or UINT64_MAX.
static uint64_t set_highest_below(const struct mem_pool_set *set, uint64_t end)
{
	for (uint64_t at = end; at > 0;) {
		uint64_t last = at - 1, word = last / 64;
		uint64_t bits = set->words[word] & (UINT64_MAX >> (63 - last % 64));
		if (bits != 0)
			return word * 64 + 63 - (unsigned)__builtin_clzll(bits);
		at = set->summary[last / 4096] == 0 ? last / 4096 * 4096 : word * 64;
	}
	return UINT64_MAX;
}

// ---- the reservation ----------------------------------------------------------------------------------------------

static size_t area_bytes(const struct tare_pool *pool, unsigned area, uint64_t objects)
{
	uint64_t units = (objects + pool->areas[area].unit - 1) / pool->areas[area].unit;
	return (size_t)(units * pool->areas[area].each_bytes + pool->page_bytes - 1) & ~(pool->page_bytes - 1);
}

static void areas_plan(struct tare_pool *pool)
{
	bool checked = POOL_CHECKED && !pool->options.stable;
	// At most so many pages an object: one for each whole page that it has, and two.
	size_t pages = pool->stride / pool->page_bytes + 2;
	pool->areas[POOL_OBJECTS] = (struct mem_pool_area){NULL, pool->stride, 1};
	pool->areas[POOL_MARKS] = (struct mem_pool_area){NULL, (size_t)1 << pool->mark_shift, 1};
	pool->areas[POOL_FREE] = pool->areas[POOL_GONE] = (struct mem_pool_area){NULL, sizeof(uint64_t), 64};
	pool->areas[POOL_FREE_SUMMARY] = pool->areas[POOL_GONE_SUMMARY] =
	    (struct mem_pool_area){NULL, sizeof(uint64_t), 4096};
	pool->areas[POOL_PAGES] = (struct mem_pool_area){NULL, pages * sizeof(uint16_t), 1};
	pool->areas[POOL_TRAILS] = (struct mem_pool_area){NULL, POOL_CHECKED ? sizeof(struct mem_pool_trail) : 0, 1};
	pool->areas[POOL_COPIES] = (struct mem_pool_area){NULL, checked && pool->options.reset ? pool->stride : 0, 1};
}

struct tare_pool *mem_pool_reserve(const struct mem_pool_plan *plan)
{
	struct tare_pool sizes = {.options = plan->options,
				  .stride = plan->stride,
				  .page_bytes = plan->page_bytes,
				  .mark_shift = plan->mark_shift};
	size_t head = (POOL_AT + sizeof(struct tare_pool) + plan->page_bytes - 1) & ~(plan->page_bytes - 1),
	       bytes = head;
	areas_plan(&sizes);
	for (unsigned i = 0; i < POOL_AREAS; i++)
		bytes += area_bytes(&sizes, i, plan->objects_max);
	char *map = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	if (mprotect(map, head, PROT_READ | PROT_WRITE) < 0) {
		munmap(map, bytes);
		return NULL;
	}
	struct tare_pool *pool = (struct tare_pool *)(void *)(map + POOL_AT);
	pool->options = plan->options;
	pool->stride = plan->stride;
	pool->page_bytes = plan->page_bytes;
	pool->mark_shift = plan->mark_shift;
	pool->objects_max = plan->objects_max;
	pool->reserved_bytes = plan->objects_max * plan->stride;
	pool->map_bytes = bytes;
	memcpy(pool->areas, sizes.areas, sizeof pool->areas);
	map += head;
	for (unsigned i = 0; i < POOL_AREAS; i++) {
		pool->areas[i].base = map;
		map += area_bytes(pool, i, plan->objects_max);
	}
	pool->base = pool->areas[POOL_OBJECTS].base;
	pool->marks = pool->areas[POOL_MARKS].base;
	pool->free.words = (uint64_t *)(void *)pool->areas[POOL_FREE].base;
	pool->free.summary = (uint64_t *)(void *)pool->areas[POOL_FREE_SUMMARY].base;
	pool->gone.words = (uint64_t *)(void *)pool->areas[POOL_GONE].base;
	pool->gone.summary = (uint64_t *)(void *)pool->areas[POOL_GONE_SUMMARY].base;
	pool->pages = (uint16_t *)(void *)pool->areas[POOL_PAGES].base;
	pool->trails = (struct mem_pool_trail *)(void *)pool->areas[POOL_TRAILS].base;
	pool->copies = pool->areas[POOL_COPIES].each_bytes > 0 ? pool->areas[POOL_COPIES].base : NULL;
#ifdef TARE_ASAN
	__lsan_register_root_region(pool->base, pool->reserved_bytes); // what objects point to is not lost
#endif
	return pool;
}

void mem_pool_unreserve(struct tare_pool *pool)
{
#ifdef TARE_ASAN
	__lsan_unregister_root_region(pool->base, pool->reserved_bytes);
#endif
	munmap((char *)pool - POOL_AT, pool->map_bytes);
}

// Memory for at least `objects`. What is committed twice is not harmed, so a failure half way is made good by the next.
static int commit(struct tare_pool *pool, uint64_t objects)
{
	uint64_t least = TARE_MAX(COMMIT_BYTES_MIN / pool->stride, (uint64_t)1);
	uint64_t target = TARE_MAX(TARE_MAX(2 * pool->committed, least), objects);
	target = TARE_MIN(target, pool->objects_max);
	for (unsigned i = 0; i < POOL_AREAS; i++) {
		size_t before = area_bytes(pool, i, pool->committed), after = area_bytes(pool, i, target);
		if (after > before &&
		    mprotect(pool->areas[i].base + before, after - before, PROT_READ | PROT_WRITE) < 0)
			return -ENOMEM;
	}
	pool->committed = target;
	return 0;
}

// The pages that an object touches: [*ret_first, *ret_last].
static void pages_of(const struct tare_pool *pool, uint64_t index, uint64_t *ret_first, uint64_t *ret_last)
{
	*ret_first = index * pool->stride / pool->page_bytes;
	*ret_last = ((index + 1) * pool->stride - 1) / pool->page_bytes;
}

static void page_is_used(struct tare_pool *pool, uint64_t page)
{
	if ((pool->pages[page] & PAGE_GONE) == 0)
		return;
	pool->pages[page] = (uint16_t)(pool->pages[page] & ~PAGE_GONE);
	pool->pages_gone--;
}

unsigned mem_pool_make(struct tare_pool *pool, uint64_t *out, unsigned want)
{
	uint64_t made = atomic_load_explicit(&pool->made, memory_order_relaxed);
	unsigned n = (unsigned)TARE_MIN((uint64_t)want, pool->objects_max - made);
	if (n == 0 || (made + n > pool->committed && commit(pool, made + n) < 0))
		return 0;
	uint64_t first, last;
	pages_of(pool, made, &first, &last);
	page_is_used(pool, first); // its objects so far may all be gone
	for (unsigned i = 0; i < n; i++) {
		out[i] = made + i;
		mem_pool_check_made(pool, made + i);
	}
	// release: pairs with the acquire in tare_pool_each
	atomic_store_explicit(&pool->made, made + n, memory_order_release);
	return n;
}

unsigned mem_pool_bring_back(struct tare_pool *pool, uint64_t *out, unsigned want)
{
	unsigned n = (unsigned)TARE_MIN((uint64_t)want, pool->gone.count);
	for (unsigned i = 0; i < n; i++) {
		uint64_t index = out[i] = mem_pool_set_take_lowest(&pool->gone), first, last;
		size_t from = index * pool->stride, end = from + pool->options.object_bytes;
		mem_pool_check_open(pool, index);
		pages_of(pool, index, &first, &last);
		for (uint64_t page = first; page <= last; page++) {
			size_t low = TARE_MAX(from, page * pool->page_bytes);
			size_t high = TARE_MIN(end, (page + 1) * pool->page_bytes);
			pool->pages[page]--;
			// A page that the system had is zeros.
			if ((pool->pages[page] & PAGE_GONE) == 0 && low < high)
				memset(pool->base + low, 0, high - low);
			page_is_used(pool, page);
		}
		mem_pool_check_made(pool, index);
	}
	return n;
}

// ---- ageing -------------------------------------------------------------------------------------------------------

// Moves up to `count` free objects to those that are gone, the highest first: how many. Takers come in between.
static uint64_t objects_go(struct tare_pool *pool, uint64_t count, uint64_t end, uint64_t *ret_lowest)
{
	uint64_t went = 0, below = end;
	while (went < count && below > 0) {
		tare_spin_lock(&pool->spin);
		for (unsigned i = 0; i < CHUNK && went < count; i++, went++) {
			uint64_t index = set_highest_below(&pool->free, below), first, last;
			below = index == UINT64_MAX ? 0 : index;
			if (index == UINT64_MAX)
				break;
			mem_pool_check_free(pool, index);
			set_remove(&pool->free, index);
			mem_pool_set_add(&pool->gone, index);
			pages_of(pool, index, &first, &last);
			for (uint64_t page = first; page <= last; page++)
				pool->pages[page]++;
		}
		pool->free_low = TARE_MIN(pool->free_low, pool->free.count);
		tare_spin_unlock(&pool->spin);
	}
	*ret_lowest = below;
	return went;
}

static bool page_is_idle(const struct tare_pool *pool, uint64_t page)
{
	if ((pool->pages[page] & PAGE_GONE) != 0)
		return false;
	uint64_t first = mem_pool_index_at(pool, page * pool->page_bytes);
	uint64_t last = mem_pool_index_at(pool, (page + 1) * pool->page_bytes - 1);
	return pool->pages[page] == last - first + 1;
}

// Gives back the pages of [lowest, end) on which nothing stands: how many. Without the lock: see invariant 3. The page
// that `end` is in may have got objects meanwhile and is left alone.
static uint64_t pages_go(struct tare_pool *pool, uint64_t lowest, uint64_t end)
{
	uint64_t page = lowest * pool->stride / pool->page_bytes, stop = end * pool->stride / pool->page_bytes;
	uint64_t went = 0;
	while (page < stop) {
		uint64_t from = page;
		while (page < stop && page_is_idle(pool, page))
			page++;
		size_t bytes = (page - from) * pool->page_bytes;
		if (bytes > 0 && madvise(pool->base + from * pool->page_bytes, bytes, MADV_DONTNEED) == 0) {
			for (uint64_t i = from; i < page; i++)
				pool->pages[i] |= PAGE_GONE;
			went += page - from;
		}
		page++;
	}
	return went;
}

// Whether there is something to give back.
static bool tick(struct tare_pool *pool)
{
	tare_spin_lock(&pool->spin);
	uint64_t unused = pool->free_low;
	pool->due = TARE_MIN(unused, pool->victims);
	pool->victims = unused;
	pool->free_low = pool->free.count;
	pool->trim_due = !pool->overflowed && pool->overflow_freed >= TRIM_BYTES_MIN;
	pool->overflowed = false;
	bool due = pool->due > 0 || pool->trim_due;
	tare_spin_unlock(&pool->spin);
	return due;
}

// Returns the bytes that went. *heap: it has something to give back, too.
static uint64_t trim(struct tare_pool *pool, bool *heap)
{
	tare_spin_lock(&pool->spin);
	uint64_t go = TARE_MIN(pool->due, pool->free.count);
	uint64_t end = atomic_load_explicit(&pool->made, memory_order_relaxed);
	if (pool->trim_due)
		pool->overflow_freed = 0;
	*heap = *heap || pool->trim_due;
	pool->trim_due = false;
	pool->due = 0;
	pool->victims -= TARE_MIN(pool->victims, go);
	pool->purging = go > 0;
	tare_spin_unlock(&pool->spin);
	if (go == 0)
		return 0;
	uint64_t lowest, pages;
	(void)objects_go(pool, go, end, &lowest);
	pages = pages_go(pool, lowest, end);
	tare_spin_lock(&pool->spin);
	pool->pages_gone += pages;
	pool->purging = false;
	tare_spin_unlock(&pool->spin);
	return pages * pool->page_bytes;
}

// One thread at a time walks the list.
static atomic_bool busy;

bool tare_pools_tick(void)
{
	bool due = false;
	if (atomic_exchange_explicit(&busy, true, memory_order_acquire))
		return false;
	for (struct tare_pool *pool = mem_pool_next_pinned(NULL); pool != NULL; pool = mem_pool_next_pinned(pool))
		if (!pool->options.stable && tick(pool))
			due = true;
	atomic_store_explicit(&busy, false, memory_order_release); // pairs with the exchange
	return due;
}

uint64_t tare_pools_trim(void)
{
	uint64_t bytes = 0;
	bool heap = false;
	if (atomic_exchange_explicit(&busy, true, memory_order_acquire))
		return 0;
	for (struct tare_pool *pool = mem_pool_next_pinned(NULL); pool != NULL; pool = mem_pool_next_pinned(pool))
		if (!pool->options.stable)
			bytes += trim(pool, &heap);
#if defined(__GLIBC__)
	if (heap)
		(void)malloc_trim(0);
#endif
	atomic_store_explicit(&busy, false, memory_order_release); // pairs with the exchange
	return bytes;
}

uint64_t tare_pools_age(void)
{
	return tare_pools_tick() ? tare_pools_trim() : 0;
}
