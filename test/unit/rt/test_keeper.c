// SPDX-License-Identifier: MIT
// Goal: a memory keeper may be left running when the runtime ends, as any task may; and several share what they call.
// Method: memory is reclaimed with and without a runtime, between, during and after runs; what a reclaimer that
// outlived its run would touch is gone then.
#include "in_task.h"

#include <tare/limit.h>

static atomic_int asked;

static size_t count(void *arg, enum tare_pressure pressure)
{
	(void)arg, (void)pressure;
	atomic_fetch_add(&asked, 1);
	return 0;
}

static int leave_a_keeper(void *arg)
{
	(void)arg;
	CHECK(tare_go(tare_memory_keeper, NULL) == 0);
	for (int i = 0; i < 10; i++)
		tare_yield();
	return 0;
}

static int keep_in_a_scope(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(tare_scope_go(&scope, tare_memory_keeper, NULL) == 0);
	for (int i = 0; i < 10; i++)
		tare_yield();
	CHECK(tare_scope_close(&scope) == 0);
	return 0;
}

TEST(a_keeper_that_the_runtimes_end_dropped_leaves_nothing_behind)
{
	struct tare_reclaimer own = {.name = "own", .reclaim = count};
	for (int workers = 1; workers <= 2; workers++) {
		run_in_task(workers, leave_a_keeper);
		tare_reclaimer_add(&own);
		atomic_store(&asked, 0);
		tare_limit_reclaim();
		assert_int_equal(atomic_load(&asked), 1);
		run_in_task(workers, keep_in_a_scope);
		tare_limit_reclaim();
		assert_int_equal(atomic_load(&asked), 2);
		tare_reclaimer_remove(&own);
	}
}

#ifndef TARE_SIM
static atomic_bool reclaiming_over;

static void *reclaim_often(void *arg)
{
	while (!atomic_load(&reclaiming_over))
		tare_limit_reclaim();
	return arg;
}

TEST(memory_is_reclaimed_by_others_while_runtimes_come_and_go)
{
	pthread_t thread;
	atomic_store(&reclaiming_over, false);
	assert_int_equal(pthread_create(&thread, NULL, reclaim_often, NULL), 0);
	for (int i = 0; i < 20; i++)
		run_in_task(1 + i % 2, leave_a_keeper);
	atomic_store(&reclaiming_over, true);
	pthread_join(thread, NULL);
}
#endif
