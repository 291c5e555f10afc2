// SPDX-License-Identifier: MIT
// tsl::hopscotch_map. Packages: libtsl-hopscotch-map-dev
#include <tsl/hopscotch_map.h>

#define MAP tsl::hopscotch_map
#include "std_map.h"
