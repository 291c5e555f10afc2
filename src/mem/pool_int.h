// SPDX-License-Identifier: MIT
//
// What the pool's files share: the pool itself, its sets of objects, and the checks of debug builds.
//
//   pool.c        making, taking, giving, counting
//   pool_age.c    what comes from the reservation, and goes back to the system
//   pool_check.c  misuse: what is found, and what is said of it
#ifndef TARE_MEM_POOL_INT_H
#define TARE_MEM_POOL_INT_H

#include <tare/heap.h>
#include <tare/pool.h>

// Builds that look for misuse: a free object is poisoned, and each remembers who took and gave it last.
#if defined(TARE_DEBUG) || defined(TARE_HARD)
#define POOL_CHECKED 1
#else
#define POOL_CHECKED 0
#endif

enum {
	POOL_CACHE_OBJECTS = 64,
	POOL_CACHES = TARE_SHARD_MAX, // [0] is nobody's; [n + 1] is of the thread with shard n
	POOL_OFFSET_BITS = 36,        // of a place in a reservation
	// What two threads write stands so far apart: processors fetch lines in pairs.
	POOL_LINES_APART = 2 * TARE_CACHE_LINE,
};

struct mem_pool_cache {
	// Written by the owner alone, read by anyone: relaxed.
	alignas(POOL_LINES_APART) atomic_uint count;
	atomic_uint low; // the least that count was since the owner last looked at the peak
	unsigned capacity;
	// One more, the last given: take and give in turn touch nothing else. Nobody's cache: never free, never to be
	// had.
	_Atomic(void *) slot;
	atomic_ullong takes, misses;
	void *objects[POOL_CACHE_OBJECTS];
};

// A set of objects by index; guarded by the pool's spinlock.
struct mem_pool_set {
	uint64_t *words;   // a bit an object
	uint64_t *summary; // a bit a word that is not 0
	uint64_t count;
	uint64_t hint; // no word of the summary before this one is set
};

// Who had an object last: return addresses. Only where POOL_CHECKED.
struct mem_pool_trail {
	void *taken_by, *given_by;
	bool poisoned;
};

// Memory by the object, in one reservation; committed as objects are made.
struct mem_pool_area {
	char *base;
	size_t each_bytes; // an object, times
	size_t unit;       // so many objects: 1, or 64 for bits, 4096 for summaries
};
enum {
	POOL_OBJECTS,
	POOL_MARKS,
	POOL_FREE,
	POOL_FREE_SUMMARY,
	POOL_GONE,
	POOL_GONE_SUMMARY,
	POOL_PAGES,
	POOL_TRAILS,
	POOL_COPIES,
	POOL_AREAS
};

// What is known of an object beside it. Marks are as far apart as it takes for a batch to fill two cache lines, so that
// two threads' objects seldom share one.
struct mem_pool_mark {
	atomic_uchar taken;
	atomic_uint generation; // how often it was given; with handles alone
};

// What a pool is made by.
struct mem_pool_plan {
	struct tare_pool_options options; // alignment is set
	size_t stride, page_bytes;
	uint64_t objects_max;
	unsigned cached, mark_shift;
};

struct tare_pool {
	// What take and give look at; never changes.
	alignas(TARE_CACHE_LINE) char *base;
	char *marks;              // of objects: struct mem_pool_mark or its beginning, each 1 << mark_shift bytes
	uint64_t mark_reciprocal; // bytes of marks a byte of objects, in units of 2^-64, rounded up
	uint64_t mark_error_end;  // what the rounding comes to at most, and no place but an object's begin below it
	size_t plain_bytes; // reserved_bytes; 0 where a give has more to do than to put it away: reset, handles, checks

	size_t reserved_bytes; // of objects, from base on
	size_t stride;
	uint64_t reciprocal; // of stride, in units of 2^-64, rounded up
	unsigned mark_shift;
	struct tare_pool_options options;
	struct tare_list link; // in the list of pools, guarded by its lock; so is:
	bool pinned;           // being aged: it may not go
	uint64_t objects_max;
	unsigned cache_objects, cache_batch; // the most in a cache; moved at once between it and the depot
	struct mem_pool_area areas[POOL_AREAS];
	size_t map_bytes;
	size_t page_bytes;
	uint16_t *pages;               // of a page: its objects that are in `gone`; PAGE_GONE
	struct mem_pool_trail *trails; // NULL, and so is copies, where they are not POOL_CHECKED
	char *copies;                  // of objects as reset left them, while they are poisoned

	alignas(TARE_CACHE_LINE) struct tare_spin spin; // guards what follows
	atomic_ullong made;                             // objects made: those before this index; read without the lock
	uint64_t committed;                             // objects that there is memory for
	struct mem_pool_set free;                       // the depot
	struct mem_pool_set gone;                       // free too, with no memory as far as pages go
	uint64_t pages_gone;
	uint64_t free_low;       // the least that free.count was since the last tick
	uint64_t victims;        // of those that are free: unused in the last tick
	uint64_t due;            // of those, what the last tick found unused twice
	bool trim_due;           // the last tick found that the heap has something to give back
	bool purging;            // a tick gives pages back: `gone` is not to be used
	unsigned peak_skipped;   // exchanges since the peak was looked at
	uint64_t out_high;       // the most that was out of the depot since then
	uint64_t peak;           // of live objects
	uint64_t overflow_live;  // from the heap
	uint64_t overflow_freed; // bytes, since the heap was last trimmed
	bool overflowed;         // since the last tick

	// Of slow paths, from any thread.
	atomic_ullong takes, misses, overflows, refusals, through_live, through_peak;

	struct mem_pool_cache caches[POOL_CACHES]; // pages come as threads use theirs
};

static inline uint64_t mem_pool_index_at(const struct tare_pool *pool, size_t offset)
{
	return (uint64_t)(((unsigned __int128)offset * pool->reciprocal) >> 64);
}

// Rounded down; the object is in the pool's reservation.
static inline uint64_t mem_pool_index(const struct tare_pool *pool, const void *object)
{
	return mem_pool_index_at(pool, (size_t)((const char *)object - pool->base));
}

static inline void *mem_pool_object(const struct tare_pool *pool, uint64_t index)
{
	return pool->base + index * pool->stride;
}

static inline struct mem_pool_mark *mem_pool_mark(const struct tare_pool *pool, uint64_t index)
{
	return (struct mem_pool_mark *)(void *)(pool->marks + (index << pool->mark_shift));
}

// The mark of the object that begins at a place. False: none does. The lower half of the product is how far the place
// is past a begin, and the rounding. Between marks without handles there are zeros: not taken either.
static inline bool mem_pool_mark_at(const struct tare_pool *pool, size_t offset, struct mem_pool_mark **ret)
{
	unsigned __int128 product = (unsigned __int128)offset * pool->mark_reciprocal;
	*ret = (struct mem_pool_mark *)(void *)(pool->marks + (uint64_t)(product >> 64));
	return (uint64_t)product < pool->mark_error_end;
}

static inline bool mem_pool_taken(const struct tare_pool *pool, uint64_t index)
{
	return atomic_load_explicit(&mem_pool_mark(pool, index)->taken, memory_order_relaxed) != 0;
}

// ---- pool_age.c ---------------------------------------------------------------------------------------------------

void mem_pool_set_add(struct mem_pool_set *set, uint64_t index);
// The one of the lowest address; the set is not empty.
uint64_t mem_pool_set_take_lowest(struct mem_pool_set *set);

// A pool with all its memory, for which only stride and some options matter; the rest of *plan is copied. NULL: the
// system does not give that much.
struct tare_pool *mem_pool_reserve(const struct mem_pool_plan *plan);
void mem_pool_unreserve(struct tare_pool *pool);
// Makes up to want objects: how many. With the lock held.
unsigned mem_pool_make(struct tare_pool *pool, uint64_t *out, unsigned want);
// Brings back up to want of the objects that went, zeroed. With the lock held, and not while purging.
unsigned mem_pool_bring_back(struct tare_pool *pool, uint64_t *out, unsigned want);

// The list of pools (pool.c): pins the pool behind one (NULL: the first), and lets go of that one. NULL at the end.
struct tare_pool *mem_pool_next_pinned(struct tare_pool *pool);

// ---- pool_check.c -------------------------------------------------------------------------------------------------

// What an object from the heap has before it.
struct mem_pool_overflow {
	struct tare_pool *pool;
	uintptr_t tag; // of its address; 0 once it is freed
};
uintptr_t mem_pool_overflow_tag(const struct mem_pool_overflow *head);

// Say what is wrong with an object that is given, and abort.
TARE_NORETURN void mem_pool_misused(const struct tare_pool *pool, const void *object, void *caller);
// The pool whose reservation a pointer points into, or NULL (pool.c).
const struct tare_pool *mem_pool_owner_of(const void *pointer);

#if POOL_CHECKED
// An object is new: nobody may touch it until it is taken.
void mem_pool_check_made(struct tare_pool *pool, uint64_t index);
void mem_pool_check_taken(struct tare_pool *pool, uint64_t index, void *caller);
void mem_pool_check_given(struct tare_pool *pool, uint64_t index, void *caller);
// Its memory is about to go to the system, or the pool with it.
void mem_pool_check_free(struct tare_pool *pool, uint64_t index);
// Before the pool itself writes into it.
void mem_pool_check_open(struct tare_pool *pool, uint64_t index);
// Of a pool that is about to go: what is free.
void mem_pool_check_done(struct tare_pool *pool);
#else
static inline void mem_pool_check_made(struct tare_pool *pool, uint64_t index)
{
	(void)pool, (void)index;
}
static inline void mem_pool_check_taken(struct tare_pool *pool, uint64_t index, void *caller)
{
	(void)pool, (void)index, (void)caller;
}
static inline void mem_pool_check_given(struct tare_pool *pool, uint64_t index, void *caller)
{
	(void)pool, (void)index, (void)caller;
}
static inline void mem_pool_check_free(struct tare_pool *pool, uint64_t index)
{
	(void)pool, (void)index;
}
static inline void mem_pool_check_open(struct tare_pool *pool, uint64_t index)
{
	(void)pool, (void)index;
}
static inline void mem_pool_check_done(struct tare_pool *pool)
{
	(void)pool;
}
#endif

#endif
