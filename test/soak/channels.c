// SPDX-License-Identifier: MIT
//
// Churn of channels: producers and consumers over buffered and unbuffered ones, closes, selects with deadlines, and
// plain threads that take part. What was received must be what was sent.
#include "soak.h"

#include <errno.h>
#include <pthread.h>

enum { PRODUCERS_MAX = 4, CONSUMERS_MAX = 4, VALUES_MAX = 200, SELECTED = 3, THREAD_VALUES = 20 };

struct producer {
	struct soak_task task;
	struct tare_chan *chan;
	uint64_t first, count;
};

struct consumer {
	struct soak_task task;
	struct tare_chan *chan;
	uint64_t sum;
};

static int produce(void *arg)
{
	struct producer *producer = arg;
	for (uint64_t i = 0; i < producer->count; i++) {
		uint64_t value = producer->first + i;
		REQUIRE_EQ(tare_chan_send(producer->chan, &value), 0);
	}
	return 0;
}

static int consume(void *arg)
{
	struct consumer *consumer = arg;
	uint64_t value;
	int rc;
	while ((rc = tare_chan_recv(consumer->chan, &value)) == 0)
		consumer->sum += value;
	REQUIRE_EQ(rc, -EPIPE);
	return 0;
}

static uint64_t sum_of(uint64_t first, uint64_t count)
{
	return count * first + count * (count - (count > 0)) / 2;
}

static struct tare_chan *new_chan(struct churn *churn)
{
	static const size_t capacities[] = {0, 0, 1, 7, 64};
	struct tare_chan *chan;
	size_t capacity = capacities[tare_rng_below(&churn->rng, TARE_ARRAY_LEN(capacities))];
	REQUIRE_EQ(tare_chan_new(&chan, sizeof(uint64_t), capacity), 0);
	return chan;
}

void churn_channels(struct churn *churn)
{
	struct producer producers[PRODUCERS_MAX];
	struct consumer consumers[CONSUMERS_MAX];
	struct tare_task *producing[PRODUCERS_MAX], *consuming[CONSUMERS_MAX];
	struct tare_chan *chan = new_chan(churn);
	size_t senders = 1 + tare_rng_below(&churn->rng, PRODUCERS_MAX);
	size_t receivers = 1 + tare_rng_below(&churn->rng, CONSUMERS_MAX);
	uint64_t sent = 0, received = 0;
	for (size_t i = 0; i < receivers; i++) {
		consumers[i] = (struct consumer){{consume, &consumers[i]}, chan, 0};
		consuming[i] = soak_spawn(NULL, &consumers[i].task);
	}
	for (size_t i = 0; i < senders; i++) {
		uint64_t first = tare_rng_below(&churn->rng, 1000), count = tare_rng_below(&churn->rng, VALUES_MAX);
		producers[i] = (struct producer){{produce, &producers[i]}, chan, first, count};
		producing[i] = soak_spawn(NULL, &producers[i].task);
		sent += sum_of(first, count);
	}
	for (size_t i = 0; i < senders; i++)
		REQUIRE_EQ(tare_join(producing[i]), 0);
	tare_chan_close(chan);
	for (size_t i = 0; i < receivers; i++) {
		REQUIRE_EQ(tare_join(consuming[i]), 0);
		received += consumers[i].sum;
	}
	REQUIRE_EQ(received, sent);
	tare_chan_free(chan);
}

// Receives from several channels until each is closed, with deadlines that come too early now and then.
static uint64_t select_all(struct churn *churn, struct tare_chan **chans)
{
	uint64_t sum = 0, value = 0;
	for (int open = SELECTED; open > 0;) {
		struct tare_case cases[SELECTED];
		for (int i = 0; i < SELECTED; i++)
			cases[i] = (struct tare_case){.chan = chans[i], .recv = &value};
		int64_t deadline_ns = TARE_NEVER;
		if (tare_rng_below(&churn->rng, 4) == 0)
			deadline_ns = tare_now_ns() + (int64_t)tare_rng_below(&churn->rng, 20) * TARE_NS_PER_US;
		int taken = tare_select_until(cases, SELECTED, deadline_ns);
		if (taken == -ETIMEDOUT)
			continue;
		REQUIRE(taken >= 0 && taken < SELECTED);
		if (cases[taken].rc == 0) {
			sum += value;
		} else {
			REQUIRE_EQ(cases[taken].rc, -EPIPE);
			chans[taken] = NULL; // never ready again
			open--;
		}
	}
	return sum;
}

static int produce_and_close(void *arg)
{
	struct producer *producer = arg;
	int rc = produce(producer);
	tare_chan_close(producer->chan);
	return rc;
}

void churn_select(struct churn *churn)
{
	struct producer producers[SELECTED];
	struct tare_task *producing[SELECTED];
	struct tare_chan *chans[SELECTED];
	uint64_t sent = 0;
	for (int i = 0; i < SELECTED; i++) {
		uint64_t first = tare_rng_below(&churn->rng, 1000), count = tare_rng_below(&churn->rng, VALUES_MAX);
		chans[i] = new_chan(churn);
		producers[i] = (struct producer){{produce_and_close, &producers[i]}, chans[i], first, count};
		producing[i] = soak_spawn(NULL, &producers[i].task);
		sent += sum_of(first, count);
	}
	REQUIRE_EQ(select_all(churn, chans), sent);
	for (int i = 0; i < SELECTED; i++) {
		REQUIRE_EQ(tare_join(producing[i]), 0);
		tare_chan_free(producers[i].chan);
	}
}

static void *thread_sends(void *arg)
{
	struct producer *producer = arg;
	(void)produce_and_close(producer);
	return NULL;
}

void churn_threads(struct churn *churn)
{
	struct producer producer = {.chan = new_chan(churn), .first = 1, .count = THREAD_VALUES};
	struct consumer consumer = {.chan = producer.chan};
	pthread_t thread;
	REQUIRE_EQ(pthread_create(&thread, NULL, thread_sends, &producer), 0);
	(void)consume(&consumer);
	pthread_join(thread, NULL); // it closed the channel last: this is short
	REQUIRE_EQ(consumer.sum, sum_of(1, THREAD_VALUES));
	tare_chan_free(producer.chan);
	REQUIRE_EQ(tare_sleep(TARE_NS_PER_MS), 0); // threads are dear, and not what this is about
}
