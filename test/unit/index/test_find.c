// SPDX-License-Identifier: MIT
// Goal: lookups answer as a naive table of the same records does, hits and misses, at every size and load.
// Method: walk the records in memory order into an array by id, then compare each lookup with the array.
#include "test.h"

#include <tare/index.h>

#include <pthread.h>
#include <stdlib.h>

static struct tare_index *built(uint64_t records, uint64_t seed)
{
	struct tare_gen_options options = {.records = records, .seed = seed};
	struct tare_index *index;
	struct tare_error err;
	if (tare_index_build(&index, &options, &err) != 0)
		fail_msg("%s", err.text);
	return index;
}

// By id; NULL where no record has it. Fails on a second record with the same id.
static const struct tare_record **naive_table(const struct tare_index *index, uint64_t records)
{
	const struct tare_record **table = calloc(records, sizeof *table);
	assert_non_null(table);
	for (uint64_t i = 0; i < records; i++) {
		const struct tare_record *record = tare_index_record(index, i);
		assert_true(record->id < records);
		assert_null(table[record->id]);
		table[record->id] = record;
	}
	return table;
}

static void compare(uint64_t records, uint64_t seed)
{
	struct tare_index *index = built(records, seed);
	const struct tare_record **table = naive_table(index, records);
	for (uint64_t key = 0; key < records; key++) {
		tare_index_prefetch(index, key);
		assert_ptr_equal(tare_index_find(index, key), table[key]);
	}
	struct tare_rng rng;
	tare_rng_init(&rng, seed);
	for (int i = 0; i < 20000; i++) {
		uint64_t key = tare_rng_next(&rng) >> tare_rng_below(&rng, 64);
		assert_ptr_equal(tare_index_find(index, key), key < records ? table[key] : NULL);
	}
	const uint64_t edges[] = {records, records + 1, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX};
	for (size_t i = 0; i < TARE_ARRAY_LEN(edges); i++)
		assert_null(tare_index_find(index, edges[i]));
	free(table);
	tare_index_free(index);
}

TEST(every_lookup_agrees_with_a_naive_table)
{
	for (uint64_t records = 1; records <= 70; records++)
		compare(records, records);
	compare(4096, 1); // load factor 0.5 to the slot
	compare(4097, 1); // and just past the doubling
	compare(100000, 3);
}

TEST(statistics_agree_with_the_records)
{
	enum { RECORDS = 4096 };
	struct tare_index *index = built(RECORDS, 5);
	struct tare_index_stats stats;
	tare_index_stats_get(index, &stats);
	uint64_t longest = 0, payloads = 0;
	for (uint64_t i = 0; i < RECORDS; i++) {
		struct tare_str payload = tare_index_payload(index, tare_index_record(index, i));
		longest = TARE_MAX(longest, payload.len);
		payloads += payload.len;
	}
	assert_int_equal(stats.records, RECORDS);
	assert_int_equal(stats.slots, 2 * RECORDS);
	assert_true(stats.load_factor == 0.5);
	assert_int_equal(stats.key_min, 0);
	assert_int_equal(stats.key_max, RECORDS - 1);
	assert_int_equal(stats.seed, 5);
	assert_int_equal(stats.categories, TARE_GEN_CATEGORIES);
	assert_int_equal(stats.payload_bytes_max, longest);
	assert_int_equal(stats.sections[4].bytes, payloads);
	assert_int_equal(stats.sections[2].bytes, RECORDS * sizeof(struct tare_record));
	assert_string_equal(stats.sections[3].name, "slots");
	assert_int_equal(stats.sections[4].offset + stats.sections[4].bytes, stats.bytes);
	assert_false(stats.mapped);
	// Linear probing at load 0.5 reads 1.5 slots a hit; far from it the hash is broken.
	assert_true(stats.probe_mean >= 1.3 && stats.probe_mean <= 1.7);
	assert_true(stats.probe_max >= 2 && stats.probe_max <= stats.run_max);
	tare_index_free(index);
}

TEST(records_hold_what_the_header_promises)
{
	enum { RECORDS = 20000 };
	struct tare_index *index = built(RECORDS, 9);
	uint64_t hot = 0, active = 0, negative = 0, neighbours = 0;
	uint64_t *uses = calloc(TARE_GEN_CATEGORIES, sizeof *uses);
	assert_non_null(uses);
	for (uint64_t i = 0; i < RECORDS; i++) {
		const struct tare_record *record = tare_index_record(index, i);
		struct tare_str category = tare_index_category(index, record);
		assert_true(category.len >= 1 && category.len <= 64);
		assert_null(memchr(category.ptr, '"', category.len));
		assert_true(tare_index_payload(index, record).len >= 32);
		assert_true(record->bid_micros > 0 && record->budget_micros > record->spend_micros);
		assert_true(record->clicks <= record->impressions);
		assert_true((uintptr_t)record % 64 == 0);
		hot += record->hot;
		active += record->active;
		negative += record->spend_micros < 0;
		uses[record->category]++;
		if (i > 0)
			neighbours += record->id == record[-1].id + 1;
	}
	assert_true(hot > RECORDS / 20 && hot < RECORDS / 12);
	assert_true(active > RECORDS * 8 / 10 && active < RECORDS * 95 / 100);
	assert_true(negative > 0 && negative < RECORDS / 50);
	for (int i = 0; i < TARE_GEN_CATEGORIES; i++)
		assert_true(uses[i] > 0);
	assert_true(neighbours < RECORDS / 100); // memory order is not key order
	free(uses);
	tare_index_free(index);
}

TEST(the_dictionary_has_no_name_twice)
{
	struct tare_gen_options options = {.records = 3, .seed = 1, .categories = 3000};
	struct tare_index *index;
	assert_int_equal(tare_index_build(&index, &options, NULL), 0);
	struct tare_str names[3000];
	for (uint16_t i = 0; i < 3000; i++) {
		struct tare_record record = {.category = i};
		names[i] = tare_index_category(index, &record);
		for (uint16_t k = 0; k < i; k++)
			assert_false(tare_str_eq(names[i], names[k]));
	}
	tare_index_free(index);
}

struct reader {
	const struct tare_index *index;
	uint64_t records, misses;
};

static void *read_all(void *arg)
{
	struct reader *reader = arg;
	for (uint64_t key = 0; key < 2 * reader->records; key++) {
		const struct tare_record *record = tare_index_find(reader->index, key);
		reader->misses += record == NULL || record->id != key;
	}
	return NULL;
}

TEST(threads_read_together)
{
	enum { THREADS = 4, RECORDS = 5000 };
	struct tare_index *index = built(RECORDS, 2);
	pthread_t threads[THREADS];
	struct reader readers[THREADS];
	for (int i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){.index = index, .records = RECORDS};
		assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(readers[i].misses, RECORDS);
	}
	tare_index_free(index);
}

TEST(freeing_nothing_is_fine)
{
	tare_index_free(NULL);
}
