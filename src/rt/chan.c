// SPDX-License-Identifier: MIT
//
// Channels and select.
//
//   ring of capacity values:   first (oldest) .. first + count - 1 (mod capacity)
//   senders, receivers:        queues of cases, first come, first served
//
// A single send or receive is a select of one case. A waiting select has each of its cases in the queue of its channel;
// who comes to serve one claims the select by its word, so of all cases exactly one is served.
//
// Invariants (each under the channel's lock)
//   1. Receivers wait only while the ring is empty and no claimable sender waits; senders only while it is full and no
//      claimable receiver waits; nobody waits on a closed channel.
//   2. A case is in its channel's queue exactly while case->queued.
//   3. select->taken goes from NONE to a case's index, or to LEFT, once. Who changed it wakes the task.
//   4. Values are copied under the lock, straight between the two tasks' storage when both are there.
//   5. A traced channel (tare_chan_new_traced) is in `traced` from its making to its end. What of its ring is in use,
//      and what its parked senders hold, are shown to a collector's scan; every copy is the collector's.
//
// Locks: a select locks its channels in the order of their addresses. After a timer heap's lock, before the
// scheduler's. A task holds them across the switch out of it: the commit unlocks, once its context is saved.
// Threads: tasks on any worker, and plain threads. Cost: O(1) for one case; O(n log n) locks and looks for n.
// Rejected: lock-free rings (one lock is one locked instruction; a ring's two indices are two).
#include <tare/chan.h>

#include "rt/switch.h"

#include <tare/collect.h>
#include <tare/sync.h>

#include <errno.h>

static struct tare_tag heap_tag = TARE_TAG("channels");

enum { NONE = -1, LEFT = -2 };

struct queue {
	struct tare_case *first, *last;
};

struct tare_chan {
	struct tare_spin spin; // guards all that changes
	bool closed;
	bool word;                   // values are 8 bytes, and no collector looks after them; fixed
	size_t elem_bytes, capacity; // fixed
	size_t first, count;
	struct queue senders, receivers;
	struct traced *traced; // fixed. NULL: no collector looks after its values
	alignas(max_align_t) char ring[];
};

struct traced {
	struct tare_list link; // guarded by traced_all.mutex
	struct tare_chan *chan;
	tare_chan_copy_fn *copy;
};

static struct {
	struct tare_mutex mutex;
	struct tare_list list; // guarded by it; not a list before the first
} traced_all;

// A task (or thread) that waits on channels.
struct tare_select {
	struct tare_waiter waiter;
	struct tare_case *cases;
	unsigned count;
	bool one;           // one send or receive: `taken` is not used
	_Atomic(int) taken; // NONE, LEFT, or the index of the case that was served
};

// ---- queues -------------------------------------------------------------------------------------------------------

static void queue_push(struct queue *queue, struct tare_case *c)
{
	c->next = NULL;
	c->prev = queue->last;
	if (queue->last != NULL)
		queue->last->next = c;
	else
		queue->first = c;
	queue->last = c;
	c->queued = true;
}

static void queue_remove(struct queue *queue, struct tare_case *c)
{
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		queue->first = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		queue->last = c->prev;
	c->queued = false;
}

// The first case whose select can be had, and it is had. Others were served elsewhere and are on their way out.
TARE_INLINE static struct tare_case *queue_claim(struct queue *queue)
{
	struct tare_case *c;
	while ((c = queue->first) != NULL) {
		queue_remove(queue, c);
		int none = NONE;
		if (c->select->one || // in no other queue, and it leaves under this lock
		    atomic_compare_exchange_strong_explicit(&c->select->taken, &none, (int)(c - c->select->cases),
							    memory_order_acq_rel, memory_order_relaxed))
			return c;
	}
	return NULL;
}

static struct queue *queue_of(struct tare_case *c)
{
	return c->send != NULL ? &c->chan->senders : &c->chan->receivers;
}

// ---- one step -----------------------------------------------------------------------------------------------------

static char *slot(struct tare_chan *chan, size_t i)
{
	size_t at = chan->first + i;
	return chan->ring + (at >= chan->capacity ? at - chan->capacity : at) * chan->elem_bytes;
}

TARE_NOIPA static void copy_by_call(const struct tare_chan *chan, void *to, const void *from, bool room)
{
	if (chan->traced != NULL)
		chan->traced->copy(to, from, chan->elem_bytes, room);
	else if (chan->elem_bytes > 0)
		memcpy(to, from, chan->elem_bytes);
}

// room: `to` is in the ring.
TARE_INLINE static void copy(const struct tare_chan *chan, void *to, const void *from, bool room)
{
	if (to == NULL)
		return;
	if (chan->word) // pointers and numbers: no call
		memcpy(to, from, sizeof(uint64_t));
	else
		copy_by_call(chan, to, from, room);
}

TARE_INLINE static int send_now(struct tare_chan *chan, const void *value, struct tare_waiter **ret_woken)
{
	if (TARE_UNLIKELY(chan->closed))
		return -EPIPE;
	struct tare_case *receiver = chan->receivers.first != NULL ? queue_claim(&chan->receivers) : NULL;
	if (receiver != NULL) {
		copy(chan, receiver->recv, value, false);
		receiver->rc = 0;
		*ret_woken = &receiver->select->waiter;
		return 0;
	}
	if (chan->count == chan->capacity)
		return -EAGAIN;
	copy(chan, slot(chan, chan->count), value, true);
	chan->count++;
	return 0;
}

TARE_INLINE static int recv_now(struct tare_chan *chan, void *ret_value, struct tare_waiter **ret_woken)
{
	bool got = chan->count > 0;
	if (got) {
		copy(chan, ret_value, slot(chan, 0), false);
		chan->first = chan->first + 1 == chan->capacity ? 0 : chan->first + 1;
		chan->count--;
	}
	struct tare_case *sender = chan->senders.first != NULL ? queue_claim(&chan->senders) : NULL;
	if (sender == NULL)
		return got ? 0 : chan->closed ? -EPIPE : -EAGAIN;
	if (got) { // the ring was full: the value that waited takes the room at its end
		copy(chan, slot(chan, chan->count), sender->send, true);
		chan->count++;
	} else {
		TARE_ASSERT(chan->capacity == 0); // invariant 1
		copy(chan, ret_value, sender->send, false);
	}
	sender->rc = 0;
	*ret_woken = &sender->select->waiter;
	return 0;
}

TARE_NOIPA static int step(struct tare_case *c, struct tare_waiter **ret_woken)
{
	return c->send != NULL ? send_now(c->chan, c->send, ret_woken) : recv_now(c->chan, c->recv, ret_woken);
}

// ---- one case -----------------------------------------------------------------------------------------------------

static bool one_commit_locked(struct tare_waiter *waiter)
{
	struct tare_chan *chan = waiter->where;
	tare_spin_unlock(&chan->spin);
	return true;
}

// With a deadline the timer was started first, without the lock: look again.
static bool one_commit(struct tare_waiter *waiter)
{
	struct tare_select *select = TARE_CONTAINER_OF(waiter, struct tare_select, waiter);
	struct tare_case *c = select->cases;
	struct tare_chan *chan = waiter->where;
	struct tare_waiter *woken = NULL;
	tare_spin_lock(&chan->spin);
	c->rc = step(c, &woken);
	bool wait = c->rc == -EAGAIN;
	if (wait)
		queue_push(queue_of(c), c);
	tare_spin_unlock(&chan->spin);
	if (woken != NULL)
		rt_wake(woken, true);
	return wait;
}

static bool one_leave(struct tare_waiter *waiter)
{
	struct tare_select *select = TARE_CONTAINER_OF(waiter, struct tare_select, waiter);
	struct tare_case *c = select->cases;
	struct tare_chan *chan = waiter->where;
	tare_spin_lock(&chan->spin);
	bool was_queued = c->queued;
	if (was_queued)
		queue_remove(queue_of(c), c);
	tare_spin_unlock(&chan->spin);
	return was_queued;
}

// Waits with the channel locked; unlocks it.
TARE_INLINE static int one_wait(struct tare_case *c, int64_t deadline_ns)
{
	struct tare_chan *chan = c->chan;
	struct tare_select select; // what rt_wait sets is left to it: zeroing it all would cost as much as the wait
	select.waiter.leave = one_leave;
	select.waiter.where = chan;
	select.waiter.deaf = false;
	select.cases = c;
	select.one = true;
	c->select = &select;
	c->queued = false; // for a deadline that passes before it is
	if (deadline_ns == TARE_NEVER) {
		select.waiter.commit = one_commit_locked;
		queue_push(queue_of(c), c);
	} else {
		select.waiter.commit = one_commit;
		tare_spin_unlock(&chan->spin);
	}
	int rc = rt_wait(&select.waiter, c->send != NULL ? RT_CHAN_SEND : RT_CHAN_RECV, deadline_ns);
	return rc != 0 ? rc : c->rc;
}

int tare_chan_send_until(struct tare_chan *chan, const void *value, int64_t deadline_ns)
{
	struct tare_waiter *woken = NULL;
	tare_spin_lock(&chan->spin);
	int rc = send_now(chan, value, &woken);
	if (rc == -EAGAIN) {
		struct tare_case c;
		c.chan = chan;
		c.send = value != NULL ? value : "";
		return one_wait(&c, deadline_ns);
	}
	tare_spin_unlock(&chan->spin);
	if (woken != NULL)
		rt_wake(woken, true);
	return rc;
}

int tare_chan_send(struct tare_chan *chan, const void *value)
{
	return tare_chan_send_until(chan, value, TARE_NEVER);
}

int tare_chan_try_send(struct tare_chan *chan, const void *value)
{
	struct tare_waiter *woken = NULL;
	tare_spin_lock(&chan->spin);
	int rc = send_now(chan, value, &woken);
	tare_spin_unlock(&chan->spin);
	if (woken != NULL)
		rt_wake(woken, true);
	return rc;
}

int tare_chan_recv_until(struct tare_chan *chan, void *ret_value, int64_t deadline_ns)
{
	struct tare_waiter *woken = NULL;
	tare_spin_lock(&chan->spin);
	int rc = recv_now(chan, ret_value, &woken);
	if (rc == -EAGAIN) {
		struct tare_case c;
		c.chan = chan;
		c.send = NULL;
		c.recv = ret_value;
		return one_wait(&c, deadline_ns);
	}
	tare_spin_unlock(&chan->spin);
	if (woken != NULL)
		rt_wake(woken, true);
	return rc;
}

int tare_chan_recv(struct tare_chan *chan, void *ret_value)
{
	return tare_chan_recv_until(chan, ret_value, TARE_NEVER);
}

int tare_chan_try_recv(struct tare_chan *chan, void *ret_value)
{
	struct tare_waiter *woken = NULL;
	tare_spin_lock(&chan->spin);
	int rc = recv_now(chan, ret_value, &woken);
	tare_spin_unlock(&chan->spin);
	if (woken != NULL)
		rt_wake(woken, true);
	return rc;
}

// ---- life ---------------------------------------------------------------------------------------------------------

int tare_chan_new(struct tare_chan **ret, size_t elem_bytes, size_t capacity)
{
	size_t bytes;
	if (__builtin_mul_overflow(elem_bytes, capacity, &bytes) || bytes > SIZE_MAX / 2)
		return -EINVAL;
	struct tare_chan *chan = tare_alloc_zeroed(&heap_tag, 1, sizeof *chan + bytes);
	if (chan == NULL)
		return -ENOMEM;
	chan->elem_bytes = elem_bytes;
	chan->word = elem_bytes == sizeof(uint64_t);
	chan->capacity = capacity;
	*ret = chan;
	return 0;
}

int tare_chan_new_traced(struct tare_chan **ret, size_t elem_bytes, size_t capacity, tare_chan_copy_fn *copy_value)
{
	struct tare_chan *chan;
	if (elem_bytes == 0 || elem_bytes % sizeof(uintptr_t) != 0)
		return -EINVAL;
	struct traced *traced = tare_alloc_zeroed(&heap_tag, 1, sizeof *traced);
	int rc = traced != NULL ? tare_chan_new(&chan, elem_bytes, capacity) : -ENOMEM;
	if (rc < 0) {
		tare_free(traced);
		return rc;
	}
	traced->chan = chan;
	traced->copy = copy_value;
	chan->traced = traced;
	chan->word = false;
	tare_mutex_lock(&traced_all.mutex);
	if (traced_all.list.next == NULL)
		tare_list_init(&traced_all.list);
	tare_list_push_back(&traced_all.list, &traced->link);
	tare_mutex_unlock(&traced_all.mutex);
	*ret = chan;
	return 0;
}

static void traced_free(struct traced *traced)
{
	if (traced == NULL)
		return;
	tare_mutex_lock(&traced_all.mutex);
	tare_list_remove(&traced->link);
	tare_mutex_unlock(&traced_all.mutex);
	tare_free(traced);
}

void tare_chan_free(struct tare_chan *chan)
{
	if (chan == NULL)
		return;
	tare_spin_lock(&chan->spin); // until who woke us last has left
	TARE_ASSERT(chan->senders.first == NULL && chan->receivers.first == NULL);
	tare_spin_unlock(&chan->spin);
	traced_free(chan->traced);
	tare_free(chan);
}

static struct tare_waiter *close_queue(struct queue *queue, struct tare_waiter *woken)
{
	struct tare_case *c;
	while ((c = queue_claim(queue)) != NULL) {
		c->rc = -EPIPE;
		c->select->waiter.next = woken;
		woken = &c->select->waiter;
	}
	return woken;
}

void tare_chan_close(struct tare_chan *chan)
{
	tare_spin_lock(&chan->spin);
	TARE_ASSERT(!chan->closed);
	chan->closed = true;
	struct tare_waiter *woken = close_queue(&chan->receivers, NULL);
	woken = close_queue(&chan->senders, woken);
	tare_spin_unlock(&chan->spin);
	rt_waiters_wake_all(woken);
}

size_t tare_chan_len(struct tare_chan *chan)
{
	tare_spin_lock(&chan->spin);
	size_t count = chan->count;
	tare_spin_unlock(&chan->spin);
	return count;
}

size_t tare_chan_capacity(const struct tare_chan *chan)
{
	return chan->capacity;
}

// ---- for a collector ----------------------------------------------------------------------------------------------

enum { SCAN_BYTES = 4096 }; // of a ring, with its lock held

// By places of the ring, not by order: what moves between two pieces is copied, and so seen by the collector.
static size_t scan_piece(struct tare_chan *chan, size_t at, void (*scan)(const void *low, const void *high))
{
	size_t end = TARE_MIN(at + TARE_MAX(SCAN_BYTES / chan->elem_bytes, (size_t)1), chan->capacity);
	tare_spin_lock(&chan->spin);
	for (; at < end; at++) {
		size_t i = at >= chan->first ? at - chan->first : at + chan->capacity - chan->first;
		const char *value = chan->ring + at * chan->elem_bytes;
		if (i < chan->count)
			scan(value, value + chan->elem_bytes);
	}
	tare_spin_unlock(&chan->spin);
	return end;
}

// All at once: as long as the lock is held none comes and none goes.
static void scan_senders(struct tare_chan *chan, void (*scan)(const void *low, const void *high))
{
	if (RT_FAULT(UNSCANNED_SENDER))
		return;
	tare_spin_lock(&chan->spin);
	for (const struct tare_case *c = chan->senders.first; c != NULL; c = c->next)
		scan(c->send, (const char *)c->send + chan->elem_bytes);
	tare_spin_unlock(&chan->spin);
}

void tare_scan_chans(void (*scan)(const void *low, const void *high))
{
	tare_mutex_lock(&traced_all.mutex);
	for (struct tare_list *link = traced_all.list.next; link != NULL && link != &traced_all.list;
	     link = link->next) {
		struct tare_chan *chan = TARE_CONTAINER_OF(link, struct traced, link)->chan;
		for (size_t at = 0; at < chan->capacity;)
			at = scan_piece(chan, at, scan);
		scan_senders(chan, scan);
	}
	tare_mutex_unlock(&traced_all.mutex);
}

// ---- select -------------------------------------------------------------------------------------------------------

// Fills in the two orders: cases[0, n).look, a random permutation; cases[0, n).lock, by channel address. Cases without
// a channel come last in the second. Returns how many have one.
static unsigned orders_make(struct tare_case *cases, unsigned count)
{
	unsigned used = 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned j = rt_random_below(i + 1);
		cases[i].look = cases[j].look;
		cases[j].look = (uint16_t)i;
		cases[i].queued = false;
		if (cases[i].chan == NULL)
			continue;
		unsigned at = used++;
		for (; at > 0 && cases[cases[at - 1].lock].chan > cases[i].chan; at--)
			cases[at].lock = cases[at - 1].lock;
		cases[at].lock = (uint16_t)i;
	}
	return used;
}

static void lock_all(struct tare_case *cases, unsigned used)
{
	struct tare_chan *last = NULL;
	for (unsigned i = 0; i < used; i++) {
		struct tare_chan *chan = cases[cases[i].lock].chan;
		if (chan != last)
			tare_spin_lock(&chan->spin);
		last = chan;
	}
}

static void unlock_all(struct tare_case *cases, unsigned used)
{
	struct tare_chan *last = NULL;
	for (unsigned i = 0; i < used; i++) {
		struct tare_chan *chan = cases[cases[i].lock].chan;
		if (last != NULL && chan != last)
			tare_spin_unlock(&last->spin);
		last = chan;
	}
	if (last != NULL)
		tare_spin_unlock(&last->spin);
}

// With all channels locked: takes a case that can go on, and returns its index. -EAGAIN: none.
static int look(struct tare_case *cases, unsigned count, struct tare_waiter **ret_woken)
{
	for (unsigned i = 0; i < count; i++) {
		struct tare_case *c = &cases[cases[i].look];
		if (c->chan == NULL)
			continue;
		int rc = step(c, ret_woken);
		if (rc == -EAGAIN)
			continue;
		c->rc = rc;
		return (int)(c - cases);
	}
	return -EAGAIN;
}

// In the random order too: of two cases in one queue the first is served.
static void enqueue_all(struct tare_select *select)
{
	for (unsigned i = 0; i < select->count; i++) {
		struct tare_case *c = &select->cases[select->cases[i].look];
		c->select = select;
		if (c->chan != NULL)
			queue_push(queue_of(c), c);
	}
}

static bool select_commit_locked(struct tare_waiter *waiter)
{
	const struct tare_select *select = TARE_CONTAINER_OF(waiter, struct tare_select, waiter);
	// As soon as the first lock is open the select may be served and gone: but it comes back through lock_all.
	unlock_all(select->cases, (unsigned)waiter->wants);
	return true;
}

static bool select_commit(struct tare_waiter *waiter)
{
	struct tare_select *select = TARE_CONTAINER_OF(waiter, struct tare_select, waiter);
	struct tare_case *cases = select->cases;
	unsigned used = (unsigned)waiter->wants;
	struct tare_waiter *woken = NULL;
	lock_all(cases, used);
	int taken = look(cases, select->count, &woken);
	if (taken < 0)
		enqueue_all(select);
	else
		atomic_store_explicit(&select->taken, taken, memory_order_relaxed);
	unlock_all(cases, used);
	if (woken != NULL)
		rt_wake(woken, true);
	return taken < 0;
}

static bool select_leave(struct tare_waiter *waiter)
{
	struct tare_select *select = TARE_CONTAINER_OF(waiter, struct tare_select, waiter);
	int none = NONE;
	return atomic_compare_exchange_strong_explicit(&select->taken, &none, LEFT, memory_order_acq_rel,
						       memory_order_relaxed);
}

// Waits with all channels locked; unlocks them.
static int select_wait(struct tare_case *cases, unsigned count, unsigned used, int64_t deadline_ns)
{
	struct tare_select select = {
	    .waiter = {.leave = select_leave, .wants = used}, .cases = cases, .count = count, .taken = NONE};
	if (deadline_ns == TARE_NEVER) {
		select.waiter.commit = select_commit_locked;
		enqueue_all(&select);
	} else {
		select.waiter.commit = select_commit;
		unlock_all(cases, used);
	}
	int rc = rt_wait(&select.waiter, RT_SELECT, deadline_ns);
	lock_all(cases, used); // also: until who served us, and our own commit, have left
	for (unsigned i = 0; i < count; i++)
		if (cases[i].queued)
			queue_remove(queue_of(&cases[i]), &cases[i]);
	unlock_all(cases, used);
	return rc != 0 ? rc : atomic_load_explicit(&select.taken, memory_order_acquire);
}

static int select_cases(struct tare_case *cases, size_t count, bool wait, int64_t deadline_ns)
{
	if (count > TARE_SELECT_MAX)
		return -E2BIG;
	unsigned used = orders_make(cases, (unsigned)count);
	struct tare_waiter *woken = NULL;
	lock_all(cases, used);
	int taken = look(cases, (unsigned)count, &woken);
	if (taken < 0 && wait)
		return select_wait(cases, (unsigned)count, used, deadline_ns);
	unlock_all(cases, used);
	if (woken != NULL)
		rt_wake(woken, true);
	return taken;
}

int tare_select(struct tare_case *cases, size_t count)
{
	return select_cases(cases, count, true, TARE_NEVER);
}

int tare_select_until(struct tare_case *cases, size_t count, int64_t deadline_ns)
{
	return select_cases(cases, count, true, deadline_ns);
}

int tare_try_select(struct tare_case *cases, size_t count)
{
	return select_cases(cases, count, false, 0);
}
