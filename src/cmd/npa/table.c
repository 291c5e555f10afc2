// SPDX-License-Identifier: MIT
// The report as a table: a line a row, below the name of its group.
//
// Threads: one.
#include "cmd/npa/npa.h"

#include <math.h>

const char *npa_cell(char out[NPA_CELL], double value)
{
	if (isnan(value))
		snprintf(out, NPA_CELL, "-");
	else if (fabs(value) < 9.995)
		snprintf(out, NPA_CELL, "%.2f", value);
	else if (fabs(value) < 99.95)
		snprintf(out, NPA_CELL, "%.1f", value);
	else if (fabs(value) < 999.5)
		snprintf(out, NPA_CELL, "%.0f", value);
	else
		snprintf(out, NPA_CELL, "%.0f,%03.0f", floor(round(value) / 1000), fmod(round(value), 1000));
	return out;
}

// Single calls that can't be told from the timer's jitter.
static const char *percentile(char out[NPA_CELL], const json_t *row, const char *name)
{
	if (isnan(npa_figure(row, name)))
		snprintf(out, NPA_CELL, "-");
	else if (!json_is_true(json_object_get(row, "resolved")))
		snprintf(out, NPA_CELL, "<=res");
	else
		return npa_cell(out, npa_figure(row, name));
	return out;
}

// The tail of such a row is that of 32 calls in a row, a call.
static const char *tail(char out[NPA_CELL], const json_t *row)
{
	char cell[NPA_CELL];
	if (isnan(npa_figure(row, "p99")) || json_is_true(json_object_get(row, "resolved")))
		return percentile(out, row, "p99");
	snprintf(out, NPA_CELL, "%.16s/32", npa_cell(cell, npa_figure(row, "batch_p99")));
	return out;
}

// Whichever is widest: how far the row's runs were from the middle one, the noise of all of them, what an empty row
// showed.
static double noise_of(const json_t *report, const json_t *row)
{
	const json_t *noise = json_object_get(report, "noise");
	if (isnan(npa_figure(row, "mean")))
		return NAN;
	double mean = npa_figure(row, "mean");
	double own = fmax(npa_figure(row, "high") - mean, mean - npa_figure(row, "low"));
	double share = npa_figure(noise, "share") * fabs(mean);
	return fmax(fmax(own, share), npa_figure(noise, "floor"));
}

static void write_row(const json_t *report, const json_t *row)
{
	char mean[NPA_CELL], noise[NPA_CELL], p50[NPA_CELL], p99[NPA_CELL], cold[NPA_CELL], instructions[NPA_CELL],
	    calls[NPA_CELL], budget[NPA_CELL];
	bool over = npa_figure(row, "mean") - noise_of(report, row) > npa_figure(row, "budget");
	printf("%-28s %9s %8s %9s %10s %9s %10s %7s %8s%c %s\n", npa_text(row, "row"),
	       npa_cell(mean, npa_figure(row, "mean")), npa_cell(noise, noise_of(report, row)),
	       percentile(p50, row, "p50"), tail(p99, row), npa_cell(cold, npa_figure(row, "cold")),
	       npa_cell(instructions, npa_figure(row, "instructions")), npa_cell(calls, npa_figure(row, "syscalls")),
	       npa_cell(budget, npa_figure(row, "budget")), over ? '!' : ' ', npa_text(row, "why"));
}

static void write_machine(const json_t *report)
{
	const json_t *machine = json_object_get(report, "machine"), *noise = json_object_get(report, "noise");
	const char *valgrind = json_string_value(json_object_get(report, "valgrind"));
	printf("rows of %s, %s build, %s, libc %s, %s\n", npa_text(report, "program"), npa_text(report, "mode"),
	       npa_text(report, "compiler"), npa_text(report, "libc"),
	       valgrind != NULL ? "instructions by valgrind" : "instructions not counted");
	if (machine == NULL)
		return;
	printf("%s%s, %d CPUs (%d allowed, %s), load %.2f, clock %s %s, hardware counters: %s\n",
	       npa_text(machine, "cpu"),
	       json_is_true(json_object_get(machine, "hypervisor")) ? " under a hypervisor" : "",
	       (int)npa_figure(machine, "cpus"), (int)npa_figure(machine, "cpus_allowed"),
	       json_is_true(json_object_get(machine, "pinned")) ? "pinned to one" : "not pinned",
	       npa_figure(machine, "load"), npa_text(machine, "clock_source"),
	       json_is_true(json_object_get(machine, "invariant_clock")) ? "(invariant)"
									 : "(NOT invariant: times may drift)",
	       npa_text(machine, "counters")[0] == '\0' ? "there are, not used" : npa_text(machine, "counters"));
	printf(
	    "timer p50 %.1f ns, p99 %.1f ns, subtracted; noise of this run: %.3f ns for an operation that is nothing, "
	    "%.1f %% for work that is always the same\n",
	    npa_figure(machine, "timer_p50"), npa_figure(machine, "timer_p99"), npa_figure(noise, "floor"),
	    100 * npa_figure(noise, "share"));
}

void npa_table_write(const json_t *report)
{
	const char *group = "";
	size_t i;
	json_t *row;
	write_machine(report);
	printf("\n%-28s %9s %8s %9s %10s %9s %10s %7s %8s  %s\n", "nanoseconds each", "mean", "+-", "p50", "p99",
	       "cold p50", "instr.", "calls", "budget", "what it buys");
	for (i = 0; (row = json_array_get(json_object_get(report, "rows"), i)) != NULL; i++) {
		if (strcmp(group, npa_text(row, "group")) != 0)
			printf("\n%s\n", npa_text(row, "group"));
		group = npa_text(row, "group");
		write_row(report, row);
	}
	printf("\n<=res: single calls are not told from the timer's jitter; p99 is then of 32 calls in a row, a call "
	       "(/32). "
	       "cold: data, code and branches evicted. !: over its budget.\n");
}
