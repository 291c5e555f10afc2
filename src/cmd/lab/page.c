// SPDX-License-Identifier: MIT
// A page of the report: tables, plots and sentences, all from the figures of its runs. Verdicts are judge.c's.
//
// What was learnt is written by arithmetic, so that it is true of the machine that it was measured on: a comparison
// names both figures and their ratio, or says that the windows differ by more than the two do. A figure that was read
// once gets no ratio.
#include "cmd/lab/draft.h"
#include "cmd/lab/probe.h"
#include "cmd/page.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

enum { COLUMNS_MAX = 32 };

#define MARGIN_MISSED_MOST 0.02 // of requests near a memory limit: past that it is not merely slower

static const char *const service_columns[] = {"rate",
					      "missed",
					      "p50_us",
					      "p99_us",
					      "p999_us",
					      "cpu_us_per_request",
					      "allocs_per_request",
					      "bytes_per_request",
					      "gc_cpu_share",
					      "gc_cycles",
					      "pause_p99_us",
					      "pause_max_us",
					      "pause_life_max_us",
					      "wait_p99_us",
					      "rss_bytes",
					      "anon_bytes",
					      "live_heap_bytes",
					      "lateness_p99_us",
					      NULL};

const char *const draft_search_columns[] = {"rate_max", NULL};

void draft_add(const struct lab_draft *p, const char *list, const char *format, ...)
{
	char text[1200];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	json_array_append_new(draft_list(p, list), json_string(text));
}

const struct lab_run *draft_run(const struct lab_draft *p, const char *name)
{
	for (size_t i = 0; name != NULL && i < p->plan->run_count; i++)
		if (strcmp(p->plan->runs[i].name, name) == 0)
			return &p->plan->runs[i];
	return NULL;
}

// As it is shown: scaled, without digits that mean nothing.
json_t *draft_cell(const char *key, double value)
{
	const struct lab_figure *figure = lab_figure(key);
	if (isnan(value))
		return json_null();
	if (figure == NULL)
		return json_real(value);
	double unit = pow(10, figure->digits);
	return json_real(round(value * figure->scale * unit) / unit);
}

// ---- tables -------------------------------------------------------------------------------------------------------

static json_t *columns_of(const char *const *keys)
{
	json_t *columns = json_array();
	for (; *keys != NULL; keys++) {
		const struct lab_figure *figure = lab_figure(*keys);
		json_array_append_new(columns, json_pack("{s:s, s:s}", "name", figure != NULL ? figure->title : *keys,
							 "unit", figure != NULL ? figure->unit : ""));
	}
	return columns;
}

static json_t *cells_of(const json_t *result, const char *const *keys)
{
	json_t *cells = json_array();
	for (; *keys != NULL; keys++)
		json_array_append_new(cells, draft_cell(*keys, lab_figure_of(result, *keys)));
	return cells;
}

// Which of a run's figures are neither judged nor compared.
static json_t *unfit_of(const struct lab_draft *p, const char *run, const char *const *keys)
{
	json_t *unfit = json_array();
	for (; *keys != NULL; keys++)
		json_array_append_new(unfit, json_boolean(draft_unfit(p, run, *keys) != NULL));
	return unfit;
}

// Those columns of the page of which some run has a figure, in ret.
static void service_keys(const struct lab_draft *p, const char *ret[COLUMNS_MAX])
{
	const char *const *keys = p->plan->columns != NULL ? p->plan->columns : service_columns;
	size_t n = 0;
	for (; *keys != NULL && n < COLUMNS_MAX - 1; keys++) {
		bool any = false;
		for (size_t i = 0; i < p->plan->run_count; i++)
			any |= !lab_is_probe(&p->plan->runs[i]) &&
			       !isnan(lab_figure_of(draft_result(p, p->plan->runs[i].name), *keys));
		if (any)
			ret[n++] = *keys;
	}
	ret[n] = NULL;
}

static void service_table(const struct lab_draft *p, const char *const *keys)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (lab_is_probe(run) || run->load == LAB_SEARCH || !draft_done(result))
			continue;
		json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:O}", "name", run->name, "cells",
						      cells_of(result, keys), "unfit", unfit_of(p, run->name, keys),
						      "run", json_object_get(result, "name")));
	}
	if (json_array_size(rows) > 0)
		json_array_append_new(draft_list(p, "tables"), json_pack("{s:s, s:o, s:o}", "title", p->plan->title,
									 "columns", columns_of(keys), "rows", rows));
	else
		json_decref(rows);
}

// Two runs that do not have the same name; the report sets them side by side.
static void against_table(const struct lab_draft *p, const char *const *keys, bool search)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i], *other = draft_run(p, run->against);
		if (other == NULL || (run->load == LAB_SEARCH) != search || !draft_done(draft_result(p, run->name)) ||
		    !draft_done(draft_result(p, other->name)))
			continue;
		const struct lab_run *const both[] = {run, other};
		for (size_t k = 0; k < TARE_ARRAY_LEN(both); k++) {
			const json_t *result = draft_result(p, both[k]->name);
			json_array_append_new(
			    rows, json_pack("{s:s, s:o, s:o, s:O, s:s}", "name", both[k]->name, "cells",
					    cells_of(result, keys), "unfit", unfit_of(p, both[k]->name, keys), "run",
					    json_object_get(result, "name"), "against", k == 0 ? other->name : ""));
		}
	}
	if (json_array_size(rows) > 0)
		json_array_append_new(draft_list(p, "tables"),
				      json_pack("{s:s, s:o, s:o}", "title", "Beside Go without net/http", "columns",
						columns_of(keys), "rows", rows));
	else
		json_decref(rows);
}

static void search_table(const struct lab_draft *p)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const json_t *result = draft_result(p, p->plan->runs[i].name);
		if (p->plan->runs[i].load == LAB_SEARCH && draft_done(result))
			json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:O}", "name", p->plan->runs[i].name,
							      "cells", cells_of(result, draft_search_columns), "unfit",
							      unfit_of(p, p->plan->runs[i].name, draft_search_columns),
							      "run", json_object_get(result, "name")));
	}
	if (json_array_size(rows) > 0)
		json_array_append_new(
		    draft_list(p, "tables"),
		    json_pack("{s:o, s:o, s:o}", "title",
			      json_sprintf("The highest rate that holds, of at most %.0f", p->lab->high_wanted),
			      "columns", columns_of(draft_search_columns), "rows", rows));
	else
		json_decref(rows);
}

// The figures of all probes of this peer on the page, or NULL: the last one's with that figure.
static json_t *probe_figure(const struct lab_draft *p, enum lab_peer peer, const char *probe, const char *key)
{
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (run->peer == peer && strcmp(run->knobs, probe) == 0 && draft_done(result))
			return json_object_get(json_object_get(result, "figures"), key);
	}
	return NULL;
}

// Rows have units of their own.
static json_t *probe_cell(const char *key, const json_t *value)
{
	char text[64];
	if (!json_is_number(value))
		return json_null();
	lab_figure_text(text, sizeof text, key, json_number_value(value));
	return json_string(text);
}

// "pool_16_ns" of the series "pool": the plot has it.
static bool is_in_series(const json_t *result, const char *key)
{
	const char *name;
	json_t *points;
	json_object_foreach(json_object_get(result, "series"), name, points)
	{
		size_t len = strlen(name);
		if (strncmp(key, name, len) == 0 && key[len] == '_' && isdigit((unsigned char)key[len + 1]))
			return true;
	}
	return false;
}

// One table a probe: its figures, Tare's and Go's side by side.
static void probe_table(const struct lab_draft *p, const struct lab_run *run, const json_t *result)
{
	json_t *rows = json_array();
	const char *key;
	json_t *value;
	json_object_foreach(json_object_get(result, "figures"), key, value)
	{
		if (is_in_series(result, key))
			continue;
		json_t *go = run->build == NULL ? probe_figure(p, LAB_GO_PROBE, run->knobs, key) : NULL;
		json_array_append_new(rows,
				      json_pack("{s:s, s:[o, o], s:O}", "name", key, "cells", probe_cell(key, value),
						probe_cell(key, go), "run", json_object_get(result, "name")));
	}
	json_array_append_new(draft_list(p, "tables"),
			      json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:s}], s:o}", "title", run->name, "columns", "name",
					"tare", "unit", "", "name", "go", "unit", "", "rows", rows));
}

static void tables(const struct lab_draft *p)
{
	const char *keys[COLUMNS_MAX];
	service_keys(p, keys);
	service_table(p, keys);
	against_table(p, keys, false);
	search_table(p);
	against_table(p, draft_search_columns, true);
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (run->peer == LAB_TARE_PROBE && draft_done(result))
			probe_table(p, run, result);
	}
}

// ---- plots --------------------------------------------------------------------------------------------------------

static json_t *series_in(json_t *list, const char *name)
{
	size_t i;
	json_t *series;
	json_array_foreach(list, i, series) if (strcmp(json_string_value(json_object_get(series, "name")), name) ==
						0) return json_object_get(series, "points");
	series = json_pack("{s:s, s:o}", "name", name, "points", json_array());
	json_array_append_new(list, series);
	return json_object_get(series, "points");
}

static void plot(const struct lab_draft *p, const struct lab_plot *plan)
{
	json_t *series = json_array();
	bool bar = strcmp(plan->kind, "bar") == 0;
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		double y = draft_unfit(p, run->name, plan->key) == NULL ? lab_figure_of(result, plan->key) : NAN;
		if (lab_is_probe(run) || isnan(y) || run->load == LAB_SEARCH || (run->series == NULL && !bar))
			continue;
		const char *name = run->series != NULL ? run->series : run->peer == LAB_GO ? "go" : "tare";
		const char *x = run->x != NULL ? run->x : run->name;
		json_array_append_new(
		    series_in(series, name),
		    json_pack("[o, o]", bar ? json_string(x) : json_real(strtod(x, NULL)), draft_cell(plan->key, y)));
	}
	const struct lab_figure *figure = lab_figure(plan->key);
	if (json_array_size(series) == 0) {
		json_decref(series);
		return;
	}
	json_array_append_new(draft_list(p, "plots"),
			      json_pack("{s:s, s:s, s:{s:s, s:s, s:b}, s:{s:s, s:s, s:b}, s:o}", "title", plan->title,
					"kind", plan->kind, "x", "name", plan->x, "unit", plan->x_unit, "log",
					plan->x_log, "y", "name", figure != NULL ? figure->title : plan->key, "unit",
					figure != NULL ? figure->unit : "", "log", 0, "series", series));
}

// Series that are two sides of one thing stand in one plot, "goal_predicted" beside "goal_actual"; the others in the
// probe's own. The length of the plot's name, 0: the probe's.
static size_t plot_name_len(const char *series)
{
	static const char *const sides[] = {"_limiter", "_unlimited", "_predicted", "_actual"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(sides); i++) {
		size_t len = strlen(series), side = strlen(sides[i]);
		if (len > side && strcmp(series + len - side, sides[i]) == 0)
			return len - side;
	}
	return 0;
}

static json_t *axis(const char *name, const char *unit, bool log)
{
	return json_pack("{s:s, s:s, s:b}", "name", name, "unit", unit, "log", log);
}

// The series of the plot of that name, a new one with these axes where there is none yet; NULL axes: it has none to
// name.
static json_t *plot_named(json_t *list, const char *name, const struct lab_probe_axes *axes)
{
	static const struct lab_probe_axes none = {.x_name = "", .x_unit = "", .y_name = "", .y_unit = ""};
	size_t i;
	json_t *found;
	json_array_foreach(list, i, found) if (strcmp(json_string_value(json_object_get(found, "title")), name) ==
					       0) return json_object_get(found, "series");
	axes = axes != NULL ? axes : &none;
	found = json_pack("{s:s, s:s, s:o, s:o, s:o}", "title", name, "kind", "line", "x",
			  axis(axes->x_name, axes->x_unit, axes->x_log), "y",
			  axis(axes->y_name[0] != '\0' ? axes->y_name : name, axes->y_unit, axes->y_log), "series",
			  json_array());
	json_array_append_new(list, found);
	return json_object_get(found, "series");
}

static void probe_plots(const struct lab_draft *p, const struct lab_run *run, const json_t *result)
{
	const char *key;
	json_t *points;
	json_object_foreach(json_object_get(result, "series"), key, points)
	{
		char name[LAB_NAME], probe[LAB_NAME];
		size_t len = plot_name_len(key);
		snprintf(probe, sizeof probe, "%.*s", (int)strcspn(run->knobs, " "), run->knobs);
		snprintf(name, sizeof name, "%.*s", (int)len, key);
		json_t *series = plot_named(draft_list(p, "plots"), len > 0 ? name : probe, lab_probe_axes(probe, key));
		json_array_append_new(series,
				      json_pack("{s:o, s:O}", "name",
						json_sprintf("%s %s", run->peer == LAB_GO_PROBE ? "go" : "tare", key),
						"points", points));
	}
}

static void plots(const struct lab_draft *p)
{
	for (size_t i = 0; i < p->plan->plot_count; i++)
		plot(p, &p->plan->plots[i]);
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const json_t *result = draft_result(p, p->plan->runs[i].name);
		if (lab_is_probe(&p->plan->runs[i]) && p->plan->runs[i].build == NULL && draft_done(result))
			probe_plots(p, &p->plan->runs[i], result);
	}
}

// ---- what was learnt ----------------------------------------------------------------------------------------------

static const char *title_of(const char *key)
{
	const struct lab_figure *figure = lab_figure(key);
	return figure != NULL ? figure->title : key;
}

static bool same_size(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const struct lab_run *a = draft_run(p, lesson->a), *b = draft_run(p, lesson->b);
	return lab_is_probe(a) || lab_size_bytes(p->lab, a->size) == lab_size_bytes(p->lab, b->size);
}

static void learn_compare(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const json_t *a = draft_result(p, lesson->a), *b = draft_result(p, lesson->b);
	if (draft_unfit(p, lesson->a, lesson->key) != NULL || draft_unfit(p, lesson->b, lesson->key) != NULL)
		return;
	if (!same_size(p, lesson)) // what differs is the size first of all
		return;
	char a_text[64], b_text[64];
	double x = lab_figure_of(a, lesson->key), y = lab_figure_of(b, lesson->key);
	double noise = fmax(lab_noise_of(a, lesson->key), lab_noise_of(b, lesson->key));
	lab_figure_text(a_text, sizeof a_text, lesson->key, x);
	lab_figure_text(b_text, sizeof b_text, lesson->key, y);
	const char *title = title_of(lesson->key);
	if (x == y || fabs(x - y) <= noise)
		draft_add(p, "learnt", "%s: %s with %s, %s with %s: no difference beyond what %s of one run differ by.",
			  title, a_text, lesson->a, b_text, lesson->b,
			  lab_is_probe(draft_run(p, lesson->a)) ? "readings" : "windows");
	else if (x <= 0 || y <= 0)
		draft_add(p, "learnt", "%s: %s with %s, %s with %s.", title, a_text, lesson->a, b_text, lesson->b);
	else if (!lab_spread_known(a, lesson->key) && !lab_spread_known(b, lesson->key))
		draft_add(p, "learnt", "%s: %s with %s, %s with %s; each was read once.", title, a_text, lesson->a,
			  b_text, lesson->b);
	else
		draft_add(p, "learnt", "%s: %s with %s, %s with %s: %.2f times as much.", title, a_text, lesson->a,
			  b_text, lesson->b, x / y);
}

// Whether the least of them is the least by more than they differ by themselves.
static bool is_least(const double values[], const double noises[], size_t count, size_t least)
{
	for (size_t i = 0; i < count; i++)
		if (i != least && values[i] - values[least] <= fmax(noises[i], noises[least]))
			return false;
	return count > 1;
}

static void learn_list(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	char text[1000] = "", value[64];
	const char *names[LAB_SERIES_MAX];
	double values[LAB_SERIES_MAX], noises[LAB_SERIES_MAX];
	size_t len = 0, count = 0, least = 0;
	for (size_t i = 0; i < p->plan->run_count && count < LAB_SERIES_MAX; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (lab_is_probe(run) || run->load == LAB_SEARCH || draft_unfit(p, run->name, lesson->key) != NULL ||
		    (lesson->a != NULL && (run->series == NULL || strcmp(run->series, lesson->a) != 0)))
			continue;
		names[count] = run->name;
		values[count] = lab_figure_of(result, lesson->key);
		noises[count] = lab_noise_of(result, lesson->key);
		lab_figure_text(value, sizeof value, lesson->key, values[count]);
		len +=
		    (size_t)snprintf(text + len, sizeof text - len, "%s%s %s", len > 0 ? ", " : "", run->name, value);
		len = TARE_MIN(len, sizeof text - 1);
		if (values[count] < values[least])
			least = count;
		count++;
	}
	if (count == 0)
		return;
	if (is_least(values, noises, count, least))
		draft_add(p, "learnt", "%s: %s. Least: %s.", title_of(lesson->key), text, names[least]);
	else
		draft_add(p, "learnt", "%s: %s.", title_of(lesson->key), text);
}

// The knee: the first point of the series after which none is lower by a tenth of what the first point has, or by as
// much as windows of one run differ by, where that is more.
static void learn_knee(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const struct lab_run *runs[LAB_SERIES_MAX];
	double values[LAB_SERIES_MAX], step = 0.1;
	size_t n = 0, knee = 0;
	char a[64], b[64];
	for (size_t i = 0; i < p->plan->run_count && n < LAB_SERIES_MAX; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (run->series == NULL || strcmp(run->series, lesson->a) != 0 ||
		    draft_unfit(p, run->name, lesson->key) != NULL)
			continue;
		runs[n] = run;
		values[n++] = lab_figure_of(result, lesson->key);
		step = fmax(step, lab_spread_of(result, lesson->key));
	}
	for (size_t i = n; i-- > 0;) {
		double least = values[i];
		for (size_t k = i; k < n; k++)
			least = fmin(least, values[k]);
		if (values[i] - least > step * values[0])
			break;
		knee = i;
	}
	if (n < 3 || !(values[0] > 0))
		return;
	lab_figure_text(a, sizeof a, lesson->key, values[0]);
	lab_figure_text(b, sizeof b, lesson->key, values[knee]);
	if (knee == 0)
		draft_add(p, "learnt", "%s of %s: %s at %s; no later point is lower by %.0f %% of that.",
			  title_of(lesson->key), lesson->a, a, runs[0]->name, 100 * step);
	else if (knee == n - 1)
		draft_add(p, "learnt", "%s of %s: falls from %s at %s to %s at %s, the last point: no knee before it.",
			  title_of(lesson->key), lesson->a, a, runs[0]->name, b, runs[knee]->name);
	else
		draft_add(p, "learnt",
			  "%s of %s: %s at %s, %s at %s, which is the knee: no later point is lower by %.0f %% of what "
			  "the first has.",
			  title_of(lesson->key), lesson->a, a, runs[0]->name, b, runs[knee]->name, 100 * step);
}

// Points are from the wide limit to the narrow one: the last of those before which none failed.
static void learn_margin(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const struct lab_run *last = NULL, *failed = NULL;
	double value = NAN;
	char text[64], most[64];
	for (size_t i = 0; i < p->plan->run_count && failed == NULL; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		if (run->series == NULL || strcmp(run->series, lesson->a) != 0)
			continue;
		if (draft_unfit(p, run->name, lesson->key) != NULL)
			return;
		value = lab_figure_of(draft_result(p, run->name), lesson->key);
		if (value <= MARGIN_MISSED_MOST)
			last = run;
		else
			failed = run;
	}
	lab_figure_text(text, sizeof text, lesson->key, value);
	lab_figure_text(most, sizeof most, lesson->key, MARGIN_MISSED_MOST);
	if (failed != NULL && last == NULL)
		draft_add(p, "learnt", "The safe margin of %s: none of those that were tried: %s %s with %s.",
			  lesson->a, text, title_of(lesson->key), failed->name);
	else if (failed != NULL)
		draft_add(p, "learnt",
			  "The safe margin of %s: %s is the narrowest with at most %s %s; with %s they are %s.",
			  lesson->a, last->name, most, title_of(lesson->key), failed->name, text);
	else if (last != NULL)
		draft_add(p, "learnt",
			  "The safe margin of %s: even %s, the narrowest that was tried, has at most %s %s.", lesson->a,
			  last->name, most, title_of(lesson->key));
}

static void learn_scale(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const json_t *result = draft_result(p, lesson->a);
	char here[64], there[64];
	double mib = (double)p->lab->live_bytes / (1 << 20);
	// Of a thousandth of it nothing can be reckoned.
	if (draft_unfit(p, lesson->a, lesson->key) != NULL || p->lab->live_bytes >= LAB_FULL_BYTES ||
	    p->lab->live_bytes < LAB_FULL_BYTES / 100)
		return;
	double times = (double)LAB_FULL_BYTES / (double)p->lab->live_bytes, value = lab_figure_of(result, lesson->key);
	lab_figure_text(here, sizeof here, lesson->key, value);
	lab_figure_text(there, sizeof there, lesson->key, value * times);
	draft_add(p, "learnt",
		  "%s: %s with %s, of %.0f MiB of records, not 40 GiB. If marking grows in proportion to what is live, "
		  "which is not measured here, 40 GiB take %s, %.1f times as much.",
		  title_of(lesson->key), here, lesson->a, mib, there, times);
}

static void learn_within(const struct lab_draft *p, const struct lab_lesson *lesson)
{
	const json_t *result = draft_result(p, lesson->b);
	char x_text[64], y_text[64];
	if (draft_unfit(p, lesson->b, lesson->key) != NULL || draft_unfit(p, lesson->b, lesson->a) != NULL)
		return;
	double x = lab_figure_of(result, lesson->key), y = lab_figure_of(result, lesson->a);
	lab_figure_text(x_text, sizeof x_text, lesson->key, x);
	lab_figure_text(y_text, sizeof y_text, lesson->a, y);
	double noise = fmax(lab_noise_of(result, lesson->key), lab_noise_of(result, lesson->a));
	bool known = lab_spread_known(result, lesson->key) || lab_spread_known(result, lesson->a);
	if (known && fabs(x - y) <= noise)
		draft_add(p, "learnt", "%s: %s is %s, %s is %s: no difference beyond what its readings differ by.",
			  lesson->b, title_of(lesson->key), x_text, title_of(lesson->a), y_text);
	else if (known && x > 0 && y > 0)
		draft_add(p, "learnt", "%s: %s is %s, %s is %s: %.2f times as much.", lesson->b, title_of(lesson->key),
			  x_text, title_of(lesson->a), y_text, x / y);
	else
		draft_add(p, "learnt", "%s: %s is %s, %s is %s.", lesson->b, title_of(lesson->key), x_text,
			  title_of(lesson->a), y_text);
}

// A probe says in words what it found.
static void learn_probes(const struct lab_draft *p)
{
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		const char *key;
		json_t *text;
		if (!lab_is_probe(run) || !draft_done(result))
			continue;
		json_object_foreach(json_object_get(result, "texts"), key,
				    text) if (strcmp(key, "build") != 0 && json_is_string(text))
		    draft_add(p, "learnt", "%s, %s: %s", run->name, key, json_string_value(text));
	}
}

static void learn(const struct lab_draft *p)
{
	for (size_t i = 0; i < p->plan->lesson_count; i++) {
		const struct lab_lesson *lesson = &p->plan->lessons[i];
		if (lesson->kind == LAB_COMPARE || lesson->kind == LAB_COST)
			learn_compare(p, lesson);
		else if (lesson->kind == LAB_LIST)
			learn_list(p, lesson);
		else if (lesson->kind == LAB_KNEE)
			learn_knee(p, lesson);
		else if (lesson->kind == LAB_SCALE)
			learn_scale(p, lesson);
		else if (lesson->kind == LAB_MARGIN)
			learn_margin(p, lesson);
		else
			learn_within(p, lesson);
	}
	learn_probes(p);
}

// ---- the page -----------------------------------------------------------------------------------------------------

// The laboratory's own command, which repeats all of the run; and what that comes to, step by step.
static json_t *command_text(const struct lab_draft *p, const struct lab_run *run, const json_t *result)
{
	const char *again = json_string_value(json_object_get(result, "again"));
	const char *part = lab_is_probe(run)         ? "once"
			   : run->load == LAB_SEARCH ? "one rate of it, step by step"
						     : "one window of it, step by step";
	return json_sprintf("# %s.%s\n%s\n# %s\n%s", p->plan->id, run->name, again != NULL ? again : "", part,
			    json_string_value(json_object_get(result, "command")));
}

// What all commands of a page need.
static void add_before(const struct lab_draft *p)
{
	static const char *const others[] = {"hard", "asan"};
	static const char go[] = "mkdir -p " LAB_GO_PLACE "\n"
				 "for name in svc probes; do bench/peers/go/build $name " LAB_GO_PLACE "$name; done\n";
	char builds[160] = "";
	const char *commit = json_string_value(json_object_get(p->lab->machine, "commit"));
	commit = commit != NULL && strstr(commit, "-dirty") == NULL ? commit : "";
	for (size_t i = 0; i < TARE_ARRAY_LEN(others); i++) {
		bool wanted = false;
		for (size_t k = 0; k < p->plan->run_count; k++)
			wanted |= p->plan->runs[k].build != NULL && strcmp(p->plan->runs[k].build, others[i]) == 0;
		size_t len = strlen(builds);
		if (wanted)
			snprintf(builds + len, sizeof builds - len, "make -s MODE=%s build/%s/tare\n", others[i],
				 others[i]);
	}
	json_array_append_new(draft_list(p, "commands"),
			      json_sprintf("# before you begin, once, in a clone of Tare%s%s\n"
					   "make -s MODE=" TARE_MODE " build/" TARE_MODE "/tare build/" TARE_MODE
					   "/preload/malloc_count.so\n"
					   "%s%s"
					   "export PATH=\"$PWD/build/" TARE_MODE ":$PATH\"\n"
					   "unset GOGC GOMEMLIMIT GODEBUG GOMAXPROCS $(env | sed -n "
					   "'s/^\\(TARE_[A-Za-z0-9_]*\\)=.*/\\1/p')",
					   commit[0] != '\0' ? ": git checkout " : "", commit, builds,
					   p->lab->go == NULL ? go : ""));
}

// What a reader of its figures has to know first.
static void add_cautions(const struct lab_draft *p)
{
	double memory = json_number_value(json_object_get(p->lab->machine, "memory_available_bytes"));
	const char *pages = json_string_value(json_object_get(p->lab->machine, "transparent_hugepages"));
	char size[PAGE_FIGURE], room[PAGE_FIGURE];
	bool full = false, limit = false, pauses = false, quarter = false;
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		full |= run->size == LAB_FULL;
		limit |= strstr(run->knobs, "{limit:") != NULL;
		quarter |= run->size == LAB_QUARTER;
		pauses |= run->size == LAB_LIVE || run->size == LAB_QUARTER;
	}
	if (p->plan->caution != NULL)
		draft_add(p, "notes", "%s", p->plan->caution);
	page_figure(size, (double)p->lab->full_bytes, "B");
	page_figure(room, memory, "B");
	if (full && !p->lab->quick && p->lab->full_bytes < LAB_FULL_BYTES)
		draft_add(p, "notes",
			  "the records off the heap are %s, not 40 GiB: by itself the laboratory takes what half of "
			  "the memory holds, and no more than the disk has room for; --full SIZE says another one",
			  size);
	if (full && (double)p->lab->full_bytes > memory)
		draft_add(p, "notes",
			  "the records off the heap are %s, and %s of memory were available: latency of these runs "
			  "holds reading from the disk, of both peers",
			  size, room);
	if (quarter)
		draft_add(p, "notes", "the records are %s, a quarter of the big live heap's",
			  page_figure(size, (double)lab_size_bytes(p->lab, LAB_QUARTER), "B"));
	if (limit)
		draft_add(
		    p, "notes",
		    "of the limit that tare svc is given its collector may use nine tenths: the percentages of what "
		    "is live are of that part, so that the process may take a ninth more than Go's at the same one");
	if (pauses)
		draft_add(
		    p, "notes",
		    "a pause of Go's is a stop of the world; Tare stops nothing, and what is told is the longest "
		    "step of a worker at the beginning and at the end of a mark. How long a collection waits for all "
		    "workers to pass is the time to safepoint. Both are upper edges of a histogram's buckets");
	if (pauses && pages != NULL && strcmp(pages, "madvise") == 0)
		draft_add(
		    p, "notes",
		    "Tare's heap asks the kernel for large pages, and Go's does not: on this machine, where they come "
		    "to who asks, that is part of the difference in marking and lookups");
}

// Commands, notes and what was left out. How many runs were done.
static size_t account(const struct lab_draft *p, json_t *behind)
{
	size_t count = 0, at;
	const char *why = "";
	json_t *note;
	double spread = 0;
	for (size_t i = 0; i < p->plan->run_count; i++) {
		const struct lab_run *run = &p->plan->runs[i];
		const json_t *result = draft_result(p, run->name);
		if (run->peer == LAB_TARE)
			draft_behind(p, run, behind);
		if (!draft_done(result)) {
			why = result != NULL ? draft_skipped(result) : "the laboratory was stopped before";
			draft_add(p, "notes", "%s was left out: %s", run->name, why);
			continue;
		}
		count++;
		json_array_append_new(draft_list(p, "commands"), command_text(p, run, result));
		json_array_foreach(json_object_get(result, "notes"), at, note)
		    draft_add(p, "notes", "%s: %s", run->name, json_string_value(note));
		if (draft_unfit(p, run->name, "p99_us") == NULL)
			spread = fmax(spread, lab_spread_of(result, "p99_us"));
	}
	draft_behind_costs(p, behind);
	if (count == 0)
		json_object_set_new(p->json, "skipped", json_string(why));
	if (spread > 0)
		json_object_set_new(p->json, "spread",
				    json_sprintf("p99 of windows of one run differs by up to %.0f %%", 100 * spread));
	return count;
}

json_t *lab_page_make(struct lab *lab, const struct lab_page *plan, json_t *acceptance, json_t *behind)
{
	static const char *const lists[] = {"commands", "tables", "plots", "verdicts", "learnt", "next", "notes"};
	struct lab_draft p = {lab, plan,
			      json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", plan->id, "title", plan->title, "question",
					plan->question, "skipped", "", "spread", "")};
	for (size_t i = 0; i < TARE_ARRAY_LEN(lists); i++)
		json_object_set_new(p.json, lists[i], json_array());
	add_before(&p);
	add_cautions(&p);
	if (account(&p, behind) > 0) {
		tables(&p);
		plots(&p);
		learn(&p);
	}
	draft_verdicts(&p, acceptance);
	for (size_t i = 0; i < TARE_ARRAY_LEN(plan->next) && plan->next[i] != NULL; i++)
		json_array_append_new(draft_list(&p, "next"), json_string(plan->next[i]));
	return p.json;
}
