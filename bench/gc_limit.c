// SPDX-License-Identifier: MIT
// What a memory limit costs the closer it comes to what is live, and what the limiter saves: a live tree of small
// objects, a task a worker that makes garbage as fast as it can. One JSON line a figure; bench/peers/go/heap has the
// same as its group limit, and bench/collector --only limit runs both. `tare lab --probe limit-spiral` has one maker
// instead, and leaves out how the limiter comes to step in: what it says is of the state after that.
//
//   gc_limit WORKERS LIVE_MIB MS PERCENT [limiter-off]
//
// PERCENT: of the memory that counts against the limit when a collection has left the live tree alone; GOGC is off
// then. 0: no limit, and GOGC=100.
//
//   limit_made      objects made a second
//   limit_gc        % of the CPUs that collecting took
//   limit_used      the most memory that counted, in % of the limit (of what the live tree takes, without one)
//   limit_cycles    collections a second
//   limit_limited   1: the limiter stepped in
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

#define LOOK_NS (5 * TARE_NS_PER_MS)

enum { BATCH = 1000, WORKERS_MAX = 64 };

static int workers;
static uint64_t live_mib, percent;
static int64_t span_ns;
static bool limiter_off;

static struct node *tree;
static struct tare_gc_root root;
static int64_t since_ns;

struct maker {
	uint64_t made, used_bytes; // used_bytes: the most that this one saw
};

TARE_NORETURN static void die(const char *what)
{
	fprintf(stderr, "gc_limit: %s\n", what);
	exit(1);
}

static struct node *node_new(void)
{
	struct node *node = tare_gc_new(&node_type);
	if (node == NULL)
		die("out of memory");
	return node;
}

static struct node *grow(uint64_t nodes)
{
	if (nodes == 0)
		return NULL;
	struct node *node = node_new();
	tare_gc_store(&node->left, grow((nodes - 1) / 2));
	tare_gc_store(&node->right, grow(nodes - 1 - (nodes - 1) / 2));
	return node;
}

static void print(const char *name, double value)
{
	printf("{\"name\": \"%s\", \"value\": %.2f}\n", name, value);
}

static uint64_t used_bytes(void)
{
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	return stats.mapped_bytes + stats.others_bytes;
}

static int make(void *arg)
{
	struct maker *maker = arg;
	int64_t looked_ns = since_ns, now_ns;
	do {
		for (int i = 0; i < BATCH; i++) {
			struct node *volatile node = node_new();
			(void)node;
		}
		maker->made += BATCH;
		now_ns = tare_now_ns();
		if (now_ns - looked_ns >= LOOK_NS) {
			maker->used_bytes = TARE_MAX(maker->used_bytes, used_bytes());
			looked_ns = now_ns;
		}
	} while (now_ns - since_ns < span_ns);
	return 0;
}

static int64_t collector_ns(const struct tare_gc_stats *stats)
{
	return stats->background_ns + stats->assist_ns + stats->idle_ns + stats->sweep_ns + stats->pause_ns;
}

static void measure(uint64_t live_bytes)
{
	struct tare_gc_stats before, after;
	struct tare_task *tasks[WORKERS_MAX];
	struct maker makers[WORKERS_MAX] = {{0}}, all = {0};
	tare_gc_stats_read(&before);
	since_ns = tare_now_ns();
	for (int i = 0; i < workers; i++) {
		struct tare_task_options options = {.pinned = true, .worker = i};
		if (tare_spawn(&tasks[i], &options, make, &makers[i]) < 0)
			die("no memory for a task");
	}
	for (int i = 0; i < workers; i++) {
		(void)tare_join(tasks[i]);
		all.made += makers[i].made;
		all.used_bytes = TARE_MAX(all.used_bytes, makers[i].used_bytes);
	}
	tare_gc_stats_read(&after);
	double ns = (double)(tare_now_ns() - since_ns);
	uint64_t of_bytes = percent == 0 ? live_bytes : after.limit_bytes;
	print("limit_made", (double)all.made / ns * 1e9);
	print("limit_gc", 100 * (double)(collector_ns(&after) - collector_ns(&before)) / (ns * workers));
	print("limit_used", 100 * (double)all.used_bytes / (double)of_bytes);
	print("limit_cycles", (double)(after.cycles - before.cycles) / ns * 1e9);
	print("limit_limited", after.limited_cycles > 0 ? 1 : 0);
}

static int main_task(void *arg)
{
	struct tare_error err = {""};
	const struct tare_gc_options options = {
	    .percent = percent == 0 ? 0 : TARE_GC_OFF, .limit_heap_alone = true, .limiter_off = limiter_off};
	(void)arg;
	if (tare_gc_open(&options, &err) < 0)
		die(err.text);
	tare_gc_root_add(&root, &tree, 1);
	tare_gc_store(&tree, grow((live_mib << 20) / sizeof(struct node)));
	(void)tare_gc_set_limit(UINT64_C(1) << 50); // so that what counts is reckoned
	tare_gc_collect();
	uint64_t live_bytes = used_bytes();
	if (percent > 0)
		(void)tare_gc_set_limit(live_bytes / 100 * percent);
	measure(live_bytes);
	tare_gc_store(&tree, NULL);
	tare_gc_root_remove(&root);
	tare_gc_close();
	return 0;
}

int main(int argc, char **argv)
{
	struct tare_error err = {""};
	int result = 1;
	limiter_off = argc == 6 && strcmp(argv[5], "limiter-off") == 0;
	if (argc != 5 && !limiter_off)
		die("give WORKERS LIVE_MIB MS PERCENT [limiter-off]");
	workers = atoi(argv[1]);
	live_mib = strtoull(argv[2], NULL, 10);
	span_ns = (int64_t)strtoull(argv[3], NULL, 10) * TARE_NS_PER_MS;
	percent = strtoull(argv[4], NULL, 10);
	if (workers < 1 || workers > WORKERS_MAX || live_mib == 0 || span_ns <= 0)
		die("WORKERS is 1 to 64; LIVE_MIB and MS are numbers");
	const struct tare_rt_options options = {.workers = workers, .watchdog_ns = -1};
	int rc = tare_run(&options, main_task, NULL, &result, &err);
	if (rc < 0)
		die(err.text);
	return result;
}
