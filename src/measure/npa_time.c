// SPDX-License-Identifier: MIT
// What a row costs in time.
//
// The mean comes from batches of N and of 2N operations, of the body and of its twin, in rounds:
//
//   ((body(2N) - body(N)) - (twin(2N) - twin(N))) / N
//
// The difference of the two lengths takes the timer and the call out, that of body and twin the loop. Every other round
// runs in the other order. The figure is the median of the rounds: what interrupts a batch spoils a round and no more.
// The percentiles come from calls of one operation between fences, less the median of empty calls, which are taken in
// between. A mean below what the timer's jitter can resolve is not told from these; calls of 32 operations tell its
// tail.
//
// Threads: one, and one row at a time: the samples are static.
// Rejected: the least of many runs (it tells what never happens), a subtraction of a constant overhead (it drifts with
// the machine's clock).
#include "measure/npa_int.h"

#include <math.h>
#include <stdlib.h>

enum {
	ROUNDS_MAX = 512,
	CALLS_MAX = 1 << 17,
	CALLS_MIN = 200,
	EMPTY_SHARE = 8,   // one empty call in so many
	CALLS_A_TURN = 64, // between two looks at the clock
	BATCH_CALLS = 32,
	WARM_UP = 3,
};

#define BATCH_NS 50000.0 // the shorter batch's
#define OPS_MAX (UINT64_C(1) << 28)

static uint32_t samples[CALLS_MAX], empties[CALLS_MAX / EMPTY_SHARE + CALLS_A_TURN];

// ---- the clock ----------------------------------------------------------------------------------------------------

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

double measure_ns_per_tick(void)
{
	static double found;
	enum { TRIES = 5 };
	double tries[TRIES];
	for (int i = 0; i < TRIES && found == 0; i++) {
		int64_t start_ns = tare_clock_ns(), end_ns;
		uint64_t start = npa_ticks_begin();
		do
			end_ns = tare_clock_ns();
		while (end_ns - start_ns < 4 * TARE_NS_PER_MS);
		tries[i] = (double)(end_ns - start_ns) / (double)(npa_ticks_end() - start);
	}
	if (found == 0) {
		qsort(tries, TRIES, sizeof tries[0], compare_doubles);
		found = tries[TRIES / 2];
	}
	return found;
}

// Ticks that n operations take.
static uint64_t batch(void (*fn)(uint64_t first, uint64_t n), uint64_t n)
{
	uint64_t start = npa_ticks_begin();
	fn(0, n);
	return npa_ticks_end() - start;
}

// ---- the mean -----------------------------------------------------------------------------------------------------

// How many operations a batch of BATCH_NS has, and how long one takes with its loop.
static uint64_t batch_size(const struct tare_npa_row *row, double *ret_op_ns)
{
	double ns_per_tick = measure_ns_per_tick();
	uint64_t n = 1;
	for (int i = 0; i < WARM_UP; i++)
		(void)batch(row->body, 1);
	for (;; n *= 2) {
		double ns = (double)batch(row->body, n) * ns_per_tick;
		*ret_op_ns = ns / (double)n;
		if (ns >= BATCH_NS || n >= OPS_MAX)
			break;
	}
	return n;
}

static double one_round(const struct tare_npa_row *row, uint64_t n, bool turned)
{
	uint64_t body, body_2, twin, twin_2;
	if (turned) {
		twin_2 = batch(row->twin, 2 * n);
		twin = batch(row->twin, n);
		body_2 = batch(row->body, 2 * n);
		body = batch(row->body, n);
	} else {
		body = batch(row->body, n);
		body_2 = batch(row->body, 2 * n);
		twin = batch(row->twin, n);
		twin_2 = batch(row->twin, 2 * n);
	}
	double ticks = ((double)body_2 - (double)body) - ((double)twin_2 - (double)twin);
	return ticks * measure_ns_per_tick() / (double)n;
}

void measure_mean(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret)
{
	static double rounds[ROUNDS_MAX];
	double op_ns;
	uint64_t n = batch_size(row, &op_ns);
	double round_ns = 4 * op_ns * (double)n;
	unsigned count = TARE_MIN(effort->rounds, (unsigned)ROUNDS_MAX);
	if (round_ns * count > (double)effort->limit_ns)
		count = TARE_MAX((unsigned)((double)effort->limit_ns / round_ns), 7u);
	for (unsigned i = 0; i < count; i++)
		rounds[i] = one_round(row, n, i % 2 != 0);
	qsort(rounds, count, sizeof rounds[0], compare_doubles);
	// Ranks around the median that hold it with 95 % (normal approximation of the binomial).
	unsigned reach = (unsigned)ceil(0.98 * sqrt(count));
	unsigned low = count / 2 > reach ? count / 2 - reach : 0;
	ret->mean = rounds[count / 2];
	ret->low = rounds[low];
	ret->high = rounds[TARE_MIN(count / 2 + reach, count - 1)];
	ret->batch = n;
	ret->rounds = count;
}

// ---- single calls -------------------------------------------------------------------------------------------------

static uint32_t call(void (*fn)(uint64_t first, uint64_t n), uint64_t first, uint64_t n)
{
	uint64_t start = npa_ticks_begin();
	fn(first, n);
	uint64_t ticks = npa_ticks_end() - start;
	return ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX;
}

// The value that a share of the sorted ticks is at or below, less what an empty call takes, in nanoseconds.
static double at_share(const uint32_t *sorted, size_t count, double share, double less)
{
	size_t rank = TARE_MIN((size_t)(share * (double)count), count - 1);
	return ((double)sorted[rank] - less) * measure_ns_per_tick();
}

// Fills samples with calls of n operations each, and empties with empty ones; the counts.
static size_t sample(const struct tare_npa_row *row, uint64_t n, size_t want, int64_t limit_ns, size_t *ret_empties)
{
	size_t count = 0, empty_count = 0;
	int64_t start_ns = tare_clock_ns();
	while (count < want && (count < CALLS_MIN || tare_clock_ns() - start_ns < limit_ns)) {
		for (int i = 0; i < CALLS_A_TURN && count < want; i++, count++)
			samples[count] = call(row->body, count * n, n);
		for (int i = 0; i < CALLS_A_TURN / EMPTY_SHARE; i++)
			empties[empty_count++] = call(row->twin, count * n, n);
	}
	qsort(samples, count, sizeof samples[0], compare_ticks);
	qsort(empties, empty_count, sizeof empties[0], compare_ticks);
	*ret_empties = empty_count;
	return count;
}

static void measure_calls(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret)
{
	size_t want = TARE_MIN((size_t)effort->calls, (size_t)CALLS_MAX), empty_count;
	ret->calls = 0;
	ret->p50 = ret->p99 = ret->batch_p99 = ret->timer = ret->jitter = NPA_NONE;
	if (want == 0)
		return;
	size_t count = sample(row, 1, want, effort->limit_ns, &empty_count);
	double empty = empties[empty_count / 2];
	ret->calls = (unsigned)count;
	ret->timer = at_share(empties, empty_count, 0.5, 0);
	ret->jitter = at_share(empties, empty_count, 0.99, empty);
	ret->p50 = at_share(samples, count, 0.5, empty);
	ret->p99 = at_share(samples, count, 0.99, empty);
	count = sample(row, BATCH_CALLS, want / 4, effort->limit_ns / 2, &empty_count);
	ret->batch_p99 = at_share(samples, count, 0.99, empties[empty_count / 2]) / BATCH_CALLS;
}

static void measure_cold(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret)
{
	size_t want = TARE_MIN((size_t)effort->colds, TARE_ARRAY_LEN(empties));
	for (enum npa_cold kind = 0; kind < NPA_COLDS; kind++) {
		ret->cold[kind] = NPA_NONE;
		if (want == 0 || !measure_cold_has(kind))
			continue;
		int64_t start_ns = tare_clock_ns();
		size_t count = 0;
		for (; count < want && (count < 9 || tare_clock_ns() - start_ns < effort->limit_ns); count++) {
			measure_evict(kind, row);
			samples[count] = call(row->body, count, 1);
			measure_evict(kind, row);
			empties[count] = call(row->twin, count, 1);
		}
		qsort(samples, count, sizeof samples[0], compare_ticks);
		qsort(empties, count, sizeof empties[0], compare_ticks);
		ret->cold[kind] = fmax(at_share(samples, count, 0.5, empties[count / 2]), 0);
	}
}

void measure_row(const struct tare_npa_row *row, const struct npa_effort *effort, struct npa_times *ret)
{
	measure_mean(row, effort, ret);
	measure_calls(row, effort, ret);
	measure_cold(row, effort, ret);
}

// ---- what the noise is told by ------------------------------------------------------------------------------------

TARE_NPA_FN static void work(uint64_t first, uint64_t n)
{
	uint64_t x = first; // each operation begins with what the one before found: they don't overlap
	for (uint64_t i = 0; i < n; i++)
		for (int k = 0; k < 32; k++)
			x = TARE_NPA_HIDE(x * 6364136223846793005u + 1);
	TARE_NPA_KEEP(x);
}

TARE_NPA_FN static void nothing(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		__asm__ volatile("" ::: "memory");
}

TARE_NPA_FN static void nothing_else(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		__asm__ volatile("" ::: "memory");
}

const struct tare_npa_row measure_work_row = {.name = "work", .body = work, .twin = nothing};
const struct tare_npa_row measure_empty_row = {.name = "empty", .body = nothing_else, .twin = nothing};
