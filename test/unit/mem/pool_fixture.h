// SPDX-License-Identifier: MIT
// What tests need to have the same object of a pool twice.
#ifndef TARE_TEST_POOL_FIXTURE_H
#define TARE_TEST_POOL_FIXTURE_H

#include <tare/pool.h>

// Last in, first out: it is warm. In builds that look for misuse it rests behind the others of its cache.
static inline void *pool_taken_again(struct tare_pool *pool, const void *object)
{
	void *others[128], *got;
	size_t n = 0;
	while ((got = tare_pool_take(pool)) != object) {
		assert_true(n < TARE_ARRAY_LEN(others));
		others[n++] = got;
	}
#if !defined(TARE_DEBUG) && !defined(TARE_HARD)
	assert_int_equal(n, 0);
#endif
	while (n > 0)
		tare_pool_give(pool, others[--n]);
	return got;
}

#endif
