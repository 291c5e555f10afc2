// SPDX-License-Identifier: MIT
//
// block: calls that stop a thread, made without stopping a worker. Files, which no poller can watch, are the usual
// case.
//
// An ordinary system call that waits holds its worker and every task on it. tare_block runs it on a spare thread and
// parks the calling task until it has returned. Spare threads are started as they are needed, up to
// tare_rt_options.spare_threads_max; one that had nothing to do for spare_idle_ns ends; when tare_run returns all have
// ended. Past the limit calls wait their turn, first come, first served.
//
// It costs two thread switches, some 3 µs (`build/release/bench/rt block`); the call that has to start a thread ten
// times that, and the thread is the one thing that is allocated. None of it is cancelled: a thread in a system call
// can't be. From a plain thread, outside the runtime too, everything here simply makes the call.
#ifndef TARE_BLOCK_H
#define TARE_BLOCK_H

#include <tare/base.h>

#include <sys/types.h>

// Runs fn(arg) on a spare thread; its result. fn is no task: it may block, lock, send and receive as plain threads may
// (<tare/sync.h>, <tare/chan.h>), but not sleep, join or wait for descriptors as tasks do.
// It never fails: where the system gives no thread at all, fn runs where the caller is, on its stack, and holds its
// worker; where there are some, it waits for one of them. A job that waits for another must not be one past the limit.
// A task that waits here when tare_run ends is dropped, but fn, once begun, is waited for.
int tare_block(int (*fn)(void *arg), void *arg);

// ---- files --------------------------------------------------------------------------------------------------------

// The system calls of the same names by way of tare_block, each tried again after EINTR; a negative errno on failure.
// They are for plain files: what may wait for ever (a pipe, a terminal) would keep a spare thread for ever.

// The descriptor, close-on-exec whatever the flags.
TARE_MUST_USE int tare_file_open(const char *path, int flags, mode_t mode);
// Bytes read, maybe fewer than asked for; 0 at the end.
TARE_MUST_USE ssize_t tare_file_read(int fd, void *buf, size_t len);
TARE_MUST_USE ssize_t tare_file_pread(int fd, void *buf, size_t len, off_t offset);
// Bytes written: all, or fewer when an error struck in between, which the next call then meets first.
TARE_MUST_USE ssize_t tare_file_write(int fd, const void *buf, size_t len);
TARE_MUST_USE ssize_t tare_file_pwrite(int fd, const void *buf, size_t len, off_t offset);
// Returns when the device has the data. After a failure what reached it is unknown, and asking again does not tell.
TARE_MUST_USE int tare_file_fsync(int fd);
// The descriptor is gone whatever is returned; an error tells of writes that were lost.
int tare_file_close(int fd);

#endif
