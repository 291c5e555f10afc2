// SPDX-License-Identifier: MIT
// Goal: what a reader beside the writer is told was true at one moment of its call: no key is missed that was there
// throughout, none is found that was gone throughout, no value is another key's or older than the call, and nothing
// that was put once comes, goes and comes back; while keys are
// moved by removals, while the table grows, draws new secrets, and gives back what it left behind.
// Method: the writer says of each key what it is about to do and what it has done; a reader looks at what was done
// before its call, and at what was begun after it, and so knows all answers that may be. In a simulation every atomic
// access is a point where the other may go on, seed by seed; else real threads run, under ThreadSanitizer too.
#include "in_task.h"

#include "index/table_int.h"

enum { KEYS = SIMULATED ? 24 : 400, READERS = 2, MANY = 8 };

// What the writer tells of a key. It alone writes; release and acquire, so that who knows of a change finds it.
struct told {
	_Atomic uint64_t begun, done;                   // number of the last change << 1 | the key is there after it
	_Atomic uint64_t removals_begun, removals_done; // so many
};

struct play {
	struct tare_table *table;
	struct told told[KEYS];
	atomic_bool over;
	atomic_uint ready;
	uint64_t keys; // that are used: the first so many
};

static uint64_t key_of(uint64_t i)
{
	return i < 2 ? -i : i * UINT64_C(0x10000); // 0 and 2^64 - 1 are among them
}

// ---- the writer ---------------------------------------------------------------------------------------------------

static void change(struct play *play, struct tare_rng *rng)
{
	uint64_t i = tare_rng_below(rng, play->keys);
	struct told *told = &play->told[i];
	uint64_t done = atomic_load(&told->done), number = (done >> 1) + 1;
	bool there = done & 1, remove = there && tare_rng_below(rng, 3) > 0;
	uint64_t next = number << 1 | !remove;
	atomic_store(&told->begun, next);
	if (remove) {
		atomic_store(&told->removals_begun, atomic_load(&told->removals_begun) + 1);
		CHECK(tare_table_remove(play->table, key_of(i), NULL));
	} else {
		CHECK(tare_table_put(play->table, key_of(i), i << 48 | number) == 0);
	}
	// In this order, as look_before looks in the other: who knows that a removal is done knows its number.
	atomic_store(&told->done, next);
	if (remove)
		atomic_store(&told->removals_done, atomic_load(&told->removals_begun));
}

// ---- readers ------------------------------------------------------------------------------------------------------

struct before {
	uint64_t done, removals_done;
};

static void look_before(const struct told *told, struct before *ret)
{
	ret->removals_done = atomic_load(&told->removals_done);
	ret->done = atomic_load(&told->done);
}

// What one reader was told of a key: the change it saw last, and the last one that it has seen to be over.
struct heard {
	uint64_t seen, over;
};

static void judge(const struct told *told, uint64_t i, const struct before *before, struct heard *heard, bool found,
		  uint64_t value)
{
	uint64_t begun = atomic_load(&told->begun), removals_begun = atomic_load(&told->removals_begun);
	uint64_t number = value & ((UINT64_C(1) << 48) - 1);
	if (found) {
		CHECK(value >> 48 == i && number >= before->done >> 1 && number <= begun >> 1);
		CHECK(number >= heard->seen && number > heard->over);
		heard->seen = number;
	} else {
		CHECK((before->done & 1) == 0 || removals_begun > before->removals_done);
		heard->over = heard->seen;
	}
}

static void read_one(struct play *play, struct heard *heard, struct tare_rng *rng)
{
	uint64_t i = tare_rng_below(rng, play->keys), value = 0;
	struct before before;
	look_before(&play->told[i], &before);
	bool found = tare_table_read(play->table, key_of(i), &value);
	judge(&play->told[i], i, &before, &heard[i], found, value);
}

static void read_many(struct play *play, struct heard *heard, struct tare_rng *rng)
{
	uint64_t at[MANY], keys[MANY], values[MANY];
	bool found[MANY];
	struct before before[MANY];
	for (size_t k = 0; k < MANY; k++) {
		at[k] = tare_rng_below(rng, play->keys);
		keys[k] = key_of(at[k]);
		look_before(&play->told[at[k]], &before[k]);
	}
	tare_table_read_many(play->table, keys, MANY, values, found);
	for (size_t k = 0; k < MANY; k++)
		judge(&play->told[at[k]], at[k], &before[k], &heard[at[k]], found[k], values[k]);
}

static void *reader(void *arg)
{
	struct play *play = arg;
	struct heard heard[KEYS] = {0};
	struct tare_rng rng;
	tare_rng_init(&rng, atomic_fetch_add(&play->ready, 1));
	do {
		if (tare_rng_below(&rng, 4) == 0)
			read_many(play, heard, &rng);
		else
			read_one(play, heard, &rng);
	} while (!atomic_load(&play->over));
	return NULL;
}

// ---- plays --------------------------------------------------------------------------------------------------------

// One table from empty: it grows while changes come and go. Now and then new secrets, and a growth in one go.
static void play_once(uint64_t changes, uint64_t keys, unsigned load_percent)
{
	static uint64_t seed;
	static struct play play;
	struct test_thread threads[READERS];
	struct tare_rng rng;
	memset(&play, 0, sizeof play);
	play.keys = keys;
	tare_rng_init(&rng, SIMULATED ? 1 : ++seed);
	CHECK(tare_table_new(&play.table, &(struct tare_table_options){
					      .seed = 7, .load_percent = load_percent, .readers = true}) == 0);
	for (size_t i = 0; i < READERS; i++)
		thread_start(&threads[i], reader, &play);
	while (!SIMULATED && atomic_load(&play.ready) < READERS)
		tare_cpu_relax();
	for (uint64_t n = 0; n < changes; n++) {
		change(&play, &rng);
		if (n % (changes / 4 + 1) == changes / 5)
			CHECK(index_table_rebuild(play.table) == 0);
		if (n == changes / 2)
			CHECK(tare_table_reserve(play.table, KEYS * 2) == 0);
	}
	atomic_store(&play.over, true);
	for (size_t i = 0; i < READERS; i++)
		thread_join(&threads[i]);
	tare_table_free(play.table);
}

static int plays(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < (SIMULATED ? 1 : 20); i++)
		play_once(SIMULATED ? 120 : 200 + SCALED(60000), KEYS, i % 2 == 0 ? 75 : 50);
	return 0;
}

static int plays_aside(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < (SIMULATED ? 1 : 4); i++)
		play_once(SIMULATED ? 120 : 200 + SCALED(60000), 2, 50);
	return 0;
}

TEST(readers_beside_a_writer_are_told_what_was_so)
{
	run_in_task(1, plays);
}

TEST(readers_of_the_keys_that_stand_apart_are_told_what_was_so)
{
	run_in_task(1, plays_aside);
}

// ---- large tables -------------------------------------------------------------------------------------------------

// Keys are only added, through many growths, each of which gives the last one's pages back.
struct rise {
	struct tare_table *table;
	_Atomic uint64_t begun, done;
	atomic_bool over;
	uint64_t seed;
};

static void *rise_reader(void *arg)
{
	struct rise *rise = arg;
	struct tare_rng rng;
	tare_rng_init(&rng, rise->seed);
	while (!atomic_load(&rise->over)) {
		uint64_t done = atomic_load(&rise->done), value = 0;
		uint64_t key = tare_rng_below(&rng, done + 1 + done / 64);
		bool found = tare_table_read(rise->table, key, &value);
		CHECK(found ? value == key * 5 && key < atomic_load(&rise->begun) : key >= done);
	}
	return NULL;
}

static int rises(void *arg)
{
	(void)arg;
	enum { KEYS_MOST = 200000 };
	for (uint64_t round = 0; round < (SIMULATED ? 1 : 4); round++) {
		struct rise rise = {.seed = round};
		struct test_thread threads[READERS];
		CHECK(tare_table_new(&rise.table, &(struct tare_table_options){.seed = 1 + round, .readers = true}) ==
		      0);
		for (size_t i = 0; i < READERS; i++)
			thread_start(&threads[i], rise_reader, &rise);
		for (uint64_t key = 0; key < 100 + SCALED(KEYS_MOST); key++) {
			atomic_store(&rise.begun, key + 1);
			CHECK(tare_table_put(rise.table, key, key * 5) == 0);
			atomic_store(&rise.done, key + 1);
		}
		atomic_store(&rise.over, true);
		for (size_t i = 0; i < READERS; i++)
			thread_join(&threads[i]);
		tare_table_free(rise.table);
	}
	return 0;
}

TEST(readers_follow_a_table_that_grows)
{
	run_in_task(1, rises);
}

// What a reader finds that was stopped in the middle of a lookup: the map it was in was left, and given back.
TEST(a_map_that_was_left_can_still_be_read_and_reads_as_empty)
{
	struct tare_table *table;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.keys = 1 << 16, .readers = true}), 0);
	const struct table_map before = table_phase(table)->main;
	for (uint64_t key = 1; key < 100000; key++)
		assert_int_equal(tare_table_put(table, key, key), 0);
	assert_true(table_phase(table)->main.lines != before.lines);
	for (uint64_t line = 0; line < table_lines(&before); line++)
		for (unsigned at = 0; at < TABLE_WIDTH; at++)
			assert_int_equal(table_key(&before.lines[line], at), 0);
	tare_table_free(table);
}
