// SPDX-License-Identifier: MIT
// The tables that programs of C and C++ take without thinking about it, asked what tables.c asks ours: uthash, GLib's
// GHashTable and std::unordered_map. Linked into the program of rows where all three are installed (g++, uthash-dev and
// libglib2.0-dev), and nowhere else.
//
// Not held to the baseline: their instructions change with their packages, and are not ours to mend.
#include "../rows.h"
#include "unordered_map.h"

#if __has_include(<glib.h>) && __has_include(<uthash.h>)
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <uthash.h>

#define STANDARD .group = "standard tables", .not_counted = true

static uint64_t last; // found, for what depends on it

// ---- uthash -------------------------------------------------------------------------------------------------------

struct element {
	uint64_t key, value;
	UT_hash_handle hh;
};
static struct element *elements;

static void uthash_make(void)
{
	rows_table_make();
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS && HASH_COUNT(elements) < ROWS_TABLE_KEYS; i++) {
		struct element *element = malloc(sizeof *element);
		if (element == NULL)
			rows_die("memory", -ENOMEM);
		element->key = rows_table_keys[i];
		element->value = i;
		HASH_ADD(hh, elements, key, sizeof element->key, element);
	}
}

static TARE_INLINE bool uthash_get(uint64_t key, uint64_t *ret_value)
{
	struct element *element;
	HASH_FIND(hh, elements, &key, sizeof key, element);
	if (element != NULL)
		*ret_value = element->value;
	return element != NULL;
}

TARE_NPA(uthash_hit, "uthash: macros around a struct of one's own, which may be in several tables.", 60, STANDARD,
	 .prepare = uthash_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(uthash_get(rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(uthash_hit_dependent, "The same where each key depends on the value before.", 120, STANDARD,
	 .prepare = uthash_make)
{
	(void)uthash_get(rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(uthash_miss, "A key that is not there.", 60, STANDARD, .prepare = uthash_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(uthash_get(rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}

// ---- GHashTable ---------------------------------------------------------------------------------------------------

static GHashTable *ghash;

static void ghash_make(void)
{
	rows_table_make();
	if (ghash != NULL)
		return;
	ghash = g_hash_table_new(g_direct_hash, NULL);
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS; i++)
		g_hash_table_insert(ghash, (gpointer)(uintptr_t)rows_table_keys[i], (gpointer)(uintptr_t)i);
}

static TARE_INLINE bool ghash_get(uint64_t key, uint64_t *ret_value)
{
	gpointer value;
	if (!g_hash_table_lookup_extended(ghash, (gpointer)(uintptr_t)key, NULL, &value))
		return false;
	*ret_value = (uintptr_t)value;
	return true;
}

TARE_NPA(ghash_hit, "GLib's GHashTable, keys and values as pointers: its fastest form.", 40, STANDARD,
	 .prepare = ghash_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(ghash_get(rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(ghash_hit_dependent, "The same where each key depends on the value before.", 80, STANDARD,
	 .prepare = ghash_make)
{
	(void)ghash_get(rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(ghash_miss, "A key that is not there.", 60, STANDARD, .prepare = ghash_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(ghash_get(rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}

// ---- std::unordered_map -------------------------------------------------------------------------------------------

static void unordered_make(void)
{
	rows_table_make();
	if (rows_unordered_count() != 0)
		return;
	for (uint64_t i = 0; i < ROWS_TABLE_KEYS; i++)
		rows_unordered_put(rows_table_keys[i], i);
}

TARE_NPA(unordered_hit, "std::unordered_map, a node a key. With the call into C++, about 1 ns.", 40, STANDARD,
	 .prepare = unordered_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(rows_unordered_get(rows_table_here[i % ROWS_TABLE_ASKED], &value));
	TARE_NPA_KEEP(value);
}

TARE_NPA(unordered_hit_dependent, "The same where each key depends on the value before.", 120, STANDARD,
	 .prepare = unordered_make)
{
	(void)rows_unordered_get(rows_table_here[i % ROWS_TABLE_ASKED] + (last >> 63), &last);
}

TARE_NPA(unordered_miss, "A key that is not there.", 60, STANDARD, .prepare = unordered_make)
{
	uint64_t value = 0;
	TARE_NPA_KEEP(rows_unordered_get(rows_table_absent[i % ROWS_TABLE_ASKED], &value));
}
#endif
