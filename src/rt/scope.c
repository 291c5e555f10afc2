// SPDX-License-Identifier: MIT
//
// Scopes: tasks that end before the block that started them does, and cancellation that reaches all of them.
//
// Scopes form trees: a scope's parent is the one that was innermost in its owner when it was opened. Cancelling walks
// down the tree; a scope opened below a cancelled one is born cancelled; a shielded one is left out of both.
//
//   OPEN --tare_scope_cancel, deadline, a failed task--> CANCELLED (reason set)
//     |                                                      |
//     +------------ tare_scope_join: task_count is 0 --------+--> ended, the owner's storage again
//
// Invariants
//   1. scope->reason goes from 0 to its value once, under the scope's lock.
//   2. A task is in scope->tasks from its start to its end; a scope in its parent's scopes from open to join. So what a
//      walk finds under a scope's lock exists for as long as the lock is held.
//   3. The joiner takes the scope's lock once after it was woken: the waker has left it, and the storage may go.
//
// Lock order: a scope before the scopes below it; a timer heap before a scope (deadlines); a scope before a primitive.
// Threads: any. Cost of a cancel: its tasks and the scopes below, under their locks.
#include "rt/switch.h"

#include <errno.h>

// With the scope's lock held. False: it was cancelled before, and what is below it too.
static bool cancel_members(struct tare_scope *scope, int reason)
{
	if (atomic_load_explicit(&scope->reason, memory_order_relaxed) != 0)
		return false;
	atomic_store(&scope->reason, reason); // full: see the head of wait.c
	for (struct tare_list *node = scope->tasks.next; node != &scope->tasks; node = node->next)
		rt_task_cancel(TARE_CONTAINER_OF(node, struct tare_task, in_scope));
	rt_task_cancel(scope->owner);
	return true;
}

// With the scope's lock held: the scope and all below it. A walk and no recursion: tasks' stacks may be small.
static void cancel_locked(struct tare_scope *top, int reason)
{
	if (!cancel_members(top, reason))
		return;
	struct tare_scope *scope = top;
	struct tare_list *node = top->scopes.next;
	for (;;) {
		if (node == &scope->scopes) { // all below it are done: on to the one beside it
			if (scope == top)
				return;
			struct tare_scope *parent = scope->parent;
			node = scope->in_parent.next;
			tare_spin_unlock(&scope->spin);
			scope = parent;
			continue;
		}
		struct tare_scope *below = TARE_CONTAINER_OF(node, struct tare_scope, in_parent);
		node = node->next;
		if ((below->flags & TARE_SCOPE_SHIELD) != 0)
			continue;
		tare_spin_lock(&below->spin);
		if (cancel_members(below, reason)) {
			scope = below;
			node = below->scopes.next;
		} else {
			tare_spin_unlock(&below->spin);
		}
	}
}

static void cancel_for(struct tare_scope *scope, int reason)
{
	tare_spin_lock(&scope->spin);
	cancel_locked(scope, reason);
	tare_spin_unlock(&scope->spin);
}

void tare_scope_cancel(struct tare_scope *scope)
{
	cancel_for(scope, -ECANCELED);
}

static int64_t scope_timed_out(struct tare_timer *timer)
{
	cancel_for(TARE_CONTAINER_OF(timer, struct tare_scope, timer), -ETIMEDOUT);
	return 0;
}

int tare_scope_open(struct tare_scope *scope, int64_t deadline_ns, unsigned flags)
{
	struct tare_task *task = tare_self();
	TARE_ASSERT(task != NULL);
	struct tare_scope *parent = task->scope;
	unsigned depth = parent != NULL ? parent->depth + 1 : 1;
	if (depth > TARE_SCOPE_DEPTH_MAX)
		return -E2BIG;
	*scope = (struct tare_scope){
	    .flags = flags, .depth = depth, .deadline_ns = deadline_ns, .parent = parent, .owner = task};
	if (parent != NULL && (flags & TARE_SCOPE_SHIELD) == 0)
		scope->deadline_ns = TARE_MIN(deadline_ns, parent->deadline_ns);
	tare_list_init(&scope->scopes);
	tare_list_init(&scope->tasks);
	tare_list_init(&scope->in_parent);
	if (deadline_ns != TARE_NEVER) {
		int rc = tare_timer_start(&scope->timer, deadline_ns, scope_timed_out);
		if (rc < 0)
			return rc;
	}
	if (parent != NULL) {
		tare_spin_lock(&parent->spin);
		tare_list_push_back(&parent->scopes, &scope->in_parent);
		int reason = atomic_load_explicit(&parent->reason, memory_order_relaxed);
		if ((flags & TARE_SCOPE_SHIELD) == 0 && reason != 0)
			cancel_for(scope, reason);
		tare_spin_unlock(&parent->spin);
	}
	task->scope = scope;
	return 0;
}

int rt_scope_enter(struct tare_scope *scope, struct tare_task *task)
{
	tare_spin_lock(&scope->spin);
	int reason = atomic_load_explicit(&scope->reason, memory_order_relaxed);
	if (reason == 0) {
		task->scope = task->member_of = scope;
		tare_list_push_back(&scope->tasks, &task->in_scope);
		scope->task_count++;
	}
	tare_spin_unlock(&scope->spin);
	return reason;
}

void rt_scope_leave(struct tare_scope *scope, struct tare_task *task, int result)
{
	tare_spin_lock(&scope->spin);
	// The result first: those that are cancelled for it end with results of their own.
	if (result < 0 && scope->result == 0)
		scope->result = result;
	if (result < 0 && (scope->flags & TARE_SCOPE_FAIL_FAST) != 0)
		cancel_locked(scope, -ECANCELED);
	tare_list_remove(&task->in_scope);
	struct tare_waiter *joiner = --scope->task_count == 0 ? scope->joiner : NULL;
	if (joiner != NULL)
		rt_wake(joiner, true); // under the lock: invariant 3
	tare_spin_unlock(&scope->spin);
}

TARE_NOINLINE int tare_scope_go(struct tare_scope *scope, tare_task_fn *fn, void *arg)
{
	return rt_spawn(NULL, &(struct tare_task_options){.scope = scope}, fn, arg, __builtin_return_address(0));
}

static bool join_commit(struct tare_waiter *waiter)
{
	struct tare_scope *scope = waiter->where;
	tare_spin_lock(&scope->spin);
	bool wait = scope->task_count > 0;
	if (wait)
		scope->joiner = waiter;
	tare_spin_unlock(&scope->spin);
	return wait;
}

int tare_scope_join(struct tare_scope *scope)
{
	struct tare_task *task = tare_self();
	TARE_ASSERT(task != NULL && scope->owner == task && task->scope == scope); // the innermost first, by its owner
	struct tare_waiter waiter = {.commit = join_commit, .where = scope, .deaf = true};
	int rc = rt_wait(&waiter, RT_SCOPE, TARE_NEVER);
	TARE_ASSERT(rc == 0);
	(void)tare_timer_stop(&scope->timer);
	if (scope->parent != NULL) {
		tare_spin_lock(&scope->parent->spin);
		tare_list_remove(&scope->in_parent);
		tare_spin_unlock(&scope->parent->spin);
	}
	task->scope = scope->parent;
	tare_spin_lock(&scope->spin); // until the last waker has left
	int result = scope->result;
	tare_spin_unlock(&scope->spin);
	return result;
}

int tare_cancelled(void)
{
	const struct tare_task *task = tare_self();
	if (task == NULL || task->scope == NULL)
		return 0;
	int reason = atomic_load(&task->scope->reason);
	// The timer that cancels may be held up by the very task that asks.
	if (reason == 0 && task->scope->deadline_ns != TARE_NEVER && tare_now_ns() >= task->scope->deadline_ns)
		reason = -ETIMEDOUT;
	return reason;
}

int tare_scope_close(struct tare_scope *scope)
{
	tare_scope_cancel(scope);
	return tare_scope_join(scope);
}
