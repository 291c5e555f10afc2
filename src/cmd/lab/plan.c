// SPDX-License-Identifier: MIT
// The stages, as data: what runs, what is judged, what is compared. Experiments are plan_experiments.c's.
//
// Tare runs in three forms: without a collector (records off the heap, as it is meant to be used), with records and
// garbage on its collected heap (which is what Go's service does, so the two stand side by side), and on the naive
// path. The optimised path makes no garbage, so that its collector has nothing to do; what the collector itself costs
// is judged on the naive path too. With a big live heap and few requests no collection would come for minutes: there
// one is asked for in each window. At the naive path's high rate there is one in a minute or three; there GOGC=10 and
// longer windows let them come by themselves. Allocations are judged where the libraries' heap calls are counted as
// well.
#include "cmd/lab/lab.h"

#define COUNT(array) TARE_ARRAY_LEN(array)
#define GC "--heap=gc --layout=map"
#define GO "--layout=map"

// ---- stage 0 ------------------------------------------------------------------------------------------------------

static const struct lab_run stage_0[] = {
    {
	.name = "tare-opt",
	.knobs = "--path=opt",
    },
    {.name = "tare-opt-counted", .knobs = "--path=opt", .counted = true},
    {.name = "tare-gc-opt", .knobs = "--path=opt " GC, .trace = true},
    {.name = "tare-gc-opt-counted", .knobs = "--path=opt " GC, .counted = true},
    {.name = "tare-naive", .knobs = "--path=naive"},
    {.name = "tare-gc-naive", .knobs = "--path=naive " GC, .trace = true},
    {.name = "go-gc-opt", .peer = LAB_GO, .knobs = "--path=opt " GO, .trace = true},
    {.name = "go-opt", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap"},
    {.name = "go-gc-naive", .peer = LAB_GO, .knobs = "--path=naive " GO, .trace = true},
};

static const struct lab_criterion stage_0_criteria[] = {
    {"Optimised path: allocations a request, libraries' too", "allocs_per_request", "tare-opt-counted", NULL, 1, 0.05,
     1, false},
    {"Optimised path on the collected heap: allocations a request, libraries' too", "allocs_per_request",
     "tare-gc-opt-counted", NULL, 1, 0.05, 1, false},
};

static const struct lab_lesson stage_0_lessons[] = {
    {LAB_LIST, "allocs_per_request", NULL, NULL},
    {LAB_COMPARE, "cpu_us_per_request", "tare-gc-opt", "go-gc-opt"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-gc-naive", "tare-gc-opt"},
    {LAB_COMPARE, "rss_bytes", "tare-gc-opt", "go-gc-opt"},
};

static const struct lab_plot stage_0_plots[] = {
    {"Allocations a request", "bar", "run", "", "allocs_per_request", false},
    {"CPU a request", "bar", "run", "", "cpu_us_per_request", false},
};

// ---- stage 1 ------------------------------------------------------------------------------------------------------

static const struct lab_run stage_1[] = {
    {.name = "tare-gc-default", .knobs = "--path=naive " GC, .size = LAB_LIVE, .trace = true, .collect = true},
    {.name = "tare-gc-10", .knobs = "--path=naive " GC " --gogc 10", .size = LAB_LIVE, .trace = true, .collect = true},
    {.name = "tare-gc-90",
     .knobs = "--path=naive " GC " --gomemlimit {limit:111}",
     .size = LAB_LIVE,
     .base = "tare-gc-10",
     .trace = true,
     .collect = true},
    {.name = "tare-gc-flat",
     .knobs = "--path=naive --heap=gc --layout=flat",
     .size = LAB_LIVE,
     .trace = true,
     .collect = true},
    {
	.name = "tare-offheap",
	.knobs = "--path=opt",
	.size = LAB_FULL,
    },
    {.name = "go-gc-default",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO,
     .size = LAB_LIVE,
     .trace = true,
     .collect = true},
    {.name = "go-gc-10",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO " --gogc 10",
     .size = LAB_LIVE,
     .trace = true,
     .collect = true},
    {.name = "go-gc-90",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO " --gomemlimit {limit:111}",
     .size = LAB_LIVE,
     .base = "go-gc-10",
     .trace = true,
     .collect = true},
    {.name = "go-offheap", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap", .size = LAB_FULL},
};

static const char *const stage_1_columns[] = {"rate",
					      "missed",
					      "p50_us",
					      "p99_us",
					      "p999_us",
					      "cpu_us_per_request",
					      "gc_cpu_share",
					      "gc_cycles",
					      "trace_mark_ms",
					      "pause_p99_us",
					      "pause_max_us",
					      "pause_life_max_us",
					      "wait_p99_us",
					      "trace_cycles",
					      "rss_bytes",
					      "anon_bytes",
					      "peak_bytes",
					      "live_heap_bytes",
					      "limit_bytes",
					      "live_of_limit",
					      "anon_of_limit",
					      "lateness_p99_us",
					      NULL};

static const struct lab_criterion stage_1_criteria[] = {
    {"Big live heap, at 90 % of the limit: pause p99", "pause_p99_us", "tare-gc-90", NULL, 5000, 100, 3, false},
    {"Big live heap, GOGC=10: pause p99", "pause_p99_us", "tare-gc-10", NULL, 5000, 100, 3, false},
    {"Big live heap, untuned: pause p99, for contrast", "pause_p99_us", "tare-gc-default", NULL, 5000, 100, 3, false},
    {"Big live heap, at 90 % of the limit: time to safepoint p99", "wait_p99_us", "tare-gc-90", NULL, 5000, -1, 0,
     false},
    {"At 90 % of the limit: requests not answered", "missed", "tare-gc-90", NULL, 0.02, 0, 4, false},
    {"At 90 % of the limit: memory of its own, of the limit", "anon_of_limit", "tare-gc-90", NULL, 1, -1, 4, false},
};

static const struct lab_lesson stage_1_lessons[] = {
    {LAB_LIST, "pause_p99_us", NULL, NULL},
    {LAB_COMPARE, "pause_p99_us", "tare-gc-default", "go-gc-default"},
    {LAB_COMPARE, "rss_bytes", "tare-gc-default", "go-gc-default"},
    {LAB_COMPARE, "trace_mark_ms", "tare-gc-default", "tare-gc-flat"},
    {LAB_COMPARE, "trace_mark_ms", "tare-gc-10", "go-gc-10"},
    {LAB_SCALE, "trace_mark_ms", "tare-gc-10", NULL},
    {LAB_SCALE, "trace_mark_ms", "go-gc-10", NULL},
};

static const struct lab_plot stage_1_plots[] = {
    {"Pause p99", "bar", "run", "", "pause_p99_us", false},
    {"Resident memory", "bar", "run", "", "rss_bytes", false},
};

// ---- stage 2 ------------------------------------------------------------------------------------------------------

static const struct lab_run stage_2[] = {
    {.name = "tare-opt-max", .knobs = "--path=opt", .load = LAB_SEARCH, .against = "go-raw-opt-max"},
    {.name = "tare-gc-opt-max", .knobs = "--path=opt " GC, .load = LAB_SEARCH},
    {.name = "go-gc-opt-max", .peer = LAB_GO, .knobs = "--path=opt " GO, .load = LAB_SEARCH},
    {.name = "go-opt-max", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap", .load = LAB_SEARCH},
    {.name = "go-raw-opt-max", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap --server=raw", .load = LAB_SEARCH},
    {.name = "tare-gc-naive-max", .knobs = "--path=naive " GC, .load = LAB_SEARCH},
    {.name = "go-gc-naive-max", .peer = LAB_GO, .knobs = "--path=naive " GO, .load = LAB_SEARCH},
    {.name = "tare-opt", .knobs = "--path=opt", .load = LAB_HIGH, .against = "go-raw-opt"},
    {.name = "tare-gc-opt", .knobs = "--path=opt " GC, .load = LAB_HIGH, .trace = true},
    {.name = "tare-gc-opt-off", .knobs = "--path=opt " GC " --gogc off --gomemlimit {half}", .load = LAB_HIGH},
    {.name = "go-gc-opt", .peer = LAB_GO, .knobs = "--path=opt " GO, .load = LAB_HIGH, .trace = true},
    {.name = "go-opt", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap", .load = LAB_HIGH},
    {.name = "go-opt-off",
     .peer = LAB_GO,
     .knobs = "--path=opt --layout=offheap --gogc off --gomemlimit {half}",
     .load = LAB_HIGH},
    {.name = "tare-naive", .knobs = "--path=naive", .load = LAB_HIGH_NAIVE},
    {.name = "tare-gc-naive", .knobs = "--path=naive " GC, .load = LAB_HIGH_NAIVE, .trace = true},
    {.name = "tare-gc-naive-off",
     .knobs = "--path=naive " GC " --gogc off --gomemlimit {half}",
     .load = LAB_HIGH_NAIVE},
    {.name = "go-gc-naive", .peer = LAB_GO, .knobs = "--path=naive " GO, .load = LAB_HIGH_NAIVE, .trace = true},
    {.name = "go-raw-opt", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap --server=raw", .load = LAB_HIGH},
};

static const struct lab_criterion stage_2_criteria[] = {
    {"The highest rate that Tare holds, off the heap", "rate_max", "tare-opt-max", NULL, 60000, -1, 2, true},
    {"The highest rate that Tare holds, on the collected heap", "rate_max", "tare-gc-opt-max", NULL, 60000, -1, 2,
     true},
    {"The highest rate that Go holds", "rate_max", "go-gc-opt-max", NULL, 60000, -1, 0, true},
    {"The highest rate that Go holds, off the heap and without net/http", "rate_max", "go-raw-opt-max", NULL, 60000, -1,
     0, true},
    {"High rate: requests not answered", "missed", "tare-gc-opt", NULL, LAB_MISSED_MOST, 0, 2, false},
    {"High rate, naive path: requests not answered", "missed", "tare-gc-naive", NULL, LAB_MISSED_MOST, 0, 2, false},
    {"High rate: allocations a request", "allocs_per_request", "tare-opt", NULL, 1, 0.05, 1, false},
    {"High rate: GC CPU", "gc_cpu_share", "tare-gc-opt", NULL, 0.05, -1, 2, false},
    {"High rate: p99 with the collector less p99 without", "p99_us", "tare-gc-opt", "tare-gc-opt-off", 2000, 200, 2,
     false},
    {"High rate, naive path: GC CPU", "gc_cpu_share", "tare-gc-naive", NULL, 0.05, -1, 2, false},
    {"High rate, naive path: p99 with the collector less p99 without", "p99_us", "tare-gc-naive", "tare-gc-naive-off",
     2000, 200, 2, false},
};

static const struct lab_lesson stage_2_lessons[] = {
    {LAB_COMPARE, "cpu_us_per_request", "tare-opt", "go-opt"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-opt", "go-opt-off"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-opt", "go-raw-opt"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-gc-opt", "go-gc-opt"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-gc-naive", "go-gc-naive"},
    {LAB_COMPARE, "gc_cpu_share", "tare-gc-naive", "tare-gc-opt"},
    {LAB_COMPARE, "gc_cpu_share", "tare-gc-naive", "go-gc-naive"},
    {LAB_COMPARE, "p99_us", "tare-gc-opt", "go-gc-opt"},
    {LAB_COMPARE, "p99_us", "tare-gc-naive", "go-gc-naive"},
};

static const struct lab_plot stage_2_plots[] = {
    {"p99", "bar", "run", "", "p99_us", false},
    {"CPU a request", "bar", "run", "", "cpu_us_per_request", false},
    {"GC CPU, of one core", "bar", "run", "", "gc_cpu_share", false},
};

// ---- stage 3 ------------------------------------------------------------------------------------------------------

static const struct lab_run stage_3[] = {
    {
	.name = "tare-offheap",
	.knobs = "--path=opt",
	.size = LAB_FULL,
	.load = LAB_HIGH,
    },
    {.name = "tare-gc-opt", .knobs = "--path=opt " GC, .size = LAB_LIVE, .load = LAB_HIGH, .trace = true},
    {.name = "tare-gc-forced",
     .knobs = "--path=opt " GC,
     .size = LAB_LIVE,
     .load = LAB_HIGH,
     .trace = true,
     .collect = true},
    {.name = "tare-gc-naive", .knobs = "--path=naive " GC, .size = LAB_LIVE, .load = LAB_HIGH_NAIVE, .trace = true},
    {.name = "tare-gc-naive-10",
     .knobs = "--path=naive " GC " --gogc 10",
     .size = LAB_LIVE,
     .load = LAB_HIGH_NAIVE,
     .trace = true,
     .longer = 4},
    {.name = "go-offheap", .peer = LAB_GO, .knobs = "--path=opt --layout=offheap", .size = LAB_FULL, .load = LAB_HIGH},
    {.name = "go-gc-opt", .peer = LAB_GO, .knobs = "--path=opt " GO, .size = LAB_LIVE, .load = LAB_HIGH, .trace = true},
    {.name = "go-gc-forced",
     .peer = LAB_GO,
     .knobs = "--path=opt " GO,
     .size = LAB_LIVE,
     .load = LAB_HIGH,
     .trace = true,
     .collect = true},
    {.name = "go-gc-naive",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO,
     .size = LAB_LIVE,
     .load = LAB_HIGH_NAIVE,
     .trace = true},
    {.name = "go-gc-naive-10",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO " --gogc 10",
     .size = LAB_LIVE,
     .load = LAB_HIGH_NAIVE,
     .trace = true,
     .longer = 4},
};

static const struct lab_criterion stage_3_criteria[] = {
    {"Large heap and high rate: requests not answered", "missed", "tare-gc-opt", NULL, LAB_MISSED_MOST, 0, 6, false},
    {"Large heap and high rate: request p99, under an SLO of 25 ms", "p99_us", "tare-gc-opt", NULL, 25000, 5000, 6,
     false},
    {"Large heap and high rate: GC CPU", "gc_cpu_share", "tare-gc-opt", NULL, 0.08, -1, 6, false},
    {"Large heap and high rate: allocations a request", "allocs_per_request", "tare-gc-opt", NULL, 1, 0.05, 6, false},
    {"Large heap and high rate, a collection asked for in each window: request p99", "p99_us", "tare-gc-forced", NULL,
     25000, 5000, 6, false},
    {"Large heap and high rate, a collection asked for in each window: pause p99", "pause_p99_us", "tare-gc-forced",
     NULL, 5000, 100, 6, false},
    {"Large heap and high rate, naive path: requests not answered", "missed", "tare-gc-naive", NULL, LAB_MISSED_MOST, 0,
     6, false},
    {"Large heap and high rate, naive path: request p99", "p99_us", "tare-gc-naive", NULL, 25000, 5000, 6, false},
    {"Large heap and high rate, naive path: pause p99", "pause_p99_us", "tare-gc-naive", NULL, 5000, 100, 6, false},
    {"Large heap and high rate, naive path: GC CPU", "gc_cpu_share", "tare-gc-naive", NULL, 0.08, -1, 6, false},
    {"Large heap and high rate, naive path, GOGC=10: requests not answered", "missed", "tare-gc-naive-10", NULL,
     LAB_MISSED_MOST, 0, 6, false},
    {"Large heap and high rate, naive path, GOGC=10: request p99", "p99_us", "tare-gc-naive-10", NULL, 25000, 5000, 6,
     false},
    {"Large heap and high rate, naive path, GOGC=10: pause p99", "pause_p99_us", "tare-gc-naive-10", NULL, 5000, 100, 6,
     false},
    {"Large heap and high rate, naive path, GOGC=10, which the list does not ask for: GC CPU", "gc_cpu_share",
     "tare-gc-naive-10", NULL, 0.08, -1, 0, false},
};

static const struct lab_lesson stage_3_lessons[] = {
    {LAB_COMPARE, "p99_us", "tare-gc-opt", "go-gc-opt"},
    {LAB_COMPARE, "p99_us", "tare-offheap", "tare-gc-opt"},
    {LAB_COMPARE, "gc_cpu_share", "tare-gc-naive", "go-gc-naive"},
    {LAB_COMPARE, "p99_us", "tare-gc-naive-10", "go-gc-naive-10"},
    {LAB_COMPARE, "gc_cpu_share", "tare-gc-naive-10", "go-gc-naive-10"},
    {LAB_COMPARE, "pause_p99_us", "tare-gc-naive-10", "go-gc-naive-10"},
    {LAB_COMPARE, "pause_p99_us", "tare-gc-forced", "go-gc-forced"},
    {LAB_COMPARE, "p99_us", "tare-gc-forced", "go-gc-forced"},
};

// ---- the table ----------------------------------------------------------------------------------------------------

const struct lab_page lab_stages[] = {
    {.id = "stage-0",
     .title = "Simple",
     .question = "What does a request allocate, and how often is there a collection, at 500 requests a second on 8 "
		 "connections with little data?",
     .stage = 0,
     .experiment = -1,
     .runs = stage_0,
     .run_count = COUNT(stage_0),
     .criteria = stage_0_criteria,
     .criterion_count = COUNT(stage_0_criteria),
     .lessons = stage_0_lessons,
     .lesson_count = COUNT(stage_0_lessons),
     .plots = stage_0_plots,
     .plot_count = COUNT(stage_0_plots),
     .next = {"Name the sites of the naive path's allocations one by one: experiment 1."}},
    {.id = "stage-1",
     .title = "Big data",
     .question =
	 "What does a collection of a large live heap cost, and who waits for it, at 500 requests a second? What "
	 "does a memory limit do when 90 % of it is live?",
     .stage = 1,
     .experiment = -1,
     .runs = stage_1,
     .run_count = COUNT(stage_1),
     .columns = stage_1_columns,
     .criteria = stage_1_criteria,
     .criterion_count = COUNT(stage_1_criteria),
     .lessons = stage_1_lessons,
     .lesson_count = COUNT(stage_1_lessons),
     .plots = stage_1_plots,
     .plot_count = COUNT(stage_1_plots),
     .next = {"Take the records out of the collector's sight: experiment 8.", "Go nearer to the limit: experiment 6."}},
    {.id = "stage-2",
     .title = "High rate",
     .question =
	 "What does the collector cost when requests come fast on 512 connections, and how much higher is p99 with it? "
	 "Without it nothing is used again, so that every allocation touches new memory: the difference is no share.",
     .stage = 2,
     .experiment = -1,
     .runs = stage_2,
     .run_count = COUNT(stage_2),
     .criteria = stage_2_criteria,
     .criterion_count = COUNT(stage_2_criteria),
     .lessons = stage_2_lessons,
     .lesson_count = COUNT(stage_2_lessons),
     .plots = stage_2_plots,
     .plot_count = COUNT(stage_2_plots),
     .next = {"Where the collector costs too much: let the heap grow further between collections, experiment 5.",
	      "Where the tail is longer with it: see what the trace says, experiment 9."},
     .caution = LAB_NAIVE_WAYS},
    {.id = "stage-3",
     .title = "Big data and high rate",
     .question = "Do all bounds hold at once, with a large live heap and a high rate?",
     .stage = 3,
     .experiment = -1,
     .runs = stage_3,
     .run_count = COUNT(stage_3),
     .columns = stage_1_columns,
     .criteria = stage_3_criteria,
     .criterion_count = COUNT(stage_3_criteria),
     .lessons = stage_3_lessons,
     .lesson_count = COUNT(stage_3_lessons),
     .plots = stage_2_plots,
     .plot_count = COUNT(stage_2_plots),
     .next = {"Where less than 40 GB are live: run it on a machine with the memory for that."}},
};
const size_t lab_stage_count = COUNT(lab_stages);

const struct lab_page *lab_page_at(size_t i)
{
	if (i < lab_stage_count)
		return &lab_stages[i];
	i -= lab_stage_count;
	if (i < lab_experiment_count)
		return &lab_experiments[i];
	i -= lab_experiment_count;
	return i < lab_stretch_count ? &lab_stretches[i] : NULL;
}
