// SPDX-License-Identifier: MIT
//
// Connected sockets: try, park on EAGAIN, try again.
//
// A read that fills less than it was given has drained the socket, so the next try would only say EAGAIN: readers that
// go on to wait (the HTTP connection) use that. It does not hold once the peer has closed (tare_fd.hangup).
#include <tare/net.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
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

int tare_stream_open(struct tare_stream *stream, int os_fd)
{
	return tare_fd_open(&stream->fd, os_fd);
}

static int open_both(struct tare_stream *a, struct tare_stream *b, const int os_fds[2])
{
	int rc = tare_fd_open(&a->fd, os_fds[0]);
	if (rc < 0) {
		tare_fd_dismiss(os_fds[0], NULL, 0);
		tare_fd_dismiss(os_fds[1], NULL, 0);
		return rc;
	}
	rc = tare_fd_open(&b->fd, os_fds[1]);
	if (rc < 0) {
		tare_fd_dismiss(os_fds[1], NULL, 0);
		tare_fd_close(&a->fd);
	}
	return rc;
}

int tare_stream_pair(struct tare_stream *a, struct tare_stream *b)
{
	int os_fds[2];
	int rc = tare_fd_pair(os_fds);
	return rc < 0 ? rc : open_both(a, b, os_fds);
}

int tare_pipe(struct tare_stream *read_end, struct tare_stream *write_end)
{
	int os_fds[2];
	if (pipe2(os_fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	return open_both(read_end, write_end, os_fds);
}

// ---- pieces -------------------------------------------------------------------------------------------------------

// Drops what was written from the front. Pieces left.
static size_t iov_advance(struct iovec *iov, size_t count, size_t written)
{
	size_t done = 0;
	while (done < count && written >= iov[done].iov_len)
		written -= iov[done++].iov_len;
	memmove(iov, iov + done, (count - done) * sizeof *iov);
	if (done < count) {
		iov[0].iov_base = (char *)iov[0].iov_base + written;
		iov[0].iov_len -= written;
	}
	return count - done;
}

int tare_stream_writev(struct tare_stream *stream, const struct iovec *iov, size_t count, int64_t deadline_ns)
{
	struct iovec left[TARE_IOV_MAX];
	if (count > TARE_IOV_MAX)
		return -EINVAL;
	memcpy(left, iov, count * sizeof *iov);
	count = iov_advance(left, count, 0); // empty pieces in front
	while (count > 0) {
		ssize_t n = tare_fd_sendv(&stream->fd, left, count);
		if (n >= 0) {
			count = iov_advance(left, count, (size_t)n);
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

ssize_t tare_stream_readv(struct tare_stream *stream, const struct iovec *iov, size_t count, int64_t deadline_ns)
{
	size_t total = 0;
	for (size_t i = 0; i < count; i++) {
		if (iov[i].iov_len == 0)
			continue;
		ssize_t n = total == 0 ? tare_stream_read(stream, iov[i].iov_base, iov[i].iov_len, deadline_ns)
				       : tare_fd_recv(&stream->fd, iov[i].iov_base, iov[i].iov_len);
		if (n <= 0)
			return total > 0 ? (ssize_t)total
					 : n; // an error after some bytes is met again by the next read
		total += (size_t)n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return (ssize_t)total;
}

// A function of its own, so that errno's address is not kept while the task waits.
TARE_NOIPA static ssize_t try_sendfile(struct tare_stream *stream, int file_fd, off_t *at, size_t len)
{
	ssize_t n = sendfile(stream->fd.fd, file_fd, at, len);
	return n < 0 ? -errno : n;
}

int tare_stream_sendfile(struct tare_stream *stream, int file_fd, int64_t offset, size_t len, int64_t deadline_ns)
{
	off_t at = offset;
	while (len > 0) {
		ssize_t n = try_sendfile(stream, file_fd, &at, len);
		int rc = n < 0 ? (int)n : 0;
		if (n == 0)
			return -EIO;
		if (n > 0)
			len -= (size_t)n;
		else if (rc == -EAGAIN)
			rc = tare_fd_wait(&stream->fd, TARE_WRITE, deadline_ns);
		if (rc < 0 && rc != -EINTR)
			return rc;
	}
	return 0;
}

void tare_stream_shutdown(struct tare_stream *stream, int how)
{
	tare_fd_shutdown(&stream->fd, how);
}
