// SPDX-License-Identifier: MIT
// GLib's GHashTable, keys and values as pointers, which is its fastest form. Packages: libglib2.0-dev. Libraries: glib-2.0
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

static GHashTable *map;

static void map_new(void)
{
	map = g_hash_table_new(g_direct_hash, NULL);
}

static inline void map_put(uint64_t key, uint64_t value)
{
	g_hash_table_insert(map, (gpointer)(uintptr_t)key, (gpointer)(uintptr_t)value);
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	gpointer value;
	if (!g_hash_table_lookup_extended(map, (gpointer)(uintptr_t)key, NULL, &value))
		return false;
	*ret_value = (uintptr_t)value;
	return true;
}

#include "measure.h"
