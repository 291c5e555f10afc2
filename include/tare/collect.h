// SPDX-License-Identifier: MIT
//
// collect: what a garbage collector asks of the runtime: that every worker passes a safepoint, and that tasks' stacks
// are scanned while they stand still. <tare/gc.h> is built on it; programs have no use for it.
//
// Nothing here stops the world. A worker passes its safepoint between two tasks, or where its task says that it may
// (tare_safepoint); the others go on meanwhile. A task is scanned before it runs again, by whoever comes first.
#ifndef TARE_COLLECT_H
#define TARE_COLLECT_H

#include <tare/base.h>

struct tare_chan;

// What became of a handshake.
struct tare_handshake {
	int64_t took_ns;    // from the call until the last worker had passed
	uint64_t late_task; // the id of the task that was last to let its worker pass, where one ran; 0: none
	char late_name[32];
};

// Every worker calls fn(arg, worker) once, on its own thread at a safepoint, in any order (the caller's in the caller);
// returns when all have. What a worker did before is seen by the caller afterwards, and what the caller did before by
// fn. From a task, which waits; one at a time (asserted). fn must not block. ret may be NULL.
void tare_handshake(void (*fn)(void *arg, int worker), void *arg, struct tare_handshake *ret);
// By a running task: this is a safepoint. Nearly free while nobody waits for one.
void tare_safepoint(void);

// Whether other tasks are ready to run on the caller's worker.
bool tare_worker_busy(void);

// Begins a scan of all tasks' stacks. From here on each task is scanned once, before it runs again or by
// tare_scan_tasks: scan gets the words of its stack from the saved stack pointer up, its saved registers among them,
// and must not block. It also gets the argument of each task that a task starts from now on, until tare_scan_end. One
// scan at a time.
void tare_scan_begin(void (*scan)(const void *low, const void *high));
// The caller's stack is not scanned from now on: for the collector's own tasks, which would keep alive whatever they
// have looked at last. From a task that holds nothing of the heap, and never will.
void tare_scan_exempt(void);
// Scans those that nobody has scanned yet: all are when it returns. From a task, by one at a time, after a handshake
// that followed tare_scan_begin: so that those that run have been scanned. Others have their turns meanwhile.
void tare_scan_tasks(void);
// When tare_scan_tasks has returned: tasks go on without being scanned.
void tare_scan_end(void);

// Copies a channel's value, whole words: with a spinlock held, so that it must not block. room: what `to` holds is of
// no use.
typedef void tare_chan_copy_fn(void *to, const void *from, size_t bytes, bool room);
// A channel (<tare/chan.h>) that a collector looks after: copy makes each copy of a value, from a sender's storage or
// into a receiver's. Only tasks may use it. -EINVAL also where elem_bytes is 0 or no multiple of a pointer's size.
// Making and freeing it may wait.
TARE_MUST_USE int tare_chan_new_traced(struct tare_chan **ret, size_t elem_bytes, size_t capacity,
				       tare_chan_copy_fn *copy);
// scan gets each value that is in such a channel's buffer, or that a parked sender offers, but for those that are
// copied meanwhile; with a spinlock held, for 4 KiB of a buffer, or for all senders of a channel. From a task, which
// may wait.
void tare_scan_chans(void (*scan)(const void *low, const void *high));

#endif
