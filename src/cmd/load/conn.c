// SPDX-License-Identifier: MIT
//
// One connection's task: straight-line code that sends, reads the answer and records.
//
// Open model: a connection waits for an arrival (load_conn.work) or takes the earliest that is queued; latency runs
// from the intended time. Closed model: the next request follows the last answer; latency runs from the send. A
// connection that fails is opened anew, with a pause that doubles; the arrival it held counts as an error, never twice.
#include "cmd/load/load.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

enum { PAUSE_MS_MIN = 1, PAUSE_MS_MAX = 500 };

static enum load_error error_kind(int rc, bool connecting)
{
	if (rc == -ETIMEDOUT)
		return LOAD_ERROR_TIMEOUT;
	if (connecting)
		return LOAD_ERROR_CONNECT;
	switch (rc) {
	case -ECONNRESET:
	case -EPIPE:
		return LOAD_ERROR_RESET;
	case -ENODATA:
		return LOAD_ERROR_CLOSED;
	case -EBADMSG:
		return LOAD_ERROR_MALFORMED;
	default:
		return LOAD_ERROR_OTHER;
	}
}

static void conn_close(struct load_conn *conn)
{
	if (conn->open)
		tare_stream_close(&conn->stream);
	conn->open = false;
	conn->len = 0;
	conn->answer = (struct load_answer){0};
}

static int conn_open(struct load_conn *conn, int64_t deadline_ns)
{
	if (conn->open)
		return 0;
	int rc = tare_stream_dial(&conn->stream, &conn->generator->run->tmpl->addr, deadline_ns);
	conn->open = rc == 0;
	return rc;
}

// Reads until one answer is whole. 0, -ENODATA at the end of the stream, or another negative errno.
static int read_answer(struct load_conn *conn, int64_t deadline_ns)
{
	struct load_stats *stats = &conn->generator->stats;
	bool head_only = conn->generator->run->tmpl->head;
	for (;;) {
		size_t used = 0;
		int rc = conn->len > 0 ? load_answer_feed(&conn->answer, head_only, conn->buf, conn->len, &used) : 0;
		conn->len -= used;
		if (conn->len > 0 && used > 0)
			memmove(conn->buf, conn->buf + used, conn->len);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		if (conn->len == LOAD_READ_BYTES)
			return -EBADMSG; // a head or line longer than the buffer
		ssize_t n =
		    tare_stream_read(&conn->stream, conn->buf + conn->len, LOAD_READ_BYTES - conn->len, deadline_ns);
		if (n == 0 && conn->answer.state == ANSWER_TO_END)
			return 0;
		if (n <= 0)
			return n == 0 ? -ENODATA : (int)n;
		tare_bump(&stats->bytes, (unsigned long long)n);
		conn->len += (size_t)n;
	}
}

static void record(struct load_conn *conn, int64_t intended_ns, int64_t sent_ns, int64_t done_ns)
{
	struct load_generator *g = conn->generator;
	if (!load_in_window(g->run, intended_ns))
		return;
	tare_bump(&g->stats.answered, 1);
	tare_bump(&g->stats.status[conn->answer.status], 1);
	tare_hist_record(g->stats.hist[LOAD_LATENCY], (uint64_t)(done_ns - intended_ns));
	tare_hist_record(g->stats.hist[LOAD_SERVICE], (uint64_t)(done_ns - sent_ns));
	tare_hist_record(g->stats.hist[LOAD_QUEUE], (uint64_t)TARE_MAX(sent_ns - intended_ns, INT64_C(0)));
}

// Opens, sends n rendered requests and reads as many answers. The number answered; *ret_rc says why it stopped short.
static uint64_t exchange(struct load_conn *conn, size_t len, uint64_t n, int64_t intended_ns, int *ret_rc,
			 bool *ret_connecting)
{
	struct load_generator *g = conn->generator;
	int64_t sent_ns = tare_now_ns();
	int64_t deadline_ns = sent_ns + g->run->options->timeout_ns;
	*ret_connecting = !conn->open;
	*ret_rc = conn_open(conn, deadline_ns);
	if (*ret_rc < 0)
		return 0;
	*ret_connecting = false;
	*ret_rc = tare_stream_write(&conn->stream, conn->request, len, deadline_ns);
	tare_bump(&g->stats.sent, n);
	uint64_t answered = 0;
	int64_t done_ns = 0;
	while (*ret_rc == 0 && answered < n) {
		size_t before = conn->len;
		*ret_rc = read_answer(conn, deadline_ns);
		if (*ret_rc < 0)
			break;
		// Answers that came in one read share its time.
		if (answered == 0 || before == 0 || conn->len > before)
			done_ns = tare_now_ns();
		record(conn, intended_ns != 0 ? intended_ns : sent_ns, sent_ns, done_ns);
		answered++;
		if (conn->answer.close) {
			conn_close(conn);
			*ret_rc = answered < n ? -ENODATA : 0;
		}
	}
	return answered;
}

static void fail(struct load_conn *conn, int rc, bool connecting, uint64_t n, int64_t intended_ns, int64_t *pause_ms)
{
	struct load_generator *g = conn->generator;
	conn_close(conn);
	tare_bump(&g->stats.reconnects, 1);
	if (load_in_window(g->run, intended_ns) && !g->closing)
		tare_bump(&g->stats.errors[error_kind(rc, connecting)], n);
	if (connecting && !g->closing) {
		tare_sleep(*pause_ms * TARE_NS_PER_MS);
		*pause_ms = TARE_MIN(2 * *pause_ms, (int64_t)PAUSE_MS_MAX);
	}
}

// ---- the open model -----------------------------------------------------------------------------------------------

// The next arrival for this connection; false: the run is over.
static bool next_arrival(struct load_conn *conn)
{
	struct load_generator *g = conn->generator;
	if (g->closing)
		return false;
	if (load_queue_pop(g, &conn->intended_ns))
		return true;
	conn->has_work = false;
	conn->idle_next = g->idle;
	g->idle = conn;
	while (!conn->has_work && !g->closing)
		tare_event_wait(&conn->work);
	return conn->has_work;
}

int load_conn_open_task(void *arg)
{
	struct load_conn *conn = arg;
	struct load_generator *g = conn->generator;
	int64_t pause_ms = PAUSE_MS_MIN;
	while (next_arrival(conn)) {
		size_t len =
		    load_template_render(g->run->tmpl, &g->rng, &g->seq, g->run->options->threads, conn->request);
		int rc;
		bool connecting;
		if (exchange(conn, len, 1, conn->intended_ns, &rc, &connecting) == 1)
			pause_ms = PAUSE_MS_MIN;
		else
			fail(conn, rc, connecting, 1, conn->intended_ns, &pause_ms);
		tare_wg_done(&g->in_flight);
	}
	conn_close(conn);
	return 0;
}

// ---- the closed model ---------------------------------------------------------------------------------------------

int load_conn_closed_task(void *arg)
{
	struct load_conn *conn = arg;
	struct load_generator *g = conn->generator;
	const struct load_options *o = g->run->options;
	int64_t pause_ms = PAUSE_MS_MIN;
	for (;;) {
		int64_t now_ns = tare_now_ns();
		if (now_ns >= g->run->end_ns || g->closing || atomic_load_explicit(&g->run->stop, memory_order_relaxed))
			break;
		size_t len = 0;
		for (uint64_t i = 0; i < o->pipeline; i++)
			len += load_template_render(g->run->tmpl, &g->rng, &g->seq, o->threads, conn->request + len);
		int rc;
		bool connecting;
		uint64_t answered = exchange(conn, len, o->pipeline, 0, &rc, &connecting);
		if (answered == o->pipeline)
			pause_ms = PAUSE_MS_MIN;
		else
			fail(conn, rc, connecting, o->pipeline - answered, now_ns, &pause_ms);
	}
	conn_close(conn);
	return 0;
}

// ---- the probe ----------------------------------------------------------------------------------------------------

// What the server says is wrong: the "detail" of a problem document, if the body at body is one.
static void problem_detail(const char *body, size_t len, struct tare_error *ret)
{
	json_t *problem = json_loadb(body, len, JSON_DISABLE_EOF_CHECK, NULL);
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	if (detail != NULL)
		snprintf(ret->text, sizeof ret->text, "%s", detail);
	json_decref(problem);
}

// As read_answer, but what was read stays in buf as long as there is room, for its body to be looked at.
static int read_probe(struct load_conn *conn, bool head_only, int64_t deadline_ns, struct tare_error *ret_detail)
{
	size_t taken = 0, forgotten = 0;
	for (;;) {
		size_t used;
		int rc = load_answer_feed(&conn->answer, head_only, conn->buf + taken, conn->len - taken, &used);
		taken += used;
		if (rc == 1 && conn->answer.status >= 400 && forgotten == 0) {
			const char *body = memmem(conn->buf, taken, "\r\n\r\n", 4);
			if (body != NULL)
				problem_detail(body + 4, (size_t)(conn->buf + taken - body) - 4, ret_detail);
		}
		if (rc != 0)
			return rc < 0 ? rc : 0;
		if (conn->len == LOAD_READ_BYTES) {
			if (taken == 0)
				return -EBADMSG; // a head or line longer than the buffer
			conn->len -= taken;
			memmove(conn->buf, conn->buf + taken, conn->len);
			forgotten += taken;
			taken = 0;
		}
		ssize_t n =
		    tare_stream_read(&conn->stream, conn->buf + conn->len, LOAD_READ_BYTES - conn->len, deadline_ns);
		if (n == 0 && conn->answer.state == ANSWER_TO_END)
			return 0;
		if (n <= 0)
			return n == 0 ? -ENODATA : (int)n;
		conn->len += (size_t)n;
	}
}

int load_probe(const struct load_options *options, const struct load_template *tmpl, struct tare_error *ret_detail)
{
	static struct load_run run;
	static struct load_generator generator;
	static struct load_conn conn; // static: a descriptor's storage outlives the runtime
	static char request[LOAD_REQUEST_BYTES_MAX + LOAD_PIECES_MAX * 20], buf[LOAD_READ_BYTES];
	ret_detail->text[0] = '\0';
	run = (struct load_run){.options = options, .tmpl = tmpl};
	generator.run = &run;
	conn.generator = &generator;
	conn.request = request;
	conn.buf = buf;
	tare_rng_init(&generator.rng, options->seed);
	int64_t deadline_ns = tare_now_ns() + options->timeout_ns;
	size_t len = load_template_render(tmpl, &generator.rng, &generator.seq, 1, request);
	int rc = conn_open(&conn, deadline_ns);
	if (rc == 0)
		rc = tare_stream_write(&conn.stream, request, len, deadline_ns);
	if (rc == 0)
		rc = read_probe(&conn, tmpl->head, deadline_ns, ret_detail);
	int status = conn.answer.status;
	conn_close(&conn);
	return rc < 0 ? rc : status;
}
