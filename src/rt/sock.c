// SPDX-License-Identifier: MIT
// The kernel's sockets, as the seam wants them: non-blocking, close-on-exec, a negative errno for an error. Threads:
// any.
#include "rt/rt_int.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

// The C library's recv and send are cancellation points: in a process with threads each call costs four locked
// instructions that nobody here wants. The sanitizers watch the library's.
#if defined(TARE_ASAN) || defined(TARE_TSAN)
static ssize_t kernel_recv(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, 0);
}

static ssize_t kernel_send(int fd, const void *buf, size_t len)
{
	return send(fd, buf, len, MSG_NOSIGNAL);
}
#else
static ssize_t kernel_recv(int fd, void *buf, size_t len)
{
	return syscall(SYS_recvfrom, fd, buf, len, 0, NULL, NULL);
}

static ssize_t kernel_send(int fd, const void *buf, size_t len)
{
	return syscall(SYS_sendto, fd, buf, len, MSG_NOSIGNAL, NULL, 0);
}
#endif

// Before a call of the kernel. By a worker; what plain threads do is not counted.
static void called(enum rt_call call)
{
	struct rt_worker *w = rt_self();
	if (w != NULL)
		tare_bump(&w->calls[call], 1);
}

// After a failed call: whether to try again at once. A pipe or the like is found out by its first error and remembered.
static bool retry(struct tare_fd *fd, bool plain)
{
	if (errno == EINTR)
		return true;
	if (errno != ENOTSOCK || plain)
		return false;
	atomic_store_explicit(&fd->plain, true, memory_order_relaxed);
	return true;
}

// EAGAIN: so many wakes are there already. Whatever else it says is tried again: a wake that is lost is a hang.
void rt_eventfd_raise(int fd)
{
	enum { TRIES = 8 };
	uint64_t one = 1;
	for (int i = 0; i < TRIES && write(fd, &one, sizeof one) < 0 && errno != EAGAIN; i++)
		continue;
}

ssize_t rt_sock_recv(struct tare_fd *fd, void *buf, size_t len)
{
	for (;;) {
		bool plain = atomic_load_explicit(&fd->plain, memory_order_relaxed);
		called(RT_CALL_RECV);
		ssize_t n = plain ? read(fd->fd, buf, len) : kernel_recv(fd->fd, buf, len);
		if (TARE_LIKELY(n >= 0))
			return n;
		if (!retry(fd, plain))
			return -errno;
	}
}

ssize_t rt_sock_send(struct tare_fd *fd, const void *buf, size_t len)
{
	for (;;) {
		bool plain = atomic_load_explicit(&fd->plain, memory_order_relaxed);
		called(RT_CALL_SEND);
		ssize_t n = plain ? write(fd->fd, buf, len) : kernel_send(fd->fd, buf, len);
		if (TARE_LIKELY(n >= 0))
			return n;
		if (!retry(fd, plain))
			return -errno;
	}
}

ssize_t rt_sock_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
	for (;;) {
		bool plain = atomic_load_explicit(&fd->plain, memory_order_relaxed);
		called(RT_CALL_SEND);
		ssize_t n = plain ? writev(fd->fd, iov, (int)count) : sendmsg(fd->fd, &msg, MSG_NOSIGNAL);
		if (TARE_LIKELY(n >= 0))
			return n;
		if (!retry(fd, plain))
			return -errno;
	}
}

int rt_sock_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len)
{
	for (;;) {
		called(RT_CALL_ACCEPT);
		int accepted = accept4(fd->fd, ret_peer, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted >= 0)
			return accepted;
		if (errno != EINTR)
			return -errno;
	}
}

static int fail(int fd)
{
	int rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc;
}

int rt_sock_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step)
{
	int one = 1;
	*ret_step = "socket";
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(fd);
	*ret_step = "SO_REUSEADDR";
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
		return fail(fd);
	*ret_step = "SO_REUSEPORT";
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
		return fail(fd);
	// Accepted sockets inherit it: one system call a connection less. Not every stream is TCP.
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	*ret_step = "bind";
	if (bind(fd, addr, *len) < 0)
		return fail(fd);
	*ret_step = "listen";
	if (listen(fd, backlog) < 0)
		return fail(fd);
	*ret_step = "getsockname";
	return getsockname(fd, addr, len) < 0 ? fail(fd) : fd;
}

int rt_sock_dial(const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || (connect(fd, addr, len) < 0 && errno != EINPROGRESS))
		return fail(fd);
	int one = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

int rt_sock_dial_result(struct tare_fd *fd)
{
	int error = 0;
	socklen_t len = sizeof error;
	if (getsockopt(fd->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	if (error != 0)
		return -error;
	// Without an error it may still be under way: then it has no peer yet.
	struct sockaddr_storage peer;
	len = sizeof peer;
	if (getpeername(fd->fd, (struct sockaddr *)&peer, &len) == 0)
		return 0;
	return errno == ENOTCONN ? -EINPROGRESS : -errno;
}

int rt_sock_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

void rt_sock_shutdown(struct tare_fd *fd, int how)
{
	(void)shutdown(fd->fd, how);
}

void rt_sock_turn_away(struct tare_fd *fd)
{
	// A socket filter that drops every SYN, so that no handshake begins any more; those under way may still
	// complete. Peers that are turned away try again and find the port closed. Byte 13 of a TCP header holds its
	// flags.
	struct sock_filter drop_syn[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TH_SYN, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = {.len = TARE_ARRAY_LEN(drop_syn), .filter = drop_syn};
	(void)setsockopt(fd->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void rt_sock_dismiss(int os_fd, const void *last_words, size_t len)
{
	if (len > 0) {
		(void)!send(os_fd, last_words, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)shutdown(os_fd, SHUT_WR);
	}
	close(os_fd);
}
