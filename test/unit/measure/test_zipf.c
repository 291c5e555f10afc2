// SPDX-License-Identifier: MIT
//
// Goal: the sampler's frequencies are Zipf's, for exponents below, at, near and above 1, and for ranges from one key to
// 2^40. Method: chi-square against the exact probabilities with fixed seeds (so a pass stays a pass); for ranges too
// large to sum, the shares of whole octaves against the integral with its Euler-Maclaurin correction.
#include "test.h"

#include <tare/measure.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

// Chi-square over keys 1 … bins-1 apart and the rest together; close to normal for many degrees of freedom.
static void check_frequencies(uint64_t n, double s, size_t bins, uint64_t seed)
{
	enum { SAMPLES = 400000 };
	struct tare_zipf zipf;
	struct tare_rng rng;
	assert_int_equal(tare_zipf_init(&zipf, n, s), 0);
	tare_rng_init(&rng, seed);
	uint64_t *seen = calloc(bins + 1, sizeof *seen);
	assert_non_null(seen);
	for (int i = 0; i < SAMPLES; i++) {
		uint64_t k = tare_zipf_next(&zipf, &rng);
		assert_true(k >= 1 && k <= n);
		seen[k < bins ? k : bins]++;
	}
	double total = 0, rest = 0, chi = 0;
	for (uint64_t k = n; k >= 1; k--) {
		total += pow((double)k, -s);
		rest = k >= bins ? total : rest;
	}
	size_t degrees = 0;
	for (size_t k = 1; k <= bins && k <= n; k++) {
		double expected = (k < bins ? pow((double)k, -s) : rest) / total * SAMPLES;
		if (expected < 5)
			continue;
		chi += pow((double)seen[k] - expected, 2) / expected;
		degrees++;
	}
	free(seen);
	assert_true(degrees >= 2);
	double freedom = (double)degrees - 1;
	assert_true(chi < freedom + 4 * sqrt(2 * freedom) + 4);
}

TEST(frequencies_are_zipfs)
{
	static const double exponents[] = {0.1, 0.5, 0.99, 0.999999, 1.0, 1.0000001, 1.1, 1.5, 2, 5};
	for (size_t i = 0; i < TARE_ARRAY_LEN(exponents); i++) {
		check_frequencies(2, exponents[i], 3, 1);
		check_frequencies(10, exponents[i], 11, 2);
		check_frequencies(100000, exponents[i], 200, 3);
	}
}

TEST(one_key_is_always_itself)
{
	struct tare_zipf zipf;
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	assert_int_equal(tare_zipf_init(&zipf, 1, 1.1), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(tare_zipf_next(&zipf, &rng), 1);
}

// The sum of k^-s over first … last.
static double sum_between(double s, double first, double last)
{
	double integral = s == 1 ? log(last / first) : (pow(last, 1 - s) - pow(first, 1 - s)) / (1 - s);
	return integral + (pow(first, -s) + pow(last, -s)) / 2 + s * (pow(first, -s - 1) - pow(last, -s - 1)) / 12;
}

TEST(octaves_of_a_huge_range_have_their_shares)
{
	enum { SAMPLES = 500000, OCTAVES = 40 };
	static const double exponents[] = {0.8, 1.0, 1.1};
	for (size_t e = 0; e < TARE_ARRAY_LEN(exponents); e++) {
		double s = exponents[e], expected[OCTAVES + 1], total = 0, chi = 0;
		uint64_t seen[OCTAVES + 1] = {0};
		struct tare_zipf zipf;
		struct tare_rng rng;
		assert_int_equal(tare_zipf_init(&zipf, TARE_ZIPF_N_MAX, s), 0);
		tare_rng_init(&rng, 11);
		for (int i = 0; i < SAMPLES; i++)
			seen[63 - __builtin_clzll(tare_zipf_next(&zipf, &rng))]++;
		for (int octave = 0; octave <= OCTAVES; octave++) {
			double first = exp2(octave), last = octave == OCTAVES ? first : 2 * first - 1;
			expected[octave] = 0;
			if (octave < 12)
				for (double k = last; k >= first; k--)
					expected[octave] += pow(k, -s);
			else
				expected[octave] = octave == OCTAVES ? pow(first, -s) : sum_between(s, first, last);
			total += expected[octave];
		}
		int degrees = -1;
		for (int octave = 0; octave <= OCTAVES; octave++) {
			double want = expected[octave] / total * SAMPLES;
			if (want < 5)
				continue;
			chi += pow((double)seen[octave] - want, 2) / want;
			degrees++;
		}
		assert_true(degrees >= 20);
		assert_true(chi < degrees + 4 * sqrt(2.0 * degrees));
	}
}

TEST(a_seed_gives_the_same_keys)
{
	struct tare_zipf zipf;
	struct tare_rng one, two;
	assert_int_equal(tare_zipf_init(&zipf, 1000000, 1.1), 0);
	tare_rng_init(&one, 5);
	tare_rng_init(&two, 5);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(tare_zipf_next(&zipf, &one), tare_zipf_next(&zipf, &two));
}

TEST(what_is_no_distribution_is_refused)
{
	struct tare_zipf zipf;
	assert_int_equal(tare_zipf_init(&zipf, 0, 1), -EINVAL);
	assert_int_equal(tare_zipf_init(&zipf, TARE_ZIPF_N_MAX + 1, 1), -EINVAL);
	assert_int_equal(tare_zipf_init(&zipf, 10, 0), -EINVAL);
	assert_int_equal(tare_zipf_init(&zipf, 10, -1), -EINVAL);
	assert_int_equal(tare_zipf_init(&zipf, 10, (double)NAN), -EINVAL);
	assert_int_equal(tare_zipf_init(&zipf, 10, (double)INFINITY), -EINVAL);
}
