// SPDX-License-Identifier: MIT
// What must happen in a process of its own, because it ends the process, or because the test program's threads would be
// in the way.
#ifndef TARE_TEST_CHILD_H
#define TARE_TEST_CHILD_H

#include "test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs fn(arg) in a child process that exits with its result. What it wrote to its descriptor os_fd, as a string; its
// wait status.
static inline int run_child(int (*fn)(void *arg), void *arg, int os_fd, char *text, size_t cap)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(ends[1], os_fd);
		signal(SIGSEGV, SIG_DFL); // cmocka's own handlers would tell the parent's story
		signal(SIGABRT, SIG_DFL);
		_exit(fn(arg));
	}
	close(ends[1]);
	size_t len = 0;
	ssize_t n;
	while (len < cap - 1 && (n = read(ends[0], text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(ends[0]);
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

#endif
