// SPDX-License-Identifier: MIT
// Goal: a CPU quota is read as the kernel writes it. Method: files like a cgroup's cpu.max.
#include "test.h"

#include "base/cpu_int.h"

#include <tare/base.h>

#include <stdlib.h>
#include <unistd.h>

static double quota_of(const char *text)
{
	char path[] = "/tmp/tare_cpu_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	double quota = base_cpu_quota_of(path);
	unlink(path);
	return quota;
}

TEST(a_cpu_quota_is_read_as_the_kernel_writes_it)
{
	assert_true(quota_of("150000 100000\n") == 1.5);
	assert_true(quota_of("5000 10000\n") == 0.5);
	assert_true(quota_of("max 100000\n") == 0);
	assert_true(quota_of("") == 0 && quota_of("1") == 0 && quota_of("-1 5") == 0 && quota_of("5 0") == 0);
	assert_true(base_cpu_quota_of("/nowhere/cpu.max") == 0);
	assert_true(tare_cpu_quota() >= 0);
}
