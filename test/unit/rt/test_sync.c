// SPDX-License-Identifier: MIT
// Goal: exclusion, hand-off, wake-ups that are never lost, deadlines that race with them.
// Method: plain (non-atomic) data behind the primitive, so that ThreadSanitizer sees what it fails to guard.
#include "in_task.h"

#include <tare/sync.h>

static struct tare_mutex mutex;
static long guarded;

static int lock_often(void *arg)
{
	long n = (long)(intptr_t)arg;
	for (long i = 0; i < n; i++) {
		tare_mutex_lock(&mutex);
		guarded++;
		if (i % 7 == 0)
			tare_yield(); // held across a switch, and maybe across workers
		tare_mutex_unlock(&mutex);
	}
	return 0;
}

static int mutex_main(void *arg)
{
	(void)arg;
	enum { TASKS = 8 };
	long each = SCALED(5000);
	struct tare_task *tasks[TASKS];
	guarded = 0;
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, lock_often, (void *)(intptr_t)each) == 0);
	for (int i = 0; i < TASKS; i++)
		(void)tare_join(tasks[i]);
	CHECK(guarded == TASKS * each);
	CHECK(tare_mutex_try_lock(&mutex) && !tare_mutex_try_lock(&mutex));
	tare_mutex_unlock(&mutex);
	return 0;
}

TEST(a_mutex_excludes)
{
	run_in_task(1, mutex_main);
	run_in_task(2, mutex_main);
	run_in_task(4, mutex_main);
}

static int order[16], order_count;

static int note_order(void *arg)
{
	tare_mutex_lock(&mutex);
	order[order_count++] = (int)(intptr_t)arg;
	tare_mutex_unlock(&mutex);
	return 0;
}

static int lock_late(void *arg)
{
	int rc = tare_mutex_lock_until(&mutex, tare_now_ns() + (int64_t)(intptr_t)arg);
	if (rc == 0)
		tare_mutex_unlock(&mutex);
	return rc;
}

static int fifo_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[8], *late;
	order_count = 0;
	tare_mutex_lock(&mutex);
	for (int i = 0; i < 8; i++) {
		CHECK(tare_spawn(&tasks[i], NULL, note_order, (void *)(intptr_t)i) == 0);
		if (i == 3)
			CHECK(tare_spawn(&late, NULL, lock_late, (void *)(intptr_t)TARE_NS_PER_MS) == 0);
		tare_yield(); // one worker: it waits for the mutex before the next is started
	}
	CHECK(tare_join(late) == -ETIMEDOUT); // out of the middle of the queue
	tare_mutex_unlock(&mutex);
	for (int i = 0; i < 8; i++)
		(void)tare_join(tasks[i]);
	for (int i = 0; i < 8; i++)
		CHECK(order[i] == i);
	return 0;
}

TEST(a_mutex_is_handed_on_in_order_and_a_deadline_leaves_the_queue_whole)
{
	run_in_task(1, fifo_main);
}

static int deadline_race_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[6];
	for (long round = 0; round < SCALED(2000); round++) {
		tare_mutex_lock(&mutex);
		for (intptr_t i = 0; i < 6; i++)
			CHECK(tare_spawn(&tasks[i], NULL, lock_late, (void *)(i * 3000)) == 0);
		tare_sleep(round % 20 * 1000);
		tare_mutex_unlock(&mutex);
		for (int i = 0; i < 6; i++) {
			int rc = tare_join(tasks[i]);
			CHECK(rc == 0 || rc == -ETIMEDOUT);
		}
		CHECK(tare_mutex_try_lock(&mutex)); // nobody holds it or is owed it
		tare_mutex_unlock(&mutex);
	}
	return 0;
}

TEST(a_deadline_that_races_with_the_hand_off_neither_loses_nor_doubles_the_mutex)
{
	run_in_task(2, deadline_race_main);
	run_in_task(4, deadline_race_main);
}

// ---- wait group ---------------------------------------------------------------------------------------------------

static int done_later(void *arg)
{
	tare_yield();
	tare_wg_done(arg);
	return 0;
}

static int wg_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(3000); round++) {
		struct tare_wg wg = {0}; // on this stack, gone as soon as the wait is over
		tare_wg_add(&wg, 4);
		for (int i = 0; i < 4; i++)
			CHECK(tare_go(done_later, &wg) == 0);
		if (round % 3 == 0)
			while (tare_wg_wait_until(&wg, tare_now_ns() + 500) == -ETIMEDOUT)
				continue;
		tare_wg_wait(&wg);
		memset(&wg, 0xa5, sizeof wg);
	}
	return 0;
}

TEST(a_wait_group_may_end_with_its_waiter)
{
	run_in_task(1, wg_main);
	run_in_task(3, wg_main);
}

// ---- event --------------------------------------------------------------------------------------------------------

struct court {
	struct tare_event to[2];
	long ball; // plain: the events alone order its use
	long rounds;
};

static int play(void *arg)
{
	struct court *court = arg;
	for (long i = 0; i < court->rounds; i++) {
		tare_event_wait(&court->to[1]);
		court->ball++;
		tare_event_wake(&court->to[0]);
	}
	return 0;
}

static int event_main(void *arg)
{
	(void)arg;
	struct court court = {.rounds = SCALED(100000)};
	struct tare_task *task;
	CHECK(tare_spawn(&task, NULL, play, &court) == 0);
	for (long i = 0; i < court.rounds; i++) {
		court.ball++;
		tare_event_wake(&court.to[1]);
		tare_event_wait(&court.to[0]);
	}
	(void)tare_join(task);
	CHECK(court.ball == 2 * court.rounds);
	struct tare_event kept = {0};
	tare_event_wake(&kept);
	tare_event_wake(&kept); // one wake-up, not a count
	tare_event_wait(&kept);
	CHECK(tare_event_wait_until(&kept, tare_now_ns() + 1000) == -ETIMEDOUT);
	return 0;
}

TEST(an_event_wakes_once_and_keeps_what_came_first)
{
	run_in_task(1, event_main);
	run_in_task(2, event_main);
}

static int wake_it(void *arg)
{
	tare_event_wake(arg);
	return 0;
}

static int event_race_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(5000); round++) {
		struct tare_event event = {0};
		struct tare_task *task;
		CHECK(tare_spawn(&task, NULL, wake_it, &event) == 0);
		int rc = tare_event_wait_until(&event, tare_now_ns() + round % 5 * 1000);
		(void)tare_join(task);
		// A wake-up that the deadline beat is kept.
		if (rc != 0)
			tare_event_wait(&event);
	}
	return 0;
}

TEST(a_wake_up_that_races_with_a_deadline_is_not_lost)
{
	run_in_task(2, event_race_main);
	run_in_task(4, event_race_main);
}
