// SPDX-License-Identifier: MIT
//
// When a collection begins, and who pays for it: the pacer and the limiter (pacer.h, limiter.h), fed with what this
// heap measures, and their answers published for those who make objects.
//
// Work is counted in bytes of objects, stacks and roots that were looked into. Background marking leaves credit; who
// makes objects while marking goes on takes from it, and marks himself for what is missing.
//
// Threads: gc_pace_begin, gc_pace_end and gc_pace_swept are the leader's, when no marking task runs; marking tasks
// revise in between, and the limit's keeper looks at any time: all under pace_spin. What is published are single words,
// read without a lock: an answer that is a little old does no harm.
#include "gc/gc_int.h"

#include "gc/saturate.h"

#include <time.h>

#ifdef TARE_SIM
#define SIMULATED true
#else
#define SIMULATED false
#endif

// How often what assists owe is reckoned anew: it takes a lock and looks at every worker.
#define REVISE_NS (50 * TARE_NS_PER_US)

// Assist ratios are published in parts of so many.
#define RATIO_ONE 1024

// Of the goal, and of the limit in percent: what blocks may keep before some of it goes back.
#define RETAIN 1.1
#define RETAIN_OF_LIMIT 95

// What tasks wait that have gone past the goal while the collection is others' to do: 8 KiB in such a time, a worker,
// whatever the number of tasks; one object no longer than so long. They look every so often whether they still have to.
#define PAST_GOAL_PAUSE_NS (50 * TARE_NS_PER_US)
#define PAST_GOAL_OBJECT_NS (100 * TARE_NS_PER_MS)
#define PAST_GOAL_LOOK_NS (10 * TARE_NS_PER_MS)
enum { PAST_GOAL_RUN = 8192 };

// So much of the goal more, and so much a worker, may be made before that: a small heap's collection is over before it
// is told that it is late. Under the limit nothing may; while the limiter keeps assists off, that part alone: what
// slows the heap down then costs the program none of its CPU time.
enum { PAST_GOAL_PART = 8, PAST_GOAL_BYTES = 1 << 20 };

// How many collections must leave more than the limit: what is made while one goes on survives it.
enum { OVER_CYCLES = 2 };

// What a task does at least, once it has to, so that it need not at its next object; and at most before others have a
// turn.
enum { ASSIST_LEAST = 8 * 1024, ASSIST_MOST = 16 * 1024, WORK_MAX = 1 << 30 };

// What a slice of marking takes at most, be memory ever so slow.
#define SLICE_MOST_NS TARE_NS_PER_MS

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

static int64_t background_ns(const struct gc_cache *cache)
{
	return (int64_t)(atomic_load_explicit(&cache->mark_ns, memory_order_relaxed) -
			 atomic_load_explicit(&cache->idle_ns, memory_order_relaxed));
}

// How much of the heap may hold pointers is known of what was marked; what was made since is taken to be alike. With
// pace_spin.
static struct gc_heap_now heap_now(void)
{
	uint64_t live = gc_heap_bytes();
	struct gc_blocks blocks = gc_blocks_now();
	return (struct gc_heap_now){
	    .live_bytes = live,
	    .scan_bytes = (uint64_t)((double)live * gc.scan_share),
	    .stack_bytes = gc.stack_bytes,
	    .global_bytes = gc.root_bytes,
	    .counted_bytes = blocks.dirty_bytes + atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed),
	    .object_bytes = live,
	    .free_bytes = blocks.idle_bytes,
	};
}

// With pace_spin.
static void publish_target(const struct gc_heap_now *now)
{
	struct gc_target target = gc_pacer_target(&gc.pacer, now);
	// Where the limit leaves nothing, a collection still follows the other only when there is something new.
	if (target.limited)
		target.trigger_bytes = TARE_MAX(target.trigger_bytes, gc.pacer.marked_bytes + BLOCK_BYTES);
	atomic_store_explicit(&gc.limited, target.limited, memory_order_relaxed);
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
static void revise(struct gc_heap_now now)
{
	now.scan_bytes = gc.scan_at_begin;
	struct gc_work done = {.heap_bytes = sum_work() - gc.work_at_begin};
	struct gc_assist assist = gc_pacer_revise(&gc.pacer, &now, &done);
	publish_assist(&assist);
}

// Whether more is in use than the limit allows, whatever is given back. With pace_spin, and when all is swept.
static bool over_limit(void)
{
	uint64_t limit = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed);
	struct gc_blocks blocks = gc_blocks_now();
	uint64_t others = atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed);
	return limit != GC_LIMIT_NONE && blocks.dirty_bytes - blocks.idle_bytes + others > limit;
}

// CPU time of the whole process. A simulation knows none: there workers are never idle.
static int64_t cpu_ns(int64_t now_ns)
{
	struct timespec ts;
	if (SIMULATED || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) != 0)
		return now_ns * gc.workers;
	return (int64_t)ts.tv_sec * TARE_NS_PER_S + ts.tv_nsec;
}

// What workers had nothing to run in, or the system did not run them in, beside marking that used such time. With
// pace_spin.
static int64_t idle_since(int64_t now_ns)
{
	int64_t cpu = cpu_ns(now_ns), used_ns = cpu - gc.limiter_cpu_ns;
	gc.limiter_cpu_ns = cpu;
	return TARE_MAX((now_ns - gc.limiter.updated_ns) * gc.workers - used_ns, 0);
}

// With pace_spin.
static void limiter_update(bool marking)
{
	int64_t assist_ns = sum_ns(false), idle_ns = sum_ns(true), now_ns = tare_now_ns();
	struct gc_window window = {
	    .now_ns = now_ns,
	    .assist_ns = assist_ns - gc.limiter_assist_ns,
	    .idle_ns = idle_ns - gc.limiter_idle_ns + idle_since(now_ns),
	    .cycle = gc.pacer.cycles + 1,
	    .marking = marking,
	    .limited = atomic_load_explicit(&gc.limited, memory_order_relaxed),
	    .over = gc.limit.over_cycles >= OVER_CYCLES,
	};
	gc.limiter_assist_ns = assist_ns;
	gc.limiter_idle_ns = idle_ns;
	(void)!gc_limiter_update(&gc.limiter, &window);
	atomic_store_explicit(&gc.limiting, gc.limiter.limiting, memory_order_relaxed);
	gc_limit_steps(window.now_ns);
}

// What the limit allows, and how many workers a quota leaves free, as last read. With pace_spin.
static void take_knobs(void)
{
	struct gc_knobs before = gc.pacer.knobs, knobs = gc_limit_knobs(&before);
	if (knobs.gogc_percent == before.gogc_percent && knobs.limit_bytes == before.limit_bytes)
		return;
	struct gc_heap_now now = heap_now();
	gc_pacer_set(&gc.pacer, &knobs, &now);
	if (knobs.limit_bytes != before.limit_bytes && !gc.pacer.marking && !gc.sweeping)
		gc_pacer_swept(&gc.pacer, &now);
}

void gc_pace_init(const struct tare_gc_options *o)
{
	double quota = tare_cpu_quota();
	struct gc_knobs base = {
	    .heap_min_bytes = o->min_bytes != 0 ? o->min_bytes : GC_HEAP_MIN_AUTO,
	    .workers = (uint32_t)gc.workers,
	    .idle_marking = !o->idle_marking_off && (quota <= 0 || quota > gc.workers),
	};
	struct gc_knobs knobs = gc_limit_knobs(&base);
	gc.scan_share = 1;
	struct gc_heap_now now = heap_now();
	gc_pacer_init(&gc.pacer, &knobs, &now);
	int64_t now_ns = tare_now_ns();
	gc_limiter_init(&gc.limiter, knobs.workers, now_ns);
	gc.limiter_cpu_ns = cpu_ns(now_ns);
	(void)!gc_limiter_switch(&gc.limiter, !o->limiter_off, 0);
	publish_target(&now);
}

void gc_pace_begin(void)
{
	(void)gc_limit_read(true);
	tare_spin_lock(&gc.pace_spin);
	take_knobs();
	struct gc_heap_now now = heap_now();
	gc.plan = gc_pacer_start(&gc.pacer, &now);
	gc.scan_at_begin = now.scan_bytes;
	gc.begun_ns = tare_now_ns();
	gc.work_at_begin = sum_work();
	gc.assist_at_begin = sum_ns(false);
	gc.idle_at_begin = sum_ns(true);
	for (int i = 0; i < gc.workers; i++)
		gc.caches[i].background_at_begin = background_ns(&gc.caches[i]);
	gc.stack_bytes = gc.root_bytes = 0; // counted anew
	atomic_store(&gc.credit, 0);
	publish_assist(&gc.plan.assist);
	limiter_update(false);
	tare_spin_unlock(&gc.pace_spin);
}

void gc_pace_revise(void)
{
	int64_t now_ns = tare_now_ns(), then_ns = atomic_load_explicit(&gc.revised_ns, memory_order_relaxed);
	if (!SIMULATED && now_ns - then_ns < REVISE_NS)
		return;
	atomic_store_explicit(&gc.revised_ns, now_ns, memory_order_relaxed);
	(void)gc_limit_read(false);
	tare_spin_lock(&gc.pace_spin);
	revise(heap_now());
	if (gc_limiter_is_stale(&gc.limiter, tare_now_ns()))
		limiter_update(true);
	tare_spin_unlock(&gc.pace_spin);
}

void gc_pace_end(uint64_t marked_bytes)
{
	tare_spin_lock(&gc.pace_spin);
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
	struct gc_blocks blocks = gc_blocks_now();
	uint64_t used_bytes = blocks.dirty_bytes - blocks.idle_bytes;
	gc.used_per_goal = now.live_bytes > 0 ? TARE_MAX((double)used_bytes / (double)now.live_bytes, 1.0) : 1;
	gc.sweeping = true;
	now.live_bytes = marked_bytes;
	publish_target(&now);
	limiter_update(true);
	tare_spin_unlock(&gc.pace_spin);
}

void gc_pace_swept(void)
{
	(void)gc_limit_read(true);
	tare_spin_lock(&gc.pace_spin);
	gc.sweeping = false;
	gc.swept_ns = tare_now_ns();
	take_knobs();
	struct gc_heap_now now = heap_now();
	gc_pacer_swept(&gc.pacer, &now);
	publish_target(&now);
	gc.limit.over_cycles = over_limit() ? gc.limit.over_cycles + 1 : 0;
	limiter_update(false);
	tare_spin_unlock(&gc.pace_spin);
}

// Under the limit the trigger that is published is the least that it can be: by then it may have moved on.
bool gc_pace_due(size_t bytes)
{
	uint64_t live = gc_heap_bytes() + bytes;
	if (TARE_LIKELY(live < atomic_load_explicit(&gc.trigger_bytes, memory_order_relaxed)))
		return false;
	if (!atomic_load_explicit(&gc.limited, memory_order_relaxed))
		return true;
	tare_spin_lock(&gc.pace_spin);
	if (!gc.pacer.marking && !gc.sweeping) {
		struct gc_heap_now now = heap_now();
		publish_target(&now);
	}
	tare_spin_unlock(&gc.pace_spin);
	return live >= atomic_load_explicit(&gc.trigger_bytes, memory_order_relaxed);
}

void gc_pace_look(void)
{
	(void)gc_limit_read(true);
	tare_spin_lock(&gc.pace_spin);
	take_knobs();
	if (!gc.sweeping || gc.pacer.knobs.limit_bytes == GC_LIMIT_NONE) {
		struct gc_heap_now now = heap_now();
		publish_target(&now);
		if (gc.pacer.marking)
			revise(now);
		else if (!gc.sweeping)
			gc.limit.over_cycles = over_limit() ? gc.limit.over_cycles : 0;
	}
	limiter_update(gc.pacer.marking);
	tare_spin_unlock(&gc.pace_spin);
}

// ---- what blocks may keep -----------------------------------------------------------------------------------------

// A tenth more than GOGC's goal will take, as blocks are used, and what may be made past it (gc_pace_slow), up to as
// much again: else a small heap would give back after each collection what it takes again at once. And 95 % of what the
// limit leaves.
uint64_t gc_pace_retained(void)
{
	uint64_t goal = gc.pacer.gogc_goal_bytes, limit = gc.pacer.knobs.limit_bytes, retained = UINT64_MAX;
	if (gc.pacer.cycles > 0 && goal != UINT64_MAX)
		retained = (uint64_t)TARE_MIN((double)goal * gc.used_per_goal * RETAIN, 0x1p63) +
			   TARE_MIN(goal, (uint64_t)gc.workers * PAST_GOAL_BYTES);
	if (limit == GC_LIMIT_NONE)
		return retained;
	uint64_t others = atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed);
	return TARE_MIN(retained, gc_minus(limit / 100 * RETAIN_OF_LIMIT, others));
}

uint64_t gc_pace_excess(bool *ret_at_once)
{
	struct gc_blocks blocks = gc_blocks_now();
	tare_spin_lock(&gc.pace_spin);
	uint64_t excess = gc_minus(blocks.dirty_bytes, gc_pace_retained());
	uint64_t others = atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed);
	uint64_t over = gc_minus(gc_plus(blocks.dirty_bytes, others), gc.pacer.knobs.limit_bytes);
	tare_spin_unlock(&gc.pace_spin);
	*ret_at_once = over > 0 && !atomic_load_explicit(&gc.limiting, memory_order_relaxed);
	return TARE_MIN(blocks.idle_bytes, *ret_at_once ? over : excess);
}

// ---- who marks ----------------------------------------------------------------------------------------------------

// It has its share of the time since marking began, not of its turns: those come when the worker's other tasks let
// them.
int64_t gc_pace_pause_ns(const struct gc_cache *cache)
{
	if ((uint32_t)(cache - gc.caches) < gc.plan.dedicated)
		return 0;
	if (gc.plan.fractional <= 0)
		return TARE_NS_PER_MS; // others do it; but for when this worker has nothing to do
	int64_t worked_ns = background_ns(cache) - cache->background_at_begin;
	double ahead_ns = (double)worked_ns / gc.plan.fractional - (double)(tare_now_ns() - gc.begun_ns);
	return ahead_ns > 0 ? (int64_t)ahead_ns : 0;
}

bool gc_pace_may_idle(int worker)
{
	return (uint32_t)worker < gc.plan.dedicated + gc.plan.idle_workers_max;
}

// Books a turn for who makes so many bytes, behind all that are booked: when it has come.
static int64_t turn_ns(size_t bytes)
{
	int64_t now_ns = tare_now_ns(), at_ns = atomic_load_explicit(&gc.turn_ns, memory_order_relaxed), next_ns;
	int64_t pause_ns = PAST_GOAL_PAUSE_NS * (int64_t)TARE_MAX(bytes / PAST_GOAL_RUN, (size_t)1) / gc.workers;
	do
		next_ns = TARE_MAX(at_ns, now_ns) + TARE_MIN(pause_ns, PAST_GOAL_OBJECT_NS);
	while (!atomic_compare_exchange_weak_explicit(&gc.turn_ns, &at_ns, next_ns, memory_order_relaxed,
						      memory_order_relaxed));
	return next_ns;
}

// Whether so many bytes more have to wait.
static bool is_past_goal(size_t bytes)
{
	uint64_t goal = atomic_load_explicit(&gc.goal_bytes, memory_order_relaxed);
	if (!atomic_load_explicit(&gc.limited, memory_order_relaxed))
		goal = gc_plus(goal, goal / PAST_GOAL_PART + (uint64_t)gc.workers * PAST_GOAL_BYTES);
	else if (atomic_load_explicit(&gc.limiting, memory_order_relaxed))
		goal = gc_plus(goal, goal / PAST_GOAL_PART);
	return gc_heap_bytes() + bytes > goal;
}

void gc_pace_slow(size_t bytes)
{
	if (!is_past_goal(bytes))
		return;
	if (tare_cancelled() < 0) { // it isn't let sleep
		tare_yield();
		return;
	}
	uint32_t generation = atomic_load_explicit(&gc.generation, memory_order_relaxed);
	int64_t at_ns = turn_ns(bytes), now_ns = tare_now_ns();
	do {
		int64_t look_ns = now_ns + TARE_MAX((at_ns - now_ns) / 2, PAST_GOAL_LOOK_NS);
		if (tare_sleep_until(TARE_MIN(at_ns, look_ns)) < 0)
			return;
		now_ns = tare_now_ns();
		if (now_ns >= at_ns)
			return;
		// Once a collection is over it has done what it could. Under the limit it takes as many as there need
		// be.
	} while (is_past_goal(bytes) && (atomic_load_explicit(&gc.limited, memory_order_relaxed) ||
					 atomic_load_explicit(&gc.generation, memory_order_relaxed) == generation));
	atomic_store_explicit(&gc.turn_ns, now_ns, memory_order_relaxed); // nobody needs those that are booked
}

// Of one slice of marking, that began then: as long as one can take. Longer ones were interrupted, and others had the
// CPU.
int64_t gc_slice_ns(int64_t since_ns)
{
	return TARE_MIN(tare_now_ns() - since_ns, SLICE_MOST_NS);
}

// Bytes that it looked into.
static size_t assist_slice(size_t owed)
{
	int64_t since_ns = tare_now_ns();
	struct gc_cache *cache = gc_cache_own();
	size_t did = gc_drain(&cache->marker, TARE_MIN(TARE_MAX(owed, (size_t)ASSIST_LEAST), (size_t)ASSIST_MOST));
	tare_bump(&cache->work_bytes, did);
	tare_bump(&cache->assist_ns, (unsigned long long)gc_slice_ns(since_ns));
	atomic_fetch_add_explicit(&gc.credit, (int64_t)did, memory_order_relaxed);
	return did;
}

// Others have their turns in between, however much is owed.
void gc_assist(size_t bytes)
{
	if (atomic_load_explicit(&gc.limiting, memory_order_relaxed)) {
		gc_pace_slow(bytes);
		return;
	}
	uint64_t ratio = atomic_load_explicit(&gc.work_per_byte, memory_order_relaxed);
	int64_t owed = (int64_t)(TARE_MIN((uint64_t)bytes, (uint64_t)WORK_MAX) * ratio / RATIO_ONE);
	if (atomic_fetch_sub_explicit(&gc.credit, owed, memory_order_relaxed) >= owed)
		return;
	uint32_t generation = atomic_load_explicit(&gc.generation, memory_order_relaxed);
	while (owed > 0 && !atomic_load_explicit(&gc.limiting, memory_order_relaxed)) {
		size_t did = assist_slice((size_t)owed);
		if (did == 0)
			break;
		owed -= (int64_t)did;
		if (atomic_load_explicit(&gc.credit, memory_order_relaxed) >= 0)
			return; // others worked it off
		gc_pace_revise();
		tare_breathe(tare_now_ns());
		// Marking may have ended meanwhile, and another one begun, whose credit this debt is none of.
		if (!atomic_load(&gc.tracing) ||
		    atomic_load_explicit(&gc.generation, memory_order_relaxed) != generation)
			return;
	}
	// Nothing was found: what is grey is with others, and debt is theirs to work off, or there is nothing left, and
	// the collection is theirs to end. The task gives them time for it.
	if (owed > 0) {
		atomic_fetch_add_explicit(&gc.credit, owed, memory_order_relaxed);
		gc_markers_rouse();
		tare_breathe(tare_now_ns());
		gc_pace_slow(bytes);
	}
}
