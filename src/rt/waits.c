// SPDX-License-Identifier: MIT
//
// The block and mutex profiles: where tasks wait, how often and how long.
//
// Nothing is added to a wait. While a profile is on, the worker's loop notes when a task stopped, and before it runs
// again the loop counts the stack it waits with; so the time is from when it stopped until it runs, the wait for a
// worker included. A wait of at least rate_ns is always counted; a shorter one with the probability length / rate_ns,
// and then it stands for rate_ns / length waits like it. So the sums are right on average, and the cost is bound by the
// rate.
//
// Invariants
//   1. What belongs to a profile is written before its noters are on, and read by a worker that is in its noter alone.
//   2. A task is looked at by the worker that is about to run it or has just stopped it: nobody else has it then.
//
// Threads: workers; start and end from any, one at a time for each kind (profile.c). A wait that began before the start
// is left out. Rejected: a hook in each primitive (a load and a branch a wait for what is off nearly always).
#include "rt/rt_int.h"

static struct kind {
	int64_t rate_ns, since_ns;
	uint32_t reasons; // bits by enum rt_reason
	struct rt_noter noters[TARE_SHARD_MAX];
} kinds[RT_WAITS_KINDS];

static struct tare_spin watch_spin; // RT_WATCH_WAITS is set while any noter is on

void rt_waits_stop(struct tare_task *task)
{
	if (atomic_load_explicit(&task->state, memory_order_relaxed) == RT_PARKED)
		task->parked_ns = tare_now_ns();
}

// How many waits this one stands for; 0: it is passed over.
static double weight_of(int64_t ns, int64_t rate_ns)
{
	if (ns >= rate_ns)
		return 1;
	return rt_random_below((unsigned)rate_ns) < (unsigned)ns ? (double)rate_ns / (double)ns : 0;
}

static void note(const struct kind *kind, struct rt_noter *noter, const struct tare_task *task, int64_t now_ns)
{
	int64_t ns = now_ns - task->parked_ns;
	if ((kind->reasons >> task->reason & 1) == 0 || task->parked_ns < kind->since_ns || ns <= 0)
		return;
	double weight = weight_of(ns, kind->rate_ns);
	if (weight <= 0)
		return;
	uintptr_t frames[RT_FRAMES_MAX];
	int count = rt_backtrace_held(&task->stack, task->sp, frames);
	rt_tally_add(&noter->tally, frames, count, task->reason, task->name, (double[2]){weight, weight * (double)ns});
}

void rt_waits_resume(struct rt_worker *w, struct tare_task *task)
{
	if (task->reason == RT_YIELD) // or it never ran
		return;
	int64_t now_ns = tare_now_ns();
	for (int i = 0; i < RT_WAITS_KINDS; i++) {
		struct rt_noter *noter = &kinds[i].noters[w->idx];
		if (!atomic_load_explicit(&noter->on, memory_order_relaxed) || !rt_noter_enter(noter))
			continue;
		note(&kinds[i], noter, task, now_ns);
		rt_noter_leave(noter);
	}
}

static void watch_begin(struct kind *kind)
{
	tare_spin_lock(&watch_spin);
	for (int i = 0; i < rt.worker_count; i++)
		atomic_store(&kind->noters[i].on, true);
	atomic_fetch_or_explicit(&rt.watched, RT_WATCH_WAITS, memory_order_release);
	tare_spin_unlock(&watch_spin);
}

static void watch_end(struct kind *kind)
{
	tare_spin_lock(&watch_spin);
	bool others = false;
	for (int i = 0; i < rt.worker_count; i++)
		atomic_store(&kind->noters[i].on, false);
	for (int i = 0; i < RT_WAITS_KINDS; i++)
		others |= atomic_load(&kinds[i].noters[0].on);
	if (!others)
		atomic_fetch_and_explicit(&rt.watched, ~(unsigned)RT_WATCH_WAITS, memory_order_relaxed);
	tare_spin_unlock(&watch_spin);
}

int rt_waits_start(int number, int64_t rate_ns, uint32_t reasons)
{
	struct kind *kind = &kinds[number];
	int rc = 0;
	for (int i = 0; i < rt.worker_count && rc == 0; i++)
		rc = rt_tally_init(&kind->noters[i].tally);
	if (rc < 0) {
		for (int i = 0; i < rt.worker_count; i++)
			rt_tally_done(&kind->noters[i].tally);
		return rc;
	}
	kind->rate_ns = rate_ns;
	kind->reasons = reasons;
	kind->since_ns = tare_now_ns();
	watch_begin(kind);
	return 0;
}

void rt_waits_end(int number, void (*fn)(void *arg, const struct rt_tally *tally), void *arg)
{
	struct kind *kind = &kinds[number];
	watch_end(kind);
	for (int i = 0; i < rt.worker_count; i++) {
		rt_noter_end(&kind->noters[i]);
		if (fn != NULL)
			fn(arg, &kind->noters[i].tally);
		rt_tally_done(&kind->noters[i].tally);
	}
}
