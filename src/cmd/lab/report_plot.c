// SPDX-License-Identifier: MIT
// A plot of the report as one that cmd/plot.h draws: points as columns of numbers, bars' places as positions among
// their categories, in the order in which the series name them first.
//
// Threads: one. Ownership: names stay the document's.
#include "cmd/lab/report_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct drawing {
	struct plot_series series[PLOT_SERIES_MAX];
	double *figures; // of all series, x and y
	const char **categories;
	size_t category_count, category_cap;
};

static size_t points_of(const json_t *series)
{
	return json_array_size(report_list(series, "points"));
}

// Where a category stands; one that is new stands last.
static size_t category(struct drawing *drawing, const char *name)
{
	size_t at = 0;
	while (at < drawing->category_count && strcmp(drawing->categories[at], name) != 0)
		at++;
	if (at == drawing->category_count && at < drawing->category_cap)
		drawing->categories[drawing->category_count++] = name;
	return at;
}

static int drawing_make(struct drawing *drawing, const json_t *all, bool bars)
{
	unsigned inks[PLOT_SERIES_MAX];
	size_t total = 0;
	for (size_t s = 0; s < json_array_size(all); s++)
		total += points_of(json_array_get(all, s));
	drawing->category_cap = TARE_MIN(total, (size_t)PLOT_CATEGORIES_MAX + 1);
	drawing->figures = calloc(2 * total + 1, sizeof(double));
	drawing->categories = calloc(drawing->category_cap + 1, sizeof(char *));
	if (drawing->figures == NULL || drawing->categories == NULL)
		return -ENOMEM;
	report_inks(inks, all);
	double *next = drawing->figures;
	for (size_t s = 0; s < json_array_size(all); s++) {
		const json_t *series = json_array_get(all, s), *points = report_list(series, "points");
		size_t count = json_array_size(points);
		double *x = next, *y = next + count;
		for (size_t i = 0; i < count; i++) {
			const json_t *at = json_array_get(json_array_get(points, i), 0);
			const json_t *figure = json_array_get(json_array_get(points, i), 1);
			x[i] = bars ? (double)category(drawing, json_string_value(at)) : json_number_value(at);
			y[i] = json_is_number(figure) ? json_number_value(figure) : NAN;
		}
		drawing->series[s] = (struct plot_series){.name = report_text(series, "name"),
							  .ink = inks[s],
							  .mark = PLOT_MARK_BAR,
							  .x = x,
							  .y = y,
							  .count = count};
		next += 2 * count;
	}
	return 0;
}

static struct plot_axis axis(const json_t *of)
{
	return (struct plot_axis){.name = report_text(of, "name"),
				  .unit = report_text(of, "unit"),
				  .log = json_is_true(json_object_get(of, "log"))};
}

int report_plot(FILE *out, const json_t *of, struct tare_error *err)
{
	const char *kind = report_text(of, "kind");
	const json_t *all = report_list(of, "series");
	struct drawing drawing = {0};
	bool bars = strcmp(kind, "bar") == 0;
	int rc = drawing_make(&drawing, all, bars);
	const struct plot plot = {.title = report_text(of, "title"),
				  .kind = bars                        ? PLOT_BAR
					  : strcmp(kind, "step") == 0 ? PLOT_STEP
								      : PLOT_LINE,
				  .x = axis(json_object_get(of, "x")),
				  .y = axis(json_object_get(of, "y")),
				  .categories = drawing.categories,
				  .category_count = drawing.category_count,
				  .series = drawing.series,
				  .series_count = json_array_size(all)};
	if (rc == 0)
		rc = plot_write(out, &plot, err);
	else
		rc = tare_error_set(err, rc, "no memory for plot '%s'", plot.title);
	free(drawing.figures);
	free(drawing.categories);
	return rc;
}
