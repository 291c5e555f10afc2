// SPDX-License-Identifier: MIT
// sparsehash's dense_hash_map. Packages: libsparsehash-dev
#include <sparsehash/dense_hash_map>

#define MAP google::dense_hash_map
#define MAP_EMPTY_KEY UINT64_MAX
#include "std_map.h"
