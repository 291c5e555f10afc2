// SPDX-License-Identifier: MIT
// `tare lab`: the laboratory. Stages and experiments on memory, on Tare and on a Go service that does the same work.
//
// Order: options; where it may write; what the machine has room for; then page by page, run by run, and the report
// again after each page, so that whoever stops it has the pages that were done. A run that stands in OUT is not
// repeated. Ctrl-C ends the run that is going, and its processes, and leaves what was whole.
#include "cmd/lab/lab.h"
#include "cmd/lab/probe.h"
#include "cmd/lab/report.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define MIB ((uint64_t)1 << 20)
#define BUDGET_NS (3 * 3600 * TARE_NS_PER_S)

static const char *const acceptance_points[LAB_ACCEPTANCE] = {
    "The optimised path allocates at most once a request, proven under load",
    "Stage 2: the collector's CPU and its part of p99",
    "Stage 1: pause p99 with a large live heap",
    "The memory limit: a spiral made on purpose, and the margin that degrades gracefully",
    "Pools: a win, a loss, and what misuse does",
    "Stage 3: all bounds at once",
    "Every figure can be made again from its command and commit",
};

// What somebody who has only the report has to know.
static const char about[] =
    "The service looks a record up by its key, over HTTP, and answers with it as JSON. It has one CPU and the "
    "generator another. "
    "Load is an open model: requests are due on a schedule of their own, and latency counts from when one was due, the "
    "generator's lateness included. A figure is the median of the windows of two processes, and its spread is their "
    "range, without one of five to eight, or two of nine or ten, at either end.\n"
    "In the names of runs, opt is the optimised path, naive is everyday code; gc has records and garbage on the "
    "collected "
    "heap, which is the pair of Go's everyday service, and the others have the records in a mapped file; go-raw is Go "
    "on connections and goroutines "
    "of its own, without net/http; counted is under a library that counts every heap call; forced has a collection "
    "asked for in each "
    "window; a number at the end is GOGC, or a memory limit in per cent of what is live. † is a figure that is neither "
    "judged nor compared; the page's notes say why.";

// ---- options ------------------------------------------------------------------------------------------------------

#define TEXT(option, field, what, text)                                                                                \
	{                                                                                                              \
		.name = option, .type = CMD_TEXT, .value = &lab->field, .placeholder = what, .help = text              \
	}
#define NUMBER(option, field, low, high, text)                                                                         \
	{                                                                                                              \
		.name = option, .type = CMD_U64, .value = &lab->field, .given = &lab->field##_given, .min = low,       \
		.max = high, .help = text                                                                              \
	}

static int parse(struct lab *lab, int argc, char **argv)
{
	const struct cmd_option options[] = {
	    NUMBER("stage", stage, 0, 3, "only this stage, from 0 to 3"),
	    NUMBER("experiment", experiment, 1, 10, "only this experiment, from 1 to 10"),
	    TEXT("run", run, "PAGE.RUN", "only this run, again, to JSON; the report names each run and its options"),
	    TEXT("live", live, "SIZE",
		 "of the big live heap; auto: three tenths of the memory that is available, 40G at most"),
	    TEXT("full", full, "SIZE",
		 "of the records off the heap, a file, 40G for all; auto: half of the memory that is available"),
	    TEXT("half", half, "SIZE",
		 "the memory limit of runs whose collector has half; auto: half of the memory that is available"),
	    TEXT("limit", limit, "SIZE",
		 "the memory limit of runs that have it from what another one has live; auto: from that"),
	    {.name = "quick", .type = CMD_FLAG, .value = &lab->quick, .help = "everything small and short: minutes"},
	    {.name = "budget",
	     .type = CMD_DURATION,
	     .value = &lab->budget_ns,
	     .min = (uint64_t)TARE_NS_PER_S,
	     .help = "no run begins after so long; what is then missing is named"},
	    TEXT("out", out, "DIR", "where runs and the report are written; runs that stand there are not repeated"),
	    TEXT("go", go, "BINARY",
		 "Go's service, with probes beside it, or 'off'; not given: built from bench/peers/go"),
	    TEXT("rate", rate, "N", "the high rate; auto: 60,000, or four fifths of what both hold"),
	    TEXT("render", render, "DIR", "only write the report of DIR/report.json anew"),
	    TEXT("compare", compare, "DIR",
		 "only say how the report in --out differs from the one in DIR, in conclusions and figures"),
	    TEXT("probe", probe, "NAME", "only this experiment within this process, to JSON; 'help' lists them"),
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

// "stage-2.tare-opt", into the page and the run, where they are wanted.
static bool find_run(const char *name, const struct lab_page **ret_page, const struct lab_run **ret_run)
{
	const struct lab_page *page;
	char full[LAB_NAME];
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++) {
		for (size_t k = 0; k < page->run_count; k++) {
			lab_run_name(full, page, page->runs[k].name);
			if (strcmp(full, name) != 0)
				continue;
			if (ret_page != NULL)
				*ret_page = page;
			if (ret_run != NULL)
				*ret_run = &page->runs[k];
			return true;
		}
	}
	return false;
}

// A size or auto, which leaves *ret. -1: go on.
static int parse_bytes(const char *option, const char *text, uint64_t *ret)
{
	uint64_t size;
	if (strcmp(text, "auto") == 0)
		return -1;
	if (tare_parse_size(text, &size) < 0 || size < MIB) {
		(void)cmd_fail("lab", "--%s: give a size of at least 1M, or auto", option);
		return CMD_USAGE;
	}
	*ret = size;
	return -1;
}

// What no single option can say. -1: go on.
static int parse_rest(struct lab *lab)
{
	int code = -1;
	if ((lab->run != NULL) + (lab->render != NULL) + (lab->compare != NULL) + (lab->probe != NULL) > 1)
		return refuse("--run, --render, --compare and --probe: give one of them");
	if (lab->probe_args.count > 0 && lab->probe == NULL)
		return refuse("KEY=VALUE goes with --probe");
	if ((code = parse_bytes("live", lab->live, &lab->live_bytes)) != -1 ||
	    (code = parse_bytes("full", lab->full, &lab->full_bytes)) != -1 ||
	    (code = parse_bytes("half", lab->half, &lab->half_bytes)) != -1 ||
	    (code = parse_bytes("limit", lab->limit, &lab->limit_bytes)) != -1)
		return code;
	if (lab->run != NULL && !find_run(lab->run, NULL, NULL))
		return refuse("--run: there is no such run; PAGE.RUN is as in the report, stage-2.tare-opt");
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
	// Go's side is built by the toolchain that is here, for the processors that Tare is built for.
	(void)setenv("GOTOOLCHAIN", "local", 1);
	(void)setenv("GOAMD64", "v2", 1);
}

static int make_folder(const char *path)
{
	if (mkdir(path, 0777) == 0 || errno == EEXIST)
		return access(path, W_OK | X_OK) == 0 ? -1 : cmd_fail("lab", "%s: %s", path, strerror(errno));
	return cmd_fail("lab", "%s: %s", path, strerror(errno));
}

static const char *const folders[] = {"runs", "data", "bin"};

static bool is_own(const char *name)
{
	bool own = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(folders); i++)
		own |= strcmp(name, folders[i]) == 0;
	return own;
}

// Somebody's folder of other things is not to be filled with runs.
static bool is_somebodys(const char *folder)
{
	char path[LAB_PATH];
	bool others = false;
	snprintf(path, sizeof path, "%s/machine.json", folder);
	DIR *dir = access(path, F_OK) == 0 ? NULL : opendir(folder);
	for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		others |= !is_own(entry->d_name);
	if (dir != NULL)
		closedir(dir);
	return others;
}

static int make_folders(const struct lab *lab)
{
	char path[LAB_PATH];
	if (is_somebodys(lab->out))
		return cmd_fail("lab", "%s: holds something else than a laboratory's runs; give --out an empty folder",
				lab->out);
	int code = make_folder(lab->out);
	for (size_t i = 0; i < TARE_ARRAY_LEN(folders) && code == -1; i++) {
		snprintf(path, sizeof path, "%s/%s", lab->out, folders[i]);
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
	struct stat st;
	lab->program_inode = stat("/proc/self/exe", &st) == 0 ? st.st_ino : 0;
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
		if (lab->full_bytes == 0)
			lab->full_bytes = (uint64_t)json_integer_value(json_object_get(before, "full_bytes"));
		if (lab->half_bytes == 0)
			lab->half_bytes = (uint64_t)json_integer_value(json_object_get(before, "half_bytes"));
	}
	json_decref(before);
}

// What stays in memory beside a service that reads it: of a file that does not, requests wait for the disk, which is
// neither peer's matter. And what the disk has room for beside the other snapshots.
static uint64_t full_size(const struct lab *lab, uint64_t memory)
{
	uint64_t room = disk_available(lab->out), others = lab->live_bytes / 4 * 5 + lab->small_bytes;
	uint64_t most = TARE_MIN((room - TARE_MIN(room, others)) * 7 / 10, memory / 2);
	return TARE_MIN(most, LAB_FULL_BYTES) / MIB * MIB;
}

// A file system in memory has no room for what is to be larger than memory.
static bool in_memory(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static bool is_there(const struct lab *lab, uint64_t bytes)
{
	char path[LAB_PATH];
	lab_snapshot_path(lab, bytes, path);
	return access(path, F_OK) == 0;
}

static void choose_full(struct lab *lab, uint64_t memory)
{
	if (lab->full_bytes == 0)
		lab->full_bytes = lab->quick ? 64 * MIB : full_size(lab, memory);
	uint64_t room = disk_available(lab->out), needed = lab->full_bytes + lab->live_bytes / 4 * 5;
	if (strcmp(lab->full, "auto") == 0 && !lab->quick && in_memory(lab->out))
		snprintf(lab->full_why, sizeof lab->full_why,
			 "--out is on a file system in memory; give another one, or --full SIZE");
	else if (lab->full_bytes < MIB || (!is_there(lab, lab->full_bytes) && room < needed))
		snprintf(lab->full_why, sizeof lab->full_why,
			 "the disk of --out has %" PRIu64 " MiB left, and %" PRIu64 " MiB are needed", room / MIB,
			 needed / MIB);
}

static void choose_sizes(struct lab *lab)
{
	uint64_t memory = lab_memory_available();
	take_sizes(lab);
	lab->small_bytes = lab->quick ? 8 * MIB : 64 * MIB;
	if (lab->live_bytes == 0)
		lab->live_bytes = lab->quick ? 32 * MIB : TARE_MIN(memory * 3 / 10, LAB_FULL_BYTES) / MIB * MIB;
	choose_full(lab, memory);
	if (lab->half_bytes == 0)
		lab->half_bytes = memory / 2 / MIB * MIB;
	lab->high_wanted = lab->rate_given > 0 ? (double)lab->rate_given : 60000;
	lab->processes = lab->quick ? 1 : 2;
	lab->windows = 2;
	lab->windows_more = lab->quick ? 1 : 6; // of ten the third and the eighth hold the median nine times in ten
	lab->probe_times = lab->quick ? 1 : 3;
	lab->window_ns = lab->quick ? 300 * TARE_NS_PER_MS : 6 * TARE_NS_PER_S;
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

// Of the last point the runs tell what can be told beforehand; whether figures come again is for whoever runs them
// again.
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
		with += json_string_length(json_object_get(result, "again")) > 0;
	}
	bool known = commit != NULL && commit[0] != '\0', dirty = known && strstr(commit, "-dirty") != NULL;
	return json_pack(
	    "{s:s, s:s, s:o, s:n, s:s, s:n, s:s, s:s}", "point", acceptance_points[LAB_ACCEPTANCE - 1], "asked",
	    "a command and a commit for all", "figure",
	    json_sprintf("%zu of %zu runs with a command; commit %s", with, all, known ? commit : "unknown"), "met",
	    "own_asked", "", "own_met", "evidence", "machine.json", "why",
	    !known  ? "the program was not built in a git checkout"
	    : dirty ? "the program was built from a checkout with changes of its own"
		    : "known when somebody has run some again: tare lab --run");
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
		json_array_foreach(json_array_get(points, i), at, verdict)
		{
			json_t *of = json_copy(verdict);
			json_object_set_new(of, "group", json_string(acceptance_points[i]));
			json_array_append_new(list, of);
		}
	}
	json_array_append_new(list, reproducible(lab));
	return list;
}

static json_t *report_make(struct lab *lab)
{
	const struct lab_page *page;
	json_t *pages = json_array(), *behind = json_array(), *points = json_array();
	for (int i = 0; i <= LAB_ACCEPTANCE; i++) // and what was missed beside them
		json_array_append_new(points, json_array());
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++)
		if (wanted(lab, page))
			json_array_append_new(pages, lab_page_make(lab, page, points, behind));
	json_t *twice = lab_twice_page(lab->results);
	if (twice != NULL)
		json_array_append_new(pages, twice);
	json_t *report =
	    json_pack("{s:s, s:s, s:O, s:b, s:O, s:o, s:O, s:o, s:o}", "title", "Findings of the laboratory", "about",
		      about, "made", json_object_get(lab->machine, "made"), "quick", lab->quick, "machine",
		      lab->machine, "acceptance", acceptance_list(lab, points), "missed",
		      json_array_get(points, LAB_ACCEPTANCE), "behind", behind, "pages", pages);
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

static int compare(const struct lab *lab)
{
	struct tare_error err;
	if (lab_report_compare(stdout, lab->compare, lab->out, &err) < 0)
		return cmd_fail("lab", "%s", err.text);
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

static const enum lab_size all_sizes[] = {LAB_SMALL, LAB_QUARTER, LAB_LIVE, LAB_FULL};

// Snapshots are large and quickly made again.
static void clean_up(const struct lab *lab)
{
	char path[LAB_PATH];
	for (size_t i = 0; i < TARE_ARRAY_LEN(all_sizes); i++) {
		lab_snapshot_path(lab, lab_size_bytes(lab, all_sizes[i]), path);
		(void)unlink(path);
	}
}

// Snapshots that this laboratory will not ask for: of another program or of other sizes.
static void clear_leftovers(const struct lab *lab)
{
	char folder[LAB_PATH], path[LAB_PATH * 2], own[LAB_PATH];
	snprintf(folder, sizeof folder, "%s/data", lab->out);
	DIR *dir = opendir(folder);
	for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		const char *dot = strrchr(entry->d_name, '.');
		bool kept = dot == NULL || strcmp(dot, ".snap") != 0;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		for (size_t i = 0; i < TARE_ARRAY_LEN(all_sizes) && !kept; i++) {
			lab_snapshot_path(lab, lab_size_bytes(lab, all_sizes[i]), own);
			kept = strcmp(path, own) == 0;
		}
		if (!kept)
			(void)unlink(path);
	}
	if (dir != NULL)
		closedir(dir);
}

// What stands in OUT/data, in MiB.
static uint64_t left_mib(const struct lab *lab)
{
	char path[LAB_PATH];
	uint64_t bytes = 0;
	struct stat st;
	for (size_t i = 0; i < TARE_ARRAY_LEN(all_sizes); i++) {
		lab_snapshot_path(lab, lab_size_bytes(lab, all_sizes[i]), path);
		bytes += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
	}
	return bytes / MIB;
}

// A file of tens of gigabytes comes to nobody unasked without a word.
static void announce(const struct lab *lab)
{
	const struct lab_page *page;
	bool full = false;
	for (size_t i = 0; (page = lab_page_at(i)) != NULL; i++)
		for (size_t k = 0; k < page->run_count && wanted(lab, page); k++)
			full |= page->runs[k].size == LAB_FULL;
	if (full && lab->full_why[0] == '\0' && lab->full_bytes >= (uint64_t)1 << 30)
		(void)cmd_fail("lab",
			       "%s/data will hold a file of %" PRIu64 " MiB until the end; --full makes it smaller",
			       lab->out, lab->full_bytes / MIB);
}

static int stopped(const struct lab *lab)
{
	if (left_mib(lab) == 0)
		return cmd_fail("lab", "stopped by a signal; the same command goes on from here");
	return cmd_fail("lab",
			"stopped by a signal; the same command goes on from here, with %" PRIu64 " MiB in %s/data",
			left_mib(lab), lab->out);
}

static int do_page(struct lab *lab, const struct lab_page *page)
{
	for (size_t i = 0; i < page->run_count; i++) {
		int rc = lab_run_do(lab, page, &page->runs[i]);
		if (rc < 0)
			return rc == -EINTR ? stopped(lab)
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
	announce(lab);
	cmd_progress_begin(&lab->progress, "tare lab:");
	for (size_t i = 0; code == -1 && (page = lab_page_at(i)) != NULL; i++)
		if (wanted(lab, page))
			code = do_page(lab, page);
	cmd_progress_end(&lab->progress);
	if (code == -1)
		clean_up(lab);
	return code;
}

// One run and what it needs, without a report: its figures are printed.
static int do_one(struct lab *lab)
{
	const struct lab_page *page = NULL;
	const struct lab_run *run = NULL;
	static const char *const shown[] = {"name", "command", "figures", "spread", "notes", "knobs", "skipped"};
	(void)find_run(lab->run, &page, &run);
	lab->runs_total = 1;
	cmd_progress_begin(&lab->progress, "tare lab:");
	int rc = 0;
	for (size_t i = 0; run->base != NULL && lab->limit_bytes == 0 && i < page->run_count && rc == 0; i++)
		if (strcmp(page->runs[i].name, run->base) == 0)
			rc = lab_run_do(lab, page, &page->runs[i]);
	if (rc == 0)
		rc = lab_run_do(lab, page, run);
	cmd_progress_end(&lab->progress);
	if (rc < 0)
		return rc == -EINTR ? stopped(lab) : cmd_fail("lab", "%s: %s", lab->run, strerror(-rc));
	clean_up(lab);
	const json_t *result = lab_result(lab, page, run->name);
	json_t *out = json_object();
	for (size_t i = 0; i < TARE_ARRAY_LEN(shown); i++)
		if (json_object_get(result, shown[i]) != NULL)
			json_object_set(out, shown[i], json_object_get(result, shown[i]));
	bool ok = json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) == 0 && putchar('\n') != EOF &&
		  fflush(stdout) == 0;
	json_decref(out);
	if (!ok)
		return cmd_fail("lab", "standard output: %s", strerror(errno));
	const char *why = json_string_value(json_object_get(result, "skipped"));
	return why != NULL ? cmd_fail("lab", "%s: %s", lab->run, why) : CMD_OK;
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
	lab->program_hash = lab_hash_program(UINT64_C(14695981039346656037), lab->tare);
	choose_sizes(lab);
	clear_leftovers(lab);
	lab_go_find(lab);
	lab->end_ns = tare_time_after(tare_clock_ns(), lab->budget_ns);
	lab->results = json_object();
	code = lab->results == NULL ? cmd_fail("lab", "out of memory") : describe(lab);
	if (code == -1 && lab->run != NULL)
		return do_one(lab);
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
	lab = (struct lab){.stage = UINT64_MAX,
			   .live = "auto",
			   .full = "auto",
			   .half = "auto",
			   .limit = "auto",
			   .rate = "auto",
			   .out = "report",
			   .budget_ns = BUDGET_NS,
			   .probe_args = {args, 0, LAB_ARGS}};
	int code = parse(&lab, argc, argv);
	if (code == -1)
		code = parse_rest(&lab);
	if (code == -1 && lab.probe != NULL)
		code = lab_probe_main(lab.probe, lab.probe_args.items, lab.probe_args.count);
	else if (code == -1 && lab.compare != NULL)
		code = compare(&lab);
	else if (code == -1)
		code = lab.render != NULL ? render(lab.render) : run(&lab);
	json_decref(lab.results);
	json_decref(lab.machine);
	return code;
}
