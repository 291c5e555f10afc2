// SPDX-License-Identifier: MIT
// C++'s std::unordered_map. Packages: g++
#include <unordered_map>

#include <cstdint>

static std::unordered_map<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new std::unordered_map<uint64_t, uint64_t>;
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
