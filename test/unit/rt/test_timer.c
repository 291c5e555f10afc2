// SPDX-License-Identifier: MIT
// Goal: timers fire in order and never early, and once stopped are never touched again.
// Method: storage is scribbled over right after the stop, while another worker's heap may be about to fire.
#include "in_task.h"

#include <tare/sync.h>

static atomic_int asleep_early;

static int sleep_some(void *arg)
{
	int64_t deadline_ns = tare_now_ns() + (int64_t)(intptr_t)arg;
	tare_sleep_until(deadline_ns);
	if (tare_now_ns() < deadline_ns)
		atomic_fetch_add(&asleep_early, 1);
	return 0;
}

static int sleepers_main(void *arg)
{
	(void)arg;
	enum { N = 2000 };
	static struct tare_task *tasks[N];
	struct tare_rng rng;
	tare_rng_init(&rng, 7);
	int n = SCALED(N) < N ? SCALED(N) : N;
	for (int i = 0; i < n; i++)
		CHECK(tare_spawn(&tasks[i], NULL, sleep_some, (void *)(intptr_t)tare_rng_below(&rng, 20000000)) == 0);
	for (int i = 0; i < n; i++)
		(void)tare_join(tasks[i]);
	CHECK(atomic_load(&asleep_early) == 0);
	tare_sleep_until(0); // the past
	tare_sleep_until(tare_now_ns() - 1);
	return 0;
}

TEST(thousands_of_sleepers_wake_and_none_early)
{
	run_in_task(1, sleepers_main);
	run_in_task(3, sleepers_main);
}

struct probe {
	struct tare_timer timer;
	int64_t when_ns;
	int fired;
};

static int64_t last_fired_ns;
static int fired_total, out_of_order;
static struct tare_event all_fired;
enum { PROBES = 1000 };
static struct probe probes[PROBES];

static int64_t on_probe(struct tare_timer *timer)
{
	struct probe *probe = TARE_CONTAINER_OF(timer, struct probe, timer);
	out_of_order += probe->when_ns < last_fired_ns;
	last_fired_ns = probe->when_ns;
	probe->fired++;
	if (++fired_total == PROBES)
		tare_event_wake(&all_fired);
	return 0;
}

static int order_main(void *arg)
{
	(void)arg;
	struct tare_rng rng;
	tare_rng_init(&rng, 3);
	int64_t begin_ns = tare_now_ns() + 5 * TARE_NS_PER_MS;
	last_fired_ns = fired_total = out_of_order = 0;
	for (int i = 0; i < PROBES; i++) {
		probes[i] = (struct probe){.when_ns = begin_ns + (int64_t)tare_rng_below(&rng, 1000000)};
		CHECK(tare_timer_start(&probes[i].timer, probes[i].when_ns, on_probe) == 0);
	}
	tare_event_wait(&all_fired);
	for (int i = 0; i < PROBES; i++)
		CHECK(probes[i].fired == 1 && !tare_timer_stop(&probes[i].timer));
	CHECK(out_of_order == 0);
	return 0;
}

TEST(timers_of_a_worker_fire_in_order)
{
	run_in_task(1, order_main);
}

static int64_t on_never(struct tare_timer *timer)
{
	struct probe *probe = TARE_CONTAINER_OF(timer, struct probe, timer);
	probe->fired++;
	return 0;
}

static int stop_main(void *arg)
{
	(void)arg;
	struct tare_rng rng;
	tare_rng_init(&rng, 5);
	for (int i = 0; i < PROBES; i++) {
		probes[i] = (struct probe){0};
		int64_t when_ns = tare_now_ns() + TARE_NS_PER_S + (int64_t)tare_rng_below(&rng, 1000000);
		CHECK(tare_timer_start(&probes[i].timer, when_ns, on_never) == 0);
	}
	// Out of the heap in another order than into it.
	for (int i = 0; i < PROBES; i++)
		CHECK(tare_timer_stop(&probes[i * 7 % PROBES].timer));
	for (int i = 0; i < PROBES; i++)
		CHECK(probes[i].fired == 0 && !tare_timer_stop(&probes[i].timer));
	return 0;
}

TEST(a_stopped_timer_does_not_fire)
{
	run_in_task(1, stop_main);
}

static int stop_it(void *arg)
{
	struct probe *probe = arg;
	bool pending = tare_timer_stop(&probe->timer);
	int fired = probe->fired; // plain: stop has ordered it
	CHECK(fired == !pending);
	memset(probe, 0xa5, sizeof *probe);
	return 0;
}

static int stop_race_main(void *arg)
{
	(void)arg;
	for (long round = 0; round < SCALED(3000); round++) {
		struct probe probe = {0};
		struct tare_task *task;
		CHECK(tare_timer_start(&probe.timer, tare_now_ns() + round % 50 * 200, on_never) == 0);
		CHECK(tare_spawn(&task, NULL, stop_it, &probe) == 0);
		tare_yield();
		(void)tare_join(task);
	}
	return 0;
}

TEST(a_stop_that_races_with_the_firing_is_final)
{
	run_in_task(2, stop_race_main);
	run_in_task(4, stop_race_main);
}

static struct tare_event thrice;

static int64_t on_again(struct tare_timer *timer)
{
	struct probe *probe = TARE_CONTAINER_OF(timer, struct probe, timer);
	if (++probe->fired < 3)
		return tare_now_ns() + 1000;
	tare_event_wake(&thrice);
	return 0;
}

static int again_main(void *arg)
{
	(void)arg;
	static struct probe probe;
	probe = (struct probe){0};
	CHECK(tare_timer_start(&probe.timer, tare_now_ns(), on_again) == 0);
	tare_event_wait(&thrice);
	(void)tare_timer_stop(&probe.timer);
	CHECK(probe.fired == 3);
	return 0;
}

TEST(a_timer_may_set_itself_again)
{
	run_in_task(1, again_main);
}

static uint64_t polls_seen[3];

// Says each time that it was due long ago.
static int64_t on_past(struct tare_timer *timer)
{
	struct probe *probe = TARE_CONTAINER_OF(timer, struct probe, timer);
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	polls_seen[probe->fired] = stats.polls;
	if (++probe->fired < 3)
		return 1;
	tare_event_wake(&thrice);
	return 0;
}

static int past_main(void *arg)
{
	(void)arg;
	static struct probe probe;
	probe = (struct probe){0};
	CHECK(tare_timer_start(&probe.timer, tare_now_ns(), on_past) == 0);
	tare_event_wait(&thrice);
	(void)tare_timer_stop(&probe.timer);
	CHECK(probe.fired == 3);
	CHECK(polls_seen[0] < polls_seen[1] && polls_seen[1] < polls_seen[2]);
	return 0;
}

TEST(a_timer_that_is_always_due_fires_once_a_poll)
{
	run_in_task(1, past_main);
}

static atomic_int begun;

static int sleep_for_ages(void *arg)
{
	atomic_fetch_add(&begun, 1);
	int rc = tare_sleep(*(const int64_t *)arg);
	CHECK(rc == -ECANCELED);
	return 0;
}

static int ages_main(void *arg)
{
	(void)arg;
	// Past the clock's end, at it, and before it; in nanoseconds.
	static const int64_t times[] = {TARE_NEVER, TARE_NEVER - 1, TARE_NEVER / 2, INT64_C(1) << 62};
	struct tare_scope scope;
	struct tare_event never = {0};
	atomic_store(&begun, 0);
	CHECK(tare_scope_open(&scope, TARE_NEVER - 1, 0) == 0);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(times); i++)
		CHECK(tare_scope_go(&scope, sleep_for_ages, (void *)(uintptr_t)&times[i]) == 0);
	while (atomic_load(&begun) < (int)TARE_ARRAY_LEN(times))
		tare_yield();
	CHECK(tare_sleep(1000) == 0); // what is due before them still is
	CHECK(tare_event_wait_until(&never, tare_now_ns() + 1000) == -ETIMEDOUT);
	CHECK(tare_scope_close(&scope) == 0);
	return 0;
}

TEST(a_wait_for_ages_is_one_that_can_be_cancelled)
{
	run_in_task(1, ages_main);
	run_in_task(2, ages_main);
}
