// SPDX-License-Identifier: MIT
// The report as Markdown: what the page has, in the same order, with a plot's data as a table in its place.
//
// Texts are escaped so that none is markup: what CommonMark or GitHub's tables and mathematics would read as such has a
// backslash before it. Commands stand in blocks whose fence is longer than any in them.
// Threads: one.
#include "cmd/lab/report_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_ROWS_MAX = 24 };

// ---- text ---------------------------------------------------------------------------------------------------------

// previous: the character before, to leave "gc_cpu_ns" and "issue#4" alone.
static bool needs_escape(char previous, char c, char next)
{
	if (c == '_')
		return !(isalnum((unsigned char)previous) && isalnum((unsigned char)next));
	return c == '#' ? previous == ' ' : strchr("\\`*[]<>|$~&", c) != NULL;
}

// Within a line, such as a table's cell: line ends are blanks.
static void line(FILE *out, const char *text)
{
	char previous = ' ';
	text += strspn(text, " \t\r\n");
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (needs_escape(previous, *text, text[1]))
			fputc('\\', out);
		fputc(c < ' ' || c == 0x7f ? ' ' : c, out);
		previous = *text;
	}
}

// A line that begins a block, where these would make a list, a rule, a heading of what is above, or a block of code.
static void block(FILE *out, const char *text)
{
	text += strspn(text, " \t\r\n");
	size_t digits = strspn(text, "0123456789");
	if (text[0] != '\0' && strchr("+-=", text[0]) != NULL)
		fputc('\\', out);
	if (digits > 0 && (text[digits] == '.' || text[digits] == ')') &&
	    (text[digits + 1] == ' ' || text[digits + 1] == '\0')) {
		fprintf(out, "%.*s\\", (int)digits, text);
		text += digits;
	}
	line(out, text);
}

static void paragraph(FILE *out, const char *text)
{
	if (text[strspn(text, " \t\r\n")] == '\0')
		return;
	block(out, text);
	fputs("\n\n", out);
}

// One a line of the text.
static void paragraphs(FILE *out, const char *text)
{
	while (text[0] != '\0') {
		size_t len = strcspn(text, "\n");
		char *one = strndup(text, len);
		if (one != NULL)
			paragraph(out, one);
		free(one);
		text += len + (text[len] != '\0');
	}
}

static void heading(FILE *out, const char *marks, const char *text)
{
	fprintf(out, "%s ", marks);
	line(out, text);
	fputs("\n\n", out);
}

static size_t longest_run(const char *text, char of)
{
	size_t longest = 0, now = 0;
	for (; *text != '\0'; text++) {
		now = *text == of ? now + 1 : 0;
		longest = TARE_MAX(longest, now);
	}
	return longest;
}

static void code(FILE *out, const char *text)
{
	size_t ticks = TARE_MAX(longest_run(text, '`') + 1, (size_t)3);
	for (size_t i = 0; i < ticks; i++)
		fputc('`', out);
	fputs("sh\n", out);
	for (const char *c = text; *c != '\0'; c++)
		fputc((unsigned char)*c < ' ' && *c != '\n' && *c != '\t' ? ' ' : *c, out);
	fputc('\n', out);
	for (size_t i = 0; i < ticks; i++)
		fputc('`', out);
	fputs("\n\n", out);
}

static void cell(FILE *out, const char *text)
{
	fputs(" ", out);
	line(out, text);
	fputs(" |", out);
}

static void run_link(FILE *out, const struct report *report, const char *run)
{
	// A name with anything but these is text: addresses in Markdown end at blanks and brackets.
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	bool linked = run[strspn(run, plain)] == '\0' && report_run_exists(report, run);
	fputs(linked ? "[" : "", out);
	line(out, run);
	if (linked)
		fprintf(out, "](runs/%s.json)", run);
}

static void evidence(FILE *out, const struct report *report, const char *text)
{
	fputc(' ', out);
	while (*text != '\0') {
		char run[256];
		size_t len = strcspn(text, ",");
		snprintf(run, sizeof(run), "%.*s", (int)TARE_MIN(len, sizeof(run) - 1), text);
		run_link(out, report, run);
		text += len;
		size_t between = strspn(text, ", ");
		fputs(between > 0 ? ", " : "", out);
		text += between;
	}
	fputs(" |", out);
}

// ---- tables -------------------------------------------------------------------------------------------------------

static void table(FILE *out, const struct report *report, const json_t *of)
{
	const json_t *columns = report_list(of, "columns"), *rows = report_list(of, "rows");
	bool runs = report_has_runs(of);
	if (report_text(of, "title")[0] != '\0') {
		fputs("**", out);
		line(out, report_text(of, "title"));
		fputs("**\n\n", out);
	}
	fputc('|', out);
	cell(out, report_text(of, "names"));
	for (size_t i = 0; i < json_array_size(columns); i++) {
		const json_t *column = json_array_get(columns, i);
		const char *unit = report_column_unit(report_text(column, "unit"));
		fputc(' ', out);
		line(out, report_text(column, "name"));
		fputs(unit[0] != '\0' ? ", " : "", out);
		line(out, unit);
		fputs(" |", out);
	}
	fputs(runs ? " run |\n|---|" : "\n|---|", out);
	for (size_t i = 0; i < json_array_size(columns); i++)
		fputs(report_column_is_numeric(of, i) ? "---:|" : "---|", out);
	fputs(runs ? "---|\n" : "\n", out);
	for (size_t r = 0; r < json_array_size(rows); r++) {
		const json_t *row = json_array_get(rows, r), *cells = report_list(row, "cells");
		fputc('|', out);
		cell(out, report_text(row, "name"));
		for (size_t i = 0; i < json_array_size(cells); i++) {
			char figure[PAGE_FIGURE];
			fputc(' ', out);
			line(out, report_cell(figure, json_array_get(cells, i),
					      report_text(json_array_get(columns, i), "unit")));
			fputs(report_is_unfit(row, i) && json_is_number(json_array_get(cells, i)) ? " † |" : " |", out);
		}
		if (runs)
			evidence(out, report, report_text(row, "run"));
		fputc('\n', out);
	}
	fputc('\n', out);
}

static const char *judged(const json_t *met)
{
	return json_is_boolean(met) ? json_is_true(met) ? "✓ met" : "✗ missed" : "not judged";
}

static void verdicts(FILE *out, const struct report *report, const json_t *list)
{
	const char *last = "";
	if (json_array_size(list) == 0)
		return;
	fputs("| point | asked | figure | outcome | our own line | evidence | why |\n|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *verdict = json_array_get(list, i), *own = json_object_get(verdict, "own_met");
		const char *own_asked = report_text(verdict, "own_asked"), *group = report_text(verdict, "group");
		if (group[0] != '\0' && strcmp(group, last) != 0) {
			fputs("| **", out);
			line(out, group);
			fputs("** | | | | | | |\n", out);
		}
		last = group;
		fputc('|', out);
		cell(out, report_text(verdict, "point"));
		cell(out, report_text(verdict, "asked"));
		cell(out, report_text(verdict, "figure"));
		cell(out, judged(json_object_get(verdict, "met")));
		fputc(' ', out);
		line(out, own_asked);
		if (own_asked[0] != '\0' && json_is_boolean(own))
			fputs(json_is_true(own) ? " ✓" : " ✗", out);
		fputs(" |", out);
		evidence(out, report, report_text(verdict, "evidence"));
		cell(out, report_text(verdict, "why"));
		fputc('\n', out);
	}
	fputc('\n', out);
}

// ---- the first page -----------------------------------------------------------------------------------------------

static void page_title(FILE *out, const json_t *page)
{
	char kind[REPORT_ID_MAX + 1];
	report_page_kind(kind, sizeof(kind), report_text(page, "id"));
	line(out, kind);
	fputs(": ", out);
	line(out, report_page_title(page));
}

static void machine(FILE *out, const json_t *report)
{
	const char *key;
	json_t *value;
	json_t *of = json_object_get(report, "machine");
	fputs("| machine | |\n|---|---|\n", out);
	json_object_foreach(of, key, value)
	{
		char name[128];
		char *text = report_machine_value(key, value);
		report_machine_name(name, sizeof(name), key);
		if (report_machine_is_said(key)) {
			free(text);
			continue;
		}
		fputc('|', out);
		cell(out, name);
		cell(out, text != NULL ? text : "");
		fputc('\n', out);
		free(text);
	}
	fputc('\n', out);
}

static void behind(FILE *out, const json_t *report)
{
	const json_t *list = report_list(report, "behind");
	fputs("## Where Tare is not ahead of Go\n\n", out);
	if (json_array_size(list) == 0) {
		paragraph(out, report_behind_none(report));
		return;
	}
	fputs("| where | figure | Tare | Go | Tare ÷ Go | why |\n|---|---|---:|---:|---:|---|\n", out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *at = json_array_get(list, i), *page = report_page(report, report_text(at, "page"));
		const json_t *tare = json_object_get(at, "tare"), *go = json_object_get(at, "go");
		double of = json_is_number(tare) ? json_number_value(tare) : NAN;
		char figure[PAGE_FIGURE];
		fputs("| ", out);
		if (page != NULL)
			page_title(out, page);
		else
			line(out, report_text(at, "page"));
		fputs(" |", out);
		cell(out, report_text(at, "what"));
		cell(out, json_is_number(tare) ? page_figure(figure, of, report_text(at, "unit")) : "–");
		cell(out, page_figure(figure, json_number_value(go), report_text(at, "unit")));
		cell(out, report_ratio(figure, of, json_number_value(go)));
		cell(out, report_text(at, "why"));
		fputc('\n', out);
	}
	fputc('\n', out);
}

static void beside(FILE *out, const struct report *report, const json_t *list)
{
	const json_t *last = NULL;
	if (json_array_size(list) > 0)
		fputs("## Tare beside Go\n\n", out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *page = json_object_get(json_array_get(list, i), "page");
		if (page != last) {
			fputs("### ", out);
			page_title(out, page);
			fputs("\n\n", out);
		}
		table(out, report, json_object_get(json_array_get(list, i), "table"));
		last = page;
	}
}

static void first_page(FILE *out, const struct report *report)
{
	const json_t *json = report->json, *points = report_list(json, "acceptance");
	char count[128], made[64];
	json_t *twins = report_beside(json);
	heading(out, "#", report_text(json, "title"));
	fputs("Made ", out);
	report_made(made, sizeof(made), report_text(json, "made"));
	line(out, made);
	fputs(json_is_true(json_object_get(json, "quick"))
		  ? ". A quick run: short and small, to see that all of it works; its figures are rough.\n\n"
		  : ".\n\n",
	      out);
	paragraphs(out, report_text(json, "about"));
	machine(out, json);
	report_count_text(count, sizeof(count), report_verdicts(points));
	fprintf(out, "## What was asked\n\n%s.\n\n", count);
	verdicts(out, report, points);
	if (json_array_size(report_list(json, "missed")) > 0)
		fputs("## Missed beside that\n\n", out);
	verdicts(out, report, report_list(json, "missed"));
	behind(out, json);
	beside(out, report, twins);
	json_decref(twins);
}

// ---- pages --------------------------------------------------------------------------------------------------------

static void texts(FILE *out, const char *title, const json_t *list)
{
	if (json_array_size(list) == 0)
		return;
	heading(out, "###", title);
	for (size_t i = 0; i < json_array_size(list); i++) {
		fputs("- ", out);
		block(out, json_string_value(json_array_get(list, i)));
		fputc('\n', out);
	}
	fputc('\n', out);
}

static void plot(FILE *out, const struct report *report, const json_t *of)
{
	size_t all = 0;
	json_t *data = report_plot_table(of, DATA_ROWS_MAX, &all);
	size_t shown = json_array_size(report_list(data, "rows"));
	heading(out, "####", report_text(of, "title"));
	if (shown < all)
		fprintf(out, "%zu rows of %zu; the plot is in index.html, all of them are in report.json.\n\n", shown,
			all);
	table(out, report, data);
	json_decref(data);
}

static void page(FILE *out, const struct report *report, const json_t *of)
{
	const json_t *commands = report_list(of, "commands"), *tables = report_list(of, "tables");
	const json_t *plots = report_list(of, "plots");
	fputs("## ", out);
	page_title(out, of);
	fputs("\n\n", out);
	paragraph(out, report_text(of, "question"));
	if (report_text(of, "skipped")[0] != '\0') {
		fputs("**Not run.** ", out);
		paragraph(out, report_text(of, "skipped"));
	}
	verdicts(out, report, report_list(of, "verdicts"));
	if (json_array_size(commands) > 0)
		heading(out, "###", "Commands");
	for (size_t i = 0; i < json_array_size(commands); i++)
		code(out, json_string_value(json_array_get(commands, i)));
	if (json_array_size(tables) + json_array_size(plots) > 0)
		heading(out, "###", "Figures");
	for (size_t i = 0; i < json_array_size(tables); i++)
		table(out, report, json_array_get(tables, i));
	for (size_t i = 0; i < json_array_size(plots); i++)
		plot(out, report, json_array_get(plots, i));
	texts(out, "What was learnt", report_list(of, "learnt"));
	texts(out, "What would be done next", report_list(of, "next"));
	texts(out, "Notes", report_list(of, "notes"));
	if (report_text(of, "spread")[0] != '\0') {
		fputs("Spread: ", out);
		paragraph(out, report_text(of, "spread"));
	}
}

int report_markdown(FILE *out, const struct report *report, struct tare_error *err)
{
	const json_t *pages = report_list(report->json, "pages");
	(void)err; // what is written into the stream fails with the stream
	first_page(out, report);
	for (size_t i = 0; i < json_array_size(pages); i++)
		page(out, report, json_array_get(pages, i));
	return 0;
}
