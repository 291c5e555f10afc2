// SPDX-License-Identifier: MIT
//
// The registry: metrics under their Prometheus names, and the text that a scrape reads.
//
//   registry ── family (name, help, kind) ── metric (labels, where to read it) ── metric …
//                 │
//               family …
//
// Invariants
//   1. A name is one family, so that HELP and TYPE stand once and a name's samples stand together.
//   2. A histogram's buckets, sum and count in one scrape come from one merged state: count equals the +Inf bucket.
//
// Threads: registration belongs to set-up. Writing may run on several threads; scratch_lock guards the one histogram
// that a metric's state is merged into, and is held while fill runs, never while text is written.
//
// Memory: families, metrics and scratch histograms from the heap at registration, freed with the registry. Names, help
// texts and labels stay the caller's.
#include <tare/stat.h>
#include <tare/heap.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("metrics");

enum { BOUNDS_MAX = 64 };

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct metric {
	struct metric *next;
	const char *labels; // "" for none
	const struct tare_counter *counter;
	double (*read)(void *arg);                       // where counter is NULL
	void (*each)(void *arg, struct tare_rows *rows); // where both are
	void *arg;
	// Histograms alone:
	void (*fill)(void *arg, struct tare_hist *into);
	struct tare_hist *scratch; // guarded by the registry's scratch_lock
	double scale;
	int bound_count;
	double bounds[]; // in scaled units, ascending
};

struct family {
	struct family *next;
	const char *name, *help;
	enum kind kind;
	struct metric *first;
	struct metric **end;
};

struct tare_registry {
	struct family *first;
	struct family **end;
	pthread_mutex_t scratch_lock;
};

int tare_registry_new(struct tare_registry **ret)
{
	struct tare_registry *registry = tare_alloc_zeroed(&heap_tag, 1, sizeof *registry);
	if (registry == NULL)
		return -ENOMEM;
	registry->end = &registry->first;
	pthread_mutex_init(&registry->scratch_lock, NULL);
	*ret = registry;
	return 0;
}

static void metric_free(struct metric *metric)
{
	if (metric != NULL)
		tare_hist_free(metric->scratch);
	tare_free(metric);
}

void tare_registry_free(struct tare_registry *registry)
{
	if (registry == NULL)
		return;
	for (struct family *family = registry->first, *next; family != NULL; family = next) {
		for (struct metric *metric = family->first, *after; metric != NULL; metric = after) {
			after = metric->next;
			metric_free(metric);
		}
		next = family->next;
		tare_free(family);
	}
	pthread_mutex_destroy(&registry->scratch_lock);
	tare_free(registry);
}

// ---- registering --------------------------------------------------------------------------------------------------

static size_t name_len(const char *text, bool colon)
{
	size_t i = 0;
	for (;; i++) {
		char c = text[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');
		bool digit = c >= '0' && c <= '9';
		if (!letter && !(digit && i > 0))
			return i;
	}
}

static bool name_is_valid(const char *name, enum kind kind)
{
	size_t len = name_len(name, true);
	bool total = len >= 6 && strcmp(name + len - 6, "_total") == 0;
	return len > 0 && name[len] == '\0' && total == (kind == KIND_COUNTER);
}

// name="value",name="value"; in a value only \\, \" and \n are escapes, and a line end stands for itself nowhere.
static bool labels_are_valid(const char *text)
{
	while (*text != '\0') {
		size_t len = name_len(text, false);
		if (len == 0 || text[len] != '=' || text[len + 1] != '"')
			return false;
		for (text += len + 2; *text != '"'; text++) {
			if (*text == '\0' || *text == '\n')
				return false;
			if (*text == '\\' && (*++text == '\0' || strchr("\\\"n", *text) == NULL))
				return false;
		}
		text++;
		if (*text == ',' && text[1] != '\0')
			text++;
		else if (*text != '\0')
			return false;
	}
	return true;
}

static struct family *family_find(const struct tare_registry *registry, const char *name)
{
	struct family *family = registry->first;
	while (family != NULL && strcmp(family->name, name) != 0)
		family = family->next;
	return family;
}

// The metric becomes the registry's, or is freed.
static int add(struct tare_registry *registry, const char *name, const char *help, enum kind kind,
	       struct metric *metric)
{
	TARE_ASSERT(name_is_valid(name, kind));
	if (metric == NULL)
		return -ENOMEM;
	TARE_ASSERT(labels_are_valid(metric->labels));
	struct family *family = family_find(registry, name);
	if (family == NULL) {
		family = tare_alloc_zeroed(&heap_tag, 1, sizeof *family);
		if (family == NULL) {
			metric_free(metric);
			return -ENOMEM;
		}
		*family = (struct family){.name = name, .help = help, .kind = kind, .end = &family->first};
		*registry->end = family;
		registry->end = &family->next;
	}
	TARE_ASSERT(family->kind == kind);
	for (const struct metric *other = family->first; other != NULL; other = other->next)
		TARE_ASSERT(strcmp(other->labels, metric->labels) != 0);
	*family->end = metric;
	family->end = &metric->next;
	return 0;
}

static struct metric *metric_new(const char *labels, int bound_count)
{
	struct metric *metric =
	    tare_alloc_zeroed(&heap_tag, 1, sizeof *metric + (size_t)bound_count * sizeof metric->bounds[0]);
	if (metric == NULL)
		return NULL;
	metric->labels = labels != NULL ? labels : "";
	metric->bound_count = bound_count;
	return metric;
}

static int add_read(struct tare_registry *registry, const char *name, const char *labels, const char *help,
		    enum kind kind, double (*read)(void *arg), void *arg)
{
	struct metric *metric = metric_new(labels, 0);
	if (metric != NULL) {
		metric->read = read;
		metric->arg = arg;
	}
	return add(registry, name, help, kind, metric);
}

int tare_registry_counter(struct tare_registry *registry, const char *name, const char *labels, const char *help,
			  const struct tare_counter *counter)
{
	struct metric *metric = metric_new(labels, 0);
	if (metric != NULL)
		metric->counter = counter;
	return add(registry, name, help, KIND_COUNTER, metric);
}

int tare_registry_gauge(struct tare_registry *registry, const char *name, const char *labels, const char *help,
			double (*read)(void *arg), void *arg)
{
	return add_read(registry, name, labels, help, KIND_GAUGE, read, arg);
}

int tare_registry_counter_fn(struct tare_registry *registry, const char *name, const char *labels, const char *help,
			     double (*read)(void *arg), void *arg)
{
	return add_read(registry, name, labels, help, KIND_COUNTER, read, arg);
}

int tare_registry_rows(struct tare_registry *registry, const char *name, const char *help, bool counter,
		       void (*each)(void *arg, struct tare_rows *rows), void *arg)
{
	struct metric *metric = metric_new(NULL, 0);
	if (metric != NULL) {
		metric->each = each;
		metric->arg = arg;
	}
	return add(registry, name, help, counter ? KIND_COUNTER : KIND_GAUGE, metric);
}

// 1, 2 and 5 times each power of ten within [first, last], a rounding error to either side allowed.
static int bounds_between(double first, double last, double *ret_bounds)
{
	static const double steps[] = {1, 2, 5};
	int count = 0;
	int last_exponent = (int)floor(log10(last) + 1e-9);
	for (int exponent = (int)floor(log10(first) - 1e-9); exponent <= last_exponent; exponent++) {
		double power = pow(10, abs(exponent));
		for (size_t i = 0; i < TARE_ARRAY_LEN(steps); i++) {
			// Division by an exact power is the closest double, so that it prints as it is written.
			double bound = exponent < 0 ? steps[i] / power : steps[i] * power;
			if (bound < first * (1 - 1e-9) || bound > last * (1 + 1e-9))
				continue;
			TARE_ASSERT(count < BOUNDS_MAX);
			ret_bounds[count++] = bound;
		}
	}
	return count;
}

int tare_registry_hist(struct tare_registry *registry, const char *name, const char *labels, const char *help,
		       double scale, double first, double last, void (*fill)(void *arg, struct tare_hist *into),
		       void *arg, int digits, uint64_t value_max)
{
	TARE_ASSERT(scale > 0 && first > 0 && first <= last && last <= (double)value_max * scale);
	double bounds[BOUNDS_MAX];
	int bound_count = bounds_between(first, last, bounds);
	struct metric *metric = metric_new(labels, bound_count);
	if (metric == NULL)
		return -ENOMEM;
	memcpy(metric->bounds, bounds, (size_t)bound_count * sizeof bounds[0]);
	metric->fill = fill;
	metric->arg = arg;
	metric->scale = scale;
	int rc = tare_hist_new(&metric->scratch, digits, value_max);
	if (rc < 0) {
		metric_free(metric);
		return rc;
	}
	return add(registry, name, help, KIND_HISTOGRAM, metric);
}

// ---- writing ------------------------------------------------------------------------------------------------------

static void put(struct tare_text *text, const char *string)
{
	tare_text_put(text, string, strlen(string));
}

// In help texts a backslash and a line end are escaped, in labels' values a quote too.
static void put_escaped(struct tare_text *text, const char *string, const char *escaped)
{
	while (*string != '\0') {
		size_t len = strcspn(string, escaped);
		tare_text_put(text, string, len);
		string += len;
		if (*string == '\n')
			put(text, "\\n");
		else if (*string != '\0')
			tare_text_printf(text, "\\%c", *string);
		string += *string != '\0';
	}
}

// The shortest of 15 and 17 digits that reads back as the same number.
static void put_double(struct tare_text *text, double value)
{
	if (isnan(value) || isinf(value)) {
		put(text, isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
		return;
	}
	char buf[40];
	snprintf(buf, sizeof buf, "%.15g", value);
	if (strtod(buf, NULL) != value)
		snprintf(buf, sizeof buf, "%.17g", value);
	tare_text_printf(text, "%s\n", buf);
}

// name{labels,extra} and a blank; extra and labels may be empty.
static void put_series(struct tare_text *text, const char *name, const char *suffix, const char *labels,
		       const char *extra)
{
	put(text, name);
	put(text, suffix);
	if (*labels != '\0' || *extra != '\0') {
		put(text, "{");
		put(text, labels);
		if (*labels != '\0' && *extra != '\0')
			put(text, ",");
		put(text, extra);
		put(text, "}");
	}
	put(text, " ");
}

static void write_hist(struct tare_registry *registry, struct tare_text *text, const char *name, struct metric *metric)
{
	uint64_t below[BOUNDS_MAX];
	pthread_mutex_lock(&registry->scratch_lock);
	tare_hist_reset(metric->scratch);
	metric->fill(metric->arg, metric->scratch);
	for (int i = 0; i < metric->bound_count; i++)
		below[i] =
		    tare_hist_count_at_or_below(metric->scratch, (uint64_t)llround(metric->bounds[i] / metric->scale));
	uint64_t count = tare_hist_count(metric->scratch);
	double sum = tare_hist_sum(metric->scratch) * metric->scale;
	pthread_mutex_unlock(&registry->scratch_lock);

	for (int i = 0; i < metric->bound_count; i++) {
		char bound[48];
		snprintf(bound, sizeof bound, "le=\"%.15g\"", metric->bounds[i]);
		put_series(text, name, "_bucket", metric->labels, bound);
		tare_text_printf(text, "%llu\n", (unsigned long long)below[i]);
	}
	put_series(text, name, "_bucket", metric->labels, "le=\"+Inf\"");
	tare_text_printf(text, "%llu\n", (unsigned long long)count);
	put_series(text, name, "_sum", metric->labels, "");
	put_double(text, sum);
	put_series(text, name, "_count", metric->labels, "");
	tare_text_printf(text, "%llu\n", (unsigned long long)count);
}

struct tare_rows {
	struct tare_text *text;
	const char *name;
};

void tare_rows_put(struct tare_rows *rows, const char *label, const char *label_value, double value)
{
	put(rows->text, rows->name);
	put(rows->text, "{");
	put(rows->text, label);
	put(rows->text, "=\"");
	put_escaped(rows->text, label_value, "\\\n\"");
	put(rows->text, "\"} ");
	put_double(rows->text, value);
}

static void write_metric(struct tare_registry *registry, struct tare_text *text, const struct family *family,
			 struct metric *metric)
{
	if (family->kind == KIND_HISTOGRAM) {
		write_hist(registry, text, family->name, metric);
		return;
	}
	if (metric->each != NULL) {
		metric->each(metric->arg, &(struct tare_rows){.text = text, .name = family->name});
		return;
	}
	put_series(text, family->name, "", metric->labels, "");
	if (metric->counter != NULL)
		tare_text_printf(text, "%lld\n", tare_counter_read(metric->counter));
	else
		put_double(text, metric->read(metric->arg));
}

void tare_registry_write(struct tare_registry *registry, struct tare_text *text)
{
	for (const struct family *family = registry->first; family != NULL; family = family->next) {
		put(text, "# HELP ");
		put(text, family->name);
		put(text, " ");
		put_escaped(text, family->help, "\\\n");
		put(text, "\n# TYPE ");
		put(text, family->name);
		put(text, " ");
		put(text, kind_names[family->kind]);
		put(text, "\n");
		for (struct metric *metric = family->first; metric != NULL; metric = metric->next)
			write_metric(registry, text, family, metric);
	}
}
