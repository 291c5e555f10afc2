// SPDX-License-Identifier: MIT
// What both forms of the report are made of: its texts, its cells, and tables that follow from others.
//
// Tables that follow (a plot's data, Tare beside Go) have the report's own form, so that one function writes all
// tables.
// Threads: one.
#include "cmd/lab/report_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *report_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

const json_t *report_list(const json_t *object, const char *name)
{
	return json_object_get(object, name);
}

const json_t *report_page(const json_t *report, const char *id)
{
	const json_t *pages = report_list(report, "pages");
	for (size_t i = 0; i < json_array_size(pages); i++)
		if (strcmp(report_text(json_array_get(pages, i), "id"), id) == 0)
			return json_array_get(pages, i);
	return NULL;
}

void report_page_kind(char *out, size_t cap, const char *id)
{
	const char *dash = strchr(id, '-');
	int word = dash != NULL ? (int)(dash - id) : (int)strlen(id);
	// What follows a number's word is the number; what follows another is in the title.
	if (dash != NULL && isdigit((unsigned char)dash[1]))
		snprintf(out, cap, "%.*s %s", word, id, dash + 1);
	else
		snprintf(out, cap, "%.*s", word, id);
	out[0] = (char)toupper((unsigned char)out[0]);
}

const char *report_page_title(const json_t *page)
{
	char kind[REPORT_ID_MAX + 1];
	const char *title = report_text(page, "title");
	report_page_kind(kind, sizeof(kind), report_text(page, "id"));
	size_t len = strlen(kind);
	return strncasecmp(title, kind, len) == 0 && strncmp(title + len, ": ", 2) == 0 ? title + len + 2 : title;
}

void report_made(char *out, size_t cap, const char *made)
{
	if (strlen(made) == 20 && made[10] == 'T' && made[19] == 'Z')
		snprintf(out, cap, "%.10s %.5s UTC", made, made + 11);
	else
		snprintf(out, cap, "%s", made);
}

// ---- machine ------------------------------------------------------------------------------------------------------

static bool ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), tail = strlen(end);
	return len > tail && strcmp(text + len - tail, end) == 0;
}

void report_machine_name(char *out, size_t cap, const char *key)
{
	int len = (int)strlen(key) - (ends_in(key, "_bytes") ? 6 : 0);
	snprintf(out, cap, "%.*s", len, key);
	for (char *c = out; *c != '\0'; c++)
		if (*c == '_')
			*c = ' ';
}

bool report_machine_is_said(const char *key)
{
	return strcmp(key, "made") == 0 || strcmp(key, "quick") == 0;
}

char *report_machine_value(const char *key, const json_t *value)
{
	char figure[PAGE_FIGURE];
	if (json_is_string(value))
		return strdup(json_string_value(value));
	if (json_is_number(value))
		return strdup(page_figure(figure, json_number_value(value), ends_in(key, "_bytes") ? "B" : ""));
	if (json_is_boolean(value))
		return strdup(json_is_true(value) ? "yes" : "no");
	return json_is_null(value) ? strdup("-") : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

// ---- verdicts -----------------------------------------------------------------------------------------------------

struct report_count report_verdicts(const json_t *verdicts)
{
	struct report_count count = {0};
	for (size_t i = 0; i < json_array_size(verdicts); i++) {
		const json_t *met = json_object_get(json_array_get(verdicts, i), "met");
		if (json_is_boolean(met))
			*(json_is_true(met) ? &count.met : &count.missed) += 1;
		else
			count.open++;
	}
	return count;
}

void report_count_text(char *out, size_t cap, struct report_count count)
{
	char missed[40] = "", open[40] = "";
	if (count.missed > 0)
		snprintf(missed, sizeof(missed), ", %zu missed", count.missed);
	if (count.open > 0)
		snprintf(open, sizeof(open), ", %zu not judged", count.open);
	snprintf(out, cap, "%zu of %zu met%s%s", count.met, count.met + count.missed + count.open, missed, open);
}

// ---- tables -------------------------------------------------------------------------------------------------------

static bool says_its_unit(const char *unit)
{
	double size = 1;
	const struct page_unit_family *family = page_unit_find(unit, &size);
	return family != NULL && family->base == 2;
}

const char *report_cell(char figure[PAGE_FIGURE], const json_t *cell, const char *unit)
{
	if (json_is_string(cell))
		return json_string_value(cell);
	if (!json_is_number(cell))
		return "–";
	return page_figure(figure, json_number_value(cell), says_its_unit(unit) ? unit : "");
}

const char *report_column_unit(const char *unit)
{
	return says_its_unit(unit) ? "" : page_unit(unit);
}

bool report_is_unfit(const json_t *row, size_t column)
{
	return json_is_true(json_array_get(report_list(row, "unfit"), column));
}

bool report_column_is_numeric(const json_t *table, size_t column)
{
	const json_t *rows = report_list(table, "rows");
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (json_is_number(json_array_get(report_list(json_array_get(rows, i), "cells"), column)))
			return true;
	return false;
}

bool report_has_runs(const json_t *table)
{
	const json_t *rows = report_list(table, "rows");
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (report_text(json_array_get(rows, i), "run")[0] != '\0')
			return true;
	return false;
}

// ---- runs ---------------------------------------------------------------------------------------------------------

bool report_run_exists(const struct report *report, const char *run)
{
	char *path = NULL;
	// A name with a slash would lead out of the folder.
	if (run[0] == '\0' || run[0] == '.' || strchr(run, '/') != NULL)
		return false;
	if (asprintf(&path, "%s/runs/%s.json", report->dir, run) < 0)
		return false;
	bool exists = access(path, R_OK) == 0;
	free(path);
	return exists;
}

void report_command_run(char *out, size_t cap, const char *command)
{
	size_t len = strncmp(command, "# ", 2) == 0 ? strcspn(command + 2, "\n") : 0;
	snprintf(out, cap, "%.*s", (int)TARE_MIN(len, cap - 1), len > 0 ? command + 2 : "");
}

// ---- a plot's data ------------------------------------------------------------------------------------------------

static json_t *point(const json_t *series, size_t i, size_t of)
{
	return json_array_get(json_array_get(report_list(series, "points"), i), of);
}

static size_t points(const json_t *series)
{
	return json_array_size(report_list(series, "points"));
}

// Whether the series have the same x, each once and in the same order: they are columns of one table then.
static bool same_places(const json_t *all)
{
	const json_t *first = json_array_get(all, 0);
	for (size_t s = 1; s < json_array_size(all); s++) {
		const json_t *series = json_array_get(all, s);
		if (points(series) != points(first))
			return false;
		for (size_t i = 0; i < points(first); i++)
			if (!json_equal(point(series, i, 0), point(first, i, 0)))
				return false;
	}
	return true;
}

static json_t *column(const char *name, const char *unit)
{
	return json_pack("{s:s, s:s}", "name", name, "unit", unit);
}

static json_t *axis_column(const json_t *axis)
{
	return column(report_text(axis, "name"), report_text(axis, "unit"));
}

static bool kept(size_t i, size_t all, size_t max)
{
	size_t every = all > max ? (all + max - 1) / max : 1;
	return i % every == 0 || i + 1 == all;
}

// Columns are series, rows are places.
static void wide_rows(json_t *rows, const json_t *plot, size_t max)
{
	const json_t *all = report_list(plot, "series"), *first = json_array_get(all, 0);
	const char *unit = report_text(json_object_get(plot, "x"), "unit");
	for (size_t i = 0; i < points(first); i++) {
		char figure[PAGE_FIGURE];
		json_t *cells = json_array();
		if (!kept(i, points(first), max)) {
			json_decref(cells);
			continue;
		}
		for (size_t s = 0; s < json_array_size(all); s++)
			json_array_append(cells, point(json_array_get(all, s), i, 1));
		json_array_append_new(rows, json_pack("{s:s, s:o}", "name",
						      report_cell(figure, point(first, i, 0), unit), "cells", cells));
	}
}

// Rows are points, a series after the other.
static void long_rows(json_t *rows, const json_t *all, size_t max, size_t count)
{
	size_t n = 0;
	for (size_t s = 0; s < json_array_size(all); s++) {
		const json_t *series = json_array_get(all, s);
		for (size_t i = 0; i < points(series); i++, n++)
			if (kept(n, count, max))
				json_array_append_new(rows,
						      json_pack("{s:s, s:[O, O]}", "name", report_text(series, "name"),
								"cells", point(series, i, 0), point(series, i, 1)));
	}
}

json_t *report_plot_table(const json_t *plot, size_t max, size_t *ret_all)
{
	const json_t *all = report_list(plot, "series"), *x = json_object_get(plot, "x"),
		     *y = json_object_get(plot, "y");
	json_t *columns = json_array(), *rows = json_array();
	const char *names = "series";
	char *x_name = NULL;
	*ret_all = 0;
	if (json_array_size(all) > 0 && same_places(all)) {
		const char *unit = report_column_unit(report_text(x, "unit"));
		*ret_all = points(json_array_get(all, 0));
		if (asprintf(&x_name, unit[0] != '\0' ? "%s, %s" : "%s", report_text(x, "name"), unit) >= 0)
			names = x_name;
		for (size_t s = 0; s < json_array_size(all); s++)
			json_array_append_new(
			    columns, column(report_text(json_array_get(all, s), "name"), report_text(y, "unit")));
		wide_rows(rows, plot, max);
	} else {
		for (size_t s = 0; s < json_array_size(all); s++)
			*ret_all += points(json_array_get(all, s));
		json_array_append_new(columns, axis_column(x));
		json_array_append_new(columns, axis_column(y));
		long_rows(rows, all, max, *ret_all);
	}
	json_t *table =
	    json_pack("{s:s, s:s, s:o, s:o}", "title", "", "names", names, "columns", columns, "rows", rows);
	free(x_name);
	return table;
}

// ---- Tare beside Go -----------------------------------------------------------------------------------------------

// What follows a side's name, "" at least: "tare opt" is Tare's "opt". NULL: it is not that side's.
static const char *side(const char *name, const char *of)
{
	size_t len = strlen(of);
	bool is = strncasecmp(name, of, len) == 0 && !isalnum((unsigned char)name[len]) && name[len] != '_';
	return is ? name + len : NULL;
}

static bool has_against(const json_t *rows)
{
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (report_text(json_array_get(rows, i), "against")[0] != '\0')
			return true;
	return false;
}

static const json_t *row_named(const json_t *rows, const char *name)
{
	for (size_t i = 0; i < json_array_size(rows) && name[0] != '\0'; i++)
		if (strcmp(report_text(json_array_get(rows, i), "name"), name) == 0)
			return json_array_get(rows, i);
	return NULL;
}

static const json_t *twin(const json_t *rows, const char *rest)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		const char *other = side(report_text(row, "name"), "go");
		if (other != NULL && strcmp(other, rest) == 0)
			return row;
	}
	return NULL;
}

const char *report_ratio(char out[PAGE_FIGURE], double of, double to)
{
	out[0] = '\0';
	if (to > 0 && of >= 0) {
		double ratio = of / to;
		snprintf(out, PAGE_FIGURE, "%.*f×", ratio < 9.995 ? 2 : ratio < 99.95 ? 1 : 0, ratio);
	}
	return out;
}

static json_t *ratios(const json_t *tare, const json_t *go)
{
	json_t *cells = json_array();
	for (size_t i = 0; i < json_array_size(report_list(tare, "cells")); i++) {
		const json_t *of = json_array_get(report_list(tare, "cells"), i),
			     *to = json_array_get(report_list(go, "cells"), i);
		char text[PAGE_FIGURE] = "";
		if (json_is_number(of) && json_is_number(to) && !report_is_unfit(tare, i) && !report_is_unfit(go, i))
			report_ratio(text, json_number_value(of), json_number_value(to));
		json_array_append_new(cells, text[0] != '\0' ? json_string(text) : json_null());
	}
	return json_pack("{s:s, s:o, s:b}", "name", "Tare ÷ Go", "cells", cells, "ratio", 1);
}

static json_t *twins_of(const json_t *table)
{
	const json_t *rows = report_list(table, "rows");
	json_t *of = json_array();
	bool told = has_against(rows);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *tare = json_array_get(rows, i);
		const char *rest = side(report_text(tare, "name"), "tare");
		const json_t *go = NULL;
		if (told)
			go = row_named(rows, report_text(tare, "against"));
		else if (rest != NULL)
			go = twin(rows, rest);
		if (go == NULL)
			continue;
		json_array_append_new(of, json_copy(tare));
		json_array_append_new(of, json_copy((json_t *)(uintptr_t)go));
		json_array_append_new(of, ratios(tare, go));
	}
	return json_pack("{s:s, s:O, s:o}", "title", report_text(table, "title"), "columns",
			 report_list(table, "columns"), "rows", of);
}

json_t *report_beside(const json_t *report)
{
	const json_t *pages = report_list(report, "pages");
	json_t *of = json_array();
	for (size_t p = 0; p < json_array_size(pages); p++) {
		json_t *page = json_array_get(pages, p);
		const json_t *tables = report_list(page, "tables");
		bool stage = strncmp(report_text(page, "id"), "stage-", 6) == 0;
		for (size_t t = 0; t < json_array_size(tables) && stage; t++) {
			json_t *twins = twins_of(json_array_get(tables, t));
			if (json_array_size(report_list(twins, "rows")) > 0)
				json_array_append_new(of, json_pack("{s:O, s:o}", "page", page, "table", twins));
			else
				json_decref(twins);
		}
	}
	return of;
}

bool report_has_go(const json_t *report)
{
	const json_t *pages = report_list(report, "pages");
	for (size_t p = 0; p < json_array_size(pages); p++) {
		const json_t *commands = report_list(json_array_get(pages, p), "commands");
		for (size_t i = 0; i < json_array_size(commands); i++) {
			char run[128];
			report_command_run(run, sizeof(run), json_string_value(json_array_get(commands, i)));
			const char *dot = strrchr(run, '.');
			if (dot != NULL && strncmp(dot, ".go-", 4) == 0)
				return true;
		}
	}
	return false;
}

bool report_compared(const json_t *report)
{
	const json_t *pages = report_list(report, "pages");
	bool any = json_array_size(report_list(report, "behind")) > 0;
	for (size_t p = 0; p < json_array_size(pages) && !any; p++) {
		const json_t *tables = report_list(json_array_get(pages, p), "tables");
		for (size_t t = 0; t < json_array_size(tables) && !any; t++) {
			json_t *twins = twins_of(json_array_get(tables, t));
			any = json_array_size(report_list(twins, "rows")) > 0;
			json_decref(twins);
		}
	}
	return any;
}

const char *report_behind_none(const json_t *report)
{
	if (report_compared(report))
		return "Nowhere, among the figures that were compared.";
	return report_has_go(report)
		   ? "Go's runs in this report are not of pairs that this list compares; see the pages' tables."
		   : "No run of Go is in this report, so nothing was compared.";
}

// ---- inks ---------------------------------------------------------------------------------------------------------

void report_inks(unsigned inks[PLOT_SERIES_MAX], const json_t *series)
{
	size_t count = TARE_MIN(json_array_size(series), (size_t)PLOT_SERIES_MAX);
	unsigned cool = 0, warm = 1, next = 0, taken = 0;
	for (size_t s = 0; s < count; s++) {
		const char *name = report_text(json_array_get(series, s), "name");
		inks[s] = PLOT_INKS;
		if (side(name, "tare") != NULL) {
			inks[s] = cool;
			cool = (cool + 2) % PLOT_INKS;
		} else if (side(name, "go") != NULL) {
			inks[s] = warm;
			warm = (warm + 2) % PLOT_INKS;
		}
		taken |= inks[s] < PLOT_INKS ? 1U << inks[s] : 0;
	}
	for (size_t s = 0; s < count; s++) {
		if (inks[s] < PLOT_INKS)
			continue;
		for (unsigned tries = 0; tries < PLOT_INKS && (taken & 1U << next) != 0; tries++)
			next = (next + 1) % PLOT_INKS;
		inks[s] = next;
		taken |= 1U << next;
		next = (next + 1) % PLOT_INKS;
	}
}
