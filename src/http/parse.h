// SPDX-License-Identifier: MIT
//
// http: the HTTP/1.x request parser (RFC 9110, RFC 9112). Pure functions over the caller's bytes.
//
// How a connection uses it:
//
//	recv into buf
//	while ((rc = http_parse_head(buf + done, len - done, &limits, &head)) > 0)
//		handle the request, read its body, done += rc + body
//	rc == 0: read more bytes behind the ones that are there, and call again with the same start
//	rc < 0: answer with status -rc, say http_rule_text(head.rule), close
//
// Invariants:
//   1. No copies, no allocation, no I/O, no state but what the caller holds. Nothing past buf + len is read.
//   2. Every slice of a head points into buf and lives as long as those bytes stay where they are. One exception: an
//      absolute-form target without a path has the static path "/".
//   3. The verdict does not depend on how the bytes arrived: an error on a prefix is the same error on all that begins
//      with it, and a head accepted in n bytes is accepted alike whatever follows. Only when a mistake in a head that
//      comes in pieces is told may differ: at the latest when the head ends or twice its bytes are there.
//   4. A head of n bytes costs O(n) in all, even one that arrives a byte at a time.
//   5. Where two readers could disagree about where a message ends, the message is refused with 400. After an error the
//      connection must be closed: where the next request would begin is not known.
//
// Threads: none of these functions shares anything. They depend on base alone.
//
// Rejected: a state machine a byte (it cannot skip 16 bytes at once, and it hides the grammar), callbacks (the caller
// wants the whole head or nothing), a lenient mode (each leniency is a request-smuggling bug in front of some proxy).
#ifndef TARE_HTTP_PARSE_H
#define TARE_HTTP_PARSE_H

#include <tare/base.h>

// Everything the parser refuses: name, HTTP status, and the text for a problem document.
#define HTTP_RULES(X)                                                                                                  \
	X(NONE, 0, "no rule was broken")                                                                               \
	X(EMPTY_LINES, 400, "too many empty lines before the request line")                                            \
	X(BARE_CR, 400, "a carriage return that no line feed follows")                                                 \
	X(BARE_LF, 400, "a line feed that no carriage return precedes")                                                \
	X(METHOD_SYNTAX, 400, "the method is not a token followed by one space")                                       \
	X(METHOD_UNKNOWN, 501, "the method is not one this server knows")                                              \
	X(TARGET_EMPTY, 400, "the request target is empty")                                                            \
	X(TARGET_LONG, 414, "the request target is longer than the limit")                                             \
	X(TARGET_SPACE, 400, "whitespace in the request target, or no HTTP version behind it")                         \
	X(TARGET_BYTE, 400, "the request target has a byte that must be percent-encoded")                              \
	X(TARGET_FRAGMENT, 400, "the request target has a fragment")                                                   \
	X(TARGET_FORM, 400, "the request target's form does not fit the method")                                       \
	X(TARGET_AUTHORITY, 400, "the request target's host or port is malformed")                                     \
	X(VERSION_MISSING, 400, "the request line has no HTTP version")                                                \
	X(VERSION_SYNTAX, 400, "the HTTP version is malformed")                                                        \
	X(VERSION_UNSUPPORTED, 505, "the HTTP version is not 1.x")                                                     \
	X(HEAD_LONG, 431, "the request head has more bytes than the limit")                                            \
	X(HEADER_COUNT, 431, "the request head has more header fields than the limit")                                 \
	X(HEADER_FOLD, 400, "a header line that begins with whitespace")                                               \
	X(HEADER_COLON, 400, "a header line without a colon")                                                          \
	X(NAME_EMPTY, 400, "a header field without a name")                                                            \
	X(NAME_SPACE, 400, "whitespace between a header field's name and its colon")                                   \
	X(NAME_BYTE, 400, "a byte in a header field's name that is not allowed in a token")                            \
	X(VALUE_BYTE, 400, "a control byte in a header field's value")                                                 \
	X(HOST_MISSING, 400, "an HTTP/1.1 request without a Host field")                                               \
	X(HOST_REPEATED, 400, "more than one Host field")                                                              \
	X(HOST_SYNTAX, 400, "the Host field is malformed")                                                             \
	X(LENGTH_SYNTAX, 400, "Content-Length is not one plain decimal number")                                        \
	X(LENGTH_RANGE, 400, "Content-Length does not fit 64 bits")                                                    \
	X(LENGTH_REPEATED, 400, "more than one Content-Length field")                                                  \
	X(LENGTH_AND_CODING, 400, "both Content-Length and Transfer-Encoding")                                         \
	X(CODING_VERSION, 400, "Transfer-Encoding in an HTTP/1.0 request")                                             \
	X(CODING_SYNTAX, 400, "Transfer-Encoding is not a list of plain tokens")                                       \
	X(CODING_REPEATED, 400, "chunked more than once in Transfer-Encoding")                                         \
	X(CODING_LAST, 400, "chunked is not the last transfer coding")                                                 \
	X(CODING_UNKNOWN, 501, "a transfer coding other than chunked")                                                 \
	X(EXPECT_UNKNOWN, 417, "an expectation other than 100-continue")                                               \
	X(BODY_LONG, 413, "the request body is longer than the limit")                                                 \
	X(CHUNK_SIZE, 400, "a chunk size that is not 1 to 16 hexadecimal digits")                                      \
	X(CHUNK_EXTENSION, 400, "a malformed chunk extension")                                                         \
	X(CHUNK_EXTENSIONS_LONG, 400, "the chunk extensions have more bytes than the limit")                           \
	X(CHUNK_END, 400, "a chunk's data is longer than its size says")                                               \
	X(TRAILER_LONG, 431, "the trailer section is longer than the limit")

enum http_rule {
#define HTTP_RULE_NAME(name, status, text) HTTP_RULE_##name,
	HTTP_RULES(HTTP_RULE_NAME)
#undef HTTP_RULE_NAME
	    HTTP_RULE_COUNT
};

// Static text; the rule's status, 0 for HTTP_RULE_NONE; the rule's name without its prefix, for tests and logs.
const char *http_rule_text(enum http_rule rule);
int http_rule_status(enum http_rule rule);
const char *http_rule_name(enum http_rule rule);

// The reason phrase of a status, "Unknown" for one that has none here. Static text.
const char *http_status_text(int status);

// ---- the request head ---------------------------------------------------------------------------------------------

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_CONNECT,
	HTTP_OPTIONS,
	HTTP_TRACE,
	HTTP_PATCH,
};

enum http_target_form {
	HTTP_TARGET_ORIGIN,    // /path?query
	HTTP_TARGET_ABSOLUTE,  // http://host/path?query
	HTTP_TARGET_AUTHORITY, // host:port, with CONNECT only
	HTTP_TARGET_ASTERISK,  // *, with OPTIONS only
};

struct http_limits {
	size_t head_bytes_max;   // empty lines before the request line included; at most INT_MAX. 431
	size_t target_bytes_max; // 414
	unsigned headers_max;    // the smaller of this and the caller's array. 431
	uint64_t body_bytes_max; // a declared length past it is 413 at once, a chunked body when it gets there
};

// Empty lines that are skipped before a request line (RFC 9112 2.2).
#define HTTP_EMPTY_LINES_MAX 4

struct http_header {
	struct tare_str name;  // as sent: compare with http_name_eq
	struct tare_str value; // without the whitespace around it; may be empty, may hold bytes 0x80 to 0xff
};

struct http_head {
	// http_head_init's, the caller's to change between heads
	struct http_header *headers;
	unsigned headers_cap;

	// below here: http_parse_head's; meaningful when it returned more than 0
	unsigned header_count;
	enum http_method method;
	enum http_target_form form;
	unsigned minor; // 0 or 1; HTTP/1.2 and later are read as 1.1 (RFC 9110 2.5)
	struct tare_str method_text;
	struct tare_str target;  // as sent
	struct tare_str path;    // without the query; "*" in asterisk form, empty in authority form
	struct tare_str query;   // behind the first '?', without it; ptr NULL where there is no '?'
	struct tare_str host;    // the target's authority where it has one, else the Host field; ptr NULL: neither
	struct tare_str upgrade; // the Upgrade field, where Connection names it and the version is 1.1; else ptr NULL
	uint64_t content_length; // 0 without has_content_length
	size_t head_bytes;       // what http_parse_head returned
	bool has_content_length;
	bool chunked;         // the body is chunked; never together with has_content_length
	bool keep_alive;      // what the client asks for, by version and Connection
	bool expect_continue; // HTTP/1.1 and Expect: 100-continue

	enum http_rule rule; // what was broken, when it returned less than 0

	// http_parse_head's own, for a head that comes in pieces. 0 between heads.
	size_t scanned;   // no head ends and no line is malformed within these first bytes
	size_t attempted; // bytes at the last full parse
};

// headers: room for headers_cap fields, the caller's for as long as the head is used.
static inline void http_head_init(struct http_head *head, struct http_header *headers, unsigned headers_cap)
{
	memset(head, 0, sizeof *head);
	head->headers = headers;
	head->headers_cap = headers_cap;
}

// buf: the first byte behind the last request; on a call after a 0, the same bytes and more (they may have moved).
// > 0: the bytes of the head, up to and with its empty line. 0: more bytes are needed; never once len reaches
// limits->head_bytes_max. < 0: minus the status to answer with, head->rule says why; the connection must be closed.
TARE_MUST_USE int http_parse_head(const char *buf, size_t len, const struct http_limits *limits,
				  struct http_head *head);

// Forgets a head that came in part, so that another one may be begun with the same struct.
static inline void http_head_reset(struct http_head *head)
{
	head->scanned = head->attempted = 0;
}

// Case-insensitive for ASCII letters.
bool http_name_eq(struct tare_str a, struct tare_str b);
// The first field of that name, or NULL. Costs a compare a field.
const struct http_header *http_header_find(const struct http_head *head, struct tare_str name);

// ---- the chunked request body -------------------------------------------------------------------------------------

// Bytes of chunk extensions in one body, and hexadecimal digits in a chunk size.
#define HTTP_CHUNK_EXTENSION_BYTES_MAX 4096
#define HTTP_CHUNK_SIZE_DIGITS_MAX 16

// A decoder between calls. Reading a byte moves it along the states of chunked.c.
struct http_chunked {
	uint64_t left;       // of the chunk that is being read: its size so far, then its bytes still to come
	uint64_t body_bytes; // of all chunks whose size is known
	uint64_t body_bytes_max;
	size_t trailer_bytes, trailer_bytes_max;
	unsigned trailers, trailers_max;
	unsigned extension_bytes;
	uint8_t state;
	uint8_t digits;
	enum http_rule rule; // what was broken, once a call returned less than 0
};

// body_bytes_max bounds the decoded body, head_bytes_max and headers_max the trailer section.
void http_chunked_init(struct http_chunked *chunked, const struct http_limits *limits);

// Reads from buf until it meets a run of body bytes, the end of the body, or the end of buf.
// 1: the body is complete, *ret_used bytes of buf belonged to it. 0: *ret_data is the next run of body bytes (in buf),
// empty where buf ran out; go on at buf + *ret_used. < 0: minus the status; the decoder stays broken. Trailer fields
// are checked and dropped. The same bytes give the same body and verdict however they are cut.
TARE_MUST_USE int http_chunked_next(struct http_chunked *chunked, const char *buf, size_t len, size_t *ret_used,
				    struct tare_str *ret_data);

// The same, over all of buf and in place: the body bytes found are moved to the front of buf, *ret_data_len of them.
// 1: complete, and what follows the body begins at buf + *ret_used. 0: all len bytes were used. < 0: minus the status.
TARE_MUST_USE int http_chunked_decode(struct http_chunked *chunked, char *buf, size_t len, size_t *ret_used,
				      size_t *ret_data_len);

// ---- targets ------------------------------------------------------------------------------------------------------

// The value of the first `name=value` in query ("a=1&b=2"), not decoded; a name without '=' has an empty value.
// false: no such name. Names are compared byte for byte.
TARE_MUST_USE bool http_query_get(struct tare_str query, struct tare_str name, struct tare_str *ret_value);

// Decodes %XX, and '+' to a space where `plus` is set (form fields), into buf. buf may be text.ptr's own storage.
// -EINVAL: a '%' without two hexadecimal digits. -ENOSPC: more than cap bytes. A decoded NUL is passed on.
TARE_MUST_USE int http_percent_decode(struct tare_str text, bool plus, char *buf, size_t cap, size_t *ret_len);

#endif
