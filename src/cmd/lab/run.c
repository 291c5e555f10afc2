// SPDX-License-Identifier: MIT
// One run: a service under load in some windows, or a probe, to a file of figures.
//
// A service is started more than once and a probe is run more than once, but for --quick: two processes of one program
// differ by more than two windows of one process do, and a spread has to know.
// A run's file is written when it is whole, under a hash of all that it depends on: command, windows, programs,
// machine. Where a file with that hash stands, the run is done, unless it was marked. What could not be done is said in
// the report and tried again next time.
// A window in which the generator was late counts for nothing and is repeated; so are all, where p99 of the windows
// lies too far apart. Both have a bound; what then still holds is marked, and no verdict is given on it.
#include "cmd/lab/lab.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMMAND_BYTES = 4096, RUN_PATH = LAB_PATH + LAB_NAME };

// The spread of p99, relative to its middle and in microseconds: both, or nothing that is fast is ever calm.
#define NOISY 0.5
#define NOISY_US 200
#define COLLECTORS_SHARE 0.9 // of tare svc's limit
#define PROBE_NS (900 * TARE_NS_PER_S)

json_t *lab_result(const struct lab *lab, const struct lab_page *page, const char *run)
{
	char name[LAB_NAME];
	if (run == NULL)
		return NULL;
	lab_run_name(name, page, run);
	return json_object_get(lab->results, name);
}

static void run_path(const struct lab *lab, const char *name, char out[RUN_PATH])
{
	snprintf(out, RUN_PATH, "%s/runs/%s.json", lab->out, name);
}

static void note(json_t *result, const char *format, ...) TARE_PRINTF(2, 3);
static void note(json_t *result, const char *format, ...)
{
	char text[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	json_array_append_new(json_object_get(result, "notes"), json_string(text));
}

// ---- knobs --------------------------------------------------------------------------------------------------------

// The limit of "{limit:N}", and what is live in it.
static int limit_of(struct lab *lab, const struct lab_page *page, const struct lab_run *run, const char *at,
		    struct tare_error *err)
{
	double part = strtod(at + strlen("{limit:"), NULL) / 100;
	double share = run->peer == LAB_TARE ? COLLECTORS_SHARE : 1;
	const json_t *base = lab_result(lab, page, run->base);
	const char *why = json_string_value(json_object_get(base, "skipped"));
	lab->live_of_run = lab_figure_of(base, "kept_bytes");
	if (lab->limit_bytes > 0)
		lab->live_of_run = (double)lab->limit_bytes * share / part;
	if (isnan(lab->live_of_run))
		return tare_error_set(err, -ENOENT,
				      "its limit is a share of what %s has after a collection, which is not known%s%s",
				      run->base, why != NULL ? ": " : "", why != NULL ? why : "");
	lab->limit_of_run = round(lab->live_of_run * part / share);
	return 0;
}

// Replaces "{limit:N}" or "{half}".
static int knobs_expand(struct lab *lab, const struct lab_page *page, const struct lab_run *run, char *out,
			struct tare_error *err)
{
	const char *at = strchr(run->knobs, '{');
	lab->limit_of_run = lab->live_of_run = NAN;
	if (at == NULL) {
		snprintf(out, LAB_PATH, "%s", run->knobs);
		return 0;
	}
	bool half = strncmp(at, "{half}", 6) == 0;
	int rc = half ? 0 : limit_of(lab, page, run, at, err);
	if (rc == 0)
		snprintf(out, LAB_PATH, "%.*s%.0f%s", (int)(at - run->knobs), run->knobs,
			 half ? (double)lab->half_bytes : lab->limit_of_run, strchr(at, '}') + 1);
	return rc;
}

// ---- what a run depends on ----------------------------------------------------------------------------------------

// The program of a build mode: build/MODE/tare beside this one's folder.
static void probe_program(const struct lab *lab, const struct lab_run *run, char *out)
{
	int folder = (int)(strrchr(lab->tare, '/') - lab->tare);
	if (run->build != NULL)
		snprintf(out, LAB_PATH, "%.*s/../%s/tare", folder, lab->tare, run->build);
	else
		snprintf(out, LAB_PATH, "%s", lab->tare);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return hash;
}

// Its content: a build that changes nothing may still write the file anew.
uint64_t lab_hash_program(uint64_t hash, const char *path)
{
	uint64_t words[512] = {0};
	FILE *file = fopen(path, "re");
	for (size_t n; file != NULL && (n = fread(words, 1, sizeof words, file)) > 0;) {
		for (size_t i = 0; i < n / sizeof words[0]; i++)
			hash = (hash ^ words[i]) * UINT64_C(1099511628211);
		hash ^= hash >> 29; // high bits of a word reach low ones
	}
	if (file != NULL)
		(void)fclose(file);
	return hash;
}

// The machine that it runs on, and what builds Go's programs.
static uint64_t hash_machine(const struct lab *lab, uint64_t hash)
{
	static const char *const names[] = {"kernel", "architecture", "processor"};
	const char *flags = getenv("GOFLAGS");
	char text[96];
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		const char *value = json_string_value(json_object_get(lab->machine, names[i]));
		hash = hash_text(hash_text(hash, value != NULL ? value : ""), ";");
	}
	snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT " %" JSON_INTEGER_FORMAT " ",
		 json_integer_value(json_object_get(lab->machine, "cores")),
		 json_integer_value(json_object_get(lab->machine, "memory_bytes")));
	return hash_text(hash_text(hash, text), flags != NULL ? flags : "");
}

static void plan_hash(const struct lab *lab, const struct lab_run *run, const char *command, char out[24])
{
	char text[160], program[LAB_PATH];
	uint64_t hash = hash_text(UINT64_C(14695981039346656037), command);
	snprintf(text, sizeof text, "%d %d %d %d %" PRId64 " %" PRId64 " %g", lab->processes, lab->windows,
		 lab->windows_more, lab->probe_times, lab->window_ns, lab->warm_ns,
		 run->load == LAB_SEARCH ? lab->high_wanted : 0.0);
	hash = hash_machine(lab, hash_text(hash, text));
	probe_program(lab, run, program);
	hash = run->build == NULL ? hash ^ lab->program_hash : lab_hash_program(hash, program);
	if (run->counted) {
		lab_malloc_count(lab, program, sizeof program);
		hash = lab_hash_program(hash, program);
	}
	if (run->peer == LAB_GO)
		hash = lab_hash_program(hash, lab->go_svc);
	if (run->peer == LAB_GO_PROBE)
		hash = lab_hash_program(hash, lab->go_probes);
	snprintf(out, 24, "%016" PRIx64, hash);
}

// marked: it is taken even if it was marked; of a search, all rates hang on it.
static bool take_file(const char *path, const char *hash, bool marked, json_t **ret)
{
	json_error_t at;
	json_t *json = json_load_file(path, 0, &at);
	const char *has = json_string_value(json_object_get(json, "hash"));
	// What was marked may have been a bad hour: it is tried again.
	bool is_marked =
	    json_is_true(json_object_get(json, "noisy")) || json_is_true(json_object_get(json, "generator_limited"));
	if (has == NULL || strcmp(has, hash) != 0 || (is_marked && !marked)) {
		json_decref(json);
		return false;
	}
	*ret = json;
	return true;
}

// ---- windows ------------------------------------------------------------------------------------------------------

static int one_window(struct lab *lab, const struct lab_service *service, const struct lab_run *run, double rate,
		      json_t **ret, struct tare_error *err)
{
	struct lab_sample before = {0}, after = {0};
	json_t *load = NULL;
	int rc = lab_sample_take(service, &before, err);
	if (rc == 0)
		rc = lab_service_load(lab, service,
				      &(struct lab_drive){.rate = rate,
							  .connections = lab_connections(run->load),
							  .duration_ns = lab_window_ns(lab, run),
							  .collect = run->collect},
				      &load, err);
	if (rc == 0)
		rc = lab_sample_take(service, &after, err);
	if (rc == 0) {
		*ret = lab_figures(&before, &after, load, 1);
		if (json_is_true(json_object_get(load, "generator_limited")))
			json_object_set_new(*ret, "generator_limited", json_true());
		if (json_number_value(json_object_get(load, "errors")) > 0)
			json_object_set(*ret, "error_kinds", json_object_get(load, "error_kinds"));
	}
	json_decref(load);
	lab_sample_done(&before);
	lab_sample_done(&after);
	return rc;
}

static bool is_noisy(json_t *result)
{
	double spread = lab_spread_of(result, "p99_us");
	return spread > NOISY && spread * lab_figure_of(result, "p99_us") > NOISY_US;
}

// Of a run: what its processes have had so far.
struct course {
	json_t *clean, *all; // windows
	size_t least;        // that are wanted
	int most;
};

static void say_how_it_went(json_t *result, const struct course *course)
{
	size_t clean = json_array_size(course->clean), all = json_array_size(course->all);
	if (clean < 2) { // how far apart they are is not known then
		json_object_set_new(result, "generator_limited", json_true());
		note(result, "generator-limited in %zu of %zu windows: its latencies are no figures of the service",
		     all - clean, all);
	} else if (clean < all) {
		note(result, "%zu of %zu windows were generator-limited and are left out", all - clean, all);
	}
	if (clean > 0 && is_noisy(result)) {
		json_object_set_new(result, "noisy", json_true());
		note(result, "noisy: p99 differs by %.0f %% between windows, after %zu of at most %d",
		     100 * lab_spread_of(result, "p99_us"), all, course->most);
	}
}

// Those of one process; the last has more of them, where that helps.
static int windows(struct lab *lab, const struct lab_service *service, const struct lab_run *run, double rate,
		   bool last, struct course *course, json_t *result, struct tare_error *err)
{
	json_t *window = NULL;
	for (int i = 0; i < lab->windows + (last ? lab->windows_more : 0); i++) {
		if (i >= lab->windows && json_array_size(course->clean) >= course->least && !is_noisy(result))
			break;
		int rc = one_window(lab, service, run, rate, &window, err);
		if (rc < 0)
			return rc;
		if (!json_is_true(json_object_get(window, "generator_limited")))
			json_array_append(course->clean, window);
		json_array_append_new(course->all, window);
		lab_figures_merge(result, json_array_size(course->clean) > 0 ? course->clean : course->all);
	}
	return 0;
}

// ---- services -----------------------------------------------------------------------------------------------------

static int warm_up(struct lab *lab, const struct lab_service *service, const struct lab_run *run, double rate,
		   struct tare_error *err)
{
	json_t *load = NULL;
	int rc = lab_service_load(
	    lab, service,
	    &(struct lab_drive){.rate = rate, .connections = lab_connections(run->load), .duration_ns = lab->warm_ns},
	    &load, err);
	json_decref(load);
	return rc;
}

// What the service itself says that its knobs are. The index's folder is of this laboratory alone.
static void record_knobs(const struct lab_service *service, json_t *result)
{
	struct lab_sample sample;
	struct tare_error err;
	if (lab_sample_take(service, &sample, &err) < 0)
		return;
	json_t *knobs = json_object_get(sample.allocs, "knobs");
	const char *index = json_string_value(json_object_get(knobs, "index"));
	if (index != NULL && strrchr(index, '/') != NULL)
		json_object_set_new(knobs, "index", json_string(strrchr(index, '/') + 1));
	json_object_set(result, "knobs", knobs);
	json_object_del(sample.allocs, "knobs");
	json_object_set(result, "allocs", sample.allocs);
	lab_sample_done(&sample);
}

static long size_of(const char *path)
{
	struct stat st;
	return stat(path, &st) < 0 ? 0 : (long)st.st_size;
}

// Whether the program is still the one that the laboratory began with: figures of two must not stand under one commit.
static bool is_same_program(const struct lab *lab)
{
	struct stat st;
	return lab->program_inode == 0 || (stat(lab->tare, &st) == 0 && st.st_ino == lab->program_inode);
}

// Asked before each start of a process: a run of some is not begun to its end when the time for it is over.
static int in_time(const struct lab *lab, struct tare_error *err)
{
	if (!is_same_program(lab))
		return tare_error_set(err, -ESTALE,
				      "%s was built anew since the laboratory began; the same command begins again "
				      "with that",
				      lab->tare);
	if (tare_clock_ns() <= lab->end_ns)
		return 0;
	return tare_error_set(err, -ETIME,
			      "the laboratory's time was over (--budget); the same command goes on from here");
}

// One process of the service, from its start to its end. The trace is of the last one's windows.
static int one_process(struct lab *lab, const char *name, const struct lab_run *run, const char *knobs, double rate,
		       bool last, struct course *course, json_t *result, struct tare_error *err)
{
	struct lab_service service;
	int rc = in_time(lab, err);
	if (rc == 0)
		rc = lab_service_start(lab, &service, name, run, knobs, err);
	if (rc < 0)
		return rc;
	if (run->load == LAB_SEARCH)
		rc = lab_rate_search(lab, &service, result, err);
	else
		rc = warm_up(lab, &service, run, rate, err);
	int64_t begin_ns = tare_clock_ns();
	long trace_from = size_of(service.err_path);
	if (rc == 0 && run->load != LAB_SEARCH)
		rc = windows(lab, &service, run, rate, last, course, result, err);
	double seconds = (double)(tare_clock_ns() - begin_ns) / 1e9;
	if (rc == 0 && last) {
		record_knobs(&service, result);
		if (run->trace)
			lab_trace_read(service.err_path, trace_from, seconds, json_object_get(result, "figures"));
		lab_service_keep(lab, &service, name);
	}
	lab_service_stop(&service);
	return rc;
}

// What its memory limit was, what was live in it before the load, and what the process had in it.
static void set_limit(const struct lab *lab, json_t *result)
{
	json_t *figures = json_object_get(result, "figures");
	double anon = lab_figure_of(result, "anon_bytes");
	if (isnan(lab->limit_of_run))
		return;
	json_object_set_new(figures, "limit_bytes", json_real(lab->limit_of_run));
	json_object_set_new(figures, "live_of_limit", json_real(lab->live_of_run / lab->limit_of_run));
	if (!isnan(anon))
		json_object_set_new(figures, "anon_of_limit", json_real(anon / lab->limit_of_run));
}

static int run_service(struct lab *lab, const char *name, const struct lab_run *run, const char *knobs, double rate,
		       json_t *result, struct tare_error *err)
{
	int processes = run->load == LAB_SEARCH ? 1 : lab->processes, rc = 0;
	int least = lab->windows * lab->processes;
	struct course course = {json_array(), json_array(), (size_t)least, least + lab->windows_more};
	json_object_set_new(result, "figures", json_object());
	for (int i = 0; i < processes && rc == 0; i++)
		rc = one_process(lab, name, run, knobs, rate, i == processes - 1, &course, result, err);
	if (rc == 0 && run->counted &&
	    !json_is_object(json_object_get(json_object_get(result, "allocs"), "process_heap")))
		rc =
		    tare_error_set(err, -ENOEXEC,
				   "the library that counts heap calls was not loaded; the loader takes no path with a "
				   "blank or a colon");
	if (rc == 0 && run->load != LAB_SEARCH) {
		set_limit(lab, result);
		say_how_it_went(result, &course);
		json_object_set_new(result, "processes", json_integer(processes));
		json_object_set(result, "windows", course.all);
	}
	json_decref(course.clean);
	json_decref(course.all);
	return rc;
}

// ---- probes -------------------------------------------------------------------------------------------------------

// program: what probe_program wrote.
static size_t probe_words(const struct lab *lab, const struct lab_run *run, const char *program, char *words,
			  const char **argv)
{
	char *save;
	size_t n = 0;
	argv[n++] = run->peer == LAB_GO_PROBE ? lab->go_probes : program;
	if (run->peer == LAB_TARE_PROBE) {
		argv[n++] = "lab";
		argv[n++] = "--probe";
	}
	snprintf(words, LAB_PATH, "%s%s", run->knobs, lab->quick ? " quick=1" : "");
	for (char *word = strtok_r(words, " ", &save); word != NULL && n < LAB_ARGS - 1;
	     word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	argv[n] = NULL;
	return n;
}

static void probe_command(const struct lab *lab, const struct lab_run *run, char *out, size_t cap)
{
	char words[LAB_PATH], program[64] = "tare", go[LAB_PATH];
	const char *argv[LAB_ARGS];
	size_t count = probe_words(lab, run, program, words, argv), len;
	if (run->build != NULL)
		snprintf(program, sizeof program, "build/%s/tare", run->build);
	lab_go_command(lab, true, go, sizeof go);
	len = (size_t)snprintf(out, cap, "%s", run->peer == LAB_GO_PROBE ? go : program);
	for (size_t i = 1; i < count && len < cap; i++)
		len += (size_t)snprintf(out + len, cap - len, " %s", argv[i]);
}

// What it prints; the caller's.
static int probe_once(struct lab *lab, const char *name, const struct lab_run *run, json_t **ret,
		      struct tare_error *err)
{
	char words[LAB_PATH], log[LAB_PATH], program[LAB_PATH], *text;
	const char *argv[LAB_ARGS];
	struct lab_child child;
	json_error_t at;
	probe_program(lab, run, program);
	(void)probe_words(lab, run, program, words, argv);
	snprintf(log, sizeof log, "%s/runs/%s.err", lab->out, name);
	int rc = lab_child_start(&child, argv, -1, NULL, log, err);
	if (rc == 0)
		rc = lab_child_output(&child, "the probe", tare_clock_ns() + PROBE_NS, &text, err);
	if (rc < 0)
		return rc;
	*ret = json_loads(text, 0, &at);
	free(text);
	if (json_is_object(json_object_get(*ret, "figures")))
		return 0;
	json_decref(*ret);
	return tare_error_set(err, -EPROTO, "the probe printed no JSON object with figures");
}

// Figures are the median of the times that it ran; series and texts those of the last.
static int run_probe(struct lab *lab, const char *name, const struct lab_run *run, json_t *result,
		     struct tare_error *err)
{
	static const char *const kept[] = {"series", "texts"};
	json_t *all = json_array(), *json = NULL;
	const char *why = NULL;
	int times = run->build != NULL ? 1 : lab->probe_times, rc = 0;
	for (int i = 0; i < times && rc == 0; i++) {
		rc = in_time(lab, err);
		if (rc == 0)
			rc = probe_once(lab, name, run, &json, err);
		if (rc < 0)
			break;
		for (size_t k = 0; k < TARE_ARRAY_LEN(kept); k++)
			if (json_object_get(json, kept[k]) != NULL)
				json_object_set(result, kept[k], json_object_get(json, kept[k]));
		json_array_append(all, json_object_get(json, "figures"));
		why = json_string_value(json_object_get(json_object_get(result, "texts"), "skipped"));
		rc = why != NULL ? tare_error_set(err, -EOPNOTSUPP, "%s", why) : 0;
		json_decref(json);
	}
	if (rc == 0)
		lab_figures_merge(result, all);
	json_decref(all);
	return rc;
}

// ---- one run ------------------------------------------------------------------------------------------------------

static bool is_newer(const char *path, const char *than)
{
	struct stat a, b;
	if (stat(path, &a) < 0 || stat(than, &b) < 0)
		return false;
	return a.st_mtim.tv_sec != b.st_mtim.tv_sec ? a.st_mtim.tv_sec > b.st_mtim.tv_sec
						    : a.st_mtim.tv_nsec > b.st_mtim.tv_nsec;
}

// A program of another mode tells of this one only where both are of one commit: its build wrote down which, beside it.
static const char *other_build(const struct lab *lab, const struct lab_run *run, char *why, size_t cap)
{
	char program[LAB_PATH], path[LAB_PATH + 16], theirs[64];
	const char *ours = json_string_value(json_object_get(lab->machine, "commit"));
	probe_program(lab, run, program);
	if (access(program, X_OK) < 0) {
		snprintf(why, cap,
			 "there is no such build of tare beside this one; make MODE=%s build/%s/tare makes it",
			 run->build, run->build);
		return why;
	}
	snprintf(path, sizeof path, "%.*s/commit", (int)(strrchr(program, '/') - program), program);
	if (ours == NULL || ours[0] == '\0')
		return NULL; // this one was built outside of a checkout, and so was that
	if (tare_proc_read(path, theirs, sizeof theirs) < 0)
		theirs[0] = '\0';
	theirs[strcspn(theirs, "\n")] = '\0';
	if (is_newer(path, program)) { // tests of that mode were built since, and not the program
		snprintf(why, cap,
			 "build/%s/tare is older than the commit beside it; make MODE=%s build/%s/tare makes it anew",
			 run->build, run->build, run->build);
		return why;
	}
	if (strcmp(ours, theirs) == 0)
		return NULL;
	snprintf(why, cap,
		 "build/%s/tare is of commit %s, this program of %s; make MODE=%s build/%s/tare makes it anew",
		 run->build, theirs[0] != '\0' ? theirs : "unknown", ours, run->build, run->build);
	return why;
}

// why: where a reason may be put together.
static const char *unavailable(const struct lab *lab, const struct lab_run *run, char *why, size_t cap)
{
	char program[LAB_PATH];
	if (run->build != NULL && other_build(lab, run, why, cap) != NULL)
		return why;
	if (run->counted) {
		lab_malloc_count(lab, program, sizeof program);
		if (program[0] == '\0')
			return "malloc_count.so, which counts the libraries' heap calls, is not beside this program; "
			       "make makes it";
		if (strcmp(TARE_MODE, "asan") == 0 || strcmp(TARE_MODE, "tsan") == 0)
			return "a build with a sanitizer has heap calls of its own";
	}
	if (run->size == LAB_FULL && lab->full_why[0] != '\0')
		return lab->full_why;
	if (run->load == LAB_SEARCH && lab->rate_given > 0)
		return "--rate says what the rate is";
	if (run->peer == LAB_GO && lab->go_svc[0] == '\0')
		return lab->go_why;
	if (run->peer == LAB_GO_PROBE && lab->go_probes[0] == '\0')
		return lab->go_why[0] != '\0' ? lab->go_why : "there is no program of Go's probes beside Go's service";
	return NULL;
}

// The laboratory's own way to do it again. rate: of the run, where it has one.
static void again_command(const struct lab *lab, const char *name, const struct lab_run *run, char *out, size_t cap)
{
	char go[LAB_PATH] = "off";
	if (run->peer == LAB_GO || run->peer == LAB_GO_PROBE)
		lab_go_command(lab, false, go, sizeof go);
	size_t len = (size_t)snprintf(out, cap, "tare lab --run %s%s --live %" PRIu64 " --out again", name,
				      lab->quick ? " --quick" : "", lab->live_bytes);
	if (lab->full_bytes > 0 && len < cap)
		len += (size_t)snprintf(out + len, cap - len, " --full %" PRIu64, lab->full_bytes);
	if (lab->rate_of_run > 0 && len < cap)
		len += (size_t)snprintf(out + len, cap - len, " --rate %.0f", lab->rate_of_run);
	if (strstr(run->knobs, "{limit:") != NULL && len < cap)
		len += (size_t)snprintf(out + len, cap - len, " --limit %.0f", lab->limit_of_run);
	if (strstr(run->knobs, "{half}") != NULL && len < cap)
		len += (size_t)snprintf(out + len, cap - len, " --half %" PRIu64, lab->half_bytes);
	if (len < cap)
		(void)snprintf(out + len, cap - len, " --go %s", go);
}

static json_t *result_new(const struct lab *lab, const char *name, const struct lab_run *run, const char *command,
			  const char *hash)
{
	char again[LAB_PATH * 2] = "";
	if (command[0] != '\0')
		again_command(lab, name, run, again, sizeof again);
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:o, s:O}", "name", name, "hash", hash, "command", command, "again",
			 again, "seed", 1, "notes", json_array(), "machine", lab->machine);
}

// Why it could not be done.
static int skip(struct lab *lab, const char *name, const struct lab_run *run, const char *command, const char *why)
{
	json_t *result = result_new(lab, name, run, command, "");
	json_object_set_new(result, "skipped", json_string(why));
	json_object_set_new(lab->results, name, result);
	return 0;
}

// What could not be repeated stays as it was, with its mark.
static int take_or_skip(struct lab *lab, const char *name, const struct lab_run *run, const char *command,
			const char *hash, const char *why)
{
	char path[RUN_PATH];
	json_t *result;
	run_path(lab, name, path);
	if (lab->run != NULL || !take_file(path, hash, true, &result))
		return skip(lab, name, run, command, why);
	note(result, "it was to be repeated, and was not: %s", why);
	json_object_set_new(lab->results, name, result);
	return 0;
}

static int execute(struct lab *lab, const char *name, const struct lab_run *run, const char *knobs, double rate,
		   const char *command)
{
	char hash[24], path[RUN_PATH];
	struct tare_error err = {""};
	json_t *result;
	plan_hash(lab, run, command, hash);
	run_path(lab, name, path);
	bool named = lab->run != NULL && strcmp(lab->run, name) == 0; // then it is to be done again
	if (!named && take_file(path, hash, run->load == LAB_SEARCH, &result)) {
		json_object_set_new(lab->results, name, result);
		return 0;
	}
	if (in_time(lab, &err) < 0)
		return take_or_skip(lab, name, run, command, hash, err.text);
	result = result_new(lab, name, run, command, hash);
	if (run->load != LAB_SEARCH && !lab_is_probe(run))
		json_object_set_new(result, "rate_asked", json_real(rate));
	int rc = lab_is_probe(run) ? run_probe(lab, name, run, result, &err)
				   : run_service(lab, name, run, knobs, rate, result, &err);
	if (rc == 0)
		rc = lab_json_write(result, path, &err);
	if (rc < 0) {
		json_decref(result);
		return lab_interrupted != 0 ? -EINTR : take_or_skip(lab, name, run, command, hash, err.text);
	}
	json_object_set_new(lab->results, name, result);
	return 0;
}

int lab_run_do(struct lab *lab, const struct lab_page *page, const struct lab_run *run)
{
	char name[LAB_NAME], knobs[LAB_PATH], command[COMMAND_BYTES], reason[400];
	struct tare_error err = {""};
	double rate = 0;
	lab_run_name(name, page, run->name);
	if (json_object_get(lab->results, name) != NULL)
		return 0;
	const char *why = unavailable(lab, run, reason, sizeof reason);
	if (why != NULL)
		return skip(lab, name, run, "", why);
	if (lab_is_probe(run)) {
		lab->rate_of_run = 0;
		snprintf(knobs, sizeof knobs, "%s", run->knobs);
		probe_command(lab, run, command, sizeof command);
	} else {
		int rc = lab_rate(lab, run->load, &rate);
		if (rc < 0)
			return rc;
		if (isnan(rate))
			return skip(lab, name, run, "", lab->rate_why);
		lab->rate_of_run = run->load == LAB_HIGH || run->load == LAB_HIGH_NAIVE ? rate : 0;
		if (knobs_expand(lab, page, run, knobs, &err) < 0)
			return skip(lab, name, run, "", err.text);
		lab_service_command(lab, run, knobs, rate, command, sizeof command);
	}
	lab->progress.what = name;
	cmd_progress_show(&lab->progress, (uint64_t)lab->runs_done + 1, (uint64_t)lab->runs_total);
	int rc = execute(lab, name, run, knobs, rate, command);
	lab->progress.what = "tare lab:";
	return rc;
}
