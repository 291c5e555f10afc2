// SPDX-License-Identifier: MIT
//
// What profiles cost while they are on: each kind of work with and without, in interleaved rounds, on one worker.
//
//   make -s build/release/bench/profile && build/release/bench/profile
//
// Prints the medians, in nanoseconds by message (two waits), by 64-byte block (made and freed), or by turn of a loop.
#include <tare/chan.h>
#include <tare/heap.h>
#include <tare/profile.h>
#include <tare/rt.h>

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, MESSAGES = 100000, PAIRS = 500000, TURNS = 20000000 };

static struct tare_tag heap_tag = TARE_TAG("bench");
static struct tare_chan *chan, *back;

static int echo(void *arg)
{
	(void)arg;
	int message;
	while (tare_chan_recv(chan, &message) == 0)
		if (tare_chan_send(back, &message) < 0)
			return 1;
	return 0;
}

static double messages(void)
{
	int64_t began_ns = tare_clock_ns();
	for (int i = 0; i < MESSAGES; i++)
		if (tare_chan_send(chan, &i) < 0 || tare_chan_recv(back, &i) < 0)
			return 0;
	return (double)(tare_clock_ns() - began_ns) / MESSAGES;
}

static double blocks(void)
{
	int64_t began_ns = tare_clock_ns();
	for (int i = 0; i < PAIRS; i++) {
		void *block = tare_alloc(&heap_tag, 64);
		__asm__ volatile("" ::"r"(block) : "memory"); // or the compiler drops the pair
		tare_free(block);
	}
	return (double)(tare_clock_ns() - began_ns) / PAIRS;
}

static double turns(void)
{
	int64_t began_ns = tare_clock_ns();
	volatile uint64_t sink = 1;
	for (int i = 0; i < TURNS; i++)
		sink = sink * 31 + 7;
	return (double)(tare_clock_ns() - began_ns) / TURNS;
}

enum what { NOTHING, CPU, BLOCK, HEAP };
static const struct row {
	const char *name;
	double (*work)(void);
	enum what what;
	struct tare_profile_options options;
	size_t rate;
} rows[] = {
    {"turn, off", turns, NOTHING, {0}, 0},
    {"turn, cpu at 100 Hz", turns, CPU, {.hz = 100}, 0},
    {"turn, cpu at 1000 Hz", turns, CPU, {.hz = 1000}, 0},
    {"message, off", messages, NOTHING, {0}, 0},
    {"message, block, 10 us", messages, BLOCK, {.rate_ns = 10000}, 0},
    {"message, block, every wait", messages, BLOCK, {.rate_ns = 1}, 0},
    {"block, off", blocks, HEAP, {0}, 0},
    {"block, heap at 512 KiB", blocks, HEAP, {0}, 512 << 10},
    {"block, heap at 16 KiB", blocks, HEAP, {0}, 16 << 10},
};
static double ns[TARE_ARRAY_LEN(rows)][ROUNDS];

static double run_row(const struct row *row)
{
	enum tare_profile_kind kind = row->what == CPU ? TARE_PROFILE_CPU : TARE_PROFILE_BLOCK;
	bool started = row->what == CPU || row->what == BLOCK;
	if (started && tare_profile_start(kind, &row->options, NULL) < 0)
		return 0;
	if (row->what == HEAP) { // a block that ends the thread's countdown of the rate before
		tare_heap_rate_set(row->rate);
		tare_free(tare_alloc(&heap_tag, 64 << 20));
	}
	double result = row->work();
	if (started)
		(void)tare_profile_stop(kind, NULL);
	return result;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int run(void *arg)
{
	(void)arg;
	if (tare_chan_new(&chan, sizeof(int), 0) < 0 || tare_chan_new(&back, sizeof(int), 0) < 0 ||
	    tare_go(echo, NULL) < 0)
		return 1;
	for (int i = 0; i < ROUNDS; i++)
		for (size_t k = 0; k < TARE_ARRAY_LEN(rows); k++)
			ns[k][i] = run_row(&rows[k]);
	for (size_t k = 0; k < TARE_ARRAY_LEN(rows); k++) {
		qsort(ns[k], ROUNDS, sizeof(double), compare);
		printf("%-28s %8.3f ns\n", rows[k].name, ns[k][ROUNDS / 2]);
	}
	return 0;
}

int main(void)
{
	int result = 1;
	const struct tare_rt_options options = {.workers = 1, .watchdog_ns = -1};
	return tare_run(&options, run, NULL, &result, NULL) < 0 ? 1 : result;
}
