// SPDX-License-Identifier: MIT
//
// HDR histogram: counts in buckets whose width grows with the value, so that each count is known to a fixed number of
// significant digits over the whole range.
//
// Layout, with S = sub-buckets (2,048 for 3 digits) and H = S / 2:
//
//   index   0 … S-1          one a value 0 … S-1
//   index   S … S+H-1        values S … 2S-1, two a bucket
//   index   S+H … S+2H-1     values 2S … 4S-1, four a bucket
//   …
//
// A value v >= S with its highest bit at position p is shifted right by e = p - (bits of S - 1), which leaves it in H …
// S-1; its index is e * H + (v >> e). For v < S, e is 0 and the same formula holds.
//
// Invariants
//   1. A reader that sees a count sees min, max and sum at least as new: record stores those first, the count with
//      release, and readers load counts with acquire.
//   2. total is never above the sum of the counts that a later reader sees: it is stored after them, with release.
//      So a quantile's walk always ends inside the array.
//
// Threads: one writer at a time, any readers. The writer's additions are plain loads and stores (atomic, not
// read-modify- write): that is what one writer buys. Memory: one block from the heap at set-up, none later.
//
// Rejected: a sum of bucket mid-points for the mean (off by up to half a bucket when all values are alike); a 64-bit
// integer sum (5 million values of an hour in nanoseconds overflow it). A double's sum is exact up to 2^53 and off by
// parts in 2^53 beyond.
#include <tare/stat.h>
#include <tare/heap.h>
#include "stat/stat_int.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("metrics");

struct tare_hist {
	uint64_t value_max;
	size_t len;   // of counts
	size_t bytes; // of the whole block
	unsigned sub_bits;
	_Atomic(uint64_t) total;
	_Atomic(uint64_t) clamped;
	_Atomic(uint64_t) min; // UINT64_MAX when empty
	_Atomic(uint64_t) max;
	_Atomic(double) sum;
	_Atomic(uint64_t) counts[];
};

static size_t index_of(const struct tare_hist *hist, uint64_t value)
{
	uint64_t low_mask = (UINT64_C(1) << hist->sub_bits) - 1;
	unsigned exponent = 64 - hist->sub_bits - (unsigned)__builtin_clzll(value | low_mask);
	return ((size_t)exponent << (hist->sub_bits - 1)) + (size_t)(value >> exponent);
}

static unsigned exponent_at(const struct tare_hist *hist, size_t idx)
{
	size_t row = idx >> (hist->sub_bits - 1);
	return row > 1 ? (unsigned)row - 1 : 0;
}

static uint64_t lowest_at(const struct tare_hist *hist, size_t idx)
{
	unsigned exponent = exponent_at(hist, idx);
	return ((uint64_t)idx - ((uint64_t)exponent << (hist->sub_bits - 1))) << exponent;
}

uint64_t stat_hist_highest_at(const struct tare_hist *hist, size_t idx)
{
	return lowest_at(hist, idx) + ((UINT64_C(1) << exponent_at(hist, idx)) - 1);
}

size_t stat_hist_len(const struct tare_hist *hist)
{
	return hist->len;
}

uint64_t stat_hist_count_at(const struct tare_hist *hist, size_t idx)
{
	return atomic_load_explicit(&hist->counts[idx], memory_order_acquire); // pairs with tare_hist_record_n
}

int stat_hist_sub_buckets(const struct tare_hist *hist)
{
	return 1 << hist->sub_bits;
}

int tare_hist_new(struct tare_hist **ret, int digits, uint64_t value_max)
{
	static const struct {
		unsigned sub_bits;
		uint64_t value_max_least;
	} by_digits[] = {{0, 0}, {5, 20}, {8, 200}, {11, 2000}};
	if (digits < 1 || digits > 3 || value_max < by_digits[digits].value_max_least)
		return -EINVAL;
	struct tare_hist shape = {.value_max = value_max, .sub_bits = by_digits[digits].sub_bits};
	size_t len = index_of(&shape, value_max) + 1;
	size_t bytes = sizeof shape + len * sizeof shape.counts[0];
	bytes = (bytes + TARE_CACHE_LINE - 1) / TARE_CACHE_LINE * TARE_CACHE_LINE;
	struct tare_hist *hist = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, bytes);
	if (hist == NULL)
		return -ENOMEM;
	memset(hist, 0, bytes);
	hist->value_max = value_max;
	hist->len = len;
	hist->bytes = bytes;
	hist->sub_bits = shape.sub_bits;
	atomic_init(&hist->min, UINT64_MAX);
	*ret = hist;
	return 0;
}

void tare_hist_free(struct tare_hist *hist)
{
	tare_free(hist);
}

size_t tare_hist_bytes(const struct tare_hist *hist)
{
	return hist->bytes;
}

// ---- writing ------------------------------------------------------------------------------------------------------

static uint64_t load(const _Atomic(uint64_t) *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

// The only writer adds, so nothing can come between the load and the store.
static void add(_Atomic(uint64_t) *to, uint64_t n, memory_order order)
{
	atomic_store_explicit(to, load(to) + n, order);
}

static void add_sum(struct tare_hist *hist, double n)
{
	atomic_store_explicit(&hist->sum, atomic_load_explicit(&hist->sum, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void tare_hist_record_n(struct tare_hist *hist, uint64_t value, uint64_t n)
{
	if (TARE_UNLIKELY(n == 0))
		return;
	if (TARE_UNLIKELY(value > hist->value_max)) {
		value = hist->value_max;
		add(&hist->clamped, n, memory_order_relaxed);
	}
	if (value < load(&hist->min))
		atomic_store_explicit(&hist->min, value, memory_order_relaxed);
	if (value > load(&hist->max))
		atomic_store_explicit(&hist->max, value, memory_order_relaxed);
	add_sum(hist, (double)value * (double)n);
	add(&hist->counts[index_of(hist, value)], n, memory_order_release); // pairs with stat_hist_count_at
	add(&hist->total, n, memory_order_release);                         // pairs with tare_hist_count
}

void tare_hist_record(struct tare_hist *hist, uint64_t value)
{
	tare_hist_record_n(hist, value, 1);
}

void tare_hist_merge(struct tare_hist *hist, const struct tare_hist *other)
{
	TARE_ASSERT(hist != other && hist->sub_bits == other->sub_bits && hist->value_max == other->value_max);
	if (tare_hist_count(other) == 0)
		return;
	// Above other's max as it stands there is nothing yet; what is recorded from here on may be left out.
	size_t end = index_of(hist, load(&other->max)) + 1;
	uint64_t added = 0;
	for (size_t i = 0; i < end; i++) {
		uint64_t n = stat_hist_count_at(other, i);
		if (n == 0)
			continue;
		add(&hist->counts[i], n, memory_order_release);
		added += n;
	}
	// After the counts, by invariant 1: they cover at least what was counted.
	uint64_t min = load(&other->min), max = load(&other->max);
	if (min < load(&hist->min))
		atomic_store_explicit(&hist->min, min, memory_order_relaxed);
	if (max > load(&hist->max))
		atomic_store_explicit(&hist->max, max, memory_order_relaxed);
	add_sum(hist, atomic_load_explicit(&other->sum, memory_order_relaxed));
	add(&hist->clamped, load(&other->clamped), memory_order_relaxed);
	add(&hist->total, added, memory_order_release);
}

void tare_hist_reset(struct tare_hist *hist)
{
	// total first, so that a reader's walk still ends (invariant 2).
	atomic_store_explicit(&hist->total, 0, memory_order_relaxed);
	for (size_t i = 0; i < hist->len; i++)
		atomic_store_explicit(&hist->counts[i], 0, memory_order_relaxed);
	atomic_store_explicit(&hist->clamped, 0, memory_order_relaxed);
	atomic_store_explicit(&hist->min, UINT64_MAX, memory_order_relaxed);
	atomic_store_explicit(&hist->max, 0, memory_order_relaxed);
	atomic_store_explicit(&hist->sum, 0, memory_order_relaxed);
}

// ---- reading ------------------------------------------------------------------------------------------------------

uint64_t tare_hist_count(const struct tare_hist *hist)
{
	return atomic_load_explicit(&hist->total, memory_order_acquire); // pairs with tare_hist_record_n
}

uint64_t tare_hist_clamped(const struct tare_hist *hist)
{
	return load(&hist->clamped);
}

uint64_t tare_hist_min(const struct tare_hist *hist)
{
	uint64_t min = load(&hist->min);
	return min == UINT64_MAX ? 0 : min;
}

uint64_t tare_hist_max(const struct tare_hist *hist)
{
	return load(&hist->max);
}

double tare_hist_sum(const struct tare_hist *hist)
{
	return atomic_load_explicit(&hist->sum, memory_order_relaxed);
}

double tare_hist_mean(const struct tare_hist *hist)
{
	uint64_t total = tare_hist_count(hist);
	return total == 0 ? 0 : tare_hist_sum(hist) / (double)total;
}

double tare_hist_stddev(const struct tare_hist *hist)
{
	uint64_t total = tare_hist_count(hist);
	if (total == 0)
		return 0;
	double mean = tare_hist_mean(hist), squares = 0;
	for (size_t i = 0; i < hist->len; i++) {
		uint64_t n = stat_hist_count_at(hist, i);
		if (n == 0)
			continue;
		double middle = ((double)lowest_at(hist, i) + (double)stat_hist_highest_at(hist, i)) / 2;
		squares += (middle - mean) * (middle - mean) * (double)n;
	}
	return sqrt(squares / (double)total);
}

uint64_t stat_quantile_rank(uint64_t total, double quantile)
{
	if (!(quantile > 0)) // NaN too
		return 1;
	if (quantile >= 1)
		return total;
	// 0.999 of 1,000 is 999 and not 1,000: a few units in the last place are rounding, not a share of a count.
	double rank = ceil(quantile * (double)total * (1 - 0x1p-51));
	return rank < 1 ? 1 : (uint64_t)rank;
}

uint64_t tare_hist_quantile(const struct tare_hist *hist, double quantile)
{
	uint64_t total = tare_hist_count(hist);
	if (total == 0)
		return 0;
	uint64_t rank = stat_quantile_rank(total, quantile), seen = 0;
	for (size_t i = 0; i < hist->len; i++) {
		seen += stat_hist_count_at(hist, i);
		if (seen < rank)
			continue;
		uint64_t highest = stat_hist_highest_at(hist, i), max = tare_hist_max(hist);
		return TARE_MIN(highest, max);
	}
	return tare_hist_max(hist); // only when reset ran meanwhile
}

uint64_t tare_hist_count_at_or_below(const struct tare_hist *hist, uint64_t value)
{
	size_t end = index_of(hist, TARE_MIN(value, hist->value_max)) + 1;
	uint64_t seen = 0;
	for (size_t i = 0; i < end; i++)
		seen += stat_hist_count_at(hist, i);
	return seen;
}
