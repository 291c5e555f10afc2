// SPDX-License-Identifier: MIT
// Goal: a collected heap keeps to its limit where it can; where it can't, the program goes on, is told, is refused or
// ended, as it chose; and memory that is free goes back to the system. Method: blobs of known bytes, held by an array,
// beside garbage; the kernel's word for what is resident. Most limits are for the heap alone, since sanitizers use
// memory of their own.
#include "child.h"
#include "collected.h"
#include "in_task.h"

#include "gc/gc_int.h"

#include <sys/mman.h>
#include <unistd.h>

enum { BLOB = 8192, MIB = 1 << 20, BLOBS_PER_MIB = MIB / BLOB };

static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(void *, first_word);

static unsigned char **held; // a root: an array of `count` blobs, each of its own number's bytes
static size_t held_count;
static struct tare_gc_root root;

static bool blob_is(const unsigned char *blob, size_t number)
{
	return blob[0] == (unsigned char)number && blob[BLOB / 2] == 0 && blob[BLOB - 1] == (unsigned char)~number;
}

// NULL is passed on.
static unsigned char *blob_new(size_t number)
{
	unsigned char *blob = tare_gc_new_noscan(BLOB);
	if (blob != NULL) {
		CHECK(blob[0] == 0 && blob[BLOB / 2] == 0 && blob[BLOB - 1] == 0);
		blob[0] = (unsigned char)number;
		blob[BLOB - 1] = (unsigned char)~number;
	}
	return blob;
}

__attribute__((noinline)) static void hold(size_t mib)
{
	held_count = mib * BLOBS_PER_MIB;
	tare_gc_store(&held, tare_gc_new_array(&pointer_type, held_count));
	for (size_t i = 0; i < held_count; i++) {
		tare_gc_store(&held[i], blob_new(i));
		CHECK(held[i] != NULL);
	}
}

// Apart, as what holds and lets go, so that the caller's frame has no pointer that it forgot.
__attribute__((noinline)) static void check_held(void)
{
	for (size_t i = 0; i < held_count; i++)
		CHECK(blob_is(held[i], i));
}

// Each by itself: some stack may still seem to hold the array.
__attribute__((noinline)) static void let_go(void)
{
	for (size_t i = 0; i < held_count; i++)
		tare_gc_store(&held[i], NULL);
	tare_gc_store(&held, NULL);
	held_count = 0;
}

// So much is made and dropped at once. How much of it was made.
__attribute__((noinline)) static size_t churn(size_t mib)
{
	size_t made = 0;
	for (size_t i = 0; i < mib * BLOBS_PER_MIB; i++)
		made += blob_new(i) != NULL;
	return made;
}

static void open_heap(const struct tare_gc_options *options)
{
	struct tare_error err = {""};
	int rc = tare_gc_open(options, &err);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	CHECK(rc == 0);
	held = NULL;
	held_count = 0;
	tare_gc_root_add(&root, &held, 1);
}

// The counts of blocks are what the bitmaps say.
static void check_blocks(void)
{
	size_t dirty = 0, idle = 0;
	tare_spin_lock(&gc.blocks_spin);
	for (size_t i = 0; i < gc.blocks_max / 64; i++) {
		dirty += (size_t)__builtin_popcountll(gc.dirty[i]);
		idle += (size_t)__builtin_popcountll(gc.dirty[i] & ~gc.used[i]);
	}
	bool right = dirty == gc.dirty_blocks;
	// A region may be on its way to the system.
	bool right_too = idle <= gc.idle_blocks + REGION_BYTES / BLOCK_BYTES && gc.idle_blocks <= idle;
	tare_spin_unlock(&gc.blocks_spin);
	CHECK(right);
	CHECK(right_too);
}

static void close_heap(void)
{
	check_held();
	check_blocks();
	tare_gc_root_remove(&root);
	tare_gc_close();
}

// Until the condition holds; the others run meanwhile. A test that waits in vain is stopped from outside.
#define WAIT_UNTIL(condition)                                                                                          \
	do {                                                                                                           \
		while (!(condition))                                                                                   \
			(void)tare_sleep(TARE_NS_PER_MS);                                                              \
	} while (0)

// ---- a limit that can be held -------------------------------------------------------------------------------------

// GOGC alone would let it grow without end.
static int graceful_main(void *arg)
{
	enum { LIVE = SIMULATED ? 1 : 8, LIMIT = SIMULATED ? 8 : 32, ROUNDS = SIMULATED ? 8 : 32 };
	(void)arg;
	open_heap(&(struct tare_gc_options){
	    .percent = TARE_GC_OFF, .limit_bytes = LIMIT * MIB, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	hold(LIVE);
	for (int i = 0; i < ROUNDS; i++) {
		CHECK(churn(LIMIT / 4) == LIMIT / 4 * BLOBS_PER_MIB);
		struct tare_gc_stats stats = stats_now();
		// With a second worker that the system doesn't let run, marking may take as long as it likes.
		if (gc.workers == 1)
			CHECK(stats.mapped_bytes + stats.others_bytes <= (uint64_t)LIMIT * MIB + MIB &&
			      stats.trouble_ns == 0);
		CHECK(stats.goal_bytes < (uint64_t)LIMIT * MIB);
		CHECK(stats.limit_bytes == (uint64_t)LIMIT * MIB);
	}
	CHECK(stats_now().cycles >= 2);
	// And it is used: collections begin when the limit is near, not as often as it pleases.
	CHECK(stats_now().cycles <= ROUNDS * 2);
	close_heap();
	return 0;
}

TEST(below_a_limit_that_can_be_held_garbage_is_collected_in_time)
{
	run_in_task(1, graceful_main);
	run_in_task(2, graceful_main);
}

// What was swept is used again before there is another collection: half of each block is free, and the limit leaves
// little.
static int holes_main(void *arg)
{
	enum { MIBS = SIMULATED ? 2 : 16, LIMIT = MIBS + (SIMULATED ? 4 : 8) };
	(void)arg;
	open_heap(&(struct tare_gc_options){
	    .percent = TARE_GC_OFF, .limit_bytes = LIMIT * MIB, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	hold(MIBS);
	collect();
	for (size_t i = 0; i < held_count; i += 2)
		tare_gc_store(&held[i], NULL);
	collect();
	uint64_t cycles = stats_now().cycles;
	for (size_t i = 0; i < held_count; i += 2)
		tare_gc_store(&held[i], blob_new(i));
	CHECK(stats_now().cycles == cycles);
	CHECK(stats_now().mapped_bytes <= (uint64_t)LIMIT * MIB);
	close_heap();
	return 0;
}

TEST(under_a_limit_free_places_are_used_before_another_collection)
{
	run_in_task(1, holes_main);
}

// What malloc and others have counts as well, where the limit is for all.
static int others_main(void *arg)
{
	enum { MORE = 64 * MIB };
	(void)arg;
	open_heap(&(struct tare_gc_options){.percent = TARE_GC_OFF, .limit_bytes = UINT64_C(1) << 40});
	CHECK(churn(1) == BLOBS_PER_MIB);
	collect();
	uint64_t others = stats_now().others_bytes;
	CHECK(others > 0);
	CHECK(tare_gc_set_limit(others + 4 * (uint64_t)MORE) == UINT64_C(1) << 40);
	uint64_t goal = stats_now().goal_bytes;
	CHECK(goal > 2 * (uint64_t)MORE && goal < 4 * (uint64_t)MORE);
	char *more = mmap(NULL, MORE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(more != MAP_FAILED);
	(void)tare_gc_set_limit(others + 4 * (uint64_t)MORE); // looks
	struct tare_gc_stats stats = stats_now();
	CHECK(stats.others_bytes >= others + MORE * 3 / 4);
	CHECK(stats.goal_bytes + MORE * 3 / 4 <= goal);
	munmap(more, MORE);
	close_heap();
	return 0;
}

TEST(memory_beside_the_heap_counts_against_a_limit_for_all)
{
	run_in_task(1, others_main);
}

static int follows_main(void *arg)
{
	(void)arg;
	tare_limit_set(UINT64_C(10) << 40);
	open_heap(NULL);
	CHECK(stats_now().limit_bytes == UINT64_C(9) << 40);
	tare_limit_set(0);
	collect();
	CHECK(stats_now().limit_bytes == TARE_GC_NO_LIMIT && stats_now().others_bytes == 0);
	// A limit that comes later is seen when the process is near it: then reclaimers are called.
	tare_limit_set(tare_limit_used());
	int64_t next_ns;
	CHECK(SIMULATED || tare_limit_look(&next_ns));
	if (!SIMULATED) {
		tare_limit_reclaim();
		WAIT_UNTIL(stats_now().limit_bytes != TARE_GC_NO_LIMIT);
	}
	CHECK(tare_gc_set_limit(TARE_GC_NO_LIMIT) == 0);
	CHECK(stats_now().limit_bytes == TARE_GC_NO_LIMIT);
	tare_limit_set(0);
	tare_limit_rest();
	close_heap();
	return 0;
}

TEST(without_a_limit_of_its_own_the_heap_follows_the_process)
{
	run_in_task(1, follows_main);
}

// ---- a limit that can't -------------------------------------------------------------------------------------------

enum { OVER_LIVE = SIMULATED ? 2 : 16, OVER_LIMIT = OVER_LIVE / 2, OVER_CHURN = SIMULATED ? 1 : 8 };

static void over_the_limit(bool limiter_off)
{
	open_heap(&(struct tare_gc_options){.limit_bytes = OVER_LIMIT * MIB,
					    .limit_heap_alone = true,
					    .limiter_off = limiter_off,
					    .reserve_bytes = 1 << 30});
	hold(OVER_LIVE);
	uint64_t cycles = stats_now().cycles;
	CHECK(churn(OVER_CHURN) == OVER_CHURN * BLOBS_PER_MIB);
	collect();
	CHECK(stats_now().cycles > cycles);
	WAIT_UNTIL(stats_now().trouble_ns > 0);
	// An idle program is left alone.
	cycles = stats_now().cycles;
	for (int i = 0; i < 20; i++)
		(void)tare_sleep(TARE_NS_PER_MS);
	CHECK(stats_now().cycles <= cycles + 1);
	// With room again trouble is over, and garbage is collected as ever.
	check_held();
	let_go();
	collect();
	CHECK(stats_now().trouble_ns == 0);
	CHECK(churn(1) == BLOBS_PER_MIB);
	close_heap();
}

static int over_main(void *arg)
{
	(void)arg;
	over_the_limit(false);
	over_the_limit(true);
	return 0;
}

TEST(over_the_limit_the_program_goes_on)
{
	run_in_task(1, over_main);
	run_in_task(2, over_main);
}

// Collecting takes more than half of the time until the limiter steps in.
static int limiter_main(void *arg)
{
	enum { CELLS = 200000 };
	(void)arg;
	open_heap(&(struct tare_gc_options){.limit_bytes = MIB, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	void **cells = tare_gc_new_array(&pointer_type, CELLS);
	tare_gc_store(&held, cells);
	for (size_t i = 0; i < CELLS; i++) {
		void *cell = tare_gc_new(&pointer_type);
		tare_gc_store(&cells[i], cell);
		tare_gc_store(cell, cells);
	}
	while (stats_now().limited_cycles == 0)
		CHECK(churn(1) == BLOBS_PER_MIB);
	let_go();
	cells = NULL;
	close_heap();
	return 0;
}

TEST(the_limiter_steps_in_when_collecting_takes_all_the_time)
{
	if (!SIMULATED) // for seconds
		run_in_task(1, limiter_main);
}

// ---- ways out -----------------------------------------------------------------------------------------------------

static atomic_int calls;
static struct tare_gc_trouble told;

static void trouble(void *arg, const struct tare_gc_trouble *t)
{
	CHECK(arg == &calls);
	told = *t;
	atomic_fetch_add(&calls, 1);
}

static void wait_for_calls(int count)
{
	WAIT_UNTIL(atomic_load(&calls) >= count);
}

static int called_main(void *arg)
{
	(void)arg;
	atomic_store(&calls, 0);
	open_heap(&(struct tare_gc_options){.limit_bytes = OVER_LIMIT * MIB,
					    .limit_heap_alone = true,
					    .reserve_bytes = 1 << 30,
					    .way_out = {.call_after_ns = 1, .call = trouble, .arg = &calls}});
	for (int round = 1; round <= 2; round++) {
		hold(OVER_LIVE);
		collect();
		wait_for_calls(round);
		CHECK(told.lasted_ns > 0 && told.limit_bytes == (uint64_t)OVER_LIMIT * MIB);
		CHECK(told.heap_bytes >= (uint64_t)OVER_LIMIT * MIB / 2 && told.others_bytes > 0);
		CHECK(churn(OVER_CHURN) == OVER_CHURN * BLOBS_PER_MIB);
		CHECK(atomic_load(&calls) == round); // once a trouble
		check_held();
		let_go();
		collect();
		CHECK(stats_now().trouble_ns == 0);
	}
	close_heap();
	return 0;
}

TEST(a_limit_that_can_not_be_held_is_called_back_once_a_trouble)
{
	run_in_task(1, called_main);
	run_in_task(2, called_main);
}

// ---- closing with a call under way --------------------------------------------------------------------------------

static atomic_bool closing;

// It may let go of objects, and so collect to see what that gave.
static void trouble_that_collects(void *arg, const struct tare_gc_trouble *t)
{
	enum { TIMES = SIMULATED ? 4 : 20 };
	(void)t;
	atomic_fetch_add((atomic_int *)arg, 1);
	while (!atomic_load(&closing))
		tare_yield();
	for (int i = 0; i < TIMES; i++)
		tare_gc_collect();
	atomic_fetch_add((atomic_int *)arg, 1);
}

static int close_in_call_main(void *arg)
{
	(void)arg;
	atomic_store(&calls, 0);
	atomic_store(&closing, false);
	open_heap(
	    &(struct tare_gc_options){.limit_bytes = OVER_LIMIT * MIB,
				      .limit_heap_alone = true,
				      .reserve_bytes = 1 << 30,
				      .way_out = {.call_after_ns = 1, .call = trouble_that_collects, .arg = &calls}});
	hold(OVER_LIVE);
	collect();
	wait_for_calls(1);
	atomic_store(&closing, true);
	close_heap();
	CHECK(atomic_load(&calls) == 2);
	return 0;
}

TEST(closing_waits_for_a_call_that_is_under_way_and_collects)
{
	run_in_task(1, close_in_call_main);
	run_in_task(2, close_in_call_main);
}

// Nobody else collects: what is refused must find out by itself that there is room again.
static int refused_main(void *arg)
{
	(void)arg;
	open_heap(&(struct tare_gc_options){.limit_bytes = 3 * OVER_LIVE * MIB,
					    .limit_heap_alone = true,
					    .reserve_bytes = 1 << 30,
					    .way_out = {.fail_after_ns = 1}});
	hold(OVER_LIVE);
	CHECK(stats_now().trouble_ns == 0);
	(void)tare_gc_set_limit(OVER_LIMIT * MIB);
	collect();
	WAIT_UNTIL(stats_now().trouble_ns > 0);
	WAIT_UNTIL(tare_gc_new_noscan(BLOB) == NULL);
	CHECK(tare_gc_new_noscan(1 << 20) == NULL && tare_gc_new_array(&pointer_type, 100000) == NULL);
	uint64_t heap_bytes = stats_now().heap_bytes;
	CHECK(churn(OVER_CHURN) == 0);
	CHECK(stats_now().heap_bytes <= heap_bytes);
	check_held();
	let_go();
	(void)tare_gc_set_limit(OVER_LIMIT * MIB);
	WAIT_UNTIL(tare_gc_new_noscan(BLOB) != NULL);
	CHECK(churn(1) == BLOBS_PER_MIB);
	close_heap();
	return 0;
}

static int refused_for_long_main(void *arg)
{
	(void)arg;
	open_heap(&(struct tare_gc_options){.limit_bytes = MIB * 2,
					    .limit_heap_alone = true,
					    .reserve_bytes = 1 << 30,
					    .way_out = {.fail_after_ns = 1}});
	// Until it says no: what is live is as much as fits.
	held_count = 0;
	tare_gc_store(&held, tare_gc_new_array(&pointer_type, 4 * BLOBS_PER_MIB));
	for (unsigned char *blob; held_count < 4 * BLOBS_PER_MIB && (blob = blob_new(held_count)) != NULL;)
		tare_gc_store(&held[held_count++], blob);
	CHECK(held_count > 0 && held_count < 4 * BLOBS_PER_MIB);
	check_held();
	let_go();
	WAIT_UNTIL(tare_gc_new_noscan(BLOB) != NULL);
	close_heap();
	return 0;
}

TEST(a_limit_that_can_not_be_held_makes_objects_fail_until_there_is_room)
{
	run_in_task(1, refused_main);
	run_in_task(1, refused_for_long_main);
	run_in_task(2, refused_main);
}

static int ended_main(void *arg)
{
	(void)arg;
	open_heap(&(struct tare_gc_options){.limit_bytes = OVER_LIMIT * MIB,
					    .limit_heap_alone = true,
					    .reserve_bytes = 1 << 30,
					    .way_out = {.abort_after_ns = 1}});
	hold(OVER_LIVE);
	collect();
	WAIT_UNTIL(false);
	return 0;
}

static int ended_child(void *arg)
{
	int result;
	(void)arg;
	return tare_run(&(struct tare_rt_options){.workers = 1}, ended_main, NULL, &result, NULL);
}

TEST(a_limit_that_can_not_be_held_ends_the_process_where_that_is_wanted)
{
	if (SIMULATED)
		return;
	char text[4096];
	int status = run_child(ended_child, NULL, STDERR_FILENO, text, sizeof text);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "could not be held"));
}

// ---- knobs at run time --------------------------------------------------------------------------------------------

static int knobs_main(void *arg)
{
	enum { LIVE = SIMULATED ? 1 : 8 };
	(void)arg;
	open_heap(&(struct tare_gc_options){.percent = TARE_GC_OFF, .min_bytes = 1 << 16, .limit_heap_alone = true});
	hold(LIVE);
	CHECK(churn(LIVE * 2) == LIVE * 2 * BLOBS_PER_MIB);
	CHECK(stats_now().cycles == 0); // off, and no limit
	collect();
	uint64_t marked = stats_now().marked_bytes;
	CHECK(stats_now().goal_bytes == UINT64_MAX && stats_now().retained_bytes == UINT64_MAX);
	CHECK(tare_gc_set_percent(100) == TARE_GC_OFF);
	CHECK(stats_now().goal_bytes >= 2 * marked && stats_now().goal_bytes < 3 * marked);
	CHECK(tare_gc_set_percent(300) == 100);
	CHECK(stats_now().goal_bytes >= 4 * marked && stats_now().goal_bytes < 7 * marked);
	// A lower goal than what there is has it collected at once.
	CHECK(churn(LIVE) == LIVE * BLOBS_PER_MIB);
	uint64_t cycles = stats_now().cycles;
	CHECK(tare_gc_set_percent(10) == 300);
	WAIT_UNTIL(stats_now().cycles > cycles);
	CHECK(tare_gc_set_percent(TARE_GC_OFF) == 10);
	CHECK(churn(LIVE) == LIVE * BLOBS_PER_MIB);
	cycles = stats_now().cycles;
	CHECK(tare_gc_set_limit(marked + marked / 2 + 2 * MIB) == 0);
	WAIT_UNTIL(stats_now().goal_bytes < marked + marked / 2 + 2 * MIB);
	CHECK(churn(4 * LIVE) == 4 * LIVE * BLOBS_PER_MIB);
	WAIT_UNTIL(stats_now().cycles > cycles); // off, but for the limit
	CHECK(tare_gc_set_limit(TARE_GC_NO_LIMIT) == marked + marked / 2 + 2 * MIB);
	CHECK(stats_now().goal_bytes == UINT64_MAX);
	close_heap();
	return 0;
}

TEST(percent_and_limit_are_set_at_run_time)
{
	run_in_task(1, knobs_main);
	run_in_task(2, knobs_main);
}

// Both are changed all the while, in the middle of collections too, and nothing that is held is lost.
static atomic_bool stop;

static int changes_main(void *arg)
{
	static const uint64_t limits[] = {TARE_GC_NO_LIMIT, 4 * MIB, 16 * MIB, 64 * MIB};
	static const int percents[] = {TARE_GC_OFF, 20, 100, 400};
	struct tare_rng rng;
	(void)arg;
	tare_rng_init(&rng, 7);
	while (!atomic_load(&stop)) {
		(void)tare_gc_set_limit(limits[tare_rng_below(&rng, TARE_ARRAY_LEN(limits))]);
		(void)tare_gc_set_percent(percents[tare_rng_below(&rng, TARE_ARRAY_LEN(percents))]);
		for (int i = 0; i < 5; i++)
			tare_yield();
		(void)tare_sleep(20 * TARE_NS_PER_US);
	}
	return 0;
}

static int replaces_main(void *arg)
{
	enum { LIVE = SIMULATED ? 64 : 512, ROUNDS = SIMULATED ? 10 : SCALED(2000) };
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)arg);
	unsigned char **mine = tare_gc_new_array(&pointer_type, LIVE);
	for (size_t i = 0; i < LIVE; i++)
		tare_gc_store(&mine[i], blob_new(i));
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 16; i++) {
			size_t at = tare_rng_below(&rng, LIVE);
			CHECK(blob_is(mine[at], at));
			tare_gc_store(&mine[at], NULL);
			unsigned char *blob = blob_new(at);
			CHECK(blob != NULL);
			tare_gc_store(&mine[at], blob);
		}
		if (tare_rng_below(&rng, 16) == 0)
			CHECK(tare_gc_new_noscan(tare_rng_below(&rng, 300000)) != NULL);
		tare_yield();
	}
	for (size_t i = 0; i < LIVE; i++)
		CHECK(blob_is(mine[i], i));
	return 0;
}

static int random_main(void *arg)
{
	struct tare_task *changes, *tasks[3];
	(void)arg;
	atomic_store(&stop, false);
	open_heap(&(struct tare_gc_options){.check = true, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	CHECK(tare_spawn(&changes, NULL, changes_main, NULL) == 0);
	for (size_t i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_spawn(&tasks[i], NULL, replaces_main, (void *)(uintptr_t)(i + 1)) == 0);
	for (size_t i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_join(tasks[i]) == 0);
	atomic_store(&stop, true);
	CHECK(tare_join(changes) == 0);
	collect();
	close_heap();
	return 0;
}

TEST(nothing_is_lost_while_limits_come_and_go)
{
	run_in_task(1, random_main);
	run_in_task(2, random_main);
}

// ---- giving back --------------------------------------------------------------------------------------------------

// Bytes of the heap's blocks that the system has given.
static size_t resident(void)
{
	size_t bytes = atomic_load(&gc.top), sum = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *map = calloc(bytes / page + 1, 1);
	CHECK(map != NULL && mincore(gc.base, bytes, map) == 0);
	for (size_t i = 0; i < bytes / page; i++)
		sum += (map[i] & 1) * page;
	free(map);
	return sum;
}

static int background_main(void *arg)
{
	enum { MIBS = SIMULATED ? 4 : 64 };
	(void)arg;
	open_heap(&(struct tare_gc_options){.min_bytes = 1 << 18});
	hold(MIBS);
	check_held();
	CHECK(resident() >= MIBS * MIB);
	uint64_t mapped = stats_now().mapped_bytes;
	CHECK(mapped >= MIBS * MIB && mapped + REGION_BYTES >= resident()); // but for what a huge page brought along
	let_go();
	collect();
	CHECK(stats_now().retained_bytes < mapped / 2);
	WAIT_UNTIL(stats_now().mapped_bytes < stats_now().retained_bytes + REGION_BYTES);
	struct tare_gc_stats stats = stats_now();
	CHECK(resident() <= stats.mapped_bytes + REGION_BYTES && stats.mapped_bytes < mapped);
	CHECK(stats.released_bytes + stats.mapped_bytes >= mapped);
	CHECK(SIMULATED || stats.release_ns > 0);
	// A little is kept, for what comes next; and what comes back is as new.
	CHECK(stats.mapped_bytes + MIB >= stats.retained_bytes);
	hold(MIBS);
	check_held();
	close_heap();
	return 0;
}

TEST(free_pages_go_back_in_the_background)
{
	run_in_task(1, background_main);
	run_in_task(2, background_main);
}

// While collections are late more is free than will be wanted, and some of it goes back.
#ifdef TARE_TSAN
enum { RELEASED_PART = 2 };
#else
enum { RELEASED_PART = 4 };
#endif

// A large object's memory is the next one's: it does not go back and come again each time.
static int large_main(void *arg)
{
	enum { MIBS = SIMULATED ? 16 : 256 };
	(void)arg;
	open_heap(&(struct tare_gc_options){.limit_heap_alone = true, .reserve_bytes = 1 << 30});
	for (int i = 0; i < MIBS; i++)
		CHECK(tare_gc_new_noscan(MIB) != NULL);
	CHECK(stats_now().cycles > 0);
	CHECK(stats_now().released_bytes <= MIBS / RELEASED_PART * MIB);
	close_heap();
	return 0;
}

TEST(large_objects_memory_is_used_again)
{
	run_in_task(1, large_main);
	run_in_task(2, large_main);
}

// GOGC says nothing, so without a limit all is kept; with one, it goes at once.
static int at_once_main(void *arg)
{
	enum { MIBS = SIMULATED ? 4 : 64, LIMIT = MIBS / 2 };
	(void)arg;
	open_heap(
	    &(struct tare_gc_options){.percent = TARE_GC_OFF, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	hold(MIBS);
	let_go();
	collect();
	uint64_t released = stats_now().released_bytes;
	CHECK(stats_now().mapped_bytes >= MIBS * MIB - MIB && released <= 2 * MIB); // the array, which was large
	(void)tare_gc_set_limit(LIMIT * MIB);
	WAIT_UNTIL(stats_now().mapped_bytes + stats_now().others_bytes <= LIMIT * MIB);
	CHECK(resident() <= LIMIT * MIB + REGION_BYTES);
	CHECK(stats_now().released_bytes - released >= LIMIT * MIB);
	close_heap();
	return 0;
}

TEST(under_a_limit_free_pages_go_back_at_once)
{
	run_in_task(1, at_once_main);
}

// Free blocks lie apart, most of each region is in use: only a limit takes those.
static int apart_main(void *arg)
{
	enum { MIBS = SIMULATED ? 6 : 16 }; // in each 2 MiB some 24 of 32 blocks stay in use
	(void)arg;
	open_heap(
	    &(struct tare_gc_options){.percent = TARE_GC_OFF, .limit_heap_alone = true, .reserve_bytes = 1 << 30});
	hold(MIBS);
	for (size_t i = 0; i < held_count; i++)
		if (i % 64 < 16)
			tare_gc_store(&held[i], NULL);
	collect();
	uint64_t idle = stats_now().idle_bytes, released = stats_now().released_bytes;
	CHECK(idle >= MIBS * MIB / 8);
	CHECK(gc_release(SIZE_MAX, GC_FROM_FREE) + gc_release(SIZE_MAX, GC_FROM_MOSTLY_FREE) < idle / 2);
	CHECK(gc_release(SIZE_MAX, GC_FROM_ANY) > idle / 2);
	CHECK(stats_now().idle_bytes == 0 && stats_now().released_bytes == released + idle);
	check_blocks();
	for (size_t i = 0; i < held_count; i++)
		if (held[i] == NULL)
			tare_gc_store(&held[i], blob_new(i));
	close_heap();
	return 0;
}

TEST(regions_in_use_are_broken_up_only_when_a_limit_demands_it)
{
	run_in_task(1, apart_main);
}

// Marking a wide graph takes long lists, of which a few are kept.
static int lists_main(void *arg)
{
	enum { CELLS = SIMULATED ? 2000 : 200000 };
	uint64_t most = 0;
	(void)arg;
	open_heap(&(struct tare_gc_options){.percent = TARE_GC_OFF});
	void **cells = tare_gc_new_array(&pointer_type, CELLS);
	tare_gc_store(&held, cells);
	for (size_t i = 0; i < CELLS; i++)
		tare_gc_store(&cells[i], tare_gc_new(&pointer_type));
	collect();
	most = 24 * sizeof(struct gc_chunk);
	CHECK(stats_now().list_bytes <= most && stats_now().list_bytes > 0);
	let_go();
	cells = NULL;
	close_heap();
	return 0;
}

TEST(marking_s_lists_go_back_after_a_collection)
{
	run_in_task(1, lists_main);
	run_in_task(2, lists_main);
}

// ---- idle marking -------------------------------------------------------------------------------------------------

static uint64_t idle_ns(int from)
{
	uint64_t sum = 0;
	for (int i = from; i < gc.workers; i++)
		sum += atomic_load(&gc.caches[i].idle_ns);
	return sum;
}

static int idle_main(void *arg)
{
	(void)arg;
	open_heap(&(struct tare_gc_options){.idle_marking_off = true, .percent = TARE_GC_OFF});
	hold(1);
	for (int i = 0; i < 3; i++)
		collect();
	// With four workers one is there to mark; with two none is, so one may while it has nothing else to do.
	int own = gc.workers >= 4 ? 0 : 1;
	CHECK(idle_ns(own) == 0);
	for (int i = 0; i < gc.workers; i++)
		CHECK(gc_pace_may_idle(i) == (i < 1));
	close_heap();
	open_heap(&(struct tare_gc_options){.percent = TARE_GC_OFF});
	collect();
	bool quota = tare_cpu_quota() > 0;
	for (int i = 0; i < gc.workers; i++)
		CHECK(gc_pace_may_idle(i) || quota);
	close_heap();
	return 0;
}

TEST(workers_with_nothing_to_do_do_not_mark_where_that_is_not_free)
{
	run_in_task(2, idle_main);
	run_in_task(4, idle_main);
}
