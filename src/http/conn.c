// SPDX-License-Identifier: MIT
//
// A connection's life. http_int.h draws its states and says who owns it when.
//
// A task serves a connection only while there is something to serve: it reads, answers every request that is buffered,
// writes once, and when nothing is left it gives its buffers back and leaves the connection to the poller. A partial
// request keeps the task, and then the head and body deadlines run.
//
// Invariants
//   1. buf[0, len) are the bytes received and not yet consumed; a head or body is parsed only from its first byte on.
//   2. Answers leave in the order of their requests, and before the connection is closed or turns idle.
//   3. After an error of grammar or framing nothing more is read from the connection as a request.
//   4. Closing with unread bytes would reset the connection and could destroy the last answer on its way: linger()
//      reads them.
//
// Threads: the task, on whatever worker it is; the idle timer and the drain go through tare_fd_unidle.
#include "http/http_int.h"

#include "base/probe.h"

#include <errno.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("http bodies");

enum { LINGER_BYTES_MAX = 256 * 1024, REFUSED_WAIT_MS = 100, LINGER_MS = 1000, FIRST_WAIT_MS = 1000, RETRY_MS = 100 };

static const char short_text[] = "memory is at its limit; try again later";

struct session {
	struct http_conn *conn;
	struct tare_http_server *server;
	char *buf; // out.buffers->in
	size_t len, cap;
	size_t at; // bytes of it that are answered
	struct http_out out;
	int64_t head_deadline_ns; // 0: no head has begun
	unsigned answered;        // since the last write
	bool served;              // at least one answer has left
	bool drained;             // the last read left nothing in the socket
	unsigned classes[6];      // of those, by the status' first digit
	int64_t began_ns;         // when the poller saw what is being answered
};

// What serving came to.
enum outcome { GO_ON, NEED_MORE, CLOSE, LINGER };

static int conn_task(void *arg);
static void on_ready(struct tare_fd *fd);
static int64_t on_idle_timer(struct tare_timer *timer);

// ---- opening and closing ------------------------------------------------------------------------------------------

// server->live goes down last: from then on the server may be gone.
static void conn_close(struct http_conn *conn)
{
	struct tare_http_server *server = conn->server;
	struct http_worker *worker = &server->workers[conn->worker];
	// The timer first: it looks at the descriptor.
	(void)tare_timer_stop(&conn->idle_timer);
	tare_spin_lock(&worker->spin);
	tare_list_remove(&conn->link);
	tare_spin_unlock(&worker->spin);
	tare_stream_close(&conn->stream);
	if (conn->refused)
		atomic_fetch_sub(&server->refused_live, 1);
	else if (server->peers != NULL)
		http_peers_leave(server->peers, &conn->peer);
	tare_pool_give(server->conns, conn);
	if (atomic_fetch_sub(&server->live, 1) == 1) // only a server that drains gives up its own one
		tare_event_wake(&server->drained);
}

static int conn_spawn(struct http_conn *conn)
{
	return tare_go_with(&(struct tare_task_options){.name = "http"}, conn_task, conn);
}

int http_conn_start(struct tare_http_server *server, int fd, const struct http_peer *peer, bool refused)
{
	struct http_conn *conn = tare_pool_take(server->conns);
	if (conn == NULL)
		return -ENOMEM;
	conn->server = server;
	conn->worker = tare_worker();
	conn->expired = false;
	conn->refused = refused;
	conn->heard = false;
	conn->arena = NULL;
	conn->peer = *peer;
	conn->idle_timer = (struct tare_timer){0};
	int64_t deadline_ns = tare_time_after(tare_now_ns(), server->options.limits.idle_timeout_ns);
	atomic_store_explicit(&conn->idle_deadline_ns, deadline_ns, memory_order_relaxed);
	int rc = tare_timer_start(&conn->idle_timer, deadline_ns, on_idle_timer);
	if (rc < 0)
		goto give;
	// After all else that can fail: then the descriptor stays the caller's to close. (A timer that fires before
	// finds a connection that is not idle.)
	rc = tare_fd_open(&conn->stream.fd, fd);
	if (rc < 0) {
		(void)tare_timer_stop(&conn->idle_timer);
		goto give;
	}
	struct http_worker *worker = &server->workers[conn->worker];
	tare_spin_lock(&worker->spin);
	tare_list_push_back(&worker->conns, &conn->link);
	tare_spin_unlock(&worker->spin);
	atomic_fetch_add(&server->live, 1);
	if (refused)
		atomic_fetch_add(&server->refused_live, 1);
	atomic_fetch_add_explicit(&server->idle, 1, memory_order_relaxed);
	if (refused || !tare_fd_idle(&conn->stream.fd, on_ready))
		on_ready(&conn->stream.fd);
	return 0;

give:
	tare_pool_give(server->conns, conn);
	return rc;
}

// The poller's callback: an idle connection has bytes, or its peer has gone.
static void on_ready(struct tare_fd *fd)
{
	struct http_conn *conn = TARE_CONTAINER_OF(fd, struct http_conn, stream.fd);
	struct tare_http_server *server = conn->server;
	atomic_fetch_sub_explicit(&server->idle, 1, memory_order_relaxed);
	if (conn_spawn(conn) == 0)
		return;
	tare_bump(&http_worker_self(server)->stats.errors_io, 1);
	conn_close(conn);
}

int http_conn_rouse(struct http_conn *conn)
{
	int rc = conn_spawn(conn);
	if (rc == 0) {
		atomic_fetch_sub_explicit(&conn->server->idle, 1, memory_order_relaxed);
		return 0;
	}
	// Back to the poller. Readiness that came meanwhile is used up by the tries that fail; the caller comes again.
	while (!tare_fd_idle(&conn->stream.fd, on_ready))
		continue;
	return rc;
}

// Under the timer heap's lock. A connection that is active, or was since, is looked at again later.
static int64_t on_idle_timer(struct tare_timer *timer)
{
	struct http_conn *conn = TARE_CONTAINER_OF(timer, struct http_conn, idle_timer);
	int64_t now_ns = tare_now_ns();
	int64_t deadline_ns = atomic_load_explicit(&conn->idle_deadline_ns, memory_order_relaxed);
	if (now_ns < deadline_ns)
		return deadline_ns;
	if (!tare_fd_unidle(&conn->stream.fd))
		return tare_time_after(now_ns, conn->server->options.limits.idle_timeout_ns);
	conn->expired = true;
	return http_conn_rouse(conn) == 0 ? 0 : now_ns + RETRY_MS * TARE_NS_PER_MS;
}

// ---- reading and writing ------------------------------------------------------------------------------------------

static int send_all(struct http_conn *conn, const char *from, size_t left)
{
	ssize_t n = tare_fd_send(&conn->stream.fd, from, left);
	if (TARE_LIKELY(n == (ssize_t)left))
		return 0;
	if (n < 0 && n != -EAGAIN)
		return (int)n;
	size_t sent = n > 0 ? (size_t)n : 0;
	int64_t deadline_ns = tare_time_after(tare_now_ns(), conn->server->options.limits.write_timeout_ns);
	return tare_stream_write(&conn->stream, from + sent, left - sent, deadline_ns);
}

int http_conn_flush(struct http_conn *conn, struct http_out *out)
{
	size_t len = out->len;
	out->len = 0;
	if (len == 0 || out->rc < 0)
		return out->rc;
	out->rc = send_all(conn, out->ptr, len);
	if (TARE_UNLIKELY(out->rc < 0))
		tare_bump(&http_worker_self(conn->server)->stats.errors_io, 1);
	return out->rc;
}

// Sends the gathered answers and records them: one sample a request, from the poller's wake-up to the end of the write.
static int session_flush(struct session *s)
{
	if (s->out.len == 0 && s->answered == 0)
		return 0;
	int rc = http_conn_flush(s->conn, &s->out);
	http_trace(s->server, TARE_STEP_WRITE);
	struct http_worker_stats *stats = &http_worker_self(s->server)->stats;
	if (s->answered > 0) {
		tare_bump(&stats->requests, s->answered);
		for (unsigned i = 2; i < TARE_ARRAY_LEN(s->classes); i++)
			if (s->classes[i] > 0)
				tare_bump(&stats->classes[i], s->classes[i]);
		memset(s->classes, 0, sizeof s->classes);
		int64_t took_ns = tare_now_ns() - s->began_ns;
		tare_hist_record_n(stats->duration, (uint64_t)TARE_MAX(took_ns, INT64_C(0)), s->answered);
		s->answered = 0;
		s->served = true;
	}
	http_trace(s->server, TARE_STEP_RECORD);
	return rc;
}

// Waits until more bytes are there and reads them behind what there is. Bytes read, 0 at the end, or a negative errno.
static ssize_t session_read_more(struct session *s, int64_t deadline_ns)
{
	TARE_ASSERT(s->len < s->cap);
	ssize_t n = tare_stream_read(&s->conn->stream, s->buf + s->len, s->cap - s->len, deadline_ns);
	if (n > 0)
		s->len += (size_t)n;
	return n;
}

static void session_consume(struct session *s, size_t used)
{
	s->len -= used;
	if (s->len > 0)
		memmove(s->buf, s->buf + used, s->len);
}

// Reads and drops what the peer still sends, within limits, so that the last answer arrives.
static void linger(struct session *s)
{
	tare_fd_shutdown(&s->conn->stream.fd, SHUT_WR);
	int64_t deadline_ns = tare_now_ns() + LINGER_MS * TARE_NS_PER_MS;
	for (size_t total = 0; total < LINGER_BYTES_MAX;) {
		ssize_t n = tare_stream_read(&s->conn->stream, s->buf, s->cap, deadline_ns);
		if (n <= 0)
			return;
		total += (size_t)n;
	}
}

// ---- one request --------------------------------------------------------------------------------------------------

static void count_answer(struct session *s, const struct tare_http_exchange *x)
{
	s->answered++;
	s->classes[x->status / 100]++;
}

static void refuse(struct session *s, struct tare_http_exchange *x, int status, const char *detail)
{
	x->answer_at = s->out.len;
	http_exchange_refuse(x, status, detail);
	count_answer(s, x);
	struct http_worker_stats *stats = &http_worker_self(s->server)->stats;
	tare_bump(status == 408 ? &stats->errors_timeout : &stats->errors_parse, 1);
}

static bool path_matches(const char *pattern, struct tare_str path)
{
	size_t len = strlen(pattern);
	if (len >= 2 && memcmp(pattern + len - 2, "/*", 2) == 0)
		return path.len >= len - 1 && memcmp(pattern, path.ptr, len - 1) == 0;
	return path.len == len && memcmp(pattern, path.ptr, len) == 0;
}

static unsigned methods_of(const struct tare_http_route *route)
{
	unsigned methods = route->methods | TARE_HTTP_ALLOW(TARE_HTTP_OPTIONS);
	if ((methods & TARE_HTTP_ALLOW(TARE_HTTP_GET)) != 0)
		methods |= TARE_HTTP_ALLOW(TARE_HTTP_HEAD);
	return methods;
}

static void put_allow(struct tare_http_exchange *x, unsigned methods)
{
	static const char *const names[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
					    "CONNECT", "OPTIONS", "TRACE", "PATCH"};
	char text[96];
	size_t len = 0;
	for (unsigned i = 0; i < TARE_ARRAY_LEN(names); i++) {
		if ((methods & TARE_HTTP_ALLOW(i)) == 0)
			continue;
		const char *separator = len > 0 ? ", " : "";
		len += (size_t)(stpcpy(stpcpy(text + len, separator), names[i]) - (text + len));
	}
	text[len] = '\0';
	tare_http_header(x, "Allow", text);
}

const struct tare_http_route *http_route_of(struct tare_http_exchange *x)
{
	const struct tare_http_options *options = &x->conn->server->options;
	enum tare_http_method method = tare_http_method(x);
	unsigned allowed = 0;
	for (size_t i = 0; i < options->route_count; i++) {
		const struct tare_http_route *route = &options->routes[i];
		if (!path_matches(route->path, x->head.path))
			continue;
		unsigned methods = methods_of(route);
		if ((methods & TARE_HTTP_ALLOW(method)) != 0 && method != TARE_HTTP_OPTIONS)
			return route;
		allowed |= methods;
	}
	if (x->head.form == HTTP_TARGET_ASTERISK)
		allowed = TARE_HTTP_ALLOW(TARE_HTTP_GET) | TARE_HTTP_ALLOW(TARE_HTTP_HEAD) |
			  TARE_HTTP_ALLOW(TARE_HTTP_OPTIONS);
	if (allowed == 0) {
		tare_http_problem(x, 404, "no such path: %.*s", (int)TARE_MIN(x->head.path.len, (size_t)200),
				  x->head.path.ptr);
	} else if (method == TARE_HTTP_OPTIONS) {
		tare_http_start(x, 204, NULL);
		put_allow(x, allowed);
	} else {
		tare_http_start(x, 405, "application/problem+json");
		put_allow(x, allowed);
		tare_http_printf(x, "{\"type\":\"about:blank\",\"title\":\"Method Not Allowed\",\"status\":405,"
				    "\"detail\":\"this path takes the methods that Allow names\"}\n");
	}
	return NULL;
}

// While the server drains, the last request that has arrived is told that it is the last; those before it are answered
// first.
static bool last_before_drain(const struct session *s)
{
	return atomic_load_explicit(&s->server->draining, memory_order_relaxed) && s->drained && s->at == s->len;
}

// In debug builds a handler that promised not to call the heap is held to it, until it blocks (make_way).
static void run_handler(struct tare_http_exchange *x, const struct tare_http_route *route)
{
	TARE_PROBE1(handler_start, x);
#ifdef TARE_DEBUG
	if (route->no_heap)
		(void)tare_heap_forbid(route->path);
#endif
	route->handler(x, route->arg);
#ifdef TARE_DEBUG
	(void)tare_heap_forbid(NULL);
#endif
	TARE_PROBE2(handler_end, x, x->status);
}

static void shed(struct session *s, struct tare_http_exchange *x)
{
	tare_bump(&http_worker_self(s->server)->stats.shed, 1);
	tare_http_problem(x, 503, "%s", short_text);
}

static enum outcome answer(struct session *s, struct tare_http_exchange *x)
{
	x->no_body = x->head.method == HTTP_HEAD;
	x->answer_at = s->out.len;
	x->close |= !x->head.keep_alive || last_before_drain(s);
	const struct tare_http_route *route = http_route_of(x);
	http_trace(s->server, TARE_STEP_ROUTE);
	if (TARE_UNLIKELY(route != NULL && http_is_short(s->server)))
		shed(s, x);
	else if (route != NULL)
		run_handler(x, route);
	http_exchange_end(x);
	if (TARE_UNLIKELY(x->has_arena))
		http_arena_reset(x);
	http_trace(s->server, TARE_STEP_HANDLE);
	count_answer(s, x);
	if (s->out.rc < 0)
		return CLOSE;
	return x->close ? LINGER : GO_ON;
}

// ---- request bodies -----------------------------------------------------------------------------------------------

static int say_continue(struct session *s)
{
	int rc = session_flush(s);
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	if (rc == 0)
		rc = tare_stream_write(&s->conn->stream, text, sizeof text - 1,
				       tare_time_after(tare_now_ns(), s->server->options.limits.write_timeout_ns));
	return rc;
}

// A body that is being put together.
struct body {
	char *ptr; // the heap's
	size_t len, cap;
};

static int body_append(struct body *body, struct tare_str more)
{
	if (body->len + more.len > body->cap) {
		size_t cap = TARE_MAX(2 * body->cap, body->len + more.len);
		char *ptr = tare_realloc(&heap_tag, body->ptr, cap);
		if (ptr == NULL)
			return -ENOMEM;
		body->ptr = ptr;
		body->cap = cap;
	}
	memcpy(body->ptr + body->len, more.ptr, more.len);
	body->len += more.len;
	return 0;
}

// -status to refuse with, or 0. The session's buffer holds the body's first bytes and is left with what follows the
// body.
static int read_chunked(struct session *s, struct tare_http_exchange *x, struct body *body, int64_t deadline_ns)
{
	struct http_chunked chunked;
	http_chunked_init(&chunked, &s->server->grammar);
	for (size_t at = 0;;) {
		size_t used = 0;
		struct tare_str run = {0};
		int rc = http_chunked_next(&chunked, s->buf + at, s->len - at, &used, &run);
		x->head.rule = chunked.rule;
		if (rc >= 0 && run.len > 0 && body_append(body, run) < 0)
			return -503;
		at += used;
		if (rc == 0 && run.len > 0)
			continue;
		session_consume(s, at); // once a buffer, however small the chunks are
		at = 0;
		if (rc != 0)
			return rc < 0 ? rc : 0;
		ssize_t n = session_read_more(s, deadline_ns);
		if (n <= 0)
			return n == -ETIMEDOUT ? -408 : -1;
	}
}

static int read_counted(struct session *s, size_t want, struct body *body, int64_t deadline_ns)
{
	body->ptr = tare_alloc(&heap_tag, want);
	if (body->ptr == NULL)
		return -503;
	body->cap = want;
	body->len = TARE_MIN(s->len, want);
	memcpy(body->ptr, s->buf, body->len);
	session_consume(s, body->len);
	while (body->len < want) {
		ssize_t n = tare_stream_read(&s->conn->stream, body->ptr + body->len, want - body->len, deadline_ns);
		if (n <= 0)
			return n == -ETIMEDOUT ? -408 : -1;
		body->len += (size_t)n;
	}
	return 0;
}

// A request with a body that is not whole in the buffer behind its head. The head's slices point into the buffer, which
// the body is about to overwrite: they are kept by moving the buffer's rest to a second one.
static enum outcome answer_with_body(struct session *s, struct tare_http_exchange *x)
{
	struct http_buffers *spare = http_is_short(s->server) ? NULL : tare_pool_take(s->server->buffers);
	s->drained = false; // the body's reads take what they need and may leave the rest in the socket
	if (spare == NULL) {
		refuse(s, x, 503, "out of memory for the request body");
		return LINGER;
	}
	char *head_buf = s->buf;
	s->len -= x->head.head_bytes;
	s->buf = memcpy(spare->in, head_buf + x->head.head_bytes, s->len);
	struct body body = {0};
	int rc = x->head.expect_continue && s->len == 0 ? say_continue(s) : 0;
	if (rc == 0) {
		int64_t deadline_ns = tare_time_after(tare_now_ns(), s->server->options.limits.body_timeout_ns);
		rc = x->head.chunked ? read_chunked(s, x, &body, deadline_ns)
				     : read_counted(s, (size_t)x->head.content_length, &body, deadline_ns);
	}
	enum outcome outcome = CLOSE;
	if (rc == 0) {
		x->body = (struct tare_str){body.ptr, body.len};
		outcome = answer(s, x);
	} else if (rc <= -400) {
		refuse(s, x, -rc,
		       rc == -408   ? "the request body did not arrive in time"
		       : rc == -503 ? "out of memory for the request body"
				    : http_rule_text(x->head.rule));
		outcome = LINGER;
	}
	tare_free(body.ptr);
	s->buf = memcpy(head_buf, s->buf, s->len);
	tare_pool_give(s->server->buffers, spare);
	return outcome;
}

// ---- the session --------------------------------------------------------------------------------------------------

// Parses and answers one buffered request, from buf + at on.
static enum outcome serve_one(struct session *s, struct tare_http_exchange *x)
{
	int rc = http_parse_head(s->buf + s->at, s->len - s->at, &s->server->grammar, &x->head);
	if (rc == 0)
		return NEED_MORE;
	http_trace(s->server, TARE_STEP_PARSE);
	http_exchange_reset(x);
	if (rc < 0) {
		refuse(s, x, -rc, http_rule_text(x->head.rule));
		return LINGER;
	}
	s->head_deadline_ns = 0;
	if (!x->head.chunked && x->head.content_length <= s->len - s->at - (size_t)rc) {
		x->body = (struct tare_str){s->buf + s->at + rc, (size_t)x->head.content_length};
		s->at += (size_t)rc + x->body.len;
		return answer(s, x);
	}
	// The body goes on behind the buffer: this request and what follows move to the front.
	session_consume(s, s->at);
	s->at = 0;
	// The slices pointed to where the bytes were: parsing again costs less than fixing them up, and happens only
	// here.
	rc = http_parse_head(s->buf, s->len, &s->server->grammar, &x->head);
	TARE_ASSERT(rc > 0);
	return answer_with_body(s, x);
}

// Answers all that is buffered, in writes of at most pipeline_max answers.
static enum outcome serve_buffered(struct session *s, struct tare_http_exchange *x)
{
	s->at = 0;
	enum outcome outcome = GO_ON;
	while (outcome == GO_ON && s->at < s->len) {
		outcome = serve_one(s, x);
		if (s->answered >= s->server->options.limits.pipeline_max && session_flush(s) < 0)
			return CLOSE;
	}
	if (s->at > 0)
		session_consume(s, s->at);
	s->at = 0;
	if (session_flush(s) < 0)
		return CLOSE;
	return outcome;
}

// 408 where a request had begun; nothing is said to a peer that sent nothing.
static enum outcome head_late(struct session *s, struct tare_http_exchange *x)
{
	http_exchange_reset(x);
	x->head.minor = 1;
	refuse(s, x, 408, "the request head did not arrive in time");
	return session_flush(s) < 0 ? CLOSE : LINGER;
}

// Who has begun a request and keeps its buffers waiting for the rest makes room when memory is at its limit.
static enum outcome no_room(struct session *s, struct tare_http_exchange *x)
{
	tare_bump(&http_worker_self(s->server)->stats.shed, 1);
	http_exchange_reset(x);
	x->head.minor = 1;
	refuse(s, x, 503, short_text);
	return session_flush(s) < 0 ? CLOSE : LINGER;
}

// A client that is over a limit hears 503 whether it asks or not; one that asks at once is read first, so that closing
// does not reset the connection under the answer.
static void refused_answer(struct session *s, struct tare_http_exchange *x)
{
	ssize_t n = session_read_more(s, tare_now_ns() + REFUSED_WAIT_MS * TARE_NS_PER_MS);
	if (n <= 0 && n != -ETIMEDOUT)
		return;
	http_exchange_reset(x);
	x->head.minor = 1;
	http_exchange_refuse(x, 503, http_is_short(s->server) ? short_text : "too many connections; try again later");
	if (http_conn_flush(s->conn, &s->out) == 0)
		linger(s);
}

// -EAGAIN when nothing comes in time.
static ssize_t session_await_first(struct session *s)
{
	int64_t deadline_ns = tare_now_ns() + FIRST_WAIT_MS * TARE_NS_PER_MS;
	ssize_t n = tare_stream_read(&s->conn->stream, s->buf, s->cap, deadline_ns);
	return n == -ETIMEDOUT ? -EAGAIN : n;
}

// Reads once, without waiting unless a request has begun. NEED_MORE: nothing to serve, the connection may turn idle.
static enum outcome fill(struct session *s, struct tare_http_exchange *x)
{
	size_t space = s->cap - s->len;
	ssize_t n = tare_stream_try_read(&s->conn->stream, s->buf + s->len, space);
	bool draining = n == -EAGAIN && atomic_load_explicit(&s->server->draining, memory_order_relaxed);
	if (TARE_UNLIKELY(draining)) { // the look that decides: nothing may be on its way to us
		tare_fd_settle(&s->conn->stream.fd);
		n = tare_stream_try_read(&s->conn->stream, s->buf + s->len, space);
	}
	// A client that was accepted just before the drain is given the time to say what it came for.
	if (n == -EAGAIN && !s->conn->heard && draining)
		n = session_await_first(s);
	if (n == -EAGAIN && s->len == 0)
		return NEED_MORE;
	if (n == -EAGAIN && http_is_short(s->server))
		return no_room(s, x);
	if (n == -EAGAIN) {
		if (s->head_deadline_ns == 0)
			s->head_deadline_ns = tare_time_after(tare_now_ns(), s->server->options.limits.head_timeout_ns);
		n = tare_stream_read(&s->conn->stream, s->buf + s->len, space, s->head_deadline_ns);
		if (n == -ETIMEDOUT)
			return head_late(s, x);
	}
	http_trace(s->server, TARE_STEP_READ);
	if (n <= 0) {
		if (n < 0 && n != -ECONNRESET)
			tare_bump(&http_worker_self(s->server)->stats.errors_io, 1);
		return CLOSE;
	}
	s->conn->heard = true;
	s->len += (size_t)n;
	s->began_ns = tare_now_coarse_ns();
	s->drained = (size_t)n < space && !atomic_load_explicit(&s->conn->stream.fd.hangup, memory_order_relaxed);
	return GO_ON;
}

// Until the connection should be closed (false) or has nothing left to serve (true).
static bool session_run(struct session *s)
{
	struct http_header headers[HTTP_HEADERS_CAP];
	struct tare_http_exchange x = {.conn = s->conn, .out = &s->out};
	http_head_init(&x.head, headers, HTTP_HEADERS_CAP);
	if (s->conn->refused) {
		refused_answer(s, &x);
		return false;
	}
	for (;;) {
		enum outcome outcome = fill(s, &x);
		if (outcome == NEED_MORE) {
			// The last answer may still be on its way, and a request that comes to a closed socket would
			// cut it off.
			if (s->served && atomic_load_explicit(&s->server->draining, memory_order_relaxed))
				linger(s);
			return true;
		}
		if (outcome == GO_ON)
			outcome = serve_buffered(s, &x);
		if (outcome == LINGER)
			linger(s);
		if (outcome == LINGER || outcome == CLOSE)
			return false;
		// A server that drains looks once more before it closes.
		if (s->drained && s->len == 0 && !atomic_load_explicit(&s->server->draining, memory_order_relaxed))
			return true;
		// A client that always has more on its way must not keep the worker's other connections waiting.
		tare_breathe(tare_now_ns());
	}
}

static bool session_begin(struct session *s, struct http_conn *conn)
{
	*s = (struct session){.conn = conn, .server = conn->server, .cap = HTTP_BUFFER_BYTES};
	struct http_buffers *buffers = tare_pool_take(conn->server->buffers);
	http_trace(s->server, TARE_STEP_BUFFERS);
	if (buffers == NULL)
		return false;
	s->buf = buffers->in;
	s->out = (struct http_out){.buffers = buffers, .ptr = buffers->out, .cap = HTTP_BUFFER_BYTES};
	return true;
}

static void session_end(struct session *s)
{
	if (s->out.grown)
		tare_free(s->out.ptr);
	if (s->out.buffers == NULL)
		return;
	if (s->conn->arena != NULL)
		http_arena_end(s->conn, false);
	tare_pool_give(s->server->buffers, s->out.buffers);
}

static int conn_task(void *arg)
{
	struct http_conn *conn = arg;
	struct tare_http_server *server = conn->server;
	for (;;) {
		struct session session;
		bool keep = session_begin(&session, conn) && session_run(&session);
		session_end(&session);
		http_trace(server, TARE_STEP_RESET);
		if (!keep || conn->expired || atomic_load_explicit(&server->draining, memory_order_relaxed)) {
			conn_close(conn);
			return 0;
		}
		atomic_store_explicit(&conn->idle_deadline_ns,
				      tare_time_after(tare_now_coarse_ns(), server->options.limits.idle_timeout_ns),
				      memory_order_relaxed);
		atomic_fetch_add_explicit(&server->idle, 1, memory_order_relaxed);
		if (tare_fd_idle(&conn->stream.fd, on_ready))
			return 0; // the poller's from here on
		atomic_fetch_sub_explicit(&server->idle, 1, memory_order_relaxed);
	}
}
