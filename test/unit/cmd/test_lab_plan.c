// SPDX-License-Identifier: MIT
// The laboratory's plan, which is data: everything it names is there. And the arithmetic of figures, by hand-made samples.
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

static bool is_probe(const struct lab_run *run)
{
	return run->peer == LAB_TARE_PROBE || run->peer == LAB_GO_PROBE;
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
			assert_true(base != NULL && base < run && base->peer == run->peer && base->size == run->size);
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
			assert_true(is_probe(run) || lab_figure(c->key) != NULL);
			assert_in_range(c->acceptance, 0, LAB_ACCEPTANCE - 1);
		}
		for (size_t k = 0; k < page->lesson_count; k++) {
			const struct lab_lesson *lesson = &page->lessons[k];
			const struct lab_run *run = run_named(page, lesson->kind == LAB_WITHIN ? lesson->b : lesson->a);
			if (lesson->kind == LAB_COMPARE)
				assert_true(run != NULL && run_named(page, lesson->b) != NULL);
			if (lesson->kind == LAB_SCALE)
				assert_true(run != NULL && run->size == LAB_LIVE);
			if (lesson->kind == LAB_WITHIN)
				assert_true(run != NULL && is_probe(run));
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
	assert_float_equal(lab_figure_of(result, "pause_p99_us"), 20, 1e-9);
	assert_float_equal(lab_figure_of(result, "p99_us"), 2500, 1e-9);
	assert_float_equal(lab_figure_of(result, "missed"), 0.25, 1e-9);
	assert_true(isnan(lab_figure_of(result, "no_such")));
	json_decref(result);
	json_decref(load);
	lab_sample_done(&before);
	lab_sample_done(&after);
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

TEST(a_trace_of_either_peer_gives_cycles_and_pauses)
{
	char path[] = "/tmp/tare-test-trace-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	assert_non_null(file);
	fputs("gc 1 @0.010s 2%: 0.018+1.2+0.003 ms clock, 0.01+0.3/0.1/0.2+0.003 ms cpu, 4->4->1 MB\n"
	      "drained: 5 requests answered\n"
	      "gc 2 @1.5s 10%: 0.1+20+0.05 ms clock, 1+2/3/4+5 ms cpu\n",
	      file);
	assert_int_equal(fclose(file), 0);
	json_t *result = json_pack("{s:{}}", "figures");
	lab_trace_read(path, json_object_get(result, "figures"));
	assert_float_equal(lab_figure_of(result, "trace_cycles"), 2, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_pause_sum_ms"), 0.171, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_pause_max_ms"), 0.1, 1e-9);
	assert_float_equal(lab_figure_of(result, "trace_mark_ms"), 20, 1e-9);
	json_decref(result);
	unlink(path);
}
