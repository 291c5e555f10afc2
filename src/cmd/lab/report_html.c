// SPDX-License-Identifier: MIT
// The report as one page of HTML: first the machine, what was asked and whether it was met, where Tare is not ahead of
// Go, and both beside each other; then a part for each stage and experiment, which begins a sheet of its own on paper.
//
// Nothing runs in it: a command is copied by clicking on it, which selects all of it; a plot's data is in a part that
// opens. A link is written where it leads somewhere: to a page that there is, a run whose file lies beside.
// Threads: one. All texts go through page_text().
#include "cmd/lab/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_ROWS_MAX = 400, OPTION_MAX = 60, COLUMNS_MANY = 9 };

static const char style[] =
    "body{display:grid;grid-template-columns:minmax(0,1fr);max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 6rem}"
    "nav{font-size:.875rem;line-height:1.35}nav ol{list-style:none;margin:0;padding:0}nav li{margin:.45em 0}"
    "nav a{text-decoration:none;color:var(--ink)}nav a:hover{text-decoration:underline}nav "
    ".soft{display:block;font-size:.92em}"
    "@media(min-width:82rem){body{grid-template-columns:15rem minmax(0,54rem);column-gap:3.5rem;max-width:76rem}"
    "nav{position:sticky;top:2.5rem;max-height:calc(100vh - 5rem);overflow-y:auto}}"
    "@media(max-width:81.99rem){nav{order:2;border-top:1px solid var(--line);margin-top:2rem}main{order:1}}"
    "h1{font-size:2.1rem;letter-spacing:-.015em;margin:0 0 .3em}"
    "section{margin-top:4.5rem;padding-top:1.5rem;border-top:1px solid var(--line)}section h2{font-size:1.6rem;"
    "letter-spacing:-.01em;margin:0 0 .5em}section h2 "
    ".soft{display:block;font-size:.6em;font-weight:600;letter-spacing:0;"
    "margin-bottom:.2em}"
    ".title{display:block}.title::first-letter{text-transform:uppercase}"
    "h3{font-size:1.05em;margin:2.4em 0 .6em}main>h2{font-size:1.3rem;margin:2.6em 0 .6em}"
    "p,li{max-width:44em;white-space:pre-line;overflow-wrap:anywhere}ul{padding-left:1.2em}li{margin:.4em 0}"
    ".question{font-size:1.1em;margin:0 0 1.2em}.asides{color:var(--soft);font-size:.9375em}"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.9em 1.5em;margin:1.6em "
    "0;font-size:.9em}"
    "dt{color:var(--soft);font-size:.85em}dd{margin:0;overflow-wrap:anywhere}"
    "caption{text-align:left;font-weight:600;padding-bottom:.5em}.wide{margin:1.2em 0}"
    "tr.ratio td{color:var(--soft);border-bottom-color:var(--soft)}"
    "td.mark{white-space:nowrap;font-weight:600}.met{color:var(--good)}.missed{color:var(--bad)}.open{color:var(--soft)"
    "}"
    "th .unit{display:block;font-weight:400}.verdicts td{min-width:7.5em}"
    "td .soft{display:block;font-weight:400;white-space:normal}.verdicts "
    "td.point{min-width:15em}td.name{white-space:nowrap}td.run{min-width:9em;font-size:.92em}"
    ".wide td:first-child{position:sticky;left:0;background:var(--paper)}.many table{font-size:.8125em}"
    ".many td,.many th{padding:.32em .45em}.many td:first-child,.many th:first-child{padding-left:0}.many "
    "td.run{white-space:nowrap}"
    "tr.group th{text-align:left;padding-top:1.2em}td .mark{color:var(--soft)}"
    "tr.why td{padding-top:0;color:var(--soft)}tr.has-why td{border-bottom:0}"
    "figure{margin:1.8em 0}figcaption{font-weight:600;margin-bottom:.6em}"
    "details{font-size:.875em;margin-top:.4em}summary{cursor:pointer;color:var(--soft)}"
    ".commands{max-height:24rem;overflow-y:auto;border-radius:.4em;background:var(--faint);padding:.1em 1em}"
    "pre{margin:.8em 0;white-space:pre-wrap;overflow-wrap:anywhere;user-select:all;line-height:1.5;tab-size:4}"
    "pre span{white-space:nowrap}pre:target{outline:2px solid var(--s0);outline-offset:.3em}"
    "@media print{@page{margin:16mm 15mm}body{display:block;max-width:none;padding:0}nav,details{display:none}"
    "section{break-before:page;margin:0;padding:0;border:0}.commands{max-height:none;overflow:visible;padding:0 .6em}"
    "h1{font-size:20pt}section h2{font-size:16pt}table{font-size:8pt}td,th{padding:.25em "
    ".5em}pre{font-size:8pt;margin:.5em 0}"
    ".verdicts td,.verdicts td.point{min-width:0}.wide table{max-width:100%}td.name{white-space:normal}"
    ".many table{font-size:6pt}.many td,.many th{padding:.25em .3em}.many td.run{white-space:normal;min-width:0}"
    ".verdicts{break-inside:auto}.wide td:first-child{position:static}}";

// ---- small parts --------------------------------------------------------------------------------------------------

static void element(FILE *out, const char *tag, const char *attributes, const char *text)
{
	fprintf(out, "<%s%s%s>", tag, attributes[0] != '\0' ? " " : "", attributes);
	page_text(out, text);
	fprintf(out, "</%s>", tag);
}

// What isn't a letter, a digit or harmless in an address is a percent sign and its code.
static void address(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || strchr("-_.~", c) != NULL)
			fputc(c, out);
		else
			fprintf(out, "%%%02X", c);
	}
}

static void run_link(FILE *out, const struct report *report, const char *run)
{
	if (!report_run_exists(report, run)) {
		page_text(out, run);
		return;
	}
	fputs("<a href='runs/", out);
	address(out, run);
	fputs(".json'>", out);
	page_text(out, run);
	fputs("</a>", out);
}

// Evidence is a run, or several with commas between.
static void evidence(FILE *out, const struct report *report, const char *text)
{
	while (*text != '\0') {
		char run[256];
		size_t len = strcspn(text, ",");
		snprintf(run, sizeof(run), "%.*s", (int)TARE_MIN(len, sizeof(run) - 1), text);
		run_link(out, report, run);
		text += len;
		size_t between = strspn(text, ", ");
		if (between > 0)
			fputs(", ", out);
		text += between;
	}
}

static void page_title(FILE *out, const json_t *page)
{
	char kind[REPORT_ID_MAX + 1];
	report_page_kind(kind, sizeof(kind), report_text(page, "id"));
	page_text(out, kind);
	fputs(": ", out);
	page_text(out, report_page_title(page));
}

static void page_link(FILE *out, const json_t *report, const char *id)
{
	const json_t *page = report_page(report, id);
	if (page == NULL) {
		page_text(out, id);
		return;
	}
	fprintf(out, "<a href='#%s'>", id); // checked: it is letters, digits and dashes
	page_title(out, page);
	fputs("</a>", out);
}

// ---- tables -------------------------------------------------------------------------------------------------------

// The command that a run's rows lead to, in the page.
static bool command_of(const json_t *page, const char *run, size_t *ret_at)
{
	const json_t *commands = report_list(page, "commands");
	char named[256];
	for (size_t i = 0; i < json_array_size(commands) && run[0] != '\0'; i++) {
		report_command_run(named, sizeof(named), json_string_value(json_array_get(commands, i)));
		if (strcmp(named, run) == 0) {
			*ret_at = i;
			return true;
		}
	}
	return false;
}

static void run_cell(FILE *out, const struct report *report, const json_t *page, const char *run)
{
	size_t at = 0;
	fputs("<td class='run'>", out);
	run_link(out, report, run);
	if (command_of(page, run, &at))
		fprintf(out, "<br/><a href='#%s.command-%zu'>command</a>", report_text(page, "id"), at);
	fputs("</td>", out);
}

// page: its title need not be said again.
static void table_head(FILE *out, const json_t *page, const json_t *table, bool runs)
{
	const json_t *columns = report_list(table, "columns");
	const char *title = report_text(table, "title");
	if (title[0] != '\0' && strcmp(title, report_text(page, "title")) != 0)
		element(out, "caption", "", title);
	fputs("<thead><tr>", out);
	element(out, "th", "", report_text(table, "names"));
	for (size_t i = 0; i < json_array_size(columns); i++) {
		const json_t *column = json_array_get(columns, i);
		fputs(report_column_is_numeric(table, i) ? "<th class='n'>" : "<th>", out);
		page_text(out, report_text(column, "name"));
		if (report_column_unit(report_text(column, "unit"))[0] != '\0') {
			fputs(" <span class='unit'>", out);
			page_text(out, report_column_unit(report_text(column, "unit")));
			fputs("</span>", out);
		}
		fputs("</th>", out);
	}
	fputs(runs ? "<th>run</th></tr></thead>\n<tbody>\n" : "</tr></thead>\n<tbody>\n", out);
}

// page NULL: rows lead to no command.
static void table(FILE *out, const struct report *report, const json_t *page, const json_t *of)
{
	const json_t *columns = report_list(of, "columns"), *rows = report_list(of, "rows");
	bool runs = report_has_runs(of);
	fprintf(out, "<div class='wide%s'><table>", json_array_size(columns) > COLUMNS_MANY ? " many" : "");
	table_head(out, page, of, runs);
	for (size_t r = 0; r < json_array_size(rows); r++) {
		const json_t *row = json_array_get(rows, r), *cells = report_list(row, "cells");
		fputs(json_is_true(json_object_get(row, "ratio")) ? "<tr class='ratio'>" : "<tr>", out);
		element(out, "td", "class='name'", report_text(row, "name"));
		for (size_t i = 0; i < json_array_size(cells); i++) {
			char figure[PAGE_FIGURE];
			const char *unit = report_text(json_array_get(columns, i), "unit");
			fputs(report_column_is_numeric(of, i) ? "<td class='n'>" : "<td>", out);
			page_text(out, report_cell(figure, json_array_get(cells, i), unit));
			fputs(report_is_unfit(row, i) && json_is_number(json_array_get(cells, i))
				  ? "<span class='mark'>†</span></td>"
				  : "</td>",
			      out);
		}
		if (runs)
			run_cell(out, report, page, report_text(row, "run"));
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
}

// ---- verdicts -----------------------------------------------------------------------------------------------------

static void judged(FILE *out, const json_t *met)
{
	if (json_is_boolean(met))
		fputs(json_is_true(met) ? "<td class='mark met'>✓ met</td>" : "<td class='mark missed'>✗ missed</td>",
		      out);
	else
		fputs("<td class='mark open'>– not judged</td>", out);
}

// Our own line beside what was asked: what it is, and whether it is met.
static void own(FILE *out, const json_t *verdict)
{
	const char *asked = report_text(verdict, "own_asked");
	const json_t *met = json_object_get(verdict, "own_met");
	fputs("<td>", out);
	page_text(out, asked);
	if (asked[0] != '\0' && json_is_boolean(met))
		fputs(json_is_true(met) ? " <span class='met'>✓</span>" : " <span class='missed'>✗</span>", out);
	fputs("</td>", out);
}

static bool any_has(const json_t *list, const char *key)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (report_text(json_array_get(list, i), key)[0] != '\0')
			return true;
	return false;
}

static void verdicts(FILE *out, const struct report *report, const json_t *list)
{
	bool owns = any_has(list, "own_asked");
	const char *last = "";
	if (json_array_size(list) == 0)
		return;
	fprintf(
	    out,
	    "<div class='wide verdicts'><table><thead><tr><th>point</th><th>asked</th><th>figure</th><th>outcome</th>%s"
	    "<th>evidence</th></tr></thead>\n<tbody>\n",
	    owns ? "<th>our own line</th>" : "");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *verdict = json_array_get(list, i);
		const char *why = report_text(verdict, "why"), *group = report_text(verdict, "group");
		if (group[0] != '\0' && strcmp(group, last) != 0) {
			fprintf(out, "<tr class='group'><th colspan='%d'>", owns ? 6 : 5);
			page_text(out, group);
			fputs("</th></tr>\n", out);
		}
		last = group;
		fputs(why[0] != '\0' ? "<tr class='has-why'>" : "<tr>", out);
		element(out, "td", "class='point'", report_text(verdict, "point"));
		element(out, "td", "", report_text(verdict, "asked"));
		element(out, "td", "", report_text(verdict, "figure"));
		judged(out, json_object_get(verdict, "met"));
		if (owns)
			own(out, verdict);
		fputs("<td>", out);
		evidence(out, report, report_text(verdict, "evidence"));
		fputs("</td></tr>\n", out);
		if (why[0] != '\0') {
			fprintf(out, "<tr class='why'><td colspan='%d'>", owns ? 6 : 5);
			page_text(out, why);
			fputs("</td></tr>\n", out);
		}
	}
	fputs("</tbody></table></div>\n", out);
}

// ---- the first page -----------------------------------------------------------------------------------------------

static void machine(FILE *out, const json_t *report)
{
	const char *key;
	json_t *value;
	json_t *of = json_object_get(report, "machine");
	fputs("<dl>", out);
	json_object_foreach(of, key, value)
	{
		char name[128];
		char *text = report_machine_value(key, value);
		report_machine_name(name, sizeof(name), key);
		if (report_machine_is_said(key)) {
			free(text);
			continue;
		}
		fputs("<div>", out);
		element(out, "dt", "", name);
		element(out, "dd", "", text != NULL ? text : "");
		fputs("</div>\n", out);
		free(text);
	}
	fputs("</dl>\n", out);
}

static void behind(FILE *out, const json_t *report)
{
	const json_t *list = report_list(report, "behind");
	fputs("<h2>Where Tare is not ahead of Go</h2>\n", out);
	if (json_array_size(list) == 0) {
		element(out, "p", "", report_behind_none(report));
		return;
	}
	fputs("<div class='wide'><table><thead><tr><th>where</th><th>figure</th><th class='n'>Tare</th><th "
	      "class='n'>Go</th>"
	      "<th class='n'>Tare ÷ Go</th><th>why</th></tr></thead>\n<tbody>\n",
	      out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *at = json_array_get(list, i);
		const json_t *tare = json_object_get(at, "tare"), *go = json_object_get(at, "go");
		double of = json_is_number(tare) ? json_number_value(tare) : NAN;
		char figure[PAGE_FIGURE];
		fputs("<tr><td>", out);
		page_link(out, report, report_text(at, "page"));
		fputs("</td>", out);
		element(out, "td", "", report_text(at, "what"));
		element(out, "td", "class='n'",
			json_is_number(tare) ? page_figure(figure, of, report_text(at, "unit")) : "–");
		element(out, "td", "class='n'", page_figure(figure, json_number_value(go), report_text(at, "unit")));
		element(out, "td", "class='n'", report_ratio(figure, of, json_number_value(go)));
		element(out, "td", "", report_text(at, "why"));
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
}

static void beside(FILE *out, const struct report *report, const json_t *list)
{
	const json_t *last = NULL;
	if (json_array_size(list) > 0)
		fputs("<h2>Tare beside Go</h2>\n", out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *page = json_object_get(json_array_get(list, i), "page");
		if (page != last) {
			fputs("<h3>", out);
			page_link(out, report->json, report_text(page, "id"));
			fputs("</h3>\n", out);
		}
		table(out, report, page, json_object_get(json_array_get(list, i), "table"));
		last = page;
	}
}

static void first_page(FILE *out, const struct report *report)
{
	const json_t *json = report->json, *points = report_list(json, "acceptance");
	char count[128], made[64];
	json_t *twins = report_beside(json);
	element(out, "h1", "", report_text(json, "title"));
	fputs("<p class='soft'>Made ", out);
	report_made(made, sizeof(made), report_text(json, "made"));
	page_text(out, made);
	if (json_is_true(json_object_get(json, "quick")))
		fputs(". A quick run: short and small, to see that all of it works; its figures are rough.", out);
	fputs("</p>\n", out);
	if (report_text(json, "about")[0] != '\0')
		element(out, "p", "", report_text(json, "about"));
	machine(out, json);
	fputs("<h2>What was asked</h2>\n", out);
	report_count_text(count, sizeof(count), report_verdicts(points));
	fprintf(out, "<p>%s.</p>\n", count);
	verdicts(out, report, points);
	if (json_array_size(report_list(json, "missed")) > 0)
		fputs("<h2>Missed beside that</h2>\n", out);
	verdicts(out, report, report_list(json, "missed"));
	behind(out, json);
	beside(out, report, twins);
	json_decref(twins);
}

// ---- pages --------------------------------------------------------------------------------------------------------

static void texts(FILE *out, const char *title, const json_t *list, const char *class_name)
{
	size_t count = json_array_size(list);
	if (count == 0)
		return;
	fprintf(out, "<h3>%s</h3>\n<div class='%s'>", title, class_name);
	fputs(count > 1 ? "<ul>\n" : "", out);
	for (size_t i = 0; i < count; i++) {
		element(out, count > 1 ? "li" : "p", "", json_string_value(json_array_get(list, i)));
		fputc('\n', out);
	}
	fputs(count > 1 ? "</ul></div>\n" : "</div>\n", out);
}

// Lines break between words, but not within an option, which browsers would do after its dashes.
static void command(FILE *out, const char *text)
{
	static const char blanks[] = " \t\n";
	while (*text != '\0') {
		size_t len = strcspn(text, blanks), between = strspn(text + len, blanks);
		char *word = strndup(text, len), *blank = strndup(text + len, between);
		bool option = text[0] == '-' && len <= OPTION_MAX;
		if (word != NULL && blank != NULL) {
			fputs(option ? "<span>" : "", out);
			page_text(out, word);
			fputs(option ? "</span>" : "", out);
			page_text(out, blank);
		}
		free(word);
		free(blank);
		text += len + between;
	}
}

static void commands(FILE *out, const json_t *page)
{
	const json_t *list = report_list(page, "commands");
	if (json_array_size(list) == 0)
		return;
	fputs("<h3>Commands</h3>\n<div class='commands'>\n", out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		fprintf(out, "<pre id='%s.command-%zu'>", report_text(page, "id"), i);
		command(out, json_string_value(json_array_get(list, i)));
		fputs("</pre>\n", out);
	}
	fputs("</div>\n", out);
}

static int plot(FILE *out, const struct report *report, const json_t *of, struct tare_error *err)
{
	size_t all = 0;
	fputs("<figure>", out);
	element(out, "figcaption", "", report_text(of, "title"));
	fputc('\n', out);
	int rc = report_plot(out, of, err);
	json_t *data = report_plot_table(of, DATA_ROWS_MAX, &all);
	size_t shown = json_array_size(report_list(data, "rows"));
	fputs("<details><summary>Data", out);
	if (shown < all)
		fprintf(out, ": %zu rows of %zu, the rest in report.json", shown, all);
	fputs("</summary>\n", out);
	table(out, report, NULL, data);
	fputs("</details></figure>\n", out);
	json_decref(data);
	return rc;
}

static int page(FILE *out, const struct report *report, const json_t *of, struct tare_error *err)
{
	const json_t *tables = report_list(of, "tables"), *plots = report_list(of, "plots");
	char kind[REPORT_ID_MAX + 1];
	int rc = 0;
	report_page_kind(kind, sizeof(kind), report_text(of, "id"));
	fprintf(out, "<section id='%s'>\n<h2><span class='soft'>", report_text(of, "id"));
	page_text(out, kind);
	fputs("</span><span class='title'>", out);
	page_text(out, report_page_title(of));
	fputs("</span></h2>\n", out);
	element(out, "p", "class='question'", report_text(of, "question"));
	if (report_text(of, "skipped")[0] != '\0') {
		fputs("<p><strong class='missed'>Not run.</strong> ", out);
		page_text(out, report_text(of, "skipped"));
		fputs("</p>\n", out);
	}
	verdicts(out, report, report_list(of, "verdicts"));
	commands(out, of);
	if (json_array_size(tables) > 0)
		fputs("<h3>Figures</h3>\n", out);
	for (size_t i = 0; i < json_array_size(tables); i++)
		table(out, report, of, json_array_get(tables, i));
	for (size_t i = 0; i < json_array_size(plots) && rc == 0; i++)
		rc = plot(out, report, json_array_get(plots, i), err);
	texts(out, "What was learnt", report_list(of, "learnt"), "learnt");
	texts(out, "What would be done next", report_list(of, "next"), "next");
	texts(out, "Notes", report_list(of, "notes"), "asides");
	if (report_text(of, "spread")[0] != '\0') {
		fputs("<p class='asides'>Spread: ", out);
		page_text(out, report_text(of, "spread"));
		fputs("</p>\n", out);
	}
	fputs("</section>\n", out);
	return rc;
}

static void contents(FILE *out, const json_t *pages)
{
	fputs("<nav aria-label='Contents'><ol>\n<li><a href='#top'>Summary</a></li>\n", out);
	for (size_t i = 0; i < json_array_size(pages); i++) {
		const json_t *of = json_array_get(pages, i);
		struct report_count count = report_verdicts(report_list(of, "verdicts"));
		char text[128];
		report_count_text(text, sizeof(text), count);
		fprintf(out, "<li><a href='#%s'>", report_text(of, "id"));
		page_title(out, of);
		fputs("</a>", out);
		if (report_text(of, "skipped")[0] != '\0')
			fputs("<span class='soft'>not run</span>", out);
		else if (count.met + count.missed + count.open > 0)
			fprintf(out, "<span class='soft'>%s</span>", text);
		fputs("</li>\n", out);
	}
	fputs("</ol></nav>\n", out);
}

int report_html(FILE *out, const struct report *report, struct tare_error *err)
{
	const json_t *pages = report_list(report->json, "pages");
	int rc = 0;
	page_begin(out, report_text(report->json, "title"), style);
	contents(out, pages);
	fputs("<main id='top'>\n", out);
	first_page(out, report);
	for (size_t i = 0; i < json_array_size(pages) && rc == 0; i++)
		rc = page(out, report, json_array_get(pages, i), err);
	fputs("</main>\n", out);
	page_end(out);
	return rc;
}
