// SPDX-License-Identifier: MIT
//
// measure: what load generators and benchmarks share: which key comes next, and when.
//
// Pure: no clock, no I/O, no allocation; each struct has one owner. The same seed gives the same sequence.
#ifndef TARE_MEASURE_H
#define TARE_MEASURE_H

#include <tare/base.h>

// ---- Zipf ---------------------------------------------------------------------------------------------------------

// Ranks 1 … n with probability proportional to rank^-s, by rejection-inversion (Hörmann and Derflinger, 1996): O(1)
// memory, and about 1.1 tries a sample whatever n and s.
struct tare_zipf {
	uint64_t n;
	double s;
	double integral_first, integral_last, squeeze;
};

#define TARE_ZIPF_N_MAX (UINT64_C(1) << 40)

// n from 1 to TARE_ZIPF_N_MAX, s > 0 and finite. -EINVAL.
TARE_MUST_USE int tare_zipf_init(struct tare_zipf *zipf, uint64_t n, double s);
uint64_t tare_zipf_next(const struct tare_zipf *zipf, struct tare_rng *rng);

// ---- arrivals -----------------------------------------------------------------------------------------------------

// The times at which requests are meant to be sent, whatever the server does: an open model's clock.
struct tare_arrivals {
	int64_t begin_ns;
	double interval_ns;
	bool poisson;
	struct tare_rng rng;
	uint64_t count;   // handed out so far
	double offset_ns; // Poisson: of the last one from begin_ns
};

// rate: arrivals a second, > 0. Constant spacing, or exponential spacing with that mean.
void tare_arrivals_init(struct tare_arrivals *arrivals, int64_t begin_ns, double rate, bool poisson, uint64_t seed);
// The next intended time; the first is one interval after begin. Errors don't add up: the k-th constant one is begin +
// k * interval to the nanosecond.
int64_t tare_arrivals_next(struct tare_arrivals *arrivals);

#endif
