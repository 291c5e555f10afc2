// SPDX-License-Identifier: MIT
//
// Goal: the chunked decoder gives the body and the place where it ends, refuses what two readers could read
// differently, and keeps its limits, however the bytes arrive. Method: a table of bodies with what must come of them,
// each whole, in pieces of every size and in place.
#include "test.h"

#include "../../../fuzz/http_check.h"

static const struct http_limits roomy = {
    .head_bytes_max = 4096, .target_bytes_max = 1024, .headers_max = 16, .body_bytes_max = 1 << 20};

#define ZEROS_15 "000000000000000"

static const struct {
	const char *text;
	const char *body;
	size_t rest; // bytes behind the end
} good[] = {
    {"0\r\n\r\n", "", 0},
    {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 0},
    {"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "hello", 16},
    {"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", 0},
    {ZEROS_15 "1\r\nx\r\n0\r\n\r\n", "x", 0},
    {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0},
    {"5;a\r\nhello\r\n0;b=c;d=\"e;\\\"f\"\r\n\r\n", "hello", 0},
    {"5 ; a = b ;\tc\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", "x", 0},
};

TEST(good_bodies_are_decoded)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		struct checked_body body;
		size_t len = strlen(good[i].text);
		check_decode(&body, good[i].text, len, len, &roomy);
		assert_int_equal(body.rc, 1);
		assert_int_equal(body.rule, HTTP_RULE_NONE);
		assert_int_equal(body.data_len, strlen(good[i].body));
		assert_memory_equal(body.data, good[i].body, body.data_len);
		assert_int_equal(len - body.used, good[i].rest);
		free(body.data);
	}
}

TEST(a_body_that_is_cut_needs_more)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++) {
		for (size_t len = 0; len < strlen(good[i].text) - good[i].rest; len++) {
			struct checked_body body;
			check_decode(&body, good[i].text, len, len > 0 ? len : 1, &roomy);
			assert_int_equal(body.rc, 0);
			assert_int_equal(body.used, len);
			free(body.data);
		}
	}
}

static const struct {
	const char *text;
	enum http_rule rule;
} bad[] = {
    {"\r\n", HTTP_RULE_CHUNK_SIZE},
    {";a\r\n", HTTP_RULE_CHUNK_SIZE},
    {"g\r\n", HTTP_RULE_CHUNK_SIZE},
    {"-1\r\n", HTTP_RULE_CHUNK_SIZE},
    {"+1\r\n", HTTP_RULE_CHUNK_SIZE},
    {"0x1\r\n", HTTP_RULE_CHUNK_SIZE},
    {" 1\r\n", HTTP_RULE_CHUNK_SIZE},
    {"1 \r\nx\r\n", HTTP_RULE_CHUNK_SIZE},
    {"1 2\r\nx\r\n", HTTP_RULE_CHUNK_SIZE},
    {ZEROS_15 "01\r\nx\r\n", HTTP_RULE_CHUNK_SIZE},
    {"fffffffffffffffff\r\n", HTTP_RULE_CHUNK_SIZE},
    {"ffffffffffffffff\r\n", HTTP_RULE_BODY_LONG},
    {"1\nx\r\n", HTTP_RULE_BARE_LF},
    {"1\rx\r\n", HTTP_RULE_BARE_CR},
    {"1\r\nxy\r\n", HTTP_RULE_CHUNK_END},
    {"1\r\nx\n", HTTP_RULE_BARE_LF},
    {"1\r\nx\ry", HTTP_RULE_BARE_CR},
    {"1;\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a b\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a \r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=b \r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=\"b\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=\"b\\\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=\"b\"c\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a=\x01\r\nx\r\n", HTTP_RULE_CHUNK_EXTENSION},
    {"1;a\nx\r\n", HTTP_RULE_BARE_LF},
    {"1;a\rx\r\n", HTTP_RULE_BARE_CR},
    {"0\r\n a: b\r\n\r\n", HTTP_RULE_HEADER_FOLD},
    {"0\r\na: b\r\n c\r\n\r\n", HTTP_RULE_HEADER_FOLD},
    {"0\r\n: b\r\n\r\n", HTTP_RULE_NAME_EMPTY},
    {"0\r\na : b\r\n\r\n", HTTP_RULE_NAME_SPACE},
    {"0\r\n(: b\r\n\r\n", HTTP_RULE_NAME_BYTE},
    {"0\r\na(: b\r\n\r\n", HTTP_RULE_NAME_BYTE},
    {"0\r\na\r\n\r\n", HTTP_RULE_HEADER_COLON},
    {"0\r\na: \x01\r\n\r\n", HTTP_RULE_VALUE_BYTE},
    {"0\r\na: b\n\r\n", HTTP_RULE_BARE_LF},
    {"0\r\na: b\rc\r\n\r\n", HTTP_RULE_BARE_CR},
    {"0\r\n\n", HTTP_RULE_BARE_LF},
    {"0\r\n\rx", HTTP_RULE_BARE_CR},
};

TEST(bad_bodies_are_refused_with_their_rule)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		struct checked_body body;
		size_t len = strlen(bad[i].text);
		check_decode(&body, bad[i].text, len, len, &roomy);
		if (body.rule != bad[i].rule)
			print_error("body %zu: %s\n", i, http_rule_name(body.rule));
		assert_int_equal(body.rule, bad[i].rule);
		assert_int_equal(body.rc, -http_rule_status(bad[i].rule));
		free(body.data);
	}
}

TEST(cuts_do_not_matter)
{
	for (size_t step = 1; step < 24; step++) {
		for (size_t i = 0; i < TARE_ARRAY_LEN(good); i++)
			assert_string_equal(check_body(good[i].text, strlen(good[i].text), step, &roomy) ?: "", "");
		for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++)
			assert_string_equal(check_body(bad[i].text, strlen(bad[i].text), step, &roomy) ?: "", "");
	}
}

static enum http_rule rule_of(const char *text, const struct http_limits *limits)
{
	struct checked_body body;
	check_decode(&body, text, strlen(text), strlen(text), limits);
	free(body.data);
	return body.rule;
}

TEST(the_body_limit_counts_all_chunks)
{
	struct http_limits limits = roomy;
	limits.body_bytes_max = 5;
	assert_int_equal(rule_of("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", &limits), HTTP_RULE_NONE);
	assert_int_equal(rule_of("3\r\nabc\r\n3\r\n", &limits), HTTP_RULE_BODY_LONG);
	assert_int_equal(http_rule_status(HTTP_RULE_BODY_LONG), 413);
	limits.body_bytes_max = UINT64_MAX;
	assert_int_equal(rule_of("1\r\nx\r\nffffffffffffffff\r\n", &limits), HTTP_RULE_BODY_LONG);
	limits.body_bytes_max = 0;
	assert_int_equal(rule_of("0\r\n\r\n", &limits), HTTP_RULE_NONE);
}

TEST(extensions_are_limited_over_the_whole_body)
{
	enum { CHUNKS = HTTP_CHUNK_EXTENSION_BYTES_MAX / 8 };
	static char text[CHUNKS * 16 + 64];
	char *p = text;
	// Each extension is eight bytes behind its semicolon.
	for (unsigned i = 0; i < CHUNKS; i++)
		p = stpcpy(p, "1;abcdefgh\r\nx\r\n");
	stpcpy(p, "0\r\n\r\n");
	assert_int_equal(rule_of(text, &roomy), HTTP_RULE_NONE);
	stpcpy(p, "0;a\r\n\r\n");
	assert_int_equal(rule_of(text, &roomy), HTTP_RULE_CHUNK_EXTENSIONS_LONG);
}

TEST(trailers_are_limited_in_bytes_and_count)
{
	struct http_limits limits = roomy;
	limits.headers_max = 2;
	assert_int_equal(rule_of("0\r\na: b\r\nc: d\r\n\r\n", &limits), HTTP_RULE_NONE);
	assert_int_equal(rule_of("0\r\na: b\r\nc: d\r\ne: f\r\n\r\n", &limits), HTTP_RULE_TRAILER_LONG);
	limits = roomy;
	limits.head_bytes_max = 8;
	assert_int_equal(rule_of("0\r\na: b\r\n\r\n", &limits), HTTP_RULE_NONE);
	assert_int_equal(rule_of("0\r\na: bcdefgh\r\n\r\n", &limits), HTTP_RULE_TRAILER_LONG);
	assert_int_equal(http_rule_status(HTTP_RULE_TRAILER_LONG), 431);
}

TEST(a_broken_decoder_stays_broken)
{
	struct http_chunked chunked;
	http_chunked_init(&chunked, &roomy);
	size_t used;
	struct tare_str data;
	assert_int_equal(http_chunked_next(&chunked, "g", 1, &used, &data), -400);
	assert_int_equal(http_chunked_next(&chunked, "0\r\n\r\n", 5, &used, &data), -400);
}

TEST(data_is_given_without_a_copy)
{
	static const char text[] = "5\r\nhello\r\n";
	struct http_chunked chunked;
	http_chunked_init(&chunked, &roomy);
	size_t used;
	struct tare_str data;
	assert_int_equal(http_chunked_next(&chunked, text, sizeof text - 1, &used, &data), 0);
	assert_ptr_equal(data.ptr, text + 3);
	assert_int_equal(data.len, 5);
	assert_int_equal(used, 8);
	assert_int_equal(http_chunked_next(&chunked, text + used, sizeof text - 1 - used, &used, &data), 0);
	assert_int_equal(data.len, 0);
}
