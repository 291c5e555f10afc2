// SPDX-License-Identifier: MIT
// Goal: a table answers as a plain array of all keys does, whatever is done to it in whatever order, while it grows
// too; and no key is further from its home than is promised, whatever the keys.
// Method: random operations on a table and on a model; all keys are compared now and then, by every way of reading.
// Keys are few, so that they collide, come back and lie around growths. Probes are counted, not timed.
#include "test.h"

#include "table_fixture.h"

#include <errno.h>
#include <stdlib.h>

enum { KEYS = 1000, MANY = 100 };

// Every key that is ever used, what the table should say of it, and how the key looks.
struct model {
	bool there[KEYS];
	uint64_t value[KEYS];
	uint64_t count;
	uint64_t (*key)(uint64_t i);
};

static uint64_t key_dense(uint64_t i)
{
	return i;
}

static uint64_t key_top(uint64_t i)
{
	return i << 48 | i >> 8;
}

static uint64_t key_edges(uint64_t i)
{
	return i % 2 == 0 ? UINT64_MAX - i / 2 : i / 2;
}

static struct tare_table *table_made(const struct tare_table_options *options)
{
	struct tare_table *table;
	assert_int_equal(tare_table_new(&table, options), 0);
	return table;
}

static void assert_probes_bounded(const struct tare_table *table)
{
	struct tare_table_stats stats;
	tare_table_stats_get(table, &stats);
	assert_true(stats.probe_max <= TABLE_REACH_MAX);
}

// Invariants 1 to 3 and 6 of table_int.h, line by line.
static void check_map(const struct tare_table *table, const struct table_map *map, uint64_t from)
{
	const struct table_phase *phase = table_phase(table);
	uint64_t open = from; // from here on all lines up to the one that is looked at are full
	for (uint64_t line = from; line < table_lines(map); line++) {
		unsigned taken = 0;
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			uint64_t key = table_key(&map->lines[line], at);
			if (key == 0)
				continue;
			uint64_t home = table_home(map, tare_table_hash(phase->seed, key));
			assert_true(home >= open && home <= line && line - home < map->reach);
			assert_int_equal(at, taken++);
		}
		if (taken < TABLE_WIDTH)
			open = line + 1;
	}
	assert_int_equal(open, table_lines(map));
	uint64_t low = UINT64_MAX; // of the homes of all keys behind
	for (uint64_t line = table_lines(map); line-- > from;) {
		assert_int_equal(table_is_over(map, line), low <= line);
		for (unsigned at = 0; at < TABLE_WIDTH && table_key(&map->lines[line], at) != 0; at++)
			low = TARE_MIN(low,
				       table_home(map, tare_table_hash(phase->seed, table_key(&map->lines[line], at))));
	}
}

static void check_invariants(const struct tare_table *table)
{
	const struct table_phase *phase = table_phase(table);
	uint64_t from = table_growing(table) ? table->copied : 0;
	assert_int_equal(atomic_load(&phase->split), from << phase->main.shift);
	assert_true(from == 0 || !table_full(&phase->main.lines[from - 1]));
	check_map(table, &phase->main, from);
	if (table_growing(table))
		check_map(table, &phase->next, 0);
}

static void compare_walk(const struct tare_table *table, const struct model *model)
{
	struct tare_table_cursor cursor = {0};
	uint64_t key, value, walked = 0, sum_keys = 0, sum_model = 0;
	while (tare_table_next(table, &cursor, &key, &value)) {
		walked++;
		sum_keys += key * 31 + value;
	}
	for (uint64_t i = 0; i < KEYS; i++)
		if (model->there[i])
			sum_model += model->key(i) * 31 + model->value[i];
	assert_int_equal(walked, model->count);
	assert_int_equal(sum_keys, sum_model);
}

static void compare_many(const struct tare_table *table, const struct model *model, uint64_t first, size_t count)
{
	uint64_t keys[MANY] = {0}, values[2][MANY];
	bool found[2][MANY];
	for (size_t i = 0; i < count; i++)
		keys[i] = model->key(first + i);
	size_t hits = tare_table_get_many(table, keys, count, values[0], found[0]);
	assert_int_equal(tare_table_read_many(table, keys, count, values[1], found[1]), hits);
	assert_int_equal(tare_table_get_many(table, keys, count, values[1], NULL), hits);
	for (size_t i = 0; i < count; i++) {
		hits -= model->there[first + i];
		assert_int_equal(found[0][i], model->there[first + i]);
		assert_int_equal(found[1][i], model->there[first + i]);
		assert_int_equal(values[0][i], model->there[first + i] ? model->value[first + i] : 0);
		assert_int_equal(values[1][i], values[0][i]);
	}
	assert_int_equal(hits, 0);
}

static void compare(struct tare_table *table, const struct model *model)
{
	check_invariants(table);
	assert_int_equal(tare_table_count(table), model->count);
	for (uint64_t i = 0; i < KEYS; i++) {
		uint64_t value = 12345, read = 12345;
		assert_int_equal(tare_table_get(table, model->key(i), &value), model->there[i]);
		assert_int_equal(tare_table_read(table, model->key(i), &read), model->there[i]);
		assert_int_equal(value, model->there[i] ? model->value[i] : 12345);
		assert_int_equal(read, value);
		const uint64_t *at = tare_table_at(table, model->key(i));
		assert_true(model->there[i] ? at != NULL && *at == value : at == NULL);
	}
	for (uint64_t first = 0; first < KEYS; first += MANY - first % 7)
		compare_many(table, model, first, TARE_MIN((uint64_t)MANY - first % 7, KEYS - first));
	compare_walk(table, model);
	assert_probes_bounded(table);
}

static void operate(struct tare_table *table, struct model *model, struct tare_rng *rng, unsigned removes_percent)
{
	uint64_t i = tare_rng_below(rng, KEYS), value = tare_rng_next(rng), old = 12345;
	if (tare_rng_below(rng, 100) < removes_percent) {
		assert_int_equal(tare_table_remove(table, model->key(i), &old), model->there[i]);
		assert_int_equal(old, model->there[i] ? model->value[i] : 12345);
		model->count -= model->there[i];
		model->there[i] = false;
		return;
	}
	if (tare_rng_below(rng, 4) == 0) {
		int rc = tare_table_add(table, model->key(i), value);
		assert_int_equal(rc, model->there[i] ? -EEXIST : 0);
		if (rc < 0)
			return;
	} else {
		assert_int_equal(tare_table_put(table, model->key(i), value), 0);
	}
	model->count += !model->there[i];
	model->there[i] = true;
	model->value[i] = value;
}

static void run_model(struct tare_table_options options, uint64_t (*key)(uint64_t i))
{
	struct model *model = calloc(1, sizeof *model);
	assert_non_null(model);
	model->key = key;
	struct tare_table *table = table_made(&options);
	struct tare_rng rng;
	tare_rng_init(&rng, options.seed + 77);
	compare(table, model);
	for (int round = 0; round < 60; round++) {
		// Fills and empties in turns, and now and then compares in the middle of a growth.
		unsigned removes = round % 12 < 7 ? 20 : 80;
		uint64_t operations = 1 + tare_rng_below(&rng, 300);
		for (uint64_t i = 0; i < operations; i++)
			operate(table, model, &rng, removes);
		if (round % 20 == 19)
			assert_int_equal(tare_table_reserve(table, tare_rng_below(&rng, 2 * KEYS)), 0);
		compare(table, model);
	}
	tare_table_free(table);
	free(model);
}

TEST(random_operations_agree_with_a_model)
{
	uint64_t (*const keys[])(uint64_t) = {key_dense, key_top, key_edges};
	for (uint64_t seed = 1; seed <= 4; seed++)
		for (size_t i = 0; i < TARE_ARRAY_LEN(keys); i++)
			run_model((struct tare_table_options){.seed = seed, .readers = seed % 2 == 0}, keys[i]);
	run_model((struct tare_table_options){.seed = 9, .load_percent = 75}, key_dense);
	run_model((struct tare_table_options){.seed = 9, .load_percent = 10}, key_dense);
	run_model((struct tare_table_options){.seed = 9, .keys = 5000, .huge_pages = true}, key_top);
}

TEST(every_state_of_a_growth_answers_like_the_model)
{
	// One write at a time through the growths from 16 to 1,024 slots, everything compared after each.
	struct model *model = calloc(1, sizeof *model);
	assert_non_null(model);
	model->key = key_dense;
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = 3});
	bool seen_growing = false;
	for (uint64_t i = 0; i < 300; i++) {
		assert_int_equal(tare_table_put(table, i, i * 3), 0);
		model->there[i] = true;
		model->value[i] = i * 3;
		model->count++;
		seen_growing = seen_growing || (table_growing(table) && table->copied > 0);
		compare(table, model);
	}
	assert_true(seen_growing);
	tare_table_free(table);
	free(model);
}

static void assert_has(const struct tare_table *table, uint64_t key)
{
	uint64_t value;
	assert_true(tare_table_get(table, key, &value));
	assert_int_equal(value, key * 3);
}

TEST(a_growth_copies_a_bounded_number_of_lines_a_write)
{
	enum { ROW = 50 }; // rows of full lines are far shorter at this load
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = 5, .keys = 1 << 16});
	uint64_t homes = table_phase(table)->main.homes, i = 0, writes = 0;
	while (!table_growing(table))
		table_put_triple(table, i++);
	for (; table_growing(table); writes++) {
		uint64_t before = table->copied;
		table_put_triple(table, i++);
		assert_true(!table_growing(table) || table->copied - before <= TABLE_STEP_LINES + ROW);
	}
	assert_true(writes >= homes / (TABLE_STEP_LINES + ROW) && writes <= homes / TABLE_STEP_LINES + 1);
	for (uint64_t k = 0; k < i; k++)
		assert_has(table, k);
	tare_table_free(table);
}

TEST(what_a_growth_leaves_behind_is_given_back)
{
	for (int readers = 0; readers < 2; readers++) {
		struct tare_table *table =
		    table_made(&(struct tare_table_options){.keys = 1 << 16, .readers = readers == 1});
		for (uint64_t i = 0; i < 90000; i++)
			table_put_triple(table, i);
		struct tare_table_stats stats;
		tare_table_stats_get(table, &stats);
		assert_int_equal(stats.growths, 1);
		assert_false(stats.growing);
		assert_int_equal(stats.bytes, table_bytes(&table_phase(table)->main));
		tare_table_free(table);
	}
}

TEST(removing_leaves_no_marks_behind)
{
	// A million keys pass through a table that holds a thousand at a time.
	enum { HELD = 1000, PASSED = 1000000 };
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = 11, .keys = HELD});
	struct tare_table_stats before, after;
	for (uint64_t i = 0; i < HELD; i++)
		assert_int_equal(tare_table_put(table, i, i), 0);
	tare_table_stats_get(table, &before);
	for (uint64_t i = HELD; i < PASSED; i++) {
		assert_true(tare_table_remove(table, i - HELD, NULL));
		assert_int_equal(tare_table_put(table, i, i), 0);
	}
	tare_table_stats_get(table, &after);
	check_invariants(table);
	assert_int_equal(after.keys, HELD);
	assert_int_equal(after.slots, before.slots);
	assert_int_equal(after.growths, before.growths);
	assert_true(after.probe_mean < 1.1 && after.full_max < 10);
	tare_table_free(table);
}

// ---- keys that somebody chose -------------------------------------------------------------------------------------

// The mean number of lines a hit reads; at load 0.5, random places give 1.04.
static double probe_mean_of(uint64_t (*key)(uint64_t i, unsigned shift), unsigned shift, uint64_t count, uint64_t seed)
{
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = seed, .keys = count});
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(tare_table_put(table, key(i, shift), i), 0);
	struct tare_table_stats stats;
	tare_table_stats_get(table, &stats);
	assert_int_equal(stats.rebuilds, 0);
	tare_table_free(table);
	return stats.probe_mean;
}

static uint64_t key_shifted(uint64_t i, unsigned shift)
{
	return i << shift | i >> (64 - shift - (shift == 0));
}

static uint64_t key_strided(uint64_t i, unsigned shift)
{
	return i * ((UINT64_C(1) << shift) + 1);
}

TEST(regular_keys_are_scattered)
{
	enum { COUNT = 1 << 13 }; // a load of exactly one half
	double worst = 0, sum = 0;
	unsigned tried = 0;
	for (uint64_t seed = 1; seed <= 3; seed++)
		for (unsigned shift = 0; shift <= 50; shift++) {
			double shifted = probe_mean_of(key_shifted, shift, COUNT, seed);
			double strided = probe_mean_of(key_strided, shift, COUNT, seed);
			worst = TARE_MAX(worst, TARE_MAX(shifted, strided));
			sum += shifted + strided;
			tried += 2;
		}
	if (worst > 1.5 || sum / tried > 1.06)
		fail_msg("worst mean %.2f, mean of means %.3f", worst, sum / tried);
}

// Keys whose hashes begin with 12 zeros under this seed.
static size_t keys_together(const uint64_t seed[2], uint64_t *ret, size_t count)
{
	size_t n = 0;
	for (uint64_t key = 1; n < count; key++)
		if (tare_table_hash(seed, key) >> 52 == 0)
			ret[n++] = key;
	return n;
}

TEST(keys_that_collide_without_a_secret_do_not_with_one)
{
	enum { COUNT = 4000 };
	static uint64_t keys[COUNT];
	const uint64_t known[2] = {0, UINT64_C(0x9e3779b97f4a7c15)};
	keys_together(known, keys, COUNT);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct tare_table *table = table_made(&(struct tare_table_options){.seed = seed, .keys = COUNT});
		for (size_t i = 0; i < COUNT; i++)
			assert_int_equal(tare_table_put(table, keys[i], i), 0);
		struct tare_table_stats stats;
		tare_table_stats_get(table, &stats);
		assert_int_equal(stats.rebuilds, 0);
		assert_true(stats.probe_mean < 1.1 && stats.probe_max < 20);
		tare_table_free(table);
	}
}

TEST(keys_that_collide_under_the_tables_own_secret_make_it_draw_another)
{
	enum { COUNT = 4000 };
	static uint64_t keys[COUNT];
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = 42, .keys = COUNT});
	keys_together(table_phase(table)->seed, keys, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(tare_table_put(table, keys[i], i), 0);
	struct tare_table_stats stats;
	tare_table_stats_get(table, &stats);
	assert_true(stats.rebuilds >= 1);
	assert_true(stats.probe_mean < 1.1 && stats.probe_max < 20);
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t value;
		assert_true(tare_table_get(table, keys[i], &value));
		assert_int_equal(value, i);
	}
	tare_table_free(table);
}

// Five keys of the first home, then four of each that follows: none is more than a line from its home, and every line
// has one behind it that belongs before. Whoever looks for an absent key must not follow them all.
TEST(a_lookup_ends_within_reach_however_far_keys_push_each_other)
{
	enum { HOMES = 1024, ROW = 400, PUT = 4 * ROW + 1, MORE = 8 };
	static uint64_t keys[HOMES][4 + 1 + MORE];
	static unsigned counts[HOMES];
	struct tare_table *table = table_made(&(struct tare_table_options){.seed = 21, .keys = 2 * HOMES});
	const struct table_map *map = &table_phase(table)->main;
	assert_int_equal(map->homes, HOMES);
	unsigned full = 0;
	for (uint64_t key = 1; full < ROW || counts[0] < TARE_ARRAY_LEN(keys[0]); key++) {
		uint64_t home = table_home(map, tare_table_hash(table_phase(table)->seed, key));
		if (counts[home] < (home == 0 ? TARE_ARRAY_LEN(keys[0]) : 4)) {
			keys[home][counts[home]++] = key;
			full += home < ROW && counts[home] == 4;
		}
	}
	for (unsigned home = 0; home < ROW; home++)
		for (unsigned i = 0; i < (home == 0 ? 5 : 4); i++)
			table_put_triple(table, keys[home][i]);
	assert_int_equal(tare_table_count(table), PUT);
	struct tare_table_stats stats;
	tare_table_stats_get(table, &stats);
	assert_int_equal(stats.rebuilds, 0);
	assert_int_equal(stats.probe_max, 2);
	assert_true(stats.full_max > TARE_TABLE_REACH); // so far would one look who goes on to the row's end
	for (unsigned i = 5; i < TARE_ARRAY_LEN(keys[0]); i++) {
		uint64_t value;
		assert_false(tare_table_get(table, keys[0][i], &value));
		assert_ptr_equal(
		    table_probe(map, tare_table_hash(table_phase(table)->seed, keys[0][i]), keys[0][i]).line,
		    &map->lines[TARE_TABLE_REACH - 1]);
	}
	check_invariants(table);
	assert_true(tare_table_remove(table, keys[0][0], NULL));
	check_invariants(table);
	for (unsigned home = 0; home < ROW; home++)
		for (unsigned i = home == 0; i < (home == 0 ? 5 : 4); i++)
			assert_has(table, keys[home][i]);
	tare_table_free(table);
}

TEST(keys_that_fall_together_in_the_middle_of_a_growth_make_it_draw_another_secret)
{
	struct tare_table *table = table_crowded();
	uint64_t before = tare_table_count(table), added = 0;
	for (; table->rebuilds == 0; added++)
		table_put_triple(table, (UINT64_C(1) << 55) + added);
	assert_true(added < 20);
	check_invariants(table);
	assert_int_equal(tare_table_count(table), before + added);
	assert_int_equal(table_walked(table), before + added);
	tare_table_free(table);
}

// ---- limits -------------------------------------------------------------------------------------------------------

TEST(options_out_of_range_are_refused)
{
	struct tare_table *table = NULL;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.load_percent = 9}), -EINVAL);
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.load_percent = 76}), -EINVAL);
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.keys = TABLE_KEYS_MAX + 1}), -ERANGE);
	assert_null(table);
	table = table_made(NULL);
	assert_int_equal(tare_table_reserve(table, TABLE_KEYS_MAX + 1), -ERANGE);
	assert_false(tare_table_remove(table, 0, NULL));
	tare_table_free(table);
	tare_table_free(NULL);
}

TEST(values_can_be_changed_in_place)
{
	struct tare_table *table = table_made(NULL);
	assert_null(tare_table_at(table, 0));
	for (uint64_t round = 0; round < 5; round++)
		for (uint64_t key = 0; key < 50; key++) {
			uint64_t *value = tare_table_at(table, key);
			assert_true((value != NULL) == (round > 0));
			if (value != NULL)
				++*value;
			else
				assert_int_equal(tare_table_add(table, key, 1), 0);
		}
	for (uint64_t key = 0; key < 50; key++)
		assert_int_equal(*tare_table_at(table, key), 5);
	tare_table_free(table);
}
