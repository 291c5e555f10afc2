// SPDX-License-Identifier: MIT
// Goal: whichever allocation fails, a table says so, holds exactly what it held, answers, and goes on once there is
// memory.
// Method: this program's own malloc and mmap fail the n-th call since they were armed, for every n until a run meets no
// failure; and all from the n-th on. Not under a sanitizer, which has a malloc of its own.
#include "test.h"

#include "table_fixture.h"

#include <tare/heap.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(TARE_ASAN) && !defined(TARE_TSAN)
extern void *__libc_malloc(size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static bool armed, for_good;
static uint64_t calls, fail_at, failed;

static bool fails(void)
{
	if (!armed)
		return false;
	calls++;
	bool fail = calls == fail_at || (for_good && calls > fail_at);
	failed += fail;
	return fail;
}

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
	return fails() ? NULL : __libc_malloc(bytes);
}

__attribute__((visibility("default"))) int posix_memalign(void **ret, size_t alignment, size_t bytes)
{
	void *ptr = fails() ? NULL : __libc_memalign(alignment, bytes);
	if (ptr == NULL)
		return ENOMEM;
	*ret = ptr;
	return 0;
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t alignment, size_t bytes)
{
	return fails() ? NULL : __libc_memalign(alignment, bytes);
}

__attribute__((visibility("default"))) void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (fails()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}

// Runs work with each allocation failing in its turn. It returns whether it met a failure.
static uint64_t for_every_failure(bool (*work)(void))
{
	uint64_t met = 0;
	tare_heap_rate_set(0); // a sample does without its memory: a failure that nobody is told
	for (int mode = 0; mode < 2; mode++) {
		for_good = mode == 1;
		for (fail_at = 1;; fail_at++) {
			calls = failed = 0;
			bool did = work();
			armed = false;
			assert_int_equal(did, failed > 0);
			if (failed == 0)
				break;
			met++;
		}
	}
	return met;
}

static void assert_holds(const struct tare_table *table, uint64_t keys)
{
	uint64_t value;
	for (uint64_t key = 0; key < keys; key++) {
		assert_true(tare_table_get(table, key, &value));
		assert_int_equal(value, key * 3);
	}
	assert_false(tare_table_get(table, keys, &value));
	assert_int_equal(tare_table_count(table), keys);
}

static bool making(void)
{
	for (uint64_t keys = 0; keys <= 20000; keys += 20000) { // from the heap, and from the system
		struct tare_table *table = NULL;
		armed = true;
		int rc = tare_table_new(&table, &(struct tare_table_options){.seed = 1, .keys = keys});
		armed = false;
		assert_int_equal(rc, failed > 0 ? -ENOMEM : 0);
		assert_true((table == NULL) == (failed > 0));
		tare_table_free(table);
		if (failed > 0)
			return true;
		armed = true;
	}
	return false;
}

TEST(making_a_table_tells_every_failure)
{
	assert_true(for_every_failure(making) >= 6);
}

static bool growing(void)
{
	enum { KEYS = 5000 };
	struct tare_table *table = NULL;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.seed = 1}), 0);
	for (uint64_t key = 0; key < KEYS; key++) {
		armed = true;
		int rc = tare_table_put(table, key, key * 3);
		armed = false;
		if (rc < 0) {
			// There was memory neither for this growth nor any since the table was at half its load.
			assert_int_equal(rc, -ENOMEM);
			assert_true(for_good);
			assert_true(key >= table_phase(table)->main.homes * TABLE_WIDTH / 16 * 13);
			assert_holds(table, key);
			assert_int_equal(tare_table_put(table, key, key * 3), 0); // now there is
		}
	}
	assert_holds(table, KEYS);
	for (uint64_t key = 0; key < KEYS; key++)
		assert_true(tare_table_remove(table, key, NULL));
	tare_table_free(table);
	return failed > 0;
}

TEST(a_growth_that_gets_no_memory_is_put_off)
{
	assert_true(for_every_failure(growing) >= 30);
}

static bool reserving(void)
{
	enum { KEYS = 300 };
	struct tare_table *table = NULL;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.seed = 1}), 0);
	for (uint64_t key = 0; key < KEYS; key++)
		assert_int_equal(tare_table_put(table, key, key * 3), 0);
	armed = true;
	int rc = tare_table_reserve(table, 100000);
	armed = false;
	assert_int_equal(rc, failed > 0 ? -ENOMEM : 0);
	assert_holds(table, KEYS);
	assert_int_equal(tare_table_reserve(table, 100000), 0);
	assert_holds(table, KEYS);
	tare_table_free(table);
	return failed > 0;
}

TEST(a_reserve_that_gets_no_memory_changes_nothing)
{
	assert_true(for_every_failure(reserving) >= 4);
}

// Keys of one home under the table's secrets: past 256 lines of them it needs new secrets, and memory for those.
static bool rebuilding(void)
{
	enum { KEYS = 4000 };
	static uint64_t keys[KEYS];
	struct tare_table *table = NULL;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.seed = 42, .keys = KEYS}), 0);
	for (uint64_t n = 0, key = 1; n < KEYS; key++)
		if (keys[0] != 0 && keys[KEYS - 1] != 0)
			break;
		else if (tare_table_hash(table_phase(table)->seed, key) >> 53 == 0)
			keys[n++] = key;
	uint64_t value;
	for (uint64_t i = 0; i < KEYS; i++) {
		armed = true;
		int rc = tare_table_put(table, keys[i], i);
		armed = false;
		if (rc == 0)
			continue;
		assert_int_equal(rc, -ENOMEM);
		assert_false(tare_table_get(table, keys[i], &value));
		assert_int_equal(tare_table_count(table), i);
		assert_int_equal(tare_table_put(table, keys[i], i), 0);
	}
	for (uint64_t i = 0; i < KEYS; i++) {
		assert_true(tare_table_get(table, keys[i], &value));
		assert_int_equal(value, i);
	}
	assert_true(table->rebuilds >= 1);
	tare_table_free(table);
	return failed > 0;
}

TEST(new_secrets_that_get_no_memory_change_nothing)
{
	assert_true(for_every_failure(rebuilding) >= 4);
}

// The same in the middle of a growth: what was copied of the step that could not be done is taken back, and the step is
// tried again.
static bool rebuilding_in_a_growth(void)
{
	struct tare_table *table = table_crowded();
	uint64_t keys = tare_table_count(table), more = UINT64_C(1) << 55;
	for (uint64_t i = 0; table->rebuilds == 0; i++) {
		assert_true(i < 40);
		armed = i < 20;
		int rc = tare_table_put(table, more + i, (more + i) * 3);
		armed = false;
		assert_int_equal(rc, 0); // a growth that is stuck is no reason to refuse a key for which there is room
		assert_int_equal(table_walked(table), keys + i + 1);
	}
	tare_table_free(table);
	return failed > 0;
}

TEST(a_growth_that_is_stuck_without_memory_loses_nothing)
{
	assert_true(for_every_failure(rebuilding_in_a_growth) >= 4);
}

#else
TEST(allocation_failures_are_tested_without_sanitizers) {}
#endif
