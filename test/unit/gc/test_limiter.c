// SPDX-License-Identifier: MIT
// Goal: the bucket counts each CPU-nanosecond once, limiting begins and ends at its exact edges, and the way out of a
// limit that can't be held comes due in time and in order. Method: windows of made-up times.
#include "test.h"

#include "gc/limiter.h"

#define MS TARE_NS_PER_MS
#define S TARE_NS_PER_S
#define WORKERS 8
// What fits when limiting begins: less than a period.
#define EDGE_NS (WORKERS * GC_LIMITER_PERIOD_NS)

static int64_t clock_ns;

static struct gc_limiter fresh(void)
{
	struct gc_limiter l;
	clock_ns = 5 * S;
	gc_limiter_init(&l, WORKERS, clock_ns);
	return l;
}

static enum gc_limiter_change pass(struct gc_limiter *l, int64_t ns, struct gc_window w)
{
	clock_ns += ns;
	w.now_ns = clock_ns;
	return gc_limiter_update(l, &w);
}

// So much wall time in which the world stood still, and only collecting went on.
static enum gc_limiter_change stopped(struct gc_limiter *l, int64_t ns)
{
	return pass(l, ns, (struct gc_window){.stopped = true, .cycle = 3});
}

static enum gc_limiter_change program(struct gc_limiter *l, int64_t ns)
{
	return pass(l, ns, (struct gc_window){.cycle = 3});
}

// ---- filling and draining -----------------------------------------------------------------------------------------

TEST(a_program_alone_leaves_the_bucket_empty)
{
	struct gc_limiter l = fresh();
	assert_int_equal(l.capacity_ns, WORKERS * S);
	assert_int_equal(program(&l, 10 * MS), GC_LIMITER_AS_BEFORE);
	assert_int_equal(program(&l, 3600 * S), GC_LIMITER_AS_BEFORE);
	assert_int_equal(l.fill_ns, 0);
	assert_int_equal(l.overflow_ns, 0);
	// An hour of it earns no credit.
	assert_int_equal(stopped(&l, 1 * MS), GC_LIMITER_AS_BEFORE);
	assert_int_equal(l.fill_ns, WORKERS * MS);
}

TEST(a_window_without_time_or_events_changes_nothing)
{
	struct gc_limiter l = fresh();
	(void)!stopped(&l, 100 * MS);
	struct gc_limiter before = l;
	assert_int_equal(program(&l, 0), GC_LIMITER_AS_BEFORE);
	assert_int_equal(stopped(&l, 0), GC_LIMITER_AS_BEFORE);
	assert_memory_equal(&l, &before, sizeof l);
}

TEST(background_marking_counts_as_a_quarter)
{
	struct gc_limiter l = fresh();
	(void)!stopped(&l, 400 * MS);
	// A quarter fills, three quarters drain.
	(void)!pass(&l, 100 * MS, (struct gc_window){.marking = true});
	assert_int_equal(l.fill_ns, WORKERS * 350 * MS);
}

TEST(assists_beside_the_background_fill_what_they_take)
{
	struct gc_limiter l = fresh();
	// Half of all CPU time in all: as much in as out.
	(void)!stopped(&l, 100 * MS);
	(void)!pass(&l, 100 * MS, (struct gc_window){.marking = true, .assist_ns = WORKERS * 25 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 100 * MS);
	// All of it.
	(void)!pass(&l, 100 * MS, (struct gc_window){.marking = true, .assist_ns = WORKERS * 75 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 200 * MS);
	// Without the background, as when memory is given back by who allocates.
	(void)!pass(&l, 100 * MS, (struct gc_window){.assist_ns = WORKERS * 60 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 220 * MS);
}

TEST(idle_time_is_nobodys)
{
	struct gc_limiter l = fresh();
	(void)!stopped(&l, 400 * MS);
	// All idle, nothing marked: nothing drains.
	(void)!pass(&l, 100 * MS, (struct gc_window){.idle_ns = WORKERS * 100 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 400 * MS);
	// The background has a quarter, the program a quarter, half is idle.
	(void)!pass(&l, 100 * MS, (struct gc_window){.marking = true, .idle_ns = WORKERS * 50 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 400 * MS);
	// The same, and the program has nothing.
	(void)!pass(&l, 100 * MS, (struct gc_window){.marking = true, .idle_ns = WORKERS * 75 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 425 * MS);
	// In a pause, nobody is idle by choice.
	(void)!pass(&l, 100 * MS, (struct gc_window){.stopped = true, .idle_ns = WORKERS * 100 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 525 * MS);
}

TEST(times_that_do_not_add_up_take_nothing_from_the_program)
{
	struct gc_limiter l = fresh();
	// More idle time than passed, and more of assists: counters are read one after another.
	(void)!pass(
	    &l, 10 * MS,
	    (struct gc_window){.marking = true, .idle_ns = WORKERS * 1000 * MS, .assist_ns = WORKERS * 12 * MS});
	assert_int_equal(l.fill_ns, WORKERS * 10 * MS + WORKERS * 9 * MS / 2);
	uint64_t fill = l.fill_ns;
	(void)!pass(&l, 0, (struct gc_window){.idle_ns = -5, .assist_ns = -7});
	assert_int_equal(l.fill_ns, fill);
	// A clock that went back: as if not asked.
	struct gc_limiter before = l;
	(void)!pass(&l, -1, (struct gc_window){.stopped = true, .limited = true, .cycle = 9});
	assert_memory_equal(&l, &before, sizeof l);
}

TEST(huge_times_saturate)
{
	struct gc_limiter l;
	gc_limiter_init(&l, UINT32_MAX, INT64_MIN);
	struct gc_window w = {.now_ns = INT64_MAX, .stopped = true, .cycle = 1};
	assert_int_equal(gc_limiter_update(&l, &w), GC_LIMITER_BEGINS);
	assert_int_equal(l.fill_ns, l.capacity_ns);
	assert_int_equal(l.capacity_ns, (uint64_t)UINT32_MAX * S);
	assert_int_equal(l.overflow_ns, UINT64_MAX - l.capacity_ns);
	w = (struct gc_window){.now_ns = INT64_MAX, .assist_ns = INT64_MAX, .cycle = 2};
	for (int i = 0; i < 3; i++)
		(void)!gc_limiter_update(&l, &w);
	assert_int_equal(l.overflow_ns, UINT64_MAX);
	assert_false(gc_limiter_is_stale(&l, INT64_MIN));
	gc_limiter_init(&l, 1, INT64_MIN);
	assert_true(gc_limiter_is_stale(&l, INT64_MAX));
}

TEST(an_update_is_due_after_a_period)
{
	struct gc_limiter l = fresh();
	assert_false(gc_limiter_is_stale(&l, clock_ns));
	assert_false(gc_limiter_is_stale(&l, clock_ns + GC_LIMITER_PERIOD_NS - 1));
	assert_true(gc_limiter_is_stale(&l, clock_ns + GC_LIMITER_PERIOD_NS));
	assert_false(gc_limiter_is_stale(&l, clock_ns - S));
	(void)!program(&l, GC_LIMITER_PERIOD_NS);
	assert_false(gc_limiter_is_stale(&l, clock_ns));
}

// ---- edges --------------------------------------------------------------------------------------------------------

// A bucket with room for exactly so many CPU-nanoseconds.
static struct gc_limiter with_room(uint64_t room_ns)
{
	struct gc_limiter l = fresh();
	uint64_t in_ns = l.capacity_ns - room_ns;
	clock_ns += 1;
	struct gc_window w = {.now_ns = clock_ns, .assist_ns = (int64_t)in_ns, .cycle = 3};
	(void)!gc_limiter_update(&l, &w);
	assert_int_equal(l.capacity_ns - l.fill_ns, room_ns);
	return l;
}

TEST(limiting_begins_when_a_period_no_longer_fits_and_ends_when_it_does)
{
	struct gc_limiter l = with_room(EDGE_NS);
	assert_false(l.limiting);
	assert_int_equal(l.last_cycle, 0);
	struct gc_window w = {.now_ns = clock_ns, .assist_ns = 1, .cycle = 41};
	assert_int_equal(gc_limiter_update(&l, &w), GC_LIMITER_BEGINS);
	assert_true(l.limiting);
	assert_int_equal(l.last_cycle, 41);
	w.cycle = 42;
	assert_int_equal(gc_limiter_update(&l, &w), GC_LIMITER_AS_BEFORE);
	assert_int_equal(l.last_cycle, 42);
	// Two too many: one nanosecond of one worker drains a whole 8.
	assert_int_equal(pass(&l, 1, (struct gc_window){.cycle = 43}), GC_LIMITER_ENDS);
	assert_false(l.limiting);
	assert_int_equal(l.last_cycle, 42);
	assert_int_equal(l.overflow_ns, 0);
}

TEST(a_full_bucket_overflows_by_what_does_not_fit)
{
	struct gc_limiter l = with_room(WORKERS * MS);
	assert_true(l.limiting);
	assert_int_equal(stopped(&l, 1 * MS), GC_LIMITER_AS_BEFORE);
	assert_int_equal(l.fill_ns, l.capacity_ns);
	assert_int_equal(l.overflow_ns, 0);
	(void)!stopped(&l, 3 * MS);
	assert_int_equal(l.overflow_ns, WORKERS * 3 * MS);
	// As much in as out: still full, nothing more is lost.
	(void)!pass(&l, S, (struct gc_window){.marking = true, .assist_ns = WORKERS * S / 4});
	assert_int_equal(l.fill_ns, l.capacity_ns);
	assert_int_equal(l.overflow_ns, WORKERS * 3 * MS);
	(void)!program(&l, S);
	assert_int_equal(l.fill_ns, 0);
}

TEST(updates_in_time_hold_one_half_and_lose_nothing)
{
	struct gc_limiter l = fresh();
	int64_t program_ns = 0, begins = 0;
	for (int i = 0; i < 10000; i++) {
		// Whoever may assist does nothing else.
		int64_t assist_ns = l.limiting ? 0 : WORKERS * GC_LIMITER_PERIOD_NS * 3 / 4;
		if (i >= 1000)
			program_ns += WORKERS * GC_LIMITER_PERIOD_NS * 3 / 4 - assist_ns;
		begins += pass(&l, GC_LIMITER_PERIOD_NS, (struct gc_window){.marking = true, .assist_ns = assist_ns}) ==
			  GC_LIMITER_BEGINS;
	}
	assert_int_equal(l.overflow_ns, 0);
	assert_int_equal(program_ns, 9000 * WORKERS * GC_LIMITER_PERIOD_NS / 2);
	assert_in_range(begins, 3200, 3400);
}

// ---- workers and switch -------------------------------------------------------------------------------------------

TEST(more_workers_make_room_and_fewer_take_it)
{
	struct gc_limiter l = with_room(0);
	(void)!stopped(&l, MS);
	uint64_t overflow = l.overflow_ns;
	assert_int_equal(gc_limiter_resize(&l, WORKERS + 4, 7), GC_LIMITER_ENDS);
	assert_int_equal(l.capacity_ns, (WORKERS + 4) * S);
	assert_int_equal(l.fill_ns, WORKERS * S);
	assert_int_equal(gc_limiter_resize(&l, 2, 8), GC_LIMITER_BEGINS);
	assert_int_equal(l.fill_ns, 2 * S);
	assert_int_equal(l.last_cycle, 8);
	// What no longer fits was nobody's doing.
	assert_int_equal(l.overflow_ns, overflow);
	// Exactly full counts as full.
	assert_int_equal(gc_limiter_resize(&l, 2, 9), GC_LIMITER_AS_BEFORE);
	assert_true(l.limiting);
	// Windows count by the workers there are now.
	(void)!program(&l, 100 * MS);
	assert_int_equal(l.fill_ns, 2 * S - 2 * 100 * MS);
}

TEST(switched_off_it_counts_but_never_limits)
{
	struct gc_limiter l = with_room(0);
	assert_true(l.limiting);
	assert_int_equal(gc_limiter_switch(&l, false, 4), GC_LIMITER_ENDS);
	assert_false(l.limiting);
	assert_int_equal(gc_limiter_switch(&l, false, 4), GC_LIMITER_AS_BEFORE);
	assert_int_equal(stopped(&l, MS), GC_LIMITER_AS_BEFORE);
	assert_int_equal(l.overflow_ns, WORKERS * MS);
	assert_int_equal(l.last_cycle, 3);
	assert_int_equal(gc_limiter_switch(&l, true, 6), GC_LIMITER_BEGINS);
	assert_int_equal(l.last_cycle, 6);
	// On with room for a period, it stays off until there is none.
	l = with_room(EDGE_NS);
	(void)!gc_limiter_switch(&l, false, 4);
	assert_int_equal(gc_limiter_switch(&l, true, 4), GC_LIMITER_AS_BEFORE);
	assert_false(l.limiting);
}

// ---- the way out --------------------------------------------------------------------------------------------------

static const struct gc_way_out all_steps = {1 * S, 10 * S, 60 * S};

// Full, under the memory limit's goal.
static struct gc_limiter in_trouble(void)
{
	struct gc_limiter l = with_room(1);
	struct gc_window w = {.now_ns = clock_ns, .assist_ns = 1, .cycle = 3, .limited = true};
	(void)!gc_limiter_update(&l, &w);
	assert_true(l.trouble);
	return l;
}

TEST(without_a_limit_there_is_no_way_out_to_take)
{
	struct gc_limiter l = with_room(0);
	assert_true(l.limiting);
	assert_false(l.trouble);
	(void)!stopped(&l, S);
	assert_false(l.trouble);
	static const struct gc_way_out at_once = {0, 0, 0};
	assert_int_equal(gc_limiter_due(&l, &at_once, clock_ns + 1000 * S), GC_STEP_NONE);
	assert_int_equal(gc_limiter_trouble_ns(&l, clock_ns + 1000 * S), 0);
}

TEST(steps_come_due_at_their_time_and_not_before)
{
	struct gc_limiter l = in_trouble();
	int64_t begin = clock_ns;
	static const struct {
		int64_t at_ns;
		enum gc_step due;
	} expected[] = {{-S, GC_STEP_NONE},         {0, GC_STEP_NONE},          {S - 1, GC_STEP_NONE},
			{S, GC_STEP_CALL},          {10 * S - 1, GC_STEP_CALL}, {10 * S, GC_STEP_FAIL},
			{60 * S - 1, GC_STEP_FAIL}, {60 * S, GC_STEP_ABORT},    {9999 * S, GC_STEP_ABORT}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(expected); i++)
		assert_int_equal(gc_limiter_due(&l, &all_steps, begin + expected[i].at_ns), expected[i].due);
	assert_int_equal(gc_limiter_trouble_ns(&l, begin + 7), 7);
	assert_int_equal(gc_limiter_due(&l, &all_steps, TARE_NEVER), GC_STEP_ABORT);
}

TEST(steps_may_be_left_out_or_be_due_at_once)
{
	struct gc_limiter l = in_trouble();
	static const struct gc_way_out none = {TARE_NEVER, TARE_NEVER, TARE_NEVER};
	static const struct gc_way_out only_abort = {TARE_NEVER, TARE_NEVER, 5 * S};
	static const struct gc_way_out fail_at_once = {60 * S, 0, TARE_NEVER};
	assert_int_equal(gc_limiter_due(&l, &none, TARE_NEVER), GC_STEP_NONE);
	assert_int_equal(gc_limiter_due(&l, &only_abort, clock_ns + 5 * S - 1), GC_STEP_NONE);
	assert_int_equal(gc_limiter_due(&l, &only_abort, clock_ns + 5 * S), GC_STEP_ABORT);
	// The hardest step counts, whatever the order.
	assert_int_equal(gc_limiter_due(&l, &fail_at_once, clock_ns), GC_STEP_FAIL);
	assert_int_equal(gc_limiter_due(&l, &fail_at_once, clock_ns + 90 * S), GC_STEP_FAIL);
}

TEST(trouble_lasts_while_limiting_comes_and_goes)
{
	struct gc_limiter l = in_trouble();
	int64_t begin = clock_ns;
	int ends = 0;
	for (int i = 0; i < 1000; i++) {
		int64_t assist_ns = l.limiting ? 0 : WORKERS * GC_LIMITER_PERIOD_NS * 3 / 4;
		struct gc_window w = {.marking = true, .assist_ns = assist_ns, .limited = true};
		ends += pass(&l, GC_LIMITER_PERIOD_NS, w) == GC_LIMITER_ENDS;
		assert_true(l.trouble);
	}
	assert_true(ends > 300);
	assert_int_equal(gc_limiter_trouble_ns(&l, clock_ns), clock_ns - begin);
	assert_int_equal(l.trouble_seq, 1);
}

TEST(trouble_ends_half_empty_and_begins_anew_when_full)
{
	struct gc_limiter l = in_trouble();
	struct gc_window limited = {.limited = true};
	(void)!pass(&l, S / 2 - 1, limited);
	assert_int_equal(l.fill_ns, WORKERS * (S / 2 + 1));
	assert_true(l.trouble);
	(void)!pass(&l, 1, limited);
	assert_false(l.trouble);
	assert_int_equal(gc_limiter_due(&l, &all_steps, TARE_NEVER), GC_STEP_NONE);
	// Filled up to where limiting begins, and not yet beyond.
	limited.stopped = true;
	(void)!pass(&l, S / 2 - GC_LIMITER_PERIOD_NS, limited);
	assert_false(l.trouble);
	(void)!pass(&l, 1, limited);
	assert_true(l.trouble);
	assert_int_equal(l.trouble_seq, 2);
	assert_int_equal(gc_limiter_trouble_ns(&l, clock_ns), 0);
}

TEST(trouble_ends_when_gogc_sets_the_goal_again)
{
	struct gc_limiter l = in_trouble();
	assert_true(l.limiting);
	(void)!stopped(&l, 10 * MS);
	assert_false(l.trouble);
	assert_true(l.limiting);
}

TEST(trouble_is_found_with_the_limiter_off)
{
	struct gc_limiter l = fresh();
	(void)!gc_limiter_switch(&l, false, 1);
	struct gc_window w = {.stopped = true, .limited = true};
	(void)!pass(&l, S - GC_LIMITER_PERIOD_NS, w);
	assert_false(l.trouble);
	(void)!pass(&l, 1, w);
	assert_true(l.trouble);
	assert_false(l.limiting);
	assert_int_equal(gc_limiter_due(&l, &all_steps, clock_ns + 10 * S), GC_STEP_FAIL);
}

TEST(trouble_is_found_without_the_bucket_when_collections_leave_too_much)
{
	struct gc_limiter l = fresh();
	// Not under GOGC's goal: then nothing presses.
	(void)!pass(&l, MS, (struct gc_window){.over = true});
	assert_false(l.trouble);
	(void)!pass(&l, MS, (struct gc_window){.limited = true, .over = true});
	assert_true(l.trouble);
	assert_false(l.limiting);
	assert_int_equal(gc_limiter_trouble_ns(&l, clock_ns + 5), 5);
	// It lasts as long as that does, and the empty bucket does not end it.
	(void)!pass(&l, S, (struct gc_window){.limited = true, .over = true});
	assert_true(l.trouble);
	assert_int_equal(l.fill_ns, 0);
	assert_int_equal(l.trouble_seq, 1);
	(void)!pass(&l, MS, (struct gc_window){.limited = true});
	assert_false(l.trouble);
}
