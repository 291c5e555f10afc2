// SPDX-License-Identifier: MIT
// Reads a subcommand's options: environment first, then the command line; prints --help from the same table.
//
// Rules: `--name value` and `--name=value` are the same. An option given twice: the last one wins, so that a script can
// append its own. `--` ends the options. A positional argument without a default must be given. An empty environment
// variable counts as unset. Nothing is guessed: a value that does not parse, or is out of bounds, is refused with what
// would be allowed.
// Ownership: text values point into argv or the environment.
// Rejected: getopt_long (no types, bounds, defaults or suggestions, and it reorders and prints by itself).
#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, NAME_MAX_BYTES = 40, HELP_COLUMN = 30 };

// ---- one line on standard error -----------------------------------------------------------------------------------

// One write, so that lines of several processes don't mix; control characters of what the user typed become '?', so
// that it stays one line.
static void say(const char *command, const char *format, va_list args)
{
	char line[LINE_MAX_BYTES];
	int head = snprintf(line, sizeof line, "tare %s: ", command);
	size_t len = head < 0 ? 0 : TARE_MIN((size_t)head, sizeof line - 2);
	int body = vsnprintf(line + len, sizeof line - 1 - len, format, args);
	if (body > 0)
		len = TARE_MIN(len + (size_t)body, sizeof line - 2);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	fflush(stdout);
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written; // there is nowhere left to report to
}

int cmd_fail(const char *command, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(command, format, args);
	va_end(args);
	return CMD_FAILED;
}

static int usage_error(const char *command, const char *format, ...) TARE_PRINTF(2, 3);
static int usage_error(const char *command, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(command, format, args);
	va_end(args);
	return CMD_USAGE;
}

// ---- values as people write them ----------------------------------------------------------------------------------

// The largest unit that divides it: 67108864 is "64M".
static void format_size(char *out, size_t cap, uint64_t bytes)
{
	static const char units[] = "\0KMGT";
	unsigned unit = 0;
	while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, cap, "%" PRIu64 "%.1s", bytes, &units[unit]);
}

static void format_duration(char *out, size_t cap, int64_t ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {{"h", 3600 * TARE_NS_PER_S}, {"m", 60 * TARE_NS_PER_S}, {"s", TARE_NS_PER_S},
		     {"ms", TARE_NS_PER_MS},      {"us", TARE_NS_PER_US},    {"ns", 1}};
	size_t i = 0;
	if (ns == 0)
		i = 2;
	else
		while (ns % units[i].ns != 0)
			i++;
	snprintf(out, cap, "%" PRId64 "%s", ns / units[i].ns, units[i].name);
}

static void format_bound(const struct cmd_option *option, char *out, size_t cap, uint64_t bound)
{
	if (option->type == CMD_SIZE)
		format_size(out, cap, bound);
	else if (option->type == CMD_DURATION)
		format_duration(out, cap, (int64_t)bound);
	else
		snprintf(out, cap, "%" PRIu64, bound);
}

// "debug, info or warn"
static void format_choices(const struct cmd_option *option, char *out, size_t cap)
{
	size_t len = 0;
	out[0] = '\0';
	for (size_t i = 0; option->choices[i] != NULL && len < cap; i++) {
		const char *before = i == 0 ? "" : option->choices[i + 1] == NULL ? " or " : ", ";
		int n = snprintf(out + len, cap - len, "%s%s", before, option->choices[i]);
		len += n < 0 ? 0 : (size_t)n;
	}
}

// " from 1K to 4G", " of at least 1", or nothing.
static void format_range(const struct cmd_option *option, char *out, size_t cap)
{
	char low[32], high[32];
	format_bound(option, low, sizeof low, option->min);
	format_bound(option, high, sizeof high, option->max);
	if (option->max != 0)
		snprintf(out, cap, " from %s to %s", low, high);
	else if (option->min != 0)
		snprintf(out, cap, " of at least %s", low);
	else
		out[0] = '\0';
}

static bool within(const struct cmd_option *option, uint64_t value)
{
	return value >= option->min && (option->max == 0 || value <= option->max);
}

// The option's *value, or "" where there is nothing worth saying: a number out of bounds stands for "not given".
static void format_default(const struct cmd_option *option, char *out, size_t cap)
{
	out[0] = '\0';
	switch (option->type) {
	case CMD_FLAG:
		if (*(const bool *)option->value)
			snprintf(out, cap, "on");
		break;
	case CMD_TEXT:
		if (*(const char *const *)option->value != NULL)
			snprintf(out, cap, "%s", *(const char *const *)option->value);
		break;
	case CMD_U64:
	case CMD_SIZE:
		if (within(option, *(const uint64_t *)option->value))
			format_bound(option, out, cap, *(const uint64_t *)option->value);
		break;
	case CMD_DURATION:
		format_duration(out, cap, *(const int64_t *)option->value);
		break;
	case CMD_REAL:
		snprintf(out, cap, "%g", *(const double *)option->value);
		break;
	case CMD_CHOICE:
		snprintf(out, cap, "%s", option->choices[*(const int *)option->value]);
		break;
	case CMD_LIST:
		break;
	}
}

static bool is_positional(const struct cmd_option *option)
{
	return option->name[0] >= 'A' && option->name[0] <= 'Z';
}

static const char *placeholder(const struct cmd_option *option)
{
	static const char *const names[] = {
	    [CMD_FLAG] = "",         [CMD_TEXT] = "TEXT", [CMD_U64] = "N",         [CMD_SIZE] = "SIZE",
	    [CMD_DURATION] = "TIME", [CMD_REAL] = "X",    [CMD_CHOICE] = "CHOICE", [CMD_LIST] = "TEXT"};
	return option->placeholder != NULL ? option->placeholder : names[option->type];
}

// ---- help ---------------------------------------------------------------------------------------------------------

static void help_option(const struct cmd_option *option)
{
	char left[96], text[256];
	if (is_positional(option))
		snprintf(left, sizeof left, "  %s", option->name);
	else
		snprintf(left, sizeof left, "  --%s%s%s", option->name, option->type == CMD_FLAG ? "" : " ",
			 placeholder(option));
	if (strlen(left) >= HELP_COLUMN - 1)
		printf("%s\n%*s%s", left, HELP_COLUMN, "", option->help);
	else
		printf("%-*s%s", HELP_COLUMN, left, option->help);
	if (option->type == CMD_CHOICE) {
		format_choices(option, text, sizeof text);
		printf(": %s", text);
	}
	format_default(option, text, sizeof text);
	if (text[0] != '\0')
		printf(" (default: %s)", text);
	if (option->env != NULL)
		printf(" [environment: %s]", option->env);
	printf("\n");
}

static int help(const char *command, const char *summary, const struct cmd_option *options, size_t count)
{
	printf("usage: tare %s [OPTION]...", command);
	for (size_t i = 0; i < count; i++)
		if (is_positional(&options[i]))
			printf(options[i].type == CMD_LIST ? " [%s]..." : " %s", options[i].name);
	printf("\n\n%s\n\n", summary);
	for (size_t i = 0; i < count; i++)
		help_option(&options[i]);
	printf("%-*s%s\n", HELP_COLUMN, "  --help", "print this and exit");
	return fflush(stdout) == 0 ? CMD_OK : cmd_fail(command, "standard output: %s", strerror(errno));
}

// ---- reading ------------------------------------------------------------------------------------------------------

// Both texts are short: the longest name is NAME_MAX_BYTES.
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t row[NAME_MAX_BYTES + 1];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			row[j] = TARE_MIN(change, TARE_MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_len];
}

static int unknown_option(const char *command, const struct cmd_option *options, size_t count, struct tare_str name)
{
	const char *best = NULL;
	size_t best_distance = name.len / 3 + 1; // more edits than this are another word
	for (size_t i = 0; i < count && name.len <= NAME_MAX_BYTES; i++) {
		size_t len = strlen(options[i].name);
		if (is_positional(&options[i]) || len > NAME_MAX_BYTES)
			continue;
		size_t distance = edit_distance(name.ptr, name.len, options[i].name, len);
		if (len > name.len && memcmp(options[i].name, name.ptr, name.len) == 0)
			distance = 1; // its beginning
		if (distance <= best_distance && (best == NULL || distance < best_distance)) {
			best = options[i].name;
			best_distance = distance;
		}
	}
	int len = (int)TARE_MIN(name.len, (size_t)200);
	if (best != NULL)
		return usage_error(command, "unknown option '--%.*s'; did you mean --%s?", len, name.ptr, best);
	return usage_error(command, "unknown option '--%.*s'; 'tare %s --help' lists them", len, name.ptr, command);
}

// Says what was wrong with the text. source is "--size" or "TARE_SIZE in the environment".
static int bad_value(const char *command, const struct cmd_option *option, const char *source, const char *text)
{
	static const char *const wanted[] = {
	    [CMD_FLAG] = "on or off",
	    [CMD_TEXT] = "a text",
	    [CMD_U64] = "a number",
	    [CMD_SIZE] = "a size such as 64M",
	    [CMD_DURATION] = "a time such as 250ms",
	    [CMD_REAL] = "a decimal number",
	    [CMD_CHOICE] = "",
	    [CMD_LIST] = "fewer of them",
	};
	char allowed[512] = "";
	if (option->type == CMD_CHOICE)
		format_choices(option, allowed, sizeof allowed);
	else if (option->type != CMD_FLAG && option->type != CMD_TEXT && option->type != CMD_LIST)
		format_range(option, allowed, sizeof allowed);
	return usage_error(command, "%s: '%.200s' is not allowed; give %s%s", source, text, wanted[option->type],
			   allowed);
}

static bool read_flag(const char *text, bool *ret)
{
	static const char *const on[] = {"1", "on", "true", "yes"}, *const off[] = {"0", "off", "false", "no"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(on); i++) {
		if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
			*ret = strcmp(text, on[i]) == 0;
			return true;
		}
	}
	return false;
}

// Digits, one point, digits: no sign, exponent, "nan" or "inf", and the same in every locale.
static bool read_real(const struct cmd_option *option, const char *text, double *ret)
{
	double value = 0, place = 1;
	size_t digits = 0;
	bool fraction = false;
	for (; *text != '\0'; text++) {
		if (*text == '.' && !fraction) {
			fraction = true;
			continue;
		}
		if (*text < '0' || *text > '9' || ++digits > 15)
			return false;
		value = value * 10 + (*text - '0');
		if (fraction)
			place *= 10;
	}
	value /= place;
	if (digits == 0 || value < (double)option->min || (option->max != 0 && value > (double)option->max))
		return false;
	*ret = value;
	return true;
}

static bool read_choice(const struct cmd_option *option, const char *text, int *ret)
{
	for (int i = 0; option->choices[i] != NULL; i++) {
		if (strcmp(text, option->choices[i]) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

// False leaves *value as it was.
static bool read_value(const struct cmd_option *option, const char *text)
{
	struct cmd_list *list;
	uint64_t number;
	int64_t ns;
	switch (option->type) {
	case CMD_FLAG:
		return read_flag(text, option->value);
	case CMD_TEXT:
		*(const char **)option->value = text;
		return true;
	case CMD_U64:
	case CMD_SIZE:
		if ((option->type == CMD_U64 ? tare_parse_u64((struct tare_str){text, strlen(text)}, &number)
					     : tare_parse_size(text, &number)) < 0 ||
		    !within(option, number))
			return false;
		*(uint64_t *)option->value = number;
		return true;
	case CMD_DURATION:
		if (tare_parse_duration(text, &ns) < 0 || !within(option, (uint64_t)ns))
			return false;
		*(int64_t *)option->value = ns;
		return true;
	case CMD_REAL:
		return read_real(option, text, option->value);
	case CMD_CHOICE:
		return read_choice(option, text, option->value);
	case CMD_LIST:
		list = option->value;
		if (list->count == list->cap)
			return false;
		list->items[list->count++] = text;
		return true;
	}
	return false;
}

static int read_environment(const char *command, const struct cmd_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *text = options[i].env != NULL ? getenv(options[i].env) : NULL;
		if (text == NULL || text[0] == '\0' || read_value(&options[i], text))
			continue;
		char source[128];
		snprintf(source, sizeof source, "%s in the environment", options[i].env);
		return bad_value(command, &options[i], source, text);
	}
	return -1;
}

static const struct cmd_option *option_named(const struct cmd_option *options, size_t count, struct tare_str name)
{
	for (size_t i = 0; i < count; i++)
		if (!is_positional(&options[i]) &&
		    tare_str_eq(name, (struct tare_str){options[i].name, strlen(options[i].name)}))
			return &options[i];
	return NULL;
}

// argv[*at] is "--name" or "--name=value"; leaves *at on the last argument it used. -1 or an exit code.
static int read_option(const char *command, const struct cmd_option *options, size_t count, int argc, char **argv,
		       int *at)
{
	const char *arg = argv[*at] + 2;
	const char *value = strchr(arg, '=');
	struct tare_str name = {arg, value != NULL ? (size_t)(value - arg) : strlen(arg)};
	const struct cmd_option *option = option_named(options, count, name);
	if (option == NULL)
		return unknown_option(command, options, count, name);
	if (option->given != NULL)
		*option->given = true;
	if (option->type == CMD_FLAG) {
		if (value != NULL)
			return usage_error(command, "--%s takes no value, got '%.200s'", option->name, value + 1);
		*(bool *)option->value = true;
		return -1;
	}
	if (value != NULL)
		value++;
	else if (*at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
		value = argv[++*at];
	else
		return usage_error(command, "--%s takes a value: --%s %s", option->name, option->name,
				   placeholder(option));
	char source[NAME_MAX_BYTES + 4];
	snprintf(source, sizeof source, "--%s", option->name);
	return read_value(option, value) ? -1 : bad_value(command, option, source, value);
}

// The next positional argument that was not given yet; a list takes all that follow.
static const struct cmd_option *positional_next(const struct cmd_option *options, size_t count, size_t *at)
{
	for (; *at < count; (*at)++)
		if (is_positional(&options[*at]))
			return &options[options[*at].type == CMD_LIST ? *at : (*at)++];
	return NULL;
}

static int missing_positional(const char *command, const struct cmd_option *options, size_t count, size_t *at)
{
	const struct cmd_option *option;
	while ((option = positional_next(options, count, at)) != NULL && option->type != CMD_LIST)
		if (*(const char **)option->value == NULL)
			return usage_error(command, "%s is missing; 'tare %s --help' tells what it is", option->name,
					   command);
	return -1;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int cmd_parse(const char *command, const char *summary, const struct cmd_option *options, size_t count, int argc,
	      char **argv)
{
	// Before anything else is read, so that the defaults it prints are the program's.
	if (asks_for_help(argc, argv))
		return help(command, summary, options, count);
	int rc = read_environment(command, options, count);
	size_t positional_at = 0;
	bool options_ended = false;
	for (int i = 1; i < argc && rc == -1; i++) {
		const char *arg = argv[i];
		if (!options_ended && strcmp(arg, "--") == 0) {
			options_ended = true;
		} else if (!options_ended && strncmp(arg, "--", 2) == 0) {
			rc = read_option(command, options, count, argc, argv, &i);
		} else if (!options_ended && arg[0] == '-' && arg[1] != '\0') {
			rc = usage_error(command, "unknown option '%.200s'; options begin with two dashes", arg);
		} else {
			const struct cmd_option *option = positional_next(options, count, &positional_at);
			if (option == NULL)
				rc = usage_error(command, "unexpected argument '%.200s'; 'tare %s --help' tells usage",
						 arg, command);
			else if (!read_value(option, arg))
				rc = bad_value(command, option, option->name, arg);
		}
	}
	return rc != -1 ? rc : missing_positional(command, options, count, &positional_at);
}
