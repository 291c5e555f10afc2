// SPDX-License-Identifier: MIT
// Goal: what is on the heap is counted under its tag, by the byte and from all threads; blocks are what malloc's are;
// and who forbids heap calls is obeyed. Method: sums before and after; a child process for what ends the program.
#include "child.h"

#include <tare/heap.h>

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

static struct tare_heap_stats stats_of(const char *name)
{
	struct tare_tag_row rows[TARE_TAGS_MAX];
	size_t count = tare_tags_read(rows, TARE_TAGS_MAX);
	for (size_t i = 0; i < count; i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].stats;
	return (struct tare_heap_stats){0};
}

TEST(each_tag_counts_its_own)
{
	static struct tare_tag apples = TARE_TAG("apples"), pears = TARE_TAG("pears");
	void *a = tare_alloc(&apples, 100), *b = tare_alloc_zeroed(&pears, 3, 7);
	assert_non_null(a);
	assert_non_null(b);
	struct tare_heap_stats apple = stats_of("apples"), pear = stats_of("pears");
	assert_int_equal(apple.allocs, 1);
	assert_int_equal(apple.bytes_live, 100);
	assert_int_equal(pear.bytes_live, 21);
	tare_free(a);
	tare_free(b);
	apple = stats_of("apples");
	assert_int_equal(apple.frees, 1);
	assert_int_equal(apple.bytes_live, 0);
	assert_int_equal(apple.bytes_total, 100);
	assert_int_equal(stats_of("pears").bytes_live, 0);
}

TEST(tags_of_one_name_are_one)
{
	static struct tare_tag here = TARE_TAG("twin");
	static char name[] = "twin"; // the text counts, not where it stands
	static struct tare_tag there = TARE_TAG(name);
	void *a = tare_alloc(&here, 5), *b = tare_alloc(&there, 6);
	assert_int_equal(stats_of("twin").bytes_live, 11);
	tare_free(a);
	tare_free(b);
	assert_int_equal(stats_of("twin").bytes_live, 0);
}

TEST(the_whole_is_the_sum_of_the_tags)
{
	static struct tare_tag tag = TARE_TAG("part");
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	void *block = tare_alloc(&tag, 1000);
	tare_heap_stats_read(&after);
	assert_int_equal(after.allocs - before.allocs, 1);
	assert_int_equal(after.bytes_live - before.bytes_live, 1000);
	tare_free(block);
}

// Blocks are counted up in one thread's row and down in another's, with the rows of idle threads between the two, so
// that there is time for both while somebody reads the sums.
enum { IDLE_THREADS = 60 };
static struct tare_tag handed_tag = TARE_TAG("handed");
static _Atomic(void *) handed;
static atomic_bool handing_over;
static pthread_barrier_t numbered;

static void *hand_on(void *arg)
{
	while (!atomic_load(&handing_over))
		if (atomic_load(&handed) == NULL)
			atomic_store(&handed, tare_alloc(&handed_tag, 1000));
	return arg;
}

static void *free_handed(void *arg)
{
	while (!atomic_load(&handing_over))
		tare_free(atomic_exchange(&handed, NULL));
	return arg;
}

// Takes its number before the next thread is started.
static void *numbered_main(void *arg)
{
	void *(*fn)(void *) = *(void *(**)(void *))arg;
	(void)tare_shard();
	pthread_barrier_wait(&numbered);
	if (fn != NULL)
		return fn(NULL);
	while (!atomic_load(&handing_over))
		usleep(1000);
	return NULL;
}

TEST(what_one_thread_allocates_and_another_frees_is_never_less_than_nothing)
{
	static void *(*fns[IDLE_THREADS])(void *) = {[0] = hand_on, [IDLE_THREADS - 1] = free_handed};
	pthread_t threads[IDLE_THREADS];
	assert_int_equal(pthread_barrier_init(&numbered, NULL, 2), 0);
	for (int i = 0; i < IDLE_THREADS; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, numbered_main, &fns[i]), 0);
		pthread_barrier_wait(&numbered);
	}
	uint64_t most = 0, frees_over = 0;
	for (int i = 0; i < 20000; i++) {
		struct tare_heap_stats stats = stats_of("handed");
		most = TARE_MAX(most, stats.bytes_live);
		frees_over += stats.frees > stats.allocs;
	}
	atomic_store(&handing_over, true);
	for (int i = 0; i < IDLE_THREADS; i++)
		pthread_join(threads[i], NULL);
	tare_free(atomic_load(&handed));
	assert_true(most < UINT64_MAX / 2);
	assert_int_equal(frees_over, 0);
	assert_int_equal(stats_of("handed").bytes_live, 0);
	pthread_barrier_destroy(&numbered);
}

TEST(a_block_moved_by_realloc_keeps_its_bytes_and_changes_its_tag)
{
	static struct tare_tag from = TARE_TAG("from"), to = TARE_TAG("to");
	unsigned char *block = tare_alloc(&from, 40);
	for (int i = 0; i < 40; i++)
		block[i] = (unsigned char)i;
	block = tare_realloc(&to, block, 1 << 20);
	assert_non_null(block);
	for (int i = 0; i < 40; i++)
		assert_int_equal(block[i], i);
	assert_int_equal(stats_of("from").bytes_live, 0);
	assert_int_equal(stats_of("to").bytes_live, 1 << 20);
	block = tare_realloc(&to, block, 10);
	assert_int_equal(block[9], 9);
	assert_int_equal(stats_of("to").bytes_live, 10);
	tare_free(block);
	assert_int_equal(stats_of("to").bytes_live, 0);
	tare_free(tare_realloc(&to, NULL, 3)); // as realloc: an allocation
	assert_int_equal(stats_of("to").allocs, 3);
}

TEST(blocks_are_aligned_as_asked_and_zeroed_where_promised)
{
	static struct tare_tag tag = TARE_TAG("aligned");
	for (size_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
		char *block = tare_alloc_aligned(&tag, alignment, 33);
		assert_non_null(block);
		assert_int_equal((uintptr_t)block % TARE_MAX(alignment, alignof(max_align_t)), 0);
		memset(block, 0xa5, 33);
		tare_free(block);
	}
	for (int round = 0; round < 100; round++) {
		char *block = tare_alloc_zeroed(&tag, 10, 10);
		assert_int_equal((uintptr_t)block % alignof(max_align_t), 0);
		for (int i = 0; i < 100; i++)
			assert_int_equal(block[i], 0);
		memset(block, 0xa5, 100);
		tare_free(block);
	}
	assert_int_equal(stats_of("aligned").bytes_live, 0);
}

TEST(what_can_not_be_had_is_null_and_not_counted)
{
	static struct tare_tag tag = TARE_TAG("greedy");
	static volatile size_t huge = SIZE_MAX; // unknown to the compiler
	char *block = tare_alloc(&tag, 10);
	assert_null(tare_alloc(&tag, huge));
	assert_null(tare_alloc(&tag, huge - 8));
	assert_null(tare_alloc_zeroed(&tag, huge / 2, 3));
	assert_null(tare_alloc_zeroed(&tag, 1, huge));
	assert_null(tare_alloc_aligned(&tag, 4096, huge - 4096));
	assert_null(tare_realloc(&tag, block, huge));
	struct tare_heap_stats stats = stats_of("greedy");
	assert_int_equal(stats.allocs, 1);
	assert_int_equal(stats.bytes_live, 10);
	tare_free(block);
	tare_free(NULL);
	assert_int_equal(stats_of("greedy").frees, 1);
}

TEST(pages_are_counted_and_zeroed)
{
	static struct tare_tag tag = TARE_TAG("pages");
	static volatile size_t huge = SIZE_MAX / 2;
	char *pages = tare_pages(&tag, 10000);
	assert_non_null(pages);
	assert_int_equal((uintptr_t)pages % 4096, 0);
	assert_int_equal(pages[9999], 0);
	assert_int_equal(stats_of("pages").bytes_live, 10000);
	tare_pages_free(&tag, pages, 10000);
	tare_pages_free(&tag, NULL, 1);
	assert_null(tare_pages(&tag, huge));
	struct tare_heap_stats stats = stats_of("pages");
	assert_int_equal(stats.bytes_live, 0);
	assert_int_equal(stats.allocs, 1);
	assert_int_equal(stats.frees, 1);
}

TEST(a_text_is_copied)
{
	static struct tare_tag tag = TARE_TAG("texts");
	char *copy = tare_strdup(&tag, "tare");
	assert_string_equal(copy, "tare");
	assert_int_equal(stats_of("texts").bytes_live, 5);
	tare_free(copy);
}

// ---- threads ------------------------------------------------------------------------------------------------------

// More than there are numbers for threads, so that some share the last row of counts.
enum { THREADS = TARE_SHARD_MAX + 20, ROUNDS = 200 };
static struct tare_tag crowd = TARE_TAG("crowd");
static pthread_barrier_t all_here;
static _Atomic(void *) passed[THREADS];

// Frees what another thread allocated.
static void *allocate_and_pass(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	pthread_barrier_wait(&all_here);
	for (unsigned i = 0; i < ROUNDS; i++)
		tare_free(atomic_exchange(&passed[(me + i) % THREADS], tare_alloc(&crowd, 1 + i)));
	return NULL;
}

TEST(counts_are_exact_with_many_threads)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&all_here, NULL, THREADS);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_pass, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		tare_free(atomic_load(&passed[i]));
	pthread_barrier_destroy(&all_here);
	struct tare_heap_stats stats = stats_of("crowd");
	assert_int_equal(stats.allocs, THREADS * ROUNDS);
	assert_int_equal(stats.frees, THREADS * ROUNDS);
	assert_int_equal(stats.bytes_total, THREADS * ROUNDS * (ROUNDS + 1) / 2);
	assert_int_equal(stats.bytes_live, 0);
}

// ---- forbidden ----------------------------------------------------------------------------------------------------

static int call(void *arg)
{
	void (*const *fn)(void) = arg;
	(*fn)();
	return 0;
}

static void dies_saying(void (*fn)(void), const char *wanted)
{
	char said[512];
	int status = run_child(call, &fn, STDERR_FILENO, said, sizeof said);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(said, wanted));
}

static struct tare_tag basket = TARE_TAG("basket");
static void *held;

static void allocate(void)
{
	(void)tare_heap_forbid("the hot path");
	held = tare_alloc(&basket, 1);
}

static void release(void)
{
	held = tare_alloc(&basket, 1);
	(void)tare_heap_forbid("the hot path");
	tare_free(held);
}

static void after_the_inner(void)
{
	(void)tare_heap_forbid("the outer");
	const char *before = tare_heap_forbid("the inner");
	(void)tare_heap_forbid(before);
	held = tare_realloc(&basket, NULL, 1);
}

TEST(who_forbids_heap_calls_is_obeyed)
{
	dies_saying(allocate, "tare_alloc for \"basket\" where \"the hot path\" forbids heap calls");
	dies_saying(release, "tare_free for \"basket\" where \"the hot path\" forbids heap calls");
	dies_saying(after_the_inner, "for \"basket\" where \"the outer\" forbids heap calls");
	const char *before = tare_heap_forbid("a stretch");
	assert_null(before);
	assert_string_equal(tare_heap_forbid(before), "a stretch");
	tare_free(tare_alloc(&basket, 1));
}

// ---- too many tags: last, for they stay ---------------------------------------------------------------------------

TEST(what_is_past_the_last_tag_is_counted_as_other)
{
	static struct tare_tag many[2 * TARE_TAGS_MAX];
	static char names[2 * TARE_TAGS_MAX][16];
	void *blocks[2 * TARE_TAGS_MAX];
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (int i = 0; i < 2 * TARE_TAGS_MAX; i++) {
		snprintf(names[i], sizeof names[i], "n%d", i);
		many[i].name = names[i];
		blocks[i] = tare_alloc(&many[i], 10);
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live - before.bytes_live, 20 * TARE_TAGS_MAX);
	assert_true(stats_of("other").bytes_live >= 10 * TARE_TAGS_MAX);
	assert_int_equal(tare_tags_read(NULL, 0), TARE_TAGS_MAX);
	for (int i = 0; i < 2 * TARE_TAGS_MAX; i++)
		tare_free(blocks[i]);
	assert_int_equal(stats_of("other").bytes_live, 0);
}
