// SPDX-License-Identifier: MIT
// Goal: every type of option reads what it should and refuses the rest in one line that says what would be right.
// Method: cmd_parse on argument lists, with standard error and output caught in temporary files.
#include "test.h"

#include "cmd/cmd.h"

#include <stdlib.h>
#include <unistd.h>

struct values {
	bool verbose, count_given;
	const char *name, *file;
	uint64_t count, size;
	int64_t wait_ns;
	double rate;
	int mode;
};

static const struct values defaults = {
    .name = "nobody", .count = 5, .size = 64 << 20, .wait_ns = 250 * TARE_NS_PER_MS, .rate = 1.5, .mode = 1};
static const char *const modes[] = {"slow", "plain", "fast", NULL};

struct outcome {
	int rc;
	struct values values;
	char error[4096], output[4096];
};

static int catch_begin(int fd, FILE **ret_file)
{
	int saved = dup(fd);
	*ret_file = tmpfile();
	assert_non_null(*ret_file);
	dup2(fileno(*ret_file), fd);
	return saved;
}

static void catch_end(int fd, int saved, FILE *file, char *out, size_t cap)
{
	fflush(stdout);
	dup2(saved, fd);
	close(saved);
	rewind(file);
	out[fread(out, 1, cap - 1, file)] = '\0';
	fclose(file);
}

static struct outcome parse(const char *const *args, bool positional)
{
	struct outcome outcome = {.values = defaults};
	struct values *v = &outcome.values;
	const struct cmd_option options[] = {
	    {.name = "verbose", .type = CMD_FLAG, .value = &v->verbose, .env = "TARE_TEST_VERBOSE", .help = "say more"},
	    {.name = "name", .type = CMD_TEXT, .value = &v->name, .env = "TARE_TEST_NAME", .help = "whose"},
	    {.name = "count",
	     .type = CMD_U64,
	     .value = &v->count,
	     .min = 2,
	     .max = 10,
	     .help = "how many",
	     .given = &v->count_given},
	    {.name = "size",
	     .type = CMD_SIZE,
	     .value = &v->size,
	     .env = "TARE_TEST_SIZE",
	     .min = 1024,
	     .help = "bytes"},
	    {.name = "wait", .type = CMD_DURATION, .value = &v->wait_ns, .max = 3600000000000, .help = "how long"},
	    {.name = "rate",
	     .type = CMD_REAL,
	     .value = &v->rate,
	     .min = 1,
	     .max = 100,
	     .placeholder = "HZ",
	     .help = "often"},
	    {.name = "mode", .type = CMD_CHOICE, .value = &v->mode, .choices = modes, .help = "manner"},
	    {.name = "FILE", .type = CMD_TEXT, .value = &v->file, .help = "which"},
	};
	char *argv[16] = {(char *)"try"};
	int argc = 1;
	while (args[argc - 1] != NULL) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	FILE *error, *output;
	fflush(stdout);
	int saved_error = catch_begin(STDERR_FILENO, &error), saved_output = catch_begin(STDOUT_FILENO, &output);
	outcome.rc = cmd_parse("try", "Tries things.", options, TARE_ARRAY_LEN(options) - !positional, argc, argv);
	catch_end(STDOUT_FILENO, saved_output, output, outcome.output, sizeof outcome.output);
	catch_end(STDERR_FILENO, saved_error, error, outcome.error, sizeof outcome.error);
	return outcome;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL}, false)
#define PARSE_FILE(...) parse((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL}, true)

static void assert_refused(struct outcome outcome, const char *line)
{
	assert_int_equal(outcome.rc, CMD_USAGE);
	assert_string_equal(outcome.error, line);
	assert_string_equal(outcome.output, "");
}

TEST(nothing_given_leaves_the_defaults)
{
	struct outcome outcome = PARSE();
	assert_int_equal(outcome.rc, -1);
	assert_memory_equal(&outcome.values, &defaults, sizeof defaults);
	assert_string_equal(outcome.error, "");
}

TEST(every_type_reads_its_value)
{
	struct outcome outcome = PARSE("--verbose", "--name", "x=y", "--count", "10", "--size", "2G", "--wait", "1.5s",
				       "--rate", "99.25", "--mode", "fast");
	assert_int_equal(outcome.rc, -1);
	assert_true(outcome.values.verbose);
	assert_string_equal(outcome.values.name, "x=y");
	assert_int_equal(outcome.values.count, 10);
	assert_int_equal(outcome.values.size, UINT64_C(2) << 30);
	assert_int_equal(outcome.values.wait_ns, 1500 * TARE_NS_PER_MS);
	assert_true(outcome.values.rate == 99.25);
	assert_int_equal(outcome.values.mode, 2);
}

TEST(a_default_that_is_given_can_be_told_apart)
{
	assert_false(PARSE("--size=4K").values.count_given);
	struct outcome outcome = PARSE("--count", "5"); // the default itself
	assert_int_equal(outcome.rc, -1);
	assert_true(outcome.values.count_given);
}

TEST(a_value_may_follow_an_equals_sign)
{
	struct outcome outcome = PARSE("--name=a=b", "--count=2", "--size=1K", "--rate=1", "--mode=slow");
	assert_int_equal(outcome.rc, -1);
	assert_string_equal(outcome.values.name, "a=b");
	assert_int_equal(outcome.values.count, 2);
	assert_int_equal(outcome.values.size, 1024);
	assert_int_equal(outcome.values.mode, 0);
	assert_string_equal(PARSE("--name=").values.name, "");
	assert_string_equal(PARSE("--name", "-").values.name, "-");
}

TEST(the_last_one_wins)
{
	assert_int_equal(PARSE("--count", "3", "--count", "4").values.count, 4);
}

TEST(bad_values_are_refused_with_what_is_allowed)
{
	assert_refused(PARSE("--count", "1"), "tare try: --count: '1' is not allowed; give a number from 2 to 10\n");
	assert_refused(PARSE("--count", "11"), "tare try: --count: '11' is not allowed; give a number from 2 to 10\n");
	assert_refused(PARSE("--count", "-3"), "tare try: --count: '-3' is not allowed; give a number from 2 to 10\n");
	assert_refused(PARSE("--count="), "tare try: --count: '' is not allowed; give a number from 2 to 10\n");
	assert_refused(PARSE("--count", "99999999999999999999"),
		       "tare try: --count: '99999999999999999999' is not allowed; give a number from 2 to 10\n");
	assert_refused(PARSE("--size", "1023"),
		       "tare try: --size: '1023' is not allowed; give a size such as 64M of at least 1K\n");
	assert_refused(PARSE("--size", "64Q"),
		       "tare try: --size: '64Q' is not allowed; give a size such as 64M of at least 1K\n");
	assert_refused(PARSE("--wait", "61m"),
		       "tare try: --wait: '61m' is not allowed; give a time such as 250ms from 0s to 1h\n");
	assert_refused(PARSE("--mode", "fas"), "tare try: --mode: 'fas' is not allowed; give slow, plain or fast\n");
	static const char *const reals[] = {"0.9", "100.1", "nan",   "inf", "1e1", "0x10",
					    ".",   "",      "1.2.3", "1,5", "-2",  "+2"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(reals); i++) {
		char line[128];
		snprintf(line, sizeof line,
			 "tare try: --rate: '%s' is not allowed; give a decimal number from 1 to 100\n", reals[i]);
		assert_refused(PARSE("--rate", reals[i]), line);
	}
}

TEST(a_missing_value_is_told)
{
	assert_refused(PARSE("--count"), "tare try: --count takes a value: --count N\n");
	assert_refused(PARSE("--rate", "--count", "3"), "tare try: --rate takes a value: --rate HZ\n");
	assert_refused(PARSE("--verbose=yes"), "tare try: --verbose takes no value, got 'yes'\n");
}

TEST(a_mistyped_name_gets_a_suggestion)
{
	assert_refused(PARSE("--szie", "3"), "tare try: unknown option '--szie'; did you mean --size?\n");
	assert_refused(PARSE("--conut=3"), "tare try: unknown option '--conut'; did you mean --count?\n");
	assert_refused(PARSE("--verb"), "tare try: unknown option '--verb'; did you mean --verbose?\n");
	assert_refused(PARSE("--elephant"), "tare try: unknown option '--elephant'; 'tare try --help' lists them\n");
	assert_refused(PARSE("-v"), "tare try: unknown option '-v'; options begin with two dashes\n");
	char huge[9000];
	memset(huge, 'a', sizeof huge);
	memcpy(huge, "--", 2);
	huge[sizeof huge - 1] = '\0';
	struct outcome outcome = PARSE(huge);
	assert_int_equal(outcome.rc, CMD_USAGE);
	assert_true(strlen(outcome.error) < 400);
}

TEST(an_error_stays_one_line)
{
	assert_refused(PARSE("--mode", "a\nb\033[31m"),
		       "tare try: --mode: 'a?b?[31m' is not allowed; give slow, plain or fast\n");
}

TEST(positional_arguments_fill_in_order)
{
	struct outcome outcome = PARSE_FILE("--count", "3", "a.tare", "--verbose");
	assert_int_equal(outcome.rc, -1);
	assert_string_equal(outcome.values.file, "a.tare");
	assert_true(outcome.values.verbose);
	outcome = PARSE_FILE("--", "--odd-name");
	assert_int_equal(outcome.rc, -1);
	assert_string_equal(outcome.values.file, "--odd-name");
	assert_refused(PARSE_FILE(), "tare try: FILE is missing; 'tare try --help' tells what it is\n");
	assert_refused(PARSE_FILE("a", "b"), "tare try: unexpected argument 'b'; 'tare try --help' tells usage\n");
	assert_refused(PARSE("a"), "tare try: unexpected argument 'a'; 'tare try --help' tells usage\n");
}

TEST(the_environment_is_read_before_the_flags)
{
	setenv("TARE_TEST_SIZE", "8K", 1);
	setenv("TARE_TEST_NAME", "", 1);
	setenv("TARE_TEST_VERBOSE", "on", 1);
	struct outcome outcome = PARSE();
	assert_int_equal(outcome.rc, -1);
	assert_int_equal(outcome.values.size, 8192);
	assert_string_equal(outcome.values.name, "nobody");
	assert_true(outcome.values.verbose);
	assert_int_equal(PARSE("--size", "16K").values.size, 16384);
	setenv("TARE_TEST_VERBOSE", "0", 1);
	assert_false(PARSE().values.verbose);
	setenv("TARE_TEST_VERBOSE", "maybe", 1);
	assert_refused(PARSE(),
		       "tare try: TARE_TEST_VERBOSE in the environment: 'maybe' is not allowed; give on or off\n");
	unsetenv("TARE_TEST_VERBOSE");
	setenv("TARE_TEST_SIZE", "1", 1);
	assert_refused(PARSE(),
		       "tare try: TARE_TEST_SIZE in the environment: '1' is not allowed; give a size such as 64M "
		       "of at least 1K\n");
	assert_int_equal(PARSE("--help").rc, CMD_OK); // help helps even then
	unsetenv("TARE_TEST_SIZE");
	unsetenv("TARE_TEST_NAME");
}

TEST(help_goes_to_standard_output)
{
	struct outcome outcome = PARSE_FILE("--count", "3", "--help");
	assert_int_equal(outcome.rc, CMD_OK);
	assert_string_equal(outcome.error, "");
	assert_string_equal(outcome.output,
			    "usage: tare try [OPTION]... FILE\n"
			    "\n"
			    "Tries things.\n"
			    "\n"
			    "  --verbose                   say more [environment: TARE_TEST_VERBOSE]\n"
			    "  --name TEXT                 whose (default: nobody) [environment: TARE_TEST_NAME]\n"
			    "  --count N                   how many (default: 5)\n"
			    "  --size SIZE                 bytes (default: 64M) [environment: TARE_TEST_SIZE]\n"
			    "  --wait TIME                 how long (default: 250ms)\n"
			    "  --rate HZ                   often (default: 1.5)\n"
			    "  --mode CHOICE               manner: slow, plain or fast (default: plain)\n"
			    "  FILE                        which\n"
			    "  --help                      print this and exit\n");
	assert_int_equal(PARSE_FILE("-h").rc, CMD_OK);
	assert_int_equal(PARSE_FILE("--", "--help").rc, -1);
}

TEST(a_failure_is_one_line)
{
	FILE *error;
	char line[256];
	int saved = catch_begin(STDERR_FILENO, &error);
	int rc = cmd_fail("try", "%s: %d", "what\nwhere", 7);
	catch_end(STDERR_FILENO, saved, error, line, sizeof line);
	assert_int_equal(rc, CMD_FAILED);
	assert_string_equal(line, "tare try: what?where: 7\n");
}

// Two texts fit in each list.
static int parse_lists(struct cmd_list *tags, struct cmd_list *names, int argc, const char **args, char *error)
{
	static const char *tag_items[2], *name_items[2];
	const char *file = NULL;
	char *argv[8];
	*tags = (struct cmd_list){tag_items, 0, 2};
	*names = (struct cmd_list){name_items, 0, 2};
	const struct cmd_option options[] = {
	    {.name = "tag", .type = CMD_LIST, .value = tags, .help = "how"},
	    {.name = "FILE", .type = CMD_TEXT, .value = &file, .help = "which"},
	    {.name = "NAME", .type = CMD_LIST, .value = names, .help = "what"},
	};
	for (int i = 0; i < argc; i++)
		argv[i] = (char *)args[i];
	FILE *caught;
	int saved = catch_begin(STDERR_FILENO, &caught);
	int rc = cmd_parse("try", "Tries things.", options, TARE_ARRAY_LEN(options), argc, argv);
	catch_end(STDERR_FILENO, saved, caught, error, 4096);
	return rc;
}

TEST(a_list_takes_every_text_it_is_given)
{
	struct cmd_list tags, names;
	char error[4096];
	const char *all[] = {"try", "--tag", "a", "f", "x", "--tag=b", "y"};
	assert_int_equal(parse_lists(&tags, &names, 7, all, error), -1);
	assert_int_equal(tags.count, 2);
	assert_string_equal(tags.items[1], "b");
	assert_int_equal(names.count, 2);
	assert_string_equal(names.items[0], "x");
	assert_string_equal(names.items[1], "y");
	assert_int_equal(parse_lists(&tags, &names, 4, all, error), -1);
	assert_int_equal(names.count, 0); // none is fine
	const char *too_many[] = {"try", "f", "x", "y", "z"};
	assert_int_equal(parse_lists(&tags, &names, 5, too_many, error), CMD_USAGE);
	assert_string_equal(error, "tare try: NAME: 'z' is not allowed; give fewer of them\n");
	const char *no_file[] = {"try", "--tag", "a"};
	assert_int_equal(parse_lists(&tags, &names, 3, no_file, error), CMD_USAGE);
	assert_string_equal(error, "tare try: FILE is missing; 'tare try --help' tells what it is\n");
}
