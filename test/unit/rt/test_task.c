// SPDX-License-Identifier: MIT
// Goal: tasks are started, run, joined and forgotten exactly once, on one worker and on several, in plenty and in want.
// Method: counts that must come out even; want is made by a runtime that may have only a few stacks.
#include "in_task.h"

#include "rt/rt_int.h"

#include <tare/sync.h>

#include <dirent.h>
#include <sched.h>
#include <unistd.h>

static atomic_long sum;

static int add_and_yield(void *arg)
{
	for (int i = 0; i < 3; i++)
		tare_yield();
	atomic_fetch_add(&sum, (long)(intptr_t)arg);
	return (int)(intptr_t)arg;
}

static int joins(void *arg)
{
	(void)arg;
	enum { N = 500 };
	static struct tare_task *tasks[N];
	atomic_store(&sum, 0);
	long results = 0;
	for (int i = 0; i < N; i++)
		CHECK(tare_spawn(&tasks[i], NULL, add_and_yield, (void *)(intptr_t)i) == 0);
	for (int i = N; i-- > 0;)
		results += tare_join(tasks[i]);
	CHECK(results == N * (N - 1) / 2 && atomic_load(&sum) == results);
	return 0;
}

TEST(every_task_runs_once_and_gives_its_result_to_its_joiner)
{
	run_in_task(1, joins);
	run_in_task(2, joins);
	run_in_task(4, joins);
}

// ---- many ---------------------------------------------------------------------------------------------------------

struct branch {
	struct tare_wg *wg;
	long leaves, first;
};

static int skynet(void *arg)
{
	struct branch *b = arg;
	if (b->leaves == 1) {
		atomic_fetch_add(&sum, b->first);
	} else {
		struct branch children[10];
		struct tare_wg wg = {0};
		tare_wg_add(&wg, 10);
		for (long i = 0; i < 10; i++) {
			children[i] = (struct branch){&wg, b->leaves / 10, b->first + i * (b->leaves / 10)};
			CHECK(tare_go(skynet, &children[i]) == 0);
		}
		tare_wg_wait(&wg);
	}
	if (b->wg != NULL)
		tare_wg_done(b->wg);
	return 0;
}

static int skynet_main(void *arg)
{
	(void)arg;
	struct branch root = {NULL, sizeof(void *) == 8 && SCALED(50) == 50 ? 100000 : 1000, 0};
	atomic_store(&sum, 0);
	skynet(&root);
	CHECK(atomic_load(&sum) == root.leaves * (root.leaves - 1) / 2);
	return 0;
}

TEST(a_tree_of_a_hundred_thousand_tasks_adds_up)
{
	run_in_task(1, skynet_main);
	run_in_task(3, skynet_main);
}

static int at_once(void *arg)
{
	(void)arg;
	return 0;
}

static int starve_main(void *arg)
{
	(void)arg;
	enum { N = 300 };
	static struct tare_task *tasks[N];
	for (int i = 0; i < N; i++)
		CHECK(tare_spawn(&tasks[i], NULL, add_and_yield, NULL) == 0);
	for (int i = 0; i < N; i++)
		(void)tare_join(tasks[i]);
	return 0;
}

TEST(tasks_past_the_number_of_stacks_wait_for_one)
{
	for (int workers = 1; workers <= 4; workers++)
		run_with(&(struct tare_rt_options){.workers = workers, .tasks_max = 64}, starve_main, NULL);
}

// One stack for all but the first task: what does not see that it has come back waits for ever.
static int one_stack_main(void *arg)
{
	(void)arg;
	for (int round = 0; round < 30; round++) {
		struct tare_task *tasks[2];
		for (int i = 0; i < 2; i++)
			CHECK(tare_spawn(&tasks[i], NULL, at_once, NULL) == 0);
		for (int i = 0; i < 2; i++)
			CHECK(tare_join(tasks[i]) == 0);
	}
	return 0;
}

TEST(a_stack_that_comes_back_is_seen_by_whoever_just_missed_it)
{
	for (int workers = 2; workers <= 3; workers++)
		run_with(&(struct tare_rt_options){.workers = workers, .tasks_max = 2}, one_stack_main, NULL);
}

static atomic_bool enough;

static int busy(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough))
		tare_yield();
	return 0;
}

// The last stack that is free is one that worker 1 had in use, and that worker neither starts a task nor ends one any
// more, nor sleeps.
static int busy_main(void *arg)
{
	(void)arg;
	struct tare_task_options here = {.pinned = true, .worker = 0}, there = {.pinned = true, .worker = 1};
	struct tare_task *runs, *task;
	atomic_store(&enough, false);
	CHECK(tare_spawn(&runs, &there, busy, NULL) == 0);
	CHECK(tare_spawn(&task, &there, at_once, NULL) == 0);
	CHECK(tare_join(task) == 0);
	CHECK(tare_spawn(&task, &here, at_once, NULL) == 0);
	CHECK(tare_join(task) == 0);
	atomic_store(&enough, true);
	CHECK(tare_join(runs) == 0);
	return 0;
}

TEST(a_worker_that_stays_busy_keeps_no_stack_from_others)
{
	run_with(&(struct tare_rt_options){.workers = 2, .tasks_max = 3}, busy_main, NULL);
}

// ---- where and how they run ---------------------------------------------------------------------------------------

static int stay(void *arg)
{
	int home = (int)(intptr_t)arg;
	for (int i = 0; i < 100; i++) {
		CHECK(tare_worker() == home);
		tare_yield();
	}
	return 0;
}

static int pinned_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[40];
	for (int i = 0; i < 40; i++) {
		struct tare_task_options options = {.pinned = true, .worker = i % tare_worker_count()};
		CHECK(tare_spawn(&tasks[i], &options, stay, (void *)(intptr_t)options.worker) == 0);
	}
	for (int i = 0; i < 40; i++)
		(void)tare_join(tasks[i]);
	struct tare_task *none;
	CHECK(tare_spawn(&none, &(struct tare_task_options){.pinned = true, .worker = 99}, stay, NULL) == -EINVAL);
	return 0;
}

TEST(a_pinned_task_stays_on_its_worker)
{
	run_in_task(1, pinned_main);
	run_in_task(4, pinned_main);
}

// errno through a function of its own: its address must not be kept across a switch (see rt.h).
TARE_NOIPA static void errno_put(int value)
{
	errno = value;
}

TARE_NOIPA static int errno_take(void)
{
	return errno;
}

static int keep_errno(void *arg)
{
	errno_put((int)(intptr_t)arg);
	for (int i = 0; i < 50; i++) {
		tare_yield();
		CHECK(errno_take() == (int)(intptr_t)arg);
	}
	return 0;
}

static int errno_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[20];
	for (int i = 0; i < 20; i++)
		CHECK(tare_spawn(&tasks[i], NULL, keep_errno, (void *)(intptr_t)(i + 1)) == 0);
	for (int i = 0; i < 20; i++)
		(void)tare_join(tasks[i]);
	return 0;
}

TEST(errno_is_kept_per_task)
{
	run_in_task(1, errno_main);
	run_in_task(3, errno_main);
}

static atomic_int arrived;

// Ends only when another task runs at the same time on another worker.
static int meet(void *arg)
{
	(void)arg;
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < 2)
		tare_cpu_relax();
	return 0;
}

static int parallel_main(void *arg)
{
	(void)arg;
	for (int round = 0; round < 20; round++) {
		struct tare_task *a, *b;
		atomic_store(&arrived, 0);
		CHECK(tare_spawn(&a, NULL, meet, NULL) == 0);
		CHECK(tare_spawn(&b, NULL, meet, NULL) == 0);
		(void)tare_join(a);
		(void)tare_join(b);
	}
	return 0;
}

TEST(two_workers_run_two_tasks_at_once)
{
	run_in_task(2, parallel_main);
}

// Nobody looks for work again until all are at work: a wake-up that is left out, because somebody seemed to be looking
// already, leaves a task behind for good.
static int meet_all(void *arg)
{
	(void)arg;
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < tare_worker_count()) {
		if (SIMULATED)
			tare_cpu_relax();
		else
			sched_yield();
	}
	return 0;
}

static int nap(void *arg)
{
	return tare_sleep((int64_t)(intptr_t)arg);
}

static int all_at_once_main(void *arg)
{
	(void)arg;
	enum { OTHERS = 2 };
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (int round = 0; round < 20; round++) {
		struct tare_task *napping[OTHERS], *meeting[OTHERS];
		atomic_store(&arrived, 0);
		// The other workers fall asleep and wake up by themselves, now or a little later.
		for (int i = 0; i < OTHERS; i++) {
			struct tare_task_options options = {.pinned = true,
							    .worker = (tare_worker() + i + 1) % (OTHERS + 1)};
			intptr_t ns = (intptr_t)tare_rng_below(&rng, 5000);
			CHECK(tare_spawn(&napping[i], &options, nap, (void *)ns) == 0);
		}
		for (uint64_t spin = tare_rng_below(&rng, 20); spin > 0; spin--)
			tare_cpu_relax();
		for (int i = 0; i < OTHERS; i++)
			CHECK(tare_spawn(&meeting[i], NULL, meet_all, NULL) == 0);
		(void)meet_all(NULL);
		for (int i = 0; i < OTHERS; i++)
			CHECK(tare_join(meeting[i]) == 0 && tare_join(napping[i]) == 0);
	}
	return 0;
}

TEST(as_many_tasks_as_there_are_workers_run_at_once)
{
	run_in_task(3, all_at_once_main);
}

enum { TURNS = 10000 }; // far more than a turn takes to come

static atomic_bool over; // the one that must have its turn has had it
static atomic_int plays; // of the others meanwhile

static int ping(void *arg)
{
	struct tare_event **events = arg;
	while (!atomic_load(&over) && atomic_fetch_add(&plays, 1) < TURNS) {
		tare_event_wake(events[1]);
		tare_event_wait(events[0]);
	}
	tare_event_wake(events[1]);
	return 0;
}

static int fairness_main(void *arg)
{
	(void)arg;
	struct tare_event a = {0}, b = {0};
	struct tare_event *one[] = {&a, &b}, *other[] = {&b, &a};
	struct tare_task *tasks[2];
	atomic_store(&over, false);
	atomic_store(&plays, 0);
	CHECK(tare_spawn(&tasks[0], NULL, ping, one) == 0);
	CHECK(tare_spawn(&tasks[1], NULL, ping, other) == 0);
	for (int i = 0; i < 3; i++)
		tare_yield(); // the third is this task: they run whenever one has woken the other
	atomic_store(&over, true);
	CHECK(atomic_load(&plays) > 1 && atomic_load(&plays) < TURNS);
	for (int i = 0; i < 2; i++)
		(void)tare_join(tasks[i]);
	return 0;
}

TEST(two_tasks_that_wake_each_other_do_not_starve_a_third)
{
	run_in_task(1, fairness_main);
}

enum { CROWD = 3 * RT_RING, ROUNDS = 200 };

static int take_turns(void *arg)
{
	unsigned *turns = arg;
	while (!atomic_load(&over)) {
		if (++*turns == ROUNDS)
			atomic_store(&over, true);
		tare_yield();
	}
	return 0;
}

// Two thirds of them always find a worker's ring full.
static int crowd_main(void *arg)
{
	static unsigned turns[CROWD];
	struct tare_scope scope;
	(void)arg;
	memset(turns, 0, sizeof turns);
	atomic_store(&over, false);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < CROWD; i++)
		CHECK(tare_go_with(&(struct tare_task_options){.scope = &scope}, take_turns, &turns[i]) == 0);
	CHECK(tare_scope_join(&scope) == 0);
	int starved = 0;
	for (int i = 0; i < CROWD; i++)
		starved += turns[i] < ROUNDS / 4;
	CHECK(starved == 0);
	return 0;
}

TEST(more_tasks_than_a_ring_holds_have_their_turns_alike)
{
	run_in_task(1, crowd_main);
}

static int play(void *arg)
{
	(void)arg;
	while (!atomic_load(&over) && atomic_fetch_add(&plays, 1) < TURNS)
		tare_yield();
	return 0;
}

static int say_over(void *arg)
{
	(void)arg;
	atomic_store(&over, true);
	return 0;
}

static int pinned_turns_main(void *arg)
{
	(void)arg;
	const struct tare_task_options pinned = {.pinned = true};
	struct tare_task *task;
	// A pinned task beside one that never waits.
	atomic_store(&over, false);
	atomic_store(&plays, 0);
	CHECK(tare_spawn(&task, &pinned, say_over, NULL) == 0);
	(void)play(NULL);
	CHECK(atomic_load(&over) && tare_join(task) == 0);
	// And the other way round.
	atomic_store(&over, false);
	atomic_store(&plays, 0);
	CHECK(tare_spawn(&task, &pinned, play, NULL) == 0);
	for (int i = 0; i < 3; i++)
		tare_yield();
	CHECK(atomic_load(&plays) > 0 && atomic_load(&plays) < TURNS);
	atomic_store(&over, true);
	CHECK(tare_join(task) == 0);
	return 0;
}

TEST(pinned_tasks_and_others_take_turns)
{
	run_in_task(1, pinned_turns_main);
}

static int await_word(void *arg)
{
	tare_event_wait(arg);
	return say_over(arg);
}

static void *give_word(void *arg)
{
	tare_event_wake(arg);
	return NULL;
}

static int outside_main(void *arg)
{
	(void)arg;
	struct tare_event event = {0};
	struct tare_task *task;
	struct test_thread thread;
	atomic_store(&over, false);
	atomic_store(&plays, 0);
	CHECK(tare_spawn(&task, NULL, await_word, &event) == 0);
	while (atomic_load(&event.state) == 0)
		tare_yield();
	thread_start(&thread, give_word, &event);
	thread_join(&thread); // the task stands in the queue of all workers
	(void)play(NULL);
	CHECK(atomic_load(&over) && tare_join(task) == 0);
	return 0;
}

TEST(what_a_thread_wakes_runs_beside_a_task_that_never_waits)
{
	run_in_task(1, outside_main);
}

// ---- the runtime itself -------------------------------------------------------------------------------------------

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	int count = 0;
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static int seven(void *arg)
{
	struct tare_error err;
	CHECK(tare_run(NULL, seven, NULL, NULL, &err) == -EBUSY);
	return arg == NULL ? 7 : 0;
}

TEST(a_runtime_can_be_run_again_and_leaves_nothing_open)
{
	struct tare_error err;
	int before = open_descriptors(), result = 0;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(tare_run(&(struct tare_rt_options){.workers = 1 + i % 3}, seven, NULL, &result, &err),
				 0);
		assert_int_equal(result, 7);
	}
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(tare_run(&(struct tare_rt_options){.workers = -1}, seven, NULL, NULL, &err), -EINVAL);
	assert_int_equal(tare_run(&(struct tare_rt_options){.stack_bytes = 5000}, seven, NULL, NULL, &err), -EINVAL);
}

static int use_much(void *arg)
{
	volatile char frame[700 * 1024];
	for (size_t i = 0; i < sizeof frame; i += 4096)
		frame[i] = (char)(intptr_t)arg;
	return frame[4096] == (char)(intptr_t)arg ? 0 : -1;
}

static int big_stack_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		struct tare_task *task;
		CHECK(tare_spawn(&task, &(struct tare_task_options){.stack_bytes = 1024 * 1024}, use_much, NULL) == 0);
		CHECK(tare_join(task) == 0);
	}
	return 0;
}

TEST(a_task_may_have_a_stack_of_its_own_size)
{
	run_in_task(2, big_stack_main);
}

static int is_called(void *arg)
{
	return strcmp(tare_task_name(tare_self()), arg != NULL ? arg : "task") == 0 ? 0 : -1;
}

static int names_main(void *arg)
{
	(void)arg;
	struct tare_task *named, *unnamed;
	CHECK(tare_spawn(&named, &(struct tare_task_options){.name = "painter"}, is_called, "painter") == 0);
	CHECK(tare_spawn(&unnamed, NULL, is_called, NULL) == 0);
	CHECK(strcmp(tare_task_name(named), "painter") == 0 && strcmp(tare_task_name(unnamed), "task") == 0);
	CHECK(tare_join(named) == 0);
	CHECK(tare_join(unnamed) == 0);
	return 0;
}

TEST(a_task_has_the_name_it_was_given_to_itself_and_to_others)
{
	run_in_task(1, names_main);
	run_in_task(2, names_main);
}

static int never_runs(void *arg)
{
	(void)arg;
	CHECK(false);
	return 0;
}

static int vast_main(void *arg)
{
	(void)arg;
	struct tare_task *task;
	CHECK(tare_spawn(&task, &(struct tare_task_options){.stack_bytes = (size_t)1 << 47}, never_runs, NULL) == 0);
	CHECK(tare_join(task) == -ENOMEM);
	return 0;
}

TEST(a_stack_that_cannot_be_had_ends_its_task_with_an_error)
{
	run_in_task(1, vast_main);
	run_in_task(2, vast_main);
}

static atomic_bool others_ran;

static int tell(void *arg)
{
	atomic_store(&others_ran, true);
	return arg != NULL;
}

static int breathe_until_others_ran(void *arg)
{
	int breaths = 0;
	for (; !atomic_load(&others_ran) && breaths < 1000; breaths++)
		tare_breathe(INT64_MAX); // as if its time were up each time
	CHECK(breaths < 1000);
	return arg != NULL;
}

static int breathing_main(void *arg)
{
	struct tare_task *pinned, *other;
	(void)arg;
	atomic_store(&others_ran, false);
	const struct tare_task_options options = {.pinned = true, .worker = 0};
	CHECK(tare_spawn(&pinned, &options, breathe_until_others_ran, NULL) == 0);
	tare_yield();
	CHECK(tare_spawn(&other, NULL, tell, NULL) == 0);
	CHECK(tare_join(pinned) == 0 && tare_join(other) == 0);
	return 0;
}

TEST(a_pinned_task_that_breathes_lets_the_others_run)
{
	run_in_task(1, breathing_main);
}
