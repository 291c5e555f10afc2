// SPDX-License-Identifier: MIT
//
// The right of the only thread to do without locked instructions; <tare/base.h> says how it works.
//
// It is given only in a process of one thread: a second one might stand between its look at tare_alone.on and its
// locked instruction, and nobody could wait for that. It is given back when the runtime ends, and taken away when
// another thread comes to a primitive.
#include <tare/base.h>

#include <dirent.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tare_alone tare_alone;
_Thread_local bool tare_alone_thread __attribute__((tls_model("initial-exec")));

#ifndef TARE_SIM
static pthread_mutex_t ending = PTHREAD_MUTEX_INITIALIZER;
#define LOCK(mutex) pthread_mutex_lock(mutex)
#define UNLOCK(mutex) pthread_mutex_unlock(mutex)
#else
#define LOCK(mutex) ((void)0)
#define UNLOCK(mutex) ((void)0)
#endif

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

#ifndef TARE_SIM
static bool one_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;
	if (tasks == NULL)
		return false;
	for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count == 1;
}
#endif

bool tare_alone_begin(void)
{
#ifdef TARE_SIM
	tare_alone_thread = true; // its threads are this one; src/rt/sim.c says whose turn it is
#else
	if (!one_thread() || membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0)
		return false;
	tare_alone_thread = true;
#endif
	atomic_store(&tare_alone.on, 1);
	return true;
}

// From the thread itself, or from another that wants to take part.
void tare_alone_end(void)
{
	if (tare_alone_thread) {
		atomic_store(&tare_alone.on, 0);
		tare_alone_thread = false;
		return;
	}
	LOCK(&ending);
	unsigned char on = 1;
	if (atomic_compare_exchange_strong(&tare_alone.on, &on, TARE_ALONE_ENDING)) {
		(void)membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED); // registered, so it cannot fail
		while (atomic_load_explicit(&tare_alone.inside, memory_order_acquire)) {
			tare_cpu_relax();
			sched_yield(); // the worker may be waiting for this very CPU
		}
		atomic_store(&tare_alone.on, 0);
	}
	while (atomic_load(&tare_alone.on) == TARE_ALONE_ENDING) // a simulation's other thread: there is no lock
		tare_cpu_relax();
	UNLOCK(&ending);
}
