// SPDX-License-Identifier: MIT
// Goal: each signal arrives as a message, once, in no thread as a signal; a full channel costs the newcomer alone.
// Method: the process signals itself. (A simulation has no real descriptors, so most of this does not run in one.)
#include "in_task.h"

#include <tare/block.h>
#include <tare/signal.h>

#include <signal.h>
#include <unistd.h>

#ifndef TARE_SIM
// A real-time signal: the kernel keeps each one, not one of each.
enum { KEPT = 40 };

static const int wanted[] = {SIGTERM, SIGUSR1, KEPT};
static struct tare_chan *chan;
static struct tare_signals *signals;

static void open_all(size_t capacity)
{
	struct tare_error err = {""};
	CHECK(tare_chan_new(&chan, sizeof(struct tare_signal), capacity) == 0);
	CHECK(tare_signals_open(&signals, chan, wanted, TARE_ARRAY_LEN(wanted), &err) == 0);
}

static void close_all(void)
{
	tare_signals_close(signals);
	tare_chan_free(chan);
}

static void queue(int number, int times)
{
	for (int i = 0; i < times; i++)
		CHECK(sigqueue(getpid(), number, (union sigval){0}) == 0);
}

static void run_blocked(int workers, tare_task_fn *fn)
{
	assert_int_equal(tare_signals_block(wanted, TARE_ARRAY_LEN(wanted)), 0);
	run_in_task(workers, fn);
}

// ---- arriving -----------------------------------------------------------------------------------------------------

static int raise_one(void *arg)
{
	return kill(getpid(), (int)(intptr_t)arg);
}

static int arrive_main(void *arg)
{
	(void)arg;
	struct tare_signal got;
	CHECK(kill(getpid(), SIGUSR1) == 0); // before anybody listens
	open_all(4);
	for (int round = 0; round < 20; round++) {
		CHECK(tare_chan_recv(chan, &got) == 0);
		CHECK(got.number == (round % 2 == 0 ? SIGUSR1 : SIGTERM));
		CHECK(got.sender == getpid() && got.code == SI_USER);
		if (round < 19) // also from a spare thread
			CHECK(tare_block(raise_one, (void *)(intptr_t)(round % 2 == 0 ? SIGTERM : SIGUSR1)) == 0);
	}
	CHECK(tare_chan_try_recv(chan, &got) == -EAGAIN);
	CHECK(tare_signals_dropped(signals) == 0);
	close_all();
	return 0;
}

TEST(a_signal_arrives_in_the_channel_and_nowhere_else)
{
	run_blocked(1, arrive_main);
	run_blocked(3, arrive_main);
}

// ---- too many -----------------------------------------------------------------------------------------------------

static int flood_main(void *arg)
{
	(void)arg;
	struct tare_signal got;
	open_all(4);
	queue(KEPT, 10);
	while (tare_signals_dropped(signals) < 6)
		CHECK(tare_sleep(TARE_NS_PER_MS) == 0);
	CHECK(tare_chan_len(chan) == 4);
	for (int i = 0; i < 4; i++)
		CHECK(tare_chan_recv(chan, &got) == 0 && got.number == KEPT && got.code == SI_QUEUE);
	CHECK(kill(getpid(), SIGTERM) == 0); // the reader was not held up
	CHECK(tare_chan_recv(chan, &got) == 0 && got.number == SIGTERM);
	CHECK(tare_signals_dropped(signals) == 6);
	tare_chan_close(chan);
	CHECK(kill(getpid(), SIGTERM) == 0);
	while (tare_signals_dropped(signals) < 7) // there is nobody to have it
		CHECK(tare_sleep(TARE_NS_PER_MS) == 0);
	close_all();
	return 0;
}

TEST(what_finds_the_channel_full_is_dropped_and_counted)
{
	run_blocked(1, flood_main);
	run_blocked(2, flood_main);
}

// ---- closing ------------------------------------------------------------------------------------------------------

static int close_main(void *arg)
{
	(void)arg;
	struct tare_signal got;
	for (int round = 0; round < 20; round++) {
		open_all(4);
		if (round % 3 == 0)
			tare_yield();
		tare_signals_close(signals);
		CHECK(kill(getpid(), SIGTERM) == 0);
		CHECK(tare_chan_try_recv(chan, &got) == -EAGAIN);
		tare_chan_free(chan);
		open_all(1); // what came meanwhile is waiting
		CHECK(tare_chan_recv(chan, &got) == 0 && got.number == SIGTERM);
		close_all();
	}
	tare_signals_close(NULL);
	return 0;
}

TEST(after_closing_nothing_is_sent_and_the_next_one_gets_it)
{
	run_blocked(1, close_main);
	run_blocked(3, close_main);
}

// ---- refusals -----------------------------------------------------------------------------------------------------

static int refuse_main(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	static const int loose[] = {SIGTERM, SIGWINCH}, none[] = {12345};
	CHECK(tare_chan_new(&chan, sizeof(struct tare_signal), 1) == 0);
	CHECK(tare_signals_open(&signals, chan, loose, 2, &err) == -EINVAL);
	CHECK(strstr(err.text, "not blocked") != NULL);
	CHECK(tare_signals_open(&signals, chan, none, 1, &err) == -EINVAL);
	tare_chan_free(chan);
	return 0;
}

TEST(signals_that_are_not_blocked_are_refused)
{
	run_blocked(1, refuse_main);
}
#endif

TEST(signals_that_can_not_be_blocked_are_refused)
{
	static const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, 0, -1, 12345};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++)
		assert_int_equal(tare_signals_block(&bad[i], 1), -EINVAL);
}
