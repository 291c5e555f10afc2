// SPDX-License-Identifier: MIT
// The steps of one request of the service, each by itself, in the order of ARCHITECTURE.md. Writing and finding have groups
// of their own; `tare npa` adds the whole way, counted in the server, and what `tare svc --trace-one` says of each step.
#include "http/parse.h"
#include "rows.h"

#include <tare/pool.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 32 << 10, HEADERS_MAX = 100 };

static const char request[] = "GET /lookup?key=1234567&fmt=json HTTP/1.1\r\n"
			      "Host: 127.0.0.1:8080\r\n"
			      "User-Agent: tare-load/0.1.0\r\n"
			      "Accept: */*\r\n\r\n";

static struct tare_pool *buffers;
static struct tare_hist *hist;
static struct tare_counter hits;
static int pair[2] = {-1, -1};

static void buffers_make(void)
{
	if (buffers == NULL)
		must(tare_pool_new(&buffers,
				   &(struct tare_pool_options){.name = "npa_buffers", .object_bytes = BUFFER_BYTES}),
		     "a pool");
}

static void hist_make(void)
{
	if (hist == NULL)
		must(tare_hist_new(&hist, 3, 10 * TARE_NS_PER_S), "a histogram");
}

static void pair_make(void)
{
	if (pair[0] < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		rows_die("sockets", -errno);
}

TARE_NPA(step_buffers, "Steps 2 and 9: a connection's buffers, taken and given back; an idle one has none.", 20,
	 .prepare = buffers_make)
{
	void *buffer = tare_pool_take(buffers);
	TARE_NPA_KEEP(buffer);
	tare_pool_give(buffers, buffer);
}

TARE_NPA(step_read_nothing, "Step 3: a read that finds nothing, before the task parks.", 400, .prepare = pair_make)
{
	TARE_NPA_KEEP(recv(pair[0], rows_out, sizeof rows_out, MSG_DONTWAIT));
}

TARE_NPA(step_write_read, "Steps 3 and 7: one answer's send and one request's receive, on a pair of local sockets.",
	 2000, .prepare = pair_make)
{
	if (send(pair[1], request, sizeof request - 1, 0) != sizeof request - 1 ||
	    recv(pair[0], rows_out, sizeof rows_out, 0) != sizeof request - 1)
		rows_die("sockets", -errno);
}

TARE_NPA(step_parse, "Step 4: the head, every rule of it checked, nothing copied.", 150)
{
	static struct http_header headers[HEADERS_MAX];
	static const struct http_limits limits = {8192, 4096, HEADERS_MAX, 1 << 20};
	struct http_head head;
	http_head_init(&head, headers, HEADERS_MAX);
	TARE_NPA_KEEP(http_parse_head(TARE_NPA_HIDE(&request[0]), sizeof request - 1, &limits, &head));
	TARE_NPA_KEEP(headers);
}

TARE_NPA(step_query, "Step 6: the key and the format out of the query; what is not known is refused.", 40)
{
	struct svc_query query = {.key = 0};
	struct tare_error err;
	must(svc_query_parse((struct tare_str){TARE_NPA_HIDE(&request[12]), 20}, &query, &err), "the query");
	TARE_NPA_KEEP(query.key);
}

TARE_NPA(step_count, "Step 6: one more in a counter that every worker adds to.", 12)
{
	tare_counter_add(&hits, 1);
}

TARE_NPA(step_record, "Step 8: the request's time into a histogram, from which every percentile is known to 0.1 %.", 8,
	 .prepare = hist_make)
{
	tare_hist_record(hist, TARE_NPA_HIDE(UINT64_C(12345)));
}
