// SPDX-License-Identifier: MIT
//
// profile: where a program's CPU time, its tasks' waits and its memory go. For `go tool pprof`, Speedscope and the
// like.
//
//   struct tare_pprof *profile;
//   int rc = tare_profile_start(TARE_PROFILE_CPU, NULL, &err);
//   ...
//   rc = tare_profile_stop(TARE_PROFILE_CPU, &profile);
//   rc = tare_profile_save(profile, fd);
//   tare_pprof_free(profile);
//
// What is off costs nothing. From tasks, and from plain threads while the runtime surely runs. Starting takes
// microseconds; all that gives a profile reads the program's symbols and lines, which blocks the thread for
// milliseconds: from a task call it by way of tare_block (<tare/block.h>). Names are those of the symbol tables; files,
// lines and inlined functions are known where libdw (elfutils) is installed and the code has its debugging information.
#ifndef TARE_PROFILE_H
#define TARE_PROFILE_H

#include <tare/base.h>
#include <tare/pprof.h>

enum tare_profile_kind {
	TARE_PROFILE_CPU,    // the workers' and spare threads' CPU time, by stack and task
	TARE_PROFILE_BLOCK,  // tasks that wait for each other: how often and how long, by stack and reason
	TARE_PROFILE_MUTEX,  // the same for mutexes and read-write locks alone
	TARE_PROFILE_TASKS,  // all tasks as they are now, by stack
	TARE_PROFILE_HEAP,   // memory of <tare/heap.h>: live and ever allocated, by stack and tag, from samples
	TARE_PROFILE_ALLOCS, // the same, shown by what was ever allocated
};

// Zero is the default of each.
struct tare_profile_options {
	int hz; // CPU: samples a second of each thread's time, 1 to 1,000; 0: 100
	// Block, mutex: waits that long are all counted, shorter ones in proportion; 1 counts all; at most 1 s; 0: 10
	// µs.
	int64_t rate_ns;
	bool all_waits; // block: sleeps and waits for descriptors too
};

// One of a kind at a time: -EBUSY. -EINVAL: an option is out of range, or the kind is not started but taken. -ENOMEM;
// -EAGAIN: no timer is to be had. err, which may be NULL, says which. A profile that still runs when the runtime ends
// is dropped. For CPU the signal SIGPROF is used, and the program's own handler still gets the program's own.
TARE_MUST_USE int tare_profile_start(enum tare_profile_kind kind, const struct tare_profile_options *options,
				     struct tare_error *err);
// Ends it and gives what was seen; with ret NULL it is dropped, and nothing can fail. -EINVAL: it was not started;
// -ENOMEM: it has ended all the same. Free the profile with tare_pprof_free.
int tare_profile_stop(enum tare_profile_kind kind, struct tare_pprof **ret);
// A profile of the moment: TASKS, HEAP, ALLOCS. -ENOMEM; -EINVAL: another kind.
TARE_MUST_USE int tare_profile_take(enum tare_profile_kind kind, struct tare_pprof **ret);
// Writes it, gzipped, into a descriptor. 0, -ENOMEM, or what a write failed with. Blocks the thread.
TARE_MUST_USE int tare_profile_save(struct tare_pprof *profile, int fd);
// `0x55d0c0de func` for each address that lies in a function, a line each. -ENOMEM, or text->rc.
TARE_MUST_USE int tare_symbols_write(struct tare_text *text, const uintptr_t *addresses, size_t count);

#endif
