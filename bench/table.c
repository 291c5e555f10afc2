// SPDX-License-Identifier: MIT
//
// Tare's table, asked what bench/peers/table/measure.h asks every table; and what others have not: lookups of many keys
// at once (many_hit, many_miss), and those beside a writer (read_hit, read_miss, read_many_hit). And what no lookup can
// be faster than: one word of the line that each key's hash names, loaded (line_load) or asked for (line_prefetch),
// nothing else done.
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

static const struct tare_table_line *line_of(uint64_t key)
{
	const struct tare_table_view *view = (const struct tare_table_view *)(const void *)map;
	return &view->lines[tare_table_hash(view->seed, key) >> view->shift];
}

static uint64_t pass_line_load(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += atomic_load_explicit(&line_of(keys[i])->keys[0], memory_order_relaxed);
	return sum;
}

static uint64_t pass_line_prefetch(const uint64_t *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		__builtin_prefetch(line_of(keys[i]));
	return count;
}

static void report_more(const struct keys *keys)
{
	report_pass("many_hit", pass_many, keys->hit, keys->count);
	report_pass("many_miss", pass_many, keys->miss, keys->count);
	report_pass("read_hit", pass_read, keys->hit, keys->count);
	report_pass("read_miss", pass_read, keys->miss, keys->count);
	report_pass("read_many_hit", pass_read_many, keys->hit, keys->count);
	// A growth under way has a second set of lines.
	if (tare_table_reserve(map, keys_in_table) < 0)
		abort();
	report_pass("line_load", pass_line_load, keys->hit, keys->count);
	report_pass("line_prefetch", pass_line_prefetch, keys->hit, keys->count);
}
