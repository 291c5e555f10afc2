// SPDX-License-Identifier: MIT
//
// Waiting: how a task, or a plain thread, parks on something, and how it is woken, timed out or cancelled.
//
// A struct tare_waiter lives on the waiter's stack until the wait is over. Its life:
//
//   rt_wait --commit--> published --taken by a waker--> rt_wake ----+--> rt_wait returns 0
//                           |                                       |
//                           +------leave() by deadline, cancel -----+--> rt_wait returns -ETIMEDOUT, -ECANCELED
//
// Invariants
//   1. A published waiter is taken exactly once: by a waker, or by whoever's leave() returned true. The primitive's
//      lock or word decides. Whoever took it, and nobody else, wakes it.
//   2. commit runs on the worker's own stack, after the task's context is saved: whoever it publishes the task to may
//      run it at once.
//   3. A task in a scope has its waiter in task->wait while it can be cancelled. BUSY there pins it: the one who set
//      BUSY may look at the waiter, and the task does not leave rt_wait before BUSY is gone.
//
// The cancelled: tare_scope_cancel sets the scope's reason and then reads task->wait; rt_commit_cancellable sets
// task->wait and then reads the reason; both with full fences, so at least one sees the other.
//
// Threads: any. Lock order: see rt_int.h. Rejected: a lock a task around each wait (two more locked instructions for
// tasks that nobody can cancel).
#include "rt/switch.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUSY = 1 }; // of task->wait; a waiter's address is never 1

// A timer may fire before its waiter is published, when another worker runs the timers of one that is stuck: then it
// comes again.
enum { EARLY_RETRY_NS = 1000000 };

// ---- plain threads ------------------------------------------------------------------------------------------------

#ifndef TARE_SIM // sim.c has its own
void rt_futex_wait(_Atomic(uint32_t) *word, uint32_t wanted, int64_t deadline_ns)
{
	struct timespec when = {.tv_sec = deadline_ns / TARE_NS_PER_S, .tv_nsec = deadline_ns % TARE_NS_PER_S};
	(void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, wanted, deadline_ns != TARE_NEVER ? &when : NULL,
		      NULL, FUTEX_BITSET_MATCH_ANY);
}
#endif

void rt_futex_wake(_Atomic(uint32_t) *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static int thread_wait(struct tare_waiter *waiter, int64_t deadline_ns)
{
	waiter->task = NULL;
	atomic_store_explicit(&waiter->woken, 0, memory_order_relaxed);
	if (!waiter->commit(waiter))
		return 0;
	// acquire: pairs with the release in rt_wake
	while (atomic_load_explicit(&waiter->woken, memory_order_acquire) == 0) {
		if (deadline_ns != TARE_NEVER && tare_now_ns() >= deadline_ns) {
			if (waiter->leave(waiter))
				return -ETIMEDOUT;
			deadline_ns = TARE_NEVER; // a waker has it: its wake-up is on the way
		}
		rt_futex_wait(&waiter->woken, 0, deadline_ns);
	}
	return 0;
}

void rt_wake_thread(struct tare_waiter *waiter)
{
	// The thread may return the moment it sees the word, so the address may be stale in the call: at worst another
	// wait there wakes for nothing and looks again.
	_Atomic(uint32_t) *word = &waiter->woken;
	atomic_store_explicit(word, 1, memory_order_release);
	rt_futex_wake(word);
}

// ---- cancelling ---------------------------------------------------------------------------------------------------

static int reason_of(const struct tare_waiter *waiter)
{
	return atomic_load(&waiter->scope->reason);
}

bool rt_commit_cancellable(struct tare_waiter *waiter)
{
	struct tare_task *task = waiter->task;
	atomic_store(&task->wait, BUSY); // before the look at the reason: see the head
	bool parked = waiter->commit(waiter);
	if (parked && TARE_UNLIKELY(reason_of(waiter) != 0) && !RT_FAULT(DROP_CANCEL) && waiter->leave(waiter)) {
		waiter->rc = reason_of(waiter);
		parked = false;
	}
	// Woken already, the task waits for this before it goes on; the release hands it rc.
	atomic_store_explicit(&task->wait, parked ? (uintptr_t)waiter : 0, memory_order_release);
	return parked;
}

static void wait_over(struct tare_task *task, struct tare_waiter *waiter)
{
	for (;;) {
		uintptr_t seen = (uintptr_t)waiter;
		if (atomic_compare_exchange_strong_explicit(&task->wait, &seen, 0, memory_order_acq_rel,
							    memory_order_acquire) ||
		    seen == 0)
			return;
		tare_cpu_relax();
	}
}

void rt_task_cancel(struct tare_task *task)
{
	uintptr_t seen = atomic_load(&task->wait);
	for (;;) {
		if (seen == 0)
			return; // it will see the reason when it next waits
		if (seen != BUSY && atomic_compare_exchange_strong(&task->wait, &seen, BUSY))
			break;
		tare_cpu_relax();
		seen = atomic_load(&task->wait);
	}
	struct tare_waiter *waiter = (struct tare_waiter *)seen;
	int reason = reason_of(waiter);
	if (reason == 0 || !waiter->leave(waiter)) {
		atomic_store_explicit(&task->wait, seen, memory_order_release);
		return;
	}
	waiter->rc = reason;
	atomic_store_explicit(&task->wait, 0, memory_order_release);
	rt_ready(task, false);
}

// Under the timer heap's lock: the waiter stays where it is until the lock is free (tare_timer_stop below takes it).
static int64_t wait_timed_out(struct tare_timer *timer)
{
	struct tare_waiter *waiter = TARE_CONTAINER_OF(timer, struct tare_waiter, timer);
	if (!waiter->leave(waiter))
		return rt.backend->now_ns() + EARLY_RETRY_NS;
	waiter->rc = -ETIMEDOUT;
	rt_ready(waiter->task, false);
	return 0;
}

int rt_wait_with(struct tare_waiter *waiter, enum rt_reason reason, int64_t deadline_ns)
{
	struct rt_worker *w = rt_self();
	struct tare_task *task = w != NULL ? w->current : NULL;
	if (TARE_UNLIKELY(task == NULL)) {
		TARE_ASSERT(w == NULL); // on a worker's own stack nothing may block
		return thread_wait(waiter, deadline_ns);
	}
	waiter->task = task;
	waiter->rc = 0;
	waiter->scope = waiter->deaf ? NULL : task->scope;
	bool timed = deadline_ns != TARE_NEVER;
	if (timed) {
		waiter->timer = (struct tare_timer){0};
		int rc = tare_timer_start(&waiter->timer, deadline_ns, wait_timed_out);
		if (rc < 0)
			return rc;
	}
	rt_park(w, task, reason, waiter);
	if (timed)
		(void)tare_timer_stop(&waiter->timer);
	if (waiter->scope != NULL)
		wait_over(task, waiter);
	return waiter->rc;
}

// ---- queues of waiters --------------------------------------------------------------------------------------------

void rt_waiters_push(struct tare_waiters *queue, struct tare_waiter *waiter)
{
	waiter->next = NULL;
	if (queue->first == NULL)
		queue->first = waiter;
	else
		queue->last->next = waiter;
	queue->last = waiter;
}

struct tare_waiter *rt_waiters_pop(struct tare_waiters *queue)
{
	struct tare_waiter *waiter = queue->first;
	if (waiter != NULL)
		queue->first = waiter->next;
	return waiter;
}

bool rt_waiters_remove(struct tare_waiters *queue, struct tare_waiter *wanted)
{
	struct tare_waiter *before = NULL;
	for (struct tare_waiter *waiter = queue->first; waiter != NULL; before = waiter, waiter = waiter->next) {
		if (waiter != wanted)
			continue;
		if (before == NULL)
			queue->first = waiter->next;
		else
			before->next = waiter->next;
		if (queue->last == waiter)
			queue->last = before;
		return true;
	}
	return false;
}

void rt_waiters_wake_all(struct tare_waiter *first)
{
	for (struct tare_waiter *next; first != NULL; first = next) {
		next = first->next; // before the wake: afterwards it may be gone
		rt_wake(first, false);
	}
}

// ---- sleeping -----------------------------------------------------------------------------------------------------

// No primitive decides who takes a sleeper: a word of its own does.
enum { SLEEP_AWAKE, SLEEP_ASLEEP, SLEEP_TAKEN };

static bool sleep_commit(struct tare_waiter *waiter)
{
	atomic_store(&waiter->woken, SLEEP_ASLEEP);
	return true;
}

static bool sleep_leave(struct tare_waiter *waiter)
{
	uint32_t state = SLEEP_ASLEEP;
	return atomic_compare_exchange_strong(&waiter->woken, &state, SLEEP_TAKEN);
}

int tare_sleep_until(int64_t deadline_ns)
{
	TARE_ASSERT(tare_self() != NULL);
	struct tare_waiter waiter = {.commit = sleep_commit, .leave = sleep_leave};
	int rc = rt_wait(&waiter, RT_SLEEP, deadline_ns);
	// Without memory for the timer a yield a turn keeps the promise, at a price.
	while (rc == -ENOMEM && tare_now_ns() < deadline_ns && tare_cancelled() == 0)
		tare_yield();
	if (rc == -ENOMEM)
		return tare_cancelled();
	return rc == -ETIMEDOUT && tare_now_ns() >= deadline_ns ? 0 : rc;
}
