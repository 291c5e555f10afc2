// SPDX-License-Identifier: MIT
// What the files of npa share: the processor's clock, what is measured of a row, and the program's answers.
//
// npa.c keeps the rows and answers; npa_time.c measures; npa_cold.c evicts; npa_machine.c says what the machine is
// like.
// Threads: one.
#ifndef TARE_MEASURE_NPA_INT_H
#define TARE_MEASURE_NPA_INT_H

#include <tare/npa.h>
#include <tare/stat.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

// ---- the clock ----------------------------------------------------------------------------------------------------

// The processor's own clock. begin: nothing of what follows has begun; end: all that precedes has ended.
#if defined(__x86_64__)
static inline uint64_t npa_ticks_begin(void)
{
	_mm_lfence();
	uint64_t ticks = __rdtsc();
	_mm_lfence();
	return ticks;
}
static inline uint64_t npa_ticks_end(void)
{
	unsigned cpu;
	uint64_t ticks = __rdtscp(&cpu);
	_mm_lfence();
	return ticks;
}
#elif defined(__aarch64__)
static inline uint64_t npa_ticks_begin(void)
{
	uint64_t ticks;
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks) : : "memory");
	return ticks;
}
static inline uint64_t npa_ticks_end(void)
{
	return npa_ticks_begin();
}
#endif

// ---- a row's figures ----------------------------------------------------------------------------------------------

enum npa_cold { NPA_COLD_DATA, NPA_COLD_CODE, NPA_COLD_BRANCH, NPA_COLD_ALL, NPA_COLDS };

// How much is done for a row.
struct npa_effort {
	unsigned rounds, calls, colds; // pairs of batches; calls timed by themselves; the same, a kind of cold
	int64_t limit_ns;              // of each of the three parts, for operations that take long
};

#define NPA_NONE (-1.0) // a figure that there is not

// Nanoseconds an operation; not yet divided by the row's `per`.
struct npa_times {
	double mean, low, high; // the median of the rounds, and an interval that holds it nineteen times of twenty
	uint64_t batch;         // operations of the shorter batch
	unsigned rounds;
	double p50, p99;  // of single calls, without the timer's part
	double batch_p99; // of calls of 32 operations, an operation
	unsigned calls;
	double timer, jitter; // the median of an empty call, and its 99th percentile less that
	double cold[NPA_COLDS];
};

double measure_ns_per_tick(void);
void measure_row(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret);
// Only the mean, its interval, batch and rounds.
void measure_mean(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret);

// The row that the noise is told by: work of some 100 ns that is always the same; and one whose body is its twin.
extern const struct tare_npa_row measure_work_row, measure_empty_row;

// ---- cold ---------------------------------------------------------------------------------------------------------

// -ENOMEM, -ENOTSUP: this machine can't; then that kind has no figures.
TARE_MUST_USE int measure_cold_init(void);
bool measure_cold_has(enum npa_cold kind);
// Takes the row's data, all code, or what the processor knows of branches out of its caches.
void measure_evict(enum npa_cold kind, const struct tare_npa_row *row);

// ---- the machine --------------------------------------------------------------------------------------------------

// The members of one JSON object, without its braces.
void measure_machine_write(struct tare_text *out);
void measure_json_string(struct tare_text *out, const char *text);

#endif
