// SPDX-License-Identifier: MIT
//
// Tells that every task waits for ever, ends the run with -EDEADLK, and says what each task waits for.
//
// A worker that finds no work and has no timer says so (worker->naps turns odd) and then sleeps without a deadline. The
// last one to do so looks whether anything could still wake a task:
//
//   what could                       how it is ruled out
//   another worker, a timer          every worker naps: one with a timer would sleep with a deadline
//   a descriptor, waited for or idle none is registered
//   a plain thread, a helper thread  the process has no thread but the workers and the monitor
//   a queued task                    all queues are empty, looked at once those threads are gone
//   a handshake (collect.c)          none is under way: all workers are woken for it
//
// Invariants
//   1. naps is odd only from after the worker's last look for work (rt_sleep_begin) until its poller has slept, before
//      any event is delivered (rt_sleep_end, in each backend's poll).
//   2. The looks stand between two readings of all naps. Where both give the same odd numbers nobody was awake in
//      between, so what was read then holds together and stays so: there is nobody left to change it.
// It is careful rather than complete: with a descriptor open somewhere, or a thread of the program's own, a deadlock
// goes unreported. Signal handlers may not wake tasks, so they do not count.
//
// Threads: a worker, on its own stack. Cost: two atomic stores around a sleep without a deadline; once all sleep, a sum
// over the workers, and without descriptors a look into /proc. In a simulation sim.c has a detector of its own.
#include "rt/rt_int.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum { TASKS_SHOWN_MAX = 1000 };

#ifdef TARE_SIM
void rt_sleep_begin(struct rt_worker *w)
{
	(void)w;
}
#else
// The sum of all naps; false when a worker is awake. Naps only grow, so an equal sum is equal naps.
static bool all_nap(uint64_t *ret_sum)
{
	uint64_t sum = 0;
	for (int i = 0; i < rt.worker_count; i++) {
		uint64_t naps = atomic_load(&rt.workers[i].naps);
		if (naps % 2 == 0)
			return false;
		sum += naps;
	}
	*ret_sum = sum;
	return true;
}

static bool nothing_queued(void)
{
	if (atomic_load(&rt.global.count) > 0 || (rt_watched() & RT_WATCH_SAFEPOINT) != 0)
		return false;
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *w = &rt.workers[i];
		if (atomic_load(&w->head) != atomic_load(&w->tail) || atomic_load(&w->next) != NULL ||
		    atomic_load(&w->pinned.count) > 0)
			return false;
	}
	return true;
}

static bool no_descriptors(void)
{
	uint64_t opened = 0, closed = 0;
	for (int i = 0; i < rt.worker_count; i++) {
		opened += atomic_load(&rt.workers[i].fds_opened);
		closed += atomic_load(&rt.workers[i].fds_closed);
	}
	return opened == closed;
}

// The link count answers fast that there are others; that there are none is only believed when they were counted.
static bool no_other_threads(void)
{
	const unsigned own = (unsigned)rt.worker_count + rt_monitor_threads();
	struct stat status;
	if (stat("/proc/self/task", &status) < 0 || status.st_nlink != own + 2)
		return false;
	DIR *folder = opendir("/proc/self/task");
	if (folder == NULL)
		return false;
	unsigned count = 0;
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count == own;
}

static void report_deadlock(void)
{
	struct rt_report report;
	rt_report_begin(&report);
	tare_text_printf(&report.text, "tare: deadlock: every task waits, and nothing is left that could wake one\n\n");
	tare_tasks_write(&report.text, TASKS_SHOWN_MAX);
	(void)rt_report_end(&report);
}

void rt_sleep_begin(struct rt_worker *w)
{
	atomic_store(&w->naps, atomic_load_explicit(&w->naps, memory_order_relaxed) + 1);
	uint64_t before, after;
	if (!all_nap(&before) || !no_descriptors() || atomic_load(&rt.stopping))
		return;
	// The threads before the queues: one that queued a task and ended is seen by what it queued.
	if (!no_other_threads() || !nothing_queued() || !all_nap(&after) || before != after)
		return;
	// Two that nap at the same time may both have found it.
	if (atomic_exchange(&rt.deadlock, true))
		return;
	report_deadlock();
	atomic_store(&rt.stopping, true);
	rt_wake_all();
}
#endif
