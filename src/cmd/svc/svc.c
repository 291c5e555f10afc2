// SPDX-License-Identifier: MIT
// `tare svc`: serves a snapshot's records over HTTP, from start to drained.
//
// Order: options and addresses are read and refused first; then the index is loaded, on the one thread there is; then
// the runtime runs `serve` as its first task, which lays the records out, starts the listeners, says where they are,
// waits for SIGTERM or SIGINT, and drains. A second signal ends the process at once with exit code 1.
//
// Signals: blocked in every thread before the runtime starts, and received from a channel by a task of its own.
// SIGQUIT lists the tasks on standard error and serving goes on: who asks what a service does at the moment rarely
// wants it gone, and SIGABRT leaves a core.
// Ownership: struct svc is cmd_svc's frame's; servers and registry are freed when the runtime has returned to it.
#include "cmd/svc/svc.h"

#include <tare/block.h>
#include <tare/chan.h>
#include <tare/heap.h>
#include <tare/limit.h>
#include <tare/net.h>
#include <tare/rt.h>
#include <tare/signal.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIGNALS_WAITING = 16 };

// ---- signals ------------------------------------------------------------------------------------------------------

static const int watched_signals[] = {SIGTERM, SIGINT, SIGQUIT};

static struct {
	struct tare_chan *chan;
	struct tare_signals *source;
	struct tare_event first; // woken by the first signal
} signals;

static int signals_block(void)
{
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	return tare_signals_block(watched_signals, TARE_ARRAY_LEN(watched_signals));
}

static int dump_tasks(void *arg)
{
	(void)arg;
	return tare_dump_tasks(STDERR_FILENO); // there is nobody to tell that it failed
}

// Until one comes that ends the process. -EPIPE: none will come any more.
static int signal_wait(void)
{
	struct tare_signal got;
	int rc;
	while ((rc = tare_chan_recv(signals.chan, &got)) == 0 && got.number == SIGQUIT)
		(void)tare_block(dump_tasks, NULL); // whoever reads standard error may be slow
	return rc;
}

static int signals_task(void *arg)
{
	(void)arg;
	if (signal_wait() < 0)
		return 0;
	tare_event_wake(&signals.first);
	if (signal_wait() < 0)
		return 0;
	(void)cmd_fail("svc", "a second signal came while draining: connections were cut");
	_exit(CMD_FAILED);
}

static int signals_watch(void)
{
	struct tare_error err = {""};
	int rc = tare_chan_new(&signals.chan, sizeof(struct tare_signal), SIGNALS_WAITING);
	if (rc == 0)
		rc = tare_signals_open(&signals.source, signals.chan, watched_signals, TARE_ARRAY_LEN(watched_signals),
				       &err);
	if (rc == 0)
		rc = tare_go_with(&(struct tare_task_options){.name = "signals"}, signals_task, NULL);
	return rc < 0 ? cmd_fail("svc", "%s", err.text[0] != '\0' ? err.text : "out of memory for signals") : CMD_OK;
}

// ---- listeners ----------------------------------------------------------------------------------------------------

size_t svc_routes(struct svc *svc, bool lookup, bool debug, bool update, struct tare_http_route routes[SVC_ROUTES_MAX])
{
	const unsigned get = TARE_HTTP_ALLOW(TARE_HTTP_GET);
	size_t n = 0;
	if (lookup) {
		tare_http_handler *handler = svc->options.path == SVC_PATH_OPT ? svc_lookup_opt : svc_lookup_naive;
		routes[n++] = (struct tare_http_route){"/lookup", get, handler, svc, svc->options.path == SVC_PATH_OPT};
	}
	routes[n++] = (struct tare_http_route){"/healthz", get, svc_healthz, svc, false};
	if (update)
		routes[n++] =
		    (struct tare_http_route){"/record", TARE_HTTP_ALLOW(TARE_HTTP_PUT), svc_record_put, svc, false};
	if (debug) {
		routes[n++] = (struct tare_http_route){"/metrics", get, svc_metrics, svc, false};
		routes[n++] = (struct tare_http_route){"/debug/allocs", get, svc_debug_allocs, svc, false};
		routes[n++] = (struct tare_http_route){"/debug/tasks", get, svc_debug_tasks, svc, false};
		routes[n++] = (struct tare_http_route){"/debug/pprof/symbol", get | TARE_HTTP_ALLOW(TARE_HTTP_POST),
						       svc_pprof_symbol, svc, false};
		routes[n++] = (struct tare_http_route){"/debug/pprof", get, svc_pprof, svc, false};
		routes[n++] = (struct tare_http_route){"/debug/pprof/*", get, svc_pprof, svc, false};
	}
	return n;
}

// A server with all but its listeners.
static int server_new(struct svc *svc, struct tare_http_server **ret, const char *name, bool vital,
		      const struct tare_http_route *routes, size_t route_count)
{
	struct tare_error err = {""};
	struct tare_http_options options = {
	    .name = name,
	    .routes = routes,
	    .route_count = route_count,
	    .backlog = (int)svc->options.backlog,
	    .pool = svc->options.pool != 0,
	    .vital = vital,
	};
	svc_options_limits(&svc->options, &options.limits);
	if (tare_http_server_new(ret, &options, &err) < 0)
		return cmd_fail("svc", "can't set up the %s server: %s", name, err.text);
	return CMD_OK;
}

// fallback: where the port is taken, another one may be.
static int server_listen(struct tare_http_server *server, const char *flag, struct tare_addr *addr, bool fallback)
{
	char wanted[TARE_ADDR_TEXT_BYTES], got[TARE_ADDR_TEXT_BYTES];
	struct tare_error err = {""};
	tare_addr_format(addr, wanted);
	int rc = tare_http_server_listen(server, addr, &err);
	if (rc == -EADDRINUSE && !fallback)
		return cmd_fail("svc",
				"%s is taken; stop what listens there, choose another address with %s (port 0 takes a "
				"free one), or let --port-fallback do so",
				wanted, flag);
	if (rc == -EADDRINUSE) {
		tare_addr_set_port(addr, 0);
		rc = tare_http_server_listen(server, addr, &err);
		tare_addr_format(addr, got);
		if (rc == 0)
			(void)cmd_fail("svc", "%s is taken; using %s", wanted, got);
	}
	if (rc < 0 && err.text[0] != '\0') // names the address
		return cmd_fail("svc", "%s: %s", flag, err.text);
	return rc < 0 ? cmd_fail("svc", "%s: can't serve on %s: %s", flag, wanted, strerror(-rc)) : CMD_OK;
}

// Everything that can fail for want of memory comes before the first listener: what serves, serves whole.
static int set_up_servers(struct svc *svc, struct tare_http_route *routes, struct tare_http_route *admin_routes)
{
	bool debug = tare_addr_is_loopback(&svc->listen_addr);
	int code = server_new(svc, &svc->server, "public", false, routes, svc_routes(svc, true, debug, false, routes));
	if (code == CMD_OK && svc->admin_on)
		code = server_new(svc, &svc->admin, "admin", true, admin_routes,
				  svc_routes(svc, false, true, true, admin_routes));
	if (code != CMD_OK)
		return code;
	int rc = tare_registry_new(&svc->registry);
	if (rc == 0)
		rc = svc_metrics_register(svc);
	return rc < 0 ? cmd_fail("svc", "can't register the metrics: %s", strerror(-rc)) : CMD_OK;
}

static int start_all(struct svc *svc, struct tare_http_route *routes, struct tare_http_route *admin_routes)
{
	const struct svc_options *o = &svc->options;
	int code = set_up_servers(svc, routes, admin_routes);
	if (code != CMD_OK)
		return code;
	code = server_listen(svc->server, "--listen", &svc->listen_addr, o->port_fallback);
	svc->listening = code == CMD_OK;
	if (code != CMD_OK || !svc->admin_on)
		return code;
	code = server_listen(svc->admin, "--admin", &svc->admin_addr, o->port_fallback);
	svc->admin_listening = code == CMD_OK;
	return code;
}

// ---- what is said -------------------------------------------------------------------------------------------------

static int stdout_write(void *arg, const char *ptr, size_t len)
{
	return fwrite(ptr, 1, len, arg) == len ? 0 : -EIO;
}

static void announce_json(const struct svc *svc, const char *url, const char *admin_url)
{
	struct tare_text text = {stdout_write, stdout, 0};
	tare_text_printf(&text, "{\"url\":\"%s\",\"admin_url\":", url);
	if (svc->admin_on)
		tare_text_printf(&text, "\"%s\"", admin_url);
	else
		tare_text_printf(&text, "null");
	tare_text_printf(&text, ",\"records\":%" PRIu64 ",\"index_bytes\":%" PRIu64 ",\"load_seconds\":%.6f",
			 svc->index_stats.records, svc->index_stats.bytes,
			 (double)svc->load_ns / (double)TARE_NS_PER_S);
	tare_text_printf(&text, ",\"layout\":\"%s\",\"heap\":\"%s\"", svc_layout_name(&svc->options),
			 svc_heap_name(&svc->options));
	tare_text_printf(&text, ",\"path\":\"%s\",\"workers\":%d,\"pid\":%d,\"version\":\"%s\"}\n",
			 svc_path_name(&svc->options), tare_worker_count(), (int)getpid(), TARE_VERSION);
}

// Written at once when everything serves; the line that begins with "listening on" comes first, because scripts take
// the first address they see.
static void announce_text(const struct svc *svc, const char *url, const char *admin_url)
{
	printf("listening on %s\n", url);
	printf("tare %s, path %s, layout %s, heap %s, %d workers, pid %d\n", TARE_VERSION, svc_path_name(&svc->options),
	       svc_layout_name(&svc->options), svc_heap_name(&svc->options), tare_worker_count(), (int)getpid());
	printf("%" PRIu64 " records, %.1f MiB, %s in %.1f ms\n", svc->index_stats.records,
	       (double)svc->index_stats.bytes / (1 << 20), svc->options.index != NULL ? "loaded" : "made",
	       (double)svc->load_ns / (double)TARE_NS_PER_MS);
	if (svc->index_stats.mapped && svc->index_stats.absent_bytes > 0)
		printf("%.1f MiB of the index did not stay in memory: lookups there wait for the disk\n",
		       (double)svc->index_stats.absent_bytes / (1 << 20));
	if (svc->admin_on)
		printf("admin on %s (/metrics, /debug/allocs, /debug/tasks, /debug/pprof/, /healthz)\n", admin_url);
}

static int announce(const struct svc *svc)
{
	char url[TARE_ADDR_TEXT_BYTES + 8] = "http://", admin_url[TARE_ADDR_TEXT_BYTES + 8] = "http://";
	tare_addr_format(&svc->listen_addr, url + strlen(url));
	if (svc->admin_on)
		tare_addr_format(&svc->admin_addr, admin_url + strlen(admin_url));
	if (svc->options.json)
		announce_json(svc, url, admin_url);
	else
		announce_text(svc, url, admin_url);
	if (fflush(stdout) != 0 || ferror(stdout))
		return cmd_fail("svc", "can't write to standard output: %s", strerror(errno));
	return CMD_OK;
}

// ---- from start to drained ----------------------------------------------------------------------------------------

// Safe on what was never started. True when every connection finished by itself.
static bool drain_all(struct svc *svc)
{
	atomic_store_explicit(&svc->draining, true, memory_order_relaxed);
	int rc = svc->listening ? tare_http_server_drain(svc->server) : 0;
	int admin_rc = svc->admin_listening ? tare_http_server_drain(svc->admin) : 0;
	return rc == 0 && admin_rc == 0;
}

static int report_drained(const struct svc *svc, bool complete)
{
	struct tare_http_stats stats;
	tare_http_server_stats(svc->server, &stats);
	if (!complete)
		(void)cmd_fail("svc", "some connections were cut when --drain-timeout ended");
	fprintf(stderr, "drained: %" PRIu64 " requests answered\n", stats.requests);
	return complete ? CMD_OK : CMD_FAILED;
}

// What stands before the first request must leave room for requests.
static int keep_memory(const struct svc *svc, struct tare_scope *scope)
{
	struct tare_limit_stats stats;
	int64_t next_ns;
	tare_limit_set(svc->options.memory_limit_bytes);
	(void)tare_limit_look(&next_ns);
	tare_limit_stats_read(&stats);
	if (stats.pressure != TARE_PRESSURE_NONE)
		return cmd_fail("svc",
				"--gomemlimit=%s leaves no room: %.1f MiB are in use before the first request; give a "
				"larger limit, or a smaller index",
				svc->options.memory_limit, (double)stats.used_bytes / (1 << 20));
	int rc = tare_go_with(&(struct tare_task_options){.name = "memory", .scope = scope}, tare_memory_keeper, NULL);
	return rc < 0 ? cmd_fail("svc", "can't watch the memory: %s", strerror(-rc)) : CMD_OK;
}

// The first task. Its result is the exit code.
static int serve(void *arg)
{
	struct svc *svc = arg;
	static struct tare_http_route routes[SVC_ROUTES_MAX], admin_routes[SVC_ROUTES_MAX];
	struct tare_scope scope; // of what runs beside the servers
	int rc = tare_scope_open(&scope, TARE_NEVER, 0);
	if (rc < 0)
		return cmd_fail("svc", "can't start: %s", strerror(-rc));
	int code = svc_records_lay_out(svc); // the signals that it looks for are still pending
	if (code == CMD_OK)
		code = signals_watch();
	if (code == CMD_OK)
		code = keep_memory(svc, &scope);
	if (code == CMD_OK)
		code = start_all(svc, routes, admin_routes);
	if (code == CMD_OK)
		code = announce(svc);
	if (code == CMD_OK)
		tare_event_wait(&signals.first);
	bool complete = drain_all(svc);
	if (code == CMD_OK)
		code = report_drained(svc, complete);
	(void)tare_scope_close(&scope);
	if (complete) // else there may still be handlers, which the runtime's end cuts off
		svc_records_close(svc);
	return code;
}

static int trace(void *arg)
{
	int code = svc_records_lay_out(arg);
	if (code == CMD_OK)
		code = svc_trace_one(arg);
	svc_records_close(arg); // the one request has ended
	return code;
}

// ---- set-up -------------------------------------------------------------------------------------------------------

// What an address alone makes wrong is bad usage, found before anything is loaded.
static int read_addresses(struct svc *svc)
{
	const struct svc_options *o = &svc->options;
	struct tare_error err;
	if (tare_addr_parse(&svc->listen_addr, o->listen, &err) < 0) {
		(void)cmd_fail("svc", "--listen: %s", err.text);
		return CMD_USAGE;
	}
	svc->admin_on = strcmp(o->admin, "off") != 0;
	if (!svc->admin_on)
		return CMD_OK;
	if (tare_addr_parse(&svc->admin_addr, o->admin, &err) < 0) {
		(void)cmd_fail("svc", "--admin: %s", err.text);
		return CMD_USAGE;
	}
	if (!tare_addr_is_loopback(&svc->admin_addr) && !o->admin_allow_remote) {
		(void)cmd_fail("svc",
			       "--admin=%s can be reached by others; give a loopback address such as "
			       "127.0.0.1:8081, or --admin-allow-remote if that is meant",
			       o->admin);
		return CMD_USAGE;
	}
	return CMD_OK;
}

static int load_index(struct svc *svc)
{
	const struct svc_options *o = &svc->options;
	const struct tare_gen_options gen = {.size = o->index_size, .seed = o->seed};
	struct tare_error err;
	int64_t start_ns = tare_clock_ns();
	int rc =
	    o->index != NULL ? tare_index_open(&svc->index, o->index, &err) : tare_index_build(&svc->index, &gen, &err);
	svc->load_ns = tare_clock_ns() - start_ns;
	if (rc < 0)
		return cmd_fail("svc", "%s", err.text);
	tare_index_stats_get(svc->index, &svc->index_stats);
	return CMD_OK;
}

// A server's descriptors are its connections. Where the limit can't be raised, it stays what it is.
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(struct svc *svc)
{
	const struct tare_rt_options rt = {
	    .workers = (int)svc->options.workers,
	    .io = svc->options.io == SVC_IO_URING ? TARE_IO_URING : TARE_IO_EPOLL,
	};
	struct tare_error err = {""};
	int code = CMD_FAILED;
	raise_descriptor_limit();
	if (!svc->options.trace_one) {
		int rc = signals_block();
		if (rc < 0)
			return cmd_fail("svc", "can't block signals: %s", strerror(-rc));
	}
	int rc = tare_run(&rt, svc->options.trace_one ? trace : serve, svc, &code, &err);
	if (rc < 0)
		return cmd_fail("svc", "can't start the runtime: %s", err.text[0] != '\0' ? err.text : strerror(-rc));
	if (code < 0) // the first task never ran
		return cmd_fail("svc", "can't start the first task: %s", strerror(-code));
	return code;
}

int cmd_svc(int argc, char **argv)
{
	static struct svc svc; // large, and pointed into by its own option table
	svc_options_init(&svc.options);
	int code = svc_options_parse(&svc.options, argc, argv);
	if (code != -1)
		return code;
	tare_heap_rate_set(svc.options.heap_profile_rate);
	svc_naive_setup();
	code = read_addresses(&svc);
	if (code == CMD_OK)
		code = load_index(&svc);
	if (code == CMD_OK && svc.options.heap == SVC_HEAP_MALLOC)
		code = svc_records_lay_out(&svc); // what needs no task
	if (code == CMD_OK)
		code = run(&svc);
	tare_http_server_free(svc.server);
	tare_http_server_free(svc.admin);
	tare_registry_free(svc.registry);
	tare_records_free(svc.records);
	tare_index_free(svc.index);
	return code;
}
