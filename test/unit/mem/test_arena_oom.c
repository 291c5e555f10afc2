// SPDX-License-Identifier: MIT
// Goal: whichever heap call fails, an arena and a reservoir say -ENOMEM or NULL, lose nothing that was live, can report
// it, and work on once there is memory again.
// Method: this program's own malloc fails the n-th call since it was armed, for every n until a run meets no failure;
// and all from the n-th on. Not under a sanitizer, which has a malloc of its own.
#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include <tare/mem.h>

#if !defined(TARE_ASAN) && !defined(TARE_TSAN)
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *ptr, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static bool armed, for_good;
static uint64_t calls, fail_at, failed;

static bool fails(void)
{
	if (!armed)
		return false;
	calls++;
	bool fail = calls == fail_at || (for_good && calls > fail_at);
	failed += fail;
	return fail;
}

void *malloc(size_t bytes)
{
	return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *ptr, size_t bytes)
{
	return fails() ? NULL : __libc_realloc(ptr, bytes);
}

int posix_memalign(void **ret, size_t alignment, size_t bytes)
{
	void *ptr = fails() ? NULL : __libc_memalign(alignment, bytes);
	if (ptr == NULL)
		return ENOMEM;
	*ret = ptr;
	return 0;
}

// Runs work with each heap call failing in its turn. It returns whether it met a failure.
static void for_every_failure(bool (*work)(void))
{
	for (int mode = 0; mode < 2; mode++) {
		for_good = mode == 1;
		for (fail_at = 1;; fail_at++) {
			struct tare_heap_stats before, after;
			tare_heap_stats_read(&before);
			calls = failed = 0;
			armed = true;
			bool met = work();
			armed = false;
			tare_heap_stats_read(&after);
			assert_int_equal(after.bytes_live, before.bytes_live);
			// None goes unseen, but for one that a second try made good.
			assert_true(met == (failed > 0) || (!met && failed == 1 && !for_good));
			if (failed == 0)
				break;
		}
		assert_true(fail_at > 2); // there was something to fail
	}
}

static unsigned cleaned;

static void count_cleanup(void *arg)
{
	cleaned += *(const unsigned *)arg;
}

// Whether the arena just refused for want of memory, and could say so.
static bool refused(struct tare_arena *arena)
{
	assert_int_equal(tare_arena_error(arena), -ENOMEM);
	const char *text = tare_arena_report(arena, "no memory for %s", "that");
	assert_string_equal(text, "no memory for that");
	return true;
}

static bool work_in(struct tare_arena *arena)
{
	static const unsigned one = 1;
	bool met = false;
	struct tare_arena *child;
	unsigned registered = 0;
	char *kept = tare_arena_strdup(arena, "kept");
	assert_non_null(kept);
	for (size_t i = 1; i < 40; i++) {
		char *ptr = tare_arena_alloc(arena, i * 100);
		met |= ptr == NULL && refused(arena);
		char *grown = ptr != NULL ? tare_arena_realloc(arena, ptr, i * 100, i * 900) : NULL;
		met |= ptr != NULL && grown == NULL && refused(arena);
		int rc = tare_arena_cleanup(arena, count_cleanup, (void *)(uintptr_t)&one);
		assert_true(rc == 0 || rc == -ENOMEM);
		registered += rc == 0;
		met |= rc < 0;
	}
	int rc = tare_arena_child(&child, arena, &(struct tare_arena_options){.name = "child"});
	met |= rc == -ENOMEM;
	if (rc == 0) {
		met |= tare_arena_alloc(child, 5000) == NULL;
		met |= tare_arena_printf(child, "%9000d", 1) == NULL;
	}
	struct tare_arena_text text;
	tare_arena_text_init(&text, arena);
	for (int i = 0; i < 9000; i++)
		tare_text_printf(&text.text, "%d", i);
	met |= text.text.rc == -ENOMEM;
	assert_string_equal(kept, "kept");
	cleaned = 0;
	tare_arena_reset(arena);
	assert_int_equal(cleaned, registered);
	return met;
}

static bool arena_work(void)
{
	struct tare_arena *arena;
	int rc = tare_arena_new(&arena, &(struct tare_arena_options){.name = "oom", .block_bytes = 1024});
	if (rc < 0) {
		assert_int_equal(rc, -ENOMEM);
		return true;
	}
	bool met = work_in(arena);
	met |= work_in(arena);
	armed = false; // there is memory again
	uint64_t seen = failed;
	assert_int_equal(work_in(arena), 0);
	failed = seen;
	tare_arena_free(arena);
	return met;
}

static bool reservoir_work(void)
{
	static const struct tare_reservoir_class classes[] = {{256, 100}, {4096, 40}, {65536, 3}};
	struct tare_reservoir *reservoir;
	int rc = tare_reservoir_new(
	    &reservoir, &(struct tare_reservoir_options){.name = "oom", .classes = classes, .class_count = 3});
	if (rc < 0) {
		assert_int_equal(rc, -ENOMEM);
		return true;
	}
	struct tare_buffer buffer = tare_reservoir_take(reservoir, 5000);
	assert_int_equal(buffer.bytes, 65536);
	tare_reservoir_give(reservoir, buffer);
	tare_reservoir_free(reservoir);
	return false;
}
#endif

TEST(an_arena_takes_every_failure_of_the_heap_well)
{
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	skip();
#else
	for_every_failure(arena_work);
#endif
}

TEST(a_reservoir_that_can_not_be_made_leaves_nothing_behind)
{
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	skip();
#else
	for_every_failure(reservoir_work);
#endif
}

// A block that a round left behind is given back before anything is refused.
TEST(what_earlier_rounds_left_is_given_back_before_memory_is_refused)
{
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	skip();
#else
	struct tare_arena *arena;
	assert_int_equal(tare_arena_new(&arena, &(struct tare_arena_options){.name = "oom"}), 0);
	for (int i = 0; i < 100; i++)
		assert_non_null(tare_arena_alloc(arena, 1000));
	tare_arena_reset(arena);
	struct tare_arena_stats before, after;
	tare_arena_stats_read(arena, &before);
	calls = 0;
	fail_at = 1;
	for_good = false;
	armed = true;
	void *ptr = tare_arena_alloc(arena, 1 << 20);
	armed = false;
	assert_non_null(ptr); // the second try
	tare_arena_stats_read(arena, &after);
	assert_int_equal(before.blocks, 5);
	assert_int_equal(after.blocks, 2);
	assert_int_equal(after.refused_memory, 0);
	tare_arena_free(arena);
#endif
}
