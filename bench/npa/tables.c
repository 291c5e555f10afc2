// SPDX-License-Identifier: MIT
// What it costs to find a number by a number in memory: tare/table.h beside the two tables of the textbooks, chains and
// Robin Hood hashing. standard/ has those of libraries.
//
// All have the same 8,000 random keys, which fit the second cache with any of them, and are asked the same.
// docs/table.md has other sizes. Robin Hood has as many slots as our table: at a higher load it would take less memory
// and more time.
#include "rows.h"

#include <tare/table.h>

#include <errno.h>
#include <stdlib.h>

enum { SLOT_BITS = 14, SLOTS = 1 << SLOT_BITS, MANY = 64 };

uint64_t rows_table_keys[ROWS_TABLE_KEYS], rows_table_here[ROWS_TABLE_ASKED], rows_table_absent[ROWS_TABLE_ASKED];

static struct tare_table *table;
static uint64_t last; // found, for what depends on it

void rows_table_make(void)
{
	struct tare_rng rng;
	if (rows_table_keys[0] != 0)
		return;
	tare_rng_init(&rng, 1);
	for (size_t i = 0; i < ROWS_TABLE_KEYS; i++)
		rows_table_keys[i] = tare_rng_next(&rng) >> 1 | 1;
	for (size_t i = 0; i < ROWS_TABLE_ASKED; i++) {
		rows_table_here[i] = rows_table_keys[tare_rng_below(&rng, ROWS_TABLE_KEYS)];
		rows_table_absent[i] = (tare_rng_next(&rng) >> 1 | 1) - 1; // even, which none of the others is
	}
}

static void table_make(void)
{
	rows_table_make();
	if (table != NULL)
		return;
	must(tare_table_new(&table, &(struct tare_table_options){.seed = 1, .readers = true}), "a table");
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS; i++)
		must(tare_table_put(table, rows_table_keys[i], i), "a table");
	must(tare_table_reserve(table, ROWS_TABLE_KEYS), "a table"); // a growth that is under way is finished
}

#define TABLE .prepare = table_make

TARE_NPA(table_hit, "A number by its key: a hash, a line, four keys compared at once. Keys independent of one another.",
	 10, TABLE)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(tare_table_get(table, rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(table_hit_dependent, "The same where each key depends on the value before.", 30, TABLE)
{
	(void)tare_table_get(table, rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(table_miss, "A key that is not there: the same line, nearly always the only one.", 15, TABLE)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(tare_table_get(table, rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}

TARE_NPA(table_many, "64 keys at once, a key: what is not in the cache is fetched ahead. Here all of it is.", 12, TABLE,
	 .per = MANY)
{
	uint64_t values[MANY];
	const uint64_t *keys = &rows_table_here[i * MANY % ROWS_TABLE_ASKED];
	TARE_NPA_KEEP(tare_table_get_many(table, keys, MANY, values, NULL));
	TARE_NPA_KEEP(&values[0]);
}

TARE_NPA(table_read_hit, "The same beside a writer: no lock, and right whatever the writer does meanwhile.", 15, TABLE)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(tare_table_read(table, rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(table_put_remove, "A key added and taken out again: nothing of it stays behind.", 80, TABLE)
{
	uint64_t key = rows_table_absent[i % ROWS_TABLE_ASKED];
	must(tare_table_put(table, key, i), "a table");
	TARE_NPA_KEEP(tare_table_remove(table, key, NULL));
}

// ---- chains -------------------------------------------------------------------------------------------------------

struct link {
	struct link *next;
	uint64_t key, value;
};
static struct link *chains[SLOTS];

static size_t place_of(uint64_t key)
{
	return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - SLOT_BITS));
}

static void chains_make(void)
{
	static bool made;
	rows_table_make();
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS && !made; i++) {
		struct link *link = malloc(sizeof *link), **chain = &chains[place_of(rows_table_keys[i])];
		if (link == NULL)
			rows_die("memory", -ENOMEM);
		*link = (struct link){*chain, rows_table_keys[i], i};
		*chain = link;
	}
	made = true;
}

static TARE_INLINE bool chains_get(uint64_t key, uint64_t *ret_value)
{
	for (const struct link *link = chains[place_of(key)]; link != NULL; link = link->next)
		if (link->key == key) {
			*ret_value = link->value;
			return true;
		}
	return false;
}

TARE_NPA(chains_hit, "The textbook's chains: each key is a node, whose address stays.", 20, .prepare = chains_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(chains_get(rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(chains_hit_dependent, "The same where each key depends on the value before.", 60, .prepare = chains_make)
{
	(void)chains_get(rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(chains_miss, "A key that is not there: often an empty bucket, else the whole chain.", 20,
	 .prepare = chains_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(chains_get(rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}

// ---- Robin Hood ---------------------------------------------------------------------------------------------------

struct robin {
	uint64_t key, value;
	uint64_t away; // from its home, and one; 0: an empty slot
};
static struct robin robins[SLOTS];

// Who is nearer to home gives way to who is further from it.
static void robin_put(struct robin in)
{
	in.away = 1;
	for (size_t at = place_of(in.key);; at = (at + 1) % SLOTS, in.away++) {
		struct robin there = robins[at];
		if (there.away >= in.away)
			continue;
		robins[at] = in;
		if (there.away == 0)
			return;
		in = there;
	}
}

static void robins_make(void)
{
	static bool made;
	rows_table_make();
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS && !made; i++)
		robin_put((struct robin){rows_table_keys[i], i, 1});
	made = true;
}

static TARE_INLINE bool robin_get(uint64_t key, uint64_t *ret_value)
{
	size_t at = place_of(key);
	for (uint64_t away = 1; robins[at].away >= away; away++, at = (at + 1) % SLOTS)
		if (robins[at].key == key) {
			*ret_value = robins[at].value;
			return true;
		}
	return false;
}

TARE_NPA(robin_hit, "Robin Hood hashing: rows of even length, so that tables may be fuller.", 20,
	 .prepare = robins_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(robin_get(rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(robin_hit_dependent, "The same where each key depends on the value before.", 60, .prepare = robins_make)
{
	(void)robin_get(rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(robin_miss, "A key that is not there: found out where a key stands that is nearer to home.", 30,
	 .prepare = robins_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(robin_get(rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}
