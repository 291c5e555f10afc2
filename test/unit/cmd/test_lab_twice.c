// SPDX-License-Identifier: MIT
// Goal: what the same run is apart at two times of a laboratory is told of those that have the same hash, of figures
// that are judged of both, and of the pair that is furthest apart; without such a pair there is no page.
// Method: runs of the plan, made by hand.
#include "test.h"

#include "cmd/lab/lab.h"

static void put(json_t *results, const char *name, const char *hash, double p99_us, double cpu_us, double spread)
{
	json_object_set_new(results, name,
			    json_pack("{s:s, s:s, s:{s:f, s:f}, s:{s:f, s:f}}", "name", name, "hash", hash, "figures",
				      "p99_us", p99_us, "cpu_us_per_request", cpu_us, "spread", "p99_us", spread,
				      "cpu_us_per_request", spread));
}

// The first sentence that begins so, or NULL.
static const char *learnt(const json_t *page, const char *begin)
{
	const json_t *list = json_object_get(page, "learnt");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (strncmp(text, begin, strlen(begin)) == 0)
			return text;
	}
	return NULL;
}

TEST(the_pair_that_is_furthest_apart_is_told)
{
	json_t *results = json_object();
	put(results, "stage-2.go-gc-naive", "a", 100, 9, 0.125);
	put(results, "experiment-9.go-on", "a", 125, 10, 0.25);
	put(results, "stage-2.tare-gc-naive", "b", 100, 8, 0.5);
	put(results, "experiment-9.tare-on", "b", 100, 10, 0.5);
	put(results, "stage-2.tare-opt", "c", 900, 90, 0.75); // was measured once
	assert_true(lab_twice_apart(results, "p99_us") == 0.2);
	assert_true(lab_twice_apart(results, "cpu_us_per_request") == 0.2);
	assert_true(lab_twice_apart(results, "p50_us") == 0);
	json_t *page = lab_twice_page(results);
	assert_non_null(page);
	const json_t *rows = json_object_get(json_array_get(json_object_get(page, "tables"), 0), "rows");
	assert_int_equal(json_array_size(rows), 4); // side by side, in the plan's order
	static const char *const names[] = {"stage-2.tare-gc-naive", "experiment-9.tare-on", "stage-2.go-gc-naive",
					    "experiment-9.go-on"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		bool found = false;
		for (size_t k = i % 2; k < 4; k += 2)
			found |=
			    strcmp(json_string_value(json_object_get(json_array_get(rows, k), "run")), names[i]) == 0;
		assert_true(found);
	}
	assert_string_equal(
	    learnt(page, "p99 "),
	    "p99 of the same run is up to 20 % apart from one time to another, where its windows of one "
	    "time are within 50 %.");
	assert_null(learnt(page, "p50 "));
	json_decref(page);
	json_decref(results);
}

TEST(what_is_not_judged_of_one_is_not_compared)
{
	json_t *results = json_object();
	put(results, "stage-2.go-gc-naive", "a", 100, 9, 0.1);
	put(results, "experiment-9.go-on", "a", 900, 10, 0.1);
	json_object_set_new(json_object_get(results, "experiment-9.go-on"), "noisy", json_true());
	json_t *page = lab_twice_page(results);
	assert_true(lab_twice_apart(results, "p99_us") == 0);
	assert_null(learnt(page, "p99 "));
	assert_non_null(learnt(page, "CPU a request "));
	json_decref(page);
	json_decref(results);
}

TEST(without_a_run_that_was_measured_twice_there_is_no_page)
{
	json_t *results = json_object();
	assert_null(lab_twice_page(results));
	put(results, "stage-2.go-gc-naive", "a", 100, 9, 0.1);
	put(results, "experiment-9.go-on", "b", 100, 9, 0.1);
	assert_null(lab_twice_page(results));
	json_object_set_new(json_object_get(results, "experiment-9.go-on"), "hash", json_string("a"));
	json_object_set_new(json_object_get(results, "experiment-9.go-on"), "skipped", json_string("no time"));
	assert_null(lab_twice_page(results));
	json_decref(results);
}
