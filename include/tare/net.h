// SPDX-License-Identifier: MIT
//
// net: sockets as tasks see them. Every call takes an absolute deadline (TARE_NEVER for none) and blocks the task
// alone.
//
// Reads and writes are tried before the task parks. A stream has one reader and one writer at a time (asserted), which
// may be two tasks. A call that has to wait also returns -ECANCELED or -ETIMEDOUT when its task's scope is cancelled
// (<tare/rt.h>), and -ENOMEM when there is no room for its deadline's timer. Called from tasks.
#ifndef TARE_NET_H
#define TARE_NET_H

#include <tare/base.h>
#include <tare/fd.h>
#include <tare/rt.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

// ---- addresses ----------------------------------------------------------------------------------------------------

struct tare_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un un;
	};
	socklen_t len;
};

#define TARE_ADDR_TEXT_BYTES 128

// "127.0.0.1:8080", "[::1]:8080", "localhost:8080" (127.0.0.1, in any case of letters), ":8080" (every IPv4 address of
// the machine; IPv6 takes "[::]:8080"), "unix:/run/service.sock". Other names are -EINVAL with a text: <tare/dns.h>
// looks them up.
TARE_MUST_USE int tare_addr_parse(struct tare_addr *ret, const char *text, struct tare_error *err);
// The same way; at most TARE_ADDR_TEXT_BYTES with the NUL.
void tare_addr_format(const struct tare_addr *addr, char *out);
// Reached from this machine alone: 127/8, ::1, unix.
bool tare_addr_is_loopback(const struct tare_addr *addr);
// In the host's byte order. 0 for a unix address; setting it there does nothing.
uint16_t tare_addr_port(const struct tare_addr *addr);
void tare_addr_set_port(struct tare_addr *addr, uint16_t port);

// ---- streams ------------------------------------------------------------------------------------------------------

// A connected socket. Embed it in storage that is type-stable (see tare_fd).
struct tare_stream {
	struct tare_fd fd;
};

// Connects, TCP_NODELAY. -ECONNREFUSED, -ETIMEDOUT, -EMFILE … On failure there is nothing to close.
TARE_MUST_USE int tare_stream_dial(struct tare_stream *stream, const struct tare_addr *addr, int64_t deadline_ns);
// Bytes read, at least 1; 0 at end of stream; -ETIMEDOUT, -ECONNRESET …
TARE_MUST_USE ssize_t tare_stream_read(struct tare_stream *stream, void *buf, size_t len, int64_t deadline_ns);
// As read, but never parks: -EAGAIN.
TARE_MUST_USE ssize_t tare_stream_try_read(struct tare_stream *stream, void *buf, size_t len);
// All of it, or a negative errno after an unknown part: the deadline is that of the whole. Returns 0 when the kernel
// has it, not the peer.
TARE_MUST_USE int tare_stream_write(struct tare_stream *stream, const void *buf, size_t len, int64_t deadline_ns);
// Several pieces, in one system call where it can be: all of them, or a negative errno after an unknown part. At most
// TARE_IOV_MAX pieces (-EINVAL).
TARE_MUST_USE int tare_stream_writev(struct tare_stream *stream, const struct iovec *iov, size_t count,
				     int64_t deadline_ns);
// Into several buffers, one after the other: as tare_stream_read, and then whatever more is there already.
TARE_MUST_USE ssize_t tare_stream_readv(struct tare_stream *stream, const struct iovec *iov, size_t count,
					int64_t deadline_ns);
// len bytes of a file from offset on, without a copy through the process. A file that ends before that: -EIO.
// The file's own reads block the worker where its pages are not in memory.
TARE_MUST_USE int tare_stream_sendfile(struct tare_stream *stream, int file_fd, int64_t offset, size_t len,
				       int64_t deadline_ns);
// SHUT_RD, SHUT_WR, SHUT_RDWR: the peer sees the end, what it sends may still be read (SHUT_WR).
void tare_stream_shutdown(struct tare_stream *stream, int how);
// As tare_fd_close: no task may be reading or writing.
void tare_stream_close(struct tare_stream *stream);

// A stream of a descriptor from elsewhere (accepted, a pipe's end, a terminal), which must be non-blocking and becomes
// the stream's on success. -EPERM for a plain file.
TARE_MUST_USE int tare_stream_open(struct tare_stream *stream, int os_fd);
// Two connected streams of this process.
TARE_MUST_USE int tare_stream_pair(struct tare_stream *a, struct tare_stream *b);
// A pipe: what is written to one end is read from the other.
TARE_MUST_USE int tare_pipe(struct tare_stream *read_end, struct tare_stream *write_end);

enum { TARE_IOV_MAX = 64 };

// ---- datagrams ----------------------------------------------------------------------------------------------------

// A UDP (or unix datagram) socket. One reader and one writer at a time; type-stable storage (see tare_fd).
struct tare_udp {
	struct tare_fd fd;
};

// Bound to *addr, which is updated with what was bound (port 0 picks one). -EADDRINUSE, -EACCES … with a text.
TARE_MUST_USE int tare_udp_open(struct tare_udp *udp, struct tare_addr *addr, struct tare_error *err);
// One whole datagram: its bytes; longer ones are cut (-EMSGSIZE, and the rest is gone). ret_from may be NULL.
TARE_MUST_USE ssize_t tare_udp_recv(struct tare_udp *udp, void *buf, size_t len, struct tare_addr *ret_from,
				    int64_t deadline_ns);
// 0 when the kernel has taken it. -EMSGSIZE, -ENETUNREACH; -ECONNREFUSED may tell of an earlier one.
TARE_MUST_USE int tare_udp_send(struct tare_udp *udp, const void *buf, size_t len, const struct tare_addr *to,
				int64_t deadline_ns);
// As tare_fd_close: no task may be receiving or sending.
void tare_udp_close(struct tare_udp *udp);

// ---- listeners ----------------------------------------------------------------------------------------------------

// One listening socket on the caller's worker. Several workers may listen on one address with reuse_port.
struct tare_listener {
	struct tare_fd fd;
	struct tare_addr addr; // as bound; a unix path is removed when the listener is closed
};

// True when something already listens on addr: SO_REUSEPORT would let two processes of one user share a port in
// silence.
bool tare_addr_taken(const struct tare_addr *addr);
// Port 0 picks one; *addr is updated with what was bound. A unix path that nobody listens on any more is taken over.
// -EADDRINUSE, -EACCES, -EADDRNOTAVAIL … with a text.
TARE_MUST_USE int tare_listen(struct tare_listener *listener, struct tare_addr *addr, int backlog, bool reuse_port,
			      struct tare_error *err);
// The accepted non-blocking descriptor, TCP_NODELAY set, the caller's to open as a stream or to close
// (tare_fd_dismiss); -ETIMEDOUT, -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM. After the last four, pause: the connection is
// still in the queue. Errors of the connection that was about to be accepted are skipped. One task at a time. Where it
// is pinned to the listener's worker it had better be lendable, so that a task that keeps the worker busy keeps nobody
// waiting.
TARE_MUST_USE int tare_accept(struct tare_listener *listener, struct tare_addr *ret_peer, int64_t deadline_ns);
// As tare_accept, but never parks: -EAGAIN when nothing is queued.
TARE_MUST_USE int tare_accept_try(struct tare_listener *listener, struct tare_addr *ret_peer);
// Lets no handshake begin any more, so that the queue can be accepted to its end and the listener closed without losing
// a connection: once nothing has come for as long as a handshake takes.
void tare_listener_drain(struct tare_listener *listener);
// As tare_fd_close. What is still in the queue is reset.
void tare_listener_close(struct tare_listener *listener);

#endif
