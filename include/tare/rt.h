// SPDX-License-Identifier: MIT
//
// rt: tasks, scheduler, timers, poller. Go's way of writing a server, in C: straight-line code that blocks a task and
// never a thread.
//
// What each call blocks, and whether it allocates:
//
//   call                         blocks       allocates
//   tare_run                     the thread   at set-up
//   tare_go, tare_spawn          nothing      a task struct, from a pool (a stack only when the task first runs)
//   tare_join, tare_sleep_until  the task     nothing
//   tare_yield                   the task     nothing
//   tare_mutex_lock              the task     nothing
//   tare_wg_wait                 the task     nothing
//   tare_fd_wait                 the task     nothing
//
// All but tare_run are called from a task (asserted) unless their comment says otherwise.
//
// A task may wake on another thread than it blocked on. So: do not keep the address of a thread-local (errno's too)
// across a call that blocks; compilers do that silently when both uses stand in one function. errno's value is kept per
// task. A task that must stay on its worker is spawned pinned.
#ifndef TARE_RT_H
#define TARE_RT_H

#include <tare/base.h>
#include <tare/stat.h>

#include <sys/socket.h>
#include <sys/types.h>

// ---- running ------------------------------------------------------------------------------------------------------

// A task's code. The result goes to whoever joins it.
typedef int tare_task_fn(void *arg);

struct tare_task;

struct tare_rt_options {
	int workers;        // 0: one a permitted CPU
	size_t stack_bytes; // reserved a task; 0: 256 KiB
	uint32_t tasks_max; // stacks in existence at once; 0: 1,048,576
	uint64_t seed;      // of scheduling's random choices; 0: from the clock
};

// Starts the workers, runs fn(arg) as the first task on worker 0, and returns its result in *ret_result when it ends.
// Tasks that still exist then are dropped where they stand: join what must end. One runtime at a time (-EBUSY).
// -ENOMEM, -EMFILE and the like when the workers can't be set up; err says which step.
TARE_MUST_USE int tare_run(const struct tare_rt_options *options, tare_task_fn *fn, void *arg, int *ret_result,
			   struct tare_error *err);

// ---- tasks --------------------------------------------------------------------------------------------------------

struct tare_task_options {
	const char *name;   // for dumps and overflow reports; static storage. NULL: "task"
	size_t stack_bytes; // 0: the runtime's
	bool pinned;        // runs on this worker alone
	int worker;         // with pinned: which worker; -1: the caller's
};

// Starts a task that nobody joins. -ENOMEM.
TARE_MUST_USE int tare_go(tare_task_fn *fn, void *arg);
// Starts a task that must be joined, once; options may be NULL. -ENOMEM, -EINVAL.
// A stack that can't be had when the task first runs delays it until another task ends, unless there is none: then the
// task ends with -ENOMEM without having run.
TARE_MUST_USE int tare_spawn(struct tare_task **ret, const struct tare_task_options *options, tare_task_fn *fn,
			     void *arg);
// tare_spawn without the handle.
TARE_MUST_USE int tare_go_with(const struct tare_task_options *options, tare_task_fn *fn, void *arg);
// Waits for the task and takes its result; the handle is gone.
int tare_join(struct tare_task *task);
void tare_yield(void);
// The runtime's clock: monotonic nanoseconds. From any thread.
int64_t tare_now_ns(void);
// The clock as it was when this worker's poller last returned: free, and old by what the worker ran since. From a task.
int64_t tare_now_coarse_ns(void);
void tare_sleep_until(int64_t deadline_ns);
static inline void tare_sleep(int64_t ns)
{
	tare_sleep_until(tare_now_ns() + ns);
}
// NULL outside a task.
struct tare_task *tare_self(void);
const char *tare_task_name(const struct tare_task *task);
uint64_t tare_task_id(const struct tare_task *task);
// Index of the worker the caller is on just now; -1 outside the runtime. Changes at every call that blocks.
int tare_worker(void);
int tare_worker_count(void);

// ---- synchronisation ----------------------------------------------------------------------------------------------

// Zero-initialised storage is a valid unlocked mutex. First come, first served under contention; hand-off, no barging.
struct tare_mutex {
	struct tare_spin spin; // guards the rest
	bool locked;
	struct tare_waiter *first, *last;
};

void tare_mutex_lock(struct tare_mutex *mutex);
TARE_MUST_USE bool tare_mutex_try_lock(struct tare_mutex *mutex);
// -ETIMEDOUT when the deadline passes first.
TARE_MUST_USE int tare_mutex_lock_until(struct tare_mutex *mutex, int64_t deadline_ns);
void tare_mutex_unlock(struct tare_mutex *mutex);

// Counts work in flight. Zero-initialised storage is valid. Add before the work is started; done as it ends.
struct tare_wg {
	struct tare_spin spin;
	int64_t count;
	struct tare_waiter *first, *last;
};

void tare_wg_add(struct tare_wg *wg, int64_t n);
void tare_wg_done(struct tare_wg *wg);
// Returns when the count is 0. -ETIMEDOUT when the deadline passes first.
int tare_wg_wait_until(struct tare_wg *wg, int64_t deadline_ns);
static inline void tare_wg_wait(struct tare_wg *wg)
{
	(void)tare_wg_wait_until(wg, TARE_NEVER);
}

// One task waits, anyone wakes it: a wake-up that comes first is kept (one, not a count). Zero-initialised storage is
// valid. Wake may be called from any task; from foreign threads not yet.
struct tare_event {
	_Atomic(uintptr_t) state; // 0, 1: set, or the waiting struct tare_waiter
};

// -ETIMEDOUT when the deadline passes first.
int tare_event_wait(struct tare_event *event, int64_t deadline_ns);
void tare_event_wake(struct tare_event *event);

// ---- timers -------------------------------------------------------------------------------------------------------

// Runs fn on a worker's own stack when the time comes: fn must be short, must not block, and returns the time to be
// called again or 0. Embed it; zero-initialised is valid. Precision is the kernel's (about 50 µs unless the thread's
// slack is lowered).
struct tare_timer {
	int64_t when_ns; // guarded by the heap's lock, as the rest is
	int64_t (*fn)(struct tare_timer *timer);
	_Atomic(struct rt_timers *) heap; // the worker's heap that holds it, or NULL
	size_t heap_idx;
};

// On the caller's worker. -ENOMEM. The timer must not be running.
TARE_MUST_USE int tare_timer_start(struct tare_timer *timer, int64_t when_ns, int64_t (*fn)(struct tare_timer *timer));
// When it returns, fn is not running and will not run. False if it was not pending. Not from within fn.
bool tare_timer_stop(struct tare_timer *timer);

// ---- descriptors --------------------------------------------------------------------------------------------------

enum { TARE_READ = 0, TARE_WRITE = 1 };

// A descriptor in a worker's poller: edge-triggered, registered once, tried before parked.
// One task at a time may wait for a direction. The storage must be type-stable (from a pool, or static) for as long as
// the runtime runs, because an event that was fetched before tare_fd_close may still look at it.
struct tare_fd {
	int fd;                                       // -1 when closed
	_Atomic(uint32_t) generation;                 // goes up at close; an event of another generation is stale
	_Atomic(uintptr_t) side[2];                   // the states of fd.c, a word a direction
	void (*_Atomic on_ready)(struct tare_fd *fd); // see tare_fd_idle
	struct rt_poller *poller;
	atomic_bool hangup; // the peer closed or the socket failed: a short read no longer means "drained"
};

// Registers a non-blocking descriptor with the caller's worker's poller; the descriptor becomes the struct's on
// success. -ENOMEM, -ENOSPC, -EPERM (a plain file) …
TARE_MUST_USE int tare_fd_open(struct tare_fd *fd, int os_fd);
// Closes the descriptor. No task may be waiting on it.
void tare_fd_close(struct tare_fd *fd);
// Parks until the side may be ready. Call it after EAGAIN, then try again. -ETIMEDOUT.
int tare_fd_wait(struct tare_fd *fd, int side, int64_t deadline_ns);
// Puts the read side into the idle state: no task waits; the next event calls fn on the poller's worker, on the
// worker's own stack (short, non-blocking; as a rule it starts a task). False when the descriptor became ready
// meanwhile: then nothing is called, and the caller goes on reading.
TARE_MUST_USE bool tare_fd_idle(struct tare_fd *fd, void (*on_ready)(struct tare_fd *fd));
// Takes an idle descriptor back from the poller: true means on_ready will not be called for it and the caller owns it.
TARE_MUST_USE bool tare_fd_unidle(struct tare_fd *fd);

// Makes the side ready as an event would: whoever waits there returns, and finds EAGAIN if there was nothing.
void tare_fd_kick(struct tare_fd *fd, int side);

// One try on a registered socket, never parking; -EAGAIN when it would block. These go through the runtime's backend,
// so that a test's simulated network stands in for the kernel's without the caller knowing.
TARE_MUST_USE ssize_t tare_fd_recv(struct tare_fd *fd, void *buf, size_t len);
TARE_MUST_USE ssize_t tare_fd_send(struct tare_fd *fd, const void *buf, size_t len);
// The accepted descriptor: non-blocking, close-on-exec, not yet registered.
TARE_MUST_USE int tare_fd_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len);

// ---- metrics ------------------------------------------------------------------------------------------------------

struct tare_rt_stats {
	uint64_t tasks_started, tasks_live, switches, steals, polls, poll_events, wakes, timers_fired;
	uint64_t stacks_made; // slots cut from the arena so far
	int workers;
};
void tare_rt_stats_read(struct tare_rt_stats *ret);

#endif
