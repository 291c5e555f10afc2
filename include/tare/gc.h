// SPDX-License-Identifier: MIT
//
// gc: a collected heap for tasks. Objects are found by precise descriptions of their types and, from tasks' stacks,
// conservatively; they never move. Marking goes on beside the program, which is never stopped as a whole.
//
// The rules for a program
//   1. Objects are made and stored by tasks: not by plain threads, nor within tare_block (asserted where it can be).
//   2. A pointer to an object is stored into another object, or into a registered root, by tare_gc_store and the like:
//      not by =, nor with a struct that is copied whole (tare_gc_copy does that). Loads are plain. The lint finds who
//      forgets.
//   3. Seen are objects, tasks' stacks and arguments, and roots. What only a global that is no root, malloc's memory,
//      the kernel or another thread holds is not: add a root, or pin it (tare_gc_pin).
//      Into another task's stack (a result that a parent waits for) a pointer goes by tare_gc_store too.
//   4. A pointer into an object holds all of it; one past its end does not, but may be stored where a pointer to an
//      object may. (With `check`, as long as the object that it is the end of is there.)
//   5. A channel whose values hold pointers to objects is made by tare_gc_chan_new: another's buffer is malloc's
//      memory.
//
// Making an object may let other tasks run, as tare_yield does, while a collection is due or goes on, or where it takes
// more than 1 MiB: not with a spinlock held.
// tare_gc_collect, open, close, root_add, weak_get and the like may wait. Stores never do. NULL is an ordinary result
// of the functions that make objects. All else is called between tare_gc_open and tare_gc_close, which is not checked.
#ifndef TARE_GC_H
#define TARE_GC_H

#include <tare/base.h>
#include <tare/pool.h>
#include <tare/stat.h>

struct tare_chan;

// ---- the heap -----------------------------------------------------------------------------------------------------

#define TARE_GC_OFF (-1)            // as percent: only the limit collects, and tare_gc_collect
#define TARE_GC_NO_LIMIT UINT64_MAX // as limit_bytes

// What there is to say when a limit can't be held.
struct tare_gc_trouble {
	int64_t lasted_ns;
	uint64_t limit_bytes, heap_bytes, others_bytes; // as in tare_gc_stats
};

// Steps out of a limit that can't be held, each so long after trouble began; 0: not this one. Trouble begins
//   - when two collections in a row have left more than the limit; it ends when there is less; and
//   - when the limiter steps in: because of the limit, collecting has taken more than half of the CPU time, by a second
//     of each worker's; it ends when half of that second is paid back.
struct tare_gc_way_out {
	// Called once a trouble, from a task of the heap's own, which may wait and let go of objects, but not call
	// tare_gc_close. Nothing is given back in the background before it returns.
	int64_t call_after_ns;
	void (*call)(void *arg, const struct tare_gc_trouble *trouble);
	void *arg;
	// Making objects says NULL while the trouble lasts, but for the few KiB of each kind that a worker has at hand.
	int64_t fail_after_ns;
	// Ends the process, with a line that gives the sizes.
	int64_t abort_after_ns;
};

// A pointer that was stored without the barrier.
struct tare_gc_raw_store {
	const char *type;   // the object's, or its elements'
	const void *object; // as it was made
	size_t element;     // of an array; else 0
	uint32_t offset;    // of the pointer, in the element
	const void *found, *expected;
};

struct tare_gc_options {
	int percent;        // how far the heap grows past what is live before it is collected (GOGC). 0: 100
	uint64_t min_bytes; // the least goal; collections begin from 7/10 of it on. 0: 4 MiB times percent / 100
	bool trace;         // a line a collection on standard error, in the form of Go's gctrace=1
	bool check;  // after each marking look at everything once more, and end the process if an object was missed
	bool always; // collect whenever an object is made: for tests
	// Before each marking look for pointers in objects that were stored otherwise than by rule 2, and report each:
	// from a task of the heap's, which must not make objects, nor wait for a collection. Without lint_report the
	// first ends the process, with a line on standard error. Doubles the heap's memory, and stores are slow: for
	// tests.
	bool lint;
	void (*lint_report)(void *arg, const struct tare_gc_raw_store *store);
	void *lint_arg;
	// Address space, the most that it can grow to; at least 64 KiB. 0: four times the machine's memory, or a
	// quarter of what ulimit -v leaves if that is less.
	uint64_t reserve_bytes;
	// The most memory that is to be used (GOMEMLIMIT): heap and all else that the process has for itself
	// (tare_limit_used). Collections begin as early as it takes, and free memory goes back to the system at once; a
	// collection is never refused its lists, nor an object its place, but by way_out. 0: nine tenths of the
	// process's limit (<tare/limit.h>, "auto" too), so that the heap gives way before others must; none while that
	// has none. The process's counts only where somebody looks at it, as there.
	uint64_t limit_bytes;
	bool limit_heap_alone; // limit_bytes is for this heap alone, its tables and lists included
	// Under a limit that is too tight, assists and giving back may take all CPU time, not half of it in the long
	// run.
	bool limiter_off;
	// Workers that have nothing to do don't mark: so it is anyhow under a CPU quota (tare_cpu_quota), where that
	// time is not free.
	bool idle_marking_off;
	struct tare_gc_way_out way_out;
};

// Makes the heap of this runtime: from a task (asserted), before any object, and at most one (-EBUSY). -ENOMEM, with a
// step in err. options and err may be NULL.
TARE_MUST_USE int tare_gc_open(const struct tare_gc_options *options, struct tare_error *err);
// Runs the cleanups of what collections have found until now, and drops the others. Frees the heap, all objects and
// weak handles, and forgets roots and pins, which need not be removed. From a task, when no other uses it any more,
// before tare_run ends: what is not closed stays, and no later runtime can open a heap.
void tare_gc_close(void);

// ---- objects ------------------------------------------------------------------------------------------------------

// Where an object's pointers are: byte offsets, multiples of a pointer's size. Declared once, static storage:
//
//   static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
//   static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);
//
// Each worker that makes objects of a type keeps 64 KiB for it: for types by the dozen, not by the thousand.
struct tare_gc_type {
	const char *name;
	uint32_t bytes, pointer_count;
	const uint32_t *pointers;
	_Atomic(uint32_t) id_plus_1; // private
};
#define TARE_GC_TYPE(type, offsets)                                                                                    \
	{                                                                                                              \
		.name = #type, .bytes = sizeof(type), .pointer_count = TARE_ARRAY_LEN(offsets), .pointers = (offsets)  \
	}

// All are zeroed, aligned to 16 bytes, and live for as long as they are reachable. NULL: the reservation is full, and
// a collection, which was waited for, made no room (with TARE_GC_OFF and no limit none is begun); or way_out refuses.
TARE_MUST_USE void *tare_gc_new(struct tare_gc_type *type);
TARE_MUST_USE void *tare_gc_new_array(struct tare_gc_type *type, size_t count);
// Without pointers: never looked into.
TARE_MUST_USE void *tare_gc_new_noscan(size_t bytes);

// ---- stores -------------------------------------------------------------------------------------------------------

typedef uintptr_t __attribute__((may_alias)) tare_gc_word;
extern atomic_bool tare_gc_marking; // private
void tare_gc_store_marking(tare_gc_word *slot, uintptr_t value);

// *slot = value, for a pointer to an object, or NULL. Others may load it at once and see what the object holds by then.
static inline void tare_gc_store(void *slot, const void *value)
{
	tare_gc_word *word = (tare_gc_word *)slot;
	if (TARE_UNLIKELY(atomic_load_explicit(&tare_gc_marking, memory_order_relaxed)))
		tare_gc_store_marking(word, (uintptr_t)value);
	else
		__atomic_store_n(word, (uintptr_t)value, __ATOMIC_RELEASE);
}

uintptr_t tare_gc_exchange_marking(tare_gc_word *slot, uintptr_t value);
bool tare_gc_compare_exchange_marking(tare_gc_word *slot, tare_gc_word *expected, uintptr_t value);
void tare_gc_copy_marking(void *to, const void *from, const struct tare_gc_type *type, size_t count);
void tare_gc_zero_marking(void *to, const struct tare_gc_type *type, size_t count);

// The same, in one step with the load of what the slot held.
static inline void *tare_gc_exchange(void *slot, const void *value)
{
	tare_gc_word *word = (tare_gc_word *)slot;
	if (TARE_UNLIKELY(atomic_load_explicit(&tare_gc_marking, memory_order_relaxed)))
		return (void *)tare_gc_exchange_marking(word, (uintptr_t)value);
	return (void *)__atomic_exchange_n(word, (uintptr_t)value, __ATOMIC_ACQ_REL);
}

// The same, if the slot holds what the pointer at `expected` is; else false, and that becomes what the slot holds.
TARE_MUST_USE static inline bool tare_gc_compare_exchange(void *slot, void *expected, const void *value)
{
	tare_gc_word *word = (tare_gc_word *)slot, *then = (tare_gc_word *)expected;
	if (TARE_UNLIKELY(atomic_load_explicit(&tare_gc_marking, memory_order_relaxed)))
		return tare_gc_compare_exchange_marking(word, then, (uintptr_t)value);
	return __atomic_compare_exchange_n(word, then, (uintptr_t)value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

// Copies `count` of the type, one as a struct's assignment does, several as memmove; within objects and roots, into and
// out of them. Not in one step: nobody else may use the destination, nor change the source, meanwhile.
// (Acquire, for plain writes: they come after what the collector read while it was marking.)
static inline void tare_gc_copy(void *to, const void *from, const struct tare_gc_type *type, size_t count)
{
	if (TARE_UNLIKELY(atomic_load_explicit(&tare_gc_marking, memory_order_acquire)))
		tare_gc_copy_marking(to, from, type, count);
	else
		memmove(to, from, count * type->bytes);
}

// Zeroes `count` of the type.
static inline void tare_gc_zero(void *to, const struct tare_gc_type *type, size_t count)
{
	if (TARE_UNLIKELY(atomic_load_explicit(&tare_gc_marking, memory_order_acquire)))
		tare_gc_zero_marking(to, type, count);
	else
		memset(to, 0, count * type->bytes);
}

// A channel (<tare/chan.h>) whose values may hold pointers to objects, in whole words: what it buffers is held, and
// what a parked sender offers, wherever that lies. For tasks alone. As tare_chan_new; -EINVAL also where elem_bytes is
// 0 or no multiple of a pointer's size. May wait, and so may tare_chan_free. It may outlive the heap, empty.
TARE_MUST_USE int tare_gc_chan_new(struct tare_chan **ret, size_t elem_bytes, size_t capacity);

// ---- roots --------------------------------------------------------------------------------------------------------

// `count` words outside the heap that hold objects, such as globals. root and words are the caller's, kept and not
// copied until the root is removed; add and remove from a task.
struct tare_gc_root {
	struct tare_list link; // private
	void *words;
	size_t count;
};
void tare_gc_root_add(struct tare_gc_root *root, void *words, size_t count);
void tare_gc_root_remove(struct tare_gc_root *root);

// Holds one object, as a root of one word that it contains.
struct tare_gc_pin {
	struct tare_gc_root root; // private
	void *object;
};
void tare_gc_pin(struct tare_gc_pin *pin, const void *object);
void tare_gc_unpin(struct tare_gc_pin *pin);

// ---- what does not hold -------------------------------------------------------------------------------------------

// Yields an object, but does not hold it.
struct tare_gc_weak;
// object: a pointer into one (asserted). -ENOMEM.
TARE_MUST_USE int tare_gc_weak_new(struct tare_gc_weak **ret, const void *object);
// NULL is fine. Not while another uses the handle.
void tare_gc_weak_free(struct tare_gc_weak *weak);
// The pointer that it was made with; NULL from the collection on that found the object unreachable. Handles of one
// object need not say so at the same instant, but before any of its cleanups runs. May wait for a moment, while a
// collection ends.
void *tare_gc_weak_get(struct tare_gc_weak *weak);

// Has fn(arg) called once, some time after the object was collected: on a task of the heap's, one after the other, the
// handles of the object cleared before. fn may wait, and make objects. An object may have several; in which order they
// run is not said. What arg points to is held until then; it must not lead to the object, which would never be
// collected (arg == object is asserted). ret may be NULL. -ENOMEM.
TARE_MUST_USE int tare_gc_cleanup_add(struct tare_handle *ret, const void *object, void (*fn)(void *arg), void *arg);
// True: it will not run. False: it has run, or is about to.
bool tare_gc_cleanup_cancel(struct tare_handle cleanup);

// ---- collecting ---------------------------------------------------------------------------------------------------

// Collects: what was unreachable when it was called is free when it returns, but for what a stack seems to hold. Waits,
// also for each worker's task to make an object or to let others run: one that does neither delays it.
// A collection's own lists (8 bytes an object that waits to be looked into) lie in addresses that tare_gc_open
// reserved.
void tare_gc_collect(void);

// Set knobs of tare_gc_options while the heap is open; values mean what they mean there, 0 too. They return the
// previous value. From a task. A running collection goes by the new one from here on.
int tare_gc_set_percent(int percent);
uint64_t tare_gc_set_limit(uint64_t bytes);

struct tare_gc_stats {
	uint64_t cycles;
	uint64_t heap_bytes;               // of objects, reachable or not yet collected
	uint64_t marked_bytes;             // that the last collection found reachable
	uint64_t goal_bytes;               // at which the next is to have ended
	uint64_t objects_made, bytes_made; // counted ahead: by up to 8 KiB a worker and type
	uint64_t mapped_bytes;             // that objects have or had, and that have not gone back to the system
	uint64_t idle_bytes;               // of that, in whole blocks of 64 KiB that are free
	uint64_t retained_bytes;           // of mapped_bytes more than this and 2 MiB goes back; UINT64_MAX: nothing
	uint64_t released_bytes;           // that have gone back since the heap was opened
	int64_t release_ns;                // and the time that took
	uint64_t list_bytes;               // of what marking notes in
	uint64_t limit_bytes;              // in force; TARE_GC_NO_LIMIT
	uint64_t others_bytes;             // that count against it beside mapped_bytes; 0 without a limit
	uint64_t limited_cycles;           // cycles when the limiter last stepped in; 0: it never did
	bool limiting;      // it does now: assists stop, and who makes objects past the limit waits a little
	int64_t trouble_ns; // how long the limit could not be held; 0: it is
	// CPU time since the heap was opened: of marking tasks beside the program, of those that make objects, of
	// marking tasks when their worker had nothing else to do, of sweeping, of pauses.
	int64_t background_ns, assist_ns, idle_ns, sweep_ns, pause_ns;
	double cpu_share; // of all that in the time that the workers had; 0 to 1
	int64_t mark_ns;  // that marking tasks took in the last collection
	// A pause is what a worker had to do at once for the collector: a step of a phase, or the scan of a task's
	// stack. The percentile is of the longest of each half of a collection, two a collection, as where the world is
	// stopped twice.
	int64_t pause_p99_ns, pause_max_ns;
	int64_t wait_p99_ns; // of how long a collection waited until all workers had passed a safepoint; tasks run
	int64_t late_max_ns; // the longest that it did, and for which task; "": unknown
	char late_name[32];
	uint64_t weak_handles, handle_bytes; // bytes: of handles and cleanups, beside the heap
	uint64_t cleanups;                   // that wait for their objects to be collected
	uint64_t cleanups_ready, cleanups_run;
	uint64_t raw_stores; // that the lint found
};
// From a task, which may wait for a moment.
void tare_gc_stats_read(struct tare_gc_stats *ret);
// What there is of each type, the largest first.
struct tare_gc_type_row {
	const struct tare_gc_type *type; // the objects', or arrays' elements'; NULL: none is known
	const char *name; // the type's, or "(no pointers)": of tare_gc_new_noscan, and small objects of such types
	uint64_t objects, bytes; // an array is one object; bytes of memory that they take, rounded up
};
// Fills at most max rows (1 or more), the last of them for all types that there is no row for ("others"), and returns
// how many. Counted is what the last collection left and what was made since, exactly when nothing else runs; else
// about so: up to 8 KiB a worker and type more are counted ahead, and arrays that a collection is about to sweep have a
// row of their own, "(arrays to be swept)". From any thread while the heap is open. Looks through the whole heap, at a
// byte an object and at each small array's head, and keeps nobody from making objects; a task lets others run
// meanwhile. Where objects are made is in the profile of <tare/profile.h> (TARE_PROFILE_HEAP), by samples.
size_t tare_gc_types_read(struct tare_gc_type_row *rows, size_t max);
// Adds to a histogram (2 digits, up to 10 s, in nanoseconds) all pauses; the longest of each half of a collection, up
// to the end of marking and after it; all waits for the last worker to pass a safepoint, while which the program goes
// on. From any thread.
void tare_gc_pauses_merge(struct tare_hist *into);
void tare_gc_phases_merge(struct tare_hist *into);
void tare_gc_waits_merge(struct tare_hist *into);

#endif
