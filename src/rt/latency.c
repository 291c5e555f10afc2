// SPDX-License-Identifier: MIT
//
// How long tasks are runnable before they run, and how many events a poll brings.
//
// One in STAMP_EVERY of the tasks that become runnable is stamped with the clock, and the worker that runs it reads the
// clock once more. The gaps between two stamps are random, so that no pattern of the program's falls in step with them:
// each time that a task becomes runnable has the same chance to be seen. What is paid always is a count down where a
// task becomes runnable and a look at its stamp where it runs (sched.c).
//
// What the times leave out: an event that the poller has not fetched yet has made nothing runnable. What they hold
// besides the wait: the two readings of the clock, some 20 ns.
//
// Invariants
//   1. A task's stamp is written by whoever makes it runnable and taken by the worker that runs it; its queue orders
//      the two. It is 0 while the task is not runnable.
//   2. A worker's histograms are written by that worker alone.
//
// Threads: workers; stamps also from plain threads; the fills from any.
// Rejected: a clock read a switch (some 20 ns of it); the worker's time of its last poll as the stamp (what a task
// waits is as a rule less than that is old); only the first task of each poll (it never waits for the others of its
// batch).
#include "rt/rt_int.h"

enum { STAMP_EVERY = 256 };

int rt_latency_init(struct rt_worker *w, uint64_t seed)
{
	tare_rng_init(&w->stamp_rng, seed);
	w->stamp_in = 1 + (unsigned)tare_rng_below(&w->stamp_rng, STAMP_EVERY);
	int rc = tare_hist_new(&w->waits, TARE_RT_HIST_DIGITS, TARE_RT_RUNNABLE_NS_MAX);
	if (rc == 0)
		rc = tare_hist_new(&w->batches, TARE_RT_HIST_DIGITS, TARE_RT_BATCH_MAX);
	if (rc < 0)
		rt_latency_done(w);
	return rc;
}

void rt_latency_done(struct rt_worker *w)
{
	tare_hist_free(w->waits);
	tare_hist_free(w->batches);
	w->waits = w->batches = NULL;
}

void rt_stamp(struct rt_worker *w, struct tare_task *task)
{
	w->stamp_in = STAMP_EVERY / 2 + (unsigned)tare_rng_below(&w->stamp_rng, STAMP_EVERY + 1); // the mean is exact
	task->runnable_ns = rt.backend->now_ns();
}

// Plain threads share a count; its bits are stirred so that the gaps are uneven.
void rt_stamp_foreign(struct tare_task *task)
{
	uint64_t count = atomic_fetch_add_explicit(&rt.foreign_enqueues, 1, memory_order_relaxed);
	if (count * UINT64_C(0x9e3779b97f4a7c15) < UINT64_MAX / STAMP_EVERY)
		task->runnable_ns = rt.backend->now_ns();
}

void rt_stamp_take(struct rt_worker *w, struct tare_task *task)
{
	int64_t waited_ns = rt.backend->now_ns() - task->runnable_ns;
	task->runnable_ns = 0;
	tare_hist_record(w->waits, (uint64_t)TARE_MAX(waited_ns, INT64_C(0)));
}

void tare_rt_runnable_fill(void *unused, struct tare_hist *into)
{
	(void)unused;
	for (int i = 0; i < rt.worker_count; i++)
		tare_hist_merge(into, rt.workers[i].waits);
}

void tare_rt_batches_fill(void *unused, struct tare_hist *into)
{
	(void)unused;
	for (int i = 0; i < rt.worker_count; i++)
		tare_hist_merge(into, rt.workers[i].batches);
}
