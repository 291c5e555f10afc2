// SPDX-License-Identifier: MIT
//
// Descriptors that tasks wait for. Each side (read, write) is one word:
//
//   NOBODY ---- event -----------> READY      waiter -- event or deadline --> NOBODY, and the task runs
//   NOBODY ---- tare_fd_wait ----> waiter     READY --- tare_fd_wait -------> NOBODY, returns at once
//   NOBODY ---- tare_fd_idle ----> IDLE       READY --- tare_fd_idle -------> NOBODY, returns false
//   IDLE ------ event -----------> NOBODY, and on_ready runs
//   IDLE ------ tare_fd_unidle --> NOBODY, returns true
//
// Invariants
//   1. Every transition is one compare-and-swap: exactly one of event, deadline and unidle gets a waiter or an idle
//      descriptor.
//   2. An event is never lost: with nobody waiting it leaves READY, and a wait that finds READY returns to try again.
//   3. A spurious READY is harmless: the try that follows says EAGAIN. So an event that raced with tare_fd_close and
//      now finds the next owner of the storage does no harm; the poller drops most of these by the generation.
//
// Threads: events come from the worker whose poller holds the descriptor, or from another on its behalf (monitor.c);
// the rest from any.
#include "rt/switch.h"

#include <errno.h>
#include <unistd.h>

enum { NOBODY = 0, READY = 1, IDLE = 2 };

// For deadlock.c, which a simulation does without.
static void count_up(atomic_ullong *counter)
{
#ifdef TARE_SIM
	(void)counter;
#else
	tare_bump(counter, 1);
#endif
}

int tare_fd_open(struct tare_fd *fd, int os_fd)
{
	struct rt_worker *w = rt_self();
	TARE_ASSERT(w != NULL); // not called from a task
	fd->fd = os_fd;
	fd->poller = w->poller;
	atomic_store_explicit(&fd->hangup, false, memory_order_relaxed);
	atomic_store_explicit(&fd->plain, false, memory_order_relaxed);
	atomic_store_explicit(&fd->side[TARE_READ], NOBODY, memory_order_relaxed);
	atomic_store_explicit(&fd->side[TARE_WRITE], NOBODY, memory_order_relaxed);
	int rc = rt.backend->fd_add(fd->poller, fd);
	if (rc < 0)
		fd->fd = -1;
	else
		count_up(&w->fds_opened);
	return rc;
}

void tare_fd_close(struct tare_fd *fd)
{
	if (fd->fd < 0)
		return;
	atomic_fetch_add_explicit(&fd->generation, 1, memory_order_release);
	rt.backend->fd_close(fd->poller, fd);
	fd->fd = -1;
	struct rt_worker *w = rt_self();
	if (w != NULL) // else it counts as open: deadlock.c is the more careful
		count_up(&w->fds_closed);
}

int rt_fd_new(struct tare_fd **ret, int os_fd)
{
	struct tare_fd *fd = tare_pool_take(rt.fds);
	int rc = fd != NULL ? tare_fd_open(fd, os_fd) : -ENOMEM;
	if (rc < 0) {
		close(os_fd);
		if (fd != NULL)
			tare_pool_give(rt.fds, fd);
		return rc;
	}
	*ret = fd;
	return 0;
}

void rt_fd_free(struct tare_fd *fd)
{
	if (fd == NULL)
		return;
	tare_fd_close(fd);
	tare_pool_give(rt.fds, fd);
}

void rt_fd_event(struct tare_fd *fd, int side)
{
	uintptr_t state = atomic_load_explicit(&fd->side[side], memory_order_acquire);
	for (;;) {
		// Also from READY to READY, by the same rule as tare_event_wake: a kick orders what was stored before
		// it.
		uintptr_t then = state == NOBODY || state == READY ? READY : NOBODY;
		if (TARE_CAS(&fd->side[side], &state, then))
			break;
	}
	if (state == IDLE) {
		void (*on_ready)(struct tare_fd *) = atomic_load_explicit(&fd->on_ready, memory_order_relaxed);
		on_ready(fd);
	} else if (state != NOBODY && state != READY) {
		rt_wake((struct tare_waiter *)state, false);
	}
}

void tare_fd_settle(struct tare_fd *fd)
{
	if (rt.backend->settle != NULL)
		rt.backend->settle(fd);
}

void tare_fd_kick(struct tare_fd *fd, int side)
{
	rt_fd_event(fd, side);
}

static bool commit_wait(struct tare_waiter *waiter)
{
	_Atomic(uintptr_t) *word = waiter->where;
	uintptr_t state = NOBODY;
	if (TARE_CAS(word, &state, (uintptr_t)waiter))
		return true;
	TARE_ASSERT(state == READY); // else two tasks wait for one side
	(void)atomic_exchange_explicit(word, NOBODY, memory_order_acq_rel);
	return false;
}

static bool leave_wait(struct tare_waiter *waiter)
{
	_Atomic(uintptr_t) *word = waiter->where;
	uintptr_t state = (uintptr_t)waiter;
	return TARE_CAS(word, &state, (uintptr_t)NOBODY);
}

int tare_fd_wait(struct tare_fd *fd, int side, int64_t deadline_ns)
{
	uintptr_t state = READY;
	if (TARE_CAS(&fd->side[side], &state, (uintptr_t)NOBODY))
		return 0;
	if (side == TARE_WRITE && rt.backend->want_room != NULL)
		rt.backend->want_room(fd);
	struct tare_waiter waiter = {.commit = commit_wait, .leave = leave_wait, .where = &fd->side[side]};
	return rt_wait(&waiter, side == TARE_READ ? RT_READ : RT_WRITE, deadline_ns);
}

bool tare_fd_idle(struct tare_fd *fd, void (*on_ready)(struct tare_fd *fd))
{
	atomic_store_explicit(&fd->on_ready, on_ready, memory_order_relaxed); // ordered by the release below
	uintptr_t state = NOBODY;
	if (TARE_CAS(&fd->side[TARE_READ], &state, (uintptr_t)IDLE))
		return true;
	TARE_ASSERT(state == READY);
	(void)atomic_exchange_explicit(&fd->side[TARE_READ], NOBODY, memory_order_acq_rel);
	return false;
}

bool tare_fd_unidle(struct tare_fd *fd)
{
	uintptr_t state = IDLE;
	return TARE_CAS(&fd->side[TARE_READ], &state, (uintptr_t)NOBODY);
}

ssize_t tare_fd_recv(struct tare_fd *fd, void *buf, size_t len)
{
	ssize_t n = rt.backend->recv(fd, buf, len);
	struct rt_worker *w = n >= 0 ? rt_self() : NULL;
	if (w != NULL) {
		tare_bump(&w->bytes_read, (unsigned long long)n);
		TARE_PROBE2(read, fd->fd, n);
	}
	return n;
}

static ssize_t sent(const struct tare_fd *fd, ssize_t n)
{
	struct rt_worker *w = n >= 0 ? rt_self() : NULL;
	if (w != NULL) {
		tare_bump(&w->bytes_written, (unsigned long long)n);
		TARE_PROBE2(write, fd->fd, n);
	}
	return n;
}

ssize_t tare_fd_send(struct tare_fd *fd, const void *buf, size_t len)
{
	return sent(fd, rt.backend->send(fd, buf, len));
}

ssize_t tare_fd_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count)
{
	return sent(fd, rt.backend->sendv(fd, iov, count));
}

int tare_fd_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len)
{
	int accepted = rt.backend->accept(fd, ret_peer, len);
	if (accepted >= 0)
		TARE_PROBE1(accept, accepted);
	return accepted;
}

int tare_fd_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step)
{
	return rt.backend->listen(addr, len, backlog, reuse_port, ret_step);
}

int tare_fd_dial(const struct sockaddr *addr, socklen_t len)
{
	return rt.backend->dial(addr, len);
}

int tare_fd_dial_result(struct tare_fd *fd)
{
	return rt.backend->dial_result(fd);
}

int tare_fd_pair(int ret[2])
{
	return rt.backend->pair(ret);
}

void tare_fd_shutdown(struct tare_fd *fd, int how)
{
	rt.backend->shutdown(fd, how);
}

void tare_fd_turn_away(struct tare_fd *fd)
{
	rt.backend->turn_away(fd);
}

void tare_fd_dismiss(int os_fd, const void *last_words, size_t len)
{
	rt.backend->dismiss(os_fd, last_words, len);
}
