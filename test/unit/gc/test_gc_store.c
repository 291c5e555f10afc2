// SPDX-License-Identifier: MIT
// Goal: exchange, compare-and-swap, copies and zeroing do what their plain forms do, and lose nothing to collections;
// stores that go without the barrier are found by the lint. Method: small shapes with known answers, during collections
// and without.
#include "in_task.h"

#include <tare/gc.h>

struct node {
	struct node *left;
	uint64_t value;
	struct node *right;
};
static const uint32_t node_pointers[] = {offsetof(struct node, left), offsetof(struct node, right)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);
static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct node *, first_word);

static struct node *node_new(uint64_t value)
{
	struct node *node = tare_gc_new(&node_type);
	CHECK(node != NULL);
	node->value = value;
	return node;
}

// ---- one word -----------------------------------------------------------------------------------------------------

static atomic_int running;

static int collecting_main(void *arg)
{
	(void)arg;
	while (atomic_load(&running) > 0)
		tare_gc_collect();
	return 0;
}

// A stack of nodes shared by tasks: pushed by compare-and-swap, taken as a whole by exchange. Its sum is known.
static struct node *shared; // a root
static atomic_ullong taken_sum, taken_count;

static void take_all(void)
{
	for (const struct node *node = tare_gc_exchange(&shared, NULL); node != NULL; node = node->left) {
		atomic_fetch_add(&taken_sum, node->value);
		atomic_fetch_add(&taken_count, 1);
	}
}

static int push_main(void *arg)
{
	const unsigned steps = SIMULATED ? 40 : SCALED(20000);
	for (unsigned i = 0; i < steps; i++) {
		struct node *node = node_new((uintptr_t)arg + i), *top = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
		do
			tare_gc_store(&node->left, top);
		while (!tare_gc_compare_exchange(&shared, &top, node));
		if (i % 16 == 15)
			take_all();
		if (i % 5 == 0)
			tare_yield();
	}
	atomic_fetch_sub(&running, 1);
	return 0;
}

static int words_main(void *arg)
{
	enum { PUSHERS = 3 };
	const uint64_t steps = SIMULATED ? 40 : SCALED(20000);
	struct tare_task *tasks[PUSHERS], *collecting;
	struct tare_gc_root root;
	(void)arg;
	shared = NULL;
	atomic_store(&taken_sum, 0);
	atomic_store(&taken_count, 0);
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .min_bytes = 1 << 17}, NULL) == 0);
	tare_gc_root_add(&root, &shared, 1);
	atomic_store(&running, PUSHERS);
	CHECK(tare_spawn(&collecting, NULL, collecting_main, NULL) == 0);
	for (uintptr_t i = 0; i < PUSHERS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, push_main, (void *)(i << 20)) == 0);
	for (unsigned i = 0; i < PUSHERS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	CHECK(tare_join(collecting) == 0);
	take_all();
	CHECK(atomic_load(&taken_count) == PUSHERS * steps);
	CHECK(atomic_load(&taken_sum) == (UINT64_C(3) << 20) * steps + PUSHERS * (steps * (steps - 1) / 2));
	struct node *other = node_new(1), *expected = other;
	tare_gc_store(&shared, node_new(2));
	CHECK(!tare_gc_compare_exchange(&shared, &expected, NULL) && expected == shared && expected->value == 2);
	CHECK(tare_gc_compare_exchange(&shared, &expected, other) && shared == other && expected->value == 2);
	tare_gc_close();
	return 0;
}

TEST(exchange_and_compare_and_swap_lose_nothing_to_collections)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, words_main);
}

// ---- copies -------------------------------------------------------------------------------------------------------

// An array that is shifted to and fro within itself, copied to another, and zeroed: its model are the values alone.
enum { COUNT = SIMULATED ? 40 : 5000 }; // of 24 bytes: several pieces

static void check_array(const struct node *array, const uint64_t *model)
{
	unsigned wrong = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		bool empty = model[i] == 0;
		wrong += array[i].value != model[i] || (array[i].left == NULL) != empty ||
			 (!empty && (array[i].left->value != model[i] || array[i].right != array[i].left));
	}
	CHECK(wrong == 0);
}

static void set(struct node *element, uint64_t value)
{
	struct node filled = {.left = node_new(value), .value = value};
	filled.right = filled.left;
	tare_gc_copy(element, &filled, &node_type, 1);
}

static void change(struct tare_rng *rng, struct node *array, struct node *other, uint64_t *model)
{
	unsigned from = (unsigned)tare_rng_below(rng, COUNT), to = (unsigned)tare_rng_below(rng, COUNT);
	unsigned count = (unsigned)tare_rng_below(rng, COUNT - TARE_MAX(from, to) + 1);
	switch (tare_rng_below(rng, 4)) {
	case 0:
		tare_gc_zero(&array[to], &node_type, count);
		memset(&model[to], 0, count * sizeof *model);
		break;
	case 1: // by way of the other
		tare_gc_copy(other, array, &node_type, COUNT);
		tare_gc_zero(array, &node_type, COUNT);
		tare_gc_copy(array, other, &node_type, COUNT);
		tare_gc_zero(other, &node_type, COUNT);
		break;
	case 2:
		tare_gc_copy(&array[to], &array[from], &node_type, count);
		memmove(&model[to], &model[from], count * sizeof *model);
		break;
	default:
		for (unsigned i = 0; i < 40; i++) {
			unsigned at = (unsigned)tare_rng_below(rng, COUNT);
			model[at] = 1 + tare_rng_below(rng, 1000000);
			set(&array[at], model[at]);
		}
	}
}

static int copier_main(void *arg)
{
	uint64_t *model = arg;
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)model[0]);
	memset(model, 0, COUNT * sizeof *model);
	struct node *array = tare_gc_new_array(&node_type, COUNT), *other = tare_gc_new_array(&node_type, COUNT);
	for (unsigned i = 0; i < (SIMULATED ? 20 : SCALED(800)); i++) {
		change(&rng, array, other, model);
		if (i % 16 == 0)
			check_array(array, model);
		tare_yield();
	}
	check_array(array, model);
	atomic_fetch_sub(&running, 1);
	return 0;
}

static int copies_with(bool lint)
{
	enum { COPIERS = 2 };
	static uint64_t models[COPIERS][COUNT];
	struct tare_task *tasks[COPIERS], *collecting;
	CHECK(
	    tare_gc_open(
		&(struct tare_gc_options){.check = true, .lint = lint, .reserve_bytes = 1 << 28, .min_bytes = 1 << 18},
		NULL) == 0);
	atomic_store(&running, COPIERS);
	CHECK(tare_spawn(&collecting, NULL, collecting_main, NULL) == 0);
	for (unsigned i = 0; i < COPIERS; i++) {
		models[i][0] = i;
		CHECK(tare_spawn(&tasks[i], NULL, copier_main, models[i]) == 0);
	}
	for (unsigned i = 0; i < COPIERS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	CHECK(tare_join(collecting) == 0);
	tare_gc_close();
	return 0;
}

static int copies_main(void *arg)
{
	(void)arg;
	return copies_with(false);
}

static int linted_copies_main(void *arg)
{
	(void)arg;
	return copies_with(true);
}

TEST(arrays_that_are_copied_shifted_and_zeroed_keep_what_they_hold)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, copies_main);
	run_in_task(2, linted_copies_main);
}

// ---- the lint -----------------------------------------------------------------------------------------------------

static struct tare_gc_raw_store reports[8];
static atomic_int report_count;

static void note_report(void *arg, const struct tare_gc_raw_store *store)
{
	int at = atomic_fetch_add((atomic_int *)arg, 1);
	if (at < (int)TARE_ARRAY_LEN(reports))
		reports[at] = *store;
}

static int lint_main(void *arg)
{
	struct tare_gc_stats stats;
	(void)arg;
	atomic_store(&report_count, 0);
	CHECK(tare_gc_open(
		  &(struct tare_gc_options){
		      .lint = true, .lint_report = note_report, .lint_arg = &report_count, .reserve_bytes = 1 << 26},
		  NULL) == 0);
	struct node *a = node_new(1), *b = node_new(2), **array = tare_gc_new_array(&pointer_type, 10);
	tare_gc_store(&a->left, b);
	tare_gc_store(&array[3], a);
	CHECK(tare_gc_exchange(&a->left, NULL) == b);
	tare_gc_collect();
	CHECK(atomic_load(&report_count) == 0);
	a->right = b; // the mistake
	tare_gc_collect();
	CHECK(atomic_load(&report_count) == 1 && reports[0].object == a && reports[0].element == 0);
	CHECK(strcmp(reports[0].type, "struct node") == 0 && reports[0].offset == offsetof(struct node, right));
	CHECK(reports[0].found == b && reports[0].expected == NULL);
	array[7] = b;
	tare_gc_collect();
	CHECK(atomic_load(&report_count) == 2 && reports[1].object == array && reports[1].element == 7);
	tare_gc_collect(); // each is reported once
	CHECK(atomic_load(&report_count) == 2 && reports[1].offset == 0);
	tare_gc_stats_read(&stats);
	CHECK(stats.raw_stores == 2);
	tare_gc_close();
	return 0;
}

TEST(the_lint_names_the_object_and_field_of_a_store_that_went_without_the_barrier)
{
	run_in_task(1, lint_main);
	run_in_task(2, lint_main);
}
