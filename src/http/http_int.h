// SPDX-License-Identifier: MIT
//
// What the HTTP server's files share.
//
//   parse.c, scan.c, chunked.c   the grammar: pure functions over bytes (base alone)
//   exchange.c                   one request's answer, written into the output buffer
//   memory.c                     a request's arena
//   conn.c                       a connection's life: read, parse, route, write, idle, close
//   server.c                     listeners, limits, drain, statistics
//   peers.c                      connections an address
#ifndef TARE_HTTP_INT_H
#define TARE_HTTP_INT_H

#include <tare/arena.h>
#include <tare/limit.h>
#include <tare/http.h>
#include <tare/heap.h>
#include <tare/pool.h>
#include <tare/sync.h>

#include "http/parse.h"

enum {
	HTTP_BUFFER_BYTES = 16 * 1024,     // of a read or output buffer from the pool
	HTTP_HEADERS_CAP = 128,            // the most that headers_max may be
	HTTP_LABELS_MAX = 16,              // metrics of a server
	HTTP_ARENA_BLOCK_BYTES = 8 * 1024, // of a request's arena, with the buffers
	HTTP_ARENA_KEEP_BYTES = 64 * 1024, // the most that a connection keeps for its next request
};

#define HTTP_DURATION_MAX_NS (60 * UINT64_C(1000000000)) // what the duration histogram tells apart

// ---- connections --------------------------------------------------------------------------------------------------

//                 accept                event: a task starts            nothing buffered
//   (pool) -------------------> IDLE --------------------------> ACTIVE ------------------> IDLE
//                                |  conn_on_ready                 |  |      conn_serve
//                                |  idle timer, drain: a task     |  | error, close asked for, end of stream
//                                +------------------------------->+  +--> closed --> (pool)
//
// Who owns a connection: the poller while it is idle (tare_fd_idle), its task while it is active. tare_fd_unidle is how
// the idle timer and the drain take it from the poller; exactly one of them and the event gets it.
struct http_peer {
	uint64_t words[2]; // an address as peers.c counts it
};

struct http_conn {
	struct tare_stream stream; // first: storage is type-stable, the descriptor's generation survives reuse
	struct tare_http_server *server;
	struct tare_timer idle_timer; // pending from accept to close; re-arms itself by idle_deadline_ns
	_Atomic(int64_t) idle_deadline_ns;
	struct tare_list link;    // of its worker's list; guarded by that list's spinlock
	struct http_peer peer;    // looked at only where addresses are counted
	int worker;               // whose list and poller it is in
	bool expired;             // the idle timer took it: close unless bytes are there. The owner's.
	bool refused;             // over a limit: answer 503 and close. The owner's.
	bool heard;               // bytes have come. The owner's.
	struct tare_arena *arena; // of its task's requests; NULL until a handler asks. The owner's.
};

// Takes an accepted descriptor. Negative errno: the caller closes it.
TARE_MUST_USE int http_conn_start(struct tare_http_server *server, int fd, const struct http_peer *peer, bool refused);
// Starts a task for an idle connection that was taken from the poller. Negative errno: it was put back.
TARE_MUST_USE int http_conn_rouse(struct http_conn *conn);

// ---- exchanges ----------------------------------------------------------------------------------------------------

// Where answers gather until they leave in one write. One a connection's task.
struct http_out {
	struct http_buffers *buffers;
	char *ptr;
	size_t len, cap;
	bool grown; // ptr is the heap's, not the session's
	int rc;     // of the first write that failed: part of an answer may have left, so nothing may follow it
};

// What a connection's task works in, from the pool: one object, so that it is one take and one give a session.
struct http_buffers {
	char in[HTTP_BUFFER_BYTES], out[HTTP_BUFFER_BYTES];
	alignas(TARE_ARENA_ALIGNMENT) char arena_block
	    [HTTP_ARENA_BLOCK_BYTES]; // the first; untouched until it is asked for
};

struct tare_http_exchange {
	struct http_conn *conn;
	struct http_out *out;
	struct http_head head;
	struct tare_str body;
	enum { X_EMPTY, X_HEAD, X_BODY, X_FAILED } stage;
	int status;
	bool close;       // the connection closes after this answer
	bool has_arena;   // the request asked for its arena
	bool no_body;     // HEAD, 204, 304: what is written behind the head is dropped
	bool starved;     // memory for it could not be had
	size_t answer_at; // where in out this answer begins
	size_t length_at; // of the ten places of Content-Length
	size_t body_at;
};

// Ready for the next request on the same connection; the head's storage stays.
void http_exchange_reset(struct tare_http_exchange *x);

// Ends the answer: fills in Content-Length; answers 500 where the handler left none or failed, 503
// where memory ran out.
void http_exchange_end(struct tare_http_exchange *x);
// The answer to a request that broke a rule of the grammar.
void http_exchange_refuse(struct tare_http_exchange *x, int status, const char *detail);

// Finds the handler, or answers in its stead: then NULL.
const struct tare_http_route *http_route_of(struct tare_http_exchange *x);

// Writes what is gathered and empties it. 0 or a negative errno, and from then on that.
TARE_MUST_USE int http_conn_flush(struct http_conn *conn, struct http_out *out);

// ---- a request's arena (memory.c) ---------------------------------------------------------------------------------

// After the answer: what the request took goes, where it took anything.
void http_arena_reset(struct tare_http_exchange *x);
// Before the buffers go back, or their task is found cut off by the runtime's end.
void http_arena_end(struct http_conn *conn, bool cut);

// ---- server -------------------------------------------------------------------------------------------------------

// What one worker counts: written by its tasks between two blocking calls, so by one thread at a time; read by any.
struct http_worker_stats {
	alignas(TARE_CACHE_LINE) atomic_ullong requests, classes[6];
	atomic_ullong errors_parse, errors_timeout, errors_io;
	atomic_ullong accepted, refused_limit, refused_address, refused_fds, refused_memory, shed;
	struct tare_hist *duration;
	int64_t date_s; // the monotonic second in which date was made
	char date[32];  // "Sun, 06 Nov 1994 08:49:37 GMT"
};

struct http_worker {
	struct http_worker_stats stats;
	struct tare_http_server *server;
	struct tare_listener listener;
	struct tare_spin spin; // guards conns
	struct tare_list conns;
};

struct http_peers;

struct tare_http_server {
	struct tare_http_options options;
	struct http_limits grammar;
	struct http_worker *workers;
	int worker_count;
	struct tare_pool *conns, *buffers;
	char conns_name[96], buffers_name[96]; // of these pools: a process has a server or more
	struct http_peers *peers;              // NULL: addresses are not counted
	struct tare_addr addr;
	int spare_fd; // given up for a moment when descriptors run out; guarded by spare_spin
	struct tare_spin spare_spin;
	atomic_int live; // connections, and one more until the server drains
	atomic_int idle, refused_live;
	atomic_bool draining;
	int64_t drain_deadline_ns; // set before draining is
	struct tare_event drained; // woken by the last connection to close while draining
	struct tare_task **accept_tasks;
	char labels[HTTP_LABELS_MAX][96]; // of its metrics
};

static inline struct http_worker *http_worker_self(struct tare_http_server *server)
{
	return &server->workers[tare_worker()];
}

// Whether memory is at its limit, so that what can wait shall come again.
static inline bool http_is_short(const struct tare_http_server *server)
{
	return tare_pressure() == TARE_PRESSURE_HARD && !server->options.vital;
}

static inline void http_trace(struct tare_http_server *server, enum tare_http_step step)
{
	if (TARE_UNLIKELY(server->options.trace != NULL))
		server->options.trace(server->options.trace_arg, step, tare_now_ns());
}

// ---- connections an address (peers.c) -----------------------------------------------------------------------------

TARE_MUST_USE int http_peers_new(struct http_peers **ret, unsigned connections_max, unsigned per_address_max);
void http_peers_free(struct http_peers *peers);
// -EAGAIN: the address has its share already.
TARE_MUST_USE int http_peers_enter(struct http_peers *peers, const struct http_peer *peer);
void http_peers_leave(struct http_peers *peers, const struct http_peer *peer);
struct http_peer http_peer_of(const struct tare_addr *addr);

#endif
