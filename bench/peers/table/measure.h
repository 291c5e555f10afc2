// SPDX-License-Identifier: MIT
//
// What every table of bench/table is asked, in C and in C++: one JSON line a figure. A table's file defines, before it
// includes this one,
//
//   static void map_new(void);                                    an empty table that grows by itself
//   static void map_put(uint64_t key, uint64_t value);            the key is new
//   static bool map_get(uint64_t key, uint64_t *ret_value);       *ret_value only if it is there
//
// and, where it has more ways to look up, `#define MAP_MORE` and a function of that name that reports them.
//
//   PROGRAM KEYS [dense] [stalls]     KEYS random keys, or the keys 1 to KEYS (looked up in random order)
//
//   put           a key's share of filling the table; put_p50, put_p99, put_p9999, put_max: each put by itself
//   hit, miss     throughput: keys from a list, independent of one another
//   hit_latency   each key depends on the value found before
//   miss_latency  a fence between one lookup and the next, as an absent key leaves nothing to depend on
//   hit_p50, hit_p99, miss_p50, miss_p99    each lookup by itself between fences, less an empty one
//   bytes         resident memory a key
//   stall_p9999, stall_max    of `stalls` alone: processor time of each put, so that no other program is in it
//
// In ns, but for bytes. hit, miss, the latencies and put are processor time, medians of 5 passes over the list;
// quantiles are real time, since nothing else tells one call's. At 20 million keys a list touches 256 MiB, so that no
// cache holds what it will ask.
#ifndef TARE_BENCH_TABLE_MEASURE_H
#define TARE_BENCH_TABLE_MEASURE_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PASSES = 5, SAMPLES = 200000, LOOKUPS_FEW = 1 << 20, LOOKUPS_MANY = 1 << 22, FEW_KEYS = 1 << 21 };

struct keys {
	uint64_t *hit, *miss; // count keys each
	size_t count;
};

static uint64_t keys_in_table;
static bool keys_dense;
static double ns_per_tick;
static volatile uint64_t sink;

static inline uint64_t scattered(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

// The i-th key; the table holds those below keys_in_table. None is 0 or 2^64 - 1, which some tables keep for
// themselves.
static inline uint64_t key_of(uint64_t i)
{
	return keys_dense ? i + 1 : scattered(i);
}

static inline double clock_of(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline double clock_ns(void)
{
	return clock_of(CLOCK_MONOTONIC);
}

static inline double cpu_ns(void)
{
	return clock_of(CLOCK_THREAD_CPUTIME_ID);
}

static inline void fence(void)
{
#if defined(__x86_64__)
	__builtin_ia32_lfence();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	fence();
	uint64_t now = __builtin_ia32_rdtsc();
	fence();
	return now;
#else
	fence();
	return (uint64_t)clock_ns();
#endif
}

static void ticks_calibrate(void)
{
	double from_ns = clock_ns();
	uint64_t from = ticks();
	while (clock_ns() - from_ns < 5e7)
		;
	ns_per_tick = (clock_ns() - from_ns) / (double)(ticks() - from);
}

static void report(const char *name, double value)
{
	printf("{\"name\": \"%s\", \"ns\": %.3f}\n", name, value);
	fflush(stdout);
}

static void *allocated(size_t bytes)
{
	void *memory = malloc(bytes);
	if (memory == NULL) {
		fprintf(stderr, "table: out of memory\n");
		exit(1);
	}
	memset(memory, 0, bytes);
	return memory;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int compare_ticks(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

// ---- what is timed ------------------------------------------------------------------------------------------------

static uint64_t pass_throughput(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 0;
		sum += map_get(keys[i], &value);
		sum += value;
	}
	return sum;
}

static uint64_t pass_dependent(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0, last = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 0;
		sum += map_get(keys[i] + (last >> 63), &value); // values are below 2^63, which nobody knows ahead
		sum += last = value;
	}
	return sum;
}

static uint64_t pass_fenced(const uint64_t *keys, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 0;
		sum += map_get(keys[i], &value);
		sum += value;
		fence();
	}
	return sum;
}

static void report_pass(const char *name, uint64_t (*pass)(const uint64_t *, size_t), const uint64_t *keys,
			size_t count)
{
	double ns[PASSES];
	uint64_t sum = 0;
	for (int i = 0; i < PASSES; i++) {
		double from = cpu_ns();
		sum += pass(keys, count);
		ns[i] = (cpu_ns() - from) / (double)count;
	}
	sink = sum;
	qsort(ns, PASSES, sizeof ns[0], compare_doubles);
	report(name, ns[PASSES / 2]);
}

static void report_quantile(const char *name, const char *what, const uint32_t *sorted, size_t count, double share,
			    double empty)
{
	char full[64];
	snprintf(full, sizeof full, "%s_%s", name, what);
	size_t at = (size_t)((double)(count - 1) * share);
	double value = (sorted[at] - empty) * ns_per_tick;
	report(full, value > 0 ? value : 0);
}

static double empty_ticks(void)
{
	uint32_t *took = (uint32_t *)allocated(SAMPLES * sizeof *took);
	for (size_t i = 0; i < SAMPLES; i++) {
		uint64_t from = ticks();
		took[i] = (uint32_t)(ticks() - from);
	}
	qsort(took, SAMPLES, sizeof *took, compare_ticks);
	double median = took[SAMPLES / 2];
	free(took);
	return median;
}

static void report_each(const char *name, const uint64_t *keys, size_t count)
{
	size_t n = count < SAMPLES ? count : (size_t)SAMPLES;
	uint32_t *took = (uint32_t *)allocated(n * sizeof *took);
	double empty = empty_ticks();
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t value = 0, from = ticks();
		sum += map_get(keys[i], &value);
		took[i] = (uint32_t)(ticks() - from);
		sum += value;
	}
	sink = sum;
	qsort(took, n, sizeof *took, compare_ticks);
	report_quantile(name, "p50", took, n, 0.5, empty);
	report_quantile(name, "p99", took, n, 0.99, empty);
	free(took);
}

// ---- the run ------------------------------------------------------------------------------------------------------

static double resident_bytes(void)
{
	long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	if (file != NULL)
		fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

// Each put is timed; what the timing takes is in no figure.
static void fill(void)
{
	uint32_t *took = (uint32_t *)allocated(keys_in_table * sizeof *took);
	double empty = empty_ticks(), before = resident_bytes();
	map_new();
	double from_ns = cpu_ns();
	for (uint64_t i = 0; i < keys_in_table; i++) {
		uint64_t key = key_of(i), from = ticks();
		map_put(key, i);
		uint64_t ticked = ticks() - from;
		took[i] = ticked < UINT32_MAX ? (uint32_t)ticked : UINT32_MAX;
	}
	report("put", (cpu_ns() - from_ns) / (double)keys_in_table - empty * ns_per_tick);
	report("bytes", (resident_bytes() - before) / (double)keys_in_table);
	qsort(took, keys_in_table, sizeof *took, compare_ticks);
	report_quantile("put", "p50", took, keys_in_table, 0.5, empty);
	report_quantile("put", "p99", took, keys_in_table, 0.99, empty);
	report_quantile("put", "p9999", took, keys_in_table, 0.9999, empty);
	report_quantile("put", "max", took, keys_in_table, 1, empty);
	free(took);
}

// Each put's processor time; asking for it is a system call, whose own least time is taken off.
static void fill_stalls(void)
{
	uint32_t *took = (uint32_t *)allocated(keys_in_table * sizeof *took);
	double empty = 1e9;
	for (int i = 0; i < 10000; i++) {
		double from = cpu_ns(), between = cpu_ns() - from;
		empty = between < empty ? between : empty;
	}
	map_new();
	for (uint64_t i = 0; i < keys_in_table; i++) {
		uint64_t key = key_of(i);
		double from = cpu_ns();
		map_put(key, i);
		took[i] = (uint32_t)(cpu_ns() - from);
	}
	qsort(took, keys_in_table, sizeof *took, compare_ticks);
	ns_per_tick = 1;
	report_quantile("stall", "p9999", took, keys_in_table, 0.9999, empty);
	report_quantile("stall", "max", took, keys_in_table, 1, empty);
	free(took);
}

static struct keys keys_drawn(void)
{
	struct keys keys;
	keys.count = keys_in_table > FEW_KEYS ? LOOKUPS_MANY : LOOKUPS_FEW;
	keys.hit = (uint64_t *)allocated(keys.count * sizeof *keys.hit);
	keys.miss = (uint64_t *)allocated(keys.count * sizeof *keys.miss);
	for (size_t i = 0; i < keys.count; i++) {
		uint64_t at = (uint64_t)((unsigned __int128)scattered(i + (UINT64_C(1) << 60)) * keys_in_table >> 64);
		keys.hit[i] = key_of(at);
		keys.miss[i] = key_of(keys_in_table + at);
	}
	return keys;
}

#ifdef MAP_MORE
static void MAP_MORE(const struct keys *keys);
#endif

int main(int argc, char **argv)
{
	keys_in_table = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	bool stalls = false;
	for (int i = 2; i < argc; i++) {
		keys_dense = keys_dense || strcmp(argv[i], "dense") == 0;
		stalls = stalls || strcmp(argv[i], "stalls") == 0;
	}
	if (keys_in_table == 0) {
		fprintf(stderr, "usage: %s KEYS [dense] [stalls]\n", argv[0]);
		return 2;
	}
	if (stalls) {
		fill_stalls();
		return 0;
	}
	ticks_calibrate();
	fill();
	struct keys keys = keys_drawn();
	uint64_t found = 0, value;
	for (size_t i = 0; i < keys.count; i++)
		found += map_get(keys.hit[i], &value) && !map_get(keys.miss[i], &value);
	if (found != keys.count) {
		fprintf(stderr, "%s: %" PRIu64 " of %zu lookups were right\n", argv[0], found, keys.count);
		return 1;
	}
	report_pass("hit", pass_throughput, keys.hit, keys.count);
	report_pass("miss", pass_throughput, keys.miss, keys.count);
	report_pass("hit_latency", pass_dependent, keys.hit, keys.count);
	report_pass("miss_latency", pass_fenced, keys.miss, keys.count);
	report_each("hit", keys.hit, keys.count);
	report_each("miss", keys.miss, keys.count);
#ifdef MAP_MORE
	MAP_MORE(&keys);
#endif
	free(keys.hit);
	free(keys.miss);
	return 0;
}

#endif
