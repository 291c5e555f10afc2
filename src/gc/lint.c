// SPDX-License-Identifier: MIT
//
// The lint (tare_gc_options.lint): finds pointers that were stored into objects without the barrier.
//
// A shadow of the reservation holds what each pointer should be: every form of the barrier writes there what it stores,
// and what is made is zeroed in both. Before each marking the leader compares: what differs was stored by other means.
// That holds for objects that are garbage by then, too, so a mistake is found whether or not a collection would have
// lost anything.
//
// In this mode stores always take the long way (tare_gc_marking stays on) and one spinlock, so that a pointer and its
// shadow change together. It doubles the heap's memory; it is for tests.
//
// Threads: any task stores; the leader looks. What is reported is reported without the lock.
// Rejected: a log of all stores (it grows with them); comparing two snapshots (a store in between may be undone, and
// they say nothing of stores into what was made since).
#include "gc/gc_int.h"

#include <errno.h>

static struct {
	char *shadow; // of the reservation, byte for byte
	size_t bytes;
	struct tare_spin spin; // guards it, and what objects hold that it shadows
	void (*report)(void *arg, const struct tare_gc_raw_store *store);
	void *arg;
	atomic_ullong found;
} lint;

int gc_lint_init(const struct tare_gc_options *o, struct tare_error *err)
{
	gc.lint = o->lint;
	if (!gc.lint)
		return 0;
	void *map = gc_reserve(gc.bytes);
	if (map == NULL)
		return tare_error_set(err, -ENOMEM, "gc: no address space for the lint: lower reserve_bytes");
	memset(&lint, 0, sizeof lint);
	lint.shadow = map;
	lint.bytes = gc.bytes;
	lint.report = o->lint_report != NULL ? o->lint_report : gc_raw_store_die;
	lint.arg = o->lint_arg;
	return 0;
}

void gc_lint_done(void)
{
	gc_unreserve(lint.shadow, lint.bytes);
	lint.shadow = NULL;
}

uint64_t gc_lint_found(void)
{
	return gc.lint ? atomic_load_explicit(&lint.found, memory_order_relaxed) : 0;
}

// ---- stores -------------------------------------------------------------------------------------------------------

void gc_lint_lock(void)
{
	tare_spin_lock(&lint.spin);
}

void gc_lint_note(const void *to, size_t bytes)
{
	size_t offset = (uintptr_t)to - (uintptr_t)gc.base;
	if (offset < gc.bytes)
		for (size_t i = 0; i < bytes / sizeof(uintptr_t); i++)
			((uintptr_t *)(lint.shadow + offset))[i] =
			    __atomic_load_n((const tare_gc_word *)to + i, __ATOMIC_RELAXED);
	tare_spin_unlock(&lint.spin);
}

void gc_lint_clear(const void *low, size_t bytes)
{
	tare_spin_lock(&lint.spin);
	memset(lint.shadow + ((uintptr_t)low - (uintptr_t)gc.base), 0, bytes);
	tare_spin_unlock(&lint.spin);
}

// ---- looking ------------------------------------------------------------------------------------------------------

static void look_at_pointer(uintptr_t object, uintptr_t element, const struct tare_gc_type *type, size_t index,
			    uint32_t offset)
{
	uintptr_t *expected = (uintptr_t *)(lint.shadow + (element + offset - (uintptr_t)gc.base));
	struct tare_gc_raw_store store = {
	    .type = type->name, .object = (const void *)object, .element = index, .offset = offset};
	tare_spin_lock(&lint.spin);
	uintptr_t now = __atomic_load_n((const tare_gc_word *)(element + offset), __ATOMIC_RELAXED), then = *expected;
	*expected = now; // reported once
	tare_spin_unlock(&lint.spin);
	if (now == then)
		return;
	store.found = (const void *)now;
	store.expected = (const void *)then;
	tare_bump(&lint.found, 1);
	lint.report(lint.arg, &store);
}

static void look_at_object(const struct gc_span *span, uintptr_t object)
{
	struct gc_elements all = gc_elements_of(span, object);
	uintptr_t at = all.first;
	for (size_t i = 0; i < all.count; i++, at += all.type->bytes)
		for (uint32_t k = 0; k < all.type->pointer_count; k++)
			look_at_pointer(all.first, at, all.type, i, all.type->pointers[k]);
}

static void look_at_span(const struct gc_span *span)
{
	if (atomic_load_explicit(&span->kind, memory_order_acquire) <= GC_NOSCAN)
		return;
	for (uint32_t slot = 0; slot < span->slots; slot++)
		if (atomic_load_explicit(&span->states[slot], memory_order_acquire) != SLOT_FREE)
			look_at_object(span, gc_slot_base(span, slot));
}

// When all is swept, so that nobody frees anything: spans come meanwhile, but none goes.
void gc_lint_look(void)
{
	size_t blocks = atomic_load(&gc.top) >> BLOCK_SHIFT;
	for (size_t i = 0; i < blocks; i++) {
		look_at_span(&gc.spans[i]);
		tare_breathe(tare_now_ns());
	}
}
