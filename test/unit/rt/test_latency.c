// SPDX-License-Identifier: MIT
// Goal: of the tasks that become runnable a known share is timed, whoever wakes them; what is timed is the wait from
// then until they run; and each event that a poll brought is counted in one batch. Method: counts between the bounds
// that the gaps between two samples give; a task that computes for a known time in front of a full queue.
#include "in_task.h"

#include <tare/fd.h>
#include <tare/sync.h>

enum { GAP_MIN = 128, GAP_MAX = 384, QUEUED = 800, BEHIND_NS = 3000000, EVENTS = 200 };

static struct tare_hist *waits, *batches;

static void hists_new(void)
{
	CHECK(tare_hist_new(&waits, TARE_RT_HIST_DIGITS, TARE_RT_RUNNABLE_NS_MAX) == 0);
	CHECK(tare_hist_new(&batches, TARE_RT_HIST_DIGITS, TARE_RT_BATCH_MAX) == 0);
}

static void hists_free(void)
{
	tare_hist_free(waits);
	tare_hist_free(batches);
}

static uint64_t timed(void)
{
	tare_hist_reset(waits);
	tare_rt_runnable_fill(NULL, waits);
	return tare_hist_count(waits);
}

// ---- the share ----------------------------------------------------------------------------------------------------

static uint64_t woken;

static void check_share(uint64_t before)
{
	uint64_t count = timed() - before;
	CHECK(count + 1 >= woken / GAP_MAX && count <= woken / GAP_MIN + 1);
}

static int yields(void *arg)
{
	(void)arg;
	hists_new();
	uint64_t before = timed();
	woken = (uint64_t)SCALED(100000);
	for (uint64_t i = 0; i < woken; i++)
		tare_yield();
	check_share(before);
	hists_free();
	return 0;
}

TEST(of_the_times_that_a_task_becomes_runnable_a_known_share_is_timed)
{
	run_in_task(1, yields);
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int spawns(void *arg)
{
	const struct tare_task_options *options = arg;
	hists_new();
	uint64_t before = timed(), runs = (uint64_t)SCALED(20000);
	for (uint64_t i = 0; i < runs; i++) {
		struct tare_task *task;
		CHECK(tare_spawn(&task, options, nothing, NULL) == 0);
		CHECK(tare_join(task) == 0);
	}
	woken = 2 * runs; // the task, and its joiner
	check_share(before);
	hists_free();
	return 0;
}

TEST(new_tasks_and_pinned_ones_are_timed_like_others)
{
	struct tare_task_options pinned = {.pinned = true, .worker = 0};
	run_with(&(struct tare_rt_options){.workers = 1, .seed = 1}, spawns, NULL);
	run_with(&(struct tare_rt_options){.workers = 1, .seed = 1}, spawns, &pinned);
}

static struct tare_sem go_on;

static void *post_many(void *arg)
{
	for (uint64_t i = 0; i < *(uint64_t *)arg; i++)
		CHECK(tare_go(nothing, NULL) == 0);
	tare_sem_give(&go_on, 1);
	return NULL;
}

static int from_a_thread(void *arg)
{
	(void)arg;
	hists_new();
	uint64_t runs = SIMULATED ? 20 : (uint64_t)SCALED(50000);
	struct test_thread thread;
	thread_start(&thread, post_many, &runs);
	tare_sem_take(&go_on, 1);
	thread_join(&thread);
	struct tare_rt_stats stats;
	do {
		tare_yield();
		tare_rt_stats_read(&stats);
	} while (stats.tasks_live > 1);
	CHECK(SIMULATED || timed() >= runs / GAP_MAX);
	hists_free();
	return 0;
}

TEST(tasks_that_a_plain_thread_starts_are_timed_too)
{
	run_in_task(2, from_a_thread);
}

// ---- the wait -----------------------------------------------------------------------------------------------------

#ifndef TARE_SIM // its clock stands while a task computes
static int behind_a_slow_one(void *arg)
{
	(void)arg;
	hists_new();
	struct tare_task *tasks[QUEUED];
	for (int i = 0; i < QUEUED; i++)
		CHECK(tare_spawn(&tasks[i], NULL, nothing, NULL) == 0);
	for (int64_t until_ns = tare_now_ns() + BEHIND_NS; tare_now_ns() < until_ns;)
		continue;
	uint64_t before = timed();
	for (int i = 0; i < QUEUED; i++)
		CHECK(tare_join(tasks[i]) == 0);
	uint64_t count = timed() - before;
	CHECK(count >= QUEUED / GAP_MAX);
	CHECK(tare_hist_max(waits) >= BEHIND_NS);
	CHECK(tare_hist_count(waits) - tare_hist_count_at_or_below(waits, BEHIND_NS - BEHIND_NS / 64) >= 2);
	hists_free();
	return 0;
}

TEST(what_is_timed_is_the_wait_from_runnable_to_running)
{
	run_in_task(1, behind_a_slow_one);
}

static int yield_some(void *arg)
{
	for (long i = 0; i < *(long *)arg; i++)
		tare_yield();
	return 0;
}

static int on_all_workers(void *arg)
{
	(void)arg;
	hists_new();
	long times = SCALED(20000);
	struct tare_task *tasks[16];
	for (size_t i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_spawn(&tasks[i], NULL, yield_some, &times) == 0);
	for (size_t i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_join(tasks[i]) == 0);
	uint64_t runs = (uint64_t)times * TARE_ARRAY_LEN(tasks);
	CHECK(timed() + 4 >= runs / GAP_MAX && timed() <= (runs + 1000) / GAP_MIN + 4);
	CHECK(tare_hist_max(waits) < (uint64_t)TARE_NS_PER_S * 60);
	hists_free();
	return 0;
}

TEST(the_workers_histograms_are_added_up)
{
	run_in_task(4, on_all_workers);
}

// ---- batches ------------------------------------------------------------------------------------------------------

static struct tare_fd ends[2];

static int answer(void *arg)
{
	(void)arg;
	char byte;
	for (int i = 0; i < EVENTS; i++) {
		while (tare_fd_recv(&ends[1], &byte, 1) == -EAGAIN)
			CHECK(tare_fd_wait(&ends[1], TARE_READ, TARE_NEVER) == 0);
		CHECK(tare_fd_send(&ends[1], &byte, 1) == 1);
	}
	return 0;
}

static int ask(void *arg)
{
	(void)arg;
	hists_new();
	int pair[2];
	char byte = 'x';
	CHECK(tare_fd_pair(pair) == 0);
	CHECK(tare_fd_open(&ends[0], pair[0]) == 0 && tare_fd_open(&ends[1], pair[1]) == 0);
	struct tare_task *task;
	CHECK(tare_spawn(&task, NULL, answer, NULL) == 0);
	for (int i = 0; i < EVENTS; i++) {
		CHECK(tare_fd_send(&ends[0], &byte, 1) == 1);
		while (tare_fd_recv(&ends[0], &byte, 1) == -EAGAIN)
			CHECK(tare_fd_wait(&ends[0], TARE_READ, TARE_NEVER) == 0);
	}
	CHECK(tare_join(task) == 0);
	// The one worker runs this: it does not poll meanwhile.
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	tare_rt_batches_fill(NULL, batches);
	CHECK(stats.poll_events >= EVENTS && (uint64_t)tare_hist_sum(batches) == stats.poll_events);
	CHECK(tare_hist_count(batches) <= stats.polls && tare_hist_min(batches) >= 1);
	tare_fd_close(&ends[0]);
	tare_fd_close(&ends[1]);
	hists_free();
	return 0;
}

TEST(each_event_of_a_poll_is_in_one_batch)
{
	run_in_task(1, ask);
}
#endif
