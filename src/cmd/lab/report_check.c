// SPDX-License-Identifier: MIT
// Whether a document is a report: its form as data, and one walk that names the first place where it isn't.
//
// What is refused is what would be shown wrong or not at all: a key that is missing, a thing of another kind, a row
// with cells of no column, a page that another's links would lead to. Keys that are not known are left alone: a later
// laboratory may say more.
// Threads: one; the forms are constant.
#include "cmd/lab/report_parts.h"

#include <errno.h>
#include <string.h>

enum kind {
	TEXT,
	UNIT,
	NUMBER,
	NUMBER_OR_NULL,
	FLAG,
	FLAG_OR_NULL,
	FLAGS,
	OBJECT,
	LIST,
	TEXTS,
	CELLS,
	POINTS,
	PLOT_KIND
};

enum { UNIT_BYTES_MAX = 24 }; // it stands behind figures

// Where the walk is: "pages[3].tables[0].rows[1].cells".
struct place {
	const struct place *up;
	const char *name; // NULL: a position in a list
	size_t at;
};

struct form;
struct key {
	const char *name;
	enum kind kind;
	bool optional;
	const struct form *of; // OBJECT: its form, if any; LIST: that of each
};
struct form {
	const struct key *keys;
	size_t count;
};

#define FORM(name, ...)                                                                                                \
	static const struct key name##_keys[] = {__VA_ARGS__};                                                         \
	static const struct form name = {name##_keys, TARE_ARRAY_LEN(name##_keys)}

FORM(verdict_form, {"point", TEXT, false, NULL}, {"asked", TEXT, false, NULL}, {"figure", TEXT, false, NULL},
     {"met", FLAG_OR_NULL, false, NULL}, {"own_asked", TEXT, true, NULL}, {"own_met", FLAG_OR_NULL, true, NULL},
     {"evidence", TEXT, true, NULL}, {"why", TEXT, true, NULL}, {"group", TEXT, true, NULL});
FORM(behind_form, {"page", TEXT, false, NULL}, {"what", TEXT, false, NULL}, {"tare", NUMBER_OR_NULL, false, NULL},
     {"go", NUMBER, false, NULL}, {"unit", UNIT, true, NULL}, {"why", TEXT, true, NULL});
FORM(column_form, {"name", TEXT, false, NULL}, {"unit", UNIT, true, NULL});
FORM(row_form, {"name", TEXT, false, NULL}, {"cells", CELLS, false, NULL}, {"run", TEXT, true, NULL},
     {"against", TEXT, true, NULL}, {"unfit", FLAGS, true, NULL});
FORM(table_form, {"title", TEXT, false, NULL}, {"columns", LIST, false, &column_form},
     {"rows", LIST, false, &row_form});
FORM(axis_form, {"name", TEXT, false, NULL}, {"unit", UNIT, true, NULL}, {"log", FLAG, true, NULL});
FORM(series_form, {"name", TEXT, false, NULL}, {"points", POINTS, false, NULL});
FORM(plot_form, {"title", TEXT, false, NULL}, {"kind", PLOT_KIND, false, NULL}, {"x", OBJECT, false, &axis_form},
     {"y", OBJECT, false, &axis_form}, {"series", LIST, false, &series_form});
FORM(page_form, {"id", TEXT, false, NULL}, {"title", TEXT, false, NULL}, {"question", TEXT, false, NULL},
     {"commands", TEXTS, false, NULL}, {"tables", LIST, false, &table_form}, {"plots", LIST, false, &plot_form},
     {"verdicts", LIST, false, &verdict_form}, {"learnt", TEXTS, false, NULL}, {"next", TEXTS, false, NULL},
     {"notes", TEXTS, false, NULL}, {"skipped", TEXT, true, NULL}, {"spread", TEXT, true, NULL});
FORM(report_form, {"title", TEXT, false, NULL}, {"made", TEXT, false, NULL}, {"quick", FLAG, true, NULL},
     {"about", TEXT, true, NULL}, {"machine", OBJECT, false, NULL}, {"acceptance", LIST, false, &verdict_form},
     {"missed", LIST, true, &verdict_form}, {"behind", LIST, false, &behind_form}, {"pages", LIST, false, &page_form});

// ---- saying where -------------------------------------------------------------------------------------------------

static void place_write(FILE *out, const struct place *place)
{
	if (place->up != NULL)
		place_write(out, place->up);
	if (place->name == NULL)
		fprintf(out, "[%zu]", place->at);
	else
		fprintf(out, "%s%s",
			place->up != NULL && place->up->up != NULL ? "."
			: place->up != NULL                        ? ": "
								   : "",
			place->name);
}

// "FILE: PLACE: what". The first place is the file.
static int refuse(struct tare_error *err, const struct place *place, const char *what)
{
	char text[sizeof(err->text)];
	FILE *out = fmemopen(text, sizeof(text), "w");
	if (out == NULL)
		return tare_error_set(err, -ENOMEM, "no memory to say what is wrong with a report: %s", what);
	place_write(out, place);
	fclose(out);
	text[sizeof(text) - 1] = '\0';
	return tare_error_set(err, -EINVAL, "%.300s: %.200s", text, what);
}

static const char *kind_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a text";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

static int not_that(struct tare_error *err, const struct place *place, const json_t *value, const char *wanted)
{
	char what[128];
	snprintf(what, sizeof(what), "is %s, not %s", kind_name(value), wanted);
	return refuse(err, place, what);
}

// ---- the walk -----------------------------------------------------------------------------------------------------

static int check_form(struct tare_error *err, const struct place *place, const json_t *object, const struct form *form);

static int check_list(struct tare_error *err, const struct place *place, const json_t *list, const struct form *each,
		      bool (*fits)(const json_t *), const char *wanted)
{
	int rc = 0;
	if (!json_is_array(list))
		return not_that(err, place, list, "a list");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		const struct place here = {.up = place, .at = i};
		const json_t *value = json_array_get(list, i);
		if (each != NULL)
			rc = check_form(err, &here, value, each);
		else if (!fits(value))
			rc = not_that(err, &here, value, wanted);
	}
	return rc;
}

static bool is_text(const json_t *value)
{
	return json_is_string(value);
}

static bool is_flag(const json_t *value)
{
	return json_is_boolean(value);
}

static bool is_cell(const json_t *value)
{
	return json_is_number(value) || json_is_string(value) || json_is_null(value);
}

static bool is_point(const json_t *value)
{
	const json_t *x = json_array_get(value, 0), *y = json_array_get(value, 1);
	return json_array_size(value) == 2 && (json_is_number(x) || json_is_string(x)) &&
	       (json_is_number(y) || json_is_null(y));
}

static bool is_plot_kind(const json_t *value)
{
	const char *kind = json_string_value(value);
	return kind != NULL && (strcmp(kind, "line") == 0 || strcmp(kind, "step") == 0 || strcmp(kind, "bar") == 0);
}

static int check_value(struct tare_error *err, const struct place *place, const json_t *value, const struct key *key)
{
	switch (key->kind) {
	case TEXT:
		return json_is_string(value) ? 0 : not_that(err, place, value, "a text");
	case UNIT:
		if (!json_is_string(value))
			return not_that(err, place, value, "a text");
		return json_string_length(value) <= UNIT_BYTES_MAX ? 0 : refuse(err, place, "is longer than 24 bytes");
	case NUMBER:
		return json_is_number(value) ? 0 : not_that(err, place, value, "a number");
	case NUMBER_OR_NULL:
		return json_is_number(value) || json_is_null(value) ? 0
								    : not_that(err, place, value, "a number or null");
	case FLAG:
		return json_is_boolean(value) ? 0 : not_that(err, place, value, "true or false");
	case FLAG_OR_NULL:
		return json_is_boolean(value) || json_is_null(value)
			   ? 0
			   : not_that(err, place, value, "true, false or null");
	case FLAGS:
		return check_list(err, place, value, NULL, is_flag, "true or false");
	case OBJECT:
		if (!json_is_object(value))
			return not_that(err, place, value, "an object");
		return key->of != NULL ? check_form(err, place, value, key->of) : 0;
	case LIST:
		return check_list(err, place, value, key->of, NULL, NULL);
	case TEXTS:
		return check_list(err, place, value, NULL, is_text, "a text");
	case CELLS:
		return check_list(err, place, value, NULL, is_cell, "a number, a text or null");
	case POINTS:
		return check_list(err, place, value, NULL, is_point,
				  "a point [x, y]: x a number or a text, y a number or null");
	case PLOT_KIND:
		return is_plot_kind(value) ? 0 : refuse(err, place, "is not \"line\", \"step\" or \"bar\"");
	}
	return 0;
}

static int check_form(struct tare_error *err, const struct place *place, const json_t *object, const struct form *form)
{
	int rc = 0;
	if (!json_is_object(object))
		return not_that(err, place, object, "an object");
	for (size_t i = 0; i < form->count && rc == 0; i++) {
		const struct key *key = &form->keys[i];
		const struct place here = {.up = place, .name = key->name};
		const json_t *value = json_object_get(object, key->name);
		if (value != NULL)
			rc = check_value(err, &here, value, key);
		else if (!key->optional)
			rc = refuse(err, &here, "is missing");
	}
	return rc;
}

// ---- what depends on other places ---------------------------------------------------------------------------------

static int check_table(struct tare_error *err, const struct place *place, const json_t *table)
{
	size_t columns = json_array_size(json_object_get(table, "columns"));
	const json_t *rows = json_object_get(table, "rows");
	const struct place in_rows = {.up = place, .name = "rows"};
	char what[128];
	if (columns > REPORT_COLUMNS_MAX) {
		snprintf(what, sizeof(what), "has %zu columns; %d are allowed", columns, REPORT_COLUMNS_MAX);
		return refuse(err, place, what);
	}
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const struct place row = {.up = &in_rows, .at = i}, cells = {.up = &row, .name = "cells"};
		size_t count = json_array_size(json_object_get(json_array_get(rows, i), "cells"));
		snprintf(what, sizeof(what), "has %zu cells, its table has %zu columns", count, columns);
		if (count != columns)
			return refuse(err, &cells, what);
	}
	return 0;
}

// Of bars x is a category's name, else a number.
static int check_plot(struct tare_error *err, const struct place *place, const json_t *plot)
{
	const json_t *all = json_object_get(plot, "series");
	bool bars = strcmp(report_text(plot, "kind"), "bar") == 0;
	const struct place in_series = {.up = place, .name = "series"};
	if (json_array_size(all) > PLOT_SERIES_MAX)
		return refuse(err, &in_series, "has more than 64 series");
	for (size_t s = 0; s < json_array_size(all); s++) {
		const json_t *points = json_object_get(json_array_get(all, s), "points");
		const struct place series = {.up = &in_series, .at = s}, in_points = {.up = &series, .name = "points"};
		for (size_t i = 0; i < json_array_size(points); i++) {
			const struct place point = {.up = &in_points, .at = i};
			if (json_is_string(json_array_get(json_array_get(points, i), 0)) != bars)
				return refuse(err, &point, bars ? "x is no text; that of bars is" : "x is no number");
		}
	}
	return 0;
}

// Names of pages are places in the page and parts of links.
static bool is_id(const char *id)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strlen(id);
	return len > 0 && len <= REPORT_ID_MAX && strspn(id, allowed) == len;
}

static int check_page(struct tare_error *err, const struct place *place, const json_t *report, const json_t *page)
{
	const struct place id = {.up = place, .name = "id"};
	int rc = 0;
	if (!is_id(report_text(page, "id")))
		return refuse(err, &id, "is not 1 to 64 letters, digits, '-', '_' and '.'");
	if (report_page(report, report_text(page, "id")) != page)
		return refuse(err, &id, "is another page's too");
	const json_t *tables = json_object_get(page, "tables"), *plots = json_object_get(page, "plots");
	const struct place in_tables = {.up = place, .name = "tables"}, in_plots = {.up = place, .name = "plots"};
	for (size_t i = 0; i < json_array_size(tables) && rc == 0; i++) {
		const struct place here = {.up = &in_tables, .at = i};
		rc = check_table(err, &here, json_array_get(tables, i));
	}
	for (size_t i = 0; i < json_array_size(plots) && rc == 0; i++) {
		const struct place here = {.up = &in_plots, .at = i};
		rc = check_plot(err, &here, json_array_get(plots, i));
	}
	return rc;
}

int report_check(const json_t *report, const char *file, struct tare_error *err)
{
	const struct place root = {.name = file}, in_pages = {.up = &root, .name = "pages"};
	const json_t *pages = json_object_get(report, "pages");
	int rc = check_form(err, &root, report, &report_form);
	for (size_t i = 0; i < json_array_size(pages) && rc == 0; i++) {
		const struct place here = {.up = &in_pages, .at = i};
		rc = check_page(err, &here, report, json_array_get(pages, i));
	}
	return rc;
}
