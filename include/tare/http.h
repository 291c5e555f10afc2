// SPDX-License-Identifier: MIT
//
// http: an HTTP/1.1 server on tasks.
//
// A handler is straight-line code on the connection's task: it reads the request's slices, which point into the read
// buffer and live until the handler returns, and writes its answer straight into the output buffer. All pipelined
// requests of a read are answered before one write. An idle connection holds neither a task nor a stack nor a buffer.
// A handler's task is in no scope: nothing cancels it. Handlers run on all workers at a time.
#ifndef TARE_HTTP_H
#define TARE_HTTP_H

#include <tare/base.h>
#include <tare/net.h>
#include <tare/stat.h>

// ---- requests -----------------------------------------------------------------------------------------------------

enum tare_http_method {
	TARE_HTTP_GET,
	TARE_HTTP_HEAD,
	TARE_HTTP_POST,
	TARE_HTTP_PUT,
	TARE_HTTP_DELETE,
	TARE_HTTP_CONNECT,
	TARE_HTTP_OPTIONS,
	TARE_HTTP_TRACE,
	TARE_HTTP_PATCH,
};

// Bits for routes.
#define TARE_HTTP_ALLOW(method) (1u << (method))

struct tare_arena;         // <tare/arena.h>
struct tare_http_exchange; // one request and its answer

// As they were sent, nothing decoded; a query or a body that there is not is empty.
enum tare_http_method tare_http_method(const struct tare_http_exchange *x);
struct tare_str tare_http_path(const struct tare_http_exchange *x);
struct tare_str tare_http_query(const struct tare_http_exchange *x);
struct tare_str tare_http_body(const struct tare_http_exchange *x);
// The first header of that name (compared without case); false when there is none.
bool tare_http_header_get(const struct tare_http_exchange *x, const char *name, struct tare_str *ret_value);
// The first `name=value` of the query string, not percent-decoded; false when there is none.
bool tare_http_query_get(struct tare_str query, struct tare_str name, struct tare_str *ret_value);

// ---- memory -------------------------------------------------------------------------------------------------------

// Memory that lasts until the handler has returned and its answer is complete: the request's arena, empty at the first
// call. Cleanups run then, in the connection's task; those of a handler that the runtime's end cut off never do. It is
// made when a handler first asks, out of 8 KiB among the connection's buffers (some 7,000 bytes of it for the handler),
// and goes when the connection turns idle: who never asks pays nothing, and an idle connection holds none. What it may
// have from the heap beyond is a limit of the server's; in a route with no_heap it may have none. Never NULL.
struct tare_arena *tare_http_arena(struct tare_http_exchange *x);

// ---- answers ------------------------------------------------------------------------------------------------------

// All that write to the answer may block the task, for at most the write timeout, when room runs short and the client
// has yet to read earlier answers: so hold no lock meanwhile. tare_http_reserve makes room beforehand.

// Starts the answer: status line (200 to 599, asserted), Date, Server, Content-Type (NULL: none). Once an exchange; a
// handler that never starts one is answered with 500. Content-Length is written by itself.
void tare_http_start(struct tare_http_exchange *x, int status, const char *content_type);
// After start, before the first byte of the body. Name and value must be free of CR, LF and NUL (asserted).
void tare_http_header(struct tare_http_exchange *x, const char *name, const char *value);
// Room for want more bytes of the body, contiguous, in the output buffer; NULL when the answer passed the server's
// answer limit or memory ran out (the exchange then ends in 500; return from the handler).
char *tare_http_reserve(struct tare_http_exchange *x, size_t want);
// Says how many of the reserved bytes were written.
void tare_http_commit(struct tare_http_exchange *x, size_t len);
// Bytes, or formatted text, onto the end of the body. A failure is that of tare_http_reserve: later writes do nothing.
void tare_http_write(struct tare_http_exchange *x, const void *ptr, size_t len);
void tare_http_printf(struct tare_http_exchange *x, const char *format, ...) TARE_PRINTF(2, 3);
// A tare_text that writes into the answer's body.
struct tare_text tare_http_text(struct tare_http_exchange *x);
// A whole application/problem+json answer (RFC 9457): {"type":"about:blank","title":…,"status":…,"detail":…}. The
// detail is made fit for JSON and cut at 511 bytes. A 503 has `Retry-After: 1`.
void tare_http_problem(struct tare_http_exchange *x, int status, const char *detail_format, ...) TARE_PRINTF(3, 4);
// For an answer that takes its time, before it is started: waits until then. 0; -EPIPE: the client has left (also one
// that shut down its sending side); -ECANCELED: the server drains. Answers before this one leave first.
TARE_MUST_USE int tare_http_wait(struct tare_http_exchange *x, int64_t deadline_ns);
// The status text of RFC 9110; "Unknown" for others.
const char *tare_http_status_text(int status);

// ---- tracing one request ------------------------------------------------------------------------------------------

// The nine steps of ARCHITECTURE.md's walk. A server with options.trace set calls it as each step ends, with the clock.
enum tare_http_step {
	TARE_STEP_ACCEPT = 1,
	TARE_STEP_BUFFERS,
	TARE_STEP_READ,
	TARE_STEP_PARSE,
	TARE_STEP_ROUTE,
	TARE_STEP_HANDLE,
	TARE_STEP_WRITE,
	TARE_STEP_RECORD,
	TARE_STEP_RESET,
};

// ---- server -------------------------------------------------------------------------------------------------------

typedef void tare_http_handler(struct tare_http_exchange *x, void *arg);

struct tare_http_route {
	const char *path; // exact; a trailing "/*" matches what is below it. Kept, not copied
	unsigned methods; // TARE_HTTP_ALLOW bits; GET brings HEAD and OPTIONS
	tare_http_handler *handler;
	void *arg;
	bool no_heap; // debug builds assert that the handler calls no heap; it may not block itself then
};

// What is over a limit is answered with the status beside it. A timeout of TARE_NEVER is none. tare_http_server_new
// refuses (-EINVAL) heads of less than 64 or more than 16,384 bytes, no or more than 128 header fields, arenas of less
// than 8,192 bytes, and limits of no connection or no pipelined request.
struct tare_http_limits {
	size_t head_bytes_max;                // 431
	unsigned headers_max;                 // 431
	size_t target_bytes_max;              // 414
	uint64_t body_bytes_max;              // 413
	size_t answer_bytes_max;              // 500
	size_t arena_bytes_max;               // of a request's arena; what is over it, the handler does not get
	unsigned pipeline_max;                // requests answered before a write
	unsigned connections_max;             // 503
	unsigned connections_per_address_max; // 503; 0: no limit
	int64_t head_timeout_ns;              // 408, from the first byte of a head
	int64_t body_timeout_ns;              // 408
	int64_t idle_timeout_ns;              // closed in silence
	int64_t write_timeout_ns;             // closed
	int64_t drain_timeout_ns;             // of tare_http_server_drain
};

// What a server starts from; change what you need. Heads of 8 KiB with 100 fields, targets of 4 KiB, bodies of 1 MiB,
// answers of 4 MiB, arenas of 1 MiB, 64 requests a write, 65,536 connections from anywhere; 10 s for a head, 30 s for a
// body, a write and the drain, 60 s idle.
void tare_http_limits_default(struct tare_http_limits *limits);

struct tare_http_options {
	struct tare_http_limits limits;
	const char *name;                     // of metrics' `server` label, and in its pools' names; static storage
	const struct tare_http_route *routes; // outlive the server
	size_t route_count;
	int backlog;                                                        // 0: 4096
	bool pool;                                                          // recycle buffers
	bool vital;                                                         // serves at the hard memory limit too
	void (*trace)(void *arg, enum tare_http_step step, int64_t now_ns); // NULL: off
	void *trace_arg;
};

struct tare_http_server;

// Everything a server needs but its listeners; nothing is served yet, so metrics can be registered first. From a task.
// -ENOMEM, -EINVAL with a text.
TARE_MUST_USE int tare_http_server_new(struct tare_http_server **ret, const struct tare_http_options *options,
				       struct tare_error *err);
// Listens on *addr (updated when its port was 0) with a listener a worker, and serves. May be tried again with another
// address after a failure. -EADDRINUSE … with a text.
TARE_MUST_USE int tare_http_server_listen(struct tare_http_server *server, struct tare_addr *addr,
					  struct tare_error *err);
// Stops accepting without losing a queued connection, lets every connection finish what it received (its last answer
// carries `Connection: close`, unless its handler was already at work), closes idle ones. Once, from a task, of a
// server that listens. Returns 0 when none is left, -ETIMEDOUT when some were cut at the drain
// timeout.
int tare_http_server_drain(struct tare_http_server *server);
// Once the runtime has returned (or the server never listened): until then tasks and pollers may look at it. NULL is
// fine.
void tare_http_server_free(struct tare_http_server *server);

struct tare_http_stats {
	uint64_t connections_live, connections_idle, connections_total;
	uint64_t refused_limit, refused_address, refused_fds, refused_memory; // answered 503 or left waiting
	uint64_t shed; // requests answered 503 for want of memory
	uint64_t requests, errors_parse, errors_timeout, errors_io;
};
// From any thread; no two numbers are of the same instant.
void tare_http_server_stats(const struct tare_http_server *server, struct tare_http_stats *ret);
// Registers the server's metrics: http_requests_total by code class, http_request_duration_seconds, http_connections,
// ….
TARE_MUST_USE int tare_http_server_register(struct tare_http_server *server, struct tare_registry *registry);

#endif
