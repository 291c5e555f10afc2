// SPDX-License-Identifier: MIT
// Goal: what is reachable stays, whole; what is not comes to be free. Method: small shapes with known answers.
// Mutators, which change graphs at random, are test_gc_mutators.c's.
#include "in_task.h"

#include <tare/gc.h>
#include <tare/sync.h>

struct node {
	struct node *left, *right;
	uint64_t value;
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);

static uint64_t live_bytes(void)
{
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	return stats.marked_bytes;
}

static struct node *tree(unsigned depth)
{
	struct node *node = tare_gc_new(&node_type);
	CHECK(node != NULL && node->left == NULL && node->right == NULL && node->value == 0);
	node->value = depth;
	if (depth > 0) {
		tare_gc_store(&node->left, tree(depth - 1));
		tare_gc_store(&node->right, tree(depth - 1));
	}
	return node;
}

static uint64_t count(const struct node *node)
{
	return node == NULL ? 0 : 1 + count(node->left) + count(node->right);
}

// Overwrites what calls left below this frame.
__attribute__((noinline)) static void clean_stack(void)
{
	volatile char junk[8192];
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = 0;
}

__attribute__((noinline)) static void make_garbage(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(count(tree(8)) == 511);
}

static int trees_main(void *arg)
{
	(void)arg;
	CHECK(tare_gc_open(NULL, NULL) == 0);
	struct node *kept = tree(10);
	make_garbage();
	clean_stack();
	tare_gc_collect();
	CHECK(count(kept) == 2047);
	uint64_t live = live_bytes();
	CHECK(live >= 2047 * 32 && live < 2047 * 32 + 511 * 32 * 2 + 3 * 8192);
	make_garbage();
	tare_gc_collect();
	CHECK(count(kept) == 2047);
	tare_gc_close();
	return 0;
}

TEST(what_is_reachable_stays_and_the_rest_goes)
{
	run_in_task(1, trees_main);
	run_in_task(2, trees_main);
}

// ---- places that hold ---------------------------------------------------------------------------------------------

static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct node *, first_word);

static uint64_t marked_after_collecting(void)
{
	clean_stack();
	tare_gc_collect();
	return live_bytes();
}

static int parked_main(void *arg)
{
	struct tare_event *go_on = arg;
	struct node *on_stack = tree(6);
	tare_event_wait(go_on);
	CHECK(count(on_stack) == 127);
	return 0;
}

static int argument_main(void *arg)
{
	CHECK(count(arg) == 63);
	return 0;
}

static struct node *global;
static struct tare_gc_root root;
static struct tare_gc_pin pins[20]; // not on a stack, which would hold the trees itself

__attribute__((noinline)) static void fill_places(void)
{
	tare_gc_store(&global, tree(7));
	for (size_t i = 0; i < TARE_ARRAY_LEN(pins); i++)
		tare_gc_pin(&pins[i], tree(5));
}

// Whatever holds a tree, the tree is whole after collections that ran while the holder waited.
static int places_main(void *arg)
{
	struct tare_event go_on = {0};
	struct tare_task *parked, *argument;
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	tare_gc_root_add(&root, &global, 1);
	fill_places();
	CHECK(tare_spawn(&parked, NULL, parked_main, &go_on) == 0);
	CHECK(tare_spawn(&argument, &(struct tare_task_options){.pinned = true, .worker = -1}, argument_main,
			 tree(5)) == 0);
	for (int i = 0; i < 3; i++)
		tare_gc_collect();
	CHECK(count(global) == 255);
	for (size_t i = 0; i < TARE_ARRAY_LEN(pins); i++)
		CHECK(count(pins[i].object) == 63);
	tare_event_wake(&go_on);
	CHECK(tare_join(parked) == 0 && tare_join(argument) == 0);
	uint64_t before = marked_after_collecting();
	for (size_t i = 0; i < TARE_ARRAY_LEN(pins); i++)
		tare_gc_unpin(&pins[i]);
	tare_gc_root_remove(&root);
	uint64_t after = marked_after_collecting();
	CHECK(before >= after + TARE_ARRAY_LEN(pins) / 2 * 63 * 32); // a few may seem to be held by a stack
	tare_gc_close();
	return 0;
}

TEST(stacks_arguments_roots_and_pins_hold_what_they_name)
{
	run_in_task(1, places_main);
	run_in_task(2, places_main);
}

// ---- shapes of objects --------------------------------------------------------------------------------------------

static void check_zeroed(const unsigned char *bytes, size_t count)
{
	size_t i = 0;
	while (i < count && bytes[i] == 0)
		i++;
	CHECK(i == count);
}

// Every size of a class and one beside it, twice, so that the second is made of what the first left.
static int sizes_main(void *arg)
{
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.min_bytes = 1 << 20}, NULL) == 0);
	for (int round = 0; round < 2; round++) {
		for (size_t bytes = 1; bytes < 300000; bytes += bytes < 512 ? 1 : bytes / 7) {
			unsigned char *object = tare_gc_new_noscan(bytes);
			CHECK(object != NULL && (uintptr_t)object % 16 == 0);
			check_zeroed(object, bytes);
			memset(object, 0xff, bytes);
		}
		tare_gc_collect();
	}
	CHECK(tare_gc_new_noscan(0) != NULL);
	CHECK(tare_gc_new_noscan(SIZE_MAX) == NULL && tare_gc_new_noscan(SIZE_MAX / 2) == NULL);
	CHECK(tare_gc_new_array(&pointer_type, SIZE_MAX / 4) == NULL);
	tare_gc_close();
	return 0;
}

TEST(objects_of_every_size_are_zeroed_and_aligned)
{
	run_in_task(1, sizes_main);
}

// An array of trees, larger than a piece that is looked into at once, held by a pointer into its middle.
static int arrays_main(void *arg)
{
	enum { COUNT = SIMULATED ? 20000 : 200000, APART = COUNT / 50 };
	(void)arg;
	CHECK(tare_gc_open(NULL, NULL) == 0);
	struct node **array = tare_gc_new_array(&pointer_type, COUNT);
	for (size_t i = 0; i < COUNT; i += APART)
		tare_gc_store(&array[i], tree(3));
	struct node **volatile middle = &array[COUNT / 2];
	array = NULL;
	make_garbage();
	tare_gc_collect();
	tare_gc_collect();
	array = middle - COUNT / 2;
	for (size_t i = 0; i < COUNT; i++)
		CHECK(count(array[i]) == (i % APART == 0 ? 15 : 0));
	tare_gc_close();
	return 0;
}

TEST(a_pointer_into_an_array_holds_all_its_elements)
{
	run_in_task(1, arrays_main);
	run_in_task(2, arrays_main);
}

// Arrays so large that they are marked in pieces, each with an object at its end.
static int large_arrays(void *arg)
{
	enum { ARRAYS = 4, COUNT = 1 << 17 };
	struct node **arrays[ARRAYS];
	(void)arg;
	for (int i = 0; i < ARRAYS; i++) {
		CHECK((arrays[i] = tare_gc_new_array(&pointer_type, COUNT)) != NULL);
		tare_gc_store(&arrays[i][COUNT - 1], tree(0));
	}
	tare_gc_collect();
	for (int i = 0; i < ARRAYS; i++)
		CHECK(count(arrays[i][COUNT - 1]) == 1);
	return 0;
}

// Who marked them forgets where it was.
static int forget_main(void *arg)
{
	struct tare_task *task;
	(void)arg;
	CHECK(tare_gc_open(NULL, NULL) == 0);
	for (int round = 0; round < 3; round++) {
		CHECK(tare_spawn(&task, NULL, large_arrays, NULL) == 0);
		CHECK(tare_join(task) == 0);
		CHECK(marked_after_collecting() < 64 << 10);
	}
	tare_gc_close();
	return 0;
}

TEST(the_collector_holds_nothing_itself)
{
	run_in_task(1, forget_main);
	run_in_task(2, forget_main);
}

// Buffers whose bytes fill all of their places, so that one ends where the next begins. Every other one has gone.
struct reader {
	char *at, *end;
};
static const uint32_t reader_pointers[] = {offsetof(struct reader, at), offsetof(struct reader, end)};
static struct tare_gc_type reader_type = TARE_GC_TYPE(struct reader, reader_pointers);

static int ends_main(void *arg)
{
	enum { BYTES = 64, READERS = 300 };
	static struct reader *readers[READERS];
	struct tare_gc_root held;
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	tare_gc_root_add(&held, readers, READERS);
	for (int i = 0; i < READERS; i++) {
		tare_gc_store(&readers[i], tare_gc_new(&reader_type));
		tare_gc_store(&readers[i]->at, tare_gc_new_noscan(BYTES));
		memset(readers[i]->at, i, BYTES);
	}
	for (int i = 1; i < READERS; i += 2)
		tare_gc_store(&readers[i]->at, NULL);
	(void)marked_after_collecting();
	for (int i = 0; i < READERS; i += 2)
		tare_gc_store(&readers[i]->end, readers[i]->at + BYTES);
	for (int round = 0; round < 3; round++)
		(void)marked_after_collecting();
	for (int i = 0; i < READERS; i += 2)
		CHECK(readers[i]->end - readers[i]->at == BYTES &&
		      (unsigned char)readers[i]->end[-1] == (unsigned char)i);
	memset(readers, 0, sizeof readers);
	tare_gc_root_remove(&held);
	tare_gc_close();
	return 0;
}

TEST(a_pointer_to_where_an_object_ends_may_be_stored_and_passes_the_check)
{
	run_in_task(1, ends_main);
	run_in_task(2, ends_main);
}

// ---- pacing and limits of the heap --------------------------------------------------------------------------------

// Garbage in plenty, over a small live heap: it is collected as it comes, and what the heap takes stays bounded.
static int steady_main(void *arg)
{
	struct tare_gc_stats stats;
	(void)arg;
	CHECK(tare_gc_open(NULL, NULL) == 0);
	struct node *kept = tree(10);
	// As long as it takes for two collections, which nobody asks for, to have begun and ended.
	do {
		make_garbage();
		tare_gc_stats_read(&stats);
		CHECK(SIMULATED || stats.mapped_bytes < UINT64_C(64) << 20);           // its spans are small
	} while (stats.cycles < 2 && atomic_load(&check_failures) == 0 && !SIMULATED); // which would take long
	CHECK(count(kept) == 2047);
	tare_gc_close();
	return 0;
}

TEST(garbage_is_collected_as_it_comes)
{
	run_in_task(1, steady_main);
	run_in_task(2, steady_main);
}

static int full_main(void *arg)
{
	struct tare_error err = {""};
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF, .reserve_bytes = 1 << 20}, NULL) == 0);
	CHECK(tare_gc_open(NULL, &err) == -EBUSY && err.text[0] != '\0');
	size_t made = 0;
	while (tare_gc_new_noscan(30000) != NULL)
		made++;
	CHECK(made > 10 && made < 40);
	tare_gc_collect();
	CHECK(tare_gc_new_noscan(30000) != NULL);
	tare_gc_close();
	return 0;
}

// Its goals lie past what it may take, so nothing but being full has it collected.
static int crowded_main(void *arg)
{
	enum { BYTES = 4 << 20 };
	const struct tare_gc_options options = {.min_bytes = 16 * BYTES, .reserve_bytes = BYTES};
	struct tare_gc_stats stats;
	(void)arg;
	CHECK(tare_gc_open(&options, NULL) == 0);
	for (int i = 0; i < 3 * BYTES / 30000; i++)
		CHECK(tare_gc_new_noscan(30000) != NULL);
	for (int i = 0; i < 12; i++)
		CHECK(tare_gc_new_noscan(1 << 20) != NULL);
	tare_gc_stats_read(&stats);
	CHECK(stats.cycles > 0);
	tare_gc_close();
	return 0;
}

TEST(a_heap_that_is_full_of_garbage_is_collected_before_it_says_null)
{
	run_in_task(1, crowded_main);
	run_in_task(2, crowded_main);
}

TEST(a_full_heap_says_null_and_has_room_again_after_a_collection)
{
	run_in_task(1, full_main);
}

// ---- a task that never waits --------------------------------------------------------------------------------------

static atomic_bool collected;

static int collect_main(void *arg)
{
	tare_gc_collect();
	atomic_store(&collected, true);
	return arg != NULL;
}

// Nothing but the collection that was asked for makes it give way.
static int busy_main(void *arg)
{
	enum { OBJECTS_MAX = SIMULATED ? 2000 : 8000000 };
	struct tare_task *asks;
	int made = 0;
	(void)arg;
	atomic_store(&collected, false);
	CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF}, NULL) == 0);
	CHECK(tare_spawn(&asks, NULL, collect_main, NULL) == 0);
	tare_yield();
	for (; made < OBJECTS_MAX && !atomic_load(&collected); made++)
		CHECK(tare_gc_new(&node_type) != NULL);
	CHECK(SIMULATED || made < OBJECTS_MAX); // there time passes when all wait
	CHECK(tare_join(asks) == 0);
	tare_gc_close();
	return 0;
}

TEST(a_task_that_makes_objects_and_never_waits_lets_a_collection_run)
{
	run_in_task(1, busy_main);
}

// ---- plain threads ------------------------------------------------------------------------------------------------

static atomic_int started, ended;

static int end(void *arg)
{
	atomic_fetch_add(&ended, 1);
	return arg != NULL;
}

static void *starts_tasks(void *arg)
{
	for (int i = 0; i < (SIMULATED ? 20 : 500); i++) {
		CHECK(tare_go(end, NULL) == 0);
		atomic_fetch_add(&started, 1);
	}
	return arg;
}

static int threads_main(void *arg)
{
	struct test_thread thread;
	(void)arg;
	atomic_store(&started, 0);
	atomic_store(&ended, 0);
	CHECK(tare_gc_open(NULL, NULL) == 0);
	struct node *kept = tree(6);
	thread_start(&thread, starts_tasks, NULL);
	while (atomic_load(&ended) < (SIMULATED ? 20 : 500))
		tare_gc_collect();
	thread_join(&thread);
	CHECK(count(kept) == 127);
	tare_gc_close();
	return 0;
}

TEST(a_plain_thread_may_start_tasks_during_a_collection)
{
	run_in_task(1, threads_main);
	run_in_task(2, threads_main);
}
