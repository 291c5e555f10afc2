// SPDX-License-Identifier: MIT
//
// What the collected heap's files share.
//
//   span.c    the reservation, blocks, spans, sweeping
//   alloc.c   making objects: classes, types, a cache a worker
//   mark.c    finding what is reachable: the barrier, the marker
//   store.c   the barrier's other forms, and channels
//   weak.c    weak handles and cleanups
//   pace.c    when to collect, and who pays; pacer.c and limiter.c reckon for it
//   limit.c   the memory limit, and what to do when it can't be held
//   scavenge.c  giving memory back to the system
//   report.c  what it tells of itself
//   sample.c  where objects are made, by samples
//   types.c   what there is of each type
//   check.c   a self-check of the marks
//   lint.c    stores that went without the barrier
//   cycle.c   the phases of a collection, and the tasks that do it
//
// Words: a block is 64 KiB of the reservation; a span some blocks with objects of one size (slots) and kind; a bin all
// spans of one kind and size; a run the free slots next to each other that a worker makes objects in.
//
// A collection, as a worker sees it (cycle.c has the proof):
//
//   IDLE -- stores shade, new objects are black --> MARK -- nothing grey is left --> IDLE, and spans are to be swept
#ifndef TARE_GC_INT_H
#define TARE_GC_INT_H

#include "gc/limiter.h"
#include "gc/pacer.h"
#include "gc/slots.h"

#include <tare/base.h>
#include <tare/collect.h>
#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/heap_sample.h>
#include <tare/limit.h>
#include <tare/rt.h>
#include <tare/sync.h>

// Bugs that the simulation must catch: see base/sim.h.
#ifdef TARE_SIM
#define GC_FAULT(name) ((tare_sim_faults & TARE_FAULT_##name) != 0)
#else
#define GC_FAULT(name) false
#endif

enum { BLOCK_SHIFT = 16, BLOCK_BYTES = 1 << BLOCK_SHIFT, REGION_BYTES = 2 << 20 };
enum { GRAIN = 16, SMALL_MAX = 32768, ONE_BLOCK_MAX = 8192, WIDE_BLOCKS = 4 };
enum { INLINE_SLOTS = 8, SLOTS_MAX = BLOCK_BYTES / GRAIN };
enum { TYPES_MAX = 1024 };

// TYPED: objects of one type. ARRAY: each begins with a struct gc_head. A large object is NOSCAN or ARRAY: see
// slot_bytes.
enum gc_kind { GC_FREE = 0, GC_NOSCAN, GC_TYPED, GC_ARRAY };

struct gc_head {
	const struct tare_gc_type *type;
	size_t count;
};

struct gc_bin;

// Of each block; a span is described by its first. One line: marking needs it, and the slot's state.
struct gc_span {
	alignas(TARE_CACHE_LINE) uint64_t reciprocal; // of slot_bytes, to divide by: see gc_slot_at
	uint32_t slot_bytes, slots;                   // 0 and 1: a large object
	gc_state *states;                             // of slots; a row of gc.rows, or inline_states
	const struct tare_gc_type *type;              // of a span of one type
	_Atomic(uint32_t) back;                       // blocks from here to the span's first
	uint32_t blocks;
	_Atomic(uint32_t) generation; // in which it was last swept
	_Atomic(uint8_t) kind;
	bool fresh;           // never used: its pages are zero
	struct gc_span *next; // link of its bin's list
	alignas(8) gc_state inline_states[INLINE_SLOTS];
};
_Static_assert(sizeof(struct gc_span) == TARE_CACHE_LINE, "marking waits for it");

enum { ROW_SHELVES = 7 }; // of 64 slots, 128 … SLOTS_MAX
struct gc_row {
	struct gc_row *next;
};

struct gc_list {
	struct gc_span *first, *last;
};

struct gc_bin {
	struct tare_spin spin; // guards the lists
	struct gc_list unswept, roomy, full;
	uint32_t slot_bytes, slots, blocks;
	enum gc_kind kind;
	const struct tare_gc_type *type;
};

enum { CLASSES = 72 };

// Free slots next to each other, zeroed, that were taken from a span: [at, end).
struct gc_run {
	char *at, *end;
	struct gc_span *span; // NULL: none yet
	uint32_t slot_bytes;
	uint16_t cursor;                 // the slot behind the run
	bool sampled;                    // the object behind the run is a sample
	const struct tare_gc_type *type; // of all that was ever made in it; NULL: several
};

#ifdef TARE_SIM // so that there is always one that others take
enum { CHUNK_ENTRIES = 4 };
#else
enum { CHUNK_ENTRIES = 510 };
#endif
struct gc_chunk {
	struct gc_chunk *next;
	size_t count;
	uintptr_t entries[CHUNK_ENTRIES];
};

// A pointer on its way to being marked: first the line of its span comes into the cache, then that of its slot's state.
struct gc_arrival {
	uintptr_t address;
	struct gc_span *span; // from the second half of the way on. NULL: no object's
	uint32_t slot;
};

enum { RING = 16 };
struct gc_marker {
	struct gc_chunk *chunk; // the worker's own; NULL: none
	uint64_t bytes;         // marked since the cycle began, of those that were made before
	bool active;            // marked or took something since the last handshake
	struct gc_arrival ring[RING];
	unsigned put, resolved, taken; // counted up; each of the three is at most RING / 2 ahead of the next
};

// A worker's own. Runs, marker and counts are written by its thread alone, but that the leader sets back what is
// counted of one collection.
struct gc_cache {
	alignas(TARE_CACHE_LINE) struct gc_run typed[TYPES_MAX + 1]; // by a type's id_plus_1; [0] is always empty
	struct gc_run noscan[CLASSES], array[CLASSES];
	bool black;          // new objects are born marked
	uint32_t generation; // of its runs
	struct tare_heap_countdown countdown;
	struct gc_marker marker;
	atomic_ullong objects, bytes; // made, counted a run at a time
	// The marking task.
	struct tare_event wake, rouse;
	atomic_bool idle, resting;
	int64_t background_at_begin;                           // pace.c's
	atomic_ullong work_bytes, mark_ns, assist_ns, idle_ns; // mark_ns: the task's own, idle or not
};

struct gc_cpu {
	int64_t background_ns, assist_ns, idle_ns, sweep_ns;
};

// In one collection, by what workers had to do at once.
struct gc_held {
	int64_t longest_ns, sum_ns;
};

struct gc_report {
	bool trace;
	_Atomic(int64_t) sweep_ns, scan_ns; // scan_ns: of stacks, by the leader
	// The leader's.
	int64_t opened_ns, begun_ns, marked_ns;
	uint64_t begin_bytes, begin_goal_bytes, end_bytes;
	struct gc_cpu begin_cpu;
	// Guarded by stats_spin.
	struct tare_hist *pauses, *phases, *waits;
	struct gc_held held[2]; // up to the end of marking, and after it
	bool marked;
	int64_t held_ns, mark_ns, late_max_ns;
	char late_name[32];
};

// A limit, and what becomes of it.
struct gc_limit {
	atomic_int percent;                    // as tare_gc_set_percent had it
	_Atomic(uint64_t) wanted_bytes;        // as tare_gc_set_limit had it
	_Atomic(uint64_t) bytes, others_bytes; // in force, or GC_LIMIT_NONE; what is not blocks, at the last look
	_Atomic(int64_t) looked_ns;
	bool heap_alone;
	struct gc_way_out way_out;
	void (*call)(void *arg, const struct tare_gc_trouble *trouble);
	void *call_arg;
	uint64_t called_seq;         // of the trouble that it was last called for; the keeper's
	atomic_bool failing, failed; // nothing is made; somebody was told so since the last collection
	unsigned over_cycles;        // that left more than the limit, one after another; guarded by pace_spin
	struct tare_event wake;      // the keeper's
	struct tare_task *keeper;
	atomic_bool closing; // before the heap's: the keeper's call may collect
	struct tare_reclaimer reclaimer;
};

struct gc_heap {
	// The reservation.
	char *base;
	size_t bytes, blocks_max;
	size_t huge_from; // before it there are no huge pages
	struct gc_span *spans;
	// States of slots: shelves[n] are rows that are not used now, of 2^n lines each.
	char *rows;
	size_t rows_bytes, rows_used;        // guarded by blocks_spin
	struct gc_row *shelves[ROW_SHELVES]; // by that too
	struct tare_spin blocks_spin;        // guards the next six
	uint64_t *used, *dirty;              // a bit a block: somebody's; may have pages
	size_t search_at, blocks_top;
	size_t dirty_blocks, idle_blocks; // idle: dirty and not used
	size_t held_blocks;               // used, because they are being released
	_Atomic(size_t) top;              // above it no block was ever used

	// Bins.
	struct gc_bin noscan[CLASSES], array[CLASSES], typed[TYPES_MAX];
	struct gc_bin large; // a span an object
	_Atomic(uint32_t) types;
	struct tare_spin types_spin;

	_Atomic(uint32_t) generation; // spans of an older one are to be swept
	atomic_bool looked_at;        // who holds it (gc_look_lock) sees no span freed, and no generation end

	struct gc_cache *caches;
	int workers;

	// Marking.
	struct tare_spin chunks_spin;
	struct gc_chunk *grey, *spare; // guarded by it
	// All that there ever are, reserved; and the first without memory, plus 1, each linked to the next: guarded
	// too.
	struct gc_chunk *chunk_base;
	uint32_t *chunk_links, chunk_gone, chunk_top;
	bool chunks_go_back;
	atomic_size_t chunks; // that have memory, wherever they are
	atomic_uint grey_count;
	struct tare_mutex roots_mutex;
	struct tare_list roots; // guarded by it
	struct tare_spin new_roots_spin;
	struct tare_list new_roots; // guarded by that; after the mutex

	// The cycle.
	bool open, check, lint, always;
	atomic_bool shading; // the barrier shades; tare_gc_marking is on then, and with the lint always
	atomic_bool closing;
	atomic_bool shaking_hands; // the leader waits for workers, or to go on
	atomic_bool tracing;       // objects may be looked into: every worker has the barrier, and makes them black
	atomic_int marking_tasks;  // that are not idle
	atomic_int asking;         // tasks that wait for a collection
	// Of objects: those that the next marking looks at, and those made since it began. What is counted is runs.
	_Atomic(uint64_t) white_bytes, black_bytes;
	_Atomic(uint64_t) trigger_bytes, goal_bytes, marked_bytes;
	struct tare_event wake, stalled; // the cycle's task waits for these
	struct tare_mutex cycles_mutex;  // guards the three numbers below
	struct tare_cond cycle_done;
	uint64_t cycles_begun, cycles_done, cycles_wanted;
	struct tare_task *cycle_task, **mark_tasks;
	// pace.c.
	struct gc_plan plan;                       // the leader's; marking tasks read it while they run
	_Atomic(uint64_t) stack_bytes, root_bytes; // looked at in the last collection
	_Atomic(uint64_t) work_per_byte;
	_Atomic(int64_t) credit;
	_Atomic(int64_t) revised_ns, turn_ns;
	atomic_bool limiting, limited; // by the limiter; the goal is the limit's
	struct tare_spin pace_spin;    // guards the rest of pace.c's
	struct gc_pacer pacer;
	double scan_share;
	uint64_t scan_at_begin, work_at_begin;
	int64_t begun_ns, swept_ns, assist_at_begin, idle_at_begin;
	bool sweeping; // the last collection's garbage is counted neither as objects nor as free
	struct gc_limiter limiter;
	int64_t limiter_assist_ns, limiter_idle_ns, limiter_cpu_ns;
	double used_per_goal; // of blocks' memory to objects, when the last collection ended

	// limit.c.
	struct gc_limit limit;

	// scavenge.c.
	_Atomic(uint64_t) released_bytes, release_ns;

	struct tare_spin stats_spin;
	struct gc_report report;
};

extern struct gc_heap gc;

// ---- span.c -------------------------------------------------------------------------------------------------------

TARE_MUST_USE int gc_spans_init(size_t bytes, struct tare_error *err);
void gc_spans_done(void);

// Which slot of the span holds that byte of it.
static inline uint32_t gc_slot_at(const struct gc_span *span, size_t offset)
{
	return (uint32_t)((offset * span->reciprocal) >> 40); // exact below 2^18 and for slots up to 2^15 bytes
}

static inline char *gc_span_base(const struct gc_span *span)
{
	return gc.base + ((size_t)(span - gc.spans) << BLOCK_SHIFT);
}

// The span that holds the address; NULL: none does.
static inline struct gc_span *gc_span_of(uintptr_t address)
{
	size_t offset = address - (uintptr_t)gc.base;
	if (offset >= atomic_load_explicit(&gc.top, memory_order_relaxed))
		return NULL;
	struct gc_span *span = &gc.spans[offset >> BLOCK_SHIFT];
	// Of a span that is just being set up it may be old or new: either way nothing there is found yet.
	span -= atomic_load_explicit(&span->back, memory_order_relaxed);
	return atomic_load_explicit(&span->kind, memory_order_acquire) != GC_FREE ? span : NULL;
}

// The span and the slot that hold the address, in use or not. NULL: none does, or only what no slot of a span reaches.
static inline struct gc_span *gc_slot_of(uintptr_t address, uint32_t *ret_slot)
{
	struct gc_span *span = gc_span_of(address);
	if (span == NULL)
		return NULL;
	*ret_slot = gc_slot_at(span, address - (uintptr_t)gc_span_base(span));
	return *ret_slot < span->slots ? span : NULL;
}

static inline uintptr_t gc_slot_base(const struct gc_span *span, uint32_t slot)
{
	return (uintptr_t)gc_span_base(span) + (uintptr_t)slot * span->slot_bytes;
}

static inline size_t gc_slot_bytes(const struct gc_span *span)
{
	return span->slot_bytes != 0 ? span->slot_bytes : (size_t)span->blocks << BLOCK_SHIFT;
}

// What an object that may hold pointers is made of: `count` of the type, one after the other. 0: an array that is not
// made yet.
struct gc_elements {
	const struct tare_gc_type *type;
	uintptr_t first;
	size_t count;
};

static inline struct gc_elements gc_elements_of(const struct gc_span *span, uintptr_t object)
{
	if (atomic_load_explicit(&span->kind, memory_order_relaxed) != GC_ARRAY)
		return (struct gc_elements){span->type, object, 1};
	const struct gc_head *head = (const struct gc_head *)object;
	const struct tare_gc_type *type = __atomic_load_n(&head->type, __ATOMIC_ACQUIRE);
	return (struct gc_elements){type, object + sizeof *head, type != NULL ? head->count : 0};
}

// Address space whose pages come as they are touched. NULL: there is none.
TARE_MUST_USE void *gc_reserve(size_t bytes);
void gc_unreserve(void *map, size_t bytes);

// A new span for the bin, or for one large object. NULL: none can be had.
TARE_MUST_USE struct gc_span *gc_span_new(const struct gc_bin *bin, uint32_t generation);
TARE_MUST_USE struct gc_span *gc_span_new_large(enum gc_kind kind, const struct tare_gc_type *type, size_t bytes,
						uint32_t generation);
void gc_span_free(struct gc_span *span);
// Of a span that is the caller's alone: what is not marked is free. Slots in use.
uint32_t gc_span_sweep(struct gc_span *span, uint32_t generation);
// Into the list that it belongs to. roomy: it has free slots.
void gc_bin_push(struct gc_bin *bin, struct gc_span *span, bool roomy);

struct gc_span *gc_list_pop(struct gc_list *list);
void gc_list_append(struct gc_list *to, struct gc_list *from);
// Sweeps all that is to be swept, yielding between.
void gc_sweep_rest(void);

// ---- alloc.c ------------------------------------------------------------------------------------------------------

void gc_bins_init(void);
// Each bin in turn, NULL after the last.
struct gc_bin *gc_bin_at(size_t index);
// Gives back what the cache holds.
void gc_cache_release(struct gc_cache *cache);
// New objects are marked from now on, those too that the cache's runs will hold.
void gc_cache_blacken(struct gc_cache *cache);

// ---- mark.c -------------------------------------------------------------------------------------------------------

// Shades what they point to: they may be pointers.
void gc_scan_words(const void *low, const void *high);
// When the heap is reserved. False: no address space.
TARE_MUST_USE bool gc_chunks_init(void);
void gc_chunks_done(void);
void gc_chunk_free(struct gc_chunk *chunk);
// Marks until so many bytes were looked into, or there is nothing to do here or in the common list. Bytes looked into.
size_t gc_drain(struct gc_marker *marker, size_t bytes);
// Hands over what is grey to the others. Whether there was anything.
bool gc_marker_flush(struct gc_marker *marker);
// Others may have what it holds: it will not go on for a while. Not a flush: what it says at the next handshake stays
// as it is.
void gc_marker_give(struct gc_marker *marker);

static inline struct gc_cache *gc_cache_own(void)
{
	int worker = tare_worker();
	TARE_ASSERT(worker >= 0); // not called from a task
	return &gc.caches[worker];
}

// Whether what is stored is to be shaded.
static inline bool gc_shading(void)
{
	return atomic_load_explicit(&gc.shading, memory_order_relaxed);
}

// ---- weak.c -------------------------------------------------------------------------------------------------------

TARE_MUST_USE int gc_weak_init(struct tare_error *err);
void gc_weak_done(void);
TARE_MUST_USE int gc_weak_task_begin(void);
// Runs the cleanups that are ready, first.
void gc_weak_task_end(void);
// What cleanups' arguments lead to is reachable: shades it, or shows it.
void gc_weak_scan(void);
void gc_weak_each_arg(void (*visit)(const void *low, const void *high));
// The leader's steps. begin: as the barrier begins. close: all is marked; false: there are no handles that matter.
// decide: nothing is shaded any more, and nothing grey. clear: what is not marked goes. end: as the barrier ends.
void gc_weak_begin(void);
TARE_MUST_USE bool gc_weak_close(void);
void gc_weak_decide(void);
void gc_weak_clear(void);
void gc_weak_end(void);
void gc_weak_stats(struct tare_gc_stats *ret);

// ---- sample.c -----------------------------------------------------------------------------------------------------

// The functions between the program and gc_sample_note, so that they can be told from the program's.
#define GC_MAKES __attribute__((section("tare_gc_makes")))

void gc_sample_init(void);
// All objects are freed.
void gc_sample_done(void);
// How many of `count` new objects may be made at once; then *sampled says whether the one after them is a sample.
// *ret_now: whether the first of them is. *sampled before: whether that was said of it.
uint32_t gc_sample_cut(struct tare_heap_countdown *countdown, bool *sampled, size_t bytes, uint32_t count,
		       bool *ret_now);
// type: NULL: without pointers.
void gc_sample_note(const struct tare_heap_countdown *countdown, const void *object, size_t bytes,
		    const struct tare_gc_type *type);
// By the leader, when marks are final: which samples will be freed.
void gc_sample_look(void);

// ---- types.c ------------------------------------------------------------------------------------------------------

void gc_look_lock(void);
void gc_look_unlock(void);

// ---- lint.c -------------------------------------------------------------------------------------------------------

// After gc_spans_init.
TARE_MUST_USE int gc_lint_init(const struct tare_gc_options *options, struct tare_error *err);
void gc_lint_done(void);
uint64_t gc_lint_found(void);
void gc_lint_lock(void);
// These words are stored as they should be; unlocks.
void gc_lint_note(const void *to, size_t bytes);
// Memory that objects are made in: zeroed.
void gc_lint_clear(const void *low, size_t bytes);
// By the leader, when all is swept.
void gc_lint_look(void);

// Around each store by the barrier.
static inline void gc_lint_begin(void)
{
	if (TARE_UNLIKELY(gc.lint))
		gc_lint_lock();
}

static inline void gc_lint_end(const void *to, size_t bytes)
{
	if (TARE_UNLIKELY(gc.lint))
		gc_lint_note(to, bytes);
}

// ---- pace.c -------------------------------------------------------------------------------------------------------

void gc_pace_init(const struct tare_gc_options *options);
void gc_pace_begin(void);
void gc_pace_end(uint64_t marked_bytes);
// All has been swept.
void gc_pace_swept(void);
// Whether a collection should begin before so many bytes more are made.
bool gc_pace_due(size_t bytes);
// The knobs, the limit or what others use have changed, or it is time to look.
void gc_pace_look(void);
// With pace_spin: how much memory blocks may keep.
uint64_t gc_pace_retained(void);
// How much of blocks' memory is more than is to be kept. *ret_now: because the limit says so.
uint64_t gc_pace_excess(bool *ret_now);
// By marking tasks, now and then.
void gc_pace_revise(void);
// How long a busy worker's marking task leaves it to others after so much work.
int64_t gc_pace_pause_ns(const struct gc_cache *cache);
// Whether it may go on instead when the worker has nothing else to do.
bool gc_pace_may_idle(int worker);
// CPU time of a slice of marking that began then.
int64_t gc_slice_ns(int64_t since_ns);
// What who makes objects owes while marking goes on.
void gc_assist(size_t bytes);
// Who has passed the limit's goal waits a little, so that a collection that waits for others can end.
void gc_pace_slow(size_t bytes);

// ---- limit.c ------------------------------------------------------------------------------------------------------

void gc_limit_init(const struct tare_gc_options *options);
TARE_MUST_USE int gc_limit_begin(void);
void gc_limit_end(void);
// Reads what there is to read if the last look was long enough ago, or by force. Whether it did.
bool gc_limit_read(bool force);
struct gc_knobs gc_limit_knobs(const struct gc_knobs *base);
// With pace_spin: what is due of the way out. May end the process.
void gc_limit_steps(int64_t now_ns);
void gc_limit_stats(struct tare_gc_stats *ret);
// Nothing may be made. Notes that somebody would have liked to.
bool gc_limit_fails(void);
// Memory of blocks was taken that the system had: gives back other blocks' if the limit is passed.
void gc_limit_took(size_t blocks);

// ---- scavenge.c ---------------------------------------------------------------------------------------------------

struct gc_blocks {
	uint64_t dirty_bytes, idle_bytes; // that may have memory; of those, that are free
	uint64_t rows_bytes;              // of slots' states
	size_t top_blocks;
};
struct gc_blocks gc_blocks_now(void);
enum gc_release_from { GC_FROM_FREE, GC_FROM_MOSTLY_FREE, GC_FROM_ANY };
// Gives back so much of idle blocks' memory, or a region's worth more, from regions that are that free. Bytes that
// went.
size_t gc_release(size_t bytes, enum gc_release_from from);
// For who found no room: whether some blocks are not to be had just because they are being released. Then yields.
bool gc_release_goes_on(void);
// What marking's lists hold beyond a reserve. From a task, which may wait.
void gc_chunks_trim(void);

// ---- report.c -----------------------------------------------------------------------------------------------------

TARE_MUST_USE int gc_report_init(bool trace);
void gc_report_done(void);
// A worker had so much to do at once.
void gc_report_pause(int64_t ns);
// The leader scanned a stack whose task waits for something else.
void gc_report_scan(int64_t ns);
// All workers have passed a safepoint.
void gc_report_wait(const struct tare_handshake *seen);
// A collection begins, has marked, has swept.
void gc_report_begin(void);
void gc_report_marked(void);
void gc_report_end(uint64_t cycle);
void gc_report_stats(struct tare_gc_stats *ret);

// ---- check.c ------------------------------------------------------------------------------------------------------

// After marking, with the barrier on. Ends the process when something reachable is not marked.
void gc_check(void);
// Says where, and ends the process.
void gc_raw_store_die(void *unused, const struct tare_gc_raw_store *store);

// ---- cycle.c ------------------------------------------------------------------------------------------------------

// So many bytes of objects are about to be made; and a safepoint. False: they may not be.
TARE_MUST_USE bool gc_account(size_t bytes);
// Begins a collection, and does not wait.
void gc_collect_soon(void);
// Takes roots_mutex, with all roots in the list.
void gc_roots_lock(void);
static inline uint64_t gc_heap_bytes(void)
{
	// Of the two alone each may be below 0 for a moment, and so wrap.
	return atomic_load_explicit(&gc.white_bytes, memory_order_relaxed) +
	       atomic_load_explicit(&gc.black_bytes, memory_order_relaxed);
}
// There was no room: collects, and waits for it. False: collecting is off.
bool gc_collect_for_room(void);
// Has marking tasks that rest between their shares look at once whether anything is left to mark.
void gc_markers_rouse(void);
// There is grey work in the common list.
void gc_work_added(void);

#endif
