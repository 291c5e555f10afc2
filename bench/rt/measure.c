// SPDX-License-Identifier: MIT
//
// How the figures are taken and printed: one JSON line a figure.
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define REPETITION_NS (20 * TARE_NS_PER_MS)

enum { REPETITIONS = 7, PROGRAM_RUNS = 3 };

void die(const char *what, int rc)
{
	fprintf(stderr, "rt: %s: %s\n", what, strerror(-rc));
	exit(1);
}

void expect(const char *name, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	fprintf(stderr, "rt: %s gave %" PRIu64 " where %" PRIu64 " is right\n", name, got, want);
	exit(1);
}

void *must_calloc(size_t count, size_t bytes)
{
	void *p = calloc(count, bytes);
	if (p == NULL)
		die("memory", -ENOMEM);
	return p;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double at_rank(double *values, size_t count, size_t rank)
{
	qsort(values, count, sizeof *values, compare_doubles);
	return values[rank];
}

static void print(const char *name, const char *suffix, double ns, uint64_t ops)
{
	printf("{\"name\": \"%s%s\", \"ns\": %.2f, \"ops\": %" PRIu64 "}\n", name, suffix, ns, ops);
}

void print_answer(const char *name, double ns, uint64_t ops, uint64_t answer)
{
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 ", \"answer\": %" PRIu64 "}\n", name, ns, ops,
	       answer);
}

void print_latencies(const char *name, double *took, uint64_t count)
{
	print(name, "_p50", at_rank(took, count, count / 2), count);
	print(name, "_p99", took[count * 99 / 100], count);
}

void measure(const char *name, uint64_t per_n, void (*work)(uint64_t n))
{
	uint64_t n = 1;
	for (;; n *= 2) {
		int64_t start_ns = tare_clock_ns();
		work(n);
		if (tare_clock_ns() - start_ns >= REPETITION_NS)
			break;
	}
	double each[REPETITIONS];
	for (int i = 0; i < REPETITIONS; i++) {
		int64_t start_ns = tare_clock_ns();
		work(n);
		each[i] = (double)(tare_clock_ns() - start_ns) / (double)(n * per_n);
	}
	print(name, "", at_rank(each, REPETITIONS, REPETITIONS / 2), n * per_n);
}

void measure_program(const char *name, uint64_t ops, uint64_t answer, uint64_t (*program)(void))
{
	double each[PROGRAM_RUNS];
	for (int i = 0; i < PROGRAM_RUNS; i++) {
		int64_t start_ns = tare_clock_ns();
		expect(name, program(), answer);
		each[i] = (double)(tare_clock_ns() - start_ns) / (double)ops;
	}
	print_answer(name, at_rank(each, PROGRAM_RUNS, PROGRAM_RUNS / 2), ops, answer);
}

struct tare_chan *chan_new(size_t elem_bytes, size_t capacity)
{
	struct tare_chan *chan;
	must(tare_chan_new(&chan, elem_bytes, capacity), "a channel");
	return chan;
}
