// SPDX-License-Identifier: MIT
// Tests that run inside the runtime. cmocka's asserts jump to the thread that called the test, which a task must not
// do: a task uses CHECK, which notes the failure, and run_in_task reports it once the runtime has ended.
#ifndef TARE_TEST_IN_TASK_H
#define TARE_TEST_IN_TASK_H

#include "test.h"

#include <tare/rt.h>

#include <errno.h>

static atomic_int check_failures;

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			atomic_fetch_add(&check_failures, 1);                                                          \
			fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition);                  \
		}                                                                                                      \
	} while (0)

// Sanitizers make tasks a hundred times dearer: counts shrink so that a test stays within seconds.
#if defined(TARE_TSAN)
#define SCALED(n) ((n) / 50 + 1)
#elif defined(TARE_ASAN)
#define SCALED(n) ((n) / 5 + 1)
#else
#define SCALED(n) (n)
#endif

static inline void run_with(const struct tare_rt_options *options, tare_task_fn *fn, void *arg)
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

static inline void run_in_task(int workers, tare_task_fn *fn)
{
	run_with(&(struct tare_rt_options){.workers = workers, .seed = 1}, fn, NULL);
}

#endif
