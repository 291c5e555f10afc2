// SPDX-License-Identifier: MIT
// The options of `tare svc`: one table, from which --help, the environment, /debug/allocs and the tare_info metric
// come.
//
// Each knob here turns something: what no part of the program honours yet has no option, so that it is refused as any
// unknown one. GOGC, which many machines have set for Go's programs, means here what it means there, with --heap=gc.
// Ownership: texts point into argv, the environment or this file.
#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/limit.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { WORKERS_MAX = TARE_SHARD_MAX - 2 }; // tare_run's own
_Static_assert(WORKERS_MAX == 126, "--help and the man page say it");
enum { GOGC_MAX = 1000000, GC_HEAP_LEAST = 1 << 20 };

static const char listen_default[] = "127.0.0.1:8080";
static const char admin_default[] = "127.0.0.1:8081";

static const char *const path_choices[] = {[SVC_PATH_NAIVE] = "naive", [SVC_PATH_OPT] = "opt", NULL};
static const char *const pool_choices[] = {"off", "on", NULL};
static const char *const heap_choices[] = {[SVC_HEAP_MALLOC] = "malloc", [SVC_HEAP_GC] = "gc", NULL};
static const char *const layout_choices[] = {
    [TARE_LAYOUT_MAP] = "map", [TARE_LAYOUT_FLAT] = "flat", [TARE_LAYOUT_OFFHEAP] = "offheap", NULL};
static const char *const io_choices[] = {[SVC_IO_EPOLL] = "epoll", [SVC_IO_URING] = "uring", NULL};

// ---- the table ----------------------------------------------------------------------------------------------------

static void add(struct svc_options *o, struct cmd_option option)
{
	TARE_ASSERT(o->table_count < SVC_OPTIONS_MAX);
	o->table[o->table_count++] = option;
}

static void add_text(struct svc_options *o, const char *name, const char **value, const char *env,
		     const char *placeholder, const char *help)
{
	add(o,
	    (struct cmd_option){
		.name = name, .type = CMD_TEXT, .value = value, .env = env, .placeholder = placeholder, .help = help});
}

static void add_flag(struct svc_options *o, const char *name, bool *value, const char *env, const char *help)
{
	add(o, (struct cmd_option){.name = name, .type = CMD_FLAG, .value = value, .env = env, .help = help});
}

static void add_choice(struct svc_options *o, const char *name, int *value, const char *const *choices, const char *env,
		       const char *help)
{
	add(o, (struct cmd_option){
		   .name = name, .type = CMD_CHOICE, .value = value, .choices = choices, .env = env, .help = help});
}

static void add_number(struct svc_options *o, enum cmd_type type, const char *name, uint64_t *value, const char *env,
		       uint64_t min, uint64_t max, const char *help)
{
	add(o, (struct cmd_option){
		   .name = name, .type = type, .value = value, .env = env, .min = min, .max = max, .help = help});
}

static void add_time(struct svc_options *o, const char *name, int64_t *value, const char *env, const char *help)
{
	add(o, (struct cmd_option){.name = name,
				   .type = CMD_DURATION,
				   .value = value,
				   .env = env,
				   .min = TARE_NS_PER_MS,
				   .max = 24 * 3600 * TARE_NS_PER_S,
				   .help = help});
}

static void add_service_knobs(struct svc_options *o)
{
	add_text(o, "listen", &o->listen, "TARE_LISTEN", "ADDR",
		 "address that answers lookups; port 0 takes a free one");
	add_text(o, "admin", &o->admin, "TARE_ADMIN", "ADDR",
		 "address that answers /metrics and /debug; 'off' for none");
	add_flag(o, "admin-allow-remote", &o->admin_allow_remote, "TARE_ADMIN_ALLOW_REMOTE",
		 "let --admin be an address that others can reach");
	add_flag(o, "port-fallback", &o->port_fallback, "TARE_PORT_FALLBACK",
		 "where a port is taken take another one, and say so");
	add_text(o, "index", &o->index, "TARE_INDEX", "FILE", "snapshot to serve, made by 'tare gen'");
	add_number(o, CMD_SIZE, "index-size", &o->index_size, "TARE_INDEX_SIZE", 1, 0,
		   "serve made-up records of about this size instead");
	add_number(o, CMD_U64, "seed", &o->seed, "TARE_SEED", 0, 0, "of the made-up records");
	add_choice(o, "path", &o->path, path_choices, "TARE_PATH", "how answers are made");
	add_text(o, "naive-fix", &o->naive_fix, "TARE_NAIVE_FIX", "LIST",
		 "of --path=naive, what is mended: some of copy,base64,tree,text,log, or all, or none");
	add_choice(o, "pool", &o->pool, pool_choices, "TARE_POOL", "recycle connection buffers");
	add_choice(o, "heap", &o->heap, heap_choices, "TARE_HEAP",
		   "whose memory records and the naive path's garbage are");
	add_choice(o, "layout", &o->layout, layout_choices, "TARE_LAYOUT", "how records stand in memory");
	add_choice(o, "intern", &o->intern, pool_choices, "TARE_INTERN",
		   "with --layout=map: records of a category share its text");
	add_text(o, "gogc", &o->gogc, "GOGC", "PERCENT",
		 "with --heap=gc: how far it grows past what is live before it is collected, or 'off'");
	add_number(o, CMD_SIZE, "gc-min-heap", &o->gc_min_bytes, "TARE_GC_MIN_HEAP", 0, 0,
		   "the collected heap's least goal; 0: 4M times --gogc / 100");
	add_number(o, CMD_SIZE, "gc-max-heap", &o->gc_max_bytes, "TARE_GC_MAX_HEAP", 0, 0,
		   "the most it can grow to; 0: four times the machine's memory");
	add_choice(o, "gc-limiter", &o->gc_limiter, pool_choices, "TARE_GC_LIMITER",
		   "whether assists stop when a memory limit has collecting take most of the CPU time");
	add_flag(o, "gc-trace", &o->gc_trace, "TARE_GC_TRACE",
		 "a line a collection on standard error, as Go's gctrace=1");
	add_number(o, CMD_U64, "workers", &o->workers, "TARE_WORKERS", 0, WORKERS_MAX,
		   "threads, at most 126; 0 is one a permitted CPU");
	add_text(o, "gomemlimit", &o->memory_limit, "GOMEMLIMIT", "SIZE",
		 "memory to stay below: 512MiB, 2GiB, 'auto' (9/10 of the cgroup's), 'off'");
	add_number(o, CMD_SIZE, "heap-profile-rate", &o->heap_profile_rate, "TARE_HEAP_PROFILE_RATE", 0, 0,
		   "of allocations, on average, between two samples of /debug/pprof/heap; 0: none");
	add_choice(o, "io", &o->io, io_choices, "TARE_IO", "what polls sockets; uring: where the kernel has it");
}

static void add_limit_knobs(struct svc_options *o)
{
	add_number(o, CMD_U64, "max-connections", &o->connections_max, "TARE_MAX_CONNECTIONS", 1, UINT32_MAX,
		   "connections in all; more are answered 503");
	add_number(o, CMD_U64, "max-connections-per-address", &o->connections_per_address_max,
		   "TARE_MAX_CONNECTIONS_PER_ADDRESS", 0, UINT32_MAX, "from one address; 0 is no limit; more: 503");
	add_number(o, CMD_SIZE, "max-head-bytes", &o->head_bytes_max, "TARE_MAX_HEAD_BYTES", 128, 16 << 10,
		   "of a request line and its headers; more: 431");
	add_number(o, CMD_U64, "max-headers", &o->headers_max, "TARE_MAX_HEADERS", 1, 128,
		   "headers of a request; more: 431");
	add_number(o, CMD_SIZE, "max-target-bytes", &o->target_bytes_max, "TARE_MAX_TARGET_BYTES", 16, 1 << 24,
		   "of a request's path and query; more: 414");
	add_number(o, CMD_SIZE, "max-body-bytes", &o->body_bytes_max, "TARE_MAX_BODY_BYTES", 0, 0,
		   "of a request's body; more: 413");
	add_number(o, CMD_SIZE, "max-answer-bytes", &o->answer_bytes_max, "TARE_MAX_ANSWER_BYTES", 1024, 0,
		   "of an answer; more: 500");
	add_number(o, CMD_U64, "max-pipeline", &o->pipeline_max, "TARE_MAX_PIPELINE", 1, 1 << 20,
		   "requests answered before a write");
	add_time(o, "head-timeout", &o->head_timeout_ns, "TARE_HEAD_TIMEOUT",
		 "for a head to arrive, from its first byte; longer: 408");
	add_time(o, "body-timeout", &o->body_timeout_ns, "TARE_BODY_TIMEOUT", "for a body to arrive; longer: 408");
	add_time(o, "idle-timeout", &o->idle_timeout_ns, "TARE_IDLE_TIMEOUT",
		 "until a connection without requests is closed");
	add_time(o, "write-timeout", &o->write_timeout_ns, "TARE_WRITE_TIMEOUT",
		 "until a connection that takes no answers is closed");
	add_time(o, "drain-timeout", &o->drain_timeout_ns, "TARE_DRAIN_TIMEOUT",
		 "for connections to finish after SIGTERM or SIGINT");
	add_number(o, CMD_U64, "backlog", &o->backlog, "TARE_BACKLOG", 1, 1 << 20,
		   "connections that wait to be accepted");
}

void svc_options_init(struct svc_options *o)
{
	struct tare_http_limits limits;
	tare_http_limits_default(&limits);
	*o = (struct svc_options){
	    .listen = listen_default,
	    .admin = admin_default,
	    .memory_limit = "off",
	    .heap_profile_rate = tare_heap_rate(),
	    .seed = 1,
	    .path = SVC_PATH_OPT,
	    .naive_fix = "none",
	    .gc_limiter = 1,
	    .pool = 1,
	    .layout = TARE_LAYOUT_OFFHEAP,
	    .intern = 1,
	    .gogc = "100",
	    .connections_max = limits.connections_max,
	    .connections_per_address_max = limits.connections_per_address_max,
	    .head_bytes_max = limits.head_bytes_max,
	    .headers_max = limits.headers_max,
	    .target_bytes_max = limits.target_bytes_max,
	    .body_bytes_max = limits.body_bytes_max,
	    .answer_bytes_max = limits.answer_bytes_max,
	    .pipeline_max = limits.pipeline_max,
	    .backlog = 4096,
	    .head_timeout_ns = limits.head_timeout_ns,
	    .body_timeout_ns = limits.body_timeout_ns,
	    .idle_timeout_ns = limits.idle_timeout_ns,
	    .write_timeout_ns = limits.write_timeout_ns,
	    .drain_timeout_ns = limits.drain_timeout_ns,
	};
	add_service_knobs(o);
	add_limit_knobs(o);
	o->knob_count = o->table_count;
	add_flag(o, "json", &o->json, NULL, "report on standard output as JSON");
	add_flag(o, "trace-one", &o->trace_one, NULL, "print one request's way, step by step with its time, and exit");
}

// ---- what no single value can say ---------------------------------------------------------------------------------

static int refuse(const char *text)
{
	(void)cmd_fail("svc", "%s", text);
	return CMD_USAGE;
}

static int parse_collector(struct svc_options *o)
{
	uint64_t percent = 0;
	if (strcmp(o->gogc, "off") == 0) {
		o->gc_percent = TARE_GC_OFF;
	} else if (tare_parse_u64((struct tare_str){o->gogc, strlen(o->gogc)}, &percent) < 0 || percent < 1 ||
		   percent > GOGC_MAX) {
		(void)cmd_fail("svc", "--gogc (GOGC counts): '%s' is not a percentage; give 1 to %d, or off", o->gogc,
			       GOGC_MAX);
		return CMD_USAGE;
	} else {
		o->gc_percent = (int)percent;
	}
	if (o->gc_max_bytes != 0 && o->gc_max_bytes < GC_HEAP_LEAST)
		return refuse("--gc-max-heap is too small for a heap; give at least 1M, or 0 for no bound of your own");
	if (o->heap == SVC_HEAP_MALLOC &&
	    (o->gc_min_bytes != 0 || o->gc_max_bytes != 0 || o->gc_trace || !o->gc_limiter))
		return refuse("--gc-min-heap, --gc-max-heap, --gc-limiter and --gc-trace are the collected heap's; add "
			      "--heap=gc");
	return -1;
}

int svc_options_parse(struct svc_options *o, int argc, char **argv)
{
	int rc = cmd_parse("svc", "Serves records over HTTP: GET /lookup?key=N&fmt=json|bin.", o->table, o->table_count,
			   argc, argv);
	if (rc != -1)
		return rc;
	if (o->index == NULL && o->index_size == 0)
		return refuse("no records to serve; give --index FILE, or --index-size 64M to make some up");
	if (o->index != NULL && o->index_size != 0)
		return refuse(
		    "both --index and --index-size are given (TARE_INDEX and TARE_INDEX_SIZE count); give one");
	rc = parse_collector(o);
	if (rc != -1)
		return rc;
	struct tare_error err;
	if (svc_fixes_parse(&o->fixes, o->naive_fix, &err) < 0) {
		(void)cmd_fail("svc", "--naive-fix (TARE_NAIVE_FIX counts): %s", err.text);
		return CMD_USAGE;
	}
	if (o->fixes != 0 && o->path != SVC_PATH_NAIVE)
		return refuse("--naive-fix (TARE_NAIVE_FIX counts) mends the naive path; add --path=naive");
	if (tare_limit_parse(&o->memory_limit_bytes, o->memory_limit, &err) < 0) {
		(void)cmd_fail("svc", "--gomemlimit (GOMEMLIMIT counts): %s", err.text);
		return CMD_USAGE;
	}
	const struct tare_gen_options gen = {.size = o->index_size, .seed = o->seed};
	uint64_t records, bytes;
	if (o->index == NULL && tare_gen_plan(&gen, &records, &bytes, &err) < 0) { // its text begins with "size N"
		(void)cmd_fail("svc", "--index-%s", err.text);
		return CMD_USAGE;
	}
	return -1;
}

void svc_options_limits(const struct svc_options *o, struct tare_http_limits *ret)
{
	tare_http_limits_default(ret);
	ret->connections_max = (unsigned)o->connections_max;
	ret->connections_per_address_max = (unsigned)o->connections_per_address_max;
	ret->head_bytes_max = o->head_bytes_max;
	ret->headers_max = (unsigned)o->headers_max;
	ret->target_bytes_max = o->target_bytes_max;
	ret->body_bytes_max = o->body_bytes_max;
	ret->answer_bytes_max = o->answer_bytes_max;
	ret->pipeline_max = (unsigned)o->pipeline_max;
	ret->head_timeout_ns = o->head_timeout_ns;
	ret->body_timeout_ns = o->body_timeout_ns;
	ret->idle_timeout_ns = o->idle_timeout_ns;
	ret->write_timeout_ns = o->write_timeout_ns;
	ret->drain_timeout_ns = o->drain_timeout_ns;
}

const char *svc_path_name(const struct svc_options *o)
{
	return path_choices[o->path];
}

const char *svc_heap_name(const struct svc_options *o)
{
	return heap_choices[o->heap];
}

const char *svc_layout_name(const struct svc_options *o)
{
	return layout_choices[o->layout];
}

// ---- every knob's value, for reports ------------------------------------------------------------------------------

void svc_json_write_string(struct tare_text *text, const char *string)
{
	tare_text_put(text, "\"", 1);
	for (const char *p = string; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			tare_text_printf(text, "\\%c", *p);
		else if ((unsigned char)*p < 0x20)
			tare_text_printf(text, "\\u%04x", (unsigned)*p);
		else
			tare_text_put(text, p, 1);
	}
	tare_text_put(text, "\"", 1);
}

static void write_json_value(struct tare_text *text, const struct cmd_option *option)
{
	const char *string;
	switch (option->type) {
	case CMD_FLAG:
		tare_text_printf(text, "%s", *(const bool *)option->value ? "true" : "false");
		break;
	case CMD_TEXT:
		string = *(const char *const *)option->value;
		if (string != NULL)
			svc_json_write_string(text, string);
		else
			tare_text_printf(text, "null");
		break;
	case CMD_U64:
	case CMD_SIZE:
		tare_text_printf(text, "%" PRIu64, *(const uint64_t *)option->value);
		break;
	case CMD_DURATION:
		tare_text_printf(text, "%.9g", (double)*(const int64_t *)option->value / (double)TARE_NS_PER_S);
		break;
	case CMD_REAL:
		tare_text_printf(text, "%.17g", *(const double *)option->value);
		break;
	case CMD_CHOICE:
		svc_json_write_string(text, option->choices[*(const int *)option->value]);
		break;
	case CMD_LIST: // no knob is one
		break;
	}
}

void svc_knobs_write_json(const struct svc_options *o, struct tare_text *text)
{
	for (size_t i = 0; i < o->knob_count; i++) {
		tare_text_printf(text, "%s\"%s\":", i == 0 ? "{" : ",", o->table[i].name);
		write_json_value(text, &o->table[i]);
	}
	tare_text_printf(text, "}");
}

// Storage that a tare_text fills.
struct bounded {
	char *out;
	size_t len, cap;
};

static int bounded_write(void *arg, const char *ptr, size_t len)
{
	struct bounded *b = arg;
	if (len >= b->cap - b->len)
		return -E2BIG;
	memcpy(b->out + b->len, ptr, len);
	b->len += len;
	b->out[b->len] = '\0';
	return 0;
}

int svc_knobs_write_labels(const struct svc_options *o, char *out, size_t cap)
{
	struct bounded b = {out, 0, cap};
	struct tare_text text = {bounded_write, &b, 0};
	tare_text_printf(&text, "version=\"%s\"", TARE_VERSION);
	for (size_t i = 0; i < o->knob_count; i++) {
		const struct cmd_option *option = &o->table[i];
		tare_text_printf(&text, ",");
		for (const char *p = option->name; *p != '\0'; p++)
			tare_text_put(&text, *p == '-' ? "_" : p, 1);
		tare_text_printf(&text, "=");
		// JSON's strings are escaped as Prometheus wants them; what is no string is put in quotes.
		bool is_string = option->type == CMD_CHOICE ||
				 (option->type == CMD_TEXT && *(const char *const *)option->value != NULL);
		bool is_null = option->type == CMD_TEXT && !is_string;
		if (!is_string)
			tare_text_printf(&text, "\"");
		if (!is_null)
			write_json_value(&text, option);
		if (!is_string)
			tare_text_printf(&text, "\"");
	}
	return text.rc;
}
