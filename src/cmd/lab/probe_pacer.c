// SPDX-License-Identifier: MIT
// pacer: what the next collection will be, reckoned from the lines of the last ones (GODEBUG=gctrace=1 in form) and the
// equations at the top of src/gc/pacer.c, against what it was.
//
// From the line of a collection, with A, B and C the heap when it began, when marking ended, and what was marked, S
// and R the bytes of stacks and roots, w the time of marking, a and i the assists' and idle workers' CPU time, and P
// workers:
//   goal'     = C + (C + S + R)·GOGC/100, at least 4 MiB·GOGC/100
//   runway'   = 3·(B − A)·(25 % + a/wP + i/wP)/(75 % − a/wP), the largest of the last five: what was made while
//               marking, by what CPU time each side had. The work cancels out, since a collection marks about what
//               the last one did
//   trigger'  = goal' − runway', between C + 45/64·(goal' − C) and the larger of C + 61/64·(goal' − C) and
//               goal' − 4 MiB
//   CPU'      = marking's CPU time an object byte of this collection, times the bytes that are to be marked next: C and
//               what of the growth survives, as of the last growth
// The goal is the pacer's own definition with its own printed figures: it is in the series, but that it comes out says
// nothing of a prediction, so there is no figure of its error.
// Live is a tree, and lists that one object in so many joins, so that the heap grows from cycle to cycle.
// Lines have whole MiB, so heaps below some 30 MiB are predicted badly.
// Figures: cycles; for trigger_mib and mark_cpu_ms: NAME_error_percent (the mean of absolute errors) and
// NAME_error_max_percent; rounding_percent: how far off the trigger may seem to be, in the mean, by the rounding of
// what it is reckoned from and compared with; a smaller error says nothing.
// Series NAME_predicted and NAME_actual against the cycle (MiB, ms), and of goal_mib.
#include "cmd/lab/probe.h"

#include <tare/gc.h>
#include <tare/rt.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CYCLES_MAX = 200, RECENT = 5, WARM = 3, BATCH = 2048, LISTS = 256 };
#define ROUNDING 0.5 // MiB; lines have the nearest whole ones

static struct lab_probe_node *live[1 + LISTS]; // a root: the tree, and lists, so that all workers have some to mark
static struct tare_gc_root root;

struct line {
	double wall_ms, assist_ms, background_ms, idle_ms; // of marking
	double begin, end, marked, goal, stacks, roots;    // MiB
};

struct pacing {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	int percent, workers, cycles, count;
	struct line lines[CYCLES_MAX + WARM];
};

// ---- the heap's life ----------------------------------------------------------------------------------------------

static int live_through(void *arg)
{
	struct pacing *pacing = arg;
	uint64_t keep = lab_probe_value(pacing->args, "keep"), made = 0;
	struct tare_gc_stats stats;
	const struct tare_gc_options options = {.percent = pacing->percent, .trace = true};
	int rc = tare_gc_open(&options, pacing->err);
	if (rc < 0)
		return rc;
	tare_gc_root_add(&root, live, TARE_ARRAY_LEN(live));
	tare_gc_store(&live[0], lab_probe_grow(lab_probe_value(pacing->args, "live") / sizeof(struct lab_probe_node)));
	tare_gc_collect();
	tare_gc_stats_read(&stats);
	uint64_t until = stats.cycles + (uint64_t)pacing->cycles + WARM;
	while (rc == 0 && stats.cycles < until) {
		for (int i = 0; i < BATCH && rc == 0; i++, made++) {
			struct lab_probe_node *node = tare_gc_new(&lab_probe_node_type);
			if (node == NULL) {
				rc = tare_error_set(pacing->err, -ENOMEM, "the collected heap is full");
			} else if (made % keep == 0) {
				struct lab_probe_node **list = &live[1 + made / keep % LISTS];
				tare_gc_store(&node->left, *list);
				tare_gc_store(list, node);
			}
		}
		tare_gc_stats_read(&stats);
	}
	tare_gc_close();
	memset(live, 0, sizeof live);
	return rc;
}

// Standard error goes to a file in memory meanwhile, since that is where lines are written.
static int collect_lines(struct pacing *pacing, FILE **ret)
{
	int file = memfd_create("gctrace", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	if (file < 0 || saved < 0 || dup2(file, STDERR_FILENO) < 0) {
		int rc = tare_error_set(pacing->err, -errno, "no file for the collector's lines: %s", strerror(errno));
		close(file);
		close(saved);
		return rc;
	}
	int rc = lab_probe_in_task(pacing->workers, live_through, pacing, pacing->err);
	(void)dup2(saved, STDERR_FILENO);
	close(saved);
	FILE *lines = rc == 0 ? fdopen(file, "r") : NULL;
	if (lines == NULL) {
		close(file);
		return rc < 0 ? rc : tare_error_set(pacing->err, -ENOMEM, "out of memory");
	}
	rewind(lines);
	*ret = lines;
	return 0;
}

static void read_lines(struct pacing *pacing, FILE *file)
{
	char text[512];
	int skip = WARM + 1; // until the pacer has measured, and the collection that was asked for
	while (fgets(text, sizeof text, file) != NULL && pacing->count < pacing->cycles) {
		struct line line;
		if (sscanf(text,
			   "gc %*d @%*fs %*f%%: %*f+%lf+%*f ms clock, %*f+%lf/%lf/%lf+%*f ms cpu, %lf->%lf->%lf MB, "
			   "%lf MB "
			   "goal, %lf MB stacks, %lf MB globals",
			   &line.wall_ms, &line.assist_ms, &line.background_ms, &line.idle_ms, &line.begin, &line.end,
			   &line.marked, &line.goal, &line.stacks, &line.roots) == 10 &&
		    skip-- <= 0)
			pacing->lines[pacing->count++] = line;
	}
}

// ---- the prediction -----------------------------------------------------------------------------------------------

static double runway_of(const struct pacing *pacing, const struct line *line, double made_off)
{
	double cpu_ms = line->wall_ms * pacing->workers;
	double assist = cpu_ms > 0 ? line->assist_ms / cpu_ms : 0, idle = cpu_ms > 0 ? line->idle_ms / cpu_ms : 0;
	double used = fmin(0.25 + assist, 0.99);
	return 3 * fmax(line->end - line->begin + made_off, 0) * (used + fmin(idle, 1 - used)) / (1 - used);
}

struct prediction {
	double goal, trigger, cpu_ms;
};

static double cpu_of(const struct line *line)
{
	return line->assist_ms + line->background_ms + line->idle_ms;
}

// Of the collection after the one at `at`, had its line said the sizes and what was made while marking so much larger.
static struct prediction predict_off(const struct pacing *pacing, int at, double sizes_off, double made_off)
{
	struct line line = pacing->lines[at];
	const struct line *last = &line;
	double gamma = pacing->percent / 100.0, runway = 0;
	line.marked += sizes_off;
	line.stacks = fmax(line.stacks + sizes_off, 0);
	line.roots = fmax(line.roots + sizes_off, 0);
	struct prediction next = {.goal = last->marked + (last->marked + last->stacks + last->roots) * gamma};
	next.goal = fmax(next.goal, 4 * gamma);
	for (int i = TARE_MAX(at - RECENT + 1, 0); i <= at; i++)
		runway = fmax(runway, runway_of(pacing, &pacing->lines[i], made_off));
	double span = next.goal - last->marked, lower = last->marked + span * 45 / 64;
	double upper = fmax(fmax(last->marked + span * 61 / 64, next.goal - 4), lower);
	next.trigger = fmin(fmax(next.goal - runway, lower), upper);
	double marked = last->marked;
	if (at > 0)
		marked += last->marked - pacing->lines[at - 1].marked;
	next.cpu_ms = last->marked > 0 ? cpu_of(last) / last->marked * marked : 0;
	return next;
}

static struct prediction predict(const struct pacing *pacing, int at)
{
	return predict_off(pacing, at, 0, 0);
}

// How far from the trigger that was a right prediction may seem to be, by rounding alone: sizes are off by up to
// ROUNDING, a difference of two by twice that, and the trigger that was is a size too.
static double rounding_of(const struct pacing *pacing, int at)
{
	double said = predict(pacing, at).trigger;
	double most = predict_off(pacing, at, ROUNDING, -2 * ROUNDING).trigger;
	double least = predict_off(pacing, at, -ROUNDING, 2 * ROUNDING).trigger;
	return fmax(most - said, said - least) + ROUNDING;
}

struct comparison {
	const char *name;
	double predicted[CYCLES_MAX], actual[CYCLES_MAX];
};

static void put_series(const struct pacing *pacing, const struct comparison *compared, int count)
{
	char series[64];
	for (int i = 0; i < count; i++) {
		snprintf(series, sizeof series, "%s_predicted", compared->name);
		lab_probe_point(pacing->out, series, i + 1, compared->predicted[i]);
		snprintf(series, sizeof series, "%s_actual", compared->name);
		lab_probe_point(pacing->out, series, i + 1, compared->actual[i]);
	}
}

static void put_errors(const struct pacing *pacing, const struct comparison *compared, int count)
{
	double sum = 0, largest = 0;
	int errors = 0;
	for (int i = 0; i < count; i++) {
		if (compared->actual[i] <= 0) // of nothing there is no error in percent
			continue;
		double error = fabs(compared->predicted[i] / compared->actual[i] - 1) * 100;
		sum += error;
		largest = fmax(largest, error);
		errors++;
	}
	if (errors == 0)
		return;
	lab_probe_figure(pacing->out, sum / errors, "%s_error_percent", compared->name);
	lab_probe_figure(pacing->out, largest, "%s_error_max_percent", compared->name);
}

static void report(const struct pacing *pacing)
{
	static struct comparison goal = {.name = "goal_mib"}, trigger = {.name = "trigger_mib"},
				 cpu = {.name = "mark_cpu_ms"}; // large
	double rounding = 0;
	int count = pacing->count - 1, triggers = 0;
	for (int i = 0; i < count; i++) {
		const struct line *next = &pacing->lines[i + 1];
		struct prediction prediction = predict(pacing, i);
		goal.predicted[i] = prediction.goal;
		goal.actual[i] = next->goal;
		trigger.predicted[i] = prediction.trigger;
		trigger.actual[i] = next->begin;
		cpu.predicted[i] = prediction.cpu_ms;
		cpu.actual[i] = cpu_of(next);
		if (next->begin > 0) {
			rounding += rounding_of(pacing, i) / next->begin;
			triggers++;
		}
	}
	put_series(pacing, &goal, count);
	put_series(pacing, &trigger, count);
	put_series(pacing, &cpu, count);
	put_errors(pacing, &trigger, count);
	put_errors(pacing, &cpu, count);
	lab_probe_figure(pacing->out, count, "cycles");
	lab_probe_figure(pacing->out, triggers > 0 ? rounding / triggers * 100 : NAN, "rounding_percent");
}

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	static struct pacing pacing; // large
	FILE *file = NULL;
	pacing = (struct pacing){.args = args,
				 .out = out,
				 .err = err,
				 .percent = (int)lab_probe_value(args, "gogc"),
				 .workers = (int)lab_probe_value(args, "workers"),
				 .cycles = (int)lab_probe_value(args, "cycles")};
	int rc = collect_lines(&pacing, &file);
	if (rc < 0)
		return rc;
	read_lines(&pacing, file);
	fclose(file);
	if (pacing.count < 2)
		return tare_error_set(err, -EPROTO, "the collector wrote %d lines, too few to compare", pacing.count);
	report(&pacing);
	return 0;
}

const struct lab_probe lab_probe_pacer = {
    .name = "pacer",
    .about = "the next collection's trigger and CPU time, reckoned from the last ones' lines",
    .run = run,
    .keys = {{"live", "heap at the start", true, 64 << 20, 8 << 20, 1 << 20, UINT64_C(1) << 40},
	     {"cycles", "to predict", false, 20, 6, 3, CYCLES_MAX},
	     {"keep", "one object in so many stays", false, 64, 64, 2, 1000000000},
	     {"gogc", "percent", false, 100, 100, 10, 1000},
	     {"workers", "threads", false, 2, 2, 1, 64}},
    .axes = {{"goal_mib", "collection", "", false, "goal", "MiB", false},
	     {"trigger_mib", "collection", "", false, "heap at the begin of marking", "MiB", false},
	     {"mark_cpu_ms", "collection", "", false, "CPU time of marking", "ms", false}},
};
