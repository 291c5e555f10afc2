// SPDX-License-Identifier: MIT
// What stat's files share: a histogram's buckets by index, and the rank that a quantile stands for.
#ifndef STAT_INT_H
#define STAT_INT_H

#include <tare/stat.h>

size_t stat_hist_len(const struct tare_hist *hist);
uint64_t stat_hist_count_at(const struct tare_hist *hist, size_t idx);
// The highest value that is counted at idx.
uint64_t stat_hist_highest_at(const struct tare_hist *hist, size_t idx);
int stat_hist_sub_buckets(const struct tare_hist *hist);

// The 1-based rank of the count that quantile (0 … 1) of total counts are at or below.
uint64_t stat_quantile_rank(uint64_t total, double quantile);

#endif
