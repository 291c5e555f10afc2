// SPDX-License-Identifier: MIT
// Plots of lines and steps, and what all plots share.
//
// There is no legend beside the plot: a line's name stands where the line ends, in its colour, pushed up or down where
// another's is. A line has its ink's dashes, and its marks, on each point or, of many, on some twelve. A line of very
// many points is too ragged for dashes: it is thin and whole, and has its marks.
// Points nearer to the one before than a third of a pixel are not written: a plot's size goes by its width, not by its
// data.
// Rejected: a library for plots (none in Debian writes SVG from C that follows the reader's light or dark); hatches as
// SVG patterns (they are referred to by an identifier that is unique in the page, which a plot alone can't know).
// Threads: any; nothing is kept.
#include "cmd/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	WIDTH = 760,
	HEIGHT = 250,
	TOP = 30,
	BOTTOM = 46,
	NAME_PX = 15,
	NAMES_MAX_PX = 190,
	MARKS = 12,
	SWEEP_MAX = 12,
	DASHED_MAX = 80
};

static const char *const dashes[PLOT_INKS] = {"none", "8 3",          "2 2.5", "10 3 2 3",
					      "5 3",  "12 3 2 3 2 3", "1 3",   "7 2 1 2"};

// ---- parts --------------------------------------------------------------------------------------------------------

// How many bytes of the text fit; 0: all of it.
static size_t cut_at(const char *text, double px)
{
	char one[8];
	double used = 0;
	if (page_text_px(text) <= px)
		return 0;
	for (size_t i = 0; text[i] != '\0';) {
		size_t len = 1;
		while (len < 7 && ((unsigned char)text[i + len] & 0xc0) == 0x80)
			len++;
		memcpy(one, text + i, len);
		one[len] = '\0';
		used += page_text_px(one);
		if (used > px - 12)
			return TARE_MAX(i, (size_t)1);
		i += len;
	}
	return 0;
}

void plot_label(FILE *out, const char *class_name, const char *anchor, double x, double y, double px, const char *text)
{
	size_t cut = cut_at(text, px);
	fprintf(out, "<text class='%s' text-anchor='%s' x='%.1f' y='%.1f'>", class_name, anchor, x, y);
	char *head = cut > 0 ? strndup(text, cut) : NULL;
	if (head != NULL) {
		page_text(out, head);
		fputs("…<title>", out);
	}
	page_text(out, text);
	fputs(head != NULL ? "</title></text>" : "</text>", out);
	free(head);
}

void plot_axis_title(FILE *out, const struct plot_axis *axis, const struct plot_scale *scale, const char *anchor,
		     double x, double y, double px)
{
	char *title = NULL;
	const char *comma = axis->name[0] != '\0' && scale->unit[0] != '\0' ? ", " : "";
	const char *note = scale->unfit ? " (linear: it has negative figures)" : scale->log ? " (logarithmic)" : "";
	if (asprintf(&title, "%s%s%s%s", axis->name, comma, scale->unit, note) < 0)
		return;
	plot_label(out, "soft", anchor, x, y, px, title);
	free(title);
}

void plot_mark(FILE *out, unsigned ink, double x, double y)
{
	switch (ink % PLOT_INKS) {
	case 0:
		fprintf(out, "<circle class='mk' cx='%.1f' cy='%.1f' r='3.6'/>", x, y);
		break;
	case 1:
		fprintf(out, "<rect class='mk' x='%.1f' y='%.1f' width='6.6' height='6.6'/>", x - 3.3, y - 3.3);
		break;
	case 2:
		fprintf(out, "<path class='mk' d='M%.1f %.1fl4.2 7.4h-8.4z'/>", x, y - 4.4);
		break;
	case 3:
		fprintf(out, "<path class='mk' d='M%.1f %.1fl4.6 4.6-4.6 4.6-4.6-4.6z'/>", x, y - 4.6);
		break;
	case 4:
		fprintf(out, "<circle class='ho' cx='%.1f' cy='%.1f' r='3.4'/>", x, y);
		break;
	case 5:
		fprintf(out, "<path class='hs' d='M%.1f %.1fl6.4 6.4m0-6.4l-6.4 6.4'/>", x - 3.2, y - 3.2);
		break;
	case 6:
		fprintf(out, "<path class='hs' d='M%.1f %.1fv8.4m-4.2-4.2h8.4'/>", x, y - 4.2);
		break;
	default:
		fprintf(out, "<rect class='ho' x='%.1f' y='%.1f' width='6.4' height='6.4'/>", x - 3.2, y - 3.2);
	}
}

void plot_begin(FILE *out, const struct plot *plot, double width, double height)
{
	fprintf(out, "<div class='plot'><svg viewBox='0 0 %.0f %.0f' role='img' aria-label='", width, height);
	page_text(out, plot->title);
	fputs("'>\n", out);
}

void plot_end(FILE *out)
{
	fputs("</svg></div>\n", out);
}

// ---- the field of lines -------------------------------------------------------------------------------------------

struct field {
	struct plot_scale x, y;
	double left, right, top, bottom; // in pixels
	double names_px;
};

static double x_of(const struct field *f, double value)
{
	return f->left + (f->right - f->left) * plot_scale_share(&f->x, value);
}

static double y_of(const struct field *f, double value)
{
	return f->bottom - (f->bottom - f->top) * plot_scale_share(&f->y, value);
}

static size_t figures(const struct plot_series *series)
{
	size_t count = 0;
	for (size_t i = 0; i < series->count; i++)
		count += isnan(series->y[i]) ? 0 : 1;
	return count;
}

static int by_value(const void *a, const void *b)
{
	const double *one = a, *two = b;
	return (*one > *two) - (*one < *two);
}

// A sweep's own values, 50, 100, 200, 400, say more than round ones: where they are few and have room, they are the
// ticks.
static void ticks_of_sweep(struct field *f, const struct plot *plot)
{
	double at[SWEEP_MAX];
	size_t count = 0;
	for (size_t s = 0; s < plot->series_count; s++) {
		for (size_t i = 0; i < plot->series[s].count; i++) {
			size_t k = 0;
			while (k < count && at[k] != plot->series[s].x[i])
				k++;
			if (k == SWEEP_MAX)
				return;
			if (k == count)
				at[count++] = plot->series[s].x[i];
		}
	}
	qsort(at, count, sizeof(*at), by_value);
	struct plot_scale scale = f->x;
	plot_scale_ticks(&scale, &plot->x, at, count);
	for (size_t i = 1; i < count; i++) {
		double apart = plot_scale_share(&scale, at[i]) - plot_scale_share(&scale, at[i - 1]);
		double needed = (page_text_px(scale.ticks[i].label) + page_text_px(scale.ticks[i - 1].label)) / 2 + 10;
		if (apart * (f->right - f->left) < needed)
			return;
	}
	if (count > 1)
		f->x = scale;
}

static void field_make(struct field *f, const struct plot *plot)
{
	struct plot_range x, y;
	size_t named = 0;
	plot_range_begin(&x);
	plot_range_begin(&y);
	*f = (struct field){.top = TOP, .names_px = 0};
	for (size_t s = 0; s < plot->series_count; s++) {
		const struct plot_series *series = &plot->series[s];
		for (size_t i = 0; i < series->count; i++) {
			plot_range_add(&x, series->x[i]);
			plot_range_add(&y, series->y[i]);
		}
		if (figures(series) > 0)
			f->names_px = fmax(f->names_px, fmin(page_text_px(series->name) * 1.06, NAMES_MAX_PX));
		named += figures(series) > 0;
	}
	f->bottom = f->top + fmax(HEIGHT, (double)named * NAME_PX);
	plot_scale_make(&f->y, &plot->y, &y, 6, true, true);
	f->left = plot_scale_label_px(&f->y) + 12;
	f->right = WIDTH - (f->names_px > 0 ? f->names_px + 26 : 30);
	// As many ticks as have room beside each other: how wide they are depends on how many there are, hence twice.
	plot_scale_make(&f->x, &plot->x, &x, 8, x.min >= 0 && x.min < 0.25 * x.max, false);
	double ticks = (f->right - f->left) / (plot_scale_label_px(&f->x) + 22);
	if (ticks < (double)f->x.count)
		plot_scale_make(&f->x, &plot->x, &x, (unsigned)fmax(ticks - 1, 2), x.min >= 0 && x.min < 0.25 * x.max,
				false);
	if (f->x.log)
		ticks_of_sweep(f, plot);
}

// Zero's place on a logarithmic axis is none of its scale: two strokes cut the axis there.
static void axis_cut(FILE *out, const struct field *f)
{
	if (f->x.zero)
		fprintf(out, "<path class='base' d='M%.1f %.1fl4-8m4 0l-4 8'/>",
			f->left + (f->right - f->left) * PLOT_ZERO_SHARE / 2 - 4, f->bottom + 4);
	if (f->y.zero)
		fprintf(out, "<path class='base' d='M%.1f %.1fl8-4m0 4l-8 4'/>", f->left - 4,
			f->bottom - (f->bottom - f->top) * PLOT_ZERO_SHARE / 2);
}

static void axes(FILE *out, const struct field *f, const struct plot *plot)
{
	for (size_t i = 0; i < f->y.count; i++) {
		double y = y_of(f, f->y.ticks[i].at);
		fprintf(out, "<line class='grid' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", f->left, f->right, y, y);
		plot_label(out, "soft", "end", f->left - 7, y + 4, f->left, f->y.ticks[i].label);
	}
	fprintf(out, "<path class='base' fill='none' d='M%.1f %.1fH%.1f'/>", f->left, f->bottom, f->right);
	for (size_t i = 0; i < f->x.count; i++) {
		double x = x_of(f, f->x.ticks[i].at);
		fprintf(out, "<line class='base' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", x, x, f->bottom,
			f->bottom + 4);
		plot_label(out, "soft", "middle", x, f->bottom + 18, WIDTH, f->x.ticks[i].label);
	}
	axis_cut(out, f);
	plot_axis_title(out, &plot->y, &f->y, "start", 0, 14, WIDTH);
	plot_axis_title(out, &plot->x, &f->x, "middle", (f->left + f->right) / 2, f->bottom + 38, f->right - f->left);
	fputc('\n', out);
}

// ---- lines --------------------------------------------------------------------------------------------------------

static void line_path(FILE *out, const struct field *f, const struct plot_series *series, bool step)
{
	double x_was = 0, y_was = 0;
	bool drawing = false;
	if (series->count <= DASHED_MAX)
		fprintf(out, "<path class='ln' stroke-dasharray='%s' d='", dashes[series->ink % PLOT_INKS]);
	else
		fputs("<path class='ln thin' d='", out);
	for (size_t i = 0; i < series->count; i++) {
		if (isnan(series->y[i])) {
			drawing = false;
			continue;
		}
		double x = x_of(f, series->x[i]), y = y_of(f, series->y[i]);
		bool last = i + 1 == series->count || isnan(series->y[i + 1]);
		if (drawing && !last && fabs(x - x_was) < 0.35 && fabs(y - y_was) < 0.35)
			continue;
		if (!drawing)
			fprintf(out, "M%.1f %.1f", x, y);
		else if (step)
			fprintf(out, "H%.1fV%.1f", x, y);
		else
			fprintf(out, "L%.1f %.1f", x, y);
		drawing = true;
		x_was = x;
		y_was = y;
	}
	fputs("'/>", out);
}

// A point between gaps has no line: its mark is all there is of it.
static bool alone(const struct plot_series *series, size_t i)
{
	return (i == 0 || isnan(series->y[i - 1])) && (i + 1 == series->count || isnan(series->y[i + 1]));
}

static void line_marks(FILE *out, const struct field *f, const struct plot_series *series, bool step)
{
	bool marked = !step || series->count > DASHED_MAX; // steps that have dashes need none
	size_t every = series->count <= 2 * MARKS ? 1 : series->count / MARKS;
	size_t from = every == 1 ? 0 : every * (series->ink % 4) / 4;
	for (size_t i = 0; i < series->count; i++)
		if (!isnan(series->y[i]) && (alone(series, i) || (marked && i % every == from % every)))
			plot_mark(out, series->ink, x_of(f, series->x[i]), y_of(f, series->y[i]));
}

// ---- names at the lines' ends -------------------------------------------------------------------------------------

struct name {
	const struct plot_series *series;
	double x, end, y; // where the line ends, where the name stands
};

static int by_end(const void *a, const void *b)
{
	const struct name *one = a, *two = b;
	return (one->end > two->end) - (one->end < two->end);
}

// As near to the ends as NAME_PX between them allows: downwards first, then up from the bottom.
static void names_spread(struct name *names, size_t count, double top, double bottom)
{
	qsort(names, count, sizeof(*names), by_end);
	for (size_t i = 0; i < count; i++)
		names[i].y = fmax(names[i].end, i == 0 ? top : names[i - 1].y + NAME_PX);
	for (size_t i = count; i-- > 0;)
		names[i].y = fmin(names[i].y, i + 1 == count ? bottom : names[i + 1].y - NAME_PX);
}

static void line_names(FILE *out, const struct field *f, const struct plot *plot)
{
	struct name names[PLOT_SERIES_MAX];
	size_t count = 0;
	for (size_t s = 0; s < plot->series_count; s++) {
		const struct plot_series *series = &plot->series[s];
		size_t last = series->count;
		while (last > 0 && isnan(series->y[last - 1]))
			last--;
		if (last > 0)
			names[count++] = (struct name){
			    .series = series, .x = x_of(f, series->x[last - 1]), .end = y_of(f, series->y[last - 1])};
	}
	names_spread(names, count, f->top, f->bottom);
	for (size_t i = 0; i < count; i++) {
		const struct name *name = &names[i];
		fprintf(out, "<g class='s%u'>", name->series->ink % PLOT_INKS);
		fprintf(out, "<path class='to' d='M%.1f %.1fL%.1f %.1f'/>", name->x + 5, name->end, f->right + 12,
			name->y);
		plot_label(out, "end", "start", f->right + 16, name->y + 4, f->names_px + 8, name->series->name);
		fputs("</g>\n", out);
	}
}

// Series that have nothing to show are named all the same.
static void without_figures(FILE *out, const struct field *f, const struct plot *plot)
{
	char *names = strdup("");
	size_t empty = 0;
	for (size_t s = 0; s < plot->series_count; s++) {
		char *more = NULL;
		if (figures(&plot->series[s]) > 0)
			continue;
		if (names == NULL || asprintf(&more, "%s%s%s", names, empty > 0 ? ", " : "", plot->series[s].name) < 0)
			more = NULL;
		free(names);
		names = more;
		empty++;
	}
	if (names != NULL && empty < plot->series_count) {
		char *text = NULL;
		if (empty > 0 && asprintf(&text, "no figures: %s", names) >= 0)
			plot_label(out, "soft", "end", WIDTH, 14, WIDTH / 2, text);
		free(text);
	} else if (names != NULL) {
		plot_label(out, "soft", "middle", (f->left + f->right) / 2, (f->top + f->bottom) / 2, WIDTH,
			   "no figures");
	}
	free(names);
}

static void lines(FILE *out, const struct plot *plot)
{
	struct field f;
	field_make(&f, plot);
	plot_begin(out, plot, WIDTH, f.bottom + BOTTOM);
	axes(out, &f, plot);
	// Names lie below the lines: where a name's own thread crosses a line, the line stays whole.
	line_names(out, &f, plot);
	for (size_t s = plot->series_count; s-- > 0;) { // the first series is on top
		const struct plot_series *series = &plot->series[s];
		if (figures(series) == 0)
			continue;
		fprintf(out, "<g class='s%u'>", series->ink % PLOT_INKS);
		line_path(out, &f, series, plot->kind == PLOT_STEP);
		line_marks(out, &f, series, plot->kind == PLOT_STEP);
		fputs("</g>\n", out);
	}
	without_figures(out, &f, plot);
	plot_end(out);
}

// ---- all ----------------------------------------------------------------------------------------------------------

// Beyond it differences overflow.
static bool fits(double value)
{
	return fabs(value) <= 1e100;
}

static int check_series(const struct plot *plot, const struct plot_series *series, struct tare_error *err)
{
	if (series->count > PLOT_POINTS_MAX)
		return tare_error_set(err, -EINVAL, "plot '%s': series '%s' has %zu points; %d are allowed",
				      plot->title, series->name, series->count, PLOT_POINTS_MAX);
	for (size_t i = 0; i < series->count; i++) {
		bool row = plot->kind != PLOT_BAR || (series->x[i] >= 0 && series->x[i] < (double)plot->category_count);
		if (!fits(series->x[i]) || !row || !(isnan(series->y[i]) || fits(series->y[i])))
			return tare_error_set(
			    err, -EINVAL,
			    "plot '%s': series '%s': point %zu, (%g, %g), can't be shown; a place must be a "
			    "number, a figure one within 1e100 or none",
			    plot->title, series->name, i, series->x[i], series->y[i]);
	}
	return 0;
}

int plot_write(FILE *out, const struct plot *plot, struct tare_error *err)
{
	if (plot->series_count > PLOT_SERIES_MAX || plot->category_count > PLOT_CATEGORIES_MAX)
		return tare_error_set(err, -EINVAL, "plot '%s': %zu series and %zu categories; %d and %d are allowed",
				      plot->title, plot->series_count, plot->category_count, PLOT_SERIES_MAX,
				      PLOT_CATEGORIES_MAX);
	for (size_t s = 0; s < plot->series_count; s++) {
		int rc = check_series(plot, &plot->series[s], err);
		if (rc < 0)
			return rc;
	}
	if (plot->kind == PLOT_BAR)
		plot_bars(out, plot);
	else
		lines(out, plot);
	return 0;
}
