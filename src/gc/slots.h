// SPDX-License-Identifier: MIT
//
// The states of a span's slots: a byte each, so that marking sets one by a plain store. Two workers that mark the same
// object at once both look into it, which costs a moment and does no harm; a bit a slot would need a locked instruction
// for each object (a fifth of marking's time on one worker, and a line that workers wait for on several).
//
// Who writes a state: the worker whose run holds the slot; while marking goes on, anybody, and then only from white to
// black; who sweeps, when nobody else has the span. So no two of them write different things at once.
//
// Whole groups are read and written eight at a time; there are always eight to the last one's end.
#ifndef GC_SLOTS_H
#define GC_SLOTS_H

#include <tare/base.h>

// Bit 0: in use. Bit 1: marked.
enum { SLOT_FREE = 0, SLOT_WHITE = 1, SLOT_BLACK = 3, SLOT_MARK = 2 };

typedef _Atomic(uint8_t) gc_state;
typedef _Atomic(uint64_t) __attribute__((may_alias)) gc_eight_states;

#define GC_EVERY(state) (UINT64_C(0x0101010101010101) * (state))

// at: a multiple of eight.
static inline gc_eight_states *gc_eight_at(gc_state *states, uint32_t at)
{
	return (gc_eight_states *)(void *)(states + at);
}

// Of the slots [from, to). Released: what was done to them before is seen by who sees that they are in use.
static inline void gc_states_set(gc_state *states, uint32_t from, uint32_t to, unsigned state)
{
	while (from < to && from % 8 != 0)
		atomic_store_explicit(&states[from++], (uint8_t)state, memory_order_release);
	for (; to - from >= 8; from += 8)
		atomic_store_explicit(gc_eight_at(states, from), GC_EVERY(state), memory_order_release);
	while (from < to)
		atomic_store_explicit(&states[from++], (uint8_t)state, memory_order_release);
}

// The next slot in [from, slots) that is in use, or free; `slots`: there is none.
static inline uint32_t gc_states_search(gc_state *states, uint32_t from, uint32_t slots, bool in_use)
{
	while (from < slots) {
		uint64_t eight = atomic_load_explicit(gc_eight_at(states, from & ~7u), memory_order_relaxed);
		eight = ((in_use ? eight : ~eight) & GC_EVERY(SLOT_WHITE)) >> (from % 8 * 8);
		if (eight != 0) {
			from += (uint32_t)__builtin_ctzll(eight) / 8;
			break;
		}
		from += 8 - from % 8;
	}
	return TARE_MIN(from, slots);
}

#endif
