// SPDX-License-Identifier: MIT
//
// Marking: what is reachable becomes black; what may point further is grey until it has been looked into.
//
// Each worker has a marker. What it finds waits in a ring while first the line that describes its span, then that of
// its slot's state comes into the cache, is marked, and waits again in a chunk, last in first out, until it is looked
// into. Full chunks go to a common list, and half of one when that is empty.
// The marker is used by whatever task runs on the worker: the marking task, one that assists, one whose store shades;
// none of them yields in between.
//
// Invariants
//   1. Who marks an object puts it into a chunk, if it can hold pointers; so each is looked into, and twice if two
//      marked it at the same moment (slots.h).
//   2. An object made while the cache was black is marked and in no chunk: its pointers are stored with the barrier.
//   3. A marker that marked something, or took a chunk from the list, says so (`active`) at the next handshake.
//
// The barrier shades what is overwritten and what is stored, always. The first keeps what a task that was not yet
// scanned may have read; the second what one that was not yet scanned gives to one that was, or to an object that is
// black.
// Rejected: a buffer of the barrier's own (a mark is one store, to a line that will be needed anyhow).
#include "gc/gc_int.h"

#include <sys/mman.h>
#include <unistd.h>

enum { OBLET_BYTES = 128 * 1024, SHARE_LEAST = CHUNK_ENTRIES < 16 ? 2 : 8 };

// What marking one object goes through; calls would be a fifth of it.
#define HOT static inline __attribute__((always_inline))

// ---- chunks -------------------------------------------------------------------------------------------------------

// As many as all objects would fill, and some that are not full: so there always is one, without asking anybody for
// memory.
static size_t chunks_max(void)
{
	return gc.bytes / GRAIN / CHUNK_ENTRIES + 64 * (size_t)(gc.workers + 1);
}

bool gc_chunks_init(void)
{
	gc.chunk_base = gc_reserve(chunks_max() * sizeof gc.chunk_base[0]);
	gc.chunk_links = gc_reserve(chunks_max() * sizeof gc.chunk_links[0]);
	gc.chunks_go_back = sizeof(struct gc_chunk) % (size_t)sysconf(_SC_PAGESIZE) == 0;
	return gc.chunk_base != NULL && gc.chunk_links != NULL;
}

void gc_chunks_done(void)
{
	gc_unreserve(gc.chunk_base, chunks_max() * sizeof gc.chunk_base[0]);
	gc_unreserve(gc.chunk_links, chunks_max() * sizeof gc.chunk_links[0]);
	gc.chunk_base = NULL;
	gc.chunk_links = NULL;
}

// Whether what is freed counts no more: where pages are larger than a chunk it stays. (The simulation's small ones are
// told apart.)
static bool freed_is_gone(void)
{
	return gc.chunks_go_back || CHUNK_ENTRIES < 16;
}

static struct gc_chunk *chunk_new(void)
{
	tare_spin_lock(&gc.chunks_spin);
	struct gc_chunk *chunk = gc.spare;
	if (chunk != NULL) {
		gc.spare = chunk->next;
	} else {
		bool gone = gc.chunk_gone > 0;
		size_t number = gone ? gc.chunk_gone - 1 : gc.chunk_top++;
		TARE_ASSERT(number < chunks_max());
		gc.chunk_gone = gc.chunk_links[number];
		chunk = &gc.chunk_base[number];
		if (!gone || freed_is_gone())
			atomic_fetch_add_explicit(&gc.chunks, 1, memory_order_relaxed);
	}
	tare_spin_unlock(&gc.chunks_spin);
	chunk->count = 0;
	return chunk;
}

void gc_chunk_free(struct gc_chunk *chunk)
{
	size_t number = (size_t)(chunk - gc.chunk_base);
	if (gc.chunks_go_back)
		(void)madvise(chunk, sizeof *chunk, MADV_DONTNEED);
	if (freed_is_gone())
		atomic_fetch_sub_explicit(&gc.chunks, 1, memory_order_relaxed);
	tare_spin_lock(&gc.chunks_spin);
	gc.chunk_links[number] = gc.chunk_gone;
	gc.chunk_gone = (uint32_t)(number + 1);
	tare_spin_unlock(&gc.chunks_spin);
}

static void chunk_spare(struct gc_chunk *chunk)
{
	tare_spin_lock(&gc.chunks_spin);
	chunk->next = gc.spare;
	gc.spare = chunk;
	tare_spin_unlock(&gc.chunks_spin);
}

static void chunk_give(struct gc_chunk *chunk)
{
	tare_spin_lock(&gc.chunks_spin);
	chunk->next = gc.grey;
	gc.grey = chunk;
	atomic_fetch_add_explicit(&gc.grey_count, 1, memory_order_relaxed);
	tare_spin_unlock(&gc.chunks_spin);
	gc_work_added();
}

static struct gc_chunk *chunk_take(void)
{
	if (atomic_load_explicit(&gc.grey_count, memory_order_relaxed) == 0)
		return NULL;
	tare_spin_lock(&gc.chunks_spin);
	struct gc_chunk *chunk = gc.grey;
	if (chunk != NULL) {
		gc.grey = chunk->next;
		atomic_fetch_sub_explicit(&gc.grey_count, 1, memory_order_relaxed);
	}
	tare_spin_unlock(&gc.chunks_spin);
	return chunk;
}

HOT void push(struct gc_marker *marker, uintptr_t entry)
{
	struct gc_chunk *chunk = marker->chunk;
	if (TARE_UNLIKELY(chunk == NULL || chunk->count == CHUNK_ENTRIES)) {
		if (chunk != NULL)
			chunk_give(chunk);
		chunk = marker->chunk = chunk_new();
	}
	chunk->entries[chunk->count++] = entry;
}

bool gc_marker_flush(struct gc_marker *marker)
{
	struct gc_chunk *chunk = marker->chunk;
	bool any = chunk != NULL && chunk->count > 0, was_active = marker->active || any;
	TARE_ASSERT(marker->taken == marker->put);
	marker->active = false;
	if (any) {
		marker->chunk = NULL;
		chunk_give(chunk);
	}
	return was_active;
}

void gc_marker_give(struct gc_marker *marker)
{
	struct gc_chunk *chunk = marker->chunk;
	if (gc.workers == 1 || chunk == NULL || chunk->count == 0)
		return;
	marker->chunk = NULL;
	chunk_give(chunk);
}

// ---- marking one --------------------------------------------------------------------------------------------------

// Marks the slot. Its beginning, if an object is there that was not marked and can hold pointers, else 0.
HOT uintptr_t mark(struct gc_marker *marker, struct gc_span *span, uint32_t slot)
{
	gc_state *state = &span->states[slot];
	if (atomic_load_explicit(state, memory_order_acquire) != SLOT_WHITE)
		return 0;
	atomic_store_explicit(state, SLOT_BLACK, memory_order_relaxed);
	marker->active = true;
	marker->bytes += gc_slot_bytes(span);
	return atomic_load_explicit(&span->kind, memory_order_relaxed) == GC_NOSCAN ? 0 : gc_slot_base(span, slot);
}

HOT void mark_and_push(struct gc_marker *marker, struct gc_span *span, uint32_t slot)
{
	uintptr_t object = mark(marker, span, slot);
	if (object != 0)
		push(marker, object);
}

// The object that holds the address, if one does, is reachable.
static void shade(struct gc_marker *marker, uintptr_t address)
{
	uint32_t slot;
	struct gc_span *span = gc_slot_of(address, &slot);
	if (span != NULL)
		mark_and_push(marker, span, slot);
}

// A sanitizer sees places between variables in what is scanned, and others' writes: a timer or a waiter on the stack of
// a task that waits is the runtime's too. Such words are no pointers to objects, before or after.
#define CONSERVATIVE __attribute__((no_sanitize("address"), no_sanitize("thread")))

CONSERVATIVE static uintptr_t word_at(uintptr_t address)
{
	return __atomic_load_n((const tare_gc_word *)address, __ATOMIC_ACQUIRE);
}

CONSERVATIVE void gc_scan_words(const void *low, const void *high)
{
	struct gc_marker *marker = &gc_cache_own()->marker;
	uintptr_t word = (uintptr_t)low & ~(uintptr_t)(sizeof word - 1);
	for (; word + sizeof word <= (uintptr_t)high; word += sizeof word)
		shade(marker, word_at(word));
}

void tare_gc_store_marking(tare_gc_word *slot, uintptr_t value)
{
	struct gc_marker *marker = &gc_cache_own()->marker;
	if (gc_shading() && !GC_FAULT(NO_BARRIER)) {
		shade(marker, __atomic_load_n(slot, __ATOMIC_ACQUIRE));
		shade(marker, value);
	}
	gc_lint_begin();
	__atomic_store_n(slot, value, __ATOMIC_RELEASE);
	gc_lint_end(slot, sizeof *slot);
}

// ---- looking into objects -----------------------------------------------------------------------------------------

// gcc's own prefetch is to write where the processor's generation surely knows how; those that don't take this for a
// no-op.
static inline void prefetch_to_write(const void *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

HOT void ring_resolve(struct gc_marker *marker)
{
	struct gc_arrival *arrival = &marker->ring[marker->resolved++ % RING];
	arrival->span = gc_slot_of(arrival->address, &arrival->slot);
	if (arrival->span != NULL)
		prefetch_to_write(&arrival->span->states[arrival->slot]);
}

HOT void ring_take(struct gc_marker *marker)
{
	const struct gc_arrival *arrival = &marker->ring[marker->taken++ % RING];
	if (arrival->span != NULL)
		mark_and_push(marker, arrival->span, arrival->slot);
}

// What is to be marked waits while others are looked at, until what that needs has come into the cache.
static inline void ring_put(struct gc_marker *marker, uintptr_t address)
{
	size_t offset = address - (uintptr_t)gc.base;
	if (offset >= gc.bytes)
		return;
	__builtin_prefetch(&gc.spans[offset >> BLOCK_SHIFT]);
	marker->ring[marker->put++ % RING].address = address;
	if (marker->put - marker->resolved == RING / 2)
		ring_resolve(marker);
	if (marker->resolved - marker->taken == RING / 2)
		ring_take(marker);
}

static bool ring_get(struct gc_marker *marker)
{
	if (marker->put == marker->taken)
		return false;
	if (marker->put != marker->resolved)
		ring_resolve(marker);
	ring_take(marker);
	return true;
}

HOT void look_into_one(struct gc_marker *marker, uintptr_t object, const struct tare_gc_type *type)
{
	for (uint32_t i = 0; i < type->pointer_count; i++)
		ring_put(marker, __atomic_load_n((const tare_gc_word *)(object + type->pointers[i]), __ATOMIC_ACQUIRE));
}

// A piece of an array: the elements that begin in [from, to).
static void look_into_elements(struct gc_marker *marker, uintptr_t first, const struct tare_gc_type *type,
			       uintptr_t from, uintptr_t to)
{
	uintptr_t at = from <= first ? first : first + (from - first + type->bytes - 1) / type->bytes * type->bytes;
	for (; at < to; at += type->bytes)
		look_into_one(marker, at, type);
}

// Bytes that it looked into.
static size_t look_into_array(struct gc_marker *marker, const struct gc_span *span, uintptr_t object, uintptr_t entry)
{
	const struct gc_head *head = (const struct gc_head *)object;
	const struct tare_gc_type *type = __atomic_load_n(&head->type, __ATOMIC_ACQUIRE);
	if (type == NULL)
		return sizeof *head; // not made yet: it is black, and what looked like a pointer to it was none
	uintptr_t first = object + sizeof *head, end = first + head->count * type->bytes, to = end;
	if (span->slot_bytes == 0 && end - entry > OBLET_BYTES) {
		to = entry + OBLET_BYTES;
		push(marker, to); // the rest, for whoever comes first
	}
	look_into_elements(marker, first, type, entry, to);
	return to - entry;
}

// Bytes that it looked into.
static size_t look_into(struct gc_marker *marker, uintptr_t entry)
{
	const struct gc_span *span = gc_span_of(entry);
	if (atomic_load_explicit(&span->kind, memory_order_relaxed) == GC_TYPED) {
		look_into_one(marker, entry, span->type);
		return span->slot_bytes;
	}
	uint32_t slot = gc_slot_at(span, entry - (uintptr_t)gc_span_base(span));
	return look_into_array(marker, span, gc_slot_base(span, slot), entry);
}

static bool chunk_ensure(struct gc_marker *marker)
{
	struct gc_chunk *chunk = marker->chunk;
	if (chunk != NULL && chunk->count > 0)
		return true;
	struct gc_chunk *taken = chunk_take();
	if (taken == NULL)
		return false;
	if (chunk != NULL)
		chunk_spare(chunk);
	marker->chunk = taken;
	marker->active = true;
	return true;
}

// What is deep and narrow, as a tree is, never fills a chunk: half of what waits here goes to those who find nothing,
// the older half, since more hangs on it.
static void share(struct gc_marker *marker)
{
	struct gc_chunk *chunk = marker->chunk;
	if (gc.workers == 1 || chunk == NULL || chunk->count < SHARE_LEAST ||
	    atomic_load_explicit(&gc.grey_count, memory_order_relaxed) > 0)
		return;
	struct gc_chunk *half = chunk_new();
	half->count = chunk->count / 2;
	chunk->count -= half->count;
	memcpy(half->entries, chunk->entries, half->count * sizeof half->entries[0]);
	memmove(chunk->entries, chunk->entries + half->count, chunk->count * sizeof chunk->entries[0]);
	chunk_give(half);
}

// What is to be looked into next waits until its line has come into the cache, too.
size_t gc_drain(struct gc_marker *marker, size_t bytes)
{
	share(marker);
	uintptr_t soon[RING];
	size_t done = 0;
	unsigned count = 0, at = 0;
	for (;;) {
		if (done < bytes && count < RING && chunk_ensure(marker)) {
			uintptr_t entry = marker->chunk->entries[--marker->chunk->count];
			__builtin_prefetch((const void *)entry);
			soon[(at + count++) % RING] = entry;
		} else if (count > 0) {
			done += look_into(marker, soon[at]);
			at = (at + 1) % RING;
			count--;
		} else if (!ring_get(marker) || done >= bytes) {
			break;
		}
	}
	while (ring_get(marker)) // who marks on this worker next begins with an empty one
		continue;
	return done;
}
