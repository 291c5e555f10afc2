// SPDX-License-Identifier: MIT
// C++'s std::unordered_map. Packages: g++
#include <unordered_map>

#define MAP std::unordered_map
#include "std_map.h"
