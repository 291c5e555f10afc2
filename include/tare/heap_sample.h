// SPDX-License-Identifier: MIT
//
// heap_sample: for an allocator that does not get its blocks from <tare/heap.h>: how they come into the same profile
// (tare_heap_sites_each).
//
// The allocator counts bytes down as it makes blocks; the block that takes the countdown below zero is a sample. It is
// noted with its stack, then the countdown is drawn anew; later, when the sample is freed, that is noted, too. Any
// thread; nothing blocks but for microseconds, and no call of the heap is made.
#ifndef TARE_HEAP_SAMPLE_H
#define TARE_HEAP_SAMPLE_H

#include <tare/base.h>

// One thread's, or guarded by what else there is.
struct tare_heap_countdown {
	int64_t bytes; // until the next sample; never negative when drawn
	size_t rate;   // tare_heap_rate() when it was drawn; 0: what ends it is no sample, but the time to look again
};
void tare_heap_countdown_draw(struct tare_heap_countdown *ret);

struct tare_heap_sample {
	const char *tag;             // static storage; equal pointers are one tag
	size_t bytes;                // of the block, as the countdown counts it
	size_t rate;                 // the countdown's; not 0
	const void *code, *code_end; // return addresses in here are left out at the stack's inner end; NULL, NULL: none
};
// Its site, for tare_heap_sample_freed; 0: there is no room for another, and it is not counted. 2 to 5 us.
TARE_MUST_USE uint32_t tare_heap_sample(const struct tare_heap_sample *sample);
// bytes: as before.
void tare_heap_sample_freed(uint32_t site, size_t bytes);

#endif
