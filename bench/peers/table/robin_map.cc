// SPDX-License-Identifier: MIT
// tsl::robin_map. Packages: robin-map-dev
#include <tsl/robin_map.h>

#define MAP tsl::robin_map
#include "std_map.h"
