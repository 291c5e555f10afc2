// SPDX-License-Identifier: MIT
//
// Descriptors on io_uring: what tasks call, on whatever worker they are, and the buffers between the kernel and them.
// uring.c is the other side and has the states and invariants.
//
// Threads: any. What only the owner may do is done at once when the caller is on its worker, else posted to its inbox.
#include "rt/switch.h"

#if !defined(TARE_SIM) && !defined(TARE_NO_URING)
#include "rt/uring.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("pollers");

static bool is_owner(const struct rt_poller *p)
{
	struct rt_worker *w = rt_self();
	return w != NULL && w->poller == p;
}

// ---- provided buffers ---------------------------------------------------------------------------------------------

static char *buf_at(struct rt_poller *p, uint16_t id)
{
	return p->buf_bytes + (size_t)id * BUF_BYTES;
}

void rt_uring_buf_give(struct rt_poller *p, uint16_t id)
{
	atomic_store_explicit(&p->buf[id].held, false, memory_order_release);
	tare_spin_lock(&p->spin);
	io_uring_buf_ring_add(p->bufs, buf_at(p, id), BUF_BYTES, id, io_uring_buf_ring_mask(BUF_COUNT), 0);
	io_uring_buf_ring_advance(p->bufs, 1);
	tare_spin_unlock(&p->spin);
}

uint16_t rt_uring_buf_take(struct rt_poller *p, uint32_t cqe_flags)
{
	uint16_t id = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
	TARE_ASSERT(id < BUF_COUNT && !atomic_load_explicit(&p->buf[id].held, memory_order_acquire));
	atomic_store_explicit(&p->buf[id].held, true, memory_order_relaxed);
	return id;
}

void rt_uring_held_push(struct uring_fd *u, uint16_t id, uint32_t len)
{
	struct rt_poller *p = u->poller;
	p->buf[id].next = NO_BUF;
	p->buf[id].len = (uint16_t)len;
	if (u->first == NO_BUF)
		u->first = id;
	else
		p->buf[u->last].next = id;
	u->last = id;
	u->held++;
}

static void held_pop(struct uring_fd *u)
{
	uint16_t id = u->first;
	u->first = u->poller->buf[id].next;
	u->used = 0;
	u->held--;
	rt_uring_buf_give(u->poller, id);
}

static size_t held_read(struct uring_fd *u, char *to, size_t len)
{
	size_t copied = 0;
	while (u->first != NO_BUF && copied < len) {
		const struct buf *b = &u->poller->buf[u->first];
		size_t n = TARE_MIN(len - copied, (size_t)b->len - u->used);
		memcpy(to + copied, buf_at(u->poller, u->first) + u->used, n);
		copied += n;
		u->used += (uint32_t)n;
		if (u->used == b->len)
			held_pop(u);
	}
	return copied;
}

// ---- asking the owner ---------------------------------------------------------------------------------------------

// With the descriptor's spin; the caller wakes the owner when it has let go of that.
static void post(struct uring_fd *u, unsigned wants)
{
	struct rt_poller *p = u->poller;
	bool queued = u->wants != 0;
	u->wants |= wants;
	if (queued)
		return;
	u->next = NULL;
	tare_spin_lock(&p->spin);
	if (p->inbox_first == NULL)
		p->inbox_first = u;
	else
		p->inbox_last->next = u;
	p->inbox_last = u;
	atomic_store(&p->inbox_any, true);
	tare_spin_unlock(&p->spin);
}

// Has the owner do it: at once when that is the caller. With the descriptor's spin, which it lets go.
static void want(struct uring_fd *u, unsigned wants)
{
	struct rt_poller *p = u->poller;
	bool own = is_owner(p);
	if (own)
		rt_uring_serve(u, wants);
	else
		post(u, wants);
	tare_spin_unlock(&u->spin);
	if (!own)
		rt_uring_wake(p);
}

static struct uring_fd *uring_fd_alloc(struct rt_poller *p)
{
	tare_spin_lock(&p->spin);
	struct uring_fd *u = p->free;
	if (u != NULL)
		p->free = u->next;
	tare_spin_unlock(&p->spin);
	if (u != NULL)
		return u;
	struct slab *slab = tare_alloc_zeroed(&heap_tag, 1, sizeof *slab);
	if (slab == NULL)
		return NULL;
	tare_spin_lock(&p->spin);
	slab->next = p->slabs;
	p->slabs = slab;
	for (unsigned i = 1; i < SLAB_FDS; i++) {
		slab->fds[i].next = p->free;
		p->free = &slab->fds[i];
	}
	tare_spin_unlock(&p->spin);
	return &slab->fds[0];
}

// With the poller's spin: who looks after its descriptors may look at this one.
static struct uring_fd *uring_fd_take(struct rt_poller *p, struct tare_fd *fd, bool polled)
{
	struct uring_fd *u = uring_fd_alloc(p);
	if (u == NULL)
		return NULL;
	tare_spin_lock(&p->spin);
	*u = (struct uring_fd){
	    .poller = p, .os_fd = fd->fd, .fd = fd, .first = NO_BUF, .state = WANTED, .polled = polled, .live = true};
	p->opened++;
	tare_spin_unlock(&p->spin);
	return u;
}

void rt_uring_fd_give(struct uring_fd *u)
{
	struct rt_poller *p = u->poller;
	TARE_ASSERT(u->first == NO_BUF); // else its buffers were lost
	u->closing = false;
	tare_spin_lock(&p->spin);
	u->next = p->free;
	p->free = u;
	tare_spin_unlock(&p->spin);
}

// ---- descriptors --------------------------------------------------------------------------------------------------

// What has messages, or is no socket, is read by plain calls. 0 or 1; -EPERM as epoll has it for what never blocks.
static int is_polled(int os_fd)
{
	int type;
	socklen_t len = sizeof type;
	if (getsockopt(os_fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0)
		return type != SOCK_STREAM;
	struct stat about;
	if (errno != ENOTSOCK || fstat(os_fd, &about) < 0)
		return -errno;
	return S_ISREG(about.st_mode) || S_ISDIR(about.st_mode) ? -EPERM : 1;
}

int rt_uring_fd_add(struct rt_poller *p, struct tare_fd *fd)
{
	int polled = is_polled(fd->fd);
	if (polled < 0)
		return polled;
	struct uring_fd *u = uring_fd_take(p, fd, polled != 0);
	if (u == NULL)
		return -ENOMEM;
	if (TARE_UNLIKELY(!p->enabled))
		rt_uring_enable(p);
	fd->io = u;
	tare_spin_lock(&u->spin);
	want(u, WANT_READ);
	return 0;
}

void rt_uring_fd_close(struct rt_poller *p, struct tare_fd *fd)
{
	struct uring_fd *u = fd->io;
	fd->io = NULL;
	bool own = is_owner(p);
	tare_spin_lock(&p->spin);
	u->live = false;
	tare_spin_unlock(&p->spin);
	tare_spin_lock(&u->spin);
	u->fd = NULL;
	while (u->first != NO_BUF)
		held_pop(u);
	bool now = own && u->wants == 0; // in the inbox, it is the inbox's to free
	if (!now)
		post(u, WANT_CLOSE);
	tare_spin_unlock(&u->spin);
	if (now)
		rt_uring_close(u);
	else if (!own)
		rt_uring_wake(p);
}

ssize_t rt_uring_recv(struct tare_fd *fd, void *buf, size_t len)
{
	struct uring_fd *u = fd->io;
	tare_spin_lock(&u->spin);
	if (u->polled || len == 0) {
		tare_spin_unlock(&u->spin);
		return rt_sock_recv(fd, buf, len);
	}
	ssize_t n = (ssize_t)held_read(u, buf, len);
	bool off = u->state == OFF && !u->ended;
	if (n == 0 && u->ended) {
		n = u->end_rc;
	} else if (n == 0 && !off) {
		bool cared = atomic_load_explicit(&u->poller->cared, memory_order_relaxed);
		tare_spin_unlock(&u->spin);
		return TARE_UNLIKELY(cared) ? rt_uring_recv_beside(fd, buf, len) : -EAGAIN;
	}
	if (n == 0 && off) { // invariant 1
		tare_spin_unlock(&u->spin);
		n = rt_sock_recv(fd, buf, len);
		tare_spin_lock(&u->spin);
		off = n == -EAGAIN || n > 0;
	}
	// A caller that got less than it asked for may wait without another try.
	if (off && n < (ssize_t)len && u->state == OFF) {
		u->state = WANTED;
		want(u, WANT_READ);
	} else {
		tare_spin_unlock(&u->spin);
	}
	return n;
}

void rt_uring_want_room(struct tare_fd *fd)
{
	struct uring_fd *u = fd->io;
	tare_spin_lock(&u->spin);
	if (u->writing)
		tare_spin_unlock(&u->spin);
	else
		want(u, WANT_WRITE);
}

int rt_uring_dial_result(struct tare_fd *fd)
{
	int rc = rt_sock_dial_result(fd);
	if (rc != -EINPROGRESS)
		return rc;
	// The receive may have met the failure first; then it has taken it from the socket.
	struct uring_fd *u = fd->io;
	tare_spin_lock(&u->spin);
	if (u->ended)
		rc = u->end_rc < 0 ? u->end_rc : -ECONNRESET;
	tare_spin_unlock(&u->spin);
	return rc;
}

static bool settle_commit(struct tare_waiter *waiter)
{
	struct rt_poller *p = waiter->where;
	tare_spin_lock(&p->spin);
	waiter->next = p->settlers;
	p->settlers = waiter;
	atomic_store(&p->inbox_any, true);
	tare_spin_unlock(&p->spin);
	rt_uring_wake(p);
	return true;
}

void rt_uring_settle(struct tare_fd *fd)
{
	struct tare_waiter waiter = {.commit = settle_commit, .where = fd->poller, .deaf = true};
	int rc = rt_wait(&waiter, RT_READ, TARE_NEVER);
	TARE_ASSERT(rc == 0);
}
#endif
