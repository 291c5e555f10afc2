// SPDX-License-Identifier: MIT
// Goal: what a channel buffers, what a parked sender offers and what passes between tasks during a collection stays
// whole.
// Method: values that nothing but the channel, or malloc's memory that a parked sender names, holds while collections
// run.
#include "collected.h"
#include "in_task.h"

#include <tare/chan.h>
#include <tare/gc.h>

struct item {
	struct item *next;
	uint64_t id, not_id;
};
static const uint32_t item_pointers[] = {offsetof(struct item, next)};
static struct tare_gc_type item_type = TARE_GC_TYPE(struct item, item_pointers);

static struct item *item_new(uint64_t id)
{
	struct item *item = tare_gc_new(&item_type);
	CHECK(item != NULL);
	item->id = id;
	item->not_id = ~id;
	return item;
}

static bool is_whole(const struct item *item, uint64_t id)
{
	return item != NULL && item->id == id && item->not_id == ~id;
}

static void churn(void)
{
	collect();
	for (int i = 0; i < 200; i++)
		(void)item_new(1 << 30); // in what was freed
}

// ---- the buffer ---------------------------------------------------------------------------------------------------

struct message {
	uint64_t number;
	struct item *item;
	uint64_t more;
};

__attribute__((noinline)) static void fill(struct tare_chan *chan, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct message message = {.number = i, .item = item_new(i), .more = ~(uint64_t)i};
		CHECK(tare_chan_send(chan, &message) == 0);
	}
}

__attribute__((noinline)) static void drain(struct tare_chan *chan, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct message message;
		CHECK(tare_chan_recv(chan, &message) == 0);
		CHECK(message.number == i && message.more == ~(uint64_t)i && is_whole(message.item, i));
	}
}

static int buffer_main(void *arg)
{
	enum { CAPACITY = 300, PART = 120 }; // more than is scanned with the lock held
	struct tare_chan *chan;
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true}, NULL) == 0);
	CHECK(tare_gc_chan_new(&chan, sizeof(struct message), CAPACITY) == 0);
	CHECK(tare_gc_chan_new(&chan, 4, 1) == -EINVAL && tare_gc_chan_new(&chan, 0, 1) == -EINVAL);
	fill(chan, 0, CAPACITY);
	churn();
	drain(chan, 0, PART);
	fill(chan, CAPACITY, CAPACITY + PART / 2); // wraps around
	churn();
	churn();
	drain(chan, PART, CAPACITY + PART / 2);
	CHECK(tare_chan_len(chan) == 0);
	tare_chan_free(chan);
	tare_gc_close();
	return 0;
}

TEST(a_channels_buffer_holds_what_its_values_point_to)
{
	run_in_task(1, buffer_main);
	run_in_task(2, buffer_main);
}

// ---- parked senders -----------------------------------------------------------------------------------------------

enum { SENDERS = 8 };
static struct item *offers[SENDERS]; // no root
static struct tare_chan *offered;
static atomic_int offering;

__attribute__((noinline)) static void make_offer(unsigned i)
{
	offers[i] = item_new(i);
	atomic_fetch_add(&offering, 1);
}

static int offer_main(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	make_offer(i);
	if (i % 2 == 0)
		return tare_chan_send(offered, &offers[i]);
	struct tare_case cases[2] = {{.chan = offered, .send = &offers[i]}, {.chan = NULL}};
	return tare_select(cases, 2);
}

static int senders_main(void *arg)
{
	struct tare_task *tasks[SENDERS];
	struct item *got;
	unsigned seen = 0;
	(void)arg;
	atomic_store(&offering, 0);
	// No collection before all have parked, so that each offer was held at every moment.
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .percent = TARE_GC_OFF}, NULL) == 0);
	CHECK(tare_gc_chan_new(&offered, sizeof(struct item *), 0) == 0);
	for (unsigned i = 0; i < SENDERS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, offer_main, (void *)(uintptr_t)i) == 0);
	struct tare_task_counts counts;
	do {
		tare_yield();
		tare_task_counts_read(&counts);
		uint64_t parked = 0;
		for (unsigned i = 0; tare_reason_name(i) != NULL; i++)
			if (strcmp(tare_reason_name(i), "chan_send") == 0 || strcmp(tare_reason_name(i), "select") == 0)
				parked += counts.parked[i];
		if (parked == SENDERS)
			break;
	} while (true);
	churn();
	churn();
	for (unsigned i = 0; i < SENDERS; i++) {
		CHECK(tare_chan_recv(offered, &got) == 0);
		CHECK(got->id < SENDERS && is_whole(got, got->id));
		seen |= 1U << got->id;
	}
	CHECK(seen == (1U << SENDERS) - 1);
	for (unsigned i = 0; i < SENDERS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_chan_free(offered);
	tare_gc_close();
	return 0;
}

TEST(what_a_parked_sender_offers_is_held_wherever_it_lies)
{
	run_in_task(1, senders_main);
	run_in_task(2, senders_main);
}

// ---- between tasks ------------------------------------------------------------------------------------------------

// Rings of tasks hand chains on by channels with and without room; each chain is for most of the time on no stack but
// one.
enum { RING = 4, CHAINS = 6 };
static struct tare_chan *ring[RING];
static atomic_int passing;

static int pass_main(void *arg)
{
	unsigned at = (unsigned)(uintptr_t)arg;
	struct item *item;
	struct tare_rng rng;
	tare_rng_init(&rng, at);
	while (tare_chan_recv(ring[at], &item) == 0 && item != NULL) {
		uint64_t id = item->id;
		for (uint64_t yields = tare_rng_below(&rng, 3) == 0 ? tare_rng_below(&rng, 40) : 0; yields > 0;
		     yields--)
			tare_yield(); // while it is on this stack alone
		CHECK(is_whole(item, id) && is_whole(item->next, id + 1));
		// A new head; the old one is garbage, its successor moves on.
		struct item *head = item_new(id + 1), *next = item_new(id + 2);
		tare_gc_store(&head->next, next);
		if (head->id > (SIMULATED ? 40 : SCALED(20000)) * 1u) {
			atomic_fetch_sub(&passing, 1);
			continue;
		}
		item = head;
		head = next = NULL;
		CHECK(tare_chan_send(ring[(at + 1) % RING], &item) == 0);
	}
	return 0;
}

static int pass_all_main(void *arg)
{
	struct tare_task *tasks[RING];
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .min_bytes = 1 << 17}, NULL) == 0);
	for (unsigned i = 0; i < RING; i++)
		CHECK(tare_gc_chan_new(&ring[i], sizeof(struct item *), i) == 0);
	atomic_store(&passing, CHAINS);
	for (unsigned i = 0; i < RING; i++)
		CHECK(tare_spawn(&tasks[i], NULL, pass_main, (void *)(uintptr_t)i) == 0);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct item *item = item_new(i * 7);
		tare_gc_store(&item->next, item_new(i * 7 + 1));
		CHECK(tare_chan_send(ring[1], &item) == 0);
	}
	while (atomic_load(&passing) > 0 && atomic_load(&check_failures) == 0)
		tare_gc_collect();
	for (unsigned i = 0; i < RING; i++)
		tare_chan_close(ring[i]);
	for (unsigned i = 0; i < RING; i++) {
		CHECK(tare_join(tasks[i]) == 0);
		tare_chan_free(ring[i]);
	}
	tare_gc_close();
	return 0;
}

TEST(what_is_handed_on_during_collections_is_whole)
{
	for (int workers = 1; workers <= 3; workers++)
		run_in_task(workers, pass_all_main);
}
