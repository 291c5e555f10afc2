// SPDX-License-Identifier: MIT
// Goal: profiles say where CPU time goes and where tasks wait and stand, one of a kind at a time, beside a program that
// uses the same signal, and whatever runs meanwhile. Method: functions that burn or wait by a known number, and the
// text form of the profile.
#include "in_task.h"

#include <tare/block.h>
#include <tare/chan.h>
#include <tare/profile.h>
#include <tare/sync.h>

#include <signal.h>
#include <time.h>

static char text_buf[1 << 20];
static size_t text_len;

static int text_write(void *arg, const char *ptr, size_t len)
{
	(void)arg;
	if (len >= sizeof text_buf - text_len)
		return -ENOSPC;
	memcpy(text_buf + text_len, ptr, len);
	text_len += len;
	text_buf[text_len] = '\0';
	return 0;
}

// The text of a profile, which is gone then.
static const char *text_of(struct tare_pprof *profile)
{
	struct tare_text text = {.write = text_write};
	text_len = 0;
	text_buf[0] = '\0';
	CHECK(tare_pprof_write_text(profile, &text) == 0);
	tare_pprof_free(profile);
	return text_buf;
}

static struct tare_pprof *stopped(enum tare_profile_kind kind)
{
	struct tare_pprof *profile = NULL;
	CHECK(tare_profile_stop(kind, &profile) == 0);
	return profile;
}

// ---- waits --------------------------------------------------------------------------------------------------------

enum { WAITERS = 20 };

static struct tare_wg begun;
static struct tare_mutex mutex;
static struct tare_sem sem;
static volatile int zero;

TARE_NOIPA static int wait_for_sem(void *arg)
{
	(void)arg;
	tare_wg_done(&begun);
	tare_sem_take(&sem, 1);
	return zero; // no tail call: the function shall be on the stack
}

TARE_NOIPA static int wait_for_mutex(void *arg)
{
	(void)arg;
	tare_wg_done(&begun);
	tare_mutex_lock(&mutex);
	tare_mutex_unlock(&mutex);
	return 0;
}

// All of them wait at once, for the time of a sleep.
static void wait_together(void)
{
	struct tare_scope scope;
	tare_mutex_lock(&mutex);
	tare_wg_add(&begun, 2L * WAITERS);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < WAITERS; i++) {
		CHECK(tare_scope_go(&scope, wait_for_sem, NULL) == 0);
		CHECK(tare_scope_go(&scope, wait_for_mutex, NULL) == 0);
	}
	tare_wg_wait(&begun);
	(void)tare_sleep(2 * TARE_NS_PER_MS);
	tare_mutex_unlock(&mutex);
	tare_sem_give(&sem, WAITERS);
	(void)tare_scope_join(&scope);
}

static bool near(double value, double low, double high)
{
	return value >= low && value <= high;
}

static int waits_main(void *arg)
{
	(void)arg;
	const struct tare_profile_options all = {.rate_ns = 1};
	CHECK(tare_profile_start(TARE_PROFILE_BLOCK, &all, NULL) == 0);
	CHECK(tare_profile_start(TARE_PROFILE_MUTEX, &all, NULL) == 0);
	CHECK(tare_profile_start(TARE_PROFILE_BLOCK, &all, NULL) == -EBUSY);
	wait_together();
	struct tare_pprof *locks = stopped(TARE_PROFILE_MUTEX);
	// One may have been woken, found the mutex taken and waited again.
	CHECK(near(tare_pprof_total(locks, 0), 1, 2 * WAITERS));
	CHECK(tare_pprof_total(locks, 1) >= 2e6); // the first of them waited through the sleep
	const char *text = text_of(locks);
	CHECK(strstr(text, "wait_for_mutex") != NULL && strstr(text, "reason=mutex") != NULL);
	CHECK(strstr(text, "wait_for_sem") == NULL);
	wait_together();
	struct tare_pprof *waits = stopped(TARE_PROFILE_BLOCK);
	CHECK(tare_pprof_total(waits, 0) >= 2 * WAITERS);
	CHECK(tare_pprof_total(waits, 1) >= 2e6 * 2 * WAITERS);
	text = text_of(waits);
	CHECK(strstr(text, "wait_for_mutex") != NULL && strstr(text, "wait_for_sem") != NULL);
	CHECK(strstr(text, "reason=sem") != NULL && strstr(text, "reason=sleep") == NULL);
	CHECK(tare_profile_stop(TARE_PROFILE_BLOCK, NULL) == -EINVAL);
	return 0;
}

TEST(waits_are_counted_where_tasks_wait)
{
	run_in_task(2, waits_main);
}

static int sampled_main(void *arg)
{
	(void)arg;
	enum { ROUNDS = 200 };
	// Far above each wait, which so is rarely seen, and then stands for many.
	CHECK(tare_profile_start(TARE_PROFILE_BLOCK,
				 &(struct tare_profile_options){.rate_ns = TARE_NS_PER_S, .all_waits = true},
				 NULL) == 0);
	for (int i = 0; i < ROUNDS; i++)
		(void)tare_sleep(10 * TARE_NS_PER_US);
	struct tare_pprof *waits = stopped(TARE_PROFILE_BLOCK);
	CHECK(tare_pprof_samples(waits) <= 1);
	// One sample is a second, whatever its length was.
	double ns = tare_pprof_total(waits, 1);
	CHECK(ns == 0 || ns >= 0.999e9);
	tare_pprof_free(waits);
	return 0;
}

TEST(a_short_wait_stands_for_many)
{
	run_in_task(1, sampled_main);
}

static int churn(void *arg)
{
	struct tare_chan *chan = arg;
	for (int value, i = 0; i < SCALED(20000); i++)
		if (tare_chan_recv(chan, &value) < 0)
			break;
	return 0;
}

static int churn_main(void *arg)
{
	(void)arg;
	struct tare_chan *chan = NULL;
	struct tare_task *task = NULL;
	CHECK(tare_chan_new(&chan, sizeof(int), 0) == 0 && tare_spawn(&task, NULL, churn, chan) == 0);
	for (int i = 0; i < SCALED(20000); i++) {
		if (i % 50 == 0 && tare_profile_start(TARE_PROFILE_BLOCK, NULL, NULL) < 0)
			CHECK(false);
		if (i % 50 == 0 && tare_profile_start(TARE_PROFILE_MUTEX, NULL, NULL) < 0)
			CHECK(false);
		CHECK(tare_chan_send(chan, &i) == 0);
		if (i % 50 == 20)
			CHECK(tare_profile_stop(TARE_PROFILE_MUTEX, NULL) == 0);
		if (i % 50 == 40)
			CHECK(tare_profile_stop(TARE_PROFILE_BLOCK, NULL) == 0);
	}
	CHECK(tare_join(task) == 0);
	tare_chan_free(chan);
	return 0; // what is left on, the runtime ends
}

TEST(profiles_come_and_go_while_tasks_wait)
{
	run_in_task(2, churn_main);
	run_in_task(2, churn_main);
}

// ---- tasks --------------------------------------------------------------------------------------------------------

static int tasks_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	struct tare_pprof *profile = NULL;
	tare_wg_add(&begun, WAITERS);
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < WAITERS; i++)
		CHECK(tare_scope_go(&scope, wait_for_sem, NULL) == 0);
	tare_wg_wait(&begun);
	(void)tare_sleep(TARE_NS_PER_MS); // until they wait, and until the wake-up of this one is over
	CHECK(tare_profile_take(TARE_PROFILE_TASKS, &profile) == 0);
	CHECK(tare_pprof_total(profile, 0) == WAITERS + 1);
	const char *text = text_of(profile);
	CHECK(strstr(text, "wait_for_sem") != NULL && strstr(text, "state=running") != NULL);
	tare_sem_give(&sem, WAITERS);
	(void)tare_scope_join(&scope);
	CHECK(tare_profile_take(TARE_PROFILE_CPU, &profile) == -EINVAL);
	CHECK(tare_profile_start(TARE_PROFILE_TASKS, NULL, NULL) == -EINVAL);
	return 0;
}

TEST(all_tasks_are_in_the_profile)
{
	run_in_task(2, tasks_main);
}

// ---- CPU ----------------------------------------------------------------------------------------------------------

#ifndef TARE_SIM
static volatile uint64_t sink;

static int64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * TARE_NS_PER_S + now.tv_nsec;
}

TARE_NOIPA static void burn(int64_t ns)
{
	for (int64_t began_ns = cpu_ns(); cpu_ns() - began_ns < ns;)
		for (int i = 0; i < 10000; i++)
			sink = sink * 31 + 7;
}

static int compare(const void *a, const void *b)
{
	burn(TARE_NS_PER_MS);
	return *(const int *)a - *(const int *)b;
}

TARE_NOIPA static void sort_slowly(void)
{
	int numbers[32];
	for (int i = 0; i < 32; i++)
		numbers[i] = i * 7 % 32;
	qsort(numbers, 32, sizeof *numbers, compare);
	sink += (uint64_t)numbers[0];
}

static int burn_apart(void *arg)
{
	(void)arg;
	burn(200 * TARE_NS_PER_MS);
	return 0;
}

// From the line of the sample's values to its end.
static bool sample_has(const char *text, const char *one, const char *other)
{
	for (const char *at = text; (at = strstr(at, "\n\n")) != NULL;) {
		const char *begin = at += 2, *end = strstr(begin, "\n\n");
		const char *x = strstr(begin, one), *y = strstr(begin, other);
		if (x != NULL && y != NULL && (end == NULL || (x < end && y < end)))
			return true;
	}
	return false;
}

static int cpu_main(void *arg)
{
	(void)arg;
	struct tare_error err;
	CHECK(tare_profile_start(TARE_PROFILE_CPU, &(struct tare_profile_options){.hz = 1001}, &err) == -EINVAL);
	CHECK(tare_profile_start(TARE_PROFILE_CPU, &(struct tare_profile_options){.hz = 250}, NULL) == 0);
	CHECK(tare_profile_start(TARE_PROFILE_CPU, NULL, &err) == -EBUSY);
	burn(300 * TARE_NS_PER_MS);
	sort_slowly();
	CHECK(tare_block(burn_apart, NULL) == 0);
	struct tare_pprof *profile = stopped(TARE_PROFILE_CPU);
	double ns = tare_pprof_total(profile, 1);
	const char *text = text_of(profile);
	CHECK(near(ns, 0.3e9, 2e9)); // a sanitizer may put a signal off for long
	CHECK(sample_has(text, "burn", "cpu_main"));
#ifndef TARE_TSAN // which shows where the signal came, but when it suits: the stack has moved on
	CHECK(near(ns, 0.6e9, 1.2e9));
	CHECK(sample_has(text, "burn", "burn_apart"));
	CHECK(sample_has(text, "compare", "sort_slowly")); // through libc, which keeps no frame pointers
#endif
	return 0;
}

TEST(cpu_time_is_where_it_was_spent)
{
	run_in_task(2, cpu_main);
}

static atomic_int own_signals;

static void on_own(int number)
{
	(void)number;
	atomic_fetch_add(&own_signals, 1);
}

static int own_handler_main(void *arg)
{
	(void)arg;
	CHECK(tare_profile_start(TARE_PROFILE_CPU, NULL, NULL) == 0);
	burn(20 * TARE_NS_PER_MS);
	raise(SIGPROF);
	CHECK(atomic_load(&own_signals) == 1);
	CHECK(tare_profile_stop(TARE_PROFILE_CPU, NULL) == 0);
	raise(SIGPROF);
	CHECK(atomic_load(&own_signals) == 2);
	return 0;
}

TEST(the_programs_own_handler_gets_its_signals)
{
	struct sigaction own = {.sa_handler = on_own}, before, after;
	assert_int_equal(sigaction(SIGPROF, &own, &before), 0);
	run_in_task(1, own_handler_main);
	assert_int_equal(sigaction(SIGPROF, &before, &after), 0);
	assert_ptr_equal(after.sa_handler, on_own);
}

static int yield_often(void *arg)
{
	(void)arg;
	for (int64_t until_ns = cpu_ns() + 100 * TARE_NS_PER_MS; cpu_ns() < until_ns;)
		tare_yield();
	return 0;
}

static int left_on_main(void *arg)
{
	(void)arg;
	struct tare_task *tasks[4];
	for (int i = 0; i < 4; i++)
		CHECK(tare_spawn(&tasks[i], NULL, yield_often, NULL) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(tare_profile_start(TARE_PROFILE_CPU, &(struct tare_profile_options){.hz = 1000}, NULL) == 0);
		burn(5 * TARE_NS_PER_MS);
		tare_yield();
		CHECK(tare_profile_stop(TARE_PROFILE_CPU, NULL) == 0);
	}
	CHECK(tare_profile_start(TARE_PROFILE_CPU, &(struct tare_profile_options){.hz = 1000}, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(tare_join(tasks[i]) == 0);
	return 0;
}

TEST(a_profile_that_is_left_on_ends_with_the_runtime)
{
	struct sigaction now;
	run_in_task(2, left_on_main);
	run_in_task(2, left_on_main);
	assert_int_equal(sigaction(SIGPROF, NULL, &now), 0);
	assert_ptr_equal(now.sa_handler, SIG_DFL);
}
#endif
