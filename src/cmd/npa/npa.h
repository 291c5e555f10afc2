// SPDX-License-Identifier: MIT
// What the files of `tare npa` share.
//
// A report is one JSON document, whether it was just measured or read from a file:
//
//   {"program": …, "mode": …, "compiler": …, "libc": …, "valgrind": … or null,
//    "machine": {…}, "noise": {"floor": ns, "share": …},
//    "rows": [{"row": …, "why": …, "budget": …, "mean": …, "p50": …, "cold": …, "instructions": …, "syscalls": …}, …]}
//
// Figures that there are not are null or absent. child.c runs the program of rows, times.c times them, count.c counts
// its instructions and system calls from outside, lookup.c those of a whole request of the service, steps.c the steps
// of a first one; table.c, html.c and gate.c read a report.
// Threads: one. Ownership: a report is jansson's; who gets a new reference says so.
#ifndef TARE_CMD_NPA_H
#define TARE_CMD_NPA_H

#include "cmd/cmd.h"

#include <jansson.h>
#include <stdio.h>

enum { NPA_ROWS_MAX = 4096 };

// What was measured, in a row: the figure, or NAN where it has none.
double npa_figure(const json_t *row, const char *name);
const char *npa_text(const json_t *object, const char *name); // "" where there is none
// The row of that name, or NULL. Borrowed.
json_t *npa_row(const json_t *report, const char *name);

// ---- running ------------------------------------------------------------------------------------------------------

// Runs the program with these arguments (NULL-terminated, argv[0] the program) and calls fn with each line of JSON that
// it says. What it says of an error, and how it ended, is told in err. fn returns 0, or what ends the run.
TARE_MUST_USE int npa_ask(char *const argv[], int (*fn)(void *arg, json_t *line), void *arg, struct tare_error *err);
// The same in steps.
struct npa_child {
	int pid;
	FILE *out; // what it writes to its standard output
	const char *
	    folder; // NULL: its standard error is ours. Else it runs under valgrind: what it says goes to a file there,
		    // and libc is told to use the code that every processor of the architecture can run
};
TARE_MUST_USE int npa_child_start(struct npa_child *child, char *const argv[], struct tare_error *err);
// Waits; 0, or -EIO with how it ended and what it said last. The exit code that is expected is 0.
TARE_MUST_USE int npa_child_end(struct npa_child *child, const char *what, struct tare_error *err);

// ---- timing -------------------------------------------------------------------------------------------------------

struct npa_timing {
	const char *program;
	json_t *report, *rows; // rows: those of the report, which get their figures
	bool quick;
};
// Writes "machine" and "noise" into the report, and times into its rows.
TARE_MUST_USE int npa_time(const struct npa_timing *of, struct tare_error *err);
// A line on a terminal that the next one replaces.
void npa_progress(const char *what);

// ---- counting -----------------------------------------------------------------------------------------------------

// Valgrind's version, "3.19.0", or -ENOENT where there is none.
TARE_MUST_USE int npa_valgrind(char *ret_version, size_t cap);
// Writes "instructions" into the rows that are named. A row that can't be counted stays without, and err says why.
TARE_MUST_USE int npa_count_instructions(const char *program, json_t *rows, struct tare_error *err);
// The same for "syscalls".
TARE_MUST_USE int npa_count_syscalls(const char *program, json_t *rows, struct tare_error *err);
// Appends rows for the instructions of whole requests of `tare svc`, counted in the server.
TARE_MUST_USE int npa_count_lookups(const char *tare, json_t *rows, struct tare_error *err);

// Appends rows for the steps of a service's first request, by what `tare svc --trace-one` says of them.
TARE_MUST_USE int npa_trace_steps(const char *tare, json_t *rows, struct tare_error *err);
// exec wants its arguments writable and leaves them alone.
#define NPA_ARG(text) ((char *)(uintptr_t)(text))

// What Callgrind has counted in a folder of its parts, from part 1 on.
struct npa_parts {
	double *counts;
	size_t count;
};
TARE_MUST_USE int npa_parts_read(struct npa_parts *ret, const char *folder, struct tare_error *err);
// A folder for the parts, and its removal with all that is in it.
TARE_MUST_USE int npa_folder_make(char *ret_path, size_t cap, struct tare_error *err);
void npa_folder_remove(const char *path);
// "--callgrind-out-file=FOLDER/part"
void npa_parts_option(char *out, size_t cap, const char *folder);
// Of three.
double npa_middle(const double of[3]);

// ---- reports ------------------------------------------------------------------------------------------------------

enum { NPA_CELL = 24 };
// Three digits that count, as people write them: 0.81, 13.6, 1,204; "-" for NAN. Returns out.
const char *npa_cell(char out[NPA_CELL], double value);
void npa_table_write(const json_t *report);
// A file of its own: nothing is fetched. -EIO and the like with a text.
TARE_MUST_USE int npa_html_write(const json_t *report, const char *path, struct tare_error *err);

// The report in a file. A new reference.
TARE_MUST_USE int npa_report_read(json_t **ret, const char *path, struct tare_error *err);
// Holds a report to a baseline: prints a line for each row that is not as it should be, and how many there are. An exit
// code.
int npa_gate_check(const json_t *report, const char *path);
// Writes the baseline that the report comes to. A row that got dearer than the baseline in the file allows needs a
// reason.
int npa_gate_write(const json_t *report, const char *path, const char *reason);
// Two reports, row by row. An exit code: 1 where a row of the second is worse.
int npa_compare(const char *before, const char *after);
// Whether an increase is one: any (a tenth of an instruction) below 50 instructions, 2 % above.
bool npa_grew(double before, double after);

#define NPA_SHARE_LEAST 0.02 // of a row: less is no change

// Of two reports.
struct npa_noise {
	double share; // from which a change is told
	double floor; // the same in nanoseconds
	double pace;  // how much longer work that is always the same took in the second
};
// Of two timed rows, 1: the second is slower, -1: it is faster, 0: that can't be told.
int npa_slower(const json_t *before, const json_t *after, const struct npa_noise *noise);
// Holds the report of the rows for it to what must come out. An exit code.
int npa_selftest(const json_t *report);

#endif
