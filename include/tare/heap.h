// SPDX-License-Identifier: MIT
//
// heap: counted heap calls, by whom the memory is for.
//
// All of Tare's own memory but tasks' stacks, pools' objects (<tare/pool.h> counts those) and mapped files comes from
// here, so that "no allocation a request" can be read off a counter, and /debug/allocs says where every byte is. What
// libraries allocate is seen by the interposer alone (below).
// Nothing here blocks. NULL is an ordinary result. Counting costs under 2 ns a call
// (`build/release/bench/heap`).
#ifndef TARE_HEAP_H
#define TARE_HEAP_H

#include <tare/base.h>

// Whose memory it is: what /debug/allocs counts it under. Declared once, at the top of a file:
//
//   static struct tare_tag heap_tag = TARE_TAG("index");
//
// Tags of one name are one. Past TARE_TAGS_MAX - 1 names, the rest is counted as "other".
#define TARE_TAGS_MAX 64
struct tare_tag {
	const char *name; // static storage
	atomic_uint id_plus_1;
};
#define TARE_TAG(label)                                                                                                \
	{                                                                                                              \
		.name = (label)                                                                                        \
	}

// NULL when out of memory. Memory of tare_alloc is not zeroed. Free with tare_free (NULL is fine), never with free().
// Each block has a head of TARE_HEAP_HEAD_BYTES before it; alignment as malloc's.
#define TARE_HEAP_HEAD_BYTES 16
TARE_MUST_USE void *tare_alloc(struct tare_tag *tag, size_t bytes);
TARE_MUST_USE void *tare_alloc_zeroed(struct tare_tag *tag, size_t count, size_t bytes);
// alignment: a power of two. It takes that much more memory.
TARE_MUST_USE void *tare_alloc_aligned(struct tare_tag *tag, size_t alignment, size_t bytes);
// As realloc: on NULL the old block is still the caller's. Not for a block of tare_alloc_aligned (asserted).
TARE_MUST_USE void *tare_realloc(struct tare_tag *tag, void *ptr, size_t bytes);
void tare_free(void *ptr);
// A copy of the text, from tare_alloc.
TARE_MUST_USE char *tare_strdup(struct tare_tag *tag, const char *text);

// Since the process began. Bytes as they were asked for, without the head and what the allocator rounds up.
struct tare_heap_stats {
	uint64_t allocs, frees;
	uint64_t bytes_total; // ever allocated
	uint64_t bytes_live;
};
// Of all tags together. From any thread; a few microseconds.
void tare_heap_stats_read(struct tare_heap_stats *ret);

// Of each tag: fills at most max rows and returns how many there are.
struct tare_tag_row {
	const char *name;
	struct tare_heap_stats stats;
};
size_t tare_tags_read(struct tare_tag_row *rows, size_t max);

// "No heap calls here": until it is called again with what it returned, each call above by this thread ends the program
// with a line that names who forbids it and whose memory it was. Nests. Not across anything that blocks a task: others
// would run under it (asserted in debug builds).
//
//   const char *before = tare_heap_forbid("the hot path");
//   …
//   (void)tare_heap_forbid(before);
const char *tare_heap_forbid(const char *who);

// Whole pages from the system, zeroed, counted as one block of the tag. NULL, with errno: what mmap says. Given back,
// with the same number of bytes, they are the system's at once.
TARE_MUST_USE void *tare_pages(struct tare_tag *tag, size_t bytes);
void tare_pages_free(struct tare_tag *tag, void *pages, size_t bytes);

// Where memory is allocated: one allocation a so many bytes (on average) is a sample, and its stack is kept. Sums are
// estimates, right on average (src/base/heap_sample.c). Pages are not among them; objects of
// <tare/gc.h> are, by their types' names as tags (<tare/heap_sample.h>). <tare/profile.h> makes a profile of it.
enum { TARE_HEAP_FRAMES_MAX = 48 };
enum tare_heap_value {
	TARE_HEAP_ALLOCS,
	TARE_HEAP_BYTES_ALLOCATED,
	TARE_HEAP_FREES,
	TARE_HEAP_BYTES_FREED,
	TARE_HEAP_VALUES,
};
struct tare_heap_site {
	const char *tag;
	const uintptr_t *frames; // return addresses, the innermost first
	unsigned count;
	double values[TARE_HEAP_VALUES];
};
// The rate in bytes: 512 KiB when the process begins; 0: off, and 1 samples every block. A change reaches each thread
// with its next sample, at the latest after 16 MiB of allocations while it is off.
size_t tare_heap_rate(void);
void tare_heap_rate_set(size_t bytes);
// Calls fn with every site since the process began. Ends, and returns false, when fn does. No lock is held meanwhile;
// the frames are gone when fn returns.
bool tare_heap_sites_each(bool (*fn)(void *arg, const struct tare_heap_site *site), void *arg);

// What the preloaded lib/tare/malloc_count.so counts: the whole process's heap calls, its libraries' too, since it
// began. A realloc counts as an allocation. The function is that library's, for a program to look up by
// dlsym(RTLD_DEFAULT, …).
struct tare_process_heap {
	uint64_t allocs, frees;
	uint64_t bytes_total; // asked for
};
void tare_process_heap_read(struct tare_process_heap *ret);

#endif
