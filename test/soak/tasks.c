// SPDX-License-Identifier: MIT
//
// Churn of tasks: spawned and joined in any order, cancelled in every kind of wait, ended by deadlines.
#include "soak.h"

#include <errno.h>

enum { SPAWN_MAX = 64, BLOCKED_MAX = 8 };

// ---- spawn and join -----------------------------------------------------------------------------------------------

struct spawned {
	struct soak_task task;
	struct tare_task *handle;
	int number;
};

// Deep enough to leave the warm part of its stack now and then.
static int use_stack(int depth)
{
	volatile char frame[1024];
	frame[0] = (char)depth;
	frame[1023] = (char)(depth > 0 ? use_stack(depth - 1) : 0);
	return frame[0];
}

static int spawned_task(void *arg)
{
	struct spawned *spawned = arg;
	if (spawned->number % 3 == 0)
		tare_yield();
	if (spawned->number % 17 == 0)
		(void)use_stack(40);
	return spawned->number;
}

void churn_spawn(struct churn *churn)
{
	struct spawned spawned[SPAWN_MAX];
	int count = 1 + (int)tare_rng_below(&churn->rng, SPAWN_MAX);
	for (int i = 0; i < count; i++) {
		spawned[i] = (struct spawned){.task = {spawned_task, &spawned[i]}, .number = i};
		struct tare_task_options options = {.name = "spawned"};
		if (tare_rng_below(&churn->rng, 16) == 0)
			options.stack_bytes = 64 * 1024;
		if (tare_rng_below(&churn->rng, 8) == 0) {
			options.pinned = true;
			options.worker = (int)tare_rng_below(&churn->rng, (uint64_t)tare_worker_count());
		}
		spawned[i].handle = soak_spawn(&options, &spawned[i].task);
	}
	int first = (int)tare_rng_below(&churn->rng, (uint64_t)count);
	for (int i = 0; i < count; i++) {
		struct spawned *next = &spawned[(first + i) % count];
		REQUIRE_EQ(tare_join(next->handle), next->number);
	}
}

// ---- waits that are ended from outside ----------------------------------------------------------------------------

// What the blocked tasks of a round wait for, and nobody gives.
struct nothing {
	struct tare_chan *empty, *full;
	struct tare_mutex mutex; // held by the churner
	struct tare_event event;
	struct tare_wg wg;
	struct tare_stream *silent[2];
};

struct blocked {
	struct soak_task task;
	struct nothing *nothing;
	int wait, want; // the way to wait, and how that must end
};

static int wait_somehow(struct nothing *nothing, int wait)
{
	uint64_t value = 0;
	int rc;
	struct tare_case cases[2] = {{.chan = nothing->empty, .recv = &value}, {.chan = nothing->full, .send = &value}};
	switch (wait) {
	case 0:
		return tare_sleep(3600 * TARE_NS_PER_S);
	case 1:
		return tare_chan_recv(nothing->empty, &value);
	case 2:
		return tare_chan_send(nothing->full, &value);
	case 3:
		return tare_select(cases, 2);
	case 4:
		return tare_mutex_lock_until(&nothing->mutex, TARE_NEVER);
	case 5:
		return tare_wg_wait_until(&nothing->wg, TARE_NEVER);
	case 6: // one waits for an event
		return tare_event_wait_until(&nothing->event, TARE_NEVER);
	default: // and one for a descriptor; a stale event of the storage's last owner may wake it in vain
		while ((rc = tare_fd_wait(&nothing->silent[0]->fd, TARE_READ, TARE_NEVER)) == 0)
			;
		return rc;
	}
}

static int blocked_task(void *arg)
{
	struct blocked *blocked = arg;
	REQUIRE_EQ(wait_somehow(blocked->nothing, blocked->wait), blocked->want);
	REQUIRE_EQ(tare_cancelled(), blocked->want);
	return blocked->want;
}

static void nothing_init(struct nothing *nothing)
{
	uint64_t value = 0;
	int ends[2];
	*nothing = (struct nothing){0};
	REQUIRE_EQ(tare_chan_new(&nothing->empty, sizeof value, 0), 0);
	REQUIRE_EQ(tare_chan_new(&nothing->full, sizeof value, 1), 0);
	REQUIRE_EQ(tare_chan_send(nothing->full, &value), 0);
	tare_mutex_lock(&nothing->mutex);
	tare_wg_add(&nothing->wg, 1);
	REQUIRE_EQ(tare_fd_pair(ends), 0);
	for (int i = 0; i < 2; i++) {
		nothing->silent[i] = tare_pool_take(soak_streams);
		REQUIRE(nothing->silent[i] != NULL);
		REQUIRE_EQ(tare_fd_open(&nothing->silent[i]->fd, ends[i]), 0);
	}
}

static void nothing_done(struct nothing *nothing)
{
	for (int i = 0; i < 2; i++) {
		tare_stream_close(nothing->silent[i]);
		tare_pool_give(soak_streams, nothing->silent[i]);
	}
	tare_mutex_unlock(&nothing->mutex);
	tare_chan_free(nothing->empty);
	tare_chan_free(nothing->full);
}

// Tasks that block in a scope, some below another scope; ended by a cancel, or by the deadline when there is one.
static void end_from_outside(struct churn *churn, int64_t deadline_ns, int want)
{
	struct nothing nothing;
	struct blocked blocked[BLOCKED_MAX];
	struct tare_scope outer, inner;
	nothing_init(&nothing);
	REQUIRE_EQ(tare_scope_open(&outer, deadline_ns, 0), 0);
	bool nested = tare_rng_below(&churn->rng, 2) == 0;
	if (nested)
		REQUIRE_EQ(tare_scope_open(&inner, TARE_NEVER, 0), 0);
	int count = 1 + (int)tare_rng_below(&churn->rng, BLOCKED_MAX), first = (int)tare_rng_below(&churn->rng, 8),
	    started = 0;
	for (int i = 0; i < count; i++) {
		blocked[i] = (struct blocked){{blocked_task, &blocked[i]}, &nothing, (first + i) % 8, want};
		int rc = soak_go(nested ? &inner : &outer, &blocked[i].task);
		REQUIRE(rc == 0 || (rc == want && deadline_ns != TARE_NEVER));
		started += rc == 0;
	}
	for (uint64_t yields = tare_rng_below(&churn->rng, 4); yields > 0; yields--)
		tare_yield();
	if (deadline_ns == TARE_NEVER)
		tare_scope_cancel(&outer);
	if (nested)
		REQUIRE_EQ(tare_scope_join(&inner), started > 0 ? want : 0);
	REQUIRE_EQ(tare_scope_join(&outer), !nested && started > 0 ? want : 0);
	nothing_done(&nothing);
}

void churn_cancel(struct churn *churn)
{
	end_from_outside(churn, TARE_NEVER, -ECANCELED);
}

void churn_timeout(struct churn *churn)
{
	int64_t after_ns = (int64_t)tare_rng_below(&churn->rng, 500) * TARE_NS_PER_US;
	end_from_outside(churn, tare_now_ns() + after_ns, -ETIMEDOUT);
}
