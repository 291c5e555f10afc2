// SPDX-License-Identifier: MIT
// Goal: the pacer's promises (test_pacer.c) hold of the heap that it paces: collections begin early enough and end at
// the goal, who owes much marking leaves others their turns, and no worker is left without work that another one
// hoards. Method: a tree, which is deep and narrow, a task that makes garbage, and the heap's own figures in between.
#include "in_task.h"

#include <tare/gc.h>
#include <tare/sync.h>

#include "gc/gc_int.h"

#include "collected.h"

struct node {
	struct node *left, *right;
	uint64_t rest[6];
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

#define MIB (UINT64_C(1) << 20)

// A sanitizer makes everything dear, and making objects dearer than marking them.
#if defined(TARE_ASAN) || defined(TARE_TSAN)
enum { LIVE_MIB = 8, RUNWAY_LEAST = 0, SANITIZED = 1 };
#else
enum { LIVE_MIB = 48, RUNWAY_LEAST = 2 * GC_HEAP_MIN_BYTES, SANITIZED = 0 };
#endif

static struct node *tree;
static struct tare_gc_root root;

static struct node *grow(size_t nodes)
{
	struct node *node = tare_gc_new(&node_type);
	CHECK(node != NULL);
	size_t left = (nodes - 1) / 2, right = nodes - 1 - left;
	tare_gc_store(&node->left, left > 0 ? grow(left) : NULL);
	tare_gc_store(&node->right, right > 0 ? grow(right) : NULL);
	return node;
}

static void plant(const struct tare_gc_options *options, uint64_t bytes)
{
	CHECK(tare_gc_open(options, NULL) == 0);
	tare_gc_root_add(&root, &tree, 1);
	tare_gc_store(&tree, grow(bytes / sizeof(struct node)));
	tare_gc_collect();
}

static void fell(void)
{
	tare_gc_root_remove(&root);
	tree = NULL;
	tare_gc_close();
}

// ---- beginning and end --------------------------------------------------------------------------------------------

// A collection as one that makes objects sees it.
struct seen {
	uint64_t marked, triggered, goal, peak;
};

static void litter(unsigned objects)
{
	for (unsigned i = 0; i < objects; i++)
		CHECK(tare_gc_new(&node_type) != NULL);
}

// Makes garbage until the next collection has ended.
static struct seen watch_one(void)
{
	struct seen seen = {0};
	uint64_t before = stats_now().cycles;
	do {
		litter(100);
		if (!atomic_load(&gc.tracing))
			continue;
		tare_spin_lock(&gc.pace_spin);
		if (gc.pacer.marking) {
			seen.marked = gc.pacer.marked_bytes;
			seen.triggered = gc.pacer.triggered_bytes;
			seen.goal = TARE_MAX(seen.goal, gc.goal_bytes);
			seen.peak = TARE_MAX(seen.peak, gc_heap_bytes());
		}
		tare_spin_unlock(&gc.pace_spin);
	} while (stats_now().cycles == before);
	return seen;
}

// What is made while marking goes on is what the next collection's beginning is reckoned from: a heap whose garbage is
// made quickly is marked from far below its goal, and not from as near to it as any.
static int paced_main(void *arg)
{
	(void)arg;
	plant(&(struct tare_gc_options){.percent = 100}, LIVE_MIB * MIB);
	for (int i = 0; i < 8; i++) {
		struct seen seen = watch_one();
		if (i < 4)
			continue; // it settles
		CHECK(seen.goal > 0);
		CHECK(seen.goal > seen.triggered + RUNWAY_LEAST);
		CHECK(seen.peak <= seen.goal + seen.goal / 16);
	}
	fell();
	return 0;
}

TEST(collections_begin_early_and_end_at_the_goal)
{
	if (SIMULATED)
		skip(); // marking takes no time there
	run_in_task(1, paced_main);
}

static atomic_bool crowded;

static void *crowd_main(void *arg)
{
	(void)arg;
	while (atomic_load(&crowded))
		tare_cpu_relax();
	return NULL;
}

// A marking task that lost its CPU in the middle of a slice has not had more than its share: it does not rest for the
// time in which others ran. And whoever finds nothing left to mark has no need to wait until it has rested.
TEST(collections_end_at_the_goal_on_a_crowded_machine)
{
	if (SIMULATED)
		skip();
	enum { CROWD = 6 };
	pthread_t threads[CROWD];
	atomic_store(&crowded, true);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, NULL), 0);
	run_in_task(1, paced_main);
	atomic_store(&crowded, false);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

// ---- a limit that is too low --------------------------------------------------------------------------------------

static atomic_bool littering;

static int litterer_main(void *arg)
{
	(void)arg;
	while (atomic_load(&littering))
		litter(100);
	return 0;
}

// The limiter leaves the program half of the CPU time, and it would make more garbage in that than it has memory for,
// with one task or with so many more.
static int more_tasks;

static int limited_main(void *arg)
{
	enum { CYCLES = 30 };
	(void)arg;
	plant(&(struct tare_gc_options){.percent = TARE_GC_OFF, .limit_heap_alone = true}, LIVE_MIB * MIB);
	uint64_t limit = stats_now().mapped_bytes / 100 * 105, most = 0;
	(void)tare_gc_set_limit(limit);
	while (stats_now().limited_cycles == 0)
		litter(100);
	atomic_store(&littering, true);
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < more_tasks; i++)
		CHECK(tare_go_with(&(struct tare_task_options){.scope = &scope}, litterer_main, NULL) == 0);
	for (uint64_t until = stats_now().cycles + CYCLES; stats_now().cycles < until;) {
		litter(100);
		most = TARE_MAX(most, gc_heap_bytes());
	}
	atomic_store(&littering, false);
	CHECK(tare_scope_join(&scope) == 0);
	// So much may be made a second, however long marking takes meanwhile: longest beside many tasks on a busy
	// machine, and with a sanitizer so long that nothing can be said.
	if (more_tasks == 0)
		CHECK(most <= 3 * limit);
	else if (!SANITIZED)
		CHECK(most <= 6 * limit);
	fell();
	return 0;
}

TEST(while_the_limiter_keeps_assists_off_a_heap_does_not_run_away)
{
	if (SIMULATED)
		skip();
	more_tasks = 0;
	run_in_task(1, limited_main);
	more_tasks = SCALED(10000);
	run_in_task(1, limited_main);
}

// ---- others' turns ------------------------------------------------------------------------------------------------

static uint64_t worked(int worker)
{
	return atomic_load_explicit(&gc.caches[worker].work_bytes, memory_order_relaxed);
}

// The most marking that was done between two of its turns.
static int turns_main(void *arg)
{
	uint64_t *most = arg, at = worked(0);
	while (atomic_load(&littering)) {
		tare_yield();
		uint64_t now = worked(0);
		*most = TARE_MAX(*most, now - at);
		at = now;
	}
	return 0;
}

// At GOGC=1 a run of objects owes some MiB of marking, and past the goal all that is left.
static int owing_main(void *arg)
{
	uint64_t most = 0;
	(void)arg;
	plant(&(struct tare_gc_options){.percent = 1}, LIVE_MIB * MIB);
	atomic_store(&littering, true);
	struct tare_task *other;
	CHECK(tare_spawn(&other, NULL, turns_main, &most) == 0);
	for (int i = 0; i < 4; i++)
		(void)watch_one();
	atomic_store(&littering, false);
	CHECK(tare_join(other) == 0);
	CHECK(most > 0);
	CHECK(most <= 2 * MIB);
	fell();
	return 0;
}

TEST(who_owes_much_marking_leaves_others_their_turns)
{
	if (SIMULATED)
		skip();
	run_in_task(1, owing_main);
}

static int counting_main(void *arg)
{
	for (unsigned *turns = arg; atomic_load(&littering); (*turns)++)
		tare_yield();
	return 0;
}

enum { CLEARED_BYTES = 64 << 20 };

// A task of its own: no stack holds the object when it has ended. Where it was is told so that it is no pointer to it.
static int dirty_main(void *arg)
{
	char *object = tare_gc_new_noscan(CLEARED_BYTES);
	CHECK(object != NULL);
	memset(object, 1, CLEARED_BYTES);
	*(uintptr_t *)arg = (uintptr_t)object ^ UINTPTR_MAX;
	return 0;
}

// What a large object gets was another's, and is cleared first.
static int clearing_main(void *arg)
{
	unsigned turns = 0;
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF}, NULL) == 0);
	atomic_store(&littering, true);
	struct tare_task *other, *dirty;
	uintptr_t was;
	CHECK(tare_spawn(&other, NULL, counting_main, &turns) == 0);
	CHECK(tare_spawn(&dirty, NULL, dirty_main, &was) == 0);
	CHECK(tare_join(dirty) == 0);
	tare_gc_collect();
	unsigned before = turns;
	char *object = tare_gc_new_noscan(CLEARED_BYTES);
	CHECK(object != NULL && turns > before);
	CHECK(((uintptr_t)object ^ UINTPTR_MAX) == was); // the same memory, or there was nothing to clear
	for (size_t i = 0; object != NULL && i < CLEARED_BYTES; i += 4096)
		CHECK(object[i] == 0);
	atomic_store(&littering, false);
	CHECK(tare_join(other) == 0);
	tare_gc_close();
	return 0;
}

TEST(who_clears_a_large_object_leaves_others_their_turns)
{
	if (SIMULATED)
		skip();
	run_in_task(1, clearing_main);
}

// ---- sharing ------------------------------------------------------------------------------------------------------

enum { COLLECTIONS_MAX = 1000 };

static int shared_main(void *arg)
{
	bool shared = false;
	(void)arg;
	plant(&(struct tare_gc_options){.percent = TARE_GC_OFF}, 8 * MIB);
	// Another program may have the other worker's CPU for a while.
	for (int i = 0; i < COLLECTIONS_MAX && !shared; i++) {
		uint64_t before[2] = {worked(0), worked(1)};
		tare_gc_collect();
		uint64_t first = worked(0) - before[0], second = worked(1) - before[1];
		shared = TARE_MIN(first, second) >= (first + second) / 10;
	}
	CHECK(shared);
	fell();
	return 0;
}

TEST(a_tree_is_marked_by_all_workers)
{
	if (SIMULATED)
		skip();
	run_in_task(2, shared_main);
}
