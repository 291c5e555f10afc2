// SPDX-License-Identifier: MIT
//
// What the collector tells of itself: three histograms, CPU time by what it was for, a line a collection, events in the
// scheduler's trace.
//
// A pause is what a worker did at once for the collector, between two things of the program's: a step of a phase, or
// the scan of a stack before its task goes on. Nothing else of the collector stands in a task's way, but for assists,
// which are told apart. A wait is how long a collection waited until every worker had passed a safepoint; tasks run
// meanwhile.
// Of pauses most are tiny: a percentile of them falls as workers and tasks grow in number, whatever the long ones do.
// What stands beside a collector that stops the world, twice a collection, is a phase: the longest pause up to the end
// of marking, and the longest after it. No task is kept longer at once by either. Percentiles are therefore of phases.
//
// Threads: pauses are noted by workers, under a spinlock; the rest by the leader.
#include "gc/gc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { DIGITS = 2 };
#define LONGEST_NS ((uint64_t)(10 * TARE_NS_PER_S))

int gc_report_init(bool trace)
{
	gc.report.trace = trace;
	gc.report.opened_ns = tare_now_ns();
	struct tare_hist **const all[] = {&gc.report.pauses, &gc.report.phases, &gc.report.waits};
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(all) && rc == 0; i++)
		rc = tare_hist_new(all[i], DIGITS, LONGEST_NS);
	return rc;
}

void gc_report_done(void)
{
	tare_hist_free(gc.report.pauses);
	tare_hist_free(gc.report.phases);
	tare_hist_free(gc.report.waits);
}

// ---- what happens -------------------------------------------------------------------------------------------------

void gc_report_pause(int64_t ns)
{
	struct gc_report *r = &gc.report;
	tare_spin_lock(&gc.stats_spin);
	tare_hist_record(r->pauses, (uint64_t)ns);
	struct gc_held *held = &r->held[r->marked];
	held->longest_ns = TARE_MAX(held->longest_ns, ns);
	held->sum_ns += ns;
	tare_spin_unlock(&gc.stats_spin);
}

void gc_report_scan(int64_t ns)
{
	atomic_fetch_add_explicit(&gc.report.scan_ns, ns, memory_order_relaxed);
}

void gc_report_wait(const struct tare_handshake *seen)
{
	tare_spin_lock(&gc.stats_spin);
	tare_hist_record(gc.report.waits, (uint64_t)seen->took_ns);
	if (seen->took_ns > gc.report.late_max_ns) {
		gc.report.late_max_ns = seen->took_ns;
		memcpy(gc.report.late_name, seen->late_name, sizeof gc.report.late_name);
	}
	tare_spin_unlock(&gc.stats_spin);
}

static int64_t sum_of_caches(size_t offset)
{
	int64_t sum = 0;
	for (int i = 0; i < gc.workers; i++)
		sum += (int64_t)atomic_load_explicit((atomic_ullong *)(void *)((char *)&gc.caches[i] + offset),
						     memory_order_relaxed);
	return sum;
}

static struct gc_cpu cpu_now(void)
{
	struct gc_cpu cpu = {
	    .background_ns = sum_of_caches(offsetof(struct gc_cache, mark_ns)),
	    .assist_ns = sum_of_caches(offsetof(struct gc_cache, assist_ns)),
	    .idle_ns = sum_of_caches(offsetof(struct gc_cache, idle_ns)),
	    .sweep_ns = atomic_load_explicit(&gc.report.sweep_ns, memory_order_relaxed),
	};
	cpu.background_ns -= cpu.idle_ns; // idle time is in both
	cpu.background_ns += atomic_load_explicit(&gc.report.scan_ns, memory_order_relaxed);
	return cpu;
}

// ---- a collection -------------------------------------------------------------------------------------------------

void gc_report_begin(void)
{
	struct gc_report *r = &gc.report;
	r->begun_ns = tare_now_ns();
	r->begin_cpu = cpu_now();
	r->begin_bytes = gc_heap_bytes();
	r->begin_goal_bytes = atomic_load(&gc.goal_bytes);
}

void gc_report_marked(void)
{
	struct gc_report *r = &gc.report;
	r->marked_ns = tare_now_ns();
	r->end_bytes = gc_heap_bytes();
	struct gc_cpu cpu = cpu_now();
	tare_spin_lock(&gc.stats_spin);
	r->mark_ns = cpu.background_ns + cpu.idle_ns - r->begin_cpu.background_ns - r->begin_cpu.idle_ns;
	r->marked = true;
	tare_spin_unlock(&gc.stats_spin);
	tare_trace_span("gc marking", r->begun_ns);
}

static double ms(int64_t ns)
{
	return (double)ns / 1e6;
}

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)((bytes + (1 << 19)) >> 20);
}

static double share(const struct gc_cpu *cpu, int64_t held_ns, int64_t since_ns)
{
	int64_t all_ns = (tare_now_ns() - since_ns) * gc.workers;
	int64_t ns = cpu->background_ns + cpu->assist_ns + cpu->idle_ns + cpu->sweep_ns + held_ns;
	return all_ns > 0 ? (double)ns / (double)all_ns : 0;
}

// As Go has it with GODEBUG=gctrace=1, where "stopped" is what a worker had to do at once.
static void write_line(uint64_t cycle)
{
	const struct gc_report *r = &gc.report;
	struct gc_cpu cpu = cpu_now();
	char line[320];
	int len = snprintf(
	    line, sizeof line,
	    "gc %" PRIu64 " @%.3fs %.0f%%: %.3f+%.2f+%.3f ms clock, %.3f+%.2f/%.2f/%.2f+%.3f ms cpu, "
	    "%llu->%llu->%llu MB, %llu MB goal, %llu MB stacks, %llu MB globals, %d P\n",
	    cycle, (double)(r->begun_ns - r->opened_ns) / 1e9, share(&cpu, r->held_ns, r->opened_ns) * 100,
	    ms(r->held[0].longest_ns), ms(r->marked_ns - r->begun_ns), ms(r->held[1].longest_ns), ms(r->held[0].sum_ns),
	    ms(cpu.assist_ns - r->begin_cpu.assist_ns), ms(cpu.background_ns - r->begin_cpu.background_ns),
	    ms(cpu.idle_ns - r->begin_cpu.idle_ns), ms(r->held[1].sum_ns), mib(r->begin_bytes), mib(r->end_bytes),
	    mib(atomic_load(&gc.marked_bytes)), mib(r->begin_goal_bytes), mib(atomic_load(&gc.stack_bytes)),
	    mib(atomic_load(&gc.root_bytes)), gc.workers);
	(void)!write(STDERR_FILENO, line, (size_t)TARE_MIN(len, (int)sizeof line - 1));
}

void gc_report_end(uint64_t cycle)
{
	struct gc_report *r = &gc.report;
	tare_trace_span("gc sweeping", r->marked_ns);
	if (r->trace)
		write_line(cycle);
	tare_spin_lock(&gc.stats_spin);
	r->held_ns += r->held[0].sum_ns + r->held[1].sum_ns;
	for (size_t i = 0; i < TARE_ARRAY_LEN(r->held); i++)
		tare_hist_record(r->phases, (uint64_t)r->held[i].longest_ns);
	memset(r->held, 0, sizeof r->held);
	r->marked = false;
	tare_spin_unlock(&gc.stats_spin);
}

// ---- readers ------------------------------------------------------------------------------------------------------

void gc_report_stats(struct tare_gc_stats *ret)
{
	struct gc_cpu cpu = cpu_now();
	const struct gc_report *r = &gc.report;
	tare_spin_lock(&gc.stats_spin);
	ret->background_ns = cpu.background_ns;
	ret->assist_ns = cpu.assist_ns;
	ret->idle_ns = cpu.idle_ns;
	ret->sweep_ns = cpu.sweep_ns;
	ret->pause_ns = r->held_ns + r->held[0].sum_ns + r->held[1].sum_ns;
	ret->cpu_share = share(&cpu, ret->pause_ns, r->opened_ns);
	ret->mark_ns = r->mark_ns;
	ret->pause_p99_ns = (int64_t)tare_hist_quantile(r->phases, 0.99);
	ret->wait_p99_ns = (int64_t)tare_hist_quantile(r->waits, 0.99);
	ret->pause_max_ns = (int64_t)tare_hist_max(r->pauses);
	ret->late_max_ns = r->late_max_ns;
	memcpy(ret->late_name, r->late_name, sizeof ret->late_name);
	tare_spin_unlock(&gc.stats_spin);
}

static void merge(struct tare_hist *into, const struct tare_hist *from)
{
	if (from == NULL)
		return;
	tare_spin_lock(&gc.stats_spin);
	tare_hist_merge(into, from);
	tare_spin_unlock(&gc.stats_spin);
}

void tare_gc_pauses_merge(struct tare_hist *into)
{
	merge(into, gc.report.pauses);
}

void tare_gc_phases_merge(struct tare_hist *into)
{
	merge(into, gc.report.phases);
}

void tare_gc_waits_merge(struct tare_hist *into)
{
	merge(into, gc.report.waits);
}
