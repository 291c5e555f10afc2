// SPDX-License-Identifier: MIT
// Goal: an object is never with two owners, storage keeps its type and contents, limits hold, counts come out even.
// Method: owners sign their objects; threads pass them to each other.
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include <tare/mem.h>

static struct tare_pool *pool_of(size_t bytes, uint64_t limit, bool passthrough)
{
	struct tare_pool *pool;
	struct tare_pool_options options = {
	    .name = "test", .object_bytes = bytes, .limit = limit, .passthrough = passthrough};
	assert_int_equal(tare_pool_new(&pool, &options), 0);
	return pool;
}

TEST(a_fresh_object_is_zero_and_a_used_one_is_as_it_was_left)
{
	struct tare_pool *pool = pool_of(100, 0, false);
	unsigned char *object = tare_pool_take(pool);
	for (int i = 0; i < 100; i++)
		assert_int_equal(object[i], 0);
	memset(object, 7, 100);
	tare_pool_give(pool, object);
	assert_ptr_equal(tare_pool_take(pool), object); // last in, first out: it is warm
	for (int i = 0; i < 100; i++)
		assert_int_equal(object[i], 7);
	tare_pool_give(pool, object);
	tare_pool_free(pool);
}

TEST(objects_are_aligned_and_apart)
{
	struct tare_pool *pool;
	struct tare_pool_options options = {.name = "test", .object_bytes = 40, .alignment = 64};
	assert_int_equal(tare_pool_new(&pool, &options), 0);
	char *objects[1000];
	for (int i = 0; i < 1000; i++) {
		objects[i] = tare_pool_take(pool);
		assert_int_equal((uintptr_t)objects[i] % 64, 0);
		memset(objects[i], i & 0xff, 40);
	}
	for (int i = 0; i < 1000; i++)
		for (int k = 0; k < 40; k++)
			assert_int_equal((unsigned char)objects[i][k], i & 0xff);
	for (int i = 0; i < 1000; i++)
		tare_pool_give(pool, objects[i]);
	tare_pool_free(pool);
}

TEST(the_limit_holds_and_is_counted)
{
	struct tare_pool *pool = pool_of(32, 10, false);
	void *objects[10];
	for (int i = 0; i < 10; i++)
		assert_non_null(objects[i] = tare_pool_take(pool));
	assert_null(tare_pool_take(pool));
	struct tare_pool_stats stats;
	tare_pool_stats_read(pool, &stats);
	assert_int_equal(stats.live, 10);
	assert_int_equal(stats.overflows, 1);
	tare_pool_give(pool, objects[0]);
	assert_non_null(tare_pool_take(pool));
	for (int i = 0; i < 10; i++)
		tare_pool_give(pool, objects[i]);
	tare_pool_stats_read(pool, &stats);
	assert_int_equal(stats.live, 0);
	assert_int_equal(stats.hits + stats.misses, 11);
	tare_pool_free(pool);
}

TEST(a_passthrough_pool_makes_a_heap_call_each_time)
{
	struct tare_pool *pool = pool_of(64, 0, true);
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (int i = 0; i < 5; i++)
		tare_pool_give(pool, tare_pool_take(pool));
	tare_heap_stats_read(&after);
	assert_int_equal(after.allocs - before.allocs, 5);
	assert_int_equal(after.frees - before.frees, 5);
	tare_pool_free(pool);
}

TEST(a_recycling_pool_makes_none_once_it_is_warm)
{
	struct tare_pool *pool = pool_of(64, 0, false);
	void *objects[200];
	for (int i = 0; i < 200; i++)
		objects[i] = tare_pool_take(pool);
	for (int i = 0; i < 200; i++)
		tare_pool_give(pool, objects[i]);
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 200; i++)
			objects[i] = tare_pool_take(pool);
		for (int i = 0; i < 200; i++)
			tare_pool_give(pool, objects[i]);
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.allocs, before.allocs);
	tare_pool_free(pool);
}

// ---- threads ------------------------------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 20000, SLOTS = 64 };

struct shared {
	struct tare_pool *pool;
	_Atomic(void *) slots[SLOTS]; // objects on their way from one thread to another
};

static void *trade(void *arg)
{
	struct shared *shared = arg;
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)&rng);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t *object = tare_pool_take(shared->pool);
		if (object == NULL)
			return (void *)1;
		object[0] = object[1] = tare_rng_next(&rng);
		object = atomic_exchange(&shared->slots[tare_rng_below(&rng, SLOTS)], object);
		if (object == NULL)
			continue;
		if (object[0] != object[1]) // another owner wrote into it
			return (void *)1;
		tare_pool_give(shared->pool, object);
	}
	return NULL;
}

TEST(threads_may_give_what_others_took)
{
	static struct shared shared;
	pthread_t threads[THREADS];
	shared.pool = pool_of(16, 0, false);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, trade, &shared), 0);
	for (int i = 0; i < THREADS; i++) {
		void *bad;
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	uint64_t left = 0;
	for (int i = 0; i < SLOTS; i++)
		left += shared.slots[i] != NULL;
	struct tare_pool_stats stats;
	tare_pool_stats_read(shared.pool, &stats);
	assert_int_equal(stats.live, left);
	assert_int_equal(stats.hits + stats.misses, (uint64_t)THREADS * ROUNDS);
	tare_pool_free(shared.pool);
}

struct walk {
	unsigned marked, all, most;
};

static bool on_object(void *arg, void *object)
{
	struct walk *walk = arg;
	walk->marked += *(unsigned char *)object == 9;
	return ++walk->all < walk->most;
}

TEST(every_object_that_was_ever_cut_is_walked_until_the_walker_has_enough)
{
	struct tare_pool *pool = pool_of(40, 0, false);
	struct walk walk = {.most = 1000000};
	assert_true(tare_pool_each(pool, on_object, &walk));
	assert_int_equal(walk.all, 0);
	char *objects[1000]; // several slabs of them
	for (int i = 0; i < 1000; i++) {
		objects[i] = tare_pool_take(pool);
		*objects[i] = 9;
	}
	for (int i = 0; i < 1000; i += 2)
		tare_pool_give(pool, objects[i]);
	assert_true(tare_pool_each(pool, on_object, &walk));
	assert_int_equal(walk.marked, 1000); // those given back too
	assert_true(walk.all >= 1000);
	walk = (struct walk){.most = 300};
	assert_false(tare_pool_each(pool, on_object, &walk));
	assert_int_equal(walk.all, 300);
	for (int i = 1; i < 1000; i += 2)
		tare_pool_give(pool, objects[i]);
	tare_pool_free(pool);
}

// More than a cache holds: what overflows it to the depot is no longer in the cache, and nothing is forgotten.
TEST(what_is_given_back_is_taken_again_once_each)
{
	enum { COUNT = 1000 };
	static unsigned *taken[COUNT];
	struct tare_pool *pool = pool_of(16, COUNT, false);
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			taken[i] = tare_pool_take(pool);
			assert_non_null(taken[i]);
			assert_true(*taken[i] < round); // not taken in this round yet
			*taken[i] = round;
		}
		assert_null(tare_pool_take(pool));
		for (unsigned i = 0; i < COUNT; i++)
			tare_pool_give(pool, taken[round % 2 == 0 ? i : COUNT - 1 - i]);
	}
	tare_pool_free(pool);
}

TEST(every_pool_is_listed_while_it_exists)
{
	struct tare_pool_row rows[8];
	size_t before = tare_pools_read(rows, 8);
	struct tare_pool *a = pool_of(16, 0, false), *b = pool_of(16, 0, false);
	assert_int_equal(tare_pools_read(rows, 8), before + 2);
	assert_int_equal(tare_pools_read(rows, 0), before + 2);
	assert_string_equal(rows[before].name, "test");
	tare_pool_free(a);
	tare_pool_free(b);
	assert_int_equal(tare_pools_read(rows, 8), before);
}
