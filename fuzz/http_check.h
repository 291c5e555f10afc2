// SPDX-License-Identifier: MIT
//
// What the fuzzer and the unit tests both hold against the HTTP parser: predicates that say in words what does not
// hold. One thread. Every function returns NULL, or a static text that names the broken invariant.
#ifndef TARE_FUZZ_HTTP_CHECK_H
#define TARE_FUZZ_HTTP_CHECK_H

#include "http/parse.h"

#include <stdlib.h>

#define CHECK_HEADERS 64

struct checked_head {
	struct http_head head;
	struct http_header headers[CHECK_HEADERS];
	int rc;
};

static inline void check_parse(struct checked_head *checked, const char *buf, size_t len,
			       const struct http_limits *limits)
{
	http_head_init(&checked->head, checked->headers, CHECK_HEADERS);
	checked->rc = http_parse_head(buf, len, limits, &checked->head);
}

static inline bool check_same_slice(struct tare_str a, const char *a_buf, struct tare_str b, const char *b_buf)
{
	if ((a.ptr == NULL) != (b.ptr == NULL) || !tare_str_eq(a, b))
		return false;
	// The one slice that may lie elsewhere is the static path.
	return a.ptr == NULL || a.ptr - a_buf == b.ptr - b_buf || tare_str_eq(a, TARE_STR("/"));
}

// Two parses of equal bytes, in a_buf and b_buf, said the same.
static inline const char *check_same_head(const struct checked_head *a, const char *a_buf, const struct checked_head *b,
					  const char *b_buf)
{
	const struct http_head *x = &a->head, *y = &b->head;
	if (a->rc != b->rc)
		return "the results differ";
	if (a->rc < 0 && x->rule != y->rule)
		return "the broken rules differ";
	if (a->rc <= 0)
		return NULL;
	if (x->header_count != y->header_count || x->method != y->method || x->form != y->form ||
	    x->minor != y->minor || x->content_length != y->content_length ||
	    x->has_content_length != y->has_content_length || x->head_bytes != y->head_bytes ||
	    x->chunked != y->chunked || x->keep_alive != y->keep_alive || x->expect_continue != y->expect_continue)
		return "the facts differ";
	const struct tare_str *const xs[] = {&x->method_text, &x->target, &x->path, &x->query, &x->host, &x->upgrade};
	const struct tare_str *const ys[] = {&y->method_text, &y->target, &y->path, &y->query, &y->host, &y->upgrade};
	for (size_t i = 0; i < TARE_ARRAY_LEN(xs); i++)
		if (!check_same_slice(*xs[i], a_buf, *ys[i], b_buf))
			return "the slices differ";
	for (unsigned i = 0; i < x->header_count; i++)
		if (!check_same_slice(x->headers[i].name, a_buf, y->headers[i].name, b_buf) ||
		    !check_same_slice(x->headers[i].value, a_buf, y->headers[i].value, b_buf))
			return "the header fields differ";
	return NULL;
}

static inline bool check_inside(struct tare_str slice, const char *buf, size_t len)
{
	return slice.ptr == NULL ||
	       (slice.ptr >= buf && slice.ptr <= buf + len && slice.len <= (size_t)(buf + len - slice.ptr));
}

// An accepted head keeps its promises.
static inline const char *check_head(const struct checked_head *checked, const char *buf,
				     const struct http_limits *limits)
{
	const struct http_head *head = &checked->head;
	size_t len = head->head_bytes;
	if (checked->rc != (int)len || len < 4 || len > limits->head_bytes_max)
		return "head_bytes is not the result";
	if (memcmp(buf + len - 4, "\r\n\r\n", 4) != 0)
		return "the head does not end in an empty line";
	if (head->scanned != 0 || head->attempted != 0)
		return "the head is not ready for the next one";
	bool inside = check_inside(head->method_text, buf, len) && check_inside(head->target, buf, len) &&
		      (check_inside(head->path, buf, len) || tare_str_eq(head->path, TARE_STR("/"))) &&
		      check_inside(head->query, buf, len) && check_inside(head->host, buf, len) &&
		      check_inside(head->upgrade, buf, len);
	for (unsigned i = 0; i < head->header_count; i++) {
		struct tare_str name = head->headers[i].name, value = head->headers[i].value;
		inside = inside && check_inside(name, buf, len) && check_inside(value, buf, len);
		if (name.len == 0 || name.ptr[name.len] != ':')
			return "a field's name does not end at its colon";
		for (size_t k = 0; k < value.len; k++)
			if ((unsigned char)value.ptr[k] < ' ' && value.ptr[k] != '\t')
				return "a control byte in a field's value";
	}
	if (!inside)
		return "a slice lies outside the head";
	if (head->chunked && head->has_content_length)
		return "two framings at once";
	if (head->content_length > limits->body_bytes_max || head->target.len > limits->target_bytes_max ||
	    head->header_count > limits->headers_max)
		return "a limit was passed";
	return NULL;
}

// Pieces said "more" so far where the whole said something. A mistake may be told late, but not later than when the
// bytes have doubled, and then it must be the same one.
static inline const char *check_late(struct checked_head *pieces, const struct checked_head *whole, const char *buf,
				     size_t len, const struct http_limits *limits)
{
	if (pieces->rc != 0 || whole->rc >= 0)
		return check_same_head(whole, buf, pieces, buf);
	char *more = malloc(2 * len);
	if (more == NULL)
		abort();
	memcpy(more, buf, len);
	memset(more + len, 'x', len);
	pieces->rc = http_parse_head(more, 2 * len, limits, &pieces->head);
	const char *wrong = check_same_head(whole, buf, pieces, more);
	free(more);
	return wrong;
}

// The bytes in two pieces, cut at `cut` and with the buffer moved in between, give what they gave whole.
static inline const char *check_cut(const struct checked_head *whole, const char *buf, size_t len, size_t cut,
				    const struct http_limits *limits)
{
	static struct checked_head pieces;
	// Of just the size that is there: a read past the end is a crash under AddressSanitizer.
	char *first = malloc(TARE_MAX(cut, 1));
	if (first == NULL)
		abort();
	memcpy(first, buf, cut);
	check_parse(&pieces, first, cut, limits);
	free(first);
	if (whole->rc >= 0 && pieces.rc < 0)
		return "an error on a prefix of what is no error";
	if (pieces.rc > 0)
		return pieces.rc == whole->rc ? NULL : "a prefix was accepted as another head";
	if (pieces.rc < 0)
		return check_same_head(whole, buf, &pieces, buf);
	pieces.rc = http_parse_head(buf, len, limits, &pieces.head);
	return check_late(&pieces, whole, buf, len, limits);
}

// A byte at a time with one head, until it says something.
static inline const char *check_dribble(const struct checked_head *whole, const char *buf, size_t len,
					const struct http_limits *limits)
{
	static struct checked_head slow;
	http_head_init(&slow.head, slow.headers, CHECK_HEADERS);
	slow.rc = 0;
	for (size_t there = 1; there <= len && slow.rc == 0; there++)
		slow.rc = http_parse_head(buf, there, limits, &slow.head);
	return check_late(&slow, whole, buf, len, limits);
}

struct checked_body {
	int rc;
	enum http_rule rule;
	size_t used, data_len;
	char *data; // malloc'd, len bytes of room
};

// Decodes buf in pieces of `step` bytes.
static inline void check_decode(struct checked_body *body, const char *buf, size_t len, size_t step,
				const struct http_limits *limits)
{
	struct http_chunked chunked;
	http_chunked_init(&chunked, limits);
	*body = (struct checked_body){.data = malloc(len + 1)};
	if (body->data == NULL)
		abort();
	while (body->used < len && body->rc == 0) {
		size_t used = 0, piece = TARE_MIN(step, len - body->used);
		struct tare_str data = {NULL, 0};
		body->rc = http_chunked_next(&chunked, buf + body->used, piece, &used, &data);
		if (body->rc < 0)
			break;
		if (data.len > 0)
			memcpy(body->data + body->data_len, data.ptr, data.len);
		body->data_len += data.len;
		body->used += used;
	}
	body->rule = chunked.rule;
}

// The body in pieces of `step`, and in place, is what it is whole.
static inline const char *check_body(const char *buf, size_t len, size_t step, const struct http_limits *limits)
{
	struct checked_body whole, pieces;
	const char *wrong = NULL;
	check_decode(&whole, buf, len, len, limits);
	check_decode(&pieces, buf, len, step, limits);
	if (whole.rc != pieces.rc || whole.rule != pieces.rule)
		wrong = "the body's verdict depends on how it is cut";
	else if (whole.data_len != pieces.data_len || memcmp(whole.data, pieces.data, whole.data_len) != 0)
		wrong = "the body depends on how it is cut";
	else if (whole.rc >= 0 && whole.used != pieces.used)
		wrong = "the body's end depends on how it is cut";
	else if (whole.data_len > limits->body_bytes_max)
		wrong = "the body is longer than its limit";
	struct http_chunked chunked;
	http_chunked_init(&chunked, limits);
	char *copy = malloc(len + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, buf, len);
	size_t used = 0, data_len = 0;
	int rc = http_chunked_decode(&chunked, copy, len, &used, &data_len);
	if (wrong == NULL && (rc != whole.rc || chunked.rule != whole.rule))
		wrong = "in place, the verdict differs";
	if (wrong == NULL && rc >= 0 &&
	    (used != whole.used || data_len != whole.data_len || memcmp(copy, whole.data, data_len) != 0))
		wrong = "in place, the body differs";
	free(copy);
	free(whole.data);
	free(pieces.data);
	return wrong;
}

#endif
