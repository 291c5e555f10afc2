// SPDX-License-Identifier: MIT
//
// arena: memory that is given back all at once.
//
// For what lives and dies together: a request's, a parse's, a batch's. Taking is a few instructions out of a block;
// nothing is freed by itself, all of it at the reset, which keeps the blocks for the next round. An arena and its
// children belong to one thread or task at a time; another may have it next, if something orders the two. Nothing here
// blocks, but for what cleanups do. NULL (out of memory, or past the limit) is an ordinary result; tare_arena_error
// says which. docs/arenas.md says when to use which of heap, pool, arena and reservoir.
#ifndef TARE_ARENA_H
#define TARE_ARENA_H

#include <tare/base.h>
#include <tare/stat.h>

// ---- arenas -------------------------------------------------------------------------------------------------------

// What tare_arena_alloc inlines; private.
struct tare_arena {
	char *at, *end; // the free part of the current block
};

struct tare_arena_options {
	const char *name;       // of reports; static storage
	size_t block_bytes;     // the first block; 0: 4 KiB. At least TARE_ARENA_BLOCK_MIN (asserted)
	size_t block_bytes_max; // each further block is twice as large as the one before, up to this; 0: 64 KiB
	uint64_t limit_bytes;   // from the heap in all, its children's too; 0: none. Not below block_bytes (asserted)
	size_t keep_bytes;      // the most that stands in blocks after a reset; 0: no bound
	void *storage;          // of the first block, as aligned as any; it outlives the arena. NULL: the heap's
};

#define TARE_ARENA_BLOCK_MIN 1024
// Of what has no alignment of its own.
#define TARE_ARENA_ALIGNMENT 16

// One heap call, or none where storage is given; then it can't fail. -ENOMEM. tare_arenas_read lists the name from then
// on.
TARE_MUST_USE int tare_arena_new(struct tare_arena **ret, const struct tare_arena_options *options);
// An arena that ends with its parent's reset or free at the latest, or by tare_arena_free. What it takes from the heap
// counts for its ancestors' limits too. -ENOMEM; -EDQUOT: a limit of an ancestor's.
TARE_MUST_USE int tare_arena_child(struct tare_arena **ret, struct tare_arena *parent,
				   const struct tare_arena_options *options);
// Gives everything back: frees the children, the youngest first, and runs the cleanups, the last registered first. The
// blocks are kept for what comes next, except
//   1. what is over keep_bytes, which goes at once;
//   2. every 64th time, the blocks that nothing has reached in the last 64 to 128 rounds;
//   3. what had a block of its own because it was larger than a quarter of block_bytes_max.
// Not from a cleanup of the same arena (asserted).
void tare_arena_reset(struct tare_arena *arena);
// As a reset, then the arena itself. NULL is fine.
void tare_arena_free(struct tare_arena *arena);

// ---- taking -------------------------------------------------------------------------------------------------------

// The slow part of tare_arena_alloc; alignment: a power of two, at most 64 KiB (asserted).
TARE_MUST_USE void *tare_arena_alloc_aligned(struct tare_arena *arena, size_t alignment, size_t bytes);

// Not zeroed; aligned to TARE_ARENA_ALIGNMENT; lives until the reset. No bytes are a block too. NULL: see
// tare_arena_error.
TARE_MUST_USE static inline void *tare_arena_alloc(struct tare_arena *arena, size_t bytes)
{
#ifndef TARE_ASAN // each block must be unpoisoned
	char *ptr = arena->at;
	size_t need = (bytes + (TARE_ARENA_ALIGNMENT - 1)) & ~(size_t)(TARE_ARENA_ALIGNMENT - 1);
	// Wraps round where need is 0: no bytes, or more than there can be.
	if (TARE_LIKELY(need - 1 < (size_t)(arena->end - ptr))) {
		arena->at = ptr + need;
		return ptr;
	}
#endif
	return tare_arena_alloc_aligned(arena, TARE_ARENA_ALIGNMENT, bytes);
}

// count times bytes, zeroed. NULL too when that product overflows.
TARE_MUST_USE void *tare_arena_alloc_zeroed(struct tare_arena *arena, size_t count, size_t bytes);
// A block of old_bytes made larger or smaller: in place where it was the last taken and there is room, and where it has
// a block of its own; else a copy (what it was is given back only if it was the last). NULL: the old block is as it
// was. ptr may be NULL. Keeps the alignment of tare_arena_alloc, no larger one.
TARE_MUST_USE void *tare_arena_realloc(struct tare_arena *arena, void *ptr, size_t old_bytes, size_t new_bytes);

// Copies, with a NUL behind them.
TARE_MUST_USE char *tare_arena_strdup(struct tare_arena *arena, const char *text);
TARE_MUST_USE char *tare_arena_copy(struct tare_arena *arena, struct tare_str bytes);
// Formatted text. NULL also where the format itself fails (-EINVAL).
TARE_MUST_USE char *tare_arena_printf(struct tare_arena *arena, const char *format, ...) TARE_PRINTF(2, 3);
TARE_MUST_USE char *tare_arena_vprintf(struct tare_arena *arena, const char *format, va_list args) TARE_PRINTF(2, 0);

// Why the last refused taking since the reset was refused: -ENOMEM (the heap), -EDQUOT (a limit, its own or an
// ancestor's), -EINVAL (a format); 0: none was.
int tare_arena_error(const struct tare_arena *arena);
// As tare_arena_printf, but never NULL: when nothing can be had, the text is put into what each arena has in reserve,
// cut at TARE_ARENA_RESERVE - 1 bytes, in place of the text that was put there before. So that the lack of memory can
// be reported.
#define TARE_ARENA_RESERVE 256
char *tare_arena_report(struct tare_arena *arena, const char *format, ...) TARE_PRINTF(2, 3);

// ---- text that grows ----------------------------------------------------------------------------------------------

// Written with tare_text_put and tare_text_printf on `text`, whose rc says -ENOMEM or -EDQUOT; not moved meanwhile. The
// rest is private.
struct tare_arena_text {
	struct tare_text text;

	struct tare_arena *arena;
	char *ptr;
	size_t len, cap;
};
void tare_arena_text_init(struct tare_arena_text *text, struct tare_arena *arena);
// What was written, with a NUL behind it that does not count; {NULL, 0} after a failure. More may be written
// afterwards.
struct tare_str tare_arena_text_get(struct tare_arena_text *text);

// ---- cleanups -----------------------------------------------------------------------------------------------------

// Calls fn(arg) at the reset or free: for what an arena can't give back by itself, a descriptor or a reference. fn may
// take from the arena, and register further cleanups, which run too; what arg points to in the arena is still there.
// -ENOMEM, -EDQUOT: nothing is registered.
TARE_MUST_USE int tare_arena_cleanup(struct tare_arena *arena, void (*fn)(void *arg), void *arg);
// Takes the last such registration back, unrun. False: there is none.
bool tare_arena_cleanup_cancel(struct tare_arena *arena, void (*fn)(void *arg), void *arg);
// Takes all back, and frees the children, whose cleanups don't run either: before a free, where what they refer to has
// gone.
void tare_arena_cleanups_drop(struct tare_arena *arena);

// ---- marks --------------------------------------------------------------------------------------------------------

// A place to come back to. All private.
struct tare_arena_mark {
	char *at;
	void *block;
	uint64_t serial, resets, full_bytes;
};

struct tare_arena_mark tare_arena_mark(struct tare_arena *arena);
// Gives back what was taken, or grown in place, since the mark; children and cleanups since then too. A reset ends all
// marks (asserted); rewinding to one ends those that were set after it.
void tare_arena_rewind(struct tare_arena *arena, struct tare_arena_mark mark);

// ---- reports ------------------------------------------------------------------------------------------------------

struct tare_arena_stats {
	uint64_t used;           // taken since the last reset, with what alignment cost; without its children's
	uint64_t used_max;       // the most of that between two resets
	uint64_t reserved;       // from the heap, its children's too; storage does not count
	uint64_t reserved_max;   // the most of that, ever
	uint64_t blocks;         // of which that consists
	uint64_t resets;         // rounds
	uint64_t heap_allocs;    // heap calls for more
	uint64_t refused_memory; // takings that the heap refused
	uint64_t refused_limit;  // and that a limit did
};

// By the owner: exact.
void tare_arena_stats_read(struct tare_arena *arena, struct tare_arena_stats *ret);

// The arenas without a parent, by name: a row sums those of its name that exist, and of what only grows those that
// existed too; of *_max, the largest of both. Of arenas that others use meanwhile each number is right for some moment,
// no two for the same one. Holds up the making and freeing of arenas, for some nanoseconds an arena. Names past the
// 63rd share a row, "(others)".
struct tare_arena_row {
	const char *name;
	uint64_t arenas; // existing
	struct tare_arena_stats stats;
};
// Fills at most max rows, in the order of the names' first use, and returns how many there are.
size_t tare_arenas_read(struct tare_arena_row *rows, size_t max);

#endif
