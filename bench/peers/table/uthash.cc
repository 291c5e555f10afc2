// SPDX-License-Identifier: MIT
// uthash, an element from the heap each. Packages: uthash-dev
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <uthash.h>

struct element {
	uint64_t key, value;
	UT_hash_handle hh;
};

static struct element *map;

static void map_new(void) {}

static inline void map_put(uint64_t key, uint64_t value)
{
	struct element *element = (struct element *)malloc(sizeof *element);
	element->key = key;
	element->value = value;
	HASH_ADD(hh, map, key, sizeof element->key, element);
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	struct element *found;
	HASH_FIND(hh, map, &key, sizeof key, found);
	if (found == NULL)
		return false;
	*ret_value = found->value;
	return true;
}

#include "measure.h"
