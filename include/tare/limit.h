// SPDX-License-Identifier: MIT
//
// limit: a bound on the process's memory, soft then hard, and giving back what a spike left.
//
// Counted is what the process has resident for itself alone (not mapped files), as the kernel says. Three states:
//
//   none   below nine tenths of the limit
//   soft   from there on: caches shrink, pools trim, memory goes back to the system, the program's own reclaimers are
//          called
//   hard   at the limit: a server refuses what it is asked (503) until there is room again; nothing is killed
//
// A state is left a little below where it was entered, so that it does not flicker. Somebody has to look: in a runtime
// tare_memory_keeper (<tare/rt.h>) does, every 10 ms near the limit.
//
// A limit below what the program needs to stand there at all keeps it in the hard state: say how much it needs instead.
#ifndef TARE_LIMIT_H
#define TARE_LIMIT_H

#include <tare/base.h>

enum tare_pressure { TARE_PRESSURE_NONE, TARE_PRESSURE_SOFT, TARE_PRESSURE_HARD };

extern atomic_int tare_pressure_now;

// The state at the last look; one load.
static inline enum tare_pressure tare_pressure(void)
{
	return (enum tare_pressure)atomic_load_explicit(&tare_pressure_now, memory_order_relaxed);
}

// A limit as people write it: "512MiB", "2GiB", a number of bytes (B, KiB, MiB, GiB, TiB, as Go's GOMEMLIMIT has them),
// "off" (0), or "auto": nine tenths of the memory limit of the process's cgroup (version 2), 0 when it has none or it
// can't be read. -EINVAL, with a text.
TARE_MUST_USE int tare_limit_parse(uint64_t *ret_bytes, const char *text, struct tare_error *err);

// 0: no limit. From any thread, at any time; it counts from the next look on.
void tare_limit_set(uint64_t bytes);

// What can give memory back. reclaim is called from the thread of tare_limit_reclaim, never twice at once, and says how
// many bytes it gave up, for the record alone; the state says how much it hurts. It must not call the functions below.
struct tare_reclaimer {
	const char *name;
	size_t (*reclaim)(void *arg, enum tare_pressure pressure);
	void *arg;
	struct tare_list link; // the list's
};
// The reclaimer is kept, not copied, until it is removed; removing waits for a call that is under way.
void tare_reclaimer_add(struct tare_reclaimer *reclaimer);
void tare_reclaimer_remove(struct tare_reclaimer *reclaimer);

// Reads what the process uses and sets the state. True: tare_limit_reclaim is due, now rather than later. *ret_next_ns:
// how long until the next look. A few microseconds; from any thread.
bool tare_limit_look(int64_t *ret_next_ns);
// Calls the reclaimers and has the allocator give free memory back. Milliseconds on a large heap: not on a worker.
void tare_limit_reclaim(void);

// What the process has resident for itself alone, in bytes: read now, or at the last look while memory is being
// reclaimed. 0: it can't be read. Some microseconds; from any thread.
uint64_t tare_limit_used(void);

// Nobody will look any more: the state is none until somebody does. The runtime calls it when it ends.
void tare_limit_rest(void);

struct tare_limit_stats {
	uint64_t limit_bytes; // 0: none
	uint64_t used_bytes;  // at the last look
	enum tare_pressure pressure;
	uint64_t soft_entered, hard_entered;
	// Given back to the system, by how much less the process used afterwards, and the time that took.
	uint64_t releases, released_bytes, release_ns;
};
void tare_limit_stats_read(struct tare_limit_stats *ret);

#endif
