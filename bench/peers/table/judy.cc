// SPDX-License-Identifier: MIT
// JudyL. Packages: libjudy-dev. Libraries: Judy
#include <Judy.h>
#include <stdbool.h>
#include <stdint.h>

static Pvoid_t map;

static void map_new(void) {}

static inline void map_put(uint64_t key, uint64_t value)
{
	Word_t *slot = (Word_t *)JudyLIns(&map, key, PJE0);
	*slot = value;
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	const Word_t *slot = (const Word_t *)JudyLGet(map, key, PJE0);
	if (slot == NULL)
		return false;
	*ret_value = *slot;
	return true;
}

#include "measure.h"
