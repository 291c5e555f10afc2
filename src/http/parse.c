// SPDX-License-Identifier: MIT
//
// http: the request head. The interface and its invariants are in parse.h.
//
// One parse goes left to right and answers OK, MORE (the bytes end where the grammar goes on) or a broken rule. It
// decides on a byte only when what it decides could not be changed by bytes to come; invariant 3 rests on that, and the
// fuzzer checks it.
//
// A head in pieces: the first call parses what there is. Later calls look with the scanners, from where the last one
// stopped, for the end of the head or a byte that cannot be right, and parse anew only when they find one, when the
// bytes have doubled since, or when the limit is reached. So the parses read at most 3n bytes for n, and a mistake is
// told at the latest when twice its bytes are there.
//
// Rejected: keeping the parse's state between calls. The slices would point into a buffer that the caller may have
// moved, and one missing field in the saved state is a smuggled request.
#include "http/parse.h"
#include "http/scan.h"

#include <limits.h>

enum { MORE = 0, OK = 1 }; // and less than 0: minus a status

// What the fields have said so far.
enum {
	SEEN_HOST = 1 << 0,
	SEEN_CODING = 1 << 1,
	SEEN_CHUNKED = 1 << 2,
	SEEN_OTHER_CODING = 1 << 3,
	SEEN_CLOSE = 1 << 4,
	SEEN_KEEP_ALIVE = 1 << 5,
	SEEN_UPGRADE = 1 << 6,
	SEEN_CONTINUE = 1 << 7,
	SEEN_OTHER_EXPECT = 1 << 8,
};

struct parser {
	const char *begin, *p, *end;
	const struct http_limits *limits;
	struct http_head *head;
	unsigned seen;
};

static int broken(struct parser *c, enum http_rule rule)
{
	c->head->rule = rule;
	return -http_rule_status(rule);
}

// p < end is the first byte behind a line's text. A line ends in CR LF; any other byte breaks `rule`.
static int line_end(struct parser *c, enum http_rule rule)
{
	if (*c->p == '\n')
		return broken(c, HTTP_RULE_BARE_LF);
	if (*c->p != '\r')
		return broken(c, rule);
	if (c->end - c->p < 2)
		return MORE;
	if (c->p[1] != '\n')
		return broken(c, HTTP_RULE_BARE_CR);
	c->p += 2;
	return OK;
}

// p and lower hold n bytes; lower's letters are small, and it has only letters and '-'. n is a constant at each call.
static inline __attribute__((always_inline)) bool is_word(const char *p, const char *lower, size_t n)
{
	unsigned differ = 0;
	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)((unsigned char)p[i] | 0x20) ^ (unsigned char)lower[i];
	return differ == 0;
}
#define IS_WORD(text, word) ((text).len == sizeof(word) - 1 && is_word((text).ptr, "" word, sizeof(word) - 1))

// ---- request line -------------------------------------------------------------------------------------------------

#define METHOD_BYTES_MAX 32

static bool find_method(struct tare_str text, enum http_method *ret_method)
{
	static const struct {
		struct tare_str text;
		enum http_method method;
	} methods[] = {
	    {{"GET", 3}, HTTP_GET},         {{"HEAD", 4}, HTTP_HEAD},     {{"POST", 4}, HTTP_POST},
	    {{"PUT", 3}, HTTP_PUT},         {{"DELETE", 6}, HTTP_DELETE}, {{"CONNECT", 7}, HTTP_CONNECT},
	    {{"OPTIONS", 7}, HTTP_OPTIONS}, {{"TRACE", 5}, HTTP_TRACE},   {{"PATCH", 5}, HTTP_PATCH},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(methods); i++) {
		if (tare_str_eq(text, methods[i].text)) {
			*ret_method = methods[i].method;
			return true;
		}
	}
	return false;
}

static int parse_method(struct parser *c)
{
	const char *start = c->p;
	if (c->end - start >= 4 && memcmp(start, "GET ", 4) == 0) {
		c->head->method = HTTP_GET;
		c->head->method_text = (struct tare_str){start, 3};
		c->p += 4;
		return OK;
	}
	const char *stop = c->end - start > METHOD_BYTES_MAX ? start + METHOD_BYTES_MAX : c->end;
	const char *p = http_scan_token(c->begin, start, stop);
	if (p == stop)
		return p - start == METHOD_BYTES_MAX ? broken(c, HTTP_RULE_METHOD_UNKNOWN) : MORE;
	if (*p != ' ' || p == start)
		return broken(c, HTTP_RULE_METHOD_SYNTAX);
	c->head->method_text = (struct tare_str){start, (size_t)(p - start)};
	if (!find_method(c->head->method_text, &c->head->method))
		return broken(c, HTTP_RULE_METHOD_UNKNOWN);
	c->p = p + 1;
	return OK;
}

static bool is_hex(char c)
{
	return (unsigned char)(c - '0') < 10 || (unsigned char)((c | 0x20) - 'a') < 6;
}

// uri-host of RFC 3986 up to a ':' or the end. A comma is refused although a name may have one: it is what two Host
// fields look like once someone has joined them. NULL: malformed.
static const char *skip_host_name(const char *p, const char *end)
{
	if (p != end && *p == '[') {
		const char *first = ++p;
		while (p != end && (is_hex(*p) || *p == ':' || *p == '.'))
			p++;
		return p != end && *p == ']' && p != first ? p + 1 : NULL;
	}
	for (; p != end && *p != ':'; p++) {
		if (http_is_host(*p))
			continue;
		if (*p != '%' || end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
			return NULL;
		p += 2;
	}
	return p;
}

enum authority { AUTHORITY_BAD, AUTHORITY_EMPTY, AUTHORITY_HOST, AUTHORITY_HOST_PORT };

// host [":" port]; the port may be empty, which is no port.
static enum authority check_authority(struct tare_str text)
{
	if (text.len == 0)
		return AUTHORITY_EMPTY;
	const char *end = text.ptr + text.len;
	const char *p = skip_host_name(text.ptr, end);
	if (p == NULL || p == text.ptr || (p != end && *p != ':'))
		return AUTHORITY_BAD;
	if (end - p <= 1)
		return AUTHORITY_HOST;
	unsigned port = 0;
	for (p++; p != end; p++) {
		if ((unsigned char)(*p - '0') >= 10)
			return AUTHORITY_BAD;
		port = port * 10 + (unsigned)(*p - '0');
		if (port > 65535)
			return AUTHORITY_BAD;
	}
	return AUTHORITY_HOST_PORT;
}

static void split_query(struct http_head *head, struct tare_str text)
{
	const char *mark = text.len > 0 ? memchr(text.ptr, '?', text.len) : NULL;
	if (mark == NULL) {
		head->path = text;
		return;
	}
	head->path = (struct tare_str){text.ptr, (size_t)(mark - text.ptr)};
	head->query = (struct tare_str){mark + 1, text.len - head->path.len - 1};
}

// "http://" or "https://", then an authority; a path, a query, both or neither.
static int split_absolute(struct parser *c, struct tare_str target)
{
	struct http_head *head = c->head;
	size_t scheme = 0;
	if (target.len > 7 && is_word(target.ptr, "http", 4) && memcmp(target.ptr + 4, "://", 3) == 0)
		scheme = 7;
	else if (target.len > 8 && is_word(target.ptr, "https", 5) && memcmp(target.ptr + 5, "://", 3) == 0)
		scheme = 8;
	if (scheme == 0 || head->method == HTTP_CONNECT)
		return broken(c, HTTP_RULE_TARGET_FORM);
	const char *end = target.ptr + target.len, *p = target.ptr + scheme;
	head->host.ptr = p;
	while (p != end && *p != '/' && *p != '?')
		p++;
	head->host.len = (size_t)(p - head->host.ptr);
	if (check_authority(head->host) < AUTHORITY_HOST)
		return broken(c, HTTP_RULE_TARGET_AUTHORITY);
	head->form = HTTP_TARGET_ABSOLUTE;
	split_query(head, (struct tare_str){p, (size_t)(end - p)});
	if (head->path.len == 0)
		head->path = TARE_STR("/");
	return OK;
}

static int split_target(struct parser *c)
{
	struct http_head *head = c->head;
	struct tare_str target = head->target;
	if (*target.ptr == '/') {
		if (head->method == HTTP_CONNECT)
			return broken(c, HTTP_RULE_TARGET_FORM);
		head->form = HTTP_TARGET_ORIGIN;
		split_query(head, target);
		return OK;
	}
	if (target.len == 1 && *target.ptr == '*') {
		if (head->method != HTTP_OPTIONS)
			return broken(c, HTTP_RULE_TARGET_FORM);
		head->form = HTTP_TARGET_ASTERISK;
		head->path = target;
		return OK;
	}
	if (head->method != HTTP_CONNECT)
		return split_absolute(c, target);
	if (check_authority(target) != AUTHORITY_HOST_PORT)
		return broken(c, HTTP_RULE_TARGET_AUTHORITY);
	head->form = HTTP_TARGET_AUTHORITY;
	head->host = target;
	head->path = (struct tare_str){target.ptr + target.len, 0};
	return OK;
}

// Behind the target's last byte there was something other than the one space.
static int target_stopped(struct parser *c, const char *p)
{
	c->p = p;
	switch (*p) {
	case '\r':
	case '\n': {
		int rc = line_end(c, HTTP_RULE_VERSION_MISSING);
		return rc == OK ? broken(c, HTTP_RULE_VERSION_MISSING) : rc;
	}
	case '\t':
		return broken(c, HTTP_RULE_TARGET_SPACE);
	case '#':
		return broken(c, HTTP_RULE_TARGET_FRAGMENT);
	default:
		return broken(c, HTTP_RULE_TARGET_BYTE);
	}
}

static int parse_target(struct parser *c)
{
	const char *start = c->p;
	size_t max = c->limits->target_bytes_max;
	size_t there = (size_t)(c->end - start);
	// One byte past the limit is looked at, so that a target of just the limit passes.
	const char *stop = there > max ? start + max + 1 : c->end;
	const char *p = http_scan_target(c->begin, start, stop);
	if ((size_t)(p - start) > max)
		return broken(c, HTTP_RULE_TARGET_LONG);
	if (p == c->end) {
		// Nothing of a head that is cut off at its limit in the target can come later.
		bool cut = (size_t)(c->end - c->begin) >= c->limits->head_bytes_max;
		return cut ? broken(c, HTTP_RULE_TARGET_LONG) : MORE;
	}
	if (*p != ' ')
		return target_stopped(c, p);
	if (p == start)
		return broken(c, HTTP_RULE_TARGET_EMPTY);
	c->head->target = (struct tare_str){start, (size_t)(p - start)};
	c->p = p + 1;
	return split_target(c);
}

static int parse_version(struct parser *c)
{
	const char *p = c->p;
	size_t there = (size_t)(c->end - p);
	if (there >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0) {
		c->head->minor = 1;
		c->p += 10;
		return OK;
	}
	if (memcmp(p, "HTTP/", TARE_MIN(there, 5)) != 0)
		return broken(c, HTTP_RULE_TARGET_SPACE);
	if (there < 8)
		return MORE;
	unsigned major = (unsigned char)p[5] - (unsigned)'0', minor = (unsigned char)p[7] - (unsigned)'0';
	if (major > 9 || p[6] != '.' || minor > 9)
		return broken(c, HTTP_RULE_VERSION_SYNTAX);
	if (there == 8)
		return MORE;
	c->p += 8;
	if (*c->p != '\r' && *c->p != '\n')
		return broken(c, HTTP_RULE_VERSION_SYNTAX);
	if (major != 1)
		return broken(c, HTTP_RULE_VERSION_UNSUPPORTED);
	c->head->minor = minor > 0;
	return line_end(c, HTTP_RULE_VERSION_SYNTAX);
}

// ---- fields with a meaning for framing and the connection ---------------------------------------------------------

// The next element of a comma-separated list, trimmed; false at its end. Empty elements are given too.
static bool next_element(struct tare_str *list, struct tare_str *ret_element)
{
	if (list->ptr == NULL)
		return false;
	const char *comma = list->len > 0 ? memchr(list->ptr, ',', list->len) : NULL;
	const char *p = list->ptr, *end = comma != NULL ? comma : list->ptr + list->len;
	*list = comma != NULL ? (struct tare_str){comma + 1, list->len - (size_t)(comma + 1 - list->ptr)}
			      : (struct tare_str){NULL, 0};
	while (p != end && (*p == ' ' || *p == '\t'))
		p++;
	while (p != end && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*ret_element = (struct tare_str){p, (size_t)(end - p)};
	return true;
}

static int note_host(struct parser *c, struct tare_str value)
{
	if (c->seen & SEEN_HOST)
		return broken(c, HTTP_RULE_HOST_REPEATED);
	if (check_authority(value) == AUTHORITY_BAD)
		return broken(c, HTTP_RULE_HOST_SYNTAX);
	c->seen |= SEEN_HOST;
	// An absolute or authority target has named the host already, and it counts (RFC 9112 3.2.2).
	if (c->head->host.ptr == NULL)
		c->head->host = value;
	return OK;
}

static int note_length(struct parser *c, struct tare_str value)
{
	if (c->head->has_content_length)
		return broken(c, HTTP_RULE_LENGTH_REPEATED);
	if (c->seen & SEEN_CODING)
		return broken(c, HTTP_RULE_LENGTH_AND_CODING);
	uint64_t length = 0;
	bool overflow = false;
	for (size_t i = 0; i < value.len; i++) {
		unsigned digit = (unsigned char)value.ptr[i] - (unsigned)'0';
		if (digit > 9)
			return broken(c, HTTP_RULE_LENGTH_SYNTAX);
		overflow |=
		    __builtin_mul_overflow(length, 10, &length) || __builtin_add_overflow(length, digit, &length);
	}
	if (value.len == 0)
		return broken(c, HTTP_RULE_LENGTH_SYNTAX);
	if (overflow)
		return broken(c, HTTP_RULE_LENGTH_RANGE);
	c->head->content_length = length;
	c->head->has_content_length = true;
	return OK;
}

static int note_coding(struct parser *c, struct tare_str value)
{
	if (c->head->minor == 0)
		return broken(c, HTTP_RULE_CODING_VERSION);
	if (c->head->has_content_length)
		return broken(c, HTTP_RULE_LENGTH_AND_CODING);
	c->seen |= SEEN_CODING;
	struct tare_str coding;
	while (next_element(&value, &coding)) {
		const char *end = coding.ptr + coding.len;
		// Parameters are refused too: no coding that is known here has any.
		if (coding.len == 0 || http_scan_token_plain(coding.ptr, coding.ptr, end) != end)
			return broken(c, HTTP_RULE_CODING_SYNTAX);
		bool chunked = IS_WORD(coding, "chunked");
		if (c->seen & SEEN_CHUNKED)
			return broken(c, chunked ? HTTP_RULE_CODING_REPEATED : HTTP_RULE_CODING_LAST);
		c->seen |= chunked ? SEEN_CHUNKED : SEEN_OTHER_CODING;
	}
	return OK;
}

static int note_connection(struct parser *c, struct tare_str value)
{
	struct tare_str option;
	while (next_element(&value, &option)) {
		if (IS_WORD(option, "close"))
			c->seen |= SEEN_CLOSE;
		else if (IS_WORD(option, "keep-alive"))
			c->seen |= SEEN_KEEP_ALIVE;
		else if (IS_WORD(option, "upgrade"))
			c->seen |= SEEN_UPGRADE;
	}
	return OK;
}

static int note_field(struct parser *c, const struct http_header *field)
{
	struct tare_str name = field->name;
	switch (name.len) {
	case sizeof("host") - 1:
		return IS_WORD(name, "host") ? note_host(c, field->value) : OK;
	case sizeof("expect") - 1:
		if (IS_WORD(name, "expect"))
			c->seen |=
			    http_name_eq(field->value, TARE_STR("100-continue")) ? SEEN_CONTINUE : SEEN_OTHER_EXPECT;
		return OK;
	case sizeof("upgrade") - 1:
		if (IS_WORD(name, "upgrade") && c->head->upgrade.ptr == NULL)
			c->head->upgrade = field->value;
		return OK;
	case sizeof("connection") - 1:
		return IS_WORD(name, "connection") ? note_connection(c, field->value) : OK;
	case sizeof("content-length") - 1:
		return IS_WORD(name, "content-length") ? note_length(c, field->value) : OK;
	case sizeof("transfer-encoding") - 1:
		return IS_WORD(name, "transfer-encoding") ? note_coding(c, field->value) : OK;
	default:
		return OK;
	}
}

// ---- header fields ------------------------------------------------------------------------------------------------

static int name_stopped(struct parser *c, const char *p)
{
	switch (*p) {
	case '\r':
		return broken(c, HTTP_RULE_HEADER_COLON);
	case '\n':
		return broken(c, HTTP_RULE_BARE_LF);
	case ' ':
	case '\t':
		return broken(c, p == c->p ? HTTP_RULE_HEADER_FOLD : HTTP_RULE_NAME_SPACE);
	default:
		return broken(c, HTTP_RULE_NAME_BYTE);
	}
}

// One `name: value` line with its CR LF.
static int parse_field(struct parser *c, struct http_header *field)
{
	const char *start = c->p;
	const char *p = http_scan_token(c->begin, start, c->end);
	if (p == c->end)
		return MORE;
	if (*p != ':')
		return name_stopped(c, p);
	if (p == start)
		return broken(c, HTTP_RULE_NAME_EMPTY);
	field->name = (struct tare_str){start, (size_t)(p - start)};
	p++;
	while (p != c->end && (*p == ' ' || *p == '\t'))
		p++;
	const char *value = p;
	p = http_scan_value(c->begin, p, c->end);
	if (p == c->end)
		return MORE;
	c->p = p;
	int rc = line_end(c, HTTP_RULE_VALUE_BYTE);
	if (rc != OK)
		return rc;
	while (p != value && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	field->value = (struct tare_str){value, (size_t)(p - value)};
	return OK;
}

static int parse_fields(struct parser *c)
{
	struct http_head *head = c->head;
	unsigned max = TARE_MIN(c->limits->headers_max, head->headers_cap);
	for (;;) {
		if (c->p == c->end)
			return MORE;
		if (*c->p == '\r')
			return line_end(c, HTTP_RULE_BARE_CR);
		if (head->header_count == max)
			return broken(c, HTTP_RULE_HEADER_COUNT);
		struct http_header *field = &head->headers[head->header_count];
		int rc = parse_field(c, field);
		if (rc != OK)
			return rc;
		head->header_count++;
		rc = note_field(c, field);
		if (rc != OK)
			return rc;
	}
}

// ---- the whole head -----------------------------------------------------------------------------------------------

// The rules that only a whole head can break, and what follows from its fields.
static int conclude(struct parser *c)
{
	struct http_head *head = c->head;
	bool v11 = head->minor == 1;
	if (v11 && !(c->seen & SEEN_HOST))
		return broken(c, HTTP_RULE_HOST_MISSING);
	if (c->seen & SEEN_CODING) {
		if (!(c->seen & SEEN_CHUNKED))
			return broken(c, HTTP_RULE_CODING_LAST);
		if (c->seen & SEEN_OTHER_CODING)
			return broken(c, HTTP_RULE_CODING_UNKNOWN);
		head->chunked = true;
	}
	if (head->content_length > c->limits->body_bytes_max)
		return broken(c, HTTP_RULE_BODY_LONG);
	if (v11 && (c->seen & SEEN_OTHER_EXPECT))
		return broken(c, HTTP_RULE_EXPECT_UNKNOWN);
	head->expect_continue = v11 && (c->seen & SEEN_CONTINUE);
	head->keep_alive = !(c->seen & SEEN_CLOSE) && (v11 || (c->seen & SEEN_KEEP_ALIVE));
	if (!v11 || !(c->seen & SEEN_UPGRADE))
		head->upgrade = (struct tare_str){NULL, 0};
	return OK;
}

static int skip_empty_lines(struct parser *c)
{
	for (unsigned lines = 0; c->p != c->end && (*c->p == '\r' || *c->p == '\n'); lines++) {
		if (lines == HTTP_EMPTY_LINES_MAX)
			return broken(c, HTTP_RULE_EMPTY_LINES);
		int rc = line_end(c, HTTP_RULE_EMPTY_LINES);
		if (rc != OK)
			return rc;
	}
	return c->p == c->end ? MORE : OK;
}

static int parse(struct parser *c)
{
	static int (*const steps[])(struct parser *) = {skip_empty_lines, parse_method, parse_target,
							parse_version,    parse_fields, conclude};
	struct http_head *head = c->head;
	*head = (struct http_head){.headers = head->headers,
				   .headers_cap = head->headers_cap,
				   .scanned = head->scanned,
				   .attempted = head->attempted};
	for (size_t i = 0; i < TARE_ARRAY_LEN(steps); i++) {
		int rc = steps[i](c);
		if (rc != OK)
			return rc;
	}
	head->head_bytes = (size_t)(c->p - c->begin);
	return (int)head->head_bytes;
}

// Looks on from head->scanned for the end of the head or a byte that no head has, and notes how far it got.
static bool worth_parsing(const char *buf, size_t len, struct http_head *head)
{
	const char *end = buf + len, *p = buf + head->scanned;
	for (;;) {
		p = http_scan_value(buf, p, end);
		head->scanned = (size_t)(p - buf);
		if (end - p < 2)
			return p != end && *p != '\r' && !(*p == '\n' && p != buf && p[-1] == '\r');
		if (*p == '\n' && p != buf && p[-1] == '\r') {
			p++;
			continue;
		}
		if (*p != '\r' || p[1] != '\n')
			return true;
		if (end - p < 4)
			return false;
		if (p[2] == '\r' && p[3] == '\n')
			return true;
		p += 2;
	}
}

int http_parse_head(const char *buf, size_t len, const struct http_limits *limits, struct http_head *head)
{
	TARE_ASSERT(limits->head_bytes_max <= INT_MAX);
	TARE_ASSERT(head->scanned <= len && head->attempted <= len);
	size_t view = TARE_MIN(len, limits->head_bytes_max);
	bool full = view == limits->head_bytes_max;
	if (head->attempted > 0 && !full && view < 2 * head->attempted && !worth_parsing(buf, view, head))
		return 0;
	struct parser c = {.begin = buf, .p = buf, .end = buf + view, .limits = limits, .head = head};
	int rc = parse(&c);
	if (rc == MORE && full)
		rc = broken(&c, HTTP_RULE_HEAD_LONG);
	if (rc != MORE) {
		http_head_reset(head);
		return rc;
	}
	head->attempted = view;
	head->scanned = view > 3 ? view - 3 : 0; // three bytes of the four that end a head may be there
	return 0;
}
