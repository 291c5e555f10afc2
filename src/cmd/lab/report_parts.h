// SPDX-License-Identifier: MIT
// What the files of the laboratory's report share. report_check.c says whether a document is a report; everything else
// relies on it: names that are there, cells that are as many as columns, points that are pairs.
//
// report.json (keys marked ? may be left out; who writes more keys than these is not refused):
//
//   title, about?, made, quick?, machine {…}, acceptance [VERDICT…], missed? [VERDICT…],
//   behind [{page, what, tare: number or null, go, unit?, why?}…],
//   pages [{id, title, question, commands [text…], tables [TABLE…], plots [PLOT…], verdicts [VERDICT…],
//           learnt [text…], next [text…], notes [text…], skipped?, spread?}…]
//   VERDICT {point, asked, figure, met: bool or null, own_asked?, own_met?, evidence?, why?, group?}
//   TABLE   {title, columns [{name, unit?}…],
//            rows [{name, cells [number, text or null…], unfit? [bool…], run?, against?}…]}
//   PLOT    {title, kind: line, step or bar, x {name, unit?, log?}, y {…},
//            series [{name, points [[x, y or null]…]}…]}
//
// Verdicts of one "group" stand under it. A cell whose "unfit" is true has a mark: it is neither judged nor compared.
// A row's "against" names the row of its table that it is to be compared with.
// A command may begin with a line "# RUN": rows of that run then lead to it.
// Threads: one. Ownership: json_t * are borrowed, but where a function says that it returns a new one.
#ifndef TARE_CMD_LAB_REPORT_PARTS_H
#define TARE_CMD_LAB_REPORT_PARTS_H

#include "cmd/plot.h"

#include <jansson.h>

enum { REPORT_BYTES_MAX = 64 << 20, REPORT_COLUMNS_MAX = 64, REPORT_ID_MAX = 64 };

// Where a report is read from and written to.
struct report {
	const char *dir;
	const json_t *json;
};

// DIR/report.json, checked: a new one. Otherwise as lab_report_render.
TARE_MUST_USE int report_read(json_t **ret, const char *dir, struct tare_error *err);
// 0, or -EINVAL with the place.
TARE_MUST_USE int report_check(const json_t *report, const char *file, struct tare_error *err);

TARE_MUST_USE int report_html(FILE *out, const struct report *report, struct tare_error *err);
TARE_MUST_USE int report_markdown(FILE *out, const struct report *report, struct tare_error *err);

// ---- reading ------------------------------------------------------------------------------------------------------

const char *report_text(const json_t *object, const char *name); // "" where there is none
const json_t *report_list(const json_t *object, const char *name);
// "Stage 2", "Experiment 5", "Stretch" of a page's id.
void report_page_kind(char *out, size_t cap, const char *id);
// Its title, without its kind where it begins with that: "high rate" of "Stage 2: high rate".
const char *report_page_title(const json_t *page);
// "2026-11-21T20:00:00Z" as "2026-11-21 20:00 UTC"; another text as it is.
void report_made(char *out, size_t cap, const char *made);
const json_t *report_page(const json_t *report, const char *id); // NULL: there is none
// What a machine's key is called: "memory_bytes" is "memory".
void report_machine_name(char *out, size_t cap, const char *key);
bool report_machine_is_said(const char *key); // the first page says it elsewhere
// What it is: a text, a number with its unit, "yes". A new text for free(), or NULL where there is no memory.
char *report_machine_value(const char *key, const json_t *value);

struct report_count {
	size_t met, missed, open;
};
struct report_count report_verdicts(const json_t *verdicts);
// "12 of 14 met, 1 missed, 1 not judged"
void report_count_text(char *out, size_t cap, struct report_count count);

// A cell as text: a number as its column's unit wants it, "–" for null. Borrows the text or writes it into figure.
const char *report_cell(char figure[PAGE_FIGURE], const json_t *cell, const char *unit);
// Whether that cell has the mark.
bool report_is_unfit(const json_t *row, size_t column);
// What a column's head says of its unit: "" where the cells say it.
const char *report_column_unit(const char *unit);
// Whether anything in the column is a number: it stands at the right then.
bool report_column_is_numeric(const json_t *table, size_t column);
bool report_has_runs(const json_t *table); // a row names its run

// Whether a text names a run whose file is there.
bool report_run_exists(const struct report *report, const char *run);
// The run that a command says it is of, in its first line, or "". Of out's size at most.
void report_command_run(char *out, size_t cap, const char *command);

// ---- made of others -----------------------------------------------------------------------------------------------

// What a plot shows, as a table of the report's own form; "names" is what its first column is called. Of more than max
// rows about max are left, the last among them, and *ret_all says how many there were. A new one, or NULL without
// memory.
json_t *report_plot_table(const json_t *plot, size_t max, size_t *ret_all);
// Of the stages' tables the rows that are Tare's and have one of Go beside them, each with its twin and the ratio: an
// array of {"page": the page, "table": such rows}, without tables that have none. Twins are what "against" says; in a
// table without it, "tare opt" and "go opt". A new one, or NULL without memory.
json_t *report_beside(const json_t *report);
// Whether a run of Go's is in it; and whether any stands beside one of Tare's.
bool report_has_go(const json_t *report);
bool report_compared(const json_t *report);
// What stands where nothing is behind.
const char *report_behind_none(const json_t *report);
// How far figures are apart, "1.25×", "12.5×", "125×"; "" where that says nothing.
const char *report_ratio(char out[PAGE_FIGURE], double of, double to);

// Writes a plot as SVG.
TARE_MUST_USE int report_plot(FILE *out, const json_t *plot, struct tare_error *err);
// Which ink each series has: Tare's are cool, Go's are warm, others take what is left.
void report_inks(unsigned inks[PLOT_SERIES_MAX], const json_t *series);

#endif
