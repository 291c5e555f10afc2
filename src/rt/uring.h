// SPDX-License-Identifier: MIT
// What uring.c, uring_fd.c and uring_care.c share; uring.c's head has the invariants. Not included in a simulation.
#ifndef TARE_RT_URING_H
#define TARE_RT_URING_H

#include "rt/rt_int.h"

#include <liburing.h>

enum { BUF_COUNT = 256, BUF_BYTES = 4096, NO_BUF = UINT16_MAX, SLAB_FDS = 64 };

enum { WANT_READ = 1, WANT_WRITE = 2, WANT_CLOSE = 4 };

// AWAKE <-> ASLEEP: the owner waits in the kernel. WOKEN: a wake is due, or on its way.
enum { AWAKE, WOKEN, ASLEEP };

// What the ring is held for: see uring_care.c.
enum { HOLD_FREE, HOLD_POLL, HOLD_BRIEFLY };

// The low bits of user_data; the rest is the struct uring_fd. 0: the poller's own wake.
enum tag { TAG_READ = 1, TAG_WRITE = 2, TAG_CANCEL_READ = 3, TAG_CANCEL_WRITE = 4 };
enum { TAG_MASK = 7 };

struct uring_fd {
	struct rt_poller *poller;
	struct uring_fd *next; // of the poller's inbox or free list; guarded by its spin
	int os_fd;

	struct tare_spin spin; // guards the rest
	struct tare_fd *fd;    // NULL: closed
	enum { OFF, WANTED, ON, STOPPING } state;
	uint16_t first, last;  // buffers received and not yet read, NO_BUF: none
	uint32_t used, held;   // bytes of the first that were read; how many there are
	bool polled;           // and read by plain calls
	bool ended;            // behind the buffers: the stream's end, or end_rc
	bool reading, writing; // the kernel owes a last completion
	int end_rc;
	unsigned wants;   // posted to the inbox
	unsigned cancels; // the kernel owes a last completion of each
	bool closing;     // the owner's alone: closed, and still busy

	// Guarded by the poller's spin.
	bool live;      // opened and not closed
	unsigned cared; // the care_round in which it was added to care_fd
};

struct rt_poller {
	struct io_uring ring;
	bool enabled; // by the owner, whose ring it then is
	int wake_fd;
	struct io_uring_buf_ring *bufs; // and behind it the buffers
	char *buf_bytes;

	_Atomic(uint32_t) hold; // HOLD_FREE …
	bool inside;            // the owner's alone: it holds it

	// For whoever looks after it while its owner is stuck.
	atomic_bool cared;
	struct tare_spin care_spin;        // guards care_fd, which the monitor alone writes
	int care_fd;                       // -1, or an epoll instance with its descriptors
	unsigned care_round;               // guarded by spin, as the next two are
	unsigned long opened, care_opened; // descriptors so far; and when the monitor last looked

	struct tare_spin spin; // guards the next five and the tail of bufs
	struct uring_fd *inbox_first, *inbox_last;
	struct uring_fd *free;
	struct slab *slabs;
	struct tare_waiter *settlers; // linked by next
	// Set before the exchange of sleep in wake(), read after the store at the end of a poll; all sequentially
	// consistent, so an owner that drops a WOKEN sees what it was for.
	atomic_bool inbox_any;
	_Atomic(uint32_t) sleep; // AWAKE …

	struct buf {
		uint16_t next;
		uint16_t len;
		atomic_bool held; // pairs the giver's release with the taker's acquire: between them the kernel had it
	} buf[BUF_COUNT];
};

struct slab {
	struct slab *next;
	struct uring_fd fds[SLAB_FDS];
};

// ---- uring.c: by the owner ----------------------------------------------------------------------------------------

void rt_uring_enable(struct rt_poller *p);
// Arms what is wanted and not armed. With the descriptor's spin.
void rt_uring_serve(struct uring_fd *u, unsigned wants);
void rt_uring_close(struct uring_fd *u);
// From any thread.
void rt_uring_wake(struct rt_poller *p);

// ---- uring_care.c -------------------------------------------------------------------------------------------------

void rt_uring_hold_wait(struct rt_poller *p, uint32_t what_for);

// By the owner, around what enters the ring or takes from it. Whether it is to be let go: not by who is inside another
// one, nor where there is nobody to share with.
static inline bool rt_uring_hold(struct rt_poller *p, uint32_t what_for)
{
	if (p->inside || rt.worker_count == 1)
		return false;
	uint32_t free = HOLD_FREE;
	if (TARE_UNLIKELY(!atomic_compare_exchange_strong_explicit(&p->hold, &free, what_for, memory_order_acquire,
								   memory_order_relaxed)))
		rt_uring_hold_wait(p, what_for);
	p->inside = true;
	return true;
}

static inline void rt_uring_let_go(struct rt_poller *p, bool held)
{
	if (!held)
		return;
	p->inside = false;
	atomic_store_explicit(&p->hold, HOLD_FREE, memory_order_release);
}

// While the owner is stuck: asks the kernel itself, where the bytes that it would get are the next ones.
ssize_t rt_uring_recv_beside(struct tare_fd *fd, void *buf, size_t len);

// ---- uring_fd.c ---------------------------------------------------------------------------------------------------

// To the kernel. From any thread.
void rt_uring_buf_give(struct rt_poller *p, uint16_t id);
// From the kernel: a completion brings it.
uint16_t rt_uring_buf_take(struct rt_poller *p, uint32_t cqe_flags);
// With the descriptor's spin.
void rt_uring_held_push(struct uring_fd *u, uint16_t id, uint32_t len);
// By the owner.
void rt_uring_fd_give(struct uring_fd *u);

// The backend's (struct rt_backend).
int rt_uring_fd_add(struct rt_poller *p, struct tare_fd *fd);
void rt_uring_fd_close(struct rt_poller *p, struct tare_fd *fd);
void rt_uring_want_room(struct tare_fd *fd);
void rt_uring_settle(struct tare_fd *fd);
ssize_t rt_uring_recv(struct tare_fd *fd, void *buf, size_t len);
int rt_uring_dial_result(struct tare_fd *fd);
unsigned rt_uring_rescue(struct rt_poller *p);
int rt_uring_ready_fd(struct rt_poller *p);
void rt_uring_at_ease(struct rt_poller *p);

#endif
