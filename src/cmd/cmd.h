// SPDX-License-Identifier: MIT
// What the subcommands share: their entry points, exit codes, and the reading of options.
//
// Every command: --help on standard output, errors in one line on standard error ("tare gen: …: what to do"),
// exit code 0 done, 1 failed, 2 bad usage.
#ifndef TARE_CMD_H
#define TARE_CMD_H

#include <tare/base.h>

enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

// argv[0] is the subcommand's name. The exit code.
int cmd_gen(int argc, char **argv);
int cmd_loadindex(int argc, char **argv);
int cmd_svc(int argc, char **argv);
int cmd_load(int argc, char **argv);
int cmd_layout(int argc, char **argv);
int cmd_schema(int argc, char **argv);
int cmd_npa(int argc, char **argv);
int cmd_lab(int argc, char **argv);

// ---- progress -----------------------------------------------------------------------------------------------------

// A line on standard error, where that is a terminal, while work takes long.
struct cmd_progress {
	const char *what; // what stands before the figures; kept
	int64_t start_ns, shown_ns;
	bool terminal, shown;
};
void cmd_progress_begin(struct cmd_progress *progress, const char *what);
void cmd_progress_show(struct cmd_progress *progress, uint64_t done, uint64_t total);
void cmd_progress_end(const struct cmd_progress *progress); // wipes the line

// ---- options ------------------------------------------------------------------------------------------------------

enum cmd_type {
	CMD_FLAG,     // bool *: --name, no value
	CMD_TEXT,     // const char **
	CMD_U64,      // uint64_t *: a number within [min, max]
	CMD_SIZE,     // uint64_t *: bytes, "64M", within [min, max]
	CMD_DURATION, // int64_t *: nanoseconds, "250ms", within [min, max]
	CMD_REAL,     // double *: a decimal fraction within [min, max]
	CMD_CHOICE,   // int *: the position in choices
	CMD_LIST, // struct cmd_list *: a text each time it is given; as a positional argument all that follow, or none
};

// What CMD_LIST fills: storage for cap texts, of which count were given. More are refused.
struct cmd_list {
	const char **items;
	size_t count, cap;
};

struct cmd_option {
	const char
	    *name; // without the dashes; "FILE" in capitals is a positional argument, CMD_TEXT or (last) CMD_LIST
	enum cmd_type type;
	void *value;                // holds the default
	const char *const *choices; // CMD_CHOICE: NULL-terminated
	const char *env;            // an environment variable read before the flags, or NULL
	const char *placeholder;    // "SIZE" in --help; NULL takes the type's own
	const char *help;           // one line; "(default: …)" is added from *value
	uint64_t min, max;          // max 0: no upper bound
	bool *given;                // set when the command line gives it, or NULL
};

// Reads argv[1…] (`--name value` and `--name=value`) into the options' values. On --help prints usage to standard
// output. On a mistake prints one line to standard error that names the option, the value and what is allowed. -1: go
// on; otherwise the command's exit code.
TARE_MUST_USE int cmd_parse(const char *command, const char *summary, const struct cmd_option *options, size_t count,
			    int argc, char **argv);

// "tare COMMAND: …" and a newline on standard error, in one write. Returns CMD_FAILED.
int cmd_fail(const char *command, const char *format, ...) TARE_PRINTF(2, 3);

#endif
