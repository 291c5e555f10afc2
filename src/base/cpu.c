// SPDX-License-Identifier: MIT
// The machine as this process may use it: clock, CPUs, thread numbers.
//
// Threads: tare_shard numbers come from a bitmap under one lock, taken once when a thread first asks and once when it
// ends.
#include "base/cpu_int.h"

#include <tare/base.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#ifdef TARE_SIM
#define SIMULATED true // the threads that are waited for run on this one
#else
#define SIMULATED false
#endif

int64_t tare_clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * TARE_NS_PER_S + ts.tv_nsec;
}

void tare_spin_wait(struct tare_spin *spin)
{
	for (unsigned round = 0;; round++) {
		if (atomic_load_explicit(&spin->held, memory_order_relaxed) == 0 &&
		    atomic_exchange_explicit(&spin->held, 1, memory_order_acquire) == 0)
			return;
		if (round < 64 || SIMULATED)
			tare_cpu_relax();
		else
			sched_yield();
	}
}

// "max 100000" or "150000 100000" in cpu.max: quota and period in microseconds.
double base_cpu_quota_of(const char *path)
{
	char buf[64];
	long quota, period;
	if (tare_proc_read(path, buf, sizeof buf) <= 0)
		return 0;
	if (sscanf(buf, "%ld %ld", &quota, &period) != 2 || quota <= 0 || period <= 0)
		return 0;
	return (double)quota / (double)period;
}

double tare_cpu_quota(void)
{
	return base_cpu_quota_of("/sys/fs/cgroup/cpu.max");
}

int tare_cpu_count(void)
{
	cpu_set_t set;
	int count = 1;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		count = CPU_COUNT(&set);
	double quota = tare_cpu_quota();
	if (quota > 0 && quota < count)
		count = (int)quota + (quota > (int)quota);
	return count > 0 ? count : 1;
}

uint64_t tare_address_space(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return (uint64_t)limit.rlim_cur;
}

static pthread_mutex_t shard_lock = PTHREAD_MUTEX_INITIALIZER;
static bool shard_used[TARE_SHARD_MAX]; // guarded by shard_lock
static pthread_key_t shard_key;
static pthread_once_t shard_once = PTHREAD_ONCE_INIT;
_Thread_local unsigned tare_shard_plus_1 __attribute__((tls_model("initial-exec")));

static _Atomic(uintptr_t) shard_on_end; // a function, or 0

void tare_shard_on_end(void (*fn)(void))
{
	atomic_store_explicit(&shard_on_end, (uintptr_t)fn, memory_order_relaxed);
}

static void shard_give_back(void *value)
{
	uintptr_t on_end = atomic_load_explicit(&shard_on_end, memory_order_relaxed);
	if (on_end != 0)
		((void (*)(void))on_end)(); // before another thread may have the number
	pthread_mutex_lock(&shard_lock);
	shard_used[(uintptr_t)value - 1] = false;
	tare_shard_plus_1 = TARE_SHARD_MAX; // what the thread still does on its way out
	pthread_mutex_unlock(&shard_lock);
}

static void shard_key_make(void)
{
	// Without a key the number is simply not given back.
	if (pthread_key_create(&shard_key, shard_give_back) != 0)
		shard_key = (pthread_key_t)-1;
}

static unsigned shard_take(void)
{
	pthread_once(&shard_once, shard_key_make);
	pthread_mutex_lock(&shard_lock);
	unsigned i = 0;
	while (i < TARE_SHARD_MAX - 1 && shard_used[i])
		i++;
	bool shared = shard_used[i];
	shard_used[i] = true;
	pthread_mutex_unlock(&shard_lock);
	if (!shared && shard_key != (pthread_key_t)-1)
		pthread_setspecific(shard_key, (void *)(uintptr_t)(i + 1));
	tare_shard_plus_1 = i + 1;
	return i;
}

TARE_NOIPA unsigned tare_shard(void)
{
#ifdef TARE_SIM
	if (tare_sim_hook != NULL)
		return tare_sim_thread;
#endif
	unsigned n = tare_shard_plus_1;
	return TARE_LIKELY(n != 0) ? n - 1 : shard_take();
}
