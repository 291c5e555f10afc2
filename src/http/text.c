// SPDX-License-Identifier: MIT
//
// http: texts of statuses and rules, names, queries and percent-encoding. Pure functions; thread-safe.
#include "http/parse.h"

#include <errno.h>

static const struct {
	int status;
	const char *name, *text;
} rules[HTTP_RULE_COUNT] = {
#define RULE_ROW(name, status, text) {status, #name, text},
    HTTP_RULES(RULE_ROW)
#undef RULE_ROW
};

const char *http_rule_text(enum http_rule rule)
{
	TARE_ASSERT((unsigned)rule < HTTP_RULE_COUNT);
	return rules[rule].text;
}

int http_rule_status(enum http_rule rule)
{
	TARE_ASSERT((unsigned)rule < HTTP_RULE_COUNT);
	return rules[rule].status;
}

const char *http_rule_name(enum http_rule rule)
{
	TARE_ASSERT((unsigned)rule < HTTP_RULE_COUNT);
	return rules[rule].name;
}

const char *http_status_text(int status)
{
	// RFC 9110 15, RFC 6585 (428, 429, 431, 511), RFC 8297 (103), RFC 8470 (425), RFC 7725 (451).
	static const char *const informational[] = {[0] = "Continue", [1] = "Switching Protocols", [3] = "Early Hints"};
	static const char *const success[] = {
	    "OK",         "Created",       "Accepted",       "Non-Authoritative Information",
	    "No Content", "Reset Content", "Partial Content"};
	static const char *const redirection[] = {
	    [0] = "Multiple Choices",  [1] = "Moved Permanently", [2] = "Found",
	    [3] = "See Other",         [4] = "Not Modified",      [7] = "Temporary Redirect",
	    [8] = "Permanent Redirect"};
	static const char *const client_error[] = {
	    [0] = "Bad Request",
	    [1] = "Unauthorized",
	    [2] = "Payment Required",
	    [3] = "Forbidden",
	    [4] = "Not Found",
	    [5] = "Method Not Allowed",
	    [6] = "Not Acceptable",
	    [7] = "Proxy Authentication Required",
	    [8] = "Request Timeout",
	    [9] = "Conflict",
	    [10] = "Gone",
	    [11] = "Length Required",
	    [12] = "Precondition Failed",
	    [13] = "Content Too Large",
	    [14] = "URI Too Long",
	    [15] = "Unsupported Media Type",
	    [16] = "Range Not Satisfiable",
	    [17] = "Expectation Failed",
	    [21] = "Misdirected Request",
	    [22] = "Unprocessable Content",
	    [25] = "Too Early",
	    [26] = "Upgrade Required",
	    [28] = "Precondition Required",
	    [29] = "Too Many Requests",
	    [31] = "Request Header Fields Too Large",
	    [51] = "Unavailable For Legal Reasons",
	};
	static const char *const server_error[] = {
	    [0] = "Internal Server Error",
	    [1] = "Not Implemented",
	    [2] = "Bad Gateway",
	    [3] = "Service Unavailable",
	    [4] = "Gateway Timeout",
	    [5] = "HTTP Version Not Supported",
	    [11] = "Network Authentication Required",
	};
	static const struct {
		const char *const *texts;
		size_t count;
	} classes[] = {
	    {informational, TARE_ARRAY_LEN(informational)}, {success, TARE_ARRAY_LEN(success)},
	    {redirection, TARE_ARRAY_LEN(redirection)},     {client_error, TARE_ARRAY_LEN(client_error)},
	    {server_error, TARE_ARRAY_LEN(server_error)},
	};
	if (status < 100 || status > 599)
		return "Unknown";
	size_t class = (size_t)status / 100 - 1, i = (size_t)status % 100;
	const char *text = i < classes[class].count ? classes[class].texts[i] : NULL;
	return text != NULL ? text : "Unknown";
}

static unsigned char lower(char c)
{
	return (unsigned char)(c - 'A') < 26 ? (unsigned char)(c | 0x20) : (unsigned char)c;
}

bool http_name_eq(struct tare_str a, struct tare_str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

const struct http_header *http_header_find(const struct http_head *head, struct tare_str name)
{
	for (unsigned i = 0; i < head->header_count; i++)
		if (http_name_eq(head->headers[i].name, name))
			return &head->headers[i];
	return NULL;
}

bool http_query_get(struct tare_str query, struct tare_str name, struct tare_str *ret_value)
{
	TARE_ASSERT(name.len > 0);
	if (query.len == 0)
		return false;
	const char *p = query.ptr, *end = p + query.len;
	while (p != end) {
		const char *stop = memchr(p, '&', (size_t)(end - p));
		if (stop == NULL)
			stop = end;
		size_t len = (size_t)(stop - p);
		if (len >= name.len && memcmp(p, name.ptr, name.len) == 0 && (len == name.len || p[name.len] == '=')) {
			size_t skip = name.len + (len > name.len);
			*ret_value = (struct tare_str){p + skip, len - skip};
			return true;
		}
		p = stop != end ? stop + 1 : end;
	}
	return false;
}

static int hex_value(char c)
{
	if ((unsigned char)(c - '0') < 10)
		return c - '0';
	unsigned char letter = (unsigned char)((c | 0x20) - 'a');
	return letter < 6 ? letter + 10 : -1;
}

int http_percent_decode(struct tare_str text, bool plus, char *buf, size_t cap, size_t *ret_len)
{
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		if (c == '%') {
			if (text.len - i < 3)
				return -EINVAL;
			int high = hex_value(text.ptr[i + 1]), low = hex_value(text.ptr[i + 2]);
			if (high < 0 || low < 0)
				return -EINVAL;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (len == cap)
			return -ENOSPC;
		buf[len++] = c;
	}
	*ret_len = len;
	return 0;
}
