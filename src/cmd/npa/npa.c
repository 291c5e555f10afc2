// SPDX-License-Identifier: MIT
// `tare npa`: nanoseconds per abstraction. Measures the rows of a program, reports them, and holds them to a baseline.
//
// Rows are in a program of their own, which this command runs: to list them, to time them, and to have them counted
// from outside. Without one it is the program with Tare's own rows, which is built and installed beside this one.
// Threads: one. Ownership: the report is this file's.
#include "cmd/npa/npa.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIST_MAX = 256, PATH_BYTES = 4096 };
enum part { PART_ALL, PART_TIME, PART_COUNT };
static const char *const part_names[] = {"all", "time", "count", NULL};

struct request {
	const char *arg_items[2], *row_items[LIST_MAX];
	struct cmd_list args, patterns;
	const char *html, *check, *baseline, *reason;
	int part;
	bool json, quick, list, compare, self_test, part_given;
	char tare[PATH_BYTES], program[PATH_BYTES];
	bool own; // Tare's own rows
	json_t *report, *rows;
};

// ---- options ------------------------------------------------------------------------------------------------------

static int parse(struct request *q, int argc, char **argv)
{
	q->args = (struct cmd_list){q->arg_items, 0, 2};
	q->patterns = (struct cmd_list){q->row_items, 0, LIST_MAX};
	const struct cmd_option options[] = {
	    {.name = "PROGRAM", .type = CMD_LIST, .value = &q->args, .help = "holds the rows; none: Tare's own"},
	    {.name = "rows",
	     .type = CMD_LIST,
	     .value = &q->patterns,
	     .placeholder = "PATTERN",
	     .help = "only rows, or groups, whose names match, such as 'call_*'"},
	    {.name = "measure",
	     .type = CMD_CHOICE,
	     .value = &q->part,
	     .given = &q->part_given,
	     .choices = part_names,
	     .help = "what is measured; count is instructions and system calls"},
	    {.name = "quick", .type = CMD_FLAG, .value = &q->quick, .help = "fewer rounds and calls, nothing cold"},
	    {.name = "list", .type = CMD_FLAG, .value = &q->list, .help = "only name the rows"},
	    {.name = "json", .type = CMD_FLAG, .value = &q->json, .help = "report as JSON"},
	    {.name = "html",
	     .type = CMD_TEXT,
	     .value = &q->html,
	     .placeholder = "FILE",
	     .help = "write a page with plots too"},
	    {.name = "check",
	     .type = CMD_TEXT,
	     .value = &q->check,
	     .placeholder = "BASELINE",
	     .help = "count, and fail where a row got dearer than the file allows"},
	    {.name = "baseline",
	     .type = CMD_TEXT,
	     .value = &q->baseline,
	     .placeholder = "FILE",
	     .help = "count, and write such a file"},
	    {.name = "reason",
	     .type = CMD_TEXT,
	     .value = &q->reason,
	     .help = "with --baseline: why rows may be dearer than the file allowed so far"},
	    {.name = "self-test",
	     .type = CMD_FLAG,
	     .value = &q->self_test,
	     .help = "hold the tool itself to rows whose outcome is known"},
	    {.name = "compare",
	     .type = CMD_FLAG,
	     .value = &q->compare,
	     .help = "compare two reports, FILE FILE in place of PROGRAM, written with --json"},
	};
	return cmd_parse("npa", "Measures what abstractions cost, in nanoseconds, instructions and system calls.",
			 options, TARE_ARRAY_LEN(options), argc, argv);
}

// What no single option can say. -1: go on.
static int parse_rest(struct request *q)
{
	const char *wrong = NULL;
	if (q->compare && q->args.count != 2)
		wrong = "--compare takes two files: tare npa --compare before.json after.json";
	else if (!q->compare && q->args.count > 1)
		wrong = "takes one program";
	else if (q->check != NULL && q->baseline != NULL)
		wrong = "--check and --baseline exclude each other: check first, then write";
	else if (q->self_test &&
		 (q->args.count > 0 || q->patterns.count > 0 || q->check != NULL || q->baseline != NULL))
		wrong = "--self-test has rows of its own, and nothing to hold them to";
	else if (q->baseline != NULL && q->patterns.count > 0)
		wrong = "--baseline is of all rows; leave --rows out";
	else if (q->reason != NULL && q->baseline == NULL)
		wrong = "--reason goes with --baseline";
	else if ((q->check != NULL || q->baseline != NULL) && q->part_given && q->part != PART_COUNT)
		wrong = "a baseline holds counts, no times; leave --measure out";
	if (wrong != NULL) {
		(void)cmd_fail("npa", "%s", wrong);
		return CMD_USAGE;
	}
	if (q->check != NULL || q->baseline != NULL)
		q->part = PART_COUNT;
	if (q->self_test)
		q->row_items[q->patterns.count++] = "self_*";
	return -1;
}

// ---- programs -----------------------------------------------------------------------------------------------------

// Tare's own rows: beside this program in a build, below lib where it is installed.
static int find_program(struct request *q)
{
	static const char *const places[] = {"bench/npa", "../lib/tare/npa"};
	ssize_t len = readlink("/proc/self/exe", q->tare, sizeof q->tare - 1);
	if (len <= 0)
		return cmd_fail("npa", "/proc/self/exe: %s", strerror(errno));
	q->tare[len] = '\0';
	q->own = q->args.count == 0;
	if (!q->own) {
		// exec looks a bare name up in PATH; a file here is meant.
		bool bare = strchr(q->arg_items[0], '/') == NULL;
		snprintf(q->program, sizeof q->program, "%s%s", bare ? "./" : "", q->arg_items[0]);
		if (access(q->program, X_OK) < 0)
			return cmd_fail("npa", "%s: %s; name a program whose main returns tare_npa_main", q->program,
					strerror(errno));
		return -1;
	}
	int folder = (int)(strrchr(q->tare, '/') - q->tare);
	for (size_t i = 0; i < TARE_ARRAY_LEN(places); i++) {
		snprintf(q->program, sizeof q->program, "%.*s/%s", folder, q->tare, places[i]);
		if (access(q->program, X_OK) == 0)
			return -1;
	}
	return cmd_fail(
	    "npa",
	    "the program with Tare's own rows is neither %.*s/bench/npa nor %.*s/../lib/tare/npa; build it with "
	    "'make npa', or name a program of yours",
	    folder, q->tare, folder, q->tare);
}

static bool wanted(const struct request *q, const json_t *row)
{
	if (q->patterns.count == 0)
		return !json_is_true(json_object_get(row, "hidden"));
	for (size_t i = 0; i < q->patterns.count; i++)
		if (fnmatch(q->row_items[i], npa_text(row, "row"), 0) == 0 ||
		    fnmatch(q->row_items[i], npa_text(row, "group"), 0) == 0)
			return true;
	return false;
}

static int on_row(void *arg, json_t *line)
{
	struct request *q = arg;
	if (!wanted(q, line) || json_array_size(q->rows) == NPA_ROWS_MAX)
		return 0;
	return json_array_append(q->rows, line);
}

static int list(struct request *q)
{
	struct tare_error err;
	char arg[] = "list", *const argv[] = {q->program, arg, NULL};
	size_t i;
	json_t *row;
	if (npa_ask(argv, on_row, q, &err) < 0)
		return cmd_fail("npa", "%s", err.text);
	if (json_array_size(q->rows) == 0)
		return cmd_fail("npa", "%s has no such rows; 'tare npa --list' names them", q->program);
	for (i = 0; (row = json_array_get(q->rows, i)) != NULL; i++)
		if (json_is_true(json_object_get(row, "empty")) && !q->self_test)
			return cmd_fail(
			    "npa",
			    "row %s (%s:%d) does nothing: the compiler has left it out; hide what it works on "
			    "with TARE_NPA_HIDE and keep what it finds with TARE_NPA_KEEP",
			    npa_text(row, "row"), npa_text(row, "file"), (int)npa_figure(row, "line"));
	return -1;
}

// ---- measuring ----------------------------------------------------------------------------------------------------

// What can't be counted is said and left out, unless a baseline needs it.
static int counted(struct request *q, int rc, const char *what, const struct tare_error *err)
{
	if (rc == 0)
		return 0;
	(void)cmd_fail("npa", "no %s: %s", what, err->text);
	return q->check != NULL || q->baseline != NULL ? rc : 0;
}

static int measure_counts(struct request *q)
{
	struct tare_error err;
	char version[32];
	bool valgrind = npa_valgrind(version, sizeof version) == 0;
	json_object_set_new(q->report, "valgrind", valgrind ? json_string(version) : json_null());
	npa_progress("counting system calls");
	int rc = counted(q, npa_count_syscalls(q->program, q->rows, &err), "system calls", &err);
	npa_progress("counting instructions");
	if (rc == 0 && !valgrind)
		rc = counted(q, tare_error_set(&err, -ENOENT, "there is no valgrind; install it to have them counted"),
			     "instructions", &err);
	else if (rc == 0)
		rc = counted(q, npa_count_instructions(q->program, q->rows, &err), "instructions", &err);
	// The whole request belongs to all of Tare's rows.
	if (rc == 0 && valgrind && q->own && q->patterns.count == 0)
		rc = counted(q, npa_count_lookups(q->tare, q->rows, &err), "instructions of whole requests", &err);
	return rc;
}

static void describe(struct request *q)
{
	const json_t *first = json_array_get(q->rows, 0);
	json_object_set_new(q->report, "program", json_string(q->own ? "tare" : q->arg_items[0]));
	json_object_set_new(q->report, "mode", json_string(TARE_MODE));
	json_object_set_new(q->report, "compiler", json_string(npa_text(first, "compiler")));
	json_object_set_new(q->report, "libc", json_string(npa_text(first, "libc")));
	json_object_set_new(q->report, "arch", json_string(npa_text(first, "arch")));
}

static int measure(struct request *q)
{
	struct tare_error err = {""};
	describe(q);
	// What is appended for whole requests has no row in the program: it comes last.
	int rc = 0;
	struct npa_timing timing = {q->program, q->report, q->rows, q->quick};
	if (q->part != PART_COUNT)
		rc = npa_time(&timing, &err);
	if (rc < 0)
		return cmd_fail("npa", "%s", err.text);
	if (q->part != PART_TIME && measure_counts(q) < 0)
		return CMD_FAILED;
	if (q->part != PART_COUNT && q->own && q->patterns.count == 0 && npa_trace_steps(q->tare, q->rows, &err) < 0)
		return cmd_fail("npa", "%s", err.text);
	npa_progress("");
	return -1;
}

static int report(struct request *q)
{
	struct tare_error err;
	if (q->html != NULL && npa_html_write(q->report, q->html, &err) < 0)
		return cmd_fail("npa", "%s", err.text);
	if (q->self_test)
		return npa_selftest(q->report);
	if (q->check != NULL)
		return npa_gate_check(q->report, q->check);
	if (q->baseline != NULL)
		return npa_gate_write(q->report, q->baseline, q->reason);
	if (q->json) {
		if (json_dumpf(q->report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0)
			return cmd_fail("npa", "the report could not be written as JSON");
		printf("\n");
	} else {
		npa_table_write(q->report);
	}
	if (fflush(stdout) != 0 || ferror(stdout))
		return cmd_fail("npa", "standard output: %s", strerror(errno));
	return CMD_OK;
}

static int list_print(const struct request *q)
{
	size_t i;
	json_t *row;
	for (i = 0; (row = json_array_get(q->rows, i)) != NULL; i++)
		printf("%-28s %-12s %s:%d\n", npa_text(row, "row"), npa_text(row, "group"), npa_text(row, "file"),
		       (int)npa_figure(row, "line"));
	return CMD_OK;
}

static int run(struct request *q)
{
	q->report = json_object();
	q->rows = json_array();
	if (q->report == NULL || q->rows == NULL || json_object_set(q->report, "rows", q->rows) < 0)
		return cmd_fail("npa", "out of memory");
	int code = find_program(q);
	if (code == -1)
		code = list(q);
	if (code == -1 && q->list)
		return list_print(q);
	if (code == -1)
		code = measure(q);
	return code == -1 ? report(q) : code;
}

int cmd_npa(int argc, char **argv)
{
	static struct request q;
	q = (struct request){.part = PART_ALL};
	int code = parse(&q, argc, argv);
	if (code == -1)
		code = parse_rest(&q);
	if (code == -1)
		code = q.compare ? npa_compare(q.arg_items[0], q.arg_items[1]) : run(&q);
	json_decref(q.rows);
	json_decref(q.report);
	return code;
}
