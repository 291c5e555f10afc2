// SPDX-License-Identifier: MIT
// Goal: every worker passes a handshake once, whatever it does; and a scan sees what tasks hold, wherever they stand.
// Method: workers that sleep, run tasks, or are held by one that only passes safepoints; words that nothing else
// contains, looked for in what a scan is shown.
#include "in_task.h"

#include <tare/collect.h>
#include <tare/sync.h>

enum { WORKERS_MAX = 8, TASKS = 20, MAGIC = 0x5eed };

// ---- handshakes ---------------------------------------------------------------------------------------------------

static atomic_int passed[WORKERS_MAX];
static atomic_bool stop;

static void note(void *arg, int worker)
{
	CHECK(arg == &stop);
	CHECK(worker == tare_worker());
	atomic_fetch_add(&passed[worker], 1);
}

static int yields(void *arg)
{
	while (!atomic_load(&stop))
		tare_yield();
	return arg != NULL;
}

static int holds_a_worker(void *arg)
{
	while (!atomic_load(&stop))
		tare_safepoint();
	return arg != NULL;
}

static int shake(void *arg)
{
	enum { ROUNDS = SIMULATED ? 3 : 100 };
	struct tare_handshake seen = {.took_ns = -1};
	(void)arg;
	for (int i = 0; i < tare_worker_count(); i++)
		atomic_store(&passed[i], 0);
	for (int round = 1; round <= ROUNDS; round++) {
		tare_handshake(note, &stop, round % 2 == 0 ? &seen : NULL);
		for (int i = 0; i < tare_worker_count(); i++)
			CHECK(atomic_load(&passed[i]) == round);
	}
	CHECK(seen.took_ns >= 0);
	return 0;
}

// The leader is pinned to a worker of its own, so that one that is held does not hold it too.
static int handshake_main(void *arg)
{
	tare_task_fn *others = *(tare_task_fn **)arg;
	struct tare_task *tasks[WORKERS_MAX], *leader;
	int count = others != NULL ? tare_worker_count() - 1 : 0;
	atomic_store(&stop, false);
	for (int i = 0; i < count; i++)
		CHECK(tare_spawn(&tasks[i], &(struct tare_task_options){.pinned = true, .worker = i + 1}, others,
				 NULL) == 0);
	CHECK(tare_spawn(&leader, &(struct tare_task_options){.pinned = true, .worker = 0}, shake, NULL) == 0);
	CHECK(tare_join(leader) == 0);
	atomic_store(&stop, true);
	for (int i = 0; i < count; i++)
		CHECK(tare_join(tasks[i]) == 0);
	return 0;
}

TEST(every_worker_passes_once_whatever_it_does)
{
	tare_task_fn *nobody = NULL, *yielding = yields, *holding = holds_a_worker;
	for (int workers = 1; workers <= 3; workers++) {
		const struct tare_rt_options options = {.workers = workers, .seed = 1, .watchdog_ns = -1};
		run_with(&options, handshake_main, &nobody);
		run_with(&options, handshake_main, &yielding);
		run_with(&options, handshake_main, &holding);
	}
}

#ifndef TARE_SIM // whose clock moves in other steps
static int hold_for_a_while(void *arg)
{
	int64_t until_ns = tare_now_ns() + 20 * TARE_NS_PER_MS;
	tare_event_wake(arg);
	while (tare_now_ns() < until_ns)
		tare_cpu_relax();
	return 0;
}

static int late_main(void *arg)
{
	struct tare_event begun = {0};
	struct tare_task *late;
	struct tare_handshake seen;
	(void)arg;
	for (int i = 0; i < WORKERS_MAX; i++)
		atomic_store(&passed[i], 0);
	const struct tare_task_options options = {.name = "latecomer", .pinned = true, .worker = 1 - tare_worker()};
	CHECK(tare_spawn(&late, &options, hold_for_a_while, &begun) == 0);
	tare_event_wait(&begun);
	uint64_t id = tare_task_id(late);
	tare_handshake(note, &stop, &seen);
	CHECK(tare_join(late) == 0);
	// The one that waits for the event may have been moved to that worker, and then nobody was late.
	CHECK(seen.late_task == 0 || (seen.late_task == id && strcmp(seen.late_name, "latecomer") == 0));
	return 0;
}

TEST(who_lets_a_worker_pass_late_is_named)
{
	run_with(&(struct tare_rt_options){.workers = 2, .seed = 1, .watchdog_ns = -1}, late_main, NULL);
}
#endif

// ---- scans --------------------------------------------------------------------------------------------------------

static atomic_int seen[3 * TASKS];

// What a number stands for that no other memory holds by accident.
static uintptr_t magic(int i)
{
	return (uintptr_t)(UINT64_C(0x7a5e000000000000) + (uint64_t)i * MAGIC);
}

// Others write there meanwhile: a waiter on the stack of a task is the runtime's too.
__attribute__((no_sanitize("address"), no_sanitize("thread"))) static void look(const void *low, const void *high)
{
	for (const uintptr_t *word = low; word < (const uintptr_t *)high; word++)
		for (int i = 0; i < 3 * TASKS; i++)
			if (*(const volatile uintptr_t *)word == magic(i))
				atomic_store(&seen[i], 1);
}

static void nothing(void *arg, int worker)
{
	(void)arg, (void)worker;
}

struct holder {
	struct tare_event *go_on;
	int number;
};

static int holds(void *arg)
{
	struct holder *holder = arg;
	volatile uintptr_t word = magic(holder->number);
	tare_event_wait(holder->go_on);
	CHECK(word == magic(holder->number));
	return 0;
}

static int argument(void *arg)
{
	return arg == NULL;
}

static int scan_main(void *arg)
{
	struct tare_event go_on[TASKS] = {{0}};
	struct holder holders[TASKS];
	struct tare_task *parked[TASKS], *before[TASKS], *during[TASKS];
	(void)arg;
	for (int i = 0; i < 3 * TASKS; i++)
		atomic_store(&seen[i], 0);
	for (int i = 0; i < TASKS; i++) {
		holders[i] = (struct holder){&go_on[i], i};
		CHECK(tare_spawn(&parked[i], NULL, holds, &holders[i]) == 0);
	}
	for (int i = 0; i < 4 * TASKS; i++)
		tare_yield(); // most of them park; the rest hold their number once they run, after they were scanned
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&before[i], NULL, argument, (void *)magic(TASKS + i)) == 0);
	tare_scan_begin(look);
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&during[i], NULL, argument, (void *)magic(2 * TASKS + i)) == 0);
	tare_handshake(nothing, NULL, NULL);
	tare_scan_tasks();
	tare_scan_end();
	for (int i = 0; i < TASKS; i++) {
		tare_event_wake(&go_on[i]);
		CHECK(tare_join(parked[i]) == 0 && tare_join(before[i]) == 0 && tare_join(during[i]) == 0);
		CHECK(atomic_load(&seen[2 * TASKS + i]) == 1); // an argument, while scanning
	}
	return 0;
}

TEST(a_scan_is_shown_every_stack_and_argument)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, scan_main);
}

// With one worker it is known who has parked and who has not begun.
static int scan_alone_main(void *arg)
{
	CHECK(scan_main(arg) == 0);
	for (int i = 0; i < TASKS; i++)
		CHECK(atomic_load(&seen[i]) == 1);
	return 0;
}

TEST(a_scan_finds_what_parked_tasks_hold)
{
	run_in_task(1, scan_alone_main);
}
