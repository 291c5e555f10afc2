// SPDX-License-Identifier: MIT
// Plots as SVG within a page: lines, steps and bars, on linear and logarithmic axes.
//
//   y.name, unit
//   |-------------------------------------  gridlines at the ticks
//   |          ____o----o                 -- a series' name, where its line ends
//   |   o-----o
//   +-------------------------------------
//        x.name, unit
//
// Bars lie: a row a category, a bar a series in it, so that any number of categories has room for its names. Their
// figures stand beside them. Marks (a dot, a diamond, a rule) stand on a category's row, over its bars.
//
// A series' ink gives its colour, its dashes and its mark together: the three say the same, so that it is told apart in
// print and by any eye. Colours are those of page_begin()'s style.
//
// What a scale can't show: a figure that is missing (NAN) is a gap. Zero on a logarithmic axis has a place of its own
// below its beginning, marked as such. An axis asked to be logarithmic that has negative figures is linear.
// Threads: any, each with a stream of its own. Ownership: the caller keeps everything.
#ifndef TARE_CMD_PLOT_H
#define TARE_CMD_PLOT_H

#include "cmd/page.h"

enum plot_kind { PLOT_LINE, PLOT_STEP, PLOT_BAR };
enum plot_mark { PLOT_MARK_BAR, PLOT_MARK_DOT, PLOT_MARK_DIAMOND, PLOT_MARK_RULE }; // bars alone have one

enum { PLOT_INKS = 8, PLOT_SERIES_MAX = 64, PLOT_CATEGORIES_MAX = 1000, PLOT_POINTS_MAX = 1000000 };

struct plot_axis {
	const char *name, *unit;
	bool log;
	double low, high; // where both are 0: what the figures need
};

struct plot_series {
	const char *name;
	unsigned ink; // below PLOT_INKS
	enum plot_mark mark;
	const double *x, *y; // of bars x is a position in categories
	size_t count;
};

struct plot {
	const char *title; // for who hears the page; it is not drawn
	enum plot_kind kind;
	struct plot_axis x, y; // of bars y is the axis that lies, x.name stands above the categories
	const char *const *categories;
	size_t category_count;
	const struct plot_series *series;
	size_t series_count;
	bool bare;        // bars: without a legend
	double labels_px; // bars: room for the categories' names; 0: what they need. Plots below each other agree in it
};

// Writes an <svg> within <div class='plot'>. -EINVAL with a text where a place is NAN, a figure infinite, or there is
// more than the limits above.
TARE_MUST_USE int plot_write(FILE *out, const struct plot *plot, struct tare_error *err);

// ---- scales -------------------------------------------------------------------------------------------------------

enum { PLOT_TICKS_MAX = 24, PLOT_LABEL = PAGE_FIGURE };

struct plot_tick {
	double at;
	char label[PLOT_LABEL];
};

struct plot_scale {
	double low, high;
	bool log, zero;   // zero: the beginning of a logarithmic axis is kept for it
	bool unfit;       // asked to be logarithmic, which its figures can't be
	double divisor;   // bytes and times on a linear axis: what a figure is divided by to be in its unit
	const char *unit; // what the axis' title says: the labels' unit, or "" where each says its own
	size_t count;
	struct plot_tick ticks[PLOT_TICKS_MAX];
};

// What an axis has to show.
struct plot_range {
	double min, max, positive_min; // infinite where there is nothing
};
void plot_range_begin(struct plot_range *range);
void plot_range_add(struct plot_range *range, double value); // NAN adds nothing

// from_zero: a linear axis whose figures are all positive begins at 0. whole: it begins and ends at a tick. ticks:
// about how many may be labelled.
void plot_scale_make(struct plot_scale *scale, const struct plot_axis *axis, const struct plot_range *range,
		     unsigned ticks, bool from_zero, bool whole);
// A logarithmic scale's ticks at these places instead.
void plot_scale_ticks(struct plot_scale *scale, const struct plot_axis *axis, const double *at, size_t count);
// Where a value stands, from 0 to 1; what is outside stands at the edge.
double plot_scale_share(const struct plot_scale *scale, double value);

double plot_scale_label_px(const struct plot_scale *scale); // of the widest label

// What of a scale's beginning is kept for zero.
#define PLOT_ZERO_SHARE 0.08

// ---- parts that line plots and bars share -------------------------------------------------------------------------

// A text at a place; what is wider than px ends in an ellipsis and is whole in its title. anchor: "start", "middle",
// "end".
void plot_label(FILE *out, const char *class_name, const char *anchor, double x, double y, double px, const char *text);
// "name, unit"
void plot_axis_title(FILE *out, const struct plot_axis *axis, const struct plot_scale *scale, const char *anchor,
		     double x, double y, double px);
// The mark of an ink, at a place.
void plot_mark(FILE *out, unsigned ink, double x, double y);
void plot_begin(FILE *out, const struct plot *plot, double width, double height);
void plot_end(FILE *out);
void plot_bars(FILE *out, const struct plot *plot);

#endif
