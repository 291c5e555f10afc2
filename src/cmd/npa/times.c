// SPDX-License-Identifier: MIT
// Timing rows: the program is run several times over, and each row's mean is the median of what the runs found.
//
// One run measures a row within some ten milliseconds. On a machine that others use too, such a moment can lie in a
// stretch of seconds in which everything takes half as long again, and all rounds of it agree on a figure that another
// moment's don't. So the rounds are spread over the whole measurement, and a row's interval is what all of the runs
// found, from the least to the most. Percentiles and cold calls come from the first run alone: they are many calls, and
// take most of the time.
//
// Threads: one. Rejected: the interval of one run's rounds (two runs disagreed on a quarter of the rows when the
// machine was busy).
#include "cmd/npa/npa.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { PASSES = 9, PASSES_QUICK = 3 };

struct timing {
	const struct npa_timing *of;
	int pass, passes;
	size_t done;
};

void npa_progress(const char *what)
{
	if (isatty(STDERR_FILENO) == 1)
		fprintf(stderr, "\r\033[K%s", what);
}

// Keeps a pass's figure beside those of the others, as "passes".
static int keep(json_t *object, double figure)
{
	json_t *passes = json_object_get(object, "passes");
	if (passes == NULL) {
		passes = json_array();
		if (json_object_set_new(object, "passes", passes) < 0)
			return -ENOMEM;
	}
	return json_array_append_new(passes, json_real(figure)) < 0 ? -ENOMEM : 0;
}

static int on_noise(struct timing *t, json_t *line)
{
	json_t *noise = json_object_get(t->of->report, "noise");
	if (noise == NULL) {
		noise = json_copy(line);
		if (json_object_set_new(t->of->report, "noise", noise) < 0)
			return -ENOMEM;
	}
	double floor = fmax(npa_figure(noise, "floor"), npa_figure(line, "floor"));
	if (json_object_set_new(noise, "floor", json_real(floor)) < 0)
		return -ENOMEM;
	return keep(noise, npa_figure(line, "work"));
}

static int on_line(void *arg, json_t *line)
{
	struct timing *t = arg;
	char what[128];
	int rc = 0;
	if (json_object_get(line, "machine") != NULL)
		return t->pass == 0 && json_object_set(t->of->report, "machine", line) < 0 ? -ENOMEM : 0;
	if (json_object_get(line, "noise") != NULL)
		return on_noise(t, line);
	snprintf(what, sizeof what, "run %d of %d, row %zu of %zu: %.60s", t->pass + 1, t->passes, ++t->done,
		 json_array_size(t->of->rows), npa_text(line, "row"));
	npa_progress(what);
	json_t *row = npa_row(t->of->report, npa_text(line, "row"));
	if (row == NULL)
		return 0;
	if (t->pass == 0)
		rc = json_object_update(row, line) < 0 ? -ENOMEM : 0;
	return rc < 0 ? rc : keep(row, npa_figure(line, "mean"));
}

static int one_pass(struct timing *t, struct tare_error *err)
{
	// Rounds, calls, cold calls a kind, and the limit of each of these for slow operations, in nanoseconds.
	static const char *const full[] = {"time", "25", "100000", "51", "400000000"};
	static const char *const quick[] = {"time", "15", "5000", "0", "50000000"};
	static const char *const further[] = {"time", "15", "0", "0", "30000000"};
	const char *const *words = t->pass > 0 ? further : t->of->quick ? quick : full;
	size_t count = 1;
	json_t *row;
	char **argv = calloc(json_array_size(t->of->rows) + TARE_ARRAY_LEN(full) + 2, sizeof *argv);
	if (argv == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory");
	argv[0] = NPA_ARG(t->of->program);
	for (size_t i = 0; i < TARE_ARRAY_LEN(full); i++)
		argv[count++] = NPA_ARG(words[i]);
	for (size_t i = 0; (row = json_array_get(t->of->rows, i)) != NULL; i++)
		argv[count++] = NPA_ARG(npa_text(row, "row"));
	t->done = 0;
	int rc = npa_ask(argv, on_line, t, err);
	free(argv);
	return rc;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// Sorts what the passes found; how many.
static size_t passes_of(const json_t *object, double figures[PASSES])
{
	const json_t *passes = json_object_get(object, "passes");
	size_t count = TARE_MIN(json_array_size(passes), (size_t)PASSES);
	for (size_t i = 0; i < count; i++)
		figures[i] = json_real_value(json_array_get(passes, i));
	qsort(figures, count, sizeof *figures, compare_doubles);
	return count;
}

static int set(json_t *object, const char *name, double figure)
{
	return json_object_set_new(object, name, json_real(figure)) < 0 ? -ENOMEM : 0;
}

static int put_together(const struct npa_timing *of)
{
	double found[PASSES];
	json_t *row, *noise = json_object_get(of->report, "noise");
	size_t count = passes_of(noise, found);
	double middle = count > 0 ? found[count / 2] : NAN;
	double widest = count > 0 ? fmax(found[count - 1] - middle, middle - found[0]) : NAN;
	int rc = count == 0 ? -EPROTO : set(noise, "share", widest / middle);
	rc = rc < 0 ? rc : set(noise, "work", middle);
	for (size_t i = 0; rc == 0 && (row = json_array_get(of->rows, i)) != NULL; i++) {
		count = passes_of(row, found);
		rc = count == 0 ? -EPROTO : set(row, "mean", found[count / 2]);
		rc = rc < 0 ? rc : set(row, "low", found[0]);
		rc = rc < 0 ? rc : set(row, "high", found[count - 1]);
	}
	return rc;
}

int npa_time(const struct npa_timing *of, struct tare_error *err)
{
	struct timing t = {.of = of, .passes = of->quick ? PASSES_QUICK : PASSES};
	int rc = 0;
	for (; t.pass < t.passes && rc == 0; t.pass++)
		rc = one_pass(&t, err);
	if (rc < 0)
		return rc;
	rc = put_together(of);
	return rc < 0 ? tare_error_set(err, rc, "%s did not tell of every row", of->program) : 0;
}
