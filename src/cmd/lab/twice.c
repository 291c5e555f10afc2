// SPDX-License-Identifier: MIT
// The same run at two times of a laboratory, and how far it is from itself.
//
// Windows of a run are seconds apart, and its two processes minutes, so its spread knows nothing of the hour: of what
// else the machine does, or the host beneath it. Some pages have a run that another page has, too. Each measures it
// when its turn comes, and the hash of both is the same. What they differ by is the least that two laboratories do.
#include "cmd/lab/draft.h"

#include <math.h>

enum { RUNS_MAX = 256 };

static const char *const keys[] = {"p50_us",    "p99_us",           "p999_us", "cpu_us_per_request",
				   "rss_bytes", "gc_us_per_request"};

struct done {
	const struct lab_run *run;
	const json_t *result;
	const char *name, *hash;
};

static const char *text_of(const json_t *result, const char *key)
{
	const char *text = json_string_value(json_object_get(result, key));
	return text != NULL ? text : "";
}

// The services' runs that are done, in the plan's order. How many.
static size_t runs_done(const json_t *results, struct done ret[RUNS_MAX])
{
	const struct lab_page *page;
	char name[LAB_NAME];
	size_t count = 0;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			const struct lab_run *run = &page->runs[k];
			lab_run_name(name, page, run->name);
			const json_t *result = json_object_get(results, name);
			if (!draft_done(result) || lab_is_probe(run) || run->load == LAB_SEARCH)
				continue;
			TARE_ASSERT(count < RUNS_MAX);
			ret[count++] = (struct done){run, result, text_of(result, "name"), text_of(result, "hash")};
		}
	}
	return count;
}

// The first run before this one that is the same, or NULL.
static const struct done *before(const struct done all[], size_t at)
{
	for (size_t i = 0; i < at && all[at].hash[0] != '\0'; i++)
		if (strcmp(all[i].hash, all[at].hash) == 0)
			return &all[i];
	return NULL;
}

static bool is_fit(const struct done *done, const char *key)
{
	return lab_unfit(done->run, done->result, key) == NULL;
}

// How far the figures of the two are apart, as a part of the larger; NAN: one is not judged.
static double apart(const struct done *a, const struct done *b, const char *key)
{
	double x = lab_figure_of(a->result, key), y = lab_figure_of(b->result, key), most = fmax(fabs(x), fabs(y));
	if (!is_fit(a, key) || !is_fit(b, key))
		return NAN;
	return most > 0 ? fabs(x - y) / most : 0;
}

double lab_twice_apart(const json_t *results, const char *key)
{
	struct done all[RUNS_MAX];
	size_t count = runs_done(results, all);
	double most = 0;
	for (size_t i = 0; i < count; i++) {
		const struct done *first = before(all, i);
		if (first != NULL)
			most = fmax(most, apart(first, &all[i], key)); // which is the other where one is NAN
	}
	return most;
}

// ---- the page -----------------------------------------------------------------------------------------------------

static json_t *row(const struct done *done)
{
	json_t *cells = json_array(), *unfit = json_array();
	for (size_t i = 0; i < TARE_ARRAY_LEN(keys); i++) {
		json_array_append_new(cells, draft_cell(keys[i], lab_figure_of(done->result, keys[i])));
		json_array_append_new(unfit, json_boolean(!is_fit(done, keys[i])));
	}
	return json_pack("{s:s, s:o, s:o, s:s}", "name", done->name, "cells", cells, "unfit", unfit, "run", done->name);
}

static json_t *columns(void)
{
	json_t *list = json_array();
	for (size_t i = 0; i < TARE_ARRAY_LEN(keys); i++) {
		const struct lab_figure *figure = lab_figure(keys[i]);
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", figure->title, "unit", figure->unit));
	}
	return list;
}

// Without names of runs, so that the next laboratory's sentence is the same one.
static json_t *sentence(const json_t *results, const char *key, double spread)
{
	return json_sprintf("%s of the same run is up to %.0f %% apart from one time to another, where its windows of "
			    "one time are within %.0f %%.",
			    lab_figure(key)->title, 100 * lab_twice_apart(results, key), 100 * spread);
}

// Pairs into rows; by key the widest spread of those whose figures are compared, negative: none is.
static void pairs(const json_t *results, json_t *rows, double spreads[])
{
	struct done all[RUNS_MAX];
	size_t count = runs_done(results, all);
	for (size_t i = 0; i < count; i++) {
		const struct done *first = before(all, i);
		if (first == NULL)
			continue;
		json_array_append_new(rows, row(first));
		json_array_append_new(rows, row(&all[i]));
		for (size_t k = 0; k < TARE_ARRAY_LEN(keys); k++)
			if (!isnan(apart(first, &all[i], keys[k])))
				spreads[k] = fmax(spreads[k], fmax(lab_spread_of(first->result, keys[k]),
								   lab_spread_of(all[i].result, keys[k])));
	}
}

json_t *lab_twice_page(const json_t *results)
{
	double spreads[TARE_ARRAY_LEN(keys)];
	json_t *rows = json_array(), *learnt = json_array();
	for (size_t k = 0; k < TARE_ARRAY_LEN(keys); k++)
		spreads[k] = -1;
	pairs(results, rows, spreads);
	for (size_t k = 0; k < TARE_ARRAY_LEN(keys); k++)
		if (spreads[k] >= 0)
			json_array_append_new(learnt, sentence(results, keys[k], spreads[k]));
	if (json_array_size(rows) == 0) {
		json_decref(rows);
		json_decref(learnt);
		return NULL;
	}
	static const char title[] = "The same run at another time";
	return json_pack(
	    "{s:s, s:s, s:s, s:[], s:[{s:s, s:o, s:o}], s:[], s:[], s:o, s:[s], s:[s]}", "id", "stretch-twice", "title",
	    title, "question", "How far is a run from itself at another time of the same laboratory?", "commands",
	    "tables", "title", title, "columns", columns(), "rows", rows, "plots", "verdicts", "learnt", learnt, "next",
	    "Set another laboratory of this machine beside it: tare lab --compare counts with these figures.", "notes",
	    "each pair is one command that two pages have; each measured it when its turn came");
}
