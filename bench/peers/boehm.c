// SPDX-License-Identifier: MIT
//
// binary-trees on Boehm's collector, as its users would write it: a thread a depth, thread-local allocation and
// parallel markers as the library has them by default. One JSON line a figure; the names and the method are those of
// bench/gc.c.
//
//   boehm trees WORKERS DEPTH
#define GC_THREADS
#include <gc.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { TREE_MIN = 4, TREES_MAX = 32 };

struct node {
	struct node *left, *right;
};

static struct node *tree_make(unsigned depth)
{
	struct node *node = GC_MALLOC(sizeof *node);
	if (node == NULL) {
		fprintf(stderr, "boehm: out of memory\n");
		exit(1);
	}
	if (depth > 0) {
		node->left = tree_make(depth - 1);
		node->right = tree_make(depth - 1);
		GC_END_STUBBORN_CHANGE(node);
		GC_reachable_here(node->left);
		GC_reachable_here(node->right);
	}
	return node;
}

static uint64_t tree_check(const struct node *node)
{
	return node->left == NULL ? 1 : 1 + tree_check(node->left) + tree_check(node->right);
}

struct forest {
	unsigned depth;
	uint64_t trees, check;
};

static void *plant(void *arg)
{
	struct forest *forest = arg;
	for (uint64_t i = 0; i < forest->trees; i++)
		forest->check += tree_check(tree_make(forest->depth));
	return NULL;
}

static void expect(unsigned depth, uint64_t trees, uint64_t check)
{
	uint64_t want = trees * ((UINT64_C(2) << depth) - 1);
	if (check == want)
		return;
	fprintf(stderr, "boehm: %" PRIu64 " trees of depth %u: check %" PRIu64 ", wanted %" PRIu64 "\n", trees, depth,
		check, want);
	exit(1);
}

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void print(const char *name, double value)
{
	printf("{\"name\": \"%s\", \"value\": %.2f}\n", name, value);
}

int main(int argc, char **argv)
{
	if (argc < 4 || strcmp(argv[1], "trees") != 0) {
		fprintf(stderr, "boehm: give trees WORKERS DEPTH\n");
		return 1;
	}
	unsigned depth_max = (unsigned)atoi(argv[3]), count = 0;
	GC_set_markers_count((unsigned)atoi(argv[2]));
	GC_INIT();
	GC_allow_register_threads();
	struct forest forests[TREES_MAX];
	pthread_t threads[TREES_MAX];
	double since_ms = now_ms();
	expect(depth_max + 1, 1, tree_check(tree_make(depth_max + 1)));
	struct node *volatile long_lived = tree_make(depth_max);
	for (unsigned depth = TREE_MIN; depth <= depth_max; depth += 2, count++) {
		forests[count] = (struct forest){depth, UINT64_C(1) << (depth_max - depth + TREE_MIN), 0};
		if (pthread_create(&threads[count], NULL, plant, &forests[count]) != 0)
			return 1;
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		expect(forests[i].depth, forests[i].trees, forests[i].check);
	}
	expect(depth_max, 1, tree_check(long_lived));
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	print("trees_wall", now_ms() - since_ms);
	print("trees_cpu", (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
			       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3);
	print("trees_mib", (double)usage.ru_maxrss / 1024);
	return 0;
}
