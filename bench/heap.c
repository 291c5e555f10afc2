// SPDX-License-Identifier: MIT
//
// What counting costs a heap call: pairs of malloc and free against pairs of tare_alloc and tare_free of the same block
// (its head included), in interleaved rounds. One thread.
//
//   make -s build/release/bench/heap && build/release/bench/heap
//
// Prints the medians, and the difference by call.
#include <tare/heap.h>

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 31, PAIRS = 1000000, BYTES = 64 };

static struct tare_tag heap_tag = TARE_TAG("bench");

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double with_malloc(void)
{
	int64_t began_ns = tare_clock_ns();
	for (int i = 0; i < PAIRS; i++) {
		void *block = malloc(BYTES + TARE_HEAP_HEAD_BYTES);
		__asm__ volatile("" ::"r"(block) : "memory"); // or the compiler drops the pair
		free(block);
	}
	return (double)(tare_clock_ns() - began_ns) / PAIRS;
}

static double with_tare(void)
{
	int64_t began_ns = tare_clock_ns();
	for (int i = 0; i < PAIRS; i++) {
		void *block = tare_alloc(&heap_tag, BYTES);
		__asm__ volatile("" ::"r"(block) : "memory");
		tare_free(block);
	}
	return (double)(tare_clock_ns() - began_ns) / PAIRS;
}

int main(void)
{
	double libc_ns[ROUNDS], tare_ns[ROUNDS], counting_ns[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		libc_ns[i] = with_malloc();
		tare_ns[i] = with_tare();
		counting_ns[i] = (tare_ns[i] - libc_ns[i]) / 2;
	}
	qsort(libc_ns, ROUNDS, sizeof(double), compare);
	qsort(tare_ns, ROUNDS, sizeof(double), compare);
	qsort(counting_ns, ROUNDS, sizeof(double), compare);
	printf("malloc+free %.2f ns, tare_alloc+tare_free %.2f ns; counting: %.2f ns a call (medians of %d rounds)\n",
	       libc_ns[ROUNDS / 2], tare_ns[ROUNDS / 2], counting_ns[ROUNDS / 2], ROUNDS);
	return 0;
}
