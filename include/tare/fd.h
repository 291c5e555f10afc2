// SPDX-License-Identifier: MIT
//
// fd: descriptors that tasks wait for. The room net's streams and listeners stand on them; use those first.
//
// Called from a task unless a comment says otherwise. A wait blocks the task; nothing else here blocks or allocates.
#ifndef TARE_FD_H
#define TARE_FD_H

#include <tare/base.h>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { TARE_READ = 0, TARE_WRITE = 1 };

// A descriptor in a worker's poller: edge-triggered, registered once, tried before parked.
// One task at a time may wait for a direction (asserted). The storage must be type-stable (from a pool that is
// `stable`, or static) for as long as the runtime runs, because an event that was fetched before tare_fd_close may
// still look at it. It begins zeroed, and is then left as its last use left it: do not clear it, its generation must go
// on.
struct tare_fd {
	int fd;                                       // -1 when closed
	_Atomic(uint32_t) generation;                 // goes up at close; an event of another generation is stale
	_Atomic(uintptr_t) side[2];                   // the states of fd.c, a word a direction
	void (*_Atomic on_ready)(struct tare_fd *fd); // see tare_fd_idle
	struct rt_poller *poller;
	atomic_bool plain;  // no socket: read and write
	atomic_bool hangup; // the peer closed or the socket failed: a short read no longer means "drained"
	void *io;           // what the backend keeps of it
};

// Registers a non-blocking descriptor with the caller's worker's poller; the descriptor becomes the struct's on
// success, so tare_fd_close closes it, and stays the caller's on failure. -ENOMEM, -ENOSPC, -EPERM (a plain file) …
TARE_MUST_USE int tare_fd_open(struct tare_fd *fd, int os_fd);
// Closes the descriptor. No task may be waiting on it. Closing twice is fine, closing what was never opened is not.
void tare_fd_close(struct tare_fd *fd);
// Parks until the side may be ready. Call it after EAGAIN, then try again. 0; -ETIMEDOUT, also for the deadline of the
// task's scope; -ECANCELED; -ENOMEM (a deadline's timer).
int tare_fd_wait(struct tare_fd *fd, int side, int64_t deadline_ns);
// Puts the read side into the idle state: no task waits; the next event calls fn on the poller's worker (on another
// while a task keeps that one busy, see tare_rt_options.watchdog_ns), on the worker's own stack (short, non-blocking;
// as a rule it starts a task). False when the descriptor became ready
// meanwhile: then nothing is called, and the caller goes on reading.
TARE_MUST_USE bool tare_fd_idle(struct tare_fd *fd, void (*on_ready)(struct tare_fd *fd));
// Takes an idle descriptor back from the poller: true means on_ready will not be called for it and the caller owns it.
TARE_MUST_USE bool tare_fd_unidle(struct tare_fd *fd);

// Waits until what the kernel has received so far is there for tare_fd_recv: with io_uring it may still be on its way.
// For who looks a last time before closing; readers that wait need it not. Not cancelled, and never long.
void tare_fd_settle(struct tare_fd *fd);

// Makes the side ready as an event would: whoever waits there returns, and finds EAGAIN if there was nothing.
void tare_fd_kick(struct tare_fd *fd, int side);

// One try on a registered socket, never parking; -EAGAIN when it would block. These go through the runtime's backend,
// so that a test's simulated network stands in for the kernel's without the caller knowing. What is no socket, a pipe
// or a signalfd, is read and written. A broken connection is -EPIPE; no signal is raised for a socket.
TARE_MUST_USE ssize_t tare_fd_recv(struct tare_fd *fd, void *buf, size_t len);
TARE_MUST_USE ssize_t tare_fd_send(struct tare_fd *fd, const void *buf, size_t len);
TARE_MUST_USE ssize_t tare_fd_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count);
// The accepted descriptor, not yet registered.
TARE_MUST_USE int tare_fd_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len);

// Making and ending stream sockets of the backend. What is made is non-blocking, close-on-exec and not yet registered;
// a negative errno otherwise.

// *addr is updated with what was bound. *ret_step: the system call that failed.
TARE_MUST_USE int tare_fd_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port,
				 const char **ret_step);
// Connected, or on its way: ask tare_fd_dial_result once it is registered and writable.
TARE_MUST_USE int tare_fd_dial(const struct sockaddr *addr, socklen_t len);
// 0, -EINPROGRESS, or why it failed.
TARE_MUST_USE int tare_fd_dial_result(struct tare_fd *fd);
// Two connected ends.
TARE_MUST_USE int tare_fd_pair(int ret[2]);
// As shutdown(2): SHUT_RD, SHUT_WR, SHUT_RDWR. Errors, a peer that is gone already, do not matter.
void tare_fd_shutdown(struct tare_fd *fd, int how);
// A listener lets no connection begin any more; those under way may still complete.
void tare_fd_turn_away(struct tare_fd *fd);
// Closes a descriptor that is not registered, after some last words if there are any (they are not waited for).
void tare_fd_dismiss(int os_fd, const void *last_words, size_t len);

#endif
