// SPDX-License-Identifier: MIT
// The gate: a report held to a baseline, and one report beside another.
//
// A baseline is a file in the repository: what each row came to when it was written, in instructions and system calls,
// and with which compiler and libc. A row that was allowed to become dearer keeps the figure from before as "was" and
// says in "reason" why; one without a reason fails as if it had not been allowed. Rows that are not counted are in no
// baseline. Counts are exact for one compiler and libc, and mean nothing beside those of others: then nothing is
// compared, and that is a failure.
//
//   instructions   any increase below 50 of them, 2 % above
//   system calls   any increase
//   times          never here. In a comparison of two reports: more than 2 %, and the intervals apart, and more than
//                  twice the noise that the runs had; as it is, and divided by how much longer work that is always the
//                  same took
//
// Threads: one. Rejected: a gate on times (virtual machines are 11 % off for a documents-only change).
#include "cmd/npa/npa.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define INSTRUCTIONS_EXACT 50.0 // below this any increase fails
#define COUNT_GRAIN 0.1         // below which a count's increase is a part of an operation that not each one has
#define CALLS_GRAIN 0.05

bool npa_grew(double before, double after)
{
	return before < INSTRUCTIONS_EXACT ? after - before > COUNT_GRAIN : after > before * (1 + NPA_SHARE_LEAST);
}

int npa_report_read(json_t **ret, const char *path, struct tare_error *err)
{
	json_error_t at;
	json_t *report = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
	if (report == NULL)
		return tare_error_set(err, -EINVAL, "%s:%d: %s", path, at.line, at.text);
	if (!json_is_array(json_object_get(report, "rows"))) {
		json_decref(report);
		return tare_error_set(err, -EINVAL,
				      "%s: is no report of 'tare npa'; write one with --json or --baseline", path);
	}
	*ret = report;
	return 0;
}

// What counts depend on. NULL: the same in both.
static const char *differs(const json_t *a, const json_t *b)
{
	static const char *const keys[] = {"arch", "compiler", "libc", "mode"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(keys); i++)
		if (strcmp(npa_text(a, keys[i]), npa_text(b, keys[i])) != 0)
			return keys[i];
	return NULL;
}

// ---- checking -----------------------------------------------------------------------------------------------------

static double change(double before, double after)
{
	return before != 0 ? 100 * (after - before) / before : 0;
}

// How many lines it printed.
static int check_row(const json_t *row, const json_t *base)
{
	const char *name = npa_text(row, "row");
	double now = npa_figure(row, "instructions"), then = npa_figure(base, "instructions");
	double calls = npa_figure(row, "syscalls"), calls_then = npa_figure(base, "syscalls");
	double was = npa_figure(base, "was");
	int bad = 0;
	if (!isnan(was) && npa_grew(was, then) && npa_text(base, "reason")[0] == '\0')
		bad +=
		    printf("FAIL %s: the baseline allows %.1f instructions where it was %.1f, and no reason is given\n",
			   name, then, was) > 0;
	if (json_is_true(json_object_get(row, "not_counted"))) {
		bad += printf("FAIL %s: is counted in the baseline, and says now that it can't be\n", name) > 0;
	} else {
		if (isnan(now) != isnan(then))
			bad += printf("FAIL %s: instructions are counted %s\n", name,
				      isnan(now) ? "in the baseline alone" : "now, but not in the baseline") > 0;
		else if (npa_grew(then, now))
			bad += printf("FAIL %s: %.1f instructions, %.1f in the baseline (%+.1f %%)\n", name, now, then,
				      change(then, now)) > 0;
		else if (npa_grew(now, then))
			printf("less %s: %.1f instructions, %.1f in the baseline (%+.1f %%)\n", name, now, then,
			       change(then, now));
		if (isnan(calls) != isnan(calls_then))
			bad += printf("FAIL %s: system calls are counted %s\n", name,
				      isnan(calls) ? "in the baseline alone" : "now, but not in the baseline") > 0;
		else if (calls - calls_then > CALLS_GRAIN)
			bad +=
			    printf("FAIL %s: %.2f system calls, %.2f in the baseline\n", name, calls, calls_then) > 0;
	}
	return bad;
}

int npa_gate_check(const json_t *report, const char *path)
{
	struct tare_error err;
	json_t *base, *row;
	size_t i;
	int bad = 0;
	if (npa_report_read(&base, path, &err) < 0)
		return cmd_fail("npa", "%s", err.text);
	const char *key = differs(base, report);
	if (key != NULL) {
		int code = cmd_fail(
		    "npa",
		    "%s was counted with %s %s, this program is %s: counts can't be compared; count a baseline "
		    "with --baseline before the change",
		    path, key, npa_text(base, key), npa_text(report, key));
		json_decref(base);
		return code;
	}
	for (i = 0; (row = json_array_get(json_object_get(report, "rows"), i)) != NULL; i++) {
		const json_t *then = npa_row(base, npa_text(row, "row"));
		if (then != NULL)
			bad += check_row(row, then);
		else if (!json_is_true(json_object_get(row, "not_counted")))
			bad += printf("FAIL %s: is not in the baseline; add it with --baseline\n",
				      npa_text(row, "row")) > 0;
	}
	for (i = 0; (row = json_array_get(json_object_get(base, "rows"), i)) != NULL; i++)
		if (npa_row(report, npa_text(row, "row")) == NULL)
			bad += printf("FAIL %s: is in the baseline alone; it was not run, or is gone\n",
				      npa_text(row, "row")) > 0;
	printf("%zu rows, %d failed\n", json_array_size(json_object_get(report, "rows")), bad);
	json_decref(base);
	if (bad == 0)
		return CMD_OK;
	return cmd_fail(
	    "npa", "dearer than %s allows; make it cheaper, or allow it with --baseline %s --reason 'what it buys'",
	    path, path);
}

// ---- writing ------------------------------------------------------------------------------------------------------

// A row of the new baseline. -EPERM: it is dearer, and there is no reason.
static int write_row(FILE *file, const json_t *row, const json_t *before, const char *reason, bool first)
{
	double now = npa_figure(row, "instructions"), then = npa_figure(before, "instructions");
	double calls = npa_figure(row, "syscalls"), calls_then = npa_figure(before, "syscalls");
	bool more_calls = calls - calls_then > CALLS_GRAIN, grew = npa_grew(then, now) || more_calls;
	if (grew && reason == NULL)
		return -EPERM;
	json_t *out = json_object();
	json_object_set(out, "row", json_object_get(row, "row"));
	if (!isnan(now))
		json_object_set_new(out, "instructions", json_real(now));
	if (!isnan(calls))
		json_object_set_new(out, "syscalls", json_real(calls));
	if (grew) {
		if (!isnan(then))
			json_object_set_new(out, "was", json_real(then));
		if (more_calls)
			json_object_set_new(out, "syscalls_was", json_real(calls_then));
		json_object_set_new(out, "reason", json_string(reason));
	} else if (npa_grew(npa_figure(before, "was"), now) ||
		   calls - npa_figure(before, "syscalls_was") > CALLS_GRAIN) { // an older reason still stands
		json_object_set(out, "was", json_object_get(before, "was"));
		if (json_object_get(before, "syscalls_was") != NULL)
			json_object_set(out, "syscalls_was", json_object_get(before, "syscalls_was"));
		json_object_set(out, "reason", json_object_get(before, "reason"));
	}
	char *text = json_dumps(out, JSON_REAL_PRECISION(9));
	json_decref(out);
	if (text == NULL)
		return -ENOMEM;
	fprintf(file, "%s  %s", first ? "" : ",\n", text);
	free(text);
	return 0;
}

static int write_rows(FILE *file, const json_t *report, const json_t *before, const char *reason)
{
	const json_t *rows = json_object_get(report, "rows");
	int dearer = 0;
	size_t i, written = 0;
	json_t *row;
	for (i = 0; (row = json_array_get(rows, i)) != NULL; i++) {
		const json_t *then = before != NULL ? npa_row(before, npa_text(row, "row")) : NULL;
		if (json_is_true(json_object_get(row, "not_counted")))
			continue;
		int rc = write_row(file, row, then, reason, written++ == 0);
		if (rc == -ENOMEM)
			return rc;
		if (rc == -EPERM)
			dearer +=
			    printf(
				"%s: %.1f instructions and %.2f system calls, %.1f and %.2f in the baseline so far\n",
				npa_text(row, "row"), npa_figure(row, "instructions"), npa_figure(row, "syscalls"),
				npa_figure(then, "instructions"), npa_figure(then, "syscalls")) > 0;
	}
	return dearer;
}

int npa_gate_write(const json_t *report, const char *path, const char *reason)
{
	char part[4096];
	struct tare_error err;
	json_t *before = NULL;
	if (reason != NULL && reason[0] == '\0')
		return cmd_fail("npa", "--reason is empty; say what the cost buys");
	FILE *old = fopen(path, "re");
	if (old != NULL && fclose(old) == 0 && npa_report_read(&before, path, &err) < 0)
		return cmd_fail("npa", "%s", err.text);
	// Counts of another compiler are no reason to be asked for one.
	if (before != NULL && differs(before, report) != NULL) {
		json_decref(before);
		before = NULL;
	}
	snprintf(part, sizeof part, "%s.part", path);
	FILE *file = fopen(part, "we");
	if (file == NULL) {
		json_decref(before);
		return cmd_fail("npa", "%s: %s", part, strerror(errno));
	}
	fprintf(file, "{\n \"arch\": \"%s\", \"compiler\": \"%s\", \"libc\": \"%s\", \"mode\": \"%s\",\n \"rows\": [\n",
		npa_text(report, "arch"), npa_text(report, "compiler"), npa_text(report, "libc"),
		npa_text(report, "mode"));
	int dearer = write_rows(file, report, before, reason);
	fprintf(file, "\n ]\n}\n");
	json_decref(before);
	bool failed = ferror(file) != 0;
	failed |= fclose(file) != 0;
	if (dearer == 0 && !failed && rename(part, path) == 0)
		return CMD_OK;
	int rc = errno;
	(void)remove(part);
	if (dearer > 0)
		return cmd_fail("npa", "%d rows are dearer than %s allows; say why with --reason", dearer, path);
	return cmd_fail("npa", "%s: %s", path, dearer < 0 ? "out of memory" : strerror(rc));
}

// ---- comparing ----------------------------------------------------------------------------------------------------

// Of the noisier run.
static struct npa_noise noise_of(const json_t *a, const json_t *b)
{
	const json_t *x = json_object_get(a, "noise"), *y = json_object_get(b, "noise");
	// fmax passes over what is not there.
	struct npa_noise noise = {.share =
				      fmax(2 * fmax(npa_figure(x, "share"), npa_figure(y, "share")), NPA_SHARE_LEAST),
				  .floor = fmax(fmax(npa_figure(x, "floor"), npa_figure(y, "floor")), 0),
				  .pace = npa_figure(y, "work") / npa_figure(x, "work")};
	noise.pace = noise.pace > 0 ? noise.pace : 1;
	return noise;
}

static int told(const json_t *a, const json_t *b, const struct npa_noise *noise, double pace)
{
	double x = npa_figure(a, "mean"), by = npa_figure(b, "mean") / pace - x;
	if (isnan(by) || fabs(by) <= fmax(noise->share * fabs(x), noise->floor))
		return 0;
	if (by > 0)
		return npa_figure(b, "low") / pace > npa_figure(a, "high");
	return npa_figure(b, "high") / pace < npa_figure(a, "low") ? -1 : 0;
}

// What does not go by the processor's pace, as the kernel's waits, would seem to change where that alone was taken into
// account.
int npa_slower(const json_t *a, const json_t *b, const struct npa_noise *noise)
{
	int as_is = told(a, b, noise, 1);
	return as_is == told(a, b, noise, noise->pace) ? as_is : 0;
}

static void compare_cells(double before, double after)
{
	char x[NPA_CELL], y[NPA_CELL];
	printf(" %9s %9s ", npa_cell(x, before), npa_cell(y, after));
	if (isnan(before) || isnan(after) || before <= 0)
		printf("%8s", "");
	else
		printf("%+7.1f%%", change(before, after));
}

// Whether the second is worse.
static bool compare_row(const json_t *then, const json_t *row, const struct npa_noise *noise, bool counts)
{
	double before = counts ? npa_figure(then, "instructions") : NAN;
	double after = counts ? npa_figure(row, "instructions") : NAN;
	int time = npa_slower(then, row, noise);
	bool more = !json_is_true(json_object_get(row, "not_counted")) && npa_grew(before, after);
	printf("%-28s", npa_text(row, "row"));
	compare_cells(npa_figure(then, "mean"), npa_figure(row, "mean"));
	compare_cells(before, after);
	if (time != 0)
		printf(" %s", time > 0 ? "slower" : "faster");
	printf("%s\n", more ? " more instructions" : "");
	return time > 0 || more;
}

int npa_compare(const char *before, const char *after)
{
	struct tare_error err;
	json_t *a = NULL, *b = NULL, *row;
	int worse = 0;
	if (npa_report_read(&a, before, &err) < 0 || npa_report_read(&b, after, &err) < 0) {
		json_decref(a);
		return cmd_fail("npa", "%s", err.text);
	}
	bool counts = differs(a, b) == NULL;
	struct npa_noise noise = noise_of(a, b);
	printf("work that is always the same took %+.1f %% in the second; a change of time is told where it is one "
	       "with that divided out, too,\n"
	       "and from %.1f %% and %.2f ns on%s\n\n%-28s %9s %9s %8s %9s %9s\n",
	       100 * (noise.pace - 1), 100 * noise.share, noise.floor,
	       counts ? "" : "; instructions are not compared: not the same compiler, libc, mode and processor", "",
	       "ns before", "after", "", "instr.", "after");
	for (size_t i = 0; (row = json_array_get(json_object_get(b, "rows"), i)) != NULL; i++) {
		const json_t *then = npa_row(a, npa_text(row, "row"));
		if (then != NULL)
			worse += compare_row(then, row, &noise, counts);
	}
	printf("\n%d rows are worse\n", worse);
	json_decref(a);
	json_decref(b);
	return worse == 0 ? CMD_OK : CMD_FAILED;
}
