// SPDX-License-Identifier: MIT
// Goal: a chunked body costs in proportion to its bytes, however small its chunks are.
// Method: one client, one worker; the bytes that are moved and the calls of the heap are counted, not the time. memmove
// is this program's own: what lies in the library calls it.
#include "in_task.h"

#include <tare/heap.h>
#include <tare/http.h>

#include <stdio.h>
#include <string.h>

#if !defined(TARE_ASAN) && !defined(TARE_TSAN) // they have one of their own
static unsigned long long moved;

// Byte by byte and volatile, so that no compiler makes a memmove of it.
void *memmove(void *to, const void *from, size_t len)
{
	volatile char *out = to;
	const volatile char *in = from;
	__atomic_fetch_add(&moved, len, __ATOMIC_RELAXED);
	if ((uintptr_t)to < (uintptr_t)from) {
		for (size_t i = 0; i < len; i++)
			out[i] = in[i];
	} else {
		while (len-- > 0)
			out[len] = in[len];
	}
	return to;
}

enum { CHUNKS = 20000, CHUNK_BYTES = 6, WIRE_BYTES = CHUNKS * CHUNK_BYTES };

static size_t body_len;

static void take_body(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	struct tare_str body = tare_http_body(x);
	body_len = body.len;
	for (size_t i = 0; i < body.len; i++)
		CHECK(body.ptr[i] == (char)('a' + i % 26));
	tare_http_start(x, 204, NULL);
}

static const struct tare_http_route routes[] = {{"/", TARE_HTTP_ALLOW(TARE_HTTP_POST), take_body, NULL, false}};

static struct tare_stream stream; // type-stable: static storage

static int tiny_chunks_main(void *arg)
{
	(void)arg;
	static char text[WIRE_BYTES + 256];
	char answer[256];
	struct tare_error err = {""};
	struct tare_addr addr;
	struct tare_http_server *server;
	struct tare_http_options options = {.name = "test", .routes = routes, .route_count = 1, .pool = true};
	tare_http_limits_default(&options.limits);
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&server, &options, &err) == 0);
	CHECK(tare_http_server_listen(server, &addr, &err) == 0);

	char *end = stpcpy(text, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < CHUNKS; i++)
		end += sprintf(end, "1\r\n%c\r\n", 'a' + i % 26);
	end = stpcpy(end, "0\r\n\r\n");
	CHECK(tare_stream_dial(&stream, &addr, TARE_NEVER) == 0);
	body_len = 0;
	unsigned long long before = moved;
	struct tare_heap_stats heap, heap_before;
	tare_heap_stats_read(&heap_before);
	CHECK(tare_stream_write(&stream, text, (size_t)(end - text), TARE_NEVER) == 0);
	ssize_t n = tare_stream_read(&stream, answer, sizeof answer, TARE_NEVER);
	CHECK(n > 12 && memcmp(answer, "HTTP/1.1 204", 12) == 0);
	CHECK(body_len == CHUNKS);
	CHECK(moved - before <= WIRE_BYTES); // each byte once at most; a chunk at a time it was half a buffer each
	tare_heap_stats_read(&heap);
	CHECK(heap.allocs - heap_before.allocs <= 100); // a body grows by doubling; nothing is allocated a chunk

	tare_stream_close(&stream);
	CHECK(tare_http_server_drain(server) == 0);
	tare_http_server_free(server);
	return 0;
}

TEST(tiny_chunks_cost_no_more_than_their_bytes)
{
	run_in_task(1, tiny_chunks_main);
}
#else
TEST(tiny_chunks_cost_no_more_than_their_bytes)
{
	skip();
}
#endif
