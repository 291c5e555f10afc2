// SPDX-License-Identifier: MIT
//
// The set of tokio's benches/rt_multi_threaded.rs: many tasks at once on two workers.
#include "bench.h"

enum { SPAWNED = 10000, YIELD_TASKS = 200, YIELDS = 1000, PINGS = 1000, CHAIN_LINKS = 1000 };

// What the tasks of one run share: the last one says so.
struct crowd {
	atomic_long left;
	struct tare_chan *done;
};

static int crowd_leave(void *arg)
{
	struct crowd *crowd = arg;
	if (atomic_fetch_sub(&crowd->left, 1) == 1)
		must(tare_chan_send(crowd->done, NULL), "send");
	return 0;
}

static void spawn_many_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, SPAWNED);
		for (int i = 0; i < SPAWNED; i++)
			must(tare_go(crowd_leave, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

int bench_spawn_many(void *arg)
{
	measure(arg, SPAWNED, spawn_many_work);
	return 0;
}

static int yield_many_task(void *arg)
{
	for (int i = 0; i < YIELDS; i++)
		tare_yield();
	must(tare_chan_send(arg, NULL), "send");
	return 0;
}

static void yield_many_work(uint64_t n)
{
	struct tare_chan *done = chan_new(0, YIELD_TASKS);
	for (; n > 0; n--) {
		for (int i = 0; i < YIELD_TASKS; i++)
			must(tare_go(yield_many_task, done), "go");
		for (int i = 0; i < YIELD_TASKS; i++)
			must(tare_chan_recv(done, NULL), "receive");
	}
	tare_chan_free(done);
}

int bench_yield_many(void *arg)
{
	measure(arg, YIELD_TASKS * YIELDS, yield_many_work);
	return 0;
}

struct ping {
	struct tare_chan *there, *back;
};

static int pong_task(void *arg)
{
	struct ping ping = *(struct ping *)arg;
	must(tare_chan_recv(ping.there, NULL), "receive");
	must(tare_chan_send(ping.back, NULL), "send");
	return 0;
}

static int ping_task(void *arg)
{
	struct ping ping = {chan_new(0, 1), chan_new(0, 1)};
	must(tare_go(pong_task, &ping), "go");
	must(tare_chan_send(ping.there, NULL), "send");
	must(tare_chan_recv(ping.back, NULL), "receive");
	tare_chan_free(ping.there);
	tare_chan_free(ping.back);
	return crowd_leave(arg);
}

static int ping_source(void *arg)
{
	for (int i = 0; i < PINGS; i++)
		must(tare_go(ping_task, arg), "go");
	return 0;
}

static void ping_pong_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, PINGS);
		must(tare_go(ping_source, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

int bench_ping_pong(void *arg)
{
	measure(arg, PINGS, ping_pong_work);
	return 0;
}

static int chain_link(void *arg)
{
	struct crowd *crowd = arg;
	if (atomic_fetch_sub(&crowd->left, 1) == 0)
		must(tare_chan_send(crowd->done, NULL), "send");
	else
		must(tare_go(chain_link, crowd), "go");
	return 0;
}

static void chained_spawn_work(uint64_t n)
{
	struct crowd crowd = {.done = chan_new(0, 1)};
	for (; n > 0; n--) {
		atomic_store(&crowd.left, CHAIN_LINKS);
		must(tare_go(chain_link, &crowd), "go");
		must(tare_chan_recv(crowd.done, NULL), "receive");
	}
	tare_chan_free(crowd.done);
}

int bench_chained_spawn(void *arg)
{
	measure(arg, CHAIN_LINKS, chained_spawn_work);
	return 0;
}
