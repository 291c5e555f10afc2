// SPDX-License-Identifier: MIT
// Goal: a task that blocks finds its registers, its stack and its thread as it must, wherever it wakes. Method: a task
// is sent from worker to worker by pinned senders, with more values alive across each wait than there are registers
// that a call preserves; after each wait the kernel says which thread it is on.
#include "in_task.h"

#include <tare/chan.h>

#include <sys/syscall.h>
#include <unistd.h>

enum { WORKERS = 2 };

static struct tare_chan *chans[WORKERS];
static _Atomic(long) threads[WORKERS]; // by worker, as the kernel numbers them; 0: not met yet

static int sender(void *arg)
{
	struct tare_chan *chan = arg;
	uint64_t value = 0;
	while (tare_chan_send(chan, &value) == 0)
		value++;
	return 0;
}

// A worker is one thread, always: what the task is told right after a wait is the thread that it runs on.
static void check_thread(int worker)
{
	long now = SIMULATED ? 1 : syscall(SYS_gettid), before = 0;
	CHECK(worker >= 0 && worker < WORKERS);
	if (!atomic_compare_exchange_strong(&threads[worker], &before, now))
		CHECK(before == now);
}

static volatile uint64_t source = 1;

// Waits with eighteen integers and sixteen floating-point numbers alive. The worker it woke on.
static int wait_with_full_registers(struct tare_chan *chan)
{
	uint64_t s = source++;
	uint64_t a0 = source ^ s, a1 = source + s, a2 = source * s, a3 = source - s, a4 = source | s, a5 = source & s;
	uint64_t b0 = source ^ 3, b1 = source ^ 5, b2 = source ^ 7, b3 = source ^ 9, b4 = source ^ 11, b5 = source ^ 13;
	double d0 = (double)source, d1 = (double)source * 1.5, d2 = (double)source * 2.5, d3 = (double)source * 3.5;
	double d4 = (double)source * 4.5, d5 = (double)source * 5.5, d6 = (double)source * 6.5,
	       d7 = (double)source * 7.5;
	double e0 = (double)source / 3, e1 = (double)source / 5, e2 = (double)source / 7, e3 = (double)source / 9;
	uint64_t n = source;
	int before = tare_worker();
	check_thread(before);
	CHECK(tare_chan_recv(chan, NULL) == 0);
	int after = tare_worker();
	check_thread(after);
	CHECK(a0 == (n ^ s) && a1 == n + s && a2 == n * s && a3 == n - s && a4 == (n | s) && a5 == (n & s));
	CHECK(b0 == (n ^ 3) && b1 == (n ^ 5) && b2 == (n ^ 7) && b3 == (n ^ 9) && b4 == (n ^ 11) && b5 == (n ^ 13));
	double x = (double)n;
	CHECK(d0 == x && d1 == x * 1.5 && d2 == x * 2.5 && d3 == x * 3.5);
	CHECK(d4 == x * 4.5 && d5 == x * 5.5 && d6 == x * 6.5 && d7 == x * 7.5);
	CHECK(e0 == x / 3 && e1 == x / 5 && e2 == x / 7 && e3 == x / 9);
	return after;
}

static int wanders(void *arg)
{
	(void)arg;
	struct tare_task *senders[WORKERS];
	for (int i = 0; i < WORKERS; i++) {
		struct tare_task_options options = {.name = "sender", .pinned = true, .worker = i};
		CHECK(tare_chan_new(&chans[i], sizeof(uint64_t), 0) == 0);
		CHECK(tare_spawn(&senders[i], &options, sender, chans[i]) == 0);
	}
	int at = tare_worker();
	for (long moves = 0, turn = 0; moves < SCALED(500); turn++) {
		int now = wait_with_full_registers(chans[turn % WORKERS]);
		moves += now != at;
		at = now;
	}
	for (int i = 0; i < WORKERS; i++) {
		tare_chan_close(chans[i]);
		CHECK(tare_join(senders[i]) == 0);
		tare_chan_free(chans[i]);
	}
	return 0;
}

TEST(a_task_that_wakes_elsewhere_keeps_its_registers_and_knows_its_thread)
{
	for (int i = 0; i < WORKERS; i++)
		atomic_store(&threads[i], 0); // a runtime has threads of its own
	run_in_task(WORKERS, wanders);
}

static int stack_is_aligned(void *arg)
{
	(void)arg;
	alignas(16) volatile char bytes[16] = {0}; // the compiler trusts the caller's alignment for this one
	CHECK((uintptr_t)bytes % 16 == 0);
	CHECK((uintptr_t)__builtin_frame_address(0) % 16 == 0);
	// Arguments of floating point are saved with instructions that fault when it is not.
	char text[32];
	snprintf(text, sizeof text, "%.1f", 2.5);
	CHECK(strcmp(text, "2.5") == 0);
	return bytes[0];
}

static int spawns_aligned(void *arg)
{
	struct tare_task *task;
	struct tare_task_options own = {.stack_bytes = 128 * 1024};
	CHECK(tare_spawn(&task, NULL, stack_is_aligned, arg) == 0);
	CHECK(tare_join(task) == 0);
	CHECK(tare_spawn(&task, &own, stack_is_aligned, arg) == 0);
	CHECK(tare_join(task) == 0);
	return 0;
}

TEST(a_task_begins_on_an_aligned_stack)
{
	run_in_task(1, spawns_aligned);
}

// What a stopped task needs to go on lies where its stack begins: were that the same place in every page, they would
// drive each other out of the cache.
enum { NEIGHBOURS = 64 };

static int line_of_frame(void *arg)
{
	atomic_int *begun = arg;
	atomic_fetch_add(begun, 1);
	while (atomic_load(begun) < NEIGHBOURS) // all have their stacks before the first ends
		tare_yield();
	return (int)((uintptr_t)__builtin_frame_address(0) / TARE_CACHE_LINE % 64);
}

static int spawns_neighbours(void *arg)
{
	(void)arg;
	struct tare_task *tasks[NEIGHBOURS];
	atomic_int begun = 0;
	bool seen[64] = {false};
	int lines = 0;
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++)
		CHECK(tare_spawn(&tasks[i], NULL, line_of_frame, &begun) == 0);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(tasks); i++) {
		int line = tare_join(tasks[i]);
		CHECK(line >= 0 && line < 64);
		lines += !seen[line];
		seen[line] = true;
	}
	CHECK(lines >= 8);
	return 0;
}

TEST(the_stacks_of_neighbours_begin_at_different_lines)
{
	run_in_task(1, spawns_neighbours);
}
