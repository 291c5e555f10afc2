// SPDX-License-Identifier: MIT
// A program whose profiles are known beforehand: profiled KIND FILE [FILE]. Beside the profile it prints what the
// profile ought to say, so that a machine that is busy otherwise changes neither.
//
//   cpu     two functions burn a thread's CPU time in turns of 140 and 60 ms: 70:30 by its own clock
//   heap    two functions allocate 30,000 blocks of 4 KiB and 60,000 of 900 bytes, and free every other one of the
//           first
//   block   tasks wait for a lock that is held for 2 ms at a time, and for a message that comes every millisecond
#include <tare/chan.h>
#include <tare/heap.h>
#include <tare/profile.h>
#include <tare/rt.h>
#include <tare/sync.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 10, WAITERS = 4, LOCKS = 50, MESSAGES = 100 };

static volatile uint64_t sink;

static int64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * TARE_NS_PER_S + now.tv_nsec;
}

#define BURN(name)                                                                                                     \
	TARE_NOIPA static int64_t name(int64_t ns)                                                                     \
	{                                                                                                              \
		int64_t began_ns = cpu_ns(), now_ns = began_ns;                                                        \
		for (; now_ns - began_ns < ns; now_ns = cpu_ns())                                                      \
			for (int i = 0; i < 100000; i++)                                                               \
				sink = sink * 31 + 7;                                                                  \
		return now_ns - began_ns;                                                                              \
	}
BURN(burn_seventy)
BURN(burn_thirty)

static int save(struct tare_pprof *profile, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int rc = fd < 0 ? -1 : tare_profile_save(profile, fd);
	if (fd >= 0)
		close(fd);
	tare_pprof_free(profile);
	return rc;
}

static int run_cpu(const char *path)
{
	struct tare_error err = {""};
	struct tare_pprof *profile;
	if (tare_profile_start(TARE_PROFILE_CPU, NULL, &err) < 0 ||
	    tare_profile_start(TARE_PROFILE_CPU, NULL, NULL) != -EBUSY) {
		fprintf(stderr, "start: %s\n", err.text);
		return 1;
	}
	int64_t seventy_ns = 0, thirty_ns = 0, began_ns = tare_now_ns();
	for (int i = 0; i < ROUNDS; i++) {
		seventy_ns += burn_seventy(140 * TARE_NS_PER_MS);
		thirty_ns += burn_thirty(60 * TARE_NS_PER_MS);
		tare_yield();
	}
	printf("{\"burn_seventy\":%" PRId64 ",\"burn_thirty\":%" PRId64 ",\"wall\":%" PRId64 "}\n", seventy_ns,
	       thirty_ns, tare_now_ns() - began_ns);
	return tare_profile_stop(TARE_PROFILE_CPU, &profile) < 0 || save(profile, path) < 0;
}

enum { LARGE = 30000, LARGE_BYTES = 4096, SMALL = 60000, SMALL_BYTES = 900 };
static struct tare_tag large_tag = TARE_TAG("large"), small_tag = TARE_TAG("small");
static void *large[LARGE], *small[SMALL];

TARE_NOIPA static void *make_large(void)
{
	void *block = tare_alloc(&large_tag, LARGE_BYTES);
	*(volatile char *)block = 1; // no tail call: it shall be on the stack
	return block;
}

TARE_NOIPA static void *make_small(void)
{
	void *block = tare_alloc(&small_tag, SMALL_BYTES);
	*(volatile char *)block = 1;
	return block;
}

static int run_heap(const char *path, const char *allocs_path)
{
	struct tare_pprof *heap, *allocs;
	tare_heap_rate_set(16384); // many samples, so that chance says little
	for (int i = 0; i < SMALL; i++) {
		small[i] = make_small();
		if (i < LARGE)
			large[i] = make_large();
		if (i < LARGE && i % 2 == 0)
			tare_free(large[i]);
	}
	printf("{\"make_large\":%d,\"make_small\":%d}\n", LARGE / 2 * LARGE_BYTES, SMALL * SMALL_BYTES);
	if (tare_profile_take(TARE_PROFILE_HEAP, &heap) < 0 || tare_profile_take(TARE_PROFILE_ALLOCS, &allocs) < 0)
		return 1;
	int rc = save(heap, path) < 0 || save(allocs, allocs_path) < 0;
	for (int i = 0; i < SMALL; i++)
		tare_free(small[i]);
	for (int i = 1; i < LARGE; i += 2)
		tare_free(large[i]);
	return rc;
}

static struct tare_mutex mutex;
static struct tare_chan *chan;
static atomic_llong lock_ns, recv_ns;

TARE_NOIPA static void wait_for_lock(void)
{
	int64_t began_ns = tare_now_ns();
	tare_mutex_lock(&mutex);
	atomic_fetch_add(&lock_ns, tare_now_ns() - began_ns);
	tare_sleep(2 * TARE_NS_PER_MS);
	tare_mutex_unlock(&mutex);
}

TARE_NOIPA static int wait_for_message(void)
{
	int64_t began_ns = tare_now_ns();
	int message, rc = tare_chan_recv(chan, &message);
	atomic_fetch_add(&recv_ns, tare_now_ns() - began_ns);
	return rc;
}

static int lock_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < LOCKS; i++)
		wait_for_lock();
	return 0;
}

static int receive(void *arg)
{
	(void)arg;
	while (wait_for_message() == 0)
		continue;
	return 0;
}

static int run_block(const char *path, const char *mutex_path)
{
	struct tare_scope scope;
	struct tare_pprof *block, *locks;
	if (tare_profile_start(TARE_PROFILE_BLOCK, NULL, NULL) < 0 ||
	    tare_profile_start(TARE_PROFILE_MUTEX, &(struct tare_profile_options){.rate_ns = 1}, NULL) < 0 ||
	    tare_chan_new(&chan, sizeof(int), 0) < 0 || tare_scope_open(&scope, TARE_NEVER, 0) < 0)
		return 1;
	for (int i = 0; i < WAITERS; i++)
		if (tare_scope_go(&scope, lock_often, NULL) < 0)
			return 1;
	if (tare_scope_go(&scope, receive, NULL) < 0)
		return 1;
	for (int i = 0; i < MESSAGES; i++) {
		tare_sleep(TARE_NS_PER_MS);
		if (tare_chan_send(chan, &i) < 0)
			return 1;
	}
	tare_chan_close(chan);
	(void)tare_scope_join(&scope);
	printf("{\"wait_for_lock\":%lld,\"wait_for_message\":%lld}\n", (long long)lock_ns, (long long)recv_ns);
	if (tare_profile_stop(TARE_PROFILE_BLOCK, &block) < 0 || tare_profile_stop(TARE_PROFILE_MUTEX, &locks) < 0)
		return 1;
	return save(block, path) < 0 || save(locks, mutex_path) < 0;
}

static int first(void *arg)
{
	char **argv = arg;
	if (strcmp(argv[1], "cpu") == 0)
		return run_cpu(argv[2]);
	if (strcmp(argv[1], "block") == 0)
		return run_block(argv[2], argv[3]);
	if (strcmp(argv[1], "heap") == 0)
		return run_heap(argv[2], argv[3]);
	return 2;
}

int main(int argc, char **argv)
{
	int result = 2;
	if (argc < 3 || tare_run(&(struct tare_rt_options){.watchdog_ns = -1}, first, argv, &result, NULL) < 0)
		return 2;
	return result;
}
