// SPDX-License-Identifier: MIT
// What the message benchmarks share: timing a call, and a sum over all fields, which must come out the same for every
// codec.
//
// Plain C that C++ compiles too: the peer that reads JSON is C++.
#ifndef BENCH_MESSAGES_H
#define BENCH_MESSAGES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

// A sum that depends on every field but enums, which JSON has as texts, and the bytes of base64.
struct bench_sum {
	uint64_t whole;
	double real;
};

// The time that this thread ran: what others take of the machine does not count.
static inline double bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// What came out is not optimised away, and what went in is read anew.
#define BENCH_USED(value) __asm__ __volatile__("" : : "r"(value) : "memory")

enum { BENCH_BATCHES = 40 };

// The lower quartile of batches' mean times: a batch that was interrupted does not count. Prints a JSON line.
#define BENCH(name, calls, statement)                                                                                  \
	do {                                                                                                           \
		double times_[BENCH_BATCHES];                                                                          \
		for (int batch_ = 0; batch_ < BENCH_BATCHES; batch_++) {                                               \
			double begin_ = bench_now();                                                                   \
			for (int call_ = 0; call_ < (calls); call_++) {                                                \
				statement;                                                                             \
			}                                                                                              \
			double ns_ = (bench_now() - begin_) / (calls);                                                 \
			int at_ = batch_;                                                                              \
			for (; at_ > 0 && times_[at_ - 1] > ns_; at_--)                                                \
				times_[at_] = times_[at_ - 1];                                                         \
			times_[at_] = ns_;                                                                             \
		}                                                                                                      \
		printf("{\"name\": \"%s\", \"ns\": %.2f}\n", name, times_[BENCH_BATCHES / 4]);                         \
	} while (0)

static inline void bench_print_sum(const char *name, struct bench_sum sum, size_t bytes)
{
	printf("{\"name\": \"%s\", \"whole\": %llu, \"real\": %.3f, \"bytes\": %zu}\n", name,
	       (unsigned long long)sum.whole, sum.real, bytes);
}

// The text of the file, in a buffer of cap bytes; its length without the newline at its end, 0: not read.
static inline size_t bench_load(const char *path, char *text, size_t cap)
{
	FILE *file = fopen(path, "rb");
	size_t n = file != NULL ? fread(text, 1, cap, file) : 0;
	if (file != NULL)
		fclose(file);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	return n;
}

#endif
