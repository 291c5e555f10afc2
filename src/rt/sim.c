// SPDX-License-Identifier: MIT
//
// The simulation: the runtime's workers as fibers of one thread, a virtual clock, and a seed that decides everything.
// Only in builds with MODE=sim; there tare_run uses it instead of the kernel (TARE_SIM_SEED names the seed).
//
//   point()    at each atomic operation (base/sim.h) and now and then: another fiber that can run goes on
//   poll()     the fiber waits for a wake, an event of the simulated network (sim_net.c) or its deadline
//   nobody can run:  the clock jumps to the first deadline or arrival; when there is none, that is a deadlock
//
// How often fibers are switched is part of what a seed decides: some runs change at nearly every atomic operation, some
// rarely, because bugs hide at all scales. A failure (an assertion, a deadlock, a livelock) prints the seed; the same
// seed in the same build takes every step again.
//
// What may be switched on to show that the net catches it (TARE_SIM_FAULT, see RT_FAULT in rt_int.h):
//   lost-wake     an event's waiter parks without looking whether the wake-up has come
//   double-wake   a deadline wakes a waiter that its waker has already taken
//   drop-cancel   a cancel that comes while a task is about to park is not seen
//   late-look     a worker looks for work before it says that it is idle, not after
//   mere-look     an event's waker that finds it set leaves it at that look
//
// Threads: one. What a test starts with rt_sim_thread_start is a fiber too, and counts as a plain thread.
#include "rt/rt_int.h"

#ifdef TARE_SIM
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static struct tare_tag heap_tag = TARE_TAG("simulation");

enum { FIBERS_MAX = 64, STACK_BYTES = 256 * 1024, STEPS_MAX = 200 * 1000 * 1000, LATE_POINTS_MAX = 500 };

struct fiber {
	void *sp;
	struct rt_stack stack; // base NULL: the caller's own
	struct rt_worker *worker;
	void *(*fn)(void *arg);
	void *arg;
	bool used, done;
	// Not to run before *word is set, until_ns has come, or the poller has an event; NULL: it can run.
	const _Atomic(uint32_t) *word;
	const struct rt_poller *poller;
	int64_t until_ns;
	int saved_errno;
};

struct rt_poller {
	unsigned fiber;
	_Atomic(uint32_t) woken;
};

static struct {
	uint64_t seed;
	bool seeded; // by the caller: the environment no longer matters
	struct tare_rng rng;
	int64_t now_ns;
	unsigned gap_max; // points between two switches, at most
	unsigned gap;     // points until the next
	uint64_t steps;
	unsigned current, fiber_count;
	bool alone; // one worker, that began as the only thread
	struct fiber fibers[FIBERS_MAX];
	// A store that waits; to NULL: none.
	struct {
		_Atomic(long) *to;
		long value;
		unsigned fiber, points; // whose, and for how many points yet
	} late;
} sim;

// ---- saying what went wrong ---------------------------------------------------------------------------------------

static void say_seed(int signal_number)
{
	char text[96];
	int len = snprintf(text, sizeof text, "simulation: seed %" PRIu64 ", %d workers, step %" PRIu64 "\n", sim.seed,
			   rt.worker_count, sim.steps);
	(void)!write(STDERR_FILENO, text, (size_t)len);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

TARE_NORETURN static void fail(const char *what)
{
	fprintf(stderr, "simulation: %s\n", what);
	abort();
}

// ---- fibers -------------------------------------------------------------------------------------------------------

// When the fiber can run: 0 is now.
static int64_t runs_at_ns(const struct fiber *fiber)
{
	if (!fiber->used || fiber->done)
		return TARE_NEVER;
	if (fiber->word == NULL || *(const volatile uint32_t *)fiber->word != 0)
		return 0;
	return fiber->poller != NULL ? TARE_MIN(fiber->until_ns, rt_sim_net_next_ns(fiber->poller)) : fiber->until_ns;
}

static void switch_to(unsigned next)
{
	struct fiber *from = &sim.fibers[sim.current], *to = &sim.fibers[next];
	if (from == to)
		return;
	from->saved_errno = errno;
	sim.current = next;
	tare_sim_thread = next;
	rt_self_set(to->worker);
	tare_alone_thread = sim.alone && to->worker != NULL;
	rt_switch(&from->sp, to->sp);
	errno = from->saved_errno;
}

// Any that can run, other than the current one where there is one; the clock jumps when nobody can.
static unsigned choose(bool other)
{
	for (;;) {
		unsigned ready[FIBERS_MAX], count = 0;
		int64_t first_ns = TARE_NEVER;
		for (unsigned i = 0; i < sim.fiber_count; i++) {
			if (other && i == sim.current)
				continue;
			int64_t at_ns = runs_at_ns(&sim.fibers[i]);
			first_ns = TARE_MIN(first_ns, at_ns);
			if (at_ns <= sim.now_ns)
				ready[count++] = i;
		}
		if (count > 0)
			return ready[tare_rng_below(&sim.rng, count)];
		if (first_ns == TARE_NEVER && other && !sim.fibers[sim.current].done)
			return sim.current; // alone
		if (first_ns == TARE_NEVER)
			fail("deadlock: every worker waits, and nothing is on its way");
		sim.now_ns = first_ns;
	}
}

static void late_done(void)
{
	*(volatile long *)sim.late.to = sim.late.value;
	sim.late.to = NULL;
	tare_sim_settle = NULL;
}

static void settle(void)
{
	if (sim.late.fiber == sim.current)
		late_done();
}

void rt_sim_store_late(_Atomic(long) *to, long value)
{
	if (sim.late.to != NULL)
		late_done();
	sim.late.to = to;
	sim.late.value = value;
	sim.late.fiber = sim.current;
	sim.late.points = LATE_POINTS_MAX;
	tare_sim_settle = settle;
}

static void point(bool must)
{
	if (sim.late.to != NULL && --sim.late.points == 0)
		late_done();
	if (++sim.steps > STEPS_MAX)
		fail("livelock: the steps never end");
	if (!must && --sim.gap > 0)
		return;
	sim.gap = 1 + (unsigned)tare_rng_below(&sim.rng, sim.gap_max);
	sim.now_ns += (int64_t)tare_rng_below(&sim.rng, 100);
	switch_to(choose(must));
}

static void wait_for(const _Atomic(uint32_t) *word, const struct rt_poller *poller, int64_t until_ns)
{
	struct fiber *self = &sim.fibers[sim.current];
	self->word = word;
	self->poller = poller;
	self->until_ns = until_ns;
	switch_to(choose(false));
	self->word = NULL;
}

static void fiber_main(void *arg)
{
	struct fiber *fiber = arg;
	(void)fiber->fn(fiber->arg);
	fiber->done = true;
	switch_to(choose(true));
	fail("a thread that ended was run again");
}

static unsigned fiber_start(void *(*fn)(void *arg), void *arg, struct rt_worker *worker)
{
	unsigned i = 0;
	while (i < sim.fiber_count && sim.fibers[i].used)
		i++;
	if (i == FIBERS_MAX)
		fail("too many threads");
	sim.fiber_count = TARE_MAX(sim.fiber_count, i + 1);
	struct fiber *fiber = &sim.fibers[i];
	struct rt_stack stack = fiber->stack;
	if (stack.base == NULL) {
		void *map =
		    mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (map == MAP_FAILED)
			fail("no memory for a thread's stack");
		stack = (struct rt_stack){map, STACK_BYTES};
	}
	*fiber = (struct fiber){.stack = stack, .worker = worker, .fn = fn, .arg = arg, .used = true};
	fiber->sp = rt_context_init(&fiber->stack, fiber_main, fiber);
	return i;
}

unsigned rt_sim_thread_start(void *(*fn)(void *arg), void *arg)
{
	return fiber_start(fn, arg, NULL);
}

int rt_sim_thread_try(void *(*fn)(void *arg), void *arg, unsigned *ret_thread)
{
	unsigned used = 0;
	for (unsigned i = 0; i < sim.fiber_count; i++)
		used += sim.fibers[i].used;
	if (used == FIBERS_MAX)
		return -EAGAIN;
	*ret_thread = fiber_start(fn, arg, NULL);
	return 0;
}

void rt_sim_thread_join(unsigned thread)
{
	while (!sim.fibers[thread].done)
		point(true);
	sim.fibers[thread].used = false;
}

void rt_futex_wait(_Atomic(uint32_t) *word, uint32_t wanted, int64_t deadline_ns)
{
	TARE_ASSERT(wanted == 0); // what wait_for knows
	wait_for(word, NULL, deadline_ns);
}

static void *worker_main(void *arg)
{
	rt_worker_loop(arg);
	return NULL;
}

static bool others_done(void)
{
	for (unsigned i = 1; i < (unsigned)rt.worker_count; i++)
		if (!sim.fibers[i].done)
			return false;
	return true;
}

void rt_sim_run_workers(void)
{
	struct sigaction action = {.sa_handler = say_seed}, before;
	sigaction(SIGABRT, &action, &before);
	sim.fibers[0] = (struct fiber){.used = true, .worker = &rt.workers[0]};
	sim.current = 0;
	sim.fiber_count = 1;
	for (int i = 0; i < rt.worker_count; i++)
		rt.workers[i].errno_at = &errno;
	for (int i = 1; i < rt.worker_count; i++)
		(void)fiber_start(worker_main, &rt.workers[i], &rt.workers[i]);
	tare_sim_thread = 0;
	sim.alone = tare_alone_thread;
	tare_sim_hook = point;
	rt_worker_loop(&rt.workers[0]);
	while (!others_done())
		point(true);
	rt_block_stop();
	tare_sim_hook = NULL;
	if (sim.late.to != NULL)
		late_done();
	for (unsigned i = 1; i < sim.fiber_count; i++)
		sim.fibers[i].used = false;
	rt_sim_net_done();
	sigaction(SIGABRT, &before, NULL);
}

// ---- the seed -----------------------------------------------------------------------------------------------------

static unsigned faults_of(const char *text)
{
	static const struct {
		const char *name;
		unsigned fault;
	} names[] = {{"lost-wake", TARE_FAULT_LOST_WAKE},          {"double-wake", TARE_FAULT_DOUBLE_WAKE},
		     {"drop-cancel", TARE_FAULT_DROP_CANCEL},      {"late-look", TARE_FAULT_LATE_LOOK},
		     {"mere-look", TARE_FAULT_MERE_LOOK},          {"no-barrier", TARE_FAULT_NO_BARRIER},
		     {"missed-root", TARE_FAULT_MISSED_ROOT},      {"unscanned-task", TARE_FAULT_UNSCANNED_TASK},
		     {"swept-live", TARE_FAULT_SWEPT_LIVE},        {"unscanned-sender", TARE_FAULT_UNSCANNED_SENDER},
		     {"early-end", TARE_FAULT_EARLY_END},          {"weak-kept", TARE_FAULT_WEAK_KEPT},
		     {"weak-revived", TARE_FAULT_WEAK_REVIVED},    {"cleanup-twice", TARE_FAULT_CLEANUP_TWICE},
		     {"unshaded-value", TARE_FAULT_UNSHADED_VALUE}};
	for (unsigned i = 0; text != NULL && i < TARE_ARRAY_LEN(names); i++)
		if (strcmp(text, names[i].name) == 0)
			return names[i].fault;
	if (text != NULL && text[0] != '\0')
		fail("TARE_SIM_FAULT is none of those in src/rt/sim.c");
	return 0;
}

void rt_sim_seed(uint64_t seed)
{
	sim.seed = seed;
	sim.seeded = true;
}

const char *rt_sim_where(void)
{
	static char text[64];
	snprintf(text, sizeof text, " (seed %" PRIu64 ", step %" PRIu64 ")", sim.seed, sim.steps);
	return text;
}

// Before the workers are made: their clock is this one.
void rt_sim_begin(void)
{
	static const unsigned gaps[] = {2, 5, 20, 100, 1000};
	const char *seed = getenv("TARE_SIM_SEED");
	if (!sim.seeded)
		sim.seed = seed != NULL ? strtoull(seed, NULL, 10) : 1;
	tare_sim_faults = faults_of(getenv("TARE_SIM_FAULT"));
	tare_rng_init(&sim.rng, sim.seed);
	sim.gap_max = gaps[tare_rng_below(&sim.rng, TARE_ARRAY_LEN(gaps))];
	sim.gap = 1;
	sim.steps = 0;
	sim.now_ns = TARE_NS_PER_S;
}

uint64_t rt_sim_random_below(uint64_t n)
{
	return tare_rng_below(&sim.rng, n);
}

// ---- backend ------------------------------------------------------------------------------------------------------

static int64_t now_ns(void)
{
	sim.now_ns += (int64_t)tare_rng_below(&sim.rng, 50);
	return sim.now_ns;
}

int64_t rt_sim_now_ns(void)
{
	return sim.now_ns;
}

static int poller_new(struct rt_poller **ret)
{
	struct rt_poller *poller = tare_alloc_zeroed(&heap_tag, 1, sizeof *poller);
	if (poller == NULL)
		return -ENOMEM;
	*ret = poller;
	return 0;
}

static void poller_free(struct rt_poller *poller)
{
	tare_free(poller);
}

static unsigned poll(struct rt_poller *poller, int64_t deadline_ns)
{
	for (;;) {
		rt_sleep_end(rt_self()); // as the seam wants it; a simulation counts no naps
		unsigned events = rt_sim_net_deliver(poller);
		if (events > 0 || poller->woken != 0 || deadline_ns <= sim.now_ns) {
			poller->woken = 0;
			return events;
		}
		wait_for(&poller->woken, poller, deadline_ns);
	}
}

static void wake(struct rt_poller *poller)
{
	poller->woken = 1;
}

const struct rt_backend rt_backend_sim = {
    .name = "sim",
    .now_ns = now_ns,
    .poller_new = poller_new,
    .poller_free = poller_free,
    .poll = poll,
    .wake = wake,
    .fd_add = rt_sim_fd_add,
    .fd_close = rt_sim_fd_close,
    .recv = rt_sim_recv,
    .send = rt_sim_send,
    .sendv = rt_sim_sendv,
    .accept = rt_sim_accept,
    .listen = rt_sim_listen,
    .dial = rt_sim_dial,
    .dial_result = rt_sim_dial_result,
    .pair = rt_sim_pair,
    .shutdown = rt_sim_shutdown,
    .turn_away = rt_sim_turn_away,
    .dismiss = rt_sim_dismiss,
};
#endif
