// SPDX-License-Identifier: MIT
//
// The collected heap's soak: records are made, replaced, handed on and let go for minutes in a heap that collects at 10
// % growth.
//
//   heap [--seconds N] [--seed N] [--workers N] [--percent N] [--memory 0]
//
// Each churner has a table of records; a step replaces one. What is checked:
//   1. Each record is what it was when it was made. A weak handle yields its record while the table holds it, later
//      that or NULL.
//   2. A cleanup runs once: it finds its ticket armed. At the end tickets armed are tickets used and those of cleanups
//      that the heap dropped when it was closed, of which there are few: what a stack seemed to hold.
//   3. Resident memory does not grow once the heap is warm: when each slot had some 250 records. Until then the spans
//      of each class still spread over more memory. (Not with --memory 0, nor under sanitizers; a soak that is too
//      short says so.)
// Collections end: a cleanup that does not come is seen by 2, a collection that does not end by who runs this
// (tools/soak).
#include <tare/chan.h>
#include <tare/gc.h>
#include <tare/rt.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
enum {
	CHURNERS = 4,
	SLOTS = 8000,
	GHOSTS = 64,
	BLOB_MAX = 1000,
	TICKETS = 1 << 18,
	WARM_STEPS = CHURNERS * SLOTS * 250,
	SAMPLES_LEAST = 8, // of a second each, that memory is judged by
	SLACK_MIB = 4,     // two huge pages: a step of the resident memory
	SECONDS_MAX = 86400,
	DROPPED_MAX = 200
};

struct record {
	struct record *next;
	unsigned char *blob; // of `bytes`, each the id's
	uint64_t id, bytes, not_id;
};
static const uint32_t record_pointers[] = {offsetof(struct record, next), offsetof(struct record, blob)};
static struct tare_gc_type record_type = TARE_GC_TYPE(struct record, record_pointers);
static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct record *, first_word);

struct ghost {
	struct tare_gc_weak *weak;
	uint64_t id;
};

struct churner {
	struct tare_rng rng;
	uint64_t ids;
	atomic_ullong steps;
	struct record **table; // pinned
	struct tare_gc_pin pin;
	struct tare_gc_weak *weak[SLOTS]; // of what the table holds
	struct ghost ghosts[GHOSTS];      // of what it held
};

static struct {
	uint64_t seconds, seed, workers, percent, memory;
} options = {.seconds = 300, .seed = 1, .workers = 0, .percent = 10, .memory = 1};
static struct churner churners[CHURNERS];
static struct tare_chan *exchange;
static atomic_bool over;
static atomic_uchar tickets[TICKETS]; // 1: armed
static atomic_ullong armed, used;
static uint64_t resident[SECONDS_MAX], warm = SECONDS_MAX; // samples, and the first of a warm heap

TARE_NORETURN static void fail(int line, const char *what, uint64_t got)
{
	fprintf(stderr, "%s:%d: failed: %s (%" PRIu64 "), seed %" PRIu64 "\n", __FILE__, line, what, got, options.seed);
	abort();
}
#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (TARE_UNLIKELY(!(condition)))                                                                       \
			fail(__LINE__, #condition, 0);                                                                 \
	} while (0)

// ---- records ------------------------------------------------------------------------------------------------------

static uint64_t below(struct churner *c, uint64_t n)
{
	return tare_rng_below(&c->rng, n);
}

static void record_check(const struct record *record)
{
	REQUIRE(record->not_id == ~record->id);
	for (uint64_t i = 0; i < record->bytes; i += 97)
		REQUIRE(record->blob[i] == (unsigned char)record->id);
	REQUIRE(record->next == NULL || record->next->not_id == ~record->next->id);
}

static void ticket_use(void *arg)
{
	atomic_uchar *ticket = arg;
	REQUIRE(atomic_exchange(ticket, 0) == 1);
	atomic_fetch_add(&used, 1);
}

static void add_cleanup(struct churner *c, const struct record *record)
{
	struct tare_handle handle;
	uint64_t at = below(c, TICKETS);
	unsigned char free = 0;
	while (!atomic_compare_exchange_strong(&tickets[at], &free, 1)) {
		at = (at + 1) % TICKETS;
		free = 0;
	}
	REQUIRE(tare_gc_cleanup_add(&handle, record, ticket_use, &tickets[at]) == 0);
	atomic_fetch_add(&armed, 1);
	if (below(c, 16) == 0) {
		REQUIRE(tare_gc_cleanup_cancel(handle)); // the record is held yet
		ticket_use(&tickets[at]);
	}
}

static struct record *record_new(struct churner *c, bool next)
{
	struct record *record = tare_gc_new(&record_type);
	REQUIRE(record != NULL);
	record->id = ++c->ids;
	record->not_id = ~record->id;
	record->bytes = below(c, BLOB_MAX);
	unsigned char *blob = tare_gc_new_noscan(record->bytes);
	REQUIRE(blob != NULL);
	memset(blob, (int)(record->id & 0xff), record->bytes);
	tare_gc_store(&record->blob, blob);
	if (next)
		tare_gc_store(&record->next, record_new(c, false));
	if (below(c, 4) == 0)
		add_cleanup(c, record);
	return record;
}

// ---- churners -----------------------------------------------------------------------------------------------------

static void ghost_check(struct churner *c, struct ghost *ghost)
{
	if (ghost->weak == NULL)
		return;
	const struct record *record = tare_gc_weak_get(ghost->weak);
	if (record == NULL)
		return;
	REQUIRE(record->id == ghost->id);
	if (below(c, 4) == 0)
		tare_yield();
	record_check(record);
}

// The record takes the slot's place. The handle of what was there may go on to be a ghost.
static void place(struct churner *c, unsigned slot, struct record *record)
{
	struct record *old = c->table[slot];
	struct ghost *ghost = &c->ghosts[below(c, GHOSTS)];
	if (old != NULL) {
		record_check(old);
		REQUIRE(tare_gc_weak_get(c->weak[slot]) == old);
	}
	ghost_check(c, ghost);
	tare_gc_store(&c->table[slot], record);
	if (old != NULL) {
		tare_gc_weak_free(ghost->weak);
		*ghost = (struct ghost){c->weak[slot], old->id};
	}
	REQUIRE(tare_gc_weak_new(&c->weak[slot], record) == 0);
}

static void step(struct churner *c)
{
	unsigned slot = (unsigned)below(c, SLOTS);
	struct record *record = record_new(c, below(c, 2) == 0);
	if (below(c, 16) == 0 && tare_chan_try_send(exchange, &record) == 0 &&
	    tare_chan_try_recv(exchange, &record) < 0)
		return; // another has it
	place(c, slot, record);
}

// Once in a while all moves to a new table, by way of copies.
static void table_move(struct churner *c)
{
	struct record **table = tare_gc_new_array(&pointer_type, SLOTS), **old = c->table;
	REQUIRE(table != NULL);
	tare_gc_copy(table, old, &pointer_type, SLOTS);
	tare_gc_unpin(&c->pin);
	tare_gc_pin(&c->pin, table);
	c->table = table;
	tare_gc_zero(old, &pointer_type, SLOTS);
}

static int churn(void *arg)
{
	struct churner *c = arg;
	c->table = tare_gc_new_array(&pointer_type, SLOTS);
	REQUIRE(c->table != NULL);
	tare_gc_pin(&c->pin, c->table);
	for (uint64_t steps = 0; !atomic_load_explicit(&over, memory_order_relaxed); steps++) {
		step(c);
		if (steps % 4096 == 0)
			table_move(c);
		if (steps % 64 == 0)
			tare_breathe(tare_now_ns());
		atomic_store_explicit(&c->steps, steps + 1, memory_order_relaxed);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		if (c->table[i] != NULL)
			record_check(c->table[i]);
		tare_gc_weak_free(c->weak[i]);
	}
	for (unsigned i = 0; i < GHOSTS; i++)
		tare_gc_weak_free(c->ghosts[i].weak);
	tare_gc_unpin(&c->pin);
	c->table = NULL;
	return 0;
}

// ---- the accounts -------------------------------------------------------------------------------------------------

static uint64_t resident_bytes(void)
{
	unsigned long all = 0, pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	REQUIRE(statm != NULL && fscanf(statm, "%lu %lu", &all, &pages) == 2);
	fclose(statm);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void sample(uint64_t at)
{
	struct tare_gc_stats stats;
	uint64_t steps = 0;
	for (int i = 0; i < CHURNERS; i++)
		steps += atomic_load_explicit(&churners[i].steps, memory_order_relaxed);
	resident[at] = resident_bytes();
	if (warm == SECONDS_MAX && steps >= WARM_STEPS)
		warm = at;
	if (at % 10 != 9 && at + 1 != options.seconds)
		return;
	tare_gc_stats_read(&stats);
	printf("%" PRIu64 " s: %.1f MiB resident, %.1f MiB live, %" PRIu64 " collections, %" PRIu64 " objects, %" PRIu64
	       " steps; cleanups: %llu armed, %llu used, %" PRIu64 " wait, %" PRIu64 " ready; %" PRIu64
	       " weak handles\n",
	       at + 1, (double)resident[at] / (double)MIB, (double)stats.marked_bytes / (double)MIB, stats.cycles,
	       stats.objects_made, steps, atomic_load(&armed), atomic_load(&used), stats.cleanups, stats.cleanups_ready,
	       stats.weak_handles);
	fflush(stdout);
}

#if defined(TARE_ASAN) || defined(TARE_TSAN)
static void check_memory(void) {}
#else
static double mean_mib(uint64_t first, uint64_t end)
{
	uint64_t sum = 0;
	for (uint64_t i = first; i < end; i++)
		sum += resident[i];
	return (double)sum / (double)(end - first) / (double)MIB;
}

static void check_memory(void)
{
	if (options.memory == 0)
		return;
	if (warm + SAMPLES_LEAST > options.seconds) {
		printf("resident memory: too short a soak to judge it by\n");
		return;
	}
	uint64_t half = warm + (options.seconds - warm) / 2;
	double before = mean_mib(warm, half), after = mean_mib(half, options.seconds);
	printf("resident memory: %.2f MiB in the first half of %" PRIu64 " s of a warm heap, %.2f MiB in the last\n",
	       before, options.seconds - warm, after);
	if (after > before * 1.05 + SLACK_MIB)
		fail(__LINE__, "resident MiB, grown since the heap was warm", (uint64_t)after);
}
#endif

// What a stack seems to hold stays, and so does its cleanup, which the heap's end drops.
static void settle(void)
{
	struct tare_gc_stats stats;
	for (int i = 0; i < 5; i++)
		tare_gc_collect();
	while (tare_gc_stats_read(&stats), stats.cleanups_ready > 0)
		tare_yield();
	tare_gc_close();
	if (stats.cleanups > DROPPED_MAX)
		fail(__LINE__, "cleanups that did not run", stats.cleanups);
	REQUIRE(atomic_load(&used) + stats.cleanups == atomic_load(&armed));
	uint64_t left = 0;
	for (unsigned i = 0; i < TICKETS; i++)
		left += atomic_load(&tickets[i]);
	REQUIRE(left == stats.cleanups);
	printf("cleanups: %llu armed, %llu used once, %" PRIu64 " dropped at the end\n", atomic_load(&armed),
	       atomic_load(&used), stats.cleanups);
}

static int soak(void *arg)
{
	struct tare_task *tasks[CHURNERS];
	struct tare_error err = {""};
	(void)arg;
	if (tare_gc_open(&(struct tare_gc_options){.percent = (int)options.percent}, &err) < 0) {
		fprintf(stderr, "heap: %s\n", err.text);
		return 1;
	}
	REQUIRE(tare_gc_chan_new(&exchange, sizeof(struct record *), 16) == 0);
	for (uint64_t i = 0; i < CHURNERS; i++) {
		tare_rng_init(&churners[i].rng, options.seed + i);
		churners[i].ids = i << 48;
		REQUIRE(tare_spawn(&tasks[i], NULL, churn, &churners[i]) == 0);
	}
	for (uint64_t at = 0; at < options.seconds; at++) {
		REQUIRE(tare_sleep(TARE_NS_PER_S) == 0);
		sample(at);
	}
	atomic_store(&over, true);
	for (int i = 0; i < CHURNERS; i++)
		REQUIRE(tare_join(tasks[i]) == 0);
	tare_chan_free(exchange);
	check_memory();
	settle();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option flags[] = {
	    {"seconds", required_argument, NULL, 0}, {"seed", required_argument, NULL, 1},
	    {"workers", required_argument, NULL, 2}, {"percent", required_argument, NULL, 3},
	    {"memory", required_argument, NULL, 4},  {0}};
	uint64_t *const values[] = {&options.seconds, &options.seed, &options.workers, &options.percent,
				    &options.memory};
	bool good = true;
	for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
		good =
		    good && flag != '?' && tare_parse_u64((struct tare_str){optarg, strlen(optarg)}, values[flag]) == 0;
	if (!good || optind != argc || options.seconds < 1 || options.seconds > SECONDS_MAX || options.workers > 126 ||
	    options.percent < 1 || options.percent > 10000) {
		fprintf(stderr, "usage: heap [--seconds N] [--seed N] [--workers N] [--percent N] [--memory 0]\n");
		return 2;
	}
	struct tare_rt_options rt_options = {.workers = (int)options.workers, .seed = options.seed};
	struct tare_error err = {""};
	int result = 0;
	if (tare_run(&rt_options, soak, NULL, &result, &err) < 0) {
		fprintf(stderr, "heap: %s\n", err.text);
		return 1;
	}
	if (result == 0)
		printf("heap: %" PRIu64 " s, all accounts agree\n", options.seconds);
	return result;
}
