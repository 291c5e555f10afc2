// SPDX-License-Identifier: MIT
//
// Blocks and spans: one reservation of address space, cut into blocks of 64 KiB, with a table that describes each.
//
// A pointer's span is an index into that table: no search, and what marking reads of a span lies in one line (and the
// bits in the next). A large object takes whole blocks, of which the pages that it does not reach are never touched.
//
// Invariants
//   1. A span is in one place: free, in a worker's cache, in one of its bin's lists, or in the hands of who sweeps it.
//   2. `kind` is stored last when a span is made and first when it is freed: who finds it set may use the rest.
//   3. A span whose generation is not the heap's is swept before anything is made in it; and all are swept before the
//      next marking begins. So while marking goes on, a mark is of this marking.
//
// Threads: blocks under a spinlock, for the microseconds that a search may take: who makes an object holds what is the
// worker's and must not be parked. A span as invariant 1 says.
// Rejected: a table of spans by page, with a second look-up (more misses when marking); marks beside the objects (they
// share pages with what is written).
#include "gc/gc_int.h"

#include <errno.h>
#include <sys/mman.h>

struct gc_heap gc;

#ifdef TARE_SIM // where spans are nearly empty: see SPAN_SLOTS_MAX
#define SMALL_PAGES_BYTES SIZE_MAX
#else
#define SMALL_PAGES_BYTES ((size_t)8 << 20)
#endif

// ---- the reservation ----------------------------------------------------------------------------------------------

void *gc_reserve(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return map != MAP_FAILED ? map : NULL;
}

void gc_unreserve(void *map, size_t bytes)
{
	if (map != NULL)
		munmap(map, bytes);
}

// But for the beginning: a small heap would spend its time clearing them.
static void use_huge_pages(void *map, size_t bytes)
{
	if (bytes > SMALL_PAGES_BYTES)
		(void)madvise((char *)map + SMALL_PAGES_BYTES, bytes - SMALL_PAGES_BYTES, MADV_HUGEPAGE);
}

static size_t bitmap_bytes(void)
{
	return (gc.blocks_max + 63) / 64 * sizeof(uint64_t);
}

static size_t table_bytes(void)
{
	return gc.blocks_max * sizeof(struct gc_span);
}

// Rows for each block of every size that there is, together less than twice the largest: then there is always one.
static size_t rows_bytes(void)
{
	return gc.blocks_max * SLOTS_MAX * 2;
}

int gc_spans_init(size_t bytes, struct tare_error *err)
{
	gc.blocks_max = bytes >> BLOCK_SHIFT;
	gc.bytes = gc.blocks_max << BLOCK_SHIFT;
	char *map = gc_reserve(gc.bytes + REGION_BYTES); // more, to begin at a whole huge page
	gc.spans = gc_reserve(table_bytes());
	gc.rows = gc_reserve(rows_bytes());
	gc.used = gc_reserve(bitmap_bytes());
	gc.dirty = gc_reserve(bitmap_bytes());
	gc.base = map;
	if (map == NULL || gc.spans == NULL || gc.rows == NULL || gc.used == NULL || gc.dirty == NULL) {
		gc_unreserve(map, gc.bytes + REGION_BYTES);
		gc.base = NULL;
		gc_spans_done();
		return tare_error_set(
		    err, -ENOMEM,
		    "gc: no address space for a heap of %zu bytes: lower reserve_bytes, or raise ulimit -v", bytes);
	}
	size_t skip = -(uintptr_t)map & (REGION_BYTES - 1);
	munmap(map + skip + gc.bytes, REGION_BYTES - skip);
	if (skip > 0)
		munmap(map, skip);
	gc.base = map + skip;
	// Marking goes everywhere: with small pages it would wait for the tables that translate addresses.
	gc.huge_from = SMALL_PAGES_BYTES;
	use_huge_pages(gc.base, gc.bytes);
	use_huge_pages(gc.spans, table_bytes());
	use_huge_pages(gc.rows, rows_bytes());
	return 0;
}

void gc_spans_done(void)
{
	gc_unreserve(gc.base, gc.bytes);
	gc_unreserve(gc.spans, table_bytes());
	gc_unreserve(gc.rows, rows_bytes());
	gc_unreserve(gc.used, bitmap_bytes());
	gc_unreserve(gc.dirty, bitmap_bytes());
	gc.base = NULL;
	gc.spans = NULL;
	gc.rows = NULL;
	gc.used = gc.dirty = NULL;
}

// ---- blocks -------------------------------------------------------------------------------------------------------

static bool bit_get(const uint64_t *bits, size_t i)
{
	return (bits[i / 64] >> (i % 64) & 1) != 0;
}

static void bits_set(uint64_t *bits, size_t first, size_t count, bool value)
{
	for (size_t i = first; i < first + count; i++) {
		if (value)
			bits[i / 64] |= UINT64_C(1) << (i % 64);
		else
			bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
	}
}

// The first of `count` free blocks in [from, to), SIZE_MAX: there are none. Whole words at once where it can.
static size_t blocks_search(size_t from, size_t to, size_t count)
{
	size_t run = 0;
	for (size_t i = from; i < to;) {
		if (i % 64 == 0 && gc.used[i / 64] == UINT64_MAX) {
			run = 0;
			i += 64;
			continue;
		}
		run = bit_get(gc.used, i) ? 0 : run + 1;
		i++;
		if (run == count)
			return i - count;
	}
	return SIZE_MAX;
}

static struct gc_span *blocks_take(size_t count)
{
	tare_spin_lock(&gc.blocks_spin);
	size_t first = blocks_search(gc.search_at, gc.blocks_top, count);
	if (first == SIZE_MAX)
		first = blocks_search(0, gc.blocks_top, count);
	if (first == SIZE_MAX && gc.blocks_max - gc.blocks_top >= count) {
		first = gc.blocks_top;
		gc.blocks_top += count;
		atomic_store_explicit(&gc.top, gc.blocks_top << BLOCK_SHIFT, memory_order_relaxed);
	}
	if (first == SIZE_MAX) {
		tare_spin_unlock(&gc.blocks_spin);
		return NULL;
	}
	struct gc_span *span = &gc.spans[first];
	size_t dirty = 0;
	for (size_t i = first; i < first + count; i++)
		dirty += bit_get(gc.dirty, i);
	span->fresh = dirty == 0;
	bits_set(gc.used, first, count, true);
	bits_set(gc.dirty, first, count, true);
	gc.idle_blocks -= dirty;
	gc.dirty_blocks += count - dirty;
	gc.search_at = first + count;
	tare_spin_unlock(&gc.blocks_spin);
	span->blocks = (uint32_t)count;
	if (dirty < count)
		gc_limit_took(count - dirty);
	return span;
}

static void blocks_give(size_t first, size_t count)
{
	tare_spin_lock(&gc.blocks_spin);
	bits_set(gc.used, first, count, false);
	for (size_t i = first; i < first + count; i++)
		gc.idle_blocks += bit_get(gc.dirty, i);
	gc.search_at = TARE_MIN(gc.search_at, first);
	tare_spin_unlock(&gc.blocks_spin);
}

// ---- states of slots ----------------------------------------------------------------------------------------------

static unsigned shelf_of(uint32_t slots)
{
	unsigned lines = (slots - 1) / TARE_CACHE_LINE + 1;
	return lines == 1 ? 0 : 32 - (unsigned)__builtin_clz(lines - 1);
}

// Rows lie close together, whatever their spans' slots: marking goes everywhere among them.
static gc_state *row_take(uint32_t slots)
{
	tare_spin_lock(&gc.blocks_spin);
	unsigned shelf = shelf_of(slots);
	struct gc_row *row = gc.shelves[shelf];
	if (row != NULL) {
		gc.shelves[shelf] = row->next;
	} else {
		row = (struct gc_row *)(void *)(gc.rows + gc.rows_used);
		gc.rows_used += (size_t)TARE_CACHE_LINE << shelf;
		TARE_ASSERT(gc.rows_used <= rows_bytes());
	}
	tare_spin_unlock(&gc.blocks_spin);
	return (gc_state *)row;
}

static void row_give(gc_state *states, uint32_t slots)
{
	struct gc_row *row = (struct gc_row *)(void *)states;
	unsigned shelf = shelf_of(slots);
	tare_spin_lock(&gc.blocks_spin);
	row->next = gc.shelves[shelf];
	gc.shelves[shelf] = row;
	tare_spin_unlock(&gc.blocks_spin);
}

// ---- spans --------------------------------------------------------------------------------------------------------

// `kind` last: invariant 2.
static void span_set_up(struct gc_span *span, enum gc_kind kind, const struct tare_gc_type *type, uint32_t slot_bytes,
			uint32_t slots, uint32_t generation)
{
	span->slot_bytes = slot_bytes;
	span->reciprocal = slot_bytes > 0 ? ((UINT64_C(1) << 40) + slot_bytes - 1) / slot_bytes : 0;
	span->type = type;
	span->slots = slots;
	span->states = slots > INLINE_SLOTS ? row_take(slots) : span->inline_states;
	gc_states_set(span->states, 0, (slots + 7) / 8 * 8, SLOT_FREE);
	for (uint32_t i = 1; i < span->blocks; i++)
		atomic_store_explicit(&span[i].back, i, memory_order_relaxed);
	atomic_store_explicit(&span->back, 0, memory_order_relaxed);
	atomic_store_explicit(&span->generation, generation, memory_order_relaxed);
	atomic_store_explicit(&span->kind, (uint8_t)kind, memory_order_release);
}

struct gc_span *gc_span_new(const struct gc_bin *bin, uint32_t generation)
{
	struct gc_span *span = blocks_take(bin->blocks);
	if (span != NULL)
		span_set_up(span, bin->kind, bin->type, bin->slot_bytes, bin->slots, generation);
	return span;
}

struct gc_span *gc_span_new_large(enum gc_kind kind, const struct tare_gc_type *type, size_t bytes, uint32_t generation)
{
	struct gc_span *span = blocks_take((bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT);
	if (span != NULL)
		span_set_up(span, kind, type, 0, 1, generation);
	return span;
}

// Its memory stays, for whoever takes the blocks next; what is too much of that goes back later (scavenge.c).
void gc_span_free(struct gc_span *span)
{
	size_t first = (size_t)(span - gc.spans), count = span->blocks;
	gc_look_lock();
	atomic_store_explicit(&span->kind, GC_FREE, memory_order_release);
	gc_look_unlock();
	if (span->slots > INLINE_SLOTS)
		row_give(span->states, span->slots);
	for (size_t i = 0; i < count; i++)
		atomic_store_explicit(&span[i].back, 0, memory_order_relaxed);
	blocks_give(first, count);
}

#ifdef TARE_DEBUG
// So that who uses what was not found reachable is seen at once. Nobody else is looking: the span is the caller's.
// freed: the lowest bits of those of eight slots' states.
static void poison(struct gc_span *span, uint32_t at, uint64_t freed)
{
	for (; freed != 0; freed &= freed - 1) {
		uint32_t slot = at + (uint32_t)__builtin_ctzll(freed) / 8;
		memset((void *)gc_slot_base(span, slot), 0xdb, gc_slot_bytes(span));
	}
	span->fresh = false;
}
#else
static void poison(struct gc_span *span, uint32_t at, uint64_t freed)
{
	(void)span, (void)at, (void)freed;
}
#endif

static uint32_t span_used(const struct gc_span *span)
{
	uint32_t used = 0;
	for (uint32_t i = 0; i < span->slots; i += 8) {
		uint64_t eight = atomic_load_explicit(gc_eight_at(span->states, i), memory_order_relaxed);
		used += (uint32_t)__builtin_popcountll(eight & GC_EVERY(SLOT_WHITE));
	}
	return used;
}

// Black becomes white, and white free.
uint32_t gc_span_sweep(struct gc_span *span, uint32_t generation)
{
	uint32_t used = 0;
	for (uint32_t i = 0; i < span->slots; i += 8) {
		gc_eight_states *states = gc_eight_at(span->states, i);
		uint64_t eight = atomic_load_explicit(states, memory_order_relaxed);
		uint64_t left = eight >> 1 & GC_EVERY(SLOT_WHITE);
		poison(span, i, eight & ~left & GC_EVERY(SLOT_WHITE));
		atomic_store_explicit(states, left, memory_order_relaxed);
		used += (uint32_t)__builtin_popcountll(left);
	}
	// Released: who finds it swept (types.c) sees no object that was freed.
	atomic_store_explicit(&span->generation, generation, memory_order_release);
	return used;
}

// ---- lists --------------------------------------------------------------------------------------------------------

static void list_push(struct gc_list *list, struct gc_span *span)
{
	span->next = list->first;
	if (list->first == NULL)
		list->last = span;
	list->first = span;
}

struct gc_span *gc_list_pop(struct gc_list *list)
{
	struct gc_span *span = list->first;
	if (span != NULL)
		list->first = span->next;
	return span;
}

void gc_list_append(struct gc_list *to, struct gc_list *from)
{
	if (from->first == NULL)
		return;
	if (to->first == NULL)
		*to = *from;
	else
		to->last->next = from->first;
	to->last = from->last;
	from->first = from->last = NULL;
}

void gc_bin_push(struct gc_bin *bin, struct gc_span *span, bool roomy)
{
	tare_spin_lock(&bin->spin);
	// Within the lock: who moves the generation on goes through the lists afterwards.
	bool swept = atomic_load_explicit(&span->generation, memory_order_relaxed) ==
		     atomic_load_explicit(&gc.generation, memory_order_relaxed);
	list_push(!swept ? &bin->unswept : roomy ? &bin->roomy : &bin->full, span);
	tare_spin_unlock(&bin->spin);
}

// ---- sweeping all -------------------------------------------------------------------------------------------------

// One of the bin's, if there is any. Whether there was.
static bool sweep_one(struct gc_bin *bin)
{
	tare_spin_lock(&bin->spin);
	struct gc_span *span = gc_list_pop(&bin->unswept);
	tare_spin_unlock(&bin->spin);
	if (span == NULL)
		return false;
	uint32_t generation = atomic_load_explicit(&gc.generation, memory_order_relaxed);
	// One that was taken, swept and put back while the lists were being changed has come here with them.
	bool swept =
	    !GC_FAULT(SWEPT_LIVE) && atomic_load_explicit(&span->generation, memory_order_relaxed) == generation;
	uint32_t used = swept ? span_used(span) : gc_span_sweep(span, generation);
	if (used == 0) {
		gc_span_free(span);
		return true;
	}
	gc_bin_push(bin, span, used < span->slots);
	return true;
}

void gc_sweep_rest(void)
{
	enum { AT_ONCE = 64 };
	struct gc_bin *bin;
	unsigned n = 0;
	int64_t since_ns = tare_now_ns(), now_ns;
	for (size_t i = 0; (bin = gc_bin_at(i)) != NULL; i++)
		while (sweep_one(bin)) {
			if (++n % AT_ONCE != 0)
				continue;
			now_ns = tare_now_ns();
			atomic_fetch_add_explicit(&gc.report.sweep_ns, now_ns - since_ns, memory_order_relaxed);
			tare_breathe(now_ns);
			since_ns = tare_now_ns();
		}
	atomic_fetch_add_explicit(&gc.report.sweep_ns, tare_now_ns() - since_ns, memory_order_relaxed);
}
