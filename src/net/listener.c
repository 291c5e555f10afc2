// SPDX-License-Identifier: MIT
// Listening sockets, and how to leave one without losing a connection.
#include <tare/net.h>

#include <errno.h>
#include <unistd.h>

bool tare_addr_taken(const struct tare_addr *addr)
{
	if (tare_addr_port(addr) == 0)
		return false; // any, or a unix socket, which says so itself
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false; // the bind that follows will say what is wrong
	// Without SO_REUSEPORT a listener that has it set is in the way; SO_REUSEADDR lets closed connections' remains
	// pass.
	int one = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	bool taken = bind(fd, &addr->sa, addr->len) < 0 && errno == EADDRINUSE;
	close(fd);
	return taken;
}

static int listen_fail(int rc, const struct tare_addr *addr, const char *step, struct tare_error *err)
{
	char text[TARE_ADDR_TEXT_BYTES];
	tare_addr_format(addr, text);
	const char *help = rc == -EADDRINUSE      ? "; another program listens there: stop it or choose another port"
			   : rc == -EACCES        ? "; ports below 1024 need privileges: choose a higher one"
			   : rc == -EADDRNOTAVAIL ? "; this machine has no such address"
						  : "";
	return tare_error_set(err, rc, "can't listen on %s: %s: %s%s", text, step, strerror(-rc), help);
}

// A unix socket's path outlives who listened on it: nobody does when a connection is refused.
static bool unix_abandoned(const struct tare_addr *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool refused = connect(fd, &addr->sa, addr->len) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

int tare_listen(struct tare_listener *listener, struct tare_addr *addr, int backlog, bool reuse_port,
		struct tare_error *err)
{
	struct tare_addr bound = *addr;
	const char *step;
	int fd = tare_fd_listen(&bound.sa, &bound.len, backlog, reuse_port, &step);
	if (fd == -EADDRINUSE && addr->sa.sa_family == AF_UNIX && unix_abandoned(addr)) {
		(void)unlink(addr->un.sun_path);
		fd = tare_fd_listen(&bound.sa, &bound.len, backlog, reuse_port, &step);
	}
	if (fd < 0)
		return listen_fail(fd, addr, step, err);
	int rc = tare_fd_open(&listener->fd, fd);
	if (rc < 0) {
		tare_fd_dismiss(fd, NULL, 0);
		return listen_fail(rc, addr, "epoll_ctl", err);
	}
	listener->addr = *addr = bound;
	return 0;
}

// What accept4 reports of the connection rather than of the listener (accept(2), "Error handling").
static bool error_of_connection(int rc)
{
	switch (-rc) {
	case ECONNABORTED:
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

int tare_accept_try(struct tare_listener *listener, struct tare_addr *ret_peer)
{
	for (;;) {
		ret_peer->len = sizeof ret_peer->un;
		int fd = tare_fd_accept(&listener->fd, &ret_peer->sa, &ret_peer->len);
		if (fd >= 0 || !error_of_connection(fd))
			return fd;
	}
}

int tare_accept(struct tare_listener *listener, struct tare_addr *ret_peer, int64_t deadline_ns)
{
	for (;;) {
		int fd = tare_accept_try(listener, ret_peer);
		if (fd != -EAGAIN)
			return fd;
		int rc = tare_fd_wait(&listener->fd, TARE_READ, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

void tare_listener_drain(struct tare_listener *listener)
{
	tare_fd_turn_away(&listener->fd);
}

void tare_listener_close(struct tare_listener *listener)
{
	if (listener->fd.fd >= 0 && listener->addr.sa.sa_family == AF_UNIX)
		(void)unlink(listener->addr.un.sun_path);
	// Where a worker's ring holds it open for a moment longer, nobody is let in any more.
	if (listener->fd.fd >= 0)
		tare_fd_shutdown(&listener->fd, SHUT_RDWR);
	tare_fd_close(&listener->fd);
}
