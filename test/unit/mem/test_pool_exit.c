// SPDX-License-Identifier: MIT
// Goal: a thread that still uses a pool while it ends (a destructor of its thread-specific data) does not use the cache
// of the thread that has its number by then. Method: such a thread and its successor take and give side by side; each
// object says who has it.
#include "test.h"

#include <tare/pool.h>

#include <pthread.h>

enum { ROUNDS = 200000, HELD = 3 };

struct object {
	atomic_int owners;
};

static struct tare_pool *pool;
static pthread_key_t key;
static pthread_barrier_t ready;
static atomic_int twice;

static void use(void)
{
	struct object *held[HELD];
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < HELD; i++) {
			held[i] = tare_pool_take(pool);
			if (held[i] == NULL || atomic_fetch_add(&held[i]->owners, 1) != 0)
				atomic_fetch_add(&twice, 1);
		}
		for (int i = 0; i < HELD; i++) {
			atomic_fetch_sub(&held[i]->owners, 1);
			tare_pool_give(pool, held[i]);
		}
	}
}

static void at_end(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&ready); // the number is free
	pthread_barrier_wait(&ready); // and the other's
	use();
}

static void *leaver(void *arg)
{
	tare_pool_give(pool, tare_pool_take(pool));
	(void)pthread_setspecific(key, &key);
	return arg;
}

static void *successor(void *arg)
{
	tare_pool_give(pool, tare_pool_take(pool));
	pthread_barrier_wait(&ready);
	use();
	return arg;
}

TEST(a_thread_that_ends_leaves_its_successors_cache_alone)
{
	pthread_t first, second;
	struct tare_pool_options options = {.name = "exit", .object_bytes = sizeof(struct object), .stable = true};
	(void)tare_shard(); // its key comes first, and is destroyed first
	assert_int_equal(pthread_key_create(&key, at_end), 0);
	assert_int_equal(pthread_barrier_init(&ready, NULL, 2), 0);
	assert_int_equal(tare_pool_new(&pool, &options), 0);
	assert_int_equal(pthread_create(&first, NULL, leaver, NULL), 0);
	pthread_barrier_wait(&ready);
	assert_int_equal(pthread_create(&second, NULL, successor, NULL), 0);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	assert_int_equal(atomic_load(&twice), 0);
	tare_pool_free(pool);
	pthread_barrier_destroy(&ready);
	(void)pthread_key_delete(key);
}
