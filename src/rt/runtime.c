// SPDX-License-Identifier: MIT
//
// Start and stop of the runtime. The caller's thread becomes worker 0; the others are threads of their own.
//
// Set-up goes up a ladder and comes down it on failure: backend, stacks, task pool, crash handler, workers, threads.
// A worker that can't be set up on its own thread says so before anything runs, through the start gate.
#include "rt/rt_int.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef TARE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

static struct tare_tag heap_tag = TARE_TAG("workers");

enum { STACK_BYTES_DEFAULT = 256 * 1024, WORKERS_MAX = TARE_SHARD_MAX - 2 };

struct rt_runtime rt;

TARE_MUST_USE static int worker_init(struct rt_worker *w, int idx, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	w->idx = idx;
	w->now_ns = rt.backend->now_ns();
	tare_rng_init(&w->rng, seed + (uint64_t)idx);
	int rc = rt_timers_init(&w->timers, w);
	if (rc < 0)
		return rc;
	rc = rt_latency_init(w, seed ^ (uint64_t)(idx + 1));
	if (rc < 0)
		goto timers_done;
	rc = rt.backend->poller_new(&w->poller);
	if (rc == 0)
		return 0;
	rt_latency_done(w);
timers_done:
	rt_timers_done(&w->timers);
	return rc;
}

static void worker_done(struct rt_worker *w)
{
	rt_timers_done(&w->timers);
	rt_trace_done(w);
	rt.backend->poller_free(w->poller);
	w->poller = NULL;
	rt_latency_done(w);
}

static int thread_enter(struct rt_worker *w)
{
	rt_self_set(w);
	w->errno_at = &errno;
	if (rt.worker_count == 1)
		(void)tare_alone_begin();
	atomic_store_explicit(&w->tid, gettid(), memory_order_relaxed);
#ifdef TARE_TSAN
	w->fiber = __tsan_get_current_fiber();
#endif
	return rt_crash_worker_init(w);
}

static void thread_leave(struct rt_worker *w)
{
	if (tare_alone_thread)
		tare_alone_end();
	rt_crash_worker_done(w);
	rt_self_set(NULL);
}

// On worker 0's thread, before anything runs.
static int start_main(tare_task_fn *fn, void *arg)
{
	int rc = thread_enter(&rt.workers[0]);
	if (rc == 0)
		rc = tare_spawn(&rt.main_task, &(struct tare_task_options){.name = "main"}, fn, arg);
	if (rc == 0)
		rt.main_task->joinable = false; // rt_task_end takes its result
	return rc;
}

#ifdef TARE_SIM
static int run_threads(tare_task_fn *fn, void *arg)
{
	int rc = start_main(fn, arg);
	atomic_store(&rt.running, rc == 0);
	if (rc == 0)
		rt_sim_run_workers();
	thread_leave(&rt.workers[0]);
	rt_profiles_done();
	return rc;
}
#else
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int waiting, failed_rc; // guarded by lock
	enum { GATE_CLOSED, GATE_OPEN, GATE_CANCELLED } state;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *thread_main(void *arg)
{
	struct rt_worker *w = arg;
	char name[32];
	snprintf(name, sizeof name, "tare-worker-%d", w->idx);
	name[15] = '\0'; // the kernel's limit
	(void)pthread_setname_np(pthread_self(), name);
	int rc = thread_enter(w);
	pthread_mutex_lock(&gate.lock);
	gate.waiting++;
	if (rc < 0)
		gate.failed_rc = rc;
	pthread_cond_broadcast(&gate.changed);
	while (gate.state == GATE_CLOSED)
		pthread_cond_wait(&gate.changed, &gate.lock);
	bool go = gate.state == GATE_OPEN;
	pthread_mutex_unlock(&gate.lock);
	if (go)
		rt_worker_loop(w);
	thread_leave(w);
	return NULL;
}

// Opens (or cancels) the gate once every started thread has reached it. The first failure among them.
static int gate_settle(int started, int rc)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.waiting < started)
		pthread_cond_wait(&gate.changed, &gate.lock);
	if (rc == 0)
		rc = gate.failed_rc;
	gate.state = rc == 0 ? GATE_OPEN : GATE_CANCELLED;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
	return rc;
}

static int run_threads(tare_task_fn *fn, void *arg)
{
	gate.waiting = gate.failed_rc = 0;
	gate.state = GATE_CLOSED;
	int started = 0, rc = 0;
	rt.workers[0].thread = pthread_self();
	while (started + 1 < rt.worker_count && rc == 0) {
		rc = -pthread_create(&rt.workers[started + 1].thread, NULL, thread_main, &rt.workers[started + 1]);
		started += rc == 0;
	}
	if (rc == 0)
		rc = start_main(fn, arg); // nothing runs before the gate opens
	if (rc == 0)
		rc = rt_monitor_start(); // after start_main: a worker that would be alone counts threads
	atomic_store_explicit(&rt.running, rc == 0, memory_order_release); // pairs with rt_spawn's acquire
	rc = gate_settle(started, rc);
	if (rc == 0)
		rt_worker_loop(&rt.workers[0]);
	thread_leave(&rt.workers[0]);
	for (int i = 1; i <= started; i++)
		pthread_join(rt.workers[i].thread, NULL);
	rt_monitor_stop();
	rt_block_stop();
	rt_children_stop();
	rt_profiles_done();
	return rc;
}
#endif

static int run_workers(tare_task_fn *fn, void *arg, struct tare_error *err)
{
	int rc = run_threads(fn, arg);
	atomic_store_explicit(&rt.running, false, memory_order_relaxed);
	if (rc == 0 && atomic_load_explicit(&rt.deadlock, memory_order_relaxed))
		rc = tare_error_set(err, -EDEADLK,
				    "deadlock: every task waits, and nothing is left that could wake one");
	else if (rc < 0)
		tare_error_set(err, rc,
			       "can't start %d worker threads: %s (lower the number of workers, or raise ulimit -u)",
			       rt.worker_count, strerror(-rc));
	return rc;
}

static int workers_new(int count, uint64_t seed, struct tare_error *err)
{
	rt.workers = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, (size_t)count * sizeof *rt.workers);
	if (rt.workers == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory for %d workers", count);
	for (int i = 0; i < count; i++) {
		int rc = worker_init(&rt.workers[i], i, seed);
		if (rc < 0) {
			while (i-- > 0)
				worker_done(&rt.workers[i]);
			tare_free(rt.workers);
			return tare_error_set(err, rc, "can't set up worker %d: %s", i + 1, strerror(-rc));
		}
	}
	rt.worker_count = count;
	return 0;
}

static void workers_free(void)
{
	while (atomic_load(&rt.visitors) > 0)
		sched_yield();
	for (int i = 0; i < rt.worker_count; i++)
		worker_done(&rt.workers[i]);
	tare_free(rt.workers);
}

#ifdef TARE_SIM
static int backend_choose(enum tare_io wanted, struct tare_error *err)
{
	(void)wanted;
	(void)err;
	rt.backend = &rt_backend_sim;
	rt_sim_begin();
	return 0;
}
#else
static void backend_fall_back(void)
{
	rt.backend = &rt_backend_epoll;
	rt.io_fell_back = true;
}

// An empty variable counts as none, as it does for the program's own options.
static int io_from_env(enum tare_io *ret, struct tare_error *err)
{
	const char *text = getenv("TARE_IO");
	if (text == NULL || text[0] == '\0' || strcmp(text, rt_backend_epoll.name) == 0)
		*ret = TARE_IO_EPOLL;
	else if (strcmp(text, rt_backend_uring.name) == 0)
		*ret = TARE_IO_URING;
	else
		return tare_error_set(err, -EINVAL,
				      "TARE_IO in the environment: '%.200s' is not allowed; give epoll or uring", text);
	return 0;
}

static int backend_choose(enum tare_io wanted, struct tare_error *err)
{
	int rc = wanted == TARE_IO_DEFAULT ? io_from_env(&wanted, err) : 0;
	if (rc < 0)
		return rc;
	rt.backend = wanted == TARE_IO_URING ? &rt_backend_uring : &rt_backend_epoll;
	if (wanted == TARE_IO_URING && !rt_uring_works())
		backend_fall_back();
	return 0;
}
#endif

static int pollers_and_workers_new(int count, uint64_t seed, struct tare_error *err)
{
	int rc = workers_new(count, seed, err);
#ifndef TARE_SIM
	if (rc < 0 && rt.backend == &rt_backend_uring) { // a ring each was too many
		backend_fall_back();
		rc = workers_new(count, seed, err);
	}
#endif
	return rc;
}

static int run(const struct tare_rt_options *o, tare_task_fn *fn, void *arg, struct tare_error *err)
{
	int rc = rt_stacks_init(o->stack_bytes != 0 ? o->stack_bytes : STACK_BYTES_DEFAULT, o->tasks_max, err);
	if (rc < 0)
		return rc;
	rc = tare_pool_new(&rt.tasks, &(struct tare_pool_options){.name = "tasks",
								  .object_bytes = sizeof(struct tare_task),
								  .alignment = TARE_CACHE_LINE,
								  .stable = true});
	if (rc < 0) {
		tare_error_set(err, rc, "out of memory for the pool of tasks");
		goto stacks_done;
	}
	rc = tare_pool_new(&rt.fds, &(struct tare_pool_options){
					.name = "descriptors", .object_bytes = sizeof(struct tare_fd), .stable = true});
	if (rc < 0) {
		tare_error_set(err, rc, "out of memory for the pool of descriptors");
		goto tasks_free;
	}
	rc = rt_crash_init();
	if (rc < 0) {
		tare_error_set(err, rc, "can't install the stack overflow handler: %s", strerror(-rc));
		goto fds_free;
	}
	rt_block_begin(o);
	uint64_t seed = o->seed != 0 ? o->seed : (uint64_t)rt.backend->now_ns();
	rc = pollers_and_workers_new(o->workers > 0 ? o->workers : TARE_MIN(tare_cpu_count(), WORKERS_MAX), seed, err);
	if (rc < 0)
		goto crash_done;
	rt_collect_begin();
	rt_keeper_begin();
	rc = run_workers(fn, arg, err);
	rt_keeper_end(); // before what it looks at goes
	workers_free();

crash_done:
	rt_crash_done();
fds_free:
	tare_pool_free(rt.fds);
tasks_free:
	tare_pool_free(rt.tasks);
	rt.tasks = NULL;
stacks_done:
	rt_stacks_done();
	return rc;
}

int tare_run(const struct tare_rt_options *options, tare_task_fn *fn, void *arg, int *ret_result,
	     struct tare_error *err)
{
	static atomic_bool busy;
	static const struct tare_rt_options defaults;
	const struct tare_rt_options *o = options != NULL ? options : &defaults;
	if (o->workers < 0 || o->workers > WORKERS_MAX)
		return tare_error_set(err, -EINVAL, "%d workers: must be between 1 and %d, or 0 for one a CPU",
				      o->workers, WORKERS_MAX);
	if (atomic_exchange(&busy, true))
		return tare_error_set(err, -EBUSY, "a runtime runs already in this process");
	memset(&rt, 0, sizeof rt);
	int rc = backend_choose(o->io, err);
	rt.watchdog_ns = o->watchdog_ns;
	rt.report = o->report;
	rt.report_arg = o->report_arg;
	if (rc == 0)
		rc = run(o, fn, arg, err);
	if (rc == 0 && ret_result != NULL)
		*ret_result = rt.result;
	rt.workers = NULL;
	rt.worker_count = 0;
	atomic_store(&busy, false);
	return rc;
}

void tare_rt_stats_read(struct tare_rt_stats *ret)
{
	*ret = (struct tare_rt_stats){
	    .stacks_made = rt_stacks_made(),
	    .stacks_cached = rt_stacks_cached(),
	    .stacks_trimmed_bytes = rt_stacks_trimmed_bytes(),
	    .tasks_slow = atomic_load_explicit(&rt.slow, memory_order_relaxed),
	    .workers = rt.worker_count,
	    .io = rt.backend != NULL ? rt.backend->name : "",
	    .io_fell_back = rt.io_fell_back,
	    .spare_threads = rt_block_threads(),
	};
	uint64_t ended = 0, stacks_given = 0;
	for (int i = 0; i < rt.worker_count; i++) {
		struct rt_worker *w = &rt.workers[i];
		ended += atomic_load_explicit(&w->tasks_ended, memory_order_relaxed);
		ret->tasks_started += atomic_load_explicit(&w->tasks_started, memory_order_relaxed);
		ret->wakes += atomic_load_explicit(&w->wakes, memory_order_relaxed);
		ret->switches += atomic_load_explicit(&w->switches, memory_order_relaxed);
		ret->steals += atomic_load_explicit(&w->steals, memory_order_relaxed);
		ret->polls += atomic_load_explicit(&w->polls, memory_order_relaxed);
		ret->poll_events += atomic_load_explicit(&w->poll_events, memory_order_relaxed);
		ret->timers_fired += atomic_load_explicit(&w->timers_fired, memory_order_relaxed);
		ret->rescues += atomic_load_explicit(&w->rescues, memory_order_relaxed);
		ret->recvs += atomic_load_explicit(&w->calls[RT_CALL_RECV], memory_order_relaxed);
		ret->sends += atomic_load_explicit(&w->calls[RT_CALL_SEND], memory_order_relaxed);
		ret->accepts += atomic_load_explicit(&w->calls[RT_CALL_ACCEPT], memory_order_relaxed);
		ret->registers += atomic_load_explicit(&w->calls[RT_CALL_REGISTER], memory_order_relaxed);
		ret->bytes_read += atomic_load_explicit(&w->bytes_read, memory_order_relaxed);
		ret->bytes_written += atomic_load_explicit(&w->bytes_written, memory_order_relaxed);
		ret->stacks_live += atomic_load_explicit(&w->stacks_taken, memory_order_relaxed);
		stacks_given += atomic_load_explicit(&w->stacks_given, memory_order_relaxed);
	}
	ret->stacks_live = ret->stacks_live > stacks_given ? ret->stacks_live - stacks_given : 0;
	ret->tasks_started += atomic_load_explicit(&rt.foreign_started, memory_order_relaxed);
	ended += atomic_load_explicit(&rt.foreign_ended, memory_order_relaxed);
	ret->wakes += atomic_load_explicit(&rt.foreign_wakes, memory_order_relaxed);
	ret->tasks_live = ret->tasks_started > ended ? ret->tasks_started - ended : 0;
}
