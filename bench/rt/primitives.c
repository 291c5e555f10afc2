// SPDX-License-Identifier: MIT
//
// What one primitive costs on one worker: switches, yields, tasks, channels, a mutex.
#include "bench.h"

#include <tare/block.h>

enum { BUFFERED_SLOTS = 64 };

static void *switch_here, *switch_there;

static void switch_back(void *arg)
{
	(void)arg;
	for (;;)
		rt_switch(&switch_there, switch_here);
}

static void switch_work(uint64_t n)
{
	while (n-- > 0)
		rt_switch(&switch_here, switch_there);
}

// No worker and no runtime: two stacks, and the control that goes to and fro.
int bench_switch(void *arg)
{
	static alignas(4096) char bytes[16 * 4096];
	struct rt_stack stack = {.base = bytes, .bytes = sizeof bytes};
	switch_there = rt_context_init(&stack, switch_back, NULL);
	measure(arg, 2, switch_work);
	return 0;
}

static int yield_task(void *arg)
{
	for (uint64_t n = *(uint64_t *)arg; n > 0; n--)
		tare_yield();
	return 0;
}

static void yield_work(uint64_t n)
{
	struct tare_task *other;
	must(tare_spawn(&other, NULL, yield_task, &n), "spawn");
	yield_task(&n);
	tare_join(other);
}

int bench_yield(void *arg)
{
	measure(arg, 2, yield_work);
	return 0;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void spawn_join_work(uint64_t n)
{
	while (n-- > 0) {
		struct tare_task *task;
		must(tare_spawn(&task, NULL, nothing, NULL), "spawn");
		tare_join(task);
	}
}

int bench_spawn_join(void *arg)
{
	measure(arg, 1, spawn_join_work);
	return 0;
}

struct echo {
	struct tare_chan *there, *back;
	uint64_t count;
};

static int echo_task(void *arg)
{
	struct echo *echo = arg;
	for (uint64_t n = echo->count; n > 0; n--)
		send_u64(echo->back, recv_u64(echo->there));
	return 0;
}

static void chan_unbuffered_work(uint64_t n)
{
	struct echo echo = {.there = chan_new(8, 0), .back = chan_new(8, 0), .count = n};
	struct tare_task *other;
	must(tare_spawn(&other, NULL, echo_task, &echo), "spawn");
	for (uint64_t i = 0; i < n; i++) {
		send_u64(echo.there, i);
		(void)recv_u64(echo.back);
	}
	tare_join(other);
	tare_chan_free(echo.there);
	tare_chan_free(echo.back);
}

int bench_chan_unbuffered(void *arg)
{
	measure(arg, 1, chan_unbuffered_work);
	return 0;
}

static void chan_buffered_work(uint64_t n)
{
	struct tare_chan *chan = chan_new(8, BUFFERED_SLOTS);
	for (uint64_t i = 0; i < n; i++) {
		send_u64(chan, i);
		(void)recv_u64(chan);
	}
	tare_chan_free(chan);
}

int bench_chan_buffered(void *arg)
{
	measure(arg, 1, chan_buffered_work);
	return 0;
}

static void mutex_work(uint64_t n)
{
	static struct tare_mutex mutex;
	while (n-- > 0) {
		tare_mutex_lock(&mutex);
		tare_mutex_unlock(&mutex);
	}
}

int bench_mutex(void *arg)
{
	measure(arg, 1, mutex_work);
	return 0;
}

static void block_work(uint64_t n)
{
	while (n-- > 0)
		(void)tare_block(nothing, NULL);
}

int bench_block(void *arg)
{
	measure(arg, 1, block_work);
	return 0;
}
