// SPDX-License-Identifier: MIT
// Goal: a buffer has one owner at a time, the stock is exact (a take is refused only when those that fit are all
// taken), counts come out even, and using a buffer that was given back is caught where it can be.
// Method: one thread for the rules; several that sign, trade and wait for units, whose buffers must never run short.
#include "test.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tare/mem.h>

static struct tare_reservoir *reservoir_of(const struct tare_reservoir_class *classes, unsigned count, bool spill)
{
	struct tare_reservoir *reservoir;
	struct tare_reservoir_options options = {
	    .name = "test", .classes = classes, .class_count = count, .spill = spill};
	assert_int_equal(tare_reservoir_new(&reservoir, &options), 0);
	return reservoir;
}

static const struct tare_reservoir_class three[] = {{100, 4}, {1000, 2}, {65536, 1}};

TEST(the_smallest_that_fits_is_taken_and_holds_what_was_left_in_it)
{
	struct tare_reservoir *reservoir = reservoir_of(three, 3, false);
	static const size_t asked[] = {0, 1, 100, 101, 1000, 1001, 65536},
			    given[] = {100, 100, 100, 1000, 1000, 65536, 65536};
	for (size_t i = 0; i < TARE_ARRAY_LEN(asked); i++) {
		struct tare_buffer buffer = tare_reservoir_take(reservoir, asked[i]);
		assert_int_equal(buffer.bytes, given[i]);
		assert_int_equal((uintptr_t)buffer.ptr % TARE_CACHE_LINE, 0);
		memset(buffer.ptr, (int)i + 1, buffer.bytes);
		tare_reservoir_give(reservoir, buffer);
		struct tare_buffer again = tare_reservoir_take(reservoir, asked[i]);
		assert_ptr_equal(again.ptr, buffer.ptr); // last in, first out: it is warm
		assert_int_equal(((unsigned char *)again.ptr)[again.bytes - 1], i + 1);
		tare_reservoir_give(reservoir, again);
	}
	assert_null(tare_reservoir_take(reservoir, 65537).ptr);
	tare_reservoir_give(reservoir, (struct tare_buffer){NULL, 0});
	assert_int_equal(tare_reservoir_bytes(reservoir), 4 * 100 + 2 * 1000 + 65536);
	assert_string_equal(tare_reservoir_name(reservoir), "test");
	tare_reservoir_free(reservoir);
	tare_reservoir_free(NULL);
}

TEST(the_stock_is_all_there_is_and_all_of_it_is_there)
{
	for (int spill = 0; spill < 2; spill++) {
		struct tare_reservoir *reservoir = reservoir_of(three, 3, spill == 1);
		const char *allowed = tare_heap_forbid("a reservoir in use");
		struct tare_buffer taken[7];
		unsigned count = 0;
		for (struct tare_buffer b; (b = tare_reservoir_take(reservoir, 50)).ptr != NULL; count++) {
			memset(b.ptr, (int)count, b.bytes);
			taken[count] = b;
		}
		assert_int_equal(count, spill == 1 ? 7 : 4);
		for (unsigned i = 0; i < count; i++)
			for (size_t k = 0; k < taken[i].bytes; k++)
				assert_int_equal(((unsigned char *)taken[i].ptr)[k], i);
		struct tare_reservoir_stats stats[3];
		assert_int_equal(tare_reservoir_stats_read(reservoir, stats, 3), 3);
		assert_int_equal(stats[0].taken, 4);
		assert_int_equal(stats[0].taken_max, 4);
		assert_int_equal(stats[0].takes, 4);
		assert_int_equal(stats[0].refused, 1);
		assert_int_equal(stats[1].spills + stats[2].spills, spill == 1 ? 3 : 0);
		for (unsigned i = 0; i < count; i++)
			tare_reservoir_give(reservoir, taken[i]);
		tare_reservoir_stats_read(reservoir, stats, 3);
		assert_int_equal(stats[0].taken + stats[1].taken + stats[2].taken, 0);
		assert_int_equal(stats[0].taken_max, 4);
		(void)tare_heap_forbid(allowed);
		tare_reservoir_free(reservoir);
	}
}

TEST(a_plan_shares_the_bytes_and_never_passes_them)
{
	struct tare_reservoir_class classes[TARE_RESERVOIR_CLASSES_MAX];
	assert_int_equal(tare_reservoir_plan(classes, 500, 4000, 1 << 20), 4);
	static const size_t sizes[] = {512, 1024, 2048, 4096};
	uint64_t sum = 0;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(classes[i].bytes, sizes[i]);
		assert_in_range(classes[i].count * sizes[i], (1 << 18) - 4096, (1 << 18) + 4096);
		sum += classes[i].count * sizes[i];
	}
	assert_int_equal(sum, 1 << 20);
	for (uint64_t total = 0; total < 40000; total += 77) {
		unsigned count = tare_reservoir_plan(classes, 64, 16384, total);
		assert_int_equal(count, total >= 32768 - 64 ? 9 : 0);
		sum = 0;
		for (unsigned i = 0; i < count; i++) {
			assert_true(classes[i].count > 0);
			sum += classes[i].count * (uint64_t)classes[i].bytes;
		}
		assert_true(sum <= total);
	}
	assert_int_equal(tare_reservoir_plan(classes, 1, 1 << 20, UINT64_MAX), 0); // 21 sizes are too many
	assert_int_equal(tare_reservoir_plan(classes, 4096, 4096, 4096), 1);
}

// ---- threads ------------------------------------------------------------------------------------------------------

#ifdef TARE_TSAN
enum { THREADS = 4, ROUNDS = 3000, BUFFERS = 6 };
#else
enum { THREADS = 4, ROUNDS = 30000, BUFFERS = 6 };
#endif

static struct {
	struct tare_reservoir *reservoir;
	sem_t units; // as many as there are buffers
	_Atomic(uint64_t *) slots[2];
} shared;

static bool give(uint64_t *words)
{
	bool whole = words[0] == words[31];
	tare_reservoir_give(shared.reservoir, (struct tare_buffer){words, 256});
	sem_post(&shared.units);
	return whole;
}

// Takes a buffer, signs it, leaves it to another thread, and gives back what that one left.
static void *trade(void *arg)
{
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)arg);
	for (int i = 0; i < ROUNDS; i++) {
		while (sem_wait(&shared.units) != 0)
			continue;
		struct tare_buffer buffer = tare_reservoir_take(shared.reservoir, 200);
		if (buffer.ptr == NULL) // a unit was there, so a buffer must be
			return (void *)1;
		uint64_t *words = buffer.ptr;
		words[0] = words[31] = tare_rng_next(&rng);
		words = atomic_exchange(&shared.slots[tare_rng_below(&rng, 2)], words);
		if (words != NULL && !give(words))
			return (void *)1;
	}
	return NULL;
}

TEST(who_has_a_unit_gets_a_buffer_whoever_gave_it_back)
{
	static const struct tare_reservoir_class class = {256, BUFFERS};
	pthread_t threads[THREADS];
	shared.reservoir = reservoir_of(&class, 1, false);
	sem_init(&shared.units, 0, BUFFERS);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, trade, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		void *bad;
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	for (int i = 0; i < 2; i++) {
		uint64_t *words = atomic_exchange(&shared.slots[i], NULL);
		if (words != NULL)
			assert_true(give(words));
	}
	struct tare_reservoir_stats stats;
	assert_int_equal(tare_reservoir_stats_read(shared.reservoir, &stats, 1), 1);
	assert_int_equal(stats.taken, 0);
	assert_int_equal(stats.takes, (uint64_t)THREADS * ROUNDS);
	assert_int_equal(stats.refused, 0);
	assert_true(stats.taken_max <= BUFFERS);
	tare_reservoir_free(shared.reservoir);
}

// ---- mistakes -----------------------------------------------------------------------------------------------------

static bool ends_badly(void (*mistake)(struct tare_reservoir *reservoir))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(STDERR_FILENO);
		mistake(reservoir_of(three, 3, false));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void give_twice(struct tare_reservoir *reservoir)
{
	struct tare_buffer buffer = tare_reservoir_take(reservoir, 65536);
	tare_reservoir_give(reservoir, buffer);
	tare_reservoir_give(reservoir, buffer);
}

static void give_another_size(struct tare_reservoir *reservoir)
{
	struct tare_buffer buffer = tare_reservoir_take(reservoir, 65536);
	buffer.bytes = 4096;
	tare_reservoir_give(reservoir, buffer);
}

#ifdef TARE_ASAN
static void use_after_give(struct tare_reservoir *reservoir)
{
	struct tare_buffer buffer = tare_reservoir_take(reservoir, 100);
	volatile char *ptr = buffer.ptr;
	tare_reservoir_give(reservoir, buffer);
	ptr[3] = 1;
}
#endif

TEST(what_can_be_seen_of_misuse_is_an_assertion)
{
	assert_true(ends_badly(give_twice));
	assert_true(ends_badly(give_another_size));
#ifdef TARE_ASAN
	assert_true(ends_badly(use_after_give));
#endif
}
