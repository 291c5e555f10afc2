// SPDX-License-Identifier: MIT
// What the figures are called, and how they come from two samples of a service and the generator's report.
//
// Figures that a service counts are differences of two samples over the requests that it answered between them. Pauses
// are differences too, bucket by bucket: both peers tell theirs as a histogram; a quantile is the upper edge of its
// bucket. Those of the whole life, its start included, stand beside them. The collector's CPU share is of the CPU time
// that the service could have had, not of what it used: idle services would look bad otherwise. It holds all that the
// collector did, also what it did while nothing else was to do. What a service does not tell is no figure, never 0.
#include "cmd/lab/lab.h"
#include "cmd/page.h"

#include <math.h>
#include <stdlib.h>

static const struct lab_figure figures[] = {
    {"rate", "rate", "req/s", 1, 0},
    {"missed", "not answered", "%", 100, 1},
    {"p50_us", "p50", "us", 1, 0},
    {"p99_us", "p99", "us", 1, 0},
    {"p999_us", "p99.9", "us", 1, 0},
    {"cpu_us_per_request", "CPU a request", "us", 1, 2},
    {"gc_cpu_share", "GC CPU, of one core", "%", 100, 2},
    {"gc_us_per_request", "GC CPU a request", "us", 1, 2},
    {"allocs_per_request", "allocations a request", "", 1, 2},
    {"bytes_per_request", "bytes a request", "B", 1, 0},
    {"pause_p99_us", "pause p99", "us", 1, 1},
    {"pause_max_us", "longest pause", "us", 1, 1},
    {"pause_life_p99_us", "pause p99 since the start", "us", 1, 1},
    {"pause_life_max_us", "longest pause since the start", "us", 1, 1},
    {"wait_p99_us", "time to safepoint p99, since the start", "us", 1, 1},
    {"rss_bytes", "resident", "MiB", 1.0 / (1 << 20), 1},
    {"anon_bytes", "resident, not of files", "MiB", 1.0 / (1 << 20), 1},
    {"peak_bytes", "resident at most", "MiB", 1.0 / (1 << 20), 1},
    {"live_heap_bytes", "heap in use", "MiB", 1.0 / (1 << 20), 1},
    {"gc_cycles", "collections", "", 1, 0},
    {"mark_ms", "last mark", "ms", 1, 2},
    {"cycles_per_s", "collections a second", "", 1, 2},
    {"trace_cycles", "collections in the trace", "", 1, 0},
    {"trace_mark_ms", "longest mark in the trace", "ms", 1, 3},
    {"trace_pause_ms_per_s", "pauses in the trace", "ms/s", 1, 3},
    {"trace_pause_max_ms", "longest pause in the trace", "ms", 1, 3},
    {"lateness_p99_us", "generator's lateness p99", "us", 1, 0},
    {"limit_bytes", "memory limit", "MiB", 1.0 / (1 << 20), 1},
    {"live_of_limit", "live, of the limit", "%", 100, 1},
    {"anon_of_limit", "resident, not of files, of the limit", "%", 100, 1},
    {"rate_max", "highest rate that holds", "req/s", 1, 0},
};

const struct lab_figure *lab_figure(const char *key)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(figures); i++)
		if (strcmp(figures[i].key, key) == 0)
			return &figures[i];
	return NULL;
}

// ---- of one window ------------------------------------------------------------------------------------------------

// The number at a path of keys, or NAN.
static double at(const json_t *json, const char *key, const char *inner)
{
	const json_t *value = json_object_get(json, key);
	if (inner != NULL)
		value = json_object_get(value, inner);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

static double or_zero(double value)
{
	return isnan(value) ? 0 : value;
}

// Objects made on both heaps and, where they are counted, the libraries' own heap calls.
static double allocs_of(const json_t *allocs)
{
	double process = at(allocs, "process_heap", "allocs"), made = at(allocs, "gc", "objects_made");
	return isnan(process) ? at(allocs, "heap_allocs", NULL) : process + or_zero(made); // without a collector: none
}

static void set(json_t *object, const char *key, double value)
{
	if (isfinite(value))
		json_object_set_new(object, key, json_real(value));
}

double lab_kept_bytes(const struct lab_sample *sample)
{
	double idle = at(sample->allocs, "gc", "idle_bytes"), used = at(sample->allocs, "memory", "used");
	if (isnan(used)) // Go's
		return at(sample->allocs, "gc", "mapped_bytes") - idle;
	// That is of the last look; the kernel's own count is of now. Of two readings, one of them too early, the
	// larger one.
	return fmax(used, sample->anon_bytes) - idle;
}

static void of_load(json_t *figure, const json_t *load)
{
	double due = at(load, "rate_offered", NULL) * at(load, "duration_s", NULL);
	const json_t *status = json_object_get(load, "status");
	double good =
	    json_is_object(status) ? or_zero(at(status, "200", NULL)) : NAN; // a status nobody got is not there
	set(figure, "rate", at(load, "rate_achieved", NULL));
	if (due > 0)
		set(figure, "missed", good >= due ? 0 : 1 - good / due);
	set(figure, "errors", at(load, "errors", NULL));
	set(figure, "kept_bytes", at(load, "kept_bytes", NULL));
	if (!(good > 0)) // refusals are quick
		return;
	set(figure, "p50_us", at(load, "latency_ns", "p50") / 1e3);
	set(figure, "p99_us", at(load, "latency_ns", "p99") / 1e3);
	set(figure, "p999_us", at(load, "latency_ns", "p999") / 1e3);
	set(figure, "service_p99_us", at(load, "service_ns", "p99") / 1e3);
	set(figure, "lateness_p99_us", at(load, "lateness_ns", "p99") / 1e3);
}

// ---- pauses -------------------------------------------------------------------------------------------------------

static double bucket(const json_t *buckets, size_t i, size_t of)
{
	return json_number_value(json_array_get(json_array_get(buckets, i), of));
}

static double count_at(const json_t *buckets, double upper_s)
{
	for (size_t i = 0; i < json_array_size(buckets); i++)
		if (bucket(buckets, i, 1) == upper_s)
			return bucket(buckets, i, 2);
	return 0;
}

// [upper edge in seconds, count] of what is in b and not in a; NULL where either has no histogram.
static json_t *pauses_between(const json_t *a, const json_t *b)
{
	a = json_object_get(json_object_get(a, "pauses"), "buckets");
	b = json_object_get(json_object_get(b, "pauses"), "buckets");
	if (!json_is_array(a) || !json_is_array(b))
		return NULL;
	json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(b); i++) {
		double upper_s = bucket(b, i, 1), count = bucket(b, i, 2) - count_at(a, upper_s);
		if (count > 0)
			json_array_append_new(list, json_pack("[f, f]", upper_s, count));
	}
	return list;
}

// The least upper edge at or below which that part of them lies, in seconds; NAN: there are none.
static double pauses_quantile(const json_t *list, double part)
{
	double all = 0, found = NAN;
	for (size_t i = 0; i < json_array_size(list); i++)
		all += bucket(list, i, 1);
	for (size_t i = 0; i < json_array_size(list); i++) {
		double upper_s = bucket(list, i, 0), below = 0;
		for (size_t k = 0; k < json_array_size(list); k++)
			below += bucket(list, k, 0) <= upper_s ? bucket(list, k, 1) : 0;
		if (below >= part * all)
			found = fmin(found, upper_s); // of a NAN and a number it is the number
	}
	return found;
}

static void set_pauses(json_t *figure, const json_t *list)
{
	set(figure, "pause_p99_us", pauses_quantile(list, 0.99) * 1e6);
	set(figure, "pause_max_us", pauses_quantile(list, 1) * 1e6);
}

static void of_collector(json_t *figure, const json_t *a, const json_t *b)
{
	json_t *pauses = pauses_between(a, b);
	set(figure, "gc_cycles", at(b, "gc_cycles", NULL) - at(a, "gc_cycles", NULL));
	if (at(b, "gc_cycles", NULL) > 0) { // else there was none, which is not one of 0
		set(figure, "pause_life_p99_us", at(b, "pause_p99_ms", NULL) * 1e3);
		set(figure, "pause_life_max_us", at(b, "pauses_max_ms", NULL) * 1e3);
	}
	set(figure, "wait_p99_us", at(b, "gc", "wait_p99_ms") * 1e3);
	set(figure, "mark_ms", at(b, "gc", "last_mark_seconds") * 1e3);
	set(figure, "marked_bytes", at(b, "gc", "marked_bytes"));
	set(figure, "mapped_bytes", at(b, "gc", "mapped_bytes"));
	set_pauses(figure, pauses);
	if (pauses != NULL)
		json_object_set_new(figure, "pauses", pauses);
}

// Both peers tell the collector's CPU time by the clock, so that on a CPU that others have meanwhile it is too much.
// What comes to more than all that the process had is no figure.
static void of_collectors_cpu(json_t *figure, double gc_s, double cpu_s, double available_s, double requests)
{
	if (gc_s > cpu_s) {
		set(figure, "gc_cpu_over", 1);
		return;
	}
	set(figure, "gc_cpu_share", gc_s / available_s);
	if (requests > 0)
		set(figure, "gc_us_per_request", gc_s * 1e6 / requests);
}

// ---- a window -----------------------------------------------------------------------------------------------------

json_t *lab_figures(const struct lab_sample *before, const struct lab_sample *after, const json_t *load, int workers)
{
	json_t *figure = json_object();
	const json_t *a = before->allocs, *b = after->allocs;
	double requests = at(b, "requests", NULL) - at(a, "requests", NULL);
	double gc_s = at(b, "gc_cpu_seconds", NULL) - at(a, "gc_cpu_seconds", NULL);
	double wall_s = (double)(after->at_ns - before->at_ns) / 1e9, busy_s = at(load, "busy_s", NULL);
	wall_s = fmin(wall_s, busy_s); // the generator's own start is no time of the service's; NAN: not known
	if (load != NULL)
		of_load(figure, load);
	if (requests > 0) {
		set(figure, "cpu_us_per_request", (after->cpu_s - before->cpu_s) * 1e6 / requests);
		set(figure, "allocs_per_request", (allocs_of(b) - allocs_of(a)) / requests);
		set(figure, "bytes_per_request", (at(b, "total_alloc", NULL) - at(a, "total_alloc", NULL)) / requests);
	}
	of_collector(figure, a, b);
	of_collectors_cpu(figure, gc_s, after->cpu_s - before->cpu_s, wall_s * workers, requests);
	set(figure, "cycles_per_s", at(figure, "gc_cycles", NULL) / wall_s);
	set(figure, "live_heap_bytes", at(b, "live_heap", NULL));
	set(figure, "rss_bytes", after->rss_bytes);
	set(figure, "anon_bytes", after->anon_bytes);
	set(figure, "peak_bytes", after->peak_bytes);
	return figure;
}

// ---- of all windows -----------------------------------------------------------------------------------------------

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

bool lab_is_sum(const char *key)
{
	return strcmp(key, "gc_cycles") == 0 || strcmp(key, "errors") == 0;
}

// What most windows may have none of, and one much: a collection's work, requests without an answer. The middle of them
// would be 0. Windows are equally long, so that their mean is the figure of all of them.
static bool is_mean(const char *key)
{
	return strcmp(key, "gc_cpu_share") == 0 || strcmp(key, "gc_us_per_request") == 0 ||
	       strcmp(key, "cycles_per_s") == 0 || strcmp(key, "missed") == 0;
}

// What is the largest of a process's life is the largest of all of them.
static bool is_most(const char *key)
{
	return strcmp(key, "peak_bytes") == 0 || strcmp(key, "pause_life_max_us") == 0;
}

static void merge_key(const json_t *windows, const char *key, json_t *merged, json_t *spread)
{
	double values[LAB_WINDOWS_MAX], sum = 0;
	const json_t *window;
	size_t n = 0, i;
	json_array_foreach(windows, i, window)
	{
		double value = at(window, key, NULL);
		if (isnan(value) || n == TARE_ARRAY_LEN(values))
			continue;
		values[n++] = value;
		sum += value;
	}
	qsort(values, n, sizeof values[0], compare);
	double middle = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
	if (is_mean(key))
		middle = sum / (double)n;
	if (is_most(key) && n > 0)
		middle = values[n - 1];
	set(merged, key, lab_is_sum(key) ? sum : middle);
	bool is_middle = !is_mean(key) && !is_most(key) && !lab_is_sum(key);
	size_t cut = is_middle && n > 1 ? (n - 1) / 4 : 0;
	double range = n > 1 ? values[n - 1 - cut] - values[cut] : 0;
	if (n > 1 && (middle > 0 || range == 0))
		set(spread, key, middle > 0 ? range / middle : 0);
}

void lab_figures_merge(json_t *result, const json_t *windows)
{
	json_t *merged = json_object(), *spread = json_object(), *pauses = json_array(), *value;
	const json_t *window;
	const char *key;
	size_t i;
	json_array_foreach(windows, i, window)
	{
		// A window without a collection has fewer figures than others.
		json_object_foreach((json_t *)window, key,
				    value) if (json_is_number(value) && json_object_get(merged, key) == NULL)
		    merge_key(windows, key, merged, spread);
		json_array_extend(pauses, json_object_get(window, "pauses"));
	}
	set_pauses(merged, pauses);
	json_decref(pauses);
	json_object_set_new(result, "figures", merged);
	json_object_set_new(result, "spread", spread);
}

double lab_figure_of(const json_t *result, const char *key)
{
	return at(json_object_get(result, "figures"), key, NULL);
}

double lab_spread_of(const json_t *result, const char *key)
{
	return or_zero(at(json_object_get(result, "spread"), key, NULL));
}

bool lab_spread_known(const json_t *result, const char *key)
{
	return json_is_number(json_object_get(json_object_get(result, "spread"), key));
}

// A percentile of a histogram is its bucket's upper edge, up to a quarter too much: less than that apart may be the
// same.
static bool is_of_buckets(const char *key)
{
	return strncmp(key, "pause_", 6) == 0 || strncmp(key, "wait_", 5) == 0;
}

double lab_noise_of(const json_t *result, const char *key)
{
	double spread = lab_spread_of(result, key);
	return fmax(spread, is_of_buckets(key) ? 0.25 : 0) * fabs(lab_figure_of(result, key));
}

// A probe's figures end with their unit.
static const char *unit_of(const char *key)
{
	static const char *const units[][2] = {{"_ns", " ns"},   {"_us", " us"},     {"_ms", " ms"},
					       {"_bytes", " B"}, {"_percent", " %"}, {"_per_second", " /s"}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(units); i++) {
		size_t len = strlen(key), suffix = strlen(units[i][0]);
		if (len > suffix && strcmp(key + len - suffix, units[i][0]) == 0)
			return units[i][1];
	}
	return "";
}

void lab_figure_text(char *out, size_t cap, const char *key, double value)
{
	const struct lab_figure *figure = lab_figure(key);
	char bytes[PAGE_FIGURE];
	if (figure == NULL && strcmp(unit_of(key), " B") == 0)
		snprintf(out, cap, "%s", page_figure(bytes, value, "B"));
	else if (figure == NULL)
		snprintf(out, cap, "%.4g%s", value, unit_of(key));
	else
		snprintf(out, cap, "%.*f%s%s", figure->digits, value * figure->scale,
			 figure->unit[0] != '\0' ? " " : "", figure->unit);
}

// ---- the trace ----------------------------------------------------------------------------------------------------

// "gc 5 @0.312s 2%: 0.018+1.2+0.003 ms clock, …": the first and the last of the three are pauses.
void lab_trace_read(const char *path, long from, double seconds, json_t *into)
{
	char line[1024];
	double cycles = 0, pause_ms = 0, longest_ms = 0, mark_ms = 0;
	FILE *file = fopen(path, "re");
	if (file != NULL && fseek(file, from, SEEK_SET) < 0) {
		(void)fclose(file);
		return;
	}
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		int number;
		double start_s, begin, mark, end;
		if (sscanf(line, "gc %d @%lfs %*d%%: %lf+%lf+%lf ms clock", &number, &start_s, &begin, &mark, &end) !=
		    5)
			continue;
		cycles++;
		pause_ms += begin + end;
		longest_ms = fmax(longest_ms, fmax(begin, end));
		mark_ms = fmax(mark_ms, mark);
	}
	if (file == NULL)
		return;
	(void)fclose(file);
	set(into, "trace_cycles", cycles);
	set(into, "trace_pause_ms_per_s", pause_ms / seconds);
	set(into, "trace_pause_max_ms", longest_ms);
	if (cycles > 0)
		set(into, "trace_mark_ms", mark_ms);
}
