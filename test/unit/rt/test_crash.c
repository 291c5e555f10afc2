// SPDX-License-Identifier: MIT
// Goal: an overflowed stack is reported with the task's name, the size of its stack and a backtrace, and any other
// fault is not; a task that ends before what it opened stops the program. Method: a child process faults; its standard
// error is read.
#include "child.h"
#include "in_task.h"

#include <signal.h>

static int (*volatile deeper)(int);

static int recurse(int depth)
{
	volatile char frame[512];
	frame[0] = (char)depth;
	return deeper(depth + 1) + frame[0];
}

static int overflow(void *arg)
{
	(void)arg;
	deeper = recurse;
	return recurse(0);
}

static int *volatile nowhere = (int *)8;

static int fault(void *arg)
{
	(void)arg;
	*nowhere = 1;
	return 0;
}

static int start(void *arg)
{
	struct tare_task *task;
	tare_task_fn *const fn = *(tare_task_fn **)arg;
	if (tare_spawn(&task, &(struct tare_task_options){.name = "deep thought"}, fn, NULL) < 0)
		return 1;
	return tare_join(task);
}

static int run_start(void *arg)
{
	return tare_run(&(struct tare_rt_options){.workers = 1}, start, arg, NULL, NULL) == 0;
}

// What the child said before it died; its wait status.
static int run_faulting(tare_task_fn *fn, char *text, size_t cap)
{
	return run_child(run_start, &fn, STDERR_FILENO, text, cap);
}

TEST(an_overflowed_stack_names_its_task)
{
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	skip(); // the sanitizer reports overflows itself
#endif
	static char text[16384];
	int status = run_faulting(overflow, text, sizeof text);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_non_null(strstr(text, "task 'deep thought'"));
	assert_non_null(strstr(text, "overflowed its stack of 258048 bytes"));
	// Both ways to more: the first task and handlers are not spawned by those who read this.
	assert_non_null(strstr(text, "tare_task_options.stack_bytes"));
	assert_non_null(strstr(text, "tare_rt_options.stack_bytes"));
	// The backtrace: more than one frame of this program.
	const char *frame = strstr(text, "test_crash");
	assert_non_null(frame);
	assert_non_null(strstr(frame + 1, "test_crash"));
}

TEST(another_fault_is_not_called_an_overflow)
{
#if defined(TARE_ASAN) || defined(TARE_TSAN)
	skip();
#endif
	static char text[4096];
	int status = run_faulting(fault, text, sizeof text);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	assert_null(strstr(text, "overflowed"));
}

static struct tare_scope left_open; // not on the stack of the task that leaves it

static int leave_a_scope(void *arg)
{
	(void)arg;
	return tare_scope_open(&left_open, TARE_NEVER, 0);
}

static int leave_a_member(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	struct tare_task *task;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	CHECK(tare_spawn(&task, &(struct tare_task_options){.scope = &scope}, leave_a_scope, NULL) == 0);
	(void)tare_join(task);
	return tare_scope_join(&scope);
}

static int join_all(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	CHECK(tare_scope_open(&scope, TARE_NEVER, 0) == 0);
	return tare_scope_join(&scope);
}

TEST(a_task_that_ends_with_a_scope_open_stops_the_program)
{
	static char text[4096];
	tare_task_fn *const fns[] = {leave_a_scope, leave_a_member};
	for (unsigned i = 0; i < TARE_ARRAY_LEN(fns); i++) {
		int status = run_faulting(fns[i], text, sizeof text);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
		assert_non_null(strstr(text, "assertion failed"));
		assert_non_null(strstr(text, "scope"));
	}
	int status = run_faulting(join_all, text, sizeof text);
	assert_true(WIFEXITED(status));
	assert_string_equal(text, "");
}
