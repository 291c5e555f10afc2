// SPDX-License-Identifier: MIT
//
// As much of cmocka's interface as test.h and the tests of base, stat, mem and rt use, for builds for another machine,
// where Debian's package is not at hand. Prints what cmocka prints. One thread runs the tests; a failed assertion jumps
// back to it, so only that thread may assert, as with cmocka.
// Rejected: the other architecture's own package (dpkg --add-architecture changes what the whole machine installs).
#ifndef TEST_CROSS_CMOCKA_H
#define TEST_CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*test_func)(void **state);
};

enum { CROSS_FAILED = 1, CROSS_SKIPPED = 2 };
static jmp_buf cross_back;

__attribute__((noreturn)) static inline void cross_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "[  ERROR   ] --- %s\n[   LINE   ] --- %s:%d: error: Failure!\n", what, file, line);
	longjmp(cross_back, CROSS_FAILED);
}

__attribute__((noreturn)) static inline void cross_skip(void)
{
	longjmp(cross_back, CROSS_SKIPPED);
}

static inline void cross_equal(uintmax_t got, uintmax_t want, const char *file, int line)
{
	char text[64];
	if (got == want)
		return;
	snprintf(text, sizeof text, "%#jx != %#jx", got, want);
	cross_fail(file, line, text);
}

#define CROSS_TRUE(condition, text) ((condition) ? (void)0 : cross_fail(__FILE__, __LINE__, text))
#define CROSS_NUMBER(value) ((uintmax_t)(value))

#define skip() cross_skip()
#define assert_true(c) CROSS_TRUE(c, #c)
#define assert_false(c) CROSS_TRUE(!(c), "!(" #c ")")
#define assert_null(p) CROSS_TRUE((p) == NULL, #p " is null")
#define assert_non_null(p) CROSS_TRUE((p) != NULL, #p " is not null")
#define assert_int_equal(a, b) cross_equal(CROSS_NUMBER(a), CROSS_NUMBER(b), __FILE__, __LINE__)
#define assert_int_not_equal(a, b) CROSS_TRUE(CROSS_NUMBER(a) != CROSS_NUMBER(b), #a " != " #b)
#define assert_ptr_equal(a, b) CROSS_TRUE((const void *)(a) == (const void *)(b), #a " is " #b)
#define assert_ptr_not_equal(a, b) CROSS_TRUE((const void *)(a) != (const void *)(b), #a " is not " #b)
#define assert_memory_equal(a, b, len) CROSS_TRUE(memcmp((a), (b), (len)) == 0, #a " has the bytes of " #b)
#define assert_string_equal(a, b) CROSS_TRUE(strcmp((a), (b)) == 0, #a " reads as " #b)
#define assert_string_not_equal(a, b) CROSS_TRUE(strcmp((a), (b)) != 0, #a " does not read as " #b)
#define assert_in_range(v, low, high)                                                                                  \
	CROSS_TRUE(CROSS_NUMBER(v) >= CROSS_NUMBER(low) && CROSS_NUMBER(v) <= CROSS_NUMBER(high), #v " in range")

static inline int cross_run(const struct CMUnitTest *test)
{
	void *state = NULL;
	int rc = setjmp(cross_back);
	if (rc == 0)
		test->test_func(&state);
	return rc;
}

// Failed tests. Set-up and tear-down are not used.
static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t count, void *set_up,
					  void *tear_down)
{
	static const char *const words[] = {"[       OK ]", "[  FAILED  ]", "[  SKIPPED ]"};
	int failed = 0;
	(void)set_up, (void)tear_down;
	printf("[==========] %s: Running %zu test(s).\n", group, count);
	for (size_t i = 0; i < count; i++) {
		printf("[ RUN      ] %s\n", tests[i].name);
		fflush(stdout);
		int rc = cross_run(&tests[i]);
		printf("%s %s\n", words[rc], tests[i].name);
		fflush(stdout);
		failed += rc == CROSS_FAILED;
	}
	return failed;
}

#endif
