// SPDX-License-Identifier: MIT
//
// child: other programs, started, spoken with and waited for without holding a worker. Called from tasks.
//
//   static const char *const argv[] = {"sort", "-n", NULL};
//   const struct tare_child_options options = {.argv = argv, .stdio = {TARE_CHILD_PIPE, TARE_CHILD_PIPE}};
//   int rc = tare_child_start(&child, &options, &err);
//   …
//   rc = tare_child_wait_until(child, TARE_NEVER, &status);
//   tare_child_free(child);
//
// What waits here blocks the task alone and ends early as other waits do: -ETIMEDOUT, -ECANCELED (<tare/rt.h>); but for
// tare_child_start and tare_child_free, which use a spare thread (<tare/block.h>) and are not cancelled. Only
// tare_child_start allocates.
//
// No child stays behind as a zombie: one whose handle is freed, or still there when tare_run returns, is killed and
// reaped (what it started itself is not). The program must leave these children to it: no wait for any child (waitpid
// of -1), no ignored SIGCHLD.
// Not in a simulation: -ENOSYS.
#ifndef TARE_CHILD_H
#define TARE_CHILD_H

#include <tare/base.h>

#include <sys/types.h>

enum { TARE_CHILD_IN = 0, TARE_CHILD_OUT = 1, TARE_CHILD_ERR = 2 };

// What one of the three is to the child: the caller's own, a pipe to its handle, or /dev/null.
enum { TARE_CHILD_INHERIT = 0, TARE_CHILD_PIPE = 1, TARE_CHILD_NULL = 2 };

struct tare_child_options {
	const char *const *argv; // up to a NULL; argv[0] without a slash is looked for in this process's PATH
	const char *const *env;  // "NAME=value" …, up to a NULL; NULL: this process's
	const char *dir;         // to start in; NULL: this process's
	int stdio[3];            // by TARE_CHILD_IN, _OUT, _ERR
};

struct tare_child;

// Starts the program. It has the three descriptors and those of the caller's that are not close-on-exec; no signal is
// blocked or ignored in it. The options may go when this returns.
// -ENOENT, -EACCES and the like when it can't be run, -EMFILE, -ENOMEM, -EAGAIN (too many processes); -EINVAL. err says
// which program.
TARE_MUST_USE int tare_child_start(struct tare_child **ret, const struct tare_child_options *options,
				   struct tare_error *err);
// Closes its pipes; one that still runs is killed (SIGKILL) and waited for. NULL is fine. Nobody may be using it.
void tare_child_free(struct tare_child *child);

int tare_child_pid(const struct tare_child *child);
// Waits for its end, one task at a time; afterwards it answers at once. *ret_status: the exit code, 0 to 255, or minus
// the signal that ended it. -ECHILD: somebody else took the status.
TARE_MUST_USE int tare_child_wait_until(struct tare_child *child, int64_t deadline_ns, int *ret_status);
// Sends it a signal. -ESRCH: it was waited for; -EINVAL.
TARE_MUST_USE int tare_child_kill(struct tare_child *child, int signal);

// Its output (which: TARE_CHILD_OUT or TARE_CHILD_ERR), by one task at a time for each. Bytes read, at least 1; 0 at
// the end. -EBADF: no pipe, or closed.
TARE_MUST_USE ssize_t tare_child_read(struct tare_child *child, int which, void *buf, size_t len, int64_t deadline_ns);
// To its input: all of it, or a negative errno after an unknown part. -EPIPE: it reads no more (and no SIGPIPE comes).
TARE_MUST_USE int tare_child_write(struct tare_child *child, const void *buf, size_t len, int64_t deadline_ns);
// Closes our end of a pipe: of its input, so that it reads the end. Nothing happens where there is none.
void tare_child_close(struct tare_child *child, int which);

#endif
