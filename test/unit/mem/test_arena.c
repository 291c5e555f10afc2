// SPDX-License-Identifier: MIT
// Goal: what is taken from an arena is apart, aligned and whole until the reset; limits hold and are told; what rounds
// leave behind goes by the documented rule; cleanups run in order; use after a reset is caught where it can be.
// Method: each behaviour by itself. test_arena_model.c does all at random, test_arena_oom.c takes the heap away.
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tare/mem.h>

static struct tare_arena *arena_with(struct tare_arena_options options)
{
	struct tare_arena *arena;
	options.name = options.name != NULL ? options.name : "test";
	assert_int_equal(tare_arena_new(&arena, &options), 0);
	return arena;
}

static struct tare_arena *arena_plain(void)
{
	return arena_with((struct tare_arena_options){0});
}

static struct tare_arena_stats stats_of(struct tare_arena *arena)
{
	struct tare_arena_stats stats;
	tare_arena_stats_read(arena, &stats);
	return stats;
}

static uint64_t heap_live(void)
{
	struct tare_heap_stats heap;
	tare_heap_stats_read(&heap);
	return heap.bytes_live;
}

static uint64_t heap_allocs(void)
{
	struct tare_heap_stats heap;
	tare_heap_stats_read(&heap);
	return heap.allocs;
}

// ---- taking -------------------------------------------------------------------------------------------------------

TEST(blocks_are_apart_and_aligned_and_hold_what_was_written)
{
	struct tare_arena *arena = arena_plain();
	unsigned char *blocks[2000];
	for (size_t i = 0; i < 2000; i++) {
		size_t bytes = i % 300;
		blocks[i] = tare_arena_alloc(arena, bytes);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % TARE_ARENA_ALIGNMENT, 0);
		memset(blocks[i], (int)(i % 251), bytes);
	}
	for (size_t i = 0; i < 2000; i++)
		for (size_t k = 0; k < i % 300; k++)
			assert_int_equal(blocks[i][k], i % 251);
	assert_true(blocks[0] != blocks[300]); // no bytes are a block too
	tare_arena_free(arena);
}

TEST(any_alignment_is_given_in_blocks_and_beside_them)
{
	struct tare_arena *arena = arena_plain();
	for (size_t alignment = 1; alignment <= 64 * 1024; alignment *= 2)
		for (size_t bytes = 1; bytes < 200000; bytes = bytes * 5 + 1) {
			char *ptr = tare_arena_alloc_aligned(arena, alignment, bytes);
			assert_non_null(ptr);
			assert_int_equal((uintptr_t)ptr % alignment, 0);
			memset(ptr, 1, bytes);
		}
	tare_arena_free(arena);
}

TEST(zeroed_memory_is_zero_in_the_second_round_too)
{
	struct tare_arena *arena = arena_plain();
	for (int round = 0; round < 2; round++) {
		unsigned char *ptr = tare_arena_alloc_zeroed(arena, 30, 33);
		for (int i = 0; i < 990; i++)
			assert_int_equal(ptr[i], 0);
		memset(ptr, 0xaa, 990);
		tare_arena_reset(arena);
	}
	assert_null(tare_arena_alloc_zeroed(arena, SIZE_MAX / 2, 3));
	tare_arena_free(arena);
}

TEST(sizes_that_no_memory_has_are_refused)
{
	struct tare_arena *arena = arena_plain();
	static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX / 2, PTRDIFF_MAX};
	for (size_t i = 0; i < TARE_ARRAY_LEN(sizes); i++) {
		volatile size_t bytes = sizes[i]; // so that no compiler warns of it
		assert_null(tare_arena_alloc(arena, bytes));
		assert_null(tare_arena_alloc_aligned(arena, 4096, bytes));
		assert_null(tare_arena_realloc(arena, NULL, 0, bytes));
		assert_int_equal(tare_arena_error(arena), -ENOMEM);
	}
	tare_arena_reset(arena);
	assert_int_equal(tare_arena_error(arena), 0);
	assert_non_null(tare_arena_alloc(arena, 1));
	tare_arena_free(arena);
}

TEST(a_round_that_was_had_before_makes_no_heap_call)
{
	struct tare_arena *arena = arena_plain();
	uint64_t before = 0;
	for (int round = 0; round < 1000; round++) {
		if (round == 1)
			before = heap_allocs();
		for (size_t i = 0; i < 500; i++)
			assert_non_null(tare_arena_alloc(arena, 1 + i * 7 % 900));
		tare_arena_reset(arena);
	}
	assert_int_equal(heap_allocs(), before);
	assert_int_equal(stats_of(arena).resets, 1000);
	tare_arena_free(arena);
}

TEST(a_free_gives_all_back_to_the_heap)
{
	uint64_t before = heap_live();
	struct tare_arena *arena = arena_plain(), *child;
	assert_int_equal(tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "child"}), 0);
	for (size_t i = 0; i < 100; i++) {
		assert_non_null(tare_arena_alloc(arena, i * 500));
		assert_non_null(tare_arena_alloc(child, i * 500));
	}
	tare_arena_free(arena);
	tare_arena_free(NULL);
	assert_int_equal(heap_live(), before);
}

TEST(an_arena_in_storage_calls_the_heap_for_what_that_has_no_room_for)
{
	static alignas(TARE_ARENA_ALIGNMENT) char storage[2048];
	struct tare_arena_options options = {.block_bytes = sizeof storage, .storage = storage, .limit_bytes = 4096};
	uint64_t before = heap_live(), calls = heap_allocs();
	struct tare_arena *arena = arena_with(options), *child;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 10; i++)
			assert_non_null(memset(tare_arena_alloc(arena, 50), 1, 50));
		tare_arena_reset(arena);
	}
	assert_int_equal(heap_allocs(), calls);
	assert_int_equal(stats_of(arena).reserved, 0);
	assert_in_range(stats_of(arena).used_max, 500, 1000);
	char *ptr = tare_arena_alloc(arena, 2000);
	assert_false(ptr >= storage && ptr < storage + sizeof storage);
	assert_int_equal(heap_allocs(), calls + 1);
	assert_null(tare_arena_alloc(arena, 4096)); // the limit is the heap's
	static alignas(TARE_ARENA_ALIGNMENT) char more[1024];
	assert_int_equal(tare_arena_child(&child, arena,
					  &(struct tare_arena_options){
					      .name = "child", .block_bytes = sizeof more, .storage = more}),
			 0);
	assert_int_equal(heap_allocs(), calls + 1);
	tare_arena_free(arena);
	assert_int_equal(heap_live(), before);
	memset(storage, 0, sizeof storage); // ours again
	memset(more, 0, sizeof more);
}

// ---- realloc ------------------------------------------------------------------------------------------------------

TEST(the_last_block_grows_and_shrinks_where_it_is)
{
	struct tare_arena *arena = arena_plain();
	char *ptr = tare_arena_alloc(arena, 10);
	memcpy(ptr, "0123456789", 10);
	assert_ptr_equal(tare_arena_realloc(arena, ptr, 10, 2000), ptr);
	assert_memory_equal(ptr, "0123456789", 10);
	memset(ptr, 'x', 2000);
	assert_ptr_equal(tare_arena_realloc(arena, ptr, 2000, 5), ptr);
	assert_in_range(stats_of(arena).used, 5, 100);
	assert_in_range(stats_of(arena).used_max, 2000, 2100);
	tare_arena_free(arena);
}

TEST(a_block_with_others_behind_it_is_copied_when_it_grows)
{
	struct tare_arena *arena = arena_plain();
	char *first = tare_arena_alloc(arena, 10), *second = tare_arena_alloc(arena, 10);
	memset(first, '1', 10);
	memset(second, '2', 10);
	char *moved = tare_arena_realloc(arena, first, 10, 20);
	assert_true(moved != first);
	assert_memory_equal(moved, "1111111111", 10);
	assert_memory_equal(second, "2222222222", 10);
	assert_ptr_equal(tare_arena_realloc(arena, second, 10, 4), second); // a smaller one stays
	tare_arena_free(arena);
}

TEST(a_large_block_grows_without_leaving_copies_behind)
{
	struct tare_arena *arena = arena_plain();
	size_t bytes = 16;
	char *ptr = tare_arena_alloc(arena, bytes);
	memset(ptr, 'a', bytes);
	for (; bytes < 4 << 20; bytes *= 2) {
		ptr = tare_arena_realloc(arena, ptr, bytes, 2 * bytes);
		assert_non_null(ptr);
		assert_int_equal(ptr[0], 'a');
		assert_int_equal(ptr[bytes - 1], 'a');
		memset(ptr, 'a', 2 * bytes);
	}
	assert_in_range(stats_of(arena).reserved, 4 << 20, (4 << 20) + 100000);
	ptr = tare_arena_realloc(arena, ptr, bytes, 1 << 20);
	assert_int_equal(ptr[(1 << 20) - 1], 'a');
	assert_in_range(stats_of(arena).reserved, 1 << 20, (1 << 20) + 100000);
	tare_arena_free(arena);
}

TEST(what_a_block_leaves_behind_when_it_moves_to_one_of_its_own_is_free_again)
{
	struct tare_arena *arena = arena_plain();
	char *ptr = tare_arena_alloc(arena, 500);
	assert_non_null(tare_arena_realloc(arena, ptr, 500, 100000));
	assert_ptr_equal(tare_arena_alloc(arena, 500), ptr);
	tare_arena_free(arena);
}

// ---- text ---------------------------------------------------------------------------------------------------------

TEST(text_is_copied_and_formatted_whatever_its_length)
{
	struct tare_arena *arena = arena_plain();
	assert_string_equal(tare_arena_strdup(arena, "twelve"), "twelve");
	assert_string_equal(tare_arena_copy(arena, (struct tare_str){"twelve", 3}), "twe");
	assert_string_equal(tare_arena_copy(arena, (struct tare_str){NULL, 0}), "");
	for (int width = 1; width < 100000; width = width * 3 / 2 + 1) {
		char *text = tare_arena_printf(arena, "%*d|%s", width, 7, "end");
		assert_non_null(text);
		assert_int_equal(strlen(text), (size_t)width + 4);
		assert_string_equal(text + width - 1, "7|end");
	}
	tare_arena_free(arena);
}

TEST(text_grows_piece_by_piece)
{
	struct tare_arena *arena = arena_plain();
	struct tare_arena_text text;
	tare_arena_text_init(&text, arena);
	assert_string_equal(tare_arena_text_get(&text).ptr, "");
	char *want = malloc(200000);
	size_t len = 0;
	for (int i = 0; i < 20000; i++) {
		tare_text_printf(&text.text, "%d,", i);
		len += (size_t)sprintf(want + len, "%d,", i);
		if (i % 100 == 0)
			assert_non_null(tare_arena_alloc(arena, 3)); // so that it must move
	}
	struct tare_str got = tare_arena_text_get(&text);
	assert_int_equal(got.len, len);
	assert_string_equal(got.ptr, want);
	free(want);
	tare_arena_free(arena);
}

// ---- limits -------------------------------------------------------------------------------------------------------

TEST(the_limit_holds_and_is_told)
{
	uint64_t limit = 100 * 1024;
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = limit});
	size_t taken = 0;
	for (void *ptr; (ptr = tare_arena_alloc(arena, 512)) != NULL; taken += 512)
		memset(ptr, 1, 512);
	assert_int_equal(tare_arena_error(arena), -EDQUOT);
	assert_true(taken > limit * 8 / 10); // most of it is there for use
	assert_true(stats_of(arena).reserved <= limit && stats_of(arena).reserved_max <= limit);
	assert_int_equal(stats_of(arena).refused_limit, 1);
	assert_null(tare_arena_alloc(arena, limit));
	assert_null(tare_arena_printf(arena, "%9999d", 1));
	assert_int_equal(stats_of(arena).refused_limit, 3);
	assert_int_equal(stats_of(arena).refused_memory, 0);
	tare_arena_free(arena);
}

TEST(what_one_round_may_take_another_may_take_in_another_shape)
{
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = 1 << 20});
	for (int round = 0; round < 200; round++) {
		if (round % 2 == 0) { // all of the limit in small ones: the blocks are kept
			for (int i = 0; i < 900; i++)
				assert_non_null(tare_arena_alloc(arena, 1000));
		} else { // and all of it in one
			assert_non_null(tare_arena_alloc(arena, 1000 * 1000));
		}
		tare_arena_reset(arena);
	}
	tare_arena_free(arena);
}

TEST(a_childs_memory_counts_for_its_ancestors_limits)
{
	struct tare_arena_options small = {.name = "child", .block_bytes = 1024};
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = 64 * 1024}), *child,
			  *grandchild;
	assert_int_equal(tare_arena_child(&child, arena, &small), 0);
	assert_int_equal(tare_arena_child(&grandchild, child, &small), 0);
	assert_null(tare_arena_alloc(grandchild, 64 * 1024));
	assert_int_equal(tare_arena_error(grandchild), -EDQUOT);
	assert_non_null(tare_arena_alloc(grandchild, 40 * 1024));
	assert_null(tare_arena_alloc(arena, 40 * 1024));
	assert_int_equal(tare_arena_error(arena), -EDQUOT);
	assert_true(stats_of(arena).reserved >= stats_of(child).reserved + 4096);
	assert_true(stats_of(child).reserved >= stats_of(grandchild).reserved + 1024);
	tare_arena_free(grandchild);
	assert_non_null(tare_arena_alloc(arena, 40 * 1024));
	struct tare_arena_options large = {.name = "child", .block_bytes = 32 * 1024};
	assert_int_equal(tare_arena_child(&grandchild, child, &large), -EDQUOT);
	tare_arena_free(arena);
}

TEST(a_child_may_have_what_its_parent_kept_of_an_earlier_round)
{
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = 256 * 1024}), *child;
	for (int i = 0; i < 200; i++)
		assert_non_null(tare_arena_alloc(arena, 1000));
	tare_arena_reset(arena);
	assert_true(stats_of(arena).reserved > 150 * 1024);
	assert_int_equal(tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "child"}), 0);
	assert_non_null(tare_arena_alloc(child, 200 * 1024));
	assert_int_equal(stats_of(arena).refused_limit, 0);
	tare_arena_free(arena);
}

TEST(where_nothing_is_left_the_reserve_still_has_room_for_a_report)
{
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = 4096});
	assert_string_equal(tare_arena_report(arena, "%d is fine", 1), "1 is fine");
	while (tare_arena_alloc(arena, 16) != NULL)
		continue;
	char *text = tare_arena_report(arena, "out of memory: %s", "limit reached");
	assert_string_equal(text, "out of memory: limit reached");
	text = tare_arena_report(arena, "%1000d", 1);
	assert_int_equal(strlen(text), TARE_ARENA_RESERVE - 1); // cut
	tare_arena_reset(arena);
	assert_non_null(tare_arena_alloc(arena, 16));
	tare_arena_free(arena);
}

TEST(growing_text_that_meets_the_limit_says_so_and_stays_quiet)
{
	struct tare_arena *arena = arena_with((struct tare_arena_options){.limit_bytes = 8192});
	struct tare_arena_text text;
	tare_arena_text_init(&text, arena);
	for (int i = 0; i < 10000; i++)
		tare_text_printf(&text.text, "%d,", i);
	assert_int_equal(text.text.rc, -EDQUOT);
	assert_null(tare_arena_text_get(&text).ptr);
	assert_int_equal(stats_of(arena).refused_limit, 1);
	tare_arena_free(arena);
}

// ---- trimming -----------------------------------------------------------------------------------------------------

static void round_of(struct tare_arena *arena, size_t bytes)
{
	for (; bytes >= 1000; bytes -= 1000)
		assert_non_null(tare_arena_alloc(arena, 1000));
	tare_arena_reset(arena);
}

TEST(a_spike_is_given_back_after_two_windows_without_another)
{
	struct tare_arena *arena = arena_plain();
	round_of(arena, 20000);
	uint64_t calm = stats_of(arena).reserved;
	round_of(arena, 1000000); // in the first window, rounds 0 to 63
	uint64_t spiked = stats_of(arena).reserved;
	assert_true(spiked >= 1000000);
	for (int round = 2; round < 127; round++) {
		round_of(arena, 20000);
		assert_int_equal(stats_of(arena).reserved, spiked);
	}
	round_of(arena, 20000); // the 128th
	assert_int_equal(stats_of(arena).reserved, calm);
	assert_true(stats_of(arena).reserved_max >= spiked);
	tare_arena_free(arena);
}

TEST(what_is_needed_once_a_window_is_kept)
{
	struct tare_arena *arena = arena_plain();
	round_of(arena, 1000000);
	uint64_t allocs = heap_allocs();
	for (int round = 1; round < 1000; round++)
		round_of(arena, round % 60 == 0 ? 1000000 : 5000);
	assert_int_equal(heap_allocs(), allocs);
	tare_arena_free(arena);
}

TEST(what_is_over_the_bound_of_what_is_kept_goes_at_once)
{
	struct tare_arena *arena = arena_with((struct tare_arena_options){.keep_bytes = 32 * 1024});
	round_of(arena, 20000);
	uint64_t calm = stats_of(arena).reserved;
	assert_true(calm <= 32 * 1024);
	round_of(arena, 1000000);
	assert_true(stats_of(arena).reserved <= 32 * 1024);
	round_of(arena, 20000);
	assert_int_equal(stats_of(arena).reserved, calm);
	tare_arena_free(arena);
}

TEST(large_blocks_go_with_the_reset)
{
	struct tare_arena *arena = arena_plain();
	uint64_t empty = stats_of(arena).reserved;
	assert_non_null(tare_arena_alloc(arena, 1 << 20));
	assert_non_null(tare_arena_alloc(arena, 17 * 1024));
	assert_int_equal(stats_of(arena).blocks, 3);
	assert_true(stats_of(arena).used >= (1 << 20) + 17 * 1024);
	tare_arena_reset(arena);
	assert_int_equal(stats_of(arena).reserved, empty);
	assert_int_equal(stats_of(arena).used, 0);
	assert_int_equal(stats_of(arena).blocks, 1);
	tare_arena_free(arena);
}

// ---- cleanups, children, marks ------------------------------------------------------------------------------------

static char order[64];

static void note(void *arg)
{
	strncat(order, arg, sizeof order - strlen(order) - 1);
}

static void add_note(struct tare_arena *arena, const char *text)
{
	assert_int_equal(tare_arena_cleanup(arena, note, (void *)(uintptr_t)text), 0);
}

TEST(cleanups_run_children_first_and_the_last_first)
{
	struct tare_arena_options options = {.name = "child", .block_bytes = 1024};
	struct tare_arena *arena = arena_plain(), *a, *b, *aa;
	for (int round = 0; round < 2; round++) {
		order[0] = '\0';
		add_note(arena, "1");
		assert_int_equal(tare_arena_child(&a, arena, &options), 0);
		assert_int_equal(tare_arena_child(&b, arena, &options), 0);
		assert_int_equal(tare_arena_child(&aa, a, &options), 0);
		add_note(a, "a");
		add_note(arena, "2");
		add_note(b, "b");
		add_note(aa, "x");
		add_note(aa, "y");
		add_note(arena, "3");
		assert_true(tare_arena_cleanup_cancel(arena, note, (void *)(uintptr_t) "2"));
		assert_false(tare_arena_cleanup_cancel(arena, note, order));
		if (round == 0)
			tare_arena_reset(arena);
		else
			tare_arena_free(arena);
		assert_string_equal(order, "byxa31");
	}
}

static void note_and_more(void *arg)
{
	struct tare_arena *arena = arg, *child;
	note((void *)(uintptr_t) "(");
	assert_int_equal(tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "late"}), 0);
	add_note(child, "c");
	add_note(arena, "l");
	memset(tare_arena_alloc(arena, 100000), 1, 100000);
}

TEST(what_a_cleanup_makes_is_cleaned_up_too)
{
	uint64_t before = heap_live();
	struct tare_arena *arena = arena_plain();
	order[0] = '\0';
	add_note(arena, "1");
	assert_int_equal(tare_arena_cleanup(arena, note_and_more, arena), 0);
	tare_arena_free(arena);
	assert_string_equal(order, "(cl1");
	assert_int_equal(heap_live(), before);
}

TEST(cleanups_that_are_dropped_do_not_run)
{
	struct tare_arena *arena = arena_plain(), *child;
	uint64_t before = heap_live();
	order[0] = '\0';
	assert_int_equal(tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "child"}), 0);
	add_note(arena, "1");
	add_note(child, "2");
	tare_arena_cleanups_drop(arena);
	assert_int_equal(heap_live(), before);
	tare_arena_free(arena);
	assert_string_equal(order, "");
}

TEST(a_long_line_of_descendants_is_freed_whole)
{
	uint64_t before = heap_live();
	struct tare_arena *arena = arena_plain(), *child, *parent = arena;
	struct tare_arena_options options = {.name = "child", .block_bytes = 1024};
	order[0] = '\0';
	for (int i = 0; i < 3000; i++, parent = child)
		assert_int_equal(tare_arena_child(&child, parent, &options), 0);
	add_note(child, "deep");
	tare_arena_free(arena);
	assert_string_equal(order, "deep");
	assert_int_equal(heap_live(), before);
}

TEST(rewinding_gives_back_what_came_after_the_mark_and_nothing_else)
{
	struct tare_arena *arena = arena_plain(), *child;
	order[0] = '\0';
	char *old = tare_arena_strdup(arena, "old"), *old_large = tare_arena_alloc(arena, 100000);
	memset(old_large, 'o', 100000);
	add_note(arena, "old");
	struct tare_arena_stats before = stats_of(arena);
	for (int round = 0; round < 3; round++) {
		struct tare_arena_mark mark = tare_arena_mark(arena);
		char *first = tare_arena_alloc(arena, 100);
		for (int i = 0; i < 300; i++)
			memset(tare_arena_alloc(arena, 777), 'n', 777);
		memset(tare_arena_alloc(arena, 200000), 'n', 200000);
		assert_int_equal(tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "child"}), 0);
		add_note(child, "c");
		add_note(arena, "n");
		old_large = tare_arena_realloc(arena, old_large, 100000, 120000); // a large one stays, as it is
		tare_arena_rewind(arena, mark);
		old_large = tare_arena_realloc(arena, old_large, 120000, 100000);
		assert_string_equal(order, "cn");
		order[0] = '\0';
		assert_int_equal(stats_of(arena).used, before.used);
		struct tare_arena_mark again = tare_arena_mark(arena);
		assert_ptr_equal(tare_arena_alloc(arena, 100), first);
		tare_arena_rewind(arena, again);
	}
	assert_string_equal(old, "old");
	for (int i = 0; i < 100000; i++)
		assert_int_equal(old_large[i], 'o');
	tare_arena_free(arena);
	assert_string_equal(order, "old");
}

TEST(a_block_that_shrank_since_the_mark_stays_small)
{
	struct tare_arena *arena = arena_plain();
	char *ptr = tare_arena_alloc(arena, 1000);
	memset(ptr, 'p', 1000);
	struct tare_arena_mark mark = tare_arena_mark(arena);
	assert_ptr_equal(tare_arena_realloc(arena, ptr, 1000, 100), ptr);
	uint64_t small = stats_of(arena).used;
	tare_arena_rewind(arena, mark);
	assert_int_equal(stats_of(arena).used, small);
	assert_non_null(memset(tare_arena_alloc(arena, 500), 'q', 500));
	for (int i = 0; i < 100; i++)
		assert_int_equal(ptr[i], 'p');
	tare_arena_free(arena);
}

// ---- reports ------------------------------------------------------------------------------------------------------

static struct tare_arena_row row_of(const char *name)
{
	static struct tare_arena_row rows[64];
	size_t count = tare_arenas_read(rows, 64);
	assert_true(count <= 64);
	assert_true(tare_arenas_read(rows, 0) >= count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i];
	return (struct tare_arena_row){0};
}

TEST(arenas_are_listed_by_name_and_leave_their_counts_behind)
{
	assert_null(row_of("listed").name);
	struct tare_arena *a = arena_with((struct tare_arena_options){.name = "listed"});
	struct tare_arena *b = arena_with((struct tare_arena_options){.name = "listed", .limit_bytes = 4096});
	assert_non_null(tare_arena_alloc(a, 1000));
	assert_non_null(tare_arena_alloc(b, 500));
	assert_null(tare_arena_alloc(b, 5000));
	struct tare_arena_row row = row_of("listed");
	assert_int_equal(row.arenas, 2);
	assert_in_range(row.stats.used, 1500, 1600);
	assert_in_range(row.stats.used_max, 1000, 1100);
	assert_int_equal(row.stats.reserved, 8192);
	assert_int_equal(row.stats.blocks, 2);
	assert_int_equal(row.stats.refused_limit, 1);
	tare_arena_reset(a);
	tare_arena_free(b);
	row = row_of("listed");
	assert_int_equal(row.arenas, 1);
	assert_int_equal(row.stats.used, 0);
	assert_int_equal(row.stats.reserved, 4096);
	assert_int_equal(row.stats.refused_limit, 1);
	tare_arena_free(a);
	row = row_of("listed");
	assert_int_equal(row.arenas, 0);
	assert_int_equal(row.stats.resets, 1);
	assert_int_equal(row.stats.heap_allocs, 2);
}

static void *rounds_of_its_own(void *arg)
{
	atomic_bool *stop = arg;
	struct tare_arena *arena;
	if (tare_arena_new(&arena, &(struct tare_arena_options){.name = "busy", .limit_bytes = 1 << 20}) < 0)
		return NULL;
	for (uint64_t i = 0; !atomic_load(stop); i++) {
		for (uint64_t k = 0; k < 50; k++)
			(void)!tare_arena_alloc(arena, k * (i % 64));
		tare_arena_reset(arena);
	}
	tare_arena_free(arena);
	return NULL;
}

TEST(arenas_are_read_while_their_owners_work)
{
	pthread_t threads[3];
	atomic_bool stop = false;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, rounds_of_its_own, &stop), 0);
	uint64_t resets = 0;
	for (int i = 0; i < 2000 || resets < 1000; i++) {
		struct tare_arena_row row = row_of("busy");
		if (row.name == NULL)
			continue;
		assert_true(row.arenas <= 3 && row.stats.reserved_max <= 1 << 20);
		assert_true(row.stats.used <= 3 << 20 && row.stats.resets >= resets);
		resets = row.stats.resets;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(row_of("busy").stats.resets >= resets);
}

TEST(names_past_the_last_row_share_one)
{
	static char names[80][24];
	struct tare_arena *arenas[80];
	uint64_t listed = 0;
	for (int i = 0; i < 80; i++) {
		snprintf(names[i], sizeof names[i], "many-%d", i);
		arenas[i] = arena_with((struct tare_arena_options){.name = names[i]});
	}
	for (int i = 0; i < 80; i++)
		listed += row_of(names[i]).arenas;
	assert_true(listed > 0);
	assert_int_equal(listed + row_of("(others)").arenas, 80);
	for (int i = 0; i < 80; i++)
		tare_arena_free(arenas[i]);
}

// ---- mistakes -----------------------------------------------------------------------------------------------------

// Runs the mistake in a child process: whether it ended otherwise than with 0, and what it said.
static bool is_caught(void (*mistake)(struct tare_arena *arena), char text[4096])
{
	int pipe_fds[2], status;
	assert_int_equal(pipe(pipe_fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(pipe_fds[1], STDERR_FILENO);
		mistake(arena_plain());
		_exit(0);
	}
	close(pipe_fds[1]);
	size_t len = 0;
	char drop[4096];
	for (ssize_t n; (n = read(pipe_fds[0], len < 4095 ? text + len : drop, len < 4095 ? 4095 - len : 4096)) > 0;)
		len += len < 4095 ? (size_t)n : 0;
	text[len] = '\0';
	close(pipe_fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void reset_in_cleanup(void *arg)
{
	tare_arena_reset(arg);
}

static void reset_while_it_resets(struct tare_arena *arena)
{
	if (tare_arena_cleanup(arena, reset_in_cleanup, arena) == 0)
		tare_arena_reset(arena);
}

static void rewind_past_a_reset(struct tare_arena *arena)
{
	struct tare_arena_mark mark = tare_arena_mark(arena);
	tare_arena_reset(arena);
	tare_arena_rewind(arena, mark);
}

TEST(misuse_that_would_corrupt_is_an_assertion)
{
	char text[4096];
	assert_true(is_caught(reset_while_it_resets, text));
	assert_non_null(strstr(text, "settling"));
	assert_true(is_caught(rewind_past_a_reset, text));
	assert_non_null(strstr(text, "resets"));
}

#ifdef TARE_ASAN
static void use_after_reset(struct tare_arena *arena)
{
	volatile char *ptr = tare_arena_alloc(arena, 100);
	tare_arena_reset(arena);
	ptr[50] = 1;
}

static void use_in_the_next_round(struct tare_arena *arena)
{
	volatile char *stale = tare_arena_alloc(arena, 1000);
	tare_arena_reset(arena);
	if (tare_arena_alloc(arena, 100) != NULL)
		stale[500] = 1;
}

static void use_after_rewind(struct tare_arena *arena)
{
	struct tare_arena_mark mark = tare_arena_mark(arena);
	volatile char *ptr = tare_arena_alloc(arena, 100);
	tare_arena_rewind(arena, mark);
	ptr[0] = 1;
}

static void use_after_shrinking(struct tare_arena *arena)
{
	volatile char *ptr = tare_arena_alloc(arena, 1000);
	if (tare_arena_realloc(arena, (void *)(uintptr_t)ptr, 1000, 10) != NULL)
		ptr[100] = 1;
}

static void one_byte_too_far(struct tare_arena *arena)
{
	volatile char *ptr = tare_arena_alloc(arena, 13);
	if (tare_arena_alloc(arena, 13) != NULL)
		ptr[13] = 1;
}

static void use_of_a_large_block_after_reset(struct tare_arena *arena)
{
	volatile char *ptr = tare_arena_alloc(arena, 1 << 20);
	tare_arena_reset(arena);
	ptr[5000] = 1;
}

TEST(addresssanitizer_sees_what_uses_memory_that_was_given_back)
{
	void (*const mistakes[])(struct tare_arena *) = {use_after_reset, use_in_the_next_round, use_after_rewind,
							 use_after_shrinking, one_byte_too_far};
	char text[4096];
	for (size_t i = 0; i < TARE_ARRAY_LEN(mistakes); i++) {
		assert_true(is_caught(mistakes[i], text));
		assert_non_null(strstr(text, "use-after-poison"));
	}
	assert_true(is_caught(use_of_a_large_block_after_reset, text));
	assert_non_null(strstr(text, "heap-use-after-free"));
}
#endif
