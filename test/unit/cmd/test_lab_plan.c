// SPDX-License-Identifier: MIT
// The laboratory's plan, which is data: everything it names is there. And the arithmetic of figures, by hand-made
// samples.
#include "test.h"

#include "cmd/lab/lab.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const struct lab_run *run_named(const struct lab_page *page, const char *name)
{
	for (size_t i = 0; name != NULL && i < page->run_count; i++)
		if (strcmp(page->runs[i].name, name) == 0)
			return &page->runs[i];
	return NULL;
}

TEST(there_are_four_stages_ten_experiments_and_the_stretch_pages)
{
	const struct lab_page *page;
	bool stages[4] = {false}, experiments[11] = {false};
	size_t count = 0;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++, count++) {
		assert_true(page->run_count > 0 && page->next[0] != NULL);
		if (page->stage >= 0)
			stages[page->stage] = true;
		if (page->experiment >= 0)
			experiments[page->experiment] = true;
	}
	for (int i = 0; i < 4; i++)
		assert_true(stages[i]);
	for (int i = 1; i <= 10; i++)
		assert_true(experiments[i]);
	assert_int_equal(count, 4 + 10 + 5);
}

TEST(runs_of_a_page_have_names_of_their_own_that_tell_the_peer)
{
	const struct lab_page *page;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			const struct lab_run *run = &page->runs[k];
			bool go = run->peer == LAB_GO || run->peer == LAB_GO_PROBE;
			assert_ptr_equal(run_named(page, run->name), run);
			assert_memory_equal(run->name, go ? "go-" : "tare-", go ? 3 : 5);
			assert_true(strlen(page->id) + strlen(run->name) + 2 < LAB_NAME);
		}
	}
}

TEST(a_limit_is_a_share_of_a_run_of_the_same_peer_that_comes_first)
{
	const struct lab_page *page;
	size_t limits = 0;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			const struct lab_run *run = &page->runs[k], *base = run_named(page, run->base);
			assert_true((strstr(run->knobs, "{limit:") != NULL) == (run->base != NULL));
			if (run->base == NULL)
				continue;
			limits++;
			assert_true(base != NULL && base < run && base->peer == run->peer && base->size == run->size &&
				    base->load == run->load && base->collect);
		}
	}
	assert_true(limits >= 8);
}

TEST(what_is_judged_compared_and_plotted_is_there)
{
	const struct lab_page *page;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->criterion_count; k++) {
			const struct lab_criterion *c = &page->criteria[k];
			const struct lab_run *run = run_named(page, c->run);
			assert_non_null(run);
			assert_true(c->less == NULL || run_named(page, c->less) != NULL);
			assert_true(lab_is_probe(run) || lab_figure(c->key) != NULL);
			assert_in_range(c->acceptance, 0, LAB_ACCEPTANCE - 1);
			// Only what shows what there is to show is judged of allocations: the libraries' are heap calls
			// too.
			if (strcmp(c->key, "allocs_per_request") == 0 && page->stage == 0)
				assert_true(run->counted);
			// A percentile of pauses of nothing is none.
			if (strcmp(c->key, "pause_p99_us") == 0 && run->load == LAB_LOW)
				assert_true(run->collect);
			if (strcmp(c->key, "gc_cpu_share") == 0)
				assert_false(run->collect);
		}
		for (size_t k = 0; k < page->lesson_count; k++) {
			const struct lab_lesson *lesson = &page->lessons[k];
			const struct lab_run *run = run_named(page, lesson->kind == LAB_WITHIN ? lesson->b : lesson->a);
			if (lesson->kind == LAB_COMPARE || lesson->kind == LAB_COST)
				assert_true(run != NULL && run_named(page, lesson->b) != NULL);
			if (lesson->kind == LAB_COST)
				assert_true(run->peer == LAB_TARE_PROBE &&
					    run_named(page, lesson->b)->peer == LAB_GO_PROBE);
			if (lesson->kind == LAB_SCALE)
				assert_true(run != NULL && run->size == LAB_LIVE);
			if (lesson->kind == LAB_WITHIN)
				assert_true(run != NULL && lab_is_probe(run));
		}
		for (const char *const *key = page->columns; key != NULL && *key != NULL; key++)
			assert_non_null(lab_figure(*key));
		for (size_t k = 0; k < page->plot_count; k++)
			assert_non_null(lab_figure(page->plots[k].key));
	}
}

static struct lab_sample sample(const char *allocs, double cpu_s, int64_t at_ns)
{
	json_error_t error;
	struct lab_sample s = {
	    .allocs = json_loads(allocs, 0, &error), .cpu_s = cpu_s, .at_ns = at_ns, .rss_bytes = 4096};
	assert_non_null(s.allocs);
	return s;
}

TEST(figures_are_what_happened_between_two_samples_a_request)
{
	json_error_t error;
	struct lab_sample before = sample("{\"requests\":100,\"heap_allocs\":1000,\"total_alloc\":5000,\"gc_cycles\":2,"
					  "\"gc_cpu_seconds\":0.5,\"pause_p99_ms\":0.01}",
					  1.0, 0);
	struct lab_sample after = sample("{\"requests\":300,\"heap_allocs\":1600,\"total_alloc\":25000,\"gc_cycles\":7,"
					 "\"gc_cpu_seconds\":0.7,\"pause_p99_ms\":0.02}",
					 1.4, 2 * TARE_NS_PER_S);
	json_t *load = json_loads("{\"rate_offered\":100,\"duration_s\":2,\"status\":{\"200\":150,\"503\":50},"
				  "\"latency_ns\":{\"p99\":2500000}}",
				  0, &error);
	json_t *result = json_object();
	json_object_set_new(result, "figures", lab_figures(&before, &after, load, 1));
	assert_float_equal(lab_figure_of(result, "allocs_per_request"), 3, 1e-9);
	assert_float_equal(lab_figure_of(result, "bytes_per_request"), 100, 1e-9);
	assert_float_equal(lab_figure_of(result, "cpu_us_per_request"), 2000, 1e-6);
	assert_float_equal(lab_figure_of(result, "gc_us_per_request"), 1000, 1e-6);
	assert_float_equal(lab_figure_of(result, "gc_cpu_share"), 0.1, 1e-9);
	assert_float_equal(lab_figure_of(result, "gc_cycles"), 5, 1e-9);
	assert_float_equal(lab_figure_of(result, "pause_life_p99_us"), 20, 1e-9);
	assert_true(isnan(lab_figure_of(result, "pause_p99_us"))); // neither sample has a histogram
	assert_float_equal(lab_figure_of(result, "p99_us"), 2500, 1e-9);
	assert_float_equal(lab_figure_of(result, "missed"), 0.25, 1e-9);
	assert_true(isnan(lab_figure_of(result, "no_such")));
	json_decref(result);
	json_decref(load);
	lab_sample_done(&before);
	lab_sample_done(&after);
}

TEST(what_a_limit_is_reckoned_from_is_the_same_of_both_peers)
{
	struct lab_sample tare =
	    sample("{\"gc\":{\"mapped_bytes\":800,\"idle_bytes\":100},\"memory\":{\"used\":1000}}", 0, 0);
	struct lab_sample go = sample("{\"gc\":{\"mapped_bytes\":1000,\"idle_bytes\":100}}", 0, 0);
	struct lab_sample neither = sample("{}", 0, 0);
	assert_float_equal(lab_kept_bytes(&tare), 900, 1e-9);
	tare.anon_bytes = 1200; // the last look was before
	assert_float_equal(lab_kept_bytes(&tare), 1100, 1e-9);
	assert_float_equal(lab_kept_bytes(&go), 900, 1e-9);
	assert_true(isnan(lab_kept_bytes(&neither)));
	lab_sample_done(&tare);
	lab_sample_done(&go);
	lab_sample_done(&neither);
}

TEST(a_collector_cannot_have_had_more_cpu_than_its_process)
{
	struct lab_sample before =
	    sample("{\"requests\":0,\"gc_cycles\":0,\"gc_cpu_seconds\":0,\"pauses_max_ms\":0}", 1.0, 0);
	struct lab_sample after =
	    sample("{\"requests\":100,\"gc_cycles\":0,\"gc_cpu_seconds\":0.5,\"pauses_max_ms\":0}", 1.4, TARE_NS_PER_S);
	json_t *result = json_object();
	json_object_set_new(result, "figures", lab_figures(&before, &after, NULL, 1));
	assert_true(isnan(lab_figure_of(result, "gc_cpu_share")));
	assert_true(isnan(lab_figure_of(result, "gc_us_per_request")));
	assert_true(isnan(lab_figure_of(result, "pause_life_max_us"))); // none since the start is not one of 0
	assert_float_equal(lab_figure_of(result, "cpu_us_per_request"), 4000, 1e-6);
	json_decref(result);
	lab_sample_done(&before);
	lab_sample_done(&after);
}

TEST(what_a_service_does_not_tell_is_no_figure)
{
	json_error_t error;
	struct lab_sample before = sample("{\"requests\":100}", 1.0, 0);
	struct lab_sample after = sample("{\"requests\":300}", 1.4, 2 * TARE_NS_PER_S);
	json_t *load = json_loads("{\"rate_offered\":100,\"duration_s\":2,\"status\":{\"503\":200},\"errors\":3,"
				  "\"latency_ns\":{\"p99\":2500}}",
				  0, &error);
	json_t *result = json_object();
	json_object_set_new(result, "figures", lab_figures(&before, &after, load, 1));
	assert_true(isnan(lab_figure_of(result, "allocs_per_request")));
	assert_true(isnan(lab_figure_of(result, "gc_cpu_share")));
	assert_true(isnan(lab_figure_of(result, "gc_us_per_request")));
	assert_true(isnan(lab_figure_of(result, "p99_us"))); // of refusals
	assert_float_equal(lab_figure_of(result, "missed"), 1, 1e-9);
	assert_float_equal(lab_figure_of(result, "errors"), 3, 1e-9);
	json_decref(result);
	json_decref(load);
	lab_sample_done(&before);
	lab_sample_done(&after);
}

TEST(pauses_are_those_between_two_samples)
{
	struct lab_sample before = sample("{\"pauses\":{\"buckets\":[[0,0.001,40],[0.5,1,2]]}}", 0, 0);
	struct lab_sample after =
	    sample("{\"pauses\":{\"buckets\":[[0,0.001,139],[0.002,0.004,1],[0.5,1,2]]}}", 0, TARE_NS_PER_S);
	json_t *result = json_object(), *windows = json_array();
	json_array_append_new(windows, lab_figures(&before, &after, NULL, 1));
	json_array_append_new(windows, lab_figures(&after, &after, NULL, 1)); // without a collection
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "pause_p99_us"), 1000, 1e-6); // 99 of 100
	assert_float_equal(lab_figure_of(result, "pause_max_us"), 4000,
			   1e-6); // the second that came before is none of theirs
	json_decref(windows);
	json_decref(result);
	lab_sample_done(&before);
	lab_sample_done(&after);
}

TEST(collections_and_errors_of_windows_add_up)
{
	json_t *windows = json_pack("[{s:f}, {s:f, s:f}, {s:f}]", "gc_cycles", 0.0, "gc_cycles", 2.0, "errors", 1.0,
				    "gc_cycles", 0.0);
	json_t *result = json_object();
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "gc_cycles"), 2, 1e-9);
	assert_float_equal(lab_figure_of(result, "errors"), 1, 1e-9);
	assert_false(lab_spread_known(result, "errors")); // one window had it
	json_decref(windows);
	json_decref(result);
}

TEST(one_collection_in_four_windows_is_a_quarter_of_it_in_each)
{
	json_t *windows =
	    json_pack("[{s:f, s:f, s:f}, {s:f, s:f, s:f}, {s:f, s:f, s:f}, {s:f, s:f, s:f}]", "gc_cpu_share", 0.0,
		      "gc_us_per_request", 0.0, "cycles_per_s", 0.0, "gc_cpu_share", 0.4, "gc_us_per_request", 8.0,
		      "cycles_per_s", 0.2, "gc_cpu_share", 0.0, "gc_us_per_request", 0.0, "cycles_per_s", 0.0,
		      "gc_cpu_share", 0.0, "gc_us_per_request", 0.0, "cycles_per_s", 0.0);
	json_t *result = json_object();
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "gc_cpu_share"), 0.1, 1e-9);
	assert_float_equal(lab_figure_of(result, "gc_us_per_request"), 2, 1e-9);
	assert_float_equal(lab_figure_of(result, "cycles_per_s"), 0.05, 1e-9);
	assert_float_equal(lab_spread_of(result, "gc_cpu_share"), 4, 1e-9);
	json_decref(windows);
	json_decref(result);
}

// The middle would say that all was answered, or that a process never had more.
TEST(a_window_that_failed_counts_and_a_peak_is_the_highest_one)
{
	json_t *windows =
	    json_pack("[{s:f, s:f}, {s:f, s:f}, {s:f, s:f}, {s:f, s:f}]", "missed", 0.0, "peak_bytes", 10.0, "missed",
		      1.0, "peak_bytes", 40.0, "missed", 0.0, "peak_bytes", 10.0, "missed", 0.0, "peak_bytes", 10.0);
	json_t *result = json_object();
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "missed"), 0.25, 1e-9);
	assert_float_equal(lab_figure_of(result, "peak_bytes"), 40, 1e-9);
	json_decref(windows);
	json_decref(result);
}

TEST(of_windows_the_middle_counts_and_the_range_is_told)
{
	json_t *windows = json_pack("[{s:f}, {s:f}, {s:f}]", "p99_us", 100.0, "p99_us", 300.0, "p99_us", 120.0);
	json_t *result = json_object();
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "p99_us"), 120, 1e-9);
	assert_float_equal(lab_spread_of(result, "p99_us"), 200.0 / 120, 1e-9);
	json_decref(windows);
	json_decref(result);
}

// One in five is an accident, and so are two in nine; of four nobody knows.
TEST(the_outermost_of_more_than_four_windows_do_not_make_the_spread)
{
	json_t *windows =
	    json_pack("[{s:f, s:f}, {s:f, s:f}, {s:f, s:f}, {s:f, s:f}]", "p99_us", 100.0, "missed", 0.0, "p99_us",
		      900.0, "missed", 0.1, "p99_us", 110.0, "missed", 0.0, "p99_us", 120.0, "missed", 0.0);
	json_t *others = json_pack("[{s:f}, {s:f}, {s:f}]", "p99_us", 105.0, "p99_us", 905.0, "p99_us", 115.0);
	json_t *result = json_object();
	lab_figures_merge(result, windows);
	assert_float_equal(lab_spread_of(result, "p99_us"), 800.0 / 115, 1e-9);
	json_array_append_new(windows, json_pack("{s:f, s:f}", "p99_us", 115.0, "missed", 0.0));
	lab_figures_merge(result, windows);
	assert_float_equal(lab_figure_of(result, "p99_us"), 115, 1e-9);
	assert_float_equal(lab_spread_of(result, "p99_us"), 10.0 / 115, 1e-9);
	assert_float_equal(lab_spread_of(result, "missed"), 5, 1e-9); // a mean, of all of them
	json_array_extend(windows, others);
	lab_figures_merge(result, windows);
	assert_float_equal(lab_spread_of(result, "p99_us"), 795.0 / 115, 1e-9); // two of eight were 900
	json_array_append_new(windows, json_pack("{s:f}", "p99_us", 117.0));
	lab_figures_merge(result, windows);
	assert_float_equal(lab_spread_of(result, "p99_us"), 10.0 / 115, 1e-9);
	json_decref(others);
	json_decref(windows);
	json_decref(result);
}

TEST(a_trace_of_either_peer_gives_cycles_and_pauses)
{
	char path[] = "/tmp/tare-test-trace-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	assert_non_null(file);
	const char before[] = "gc 1 @0.001s 2%: 5+100+5 ms clock, of the start\n";
	fputs(before, file);
	fputs("gc 1 @0.010s 2%: 0.018+1.2+0.003 ms clock, 0.01+0.3/0.1/0.2+0.003 ms cpu, 4->4->1 MB\n"
	      "drained: 5 requests answered\n"
	      "gc 2 @1.5s 10%: 0.1+20+0.05 ms clock, 1+2/3/4+5 ms cpu\n",
	      file);
	assert_int_equal(fclose(file), 0);
	json_t *result = json_pack("{s:{}}", "figures");
	lab_trace_read(path, (long)strlen(before), 2, json_object_get(result, "figures"));
	assert_float_equal(lab_figure_of(result, "trace_cycles"), 2, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_pause_ms_per_s"), 0.0855, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_pause_max_ms"), 0.1, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_mark_ms"), 20, 1e-9);
	json_decref(result);
	unlink(path);
}

// ---- verdicts -----------------------------------------------------------------------------------------------------

static const struct lab_run judged_runs[] = {
    {.name = "tare-on", .knobs = "--heap=gc"},
    {.name = "tare-off", .knobs = "--heap=gc --gogc off"},
    {.name = "go-on", .peer = LAB_GO, .knobs = ""},
};
static const struct lab_criterion judged_criteria[] = {
    {"p99", "p99_us", "tare-on", NULL, 2000, 200, 1, false},
    {"share", "gc_cpu_share", "tare-on", NULL, 0.05, -1, 2, false},
    {"on less off", "p99_us", "tare-on", "tare-off", 100, 50, 2, false},
};
static const struct lab_lesson judged_lessons[] = {
    {LAB_COMPARE, "p99_us", "tare-on", "tare-off"},
    {LAB_LIST, "p99_us", NULL, NULL},
};
static const struct lab_page judged_page = {.id = "page",
					    .title = "",
					    .question = "",
					    .stage = 0,
					    .experiment = -1,
					    .runs = judged_runs,
					    .run_count = TARE_ARRAY_LEN(judged_runs),
					    .criteria = judged_criteria,
					    .criterion_count = TARE_ARRAY_LEN(judged_criteria),
					    .lessons = judged_lessons,
					    .lesson_count = TARE_ARRAY_LEN(judged_lessons)};

static json_t *judged_result(const char *name, double p99_us, double spread, double cycles, double missed)
{
	return json_pack("{s:s, s:s, s:s, s:f, s:[], s:{s:f, s:f, s:f, s:f, s:f}, s:{s:f}}", "name", name, "command",
			 "", "again", "", "rate_asked", 500.0, "notes", "figures", "p99_us", p99_us, "gc_cpu_share",
			 0.01, "gc_cycles", cycles, "missed", missed, "errors", 0.0, "spread", "p99_us", spread);
}

struct judgement {
	json_t *page, *behind, *acceptance;
};

static struct judgement judge_page(const struct lab_page *page, json_t *on, json_t *off, json_t *go)
{
	static struct lab lab;
	struct judgement j = {.behind = json_array(), .acceptance = json_array()};
	for (int i = 0; i <= LAB_ACCEPTANCE; i++)
		json_array_append_new(j.acceptance, json_array());
	lab = (struct lab){
	    .high_wanted = 1000,
	    .small_bytes = 1 << 20,
	    .live_bytes = 2 << 20,
	    .full_bytes = 3 << 20,
	    .results = json_pack("{s:o, s:o, s:o}", "page.tare-on", on, "page.tare-off", off, "page.go-on", go)};
	j.page = lab_page_make(&lab, page, j.acceptance, j.behind);
	json_decref(lab.results);
	return j;
}

static struct judgement judge_all(json_t *on, json_t *off, json_t *go)
{
	return judge_page(&judged_page, on, off, go);
}

static void judgement_done(struct judgement *j)
{
	json_decref(j->page);
	json_decref(j->behind);
	json_decref(j->acceptance);
}

static const json_t *verdict_of(const struct judgement *j, size_t i, const char *key)
{
	return json_object_get(json_array_get(json_object_get(j->page, "verdicts"), i), key);
}

static bool says(const json_t *text, const char *part)
{
	return json_is_string(text) && strstr(json_string_value(text), part) != NULL;
}

TEST(verdicts_are_on_what_was_measured)
{
	struct judgement j =
	    judge_all(judged_result("page.tare-on", 300, 0.1, 3, 0), judged_result("page.tare-off", 100, 0.1, 0, 0),
		      judged_result("page.go-on", 150, 0.1, 3, 0));
	assert_true(json_is_true(verdict_of(&j, 0, "met")) && json_is_false(verdict_of(&j, 0, "own_met")));
	assert_true(says(verdict_of(&j, 0, "point"), "at 500 requests a second, with 3 collections"));
	assert_string_equal(json_string_value(verdict_of(&j, 0, "why")), "");
	assert_true(json_is_true(verdict_of(&j, 1, "met")));
	assert_true(says(verdict_of(&j, 1, "why"), "read in one window")); // its spread is not known
	assert_true(json_is_false(verdict_of(&j, 2, "met")));              // 200, give or take 30
	assert_int_equal(json_array_size(j.behind), 2);                    // p99, and the share, which is equal
	assert_true(says(json_object_get(json_array_get(j.behind, 0), "what"), "p99, tare-on against go-on"));
	assert_true(says(json_array_get(json_object_get(j.page, "learnt"), 0), "3.00 times as much"));
	assert_true(says(json_array_get(json_object_get(j.page, "learnt"), 1), "Least"));
	judgement_done(&j);
}

TEST(a_difference_within_the_spread_is_none)
{
	struct judgement j =
	    judge_all(judged_result("page.tare-on", 300, 0.5, 3, 0), judged_result("page.tare-off", 250, 0.5, 0, 0),
		      judged_result("page.go-on", 290, 0.5, 3, 0));
	assert_true(json_is_null(verdict_of(&j, 2, "met")) && json_is_null(verdict_of(&j, 2, "own_met")));
	assert_true(says(verdict_of(&j, 2, "figure"), "no difference beyond the spread"));
	assert_true(says(json_object_get(json_array_get(j.behind, 0), "why"), "within the windows' spread"));
	assert_true(says(json_array_get(json_object_get(j.page, "learnt"), 0), "no difference"));
	assert_false(says(json_array_get(json_object_get(j.page, "learnt"), 1), "Least"));
	judgement_done(&j);
}

// The windows of the larger figure reach below the smaller one.
TEST(the_wider_windows_decide_what_is_a_lead)
{
	struct judgement j =
	    judge_all(judged_result("page.tare-on", 70, 0, 3, 0), judged_result("page.tare-off", 60, 0.1, 0, 0),
		      judged_result("page.go-on", 100, 0.4, 3, 0));
	assert_true(says(json_object_get(json_array_get(j.behind, 0), "why"), "ahead, but within the windows' spread"));
	assert_true(says(json_array_get(json_object_get(j.page, "learnt"), 0), "1.17 times")); // than tare-off's
	judgement_done(&j);
}

TEST(a_generator_that_was_late_leaves_nothing_to_judge)
{
	json_t *on = judged_result("page.tare-on", 300, 0.1, 3, 0);
	json_object_set_new(on, "generator_limited", json_true());
	struct judgement j =
	    judge_all(on, judged_result("page.tare-off", 100, 0.1, 0, 0), judged_result("page.go-on", 900, 0.1, 3, 0));
	for (size_t i = 0; i < 3; i++) {
		assert_true(json_is_null(verdict_of(&j, i, "met")));
		assert_true(says(verdict_of(&j, i, "why"), "generator-limited"));
	}
	judgement_done(&j);
}

TEST(a_collector_that_had_nothing_to_do_is_not_judged)
{
	struct judgement j =
	    judge_all(judged_result("page.tare-on", 300, 0.1, 0, 0), judged_result("page.tare-off", 100, 0.1, 0, 0),
		      judged_result("page.go-on", 300, 0.1, 3, 0));
	assert_true(json_is_true(verdict_of(&j, 0, "met"))); // latency is what it is
	for (size_t i = 1; i < 3; i++) {
		assert_true(json_is_null(verdict_of(&j, i, "met")));
		assert_true(says(verdict_of(&j, i, "why"), "no collection ran"));
	}
	judgement_done(&j);
	j = judge_all(judged_result("page.tare-on", 300, 0.1, 3, 0), judged_result("page.tare-off", 100, 0.1, 2, 0),
		      judged_result("page.go-on", 300, 0.1, 3, 0));
	assert_true(json_is_null(verdict_of(&j, 2, "met")));
	assert_true(says(verdict_of(&j, 2, "why"), "collector off had collections"));
	judgement_done(&j);
}

TEST(latency_of_a_service_that_did_not_answer_is_not_judged)
{
	struct judgement j =
	    judge_all(judged_result("page.tare-on", 300, 0.1, 3, 0.03), judged_result("page.tare-off", 100, 0.1, 0, 0),
		      judged_result("page.go-on", 100, 0.1, 3, 0));
	for (size_t i = 0; i < 3; i++) {
		assert_true(json_is_null(verdict_of(&j, i, "met")));
		assert_true(says(verdict_of(&j, i, "why"), "not answered"));
	}
	// Go's figure is the better one all the same, which is not hidden; nor is it when it isn't.
	assert_true(says(json_object_get(json_array_get(j.behind, 0), "what"), "not answered, tare-on against go-on"));
	assert_true(says(json_object_get(json_array_get(j.behind, 1), "why"), "not judged"));
	judgement_done(&j);
	j = judge_all(judged_result("page.tare-on", 300, 0.1, 3, 0.03), judged_result("page.tare-off", 100, 0.1, 0, 0),
		      judged_result("page.go-on", 900, 0.1, 3, 0));
	assert_true(says(json_object_get(json_array_get(j.behind, 1), "what"), "p99, tare-on against go-on"));
	judgement_done(&j);
}

// The judged page with other runs.
static struct lab_page page_of(const struct lab_run runs[3])
{
	struct lab_page page = judged_page;
	page.runs = runs;
	return page;
}

TEST(a_share_is_not_judged_where_each_window_was_asked_for_a_collection)
{
	static const struct lab_run runs[] = {
	    {.name = "tare-on", .knobs = "--heap=gc", .collect = true},
	    {.name = "tare-off", .knobs = "--heap=gc --gogc off"},
	    {.name = "go-on", .peer = LAB_GO, .knobs = "", .collect = true},
	};
	const struct lab_page page = page_of(runs);
	struct judgement j =
	    judge_page(&page, judged_result("page.tare-on", 300, 0.1, 3, 0),
		       judged_result("page.tare-off", 100, 0.1, 0, 0), judged_result("page.go-on", 350, 0.1, 3, 0));
	assert_true(json_is_true(verdict_of(&j, 0, "met"))); // latency is what it is
	assert_true(json_is_null(verdict_of(&j, 1, "met")));
	assert_true(says(verdict_of(&j, 1, "why"), "a collection was asked for in each window"));
	judgement_done(&j);
}

TEST(latency_of_a_service_that_kept_its_garbage_is_not_judged)
{
	static const struct lab_run runs[] = {
	    {.name = "tare-on", .knobs = "--path=naive --heap=gc"},
	    {.name = "tare-off", .knobs = "--path=naive --heap=gc --gogc off"},
	    {.name = "go-on", .peer = LAB_GO, .knobs = "--path=naive"},
	};
	static const struct lab_criterion criteria[] = {
	    {"p99", "p99_us", "tare-on", NULL, 2000, -1, 0, false},
	    {"p99, off", "p99_us", "tare-off", NULL, 2000, -1, 0, false},
	};
	struct lab_page page = page_of(runs);
	page.criteria = criteria;
	page.criterion_count = TARE_ARRAY_LEN(criteria);
	struct judgement j =
	    judge_page(&page, judged_result("page.tare-on", 300, 0.1, 0, 0),
		       judged_result("page.tare-off", 100, 0.1, 0, 0), judged_result("page.go-on", 350, 0.1, 3, 0));
	assert_true(json_is_null(verdict_of(&j, 0, "met")));
	assert_true(says(verdict_of(&j, 0, "why"), "no latency of a service that collects"));
	assert_true(json_is_true(verdict_of(&j, 1, "met"))); // that is what off is for
	assert_int_equal(json_array_size(json_object_get(j.page, "learnt")),
			 1); // no ratio of the two, and a list of the others
	judgement_done(&j);
}

TEST(what_was_missed_is_not_judged_where_the_generator_was_late_in_all_windows)
{
	static const struct lab_criterion criteria[] = {{"missed", "missed", "tare-on", NULL, 0.02, -1, 0, false}};
	struct lab_page page = page_of(judged_runs);
	page.criteria = criteria;
	page.criterion_count = 1;
	json_t *on = judged_result("page.tare-on", 300, 0.1, 3, 0.5);
	json_object_set_new(on, "generator_limited", json_true());
	struct judgement j = judge_page(&page, on, judged_result("page.tare-off", 100, 0.1, 0, 0),
					judged_result("page.go-on", 350, 0.1, 3, 0));
	assert_true(json_is_null(verdict_of(&j, 0, "met")));
	assert_true(says(verdict_of(&j, 0, "why"), "generator-limited"));
	judgement_done(&j);
}

TEST(runs_of_other_sizes_get_no_ratio)
{
	struct lab_run runs[TARE_ARRAY_LEN(judged_runs)];
	memcpy(runs, judged_runs, sizeof runs);
	struct lab_page page = page_of(runs);
	for (int same = 0; same < 2; same++) {
		runs[0].size = same ? LAB_SMALL : LAB_FULL;
		struct judgement j = judge_page(&page, judged_result("page.tare-on", 300, 0.1, 3, 0),
						judged_result("page.tare-off", 100, 0.1, 0, 0),
						judged_result("page.go-on", 350, 0.1, 3, 0));
		assert_int_equal(says(json_array_get(json_object_get(j.page, "learnt"), 0), "times as much"), same);
		judgement_done(&j);
	}
}

TEST(a_collector_that_told_too_much_in_one_window_has_no_share)
{
	json_t *on = judged_result("page.tare-on", 300, 0.1, 3, 0);
	json_object_set_new(json_object_get(on, "figures"), "gc_cpu_over", json_real(1));
	struct judgement j =
	    judge_all(on, judged_result("page.tare-off", 100, 0.1, 0, 0), judged_result("page.go-on", 350, 0.1, 3, 0));
	assert_true(says(verdict_of(&j, 1, "why"), "more CPU time than its process had"));
	judgement_done(&j);
}

// ---- where Tare is not ahead --------------------------------------------------------------------------------------

// Of the list the line of this figure, or NULL.
static const json_t *behind_of(const struct judgement *j, const char *title)
{
	size_t i;
	json_t *line;
	json_array_foreach(j->behind, i, line) if (says(json_object_get(line, "what"), title)) return line;
	return NULL;
}

static json_t *with_figure(json_t *result, const char *key, double value)
{
	json_object_set_new(json_object_get(result, "figures"), key, json_real(value));
	return result;
}

TEST(an_experiments_pairs_are_compared_and_ties_and_narrow_leads_are_told)
{
	struct lab_page page = page_of(judged_runs);
	page.stage = -1;
	page.experiment = 1;
	json_t *on = with_figure(judged_result("page.tare-on", 300, 0.2, 3, 0), "cpu_us_per_request", 5);
	json_t *go = with_figure(judged_result("page.go-on", 310, 0.2, 3, 0), "cpu_us_per_request", 9);
	struct judgement j = judge_page(&page, on, judged_result("page.tare-off", 100, 0.1, 0, 0), go);
	assert_string_equal(json_string_value(json_object_get(behind_of(&j, "p99"), "why")),
			    "ahead, but within the windows' spread");
	assert_string_equal(json_string_value(json_object_get(behind_of(&j, "GC CPU"), "why")), "they are equal");
	assert_null(behind_of(&j, "CPU a request"));
	judgement_done(&j);
}

TEST(a_search_that_both_ended_at_its_end_compares_nothing)
{
	static const struct lab_run searches[] = {
	    {.name = "tare-on", .knobs = "", .load = LAB_SEARCH},
	    {.name = "tare-off", .knobs = "", .load = LAB_SEARCH},
	    {.name = "go-on", .peer = LAB_GO, .knobs = "", .load = LAB_SEARCH},
	};
	static const double rates[][2] = {{1000, 1000}, {900, 1000}, {1000, 900}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(rates); i++) {
		struct lab_page page = page_of(searches);
		json_t *on = with_figure(judged_result("page.tare-on", 300, 0.1, 0, 0), "rate_max", rates[i][0]);
		json_t *go = with_figure(judged_result("page.go-on", 300, 0.1, 0, 0), "rate_max", rates[i][1]);
		struct judgement j = judge_page(&page, on, judged_result("page.tare-off", 100, 0.1, 0, 0), go);
		assert_int_equal(json_array_size(j.behind), i == 1);
		judgement_done(&j);
	}
}

TEST(what_is_not_judged_has_a_mark_and_no_place_in_a_plot)
{
	static const struct lab_plot plots[] = {{"p99", "bar", "run", "", "p99_us", false}};
	static const char *const columns[] = {"p99_us", "gc_cycles", "limit_bytes", NULL};
	struct lab_page page = page_of(judged_runs);
	page.plots = plots;
	page.plot_count = TARE_ARRAY_LEN(plots);
	page.columns = columns;
	json_t *on = judged_result("page.tare-on", 300, 0.1, 3, 0);
	json_object_set_new(on, "noisy", json_true());
	struct judgement j = judge_page(&page, on, judged_result("page.tare-off", 100, 0.1, 0, 0),
					judged_result("page.go-on", 150, 0.1, 3, 0));
	const json_t *table = json_array_get(json_object_get(j.page, "tables"), 0);
	const json_t *unfit = json_object_get(json_array_get(json_object_get(table, "rows"), 0), "unfit");
	assert_int_equal(json_array_size(json_object_get(table, "columns")), 2); // none has a limit
	assert_true(json_is_true(json_array_get(unfit, 0)) && json_is_false(json_array_get(unfit, 1)));
	const json_t *series = json_object_get(json_array_get(json_object_get(j.page, "plots"), 0), "series");
	assert_int_equal(json_array_size(json_object_get(json_array_get(series, 0), "points")), 1); // tare-off's
	judgement_done(&j);
}

TEST(nothing_against_nothing_is_no_tie)
{
	json_t *on = with_figure(judged_result("page.tare-on", 300, 0.1, 3, 0), "gc_cpu_share", 0);
	json_t *go = with_figure(judged_result("page.go-on", 900, 0.1, 3, 0), "gc_cpu_share", 0);
	struct judgement j = judge_all(on, judged_result("page.tare-off", 100, 0.1, 0, 0), go);
	assert_int_equal(json_array_size(j.behind), 0);
	judgement_done(&j);
}

TEST(a_figure_that_only_go_has_is_told_with_the_reason)
{
	json_t *go = with_figure(judged_result("page.go-on", 900, 0.1, 3, 0), "pause_p99_us", 80);
	struct judgement j = judge_all(judged_result("page.tare-on", 300, 0.1, 0, 0),
				       judged_result("page.tare-off", 100, 0.1, 0, 0), json_incref(go));
	const json_t *line = behind_of(&j, "pause p99");
	assert_true(json_is_null(json_object_get(line, "tare")));
	assert_float_equal(json_number_value(json_object_get(line, "go")), 80, 1e-9);
	assert_true(says(json_object_get(line, "why"), "not known: no collection ran"));
	judgement_done(&j);
	// Without a collector there is nothing to know.
	json_t *on = judged_result("page.tare-on", 300, 0.1, 0, 0);
	json_object_set_new(on, "allocs", json_pack("{s:s}", "collector", "none"));
	j = judge_all(on, judged_result("page.tare-off", 100, 0.1, 0, 0), json_incref(go));
	assert_null(behind_of(&j, "pause p99"));
	judgement_done(&j);
	// A run that was left out is not ahead either.
	j = judge_all(json_pack("{s:s, s:s}", "name", "page.tare-on", "skipped", "no room"),
		      judged_result("page.tare-off", 100, 0.1, 0, 0), go);
	assert_true(says(json_object_get(behind_of(&j, "p99"), "why"), "not known: no room"));
	judgement_done(&j);
}

TEST(off_the_heap_a_files_pages_are_no_need)
{
	struct lab_run runs[TARE_ARRAY_LEN(judged_runs)];
	memcpy(runs, judged_runs, sizeof runs);
	struct lab_page page = page_of(runs);
	for (int heap = 0; heap < 2; heap++) {
		runs[0].knobs = heap ? "--heap=gc --layout=map" : "--path=opt";
		runs[2].knobs = heap ? "--layout=map" : "--layout=offheap";
		json_t *on = with_figure(judged_result("page.tare-on", 300, 0.1, 3, 0), "rss_bytes", 9e6);
		json_t *go = with_figure(judged_result("page.go-on", 900, 0.1, 3, 0), "rss_bytes", 2e6);
		struct judgement j =
		    judge_page(&page, with_figure(on, "anon_bytes", 3e6),
			       judged_result("page.tare-off", 100, 0.1, 0, 0), with_figure(go, "anon_bytes", 1e6));
		assert_int_equal(behind_of(&j, "resident, ") != NULL && behind_of(&j, "not of files") == NULL, heap);
		assert_int_equal(behind_of(&j, "not of files") != NULL, !heap);
		judgement_done(&j);
	}
}

TEST(a_probes_cost_that_is_not_lower_than_gos_is_told)
{
	static const struct lab_run runs[] = {
	    {.name = "tare-on", .peer = LAB_TARE_PROBE, .knobs = "boxing"},
	    {.name = "tare-off", .knobs = ""},
	    {.name = "go-on", .peer = LAB_GO_PROBE, .knobs = "boxing"},
	};
	static const struct lab_lesson lessons[] = {
	    {LAB_COST, "a_ns", "tare-on", "go-on"},
	    {LAB_COST, "b_ns", "tare-on", "go-on"},
	    {LAB_COMPARE, "c_ns", "tare-on", "go-on"},
	};
	struct lab_page page = page_of(runs);
	page.criterion_count = 0;
	page.lessons = lessons;
	page.lesson_count = TARE_ARRAY_LEN(lessons);
	json_t *on = json_pack("{s:s, s:s, s:s, s:[], s:{s:f, s:f, s:f}, s:{}}", "name", "page.tare-on", "command", "",
			       "again", "", "notes", "figures", "a_ns", 7.0, "b_ns", 5.0, "c_ns", 9.0, "spread");
	json_t *go = json_pack("{s:s, s:s, s:s, s:[], s:{s:f, s:f, s:f}, s:{}}", "name", "page.go-on", "command", "",
			       "again", "", "notes", "figures", "a_ns", 6.0, "b_ns", 6.0, "c_ns", 6.0, "spread");
	struct judgement j = judge_page(&page, on, judged_result("page.tare-off", 100, 0.1, 0, 0), go);
	assert_int_equal(json_array_size(j.behind), 1);
	assert_non_null(behind_of(&j, "a_ns, tare-on against go-on"));
	assert_int_equal(json_array_size(json_object_get(j.page, "learnt")), 3);
	judgement_done(&j);
}

// ---- what stands beside the figures -------------------------------------------------------------------------------

TEST(a_page_says_what_to_build_and_what_its_figures_are_not)
{
	struct lab_run runs[TARE_ARRAY_LEN(judged_runs)];
	memcpy(runs, judged_runs, sizeof runs);
	struct lab_page page = page_of(runs);
	for (int with = 0; with < 2; with++) {
		runs[0].size = with ? LAB_FULL : LAB_SMALL;
		runs[1].build = with ? "hard" : NULL;
		page.caution = with ? LAB_NAIVE_WAYS : NULL;
		struct judgement j = judge_page(&page, judged_result("page.tare-on", 300, 0.1, 3, 0),
						judged_result("page.tare-off", 100, 0.1, 0, 0),
						judged_result("page.go-on", 900, 0.1, 3, 0));
		const json_t *before = json_array_get(json_object_get(j.page, "commands"), 0), *note;
		assert_int_equal(says(before, "build/hard/tare\n"), with);
		assert_false(says(before, "build/asan/tare\n"));
		assert_true(says(before, "bench/peers/go/build $name build/go/$name"));
		size_t i, told = 0;
		json_array_foreach(json_object_get(j.page, "notes"), i, note) told +=
		    says(note, "naive in its own language's way") || says(note, "3 MiB, not 40 GiB");
		assert_int_equal(told, with ? 2 : 0);
		judgement_done(&j);
	}
}
