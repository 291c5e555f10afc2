// SPDX-License-Identifier: MIT
//
// reservoir: a fixed stock of byte buffers.
//
// The buffers are of a few sizes, so many of each; all are set aside when the reservoir is made, so that its bytes are
// a hard bound and taking fails for one reason only: those that would do are all taken. Any thread takes and gives.
// Nothing here blocks beyond a spinlock of a few instructions, and nothing but making one allocates.
//
// A task that shall wait for a buffer takes a unit of a tare_sem first, which holds as many as there are buffers of
// that size, and gives the unit back after the buffer.
#ifndef TARE_RESERVOIR_H
#define TARE_RESERVOIR_H

#include <tare/base.h>

#define TARE_RESERVOIR_CLASSES_MAX 16

// One size, at most 256 MiB, and how many there are of it; neither is 0.
struct tare_reservoir_class {
	size_t bytes;
	unsigned count;
};

struct tare_reservoir_options {
	const char *name; // of reports, and of the pools "NAME/BYTES" that it stands on; static
	const struct tare_reservoir_class *classes; // sizes ascending (asserted); copied
	unsigned class_count;                       // 1 to TARE_RESERVOIR_CLASSES_MAX (asserted)
	size_t alignment;                           // of each buffer, a power of two, at most 4096; 0: a cache line
	bool spill;                                 // where the size that fits is all taken, the next larger will do
};

struct tare_reservoir;

// Sizes of powers of two, the first at least bytes_min and the last at least bytes_max, each with about the same share
// of bytes_total, which they never pass. Returns how many there are; 0 where bytes_total has no room for one of each,
// or there would be more than TARE_RESERVOIR_CLASSES_MAX. bytes_min is not 0 and not above bytes_max (asserted).
unsigned tare_reservoir_plan(struct tare_reservoir_class classes[TARE_RESERVOIR_CLASSES_MAX], size_t bytes_min,
			     size_t bytes_max, uint64_t bytes_total);

// -ENOMEM. Memory that was never written to costs addresses alone, but in builds that look for misuse.
TARE_MUST_USE int tare_reservoir_new(struct tare_reservoir **ret, const struct tare_reservoir_options *options);
// Nobody else may use it any more; buffers that were not given back die with it. NULL is fine.
void tare_reservoir_free(struct tare_reservoir *reservoir);

// A buffer that somebody holds; ptr NULL: none.
struct tare_buffer {
	void *ptr;
	size_t bytes; // of its class: at least what was asked for
};

// The smallest that fits; {NULL, 0}: all that fit are taken, or none is so large. It holds what its last owner left.
TARE_MUST_USE struct tare_buffer tare_reservoir_take(struct tare_reservoir *reservoir, size_t bytes);
// As it was taken; from any thread. None (ptr NULL) is fine.
void tare_reservoir_give(struct tare_reservoir *reservoir, struct tare_buffer buffer);

struct tare_reservoir_stats {
	size_t bytes;          // of a buffer of this class
	unsigned count, taken; // of them in all, and now
	unsigned taken_max;    // the most at a time
	uint64_t takes;        // served
	uint64_t spills;       // of those, for want of a smaller one
	uint64_t refused;      // takes that wanted this class and got none; the last: those too large for any, too
};

// Fills at most max, a class each, smallest first, and returns how many classes there are.
size_t tare_reservoir_stats_read(const struct tare_reservoir *reservoir, struct tare_reservoir_stats *ret, size_t max);
const char *tare_reservoir_name(const struct tare_reservoir *reservoir);
// The hard bound: all buffers' bytes.
uint64_t tare_reservoir_bytes(const struct tare_reservoir *reservoir);

#endif
