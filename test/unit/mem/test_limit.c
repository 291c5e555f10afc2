// SPDX-License-Identifier: MIT
// Goal: a limit is read as it is written, states follow what is used without flickering, and memory goes back to the
// system when it should and no more often. Method: the decisions as functions; a made-up tree of cgroups; and once the
// real thing: this process swells past a limit and shrinks.
#include "test.h"

#include "mem/mem_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

// ---- what people write --------------------------------------------------------------------------------------------

TEST(limits_are_read_as_go_reads_them)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"1", 1},       {"1048576", MIB},    {"7B", 7}, {"512MiB", 512 * MIB}, {"2GiB", 2048 * MIB},
		    {"3KiB", 3072}, {"1TiB", MIB * MIB}, {"off", 0}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		uint64_t bytes = 99;
		assert_int_equal(tare_limit_parse(&bytes, good[i].text, NULL), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	static const char *const bad[] = {"",
					  "0",
					  "-1",
					  " 1",
					  "+5",
					  "MiB",
					  "1 MiB",
					  "1MB",
					  "1.5GiB",
					  "1mib",
					  "Off",
					  "auto ",
					  "99999999999999999999",
					  "17179869184TiB"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		struct tare_error err = {""};
		uint64_t bytes;
		assert_int_equal(tare_limit_parse(&bytes, bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i]));
		assert_non_null(strstr(err.text, "512MiB"));
	}
}

static void put_file(const char *folder, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

TEST(a_cgroup_counts_and_those_above_it)
{
	char root[] = "/tmp/tare-limit-XXXXXX", list[128], a[128], b[128];
	assert_non_null(mkdtemp(root));
	snprintf(list, sizeof list, "%s/list", root);
	snprintf(a, sizeof a, "%s/a", root);
	snprintf(b, sizeof b, "%s/a/b", root);
	assert_int_equal(mkdir(a, 0700), 0);
	assert_int_equal(mkdir(b, 0700), 0);
	assert_int_equal(mem_limit_of_cgroup(list, root), UINT64_MAX); // no list
	put_file(root, "list", "4:memory:/a\n0::/a/b\n");
	assert_int_equal(mem_limit_of_cgroup(list, root), UINT64_MAX); // no limits
	put_file(b, "memory.max", "max\n");
	assert_int_equal(mem_limit_of_cgroup(list, root), UINT64_MAX);
	put_file(a, "memory.max", "1000000\n");
	assert_int_equal(mem_limit_of_cgroup(list, root), 1000000);
	put_file(b, "memory.max", "500000\n");
	assert_int_equal(mem_limit_of_cgroup(list, root), 500000);
	put_file(root, "memory.max", "400000\n");
	assert_int_equal(mem_limit_of_cgroup(list, root), 400000);
	put_file(root, "list", "0::/\n"); // in a container
	assert_int_equal(mem_limit_of_cgroup(list, root), 400000);
	put_file(root, "list", "4:memory:/a\n"); // version 1 alone
	assert_int_equal(mem_limit_of_cgroup(list, root), UINT64_MAX);
	char command[256];
	snprintf(command, sizeof command, "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

// ---- decisions ----------------------------------------------------------------------------------------------------

TEST(states_are_entered_at_their_marks_and_left_below_them)
{
	const uint64_t limit = 1000 * MIB;
	const enum tare_pressure none = TARE_PRESSURE_NONE, soft = TARE_PRESSURE_SOFT, hard = TARE_PRESSURE_HARD;
	assert_int_equal(mem_limit_next_state(none, UINT64_MAX, 0), none); // no limit
	assert_int_equal(mem_limit_next_state(hard, UINT64_MAX, 0), none);
	assert_int_equal(mem_limit_next_state(none, 899 * MIB, limit), none);
	assert_int_equal(mem_limit_next_state(none, 901 * MIB, limit), soft);
	assert_int_equal(mem_limit_next_state(soft, 899 * MIB, limit), soft);
	assert_int_equal(mem_limit_next_state(soft, 849 * MIB, limit), none);
	assert_int_equal(mem_limit_next_state(soft, limit - 1, limit), soft);
	assert_int_equal(mem_limit_next_state(none, limit, limit), hard);
	assert_int_equal(mem_limit_next_state(hard, 971 * MIB, limit), hard);
	assert_int_equal(mem_limit_next_state(hard, 969 * MIB, limit), soft);
	assert_int_equal(mem_limit_next_state(hard, 10 * MIB, limit), none);
}

TEST(a_spike_is_over_when_the_heap_lies_a_quarter_below_it)
{
	assert_false(mem_limit_spike_is_over(100 * MIB, 100 * MIB));
	assert_false(mem_limit_spike_is_over(101 * MIB, 100 * MIB));
	assert_false(mem_limit_spike_is_over(76 * MIB, 100 * MIB));
	assert_true(mem_limit_spike_is_over(75 * MIB, 100 * MIB));
	assert_false(mem_limit_spike_is_over(0, 15 * MIB)); // not worth it
	assert_true(mem_limit_spike_is_over(0, 16 * MIB));
}

TEST(what_gives_nothing_is_tried_less_and_less)
{
	int64_t pause_ns = 100 * TARE_NS_PER_MS;
	for (int i = 0; i < 10; i++)
		pause_ns = mem_limit_next_pause(pause_ns, 0, 100 * MIB);
	assert_int_equal(pause_ns, 5 * TARE_NS_PER_S);
	assert_int_equal(mem_limit_next_pause(pause_ns, MIB, 100 * MIB), 100 * TARE_NS_PER_MS);
}

// ---- this process -------------------------------------------------------------------------------------------------

#if !defined(TARE_ASAN) && !defined(TARE_TSAN) // a sanitizer keeps what is freed
enum { BLOCKS = 4096, BLOCK_BYTES = 16384 };
static struct tare_tag heap_tag = TARE_TAG("swell");

struct cache {
	void *blocks[BLOCKS];
	int called;
	enum tare_pressure last;
};

static void fill(struct cache *cache)
{
	for (int i = 0; i < BLOCKS; i++) {
		assert_non_null(cache->blocks[i] = tare_alloc(&heap_tag, BLOCK_BYTES));
		memset(cache->blocks[i], 1, BLOCK_BYTES);
	}
}

static size_t drop(void *arg, enum tare_pressure pressure)
{
	struct cache *cache = arg;
	cache->called++;
	cache->last = pressure;
	for (int i = 0; i < BLOCKS; i++) {
		tare_free(cache->blocks[i]);
		cache->blocks[i] = NULL;
	}
	return (size_t)BLOCKS * BLOCK_BYTES;
}

TEST(a_process_past_its_limit_gives_back_what_its_caches_held)
{
	static struct cache cache;
	struct tare_reclaimer reclaimer = {.name = "cache", .reclaim = drop, .arg = &cache};
	struct tare_limit_stats before, at, after;
	int64_t next_ns;
	assert_false(tare_limit_look(&next_ns)); // no limit, nothing to give back
	assert_int_equal(tare_pressure(), TARE_PRESSURE_NONE);
	tare_limit_stats_read(&before);
	fill(&cache);
	tare_limit_set(before.used_bytes + 32 * MIB);
	tare_reclaimer_add(&reclaimer);
	assert_true(tare_limit_look(&next_ns));
	assert_true(next_ns <= 10 * TARE_NS_PER_MS);
	assert_int_equal(tare_pressure(), TARE_PRESSURE_HARD);
	tare_limit_rest();
	assert_int_equal(tare_pressure(), TARE_PRESSURE_NONE);
	assert_true(tare_limit_look(&next_ns));
	assert_int_equal(tare_pressure(), TARE_PRESSURE_HARD);
	tare_limit_stats_read(&at);
	assert_true(at.used_bytes >= before.used_bytes + 60 * MIB);
	tare_limit_reclaim();
	assert_int_equal(cache.called, 1);
	assert_int_equal(cache.last, TARE_PRESSURE_HARD);
	assert_false(tare_limit_look(&next_ns));
	assert_int_equal(tare_pressure(), TARE_PRESSURE_NONE);
	tare_limit_stats_read(&after);
	assert_true(after.used_bytes <= before.used_bytes + 8 * MIB);
	assert_int_equal(after.hard_entered, before.hard_entered + 2);
	assert_true(after.released_bytes >= before.released_bytes + 50 * MIB);
	tare_reclaimer_remove(&reclaimer);
	tare_limit_reclaim();
	assert_int_equal(cache.called, 1);
	tare_limit_set(0);
}

TEST(after_a_spike_memory_is_given_back_without_a_limit)
{
	static struct cache cache;
	int64_t next_ns;
	tare_limit_reclaim();
	fill(&cache);
	// Looks at the heap are a second apart: one must see the peak.
	int64_t until_ns = tare_clock_ns() + 1500 * TARE_NS_PER_MS;
	while (tare_clock_ns() < until_ns)
		assert_false(tare_limit_look(&next_ns));
	(void)drop(&cache, TARE_PRESSURE_NONE);
	until_ns = tare_clock_ns() + 60 * TARE_NS_PER_S;
	bool due = false;
	while (!due && tare_clock_ns() < until_ns)
		due = tare_limit_look(&next_ns);
	assert_true(due);
}
#endif
