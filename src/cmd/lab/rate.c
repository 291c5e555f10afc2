// SPDX-License-Identifier: MIT
// The highest rate that a service holds: by bisection between the least that is worth a name and the one that is
// wanted.
//
// A rate holds when 99 of 100 requests are answered with 200, none with an error, and p99 is within 25 ms. The
// generator's lateness is part of that latency: where it was late and the rate holds, it holds all the more. A rate
// that does not hold is tried once more, because a neighbour's burst looks the same, and the least of them again in the
// end.
//
// Where two peers are compared, both get the same rate: the wanted one if both hold it, else four fifths of the lower
// maximum, since at the very edge latency says more of the edge than of the service. Where one of them holds none, not
// even the least, there is nothing to compare.
#include "cmd/lab/lab.h"

#include <errno.h>
#include <math.h>

enum { STEPS = 7, STEPS_QUICK = 4, TRIES = 3 };

#define RATE_LEAST 500.0
#define P99_MOST_NS 25e6
#define SHARE 0.8
#define CLOSE 1.03 // two rates that far apart are one: nothing is tried between them
#define SHORTEST_NS (300 * TARE_NS_PER_MS)

struct search {
	struct lab *lab;
	const struct lab_service *service;
	json_t *points;
	bool limited; // the generator, when the rate that was tried last did not hold
	int failed;   // loads, that were tried again
};

// A generator that fails once says nothing of a rate: all that is compared at a rate hangs on this search.
static int drive(struct search *s, double rate, json_t **ret, struct tare_error *err)
{
	const struct lab_drive load = {.rate = rate,
				       .connections = lab_connections(LAB_SEARCH),
				       .duration_ns = TARE_MAX(s->lab->window_ns / 2, SHORTEST_NS)};
	int rc = lab_service_load(s->lab, s->service, &load, ret, err);
	for (int i = 1; i < TRIES && rc < 0 && rc != -EINTR && lab_interrupted == 0; i++, s->failed++)
		rc = lab_service_load(s->lab, s->service, &load, ret, err);
	return rc;
}

// 1: it holds; 0: not; a negative errno.
static int holds_once(struct search *s, double rate, struct tare_error *err)
{
	json_t *load;
	int rc = drive(s, rate, &load, err);
	if (rc < 0)
		return rc;
	double due = rate * json_number_value(json_object_get(load, "duration_s"));
	double good = json_number_value(json_object_get(json_object_get(load, "status"), "200"));
	double p99 = json_number_value(json_object_get(json_object_get(load, "latency_ns"), "p99"));
	bool limited = json_is_true(json_object_get(load, "generator_limited"));
	bool holds = good >= (1 - LAB_MISSED_MOST) * due && json_integer_value(json_object_get(load, "errors")) == 0 &&
		     p99 <= P99_MOST_NS;
	s->limited = limited && !holds;
	json_array_append_new(s->points, json_pack("[f, f]", rate, p99 / 1e3));
	json_decref(load);
	return holds;
}

// Where the generator was late as well, once more again: that says less of the service.
static int holds(struct search *s, double rate, struct tare_error *err)
{
	int rc = 0;
	for (int i = 0; rc == 0 && (i < 2 || (i < TRIES && s->limited)); i++)
		rc = holds_once(s, rate, err);
	return rc;
}

// Between the highest rate that holds and the least that doesn't, as far as anybody knows.
struct bounds {
	double low, high;
	bool limited; // the generator, at `high`
};

static int bisect(struct search *s, struct bounds *b, struct tare_error *err)
{
	int rc = 0;
	for (int i = 0; rc >= 0 && b->high > CLOSE * b->low && i < (s->lab->quick ? STEPS_QUICK : STEPS); i++) {
		double middle = floor(sqrt(b->low * b->high));
		rc = holds(s, middle, err);
		if (rc == 1)
			b->low = middle;
		else
			*b = (struct bounds){b->low, middle, s->limited};
	}
	return rc;
}

// A burst that outlasts the tries at one rate would hide all that is above it: so the least rate that did not hold is
// tried again in the end, and where it does hold now, the search goes on from there.
static int search_between(struct search *s, struct bounds *b, struct tare_error *err)
{
	const struct bounds first = *b;
	int rc = bisect(s, b, err);
	for (int i = 0; i < TRIES && rc >= 0 && b->low < b->high && (rc = holds(s, b->high, err)) == 1; i++) {
		*b = (struct bounds){b->high, first.high, first.limited};
		rc = bisect(s, b, err);
	}
	return rc;
}

int lab_rate_search(struct lab *lab, const struct lab_service *service, json_t *result, struct tare_error *err)
{
	struct search s = {.lab = lab, .service = service, .points = json_array()};
	struct bounds b = {RATE_LEAST, lab->high_wanted, false};
	int rc = holds(&s, b.high, err);
	b.limited = s.limited;
	if (rc == 1)
		b.low = b.high;
	// Where not even the least holds, all that is compared at a rate is lost: it has as many tries again.
	if (rc == 0 && (rc = holds(&s, b.low, err)) == 0 && (rc = holds(&s, b.low, err)) == 0)
		rc = tare_error_set(err, -ERANGE, "it does not hold even %.0f requests a second", b.low);
	if (rc >= 0 && b.low < b.high)
		rc = search_between(&s, &b, err);
	json_object_set_new(result, "points", s.points);
	if (rc < 0)
		return rc;
	json_object_set_new(json_object_get(result, "figures"), "rate_max", json_real(b.low));
	if (s.failed > 0)
		json_array_append_new(json_object_get(result, "notes"),
				      json_sprintf("%d loads failed and were tried again", s.failed));
	if (b.limited && b.low < lab->high_wanted) {
		json_object_set_new(result, "generator_limited", json_true());
		json_array_append_new(
		    json_object_get(result, "notes"),
		    json_string("the generator was late at the least rate that did not hold: its CPU, "
				"not the service alone, may have set this maximum"));
	}
	return 0;
}

// NAN: it was left out.
static int search_of(struct lab *lab, const char *name, double *ret)
{
	const struct lab_page *page = &lab_stages[2];
	const char *why;
	for (size_t i = 0; i < page->run_count; i++) {
		if (strcmp(page->runs[i].name, name) != 0)
			continue;
		int rc = lab_run_do(lab, page, &page->runs[i]);
		*ret = rc < 0 ? NAN : lab_figure_of(lab_result(lab, page, name), "rate_max");
		why = json_string_value(json_object_get(lab_result(lab, page, name), "skipped"));
		if (why != NULL)
			snprintf(lab->rate_why, sizeof lab->rate_why, "there is no rate to compare at: %s: %.300s",
				 name, why);
		return rc;
	}
	return tare_error_set(NULL, -ENOENT, "%s", name);
}

// What both hold; NAN: one of them does not hold any, though it is there.
static int common_rate(struct lab *lab, bool naive, double *ret)
{
	double ours = NAN, theirs = NAN;
	int rc = search_of(lab, naive ? "tare-gc-naive-max" : "tare-gc-opt-max", &ours);
	if (rc == 0 && !isnan(ours))
		rc = search_of(lab, naive ? "go-gc-naive-max" : "go-gc-opt-max", &theirs);
	if (rc < 0)
		return rc;
	double least = lab->go_svc[0] == '\0' ? ours : ours < theirs ? ours : theirs;
	if (isnan(ours) || isnan(least))
		*ret = NAN;
	else
		*ret = least >= lab->high_wanted ? lab->high_wanted : floor(SHARE * least / 100) * 100;
	return 0;
}

int lab_rate(struct lab *lab, enum lab_load load, double *ret)
{
	if (load == LAB_LOW)
		lab->rates[load] = 500;
	if (lab->rate_given > 0 && load != LAB_LOW)
		lab->rates[load] = (double)lab->rate_given;
	if (lab->rates[load] == 0 && load != LAB_SEARCH) {
		int rc = common_rate(lab, load == LAB_HIGH_NAIVE, &lab->rates[load]);
		if (rc < 0)
			return rc;
	}
	*ret = load == LAB_SEARCH ? lab->high_wanted : lab->rates[load];
	return 0;
}
