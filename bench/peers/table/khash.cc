// SPDX-License-Identifier: MIT
// klib's khash, as htslib brings it, with its hash for 64-bit keys. Packages: libhts-dev
#include <htslib/khash.h>
#include <stdbool.h>
#include <stdint.h>

KHASH_MAP_INIT_INT64(words, uint64_t)
static khash_t(words) * map;

static void map_new(void)
{
	map = kh_init(words);
}

static inline void map_put(uint64_t key, uint64_t value)
{
	int is_new;
	khint_t at = kh_put(words, map, key, &is_new);
	kh_value(map, at) = value;
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	khint_t at = kh_get(words, map, key);
	if (at == kh_end(map))
		return false;
	*ret_value = kh_value(map, at);
	return true;
}

#include "measure.h"
