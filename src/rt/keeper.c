// SPDX-License-Identifier: MIT
//
// The memory keeper: a task that looks at the memory limit and has a spare thread give memory back.
//
// Looking costs a worker some microseconds; reclaiming may take milliseconds and runs elsewhere. The runtime's own share is
// the pages of the stacks that wait for a task: those that are warm only for speed are given back under pressure.
// Threads: the task, on any worker; reclaim_stacks on a spare thread.
#include "rt/rt_int.h"

#include <tare/block.h>
#include <tare/limit.h>

enum { STACKS_AT_ONCE = 64 };

static size_t reclaim_stacks(void *arg, enum tare_pressure pressure)
{
	(void)arg;
	uint64_t before = rt_stacks_cached();
	if (pressure != TARE_PRESSURE_NONE)
		while (rt_stacks_trim(STACKS_AT_ONCE, 0))
			continue;
	return (size_t)before * 4096; // a page each, at least
}

static int reclaim(void *arg)
{
	tare_limit_reclaim();
	return arg != NULL;
}

int tare_memory_keeper(void *arg)
{
	(void)arg;
	struct tare_reclaimer stacks = {.name = "task stacks", .reclaim = reclaim_stacks};
	int64_t pause_ns;
	tare_reclaimer_add(&stacks);
	do {
		if (tare_limit_look(&pause_ns))
			(void)tare_block(reclaim, NULL);
	} while (tare_sleep(pause_ns) == 0);
	tare_reclaimer_remove(&stacks);
	return 0;
}
