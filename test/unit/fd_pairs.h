// SPDX-License-Identifier: MIT
// Descriptors in connected pairs, for tests of what waits for them: fds[i] and ends[i] are the two ends of one. For use
// in tasks, beside in_task.h.
#ifndef TARE_TEST_FD_PAIRS_H
#define TARE_TEST_FD_PAIRS_H

#include "in_task.h"

#include <tare/fd.h>

enum { PAIRS = 48 };

// Static: a descriptor's storage must outlive the runtime.
static struct tare_fd fds[PAIRS], ends[PAIRS];

static inline void pair_open(int i)
{
	int sv[2];
	CHECK(tare_fd_pair(sv) == 0);
	CHECK(tare_fd_open(&fds[i], sv[0]) == 0 && tare_fd_open(&ends[i], sv[1]) == 0);
}

static inline void pair_close(int i)
{
	tare_fd_close(&fds[i]);
	tare_fd_close(&ends[i]);
}

// Waits until there is something; what a recv says.
static inline ssize_t recv_some(struct tare_fd *fd, void *buf, size_t len)
{
	ssize_t n;
	while ((n = tare_fd_recv(fd, buf, len)) == -EAGAIN)
		CHECK(tare_fd_wait(fd, TARE_READ, TARE_NEVER) == 0);
	return n;
}

// Runs fn(i) for each of the first count pairs, as tasks of their own, to the end.
static inline void run_a_task_a_pair(tare_task_fn *fn, int count)
{
	struct tare_task *tasks[PAIRS];
	for (int i = 0; i < count; i++)
		CHECK(tare_spawn(&tasks[i], NULL, fn, (void *)(intptr_t)i) == 0);
	for (int i = 0; i < count; i++)
		(void)tare_join(tasks[i]);
}

#endif
