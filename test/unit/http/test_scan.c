// SPDX-License-Identifier: MIT
//
// Goal: the block scanners give the plain scanners' answers, and the classes are those of the RFC.
// Method: every byte's classes against the RFC's words; every length, alignment and stop position up to four blocks,
// with the range ending at a page that can't be read; random bytes; and whole heads through a second parser built from
// the same source with the plain scanners.
#include "test.h"

#include "../../../fuzz/http_check.h"
#include "http/scan.h"

#include <sys/mman.h>
#include <unistd.h>

// The second parser: the same file, with the plain scanners and a name of its own.
#undef http_scan_token
#undef http_scan_value
#undef http_scan_target
#define http_scan_token http_scan_token_plain
#define http_scan_value http_scan_value_plain
#define http_scan_target http_scan_target_plain
#define http_parse_head parse_head_plain
int parse_head_plain(const char *buf, size_t len, const struct http_limits *limits, struct http_head *head);
#include "../../../src/http/parse.c"
#undef http_parse_head

TEST(classes_are_those_of_the_rfc)
{
	for (unsigned b = 0; b < 256; b++) {
		bool letter = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z'), digit = b >= '0' && b <= '9';
		bool token = letter || digit || (b != 0 && strchr("!#$%&'*+-.^_`|~", (int)b) != NULL);
		bool value = (b >= 0x20 && b != 0x7f) || b == '\t';
		bool target = b >= 0x21 && b <= 0x7e && b != '#';
		bool host = letter || digit || (b != 0 && strchr("-._~!$&'()*+;=", (int)b) != NULL);
		unsigned want = (token ? HTTP_CLASS_TOKEN : 0) | (value ? HTTP_CLASS_VALUE : 0) |
				(target ? HTTP_CLASS_TARGET : 0) | (host ? HTTP_CLASS_HOST : 0);
		assert_int_equal(http_classes[b], want);
	}
}

#ifdef HTTP_BLOCKS
// The last page of the returned pages can't be read; *ret_end is its first byte.
static char *map_guarded(size_t len, char **ret_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = (len + page - 1) / page * page;
	char *base = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(base != MAP_FAILED);
	assert_int_equal(mprotect(base + bytes, page, PROT_NONE), 0);
	*ret_end = base + bytes;
	return base;
}

static void assert_same_scans(const char *begin, const char *p, const char *end)
{
	assert_ptr_equal(http_scan_token_blocks(begin, p, end), http_scan_token_plain(begin, p, end));
	assert_ptr_equal(http_scan_value_blocks(begin, p, end), http_scan_value_plain(begin, p, end));
	assert_ptr_equal(http_scan_target_blocks(begin, p, end), http_scan_target_plain(begin, p, end));
}

TEST(every_byte_stops_alike_at_every_place)
{
	char *end, *base = map_guarded(64, &end);
	for (size_t len = 1; len <= 40; len++) {
		char *begin = end - len;
		memset(begin, 'a', len);
		for (size_t at = 0; at < len; at++) {
			for (unsigned b = 0; b < 256; b++) {
				begin[at] = (char)b;
				assert_same_scans(begin, begin, end);
				assert_same_scans(begin, begin + at / 2, end);
			}
			begin[at] = 'a';
		}
	}
	munmap(base, (size_t)(end - base) + (size_t)sysconf(_SC_PAGESIZE));
}

TEST(random_bytes_stop_alike_from_every_start_to_every_end)
{
	char *end, *base = map_guarded(96, &end);
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (unsigned round = 0; round < 200; round++) {
		char *begin = end - 72;
		// Most bytes are in all classes, so that scans get far.
		for (char *p = begin; p != end; p++)
			*p = tare_rng_below(&rng, 24) == 0 ? (char)tare_rng_next(&rng)
							   : "abzAZ09-._~"[tare_rng_below(&rng, 11)];
		for (char *p = begin; p != end; p++) {
			assert_same_scans(begin, p, end);
			assert_same_scans(p, p, end);
			assert_same_scans(begin, p, p + (end - p) / 2);
		}
	}
	munmap(base, (size_t)(end - base) + (size_t)sysconf(_SC_PAGESIZE));
}

TEST(an_empty_range_ends_at_once)
{
	char byte = 'a';
	assert_ptr_equal(http_scan_token_blocks(&byte, &byte, &byte), &byte);
	assert_ptr_equal(http_scan_value_blocks(&byte, &byte + 1, &byte + 1), &byte + 1);
}
#endif

TEST(both_parsers_say_the_same_of_damaged_heads)
{
	static const char text[] = "POST /lookup?key=123&fmt=json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
				   "X-Something-Long_And!Odd: 0123456789abcdef0123456789abcdef\t \r\n"
				   "Connection: keep-alive, upgrade\r\nContent-Length: 12\r\n\r\n";
	static const struct http_limits limits = {
	    .head_bytes_max = 4096, .target_bytes_max = 1024, .headers_max = 16, .body_bytes_max = 100};
	static struct checked_head blocks, plain;
	struct tare_rng rng;
	tare_rng_init(&rng, 2);
	unsigned accepted = 0, refused = 0;
	for (unsigned round = 0; round < 20000; round++) {
		char buf[sizeof text - 1];
		memcpy(buf, text, sizeof buf);
		for (uint64_t n = tare_rng_below(&rng, 3); n > 0; n--)
			buf[tare_rng_below(&rng, sizeof buf)] = (char)tare_rng_next(&rng);
		check_parse(&blocks, buf, sizeof buf, &limits);
		http_head_init(&plain.head, plain.headers, CHECK_HEADERS);
		plain.rc = parse_head_plain(buf, sizeof buf, &limits, &plain.head);
		assert_string_equal(check_same_head(&blocks, buf, &plain, buf) ?: "", "");
		accepted += blocks.rc > 0;
		refused += blocks.rc < 0;
	}
	assert_true(accepted > 1000 && refused > 1000);
}
