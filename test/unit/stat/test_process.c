// SPDX-License-Identifier: MIT
//
// Goal: what is told of the process stays true when the system's clock is set.
// Method: this program's clock_gettime, before the C library's, whose wall clock a test moves.
#include "test.h"

#include <tare/stat.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_int wall_ahead_s;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	long rc = syscall(SYS_clock_gettime, clock, ret);
	if (rc == 0 && clock == CLOCK_REALTIME)
		ret->tv_sec += atomic_load(&wall_ahead_s);
	return (int)rc;
}

static char text_buf[16384];
static size_t text_len;

static int text_write(void *arg, const char *ptr, size_t len)
{
	(void)arg;
	if (len >= sizeof text_buf - text_len)
		return -ENOSPC;
	memcpy(text_buf + text_len, ptr, len);
	text_len += len;
	text_buf[text_len] = '\0';
	return 0;
}

static double start_of(struct tare_registry *registry)
{
	static const char name[] = "\nprocess_start_time_seconds ";
	struct tare_text text = {.write = text_write};
	text_len = 0;
	tare_registry_write(registry, &text);
	assert_int_equal(text.rc, 0);
	const char *at = strstr(text_buf, name);
	assert_non_null(at);
	return strtod(at + sizeof name - 1, NULL);
}

TEST(a_clock_that_is_set_looks_like_no_restart)
{
	struct tare_registry *first = NULL, *second = NULL;
	assert_int_equal(tare_registry_new(&first), 0);
	assert_int_equal(tare_registry_process(first), 0);
	double start = start_of(first);
	struct timespec now;
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	assert_true(start > (double)now.tv_sec - 3600 && start <= (double)now.tv_sec + 2);
	static const int steps_s[] = {100, -100, 0};
	for (size_t i = 0; i < TARE_ARRAY_LEN(steps_s); i++) {
		atomic_store(&wall_ahead_s, steps_s[i]);
		assert_true(start_of(first) == start);
	}
	atomic_store(&wall_ahead_s, 100);
	assert_int_equal(tare_registry_new(&second), 0);
	assert_int_equal(tare_registry_process(second), 0);
	assert_true(start_of(second) == start);
	tare_registry_free(first);
	tare_registry_free(second);
}
