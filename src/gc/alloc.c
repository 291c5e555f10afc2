// SPDX-License-Identifier: MIT
//
// Making objects. Each worker has, for each class of sizes and each type, a run of free slots: the next object is the
// next slot. Runs come out of spans, spans out of bins; a bin's lists are guarded by a spinlock, taken once a span.
//
// Invariants
//   1. A run's slots are zeroed before their states say that they are in use, so a stale word on a stack that seems to
//      point into a run finds no pointers there.
//   2. While the cache is black its runs' slots are marked: what is made during marking lives until the next.
//   3. A run is of its cache's generation. A cache that is behind the heap's gives its runs back (gc_cache_release)
//      before it takes another; until then its runs are black, and what is made in them is kept.
//
//   4. An object that is to be a sample of the heap's profile (sample.c) is the first of its run: the run before it
//      ends there. So runs alone are counted down, and the way of an object out of a run is none the longer.
//
// A task does not move to another worker in here, but for gc_account, which is called with nothing in hand.
// Threads: a cache is its worker's.
#include "gc/gc_int.h"

#ifdef TARE_SIM // small, so that spans change hands often
enum { RUN_BYTES_MAX = 128, SPAN_SLOTS_MAX = 8 };
#else
enum { RUN_BYTES_MAX = 8192, SPAN_SLOTS_MAX = SLOTS_MAX };
#endif
enum { SWEEPS_MAX = 16 };
enum { CLEAR_AT_ONCE = 1 << 20 }; // some 100 µs

// ---- classes ------------------------------------------------------------------------------------------------------

// Steps of 16 up to 256, then eight to each doubling: at most one part in nine is lost.
static unsigned class_of(size_t bytes)
{
	if (bytes <= 256)
		return bytes == 0 ? 0 : (unsigned)((bytes - 1) / GRAIN);
	unsigned doubling = 63 - (unsigned)__builtin_clzll(bytes - 1); // 8 for 257 … 512
	return 16 + (doubling - 8) * 8 + (unsigned)(((bytes - 1) >> (doubling - 3)) & 7);
}

static uint32_t class_bytes(unsigned class)
{
	if (class < 16)
		return (class + 1) * GRAIN;
	unsigned doubling = 8 + (class - 16) / 8;
	return (UINT32_C(1) << doubling) + ((class - 16) % 8 + 1) * (UINT32_C(1) << (doubling - 3));
}

static void bin_init(struct gc_bin *bin, enum gc_kind kind, const struct tare_gc_type *type, uint32_t slot_bytes)
{
	*bin = (struct gc_bin){.kind = kind, .type = type, .slot_bytes = slot_bytes};
	bin->blocks = slot_bytes <= ONE_BLOCK_MAX ? 1 : WIDE_BLOCKS;
	bin->slots = TARE_MIN(bin->blocks * BLOCK_BYTES / slot_bytes, (uint32_t)SPAN_SLOTS_MAX);
}

void gc_bins_init(void)
{
	for (unsigned i = 0; i < CLASSES; i++) {
		bin_init(&gc.noscan[i], GC_NOSCAN, NULL, class_bytes(i));
		bin_init(&gc.array[i], GC_ARRAY, NULL, class_bytes(i));
	}
}

struct gc_bin *gc_bin_at(size_t i)
{
	if (i < CLASSES)
		return &gc.noscan[i];
	i -= CLASSES;
	if (i < CLASSES)
		return &gc.array[i];
	i -= CLASSES;
	if (i == 0)
		return &gc.large;
	return --i < atomic_load_explicit(&gc.types, memory_order_acquire) ? &gc.typed[i] : NULL;
}

// The type's number. -1: there are too many, and what is made is an array of one.
static int type_id(struct tare_gc_type *type)
{
	uint32_t id = atomic_load_explicit(&type->id_plus_1, memory_order_acquire);
	if (TARE_LIKELY(id != 0 && id <= atomic_load_explicit(&gc.types, memory_order_acquire) &&
			gc.typed[id - 1].type == type))
		return (int)id - 1;
	tare_spin_lock(&gc.types_spin);
	uint32_t types = atomic_load_explicit(&gc.types, memory_order_relaxed);
	id = atomic_load_explicit(&type->id_plus_1, memory_order_relaxed);
	bool known = id != 0 && id <= types && gc.typed[id - 1].type == type; // else another heap's
	if (!known && types < TYPES_MAX) {
		bin_init(&gc.typed[types], GC_TYPED, type, (type->bytes + GRAIN - 1) / GRAIN * GRAIN);
		id = types + 1;
		atomic_store_explicit(&gc.types, id, memory_order_release);
		atomic_store_explicit(&type->id_plus_1, id, memory_order_release);
		known = true;
	}
	tare_spin_unlock(&gc.types_spin);
	return known ? (int)id - 1 : -1;
}

// ---- runs ---------------------------------------------------------------------------------------------------------

static unsigned new_state(const struct gc_cache *cache)
{
	return cache->black ? SLOT_BLACK : SLOT_WHITE;
}

static void made(struct gc_cache *cache, uint64_t objects, uint64_t bytes)
{
	tare_bump(&cache->objects, objects);
	tare_bump(&cache->bytes, bytes);
	atomic_fetch_add_explicit(cache->black ? &gc.black_bytes : &gc.white_bytes, bytes, memory_order_relaxed);
}

// The span's next run, from the cursor on. False: it has none any more. *ret_sample: its first object is one.
static bool run_next(struct gc_cache *cache, struct gc_run *run, bool *ret_sample)
{
	struct gc_span *span = run->span;
	uint32_t from = gc_states_search(span->states, run->cursor, span->slots, false);
	if (from == span->slots)
		return false;
	uint32_t most = gc.always ? 1 : TARE_MAX(RUN_BYTES_MAX / run->slot_bytes, 1u);
	uint32_t to = TARE_MIN(gc_states_search(span->states, from, span->slots, true), from + most);
	to = from + gc_sample_cut(&cache->countdown, &run->sampled, run->slot_bytes, to - from, ret_sample);
	run->cursor = (uint16_t)to;
	run->at = gc_span_base(span) + (size_t)from * run->slot_bytes;
	run->end = gc_span_base(span) + (size_t)to * run->slot_bytes;
	// Counted first: a locked instruction after the memset would wait for all that it stores.
	made(cache, to - from, (uint64_t)(run->end - run->at));
	if (!span->fresh)
		memset(run->at, 0, (size_t)(run->end - run->at));
	if (TARE_UNLIKELY(gc.lint))
		gc_lint_clear(run->at, (size_t)(run->end - run->at));
	gc_states_set(span->states, from, to, new_state(cache));
	return true;
}

// What the run still holds is free again; its span goes back to the bin.
static void run_release(struct gc_cache *cache, struct gc_run *run, struct gc_bin *bin)
{
	struct gc_span *span = run->span;
	if (span == NULL)
		return;
	uint32_t to = run->cursor, left = (uint32_t)((size_t)(run->end - run->at) / run->slot_bytes);
	gc_states_set(span->states, to - left, to, SLOT_FREE);
	uint64_t bytes = (uint64_t)left * run->slot_bytes;
	tare_bump(&cache->objects, -(unsigned long long)left);
	tare_bump(&cache->bytes, -bytes);
	atomic_fetch_sub_explicit(&gc.white_bytes, bytes, memory_order_relaxed);
	run->span = NULL;
	run->at = run->end = NULL;
	if (left > 0)
		run->sampled = false; // that object is not what comes next; what does is counted down like any other
	gc_bin_push(bin, span,
		    left > 0 || gc_states_search(span->states, run->cursor, span->slots, false) < span->slots);
}

// A span of the bin with a free slot, as the cache sees it: one of its generation is swept, one of the last is not yet,
// and one of the next says that the cache has to move on first (*ret_stale). NULL: then, or out of memory.
static struct gc_span *bin_span(struct gc_bin *bin, uint32_t generation, bool *ret_stale)
{
	*ret_stale = false;
	for (int sweeps = 0; sweeps < SWEEPS_MAX; sweeps++) {
		tare_spin_lock(&bin->spin);
		struct gc_span *span = gc_list_pop(&bin->roomy);
		if (span == NULL)
			span = gc_list_pop(&bin->unswept);
		tare_spin_unlock(&bin->spin);
		if (span == NULL)
			break;
		uint32_t its = atomic_load_explicit(&span->generation, memory_order_relaxed);
		if (its == generation + 1) {
			gc_bin_push(bin, span, true);
			*ret_stale = true;
			return NULL;
		}
		if (its != generation)
			(void)gc_span_sweep(span, generation);
		if (gc_states_search(span->states, 0, span->slots, false) < span->slots) {
			span->fresh = false;
			return span;
		}
		gc_bin_push(bin, span, false);
	}
	return gc_span_new(bin, generation);
}

// ---- objects ------------------------------------------------------------------------------------------------------

static struct gc_run *run_of(struct gc_cache *cache, const struct gc_bin *bin)
{
	switch (bin->kind) {
	case GC_NOSCAN:
		return &cache->noscan[bin - gc.noscan];
	case GC_ARRAY:
		return &cache->array[bin - gc.array];
	default:
		return &cache->typed[bin - gc.typed + 1];
	}
}

// With nothing in hand: the task may wait, and be on another worker afterwards. type: the object's, or its elements';
// NULL: none is known.
GC_MAKES static void *make_in_run(struct gc_bin *bin, const struct tare_gc_type *type)
{
	if (!gc_account(TARE_MAX((size_t)RUN_BYTES_MAX, (size_t)bin->slot_bytes)))
		return NULL;
	struct gc_cache *cache = gc_cache_own();
	if (cache->generation != atomic_load_explicit(&gc.generation, memory_order_acquire))
		gc_cache_release(cache);
	struct gc_run *run = run_of(cache, bin);
	run->slot_bytes = bin->slot_bytes;
	run->type = bin->type;
	bool sample = false;
	while (run->at == run->end) {
		if (run->span != NULL && run_next(cache, run, &sample))
			break;
		run_release(cache, run, bin);
		bool stale;
		run->span = bin_span(bin, cache->generation, &stale);
		if (stale)
			gc_cache_release(cache);
		else if (run->span == NULL)
			return NULL;
		run->cursor = 0;
	}
	char *object = run->at;
	run->at += run->slot_bytes;
	if (TARE_UNLIKELY(sample))
		gc_sample_note(&cache->countdown, object, run->slot_bytes, type);
	return object;
}

GC_MAKES static void *make_slowly(struct gc_bin *bin, const struct tare_gc_type *type)
{
	void *object = make_in_run(bin, type);
	if (object == NULL && gc_collect_for_room())
		do
			object = make_in_run(bin, type);
		while (object == NULL && gc_release_goes_on());
	return object;
}

GC_MAKES static inline void *make(struct gc_run *run, struct gc_bin *bin, const struct tare_gc_type *type)
{
	char *object = run->at;
	if (TARE_UNLIKELY(object == run->end))
		return make_slowly(bin, type);
	run->at = object + run->slot_bytes;
	return object;
}

// Others have their turns in between.
static void clear(char *base, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += CLEAR_AT_ONCE) {
		if (at > 0)
			tare_breathe(tare_now_ns());
		memset(base + at, 0, TARE_MIN(bytes - at, (size_t)CLEAR_AT_ONCE));
	}
}

GC_MAKES static void *make_span(enum gc_kind kind, const struct tare_gc_type *type, size_t bytes)
{
	if (!gc_account(bytes))
		return NULL;
	struct gc_span *span = gc_span_new_large(kind, type, bytes, gc_cache_own()->generation);
	if (span == NULL)
		return NULL;
	size_t span_bytes = (size_t)span->blocks << BLOCK_SHIFT;
	if (!span->fresh)
		clear(gc_span_base(span), bytes); // it is in no list, and nothing is there to be found
	struct gc_cache *cache = gc_cache_own();
	atomic_store_explicit(&span->generation, cache->generation, memory_order_relaxed);
	if (TARE_UNLIKELY(gc.lint))
		gc_lint_clear(gc_span_base(span), bytes);
	gc_states_set(span->states, 0, 1, new_state(cache));
	made(cache, 1, span_bytes);
	gc_bin_push(&gc.large, span, false);
	bool sample, next = false;
	(void)gc_sample_cut(&cache->countdown, &next, span_bytes, 1, &sample);
	if (sample)
		gc_sample_note(&cache->countdown, gc_span_base(span), span_bytes, type);
	return gc_span_base(span);
}

GC_MAKES static void *make_large(enum gc_kind kind, const struct tare_gc_type *type, size_t bytes)
{
	void *object = make_span(kind, type, bytes);
	if (object == NULL && gc_collect_for_room())
		do
			object = make_span(kind, type, bytes);
		while (object == NULL && gc_release_goes_on());
	return object;
}

GC_MAKES static void *make_headed(struct tare_gc_type *type, size_t count)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, (size_t)type->bytes, &bytes) || bytes >= gc.bytes)
		return NULL;
	bytes = sizeof(struct gc_head) + TARE_MAX(bytes, (size_t)1); // so that an empty one, too, holds its own place
	unsigned class = class_of(bytes);
	struct gc_head *head = bytes <= SMALL_MAX ? make(&gc_cache_own()->array[class], &gc.array[class], type)
						  : make_large(GC_ARRAY, type, bytes);
	if (head == NULL)
		return NULL;
	head->count = count;
	// Released after the count: who marks looks at the type first.
	__atomic_store_n(&head->type, type, __ATOMIC_RELEASE);
	return head + 1;
}

// type: for the profile alone.
GC_MAKES static inline void *make_noscan(size_t bytes, const struct tare_gc_type *type)
{
	if (TARE_LIKELY(bytes <= SMALL_MAX))
		return make(&gc_cache_own()->noscan[class_of(bytes)], &gc.noscan[class_of(bytes)], type);
	return bytes < gc.bytes ? make_large(GC_NOSCAN, type, bytes) : NULL;
}

// Apart: inlined, it would take registers that its callers have to save.
GC_MAKES __attribute__((noinline)) static void *noscan_of(const struct tare_gc_type *type, size_t bytes)
{
	return make_noscan(bytes, type);
}

// The first of its type on this worker, or the type has no spans of its own. Apart, too.
GC_MAKES __attribute__((noinline)) static void *new_slowly(struct tare_gc_type *type)
{
	if (type->pointer_count == 0)
		return noscan_of(type, type->bytes);
	int id = type->bytes <= SMALL_MAX ? type_id(type) : -1;
	return id >= 0 ? make_slowly(&gc.typed[id], type) : make_headed(type, 1);
}

GC_MAKES void *tare_gc_new(struct tare_gc_type *type)
{
	uint32_t id_plus_1 = atomic_load_explicit(&type->id_plus_1, memory_order_relaxed);
	struct gc_run *run = &gc_cache_own()->typed[id_plus_1];
	if (TARE_UNLIKELY(run->type != type)) // the number is none, or that of another heap
		return new_slowly(type);
	return make(run, &gc.typed[id_plus_1 - 1], type);
}

GC_MAKES void *tare_gc_new_array(struct tare_gc_type *type, size_t count)
{
	size_t bytes;
	if (type->pointer_count > 0)
		return make_headed(type, count);
	return __builtin_mul_overflow(count, (size_t)type->bytes, &bytes) ? NULL : noscan_of(type, bytes);
}

GC_MAKES void *tare_gc_new_noscan(size_t bytes)
{
	return make_noscan(bytes, NULL);
}

// ---- the cache as a whole -----------------------------------------------------------------------------------------

static void each_run(struct gc_cache *cache, void (*fn)(struct gc_cache *cache, struct gc_run *run, struct gc_bin *bin))
{
	for (unsigned i = 0; i < CLASSES; i++) {
		fn(cache, &cache->noscan[i], &gc.noscan[i]);
		fn(cache, &cache->array[i], &gc.array[i]);
	}
	uint32_t types = atomic_load_explicit(&gc.types, memory_order_acquire);
	for (uint32_t i = 0; i < types; i++)
		fn(cache, &cache->typed[i + 1], &gc.typed[i]);
}

void gc_cache_release(struct gc_cache *cache)
{
	cache->generation = atomic_load_explicit(&gc.generation, memory_order_acquire);
	each_run(cache, run_release);
	cache->black = false;
}

static void run_blacken(struct gc_cache *cache, struct gc_run *run, struct gc_bin *bin)
{
	(void)cache, (void)bin;
	if (run->span == NULL || run->at == run->end)
		return;
	uint32_t left = (uint32_t)((size_t)(run->end - run->at) / run->slot_bytes);
	gc_states_set(run->span->states, run->cursor - left, run->cursor, SLOT_BLACK);
	// They were counted as white.
	cache->marker.bytes += (uint64_t)left * run->slot_bytes;
}

void gc_cache_blacken(struct gc_cache *cache)
{
	cache->black = true;
	each_run(cache, run_blacken);
}
