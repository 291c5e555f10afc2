// SPDX-License-Identifier: MIT
//
// echo_epoll: sends back what it receives, by a bare epoll loop: what an echo server on tasks is compared with.
// `echo_epoll PORT`
//
// What a good engineer writes by hand: one thread, edge-triggered, one recv an event (a read shorter than the buffer
// has drained the socket), one send, no allocation a message.
//
// Invariant: a connection that owes bytes isn't read; its input waits in the kernel until the output went out.
//
// Threads: one. Ownership: connections are indexed by descriptor, and the kernel hands those out small.
// Rejected: level triggering (the kernel queues and polls each connection a second time), several threads (the
// comparison is CPU a message on one core).
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONN_MAX = 65536, EVENT_MAX = 512, BUF_BYTES = 4096 };

// What a slow peer has not yet taken; as a rule nothing, so the bytes come from the heap when there are some.
struct conn {
	char *owed;
	size_t at, len;
};

static struct conn conns[CONN_MAX];

static void die(const char *what)
{
	fprintf(stderr, "echo_epoll: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int poller, int op, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	if (epoll_ctl(poller, op, fd, &event) != 0)
		die("epoll_ctl");
}

static void accept_all(int poller, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0)
			die("accept4");
		if (fd >= CONN_MAX) {
			close(fd);
			continue;
		}
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(poller, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
	}
}

// How much of it the kernel took, or -1: the peer is gone.
static ssize_t send_some(int fd, const char *from, size_t len)
{
	ssize_t sent = send(fd, from, len, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	return sent;
}

// False: the connection is over.
static bool send_owed(int poller, int fd, struct conn *conn)
{
	ssize_t sent = send_some(fd, conn->owed + conn->at, conn->len - conn->at);
	if (sent < 0)
		return false;
	conn->at += (size_t)sent;
	bool done = conn->at == conn->len;
	if (done) {
		free(conn->owed);
		conn->owed = NULL;
	}
	watch(poller, EPOLL_CTL_MOD, fd, (done ? EPOLLIN : EPOLLOUT) | EPOLLET);
	return true;
}

static bool owe(int poller, int fd, struct conn *conn, const char *from, size_t len)
{
	conn->owed = malloc(len);
	if (conn->owed == NULL)
		die("memory");
	memcpy(conn->owed, from, len);
	conn->at = 0;
	conn->len = len;
	watch(poller, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLET);
	return true;
}

static bool echo(int poller, int fd, struct conn *conn)
{
	char buf[BUF_BYTES];
	ssize_t got = recv(fd, buf, sizeof buf, 0);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	ssize_t sent = send_some(fd, buf, (size_t)got);
	if (sent < 0)
		return false;
	if (sent < got)
		return owe(poller, fd, conn, buf + sent, (size_t)(got - sent));
	if (got == BUF_BYTES)
		watch(poller, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET); // there may be more: have the edge again
	return true;
}

static int listen_on(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t len = sizeof address;
	if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 4096) != 0)
		die("bind");
	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		die("getsockname");
	printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	char *end = NULL;
	unsigned long port = argc == 2 ? strtoul(argv[1], &end, 10) : 65536;
	if (port > 65535 || end == argv[1] || *end != '\0') {
		fprintf(stderr, "usage: echo_epoll PORT\n");
		return 2;
	}
	int poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		die("epoll_create1");
	int listener = listen_on((uint16_t)port);
	watch(poller, EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		struct epoll_event events[EVENT_MAX];
		int count = epoll_wait(poller, events, EVENT_MAX, -1);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				accept_all(poller, listener);
				continue;
			}
			struct conn *conn = &conns[fd];
			if (!(conn->owed != NULL ? send_owed(poller, fd, conn) : echo(poller, fd, conn))) {
				free(conn->owed);
				conn->owed = NULL;
				close(fd);
			}
		}
	}
}
