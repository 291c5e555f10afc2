// SPDX-License-Identifier: MIT
//
// The unit tests' frame over cmocka. A test file is `#include "test.h"`, then `TEST(what_it_shows) { … }` as often as
// it takes; each test registers itself and the file is a program of its own. `./program NAME` runs the tests whose name
// contains NAME.
#ifndef TARE_TEST_H
#define TARE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define TEST_MAX 256

static struct CMUnitTest test_table[TEST_MAX];
static size_t test_count;

#define TEST(test_name)                                                                                                \
	static void test_name(void **);                                                                                \
	__attribute__((constructor)) static void test_name##_register(void)                                            \
	{                                                                                                              \
		if (test_count < TEST_MAX)                                                                             \
			test_table[test_count++] = (struct CMUnitTest){.name = #test_name, .test_func = test_name};    \
	}                                                                                                              \
	static void test_name(__attribute__((unused)) void **state)

int main(int argc, char **argv)
{
	struct CMUnitTest chosen[TEST_MAX];
	size_t count = 0;
	for (size_t i = 0; i < test_count; i++)
		if (argc < 2 || strstr(test_table[i].name, argv[1]) != NULL)
			chosen[count++] = test_table[i];
	if (test_count == TEST_MAX) {
		fprintf(stderr, "test.h: more than %d tests in a file: raise TEST_MAX\n", TEST_MAX - 1);
		return 1;
	}
	const char *group = strrchr(argv[0], '/');
	return _cmocka_run_group_tests(group != NULL ? group + 1 : argv[0], chosen, count, NULL, NULL);
}

#endif
