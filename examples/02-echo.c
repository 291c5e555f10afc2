// SPDX-License-Identifier: MIT
// Tutorial, step 2: a TCP server that sends back what it is sent. docs/tutorial/02-echo.md explains it piece by piece.
#include "stop.h"

#include <tare/mem.h>
#include <tare/net.h>
#include <tare/rt.h>
#include <tare/sync.h>

#include <errno.h>
#include <stdio.h>

enum { CONNECTIONS_MAX = 1000, BACKLOG = 128, ACCEPT_PAUSE_MS = 20, IDLE_S = 60, WRITE_S = 10 };

struct conn {
	struct tare_stream stream;
	int os_fd; // as accepted, until the stream has it
	char buf[4096];
};

struct server {
	const char *address;
	struct tare_pool *conns; // type-stable storage, as streams need it; freed when the runtime has returned
	struct tare_sem places;  // connections that may still come
	struct tare_scope scope; // every task of the server is in it
	struct tare_error err;
};

static struct server server = {.places = {.units = CONNECTIONS_MAX}};
static struct tare_listener listener; // static, for the same reason as the pool

// Until the peer ends, is silent for too long, does not read what we send, or the server stops.
static void echo_all(struct conn *conn)
{
	while (tare_cancelled() == 0) {
		int64_t now_ns = tare_now_ns();
		tare_breathe(now_ns); // a peer that never pauses shall not keep the worker to itself
		ssize_t n =
		    tare_stream_read(&conn->stream, conn->buf, sizeof conn->buf, now_ns + IDLE_S * TARE_NS_PER_S);
		if (n <= 0)
			return;
		int64_t deadline_ns = tare_now_ns() + WRITE_S * TARE_NS_PER_S;
		if (tare_stream_write(&conn->stream, conn->buf, (size_t)n, deadline_ns) < 0)
			return;
	}
}

// The task of one connection. What goes wrong with it is its peer's affair, not the server's: so always 0.
static int connection(void *arg)
{
	struct conn *conn = arg;
	if (tare_stream_open(&conn->stream, conn->os_fd) == 0) {
		echo_all(conn);
		tare_stream_close(&conn->stream);
	} else {
		tare_fd_dismiss(conn->os_fd, NULL, 0);
	}
	tare_pool_give(server.conns, conn);
	tare_sem_give(&server.places, 1);
	return 0;
}

// Gives an accepted descriptor a task. On failure it is still the caller's.
static int connection_start(int os_fd)
{
	struct conn *conn = tare_pool_take(server.conns);
	if (conn == NULL)
		return -ENOMEM;
	conn->os_fd = os_fd;
	int rc = tare_scope_go(&server.scope, connection, conn);
	if (rc < 0)
		tare_pool_give(server.conns, conn);
	return rc;
}

// Accepts one connection when there is a place for it. Fails when the server stops, and when descriptors or memory are
// short.
static int accept_one(void)
{
	int rc = tare_sem_take_until(&server.places, 1, TARE_NEVER);
	if (rc < 0)
		return rc;
	struct tare_addr peer;
	int os_fd = tare_accept(&listener, &peer, TARE_NEVER);
	rc = os_fd < 0 ? os_fd : connection_start(os_fd);
	if (rc == 0)
		return 0;
	if (os_fd >= 0)
		tare_fd_dismiss(os_fd, NULL, 0);
	tare_sem_give(&server.places, 1);
	return rc;
}

static int accept_all(void *arg)
{
	(void)arg;
	while (tare_cancelled() == 0) {
		if (accept_one() < 0)
			(void)tare_sleep(ACCEPT_PAUSE_MS *
					 TARE_NS_PER_MS); // a shortage passes; a cancel ends the sleep
		tare_breathe(tare_now_ns());
	}
	return 0;
}

// Serves until a signal comes.
static int serve(void)
{
	int rc = tare_scope_open(&server.scope, TARE_NEVER, 0);
	if (rc < 0)
		return rc;
	rc = tare_scope_go(&server.scope, accept_all, NULL);
	if (rc == 0)
		rc = stop_wait(&server.err);
	int result = tare_scope_close(&server.scope); // cancels every wait in it, and waits until every task has ended
	return rc < 0 ? rc : result;
}

static int first(void *arg)
{
	(void)arg;
	struct tare_addr addr;
	char text[TARE_ADDR_TEXT_BYTES];
	int rc = tare_addr_parse(&addr, server.address, &server.err);
	if (rc == 0)
		rc = tare_listen(&listener, &addr, BACKLOG, false, &server.err);
	if (rc < 0)
		return rc;
	tare_addr_format(&addr, text);
	printf("listening on %s\n", text);
	(void)fflush(stdout);
	rc = serve();
	tare_listener_close(&listener);
	return rc;
}

int main(int argc, char **argv)
{
	const struct tare_pool_options conns = {
	    .name = "connections", .object_bytes = sizeof(struct conn), .stable = true};
	int result = 0;
	server.address = argc > 1 ? argv[1] : "127.0.0.1:7000";
	int rc = stop_block();
	if (rc == 0)
		rc = tare_pool_new(&server.conns, &conns);
	if (rc == 0)
		rc = tare_run(NULL, first, NULL, &result, &server.err);
	tare_pool_free(server.conns);
	rc = rc < 0 ? rc : result;
	if (rc < 0) {
		fprintf(stderr, "echo: %s\n", server.err.text[0] != '\0' ? server.err.text : strerror(-rc));
		return 1;
	}
	puts("stopped");
	return 0;
}
