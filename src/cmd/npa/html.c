// SPDX-License-Identifier: MIT
// The report as a page: plots by group, then the table. One file, light and dark by what the reader prefers; it fetches
// nothing and runs nothing.
//
// A plot has a line a row, on a logarithmic scale of nanoseconds that all of them share: a bar up to the mean, a dot at
// p99, a diamond at the cold p50, and a thin line at the budget. What is below the scale's beginning is drawn at it.
// All texts are escaped: justifications are the user's. Threads: one.
#include "cmd/npa/npa.h"
#include "cmd/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const char style[] =
    "body{font-size:15px;max-width:76em;margin:2em auto;padding:0 1.2em}h1{font-size:1.7em}"
    "h2{font-size:1.15em;margin:2em 0 .4em}p{color:var(--soft);max-width:48em}"
    "table{width:100%}td,th{text-align:right}td{white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left;font-family:ui-monospace,monospace}"
    "td:last-child,th:last-child{text-align:left;white-space:normal;color:var(--soft);min-width:15em}"
    ".over{color:var(--bad);font-weight:600}"
    "i{font-style:normal;color:var(--c)}@media print{body{max-width:none}table{font-size:7pt}}";

// ---- plots --------------------------------------------------------------------------------------------------------

enum { MEAN, TAIL, COLD, BUDGET, SERIES };
enum { LABELS_PX = 180 }; // the same in all plots, so that they share a scale to the eye too

// A group's rows in columns, for a plot.
struct group {
	const char **names;
	double *places, *figures[SERIES];
	size_t count;
};

static bool of_group(const json_t *row, const char *group)
{
	return strcmp(npa_text(row, "group"), group) == 0 && !isnan(npa_figure(row, "mean"));
}

static void group_done(struct group *group)
{
	free(group->names);
	free(group->places);
	for (size_t s = 0; s < SERIES; s++)
		free(group->figures[s]);
}

static int group_make(struct group *group, const json_t *rows, const char *name)
{
	size_t count = TARE_MAX(json_array_size(rows), (size_t)1);
	*group = (struct group){.names = calloc(count, sizeof(char *)), .places = calloc(count, sizeof(double))};
	bool made = group->names != NULL && group->places != NULL;
	for (size_t s = 0; s < SERIES; s++) {
		group->figures[s] = calloc(count, sizeof(double));
		made = made && group->figures[s] != NULL;
	}
	if (!made)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		size_t at = group->count;
		if (!of_group(row, name))
			continue;
		group->names[at] = npa_text(row, "row");
		group->places[at] = (double)at;
		group->figures[MEAN][at] = npa_figure(row, "mean");
		group->figures[TAIL][at] =
		    npa_figure(row, json_is_true(json_object_get(row, "resolved")) ? "p99" : "batch_p99");
		group->figures[COLD][at] = npa_figure(row, "cold");
		group->figures[BUDGET][at] = npa_figure(row, "budget");
		group->count++;
	}
	return 0;
}

static int plot_group(FILE *out, const json_t *rows, const char *name, struct tare_error *err)
{
	static const struct plot_series as[SERIES] = {{.name = "mean", .ink = 0, .mark = PLOT_MARK_BAR},
						      {.name = "p99", .ink = 1, .mark = PLOT_MARK_DOT},
						      {.name = "cold p50", .ink = 2, .mark = PLOT_MARK_DIAMOND},
						      {.name = "budget", .ink = 7, .mark = PLOT_MARK_RULE}};
	struct plot_series series[SERIES];
	struct group group;
	char title[128];
	int rc = group_make(&group, rows, name);
	for (size_t s = 0; s < SERIES; s++) {
		series[s] = as[s];
		series[s].x = group.places;
		series[s].y = group.figures[s];
		series[s].count = group.count;
	}
	snprintf(title, sizeof(title), "times of %.100s", name);
	struct plot plot = {.title = title,
			    .kind = PLOT_BAR,
			    .x = {.name = "", .unit = ""},
			    .y = {.name = "", .unit = "ns", .log = true, .low = 0.1, .high = 1e6},
			    .categories = group.names,
			    .category_count = group.count,
			    .series = series,
			    .series_count = SERIES,
			    .bare = true,
			    .labels_px = LABELS_PX};
	if (rc == 0 && group.count > 0) {
		fputs("<h2>", out);
		page_text(out, name);
		fputs("</h2>\n", out);
		rc = plot_write(out, &plot, err);
	} else if (rc < 0) {
		rc = tare_error_set(err, rc, "no memory for a plot of %zu rows", json_array_size(rows));
	}
	group_done(&group);
	return rc;
}

static int plots(FILE *out, const json_t *rows, struct tare_error *err)
{
	const char *group = "";
	int rc = 0;
	for (size_t i = 0; i < json_array_size(rows) && rc == 0; i++) {
		const char *next = npa_text(json_array_get(rows, i), "group");
		if (strcmp(next, group) != 0)
			rc = plot_group(out, rows, next, err);
		group = next;
	}
	return rc;
}

// ---- table --------------------------------------------------------------------------------------------------------

static void cell(FILE *out, const json_t *row, const char *name)
{
	double value = npa_figure(row, name);
	char text[NPA_CELL];
	fprintf(out, "<td>%s</td>", npa_cell(text, value));
}

static void table(FILE *out, const json_t *rows)
{
	static const char *const columns[] = {"mean",      "p50",         "p99",          "cold",     "cold_data",
					      "cold_code", "cold_branch", "instructions", "syscalls", "budget"};
	fputs("<h2>All figures</h2>\n<div "
	      "class='wide'><table><thead><tr><th>row</th><th>mean</th><th>p50</th><th>p99</th><th>cold "
	      "p50</th><th>data</th><th>code</th><th>branches</th><th>instructions</th><th>system "
	      "calls</th><th>budget</th>"
	      "<th>what it buys</th></tr></thead><tbody>\n",
	      out);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		bool over = npa_figure(row, "mean") > npa_figure(row, "budget");
		fprintf(out, "<tr><td%s>", over ? " class='over'" : "");
		page_text(out, npa_text(row, "row"));
		fputs("</td>", out);
		for (size_t k = 0; k < TARE_ARRAY_LEN(columns); k++)
			cell(out, row, columns[k]);
		fputs("<td>", out);
		page_text(out, npa_text(row, "why"));
		fputs("</td></tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
}

static void head(FILE *out, const json_t *report)
{
	const json_t *machine = json_object_get(report, "machine"), *noise = json_object_get(report, "noise");
	page_begin(out, "nanoseconds per abstraction", style);
	fputs("<h1>Nanoseconds per abstraction</h1>\n<p>Rows of ", out);
	page_text(out, npa_text(report, "program"));
	fputs(", ", out);
	page_text(out, npa_text(report, "compiler"));
	fputs(", libc ", out);
	page_text(out, npa_text(report, "libc"));
	fputs(". ", out);
	page_text(out, npa_text(machine, "cpu"));
	fprintf(out,
		"%s. Noise of this run: %.3f ns for an operation that is nothing, %.1f %% for work that is always the "
		"same.</p>\n",
		json_is_true(json_object_get(machine, "hypervisor")) ? " under a hypervisor" : "",
		npa_figure(noise, "floor"), 100 * npa_figure(noise, "share"));
	fputs("<p>Nanoseconds each, on a logarithmic scale: the <i class='s0'>bar</i> ends at the mean, "
	      "<i class='s1'>&#9679;</i> is p99, <i class='s2'>&#9670;</i> the median with data, code and branches "
	      "evicted, "
	      "the <i class='s7'>upright line</i> the budget. Of rows too short for single calls to be told from the "
	      "timer, "
	      "p99 is of 32 calls in a row, a call. Instructions and system calls are counted, exact.</p>\n",
	      out);
}

int npa_html_write(const json_t *report, const char *path, struct tare_error *err)
{
	FILE *out = fopen(path, "we");
	const json_t *rows = json_object_get(report, "rows");
	if (out == NULL)
		return tare_error_set(err, -errno, "%s: %s", path, strerror(errno));
	head(out, report);
	int rc = plots(out, rows, err);
	table(out, rows);
	page_end(out);
	bool failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed)
		return tare_error_set(err, -EIO, "%s: could not be written: %s", path, strerror(errno));
	return rc;
}
