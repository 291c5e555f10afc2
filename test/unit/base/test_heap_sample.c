// SPDX-License-Identifier: MIT
// Goal: sites of allocations, summed over samples, are what was allocated and freed; exactly when every block is a
// sample, and right on average when few are. Method: a tag of the test's own, and functions that allocate a known
// number.
#include "test.h"

#include <tare/heap.h>

#include <math.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("sampled"), other_tag = TARE_TAG("passing");

struct sums {
	double values[TARE_HEAP_VALUES];
	unsigned sites, deepest;
};

static bool sum(void *arg, const struct tare_heap_site *site)
{
	struct sums *sums = arg;
	if (strcmp(site->tag, "sampled") != 0)
		return true;
	for (int i = 0; i < TARE_HEAP_VALUES; i++)
		sums->values[i] += site->values[i];
	sums->sites++;
	sums->deepest = site->count > sums->deepest ? site->count : sums->deepest;
	return true;
}

static struct sums read_sums(void)
{
	struct sums sums = {.sites = 0};
	assert_true(tare_heap_sites_each(sum, &sums));
	return sums;
}

// The thread's countdown is of the rate that was; a block that is larger than any ends it.
static void rate_set(size_t bytes)
{
	tare_heap_rate_set(bytes);
	for (int i = 0; i < 2; i++) {
		void *block = tare_alloc(&other_tag, 256 << 20);
		assert_non_null(block);
		tare_free(block);
	}
}

static bool near(double value, double wanted, double part)
{
	return fabs(value - wanted) <= part * wanted + 0.5;
}

enum { BLOCKS = 1000, BYTES = 100 };

TEST(at_the_rate_of_one_every_block_is_counted)
{
	static void *blocks[BLOCKS];
	rate_set(1);
	struct sums before = read_sums();
	for (int i = 0; i < BLOCKS; i++)
		assert_non_null(blocks[i] = tare_alloc(&heap_tag, BYTES));
	struct sums after = read_sums();
	assert_true(near(after.values[TARE_HEAP_ALLOCS] - before.values[TARE_HEAP_ALLOCS], BLOCKS, 0));
	assert_true(near(after.values[TARE_HEAP_BYTES_ALLOCATED] - before.values[TARE_HEAP_BYTES_ALLOCATED],
			 BLOCKS * BYTES, 0));
	assert_int_equal(after.values[TARE_HEAP_FREES], before.values[TARE_HEAP_FREES]);
	assert_true(after.deepest >= 1);
	for (int i = 0; i < BLOCKS; i++)
		tare_free(blocks[i]);
	after = read_sums();
	assert_true(near(after.values[TARE_HEAP_ALLOCS], after.values[TARE_HEAP_FREES], 0));
	assert_true(near(after.values[TARE_HEAP_BYTES_ALLOCATED], after.values[TARE_HEAP_BYTES_FREED], 0));
}

TEST(a_block_that_moves_or_is_aligned_is_counted_where_it_goes)
{
	rate_set(1);
	struct sums before = read_sums();
	char *block = tare_alloc(&heap_tag, 100);
	assert_non_null(block);
	memset(block, 7, 100);
	block = tare_realloc(&heap_tag, block, 100000);
	assert_non_null(block);
	for (int i = 0; i < 100; i++)
		assert_int_equal(block[i], 7);
	void *aligned = tare_alloc_aligned(&heap_tag, 4096, 1000);
	assert_non_null(aligned);
	assert_int_equal((uintptr_t)aligned % 4096, 0);
	struct sums after = read_sums();
	double live = after.values[TARE_HEAP_BYTES_ALLOCATED] - after.values[TARE_HEAP_BYTES_FREED] -
		      before.values[TARE_HEAP_BYTES_ALLOCATED] + before.values[TARE_HEAP_BYTES_FREED];
	assert_true(near(live, 101000, 0));
	tare_free(block);
	tare_free(aligned);
	// The counts by tag do not see the samples' marks.
	struct tare_tag_row rows[TARE_TAGS_MAX];
	size_t count = tare_tags_read(rows, TARE_TAGS_MAX);
	for (size_t i = 0; i < count; i++)
		if (strcmp(rows[i].name, "sampled") == 0)
			assert_int_equal(rows[i].stats.bytes_live, 0);
}

// A relative error of rate / bytes under the root: 1.4 %, so that six of them are passed once in a hundred million
// runs.
TEST(few_samples_stand_for_all)
{
	enum { ROUNDS = 40000, RATE = 16384 };
	static void *small[ROUNDS], *large[ROUNDS / 100];
	rate_set(RATE);
	struct sums before = read_sums();
	for (int i = 0; i < ROUNDS; i++) {
		assert_non_null(small[i] = tare_alloc(&heap_tag, 1000));
		if (i % 100 == 0)
			assert_non_null(large[i / 100] = tare_alloc(&heap_tag, 100000));
	}
	struct sums after = read_sums();
	double bytes = after.values[TARE_HEAP_BYTES_ALLOCATED] - before.values[TARE_HEAP_BYTES_ALLOCATED];
	double blocks = after.values[TARE_HEAP_ALLOCS] - before.values[TARE_HEAP_ALLOCS];
	assert_true(near(bytes, ROUNDS * 1000.0 + ROUNDS / 100 * 100000.0, 0.1));
	assert_true(near(blocks, ROUNDS * 1.01, 0.14));
	for (int i = 0; i < ROUNDS; i++) {
		tare_free(small[i]);
		if (i % 100 == 0)
			tare_free(large[i / 100]);
	}
	after = read_sums();
	assert_true(near(after.values[TARE_HEAP_BYTES_ALLOCATED], after.values[TARE_HEAP_BYTES_FREED], 0));
}

TEST(what_is_off_counts_nothing_and_still_ends_what_it_counted)
{
	rate_set(1);
	void *block = tare_alloc(&heap_tag, 5000);
	assert_non_null(block);
	rate_set(0);
	assert_int_equal(tare_heap_rate(), 0);
	struct sums before = read_sums();
	void *another = tare_alloc(&heap_tag, 1 << 20);
	assert_non_null(another);
	tare_free(another);
	struct sums after = read_sums();
	assert_true(near(after.values[TARE_HEAP_ALLOCS], before.values[TARE_HEAP_ALLOCS], 0));
	tare_free(block);
	after = read_sums();
	assert_true(near(after.values[TARE_HEAP_FREES] - before.values[TARE_HEAP_FREES], 1, 0));
}
