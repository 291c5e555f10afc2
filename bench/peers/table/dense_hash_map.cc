// SPDX-License-Identifier: MIT
// sparsehash's dense_hash_map. Packages: libsparsehash-dev
#include <sparsehash/dense_hash_map>

#include <cstdint>

static google::dense_hash_map<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new google::dense_hash_map<uint64_t, uint64_t>;
	map->set_empty_key(UINT64_MAX);
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
