// SPDX-License-Identifier: MIT
// Sums and differences of bytes and times that stop at the ends of their type, for pacer and limiter.
#ifndef TARE_GC_SATURATE_H
#define TARE_GC_SATURATE_H

#include <stdint.h>

static inline uint64_t gc_plus(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t gc_minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

#endif
