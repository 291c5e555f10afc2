// SPDX-License-Identifier: MIT
// C++'s std::unordered_map for rows that are C. It never fails: without memory the program ends.
#ifndef BENCH_NPA_UNORDERED_MAP_H
#define BENCH_NPA_UNORDERED_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void rows_unordered_put(uint64_t key, uint64_t value);
bool rows_unordered_get(uint64_t key, uint64_t *ret_value);
size_t rows_unordered_count(void);

#ifdef __cplusplus
}
#endif

#endif
