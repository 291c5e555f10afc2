// SPDX-License-Identifier: MIT
// What it costs to find a record: the index's open addressing beside chains, hits and misses, independent and one after
// the other.
//
// The chained table has the same keys and records, a node of its own for each, from malloc, made in no order, and as
// many buckets as keys. 1 MiB of records: all of it is in the second cache; the cold column shows what it is where it
// is not.
#include "rows.h"

#include <errno.h>
#include <stdlib.h>

enum { BUCKET_BITS = 12, BUCKETS = 1 << BUCKET_BITS };

struct node {
	struct node *next;
	uint64_t key;
	const struct tare_record *record;
};

static struct node *buckets[BUCKETS];
static struct tare_index_stats stats;
static uint64_t found; // the last, for what depends on it

static size_t bucket_of(uint64_t key)
{
	return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - BUCKET_BITS));
}

static void chains_make(void)
{
	rows_index();
	if (stats.records != 0)
		return;
	tare_index_stats_get(rows_index_made, &stats);
	for (uint64_t position = 0; position < stats.records; position++) {
		struct node *node = malloc(sizeof *node);
		if (node == NULL)
			rows_die("memory", -ENOMEM);
		const struct tare_record *record = tare_index_record(rows_index_made, position);
		struct node **bucket = &buckets[bucket_of(record->id)];
		*node = (struct node){*bucket, record->id, record};
		*bucket = node;
	}
}

// The record that rows of the index read when they are cold: that of the call's number.
static void index_evict(void)
{
	const struct tare_record *first = tare_index_record(rows_index_made, 0);
	tare_npa_flush(first, 1 << 18);
}

TARE_NOIPA static const struct tare_record *chains_find(uint64_t key)
{
	const struct node *node = buckets[bucket_of(key)];
	while (node != NULL && node->key != key)
		node = node->next;
	return node != NULL ? node->record : NULL;
}

TARE_NPA(find_hit, "A record by its key: a hash, a slot, a record. Keys independent of one another.", 15,
	 .prepare = rows_index, .evict = index_evict)
{
	TARE_NPA_KEEP(tare_index_find(rows_index_made, rows_keys[i % ROWS_KEYS]));
}

TARE_NPA(find_hit_dependent, "The same where each key depends on the record before: what one request sees.", 40,
	 .prepare = rows_index, .evict = index_evict)
{
	const struct tare_record *record = tare_index_find(rows_index_made, rows_keys[i % ROWS_KEYS] + (found >> 63));
	found = (uint64_t)record->bid_micros;
}

TARE_NPA(find_miss, "A key that is not there: a hash and a slot.", 15, .prepare = rows_index, .evict = index_evict)
{
	TARE_NPA_KEEP(tare_index_find(rows_index_made, rows_absent_keys[i % ROWS_KEYS]));
}

TARE_NPA(chained_hit, "The textbook's table, a chain a bucket: it grows by nodes. Replaced by the index.", 30,
	 .prepare = chains_make, .evict = index_evict)
{
	TARE_NPA_KEEP(chains_find(rows_keys[i % ROWS_KEYS]));
}

TARE_NPA(chained_hit_dependent, "The same where each key depends on the record before.", 60, .prepare = chains_make,
	 .evict = index_evict)
{
	const struct tare_record *record = chains_find(rows_keys[i % ROWS_KEYS] + (found >> 63));
	found = (uint64_t)record->bid_micros;
}

TARE_NPA(chained_miss, "A key that is not there: the whole chain.", 30, .prepare = chains_make, .evict = index_evict)
{
	TARE_NPA_KEEP(chains_find(rows_absent_keys[i % ROWS_KEYS]));
}
