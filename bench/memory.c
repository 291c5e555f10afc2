// SPDX-License-Identifier: MIT
//
// What it costs to have an object for a moment: from the heap, from a pool, on the stack; small ones and large ones.
// One JSON line a figure; the names and the methods are those of bench/peers/go/memory. bench/memory runs both.
//
//   memory pairs | kib | sizes | crowds | all
//
//   pool_pair, pool_pair_2     take and give, 1 KiB, nothing done with it: on one thread, and on two at once (of one
//                              pool)
//   loop, loop_2               a loop that shares nothing, on one thread and on two: what the machine makes of two
//   pool_reset_pair            the same with a reset of a few fields; pool_handle_pair: with handles
//   managed_1k, pooled_1k, stack_1k   1 KiB that is wholly written and read once: made, used, done with
//   heap_N, pool_N             N bytes, a write in each page of 4 KiB and at the end: the pair
//   stack_zeroed_N             N bytes of the stack, cleared, then the same
//   heap_crowd_N, pool_crowd_N 1,000 of them at once, then all done with: an object's share
//   heap_zeroed_N, pool_reset_N   N bytes that begin as zeros: calloc, and a pool whose reset clears them
//
// Figures in "ns" are medians of 9 repetitions of some 20 ms. The heap is libc's, by way of tare_alloc, which counts.
// Rejected: the share of time in a real request (bench/run has that; here nothing else stands between).
#include <tare/mem.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define REPETITION_NS (20 * TARE_NS_PER_MS)

enum { REPETITIONS = 9, KIB = 1024, CROWD = 1000, PAGE = 4096, STACK_MAX = 64 * KIB };

static struct tare_tag heap_tag = TARE_TAG("bench");
static struct tare_pool *pool;
static size_t bytes;

TARE_NORETURN static void die(const char *what)
{
	fprintf(stderr, "memory: %s\n", what);
	exit(1);
}

static void pool_use(const struct tare_pool_options *options)
{
	tare_pool_free(pool);
	if (tare_pool_new(&pool, options) < 0)
		die("out of memory");
}

// The compiler must have it in memory, and knows nothing of it afterwards.
static inline void used(void *object)
{
	__asm__ volatile("" ::"r"(object) : "memory");
}

static inline void touch(char *object)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		object[i] = 1;
	object[bytes - 1] = 1;
	used(object);
}

// ---- what is timed: n operations ----------------------------------------------------------------------------------

static void pool_pairs(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *object = tare_pool_take(pool);
		used(object);
		tare_pool_give(pool, object);
	}
}

static void fill_and_sum(char *object, uint64_t i)
{
	memset(object, (int)i, KIB);
	used(object);
	uint64_t sum = 0;
	for (size_t k = 0; k < KIB; k += sizeof sum) {
		uint64_t word;
		memcpy(&word, object + k, sizeof word);
		sum += word;
	}
	used((void *)(uintptr_t)sum);
}

static void managed(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_alloc(&heap_tag, KIB);
		fill_and_sum(object, i);
		tare_free(object);
	}
}

static void pooled(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_pool_take(pool);
		fill_and_sum(object, i);
		tare_pool_give(pool, object);
	}
}

static void on_stack(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		alignas(max_align_t) char object[KIB];
		fill_and_sum(object, i);
	}
}

static void heap_touched(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_alloc(&heap_tag, bytes);
		touch(object);
		tare_free(object);
	}
}

static void heap_zeroed(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_alloc_zeroed(&heap_tag, 1, bytes);
		touch(object);
		tare_free(object);
	}
}

static void pool_touched(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_pool_take(pool);
		touch(object);
		tare_pool_give(pool, object);
	}
}

static void heap_crowd(uint64_t n)
{
	static char *objects[CROWD];
	for (uint64_t round = 0; round < n / CROWD + 1; round++) {
		for (int i = 0; i < CROWD; i++)
			touch(objects[i] = tare_alloc(&heap_tag, bytes));
		for (int i = 0; i < CROWD; i++)
			tare_free(objects[i]);
	}
}

static void pool_crowd(uint64_t n)
{
	static char *objects[CROWD];
	for (uint64_t round = 0; round < n / CROWD + 1; round++) {
		for (int i = 0; i < CROWD; i++)
			touch(objects[i] = tare_pool_take(pool));
		for (int i = 0; i < CROWD; i++)
			tare_pool_give(pool, objects[i]);
	}
}

static void stack_zeroed(uint64_t n)
{
	alignas(max_align_t) char object[STACK_MAX];
	for (uint64_t i = 0; i < n; i++) {
		memset(object, 0, bytes);
		touch(object);
	}
}

static void loop(uint64_t n)
{
	uint64_t words[8] = {0};
	for (uint64_t i = 0; i < n; i++) {
		words[i % 8] += i;
		used(words);
	}
}

struct twice {
	void (*work)(uint64_t n);
	uint64_t n;
};

static void *work_of(void *arg)
{
	const struct twice *twice = arg;
	twice->work(twice->n);
	return NULL;
}

// The time is that of the slower one.
static void on_two(void (*work)(uint64_t n), uint64_t n)
{
	struct twice twice = {work, n};
	pthread_t other;
	if (pthread_create(&other, NULL, work_of, &twice) != 0)
		die("no second thread");
	work(n);
	pthread_join(other, NULL);
}

static void pool_pairs_twice(uint64_t n)
{
	on_two(pool_pairs, n);
}

static void loop_twice(uint64_t n)
{
	on_two(loop, n);
}

static void reset_some(void *object)
{
	uint64_t *words = object;
	words[0] = words[1] = 0;
}

static void reset_all(void *object)
{
	memset(object, 0, bytes);
}

// ---- figures ------------------------------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(const char *name, void (*work)(uint64_t n))
{
	uint64_t n = 1000;
	double each[REPETITIONS];
	for (;; n *= 2) {
		int64_t began_ns = tare_clock_ns();
		work(n);
		if (tare_clock_ns() - began_ns >= REPETITION_NS)
			break;
	}
	for (int i = 0; i < REPETITIONS; i++) {
		int64_t began_ns = tare_clock_ns();
		work(n);
		each[i] = (double)(tare_clock_ns() - began_ns) / (double)n;
	}
	qsort(each, REPETITIONS, sizeof each[0], compare_doubles);
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 "}\n", name, each[REPETITIONS / 2], n);
	fflush(stdout);
}

static void bench_pairs(void)
{
	struct tare_pool_options options = {.name = "bench", .object_bytes = KIB};
	pool_use(&options);
	measure("pool_pair", pool_pairs);
	measure("pool_pair_2", pool_pairs_twice);
	measure("loop", loop);
	measure("loop_2", loop_twice);
	options.reset = reset_some;
	pool_use(&options);
	measure("pool_reset_pair", pool_pairs);
	options.reset = NULL;
	options.handles = true;
	pool_use(&options);
	measure("pool_handle_pair", pool_pairs);
}

static void bench_kib(void)
{
	pool_use(&(struct tare_pool_options){.name = "bench", .object_bytes = KIB});
	measure("managed_1k", managed);
	measure("pooled_1k", pooled);
	measure("stack_1k", on_stack);
}

static void bench_sizes(void)
{
	char name[32];
	for (bytes = 16; bytes <= (size_t)1 << 20; bytes *= 4) {
		struct tare_pool_options options = {.name = "bench", .object_bytes = bytes};
		pool_use(&options);
		snprintf(name, sizeof name, "heap_%zu", bytes);
		measure(name, heap_touched);
		snprintf(name, sizeof name, "pool_%zu", bytes);
		measure(name, pool_touched);
		snprintf(name, sizeof name, "heap_zeroed_%zu", bytes);
		measure(name, heap_zeroed);
		snprintf(name, sizeof name, "stack_zeroed_%zu", bytes);
		if (bytes <= STACK_MAX)
			measure(name, stack_zeroed);
		options.reset = reset_all;
		pool_use(&options);
		snprintf(name, sizeof name, "pool_reset_%zu", bytes);
		measure(name, pool_touched);
	}
}

static void bench_crowds(void)
{
	char name[32];
	for (bytes = 16; bytes <= 64 * KIB; bytes *= 4) {
		pool_use(&(struct tare_pool_options){.name = "bench", .object_bytes = bytes});
		snprintf(name, sizeof name, "heap_crowd_%zu", bytes);
		measure(name, heap_crowd);
		snprintf(name, sizeof name, "pool_crowd_%zu", bytes);
		measure(name, pool_crowd);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} benches[] = {{"pairs", bench_pairs}, {"kib", bench_kib}, {"sizes", bench_sizes}, {"crowds", bench_crowds}};
	for (int i = 1; i < argc; i++) {
		bool found = false;
		for (size_t k = 0; k < TARE_ARRAY_LEN(benches); k++)
			if (strcmp(argv[i], "all") == 0 || strcmp(argv[i], benches[k].name) == 0) {
				benches[k].run();
				found = true;
			}
		if (!found) {
			fprintf(stderr, "usage: memory pairs|kib|sizes|crowds|all ...\n");
			return 2;
		}
	}
	tare_pool_free(pool);
	return 0;
}
