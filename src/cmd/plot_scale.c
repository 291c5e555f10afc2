// SPDX-License-Identifier: MIT
// Scales of plots: where an axis begins and ends, and what its ticks say.
//
// A linear axis has ticks at 1, 2 or 5 times a power of ten of the unit that its largest figure is read in (live heap
// in GiB, not in billions of bytes). A logarithmic one begins and ends at 1, 2 or 5 times a power of ten (bytes: at a
// power of two); it labels those, or the powers alone where there are many, or each second or third of them.
// Threads: any; nothing is kept.
#include "cmd/plot.h"

#include <math.h>
#include <string.h>

void plot_range_begin(struct plot_range *range)
{
	*range = (struct plot_range){.min = INFINITY, .max = -INFINITY, .positive_min = INFINITY};
}

void plot_range_add(struct plot_range *range, double value)
{
	if (isnan(value))
		return;
	range->min = fmin(range->min, value);
	range->max = fmax(range->max, value);
	if (value > 0)
		range->positive_min = fmin(range->positive_min, value);
}

static void add_tick(struct plot_scale *scale, double at, const char *label, const char *unit)
{
	if (scale->count == PLOT_TICKS_MAX)
		return;
	struct plot_tick *tick = &scale->ticks[scale->count++];
	tick->at = at;
	snprintf(tick->label, sizeof(tick->label), unit[0] != '\0' ? "%.24s %.8s" : "%.24s", label, unit);
}

// ---- linear -------------------------------------------------------------------------------------------------------

// 1, 2 or 5 times a power of ten, at least that much.
static double round_step(double least)
{
	double power = pow(10, floor(log10(least)));
	double share = least / power;
	return power * (share <= 1.0001 ? 1 : share <= 2.0001 ? 2 : share <= 5.0001 ? 5 : 10);
}

// A step's own digits: 0.25 of "0.25, 0.5" are two. Steps are 1, 2 or 5.
static void linear_label(char out[PAGE_FIGURE], double value, double step)
{
	int decimals = step < 1 && value != 0 ? (int)ceil(-log10(step) - 1e-9) : 0;
	if (decimals == 0 || decimals > 9)
		page_number(out, value);
	else
		snprintf(out, PAGE_FIGURE, "%.*f", decimals, value);
}

static void linear(struct plot_scale *scale, const char *unit, unsigned ticks, bool whole)
{
	double size = 1, divisor = 1, largest = fmax(fabs(scale->low), fabs(scale->high));
	const struct page_unit_family *family = page_unit_find(unit, &size);
	const char *suffix = "";
	scale->unit = page_unit(unit);
	if (family != NULL) {
		const struct page_unit_step *to = page_unit_step(family, largest * size);
		scale->unit = to->name;
		divisor = scale->divisor = to->size / size;
	} else if (largest >= 1e7) {
		divisor = largest >= 1e10 ? 1e9 : 1e6;
		suffix = largest >= 1e10 ? "G" : "M";
	}
	double step = round_step((scale->high - scale->low) / divisor / ticks);
	double low = scale->low / divisor / step, high = scale->high / divisor / step;
	// Ticks are counted from 0, so that no sum of steps drifts.
	double first = whole ? floor(low + 1e-9) : ceil(low - 1e-9),
	       last = whole ? ceil(high - 1e-9) : floor(high + 1e-9);
	for (unsigned i = 0; i < PLOT_TICKS_MAX && first + i <= last; i++) {
		char label[PAGE_FIGURE];
		double k = first + i;
		linear_label(label, k * step, step);
		add_tick(scale, k * step * divisor, label, k == 0 ? "" : suffix);
	}
	if (whole) {
		scale->low = first * step * divisor;
		scale->high = last * step * divisor;
	}
}

// ---- logarithmic --------------------------------------------------------------------------------------------------

// The k-th of the places that may have a tick: 1, 2, 5, 10, 20, …, or powers of two.
static double log_place(int k, bool binary)
{
	static const double of[] = {1, 2, 5};
	int decade = (int)floor(k / 3.0);
	return binary ? exp2(k) : of[k - 3 * decade] * pow(10, decade);
}

static int log_index(double value, bool binary)
{
	return binary ? (int)floor(log2(value)) : 3 * (int)floor(log10(value));
}

static void log_label(struct plot_scale *scale, double value, const struct page_unit_family *family, double size)
{
	char label[PAGE_FIGURE];
	const char *unit = "";
	double divisor = 1;
	if (family != NULL) {
		const struct page_unit_step *step = page_unit_step(family, value * size);
		divisor = step->size / size;
		unit = step->name;
	} else if (value >= 999999) {
		divisor = value >= 999999999 ? 1e9 : 1e6;
		unit = value >= 999999999 ? "G" : "M";
	}
	if (value / divisor < 1e-4)
		snprintf(label, sizeof(label), "%.0e", value / divisor);
	else
		snprintf(label, sizeof(label), "%.12g", value / divisor);
	if (value / divisor >= 1000)
		page_number(label, value / divisor);
	add_tick(scale, value, label, unit);
}

static void logarithmic(struct plot_scale *scale, const char *unit, unsigned ticks, bool whole)
{
	double size = 1;
	const struct page_unit_family *family = page_unit_find(unit, &size);
	bool binary = family != NULL && family->base == 2;
	int first = log_index(scale->low, binary), last = first;
	while (log_place(first + 1, binary) <= scale->low * (1 + 1e-9))
		first++;
	for (last = first + 1; log_place(last, binary) < scale->high * (1 - 1e-9);)
		last++;
	scale->unit = family != NULL ? "" : page_unit(unit);
	if (whole) {
		scale->low = log_place(first, binary);
		scale->high = log_place(last, binary);
	}
	if (scale->zero)
		add_tick(scale, 0, "0", "");
	// Each place, or the powers of ten alone, or each second, third, … of them.
	int every = 1;
	for (int unit_step = binary ? 1 : 3; (last - first) / every + 1 > (int)ticks;)
		every = every == 1 && !binary ? unit_step : every + unit_step;
	for (int k = first; k <= last; k++)
		if ((k % every + every) % every == 0 && log_place(k, binary) >= scale->low * (1 - 1e-9) &&
		    log_place(k, binary) <= scale->high * (1 + 1e-9))
			log_label(scale, log_place(k, binary), family, size);
}

// ---- both ---------------------------------------------------------------------------------------------------------

static bool fixed(const struct plot_axis *axis)
{
	return axis->low != 0 || axis->high != 0;
}

// Nothing to show, or one figure: an axis has a length all the same.
static void widen(struct plot_scale *scale)
{
	if (!(scale->low <= scale->high)) {
		scale->low = scale->log;
		scale->high = scale->log ? 10 : 1;
	} else if (scale->low == scale->high) {
		double by = scale->low == 0 ? 1 : fabs(scale->low) * 0.1;
		scale->high += by;
		scale->low -= scale->log || scale->low == 0 ? 0 : by;
	}
}

void plot_scale_make(struct plot_scale *scale, const struct plot_axis *axis, const struct plot_range *range,
		     unsigned ticks, bool from_zero, bool whole)
{
	*scale = (struct plot_scale){.log = axis->log, .unit = "", .divisor = 1, .low = range->min, .high = range->max};
	bool empty = !(range->min <= range->max) && !fixed(axis);
	if (fixed(axis)) {
		scale->low = axis->low;
		scale->high = axis->high;
	} else if (axis->log && range->min < 0) {
		scale->unfit = true;
		scale->log = false;
	} else if (axis->log) {
		scale->zero = range->min == 0;
		scale->low = range->positive_min;
		scale->high = range->max > 0 ? range->max : -INFINITY;
	}
	if (!scale->log && from_zero && scale->low > 0 && !fixed(axis))
		scale->low = 0;
	if (!scale->log && from_zero && scale->high < 0 && !fixed(axis))
		scale->high = 0;
	widen(scale);
	if (scale->log)
		logarithmic(scale, axis->unit, TARE_MAX(ticks, 2U), whole);
	else
		linear(scale, axis->unit, TARE_MAX(ticks, 2U), whole);
	// Where there is nothing, figures along the axis would mean nothing.
	if (empty)
		scale->count = 0;
}

void plot_scale_ticks(struct plot_scale *scale, const struct plot_axis *axis, const double *at, size_t count)
{
	double size = 1;
	const struct page_unit_family *family = page_unit_find(axis->unit, &size);
	scale->count = 0;
	for (size_t i = 0; i < count; i++) {
		if (at[i] > 0)
			log_label(scale, at[i], family, size);
		else
			add_tick(scale, 0, "0", "");
	}
}

double plot_scale_share(const struct plot_scale *scale, double value)
{
	double share;
	if (!scale->log)
		return fmin(fmax((value - scale->low) / (scale->high - scale->low), 0), 1);
	double begin = scale->zero ? PLOT_ZERO_SHARE : 0;
	if (value <= 0)
		return 0;
	share = log(value / scale->low) / log(scale->high / scale->low);
	return begin + (1 - begin) * fmin(fmax(share, 0), 1);
}

double plot_scale_label_px(const struct plot_scale *scale)
{
	double px = 0;
	for (size_t i = 0; i < scale->count; i++)
		px = fmax(px, page_text_px(scale->ticks[i].label));
	return px;
}
