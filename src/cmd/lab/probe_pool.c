// SPDX-License-Identifier: MIT
// pool-sizes: what it costs to have an object for a moment, by its size: from malloc's heap, from the collected one,
// from a pool; and where pooling loses.
// pool-footguns: what becomes of mistakes with a pool in this build: each is made in a child of its own, which says
// what it saw, or dies with a message.
//
// An object is written once a page and at its end, so that its memory is there; nothing else is done with it.
// What a collected object costs is also what its collections find live: `collected` is beside nothing, its best case,
// and `collected_with_live` beside linked objects, over so many collections that none is missed.
// Figures of pool-sizes: heap_N_ns, collected_N_ns, collected_with_live_N_ns, pool_N_ns and pool_reset_N_ns (the reset
// clears it all, as who needs zeros must), for N bytes; heap_wins_up_to_bytes: the size up to which malloc's pair is
// the cheaper one, at every size, by more than 5 % (0: at none), heap_wins_over_reset_up_to_bytes, and the same of
// collected; collected_with_live_wins_over_reset_up_to_bytes; live_bytes: of those linked objects; struct_heap_ns,
// struct_collected_ns, struct_pool_ns, struct_stack_ns: of 16 bytes; struct_pool_over_heap_percent,
// …_over_collected_percent, …_over_stack_percent: what the pool costs more. Series heap, collected,
// collected_with_live, pool and pool_reset against the size.
#include "cmd/lab/probe.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/pool.h>

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

enum { PAGE = 4096, SIZE_LEAST = 16, SIZE_STEP = 2, SIZES_MAX = 32, COLLECTIONS = 8, COLLECTIONS_QUICK = 2 };
#define CLEARLY 1.05 // by which one has to be dearer than the other: less is no difference

static struct tare_tag heap_tag = TARE_TAG("probe");

// ---- sizes --------------------------------------------------------------------------------------------------------

struct sizes {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	size_t bytes;
	struct tare_pool *pool;
	double reset_ns[SIZES_MAX]; // of a pool that clears
	bool failed;
};

static struct lab_probe_node *live; // a root
static struct tare_gc_root root;

static size_t reset_bytes;

static void reset_all(void *object)
{
	memset(object, 0, reset_bytes);
}

static bool touch(struct sizes *sizes, char *object)
{
	if (object == NULL) {
		sizes->failed = true;
		return false;
	}
	for (size_t i = 0; i < sizes->bytes; i += PAGE)
		object[i] = 1;
	object[sizes->bytes - 1] = 1;
	lab_probe_keep(object);
	return true;
}

static void heap_pairs(void *arg, uint64_t n)
{
	struct sizes *sizes = arg;
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_alloc(&heap_tag, sizes->bytes);
		(void)touch(sizes, object);
		tare_free(object);
	}
}

static void collected_objects(void *arg, uint64_t n)
{
	struct sizes *sizes = arg;
	for (uint64_t i = 0; i < n; i++)
		(void)touch(sizes, tare_gc_new_noscan(sizes->bytes));
}

static void pool_pairs(void *arg, uint64_t n)
{
	struct sizes *sizes = arg;
	for (uint64_t i = 0; i < n; i++) {
		char *object = tare_pool_take(sizes->pool);
		if (touch(sizes, object))
			tare_pool_give(sizes->pool, object);
	}
}

// The losing case as it comes up: a small struct that somebody pooled, where a variable would do.
struct tiny {
	uint64_t a, b;
};

static void use_tiny(struct sizes *sizes, struct tiny *tiny, uint64_t i)
{
	sizes->failed = sizes->failed || tiny == NULL;
	if (tiny != NULL)
		*tiny = (struct tiny){i, 1};
	lab_probe_keep(tiny);
}

static void tiny_heap(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct tiny *tiny = tare_alloc(&heap_tag, sizeof *tiny);
		use_tiny(arg, tiny, i);
		tare_free(tiny);
	}
}

static void tiny_collected(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		use_tiny(arg, tare_gc_new_noscan(sizeof(struct tiny)), i);
}

static void tiny_pool(void *arg, uint64_t n)
{
	struct sizes *sizes = arg;
	for (uint64_t i = 0; i < n; i++) {
		struct tiny *tiny = tare_pool_take(sizes->pool);
		use_tiny(sizes, tiny, i);
		if (tiny != NULL)
			tare_pool_give(sizes->pool, tiny);
	}
}

static void tiny_stack(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct tiny tiny;
		use_tiny(arg, &tiny, i);
	}
}

static void measure_tiny(struct sizes *sizes)
{
	enum { POOL = 3 };
	static const struct {
		const char *name;
		void (*work)(void *arg, uint64_t n);
	} ways[] = {
	    {"heap", tiny_heap}, {"collected", tiny_collected}, {"stack", tiny_stack}, [POOL] = {"pool", tiny_pool}};
	double ns[TARE_ARRAY_LEN(ways)];
	const struct tare_pool_options options = {.name = "probe", .object_bytes = sizeof(struct tiny)};
	if (tare_pool_new(&sizes->pool, &options) < 0) {
		sizes->failed = true;
		return;
	}
	int64_t repetition_ns = (int64_t)lab_probe_value(sizes->args, "milliseconds") * TARE_NS_PER_MS;
	for (size_t i = 0; i < TARE_ARRAY_LEN(ways); i++) {
		ns[i] = lab_probe_time(ways[i].work, sizes, repetition_ns);
		lab_probe_figure(sizes->out, ns[i], "struct_%s_ns", ways[i].name);
	}
	for (size_t i = 0; i < POOL; i++)
		if (ns[i] > 0)
			lab_probe_figure(sizes->out, (ns[POOL] / ns[i] - 1) * 100, "struct_pool_over_%s_percent",
					 ways[i].name);
	tare_pool_free(sizes->pool);
}

static double one(struct sizes *sizes, const char *name, void (*work)(void *arg, uint64_t n))
{
	double ns = lab_probe_time(work, sizes, (int64_t)lab_probe_value(sizes->args, "milliseconds") * TARE_NS_PER_MS);
	lab_probe_figure(sizes->out, ns, "%s_%zu_ns", name, sizes->bytes);
	lab_probe_point(sizes->out, name, (double)sizes->bytes, ns);
	return ns;
}

static double one_pool(struct sizes *sizes, const char *name, void (*reset)(void *object))
{
	const struct tare_pool_options options = {.name = "probe", .object_bytes = sizes->bytes, .reset = reset};
	if (tare_pool_new(&sizes->pool, &options) < 0) {
		sizes->failed = true;
		return 0;
	}
	double ns = one(sizes, name, pool_pairs);
	tare_pool_free(sizes->pool);
	return ns;
}

// All of a stretch in which the heap is filled with garbage so many times over: it grows by what is live in between.
static double one_with_live(struct sizes *sizes)
{
	uint64_t live_bytes = lab_probe_value(sizes->args, "live");
	uint64_t times = sizes->args->quick ? COLLECTIONS_QUICK : COLLECTIONS;
	uint64_t n = live_bytes * times / sizes->bytes + 1;
	tare_gc_collect(); // each begins where the others do
	int64_t since_ns = lab_probe_cpu_ns();
	collected_objects(sizes, n);
	double ns = (double)(lab_probe_cpu_ns() - since_ns) / (double)n;
	lab_probe_figure(sizes->out, ns, "collected_with_live_%zu_ns", sizes->bytes);
	lab_probe_point(sizes->out, "collected_with_live", (double)sizes->bytes, ns);
	return ns;
}

// Up to which size one wins over a pool. The first size at which it does not ends that, whatever a larger one says:
// what comes after is noise, or another question.
struct lead {
	const char *name;
	size_t bytes;
	bool lost;
};

static void lead_note(struct lead *lead, size_t bytes, double own_ns, double pool_ns)
{
	lead->lost = lead->lost || pool_ns <= own_ns * CLEARLY;
	if (!lead->lost)
		lead->bytes = bytes;
}

static void put_lead(const struct sizes *sizes, const struct lead *lead)
{
	lab_probe_figure(sizes->out, (double)lead->bytes, "%s_up_to_bytes", lead->name);
}

static void measure_without_live(struct sizes *sizes, uint64_t largest)
{
	struct lead heap = {.name = "heap_wins"}, heap_reset = {.name = "heap_wins_over_reset"};
	struct lead collected = {.name = "collected_wins"}, collected_reset = {.name = "collected_wins_over_reset"};
	const struct lead *const leads[] = {&heap, &heap_reset, &collected, &collected_reset};
	size_t at = 0;
	for (sizes->bytes = SIZE_LEAST; sizes->bytes <= largest; sizes->bytes *= SIZE_STEP) {
		reset_bytes = sizes->bytes;
		double heap_ns = one(sizes, "heap", heap_pairs);
		double collected_ns = one(sizes, "collected", collected_objects);
		double pool_ns = one_pool(sizes, "pool", NULL), reset_ns = one_pool(sizes, "pool_reset", reset_all);
		lead_note(&heap, sizes->bytes, heap_ns, pool_ns);
		lead_note(&heap_reset, sizes->bytes, heap_ns, reset_ns);
		lead_note(&collected, sizes->bytes, collected_ns, pool_ns);
		lead_note(&collected_reset, sizes->bytes, collected_ns, reset_ns);
		TARE_ASSERT(at < SIZES_MAX);
		sizes->reset_ns[at++] = reset_ns;
	}
	for (size_t i = 0; i < TARE_ARRAY_LEN(leads); i++)
		put_lead(sizes, leads[i]);
}

// What a pool takes does not depend on what is live: its times are those of before.
static void measure_with_live(struct sizes *sizes, uint64_t largest)
{
	struct lead lead = {.name = "collected_with_live_wins_over_reset"};
	struct tare_gc_stats stats;
	size_t at = 0;
	tare_gc_root_add(&root, &live, 1);
	tare_gc_store(&live, lab_probe_grow(lab_probe_value(sizes->args, "live") / sizeof(struct lab_probe_node)));
	sizes->failed = sizes->failed || live == NULL;
	tare_gc_collect();
	tare_gc_stats_read(&stats);
	lab_probe_figure(sizes->out, (double)stats.marked_bytes, "live_bytes");
	for (sizes->bytes = SIZE_LEAST; sizes->bytes <= largest; sizes->bytes *= SIZE_STEP)
		lead_note(&lead, sizes->bytes, one_with_live(sizes), sizes->reset_ns[at++]);
	put_lead(sizes, &lead);
}

static int measure_sizes(void *arg)
{
	struct sizes *sizes = arg;
	uint64_t largest = lab_probe_value(sizes->args, "largest");
	if (tare_gc_open(NULL, sizes->err) < 0)
		return -ENOMEM;
	measure_without_live(sizes, largest);
	measure_tiny(sizes);
	measure_with_live(sizes, largest);
	tare_gc_close();
	live = NULL;
	return sizes->failed ? tare_error_set(sizes->err, -ENOMEM, "out of memory for objects of up to %zu bytes",
					      (size_t)largest)
			     : 0;
}

static int run_sizes(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct sizes sizes = {.args = args, .out = out, .err = err};
	return lab_probe_in_task(1, measure_sizes, &sizes, err);
}

const struct lab_probe lab_probe_pool_sizes = {
    .name = "pool-sizes",
    .about = "objects for a moment: malloc's, collected ones and a pool's, by size",
    .run = run_sizes,
    .keys = {{"milliseconds", "a repetition, of six and more", false, 10, 1, 1, 1000},
	     {"largest", "object; sizes begin at 16 bytes and double", true, 1 << 20, 4096, SIZE_LEAST, 64 << 20},
	     {"live", "beside which objects are collected in the second series", true, 64 << 20, 4 << 20, 1 << 20,
	      UINT64_C(1) << 40}},
    .axes = {{"", "object size", "B", true, "CPU a take and give", "ns", true}},
};

// ---- footguns -----------------------------------------------------------------------------------------------------

struct message {
	char owner[32], text[96];
};

static void message_reset(void *object)
{
	memset(object, 0, sizeof(struct message));
}

static struct tare_pool *pool_of(const struct tare_pool_options *options)
{
	struct tare_pool *pool;
	if (tare_pool_new(&pool, options) < 0)
		_exit(LAB_PROBE_NO_MEMORY);
	return pool;
}

static void *take(struct tare_pool *pool)
{
	void *object = tare_pool_take(pool);
	if (object == NULL)
		_exit(LAB_PROBE_NO_MEMORY);
	return object;
}

static const struct tare_pool_options plain = {.name = "messages", .object_bytes = sizeof(struct message)};

// One keeps a pointer to what it gave back, and reads there what the next owner wrote.
static int use_after_release(void)
{
	struct tare_pool *pool = pool_of(&plain);
	struct message *mine = take(pool);
	strcpy(mine->owner, "alice");
	tare_pool_give(pool, mine);
	struct message *theirs = take(pool);
	strcpy(theirs->owner, "bob");
	lab_probe_keep(theirs);
	return strcmp(mine->owner, "bob") == 0 ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

// One writes there before anybody has it again.
static int write_after_release(void)
{
	struct tare_pool *pool = pool_of(&plain);
	struct message *mine = take(pool);
	tare_pool_give(pool, mine);
	strcpy(mine->text, "late");
	lab_probe_keep(mine);
	struct message *theirs = take(pool);
	return strcmp(theirs->text, "late") == 0 ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

// Nobody clears an object, and the next owner reads the last one's secret.
static int missing_reset(void)
{
	struct tare_pool *pool = pool_of(&plain);
	struct message *mine = take(pool);
	strcpy(mine->text, "alice's secret");
	tare_pool_give(pool, mine);
	struct message *theirs = take(pool);
	return strcmp(theirs->text, "alice's secret") == 0 ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

static int pool_reset(void)
{
	const struct tare_pool_options options = {
	    .name = "messages", .object_bytes = sizeof(struct message), .reset = message_reset};
	struct tare_pool *pool = pool_of(&options);
	struct message *mine = take(pool);
	strcpy(mine->text, "alice's secret");
	tare_pool_give(pool, mine);
	struct message *theirs = take(pool);
	return theirs->text[0] != '\0' ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

static int double_release(void)
{
	struct tare_pool *pool = pool_of(&plain);
	void *mine = take(pool);
	tare_pool_give(pool, mine);
	tare_pool_give(pool, mine);
	return take(pool) == take(pool) ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

static int wrong_pool(void)
{
	const struct tare_pool_options other = {.name = "others", .object_bytes = 4 * sizeof(struct message)};
	struct tare_pool *pool = pool_of(&plain), *others = pool_of(&other);
	void *mine = take(pool);
	tare_pool_give(others, mine);
	return take(others) == mine ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

// The way out of the first: a name instead of a pointer.
static int stale_handle(void)
{
	const struct tare_pool_options options = {
	    .name = "messages", .object_bytes = sizeof(struct message), .handles = true};
	struct tare_pool *pool = pool_of(&options);
	void *mine = take(pool), *found;
	struct tare_handle handle = tare_pool_handle(pool, mine);
	tare_pool_give(pool, mine);
	(void)take(pool);
	return tare_pool_find(pool, handle, &found) == -ESTALE ? LAB_PROBE_REFUSED : LAB_PROBE_CORRUPTED;
}

static int run_footguns(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	static const struct {
		const char *name;
		int (*fn)(void);
		const char *corrupted; // what was seen then
	} cases[] = {
	    {"use_after_release", use_after_release, "the first owner read what the second one wrote"},
	    {"write_after_release", write_after_release,
	     "what was written after the release stood in the object when it was taken again"},
	    {"missing_reset", missing_reset, "the second owner read what the first one had left"},
	    {"pool_reset", pool_reset, "the second owner read what the first one had left, in spite of the reset"},
	    {"double_release", double_release, "one object was handed to two owners"},
	    {"wrong_pool", wrong_pool, "a pool handed out another pool's object"},
	    {"stale_handle", stale_handle, "the first owner's handle led to the second one's object"},
	};
	(void)args;
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct lab_probe_outcome outcome;
		int rc = lab_probe_in_child(cases[i].fn, &outcome, err);
		if (rc < 0)
			return rc;
		lab_probe_outcome(out, cases[i].name, cases[i].corrupted, &outcome);
	}
	return 0;
}

const struct lab_probe lab_probe_pool_footguns = {
    .name = "pool-footguns",
    .about = "mistakes with a pool: what they corrupt, and what this build catches",
    .run = run_footguns,
};
