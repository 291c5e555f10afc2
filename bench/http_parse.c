// SPDX-License-Identifier: MIT
//
// Nanoseconds to parse one request head, for heads of three sizes, whole and a byte at a time. The best of seven rounds
// of some 100 ms; one thread, one warm buffer, so it is the parser's own cost and nothing else.
//
// To build it, with -DHTTP_PLAIN to see what the block scanners are worth:
//
//	gcc -std=gnu17 -O2 -D_GNU_SOURCE -Iinclude -Isrc bench/http_parse.c src/http/parse.c src/http/scan.c
//	    src/http/text.c src/base/error.c src/base/cpu.c src/base/random.c src/base/parse.c
#include "http/parse.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 7
#define ROUND_NS (100 * TARE_NS_PER_MS)

static const struct {
	const char *name, *text;
} heads[] = {
    {"lookup", "GET /lookup?key=123&fmt=json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"},
    {"curl",
     "GET /lookup?key=123&fmt=json HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"},
    {"browser", "GET /lookup?key=123&fmt=json HTTP/1.1\r\n"
		"Host: 127.0.0.1:8080\r\n"
		"Connection: keep-alive\r\n"
		"Cache-Control: max-age=0\r\n"
		"Upgrade-Insecure-Requests: 1\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
		"Safari/537.36\r\n"
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
		"Accept-Encoding: gzip, deflate, br\r\n"
		"Accept-Language: en-GB,en;q=0.9\r\n"
		"Cookie: session=0123456789abcdef0123456789abcdef\r\n"
		"\r\n"},
};

static const struct http_limits limits = {
    .head_bytes_max = 16384, .target_bytes_max = 8192, .headers_max = 100, .body_bytes_max = 1 << 20};

// One head, `step` bytes more at each call.
static void parse_once(const char *buf, size_t len, size_t step, struct http_head *head)
{
	int rc = 0;
	for (size_t there = TARE_MIN(step, len); rc == 0; there = TARE_MIN(there + step, len)) {
		__asm__ __volatile__("" ::"r"(buf) : "memory");
		rc = http_parse_head(buf, there, &limits, head);
	}
	if (rc != (int)len) {
		fprintf(stderr, "http_parse: %d for a head of %zu bytes\n", rc, len);
		exit(1);
	}
}

static double measure(const char *text, size_t step)
{
	static struct http_header headers[100];
	struct http_head head;
	http_head_init(&head, headers, TARE_ARRAY_LEN(headers));
	size_t len = strlen(text);
	char *buf = malloc(len); // of just that size: the last block of the buffer is as awkward as in a server
	if (buf == NULL)
		exit(1);
	memcpy(buf, text, len);
	double best = 1e18;
	for (int round = 0; round < ROUNDS; round++) {
		int64_t start = tare_clock_ns(), now;
		uint64_t count = 0;
		do {
			for (int i = 0; i < 1000; i++)
				parse_once(buf, len, step, &head);
			count += 1000;
			now = tare_clock_ns();
		} while (now - start < ROUND_NS);
		best = TARE_MIN(best, (double)(now - start) / (double)count);
	}
	free(buf);
	return best;
}

int main(void)
{
	printf("%-8s %6s %10s %8s %16s\n", "head", "bytes", "ns a head", "GB/s", "a byte at a time");
	for (size_t i = 0; i < TARE_ARRAY_LEN(heads); i++) {
		size_t len = strlen(heads[i].text);
		double ns = measure(heads[i].text, len);
		printf("%-8s %6zu %10.1f %8.2f %16.1f\n", heads[i].name, len, ns, (double)len / ns,
		       measure(heads[i].text, 1));
	}
}
