// SPDX-License-Identifier: MIT
//
// Looking after the descriptors of a ring whose owner is stuck in a task (monitor.c).
//
// Only the owner may enter its ring, and with deferred task work nothing completes before it does. So while it is away
// what comes stays in the sockets: a receive that is armed has only been told that there is something. That is what
// makes this possible: the sockets can be watched and read by plain calls beside the ring, and the armed receive finds
// later what is left then. The monitor puts the ring's live descriptors into an epoll instance made for the occasion,
// another worker delivers its events, and a task that finds nothing held asks the kernel itself (rt_uring_recv_beside).
//
// Invariants
//   1. Whoever enters the ring or takes completions from it holds it, and who asks a socket beside an armed receive,
//      the guest, does too. So a guest's bytes are those behind all that was received and before all that will be,
//      unless a completion lies unseen in the ring (one that a submission within a task left there): then it keeps
//      away.
//   2. A guest that finds the owner polling (HOLD_POLL) goes away with -EAGAIN: that one is not stuck, and its ring
//      tells of what the guest came for. For an owner that submits within a task, and for other guests (HOLD_BRIEFLY),
//      it waits.
//   3. Nobody sleeps or takes a lock while holding it BRIEFLY, so nobody waits longer than a system call takes.
//   4. An event names a uring_fd that may have been closed since, or be in use again; `live` says so, and the new user
//      gets an event for nothing.
//
// What waits for the owner all the same: the close of a descriptor (its peer hears of a shutdown at once),
// tare_fd_settle, and what invariant 1 keeps a guest from.
//
// Cost: the owner takes and gives back the hold, a locked instruction a poll, where there is more than one worker.
// While it is stuck: a registration in epoll a descriptor, by the monitor; and each is once said to be writable.
// Threads: the monitor calls ready_fd and at_ease, workers the rest. Lock order: care_spin and a poller's spin nest in
// nothing of each other's.
// Rejected: completions that come by themselves while the owner is away (cooperative instead of deferred task work):
// others could take them, but not arm what is wanted next, because a ring has one submitter, and one with many would
// tie each receive to the thread that armed it. Running the ring in a signal handler of the owner's thread: the task
// may stand anywhere, within the ring's own functions too. Keeping every descriptor in epoll always: each packet would
// be announced twice.
#include "rt/rt_int.h"

#if !defined(TARE_SIM) && !defined(TARE_NO_URING)
#include "rt/uring.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_MAX = 128, ROUNDS_MAX = 64, ADD_MAX = 16, RELAX_MAX = 100 };

// ---- who holds the ring -------------------------------------------------------------------------------------------

// One that is asleep in its system call on our CPU has to get it.
static void relax(unsigned round)
{
	if (round < RELAX_MAX)
		tare_cpu_relax();
	else
		sched_yield();
}

void rt_uring_hold_wait(struct rt_poller *p, uint32_t what_for)
{
	uint32_t free = HOLD_FREE;
	for (unsigned round = 0; !TARE_CAS(&p->hold, &free, what_for); round++) {
		free = HOLD_FREE;
		relax(round);
	}
}

static bool guest_enter(struct rt_poller *p)
{
	uint32_t seen = HOLD_FREE;
	for (unsigned round = 0; !TARE_CAS(&p->hold, &seen, (uint32_t)HOLD_BRIEFLY); round++) {
		if (seen == HOLD_POLL)
			return false;
		seen = HOLD_FREE;
		relax(round);
	}
	return true;
}

static void guest_leave(struct rt_poller *p)
{
	atomic_store_explicit(&p->hold, HOLD_FREE, memory_order_release);
}

// ---- receiving ----------------------------------------------------------------------------------------------------

// Whether nothing that was received is still to be read, held or on its way. Without the descriptor's spin, under which
// its owner may wait for us: what is held is added to by an owner that holds the ring, and taken from by the caller.
static bool all_read(struct uring_fd *u)
{
	struct rt_poller *p = u->poller;
	if (u->first != NO_BUF || u->ended || (IO_URING_READ_ONCE(*p->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0)
		return false;
	unsigned head;
	struct io_uring_cqe *cqe;
	io_uring_for_each_cqe(&p->ring, head, cqe)
	{
		if (cqe->user_data == ((uint64_t)(uintptr_t)u | TAG_READ))
			return false;
	}
	return true;
}

ssize_t rt_uring_recv_beside(struct tare_fd *fd, void *buf, size_t len)
{
	struct uring_fd *u = fd->io;
	if (!guest_enter(u->poller))
		return -EAGAIN;
	ssize_t n = all_read(u) ? rt_sock_recv(fd, buf, len) : -EAGAIN;
	guest_leave(u->poller);
	return n;
}

// ---- watching -----------------------------------------------------------------------------------------------------

static void add_some(struct rt_poller *p, struct uring_fd *fds, int epoll_fd)
{
	tare_spin_lock(&p->spin); // so that none is closed meanwhile, and its number another's
	for (struct uring_fd *u = fds; u < fds + ADD_MAX; u++) {
		if (!u->live || u->cared == p->care_round)
			continue;
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = u};
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, u->os_fd, &event); // else it waits for its owner
		u->cared = p->care_round;
	}
	tare_spin_unlock(&p->spin);
}

int rt_uring_ready_fd(struct rt_poller *p)
{
	int epoll_fd = p->care_fd; // written by this thread alone
	bool begins = epoll_fd < 0;
	if (begins)
		epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return -1;
	tare_spin_lock(&p->spin);
	p->care_round += begins;
	bool more = begins || p->opened != p->care_opened;
	p->care_opened = p->opened;
	struct slab *slab = p->slabs;
	tare_spin_unlock(&p->spin);
	// Before the first is added: who finds it false has a look that the registration repeats.
	atomic_store(&p->cared, true);
	for (; more && slab != NULL; slab = slab->next)
		for (int i = 0; i < SLAB_FDS; i += ADD_MAX)
			add_some(p, &slab->fds[i], epoll_fd);
	if (begins) {
		tare_spin_lock(&p->care_spin);
		p->care_fd = epoll_fd;
		tare_spin_unlock(&p->care_spin);
	}
	return epoll_fd;
}

void rt_uring_at_ease(struct rt_poller *p)
{
	atomic_store(&p->cared, false);
	tare_spin_lock(&p->care_spin);
	int epoll_fd = p->care_fd;
	p->care_fd = -1;
	tare_spin_unlock(&p->care_spin);
	if (epoll_fd >= 0)
		close(epoll_fd);
}

static void deliver(struct rt_poller *p, const struct epoll_event *event)
{
	struct uring_fd *u = event->data.ptr;
	tare_spin_lock(&p->spin);
	struct tare_fd *fd = u->live ? u->fd : NULL;
	tare_spin_unlock(&p->spin);
	if (fd == NULL)
		return;
	bool failed = (event->events & (EPOLLERR | EPOLLHUP)) != 0;
	if (failed || (event->events & EPOLLRDHUP) != 0)
		atomic_store_explicit(&fd->hangup, true, memory_order_relaxed);
	if (failed || (event->events & EPOLLOUT) != 0)
		rt_fd_event(fd, TARE_WRITE);
	if (failed || (event->events & (EPOLLIN | EPOLLRDHUP)) != 0)
		rt_fd_event(fd, TARE_READ);
}

unsigned rt_uring_rescue(struct rt_poller *p)
{
	struct epoll_event events[EVENTS_MAX];
	unsigned delivered = 0;
	int n = EVENTS_MAX;
	for (int round = 0; n == EVENTS_MAX && round < ROUNDS_MAX; round++) {
		tare_spin_lock(&p->care_spin);
		n = p->care_fd >= 0 ? epoll_wait(p->care_fd, events, EVENTS_MAX, 0) : 0;
		tare_spin_unlock(&p->care_spin);
		for (int i = 0; i < n; i++)
			deliver(p, &events[i]);
		delivered += (unsigned)TARE_MAX(n, 0);
	}
	return delivered;
}
#endif
