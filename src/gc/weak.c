// SPDX-License-Identifier: MIT
//
// Weak handles, which yield an object as long as it lives, and cleanups, which run once it was collected. Neither holds
// it.
//
// When all that is reachable is marked, and before anything is freed, the leader goes through all of them: handles of
// what is not marked are cleared, then its cleanups go to the task that runs them. No cleanup gets the object; so
// nothing comes back.
//
// What a handle yields while marking goes on is shaded, as what is stored is. So marking's end has states:
//
//   IDLE --(with the barrier)--> OPEN --(all is marked)--> CLOSING
//     --(and what handles yielded; no barrier)--> DECIDED --> IDLE
//
//   OPEN      what is yielded is shaded
//   CLOSING   all have to wait. What is not marked may be yet, by others' shades or by a stale word that somebody's
//             store finds in a stack; what is marked may lead to what is not, and be changed when the barrier no longer
//             keeps that
//   DECIDED   what is not marked is gone
//
// Invariants
//   1. The state is read before the object, and no safepoint lies between them and the shade. So who saw IDLE, and the
//      object, holds it on a stack that is not scanned yet, or after all dead handles were cleared.
//   2. A step to another state is followed by a handshake before the leader builds on it.
//   3. Before DECIDED a handshake has passed since the last shade (gc.shading) and nothing is grey, so a mark is final,
//      and what is marked leads to nothing that is not.
//   4. A handle and a cleanup are in one list: of those to be looked at, of those seen, or of cleanups to run; a handle
//      that was cleared is in none. All lists are guarded by the spinlock, which is held for LOOK_MAX of them at most.
//
// Threads: tasks; the leader looks. Cost of a collection: a look at each handle and at each cleanup, beside the
// program.
// Rejected: finalizers (they bring objects back, and chains of them take a collection each); one handle shared by all
// who ask for an object's (a table by address, for a saving of memory that few have).
#include "gc/gc_int.h"

#include <tare/pool.h>

#include <errno.h>

enum weak_state { IDLE, OPEN, CLOSING, DECIDED };
enum { LOOK_MAX = 64 };

struct tare_gc_weak {
	struct tare_list link;
	_Atomic(uintptr_t) object; // 0: it was collected
};

struct cleanup {
	struct tare_list link;
	uintptr_t object;
	void (*fn)(void *arg);
	void *arg;   // a root
	bool rooted; // arg may point into the heap: it is in `rooted`, not in `cleanups`
	bool ready;
};

static struct {
	struct tare_pool *handles, *cleanups_pool;
	_Atomic(unsigned) state;
	atomic_bool ever;      // there has been a handle
	struct tare_spin spin; // guards the lists and what is in them
	struct tare_list weak, cleanups, rooted, ready, seen;
	uint64_t weak_count, cleanup_count, ready_count;
	atomic_ullong run;
	// The task that runs cleanups.
	struct tare_event wake;
	atomic_bool closing;
	struct tare_task *task;
} weak;

static bool is_marked(uintptr_t address)
{
	uint32_t slot;
	const struct gc_span *span = gc_slot_of(address, &slot);
	return span != NULL && (atomic_load_explicit(&span->states[slot], memory_order_relaxed) & SLOT_MARK) != 0;
}

static void assert_object(const void *object)
{
	TARE_ASSERT(gc_span_of((uintptr_t)object) != NULL); // no object of this heap
}

// ---- weak handles -------------------------------------------------------------------------------------------------

int tare_gc_weak_new(struct tare_gc_weak **ret, const void *object)
{
	assert_object(object);
	struct tare_gc_weak *handle = tare_pool_take(weak.handles);
	if (handle == NULL)
		return -ENOMEM;
	atomic_store_explicit(&handle->object, (uintptr_t)object, memory_order_relaxed);
	atomic_store(&weak.ever, true);
	tare_spin_lock(&weak.spin);
	tare_list_push_back(&weak.weak, &handle->link);
	weak.weak_count++;
	tare_spin_unlock(&weak.spin);
	*ret = handle;
	return 0;
}

void tare_gc_weak_free(struct tare_gc_weak *handle)
{
	if (handle == NULL)
		return;
	tare_spin_lock(&weak.spin);
	tare_list_remove(&handle->link);
	weak.weak_count--;
	tare_spin_unlock(&weak.spin);
	tare_pool_give(weak.handles, handle);
}

void *tare_gc_weak_get(struct tare_gc_weak *handle)
{
	for (;;) {
		unsigned state = atomic_load_explicit(&weak.state, memory_order_acquire);
		uintptr_t object = atomic_load_explicit(&handle->object, memory_order_acquire);
		if (object == 0 || state == IDLE || GC_FAULT(WEAK_REVIVED))
			return (void *)object;
		if (state == OPEN) {
			gc_scan_words(&object, &object + 1);
			return (void *)object;
		}
		if (state == DECIDED)
			return is_marked(object) ? (void *)object : NULL;
		tare_yield();
	}
}

// ---- cleanups -----------------------------------------------------------------------------------------------------

static struct cleanup *cleanup_of(struct tare_list *link)
{
	return TARE_CONTAINER_OF(link, struct cleanup, link);
}

static void shade_arg(const struct cleanup *cleanup)
{
	if (gc_shading())
		gc_scan_words(&cleanup->arg, &cleanup->arg + 1);
}

int tare_gc_cleanup_add(struct tare_handle *ret, const void *object, void (*fn)(void *arg), void *arg)
{
	assert_object(object);
	TARE_ASSERT(arg != object); // it would never be collected
	struct cleanup *cleanup = tare_pool_take(weak.cleanups_pool);
	if (cleanup == NULL)
		return -ENOMEM;
	cleanup->object = (uintptr_t)object;
	cleanup->fn = fn;
	cleanup->arg = arg;
	cleanup->rooted = (uintptr_t)arg - (uintptr_t)gc.base < gc.bytes;
	cleanup->ready = false;
	if (ret != NULL)
		*ret = tare_pool_handle(weak.cleanups_pool, cleanup);
	tare_spin_lock(&weak.spin);
	tare_list_push_back(cleanup->rooted ? &weak.rooted : &weak.cleanups, &cleanup->link);
	weak.cleanup_count++;
	shade_arg(cleanup); // the arguments may have been looked at already
	tare_spin_unlock(&weak.spin);
	return 0;
}

bool tare_gc_cleanup_cancel(struct tare_handle handle)
{
	void *found;
	tare_spin_lock(&weak.spin);
	bool waits = tare_pool_find(weak.cleanups_pool, handle, &found) == 0 && !((struct cleanup *)found)->ready;
	if (waits) {
		tare_list_remove(&((struct cleanup *)found)->link);
		weak.cleanup_count--;
		tare_pool_give(weak.cleanups_pool, found);
	}
	tare_spin_unlock(&weak.spin);
	return waits;
}

// The next to run, out of the lists and given back under one lock, as in cancelling: a handle that can be found is in a
// list.
// Its argument is shaded: nobody may have looked at it yet.
static bool ready_take(struct cleanup *ret)
{
	tare_spin_lock(&weak.spin);
	struct tare_list *link = tare_list_pop_front(&weak.ready);
	if (link != NULL) {
		weak.ready_count--;
		*ret = *cleanup_of(link);
		shade_arg(ret);
		tare_pool_give(weak.cleanups_pool, cleanup_of(link));
	}
	tare_spin_unlock(&weak.spin);
	return link != NULL;
}

static void run(const struct cleanup *cleanup)
{
	cleanup->fn(cleanup->arg);
	if (GC_FAULT(CLEANUP_TWICE))
		cleanup->fn(cleanup->arg);
	tare_bump(&weak.run, 1);
}

// The leader may have some of them in hand (gc_weak_scan): it wakes the task when they are back.
static bool any_ready(void)
{
	tare_spin_lock(&weak.spin);
	bool any = weak.ready_count > 0;
	tare_spin_unlock(&weak.spin);
	return any;
}

static int cleanup_main(void *arg)
{
	(void)arg;
	for (;;) {
		struct cleanup cleanup;
		if (ready_take(&cleanup)) {
			run(&cleanup);
			tare_breathe(tare_now_ns());
		} else if (atomic_load(&weak.closing) && !any_ready()) {
			return 0;
		} else {
			tare_event_wait(&weak.wake);
		}
	}
}

// ---- the leader's -------------------------------------------------------------------------------------------------

// Shows each of the list to look, which puts it into a list again. Those that come meanwhile are looked at, too.
static void walk(struct tare_list *list, void (*look)(struct tare_list *link))
{
	bool more = true;
	while (more) {
		tare_spin_lock(&weak.spin);
		struct tare_list *link = NULL;
		for (int i = 0; i < LOOK_MAX && (link = tare_list_pop_front(list)) != NULL; i++)
			look(link);
		more = link != NULL;
		tare_spin_unlock(&weak.spin);
		if (more)
			tare_breathe(tare_now_ns());
	}
	tare_spin_lock(&weak.spin);
	if (!tare_list_empty(&weak.seen)) { // in front of what has come
		struct tare_list *first = weak.seen.next, *last = weak.seen.prev;
		last->next = list->next;
		list->next->prev = last;
		list->next = first;
		first->prev = list;
		tare_list_init(&weak.seen);
	}
	tare_spin_unlock(&weak.spin);
}

static void look_at_arg(struct tare_list *link)
{
	const struct cleanup *cleanup = cleanup_of(link);
	gc_scan_words(&cleanup->arg, &cleanup->arg + 1);
	tare_list_push_back(&weak.seen, link);
}

static void look_at_weak(struct tare_list *link)
{
	struct tare_gc_weak *handle = TARE_CONTAINER_OF(link, struct tare_gc_weak, link);
	if (GC_FAULT(WEAK_KEPT) || is_marked(atomic_load_explicit(&handle->object, memory_order_relaxed)))
		tare_list_push_back(&weak.seen, link);
	else
		atomic_store_explicit(&handle->object, 0, memory_order_release);
}

static void look_at_cleanup(struct tare_list *link)
{
	struct cleanup *cleanup = cleanup_of(link);
	if (is_marked(cleanup->object)) {
		tare_list_push_back(&weak.seen, link);
		return;
	}
	cleanup->ready = true;
	tare_list_push_back(&weak.ready, link);
	weak.cleanup_count--;
	weak.ready_count++;
}

void gc_weak_scan(void)
{
	walk(&weak.rooted, look_at_arg);
	walk(&weak.ready, look_at_arg);
	tare_event_wake(&weak.wake); // who found none ready meanwhile
}

void gc_weak_each_arg(void (*visit)(const void *low, const void *high))
{
	struct tare_list *lists[] = {&weak.rooted, &weak.ready};
	tare_spin_lock(&weak.spin);
	for (unsigned i = 0; i < TARE_ARRAY_LEN(lists); i++)
		for (struct tare_list *link = lists[i]->next; link != lists[i]; link = link->next)
			visit(&cleanup_of(link)->arg, &cleanup_of(link)->arg + 1);
	tare_spin_unlock(&weak.spin);
}

void gc_weak_begin(void)
{
	atomic_store(&weak.state, OPEN);
}

bool gc_weak_close(void)
{
	atomic_store(&weak.state, CLOSING);
	return atomic_load(&weak.ever);
}

void gc_weak_decide(void)
{
	atomic_store(&weak.state, DECIDED);
}

// Handles first: who runs a cleanup finds them cleared.
void gc_weak_clear(void)
{
	walk(&weak.weak, look_at_weak);
	walk(&weak.cleanups, look_at_cleanup);
	walk(&weak.rooted, look_at_cleanup);
	tare_event_wake(&weak.wake);
}

void gc_weak_end(void)
{
	atomic_store(&weak.state, IDLE);
}

// ---- life ---------------------------------------------------------------------------------------------------------

int gc_weak_init(struct tare_error *err)
{
	struct tare_pool_options handles = {.name = "gc_weak", .object_bytes = sizeof(struct tare_gc_weak)};
	struct tare_pool_options cleanups = {
	    .name = "gc_cleanups", .object_bytes = sizeof(struct cleanup), .handles = true};
	memset(&weak, 0, sizeof weak);
	tare_list_init(&weak.weak);
	tare_list_init(&weak.cleanups);
	tare_list_init(&weak.rooted);
	tare_list_init(&weak.ready);
	tare_list_init(&weak.seen);
	int rc = tare_pool_new(&weak.handles, &handles);
	if (rc == 0)
		rc = tare_pool_new(&weak.cleanups_pool, &cleanups);
	return rc == 0 ? 0 : tare_error_set(err, rc, "gc: no memory for its weak handles");
}

void gc_weak_done(void)
{
	tare_pool_free(weak.handles);
	tare_pool_free(weak.cleanups_pool);
	weak.handles = weak.cleanups_pool = NULL;
}

int gc_weak_task_begin(void)
{
	return tare_spawn(&weak.task, &(struct tare_task_options){.name = "gc cleanup"}, cleanup_main, NULL);
}

void gc_weak_task_end(void)
{
	atomic_store(&weak.closing, true);
	tare_event_wake(&weak.wake);
	if (weak.task != NULL)
		(void)tare_join(weak.task);
	weak.task = NULL;
}

void gc_weak_stats(struct tare_gc_stats *ret)
{
	struct tare_pool_stats handles, cleanups;
	tare_pool_stats_read(weak.handles, &handles);
	tare_pool_stats_read(weak.cleanups_pool, &cleanups);
	ret->handle_bytes = handles.bytes + cleanups.bytes;
	ret->cleanups_run = atomic_load_explicit(&weak.run, memory_order_relaxed);
	tare_spin_lock(&weak.spin);
	ret->weak_handles = weak.weak_count;
	ret->cleanups = weak.cleanup_count;
	ret->cleanups_ready = weak.ready_count;
	tare_spin_unlock(&weak.spin);
}
