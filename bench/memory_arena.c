// SPDX-License-Identifier: MIT
//
// What a taking costs: from an arena, from the heap, from a pool, from a reservoir. One JSON line a figure, in
// nanoseconds an operation.
//
//   memory_arena                 every row: the best of seven repetitions of some 20 ms each
//   memory_arena NAME N          N operations of one row (in thousands) and no clock: for a tool that counts
//                                instructions, twice, with N and 2N, so that what is paid once drops out:
//
//     valgrind --tool=callgrind --callgrind-out-file=/dev/null build/release/bench/memory_arena alloc_32 2000000
//
// One thread, and its CPU time, so that others on the machine are left out as far as the kernel can tell them apart.
// The best of seven is the program's own cost. What is taken is written to where the row says so. Resets are in the
// figures: one every 1,000 takings.
#include <tare/mem.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct tare_tag heap_tag = TARE_TAG("bench");

enum { REPETITIONS = 7, ROUND = 1000, SIZES = 256, REQUEST = 20 };

static struct tare_arena *arena;
static struct tare_pool *pool;
static struct tare_reservoir *reservoir;
static size_t sizes[SIZES]; // 1 to 256 bytes, at random

// Keeps the compiler from knowing what becomes of it.
static inline void use(void *ptr)
{
	__asm__ __volatile__("" ::"r"(ptr) : "memory");
}

static void die(const char *text)
{
	fprintf(stderr, "memory_arena: %s\n", text);
	exit(1);
}

static void alloc_32(uint64_t n)
{
	for (; n >= ROUND; n -= ROUND) {
		for (int i = 0; i < ROUND; i++)
			use(tare_arena_alloc(arena, 32));
		tare_arena_reset(arena);
	}
}

static void alloc_32_written(uint64_t n)
{
	for (; n >= ROUND; n -= ROUND) {
		for (int i = 0; i < ROUND; i++) {
			uint64_t *ptr = tare_arena_alloc(arena, 32);
			if (ptr == NULL)
				die("out of memory");
			*ptr = n;
			use(ptr);
		}
		tare_arena_reset(arena);
	}
}

static void alloc_any(uint64_t n)
{
	for (; n >= ROUND; n -= ROUND) {
		for (int i = 0; i < ROUND; i++)
			use(tare_arena_alloc(arena, sizes[i % SIZES]));
		tare_arena_reset(arena);
	}
}

static void alloc_aligned_64(uint64_t n)
{
	for (; n >= ROUND; n -= ROUND) {
		for (int i = 0; i < ROUND; i++)
			use(tare_arena_alloc_aligned(arena, 64, 64));
		tare_arena_reset(arena);
	}
}

// A request: some takings, then the reset.
static void request(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k < REQUEST; k++)
			use(tare_arena_alloc(arena, sizes[(i + k) % SIZES]));
		tare_arena_reset(arena);
	}
}

static void request_heap(uint64_t n)
{
	void *taken[REQUEST];
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k < REQUEST; k++)
			use(taken[k] = tare_alloc(&heap_tag, sizes[(i + k) % SIZES]));
		for (uint64_t k = 0; k < REQUEST; k++)
			tare_free(taken[k]);
	}
}

static void request_malloc(uint64_t n)
{
	void *taken[REQUEST];
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = 0; k < REQUEST; k++)
			use(taken[k] = malloc(sizes[(i + k) % SIZES]));
		for (uint64_t k = 0; k < REQUEST; k++)
			free(taken[k]);
	}
}

static void reset(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		use(tare_arena_alloc(arena, 32));
		tare_arena_reset(arena);
	}
}

static void mark_rewind(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct tare_arena_mark mark = tare_arena_mark(arena);
		use(tare_arena_alloc(arena, 32));
		tare_arena_rewind(arena, mark);
	}
}

static void child(uint64_t n)
{
	struct tare_arena_options options = {.name = "child", .block_bytes = TARE_ARENA_BLOCK_MIN};
	for (uint64_t i = 0; i < n; i++) {
		struct tare_arena *made;
		if (tare_arena_child(&made, arena, &options) < 0)
			die("out of memory");
		tare_arena_free(made);
	}
}

// As a connection's task makes one.
static void in_storage(uint64_t n)
{
	static alignas(TARE_ARENA_ALIGNMENT) char storage[8192];
	struct tare_arena_options options = {.name = "storage", .block_bytes = sizeof storage, .storage = storage};
	for (uint64_t i = 0; i < n; i++) {
		struct tare_arena *made;
		if (tare_arena_new(&made, &options) < 0)
			die("out of memory");
		use(tare_arena_alloc(made, 32));
		tare_arena_free(made);
	}
}

static void heap_32(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *ptr = tare_alloc(&heap_tag, 32);
		use(ptr);
		tare_free(ptr);
	}
}

static void pool_32(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *ptr = tare_pool_take(pool);
		use(ptr);
		tare_pool_give(pool, ptr);
	}
}

static void reservoir_4096(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct tare_buffer buffer = tare_reservoir_take(reservoir, 4000);
		use(buffer.ptr);
		tare_reservoir_give(reservoir, buffer);
	}
}

static const struct row {
	const char *name;
	void (*work)(uint64_t n);
} rows[] = {
    {"alloc_32", alloc_32},
    {"alloc_32_written", alloc_32_written},
    {"alloc_1_to_256", alloc_any},
    {"alloc_aligned_64", alloc_aligned_64},
    {"reset", reset},
    {"mark_rewind", mark_rewind},
    {"child_new_free", child},
    {"storage_new_free", in_storage},
    {"request_of_20_arena", request},
    {"request_of_20_tare_alloc", request_heap},
    {"request_of_20_malloc", request_malloc},
    {"tare_alloc_free_32", heap_32},
    {"pool_take_give_32", pool_32},
    {"reservoir_take_give_4096", reservoir_4096},
};

static int64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * TARE_NS_PER_S + now.tv_nsec;
}

static void measure(const struct row *row)
{
	uint64_t n = ROUND;
	for (;; n *= 2) {
		int64_t start_ns = cpu_ns();
		row->work(n);
		if (cpu_ns() - start_ns >= 20 * TARE_NS_PER_MS)
			break;
	}
	double best = 0;
	for (int i = 0; i < REPETITIONS; i++) {
		int64_t start_ns = cpu_ns();
		row->work(n);
		double ns = (double)(cpu_ns() - start_ns) / (double)n;
		best = i == 0 ? ns : TARE_MIN(best, ns);
	}
	printf("{\"name\": \"%s\", \"ns\": %.2f, \"ops\": %" PRIu64 "}\n", row->name, best, n);
}

int main(int argc, char **argv)
{
	static const struct tare_reservoir_class class = {4096, 64};
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (int i = 0; i < SIZES; i++)
		sizes[i] = 1 + tare_rng_below(&rng, 256);
	if (tare_arena_new(&arena, &(struct tare_arena_options){.name = "bench"}) < 0 ||
	    tare_pool_new(&pool, &(struct tare_pool_options){.name = "bench", .object_bytes = 32}) < 0 ||
	    tare_reservoir_new(
		&reservoir, &(struct tare_reservoir_options){.name = "bench", .classes = &class, .class_count = 1}) < 0)
		die("out of memory");
	bool found = argc == 1;
	for (size_t i = 0; i < TARE_ARRAY_LEN(rows); i++) {
		if (argc == 1) {
			measure(&rows[i]);
		} else if (argc == 3 && strcmp(argv[1], rows[i].name) == 0) {
			rows[i].work(strtoull(argv[2], NULL, 10));
			found = true;
		}
	}
	if (!found) {
		fprintf(stderr, "usage: memory_arena [NAME N]\n");
		return 2;
	}
	tare_reservoir_free(reservoir);
	tare_pool_free(pool);
	tare_arena_free(arena);
	return 0;
}
