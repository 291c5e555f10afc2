// SPDX-License-Identifier: MIT
//
// When a collection begins, and who pays for it: the pacer and the limiter (pacer.h, limiter.h), fed with what this heap
// measures, and their answers published for those who make objects.
//
// Work is counted in bytes of objects, stacks and roots that were looked into. Background marking leaves credit; who makes
// objects while marking goes on takes from it, and marks himself for what is missing.
//
// Threads: gc_pace_begin and gc_pace_end are the leader's, when no marking task runs; marking tasks revise in between. What is
// published are single words, read without a lock: an answer that is a little old does no harm.
#include "gc/gc_int.h"

// Assist ratios are published in parts of so many.
#define RATIO_ONE 1024

// What a task does at least, once it has to: so it need not at its next object.
enum { OVER_ASSIST_BYTES = 64 * 1024, WORK_MAX = 1 << 30 };

static uint64_t sum_work(void)
{
	uint64_t bytes = 0;
	for (int i = 0; i < gc.workers; i++)
		bytes += atomic_load_explicit(&gc.caches[i].work_bytes, memory_order_relaxed);
	return bytes;
}

static int64_t sum_ns(bool idle)
{
	int64_t ns = 0;
	for (int i = 0; i < gc.workers; i++)
		ns += (int64_t)atomic_load_explicit(idle ? &gc.caches[i].idle_ns : &gc.caches[i].assist_ns,
						    memory_order_relaxed);
	return ns;
}

// How much of the heap may hold pointers is known of what was marked; what was made since is taken to be alike.
static struct gc_heap_now heap_now(void)
{
	uint64_t live = gc_heap_bytes();
	return (struct gc_heap_now){
	    .live_bytes = live,
	    .scan_bytes = (uint64_t)((double)live * gc.scan_share),
	    .stack_bytes = gc.stack_bytes,
	    .global_bytes = gc.root_bytes,
	    .counted_bytes = live,
	    .object_bytes = live,
	};
}

static void publish_target(const struct gc_heap_now *now)
{
	struct gc_target target = gc_pacer_target(&gc.pacer, now);
	atomic_store(&gc.goal_bytes, target.goal_bytes);
	atomic_store(&gc.trigger_bytes, target.trigger_bytes);
}

static void publish_assist(const struct gc_assist *assist)
{
	double parts = assist->work_per_byte * RATIO_ONE;
	atomic_store_explicit(&gc.work_per_byte, parts < (double)WORK_MAX ? (uint64_t)parts + 1 : WORK_MAX,
			      memory_order_relaxed);
}

// With pace_spin.
static void limiter_update(bool marking)
{
	int64_t assist_ns = sum_ns(false), idle_ns = sum_ns(true);
	struct gc_window window = {
	    .now_ns = tare_now_ns(),
	    .assist_ns = assist_ns - gc.limiter_assist_ns,
	    .idle_ns = idle_ns - gc.limiter_idle_ns,
	    .cycle = gc.pacer.cycles + 1,
	    .marking = marking,
	};
	gc.limiter_assist_ns = assist_ns;
	gc.limiter_idle_ns = idle_ns;
	enum gc_limiter_change change = gc_limiter_update(&gc.limiter, &window);
	(void)change;
	atomic_store_explicit(&gc.limiting, gc.limiter.limiting, memory_order_relaxed);
}

void gc_pace_init(const struct tare_gc_options *o)
{
	struct gc_knobs knobs = {
	    .gogc_percent = o->percent == 0  ? 100
			    : o->percent < 0 ? GC_GOGC_OFF
					     : (uint32_t)o->percent,
	    .limit_bytes = GC_LIMIT_NONE,
	    .heap_min_bytes = o->min_bytes != 0 ? o->min_bytes : GC_HEAP_MIN_AUTO,
	    .workers = (uint32_t)gc.workers,
	    .idle_marking = true,
	};
	gc.scan_share = 1;
	struct gc_heap_now now = heap_now();
	gc_pacer_init(&gc.pacer, &knobs, &now);
	gc_limiter_init(&gc.limiter, knobs.workers, tare_now_ns());
	publish_target(&now);
}

void gc_pace_begin(void)
{
	struct gc_heap_now now = heap_now();
	struct gc_plan plan = gc_pacer_start(&gc.pacer, &now);
	gc.plan = plan;
	gc.scan_at_begin = now.scan_bytes;
	gc.begun_ns = tare_now_ns();
	gc.work_at_begin = sum_work();
	gc.assist_at_begin = sum_ns(false);
	gc.idle_at_begin = sum_ns(true);
	gc.stack_bytes = gc.root_bytes = 0; // counted anew
	atomic_store(&gc.credit, 0);
	publish_assist(&plan.assist);
	tare_spin_lock(&gc.pace_spin);
	limiter_update(false);
	tare_spin_unlock(&gc.pace_spin);
}

void gc_pace_revise(void)
{
	struct gc_heap_now now = heap_now();
	now.scan_bytes = gc.scan_at_begin;
	struct gc_work done = {.heap_bytes = sum_work() - gc.work_at_begin};
	struct gc_assist assist = gc_pacer_revise(&gc.pacer, &now, &done);
	publish_assist(&assist);
	tare_spin_lock(&gc.pace_spin);
	if (gc_limiter_is_stale(&gc.limiter, tare_now_ns()))
		limiter_update(true);
	tare_spin_unlock(&gc.pace_spin);
}

void gc_pace_end(uint64_t marked_bytes)
{
	struct gc_heap_now now = heap_now();
	uint64_t work = sum_work() - gc.work_at_begin;
	struct gc_outcome outcome = {
	    .work = {.heap_bytes = work, .stack_bytes = gc.stack_bytes, .global_bytes = gc.root_bytes},
	    .marked_bytes = marked_bytes,
	    .wall_ns = tare_now_ns() - gc.begun_ns,
	    .assist_ns = sum_ns(false) - gc.assist_at_begin,
	    .idle_ns = sum_ns(true) - gc.idle_at_begin,
	};
	gc.scan_share = marked_bytes > 0 ? TARE_MIN((double)work / (double)marked_bytes, 1.0) : 1;
	gc_pacer_end(&gc.pacer, &now, &outcome);
	now.live_bytes = marked_bytes;
	publish_target(&now);
	tare_spin_lock(&gc.pace_spin);
	limiter_update(true);
	tare_spin_unlock(&gc.pace_spin);
}

int64_t gc_pace_pause_ns(int worker, int64_t worked_ns)
{
	if ((uint32_t)worker < gc.plan.dedicated)
		return 0;
	if (gc.plan.fractional <= 0)
		return TARE_NS_PER_MS; // others do it; but for when this worker has nothing to do
	return (int64_t)((double)worked_ns * (1 / gc.plan.fractional - 1));
}

void gc_assist(size_t bytes)
{
	if (atomic_load_explicit(&gc.limiting, memory_order_relaxed))
		return;
	uint64_t ratio = atomic_load_explicit(&gc.work_per_byte, memory_order_relaxed);
	int64_t owed = (int64_t)(TARE_MIN((uint64_t)bytes, (uint64_t)WORK_MAX) * ratio / RATIO_ONE);
	if (atomic_fetch_sub_explicit(&gc.credit, owed, memory_order_relaxed) >= owed)
		return;
	int64_t since_ns = tare_now_ns();
	struct gc_cache *cache = gc_cache_own();
	size_t did = gc_drain(&cache->marker, TARE_MAX((size_t)owed, (size_t)OVER_ASSIST_BYTES));
	tare_bump(&cache->work_bytes, did);
	tare_bump(&cache->assist_ns, (unsigned long long)(tare_now_ns() - since_ns));
	atomic_fetch_add_explicit(&gc.credit, (int64_t)did, memory_order_relaxed);
	// Nothing was found: what is grey is with others, and debt is theirs to work off.
	if (did == 0)
		atomic_fetch_add_explicit(&gc.credit, owed, memory_order_relaxed);
}
