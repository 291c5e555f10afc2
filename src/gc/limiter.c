// SPDX-License-Identifier: MIT
//
// A leaky bucket: the collector's CPU time fills it, the program's drains it, one for one. So in the long run half of
// the CPU time is the program's, and a burst of collecting may take up to a second a worker beyond that. The bucket
// never goes below empty: a quiet day earns no credit for the next night.
//
//      empty            half              a period's room      full
//        ├───────────────┼─────────────────────────┼──────────────┤
//                        │                         ├── limiting ──┤  assists stop, background marking goes on
//        trouble ends ───┘         trouble begins ─┘                 if the memory limit sets the goal
//
// Limiting begins when a period in which all CPU time went into collecting would no longer fit, and so, updates being
// in time, nothing overflows unpaid: while the background's quarter leaves three quarters to the program, a period
// drains half of what such a period fills, and of any three one assists. (Limiting only at full, each assisting period
// would overflow by what a single one had drained, and leave the program 3/8.) It flickers at that rate; trouble has a
// hysteresis of half a bucket, so that it lasts as long as the state does that a person would call thrashing.
//
// Invariants
//  1. limiting == on && capacity - fill < a period (settle).
//  2. Trouble begins where limiting does, though only under the limit's goal, and with the switch off too, or with a
//     collection that has left more than the limit; it ends when the bucket is half full or less and a collection has
//     left less, or when the goal is GOGC's again (look_for_trouble).
//  3. No window gives the program a negative time; times saturate.
//
// Threads: see the header. Rejected: a ratio over a sliding window (needs its samples kept, and says nothing until it
// is full); counting the background's time as measured (what is still going on would have to be asked of every worker;
// a quarter is what the pacer gives it); trouble as limiting without a break (the flicker ends it every 20 ms).
#include "gc/limiter.h"

#include "gc/saturate.h"

#define BACKGROUND_PART 4 // of all CPU time, one in

static uint64_t not_negative(int64_t ns)
{
	return ns > 0 ? (uint64_t)ns : 0;
}

// From one time to a later one; 0 the other way round.
static uint64_t elapsed(int64_t from_ns, int64_t to_ns)
{
	return to_ns > from_ns ? (uint64_t)to_ns - (uint64_t)from_ns : 0;
}

static uint64_t capacity_of(uint32_t workers)
{
	TARE_ASSERT(workers >= 1);
	return (uint64_t)workers * GC_LIMITER_CAPACITY_NS;
}

static bool is_full(const struct gc_limiter *l)
{
	return l->capacity_ns - l->fill_ns < (uint64_t)l->workers * GC_LIMITER_PERIOD_NS;
}

// Makes limiting what bucket and switch say.
static enum gc_limiter_change settle(struct gc_limiter *l, uint64_t cycle)
{
	bool before = l->limiting;
	l->limiting = l->on && is_full(l);
	if (l->limiting)
		l->last_cycle = cycle;
	if (l->limiting == before)
		return GC_LIMITER_AS_BEFORE;
	return l->limiting ? GC_LIMITER_BEGINS : GC_LIMITER_ENDS;
}

void gc_limiter_init(struct gc_limiter *l, uint32_t workers, int64_t now_ns)
{
	*l = (struct gc_limiter){
	    .capacity_ns = capacity_of(workers), .workers = workers, .updated_ns = now_ns, .on = true};
}

static void pour(struct gc_limiter *l, uint64_t collector_ns, uint64_t program_ns)
{
	if (collector_ns <= program_ns) {
		l->fill_ns = gc_minus(l->fill_ns, program_ns - collector_ns);
		return;
	}
	uint64_t in = collector_ns - program_ns;
	uint64_t fits = TARE_MIN(in, l->capacity_ns - l->fill_ns);
	l->fill_ns += fits;
	l->overflow_ns = gc_plus(l->overflow_ns, in - fits);
}

static void look_for_trouble(struct gc_limiter *l, bool limited, bool over)
{
	if (l->trouble) {
		l->trouble = limited && (over || l->fill_ns > l->capacity_ns / 2);
	} else if (limited && (over || is_full(l))) {
		l->trouble = true;
		l->trouble_ns = l->updated_ns;
		l->trouble_seq++;
	}
}

enum gc_limiter_change gc_limiter_update(struct gc_limiter *l, const struct gc_window *w)
{
	if (w->now_ns < l->updated_ns)
		return GC_LIMITER_AS_BEFORE;
	uint64_t total_ns;
	if (__builtin_mul_overflow(elapsed(l->updated_ns, w->now_ns), l->workers, &total_ns))
		total_ns = UINT64_MAX;
	l->updated_ns = w->now_ns;

	uint64_t collector_ns = not_negative(w->assist_ns);
	if (w->marking)
		collector_ns = gc_plus(collector_ns, total_ns / BACKGROUND_PART);
	if (w->stopped)
		collector_ns = total_ns;
	// The background's quarter is one of all time, idle or not; only then does idle time go off.
	uint64_t program_ns = gc_minus(gc_minus(total_ns, not_negative(w->idle_ns)), collector_ns);
	pour(l, collector_ns, program_ns);
	look_for_trouble(l, w->limited, w->over);
	return settle(l, w->cycle);
}

enum gc_limiter_change gc_limiter_resize(struct gc_limiter *l, uint32_t workers, uint64_t cycle)
{
	l->workers = workers;
	l->capacity_ns = capacity_of(workers);
	l->fill_ns = TARE_MIN(l->fill_ns, l->capacity_ns);
	return settle(l, cycle);
}

enum gc_limiter_change gc_limiter_switch(struct gc_limiter *l, bool on, uint64_t cycle)
{
	l->on = on;
	return settle(l, cycle);
}

bool gc_limiter_is_stale(const struct gc_limiter *l, int64_t now_ns)
{
	return elapsed(l->updated_ns, now_ns) >= GC_LIMITER_PERIOD_NS;
}

int64_t gc_limiter_trouble_ns(const struct gc_limiter *l, int64_t now_ns)
{
	if (!l->trouble)
		return 0;
	uint64_t ns = elapsed(l->trouble_ns, now_ns);
	return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

static bool is_due(uint64_t trouble_ns, int64_t after_ns)
{
	return trouble_ns >= not_negative(after_ns);
}

enum gc_step gc_limiter_due(const struct gc_limiter *l, const struct gc_way_out *way_out, int64_t now_ns)
{
	if (!l->trouble)
		return GC_STEP_NONE;
	uint64_t ns = elapsed(l->trouble_ns, now_ns);
	if (is_due(ns, way_out->abort_after_ns))
		return GC_STEP_ABORT;
	if (is_due(ns, way_out->fail_after_ns))
		return GC_STEP_FAIL;
	return is_due(ns, way_out->call_after_ns) ? GC_STEP_CALL : GC_STEP_NONE;
}
