// SPDX-License-Identifier: MIT
//
// The memory keeper: a task that looks at the memory limit, lets pools age, and has a spare thread give memory back.
//
// Looking costs a worker some microseconds; ageing and reclaiming may take milliseconds and run elsewhere. The
// runtime's own share is the pages of the stacks that wait for a task: those that are warm only for speed are given
// back under pressure. What is called for that is the runtime's, from before its first task to after its last: a keeper
// may be dropped with its stack when the runtime ends. Threads: the task, on any worker; the rest on a spare thread, or
// on a thread of the program's that reclaims.
#include "rt/rt_int.h"

#include <tare/block.h>
#include <tare/limit.h>
#include <tare/pool.h>

#define AGE_EVERY_NS TARE_NS_PER_S

enum { STACKS_AT_ONCE = 64 };

static size_t reclaim_stacks(void *arg, enum tare_pressure pressure)
{
	(void)arg;
	uint64_t before = rt_stacks_cached();
	// No more than there were: tasks that end meanwhile bring others, as fast as these go on many CPUs.
	uint64_t rounds = pressure != TARE_PRESSURE_NONE ? before / STACKS_AT_ONCE + 1 : 0;
	while (rounds > 0 && rt_stacks_trim(STACKS_AT_ONCE, 0))
		rounds--;
	return (size_t)before * 4096; // a page each, at least
}

// All that is unused, not only what is so for two seconds.
static size_t reclaim_pools(void *arg, enum tare_pressure pressure)
{
	(void)arg;
	size_t bytes = tare_pools_age();
	return pressure != TARE_PRESSURE_NONE ? bytes + tare_pools_age() : bytes;
}

static struct tare_reclaimer stacks = {.name = "task stacks", .reclaim = reclaim_stacks};
static struct tare_reclaimer pools = {.name = "pools", .reclaim = reclaim_pools};

void rt_keeper_begin(void)
{
	tare_reclaimer_add(&stacks);
	tare_reclaimer_add(&pools);
}

void rt_keeper_end(void)
{
	tare_reclaimer_remove(&pools);
	tare_reclaimer_remove(&stacks);
	tare_limit_rest(); // nobody looks any more: a later server would refuse for ever
}

static int trim(void *arg)
{
	(void)tare_pools_trim();
	return arg != NULL;
}

static int reclaim(void *arg)
{
	tare_limit_reclaim();
	return arg != NULL;
}

int tare_memory_keeper(void *arg)
{
	(void)arg;
	int64_t pause_ns, age_at_ns = 0;
	do {
		if (tare_now_ns() >= age_at_ns) {
			if (tare_pools_tick())
				(void)tare_block(trim, NULL);
			age_at_ns = tare_time_after(tare_now_ns(), AGE_EVERY_NS);
		}
		if (tare_limit_look(&pause_ns))
			(void)tare_block(reclaim, NULL);
	} while (tare_sleep(pause_ns) == 0);
	return 0;
}
