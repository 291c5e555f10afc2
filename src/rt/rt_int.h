// SPDX-License-Identifier: MIT
//
// What the runtime's files share.
//
//   runtime.c   start and stop; the one struct rt_runtime
//   sched.c     workers: run queues, stealing, parking and waking of workers, the loop
//   task.c      tasks: spawn, join, yield, the switch in and out
//   switch.h    the way out of a task and back in, inline
//   wait.c      waiting: waking, deadlines, cancellation; sleep
//   scope.c     scopes
//   chan.c      channels and select
//   stack.c     reserved stacks with guards, warm caches
//   timer.c     a heap of timers a worker
//   fd.c        descriptors that tasks wait for
//   epoll.c     the backend on a real kernel: clock and poller
//   uring.c     another, on io_uring; uring_fd.c its descriptors, uring_care.c while their worker is stuck
//   sock.c      the kernel's sockets
//   sim.c       a backend that is a simulation: one thread, a virtual clock, a seed (MODE=sim)
//   sim_net.c   its network
//   sync.c      mutex, read-write lock, condition, semaphore, once, wait group, event
//   block.c     spare threads for calls that block; file.c, file I/O on them
//   signal.c    signals as messages
//   child.c     other programs
//   crash.c     the report of an overflowed stack
//   backtrace.c, symbol.c   where a task is, and the names of code
//   dump.c      the list of all tasks; where reports go
//   deadlock.c  tells that nothing can wake anybody any more
//   trace.c     what each worker did last, for a viewer
//   latency.c   how long tasks wait to run, and how many events a poll brings
//   tally.c     stacks counted, also in a signal handler
//   cpu.c       the profile of where threads spend their time; waits.c, of where tasks wait
//   unwind.c    backtraces from anywhere, for cpu.c
//   lines.c     source files and lines of code; profile.c, profiles as files
//   collect.c   safepoints and the scanning of stacks, for a collector
//   monitor.c   a thread that watches the workers: slow tasks are reported, and what they hold up is looked after
//
// Lock order: a timer heap's lock, then scopes' (outer before inner), then a primitive's or descriptor's spinlock, then
// the scheduler's. Nothing else nests.
#ifndef TARE_RT_INT_H
#define TARE_RT_INT_H

#include "base/probe.h"

#include <tare/base.h>
#include <tare/fd.h>
#include <tare/heap.h>
#include <tare/pool.h>
#include <tare/rt.h>
#include <tare/stat.h>
#include <tare/sync.h>

#include <pthread.h>
#include <sys/uio.h>
#include <ucontext.h>

struct rt_worker;
struct rt_poller;

// Bugs that the simulation must catch: see base/sim.h.
#ifdef TARE_SIM
#define RT_FAULT(name) ((tare_sim_faults & TARE_FAULT_##name) != 0)
#else
#define RT_FAULT(name) false
#endif

// ---- stacks (stack.c) ---------------------------------------------------------------------------------------------

// Lowest usable byte and usable length; the guard lies below base.
struct rt_stack {
	char *base;
	size_t bytes;
};

#ifdef TARE_HARD // tiny, so that each way over an edge is gone often
enum { RT_STACK_CACHE = 2 };
#else
enum { RT_STACK_CACHE = 32 };
#endif

struct rt_stack_cache {
	// The base of one more, the last given, for the owner alone: written by it, read by anyone. NULL: there is
	// none.
	_Atomic(char *) spare;
	struct tare_spin spin; // guards the rest; contended only while a worker is starved of stacks
	unsigned count;
	unsigned given; // the owner's
	struct rt_stack stacks[RT_STACK_CACHE];
};

TARE_MUST_USE int rt_stacks_init(size_t stack_bytes, uint32_t stacks_max, struct tare_error *err);
void rt_stacks_done(void);
uint64_t rt_stacks_made(void);
uint64_t rt_stacks_cached(void);
uint64_t rt_stacks_trimmed_bytes(void);
// A warm stack if there is one. -ENOMEM: none can be had.
TARE_MUST_USE int rt_stack_take(struct rt_worker *worker, size_t bytes, struct rt_stack *ret);
// True: where others may take it too.
bool rt_stack_give(struct rt_worker *worker, struct rt_stack *stack);
// Puts the calling worker's spare stack where others may take it. False: it has none.
bool rt_stack_share(struct rt_worker *worker);
// How many stacks in the depot keep their pages while memory is not short.
enum { RT_WARM_STACKS = 256 };
// Gives back the pages of at most so many stacks of the depot, those unused the longest first, and leaves `keep` of
// them theirs. False: there is nothing left to do.
bool rt_stacks_trim(unsigned count, unsigned keep);

// ---- tasks (task.c) -----------------------------------------------------------------------------------------------

//            tare_spawn            sched_run             task_main ends
//   (pool) ------------> RUNNABLE ----------> RUNNING -----------------> DONE --> (pool)
//                           ^                   |                            when joined, or at once if nobody will
//                           |   rt_ready        | rt_park, tare_yield
//                           +------ PARKED <----+
enum rt_task_state { RT_FREE = 0, RT_RUNNABLE, RT_RUNNING, RT_PARKED, RT_DONE };

// What a parked task waits for.
enum rt_reason {
	RT_YIELD,
	RT_SLEEP,
	RT_JOIN,
	RT_SCOPE,
	RT_MUTEX,
	RT_RWLOCK,
	RT_COND,
	RT_SEM,
	RT_WG,
	RT_EVENT,
	RT_CHAN_SEND,
	RT_CHAN_RECV,
	RT_SELECT,
	RT_READ,
	RT_WRITE,
	RT_BLOCK,
	RT_REASONS,
};

// What of a task is shown to a collector (collect.c): its argument until its function is called.
enum rt_scan { RT_SCAN_ARGUMENT, RT_SCAN_STACK, RT_SCAN_NOTHING };

struct tare_task {
	void *sp; // where it stopped; owned by whoever runs it next
	struct rt_stack stack;
	struct tare_task *next; // link of the queue that holds it
	tare_task_fn *fn;
	void *arg;
	const char *name;
	uint64_t id;
	struct rt_worker *pinned; // NULL: any
	size_t stack_bytes;       // as asked for; 0: the runtime's
	int result;
	int saved_errno;
	atomic_uint scanned; // see collect.c
	bool joinable : 1;
	bool lendable : 1;             // pinned, but others may run it while that worker is stuck
	uint8_t scan;                  // enum rt_scan
	uint8_t reason;                // enum rt_reason, while parked
	_Atomic(uint8_t) state;        // enum rt_task_state; for dumps and asserts
	int64_t parked_ns;             // when it parked, to the worker's last poll
	int64_t runnable_ns;           // since when it waits to run; 0: nobody asked (latency.c)
	void *started_at;              // the caller of tare_go and the like
	struct tare_scope *scope;      // innermost; written by the task itself, NULL: none
	struct tare_scope *member_of;  // the scope it was started in; NULL: none
	struct tare_list in_scope;     // link in it; guarded by its lock
	_Atomic(uintptr_t) wait;       // what a cancel looks at: see wait.c
	_Atomic(uintptr_t) join_state; // 0, RT_JOIN_DONE, or the joiner's struct tare_waiter
#ifdef TARE_ASAN
	void *fake_stack;
#endif
#ifdef TARE_TSAN
	void *fiber;
#endif
};

// Who waits, and for what. Lives on the waiter's stack until the wait is over; wait.c has its rules.
struct tare_waiter {
	// Set by the primitive. commit publishes the waiter and returns true, or finds the wait needless and returns
	// false. leave takes it back, for a deadline or a cancel, and returns true, or false because a waker has it
	// already (not needed for a wait that has neither).
	bool (*commit)(struct tare_waiter *waiter);
	bool (*leave)(struct tare_waiter *waiter);
	void *where, *also; // the primitive
	uint64_t wants;     // for the primitive's own use
	bool deaf;          // not cancelled

	// Set by rt_wait.
	struct tare_task *task;   // NULL: a plain thread
	struct tare_scope *scope; // whose cancelling ends the wait; NULL: none
	int rc;                   // why the wait ended; written by whoever took the waiter
	_Atomic(uint32_t) woken;  // a plain thread's futex; a sleeper's state
	struct tare_waiter *next; // of the primitive's queue
	struct tare_timer timer;
};

// Waits with a deadline, in a scope, or as a plain thread: see rt_wait in switch.h, which is what primitives call.
TARE_MUST_USE int rt_wait_with(struct tare_waiter *waiter, enum rt_reason reason, int64_t deadline_ns);
// What the worker's loop calls for a waiter in a scope in place of its commit.
TARE_MUST_USE bool rt_commit_cancellable(struct tare_waiter *waiter);
// Wakes a waiter that the caller has taken (rt_wake, below), one that is a plain thread.
void rt_wake_thread(struct tare_waiter *waiter);
// Ends the wait of a task whose scope has a reason, if it can be ended. Under the scope's lock.
void rt_task_cancel(struct tare_task *task);

// Sleeps until rt_futex_wake, until the deadline, or not at all where *word is another than wanted. Also returns for
// nothing: the caller looks again. In a simulation wanted is 0.
void rt_futex_wait(_Atomic(uint32_t) *word, uint32_t wanted, int64_t deadline_ns);
// Wakes all that sleep there. The word may be gone already.
void rt_futex_wake(_Atomic(uint32_t) *word);

void rt_waiters_push(struct tare_waiters *queue, struct tare_waiter *waiter);
struct tare_waiter *rt_waiters_pop(struct tare_waiters *queue);
// O(waiters): a deadline that passes is the rare case.
bool rt_waiters_remove(struct tare_waiters *queue, struct tare_waiter *wanted);
// Wakes waiters that the caller has taken, linked by next.
void rt_waiters_wake_all(struct tare_waiter *first);

// The worker whose thread this is, NULL on any other. Never inlined: the answer changes when a task moves.
struct rt_worker *rt_self(void);
void rt_self_set(struct rt_worker *worker);

// For rt_ready: on a worker, which is the calling one; and on a plain thread.
void rt_ready_here(struct rt_worker *worker, struct tare_task *task, bool hot);
void rt_ready_foreign(struct tare_task *task);
// Makes a parked task, or a new one, runnable: in the calling worker's queue (or the pinned one's), and wakes somebody
// if that helps. From any thread. hot: see rt_wake.
static inline void rt_ready(struct tare_task *task, bool hot)
{
	struct rt_worker *w = rt_self();
	if (TARE_LIKELY(w != NULL))
		rt_ready_here(w, task, hot);
	else
		rt_ready_foreign(task);
}
// Wakes a waiter that the caller has taken. hot: run it next here, it uses what the caller just touched.
static inline void rt_wake(struct tare_waiter *waiter, bool hot)
{
	if (TARE_LIKELY(waiter->task != NULL))
		rt_ready(waiter->task, hot);
	else
		rt_wake_thread(waiter);
}

// What tare_spawn does; caller: the address it was called from, for dumps.
TARE_MUST_USE int rt_spawn(struct tare_task **ret, const struct tare_task_options *options, tare_task_fn *fn, void *arg,
			   void *caller);

// Puts a new task into the scope and makes the scope its innermost. 0, or the scope's reason: it is cancelled.
TARE_MUST_USE int rt_scope_enter(struct tare_scope *scope, struct tare_task *task);
// The task has ended. The scope may be gone when this returns.
void rt_scope_leave(struct tare_scope *scope, struct tare_task *task, int result);

// The task is over and off its stack: hands its result to the joiner, or frees it. Not to be touched afterwards.
void rt_task_end(struct rt_worker *worker, struct tare_task *task);

// ---- context switch (switch_*.S) ----------------------------------------------------------------------------------

// Saves the callee-saved registers and the stack pointer, loads the other context, and leaves by an indirect jump: a
// `ret` into a stack that the return predictor has not seen costs three times as much. The FP control words are not
// switched.
void rt_switch(void **save_sp, void *load_sp);
// First instruction of a new context: calls its function.
void rt_context_entry(void);
// Lays out a new stack so that rt_switch into the result calls entry(arg), which must not return.
void *rt_context_init(struct rt_stack *stack, void (*entry)(void *arg), void *arg);
TARE_NORETURN void rt_task_main(void *task);

// ---- timers (timer.c) ---------------------------------------------------------------------------------------------

struct rt_timers {
	struct tare_spin spin; // guards the rest
	struct rt_timer_entry {
		int64_t when_ns;
		struct tare_timer *timer;
	} * heap;
	size_t count, capacity;
	_Atomic(int64_t) first_ns; // of the root, TARE_NEVER when empty: read without the lock
	struct rt_worker *worker;
};

// -ENOMEM.
TARE_MUST_USE int rt_timers_init(struct rt_timers *timers, struct rt_worker *worker);
void rt_timers_done(struct rt_timers *timers);
// Runs what is due. The number run.
unsigned rt_timers_run(struct rt_timers *timers, int64_t now_ns);

// ---- backend ------------------------------------------------------------------------------------------------------

// The seam: everything the runtime asks of the outside world while it runs. epoll.c and uring.c are the kernel's; a
// simulation is another.
struct rt_backend {
	const char *name;
	int64_t (*now_ns)(void);
	TARE_MUST_USE int (*poller_new)(struct rt_poller **ret);
	void (*poller_free)(struct rt_poller *poller);
	// By the owner. Waits until an event, a wake, or the deadline (0: do not wait), calls rt_sleep_end for the
	// owner, and only then delivers events through rt_fd_event. Events delivered.
	unsigned (*poll)(struct rt_poller *poller, int64_t deadline_ns);
	// Ends a poll from another thread; kept when none is under way.
	void (*wake)(struct rt_poller *poller);
	// For the owner's sake, while it is stuck: delivers, on the calling worker, what a poll without waiting would,
	// and leaves wakes to the owner. From another worker, also while the owner polls. NULL: it can't be done.
	unsigned (*rescue)(struct rt_poller *poller);
	// A descriptor that poll(2) finds readable when a rescue would find something. With rescue.
	// While the owner is stuck, and by one thread. -1: there is none just now.
	int (*ready_fd)(struct rt_poller *poller);
	// By the same, when the owner goes on: ends what ready_fd began. NULL: nothing.
	void (*at_ease)(struct rt_poller *poller);
	TARE_MUST_USE int (*fd_add)(struct rt_poller *poller, struct tare_fd *fd);
	void (*fd_close)(struct rt_poller *poller, struct tare_fd *fd);
	void (*want_room)(struct tare_fd *fd); // before a wait for writing; NULL: events come unasked
	void (*settle)(struct tare_fd *fd);    // NULL: recv sees at once what the kernel has
	// Sockets: see the functions of <tare/fd.h> that these stand behind.
	ssize_t (*recv)(struct tare_fd *fd, void *buf, size_t len);
	ssize_t (*send)(struct tare_fd *fd, const void *buf, size_t len);
	ssize_t (*sendv)(struct tare_fd *fd, const struct iovec *iov, size_t count);
	int (*accept)(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len);
	int (*listen)(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step);
	int (*dial)(const struct sockaddr *addr, socklen_t len);
	int (*dial_result)(struct tare_fd *fd);
	int (*pair)(int ret[2]);
	void (*shutdown)(struct tare_fd *fd, int how);
	void (*turn_away)(struct tare_fd *fd);
	void (*dismiss)(int os_fd, const void *last_words, size_t len);
};

extern const struct rt_backend rt_backend_epoll, rt_backend_uring;
// Whether this kernel lets us have a ring of the kind that the backend needs. Costs one.
bool rt_uring_works(void);

// The kernel's sockets (sock.c).
// Wakes who polls it. Never blocks.
void rt_eventfd_raise(int fd);
ssize_t rt_sock_recv(struct tare_fd *fd, void *buf, size_t len);
ssize_t rt_sock_send(struct tare_fd *fd, const void *buf, size_t len);
ssize_t rt_sock_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count);
int rt_sock_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len);
int rt_sock_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step);
int rt_sock_dial(const struct sockaddr *addr, socklen_t len);
int rt_sock_dial_result(struct tare_fd *fd);
int rt_sock_pair(int ret[2]);
void rt_sock_shutdown(struct tare_fd *fd, int how);
void rt_sock_turn_away(struct tare_fd *fd);
void rt_sock_dismiss(int os_fd, const void *last_words, size_t len);

// A descriptor of the runtime's own, registered, in storage that lasts (rt.fds). Takes os_fd, also when it fails.
TARE_MUST_USE int rt_fd_new(struct tare_fd **ret, int os_fd);
void rt_fd_free(struct tare_fd *fd); // NULL is fine

// An event for a side of a descriptor; from the poller, on a worker's own stack.
void rt_fd_event(struct tare_fd *fd, int side);

// ---- workers and the scheduler (sched.c) --------------------------------------------------------------------------

#ifdef TARE_HARD
enum { RT_RING = 4, RT_GLOBAL_TICKS = 61, RT_SLICE_NS = 100000 };
#else
enum { RT_RING = 256, RT_GLOBAL_TICKS = 61, RT_SLICE_NS = 100000 };
#endif

struct rt_queue {
	struct tare_spin spin; // guards first, last
	struct tare_task *first, *last;
	atomic_uint count; // read without the lock as a hint
};

// System calls that are counted; polls are counted apart.
enum rt_call { RT_CALL_RECV, RT_CALL_SEND, RT_CALL_ACCEPT, RT_CALL_REGISTER, RT_CALLS };

struct rt_worker {
	int idx;
	unsigned stamp_in; // so many more tasks, and one is stamped: see latency.c
	pthread_t thread;
	void *sched_sp; // of the worker's own stack while a task runs
	struct tare_task *current;
	unsigned look_in;          // tasks until the next look at the poller and the global queue
	unsigned stride, unpolled; // so many lay between the last two; tasks since the last poll
	unsigned next_streak;
	int64_t now_ns;             // when the poller last returned
	bool spinning;              // looks for work; counted in rt.spinning
	bool pinned_turn;           // its pinned tasks were looked at first the last time
	atomic_uint handshakes;     // the last one that it passed
	int *errno_at;              // this thread's errno: kept a task
	struct tare_waiter *waiter; // of the task that just parked; NULL: it yields
	struct tare_rng rng;
	uint64_t task_ids; // how many it has given out
	struct rt_poller *poller;
	struct rt_stack_cache stacks;
	struct tare_rng stamp_rng;
	struct tare_hist *waits, *batches; // latency.c
	void *signal_stack;
#ifdef TARE_ASAN
	void *fake_stack;
	const void *thread_stack;
	size_t thread_stack_bytes;
#endif
#ifdef TARE_TSAN
	void *fiber;
#endif
	// Written by the owner, read by all: relaxed.
	atomic_ullong switches, steals, polls, poll_events, timers_fired, wakes;
	atomic_ullong tasks_started, tasks_ended, stacks_taken, stacks_given;
	atomic_ullong fds_opened, fds_closed, rescues;
	atomic_ullong calls[RT_CALLS], bytes_read, bytes_written;
	atomic_ullong naps;               // odd: it sleeps without a deadline (deadlock.c)
	_Atomic(struct rt_trace *) trace; // its ring, once there is one
	atomic_bool want_rescue;          // set by the monitor, taken by whoever does it
	atomic_int tid;                   // of its thread, 0 before it runs

	// The run queue. The owner pushes at tail; the owner and thieves take at head by compare-and-swap.
	alignas(TARE_CACHE_LINE) atomic_uint head;
	atomic_uint tail; // released by the owner after the slot is written; acquired by thieves
	_Atomic(struct tare_task *) next;
	_Atomic(struct tare_task *) ring[RT_RING];

	alignas(TARE_CACHE_LINE) struct rt_queue pinned; // from any worker, for this one
	struct rt_timers timers;
	struct rt_worker *idle_next; // guarded by rt.idle_spin
};

struct rt_runtime {
	const struct rt_backend *backend;
	bool io_fell_back; // io_uring was asked for and is not to be had
	struct rt_worker *workers;
	int worker_count;
	struct tare_pool *tasks;
	struct tare_pool *fds;                                       // struct tare_fd of signals and children
	atomic_ullong foreign_started, foreign_ended, foreign_wakes; // tasks and wakes, by plain threads
	atomic_ullong foreign_ids;                                   // see task_id_next in task.c
	atomic_ullong foreign_enqueues;                              // see rt_stamp_foreign
	struct tare_task *main_task;
	struct rt_queue global;
	atomic_int visitors; // plain threads that are enqueueing: the workers must not go while there are any
	atomic_bool stopping;
	atomic_bool running;
	int result;

	struct tare_spin idle_spin;
	struct rt_worker *idle; // guarded by idle_spin
	atomic_int idle_count;  // of the list; read without the lock
	atomic_int spinning;

	struct rt_queue starved; // tasks that found no stack; see sched.c

	atomic_uint watched;  // enum rt_watch: what a switch is looked at for
	atomic_bool rescue;   // some worker has want_rescue set
	atomic_ullong slow;   // tasks that ran past the watchdog's limit
	atomic_bool deadlock; // found; tare_run says so
	int64_t watchdog_ns;  // and what follows: of tare_run's options
	void (*report)(void *arg, const char *text, size_t len);
	void *report_arg;
};

extern struct rt_runtime rt;

void rt_worker_loop(struct rt_worker *worker);
void rt_wake_all(void);
// Whether a worker's own queue holds something that others may run while it is stuck; and moves all of that to `to`,
// which is the caller's.
bool rt_has_lendable(struct rt_worker *stuck);
void rt_lend(struct rt_worker *stuck, struct rt_worker *to);
// Wakes an idle worker if there is one and none is looking for work already. From any thread.
void rt_wake_idle(void);
// Below n, from the worker's generator (a plain thread has its own).
unsigned rt_random_below(unsigned n);

// What gives memory back, from when there are workers until after the last task (keeper.c). The end waits for a
// reclaim.
void rt_keeper_begin(void);
void rt_keeper_end(void);

// ---- spare threads and children (block.c, child.c) ----------------------------------------------------------------

void rt_block_begin(const struct tare_rt_options *options);
// After the last task has run, while wakes are still taken.
void rt_block_stop(void);
uint32_t rt_block_threads(void);
// After rt_block_stop (child.c).
void rt_children_stop(void);

// ---- simulation (sim.c, sim_net.c) --------------------------------------------------------------------------------

#ifdef TARE_SIM
extern const struct rt_backend rt_backend_sim;

// For tests. The next tare_run's seed; without it TARE_SIM_SEED's, or 1.
void rt_sim_seed(uint64_t seed);
// " (seed 7, step 1234)", for messages.
const char *rt_sim_where(void);
unsigned rt_sim_thread_start(void *(*fn)(void *arg), void *arg);
// Stores so that the others may see it late: at the caller's next read-modify-write, or some while after. One at a
// time; the caller does not read it back meanwhile.
void rt_sim_store_late(_Atomic(long) *to, long value);
void rt_sim_thread_join(unsigned thread);
// As rt_sim_thread_start, but -EAGAIN when there are too many.
TARE_MUST_USE int rt_sim_thread_try(void *(*fn)(void *arg), void *arg, unsigned *ret_thread);
// For tests. Whether the next spare thread can't be started; NULL: never.
extern bool (*rt_sim_thread_refused)(void);
// What the network does to those who use it.
struct rt_sim_net {
	int64_t delay_max_ns;     // of a segment, on its way
	unsigned loss_per_mille;  // segments that arrive only when repeated
	unsigned reset_per_mille; // reads that find the connection reset
};
void rt_sim_net_set(const struct rt_sim_net *wanted);
// Nothing arrives before that.
void rt_sim_net_partition(int64_t until_ns);

// For the runtime and between the two files.
void rt_sim_begin(void);
void rt_sim_run_workers(void);
uint64_t rt_sim_random_below(uint64_t n);
int64_t rt_sim_now_ns(void);
void rt_sim_net_done(void);
unsigned rt_sim_net_deliver(struct rt_poller *poller);
int64_t rt_sim_net_next_ns(const struct rt_poller *poller);
int rt_sim_fd_add(struct rt_poller *poller, struct tare_fd *fd);
void rt_sim_fd_close(struct rt_poller *poller, struct tare_fd *fd);
ssize_t rt_sim_recv(struct tare_fd *fd, void *buf, size_t len);
ssize_t rt_sim_send(struct tare_fd *fd, const void *buf, size_t len);
ssize_t rt_sim_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count);
int rt_sim_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len);
int rt_sim_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step);
int rt_sim_dial(const struct sockaddr *addr, socklen_t len);
int rt_sim_dial_result(struct tare_fd *fd);
int rt_sim_pair(int ret[2]);
void rt_sim_shutdown(struct tare_fd *fd, int how);
void rt_sim_turn_away(struct tare_fd *fd);
void rt_sim_dismiss(int os_fd, const void *last_words, size_t len);
#endif

// ---- crash report (crash.c) ---------------------------------------------------------------------------------------

TARE_MUST_USE int rt_crash_init(void);
void rt_crash_done(void);
TARE_MUST_USE int rt_crash_worker_init(struct rt_worker *worker);
void rt_crash_worker_done(struct rt_worker *worker);

// ---- seeing what runs (backtrace.c, symbol.c, dump.c, deadlock.c, monitor.c) --------------------------------------

enum { RT_FRAMES_MAX = 48, RT_SYMBOL_BYTES = 320 };

// Return addresses, the innermost first; how many. The running task's, from a signal handler on its thread.
int rt_backtrace_own(const struct rt_stack *stack, const ucontext_t *context, uintptr_t ret[RT_FRAMES_MAX]);
uintptr_t rt_context_sp(const ucontext_t *context);
// A word of a stack, also where a sanitizer sees a place between variables: code without frame pointers leaves anything
// in their register.
uintptr_t rt_stack_word(uintptr_t address);
// From the registers, in the stack between sp and high; for a stack of any kind, and through libraries too, which keep
// no frame pointers on x86-64 (unwind.c). Only once it was prepared.
int rt_unwind(const ucontext_t *context, uintptr_t high, uintptr_t ret[RT_FRAMES_MAX]);
void rt_unwind_prepare(void); // while no handler can run
// Those of a task that is stopped and stays so while the caller looks: plain reads.
int rt_backtrace_held(const struct rt_stack *stack, const void *sp, uintptr_t ret[RT_FRAMES_MAX]);
// Those of a task that is not running, as far as they can be read: it may begin to run at any time.
int rt_backtrace_stopped(const struct rt_stack *stack, const void *sp, uintptr_t ret[RT_FRAMES_MAX]);

struct rt_symbols;
TARE_MUST_USE int rt_symbols_new(struct rt_symbols **ret);
void rt_symbols_free(struct rt_symbols *symbols);
// call: pc is what a call returns to.
void rt_symbol_format(struct rt_symbols *symbols, uintptr_t pc, bool call, char out[RT_SYMBOL_BYTES]);
// The function alone, NULL: not known. Lives as long as symbols.
const char *rt_symbol_name(struct rt_symbols *symbols, uintptr_t pc);
// Whether it is in a function of the runtime's, rt_…: how tasks are parked and started is the same for all of them.
bool rt_symbol_is_own(struct rt_symbols *symbols, uintptr_t pc);
// Whether it lies in a loaded file.
bool rt_symbol_is_code(struct rt_symbols *symbols, uintptr_t pc);
// A line a frame, without the runtime's own innermost ones. exact: the first is no return address.
void rt_frames_write(struct tare_text *text, struct rt_symbols *symbols, const uintptr_t *frames, int count,
		     bool exact);

// The task that a worker runs just now, seen from any thread: gone by when the caller looks at it, but its storage
// stays.
struct tare_task *rt_worker_current(const struct rt_worker *worker);
void rt_task_peek(const struct tare_task *task, uint64_t *ret_id, const char **ret_name);

// Text gathered into pieces. What is said unasked goes to the program's hook, or to standard error.
struct rt_report {
	struct tare_text text;
	int fd; // -1: the hook
	size_t len;
	char buf[4096];
};
void rt_report_begin(struct rt_report *report);
void rt_report_begin_fd(struct rt_report *report, int fd);
// 0, or what a write failed with; the hook never fails.
int rt_report_end(struct rt_report *report);

// Around a worker's sleep without a deadline: it begins in the scheduler and ends in the backend's poll, before any
// event is delivered. Without a beginning the end does nothing.
void rt_sleep_begin(struct rt_worker *worker);
static inline void rt_sleep_end(struct rt_worker *worker)
{
#ifdef TARE_SIM
	(void)worker;
#else
	uint64_t naps = atomic_load_explicit(&worker->naps, memory_order_relaxed);
	// Sequentially consistent: before what the worker does next, see deadlock.c.
	if (naps % 2 == 1)
		atomic_store(&worker->naps, naps + 1);
#endif
}

// What is looked at at each switch; together, so that all that is off costs one load.
enum rt_watch {
	RT_WATCH_TRACE = 1,     // then every worker has a ring
	RT_WATCH_WAITS = 2,     // waits.c
	RT_WATCH_SAFEPOINT = 4, // collect.c, as the next
	RT_WATCH_SCAN = 8,
};
static inline unsigned rt_watched(void)
{
#ifdef TARE_SIM
	return *(const volatile unsigned *)&rt.watched; // what is off shall not change what a seed does
#else
	return atomic_load_explicit(&rt.watched, memory_order_acquire); // pairs with the release of who sets it
#endif
}

// Only while rt_tracing, and each for the calling worker. A poll's time covers what its events started.
static inline bool rt_tracing(void)
{
	return (rt_watched() & RT_WATCH_TRACE) != 0;
}
void rt_trace_run(struct rt_worker *worker, const struct tare_task *task);
void rt_trace_stop(struct rt_worker *worker, const struct tare_task *task);
void rt_trace_poll(struct rt_worker *worker, int64_t since_ns, unsigned events);
void rt_trace_steal(struct rt_worker *worker);
void rt_trace_wake(struct rt_worker *worker);
void rt_trace_done(struct rt_worker *worker);

// collect.c. By a worker that runs the task next, NULL: none.
void rt_safepoint(struct rt_worker *worker, struct tare_task *task);
// Whether there is a handshake that it has not passed.
bool rt_handshake_pending(const struct rt_worker *worker);
void rt_collect_begin(void);
// A task is started.
void rt_scan_started(struct tare_task *task);

// latency.c. The seed decides which tasks are stamped.
TARE_MUST_USE int rt_latency_init(struct rt_worker *worker, uint64_t seed);
void rt_latency_done(struct rt_worker *worker);
// The task becomes runnable: stamps it, and says when the worker stamps the next.
void rt_stamp(struct rt_worker *worker, struct tare_task *task);
// The same from a plain thread, which counts anew.
void rt_stamp_foreign(struct tare_task *task);
// The worker is about to run a task with a stamp.
void rt_stamp_take(struct rt_worker *worker, struct tare_task *task);
// ---- profiles (tally.c, cpu.c, waits.c, lines.c, profile.c) -------------------------------------------------------

// Stacks that were seen, each with two sums. One thread writes, or one signal handler; others read when it is done.
struct rt_tally {
	char *map; // NULL: none
	size_t used;
	double lost[2]; // for which there was no room
};
struct rt_stack_seen {
	uint64_t hash;
	const char *label; // static storage; NULL: none
	double values[2];
	uint32_t kind, count; // frames
	uintptr_t frames[];
};
TARE_MUST_USE int rt_tally_init(struct rt_tally *tally);
void rt_tally_done(struct rt_tally *tally);
// Signal-safe.
void rt_tally_add(struct rt_tally *tally, const uintptr_t *frames, int count, uint32_t kind, const char *label,
		  const double values[2]);
// The stack after that one, the first after NULL; NULL: there is none.
const struct rt_stack_seen *rt_tally_next(const struct rt_tally *tally, const struct rt_stack_seen *after);

// What one thread notes for a profile. busy is held while it does, so that an end can wait for it.
struct rt_noter {
	atomic_bool on, busy;
	struct rt_tally tally;
};
// False: it is off, or somebody is in it.
static inline bool rt_noter_enter(struct rt_noter *noter)
{
	if (atomic_exchange(&noter->busy, true))
		return false;
	if (atomic_load(&noter->on)) // after busy: see rt_noter_end
		return true;
	atomic_store(&noter->busy, false);
	return false;
}
static inline void rt_noter_leave(struct rt_noter *noter)
{
	atomic_store(&noter->busy, false);
}
// Off, and nobody is in it any more.
void rt_noter_end(struct rt_noter *noter);

// Threads other than workers that the CPU profile covers say when they come and go; on their own stack.
struct rt_cpu_thread {
	struct tare_list link;
	pthread_t thread;
	int tid;
	struct rt_cpu_sampler *sampler; // NULL: not profiled
};
void rt_cpu_thread_enter(struct rt_cpu_thread *thread);
void rt_cpu_thread_leave(struct rt_cpu_thread *thread);
TARE_MUST_USE int rt_cpu_start(int hz, struct tare_error *err);
// Ends it and gives each thread's stacks to fn. values: samples, nanoseconds.
void rt_cpu_stop(void (*fn)(void *arg, const struct rt_tally *tally), void *arg);

// At a switch, while RT_WATCH_WAITS is set: before the task runs, and when it has stopped and not yet been handed on.
void rt_waits_resume(struct rt_worker *worker, struct tare_task *task);
void rt_waits_stop(struct tare_task *task);
enum { RT_WAITS_KINDS = 2 };
TARE_MUST_USE int rt_waits_start(int kind, int64_t rate_ns, uint32_t reasons);
// values: waits, nanoseconds; a stack's kind is its enum rt_reason.
void rt_waits_end(int kind, void (*fn)(void *arg, const struct rt_tally *tally), void *arg);

// Every task's stack, from any thread. The frames are gone when fn returns.
struct rt_task_seen {
	const char *name, *state; // static storage
	const uintptr_t *frames;
	int count;
};
void rt_tasks_each(void (*fn)(void *arg, const struct rt_task_seen *seen), void *arg);

struct rt_lines;
// NULL: lines are not to be had.
struct rt_lines *rt_lines_new(void);
void rt_lines_free(struct rt_lines *lines);
struct tare_pprof_line;
// As tare_pprof_resolve's.
unsigned rt_lines_at(struct rt_lines *lines, uintptr_t address, struct tare_pprof_line *ret);

// When no worker runs any more: ends what was left on.
void rt_profiles_done(void);

TARE_MUST_USE int rt_monitor_start(void);
void rt_monitor_stop(void);
unsigned rt_monitor_threads(void);
// On a worker that has polled or is about to: does what the monitor asked for on behalf of workers that are stuck.
void rt_rescue(struct rt_worker *worker);
// After a worker was idle.
void rt_monitor_rouse(void);

#endif
