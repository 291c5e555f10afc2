// SPDX-License-Identifier: MIT
// Goal: a weak handle yields its object for as long as that lives and NULL afterwards, and a cleanup runs once, after
// it.
// Method: objects held by a root, a stack, or nothing but handles that are read while collections go on; each object's
// bytes say whether it is still itself (what was freed is poisoned or made anew).
#include "collected.h"
#include "in_task.h"

#include "gc/gc_int.h"

#include <tare/gc.h>
#include <tare/sync.h>

struct item {
	struct item *next;
	uint64_t id, not_id;
};
static const uint32_t item_pointers[] = {offsetof(struct item, next)};
static struct tare_gc_type item_type = TARE_GC_TYPE(struct item, item_pointers);

static struct item *item_new(uint64_t id)
{
	struct item *item = tare_gc_new(&item_type);
	CHECK(item != NULL);
	item->id = id;
	item->not_id = ~id;
	return item;
}

static bool is_whole(const struct item *item, uint64_t id)
{
	return item->id == id && item->not_id == ~id;
}

// ---- handles ------------------------------------------------------------------------------------------------------

enum { HANDLES = 40 };
static struct item *kept[HANDLES]; // a root
static struct tare_gc_weak *handles[HANDLES];

__attribute__((noinline)) static void make_kept(void)
{
	for (unsigned i = 0; i < HANDLES; i++) {
		tare_gc_store(&kept[i], item_new(i));
		CHECK(tare_gc_weak_new(&handles[i], kept[i]) == 0);
	}
}

__attribute__((noinline)) static unsigned count_yielded(unsigned from)
{
	unsigned count = 0;
	for (unsigned i = from; i < HANDLES; i++) {
		const struct item *item = tare_gc_weak_get(handles[i]);
		CHECK(item == NULL || is_whole(item, i));
		count += item != NULL;
	}
	return count;
}

static int handles_main(void *arg)
{
	enum { DROPPED = HANDLES / 2 };
	struct tare_gc_root root;
	(void)arg;
	memset(kept, 0, sizeof kept);
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	tare_gc_root_add(&root, kept, HANDLES);
	make_kept();
	for (int i = 0; i < 3; i++)
		collect();
	CHECK(count_yielded(0) == HANDLES);
	CHECK(stats_now().weak_handles == HANDLES && stats_now().handle_bytes > 0);
	tare_gc_zero(kept, &item_type, 0);
	for (unsigned i = 0; i < DROPPED; i++)
		tare_gc_store(&kept[i], NULL);
	collect();
	unsigned left = count_yielded(0);
	CHECK(left >= HANDLES - DROPPED && left < HANDLES - DROPPED / 2); // a stack may seem to hold some
	CHECK(count_yielded(DROPPED) == HANDLES - DROPPED);
	for (unsigned i = 0; i < HANDLES; i++)
		tare_gc_weak_free(handles[i]);
	tare_gc_weak_free(NULL);
	CHECK(stats_now().weak_handles == 0);
	tare_gc_close();
	return 0;
}

TEST(a_weak_handle_yields_its_object_until_it_is_collected_and_then_null)
{
	run_in_task(1, handles_main);
	run_in_task(2, handles_main);
}

// Objects that nothing but handles holds, read by tasks during collections: what a handle yielded is whole until its
// reader has let it go, with what it points to; and what was gone once stays gone.
struct reader {
	struct tare_rng rng;
	bool gone[HANDLES];
	unsigned number;
	unsigned steps;
};
static atomic_int reading;

static int read_main(void *arg)
{
	struct reader *reader = arg;
	for (unsigned i = 0; i < reader->steps; i++) {
		unsigned at = (unsigned)tare_rng_below(&reader->rng, HANDLES);
		struct item *item = tare_gc_weak_get(handles[at]);
		CHECK(item == NULL || !reader->gone[at]);
		reader->gone[at] = item == NULL;
		for (uint64_t yields = tare_rng_below(&reader->rng, 4) == 0 ? tare_rng_below(&reader->rng, 60) : 0;
		     yields > 0; yields--)
			tare_yield(); // while it is on this stack alone
		if (item != NULL)
			CHECK(is_whole(item, at) && is_whole(item->next, at + 1000));
		(void)item_new(1 << 20); // in what was freed
	}
	atomic_fetch_sub(&reading, 1);
	return 0;
}

__attribute__((noinline)) static void make_loose(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct item *item = item_new(i);
		tare_gc_store(&item->next, item_new(i + 1000));
		CHECK(tare_gc_weak_new(&handles[i], item) == 0);
	}
}

static int revive_main(void *arg)
{
	enum { READERS = 3, ROUNDS = SIMULATED ? 2 : 10 };
	static struct reader readers[READERS];
	struct tare_task *tasks[READERS];
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .reserve_bytes = 1 << 28}, NULL) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		make_loose(HANDLES);
		atomic_store(&reading, READERS);
		for (unsigned i = 0; i < READERS; i++) {
			readers[i] = (struct reader){.steps = SIMULATED ? 30 : SCALED(5000)};
			tare_rng_init(&readers[i].rng, (unsigned)round * READERS + i);
			CHECK(tare_spawn(&tasks[i], NULL, read_main, &readers[i]) == 0);
		}
		while (atomic_load(&reading) > 0)
			collect();
		for (unsigned i = 0; i < READERS; i++)
			CHECK(tare_join(tasks[i]) == 0);
		for (unsigned i = 0; i < HANDLES; i++)
			tare_gc_weak_free(handles[i]);
	}
	tare_gc_close();
	return 0;
}

TEST(what_a_handle_yields_during_a_collection_is_kept_with_all_it_leads_to)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, revive_main);
}

// A task's storage may hold, for a while, what was once a pointer to an object: its first store there shades that.
// Readers take what their handle's object alone held, so that their stack alone holds it, as marking ends.
enum { TAKERS = 3 };
static _Atomic(uintptr_t) stale[TAKERS]; // turned over, so that nothing seems to hold it
static atomic_int taking;

__attribute__((noinline)) static void store_over_stale(unsigned at)
{
	volatile uintptr_t storage = ~atomic_load(&stale[at]);
	tare_gc_store((void *)(uintptr_t)&storage, NULL);
}

static int stale_main(void *arg)
{
	struct tare_rng rng;
	(void)arg;
	tare_rng_init(&rng, 1);
	while (atomic_load(&taking) > 0) {
		if (atomic_load(&gc.tracing) && atomic_load(&gc.marking_tasks) == 0 && tare_rng_below(&rng, 20) == 0)
			for (unsigned i = 0; i < TAKERS; i++)
				store_over_stale(i);
		tare_yield();
	}
	return 0;
}

__attribute__((noinline)) static void make_taken(unsigned at, struct tare_gc_weak **ret)
{
	struct item *item = item_new(at);
	tare_gc_store(&item->next, item_new(at + 1000));
	CHECK(tare_gc_weak_new(ret, item) == 0);
	atomic_store(&stale[at], ~(uintptr_t)item);
}

// The second item, out of the first; NULL: that has gone.
__attribute__((noinline)) static struct item *take_next(struct tare_gc_weak *handle)
{
	struct item *item = tare_gc_weak_get(handle);
	if (item == NULL)
		return NULL;
	struct item *next = item->next;
	tare_gc_store(&item->next, NULL);
	return next;
}

static int take_main(void *arg)
{
	struct reader *reader = arg;
	unsigned at = reader->number;
	unsigned patience = tare_worker_count() == 1 ? 20 : 400; // alone, the leader seldom lets anybody see that state
	for (unsigned i = 0; i < reader->steps; i++) {
		struct tare_gc_weak *handle;
		make_taken(at, &handle);
		clean_stack();
		for (unsigned k = 0; k < patience && !(atomic_load(&gc.tracing) && !atomic_load(&gc.shading)); k++)
			tare_yield();
		const struct item *next = take_next(handle);
		clean_stack();
		for (unsigned k = 0; next != NULL && k < 40; k++)
			tare_yield();
		CHECK(next == NULL || is_whole(next, at + 1000));
		tare_gc_weak_free(handle);
	}
	atomic_fetch_sub(&taking, 1);
	return 0;
}

static int taken_main(void *arg)
{
	static struct reader readers[TAKERS];
	struct tare_task *tasks[TAKERS + 1];
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.reserve_bytes = 1 << 28}, NULL) == 0);
	atomic_store(&taking, TAKERS);
	for (unsigned i = 0; i < TAKERS; i++) {
		atomic_store(&stale[i], 0);
		readers[i] = (struct reader){.steps = SIMULATED ? 12 : SCALED(2000), .number = i};
	}
	CHECK(tare_spawn(&tasks[TAKERS], NULL, stale_main, NULL) == 0);
	for (unsigned i = 0; i < TAKERS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, take_main, &readers[i]) == 0);
	while (atomic_load(&taking) > 0)
		collect();
	for (unsigned i = 0; i <= TAKERS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_gc_close();
	return 0;
}

TEST(what_a_handle_yields_as_marking_ends_is_kept_where_stale_words_seem_to_hold_it)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, taken_main);
}

// ---- cleanups -----------------------------------------------------------------------------------------------------

enum { CLEANED = 64, EACH = 3 };
static atomic_int ran[CLEANED][EACH];
static atomic_int ran_all;
static struct tare_gc_weak *cleaned[CLEANED];
static struct tare_handle cleanups[CLEANED][EACH];

static void note(void *arg)
{
	size_t at = (size_t)((atomic_int *)arg - &ran[0][0]);
	CHECK(tare_gc_weak_get(cleaned[at / EACH]) == NULL); // cleared before
	(void)item_new(at);                                  // may make objects, and wait
	tare_yield();
	atomic_fetch_add((atomic_int *)arg, 1);
	atomic_fetch_add(&ran_all, 1);
}

__attribute__((noinline)) static void make_cleaned(void)
{
	for (unsigned i = 0; i < CLEANED; i++) {
		struct item *item = item_new(i);
		CHECK(tare_gc_weak_new(&cleaned[i], item) == 0);
		for (unsigned k = 0; k < EACH; k++) {
			atomic_store(&ran[i][k], 0);
			CHECK(tare_gc_cleanup_add(&cleanups[i][k], item, note, &ran[i][k]) == 0);
		}
	}
}

static int cleanups_main(void *arg)
{
	enum { CANCELLED = 10 };
	(void)arg;
	atomic_store(&ran_all, 0);
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	make_cleaned();
	for (unsigned i = 0; i < CANCELLED; i++) {
		CHECK(tare_gc_cleanup_cancel(cleanups[i][0]));
		CHECK(!tare_gc_cleanup_cancel(cleanups[i][0])); // once
	}
	for (int i = 0; i < 4; i++)
		collect();
	while (stats_now().cleanups_ready > 0)
		tare_yield();
	int wanted = 0;
	for (unsigned i = 0; i < CLEANED; i++) {
		bool gone = tare_gc_weak_get(cleaned[i]) == NULL;
		wanted += gone ? (i < CANCELLED ? EACH - 1 : EACH) : 0;
	}
	CHECK(wanted > CLEANED * EACH * 3 / 4); // a few may seem to be held by a stack
	while (atomic_load(&ran_all) < wanted && atomic_load(&check_failures) == 0)
		tare_yield();
	collect();
	for (unsigned i = 0; i < CLEANED; i++) {
		bool gone = tare_gc_weak_get(cleaned[i]) == NULL;
		for (unsigned k = 0; k < EACH; k++) {
			bool cancelled = i < CANCELLED && k == 0;
			CHECK(atomic_load(&ran[i][k]) == (gone && !cancelled) || stats_now().cleanups_ready > 0);
			CHECK(!gone || cancelled || !tare_gc_cleanup_cancel(cleanups[i][k]));
		}
		tare_gc_weak_free(cleaned[i]);
	}
	tare_gc_close();
	for (unsigned i = 0; i < CLEANED; i++)
		for (unsigned k = 0; k < EACH; k++)
			CHECK(atomic_load(&ran[i][k]) <= 1);
	return 0;
}

TEST(each_cleanup_runs_once_after_its_object_was_collected_unless_it_was_cancelled)
{
	run_in_task(1, cleanups_main);
	run_in_task(2, cleanups_main);
}

// ---- arguments, and the heap's end --------------------------------------------------------------------------------

static atomic_int argument_fine;

static void look_at_argument(void *arg)
{
	tare_yield();
	const struct item *item = arg;
	atomic_fetch_add(&argument_fine, is_whole(item, 7) && is_whole(item->next, 8));
}

__attribute__((noinline)) static void make_with_argument(void)
{
	struct item *item = item_new(7);
	tare_gc_store(&item->next, item_new(8));
	CHECK(tare_gc_cleanup_add(NULL, item_new(9), look_at_argument, item) == 0);
}

static int argument_main(void *arg)
{
	(void)arg;
	atomic_store(&argument_fine, 0);
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	for (int i = 0; i < 20; i++)
		make_with_argument();
	for (int i = 0; i < 3; i++)
		collect();
	tare_gc_close(); // runs those that are ready
	CHECK(atomic_load(&argument_fine) > 14 && atomic_load(&argument_fine) <= 20);
	return 0;
}

TEST(what_a_cleanups_argument_leads_to_is_held_until_it_ran_and_closing_runs_what_is_ready)
{
	run_in_task(1, argument_main);
	run_in_task(2, argument_main);
}

static int dropped_main(void *arg)
{
	(void)arg;
	atomic_store(&ran_all, 0);
	CHECK(tare_gc_open(NULL, NULL) == 0);
	make_cleaned();
	CHECK(stats_now().cleanups == CLEANED * EACH);
	tare_gc_close();
	CHECK(atomic_load(&ran_all) == 0);
	return 0;
}

TEST(closing_drops_the_cleanups_of_what_no_collection_found)
{
	run_in_task(1, dropped_main);
}

// More than the collector looks at without letting others run. Each counts in its own place.
enum { MANY = 150 };
static atomic_int many_ran[MANY];

static void note_one(void *arg)
{
	tare_yield();
	atomic_fetch_add((atomic_int *)arg, 1);
}

__attribute__((noinline)) static void make_many(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		atomic_store(&many_ran[i], 0);
		CHECK(tare_gc_cleanup_add(NULL, item_new(i), note_one, &many_ran[i]) == 0);
	}
}

// Closed while another collection, which nobody waits for, looks at what is ready and at what its arguments lead to.
static int closed_main(void *arg)
{
	(void)arg;
	for (int round = 0; round < (SIMULATED ? 2 : 40); round++) {
		CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF, .min_bytes = 1 << 14}, NULL) == 0);
		make_many();
		collect();
		uint64_t found = MANY - stats_now().cleanups;
		CHECK(found > MANY / 2); // some may seem to be held by a stack
		CHECK(tare_gc_new_noscan(1 << 17) != NULL);
		(void)tare_gc_set_percent(1);
		for (int i = 0; i < round % 20; i++)
			tare_yield();
		tare_gc_close();
		uint64_t ran_once = 0;
		for (unsigned i = 0; i < MANY; i++) {
			CHECK(atomic_load(&many_ran[i]) <= 1);
			ran_once += atomic_load(&many_ran[i]) == 1;
		}
		CHECK(ran_once >= found);
	}
	return 0;
}

TEST(closing_during_a_collection_runs_each_cleanup_that_was_ready_once)
{
	run_in_task(1, closed_main);
	run_in_task(2, closed_main);
}
