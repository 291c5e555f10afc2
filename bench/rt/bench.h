// SPDX-License-Identifier: MIT
//
// What the files of this bench share: how figures are taken (measure.c), and the benches that main.c's table names.
#ifndef BENCH_RT_BENCH_H
#define BENCH_RT_BENCH_H

#include "rt/rt_int.h"
#include <tare/chan.h>
#include <tare/sync.h>

// How large the programs are; set by the command line before any runs.
extern struct sizes {
	uint64_t samples, ring_hops, whispers, primes, sleepers, sleep_s;
} sizes;

TARE_NORETURN void die(const char *what, int rc);
static inline void must(int rc, const char *what)
{
	if (TARE_UNLIKELY(rc < 0))
		die(what, rc);
}

// Ends the process when a program's answer is wrong.
void expect(const char *name, uint64_t got, uint64_t want);
void *must_calloc(size_t count, size_t bytes);

// Sorts the values.
double at_rank(double *values, size_t count, size_t rank);
void print_answer(const char *name, double ns, uint64_t ops, uint64_t answer);
void print_latencies(const char *name, double *took, uint64_t count);
// Times work(n), which does per_n * n operations, for an n that takes some 20 ms.
void measure(const char *name, uint64_t per_n, void (*work)(uint64_t n));
// Times a whole program that does `ops` operations and must give `answer`.
void measure_program(const char *name, uint64_t ops, uint64_t answer, uint64_t (*program)(void));

struct tare_chan *chan_new(size_t elem_bytes, size_t capacity);

// Inline: a call of ours around the one that is measured would be measured too.
static inline void send_u64(struct tare_chan *chan, uint64_t value)
{
	must(tare_chan_send(chan, &value), "send");
}

static inline uint64_t recv_u64(struct tare_chan *chan)
{
	uint64_t value;
	must(tare_chan_recv(chan, &value), "receive");
	return value;
}

// Each gets its name.
int bench_switch(void *arg);
int bench_yield(void *arg);
int bench_spawn_join(void *arg);
int bench_chan_unbuffered(void *arg);
int bench_chan_buffered(void *arg);
int bench_mutex(void *arg);
int bench_block(void *arg);
int bench_wake_parked(void *arg);
int bench_wake_pinned(void *arg);
int bench_futex_wake(void *arg);
int bench_eventfd_wake(void *arg);
int bench_skynet(void *arg);
int bench_ring(void *arg);
int bench_whispers(void *arg);
int bench_sieve(void *arg);
int bench_sleepers(void *arg);
int bench_spawn_many(void *arg);
int bench_yield_many(void *arg);
int bench_ping_pong(void *arg);
int bench_chained_spawn(void *arg);

#endif
