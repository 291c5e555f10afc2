// SPDX-License-Identifier: MIT
// The tool held to rows whose outcome is known: `tare npa --self-test`.
//
// What is counted must come out; what is timed is told, and fails only where two equal rows are found different:
// whether 2 % can be seen in times depends on what else the machine does.
// Threads: one.
#include "cmd/npa/npa.h"

#include <math.h>

static int verdict(bool ok, const char *what)
{
	printf("%s %s\n", ok ? "ok  " : "FAIL", what);
	return ok ? 0 : 1;
}

static int verdict_counts(const json_t *report)
{
	double work = npa_figure(npa_row(report, "self_work"), "instructions");
	double same = npa_figure(npa_row(report, "self_same"), "instructions");
	double more = npa_figure(npa_row(report, "self_slower"), "instructions");
	double small = npa_figure(npa_row(report, "self_small"), "instructions");
	double dearer = npa_figure(npa_row(report, "self_small_dearer"), "instructions");
	if (isnan(work))
		return verdict(false, "instructions are counted");
	printf("     %.2f instructions, the same work %.2f, 2.2 %% more %.2f; %.2f and one more %.2f\n", work, same,
	       more, small, dearer);
	int bad = verdict(!npa_grew(work, same) && !npa_grew(same, work), "the same work has the same instructions");
	bad += verdict(npa_grew(work, more), "2.2 % more work is found dearer");
	bad += verdict(npa_grew(small, dearer) && dearer - small < 1.5, "one instruction more is found dearer");
	return bad;
}

static int verdict_times(const json_t *report)
{
	const json_t *work = npa_row(report, "self_work"), *same = npa_row(report, "self_same");
	const json_t *more = npa_row(report, "self_slower"), *noise = json_object_get(report, "noise");
	const struct npa_noise apart = {.share = fmax(2 * npa_figure(noise, "share"), NPA_SHARE_LEAST), .pace = 1};
	if (isnan(npa_figure(work, "mean")))
		return 0; // only counts were asked for
	printf("     %.1f ns, the same work %.1f, 2.2 %% more %.1f; noise %.1f %%\n", npa_figure(work, "mean"),
	       npa_figure(same, "mean"), npa_figure(more, "mean"), 50 * apart.share);
	int bad = verdict(npa_slower(work, same, &apart) == 0, "the same work takes the same time");
	printf("     2.2 %% more work %s in times just now\n",
	       npa_slower(work, more, &apart) > 0 ? "can be told" : "can't be told");
	return bad;
}

int npa_selftest(const json_t *report)
{
	const json_t *nothing = npa_row(report, "self_nothing");
	int bad =
	    verdict(json_is_true(json_object_get(nothing, "empty")), "a row that the compiler has left out is noticed");
	bad += verdict_counts(report);
	bad += verdict_times(report);
	return bad == 0
		   ? CMD_OK
		   : cmd_fail("npa", "--self-test: %d of its rows came out wrong; its figures can't be trusted", bad);
}
