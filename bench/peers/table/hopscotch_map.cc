// SPDX-License-Identifier: MIT
// tsl::hopscotch_map. Packages: libtsl-hopscotch-map-dev
#include <tsl/hopscotch_map.h>

#include <cstdint>

static tsl::hopscotch_map<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new tsl::hopscotch_map<uint64_t, uint64_t>;
}

static inline void map_put(uint64_t key, uint64_t value)
{
	map->insert({key, value});
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	auto found = map->find(key);
	if (found == map->end())
		return false;
	*ret_value = found->second;
	return true;
}

#include "measure.h"
