// SPDX-License-Identifier: MIT
//
// Fuzzes the HTTP request parser, its scanners, the chunked decoder and the target helpers. Goal: no read outside the
// bytes that are there, and the invariants of src/http/parse.h and fuzz/http_check.h on every input.
//
// The parser is in the program twice, as it is and from the same source with the plain scanners; both must agree.
//
// FUZZ_SOURCES: src/http/parse.c src/http/chunked.c src/http/scan.c src/http/text.c src/base/error.c
//
// tools/fuzz http SECONDS runs it under libFuzzer.
#include "http/parse.h"
#include "http/scan.h"
#include "fuzz.h"
#include "http_check.h"

// The second parser: the same file, with the plain scanners and a name of its own.
#ifdef HTTP_BLOCKS
#undef http_scan_token
#undef http_scan_value
#undef http_scan_target
#endif
#define http_scan_token http_scan_token_plain
#define http_scan_value http_scan_value_plain
#define http_scan_target http_scan_target_plain
#define http_parse_head parse_head_plain
int parse_head_plain(const char *buf, size_t len, const struct http_limits *limits, struct http_head *head);
#include "../src/http/parse.c"
#undef http_parse_head

static const struct http_limits roomy = {
    .head_bytes_max = 8192, .target_bytes_max = 4096, .headers_max = CHECK_HEADERS, .body_bytes_max = UINT64_MAX};
static const struct http_limits tight = {
    .head_bytes_max = 96, .target_bytes_max = 24, .headers_max = 3, .body_bytes_max = 20};

static void hold(const char *wrong)
{
	fuzz_hold(wrong == NULL, wrong);
}

static void fuzz_head(const char *buf, size_t len, const struct http_limits *limits)
{
	static struct checked_head whole, plain, exact;
	check_parse(&whole, buf, len, limits);
	http_head_init(&plain.head, plain.headers, CHECK_HEADERS);
	plain.rc = parse_head_plain(buf, len, limits, &plain.head);
	hold(check_same_head(&whole, buf, &plain, buf));
	if (whole.rc > 0) {
		hold(check_head(&whole, buf, limits));
		check_parse(&exact, buf, (size_t)whole.rc, limits);
		hold(check_same_head(&whole, buf, &exact, buf));
	}
	hold(check_dribble(&whole, buf, len, limits));
	size_t step = len < 64 ? 1 : len / 32;
	for (size_t cut = 0; cut <= len; cut += step)
		hold(check_cut(&whole, buf, len, cut, limits));
}

static void fuzz_scanners(const char *buf, size_t len)
{
#ifdef HTTP_BLOCKS
	const char *end = buf + len;
	for (const char *p = buf;; p++) {
		if (http_scan_token_blocks(buf, p, end) != http_scan_token_plain(buf, p, end) ||
		    http_scan_value_blocks(buf, p, end) != http_scan_value_plain(buf, p, end) ||
		    http_scan_target_blocks(buf, p, end) != http_scan_target_plain(buf, p, end))
			hold("the block scanners differ from the plain ones");
		if (p == end || p - buf == 64)
			break;
	}
#else
	(void)buf, (void)len;
#endif
}

static void fuzz_target(const char *buf, size_t len)
{
	struct tare_str text = {buf, len}, value;
	if (http_query_get(text, TARE_STR("key"), &value) && !check_inside(value, buf, len))
		hold("a query value lies outside the query");
	char *out = malloc(len + 1);
	size_t out_len = 0;
	if (out == NULL)
		abort();
	if (http_percent_decode(text, true, out, len, &out_len) == 0 && out_len > len)
		hold("decoding made the text longer");
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 16384)
		return 0;
	char *buf = fuzz_copy(data, size);
	if (buf == NULL)
		return 0;
	fuzz_head(buf, size, &roomy);
	fuzz_head(buf, size, &tight);
	fuzz_scanners(buf, size);
	fuzz_target(buf, size);
	// The body where the head ends, and the whole input as a body: mutation finds chunks either way.
	static struct checked_head head;
	check_parse(&head, buf, size, &roomy);
	size_t start = head.rc > 0 ? (size_t)head.rc : 0;
	for (size_t step = 1; step <= 3; step++) {
		hold(check_body(buf + start, size - start, step, &roomy));
		hold(check_body(buf + start, size - start, step, &tight));
	}
	free(buf);
	return 0;
}
