// SPDX-License-Identifier: MIT
// What it costs to have memory for a while: 64 bytes, taken, touched and given back.
#include "rows.h"

#include <tare/arena.h>
#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/pool.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { OBJECT_BYTES = 64, ARENA_ROUND = 32, PAGES = 1024, PAGE_BYTES = 4096 };

static struct tare_tag tag = TARE_TAG("npa");
static struct tare_pool *pool;
static struct tare_arena *arena;
static char *pages;

static void pool_make(void)
{
	if (pool == NULL)
		must(tare_pool_new(&pool, &(struct tare_pool_options){.name = "npa", .object_bytes = OBJECT_BYTES}),
		     "a pool");
}

static void arena_make(void)
{
	if (arena == NULL)
		must(tare_arena_new(&arena, &(struct tare_arena_options){.name = "npa"}), "an arena");
}

static void touch(void *ptr)
{
	TARE_NPA_KEEP(ptr);
	*(volatile char *)ptr = 1;
}

TARE_NPA(memory_stack, "A local variable: gone with the function's return.", 1)
{
	char bytes[OBJECT_BYTES];
	touch(bytes);
}

TARE_NPA(memory_arena, "An arena: no single object is given back; the reset, one in 32, is in the figure.", 5,
	 .prepare = arena_make)
{
	touch(tare_arena_alloc(arena, OBJECT_BYTES));
	if (i % ARENA_ROUND == ARENA_ROUND - 1)
		tare_arena_reset(arena);
}

TARE_NPA(memory_pool, "A pool: bounded, counted, watched for misuse, warm.", 15, .prepare = pool_make)
{
	void *object = tare_pool_take(pool);
	touch(object);
	tare_pool_give(pool, object);
}

TARE_NPA(memory_malloc, "libc's heap: any size, any order, any thread.", 30)
{
	void *object = malloc(OBJECT_BYTES);
	touch(object);
	free(object);
}

TARE_NPA(memory_heap, "Tare's door to that heap: counted under a tag that says what for.", 45)
{
	void *object = tare_alloc(&tag, OBJECT_BYTES);
	touch(object);
	tare_free(object);
}

struct node {
	struct node *next;
	uint64_t rest[7];
};
static const uint32_t node_pointers[] = {offsetof(struct node, next)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

struct call {
	void (*fn)(void *arg);
	void *arg;
};

static void with_heap(void *arg)
{
	struct call *call = arg;
	struct tare_error err = {""};
	must(tare_gc_open(&(struct tare_gc_options){.reserve_bytes = 1 << 30}, &err), err.text);
	call->fn(call->arg);
	tare_gc_close();
}

static void in_managed_task(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	rows_in_task(with_heap, &call);
}

TARE_NPA(memory_managed, "The collected heap: nobody gives anything back. The collections are in the figure.", 60,
	 .within = in_managed_task, .not_counted = true, .count = 4096)
{
	touch(tare_gc_new(&node_type));
}

// ---- pages --------------------------------------------------------------------------------------------------------

static void pages_make(void)
{
	if (pages != NULL)
		return;
	pages = mmap(NULL, (size_t)PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		rows_die("pages", -ENOMEM);
	(void)madvise(pages, (size_t)PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
}

TARE_NPA(page_first_touch, "The kernel gives memory when it is touched: what is reserved and not used costs nothing.",
	 3000, .prepare = pages_make, .count = PAGES)
{
	if (i % PAGES == 0)
		(void)madvise(pages, (size_t)PAGES * PAGE_BYTES, MADV_DONTNEED);
	pages[i % PAGES * PAGE_BYTES] = 1;
}
