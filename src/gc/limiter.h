// SPDX-License-Identifier: MIT
//
// The limiter: when collecting has taken more CPU time than the program for so long that assists and limit-driven
// giving back must stop; and, where a memory limit is what can't be held, when the heap should ask, refuse or end.
//
// Pure: no clock, no globals, no atomics, no allocation. One owner at a time calls what changes it; those who allocate
// read a copy of `limiting` that the owner publishes.
#ifndef TARE_GC_LIMITER_H
#define TARE_GC_LIMITER_H

#include <tare/base.h>

// Of the bucket, a worker.
#define GC_LIMITER_CAPACITY_NS TARE_NS_PER_S
// How often its owner updates it, beside every start and end of marking and every pause.
#define GC_LIMITER_PERIOD_NS (10 * TARE_NS_PER_MS)

// What happened since the last update. CPU times are sums over workers and hold what is still going on; negative ones
// count as 0.
struct gc_window {
	int64_t now_ns; // a clock that doesn't go back; an update from before the last one is ignored
	int64_t assist_ns;
	int64_t
	    idle_ns; // workers that had nothing to do, or marked because of that: neither the program's time nor ours
	uint64_t cycle; // the one that runs, or else the last; the first is 1
	bool marking;   // background marking had its quarter all the while
	bool stopped;   // the world stood still all the while: everything is the collector's time
	bool limited;   // the heap's goal is the memory limit's (gc_target)
	bool over;      // collections leave more than the limit
};

enum gc_limiter_change { GC_LIMITER_AS_BEFORE, GC_LIMITER_BEGINS, GC_LIMITER_ENDS };

// Steps out of a limit that can't be held, each so long after trouble began. TARE_NEVER: not this one.
struct gc_way_out {
	int64_t call_after_ns;
	int64_t fail_after_ns;
	int64_t abort_after_ns;
};

enum gc_step { GC_STEP_NONE, GC_STEP_CALL, GC_STEP_FAIL, GC_STEP_ABORT };

struct gc_limiter {
	// Filled by the collector's CPU time, drained by the program's: 0 ≤ fill ≤ capacity.
	uint64_t fill_ns;
	uint64_t capacity_ns;
	uint64_t overflow_ns; // collector's time that found the bucket full, all in all
	int64_t updated_ns;
	uint32_t workers;
	bool on;
	bool limiting;       // on, and there is no room for a period of nothing but collecting
	uint64_t last_cycle; // the last in which it limited; 0: none
	// The bucket had no such room under the memory limit's goal, and has not been half empty since; or a collection
	// left more than the limit.
	bool trouble;
	int64_t trouble_ns;   // since when
	uint64_t trouble_seq; // how often there has been trouble
};

void gc_limiter_init(struct gc_limiter *limiter, uint32_t workers, int64_t now_ns);
TARE_MUST_USE enum gc_limiter_change gc_limiter_update(struct gc_limiter *limiter, const struct gc_window *window);
// Update first. What is in the bucket stays, as far as it fits; what doesn't fit is not overflow.
TARE_MUST_USE enum gc_limiter_change gc_limiter_resize(struct gc_limiter *limiter, uint32_t workers, uint64_t cycle);
// Off, it goes on counting, and trouble is still found, but it never limits.
TARE_MUST_USE enum gc_limiter_change gc_limiter_switch(struct gc_limiter *limiter, bool on, uint64_t cycle);

// True when the last update is a period or more ago.
bool gc_limiter_is_stale(const struct gc_limiter *limiter, int64_t now_ns);
// How long there has been trouble without a break; 0: there is none.
int64_t gc_limiter_trouble_ns(const struct gc_limiter *limiter, int64_t now_ns);
// The hardest step that is due. To be called back once a trouble, compare trouble_seq.
enum gc_step gc_limiter_due(const struct gc_limiter *limiter, const struct gc_way_out *way_out, int64_t now_ns);

#endif
