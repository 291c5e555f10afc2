// SPDX-License-Identifier: MIT
//
// Goal: what a scrape and a plotter read is well formed and says what was recorded.
// Method: the written text is parsed back by a small reader of each format, written from the format's description and
// not from the writer.
#include "test.h"

#include <tare/stat.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct store {
	char text[65536];
	size_t len;
	size_t limit;
};

static int store_write(void *arg, const char *ptr, size_t len)
{
	struct store *store = arg;
	if (len >= store->limit - store->len)
		return -ENOSPC;
	memcpy(store->text + store->len, ptr, len);
	store->len += len;
	store->text[store->len] = '\0';
	return 0;
}

static struct store *store_reset(struct store *store)
{
	store->len = 0;
	store->limit = sizeof store->text;
	store->text[0] = '\0';
	return store;
}

static struct store shared; // too big for a small stack

static const char *registry_text(struct tare_registry *registry)
{
	struct tare_text text = {.write = store_write, .arg = store_reset(&shared)};
	tare_registry_write(registry, &text);
	assert_int_equal(text.rc, 0);
	return shared.text;
}

// ---- a reader of the exposition format ----------------------------------------------------------------------------

// How often the line stands in the text.
static int lines_equal_to(const char *text, const char *line)
{
	int found = 0;
	size_t len = strlen(line);
	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1)
		found += strncmp(at, line, len) == 0 && at[len] == '\n';
	return found;
}

// The value of the series that is written so, exactly once.
static double series(const char *text, const char *name_and_labels)
{
	double value = 0;
	int found = 0;
	size_t len = strlen(name_and_labels);
	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
		if (strncmp(at, name_and_labels, len) != 0 || at[len] != ' ')
			continue;
		char *end;
		value = strtod(at + len + 1, &end);
		assert_int_equal(*end, '\n');
		found++;
	}
	assert_int_equal(found, 1);
	return value;
}

// Each name's HELP, then TYPE, then its samples, all together and once.
static void assert_grouped(const char *text)
{
	char names[64][64];
	size_t count = 0;
	bool typed = true;
	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
		if (strncmp(at, "# HELP ", 7) == 0) {
			assert_true(typed && count < TARE_ARRAY_LEN(names));
			assert_int_equal(sscanf(at + 7, "%63[^ ]", names[count]), 1);
			for (size_t i = 0; i < count; i++)
				assert_string_not_equal(names[i], names[count]);
			count++;
			typed = false;
		} else if (strncmp(at, "# TYPE ", 7) == 0) {
			assert_true(!typed && strncmp(at + 7, names[count - 1], strlen(names[count - 1])) == 0);
			typed = true;
		} else {
			assert_true(typed && count > 0);
			assert_memory_equal(at, names[count - 1], strlen(names[count - 1]));
		}
	}
}

static double read_half(void *arg)
{
	return *(double *)arg / 2;
}

TEST(counters_and_gauges_read_back)
{
	static struct tare_counter hits, misses;
	struct tare_registry *registry = NULL;
	double twice = 3, huge = 2e300, odd = (double)NAN, most = (double)INFINITY, third = 2.0 / 3;
	assert_int_equal(tare_registry_new(&registry), 0);
	const char *const help = "Lookups by result: a \\ and\na line.";
	assert_int_equal(tare_registry_counter(registry, "t_lookups_total", "result=\"hit\"", help, &hits), 0);
	assert_int_equal(tare_registry_gauge(registry, "t_half", NULL, "Half.", read_half, &twice), 0);
	// Registered after another name, written beside its own.
	assert_int_equal(
	    tare_registry_counter(registry, "t_lookups_total", "result=\"mi\\\"ss\",path=\"o,p=t\"", help, &misses), 0);
	assert_int_equal(tare_registry_gauge(registry, "t_huge", "", "Huge.", read_half, &huge), 0);
	assert_int_equal(tare_registry_gauge(registry, "t_odd", NULL, "Odd.", read_half, &odd), 0);
	assert_int_equal(tare_registry_gauge(registry, "t_most", NULL, "Most.", read_half, &most), 0);
	assert_int_equal(tare_registry_counter_fn(registry, "t_third_total", NULL, "Third.", read_half, &third), 0);
	tare_counter_add(&hits, 41);
	tare_counter_add(&hits, 1);
	tare_counter_add(&misses, INT64_C(9007199254740993)); // no double

	const char *text = registry_text(registry);
	assert_grouped(text);
	assert_int_equal(lines_equal_to(text, "# HELP t_lookups_total Lookups by result: a \\\\ and\\na line."), 1);
	assert_int_equal(lines_equal_to(text, "# TYPE t_lookups_total counter"), 1);
	assert_int_equal(lines_equal_to(text, "# TYPE t_half gauge"), 1);
	assert_int_equal(lines_equal_to(text, "t_lookups_total{result=\"hit\"} 42"), 1);
	assert_int_equal(lines_equal_to(text, "t_lookups_total{result=\"mi\\\"ss\",path=\"o,p=t\"} 9007199254740993"),
			 1);
	assert_int_equal(lines_equal_to(text, "t_half 1.5"), 1);
	assert_int_equal(lines_equal_to(text, "t_odd NaN"), 1);
	assert_int_equal(lines_equal_to(text, "t_most +Inf"), 1);
	assert_true(series(text, "t_huge") == 1e300);
	assert_true(series(text, "t_third_total") == third / 2); // to the last bit
	tare_registry_free(registry);
	tare_registry_free(NULL);
}

static void fill_from(void *arg, struct tare_hist *into)
{
	tare_hist_merge(into, arg);
}

static void two_rows(void *arg, struct tare_rows *rows)
{
	tare_rows_put(rows, "pool", "plain", *(const double *)arg);
	tare_rows_put(rows, "pool", "a \"quoted\"\nback\\slash", 2);
}

TEST(rows_are_read_at_each_scrape_and_their_labels_escaped)
{
	struct tare_registry *registry;
	double value = 0.5;
	assert_int_equal(tare_registry_new(&registry), 0);
	assert_int_equal(tare_registry_rows(registry, "things", "Things.", false, two_rows, &value), 0);
	const char *text = registry_text(registry);
	assert_int_equal(lines_equal_to(text, "# TYPE things gauge"), 1);
	assert_int_equal(lines_equal_to(text, "things{pool=\"plain\"} 0.5"), 1);
	assert_int_equal(lines_equal_to(text, "things{pool=\"a \\\"quoted\\\"\\nback\\\\slash\"} 2"), 1);
	value = 7;
	assert_int_equal(lines_equal_to(registry_text(registry), "things{pool=\"plain\"} 7"), 1);
	tare_registry_free(registry);
}

TEST(a_histogram_reads_back_cumulative_and_in_seconds)
{
	struct tare_hist *hist = NULL;
	struct tare_registry *registry = NULL;
	assert_int_equal(tare_hist_new(&hist, 3, 10000000000), 0);
	assert_int_equal(tare_registry_new(&registry), 0);
	assert_int_equal(tare_registry_hist(registry, "t_seconds", "path=\"opt\"", "Time.", 1e-9, 1e-5, 1, fill_from,
					    hist, 3, 10000000000),
			 0);
	tare_hist_record_n(hist, 5000, 10);       // below the first bound
	tare_hist_record_n(hist, 150000, 5);      // between 100 and 200 us
	tare_hist_record_n(hist, 4000000000u, 1); // above the last
	const char *text = NULL;
	for (int scrape = 0; scrape < 2; scrape++) // the second shows that the first left nothing behind
		text = registry_text(registry);
	assert_grouped(text);
	assert_int_equal(lines_equal_to(text, "# TYPE t_seconds histogram"), 1);
	assert_true(series(text, "t_seconds_bucket{path=\"opt\",le=\"1e-05\"}") == 10);
	assert_true(series(text, "t_seconds_bucket{path=\"opt\",le=\"0.0001\"}") == 10);
	assert_true(series(text, "t_seconds_bucket{path=\"opt\",le=\"0.0002\"}") == 15);
	assert_true(series(text, "t_seconds_bucket{path=\"opt\",le=\"1\"}") == 15);
	assert_true(series(text, "t_seconds_bucket{path=\"opt\",le=\"+Inf\"}") == 16);
	assert_true(series(text, "t_seconds_count{path=\"opt\"}") == 16);
	double sum = series(text, "t_seconds_sum{path=\"opt\"}");
	assert_true(fabs(sum - (10 * 5e-6 + 5 * 150e-6 + 4)) < 1e-9);
	double previous_bound = 0, previous = 0;
	int buckets = 0;
	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
		double bound, value;
		if (sscanf(at, "t_seconds_bucket{path=\"opt\",le=\"%lf\"} %lf", &bound, &value) != 2)
			continue;
		assert_true(bound > previous_bound && value >= previous);
		previous_bound = bound;
		previous = value;
		buckets++;
	}
	assert_int_equal(buckets, 3 * 5 + 1 + 1); // 1-2-5 over five decades, their end, and +Inf
	tare_registry_free(registry);
	tare_hist_free(hist);
}

TEST(process_metrics_are_plausible)
{
	struct tare_registry *registry = NULL;
	assert_int_equal(tare_registry_new(&registry), 0);
	assert_int_equal(tare_registry_process(registry), 0);
	const char *text = registry_text(registry);
	assert_grouped(text);
	assert_true(series(text, "process_cpu_seconds_total") > 0);
	assert_true(series(text, "process_resident_memory_bytes") >= 65536);
	assert_true(series(text, "process_virtual_memory_bytes") >= series(text, "process_resident_memory_bytes"));
	assert_true(series(text, "process_threads") >= 1);
	double fds = series(text, "process_open_fds");
	assert_true(fds >= 1 && fds <= series(text, "process_max_fds"));
	double now = (double)time(NULL), start = series(text, "process_start_time_seconds");
	assert_true(start <= now + 2 && start > now - 3600);
	static const char waits[] = "process_context_switches_total{kind=\"voluntary\"}";
	double waited = series(text, waits);
	nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
	assert_true(series(registry_text(registry), waits) > waited);
	int extra[5];
	for (size_t i = 0; i < TARE_ARRAY_LEN(extra); i++)
		assert_true((extra[i] = dup(1)) >= 0);
	assert_true(series(registry_text(registry), "process_open_fds") == fds + 5);
	for (size_t i = 0; i < TARE_ARRAY_LEN(extra); i++)
		close(extra[i]);
	tare_registry_free(registry);
}

TEST(the_first_failed_write_is_kept_and_silences_the_rest)
{
	struct tare_registry *registry = NULL;
	assert_int_equal(tare_registry_new(&registry), 0);
	assert_int_equal(tare_registry_process(registry), 0);
	struct tare_text text = {.write = store_write, .arg = store_reset(&shared)};
	shared.limit = 100;
	tare_registry_write(registry, &text);
	assert_int_equal(text.rc, -ENOSPC);
	size_t len = shared.len;
	tare_text_put(&text, "x", 1); // would fit
	assert_int_equal(shared.len, len);
	tare_registry_free(registry);
}

TEST(a_piece_too_long_is_an_error_and_not_cut)
{
	struct tare_text text = {.write = store_write, .arg = store_reset(&shared)};
	tare_text_printf(&text, "%*d", TARE_TEXT_PIECE_BYTES - 1, 1);
	assert_int_equal(text.rc, 0);
	assert_int_equal(shared.len, TARE_TEXT_PIECE_BYTES - 1);
	tare_text_printf(&text, "%*d", TARE_TEXT_PIECE_BYTES, 1);
	assert_int_equal(text.rc, -EMSGSIZE);
	assert_int_equal(shared.len, TARE_TEXT_PIECE_BYTES - 1);
}

// ---- the percentile distribution ----------------------------------------------------------------------------------

static const char *hgrm_text(const struct tare_hist *hist, double unit)
{
	struct tare_text text = {.write = store_write, .arg = store_reset(&shared)};
	tare_hist_write_hgrm(hist, &text, unit);
	assert_int_equal(text.rc, 0);
	return shared.text;
}

TEST(hgrm_lines_agree_with_the_quantiles)
{
	struct tare_hist *hist = NULL;
	assert_int_equal(tare_hist_new(&hist, 3, 100000000), 0);
	struct tare_rng rng;
	tare_rng_init(&rng, 5);
	for (int i = 0; i < 100000; i++)
		tare_hist_record(hist, (uint64_t)(-log(tare_rng_unit(&rng)) * 1e6));
	const char *at = hgrm_text(hist, 1000);
	static const char head[] = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
	assert_memory_equal(at, head, sizeof head - 1);
	double value, level, inverse, previous = -1;
	unsigned long long seen, seen_last = 0;
	int lines = 0;
	for (at += sizeof head - 1; sscanf(at, "%lf %lf %llu %lf\n", &value, &level, &seen, &inverse) == 4;
	     at = strchr(at, '\n') + 1) {
		assert_true(level > previous && level <= 1);
		// The column shows twelve places of the level: count from the value and not from the level.
		uint64_t ns = (uint64_t)llround(value * 1000);
		assert_int_equal(tare_hist_count_at_or_below(hist, ns), seen);
		assert_true((double)seen >= level * 1e5 - 1e-6 * 1e5);
		if (level < 0.9999)
			assert_int_equal(tare_hist_quantile(hist, level), ns);
		assert_true(isinf(inverse) ? level == 1 : fabs(inverse * (1 - level) - 1) < 0.01);
		previous = level;
		seen_last = seen;
		lines++;
	}
	assert_true(previous == 1 && seen_last == 100000);
	assert_true(lines > 5 * 10 && lines < 5 * 25);
	double mean, stddev, max;
	unsigned long long total;
	int buckets, sub_buckets;
	assert_int_equal(sscanf(at,
				"#[Mean = %lf, StdDeviation = %lf]\n#[Max = %lf, Total count = %llu]\n"
				"#[Buckets = %d, SubBuckets = %d]\n",
				&mean, &stddev, &max, &total, &buckets, &sub_buckets),
			 6);
	assert_true(fabs(mean - tare_hist_mean(hist) / 1000) < 0.001 && fabs(stddev - 1000) < 20);
	assert_true(fabs(max * 1000 - (double)tare_hist_max(hist)) < 1);
	assert_int_equal(total, 100000);
	assert_int_equal(sub_buckets, 2048);
	assert_int_equal(buckets, 17); // 2^11 … 2^27 > 100,000,000
	tare_hist_free(hist);
}

TEST(hgrm_of_few_or_no_values_ends)
{
	struct tare_hist *hist = NULL;
	assert_int_equal(tare_hist_new(&hist, 2, 1000000), 0);
	assert_null(strstr(hgrm_text(hist, 1), "inf"));
	assert_non_null(strstr(shared.text, "Total count    =            0]"));
	tare_hist_record(hist, 1);
	assert_non_null(strstr(hgrm_text(hist, 1), "1.000 0.000000000000          1           1.00\n"));
	assert_non_null(strstr(shared.text, "1.000 1.000000000000          1            inf\n"));
	tare_hist_record_n(hist, 100, UINT64_C(1000000000000));
	assert_non_null(strstr(hgrm_text(hist, 1), "100.000 1.000000000000 1000000000001            inf\n"));
	tare_hist_free(hist);
}
