// SPDX-License-Identifier: MIT
// Goal: whatever call for memory fails, a pool says so and goes on; nothing is lost or handed out twice. Method: the
// calls that it makes are replaced here; the n-th one fails, for every n until a run makes fewer.
#include "test.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tare/mem.h>

#if defined(TARE_ASAN) || defined(TARE_TSAN) || defined(__aarch64__)
// The sanitizers replace these calls themselves; the emulator's mmap is not the system call's.
TEST(each_call_for_memory_may_fail)
{
	skip();
}
#else

static unsigned fail_at, calls; // 0: none fails

static bool fails(void)
{
	return fail_at != 0 && ++calls == fail_at;
}

// What the pool calls, in place of libc's.
__attribute__((visibility("default"))) void *mmap(void *at, size_t bytes, int protection, int flags, int fd,
						  off_t offset)
{
	if (fails()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	long got = syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
	return (void *)got;
}

__attribute__((visibility("default"))) int mprotect(void *at, size_t bytes, int protection)
{
	if (fails()) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_mprotect, at, bytes, protection);
}

__attribute__((visibility("default"))) int madvise(void *at, size_t bytes, int advice)
{
	if (fails()) {
		errno = EAGAIN;
		return -1;
	}
	return (int)syscall(SYS_madvise, at, bytes, advice);
}

void *__libc_malloc(size_t bytes);
__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
	return fails() ? NULL : __libc_malloc(bytes);
}

enum { MANY = 700, LIMIT = 500 };

// Takes all it can get of MANY, uses and gives them: how many it got.
static int use(struct tare_pool *pool)
{
	static unsigned *objects[MANY];
	int got = 0;
	for (int i = 0; i < MANY; i++) {
		unsigned *object = tare_pool_take(pool);
		if (object == NULL)
			continue;
		*object = (unsigned)got;
		objects[got++] = object;
	}
	for (int i = 0; i < got; i++) {
		assert_int_equal(*objects[i], i); // it had one owner
		tare_pool_give(pool, objects[i]);
	}
	return got;
}

// Returns whether a call failed.
static bool run(unsigned n)
{
	static const struct tare_pool_options options = {
	    .name = "test", .object_bytes = 1000, .limit = LIMIT, .overflow = true};
	struct tare_pool *pool = NULL;
	struct tare_pool_stats stats;
	fail_at = n;
	calls = 0;
	int rc = tare_pool_new(&pool, &options);
	if (rc == 0) {
		int got = use(pool);
		for (int i = 0; i < 4; i++)
			(void)tare_pools_age();
		got += use(pool);
		fail_at = 0;
		tare_pool_stats_read(pool, &stats);
		assert_int_equal(stats.live, 0);
		assert_int_equal(stats.refusals, 2 * MANY - got);
		assert_int_equal(stats.hits + stats.misses + stats.overflows, got);
		assert_int_equal(use(pool), MANY); // once there is memory again, all of it is to be had
		tare_pool_free(pool);
	} else {
		assert_int_equal(rc, -ENOMEM);
	}
	fail_at = 0;
	return calls >= n;
}

TEST(each_call_for_memory_may_fail)
{
	unsigned n = 1;
	while (run(n))
		n++;
	assert_in_range(n, 100, 10000); // commits, pages that go, and the heap's part of each crowd
}
#endif
