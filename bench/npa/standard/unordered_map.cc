// SPDX-License-Identifier: MIT
// See unordered_map.h.
#include "unordered_map.h"

#include <unordered_map>

static std::unordered_map<uint64_t, uint64_t> map;

void rows_unordered_put(uint64_t key, uint64_t value)
{
	map.insert({key, value});
}

bool rows_unordered_get(uint64_t key, uint64_t *ret_value)
{
	auto found = map.find(key);
	if (found == map.end())
		return false;
	*ret_value = found->second;
	return true;
}

size_t rows_unordered_count(void)
{
	return map.size();
}
