// SPDX-License-Identifier: MIT
//
// Goal: a program of rows answers what `tare npa` asks: its rows in order and what is wrong with them, figures for
// each, marks around what is counted; a row's twin does the same but the operation.
// Method: rows that count their own operations, asked in a child whose standard output is read. No figure of time is
// held to anything but its sign and order: machines differ.
#include "test.h"

#include <tare/npa.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t operations, befores, prepared, finished, within_calls, last_first;

static void prepare(void)
{
	prepared++;
}

static void finish(void)
{
	finished++;
	// The child's one way to tell what happened in it.
	printf("{\"told\":%llu,\"befores\":%llu,\"prepared\":%llu,\"within\":%llu}\n", (unsigned long long)operations,
	       (unsigned long long)befores, (unsigned long long)prepared, (unsigned long long)within_calls);
	fflush(stdout);
}

static void within(void (*fn)(void *arg), void *arg)
{
	within_calls++;
	fn(arg);
}

TARE_NPA(plain, "A \"justification\" with a \\ in it.", 12.5)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) * 3);
}

TARE_NPA(counting, "Counts itself.", 1000, .per = 4, .count = 10, .group = "counters", .prepare = prepare,
	 .finish = finish, .within = within, .hidden = true)
{
	operations++;
	last_first = i;
}

TARE_NPA_AFTER(preceded, befores++, "Something happens before each.", 1000, .count = 10, .finish = finish)
{
	operations++;
}

TARE_NPA(nothing, "Left out by a compiler that optimises.", 1)
{
	uint64_t x = i * 3;
	(void)x;
}

// What the program answers to these arguments, and its exit code.
static int ask(char *answer, size_t cap, int argc, char **argv)
{
	int ends[2], status;
	size_t len = 0;
	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		_exit(tare_npa_main(argc, argv));
	}
	close(ends[1]);
	for (ssize_t n; len + 1 < cap && (n = read(ends[0], answer + len, cap - 1 - len)) > 0;)
		len += (size_t)n;
	answer[len] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define ASK(answer, ...)                                                                                               \
	ask(answer, sizeof(answer), (int)TARE_ARRAY_LEN(((char *[]){__VA_ARGS__})), (char *[]){__VA_ARGS__, NULL})

static double figure_in(const char *answer, const char *row, const char *name)
{
	char key[64];
	snprintf(key, sizeof key, "{\"row\":\"%s\"", row);
	const char *at = strstr(answer, key);
	assert_non_null(at);
	snprintf(key, sizeof key, "\"%s\":", name);
	at = strstr(at, key);
	assert_non_null(at);
	return strtod(at + strlen(key), NULL);
}

TEST(rows_are_listed_as_they_stand_in_the_file_with_what_they_say_of_themselves)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "list"), 0);
	const char *plain = strstr(answer, "{\"row\":\"plain\""), *counting = strstr(answer, "{\"row\":\"counting\"");
	assert_true(plain != NULL && counting != NULL && plain < counting);
	assert_non_null(strstr(plain, "\"why\":\"A \\\"justification\\\" with a \\\\ in it.\",\"group\":\"test_npa\""));
	assert_non_null(strstr(counting, "\"per\":4,\"count\":10"));
	assert_non_null(strstr(counting, "\"group\":\"counters\""));
	assert_true(figure_in(answer, "plain", "budget") == 12.5);
	assert_non_null(strstr(answer, "\"compiler\":\""));
}

TEST(a_row_that_the_compiler_has_left_out_is_said_to_be_empty_and_no_other)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "list"), 0);
	const char *last = strstr(answer, "{\"row\":\"nothing\""), *at = answer;
	assert_non_null(last);
	for (; (at = strstr(at, "\"empty\":true")) != NULL; at++)
		assert_true(at > last);
#if defined(__OPTIMIZE__) && !defined(TARE_ASAN) && !defined(TARE_TSAN)
	assert_non_null(strstr(last, "\"empty\":true"));
#endif
}

TEST(counted_are_a_warm_up_and_three_times_n_and_2n_operations)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "count", "counting"), 0);
	assert_non_null(strstr(answer, "{\"told\":100,\"befores\":0,\"prepared\":1,\"within\":1}"));
}

TEST(the_twin_does_what_comes_before_and_leaves_the_operation_out)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "count", "preceded"), 0);
	assert_non_null(strstr(answer, "{\"told\":100,\"befores\":200,"));
}

TEST(once_runs_as_many_operations_as_it_is_told)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "once", "counting", "37"), 0);
	assert_non_null(strstr(answer, "{\"told\":37,"));
	assert_int_equal(ASK(answer, "rows", "once", "counting", "many"), 1);
	assert_non_null(strstr(answer, "{\"error\":\"not a number: many\"}"));
}

TEST(times_tell_the_machine_each_row_and_the_noise)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "time", "7", "300", "9", "20000000", "plain", "preceded"), 0);
	const char *machine = strstr(answer, "{\"machine\":true,"), *plain = strstr(answer, "{\"row\":\"plain\"");
	const char *preceded = strstr(answer, "{\"row\":\"preceded\""), *noise = strstr(answer, "{\"noise\":");
	assert_true(machine == answer && plain > machine && preceded > plain && noise > preceded);
	assert_true(figure_in(answer, "plain", "low") <= figure_in(answer, "plain", "mean"));
	assert_true(figure_in(answer, "plain", "mean") <= figure_in(answer, "plain", "high"));
	assert_true(figure_in(answer, "plain", "p50") <= figure_in(answer, "plain", "p99"));
	assert_true(figure_in(answer, "plain", "calls") >= 200);
	assert_true(figure_in(answer, "plain", "timer") > 0);
	assert_true(figure_in(answer, "plain", "cold") >= 0);
}

TEST(what_is_asked_wrongly_is_an_error_in_one_line)
{
	static char answer[1 << 16];
	assert_int_equal(ASK(answer, "rows", "count", "nobody"), 1);
	assert_string_equal(answer, "{\"error\":\"there is no row: nobody\"}\n");
	assert_int_equal(ASK(answer, "rows", "time", "7", "x", "9", "20000000", "plain"), 1);
	assert_string_equal(answer, "{\"error\":\"not a number: x\"}\n");
	assert_int_equal(ASK(answer, "./rows"), 1);
	assert_string_equal(answer, "{\"error\":\"this program holds rows; measure them with: tare npa ./rows\"}\n");
}

TEST(two_rows_of_one_name_and_a_budget_of_nothing_are_refused)
{
	static char answer[1 << 16];
	static struct tare_npa_row twice = {
	    .name = "plain", .why = "x", .budget_ns = 1, .file = "z.c", .compiler = "c"};
	static struct tare_npa_row free_of_charge = {.name = "free", .why = "x", .file = "a.c", .compiler = "c"};
	twice.body = free_of_charge.body = tare_npa_plain_body;
	twice.twin = free_of_charge.twin = tare_npa_plain_twin;
	pid_t pid = fork(); // rows are never taken back
	if (pid == 0) {
		tare_npa_register(&twice);
		_exit(ASK(answer, "rows", "list") == 1 &&
			      strcmp(answer, "{\"error\":\"two rows have one name: plain\"}\n") == 0
			  ? 0
			  : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pid = fork();
	if (pid == 0) {
		tare_npa_register(&free_of_charge);
		_exit(ASK(answer, "rows", "list") == 1 &&
			      strcmp(answer, "{\"error\":\"a row's budget is not above 0 ns: free\"}\n") == 0
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}
