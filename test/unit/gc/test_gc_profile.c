// SPDX-License-Identifier: MIT
// Goal: the heap's profile says where objects are made, how much of that is still in use, and what there is of each
// type.
// Method: functions of known places that make known numbers of objects; at a rate of one byte every object is a sample,
// so sums are exact; at larger ones they are compared with what is likely. Sites are told apart by their tag and their
// innermost address.
#include "collected.h"
#include "in_task.h"

#include <tare/gc.h>
#include <tare/heap.h>

#include <math.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct node {
	struct node *next;
	uint64_t words[5];
};
static const uint32_t node_pointers[] = {offsetof(struct node, next)};
static struct tare_gc_type node_type = TARE_GC_TYPE(struct node, node_pointers);
static struct tare_gc_type pair_type = {
    .name = "pair", .bytes = sizeof(struct node), .pointer_count = 1, .pointers = node_pointers};
static struct tare_gc_type plain_type = {.name = "plain", .bytes = 64};

#define SITE(name) __attribute__((noinline, section(name)))
extern const char __start_site_a[], __stop_site_a[], __start_site_b[], __stop_site_b[];

SITE("site_a") static void *make_a(struct tare_gc_type *type, size_t bytes)
{
	void *object = type != NULL ? tare_gc_new(type) : tare_gc_new_noscan(bytes);
	CHECK(object != NULL);
	return object;
}

SITE("site_b") static void *make_b(struct tare_gc_type *type, size_t bytes)
{
	void *object = type != NULL ? tare_gc_new(type) : tare_gc_new_noscan(bytes);
	CHECK(object != NULL);
	return object;
}

// ---- what is summed -----------------------------------------------------------------------------------------------

struct sums {
	const char *tag;
	const char *from, *to; // of the innermost address; NULL: any
	double values[TARE_HEAP_VALUES];
};

static bool sum(void *arg, const struct tare_heap_site *site)
{
	struct sums *sums = arg;
	uintptr_t inner = site->frames[0];
	bool here = sums->from == NULL || (inner > (uintptr_t)sums->from && inner <= (uintptr_t)sums->to);
	if (here && strcmp(site->tag, sums->tag) == 0)
		for (int i = 0; i < TARE_HEAP_VALUES; i++)
			sums->values[i] += site->values[i];
	return true;
}

static struct sums sums_of(const char *tag, const char *from, const char *to)
{
	struct sums sums = {.tag = tag, .from = from, .to = to};
	CHECK(tare_heap_sites_each(sum, &sums));
	return sums;
}

static double in_use(const char *tag)
{
	struct sums sums = sums_of(tag, NULL, NULL);
	return sums.values[TARE_HEAP_ALLOCS] - sums.values[TARE_HEAP_FREES];
}

static bool same(double value, double wanted)
{
	return fabs(value - wanted) < 0.01;
}

static void open_at(size_t rate)
{
	tare_heap_rate_set(rate);
	CHECK(tare_gc_open(&(struct tare_gc_options){.reserve_bytes = 1 << 30}, NULL) == 0);
}

static void close_all(void)
{
	tare_gc_close();
	tare_heap_rate_set(0);
}

// ---- sites --------------------------------------------------------------------------------------------------------

// In step with runs, whose length is a multiple of ten: who sampled whatever a run is taken for would see one of the
// two alone.
static int share_main(void *arg)
{
	enum { BYTES = 48, PART_A = 7, PARTS = 10 };
	unsigned objects = SCALED(400000) / PARTS * PARTS + PARTS;
	size_t rate = SIMULATED ? 1 : TARE_MAX((size_t)objects * BYTES / 8000, (size_t)256);
	(void)arg;
	open_at(rate);
	struct sums a = sums_of("gc noscan", __start_site_a, __stop_site_a);
	struct sums b = sums_of("gc noscan", __start_site_b, __stop_site_b);
	double a_before = a.values[TARE_HEAP_BYTES_ALLOCATED], b_before = b.values[TARE_HEAP_BYTES_ALLOCATED];
	for (unsigned i = 0; i < objects; i++)
		(void)(i % PARTS < PART_A ? make_a(NULL, BYTES) : make_b(NULL, BYTES));
	double of_a = sums_of("gc noscan", __start_site_a, __stop_site_a).values[TARE_HEAP_BYTES_ALLOCATED] - a_before;
	double of_b = sums_of("gc noscan", __start_site_b, __stop_site_b).values[TARE_HEAP_BYTES_ALLOCATED] - b_before;
	double made = (double)objects * BYTES, samples = made / (double)rate;
	double sigma = SIMULATED ? 0.001 : 1 / sqrt(samples);
	CHECK(fabs((of_a + of_b) / made - 1) < 6 * sigma);
	CHECK(fabs(of_a / (of_a + of_b) - 0.7) < 6 * sigma * sqrt(0.7 * 0.3));
	close_all();
	return 0;
}

TEST(sites_have_their_share_of_the_bytes_even_in_step_with_runs)
{
	run_in_task(1, share_main);
}

enum { KEPT = 60 };
static void *kept[KEPT]; // a root

__attribute__((noinline)) static void make_kept(struct tare_gc_type *type, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		void *object = make_a(type, 0);
		if (i < KEPT)
			tare_gc_store(&kept[i], object);
	}
}

static int freed_main(void *arg)
{
	enum { MADE = 200 };
	struct tare_gc_root root;
	(void)arg;
	memset(kept, 0, sizeof kept);
	open_at(1);
	tare_gc_root_add(&root, kept, KEPT);
	struct sums before = sums_of("struct node", __start_site_a, __stop_site_a);
	double used_before = in_use("struct node");
	make_kept(&node_type, MADE);
	struct sums after = sums_of("struct node", __start_site_a, __stop_site_a);
	CHECK(same(after.values[TARE_HEAP_ALLOCS] - before.values[TARE_HEAP_ALLOCS], MADE));
	CHECK(same(after.values[TARE_HEAP_BYTES_ALLOCATED] - before.values[TARE_HEAP_BYTES_ALLOCATED],
		   (double)MADE * sizeof(struct node)));
	collect();
	CHECK(in_use("struct node") - used_before >= KEPT - 0.01);
	CHECK(in_use("struct node") - used_before < KEPT + 10); // a stack may seem to hold some
	for (unsigned i = 0; i < KEPT; i++)
		tare_gc_store(&kept[i], NULL);
	collect();
	CHECK(in_use("struct node") - used_before < 10);
	make_kept(&node_type, KEPT);
	close_all();
	CHECK(same(in_use("struct node"), used_before));
	return 0;
}

TEST(objects_that_were_collected_are_in_use_no_more)
{
	run_in_task(2, freed_main);
}

static int kinds_main(void *arg)
{
	enum { LARGE = 100000 };
	(void)arg;
	open_at(1);
	double pairs = in_use("pair"), plains = in_use("plain"), noscans = in_use("gc noscan");
	for (int i = 0; i < 10; i++) {
		CHECK(tare_gc_new_array(&pair_type, 5) != NULL);
		CHECK(tare_gc_new_array(&pair_type, LARGE / sizeof(struct node)) != NULL);
		CHECK(tare_gc_new(&plain_type) != NULL);
		CHECK(tare_gc_new_noscan(LARGE) != NULL);
	}
	CHECK(same(in_use("pair") - pairs, 20));
	CHECK(same(in_use("plain") - plains, 10));
	CHECK(same(in_use("gc noscan") - noscans, 10));
	close_all();
	return 0;
}

TEST(arrays_large_objects_and_those_without_pointers_have_their_types_tag)
{
	run_in_task(1, kinds_main);
}

static int off_main(void *arg)
{
	(void)arg;
	open_at(0);
	double before = sums_of("pair", NULL, NULL).values[TARE_HEAP_ALLOCS];
	for (int i = 0; i < 1000; i++)
		(void)make_a(&pair_type, 0);
	for (int i = 0; i < 3; i++)
		CHECK(tare_gc_new_array(&pair_type, (SIMULATED ? 1 << 17 : 24 << 20) / sizeof(struct node)) != NULL);
	collect();
	CHECK(same(sums_of("pair", NULL, NULL).values[TARE_HEAP_ALLOCS], before));
	close_all();
	return 0;
}

TEST(at_the_rate_of_none_nothing_is_sampled)
{
	run_in_task(1, off_main);
}

// ---- beside the program -------------------------------------------------------------------------------------------

static atomic_bool stop;

static void *read_types(void *arg)
{
	(void)arg;
	do {
		struct tare_gc_type_row rows[8];
		size_t count = tare_gc_types_read(rows, TARE_ARRAY_LEN(rows));
		CHECK(count <= TARE_ARRAY_LEN(rows));
		for (size_t i = 0; i < count; i++)
			CHECK(rows[i].objects > 0 && rows[i].bytes > 0 && rows[i].name != NULL);
		tare_cpu_relax();
	} while (!atomic_load(&stop));
	return NULL;
}

static int churn_main(void *arg)
{
	struct node *list = NULL;
	(void)arg;
	for (unsigned i = 0; i < SCALED(20000); i++) {
		struct node *node = make_a(&node_type, 0);
		tare_gc_store(&node->next, i % 50 == 0 ? NULL : list);
		list = node;
		CHECK(tare_gc_new_array(&pair_type, i % 40) != NULL);
		if (i % 100 == 0)
			CHECK(tare_gc_new_array(&pair_type, 2000) != NULL);
	}
	return 0;
}

static int beside_main(void *arg)
{
	enum { TASKS = 3 };
	struct tare_task *tasks[TASKS];
	struct test_thread thread;
	(void)arg;
	atomic_store(&stop, false);
	open_at(1);
	double nodes = in_use("struct node"), pairs = in_use("pair");
	thread_start(&thread, read_types, NULL);
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, churn_main, NULL) == 0);
	for (int i = 0; i < 3; i++)
		tare_gc_collect();
	for (int i = 0; i < TASKS; i++)
		(void)tare_join(tasks[i]);
	atomic_store(&stop, true);
	thread_join(&thread);
	close_all();
	CHECK(same(in_use("struct node"), nodes));
	CHECK(same(in_use("pair"), pairs));
	return 0;
}

TEST(samples_and_types_are_right_beside_collections)
{
	run_in_task(3, beside_main);
}

// ---- types --------------------------------------------------------------------------------------------------------

static struct tare_gc_type_row row_named(const char *name)
{
	struct tare_gc_type_row rows[32];
	size_t count = tare_gc_types_read(rows, TARE_ARRAY_LEN(rows));
	for (size_t i = 0; i < count; i++) {
		CHECK(i == 0 || rows[i].bytes <= rows[i - 1].bytes);
		if (strcmp(rows[i].name, name) == 0)
			return rows[i];
	}
	return (struct tare_gc_type_row){.objects = 0};
}

// On a stack of its own, so that nothing of it is taken for a pointer afterwards.
static int make_types(void *arg)
{
	enum { NODES = 30, ARRAYS = 10, LARGE = 2, PLAIN = 5 };
	(void)arg;
	unsigned i = 0;
	for (; i < NODES; i++)
		tare_gc_store(&kept[i], tare_gc_new(&node_type));
	for (; i < NODES + ARRAYS; i++)
		tare_gc_store(&kept[i], tare_gc_new_array(&pair_type, 4));
	for (; i < NODES + ARRAYS + LARGE; i++)
		tare_gc_store(&kept[i], tare_gc_new_array(&pair_type, 3000));
	for (; i < NODES + ARRAYS + LARGE + PLAIN; i++)
		tare_gc_store(&kept[i], tare_gc_new_noscan(100));
	for (i = 0; i < 500; i++) {
		(void)make_a(&node_type, 0);
		CHECK(tare_gc_new_array(&pair_type, 3) != NULL);
	}
	return 0;
}

static void check_types(void)
{
	CHECK(row_named("struct node").objects == 30);
	CHECK(row_named("struct node").bytes == 30 * sizeof(struct node));
	CHECK(row_named("struct node").type == &node_type);
	CHECK(row_named("pair").objects == 12);
	CHECK(row_named("pair").type == &pair_type);
	CHECK(row_named("(no pointers)").objects == 5);
	CHECK(row_named("(no pointers)").bytes == 5 * 112);
	struct tare_gc_type_row all;
	CHECK(tare_gc_types_read(&all, 1) == 1);
	CHECK(all.objects == 30 + 12 + 5 && strcmp(all.name, "others") == 0 && all.type == NULL);
}

static void *check_types_by_thread(void *arg)
{
	(void)arg;
	check_types();
	return NULL;
}

static int types_main(void *arg)
{
	struct tare_gc_root root;
	struct tare_task *task;
	struct test_thread thread;
	(void)arg;
	memset(kept, 0, sizeof kept);
	open_at(0);
	tare_gc_root_add(&root, kept, KEPT);
	CHECK(tare_spawn(&task, NULL, make_types, NULL) == 0);
	CHECK(tare_join(task) == 0);
	CHECK(row_named("struct node").objects >= 30);
	collect();
	check_types();
	thread_start(&thread, check_types_by_thread, NULL);
	thread_join(&thread);
	close_all();
	return 0;
}

TEST(types_counts_are_exact_after_a_collection)
{
	run_in_task(2, types_main);
}

// ---- without memory -----------------------------------------------------------------------------------------------

#if !defined(TARE_SIM) && !defined(TARE_ASAN) && !defined(TARE_TSAN)
static atomic_bool refuse_maps;

// The library's calls come here, and not to libc's.
void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (atomic_load(&refuse_maps)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

static int refused_main(void *arg)
{
	enum { MADE = 3000 };
	(void)arg;
	open_at(1);
	struct sums before = sums_of("struct node", NULL, NULL);
	double used_before = in_use("struct node");
	for (int i = 0; i < 100; i++)
		(void)make_a(&node_type, 0);
	const char *forbidden = tare_heap_forbid("the test");
	for (int i = 100; i < MADE; i++) {
		atomic_store(&refuse_maps, true);
		(void)make_a(&node_type, 0);
		atomic_store(&refuse_maps, false);
	}
	(void)tare_heap_forbid(forbidden);
	struct sums after = sums_of("struct node", NULL, NULL);
	CHECK(same(after.values[TARE_HEAP_ALLOCS] - before.values[TARE_HEAP_ALLOCS], MADE));
	CHECK(in_use("struct node") - used_before >= 100);
	CHECK(in_use("struct node") - used_before < 1000); // a page of records
	make_kept(&node_type, 2000);
	CHECK(in_use("struct node") - used_before > 2000); // and goes on
	close_all();
	CHECK(same(in_use("struct node"), used_before));
	return 0;
}

TEST(samples_are_dropped_without_memory_for_them)
{
	run_in_task(1, refused_main);
}
#endif
