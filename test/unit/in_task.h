// SPDX-License-Identifier: MIT
// Tests that run inside the runtime. cmocka's asserts jump to the thread that called the test, which a task must not
// do: a task uses CHECK, which notes the failure, and run_in_task reports it once the runtime has ended.
#ifndef TARE_TEST_IN_TASK_H
#define TARE_TEST_IN_TASK_H

#include "test.h"

#include <tare/rt.h>

#include <errno.h>

#ifdef TARE_SIM
#include "rt/rt_int.h"
#endif

#include <pthread.h>
#include <stdlib.h>

static atomic_int check_failures;

static inline const char *check_where(void)
{
#ifdef TARE_SIM
	return rt_sim_where();
#else
	return "";
#endif
}

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			atomic_fetch_add(&check_failures, 1);                                                          \
			fprintf(stderr, "%s:%d: CHECK failed: %s%s\n", __FILE__, __LINE__, #condition, check_where()); \
		}                                                                                                      \
	} while (0)

// Sanitizers make tasks a hundred times dearer: counts shrink so that a test stays within seconds.
#ifdef TARE_SIM
#define SIMULATED true
#else
#define SIMULATED false
#endif

#if defined(TARE_SIM)
#define SCALED(n) ((n) / 1000 + 1)
#elif defined(TARE_TSAN)
#define SCALED(n) ((n) / 50 + 1)
#elif defined(TARE_ASAN)
#define SCALED(n) ((n) / 5 + 1)
#else
#define SCALED(n) (n)
#endif

// Plain threads: in a simulation they are its own.
#ifdef TARE_SIM
struct test_thread {
	unsigned number;
};

static inline void thread_start(struct test_thread *thread, void *(*fn)(void *arg), void *arg)
{
	thread->number = rt_sim_thread_start(fn, arg);
}

static inline void thread_join(struct test_thread *thread)
{
	rt_sim_thread_join(thread->number);
}
#else
struct test_thread {
	pthread_t thread;
};

static inline void thread_start(struct test_thread *thread, void *(*fn)(void *arg), void *arg)
{
	CHECK(pthread_create(&thread->thread, NULL, fn, arg) == 0);
}

static inline void thread_join(struct test_thread *thread)
{
	pthread_join(thread->thread, NULL);
}
#endif

static inline void run_seed(const struct tare_rt_options *options, tare_task_fn *fn, void *arg)
{
	struct tare_error err = {""};
	int result = -1;
	atomic_store(&check_failures, 0);
	int rc = tare_run(options, fn, arg, &result, &err);
	if (rc != 0)
		fprintf(stderr, "tare_run: %s\n", err.text);
	assert_int_equal(rc, 0);
	assert_int_equal(result, 0);
	assert_int_equal(atomic_load(&check_failures), 0);
}

// In a simulation a run is many runs, a seed each: TARE_SIM_SEED and how many from there, TARE_SIM_SEEDS.
static inline void run_with(const struct tare_rt_options *options, tare_task_fn *fn, void *arg)
{
#ifdef TARE_SIM
	const char *first = getenv("TARE_SIM_SEED"), *count = getenv("TARE_SIM_SEEDS");
	uint64_t seed = first != NULL ? strtoull(first, NULL, 10) : 1;
	for (uint64_t left = count != NULL ? strtoull(count, NULL, 10) : 1; left > 0; left--, seed++) {
		rt_sim_seed(seed);
		run_seed(options, fn, arg);
	}
#else
	run_seed(options, fn, arg);
#endif
}

static inline void run_in_task(int workers, tare_task_fn *fn)
{
	run_with(&(struct tare_rt_options){.workers = workers, .seed = 1}, fn, NULL);
}

#endif
