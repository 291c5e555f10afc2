// SPDX-License-Identifier: MIT
//
// The pacer: at what size of the heap a collection begins (trigger), at what size it should have ended (goal), and how
// much marking those who allocate meanwhile must do themselves (assist). Sizes are bytes, times nanoseconds.
//
// Pure: no clock, no globals, no atomics, no allocation; what happens is passed in, what follows is returned. The
// caller holds one lock around init, set, commit, start and end. gc_pacer_target and gc_pacer_revise only read the
// pacer, so any number of threads may call them at once while none of those runs.
//
//   gc_pacer_init ──> between cycles ──gc_pacer_start──> marking ──gc_pacer_end──> between cycles
//                          └── set, commit, target           └── set, commit, target, revise
#ifndef TARE_GC_PACER_H
#define TARE_GC_PACER_H

#include <tare/base.h>

#define GC_GOGC_OFF UINT32_MAX
#define GC_LIMIT_NONE UINT64_MAX
// The minimum heap that goes with GOGC: 4 MiB at 100.
#define GC_HEAP_MIN_AUTO UINT64_MAX
#define GC_HEAP_MIN_BYTES (UINT64_C(4) << 20)
// What background marking takes of all CPU time.
#define GC_BACKGROUND_SHARE 0.25
// How many cycles' measurements count.
#define GC_PACER_RECENT 5

struct gc_knobs {
	uint32_t gogc_percent;   // GC_GOGC_OFF: only the limit collects
	uint64_t limit_bytes;    // of all that is counted, not of the heap alone; GC_LIMIT_NONE
	uint64_t heap_min_bytes; // no goal of GOGC's is below it; GC_HEAP_MIN_AUTO
	uint32_t workers;        // at least 1; a change holds from the next cycle on
	bool idle_marking;       // whether idle workers mark; off under a CPU quota, where idle time is not free
};

// What the heap knows of itself at some moment. Counters may be read one after another: what does not add up counts as
// 0.
struct gc_heap_now {
	uint64_t live_bytes;    // marked by the last cycle, and allocated since
	uint64_t scan_bytes;    // of that, what may hold pointers
	uint64_t stack_bytes;   // of tasks; an upper bound of what will be scanned
	uint64_t global_bytes;  // roots that are not stacks
	uint64_t counted_bytes; // all memory that counts against the limit
	uint64_t object_bytes;  // of that, in objects, dead ones too until they are swept
	uint64_t free_bytes;    // of that, free for objects
	bool sweeping;          // the last cycle's sweep has not ended
};

struct gc_target {
	uint64_t goal_bytes;
	uint64_t trigger_bytes; // at most the goal; UINT64_MAX: never
	bool limited;           // the goal is the limit's, not GOGC's
};

// Marking done so far in a cycle.
struct gc_work {
	uint64_t heap_bytes;
	uint64_t stack_bytes;
	uint64_t global_bytes;
};

// What an allocation owes, and what marking earns. Both are finite and above 0.
struct gc_assist {
	double work_per_byte;
	double bytes_per_work;
};

// Who marks in this cycle, and what assists owe at its start.
struct gc_plan {
	uint32_t dedicated; // workers that do nothing else
	double fractional;  // beside them, the share of its time that each worker gives
	uint32_t idle_workers_max;
	struct gc_assist assist;
};

// A cycle that has ended. CPU times are sums over workers.
struct gc_outcome {
	struct gc_work work;
	uint64_t marked_bytes; // what is live, black allocations included
	int64_t wall_ns;       // from start to end
	int64_t assist_ns;     // CPU time
	int64_t idle_ns;       // CPU time of idle marking
};

struct gc_pacer {
	struct gc_knobs knobs;
	uint64_t cycles; // that have ended
	// What the last cycle found.
	uint64_t marked_bytes;
	uint64_t heap_scan_bytes;
	uint64_t stack_scan_bytes;
	// Bytes allocated to bytes marked, each for the same CPU time: of recent cycles, and the most of them.
	double recent[GC_PACER_RECENT];
	uint64_t measured;
	double cons_mark;
	// What gc_pacer_commit worked out.
	uint64_t gogc_goal_bytes;
	uint64_t runway_bytes;
	uint64_t sweep_floor_bytes; // neither goal nor trigger below it, so that the sweep can end; 0: no sweep
	uint64_t slack_bytes;       // what the limit left for new memory when the sweep ended; 0: not known
	// Of the cycle that runs.
	bool marking;
	uint64_t triggered_bytes;
	uint32_t cycle_workers;
};

// No cycle runs afterwards.
void gc_pacer_init(struct gc_pacer *pacer, const struct gc_knobs *knobs, const struct gc_heap_now *now);
// At any time. While marking, revise afterwards.
void gc_pacer_set(struct gc_pacer *pacer, const struct gc_knobs *knobs, const struct gc_heap_now *now);
// Reckons goal and runway anew: when a sweep ends, or roots have changed much. While marking, revise afterwards.
void gc_pacer_commit(struct gc_pacer *pacer, const struct gc_heap_now *now);
// A sweep has ended: commits, and from here on the limit's trigger follows the memory that is taken, not the live
// bytes, which may grow into what was swept without taking any.
void gc_pacer_swept(struct gc_pacer *pacer, const struct gc_heap_now *now);
// Where the heap stands to begin and to have ended. A few dozen instructions, no loop.
struct gc_target gc_pacer_target(const struct gc_pacer *pacer, const struct gc_heap_now *now);

// A cycle begins at now->live_bytes, whatever the trigger was.
struct gc_plan gc_pacer_start(struct gc_pacer *pacer, const struct gc_heap_now *now);
// What assists owe from here on: whenever live or work has changed by what one doesn't want to be wrong about.
// now->scan_bytes is that of the cycle's start.
struct gc_assist gc_pacer_revise(const struct gc_pacer *pacer, const struct gc_heap_now *now,
				 const struct gc_work *done);
// now->live_bytes is that of the end of marking; outcome->marked_bytes replaces it. Commits.
void gc_pacer_end(struct gc_pacer *pacer, const struct gc_heap_now *now, const struct gc_outcome *outcome);

#endif
