// SPDX-License-Identifier: MIT
// Goal: which runs are not begun, and what is tried again.
// Method: programs are scripts in a folder of the test's own, which count how often they were started.
#include "test.h"

#include "cmd/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static const char *path_of(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void file_write(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

// A program that adds a line to `starts` each time, and then does the rest.
static void program_write(const char *name, const char *rest)
{
	char text[1024];
	snprintf(text, sizeof text, "#!/bin/sh\necho >>%s/starts\n%s\n", folder, rest);
	file_write(name, text);
	assert_int_equal(chmod(path_of(name), 0700), 0);
}

static int starts(void)
{
	int lines = 0;
	FILE *file = fopen(path_of("starts"), "re");
	for (int c; file != NULL && (c = fgetc(file)) != EOF;)
		lines += c == '\n';
	if (file != NULL)
		fclose(file);
	return lines;
}

static const char *const folders[] = {"out/runs", "out/data", "out", "release", "hard"};

static void begin(struct lab *lab)
{
	snprintf(folder, sizeof folder, "/tmp/tare-lab-run-XXXXXX");
	assert_non_null(mkdtemp(folder));
	for (size_t i = TARE_ARRAY_LEN(folders); i-- > 0;)
		assert_int_equal(mkdir(path_of(folders[i]), 0700), 0);
	*lab = (struct lab){.out = strdup(path_of("out")),
			    .machine = json_pack("{s:s}", "commit", "abc123"),
			    .results = json_object(),
			    .end_ns = tare_clock_ns() + 600 * TARE_NS_PER_S,
			    .probe_times = 3};
	snprintf(lab->tare, sizeof lab->tare, "%s", path_of("release/tare"));
}

static void end(struct lab *lab)
{
	json_decref(lab->machine);
	json_decref(lab->results);
	free((char *)(uintptr_t)lab->out);
	char command[128];
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

static const struct lab_run runs[] = {
    {.name = "tare-plain", .peer = LAB_TARE_PROBE, .knobs = "boxing"},
    {.name = "tare-hard", .peer = LAB_TARE_PROBE, .knobs = "boxing", .build = "hard"},
};
static const struct lab_page page = {.id = "page", .runs = runs, .run_count = TARE_ARRAY_LEN(runs)};

static const char *skipped(const struct lab *lab, const char *run)
{
	const char *why = json_string_value(json_object_get(lab_result(lab, &page, run), "skipped"));
	return why != NULL ? why : "";
}

#define PRINTS_FIGURES "echo '{\"probe\":\"boxing\",\"figures\":{\"a_ns\":1}}'"

TEST(a_program_of_another_mode_counts_only_where_it_is_of_the_same_commit)
{
	struct lab lab;
	begin(&lab);
	assert_int_equal(lab_run_do(&lab, &page, &runs[1]), 0);
	assert_non_null(strstr(skipped(&lab, "tare-hard"), "no such build"));
	static const struct {
		const char *commit, *refused;
		int64_t age_s; // of the program
	} cases[] = {
	    {NULL, "of commit unknown, this program of abc123", 0},
	    {"def456\n", "of commit def456, this program of abc123", 0},
	    {"abc123\n", "older than the commit beside it", 10},
	    {"abc123\n", NULL, 0},
	};
	program_write("hard/tare", PRINTS_FIGURES);
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		const struct timespec written = {.tv_sec = time(NULL) + 5 - cases[i].age_s},
				      both[] = {written, written};
		if (cases[i].commit != NULL)
			file_write("hard/commit", cases[i].commit);
		assert_int_equal(utimensat(AT_FDCWD, path_of("hard/tare"), both, 0), 0);
		json_object_clear(lab.results);
		assert_int_equal(lab_run_do(&lab, &page, &runs[1]), 0);
		assert_int_equal(starts(), cases[i].refused == NULL);
		if (cases[i].refused != NULL)
			assert_non_null(strstr(skipped(&lab, "tare-hard"), cases[i].refused));
		else
			assert_string_equal(skipped(&lab, "tare-hard"), "");
	}
	end(&lab);
}

TEST(a_probe_runs_as_often_as_it_is_to)
{
	struct lab lab;
	begin(&lab);
	program_write("release/tare", PRINTS_FIGURES);
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_string_equal(skipped(&lab, "tare-plain"), "");
	assert_int_equal(starts(), 3);
	end(&lab);
}

TEST(what_is_counted_is_repeated_when_the_counter_is_another)
{
	static const struct lab_run counted = {
	    .name = "tare-plain", .peer = LAB_TARE_PROBE, .knobs = "boxing", .counted = true};
	struct lab lab;
	if (strcmp(TARE_MODE, "asan") == 0 || strcmp(TARE_MODE, "tsan") == 0)
		return; // such runs are left out there
	begin(&lab);
	program_write("release/tare", PRINTS_FIGURES);
	lab.probe_times = 1;
	assert_int_equal(mkdir(path_of("release/preload"), 0700), 0);
	static const char *const contents[] = {"one counter", "one counter", "a counter that counts otherwise"};
	static const int started[] = {1, 1, 2};
	for (size_t i = 0; i < TARE_ARRAY_LEN(contents); i++) {
		file_write("release/preload/malloc_count.so", contents[i]);
		json_object_clear(lab.results);
		assert_int_equal(lab_run_do(&lab, &page, &counted), 0);
		assert_string_equal(skipped(&lab, "tare-plain"), "");
		assert_int_equal(starts(), started[i]);
	}
	end(&lab);
}

TEST(a_runs_command_gives_the_sizes_that_it_had)
{
	static const struct lab_run half = {
	    .name = "tare-plain", .peer = LAB_TARE_PROBE, .knobs = "boxing limit={half}"};
	static const struct lab_run go = {.name = "tare-hard", .peer = LAB_GO_PROBE, .knobs = "boxing"};
	struct lab lab;
	begin(&lab);
	program_write("release/tare", PRINTS_FIGURES);
	snprintf(lab.go_probes, sizeof lab.go_probes, "%s", lab.tare);
	lab.live_bytes = 5 << 20;
	lab.half_bytes = 7 << 20;
	assert_int_equal(lab_run_do(&lab, &page, &half), 0);
	assert_int_equal(lab_run_do(&lab, &page, &go), 0);
	assert_string_equal(json_string_value(json_object_get(lab_result(&lab, &page, "tare-plain"), "again")),
			    "tare lab --run page.tare-plain --live 5242880 --out again --half 7340032 --go off");
	assert_string_equal(json_string_value(json_object_get(lab_result(&lab, &page, "tare-hard"), "again")),
			    "tare lab --run page.tare-hard --live 5242880 --out again --go build/go/svc");
	end(&lab);
}

// Each start takes longer than the time that is left at the first one.
TEST(no_process_is_started_when_the_time_is_over)
{
	struct lab lab;
	begin(&lab);
	program_write("release/tare", "sleep 1\n" PRINTS_FIGURES);
	lab.end_ns = tare_clock_ns() + 500 * TARE_NS_PER_MS;
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_non_null(strstr(skipped(&lab, "tare-plain"), "time was over"));
	assert_true(starts() <= 1);
	end(&lab);
}

TEST(no_process_is_started_of_another_program_than_the_first_one)
{
	struct lab lab;
	struct stat st;
	begin(&lab);
	program_write("release/tare", PRINTS_FIGURES);
	assert_int_equal(stat(lab.tare, &st), 0);
	lab.program_inode = st.st_ino;
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_string_equal(skipped(&lab, "tare-plain"), "");
	program_write("release/new", PRINTS_FIGURES);
	assert_int_equal(unlink(path_of("out/runs/page.tare-plain.json")), 0);
	char tare[sizeof lab.tare];
	snprintf(tare, sizeof tare, "%s", path_of("release/new"));
	assert_int_equal(rename(tare, lab.tare), 0);
	json_object_clear(lab.results);
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_non_null(strstr(skipped(&lab, "tare-plain"), "was built anew"));
	assert_int_equal(starts(), 3);
	end(&lab);
}

// What was marked is to be repeated; where that can't be, it is better than nothing.
TEST(a_marked_run_stays_where_it_cannot_be_repeated)
{
	struct lab lab;
	struct tare_error err;
	begin(&lab);
	program_write("release/tare", PRINTS_FIGURES);
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	json_t *result = lab_result(&lab, &page, "tare-plain");
	json_object_set_new(result, "noisy", json_true());
	assert_int_equal(lab_json_write(result, path_of("out/runs/page.tare-plain.json"), &err), 0);
	json_object_clear(lab.results);
	lab.end_ns = 0;
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_int_equal(starts(), 3);
	assert_string_equal(skipped(&lab, "tare-plain"), "");
	result = lab_result(&lab, &page, "tare-plain");
	assert_true(json_is_true(json_object_get(result, "noisy")));
	assert_non_null(
	    strstr(json_string_value(json_array_get(json_object_get(result, "notes"), 0)), "time was over"));
	lab.end_ns = tare_clock_ns() + 600 * TARE_NS_PER_S;
	json_object_clear(lab.results);
	assert_int_equal(lab_run_do(&lab, &page, &runs[0]), 0);
	assert_int_equal(starts(), 6);
	end(&lab);
}

// ---- the rate's search --------------------------------------------------------------------------------------------

#define HOLDS "{\"duration_s\":1,\"status\":{\"200\":1000000},\"errors\":0,\"latency_ns\":{\"p99\":1000}}"

static int search(struct lab *lab, json_t **ret)
{
	struct tare_error err = {""};
	const struct lab_service service = {.url = "http://127.0.0.1:1", .records = 1};
	lab->high_wanted = 1000;
	lab->window_ns = TARE_NS_PER_MS;
	lab->cpu_load = -1;
	*ret = json_pack("{s:{}, s:[]}", "figures", "notes");
	return lab_rate_search(lab, &service, *ret, &err);
}

TEST(a_load_that_fails_is_tried_again_before_the_search_fails)
{
	struct lab lab;
	json_t *result;
	begin(&lab);
	program_write("release/tare", "[ $(wc -l <${0%/*}/../starts) -gt 2 ] || exit 3\necho '" HOLDS "'");
	assert_int_equal(search(&lab, &result), 0);
	assert_int_equal(starts(), 3);
	assert_float_equal(lab_figure_of(result, "rate_max"), 1000, 1e-9);
	assert_non_null(
	    strstr(json_string_value(json_array_get(json_object_get(result, "notes"), 0)), "2 loads failed"));
	json_decref(result);
	end(&lab);
}

#define LATE                                                                                                           \
	"{\"duration_s\":1,\"status\":{\"200\":400},\"errors\":0,\"latency_ns\":{\"p99\":1000},"                       \
	"\"generator_limited\":true}"

// It answers 500 a second at most here, and the generator says that it was late.
TEST(a_maximum_that_the_generator_may_have_set_says_so)
{
	for (int i = 0; i < 2; i++) {
		bool late = i == 1;
		struct lab lab;
		json_t *result;
		begin(&lab);
		// The wanted rate fails twice, the least one holds, the others fail.
		program_write("release/tare", late ? "case \"$*\" in *'--rate 500 '*) echo '" HOLDS "';; *) echo '" LATE
						     "';; esac"
						   : "echo '" HOLDS "'");
		assert_int_equal(search(&lab, &result), 0);
		assert_true(lab_figure_of(result, "rate_max") == (late ? 500 : 1000));
		assert_true(json_is_true(json_object_get(result, "generator_limited")) == late);
		json_decref(result);
		end(&lab);
	}
}

#define FAILS "{\"duration_s\":1,\"status\":{\"200\":0},\"errors\":0,\"latency_ns\":{\"p99\":1000}}"

// It holds 900 a second. The first two tries at the first rate in the middle, 707, meet a neighbour.
TEST(a_burst_at_one_rate_does_not_hide_what_is_above_it)
{
	struct lab lab;
	json_t *result;
	begin(&lab);
	program_write("release/tare", "for word; do [ \"$before\" = --rate ] && rate=${word%.*}; before=$word; done\n"
				      "bursts=${0%/*}/bursts\n"
				      "if [ $rate = 707 ] && [ ! -e $bursts.2 ]; then\n"
				      "	[ -e $bursts.1 ] && touch $bursts.2; touch $bursts.1; rate=1000\n"
				      "fi\n"
				      "if [ $rate -gt 900 ]; then echo '" FAILS "'; else echo '" HOLDS "'; fi");
	assert_int_equal(search(&lab, &result), 0);
	assert_true(lab_figure_of(result, "rate_max") > 870 && lab_figure_of(result, "rate_max") <= 900);
	json_decref(result);
	end(&lab);
}

TEST(a_load_that_always_fails_ends_the_search)
{
	struct lab lab;
	json_t *result;
	begin(&lab);
	program_write("release/tare", "exit 3");
	assert_int_equal(search(&lab, &result), -EIO);
	assert_int_equal(starts(), 3);
	assert_true(isnan(lab_figure_of(result, "rate_max")));
	json_decref(result);
	end(&lab);
}

TEST(an_interrupted_load_is_not_tried_again)
{
	struct lab lab;
	json_t *result;
	begin(&lab);
	program_write("release/tare", "exit 3");
	lab_interrupted = 2;
	assert_int_equal(search(&lab, &result), -EINTR);
	lab_interrupted = 0;
	assert_true(starts() <= 1);
	json_decref(result);
	end(&lab);
}
