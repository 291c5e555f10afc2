// SPDX-License-Identifier: MIT
// Plots of bars: a row a category, its bars and marks beside its name, figures at their right.
//
//   names          0        10        20          names of series, where there are several
//   map            |##########|.........|  9.8
//                  |--------            |  7.9
//   flat           |###                 |  2.6
//
// A series has a bar where it has a point: series that share no category stand a bar a row.
// A bar's ink gives its filling too: whole, light with an edge, or with strokes across, so that neighbours differ in
// grey. With marks over the bars the figures (the first series') stand in a column of their own; else each stands at
// its bar's end.
// Threads: any; nothing is kept.
#include "cmd/plot.h"

#include <math.h>

enum {
	WIDTH = 760,
	BAR_PX = 15,
	THIN_BAR_PX = 14,
	ROW_GAP_PX = 9,
	LABELS_MAX_PX = 240,
	FIGURES_PX = 78,
	LEGEND_PX = 20,
	TICKS = 6,
	LOG_TICKS = 9
};

struct rows {
	struct plot_scale scale;
	double left, right, top, bottom, row_px, bar_px;
	size_t bars; // in a row, at most
	bool marks;
};

static double place(const struct rows *r, double value)
{
	return r->left + (r->right - r->left) * plot_scale_share(&r->scale, value);
}

static bool is_bar(const struct plot_series *series)
{
	return series->mark == PLOT_MARK_BAR;
}

// ---- legend -------------------------------------------------------------------------------------------------------

static void filled(FILE *out, unsigned ink, double x, double y, double width, double height);

static void swatch(FILE *out, const struct plot_series *series, double x, double y)
{
	fprintf(out, "<g class='s%u'>", series->ink % PLOT_INKS);
	if (is_bar(series))
		filled(out, series->ink, x, y - 10, 16, 11);
	else if (series->mark == PLOT_MARK_DOT)
		fprintf(out, "<circle class='mk' cx='%.1f' cy='%.1f' r='4'/>", x + 8, y - 4);
	else if (series->mark == PLOT_MARK_DIAMOND)
		fprintf(out, "<path class='mk' d='M%.1f %.1fl5 5-5 5-5-5z'/>", x + 8, y - 9);
	else
		fprintf(out, "<line class='ru' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", x + 8, x + 8, y - 12, y + 2);
	fputs("</g>", out);
}

static bool has_legend(const struct plot *plot)
{
	return plot->series_count > 1 && !plot->bare;
}

// In lines as they fit. out NULL: only how high it is.
static double legend(FILE *out, const struct plot *plot, double left)
{
	double x = left, y = 14;
	if (!has_legend(plot))
		return 0;
	for (size_t s = 0; s < plot->series_count; s++) {
		double px = fmin(page_text_px(plot->series[s].name), 300) + 24;
		if (x > left && x + px > WIDTH) {
			x = left;
			y += LEGEND_PX;
		}
		if (out != NULL) {
			swatch(out, &plot->series[s], x, y);
			plot_label(out, "name", "start", x + 22, y, 300, plot->series[s].name);
		}
		x += px + 16;
	}
	return y + 8;
}

// ---- bars ---------------------------------------------------------------------------------------------------------

// Strokes within the bar: upright, or leaning one way.
static void strokes(FILE *out, double x, double y, double width, double height, double lean, double every)
{
	fputs("<path class='hs' d='", out);
	for (double at = x + every; at + fmax(lean, 0) < x + width && at + fmin(lean, 0) > x; at += every)
		fprintf(out, "M%.1f %.1fl%.1f %.1f", at, y + height, lean, -height);
	fputs("'/>", out);
}

static void filled(FILE *out, unsigned ink, double x, double y, double width, double height)
{
	static const struct {
		bool whole;
		double lean, every; // every 0: no strokes
	} fills[PLOT_INKS] = {{true, 0, 0},  {false, 0, 0}, {false, 6, 6},  {false, 0, 4},
			      {false, 0, 8}, {true, 0, 0},  {false, 3, 10}, {false, 6, 3}};
	ink %= PLOT_INKS;
	fprintf(out, "<rect class='%s' x='%.1f' y='%.1f' width='%.1f' height='%.1f'/>", fills[ink].whole ? "br" : "bh",
		x, y, width, height);
	if (fills[ink].every > 0)
		strokes(out, x, y, width, height, fills[ink].lean, fills[ink].every);
}

static double base_of(const struct rows *r)
{
	return r->scale.log ? r->left : place(r, 0);
}

static void bar(FILE *out, const struct rows *r, const struct plot *plot, const struct plot_series *series,
		double value, double y)
{
	char figure[PAGE_FIGURE];
	double base = base_of(r), end = place(r, value);
	if (!isnan(value) && fabs(end - base) >= 0.1)
		filled(out, series->ink, fmin(base, end), y, fabs(end - base), r->bar_px - 2);
	if (r->marks)
		return;
	// Linear: in the axis' unit, which its title says.
	if (r->scale.log)
		page_figure_scaled(figure, value, plot->y.unit);
	else
		page_number(figure, value / r->scale.divisor);
	plot_label(out, "soft", "start", fmax(base, end) + 6, y + r->bar_px / 2 + 3, FIGURES_PX, figure);
}

static void mark(FILE *out, const struct rows *r, const struct plot_series *series, double value, double y)
{
	double x = place(r, value), middle = y + r->row_px / 2;
	if (isnan(value))
		return;
	fprintf(out, "<g class='s%u'>", series->ink % PLOT_INKS);
	if (series->mark == PLOT_MARK_DOT)
		fprintf(out, "<circle class='mk' cx='%.1f' cy='%.1f' r='4'/>", x, middle);
	else if (series->mark == PLOT_MARK_DIAMOND)
		fprintf(out, "<path class='mk' d='M%.1f %.1fl5 5-5 5-5-5z'/>", x, middle - 5);
	else
		fprintf(out, "<line class='ru' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", x, x, y + 2,
			y + r->row_px - 2);
	fputs("</g>", out);
}

// The figure of a series in a category; the last one where there are several.
static double figure_of(const struct plot_series *series, size_t category)
{
	double value = NAN;
	for (size_t i = 0; i < series->count; i++)
		if ((size_t)series->x[i] == category)
			value = series->y[i];
	return value;
}

// Whether the series has anything to say of the category, a gap too: then its bar has a place there.
static bool has(const struct plot_series *series, size_t category)
{
	for (size_t i = 0; i < series->count; i++)
		if ((size_t)series->x[i] == category)
			return true;
	return false;
}

static size_t bars_in(const struct plot *plot, size_t category)
{
	size_t bars = 0;
	for (size_t s = 0; s < plot->series_count; s++)
		bars += is_bar(&plot->series[s]) && has(&plot->series[s], category) ? 1 : 0;
	return bars;
}

// In the column at the right. What is below an axis that has its beginning given is said to be that.
static void side_figure(FILE *out, const struct rows *r, const struct plot *plot, double value, double y)
{
	char figure[PAGE_FIGURE], text[PAGE_FIGURE + 2];
	bool below = r->scale.log && value < r->scale.low;
	page_figure_scaled(figure, below ? r->scale.low : value, plot->y.unit);
	snprintf(text, sizeof(text), "%s%s", below ? "< " : "", figure);
	plot_label(out, "soft", "start", r->right + 14, y + r->row_px / 2 + 4, FIGURES_PX, text);
}

static void row(FILE *out, const struct rows *r, const struct plot *plot, size_t category, double y)
{
	double bar_y = y + (r->row_px - (double)bars_in(plot, category) * r->bar_px) / 2 + 1;
	plot_label(out, "name", "start", 0, y + r->row_px / 2 + 4, r->left - 10, plot->categories[category]);
	for (size_t s = 0; s < plot->series_count; s++) {
		const struct plot_series *series = &plot->series[s];
		if (!is_bar(series) || !has(series, category))
			continue;
		fprintf(out, "<g class='s%u'>", series->ink % PLOT_INKS);
		bar(out, r, plot, series, figure_of(series, category), bar_y);
		fputs("</g>", out);
		bar_y += r->bar_px;
	}
	for (size_t s = 0; s < plot->series_count; s++)
		if (!is_bar(&plot->series[s]))
			mark(out, r, &plot->series[s], figure_of(&plot->series[s], category), y);
	if (r->marks && plot->series_count > 0)
		side_figure(out, r, plot, figure_of(&plot->series[0], category), y);
	fputc('\n', out);
}

// ---- the field ----------------------------------------------------------------------------------------------------

static void rows_make(struct rows *r, const struct plot *plot)
{
	struct plot_range range;
	double labels = page_text_px(plot->x.name);
	*r = (struct rows){0};
	plot_range_begin(&range);
	for (size_t s = 0; s < plot->series_count; s++) {
		for (size_t i = 0; i < plot->series[s].count; i++)
			plot_range_add(&range, plot->series[s].y[i]);
		r->marks |= !is_bar(&plot->series[s]);
	}
	for (size_t c = 0; c < plot->category_count; c++) {
		labels = fmax(labels, page_text_px(plot->categories[c]));
		r->bars = TARE_MAX(r->bars, bars_in(plot, c));
	}
	r->left = fmin(plot->labels_px > 0 ? plot->labels_px : labels, LABELS_MAX_PX) + 14;
	r->right = WIDTH - FIGURES_PX;
	plot_scale_make(&r->scale, &plot->y, &range, plot->y.log ? LOG_TICKS : TICKS, true, true);
	if ((plot_scale_label_px(&r->scale) + 14) * (double)r->scale.count > r->right - r->left)
		plot_scale_make(&r->scale, &plot->y, &range, TICKS - 1, true, true);
	// A bar of zero is none; it needs no place on the axis.
	if (r->scale.zero) {
		r->scale.zero = false;
		for (size_t i = 1; i < r->scale.count; i++)
			r->scale.ticks[i - 1] = r->scale.ticks[i];
		r->scale.count--;
	}
	r->bar_px = r->bars > 1 ? THIN_BAR_PX : BAR_PX;
	r->row_px = fmax((double)r->bars, 1) * r->bar_px + ROW_GAP_PX;
	r->top = legend(NULL, plot, r->left) + (plot->x.name[0] != '\0' ? 22 : 4);
	r->bottom = r->top + (double)plot->category_count * r->row_px;
}

static void grid(FILE *out, const struct rows *r, const struct plot *plot)
{
	for (size_t i = 0; i < r->scale.count; i++) {
		double x = place(r, r->scale.ticks[i].at);
		fprintf(out, "<line class='grid' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", x, x, r->top,
			r->bottom + 4);
		plot_label(out, "soft", "middle", x, r->bottom + 18, WIDTH, r->scale.ticks[i].label);
	}
	fprintf(out, "<line class='base' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>\n", base_of(r), base_of(r), r->top,
		r->bottom);
	if (plot->x.name[0] != '\0')
		plot_label(out, "soft", "start", 0, r->top - 8, r->left - 10, plot->x.name);
}

void plot_bars(FILE *out, const struct plot *plot)
{
	struct rows r;
	rows_make(&r, plot);
	bool titled = plot->y.name[0] != '\0';
	plot_begin(out, plot, WIDTH, r.bottom + (titled ? 44 : 24));
	legend(out, plot, r.left);
	grid(out, &r, plot);
	for (size_t c = 0; c < plot->category_count; c++)
		row(out, &r, plot, c, r.top + (double)c * r.row_px);
	if (titled)
		plot_axis_title(out, &plot->y, &r.scale, "middle", (r.left + r.right) / 2, r.bottom + 38,
				r.right - r.left);
	plot_end(out);
}
