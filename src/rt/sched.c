// SPDX-License-Identifier: MIT
//
// The scheduler: a worker a CPU, each with a ring of runnable tasks, a `next` slot, timers and a poller.
//
// A worker looks for work in this order: every 61st tick the global queue and its poller, so that neither starves, and
// every second one the global queue alone while that has tasks; then
// tasks pinned to it, its next slot, its ring, the global queue, and what it can steal. With nothing found it declares
// itself idle, looks once more, and sleeps in its poller until an event, a timer or a wake.
//
// Waking. A worker that makes a task runnable wakes one idle worker if none is already looking for work (spinning). A
// spinner that finds work and was the last one wakes the next, so that a burst spreads without a herd. A spinner leaves
// a task in a next slot to a worker that is about to come to it, and stays awake while that goes on (find_stolen).
//
// Invariants
//   1. A runnable task is in exactly one queue, or in the hands of one worker.
//   2. rt.spinning counts the workers with spinning set. Only a spinning or running worker can leave work behind
//      unseen, and both look again (spin_end, idle_wait) after a full fence: a task queued before that fence is seen
//      by the look, and one queued after it sees the idle worker and wakes it. (rt_ready has the other half of the
//      fence.)
//   3. ring: tail is written by the owner alone; head moves by compare-and-swap; tail - head <= RT_RING.
//   4. Between handing a task to a queue and getting it from one nobody touches it, but for what is atomic because
//      others may: join_state, and wait (rt_commit_cancellable, rt_task_cancel). dump.c reads it and checks what it
//      read.
//
// Fairness: the next slot is taken at most NEXT_STREAK_MAX times in a row while the ring holds others.
// Rejected: one global queue (contention), one global poller (collapses with many cores), waking a worker for every
// task (the futex costs more than a short task); switching from one task straight to the next, without the loop's stack
// (fewer instructions, but where tasks wait in different functions their returns are not predicted: a yield took 27 ns
// in place of 12).
#include "rt/switch.h"

#include <errno.h>

enum { NEXT_STREAK_MAX = 16, STEAL_ROUNDS = 4, STEAL_ROUNDS_MAX = 64, NEXT_GRACE = 4, TRIM_COUNT = 4 };

static _Thread_local struct rt_worker *self;

// Orders a store before it with a load after it (store-load), on both sides of "I queued, is anyone idle?" and "I am
// idle, is anything queued?". ThreadSanitizer does not model fences; none of these carries a happens-before that it
// would need.
#if defined(TARE_TSAN) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif
static void fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

// The same behind a locked instruction, which on x86-64 has done it already.
static void fence_after_exchange(void)
{
#ifndef __x86_64__
	fence();
#endif
}

TARE_NOIPA struct rt_worker *rt_self(void)
{
	return self;
}

TARE_NOIPA void rt_self_set(struct rt_worker *worker)
{
	self = worker;
}

// ---- numbers ------------------------------------------------------------------------------------------------------

TARE_NOIPA static struct tare_rng *thread_rng(void)
{
	static _Thread_local struct tare_rng rng;
	static _Thread_local bool ready;
	if (!ready)
		tare_rng_init(&rng, (uint64_t)(uintptr_t)&rng ^ (uint64_t)tare_clock_ns());
	ready = true;
	return &rng;
}

unsigned rt_random_below(unsigned n)
{
	struct rt_worker *w = rt_self();
	return (unsigned)tare_rng_below(w != NULL ? &w->rng : thread_rng(), n);
}

// ---- queues -------------------------------------------------------------------------------------------------------

static void queue_push(struct rt_queue *queue, struct tare_task *task)
{
	task->next = NULL;
	tare_spin_lock(&queue->spin);
	if (queue->first == NULL)
		queue->first = task;
	else
		queue->last->next = task;
	queue->last = task;
	atomic_store_explicit(&queue->count, atomic_load_explicit(&queue->count, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	tare_spin_unlock(&queue->spin);
}

TARE_NOIPA static struct tare_task *queue_pop_locked(struct rt_queue *queue)
{
	tare_spin_lock(&queue->spin);
	struct tare_task *task = queue->first;
	if (task != NULL) {
		queue->first = task->next;
		atomic_store_explicit(&queue->count, atomic_load_explicit(&queue->count, memory_order_relaxed) - 1,
				      memory_order_relaxed);
	}
	tare_spin_unlock(&queue->spin);
	return task;
}

static inline struct tare_task *queue_pop(struct rt_queue *queue)
{
	bool empty =
	    atomic_load_explicit(&queue->count, memory_order_relaxed) == 0; // a hint: looked at again before sleep
	return TARE_LIKELY(empty) ? NULL : queue_pop_locked(queue);
}

// What this worker will not come to soon the others may have.
TARE_NOIPA static void ring_overflow(struct tare_task *task)
{
	queue_push(&rt.global, task);
}

static inline void ring_push(struct rt_worker *w, struct tare_task *task)
{
	unsigned head = atomic_load_explicit(&w->head, memory_order_acquire); // pairs with the thieves' release
	unsigned tail = atomic_load_explicit(&w->tail, memory_order_relaxed);
	if (TARE_UNLIKELY(tail - head >= RT_RING)) {
		ring_overflow(task);
		return;
	}
	atomic_store_explicit(&w->ring[tail % RT_RING], task, memory_order_relaxed);
	atomic_store_explicit(&w->tail, tail + 1, memory_order_release); // pairs with ring_steal's acquire
}

static struct tare_task *ring_pop(struct rt_worker *w)
{
	for (;;) {
		unsigned head = atomic_load_explicit(&w->head, memory_order_acquire);
		if (head == atomic_load_explicit(&w->tail, memory_order_relaxed))
			return NULL;
		struct tare_task *task = atomic_load_explicit(&w->ring[head % RT_RING], memory_order_relaxed);
		if (rt.worker_count == 1) { // no thieves
			atomic_store_explicit(&w->head, head + 1, memory_order_relaxed);
			return task;
		}
		if (atomic_compare_exchange_weak_explicit(&w->head, &head, head + 1, memory_order_acq_rel,
							  memory_order_relaxed))
			return task;
	}
}

// Puts a task into the next slot and takes what was there.
static struct tare_task *next_swap(struct rt_worker *w, struct tare_task *task)
{
	if (rt.worker_count > 1)
		return atomic_exchange_explicit(&w->next, task, memory_order_acq_rel);
	struct tare_task *was = atomic_load_explicit(&w->next, memory_order_relaxed);
	atomic_store_explicit(&w->next, task, memory_order_relaxed);
	return was;
}

TARE_INLINE static struct tare_task *next_take(struct rt_worker *w)
{
	struct tare_task *task = atomic_load_explicit(&w->next, memory_order_relaxed);
	if (task == NULL)
		return NULL;
	if (rt.worker_count > 1)
		return atomic_exchange_explicit(&w->next, NULL, memory_order_acq_rel);
	atomic_store_explicit(&w->next, NULL, memory_order_relaxed);
	return task;
}

// Moves half of the victim's ring to the thief's (which is empty) and returns one task of it.
static struct tare_task *ring_steal(struct rt_worker *thief, struct rt_worker *victim)
{
	unsigned tail = atomic_load_explicit(&thief->tail, memory_order_relaxed);
	for (;;) {
		unsigned head = atomic_load_explicit(&victim->head, memory_order_acquire);
		unsigned n = atomic_load_explicit(&victim->tail, memory_order_acquire) - head;
		n -= n / 2;
		if (n == 0)
			return NULL;
		if (n > RT_RING / 2) // head and tail were read at two moments
			continue;
		for (unsigned i = 0; i < n; i++) {
			struct tare_task *task =
			    atomic_load_explicit(&victim->ring[(head + i) % RT_RING], memory_order_relaxed);
			atomic_store_explicit(&thief->ring[(tail + i) % RT_RING], task, memory_order_relaxed);
		}
		if (!atomic_compare_exchange_strong_explicit(&victim->head, &head, head + n, memory_order_acq_rel,
							     memory_order_relaxed))
			continue;
		n--;
		struct tare_task *task = atomic_load_explicit(&thief->ring[(tail + n) % RT_RING], memory_order_relaxed);
		if (n > 0)
			atomic_store_explicit(&thief->tail, tail + n, memory_order_release);
		return task;
	}
}

// ---- waking and sleeping ------------------------------------------------------------------------------------------

// With idle_spin held.
static void idle_unlink(struct rt_worker **link)
{
	*link = (*link)->idle_next;
	atomic_fetch_sub_explicit(&rt.idle_count, 1, memory_order_relaxed);
}

// Takes that worker off the idle list; false when it is not on it.
static bool idle_take(struct rt_worker *wanted)
{
	tare_spin_lock(&rt.idle_spin);
	struct rt_worker **link = &rt.idle;
	while (*link != NULL && *link != wanted)
		link = &(*link)->idle_next;
	bool found = *link != NULL;
	if (found)
		idle_unlink(link);
	tare_spin_unlock(&rt.idle_spin);
	return found;
}

// Takes any idle worker and makes it a spinner, unless there is a spinner already. The two go together under the lock:
// a spinner that is counted before there is one would keep others from waking anybody.
static struct rt_worker *idle_take_spinner(void)
{
	tare_spin_lock(&rt.idle_spin);
	struct rt_worker *taken = atomic_load(&rt.spinning) == 0 ? rt.idle : NULL;
	if (taken != NULL) {
		idle_unlink(&rt.idle);
		taken->spinning = true;
		atomic_fetch_add(&rt.spinning, 1);
	}
	tare_spin_unlock(&rt.idle_spin);
	return taken;
}

static void count_wake(void)
{
	struct rt_worker *w = rt_self();
	if (w != NULL) {
		tare_bump(&w->wakes, 1);
		if (TARE_UNLIKELY(rt_tracing()))
			rt_trace_wake(w);
	} else {
		atomic_fetch_add_explicit(&rt.foreign_wakes, 1, memory_order_relaxed);
	}
}

TARE_NOIPA static void wake_one(void)
{
	struct rt_worker *worker = idle_take_spinner();
	if (worker == NULL)
		return;
	count_wake();
	rt.backend->wake(worker->poller);
}

// After a task was queued and a fence (invariant 2).
static inline void wake_after_fence(void)
{
	if (atomic_load_explicit(&rt.idle_count, memory_order_relaxed) > 0 &&
	    atomic_load_explicit(&rt.spinning, memory_order_relaxed) == 0)
		wake_one();
}

void rt_wake_idle(void)
{
	if (rt.worker_count == 1 && rt_self() != NULL)
		return;
	fence();
	wake_after_fence();
}

void rt_wake_all(void)
{
	for (int i = 0; i < rt.worker_count; i++)
		rt.backend->wake(rt.workers[i].poller);
}

static void enqueue_pinned(struct rt_worker *owner, struct tare_task *task)
{
	queue_push(&owner->pinned, task);
	if (owner == rt_self())
		return;
	fence();
	if (!idle_take(owner))
		return;
	count_wake();
	rt.backend->wake(owner->poller);
}

static inline void set_runnable(struct tare_task *task)
{
#ifdef TARE_DEBUG
	uint8_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
	TARE_ASSERT(state == RT_PARKED || state == RT_FREE); // woken once; or new
#endif
	// release: who sees it there sees it whole (collect.c, which may find a new one)
	atomic_store_explicit(&task->state, RT_RUNNABLE, memory_order_release);
	TARE_PROBE1(wake, task);
}

static inline void ready_any(struct rt_worker *w, struct tare_task *task, bool hot)
{
	if (hot)
		task = next_swap(w, task);
	if (task != NULL)
		ring_push(w, task); // what was in the next slot was counted for when it was put there
	if (rt.worker_count == 1)
		return;
	if (hot)
		fence_after_exchange();
	else
		fence();
	wake_after_fence();
}

TARE_NOIPA static void ready_rare(struct rt_worker *w, struct tare_task *task, bool hot)
{
	if (w->stamp_in == 0)
		rt_stamp(w, task);
	if (task->pinned != NULL)
		enqueue_pinned(task->pinned, task);
	else
		ready_any(w, task, hot);
}

// The rare is apart, so that what is left keeps nothing in registers across calls.
void rt_ready_here(struct rt_worker *w, struct tare_task *task, bool hot)
{
	set_runnable(task);
	if (TARE_UNLIKELY(--w->stamp_in == 0 || task->pinned != NULL))
		ready_rare(w, task, hot);
	else
		ready_any(w, task, hot);
}

// A plain thread has no queue. What it wakes may end the runtime before it has left.
void rt_ready_foreign(struct tare_task *task)
{
	set_runnable(task);
	TARE_ASSERT(atomic_load_explicit(&rt.running, memory_order_relaxed));
	atomic_fetch_add(&rt.visitors, 1);
	rt_stamp_foreign(task);
	if (task->pinned != NULL) {
		enqueue_pinned(task->pinned, task);
	} else {
		queue_push(&rt.global, task);
		rt_wake_idle();
	}
	atomic_fetch_sub(&rt.visitors, 1);
}

// At the end of this worker's queue, waking nobody: what yields was no work for another worker while it ran.
static void enqueue_quietly(struct rt_worker *w, struct tare_task *task)
{
	atomic_store_explicit(&task->state, RT_RUNNABLE, memory_order_relaxed);
	if (TARE_UNLIKELY(--w->stamp_in == 0))
		rt_stamp(w, task);
	if (TARE_UNLIKELY(task->pinned != NULL))
		enqueue_pinned(task->pinned, task);
	else
		ring_push(w, task);
}

bool rt_has_lendable(struct rt_worker *stuck)
{
	struct rt_queue *queue = &stuck->pinned;
	tare_spin_lock(&queue->spin);
	const struct tare_task *task = queue->first;
	while (task != NULL && !task->lendable)
		task = task->next;
	tare_spin_unlock(&queue->spin);
	return task != NULL;
}

// Takes the lendable ones out, linked by next and in their order.
static struct tare_task *lendable_take(struct rt_queue *queue)
{
	struct tare_task *taken = NULL, **taken_end = &taken, *left = NULL, **left_end = &left, *last = NULL;
	unsigned count = 0;
	tare_spin_lock(&queue->spin);
	for (struct tare_task *task = queue->first; task != NULL; task = task->next) {
		struct tare_task ***end = task->lendable ? &taken_end : &left_end;
		**end = task;
		*end = &task->next;
		if (!task->lendable) {
			last = task;
			count++;
		}
	}
	*taken_end = *left_end = NULL;
	queue->first = left;
	queue->last = last;
	atomic_store_explicit(&queue->count, count, memory_order_relaxed);
	tare_spin_unlock(&queue->spin);
	return taken;
}

void rt_lend(struct rt_worker *stuck, struct rt_worker *to)
{
	struct tare_task *task = lendable_take(&stuck->pinned);
	if (task == NULL)
		return;
	for (struct tare_task *next; task != NULL; task = next) {
		next = task->next;
		ring_push(to, task);
	}
	rt_wake_idle();
}

static bool spin_begin(struct rt_worker *w)
{
	if (w->spinning)
		return true;
	// More than half of the busy workers looking at once would cost more than it finds.
	int idle = atomic_load_explicit(&rt.idle_count, memory_order_relaxed);
	if (2 * atomic_load_explicit(&rt.spinning, memory_order_relaxed) >= rt.worker_count - idle)
		return false;
	w->spinning = true;
	atomic_fetch_add(&rt.spinning, 1);
	return true;
}

// Work was found: if this was the last spinner, somebody else must look for the rest.
static void spin_end(struct rt_worker *w)
{
	if (!w->spinning)
		return;
	w->spinning = false;
	if (atomic_fetch_sub(&rt.spinning, 1) == 1)
		rt_wake_idle();
}

// ---- finding work -------------------------------------------------------------------------------------------------

// What a worker is about to run is left to its warm cache: only where it has not switched for a while is its next slot
// taken. *ret_moving: it switched, and will come to that task before it could be run here.
static struct tare_task *next_steal(struct rt_worker *victim, bool *ret_moving)
{
	if (atomic_load_explicit(&victim->next, memory_order_relaxed) == NULL)
		return NULL;
	uint64_t switches = atomic_load_explicit(&victim->switches, memory_order_relaxed);
	for (int i = 0; i < NEXT_GRACE; i++) {
#ifndef TARE_SIM // where it lets the clock run on to whatever comes next: this waits for nothing
		tare_cpu_relax();
#endif
		if (atomic_load_explicit(&victim->switches, memory_order_relaxed) != switches) {
			*ret_moving = true;
			return NULL;
		}
	}
	return atomic_exchange_explicit(&victim->next, NULL, memory_order_acq_rel);
}

static struct tare_task *steal_round(struct rt_worker *w, bool next_too, bool *ret_moving)
{
	unsigned first = (unsigned)tare_rng_below(&w->rng, (uint64_t)rt.worker_count);
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *victim = &rt.workers[(first + (unsigned)i) % (unsigned)rt.worker_count];
		struct tare_task *task = victim != w ? ring_steal(w, victim) : NULL;
		if (task == NULL && victim != w && next_too)
			task = next_steal(victim, ret_moving);
		if (task == NULL)
			continue;
		tare_bump(&w->steals, 1);
		if (TARE_UNLIKELY(rt_tracing()))
			rt_trace_steal(w);
		return task;
	}
	return NULL;
}

// While others hand on from task to task, this worker stays awake for some more rounds: asleep it would be woken again
// at each of those steps, which costs who wakes it more than the step.
static struct tare_task *find_stolen(struct rt_worker *w)
{
	if (rt.worker_count == 1 || !spin_begin(w))
		return NULL;
	bool moving = true;
	for (int round = 0; round < STEAL_ROUNDS_MAX && moving; round++) {
		bool next_too = round >= STEAL_ROUNDS - 1;
		moving = !next_too;
		struct tare_task *task = steal_round(w, next_too, &moving);
		if (task != NULL)
			return task;
		if (atomic_load_explicit(&w->pinned.count, memory_order_relaxed) > 0 ||
		    atomic_load_explicit(&rt.global.count, memory_order_relaxed) > 0)
			break;
	}
	return NULL;
}

static struct tare_task *find_local(struct rt_worker *w)
{
	// Pinned tasks and the others take turns at being looked at first.
	w->pinned_turn = !w->pinned_turn;
	struct tare_task *task = w->pinned_turn ? queue_pop(&w->pinned) : NULL;
	if (task != NULL)
		return task;
	task = w->next_streak < NEXT_STREAK_MAX ? next_take(w) : NULL;
	if (task != NULL) {
		w->next_streak++;
		return task;
	}
	w->next_streak = 0;
	task = ring_pop(w);
	if (task == NULL)
		task = next_take(w);
	return task != NULL ? task : queue_pop(&w->pinned);
}

// Others' descriptors and timers: see monitor.c. A simulation has no monitor, and no use for another atomic operation.
static bool rescue_wanted(void)
{
#ifdef TARE_SIM
	return false;
#else
	return atomic_load_explicit(&rt.rescue, memory_order_relaxed);
#endif
}

// A stack came to where others may take it: one of those that found none may look again.
static void stack_shared(void)
{
	if (rt.worker_count > 1)
		fence(); // pairs with the one in stack_ensure
	struct tare_task *starved = queue_pop(&rt.starved);
	if (TARE_UNLIKELY(starved != NULL)) {
		queue_push(&rt.global, starved);
		rt_wake_idle();
	}
}

// A worker's spare stack is not kept from a task that found none. Looked at where a stack comes back, at each poll,
// and, whoever wants it, before the worker sleeps; so what is put on the list unseen is seen soon.
static void stack_share_wanted(struct rt_worker *w)
{
	bool wanted = atomic_load_explicit(&rt.starved.count, memory_order_relaxed) > 0;
	if (TARE_UNLIKELY(wanted) && rt_stack_share(w))
		stack_shared();
}

static void poll_once(struct rt_worker *w, int64_t deadline_ns)
{
	int64_t since_ns = TARE_UNLIKELY(rt_tracing()) ? rt.backend->now_ns() : 0;
	unsigned events = rt.backend->poll(w->poller, deadline_ns);
	if (TARE_UNLIKELY(since_ns != 0) && (events > 0 || deadline_ns != 0))
		rt_trace_poll(w, since_ns, events);
	tare_bump(&w->polls, 1);
	tare_bump(&w->poll_events, events);
	if (events > 0)
		tare_hist_record(w->batches, events);
	w->now_ns = rt.backend->now_ns();
	unsigned fired = rt_timers_run(&w->timers, w->now_ns);
	tare_bump(&w->timers_fired, fired);
	stack_share_wanted(w);
	if (TARE_UNLIKELY(rescue_wanted()))
		rt_rescue(w);
	// Whatever it was woken for: a wake is taken by this poll, and comes no second time.
	if (TARE_UNLIKELY((rt_watched() & RT_WATCH_SAFEPOINT) != 0))
		rt_safepoint(w, NULL);
}

static bool work_anywhere(struct rt_worker *w)
{
	if (atomic_load_explicit(&rt.global.count, memory_order_relaxed) > 0 ||
	    atomic_load_explicit(&w->pinned.count, memory_order_relaxed) > 0 || atomic_load(&rt.stopping) ||
	    rescue_wanted() || ((rt_watched() & RT_WATCH_SAFEPOINT) != 0 && rt_handshake_pending(w)))
		return true;
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *other = &rt.workers[i];
		if (atomic_load_explicit(&other->head, memory_order_relaxed) !=
			atomic_load_explicit(&other->tail, memory_order_relaxed) ||
		    atomic_load_explicit(&other->next, memory_order_relaxed) != NULL)
			return true;
	}
	return false;
}

// Sleeps until there may be work.
static void idle_wait(struct rt_worker *w)
{
	if (w->spinning) {
		w->spinning = false;
		atomic_fetch_sub(&rt.spinning, 1);
	}
	if (rt_stack_share(w))
		stack_shared();
	bool looked = RT_FAULT(LATE_LOOK) && work_anywhere(w);
	tare_spin_lock(&rt.idle_spin);
	w->idle_next = rt.idle;
	rt.idle = w;
	atomic_fetch_add_explicit(&rt.idle_count, 1, memory_order_relaxed);
	tare_spin_unlock(&rt.idle_spin);
	fence(); // invariant 2: after leaving, before the last look
	bool look_again = RT_FAULT(LATE_LOOK) ? looked : work_anywhere(w);
	if (!look_again)
		look_again = rt_stacks_trim(
		    TRIM_COUNT, RT_WARM_STACKS); // a little at a time: somebody may be about to wake this worker
	int64_t deadline_ns = look_again ? 0 : atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed);
	if (deadline_ns == TARE_NEVER)
		rt_sleep_begin(w);
	poll_once(w, deadline_ns);
	// Still on the list: woken by an event or a timer. Off it: a waker took us and, for a steal, made us a spinner.
	(void)idle_take(w);
	fence(); // off the list, before the look whether the monitor sleeps too
	rt_monitor_rouse();
}

// The poller, and the global queue. That is looked at as often, and before every second task while it has any: what
// came when the ring was full would else wait 61 tasks each, while what comes later finds room in the ring.
TARE_NOIPA static struct tare_task *look_around(struct rt_worker *w)
{
	w->unpolled += w->stride;
	if (w->unpolled >= RT_GLOBAL_TICKS) {
		w->unpolled = 0;
		poll_once(w, 0);
	}
	struct tare_task *task = queue_pop(&rt.global);
	w->stride = task != NULL ? 2 : RT_GLOBAL_TICKS - w->unpolled;
	w->look_in = w->stride - 1;
	return task;
}

static struct tare_task *find(struct rt_worker *w)
{
	for (;;) {
		if (atomic_load_explicit(&rt.stopping, memory_order_relaxed))
			return NULL;
		struct tare_task *task;
		if (w->look_in-- == 0 && (task = look_around(w)) != NULL)
			return task;
		task = find_local(w);
		if (task == NULL)
			task = queue_pop(&rt.global);
		if (task == NULL)
			task = find_stolen(w);
		if (task != NULL)
			return task;
		idle_wait(w);
	}
}

// ---- the loop -----------------------------------------------------------------------------------------------------

// Whether any task holds a stack. Not at one instant: a stack that is on its way back counts as one that will come.
static bool stacks_in_use(void)
{
	uint64_t taken = 0, given = 0;
	for (int i = 0; i < rt.worker_count; i++)
		if (atomic_load_explicit(&rt.workers[i].stacks.spare, memory_order_relaxed) != NULL)
			return true; // it will be shared
	for (int i = 0; i < rt.worker_count; i++)
		given += atomic_load_explicit(&rt.workers[i].stacks_given, memory_order_acquire);
	for (int i = 0; i < rt.worker_count; i++)
		taken += atomic_load_explicit(&rt.workers[i].stacks_taken, memory_order_relaxed);
	return taken != given;
}

// A task gets its stack when it first runs. When there is none, it waits in rt.starved for the next task that ends.
static bool stack_ensure(struct rt_worker *w, struct tare_task *task)
{
	if (task->stack.base != NULL)
		return true;
	if (rt_stack_take(w, task->stack_bytes, &task->stack) == 0) {
		task->sp = rt_context_init(&task->stack, rt_task_main, task);
		tare_bump(&w->stacks_taken, 1);
		return true;
	}
	if (task->stack_bytes != 0 || !stacks_in_use()) {
		// Nobody will ever give one back; one of a size of its own comes from the system alone.
		task->result = -ENOMEM;
		if (TARE_UNLIKELY((rt_watched() & (RT_WATCH_SAFEPOINT | RT_WATCH_SCAN)) != 0))
			rt_safepoint(w, task); // nobody looks at it any more
		rt_task_end(w, task);
		return false;
	}
	queue_push(&rt.starved, task);
	fence(); // pairs with the one in stack_shared
	// A stack that came back before we were on the list is found here; otherwise its giver finds us.
	struct rt_stack stack;
	if (rt_stack_take(w, 0, &stack) == 0) {
		(void)rt_stack_give(w, &stack);
		(void)rt_stack_share(w);
		struct tare_task *starved = queue_pop(&rt.starved);
		if (starved != NULL)
			queue_push(&rt.global, starved);
	}
	return false;
}

static void stack_return(struct rt_worker *w, struct tare_task *task)
{
	bool shared = rt_stack_give(w, &task->stack);
	tare_bump(&w->stacks_given, 1);
	if (shared)
		stack_shared();
	else
		stack_share_wanted(w);
}

// The task that just switched out parked, yielded or ended; here its context is saved and it may be handed on.
static void after_switch(struct rt_worker *w)
{
	struct tare_task *task = w->current;
	w->current = NULL;
	// A task must not block where it forbids heap calls: others would run there.
	TARE_DEBUG_ASSERT(tare_heap_forbid(NULL) == NULL);
	uint8_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
	if (state == RT_DONE) {
		stack_return(w, task);
		rt_task_end(w, task);
		return;
	}
	struct tare_waiter *waiter = w->waiter;
	if (waiter == NULL) {
		enqueue_quietly(w, task);
		return;
	}
	TARE_PROBE2(park, task, task->reason);
	if (!(waiter->scope != NULL ? rt_commit_cancellable(waiter) : waiter->commit(waiter)))
		rt_ready_here(w, task, true);
}

static void switch_in_watched(struct rt_worker *w, struct tare_task *task)
{
	unsigned watched = rt_watched();
	if ((watched & (RT_WATCH_SAFEPOINT | RT_WATCH_SCAN)) != 0)
		rt_safepoint(w, task);
	if (task->runnable_ns != 0)
		rt_stamp_take(w, task);
	if ((watched & RT_WATCH_WAITS) != 0)
		rt_waits_resume(w, task);
	if ((watched & RT_WATCH_TRACE) != 0)
		rt_trace_run(w, task);
	rt_switch_in(w, task);
	if ((watched & RT_WATCH_WAITS) != 0)
		rt_waits_stop(task);
	if ((watched & RT_WATCH_TRACE) != 0)
		rt_trace_stop(w, task);
}

void rt_worker_loop(struct rt_worker *w)
{
	for (;;) {
		struct tare_task *task = find(w);
		if (task == NULL)
			return;
		spin_end(w);
		if (TARE_UNLIKELY(!stack_ensure(w, task)))
			continue;
		atomic_store_explicit(&task->state, RT_RUNNING, memory_order_release);
		tare_bump(&w->switches, 1);
		// After the count: who sees the task sees its count, or a later one.
		__atomic_store_n(&w->current, task, __ATOMIC_RELEASE);
		TARE_PROBE2(run, task, w->idx);
		if (TARE_UNLIKELY((int64_t)rt_watched() | task->runnable_ns)) // one branch for all
			switch_in_watched(w, task);
		else
			rt_switch_in(w, task);
		after_switch(w);
	}
}
