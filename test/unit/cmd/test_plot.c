// SPDX-License-Identifier: MIT
// Goal: figures are written as people write them, axes have ticks that mean something, and a plot refuses what it can't
// show.
// Method: figures, scales and whole plots of small data, read as text.
#include "test.h"

#include "cmd/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static void number_is(const char *text, double value)
{
	char out[PAGE_FIGURE];
	assert_string_equal(text, page_number(out, value));
}

TEST(a_number_has_three_digits_that_count_and_large_ones_all)
{
	number_is("0", 0);
	number_is("0", -0.0);
	number_is("0.5", 0.5);
	number_is("0.123", 0.12345);
	number_is("0.00123", 0.0012345);
	number_is("1.23", 1.2345);
	number_is("10.0", 9.9996);
	number_is("100", 99.96);
	number_is("1,000", 999.7);
	number_is("1,234", 1234.4);
	number_is("-1,234,567", -1234567);
	number_is("999", 999);
	number_is("123,456,789,012", 123456789012);
	number_is("1.23e-07", 1.2345e-7);
	number_is("1.5e+20", 1.5e20);
	number_is("-", NAN);
}

TEST(bytes_are_read_in_the_unit_that_fits)
{
	char out[PAGE_FIGURE];
	assert_string_equal("1.5 GiB", page_figure(out, 1.5 * 0x1p30, "bytes"));
	assert_string_equal("1 KiB", page_figure(out, 1024, "B"));
	assert_string_equal("-512 MiB", page_figure(out, -512, "MiB"));
	assert_string_equal("2,154 ns", page_figure(out, 2154, "ns"));
	assert_string_equal("2.15 µs", page_figure_scaled(out, 2154, "ns"));
	assert_string_equal("1.00 ms", page_figure_scaled(out, 999.9, "us"));
	assert_string_equal("7 %", page_figure_scaled(out, 7, "%"));
	assert_string_equal("-", page_figure(out, NAN, "ns"));
}

TEST(text_is_what_any_parser_reads_as_that_text)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	page_text(out, "a<b>&\"'\x01\x7f \xc3\xa9 \xef\xbf\xbf \xe2\x82 \xff\n");
	fclose(out);
	assert_string_equal(
	    "a&lt;b&gt;&amp;&quot;&#39;\xef\xbf\xbd\xef\xbf\xbd \xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd "
	    "\xef\xbf\xbd\n",
	    text);
	free(text);
}

// ---- scales -------------------------------------------------------------------------------------------------------

static struct plot_scale scale_of(const char *unit, bool log, double min, double max, bool whole)
{
	struct plot_scale scale;
	struct plot_range range;
	const struct plot_axis axis = {.name = "", .unit = unit, .log = log};
	plot_range_begin(&range);
	plot_range_add(&range, min);
	plot_range_add(&range, max);
	plot_scale_make(&scale, &axis, &range, 6, true, whole);
	return scale;
}

// The labels with blanks between.
static void ticks_are(const char *labels, const struct plot_scale *scale)
{
	char all[PLOT_TICKS_MAX * (PLOT_LABEL + 1)] = "";
	for (size_t i = 0; i < scale->count; i++) {
		strcat(all, i > 0 ? "|" : "");
		strcat(all, scale->ticks[i].label);
	}
	assert_string_equal(labels, all);
}

TEST(a_linear_axis_begins_at_zero_and_has_round_ticks)
{
	struct plot_scale scale = scale_of("", false, 3, 47, true);
	ticks_are("0|10|20|30|40|50", &scale);
	scale = scale_of("%", false, 0.01, 0.93, true);
	ticks_are("0|0.2|0.4|0.6|0.8|1.0", &scale);
	scale = scale_of("", false, -20, 35, true);
	ticks_are("-20|-10|0|10|20|30|40", &scale);
	assert_true(fabs(plot_scale_share(&scale, 10) - 0.5) < 1e-9);
	scale = scale_of("", false, 0, 48e6, true);
	ticks_are("0|10 M|20 M|30 M|40 M|50 M", &scale);
}

TEST(an_axis_is_read_in_the_unit_that_fits)
{
	struct plot_scale scale = scale_of("bytes", false, 0, 3.5 * 0x1p30, true);
	assert_string_equal("GiB", scale.unit);
	ticks_are("0|1|2|3|4", &scale);
	scale = scale_of("us", false, 0, 4200, true);
	assert_string_equal("ms", scale.unit);
	ticks_are("0|1|2|3|4|5", &scale);
}

TEST(a_logarithmic_axis_has_ticks_that_are_even_steps)
{
	struct plot_scale scale = scale_of("", true, 30, 400, true);
	ticks_are("20|50|100|200|500", &scale);
	scale = scale_of("ns", true, 5, 4e6, true);
	ticks_are("100 ns|10 µs|1 ms", &scale);
	scale = scale_of("bytes", true, 4096, 65536, true);
	ticks_are("4 KiB|8 KiB|16 KiB|32 KiB|64 KiB", &scale);
	assert_true(fabs(plot_scale_share(&scale, 16384) - 0.5) < 1e-9);
	assert_true(plot_scale_share(&scale, 1) == 0 && plot_scale_share(&scale, 1e12) == 1);
}

TEST(a_scale_of_nothing_or_of_one_figure_has_a_length)
{
	struct plot_scale scale = scale_of("", false, NAN, NAN, true);
	assert_int_equal(0, scale.count);
	assert_true(scale.high > scale.low);
	scale = scale_of("", true, 7, 7, true);
	assert_true(scale.low <= 7 && 7 <= scale.high && scale.low < scale.high);
	scale = scale_of("", true, 0, 0, true);
	assert_true(scale.zero && plot_scale_share(&scale, 0) == 0);
	scale = scale_of("", false, 5e15, 5e15 + 1, false); // steps that a double can't tell apart
	assert_true(scale.count <= PLOT_TICKS_MAX);
}

// ---- plots --------------------------------------------------------------------------------------------------------

static int write_plot(const struct plot *plot, struct tare_error *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = plot_write(out, plot, err);
	fclose(out);
	assert_true(rc == 0 ? len > 0 : len == 0); // what is refused has written nothing
	free(text);
	return rc;
}

TEST(a_plot_refuses_places_and_figures_that_are_none)
{
	static const double bad[] = {INFINITY, -INFINITY, 1e101};
	double x[] = {1, 2}, y[] = {1, 2};
	struct plot_series series = {.name = "s", .x = x, .y = y, .count = 2};
	struct plot plot = {.title = "t",
			    .kind = PLOT_LINE,
			    .x = {.name = "", .unit = ""},
			    .y = {.name = "", .unit = ""},
			    .series = &series,
			    .series_count = 1};
	struct tare_error err;
	assert_int_equal(0, write_plot(&plot, &err));
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		y[1] = bad[i];
		assert_int_equal(-EINVAL, write_plot(&plot, &err));
		y[1] = 2;
		x[1] = bad[i];
		assert_int_equal(-EINVAL, write_plot(&plot, &err));
		x[1] = 2;
	}
	y[1] = NAN; // a gap
	assert_int_equal(0, write_plot(&plot, &err));
	x[1] = NAN;
	assert_int_equal(-EINVAL, write_plot(&plot, &err));
	assert_non_null(strstr(err.text, "plot 't': series 's': point 1"));
}

TEST(a_bar_of_no_category_and_too_many_series_are_refused)
{
	static const char *const names[] = {"one"};
	static struct plot_series many[PLOT_SERIES_MAX + 1];
	double x[] = {1}, y[] = {1};
	for (size_t i = 0; i < TARE_ARRAY_LEN(many); i++)
		many[i] = (struct plot_series){.name = "s"};
	struct plot plot = {.title = "t",
			    .kind = PLOT_BAR,
			    .x = {.name = "", .unit = ""},
			    .y = {.name = "", .unit = ""},
			    .categories = names,
			    .category_count = 1,
			    .series = many,
			    .series_count = PLOT_SERIES_MAX};
	struct tare_error err;
	assert_int_equal(0, write_plot(&plot, &err));
	plot.series_count++;
	assert_int_equal(-EINVAL, write_plot(&plot, &err));
	plot.series_count = 1;
	many[0] = (struct plot_series){.name = "s", .x = x, .y = y, .count = 1};
	assert_int_equal(-EINVAL, write_plot(&plot, &err));
}
