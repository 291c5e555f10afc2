// SPDX-License-Identifier: MIT
// Goal: the pacer's arithmetic is exact where it can be reckoned by hand, and stays within its invariants for any
// input: zero, huge, contradictory. Method: single calls; then random 64-bit values.
#include "test.h"

#include "gc/pacer.h"

#include <math.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct gc_heap_now nothing;

static struct gc_knobs knobs_of(uint32_t gogc, uint64_t limit)
{
	return (struct gc_knobs){.gogc_percent = gogc,
				 .limit_bytes = limit,
				 .heap_min_bytes = GC_HEAP_MIN_AUTO,
				 .workers = 4,
				 .idle_marking = true};
}

// A pacer after a cycle of 10 ms that marked so much of so many pointers, and let so much be allocated.
static struct gc_pacer after_cycle(const struct gc_knobs *knobs, uint64_t marked, struct gc_work work, uint64_t grown)
{
	struct gc_pacer p;
	struct gc_heap_now now = {.live_bytes = marked, .global_bytes = work.global_bytes};
	gc_pacer_init(&p, knobs, &now);
	(void)gc_pacer_start(&p, &now);
	now.live_bytes += grown;
	struct gc_outcome out = {.work = work, .marked_bytes = marked, .wall_ns = 10 * TARE_NS_PER_MS};
	gc_pacer_end(&p, &now, &out);
	return p;
}

// ---- goals --------------------------------------------------------------------------------------------------------

TEST(the_goal_counts_stacks_and_roots_with_gogc)
{
	struct gc_knobs knobs = knobs_of(50, GC_LIMIT_NONE);
	struct gc_work work = {.heap_bytes = 80 * MIB, .stack_bytes = 10 * MIB, .global_bytes = 6 * MIB};
	struct gc_pacer p = after_cycle(&knobs, 100 * MIB, work, 0);
	assert_int_equal(gc_pacer_target(&p, &nothing).goal_bytes, 100 * MIB + (100 + 10 + 6) * MIB / 2);
}

TEST(the_minimum_heap_follows_gogc_or_its_own_knob)
{
	static const struct {
		uint32_t gogc;
		uint64_t min, goal;
	} expected[] = {{100, GC_HEAP_MIN_AUTO, 4 * MIB},
			{50, GC_HEAP_MIN_AUTO, 2 * MIB},
			{400, GC_HEAP_MIN_AUTO, 16 * MIB},
			{0, GC_HEAP_MIN_AUTO, 0},
			{100, 0, 0},
			{10, 32 * MIB, 32 * MIB},
			{0, 7, 7},
			{GC_GOGC_OFF, 7, UINT64_MAX}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(expected); i++) {
		struct gc_knobs knobs = knobs_of(expected[i].gogc, GC_LIMIT_NONE);
		knobs.heap_min_bytes = expected[i].min;
		struct gc_pacer p;
		gc_pacer_init(&p, &knobs, &nothing);
		assert_int_equal(gc_pacer_target(&p, &nothing).goal_bytes, expected[i].goal);
	}
}

TEST(gogc_off_without_a_limit_never_collects)
{
	struct gc_knobs knobs = knobs_of(GC_GOGC_OFF, GC_LIMIT_NONE);
	struct gc_pacer p = after_cycle(&knobs, 100 * MIB, (struct gc_work){.heap_bytes = 100 * MIB}, MIB);
	struct gc_target target = gc_pacer_target(&p, &nothing);
	assert_int_equal(target.goal_bytes, UINT64_MAX);
	assert_int_equal(target.trigger_bytes, UINT64_MAX);
}

TEST(gogc_zero_collects_at_once_and_ends_all_the_same)
{
	struct gc_knobs knobs = knobs_of(0, GC_LIMIT_NONE);
	struct gc_pacer p = after_cycle(&knobs, 10 * MIB, (struct gc_work){.heap_bytes = 10 * MIB}, MIB);
	struct gc_heap_now now = {.live_bytes = 10 * MIB, .scan_bytes = 10 * MIB};
	struct gc_target target = gc_pacer_target(&p, &now);
	assert_int_equal(target.goal_bytes, 10 * MIB);
	assert_int_equal(target.trigger_bytes, 10 * MIB);
	// Once it runs, there is the least runway.
	struct gc_plan plan = gc_pacer_start(&p, &now);
	assert_int_equal(gc_pacer_target(&p, &now).goal_bytes, 10 * MIB + 64 * KIB);
	assert_true(fabs(plan.assist.work_per_byte - 160) < 1e-9);
}

// ---- the limit ----------------------------------------------------------------------------------------------------

TEST(the_limits_goal_leaves_out_what_is_not_heap_and_a_head_room)
{
	// Of what the limit leaves, 3 % or 1 MiB, or half of what is less than 2 MiB. What is over the limit counts
	// twice.
	static const struct {
		uint64_t limit, counted, objects, free, goal;
	} expected[] = {
	    {GIB, 0, 0, 0, GIB - GIB * 3 / 100},
	    {GIB, 700 * MIB, 300 * MIB, 0, 624 * MIB - 624 * MIB * 3 / 100},
	    // Free memory is the heap's to fill.
	    {GIB, 700 * MIB, 300 * MIB, 150 * MIB, 774 * MIB - 774 * MIB * 3 / 100},
	    {20 * MIB, 0, 0, 0, 19 * MIB},
	    {2 * MIB, 0, 0, 0, MIB},
	    {MIB, 0, 0, 0, MIB / 2},
	    {1, 0, 0, 0, 1},
	    {0, 0, 0, 0, 0},
	    // Over the limit by 100 MiB, all of it heap; then all of it something else.
	    {GIB, GIB + 100 * MIB, GIB + 100 * MIB, 0, 924 * MIB - 924 * MIB * 3 / 100},
	    {GIB, GIB + 100 * MIB, 0, 0, 0},
	    // Counters that don't add up: nothing but heap.
	    {GIB, 10 * MIB, 300 * MIB, 7 * MIB, GIB - GIB * 3 / 100},
	    {GIB, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(expected); i++) {
		struct gc_knobs knobs = knobs_of(GC_GOGC_OFF, expected[i].limit);
		struct gc_heap_now now = {.counted_bytes = expected[i].counted,
					  .object_bytes = expected[i].objects,
					  .free_bytes = expected[i].free};
		struct gc_pacer p;
		gc_pacer_init(&p, &knobs, &now);
		struct gc_target target = gc_pacer_target(&p, &now);
		assert_int_equal(target.goal_bytes, expected[i].goal);
		assert_true(target.limited);
	}
}

TEST(the_limits_goal_is_never_below_what_was_marked_nor_above_gogcs)
{
	struct gc_knobs knobs = knobs_of(100, 100 * MIB);
	struct gc_pacer p = after_cycle(&knobs, 300 * MIB, (struct gc_work){.heap_bytes = MIB}, 0);
	struct gc_heap_now now = {.live_bytes = 300 * MIB, .counted_bytes = 300 * MIB, .object_bytes = 300 * MIB};
	struct gc_target target = gc_pacer_target(&p, &now);
	assert_int_equal(target.goal_bytes, 300 * MIB);
	assert_int_equal(target.trigger_bytes, 300 * MIB);
	assert_true(target.limited);
	// With GOGC = 0 both goals are what was marked: it's the limit that presses.
	knobs.gogc_percent = 0;
	gc_pacer_set(&p, &knobs, &now);
	assert_true(gc_pacer_target(&p, &now).limited);
	knobs.gogc_percent = 100;
	p = after_cycle(&knobs, 10 * MIB, (struct gc_work){.heap_bytes = MIB}, 0);
	target = gc_pacer_target(&p, &nothing);
	assert_int_equal(target.goal_bytes, 20 * MIB);
	assert_false(target.limited);
}

TEST(under_the_limits_goal_neither_a_sweep_nor_a_late_start_moves_it)
{
	struct gc_knobs knobs = knobs_of(100, 20 * MIB);
	struct gc_pacer p = after_cycle(&knobs, 15 * MIB, (struct gc_work){.heap_bytes = 15 * MIB}, MIB);
	struct gc_heap_now now = {.live_bytes = 18900 * KIB, .sweeping = true};
	gc_pacer_commit(&p, &now);
	assert_int_equal(gc_pacer_target(&p, &now).goal_bytes, 19 * MIB);
	now.live_bytes = 21 * MIB;
	(void)gc_pacer_start(&p, &now);
	assert_int_equal(gc_pacer_target(&p, &now).goal_bytes, 19 * MIB);
}

// ---- trigger ------------------------------------------------------------------------------------------------------

TEST(the_trigger_stays_between_its_bounds)
{
	struct gc_knobs knobs = knobs_of(100, GC_LIMIT_NONE);
	// No growth measured: as late as may be. Below 85 MiB of span that is 61/64, above 4 MiB before the goal.
	struct gc_pacer p = after_cycle(&knobs, 32 * MIB, (struct gc_work){.heap_bytes = 32 * MIB}, 0);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, 32 * MIB + 32 * MIB / 64 * 61);
	p = after_cycle(&knobs, 256 * MIB, (struct gc_work){.heap_bytes = 256 * MIB}, 0);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, 508 * MIB);
	// Much growth: as early as may be.
	p = after_cycle(&knobs, 256 * MIB, (struct gc_work){.heap_bytes = 256 * MIB}, GIB);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, 256 * MIB + 256 * MIB / 64 * 45);
	// So early only where M/16 is no more than 19/64 of the span: with 20 % M/16 is the runway, with 10 % half the
	// span.
	knobs = knobs_of(20, GC_LIMIT_NONE);
	p = after_cycle(&knobs, 1280 * MIB, (struct gc_work){.heap_bytes = 1280 * MIB}, GIB);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, (1280 + 256 - 80) * MIB);
	knobs = knobs_of(10, GC_LIMIT_NONE);
	p = after_cycle(&knobs, 1280 * MIB, (struct gc_work){.heap_bytes = 1280 * MIB}, GIB);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, (1280 + 64) * MIB);
	knobs = knobs_of(100, GC_LIMIT_NONE);
	// Between: the runway is what a quarter of CPU time marking lets three quarters allocate, which was measured as
	// is.
	p = after_cycle(&knobs, 256 * MIB, (struct gc_work){.heap_bytes = 256 * MIB}, 32 * MIB);
	assert_int_equal(gc_pacer_target(&p, &nothing).trigger_bytes, 480 * MIB);
}

TEST(before_the_first_cycle_the_trigger_is_early)
{
	struct gc_knobs knobs = knobs_of(GC_GOGC_OFF, GIB);
	struct gc_pacer p;
	gc_pacer_init(&p, &knobs, &nothing);
	struct gc_target target = gc_pacer_target(&p, &nothing);
	assert_int_equal(target.trigger_bytes, (uint64_t)((unsigned __int128)target.goal_bytes * 45 / 64));
}

TEST(a_sweep_has_room_to_end_before_the_next_cycle)
{
	struct gc_knobs knobs = knobs_of(10, GC_LIMIT_NONE);
	knobs.heap_min_bytes = 0;
	struct gc_pacer p = after_cycle(&knobs, 2 * MIB, (struct gc_work){.heap_bytes = 2 * MIB}, 0);
	struct gc_heap_now now = {.live_bytes = 2 * MIB, .sweeping = true};
	assert_true(gc_pacer_target(&p, &now).trigger_bytes < 3 * MIB);
	gc_pacer_commit(&p, &now);
	struct gc_target target = gc_pacer_target(&p, &now);
	assert_int_equal(target.trigger_bytes, 3 * MIB);
	assert_int_equal(target.goal_bytes, 3 * MIB);
	now.sweeping = false;
	gc_pacer_commit(&p, &now);
	assert_true(gc_pacer_target(&p, &now).trigger_bytes < 3 * MIB);
}

// ---- who marks ----------------------------------------------------------------------------------------------------

TEST(a_quarter_of_the_workers_marks_in_whole_or_in_shares)
{
	static const struct {
		uint32_t workers, dedicated;
		double fractional;
	} expected[] = {{1, 0, 0.25}, {2, 0, 0.25},
			{3, 0, 0.25}, {4, 1, 0},
			{5, 1, 0},    {6, 1, 0.5 / 6},
			{7, 2, 0},    {8, 2, 0},
			{9, 2, 0},    {10, 3, 0},
			{11, 3, 0},   {64, 16, 0},
			{255, 64, 0}, {UINT32_MAX, 1 << 30, 0}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(expected); i++) {
		for (int idle = 0; idle < 2; idle++) {
			struct gc_knobs knobs = knobs_of(100, GC_LIMIT_NONE);
			knobs.workers = expected[i].workers;
			knobs.idle_marking = idle != 0;
			struct gc_pacer p;
			gc_pacer_init(&p, &knobs, &nothing);
			struct gc_plan plan = gc_pacer_start(&p, &nothing);
			assert_int_equal(plan.dedicated, expected[i].dedicated);
			assert_true(fabs(plan.fractional - expected[i].fractional) < 1e-12);
			assert_true(plan.assist.work_per_byte > 0);
			// Without idle marking, somebody marks all the same once all workers sleep.
			uint32_t idle_max = idle ? plan.idle_workers_max + plan.dedicated : plan.idle_workers_max;
			assert_int_equal(idle_max, idle ? knobs.workers : plan.dedicated == 0);
		}
	}
}

// ---- assists ------------------------------------------------------------------------------------------------------

// A cycle that runs, after one that marked 64 MiB: from 120 MiB to 128.
static struct gc_pacer marking(struct gc_heap_now *now, uint64_t limit)
{
	struct gc_knobs knobs = knobs_of(100, limit);
	struct gc_pacer p = after_cycle(&knobs, 64 * MIB, (struct gc_work){.heap_bytes = 64 * MIB}, 8 * MIB);
	*now = (struct gc_heap_now){.live_bytes = 120 * MIB, .scan_bytes = 120 * MIB};
	(void)gc_pacer_start(&p, now);
	return p;
}

static double ratio(const struct gc_pacer *p, struct gc_heap_now now, uint64_t live, uint64_t done)
{
	now.live_bytes = live;
	now.object_bytes = now.counted_bytes = live;
	struct gc_assist assist = gc_pacer_revise(p, &now, &(struct gc_work){.heap_bytes = done});
	assert_true(fabs(assist.work_per_byte * assist.bytes_per_work - 1) < 1e-9);
	return assist.work_per_byte;
}

static void assert_close(double value, double expected)
{
	if (!(fabs(value - expected) <= 1e-6 * expected))
		fail_msg("%g is not %g", value, expected);
}

TEST(assists_owe_what_is_left_of_the_work_for_what_is_left_to_the_goal)
{
	struct gc_heap_now now;
	struct gc_pacer p = marking(&now, GC_LIMIT_NONE);
	assert_close(ratio(&p, now, 120 * MIB, 0), 8);
	assert_close(ratio(&p, now, 124 * MIB, 32 * MIB), 8);
	assert_close(ratio(&p, now, 124 * MIB, 0), 16);
	assert_close(ratio(&p, now, 121 * MIB, 57 * MIB), 1);
	// Done, as far as anybody knew: a little is always owed.
	assert_close(ratio(&p, now, 127 * MIB, 64 * MIB), 1000.0 / MIB);
	// At the goal, all of it for one byte.
	assert_close(ratio(&p, now, 128 * MIB, 0), 64.0 * MIB);
}

TEST(more_work_than_expected_moves_the_goal_as_far_as_gogc_allows)
{
	struct gc_heap_now now;
	struct gc_pacer p = marking(&now, GC_LIMIT_NONE);
	// 120 MiB at most, for which 8 · 120/64 = 15 MiB would have been left.
	assert_close(ratio(&p, now, 125 * MIB, 65 * MIB), (120.0 - 65) / (135 - 125));
	// Of little expected, much may be: no further than twice the goal.
	p.heap_scan_bytes = MIB;
	assert_close(ratio(&p, now, 125 * MIB, 2 * MIB), (120.0 - 2) / (256 - 125));
	p.heap_scan_bytes = 0;
	assert_close(ratio(&p, now, 125 * MIB, 2 * MIB), (120.0 - 2) / (128 - 125));
}

TEST(past_the_goal_a_tenth_more_is_to_be_had_and_no_more)
{
	struct gc_heap_now now;
	struct gc_pacer p = marking(&now, GC_LIMIT_NONE);
	uint64_t tenth = 128 * MIB + 128 * MIB / 10;
	assert_close(ratio(&p, now, 130 * MIB, 20 * MIB), (double)(100 * MIB) / (double)(tenth - 130 * MIB));
	assert_close(ratio(&p, now, tenth + 5, 20 * MIB), (double)(100 * MIB));
}

TEST(under_the_limits_goal_nothing_is_to_be_had_past_the_limit)
{
	struct gc_heap_now now;
	// 125 MiB and no more; the goal is 3 % less.
	struct gc_pacer p = marking(&now, 125 * MIB);
	double goal = 125.0 * MIB - floor(125.0 * MIB * 3 / 100);
	assert_close(ratio(&p, now, 120 * MIB, 0), 64 * (double)MIB / (goal - 120.0 * MIB));
	// The head room is there to be used, once all that may be live is to be marked.
	assert_close(ratio(&p, now, 123 * MIB, 20 * MIB), 100.0 / 2);
	assert_close(ratio(&p, now, 123 * MIB, 65 * MIB), 55.0 / 2);
	assert_close(ratio(&p, now, 125 * MIB, 20 * MIB), 100.0 * MIB);
	// Past it, what is over counts against it once more.
	assert_close(ratio(&p, now, 130 * MIB, 20 * MIB), 100.0 * MIB);
}

TEST(nothing_extends_gogcs_goal_past_the_limit_either)
{
	struct gc_heap_now now;
	// GOGC's goal is 128 MiB, and the limit's a little more.
	struct gc_pacer p = marking(&now, 132 * MIB);
	assert_false(gc_pacer_target(&p, &now).limited);
	assert_close(ratio(&p, now, 130 * MIB, 20 * MIB), 100.0 / 2);
	p.heap_scan_bytes = MIB;
	assert_close(ratio(&p, now, 125 * MIB, 2 * MIB), (120.0 - 2) / (132 - 125));
}

// ---- measuring ----------------------------------------------------------------------------------------------------

static double measured(struct gc_outcome out, uint64_t grown)
{
	struct gc_knobs knobs = knobs_of(100, GC_LIMIT_NONE);
	struct gc_pacer p;
	struct gc_heap_now now = {.live_bytes = 10 * MIB};
	gc_pacer_init(&p, &knobs, &now);
	(void)gc_pacer_start(&p, &now);
	now.live_bytes += grown;
	gc_pacer_end(&p, &now, &out);
	assert_true(isfinite(p.cons_mark));
	return p.cons_mark;
}

TEST(cons_mark_is_allocation_a_mutator_time_over_marking_a_collector_time)
{
	// 4 workers, 10 ms: 40 ms of CPU time, of which 10 are the background's.
	struct gc_outcome out = {.work = {.heap_bytes = 10 * MIB}, .wall_ns = 10 * TARE_NS_PER_MS};
	assert_close(measured(out, 3 * MIB), (3.0 / 30) / (10.0 / 10));
	out.assist_ns = 10 * TARE_NS_PER_MS;
	assert_close(measured(out, 3 * MIB), (3.0 / 20) / (10.0 / 20));
	// Idle marking marks, and the time was the program's to use.
	out.idle_ns = 10 * TARE_NS_PER_MS;
	assert_close(measured(out, 3 * MIB), (3.0 / 20) / (10.0 / 30));
	out.work = (struct gc_work){.heap_bytes = 5 * MIB, .stack_bytes = 3 * MIB, .global_bytes = 2 * MIB};
	assert_close(measured(out, 3 * MIB), (3.0 / 20) / (10.0 / 30));
}

TEST(cycles_that_measure_nothing_or_everything_leave_a_finite_cons_mark)
{
	struct gc_outcome out = {.work = {.heap_bytes = MIB}};
	assert_close(measured(out, 3 * MIB), 1);
	// All CPU time assisted, and more than all.
	out.wall_ns = 10 * TARE_NS_PER_MS;
	out.assist_ns = 30 * TARE_NS_PER_MS;
	assert_close(measured(out, MIB), 99);
	out.assist_ns = INT64_MAX;
	out.idle_ns = INT64_MAX;
	assert_close(measured(out, MIB), 100);
	// Times that went back.
	out.assist_ns = out.idle_ns = -5;
	assert_close(measured(out, MIB), 1.0 / 3);
	assert_true(measured(out, 0) <= 0);
	out.work.heap_bytes = 0;
	assert_true(measured(out, MIB) <= 0);
}

TEST(the_most_of_recent_cycles_counts_and_cycles_without_a_measure_do_not)
{
	struct gc_knobs knobs = knobs_of(100, GC_LIMIT_NONE);
	struct gc_pacer p;
	struct gc_heap_now now = {.live_bytes = 10 * MIB};
	gc_pacer_init(&p, &knobs, &now);
	for (int i = 0; i < 20; i++) {
		// 9 MiB in the third cycle, else 3 MiB, but nothing from cycle 10 on.
		uint64_t grown = i == 2 ? 9 * MIB : i < 10 ? 3 * MIB : 0;
		now.live_bytes = 10 * MIB;
		(void)gc_pacer_start(&p, &now);
		now.live_bytes += grown;
		struct gc_outcome out = {.work = {.heap_bytes = 10 * MIB}, .wall_ns = 1000, .marked_bytes = 10 * MIB};
		gc_pacer_end(&p, &now, &out);
		assert_close(p.cons_mark, i >= 2 && i < 2 + GC_PACER_RECENT ? 0.3 : 0.1);
	}
}

TEST(workers_that_change_during_a_cycle_count_from_the_next_on)
{
	struct gc_knobs knobs = knobs_of(100, GC_LIMIT_NONE);
	struct gc_pacer p;
	struct gc_heap_now now = {.live_bytes = 10 * MIB};
	gc_pacer_init(&p, &knobs, &now);
	(void)gc_pacer_start(&p, &now);
	knobs.workers = 400;
	gc_pacer_set(&p, &knobs, &now);
	now.live_bytes += 3 * MIB;
	struct gc_outcome out = {
	    .work = {.heap_bytes = 10 * MIB}, .wall_ns = 10 * TARE_NS_PER_MS, .assist_ns = 10 * TARE_NS_PER_MS};
	gc_pacer_end(&p, &now, &out);
	assert_close(p.cons_mark, (3.0 / 20) / (10.0 / 20));
	assert_int_equal(gc_pacer_start(&p, &now).dedicated, 100);
}

// ---- anything -----------------------------------------------------------------------------------------------------

// Zero, tiny, huge and everything between.
static uint64_t any(struct tare_rng *rng)
{
	switch (tare_rng_below(rng, 5)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - tare_rng_below(rng, 3);
	default:
		return tare_rng_next(rng) >> tare_rng_below(rng, 64);
	}
}

static struct gc_heap_now any_now(struct tare_rng *rng)
{
	return (struct gc_heap_now){
	    .live_bytes = any(rng),
	    .scan_bytes = any(rng),
	    .stack_bytes = any(rng),
	    .global_bytes = any(rng),
	    .counted_bytes = any(rng),
	    .object_bytes = any(rng),
	    .free_bytes = any(rng),
	    .sweeping = tare_rng_below(rng, 2) == 0,
	};
}

static struct gc_work any_work(struct tare_rng *rng)
{
	return (struct gc_work){.heap_bytes = any(rng), .stack_bytes = any(rng), .global_bytes = any(rng)};
}

static void check_target(const struct gc_pacer *p, const struct gc_heap_now *now)
{
	struct gc_target target = gc_pacer_target(p, now);
	assert_true(target.trigger_bytes <= target.goal_bytes);
	assert_true(target.goal_bytes >= p->marked_bytes);
	if (target.goal_bytes != UINT64_MAX)
		assert_true(target.trigger_bytes >= p->marked_bytes);
	assert_true(isfinite(p->cons_mark) && p->cons_mark >= 0);
}

TEST(any_numbers_leave_the_invariants)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (int round = 0; round < 3000; round++) {
		struct gc_knobs knobs = {.gogc_percent = (uint32_t)any(&rng),
					 .limit_bytes = any(&rng),
					 .heap_min_bytes = any(&rng),
					 .workers = (uint32_t)any(&rng) | 1,
					 .idle_marking = tare_rng_below(&rng, 2) == 0};
		struct gc_heap_now now = any_now(&rng);
		struct gc_pacer p;
		gc_pacer_init(&p, &knobs, &now);
		for (int cycle = 0; cycle < 8; cycle++) {
			check_target(&p, &now);
			now = any_now(&rng);
			struct gc_plan plan = gc_pacer_start(&p, &now);
			assert_true(plan.dedicated <= knobs.workers);
			assert_true(plan.fractional >= 0 && plan.fractional <= 0.25);
			for (int i = 0; i < 4; i++) {
				now = any_now(&rng);
				struct gc_work work = any_work(&rng);
				struct gc_assist assist = gc_pacer_revise(&p, &now, &work);
				assert_true(isfinite(assist.work_per_byte) && assist.work_per_byte > 0);
				assert_true(isfinite(assist.bytes_per_work) && assist.bytes_per_work > 0);
				check_target(&p, &now);
			}
			struct gc_outcome out = {.work = any_work(&rng),
						 .marked_bytes = any(&rng),
						 .wall_ns = (int64_t)any(&rng),
						 .assist_ns = (int64_t)any(&rng),
						 .idle_ns = (int64_t)any(&rng)};
			gc_pacer_end(&p, &now, &out);
		}
	}
}

TEST(once_swept_the_limits_trigger_follows_the_memory_that_is_taken)
{
	struct gc_knobs knobs = knobs_of(GC_GOGC_OFF, 68 * MIB);
	struct gc_pacer p = after_cycle(&knobs, 30 * MIB, (struct gc_work){.heap_bytes = MIB}, 0);
	// Of 60 MiB of blocks half is free places: 8 MiB are left, 1.14 of them head room. The runway is as long as it
	// may be.
	struct gc_heap_now now = {.live_bytes = 30 * MIB, .object_bytes = 30 * MIB, .counted_bytes = 60 * MIB};
	gc_pacer_swept(&p, &now);
	uint64_t slack = p.slack_bytes;
	assert_true(slack > 6 * MIB && slack < 7 * MIB);
	p.runway_bytes = UINT64_MAX;
	// The places are filled, no memory is taken: the trigger moves along.
	for (uint64_t live = 30 * MIB; live <= 60 * MIB; live += MIB) {
		now.live_bytes = now.object_bytes = live;
		struct gc_target target = gc_pacer_target(&p, &now);
		assert_true(target.limited);
		assert_true(target.trigger_bytes > live);
		assert_true(target.trigger_bytes <= target.goal_bytes);
	}
	// From there on each byte is new memory, and the trigger stands, between 3/64 and 19/64 of the slack before the
	// goal.
	uint64_t trigger = gc_pacer_target(&p, &now).trigger_bytes;
	now.live_bytes = now.object_bytes = now.counted_bytes = 63 * MIB;
	struct gc_target target = gc_pacer_target(&p, &now);
	assert_true(target.trigger_bytes <= trigger + MIB && target.trigger_bytes + MIB >= trigger);
	assert_true(target.goal_bytes - target.trigger_bytes >= TARE_MIN(slack * 3 / 64, 4 * MIB));
	assert_true(target.goal_bytes - target.trigger_bytes <= slack * 19 / 64 + 1);
	// The next cycle begins with what it finds.
	struct gc_plan plan = gc_pacer_start(&p, &now);
	(void)plan;
	gc_pacer_end(&p, &now, &(struct gc_outcome){.marked_bytes = 30 * MIB});
	assert_int_equal(p.slack_bytes, 0);
}
