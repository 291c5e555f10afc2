// SPDX-License-Identifier: MIT
// Goal: whatever the order of takings, growings, marks, children, cleanups and resets, live blocks are apart, aligned
// and whole, and each cleanup runs once, when it should and in its order.
// Method: random operations on a tree of arenas beside a plain list of what is live. Every block is filled with a
// pattern of its own; now and then all are compared with it, and sorted by address to see that none overlap. A failure
// prints its seed.
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include <tare/mem.h>

enum { ARENAS = 8, ITEMS_MAX = 4000, MARKS = 4 };

#if defined(TARE_ASAN) || defined(TARE_TSAN)
enum { SEEDS = 10, STEPS = 3000 };
#else
enum { SEEDS = 20, STEPS = 6000 };
#endif

// What is live: a block, or a cleanup that has not run.
struct item {
	enum kind { BLOCK, CLEANUP } kind;
	int arena;
	uint64_t age; // order of making; a block that was grown keeps its own
	uint64_t grown;
	unsigned char *ptr;
	size_t bytes, alignment;
	unsigned char pattern;
};

static struct model {
	struct tare_rng rng;
	struct tare_arena *arenas[ARENAS]; // 0 is the root
	int parents[ARENAS];
	uint64_t born[ARENAS];
	struct item items[ITEMS_MAX];
	size_t count;
	uint64_t age;
	struct {
		struct tare_arena_mark mark;
		uint64_t age;
		int arena;
	} marks[MARKS];
	int mark_count;
	int top; // what is being given back: of this arena, what is younger
	uint64_t since;
	uint64_t ran;
} model;

static uint64_t below(uint64_t bound)
{
	return tare_rng_below(&model.rng, bound);
}

static size_t size_any(void)
{
	static const size_t most[] = {8, 100, 100, 1000, 1000, 5000, 40000};
	return below(most[below(TARE_ARRAY_LEN(most))]);
}

static void fill(struct item *item)
{
	memset(item->ptr, item->pattern, item->bytes);
}

static void check_block(const struct item *item)
{
	assert_int_equal((uintptr_t)item->ptr % item->alignment, 0);
	size_t i = 0;
	while (i < item->bytes && item->ptr[i] == item->pattern)
		i++;
	assert_int_equal(i, item->bytes);
}

static int by_address(const void *a, const void *b)
{
	const struct item *x = *(const struct item *const *)a, *y = *(const struct item *const *)b;
	return (x->ptr > y->ptr) - (x->ptr < y->ptr);
}

static void check_all(void)
{
	static const struct item *sorted[ITEMS_MAX];
	size_t count = 0;
	for (size_t i = 0; i < model.count; i++)
		if (model.items[i].kind == BLOCK) {
			check_block(&model.items[i]);
			sorted[count++] = &model.items[i];
		}
	qsort(sorted, count, sizeof sorted[0], by_address);
	for (size_t i = 1; i < count; i++)
		assert_true(sorted[i - 1]->ptr + TARE_MAX(sorted[i - 1]->bytes, (size_t)1) <= sorted[i]->ptr);
}

// ---- what is being given back -------------------------------------------------------------------------------------

static bool is_below(int arena, int top)
{
	while (arena != top && arena != 0)
		arena = model.parents[arena];
	return arena == top;
}

// Whether what was made in that arena at that age goes now.
static bool goes(int arena, uint64_t made)
{
	if (arena == model.top)
		return made > model.since;
	if (!is_below(arena, model.top))
		return false;
	while (model.parents[arena] != model.top)
		arena = model.parents[arena];
	return model.born[arena] > model.since;
}

// ---- operations ---------------------------------------------------------------------------------------------------

static int arena_any(void)
{
	int i;
	do
		i = (int)below(ARENAS);
	while (model.arenas[i] == NULL);
	return i;
}

static struct item *item_new(enum kind kind, int arena)
{
	if (model.count == ITEMS_MAX)
		return NULL;
	struct item *item = &model.items[model.count++];
	*item = (struct item){.kind = kind, .arena = arena, .age = ++model.age, .alignment = TARE_ARENA_ALIGNMENT};
	item->pattern = (unsigned char)(item->age * 37 + 1);
	return item;
}

static void do_take(void)
{
	struct item *item = item_new(BLOCK, arena_any());
	if (item == NULL)
		return;
	struct tare_arena *arena = model.arenas[item->arena];
	item->bytes = size_any();
	if (below(4) == 0) {
		item->alignment = (size_t)1 << below(13);
		item->ptr = tare_arena_alloc_aligned(arena, item->alignment, item->bytes);
	} else {
		item->ptr = tare_arena_alloc(arena, item->bytes);
	}
	assert_non_null(item->ptr);
	fill(item);
}

static void do_grow(void)
{
	// Often the youngest, which may grow in place.
	size_t at = below(2) == 0 ? model.count - 1 : below(TARE_MAX(model.count, (size_t)1));
	if (model.count == 0 || model.items[at].kind != BLOCK)
		return;
	struct item *item = &model.items[at];
	size_t bytes = below(2) == 0 ? size_any() : item->bytes + below(200);
	unsigned char *ptr = tare_arena_realloc(model.arenas[item->arena], item->ptr, item->bytes, bytes);
	assert_non_null(ptr);
	item->ptr = ptr;
	item->alignment = TARE_ARENA_ALIGNMENT;
	item->bytes = TARE_MIN(item->bytes, bytes);
	check_block(item);
	item->bytes = bytes;
	item->grown = ++model.age;
	fill(item);
}

static void do_text(void)
{
	struct item *item = item_new(BLOCK, arena_any());
	if (item == NULL)
		return;
	int width = (int)below(3000) + 1;
	item->ptr = (unsigned char *)tare_arena_printf(model.arenas[item->arena], "%*d", width, 1);
	assert_non_null(item->ptr);
	assert_int_equal(strlen((char *)item->ptr), (size_t)width);
	item->bytes = (size_t)width + 1;
	fill(item);
}

static void on_cleanup(void *arg)
{
	uint64_t age = (uint64_t)(uintptr_t)arg;
	size_t i = 0;
	while (i < model.count && !(model.items[i].kind == CLEANUP && model.items[i].age == age))
		i++;
	assert_true(i < model.count); // it has not run before
	int arena = model.items[i].arena;
	assert_true(goes(arena, age));
	// The youngest of its arena, and what is below that arena has been cleaned up.
	for (size_t k = 0; k < model.count; k++) {
		const struct item *other = &model.items[k];
		if (other->kind != CLEANUP)
			continue;
		assert_false(other->arena == arena && other->age > age);
		assert_false(other->arena != arena && is_below(other->arena, arena) && goes(other->arena, other->age));
	}
	model.items[i] = model.items[--model.count];
	model.ran++;
}

static void do_cleanup(void)
{
	struct item *item = item_new(CLEANUP, arena_any());
	if (item == NULL)
		return;
	struct tare_arena *arena = model.arenas[item->arena];
	void *arg = (void *)(uintptr_t)item->age;
	assert_int_equal(tare_arena_cleanup(arena, on_cleanup, arg), 0);
	if (below(8) == 0) {
		assert_true(tare_arena_cleanup_cancel(arena, on_cleanup, arg));
		model.count--;
	}
}

static void do_child(void)
{
	int at = 1, parent = arena_any();
	while (at < ARENAS && model.arenas[at] != NULL)
		at++;
	if (at == ARENAS)
		return;
	struct tare_arena_options options = {.name = "child", .block_bytes = 1024 + below(4000)};
	assert_int_equal(tare_arena_child(&model.arenas[at], model.arenas[parent], &options), 0);
	model.parents[at] = parent;
	model.born[at] = ++model.age;
}

// ---- giving back --------------------------------------------------------------------------------------------------

// After that: the model forgets it, and no such cleanup is left.
static void forget(void)
{
	for (size_t i = 0; i < model.count;) {
		struct item *item = &model.items[i];
		if (!goes(item->arena, TARE_MAX(item->age, item->grown))) {
			i++;
			continue;
		}
		assert_int_equal(item->kind, BLOCK);
		*item = model.items[--model.count];
	}
	bool gone[ARENAS];
	for (int i = 0; i < ARENAS; i++)
		gone[i] = model.arenas[i] != NULL && i != model.top && goes(i, 0);
	int kept = 0;
	for (int i = 0; i < model.mark_count; i++) {
		int arena = model.marks[i].arena;
		if (!gone[arena] && (arena != model.top || model.marks[i].age < model.since))
			model.marks[kept++] = model.marks[i];
	}
	model.mark_count = kept;
	for (int i = 0; i < ARENAS; i++)
		if (gone[i])
			model.arenas[i] = NULL;
}

static void give_back_from(int top, uint64_t since)
{
	check_all();
	model.top = top;
	model.since = since;
}

static void do_reset(void)
{
	give_back_from(arena_any(), 0);
	tare_arena_reset(model.arenas[model.top]);
	forget();
	check_all();
}

static void do_free_child(void)
{
	give_back_from(arena_any(), 0);
	if (model.top == 0)
		return;
	tare_arena_free(model.arenas[model.top]);
	forget();
	model.arenas[model.top] = NULL;
	check_all();
}

static void do_mark(void)
{
	if (model.mark_count == MARKS)
		return;
	int arena = arena_any();
	model.marks[model.mark_count].mark = tare_arena_mark(model.arenas[arena]);
	model.marks[model.mark_count].age = ++model.age;
	model.marks[model.mark_count++].arena = arena;
}

static void do_rewind(void)
{
	if (model.mark_count == 0)
		return;
	uint64_t at = below((uint64_t)model.mark_count);
	give_back_from(model.marks[at].arena, model.marks[at].age);
	tare_arena_rewind(model.arenas[model.top], model.marks[at].mark);
	forget();
	check_all();
}

TEST(random_operations_agree_with_a_list_of_what_is_live)
{
	static void (*const usual[])(void) = {do_take, do_take, do_take, do_take, do_take,
					      do_grow, do_grow, do_grow, do_text, do_cleanup};
	static void (*const rare[])(void) = {do_child, do_child, do_free_child, do_mark, do_mark, do_rewind, do_reset};
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		memset(&model, 0, sizeof model);
		tare_rng_init(&model.rng, seed);
		struct tare_arena_options options = {.name = "root", .block_bytes = (size_t)1024 << below(4)};
		options.keep_bytes = below(2) * below(200000);
		printf("seed %d\n", (int)seed); // seen where it fails
		assert_int_equal(tare_arena_new(&model.arenas[0], &options), 0);
		for (int step = 0; step < STEPS; step++) {
			if (below(40) != 0)
				usual[below(TARE_ARRAY_LEN(usual))]();
			else
				rare[below(TARE_ARRAY_LEN(rare))]();
		}
		check_all();
		give_back_from(0, 0);
		tare_arena_free(model.arenas[0]);
		for (size_t i = 0; i < model.count; i++)
			assert_int_equal(model.items[i].kind, BLOCK); // every cleanup has run
		assert_true(model.ran > 0);
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live, before.bytes_live);
}
