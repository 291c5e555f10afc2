// SPDX-License-Identifier: MIT
//
// The pacer's arithmetic. With M what the last cycle marked, S the stacks it scanned, G other roots, γ = GOGC/100:
//
//      0        M              lower      trigger      upper    goal          room
//      ├────────┼────────────────┼───────────┼───────────┼────────┼─────────────┤
//                   mutator alone            └── runway: marking ─┘  (limit only: head room)
//
//   goal    = M + (M + S + G)·γ, at least the minimum heap; or what the limit leaves for objects less a head room, if
//             that is less, but never below M
//   runway  = cons/mark · (1 − u)/u · (bytes scanned last time + S + G), with u = 25 %: what the mutator allocates
//             while the background marks that much, if the mutator has the other 75 %. So in a steady state nobody
//             assists.
//   trigger = goal − runway, held between M + 45/64·(goal − M) and the larger of M + 61/64·(goal − M) and goal − 4 MiB;
//             where γ is small, and 19/64 of so small a span are less than M/16, the runway may be M/16, if that is not
//             half the span
//   under the limit, once swept: trigger = goal − runway, with the runway held between 3/64 and 19/64 of the slack that
//             the sweep left. There the goal moves: free places in spans count as others' memory (they may fit
//             nothing), so it rises by each byte that finds one of them, and what the trigger waits for is that new
//             memory is nearly used up
//   assist  = (work expected − done) / (goal − live): who allocates so many bytes marks so many
//
// Cons/mark is measured when a cycle ends: the bytes allocated per CPU time of the mutator over the bytes marked per
// CPU time of the collector. The largest of recent cycles counts, since a runway that is too long costs a little
// memory's use, and one that is too short makes requests assist.
//
// Invariants
//  1. M ≤ trigger ≤ goal.
//  2. Both assist ratios are finite and above 0, whatever is passed in.
//  3. No estimate extends a goal past what the limit leaves (room).
//  4. cons_mark is finite: a mutator's share below 1 % counts as 1 %.
//  5. Every sum and product of bytes saturates.
//
// Threads: see the header. Rejected: a proportional-integral controller of the trigger (Go's before 1.18: it swings
// when the heap grows); measuring the background's real share (25 % is what it is promised; a cycle in which it got
// less would lengthen the runway of the next); an extension of the limit's goal by GOGC or by a tenth, as Go has it
// (decisions.md).
#include "gc/pacer.h"

#include "gc/saturate.h"

// Background marking is rounded to whole workers unless that is off by more than this.
#define SHARE_ERROR_MAX 0.3
#define MUTATOR_SHARE_MIN 0.01
#define WORK_LEFT_MIN 1000
// From trigger to goal at least, where GOGC sets the goal: a cycle may begin late.
#define RUNWAY_MIN_BYTES (UINT64_C(64) << 10)
// What may be allocated at least before the next cycle, while a sweep goes on.
#define SWEEP_DISTANCE_BYTES (UINT64_C(1) << 20)
#define HEAD_ROOM_PERCENT 3
#define HEAD_ROOM_MIN_BYTES (UINT64_C(1) << 20)
#define TRIGGER_LOWER 45
#define TRIGGER_UPPER 61
#define TRIGGER_OF 64
// The part of what is live that a runway may always be, up to half of what may be allocated: so much floating garbage
// costs less than requests that assist.
#define RUNWAY_OF_LIVE 16

// ---- numbers ------------------------------------------------------------------------------------------------------

static uint64_t scaled(uint64_t value, uint64_t factor, uint64_t divisor)
{
	unsigned __int128 product = (unsigned __int128)value * factor / divisor;
	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

// Nothing for NaN.
static uint64_t bytes_of(double value)
{
	if (!(value > 0))
		return 0;
	return value >= 0x1p64 ? UINT64_MAX : (uint64_t)value;
}

static uint64_t work_sum(const struct gc_work *work)
{
	return gc_plus(gc_plus(work->heap_bytes, work->stack_bytes), work->global_bytes);
}

// ---- goal and trigger ---------------------------------------------------------------------------------------------

static uint64_t heap_min(const struct gc_knobs *knobs)
{
	if (knobs->heap_min_bytes != GC_HEAP_MIN_AUTO)
		return knobs->heap_min_bytes;
	return scaled(GC_HEAP_MIN_BYTES, knobs->gogc_percent, 100);
}

static uint64_t gogc_goal(const struct gc_pacer *p, uint64_t global_bytes)
{
	if (p->knobs.gogc_percent == GC_GOGC_OFF)
		return UINT64_MAX;
	uint64_t base = gc_plus(gc_plus(p->marked_bytes, p->stack_scan_bytes), global_bytes);
	uint64_t goal = gc_plus(p->marked_bytes, scaled(base, p->knobs.gogc_percent, 100));
	return TARE_MAX(goal, heap_min(&p->knobs));
}

// What the limit leaves for objects. Memory that is free for objects is theirs; what already is over the limit goes off
// once more, so that memory comes back.
static uint64_t limit_room(const struct gc_knobs *knobs, const struct gc_heap_now *now)
{
	uint64_t others = gc_minus(now->counted_bytes, gc_plus(now->object_bytes, now->free_bytes));
	uint64_t over = gc_minus(now->counted_bytes, knobs->limit_bytes);
	return gc_minus(knobs->limit_bytes, gc_plus(others, over));
}

static uint64_t limit_goal(const struct gc_pacer *p, uint64_t room)
{
	uint64_t head_room = TARE_MAX(scaled(room, HEAD_ROOM_PERCENT, 100), HEAD_ROOM_MIN_BYTES);
	// A room below two head rooms is halved: the goal is never more than there is.
	uint64_t goal = room - TARE_MIN(head_room, room / 2);
	return TARE_MAX(goal, p->marked_bytes);
}

static uint64_t trigger_of(const struct gc_pacer *p, uint64_t goal, uint64_t floor)
{
	uint64_t marked = p->marked_bytes;
	if (goal == UINT64_MAX || marked >= goal)
		return goal;
	uint64_t span = goal - marked;
	uint64_t longest = TARE_MIN(marked / RUNWAY_OF_LIVE, span / 2);
	uint64_t lower = TARE_MIN(marked + scaled(span, TRIGGER_LOWER, TRIGGER_OF), goal - longest);
	lower = TARE_MAX(lower, floor);
	uint64_t upper = marked + scaled(span, TRIGGER_UPPER, TRIGGER_OF);
	upper = TARE_MAX(upper, gc_minus(goal, GC_HEAP_MIN_BYTES));
	upper = TARE_MAX(upper, lower);
	uint64_t trigger = gc_minus(goal, p->runway_bytes);
	return TARE_MIN(TARE_MAX(trigger, lower), upper);
}

static uint64_t limit_trigger(const struct gc_pacer *p, uint64_t goal)
{
	uint64_t least = TARE_MIN(scaled(p->slack_bytes, TRIGGER_OF - TRIGGER_UPPER, TRIGGER_OF), GC_HEAP_MIN_BYTES);
	uint64_t most = scaled(p->slack_bytes, TRIGGER_OF - TRIGGER_LOWER, TRIGGER_OF);
	uint64_t runway = TARE_MIN(TARE_MAX(p->runway_bytes, least), most);
	return TARE_MAX(gc_minus(goal, runway), p->marked_bytes);
}

struct gc_target gc_pacer_target(const struct gc_pacer *p, const struct gc_heap_now *now)
{
	struct gc_target target = {.goal_bytes = p->gogc_goal_bytes};
	uint64_t floor = 0;
	if (p->knobs.limit_bytes != GC_LIMIT_NONE) {
		uint64_t of_limit = limit_goal(p, limit_room(&p->knobs, now));
		target.limited = of_limit <= target.goal_bytes;
		target.goal_bytes = TARE_MIN(of_limit, target.goal_bytes);
	}
	// Under the limit's goal nothing moves it up.
	if (!target.limited) {
		floor = p->sweep_floor_bytes;
		target.goal_bytes = TARE_MAX(target.goal_bytes, floor);
		if (p->marking)
			target.goal_bytes = TARE_MAX(target.goal_bytes, gc_plus(p->triggered_bytes, RUNWAY_MIN_BYTES));
	}
	target.trigger_bytes = target.limited && p->slack_bytes > 0 ? limit_trigger(p, target.goal_bytes)
								    : trigger_of(p, target.goal_bytes, floor);
	return target;
}

void gc_pacer_commit(struct gc_pacer *p, const struct gc_heap_now *now)
{
	uint64_t work = gc_plus(gc_plus(p->heap_scan_bytes, p->stack_scan_bytes), now->global_bytes);
	p->gogc_goal_bytes = gogc_goal(p, now->global_bytes);
	p->sweep_floor_bytes = now->sweeping ? gc_plus(now->live_bytes, SWEEP_DISTANCE_BYTES) : 0;
	p->runway_bytes = bytes_of(p->cons_mark * ((1 - GC_BACKGROUND_SHARE) / GC_BACKGROUND_SHARE) * (double)work);
	// Nothing is known before the first cycle, so it begins as early as any: it may find that everything is live.
	if (p->cycles == 0)
		p->runway_bytes = UINT64_MAX;
}

void gc_pacer_swept(struct gc_pacer *p, const struct gc_heap_now *now)
{
	gc_pacer_commit(p, now);
	p->slack_bytes = 0;
	if (p->knobs.limit_bytes != GC_LIMIT_NONE)
		p->slack_bytes = gc_minus(limit_goal(p, limit_room(&p->knobs, now)), now->live_bytes);
}

void gc_pacer_set(struct gc_pacer *p, const struct gc_knobs *knobs, const struct gc_heap_now *now)
{
	TARE_ASSERT(knobs->workers >= 1);
	p->knobs = *knobs;
	gc_pacer_commit(p, now);
}

void gc_pacer_init(struct gc_pacer *p, const struct gc_knobs *knobs, const struct gc_heap_now *now)
{
	*p = (struct gc_pacer){.marked_bytes = 0};
	gc_pacer_set(p, knobs, now);
}

// ---- a cycle ------------------------------------------------------------------------------------------------------

// Where to end now that there is more work than expected: further in the same proportion, as if the cycle had known,
// but by no more than GOGC allows the next goal to grow.
static uint64_t extended_goal(const struct gc_pacer *p, uint64_t goal, uint64_t expected, uint64_t most)
{
	if (goal <= p->triggered_bytes || most <= expected || expected == 0)
		return goal;
	uint64_t further = gc_plus(p->triggered_bytes, scaled(goal - p->triggered_bytes, most, expected));
	uint64_t hard = UINT64_MAX;
	if (p->knobs.gogc_percent != GC_GOGC_OFF)
		hard = gc_plus(goal, scaled(goal, p->knobs.gogc_percent, 100));
	return TARE_MIN(further, hard);
}

struct gc_assist gc_pacer_revise(const struct gc_pacer *p, const struct gc_heap_now *now, const struct gc_work *done)
{
	TARE_ASSERT(p->marking);
	struct gc_target target = gc_pacer_target(p, now);
	uint64_t goal = target.goal_bytes;
	uint64_t work = work_sum(done);
	uint64_t most = gc_plus(gc_plus(now->scan_bytes, now->stack_bytes), now->global_bytes);
	// As much as last time, if there was one: what died since needs no marking, and what was born is black or new.
	uint64_t expected = gc_plus(gc_plus(p->heap_scan_bytes, p->stack_scan_bytes), now->global_bytes);
	if (p->cycles == 0)
		expected = most;
	if (work > expected) {
		goal = extended_goal(p, goal, expected, most);
		expected = most;
	}
	// Past the goal all the same: a tenth more, so that who allocates is slowed down and not stopped at once.
	if (now->live_bytes > goal) {
		goal = gc_plus(goal, goal / 10);
		expected = most;
	}
	if (p->knobs.limit_bytes != GC_LIMIT_NONE)
		goal = TARE_MIN(goal, TARE_MAX(limit_room(&p->knobs, now), target.goal_bytes));

	double work_left = (double)TARE_MAX(gc_minus(expected, work), WORK_LEFT_MIN);
	double heap_left = (double)TARE_MAX(gc_minus(goal, now->live_bytes), 1);
	return (struct gc_assist){.work_per_byte = work_left / heap_left, .bytes_per_work = heap_left / work_left};
}

struct gc_plan gc_pacer_start(struct gc_pacer *p, const struct gc_heap_now *now)
{
	TARE_ASSERT(!p->marking);
	p->marking = true;
	p->triggered_bytes = now->live_bytes;
	p->cycle_workers = p->knobs.workers;

	uint32_t workers = p->knobs.workers;
	double aim = (double)workers * GC_BACKGROUND_SHARE;
	struct gc_plan plan = {.dedicated = (uint32_t)(aim + 0.5)};
	double error = (double)plan.dedicated / aim - 1;
	if (error > SHARE_ERROR_MAX || error < -SHARE_ERROR_MAX) {
		plan.dedicated = (uint32_t)aim;
		plan.fractional = (aim - (double)plan.dedicated) / (double)workers;
	}
	plan.idle_workers_max = workers - plan.dedicated;
	// Shares of workers that have nothing to run are worth nothing: with no dedicated one, somebody idle must mark.
	if (!p->knobs.idle_marking)
		plan.idle_workers_max = plan.dedicated == 0 ? 1 : 0;
	plan.assist = gc_pacer_revise(p, now, &(struct gc_work){.heap_bytes = 0});
	return plan;
}

// Notes what a cycle measured, if it did: without allocations or work there is nothing to compare.
static void measure(struct gc_pacer *p, uint64_t live_bytes, const struct gc_outcome *outcome)
{
	uint64_t grown = gc_minus(live_bytes, p->triggered_bytes);
	uint64_t work = work_sum(&outcome->work);
	if (grown == 0 || work == 0)
		return;
	double used = GC_BACKGROUND_SHARE, idle = 0;
	if (outcome->wall_ns > 0) {
		double cpu_ns = (double)outcome->wall_ns * (double)p->cycle_workers;
		used += (double)TARE_MAX(outcome->assist_ns, 0) / cpu_ns;
		idle = (double)TARE_MAX(outcome->idle_ns, 0) / cpu_ns;
	}
	used = TARE_MIN(used, 1 - MUTATOR_SHARE_MIN);
	idle = TARE_MIN(idle, 1 - used);
	// Idle time was the mutator's to use, so it stays in the mutator's share.
	double cons = (double)grown / (1 - used);
	double mark = (double)work / (used + idle);
	p->recent[p->measured++ % GC_PACER_RECENT] = cons / mark;
	p->cons_mark = 0;
	for (size_t i = 0; i < GC_PACER_RECENT; i++)
		p->cons_mark = TARE_MAX(p->cons_mark, p->recent[i]);
}

void gc_pacer_end(struct gc_pacer *p, const struct gc_heap_now *now, const struct gc_outcome *outcome)
{
	TARE_ASSERT(p->marking);
	measure(p, now->live_bytes, outcome);
	p->marking = false;
	p->cycles++;
	p->slack_bytes = 0;
	p->marked_bytes = outcome->marked_bytes;
	p->heap_scan_bytes = outcome->work.heap_bytes;
	p->stack_scan_bytes = outcome->work.stack_bytes;
	struct gc_heap_now after = *now;
	after.live_bytes = outcome->marked_bytes;
	gc_pacer_commit(p, &after);
}
