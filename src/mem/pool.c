// SPDX-License-Identifier: MIT
//
// Object pools: caches of a thread each over one depot.
//
// Invariants
//   1. An object is in exactly one place: taken, in one thread's cache, or in the depot.
//   2. A cache belongs to the thread whose tare_shard() it is; only that thread touches its array. The last shard
//      number may be shared by threads, so it has no cache: those threads use the depot.
//   3. depot_capacity >= objects cut, so giving back never needs memory.
//   4. Nothing is ever written into a free object: a stale pointer may still read its tag (type-stable storage).
//
// Threads: take and give from any; the depot is under one spinlock, entered once a batch.
// Rejected: an intrusive free list (breaks 4); a lock-free stack (ABA, and the batch already makes the lock rare).
#include <tare/mem.h>

#include <errno.h>

static struct tare_tag heap_tag = TARE_TAG("pools");

enum {
	CACHE_OBJECTS_MIN = 4, // of large objects: what stands in caches is not there for others
	CACHE_OBJECTS = 64,
	CACHES = TARE_SHARD_MAX - 1,
	SLAB_BYTES_AIM = 64 * 1024,
	SLAB_OBJECTS_MIN = 16, // of large objects: a slab's pages come only as they are touched
	SLAB_OBJECTS_MAX = 256,
};

struct cache {
	alignas(TARE_CACHE_LINE) unsigned count;
	// Written by the owner alone, read by anyone: relaxed.
	atomic_ullong takes, gives, misses;
	void *objects[CACHE_OBJECTS];
};

struct slab {
	struct slab *next;
	void *block; // what the heap gave; the slab is aligned within it
	uint64_t count;
};

struct tare_pool {
	struct tare_list link; // in `pools`, guarded by pools_spin
	struct tare_pool_options options;
	size_t stride;
	unsigned slab_objects;
	unsigned cache_objects, cache_batch; // the most in a cache; moved at once between it and the depot
	struct cache *caches;                // CACHES of them

	struct tare_spin spin; // guards what follows
	void **depot;
	uint64_t depot_count, depot_capacity;
	uint64_t cut; // objects ever cut
	struct slab *slabs;
	uint64_t bytes;

	// Of the threads without a cache, and of refusals: any thread.
	atomic_ullong takes, gives, misses, overflows;
};

// Pools are made and freed rarely; this lock ranks before a pool's own.
static struct tare_spin pools_spin;
static struct tare_list pools = {&pools, &pools};

int tare_pool_new(struct tare_pool **ret, const struct tare_pool_options *options)
{
	size_t alignment = options->alignment != 0 ? options->alignment : alignof(max_align_t);
	TARE_ASSERT((alignment & (alignment - 1)) == 0 && options->object_bytes > 0);
	struct tare_pool *pool = tare_alloc_zeroed(&heap_tag, 1, sizeof *pool);
	if (pool == NULL)
		return -ENOMEM;
	pool->options = *options;
	pool->options.alignment = alignment;
	pool->stride = (options->object_bytes + alignment - 1) & ~(alignment - 1);
	size_t fit = SLAB_BYTES_AIM / pool->stride;
	pool->slab_objects = (unsigned)TARE_MAX(TARE_MIN(fit, (size_t)SLAB_OBJECTS_MAX), (size_t)SLAB_OBJECTS_MIN);
	pool->cache_objects = (unsigned)TARE_MAX(TARE_MIN(fit, (size_t)CACHE_OBJECTS), (size_t)CACHE_OBJECTS_MIN);
	pool->cache_batch = pool->cache_objects / 2;
	pool->caches = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, CACHES * sizeof *pool->caches);
	if (pool->caches == NULL) {
		tare_free(pool);
		return -ENOMEM;
	}
	// Only what must be zero is written: a cache that no thread uses costs no memory.
	for (unsigned i = 0; i < CACHES; i++)
		memset(&pool->caches[i], 0, offsetof(struct cache, objects));
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
	tare_list_remove(&pool->link);
	tare_spin_unlock(&pools_spin);
	for (struct slab *slab = pool->slabs, *next; slab != NULL; slab = next) {
		next = slab->next;
		tare_free(slab->block);
	}
	tare_free(pool->depot);
	tare_free(pool->caches);
	tare_free(pool);
}

static size_t slab_head_bytes(const struct tare_pool *pool)
{
	size_t alignment = pool->options.alignment;
	return (sizeof(struct slab) + alignment - 1) & ~(alignment - 1);
}

// Cuts one slab into the depot. Called with the spinlock held: it is rare, and a second thread would only cut another.
static int slab_cut(struct tare_pool *pool)
{
	uint64_t count = pool->slab_objects;
	if (pool->options.limit != 0) {
		if (pool->cut >= pool->options.limit)
			return -ENOMEM;
		count = TARE_MIN(count, pool->options.limit - pool->cut);
	}
	if (pool->cut + count > pool->depot_capacity) {
		uint64_t capacity = TARE_MAX(2 * pool->depot_capacity, pool->cut + count);
		void **depot = tare_realloc(&heap_tag, pool->depot, capacity * sizeof *depot);
		if (depot == NULL)
			return -ENOMEM;
		pool->depot = depot;
		pool->depot_capacity = capacity;
	}
	size_t alignment = pool->options.alignment;
	size_t head = slab_head_bytes(pool);
	size_t bytes = alignment + head + count * pool->stride;
	// Zeroed by the heap: pages of a large slab that came fresh from the system are not touched until an object is.
	char *block = tare_alloc_zeroed(&heap_tag, 1, bytes);
	if (block == NULL)
		return -ENOMEM;
	struct slab *slab = (struct slab *)(void *)(((uintptr_t)block + alignment - 1) & ~(uintptr_t)(alignment - 1));
	slab->block = block;
	slab->count = count;
	slab->next = pool->slabs;
	pool->slabs = slab;
	pool->bytes += bytes;
	pool->cut += count;
	// Pushed last first, so that objects are taken in the order of their addresses.
	for (uint64_t i = count; i > 0; i--)
		pool->depot[pool->depot_count++] = (char *)slab + head + (i - 1) * pool->stride;
	return 0;
}

// Moves up to want objects from the depot to out; *ret_cut says that a slab was cut for them. 0: none could be had.
static unsigned depot_take(struct tare_pool *pool, void **out, unsigned want, bool *ret_cut)
{
	tare_spin_lock(&pool->spin);
	*ret_cut = pool->depot_count == 0 && slab_cut(pool) == 0;
	unsigned n = (unsigned)TARE_MIN((uint64_t)want, pool->depot_count);
	pool->depot_count -= n;
	if (n > 0)
		memcpy(out, &pool->depot[pool->depot_count], n * sizeof *out);
	tare_spin_unlock(&pool->spin);
	return n;
}

static void depot_give(struct tare_pool *pool, void *const *objects, unsigned n)
{
	tare_spin_lock(&pool->spin);
	TARE_ASSERT(pool->depot_count + n <= pool->depot_capacity);
	memcpy(&pool->depot[pool->depot_count], objects, n * sizeof *objects);
	pool->depot_count += n;
	tare_spin_unlock(&pool->spin);
}

static struct cache *cache_of(struct tare_pool *pool)
{
	unsigned shard = tare_shard();
	return TARE_LIKELY(shard < CACHES) ? &pool->caches[shard] : NULL;
}

static void *take_slow(struct tare_pool *pool, struct cache *cache)
{
	void *object;
	bool cut;
	if (cache == NULL) {
		if (depot_take(pool, &object, 1, &cut) == 0)
			goto refused;
		atomic_fetch_add_explicit(&pool->takes, 1, memory_order_relaxed);
		if (cut)
			atomic_fetch_add_explicit(&pool->misses, 1, memory_order_relaxed);
		return object;
	}
	cache->count = depot_take(pool, cache->objects, pool->cache_batch, &cut);
	if (cache->count == 0)
		goto refused;
	tare_bump(&cache->takes, 1);
	if (cut)
		tare_bump(&cache->misses, 1);
	return cache->objects[--cache->count];

refused:
	atomic_fetch_add_explicit(&pool->overflows, 1, memory_order_relaxed);
	return NULL;
}

static void *take_passthrough(struct tare_pool *pool)
{
	void *object = tare_alloc_aligned(&heap_tag, pool->options.alignment, pool->stride);
	if (object == NULL) {
		atomic_fetch_add_explicit(&pool->overflows, 1, memory_order_relaxed);
		return NULL;
	}
	atomic_fetch_add_explicit(&pool->takes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->misses, 1, memory_order_relaxed);
	return object;
}

void *tare_pool_take(struct tare_pool *pool)
{
	if (TARE_UNLIKELY(pool->options.passthrough))
		return take_passthrough(pool);
	struct cache *cache = cache_of(pool);
	if (TARE_UNLIKELY(cache == NULL || cache->count == 0))
		return take_slow(pool, cache);
	tare_bump(&cache->takes, 1);
	return cache->objects[--cache->count];
}

void tare_pool_give(struct tare_pool *pool, void *object)
{
	if (TARE_UNLIKELY(pool->options.passthrough)) {
		atomic_fetch_add_explicit(&pool->gives, 1, memory_order_relaxed);
		tare_free(object);
		return;
	}
	struct cache *cache = cache_of(pool);
	if (TARE_UNLIKELY(cache == NULL)) {
		atomic_fetch_add_explicit(&pool->gives, 1, memory_order_relaxed);
		depot_give(pool, &object, 1);
		return;
	}
	if (TARE_UNLIKELY(cache->count == pool->cache_objects)) {
		cache->count -= pool->cache_batch;
		depot_give(pool, &cache->objects[cache->count], pool->cache_batch);
	}
	tare_bump(&cache->gives, 1);
	cache->objects[cache->count++] = object;
}

bool tare_pool_each(const struct tare_pool *pool, bool (*fn)(void *arg, void *object), void *arg)
{
	TARE_ASSERT(!pool->options.passthrough);
	struct tare_pool *p = (struct tare_pool *)pool; // for its lock alone
	tare_spin_lock(&p->spin);
	struct slab *slab = p->slabs;
	tare_spin_unlock(&p->spin);
	// A slab neither changes nor goes once it is on the list, and new ones are put before it.
	for (; slab != NULL; slab = slab->next)
		for (uint64_t i = 0; i < slab->count; i++)
			if (!fn(arg, (char *)slab + slab_head_bytes(pool) + i * pool->stride))
				return false;
	return true;
}

void tare_pool_stats_read(const struct tare_pool *pool, struct tare_pool_stats *ret)
{
	struct tare_pool *p = (struct tare_pool *)pool; // for its lock alone
	uint64_t takes = atomic_load_explicit(&p->takes, memory_order_relaxed);
	uint64_t gives = atomic_load_explicit(&p->gives, memory_order_relaxed);
	uint64_t misses = atomic_load_explicit(&p->misses, memory_order_relaxed);
	for (unsigned i = 0; i < CACHES; i++) {
		takes += atomic_load_explicit(&p->caches[i].takes, memory_order_relaxed);
		gives += atomic_load_explicit(&p->caches[i].gives, memory_order_relaxed);
		misses += atomic_load_explicit(&p->caches[i].misses, memory_order_relaxed);
	}
	tare_spin_lock(&p->spin);
	uint64_t bytes = p->bytes;
	tare_spin_unlock(&p->spin);
	*ret = (struct tare_pool_stats){
	    .hits = takes - misses,
	    .misses = misses,
	    .overflows = atomic_load_explicit(&p->overflows, memory_order_relaxed),
	    .live = takes > gives ? takes - gives : 0,
	    .bytes = bytes,
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
