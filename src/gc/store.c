// SPDX-License-Identifier: MIT
//
// The barrier's other forms: exchange, compare-and-swap, copies and zeroing; and channels, whose copies go by it.
//
// As tare_gc_store_marking (mark.c): what is overwritten and what is stored is shaded, and no safepoint lies between
// the shades and the store. So whatever the order of the three, none of them is under way when a phase has changed for
// a worker. A large copy is done in pieces, with a safepoint between two: each is whole in itself.
//
// Values that a channel passes on are words that may be pointers. Into a ring goes what its scan may have passed
// already, and out of it what it has not come to; a parked task, scanned or not, gets values from another. All are
// shaded as they are copied.
//
// Threads: tasks; what is copied is read and written word by word, since markers look on.
#include "gc/gc_int.h"

#include <tare/chan.h>

enum { PIECE_BYTES = 32 * 1024 };

static void shade_word(uintptr_t word)
{
	gc_scan_words(&word, &word + 1);
}

static bool shades(void)
{
	return gc_shading() && !GC_FAULT(NO_BARRIER);
}

// ---- one word -----------------------------------------------------------------------------------------------------

uintptr_t tare_gc_exchange_marking(tare_gc_word *slot, uintptr_t value)
{
	gc_lint_begin();
	uintptr_t old = __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL);
	gc_lint_end(slot, sizeof *slot);
	if (shades()) {
		shade_word(old);
		shade_word(value);
	}
	return old;
}

bool tare_gc_compare_exchange_marking(tare_gc_word *slot, tare_gc_word *expected, uintptr_t value)
{
	uintptr_t old = *expected;
	gc_lint_begin();
	bool done = __atomic_compare_exchange_n(slot, expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	gc_lint_end(slot, sizeof *slot);
	if (done && shades()) {
		shade_word(old);
		shade_word(value);
	}
	return done;
}

// ---- many ---------------------------------------------------------------------------------------------------------

static void words_copy(tare_gc_word *to, const tare_gc_word *from, size_t count)
{
	if ((uintptr_t)to <= (uintptr_t)from) {
		for (size_t i = 0; i < count; i++)
			__atomic_store_n(&to[i], __atomic_load_n(&from[i], __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	} else {
		for (size_t i = count; i-- > 0;)
			__atomic_store_n(&to[i], __atomic_load_n(&from[i], __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	}
}

static void shade_elements(const char *first, const struct tare_gc_type *type, size_t count)
{
	for (size_t i = 0; i < count; i++, first += type->bytes)
		for (uint32_t k = 0; k < type->pointer_count; k++)
			gc_scan_words(first + type->pointers[k], first + type->pointers[k] + sizeof(uintptr_t));
}

static void copy_piece(char *to, const char *from, const struct tare_gc_type *type, size_t count)
{
	size_t bytes = count * type->bytes;
	if (shades()) {
		shade_elements(to, type, count);
		shade_elements(from, type, count);
	}
	gc_lint_begin();
	words_copy((tare_gc_word *)to, (const tare_gc_word *)from, bytes / sizeof(uintptr_t));
	gc_lint_end(to, bytes);
}

static size_t piece_of(const struct tare_gc_type *type)
{
	return TARE_MAX(PIECE_BYTES / TARE_MAX(type->bytes, 1u), 1u);
}

// From the end on where the destination lies above, as memmove does.
void tare_gc_copy_marking(void *to, const void *from, const struct tare_gc_type *type, size_t count)
{
	if (type->pointer_count == 0) {
		memmove(to, from, count * type->bytes);
		return;
	}
	TARE_ASSERT(type->bytes % sizeof(uintptr_t) == 0); // as the size of any struct is that holds pointers
	bool up = (uintptr_t)to <= (uintptr_t)from;
	for (size_t done = 0; done < count;) {
		size_t n = TARE_MIN(count - done, piece_of(type));
		size_t at = (up ? done : count - done - n) * type->bytes;
		copy_piece((char *)to + at, (const char *)from + at, type, n);
		done += n;
		if (done < count)
			tare_safepoint();
	}
}

void tare_gc_zero_marking(void *to, const struct tare_gc_type *type, size_t count)
{
	if (type->pointer_count == 0) {
		memset(to, 0, count * type->bytes);
		return;
	}
	for (size_t done = 0; done < count;) {
		size_t n = TARE_MIN(count - done, piece_of(type)), bytes = n * type->bytes;
		char *at = (char *)to + done * type->bytes;
		if (shades())
			shade_elements(at, type, n);
		gc_lint_begin();
		for (size_t i = 0; i < bytes / sizeof(uintptr_t); i++)
			__atomic_store_n((tare_gc_word *)at + i, 0, __ATOMIC_RELEASE);
		gc_lint_end(at, bytes);
		done += n;
		if (done < count)
			tare_safepoint();
	}
}

// ---- channels -----------------------------------------------------------------------------------------------------

// With the channel's spinlock. What `to` held may be on nobody's stack, unless it is room in the ring, which nobody
// reads.
static void copy_value(void *to, const void *from, size_t bytes, bool room)
{
	if (shades() && !GC_FAULT(UNSHADED_VALUE)) {
		gc_scan_words(from, (const char *)from + bytes);
		if (!room)
			gc_scan_words(to, (const char *)to + bytes);
	}
	gc_lint_begin();
	words_copy(to, from, bytes / sizeof(uintptr_t));
	gc_lint_end(to, bytes);
}

int tare_gc_chan_new(struct tare_chan **ret, size_t elem_bytes, size_t capacity)
{
	return tare_chan_new_traced(ret, elem_bytes, capacity, copy_value);
}
