// SPDX-License-Identifier: MIT
// Datagrams: try, park on EAGAIN, try again.
#include <tare/net.h>

#include <errno.h>
#include <unistd.h>

static int fail(int fd, const struct tare_addr *addr, const char *step, struct tare_error *err)
{
	int rc = -errno;
	char text[TARE_ADDR_TEXT_BYTES];
	tare_addr_format(addr, text);
	if (fd >= 0)
		close(fd);
	return tare_error_set(err, rc, "can't receive datagrams on %s: %s: %s", text, step, strerror(-rc));
}

int tare_udp_open(struct tare_udp *udp, struct tare_addr *addr, struct tare_error *err)
{
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(fd, addr, "socket", err);
	if (bind(fd, &addr->sa, addr->len) < 0)
		return fail(fd, addr, "bind", err);
	struct tare_addr bound = {.len = sizeof bound.un};
	if (getsockname(fd, &bound.sa, &bound.len) < 0)
		return fail(fd, addr, "getsockname", err);
	int rc = tare_fd_open(&udp->fd, fd);
	if (rc < 0) {
		errno = -rc;
		return fail(fd, addr, "the poller", err);
	}
	*addr = bound;
	return 0;
}

// Functions of their own, so that errno's address is not kept while the task waits.
TARE_NOIPA static ssize_t try_recv(struct tare_udp *udp, void *buf, size_t len, struct tare_addr *ret_from)
{
	struct tare_addr from;
	struct iovec iov = {buf, len};
	struct msghdr msg = {.msg_name = &from.sa, .msg_namelen = sizeof from.un, .msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(udp->fd.fd, &msg, 0);
	if (n < 0)
		return -errno;
	from.len = msg.msg_namelen;
	if (ret_from != NULL)
		*ret_from = from;
	return (msg.msg_flags & MSG_TRUNC) != 0 ? -EMSGSIZE : n;
}

TARE_NOIPA static int try_send(struct tare_udp *udp, const void *buf, size_t len, const struct tare_addr *to)
{
	ssize_t n = sendto(udp->fd.fd, buf, len, MSG_NOSIGNAL, &to->sa, to->len);
	return n < 0 ? -errno : 0;
}

ssize_t tare_udp_recv(struct tare_udp *udp, void *buf, size_t len, struct tare_addr *ret_from, int64_t deadline_ns)
{
	for (;;) {
		ssize_t n = try_recv(udp, buf, len, ret_from);
		int rc = n == -EAGAIN ? tare_fd_wait(&udp->fd, TARE_READ, deadline_ns) : 0;
		if (rc < 0)
			return rc;
		if (n != -EAGAIN && n != -EINTR)
			return n;
	}
}

int tare_udp_send(struct tare_udp *udp, const void *buf, size_t len, const struct tare_addr *to, int64_t deadline_ns)
{
	for (;;) {
		int rc = try_send(udp, buf, len, to);
		if (rc != -EAGAIN && rc != -EINTR)
			return rc;
		if (rc == -EAGAIN && (rc = tare_fd_wait(&udp->fd, TARE_WRITE, deadline_ns)) < 0)
			return rc;
	}
}

void tare_udp_close(struct tare_udp *udp)
{
	tare_fd_close(&udp->fd);
}
