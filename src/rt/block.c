// SPDX-License-Identifier: MIT
//
// Spare threads for calls that block, and file I/O on them.
//
//   tare_block --thread_wanted--> job_commit: queued --job_take--> fn runs --> rt_wake, the task goes on
//                    |                  |
//                    |                  +-- no thread is left: the task tries again
//                    +-- no thread can be had: fn runs here
//
// Invariants, under pool.spin
//   1. wanted counts the calls that have asked for a thread and not been taken by one; those in the queue are among
//      them.
//   2. threads - busy >= min(wanted, max - busy), unless a thread could not be started: each call has a thread that is
//      idle or on its way, up to the limit. So a job never waits behind another while a thread may be started.
//   3. A job in the queue has a thread that will look there: idle ones are woken, and none ends while 2 needs it. When
//      the last one could not be started, its starter sends the queue's jobs back to their tasks.
//   4. A record is in `live` from before its thread starts until it leaves, then in `ended` until it is joined.
//
// Threads: tasks on any worker; the spare threads, which are plain threads to the rest of the runtime. A job lives on
// its task's stack and is gone once woken. A thread that leaves joins those that left before it; rt_block_stop joins
// the rest.
// Rejected: a fixed set of threads (too many for most programs, too few for some); -EAGAIN when there is no thread (a
// close or a clean-up that fails for that reason has no way on); blocking all signals in them (what fn starts by
// system() would inherit it).
#include <tare/block.h>

#include "rt/switch.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("spare threads");

enum { SPARE_THREADS_MAX_DEFAULT = 64 };
#define SPARE_IDLE_NS_DEFAULT (5 * TARE_NS_PER_S)

struct job {
	struct tare_waiter waiter;
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool done; // else it was sent back
	struct job *next;
};

struct spare {
	struct tare_list link;
#ifdef TARE_SIM
	unsigned thread;
#else
	pthread_t thread;
#endif
};

static struct {
	struct tare_spin spin; // guards the rest, but for max and idle_ns, which are fixed
	uint32_t max;
	int64_t idle_ns;
	uint32_t threads, busy, wanted;
	bool stopping;
	struct job *first, *last;
	struct tare_waiter *idle; // of threads: last in, first out, so that those in excess end
	struct tare_list live, ended;
} pool = {.live = {&pool.live, &pool.live}, .ended = {&pool.ended, &pool.ended}};

// ---- spare threads ------------------------------------------------------------------------------------------------

#ifdef TARE_SIM
bool (*rt_sim_thread_refused)(void);

static int system_thread_start(struct spare *spare, void *(*fn)(void *arg))
{
	if (rt_sim_thread_refused != NULL && rt_sim_thread_refused())
		return -EAGAIN;
	return rt_sim_thread_try(fn, spare, &spare->thread);
}

static void system_thread_join(struct spare *spare)
{
	rt_sim_thread_join(spare->thread);
}
#else
static int system_thread_start(struct spare *spare, void *(*fn)(void *arg))
{
	return -pthread_create(&spare->thread, NULL, fn, spare);
}

static void system_thread_join(struct spare *spare)
{
	pthread_join(spare->thread, NULL);
}
#endif

static void join_all(struct tare_list *spares)
{
	struct tare_list *link;
	while ((link = tare_list_pop_front(spares)) != NULL) {
		struct spare *spare = TARE_CONTAINER_OF(link, struct spare, link);
		system_thread_join(spare);
		tare_free(spare);
	}
}

// With the lock held: moves all of one list to another, which is empty.
static void list_move(struct tare_list *from, struct tare_list *to)
{
	struct tare_list *link;
	while ((link = tare_list_pop_front(from)) != NULL)
		tare_list_push_back(to, link);
}

static bool idle_commit(struct tare_waiter *waiter)
{
	tare_spin_lock(&pool.spin);
	bool wait = pool.first == NULL && !pool.stopping;
	if (wait) {
		waiter->next = pool.idle;
		pool.idle = waiter;
	}
	tare_spin_unlock(&pool.spin);
	return wait;
}

static bool idle_leave(struct tare_waiter *waiter)
{
	tare_spin_lock(&pool.spin);
	struct tare_waiter **link = &pool.idle;
	while (*link != NULL && *link != waiter)
		link = &(*link)->next;
	bool found = *link != NULL;
	if (found)
		*link = waiter->next;
	tare_spin_unlock(&pool.spin);
	return found;
}

static struct job *job_take(void)
{
	tare_spin_lock(&pool.spin);
	struct job *job = pool.first;
	if (job != NULL) {
		pool.first = job->next;
		pool.wanted--;
		pool.busy++;
	}
	tare_spin_unlock(&pool.spin);
	return job;
}

static void job_run(struct job *job)
{
	job->result = job->fn(job->arg);
	job->done = true;
	// Free before the task is: its next call then finds this thread and starts no other.
	tare_spin_lock(&pool.spin);
	pool.busy--;
	tare_spin_unlock(&pool.spin);
	rt_wake(&job->waiter, false);
}

// Whether this thread may end; then it is no longer counted.
static bool leave(struct spare *self, bool idle_long)
{
	struct tare_list before;
	tare_list_init(&before);
	tare_spin_lock(&pool.spin);
	bool stopping = pool.stopping;
	bool leaves = stopping || (idle_long && pool.threads - pool.busy > pool.wanted);
	if (leaves)
		pool.threads--;
	if (leaves && !stopping) { // else rt_block_stop takes it from where it is
		list_move(&pool.ended, &before);
		tare_list_remove(&self->link);
		tare_list_push_back(&pool.ended, &self->link);
	}
	tare_spin_unlock(&pool.spin);
	join_all(&before);
	return leaves;
}

static void *spare_main(void *arg)
{
	struct spare *self = arg;
#ifndef TARE_SIM
	(void)pthread_setname_np(pthread_self(), "tare-spare");
	struct rt_cpu_thread profiled;
	rt_cpu_thread_enter(&profiled);
#endif
	for (bool idle_long = false; !leave(self, idle_long);) {
		struct job *job = job_take();
		if (job != NULL) {
			job_run(job);
			idle_long = false;
			continue;
		}
		struct tare_waiter waiter = {.commit = idle_commit, .leave = idle_leave};
		idle_long = rt_wait(&waiter, RT_BLOCK, tare_now_ns() + pool.idle_ns) == -ETIMEDOUT;
	}
#ifndef TARE_SIM
	rt_cpu_thread_leave(&profiled);
#endif
	return NULL;
}

static int spare_start(void)
{
	struct spare *spare = tare_alloc_zeroed(&heap_tag, 1, sizeof *spare);
	if (spare == NULL)
		return -ENOMEM;
	tare_spin_lock(&pool.spin);
	tare_list_push_back(&pool.live, &spare->link);
	tare_spin_unlock(&pool.spin);
	int rc = system_thread_start(spare, spare_main);
	if (rc < 0) {
		tare_spin_lock(&pool.spin);
		tare_list_remove(&spare->link);
		tare_spin_unlock(&pool.spin);
		tare_free(spare);
	}
	return rc;
}

// ---- jobs ---------------------------------------------------------------------------------------------------------

// A thread that was counted could not be started. False when that leaves none: then what is queued goes back, too.
static bool start_failed(void)
{
	tare_spin_lock(&pool.spin);
	struct job *back = NULL;
	bool others = --pool.threads > 0;
	if (!others) {
		pool.wanted--;
		back = pool.first;
		pool.first = NULL;
		for (struct job *job = back; job != NULL; job = job->next)
			pool.wanted--;
	}
	tare_spin_unlock(&pool.spin);
	for (struct job *next; back != NULL; back = next) {
		next = back->next; // before the wake: afterwards it may be gone
		rt_wake(&back->waiter, false);
	}
	return others;
}

// Sees to a thread for one job; false: there is none and none can be had.
static bool thread_wanted(void)
{
	tare_spin_lock(&pool.spin);
	pool.wanted++;
	bool start = pool.threads - pool.busy < pool.wanted && pool.threads < pool.max;
	if (start)
		pool.threads++;
	tare_spin_unlock(&pool.spin);
	return !start || spare_start() == 0 || start_failed();
}

static bool job_commit(struct tare_waiter *waiter)
{
	struct job *job = TARE_CONTAINER_OF(waiter, struct job, waiter);
	tare_spin_lock(&pool.spin);
	bool queued = pool.threads > 0;
	struct tare_waiter *idle = queued ? pool.idle : NULL;
	if (queued) {
		job->next = NULL;
		if (pool.first == NULL)
			pool.first = job;
		else
			pool.last->next = job;
		pool.last = job;
	} else {
		pool.wanted--;
	}
	if (idle != NULL)
		pool.idle = idle->next;
	tare_spin_unlock(&pool.spin);
	if (idle != NULL)
		rt_wake(idle, false);
	return queued;
}

int tare_block(int (*fn)(void *arg), void *arg)
{
	if (tare_self() == NULL) {
		TARE_ASSERT(rt_self() == NULL); // on a worker's own stack nothing may block
		return fn(arg);
	}
	struct job job = {.waiter = {.commit = job_commit, .deaf = true}, .fn = fn, .arg = arg};
	while (!job.done) {
		if (!thread_wanted())
			return fn(arg);
		int rc = rt_wait(&job.waiter, RT_BLOCK, TARE_NEVER);
		TARE_ASSERT(rc == 0); // it has no deadline and is deaf
	}
	return job.result;
}

// ---- start and stop -----------------------------------------------------------------------------------------------

void rt_block_begin(const struct tare_rt_options *options)
{
	pool.max = options->spare_threads_max != 0 ? options->spare_threads_max : SPARE_THREADS_MAX_DEFAULT;
	pool.idle_ns = options->spare_idle_ns != 0 ? options->spare_idle_ns : SPARE_IDLE_NS_DEFAULT;
	pool.stopping = false;
}

// When no task runs any more, and before the tasks' memory goes: what is queued is dropped with its task, what has
// begun ends first.
void rt_block_stop(void)
{
	struct tare_list spares;
	tare_list_init(&spares);
	tare_spin_lock(&pool.spin);
	pool.stopping = true;
	pool.first = NULL;
	struct tare_waiter *idle = pool.idle;
	pool.idle = NULL;
	list_move(&pool.live, &spares);
	struct tare_list ended;
	tare_list_init(&ended);
	list_move(&pool.ended, &ended);
	tare_spin_unlock(&pool.spin);
	rt_waiters_wake_all(idle);
	join_all(&spares);
	join_all(&ended);
	TARE_ASSERT(pool.threads == 0 && pool.busy == 0);
	pool.wanted = 0;
}

uint32_t rt_block_threads(void)
{
	tare_spin_lock(&pool.spin);
	uint32_t threads = pool.threads;
	tare_spin_unlock(&pool.spin);
	return threads;
}
