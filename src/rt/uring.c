// SPDX-License-Identifier: MIT
//
// The backend on io_uring: one ring a worker. Its listening, dialling, sending and accepting are the kernel's plain
// calls (sock.c); what goes through the ring is waiting, and receiving.
//
// A connected stream socket has a multishot receive armed. The kernel puts what comes into buffers of a ring that the
// worker provides, and the completion hands them over; a task's recv copies from them. So receiving costs no system
// call of its own, an idle connection holds no buffer, and the kernel never knows a task's memory: a task that stops
// waiting can leave its buffer at once. Everything else (listeners, pipes, datagrams) has a multishot poll and plain
// calls. Sends are plain calls, tried first; only who then waits for room has a poll for writing armed, once.
//
// What a descriptor's read side is in (struct uring_fd, state):
//
//        recv, with all read -- want()        inbox, fd_add -- arm_read()
//   OFF ----------------------------> WANTED ----------------------------> ON ---- more than HELD_MAX buffers ----+
//    ^                                                                     |       held -- handle_read()          |
//    |      end, error, no buffer left: the last completion                v                                      v
//    +---------------------------------------------------------------------+<------------------------------- STOPPING
//
// Invariants
//   1. Only in OFF, and with every held buffer read, does recv ask the kernel itself: then no completion can be under
//      way with earlier bytes, so order is kept. It goes on like that until the socket is empty, then arms again. So a
//      task that receives in bulk, or finds the buffer ring drained by others, makes progress without buffers, and what
//      a descriptor holds is bounded: HELD_MAX and what one entry into the kernel adds.
//   2. Submissions, completions and cancels are the owner's, the worker whose ring it is; others post to its inbox and
//      wake it. A task may use a descriptor on any worker.
//   3. A struct uring_fd outlives every operation that names it: it is freed once its last completion was seen. A
//      completion for a closed one finds fd NULL and touches nothing but the buffer that it brings back.
//   4. A descriptor's number is closed only when no submission that names it waits in the ring.
//
// While the owner is stuck in a task others receive beside the ring: uring_care.c.
// Lock order: a uring_fd's spin, then its poller's.
//
// Needs Linux 6.1: deferred task work means that completions happen only inside the owner's own calls. Older kernels,
// and those where io_uring is forbidden, get epoll (runtime.c).
// Rejected: multishot accept (it can't give each connection's address, so it saves no call); receiving into the task's
// buffer (a cancelled task would have to wait for the kernel); sending through the ring (the answer would have to stay
// where it is until the completion, and its buffer with it).
#include "rt/rt_int.h"

#if !defined(TARE_SIM) && !defined(TARE_NO_URING)
#include "rt/uring.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("pollers");

enum { SQ_ENTRIES = 256, CQ_ENTRIES = 4096, SETTLE_ROUNDS_MAX = 64, BUF_GROUP = 0, HELD_MAX = 16 };
enum {
	RING_FLAGS = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP
};

// ---- operations: by the owner, with the descriptor's spin ---------------------------------------------------------

static void submit_all(struct rt_poller *p)
{
	bool held = rt_uring_hold(p, HOLD_BRIEFLY);
	// A kernel short of memory takes fewer: there is nothing else that could be done meanwhile.
	do
		(void)io_uring_submit_and_get_events(&p->ring);
	while (io_uring_sq_ready(&p->ring) > 0);
	rt_uring_let_go(p, held);
}

static struct io_uring_sqe *sqe_get(struct rt_poller *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->ring);
	if (TARE_UNLIKELY(sqe == NULL)) {
		submit_all(p);
		sqe = io_uring_get_sqe(&p->ring);
	}
	return sqe;
}

static void arm_wake(struct rt_poller *p)
{
	struct io_uring_sqe *sqe = sqe_get(p);
	io_uring_prep_poll_multishot(sqe, p->wake_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, 0);
}

// The first that the owner does with its ring.
void rt_uring_enable(struct rt_poller *p)
{
	// By the call itself: liburing 2.3 declares io_uring_enable_rings but does not export it.
	int rc = io_uring_register((unsigned)p->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	TARE_ASSERT(rc == 0); // fails only for a ring that was enabled already
	p->enabled = true;
	arm_wake(p);
}

static void tag(struct io_uring_sqe *sqe, struct uring_fd *u, enum tag tag)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)u | (uint64_t)tag);
}

static void arm_read(struct uring_fd *u)
{
	struct io_uring_sqe *sqe = sqe_get(u->poller);
	if (u->polled) {
		io_uring_prep_poll_multishot(sqe, u->os_fd, POLLIN | POLLRDHUP);
	} else {
		io_uring_prep_recv_multishot(sqe, u->os_fd, NULL, 0, 0);
		io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
		sqe->buf_group = BUF_GROUP;
	}
	tag(sqe, u, TAG_READ);
	u->state = ON;
	u->reading = true;
}

static void arm_write(struct uring_fd *u)
{
	struct io_uring_sqe *sqe = sqe_get(u->poller);
	io_uring_prep_poll_add(sqe, u->os_fd, POLLOUT);
	tag(sqe, u, TAG_WRITE);
	u->writing = true;
}

static void cancel(struct uring_fd *u, enum tag target)
{
	struct io_uring_sqe *sqe = sqe_get(u->poller);
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)u | (uint64_t)target, 0);
	tag(sqe, u, target == TAG_READ ? TAG_CANCEL_READ : TAG_CANCEL_WRITE);
	u->cancels++;
}

void rt_uring_serve(struct uring_fd *u, unsigned wants)
{
	if ((wants & WANT_READ) != 0 && u->state == WANTED)
		arm_read(u);
	if ((wants & WANT_WRITE) != 0 && !u->writing)
		arm_write(u);
}

static bool busy(const struct uring_fd *u)
{
	return u->reading || u->writing || u->cancels > 0;
}

// ---- the inbox ----------------------------------------------------------------------------------------------------

void rt_uring_wake(struct rt_poller *p)
{
	if (atomic_exchange(&p->sleep, WOKEN) == ASLEEP)
		rt_eventfd_raise(p->wake_fd); // nobody reads it: each write is an event of its own
}

// By the owner. Frees it, or leaves that to its last completion.
void rt_uring_close(struct uring_fd *u)
{
	struct rt_poller *p = u->poller;
	tare_spin_lock(&u->spin);
	if (u->reading)
		cancel(u, TAG_READ);
	if (u->writing)
		cancel(u, TAG_WRITE);
	bool was_busy = busy(u);
	u->closing = true;
	tare_spin_unlock(&u->spin);
	// At once, as long as the number is ours: the operation holds the socket open, and the peer waits for its end.
	if (was_busy)
		submit_all(p);
	close(u->os_fd);
	if (!was_busy)
		rt_uring_fd_give(u);
}

static struct tare_waiter *inbox_run(struct rt_poller *p)
{
	if (!atomic_load(&p->inbox_any))
		return NULL;
	tare_spin_lock(&p->spin);
	struct uring_fd *u = p->inbox_first;
	struct tare_waiter *settlers = p->settlers;
	p->inbox_first = p->inbox_last = NULL;
	p->settlers = NULL;
	atomic_store(&p->inbox_any, false);
	tare_spin_unlock(&p->spin);
	for (struct uring_fd *next; u != NULL; u = next) {
		tare_spin_lock(&u->spin);
		next = u->next; // before it can be posted again
		unsigned wants = u->wants;
		u->wants = 0;
		if ((wants & WANT_CLOSE) == 0)
			rt_uring_serve(u, wants);
		tare_spin_unlock(&u->spin);
		if ((wants & WANT_CLOSE) != 0)
			rt_uring_close(u);
	}
	return settlers;
}

// ---- completions --------------------------------------------------------------------------------------------------

// What a receive brought, with the descriptor's spin. Whether there is something to hear of.
static bool received(struct uring_fd *u, int res, bool more)
{
	if (!more)
		u->state = OFF;
	if (res > 0) {
		if (u->held > HELD_MAX && u->state == ON) {
			u->state = STOPPING;
			cancel(u, TAG_READ);
		}
		return true;
	}
	switch (-res) {
	case ENOBUFS:   // others hold them all
	case ECANCELED: // it held enough
	case EINTR:
	case EAGAIN:
		return true; // the reader goes on by itself
	case ENOTCONN:       // it listens, or is not connected yet;
	case EINVAL:         // as Unix sockets say it
		u->polled = true;
		arm_read(u);
		return false;
	default:
		u->ended = true;
		u->end_rc = res;
		return true;
	}
}

static void poll_event(struct tare_fd *fd, int res, int side)
{
	bool failed = res < 0 || (res & (POLLERR | POLLHUP)) != 0;
	if (failed || (res & POLLRDHUP) != 0)
		atomic_store_explicit(&fd->hangup, true, memory_order_relaxed);
	if (failed || side == TARE_WRITE)
		rt_fd_event(fd, TARE_WRITE);
	if (failed || side == TARE_READ)
		rt_fd_event(fd, TARE_READ);
}

static void handle_read(struct uring_fd *u, int res, uint32_t flags)
{
	bool more = (flags & IORING_CQE_F_MORE) != 0, event = true;
	tare_spin_lock(&u->spin);
	struct tare_fd *fd = u->fd;
	bool polled = u->polled;
	if (!more)
		u->reading = false;
	if ((flags & IORING_CQE_F_BUFFER) != 0) {
		uint16_t id = rt_uring_buf_take(u->poller, flags);
		if (res > 0 && fd != NULL)
			rt_uring_held_push(u, id, (uint32_t)res);
		else
			rt_uring_buf_give(u->poller, id);
	}
	if (fd == NULL)
		event = false;
	else if (!polled)
		event = received(u, res, more);
	else if (!more && res >= 0)
		arm_read(u);
	bool ended = u->ended;
	tare_spin_unlock(&u->spin);
	// The descriptor may be closed meanwhile: then the next owner of its storage gets an event for nothing (fd.c).
	if (event && polled) {
		poll_event(fd, res, TARE_READ);
	} else if (event) {
		if (ended)
			atomic_store_explicit(&fd->hangup, true, memory_order_relaxed);
		rt_fd_event(fd, TARE_READ);
	}
}

static void handle_write(struct uring_fd *u, int res)
{
	tare_spin_lock(&u->spin);
	struct tare_fd *fd = u->fd;
	u->writing = false;
	tare_spin_unlock(&u->spin);
	if (fd != NULL)
		poll_event(fd, res, TARE_WRITE);
}

// A cancel misses an operation that is between two of its steps just then: it tries again.
static void handle_cancel(struct uring_fd *u, enum tag target, int res)
{
	tare_spin_lock(&u->spin);
	u->cancels--;
	bool owed = target == TAG_READ ? u->reading && (u->closing || u->state == STOPPING) : u->writing && u->closing;
	if (res < 0 && owed)
		cancel(u, target);
	tare_spin_unlock(&u->spin);
}

static void handle(const struct io_uring_cqe *cqe)
{
	struct uring_fd *u = (struct uring_fd *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
	switch ((enum tag)(cqe->user_data & TAG_MASK)) {
	case TAG_READ:
		handle_read(u, cqe->res, cqe->flags);
		break;
	case TAG_WRITE:
		handle_write(u, cqe->res);
		break;
	case TAG_CANCEL_READ:
		handle_cancel(u, TAG_READ, cqe->res);
		break;
	case TAG_CANCEL_WRITE:
		handle_cancel(u, TAG_WRITE, cqe->res);
		break;
	}
	if (u->closing && !busy(u)) // not if the event led to its close, which has freed it then
		rt_uring_fd_give(u);
}

static unsigned reap(struct rt_poller *p)
{
	unsigned head, seen = 0, events = 0;
	struct io_uring_cqe *cqe;
	io_uring_for_each_cqe(&p->ring, head, cqe)
	{
		seen++;
		if (cqe->user_data != 0) {
			handle(cqe);
			events++;
		} else if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
			arm_wake(p);
		}
	}
	io_uring_cq_advance(&p->ring, seen);
	return events;
}

// ---- polling ------------------------------------------------------------------------------------------------------

static bool kernel_has_work(struct rt_poller *p)
{
	return (IO_URING_READ_ONCE(*p->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static void flush(struct rt_poller *p)
{
	if (kernel_has_work(p) || io_uring_sq_ready(&p->ring) > 0)
		(void)io_uring_submit_and_get_events(&p->ring);
}

static void sleep_until(struct rt_poller *p, int64_t deadline_ns)
{
	int64_t left_ns = deadline_ns == TARE_NEVER ? TARE_NEVER : deadline_ns - tare_clock_ns();
	uint32_t awake = AWAKE;
	if (left_ns <= 0 || !atomic_compare_exchange_strong(&p->sleep, &awake, ASLEEP)) {
		flush(p);
	} else {
		struct __kernel_timespec left = {.tv_sec = left_ns / TARE_NS_PER_S, .tv_nsec = left_ns % TARE_NS_PER_S};
		struct io_uring_cqe *cqe;
		(void)io_uring_submit_and_wait_timeout(&p->ring, &cqe, 1, left_ns != TARE_NEVER ? &left : NULL, NULL);
	}
	atomic_store(&p->sleep, AWAKE);
}

// Takes what the kernel still has to hand over.
static unsigned settle(struct rt_poller *p)
{
	unsigned events = 0;
	for (int round = 0; kernel_has_work(p) && round < SETTLE_ROUNDS_MAX; round++) {
		flush(p);
		events += reap(p);
	}
	return events;
}

static unsigned poll_ring(struct rt_poller *p, int64_t deadline_ns)
{
	if (TARE_UNLIKELY(!p->enabled))
		rt_uring_enable(p);
	bool held = rt_uring_hold(p, HOLD_POLL);
	struct tare_waiter *settlers = inbox_run(p);
	if (deadline_ns == 0 || settlers != NULL || io_uring_cq_ready(&p->ring) > 0)
		flush(p);
	else
		sleep_until(p, deadline_ns);
	rt_sleep_end(rt_self());
	unsigned events = reap(p);
	if (TARE_UNLIKELY(settlers != NULL))
		events += settle(p);
	rt_uring_let_go(p, held);
	rt_waiters_wake_all(settlers);
	return events;
}

// ---- set-up -------------------------------------------------------------------------------------------------------

static size_t map_bytes(void)
{
	return BUF_COUNT * (sizeof(struct io_uring_buf) + BUF_BYTES);
}

static int bufs_init(struct rt_poller *p)
{
	void *map = mmap(NULL, map_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	p->bufs = map;
	p->buf_bytes = (char *)map + BUF_COUNT * sizeof(struct io_uring_buf);
	struct io_uring_buf_reg reg = {
	    .ring_addr = (uint64_t)(uintptr_t)map, .ring_entries = BUF_COUNT, .bgid = BUF_GROUP};
	int rc = io_uring_register_buf_ring(&p->ring, &reg, 0);
	if (rc < 0) {
		munmap(map, map_bytes());
		return rc;
	}
	io_uring_buf_ring_init(p->bufs);
	for (uint16_t id = 0; id < BUF_COUNT; id++)
		rt_uring_buf_give(p, id);
	return 0;
}

static int poller_new(struct rt_poller **ret)
{
	struct rt_poller *p = tare_alloc_zeroed(&heap_tag, 1, sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	// Disabled: the thread that enables it becomes its owner.
	struct io_uring_params params = {.flags = RING_FLAGS | IORING_SETUP_R_DISABLED, .cq_entries = CQ_ENTRIES};
	int rc = io_uring_queue_init_params(SQ_ENTRIES, &p->ring, &params);
	if (rc < 0)
		goto free_poller;
	p->care_fd = -1;
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake_fd < 0) {
		rc = -errno;
		goto exit_ring;
	}
	rc = bufs_init(p);
	if (rc < 0)
		goto close_wake;
	*ret = p;
	return 0;

close_wake:
	close(p->wake_fd);
exit_ring:
	io_uring_queue_exit(&p->ring);
free_poller:
	tare_free(p);
	return rc;
}

static void poller_free(struct rt_poller *p)
{
	if (p == NULL)
		return;
	for (struct uring_fd *u = p->inbox_first; u != NULL; u = u->next) // closed after the owner's last poll
		if ((u->wants & WANT_CLOSE) != 0)
			close(u->os_fd);
	io_uring_queue_exit(&p->ring);
	close(p->wake_fd);
	if (p->care_fd >= 0)
		close(p->care_fd);
	munmap(p->bufs, map_bytes());
	for (struct slab *next; p->slabs != NULL; p->slabs = next) {
		next = p->slabs->next;
		tare_free(p->slabs);
	}
	tare_free(p);
}

bool rt_uring_works(void)
{
	struct io_uring ring;
	struct io_uring_params params = {.flags = RING_FLAGS, .cq_entries = 8};
	if (io_uring_queue_init_params(4, &ring, &params) < 0)
		return false;
	// A filter may allow the one call and forbid the other.
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	bool works = io_uring_submit_and_wait(&ring, 1) == 1 && (params.features & IORING_FEAT_EXT_ARG) != 0;
	io_uring_queue_exit(&ring);
	return works;
}

const struct rt_backend rt_backend_uring = {
    .name = "uring",
    .now_ns = tare_clock_ns,
    .poller_new = poller_new,
    .poller_free = poller_free,
    .poll = poll_ring,
    .wake = rt_uring_wake,
    .rescue = rt_uring_rescue,
    .ready_fd = rt_uring_ready_fd,
    .at_ease = rt_uring_at_ease,
    .fd_add = rt_uring_fd_add,
    .fd_close = rt_uring_fd_close,
    .want_room = rt_uring_want_room,
    .settle = rt_uring_settle,
    .recv = rt_uring_recv,
    .send = rt_sock_send,
    .sendv = rt_sock_sendv,
    .accept = rt_sock_accept,
    .listen = rt_sock_listen,
    .dial = rt_sock_dial,
    .dial_result = rt_uring_dial_result,
    .pair = rt_sock_pair,
    .shutdown = rt_sock_shutdown,
    .turn_away = rt_sock_turn_away,
    .dismiss = rt_sock_dismiss,
};
#elif !defined(TARE_SIM)
// Built without liburing: asked for, it falls back.
const struct rt_backend rt_backend_uring = {.name = "uring"};

bool rt_uring_works(void)
{
	return false;
}
#endif
