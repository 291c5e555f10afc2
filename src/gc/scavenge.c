// SPDX-License-Identifier: MIT
//
// Giving back: pages of free blocks to the system, and lists that marking no longer needs.
//
// A free block that was used is idle: its pages are the process's, and whoever takes it next must clear it. Blocks are
// released by regions of 2 MiB, since that is what a huge page covers: one that lies there comes apart when a part of
// it is released. So regions without a used block go first, then those that are mostly free; and those that are mostly
// used only when a limit demands it. From high addresses down, because blocks are taken from low ones up.
//
// Invariants
//   1. While its pages are being released a block counts as used, so nobody takes it, and there is no lock meanwhile.
//   2. dirty_blocks and idle_blocks are the numbers of bits in `dirty`, and in `dirty` without `used`; a block as in 1
//      is not idle.
//
// Threads: any, a plain one too; the bitmaps under blocks_spin. Nothing here parks, but for gc_chunks_trim.
// Rejected: releasing when a span is freed (it is mostly taken again before the next collection); MADV_FREE (what was
// released still counts as the process's until somebody else is short); leaving it to the kernel to make huge pages of
// what was released in part (it does, and the memory is back).
#include "gc/gc_int.h"

#include <sys/mman.h>

enum { REGION_BLOCKS = 32, SPARE_CHUNKS = 16 };
_Static_assert(REGION_BLOCKS << BLOCK_SHIFT == REGION_BYTES, "a region is half a word of the bitmaps");

struct gc_blocks gc_blocks_now(void)
{
	tare_spin_lock(&gc.blocks_spin);
	struct gc_blocks now = {.dirty_bytes = (uint64_t)gc.dirty_blocks << BLOCK_SHIFT,
				.idle_bytes = (uint64_t)gc.idle_blocks << BLOCK_SHIFT,
				.rows_bytes = gc.rows_used,
				.top_blocks = gc.blocks_top};
	tare_spin_unlock(&gc.blocks_spin);
	return now;
}

static uint32_t half(const uint64_t *bits, size_t region)
{
	return (uint32_t)(bits[region / 2] >> (region % 2 * 32));
}

static uint64_t whole(uint32_t bits, size_t region)
{
	return (uint64_t)bits << (region % 2 * 32);
}

// The region's blocks below the top.
static uint32_t below_top(size_t region)
{
	size_t count = gc.blocks_top - TARE_MIN(gc.blocks_top, region * REGION_BLOCKS);
	return count >= REGION_BLOCKS ? UINT32_MAX : (UINT32_C(1) << count) - 1;
}

// The region's free blocks, which are the caller's from now on; a huge page may have brought memory to those too that
// nobody has used. 0: none is idle, or more than used_max are in use.
static uint32_t region_hold(size_t region, unsigned used_max)
{
	tare_spin_lock(&gc.blocks_spin);
	uint32_t used = half(gc.used, region), held = ~used & below_top(region);
	uint32_t idle = half(gc.dirty, region) & held;
	if (idle == 0 || (unsigned)__builtin_popcount(used) > used_max)
		held = idle = 0;
	gc.used[region / 2] |= whole(held, region);
	gc.held_blocks += (size_t)__builtin_popcount(held);
	gc.idle_blocks -= (size_t)__builtin_popcount(idle);
	tare_spin_unlock(&gc.blocks_spin);
	return held;
}

// Of the idle blocks that were released.
static size_t region_let_go(size_t region, uint32_t held, uint32_t released)
{
	tare_spin_lock(&gc.blocks_spin);
	uint32_t dirty = half(gc.dirty, region);
	size_t count = (size_t)__builtin_popcount(released & dirty);
	gc.used[region / 2] &= ~whole(held, region);
	gc.held_blocks -= (size_t)__builtin_popcount(held);
	gc.dirty[region / 2] &= ~whole(released, region);
	gc.dirty_blocks -= count;
	gc.idle_blocks += (size_t)__builtin_popcount(held & dirty) - count;
	gc.search_at = TARE_MIN(gc.search_at, region * REGION_BLOCKS);
	tare_spin_unlock(&gc.blocks_spin);
	return count << BLOCK_SHIFT;
}

// Those of the held blocks that the system took. What is left of a huge page must not become one again: that would
// bring back what has gone.
static uint32_t region_advise(size_t region, uint32_t held)
{
	size_t at = region * REGION_BYTES;
	char *base = gc.base + at;
	uint32_t released = 0;
	if (at >= gc.huge_from)
		(void)madvise(base, TARE_MIN((size_t)REGION_BYTES, gc.bytes - at),
			      held == UINT32_MAX ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (unsigned from = 0, to; from < REGION_BLOCKS; from = to) {
		to = from + 1;
		if ((held >> from & 1) == 0)
			continue;
		while (to < REGION_BLOCKS && (held >> to & 1) != 0)
			to++;
		size_t count = to - from;
		if (madvise(base + ((size_t)from << BLOCK_SHIFT), count << BLOCK_SHIFT, MADV_DONTNEED) == 0)
			released |= (uint32_t)((UINT64_C(1) << count) - 1) << from;
	}
	return released;
}

// Bytes that were released.
static size_t region_release(size_t region, unsigned used_max)
{
	uint32_t held = region_hold(region, used_max);
	if (held == 0)
		return 0;
	int64_t since_ns = tare_now_ns();
	uint32_t released = region_advise(region, held);
	size_t bytes = region_let_go(region, held, released);
	atomic_fetch_add_explicit(&gc.released_bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&gc.release_ns, (uint64_t)(tare_now_ns() - since_ns), memory_order_relaxed);
	return bytes;
}

bool gc_release_goes_on(void)
{
	tare_spin_lock(&gc.blocks_spin);
	bool any = gc.held_blocks > 0;
	tare_spin_unlock(&gc.blocks_spin);
	if (any)
		tare_yield();
	return any;
}

size_t gc_release(size_t bytes, enum gc_release_from from)
{
	static const unsigned levels[] = {[GC_FROM_FREE] = 0, [GC_FROM_MOSTLY_FREE] = 16, [GC_FROM_ANY] = 32};
	size_t sum = 0;
	for (unsigned level = 0; level <= (unsigned)from && sum < bytes; level++) {
		struct gc_blocks now = gc_blocks_now();
		size_t region = (now.top_blocks + REGION_BLOCKS - 1) / REGION_BLOCKS;
		while (now.idle_bytes > 0 && sum < bytes && region-- > 0)
			sum += region_release(region, levels[level]);
	}
	return sum;
}

// ---- lists --------------------------------------------------------------------------------------------------------

void gc_chunks_trim(void)
{
	enum { AT_ONCE = 64 };
	struct gc_chunk *chunk;
	tare_spin_lock(&gc.chunks_spin);
	struct gc_chunk **last = &gc.spare;
	for (unsigned kept = 0; *last != NULL && kept < SPARE_CHUNKS; kept++)
		last = &(*last)->next;
	struct gc_chunk *rest = *last;
	*last = NULL;
	tare_spin_unlock(&gc.chunks_spin);
	for (unsigned n = 1; (chunk = rest) != NULL; n++) {
		rest = chunk->next;
		gc_chunk_free(chunk);
		if (n % AT_ONCE == 0)
			tare_breathe(tare_now_ns());
	}
}
