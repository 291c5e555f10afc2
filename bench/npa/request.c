// SPDX-License-Identifier: MIT
// The steps of one request of the service, each by itself, in the order of ARCHITECTURE.md. Writing and finding have
// groups of their own; `tare npa` adds the whole way, counted in the server, and what `tare svc --trace-one` says of
// each step.
#include "http/http_int.h"
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

// ---- the steps ----------------------------------------------------------------------------------------------------

struct call {
	void (*fn)(void *arg);
	void *arg;
};

static struct tare_listener listener;

static void beside_listener(void *arg)
{
	struct call *call = arg;
	struct tare_addr addr;
	struct tare_error err = {""};
	must(tare_addr_parse(&addr, "127.0.0.1:0", &err), err.text);
	must(tare_listen(&listener, &addr, 16, false, &err), err.text);
	call->fn(call->arg);
	tare_listener_close(&listener);
}

static void in_task_beside_listener(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	rows_in_task(beside_listener, &call);
}

// Closing resets, so that no connection is left to wait for its last packets.
TARE_NPA(step_accept, "Step 1: a connection from this machine, made, accepted and closed; the client's share is in it.",
	 60000, .within = in_task_beside_listener, .count = 64)
{
	static const struct linger reset = {1, 0};
	struct tare_addr peer;
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0 || connect(client, (const struct sockaddr *)&listener.addr.sa, listener.addr.len) < 0 ||
	    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0)
		rows_die("a connection", -errno);
	int fd = tare_accept_try(&listener, &peer);
	must(fd, "accept");
	(void)close(client);
	(void)close(fd);
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

static void no_handler(struct tare_http_exchange *x, void *arg)
{
	(void)x;
	(void)arg;
}

static struct tare_http_route routes[] = {
    {"/lookup", TARE_HTTP_ALLOW(TARE_HTTP_GET), no_handler, NULL, true},
    {"/healthz", TARE_HTTP_ALLOW(TARE_HTTP_GET), no_handler, NULL, false},
};
static struct tare_http_server server = {.options = {.routes = routes, .route_count = TARE_ARRAY_LEN(routes)}};
static struct http_conn conn = {.server = &server};
static struct http_out out;
static struct tare_http_exchange exchange = {
    .conn = &conn, .out = &out, .head = {.method = HTTP_GET, .path = {"/lookup", 7}}};

TARE_NPA(step_route, "Step 5: the path and the method pick the handler.", 15)
{
	TARE_NPA_KEEP(http_route_of(TARE_NPA_HIDE(&exchange)));
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

static void not_ready(struct tare_fd *fd)
{
	rows_die("the descriptor became ready", -EBADFD);
	(void)fd;
}

static void with_conn(void *arg)
{
	struct call *call = arg;
	int sockets[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
		rows_die("sockets", -errno);
	must(tare_fd_open(&conn.stream.fd, sockets[0]), "a descriptor");
	call->fn(call->arg);
	tare_fd_close(&conn.stream.fd);
	(void)close(sockets[1]);
}

static void in_task_with_conn(void (*fn)(void *arg), void *arg)
{
	struct call call = {fn, arg};
	rows_in_task(with_conn, &call);
}

TARE_NPA(step_reset,
	 "Step 9: the exchange is cleared, the descriptor left to the poller; and taken back, to do it again.", 40,
	 .within = in_task_with_conn)
{
	http_exchange_reset(TARE_NPA_HIDE(&exchange));
	TARE_NPA_KEEP(tare_fd_idle(&conn.stream.fd, not_ready));
	TARE_NPA_KEEP(tare_fd_unidle(&conn.stream.fd));
}
