// SPDX-License-Identifier: MIT
// Tables in states that are hard to come by, for tests that go on from there. Every value is three times its key.
#ifndef TARE_TEST_TABLE_FIXTURE_H
#define TARE_TEST_TABLE_FIXTURE_H

#include "index/table_int.h"

static inline void table_put_triple(struct tare_table *table, uint64_t key)
{
	assert_int_equal(tare_table_put(table, key, key * 3), 0);
}

// Full lines in next, put there from behind, just before the place where a growth goes on; and as many keys of one home
// in main, which it meets there: next has no room for them within reach.
static inline void crowd_the_growth(struct tare_table *table, const uint64_t *together, size_t count)
{
	enum { PLACED = 900 };
	const struct table_phase *phase = table_phase(table);
	uint64_t home = table_home(&phase->main, tare_table_hash(phase->seed, together[0])), more = UINT64_C(1) << 50;
	for (size_t i = 0; i < count; i++)
		table_put_triple(table, together[i]);
	while (!table_growing(table) || table->copied + 20 < home)
		table_put_triple(table, more++);
	assert_int_equal(table->rebuilds, 0);
	phase = table_phase(table);
	uint64_t split = atomic_load(&phase->split), placed = 0;
	assert_true(table->copied <= home);
	for (uint64_t key = UINT64_C(1) << 60; placed < PLACED; key++) {
		uint64_t hash = tare_table_hash(phase->seed, key);
		if (hash < split && hash >= split - (UINT64_C(2) << phase->next.shift)) {
			assert_true(index_table_copy(&phase->next, hash, key, key * 3));
			atomic_fetch_add(&table->count, 1);
			placed++;
		}
	}
}

// A table whose growth is about to meet keys for which there is no room within reach.
static inline struct tare_table *table_crowded(void)
{
	enum { COUNT = 400 };
	static uint64_t keys[COUNT];
	struct tare_table *table;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.seed = 43, .keys = 1 << 12}), 0);
	const struct table_phase *phase = table_phase(table);
	uint64_t home = phase->main.homes / 2;
	size_t n = 0;
	for (uint64_t key = 1; n < COUNT; key++)
		if (table_home(&phase->main, tare_table_hash(phase->seed, key)) == home)
			keys[n++] = key;
	crowd_the_growth(table, keys, COUNT);
	return table;
}

// How many keys a walk meets, each with its value, each found.
static inline uint64_t table_walked(const struct tare_table *table)
{
	struct tare_table_cursor cursor = {0};
	uint64_t key, value, found, walked = 0;
	for (; tare_table_next(table, &cursor, &key, &value); walked++) {
		assert_int_equal(value, key * 3);
		assert_true(tare_table_get(table, key, &found));
		assert_int_equal(found, value);
	}
	return walked;
}

#endif
