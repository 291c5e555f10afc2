// SPDX-License-Identifier: MIT
//
// A collection, and the tasks that do it: one that leads, and one a worker that marks. The world is never stopped: a
// phase begins for each worker at its own safepoint (tare_handshake), and ends for the collection when every worker has
// passed.
//
//   1. All is swept, so that no mark is left of the last time: 7 has done it, but for what somebody had in hand.
//   2. tare_gc_marking is on. After a handshake no store goes without the barrier; until then nothing is looked into
//      and all that is made is white, so a store that was half way through is of no harm.
//   3. Each worker makes new objects black as it passes the next handshake. The scan of stacks begins; after another
//      one each task that runs has been scanned, and the leader scans the others, and the roots. Workers mark.
//   4. When all markers are idle and the common list is empty the leader asks, by a handshake, who has marked or taken
//      anything since the last one. If nobody has, all that is reachable is marked.
//   5. Weak handles close (weak.c), and what they yielded meanwhile is marked. Then the barrier shades no more: after a
//      handshake marks are final, once what a word that only looked like a pointer led to is marked too. Until then
//      handles yield nothing: what such a word led to may be grey, and what is taken out of it no barrier keeps. What
//      is weak is cleared.
//   6. tare_gc_marking is off; a handshake; now no barrier is under way.
//   7. The generation moves on: what is not marked is free. Each worker gives back its runs, and all spans are swept.
//
// Why 4 is enough: at each handshake a worker hands over what it holds. One that neither marked nor took anything
// between its last two answers held nothing grey in between, and the answers to one handshake all come before the next
// one begins. So at the instant between the two at which the list was seen empty nothing was grey anywhere. All that
// was reachable then was marked, since stacks were scanned and the barrier keeps what they lost; and from then on it
// stays so: what can be reached later is what could be then, and what was born black.
//
// Threads: the leader is a task of its own; one collection at a time.
#include "gc/gc_int.h"

#include <errno.h>
#include <unistd.h>

#define SLICE_NS (25 * TARE_NS_PER_US)

enum { SLICE_BYTES = 16384, MEMORY_TIMES = 4 };

static struct tare_tag heap_tag = TARE_TAG("collector");

atomic_bool tare_gc_marking;

// ---- marking tasks ------------------------------------------------------------------------------------------------

static void marker_wake(struct gc_cache *cache)
{
	if (!atomic_exchange(&cache->idle, false))
		return;
	atomic_fetch_add(&gc.marking_tasks, 1);
	tare_event_wake(&cache->wake);
}

void gc_work_added(void)
{
	if (!atomic_load(&gc.tracing))
		return;
	for (int i = 0; i < gc.workers; i++) {
		if (!atomic_load_explicit(&gc.caches[i].idle, memory_order_relaxed))
			continue;
		marker_wake(&gc.caches[i]);
		return;
	}
}

// While one rests a collection can't end: who finds nothing left to mark has it look, too.
void gc_markers_rouse(void)
{
	for (int i = 0; i < gc.workers; i++)
		if (atomic_load_explicit(&gc.caches[i].resting, memory_order_relaxed) &&
		    atomic_exchange(&gc.caches[i].resting, false))
			tare_event_wake(&gc.caches[i].rouse);
}

static void marker_rest(struct gc_cache *cache, int64_t pause_ns)
{
	gc_marker_give(&cache->marker);
	atomic_store(&cache->resting, true);
	(void)!tare_event_wait_until(&cache->rouse, tare_now_ns() + pause_ns);
	atomic_store(&cache->resting, false);
}

static void mark_until_idle(struct gc_cache *cache)
{
	for (;;) {
		int64_t since_ns = tare_now_ns(), worked_ns;
		size_t bytes, sum = 0;
		do {
			bytes = gc_drain(&cache->marker, SLICE_BYTES);
			sum += bytes;
			worked_ns = gc_slice_ns(since_ns);
		} while (bytes > 0 && worked_ns < SLICE_NS);
		tare_bump(&cache->mark_ns, (unsigned long long)worked_ns);
		tare_bump(&cache->work_bytes, sum);
		atomic_fetch_add_explicit(&gc.credit, (int64_t)sum, memory_order_relaxed);
		if (bytes == 0)
			return;
		gc_pace_revise();
		int64_t pause_ns = gc_pace_pause_ns(cache);
		if (pause_ns > 0 && (!gc_pace_may_idle((int)(cache - gc.caches)) || tare_worker_busy())) {
			marker_rest(cache, pause_ns);
			continue;
		}
		if (pause_ns > 0)
			tare_bump(&cache->idle_ns, (unsigned long long)worked_ns);
		tare_breathe(tare_now_ns());
	}
}

static int mark_main(void *arg)
{
	struct gc_cache *cache = arg;
	tare_scan_exempt(); // the addresses of objects that are here are none that anybody means to use
	for (;;) {
		tare_event_wait(&cache->wake);
		if (atomic_load(&cache->idle)) // not for work: the end
			return 0;
		mark_until_idle(cache);
		atomic_store(&cache->idle, true);
		if (atomic_fetch_sub(&gc.marking_tasks, 1) == 1)
			tare_event_wake(&gc.stalled);
	}
}

// ---- handshakes ---------------------------------------------------------------------------------------------------

struct step {
	void (*fn)(void *arg, int worker);
	void *arg;
};

static void do_step(void *arg, int worker)
{
	const struct step *step = arg;
	int64_t since_ns = tare_now_ns();
	step->fn(step->arg, worker);
	gc_report_pause(tare_now_ns() - since_ns);
}

static void handshake(void (*fn)(void *arg, int worker), void *arg)
{
	struct tare_handshake seen;
	struct step step = {fn, arg};
	atomic_store_explicit(&gc.shaking_hands, true, memory_order_relaxed);
	tare_handshake(do_step, &step, &seen);
	atomic_store_explicit(&gc.shaking_hands, false, memory_order_relaxed);
	gc_report_wait(&seen);
}

static void pass_release(void *arg, int worker)
{
	(void)arg;
	struct gc_cache *cache = &gc.caches[worker];
	if (cache->generation != atomic_load_explicit(&gc.generation, memory_order_acquire))
		gc_cache_release(cache);
}

static void pass_begin(void *arg, int worker)
{
	(void)arg;
	gc_cache_blacken(&gc.caches[worker]);
}

static void scan_stack(const void *low, const void *high)
{
	atomic_fetch_add_explicit(&gc.stack_bytes, (size_t)((const char *)high - (const char *)low),
				  memory_order_relaxed);
	int64_t since_ns = tare_now_ns();
	gc_scan_words(low, high);
	if (tare_self() == gc.cycle_task)
		gc_report_scan(tare_now_ns() - since_ns);
	else
		gc_report_pause(tare_now_ns() - since_ns); // its task goes on next
}

static void pass(void *arg, int worker)
{
	(void)arg, (void)worker;
}

static void pass_flush(void *arg, int worker)
{
	if (gc_marker_flush(&gc.caches[worker].marker))
		atomic_store((atomic_bool *)arg, true);
}

// ---- a collection -------------------------------------------------------------------------------------------------

// Locked, with the new ones among them.
void gc_roots_lock(void)
{
	tare_mutex_lock(&gc.roots_mutex);
	tare_spin_lock(&gc.new_roots_spin);
	for (struct tare_list *link; (link = tare_list_pop_front(&gc.new_roots)) != NULL;)
		tare_list_push_back(&gc.roots, link);
	tare_spin_unlock(&gc.new_roots_spin);
}

static void scan_roots(void)
{
	gc_roots_lock();
	for (struct tare_list *link = gc.roots.next; link != &gc.roots; link = link->next) {
		const struct tare_gc_root *root = TARE_CONTAINER_OF(link, struct tare_gc_root, link);
		if (!GC_FAULT(MISSED_ROOT))
			gc_scan_words(root->words, (const uintptr_t *)root->words + root->count);
		atomic_fetch_add_explicit(&gc.root_bytes, root->count * sizeof(uintptr_t), memory_order_relaxed);
	}
	tare_mutex_unlock(&gc.roots_mutex);
	tare_scan_chans(gc_scan_words);
	gc_weak_scan();
}

static void mark_all(void)
{
	bool empty, first = true;
	atomic_bool active;
	do {
		// At first what is grey may lie with any of them; afterwards it was handed over.
		for (int i = 0; i < gc.workers && (first || atomic_load(&gc.grey_count) > 0); i++)
			marker_wake(&gc.caches[i]);
		first = false;
		while (atomic_load(&gc.marking_tasks) > 0)
			tare_event_wait(&gc.stalled);
		empty = atomic_load(&gc.grey_count) == 0; // the instant of which the head of this file speaks
		if (GC_FAULT(EARLY_END))
			return;
		atomic_store(&active, false);
		handshake(pass_flush, &active);
	} while (!empty || atomic_load(&active));
}

// After a step that changes what the barrier does: when it has been taken everywhere, what was marked before is looked
// into.
static void mark_rest(void)
{
	atomic_bool active = false;
	if (GC_FAULT(EARLY_END))
		return;
	handshake(pass_flush, &active);
	if (atomic_load(&active))
		mark_all();
}

static void mark_to_the_end(void)
{
	mark_all();
	if (gc_weak_close())
		mark_rest();
	atomic_store(&gc.shading, false);
	mark_rest();
	gc_weak_decide();
}

static uint64_t sum_marked(void)
{
	uint64_t bytes = 0;
	for (int i = 0; i < gc.workers; i++) {
		bytes += gc.caches[i].marker.bytes;
		gc.caches[i].marker.bytes = 0;
		gc.caches[i].marker.active = false;
	}
	return bytes;
}

static void publish(void)
{
	uint64_t marked = sum_marked(), white = atomic_load(&gc.white_bytes);
	uint64_t black = atomic_load(&gc.black_bytes);
	gc_pace_end(marked + black);
	atomic_fetch_sub(&gc.black_bytes, black);
	atomic_fetch_add(&gc.white_bytes, marked + black - white);
	atomic_store(&gc.marked_bytes, marked + black);
	// Before the lists: who finds a span there that was swept for the last time looks at its generation.
	gc_look_lock();
	tare_spin_lock(&gc.types_spin); // a type's bin is there for all or for none of the loop below
	atomic_fetch_add(&gc.generation, 1);
	tare_spin_unlock(&gc.types_spin);
	gc_look_unlock();
	struct gc_bin *bin;
	for (size_t i = 0; (bin = gc_bin_at(i)) != NULL; i++) {
		tare_spin_lock(&bin->spin);
		gc_list_append(&bin->unswept, &bin->roomy);
		gc_list_append(&bin->unswept, &bin->full);
		tare_spin_unlock(&bin->spin);
	}
}

static void assert_swept(void)
{
#ifdef TARE_DEBUG
	struct gc_bin *bin;
	for (size_t i = 0; (bin = gc_bin_at(i)) != NULL; i++) {
		tare_spin_lock(&bin->spin);
		TARE_ASSERT(bin->unswept.first == NULL);
		tare_spin_unlock(&bin->spin);
	}
#endif
}

static void collect(void)
{
	handshake(pass,
		  NULL); // the last collection left nothing unswept but what a worker was in the middle of sweeping
	assert_swept();
	if (gc.lint)
		gc_lint_look();
	gc_pace_begin();
	gc_report_begin();
	gc_weak_begin();
	atomic_store(&gc.shading, true);
	atomic_store(&tare_gc_marking, true);
	handshake(pass, NULL);
	handshake(pass_begin, NULL);
	atomic_store(&gc.tracing, true);
	tare_scan_begin(scan_stack);
	handshake(pass, NULL);
	tare_scan_tasks();
	tare_scan_end(); // what a new task is given from here on is held by one that was scanned
	scan_roots();
	mark_to_the_end();
	if (gc.check)
		gc_check();
	gc_report_marked();
	atomic_store(&gc.tracing, false);
	gc_weak_clear();
	gc_sample_look();
	gc_weak_end();
	atomic_store(&tare_gc_marking, gc.lint);
	handshake(pass, NULL);
	publish();
	handshake(pass_release, NULL);
	// What was made since is white for the next collection: no worker makes anything black now.
	atomic_fetch_add(&gc.white_bytes, atomic_exchange(&gc.black_bytes, 0));
	gc_sweep_rest();
	gc_pace_swept();
	gc_chunks_trim();
	tare_event_wake(&gc.limit.wake); // there may be something to give back
}

static bool due(void)
{
	tare_mutex_lock(&gc.cycles_mutex);
	bool wanted = gc.cycles_wanted > gc.cycles_done;
	tare_mutex_unlock(&gc.cycles_mutex);
	return wanted || gc_pace_due(0);
}

static int cycle_main(void *arg)
{
	(void)arg;
	tare_scan_exempt(); // as mark_main
	for (;;) {
		tare_event_wait(&gc.wake);
		while (!atomic_load(&gc.closing) && due()) {
			tare_mutex_lock(&gc.cycles_mutex);
			gc.cycles_begun++;
			tare_mutex_unlock(&gc.cycles_mutex);
			collect();
			tare_mutex_lock(&gc.cycles_mutex);
			gc_report_end(gc.cycles_done + 1);
			gc.cycles_done++;
			tare_cond_broadcast(&gc.cycle_done);
			tare_mutex_unlock(&gc.cycles_mutex);
		}
		if (atomic_load(&gc.closing))
			return 0;
	}
}

void tare_gc_collect(void)
{
	atomic_fetch_add(&gc.asking, 1);
	tare_mutex_lock(&gc.cycles_mutex);
	uint64_t wanted = gc.cycles_begun + 1; // one that is under way may have passed what is garbage now
	gc.cycles_wanted = TARE_MAX(gc.cycles_wanted, wanted);
	tare_event_wake(&gc.wake);
	while (gc.cycles_done < wanted)
		tare_cond_wait(&gc.cycle_done, &gc.cycles_mutex);
	tare_mutex_unlock(&gc.cycles_mutex);
	atomic_fetch_sub(&gc.asking, 1);
}

void gc_collect_soon(void)
{
	tare_mutex_lock(&gc.cycles_mutex);
	gc.cycles_wanted = TARE_MAX(gc.cycles_wanted, gc.cycles_begun + 1);
	tare_mutex_unlock(&gc.cycles_mutex);
	tare_event_wake(&gc.wake);
}

// The only way in for a task that never waits: where a collection is due or waited for, others get a turn, the
// collector's among them.
bool gc_account(size_t bytes)
{
	tare_safepoint();
	if (gc_limit_fails()) {
		tare_breathe(tare_now_ns());
		return false;
	}
	if (TARE_UNLIKELY(gc.always)) {
		tare_gc_collect();
	} else if (atomic_load_explicit(&gc.shaking_hands, memory_order_relaxed)) {
		tare_yield(); // the leader may be ready by now, and on this worker
		gc_pace_slow(bytes);
	} else if (atomic_load(&gc.tracing)) {
		gc_assist(bytes);
		tare_breathe(tare_now_ns());
	} else if (gc_pace_due(bytes)) {
		tare_event_wake(&gc.wake);
		tare_yield();
		gc_pace_slow(bytes);
	} else if (TARE_UNLIKELY(atomic_load_explicit(&gc.asking, memory_order_relaxed) > 0)) {
		tare_breathe(tare_now_ns());
	}
	return true;
}

bool gc_collect_for_room(void)
{
	bool on = atomic_load(&gc.limit.percent) >= 0 || atomic_load(&gc.limit.bytes) != GC_LIMIT_NONE;
	on = on && !gc_limit_fails();
	if (on)
		tare_gc_collect();
	return on;
}

// ---- roots --------------------------------------------------------------------------------------------------------

// What it holds is shaded when it comes and when it goes: it may be scanned already, and not yet.
static void shade_root(const struct tare_gc_root *root)
{
	if (gc_shading())
		gc_scan_words(root->words, (const uintptr_t *)root->words + root->count);
}

// Nothing here may park before the root is registered: what it holds may be on no stack by then.
void tare_gc_root_add(struct tare_gc_root *root, void *words, size_t count)
{
	root->words = words;
	root->count = count;
	tare_spin_lock(&gc.new_roots_spin);
	tare_list_push_back(&gc.new_roots, &root->link);
	tare_spin_unlock(&gc.new_roots_spin);
	shade_root(root);
}

// Shaded when nothing can park any more: what it held may be on the caller's stack next.
void tare_gc_root_remove(struct tare_gc_root *root)
{
	tare_mutex_lock(&gc.roots_mutex);
	shade_root(root);
	tare_spin_lock(&gc.new_roots_spin);
	tare_list_remove(&root->link);
	tare_spin_unlock(&gc.new_roots_spin);
	tare_mutex_unlock(&gc.roots_mutex);
}

void tare_gc_pin(struct tare_gc_pin *pin, const void *object)
{
	pin->object = (void *)(uintptr_t)object;
	tare_gc_root_add(&pin->root, &pin->object, 1);
}

void tare_gc_unpin(struct tare_gc_pin *pin)
{
	tare_gc_root_remove(&pin->root);
	pin->object = NULL; // which a stack would hold on to
}

// ---- life ---------------------------------------------------------------------------------------------------------

static size_t reserve_default(void)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t most = tare_address_space() / MEMORY_TIMES;
	return (size_t)TARE_MIN(memory * MEMORY_TIMES, most);
}

static void free_all(void)
{
	gc_chunks_done();
	tare_free(gc.caches);
	tare_free(gc.mark_tasks);
	gc_report_done();
	gc_sample_done();
	gc_weak_done();
	gc_lint_done();
	atomic_store(&tare_gc_marking, false);
	gc_spans_done();
	memset(&gc, 0, sizeof gc);
}

static void tasks_end(void)
{
	gc_limit_end();     // while its call, which may collect, finds a collector, and who runs cleanups
	gc_weak_task_end(); // while cleanups that make objects find a collector
	atomic_store(&gc.closing, true);
	tare_event_wake(&gc.wake);
	if (gc.cycle_task != NULL)
		(void)tare_join(gc.cycle_task);
	for (int i = 0; i < gc.workers; i++) {
		tare_event_wake(&gc.caches[i].wake);
		if (gc.mark_tasks[i] != NULL)
			(void)tare_join(gc.mark_tasks[i]);
	}
}

static int tasks_begin(struct tare_error *err)
{
	struct tare_task_options options = {.name = "gc mark", .pinned = true};
	int rc = 0;
	for (int i = 0; rc == 0 && i < gc.workers; i++) {
		atomic_store(&gc.caches[i].idle, true);
		options.worker = i;
		rc = tare_spawn(&gc.mark_tasks[i], &options, mark_main, &gc.caches[i]);
	}
	if (rc == 0)
		rc = tare_spawn(&gc.cycle_task, &(struct tare_task_options){.name = "gc"}, cycle_main, NULL);
	if (rc == 0)
		rc = gc_limit_begin();
	if (rc == 0)
		rc = gc_weak_task_begin();
	if (rc < 0)
		tasks_end();
	return rc < 0 ? tare_error_set(err, rc, "gc: no memory for its tasks") : 0;
}

int tare_gc_open(const struct tare_gc_options *options, struct tare_error *err)
{
	static const struct tare_gc_options defaults;
	const struct tare_gc_options *o = options != NULL ? options : &defaults;
	TARE_ASSERT(tare_worker() >= 0); // not called from a task
	if (gc.open)
		return tare_error_set(err, -EBUSY, "gc: there is a heap already (call tare_gc_close before)");
	gc.open = true;
	gc.workers = tare_worker_count();
	gc.check = o->check;
	gc.always = o->always;
	tare_list_init(&gc.roots);
	tare_list_init(&gc.new_roots);
	gc_bins_init();
	gc.caches = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, (size_t)gc.workers * sizeof *gc.caches);
	gc.mark_tasks = tare_alloc_zeroed(&heap_tag, (size_t)gc.workers, sizeof *gc.mark_tasks);
	if (gc.caches != NULL) {
		memset(gc.caches, 0, (size_t)gc.workers * sizeof *gc.caches);
		gc_sample_init();
	}
	int rc = gc.caches != NULL && gc.mark_tasks != NULL
		     ? 0
		     : tare_error_set(err, -ENOMEM, "gc: no memory for its caches");
	if (rc == 0)
		rc = gc_spans_init(o->reserve_bytes != 0 ? o->reserve_bytes : reserve_default(), err);
	if (rc == 0 && !gc_chunks_init())
		rc = tare_error_set(
		    err, -ENOMEM,
		    "gc: no address space for what marking notes: lower reserve_bytes, or raise ulimit -v");
	if (rc == 0 && gc_report_init(o->trace) < 0)
		rc = tare_error_set(err, -ENOMEM, "gc: no memory for its histograms");
	if (rc == 0)
		rc = gc_lint_init(o, err);
	if (rc == 0)
		rc = gc_weak_init(err);
	if (rc == 0) {
		gc_limit_init(o);
		atomic_store(&tare_gc_marking, gc.lint);
		gc_pace_init(o);
		rc = tasks_begin(err);
	}
	if (rc < 0) {
		if (gc.caches == NULL)
			gc.workers = 0;
		free_all();
	}
	return rc;
}

void tare_gc_close(void)
{
	tasks_end();
	free_all();
}

void tare_gc_stats_read(struct tare_gc_stats *ret)
{
	*ret = (struct tare_gc_stats){
	    .heap_bytes = gc_heap_bytes(),
	    .marked_bytes = atomic_load(&gc.marked_bytes),
	    .goal_bytes = atomic_load(&gc.goal_bytes),
	};
	for (int i = 0; i < gc.workers; i++) {
		ret->objects_made += atomic_load_explicit(&gc.caches[i].objects, memory_order_relaxed);
		ret->bytes_made += atomic_load_explicit(&gc.caches[i].bytes, memory_order_relaxed);
	}
	tare_mutex_lock(&gc.cycles_mutex);
	ret->cycles = gc.cycles_done;
	tare_mutex_unlock(&gc.cycles_mutex);
	gc_limit_stats(ret);
	gc_report_stats(ret);
	gc_weak_stats(ret);
	ret->raw_stores = gc_lint_found();
}
