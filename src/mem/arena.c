// SPDX-License-Identifier: MIT
//
// Arenas: blocks that are filled from one end to the other and emptied all at once. arena.h draws one.
//
// Invariants
//   1. Every block but the first has room for anything that gets no block of its own, or was made for what it holds.
//   2. start <= face.at <= face.end, all in the current block; blocks behind it hold nothing.
//   3. What was made later has a higher serial: children, cleanups and large blocks, each list the youngest first
//      (children last). So a mark is a serial and a place.
//   4. reserved is the sum of the heap's blocks of an arena and of all below it; no ancestor's is above its limit.
//   5. A refusal does not depend on rounds before: what they left behind is given back before anything is refused.
//   6. Under AddressSanitizer all free bytes are poisoned, and MEM_REDZONE bytes behind each that are taken.
//
// Threads: one at a time; reset, free and new of arenas without a parent meet in arena_list.c.
// Rejected: filling downwards (one instruction fewer, but the last block can't grow in place); children inside their
// parent's blocks (a child's end would free nothing); one block that grows to the most ever needed (a spike is copied,
// or kept for ever).
#include "mem/arena.h"

#include "mem/poison.h"
#include <tare/heap.h>

#include <errno.h>
#include <stdio.h>

static struct tare_tag heap_tag = TARE_TAG("arenas");

enum {
	BLOCK_BYTES = 4 * 1024,
	BLOCK_BYTES_MAX = 64 * 1024,
	WINDOW = 64, // rounds; what two windows did not reach goes
	ALIGNMENT_MAX = 64 * 1024,
};

static const size_t taking_max = SIZE_MAX / 4; // with all that is added to it, no sum wraps round

_Static_assert(offsetof(struct arena, first) + sizeof(struct block) == sizeof(struct arena),
	       "the first block's data follow");
_Static_assert(sizeof(struct arena) <= TARE_ARENA_BLOCK_MIN - 256, "a first block has room for something");
_Static_assert(sizeof(struct block) % TARE_ARENA_ALIGNMENT == 0 && sizeof(struct large) % TARE_ARENA_ALIGNMENT == 0,
	       "data are aligned");

static struct arena *arena_of(struct tare_arena *face)
{
	return TARE_CONTAINER_OF(face, struct arena, face);
}

static char *data_of(struct block *block)
{
	return (char *)(block + 1);
}

static char *end_of(const struct arena *arena, struct block *block)
{
	char *begin = block == &arena->first ? (char *)arena : (char *)block;
	return begin + block->bytes;
}

// What a taking uses of a block.
static size_t span(size_t bytes)
{
	return ((TARE_MAX(bytes, (size_t)1) + TARE_ARENA_ALIGNMENT - 1) & ~(size_t)(TARE_ARENA_ALIGNMENT - 1)) +
	       MEM_REDZONE;
}

static void note_used(struct arena *arena)
{
	uint64_t used = mem_arena_used(arena);
	if (used > atomic_load_explicit(&arena->used_max, memory_order_relaxed))
		atomic_store_explicit(&arena->used_max, used, memory_order_relaxed);
}

// ---- the heap, within limits --------------------------------------------------------------------------------------

static uint64_t reserved_of(const struct arena *arena)
{
	return atomic_load_explicit(&arena->reserved, memory_order_relaxed);
}

// What the limits of the arena and its ancestors leave.
static uint64_t limit_left(const struct arena *arena)
{
	uint64_t left = UINT64_MAX;
	for (; arena != NULL; arena = arena->parent)
		if (arena->options.limit_bytes != 0)
			left = TARE_MIN(left, arena->options.limit_bytes - reserved_of(arena));
	return left;
}

static void count_in(struct arena *arena, uint64_t bytes, unsigned blocks)
{
	for (; arena != NULL; arena = arena->parent) {
		tare_bump(&arena->reserved, bytes);
		tare_bump(&arena->blocks, blocks);
		tare_bump(&arena->heap_allocs, 1);
		if (reserved_of(arena) > atomic_load_explicit(&arena->reserved_max, memory_order_relaxed))
			atomic_store_explicit(&arena->reserved_max, reserved_of(arena), memory_order_relaxed);
	}
}

static void count_out(struct arena *arena, uint64_t bytes, uint64_t blocks)
{
	for (; arena != NULL; arena = arena->parent) {
		tare_bump(&arena->reserved, -bytes);
		tare_bump(&arena->blocks, -blocks);
	}
}

static void block_free(struct arena *arena, struct block *block)
{
	size_t bytes = block->bytes;
	arena->kept_bytes -= bytes;
	mem_unpoison(block, bytes);
	tare_free(block);
	count_out(arena, bytes, 1);
}

static void chain_free(struct arena *arena, struct block *from)
{
	while (from->next != NULL) {
		struct block *block = from->next;
		from->next = block->next;
		block_free(arena, block);
	}
}

// Frees what no taking of this round has reached, here and above. False: nothing was to be had.
static bool unreached_free(struct arena *arena)
{
	bool any = false;
	for (; arena != NULL; arena = arena->parent) {
		any |= arena->block->next != NULL;
		chain_free(arena, arena->block);
	}
	return any;
}

static void *refuse(struct arena *arena, int rc)
{
	arena->error = rc;
	if (rc == -ENOMEM)
		tare_bump(&arena->refused_memory, 1);
	if (rc == -EDQUOT)
		tare_bump(&arena->refused_limit, 1);
	return NULL;
}

// A new heap block (old NULL) or a larger or smaller one in the old one's place.
static void *heap_get(struct arena *arena, void *old, size_t old_bytes, size_t bytes)
{
	size_t more = bytes > old_bytes ? bytes - old_bytes : 0;
	if (more > limit_left(arena) && !(unreached_free(arena) && more <= limit_left(arena)))
		return refuse(arena, -EDQUOT);
	void *ptr = tare_realloc(&heap_tag, old, bytes);
	if (ptr == NULL && unreached_free(arena))
		ptr = tare_realloc(&heap_tag, old, bytes);
	if (ptr == NULL)
		return refuse(arena, -ENOMEM);
	if (old != NULL)
		count_out(arena, old_bytes, 1);
	count_in(arena, bytes, 1);
	return ptr;
}

// ---- taking -------------------------------------------------------------------------------------------------------

static void enter(struct arena *arena, struct block *block)
{
	arena->block = block;
	arena->face.at = arena->start = data_of(block);
	arena->face.end = end_of(arena, block);
	block->reached = atomic_load_explicit(&arena->resets, memory_order_relaxed) / WINDOW;
}

// From the current block; NULL: no room.
static void *bump(struct arena *arena, size_t alignment, size_t bytes)
{
	uintptr_t at = (uintptr_t)arena->face.at;
	size_t gap = (size_t)(-at & (alignment - 1));
	if (gap + span(bytes) > (size_t)(arena->face.end - arena->face.at))
		return NULL;
	char *ptr = arena->face.at + gap;
	arena->face.at = ptr + span(bytes);
	mem_unpoison(ptr, bytes);
	return ptr;
}

// Goes on to a block that has room.
static bool next_block(struct arena *arena, size_t need)
{
	struct block *block = arena->block, *next = block->next;
	if (next == NULL || next->bytes - sizeof *next < need) {
		size_t least = sizeof *next + need;
		size_t bytes = TARE_MAX(TARE_MIN(2 * block->bytes, arena->options.block_bytes_max), least);
		if (bytes > limit_left(arena)) // all that is left, or as little as will do
			bytes = TARE_MAX((size_t)limit_left(arena) & ~(size_t)(TARE_ARENA_ALIGNMENT - 1), least);
		struct block *made = heap_get(arena, NULL, 0, bytes);
		if (made == NULL)
			return false;
		*made = (struct block){.next = block->next, .bytes = bytes};
		block->next = made;
		arena->kept_bytes += bytes;
		mem_poison(data_of(made), bytes - sizeof *made);
		next = made;
	}
	arena->full_bytes += (uint64_t)(arena->face.at - arena->start);
	enter(arena, next);
	return true;
}

static void *take_large(struct arena *arena, size_t alignment, size_t bytes)
{
	size_t whole = sizeof(struct large) + bytes + (alignment - TARE_ARENA_ALIGNMENT);
	struct large *large = heap_get(arena, NULL, 0, whole);
	if (large == NULL)
		return NULL;
	char *data = (char *)(large + 1);
	data += -(uintptr_t)data & (alignment - 1);
	*large = (struct large){.next = arena->larges, .serial = ++arena->last_serial, .bytes = whole, .data = data};
	arena->larges = large;
	arena->large_bytes += whole;
	return data;
}

void *tare_arena_alloc_aligned(struct tare_arena *face, size_t alignment, size_t bytes)
{
	struct arena *arena = arena_of(face);
	TARE_ASSERT(alignment > 0 && (alignment & (alignment - 1)) == 0 && alignment <= ALIGNMENT_MAX);
	if (bytes > taking_max)
		return refuse(arena, -ENOMEM);
	alignment = TARE_MAX(alignment, (size_t)TARE_ARENA_ALIGNMENT);
	void *ptr = bump(arena, alignment, bytes);
	if (ptr != NULL)
		return ptr;
	size_t need = span(bytes) + (alignment - TARE_ARENA_ALIGNMENT);
	if (need > arena->large_over)
		return take_large(arena, alignment, bytes);
	return next_block(arena, need) ? bump(arena, alignment, bytes) : NULL;
}

void *tare_arena_alloc_zeroed(struct tare_arena *face, size_t count, size_t bytes)
{
	size_t all;
	if (__builtin_mul_overflow(count, bytes, &all))
		return refuse(arena_of(face), -ENOMEM);
	void *ptr = tare_arena_alloc(face, all);
	return ptr != NULL ? memset(ptr, 0, all) : NULL;
}

// The link that leads to the large block with these data, or NULL.
static struct large **large_find(struct arena *arena, const void *data)
{
	for (struct large **link = &arena->larges; *link != NULL; link = &(*link)->next)
		if ((*link)->data == data)
			return link;
	return NULL;
}

static void *large_resize(struct arena *arena, struct large **link, size_t bytes)
{
	size_t before = (*link)->bytes, whole = sizeof(struct large) + bytes;
	if (whole < before)
		note_used(arena);
	struct large *large = heap_get(arena, *link, before, whole);
	if (large == NULL)
		return NULL;
	*link = large;
	large->bytes = whole;
	large->data = (char *)(large + 1);
	arena->large_bytes += whole - before;
	return large->data;
}

static bool is_last(const struct arena *arena, const char *ptr, size_t bytes)
{
	return ptr >= arena->start && ptr < arena->face.at && ptr + span(bytes) == arena->face.at;
}

void *tare_arena_realloc(struct tare_arena *face, void *ptr, size_t old_bytes, size_t new_bytes)
{
	struct arena *arena = arena_of(face);
	if (ptr == NULL)
		return tare_arena_alloc(face, new_bytes);
	if (new_bytes > taking_max)
		return refuse(arena, -ENOMEM);
	bool last = is_last(arena, ptr, old_bytes);
	if (last && span(new_bytes) <= (size_t)(face->end - (char *)ptr)) {
		note_used(arena);
		mem_poison(ptr, span(old_bytes));
		face->at = (char *)ptr + span(new_bytes);
		mem_unpoison(ptr, new_bytes);
		return ptr;
	}
	struct large **link = span(old_bytes) > arena->large_over ? large_find(arena, ptr) : NULL;
	if (link != NULL && (*link)->data == (char *)(*link + 1))
		return large_resize(arena, link, new_bytes);
	if (new_bytes <= old_bytes)
		return ptr;
	const struct block *block = arena->block;
	void *moved = tare_arena_alloc(face, new_bytes);
	if (moved == NULL)
		return NULL;
	memcpy(moved, ptr, old_bytes);
	if (last && arena->block == block) { // it went to a block of its own
		note_used(arena);
		mem_poison(ptr, span(old_bytes));
		face->at = ptr;
	}
	return moved;
}

// ---- making and freeing -------------------------------------------------------------------------------------------

static int arena_new(struct arena **ret, struct arena *parent, const struct tare_arena_options *given)
{
	struct tare_arena_options options = *given;
	options.block_bytes = options.block_bytes != 0 ? options.block_bytes : BLOCK_BYTES;
	options.block_bytes &= ~(size_t)(TARE_ARENA_ALIGNMENT - 1);
	options.block_bytes_max = options.block_bytes_max != 0 ? options.block_bytes_max : BLOCK_BYTES_MAX;
	options.block_bytes_max = TARE_MAX(options.block_bytes_max, options.block_bytes);
	TARE_ASSERT(options.block_bytes >= TARE_ARENA_BLOCK_MIN && options.block_bytes_max <= taking_max);
	TARE_ASSERT(options.limit_bytes == 0 || options.limit_bytes >= options.block_bytes);
	TARE_ASSERT((uintptr_t)options.storage % TARE_ARENA_ALIGNMENT == 0);
	struct arena *arena = options.storage;
	if (arena == NULL)
		arena = parent != NULL ? heap_get(parent, NULL, 0, options.block_bytes)
				       : tare_alloc(&heap_tag, options.block_bytes);
	if (arena == NULL)
		return parent != NULL ? parent->error : -ENOMEM;
	memset(arena, 0, offsetof(struct arena, reserve));
	arena->reserve[0] = '\0';
	memset(&arena->first, 0, sizeof arena->first);
	arena->parent = parent;
	arena->options = options;
	arena->large_over = options.block_bytes_max / 4;
	arena->kept_bytes = arena->first.bytes = options.block_bytes;
	if (options.storage == NULL) {
		atomic_init(&arena->reserved, options.block_bytes);
		atomic_init(&arena->reserved_max, options.block_bytes);
		atomic_init(&arena->blocks, 1);
		atomic_init(&arena->heap_allocs, 1);
	}
	tare_list_init(&arena->children);
	enter(arena, &arena->first);
	mem_poison(arena->start, (size_t)(arena->face.end - arena->start));
	*ret = arena;
	return 0;
}

int tare_arena_new(struct tare_arena **ret, const struct tare_arena_options *options)
{
	struct arena *arena;
	int rc = arena_new(&arena, NULL, options);
	if (rc < 0)
		return rc;
	mem_arena_list(arena);
	*ret = &arena->face;
	return 0;
}

int tare_arena_child(struct tare_arena **ret, struct tare_arena *face, const struct tare_arena_options *options)
{
	struct arena *child, *parent = arena_of(face);
	int rc = arena_new(&child, parent, options);
	if (rc < 0)
		return rc;
	child->serial = ++parent->last_serial;
	tare_list_push_back(&parent->children, &child->link);
	*ret = &child->face;
	return 0;
}

static void larges_free(struct arena *arena, uint64_t serial)
{
	while (arena->larges != NULL && arena->larges->serial > serial) {
		struct large *large = arena->larges;
		arena->larges = large->next;
		arena->large_bytes -= large->bytes;
		count_out(arena, large->bytes, 1);
		tare_free(large);
	}
}

// It has no children and no cleanups any more.
static void destroy(struct arena *arena)
{
	TARE_ASSERT(!arena->settling);
	note_used(arena);
	larges_free(arena, 0);
	chain_free(arena, &arena->first);
	if (arena->parent != NULL)
		tare_list_remove(&arena->link);
	else
		mem_arena_unlist(arena);
	mem_unpoison(arena, arena->options.block_bytes);
	if (arena->options.storage != NULL)
		return;
	count_out(arena->parent, arena->options.block_bytes, 1);
	tare_free(arena);
}

static void cleanup_run(struct arena *arena)
{
	struct cleanup cleanup = *arena->cleanups;
	arena->cleanups = cleanup.next;
	arena->settling = true;
	cleanup.fn(cleanup.arg);
	arena->settling = false;
}

static struct arena *youngest(const struct arena *arena)
{
	if (tare_list_empty(&arena->children))
		return NULL;
	return TARE_CONTAINER_OF(arena->children.prev, struct arena, link);
}

// Frees the children that are younger than serial, leaves first: depth costs no stack. What a cleanup makes meanwhile
// is the youngest, and goes with the rest.
static void children_free(struct arena *top, uint64_t serial, bool cleanups)
{
	for (struct arena *arena = top;;) {
		struct arena *child = youngest(arena);
		if (child != NULL && (arena != top || child->serial > serial)) {
			arena = child;
		} else if (arena == top) {
			return;
		} else if (cleanups && arena->cleanups != NULL) {
			cleanup_run(arena);
		} else {
			child = arena;
			arena = arena->parent;
			destroy(child);
		}
	}
}

// Children and cleanups younger than serial, children first.
static void settle(struct arena *arena, uint64_t serial)
{
	TARE_ASSERT(!arena->settling);
	for (;;) {
		children_free(arena, serial, true);
		if (arena->cleanups == NULL || arena->cleanups->serial <= serial)
			return;
		cleanup_run(arena);
	}
}

void tare_arena_free(struct tare_arena *face)
{
	if (face == NULL)
		return;
	settle(arena_of(face), 0);
	destroy(arena_of(face));
}

// ---- giving back --------------------------------------------------------------------------------------------------

// Poisons what is free now: from `at` in `block` to where the current block was filled.
static void go_back(struct arena *arena, struct block *block, char *at)
{
#ifdef TARE_ASAN
	for (struct block *b = block;; b = b->next) {
		char *from = b == block ? at : data_of(b);
		mem_poison(from, (size_t)(end_of(arena, b) - from));
		if (b == arena->block)
			break;
	}
#endif
	arena->block = block;
	arena->start = data_of(block);
	arena->face.at = at;
	arena->face.end = end_of(arena, block);
}

// The two rules of tare_arena_reset.
static void trim(struct arena *arena, uint64_t resets)
{
	if (resets % WINDOW == 0) {
		uint64_t now = resets / WINDOW;
		for (struct block **link = &arena->first.next; *link != NULL;) {
			struct block *block = *link;
			if (block->reached + 2 > now) {
				link = &block->next;
				continue;
			}
			*link = block->next;
			block_free(arena, block);
		}
	}
	if (arena->options.keep_bytes == 0 || arena->kept_bytes <= arena->options.keep_bytes)
		return;
	struct block *block = &arena->first;
	size_t sum = block->bytes;
	while (block->next != NULL && sum + block->next->bytes <= arena->options.keep_bytes) {
		block = block->next;
		sum += block->bytes;
	}
	chain_free(arena, block);
}

void tare_arena_reset(struct tare_arena *face)
{
	struct arena *arena = arena_of(face);
	TARE_ASSERT(!arena->settling);
	if (arena->cleanups != NULL || !tare_list_empty(&arena->children))
		settle(arena, 0);
	note_used(arena);
	larges_free(arena, 0);
	go_back(arena, &arena->first, data_of(&arena->first));
	arena->full_bytes = 0;
	arena->error = 0;
	tare_bump(&arena->resets, 1);
	if (arena->first.next != NULL)
		trim(arena, atomic_load_explicit(&arena->resets, memory_order_relaxed));
}

struct tare_arena_mark tare_arena_mark(struct tare_arena *face)
{
	struct arena *arena = arena_of(face);
	return (struct tare_arena_mark){
	    .at = face->at,
	    .block = arena->block,
	    .serial = arena->last_serial,
	    .resets = atomic_load_explicit(&arena->resets, memory_order_relaxed),
	    .full_bytes = arena->full_bytes,
	};
}

void tare_arena_rewind(struct tare_arena *face, struct tare_arena_mark mark)
{
	struct arena *arena = arena_of(face);
	TARE_ASSERT(mark.resets == atomic_load_explicit(&arena->resets, memory_order_relaxed));
	settle(arena, mark.serial);
	note_used(arena);
	larges_free(arena, mark.serial);
	TARE_ASSERT(mark.full_bytes <= arena->full_bytes);
	// What was the last block then may have become smaller, and the next begun in its place.
	if (mark.block == arena->block && mark.at > face->at)
		mark.at = face->at;
	go_back(arena, mark.block, mark.at);
	arena->full_bytes = mark.full_bytes;
}

// ---- cleanups -----------------------------------------------------------------------------------------------------

int tare_arena_cleanup(struct tare_arena *face, void (*fn)(void *arg), void *arg)
{
	struct arena *arena = arena_of(face);
	struct cleanup *cleanup = tare_arena_alloc(face, sizeof *cleanup);
	if (cleanup == NULL)
		return arena->error;
	*cleanup = (struct cleanup){.next = arena->cleanups, .serial = ++arena->last_serial, .fn = fn, .arg = arg};
	arena->cleanups = cleanup;
	return 0;
}

bool tare_arena_cleanup_cancel(struct tare_arena *face, void (*fn)(void *arg), void *arg)
{
	for (struct cleanup **link = &arena_of(face)->cleanups; *link != NULL; link = &(*link)->next)
		if ((*link)->fn == fn && (*link)->arg == arg) {
			*link = (*link)->next;
			return true;
		}
	return false;
}

void tare_arena_cleanups_drop(struct tare_arena *face)
{
	struct arena *arena = arena_of(face);
	children_free(arena, 0, false);
	arena->cleanups = NULL;
}

int tare_arena_error(const struct tare_arena *face)
{
	return TARE_CONTAINER_OF(face, const struct arena, face)->error;
}
