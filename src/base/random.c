// SPDX-License-Identifier: MIT
// xoshiro256** (Blackman and Vigna, public domain description), seeded by splitmix64. The same seed gives the same
// numbers on every machine: snapshots and simulations rest on that.
#include <tare/base.h>

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void tare_rng_init(struct tare_rng *rng, uint64_t seed)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(rng->s); i++)
		rng->s[i] = splitmix64(&seed);
}

uint64_t tare_rng_next(struct tare_rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t tare_rng_below(struct tare_rng *rng, uint64_t bound)
{
	TARE_ASSERT(bound > 0);
	// Lemire's multiply-shift; the rejected tail makes it exactly uniform.
	uint64_t floor = (0 - bound) % bound;
	for (;;) {
		unsigned __int128 product = (unsigned __int128)tare_rng_next(rng) * bound;
		if ((uint64_t)product >= floor)
			return (uint64_t)(product >> 64);
	}
}

double tare_rng_unit(struct tare_rng *rng)
{
	return (double)((tare_rng_next(rng) >> 11) + 1) * 0x1.0p-53;
}
