// SPDX-License-Identifier: MIT
//
// Safepoints and the scanning of tasks' stacks, for a collector.
//
// A handshake is a number that workers compare with the last one they answered. They look where they look for
// everything that is rare (rt_watched): before they switch to a task, and when a poll returns. Who asks wakes all of
// them.
//
// Invariants
//   1. A task's `scanned` is the last scan's number, doubled, in which its stack was looked at; odd while somebody
//      looks. It only grows. A task runs only while it equals the present scan's, so whoever makes it odd has the stack
//      to itself.
//   2. After the handshake that follows tare_scan_begin every running task is scanned: it was resumed by a worker that
//      looked, or its worker passed within it, in tare_safepoint. So one that is not scanned stands still, context
//      saved.
//   3. A new task's argument is shown to `scan` when it is started: its starter may already have been scanned, or may
//      drop it before it is.
//
// Threads: workers. Cost while nothing is asked: none beyond the load that each switch makes anyhow.
// Rejected: stopping all workers (the slowest task is everybody's pause); signals that stop a thread anywhere (it may
// be half way through a store and its barrier).
#include "rt/rt_int.h"

#include <tare/collect.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>

// After which the task that keeps others waiting is named.
#define LATE_NS TARE_NS_PER_MS

// How many stacks are scanned between two looks at the clock.
enum { SCANS_A_LOOK = 64 };

static struct {
	atomic_bool busy; // one at a time
	void (*fn)(void *arg, int worker);
	void *arg;
	atomic_uint number; // released after what stands above
	struct tare_wg missing;
	void (*scan)(const void *low, const void *high);
	atomic_uint scans; // released after scan
} collect;

// ---- handshakes ---------------------------------------------------------------------------------------------------

static void watch(unsigned bit, bool on)
{
	if (on)
		atomic_fetch_or(&rt.watched, bit);
	else
		atomic_fetch_and(&rt.watched, ~bit); // who sees it off sees that its task was looked at
}

static bool passes(const struct rt_worker *w, unsigned number)
{
	return atomic_load_explicit(&w->handshakes, memory_order_relaxed) != number;
}

bool rt_handshake_pending(const struct rt_worker *w)
{
	return passes(w, atomic_load_explicit(&collect.number, memory_order_acquire));
}

static void pass(struct rt_worker *w, unsigned number)
{
	atomic_store_explicit(&w->handshakes, number, memory_order_relaxed);
	collect.fn(collect.arg, w->idx);
	tare_wg_done(&collect.missing);
}

// Who keeps the others waiting. What it names may have gone on by now.
static void name_late(struct tare_handshake *ret)
{
	unsigned number = atomic_load_explicit(&collect.number, memory_order_relaxed);
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *w = &rt.workers[i];
		struct tare_task *task = rt_worker_current(w);
		if (atomic_load_explicit(&w->handshakes, memory_order_relaxed) == number || task == NULL)
			continue;
		const char *name;
		rt_task_peek(task, &ret->late_task, &name);
		snprintf(ret->late_name, sizeof ret->late_name, "%s", name);
	}
}

void tare_handshake(void (*fn)(void *arg, int worker), void *arg, struct tare_handshake *ret)
{
	struct tare_handshake handshake = {.late_task = 0};
	bool busy = atomic_exchange(&collect.busy, true);
	TARE_ASSERT(!busy);
	int64_t since_ns = tare_now_ns();
	collect.fn = fn;
	collect.arg = arg;
	tare_wg_add(&collect.missing, rt.worker_count);
	atomic_fetch_add_explicit(&collect.number, 1, memory_order_release);
	watch(RT_WATCH_SAFEPOINT, true);
	rt_wake_all();
	tare_safepoint(); // its own worker's, without a turn for another task
	// Without a timer, or in a scope that is cancelled, nobody is named.
	if (tare_wg_wait_until(&collect.missing, since_ns + LATE_NS) == -ETIMEDOUT)
		name_late(&handshake);
	tare_wg_wait(&collect.missing);
	watch(RT_WATCH_SAFEPOINT, false);
	handshake.took_ns = tare_now_ns() - since_ns;
	atomic_store(&collect.busy, false);
	if (ret != NULL)
		*ret = handshake;
}

bool tare_worker_busy(void)
{
	struct rt_worker *w = rt_self();
	return atomic_load_explicit(&w->head, memory_order_relaxed) !=
		   atomic_load_explicit(&w->tail, memory_order_relaxed) ||
	       atomic_load_explicit(&w->next, memory_order_relaxed) != NULL ||
	       atomic_load_explicit(&w->pinned.count, memory_order_relaxed) > 0 ||
	       atomic_load_explicit(&rt.global.count, memory_order_relaxed) > 0;
}

// ---- stacks -------------------------------------------------------------------------------------------------------

static unsigned scanned_now(void)
{
	return atomic_load_explicit(&collect.scans, memory_order_acquire) * 2;
}

// With `scanned` odd, so that it stands still.
static void scan_stopped(struct tare_task *task)
{
	if (task->scan == RT_SCAN_NOTHING || RT_FAULT(UNSCANNED_TASK))
		return;
	if (task->scan == RT_SCAN_ARGUMENT) // its stack, if it has one by now, is being laid out
		collect.scan(&task->arg, &task->arg + 1);
	else
		collect.scan(task->sp, task->stack.base + task->stack.bytes);
}

// Whether the caller is the one who scans it. When it returns the task is scanned, or is the caller's to scan.
static bool scan_take(struct tare_task *task, unsigned now)
{
	unsigned seen = atomic_load_explicit(&task->scanned, memory_order_acquire);
	while (seen != now) {
		if (seen == now + 1) { // not for long: it is a stack
			sched_yield();
			tare_cpu_relax();
			seen = atomic_load_explicit(&task->scanned, memory_order_acquire);
		} else if (atomic_compare_exchange_strong_explicit(&task->scanned, &seen, now + 1, memory_order_acquire,
								   memory_order_acquire)) {
			return true;
		}
	}
	return false;
}

static void scan_done(struct tare_task *task, unsigned now)
{
	atomic_store_explicit(&task->scanned, now, memory_order_release);
}

// By the worker, before it runs the task (NULL: none). The number first: what passes for it has seen what was set
// before it.
void rt_safepoint(struct rt_worker *w, struct tare_task *task)
{
	unsigned number = atomic_load_explicit(&collect.number, memory_order_acquire), now = scanned_now();
	if (task != NULL && (rt_watched() & RT_WATCH_SCAN) != 0 && scan_take(task, now)) {
		scan_stopped(task);
		scan_done(task, now);
	}
	if (passes(w, number))
		pass(w, number);
}

void rt_scan_started(struct tare_task *task)
{
	collect.scan(&task->arg, &task->arg + 1);
	atomic_store_explicit(&task->scanned, scanned_now(), memory_order_relaxed); // before its state
}

void rt_collect_begin(void)
{
	collect.missing = (struct tare_wg){.count = 0};
	atomic_store(&collect.number, 0); // as the workers' are
	atomic_store(&collect.busy, false);
}

// Not inlined, so that its frame lies below the one that the registers were saved in.
TARE_NOIPA static void scan_from_here(const struct tare_task *task)
{
	if (task->scan != RT_SCAN_NOTHING)
		collect.scan(__builtin_frame_address(0), task->stack.base + task->stack.bytes);
}

// With all registers that a caller may keep something in saved on the stack first.
TARE_NOIPA static void scan_running(const struct tare_task *task)
{
	__builtin_unwind_init();
	scan_from_here(task);
	__asm__ volatile("" ::: "memory"); // not a tail call: the frame has to be there meanwhile
}

void tare_safepoint(void)
{
	if (TARE_LIKELY((rt_watched() & (RT_WATCH_SAFEPOINT | RT_WATCH_SCAN)) == 0))
		return;
	struct rt_worker *w = rt_self();
	TARE_ASSERT(w != NULL && w->current != NULL); // not called from a task
	unsigned number = atomic_load_explicit(&collect.number, memory_order_acquire), now = scanned_now();
	if ((rt_watched() & RT_WATCH_SCAN) != 0 && scan_take(w->current, now)) {
		scan_running(w->current);
		scan_done(w->current, now);
	}
	if (passes(w, number))
		pass(w, number);
}

void tare_scan_exempt(void)
{
	struct rt_worker *w = rt_self();
	TARE_ASSERT(w != NULL && w->current != NULL); // not called from a task
	w->current->scan = RT_SCAN_NOTHING;
}

void tare_scan_begin(void (*scan)(const void *low, const void *high))
{
	collect.scan = scan;
	unsigned scans = atomic_load_explicit(&collect.scans, memory_order_relaxed) + 1;
	atomic_store_explicit(&collect.scans, scans, memory_order_release);
	watch(RT_WATCH_SCAN, true);
}

struct scanner {
	unsigned now, scanned;
};

// Others have their turns in between, however many tasks there are. A simulation's clock stands still, so there it is a
// turn each.
static void breathe(struct scanner *scanner)
{
#ifdef TARE_SIM
	tare_yield();
#endif
	if (++scanner->scanned % SCANS_A_LOOK == 0)
		tare_breathe(tare_now_ns());
}

static bool scan_one(void *arg, void *object)
{
	struct tare_task *task = object;
	struct scanner *scanner = arg;
	uint8_t state = atomic_load_explicit(&task->state, memory_order_acquire);
	// What is not there yet, or any more, needs none; one that is on its way shows its argument.
	if (state == RT_FREE || state == RT_DONE || !scan_take(task, scanner->now))
		return true;
	scan_stopped(task);
	scan_done(task, scanner->now);
	breathe(scanner);
	return true;
}

void tare_scan_tasks(void)
{
	struct scanner scanner = {.now = scanned_now()};
	(void)tare_pool_each(rt.tasks, scan_one, &scanner);
}

void tare_scan_end(void)
{
	watch(RT_WATCH_SCAN, false);
}
