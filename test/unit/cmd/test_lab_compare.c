// SPDX-License-Identifier: MIT
// Goal: two laboratories that came to the same are said to be the same, and what one of them judges, ranks, says or
// measures otherwise is named with both sides; digits alone are no other conclusion, and what was not judged is no
// figure.
// Method: two folders with a report and a run each, made of texts.
#include "test.h"

#include "cmd/lab/report.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folders[2][32];

static void file_write(int side, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", folders[side], name);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void make(void)
{
	for (int i = 0; i < 2; i++) {
		char path[128];
		snprintf(folders[i], sizeof folders[i], "/tmp/tare-compare-XXXXXX");
		assert_non_null(mkdtemp(folders[i]));
		snprintf(path, sizeof path, "%s/runs", folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
}

static void clean(void)
{
	static const char *const names[] = {"report.json", "runs/stage-0.tare-opt.json",
					    "runs/stage-2.go-gc-naive.json", "runs/experiment-9.go-on.json", "runs"};
	for (int i = 0; i < 2; i++) {
		char path[128];
		for (size_t k = 0; k < TARE_ARRAY_LEN(names); k++) {
			snprintf(path, sizeof path, "%s/%s", folders[i], names[k]);
			(void)remove(path);
		}
		assert_int_equal(rmdir(folders[i]), 0); // nothing else was left in it
	}
}

#define TABLE "{\"title\": \"\", \"columns\": [], \"rows\": []}"
#define VERDICT(point, met, figure)                                                                                    \
	"{\"point\": \"" point "\", \"asked\": \"at most 1\", \"figure\": \"" figure "\", \"met\": " met               \
	", \"evidence\": \"stage-0.tare-opt\"}"

// A report with one page, that has such tables, verdicts, sentences, notes and places behind Go.
static void report(int side, const char *tables, const char *verdicts, const char *learnt, const char *notes,
		   const char *behind)
{
	char text[4096];
	snprintf(
	    text, sizeof text,
	    "{\"title\": \"T\", \"made\": \"2026-11-2%dT20:00:00Z\", \"machine\": {\"commit\": \"abc\", \"cores\": "
	    "%d}, "
	    "\"acceptance\": [], \"behind\": [%s], \"pages\": [{\"id\": \"stage-0\", \"title\": \"S\", \"question\": "
	    "\"\", \"commands\": [], \"tables\": [%s], \"plots\": [], \"verdicts\": [%s], \"learnt\": [%s], \"next\": "
	    "[], \"notes\": [%s]}]}",
	    side + 1, side + 2, behind, tables, verdicts, learnt, notes);
	file_write(side, "report.json", text);
}

static void plain(int side)
{
	report(side, TABLE, "", "", "", "");
}

static void run_of(int side, const char *name, const char *figures, const char *spread, const char *more)
{
	char text[2048], path[64];
	snprintf(text, sizeof text, "{\"name\": \"%s\"%s, \"figures\": {%s}, \"spread\": {%s}}", name, more, figures,
		 spread);
	snprintf(path, sizeof path, "runs/%s.json", name);
	file_write(side, path, text);
}

static void run(int side, const char *figures, const char *spread, const char *more)
{
	run_of(side, "stage-0.tare-opt", figures, spread, more);
}

// What is said of them, to be freed.
static char *compared(void)
{
	char *text = NULL;
	size_t len = 0;
	struct tare_error err;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	assert_int_equal(lab_report_compare(out, folders[0], folders[1], &err), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

#define assert_says(text, part)                                                                                        \
	do {                                                                                                           \
		if (strstr(text, part) == NULL)                                                                        \
			fail_msg("\"%s\" is not in:\n%s", part, text);                                                 \
	} while (0)
#define assert_silent(text, part) assert_null(strstr(text, part))

TEST(sides_are_named_and_the_machine_where_it_differs)
{
	make();
	plain(0);
	plain(1);
	char *text = compared();
	assert_says(text, "before  2026-11-21 20:00 UTC, commit abc\n");
	assert_says(text, "after   2026-11-22 20:00 UTC, commit abc\n");
	assert_says(text, "cores: 2 -> 3\n");
	free(text);
	clean();
}

TEST(a_verdict_is_its_outcome)
{
	make();
	report(0, TABLE,
	       VERDICT("Pause (at 100 requests a second)", "true",
		       "7 us") ", " VERDICT("Rate", "true", "1 /s") ", " VERDICT("Old", "true", "1"),
	       "", "", "");
	report(1, TABLE,
	       VERDICT("Pause (at 200 requests a second)", "false",
		       "9 us") ", " VERDICT("Rate", "true", "2 /s") ", " VERDICT("New", "true", "1"),
	       "", "", "");
	char *text = compared();
	assert_says(text, "  stage-0.tare-opt, Pause: met, 7 us -> missed, 9 us\n");
	assert_says(text, "  1 of 2 are the same\n"); // what only one of them has is not compared
	assert_silent(text, "Rate");
	free(text);
	clean();
}

#define BEHIND(what, why)                                                                                              \
	"{\"page\": \"stage-0\", \"what\": \"" what "\", \"tare\": 2, \"go\": 1, \"unit\": \"us\", \"why\": \"" why    \
	"\"}"

TEST(a_place_is_ahead_where_no_list_has_it)
{
	make();
	report(0, TABLE, "", "", "\"c: not compared: noisy\"",
	       BEHIND("a", "") ", " BEHIND("b", "ahead, but within the windows' spread"));
	report(1, TABLE, "", "", "",
	       BEHIND("b", "within the windows' spread") ", " BEHIND("c", "within the windows' spread"));
	char *text = compared();
	assert_says(text, "  stage-0, a: behind, 2.00× -> ahead\n");
	assert_says(text, "  stage-0, c: not compared -> within the spread, 2.00×\n");
	assert_says(text, "  1 of 3 are the same, 1 the opposite\n");
	free(text);
	clean();
}

TEST(a_page_that_one_did_not_do_is_no_difference)
{
	make();
	report(0, TABLE, VERDICT("Pause", "true", "7"), "\"more\"", "", BEHIND("a", ""));
	report(1, "", VERDICT("Pause", "null", ""), "", "", "");
	char *text = compared();
	assert_says(text, "  0 of 0 are the same\n");
	assert_says(text, "  0 of 0 are the same, 0 the opposite\n");
	assert_says(text, "  0 of 0 sentences are the same but for their numbers\n");
	free(text);
	clean();
}

TEST(a_sentence_is_its_words_and_the_side_of_its_ratio)
{
	make();
	report(0, TABLE, "", "\"p99: 1,204 us with a-10, 0.5 us with b: 0.9 times as much.\", \"c: 3 ms.\"", "", "");
	report(1, TABLE, "", "\"p99: 17 us with a-10, -2.25 us with b: 0.1 times as much.\", \"c: 14 ms.\"", "", "");
	char *text = compared();
	assert_says(text, "  2 of 2 sentences are the same but for their numbers\n");
	free(text);
	report(1, TABLE, "", "\"p99: 17 us with a-10, 2 us with b: 1.1 times as much.\", \"c: 14 ms.\"", "", "");
	text = compared();
	assert_says(text, "  - stage-0, p99: 1,204 us with a-10, 0.5 us with b: 0.9 times as much.\n");
	assert_says(text, "  + stage-0, p99: 17 us with a-10, 2 us with b: 1.1 times as much.\n");
	assert_says(text, "  1 of 2 sentences are the same but for their numbers\n");
	free(text);
	report(1, TABLE, "", "\"p99: 17 us with a-20, 2 us with b: 0.1 times as much.\"", "", "");
	text = compared();
	assert_says(text, "  0 of 1 sentences");
	free(text);
	clean();
}

TEST(a_figure_is_within_the_wider_spread_or_named)
{
	make();
	plain(0);
	plain(1);
	run(0, "\"p50_us\": 100, \"cpu_us_per_request\": 10, \"rate\": 500",
	    "\"p50_us\": 0.3, \"cpu_us_per_request\": 0.1, \"rate\": 0", "");
	run(1, "\"p50_us\": 125, \"cpu_us_per_request\": 20, \"rate\": 504",
	    "\"p50_us\": 0.1, \"cpu_us_per_request\": 0.1, \"rate\": 0", "");
	char *text = compared();
	// 25 of 125; the wider spread is 30 of 125. A hundredth is no difference.
	assert_says(text,
		    "  all                                            3          67 %          67 %        20.0 %  "
		    "      50.0 %\n");
	assert_says(text, "  stage-0.tare-opt, CPU a request: 10.00 us -> 20.00 us, apart 50 %, spread 10 %\n");
	assert_silent(text, "p50:");
	assert_silent(text, "rate:");
	free(text);
	clean();
}

TEST(a_figure_may_be_as_far_apart_as_the_same_run_at_another_time)
{
	static const char one[] = ", \"hash\": \"1\"", other[] = ", \"hash\": \"2\"";
	static const char spread[] = "\"p50_us\": 0.02, \"cpu_us_per_request\": 0.02";
	make();
	plain(0);
	plain(1);
	run(0, "\"p50_us\": 100, \"cpu_us_per_request\": 10", spread, "");
	run(1, "\"p50_us\": 125, \"cpu_us_per_request\": 20", spread, "");
	// 30 of 100 in the second laboratory; CPU a request nowhere.
	run_of(1, "stage-2.go-gc-naive", "\"p50_us\": 70, \"cpu_us_per_request\": 4", spread, one);
	run_of(1, "experiment-9.go-on", "\"p50_us\": 100, \"cpu_us_per_request\": 4", spread, one);
	char *text = compared();
	assert_says(text,
		    "  p50                                            1           0 %         100 %        20.0 %  ");
	assert_says(text,
		    "  CPU a request                                  1           0 %           0 %        50.0 %  ");
	free(text);
	run_of(1, "experiment-9.go-on", "\"p50_us\": 100", spread, other); // another run, then
	text = compared();
	assert_says(text,
		    "  p50                                            1           0 %           0 %        20.0 %  ");
	free(text);
	clean();
}

TEST(what_was_not_judged_is_not_compared)
{
	make();
	plain(0);
	plain(1);
	// Read once; noisy; a count that grows with the windows; not one of the figures.
	static const char figures[] = "\"rate\": 500, \"p99_us\": 100, \"gc_cycles\": 3, \"service_p99_us\": 4";
	run(0, figures, "\"p99_us\": 0, \"gc_cycles\": 0, \"service_p99_us\": 0", "");
	run(1, "\"rate\": 1, \"p99_us\": 900, \"gc_cycles\": 9, \"service_p99_us\": 9",
	    "\"rate\": 0, \"p99_us\": 0, \"gc_cycles\": 0, \"service_p99_us\": 0", ", \"noisy\": true");
	char *text = compared();
	assert_says(text, "\n  none\n");
	free(text);
	clean();
}

TEST(a_file_that_is_no_run_is_named)
{
	struct tare_error err;
	make();
	plain(0);
	plain(1);
	file_write(1, "runs/stage-0.tare-opt.json", "{\"name\": ");
	assert_int_equal(lab_report_compare(stdout, folders[0], folders[1], &err), -EINVAL);
	assert_says(err.text, "runs/stage-0.tare-opt.json:1:");
	clean();
}

TEST(a_folder_without_a_report_is_named)
{
	struct tare_error err;
	make();
	plain(0);
	assert_int_equal(lab_report_compare(stdout, folders[0], folders[1], &err), -ENOENT);
	assert_true(strncmp(err.text, folders[1], strlen(folders[1])) == 0);
	clean();
}
