// SPDX-License-Identifier: MIT
// A service under test: its snapshot, its start, what it tells of itself, the load on it, its end.
//
// Tare's and Go's are started alike: on one CPU, on free ports of the loopback, with the same snapshot file; the
// generator has another CPU where there are two. CPU time is the sum of the scheduler's own account of each thread, in
// nanoseconds: ticks of /proc/PID/stat are too coarse for half a second at 500 requests a second.
// At a low rate a large heap sees no collection for minutes. One is then asked for while the load is on, of both peers
// at the same address and in the same way: with their profile of the heap, which costs both some milliseconds.
#include "cmd/lab/lab.h"

#include <tare/index.h>
#include <tare/net.h>
#include <tare/rt.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, ANSWER_BYTES = 8 << 20, SEED = 1 };

#define ASK_NS (30 * TARE_NS_PER_S)
#define START_NS (120 * TARE_NS_PER_S)
#define SLOWEST_BYTES_PER_S 5000000
#define SLICE_NS (100 * TARE_NS_PER_MS)
#define WARM_UP_NS (100 * TARE_NS_PER_MS) // tare load's
#define COLLECT_NS (600 * TARE_NS_PER_S)

uint64_t lab_size_bytes(const struct lab *lab, enum lab_size size)
{
	const uint64_t sizes[] = {[LAB_SMALL] = lab->small_bytes,
				  [LAB_QUARTER] = lab->live_bytes / 4,
				  [LAB_LIVE] = lab->live_bytes,
				  [LAB_FULL] = lab->full_bytes};
	return sizes[size];
}

unsigned lab_connections(enum lab_load load)
{
	return load == LAB_LOW ? 8 : 512;
}

int64_t lab_window_ns(const struct lab *lab, const struct lab_run *run)
{
	return lab->window_ns * TARE_MAX(run->longer, 1);
}

static uint64_t records_of(uint64_t bytes)
{
	uint64_t records = 0, whole;
	const struct tare_gen_options gen = {.size = bytes, .seed = SEED};
	return tare_gen_plan(&gen, &records, &whole, NULL) < 0 ? 1 : records;
}

static int64_t deadline_of(uint64_t bytes)
{
	return tare_clock_ns() + START_NS + (int64_t)(bytes / SLOWEST_BYTES_PER_S) * TARE_NS_PER_S;
}

void lab_malloc_count(const struct lab *lab, char *out, size_t cap)
{
	static const char *const places[] = {"preload/malloc_count.so", "../lib/tare/malloc_count.so"};
	int folder = (int)(strrchr(lab->tare, '/') - lab->tare);
	for (size_t i = 0; i < TARE_ARRAY_LEN(places); i++) {
		snprintf(out, cap, "%.*s/%s", folder, lab->tare, places[i]);
		if (access(out, R_OK) == 0)
			return;
	}
	out[0] = '\0';
}

// ---- the snapshot -------------------------------------------------------------------------------------------------

// Named after the program that makes it, too: what another one left is not its own.
void lab_snapshot_path(const struct lab *lab, uint64_t bytes, char *out)
{
	snprintf(out, LAB_PATH, "%s/data/%" PRIu64 "-%08x.snap", lab->out, bytes, (unsigned)lab->program_hash);
}

static int snapshot_make(struct lab *lab, uint64_t bytes, struct tare_error *err)
{
	char path[LAB_PATH], size[32], log[LAB_PATH], *text;
	lab_snapshot_path(lab, bytes, path);
	if (access(path, R_OK) == 0)
		return 0;
	snprintf(size, sizeof size, "%" PRIu64, bytes);
	snprintf(log, sizeof log, "%s/data/gen.log", lab->out);
	const char *const argv[] = {lab->tare, "gen", "--size", size, "--seed", "1", "--out", path, NULL};
	struct lab_child child;
	int rc = lab_child_start(&child, argv, -1, NULL, log, err);
	if (rc == 0)
		rc = lab_child_output(&child, "tare gen", deadline_of(bytes), &text, err);
	if (rc == 0)
		free(text);
	return rc;
}

// All of the file once, so that whoever is started finds the same of it in memory: what was made or read last would
// stand there, and the one after would have it cheaper. (`tare gen` has it on the disk before it ends, so that nothing
// is written back meanwhile.)
static int snapshot_read(const char *path, uint64_t bytes, struct tare_error *err)
{
	static char part[1 << 20];
	int64_t deadline_ns = deadline_of(bytes);
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -errno : 0;
	for (ssize_t got = 1; rc == 0 && got > 0;) {
		got = read(fd, part, sizeof part);
		if (got < 0)
			rc = -errno;
		else if (lab_interrupted != 0)
			rc = -EINTR;
		else if (tare_clock_ns() > deadline_ns)
			rc = -ETIMEDOUT;
	}
	if (fd >= 0)
		close(fd);
	return rc < 0 ? tare_error_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

// ---- start and end ------------------------------------------------------------------------------------------------

// Splits words at spaces, in place. The count.
static size_t split(char *text, const char **argv, size_t at)
{
	char *save;
	for (char *word = strtok_r(text, " ", &save); word != NULL && at < LAB_ARGS - 1;
	     word = strtok_r(NULL, " ", &save))
		argv[at++] = word;
	argv[at] = NULL;
	return at;
}

// The address after "http://" in a line, or false.
static bool address_in(const char *line, char *out, size_t cap)
{
	const char *at = strstr(line, "http://");
	if (at == NULL)
		return false;
	snprintf(out, cap, "%.*s", (int)strcspn(at, " ,\"\t"), at);
	return true;
}

// What its last line of standard error says, behind ": ", or nothing.
static void last_said(const char *path, char *out, size_t cap)
{
	char line[LINE_BYTES] = "", text[LINE_BYTES];
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(text, sizeof text, file) != NULL)
		if (text[0] != '\n')
			snprintf(line, sizeof line, "%s", text);
	if (file != NULL)
		(void)fclose(file);
	line[strcspn(line, "\n")] = '\0';
	snprintf(out, cap, "%s%s", line[0] != '\0' ? ": " : "", line);
}

// Both peers say "listening on http://…" first and where their admin address is in one of the next lines.
static int read_addresses(struct lab_service *service, int64_t deadline_ns, const char *log, struct tare_error *err)
{
	char line[LINE_BYTES], said[LINE_BYTES] = "";
	int rc = 0;
	while (rc == 0 && service->admin[0] == '\0') {
		rc = lab_child_line(&service->child, line, sizeof line, deadline_ns);
		if (rc == 0 && strncmp(line, "listening on ", 13) == 0)
			(void)address_in(line, service->url, sizeof service->url);
		else if (rc == 0 && strncmp(line, "admin on ", 9) == 0)
			(void)address_in(line, service->admin, sizeof service->admin);
	}
	if (rc == 0 && service->url[0] != '\0')
		return 0;
	if (rc == -EINTR)
		return rc;
	if (rc != -ETIMEDOUT)
		last_said(log, said, sizeof said);
	return tare_error_set(err, rc < 0 ? rc : -EPROTO, "the service did not start%s",
			      rc == -ETIMEDOUT ? " in time" : said);
}

// Its command line. words: what argv points into.
static void service_words(const struct lab *lab, const struct lab_service *service, const struct lab_run *run,
			  const char *snapshot, char *words, const char **argv)
{
	size_t n = 0;
	argv[n++] = service->go ? lab->go_svc : lab->tare;
	if (!service->go)
		argv[n++] = "svc";
	const char *const fixed[] = {"--index", snapshot, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(fixed); i++)
		argv[n++] = fixed[i];
	n = split(words, argv, n);
	if (run->trace && !service->go)
		argv[n++] = "--gc-trace";
	argv[n] = NULL;
}

int lab_service_start(struct lab *lab, struct lab_service *service, const char *run_name, const struct lab_run *run,
		      const char *knobs, struct tare_error *err)
{
	char path[LAB_PATH], words[LAB_PATH], library[LAB_PATH], preload[LAB_PATH + 16];
	const char *argv[LAB_ARGS + 8], *extra = run->trace && run->peer == LAB_GO ? "GODEBUG=gctrace=1" : NULL;
	uint64_t bytes = lab_size_bytes(lab, run->size);
	*service = (struct lab_service){.child = {.out = -1}, .go = run->peer == LAB_GO};
	service->records = records_of(bytes);
	int rc = snapshot_make(lab, bytes, err);
	lab_snapshot_path(lab, bytes, path);
	if (rc == 0)
		rc = snapshot_read(path, bytes, err);
	if (rc < 0)
		return rc;
	snprintf(service->err_path, sizeof service->err_path, "%s/runs/%s.%s", lab->out, run_name,
		 run->trace ? "gctrace" : "err");
	snprintf(words, sizeof words, "%s", knobs);
	service_words(lab, service, run, path, words, argv);
	if (run->counted) {
		lab_malloc_count(lab, library, sizeof library);
		snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
		extra = preload;
	}
	rc = lab_child_start(&service->child, argv, lab->cpu_service, extra, service->err_path, err);
	if (rc < 0)
		return rc;
	rc = read_addresses(service, deadline_of(bytes), service->err_path, err);
	if (rc < 0)
		lab_service_stop(service);
	return rc;
}

void lab_service_stop(struct lab_service *service)
{
	lab_child_stop(&service->child);
}

// ---- what it tells ------------------------------------------------------------------------------------------------

struct ask {
	const struct lab_service *service;
	const char *target;
	struct tare_error *err;
	char *buf; // of ANSWER_BYTES
	size_t len;
	int64_t patience_ns;
};

// A signal ends the laboratory between two slices.
static ssize_t read_some(struct tare_stream *stream, char *out, size_t cap, int64_t deadline_ns)
{
	for (;;) {
		ssize_t got = tare_stream_read(stream, out, cap, TARE_MIN(deadline_ns, tare_now_ns() + SLICE_NS));
		if (got != -ETIMEDOUT || tare_now_ns() >= deadline_ns)
			return got;
		if (lab_interrupted != 0)
			return -EINTR;
	}
}

// HTTP/1.0: the answer is plain, and ends with the connection.
static int ask_task(void *arg)
{
	struct ask *ask = arg;
	static struct tare_stream stream; // a descriptor's storage outlives the runtime
	struct tare_addr addr;
	char request[256];
	const char *host = ask->service->admin + strlen("http://");
	int64_t deadline_ns = tare_now_ns() + ask->patience_ns;
	int rc = tare_addr_parse(&addr, host, ask->err);
	if (rc == 0)
		rc = tare_stream_dial(&stream, &addr, tare_now_ns() + ASK_NS);
	if (rc < 0)
		return rc;
	int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", ask->target, host);
	rc = tare_stream_write(&stream, request, (size_t)n, deadline_ns);
	while (rc == 0 && ask->len < ANSWER_BYTES - 1) {
		ssize_t got = read_some(&stream, ask->buf + ask->len, ANSWER_BYTES - 1 - ask->len, deadline_ns);
		if (got <= 0) {
			rc = (int)got;
			break;
		}
		ask->len += (size_t)got;
	}
	tare_stream_close(&stream);
	ask->buf[ask->len] = '\0';
	return rc;
}

// The body that it answers with and its length, in *ret_buf, which is free's; NULL with a text.
static const char *ask_for(const struct lab_service *service, const char *target, int64_t patience_ns, char **ret_buf,
			   size_t *ret_len, struct tare_error *err)
{
	struct ask ask = {
	    .service = service, .target = target, .err = err, .buf = malloc(ANSWER_BYTES), .patience_ns = patience_ns};
	int result = -ENOMEM;
	*ret_buf = ask.buf;
	int rc =
	    ask.buf == NULL ? -ENOMEM : tare_run(&(struct tare_rt_options){.workers = 1}, ask_task, &ask, &result, err);
	rc = rc < 0 ? rc : result;
	const char *end = rc == 0 ? strstr(ask.buf, "\r\n\r\n") : NULL;
	if (end == NULL || strncmp(ask.buf, "HTTP/1.", 7) != 0 || strncmp(ask.buf + 8, " 200", 4) != 0) {
		(void)tare_error_set(err, -EPROTO, "%s%s: %s", service->admin, target,
				     rc < 0 ? strerror(-rc) : "the answer is not 200");
		return NULL;
	}
	*ret_len = ask.len - (size_t)(end + 4 - ask.buf);
	return end + 4;
}

static json_t *ask_allocs(const struct lab_service *service, struct tare_error *err)
{
	char *buf;
	size_t len;
	json_error_t at;
	const char *body = ask_for(service, "/debug/allocs", ASK_NS, &buf, &len, err);
	// Some of its integers are past what jansson's hold.
	json_t *json = body == NULL ? NULL : json_loadb(body, len, JSON_DECODE_INT_AS_REAL, &at);
	if (json == NULL && body != NULL)
		(void)tare_error_set(err, -EPROTO, "%s/debug/allocs: its answer is no JSON", service->admin);
	free(buf);
	return json;
}

// Metrics and the profile of allocations, beside the run's file. What is not to be had is left out.
void lab_service_keep(const struct lab *lab, const struct lab_service *service, const char *run_name)
{
	static const char *const kept[][2] = {{"/metrics", "metrics"}, {"/debug/pprof/heap", "heap.pb.gz"}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(kept); i++) {
		char path[LAB_PATH * 2], *buf;
		size_t len;
		struct tare_error err;
		const char *body = ask_for(service, kept[i][0], ASK_NS, &buf, &len, &err);
		snprintf(path, sizeof path, "%s/runs/%s.%s", lab->out, run_name, kept[i][1]);
		FILE *file = body != NULL ? fopen(path, "we") : NULL;
		if (file != NULL) {
			(void)fwrite(body, 1, len, file);
			(void)fclose(file);
		}
		free(buf);
	}
}

// ---- /proc --------------------------------------------------------------------------------------------------------

static double cpu_seconds(pid_t pid)
{
	char path[64], text[128];
	double ns = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		char name[128];
		snprintf(name, sizeof name, "/proc/%d/task/%.20s/schedstat", (int)pid, entry->d_name);
		if (tare_proc_read(name, text, sizeof text) > 0)
			ns += strtod(text, NULL);
	}
	if (dir != NULL)
		closedir(dir);
	return ns / 1e9;
}

// Of /proc/PID/status, in bytes.
static double status_bytes(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	return at == NULL ? 0 : strtod(at + strlen(name), NULL) * 1024;
}

int lab_sample_take(const struct lab_service *service, struct lab_sample *ret, struct tare_error *err)
{
	char path[64], status[4096];
	*ret = (struct lab_sample){.allocs = ask_allocs(service, err)};
	if (ret->allocs == NULL)
		return -EPROTO;
	ret->cpu_s = cpu_seconds(service->child.pid);
	ret->at_ns = tare_clock_ns();
	snprintf(path, sizeof path, "/proc/%d/status", (int)service->child.pid);
	if (tare_proc_read(path, status, sizeof status) > 0) {
		ret->rss_bytes = status_bytes(status, "VmRSS:");
		ret->anon_bytes = status_bytes(status, "RssAnon:");
		ret->peak_bytes = status_bytes(status, "VmHWM:");
	}
	return 0;
}

void lab_sample_done(struct lab_sample *sample)
{
	json_decref(sample->allocs);
	sample->allocs = NULL;
}

// ---- load ---------------------------------------------------------------------------------------------------------

static int load_start(struct lab *lab, const struct lab_service *service, const struct lab_drive *drive,
		      struct lab_child *child, const char *log, struct tare_error *err)
{
	char url[160], rate_text[32], connections_text[16], duration[32], keys[32];
	snprintf(url, sizeof url, "%s/lookup?key={zipf}", service->url);
	snprintf(rate_text, sizeof rate_text, "%.0f", drive->rate);
	snprintf(connections_text, sizeof connections_text, "%u", drive->connections);
	snprintf(duration, sizeof duration, "%" PRId64 "ms", drive->duration_ns / TARE_NS_PER_MS);
	snprintf(keys, sizeof keys, "%" PRIu64, service->records);
	const char *const argv[] = {lab->tare,
				    "load",
				    "--json",
				    "--rate",
				    rate_text,
				    "--connections",
				    connections_text,
				    "--duration",
				    duration,
				    "--warmup",
				    "100ms",
				    "--drain",
				    "2s",
				    "--keys",
				    keys,
				    "--zipf-s",
				    "1.1",
				    "--seed",
				    "1",
				    url,
				    NULL};
	return lab_child_start(child, argv, lab->cpu_load, NULL, log, err);
}

// In the middle of the load, which goes on: the answer comes when it has been collected.
static int collect(const struct lab_service *service, int64_t *ret_end_ns, double *ret_kept, struct tare_error *err)
{
	struct lab_sample sample;
	char *buf;
	size_t len;
	int rc = lab_sleep(2 * WARM_UP_NS);
	if (rc < 0)
		return rc;
	bool ok = ask_for(service, "/debug/pprof/heap?gc=1", COLLECT_NS, &buf, &len, err) != NULL;
	free(buf);
	*ret_end_ns = tare_clock_ns();
	if (!ok)
		return lab_interrupted != 0 ? -EINTR : -EPROTO;
	rc = lab_sample_take(service, &sample, err);
	if (rc < 0)
		return rc;
	*ret_kept = lab_kept_bytes(&sample);
	lab_sample_done(&sample);
	return 0;
}

int lab_service_load(struct lab *lab, const struct lab_service *service, const struct lab_drive *drive, json_t **ret,
		     struct tare_error *err)
{
	char log[LAB_PATH], *text;
	struct lab_child child;
	json_error_t at;
	double kept = NAN;
	int64_t begin_ns = tare_clock_ns(), end_ns = begin_ns + drive->duration_ns + WARM_UP_NS, collected_ns = 0;
	snprintf(log, sizeof log, "%s/data/load.log", lab->out);
	int rc = load_start(lab, service, drive, &child, log, err);
	if (rc < 0)
		return rc;
	if (drive->collect && (rc = collect(service, &collected_ns, &kept, err)) < 0) {
		lab_child_stop(&child);
		return rc;
	}
	child.may_fail = true; // where nothing was answered with success its report says so
	rc = lab_child_output(&child, "tare load", tare_clock_ns() + drive->duration_ns + 60 * TARE_NS_PER_S, &text,
			      err);
	if (rc == -EIO) {
		char what[sizeof err->text], said[LINE_BYTES];
		snprintf(what, sizeof what, "%s", err->text);
		last_said(log, said, sizeof said);
		(void)tare_error_set(err, rc, "%s%s", what, said);
	}
	if (rc < 0)
		return rc;
	*ret = json_loads(text, 0, &at);
	free(text);
	if (*ret == NULL)
		return tare_error_set(err, -EPROTO, "tare load: its report is no JSON");
	json_object_set_new(*ret, "busy_s", json_real((double)(TARE_MAX(end_ns, collected_ns) - begin_ns) / 1e9));
	if (!isnan(kept))
		json_object_set_new(*ret, "kept_bytes", json_real(kept));
	return 0;
}

// ---- what can be pasted -------------------------------------------------------------------------------------------

static size_t put(char *out, size_t cap, size_t len, const char *format, ...) TARE_PRINTF(4, 5);
static size_t put(char *out, size_t cap, size_t len, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(out + len, cap - len, format, args);
	va_end(args);
	return n < 0 ? len : TARE_MIN(len + (size_t)n, cap - 1);
}

static size_t put_pin(char *out, size_t cap, size_t len, int cpu)
{
	return cpu < 0 ? len : put(out, cap, len, "taskset -c %d ", cpu);
}

static size_t put_load(const struct lab *lab, const struct lab_run *run, double rate, int64_t duration_ns, bool collect,
		       char *out, size_t cap, size_t len)
{
	if (collect)
		len = put(out, cap, len,
			  "(sleep 0.2; curl -s -o /dev/null 'http://127.0.0.1:8081/debug/pprof/heap?gc=1') & gc=$!; ");
	len = put_pin(out, cap, len, lab->cpu_load);
	len = put(
	    out, cap, len,
	    "tare load --rate %.0f --connections %u --duration %" PRId64 "ms --warmup 100ms --drain 2s --keys %" PRIu64
	    " --zipf-s 1.1 --seed 1 'http://127.0.0.1:8080/lookup?key={zipf}'; ",
	    rate, lab_connections(run->load), duration_ns / TARE_NS_PER_MS, records_of(lab_size_bytes(lab, run->size)));
	return collect ? put(out, cap, len, "wait $gc; ") : len;
}

void lab_service_command(const struct lab *lab, const struct lab_run *run, const char *knobs, double rate, char *out,
			 size_t cap)
{
	uint64_t bytes = lab_size_bytes(lab, run->size);
	bool go = run->peer == LAB_GO;
	char go_svc[LAB_PATH];
	lab_go_command(lab, false, go_svc, sizeof go_svc);
	size_t len =
	    put(out, cap, 0, "tare gen --size %" PRIu64 " --seed 1 --out lab-%" PRIu64 ".snap && { ", bytes, bytes);
	if (go && run->trace)
		len = put(out, cap, len, "GODEBUG=gctrace=1 ");
	if (run->counted)
		len = put(out, cap, len, "LD_PRELOAD=$PWD/build/" TARE_MODE "/preload/malloc_count.so ");
	len = put_pin(out, cap, len, lab->cpu_service);
	len = put(out, cap, len,
		  "%s --index lab-%" PRIu64 ".snap --listen 127.0.0.1:8080 --admin 127.0.0.1:8081 %s%s & pid=$!; ",
		  go ? go_svc : "tare svc", bytes, knobs, !go && run->trace ? " --gc-trace" : "");
	len = put(out, cap, len,
		  "until curl -sf -o /dev/null http://127.0.0.1:8081/debug/allocs; do kill -0 $pid || break; sleep 1; "
		  "done; ");
	len = put_load(lab, run, rate, lab->warm_ns, false, out, cap, len);
	len = put(out, cap, len, "curl -s http://127.0.0.1:8081/debug/allocs; ");
	len = put_load(lab, run, rate, lab_window_ns(lab, run), run->collect, out, cap, len);
	(void)put(out, cap, len,
		  "curl -s http://127.0.0.1:8081/debug/allocs; kill $pid; wait $pid; }; rm -f lab-%" PRIu64 ".snap",
		  bytes);
}
