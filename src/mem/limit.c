// SPDX-License-Identifier: MIT
//
// The memory limit: looking, deciding, giving back.
//
// The decisions are pure (mem_limit_next_state, mem_limit_spike_is_over, mem_limit_next_pause) so that they are tested
// without a process that swells.
//
// Invariants
//   1. What a look and a reclaim remember, the list of reclaimers and a call of one are under `lock`: who has removed a
//      reclaimer knows that it is not running. A look does not wait for it. What others read is atomic.
//
// What is counted: resident pages less those of files and of shared memory (/proc/self/statm, one read of a file that
// is kept open). The kernel's count for the process lags by some pages a CPU; a limit is no place for kilobytes.
// Threads: any.
// Rejected: counting allocations against the limit (libraries, stacks and what the allocator keeps would be outside);
// failing allocations at the limit (every library would have to bear it); a thread of its own (a program that has a
// runtime has tasks).
#include "mem/mem_int.h"

#include <tare/heap.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_NEAR_NS (10 * TARE_NS_PER_MS)
#define LOOK_FAR_NS (100 * TARE_NS_PER_MS)
#define LOOK_IDLE_NS TARE_NS_PER_S
#define RECLAIM_PAUSE_MIN_NS (100 * TARE_NS_PER_MS)
#define RECLAIM_PAUSE_MAX_NS (5 * TARE_NS_PER_S)

enum { SPIKE_BYTES_MIN = 16 << 20 };

atomic_int tare_pressure_now;

static atomic_ullong limit_bytes, used_bytes, soft_entered, hard_entered, releases, released_bytes, release_ns;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tare_list reclaimers = {&reclaimers, &reclaimers};

static struct {
	int statm_fd; // of the process statm_of; not of one that it forked
	pid_t statm_of;
	int64_t spike_at_ns;   // the next look at the heap
	int64_t reclaim_at_ns; // not before, and how long after the one before: it doubles while it is of no use
	int64_t reclaim_pause_ns;
	uint64_t live_peak; // of the heap, since memory was last given back
} look = {.statm_fd = -1};

// ---- decisions ----------------------------------------------------------------------------------------------------

enum tare_pressure mem_limit_next_state(enum tare_pressure now, uint64_t used, uint64_t limit)
{
	if (limit == 0)
		return TARE_PRESSURE_NONE;
	if (used >= limit || (now == TARE_PRESSURE_HARD && used >= limit / 100 * 97))
		return TARE_PRESSURE_HARD;
	if (used >= limit / 100 * 90 || (now != TARE_PRESSURE_NONE && used >= limit / 100 * 85))
		return TARE_PRESSURE_SOFT;
	return TARE_PRESSURE_NONE;
}

bool mem_limit_spike_is_over(uint64_t live, uint64_t peak)
{
	return peak > live && peak - live >= TARE_MAX(peak / 4, (uint64_t)SPIKE_BYTES_MIN);
}

int64_t mem_limit_next_pause(int64_t pause_ns, uint64_t released, uint64_t used)
{
	if (released >= used / 100)
		return RECLAIM_PAUSE_MIN_NS;
	return TARE_MIN(2 * pause_ns, RECLAIM_PAUSE_MAX_NS);
}

// ---- what people write --------------------------------------------------------------------------------------------

// A number in a file of one line; "max" is UINT64_MAX. False: there is no such file.
static bool file_number(const char *path, uint64_t *ret)
{
	char buf[64];
	if (tare_proc_read(path, buf, sizeof buf) <= 0)
		return false;
	*ret = strncmp(buf, "max", 3) == 0 ? UINT64_MAX : strtoull(buf, NULL, 10);
	return true;
}

// The process's place in the tree, from "0::/some/where". False: there is no version 2.
static bool cgroup_of(const char *list, char *ret, size_t cap)
{
	char buf[4096];
	if (tare_proc_read(list, buf, sizeof buf) < 0)
		return false;
	for (char *line = buf, *end; *line != '\0'; line = end + (*end != '\0')) {
		end = strchrnul(line, '\n');
		if (strncmp(line, "0::", 3) != 0 || (size_t)(end - line) - 3 >= cap)
			continue;
		memcpy(ret, line + 3, (size_t)(end - line) - 3);
		ret[end - line - 3] = '\0';
		return true;
	}
	return false;
}

uint64_t mem_limit_of_cgroup(const char *list, const char *root)
{
	char at[4096], path[sizeof at + 256];
	uint64_t least = UINT64_MAX, one;
	if (!cgroup_of(list, at, sizeof at))
		return UINT64_MAX;
	// The least of its own and those above. In a container the root is its own, and what stands above is not to be
	// seen.
	for (;;) {
		snprintf(path, sizeof path, "%s%s/memory.max", root, strcmp(at, "/") == 0 ? "" : at);
		if (file_number(path, &one))
			least = TARE_MIN(least, one);
		char *slash = strrchr(at, '/');
		if (slash == NULL || at[0] == '\0')
			return least;
		*slash = '\0';
	}
}

int tare_limit_parse(uint64_t *ret_bytes, const char *text, struct tare_error *err)
{
	static const struct {
		const char *name;
		unsigned shift;
	} units[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
	*ret_bytes = 0;
	if (strcmp(text, "off") == 0)
		return 0;
	if (strcmp(text, "auto") == 0) {
		uint64_t bytes = mem_limit_of_cgroup("/proc/self/cgroup", "/sys/fs/cgroup");
		*ret_bytes = bytes == UINT64_MAX ? 0 : bytes / 10 * 9;
		return 0;
	}
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (isdigit((unsigned char)text[0]) && errno == 0 && number > 0)
		for (size_t i = 0; i < TARE_ARRAY_LEN(units); i++)
			if (strcmp(end, units[i].name) == 0 && number <= UINT64_MAX >> units[i].shift) {
				*ret_bytes = (uint64_t)number << units[i].shift;
				return 0;
			}
	return tare_error_set(err, -EINVAL,
			      "memory limit '%.40s': write 512MiB, 2GiB (B, KiB, MiB, GiB, TiB), auto, or off", text);
}

void tare_limit_set(uint64_t bytes)
{
	atomic_store_explicit(&limit_bytes, bytes, memory_order_relaxed);
}

// ---- looking ------------------------------------------------------------------------------------------------------

// Resident, and neither a file's nor shared. 0: it can't be read.
static uint64_t used_now(void)
{
	char buf[128];
	unsigned long long resident, shared;
	if (look.statm_fd < 0 || look.statm_of != getpid()) {
		if (look.statm_fd >= 0)
			close(look.statm_fd);
		look.statm_of = getpid();
		look.statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	}
	ssize_t n = look.statm_fd < 0 ? -1 : pread(look.statm_fd, buf, sizeof buf - 1, 0);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	if (sscanf(buf, "%*u %llu %llu", &resident, &shared) != 2 || shared > resident)
		return 0;
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void set_state(enum tare_pressure next)
{
	enum tare_pressure now = tare_pressure();
	if (next == now)
		return;
	atomic_store_explicit(&tare_pressure_now, (int)next, memory_order_relaxed);
	if (next > now)
		look.reclaim_at_ns = 0; // it got worse: at once
	if (next == TARE_PRESSURE_HARD)
		atomic_fetch_add_explicit(&hard_entered, 1, memory_order_relaxed);
	else if (now == TARE_PRESSURE_NONE)
		atomic_fetch_add_explicit(&soft_entered, 1, memory_order_relaxed);
}

// Whether the heap has shrunk so much that what it left is worth giving back.
static bool spike_over(void)
{
	struct tare_heap_stats heap;
	tare_heap_stats_read(&heap);
	look.live_peak = TARE_MAX(look.live_peak, heap.bytes_live);
	if (!mem_limit_spike_is_over(heap.bytes_live, look.live_peak))
		return false;
	look.live_peak = heap.bytes_live;
	return true;
}

static bool look_locked(int64_t *ret_next_ns)
{
	uint64_t limit = atomic_load_explicit(&limit_bytes, memory_order_relaxed), used = used_now();
	int64_t now_ns = tare_clock_ns();
	atomic_store_explicit(&used_bytes, used, memory_order_relaxed);
	set_state(mem_limit_next_state(tare_pressure(), used, limit));
	*ret_next_ns = limit == 0 ? LOOK_IDLE_NS : used >= limit / 100 * 70 ? LOOK_NEAR_NS : LOOK_FAR_NS;
	if (tare_pressure() != TARE_PRESSURE_NONE)
		return now_ns >= look.reclaim_at_ns;
	if (now_ns < look.spike_at_ns)
		return false;
	look.spike_at_ns = now_ns + LOOK_IDLE_NS;
	return spike_over();
}

bool tare_limit_look(int64_t *ret_next_ns)
{
	*ret_next_ns = LOOK_NEAR_NS;
	if (pthread_mutex_trylock(&lock) != 0)
		return false; // memory is being reclaimed
	bool due = look_locked(ret_next_ns);
	pthread_mutex_unlock(&lock);
	return due;
}

uint64_t tare_limit_used(void)
{
	if (pthread_mutex_trylock(&lock) != 0)
		return atomic_load_explicit(&used_bytes, memory_order_relaxed);
	uint64_t used = used_now();
	pthread_mutex_unlock(&lock);
	return used;
}

void tare_limit_rest(void)
{
	atomic_store_explicit(&tare_pressure_now, TARE_PRESSURE_NONE, memory_order_relaxed);
}

// ---- giving back --------------------------------------------------------------------------------------------------

void tare_reclaimer_add(struct tare_reclaimer *reclaimer)
{
	pthread_mutex_lock(&lock);
	tare_list_push_back(&reclaimers, &reclaimer->link);
	pthread_mutex_unlock(&lock);
}

void tare_reclaimer_remove(struct tare_reclaimer *reclaimer)
{
	pthread_mutex_lock(&lock);
	tare_list_remove(&reclaimer->link);
	pthread_mutex_unlock(&lock);
}

void tare_limit_reclaim(void)
{
	pthread_mutex_lock(&lock);
	int64_t began_ns = tare_clock_ns();
	uint64_t before = used_now();
	for (struct tare_list *node = reclaimers.next; node != &reclaimers; node = node->next) {
		struct tare_reclaimer *one = TARE_CONTAINER_OF(node, struct tare_reclaimer, link);
		(void)one->reclaim(one->arg, tare_pressure());
	}
	malloc_trim(0);
	uint64_t after = used_now();
	int64_t ended_ns = tare_clock_ns();
	uint64_t released = before > after ? before - after : 0;
	atomic_fetch_add_explicit(&releases, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&released_bytes, released, memory_order_relaxed);
	atomic_fetch_add_explicit(&release_ns, (uint64_t)(ended_ns - began_ns), memory_order_relaxed);
	look.reclaim_pause_ns =
	    mem_limit_next_pause(TARE_MAX(look.reclaim_pause_ns, RECLAIM_PAUSE_MIN_NS / 2), released, after);
	look.reclaim_at_ns = ended_ns + look.reclaim_pause_ns;
	pthread_mutex_unlock(&lock);
}

void tare_limit_stats_read(struct tare_limit_stats *ret)
{
	*ret = (struct tare_limit_stats){
	    .limit_bytes = atomic_load_explicit(&limit_bytes, memory_order_relaxed),
	    .used_bytes = atomic_load_explicit(&used_bytes, memory_order_relaxed),
	    .pressure = tare_pressure(),
	    .soft_entered = atomic_load_explicit(&soft_entered, memory_order_relaxed),
	    .hard_entered = atomic_load_explicit(&hard_entered, memory_order_relaxed),
	    .releases = atomic_load_explicit(&releases, memory_order_relaxed),
	    .released_bytes = atomic_load_explicit(&released_bytes, memory_order_relaxed),
	    .release_ns = atomic_load_explicit(&release_ns, memory_order_relaxed),
	};
}
