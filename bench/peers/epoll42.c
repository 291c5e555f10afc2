// SPDX-License-Identifier: MIT
//
// epoll42: the raw epoll server that every request's cost is compared with. `epoll42 [--level] PORT`
//
// What a good engineer writes by hand when the answer is always "42": one thread, no framework, no allocation a
// request, no handicap. It finds the ends of request heads and nothing else: it takes no bodies, reads no header, and
// answers a malformed head too. So it's a floor and not a server; what a real one does on top is what the ratio shows.
//
// Invariants:
//   1. A connection that owes bytes isn't read: its input waits in the kernel until the output went out.
//   2. tail holds the last bytes of an unfinished head, at most three, so a blank line split over two reads is found.
//
// Threads: one. Ownership: connections are indexed by descriptor, and the kernel hands those out small.
//
// Edge-triggered, one recv an event: a read shorter than the buffer has drained the socket, so no second recv is spent
// on EAGAIN. --level is there to measure the difference: level triggering makes the kernel queue and poll each
// connection a second time.
// Rejected: EPOLLEXCLUSIVE, SO_BUSY_POLL, several threads (the comparison is CPU a request on one core), writev.
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

enum { CONN_MAX = 65536, EVENT_MAX = 512, READ_MAX = 16384, TAIL_MAX = 3, ANSWER_BATCH = 1024 };

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"
#define ANSWER_LEN (sizeof(ANSWER) - 1)

struct conn {
	uint32_t owed; // bytes of answers not yet taken by the kernel; READ_MAX / 4 answers at most
	uint8_t tail_len;
	char tail[TAIL_MAX];
};

static struct conn conns[CONN_MAX];
static char answers[ANSWER_BATCH * ANSWER_LEN];
static char input[TAIL_MAX + READ_MAX];
static uint32_t trigger = EPOLLET;

static void die(const char *what)
{
	fprintf(stderr, "epoll42: %s: %s\n", what, strerror(errno));
	exit(1);
}

// The number of heads that end in [p, end); *ret_rest is where the unfinished one begins.
// Looks at every fourth byte: only one that is part of a blank line's four can end a head.
static uint32_t count_heads(const char *p, const char *end, const char **ret_rest)
{
	uint32_t count = 0;
	*ret_rest = p;
	while (end - p >= 4) {
		char last = p[3];
		if (last != '\n' && last != '\r') {
			p += 4;
		} else if (memcmp(p, "\r\n\r\n", 4) == 0) {
			count++;
			p += 4;
			*ret_rest = p;
		} else {
			p++;
		}
	}
	return count;
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
		conns[fd] = (struct conn){0};
		watch(poller, EPOLL_CTL_ADD, fd, EPOLLIN | trigger);
	}
}

// Sends what is owed; answers are all alike, so what is owed also says where in the answer to go on. False: the peer is
// gone.
static bool flush(int fd, struct conn *conn)
{
	while (conn->owed > 0) {
		size_t offset = (ANSWER_LEN - conn->owed % ANSWER_LEN) % ANSWER_LEN;
		size_t len = sizeof answers - offset < conn->owed ? sizeof answers - offset : conn->owed;
		ssize_t sent = send(fd, answers + offset, len, MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		conn->owed -= (uint32_t)sent;
	}
	return true;
}

// One recv and at most one send. False: the connection is over.
static bool answer(int poller, int fd, struct conn *conn)
{
	char *start = input + TAIL_MAX - conn->tail_len;
	memcpy(start, conn->tail, conn->tail_len);
	ssize_t got = recv(fd, input + TAIL_MAX, READ_MAX, 0);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	const char *end = input + TAIL_MAX + got, *rest;
	conn->owed = count_heads(start, end, &rest) * (uint32_t)ANSWER_LEN;
	conn->tail_len = (uint8_t)(end - rest < TAIL_MAX ? end - rest : TAIL_MAX);
	memcpy(conn->tail, end - conn->tail_len, conn->tail_len);
	if (!flush(fd, conn))
		return false;
	if (conn->owed > 0)
		watch(poller, EPOLL_CTL_MOD, fd, EPOLLOUT | trigger);
	else if (got == READ_MAX)
		watch(poller, EPOLL_CTL_MOD, fd, EPOLLIN | trigger); // there may be more: have the edge again
	return true;
}

static bool serve(int poller, int fd, uint32_t events)
{
	struct conn *conn = &conns[fd];
	if (!(events & EPOLLOUT))
		return answer(poller, fd, conn);
	if (!flush(fd, conn))
		return false;
	if (conn->owed == 0)
		watch(poller, EPOLL_CTL_MOD, fd, EPOLLIN | trigger);
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
	if (argc > 1 && strcmp(argv[1], "--level") == 0) {
		trigger = 0;
		argc--, argv++;
	}
	char *end = NULL;
	unsigned long port = argc == 2 ? strtoul(argv[1], &end, 10) : 65536;
	if (port > 65535 || end == argv[1] || *end != '\0') {
		fprintf(stderr, "usage: epoll42 [--level] PORT\n");
		return 2;
	}
	for (size_t i = 0; i < ANSWER_BATCH; i++)
		memcpy(answers + i * ANSWER_LEN, ANSWER, ANSWER_LEN);
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
			if (fd == listener)
				accept_all(poller, listener);
			else if (!serve(poller, fd, events[i].events))
				close(fd);
		}
	}
}
