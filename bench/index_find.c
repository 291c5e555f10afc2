// SPDX-License-Identifier: MIT
// What a lookup costs: nanoseconds per tare_index_find on a snapshot built in memory or mapped from a file.
//
//   index_find [SIZE | FILE] [ROUNDS]          (default: 64M, 5)
//
// Throughput: keys from a prepared list, independent of one another, so that misses overlap.
// Latency: each key depends on the record found before, so nothing overlaps: what one request sees. An absent key
// leaves nothing to depend on, so it has no such figure. Prefetched: the slot of the key sixteen ahead is fetched, as a
// pipelined batch can. Zipf is s = 1.1 over all ids by inverse cumulative weights; uniform touches everything. The key
// list costs a sequential 8 bytes a lookup, which is in the figure. Each figure is the median of the rounds, which are
// interleaved.
#include <tare/index.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOKUPS = 1 << 21, ROUNDS_MAX = 99, AHEAD = 16 };
static const double zipf_exponent = 1.1;

static void die(const char *text)
{
	fprintf(stderr, "index_find: %s\n", text);
	exit(1);
}

static uint64_t *keys_new(void)
{
	uint64_t *keys = malloc((LOOKUPS + AHEAD) * sizeof *keys);
	if (keys == NULL)
		die("out of memory");
	return keys;
}

static uint64_t *keys_uniform(uint64_t first, uint64_t count)
{
	struct tare_rng rng;
	uint64_t *keys = keys_new();
	tare_rng_init(&rng, 1);
	for (int i = 0; i < LOOKUPS + AHEAD; i++)
		keys[i] = first + tare_rng_below(&rng, count);
	return keys;
}

static uint64_t *keys_zipf(uint64_t count)
{
	struct tare_rng rng;
	uint64_t *keys = keys_new();
	double *weights = malloc(count * sizeof *weights), sum = 0;
	if (weights == NULL)
		die("out of memory");
	for (uint64_t i = 0; i < count; i++)
		weights[i] = sum += pow((double)(i + 1), -zipf_exponent);
	tare_rng_init(&rng, 2);
	for (int i = 0; i < LOOKUPS + AHEAD; i++) {
		double at = tare_rng_unit(&rng) * sum;
		uint64_t low = 0, high = count - 1;
		while (low < high) {
			uint64_t middle = low + (high - low) / 2;
			if (weights[middle] < at)
				low = middle + 1;
			else
				high = middle;
		}
		keys[i] = low;
	}
	free(weights);
	return keys;
}

// A use of the record's own line, so that its miss is part of the figure.
static uint64_t use(const struct tare_record *record)
{
	return record != NULL ? (uint64_t)record->bid_micros : 1;
}

static uint64_t run_throughput(const struct tare_index *index, const uint64_t *keys)
{
	uint64_t sum = 0;
	for (int i = 0; i < LOOKUPS; i++)
		sum += use(tare_index_find(index, keys[i]));
	return sum;
}

static uint64_t run_prefetched(const struct tare_index *index, const uint64_t *keys)
{
	uint64_t sum = 0;
	for (int i = 0; i < LOOKUPS; i++) {
		tare_index_prefetch(index, keys[i + AHEAD]);
		sum += use(tare_index_find(index, keys[i]));
	}
	return sum;
}

static uint64_t run_latency(const struct tare_index *index, const uint64_t *keys)
{
	uint64_t sum = 0, last = 0;
	for (int i = 0; i < LOOKUPS; i++) {
		// Zero, as bids are below 2^62; neither the compiler nor the core knows before the last record came.
		uint64_t nothing = last >> 63;
		last = use(tare_index_find(index, keys[i] + nothing));
		sum += last;
	}
	return sum;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static struct tare_index *index_from(const char *source, struct tare_error *err)
{
	struct tare_index *index = NULL;
	struct tare_gen_options options = {.seed = 1};
	int rc = tare_parse_size(source, &options.size) == 0 ? tare_index_build(&index, &options, err)
							     : tare_index_open(&index, source, err);
	if (rc < 0)
		die(err->text);
	return index;
}

int main(int argc, char **argv)
{
	static uint64_t (*const runs[])(const struct tare_index *, const uint64_t *) = {run_throughput, run_prefetched,
											run_latency};
	static const char *const names[] = {"uniform hit", "zipf hit", "uniform miss"};
	struct tare_error err;
	const char *source = argc > 1 ? argv[1] : "64M";
	int rounds = argc > 2 ? atoi(argv[2]) : 5;
	if (rounds < 1 || rounds > ROUNDS_MAX)
		die("rounds are 1 to 99");
	struct tare_index *index = index_from(source, &err);
	struct tare_index_stats stats;
	tare_index_stats_get(index, &stats);
	uint64_t *keys[] = {keys_uniform(0, stats.records), keys_zipf(stats.records),
			    keys_uniform(stats.records, UINT64_C(1) << 40)};
	static double ns[TARE_ARRAY_LEN(names)][TARE_ARRAY_LEN(runs)][ROUNDS_MAX];
	uint64_t sum = 0;
	for (int round = 0; round < rounds; round++)
		for (size_t k = 0; k < TARE_ARRAY_LEN(names); k++)
			for (size_t r = 0; r < TARE_ARRAY_LEN(runs); r++) {
				int64_t start_ns = tare_clock_ns();
				sum += runs[r](index, keys[k]);
				ns[k][r][round] = (double)(tare_clock_ns() - start_ns) / LOOKUPS;
			}
	printf("%s: %" PRIu64 " records, %" PRIu64 " bytes, load factor %.3f, %s, %d lookups, median of %d rounds\n",
	       source, stats.records, stats.bytes, stats.load_factor, stats.mapped ? "mapped" : "in memory", LOOKUPS,
	       rounds);
	printf("%-14s %12s %12s %12s   (ns a lookup; checksum %" PRIx64 ")\n", "", "throughput", "prefetched",
	       "latency", sum);
	for (size_t k = 0; k < TARE_ARRAY_LEN(names); k++) {
		printf("%-14s", names[k]);
		for (size_t r = 0; r < TARE_ARRAY_LEN(runs); r++) {
			if (runs[r] == run_latency && k == 2) {
				printf(" %12s", "-");
				continue;
			}
			qsort(ns[k][r], (size_t)rounds, sizeof ns[k][r][0], compare_doubles);
			printf(" %12.1f", ns[k][r][rounds / 2]);
		}
		printf("\n");
		free(keys[k]);
	}
	tare_index_free(index);
	return 0;
}
