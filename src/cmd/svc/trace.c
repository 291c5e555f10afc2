// SPDX-License-Identifier: MIT
// `tare svc --trace-one`: one request to a server of its own, and the nine steps it took, each with its time.
//
// The server calls on_step as each step ends; a step's time is what passed since the one before it (the first: since
// just before the client dialled). Only the first end of a step counts: what follows belongs to the connection's next
// life. The times are of a cold, single request, client in the same process: they show where the way leads, not what it
// costs. Threads: on_step runs on the server's worker, the printing in the asking task; the event orders them.
#include "cmd/svc/svc.h"

#include <tare/net.h>
#include <tare/rt.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const svc_steps[TARE_STEP_RESET + 1] = {
    [TARE_STEP_ACCEPT] = "accept: the worker's own listener takes the connection",
    [TARE_STEP_BUFFERS] = "buffers: read and output buffers come from the worker's pool",
    [TARE_STEP_READ] = "read: the stream reads; on EAGAIN the task parks in the worker's poller",
    [TARE_STEP_PARSE] = "parse: slices into the read buffer, nothing copied",
    [TARE_STEP_ROUTE] = "route: the path picks the handler",
    [TARE_STEP_HANDLE] = "handle: the index is probed, the answer written into the output buffer",
    [TARE_STEP_WRITE] = "write: all pipelined answers leave in one write",
    [TARE_STEP_RECORD] = "record: one histogram sample; debug builds assert that the heap was not called",
    [TARE_STEP_RESET] = "reset: the buffers go back, the connection turns idle",
};

enum { ANSWER_BYTES_MAX = 65536 };
#define TRACE_TIMEOUT_NS (5 * TARE_NS_PER_S)

static struct {
	struct tare_stream stream; // static: the poller may look at it for as long as the runtime runs
	int64_t start_ns;
	_Atomic(int64_t) end_ns[TARE_STEP_RESET + 1]; // by step; 0: not yet. relaxed: `done` orders them
	struct tare_event done;
	char answer[ANSWER_BYTES_MAX];
	struct tare_rt_stats calls;               // while the request was served
	uint64_t client_recvs, client_read_bytes; // of them
} trace;

static void on_step(void *arg, enum tare_http_step step, int64_t now_ns)
{
	(void)arg;
	if (atomic_load_explicit(&trace.end_ns[step], memory_order_relaxed) != 0)
		return;
	atomic_store_explicit(&trace.end_ns[step], now_ns, memory_order_relaxed);
	if (step == TARE_STEP_RESET)
		tare_event_wake(&trace.done);
}

static int64_t step_end_ns(int step)
{
	return atomic_load_explicit(&trace.end_ns[step], memory_order_relaxed);
}

// Bytes of the whole answer; -EBADMSG when it is none that this server sends.
static ssize_t read_answer(int64_t deadline_ns)
{
	size_t have = 0;
	for (;;) {
		if (have == sizeof trace.answer - 1)
			return -EMSGSIZE;
		trace.client_recvs++;
		ssize_t n = tare_stream_try_read(&trace.stream, trace.answer + have, sizeof trace.answer - 1 - have);
		if (n == -EAGAIN)
			n = tare_fd_wait(&trace.stream.fd, TARE_READ, deadline_ns);
		else if (n == 0)
			n = -ECONNRESET;
		if (n < 0)
			return n;
		trace.client_read_bytes += (uint64_t)n;
		have += (size_t)n;
		trace.answer[have] = '\0';
		const char *body = strstr(trace.answer, "\r\n\r\n");
		if (body == NULL)
			continue;
		const char *length = strcasestr(trace.answer, "\r\nContent-Length:");
		if (length == NULL || length > body)
			return -EBADMSG;
		size_t whole =
		    (size_t)(body + 4 - trace.answer) + strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
		if (have >= whole)
			return (ssize_t)whole;
	}
}

// What the kernel was asked for since `before`. What the client of this trace asked for itself is known and taken off,
// but for the workers' polls and switches, which nobody can part; with io_uring its calls can't be either, for the ring
// makes some needless.
static void count_calls(const struct tare_rt_stats *before, size_t request_bytes)
{
	struct tare_rt_stats *calls = &trace.calls;
	tare_rt_stats_read(calls);
	bool ring = strcmp(calls->io, "uring") == 0;
	calls->accepts -= before->accepts;
	calls->recvs -= before->recvs + (ring ? 0 : trace.client_recvs);
	calls->sends -= before->sends + (ring ? 0 : 1);
	calls->bytes_read -= before->bytes_read + trace.client_read_bytes;
	calls->bytes_written -= before->bytes_written + request_bytes;
	calls->polls -= before->polls;
	calls->switches -= before->switches;
}

static ssize_t ask(const struct tare_addr *addr, const char *request)
{
	int64_t deadline_ns = tare_now_ns() + TRACE_TIMEOUT_NS;
	struct tare_rt_stats before;
	tare_rt_stats_read(&before);
	trace.start_ns = tare_now_ns();
	int rc = tare_stream_dial(&trace.stream, addr, deadline_ns);
	if (rc < 0)
		return rc;
	rc = tare_stream_write(&trace.stream, request, strlen(request), deadline_ns);
	ssize_t len = rc < 0 ? rc : read_answer(deadline_ns);
	// The connection stays open until its reset: closing it would be a step that the walk does not have.
	if (len > 0 && tare_event_wait_until(&trace.done, deadline_ns) < 0)
		len = -ETIMEDOUT;
	count_calls(&before, strlen(request));
	tare_stream_close(&trace.stream);
	return len;
}

static void print_json(const struct svc *svc, int status, ssize_t bytes)
{
	printf("{\"path\":\"%s\",\"target\":\"/lookup?key=0\",\"status\":%d,\"bytes\":%zd,\"steps\":[",
	       svc_path_name(&svc->options), status, bytes);
	int64_t before_ns = trace.start_ns;
	for (int step = TARE_STEP_ACCEPT; step <= TARE_STEP_RESET; step++) {
		printf("%s{\"step\":%d,\"title\":\"%s\",\"ns\":%" PRId64 "}", step == 1 ? "" : ",", step,
		       svc_steps[step], step_end_ns(step) - before_ns);
		before_ns = step_end_ns(step);
	}
	const struct tare_rt_stats *calls = &trace.calls;
	printf("],\"total_ns\":%" PRId64 ",\"calls\":{\"accept\":%" PRIu64 ",\"recv\":%" PRIu64 ",\"send\":%" PRIu64
	       ",\"poll\":%" PRIu64 "},\"switches\":%" PRIu64 ",\"bytes_read\":%" PRIu64 ",\"bytes_written\":%" PRIu64
	       "}\n",
	       before_ns - trace.start_ns, calls->accepts, calls->recvs, calls->sends, calls->polls, calls->switches,
	       calls->bytes_read, calls->bytes_written);
}

static void print_text(const struct svc *svc, int status, ssize_t bytes)
{
	printf("GET /lookup?key=0, path %s: status %d, %zd bytes; nanoseconds since the step before\n",
	       svc_path_name(&svc->options), status, bytes);
	int64_t before_ns = trace.start_ns;
	for (int step = TARE_STEP_ACCEPT; step <= TARE_STEP_RESET; step++) {
		printf("%d. %-80s %9" PRId64 " ns\n", step, svc_steps[step], step_end_ns(step) - before_ns);
		before_ns = step_end_ns(step);
	}
	printf("   %-80s %9" PRId64 " ns\n", "in all", before_ns - trace.start_ns);
	const struct tare_rt_stats *calls = &trace.calls;
	printf("system calls: accept %" PRIu64 ", recv %" PRIu64 ", send %" PRIu64 "; bytes in %" PRIu64
	       ", out %" PRIu64 "; with the client's own: poll %" PRIu64 ", task switches %" PRIu64 "\n",
	       calls->accepts, calls->recvs, calls->sends, calls->bytes_read, calls->bytes_written, calls->polls,
	       calls->switches);
}

static int report(const struct svc *svc, ssize_t bytes)
{
	int status = atoi(trace.answer + strlen("HTTP/1.1 "));
	for (int step = TARE_STEP_ACCEPT; step <= TARE_STEP_RESET; step++)
		if (step_end_ns(step) == 0)
			return cmd_fail("svc", "--trace-one: step %d (%s) was not reported", step, svc_steps[step]);
	if (svc->options.json)
		print_json(svc, status, bytes);
	else
		print_text(svc, status, bytes);
	if (fflush(stdout) != 0)
		return cmd_fail("svc", "can't write to standard output: %s", strerror(errno));
	return status == 200 ? CMD_OK : cmd_fail("svc", "--trace-one: the answer's status was %d", status);
}

int svc_trace_one(struct svc *svc)
{
	static struct tare_http_route routes[SVC_ROUTES_MAX];
	struct tare_http_options options = {
	    .name = "trace",
	    .routes = routes,
	    .route_count = svc_routes(svc, true, false, false, routes),
	    .pool = svc->options.pool != 0,
	    .trace = on_step,
	};
	svc_options_limits(&svc->options, &options.limits);
	struct tare_addr addr;
	struct tare_error err = {""};
	int rc = tare_addr_parse(&addr, "127.0.0.1:0", &err);
	if (rc == 0)
		rc = tare_http_server_new(&svc->server, &options, &err);
	if (rc == 0)
		rc = tare_http_server_listen(svc->server, &addr, &err);
	if (rc < 0)
		return cmd_fail("svc", "--trace-one: can't serve: %s", err.text[0] != '\0' ? err.text : strerror(-rc));
	char request[TARE_ADDR_TEXT_BYTES + 64], host[TARE_ADDR_TEXT_BYTES];
	tare_addr_format(&addr, host);
	snprintf(request, sizeof request, "GET /lookup?key=0 HTTP/1.1\r\nHost: %s\r\n\r\n", host);
	ssize_t bytes = ask(&addr, request);
	(void)tare_http_server_drain(svc->server); // what is cut here is the client that was just closed
	if (bytes < 0)
		return cmd_fail("svc", "--trace-one: no answer: %s", strerror((int)-bytes));
	return report(svc, bytes);
}
