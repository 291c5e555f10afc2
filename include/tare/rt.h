// SPDX-License-Identifier: MIT
//
// rt: tasks, scheduler, timers, poller. Go's way of writing a server, in C: straight-line code that blocks a task and
// never a thread.
//
// What each call blocks, and whether it allocates:
//
//   call                          blocks       allocates
//   tare_run                      the thread   at set-up
//   tare_go, tare_spawn           nothing      a task, from a pool; a
//                                              stack when it first runs
//   tare_join, tare_scope_join    the task     nothing
//   tare_yield, tare_breathe      the task     nothing
//   tare_sleep, a deadline        the task     a timer's place, where its
//                                              worker has none left
//   tare_scope_open               nothing      the same, with a deadline
//
// All but tare_run are called from a task (asserted) unless their comment says otherwise. <tare/sync.h> has mutexes and
// the like, <tare/chan.h> channels, <tare/fd.h> descriptors.
//
// An ordinary call that blocks (a file's read, getaddrinfo) stops the worker and every task on it: make it by way of
// tare_block of <tare/block.h>. Names of hosts have <tare/dns.h>.
//
// A task may wake on another thread than it blocked on. So: do not keep the address of a thread-local (errno's too)
// across a call that blocks; compilers do that silently when both uses stand in one function. errno's value is kept per
// task. A task that must stay on its worker is spawned pinned.
//
// Nothing preempts a task: it runs until it blocks, yields or returns. A loop that may never have to wait calls
// tare_breathe, and asks tare_cancelled whether it shall go on.
#ifndef TARE_RT_H
#define TARE_RT_H

#include <tare/base.h>
#include <tare/stat.h>

// ---- running ------------------------------------------------------------------------------------------------------

// A task's code. The result goes to whoever joins it.
typedef int tare_task_fn(void *arg);

struct tare_task;

// How the kernel is asked about descriptors. DEFAULT: what the environment variable TARE_IO says, epoll or uring, else
// epoll. URING falls back to epoll where io_uring can't be had (Linux before 6.1, a container that forbids it);
// tare_rt_stats says so.
enum tare_io { TARE_IO_DEFAULT, TARE_IO_EPOLL, TARE_IO_URING };

struct tare_rt_options {
	int workers;                // 0: one a permitted CPU
	size_t stack_bytes;         // reserved a task; 0: 256 KiB
	uint32_t tasks_max;         // stacks in existence at once; 0: 1,048,576
	uint64_t seed;              // of scheduling's random choices; 0: from the clock
	uint32_t spare_threads_max; // of tare_block, at once; 0: 64
	int64_t spare_idle_ns;      // after which one of them ends; 0: 5 s
	enum tare_io io;
	// A task that runs for so long without blocking or yielding is reported, at most one a second, and the
	// descriptors and timers of the worker it holds are looked after by the other workers. 0: 25 ms; negative:
	// neither.
	int64_t watchdog_ns;
	// Gets what the runtime says unasked (slow tasks, a deadlock) in pieces of at most 4,096 bytes, a report's one
	// after the other. From the runtime's own threads, not from a task: it must not call anything that blocks a
	// task. NULL: standard error.
	void (*report)(void *arg, const char *text, size_t len);
	void *report_arg;
};

// Starts the workers, of which the calling thread is number 0, runs fn(arg) as the first task, and returns its result
// in *ret_result when it ends. options, ret_result and err may be NULL. At most 126 workers; stack_bytes is a multiple
// of 4,096 and at least 16,384; TARE_IO, when options leave the choice to it, is epoll, uring or empty (-EINVAL).
// Tasks that still exist then are dropped where they stand: join what must end. One runtime at a time (-EBUSY).
// -ENOMEM, -EMFILE and the like when the workers can't be set up; err says which step. -EDEADLK when every task waits
// and nothing could wake one: no timer, no registered descriptor, no thread but the runtime's own; what each task waits
// for is reported first.
TARE_MUST_USE int tare_run(const struct tare_rt_options *options, tare_task_fn *fn, void *arg, int *ret_result,
			   struct tare_error *err);

// ---- timers -------------------------------------------------------------------------------------------------------

// Runs fn on a worker's own stack when the time comes: fn must be short, must not block, must not start or stop timers
// (the heap is locked), and returns the time to be called again or 0. It may start tasks and wake them. Embed it;
// zero-initialised is valid. Precision is the kernel's (about 50 µs unless the thread's slack is lowered).
struct tare_timer {
	int64_t when_ns; // guarded by the heap's lock, as the rest is
	int64_t (*fn)(struct tare_timer *timer);
	_Atomic(struct rt_timers *) heap; // the worker's heap that holds it, or NULL
	size_t heap_idx;
};

// On the caller's worker. -ENOMEM. The timer must not be pending (asserted).
TARE_MUST_USE int tare_timer_start(struct tare_timer *timer, int64_t when_ns, int64_t (*fn)(struct tare_timer *timer));
// When it returns, fn is not running and will not run. False if it was not pending. From any thread, not from within
// fn.
bool tare_timer_stop(struct tare_timer *timer);

// ---- tasks --------------------------------------------------------------------------------------------------------

struct tare_scope;

struct tare_task_options {
	const char *name;         // for dumps and overflow reports; static storage. NULL: "task"
	size_t stack_bytes;       // 0: the runtime's; else rounded up to whole pages
	struct tare_scope *scope; // the task is part of it; NULL: of none, and then nothing cancels it
	bool pinned;              // runs on this worker alone
	int worker;               // with pinned: which worker (0 is the first); -1: the caller's
	bool lendable;            // with pinned: another may run it while a task keeps that one busy (see watchdog_ns)
};

// Starts a task that nobody joins. -ENOMEM. From tasks and, while the runtime runs (asserted), from plain threads; the
// same holds for tare_spawn and tare_go_with.
TARE_MUST_USE int tare_go(tare_task_fn *fn, void *arg);
// Starts a task that must be joined, once; options may be NULL. -ENOMEM; -EINVAL when it is pinned to a worker that
// there is not; -ECANCELED or -ETIMEDOUT when the scope is cancelled.
// A stack that can't be had when the task first runs delays it until another task ends, unless there is none: then the
// task ends with -ENOMEM without having run.
TARE_MUST_USE int tare_spawn(struct tare_task **ret, const struct tare_task_options *options, tare_task_fn *fn,
			     void *arg);
// tare_spawn without the handle.
TARE_MUST_USE int tare_go_with(const struct tare_task_options *options, tare_task_fn *fn, void *arg);
// Waits for the task and takes its result; the handle is gone. Neither cancelled nor late: the task ends it. From one
// task, or plain thread, at a time.
int tare_join(struct tare_task *task);
// The same with a deadline: 0 and the task's result; or -ETIMEDOUT, -ECANCELED or -ENOMEM, and the handle is still to
// be joined.
TARE_MUST_USE int tare_join_until(struct tare_task *task, int64_t deadline_ns, int *ret_result);
// Lets the other runnable tasks of this worker go first. Returns also in a cancelled scope.
void tare_yield(void);
// For a loop that never has to wait: yields when the poller and the other tasks of this worker have had no turn for
// 100 µs by now_ns, the caller's own reading of the clock.
void tare_breathe(int64_t now_ns);
// The runtime's clock: monotonic nanoseconds. From any thread.
int64_t tare_now_ns(void);
// The clock as it was when this worker's poller last returned: free, and old by what the worker ran since. From a task.
int64_t tare_now_coarse_ns(void);
// 0 when the time has come (at once, when it has passed); -ECANCELED, or -ETIMEDOUT for the deadline of a scope.
int tare_sleep_until(int64_t deadline_ns);
static inline int tare_sleep(int64_t ns)
{
	return tare_sleep_until(tare_time_after(tare_now_ns(), ns));
}
// NULL outside a task.
struct tare_task *tare_self(void);
// Of a task that exists: one's own, or one that is not yet joined. Ids are not used again while the runtime runs.
const char *tare_task_name(const struct tare_task *task);
uint64_t tare_task_id(const struct tare_task *task);
// Index of the worker the caller is on just now; -1 outside the runtime. Changes at every call that blocks.
int tare_worker(void);
// 0 while no runtime runs.
int tare_worker_count(void);

// ---- scopes -------------------------------------------------------------------------------------------------------

// Structured tasks: what is started in a scope ends before the scope does. A scope also bounds the calls its owner
// makes while it is open. Once it is cancelled, or its deadline passes, every call in it that has to wait returns
// -ECANCELED or -ETIMEDOUT, at once and from then on, in the owner, in its tasks, and in the scopes opened below it. A
// call that need not wait (a send with room, a free lock) succeeds as ever: a loop of those asks tare_cancelled. Calls
// without an error to return wait on: tare_join, tare_scope_join, and those of <tare/sync.h> without a deadline.
// Whether an -ETIMEDOUT is the call's own deadline or the scope's, tare_cancelled tells.
//
//   struct tare_scope scope;
//   int rc = tare_scope_open(&scope, tare_now_ns() + TARE_NS_PER_S, 0);
//   if (rc < 0)
//           return rc;
//   rc = tare_scope_go(&scope, fetch, &left);
//   if (rc == 0)
//           rc = tare_scope_go(&scope, fetch, &right);
//   if (rc < 0)
//           tare_scope_cancel(&scope);
//   int result = tare_scope_join(&scope);
//   return rc < 0 ? rc : result;
//
// Scopes nest: the one opened last is ended first, by the task that opened it, before that task returns (asserted).
enum {
	TARE_SCOPE_FAIL_FAST = 1, // a task that ends with a negative result cancels the scope
	TARE_SCOPE_SHIELD = 2,    // what cancels the scope around it does not reach in: for cleaning up
};
enum { TARE_SCOPE_DEPTH_MAX = 200 };

// The owner's storage, as a rule on its stack. All private.
struct tare_scope {
	struct tare_spin spin; // guards what follows, but for `reason`, which is read without it
	_Atomic(int) reason;   // 0, -ECANCELED or -ETIMEDOUT
	unsigned flags, depth;
	int64_t deadline_ns; // the earliest of its own and those around it
	struct tare_scope *parent;
	struct tare_task *owner;
	struct tare_list in_parent; // link in the parent's scopes
	struct tare_list scopes;    // opened by its tasks or its owner while it was innermost
	struct tare_list tasks;     // started in it and not yet ended
	uint64_t task_count;
	int result; // the first negative one among its tasks
	struct tare_waiter *joiner;
	struct tare_timer timer;
};

// Opens a scope below the task's innermost one. Without a deadline: TARE_NEVER (0 is long past). -ENOMEM (only with a
// deadline), -E2BIG: TARE_SCOPE_DEPTH_MAX.
TARE_MUST_USE int tare_scope_open(struct tare_scope *scope, int64_t deadline_ns, unsigned flags);
// Starts a task in the scope; from any task while the owner has not yet joined it. As tare_go_with.
TARE_MUST_USE int tare_scope_go(struct tare_scope *scope, tare_task_fn *fn, void *arg);
// Cancels what is in the scope; once is enough. From any task or thread while the scope is open.
void tare_scope_cancel(struct tare_scope *scope);
// Waits until every task of the scope has ended, and ends the scope. The first negative result of its tasks, or 0: what
// the owner itself met, a deadline too, is not in it. Not cancelled: it returns when its tasks do.
int tare_scope_join(struct tare_scope *scope);
// Cancels, then joins: for leaving early.
int tare_scope_close(struct tare_scope *scope);
// 0, or why blocking calls would fail just now: -ECANCELED or -ETIMEDOUT. For tasks that compute, and for loops whose
// calls never have to wait. Reads the clock only where there is a deadline.
int tare_cancelled(void);

// ---- metrics ------------------------------------------------------------------------------------------------------

struct tare_rt_stats {
	uint64_t tasks_started, tasks_live, switches, steals, polls, poll_events, wakes, timers_fired;
	uint64_t stacks_made;          // slots cut from the arena so far
	uint64_t stacks_live;          // under a task
	uint64_t stacks_cached;        // made, and waiting for one
	uint64_t stacks_trimmed_bytes; // of stacks, ever given back to the system, touched or not
	uint64_t tasks_slow;           // that ran past the watchdog's limit, reported or not
	// System calls of descriptors by the workers, polls apart; with io_uring, those that its ring did not make
	// needless.
	uint64_t recvs, sends, accepts, registers;
	uint64_t bytes_read, bytes_written; // copied in and out by them, or by the ring
	uint64_t rescues;                   // times a worker looked after what another one's slow task held up
	int workers;
	uint32_t spare_threads; // of tare_block, just now
	const char *io;         // "epoll", "uring", "simulation"
	bool io_fell_back;      // io_uring was asked for and is not to be had
};
// From any thread while the runtime runs. No two numbers are of the same instant.
void tare_rt_stats_read(struct tare_rt_stats *ret);

// What a histogram takes that is filled below, beside the digits its largest value.
enum { TARE_RT_HIST_DIGITS = 2 };
#define TARE_RT_RUNNABLE_NS_MAX UINT64_C(60000000000)
#define TARE_RT_BATCH_MAX 4096
// How long tasks were runnable before they ran, in nanoseconds, since tare_run: of one in 256 of the times that a task
// became runnable, chosen at random, so times 256 for how often. From when the poller, the timer or another task woke
// it; how long an event waited in the kernel for the poller is not in it.
// Adds it to `into`, which was made with TARE_RT_HIST_DIGITS and TARE_RT_RUNNABLE_NS_MAX. From any thread while the
// runtime runs; such as tare_registry_hist calls, and then with a scale of 1e-9.
void tare_rt_runnable_fill(void *unused, struct tare_hist *into);
// Events a poll, of those that brought any: adds them to `into`, made with TARE_RT_BATCH_MAX. Otherwise the same.
void tare_rt_batches_fill(void *unused, struct tare_hist *into);

// ---- seeing what runs ---------------------------------------------------------------------------------------------

// From tasks, and from plain threads while the runtime surely runs. Nothing is stopped for these: each task is shown as
// it was at some moment, no two at the same (src/rt/dump.c says what may be torn). Cost: a look at each task that ever
// lived at one time.

enum { TARE_REASONS_MAX = 32 };
struct tare_task_counts {
	uint64_t running, runnable;
	uint64_t done;                     // ended and not yet joined
	uint64_t parked[TARE_REASONS_MAX]; // by what they wait for
};
void tare_task_counts_read(struct tare_task_counts *ret);
// The index of `parked` as a word ("sleep", "read" …); NULL past the last.
const char *tare_reason_name(unsigned reason);

// Every task: name, id, what it does or waits for and since when, who started it, and its backtrace unless it is
// running. At most tasks_max of them, then how many more. Allocates, and reads the symbols of the program's files.
void tare_tasks_write(struct tare_text *text, uint64_t tasks_max);
// The same for all tasks, into a descriptor. 0, or what a write failed with. Blocks the thread.
TARE_MUST_USE int tare_dump_tasks(int fd);

// A task's function, for a program that wants a memory limit (<tare/limit.h>), or what a spike left to go back to the
// system: looks now and then, lets pools age each second, has memory given back on a spare thread, and ends when its
// scope is cancelled. One is enough.
int tare_memory_keeper(void *arg);

// The scheduler's trace: the last 16,384 events of each worker (a task runs, stops and why; steals, polls, wakes), off
// until started. On, a switch costs some 100 ns more. From tasks, and from plain threads while the runtime surely runs.
// -ENOMEM: 640 KiB a worker, kept until the runtime ends.
TARE_MUST_USE int tare_trace_start(void);
void tare_trace_stop(void);
// Adds, from a task, something of the program's own that began then and ends now, to a track of its own below the
// workers'. Nothing while tracing is off. name: static storage.
void tare_trace_span(const char *name, int64_t since_ns);
// The trace as JSON that chrome://tracing and ui.perfetto.dev open, whether it is still on or not. Allocates nothing.
void tare_trace_write(struct tare_text *text);
// The same into a descriptor. 0, or what a write failed with. Blocks the thread.
TARE_MUST_USE int tare_trace_dump(int fd);

#endif
