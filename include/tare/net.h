// SPDX-License-Identifier: MIT
//
// net: sockets as tasks see them. Every call takes an absolute deadline (TARE_NEVER for none) and blocks the task
// alone.
//
// Reads and writes are tried before the task parks. A stream has one reader and one writer at a time.
#ifndef TARE_NET_H
#define TARE_NET_H

#include <tare/base.h>
#include <tare/fd.h>
#include <tare/rt.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

// ---- addresses ----------------------------------------------------------------------------------------------------

struct tare_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t len;
};

#define TARE_ADDR_TEXT_BYTES 64

// "127.0.0.1:8080", "[::1]:8080", "localhost:8080" (127.0.0.1, in any case of letters), ":8080" (every IPv4 address of
// the machine; IPv6 takes "[::]:8080"). Other names are not resolved: -EINVAL with a text.
TARE_MUST_USE int tare_addr_parse(struct tare_addr *ret, const char *text, struct tare_error *err);
// "127.0.0.1:8080"; at most TARE_ADDR_TEXT_BYTES with the NUL.
void tare_addr_format(const struct tare_addr *addr, char *out);
bool tare_addr_is_loopback(const struct tare_addr *addr);
uint16_t tare_addr_port(const struct tare_addr *addr);
void tare_addr_set_port(struct tare_addr *addr, uint16_t port);

// ---- streams ------------------------------------------------------------------------------------------------------

// A connected socket. Embed it in storage that is type-stable (see tare_fd).
struct tare_stream {
	struct tare_fd fd;
};

// Connects, TCP_NODELAY. -ECONNREFUSED, -ETIMEDOUT, -EMFILE …
TARE_MUST_USE int tare_stream_dial(struct tare_stream *stream, const struct tare_addr *addr, int64_t deadline_ns);
// Bytes read, at least 1; 0 at end of stream; -ETIMEDOUT, -ECONNRESET …
TARE_MUST_USE ssize_t tare_stream_read(struct tare_stream *stream, void *buf, size_t len, int64_t deadline_ns);
// As read, but never parks: -EAGAIN.
TARE_MUST_USE ssize_t tare_stream_try_read(struct tare_stream *stream, void *buf, size_t len);
// All of it, or a negative errno after an unknown part.
TARE_MUST_USE int tare_stream_write(struct tare_stream *stream, const void *buf, size_t len, int64_t deadline_ns);
void tare_stream_close(struct tare_stream *stream);

// ---- listeners ----------------------------------------------------------------------------------------------------

// One listening socket on the caller's worker. Several workers may listen on one address with reuse_port.
struct tare_listener {
	struct tare_fd fd;
};

// True when something already listens on addr: SO_REUSEPORT would let two processes of one user share a port in
// silence.
bool tare_addr_taken(const struct tare_addr *addr);
// Port 0 picks one; *addr is updated with what was bound. -EADDRINUSE, -EACCES, -EADDRNOTAVAIL … with a text.
TARE_MUST_USE int tare_listen(struct tare_listener *listener, struct tare_addr *addr, int backlog, bool reuse_port,
			      struct tare_error *err);
// The accepted non-blocking descriptor, TCP_NODELAY set; -ETIMEDOUT, -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM.
// Errors of the connection that was about to be accepted are skipped.
TARE_MUST_USE int tare_accept(struct tare_listener *listener, struct tare_addr *ret_peer, int64_t deadline_ns);
// As tare_accept, but never parks: -EAGAIN when nothing is queued.
TARE_MUST_USE int tare_accept_try(struct tare_listener *listener, struct tare_addr *ret_peer);
// Lets no handshake begin any more, so that the queue can be accepted to its end and the listener closed without losing
// a connection: once nothing has come for as long as a handshake takes.
void tare_listener_drain(struct tare_listener *listener);
void tare_listener_close(struct tare_listener *listener);

#endif
