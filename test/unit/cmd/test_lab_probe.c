// SPDX-License-Identifier: MIT
//
// Goal: every probe runs, and what it says fits together, and is what the laboratory's plan asks of it; arguments that
// are none are refused with what would be allowed.
// Method: each once with little work; sums, orders and bounds of its figures, but no speed: what is faster than what is
// a question for the laboratory. Probes run in this process, one after the other, as they would in their own.
#include "test.h"

#include "cmd/lab/lab.h"
#include "cmd/lab/probe.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(TARE_ASAN) || defined(TARE_TSAN)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static json_t *out;

// With quick=1 and one argument more, or NULL.
static void run(const char *name, const char *more)
{
	const char *texts[] = {"quick=1", more};
	struct lab_probe_args args;
	struct tare_error err = {""};
	const struct lab_probe *probe = lab_probe_find(name);
	assert_non_null(probe);
	assert_int_equal(lab_probe_args_read(&args, probe, texts, more != NULL ? 2 : 1, &err), 0);
	json_decref(out);
	out = NULL;
	if (lab_probe_run(&args, &out, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	assert_string_equal(json_string_value(json_object_get(out, "probe")), name);
	const char *figure;
	json_t *value;
	json_object_foreach(json_object_get(out, "figures"), figure, value)
	{
		if (!json_is_real(value) || !isfinite(json_real_value(value)))
			fail_msg("%s: %s is no number", name, figure);
	}
	json_object_foreach(json_object_get(out, "series"), figure, value)
	{
		const struct lab_probe_axes *axes = lab_probe_axes(name, figure);
		if (axes == NULL || axes->x_name[0] == '\0' || axes->y_name[0] == '\0')
			fail_msg("%s: the axes of %s have no names", name, figure);
	}
}

static double figure(const char *format, ...)
{
	char name[96];
	va_list args;
	va_start(args, format);
	vsnprintf(name, sizeof name, format, args);
	va_end(args);
	const json_t *value = json_object_get(json_object_get(out, "figures"), name);
	if (value == NULL)
		fail_msg("no figure %s", name);
	return json_real_value(value);
}

static const char *text(const char *name)
{
	return json_string_value(json_object_get(json_object_get(out, "texts"), name));
}

static double points(const char *name)
{
	return (double)json_array_size(json_object_get(json_object_get(out, "series"), name));
}

// ---- arguments ----------------------------------------------------------------------------------------------------

TEST(arguments_are_read_over_the_defaults)
{
	const struct lab_probe *probe = lab_probe_find("packing");
	struct lab_probe_args args;
	struct tare_error err = {""};
	assert_int_equal(lab_probe_args_read(&args, probe, NULL, 0, &err), 0);
	assert_false(args.quick);
	uint64_t usual = lab_probe_value(&args, "records");
	assert_int_equal(lab_probe_args_read(&args, probe, (const char *const[]){"records=77", "quick=1"}, 2, &err), 0);
	assert_true(args.quick);
	assert_int_equal(lab_probe_value(&args, "records"), 77);
	assert_int_equal(lab_probe_args_read(&args, probe, (const char *const[]){"quick=1"}, 1, &err), 0);
	assert_true(lab_probe_value(&args, "records") < usual);
	probe = lab_probe_find("layouts");
	assert_int_equal(lab_probe_args_read(&args, probe, (const char *const[]){"size=3M"}, 1, &err), 0);
	assert_int_equal(lab_probe_value(&args, "size"), 3 << 20);
}

TEST(arguments_that_are_none_are_refused)
{
	static const struct {
		const char *probe, *arg, *text;
	} cases[] = {
	    {"packing", "records=x", "records=x is not allowed; give a number from 1 to 100000000"},
	    {"packing", "records=0", "records=0 is not allowed; give a number from 1 to 100000000"},
	    {"packing", "records=", "records= is not allowed; give a number from 1 to 100000000"},
	    {"layouts", "size=1X", "size=1X is not allowed; give a size from 1M to 1024G"},
	    {"layouts", "size=100", "size=100 is not allowed; give a size from 1M to 1024G"},
	    {"layouts", "sizes=1M", "'sizes=1M' is unknown; give KEY=VALUE, where KEY is size, workers or quick"},
	    {"layouts", "size", "'size' is unknown; give KEY=VALUE, where KEY is size, workers or quick"},
	    {"layouts", "quick=yes", "quick=yes is not allowed; give quick=0 or quick=1"},
	    {"pool-footguns", "size=1", "'size=1' is unknown; give KEY=VALUE, where KEY is quick"},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct lab_probe_args args = {.quick = true};
		struct tare_error err = {""};
		assert_int_equal(lab_probe_args_read(&args, lab_probe_find(cases[i].probe), &cases[i].arg, 1, &err),
				 -EINVAL);
		assert_string_equal(err.text, cases[i].text);
		assert_true(args.quick); // written on success alone
	}
	assert_null(lab_probe_find("pools"));
}

TEST(probes_are_in_order_and_their_defaults_are_allowed)
{
	for (size_t i = 0; i < lab_probe_count; i++) {
		assert_true(i == 0 || strcmp(lab_probes[i - 1]->name, lab_probes[i]->name) < 0);
		for (size_t k = 0; k < LAB_PROBE_KEYS_MAX && lab_probes[i]->keys[k].name != NULL; k++) {
			const struct lab_probe_key *key = &lab_probes[i]->keys[k];
			assert_true(key->min <= key->quick && key->quick <= key->value && key->value <= key->max);
		}
	}
}

TEST(axes_are_found_by_what_a_series_begins_with)
{
	const struct lab_probe_axes *axes = lab_probe_axes("pacer", "trigger_mib_actual");
	assert_string_equal(axes->x_name, "collection");
	assert_string_equal(axes->y_unit, "MiB");
	assert_ptr_equal(axes, lab_probe_axes("pacer", "trigger_mib_predicted"));
	axes = lab_probe_axes("pacer", "mark_cpu_ms_predicted");
	assert_string_equal(axes->y_unit, "ms");
	axes = lab_probe_axes("pool-sizes", "collected_with_live");
	assert_string_equal(axes->x_unit, "B");
	assert_true(axes->x_log && axes->y_log);
	assert_non_null(lab_probe_axes("release", "dontneed")); // Go's alone
	assert_null(lab_probe_axes("pacer", "rate"));
	assert_null(lab_probe_axes("packing", "packed"));
	assert_null(lab_probe_axes("none", "goal_mib"));
}

// ---- what they say ------------------------------------------------------------------------------------------------

TEST(pool_sizes_measures_each_size_in_each_way)
{
	run("pool-sizes", NULL);
	assert_true(points("heap") == 9); // 16 to 4096
	assert_true(points("collected") == 9);
	assert_true(points("collected_with_live") == 9);
	assert_true(points("pool") == 9);
	assert_true(points("pool_reset") == 9);
	for (int size = 16; size <= 4096; size *= 2) {
		assert_true(figure("heap_%d_ns", size) > 0);
		assert_true(figure("collected_with_live_%d_ns", size) > 0);
		assert_true(figure("pool_%d_ns", size) > 0);
	}
	assert_true(figure("live_bytes") >= 4 << 20);
	assert_true(figure("struct_pool_ns") > 0 && figure("struct_stack_ns") > 0);
	assert_float_equal(figure("struct_pool_over_heap_percent"),
			   (figure("struct_pool_ns") / figure("struct_heap_ns") - 1) * 100, 1e-6);
	assert_true(figure("struct_pool_over_collected_percent") > -100);
}

// Where a lead ends is the first size at which it isn't one of more than 5 %.
TEST(a_heap_wins_up_to_the_first_size_at_which_it_does_not)
{
	static const char *const names[][3] = {
	    {"heap", "pool", "heap_wins"},
	    {"heap", "pool_reset", "heap_wins_over_reset"},
	    {"collected", "pool", "collected_wins"},
	    {"collected", "pool_reset", "collected_wins_over_reset"},
	    {"collected_with_live", "pool_reset", "collected_with_live_wins_over_reset"}};
	run("pool-sizes", NULL);
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		double up_to = 0;
		for (int size = 16; size <= 4096; size *= 2) {
			if (figure("%s_%d_ns", names[i][1], size) <= figure("%s_%d_ns", names[i][0], size) * 1.05)
				break;
			up_to = size;
		}
		assert_true(figure("%s_up_to_bytes", names[i][2]) == up_to);
	}
}

// A release build corrupts silently, but for releases; the builds for finding mistakes find them.
TEST(pool_footguns_are_shown_or_caught)
{
	static const char *const cases[] = {"use_after_release", "write_after_release", "missing_reset", "pool_reset",
					    "double_release",    "wrong_pool",          "stale_handle"};
	run("pool-footguns", NULL);
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		assert_true(figure("%s_corrupted", cases[i]) + figure("%s_caught", cases[i]) <= 1);
		assert_non_null(text(cases[i]));
	}
	assert_true(figure("double_release_caught") == 1 && figure("wrong_pool_caught") == 1);
	assert_non_null(strstr(text("double_release"), "messages")); // the pool's name
	assert_true(figure("stale_handle_caught") == 1);
	assert_int_equal(strncmp(text("double_release"), "caught: ", 8), 0);
	assert_true(figure("pool_reset_corrupted") == 0 && figure("pool_reset_caught") == 0);
#ifndef TARE_DEBUG
	assert_true(figure("use_after_release_corrupted") == 1 && figure("missing_reset_corrupted") == 1);
	assert_non_null(strstr(text("use_after_release"), "the first owner read what the second one wrote"));
	assert_non_null(strstr(text("write_after_release"), "written after the release"));
#else
	assert_true(figure("missing_reset_corrupted") == 0);
#ifdef TARE_ASAN
	assert_true(figure("write_after_release_caught") == 1);
#endif
#endif
}

static int says_and_aborts(void)
{
	fprintf(stderr, "caught it\nand more\n");
	abort();
}

static int aborts(void)
{
	abort();
}

static int says_and_is_ended_by(int number)
{
	fprintf(stderr, "words\n");
	(void)raise(number);
	return LAB_PROBE_NOTHING;
}

static int says_and_faults(void)
{
	return says_and_is_ended_by(SIGSEGV);
}

static int says_and_is_killed(void)
{
	return says_and_is_ended_by(SIGKILL);
}

static int says_and_exits(void)
{
	fprintf(stderr, "words\n");
	return 1;
}

static int corrupts(void)
{
	return LAB_PROBE_CORRUPTED;
}

static int refuses(void)
{
	return LAB_PROBE_REFUSED;
}

static int sees_nothing(void)
{
	return LAB_PROBE_NOTHING;
}

// Neither a bad access nor a kill is a check that did its work, nor is an abort that says nothing.
TEST(caught_is_only_what_was_stopped_on_purpose_and_with_words)
{
	static const struct {
		int (*fn)(void);
		const char *text;
		int caught, corrupted; // -1: not told
	} cases[] = {
	    {says_and_aborts, "caught: caught it", 1, 0},
	    {aborts, "ended by signal 6, which nothing caught on purpose", 0, -1},
	    {says_and_faults, "ended by signal 11, which nothing caught on purpose", 0, -1},
	    {says_and_is_killed, "ended by signal 9, which nothing caught on purpose", 0, -1},
	    {says_and_exits, "ended with exit code 1, which nothing caught on purpose", 0, -1},
	    {corrupts, "corrupted: it was seen", 0, 1},
	    {refuses, "refused: -ESTALE", 1, 0},
	    {sees_nothing, "nothing was seen", 0, 0},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct lab_probe_outcome outcome;
		struct tare_error err = {""};
		json_decref(out);
		out = json_pack("{s:{}, s:{}}", "figures", "texts");
		assert_int_equal(lab_probe_in_child(cases[i].fn, &outcome, &err), 0);
		lab_probe_outcome(out, "case", "it was seen", &outcome);
		assert_string_equal(text("case"), cases[i].text);
		assert_true(figure("case_caught") == cases[i].caught);
		const json_t *corrupted = json_object_get(json_object_get(out, "figures"), "case_corrupted");
		assert_true(cases[i].corrupted < 0 ? corrupted == NULL
						   : json_real_value(corrupted) == cases[i].corrupted);
	}
}

static int has_no_memory(void)
{
	return LAB_PROBE_NO_MEMORY;
}

TEST(a_child_without_memory_is_an_error)
{
	struct lab_probe_outcome outcome;
	struct tare_error err = {""};
	assert_int_equal(lab_probe_in_child(has_no_memory, &outcome, &err), -ENOMEM);
	assert_string_equal(err.text, "out of memory");
}

TEST(boxing_counts_what_is_allocated)
{
	run("boxing", NULL);
	assert_true(figure("string_copy_allocs") == 1 && figure("bytes_copy_allocs") == 1);
	assert_true(figure("format_boxed_allocs") == 5); // microseconds, key, format and bytes, and the line
	assert_true(figure("format_printf_allocs") == 1 && figure("value_boxed_allocs") == 10);
	assert_true(figure("string_copy_bytes") == 11 && figure("bytes_copy_bytes") == 301);
	static const char *const bare[] = {"string_slice", "bytes_view", "format_typed", "value_typed"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bare); i++) {
		assert_true(figure("%s_allocs", bare[i]) == 0 && figure("%s_bytes", bare[i]) == 0);
		assert_true(figure("%s_ns", bare[i]) > 0);
	}
}

TEST(packing_tells_sizes_as_they_are)
{
	run("packing", NULL);
	assert_true(figure("mispacked_bytes") == 96 && figure("reordered_bytes") == 88 && figure("packed_bytes") == 64);
	static const char *const forms[] = {"mispacked", "reordered", "packed"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(forms); i++) {
		double bytes = figure("%s_bytes", forms[i]);
		// An array is a header more than its elements; an object at most its size's class.
		assert_true(figure("%s_array_each_bytes", forms[i]) >= bytes &&
			    figure("%s_array_each_bytes", forms[i]) < bytes * 1.05);
		assert_true(figure("%s_objects_each_bytes", forms[i]) >= bytes &&
			    figure("%s_objects_each_bytes", forms[i]) < bytes * 1.35);
		assert_true(figure("%s_objects_mark_ms", forms[i]) > 0);
	}
}

TEST(layouts_have_the_objects_that_they_say)
{
	run("layouts", NULL);
	assert_true(figure("map_objects") >= 2 * figure("records"));
	assert_true(figure("flat_objects") < 10 && figure("offheap_objects") == 0);
	assert_true(figure("map_heap_bytes") > 2 << 20 && figure("flat_heap_bytes") > 2 << 20);
	assert_true(figure("offheap_heap_bytes") < 1 << 20);
	assert_true(figure("map_mark_ms") > figure("flat_mark_ms"));
	assert_true(figure("map_pause_max_us") >= figure("map_pause_p99_us"));
}

TEST(limit_spiral_has_each_limit_twice)
{
	run("limit-spiral", NULL);
	assert_true(points("throughput_limiter") == 4 && points("throughput_unlimited") == 4);
	assert_float_equal(figure("p200_limiter_throughput_percent"), 100, 1e-9);
	assert_float_equal(figure("p200_unlimited_throughput_percent"), 100, 1e-9);
	static const int percents[] = {200, 110, 105, 101};
	for (size_t i = 0; i < TARE_ARRAY_LEN(percents); i++) {
		assert_true(figure("p%d_limiter_objects_per_second", percents[i]) > 0);
		assert_true(figure("p%d_unlimited_throughput_percent", percents[i]) > 0);
		assert_true(figure("p%d_unlimited_gc_percent", percents[i]) >= 0);
		assert_true(figure("p%d_unlimited_stepped_in", percents[i]) == 0);
	}
	assert_true(figure("p101_unlimited_mapped_percent") > 80); // the limit is of what was live
	assert_true(figure("live_bytes") > 2 << 20);
}

static double value_at(const char *series, size_t at)
{
	const json_t *points = json_object_get(json_object_get(out, "series"), series);
	return json_real_value(json_array_get(json_array_get(points, at), 1));
}

TEST(pacer_predicts_a_trigger_from_what_was_marked)
{
	run("pacer", NULL);
	assert_true(figure("cycles") >= 3);
	assert_true(points("goal_mib_predicted") == figure("cycles") &&
		    points("trigger_mib_actual") == figure("cycles"));
	// The goal is arithmetic: but for whole MiB, of 8 and more, it is what was said. So it has no error to tell.
	for (size_t i = 0; i < (size_t)figure("cycles"); i++)
		assert_float_equal(value_at("goal_mib_predicted", i), value_at("goal_mib_actual", i), 3);
	assert_null(json_object_get(json_object_get(out, "figures"), "goal_mib_error_percent"));
	assert_true(figure("rounding_percent") > 0);
	assert_true(figure("trigger_mib_error_percent") <= figure("trigger_mib_error_max_percent"));
}

TEST(generations_cost_more_collections_the_less_room_there_is)
{
	run("generations", NULL);
	assert_true(points("live") == 2 && points("headroom") == 2); // 2 and 8 MiB
	assert_true(figure("headroom8_collections") >= figure("live8_collections"));
	assert_true(figure("headroom8_heap_bytes") < figure("live8_heap_bytes"));
	assert_true(figure("pool_ns") > 0 && figure("live2_ns") > 0);
	assert_true(figure("live_least_ns") == figure("live2_ns") && figure("live_most_ns") == figure("live8_ns"));
	assert_true(figure("headroom_most_ns") == figure("headroom8_ns"));
}

TEST(the_collectors_time_is_all_that_it_kept_from_the_program)
{
	const struct tare_gc_stats stats = {
	    .background_ns = 1, .assist_ns = 20, .idle_ns = 300, .sweep_ns = 4000, .pause_ns = 50000};
	assert_float_equal(lab_probe_gc_seconds(&stats), 54321e-9, 1e-15);
}

TEST(what_is_not_known_is_no_figure)
{
	json_decref(out);
	out = json_pack("{s:{}}", "figures");
	lab_probe_figure(out, NAN, "missing");
	lab_probe_figure(out, 0, "zero");
	assert_true(lab_probe_resident() > 0);
	assert_null(json_object_get(json_object_get(out, "figures"), "missing"));
	assert_true(figure("zero") == 0);
	json_decref(out);
	out = NULL;
}

TEST(regions_call_no_heap)
{
	run("regions", "requests=20000"); // enough that a collection ends, on a busy machine too
	assert_true(figure("region_heap_calls") < 0.01);
	assert_true(figure("heap_heap_calls") == 20);
	assert_true(figure("collected_collections") >= 1 && figure("collected_gc_ns") > 0);
	assert_true(figure("region_ns") > 0 && figure("heap_ns") > 0);
	assert_true(figure("stale_corrupted") + figure("stale_caught") <= 1);
#ifndef TARE_DEBUG
	assert_true(figure("stale_corrupted") == 1);
#endif
}

TEST(release_gives_back_what_it_says)
{
	run("release", NULL);
	double spike = figure("spike_bytes");
	assert_true(spike == 16 << 20);
	if (SANITIZED) // whose shadow is resident too
		return;
	assert_true(figure("keep_resident_bytes") > spike * 0.9);
	assert_true(figure("dontneed_resident_bytes") < spike * 0.1);
	assert_true(figure("unmap_resident_bytes") < spike * 0.1);
	static const char *const names[] = {"collected", "pool", "heap"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		assert_true(figure("%s_spike_bytes", names[i]) > spike * 0.9);
		assert_true(figure("%s_after_bytes", names[i]) < spike * 0.6);
	}
	assert_true(figure("collected_released_bytes") > spike * 0.4);
}

// Where there is no such group, it says so.
TEST(a_container_is_a_group_or_a_reason)
{
	run("container", NULL);
	if (text("skipped") != NULL)
		return;
	assert_true(figure("auto_killed") == 0 && figure("plain_killed") == 1);
	assert_true(figure("auto_collections") >= 1 && figure("auto_objects_per_second") > 0);
	assert_true(figure("plain_lived_ms") < figure("auto_lived_ms"));
}

// A probe whose child would wait for ever is killed: the child is gone too, which the pipe's end says that only it has.
TEST(a_probes_child_ends_with_it)
{
	int ends[2];
	char byte;
	assert_int_equal(pipe(ends), 0);
	pid_t probe = fork();
	if (probe == 0) {
		pid_t child = lab_probe_fork();
		if (child == 0) {
			(void)!write(ends[1], "x", 1);
			for (;;)
				pause();
		}
		close(ends[1]);
		for (;;)
			pause();
	}
	assert_true(probe > 0);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(kill(probe, SIGKILL), 0);
	assert_int_equal(waitpid(probe, NULL, 0), probe);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

// ---- what the plan asks -------------------------------------------------------------------------------------------

// "live128_ns" and "live8_ns" are one: in a quick run the largest heap is a smaller one.
static bool same_but_for_numbers(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (isdigit((unsigned char)*a))
			a++;
		while (isdigit((unsigned char)*b))
			b++;
		if (*a != *b || *a == '\0')
			return *a == *b;
	}
}

static void check_told(const char *probe, const char *key)
{
	const char *told;
	json_t *value;
	json_object_foreach(json_object_get(out, "figures"), told, value)
	{
		if (strcmp(told, key) == 0 || (strcmp(probe, "generations") == 0 && same_but_for_numbers(told, key)))
			return;
	}
	fail_msg("the plan asks %s for %s, which it does not tell", probe, key);
}

static bool is(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void check_page(const struct lab_page *page, const struct lab_run *asked)
{
	char probe[LAB_NAME];
	snprintf(probe, sizeof probe, "%.*s", (int)strcspn(asked->knobs, " "), asked->knobs);
	run(probe, NULL);
	if (text("skipped") != NULL)
		return;
	for (size_t i = 0; i < page->criterion_count; i++)
		if (is(page->criteria[i].run, asked->name) || is(page->criteria[i].less, asked->name))
			check_told(probe, page->criteria[i].key);
	for (size_t i = 0; i < page->lesson_count; i++) {
		const struct lab_lesson *lesson = &page->lessons[i];
		if (lesson->kind == LAB_WITHIN && is(lesson->b, asked->name)) {
			check_told(probe, lesson->key);
			check_told(probe, lesson->a);
		}
		if (lesson->kind == LAB_COMPARE && (is(lesson->a, asked->name) || is(lesson->b, asked->name)))
			check_told(probe, lesson->key);
	}
}

// A name that no probe has would be a sentence, or a verdict, that nobody misses.
TEST(what_the_plan_asks_of_a_probe_it_tells)
{
	const struct lab_page *page;
	size_t asked = 0;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			if (page->runs[k].peer != LAB_TARE_PROBE || page->runs[k].build != NULL)
				continue;
			check_page(page, &page->runs[k]);
			asked++;
		}
	}
	assert_true(asked >= 8);
}
