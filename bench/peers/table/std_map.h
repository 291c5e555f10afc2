// SPDX-License-Identifier: MIT
// A peer that has the interface of std::unordered_map. Before it is included, MAP is its template's name, and
// MAP_EMPTY_KEY a key that it reserves for itself, if it does.
#include <cstdint>

static MAP<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new MAP<uint64_t, uint64_t>;
#ifdef MAP_EMPTY_KEY
	map->set_empty_key(MAP_EMPTY_KEY);
#endif
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
