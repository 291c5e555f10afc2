// SPDX-License-Identifier: MIT
// The report as a page: plots by group, then the table. One file, light and dark by what the reader prefers; it fetches nothing
// and runs nothing.
//
// A plot has a line a row, on a logarithmic scale of nanoseconds that all of them share: a bar up to the mean, a dot at
// p99, a diamond at the cold p50, and a thin line at the budget. What is below the scale's beginning is drawn at it.
// All texts are escaped: justifications are the user's. Threads: one.
#include "cmd/npa/npa.h"

#include <errno.h>
#include <math.h>

enum { LABEL_PX = 230, PLOT_PX = 560, VALUE_PX = 110, ROW_PX = 20, AXIS_PX = 26, DECADES = 7 };

#define SCALE_BEGIN_NS 0.1

static void escaped(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

static const char style[] =
    ":root{--ink:#1c2430;--soft:#5d6978;--line:#d8dee6;--paper:#fff;--bar:#3b74c4;--tail:#c2571a;--cold:#2b8a8a;--over:"
    "#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--soft:#98a4b3;--line:#333d4a;--paper:#14181e;--bar:#6aa0ea;"
    "--tail:#f08d4c;--cold:#55c2bd;--over:#ff8a80}}"
    "body{font:14px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1180px;margin:2em "
    "auto;"
    "padding:0 1em}h1{font-size:1.5em}h2{font-size:1.1em;margin:1.6em 0 .3em}p{color:var(--soft);max-width:75em}"
    "svg{width:100%;height:auto;max-width:900px;display:block}svg text{fill:var(--ink);font-size:12px}"
    "svg .soft{fill:var(--soft)}svg .grid{stroke:var(--line)}svg .budget{stroke:var(--soft);stroke-dasharray:2 2}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}"
    "td,th{padding:.2em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left;font-family:monospace}"
    "td:last-child,th:last-child{text-align:left;white-space:normal;color:var(--soft)}"
    ".wide{overflow-x:auto}.over{color:var(--over);font-weight:600}";

static double place(double ns)
{
	double share = log10(fmax(ns, SCALE_BEGIN_NS) / SCALE_BEGIN_NS) / DECADES;
	return LABEL_PX + PLOT_PX * fmin(share, 1);
}

static void axis(FILE *out, double height)
{
	static const char *const names[] = {"0.1", "1", "10", "100", "1 us", "10 us", "100 us", "1 ms"};
	for (int k = 0; k <= DECADES; k++) {
		double x = LABEL_PX + (double)PLOT_PX * k / DECADES;
		fprintf(out, "<line class='grid' x1='%.1f' x2='%.1f' y1='0' y2='%.0f'/>", x, x, height);
		fprintf(out, "<text class='soft' text-anchor='middle' x='%.1f' y='%.0f'>%s</text>", x, height + 16,
			names[k]);
	}
}

static void plot_row(FILE *out, const json_t *row, double y)
{
	double mean = npa_figure(row, "mean"), cold = npa_figure(row, "cold"), budget = npa_figure(row, "budget");
	bool resolved = json_is_true(json_object_get(row, "resolved"));
	double tail = npa_figure(row, resolved ? "p99" : "batch_p99");
	fprintf(out, "<text x='0' y='%.0f'>", y + 13);
	escaped(out, npa_text(row, "row"));
	fputs("</text>", out);
	if (isnan(mean))
		mean = SCALE_BEGIN_NS;
	fprintf(out, "<rect x='%d' y='%.0f' width='%.1f' height='10' rx='2' fill='var(--bar)'/>", LABEL_PX, y + 4,
		place(mean) - LABEL_PX);
	if (!isnan(budget))
		fprintf(out, "<line class='budget' x1='%.1f' x2='%.1f' y1='%.0f' y2='%.0f'/>", place(budget),
			place(budget), y + 1, y + 17);
	if (!isnan(tail))
		fprintf(out, "<circle cx='%.1f' cy='%.0f' r='4' fill='var(--tail)'/>", place(tail), y + 9);
	if (!isnan(cold))
		fprintf(out, "<path d='M%.1f %.0fl5 5-5 5-5-5z' fill='var(--cold)'/>", place(cold), y + 4);
	fprintf(out, "<text class='soft' x='%d' y='%.0f'>%.4g ns</text>", LABEL_PX + PLOT_PX + 12, y + 13,
		npa_figure(row, "mean"));
}

static bool of_group(const json_t *row, const char *group)
{
	return strcmp(npa_text(row, "group"), group) == 0 && !isnan(npa_figure(row, "mean"));
}

static void plot_group(FILE *out, const json_t *rows, const char *group)
{
	size_t count = 0, drawn = 0;
	for (size_t i = 0; i < json_array_size(rows); i++)
		count += of_group(json_array_get(rows, i), group);
	if (count == 0)
		return;
	double height = (double)count * ROW_PX;
	fputs("<h2>", out);
	escaped(out, group);
	fprintf(out, "</h2>\n<svg viewBox='0 0 %d %.0f' role='img' aria-label='times of ",
		LABEL_PX + PLOT_PX + VALUE_PX, height + AXIS_PX);
	escaped(out, group);
	fputs("'>", out);
	axis(out, height);
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (of_group(json_array_get(rows, i), group))
			plot_row(out, json_array_get(rows, i), (double)(drawn++ * ROW_PX));
	fputs("</svg>\n", out);
}

static void plots(FILE *out, const json_t *rows)
{
	const char *group = "";
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const char *next = npa_text(json_array_get(rows, i), "group");
		if (strcmp(next, group) != 0)
			plot_group(out, rows, next);
		group = next;
	}
}

static void cell(FILE *out, const json_t *row, const char *name)
{
	double value = npa_figure(row, name);
	if (isnan(value))
		fputs("<td>-</td>", out);
	else
		fprintf(out, value >= 1000 ? "<td>%.0f</td>" : "<td>%.4g</td>", value);
}

static void table(FILE *out, const json_t *rows)
{
	static const char *const columns[] = {"mean",      "p50",         "p99",          "cold",     "cold_data",
					      "cold_code", "cold_branch", "instructions", "syscalls", "budget"};
	fputs("<h2>All figures</h2>\n<div "
	      "class='wide'><table><tr><th>row</th><th>mean</th><th>p50</th><th>p99</th><th>cold "
	      "p50</th><th>data</th><th>code</th><th>branches</th><th>instructions</th><th>system "
	      "calls</th><th>budget</th>"
	      "<th>what it buys</th></tr>\n",
	      out);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		bool over = npa_figure(row, "mean") > npa_figure(row, "budget");
		fprintf(out, "<tr><td%s>", over ? " class='over'" : "");
		escaped(out, npa_text(row, "row"));
		fputs("</td>", out);
		for (size_t k = 0; k < TARE_ARRAY_LEN(columns); k++)
			cell(out, row, columns[k]);
		fputs("<td>", out);
		escaped(out, npa_text(row, "why"));
		fputs("</td></tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

static void head(FILE *out, const json_t *report)
{
	const json_t *machine = json_object_get(report, "machine"), *noise = json_object_get(report, "noise");
	fprintf(
	    out,
	    "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
	    "content='width=device-width'><title>nanoseconds per abstraction</title><style>%s</style></head><body>\n"
	    "<h1>Nanoseconds per abstraction</h1>\n<p>Rows of ",
	    style);
	escaped(out, npa_text(report, "program"));
	fputs(", ", out);
	escaped(out, npa_text(report, "compiler"));
	fputs(", libc ", out);
	escaped(out, npa_text(report, "libc"));
	fputs(". ", out);
	escaped(out, npa_text(machine, "cpu"));
	fprintf(out,
		"%s. Noise of this run: %.3f ns for an operation that is nothing, %.1f %% for work that is always the "
		"same.</p>\n",
		json_is_true(json_object_get(machine, "hypervisor")) ? " under a hypervisor" : "",
		npa_figure(noise, "floor"), 100 * npa_figure(noise, "share"));
	fputs("<p>Nanoseconds each, on a logarithmic scale: the bar ends at the mean, <span "
	      "style='color:var(--tail)'>&#9679;</span> "
	      "is p99, <span style='color:var(--cold)'>&#9670;</span> the median with data, code and branches evicted, "
	      "the dashed "
	      "line the budget. Of rows too short for single calls to be told from the timer, p99 is of 32 calls in a "
	      "row, a "
	      "call. Instructions and system calls are counted, exact.</p>\n",
	      out);
}

int npa_html_write(const json_t *report, const char *path, struct tare_error *err)
{
	FILE *out = fopen(path, "we");
	const json_t *rows = json_object_get(report, "rows");
	if (out == NULL)
		return tare_error_set(err, -errno, "%s: %s", path, strerror(errno));
	head(out, report);
	plots(out, rows);
	table(out, rows);
	fputs("</body></html>\n", out);
	bool failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed)
		return tare_error_set(err, -EIO, "%s: could not be written: %s", path, strerror(errno));
	return 0;
}
