// SPDX-License-Identifier: MIT
// Goal: who comes from outside and wakes the task whose end ends the run still finds the workers that it wakes.
// Method: a backend whose wake, for a plain thread, takes until after the run has stopped; what it would touch must
// still be there. In a simulation a thread that visits is never cut short, so there is nothing to see.
#include "in_task.h"

#ifndef TARE_SIM
#include "rt/rt_int.h"

#include <tare/sync.h>

#include <sched.h>

enum { TURNS = 2000 };

static const struct rt_backend *real;
static struct rt_backend slow;
static atomic_bool freed, visited;
static struct tare_event event;

static void wake_slowly(struct rt_poller *poller)
{
	real->wake(poller);
	if (rt_self() != NULL)
		return;
	while (!atomic_load(&rt.stopping))
		sched_yield();
	// The workers could go now, if they did not know of this visit.
	for (int turn = 0; turn < TURNS && !atomic_load(&freed); turn++)
		sched_yield();
	CHECK(!atomic_load(&freed));
	atomic_store(&visited, true);
}

static void free_and_tell(struct rt_poller *poller)
{
	atomic_store(&freed, true);
	real->poller_free(poller);
}

// Once the task waits and its worker sleeps, so that it has to be woken.
static void *visit(void *arg)
{
	(void)arg;
	while (atomic_load(&event.state) == 0 || atomic_load(&rt.idle_count) == 0)
		sched_yield();
	tare_event_wake(&event);
	return NULL;
}

static pthread_t visitor;

static int await_visit(void *arg)
{
	(void)arg;
	tare_event_wait(&event);
	return 0;
}

static void begin_visit(void)
{
	real = rt.backend;
	slow = *real;
	slow.wake = wake_slowly;
	slow.poller_free = free_and_tell;
	rt.backend = &slow; // one worker and no monitor: nobody else looks
	event = (struct tare_event){0};
	atomic_store(&freed, false);
	atomic_store(&visited, false);
	CHECK(pthread_create(&visitor, NULL, visit, NULL) == 0);
}

static int free_main(void *arg)
{
	begin_visit();
	return await_visit(arg);
}

static int pinned_main(void *arg)
{
	(void)arg;
	struct tare_task *task;
	begin_visit();
	CHECK(tare_spawn(&task, &(struct tare_task_options){.pinned = true, .worker = 0}, await_visit, NULL) == 0);
	return tare_join(task);
}

TEST(the_workers_wait_for_a_thread_that_wakes_the_last_task)
{
	tare_task_fn *const fns[] = {free_main, pinned_main};
	for (unsigned i = 0; i < TARE_ARRAY_LEN(fns); i++) {
		int result = -1;
		struct tare_error err = {""};
		atomic_store(&check_failures, 0);
		assert_int_equal(
		    tare_run(&(struct tare_rt_options){.workers = 1, .watchdog_ns = -1}, fns[i], NULL, &result, &err),
		    0);
		pthread_join(visitor, NULL);
		assert_int_equal(result, 0);
		assert_int_equal(atomic_load(&check_failures), 0);
		assert_true(atomic_load(&visited) && atomic_load(&freed));
	}
}
#else
TEST(the_workers_wait_for_a_thread_that_wakes_the_last_task)
{
	skip();
}
#endif
