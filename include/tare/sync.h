// SPDX-License-Identifier: MIT
//
// sync: what tasks and threads wait for when it is neither data nor a descriptor.
//
// A call that waits blocks the task and never its worker. All of it may also be used from plain threads, those that are
// no workers of the runtime: there it blocks the thread, and a task and a thread may wait for each other. Nothing here
// allocates (a deadline may: -ENOMEM from a task). Waiters are served first come, first served.
//
// Zero-initialised storage is a valid primitive; none needs to be torn down. Its memory must outlive the last call on
// it, but a waiter may free it as soon as its own call returned where the comment says so.
//
// The _until forms return 0, -ETIMEDOUT when the deadline passes first, or -ECANCELED or -ETIMEDOUT when the scope of
// the task is cancelled (<tare/rt.h>); one that need not wait returns 0 even so. The forms without a deadline wait on,
// whatever happens to the scope. The try_ forms never wait.
#ifndef TARE_SYNC_H
#define TARE_SYNC_H

#include <tare/base.h>

struct tare_waiter;

// First come, first served; private.
struct tare_waiters {
	struct tare_waiter *first, *last;
};

// ---- mutex --------------------------------------------------------------------------------------------------------

// Under contention the unlocker hands it to the first waiter: nobody overtakes.
struct tare_mutex {
	_Atomic(uint32_t) state; // 0 free, 1 locked, 2 locked and somebody waits
	struct tare_spin spin;   // guards the queue and every change to or from 2
	struct tare_waiters waiters;
};

// Not recursive: who locks it twice waits for ever. Who unlocks it need not be who locked it; that it is locked is
// asserted.
void tare_mutex_lock(struct tare_mutex *mutex);
TARE_MUST_USE bool tare_mutex_try_lock(struct tare_mutex *mutex);
TARE_MUST_USE int tare_mutex_lock_until(struct tare_mutex *mutex, int64_t deadline_ns);
void tare_mutex_unlock(struct tare_mutex *mutex);

// ---- read-write lock ----------------------------------------------------------------------------------------------

// Many readers or one writer. A reader that comes after a waiting writer waits behind it, so neither side starves; so a
// reader must not read-lock again what it holds.
struct tare_rwlock {
	struct tare_spin spin; // guards the rest
	bool writing;
	uint32_t readers;
	struct tare_waiters waiters;
};

// Each read or write that was had ends with its own done (asserted).
void tare_rwlock_read(struct tare_rwlock *lock);
TARE_MUST_USE bool tare_rwlock_try_read(struct tare_rwlock *lock);
TARE_MUST_USE int tare_rwlock_read_until(struct tare_rwlock *lock, int64_t deadline_ns);
void tare_rwlock_read_done(struct tare_rwlock *lock);
void tare_rwlock_write(struct tare_rwlock *lock);
TARE_MUST_USE bool tare_rwlock_try_write(struct tare_rwlock *lock);
TARE_MUST_USE int tare_rwlock_write_until(struct tare_rwlock *lock, int64_t deadline_ns);
void tare_rwlock_write_done(struct tare_rwlock *lock);

// ---- condition ----------------------------------------------------------------------------------------------------

// Waits are not spurious, but what was signalled may have changed again by the time the mutex is had: wait in a loop.
struct tare_cond {
	struct tare_spin spin; // guards the rest
	struct tare_waiters waiters;
};

// Releases the mutex, waits, and takes it again before it returns, whatever it returns: for that it may wait past the
// deadline.
void tare_cond_wait(struct tare_cond *cond, struct tare_mutex *mutex);
TARE_MUST_USE int tare_cond_wait_until(struct tare_cond *cond, struct tare_mutex *mutex, int64_t deadline_ns);
// Wakes the first, or all. With or without the mutex held.
void tare_cond_signal(struct tare_cond *cond);
void tare_cond_broadcast(struct tare_cond *cond);

// ---- semaphore ----------------------------------------------------------------------------------------------------

// Units, taken and given back. The first waiter is served first, even when a later one asks for less.
struct tare_sem {
	struct tare_spin spin; // guards the rest
	uint64_t units;        // free ones; set it before the first use
	struct tare_waiters waiters;
};

// Takes all the units or none. More may be given back than were taken: there is no upper bound.
void tare_sem_take(struct tare_sem *sem, uint64_t units);
TARE_MUST_USE bool tare_sem_try_take(struct tare_sem *sem, uint64_t units);
TARE_MUST_USE int tare_sem_take_until(struct tare_sem *sem, uint64_t units, int64_t deadline_ns);
void tare_sem_give(struct tare_sem *sem, uint64_t units);

// ---- once ---------------------------------------------------------------------------------------------------------

struct tare_once {
	_Atomic(uint32_t) done;
	struct tare_mutex mutex;
};

// Runs fn(arg) if nobody has; returns when it has run. fn may block, but not come back to the same once.
void tare_once(struct tare_once *once, void (*fn)(void *arg), void *arg);

// ---- wait group ---------------------------------------------------------------------------------------------------

// Counts work in flight. Add before the work is started; done as it ends. A waiter may free it.
struct tare_wg {
	struct tare_spin spin; // guards the rest
	int64_t count;
	struct tare_waiters waiters;
};

// n may be negative; a count below 0 is a bug (asserted).
void tare_wg_add(struct tare_wg *wg, int64_t n);
void tare_wg_done(struct tare_wg *wg);
// Returns when the count is 0.
void tare_wg_wait(struct tare_wg *wg);
TARE_MUST_USE int tare_wg_wait_until(struct tare_wg *wg, int64_t deadline_ns);

// ---- event --------------------------------------------------------------------------------------------------------

// One waits, anyone wakes it: a wake-up that comes first is kept (one, not a count).
struct tare_event {
	_Atomic(uintptr_t) state; // 0, 1: set, or the waiting struct tare_waiter
};

// Takes the wake-up, now or when it comes. That nobody else waits is asserted.
void tare_event_wait(struct tare_event *event);
TARE_MUST_USE int tare_event_wait_until(struct tare_event *event, int64_t deadline_ns);
// From any task or thread, and from timers' functions.
void tare_event_wake(struct tare_event *event);

#endif
