// SPDX-License-Identifier: MIT
//
// pool: objects of one size, recycled: bounded, counted, aged, and watched for misuse.
//
// A thread takes and gives on a cache of its own (last in, first out: warm; first in, first out where misuse is looked
// for); caches exchange batches with a depot under a spinlock.
// A pool's objects stand in one reservation of address space, so a pointer says by itself whether it is the pool's, and
// each object is marked while it is taken: a second release, or one to another pool, ends the process with a message,
// in release builds too. Nothing here blocks beyond that spinlock and, where memory comes and goes, a call of the
// kernel's. NULL and -ENOMEM are ordinary results.
#ifndef TARE_POOL_H
#define TARE_POOL_H

#include <tare/base.h>

// ---- pools --------------------------------------------------------------------------------------------------------

// Taking and giving: from any thread. Making and freeing: nobody else may use the pool meanwhile. An object is zeroed
// when it is taken for the first time, and when its memory was given back to the system in between. Otherwise it is as
// reset left it; without reset its contents are anything, unless the pool is stable.
struct tare_pool;

struct tare_pool_options {
	const char *name; // of metrics and messages; outlives the pool
	size_t object_bytes;
	size_t alignment; // 0: of max_align_t
	// Objects in all, those that are free in another thread's cache too (it holds a sixteenth of the limit, from 2
	// to 64). 0: no limit.
	uint64_t limit;
	// Runs in give, before anybody else may have the object. Must not block, nor use this pool.
	void (*reset)(void *object);
	// Past the limit objects come from the heap and are freed when they are given; else take refuses.
	bool overflow;
	// A free object keeps its contents and its memory, so that a stale pointer can be told by a tag in it. Not with
	// overflow (asserted).
	bool stable;
	// Objects have handles, see below. Neither with overflow nor with passthrough (asserted).
	bool handles;
	// No recycling, for comparison: each take is a heap call (not zeroed), each give frees.
	bool passthrough;
};

struct tare_pool_stats {
	uint64_t hits;      // takes served by a cache or the depot
	uint64_t misses;    // takes that made new objects, several at once as a rule
	uint64_t overflows; // takes past the limit, served by the heap
	uint64_t refusals;  // takes that got NULL: the limit, or lack of memory
	uint64_t live;      // taken and not given back
	// The most that were live at once: never too low, exact with one thread; else too high by at most what the
	// other threads had in their caches.
	uint64_t peak;
	uint64_t overflow_live; // the heap's of those that are live
	uint64_t bytes;         // of objects' memory; what the system was given back is taken off
	uint64_t limit;         // 0: none
	uint64_t advice;        // the limit that the peak asks for: 115 % of it, rounded up
};

// -ENOMEM. object_bytes from 1 to 256 MiB, alignment a power of two of at most 4096 (asserted). Reserves address space
// for `limit` objects; without one for 64 GiB or 64 million objects, and less where the system refuses.
TARE_MUST_USE int tare_pool_new(struct tare_pool **ret, const struct tare_pool_options *options);
// Objects not yet given back die with it; those from the heap are lost. NULL is fine.
void tare_pool_free(struct tare_pool *pool);
// NULL: out of memory, or the limit is reached.
TARE_MUST_USE void *tare_pool_take(struct tare_pool *pool);
// The object must be this pool's and taken; not NULL. Runs the pool's reset.
void tare_pool_give(struct tare_pool *pool, void *object);
// Calls fn with every object ever made, whether it is taken or not, while others take and give: the object must say
// itself what it is. Ends, and returns false, when fn does. No lock is held: fn may block. For stable pools (asserted).
bool tare_pool_each(const struct tare_pool *pool, bool (*fn)(void *arg, void *object), void *arg);
void tare_pool_stats_read(const struct tare_pool *pool, struct tare_pool_stats *ret);
const char *tare_pool_name(const struct tare_pool *pool);

// Every pool that exists, in the order of their making: fills at most max rows and returns how many pools there are.
struct tare_pool_row {
	const char *name; // as its options have it
	struct tare_pool_stats stats;
};
size_t tare_pools_read(struct tare_pool_row *rows, size_t max);

// ---- ageing -------------------------------------------------------------------------------------------------------

// Memory that is unused goes back to the system. What stood unused in a depot over a whole tick is a victim; a victim
// that stood unused over another one is due. What was freed of overflows goes the same way. Pools have no thread of
// their own: in a runtime tare_memory_keeper (<tare/rt.h>) ticks each second. Stable pools, and what stands in threads'
// caches, are left alone.

// One tick: some nanoseconds a pool. True: something is due, to be given back by tare_pools_trim.
bool tare_pools_tick(void);
// Gives back what is due, milliseconds after a large burst: not on a worker. Returns the bytes of objects that went. Of
// two callers at a time, of this or the others here, the second does nothing.
uint64_t tare_pools_trim(void);
// Both. Where memory is short: twice in a row gives back all that is unused.
uint64_t tare_pools_age(void);

// ---- handles ------------------------------------------------------------------------------------------------------

// The name of a taken object, which its successors in the same memory don't share. A zeroed one is never valid; one
// whose object was given back is stale from then on, until 2^32 owners later. For pools with the option (asserted).
struct tare_handle {
	uint32_t index, generation;
};

// The object must be taken (asserted).
struct tare_handle tare_pool_handle(const struct tare_pool *pool, const void *object);
// -ESTALE: it was given back, or never was. That nobody gives it back while it is used is the caller's to see to.
TARE_MUST_USE int tare_pool_find(const struct tare_pool *pool, struct tare_handle handle, void **ret);

// ---- typed pools --------------------------------------------------------------------------------------------------

// TARE_POOL_TYPE(requests, struct request, request_reset); declares `struct requests`, a pool of struct request whose
// give always runs request_reset(struct request *), and these:
//
//   int requests_new(struct requests *ret, const struct tare_pool_options *options);
//   void requests_free(struct requests *pool);
//   struct request *requests_take(struct requests *pool);
//   void requests_give(struct requests *pool, struct request *object);
//   struct tare_handle requests_handle(const struct requests *pool, const struct request *object);
//   int requests_find(const struct requests *pool, struct tare_handle handle, struct request **ret);
//
// The type decides of the options' object_bytes and reset, and of the least alignment. A pool or an object of another
// type is refused by the compiler. `.pool` is the pool below, for its counts.
#define TARE_POOL_TYPE(pool_, type_, reset_)                                                                           \
	struct pool_ {                                                                                                 \
		struct tare_pool *pool;                                                                                \
	};                                                                                                             \
	TARE_POOL_FN static inline void pool_##_reset_object(void *object)                                             \
	{                                                                                                              \
		type_ *tare_typed = object;                                                                            \
		reset_(tare_typed);                                                                                    \
	}                                                                                                              \
	TARE_POOL_FN TARE_MUST_USE static inline int pool_##_new(struct pool_ *ret,                                    \
								 const struct tare_pool_options *options)              \
	{                                                                                                              \
		struct tare_pool_options tare_options = *options;                                                      \
		tare_options.object_bytes = sizeof(type_);                                                             \
		tare_options.alignment = TARE_MAX(options->alignment, alignof(type_));                                 \
		tare_options.reset = pool_##_reset_object;                                                             \
		return tare_pool_new(&ret->pool, &tare_options);                                                       \
	}                                                                                                              \
	TARE_POOL_FN static inline void pool_##_free(struct pool_ *pool)                                               \
	{                                                                                                              \
		tare_pool_free(pool->pool);                                                                            \
		pool->pool = NULL;                                                                                     \
	}                                                                                                              \
	TARE_POOL_FN TARE_MUST_USE static TARE_INLINE type_ *pool_##_take(struct pool_ *pool)                          \
	{                                                                                                              \
		return tare_pool_take(pool->pool);                                                                     \
	}                                                                                                              \
	TARE_POOL_FN static TARE_INLINE void pool_##_give(struct pool_ *pool, type_ *object)                           \
	{                                                                                                              \
		tare_pool_give(pool->pool, object);                                                                    \
	}                                                                                                              \
	TARE_POOL_FN static inline struct tare_handle pool_##_handle(const struct pool_ *pool, const type_ *object)    \
	{                                                                                                              \
		return tare_pool_handle(pool->pool, object);                                                           \
	}                                                                                                              \
	TARE_POOL_FN TARE_MUST_USE static inline int pool_##_find(const struct pool_ *pool, struct tare_handle handle, \
								  type_ **ret)                                         \
	{                                                                                                              \
		void *tare_object;                                                                                     \
		int tare_rc = tare_pool_find(pool->pool, handle, &tare_object);                                        \
		if (tare_rc == 0)                                                                                      \
			*ret = tare_object;                                                                            \
		return tare_rc;                                                                                        \
	}                                                                                                              \
	_Static_assert(sizeof(struct pool_) == sizeof(void *), "a pool's pointer")
#define TARE_POOL_FN __attribute__((unused)) // of the macro above

#endif
