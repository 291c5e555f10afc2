// SPDX-License-Identifier: MIT
//
// What it would cost to take a parked task's stack away and to give it back: the used part is copied elsewhere and the
// page released, then copied back, which faults the page in again. And how much of its stack a task uses that waits.
//
//   make -s build/release/bench/park && build/release/bench/park
#include "rt/rt_int.h"

#include <tare/chan.h>

#include <stdio.h>
#include <sys/mman.h>

enum { STACKS = 20000, SLOT_BYTES = 64 * 1024, PAGE_BYTES = 4096, USED_BYTES = 512, ROUNDS = 7 };

static char saved[STACKS][USED_BYTES];

static void stacks(void)
{
	char *arena = mmap(NULL, (size_t)STACKS * SLOT_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return;
	(void)madvise(arena, (size_t)STACKS * SLOT_BYTES, MADV_NOHUGEPAGE);
	double out_ns = 1e9, back_ns = 1e9;
	memset(saved, 1, sizeof saved);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < STACKS; i++)
			memset(arena + (size_t)i * SLOT_BYTES + SLOT_BYTES - USED_BYTES, i, USED_BYTES);
		int64_t began_ns = tare_clock_ns();
		for (int i = 0; i < STACKS; i++) {
			char *top = arena + (size_t)(i + 1) * SLOT_BYTES;
			memcpy(saved[i], top - USED_BYTES, USED_BYTES);
			(void)madvise(top - PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED);
		}
		int64_t between_ns = tare_clock_ns();
		for (int i = 0; i < STACKS; i++)
			memcpy(arena + (size_t)(i + 1) * SLOT_BYTES - USED_BYTES, saved[i], USED_BYTES);
		int64_t ended_ns = tare_clock_ns();
		out_ns = TARE_MIN(out_ns, (double)(between_ns - began_ns) / STACKS);
		back_ns = TARE_MIN(back_ns, (double)(ended_ns - between_ns) / STACKS);
	}
	printf("%d stacks, the least of %d rounds: saved and released %.0f ns, put back %.0f ns\n", STACKS, ROUNDS,
	       out_ns, back_ns);
}

// How much of its stack a parked task uses.
static size_t depth(const struct tare_task *task)
{
	return (size_t)(task->stack.base + task->stack.bytes - (char *)task->sp);
}

static int sleeps(void *arg)
{
	(void)arg;
	return tare_sleep(TARE_NS_PER_MS);
}

static int receives(void *arg)
{
	int value;
	return tare_chan_recv(arg, &value);
}

static int depths(void *arg)
{
	struct tare_chan *chan;
	struct tare_task *sleeper, *receiver;
	(void)arg;
	if (tare_chan_new(&chan, sizeof(int), 0) < 0 || tare_spawn(&sleeper, NULL, sleeps, NULL) < 0 ||
	    tare_spawn(&receiver, NULL, receives, chan) < 0)
		return 1;
	while (atomic_load(&sleeper->state) != RT_PARKED || atomic_load(&receiver->state) != RT_PARKED)
		tare_yield();
	printf("a parked task: %zu bytes of its own, and of its stack %zu in a sleep, %zu in a receive\n",
	       sizeof(struct tare_task), depth(sleeper), depth(receiver));
	tare_chan_close(chan);
	(void)tare_join(sleeper);
	(void)tare_join(receiver);
	tare_chan_free(chan);
	return 0;
}

int main(void)
{
	stacks();
	return tare_run(&(struct tare_rt_options){.workers = 1}, depths, NULL, NULL, NULL) == 0 ? 0 : 1;
}
