// SPDX-License-Identifier: MIT
//
// Timers: a 4-ary heap a worker, ordered by time.
//
// Invariants
//   1. heap[i].timer->heap_idx == i and ->heap is this heap, for every i < count.
//   2. first_ns is heap[0]'s time, TARE_NEVER when there is none.
//   3. A timer's function runs under the heap's lock: once tare_timer_stop holds the lock, it is not running.
// Threads: started on the owner; run there, or on another worker while a task keeps the owner busy (monitor.c); stopped
// from any worker.
// Cost: O(log4 n) to start or stop, nothing to look whether one is due.
// Rejected: a wheel (its ticks wake an idle worker, and connections re-arm lazily, so starting is rare).
#include "rt/rt_int.h"

#include <errno.h>

static struct tare_tag heap_tag = TARE_TAG("timers");

enum { TIMERS_MIN = 64 };

static int reserve(struct rt_timers *timers, size_t capacity)
{
	struct rt_timer_entry *heap = tare_realloc(&heap_tag, timers->heap, capacity * sizeof *heap);
	if (heap == NULL)
		return -ENOMEM;
	timers->heap = heap;
	timers->capacity = capacity;
	return 0;
}

int rt_timers_init(struct rt_timers *timers, struct rt_worker *worker)
{
	*timers = (struct rt_timers){.worker = worker};
	atomic_store_explicit(&timers->first_ns, TARE_NEVER, memory_order_relaxed);
	return reserve(timers, TIMERS_MIN); // at once: which worker meets its first timer, and when, is chance
}

void rt_timers_done(struct rt_timers *timers)
{
	tare_free(timers->heap);
	timers->heap = NULL;
	timers->count = timers->capacity = 0;
}

static void place(struct rt_timers *timers, size_t i, struct rt_timer_entry entry)
{
	timers->heap[i] = entry;
	entry.timer->heap_idx = i;
}

static void sift_up(struct rt_timers *timers, size_t i, struct rt_timer_entry entry)
{
	while (i > 0) {
		size_t parent = (i - 1) / 4;
		if (timers->heap[parent].when_ns <= entry.when_ns)
			break;
		place(timers, i, timers->heap[parent]);
		i = parent;
	}
	place(timers, i, entry);
}

static void sift_down(struct rt_timers *timers, size_t i, struct rt_timer_entry entry)
{
	for (;;) {
		size_t first = 4 * i + 1, least = i;
		int64_t least_ns = entry.when_ns;
		for (size_t child = first; child < first + 4 && child < timers->count; child++) {
			if (timers->heap[child].when_ns < least_ns) {
				least = child;
				least_ns = timers->heap[child].when_ns;
			}
		}
		if (least == i)
			break;
		place(timers, i, timers->heap[least]);
		i = least;
	}
	place(timers, i, entry);
}

static void publish_first(struct rt_timers *timers)
{
	int64_t first_ns = timers->count > 0 ? timers->heap[0].when_ns : TARE_NEVER;
	atomic_store_explicit(&timers->first_ns, first_ns, memory_order_relaxed);
}

static int insert(struct rt_timers *timers, struct tare_timer *timer)
{
	if (timers->count == timers->capacity) {
		int rc = reserve(timers, 2 * timers->capacity);
		if (rc < 0)
			return rc;
	}
	atomic_store_explicit(&timer->heap, timers, memory_order_relaxed);
	size_t i = timers->count++;
	sift_up(timers, i, (struct rt_timer_entry){timer->when_ns, timer});
	publish_first(timers);
	return 0;
}

static void take_out(struct rt_timers *timers, struct tare_timer *timer)
{
	size_t i = timer->heap_idx;
	TARE_DEBUG_ASSERT(i < timers->count && timers->heap[i].timer == timer);
	// release: pairs with the acquire in tare_timer_stop, which may then reuse the timer without the lock
	atomic_store_explicit(&timer->heap, NULL, memory_order_release);
	struct rt_timer_entry last = timers->heap[--timers->count];
	if (i < timers->count) {
		if (i > 0 && last.when_ns < timers->heap[(i - 1) / 4].when_ns)
			sift_up(timers, i, last);
		else
			sift_down(timers, i, last);
	}
	publish_first(timers);
}

int tare_timer_start(struct tare_timer *timer, int64_t when_ns, int64_t (*fn)(struct tare_timer *timer))
{
	struct rt_worker *worker = rt_self();
	TARE_ASSERT(worker != NULL);
	TARE_ASSERT(atomic_load_explicit(&timer->heap, memory_order_relaxed) == NULL);
	timer->when_ns = when_ns;
	timer->fn = fn;
	tare_spin_lock(&worker->timers.spin);
	int rc = insert(&worker->timers, timer);
	tare_spin_unlock(&worker->timers.spin);
	return rc;
}

bool tare_timer_stop(struct tare_timer *timer)
{
	// Only whoever uses the timer starts it, and that one is here, so a heap once seen stays the right one to lock.
	struct rt_timers *timers = atomic_load_explicit(&timer->heap, memory_order_acquire);
	if (timers == NULL)
		return false;
	tare_spin_lock(&timers->spin);
	bool pending = atomic_load_explicit(&timer->heap, memory_order_relaxed) == timers;
	if (pending)
		take_out(timers, timer);
	tare_spin_unlock(&timers->spin);
	return pending;
}

unsigned rt_timers_run(struct rt_timers *timers, int64_t now_ns)
{
	if (TARE_LIKELY(atomic_load_explicit(&timers->first_ns, memory_order_relaxed) > now_ns))
		return 0;
	unsigned run = 0;
	tare_spin_lock(&timers->spin);
	while (timers->count > 0 && timers->heap[0].when_ns <= now_ns) {
		struct tare_timer *timer = timers->heap[0].timer;
		int64_t again_ns = timer->fn(timer);
		run++;
		if (again_ns == 0) {
			take_out(timers, timer);
			continue;
		}
		timer->when_ns = TARE_MAX(again_ns, now_ns + 1); // not again in this run, whatever it says
		sift_down(timers, 0, (struct rt_timer_entry){timer->when_ns, timer});
		publish_first(timers);
	}
	tare_spin_unlock(&timers->spin);
	return run;
}
