// SPDX-License-Identifier: MIT
//
// A made-up program and a made-up collector that the pacer steers, cycle by cycle. No clock and no threads: CPU time is
// shared out by arithmetic, so the same scenario gives the same figures everywhere.
//
// A cycle: the program allocates alone until the heap stands at the trigger. Then, tick by tick, the background takes a
// quarter of all CPU time; the rest is the program's, except for what it leaves idle, and what it must assist:
// allocating so many bytes owes so many bytes of marking, paid from what others marked beyond what was owed, else by
// marking itself. Roots are marked first. What is allocated meanwhile survives the cycle; what survives beyond that,
// the scenario says. A limiter is told of it all, and obeyed where the scenario wants that.
//
// TARE_PACER_TABLE=1 prints a line a cycle, as CSV.
#ifndef TEST_GC_PACER_SIM_H
#define TEST_GC_PACER_SIM_H

#include "gc/limiter.h"
#include "gc/pacer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIM_KIB 1024.0
#define SIM_MIB (SIM_KIB * SIM_KIB)
#define SIM_CYCLES_MAX 128
// A tick is a small part of the marking that is left, and no more than a part of all of it (or half a millisecond).
#define SIM_TICK_MAX_NS 500e3
#define SIM_TICK_MIN_NS 1e3
#define SIM_TICKS_A_CYCLE 512
#define SIM_TICKS_MAX 50000

// A value that changes from cycle to cycle: all that is not 0 is added up.
struct curve {
	double base;
	double rise; // over the cycles [0, rise_until), evenly
	unsigned rise_until;
	double step; // from a cycle on
	unsigned step_at;
	double pulse; // in one cycle
	unsigned pulse_at;
	double wave; // a sine
	unsigned wave_len;
	double jitter; // up to so much more or less
	double factor; // a cycle, to the power of its number
};

struct scenario {
	const char *name;
	unsigned cycles;
	uint32_t workers;
	uint32_t gogc;
	uint64_t limit_bytes;    // 0: none
	uint64_t heap_min_bytes; // 0: that of GOGC
	uint64_t global_bytes;
	struct curve alloc;     // KiB a CPU-millisecond
	struct curve scan;      // KiB a CPU-millisecond
	struct curve live;      // MiB that survive, beside what is allocated while marking
	struct curve scannable; // of that, the share that holds pointers
	struct curve stack;     // MiB
	struct curve overhead;  // MiB that count against the limit and are not heap
	struct curve burst;     // MiB allocated at once, just below the trigger
	double idle;            // the share of CPU time that the program leaves
	bool no_idle_marking;   // nobody uses that
	bool obey_limiter;      // no assists while it limits
	uint64_t seed;
};

struct sim_cycle {
	uint64_t marked; // before it
	uint64_t triggered;
	uint64_t goal; // as it ended
	uint64_t trigger;
	uint64_t peak;
	uint64_t grown;     // while marking
	double used;        // the collector's share of CPU time while marking, idle marking apart
	double used_of_all; // the same, and the program's own time before counted too
	double program_ns;  // CPU time it had in this cycle
	double wall_ns;     // of marking
	double work;
	double ratio_first, ratio_last; // bytes to mark for a byte allocated
	double earned;                  // bytes that marking everything would earn, at the least ratio
	double tick_bytes; // the most that was allocated in a tick, which is as late as the pacer may hear of it
	bool limited;
	bool limiter_limited; // at some time
	enum gc_step due;
};

struct sim {
	const struct scenario *of;
	struct gc_pacer pacer;
	struct gc_limiter limiter;
	struct gc_way_out way_out;
	struct gc_heap_now now;
	struct tare_rng rng;
	double clock_ns;
	double assist_ns, idle_ns; // since the limiter was told
	double live;               // with fractions of bytes
	unsigned count;
	struct sim_cycle cycle[SIM_CYCLES_MAX];
};

static double curve_at(const struct curve *c, unsigned cycle, struct tare_rng *rng)
{
	double v = c->base;
	if (c->rise_until > 0)
		v += c->rise * TARE_MIN(cycle, c->rise_until) / c->rise_until;
	if (cycle >= c->step_at)
		v += c->step;
	if (cycle == c->pulse_at)
		v += c->pulse;
	if (c->wave_len > 0)
		v += c->wave * sin(2 * M_PI * cycle / c->wave_len);
	if (c->jitter > 0)
		v += c->jitter * (2 * tare_rng_unit(rng) - 1);
	if (c->factor > 0)
		v *= pow(c->factor, cycle);
	return v > 0 ? v : 0;
}

// What holds during one cycle, in bytes and bytes a CPU-nanosecond.
struct weather {
	double alloc, scan, survivors;
	double left[3]; // to mark: globals, stacks, heap
};

static void sim_set_live(struct sim *sim, double live, double overhead)
{
	sim->live = live;
	sim->now.live_bytes = (uint64_t)live;
	sim->now.object_bytes = sim->now.live_bytes;
	sim->now.counted_bytes = sim->now.live_bytes + (uint64_t)overhead;
}

// When a period is over, or what the time was used for changes.
static void sim_tell_limiter(struct sim *sim, struct sim_cycle *c, bool marking)
{
	struct gc_window window = {
	    .now_ns = (int64_t)sim->clock_ns,
	    .assist_ns = (int64_t)sim->assist_ns,
	    .idle_ns = (int64_t)sim->idle_ns,
	    .cycle = sim->count + 1,
	    .marking = marking,
	    .limited = gc_pacer_target(&sim->pacer, &sim->now).limited,
	};
	sim->assist_ns = sim->idle_ns = 0;
	(void)!gc_limiter_update(&sim->limiter, &window);
	c->limiter_limited |= sim->limiter.limiting;
	enum gc_step due = gc_limiter_due(&sim->limiter, &sim->way_out, window.now_ns);
	c->due = TARE_MAX(c->due, due);
}

// Up to the trigger, and a burst beyond.
static void sim_mutate(struct sim *sim, struct sim_cycle *c, const struct weather *w, double overhead, double burst)
{
	const struct scenario *s = sim->of;
	struct gc_target target = gc_pacer_target(&sim->pacer, &sim->now);
	c->marked = sim->pacer.marked_bytes;
	double bytes =
	    target.trigger_bytes > sim->now.live_bytes ? (double)(target.trigger_bytes - sim->now.live_bytes) : 0;
	double cpu_ns = bytes / w->alloc;
	double all_ns = cpu_ns / (1 - s->idle);
	sim->clock_ns += all_ns / s->workers;
	c->program_ns = cpu_ns;
	sim_set_live(sim, sim->live + bytes + burst, overhead);
	sim->idle_ns = all_ns - cpu_ns;
	sim_tell_limiter(sim, c, false);
	c->trigger = target.trigger_bytes;
	c->triggered = sim->now.live_bytes;
}

static double sim_left(const struct weather *w)
{
	return w->left[0] + w->left[1] + w->left[2];
}

// How the CPU time of one tick is spent.
struct split {
	double background_ns, idle_ns, program_ns, assist_ns;
	double scanned, allocated;
};

static struct split sim_split(const struct sim *sim, const struct weather *w, double ratio, double credit,
			      double all_ns)
{
	const struct scenario *s = sim->of;
	struct split t = {.background_ns = GC_BACKGROUND_SHARE * all_ns, .idle_ns = s->idle * all_ns};
	double rest_ns = all_ns - t.background_ns - t.idle_ns;
	double marking_ns = t.background_ns + (s->no_idle_marking ? 0 : t.idle_ns);
	credit += w->scan * marking_ns;
	t.program_ns = rest_ns;
	if (!(s->obey_limiter && sim->limiter.limiting) && ratio * w->alloc * rest_ns > credit)
		t.program_ns = (credit + w->scan * rest_ns) / (ratio * w->alloc + w->scan);
	t.assist_ns = rest_ns - t.program_ns;
	t.scanned = w->scan * (marking_ns + t.assist_ns);
	t.allocated = w->alloc * t.program_ns;
	return t;
}

static void sim_note_ratio(struct sim_cycle *c, struct gc_assist assist, bool first)
{
	if (first)
		c->ratio_first = assist.work_per_byte;
	c->ratio_last = assist.work_per_byte;
	double earned = c->work * assist.bytes_per_work;
	if (first || earned < c->earned)
		c->earned = earned;
}

static void sim_do_work(struct weather *w, struct gc_work *done, double scanned)
{
	uint64_t *to[] = {&done->global_bytes, &done->stack_bytes, &done->heap_bytes};
	for (int i = 0; i < 3; i++) {
		double part = TARE_MIN(scanned, w->left[i]);
		// What is left of a byte is done too.
		if (w->left[i] - part < 1)
			part = w->left[i];
		w->left[i] -= part;
		scanned = TARE_MAX(scanned - part, 0);
		*to[i] += (uint64_t)part;
	}
}

static struct gc_outcome sim_mark(struct sim *sim, struct sim_cycle *c, struct weather *w, double overhead)
{
	struct gc_outcome out = {.wall_ns = 0};
	double credit = 0, wall_ns = 0, assist_ns = 0, idle_ns = 0, begin = sim->live;
	unsigned ticks = 0;
	double background_rate = w->scan * GC_BACKGROUND_SHARE * sim->of->workers;
	c->work = sim_left(w);
	double tick_max_ns = TARE_MAX(SIM_TICK_MAX_NS, c->work / background_rate / SIM_TICKS_A_CYCLE);
	if (sim->of->obey_limiter)
		tick_max_ns = SIM_TICK_MAX_NS;
	while (sim_left(w) > 0) {
		if (ticks++ == SIM_TICKS_MAX) {
			fail_msg("%s: cycle %u never ends: %.0f bytes left to mark", sim->of->name, sim->count,
				 sim_left(w));
			break;
		}
		struct gc_assist assist = gc_pacer_revise(&sim->pacer, &sim->now, &out.work);
		sim_note_ratio(c, assist, ticks == 1);
		double tick_ns = TARE_MIN(sim_left(w) / background_rate / 16, tick_max_ns);
		tick_ns = TARE_MAX(tick_ns, SIM_TICK_MIN_NS);
		double all_ns = tick_ns * sim->of->workers;
		struct split t = sim_split(sim, w, assist.work_per_byte, credit, all_ns);
		c->tick_bytes = TARE_MAX(c->tick_bytes, t.allocated);
		// The cycle ends within this tick: so much of it.
		double part = TARE_MIN(1, sim_left(w) / t.scanned);
		sim_do_work(w, &out.work, t.scanned * part);
		credit = TARE_MAX(credit + (t.scanned - assist.work_per_byte * t.allocated) * part, 0);
		wall_ns += tick_ns * part;
		assist_ns += t.assist_ns * part;
		idle_ns += sim->of->no_idle_marking ? 0 : t.idle_ns * part;
		c->program_ns += t.program_ns * part;
		sim->clock_ns += tick_ns * part;
		sim_set_live(sim, sim->live + t.allocated * part, overhead);
		sim->assist_ns += t.assist_ns * part;
		sim->idle_ns += t.idle_ns * part;
		if (gc_limiter_is_stale(&sim->limiter, (int64_t)sim->clock_ns))
			sim_tell_limiter(sim, c, true);
	}
	sim_tell_limiter(sim, c, true);
	c->wall_ns = wall_ns;
	c->used = GC_BACKGROUND_SHARE + (wall_ns > 0 ? assist_ns / (wall_ns * sim->of->workers) : 0);
	double collector_ns = GC_BACKGROUND_SHARE * wall_ns * sim->of->workers + assist_ns;
	c->used_of_all = wall_ns > 0 ? collector_ns / (collector_ns + c->program_ns) : 0;
	c->grown = (uint64_t)(sim->live - begin);
	out.wall_ns = (int64_t)ceil(wall_ns);
	out.assist_ns = (int64_t)assist_ns;
	out.idle_ns = (int64_t)idle_ns;
	out.marked_bytes = (uint64_t)(w->survivors + (sim->live - begin));
	return out;
}

static void sim_table(const struct sim *sim, const struct sim_cycle *c)
{
	const char *wanted = getenv("TARE_PACER_TABLE");
	if (wanted == NULL || strcmp(wanted, "1") != 0)
		return;
	if (sim->count == 0)
		printf("scenario,cycle,marked,triggered,peak,goal,utilisation\n");
	printf("%s,%u,%llu,%llu,%llu,%llu,%.4f\n", sim->of->name, sim->count, (unsigned long long)c->marked,
	       (unsigned long long)c->triggered, (unsigned long long)c->peak, (unsigned long long)c->goal, c->used);
}

static void sim_cycle_run(struct sim *sim)
{
	const struct scenario *s = sim->of;
	struct sim_cycle *c = &sim->cycle[sim->count];
	unsigned n = sim->count;
	double scannable = TARE_MIN(curve_at(&s->scannable, n, &sim->rng), 1);
	struct weather w = {
	    .alloc = TARE_MAX(curve_at(&s->alloc, n, &sim->rng), 1e-3) * SIM_KIB / 1e6,
	    .scan = TARE_MAX(curve_at(&s->scan, n, &sim->rng), 1e-3) * SIM_KIB / 1e6,
	    .survivors = curve_at(&s->live, n, &sim->rng) * SIM_MIB,
	};
	double stack = curve_at(&s->stack, n, &sim->rng) * SIM_MIB;
	double overhead = curve_at(&s->overhead, n, &sim->rng) * SIM_MIB;
	sim->now.stack_bytes = (uint64_t)stack;
	sim_set_live(sim, sim->live, overhead);
	sim_mutate(sim, c, &w, overhead, curve_at(&s->burst, n, &sim->rng) * SIM_MIB);
	// More can't survive than there is.
	w.survivors = TARE_MIN(w.survivors, sim->live);
	w.left[0] = (double)s->global_bytes;
	w.left[1] = floor(stack);
	w.left[2] = floor(w.survivors * scannable);

	sim->now.scan_bytes = (uint64_t)(sim->live * scannable);
	(void)gc_pacer_start(&sim->pacer, &sim->now);
	struct gc_outcome out = sim_mark(sim, c, &w, overhead);
	struct gc_target target = gc_pacer_target(&sim->pacer, &sim->now);
	c->goal = target.goal_bytes;
	c->limited = target.limited;
	c->peak = sim->now.live_bytes;
	gc_pacer_end(&sim->pacer, &sim->now, &out);
	sim_set_live(sim, (double)out.marked_bytes, overhead);
	sim_table(sim, c);
	sim->count++;
}

static void sim_init(struct sim *sim, const struct scenario *s)
{
	*sim = (struct sim){.of = s, .way_out = {TARE_NEVER, TARE_NEVER, TARE_NEVER}};
	tare_rng_init(&sim->rng, s->seed);
	sim->now.global_bytes = s->global_bytes;
	struct gc_knobs knobs = {
	    .gogc_percent = s->gogc,
	    .limit_bytes = s->limit_bytes != 0 ? s->limit_bytes : GC_LIMIT_NONE,
	    .heap_min_bytes = s->heap_min_bytes != 0 ? s->heap_min_bytes : GC_HEAP_MIN_AUTO,
	    .workers = s->workers,
	    .idle_marking = !s->no_idle_marking,
	};
	gc_pacer_init(&sim->pacer, &knobs, &sim->now);
	gc_limiter_init(&sim->limiter, s->workers, 0);
}

// Runs a scenario to its end.
static void sim_run(struct sim *sim, const struct scenario *s)
{
	sim_init(sim, s);
	while (sim->count < s->cycles)
		sim_cycle_run(sim);
}

#endif
