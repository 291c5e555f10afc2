// SPDX-License-Identifier: MIT
//
// The way out of a task and back in, inline. A return that the processor did not predict costs as much as the rest of a
// switch, and after a switch it predicts none: the calls that led to it were made on another stack. So as few functions
// as possible lie between a blocking call and rt_switch, and between rt_switch and the worker's loop.
#ifndef TARE_RT_SWITCH_H
#define TARE_RT_SWITCH_H

#include "rt/rt_int.h"

#ifdef TARE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef TARE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

// Runs task until it parks or ends. On the worker's own stack.
static inline void rt_switch_in(struct rt_worker *w, struct tare_task *task)
{
#ifdef TARE_TSAN
	if (task->fiber == NULL)
		task->fiber = __tsan_create_fiber(0);
	__tsan_switch_to_fiber(task->fiber, 0);
#endif
#ifdef TARE_ASAN
	__sanitizer_start_switch_fiber(&w->fake_stack, task->stack.base, task->stack.bytes);
#endif
	*w->errno_at = task->saved_errno;
	rt_switch(&w->sched_sp, task->sp);
#ifdef TARE_ASAN
	__sanitizer_finish_switch_fiber(w->fake_stack, NULL, NULL);
#endif
}

// Back to the worker's own stack. Returns when the task runs again, maybe on another worker; a task that is DONE never
// does.
static inline void rt_switch_out(struct rt_worker *w, struct tare_task *task)
{
	task->saved_errno = *w->errno_at;
#ifdef TARE_ASAN
	bool last = atomic_load_explicit(&task->state, memory_order_relaxed) == RT_DONE;
	__sanitizer_start_switch_fiber(last ? NULL : &task->fake_stack, w->thread_stack, w->thread_stack_bytes);
#endif
#ifdef TARE_TSAN
	__tsan_switch_to_fiber(w->fiber, 0);
#endif
	rt_switch(&task->sp, w->sched_sp);
#ifdef TARE_ASAN
	w = rt_self();
	__sanitizer_finish_switch_fiber(task->fake_stack, &w->thread_stack, &w->thread_stack_bytes);
#endif
}

// Parks the running task. The worker's loop then lets the waiter commit, or puts the task back into the queue when
// there is none.
static inline void rt_park(struct rt_worker *w, struct tare_task *task, enum rt_reason reason,
			   struct tare_waiter *waiter)
{
	w->waiter = waiter;
	task->reason = (uint8_t)reason;
	task->parked_ns = w->now_ns;
	atomic_store_explicit(&task->state, RT_PARKED, memory_order_relaxed);
	rt_switch_out(w, task);
}

// Waits. From a task, or from a plain thread. 0, -ETIMEDOUT, -ECANCELED; -ENOMEM when a deadline finds no memory, and
// then commit was not called. A deadline in the past still gives commit one chance to find the wait needless.
TARE_MUST_USE static inline int rt_wait(struct tare_waiter *waiter, enum rt_reason reason, int64_t deadline_ns)
{
	struct rt_worker *w = rt_self();
	struct tare_task *task = w != NULL ? w->current : NULL;
	if (TARE_UNLIKELY(task == NULL || deadline_ns != TARE_NEVER || (task->scope != NULL && !waiter->deaf)))
		return rt_wait_with(waiter, reason, deadline_ns);
	waiter->task = task;
	waiter->scope = NULL;
	rt_park(w, task, reason, waiter);
	return 0;
}

#endif
