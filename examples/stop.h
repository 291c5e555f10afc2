// SPDX-License-Identifier: MIT
// Shared by the tutorial's servers: waits, in a task, until the program shall end (Ctrl-C, or SIGTERM).
// docs/tutorial/02-echo.md explains it.
#ifndef EXAMPLES_STOP_H
#define EXAMPLES_STOP_H

#include <tare/signal.h>

#include <signal.h>

static const int stop_signals[] = {SIGINT, SIGTERM};

// Before tare_run: from here on the signals no longer kill the program. 0, or a negative errno.
static inline int stop_block(void)
{
	return tare_signals_block(stop_signals, TARE_ARRAY_LEN(stop_signals));
}

// Waits, in a task, for the first of them. 0, -ECANCELED or -ETIMEDOUT (the task's scope), or why it can't wait.
static inline int stop_wait(struct tare_error *err)
{
	struct tare_chan *chan;
	struct tare_signals *signals;
	struct tare_signal came;
	int rc = tare_chan_new(&chan, sizeof came, 1);
	if (rc < 0)
		return rc;
	rc = tare_signals_open(&signals, chan, stop_signals, TARE_ARRAY_LEN(stop_signals), err);
	if (rc == 0) {
		rc = tare_chan_recv(chan, &came);
		tare_signals_close(signals); // nothing is sent into the channel any more
	}
	tare_chan_free(chan);
	return rc;
}

#endif
