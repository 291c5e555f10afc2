// SPDX-License-Identifier: MIT
// How many descriptors the program has: what its n-th call left behind when it failed would be one more.
#ifndef TARE_FAULT_FDS_H
#define TARE_FAULT_FDS_H

#include <unistd.h>

// Without opendir, which may be made to fail.
static inline int count_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += dup2(fd, fd) == fd;
	return count;
}

#endif
