// SPDX-License-Identifier: MIT
// Goal: an object is never with two owners, stable storage keeps its contents, limits hold, the heap helps out in a
// burst, what is unused goes back to the system, handles grow stale, counts come out even.
// Method: owners sign their objects; threads pass them to each other; resident memory is what the system says it is.
#include "test.h"
#include "pool_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include <tare/mem.h>

static struct tare_pool *pool_with(struct tare_pool_options options)
{
	struct tare_pool *pool;
	options.name = "test";
	assert_int_equal(tare_pool_new(&pool, &options), 0);
	return pool;
}

static struct tare_pool *pool_of(size_t bytes, uint64_t limit, bool passthrough)
{
	return pool_with((struct tare_pool_options){.object_bytes = bytes, .limit = limit, .passthrough = passthrough});
}

static struct tare_pool_stats stats_of(const struct tare_pool *pool)
{
	struct tare_pool_stats stats;
	tare_pool_stats_read(pool, &stats);
	return stats;
}

TEST(a_fresh_object_is_zero_and_a_stable_one_is_as_it_was_left)
{
	struct tare_pool *pool = pool_with((struct tare_pool_options){.object_bytes = 100, .stable = true});
	unsigned char *object = tare_pool_take(pool);
	for (int i = 0; i < 100; i++)
		assert_int_equal(object[i], 0);
	memset(object, 7, 100);
	tare_pool_give(pool, object);
	assert_ptr_equal(pool_taken_again(pool, object), object);
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
	struct tare_pool_stats stats = stats_of(pool);
	assert_int_equal(stats.live, 10);
	assert_int_equal(stats.refusals, 1);
	assert_int_equal(stats.overflows, 0);
	assert_int_equal(stats.limit, 10);
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

TEST(every_object_that_was_ever_made_is_walked_until_the_walker_has_enough)
{
	struct tare_pool *pool = pool_with((struct tare_pool_options){.object_bytes = 40, .stable = true});
	struct walk walk = {.most = 1000000};
	assert_true(tare_pool_each(pool, on_object, &walk));
	assert_int_equal(walk.all, 0);
	char *objects[1000];
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
	struct tare_pool *pool =
	    pool_with((struct tare_pool_options){.object_bytes = 16, .limit = COUNT, .stable = true});
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

TEST(every_pool_has_its_name_and_is_listed_under_it_while_it_exists)
{
	struct tare_pool_row rows[8];
	size_t before = tare_pools_read(rows, 8);
	struct tare_pool *a = pool_of(16, 0, false), *b = pool_of(16, 0, false);
	assert_int_equal(tare_pools_read(rows, 8), before + 2);
	assert_int_equal(tare_pools_read(rows, 0), before + 2);
	assert_string_equal(tare_pool_name(a), "test");
	assert_string_equal(rows[before].name, "test");
	tare_pool_free(a);
	tare_pool_free(b);
	assert_int_equal(tare_pools_read(rows, 8), before);
}

// ---- typed pools --------------------------------------------------------------------------------------------------

struct request {
	char text[100];
	size_t len;
	int resets;
};

static void request_reset(struct request *request)
{
	request->len = 0;
	request->resets++;
}

TARE_POOL_TYPE(requests, struct request, request_reset);

TEST(a_typed_pool_resets_what_is_given)
{
	struct requests pool;
	assert_int_equal(requests_new(&pool, &(struct tare_pool_options){.name = "requests", .handles = true}), 0);
	struct request *request = requests_take(&pool);
	assert_int_equal(request->resets, 0);
	request->len = 7;
	struct tare_handle handle = requests_handle(&pool, request);
	struct request *found = NULL;
	assert_int_equal(requests_find(&pool, handle, &found), 0);
	assert_ptr_equal(found, request);
	requests_give(&pool, request);
	assert_ptr_equal(pool_taken_again(pool.pool, request), request);
	assert_int_equal(request->len, 0);
	assert_int_equal(request->resets, 1);
	tare_pool_give(pool.pool, request); // nor can the other way in forget it
	assert_ptr_equal(pool_taken_again(pool.pool, request), request);
	assert_int_equal(request->resets, 2);
	requests_give(&pool, request);
	requests_free(&pool);
	assert_null(pool.pool);
}

TEST(what_comes_from_the_heap_is_reset_too)
{
	struct requests pool;
	struct request *requests[3];
	assert_int_equal(
	    requests_new(&pool, &(struct tare_pool_options){.name = "requests", .limit = 1, .overflow = true}), 0);
	for (int i = 0; i < 3; i++) {
		requests[i] = requests_take(&pool);
		assert_int_equal(requests[i]->resets, 0);
	}
	for (int i = 0; i < 3; i++)
		requests_give(&pool, requests[i]);
	assert_int_equal(stats_of(pool.pool).live, 0);
	requests_free(&pool);
}

// ---- handles ------------------------------------------------------------------------------------------------------

TEST(a_handle_is_stale_once_its_object_was_given)
{
	struct tare_pool *pool = pool_with((struct tare_pool_options){.object_bytes = 48, .handles = true});
	void *found = NULL;
	assert_int_equal(tare_pool_find(pool, (struct tare_handle){0}, &found), -ESTALE);
	void *first = tare_pool_take(pool);
	struct tare_handle handle = tare_pool_handle(pool, first);
	assert_int_equal(tare_pool_find(pool, handle, &found), 0);
	assert_ptr_equal(found, first);
	tare_pool_give(pool, first);
	found = NULL;
	assert_int_equal(tare_pool_find(pool, handle, &found), -ESTALE);
	assert_null(found);
	// Somebody else's request in the same memory is not found by it.
	assert_ptr_equal(pool_taken_again(pool, first), first);
	assert_int_equal(tare_pool_find(pool, handle, &found), -ESTALE);
	struct tare_handle later = tare_pool_handle(pool, first);
	assert_int_equal(tare_pool_find(pool, later, &found), 0);
	handle.index = 1000000;
	assert_int_equal(tare_pool_find(pool, handle, &found), -ESTALE);
	tare_pool_give(pool, first);
	tare_pool_free(pool);
}

// ---- peak and advice ----------------------------------------------------------------------------------------------

TEST(the_peak_is_exact_with_one_thread)
{
	static const unsigned crowds[] = {1, 10, 7, 33, 64, 65, 20, 300, 5};
	struct tare_pool *pool = pool_of(64, 0, false);
	void *objects[300];
	unsigned peak = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(crowds); i++) {
		for (unsigned k = 0; k < crowds[i]; k++)
			objects[k] = tare_pool_take(pool);
		for (unsigned k = 0; k < crowds[i]; k++)
			tare_pool_give(pool, objects[k]);
		peak = TARE_MAX(peak, crowds[i]);
		assert_int_equal(stats_of(pool).peak, peak);
	}
	assert_int_equal(stats_of(pool).advice, 345);
	assert_int_equal(stats_of(pool).live, 0);
	tare_pool_free(pool);
}

TEST(a_pool_of_the_advised_size_serves_the_peak_that_was_seen)
{
	struct tare_pool *pool = pool_of(1024, 0, false);
	void *objects[200];
	for (int k = 0; k < 200; k++)
		objects[k] = tare_pool_take(pool);
	for (int k = 0; k < 200; k++)
		tare_pool_give(pool, objects[k]);
	uint64_t advice = stats_of(pool).advice;
	assert_in_range(advice, 220, 240); // 110 to 120 % of it
	tare_pool_free(pool);
	pool = pool_of(1024, advice, false);
	for (int k = 0; k < 200; k++)
		assert_non_null(objects[k] = tare_pool_take(pool));
	for (int k = 0; k < 200; k++)
		tare_pool_give(pool, objects[k]);
	assert_int_equal(stats_of(pool).refusals, 0);
	tare_pool_free(pool);
}

// ---- bursts and ageing --------------------------------------------------------------------------------------------

enum { USUAL = 100, BURST = 1000, BUFFER = 16 * 1024, TICKS = 10 };

static size_t resident_bytes(void)
{
	unsigned long pages = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &pages, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void crowd(struct tare_pool *pool, int count)
{
	static char *buffers[BURST];
	for (int i = 0; i < count; i++) {
		assert_non_null(buffers[i] = tare_pool_take(pool)); // nothing fails
		memset(buffers[i], i, BUFFER);
	}
	for (int i = 0; i < count; i++) {
		assert_int_equal((unsigned char)buffers[i][BUFFER - 1], i & 0xff);
		tare_pool_give(pool, buffers[i]);
	}
}

// Resident memory after a burst to ten times the usual, and ten ticks with the usual between them, beside that before.
static void burst(struct tare_pool *pool, size_t *ret_before, size_t *ret_after)
{
	crowd(pool, USUAL);
	crowd(pool, USUAL);
	*ret_before = resident_bytes();
	crowd(pool, BURST);
	for (int i = 0; i < TICKS; i++) {
		crowd(pool, USUAL);
		(void)tare_pools_age();
	}
	*ret_after = resident_bytes();
}

#if defined(TARE_ASAN) || defined(TARE_TSAN)
enum { RESIDENT_TELLS = false }; // shadow memory and quarantines stay
#else
enum { RESIDENT_TELLS = true };
#endif

TEST(a_burst_overflows_to_the_heap_and_leaves_no_memory_behind)
{
	size_t before, after;
	struct tare_pool *pool =
	    pool_with((struct tare_pool_options){.object_bytes = BUFFER, .limit = USUAL * 115 / 100, .overflow = true});
	burst(pool, &before, &after);
	struct tare_pool_stats stats = stats_of(pool);
	assert_int_equal(stats.overflows, BURST - USUAL * 115 / 100);
	assert_int_equal(stats.refusals, 0);
	assert_int_equal(stats.overflow_live, 0);
	assert_int_equal(stats.live, 0);
	assert_int_equal(stats.peak, BURST);
	if (RESIDENT_TELLS)
		assert_in_range(after, 1, before + before / 10);
	tare_pool_free(pool);
}

TEST(a_pool_without_a_limit_shrinks_after_a_burst)
{
	size_t before, after;
	struct tare_pool *pool = pool_of(BUFFER, 0, false);
	burst(pool, &before, &after);
	assert_in_range(stats_of(pool).bytes, 1, (USUAL + USUAL / 10) * BUFFER);
	if (RESIDENT_TELLS)
		assert_in_range(after, 1, before + before / 10);
	crowd(pool, BURST); // what went comes back
	assert_int_equal(stats_of(pool).peak, BURST);
	assert_in_range(stats_of(pool).bytes, BURST * BUFFER, (BURST + 64) * BUFFER);
	tare_pool_free(pool);
}

TEST(memory_goes_at_the_second_tick_without_use_and_comes_back_zeroed)
{
	struct tare_pool *pool = pool_of(100, 0, false);
	unsigned char *objects[4000];
	for (int i = 0; i < 4000; i++)
		memset(objects[i] = tare_pool_take(pool), 7, 100);
	for (int i = 0; i < 4000; i++)
		tare_pool_give(pool, objects[i]);
	(void)tare_pools_age(); // the tick that saw them used
	uint64_t bytes = stats_of(pool).bytes;
	assert_int_equal(tare_pools_age(), 0); // one without: they are victims
	assert_int_equal(stats_of(pool).bytes, bytes);
	uint64_t went = tare_pools_age();
	assert_in_range(went, bytes / 2, bytes);
	assert_int_equal(stats_of(pool).bytes, bytes - went);
	assert_int_equal(tare_pools_age(), 0);
	unsigned zeroed = 0;
	for (int i = 0; i < 4000; i++) {
		objects[i] = tare_pool_take(pool);
		bool zero = true;
		for (int k = 0; k < 100; k++)
			zero = zero && objects[i][k] == 0;
		zeroed += zero;
		memset(objects[i], 9, 100);
	}
	assert_in_range(zeroed, 4000 - 128, 4000); // all but those that stood in the cache
	for (int i = 0; i < 4000; i++)
		tare_pool_give(pool, objects[i]);
	assert_int_equal(stats_of(pool).peak, 4000);
	tare_pool_free(pool);
}

TEST(a_stable_pool_keeps_what_it_has)
{
	struct tare_pool *pool = pool_with((struct tare_pool_options){.object_bytes = 1000, .stable = true});
	unsigned char *objects[500];
	for (int i = 0; i < 500; i++)
		memset(objects[i] = tare_pool_take(pool), 9, 1000);
	for (int i = 0; i < 500; i++)
		tare_pool_give(pool, objects[i]);
	uint64_t bytes = stats_of(pool).bytes;
	for (int i = 0; i < 5; i++)
		(void)tare_pools_age();
	assert_int_equal(stats_of(pool).bytes, bytes);
	for (int i = 0; i < 500; i++)
		assert_int_equal(objects[i][999], 9);
	tare_pool_free(pool);
}

struct ageing {
	struct tare_pool *pool;
	atomic_bool done;
};

static void *age_on_and_on(void *arg)
{
	struct ageing *ageing = arg;
	while (!atomic_load(&ageing->done)) {
		(void)tare_pools_age();
		struct tare_pool_stats stats = stats_of(ageing->pool);
		if (stats.peak > (uint64_t)THREADS * 200 + (uint64_t)(THREADS + 2) * 64)
			return (void *)1;
	}
	return NULL;
}

static void *breathe(void *arg)
{
	struct ageing *ageing = arg;
	uint64_t *objects[200];
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)&rng);
	for (int round = 0; round < 300; round++) {
		uint64_t count = 1 + tare_rng_below(&rng, 200);
		for (uint64_t i = 0; i < count; i++) {
			objects[i] = tare_pool_take(ageing->pool);
			objects[i][0] = objects[i][400] = (uintptr_t)&objects[i];
		}
		for (uint64_t i = 0; i < count; i++) {
			if (objects[i][0] != (uintptr_t)&objects[i] || objects[i][400] != objects[i][0])
				return (void *)1; // its memory went while it was taken
			tare_pool_give(ageing->pool, objects[i]);
		}
	}
	return NULL;
}

TEST(memory_goes_while_threads_take_and_give)
{
	static struct ageing ageing;
	pthread_t threads[THREADS], ager;
	atomic_store(&ageing.done, false);
	ageing.pool = pool_with((struct tare_pool_options){.object_bytes = 401 * 8, .limit = 600, .overflow = true});
	assert_int_equal(pthread_create(&ager, NULL, age_on_and_on, &ageing), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, breathe, &ageing), 0);
	void *bad;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	atomic_store(&ageing.done, true);
	pthread_join(ager, &bad);
	assert_null(bad);
	assert_int_equal(stats_of(ageing.pool).live, 0);
	assert_int_equal(stats_of(ageing.pool).overflow_live, 0);
	tare_pool_free(ageing.pool);
}
