// SPDX-License-Identifier: MIT
//
// Mutex, read-write lock, condition, semaphore, once, wait group, event.
//
// Each holds a queue of waiters, first come, first served, under a spinlock of a few instructions. A waiter is on the
// queue or has been taken off by exactly one of its waker, its deadline and a cancel, all under the spinlock. What is
// waited for is handed to the first waiter before it runs: nobody can overtake it, at the price of a switch under
// contention.
//
// Threads: tasks on any worker, and plain threads. Lock order: a timer heap's lock, then one of these.
#include "rt/switch.h"

#include <errno.h>

// ---- mutex --------------------------------------------------------------------------------------------------------

enum { FREE = 0, LOCKED = 1, CONTENDED = 2 };

bool tare_mutex_try_lock(struct tare_mutex *mutex)
{
	uint32_t state = FREE;
	return TARE_CAS(&mutex->state, &state, (uint32_t)LOCKED);
}

static bool mutex_commit(struct tare_waiter *waiter)
{
	struct tare_mutex *mutex = waiter->where;
	tare_spin_lock(&mutex->spin);
	// An exchange: either it was free and is ours (with a mark too many, which the unlock clears), or all see the
	// mark.
	bool wait = atomic_exchange_explicit(&mutex->state, CONTENDED, memory_order_acquire) != FREE;
	if (wait)
		rt_waiters_push(&mutex->waiters, waiter);
	tare_spin_unlock(&mutex->spin);
	return wait;
}

static bool mutex_leave(struct tare_waiter *waiter)
{
	struct tare_mutex *mutex = waiter->where;
	tare_spin_lock(&mutex->spin);
	bool was_queued = rt_waiters_remove(&mutex->waiters, waiter);
	tare_spin_unlock(&mutex->spin);
	return was_queued;
}

// Out of line, so that a lock that is free costs no frame.
__attribute__((noinline)) static int mutex_wait(struct tare_mutex *mutex, bool deaf, int64_t deadline_ns)
{
	struct tare_waiter waiter = {.commit = mutex_commit, .leave = mutex_leave, .where = mutex, .deaf = deaf};
	return rt_wait(&waiter, RT_MUTEX, deadline_ns);
}

int tare_mutex_lock_until(struct tare_mutex *mutex, int64_t deadline_ns)
{
	if (TARE_LIKELY(tare_mutex_try_lock(mutex)))
		return 0;
	return mutex_wait(mutex, false, deadline_ns);
}

void tare_mutex_lock(struct tare_mutex *mutex)
{
	if (TARE_LIKELY(tare_mutex_try_lock(mutex)))
		return;
	int rc = mutex_wait(mutex, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

static void mutex_hand_over(struct tare_mutex *mutex)
{
	tare_spin_lock(&mutex->spin);
	struct tare_waiter *waiter = rt_waiters_pop(&mutex->waiters);
	if (waiter == NULL)
		atomic_store_explicit(&mutex->state, FREE, memory_order_release);
	tare_spin_unlock(&mutex->spin);
	if (waiter != NULL)
		rt_wake(waiter, true);
}

void tare_mutex_unlock(struct tare_mutex *mutex)
{
	uint32_t state = LOCKED;
	if (TARE_LIKELY(TARE_CAS(&mutex->state, &state, (uint32_t)FREE)))
		return;
	TARE_ASSERT(state == CONTENDED); // else it was not locked
	mutex_hand_over(mutex);
}

// ---- read-write lock ----------------------------------------------------------------------------------------------

// waiter->wants: 1 for a writer, 0 for a reader.

// With the spinlock held: whether the lock can be had at once; it is taken then.
static bool rwlock_take(struct tare_rwlock *lock, bool write)
{
	if (lock->writing || (write && lock->readers > 0) || lock->waiters.first != NULL)
		return false;
	lock->writing = write;
	lock->readers += !write;
	return true;
}

// With the spinlock held: gives the lock to those waiters whose turn it is, linked by next.
static struct tare_waiter *rwlock_pass_on(struct tare_rwlock *lock)
{
	struct tare_waiters woken = {NULL, NULL};
	while (lock->waiters.first != NULL && !lock->writing) {
		bool write = lock->waiters.first->wants != 0;
		if (write && lock->readers > 0)
			break;
		lock->writing = write;
		lock->readers += !write;
		rt_waiters_push(&woken, rt_waiters_pop(&lock->waiters));
	}
	return woken.first;
}

static bool rwlock_commit(struct tare_waiter *waiter)
{
	struct tare_rwlock *lock = waiter->where;
	tare_spin_lock(&lock->spin);
	bool wait = !rwlock_take(lock, waiter->wants != 0);
	if (wait)
		rt_waiters_push(&lock->waiters, waiter);
	tare_spin_unlock(&lock->spin);
	return wait;
}

static bool rwlock_leave(struct tare_waiter *waiter)
{
	struct tare_rwlock *lock = waiter->where;
	tare_spin_lock(&lock->spin);
	bool was_queued = rt_waiters_remove(&lock->waiters, waiter);
	// A writer that gives up lets the readers behind it in.
	struct tare_waiter *woken = was_queued ? rwlock_pass_on(lock) : NULL;
	tare_spin_unlock(&lock->spin);
	rt_waiters_wake_all(woken);
	return was_queued;
}

static int rwlock_lock(struct tare_rwlock *lock, bool write, bool deaf, int64_t deadline_ns)
{
	struct tare_waiter waiter = {
	    .commit = rwlock_commit, .leave = rwlock_leave, .where = lock, .wants = write, .deaf = deaf};
	return rt_wait(&waiter, RT_RWLOCK, deadline_ns);
}

static bool rwlock_try(struct tare_rwlock *lock, bool write)
{
	tare_spin_lock(&lock->spin);
	bool got = rwlock_take(lock, write);
	tare_spin_unlock(&lock->spin);
	return got;
}

static void rwlock_done(struct tare_rwlock *lock, bool write)
{
	tare_spin_lock(&lock->spin);
	TARE_ASSERT(write ? lock->writing : lock->readers > 0);
	lock->readers -= !write;
	lock->writing = false;
	struct tare_waiter *woken = rwlock_pass_on(lock);
	tare_spin_unlock(&lock->spin);
	rt_waiters_wake_all(woken);
}

void tare_rwlock_read(struct tare_rwlock *lock)
{
	int rc = rwlock_try(lock, false) ? 0 : rwlock_lock(lock, false, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

bool tare_rwlock_try_read(struct tare_rwlock *lock)
{
	return rwlock_try(lock, false);
}

int tare_rwlock_read_until(struct tare_rwlock *lock, int64_t deadline_ns)
{
	return rwlock_try(lock, false) ? 0 : rwlock_lock(lock, false, false, deadline_ns);
}

void tare_rwlock_read_done(struct tare_rwlock *lock)
{
	rwlock_done(lock, false);
}

void tare_rwlock_write(struct tare_rwlock *lock)
{
	int rc = rwlock_try(lock, true) ? 0 : rwlock_lock(lock, true, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

bool tare_rwlock_try_write(struct tare_rwlock *lock)
{
	return rwlock_try(lock, true);
}

int tare_rwlock_write_until(struct tare_rwlock *lock, int64_t deadline_ns)
{
	return rwlock_try(lock, true) ? 0 : rwlock_lock(lock, true, false, deadline_ns);
}

void tare_rwlock_write_done(struct tare_rwlock *lock)
{
	rwlock_done(lock, true);
}

// ---- condition ----------------------------------------------------------------------------------------------------

// The mutex is released once the waiter is queued: a signal between the two finds it.
static bool cond_commit(struct tare_waiter *waiter)
{
	struct tare_cond *cond = waiter->where;
	struct tare_mutex *mutex = waiter->also;
	tare_spin_lock(&cond->spin);
	rt_waiters_push(&cond->waiters, waiter);
	tare_spin_unlock(&cond->spin);
	tare_mutex_unlock(mutex); // read before: the waiter may be gone by now
	return true;
}

static bool cond_leave(struct tare_waiter *waiter)
{
	struct tare_cond *cond = waiter->where;
	tare_spin_lock(&cond->spin);
	bool was_queued = rt_waiters_remove(&cond->waiters, waiter);
	tare_spin_unlock(&cond->spin);
	return was_queued;
}

static int cond_wait(struct tare_cond *cond, struct tare_mutex *mutex, bool deaf, int64_t deadline_ns)
{
	struct tare_waiter waiter = {
	    .commit = cond_commit, .leave = cond_leave, .where = cond, .also = mutex, .deaf = deaf};
	int rc = rt_wait(&waiter, RT_COND, deadline_ns);
	if (rc != -ENOMEM) // then it never waited, and the mutex was kept
		tare_mutex_lock(mutex);
	return rc;
}

void tare_cond_wait(struct tare_cond *cond, struct tare_mutex *mutex)
{
	int rc = cond_wait(cond, mutex, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

int tare_cond_wait_until(struct tare_cond *cond, struct tare_mutex *mutex, int64_t deadline_ns)
{
	return cond_wait(cond, mutex, false, deadline_ns);
}

void tare_cond_signal(struct tare_cond *cond)
{
	tare_spin_lock(&cond->spin);
	struct tare_waiter *waiter = rt_waiters_pop(&cond->waiters);
	tare_spin_unlock(&cond->spin);
	if (waiter != NULL)
		rt_wake(waiter, false);
}

void tare_cond_broadcast(struct tare_cond *cond)
{
	tare_spin_lock(&cond->spin);
	struct tare_waiter *first = cond->waiters.first;
	cond->waiters = (struct tare_waiters){NULL, NULL};
	tare_spin_unlock(&cond->spin);
	rt_waiters_wake_all(first);
}

// ---- semaphore ----------------------------------------------------------------------------------------------------

// With the spinlock held: serves the first waiters, as far as the units go; linked by next.
static struct tare_waiter *sem_pass_on(struct tare_sem *sem)
{
	struct tare_waiters woken = {NULL, NULL};
	while (sem->waiters.first != NULL && sem->waiters.first->wants <= sem->units) {
		sem->units -= sem->waiters.first->wants;
		rt_waiters_push(&woken, rt_waiters_pop(&sem->waiters));
	}
	return woken.first;
}

static bool sem_commit(struct tare_waiter *waiter)
{
	struct tare_sem *sem = waiter->where;
	tare_spin_lock(&sem->spin);
	bool wait = sem->waiters.first != NULL || sem->units < waiter->wants;
	if (wait)
		rt_waiters_push(&sem->waiters, waiter);
	else
		sem->units -= waiter->wants;
	tare_spin_unlock(&sem->spin);
	return wait;
}

static bool sem_leave(struct tare_waiter *waiter)
{
	struct tare_sem *sem = waiter->where;
	tare_spin_lock(&sem->spin);
	bool was_queued = rt_waiters_remove(&sem->waiters, waiter);
	// Those behind one who wanted much and gave up may want less.
	struct tare_waiter *woken = was_queued ? sem_pass_on(sem) : NULL;
	tare_spin_unlock(&sem->spin);
	rt_waiters_wake_all(woken);
	return was_queued;
}

bool tare_sem_try_take(struct tare_sem *sem, uint64_t units)
{
	tare_spin_lock(&sem->spin);
	bool got = sem->waiters.first == NULL && sem->units >= units;
	if (got)
		sem->units -= units;
	tare_spin_unlock(&sem->spin);
	return got;
}

static int sem_take(struct tare_sem *sem, uint64_t units, bool deaf, int64_t deadline_ns)
{
	if (tare_sem_try_take(sem, units))
		return 0;
	struct tare_waiter waiter = {
	    .commit = sem_commit, .leave = sem_leave, .where = sem, .wants = units, .deaf = deaf};
	return rt_wait(&waiter, RT_SEM, deadline_ns);
}

void tare_sem_take(struct tare_sem *sem, uint64_t units)
{
	int rc = sem_take(sem, units, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

int tare_sem_take_until(struct tare_sem *sem, uint64_t units, int64_t deadline_ns)
{
	return sem_take(sem, units, false, deadline_ns);
}

void tare_sem_give(struct tare_sem *sem, uint64_t units)
{
	tare_spin_lock(&sem->spin);
	sem->units += units;
	struct tare_waiter *woken = sem_pass_on(sem);
	tare_spin_unlock(&sem->spin);
	rt_waiters_wake_all(woken);
}

// ---- once ---------------------------------------------------------------------------------------------------------

void tare_once(struct tare_once *once, void (*fn)(void *arg), void *arg)
{
	// acquire: pairs with the release below, so that what fn did is seen
	if (TARE_LIKELY(atomic_load_explicit(&once->done, memory_order_acquire) != 0))
		return;
	tare_mutex_lock(&once->mutex);
	if (atomic_load_explicit(&once->done, memory_order_relaxed) == 0) {
		fn(arg);
		atomic_store_explicit(&once->done, 1, memory_order_release);
	}
	tare_mutex_unlock(&once->mutex);
}

// ---- wait group ---------------------------------------------------------------------------------------------------

// Waiters are woken under the lock, and a woken waiter takes the lock once before it returns: so the wait group may be
// the waiter's own, on its stack, and be gone the moment the wait is over.
void tare_wg_add(struct tare_wg *wg, int64_t n)
{
	tare_spin_lock(&wg->spin);
	wg->count += n;
	TARE_ASSERT(wg->count >= 0);
	if (wg->count == 0) {
		struct tare_waiter *first = wg->waiters.first;
		wg->waiters = (struct tare_waiters){NULL, NULL};
		rt_waiters_wake_all(first);
	}
	tare_spin_unlock(&wg->spin);
}

void tare_wg_done(struct tare_wg *wg)
{
	tare_wg_add(wg, -1);
}

static bool wg_commit(struct tare_waiter *waiter)
{
	struct tare_wg *wg = waiter->where;
	tare_spin_lock(&wg->spin);
	bool wait = wg->count > 0;
	if (wait)
		rt_waiters_push(&wg->waiters, waiter);
	tare_spin_unlock(&wg->spin);
	return wait;
}

static bool wg_leave(struct tare_waiter *waiter)
{
	struct tare_wg *wg = waiter->where;
	tare_spin_lock(&wg->spin);
	bool was_queued = rt_waiters_remove(&wg->waiters, waiter);
	tare_spin_unlock(&wg->spin);
	return was_queued;
}

static int wg_wait(struct tare_wg *wg, bool deaf, int64_t deadline_ns)
{
	tare_spin_lock(&wg->spin);
	bool wait = wg->count > 0;
	tare_spin_unlock(&wg->spin);
	if (!wait)
		return 0;
	struct tare_waiter waiter = {.commit = wg_commit, .leave = wg_leave, .where = wg, .deaf = deaf};
	int rc = rt_wait(&waiter, RT_WG, deadline_ns);
	tare_spin_lock(&wg->spin); // until the waker has left
	tare_spin_unlock(&wg->spin);
	return rc;
}

void tare_wg_wait(struct tare_wg *wg)
{
	int rc = wg_wait(wg, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

int tare_wg_wait_until(struct tare_wg *wg, int64_t deadline_ns)
{
	return wg_wait(wg, false, deadline_ns);
}

// ---- event --------------------------------------------------------------------------------------------------------

enum { EVENT_CLEAR = 0, EVENT_SET = 1 };

static bool event_commit(struct tare_waiter *waiter)
{
	struct tare_event *event = waiter->where;
	uintptr_t state = EVENT_CLEAR;
	if (RT_FAULT(LOST_WAKE)) {
		atomic_store(&event->state, (uintptr_t)waiter);
		return true;
	}
	if (TARE_CAS(&event->state, &state, (uintptr_t)waiter))
		return true;
	TARE_ASSERT(state == EVENT_SET); // else two wait for one event
	// An exchange, so that what the last of several wakers did before its wake is seen.
	(void)atomic_exchange_explicit(&event->state, EVENT_CLEAR, memory_order_acq_rel);
	return false;
}

static bool event_leave(struct tare_waiter *waiter)
{
	struct tare_event *event = waiter->where;
	uintptr_t state = (uintptr_t)waiter;
	if (RT_FAULT(DOUBLE_WAKE))
		return true;
	return TARE_CAS(&event->state, &state, (uintptr_t)EVENT_CLEAR);
}

static int event_wait(struct tare_event *event, bool deaf, int64_t deadline_ns)
{
	uintptr_t state = EVENT_SET;
	if (TARE_CAS(&event->state, &state, (uintptr_t)EVENT_CLEAR))
		return 0;
	struct tare_waiter waiter = {.commit = event_commit, .leave = event_leave, .where = event, .deaf = deaf};
	return rt_wait(&waiter, RT_EVENT, deadline_ns);
}

void tare_event_wait(struct tare_event *event)
{
	int rc = event_wait(event, true, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}

int tare_event_wait_until(struct tare_event *event, int64_t deadline_ns)
{
	return event_wait(event, false, deadline_ns);
}

void tare_event_wake(struct tare_event *event)
{
	uintptr_t state = atomic_load_explicit(&event->state, memory_order_acquire);
	for (;;) {
		// Also from SET to SET: a mere look could be over before what the caller stored is seen by the waiter,
		// who would take the older wake-up, look, find nothing and wait for ever.
		uintptr_t then = state == EVENT_CLEAR || state == EVENT_SET ? EVENT_SET : EVENT_CLEAR;
		if (RT_FAULT(MERE_LOOK) && state == EVENT_SET)
			return;
		if (TARE_CAS(&event->state, &state, then))
			break;
	}
	if (state != EVENT_CLEAR && state != EVENT_SET)
		rt_wake((struct tare_waiter *)state, true);
}
