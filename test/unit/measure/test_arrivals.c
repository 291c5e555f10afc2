// SPDX-License-Identifier: MIT
// Goal: the schedule keeps its rate for ever and its gaps have the distribution they claim.
// Method: exact arithmetic for constant spacing, moments and Kolmogorov-Smirnov for exponential spacing; fixed seeds.
#include "test.h"

#include <tare/measure.h>

#include <math.h>
#include <stdlib.h>

TEST(constant_arrivals_do_not_drift)
{
	struct tare_arrivals arrivals;
	tare_arrivals_init(&arrivals, 1000, 300000, false, 1); // an interval that is no whole number of nanoseconds
	int64_t last = 1000;
	for (uint64_t k = 1; k <= 10000000; k++) {
		int64_t t = tare_arrivals_next(&arrivals);
		assert_true(t - last == 3333 || t - last == 3334);
		last = t;
	}
	assert_true(last == 1000 + INT64_C(33333333333)); // 10^7 / 300,000 s
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

TEST(poisson_gaps_are_exponential)
{
	enum { N = 200000 };
	static double gaps[N];
	struct tare_arrivals arrivals;
	tare_arrivals_init(&arrivals, 0, 5000, true, 42);
	int64_t last = 0;
	double sum = 0, squares = 0;
	for (int i = 0; i < N; i++) {
		int64_t t = tare_arrivals_next(&arrivals);
		assert_true(t >= last);
		gaps[i] = (double)(t - last) / 200000; // in mean gaps
		sum += gaps[i];
		squares += gaps[i] * gaps[i];
		last = t;
	}
	double mean = sum / N, variance = squares / N - mean * mean;
	assert_true(fabs(mean - 1) < 5 / sqrt(N));
	assert_true(fabs(variance - 1) < 5 * sqrt(8.0 / N)); // the exponential's fourth central moment is 9
	qsort(gaps, N, sizeof gaps[0], by_value);
	double distance = 0;
	for (int i = 0; i < N; i++)
		distance = fmax(distance, fabs(1 - exp(-gaps[i]) - (i + 0.5) / N));
	assert_true(distance * sqrt(N) < 1.95); // the 0.1 % point
}

TEST(a_seed_gives_the_same_schedule)
{
	struct tare_arrivals a, b, c;
	tare_arrivals_init(&a, 0, 100, true, 1);
	tare_arrivals_init(&b, 0, 100, true, 1);
	tare_arrivals_init(&c, 0, 100, true, 2);
	int differ = 0;
	for (int i = 0; i < 100; i++) {
		int64_t t = tare_arrivals_next(&a);
		assert_true(t == tare_arrivals_next(&b));
		differ += t != tare_arrivals_next(&c);
	}
	assert_true(differ > 90);
}
