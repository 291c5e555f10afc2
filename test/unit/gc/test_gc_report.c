// SPDX-License-Identifier: MIT
// Goal: what the collector tells of itself is true: a line a collection in Go's form, pauses and waits that were
// counted, CPU time that only grows, spans in the scheduler's trace. Method: a known number of collections of a known
// heap.
#include "in_task.h"

#include <tare/gc.h>
#include <tare/stat.h>

#include <regex.h>
#include <unistd.h>

enum { COLLECTIONS = 3, BIG_MIB = 8 };

static void collect_some(void)
{
	struct tare_gc_pin pin;
	void *big = tare_gc_new_noscan((size_t)BIG_MIB << 20);
	CHECK(big != NULL);
	tare_gc_pin(&pin, big);
	for (int i = 0; i < COLLECTIONS; i++)
		tare_gc_collect();
	tare_gc_unpin(&pin);
}

static int lines_main(void *arg)
{
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.trace = true, .percent = TARE_GC_OFF}, NULL) == 0);
	collect_some();
	tare_gc_close();
	return 0;
}

// Go's, with its four parts: when and how much in all, times of the clock, times of the CPUs, sizes.
static const char line_pattern[] =
    "^gc [0-9]+ @[0-9]+\\.[0-9]{3}s [0-9]+%: "
    "[0-9.]+\\+[0-9.]+\\+[0-9.]+ ms clock, "
    "[0-9.]+\\+[0-9.]+/[0-9.]+/[0-9.]+\\+[0-9.]+ ms cpu, "
    "[0-9]+->[0-9]+->[0-9]+ MB, [0-9]+ MB goal, [0-9]+ MB stacks, [0-9]+ MB globals, [0-9]+ P$";

TEST(a_collection_is_told_in_a_line_of_gos_form)
{
	FILE *lines = tmpfile();
	assert_non_null(lines);
	int kept = dup(STDERR_FILENO);
	fflush(stderr);
	dup2(fileno(lines), STDERR_FILENO);
	run_in_task(2, lines_main);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(lines);
	regex_t pattern;
	assert_int_equal(regcomp(&pattern, line_pattern, REG_EXTENDED), 0);
	char line[512];
	unsigned count = 0;
	while (fgets(line, sizeof line, lines) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (regexec(&pattern, line, 0, NULL, 0) != 0)
			fail_msg("not of that form: %s", line);
		unsigned number, live;
		assert_int_equal(sscanf(line, "gc %u %*[^>]>%*u->%u MB", &number, &live), 2);
		assert_int_equal(number, count++ % COLLECTIONS + 1); // in a simulation the task runs with each seed
		assert_int_equal(live, BIG_MIB);
	}
	assert_true(count > 0 && count % COLLECTIONS == 0);
	regfree(&pattern);
	fclose(lines);
}

static struct tare_hist *hist_new(void)
{
	struct tare_hist *hist;
	CHECK(tare_hist_new(&hist, 2, (uint64_t)(10 * TARE_NS_PER_S)) == 0);
	return hist;
}

// The histogram first: a worker notes a pause when the collection may be over already.
static void check_that_pauses_are_summed(void)
{
	struct tare_gc_stats stats;
	struct tare_hist *pauses = hist_new();
	tare_gc_pauses_merge(pauses);
	tare_gc_stats_read(&stats);
	CHECK((double)stats.pause_ns >= tare_hist_sum(pauses) && stats.pause_ns >= stats.pause_max_ns);
	CHECK(SIMULATED || stats.pause_ns > 0);
	tare_hist_free(pauses);
}

static int figures_main(void *arg)
{
	(void)arg;
	struct tare_gc_stats before, after;
	CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF}, NULL) == 0);
	tare_gc_stats_read(&before);
	CHECK(before.cycles == 0 && before.pause_max_ns == 0 && before.cpu_share == 0);
	collect_some();
	tare_gc_stats_read(&after);
	CHECK(after.cycles == COLLECTIONS);
	check_that_pauses_are_summed();
	// A simulation's clock stands still while something is reckoned.
	CHECK(SIMULATED || after.background_ns + after.idle_ns > 0);
	CHECK(SIMULATED || (after.sweep_ns > 0 && after.cpu_share > 0));
	CHECK(after.background_ns >= 0 && after.cpu_share <= 1);
	struct tare_hist *pauses = hist_new(), *phases = hist_new(), *waits = hist_new();
	tare_gc_pauses_merge(pauses);
	tare_gc_phases_merge(phases);
	tare_gc_waits_merge(waits);
	// Each handshake is a pause a worker and one wait; a collection has at least seven.
	CHECK(tare_hist_count(waits) >= 7 * COLLECTIONS);
	CHECK(tare_hist_count(pauses) >= tare_hist_count(waits) * (uint64_t)tare_worker_count());
	CHECK((int64_t)tare_hist_max(pauses) == after.pause_max_ns);
	// A phase is the longest of many: there are two a collection, and the longest pause of all is one.
	CHECK(tare_hist_count(phases) == 2 * COLLECTIONS);
	CHECK(tare_hist_max(phases) == tare_hist_max(pauses));
	CHECK(after.pause_p99_ns == (int64_t)tare_hist_quantile(phases, 0.99));
	CHECK(after.pause_ns >= after.pause_max_ns && (double)after.pause_ns >= tare_hist_sum(phases));
	CHECK(after.wait_p99_ns == (int64_t)tare_hist_quantile(waits, 0.99));
	CHECK((int64_t)tare_hist_max(waits) == after.late_max_ns);
	tare_hist_free(pauses);
	tare_hist_free(phases);
	tare_hist_free(waits);
	tare_gc_close();
	return 0;
}

TEST(pauses_waits_and_cpu_time_are_counted)
{
	run_in_task(2, figures_main);
}

static int take(void *arg, const char *ptr, size_t len)
{
	return fwrite(ptr, 1, len, arg) == len ? 0 : -EIO;
}

static int trace_main(void *arg)
{
	char *text = NULL;
	size_t len = 0;
	(void)arg;
	CHECK(tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF}, NULL) == 0);
	tare_trace_span("before tracing", tare_now_ns());
	CHECK(tare_trace_start() == 0);
	collect_some();
	FILE *out = open_memstream(&text, &len);
	struct tare_text into = {.write = take, .arg = out};
	tare_trace_write(&into);
	fclose(out);
	CHECK(into.rc == 0);
	unsigned marks = 0, sweeps = 0;
	for (const char *at = text; (at = strstr(at, "{\"name\":\"gc marking\"")) != NULL; at++, marks++)
		CHECK(strstr(at, "\"ph\":\"X\",\"dur\":") != NULL);
	for (const char *at = text; (at = strstr(at, "{\"name\":\"gc sweeping\"")) != NULL; at++)
		sweeps++;
	CHECK(marks == COLLECTIONS && sweeps == COLLECTIONS);
	CHECK(strstr(text, "before tracing") == NULL);
	free(text);
	tare_trace_stop();
	tare_gc_close();
	return 0;
}

TEST(a_collection_is_a_span_in_the_trace)
{
	run_in_task(2, trace_main);
}
