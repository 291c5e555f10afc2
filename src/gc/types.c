// SPDX-License-Identifier: MIT
//
// What there is of each type: nothing is counted for it while the program runs; who asks has all spans looked through.
//
// Invariants
//   1. With the lock of gc_look_lock held, no span is freed and no generation ends. So while it is held a span that was
//      swept stays so, and what is in use in it stays in use: an array's head may be read. Looked at is a piece of a
//      span at a time; in between all that may change, and is asked anew.
//   2. What is not swept yet may be freed and made anew by a worker meanwhile: only states are read of it.
//
// Threads: any. Who makes objects never takes the lock; the leader waits for it, as long as a piece takes.
// Rejected: counting as objects are made and swept (a price for all, for what few ask); the leader's looking (who asks
// would wait for the end of a collection, and a plain thread can't).
#include "gc/gc_int.h"

enum { LOOK_SLOTS = 128 };

// No spinlock: a plain thread may be put aside by the system while it holds this, and the leader's worker has other
// tasks.
void gc_look_lock(void)
{
	while (atomic_exchange_explicit(&gc.looked_at, true, memory_order_acquire)) {
		if (tare_worker() >= 0)
			tare_yield();
		else
			tare_cpu_relax();
	}
}

void gc_look_unlock(void)
{
	atomic_store_explicit(&gc.looked_at, false, memory_order_release);
}

struct look {
	struct tare_gc_type_row *rows;
	size_t max, count, last;
};

// Its row; a new one, or the last, which is for all others.
static struct tare_gc_type_row *row_of(struct look *look, const struct tare_gc_type *type, const char *name)
{
	if (look->last < look->count && look->rows[look->last].name == name)
		return &look->rows[look->last];
	size_t i = 0;
	while (i < look->count && look->rows[i].name != name)
		i++;
	if (i == look->count && look->count < look->max) {
		bool others = ++look->count == look->max;
		look->rows[i] =
		    (struct tare_gc_type_row){.type = others ? NULL : type, .name = others ? "others" : name};
	}
	look->last = TARE_MIN(i, look->max - 1);
	return &look->rows[look->last];
}

static void add(struct look *look, const struct tare_gc_type *type, const char *name, uint64_t objects, size_t bytes)
{
	if (objects == 0)
		return;
	struct tare_gc_type_row *row = row_of(look, type, name);
	row->objects += objects;
	row->bytes += objects * bytes;
}

// from: a multiple of eight.
static uint32_t count_states(const struct gc_span *span, uint32_t from, uint32_t to, bool swept)
{
	uint32_t count = 0;
	for (uint32_t i = from; i < to; i += 8) {
		uint64_t eight = atomic_load_explicit(gc_eight_at(span->states, i), memory_order_relaxed);
		count += (uint32_t)__builtin_popcountll((swept ? eight : eight >> 1) & GC_EVERY(SLOT_WHITE));
	}
	return count;
}

static void add_arrays(struct look *look, const struct gc_span *span, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		if (atomic_load_explicit(&span->states[i], memory_order_acquire) == SLOT_FREE)
			continue;
		const struct gc_head *head = (const struct gc_head *)gc_slot_base(span, i);
		const struct tare_gc_type *type = __atomic_load_n(&head->type, __ATOMIC_ACQUIRE);
		if (type != NULL) // else a run's, and not made yet
			add(look, type, type->name, 1, gc_slot_bytes(span));
	}
}

// A piece of the span, from that slot on. Where the next begins; 0: there is none.
static uint32_t look_at_piece(struct look *look, const struct gc_span *span, uint32_t from)
{
	enum gc_kind kind = atomic_load_explicit(&span->kind, memory_order_acquire);
	if (kind == GC_FREE || from >= span->slots)
		return 0;
	uint32_t to = TARE_MIN(from + LOOK_SLOTS, span->slots);
	bool swept = atomic_load_explicit(&span->generation, memory_order_acquire) ==
		     atomic_load_explicit(&gc.generation, memory_order_relaxed);
	size_t bytes = gc_slot_bytes(span);
	if (span->type != NULL) // of one alone, or a large object
		add(look, span->type, span->type->name, count_states(span, from, to, swept), bytes);
	else if (kind == GC_NOSCAN)
		add(look, NULL, "(no pointers)", count_states(span, from, to, swept), bytes);
	else if (swept)
		add_arrays(look, span, from, to);
	else
		add(look, NULL, "(arrays to be swept)", count_states(span, from, to, false), bytes);
	return to < span->slots ? to : 0;
}

static void sort(struct tare_gc_type_row *rows, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t k = i; k > 0 && rows[k].bytes > rows[k - 1].bytes; k--) {
			struct tare_gc_type_row row = rows[k];
			rows[k] = rows[k - 1];
			rows[k - 1] = row;
		}
}

size_t tare_gc_types_read(struct tare_gc_type_row *rows, size_t max)
{
	struct look look = {.rows = rows, .max = max};
	TARE_ASSERT(max > 0);
	size_t blocks = atomic_load_explicit(&gc.top, memory_order_acquire) >> BLOCK_SHIFT;
	for (size_t i = 0; i < blocks; i++) {
		uint32_t next = 0;
		do {
			gc_look_lock();
			next = look_at_piece(&look, &gc.spans[i], next);
			gc_look_unlock();
		} while (next > 0);
		if (tare_worker() >= 0)
			tare_breathe(tare_now_ns());
	}
	sort(rows, look.count);
	return look.count;
}
