// SPDX-License-Identifier: MIT
//
// Goal: a histogram tells what a sorted array of the same values would tell, to the promised digits.
// Method: a sorted-array oracle over several distributions; every power of two and its neighbours; merges compared with
// the union; a reader that merges while a writer records (under ThreadSanitizer this is the proof that they don't
// race).
#include "test.h"

#include <tare/heap.h>
#include <tare/stat.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

static const double tolerance[] = {0, 0.1, 0.01, 0.001};

static struct tare_hist *hist_make(int digits, uint64_t value_max)
{
	struct tare_hist *hist = NULL;
	assert_int_equal(tare_hist_new(&hist, digits, value_max), 0);
	return hist;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

// At or above the true value, and by no more than the promised digits.
static void assert_close(uint64_t told, uint64_t exact, int digits)
{
	assert_true(told >= exact);
	assert_true((double)(told - exact) <= (double)exact * tolerance[digits]);
}

static uint64_t draw_uniform(struct tare_rng *rng)
{
	return tare_rng_below(rng, 1000000);
}

static uint64_t draw_exponential(struct tare_rng *rng)
{
	return (uint64_t)(-log(tare_rng_unit(rng)) * 5e5);
}

static uint64_t draw_pareto(struct tare_rng *rng)
{
	return (uint64_t)fmin(1000 * pow(tare_rng_unit(rng), -1.0 / 1.2), 3e12);
}

static uint64_t draw_two_peaks(struct tare_rng *rng)
{
	return tare_rng_below(rng, 1000) == 0 ? 50000000 + tare_rng_below(rng, 1000)
					      : 40000 + tare_rng_below(rng, 20000);
}

static uint64_t draw_constant(struct tare_rng *rng)
{
	(void)rng;
	return 123457;
}

static void check_distribution(uint64_t (*draw)(struct tare_rng *rng), int digits, size_t count)
{
	struct tare_hist *hist = hist_make(digits, UINT64_C(3600000000000));
	uint64_t *values = malloc(count * sizeof *values);
	assert_non_null(values);
	struct tare_rng rng;
	tare_rng_init(&rng, 7);
	double sum = 0, squares = 0;
	for (size_t i = 0; i < count; i++) {
		values[i] = draw(&rng);
		tare_hist_record(hist, values[i]);
		sum += (double)values[i];
	}
	qsort(values, count, sizeof *values, compare_u64);
	for (size_t i = 0; i < count; i++)
		squares += pow((double)values[i] - sum / (double)count, 2);
	assert_int_equal(tare_hist_count(hist), count);
	assert_int_equal(tare_hist_min(hist), values[0]);
	assert_int_equal(tare_hist_max(hist), values[count - 1]);
	assert_int_equal(tare_hist_quantile(hist, 1), values[count - 1]);
	assert_int_equal(tare_hist_clamped(hist), 0);
	static const double quantiles[] = {0, 1e-6, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 0.999999};
	for (size_t i = 0; i < TARE_ARRAY_LEN(quantiles); i++) {
		size_t rank = (size_t)ceill((long double)quantiles[i] * (long double)count - 1e-6L);
		assert_close(tare_hist_quantile(hist, quantiles[i]), values[rank > 0 ? rank - 1 : 0], digits);
	}
	double mean = sum / (double)count, stddev = sqrt(squares / (double)count);
	assert_true(fabs(tare_hist_mean(hist) - mean) <= mean * 1e-9);
	assert_true(fabs(tare_hist_stddev(hist) - stddev) <= fmax(stddev, mean) * tolerance[digits]);
	free(values);
	tare_hist_free(hist);
}

TEST(quantiles_agree_with_a_sorted_array)
{
	static uint64_t (*const draws[])(struct tare_rng *) = {draw_uniform, draw_exponential, draw_pareto,
							       draw_two_peaks, draw_constant};
	for (size_t i = 0; i < TARE_ARRAY_LEN(draws); i++)
		for (int digits = 1; digits <= 3; digits++)
			for (size_t count = 1; count <= 100000; count *= 10)
				check_distribution(draws[i], digits, count);
}

TEST(a_rank_is_not_rounded_up_by_arithmetic)
{
	struct tare_hist *hist = hist_make(3, 10000);
	for (uint64_t value = 1; value <= 1000; value++)
		tare_hist_record(hist, value);
	assert_int_equal(tare_hist_quantile(hist, 0.5), 500);
	assert_int_equal(tare_hist_quantile(hist, 0.999), 999);
	assert_int_equal(tare_hist_quantile(hist, 0.07), 70);
	assert_int_equal(tare_hist_quantile(hist, 0.29), 290);
	assert_int_equal(tare_hist_quantile(hist, 0.0001), 1);
	assert_int_equal(tare_hist_quantile(hist, -1), 1);
	assert_int_equal(tare_hist_quantile(hist, (double)NAN), 1);
	assert_int_equal(tare_hist_quantile(hist, 2), 1000);
	tare_hist_free(hist);
}

static void check_precision(struct tare_hist *hist, int digits, uint64_t value, uint64_t highest)
{
	tare_hist_reset(hist);
	tare_hist_record(hist, value);
	assert_int_equal(tare_hist_min(hist), value);
	assert_int_equal(tare_hist_max(hist), value);
	assert_int_equal(tare_hist_quantile(hist, 0.5), value);
	assert_int_equal(tare_hist_count_at_or_below(hist, value), 1);
	// Beside the highest value its own bucket's upper end shows.
	tare_hist_record(hist, highest);
	assert_close(tare_hist_quantile(hist, 0.5), value, digits);
	assert_int_equal(tare_hist_quantile(hist, 1), highest);
	uint64_t far = value + (uint64_t)((double)value * tolerance[digits]) + 1;
	if (far < highest && far > value) {
		tare_hist_record(hist, far);
		assert_int_equal(tare_hist_count_at_or_below(hist, value), 1); // told apart
	}
}

TEST(precision_holds_around_every_power_of_two)
{
	for (int digits = 1; digits <= 3; digits++) {
		struct tare_hist *hist = hist_make(digits, UINT64_MAX);
		for (unsigned shift = 0; shift < 64; shift++)
			for (int offset = -1; offset <= 1; offset++)
				check_precision(hist, digits, (UINT64_C(1) << shift) + (uint64_t)(int64_t)offset,
						UINT64_MAX);
		check_precision(hist, digits, UINT64_MAX - 1, UINT64_MAX);
		tare_hist_free(hist);
	}
}

TEST(the_last_bucket_is_inside_whatever_the_highest_value)
{
	// Under AddressSanitizer this shows that no index is past the end.
	for (int digits = 1; digits <= 3; digits++) {
		for (unsigned shift = 11; shift < 64; shift++) {
			for (int offset = -1; offset <= 1; offset++) {
				uint64_t highest = (UINT64_C(1) << shift) + (uint64_t)(int64_t)offset;
				struct tare_hist *hist = hist_make(digits, highest);
				tare_hist_record(hist, highest);
				tare_hist_record(hist, UINT64_MAX);
				assert_int_equal(tare_hist_max(hist), highest);
				assert_int_equal(tare_hist_clamped(hist), 1);
				assert_int_equal(tare_hist_count_at_or_below(hist, UINT64_MAX), 2);
				tare_hist_free(hist);
			}
		}
	}
}

TEST(an_empty_histogram_is_all_zeroes)
{
	struct tare_hist *hist = hist_make(2, 1000000);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(tare_hist_count(hist), 0);
		assert_int_equal(tare_hist_min(hist), 0);
		assert_int_equal(tare_hist_max(hist), 0);
		assert_int_equal(tare_hist_quantile(hist, 0.99), 0);
		assert_true(tare_hist_mean(hist) == 0 && tare_hist_stddev(hist) == 0 && tare_hist_sum(hist) == 0);
		tare_hist_record_n(hist, 77, 0);
		assert_int_equal(tare_hist_min(hist), 0);
		// The second round shows the same after a reset.
		tare_hist_record_n(hist, 5000000, 3);
		assert_int_equal(tare_hist_count(hist), 3);
		tare_hist_reset(hist);
	}
	tare_hist_free(hist);
}

TEST(values_past_the_highest_are_recorded_as_it_and_counted)
{
	struct tare_hist *hist = hist_make(3, 50000);
	tare_hist_record(hist, 50000);
	tare_hist_record(hist, 50001);
	tare_hist_record_n(hist, UINT64_MAX, 2);
	assert_int_equal(tare_hist_clamped(hist), 3);
	assert_int_equal(tare_hist_count(hist), 4);
	assert_int_equal(tare_hist_max(hist), 50000);
	assert_true(tare_hist_sum(hist) == 200000);
	tare_hist_free(hist);
}

TEST(bad_arguments_are_refused)
{
	struct tare_hist *hist = NULL;
	assert_int_equal(tare_hist_new(&hist, 0, 1000000), -EINVAL);
	assert_int_equal(tare_hist_new(&hist, 4, 1000000), -EINVAL);
	assert_int_equal(tare_hist_new(&hist, 3, 1999), -EINVAL);
	assert_int_equal(tare_hist_new(&hist, 1, 19), -EINVAL);
	assert_null(hist);
	assert_int_equal(tare_hist_new(&hist, 1, 20), 0);
	tare_hist_free(hist);
	tare_hist_free(NULL);
}

TEST(a_histogram_says_what_memory_it_takes)
{
	size_t last = 0;
	for (int digits = 1; digits <= 3; digits++) {
		struct tare_heap_stats before, after;
		tare_heap_stats_read(&before);
		struct tare_hist *hist = hist_make(digits, 1000000);
		tare_heap_stats_read(&after);
		uint64_t taken = after.bytes_live - before.bytes_live;
		size_t told = tare_hist_bytes(hist);
		assert_true(told > last);                 // more digits, more buckets
		assert_in_range(taken, told, told + 128); // and what the heap adds
		tare_hist_record_n(hist, 999999, 1000);
		assert_int_equal(tare_hist_bytes(hist), told); // all of it from the beginning
		last = told;
		tare_hist_free(hist);
	}
}

TEST(a_merge_is_the_record_of_the_union)
{
	const uint64_t highest = 1000000;
	struct tare_hist *both = hist_make(2, highest), *merged = hist_make(2, highest);
	struct tare_rng rng;
	tare_rng_init(&rng, 3);
	for (int part = 0; part < 4; part++) {
		struct tare_hist *one = hist_make(2, highest);
		for (int i = 0; i < part * 5000; i++) { // the first is empty
			uint64_t value = draw_exponential(&rng);
			tare_hist_record(one, value);
			tare_hist_record(both, value);
		}
		tare_hist_merge(merged, one);
		tare_hist_free(one);
	}
	assert_true(tare_hist_clamped(both) > 0);
	assert_int_equal(tare_hist_clamped(merged), tare_hist_clamped(both));
	assert_int_equal(tare_hist_count(merged), tare_hist_count(both));
	assert_int_equal(tare_hist_min(merged), tare_hist_min(both));
	assert_int_equal(tare_hist_max(merged), tare_hist_max(both));
	assert_true(tare_hist_sum(merged) == tare_hist_sum(both));
	for (uint64_t value = 0; value <= highest; value += 997)
		assert_int_equal(tare_hist_count_at_or_below(merged, value), tare_hist_count_at_or_below(both, value));
	tare_hist_free(merged);
	tare_hist_free(both);
}

enum { WRITTEN = 300000 };

static void *writer(void *arg)
{
	struct tare_hist *hist = arg;
	// Falling and rising values, so that min and max both move.
	for (uint64_t i = 0; i < WRITTEN; i++)
		tare_hist_record(hist, i % 2 == 0 ? 1000000 + i : 1000000 - i);
	return NULL;
}

TEST(reading_while_recording_sees_a_consistent_state)
{
	struct tare_hist *hist = hist_make(3, 10000000), *seen = hist_make(3, 10000000);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, writer, hist), 0);
	uint64_t before = 0, now;
	do {
		tare_hist_reset(seen);
		tare_hist_merge(seen, hist);
		now = tare_hist_count(seen);
		assert_true(now >= before);
		assert_int_equal(tare_hist_count_at_or_below(seen, UINT64_MAX), now);
		if (now > 0) {
			uint64_t least = tare_hist_quantile(seen, 0), most = tare_hist_quantile(seen, 1);
			assert_true(tare_hist_min(seen) <= least && most <= tare_hist_max(seen));
			assert_true(tare_hist_quantile(hist, 0.5) <= 1000000 + WRITTEN);
		}
		before = now;
	} while (now < WRITTEN);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(tare_hist_count(hist), WRITTEN);
	tare_hist_free(seen);
	tare_hist_free(hist);
}

static void *adder(void *arg)
{
	struct tare_counter *counter = arg;
	for (int i = 0; i < 100000; i++)
		tare_counter_add(counter, i % 4 == 3 ? -1 : 1);
	return NULL;
}

TEST(counters_lose_nothing_between_threads)
{
	static struct tare_counter counter;
	pthread_t threads[20]; // more than there are shards
	for (size_t i = 0; i < TARE_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, adder, &counter), 0);
	assert_true(tare_counter_read(&counter) <= 20LL * 100000);
	for (size_t i = 0; i < TARE_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(tare_counter_read(&counter), 20LL * 50000);
}
