// SPDX-License-Identifier: MIT
//
// chan: channels between tasks, and select over them. As Go's, with results in place of panics.
//
// Sends and receives block the task (from a plain thread: the thread) and allocate nothing, but for a deadline's timer
// (-ENOMEM from a task). Values are copied, sender's storage to receiver's, once for an unbuffered channel. One
// sender's values arrive in their order; waiters are served first come, first served. All of it may be called from
// tasks and from plain threads.
//
//   state          send                 receive
//   open           waits for room or    waits for a value
//                  a receiver
//   closed         -EPIPE               what is buffered, then -EPIPE
//
// A call that has to wait, with a deadline or without, returns -ECANCELED or -ETIMEDOUT when the task's scope is
// cancelled (<tare/rt.h>), and -ETIMEDOUT when its deadline passes first; nothing was sent or received then. A call
// that need not wait succeeds even so.
#ifndef TARE_CHAN_H
#define TARE_CHAN_H

#include <tare/base.h>

struct tare_chan;

// capacity 0: unbuffered, a send returns when a receiver has the value. elem_bytes 0: values carry nothing but that
// they came. -ENOMEM; -EINVAL when the buffer's size would overflow.
TARE_MUST_USE int tare_chan_new(struct tare_chan **ret, size_t elem_bytes, size_t capacity);
// NULL is fine. Every call on it must have returned: closing wakes the waiters, but they are on their way out for a
// while yet, so join their tasks first. That somebody still waits is asserted. Buffered values are dropped.
void tare_chan_free(struct tare_chan *chan);

// value: elem_bytes bytes, copied; NULL is fine where those are 0. 0, or -EPIPE when the channel is closed, also while
// it waited.
TARE_MUST_USE int tare_chan_send(struct tare_chan *chan, const void *value);
TARE_MUST_USE int tare_chan_send_until(struct tare_chan *chan, const void *value, int64_t deadline_ns);
// -EAGAIN instead of waiting.
TARE_MUST_USE int tare_chan_try_send(struct tare_chan *chan, const void *value);

// ret_value may be NULL: the value is dropped. 0, or -EPIPE when the channel is closed and empty.
TARE_MUST_USE int tare_chan_recv(struct tare_chan *chan, void *ret_value);
TARE_MUST_USE int tare_chan_recv_until(struct tare_chan *chan, void *ret_value, int64_t deadline_ns);
// -EAGAIN instead of waiting.
TARE_MUST_USE int tare_chan_try_recv(struct tare_chan *chan, void *ret_value);

// Wakes every waiter: receivers find -EPIPE once it is empty, senders at once. As a rule the one sender closes. Closing
// a closed channel is a bug (asserted).
void tare_chan_close(struct tare_chan *chan);

// Buffered values just now, and how many fit.
size_t tare_chan_len(struct tare_chan *chan);
size_t tare_chan_capacity(const struct tare_chan *chan);

// ---- select -------------------------------------------------------------------------------------------------------

enum { TARE_SELECT_MAX = 1024 };

// One alternative. The caller fills in the first three and finds the outcome in rc; the rest is private.
struct tare_case {
	struct tare_chan *chan; // NULL: never ready
	const void *send;       // the value to send (any address where elem_bytes is 0); NULL: this is a receive
	void *recv;             // where to; NULL: dropped
	int rc;                 // of the case that was taken: 0, or -EPIPE when its channel is closed

	struct tare_case *next, *prev; // in the channel's queue; guarded by the channel's lock
	struct tare_select *select;    // whose case it is
	uint16_t look, lock;           // permutations of the cases: the order to look at, and to lock, them
	bool queued;
};

// Waits until one case can go on, takes it, and returns its index. Of several it takes any one, evenly. A channel may
// stand in several cases. Without cases it waits for the deadline or a cancel.
// -ETIMEDOUT, -ECANCELED, -ENOMEM (a deadline's timer); -E2BIG for more than TARE_SELECT_MAX cases.
TARE_MUST_USE int tare_select(struct tare_case *cases, size_t count);
TARE_MUST_USE int tare_select_until(struct tare_case *cases, size_t count, int64_t deadline_ns);
// -EAGAIN when no case can go on at once.
TARE_MUST_USE int tare_try_select(struct tare_case *cases, size_t count);

#endif
