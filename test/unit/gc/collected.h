// SPDX-License-Identifier: MIT
// What tests of the collected heap do again and again: collect what nothing holds, and read the heap's statistics.
#ifndef TARE_TEST_COLLECTED_H
#define TARE_TEST_COLLECTED_H

#include <tare/gc.h>

// Overwrites what calls left below the caller's frame, which a conservative look at the stack would take for pointers.
__attribute__((noinline, unused)) static void clean_stack(void)
{
	volatile char junk[8192];
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = 0;
}

static inline void collect(void)
{
	clean_stack();
	tare_gc_collect();
}

static inline struct tare_gc_stats stats_now(void)
{
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	return stats;
}

#endif
