// SPDX-License-Identifier: MIT
// `tare lab`: the laboratory. Stages and experiments on memory, on Tare and on a Go service that does the same work.
//
// Order: options; where it may write; what the machine has room for; then page by page, run by run, and the report again after
// each page, so that whoever stops it has the pages that were done. A run that stands in OUT is not repeated.
// Ctrl-C ends the run that is going, and its processes, and leaves what was whole.
#include "cmd/lab/lab.h"
#include "cmd/lab/probe.h"
#include "cmd/lab/report.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define MIB ((uint64_t)1 << 20)

static const char *const acceptance_points[LAB_ACCEPTANCE] = {
    "The optimised path allocates at most once a request, proven under load",
    "Stage 2: the collector's CPU and its part of p99",
    "Stage 1: pause p99 with a large live heap",
    "The memory limit: a spiral made on purpose, and the margin that degrades gracefully",
    "Pools: a win, a loss, and what misuse does",
    "Stage 3: all bounds at once",
    "Every figure can be made again from its command and commit",
};

// ---- options ------------------------------------------------------------------------------------------------------

static int parse(struct lab *lab, int argc, char **argv)
{
	const struct cmd_option options[] = {
	    {.name = "stage",
	     .type = CMD_U64,
	     .value = &lab->stage,
	     .given = &lab->stage_given,
	     .max = 3,
	     .help = "only this stage, from 0 to 3"},
	    {.name = "experiment",
	     .type = CMD_U64,
	     .value = &lab->experiment,
	     .given = &lab->experiment_given,
	     .min = 1,
	     .max = 10,
	     .help = "only this experiment, from 1 to 10"},
	    {.name = "live",
	     .type = CMD_TEXT,
	     .value = &lab->live,
	     .placeholder = "SIZE",
	     .help = "of the big live heap; auto: three tenths of the memory that is available, 40G at most"},
	    {.name = "quick", .type = CMD_FLAG, .value = &lab->quick, .help = "everything small and short: minutes"},
	    {.name = "out",
	     .type = CMD_TEXT,
	     .value = &lab->out,
	     .placeholder = "DIR",
	     .help = "where runs and the report are written; runs that stand there are not repeated"},
	    {.name = "go",
	     .type = CMD_TEXT,
	     .value = &lab->go,
	     .placeholder = "BINARY",
	     .help = "Go's service, with probes beside it, or 'off'; not given: built from bench/peers/go"},
	    {.name = "rate",
	     .type = CMD_TEXT,
	     .value = &lab->rate,
	     .placeholder = "N",
	     .help = "the high rate; auto: 60,000, or four fifths of what both hold"},
	    {.name = "render",
	     .type = CMD_TEXT,
	     .value = &lab->render,
	     .placeholder = "DIR",
	     .help = "only write the report of DIR/report.json anew"},
	    {.name = "probe",
	     .type = CMD_TEXT,
	     .value = &lab->probe,
	     .placeholder = "NAME",
	     .help = "only this experiment within this process, to JSON; 'help' lists them"},
	    {.name = "KEY=VALUE", .type = CMD_LIST, .value = &lab->probe_args, .help = "of --probe"},
	};
	return cmd_parse("lab", "Runs stages and experiments on memory, Go's service beside Tare's, and reports.",
			 options, TARE_ARRAY_LEN(options), argc, argv);
}

static int refuse(const char *text)
{
	(void)cmd_fail("lab", "%s", text);
	return CMD_USAGE;
}

// What no single option can say. -1: go on.
static int parse_rest(struct lab *lab)
{
	uint64_t size;
	if (lab->probe_args.count > 0 && lab->probe == NULL)
		return refuse("KEY=VALUE goes with --probe");
	if (strcmp(lab->live, "auto") != 0) {
		if (tare_parse_size(lab->live, &size) < 0 || size < MIB)
			return refuse("--live: give a size of at least 1M, or auto");
		lab->live_bytes = size;
	}
	if (strcmp(lab->rate, "auto") != 0 &&
	    (tare_parse_u64((struct tare_str){lab->rate, strlen(lab->rate)}, &lab->rate_given) < 0 ||
	     lab->rate_given < 1))
		return refuse("--rate: give requests a second, or auto");
	return -1;
}

// ---- set-up -------------------------------------------------------------------------------------------------------

static void on_signal(int number)
{
	lab_interrupted = number;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};
	for (size_t i = 0; i < TARE_ARRAY_LEN(numbers); i++)
		sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

// Knobs are those of the plan, not of whoever's shell this is.
static void clean_environment(void)
{
	static const char *const names[] = {"GOGC", "GOMEMLIMIT", "GODEBUG", "GOMAXPROCS"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++)
		unsetenv(names[i]);
	for (char **at = environ; at != NULL && *at != NULL;) {
		char name[128];
		snprintf(name, sizeof name, "%.*s", (int)strcspn(*at, "="), *at);
		if (strncmp(name, "TARE_", 5) == 0 && unsetenv(name) == 0)
			at = environ;
		else
			at++;
	}
}

static int make_folder(const char *path)
{
	if (mkdir(path, 0777) == 0 || errno == EEXIST)
		return access(path, W_OK | X_OK) == 0 ? -1 : cmd_fail("lab", "%s: %s", path, strerror(errno));
	return cmd_fail("lab", "%s: %s", path, strerror(errno));
}

static int make_folders(const struct lab *lab)
{
	static const char *const names[] = {"", "/runs", "/data", "/bin"};
	char path[LAB_PATH];
	int code = -1;
	for (size_t i = 0; i < TARE_ARRAY_LEN(names) && code == -1; i++) {
		snprintf(path, sizeof path, "%s%s", lab->out, names[i]);
		code = make_folder(path);
	}
	return code;
}

static int find_self(struct lab *lab)
{
	ssize_t len = readlink("/proc/self/exe", lab->tare, sizeof lab->tare - 1);
	if (len <= 0)
		return cmd_fail("lab", "/proc/self/exe: %s", strerror(errno));
	lab->tare[len] = '\0';
	return -1;
}

// The service has the first CPU that this process may use, the generator the second, where there are two.
static void choose_cpus(struct lab *lab)
{
	cpu_set_t set;
	int found[2], count = 0;
	lab->cpu_service = lab->cpu_load = -1;
	if (sched_getaffinity(0, sizeof set, &set) < 0)
		return;
	for (int i = 0; i < CPU_SETSIZE && count < 2; i++)
		if (CPU_ISSET((size_t)i, &set))
			found[count++] = i;
	if (count == 2) {
		lab->cpu_service = found[0];
		lab->cpu_load = found[1];
	}
}

static uint64_t disk_available(const char *path)
{
	struct statvfs fs;
	return statvfs(path, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
}

// A laboratory that goes on has the sizes that it began with: memory and disk are never as full as they were.
static void take_sizes(struct lab *lab)
{
	char path[LAB_PATH];
	json_error_t at;
	snprintf(path, sizeof path, "%s/machine.json", lab->out);
	json_t *before = json_load_file(path, 0, &at);
	if (before != NULL && json_is_true(json_object_get(before, "quick")) == lab->quick) {
		if (lab->live_bytes == 0)
			lab->live_bytes = (uint64_t)json_integer_value(json_object_get(before, "live_bytes"));
		lab->full_bytes = (uint64_t)json_integer_value(json_object_get(before, "full_bytes"));
		lab->half_bytes = (uint64_t)json_integer_value(json_object_get(before, "half_bytes"));
	}
	json_decref(before);
}

// What the disk has room for, and what `tare gen`, whose table of keys is a fifth of the file at most, has memory for.
static uint64_t full_size(const struct lab *lab, uint64_t memory)
{
	uint64_t most = TARE_MIN(disk_available(lab->out) * 7 / 10, memory * 3);
	return TARE_MIN(most, LAB_FULL_BYTES) / MIB * MIB;
}

static void choose_sizes(struct lab *lab)
{
	uint64_t memory = lab_memory_available();
	take_sizes(lab);
	lab->small_bytes = lab->quick ? 8 * MIB : 64 * MIB;
	if (lab->live_bytes == 0)
		lab->live_bytes = lab->quick ? 32 * MIB : TARE_MIN(memory * 3 / 10, LAB_FULL_BYTES) / MIB * MIB;
	if (lab->full_bytes == 0)
		lab->full_bytes = lab->quick ? 64 * MIB : full_size(lab, memory);
	if (lab->half_bytes == 0)
		lab->half_bytes = memory / 2 / MIB * MIB;
	lab->high_wanted = lab->rate_given > 0 ? (double)lab->rate_given : 60000;
	lab->windows = lab->quick ? 2 : 3;
	lab->windows_more = lab->quick ? 1 : 3;
	lab->window_ns = lab->quick ? 300 * TARE_NS_PER_MS : 8 * TARE_NS_PER_S;
	lab->warm_ns = lab->quick ? 200 * TARE_NS_PER_MS : 2 * TARE_NS_PER_S;
}

static int describe(struct lab *lab)
{
	char path[LAB_PATH];
	struct tare_error err;
	lab->machine = lab_machine(lab);
	if (lab->machine == NULL)
		return cmd_fail("lab", "out of memory");
	json_object_set_new(lab->machine, "quick", json_boolean(lab->quick));
	json_object_set_new(lab->machine, "live_bytes", json_integer((json_int_t)lab->live_bytes));
	json_object_set_new(lab->machine, "full_bytes", json_integer((json_int_t)lab->full_bytes));
	json_object_set_new(lab->machine, "half_bytes", json_integer((json_int_t)lab->half_bytes));
	snprintf(path, sizeof path, "%s/machine.json", lab->out);
	return lab_json_write(lab->machine, path, &err) < 0 ? cmd_fail("lab", "%s", err.text) : -1;
}

// ---- the report ---------------------------------------------------------------------------------------------------

static bool wanted(const struct lab *lab, const struct lab_page *page)
{
	if (!lab->stage_given && !lab->experiment_given)
		return true;
	return (lab->stage_given && page->stage == (int)lab->stage) ||
	       (lab->experiment_given && page->experiment == (int)lab->experiment);
}

// The last point is judged on the runs themselves.
static json_t *reproducible(const struct lab *lab)
{
	const char *name, *commit = json_string_value(json_object_get(lab->machine, "commit"));
	size_t with = 0, all = 0;
	json_t *result;
	json_object_foreach(lab->results, name, result)
	{
		if (json_object_get(result, "skipped") != NULL)
			continue;
		all++;
		with += json_string_length(json_object_get(result, "command")) > 0;
	}
	bool known = commit != NULL && commit[0] != '\0';
	return json_pack(
	    "{s:s, s:s, s:o, s:b, s:s, s:n, s:s, s:s}", "point", acceptance_points[LAB_ACCEPTANCE - 1], "asked",
	    "a command and a commit for all", "figure",
	    json_sprintf("%zu of %zu runs with a command; commit %s", with, all, known ? commit : "unknown"), "met",
	    known && with == all && all > 0, "own_asked", "", "own_met", "evidence", "machine.json", "why",
	    known ? "" : "the program does not stand in its git checkout");
}

// The points in order, each with its verdicts; a point without any is told, too.
static json_t *acceptance_list(const struct lab *lab, const json_t *points)
{
	json_t *list = json_array(), *verdict;
	for (size_t i = 0; i < LAB_ACCEPTANCE - 1; i++) {
		size_t at;
		if (json_array_size(json_array_get(points, i)) == 0)
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:n, s:s, s:n, s:s, s:s}", "point",
							      acceptance_points[i], "asked", "", "figure", "", "met",
							      "own_asked", "", "own_met", "evidence", "", "why",
							      "no page of this laboratory judges it"));
		json_array_foreach(json_array_get(points, i), at, verdict) json_array_append(list, verdict);
	}
	json_array_append_new(list, reproducible(lab));
	return list;
}

static json_t *report_make(struct lab *lab)
{
	const struct lab_page *page;
	json_t *pages = json_array(), *behind = json_array(), *points = json_array();
	for (int i = 0; i < LAB_ACCEPTANCE; i++)
		json_array_append_new(points, json_array());
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++)
		if (wanted(lab, page))
			json_array_append_new(pages, lab_page_make(lab, page, points, behind));
	json_t *report = json_pack("{s:s, s:O, s:b, s:O, s:o, s:o, s:o}", "title", "Findings of the laboratory", "made",
				   json_object_get(lab->machine, "made"), "quick", lab->quick, "machine", lab->machine,
				   "acceptance", acceptance_list(lab, points), "behind", behind, "pages", pages);
	json_decref(points);
	return report;
}

static int report_write(struct lab *lab)
{
	char path[LAB_PATH];
	struct tare_error err;
	json_t *report = report_make(lab);
	snprintf(path, sizeof path, "%s/report.json", lab->out);
	int rc = report == NULL ? tare_error_set(&err, -ENOMEM, "%s: out of memory", path)
				: lab_json_write(report, path, &err);
	json_decref(report);
	if (rc == 0)
		rc = lab_report_render(lab->out, &err);
	return rc < 0 ? cmd_fail("lab", "%s", err.text) : -1;
}

static int render(const char *dir)
{
	struct tare_error err;
	if (lab_report_render(dir, &err) < 0)
		return cmd_fail("lab", "%s", err.text);
	printf("%s/index.html\n%s/findings.md\n", dir, dir);
	return fflush(stdout) == 0 ? CMD_OK : cmd_fail("lab", "standard output: %s", strerror(errno));
}

// ---- from the first page to the last ------------------------------------------------------------------------------

static void count_runs(struct lab *lab)
{
	const struct lab_page *page;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++)
		if (wanted(lab, page))
			lab->runs_total += (int)page->run_count;
}

// Snapshots are large and quickly made again.
static void clean_up(const struct lab *lab)
{
	const enum lab_size sizes[] = {LAB_SMALL, LAB_LIVE, LAB_FULL};
	char path[LAB_PATH];
	for (size_t i = 0; i < TARE_ARRAY_LEN(sizes); i++) {
		snprintf(path, sizeof path, "%s/data/%" PRIu64 ".snap", lab->out, lab_size_bytes(lab, sizes[i]));
		(void)unlink(path);
	}
}

static int do_page(struct lab *lab, const struct lab_page *page)
{
	for (size_t i = 0; i < page->run_count; i++) {
		int rc = lab_run_do(lab, page, &page->runs[i]);
		if (rc < 0)
			return rc == -EINTR ? cmd_fail("lab", "stopped by a signal; the same command goes on from here")
					    : cmd_fail("lab", "%s.%s: %s", page->id, page->runs[i].name, strerror(-rc));
		lab->runs_done++;
		cmd_progress_show(&lab->progress, (uint64_t)lab->runs_done, (uint64_t)lab->runs_total);
	}
	return report_write(lab);
}

static int do_all(struct lab *lab)
{
	const struct lab_page *page;
	int code = -1;
	count_runs(lab);
	cmd_progress_begin(&lab->progress, "tare lab:");
	for (size_t i = 0; code == -1 && (page = lab_page_at(i)) != NULL; i++)
		if (wanted(lab, page))
			code = do_page(lab, page);
	cmd_progress_end(&lab->progress);
	if (code == -1)
		clean_up(lab);
	return code;
}

static int run(struct lab *lab)
{
	int code = find_self(lab);
	if (code == -1)
		code = make_folders(lab);
	if (code != -1)
		return code;
	clean_environment();
	catch_signals();
	choose_cpus(lab);
	choose_sizes(lab);
	lab_go_find(lab);
	lab->results = json_object();
	code = lab->results == NULL ? cmd_fail("lab", "out of memory") : describe(lab);
	if (code == -1)
		code = do_all(lab);
	if (code != -1)
		return code;
	printf("%s/index.html\n%s/findings.md\n", lab->out, lab->out);
	return fflush(stdout) == 0 ? CMD_OK : cmd_fail("lab", "standard output: %s", strerror(errno));
}

int cmd_lab(int argc, char **argv)
{
	static struct lab lab;
	static const char *args[LAB_ARGS];
	lab = (struct lab){
	    .stage = UINT64_MAX, .live = "auto", .rate = "auto", .out = "report", .probe_args = {args, 0, LAB_ARGS}};
	int code = parse(&lab, argc, argv);
	if (code == -1)
		code = parse_rest(&lab);
	if (code == -1 && lab.probe != NULL)
		code = lab_probe_main(lab.probe, lab.probe_args.items, lab.probe_args.count);
	else if (code == -1)
		code = lab.render != NULL ? render(lab.render) : run(&lab);
	json_decref(lab.results);
	json_decref(lab.machine);
	return code;
}
