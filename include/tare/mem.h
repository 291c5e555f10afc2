// SPDX-License-Identifier: MIT
//
// mem: object pools. The counted heap below them is <tare/heap.h>, which comes with this header.
//
// Nothing here blocks beyond a spinlock of a few instructions. -ENOMEM and NULL are ordinary results.
#ifndef TARE_MEM_H
#define TARE_MEM_H

#include <tare/base.h>
#include <tare/heap.h>

// ---- pools --------------------------------------------------------------------------------------------------------

// Objects of one size, recycled. A thread takes and gives on a cache of its own (LIFO, warm); caches exchange batches
// with a shared depot under a spinlock. Memory comes from the heap in slabs and is kept until tare_pool_free: an
// object's memory stays an object of this pool for as long as the pool lives (type-stable), so a stale pointer can be
// told by a tag in it. An object taken for the first time is zeroed; afterwards it holds what its last owner left.
// Taking and giving: from any thread. Making and freeing: nobody else may use the pool meanwhile.
struct tare_pool;

struct tare_pool_options {
	const char *name; // of metrics; static storage
	size_t object_bytes;
	size_t alignment; // 0: of max_align_t
	uint64_t limit;   // objects in all, those free in another thread's cache (64 at most) too; 0: no limit
	bool passthrough; // no recycling, for comparison: each take is a heap call (not zeroed), each give frees
};

struct tare_pool_stats {
	uint64_t hits;      // takes served by a cache or the depot
	uint64_t misses;    // takes that cut a new object
	uint64_t overflows; // takes refused by the limit or by lack of memory
	uint64_t live;      // taken and not given back
	uint64_t bytes;     // held from the heap
};

// -ENOMEM. alignment is a power of two and object_bytes not 0 (asserted).
TARE_MUST_USE int tare_pool_new(struct tare_pool **ret, const struct tare_pool_options *options);
// Objects not yet given back die with it. NULL is fine.
void tare_pool_free(struct tare_pool *pool);
// NULL: out of memory, or the limit is reached.
TARE_MUST_USE void *tare_pool_take(struct tare_pool *pool);
// The object must be this pool's and taken; not NULL.
void tare_pool_give(struct tare_pool *pool, void *object);
// Calls fn with every object ever cut, whether it is taken or not, while others take and give: the object must say
// itself what it is (see type-stable above). Ends, and returns false, when fn does. No lock is held: fn may block. Not for
// pools with passthrough (asserted).
bool tare_pool_each(const struct tare_pool *pool, bool (*fn)(void *arg, void *object), void *arg);
void tare_pool_stats_read(const struct tare_pool *pool, struct tare_pool_stats *ret);
const char *tare_pool_name(const struct tare_pool *pool);

// Every pool that exists, in the order of their making: fills at most max rows and returns how many pools there are.
struct tare_pool_row {
	const char *name;
	struct tare_pool_stats stats;
};
size_t tare_pools_read(struct tare_pool_row *rows, size_t max);

#endif
