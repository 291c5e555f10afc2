// SPDX-License-Identifier: MIT
//
// Goal: the request head parser accepts what RFC 9110 and 9112 allow, gives the right facts, refuses each malformed
// class with its status and rule, keeps its limits, and doesn't depend on how the bytes arrive. Method: a table of good
// and of bad heads; each cut at every byte, in two pieces at every byte, a byte at a time, and placed so that it ends
// at a page that can't be read.
#include "test.h"

#include "../../../fuzz/http_check.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct http_limits roomy = {
    .head_bytes_max = 4096, .target_bytes_max = 1024, .headers_max = 16, .body_bytes_max = 1000};

#define LINE "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define LENGTH(value) POST "Content-Length: " value END END
#define CODING(value) POST "Transfer-Encoding: " value END END
#define HOST_OF(value) LINE "Host: " value END END

static const char *const good[] = {
    "GET /lookup?key=123&fmt=json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "HEAD / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    "GET http://a.example/b?c HTTP/1.1\r\nHost: other\r\n\r\n",
    "\r\n\r\n\r\n\r\n" LINE HOST END,
    LINE "Host:\r\n\r\n",
    LINE "Host: [2001:db8::1]:80\r\n\r\n",
    LINE HOST "A: \t b c \t\r\nB:\r\nC:   \r\n!#$%&'*+-.^_`|~09az: \xc3\xa9\r\n\r\n",
    LINE HOST "Connection: upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    POST "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n",
    POST "Transfer-Encoding: Chunked\r\n\r\n",
};

// With a NUL among the bytes, its length is not strlen's.
#define TEXT(literal) literal, sizeof(literal) - 1

static const struct bad_head {
	const char *text;
	size_t len;
	enum http_rule rule;
	int status;
} bad[] = {
    {TEXT("\r\n\r\n\r\n\r\n\r\n" LINE HOST END), HTTP_RULE_EMPTY_LINES, 400},
    {TEXT("\n" LINE HOST END), HTTP_RULE_BARE_LF, 400},
    {TEXT("\rGET / HTTP/1.1\r\n"), HTTP_RULE_BARE_CR, 400},
    // request line: method
    {TEXT(" / HTTP/1.1\r\n"), HTTP_RULE_METHOD_SYNTAX, 400},
    {TEXT("G(T / HTTP/1.1\r\n"), HTTP_RULE_METHOD_SYNTAX, 400},
    {TEXT("GET\t/ HTTP/1.1\r\n"), HTTP_RULE_METHOD_SYNTAX, 400},
    {TEXT("GET\r\n"), HTTP_RULE_METHOD_SYNTAX, 400},
    {TEXT("\x16\x03\x01\x02"), HTTP_RULE_METHOD_SYNTAX, 400},
    {TEXT("BREW / HTTP/1.1\r\n"), HTTP_RULE_METHOD_UNKNOWN, 501},
    {TEXT("get / HTTP/1.1\r\n"), HTTP_RULE_METHOD_UNKNOWN, 501},
    {TEXT("GETGETGETGETGETGETGETGETGETGETGETGET"), HTTP_RULE_METHOD_UNKNOWN, 501},
    // request line: target
    {TEXT("GET  / HTTP/1.1\r\n"), HTTP_RULE_TARGET_EMPTY, 400},
    {TEXT("GET /a b HTTP/1.1\r\n"), HTTP_RULE_TARGET_SPACE, 400},
    {TEXT("GET /a\tb HTTP/1.1\r\n"), HTTP_RULE_TARGET_SPACE, 400},
    {TEXT("GET /  HTTP/1.1\r\n"), HTTP_RULE_TARGET_SPACE, 400},
    {TEXT("GET /a\0b HTTP/1.1\r\n"), HTTP_RULE_TARGET_BYTE, 400},
    {TEXT("GET /a\x7f HTTP/1.1\r\n"), HTTP_RULE_TARGET_BYTE, 400},
    {TEXT("GET /caf\xc3\xa9 HTTP/1.1\r\n"), HTTP_RULE_TARGET_BYTE, 400},
    {TEXT("GET /a#b HTTP/1.1\r\n"), HTTP_RULE_TARGET_FRAGMENT, 400},
    {TEXT("GET /a\nb HTTP/1.1\r\n"), HTTP_RULE_BARE_LF, 400},
    {TEXT("GET /a\rb HTTP/1.1\r\n"), HTTP_RULE_BARE_CR, 400},
    {TEXT("GET a/b HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("GET * HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("OPTIONS ** HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("GET a:80 HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("GET ftp://a/ HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("CONNECT / HTTP/1.1\r\n"), HTTP_RULE_TARGET_FORM, 400},
    {TEXT("GET http:///a HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("GET http://u@a/ HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("GET http://a:b/ HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("CONNECT a HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("CONNECT a: HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("CONNECT a:65536 HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    {TEXT("CONNECT http://a/ HTTP/1.1\r\n"), HTTP_RULE_TARGET_AUTHORITY, 400},
    // request line: version
    {TEXT("GET /\r\n"), HTTP_RULE_VERSION_MISSING, 400},
    {TEXT("GET / \r\n"), HTTP_RULE_TARGET_SPACE, 400},
    {TEXT("GET / http/1.1\r\n"), HTTP_RULE_TARGET_SPACE, 400},
    {TEXT("GET / HTTP/1\r\n\r\n"), HTTP_RULE_VERSION_SYNTAX, 400},
    {TEXT("GET / HTTP/1.x\r\n"), HTTP_RULE_VERSION_SYNTAX, 400},
    {TEXT("GET / HTTP/1.10\r\n"), HTTP_RULE_VERSION_SYNTAX, 400},
    {TEXT("GET / HTTP/1.1 \r\n"), HTTP_RULE_VERSION_SYNTAX, 400},
    {TEXT("GET / HTTP/2.0\r\n"), HTTP_RULE_VERSION_UNSUPPORTED, 505},
    {TEXT("GET / HTTP/0.9\r\n"), HTTP_RULE_VERSION_UNSUPPORTED, 505},
    {TEXT("GET / HTTP/1.1\nHost: a\r\n\r\n"), HTTP_RULE_BARE_LF, 400},
    {TEXT("GET / HTTP/1.1\rHost: a\r\n\r\n"), HTTP_RULE_BARE_CR, 400},
    // field lines
    {TEXT(LINE "Host: a\nA: b\r\n\r\n"), HTTP_RULE_BARE_LF, 400},
    {TEXT(LINE "Host: a\rA: b\r\n\r\n"), HTTP_RULE_BARE_CR, 400},
    {TEXT(LINE HOST "\n"), HTTP_RULE_BARE_LF, 400},
    {TEXT(LINE HOST "\rx"), HTTP_RULE_BARE_CR, 400},
    {TEXT(LINE HOST "A\n"), HTTP_RULE_BARE_LF, 400},
    {TEXT(LINE " " HOST END), HTTP_RULE_HEADER_FOLD, 400},
    {TEXT(LINE HOST "A: b\r\n c\r\n\r\n"), HTTP_RULE_HEADER_FOLD, 400},
    {TEXT(LINE HOST "A: b\r\n\tc\r\n\r\n"), HTTP_RULE_HEADER_FOLD, 400},
    {TEXT(LINE HOST "Abc\r\n\r\n"), HTTP_RULE_HEADER_COLON, 400},
    {TEXT(LINE HOST ": b\r\n\r\n"), HTTP_RULE_NAME_EMPTY, 400},
    {TEXT(LINE HOST "A : b\r\n\r\n"), HTTP_RULE_NAME_SPACE, 400},
    {TEXT(LINE HOST "A\t: b\r\n\r\n"), HTTP_RULE_NAME_SPACE, 400},
    {TEXT(LINE HOST "A b: c\r\n\r\n"), HTTP_RULE_NAME_SPACE, 400},
    {TEXT(LINE HOST "A(b: c\r\n\r\n"), HTTP_RULE_NAME_BYTE, 400},
    {TEXT(LINE HOST "A\0: c\r\n\r\n"), HTTP_RULE_NAME_BYTE, 400},
    {TEXT(LINE HOST "\xc3\xa9: c\r\n\r\n"), HTTP_RULE_NAME_BYTE, 400},
    {TEXT(LINE HOST "A: b\0c\r\n\r\n"), HTTP_RULE_VALUE_BYTE, 400},
    {TEXT(LINE HOST "A: b\x01\r\n\r\n"), HTTP_RULE_VALUE_BYTE, 400},
    {TEXT(LINE HOST "A: b\x0b\r\n\r\n"), HTTP_RULE_VALUE_BYTE, 400},
    {TEXT(LINE HOST "A: b\x7f\r\n\r\n"), HTTP_RULE_VALUE_BYTE, 400},
    // Host
    {TEXT(LINE "A: b\r\n\r\n"), HTTP_RULE_HOST_MISSING, 400},
    {TEXT("GET http://a/ HTTP/1.1\r\n\r\n"), HTTP_RULE_HOST_MISSING, 400},
    {TEXT(LINE HOST HOST END), HTTP_RULE_HOST_REPEATED, 400},
    {TEXT("GET / HTTP/1.0\r\n" HOST "hOST: b\r\n\r\n"), HTTP_RULE_HOST_REPEATED, 400},
    {TEXT(HOST_OF("a b")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a/b")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("u@a")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a, b")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a,b")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF(":80")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a:b")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a:65536")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a:1:2")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("[::1")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("[]")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("[::1]x")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a%2")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("a%zz")), HTTP_RULE_HOST_SYNTAX, 400},
    {TEXT(HOST_OF("\xc3\xa9")), HTTP_RULE_HOST_SYNTAX, 400},
    // framing
    {TEXT(LENGTH("")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("+3")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("-3")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("0x3")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("3a")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("3.0")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("3 3")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("3, 3")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("3,4")), HTTP_RULE_LENGTH_SYNTAX, 400},
    {TEXT(LENGTH("18446744073709551616")), HTTP_RULE_LENGTH_RANGE, 400},
    {TEXT(LENGTH("99999999999999999999999999999999")), HTTP_RULE_LENGTH_RANGE, 400},
    {TEXT(LENGTH("3\r\ncontent-length: 3")), HTTP_RULE_LENGTH_REPEATED, 400},
    {TEXT(LENGTH("3\r\nContent-Length: 4")), HTTP_RULE_LENGTH_REPEATED, 400},
    {TEXT(LENGTH("3\r\nTransfer-Encoding: chunked")), HTTP_RULE_LENGTH_AND_CODING, 400},
    {TEXT(CODING("chunked\r\nContent-Length: 3")), HTTP_RULE_LENGTH_AND_CODING, 400},
    {TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP_RULE_CODING_VERSION, 400},
    {TEXT(CODING("")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING(",chunked")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING("chunked,")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING("chunked;q=1")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING("\"chunked\"")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING("chunked chunked")), HTTP_RULE_CODING_SYNTAX, 400},
    {TEXT(CODING("chunked, chunked")), HTTP_RULE_CODING_REPEATED, 400},
    {TEXT(CODING("chunked\r\nTransfer-Encoding: chunked")), HTTP_RULE_CODING_REPEATED, 400},
    {TEXT(CODING("chunked, gzip")), HTTP_RULE_CODING_LAST, 400},
    {TEXT(CODING("chunked\r\nTransfer-Encoding: identity")), HTTP_RULE_CODING_LAST, 400},
    {TEXT(CODING("identity")), HTTP_RULE_CODING_LAST, 400},
    {TEXT(CODING("xchunked")), HTTP_RULE_CODING_LAST, 400},
    {TEXT(CODING("gzip, chunked")), HTTP_RULE_CODING_UNKNOWN, 501},
    {TEXT(CODING("gzip\r\nTransfer-Encoding: chunked")), HTTP_RULE_CODING_UNKNOWN, 501},
    {TEXT(LINE HOST "Expect: 200-ok\r\n\r\n"), HTTP_RULE_EXPECT_UNKNOWN, 417},
    {TEXT(LENGTH("1001")), HTTP_RULE_BODY_LONG, 413},
};

static struct checked_head checked;

static void parse_text(const char *text)
{
	check_parse(&checked, text, strlen(text), &roomy);
}

static void assert_str(struct tare_str got, const char *want)
{
	if (want == NULL) {
		assert_null(got.ptr);
		return;
	}
	assert_non_null(got.ptr);
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.ptr, want, got.len);
}

TEST(good_heads_are_accepted)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		parse_text(good[i]);
		if (checked.rc < 0)
			print_error("%s: %s\n", good[i], http_rule_name(checked.head.rule));
		assert_int_equal(checked.rc, strlen(good[i]));
		assert_string_equal(check_head(&checked, good[i], &roomy) ?: "", "");
	}
}

TEST(bad_heads_are_refused_with_their_status_and_rule)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		check_parse(&checked, bad[i].text, bad[i].len, &roomy);
		if (checked.rc >= 0 || checked.head.rule != bad[i].rule)
			print_error("%s: %d %s\n", bad[i].text, checked.rc, http_rule_name(checked.head.rule));
		assert_int_equal(checked.rc, -bad[i].status);
		assert_int_equal(checked.head.rule, bad[i].rule);
		assert_int_equal(http_rule_status(bad[i].rule), bad[i].status);
	}
}

// Every rule of the head is broken by some head above or by the test of its limit.
TEST(every_rule_is_in_the_table)
{
	for (int rule = HTTP_RULE_NONE + 1; rule < HTTP_RULE_CHUNK_SIZE; rule++) {
		bool found =
		    rule == HTTP_RULE_TARGET_LONG || rule == HTTP_RULE_HEAD_LONG || rule == HTTP_RULE_HEADER_COUNT;
		for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++)
			found = found || (int)bad[i].rule == rule;
		if (!found)
			print_error("no head breaks %s\n", http_rule_name((enum http_rule)rule));
		assert_true(found);
	}
}

TEST(a_good_head_that_is_cut_needs_more)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		for (size_t len = 0; len < strlen(good[i]); len++) {
			check_parse(&checked, good[i], len, &roomy);
			assert_int_equal(checked.rc, 0);
		}
	}
}

static void assert_pieces(const char *text, size_t len)
{
	static struct checked_head whole;
	check_parse(&whole, text, len, &roomy);
	for (size_t cut = 0; cut <= len; cut++)
		assert_string_equal(check_cut(&whole, text, len, cut, &roomy) ?: "", "");
	assert_string_equal(check_dribble(&whole, text, len, &roomy) ?: "", "");
}

TEST(pieces_give_what_the_whole_gives)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++)
		assert_pieces(good[i], strlen(good[i]));
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++)
		assert_pieces(bad[i].text, bad[i].len);
}

TEST(nothing_is_read_past_the_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(base != MAP_FAILED);
	assert_int_equal(mprotect(base + page, page, PROT_NONE), 0);
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		for (size_t len = 0; len <= strlen(good[i]); len++) {
			char *at = base + page - len;
			memcpy(at, good[i], len);
			check_parse(&checked, at, len, &roomy);
			assert_int_equal(checked.rc, len == strlen(good[i]) ? (int)len : 0);
		}
	}
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		char *at = base + page - bad[i].len;
		memcpy(at, bad[i].text, bad[i].len);
		check_parse(&checked, at, bad[i].len, &roomy);
		assert_int_equal(checked.head.rule, bad[i].rule);
	}
	munmap(base, 2 * page);
}

TEST(a_lookup_gives_its_facts)
{
	parse_text("GET /lookup?key=123&fmt=json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-A:  b c \r\n\r\n");
	const struct http_head *head = &checked.head;
	assert_int_equal(head->method, HTTP_GET);
	assert_int_equal(head->form, HTTP_TARGET_ORIGIN);
	assert_int_equal(head->minor, 1);
	assert_str(head->method_text, "GET");
	assert_str(head->target, "/lookup?key=123&fmt=json");
	assert_str(head->path, "/lookup");
	assert_str(head->query, "key=123&fmt=json");
	assert_str(head->host, "127.0.0.1:8080");
	assert_str(head->upgrade, NULL);
	assert_int_equal(head->header_count, 2);
	assert_str(head->headers[1].name, "X-A");
	assert_str(head->headers[1].value, "b c");
	assert_false(head->has_content_length);
	assert_false(head->chunked);
	assert_true(head->keep_alive);
	assert_false(head->expect_continue);
	assert_ptr_equal(http_header_find(head, TARE_STR("x-a")), &head->headers[1]);
	assert_null(http_header_find(head, TARE_STR("x-b")));
}

TEST(every_known_method_is_told)
{
	static const char *const names[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
					    "CONNECT", "OPTIONS", "TRACE", "PATCH"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		char text[64];
		snprintf(text, sizeof text, "%s %s HTTP/1.1\r\n" HOST END, names[i], i == HTTP_CONNECT ? "a:1" : "/");
		parse_text(text);
		assert_true(checked.rc > 0);
		assert_int_equal(checked.head.method, i);
		assert_str(checked.head.method_text, names[i]);
	}
}

TEST(targets_are_split)
{
	static const struct {
		const char *line;
		enum http_target_form form;
		const char *path, *query, *host;
	} targets[] = {
	    {"GET / HTTP/1.1", HTTP_TARGET_ORIGIN, "/", NULL, "h"},
	    {"GET /? HTTP/1.1", HTTP_TARGET_ORIGIN, "/", "", "h"},
	    {"GET /a?b?c HTTP/1.1", HTTP_TARGET_ORIGIN, "/a", "b?c", "h"},
	    {"GET //a HTTP/1.1", HTTP_TARGET_ORIGIN, "//a", NULL, "h"},
	    {"GET http://a:80/b?c HTTP/1.1", HTTP_TARGET_ABSOLUTE, "/b", "c", "a:80"},
	    {"GET HTTPS://a HTTP/1.1", HTTP_TARGET_ABSOLUTE, "/", NULL, "a"},
	    {"GET http://a?b HTTP/1.1", HTTP_TARGET_ABSOLUTE, "/", "b", "a"},
	    {"GET http://[::1]:80/ HTTP/1.1", HTTP_TARGET_ABSOLUTE, "/", NULL, "[::1]:80"},
	    {"OPTIONS * HTTP/1.1", HTTP_TARGET_ASTERISK, "*", NULL, "h"},
	    {"CONNECT a:443 HTTP/1.1", HTTP_TARGET_AUTHORITY, "", NULL, "a:443"},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(targets); i++) {
		char text[128];
		snprintf(text, sizeof text, "%s\r\nHost: h\r\n\r\n", targets[i].line);
		parse_text(text);
		assert_true(checked.rc > 0);
		assert_int_equal(checked.head.form, targets[i].form);
		assert_str(checked.head.path, targets[i].path);
		assert_str(checked.head.query, targets[i].query);
		assert_str(checked.head.host, targets[i].host);
	}
}

TEST(keep_alive_follows_version_and_connection)
{
	static const struct {
		const char *text;
		bool keep_alive;
	} heads[] = {
	    {LINE HOST END, true},
	    {LINE HOST "Connection: close\r\n\r\n", false},
	    {LINE HOST "Connection: foo , CLOSE\r\n\r\n", false},
	    {LINE HOST "Connection: closed\r\n\r\n", true},
	    {LINE HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
	    {"GET / HTTP/1.9\r\n" HOST END, true},
	    {"GET / HTTP/1.0\r\n\r\n", false},
	    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
	    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(heads); i++) {
		parse_text(heads[i].text);
		assert_true(checked.rc > 0);
		assert_int_equal(checked.head.keep_alive, heads[i].keep_alive);
	}
}

TEST(framing_is_told)
{
	parse_text(LENGTH("0007"));
	assert_true(checked.rc > 0 && checked.head.has_content_length && !checked.head.chunked);
	assert_int_equal(checked.head.content_length, 7);
	parse_text(LENGTH("0"));
	assert_true(checked.rc > 0 && checked.head.has_content_length);
	parse_text(CODING("CHUNKED"));
	assert_true(checked.rc > 0 && !checked.head.has_content_length && checked.head.chunked);
}

TEST(expect_and_upgrade_belong_to_1_1)
{
	parse_text(POST "Expect: 100-Continue\r\n\r\n");
	assert_true(checked.rc > 0 && checked.head.expect_continue);
	parse_text("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
	assert_true(checked.rc > 0 && !checked.head.expect_continue);
	parse_text("POST / HTTP/1.0\r\nExpect: something\r\n\r\n");
	assert_true(checked.rc > 0);
	parse_text(LINE HOST "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n");
	assert_str(checked.head.upgrade, "websocket");
	parse_text(LINE HOST "Upgrade: websocket\r\n\r\n");
	assert_str(checked.head.upgrade, NULL);
	parse_text("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
	assert_str(checked.head.upgrade, NULL);
}

TEST(a_target_may_be_as_long_as_its_limit)
{
	struct http_limits limits = roomy;
	const char text[] = "GET /23456 HTTP/1.1\r\nHost: a\r\n\r\n";
	limits.target_bytes_max = 6;
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, strlen(text));
	limits.target_bytes_max = 5;
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, -414);
	assert_int_equal(checked.head.rule, HTTP_RULE_TARGET_LONG);
	// It is told as soon as it is known.
	check_parse(&checked, text, 10, &limits);
	assert_int_equal(checked.rc, -414);
	// A head limit below the target's limit, reached within the target, is the target's fault too.
	limits = (struct http_limits){.head_bytes_max = 8, .target_bytes_max = 100, .headers_max = 4};
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, -414);
}

TEST(a_head_may_be_as_long_as_its_limit)
{
	struct http_limits limits = roomy;
	const char text[] = "GET / HTTP/1.1\r\nHost: abcdef\r\n\r\n";
	limits.head_bytes_max = strlen(text);
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, strlen(text));
	limits.head_bytes_max--;
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, -431);
	assert_int_equal(checked.head.rule, HTTP_RULE_HEAD_LONG);
	// Full, with nothing more to come that could end it.
	check_parse(&checked, text, limits.head_bytes_max, &limits);
	assert_int_equal(checked.rc, -431);
	check_parse(&checked, text, limits.head_bytes_max - 1, &limits);
	assert_int_equal(checked.rc, 0);
}

TEST(fields_are_limited_by_the_limit_and_the_array)
{
	struct http_limits limits = roomy;
	const char text[] = LINE HOST "A: b\r\nC: d\r\n\r\n";
	limits.headers_max = 3;
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, strlen(text));
	limits.headers_max = 2;
	check_parse(&checked, text, strlen(text), &limits);
	assert_int_equal(checked.rc, -431);
	assert_int_equal(checked.head.rule, HTTP_RULE_HEADER_COUNT);
	http_head_init(&checked.head, checked.headers, 2);
	assert_int_equal(http_parse_head(text, strlen(text), &roomy, &checked.head), -431);
	http_head_init(&checked.head, NULL, 0);
	assert_int_equal(http_parse_head("GET / HTTP/1.0\r\n\r\n", 18, &roomy, &checked.head), 18);
}

TEST(pipelined_heads_follow_each_other)
{
	const char text[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.0\r\n\r\nGET /3 HT";
	size_t done = 0;
	unsigned count = 0;
	int rc;
	http_head_init(&checked.head, checked.headers, CHECK_HEADERS);
	while ((rc = http_parse_head(text + done, strlen(text) - done, &roomy, &checked.head)) > 0) {
		done += (size_t)rc;
		count++;
		assert_int_equal(checked.head.minor, 2 - count);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(count, 2);
	assert_int_equal(strlen(text) - done, 9);
	// Given up half-way, the same struct begins another.
	http_head_reset(&checked.head);
	assert_int_equal(http_parse_head("GET / HTTP/1.0\r\n\r\n", 18, &roomy, &checked.head), 18);
}

// A byte a call costs a bounded number of full parses: `attempted` at least doubles from one to the next.
TEST(a_slow_client_does_not_make_parses_quadratic)
{
	static char text[4096];
	size_t len = (size_t)snprintf(text, sizeof text, LINE HOST "A: ");
	memset(text + len, 'b', 3000);
	len += 3000;
	len += (size_t)snprintf(text + len, sizeof text - len, "\r\n\r\n");
	http_head_init(&checked.head, checked.headers, CHECK_HEADERS);
	size_t last = 0;
	unsigned parses = 0;
	for (size_t there = 1; there < len; there++) {
		assert_int_equal(http_parse_head(text, there, &roomy, &checked.head), 0);
		assert_true(there - checked.head.scanned <= 3);
		parses += checked.head.attempted != last;
		last = checked.head.attempted;
	}
	assert_true(parses <= 13);
	assert_int_equal(http_parse_head(text, len, &roomy, &checked.head), len);
}

TEST(queries_are_looked_up)
{
	struct tare_str value = {NULL, 0};
	const struct tare_str query = TARE_STR("key=123&fmt=json&&flag&key=456&empty=&a=b=c");
	assert_true(http_query_get(query, TARE_STR("key"), &value));
	assert_str(value, "123");
	assert_true(http_query_get(query, TARE_STR("fmt"), &value));
	assert_str(value, "json");
	assert_true(http_query_get(query, TARE_STR("flag"), &value));
	assert_str(value, "");
	assert_true(http_query_get(query, TARE_STR("empty"), &value));
	assert_str(value, "");
	assert_true(http_query_get(query, TARE_STR("a"), &value));
	assert_str(value, "b=c");
	value = TARE_STR("untouched");
	assert_false(http_query_get(query, TARE_STR("ke"), &value));
	assert_false(http_query_get(query, TARE_STR("keys"), &value));
	assert_false(http_query_get(query, TARE_STR("123"), &value));
	assert_false(http_query_get((struct tare_str){NULL, 0}, TARE_STR("key"), &value));
	assert_str(value, "untouched");
}

TEST(percent_encoding_is_decoded)
{
	char buf[16] = "";
	size_t len = 99;
	assert_int_equal(http_percent_decode(TARE_STR("a%20b%2Fc+d%00"), false, buf, sizeof buf, &len), 0);
	assert_int_equal(len, 8);
	assert_memory_equal(buf, "a b/c+d\0", 8);
	assert_int_equal(http_percent_decode(TARE_STR("a+b"), true, buf, sizeof buf, &len), 0);
	assert_memory_equal(buf, "a b", 3);
	static const char *const wrong[] = {"%", "%2", "a%", "%zz", "%2g", "%%20"};
	len = 99;
	for (size_t i = 0; i < TARE_ARRAY_LEN(wrong); i++)
		assert_int_equal(
		    http_percent_decode((struct tare_str){wrong[i], strlen(wrong[i])}, false, buf, 16, &len), -EINVAL);
	assert_int_equal(http_percent_decode(TARE_STR("abc"), false, buf, 2, &len), -ENOSPC);
	assert_int_equal(len, 99);
	assert_int_equal(http_percent_decode(TARE_STR("%61bc"), false, buf, 3, &len), 0);
	assert_int_equal(len, 3);
	char own[] = "%41%42c";
	assert_int_equal(http_percent_decode((struct tare_str){own, 7}, false, own, 7, &len), 0);
	assert_memory_equal(own, "ABc", 3);
}

TEST(texts_exist_for_what_is_answered)
{
	for (int rule = HTTP_RULE_NONE + 1; rule < HTTP_RULE_COUNT; rule++) {
		int status = http_rule_status((enum http_rule)rule);
		assert_true(status >= 400 && status < 600);
		assert_string_not_equal(http_status_text(status), "Unknown");
		assert_true(strlen(http_rule_text((enum http_rule)rule)) > 10);
	}
	assert_string_equal(http_status_text(200), "OK");
	assert_string_equal(http_status_text(100), "Continue");
	assert_string_equal(http_status_text(404), "Not Found");
	assert_string_equal(http_status_text(408), "Request Timeout");
	assert_string_equal(http_status_text(503), "Service Unavailable");
	assert_string_equal(http_status_text(505), "HTTP Version Not Supported");
	static const int unknown[] = {-1, 0, 99, 199, 102, 305, 418, 499, 512, 600, 1000};
	for (size_t i = 0; i < TARE_ARRAY_LEN(unknown); i++)
		assert_string_equal(http_status_text(unknown[i]), "Unknown");
}
