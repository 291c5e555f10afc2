// SPDX-License-Identifier: MIT
//
// Churn of descriptors: socket pairs and TCP connections over loopback, closed by either side, some in the middle of
// things and some with a task that still waits for an answer.
#include "soak.h"

#include <errno.h>
#include <string.h>

enum { MESSAGE_MAX = 20000, MESSAGES_MAX = 4, CONNECTIONS = 8 };

static struct tare_stream *stream_take(void)
{
	struct tare_stream *stream = tare_pool_take(soak_streams);
	REQUIRE(stream != NULL);
	return stream;
}

static void stream_end(struct tare_stream *stream)
{
	tare_stream_close(stream);
	tare_pool_give(soak_streams, stream);
}

// Sends back what comes until the other side closes or resets.
static int echo(void *arg)
{
	struct tare_stream *stream = arg;
	char buf[4096];
	ssize_t got;
	while ((got = tare_stream_read(stream, buf, sizeof buf, TARE_NEVER)) > 0)
		if (tare_stream_write(stream, buf, (size_t)got, TARE_NEVER) < 0)
			break;
	stream_end(stream);
	return 0;
}

// One message there and back. The server may be gone only when the scope of both is cancelled.
static void converse(struct churn *churn, struct tare_stream *stream)
{
	char sent[512], got[512];
	size_t len = 1 + tare_rng_below(&churn->rng, MESSAGE_MAX), back = 0;
	memset(sent, (int)tare_rng_below(&churn->rng, 256), sizeof sent);
	// Written in pieces that the echo answers while we write: neither side's buffer can fill up for good.
	for (size_t done = 0; done < len;) {
		size_t piece = TARE_MIN(len - done, sizeof sent);
		REQUIRE_EQ(tare_stream_write(stream, sent, piece, TARE_NEVER), 0);
		done += piece;
	}
	while (back < len) {
		ssize_t n = tare_stream_read(stream, got, TARE_MIN(len - back, sizeof got), TARE_NEVER);
		REQUIRE(n > 0);
		REQUIRE(memcmp(got, sent, (size_t)n) == 0);
		back += (size_t)n;
	}
}

// What a client does with a connection before it closes it.
static void use(struct churn *churn, struct tare_stream *stream)
{
	char byte = 'x';
	for (uint64_t messages = tare_rng_below(&churn->rng, MESSAGES_MAX); messages > 0; messages--)
		converse(churn, stream);
	switch (tare_rng_below(&churn->rng, 4)) {
	case 0: // an answer is under way when it closes
		REQUIRE_EQ(tare_stream_write(stream, &byte, 1, TARE_NEVER), 0);
		break;
	case 1: // it waited for one that does not come
		REQUIRE_EQ(tare_stream_read(stream, &byte, 1, tare_now_ns() + 50 * TARE_NS_PER_US), -ETIMEDOUT);
		break;
	case 2: // it says that it is done, and is told so
		tare_fd_shutdown(&stream->fd, SHUT_WR);
		REQUIRE_EQ(tare_stream_read(stream, &byte, 1, TARE_NEVER), 0);
		break;
	default:
		break;
	}
}

void churn_pairs(struct churn *churn)
{
	int ends[2];
	struct tare_stream *ours = stream_take(), *theirs = stream_take();
	REQUIRE_EQ(tare_fd_pair(ends), 0);
	REQUIRE_EQ(tare_fd_open(&ours->fd, ends[0]), 0);
	REQUIRE_EQ(tare_fd_open(&theirs->fd, ends[1]), 0);
	struct soak_task task = {echo, theirs};
	struct tare_task *echoing = soak_spawn(NULL, &task);
	use(churn, ours);
	stream_end(ours);
	REQUIRE_EQ(tare_join(echoing), 0);
}

// ---- over TCP -----------------------------------------------------------------------------------------------------

struct accepting {
	struct soak_task task;
	struct tare_listener *listener;
	struct tare_scope *scope; // of its connections
	struct soak_task echoes[CONNECTIONS];
};

// As many as the round makes; then it waits for one more, and the cancel.
static int accept_all(void *arg)
{
	struct accepting *accepting = arg;
	for (int i = 0;; i++) {
		struct tare_addr peer;
		int fd = tare_accept(accepting->listener, &peer, TARE_NEVER);
		if (fd == -ECANCELED)
			return 0;
		REQUIRE(fd >= 0 && i < CONNECTIONS);
		struct tare_stream *stream = stream_take();
		REQUIRE_EQ(tare_fd_open(&stream->fd, fd), 0);
		accepting->echoes[i] = (struct soak_task){echo, stream};
		if (soak_go(accepting->scope, &accepting->echoes[i]) < 0) // cancelled meanwhile
			stream_end(stream);
	}
}

void churn_connections(struct churn *churn)
{
	// A listener's descriptor is one that tasks wait for: its storage stays.
	static struct tare_listener listeners[64];
	struct accepting accepting = {.listener = &listeners[churn->idx]};
	struct tare_error err = {""};
	struct tare_addr addr;
	struct tare_scope scope;
	accepting.task = (struct soak_task){accept_all, &accepting};
	accepting.scope = &scope;
	REQUIRE_EQ(tare_addr_parse(&addr, "127.0.0.1:0", &err), 0);
	REQUIRE_EQ(tare_listen(accepting.listener, &addr, 64, false, &err), 0);
	REQUIRE_EQ(tare_scope_open(&scope, TARE_NEVER, 0), 0);
	REQUIRE_EQ(soak_go(&scope, &accepting.task), 0);
	for (int i = 0; i < CONNECTIONS && !soak_over(); i++) {
		struct tare_stream *stream = stream_take();
		int rc = tare_stream_dial(stream, &addr, TARE_NEVER);
		if (rc == -EADDRNOTAVAIL) { // the ports of closed connections are kept for a while
			tare_pool_give(soak_streams, stream);
			REQUIRE_EQ(tare_sleep(TARE_NS_PER_MS), 0);
			continue;
		}
		REQUIRE_EQ(rc, 0);
		use(churn, stream);
		stream_end(stream);
	}
	tare_scope_cancel(&scope);
	REQUIRE_EQ(tare_scope_join(&scope), 0);
	tare_listener_close(accepting.listener);
}
