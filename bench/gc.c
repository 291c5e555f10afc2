// SPDX-License-Identifier: MIT
//
// What a collected heap costs: making objects, marking, pauses and latency while it is changed, binary-trees. One JSON
// line a figure; the names and the methods are those of bench/peers/go/heap and bench/peers/boehm.c. bench/collector
// runs all.
//
//   gc alloc WORKERS [MIN_MIB]  alloc_32        ns an object of 32 bytes, made by a task a worker and dropped at once
//                               alloc_cpu, alloc_cycles    CPU ns an object, and collections; with a least heap of
//                                                          MIN_MIB
//   gc mark WORKERS OBJECTS     map_cpu, map_wall    ns an object: a pointer-heavy map (buckets, records, 200 bytes of
//                               payload apart), collected five times with nothing else going on
//                               flat_cpu, offheap_cpu   ns a record of the same map as one array without pointers, or
//                                                       mapped
//   gc churn WORKERS OBJECTS    while tasks replace the map's records as fast as they can, with GOGC=50 or what it
//                               says:
//                               churn_ns, op_p50, op_p99, op_p999, op_max   ns, of a replacement
//                               pause_p50, pause_p99, pause_max, pauses     ns: what a worker did at once for the
//                                                                           collector
//                               wait_p99, wait_max      ns: until all workers had passed a safepoint
//                               gc_percent, churn_mib   of the CPU time that workers have; the largest resident size
//   gc trees WORKERS DEPTH      trees_wall, trees_cpu ms; trees_mib  the largest resident size
//
// Marking is CPU time of marking alone, as the collector counts it, on both sides.
#include <tare/gc.h>
#include <tare/rt.h>
#include <tare/stat.h>
#include <tare/sync.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { MARKINGS = 5, PAYLOAD_BYTES = 200, CHURN_PERCENT = 50, ALLOC_COUNT = 20000000, TREE_MIN = 4, TREES_MAX = 32 };

static int workers;
static size_t size;

struct leaf {
	struct leaf *next;
	uint64_t rest[3];
};
static const uint32_t leaf_pointers[] = {offsetof(struct leaf, next)};
static struct tare_gc_type leaf_type = TARE_GC_TYPE(struct leaf, leaf_pointers);

struct record {
	uint64_t key;
	char *payload;
	struct record *next;
};
static const uint32_t record_pointers[] = {offsetof(struct record, payload), offsetof(struct record, next)};
static struct tare_gc_type record_type = TARE_GC_TYPE(struct record, record_pointers);
static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct record *, first_word);

struct node {
	struct node *left, *right;
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

TARE_NORETURN static void die(const char *what)
{
	fprintf(stderr, "gc: %s\n", what);
	exit(1);
}

static void *must(void *object)
{
	if (object == NULL)
		die("out of memory");
	return object;
}

static void print(const char *name, double value)
{
	printf("{\"name\": \"%s\", \"value\": %.2f}\n", name, value);
}

// A task a worker, and waits for them.
static void on_each(int (*fn)(void *arg), void *const *args)
{
	struct tare_task *tasks[64];
	for (int i = 0; i < workers; i++) {
		struct tare_task_options options = {.pinned = true, .worker = i};
		if (tare_spawn(&tasks[i], &options, fn, args[i]) < 0)
			die("no memory for a task");
	}
	for (int i = 0; i < workers; i++)
		(void)tare_join(tasks[i]);
}

// ---- making -------------------------------------------------------------------------------------------------------

static int make_leaves(void *arg)
{
	int64_t since_ns = tare_now_ns();
	for (int i = 0; i < ALLOC_COUNT; i++) {
		struct leaf *volatile leaf = must(tare_gc_new(&leaf_type));
		(void)leaf;
	}
	*(double *)arg = (double)(tare_now_ns() - since_ns) / ALLOC_COUNT;
	return 0;
}

static double process_cpu_ms(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void run_alloc(void)
{
	double ns[64], sum = 0;
	void *args[64];
	struct tare_gc_stats stats;
	double cpu_ms = process_cpu_ms();
	for (int i = 0; i < workers; i++)
		args[i] = &ns[i];
	on_each(make_leaves, args);
	for (int i = 0; i < workers; i++)
		sum += ns[i];
	print("alloc_32", sum / workers);
	print("alloc_cpu", (process_cpu_ms() - cpu_ms) * 1e6 / ((double)ALLOC_COUNT * workers));
	tare_gc_stats_read(&stats);
	print("alloc_cycles", (double)stats.cycles);
}

// ---- the map ------------------------------------------------------------------------------------------------------

// Written to, so that its memory is there: a page that nobody has touched is counted by neither side's resident size.
static char *make_payload(void)
{
	char *payload = must(tare_gc_new_noscan(PAYLOAD_BYTES));
	payload[0] = 1;
	return payload;
}

// In another order than they lie in memory.
static void insert(struct record **buckets, size_t records, struct tare_rng *rng, uint64_t key)
{
	struct record *record = must(tare_gc_new(&record_type));
	record->key = key;
	tare_gc_store(&record->payload, make_payload());
	struct record **bucket = &buckets[tare_rng_below(rng, records)];
	tare_gc_store(&record->next, *bucket);
	tare_gc_store(bucket, record);
}

static struct record **make_map(size_t records)
{
	struct record **buckets = must(tare_gc_new_array(&pointer_type, records));
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (size_t i = 0; i < records; i++)
		insert(buckets, records, &rng, i);
	return buckets;
}

// CPU nanoseconds of marking, and of the wall, of one collection: the medians of some.
static void measure_marking(double *ret_cpu_ns, double *ret_wall_ns)
{
	double cpu[MARKINGS], wall[MARKINGS];
	struct tare_gc_stats stats;
	for (int i = 0; i < MARKINGS; i++) {
		int64_t since_ns = tare_now_ns();
		tare_gc_collect();
		double took = (double)(tare_now_ns() - since_ns);
		tare_gc_stats_read(&stats);
		int at = i;
		for (; at > 0 && wall[at - 1] > took; at--) {
			wall[at] = wall[at - 1];
			cpu[at] = cpu[at - 1];
		}
		wall[at] = took;
		cpu[at] = (double)stats.mark_ns;
	}
	*ret_cpu_ns = cpu[MARKINGS / 2];
	*ret_wall_ns = wall[MARKINGS / 2];
}

static void run_mark(void)
{
	double cpu_ns, wall_ns;
	size_t records = size / 2;
	struct tare_gc_pin pin;
	tare_gc_pin(&pin, make_map(records));
	measure_marking(&cpu_ns, &wall_ns);
	print("map_cpu", cpu_ns / (double)size);
	print("map_wall", wall_ns / (double)size);
	tare_gc_unpin(&pin);
	tare_gc_collect();
	size_t flat_bytes = records * (sizeof(struct record) + PAYLOAD_BYTES);
	tare_gc_pin(&pin, must(tare_gc_new_noscan(flat_bytes)));
	memset(pin.object, 1, flat_bytes);
	measure_marking(&cpu_ns, &wall_ns);
	print("flat_cpu", cpu_ns / (double)records);
	print("flat_wall_ms", wall_ns / 1e6);
	tare_gc_unpin(&pin);
	tare_gc_collect();
	void *map = mmap(NULL, flat_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		die("out of memory");
	memset(map, 1, flat_bytes);
	measure_marking(&cpu_ns, &wall_ns);
	print("offheap_cpu", cpu_ns / (double)records);
	munmap(map, flat_bytes);
}

// ---- churn --------------------------------------------------------------------------------------------------------

struct churner {
	struct record **buckets;
	size_t records, first, beyond; // its buckets: no other's
	struct tare_hist *ops;
	uint64_t wanted;
	uint64_t seed;
};

// The bucket's records are replaced by as many new ones.
static void replace(struct record **bucket)
{
	size_t count = 0;
	for (struct record *at = *bucket; at != NULL; at = at->next)
		count++;
	struct record *fresh = NULL;
	for (size_t i = 0; i < count; i++) {
		struct record *record = must(tare_gc_new(&record_type));
		tare_gc_store(&record->payload, make_payload());
		tare_gc_store(&record->next, fresh);
		fresh = record;
	}
	tare_gc_store(bucket, fresh);
}

static int churn(void *arg)
{
	struct churner *c = arg;
	struct tare_rng rng;
	tare_rng_init(&rng, c->seed);
	int64_t at_ns = tare_now_ns();
	for (uint64_t i = 0; i < c->wanted; i++) {
		replace(&c->buckets[c->first + tare_rng_below(&rng, c->beyond - c->first)]);
		int64_t now_ns = tare_now_ns();
		tare_hist_record(c->ops, (uint64_t)(now_ns - at_ns));
		at_ns = now_ns;
	}
	return 0;
}

static struct tare_hist *hist_new(void)
{
	struct tare_hist *hist;
	if (tare_hist_new(&hist, 2, 10 * TARE_NS_PER_S) < 0)
		die("out of memory");
	return hist;
}

static double quantile(const struct tare_hist *hist, double q)
{
	return (double)tare_hist_quantile(hist, q);
}

static double resident_mib(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_maxrss / 1024;
}

static void run_churn(void)
{
	size_t records = size / 2;
	struct record **buckets = make_map(records);
	struct tare_gc_pin pin;
	tare_gc_pin(&pin, buckets);
	struct churner churners[64];
	void *args[64];
	for (int i = 0; i < workers; i++) {
		size_t first = records / (size_t)workers * (size_t)i;
		churners[i] = (struct churner){buckets,        records,
					       first,          first + records / (size_t)workers,
					       hist_new(),     3 * records / (size_t)workers,
					       (uint64_t)i + 1};
		args[i] = &churners[i];
	}
	int64_t since_ns = tare_now_ns();
	on_each(churn, args);
	double wall_ns = (double)(tare_now_ns() - since_ns);
	for (int i = 1; i < workers; i++) {
		tare_hist_merge(churners[0].ops, churners[i].ops);
		tare_hist_free(churners[i].ops);
	}
	struct tare_hist *ops = churners[0].ops;
	print("churn_ns", wall_ns * workers / (double)tare_hist_count(ops));
	print("op_p50", quantile(ops, 0.5));
	print("op_p99", quantile(ops, 0.99));
	print("op_p999", quantile(ops, 0.999));
	print("op_max", (double)tare_hist_max(ops));
	tare_hist_free(ops);
	struct tare_hist *pauses = hist_new(), *waits = hist_new();
	tare_gc_pauses_merge(pauses);
	tare_gc_waits_merge(waits);
	print("pause_p50", quantile(pauses, 0.5));
	print("pause_p99", quantile(pauses, 0.99));
	print("pause_max", (double)tare_hist_max(pauses));
	print("pauses", (double)tare_hist_count(pauses));
	print("wait_p99", quantile(waits, 0.99));
	print("wait_max", (double)tare_hist_max(waits));
	tare_hist_free(pauses);
	tare_hist_free(waits);
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	print("gc_percent", stats.cpu_share * 100);
	print("cycles", (double)stats.cycles);
	print("churn_mib", resident_mib());
	tare_gc_unpin(&pin);
}

// ---- binary-trees -------------------------------------------------------------------------------------------------

static struct node *tree_make(unsigned depth)
{
	struct node *node = must(tare_gc_new(&node_type));
	if (depth > 0) {
		tare_gc_store(&node->left, tree_make(depth - 1));
		tare_gc_store(&node->right, tree_make(depth - 1));
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

static int plant(void *arg)
{
	struct forest *forest = arg;
	for (uint64_t i = 0; i < forest->trees; i++)
		forest->check += tree_check(tree_make(forest->depth));
	return 0;
}

static void expect(unsigned depth, uint64_t trees, uint64_t check)
{
	uint64_t want = trees * ((UINT64_C(2) << depth) - 1);
	if (check == want)
		return;
	fprintf(stderr, "gc: %" PRIu64 " trees of depth %u: check %" PRIu64 ", wanted %" PRIu64 "\n", trees, depth,
		check, want);
	exit(1);
}

static void run_trees(void)
{
	unsigned depth_max = (unsigned)size, count = 0;
	struct forest forests[TREES_MAX];
	struct tare_task *tasks[TREES_MAX];
	int64_t since_ns = tare_now_ns();
	expect(depth_max + 1, 1, tree_check(tree_make(depth_max + 1)));
	struct node *volatile long_lived = tree_make(depth_max);
	for (unsigned depth = TREE_MIN; depth <= depth_max; depth += 2, count++) {
		forests[count] = (struct forest){depth, UINT64_C(1) << (depth_max - depth + TREE_MIN), 0};
		if (tare_spawn(&tasks[count], NULL, plant, &forests[count]) < 0)
			die("no memory for a task");
	}
	for (unsigned i = 0; i < count; i++) {
		(void)tare_join(tasks[i]);
		expect(forests[i].depth, forests[i].trees, forests[i].check);
	}
	expect(depth_max, 1, tree_check(long_lived));
	print("trees_wall", (double)(tare_now_ns() - since_ns) / 1e6);
	print("trees_cpu", process_cpu_ms());
	print("trees_mib", resident_mib());
}

// -------------------------------------------------------------------------------------------------------------------

static const struct {
	const char *name;
	void (*run)(void);
	int percent;
} groups[] = {
    {"alloc", run_alloc, 0},
    {"mark", run_mark, 0},
    {"churn", run_churn, CHURN_PERCENT},
    {"trees", run_trees, 0},
};

static int percent_of(int percent)
{
	const char *gogc = getenv("GOGC");
	if (percent == 0 || gogc == NULL || *gogc == '\0')
		return percent;
	if (strcmp(gogc, "off") == 0)
		return TARE_GC_OFF;
	uint64_t given;
	if (tare_parse_u64((struct tare_str){gogc, strlen(gogc)}, &given) < 0 || given == 0 || given > 100000)
		die("GOGC is 1 to 100000, or off");
	return (int)given;
}

static int group_main(void *arg)
{
	size_t group = *(const size_t *)arg;
	struct tare_error err;
	const char *trace = getenv("GCTRACE");
	struct tare_gc_options options = {.percent = percent_of(groups[group].percent),
					  .min_bytes = group == 0 ? (uint64_t)size << 20 : 0,
					  .trace = trace != NULL && *trace == '1'};
	if (tare_gc_open(&options, &err) < 0)
		die(err.text);
	groups[group].run();
	tare_gc_close();
	return 0;
}

int main(int argc, char **argv)
{
	size_t group = 0;
	while (group < TARE_ARRAY_LEN(groups) && (argc < 3 || strcmp(argv[1], groups[group].name) != 0))
		group++;
	if (group == TARE_ARRAY_LEN(groups))
		die("give alloc WORKERS [MIN_MIB], mark WORKERS OBJECTS, churn WORKERS OBJECTS or trees WORKERS DEPTH");
	workers = atoi(argv[2]);
	size = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	if (workers < 1 || workers > 64 || (group > 0 && size == 0))
		die("WORKERS is 1 to 64; OBJECTS and DEPTH are numbers");
	struct tare_error err;
	int result = 1;
	const struct tare_rt_options options = {.workers = workers, .watchdog_ns = -1};
	if (tare_run(&options, group_main, &group, &result, &err) < 0)
		die(err.text);
	return result;
}
