// SPDX-License-Identifier: MIT
// What the files of `tare lab` share.
//
//   lab.c         options, the order of things, Ctrl-C
//   plan*.c       stages, experiments and stretch pages, as data
//   run.c         one run: a service under load, or a probe, to figures
//   service.c     starts and stops a service, and reads what it tells of itself
//   rate.c        the highest rate that holds, by search
//   figures.c     what figures are called, and their arithmetic
//   page.c        tables, plots and what was learnt, from figures; judge.c: verdicts
//   twice.c       how far the same run is from itself at another time
//   compare.c     how two laboratories' reports differ
//   machine.c     what the figures depend on
//   child.c       processes that never outlive this one
//
// Threads: one; the only others are those of tare_run while /debug/allocs is asked for. JSON values belong to struct
// lab unless said otherwise. Errors: negative errno with a text.
#ifndef TARE_CMD_LAB_H
#define TARE_CMD_LAB_H

#include "cmd/cmd.h"

#include <tare/base.h>

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

#define LAB_GO_PLACE "build/go/" // where those who follow the report's commands build Go's programs

enum { LAB_PATH = 1024, LAB_NAME = 96, LAB_ARGS = 64, LAB_WINDOWS_MAX = 12, LAB_SERIES_MAX = 16 };

// ---- the plan (plan*.c) -------------------------------------------------------------------------------------------

enum lab_peer { LAB_TARE, LAB_GO, LAB_TARE_PROBE, LAB_GO_PROBE };
enum lab_size {
	LAB_SMALL,   // of stages 0 and 2
	LAB_QUARTER, // of the big live heap, where one setting is compared with another
	LAB_LIVE,    // the big live heap
	LAB_FULL,    // 40 GB in a mapped file, or the most that the disk takes
};
enum lab_load {
	LAB_LOW,        // 500 requests a second, 8 connections
	LAB_HIGH,       // the high rate that the optimised paths hold, 512 connections
	LAB_HIGH_NAIVE, // that of the naive paths
	LAB_SEARCH,     // looks for the highest rate that holds
	LAB_LOADS
};

// One run; "tare-X" and "go-X" of a page answer the same requests. A probe's knobs are its name and its arguments.
// "{limit:N}" in knobs: N per cent of the memory that `base`, a run with `collect`, had right after a collection;
// "{half}": half of the memory that was available when the laboratory began.
struct lab_run {
	const char *name; // within its page
	enum lab_peer peer;
	const char *knobs;
	enum lab_size size;
	enum lab_load load;
	const char *base;
	const char *series, *x; // its place in the page's plots
	bool trace;             // a line a collection, kept beside the run's file
	const char *build;      // a probe's: of the program of this build mode, where that is there
	const char *against;    // a further run of Go's that it stands beside, after the one of its own name
	bool collect;           // a collection is asked for in each window: at this rate none would come by itself
	bool counted;           // under malloc_count, which sees the libraries' heap calls too
	int longer;             // windows are so many times as long; 0: once
};

static inline bool lab_is_probe(const struct lab_run *run)
{
	return run->peer == LAB_TARE_PROBE || run->peer == LAB_GO_PROBE;
}

// A point that is judged: the figure of a run, less that of `less`, is at most `most`. Ours beside it, where there is
// one.
struct lab_criterion {
	const char *point, *key, *run, *less;
	double most, own; // own < 0: none
	int acceptance;   // its place in the acceptance list, from 1; 0: not one of it
	bool least;       // the figure is at least `most`
};

enum lab_lesson_kind {
	LAB_COMPARE, // a figure of two runs, and their ratio
	LAB_COST,  // the same of Tare's probe a and Go's b, of which less is better: Tare is ahead with it or it is not
	LAB_LIST,  // a figure of every run of the page that has it
	LAB_KNEE,  // where, along the series a, the next step stops paying
	LAB_SCALE, // what run a's figure would be with 40 GB live, by proportion
	LAB_WITHIN, // a figure against the figure a of the same run b
	LAB_MARGIN, // along the series a, the last point that still answers what it is asked
};

struct lab_lesson {
	enum lab_lesson_kind kind;
	const char *key, *a, *b;
};

struct lab_plot {
	const char *title, *kind, *x, *x_unit, *key; // kind: "line", "bar" or "step"
	bool x_log;
};

struct lab_page {
	const char *id, *title, *question;
	int stage, experiment; // -1: not one
	const struct lab_run *runs;
	size_t run_count;
	const char *const *columns; // figures, NULL-terminated; NULL: those of a service
	const struct lab_criterion *criteria;
	size_t criterion_count;
	const struct lab_lesson *lessons;
	size_t lesson_count;
	const struct lab_plot *plots;
	size_t plot_count;
	const char *next[3];
	const char *caution; // what its figures do not say; NULL: nothing
};

// Of pages that set the naive paths of both peers side by side.
#define LAB_NAIVE_WAYS                                                                                                 \
	"Each peer is naive in its own language's way: Tare's path builds a tree of boxed values and prints that, "    \
	"Go's hands a struct "                                                                                         \
	"with its types to encoding/json. They answer the same bytes, but do not do the same work for them; "          \
	"allocations and bytes a "                                                                                     \
	"request stand beside each, and say what each makes."

extern const struct lab_page lab_stages[];
extern const size_t lab_stage_count;
extern const struct lab_page lab_experiments[];
extern const size_t lab_experiment_count;
extern const struct lab_page lab_stretches[];
extern const size_t lab_stretch_count;

// The page of this place among all, or NULL after the last.
const struct lab_page *lab_page_at(size_t i);
// What a run is called beyond its page: "stage-2.tare-opt". out: LAB_NAME bytes.
static inline void lab_run_name(char *out, const struct lab_page *page, const char *run)
{
	snprintf(out, LAB_NAME, "%s.%s", page->id, run);
}

// ---- processes (child.c) ------------------------------------------------------------------------------------------

// The number of the signal that ends the laboratory, or 0.
extern volatile sig_atomic_t lab_interrupted;

struct lab_child {
	pid_t pid;     // and its process group; 0: none
	int out;       // its standard output
	bool may_fail; // exit code 1 is an answer too, where something was printed
};

// Starts argv[0] with the environment and `extra` ("NAME=VALUE" or NULL) on this CPU (-1: any), its standard error in a
// file. It gets SIGKILL when this process ends.
TARE_MUST_USE int lab_child_start(struct lab_child *child, const char *const argv[], int cpu, const char *extra,
				  const char *err_path, struct tare_error *err);
// The next line without its newline. -EPIPE: there is none; -ETIMEDOUT; -EINTR: interrupted.
TARE_MUST_USE int lab_child_line(struct lab_child *child, char *line, size_t cap, int64_t deadline_ns);
// All that it prints, *ret is free's; then waits for its end. -EIO with a text when it ended badly.
TARE_MUST_USE int lab_child_output(struct lab_child *child, const char *what, int64_t deadline_ns, char **ret,
				   struct tare_error *err);
// SIGTERM, SIGKILL after ten seconds. Safe on one that never started.
void lab_child_stop(struct lab_child *child);
// Sleeps. -EINTR: interrupted.
TARE_MUST_USE int lab_sleep(int64_t ns);
// A program's first line of output, or "".
void lab_first_line(const char *const argv[], char *out, size_t cap);

// ---- the laboratory -----------------------------------------------------------------------------------------------

struct lab {
	uint64_t stage, experiment, rate_given;
	bool stage_given, experiment_given, quick;
	const char *live, *full, *half, *limit, *out, *go, *render, *compare, *probe, *rate, *run;
	int64_t budget_ns, end_ns; // no run begins after that
	struct cmd_list probe_args;

	char tare[LAB_PATH], go_svc[LAB_PATH], go_probes[LAB_PATH];
	char go_why[256];   // why there is no Go service
	char full_why[256]; // why there is no file of LAB_FULL
	int cpu_service, cpu_load;
	uint64_t small_bytes, live_bytes, full_bytes, half_bytes, limit_bytes; // limit: given, or 0
	double high_wanted;                                                    // requests a second
	double rates[LAB_LOADS];
	char rate_why[400];                   // why there is no rate that two peers hold
	uint64_t program_hash, program_inode; // 0: it is not looked after
	double rate_of_run;                   // the high rate of the run that is done now; 0: it has none
	double limit_of_run, live_of_run;     // its memory limit and what is live in that, NAN: it has none
	int processes, windows, windows_more, probe_times; // windows: of each process
	int64_t window_ns, warm_ns;
	json_t *machine;
	json_t *results; // by "page.run"
	int runs_done, runs_total;
	struct cmd_progress progress;
};

// ---- services (service.c) -----------------------------------------------------------------------------------------

struct lab_service {
	struct lab_child child;
	char url[80], admin[80];
	uint64_t records;
	bool go;
	char err_path[LAB_PATH]; // its standard error, where the trace is
};

struct lab_sample {
	json_t *allocs; // /debug/allocs
	double cpu_s;   // of all its threads
	int64_t at_ns;
	double rss_bytes, anon_bytes, peak_bytes;
};

uint64_t lab_size_bytes(const struct lab *lab, enum lab_size size);
TARE_MUST_USE int lab_service_start(struct lab *lab, struct lab_service *service, const char *run_name,
				    const struct lab_run *run, const char *knobs, struct tare_error *err);
void lab_service_stop(struct lab_service *service);
TARE_MUST_USE int lab_sample_take(const struct lab_service *service, struct lab_sample *ret, struct tare_error *err);
void lab_sample_done(struct lab_sample *sample);
void lab_service_keep(const struct lab *lab, const struct lab_service *service, const char *run_name);
struct lab_drive {
	double rate;
	unsigned connections;
	int64_t duration_ns;
	bool collect; // once, soon after the load began
};
// Drives it; *ret is tare load's report, and the caller's, with "busy_s": how long it had load or the asked-for
// collection, and "kept_bytes" right after that.
TARE_MUST_USE int lab_service_load(struct lab *lab, const struct lab_service *service, const struct lab_drive *drive,
				   json_t **ret, struct tare_error *err);
// What a reader can paste to do the same, step by step.
void lab_service_command(const struct lab *lab, const struct lab_run *run, const char *knobs, double rate, char *out,
			 size_t cap);
int64_t lab_window_ns(const struct lab *lab, const struct lab_run *run);
// The preloaded library of runs that are counted, or "".
void lab_malloc_count(const struct lab *lab, char *out, size_t cap);
void lab_snapshot_path(const struct lab *lab, uint64_t bytes, char *out); // of LAB_PATH bytes
unsigned lab_connections(enum lab_load load);

// ---- runs (run.c, rate.c) -----------------------------------------------------------------------------------------

// Does the run, or takes what an earlier laboratory has written of it; then it is in lab->results, with "skipped" where
// it could not be done. -EINTR: interrupted.
TARE_MUST_USE int lab_run_do(struct lab *lab, const struct lab_page *page, const struct lab_run *run);
// The run's object, or NULL.
json_t *lab_result(const struct lab *lab, const struct lab_page *page, const char *run);
// A hash of a program's content.
uint64_t lab_hash_program(uint64_t hash, const char *path);
// The rate of a load, NAN where none holds; searches for it where it is the first to ask.
TARE_MUST_USE int lab_rate(struct lab *lab, enum lab_load load, double *ret);
// The search itself, against a service that runs.
TARE_MUST_USE int lab_rate_search(struct lab *lab, const struct lab_service *service, json_t *result,
				  struct tare_error *err);

// ---- figures (figures.c) ------------------------------------------------------------------------------------------

struct lab_figure {
	const char *key, *title, *unit;
	double scale; // from what runs record to what is shown
	int digits;
};

const struct lab_figure *lab_figure(const char *key); // NULL: not one of a service
// What happened between two samples, and what the generator saw; the caller's.
json_t *lab_figures(const struct lab_sample *before, const struct lab_sample *after, const json_t *load, int workers);
// Adds to result "figures", the median of the windows' own, and "spread", their relative range, without one of five
// to eight, two of nine to twelve, at either end: that of all only grows with the windows, and repeating would calm
// nothing. Collections and errors are sums; the collector's share, how often there is a collection and what was not
// answered are means; a process's peaks are the largest of them; pauses are those of all windows together.
void lab_figures_merge(json_t *result, const json_t *windows);
// A sum of all windows, which grows with their number.
bool lab_is_sum(const char *key);
// What a limit of the process's memory can't be below, of a sample right after a collection: all of its own memory less
// what is free in whole blocks. That is what the limit counts, of either peer. NAN: it does not tell.
double lab_kept_bytes(const struct lab_sample *sample);
// The figure of a run, or NAN.
double lab_figure_of(const json_t *result, const char *key);
double lab_spread_of(const json_t *result, const char *key);
// How far another reading may be off: the range of the windows, in the figure's own unit; of pauses at least a bucket.
double lab_noise_of(const json_t *result, const char *key);
// False: it was read once, and how far another reading would be from it is not known.
bool lab_spread_known(const json_t *result, const char *key);
// "12.3 us", in the figure's own unit.
void lab_figure_text(char *out, size_t cap, const char *key, double value);
// Cycles and pauses of the gctrace lines from this place of the file on, which were written in so many seconds, into
// figures.
void lab_trace_read(const char *path, long from, double seconds, json_t *figures);

// ---- pages (page.c) -----------------------------------------------------------------------------------------------

#define LAB_FULL_BYTES (40 * ((uint64_t)1 << 30))
#define LAB_MISSED_MOST 0.01 // past that a service did less than it was asked, and p99 is of the rest

enum { LAB_ACCEPTANCE = 7 }; // points of the source document's list

// The page of report.json; the caller's. Verdicts of an acceptance point are also appended to that point's array in
// acceptance, what was missed without being one of them to the array behind those; places where Go is ahead to behind.
json_t *lab_page_make(struct lab *lab, const struct lab_page *page, json_t *acceptance, json_t *behind);
// Why a run's figure is neither judged nor compared; NULL: it is. (judge.c)
const char *lab_unfit(const struct lab_run *run, const json_t *result, const char *key);

// The same run at two times, because two pages have it: how far apart their figures are, as a part of the larger, and
// of all such pairs in results (by "page.run") the most; 0: there is none. (twice.c)
double lab_twice_apart(const json_t *results, const char *key);
// The page that says so, the caller's; NULL: no run was measured twice.
json_t *lab_twice_page(const json_t *results);

// ---- the machine (machine.c) --------------------------------------------------------------------------------------

json_t *lab_machine(const struct lab *lab);
uint64_t lab_memory_available(void);
// One writes the file whole or not at all.
TARE_MUST_USE int lab_json_write(const json_t *json, const char *path, struct tare_error *err);
// Where Go's programs are, or why they are not there.
void lab_go_find(struct lab *lab);
// What those who follow the report's commands call them by: what they build, or what --go named.
void lab_go_command(const struct lab *lab, bool probes, char *out, size_t cap);

#endif
