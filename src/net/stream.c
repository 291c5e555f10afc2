// SPDX-License-Identifier: MIT
//
// Connected sockets: try, park on EAGAIN, try again.
//
// A read that fills less than it was given has drained the socket, so the next try would only say EAGAIN: readers that
// go on to wait (the HTTP connection) use that. It does not hold once the peer has closed (tare_fd.hangup).
#include <tare/net.h>

#include <errno.h>

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

// A socket that has just been registered reports what it already was, so an event does not yet mean connected.
static int connect_finish(struct tare_stream *stream, int64_t deadline_ns)
{
	for (;;) {
		int rc = tare_fd_dial_result(&stream->fd);
		if (rc != -EINPROGRESS)
			return rc;
		rc = tare_fd_wait(&stream->fd, TARE_WRITE, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

int tare_stream_dial(struct tare_stream *stream, const struct tare_addr *addr, int64_t deadline_ns)
{
	int fd = tare_fd_dial(&addr->sa, addr->len);
	if (fd < 0)
		return fd;
	int rc = tare_fd_open(&stream->fd, fd);
	if (rc < 0) {
		tare_fd_dismiss(fd, NULL, 0);
		return rc;
	}
	rc = connect_finish(stream, deadline_ns);
	if (rc < 0)
		tare_fd_close(&stream->fd);
	return rc;
}

void tare_stream_close(struct tare_stream *stream)
{
	tare_fd_close(&stream->fd);
}
