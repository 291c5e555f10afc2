// SPDX-License-Identifier: MIT
// Goal: a thread from outside that wakes a task finds the workers that it wakes, also when that task's end ends the
// run, and keeps nobody else from waking a worker before it has found one itself.
// Method: the thread is held up in its midst, by a backend whose wake takes until after the run has stopped, and by the
// lock that it needs; then the runtime's own state is looked at. A simulation has no such thread: what is to be seen
// here is that nobody takes away what it uses.
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

// ---- the spinner --------------------------------------------------------------------------------------------------

static int spinner_main(void *arg)
{
	struct tare_task *task;
	event = (struct tare_event){0};
	CHECK(tare_spawn(&task, NULL, await_visit, arg) == 0);
	while (atomic_load(&event.state) == 0)
		tare_yield();
	while (atomic_load(&rt.idle_count) == 0) // the other worker sleeps, and stays asleep
		sched_yield();
	tare_spin_lock(&rt.idle_spin);
	CHECK(pthread_create(&visitor, NULL, visit, NULL) == 0);
	while (atomic_load(&rt.global.count) == 0)
		sched_yield();
	// It has queued the task and is about to look who sleeps, for which it needs the lock. A spinner counted by now
	// would be one that nobody is: whoever queued a task meanwhile would leave it to him.
	for (int turn = 0; turn < TURNS && atomic_load(&rt.spinning) == 0; turn++)
		sched_yield();
	CHECK(atomic_load(&rt.spinning) == 0);
	tare_spin_unlock(&rt.idle_spin);
	while (atomic_load(&rt.global.count) > 0) // by the other worker: this one is busy
		sched_yield();
	return tare_join(task);
}

TEST(no_spinner_is_counted_before_there_is_one)
{
	run_with(&(struct tare_rt_options){.workers = 2, .watchdog_ns = -1, .seed = 1}, spinner_main, NULL);
	pthread_join(visitor, NULL);
}
#else
TEST(the_workers_wait_for_a_thread_that_wakes_the_last_task)
{
	skip();
}
#endif
