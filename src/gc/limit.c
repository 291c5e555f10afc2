// SPDX-License-Identifier: MIT
//
// The memory limit: which one holds, what is used beside the heap, what happens when it can't be held; and the task
// that looks after it, which also gives memory back when a collection has freed it.
//
// What counts against the limit is what blocks may have of the system's memory (their dirty ones) and what the process
// has beside it, as the kernel counts it: tasks' stacks, malloc's memory, this heap's own tables, and the lists that
// marking makes. Where the limit is for the heap alone, the others are its tables and lists. Pages of objects that were
// never touched are counted though the system has not given them, so the others come out too low by as much, and the
// sum is right until they are touched.
//
// Invariants
//   1. What is in force (bytes, others_bytes) changes by a look alone: every 10 ms near the limit, every 100 ms below,
//      and at the begin and end of a collection. Without a limit nobody looks: no timer is set.
//   2. failing is set while the step is due, and no longer than the trouble lasts: while it is, somebody who was
//      refused has collections go on, an eighth of the time.
//   3. A trouble is called back once.
//
// Threads: the keeper is a task; looks by any; what a reclaimer does by a spare thread.
// Rejected: an own count of all memory instead of the kernel's (libraries and stacks would be outside of it); looking
// at each allocation (the kernel's count is a system call).
#include "gc/gc_int.h"

#include "gc/saturate.h"

#include <tare/block.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_NEAR_NS (10 * TARE_NS_PER_MS)
#define LOOK_FAR_NS (100 * TARE_NS_PER_MS)
#define RETRY_PART 8 // of the time, one in, goes to collections while what is asked for is refused
// Background release takes one part of a worker's time in:
#define SCAVENGE_PART 100
#define SCAVENGE_PAUSE_MIN_NS TARE_NS_PER_MS

// ---- what counts --------------------------------------------------------------------------------------------------

static uint64_t limit_in_force(uint64_t wanted)
{
	struct tare_limit_stats process;
	if (wanted != 0)
		return wanted; // TARE_GC_NO_LIMIT is GC_LIMIT_NONE
	tare_limit_stats_read(&process);
	return process.limit_bytes == 0 ? GC_LIMIT_NONE : process.limit_bytes / 10 * 9;
}
_Static_assert(TARE_GC_NO_LIMIT == GC_LIMIT_NONE, "one value");

static uint64_t own_bytes(const struct gc_blocks *blocks)
{
	return blocks->top_blocks * sizeof(struct gc_span) + blocks->rows_bytes +
	       atomic_load_explicit(&gc.chunks, memory_order_relaxed) * sizeof(struct gc_chunk) +
	       (uint64_t)gc.workers * sizeof(struct gc_cache);
}

bool gc_limit_read(bool force)
{
	struct gc_limit *l = &gc.limit;
	int64_t now_ns = tare_now_ns();
	if (!force && (atomic_load_explicit(&l->bytes, memory_order_relaxed) == GC_LIMIT_NONE ||
		       now_ns - atomic_load_explicit(&l->looked_ns, memory_order_relaxed) < LOOK_NEAR_NS))
		return false;
	uint64_t wanted = atomic_load_explicit(&l->wanted_bytes, memory_order_relaxed), others = 0;
	uint64_t bytes = limit_in_force(wanted);
	struct gc_blocks blocks = gc_blocks_now();
	if (l->heap_alone && wanted != 0)
		others = own_bytes(&blocks);
	else if (bytes != GC_LIMIT_NONE)
		others = gc_minus(tare_limit_used(), blocks.dirty_bytes);
	atomic_store_explicit(&l->looked_ns, now_ns, memory_order_relaxed);
	atomic_store_explicit(&l->others_bytes, others, memory_order_relaxed);
	atomic_store_explicit(&l->bytes, bytes, memory_order_relaxed);
	return true;
}

static uint32_t gogc_of(int percent)
{
	return percent == 0 ? 100 : percent < 0 ? GC_GOGC_OFF : (uint32_t)percent;
}

struct gc_knobs gc_limit_knobs(const struct gc_knobs *base)
{
	struct gc_knobs knobs = *base;
	knobs.gogc_percent = gogc_of(atomic_load_explicit(&gc.limit.percent, memory_order_relaxed));
	knobs.limit_bytes = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed);
	return knobs;
}

// ---- when it can't be held ----------------------------------------------------------------------------------------

static struct tare_gc_trouble trouble_now(int64_t now_ns)
{
	return (struct tare_gc_trouble){
	    .lasted_ns = gc_limiter_trouble_ns(&gc.limiter, now_ns),
	    .limit_bytes = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed),
	    .heap_bytes = gc_heap_bytes(),
	    .others_bytes = atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed),
	};
}

TARE_NORETURN static void give_up(int64_t now_ns)
{
	struct tare_gc_trouble t = trouble_now(now_ns);
	fprintf(stderr,
		"tare: gc: the memory limit of %" PRIu64 " bytes could not be held for %" PRId64 " ms: %" PRIu64
		" bytes of objects, %" PRIu64 " beside the heap\n",
		t.limit_bytes, t.lasted_ns / TARE_NS_PER_MS, t.heap_bytes, t.others_bytes);
	abort();
}

void gc_limit_steps(int64_t now_ns)
{
	enum gc_step step = gc_limiter_due(&gc.limiter, &gc.limit.way_out, now_ns);
	if (step == GC_STEP_ABORT)
		give_up(now_ns);
	atomic_store_explicit(&gc.limit.failing, step == GC_STEP_FAIL, memory_order_relaxed);
}

bool gc_limit_fails(void)
{
	if (TARE_LIKELY(!atomic_load_explicit(&gc.limit.failing, memory_order_relaxed)))
		return false;
	atomic_store_explicit(&gc.limit.failed, true, memory_order_relaxed);
	return true;
}

static void call_back(void)
{
	struct gc_limit *l = &gc.limit;
	const struct gc_way_out call_alone = {
	    .call_after_ns = l->way_out.call_after_ns, .fail_after_ns = TARE_NEVER, .abort_after_ns = TARE_NEVER};
	int64_t now_ns = tare_now_ns();
	tare_spin_lock(&gc.pace_spin);
	bool due =
	    gc_limiter_due(&gc.limiter, &call_alone, now_ns) == GC_STEP_CALL && l->called_seq != gc.limiter.trouble_seq;
	if (due)
		l->called_seq = gc.limiter.trouble_seq;
	struct tare_gc_trouble trouble = trouble_now(now_ns);
	tare_spin_unlock(&gc.pace_spin);
	if (due && l->call != NULL)
		l->call(l->call_arg, &trouble);
}

// Who is refused makes nothing, so nothing else would find out that there is room again. And whether a collection has
// left too much, or was only late, the next one shows.
static void retry(void)
{
	struct gc_limit *l = &gc.limit;
	int64_t now_ns = tare_now_ns();
	tare_spin_lock(&gc.pace_spin);
	bool at_rest = !gc.pacer.marking && !gc.sweeping;
	bool once = at_rest && l->over_cycles == 1;
	bool due = at_rest && now_ns - gc.swept_ns >= (RETRY_PART - 1) * (gc.swept_ns - gc.begun_ns);
	tare_spin_unlock(&gc.pace_spin);
	if (once || (due && atomic_exchange_explicit(&l->failed, false, memory_order_relaxed)))
		gc_collect_soon();
}

// ---- giving back --------------------------------------------------------------------------------------------------

void gc_limit_took(size_t blocks)
{
	uint64_t limit = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed);
	if (TARE_LIKELY(limit == GC_LIMIT_NONE) || atomic_load_explicit(&gc.limiting, memory_order_relaxed))
		return;
	struct gc_blocks now = gc_blocks_now();
	if (now.dirty_bytes + atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed) > limit)
		(void)gc_release(blocks << BLOCK_SHIFT, GC_FROM_ANY);
}

// How long until there is more to do.
static int64_t scavenge(void)
{
	bool at_once;
	for (uint64_t excess; (excess = gc_pace_excess(&at_once)) > 0;) {
		if (!at_once && excess < REGION_BYTES)
			break; // a region goes as a whole, and too much would go
		int64_t since_ns = tare_now_ns();
		size_t released = gc_release(TARE_MIN((size_t)excess, (size_t)REGION_BYTES),
					     at_once ? GC_FROM_ANY : GC_FROM_MOSTLY_FREE);
		if (released == 0)
			break;
		int64_t now_ns = tare_now_ns();
		if (!at_once)
			return TARE_MAX((now_ns - since_ns) * (SCAVENGE_PART - 1), SCAVENGE_PAUSE_MIN_NS);
		tare_breathe(now_ns);
	}
	return TARE_NEVER;
}

static size_t reclaim(void *arg, enum tare_pressure pressure)
{
	(void)arg;
	tare_event_wake(&gc.limit.wake); // the process has a limit, which may be new
	if (pressure == TARE_PRESSURE_NONE)
		return 0;
	return gc_release(SIZE_MAX, pressure == TARE_PRESSURE_HARD ? GC_FROM_ANY : GC_FROM_MOSTLY_FREE);
}

// ---- the keeper ---------------------------------------------------------------------------------------------------

static int64_t look_pause_ns(void)
{
	uint64_t limit = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed);
	if (limit == GC_LIMIT_NONE)
		return TARE_NEVER;
	uint64_t counted =
	    gc_blocks_now().dirty_bytes + atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed);
	return counted >= limit / 100 * 70 ? LOOK_NEAR_NS : LOOK_FAR_NS;
}

static int keeper_main(void *arg)
{
	(void)arg;
	while (!atomic_load(&gc.limit.closing)) {
		gc_pace_look();
		call_back();
		retry();
		int64_t pause_ns = TARE_MIN(scavenge(), look_pause_ns());
		(void)!tare_event_wait_until(&gc.limit.wake, tare_time_after(tare_now_ns(), pause_ns));
	}
	return 0;
}

static int64_t step_ns(int64_t after_ns)
{
	return after_ns > 0 ? after_ns : TARE_NEVER;
}

void gc_limit_init(const struct tare_gc_options *o)
{
	struct gc_limit *l = &gc.limit;
	atomic_store(&l->percent, o->percent);
	atomic_store(&l->wanted_bytes, o->limit_bytes);
	l->heap_alone = o->limit_heap_alone;
	l->call = o->way_out.call;
	l->call_arg = o->way_out.arg;
	l->way_out = (struct gc_way_out){.call_after_ns = step_ns(o->way_out.call_after_ns),
					 .fail_after_ns = step_ns(o->way_out.fail_after_ns),
					 .abort_after_ns = step_ns(o->way_out.abort_after_ns)};
	(void)gc_limit_read(true);
}

int gc_limit_begin(void)
{
	struct gc_limit *l = &gc.limit;
	int rc = tare_spawn(&l->keeper, &(struct tare_task_options){.name = "gc keeper"}, keeper_main, NULL);
	if (rc < 0)
		return rc;
	l->reclaimer = (struct tare_reclaimer){.name = "collected heap", .reclaim = reclaim};
	tare_reclaimer_add(&l->reclaimer);
	return 0;
}

static int remove_reclaimer(void *arg)
{
	tare_reclaimer_remove(arg);
	return 0;
}

void gc_limit_end(void)
{
	struct gc_limit *l = &gc.limit;
	if (l->keeper == NULL)
		return;
	// It waits for a call that is under way, which may wait for a task of this worker's.
	(void)tare_block(remove_reclaimer, &l->reclaimer);
	atomic_store(&l->closing, true);
	tare_event_wake(&l->wake);
	(void)tare_join(l->keeper);
	l->keeper = NULL;
}

void gc_limit_stats(struct tare_gc_stats *ret)
{
	struct gc_blocks blocks = gc_blocks_now();
	ret->mapped_bytes = blocks.dirty_bytes;
	ret->idle_bytes = blocks.idle_bytes;
	ret->released_bytes = atomic_load_explicit(&gc.released_bytes, memory_order_relaxed);
	ret->release_ns = (int64_t)atomic_load_explicit(&gc.release_ns, memory_order_relaxed);
	ret->list_bytes = atomic_load_explicit(&gc.chunks, memory_order_relaxed) * sizeof(struct gc_chunk);
	ret->limit_bytes = atomic_load_explicit(&gc.limit.bytes, memory_order_relaxed);
	ret->others_bytes = atomic_load_explicit(&gc.limit.others_bytes, memory_order_relaxed);
	int64_t now_ns = tare_now_ns();
	tare_spin_lock(&gc.pace_spin);
	ret->retained_bytes = gc_pace_retained();
	ret->limited_cycles = gc.limiter.last_cycle;
	ret->limiting = gc.limiter.limiting;
	ret->trouble_ns = gc_limiter_trouble_ns(&gc.limiter, now_ns);
	tare_spin_unlock(&gc.pace_spin);
}

// ---- knobs --------------------------------------------------------------------------------------------------------

static void changed(void)
{
	gc_pace_look();
	tare_event_wake(&gc.limit.wake);
	tare_event_wake(&gc.wake);
}

int tare_gc_set_percent(int percent)
{
	int before = atomic_exchange(&gc.limit.percent, percent);
	changed();
	return before;
}

uint64_t tare_gc_set_limit(uint64_t bytes)
{
	uint64_t before = atomic_exchange(&gc.limit.wanted_bytes, bytes);
	changed();
	return before;
}
