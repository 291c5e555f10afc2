// SPDX-License-Identifier: MIT
//
// Tare's table, asked what bench/peers/table/measure.h asks every table; and what others have not: lookups of many keys at
// once (many_hit, many_miss), and those beside a writer (read_hit, read_miss, read_many_hit).
//
//   table KEYS [dense]         TARE_BENCH_SMALL_PAGES=1: without huge pages
#include <tare/table.h>

#include <stdlib.h>

static struct tare_table *map;

static void map_new(void)
{
	bool small = getenv("TARE_BENCH_SMALL_PAGES") != NULL;
	if (tare_table_new(&map, &(struct tare_table_options){.seed = 1, .huge_pages = !small, .readers = true}) < 0)
		abort();
}

static inline void map_put(uint64_t key, uint64_t value)
{
	if (tare_table_put(map, key, value) < 0)
		abort();
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	return tare_table_get(map, key, ret_value);
}

#define MAP_MORE report_more
#include "peers/table/measure.h"

enum { MANY = 64 };

static uint64_t pass_many(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0, values[MANY];
	for (size_t i = 0; i + MANY <= count; i += MANY) {
		sum += tare_table_get_many(map, keys + i, MANY, values, NULL);
		for (size_t k = 0; k < MANY; k++)
			sum += values[k];
	}
	return sum;
}

static uint64_t pass_read(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 0;
		sum += tare_table_read(map, keys[i], &value);
		sum += value;
	}
	return sum;
}

static uint64_t pass_read_many(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0, values[MANY];
	for (size_t i = 0; i + MANY <= count; i += MANY) {
		sum += tare_table_read_many(map, keys + i, MANY, values, NULL);
		for (size_t k = 0; k < MANY; k++)
			sum += values[k];
	}
	return sum;
}

static void report_more(const struct keys *keys)
{
	report_pass("many_hit", pass_many, keys->hit, keys->count);
	report_pass("many_miss", pass_many, keys->miss, keys->count);
	report_pass("read_hit", pass_read, keys->hit, keys->count);
	report_pass("read_miss", pass_read, keys->miss, keys->count);
	report_pass("read_many_hit", pass_read_many, keys->hit, keys->count);
}
