// SPDX-License-Identifier: MIT
// Goal: nothing that a program can still reach is ever freed, whatever its tasks do to their graphs while collections
// go on.
// Method: tasks change chains of cells at random, each beside a model of its own in malloc's memory: which cells, in
// which order, with which bytes. Chains wander between tables, stacks, a mailbox, a box that is exchanged, channels and
// tasks; cells are cloned, tables copied, heads watched by weak handles and cleanups. What was freed is poisoned (debug
// builds) or made anew, so that a cell that should be there is found changed. The same in a heap that looks for raw
// stores, and in one that collects whenever an object is made.
#include "in_task.h"

#include <tare/chan.h>
#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/sync.h>

#include <inttypes.h>

enum { TASKS = 6, SLOTS = 12, CHAIN_MAX = 24, BLOB_MAX = 700, ECHOES = 2, WATCHED_MAX = 4096, ID_BITS = 32 };

struct cell {
	struct cell *next;
	unsigned char *blob; // of `bytes`, each the id's
	struct cell **fan;   // an array, or NULL; every element this cell
	uint64_t id, bytes, not_id;
};
static const uint32_t cell_pointers[] = {offsetof(struct cell, next), offsetof(struct cell, blob),
					 offsetof(struct cell, fan)};
static struct tare_gc_type cell_type = TARE_GC_TYPE(struct cell, cell_pointers);
static const uint32_t word_pointers[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct cell *, word_pointers);

struct model {
	unsigned count;
	uint64_t ids[CHAIN_MAX]; // of the chain's cells, the first first
};

// A chain on its way, with its model.
struct parcel {
	struct cell *chain;
	struct model model;
};
static const uint32_t parcel_pointers[] = {offsetof(struct parcel, chain)};
static struct tare_gc_type parcel_type = TARE_GC_TYPE(struct parcel, parcel_pointers);

struct message {
	uint64_t count;
	struct parcel *parcel;
};

struct watch {
	struct tare_gc_weak *weak;
	uint64_t id; // of the cell; 0: none
};

struct mutator {
	struct tare_rng rng;
	uint64_t ids, steps;
	struct cell **table; // an array object, pinned
	struct tare_gc_pin pin;
	struct model models[SLOTS];
	struct watch watches[SLOTS];
	unsigned watched;                  // cells with a cleanup
	atomic_uchar cleaned[WATCHED_MAX]; // how often each of them ran
	uint64_t watched_ids[WATCHED_MAX];
};

static struct {
	struct tare_mutex mutex;
	struct cell *chain; // a root
	struct model model;
} mailbox;
static struct parcel *box;                   // a root
static struct tare_chan *outward, *homeward; // echoes take from the one and put into the other
static atomic_int running;
static atomic_ullong cleaned_all;

static uint64_t below(struct mutator *m, uint64_t n)
{
	return tare_rng_below(&m->rng, n);
}

static struct cell *cell_new(struct mutator *m, uint64_t id)
{
	struct cell *cell = tare_gc_new(&cell_type);
	CHECK(cell != NULL && cell->next == NULL && cell->blob == NULL && cell->id == 0 && cell->not_id == 0);
	cell->id = id;
	cell->not_id = ~id;
	cell->bytes = below(m, BLOB_MAX);
	unsigned char *blob = tare_gc_new_noscan(cell->bytes);
	memset(blob, (int)(id & 0xff), cell->bytes);
	tare_gc_store(&cell->blob, blob);
	if (below(m, 8) == 0) {
		size_t count = 1 + below(m, 40);
		struct cell **fan = tare_gc_new_array(&pointer_type, count);
		for (size_t i = 0; i < count; i++)
			tare_gc_store(&fan[i], cell);
		tare_gc_store(&cell->fan, fan);
	}
	return cell;
}

static bool cell_is_whole(const struct cell *cell, uint64_t id)
{
	if (cell->id != id || cell->not_id != ~id || (cell->fan != NULL && cell->fan[0] != cell))
		return false;
	for (uint64_t i = 0; i < cell->bytes; i++)
		if (cell->blob[i] != (unsigned char)id)
			return false;
	return true;
}

static void check_chain(const struct cell *cell, const struct model *model)
{
	for (unsigned i = 0; i < model->count; i++, cell = cell->next)
		if (cell == NULL || !cell_is_whole(cell, model->ids[i])) {
			CHECK(false);
			return;
		}
	CHECK(cell == NULL);
}

static void grow(struct mutator *m, unsigned slot)
{
	struct model *model = &m->models[slot];
	if (model->count == CHAIN_MAX)
		return;
	struct cell *cell = cell_new(m, ++m->ids);
	tare_gc_store(&cell->next, m->table[slot]);
	tare_gc_store(&m->table[slot], cell);
	memmove(model->ids + 1, model->ids, model->count * sizeof model->ids[0]);
	model->ids[0] = cell->id;
	model->count++;
}

static void cut(struct mutator *m, unsigned slot)
{
	struct model *model = &m->models[slot];
	unsigned keep = (unsigned)below(m, model->count + 1);
	struct cell *last = m->table[slot];
	for (unsigned i = 1; i < keep; i++)
		last = last->next;
	tare_gc_store(keep == 0 ? &m->table[slot] : &last->next, NULL);
	model->count = keep;
}

// While it waits a chain is on its stack alone.
static void hide(struct mutator *m, unsigned from, unsigned to)
{
	struct cell *chain = m->table[from];
	struct model model = m->models[from];
	tare_gc_store(&m->table[from], NULL);
	m->models[from].count = 0;
	for (int i = 0; i < 4; i++)
		tare_yield();
	check_chain(chain, &model);
	tare_gc_store(&m->table[to], chain);
	m->models[to] = model;
}

// Reverses a chain in place: each cell is for a moment on the stack alone.
static void reverse(struct mutator *m, unsigned slot)
{
	struct model *model = &m->models[slot];
	struct cell *done = NULL, *left = m->table[slot];
	tare_gc_store(&m->table[slot], NULL);
	while (left != NULL) {
		struct cell *cell = left;
		left = cell->next;
		tare_gc_store(&cell->next, done);
		done = cell;
		if (below(m, 16) == 0)
			tare_yield();
	}
	tare_gc_store(&m->table[slot], done);
	for (unsigned i = 0; i < model->count / 2; i++) {
		uint64_t id = model->ids[i];
		model->ids[i] = model->ids[model->count - 1 - i];
		model->ids[model->count - 1 - i] = id;
	}
}

static void post(struct mutator *m, unsigned slot)
{
	tare_mutex_lock(&mailbox.mutex);
	struct cell *chain = mailbox.chain;
	struct model model = mailbox.model;
	tare_gc_store(&mailbox.chain, m->table[slot]);
	mailbox.model = m->models[slot];
	tare_mutex_unlock(&mailbox.mutex);
	check_chain(chain, &model);
	tare_gc_store(&m->table[slot], chain);
	m->models[slot] = model;
}

static int check_elsewhere(void *arg)
{
	// The chain itself is the argument: nothing else need hold it when this begins.
	struct cell *chain = arg;
	tare_yield();
	CHECK(chain == NULL || chain->not_id == ~chain->id);
	return 0;
}

static void send_away(struct mutator *m, unsigned slot)
{
	struct cell *chain = m->table[slot];
	tare_gc_store(&m->table[slot], NULL);
	m->models[slot].count = 0;
	CHECK(tare_go(check_elsewhere, chain) == 0);
}

// ---- parcels ------------------------------------------------------------------------------------------------------

static struct parcel *pack(struct mutator *m, unsigned slot)
{
	struct parcel *parcel = tare_gc_new(&parcel_type);
	tare_gc_store(&parcel->chain, m->table[slot]);
	parcel->model = m->models[slot];
	return parcel;
}

// NULL: an empty one.
static void unpack(struct mutator *m, unsigned slot, const struct parcel *parcel)
{
	static const struct model none;
	tare_gc_store(&m->table[slot], parcel != NULL ? parcel->chain : NULL);
	m->models[slot] = parcel != NULL ? parcel->model : none;
	check_chain(m->table[slot], &m->models[slot]);
}

static void swap_box(struct mutator *m, unsigned slot)
{
	struct parcel *mine = pack(m, slot), *theirs;
	if (below(m, 2) == 0) {
		theirs = tare_gc_exchange(&box, mine);
	} else {
		theirs = __atomic_load_n(&box, __ATOMIC_ACQUIRE);
		while (!tare_gc_compare_exchange(&box, &theirs, mine))
			continue;
	}
	unpack(m, slot, theirs);
}

static void send_parcel(struct mutator *m, unsigned slot)
{
	struct message message = {m->models[slot].count, pack(m, slot)};
	int rc = tare_chan_try_send(outward, &message);
	CHECK(rc == 0 || rc == -EAGAIN);
	if (rc == 0)
		unpack(m, slot, NULL);
}

static void recv_parcel(struct mutator *m, unsigned slot)
{
	struct message message;
	struct tare_case select = {.chan = homeward, .recv = &message};
	int rc = below(m, 2) == 0 ? tare_chan_try_recv(homeward, &message) : tare_try_select(&select, 1);
	CHECK(rc == 0 || rc == -EAGAIN);
	if (rc < 0)
		return;
	CHECK(message.count == message.parcel->model.count);
	unpack(m, slot, message.parcel); // what was there is garbage
}

static int echo_main(void *arg)
{
	struct message message;
	while (tare_chan_recv(outward, &message) == 0) {
		check_chain(message.parcel->chain, &message.parcel->model);
		struct tare_case select = {.chan = homeward, .send = &message};
		int rc = arg != NULL ? tare_chan_send(homeward, &message) : tare_select(&select, 1);
		CHECK(rc == 0 || rc == -EPIPE);
	}
	return 0;
}

// ---- copies -------------------------------------------------------------------------------------------------------

static void copy_table(struct mutator *m)
{
	struct cell **copy = tare_gc_new_array(&pointer_type, SLOTS), **old = m->table;
	tare_gc_copy(copy, old, &pointer_type, SLOTS);
	tare_gc_unpin(&m->pin);
	tare_gc_pin(&m->pin, copy);
	m->table = copy;
	tare_gc_zero(old, &pointer_type, SLOTS);
	unsigned half = SLOTS / 2; // the second half moves to the front, and the first behind it
	struct cell *first[SLOTS / 2];
	struct model models[SLOTS / 2];
	tare_gc_copy(first, copy, &pointer_type, half);
	tare_gc_copy(copy, copy + half, &pointer_type, half);
	tare_gc_copy(copy + half, first, &pointer_type, half);
	memcpy(models, m->models, sizeof models);
	memmove(m->models, m->models + half, sizeof models);
	memcpy(m->models + half, models, sizeof models);
}

// Chains go from one mutator to another. Only who made a cell clones it, and watches it: else he would not know that
// the one he watches was replaced.
static bool made_by(const struct mutator *m, const struct cell *cell)
{
	return cell != NULL && cell->id >> ID_BITS == m->ids >> ID_BITS;
}

static void clone_head(struct mutator *m, unsigned slot)
{
	struct cell *head = m->table[slot];
	if (!made_by(m, head))
		return;
	struct cell *clone = tare_gc_new(&cell_type);
	tare_gc_copy(clone, head, &cell_type, 1);
	tare_gc_store(&clone->fan, NULL);
	tare_gc_store(&m->table[slot], clone);
	for (unsigned i = 0; i < SLOTS; i++)
		if (m->watches[i].id == clone->id)
			m->watches[i].id = 0; // which need not live any more
	for (unsigned i = 0; i < m->watched; i++)
		if (m->watched_ids[i] == clone->id)
			m->watched_ids[i] = 0;
}

// ---- what does not hold -------------------------------------------------------------------------------------------

static bool owns(const struct mutator *m, uint64_t id)
{
	for (unsigned slot = 0; slot < SLOTS; slot++)
		for (unsigned i = 0; i < m->models[slot].count; i++)
			if (m->models[slot].ids[i] == id)
				return true;
	return false;
}

static void watch(struct mutator *m, unsigned slot)
{
	struct watch *w = &m->watches[slot];
	const struct cell *head = m->table[slot];
	tare_gc_weak_free(w->weak);
	w->weak = NULL;
	if (!made_by(m, head))
		return;
	w->id = head->id;
	CHECK(tare_gc_weak_new(&w->weak, head) == 0);
}

static void look(struct mutator *m, unsigned slot)
{
	const struct watch *w = &m->watches[slot];
	const struct cell *cell = w->weak != NULL ? tare_gc_weak_get(w->weak) : NULL;
	if (w->weak == NULL || w->id == 0)
		return;
	CHECK(cell != NULL || !owns(m, w->id));
	if (cell == NULL)
		return;
	if (below(m, 2) == 0)
		tare_yield(); // perhaps it is on this stack alone
	CHECK(cell_is_whole(cell, w->id));
}

static void cleaned(void *arg)
{
	atomic_uchar *count = arg;
	atomic_fetch_add(count, 1);
	atomic_fetch_add(&cleaned_all, 1);
}

static void add_cleanup(struct mutator *m, unsigned slot)
{
	const struct cell *head = m->table[slot];
	struct tare_handle handle;
	if (!made_by(m, head) || m->watched == WATCHED_MAX)
		return;
	m->watched_ids[m->watched] = head->id;
	CHECK(tare_gc_cleanup_add(&handle, head, cleaned, &m->cleaned[m->watched]) == 0);
	if (below(m, 4) == 0)
		CHECK(tare_gc_cleanup_cancel(handle)); // it is reachable yet
	else
		m->watched++;
}

static void check_cleanups(struct mutator *m)
{
	for (unsigned i = 0; i < m->watched; i++) {
		unsigned char count = atomic_load(&m->cleaned[i]);
		CHECK(count <= 1 && (count == 0 || !owns(m, m->watched_ids[i])));
	}
}

// ---- tasks --------------------------------------------------------------------------------------------------------

static void step(struct mutator *m)
{
	unsigned slot = (unsigned)below(m, SLOTS), other = (unsigned)below(m, SLOTS);
	switch (below(m, 28)) {
	case 0:
		cut(m, slot);
		break;
	case 1:
		hide(m, slot, other);
		break;
	case 2:
		reverse(m, slot);
		break;
	case 3:
		post(m, slot);
		break;
	case 4:
		send_away(m, slot);
		break;
	case 5:
		(void)cell_new(m, 0);
		break;
	case 6:
		check_chain(m->table[slot], &m->models[slot]);
		break;
	case 7: { // large, and gone soon
		struct cell **large = tare_gc_new_array(&pointer_type, 5000 + below(m, 40000));
		tare_gc_store(&large[4999], m->table[slot]);
		tare_yield();
		CHECK(large[4999] == m->table[slot] && large[0] == NULL);
		break;
	}
	case 8:
		swap_box(m, slot);
		break;
	case 9:
		send_parcel(m, slot);
		break;
	case 10:
		recv_parcel(m, slot);
		break;
	case 11:
		copy_table(m);
		break;
	case 12:
		clone_head(m, slot);
		break;
	case 13:
		watch(m, slot);
		break;
	case 14:
	case 15:
		look(m, slot);
		break;
	case 16:
		add_cleanup(m, slot);
		break;
	default:
		grow(m, slot);
	}
}

static int mutate(void *arg)
{
	struct mutator *m = arg;
	m->table = tare_gc_new_array(&pointer_type, SLOTS);
	tare_gc_pin(&m->pin, m->table);
	for (uint64_t i = 0; i < m->steps; i++)
		step(m);
	check_cleanups(m);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		check_chain(m->table[slot], &m->models[slot]);
		tare_gc_weak_free(m->watches[slot].weak);
	}
	tare_gc_unpin(&m->pin);
	atomic_fetch_sub(&running, 1);
	return 0;
}

static void run_mutators(uint64_t steps)
{
	static struct mutator mutators[TASKS];
	struct tare_task *tasks[TASKS], *echoes[ECHOES];
	atomic_store(&running, TASKS);
	for (uintptr_t i = 0; i < ECHOES; i++)
		CHECK(tare_spawn(&echoes[i], NULL, echo_main, (void *)i) == 0);
	for (unsigned i = 0; i < TASKS; i++) {
		memset(&mutators[i], 0, sizeof mutators[i]);
		mutators[i].steps = steps;
		mutators[i].ids = (uint64_t)i << ID_BITS;
		tare_rng_init(&mutators[i].rng, i + 1);
		CHECK(tare_spawn(&tasks[i], NULL, mutate, &mutators[i]) == 0);
	}
	while (atomic_load(&running) > 0)
		tare_gc_collect();
	for (unsigned i = 0; i < TASKS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_chan_close(outward);
	tare_chan_close(homeward); // who is to send there yet is told
	struct message message;
	while (tare_chan_recv(homeward, &message) == 0)
		check_chain(message.parcel->chain, &message.parcel->model);
	for (unsigned i = 0; i < ECHOES; i++)
		(void)tare_join(echoes[i]);
}

static int mutate_in(const struct tare_gc_options *options, uint64_t steps)
{
	struct tare_gc_root roots[2];
	struct tare_gc_stats stats;
	memset(&mailbox, 0, sizeof mailbox);
	box = NULL;
	atomic_store(&cleaned_all, 0);
	CHECK(tare_gc_open(options, NULL) == 0);
	CHECK(tare_gc_chan_new(&outward, sizeof(struct message), 2) == 0);
	CHECK(tare_gc_chan_new(&homeward, sizeof(struct message), 0) == 0);
	tare_gc_root_add(&roots[0], &mailbox.chain, 1);
	tare_gc_root_add(&roots[1], &box, 1);
	run_mutators(steps);
	check_chain(mailbox.chain, &mailbox.model);
	if (box != NULL)
		check_chain(box->chain, &box->model);
	tare_gc_root_remove(&roots[0]);
	tare_gc_root_remove(&roots[1]);
	tare_chan_free(outward);
	tare_chan_free(homeward);
	while (tare_gc_stats_read(&stats), stats.cleanups_run < atomic_load(&cleaned_all) || stats.cleanups_ready > 0)
		tare_yield();
	CHECK(stats.raw_stores == 0 && stats.weak_handles == 0);
	if (getenv("TARE_GC_TABLE") != NULL)
		fprintf(stderr,
			"%" PRIu64 " cycles, %" PRIu64 " objects, %" PRIu64 " bytes, %" PRIu64
			" cleanups, late %" PRId64 " ns (%s), pause %" PRId64 " ns\n",
			stats.cycles, stats.objects_made, stats.bytes_made, stats.cleanups_run, stats.late_max_ns,
			stats.late_name, stats.pause_max_ns);
	tare_gc_close();
	return 0;
}

static int mutators_main(void *arg)
{
	(void)arg;
	return mutate_in(
	    &(struct tare_gc_options){.min_bytes = 1 << 18, .check = true, .reserve_bytes = UINT64_C(1) << 32},
	    SIMULATED ? 200 : SCALED(20000));
}

TEST(graphs_survive_collections)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, mutators_main);
}

static int linted_main(void *arg)
{
	(void)arg;
	return mutate_in(
	    &(struct tare_gc_options){.min_bytes = 1 << 18, .lint = true, .reserve_bytes = UINT64_C(1) << 32},
	    SIMULATED ? 50 : SCALED(4000));
}

TEST(mutators_store_nothing_without_the_barrier)
{
	run_in_task(2, linted_main);
}

static int always_main(void *arg)
{
	(void)arg;
	return mutate_in(&(struct tare_gc_options){.check = true, .always = true, .reserve_bytes = UINT64_C(1) << 32},
			 SIMULATED ? 30 : SCALED(400));
}

TEST(graphs_survive_a_collection_at_every_object_that_is_made)
{
	for (int workers = 1; workers <= 2; workers++)
		run_in_task(workers, always_main);
}

// ---- long lists ---------------------------------------------------------------------------------------------------

// A list takes one marker long, while the others have nothing to do. What is cut off and put elsewhere meanwhile is
// theirs.
struct rope {
	struct cell *ends[2]; // a root
	struct tare_gc_root root;
	struct tare_rng rng;
};

static void rope_check(const struct rope *rope, uint64_t length)
{
	uint64_t seen = 0, wrong = 0;
	for (int i = 0; i < 2; i++)
		for (const struct cell *cell = rope->ends[i]; cell != NULL && seen < length; cell = cell->next, seen++)
			wrong += cell->not_id != ~cell->id;
	CHECK(seen == length && wrong == 0);
}

static int rope_main(void *arg)
{
	const uint64_t length = SIMULATED ? 60 : SCALED(4000);
	struct rope *rope = arg;
	for (uint64_t i = 0; i < length; i++) {
		struct cell *cell = tare_gc_new(&cell_type);
		cell->id = i;
		cell->not_id = ~i;
		tare_gc_store(&cell->next, rope->ends[0]);
		tare_gc_store(&rope->ends[0], cell);
	}
	for (int i = 0; i < (SIMULATED ? 20 : SCALED(1500)); i++) {
		struct cell *cell = rope->ends[0];
		for (uint64_t steps = tare_rng_below(&rope->rng, length - 1); steps > 0; steps--)
			cell = cell->next;
		tare_gc_store(&rope->ends[1], cell->next);
		tare_gc_store(&cell->next, NULL);
		cell = NULL;
		tare_yield();
		rope_check(rope, length);
		for (cell = rope->ends[0]; cell->next != NULL; cell = cell->next)
			continue;
		tare_gc_store(&cell->next, tare_gc_exchange(&rope->ends[1], NULL));
	}
	rope_check(rope, length);
	atomic_fetch_sub(&running, 1);
	return 0;
}

static int ropes_main(void *arg)
{
	enum { ROPES = 3 };
	static struct rope ropes[ROPES];
	struct tare_task *tasks[ROPES];
	(void)arg;
	memset(ropes, 0, sizeof ropes);
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .reserve_bytes = UINT64_C(1) << 30}, NULL) == 0);
	atomic_store(&running, ROPES);
	for (unsigned i = 0; i < ROPES; i++) {
		tare_rng_init(&ropes[i].rng, i + 1);
		tare_gc_root_add(&ropes[i].root, ropes[i].ends, 2);
		CHECK(tare_spawn(&tasks[i], NULL, rope_main, &ropes[i]) == 0);
	}
	while (atomic_load(&running) > 0)
		tare_gc_collect();
	for (unsigned i = 0; i < ROPES; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_gc_close();
	return 0;
}

TEST(long_lists_that_are_cut_while_they_are_marked_stay_whole)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, ropes_main);
}
