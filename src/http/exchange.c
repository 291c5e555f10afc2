// SPDX-License-Identifier: MIT
//
// One request's answer, written straight into the connection's output buffer behind the answers before it.
//
//   out   | earlier answers … | status line, fields | Content-Length:        245 | CRLF | body …
//                             ^ answer_at                              ^ length_at        ^ body_at
//
// Content-Length is written when the body begins, as ten places that are filled in when the answer ends: leading blanks
// are optional whitespace to HTTP, and the head needs no second pass and the body no copy.
//
// Invariants
//   1. answer_at <= length_at <= body_at <= out->len <= out->cap.
//   2. Nothing of an answer leaves before it ends; earlier answers may, when room runs short.
// Threads: the connection's task.
#include "http/http_int.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static struct tare_tag heap_tag = TARE_TAG("http answers");

_Static_assert((int)TARE_HTTP_GET == (int)HTTP_GET && (int)TARE_HTTP_PATCH == (int)HTTP_PATCH &&
		   (int)TARE_HTTP_OPTIONS == (int)HTTP_OPTIONS,
	       "the public methods are the parser's");

enum { LENGTH_PLACES = 10, HEAD_ROOM = 512, DRAIN_LOOK_MS = 100 };

void http_exchange_reset(struct tare_http_exchange *x)
{
	x->stage = X_EMPTY;
	x->close = false;
	x->no_body = false;
	x->starved = false;
	x->answer_at = x->out->len;
	x->length_at = x->body_at = 0;
	x->body = (struct tare_str){0};
}

// ---- the request --------------------------------------------------------------------------------------------------

enum tare_http_method tare_http_method(const struct tare_http_exchange *x)
{
	return (enum tare_http_method)x->head.method;
}

struct tare_str tare_http_path(const struct tare_http_exchange *x)
{
	return x->head.path;
}

struct tare_str tare_http_query(const struct tare_http_exchange *x)
{
	return x->head.query;
}

struct tare_str tare_http_body(const struct tare_http_exchange *x)
{
	return x->body;
}

bool tare_http_header_get(const struct tare_http_exchange *x, const char *name, struct tare_str *ret_value)
{
	const struct http_header *header = http_header_find(&x->head, (struct tare_str){name, strlen(name)});
	if (header == NULL)
		return false;
	*ret_value = header->value;
	return true;
}

bool tare_http_query_get(struct tare_str query, struct tare_str name, struct tare_str *ret_value)
{
	return http_query_get(query, name, ret_value);
}

const char *tare_http_status_text(int status)
{
	return http_status_text(status);
}

// ---- room ---------------------------------------------------------------------------------------------------------

// Earlier answers leave, and this one moves to the front.
static void make_way(struct tare_http_exchange *x)
{
	struct http_out *out = x->out;
	size_t mine = out->len - x->answer_at;
#ifdef TARE_DEBUG
	(void)tare_heap_forbid(NULL); // others may run meanwhile
#endif
	struct http_out earlier = {.ptr = out->ptr, .len = x->answer_at, .rc = out->rc};
	out->rc = http_conn_flush(x->conn, &earlier);
	memmove(out->ptr, out->ptr + x->answer_at, mine);
	out->len = mine;
	x->length_at -= x->length_at != 0 ? x->answer_at : 0;
	x->body_at -= x->body_at != 0 ? x->answer_at : 0;
	x->answer_at = 0;
}

static bool grow(struct tare_http_exchange *x, size_t want)
{
	struct http_out *out = x->out;
	size_t limit = x->conn->server->options.limits.answer_bytes_max + HEAD_ROOM;
	size_t cap = 2 * out->cap;
	while (cap < out->len + want)
		cap *= 2;
	cap = TARE_MIN(cap, limit);
	if (out->len + want > cap)
		return false;
	char *ptr = tare_alloc(&heap_tag, cap);
	x->starved = ptr == NULL;
	if (ptr == NULL)
		return false;
	memcpy(ptr, out->ptr, out->len);
	if (out->grown)
		tare_free(out->ptr);
	out->ptr = ptr;
	out->cap = cap;
	out->grown = true;
	return true;
}

// Room for want bytes at out->len. Blocks only when earlier answers have to leave first.
static bool room(struct tare_http_exchange *x, size_t want)
{
	struct http_out *out = x->out;
	if (TARE_LIKELY(out->cap - out->len >= want))
		return true;
	if (x->answer_at > 0)
		make_way(x);
	if (out->rc < 0)
		return false; // nobody will read it
	return out->cap - out->len >= want || grow(x, want);
}

static void put(struct tare_http_exchange *x, const char *ptr, size_t len)
{
	memcpy(x->out->ptr + x->out->len, ptr, len);
	x->out->len += len;
}

#define PUT(x, literal) put(x, literal, sizeof(literal) - 1)

static void fail(struct tare_http_exchange *x)
{
	x->out->len = x->answer_at;
	x->stage = X_FAILED;
}

// ---- the head -----------------------------------------------------------------------------------------------------

static void put_date(struct tare_http_exchange *x)
{
	struct http_worker_stats *stats = &http_worker_self(x->conn->server)->stats;
	// The poller's clock says when a second has passed; only then the calendar is asked.
	int64_t second = tare_now_coarse_ns() / TARE_NS_PER_S;
	if (TARE_UNLIKELY(second != stats->date_s || stats->date[0] == '\0')) {
		time_t now_s = time(NULL);
		struct tm tm;
		gmtime_r(&now_s, &tm);
		strftime(stats->date, sizeof stats->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
		stats->date_s = second;
	}
	put(x, stats->date, 29);
}

void tare_http_start(struct tare_http_exchange *x, int status, const char *content_type)
{
	TARE_ASSERT(x->stage == X_EMPTY || x->stage == X_FAILED);
	TARE_ASSERT(status >= 200 && status <= 599);
	x->status = status;
	x->stage = X_HEAD;
	x->no_body |= status == 204 || status == 304;
	size_t type_len = content_type != NULL ? strlen(content_type) : 0;
	if (!room(x, HEAD_ROOM + type_len)) {
		fail(x);
		return;
	}
	if (TARE_LIKELY(status == 200)) {
		PUT(x, "HTTP/1.1 200 OK\r\nServer: tare\r\nDate: ");
	} else {
		PUT(x, "HTTP/1.1 ");
		x->out->len += tare_format_u64(x->out->ptr + x->out->len, (uint64_t)status);
		PUT(x, " ");
		const char *text = http_status_text(status);
		put(x, text, strlen(text));
		PUT(x, "\r\nServer: tare\r\nDate: ");
	}
	put_date(x);
	PUT(x, "\r\n");
	if (content_type != NULL) {
		PUT(x, "Content-Type: ");
		put(x, content_type, type_len);
		PUT(x, "\r\n");
	}
}

void tare_http_header(struct tare_http_exchange *x, const char *name, const char *value)
{
	if (x->stage == X_FAILED)
		return;
	TARE_ASSERT(x->stage == X_HEAD);
	TARE_ASSERT(strpbrk(name, "\r\n") == NULL && strpbrk(value, "\r\n") == NULL);
	size_t name_len = strlen(name), value_len = strlen(value);
	if (!room(x, HEAD_ROOM + name_len + value_len)) {
		fail(x);
		return;
	}
	put(x, name, name_len);
	PUT(x, ": ");
	put(x, value, value_len);
	PUT(x, "\r\n");
}

static void head_end(struct tare_http_exchange *x)
{
	if (!room(x, HEAD_ROOM)) {
		fail(x);
		return;
	}
	if (x->status != 204 && x->status != 304) {
		PUT(x, "Content-Length: ");
		x->length_at = x->out->len;
		PUT(x, "          \r\n");
	}
	if (x->close)
		PUT(x, "Connection: close\r\n");
	else if (x->head.minor == 0)
		PUT(x, "Connection: keep-alive\r\n");
	PUT(x, "\r\n");
	x->body_at = x->out->len;
	x->stage = X_BODY;
}

// ---- the body -----------------------------------------------------------------------------------------------------

char *tare_http_reserve(struct tare_http_exchange *x, size_t want)
{
	TARE_ASSERT(x->stage != X_EMPTY);
	if (x->stage == X_HEAD)
		head_end(x);
	if (x->stage == X_FAILED)
		return NULL;
	if (x->out->len - x->body_at + want > x->conn->server->options.limits.answer_bytes_max || !room(x, want)) {
		fail(x);
		return NULL;
	}
	return x->out->ptr + x->out->len;
}

void tare_http_commit(struct tare_http_exchange *x, size_t len)
{
	TARE_ASSERT(x->stage == X_BODY && len <= x->out->cap - x->out->len);
	x->out->len += len;
}

void tare_http_write(struct tare_http_exchange *x, const void *ptr, size_t len)
{
	char *to = tare_http_reserve(x, len);
	if (to == NULL)
		return;
	memcpy(to, ptr, len);
	tare_http_commit(x, len);
}

void tare_http_printf(struct tare_http_exchange *x, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	TARE_ASSERT(len >= 0);
	char *to = tare_http_reserve(x, (size_t)len + 1);
	if (to != NULL) {
		vsnprintf(to, (size_t)len + 1, format, again);
		tare_http_commit(x, (size_t)len);
	}
	va_end(again);
}

static int text_write(void *arg, const char *ptr, size_t len)
{
	struct tare_http_exchange *x = arg;
	tare_http_write(x, ptr, len);
	return x->stage == X_FAILED ? -ENOMEM : 0;
}

struct tare_text tare_http_text(struct tare_http_exchange *x)
{
	return (struct tare_text){.write = text_write, .arg = x};
}

// ---- whole answers ------------------------------------------------------------------------------------------------

// Text as a JSON string's inside; control bytes as \u00XX.
static void put_json(struct tare_http_exchange *x, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			tare_http_printf(x, "\\%c", c);
		else if (c < 0x20)
			tare_http_printf(x, "\\u%04x", c);
		else
			tare_http_write(x, text, 1);
	}
}

static void problem(struct tare_http_exchange *x, int status, const char *detail)
{
	tare_http_start(x, status, "application/problem+json");
	if (status == 503)
		tare_http_header(x, "Retry-After", "1");
	tare_http_printf(x, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"",
			 http_status_text(status), status);
	put_json(x, detail);
	tare_http_printf(x, "\"}\n");
}

void tare_http_problem(struct tare_http_exchange *x, int status, const char *detail_format, ...)
{
	char detail[512];
	va_list args;
	va_start(args, detail_format);
	vsnprintf(detail, sizeof detail, detail_format, args);
	va_end(args);
	problem(x, status, detail);
}

int tare_http_wait(struct tare_http_exchange *x, int64_t deadline_ns)
{
	TARE_ASSERT(x->stage == X_EMPTY);
	struct tare_fd *fd = &x->conn->stream.fd;
	bool event = false;
	int rc = 0;
	if (x->answer_at > 0)
		make_way(x);
	for (;;) {
		int64_t now_ns = tare_now_ns();
		if (atomic_load_explicit(&fd->hangup, memory_order_relaxed))
			rc = -EPIPE;
		else if (atomic_load_explicit(&x->conn->server->draining, memory_order_relaxed))
			rc = -ECANCELED;
		if (rc < 0 || now_ns >= deadline_ns)
			break;
		rc = tare_fd_wait(fd, TARE_READ, TARE_MIN(deadline_ns, now_ns + DRAIN_LOOK_MS * TARE_NS_PER_MS));
		event |= rc == 0;
		if (rc == -ETIMEDOUT)
			rc = 0;
		if (rc < 0)
			break;
	}
	if (event) // it may have been the next request: whoever reads next is to find it
		tare_fd_kick(fd, TARE_READ);
	return rc;
}

void http_exchange_refuse(struct tare_http_exchange *x, int status, const char *detail)
{
	x->close = true;
	problem(x, status, detail);
	http_exchange_end(x);
}

void http_exchange_end(struct tare_http_exchange *x)
{
	if (x->stage == X_EMPTY || x->stage == X_FAILED) {
		bool failed = x->stage == X_FAILED;
		x->close |= failed;
		x->stage = X_EMPTY;
		if (failed && x->starved)
			problem(x, 503, "out of memory for the answer");
		else
			problem(x, 500,
				failed ? "the answer did not fit the server's answer limit"
				       : "the handler gave no answer");
	}
	if (x->stage == X_HEAD)
		head_end(x);
	if (x->stage == X_FAILED) { // not even room for that
		x->close = true;
		return;
	}
	size_t body_len = x->out->len - x->body_at;
	if (x->length_at != 0) {
		char digits[20];
		size_t n = tare_format_u64(digits, body_len);
		TARE_ASSERT(n <= LENGTH_PLACES);
		memcpy(x->out->ptr + x->length_at + LENGTH_PLACES - n, digits, n);
	}
	if (x->no_body)
		x->out->len = x->body_at;
}
