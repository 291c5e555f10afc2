// SPDX-License-Identifier: MIT
//
// `tare load`: drives a server with requests sent on a schedule (open model), or one after the other (--closed).
//
// The flow: options, a template of the request, one probe that must be answered, a generator a thread, the merged
// report. Storage of generators and connections is made before the runtime and freed after it.
#include "cmd/load/load.h"

#include <tare/heap.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("load generator");

static const char *const arrivals_choices[] = {"constant", "poisson", NULL};
static const char *const method_choices[] = {"GET", "HEAD", NULL};

struct load {
	struct load_options options;
	struct load_template tmpl;
	struct load_run run;
	struct load_report report;
	struct tare_fd signals; // static storage of this struct outlives the runtime
	struct tare_event display_end;
	FILE *hgrm;     // open from before the first request; NULL: none asked for
	bool hgrm_made; // there was no such file
};

// Its options hold the defaults. Static: descriptors' storage must outlive the runtime.
static struct load the_load = {
    .options =
	{
	    .rate = 1000,
	    .zipf_s = 1.1,
	    .connections = 64,
	    .threads = 1,
	    .pipeline = 1,
	    .keys = 1000000,
	    .seed = 1,
	    .duration_ns = 10 * TARE_NS_PER_S,
	    .warmup_ns = TARE_NS_PER_S,
	    .timeout_ns = 5 * TARE_NS_PER_S,
	    .drain_ns = 5 * TARE_NS_PER_S,
	    .header = "",
	    .hgrm = "",
	},
};

static const struct cmd_option options_table[] = {
    {.name = "URL",
     .type = CMD_TEXT,
     .value = &the_load.options.url,
     .help = "http://HOST:PORT/path; {zipf}, {uniform} and {seq} stand for a key of each request"},
    {.name = "rate",
     .type = CMD_REAL,
     .value = &the_load.options.rate,
     .given = &the_load.options.rate_given,
     .min = 0,
     .max = 100000000,
     .help = "requests a second to send, whatever the server does"},
    {.name = "arrivals",
     .type = CMD_CHOICE,
     .value = &the_load.options.arrivals,
     .given = &the_load.options.arrivals_given,
     .choices = arrivals_choices,
     .help = "spacing of the schedule"},
    {.name = "closed",
     .type = CMD_FLAG,
     .value = &the_load.options.closed,
     .help = "closed loop instead: each connection sends when it was answered"},
    {.name = "pipeline",
     .type = CMD_U64,
     .value = &the_load.options.pipeline,
     .min = 1,
     .max = LOAD_PIPELINE_MAX,
     .help = "requests a write, with --closed"},
    {.name = "connections",
     .type = CMD_U64,
     .value = &the_load.options.connections,
     .min = 1,
     .max = 1000000,
     .help = "connections in all"},
    {.name = "threads",
     .type = CMD_U64,
     .value = &the_load.options.threads,
     .min = 1,
     .max = 64,
     .help = "generators, a thread each"},
    {.name = "duration",
     .type = CMD_DURATION,
     .value = &the_load.options.duration_ns,
     .min = 1,
     .help = "how long to measure"},
    {.name = "warmup",
     .type = CMD_DURATION,
     .value = &the_load.options.warmup_ns,
     .help = "load before that, in no figure"},
    {.name = "timeout",
     .type = CMD_DURATION,
     .value = &the_load.options.timeout_ns,
     .min = 1,
     .help = "the longest wait for one answer"},
    {.name = "drain",
     .type = CMD_DURATION,
     .value = &the_load.options.drain_ns,
     .given = &the_load.options.drain_given,
     .help = "the longest wait for what is unanswered at the end"},
    {.name = "keys",
     .type = CMD_U64,
     .value = &the_load.options.keys,
     .min = 1,
     .max = UINT64_C(1) << 40,
     .help = "keys are 0 to this less 1"},
    {.name = "zipf-s", .type = CMD_REAL, .value = &the_load.options.zipf_s, .help = "exponent of {zipf}"},
    {.name = "seed", .type = CMD_U64, .value = &the_load.options.seed, .help = "of keys and Poisson arrivals"},
    {.name = "method",
     .type = CMD_CHOICE,
     .value = &the_load.options.method,
     .choices = method_choices,
     .help = "request method"},
    {.name = "header",
     .type = CMD_TEXT,
     .value = &the_load.options.header,
     .placeholder = "LINE",
     .help = "one more header, 'Name: value'"},
    {.name = "json", .type = CMD_FLAG, .value = &the_load.options.json, .help = "report one JSON object"},
    {.name = "hgrm",
     .type = CMD_TEXT,
     .value = &the_load.options.hgrm,
     .placeholder = "FILE",
     .help = "also write the latency distribution, for HdrHistogram plotters"},
    {.name = "live",
     .type = CMD_FLAG,
     .value = &the_load.options.live,
     .help = "a line a second on standard error (always on a terminal)"},
};

static int check(const struct load_options *o)
{
	const char *open_only = o->rate_given       ? "rate"
				: o->arrivals_given ? "arrivals"
				: o->drain_given    ? "drain"
						    : NULL;
	if (!(o->rate > 0) || !(o->zipf_s > 0))
		(void)cmd_fail("load", "--rate and --zipf-s must be more than 0");
	else if (o->closed && open_only != NULL)
		(void)cmd_fail("load",
			       "--%s does not go with --closed, where the server's answers set the pace; leave one out",
			       open_only);
	else if (o->pipeline > 1 && !o->closed)
		(void)cmd_fail("load",
			       "--pipeline goes with --closed; the open model sends each request at its own time");
	else if (o->connections < o->threads)
		(void)cmd_fail("load", "%" PRIu64 " threads need at least as many --connections", o->threads);
	else
		return -1;
	return CMD_USAGE;
}

// ---- the distribution's file --------------------------------------------------------------------------------------

// Before the first request, so that a run is not made for nothing. What the file holds stays until there is something
// to put in its place.
static int hgrm_open(struct load *load)
{
	const char *path = load->options.hgrm;
	if (path[0] == '\0')
		return CMD_OK;
	load->hgrm_made = access(path, F_OK) < 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
	load->hgrm = fd < 0 ? NULL : fdopen(fd, "w");
	if (load->hgrm != NULL)
		return CMD_OK;
	(void)cmd_fail("load", "--hgrm: can't write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return CMD_FAILED;
}

// 0 or a negative errno. The file is closed in any case.
static int hgrm_write(struct load *load)
{
	FILE *file = load->hgrm;
	load->hgrm = NULL;
	int rc = ftruncate(fileno(file), 0) < 0 && errno != EINVAL ? -errno : 0; // EINVAL: a pipe or a terminal
	int write_rc = load_report_hgrm(&load->report, file);
	return rc < 0 ? rc : write_rc;
}

// Of a run without a report.
static void hgrm_leave(struct load *load)
{
	if (load->hgrm == NULL)
		return;
	fclose(load->hgrm);
	if (load->hgrm_made)
		unlink(load->options.hgrm);
}

// ---- the display and the interrupt --------------------------------------------------------------------------------

static uint64_t sum_answered(const struct load_run *run, uint64_t *ret_errors)
{
	uint64_t answered = 0;
	*ret_errors = 0;
	for (uint64_t i = 0; i < run->options->threads; i++) {
		const struct load_stats *stats = &run->generators[i].stats;
		answered += atomic_load_explicit(&stats->answered, memory_order_relaxed);
		for (int kind = 0; kind < LOAD_ERRORS; kind++)
			*ret_errors += atomic_load_explicit(&stats->errors[kind], memory_order_relaxed);
	}
	return answered;
}

static void display_line(const struct load_run *run, uint64_t before, uint64_t answered, uint64_t errors,
			 struct tare_hist *scratch)
{
	tare_hist_reset(scratch);
	for (uint64_t i = 0; i < run->options->threads; i++)
		tare_hist_merge(scratch, run->generators[i].stats.hist[LOAD_LATENCY]);
	int64_t now_ns = tare_now_ns();
	bool terminal = isatty(STDERR_FILENO) == 1;
	if (now_ns < run->measure_ns)
		fprintf(stderr, "%swarming up%s", terminal ? "\r" : "", terminal ? "\033[K" : "\n");
	else
		fprintf(stderr, "%s%3.0f s of %.0f: %7" PRIu64 "/s, p50 %.0f us, p99 %.0f us, errors %" PRIu64 "%s",
			terminal ? "\r" : "", (double)(now_ns - run->measure_ns) / 1e9,
			(double)run->options->duration_ns / 1e9, answered - before,
			(double)tare_hist_quantile(scratch, 0.5) / 1e3, (double)tare_hist_quantile(scratch, 0.99) / 1e3,
			errors, terminal ? "\033[K" : "\n");
}

static int display_task(void *arg)
{
	struct load *load = arg;
	struct tare_hist *scratch;
	int rc = tare_hist_new(&scratch, 3, 600 * UINT64_C(1000000000));
	if (rc < 0)
		return rc;
	uint64_t before = 0;
	int64_t next_ns = tare_now_ns();
	for (;;) {
		next_ns += TARE_NS_PER_S;
		if (tare_event_wait_until(&load->display_end, next_ns) == 0)
			break;
		uint64_t errors, answered = sum_answered(&load->run, &errors);
		display_line(&load->run, before, answered, errors, scratch);
		before = answered;
	}
	if (isatty(STDERR_FILENO) == 1)
		fprintf(stderr, "\r\033[K");
	tare_hist_free(scratch);
	return 0;
}

// Ends the run early on SIGINT or SIGTERM; the report still comes.
static int signal_task(void *arg)
{
	struct load *load = arg;
	struct signalfd_siginfo info;
	while (tare_fd_wait(&load->signals, TARE_READ, TARE_NEVER) == 0) {
		if (tare_fd_recv(&load->signals, &info, sizeof info) <= 0)
			continue;
		load->report.interrupted = true;
		atomic_store(&load->run.stop, true);
		return 0;
	}
	return 0;
}

static int signals_watch(struct load *load, const sigset_t *set)
{
	int fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = tare_fd_open(&load->signals, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return tare_go(signal_task, load);
}

// ---- the run ------------------------------------------------------------------------------------------------------

// The server's addresses; how many. A negative errno with a text.
static int find_server(const struct load *load, struct tare_addr *ret, size_t max, struct tare_error *err)
{
	struct tare_resolver *resolver = NULL;
	ret[0] = load->tmpl.addr;
	if (!load->tmpl.named)
		return 1;
	int rc = tare_resolver_new(&resolver, NULL, err);
	if (rc < 0)
		return rc;
	int64_t deadline_ns = tare_time_after(tare_now_ns(), load->options.timeout_ns);
	rc = tare_resolve(resolver, load->tmpl.authority, ret, max, deadline_ns, err);
	tare_resolver_free(resolver);
	return rc;
}

static bool not_there(int rc)
{
	return rc == -ECONNREFUSED || rc == -ENETUNREACH || rc == -EHOSTUNREACH || rc == -ETIMEDOUT;
}

// The first address that is there is the one that the run goes to.
static int probe(struct load *load)
{
	struct tare_addr addrs[TARE_DIAL_ADDRS_MAX];
	struct tare_error detail;
	int count = find_server(load, addrs, TARE_ARRAY_LEN(addrs), &detail);
	if (count < 0)
		return cmd_fail("load", "%s: %s", load->options.url, detail.text);
	int status = -ECONNREFUSED;
	for (int i = 0; i < count && not_there(status); i++) {
		load->tmpl.addr = addrs[i];
		status = load_probe(&load->options, &load->tmpl, &detail);
	}
	if (status < 0)
		return cmd_fail("load", "%s: %s; is the server up?", load->options.url,
				status == -ENODATA   ? "the server closed the connection without an answer"
				: status == -EBADMSG ? "the answer is not HTTP/1"
						     : strerror(-status));
	if (status >= 400)
		return cmd_fail("load", "%s: the first request was answered with status %d%s%s", load->options.url,
				status, detail.text[0] != '\0' ? ": " : "; check the path and --keys", detail.text);
	return CMD_OK;
}

static int generators_run(struct load *load)
{
	struct load_run *run = &load->run;
	uint64_t threads = load->options.threads;
	struct tare_task *tasks[64], *display = NULL;
	int rc = 0;
	uint64_t started = 0;
	run->begin_ns = tare_now_ns();
	run->measure_ns = run->begin_ns + load->options.warmup_ns;
	run->end_ns = run->measure_ns + load->options.duration_ns;
	if (load->options.live || isatty(STDERR_FILENO) == 1)
		rc = tare_spawn(&display, &(struct tare_task_options){.name = "display"}, display_task, load);
	for (; started < threads && rc == 0; started += rc == 0) {
		struct tare_task_options options = {.name = "generator", .pinned = true, .worker = (int)started};
		rc = tare_spawn(&tasks[started], &options, load_generator_task, &run->generators[started]);
	}
	if (rc < 0)
		atomic_store(&run->stop, true);
	for (uint64_t i = 0; i < started; i++) {
		int result = tare_join(tasks[i]);
		rc = rc < 0 ? rc : result;
	}
	tare_event_wake(&load->display_end);
	if (display != NULL)
		(void)tare_join(display);
	int64_t end_ns = load->report.interrupted ? TARE_MIN(tare_now_ns(), run->end_ns) : run->end_ns;
	load->report.seconds = (double)TARE_MAX(end_ns - run->measure_ns, INT64_C(0)) / 1e9;
	return rc;
}

static int main_task(void *arg)
{
	struct load *load = arg;
	int code = probe(load);
	if (code != CMD_OK)
		return code;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	int rc = signals_watch(load, &set);
	if (rc == 0)
		rc = generators_run(load);
	return rc < 0 ? cmd_fail("load", "%s", strerror(-rc)) : CMD_OK;
}

static int report(struct load *load)
{
	struct load_stats *total = &load->report.total;
	for (uint64_t i = 0; i < load->options.threads; i++) {
		struct load_stats *stats = &load->run.generators[i].stats;
		for (int m = 0; m < LOAD_MEASURES; m++)
			tare_hist_merge(total->hist[m], stats->hist[m]);
		tare_bump(&total->due, stats->due);
		tare_bump(&total->answered, stats->answered);
		tare_bump(&total->sent, stats->sent);
		tare_bump(&total->bytes, stats->bytes);
		tare_bump(&total->reconnects, stats->reconnects);
		tare_bump(&total->queued_max, stats->queued_max);
		tare_bump(&total->unfinished, stats->unfinished);
		for (int kind = 0; kind < LOAD_ERRORS; kind++)
			tare_bump(&total->errors[kind], stats->errors[kind]);
		for (int status = 0; status < 600; status++)
			tare_bump(&total->status[status], stats->status[status]);
	}
	load->report.run = &load->run;
	// First what people read: it is all there is of the run where the file can't be written.
	bool printed = load_report_print(&load->report) == 0;
	int rc = load->hgrm != NULL ? hgrm_write(load) : 0;
	if (!printed)
		return cmd_fail("load", "can't write the report to standard output");
	if (rc < 0)
		return cmd_fail("load", "--hgrm: can't write %s: %s", load->options.hgrm, strerror(-rc));
	uint64_t good = 0;
	for (int status = 200; status < 400; status++)
		good += total->status[status];
	return good > 0 ? CMD_OK : cmd_fail("load", "no request was answered with success");
}

static int set_up(struct load *load)
{
	int rc = 0;
	for (int m = 0; m < LOAD_MEASURES && rc == 0; m++)
		rc = tare_hist_new(&load->report.total.hist[m], 3, 600 * UINT64_C(1000000000));
	uint64_t threads = load->options.threads, connections = load->options.connections;
	load->run = (struct load_run){.options = &load->options, .tmpl = &load->tmpl};
	load->run.generators = tare_alloc_zeroed(&heap_tag, threads, sizeof *load->run.generators);
	if (load->run.generators == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < threads && rc == 0; i++)
		rc = load_generator_init(&load->run.generators[i], &load->run, (int)i,
					 connections / threads + (i < connections % threads));
	return rc;
}

static void tear_down(struct load *load)
{
	for (uint64_t i = 0; load->run.generators != NULL && i < load->options.threads; i++)
		load_generator_done(&load->run.generators[i]);
	tare_free(load->run.generators);
	for (int m = 0; m < LOAD_MEASURES; m++)
		tare_hist_free(load->report.total.hist[m]);
}

static void descriptors_raise(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int cmd_load(int argc, char **argv)
{
	struct tare_error err;
	int code = cmd_parse("load", "drive a server with open-model load and report percentiles", options_table,
			     TARE_ARRAY_LEN(options_table), argc, argv);
	the_load.options.method_text = method_choices[the_load.options.method];
	if (code < 0)
		code = check(&the_load.options);
	if (code >= 0)
		return code;
	if (load_template_init(&the_load.tmpl, &the_load.options, &err) < 0) {
		(void)cmd_fail("load", "%s", err.text);
		return CMD_USAGE;
	}
	if (hgrm_open(&the_load) != CMD_OK)
		return CMD_FAILED;
	descriptors_raise();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL); // before the workers, so that the descriptor gets them
	if (set_up(&the_load) < 0) {
		tear_down(&the_load);
		hgrm_leave(&the_load);
		return cmd_fail("load", "out of memory for %" PRIu64 " connections", the_load.options.connections);
	}
	struct tare_rt_options options = {.workers = (int)the_load.options.threads};
	int rc = tare_run(&options, main_task, &the_load, &code, &err);
	if (rc < 0)
		code = cmd_fail("load", "%s", err.text);
	else if (code < 0)
		code = cmd_fail("load", "can't start: %s", strerror(-code));
	if (rc == 0 && code == CMD_OK)
		code = report(&the_load);
	tear_down(&the_load);
	hgrm_leave(&the_load);
	return code;
}
