// SPDX-License-Identifier: MIT
//
// Small files of the kernel's, read at once. Threads: any; nothing is kept.
#include <tare/base.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t tare_proc_read(const char *path, char *buf, size_t cap)
{
	TARE_ASSERT(cap > 0);
	buf[0] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, cap - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = '\0';
	close(fd);
	return n;
}
