// SPDX-License-Identifier: MIT
// Goal: nothing that a program can still reach is ever freed, whatever its tasks do to their graphs while collections go on.
// Method: tasks change chains of cells at random, each beside a model of its own in malloc's memory: which cells, in which
// order, with which bytes. Chains wander between tables, stacks, a mailbox and tasks. What was freed is poisoned (debug
// builds) or made anew, so that a cell that should be there is found changed.
#include "in_task.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/sync.h>

#include <inttypes.h>

enum { TASKS = 6, SLOTS = 12, CHAIN_MAX = 24, BLOB_MAX = 700 };

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

struct mutator {
	struct tare_rng rng;
	uint64_t ids, steps;
	struct cell **table; // an array object, pinned
	struct tare_gc_pin pin;
	struct model models[SLOTS];
};

static struct {
	struct tare_mutex mutex;
	struct cell *chain; // a root
	struct model model;
} mailbox;
static atomic_int running;

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

static void step(struct mutator *m)
{
	unsigned slot = (unsigned)below(m, SLOTS), other = (unsigned)below(m, SLOTS);
	switch (below(m, 16)) {
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
	for (unsigned slot = 0; slot < SLOTS; slot++)
		check_chain(m->table[slot], &m->models[slot]);
	tare_gc_unpin(&m->pin);
	atomic_fetch_sub(&running, 1);
	return 0;
}

static int mutators_main(void *arg)
{
	(void)arg;
	static struct mutator mutators[TASKS];
	struct tare_task *tasks[TASKS];
	struct tare_gc_root root;
	memset(&mailbox, 0, sizeof mailbox);
	CHECK(tare_gc_open(
		  &(struct tare_gc_options){.min_bytes = 1 << 18, .check = true, .reserve_bytes = UINT64_C(1) << 32},
		  NULL) == 0);
	tare_gc_root_add(&root, &mailbox.chain, 1);
	atomic_store(&running, TASKS);
	for (unsigned i = 0; i < TASKS; i++) {
		mutators[i] = (struct mutator){.steps = SIMULATED ? 60 : SCALED(20000), .ids = (uint64_t)i << 32};
		tare_rng_init(&mutators[i].rng, i + 1);
		CHECK(tare_spawn(&tasks[i], NULL, mutate, &mutators[i]) == 0);
	}
	while (atomic_load(&running) > 0)
		tare_gc_collect();
	for (unsigned i = 0; i < TASKS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	check_chain(mailbox.chain, &mailbox.model);
	tare_gc_root_remove(&root);
	struct tare_gc_stats stats;
	tare_gc_stats_read(&stats);
	if (getenv("TARE_GC_TABLE") != NULL)
		fprintf(stderr,
			"%" PRIu64 " cycles, %" PRIu64 " objects, %" PRIu64 " bytes, late %" PRId64
			" ns (%s), handshake %" PRId64 " ns\n",
			stats.cycles, stats.objects_made, stats.bytes_made, stats.late_max_ns, stats.late_name,
			stats.pause_max_ns);
	tare_gc_close();
	return 0;
}

TEST(graphs_survive_collections)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, mutators_main);
}

// ---- long lists ------------------------------------------------------------------------------------------------------

// A list takes one marker long, while the others have nothing to do. What is cut off and put elsewhere meanwhile is theirs.
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
