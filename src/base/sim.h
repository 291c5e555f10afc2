// SPDX-License-Identifier: MIT
//
// What a simulation build (MODE=sim) puts in front of every source, by -include: each atomic operation is a point at
// which another thread could do something, so the simulation (src/rt/sim.c) may switch to another of its threads there.
// All of them run on one thread of the system, so what it explores is every sequentially consistent order, and one
// weaker one: a store that a test asks for (rt_sim_store_late) may be seen late, but before its thread's next
// read-modify-write. Others are ThreadSanitizer's to find.
#ifndef TARE_BASE_SIM_H
#define TARE_BASE_SIM_H
#ifndef __ASSEMBLER__

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

// NULL: no simulation is running. must: the caller waits for another thread, so another has to run.
extern void (*tare_sim_hook)(bool must);
// NULL: no store is late. Called before a read-modify-write.
extern void (*tare_sim_settle)(void);
// The number of the simulated thread that runs: what tare_shard gives.
extern unsigned tare_sim_thread;

// Bugs that the simulation must catch, switched on one at a time by its tests (TARE_SIM_FAULT, src/rt/sim.c).
enum {
	TARE_FAULT_LOST_WAKE = 1,
	TARE_FAULT_DOUBLE_WAKE = 2,
	TARE_FAULT_DROP_CANCEL = 4,
	TARE_FAULT_LATE_LOOK = 8,
	TARE_FAULT_MERE_LOOK = 16,
	// The collector's.
	TARE_FAULT_NO_BARRIER = 32,
	TARE_FAULT_MISSED_ROOT = 64,
	TARE_FAULT_UNSCANNED_TASK = 128,
	TARE_FAULT_SWEPT_LIVE = 256,
	TARE_FAULT_UNSCANNED_SENDER = 512,
	TARE_FAULT_EARLY_END = 1024,
	TARE_FAULT_WEAK_KEPT = 2048,
	TARE_FAULT_WEAK_REVIVED = 4096,
	TARE_FAULT_CLEANUP_TWICE = 8192,
	TARE_FAULT_UNSHADED_VALUE = 16384,
};
extern unsigned tare_sim_faults;

static inline void tare_sim_point(void)
{
	if (tare_sim_hook != NULL)
		tare_sim_hook(false);
}

static inline void tare_sim_settling_point(void)
{
	tare_sim_point();
	if (tare_sim_settle != NULL)
		tare_sim_settle();
}

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit

#define atomic_load(p)                                                                                                 \
	__extension__({                                                                                                \
		__auto_type sim_from = (p);                                                                            \
		__typeof__((void)0, *sim_from) sim_value;                                                              \
		tare_sim_point();                                                                                      \
		__atomic_load(sim_from, &sim_value, __ATOMIC_SEQ_CST);                                                 \
		sim_value;                                                                                             \
	})
#define atomic_load_explicit(p, order) ((void)(order), atomic_load(p))
#define atomic_store(p, value)                                                                                         \
	__extension__({                                                                                                \
		__auto_type sim_to = (p);                                                                              \
		__typeof__((void)0, *sim_to) sim_value = (value);                                                      \
		tare_sim_point();                                                                                      \
		__atomic_store(sim_to, &sim_value, __ATOMIC_SEQ_CST);                                                  \
	})
#define atomic_store_explicit(p, value, order) ((void)(order), atomic_store(p, value))
#define atomic_exchange(p, value) (tare_sim_settling_point(), __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST))
#define atomic_exchange_explicit(p, value, order) ((void)(order), atomic_exchange(p, value))
#define atomic_compare_exchange_strong(p, expected, value)                                                             \
	(tare_sim_settling_point(),                                                                                    \
	 __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_strong_explicit(p, expected, value, order, failure)                                    \
	atomic_compare_exchange_strong(p, expected, value)
#define atomic_compare_exchange_weak(p, expected, value) atomic_compare_exchange_strong(p, expected, value)
#define atomic_compare_exchange_weak_explicit(p, expected, value, order, failure)                                      \
	atomic_compare_exchange_strong(p, expected, value)
#define atomic_fetch_add(p, value) (tare_sim_settling_point(), __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_add_explicit(p, value, order) ((void)(order), atomic_fetch_add(p, value))
#define atomic_fetch_sub(p, value) (tare_sim_settling_point(), __atomic_fetch_sub(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_sub_explicit(p, value, order) ((void)(order), atomic_fetch_sub(p, value))

#endif
#endif
