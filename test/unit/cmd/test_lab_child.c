// SPDX-License-Identifier: MIT
// Goal: the laboratory's processes answer or are told to have failed. Method: a shell that prints and ends as the case
// wants.
#include "cmd/lab/lab.h"

#include "test.h"

#include <errno.h>
#include <stdlib.h>

static int output(const char *script, bool may_fail, char **ret, struct tare_error *err)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	struct lab_child child;
	*ret = NULL;
	assert_int_equal(lab_child_start(&child, argv, -1, NULL, "/dev/null", err), 0);
	child.may_fail = may_fail;
	int rc = lab_child_output(&child, "the shell", tare_clock_ns() + 60 * TARE_NS_PER_S, ret, err);
	if (rc < 0)
		*ret = NULL;
	return rc;
}

TEST(what_a_process_prints_counts_when_it_ended_well)
{
	struct tare_error err;
	char *text;
	assert_int_equal(output("echo told", false, &text, &err), 0);
	assert_string_equal(text, "told\n");
	free(text);
	assert_int_equal(output("echo told; exit 1", false, &text, &err), -EIO);
	assert_string_equal(err.text, "the shell ended with exit code 1");
	assert_int_equal(output("kill -9 $$", false, &text, &err), -EIO);
	assert_string_equal(err.text, "the shell died of signal 9");
}

// The generator reports, and fails, when nothing was answered with success: that is a figure.
TEST(a_report_counts_though_the_process_that_may_fail_did)
{
	struct tare_error err;
	char *text;
	assert_int_equal(output("echo told; exit 1", true, &text, &err), 0);
	assert_string_equal(text, "told\n");
	free(text);
	assert_int_equal(output("exit 1", true, &text, &err), -EIO); // it says nothing
	assert_int_equal(output("echo usage; exit 2", true, &text, &err), -EIO);
}
