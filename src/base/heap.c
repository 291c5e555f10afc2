// SPDX-License-Identifier: MIT
//
// Counted heap calls: libc's allocator, each block with a head that says whose it is.
//
//   malloc's block:  [padding] [head: tag, padding, bytes] [what the caller gets]
//
// So a block is counted down where it was counted up, by the bytes that were asked for, and freeing asks libc nothing.
//
// Invariants
//   1. A row of `cells` belongs to the thread whose tare_shard() it is, and only that thread writes it: plain
//      additions. The last row is everybody's who has no number of its own: atomic additions.
//   2. A tag's id is given once and never changes; 0 is none yet.
//
// The thread's own data is reached directly: no function here is inlined into a task's, so no address is kept across a
// switch.
// Threads: any. Sums are read while others add: each number is right, no two are of the same instant.
// Rejected: sizes from malloc_usable_size, without a head (dearer than the head's line, which the caller is about to
// write anyway, and says nothing of who allocated); a tag by the caller's address (a return address costs a table, and
// a name is what people look for).
#include <tare/heap.h>

#include "base/heap_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct head {
	uint32_t tag;     // and, of a sample, its site: see heap_sample.c
	uint32_t padding; // before the head
	size_t bytes;     // asked for
};
_Static_assert(sizeof(struct head) == TARE_HEAP_HEAD_BYTES && alignof(max_align_t) <= sizeof(struct head),
	       "what follows the head is aligned as malloc's blocks are");

struct cell {
	atomic_ullong allocs, frees, bytes_allocated, bytes_freed;
};

static struct cell cells[TARE_SHARD_MAX][TARE_TAGS_MAX];

static struct tare_spin tags_spin;
static const char *tag_names[TARE_TAGS_MAX] = {[TARE_TAGS_MAX - 1] = "other"};
static atomic_uint tag_count; // the last, "other", not among them

enum { TAG_MASK = 0xff, SITE_SHIFT = 8 };
_Static_assert(TARE_TAGS_MAX <= TAG_MASK + 1, "a tag's id and a site's share a word");

static _Thread_local int64_t until_sample = INT64_MIN / 2; // bytes; below 0: this block is a sample
static _Thread_local const char *forbidden_by;             // NULL: this thread may call

// ---- tags ---------------------------------------------------------------------------------------------------------

static unsigned tag_register(struct tare_tag *tag)
{
	tare_spin_lock(&tags_spin);
	unsigned id = atomic_load_explicit(&tag->id_plus_1, memory_order_relaxed);
	if (id == 0) {
		unsigned count = atomic_load_explicit(&tag_count, memory_order_relaxed);
		unsigned same = 0;
		while (same < count && strcmp(tag_names[same], tag->name) != 0)
			same++;
		if (same == count && count < TARE_TAGS_MAX - 1) {
			tag_names[count] = tag->name;
			atomic_store_explicit(&tag_count, count + 1, memory_order_release);
		}
		id = same + 1;
		// release: who finds the number finds the name (base_heap_tag_name).
		atomic_store_explicit(&tag->id_plus_1, id, memory_order_release);
	}
	tare_spin_unlock(&tags_spin);
	return id - 1;
}

static unsigned tag_id(struct tare_tag *tag)
{
	unsigned id = atomic_load_explicit(&tag->id_plus_1, memory_order_acquire);
	return TARE_LIKELY(id != 0) ? id - 1 : tag_register(tag);
}

static unsigned shard_here(void)
{
#ifndef TARE_SIM
	unsigned n = tare_shard_plus_1;
	if (TARE_LIKELY(n != 0))
		return n - 1;
#endif
	return tare_shard();
}

// One call and its bytes.
static inline void add(unsigned shard, atomic_ullong *calls, atomic_ullong *bytes, size_t n)
{
	if (TARE_LIKELY(shard < TARE_SHARD_MAX - 1)) {
		tare_bump(calls, 1);
		tare_bump(bytes, n);
	} else {
		atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(bytes, n, memory_order_relaxed);
	}
}

// ---- calls --------------------------------------------------------------------------------------------------------

TARE_NORETURN static void forbidden(const char *what, const char *tag)
{
	char text[256];
	snprintf(text, sizeof text, "%s for \"%.80s\" where \"%.80s\" forbids heap calls", what, tag, forbidden_by);
	tare_assert_failed(__FILE__, __LINE__, text);
}

static inline void allow(const char *what, const struct tare_tag *tag)
{
	if (TARE_UNLIKELY(forbidden_by != NULL))
		forbidden(what, tag->name);
}

// padding: before the head; a multiple of the alignment less the head.
static inline void *count_alloc(struct tare_tag *tag, char *block, size_t padding, size_t bytes)
{
	if (TARE_UNLIKELY(block == NULL))
		return NULL;
	unsigned id = tag_id(tag), shard = shard_here();
	struct head *head = (struct head *)(void *)(block + padding);
	*head = (struct head){.tag = id, .padding = (uint32_t)padding, .bytes = bytes};
	if (TARE_UNLIKELY((until_sample -= (int64_t)bytes) < 0))
		head->tag |= base_heap_sample(&until_sample, bytes, id) << SITE_SHIFT;
	struct cell *cell = &cells[shard][id];
	add(shard, &cell->allocs, &cell->bytes_allocated, bytes);
	return head + 1;
}

static inline struct head *count_free(void *ptr)
{
	struct head *head = (struct head *)ptr - 1;
	unsigned shard = shard_here();
	struct cell *cell = &cells[shard][head->tag & TAG_MASK];
	add(shard, &cell->frees, &cell->bytes_freed, head->bytes);
	if (TARE_UNLIKELY(head->tag > TAG_MASK))
		base_heap_sample_freed(head->tag >> SITE_SHIFT, head->bytes);
	return head;
}

TARE_NOINLINE void *tare_alloc(struct tare_tag *tag, size_t bytes)
{
	allow("tare_alloc", tag);
	if (TARE_UNLIKELY(bytes > PTRDIFF_MAX - sizeof(struct head)))
		return NULL;
	return count_alloc(tag, malloc(sizeof(struct head) + bytes), 0, bytes);
}

TARE_NOINLINE void *tare_alloc_zeroed(struct tare_tag *tag, size_t count, size_t bytes)
{
	allow("tare_alloc_zeroed", tag);
	size_t total;
	if (TARE_UNLIKELY(__builtin_mul_overflow(count, bytes, &total) || total > PTRDIFF_MAX - sizeof(struct head)))
		return NULL;
	return count_alloc(tag, calloc(1, sizeof(struct head) + total), 0, total);
}

TARE_NOINLINE void *tare_alloc_aligned(struct tare_tag *tag, size_t alignment, size_t bytes)
{
	TARE_ASSERT(alignment > 0 && (alignment & (alignment - 1)) == 0);
	allow("tare_alloc_aligned", tag);
	alignment = TARE_MAX(alignment, sizeof(struct head));
	void *block = NULL;
	if (bytes > PTRDIFF_MAX - alignment || alignment > UINT32_MAX ||
	    posix_memalign(&block, alignment, alignment + bytes) != 0)
		return NULL;
	return count_alloc(tag, block, alignment - sizeof(struct head), bytes);
}

TARE_NOINLINE void *tare_realloc(struct tare_tag *tag, void *ptr, size_t bytes)
{
	if (ptr == NULL)
		return tare_alloc(tag, bytes);
	allow("tare_realloc", tag);
	struct head *head = (struct head *)ptr - 1;
	TARE_ASSERT(head->padding == 0); // of tare_alloc_aligned: realloc would lose the alignment
	if (TARE_UNLIKELY(bytes > PTRDIFF_MAX - sizeof(struct head)))
		return NULL;
	const struct head before = *head;
	struct head *moved = realloc(head, sizeof(struct head) + bytes);
	if (moved == NULL)
		return NULL;
	*moved = before; // it may be smaller than it was, but never than its head
	(void)count_free(moved + 1);
	return count_alloc(tag, (char *)moved, 0, bytes);
}

void tare_free(void *ptr)
{
	if (ptr == NULL)
		return;
	struct head *head = count_free(ptr);
	if (TARE_UNLIKELY(forbidden_by != NULL))
		forbidden("tare_free", tag_names[head->tag & TAG_MASK]);
	free((char *)head - head->padding);
}

char *tare_strdup(struct tare_tag *tag, const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = tare_alloc(tag, bytes);
	return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

void *tare_pages(struct tare_tag *tag, size_t bytes)
{
	allow("tare_pages", tag);
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return NULL;
	unsigned id = tag_id(tag), shard = shard_here();
	struct cell *cell = &cells[shard][id];
	add(shard, &cell->allocs, &cell->bytes_allocated, bytes);
	return pages;
}

void tare_pages_free(struct tare_tag *tag, void *pages, size_t bytes)
{
	if (pages == NULL)
		return;
	allow("tare_pages_free", tag);
	unsigned shard = shard_here();
	struct cell *cell = &cells[shard][tag_id(tag)];
	add(shard, &cell->frees, &cell->bytes_freed, bytes);
	munmap(pages, bytes);
}

// ---- what there is ------------------------------------------------------------------------------------------------

// A block may be freed by another thread than had it: what is freed is read in all rows before what is allocated is
// read in any, so that none is seen freed that was not seen allocated. Acquire, so that the processor keeps to that
// order.
static void tag_read(unsigned id, struct tare_heap_stats *ret)
{
	uint64_t freed = 0;
	*ret = (struct tare_heap_stats){0};
	for (unsigned i = 0; i < TARE_SHARD_MAX; i++) {
		freed += atomic_load_explicit(&cells[i][id].bytes_freed, memory_order_acquire);
		ret->frees += atomic_load_explicit(&cells[i][id].frees, memory_order_acquire);
	}
	for (unsigned i = 0; i < TARE_SHARD_MAX; i++) {
		ret->allocs += atomic_load_explicit(&cells[i][id].allocs, memory_order_relaxed);
		ret->bytes_total += atomic_load_explicit(&cells[i][id].bytes_allocated, memory_order_relaxed);
	}
	// A thread's own stores may still be seen the other way round on a weakly ordered processor.
	ret->allocs = TARE_MAX(ret->allocs, ret->frees);
	ret->bytes_total = TARE_MAX(ret->bytes_total, freed);
	ret->bytes_live = ret->bytes_total - freed;
}

size_t tare_tags_read(struct tare_tag_row *rows, size_t max)
{
	size_t count = 0;
	unsigned ids = atomic_load_explicit(&tag_count, memory_order_acquire);
	for (unsigned i = 0; i <= ids; i++) {
		unsigned id = i < ids ? i : TARE_TAGS_MAX - 1;
		struct tare_tag_row row = {.name = tag_names[id]};
		tag_read(id, &row.stats);
		if (i == ids && row.stats.allocs == 0)
			break; // there are no others
		if (count++ < max)
			rows[count - 1] = row;
	}
	return count;
}

void tare_heap_stats_read(struct tare_heap_stats *ret)
{
	struct tare_tag_row rows[TARE_TAGS_MAX];
	size_t count = tare_tags_read(rows, TARE_TAGS_MAX);
	*ret = (struct tare_heap_stats){0};
	for (size_t i = 0; i < count; i++) {
		ret->allocs += rows[i].stats.allocs;
		ret->frees += rows[i].stats.frees;
		ret->bytes_total += rows[i].stats.bytes_total;
		ret->bytes_live += rows[i].stats.bytes_live;
	}
}

const char *base_heap_tag_name(uint32_t tag)
{
	return tag_names[tag];
}

TARE_NOIPA const char *tare_heap_forbid(const char *who)
{
	const char *before = forbidden_by;
	forbidden_by = who;
	return before;
}
