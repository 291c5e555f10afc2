// SPDX-License-Identifier: MIT
//
// Signals as messages: a signalfd, and a task that reads it and tries to send what it read.
//
// The task waits for the descriptor alone, never for the channel: a receiver that is slow can't keep it from its end.
// Threads: the task on any worker; close from any task. `closing` is set before the kick that ends the task's wait.
// Rejected: signal handlers (hardly anything may be called in one, and threads that block the signal never run it);
// waiting while the channel is full (a closer would have to wait for the receiver).
#include <tare/signal.h>

#include "rt/rt_int.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

static struct tare_tag heap_tag = TARE_TAG("signals");

#define RETRY_NS (10 * TARE_NS_PER_MS)

struct tare_signals {
	struct tare_fd *fd; // the signalfd
	struct tare_chan *chan;
	struct tare_task *task;
	atomic_bool closing; // by tare_signals_close
	atomic_ullong dropped;
};

// Blocked, these would end the process without a word.
static bool is_fault(int number)
{
	return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL || number == SIGTRAP;
}

static int set_of(sigset_t *ret, const int *signals, size_t count)
{
	sigemptyset(ret);
	for (size_t i = 0; i < count; i++) {
		if (signals[i] == SIGKILL || signals[i] == SIGSTOP || is_fault(signals[i]) ||
		    sigaddset(ret, signals[i]) < 0)
			return -EINVAL;
	}
	return 0;
}

int tare_signals_block(const int *signals, size_t count)
{
	TARE_ASSERT(rt_self() == NULL); // the other workers run already
	sigset_t set;
	int rc = set_of(&set, signals, count);
	return rc < 0 ? rc : -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void deliver(struct tare_signals *s, const struct signalfd_siginfo *info)
{
	const struct tare_signal signal = {
	    .number = (int)info->ssi_signo, .code = info->ssi_code, .sender = (int)info->ssi_pid};
	if (tare_chan_try_send(s->chan, &signal) < 0)
		atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
}

static int signals_main(void *arg)
{
	struct tare_signals *s = arg;
	while (!atomic_load_explicit(&s->closing, memory_order_acquire)) {
		struct signalfd_siginfo info;
		ssize_t n = tare_fd_recv(s->fd, &info, sizeof info);
		if (n == (ssize_t)sizeof info)
			deliver(s, &info);
		else if (n == -EAGAIN)
			(void)tare_fd_wait(s->fd, TARE_READ, TARE_NEVER);
		else
			(void)tare_sleep(RETRY_NS); // a signal must not be lost to a passing error
	}
	return 0;
}

// Takes the descriptor, also when it fails.
static int start(struct tare_signals *s, int os_fd)
{
	int rc = rt_fd_new(&s->fd, os_fd);
	if (rc < 0)
		return rc;
	rc = tare_spawn(&s->task, &(struct tare_task_options){.name = "signals"}, signals_main, s);
	if (rc < 0)
		rt_fd_free(s->fd);
	return rc;
}

int tare_signals_open(struct tare_signals **ret, struct tare_chan *chan, const int *signals, size_t count,
		      struct tare_error *err)
{
	TARE_ASSERT(tare_self() != NULL);
	sigset_t set, blocked;
	if (set_of(&set, signals, count) < 0)
		return tare_error_set(err, -EINVAL, "a signal that does not exist or can't be blocked");
	int rc = -pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (sigismember(&blocked, signals[i]) == 0)
			return tare_error_set(err, -EINVAL,
					      "signal %d is not blocked: call tare_signals_block before tare_run",
					      signals[i]);
	struct tare_signals *s = rc == 0 ? tare_alloc_zeroed(&heap_tag, 1, sizeof *s) : NULL;
	if (s == NULL)
		return tare_error_set(err, rc < 0 ? rc : -ENOMEM, "can't watch for signals: %s",
				      strerror(rc < 0 ? -rc : ENOMEM));
	s->chan = chan;
	int os_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	rc = os_fd < 0 ? -errno : start(s, os_fd);
	if (rc < 0) {
		tare_free(s);
		return tare_error_set(err, rc, "can't watch for signals: %s", strerror(-rc));
	}
	*ret = s;
	return 0;
}

void tare_signals_close(struct tare_signals *s)
{
	if (s == NULL)
		return;
	atomic_store_explicit(&s->closing, true, memory_order_release);
	tare_fd_kick(s->fd, TARE_READ);
	(void)tare_join(s->task);
	rt_fd_free(s->fd);
	tare_free(s);
}

uint64_t tare_signals_dropped(const struct tare_signals *s)
{
	return atomic_load_explicit(&s->dropped, memory_order_relaxed);
}
