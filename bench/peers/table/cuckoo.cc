// SPDX-License-Identifier: MIT
// libcuckoo, whose lookups may run beside writers. Packages: libcuckoo-dev
#include <libcuckoo/cuckoohash_map.hh>

#include <cstdint>

static libcuckoo::cuckoohash_map<uint64_t, uint64_t> *map;

static void map_new(void)
{
	map = new libcuckoo::cuckoohash_map<uint64_t, uint64_t>;
}

static inline void map_put(uint64_t key, uint64_t value)
{
	map->insert(key, value);
}

static inline bool map_get(uint64_t key, uint64_t *ret_value)
{
	return map->find(key, *ret_value);
}

#include "measure.h"
