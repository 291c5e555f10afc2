// SPDX-License-Identifier: MIT
//
// Files by way of tare_block. A call's arguments and its result are in one struct on the caller's stack.
//
// Threads: any; the system calls are made on spare threads, whose errno is not the task's.
#include <tare/block.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct call {
	int fd;
	const char *path;
	int flags;
	mode_t mode;
	void *to;
	const void *from;
	size_t len;
	off_t offset;
	bool at_offset;
	ssize_t result;
};

static int do_open(void *arg)
{
	const struct call *call = arg;
	int fd;
	do
		fd = open(call->path, call->flags | O_CLOEXEC, call->mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int do_read(void *arg)
{
	struct call *call = arg;
	ssize_t n;
	do
		n = call->at_offset ? pread(call->fd, call->to, call->len, call->offset)
				    : read(call->fd, call->to, call->len);
	while (n < 0 && errno == EINTR);
	call->result = n < 0 ? -errno : n;
	return 0;
}

static int do_write(void *arg)
{
	struct call *call = arg;
	const char *from = call->from;
	size_t done = 0;
	int rc = 0;
	do {
		ssize_t n = call->at_offset
				? pwrite(call->fd, from + done, call->len - done, call->offset + (off_t)done)
				: write(call->fd, from + done, call->len - done);
		if (n >= 0)
			done += (size_t)n;
		else
			rc = errno != EINTR ? -errno : 0;
		if (n == 0)
			break;
	} while (done < call->len && rc == 0);
	call->result = rc < 0 && done == 0 ? rc : (ssize_t)done;
	return 0;
}

static int do_fsync(void *arg)
{
	const struct call *call = arg;
	int rc;
	do
		rc = fsync(call->fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int do_close(void *arg)
{
	const struct call *call = arg;
	// On Linux the descriptor is gone even when a signal came: closing again might close another's.
	return close(call->fd) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t sized(int (*fn)(void *arg), struct call *call)
{
	(void)tare_block(fn, call);
	return call->result;
}

int tare_file_open(const char *path, int flags, mode_t mode)
{
	return tare_block(do_open, &(struct call){.path = path, .flags = flags, .mode = mode});
}

ssize_t tare_file_read(int fd, void *buf, size_t len)
{
	return sized(do_read, &(struct call){.fd = fd, .to = buf, .len = len});
}

ssize_t tare_file_pread(int fd, void *buf, size_t len, off_t offset)
{
	return sized(do_read, &(struct call){.fd = fd, .to = buf, .len = len, .offset = offset, .at_offset = true});
}

ssize_t tare_file_write(int fd, const void *buf, size_t len)
{
	return sized(do_write, &(struct call){.fd = fd, .from = buf, .len = len});
}

ssize_t tare_file_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	return sized(do_write, &(struct call){.fd = fd, .from = buf, .len = len, .offset = offset, .at_offset = true});
}

int tare_file_fsync(int fd)
{
	return tare_block(do_fsync, &(struct call){.fd = fd});
}

int tare_file_close(int fd)
{
	return tare_block(do_close, &(struct call){.fd = fd});
}
