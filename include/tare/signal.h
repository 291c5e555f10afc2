// SPDX-License-Identifier: MIT
//
// signal: the process's signals as messages in a channel, so that they are received, selected and waited for like any
// other.
//
//   static const int wanted[] = {SIGTERM, SIGHUP};
//   int rc = tare_signals_block(wanted, 2);       // before tare_run
//   …
//   rc = tare_chan_new(&chan, sizeof(struct tare_signal), 16);  // in a task
//   if (rc == 0)
//           rc = tare_signals_open(&signals, chan, wanted, 2, &err);
//   while (rc == 0 && (rc = tare_chan_recv(chan, &got)) == 0)
//           …
#ifndef TARE_SIGNAL_H
#define TARE_SIGNAL_H

#include <tare/base.h>
#include <tare/chan.h>

struct tare_signal {
	int number;
	int code;   // si_code: how it was sent
	int sender; // process; 0: the kernel
};

struct tare_signals;

// Blocks the signals in the calling thread, and by inheritance in all that it starts: their ordinary action no longer
// happens, in any thread. To be called before tare_run, in the thread that calls that and before it has started others.
// -EINVAL: a signal that does not exist, can't be blocked, or tells of a fault of the program's own (SIGSEGV …).
TARE_MUST_USE int tare_signals_block(const int *signals, size_t count);

// From here on each of the signals that comes is sent into the channel, whose values are struct tare_signal. From a
// task. Sending never waits: what finds the channel full is dropped and counted, so give it room, and a channel of its
// own to a signal that must not be lost to another's flood. (The kernel itself keeps one of each ordinary signal that
// is not yet taken.) What came before this call, but after tare_signals_block, comes at once. Of several that take the
// same signal one gets it. -EINVAL: one of them is not blocked or not valid; -ENOMEM, -EMFILE. Allocates.
TARE_MUST_USE int tare_signals_open(struct tare_signals **ret, struct tare_chan *chan, const int *signals, size_t count,
				    struct tare_error *err);
// Ends that; nothing is sent once it returns. The channel stays the caller's, to be closed and freed. The signals stay
// blocked. NULL is fine. From a task, before tare_run ends; blocks the task for a moment and is not cancelled.
void tare_signals_close(struct tare_signals *signals);
// How many found the channel full, or closed.
uint64_t tare_signals_dropped(const struct tare_signals *signals);

#endif
