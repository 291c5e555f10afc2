// SPDX-License-Identifier: MIT
// Rows that `tare npa --self-test` holds the tool itself to: two that are alike, ones that are 2 % and one instruction
// dearer, and one that the compiler leaves out.
#include <tare/npa.h>

enum { STEPS = 500 };

// Two instructions and the loop's a step, whatever the compiler thinks of it.
static TARE_INLINE void work(uint64_t steps)
{
	uint64_t x = 1;
	for (uint64_t k = TARE_NPA_HIDE(steps); k > 0; k--)
		x = TARE_NPA_HIDE(x * 3);
	TARE_NPA_KEEP(x);
}

#define SELF .group = "self-test", .hidden = true

TARE_NPA(self_work, "What the others are held to.", 10000, SELF)
{
	work(STEPS);
}

TARE_NPA(self_same, "The same: is not to be found dearer.", 10000, SELF)
{
	work(STEPS);
}

TARE_NPA(self_slower, "The same and 2.2 % more: is to be found dearer.", 10000, SELF)
{
	work(STEPS + STEPS * 22 / 1000);
}

TARE_NPA(self_small, "A few instructions.", 100, SELF)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) * 3);
}

TARE_NPA(self_small_dearer, "The same and one more: is to be found dearer.", 100, SELF)
{
	uint64_t x = TARE_NPA_HIDE(i) * 3;
	TARE_NPA_KEEP(TARE_NPA_HIDE(x) + 1);
}

TARE_NPA(self_nothing, "Something that the compiler leaves out: is to be refused.", 100, SELF)
{
	uint64_t x = i * 3;
	(void)x;
}
