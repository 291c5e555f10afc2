// SPDX-License-Identifier: MIT
// Goal: readiness is never lost and never given to two, whoever races: events, deadlines, idle descriptors taken back,
// closes. Method: socket pairs whose other end is written or closed by a task on another worker, at shifting moments.
#include "fd_pairs.h"

#include <tare/sync.h>

static int write_one(void *arg)
{
	int i = (int)(intptr_t)arg;
	CHECK(tare_fd_send(&ends[i], "x", 1) == 1);
	return 0;
}

static int read_waits(void *arg)
{
	(void)arg;
	char byte;
	pair_open(0);
	CHECK(tare_fd_recv(&fds[0], &byte, 1) == -EAGAIN);
	CHECK(tare_fd_wait(&fds[0], TARE_READ, tare_now_ns() + 1000) == -ETIMEDOUT);
	for (long round = 0; round < SCALED(2000); round++) {
		struct tare_task *writer;
		CHECK(tare_spawn(&writer, NULL, write_one, (void *)0) == 0);
		CHECK(recv_some(&fds[0], &byte, 1) == 1);
		(void)tare_join(writer);
	}
	// Deadlines that race with the byte: whichever wins, the byte is still read exactly once.
	for (long round = 0; round < SCALED(3000); round++) {
		struct tare_task *writer;
		CHECK(tare_spawn(&writer, NULL, write_one, (void *)0) == 0);
		int rc = tare_fd_wait(&fds[0], TARE_READ, tare_now_ns() + round % 30 * 500);
		CHECK(rc == 0 || rc == -ETIMEDOUT);
		CHECK(recv_some(&fds[0], &byte, 1) == 1);
		(void)tare_join(writer);
	}
	tare_fd_close(&ends[0]);
	CHECK(recv_some(&fds[0], &byte, 1) == 0);
	CHECK(tare_fd_wait(&fds[0], TARE_WRITE, TARE_NEVER) == 0);
	tare_fd_close(&fds[0]);
	return 0;
}

TEST(a_reader_gets_every_byte_whatever_its_deadline)
{
	run_in_task(1, read_waits);
	run_in_task(2, read_waits);
	run_in_task(4, read_waits);
}

// ---- idle ---------------------------------------------------------------------------------------------------------

static atomic_int taken; // by on_ready, or by unidle
static struct tare_event idle_over;

static void on_ready(struct tare_fd *fd)
{
	(void)fd;
	atomic_fetch_add(&taken, 1);
	tare_event_wake(&idle_over);
}

static int take_back(void *arg)
{
	if (tare_fd_unidle(arg)) {
		atomic_fetch_add(&taken, 1);
		tare_event_wake(&idle_over);
	}
	return 0;
}

static int idle_main(void *arg)
{
	(void)arg;
	char byte;
	pair_open(0);
	for (long round = 0; round < SCALED(20000); round++) {
		atomic_store(&taken, 0);
		struct tare_task *writer, *taker;
		if (!tare_fd_idle(&fds[0], on_ready)) {
			CHECK(tare_fd_recv(&fds[0], &byte, 1) <= 1); // readiness of the round before
			continue;
		}
		CHECK(tare_spawn(&writer, NULL, write_one, (void *)0) == 0);
		CHECK(tare_spawn(&taker, NULL, take_back, &fds[0]) == 0);
		(void)tare_join(writer);
		(void)tare_join(taker);
		tare_event_wait(&idle_over);
		CHECK(atomic_load(&taken) == 1);
		CHECK(recv_some(&fds[0], &byte, 1) == 1);
	}
	pair_close(0);
	return 0;
}

TEST(an_idle_descriptor_goes_to_its_event_or_to_its_taker_never_both)
{
	run_in_task(1, idle_main);
	run_in_task(2, idle_main);
	run_in_task(4, idle_main);
}

// ---- close --------------------------------------------------------------------------------------------------------

static int churn(void *arg)
{
	int i = (int)(intptr_t)arg;
	char byte;
	for (long round = 0; round < SCALED(2000); round++) {
		pair_open(i);
		CHECK(tare_fd_send(&ends[i], "x", 1) == 1); // an event is on its way while the storage changes hands
		if (round % 2 == 0)
			CHECK(recv_some(&fds[i], &byte, 1) == 1);
		pair_close(i);
		if (round % 16 == 0)
			tare_yield();
	}
	return 0;
}

static int close_main(void *arg)
{
	(void)arg;
	run_a_task_a_pair(churn, 8);
	return 0;
}

TEST(a_close_with_events_under_way_leaves_the_next_owner_sound)
{
	run_in_task(1, close_main);
	run_in_task(4, close_main);
}

static int wait_for_kick(void *arg)
{
	return tare_fd_wait(arg, TARE_READ, TARE_NEVER);
}

static int kick_main(void *arg)
{
	(void)arg;
	pair_open(0);
	struct tare_task *task;
	CHECK(tare_spawn(&task, NULL, wait_for_kick, &fds[0]) == 0);
	tare_fd_kick(&fds[0], TARE_READ); // before or while it waits
	CHECK(tare_join(task) == 0);
	pair_close(0);
	return 0;
}

TEST(a_kick_wakes_whoever_waits)
{
	run_in_task(1, kick_main);
	run_in_task(2, kick_main);
}

static atomic_bool heard;

static int wait_for_byte(void *arg)
{
	int rc = tare_fd_wait(arg, TARE_READ, TARE_NEVER);
	atomic_store(&heard, true);
	return rc;
}

static int breathe_main(void *arg)
{
	(void)arg;
	pair_open(0);
	atomic_store(&heard, false);
	struct tare_task *task;
	char byte;
	CHECK(tare_fd_recv(&fds[0], &byte, 1) == -EAGAIN);
	CHECK(tare_fd_wait(&fds[0], TARE_WRITE, TARE_NEVER) == 0); // the edge of its registration is over
	CHECK(tare_spawn(&task, NULL, wait_for_byte, &fds[0]) == 0);
	tare_yield();
	CHECK(write_one(NULL) == 0 && !atomic_load(&heard));
	tare_breathe(tare_now_coarse_ns()); // within its slice: nobody else runs
	CHECK(!atomic_load(&heard));
	// Past it: the poller hears of the byte, its task is next. (A simulated byte is on its way for a while.)
	for (int turns = 2; (SIMULATED || turns > 0) && !atomic_load(&heard); turns--)
		tare_breathe(tare_now_coarse_ns() + TARE_NS_PER_MS);
	CHECK(atomic_load(&heard));
	CHECK(tare_join(task) == 0);
	// Its turn and no more: yields alone are polled for once in 61.
	struct tare_rt_stats before, after;
	tare_rt_stats_read(&before);
	for (int turns = 0; turns < 50; turns++)
		tare_yield();
	tare_rt_stats_read(&after);
	CHECK(after.polls - before.polls <= 1);
	pair_close(0);
	return 0;
}

TEST(a_task_that_never_waits_can_give_the_poller_its_turn)
{
	run_in_task(1, breathe_main);
}

#ifdef TARE_SIM
static _Atomic(long) told;

static void *tell_late(void *arg)
{
	for (long value = 1; value <= 2; value++) {
		rt_sim_store_late(&told, value);
		tare_fd_kick(arg, TARE_READ);
	}
	return NULL;
}

static int late_kick_main(void *arg)
{
	(void)arg;
	for (int round = 0; round < 20; round++) {
		struct test_thread thread;
		pair_open(0);
		atomic_store(&told, 0);
		thread_start(&thread, tell_late, &fds[0]);
		while (atomic_load(&told) != 2)
			CHECK(tare_fd_wait(&fds[0], TARE_READ, TARE_NEVER) == 0);
		thread_join(&thread);
		pair_close(0);
	}
	return 0;
}

TEST(a_kick_after_another_shows_what_was_stored_before_it)
{
	run_in_task(1, late_kick_main);
	run_in_task(2, late_kick_main);
}
#endif
