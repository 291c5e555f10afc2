// SPDX-License-Identifier: MIT
// Goal: numbers, sizes and durations are read and written exactly, small files as far as there is room, and shard
// numbers are given back. Method: edges by table, the rest against libc's printf.
#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#include <tare/base.h>

static void check_u64(uint64_t v)
{
	char ours[32], libcs[32];
	size_t len = tare_format_u64(ours, v);
	int want = snprintf(libcs, sizeof libcs, "%" PRIu64, v);
	assert_int_equal(len, want);
	assert_memory_equal(ours, libcs, len);
	uint64_t back;
	assert_int_equal(tare_parse_u64((struct tare_str){ours, len}, &back), 0);
	assert_true(back == v);
}

TEST(numbers_are_written_and_read_back_as_libc_has_them)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (uint64_t v = 0; v < 200000; v++)
		check_u64(v);
	for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10) {
		check_u64(power - 1);
		check_u64(power);
		check_u64(power + 1);
	}
	for (int i = 0; i < 200000; i++)
		check_u64(tare_rng_next(&rng) >> tare_rng_below(&rng, 64));
	check_u64(UINT64_MAX);
	char text[32];
	assert_int_equal(tare_format_i64(text, INT64_MIN), 20);
	assert_memory_equal(text, "-9223372036854775808", 20);
	assert_int_equal(tare_format_i64(text, -1), 2);
}

TEST(malformed_numbers_are_refused)
{
	uint64_t v = 42;
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1e3", "12a"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++)
		assert_int_equal(tare_parse_u64((struct tare_str){bad[i], strlen(bad[i])}, &v), -EINVAL);
	assert_int_equal(tare_parse_u64(TARE_STR("18446744073709551616"), &v), -ERANGE);
	assert_int_equal(v, 42);
}

TEST(sizes)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t bytes;
	} rows[] = {
	    {"0", 0, 0},
	    {"64M", 0, 64 << 20},
	    {"64MiB", 0, 64 << 20},
	    {"64mb", -EINVAL, 0},
	    {"1k", 0, 1024},
	    {"2G", 0, UINT64_C(2) << 30},
	    {"3TB", 0, UINT64_C(3) << 40},
	    {"10B", 0, 10},
	    {"M", -EINVAL, 0},
	    {"1.5M", -EINVAL, 0},
	    {"-1", -EINVAL, 0},
	    {"1MM", -EINVAL, 0},
	    {"", -EINVAL, 0},
	    {"16777216T", -ERANGE, 0},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(rows); i++) {
		uint64_t bytes = 1;
		int rc = tare_parse_size(rows[i].text, &bytes);
		assert_int_equal(rc, rows[i].rc);
		if (rc == 0)
			assert_true(bytes == rows[i].bytes);
	}
}

TEST(durations)
{
	static const struct {
		const char *text;
		int rc;
		int64_t ns;
	} rows[] = {
	    {"10", 0, 10000000000},
	    {"250ms", 0, 250000000},
	    {"1.5s", 0, 1500000000},
	    {"7ns", 0, 7},
	    {"3us", 0, 3000},
	    {"2m", 0, 120000000000},
	    {"1h", 0, 3600000000000},
	    {"1.", -EINVAL, 0},
	    {"s", -EINVAL, 0},
	    {"1m30s", -EINVAL, 0},
	    {"-1s", -EINVAL, 0},
	    {"1d", -EINVAL, 0},
	    {"9223372036854775807h", -ERANGE, 0},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(rows); i++) {
		int64_t ns = 1;
		int rc = tare_parse_duration(rows[i].text, &ns);
		assert_int_equal(rc, rows[i].rc);
		if (rc == 0)
			assert_true(ns == rows[i].ns);
	}
}

TEST(each_digit_of_base64_has_its_value_and_nothing_else_has_one)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (int32_t c = -300; c < 300; c++) {
		const char *at = c > 0 && c < 128 ? strchr(digits, c) : NULL;
		assert_int_equal(tare_base64_digit(c), at != NULL ? at - digits : -1);
	}
	assert_int_equal(tare_base64_digit(0x10041), -1); // U+10041, not the 'A' of its low byte
}

TEST(a_time_past_the_last_is_never)
{
	assert_true(tare_time_after(5, 7) == 12);
	assert_true(tare_time_after(5, -7) == -2);
	assert_true(tare_time_after(1, TARE_NEVER - 1) == TARE_NEVER);
	assert_true(tare_time_after(2, TARE_NEVER - 1) == TARE_NEVER);
	assert_true(tare_time_after(TARE_NEVER, 0) == TARE_NEVER);
	assert_true(tare_time_after(TARE_NEVER, TARE_NEVER) == TARE_NEVER);
}

TEST(random_numbers_repeat_with_their_seed_and_fill_their_range)
{
	struct tare_rng a, b;
	tare_rng_init(&a, 9);
	tare_rng_init(&b, 9);
	unsigned seen[7] = {0};
	for (int i = 0; i < 70000; i++) {
		assert_true(tare_rng_next(&a) == tare_rng_next(&b));
		seen[tare_rng_below(&a, 7)]++;
		(void)tare_rng_below(&b, 7);
		double unit = tare_rng_unit(&a);
		assert_true(unit > 0 && unit <= 1);
		(void)tare_rng_unit(&b);
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9500, 10500); // 5 standard deviations
}

static void *shard_of(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)tare_shard();
}

TEST(a_small_file_is_read_as_far_as_there_is_room)
{
	char name[64], cut[4] = "???", one[1] = {'?'};
	static const char path[] = "/proc/sys/kernel/ostype";
	assert_int_equal(tare_proc_read(path, name, sizeof name), 6);
	assert_string_equal(name, "Linux\n");
	assert_int_equal(tare_proc_read(path, cut, sizeof cut), 3);
	assert_string_equal(cut, "Lin");
	assert_int_equal(tare_proc_read(path, one, sizeof one), 0);
	assert_int_equal(one[0], '\0');
	assert_int_equal(tare_proc_read("/proc/self/none", name, sizeof name), -ENOENT);
	assert_string_equal(name, "");
	strcpy(name, "before");
	assert_int_equal(tare_proc_read("/proc/self", name, sizeof name), -EISDIR);
	assert_string_equal(name, "");
}

TEST(a_thread_gives_its_shard_back)
{
	unsigned mine = tare_shard();
	assert_int_equal(mine, tare_shard());
	for (int i = 0; i < 1000; i++) { // far more threads than shards, one after the other
		pthread_t thread;
		void *shard;
		assert_int_equal(pthread_create(&thread, NULL, shard_of, NULL), 0);
		pthread_join(thread, &shard);
		assert_true((uintptr_t)shard != mine && (uintptr_t)shard < 4);
	}
}
