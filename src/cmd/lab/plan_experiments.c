// SPDX-License-Identifier: MIT
// The ten experiments and the stretch pages, as data.
//
// What needs a service runs one under load; what is a matter of one process is a probe, which Tare and Go have under
// the same name. Where C has no such thing as the question speaks of (escape analysis), the question stays: where does
// memory come from, what does each fix buy, when does the next one stop paying.
#include "cmd/lab/lab.h"

#define COUNT(array) TARE_ARRAY_LEN(array)
#define GC "--heap=gc --layout=map"
#define GO "--layout=map"

// A probe of both peers.
#define BOTH(probe)                                                                                                    \
	{.name = "tare-" probe, .peer = LAB_TARE_PROBE, .knobs = probe},                                               \
	{                                                                                                              \
		.name = "go-" probe, .peer = LAB_GO_PROBE, .knobs = probe                                              \
	}

// ---- 1: sites -----------------------------------------------------------------------------------------------------

#define SITE(label, fixes)                                                                                             \
	{.name = "tare-" label,                                                                                        \
	 .knobs = "--path=naive " GC " --naive-fix " fixes,                                                            \
	 .load = LAB_HIGH_NAIVE,                                                                                       \
	 .series = "tare",                                                                                             \
	 .x = label},                                                                                                  \
	{                                                                                                              \
		.name = "go-" label, .peer = LAB_GO, .knobs = "--path=naive " GO " --naive-fix " fixes,                \
		.load = LAB_HIGH_NAIVE, .series = "go", .x = label                                                     \
	}

static const struct lab_run sites[] = {
    SITE("none", "none"),
    SITE("copy", "copy"),
    SITE("base64", "copy,base64"),
    SITE("tree", "copy,base64,tree"),
    SITE("text", "copy,base64,tree,text"),
    SITE("all", "all"),
};
static const char *const sites_columns[] = {"rate",
					    "allocs_per_request",
					    "bytes_per_request",
					    "cpu_us_per_request",
					    "gc_us_per_request",
					    "gc_cpu_share",
					    "pause_p99_us",
					    "p99_us",
					    NULL};
static const struct lab_criterion sites_criteria[] = {
    {"All five sites mended: allocations a request", "allocs_per_request", "tare-all", NULL, 1, 0.05, 1, false},
};
static const struct lab_lesson sites_lessons[] = {
    {LAB_COMPARE, "allocs_per_request", "tare-copy", "tare-none"},
    {LAB_COMPARE, "allocs_per_request", "tare-base64", "tare-copy"},
    {LAB_COMPARE, "allocs_per_request", "tare-tree", "tare-base64"},
    {LAB_COMPARE, "allocs_per_request", "tare-text", "tare-tree"},
    {LAB_COMPARE, "allocs_per_request", "tare-all", "tare-text"},
    {LAB_KNEE, "cpu_us_per_request", "tare", NULL},
    {LAB_KNEE, "cpu_us_per_request", "go", NULL},
};
static const struct lab_plot sites_plots[] = {
    {"Allocations a request, by what is mended", "bar", "sites mended up to", "", "allocs_per_request", false},
    {"CPU a request, by what is mended", "bar", "sites mended up to", "", "cpu_us_per_request", false},
};

// ---- 2, 4, 7: probes ----------------------------------------------------------------------------------------------

static const struct lab_run boxing[] = {BOTH("boxing")};
static const struct lab_lesson boxing_lessons[] = {
    {LAB_WITHIN, "format_boxed_ns", "format_typed_ns", "tare-boxing"},
    {LAB_WITHIN, "value_boxed_allocs", "value_typed_allocs", "tare-boxing"},
    {LAB_WITHIN, "string_copy_ns", "string_slice_ns", "tare-boxing"},
    {LAB_WITHIN, "bytes_copy_ns", "bytes_view_ns", "tare-boxing"},
    {LAB_COST, "format_boxed_ns", "tare-boxing", "go-boxing"},
    {LAB_COST, "format_typed_ns", "tare-boxing", "go-boxing"},
};
static const struct lab_run footguns[] = {
    BOTH("pool-footguns"),
    {.name = "tare-pool-footguns-hard", .peer = LAB_TARE_PROBE, .knobs = "pool-footguns", .build = "hard"},
    {.name = "tare-pool-footguns-asan", .peer = LAB_TARE_PROBE, .knobs = "pool-footguns", .build = "asan"},
};
static const struct lab_criterion footguns_criteria[] = {
    {"A use after release is shown to corrupt, in a release build", "use_after_release_corrupted", "tare-pool-footguns",
     NULL, 1, -1, 5, true},
    {"A double release is caught, in a release build", "double_release_caught", "tare-pool-footguns", NULL, 1, -1, 5,
     true},
    {"A missing reset is shown to corrupt", "missing_reset_corrupted", "tare-pool-footguns", NULL, 1, -1, 5, true},
    {"And the mend of that, a pool that resets, does not", "pool_reset_corrupted", "tare-pool-footguns", NULL, 0, -1, 5,
     false},
    {"A handle in place of a pointer catches a use after release", "stale_handle_caught", "tare-pool-footguns", NULL, 1,
     -1, 5, true},
    {"A write after release, before another owner has the object, is caught, by the hardened build",
     "write_after_release_caught", "tare-pool-footguns-hard", NULL, 1, -1, 0, true},
    {"A write after release, before another owner has the object, is caught, by the build with AddressSanitizer",
     "write_after_release_caught", "tare-pool-footguns-asan", NULL, 1, -1, 5, true},
    {"A use after release, when another owner has the object, is caught, by the hardened build",
     "use_after_release_caught", "tare-pool-footguns-hard", NULL, 1, -1, 0, true},
    {"A use after release, when another owner has the object, is caught, by the build with AddressSanitizer",
     "use_after_release_caught", "tare-pool-footguns-asan", NULL, 1, -1, 5, true},
};
static const struct lab_run packing[] = {BOTH("packing")};
static const struct lab_lesson packing_lessons[] = {
    {LAB_WITHIN, "mispacked_bytes", "reordered_bytes", "tare-packing"},
    {LAB_WITHIN, "mispacked_objects_heap_bytes", "reordered_objects_heap_bytes", "tare-packing"},
    {LAB_WITHIN, "mispacked_objects_mark_ms", "reordered_objects_mark_ms", "tare-packing"},
    {LAB_WITHIN, "reordered_bytes", "packed_bytes", "tare-packing"},
    {LAB_WITHIN, "reordered_objects_heap_bytes", "packed_objects_heap_bytes", "tare-packing"},
    {LAB_WITHIN, "reordered_objects_mark_ms", "packed_objects_mark_ms", "tare-packing"},
    {LAB_COST, "reordered_objects_mark_ms", "tare-packing", "go-packing"},
};

// ---- 3: pools -----------------------------------------------------------------------------------------------------

#define POOL(state, rate, way)                                                                                         \
	{.name = "tare-" state "-" rate,                                                                               \
	 .knobs = "--path=opt --pool=" state,                                                                          \
	 .load = way,                                                                                                  \
	 .series = "tare",                                                                                             \
	 .x = state "-" rate},                                                                                         \
	{                                                                                                              \
		.name = "go-" state "-" rate, .peer = LAB_GO, .knobs = "--path=opt --layout=offheap --pool=" state,    \
		.load = way, .series = "go", .x = state "-" rate                                                       \
	}

static const struct lab_run pools[] = {
    POOL("on", "low", LAB_LOW),    POOL("off", "low", LAB_LOW), POOL("on", "high", LAB_HIGH),
    POOL("off", "high", LAB_HIGH), BOTH("pool-sizes"),
};
static const struct lab_criterion pools_criteria[] = {
    {"A size exists up to which a pool loses: the collected heap is faster than one whose objects are reset",
     "collected_wins_over_reset_up_to_bytes", "tare-pool-sizes", NULL, 1, -1, 5, true},
    {"A pool loses to the stack, for a struct of 16 bytes: what it costs more", "struct_pool_over_stack_percent",
     "tare-pool-sizes", NULL, 5, -1, 5, true},
    {"A pool wins: CPU a request at the high rate, on less off", "cpu_us_per_request", "tare-on-high", "tare-off-high",
     0, -1, 5, false},
    {"A pool wins: bytes a request at the high rate, on less off", "bytes_per_request", "tare-on-high", "tare-off-high",
     0, -1, 5, false},
};
static const struct lab_lesson pools_lessons[] = {
    {LAB_COMPARE, "allocs_per_request", "tare-off-high", "tare-on-high"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-off-high", "tare-on-high"},
    {LAB_COMPARE, "p99_us", "tare-off-high", "tare-on-high"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-off-low", "tare-on-low"},
    {LAB_COMPARE, "cpu_us_per_request", "go-off-high", "go-on-high"},
    {LAB_COMPARE, "gc_cpu_share", "go-off-high", "go-on-high"},
    {LAB_WITHIN, "struct_pool_ns", "struct_stack_ns", "tare-pool-sizes"},
    {LAB_WITHIN, "struct_pool_ns", "struct_collected_ns", "tare-pool-sizes"},
    {LAB_WITHIN, "struct_pool_ns", "struct_heap_ns", "tare-pool-sizes"},
    {LAB_COST, "struct_pool_ns", "tare-pool-sizes", "go-pool-sizes"},
    {LAB_COST, "struct_collected_ns", "tare-pool-sizes", "go-pool-sizes"},
    {LAB_COMPARE, "collected_wins_over_reset_up_to_bytes", "tare-pool-sizes", "go-pool-sizes"},
    {LAB_COMPARE, "collected_with_live_wins_over_reset_up_to_bytes", "tare-pool-sizes", "go-pool-sizes"},
};
static const struct lab_plot pools_plots[] = {
    {"CPU a request, pool on and off", "bar", "pool and rate", "", "cpu_us_per_request", false},
};

// ---- 5: GOGC ------------------------------------------------------------------------------------------------------

#define GOGC(percent)                                                                                                  \
	{.name = "tare-" percent,                                                                                      \
	 .knobs = "--path=naive " GC " --gogc " percent " --gomemlimit {half}",                                        \
	 .load = LAB_HIGH_NAIVE,                                                                                       \
	 .series = "tare",                                                                                             \
	 .x = percent},                                                                                                \
	{                                                                                                              \
		.name = "go-" percent, .peer = LAB_GO,                                                                 \
		.knobs = "--path=naive " GO " --gogc " percent " --gomemlimit {half}", .load = LAB_HIGH_NAIVE,         \
		.series = "go", .x = percent                                                                           \
	}

static const struct lab_run gogc[] = {GOGC("50"), GOGC("100"), GOGC("200"), GOGC("400"), GOGC("off")};
static const char *const gogc_columns[] = {
    "rate",   "gc_cpu_share", "gc_us_per_request", "cpu_us_per_request", "cycles_per_s", "p50_us",
    "p99_us", "p999_us",      "pause_p99_us",      "live_heap_bytes",    "peak_bytes",   NULL};
static const struct lab_lesson gogc_lessons[] = {
    {LAB_KNEE, "gc_cpu_share", "tare", NULL},
    {LAB_KNEE, "gc_cpu_share", "go", NULL},
    {LAB_COMPARE, "gc_cpu_share", "tare-100", "go-100"},
    {LAB_LIST, "peak_bytes", "tare", NULL},
    {LAB_LIST, "peak_bytes", "go", NULL},
    {LAB_COMPARE, "p99_us", "tare-50", "tare-400"},
};
static const struct lab_plot gogc_plots[] = {
    {"GC CPU, of one core", "bar", "GOGC", "", "gc_cpu_share", false},
    {"Resident memory at most", "bar", "GOGC", "", "peak_bytes", false},
    {"p99", "bar", "GOGC", "", "p99_us", false},
};

// ---- 6: the memory limit ------------------------------------------------------------------------------------------

#define LIMIT(percent)                                                                                                 \
	{.name = "tare-" percent,                                                                                      \
	 .knobs = "--path=naive " GC " --gomemlimit {limit:" percent "}",                                              \
	 .size = LAB_QUARTER,                                                                                          \
	 .load = LAB_HIGH_NAIVE,                                                                                       \
	 .base = "tare-live",                                                                                          \
	 .series = "tare",                                                                                             \
	 .x = percent,                                                                                                 \
	 .trace = true},                                                                                               \
	{                                                                                                              \
		.name = "go-" percent, .peer = LAB_GO,                                                                 \
		.knobs = "--path=naive " GO " --gomemlimit {limit:" percent "}", .size = LAB_QUARTER,                  \
		.load = LAB_HIGH_NAIVE, .base = "go-live", .series = "go", .x = percent, .trace = true                 \
	}

static const struct lab_run limits[] = {
    {.name = "tare-live",
     .knobs = "--path=naive " GC " --gogc 10",
     .size = LAB_QUARTER,
     .load = LAB_HIGH_NAIVE,
     .trace = true,
     .collect = true},
    {.name = "go-live",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO " --gogc 10",
     .size = LAB_QUARTER,
     .load = LAB_HIGH_NAIVE,
     .trace = true,
     .collect = true},
    LIMIT("110"),
    LIMIT("105"),
    LIMIT("101"),
    BOTH("limit-spiral"),
};
static const char *const limits_columns[] = {"rate",          "missed",
					     "p50_us",        "p99_us",
					     "gc_cpu_share",  "cpu_us_per_request",
					     "cycles_per_s",  "pause_p99_us",
					     "trace_cycles",  "trace_pause_ms_per_s",
					     "anon_bytes",    "peak_bytes",
					     "limit_bytes",   "live_of_limit",
					     "anon_of_limit", NULL};
static const struct lab_criterion limits_criteria[] = {
    {"Limit at 110 % of live: requests not answered", "missed", "tare-110", NULL, 0.02, 0, 4, false},
    {"Limit at 110 % of live: GC CPU", "gc_cpu_share", "tare-110", NULL, 0.5, 0.25, 4, false},
    {"Limit at 110 % of live: memory of its own, of the limit", "anon_of_limit", "tare-110", NULL, 1, -1, 4, false},
    {"A spiral on purpose: GC CPU at 101 % of live, without the limiter", "p101_unlimited_gc_percent",
     "tare-limit-spiral", NULL, 90, -1, 4, true},
    {"A spiral on purpose: what is left of the work that is done at 200 % of live, without the limiter",
     "p101_unlimited_throughput_percent", "tare-limit-spiral", NULL, 10, -1, 4, false},
    {"With the limiter: GC CPU at 101 % of live, without what idle workers marked", "p101_limiter_gc_percent",
     "tare-limit-spiral", NULL, 60, -1, 4, false},
};
static const struct lab_lesson limits_lessons[] = {
    {LAB_WITHIN, "p101_unlimited_objects_per_second", "p200_unlimited_objects_per_second", "tare-limit-spiral"},
    {LAB_WITHIN, "p101_limiter_objects_per_second", "p200_limiter_objects_per_second", "tare-limit-spiral"},
    {LAB_WITHIN, "p110_limiter_objects_per_second", "p200_limiter_objects_per_second", "tare-limit-spiral"},
    {LAB_WITHIN, "p101_limiter_mapped_percent", "p200_limiter_mapped_percent", "tare-limit-spiral"},
    {LAB_COMPARE, "p101_limiter_mapped_percent", "tare-limit-spiral", "go-limit-spiral"},
    {LAB_COMPARE, "p101_limiter_throughput_percent", "tare-limit-spiral", "go-limit-spiral"},
    {LAB_MARGIN, "missed", "tare", NULL},
    {LAB_MARGIN, "missed", "go", NULL},
    {LAB_LIST, "gc_cpu_share", "tare", NULL},
    {LAB_LIST, "missed", "tare", NULL},
    {LAB_LIST, "gc_cpu_share", "go", NULL},
    {LAB_LIST, "missed", "go", NULL},
};
static const struct lab_plot limits_plots[] = {
    {"GC CPU near the limit", "line", "limit", "% of live", "gc_cpu_share", false},
    {"Requests not answered near the limit", "line", "limit", "% of live", "missed", false},
};

// ---- 8: layouts ---------------------------------------------------------------------------------------------------

#define LAYOUT(layout)                                                                                                 \
	{.name = "tare-" layout,                                                                                       \
	 .knobs = "--path=naive --heap=gc --layout=" layout,                                                           \
	 .size = LAB_QUARTER,                                                                                          \
	 .series = "tare",                                                                                             \
	 .x = layout,                                                                                                  \
	 .trace = true,                                                                                                \
	 .collect = true},                                                                                             \
	{                                                                                                              \
		.name = "go-" layout, .peer = LAB_GO, .knobs = "--path=naive --layout=" layout, .size = LAB_QUARTER,   \
		.series = "go", .x = layout, .trace = true, .collect = true                                            \
	}

static const struct lab_run layouts[] = {LAYOUT("map"), LAYOUT("flat"), LAYOUT("offheap"), BOTH("layouts")};
static const char *const layouts_columns[] = {"rate",      "p99_us",       "cpu_us_per_request", "trace_mark_ms",
					      "gc_cycles", "trace_cycles", "pause_p99_us",       "pause_max_us",
					      "rss_bytes", "anon_bytes",   "live_heap_bytes",    NULL};
static const struct lab_lesson layouts_lessons[] = {
    {LAB_WITHIN, "map_mark_ms", "flat_mark_ms", "tare-layouts"},
    {LAB_COST, "map_mark_ms", "tare-layouts", "go-layouts"},
    {LAB_COMPARE, "trace_mark_ms", "tare-map", "tare-flat"},
    {LAB_COMPARE, "pause_p99_us", "tare-map", "go-map"},
    {LAB_COMPARE, "anon_bytes", "tare-map", "tare-offheap"},
    {LAB_COMPARE, "anon_bytes", "tare-map", "go-map"},
};
static const struct lab_plot layouts_plots[] = {
    {"Heap", "bar", "layout", "", "live_heap_bytes", false},
    {"Pause p99", "bar", "layout", "", "pause_p99_us", false},
};

// ---- 9: the collector's share of the tail -------------------------------------------------------------------------

static const struct lab_run tail[] = {
    {.name = "tare-on", .knobs = "--path=naive " GC, .load = LAB_HIGH_NAIVE, .trace = true},
    {.name = "tare-off",
     .knobs = "--path=naive " GC " --gogc off --gomemlimit {half}",
     .load = LAB_HIGH_NAIVE,
     .trace = true},
    {.name = "go-on", .peer = LAB_GO, .knobs = "--path=naive " GO, .load = LAB_HIGH_NAIVE, .trace = true},
    {.name = "go-off",
     .peer = LAB_GO,
     .knobs = "--path=naive " GO " --gogc off --gomemlimit {half}",
     .load = LAB_HIGH_NAIVE,
     .trace = true},
};
static const char *const tail_columns[] = {"rate",
					   "p50_us",
					   "p99_us",
					   "p999_us",
					   "gc_cpu_share",
					   "gc_us_per_request",
					   "cycles_per_s",
					   "pause_p99_us",
					   "pause_max_us",
					   "trace_cycles",
					   "trace_pause_ms_per_s",
					   "trace_pause_max_ms",
					   NULL};
static const struct lab_criterion tail_criteria[] = {
    {"p99 with the collector less p99 without, naive path", "p99_us", "tare-on", "tare-off", 2000, 200, 2, false},
    {"Go's, for contrast", "p99_us", "go-on", "go-off", 2000, -1, 0, false},
};
static const struct lab_lesson tail_lessons[] = {
    {LAB_COMPARE, "p99_us", "tare-on", "tare-off"},       {LAB_COMPARE, "p99_us", "go-on", "go-off"},
    {LAB_COMPARE, "p999_us", "tare-on", "tare-off"},      {LAB_COMPARE, "p999_us", "go-on", "go-off"},
    {LAB_LIST, "trace_pause_max_ms", NULL, NULL},         {LAB_COMPARE, "trace_pause_ms_per_s", "tare-on", "go-on"},
    {LAB_COMPARE, "trace_cycles", "tare-on", "tare-off"},
};
static const struct lab_plot tail_plots[] = {{"p99 with the collector on and off", "bar", "run", "", "p99_us", false}};

// ---- 10: interning ------------------------------------------------------------------------------------------------

#define INTERN(state)                                                                                                  \
	{.name = "tare-" state,                                                                                        \
	 .knobs = "--path=opt " GC " --intern=" state,                                                                 \
	 .load = LAB_HIGH,                                                                                             \
	 .series = "tare",                                                                                             \
	 .x = state},                                                                                                  \
	{                                                                                                              \
		.name = "go-" state, .peer = LAB_GO, .knobs = "--path=opt " GO " --intern=" state, .load = LAB_HIGH,   \
		.series = "go", .x = state                                                                             \
	}

static const struct lab_run intern[] = {INTERN("off"), INTERN("on")};
static const char *const intern_columns[] = {"rate",   "live_heap_bytes", "anon_bytes", "cpu_us_per_request",
					     "p50_us", "p99_us",          NULL};
static const struct lab_lesson intern_lessons[] = {
    {LAB_COMPARE, "live_heap_bytes", "tare-off", "tare-on"},
    {LAB_COMPARE, "cpu_us_per_request", "tare-off", "tare-on"},
    {LAB_COMPARE, "live_heap_bytes", "go-off", "go-on"},
    {LAB_COMPARE, "cpu_us_per_request", "go-off", "go-on"},
};
static const struct lab_plot intern_plots[] = {{"Heap", "bar", "intern", "", "live_heap_bytes", false}};

// ---- the tables ---------------------------------------------------------------------------------------------------

#define RUNS(array) .runs = array, .run_count = COUNT(array)
#define ALL(name)                                                                                                      \
	.columns = name##_columns, .lessons = name##_lessons, .lesson_count = COUNT(name##_lessons),                   \
	.plots = name##_plots, .plot_count = COUNT(name##_plots), RUNS(name)
#define LESSONS(name) .lessons = name##_lessons, .lesson_count = COUNT(name##_lessons)
#define CRITERIA(name) .criteria = name##_criteria, .criterion_count = COUNT(name##_criteria)

const struct lab_page lab_experiments[] = {
    {.id = "experiment-1",
     .title = "Allocation sites",
     .question = "Which five places make the naive path's garbage, and what does mending each of them buy?",
     .stage = -1,
     .experiment = 1,
     ALL(sites),
     CRITERIA(sites),
     .next = {"Where code must stay simple, mend no further than what still buys something; the optimised path is what "
	      "comes after the last fix."},
     .caution = LAB_NAIVE_WAYS},
    {.id = "experiment-2",
     .title = "Boxing, strings and bytes",
     .question = "What do formatting through boxed values and turning strings into bytes and back cost?",
     .stage = -1,
     .experiment = 2,
     LESSONS(boxing),
     RUNS(boxing),
     .next = {"Where they are cheaper: views and typed appends on the way of a request."}},
    {.id = "experiment-3",
     .title = "Pools",
     .question = "What does recycling connection buffers save at a low and at a high rate, and below which size does a "
		 "pool lose?",
     .stage = -1,
     .experiment = 3,
     .lessons = pools_lessons,
     .lesson_count = COUNT(pools_lessons),
     .plots = pools_plots,
     .plot_count = COUNT(pools_plots),
     RUNS(pools),
     CRITERIA(pools),
     .next = {"Where there is a crossover: pool nothing that is smaller."}},
    {.id = "experiment-4",
     .title = "How pools are misused",
     .question =
	 "What happens after a use behind the release, a double release, a missing reset; and which build catches it?",
     .stage = -1,
     .experiment = 4,
     RUNS(footguns),
     CRITERIA(footguns),
     .next = {"Run the tests with a build that caught what the release build let pass."}},
    {.id = "experiment-5",
     .title = "GOGC",
     .question = "How do the collector's CPU, memory and p99 depend on GOGC, and where is the knee?",
     .stage = -1,
     .experiment = 5,
     ALL(gogc),
     .next = {"Set GOGC where the next step buys less CPU than its memory is worth, and a memory limit for the worst "
	      "case."}},
    {.id = "experiment-6",
     .title = "Near the memory limit",
     .question =
	 "At limits of 110, 105 and 101 % of what is live: what is merely slower, what spirals, which margin "
	 "is safe? Live is all memory of the process right after a collection less what is free in whole blocks, of "
	 "either peer. Of tare svc's limit nine tenths are the collector's, and they are what is counted here; a "
	 "limit that leaves no room is refused at the start.",
     .stage = -1,
     .experiment = 6,
     ALL(limits),
     CRITERIA(limits),
     .next = {"Keep the safe margin, where there is one; shed load below it."}},
    {.id = "experiment-7",
     .title = "Struct packing",
     .question = "What does the order of a record's fields save in bytes, in heap and in marking time? And what do "
		 "offsets and numbers in "
		 "place of its pointers?",
     .stage = -1,
     .experiment = 7,
     LESSONS(packing),
     RUNS(packing),
     .next = {"`tare layout` finds structs with holes."}},
    {.id = "experiment-8",
     .title = "Map, flat, off the heap",
     .question = "What does the collector have to look at in each layout of the records, and how long does that take?",
     .stage = -1,
     .experiment = 8,
     ALL(layouts),
     .next = {"Where marking takes too long: keep what never changes off the heap, or flat."}},
    {.id = "experiment-9",
     .title = "The tail, with the collector and without",
     .question = "How much higher is the tail with the collector than without, and are the trace's pauses long enough "
		 "for that? Without "
		 "it every allocation touches new memory, so that the difference may be below zero.",
     .stage = -1,
     .experiment = 9,
     ALL(tail),
     CRITERIA(tail),
     .next =
	 {"Where the tail is longer though pauses are short: look at assists and at marking on the service's CPU."}},
    {.id = "experiment-10",
     .title = "Interning",
     .question = "What does sharing the texts of `category` save, and what does it cost a lookup?",
     .stage = -1,
     .experiment = 10,
     ALL(intern),
     .next = {"Where it saves memory at no cost: intern what repeats and is read more often than made."}},
};
const size_t lab_experiment_count = COUNT(lab_experiments);

static const struct lab_run pacer[] = {BOTH("pacer")};
static const struct lab_lesson pacer_lessons[] = {
    {LAB_WITHIN, "trigger_mib_error_percent", "rounding_percent", "tare-pacer"},
    {LAB_WITHIN, "trigger_mib_error_percent", "rounding_percent", "go-pacer"},
    {LAB_COMPARE, "mark_cpu_ms_error_percent", "tare-pacer", "go-pacer"},
};
static const struct lab_run generations[] = {BOTH("generations")};
static const struct lab_lesson generations_lessons[] = {
    {LAB_WITHIN, "live_most_ns", "live_least_ns", "tare-generations"},
    {LAB_WITHIN, "headroom_most_ns", "headroom_least_ns", "tare-generations"},
    {LAB_WITHIN, "pool_ns", "live_least_ns", "tare-generations"},
    {LAB_COST, "live_most_ns", "tare-generations", "go-generations"},
    {LAB_COST, "live_least_ns", "tare-generations", "go-generations"},
};
static const struct lab_run regions[] = {BOTH("regions")};
static const struct lab_lesson regions_lessons[] = {
    {LAB_WITHIN, "region_ns", "heap_ns", "tare-regions"},
    {LAB_WITHIN, "region_ns", "collected_ns", "tare-regions"},
    {LAB_COST, "collected_ns", "tare-regions", "go-regions"},
};
static const struct lab_run release[] = {BOTH("release")};
static const struct lab_lesson release_lessons[] = {
    {LAB_WITHIN, "free_call_ms", "dontneed_call_ms", "tare-release"},
    {LAB_WITHIN, "free_again_ms", "dontneed_again_ms", "tare-release"},
    {LAB_COST, "collected_after_bytes", "tare-release", "go-release"},
};
static const struct lab_run container[] = {BOTH("container")};
static const struct lab_lesson container_lessons[] = {
    {LAB_WITHIN, "plain_killed", "auto_killed", "tare-container"},
    {LAB_WITHIN, "plain_killed", "auto_killed", "go-container"},
    {LAB_WITHIN, "auto_peak_bytes", "limit_bytes", "tare-container"},
    {LAB_COMPARE, "auto_objects_per_second", "tare-container", "go-container"},
};

#define STRETCH(page_id, page_title, page_question, page_runs, after)                                                  \
	{                                                                                                              \
		.id = page_id, .title = page_title, .question = page_question, .stage = -1, .experiment = -1,          \
		LESSONS(page_runs), RUNS(page_runs), .next = {                                                         \
			after                                                                                          \
		}                                                                                                      \
	}

const struct lab_page lab_stretches[] = {
    STRETCH("stretch-pacer", "Predicting the next collection",
	    "Can the next cycle's trigger and mark be told from the last ones?", pacer,
	    "Where the prediction holds: plan memory by it."),
    STRETCH("stretch-generations", "Short-lived garbage beside a live heap",
	    "Short-lived garbage at a growing live heap: what does it cost a collector without generations, and what "
	    "does a pool fill in?",
	    generations, "Where a pool is cheaper: pool what dies young."),
    STRETCH("stretch-regions", "A region a request",
	    "What does freeing a request's memory at once save against the collected heap?", regions,
	    "Where a region is cheaper: give handlers an arena each."),
    STRETCH("stretch-release", "Memory after a spike",
	    "How fast does memory go back to the system, by each way of giving it back?", release,
	    "Choose the mode by who else needs the memory."),
    STRETCH("stretch-container", "In a container", "What does a memory limit that is taken from the container save?",
	    container, "Where auto lived and plain did not: set --gomemlimit auto in every container."),
};
const size_t lab_stretch_count = COUNT(lab_stretches);
