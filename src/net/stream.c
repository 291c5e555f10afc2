// SPDX-License-Identifier: MIT
//
// Connected sockets: try, park on EAGAIN, try again.
//
// A read that fills less than it was given has drained the socket, so the next try would only say EAGAIN: readers that
// go on to wait (the HTTP connection) use that. It does not hold once the peer has closed (tare_fd.hangup).
#include <tare/net.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

ssize_t tare_stream_try_read(struct tare_stream *stream, void *buf, size_t len)
{
	return tare_fd_recv(&stream->fd, buf, len);
}

ssize_t tare_stream_read(struct tare_stream *stream, void *buf, size_t len, int64_t deadline_ns)
{
	for (;;) {
		ssize_t n = tare_fd_recv(&stream->fd, buf, len);
		if (n != -EAGAIN)
			return n;
		int rc = tare_fd_wait(&stream->fd, TARE_READ, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

int tare_stream_write(struct tare_stream *stream, const void *buf, size_t len, int64_t deadline_ns)
{
	const char *from = buf;
	while (len > 0) {
		ssize_t n = tare_fd_send(&stream->fd, from, len);
		if (n >= 0) {
			from += n;
			len -= (size_t)n;
			continue;
		}
		if (n != -EAGAIN)
			return (int)n;
		int rc = tare_fd_wait(&stream->fd, TARE_WRITE, deadline_ns);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int connect_finish(struct tare_stream *stream, int64_t deadline_ns)
{
	int rc = tare_fd_wait(&stream->fd, TARE_WRITE, deadline_ns);
	if (rc < 0)
		return rc;
	int error = 0;
	socklen_t len = sizeof error;
	if (getsockopt(stream->fd.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

int tare_stream_dial(struct tare_stream *stream, const struct tare_addr *addr, int64_t deadline_ns)
{
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	// Connecting comes before registering: a socket that is not connected yet would report a hang-up at once.
	int rc = connect(fd, &addr->sa, addr->len) < 0 ? -errno : 0;
	if (rc < 0 && rc != -EINPROGRESS) {
		close(fd);
		return rc;
	}
	int one = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // not every stream is TCP
	bool connected = rc == 0;
	rc = tare_fd_open(&stream->fd, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	rc = connected ? 0 : connect_finish(stream, deadline_ns);
	if (rc < 0)
		tare_fd_close(&stream->fd);
	return rc;
}

void tare_stream_close(struct tare_stream *stream)
{
	tare_fd_close(&stream->fd);
}
