// SPDX-License-Identifier: MIT
// Two laboratories' reports, one beside the other: what one of them judges otherwise, where Tare's place beside Go is
// another one, what was learnt otherwise, and how far figures are apart, beside the spread that their runs state.
//
// Conclusions are compared by what they say. A verdict is its outcome; its rate and its collections are not part of its
// name. A sentence is its words, and of a ratio the side of 1. A figure is compared where both laboratories judge it,
// and is within the spread where the two are no further apart than the windows of the wider run, or than a hundredth.
// Windows are minutes apart and laboratories are not: so it is told, too, how many are no further apart than that, or
// than figures of their kind of the same run, at two times of either laboratory (twice.c).
// Threads: one.
#include "cmd/lab/lab.h"
#include "cmd/lab/report.h"
#include "cmd/lab/report_parts.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { FURTHEST = 20, SENTENCE_MAX = 2048, TITLES_MAX = 64 };

#define LEAST_SPREAD 0.01

struct side {
	json_t *report, *runs; // runs: by name
};

// A figure of a run that both have.
struct gap {
	const char *run, *key, *title;
	double before, after;
	double apart, spread, twice; // of the larger one; twice: what the same run is apart at another time
};
struct gaps {
	struct gap *items;
	size_t count, cap;
};

// ---- reading ------------------------------------------------------------------------------------------------------

static int side_read(struct side *side, const char *dir, struct tare_error *err)
{
	const struct lab_page *page;
	char name[LAB_NAME], path[LAB_PATH];
	json_error_t at;
	int rc = report_read(&side->report, dir, err);
	if (rc < 0)
		return rc;
	side->runs = json_object();
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			lab_run_name(name, page, page->runs[k].name);
			snprintf(path, sizeof path, "%s/runs/%s.json", dir, name);
			json_t *run = json_load_file(path, 0, &at);
			// A laboratory need not have all of them.
			if (run == NULL && json_error_code(&at) != json_error_cannot_open_file)
				return tare_error_set(err, -EINVAL, "%s:%d:%d: %s", path, at.line, at.column, at.text);
			if (run != NULL && json_object_set_new(side->runs, name, run) < 0)
				return tare_error_set(err, -ENOMEM, "%s: no memory", path);
		}
	}
	return 0;
}

static void side_done(struct side *side)
{
	json_decref(side->report);
	json_decref(side->runs);
}

// ---- what was made and where --------------------------------------------------------------------------------------

static void made(FILE *out, const char *which, const json_t *report)
{
	char when[64];
	report_made(when, sizeof when, report_text(report, "made"));
	fprintf(out, "%s  %s, commit %s%s\n", which, when, report_text(json_object_get(report, "machine"), "commit"),
		json_is_true(json_object_get(report, "quick")) ? ", quick" : "");
}

// What each laboratory says of its machine, where that is not the same.
static void machines(FILE *out, const json_t *before, const json_t *after)
{
	static const char *const of_the_hour[] = {"commit", "load_average", "memory_available_bytes"};
	const char *key;
	json_t *was, *machine = json_object_get(before, "machine");
	json_object_foreach(machine, key, was)
	{
		const json_t *is = json_object_get(json_object_get(after, "machine"), key);
		bool told = report_machine_is_said(key);
		for (size_t i = 0; i < TARE_ARRAY_LEN(of_the_hour); i++)
			told |= strcmp(key, of_the_hour[i]) == 0;
		if (told || is == NULL || json_equal(was, is))
			continue;
		char name[128];
		char *a = report_machine_value(key, was), *b = report_machine_value(key, is);
		report_machine_name(name, sizeof name, key);
		fprintf(out, "%s: %s -> %s\n", name, a != NULL ? a : "", b != NULL ? b : "");
		free(a);
		free(b);
	}
}

// A page that was left out, or that comes later, has no table.
static bool both_did(const json_t *before, const json_t *after, const char *page)
{
	return json_array_size(report_list(report_page(before, page), "tables")) > 0 &&
	       json_array_size(report_list(report_page(after, page), "tables")) > 0;
}

// ---- verdicts -----------------------------------------------------------------------------------------------------

// Its name: without the rate and the collections that it was judged at.
static int stem(const json_t *verdict)
{
	const char *point = report_text(verdict, "point"), *at = strstr(point, " (at ");
	return at != NULL ? (int)(at - point) : (int)strlen(point);
}

static const json_t *verdict_like(const json_t *list, const json_t *verdict)
{
	const char *point = report_text(verdict, "point"), *run = report_text(verdict, "evidence");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *other = json_array_get(list, i);
		if (stem(other) == stem(verdict) &&
		    strncmp(report_text(other, "point"), point, (size_t)stem(verdict)) == 0 &&
		    strcmp(report_text(other, "evidence"), run) == 0)
			return other;
	}
	return NULL;
}

static const char *outcome(const json_t *verdict)
{
	const json_t *met = json_object_get(verdict, "met");
	return !json_is_boolean(met) ? "not judged" : json_is_true(met) ? "met" : "missed";
}

static void verdict_side(FILE *out, const json_t *verdict)
{
	const char *figure = report_text(verdict, "figure"), *why = report_text(verdict, "why");
	fprintf(out, "%s%s%s", outcome(verdict), figure[0] != '\0' ? ", " : "", figure);
	fprintf(out, why[0] != '\0' ? " (%s)" : "%s", why);
}

static void verdicts(FILE *out, const json_t *before, const json_t *after)
{
	const json_t *pages = report_list(after, "pages");
	size_t both = 0, same = 0;
	fputs("\nVerdicts\n", out);
	for (size_t i = 0; i < json_array_size(pages); i++) {
		const json_t *page = json_array_get(pages, i), *list = report_list(page, "verdicts");
		const json_t *old = report_list(report_page(before, report_text(page, "id")), "verdicts");
		bool done = both_did(before, after, report_text(page, "id"));
		for (size_t k = 0; k < json_array_size(list) && done; k++) {
			const json_t *is = json_array_get(list, k), *was = verdict_like(old, is);
			if (was == NULL)
				continue;
			both++;
			if (strcmp(outcome(was), outcome(is)) == 0) {
				same++;
				continue;
			}
			fprintf(out, "  %s, %.*s: ", report_text(is, "evidence"), stem(is), report_text(is, "point"));
			verdict_side(out, was);
			fputs(" -> ", out);
			verdict_side(out, is);
			fputc('\n', out);
		}
	}
	fprintf(out, "  %zu of %zu are the same\n", same, both);
}

// ---- beside Go ----------------------------------------------------------------------------------------------------

enum place { AHEAD, WITHIN, BEHIND, OPEN };
static const char *const place_names[] = {"ahead", "within the spread", "behind", "not compared"};

static const json_t *behind_like(const json_t *report, const json_t *at)
{
	const json_t *list = report_list(report, "behind");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *other = json_array_get(list, i);
		if (strcmp(report_text(other, "page"), report_text(at, "page")) == 0 &&
		    strcmp(report_text(other, "what"), report_text(at, "what")) == 0)
			return other;
	}
	return NULL;
}

// What is not in the list of a report is ahead, unless its page's notes say that it was not compared.
static enum place place_of(const json_t *report, const json_t *at)
{
	const json_t *other = behind_like(report, at);
	const char *why = report_text(other, "why"), *what = report_text(at, "what");
	const json_t *notes = report_list(report_page(report, report_text(at, "page")), "notes");
	for (size_t i = 0; i < json_array_size(notes); i++) {
		const char *note = json_string_value(json_array_get(notes, i));
		if (strncmp(note, what, strlen(what)) == 0 && strncmp(note + strlen(what), ": not compared", 14) == 0)
			return OPEN;
	}
	if (other == NULL)
		return AHEAD;
	if (strncmp(why, "not ", 4) == 0)
		return OPEN;
	return why[0] == '\0' ? BEHIND : WITHIN;
}

static void ratio(FILE *out, const json_t *report, const json_t *at)
{
	const json_t *other = behind_like(report, at);
	char text[PAGE_FIGURE] = "";
	if (other != NULL && json_is_number(json_object_get(other, "tare")))
		report_ratio(text, json_number_value(json_object_get(other, "tare")),
			     json_number_value(json_object_get(other, "go")));
	fprintf(out, "%s", place_names[place_of(report, at)]);
	fprintf(out, text[0] != '\0' ? ", %s" : "%s", text);
}

// All places that either report lists, each once.
static void places(FILE *out, const json_t *before, const json_t *after)
{
	const json_t *const reports[] = {before, after};
	size_t all = 0, same = 0, opposite = 0;
	fputs("\nPlaces where either does not have Tare ahead of Go by more than the spread\n", out);
	for (size_t r = 0; r < TARE_ARRAY_LEN(reports); r++) {
		const json_t *list = report_list(reports[r], "behind");
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *at = json_array_get(list, i);
			if ((r == 1 && behind_like(before, at) != NULL) ||
			    !both_did(before, after, report_text(at, "page")))
				continue;
			enum place was = place_of(before, at), is = place_of(after, at);
			all++;
			same += was == is;
			opposite += (was == AHEAD && is == BEHIND) || (was == BEHIND && is == AHEAD);
			if (was == is)
				continue;
			fprintf(out, "  %s, %s: ", report_text(at, "page"), report_text(at, "what"));
			ratio(out, before, at);
			fputs(" -> ", out);
			ratio(out, after, at);
			fputc('\n', out);
		}
	}
	fprintf(out, "  %zu of %zu are the same, %zu the opposite\n", same, all, opposite);
}

// ---- what was learnt ----------------------------------------------------------------------------------------------

// A sentence without its numbers; digits within a name stay.
static void words_of(char *out, size_t cap, const char *text)
{
	size_t len = 0;
	char previous = ' ';
	while (*text != '\0' && len + 1 < cap) {
		bool begins = previous == ' ' || previous == '(';
		const char *digits = text + (begins && (*text == '-' || *text == '+'));
		if (!begins || !isdigit((unsigned char)*digits)) {
			previous = out[len++] = *text++;
			continue;
		}
		char *end;
		double value = strtod(digits, &end);
		for (; isdigit((unsigned char)*end) || (*end == ',' && isdigit((unsigned char)end[1])); end++)
			value = INFINITY; // digits in groups
		bool is_ratio = strncmp(end, " times", 6) == 0;
		previous = out[len++] = is_ratio ? (value < 1 ? '<' : '>') : '#';
		text = end;
	}
	out[len] = '\0';
}

// Whether the list has a sentence of these words.
static bool is_said(const json_t *list, const char *text)
{
	char words[SENTENCE_MAX], other[SENTENCE_MAX];
	words_of(words, sizeof words, text);
	for (size_t i = 0; i < json_array_size(list); i++) {
		words_of(other, sizeof other, json_string_value(json_array_get(list, i)));
		if (strcmp(words, other) == 0)
			return true;
	}
	return false;
}

// What one of them says and the other does not. How many sentences are in both.
static size_t only(FILE *out, const char *mark, const json_t *page, const json_t *of, const json_t *other)
{
	size_t both = 0;
	for (size_t i = 0; i < json_array_size(of); i++) {
		const char *text = json_string_value(json_array_get(of, i));
		if (is_said(other, text))
			both++;
		else
			fprintf(out, "%s %s, %s\n", mark, report_text(page, "id"), text);
	}
	return both;
}

static void learnt(FILE *out, const json_t *before, const json_t *after)
{
	const json_t *pages = report_list(after, "pages");
	size_t all = 0, same = 0;
	fputs("\nWhat was learnt\n", out);
	for (size_t i = 0; i < json_array_size(pages); i++) {
		const json_t *page = json_array_get(pages, i), *of = report_list(page, "learnt");
		const json_t *old = report_page(before, report_text(page, "id"));
		if (!both_did(before, after, report_text(page, "id")))
			continue;
		(void)only(out, "  -", page, report_list(old, "learnt"), of);
		same += only(out, "  +", page, of, report_list(old, "learnt"));
		all += json_array_size(of);
	}
	fprintf(out, "  %zu of %zu sentences are the same but for their numbers\n", same, all);
}

// ---- figures ------------------------------------------------------------------------------------------------------

static int gaps_add(struct gaps *gaps, const struct gap *gap)
{
	if (gaps->count == gaps->cap) {
		size_t cap = gaps->cap == 0 ? 256 : gaps->cap * 2;
		struct gap *items = realloc(gaps->items, cap * sizeof *items);
		if (items == NULL)
			return -ENOMEM;
		gaps->items = items;
		gaps->cap = cap;
	}
	gaps->items[gaps->count++] = *gap;
	return 0;
}

static double twice(const struct side *before, const struct side *after, const char *key)
{
	return fmax(lab_twice_apart(before->runs, key), lab_twice_apart(after->runs, key));
}

static int gaps_of_run(struct gaps *gaps, const struct lab_run *run, const char *name, const struct side *was,
		       const struct side *is)
{
	const char *key;
	json_t *value;
	bool probe = lab_is_probe(run);
	const json_t *before = json_object_get(was->runs, name), *after = json_object_get(is->runs, name);
	json_object_foreach(json_object_get(after, "figures"), key, value)
	{
		const struct lab_figure *figure = lab_figure(key);
		double a = lab_figure_of(before, key), b = lab_figure_of(after, key), most = fmax(fabs(a), fabs(b));
		if (lab_is_sum(key) || (figure == NULL && !probe) || !lab_spread_known(before, key) ||
		    !lab_spread_known(after, key) || lab_unfit(run, before, key) != NULL ||
		    lab_unfit(run, after, key) != NULL)
			continue;
		double noise = fmax(lab_noise_of(before, key), lab_noise_of(after, key));
		struct gap gap = {.run = name,
				  .key = key,
				  .title = probe ? "figures of probes" : figure->title,
				  .before = a,
				  .after = b,
				  .apart = most > 0 ? fabs(a - b) / most : 0,
				  .spread = most > 0 ? fmax(noise / most, LEAST_SPREAD) : 0,
				  .twice = probe ? 0 : twice(was, is, key)};
		if (gaps_add(gaps, &gap) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int gaps_find(struct gaps *gaps, const struct side *before, const struct side *after)
{
	const struct lab_page *page;
	char full[LAB_NAME];
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			lab_run_name(full, page, page->runs[k].name);
			const char *name =
			    json_string_value(json_object_get(json_object_get(after->runs, full), "name"));
			if (json_object_get(before->runs, full) != NULL && name != NULL && strcmp(name, full) == 0 &&
			    gaps_of_run(gaps, &page->runs[k], name, before, after) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int by_apart(const void *a, const void *b)
{
	double x = ((const struct gap *)a)->apart, y = ((const struct gap *)b)->apart;
	return (x > y) - (x < y);
}

static int by_excess(const void *a, const void *b)
{
	const struct gap *x = a, *y = b;
	double p = x->apart - x->spread, q = y->apart - y->spread;
	return (p < q) - (p > q);
}

// Of one title, or of all: NULL. They are in the order of how far they are apart.
static void gaps_row(FILE *out, const struct gaps *gaps, const char *title)
{
	size_t count = 0, within = 0, within_twice = 0, seen = 0;
	double half = 0, most = 0;
	for (size_t i = 0; i < gaps->count; i++) {
		const struct gap *gap = &gaps->items[i];
		if (title != NULL && strcmp(gap->title, title) != 0)
			continue;
		count++;
		within += gap->apart <= gap->spread;
		within_twice += gap->apart <= fmax(gap->spread, gap->twice);
	}
	for (size_t i = 0; i < gaps->count; i++) {
		const struct gap *gap = &gaps->items[i];
		if (title != NULL && strcmp(gap->title, title) != 0)
			continue;
		seen++;
		if (seen <= (count + 1) / 2)
			half = gap->apart;
		if (seen <= (count * 9 + 9) / 10)
			most = gap->apart;
	}
	fprintf(out, "  %-40s %7zu %11.0f %% %11.0f %% %11.1f %% %11.1f %%\n", title != NULL ? title : "all", count,
		100 * (double)within / (double)count, 100 * (double)within_twice / (double)count, 100 * half,
		100 * most);
}

static void furthest(FILE *out, struct gaps *gaps)
{
	qsort(gaps->items, gaps->count, sizeof *gaps->items, by_excess);
	fputs("\nThe furthest beyond their spread\n", out);
	for (size_t i = 0; i < TARE_MIN(gaps->count, (size_t)FURTHEST); i++) {
		const struct gap *gap = &gaps->items[i];
		const struct lab_figure *figure = lab_figure(gap->key);
		char before[64], after[64];
		if (gap->apart <= gap->spread)
			break;
		lab_figure_text(before, sizeof before, gap->key, gap->before);
		lab_figure_text(after, sizeof after, gap->key, gap->after);
		fprintf(out, "  %s, %s: %s -> %s, apart %.0f %%, spread %.0f %%\n", gap->run,
			figure != NULL ? figure->title : gap->key, before, after, 100 * gap->apart, 100 * gap->spread);
	}
}

static void figures(FILE *out, struct gaps *gaps)
{
	const char *titles[TITLES_MAX];
	size_t count = 0;
	fprintf(out, "\n%-42s %7s %13s %13s %13s %13s\n%-42s %7s %13s %13s %13s %13s\n", "Figures that both judge", "",
		"within", "or within", "half are", "9 of 10 are", "", "", "the spread", "another time", "apart by",
		"apart by");
	if (gaps->count == 0) {
		fputs("  none\n", out);
		return;
	}
	for (size_t i = 0, k; i < gaps->count; i++) {
		for (k = 0; k < count && strcmp(titles[k], gaps->items[i].title) != 0; k++)
			continue;
		if (k == count && count < TITLES_MAX)
			titles[count++] = gaps->items[i].title;
	}
	qsort(gaps->items, gaps->count, sizeof *gaps->items, by_apart);
	for (size_t k = 0; k < count; k++)
		gaps_row(out, gaps, titles[k]);
	gaps_row(out, gaps, NULL);
	furthest(out, gaps);
}

int lab_report_compare(FILE *out, const char *before, const char *after, struct tare_error *error)
{
	struct side was = {NULL, NULL}, is = {NULL, NULL};
	struct gaps gaps = {NULL, 0, 0};
	int rc = side_read(&was, before, error);
	if (rc == 0)
		rc = side_read(&is, after, error);
	if (rc == 0 && gaps_find(&gaps, &was, &is) < 0)
		rc = tare_error_set(error, -ENOMEM, "out of memory");
	if (rc == 0) {
		made(out, "before", was.report);
		made(out, "after ", is.report);
		machines(out, was.report, is.report);
		verdicts(out, was.report, is.report);
		places(out, was.report, is.report);
		learnt(out, was.report, is.report);
		figures(out, &gaps);
	}
	free(gaps.items);
	side_done(&was);
	side_done(&is);
	return rc;
}
