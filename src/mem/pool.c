// SPDX-License-Identifier: MIT
//
// Object pools: a cache a thread over one depot, objects in one reservation (pool_age.c), the heap past a limit.
//
// Invariants
//   1. An object is in exactly one place: taken, in one thread's cache, in the depot, or gone (pool_age.c).
//   2. A cache belongs to the thread whose tare_shard() it is; only that thread touches its array. The last shard
//      number may be shared by threads, so it has no cache: those threads use the depot.
//   3. An object's mark says `taken` from take to give; only its owner changes it. So a second give shows.
//   4. Nothing is written into a free object of a stable pool: a stale pointer may still read its tag.
//   5. peak is never too low. Between two exchanges what is out of the depot is constant, and every cache held at least
//      its `low`; so when one of it is about to change, out - sum(low) is at least what was ever live since the last
//      time.
//
// Threads: take and give from any; the depot is under one spinlock, entered once a batch. Ranks: the list, then a pool.
// Cost: take and give in turn are some fifty instructions without a locked one, and none waits for a store of the one
// before but that of the object itself (hence `slot`). Invariant 3 is nine of them.
// Rejected: an intrusive free list (breaks 4); a lock-free stack (ABA, and the batch already makes the lock rare); a
// counter of what is live (an atomic that all threads write); a depot in order of use (what is used spreads over all
// pages that ever were, and none can be given back).
#include "mem/pool_int.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#if defined(TARE_HARD)
enum { CACHE_OBJECTS_MIN = 2, CACHE_OBJECTS_MAX = 2 }; // so that objects change hands, and the depot is seen
#else
enum { CACHE_OBJECTS_MIN = 4, CACHE_OBJECTS_MAX = POOL_CACHE_OBJECTS }; // a stock that is not there for others
#endif
enum {
	CACHE_BYTES_AIM = 64 * 1024,
	LIMITED_CACHES = 16, // a limited pool's caches hold this part of it
	OBJECT_BYTES_MAX = 1 << 28,
	SPACE_SHARE = 64,      // of limited address space that a pool without a limit may reserve: a part in so many
	OBJECTS_MAX = 1 << 26, // of a pool without a limit
	OBJECTS_MIN = 1024,    // it rather fails than does with fewer
	ALIGNMENT_MAX = 4096,
#ifdef TARE_ASAN
	GAP_BYTES = 32, // between objects, so that what runs over the end of one is seen
#else
	GAP_BYTES = 0,
#endif
};
#define NOT_TO_BE_HAD ((void *)1)

static struct tare_tag heap_tag = TARE_TAG("pools' overflows");

// Pools are made and freed rarely; this lock ranks before a pool's own.
static struct tare_spin pools_spin;
static struct tare_list pools = {&pools, &pools};

// ---- making -------------------------------------------------------------------------------------------------------

static struct mem_pool_plan pool_plan(const struct tare_pool_options *options)
{
	size_t alignment = options->alignment != 0 ? options->alignment : alignof(max_align_t);
	TARE_ASSERT((alignment & (alignment - 1)) == 0 && alignment <= ALIGNMENT_MAX);
	TARE_ASSERT(options->object_bytes > 0 && options->object_bytes <= OBJECT_BYTES_MAX);
	TARE_ASSERT(!(options->stable || options->handles) || !(options->overflow || options->passthrough));
	alignment = TARE_MAX(alignment, options->handles ? 2 * sizeof(struct mem_pool_mark) : sizeof(uint64_t));
	struct mem_pool_plan plan = {.options = *options, .page_bytes = (size_t)sysconf(_SC_PAGESIZE)};
	plan.options.alignment = alignment;
	plan.stride = (options->object_bytes + GAP_BYTES + alignment - 1) & ~(alignment - 1);
	uint64_t cached = TARE_MIN(CACHE_BYTES_AIM / plan.stride, (uint64_t)CACHE_OBJECTS_MAX);
	cached = TARE_MAX(cached, (uint64_t)CACHE_OBJECTS_MIN);
	if (options->limit != 0)
		cached = TARE_MIN(cached, TARE_MAX(options->limit / LIMITED_CACHES, (uint64_t)2));
	plan.cached = (unsigned)cached;
	plan.mark_shift = options->handles ? 3 : 0;
	while (((cached / 2) << plan.mark_shift) < POOL_LINES_APART && (size_t)4 << plan.mark_shift <= plan.stride)
		plan.mark_shift++;
	return plan;
}

static struct tare_pool *pool_reserve(struct mem_pool_plan *plan)
{
	struct tare_pool *pool = NULL;
	uint64_t limit = plan->options.passthrough ? 1 : plan->options.limit,
		 most = (UINT64_C(1) << POOL_OFFSET_BITS) / plan->stride;
	if (limit != 0) {
		plan->objects_max = limit;
		return limit <= most && limit <= UINT32_MAX ? mem_pool_reserve(plan) : NULL;
	}
	// What has no limit is halved until the system has room for it.
	uint64_t least = TARE_MIN((uint64_t)OBJECTS_MIN, most);
	plan->objects_max = TARE_MIN(most, (uint64_t)OBJECTS_MAX);
	plan->objects_max =
	    TARE_MAX(TARE_MIN(plan->objects_max, tare_address_space() / SPACE_SHARE / plan->stride), least);
	for (; pool == NULL && plan->objects_max >= least; plan->objects_max /= 2)
		pool = mem_pool_reserve(plan);
	return pool;
}

static void pool_init(struct tare_pool *pool, const struct mem_pool_plan *plan)
{
	const struct tare_pool_options *options = &pool->options;
	pool->reciprocal = UINT64_MAX / pool->stride + 1;
	pool->mark_reciprocal = pool->reciprocal << pool->mark_shift;
	pool->mark_error_end = UINT64_C(1) << (POOL_OFFSET_BITS + pool->mark_shift);
	pool->plain_bytes = POOL_CHECKED || options->reset != NULL || options->handles ? 0 : pool->reserved_bytes;
	pool->cache_objects = plan->cached - 1; // beside the slot
	pool->cache_batch = plan->cached / 2;
	atomic_store_explicit(&pool->caches[0].slot, NOT_TO_BE_HAD, memory_order_relaxed);
}

int tare_pool_new(struct tare_pool **ret, const struct tare_pool_options *options)
{
	struct mem_pool_plan plan = pool_plan(options);
	struct tare_pool *pool = pool_reserve(&plan);
	if (pool == NULL)
		return -ENOMEM;
	pool_init(pool, &plan);
	tare_spin_lock(&pools_spin);
	tare_list_push_back(&pools, &pool->link);
	tare_spin_unlock(&pools_spin);
	*ret = pool;
	return 0;
}

void tare_pool_free(struct tare_pool *pool)
{
	if (pool == NULL)
		return;
	tare_spin_lock(&pools_spin);
	while (pool->pinned) {
		tare_spin_unlock(&pools_spin);
		tare_cpu_relax();
		sched_yield();
		tare_spin_lock(&pools_spin);
	}
	tare_list_remove(&pool->link);
	tare_spin_unlock(&pools_spin);
	mem_pool_check_done(pool);
	mem_pool_unreserve(pool);
}

struct tare_pool *mem_pool_next_pinned(struct tare_pool *pool)
{
	tare_spin_lock(&pools_spin);
	struct tare_list *next = pool != NULL ? pool->link.next : pools.next;
	if (pool != NULL)
		pool->pinned = false;
	struct tare_pool *found = next != &pools ? TARE_CONTAINER_OF(next, struct tare_pool, link) : NULL;
	if (found != NULL)
		found->pinned = true;
	tare_spin_unlock(&pools_spin);
	return found;
}

const struct tare_pool *mem_pool_owner_of(const void *pointer)
{
	const struct tare_pool *found = NULL;
	tare_spin_lock(&pools_spin);
	for (const struct tare_list *node = pools.next; node != &pools && found == NULL; node = node->next) {
		const struct tare_pool *pool = TARE_CONTAINER_OF(node, struct tare_pool, link);
		if ((size_t)((const char *)pointer - pool->base) < pool->reserved_bytes)
			found = pool;
	}
	tare_spin_unlock(&pools_spin);
	return found;
}

// ---- the depot ----------------------------------------------------------------------------------------------------

// Where the calling thread's cache is in a pool. Nobody's until it is known.
static _Thread_local size_t cache_offset __attribute__((tls_model("initial-exec"))) =
    offsetof(struct tare_pool, caches);
// No cache from this one on was ever used, of any pool.
static atomic_uint caches_seen = 1;

// The functions that use it are not inlined, and switch no tasks once they have.
static inline struct mem_pool_cache *cache_here(struct tare_pool *pool)
{
#ifdef TARE_SIM
	unsigned at = tare_shard() + 1;
	return &pool->caches[at < POOL_CACHES ? at : 0];
#else
	return (struct mem_pool_cache *)(void *)((char *)pool + cache_offset);
#endif
}

// What a thread does on its way out, after its number was given back, goes to the depot.
static void cache_forget(void)
{
	cache_offset = offsetof(struct tare_pool, caches);
}

// The same, once it is known and ready for use; NULL: this thread has none.
static struct mem_pool_cache *cache_ready(struct tare_pool *pool)
{
	unsigned at = tare_shard() + 1, seen = atomic_load_explicit(&caches_seen, memory_order_relaxed);
	if (at >= POOL_CACHES)
		return NULL;
	while (seen <= at && !TARE_CAS(&caches_seen, &seen, at + 1))
		continue;
	tare_shard_on_end(cache_forget);
	cache_offset = offsetof(struct tare_pool, caches) + at * sizeof *pool->caches;
	struct mem_pool_cache *cache = &pool->caches[at];
	cache->capacity = pool->cache_objects;
	return cache;
}

static unsigned caches_used(void)
{
#ifdef TARE_SIM
	return POOL_CACHES;
#else
	return atomic_load_explicit(&caches_seen, memory_order_relaxed);
#endif
}

// What is out of the depot: live, or in a cache. With the lock held, as what follows.
static uint64_t pool_out(const struct tare_pool *pool)
{
	return atomic_load_explicit(&pool->made, memory_order_relaxed) - pool->free.count - pool->gone.count +
	       pool->overflow_live;
}

static void peak_look(struct tare_pool *pool)
{
	uint64_t low = 0;
	for (unsigned i = 1; i < caches_used(); i++)
		low += atomic_load_explicit(&pool->caches[i].low, memory_order_relaxed);
	uint64_t high = TARE_MAX(pool->out_high, pool_out(pool));
	pool->peak = TARE_MAX(pool->peak, high > low ? high - low : 0);
	pool->out_high = 0;
	pool->peak_skipped = 0;
}

// Before `out` changes. True: the caller's `low` may start anew. A look reads a line of each cache, so it is only had
// once in so many exchanges that this makes four lines an exchange; until then the figure is not as sharp.
static bool peak_before(struct tare_pool *pool)
{
	pool->out_high = TARE_MAX(pool->out_high, pool_out(pool));
	if (pool->out_high <= pool->peak) {
		pool->out_high = 0;
		pool->peak_skipped = 0;
		return true;
	}
	if (++pool->peak_skipped < caches_used() / 4)
		return false;
	peak_look(pool);
	return true;
}

static void depot_put(struct tare_pool *pool, void *const *objects, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		mem_pool_set_add(&pool->free, mem_pool_index(pool, objects[i]));
}

// Up to want objects, the lowest address last. *ret_new: they were made for it.
static unsigned depot_get(struct tare_pool *pool, void **out, unsigned want, bool *ret_new)
{
	uint64_t indexes[POOL_CACHE_OBJECTS];
	unsigned n = 0;
	while (n < want && pool->free.count > 0)
		indexes[n++] = mem_pool_set_take_lowest(&pool->free);
	pool->free_low = TARE_MIN(pool->free_low, pool->free.count);
	*ret_new = n == 0;
	if (n == 0 && !pool->purging)
		n = mem_pool_bring_back(pool, indexes, want);
	if (n == 0)
		n = mem_pool_make(pool, indexes, want);
	for (unsigned i = 0; i < n; i++)
		out[n - 1 - i] = mem_pool_object(pool, indexes[i]);
	return n;
}

// ---- taking -------------------------------------------------------------------------------------------------------

static inline void *taken(struct tare_pool *pool, void *object, void *caller)
{
	struct mem_pool_mark *mark;
	(void)mem_pool_mark_at(pool, (size_t)((char *)object - pool->base), &mark);
	if (POOL_CHECKED)
		mem_pool_check_taken(pool, mem_pool_index(pool, object), caller);
	atomic_store_explicit(&mark->taken, 1, memory_order_relaxed);
	return object;
}

static void *refuse(struct tare_pool *pool)
{
	atomic_fetch_add_explicit(&pool->refusals, 1, memory_order_relaxed);
	return NULL;
}

static size_t overflow_head_bytes(const struct tare_pool *pool)
{
	return TARE_MAX(sizeof(struct mem_pool_overflow), pool->options.alignment);
}

// An alignment that is malloc's costs nothing more.
static void *heap_take(const struct tare_pool *pool, size_t bytes)
{
	return pool->options.alignment <= alignof(max_align_t)
		   ? tare_alloc(&heap_tag, bytes)
		   : tare_alloc_aligned(&heap_tag, pool->options.alignment, bytes);
}

static void *take_overflow(struct tare_pool *pool)
{
	size_t head_bytes = overflow_head_bytes(pool), bytes = head_bytes + pool->options.object_bytes;
	char *block = heap_take(pool, bytes);
	if (block == NULL)
		return refuse(pool);
	memset(block, 0, bytes);
	void *object = block + head_bytes;
	struct mem_pool_overflow *head = (struct mem_pool_overflow *)object - 1;
	*head = (struct mem_pool_overflow){.pool = pool, .tag = mem_pool_overflow_tag(head)};
	tare_spin_lock(&pool->spin);
	(void)peak_before(pool);
	pool->overflow_live++;
	pool->overflowed = true;
	tare_spin_unlock(&pool->spin);
	atomic_fetch_add_explicit(&pool->overflows, 1, memory_order_relaxed);
	return object;
}

static void *take_through(struct tare_pool *pool)
{
	void *object = heap_take(pool, pool->options.object_bytes);
	if (object == NULL)
		return refuse(pool);
	atomic_fetch_add_explicit(&pool->takes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->misses, 1, memory_order_relaxed);
	unsigned long long live = atomic_fetch_add_explicit(&pool->through_live, 1, memory_order_relaxed) + 1;
	unsigned long long peak = atomic_load_explicit(&pool->through_peak, memory_order_relaxed);
	while (live > peak && !TARE_CAS(&pool->through_peak, &peak, live))
		continue;
	return object;
}

// A batch for the cache and one of it for the caller; NULL: there is none.
static void *take_from_depot(struct tare_pool *pool, struct mem_pool_cache *cache)
{
	void *objects[POOL_CACHE_OBJECTS];
	bool is_new, anew, again;
	unsigned n;
	do {
		tare_spin_lock(&pool->spin);
		anew = peak_before(pool);
		n = depot_get(pool, objects, cache != NULL ? pool->cache_batch : 1, &is_new);
		if (cache != NULL && n > 0) {
			atomic_store_explicit(&cache->count, n - 1, memory_order_relaxed);
			if (anew)
				atomic_store_explicit(&cache->low, n - 1, memory_order_relaxed);
		}
		again = n == 0 && pool->purging; // what is going may be had again in a moment
		tare_spin_unlock(&pool->spin);
		if (again)
			tare_cpu_relax();
	} while (again);
	if (n == 0)
		return NULL;
	if (cache == NULL) {
		atomic_fetch_add_explicit(&pool->takes, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&pool->misses, is_new, memory_order_relaxed);
		return objects[0];
	}
	memcpy(cache->objects, objects, (n - 1) * sizeof *objects);
	tare_bump(&cache->takes, 1);
	tare_bump(&cache->misses, is_new);
	return objects[n - 1];
}

// In builds that look for misuse a cache hands out what was given first, so that an object rests, poisoned, behind the
// others: who still uses it is caught, and does not share it with the next owner. NULL: there are none but the slot's.
static void *cache_pop_first(struct mem_pool_cache *cache)
{
	unsigned count = atomic_load_explicit(&cache->count, memory_order_relaxed);
	if (count == 0)
		return NULL;
	void *first = cache->objects[0], *last = atomic_load_explicit(&cache->slot, memory_order_relaxed);
	count--;
	memmove(cache->objects, cache->objects + 1, count * sizeof *cache->objects);
	if (last != NULL) {
		cache->objects[count++] = last;
		atomic_store_explicit(&cache->slot, NULL, memory_order_relaxed);
	}
	atomic_store_explicit(&cache->count, count, memory_order_relaxed);
	if (count < atomic_load_explicit(&cache->low, memory_order_relaxed))
		atomic_store_explicit(&cache->low, count, memory_order_relaxed);
	tare_bump(&cache->takes, 1);
	return first;
}

// NULL: it is empty. The slot comes first, so after a take it is empty, and `low` need not count it.
static inline void *cache_pop(struct mem_pool_cache *cache)
{
	void *object = POOL_CHECKED ? cache_pop_first(cache) : NULL;
	if (object != NULL)
		return object;
	object = atomic_load_explicit(&cache->slot, memory_order_relaxed);
	if (TARE_LIKELY((uintptr_t)object > (uintptr_t)NOT_TO_BE_HAD)) {
		atomic_store_explicit(&cache->slot, NULL, memory_order_relaxed);
		tare_bump(&cache->takes, 1);
		return object;
	}
	unsigned count = atomic_load_explicit(&cache->count, memory_order_relaxed);
	if (count == 0)
		return NULL;
	count--;
	atomic_store_explicit(&cache->count, count, memory_order_relaxed);
	if (count < atomic_load_explicit(&cache->low, memory_order_relaxed))
		atomic_store_explicit(&cache->low, count, memory_order_relaxed);
	tare_bump(&cache->takes, 1);
	return cache->objects[count];
}

// False: it is full.
static inline bool cache_push(struct mem_pool_cache *cache, void *object)
{
	if (TARE_LIKELY(atomic_load_explicit(&cache->slot, memory_order_relaxed) == NULL)) {
		atomic_store_explicit(&cache->slot, object, memory_order_relaxed);
		return true;
	}
	unsigned count = atomic_load_explicit(&cache->count, memory_order_relaxed);
	if (TARE_UNLIKELY(count >= cache->capacity))
		return false;
	if (POOL_CHECKED) // in the order of giving, for cache_pop_first: the slot's is the last
		object = atomic_exchange_explicit(&cache->slot, object, memory_order_relaxed);
	cache->objects[count] = object;
	atomic_store_explicit(&cache->count, count + 1, memory_order_relaxed);
	return true;
}

// From any thread.
static unsigned cache_held(const struct mem_pool_cache *cache)
{
	return atomic_load_explicit(&cache->count, memory_order_relaxed) +
	       (atomic_load_explicit(&cache->slot, memory_order_relaxed) != NULL);
}

TARE_NOIPA static void *take_slow(struct tare_pool *pool, void *caller)
{
	if (pool->options.passthrough)
		return take_through(pool);
	struct mem_pool_cache *cache = cache_ready(pool);
	void *object = cache != NULL ? cache_pop(cache) : NULL; // an earlier thread of that number may have left some
	if (object == NULL)
		object = take_from_depot(pool, cache);
	if (object != NULL)
		return taken(pool, object, caller);
	return pool->options.overflow ? take_overflow(pool) : refuse(pool);
}

TARE_NOIPA void *tare_pool_take(struct tare_pool *pool)
{
	void *object = cache_pop(cache_here(pool));
	if (TARE_UNLIKELY(object == NULL))
		return take_slow(pool, __builtin_return_address(0));
	return taken(pool, object, __builtin_return_address(0));
}

// ---- giving -------------------------------------------------------------------------------------------------------

// What is not of the reservation: the heap's, or a mistake.
TARE_NOIPA static void give_foreign(struct tare_pool *pool, void *object, void *caller)
{
	struct mem_pool_overflow *head = (struct mem_pool_overflow *)object - 1;
	if (!pool->options.passthrough &&
	    (!pool->options.overflow || (POOL_CHECKED && mem_pool_owner_of(object) != NULL) ||
	     head->tag != mem_pool_overflow_tag(head) || head->pool != pool))
		mem_pool_misused(pool, object, caller);
	if (pool->options.reset != NULL)
		pool->options.reset(object);
	if (pool->options.passthrough) {
		atomic_fetch_sub_explicit(&pool->through_live, 1, memory_order_relaxed);
		tare_free(object);
		return;
	}
	size_t head_bytes = overflow_head_bytes(pool);
	head->tag = 0;
	tare_spin_lock(&pool->spin);
	(void)peak_before(pool);
	pool->overflow_live--;
	pool->overflow_freed += head_bytes + pool->options.object_bytes;
	tare_spin_unlock(&pool->spin);
	tare_free((char *)object - head_bytes);
}

// The cache is not known yet, or full: then its older half goes to the depot, and the warm one stays.
TARE_NOIPA static void give_slow(struct tare_pool *pool, void *object)
{
	struct mem_pool_cache *cache = cache_ready(pool);
	if (cache == NULL) {
		tare_spin_lock(&pool->spin);
		(void)peak_before(pool);
		depot_put(pool, &object, 1);
		tare_spin_unlock(&pool->spin);
		return;
	}
	unsigned count = atomic_load_explicit(&cache->count, memory_order_relaxed), batch = pool->cache_batch;
	if (count == cache->capacity) {
		batch = TARE_MIN(batch, count);
		count -= batch;
		tare_spin_lock(&pool->spin);
		bool anew = peak_before(pool);
		atomic_store_explicit(&cache->count, count, memory_order_relaxed);
		if (anew || atomic_load_explicit(&cache->low, memory_order_relaxed) > count)
			atomic_store_explicit(&cache->low, count, memory_order_relaxed);
		depot_put(pool, cache->objects, batch);
		tare_spin_unlock(&pool->spin);
		memmove(cache->objects, &cache->objects[batch], count * sizeof *cache->objects);
	}
	(void)cache_push(cache, object); // has room now
}

// What is not of the reservation, and where there is more to do.
TARE_NOIPA static void give_careful(struct tare_pool *pool, void *object, void *caller)
{
	size_t offset = (size_t)((char *)object - pool->base);
	struct mem_pool_mark *mark;
	if (offset >= pool->reserved_bytes || pool->options.passthrough) {
		give_foreign(pool, object, caller);
		return;
	}
	uint64_t index = mem_pool_index_at(pool, offset);
	if (!mem_pool_mark_at(pool, offset, &mark) || mark != mem_pool_mark(pool, index) ||
	    !mem_pool_taken(pool, index))
		mem_pool_misused(pool, object, caller);
	if (pool->options.reset != NULL)
		pool->options.reset(object);
	mem_pool_check_given(pool, index, caller);
	if (pool->options.handles) { // release: pairs with the acquire in tare_pool_find
		unsigned next = atomic_load_explicit(&mark->generation, memory_order_relaxed) + 1;
		atomic_store_explicit(&mark->generation, next, memory_order_release);
	}
	atomic_store_explicit(&mark->taken, 0, memory_order_relaxed);
	if (!cache_push(cache_here(pool), object))
		give_slow(pool, object);
}

TARE_NOIPA void tare_pool_give(struct tare_pool *pool, void *object)
{
	size_t offset = (size_t)((char *)object - pool->base);
	struct mem_pool_mark *mark;
	if (TARE_UNLIKELY(offset >= pool->plain_bytes)) {
		give_careful(pool, object, __builtin_return_address(0));
		return;
	}
	if (TARE_UNLIKELY(!mem_pool_mark_at(pool, offset, &mark) ||
			  atomic_load_explicit(&mark->taken, memory_order_relaxed) == 0))
		mem_pool_misused(pool, object, __builtin_return_address(0));
	atomic_store_explicit(&mark->taken, 0, memory_order_relaxed);
	if (TARE_UNLIKELY(!cache_push(cache_here(pool), object)))
		give_slow(pool, object);
}

// ---- looking on ---------------------------------------------------------------------------------------------------

bool tare_pool_each(const struct tare_pool *pool, bool (*fn)(void *arg, void *object), void *arg)
{
	TARE_ASSERT(pool->options.stable);
	uint64_t made = atomic_load_explicit(&pool->made, memory_order_acquire);
	for (uint64_t i = 0; i < made; i++)
		if (!fn(arg, mem_pool_object(pool, i)))
			return false;
	return true;
}

struct tare_handle tare_pool_handle(const struct tare_pool *pool, const void *object)
{
	size_t offset = (size_t)((const char *)object - pool->base);
	TARE_ASSERT(pool->options.handles && offset < pool->reserved_bytes);
	uint64_t index = mem_pool_index_at(pool, offset);
	TARE_ASSERT(mem_pool_taken(pool, index));
	unsigned generation = atomic_load_explicit(&mem_pool_mark(pool, index)->generation, memory_order_relaxed);
	return (struct tare_handle){.index = (uint32_t)index, .generation = generation + 1};
}

int tare_pool_find(const struct tare_pool *pool, struct tare_handle handle, void **ret)
{
	TARE_ASSERT(pool->options.handles);
	if (handle.generation == 0 || handle.index >= atomic_load_explicit(&pool->made, memory_order_acquire))
		return -ESTALE;
	// acquire: pairs with the release of the give that changed it
	atomic_uint *generation = &mem_pool_mark(pool, handle.index)->generation;
	if (atomic_load_explicit(generation, memory_order_acquire) != handle.generation - 1)
		return -ESTALE;
	*ret = mem_pool_object(pool, handle.index);
	return 0;
}

static uint64_t relaxed(const atomic_ullong *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void tare_pool_stats_read(const struct tare_pool *pool, struct tare_pool_stats *ret)
{
	struct tare_pool *p = (struct tare_pool *)pool; // for its lock, and the peak
	uint64_t takes = relaxed(&p->takes), misses = relaxed(&p->misses), cached = 0;
	tare_spin_lock(&p->spin);
	peak_look(p);
	for (unsigned i = 1; i < caches_used(); i++) {
		takes += relaxed(&p->caches[i].takes);
		misses += relaxed(&p->caches[i].misses);
		cached += cache_held(&p->caches[i]);
	}
	uint64_t out = pool_out(p), overflow_live = p->overflow_live, peak = p->peak;
	uint64_t pages = (relaxed(&p->made) * p->stride + p->page_bytes - 1) / p->page_bytes - p->pages_gone;
	tare_spin_unlock(&p->spin);
	uint64_t through = relaxed(&p->through_live);
	peak = TARE_MAX(peak, relaxed(&p->through_peak));
	*ret = (struct tare_pool_stats){
	    .hits = takes > misses ? takes - misses : 0,
	    .misses = misses,
	    .overflows = relaxed(&p->overflows),
	    .refusals = relaxed(&p->refusals),
	    .live = (out > cached ? out - cached : 0) + through,
	    .peak = peak,
	    .overflow_live = overflow_live,
	    .bytes = pages * p->page_bytes + (overflow_live + through) * p->stride,
	    .limit = p->options.limit,
	    .advice = (peak * 115 + 99) / 100,
	};
}

const char *tare_pool_name(const struct tare_pool *pool)
{
	return pool->options.name;
}

size_t tare_pools_read(struct tare_pool_row *rows, size_t max)
{
	size_t count = 0;
	tare_spin_lock(&pools_spin);
	for (const struct tare_list *node = pools.next; node != &pools; node = node->next, count++) {
		if (count >= max)
			continue;
		const struct tare_pool *pool = TARE_CONTAINER_OF(node, struct tare_pool, link);
		rows[count].name = pool->options.name;
		tare_pool_stats_read(pool, &rows[count].stats);
	}
	tare_spin_unlock(&pools_spin);
	return count;
}
