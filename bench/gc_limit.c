// SPDX-License-Identifier: MIT
// What a memory limit costs the closer it comes to what is live, and what the limiter saves: a live tree of small objects, one task
// that makes garbage, GOGC off. build/release/bench/gc_limit [LIVE_MIB [SECONDS [WORKERS]]]; a line for each limit in percent of
// the memory that the live heap takes, with the limiter and without.
#include <tare/gc.h>
#include <tare/rt.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct node {
	struct node *left, *right;
	uint64_t rest[6];
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

enum { BATCH = 1000 };

static uint64_t live_mib = 64, seconds = 4;
static struct node *tree;
static struct tare_gc_root root;

static struct node *grow(uint64_t nodes)
{
	if (nodes == 0)
		return NULL;
	struct node *node = tare_gc_new(&node_type);
	if (node == NULL)
		exit(1);
	tare_gc_store(&node->left, grow((nodes - 1) / 2));
	tare_gc_store(&node->right, grow(nodes - 1 - (nodes - 1) / 2));
	return node;
}

static void one(uint64_t percent, bool limiter_off)
{
	struct tare_gc_stats before, after;
	struct tare_error err = {""};
	const struct tare_gc_options options = {
	    .percent = TARE_GC_OFF, .limit_heap_alone = true, .limiter_off = limiter_off};
	if (tare_gc_open(&options, &err) < 0) {
		fprintf(stderr, "bench/gc_limit: %s\n", err.text);
		exit(1);
	}
	tare_gc_root_add(&root, &tree, 1);
	tare_gc_store(&tree, grow((live_mib << 20) / sizeof(struct node)));
	(void)tare_gc_set_limit(UINT64_C(1) << 50); // so that what counts is reckoned
	tare_gc_collect();
	tare_gc_stats_read(&before);
	(void)tare_gc_set_limit((before.mapped_bytes + before.others_bytes) / 100 * percent);
	uint64_t made = 0;
	int64_t since_ns = tare_now_ns(), now_ns;
	do {
		for (int i = 0; i < BATCH; i++) {
			struct node *volatile node = tare_gc_new(&node_type);
			if (node == NULL)
				exit(1);
		}
		made += BATCH;
		now_ns = tare_now_ns();
	} while (now_ns - since_ns < (int64_t)seconds * TARE_NS_PER_S);
	tare_gc_stats_read(&after);
	double s = (double)(now_ns - since_ns) / 1e9;
	printf("%3" PRIu64 " %%  limiter %-3s  %9.0f objects/s  %7.1f collections/s  %5.1f MiB mapped of %5.1f%s\n",
	       percent, limiter_off ? "off" : "on", (double)made / s, (double)(after.cycles - before.cycles) / s,
	       (double)(after.mapped_bytes + after.others_bytes) / 0x1p20, (double)after.limit_bytes / 0x1p20,
	       after.limited_cycles > 0 ? "  (limited)" : "");
	tare_gc_store(&tree, NULL);
	tare_gc_root_remove(&root);
	tare_gc_close();
}

static int main_task(void *arg)
{
	static const uint64_t percents[] = {200, 150, 110, 105, 101, 90};
	(void)arg;
	for (size_t i = 0; i < TARE_ARRAY_LEN(percents); i++)
		for (int off = 0; off < 2; off++)
			one(percents[i], off != 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct tare_error err = {""};
	int result = 1;
	live_mib = argc > 1 ? strtoull(argv[1], NULL, 10) : live_mib;
	seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : seconds;
	int workers = argc > 3 ? atoi(argv[3]) : 2;
	int rc = tare_run(&(struct tare_rt_options){.workers = workers}, main_task, NULL, &result, &err);
	if (rc < 0)
		fprintf(stderr, "bench/gc_limit: %s\n", err.text);
	return rc < 0 ? 1 : result;
}
