// SPDX-License-Identifier: MIT
// Goal: whatever a program does from cycle to cycle, the pacer has it pay about a quarter of the CPU time while
// marking, ends cycles about at the goal, and keeps to the limit. Method: a made-up program and collector (pacer_sim.h)
// in scenarios, each held to what the pacer promises there, where possible to what follows by arithmetic from the
// scenario itself.
#include "test.h"

#include "gc/pacer_sim.h"

#define MIB (UINT64_C(1) << 20)

// The figure of a cycle, between two bounds.
#define EXPECT(sim, cycle_number, value, low, high)                                                                    \
	expect_between((sim)->of->name, (cycle_number), #value, (double)(value), (low), (high))

static void expect_between(const char *scenario, unsigned cycle, const char *what, double value, double low,
			   double high)
{
	// Not a number is not between anything.
	if (!(value >= low && value <= high))
		fail_msg("%s: cycle %u: %s is %g, not in %g to %g", scenario, cycle, what, value, low, high);
}

static double goal_ratio(const struct sim_cycle *c)
{
	return (double)c->peak / (double)c->goal;
}

static double trigger_ratio(const struct sim_cycle *c)
{
	return (double)(c->triggered - c->marked) / (double)(c->goal - c->marked);
}

static double runway(const struct sim_cycle *c)
{
	return (double)c->goal - (double)c->triggered;
}

// From a cycle on: ends about at the goal.
static void expect_goal(const struct sim *sim, unsigned from, unsigned until, double low, double high)
{
	for (unsigned i = from; i < until; i++)
		EXPECT(sim, i, goal_ratio(&sim->cycle[i]), low, high);
}

static void expect_used(const struct sim *sim, unsigned from, unsigned until, double low, double high)
{
	for (unsigned i = from; i < until; i++)
		EXPECT(sim, i, sim->cycle[i].used, low, high);
}

// Settled: a quarter, at the goal, and no swinging.
static void expect_settled(const struct sim *sim, unsigned from, unsigned until)
{
	expect_goal(sim, from, until, 0.95, 1.05);
	expect_used(sim, from, until, 0.245, 0.255);
	for (unsigned i = from + 1; i < until; i++)
		EXPECT(sim, i, sim->cycle[i].used - sim->cycle[i - 1].used, -0.005, 0.005);
}

// 8 workers that allocate 33 KiB and mark 1,024 KiB a CPU-millisecond: a runway between the trigger's bounds.
static struct scenario steady(const char *name)
{
	return (struct scenario){
	    .name = name,
	    .cycles = 50,
	    .workers = 8,
	    .gogc = 100,
	    .global_bytes = 32 << 10,
	    .alloc = {.base = 33},
	    .scan = {.base = 1024},
	    .live = {.base = 32},
	    .scannable = {.base = 1},
	    .stack = {.base = 8.0 / 1024},
	    .seed = 1,
	};
}

// ---- nothing changes ----------------------------------------------------------------------------------------------

TEST(a_steady_program_pays_a_quarter_and_ends_at_the_goal)
{
	static struct sim sim;
	struct scenario s = steady("steady");
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	const struct sim_cycle *c = &sim.cycle[49];
	// While the background marks 32 MiB, three times its CPU time allocates at 33/1,024 of its speed.
	EXPECT(&sim, 49, runway(c), 0.95 * 3 * 33 / 1024 * 32 * SIM_MIB, 1.05 * 3 * 33 / 1024 * 32 * SIM_MIB);
	// The goal is twice what was marked, and the roots once.
	EXPECT(&sim, 49, (double)c->goal - 2.0 * (double)c->marked, 40 * SIM_KIB, 40 * SIM_KIB);
	// In between it allocates ten times as much again, and nobody marks.
	EXPECT(&sim, 49, c->used_of_all, 0.02, 0.05);
}

TEST(many_stacks_count_in_the_goal_and_in_the_runway)
{
	static struct sim sim;
	struct scenario s = steady("big stacks");
	s.alloc.base = 132;
	s.stack = (struct curve){.base = 0.002, .rise = 128, .rise_until = 8};
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	const struct sim_cycle *c = &sim.cycle[49];
	EXPECT(&sim, 49, (double)c->goal - 2.0 * (double)c->marked, 128 * SIM_MIB, 129 * SIM_MIB);
	EXPECT(&sim, 49, runway(c), 0.95 * 3 * 132 / 1024 * 160 * SIM_MIB, 1.05 * 3 * 132 / 1024 * 160 * SIM_MIB);
}

TEST(large_roots_count_in_the_goal_and_in_the_runway)
{
	static struct sim sim;
	struct scenario s = steady("big globals");
	s.alloc.base = 132;
	s.global_bytes = 128 * MIB;
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	const struct sim_cycle *c = &sim.cycle[49];
	EXPECT(&sim, 49, (double)c->goal - 2.0 * (double)c->marked, 128 * SIM_MIB, 129 * SIM_MIB);
	EXPECT(&sim, 49, runway(c), 0.95 * 3 * 132 / 1024 * 160 * SIM_MIB, 1.05 * 3 * 132 / 1024 * 160 * SIM_MIB);
}

TEST(any_number_of_workers_settles_alike)
{
	static const uint32_t workers[] = {1, 2, 3, 4, 5, 6, 7, 16, 64, 256, 1024};
	for (size_t i = 0; i < TARE_ARRAY_LEN(workers); i++) {
		static struct sim sim;
		struct scenario s = steady("workers");
		s.workers = workers[i];
		sim_run(&sim, &s);
		expect_settled(&sim, 20, 50);
	}
}

TEST(a_program_that_allocates_faster_than_the_trigger_may_move_assists_just_enough)
{
	static struct sim sim;
	struct scenario s = steady("fast");
	s.alloc.base = 512;
	sim_run(&sim, &s);
	expect_goal(&sim, 20, 50, 0.95, 1.05);
	for (unsigned i = 20; i < 50; i++) {
		const struct sim_cycle *c = &sim.cycle[i];
		EXPECT(&sim, i, trigger_ratio(c), 45.0 / 64 - 0.001, 45.0 / 64 + 0.001);
		// What is to be marked and what may be allocated fix how CPU time is shared.
		double marking = c->work / 1024, allocating = (double)(c->goal - c->triggered) / 512;
		EXPECT(&sim, i, c->used - marking / (marking + allocating), -0.03, 0.03);
	}
}

// At 100 % such a program begins at 45/64; at 10 % the span is a tenth, and 19/64 of it too short a runway.
TEST(a_small_percentage_leaves_a_runway_that_is_long_enough)
{
	static const double alloc[] = {11, 16};
	for (size_t i = 0; i < TARE_ARRAY_LEN(alloc); i++) {
		static struct sim sim;
		struct scenario s = steady("10 percent");
		s.gogc = 10;
		s.live.base = 512;
		s.alloc.base = alloc[i];
		sim_run(&sim, &s);
		expect_settled(&sim, 20, 50);
		double bytes = 3 * alloc[i] / 1024 * (double)sim.cycle[49].marked;
		EXPECT(&sim, 49, runway(&sim.cycle[49]), 0.95 * bytes, 1.05 * bytes);
	}
}

TEST(a_small_percentage_never_begins_before_half_of_its_span)
{
	static struct sim sim;
	struct scenario s = steady("10 percent, fast");
	s.gogc = 10;
	s.live.base = 512;
	s.alloc.base = 66;
	sim_run(&sim, &s);
	expect_goal(&sim, 20, 50, 0.95, 1.05);
	for (unsigned i = 20; i < 50; i++)
		EXPECT(&sim, i, trigger_ratio(&sim.cycle[i]), 0.499, 0.501);
}

// ---- allocation changes -------------------------------------------------------------------------------------------

TEST(a_step_in_the_allocation_rate_is_followed)
{
	static struct sim sim;
	struct scenario s = steady("step");
	s.cycles = 100;
	s.alloc = (struct curve){.base = 33, .step = 66, .step_at = 50};
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	// The first cycle begins too late, and those who allocate make up for it; the goal holds.
	EXPECT(&sim, 50, sim.cycle[50].used, 0.30, 0.60);
	expect_goal(&sim, 50, 51, 0.95, 1.05);
	expect_settled(&sim, 52, 100);
}

TEST(a_heavy_step_in_the_allocation_rate_is_followed)
{
	static struct sim sim;
	struct scenario s = steady("heavy step");
	s.cycles = 100;
	s.alloc = (struct curve){.base = 33, .step = 330, .step_at = 50};
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	expect_goal(&sim, 50, 100, 0.95, 1.05);
	// More than the trigger may give: the rest is assisted, evenly.
	expect_used(&sim, 53, 100, 0.45, 0.60);
	for (unsigned i = 54; i < 100; i++)
		EXPECT(&sim, i, sim.cycle[i].used - sim.cycle[i - 1].used, -0.005, 0.005);
}

TEST(a_step_down_is_forgotten_after_as_many_cycles_as_count)
{
	static struct sim sim;
	struct scenario s = steady("step down");
	s.cycles = 60;
	s.alloc = (struct curve){.base = 90, .step = -57, .step_at = 30};
	sim_run(&sim, &s);
	expect_used(&sim, 20, 60, 0.245, 0.255);
	// Begun early for a while, so it ends below the goal; then as a steady one.
	expect_goal(&sim, 30, 30 + GC_PACER_RECENT, 0.85, 0.96);
	expect_goal(&sim, 30 + GC_PACER_RECENT, 60, 0.95, 1.05);
	EXPECT(&sim, 34, runway(&sim.cycle[34]) / runway(&sim.cycle[36]), 2.5, 3);
}

TEST(one_quiet_cycle_does_not_move_the_trigger)
{
	static struct sim sim;
	struct scenario s = steady("quiet cycle");
	s.alloc = (struct curve){.base = 66, .pulse = -60, .pulse_at = 30};
	sim_run(&sim, &s);
	// The cycle after the quiet one begins as early as those before it: no assists.
	expect_used(&sim, 20, 50, 0.245, 0.255);
	expect_goal(&sim, 31, 50, 0.95, 1.05);
}

TEST(a_wave_of_allocation_is_ridden)
{
	static struct sim sim;
	struct scenario s = steady("wave");
	s.alloc = (struct curve){.base = 67, .wave = 13, .wave_len = 8};
	sim_run(&sim, &s);
	expect_goal(&sim, 12, 50, 0.95, 1.05);
	expect_used(&sim, 12, 50, 0.25, 0.3);
}

TEST(jittery_allocation_is_ridden)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct sim sim;
		struct scenario s = steady("jitter");
		s.alloc = (struct curve){.base = 66, .jitter = 7};
		s.live.jitter = 0.3;
		s.seed = seed;
		sim_run(&sim, &s);
		expect_goal(&sim, 12, 50, 0.95, 1.025);
		expect_used(&sim, 12, 50, 0.25, 0.285);
	}
}

TEST(heavy_jittery_allocation_is_ridden)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct sim sim;
		struct scenario s = steady("heavy jitter");
		s.alloc = (struct curve){.base = 330, .jitter = 33};
		s.live.jitter = 0.3;
		s.seed = seed;
		sim_run(&sim, &s);
		expect_goal(&sim, 12, 50, 0.95, 1.05);
		for (unsigned i = 13; i < 50; i++)
			EXPECT(&sim, i, sim.cycle[i].used - sim.cycle[12].used, -0.06, 0.06);
	}
}

TEST(a_burst_past_the_goal_makes_cycles_short_and_not_endless)
{
	static struct sim sim;
	struct scenario s = steady("burst");
	s.burst = (struct curve){.pulse = 8, .pulse_at = 30};
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 30);
	// The cycle begins past its goal: all that is left is the least runway, and the tenth beyond the goal for who
	// must go on.
	const struct sim_cycle *c = &sim.cycle[30];
	assert_true(c->triggered > sim.cycle[29].goal);
	assert_true(c->goal == c->triggered + (64 << 10));
	EXPECT(&sim, 30, goal_ratio(c), 0.99, 1.1);
	EXPECT(&sim, 30, c->used, 0.25, 1);
	expect_settled(&sim, 37, 50);
}

// ---- the heap changes ---------------------------------------------------------------------------------------------

TEST(a_step_in_what_holds_pointers_is_followed)
{
	static struct sim sim;
	struct scenario s = steady("scannable");
	s.cycles = 100;
	s.alloc.base = 128;
	s.scannable = (struct curve){.base = 0.2, .step = 0.3, .step_at = 50};
	sim_run(&sim, &s);
	expect_settled(&sim, 20, 50);
	// More than twice the work expected: the goal gives way, by less than GOGC allows.
	EXPECT(&sim, 50, goal_ratio(&sim.cycle[50]), 0.95, 1.5);
	expect_goal(&sim, 52, 100, 0.90, 1.05);
	expect_used(&sim, 52, 100, 0.245, 0.5);
	expect_settled(&sim, 75, 100);
}

TEST(a_growing_heap_is_followed)
{
	static struct sim sim;
	struct scenario s = steady("growing");
	s.cycles = 60;
	s.live = (struct curve){.base = 8, .factor = 1.1};
	sim_run(&sim, &s);
	// A tenth more to mark than last time: no more than a tenth past the goal, and hardly any assist.
	expect_goal(&sim, 12, 60, 0.95, 1.1);
	expect_used(&sim, 12, 60, 0.245, 0.4);
	assert_true(sim.cycle[59].marked > 64 * sim.cycle[12].marked);
}

TEST(a_shrinking_heap_is_followed)
{
	static struct sim sim;
	struct scenario s = steady("shrinking");
	s.cycles = 40;
	s.live = (struct curve){.base = 1024, .rise = 0, .factor = 0.9};
	sim_run(&sim, &s);
	expect_goal(&sim, 18, 40, 0.95, 1.05);
	expect_used(&sim, 18, 40, 0.245, 0.255);
	EXPECT(&sim, 39, (double)sim.cycle[39].marked, 15 * SIM_MIB, 25 * SIM_MIB);
}

TEST(a_heap_that_grows_all_at_once_under_a_high_gogc_keeps_its_share)
{
	static struct sim sim;
	struct scenario s = steady("high GOGC");
	s.gogc = 1500;
	s.alloc = (struct curve){.base = 165, .jitter = 7};
	s.live = (struct curve){.base = 32, .step = 416, .step_at = 25, .jitter = 0.3};
	sim_run(&sim, &s);
	for (unsigned i = 12; i < 50; i++) {
		// Fourteen times as much to mark as the last cycle: past the goal, but never past what the next one may
		// be.
		EXPECT(&sim, i, goal_ratio(&sim.cycle[i]), 0.90, i == 25 ? 15 : 1.05);
		EXPECT(&sim, i, sim.cycle[i].used, 0.245, 0.28);
	}
}

TEST(no_estimate_takes_the_heap_past_what_the_next_goal_could_be)
{
	static struct sim sim;
	struct scenario s = steady("hard goal");
	s.alloc.base = 400;
	s.gogc = 20;
	// Ten times as much that is to be marked, of the same heap.
	s.scannable = (struct curve){.base = 0.02, .step = 0.98, .step_at = 30};
	sim_run(&sim, &s);
	expect_goal(&sim, 12, 30, 0.95, 1.05);
	for (unsigned i = 30; i < 50; i++)
		EXPECT(&sim, i, goal_ratio(&sim.cycle[i]), 0.9, 1.2 * 1.1 + 0.01);
	EXPECT(&sim, 30, sim.cycle[30].used, 0.5, 1);
}

TEST(a_small_heap_that_allocates_slowly_begins_near_its_goal)
{
	// 2, 16 and 512 MiB that hold few pointers.
	static const double live[] = {2, 16, 512};
	for (size_t i = 0; i < TARE_ARRAY_LEN(live); i++) {
		static struct sim sim;
		struct scenario s = steady("slow");
		s.alloc.base = 1;
		s.scan.base = 2048;
		s.scannable.base = 0.01;
		s.live.base = live[i];
		sim_run(&sim, &s);
		expect_used(&sim, 25, 50, 0.245, 0.255);
		for (unsigned n = 15; n < 50; n++) {
			const struct sim_cycle *c = &sim.cycle[n];
			EXPECT(&sim, n, goal_ratio(c), live[i] < 512 ? 0.925 : 0.95, 1.05);
			if (live[i] < 64)
				EXPECT(&sim, n, trigger_ratio(c), 0.925, 0.975);
			else
				EXPECT(&sim, n, runway(c), 4 * SIM_MIB - 64 * SIM_KIB, 4 * SIM_MIB + 64 * SIM_KIB);
		}
	}
}

// ---- the minimum heap ---------------------------------------------------------------------------------------------

TEST(a_tiny_heap_collects_at_the_minimum)
{
	static struct sim sim;
	struct scenario s = steady("tiny");
	s.live.base = 0.25;
	sim_run(&sim, &s);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(sim.cycle[i].goal, 4 * MIB);
		// Nothing is known before the first, so it begins early.
		EXPECT(&sim, i, goal_ratio(&sim.cycle[i]), i == 0 ? 45.0 / 64 : 0.92, i == 0 ? 0.75 : 1.05);
		EXPECT(&sim, i, sim.cycle[i].used, 0.245, 0.255);
	}
}

TEST(the_minimum_heap_is_a_knob_of_its_own)
{
	static struct sim sim;
	struct scenario s = steady("minimum");
	s.live.base = 1;
	s.gogc = 50;
	s.heap_min_bytes = 64 * MIB;
	sim_run(&sim, &s);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(sim.cycle[i].goal, 64 * MIB);
		if (i > 0)
			EXPECT(&sim, i, goal_ratio(&sim.cycle[i]), 0.92, 1.05);
	}
	// Above it GOGC decides.
	s.live.base = 128;
	sim_run(&sim, &s);
	EXPECT(&sim, 49, (double)sim.cycle[49].goal / (double)sim.cycle[49].marked, 1.49, 1.51);
}

// ---- the limit ----------------------------------------------------------------------------------------------------

// What a limit of 512 MiB leaves: 3 % less.
#define GOAL_512 (512 * MIB - 512 * MIB * 3 / 100)

TEST(a_limit_with_room_changes_nothing)
{
	static struct sim with, without;
	struct scenario s = steady("roomy limit"), free = steady("no limit");
	s.limit_bytes = 512 * MIB;
	sim_run(&with, &s);
	sim_run(&without, &free);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(with.cycle[i].peak, without.cycle[i].peak);
		assert_false(with.cycle[i].limited);
	}
}

TEST(without_gogc_the_heap_grows_to_the_limit_and_stays_there)
{
	static struct sim sim;
	struct scenario s = steady("GOGC off");
	s.gogc = GC_GOGC_OFF;
	s.limit_bytes = 512 * MIB;
	sim_run(&sim, &s);
	expect_settled(&sim, 10, 50);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(sim.cycle[i].goal, GOAL_512);
		assert_true(sim.cycle[i].peak <= 512 * MIB);
		assert_true(sim.cycle[i].limited);
	}
}

TEST(a_limit_is_held_with_gogc_and_without)
{
	static const uint32_t gogc[] = {100, GC_GOGC_OFF};
	for (size_t k = 0; k < TARE_ARRAY_LEN(gogc); k++) {
		static struct sim sim;
		struct scenario s = steady("held limit");
		s.gogc = gogc[k];
		s.limit_bytes = 512 * MIB;
		s.live = (struct curve){.base = 32, .rise = 300, .rise_until = 12};
		sim_run(&sim, &s);
		expect_settled(&sim, 25, 50);
		for (unsigned i = 0; i < 50; i++)
			assert_true(sim.cycle[i].peak <= 512 * MIB);
		for (unsigned i = 13; i < 50; i++)
			assert_int_equal(sim.cycle[i].goal, GOAL_512);
	}
}

TEST(memory_that_is_not_heap_goes_off_the_limit)
{
	static struct sim sim;
	struct scenario s = steady("overhead");
	s.limit_bytes = 512 * MIB;
	s.gogc = GC_GOGC_OFF;
	// 300 MiB of it, and from cycle 25 on 360.
	s.overhead = (struct curve){.base = 300, .step = 60, .step_at = 25};
	sim_run(&sim, &s);
	expect_settled(&sim, 10, 25);
	expect_settled(&sim, 30, 50);
	EXPECT(&sim, 24, (double)sim.cycle[24].goal, 0.97 * 212 * SIM_MIB - 1, 0.97 * 212 * SIM_MIB + 1);
	EXPECT(&sim, 49, (double)sim.cycle[49].goal, 0.97 * 152 * SIM_MIB - 1, 0.97 * 152 * SIM_MIB + 1);
	for (unsigned i = 0; i < 50; i++)
		assert_true(sim.cycle[i].peak + (i < 25 ? 300 : 360) * MIB <= 512 * MIB);
}

// All CPU time marks, no cycle takes longer than all CPUs need for it, and who allocates earns something by marking.
static void expect_pressed(const struct sim *sim, unsigned from, unsigned until)
{
	expect_used(sim, from, until, 0.995, 1);
	for (unsigned i = from; i < until; i++) {
		const struct sim_cycle *c = &sim->cycle[i];
		double scan = sim->of->scan.base * SIM_KIB / 1e6;
		EXPECT(sim, i, c->wall_ns * scan * sim->of->workers / c->work, 0.999, 1.01);
		EXPECT(sim, i, c->ratio_last, 1e-9, 1e12);
		EXPECT(sim, i, c->earned, 1, 1e9);
		EXPECT(sim, i, (double)c->goal - (double)c->marked, 0, 0);
	}
}

TEST(a_limit_that_cannot_be_held_takes_all_cpu_time_and_is_not_passed)
{
	static const uint32_t gogc[] = {100, GC_GOGC_OFF};
	for (size_t k = 0; k < TARE_ARRAY_LEN(gogc); k++) {
		static struct sim sim;
		struct scenario s = steady("over the limit");
		s.gogc = gogc[k];
		s.limit_bytes = 512 * MIB;
		s.live = (struct curve){.base = 32, .rise = 700, .rise_until = 12};
		sim_run(&sim, &s);
		expect_pressed(&sim, 25, 50);
		// But for what single assists let through.
		for (unsigned i = 0; i < 50; i++)
			assert_true(sim.cycle[i].peak <= 512 * MIB + 4096);
	}
}

TEST(a_limit_below_what_is_there_at_the_start_takes_all_cpu_time)
{
	static struct sim sim;
	struct scenario s = steady("over from the start");
	s.limit_bytes = 512 * MIB;
	s.overhead.base = 600;
	s.live.base = 1e6;
	sim_run(&sim, &s);
	// The heap could not even begin: each cycle lets through what one assist earns.
	for (unsigned i = 1; i < 50; i++) {
		assert_true(sim.cycle[i].peak <= MIB);
		assert_true(sim.cycle[i].limited);
		assert_int_equal(sim.cycle[i].goal, sim.cycle[i].marked);
	}
	expect_used(&sim, 10, 50, 0.995, 1);
}

TEST(a_limit_lowered_below_the_live_heap_presses_until_it_is_raised)
{
	static struct sim sim;
	struct scenario s = steady("lowered limit");
	s.limit_bytes = 512 * MIB;
	s.live.base = 128;
	sim_init(&sim, &s);
	struct gc_knobs knobs = sim.pacer.knobs;
	while (sim.count < 60) {
		knobs.limit_bytes = (sim.count >= 20 && sim.count < 40 ? 64 : 512) * MIB;
		gc_pacer_set(&sim.pacer, &knobs, &sim.now);
		sim_cycle_run(&sim);
	}
	expect_settled(&sim, 12, 20);
	// Already from the first cycle under the new limit.
	expect_pressed(&sim, 21, 40);
	// What was measured while nobody could allocate does not count for long.
	expect_settled(&sim, 40 + GC_PACER_RECENT + 1, 60);
	expect_goal(&sim, 40, 60, 0.9, 1.05);
}

TEST(over_the_limit_the_limiter_leaves_half_of_the_time_to_the_program_and_says_how_long)
{
	static struct sim sim;
	struct scenario s = steady("limiter");
	s.cycles = 100;
	s.limit_bytes = 512 * MIB;
	s.live = (struct curve){.base = 32, .rise = 10000, .rise_until = 12};
	s.obey_limiter = true;
	sim_init(&sim, &s);
	sim.way_out = (struct gc_way_out){0, 2 * TARE_NS_PER_S, 4 * TARE_NS_PER_S};
	double program_ns = 0, begin_ns = 0;
	int64_t trouble_begins_ns = 0;
	bool came[GC_STEP_ABORT + 1] = {false};
	while (sim.count < s.cycles && !came[GC_STEP_ABORT]) {
		sim_cycle_run(&sim);
		const struct sim_cycle *c = &sim.cycle[sim.count - 1];
		if (trouble_begins_ns == 0 && sim.limiter.trouble) {
			trouble_begins_ns = sim.limiter.trouble_ns;
			begin_ns = sim.clock_ns;
		} else if (trouble_begins_ns != 0) {
			program_ns += c->program_ns;
			// Once it has begun it lasts, however often limiting comes and goes.
			assert_true(sim.limiter.trouble);
			assert_int_equal(sim.limiter.trouble_seq, 1);
			assert_int_equal(sim.limiter.last_cycle, sim.count);
		}
		// In order, and not before their time.
		came[c->due] = true;
		double trouble_ns = sim.clock_ns - (double)trouble_begins_ns;
		assert_true(c->due < GC_STEP_FAIL || (came[GC_STEP_CALL] && trouble_ns >= 2e9));
		assert_true(c->due < GC_STEP_ABORT || (came[GC_STEP_FAIL] && trouble_ns >= 4e9));
	}
	assert_true(came[GC_STEP_ABORT]);
	EXPECT(&sim, sim.count, program_ns / ((sim.clock_ns - begin_ns) * s.workers), 0.48, 0.55);
}

// ---- who marks ----------------------------------------------------------------------------------------------------

TEST(idle_marking_is_taken_for_what_it_is)
{
	// A program that leaves 30 % of all CPU time, used for marking or not.
	for (int no_idle = 0; no_idle < 2; no_idle++) {
		static struct sim sim;
		struct scenario s = steady("idle");
		s.idle = 0.3;
		s.alloc.base = 66;
		s.no_idle_marking = no_idle != 0;
		sim_run(&sim, &s);
		// Nobody assists, and cycles end in time.
		expect_used(&sim, 20, 50, 0.245, 0.255);
		expect_goal(&sim, 20, 50, 0.90, 1.05);
	}
}

TEST(idle_marking_that_stops_leaves_a_runway_that_is_long_enough)
{
	static struct sim sim;
	struct scenario s = steady("idle ends");
	s.alloc.base = 50;
	s.idle = 0.4;
	sim_init(&sim, &s);
	while (sim.count < 40) {
		s.idle = sim.count < 20 ? 0.4 : 0;
		sim_cycle_run(&sim);
	}
	// The measure is a CPU time's, so it tells of the work and not of who did it. A busy program allocates more.
	EXPECT(&sim, 20, sim.cycle[20].used, 0.25, 0.45);
	expect_goal(&sim, 15, 40, 0.9, 1.05);
	expect_settled(&sim, 26, 40);
}

// ---- anything -----------------------------------------------------------------------------------------------------

static double any(struct tare_rng *rng, double low, double high)
{
	return low * pow(high / low, tare_rng_unit(rng));
}

static struct scenario any_scenario(struct tare_rng *rng, uint64_t seed)
{
	struct scenario s = steady("any");
	s.cycles = 12;
	s.seed = seed;
	s.workers = (uint32_t)any(rng, 1, 300);
	s.gogc = tare_rng_below(rng, 5) == 0 ? GC_GOGC_OFF : (uint32_t)any(rng, 1, 3000);
	if (s.gogc == GC_GOGC_OFF || tare_rng_below(rng, 2) == 0)
		s.limit_bytes = (uint64_t)any(rng, 1 << 20, 4e9);
	s.global_bytes = (uint64_t)any(rng, 1, 1 << 28);
	s.alloc = (struct curve){.base = any(rng, 1, 3000), .jitter = any(rng, 1, 300)};
	s.scan = (struct curve){.base = any(rng, 100, 4000), .jitter = any(rng, 1, 90)};
	s.live =
	    (struct curve){.base = any(rng, 0.01, 2000), .jitter = any(rng, 0.01, 1000), .factor = any(rng, 0.5, 2)};
	s.scannable = (struct curve){.base = any(rng, 0.01, 1), .jitter = any(rng, 0.01, 1)};
	s.stack = (struct curve){.base = any(rng, 0.01, 100), .jitter = any(rng, 0.01, 100)};
	s.overhead = (struct curve){.base = any(rng, 0.01, 300), .jitter = any(rng, 0.01, 100)};
	s.burst = (struct curve){.pulse = any(rng, 0.1, 100), .pulse_at = (unsigned)tare_rng_below(rng, 12)};
	s.idle = tare_rng_below(rng, 2) == 0 ? 0 : any(rng, 0.01, 0.7);
	s.no_idle_marking = tare_rng_below(rng, 2) == 0;
	return s;
}

TEST(whatever_happens_bounds_hold_and_cycles_end)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 7);
	for (uint64_t seed = 1; seed <= 400; seed++) {
		static struct sim sim;
		struct scenario s = any_scenario(&rng, seed);
		char name[32];
		snprintf(name, sizeof name, "any %u", (unsigned)seed);
		s.name = name;
		sim_run(&sim, &s);
		for (unsigned i = 0; i < s.cycles; i++) {
			const struct sim_cycle *c = &sim.cycle[i];
			assert_true(c->goal >= c->marked);
			EXPECT(&sim, i, c->used, 0.25, 1.0001);
			EXPECT(&sim, i, c->ratio_first, 1e-15, 1e15);
			EXPECT(&sim, i, c->ratio_last, 1e-15, 1e15);
			// Under the limit's goal the heap stays where it is once it may not grow.
			double most = c->limited ? TARE_MAX((double)c->triggered, 1.04 * (double)c->goal + SIM_MIB)
						 : (1 + s.gogc / 100.0) * 1.1 * (double)c->goal + SIM_MIB;
			EXPECT(&sim, i, (double)c->peak, 0, most + 64 * SIM_KIB + c->tick_bytes);
		}
	}
}
