// SPDX-License-Identifier: MIT
// abseil's flat_hash_map. Packages: libabsl-dev. Libraries: absl_flat_hash_map
#include <absl/container/flat_hash_map.h>

#include <cstdint>

static absl::flat_hash_map<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new absl::flat_hash_map<uint64_t, uint64_t>;
}

static inline void map_put(uint64_t key, uint64_t value)
{
	map->emplace(key, value);
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
