// SPDX-License-Identifier: MIT
//
// outside: a program that takes a signal, writes a file and talks to a child, and says afterwards whether anything
// stayed behind. Run with one call failed after the other (test/e2e/test_outside.py): any of it may fail, but the
// program ends, and there is no zombie and no descriptor too many.
//
//   outside FILE     exit code 0; 3 where something stayed behind, which a line on standard error names
//
// One worker and no watchdog, so that the order of calls is the same each time.
#include "fds.h"

#include <tare/block.h>
#include <tare/chan.h>
#include <tare/child.h>
#include <tare/rt.h>
#include <tare/signal.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const int wanted[] = {SIGTERM};
static const char *path;

static void take_signal(void)
{
	struct tare_chan *chan;
	struct tare_signals *signals;
	if (tare_chan_new(&chan, sizeof(struct tare_signal), 1) < 0)
		return;
	if (tare_signals_open(&signals, chan, wanted, 1, NULL) == 0) {
		if (kill(getpid(), SIGTERM) == 0)
			(void)!tare_chan_recv(chan, NULL); // comes, whatever fails meanwhile
		tare_signals_close(signals);
	}
	tare_chan_free(chan);
}

static void write_file(void)
{
	int fd = tare_file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return;
	char byte;
	(void)(tare_file_write(fd, "hello", 5) == 5 && tare_file_fsync(fd) == 0 && tare_file_pread(fd, &byte, 1, 1));
	(void)tare_file_close(fd);
}

static void talk(void)
{
	// An environment without the library that makes calls fail.
	static const char *const argv[] = {"cat", NULL}, *const env[] = {"PATH=/usr/bin:/bin", NULL};
	const struct tare_child_options options = {.argv = argv, .env = env, .stdio = {1, 1, 1}};
	struct tare_child *child;
	if (tare_child_start(&child, &options, NULL) < 0)
		return;
	char text[16];
	int rc = tare_child_write(child, "hello", 5, TARE_NEVER);
	tare_child_close(child, TARE_CHILD_IN);
	while (rc == 0 && tare_child_read(child, TARE_CHILD_OUT, text, sizeof text, TARE_NEVER) > 0)
		continue;
	if (rc == 0)
		rc = tare_child_wait_until(child, TARE_NEVER, NULL);
	tare_child_free(child);
}

static int outside(void *arg)
{
	take_signal();
	write_file();
	talk();
	return arg != NULL;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	path = argv[1];
	int before = count_fds(), result = 0;
	const struct tare_rt_options options = {.workers = 1, .seed = 1, .watchdog_ns = -1};
	int rc = tare_signals_block(wanted, 1);
	if (rc == 0)
		rc = tare_run(&options, outside, NULL, &result, NULL);
	bool no_child = waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
	int fds = count_fds() - before;
	if (no_child && fds == 0)
		return 0;
	fprintf(stderr, "outside: %d descriptors too many, %s\n", fds, no_child ? "no child" : "a child is left");
	return 3;
}
