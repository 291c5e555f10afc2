// SPDX-License-Identifier: MIT
// abseil's flat_hash_map. Packages: libabsl-dev. Libraries: absl_flat_hash_map
#include <absl/container/flat_hash_map.h>

#define MAP absl::flat_hash_map
#include "std_map.h"
