// SPDX-License-Identifier: MIT
// What it costs to do several things at a time: tasks, channels and mutexes beside threads, pipes and futexes.
//
// All on one CPU: tasks on one worker, threads pinned together. A row with two parties is a whole round, there and
// back.
#include "rows.h"
#include "rt/rt_int.h"

#include <tare/chan.h>
#include <tare/sync.h>

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- switches -----------------------------------------------------------------------------------------------------

static void *switch_here, *switch_there;

static void switch_back(void *arg)
{
	(void)arg;
	for (;;)
		rt_switch(&switch_there, switch_here);
}

static void switch_make(void)
{
	static alignas(4096) char bytes[16 * 4096];
	struct rt_stack stack = {.base = bytes, .bytes = sizeof bytes};
	if (switch_there == NULL)
		switch_there = rt_context_init(&stack, switch_back, NULL);
}

TARE_NPA(switch_stack, "The bare change of stacks, what a task rests on.", 4, .prepare = switch_make, .per = 2)
{
	rt_switch(&switch_here, switch_there);
}

static int yielder(void *arg)
{
	for (atomic_bool *stop = arg; !atomic_load_explicit(stop, memory_order_relaxed);)
		tare_yield();
	return 0;
}

struct call {
	void (*fn)(void *arg);
	void *arg;
};

static void beside_yielder(void *arg)
{
	struct call *call = arg;
	struct tare_task *other;
	atomic_bool stop = false;
	must(tare_spawn(&other, NULL, yielder, &stop), "a task");
	call->fn(call->arg);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	tare_join(other);
}

static void in_task_beside_yielder(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	rows_in_task(beside_yielder, &call);
}

TARE_NPA(task_yield, "Straight-line code that lets others run: a switch by way of the scheduler.", 30,
	 .within = in_task_beside_yielder, .per = 2)
{
	tare_yield();
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

TARE_NPA(task_spawn_join, "A task for each thing that goes on, begun and waited for.", 200, .within = rows_in_task)
{
	struct tare_task *task;
	must(tare_spawn(&task, NULL, nothing, NULL), "a task");
	tare_join(task);
}

static void *thread_nothing(void *arg)
{
	return arg;
}

TARE_NPA(thread_spawn_join, "The same with a thread, the kernel's way.", 40000, .count = 16, .not_counted = true)
{
	pthread_t thread;
	must(-pthread_create(&thread, NULL, thread_nothing, NULL), "a thread");
	(void)pthread_join(thread, NULL);
}

// ---- passing values -----------------------------------------------------------------------------------------------

static struct tare_chan *chan, *chan_back;
static int pipe_there[2], pipe_back[2];

static void chan_make(void)
{
	if (chan == NULL)
		must(tare_chan_new(&chan, 8, 64), "a channel");
}

static void pipes_make(void)
{
	if (pipe_there[1] == 0)
		must(pipe(pipe_there) < 0 || pipe(pipe_back) < 0 ? -errno : 0, "pipes");
}

TARE_NPA(channel_send_recv, "A value handed over through a buffered channel, by one task to itself.", 30,
	 .within = rows_in_task, .prepare = chan_make)
{
	uint64_t value = i;
	must(tare_chan_send(chan, &value), "send");
	must(tare_chan_recv(chan, &value), "receive");
}

TARE_NPA(pipe_write_read, "The same through a pipe: two system calls, and it works between processes.", 1200,
	 .prepare = pipes_make)
{
	uint64_t value = i;
	if (write(pipe_there[1], &value, sizeof value) != sizeof value ||
	    read(pipe_there[0], &value, sizeof value) != sizeof value)
		rows_die("pipe", -EIO);
}

static int chan_echo(void *arg)
{
	uint64_t value;
	(void)arg;
	while (tare_chan_recv(chan, &value) == 0 && tare_chan_send(chan_back, &value) == 0)
		continue;
	return 0;
}

static void beside_echo(void *arg)
{
	struct call *call = arg;
	struct tare_task *other;
	must(tare_chan_new(&chan, 8, 0), "a channel");
	must(tare_chan_new(&chan_back, 8, 0), "a channel");
	must(tare_spawn(&other, NULL, chan_echo, NULL), "a task");
	call->fn(call->arg);
	tare_chan_close(chan);
	tare_join(other);
	tare_chan_free(chan);
	tare_chan_free(chan_back);
	chan = chan_back = NULL;
}

static void in_task_beside_echo(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	rows_in_task(beside_echo, &call);
}

TARE_NPA(channel_round_trip, "A question to another task and its answer, over unbuffered channels.", 200,
	 .within = in_task_beside_echo)
{
	uint64_t value = i;
	must(tare_chan_send(chan, &value), "send");
	must(tare_chan_recv(chan_back, &value), "receive");
}

static void *pipe_echo(void *arg)
{
	uint64_t value;
	(void)arg;
	while (read(pipe_there[0], &value, sizeof value) == sizeof value && value != UINT64_MAX &&
	       write(pipe_back[1], &value, sizeof value) == sizeof value)
		continue;
	return NULL;
}

static void beside_pipe_echo(void (*fn)(void *arg), void *arg)
{
	pthread_t thread;
	uint64_t last = UINT64_MAX;
	must(-pthread_create(&thread, NULL, pipe_echo, NULL), "a thread");
	fn(arg);
	if (write(pipe_there[1], &last, sizeof last) != sizeof last)
		rows_die("pipe", -EIO);
	(void)pthread_join(thread, NULL);
}

TARE_NPA(thread_round_trip, "The same between threads, through pipes.", 12000, .prepare = pipes_make,
	 .within = beside_pipe_echo, .count = 64, .not_counted = true)
{
	uint64_t value = i;
	if (write(pipe_there[1], &value, sizeof value) != sizeof value ||
	    read(pipe_back[0], &value, sizeof value) != sizeof value)
		rows_die("pipe", -EIO);
}

// libc has no name for it.
static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is)
{
	while (atomic_load(word) == while_it_is)
		(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_it_is, NULL, NULL, 0);
}

static void futex_post(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static _Atomic uint32_t asked, answered; // how often; UINT32_MAX: enough

static void *futex_echo(void *arg)
{
	for (uint32_t seen = 0;; seen++) {
		futex_wait(&asked, seen);
		if (atomic_load(&asked) == UINT32_MAX)
			return arg;
		futex_post(&answered, seen + 1);
	}
}

static void beside_futex_echo(void (*fn)(void *arg), void *arg)
{
	pthread_t thread;
	asked = answered = 0;
	must(-pthread_create(&thread, NULL, futex_echo, NULL), "a thread");
	fn(arg);
	futex_post(&asked, UINT32_MAX);
	(void)pthread_join(thread, NULL);
}

TARE_NPA(futex_round_trip, "The same between threads, through futexes: the kernel's least way to wake a thread.", 12000,
	 .within = beside_futex_echo, .count = 64, .not_counted = true)
{
	uint32_t before = atomic_load_explicit(&answered, memory_order_relaxed);
	futex_post(&asked, before + 1);
	futex_wait(&answered, before);
}

// ---- excluding each other -----------------------------------------------------------------------------------------

static struct tare_mutex mutex;
static pthread_mutex_t thread_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(uint32_t) futex_word;

TARE_NPA(mutex_pair, "Tare's mutex, uncontended: who waits for it blocks its task and not its worker.", 10,
	 .within = rows_in_task)
{
	tare_mutex_lock(&mutex);
	tare_mutex_unlock(&mutex);
}

TARE_NPA(pthread_mutex_pair, "libc's, uncontended: who waits for it blocks its thread.", 20)
{
	pthread_mutex_lock(&thread_mutex);
	pthread_mutex_unlock(&thread_mutex);
}

TARE_NPA(atomic_add, "One locked instruction, what any lock between threads begins with.", 8)
{
	atomic_fetch_add(&futex_word, 1);
}

TARE_NPA(futex_wake_nobody, "Asking the kernel to wake whoever waits, where nobody does.", 400)
{
	(void)syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
