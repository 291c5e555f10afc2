// SPDX-License-Identifier: MIT
//
// The self-check (tare_gc_options.check): when marking is over, and before anything is freed, all that roots and
// objects lead to is found once more, by plain means, and each object must have its mark. While the barrier is still on
// that holds at every moment, so the program goes on meanwhile. It costs several times what marking costs.
//
// What is found unmarked would be freed while the program can reach it: the process ends, with a line that names the
// object and what led there. What is in use where an object ends is marked, as the marker does with a pointer to there;
// what is free there is nobody's, and passed over.
//
// Threads: the leader's task. Stacks are not looked at: what they alone hold is not found, and so not checked.
#include "gc/gc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
	uint64_t *seen;   // a bit a grain
	uintptr_t *stack; // objects to look into
	size_t count;
} check;

TARE_NORETURN static void lost(uintptr_t object, const struct gc_span *span, uintptr_t from)
{
	fprintf(stderr,
		"tare: gc check: the object at %#" PRIxPTR " (%s) is reachable from %#" PRIxPTR
		" and was not marked: was a pointer stored without tare_gc_store?\n",
		object, span->type != NULL ? span->type->name : "of no single type", from);
	abort();
}

// An object that is in use ends there: it may be a pointer to where the object's elements end, which holds nothing.
static bool is_end(uintptr_t address)
{
	uint32_t slot;
	const struct gc_span *span = gc_slot_of(address - 1, &slot);
	return span != NULL && gc_slot_base(span, slot) + gc_slot_bytes(span) == address &&
	       atomic_load_explicit(&span->states[slot], memory_order_acquire) != SLOT_FREE;
}

static void visit(uintptr_t address, bool sure, uintptr_t from)
{
	uint32_t slot;
	struct gc_span *span = gc_slot_of(address, &slot);
	if (span == NULL)
		return;
	uint8_t state = atomic_load_explicit(&span->states[slot], memory_order_acquire);
	if (state == SLOT_FREE && (!sure || is_end(address)))
		return;
	uintptr_t object = gc_slot_base(span, slot);
	if ((state & SLOT_MARK) == 0)
		lost(object, span, from);
	size_t grain = (object - (uintptr_t)gc.base) / GRAIN;
	bool seen = (check.seen[grain / 64] >> (grain % 64) & 1) != 0;
	check.seen[grain / 64] |= UINT64_C(1) << (grain % 64);
	if (!seen && atomic_load_explicit(&span->kind, memory_order_relaxed) != GC_NOSCAN)
		check.stack[check.count++] = object;
}

static void visit_words(const uintptr_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		visit(__atomic_load_n(&words[i], __ATOMIC_ACQUIRE), false, (uintptr_t)&words[i]);
}

static void look_into(uintptr_t object)
{
	struct gc_elements all = gc_elements_of(gc_span_of(object), object);
	uintptr_t at = all.first;
	for (size_t i = 0; i < all.count; i++, at += all.type->bytes)
		for (uint32_t k = 0; k < all.type->pointer_count; k++) {
			const tare_gc_word *slot = (const tare_gc_word *)(at + all.type->pointers[k]);
			visit(__atomic_load_n(slot, __ATOMIC_ACQUIRE), true, (uintptr_t)slot);
		}
}

void gc_raw_store_die(void *unused, const struct tare_gc_raw_store *store)
{
	(void)unused;
	fprintf(stderr,
		"tare: gc lint: the pointer at offset %" PRIu32
		" of element %zu of the object at %p (%s) is %p and was last "
		"stored as %p: was it stored without tare_gc_store?\n",
		store->offset, store->element, store->object, store->type, store->found, store->expected);
	abort();
}

static void visit_range(const void *low, const void *high)
{
	visit_words(low, (size_t)((const uintptr_t *)high - (const uintptr_t *)low));
}

void gc_check(void)
{
	size_t seen_bytes = gc.bytes / GRAIN / 8, stack_bytes = gc.bytes / GRAIN * sizeof(uintptr_t);
	check.seen = gc_reserve(seen_bytes);
	check.stack = gc_reserve(stack_bytes);
	TARE_ASSERT(check.seen != NULL && check.stack != NULL); // address space alone
	check.count = 0;
	gc_roots_lock();
	for (struct tare_list *link = gc.roots.next; link != &gc.roots; link = link->next) {
		const struct tare_gc_root *root = TARE_CONTAINER_OF(link, struct tare_gc_root, link);
		visit_words(root->words, root->count);
	}
	tare_mutex_unlock(&gc.roots_mutex);
	tare_scan_chans(visit_range);
	gc_weak_each_arg(visit_range);
	while (check.count > 0)
		look_into(check.stack[--check.count]);
	gc_unreserve(check.seen, seen_bytes);
	gc_unreserve(check.stack, stack_bytes);
}
