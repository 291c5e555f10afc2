// SPDX-License-Identifier: MIT
//
// Mutex, wait group, event: what tasks wait on that is not a descriptor.
//
// Each mutex and wait group holds a queue of waiters, first come first served, under a spinlock of a few instructions.
// A waiter is on the queue or has been taken off by exactly one of its waker and its deadline, both under the spinlock.
// Unlock hands the mutex to the first waiter: nobody can overtake it, at the price of a switch under contention.
// Threads: tasks on any worker.
#include "rt/rt_int.h"

#include <errno.h>

// A queue of waiters as it stands in a primitive.
struct waiters {
	struct tare_waiter **first, **last;
};

static void waiters_push(struct waiters queue, struct tare_waiter *waiter)
{
	waiter->next = NULL;
	if (*queue.first == NULL)
		*queue.first = waiter;
	else
		(*queue.last)->next = waiter;
	*queue.last = waiter;
}

static struct tare_waiter *waiters_pop(struct waiters queue)
{
	struct tare_waiter *waiter = *queue.first;
	if (waiter != NULL)
		*queue.first = waiter->next;
	return waiter;
}

// O(waiters): a deadline that passes is the rare case.
static bool waiters_remove(struct waiters queue, struct tare_waiter *wanted)
{
	struct tare_waiter *before = NULL;
	for (struct tare_waiter *waiter = *queue.first; waiter != NULL; before = waiter, waiter = waiter->next) {
		if (waiter != wanted)
			continue;
		if (before == NULL)
			*queue.first = waiter->next;
		else
			before->next = waiter->next;
		if (*queue.last == waiter)
			*queue.last = before;
		return true;
	}
	return false;
}

// ---- mutex --------------------------------------------------------------------------------------------------------

static struct waiters mutex_waiters(struct tare_mutex *mutex)
{
	return (struct waiters){&mutex->first, &mutex->last};
}

bool tare_mutex_try_lock(struct tare_mutex *mutex)
{
	tare_spin_lock(&mutex->spin);
	bool got = !mutex->locked;
	mutex->locked = true;
	tare_spin_unlock(&mutex->spin);
	return got;
}

static bool mutex_commit(void *arg)
{
	struct tare_waiter *waiter = arg;
	struct tare_mutex *mutex = waiter->where;
	tare_spin_lock(&mutex->spin);
	bool wait = mutex->locked;
	mutex->locked = true;
	if (wait)
		waiters_push(mutex_waiters(mutex), waiter);
	tare_spin_unlock(&mutex->spin);
	return wait;
}

static bool mutex_leave(struct tare_waiter *waiter)
{
	struct tare_mutex *mutex = waiter->where;
	tare_spin_lock(&mutex->spin);
	bool was_queued = waiters_remove(mutex_waiters(mutex), waiter);
	tare_spin_unlock(&mutex->spin);
	return was_queued;
}

int tare_mutex_lock_until(struct tare_mutex *mutex, int64_t deadline_ns)
{
	if (tare_mutex_try_lock(mutex))
		return 0;
	struct tare_waiter waiter = {.where = mutex};
	return rt_wait_until(&waiter, mutex_commit, mutex_leave, deadline_ns);
}

void tare_mutex_lock(struct tare_mutex *mutex)
{
	int rc = tare_mutex_lock_until(mutex, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

void tare_mutex_unlock(struct tare_mutex *mutex)
{
	tare_spin_lock(&mutex->spin);
	TARE_ASSERT(mutex->locked);
	struct tare_waiter *waiter = waiters_pop(mutex_waiters(mutex));
	if (waiter == NULL)
		mutex->locked = false;
	struct tare_task *task = waiter != NULL ? waiter->task : NULL;
	tare_spin_unlock(&mutex->spin);
	if (task != NULL)
		rt_ready(task, true);
}

// ---- wait group ---------------------------------------------------------------------------------------------------

static struct waiters wg_waiters(struct tare_wg *wg)
{
	return (struct waiters){&wg->first, &wg->last};
}

// Waiters are woken under the lock, and a woken waiter takes the lock once before it returns: so the wait group may be
// the waiter's own, on its stack, and be gone the moment the wait is over.
void tare_wg_add(struct tare_wg *wg, int64_t n)
{
	tare_spin_lock(&wg->spin);
	wg->count += n;
	TARE_ASSERT(wg->count >= 0);
	if (wg->count == 0) {
		struct tare_waiter *waiter;
		while ((waiter = waiters_pop(wg_waiters(wg))) != NULL)
			rt_ready(waiter->task, false);
	}
	tare_spin_unlock(&wg->spin);
}

void tare_wg_done(struct tare_wg *wg)
{
	tare_wg_add(wg, -1);
}

static bool wg_commit(void *arg)
{
	struct tare_waiter *waiter = arg;
	struct tare_wg *wg = waiter->where;
	tare_spin_lock(&wg->spin);
	bool wait = wg->count > 0;
	if (wait)
		waiters_push(wg_waiters(wg), waiter);
	tare_spin_unlock(&wg->spin);
	return wait;
}

static bool wg_leave(struct tare_waiter *waiter)
{
	struct tare_wg *wg = waiter->where;
	tare_spin_lock(&wg->spin);
	bool was_queued = waiters_remove(wg_waiters(wg), waiter);
	tare_spin_unlock(&wg->spin);
	return was_queued;
}

int tare_wg_wait_until(struct tare_wg *wg, int64_t deadline_ns)
{
	struct tare_waiter waiter = {.where = wg};
	tare_spin_lock(&wg->spin);
	bool wait = wg->count > 0;
	tare_spin_unlock(&wg->spin);
	if (!wait)
		return 0;
	int rc = rt_wait_until(&waiter, wg_commit, wg_leave, deadline_ns);
	tare_spin_lock(&wg->spin); // until the waker has left
	tare_spin_unlock(&wg->spin);
	return rc;
}

// ---- event --------------------------------------------------------------------------------------------------------

enum { EVENT_CLEAR = 0, EVENT_SET = 1 };

static bool event_commit(void *arg)
{
	struct tare_waiter *waiter = arg;
	struct tare_event *event = waiter->where;
	uintptr_t state = EVENT_CLEAR;
	if (atomic_compare_exchange_strong_explicit(&event->state, &state, (uintptr_t)waiter, memory_order_acq_rel,
						    memory_order_acquire))
		return true;
	TARE_ASSERT(state == EVENT_SET); // else two tasks wait for one event
	atomic_store_explicit(&event->state, EVENT_CLEAR, memory_order_relaxed);
	return false;
}

static bool event_leave(struct tare_waiter *waiter)
{
	struct tare_event *event = waiter->where;
	uintptr_t state = (uintptr_t)waiter;
	return atomic_compare_exchange_strong_explicit(&event->state, &state, EVENT_CLEAR, memory_order_acq_rel,
						       memory_order_relaxed);
}

int tare_event_wait(struct tare_event *event, int64_t deadline_ns)
{
	uintptr_t state = EVENT_SET;
	if (atomic_compare_exchange_strong_explicit(&event->state, &state, EVENT_CLEAR, memory_order_acq_rel,
						    memory_order_relaxed))
		return 0;
	struct tare_waiter waiter = {.where = event};
	return rt_wait_until(&waiter, event_commit, event_leave, deadline_ns);
}

void tare_event_wake(struct tare_event *event)
{
	uintptr_t state = atomic_load_explicit(&event->state, memory_order_acquire);
	for (;;) {
		if (state == EVENT_SET)
			return;
		uintptr_t then = state == EVENT_CLEAR ? EVENT_SET : EVENT_CLEAR;
		if (atomic_compare_exchange_weak_explicit(&event->state, &state, then, memory_order_acq_rel,
							  memory_order_acquire))
			break;
	}
	if (state != EVENT_CLEAR)
		rt_ready(((struct tare_waiter *)state)->task, true);
}
