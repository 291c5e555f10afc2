// SPDX-License-Identifier: MIT
// Shared by the tutorial's servers: a task that waits until the program shall end (Ctrl-C, or SIGTERM).
// docs/tutorial/02-echo.md explains it.
#ifndef EXAMPLES_STOP_H
#define EXAMPLES_STOP_H

#include <tare/fd.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

// Static: the poller may look at a tare_fd for as long as the runtime runs.
static struct tare_fd stop_fd;

// Blocks the signals and returns a descriptor that tells of them, or a negative errno. Before tare_run: the workers'
// threads inherit what is blocked.
static inline int stop_open(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (rc != 0)
		return -rc;
	int os_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return os_fd < 0 ? -errno : os_fd;
}

// Waits, in a task, for the first signal. 0, -ECANCELED or -ETIMEDOUT (the task's scope), or why it can't wait.
static inline int stop_wait(int os_fd)
{
	int rc = tare_fd_open(&stop_fd, os_fd);
	if (rc < 0)
		return rc;
	struct signalfd_siginfo info;
	ssize_t n;
	while ((n = tare_fd_recv(&stop_fd, &info, sizeof info)) == -EAGAIN && rc == 0)
		rc = tare_fd_wait(&stop_fd, TARE_READ, TARE_NEVER);
	tare_fd_close(&stop_fd); // and os_fd with it
	return rc < 0 ? rc : n < 0 ? (int)n : 0;
}

#endif
