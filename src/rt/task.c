// SPDX-License-Identifier: MIT
//
// Tasks: their life, the switch in and out, and how they wait. rt_int.h draws the states.
//
// Invariants
//   1. task->sp is written by rt_switch when the task leaves, and read by the worker that runs it next; the queue
//      between them (or the waker's atomic) orders the two.
//   2. commit runs after the context is saved, so whoever it publishes the task to may run it at once.
//   3. A joinable task's struct is freed by its joiner; another's by the worker that saw it end.
//
// Threads: a task's fields belong to the task while it runs, and to its queue or waker otherwise.
#include "rt/switch.h"

#include <errno.h>

// Of join_state. STAYS, beside the joiner's waiter: it waits until it is woken.
enum { JOIN_DONE = 1, JOIN_STAYS = 2 };

// ---- switching ----------------------------------------------------------------------------------------------------

// How far below its end a stack begins: another line for each of 16 neighbours. Their ends alone are so many pages
// apart that what parked tasks need to go on would crowd into a few sets of every cache.
static size_t colour(const struct rt_stack *stack)
{
	uint32_t mixed = (uint32_t)((uintptr_t)stack->base >> 12) * UINT32_C(0x9e3779b1);
	return (size_t)(mixed >> 28) * TARE_CACHE_LINE;
}

void *rt_context_init(struct rt_stack *stack, void (*entry)(void *arg), void *arg)
{
	uintptr_t *top = (uintptr_t *)(void *)(stack->base + stack->bytes - colour(stack));
#if defined(__x86_64__)
	// The order of switch_x86_64.S: r15 r14 r13 r12 rbx rbp and the resume address; two words more, so that the
	// entry's call finds the stack aligned to 16 bytes.
	uintptr_t *sp = top - 9;
	memset(sp, 0, 9 * sizeof *sp);
	sp[2] = (uintptr_t)entry;
	sp[3] = (uintptr_t)arg;
	sp[6] = (uintptr_t)rt_context_entry;
#elif defined(__aarch64__)
	// The order of switch_aarch64.S: x19 first, x30 at 11.
	uintptr_t *sp = top - 20;
	memset(sp, 0, 20 * sizeof *sp);
	sp[0] = (uintptr_t)arg;
	sp[1] = (uintptr_t)entry;
	sp[11] = (uintptr_t)rt_context_entry;
#else
#error "no context switch for this architecture: see src/rt/switch_*.S"
#endif
	return sp;
}

void rt_task_main(void *arg)
{
	struct tare_task *task = arg;
#ifdef TARE_ASAN
	struct rt_worker *w = rt_self();
	__sanitizer_finish_switch_fiber(NULL, &w->thread_stack, &w->thread_stack_bytes);
#endif
	task->scan = RT_SCAN_STACK;
	task->result = task->fn(task->arg);
	TARE_ASSERT(task->scope == task->member_of); // else it left a scope open that it had opened
	atomic_store_explicit(&task->state, RT_DONE, memory_order_relaxed);
	rt_switch_out(rt_self(), task);
	tare_assert_failed(__FILE__, __LINE__, "a task that ended was run again");
}

// ---- the running task ---------------------------------------------------------------------------------------------

struct tare_task *tare_self(void)
{
	struct rt_worker *w = rt_self();
	return w != NULL ? w->current : NULL;
}

int64_t tare_now_ns(void)
{
	return rt.backend != NULL ? rt.backend->now_ns() : tare_clock_ns();
}

int64_t tare_now_coarse_ns(void)
{
	return rt_self()->now_ns;
}

void tare_yield(void)
{
	struct rt_worker *w = rt_self();
	TARE_ASSERT(w != NULL && w->current != NULL); // not called from a task
	rt_park(w, w->current, RT_YIELD, NULL);
}

void tare_breathe(int64_t now_ns)
{
	struct rt_worker *w = rt_self();
	if (now_ns - w->now_ns < RT_SLICE_NS)
		return;
	w->look_in = 0;
	w->unpolled = RT_GLOBAL_TICKS; // the next look polls
	tare_yield();
}

// ---- life ---------------------------------------------------------------------------------------------------------

// Field by field: what has to be set is half of it, and a string instruction that zeroes it all is slow to start.
static void task_init(struct tare_task *task, const struct tare_task_options *o, tare_task_fn *fn, void *arg)
{
	task->stack = (struct rt_stack){NULL, 0};
	task->fn = fn;
	task->arg = arg;
	task->name = o->name != NULL ? o->name : "task";
	task->stack_bytes = o->stack_bytes;
	task->result = 0;
	task->saved_errno = 0;
	task->scan = RT_SCAN_ARGUMENT;
	task->reason = RT_YIELD;
	task->runnable_ns = 0;
	task->scope = task->member_of = NULL;
	atomic_store_explicit(&task->wait, 0, memory_order_relaxed);
	atomic_store_explicit(&task->join_state, 0, memory_order_relaxed);
#ifdef TARE_ASAN
	task->fake_stack = NULL;
#endif
#ifdef TARE_TSAN
	task->fiber = NULL;
#endif
}

// A number no other task has: each worker counts in steps of the number of sources.
static uint64_t task_id_next(struct rt_worker *w)
{
	unsigned sources = (unsigned)rt.worker_count + 1;
	if (TARE_UNLIKELY(w == NULL))
		return (atomic_fetch_add_explicit(&rt.foreign_ids, 1, memory_order_relaxed) + 1) * sources;
	return w->task_ids++ * sources + (unsigned)w->idx + 1;
}

int rt_spawn(struct tare_task **ret, const struct tare_task_options *options, tare_task_fn *fn, void *arg, void *caller)
{
	static const struct tare_task_options defaults;
	const struct tare_task_options *o = options != NULL ? options : &defaults;
	struct rt_worker *w = rt_self();
	TARE_ASSERT(w != NULL || atomic_load_explicit(&rt.running, memory_order_acquire)); // there is no runtime
	if (o->pinned && (o->worker >= rt.worker_count || o->worker < -1 || (o->worker == -1 && w == NULL)))
		return -EINVAL;
	struct tare_task *task = tare_pool_take(rt.tasks);
	if (task == NULL)
		return -ENOMEM;
	task_init(task, o, fn, arg);
	task->id = task_id_next(w);
	task->pinned = !o->pinned ? NULL : o->worker < 0 ? w : &rt.workers[o->worker];
	task->joinable = ret != NULL;
	task->lendable = o->lendable;
	task->started_at = caller;
	int rc = o->scope != NULL ? rt_scope_enter(o->scope, task) : 0;
	if (rc < 0) {
		tare_pool_give(rt.tasks, task);
		return rc;
	}
	// What a plain thread gives must be held elsewhere.
	if (TARE_UNLIKELY(w != NULL && (rt_watched() & RT_WATCH_SCAN) != 0))
		rt_scan_started(task);
	if (ret != NULL)
		*ret = task;
	if (TARE_UNLIKELY(w == NULL)) {
		atomic_fetch_add_explicit(&rt.foreign_started, 1, memory_order_relaxed);
		rt_ready_foreign(task);
		return 0;
	}
	tare_bump(&w->tasks_started, 1);
	// From a task: the child runs next, its arguments are warm. From a poller's callback: in the order of the
	// events.
	rt_ready_here(w, task, w->current != NULL);
	return 0;
}

TARE_NOINLINE int tare_spawn(struct tare_task **ret, const struct tare_task_options *options, tare_task_fn *fn,
			     void *arg)
{
	return rt_spawn(ret, options, fn, arg, __builtin_return_address(0));
}

TARE_NOINLINE int tare_go_with(const struct tare_task_options *options, tare_task_fn *fn, void *arg)
{
	return rt_spawn(NULL, options, fn, arg, __builtin_return_address(0));
}

TARE_NOINLINE int tare_go(tare_task_fn *fn, void *arg)
{
	return rt_spawn(NULL, NULL, fn, arg, __builtin_return_address(0));
}

static void task_free(struct rt_worker *w, struct tare_task *task)
{
#ifdef TARE_TSAN
	if (task->fiber != NULL)
		__tsan_destroy_fiber(task->fiber);
#endif
	if (w != NULL)
		tare_bump(&w->tasks_ended, 1);
	else
		atomic_fetch_add_explicit(&rt.foreign_ended, 1, memory_order_relaxed);
	atomic_store_explicit(&task->state, RT_FREE, memory_order_relaxed);
	tare_pool_give(rt.tasks, task);
}

void rt_task_end(struct rt_worker *w, struct tare_task *task)
{
	if (task->member_of != NULL)
		rt_scope_leave(task->member_of, task, task->result);
	if (task == rt.main_task) {
		rt.result = task->result;
		atomic_store(&rt.stopping, true);
		rt_wake_all();
	}
	if (!task->joinable) {
		task_free(w, task);
		return;
	}
	// acquire, acq_rel: publishes the result to the joiner, and takes over the joiner's waiter
	uintptr_t joiner = atomic_load_explicit(&task->join_state, memory_order_acquire);
	while ((joiner & JOIN_STAYS) == 0 && !TARE_CAS(&task->join_state, &joiner, (uintptr_t)JOIN_DONE))
		continue;
	TARE_ASSERT(joiner != JOIN_DONE);
	if (joiner != 0)
		rt_wake((struct tare_waiter *)(joiner & ~(uintptr_t)JOIN_STAYS), true);
}

static bool join_commit(struct tare_waiter *waiter)
{
	struct tare_task *task = waiter->where;
	uintptr_t nobody = 0;
	return TARE_CAS(&task->join_state, &nobody, (uintptr_t)waiter | (waiter->deaf ? JOIN_STAYS : 0));
}

static bool join_leave(struct tare_waiter *waiter)
{
	struct tare_task *task = waiter->where;
	uintptr_t joiner = (uintptr_t)waiter;
	return TARE_CAS(&task->join_state, &joiner, (uintptr_t)0);
}

// Inline: see switch.h. A deaf join has no deadline.
TARE_INLINE static int join(struct tare_task *task, bool deaf, int64_t deadline_ns, int *ret_result)
{
	TARE_ASSERT(task->joinable);
	// acquire: pairs with the exchange in rt_task_end
	if (atomic_load_explicit(&task->join_state, memory_order_acquire) != JOIN_DONE) {
		struct tare_waiter waiter; // the rest is rt_wait's to set
		waiter.commit = join_commit;
		waiter.leave = join_leave;
		waiter.where = task;
		waiter.deaf = deaf;
		int rc = rt_wait(&waiter, RT_JOIN, deadline_ns);
		if (rc < 0)
			return rc;
	}
	*ret_result = task->result;
	task_free(rt_self(), task);
	return 0;
}

int tare_join_until(struct tare_task *task, int64_t deadline_ns, int *ret_result)
{
	return join(task, false, deadline_ns, ret_result);
}

int tare_join(struct tare_task *task)
{
	int result;
	int rc = join(task, true, TARE_NEVER, &result);
	TARE_ASSERT(rc == 0);
	return result;
}

const char *tare_task_name(const struct tare_task *task)
{
	return task->name;
}

uint64_t tare_task_id(const struct tare_task *task)
{
	return task->id;
}

int tare_worker(void)
{
	struct rt_worker *w = rt_self();
	return w != NULL ? w->idx : -1;
}

int tare_worker_count(void)
{
	return rt.worker_count;
}
