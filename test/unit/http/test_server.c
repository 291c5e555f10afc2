// SPDX-License-Identifier: MIT
// Goal: whatever the network and the scheduler do, each request is answered once, in order and whole, also while the
// server drains; a peer that goes away costs nobody else anything.
// Method: a server and its clients as tasks of one runtime. Clients cut their requests into pieces at random; what the
// handler counted and what clients received must agree. In simulation every seed is another network.
#include "in_task.h"

#include <tare/http.h>
#include <tare/sync.h>

#include <stdio.h>
#include <string.h>

enum { CLIENTS = 6, BODY_MAX = 5000, MUCH = 3900000 };

static struct {
	struct tare_http_server *server;
	struct tare_addr addr;
	atomic_long handled, received;
	atomic_bool draining;
	bool rough; // connections may be reset
	struct tare_rng rng;
} run;

// ---- the server ---------------------------------------------------------------------------------------------------

static void echo_number(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	struct tare_str n = {"?", 1};
	(void)tare_http_query_get(tare_http_query(x), (struct tare_str){"n", 1}, &n);
	tare_http_start(x, 200, "text/plain");
	tare_http_write(x, n.ptr, n.len);
	atomic_fetch_add(&run.handled, 1);
}

// The sum of the body's bytes; it yields in between, so that others run while an answer is under way.
static void sum_body(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	struct tare_str body = tare_http_body(x);
	uint64_t sum = 0;
	for (size_t i = 0; i < body.len; i++)
		sum += (unsigned char)body.ptr[i];
	tare_yield();
	tare_http_start(x, 200, "text/plain");
	tare_http_printf(x, "%zu:%llu", body.len, (unsigned long long)sum);
	atomic_fetch_add(&run.handled, 1);
}

static void much(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	tare_http_start(x, 200, "text/plain");
	char *to = tare_http_reserve(x, MUCH);
	if (to == NULL)
		return;
	memset(to, 'm', MUCH);
	tare_http_commit(x, MUCH);
}

// What a client does that asks for much and reads nothing, until it is told that it was given up.
static struct {
	struct tare_event over;
	atomic_int asked; // requests, until then and after
} given_up;

static void much_unread(struct tare_http_exchange *x, void *arg)
{
	atomic_fetch_add(&given_up.asked, 1);
	much(x, arg);
	if (tare_http_reserve(x, 1) != NULL)
		return;
	// The answers before this one had to leave first, and could not. Another answer would be as good as any.
	tare_http_problem(x, 503, "too much");
	tare_event_wake(&given_up.over);
}

// A client that always has more on its way: for every request that is answered another is sent, by the handler, so that
// the server's task need never wait.
static struct {
	struct tare_stream *stream; // the client's end; NULL: no more
	struct tare_event begun;
	long left;
	char request[4096];
} flood;

enum { FLOOD_REQUESTS = 50000, FLOOD_AHEAD = 12 }; // ahead: some of the server's buffers full

static void feed(struct tare_http_exchange *x, void *arg)
{
	static char answers[16384];
	(void)arg;
	tare_http_start(x, 204, NULL);
	if (flood.stream == NULL || flood.left == 0)
		return;
	tare_event_wake(&flood.begun);
	flood.left--;
	ssize_t n = tare_fd_recv(&flood.stream->fd, answers, sizeof answers); // they need room
	CHECK(n > 0 || n == -EAGAIN);
	CHECK(tare_fd_send(&flood.stream->fd, flood.request, sizeof flood.request) == sizeof flood.request);
}

static const struct tare_http_route routes[] = {
    {"/much", TARE_HTTP_ALLOW(TARE_HTTP_GET), much, NULL, false},
    {"/unread", TARE_HTTP_ALLOW(TARE_HTTP_GET), much_unread, NULL, false},
    {"/feed", TARE_HTTP_ALLOW(TARE_HTTP_GET), feed, NULL, false},
    {"/echo", TARE_HTTP_ALLOW(TARE_HTTP_GET), echo_number, NULL, false},
    {"/sum", TARE_HTTP_ALLOW(TARE_HTTP_POST), sum_body, NULL, false},
};

static int64_t idle_timeout_ns; // 0: the default

static void server_start_with(int64_t timeout_ns)
{
	struct tare_error err = {""};
	struct tare_http_options options = {
	    .name = "test", .routes = routes, .route_count = TARE_ARRAY_LEN(routes), .pool = true};
	tare_http_server_free(run.server); // of the run before
	run.server = NULL;
	tare_http_limits_default(&options.limits);
	if (timeout_ns != 0)
		options.limits.write_timeout_ns = options.limits.head_timeout_ns = timeout_ns;
	if (idle_timeout_ns != 0)
		options.limits.idle_timeout_ns = idle_timeout_ns;
	atomic_store(&run.handled, 0);
	atomic_store(&run.received, 0);
	atomic_store(&run.draining, false);
	CHECK(tare_addr_parse(&run.addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&run.server, &options, &err) == 0);
	CHECK(tare_http_server_listen(run.server, &run.addr, &err) == 0);
}

static void server_start(void)
{
	server_start_with(0);
}

static void server_drain(void)
{
	atomic_store(&run.draining, true);
	CHECK(tare_http_server_drain(run.server) == 0);
	struct tare_http_stats stats;
	tare_http_server_stats(run.server, &stats);
	CHECK(stats.connections_live == 0 && stats.connections_idle == 0);
}

// ---- a client -----------------------------------------------------------------------------------------------------

struct client {
	struct tare_stream stream; // type-stable: static storage
	struct tare_rng rng;
	char in[16384];
	size_t len;
	long requests;
	int number;
};

static struct client clients[CLIENTS];

static bool send_in_pieces(struct client *c, const char *text, size_t len)
{
	while (len > 0) {
		size_t n = 1 + tare_rng_below(&c->rng, len);
		if (tare_stream_write(&c->stream, text, n, TARE_NEVER) < 0)
			return false;
		text += n;
		len -= n;
		if (tare_rng_below(&c->rng, 3) == 0)
			tare_yield();
	}
	return true;
}

// One whole answer's body. 1: it is there; 0: the connection ended before its first byte; -1: in its midst.
static int read_answer(struct client *c, char *body, size_t cap)
{
	for (;;) {
		c->in[c->len] = '\0';
		char *end = strstr(c->in, "\r\n\r\n");
		char *length = end != NULL ? strstr(c->in, "Content-Length:") : NULL;
		if (length != NULL) {
			size_t head = (size_t)(end + 4 - c->in), bytes = strtoul(length + 15, NULL, 10);
			if (c->len >= head + bytes) {
				CHECK(strncmp(c->in, "HTTP/1.1 200 ", 13) == 0 && bytes < cap);
				memcpy(body, c->in + head, bytes);
				body[bytes] = '\0';
				c->len -= head + bytes;
				memmove(c->in, c->in + head + bytes, c->len);
				return 1;
			}
		}
		ssize_t n = tare_stream_read(&c->stream, c->in + c->len, sizeof c->in - 1 - c->len, TARE_NEVER);
		if (n <= 0)
			return c->len == 0 ? 0 : -1;
		c->len += (size_t)n;
	}
}

static size_t make_get(char *text, size_t cap, long n)
{
	return (size_t)snprintf(text, cap, "GET /echo?n=%ld HTTP/1.1\r\nHost: x\r\n\r\n", n);
}

// Several GETs in one go; the answers must come in order. False: the connection is over.
static bool ask_pipelined(struct client *c)
{
	char text[2048], body[64], wanted[32];
	size_t len = 0;
	long count = 1 + (long)tare_rng_below(&c->rng, 12), first = c->number * 1000 + c->requests;
	for (long i = 0; i < count; i++)
		len += make_get(text + len, sizeof text - len, first + i);
	bool sent = send_in_pieces(c, text, len);
	for (long i = 0; i < count; i++) {
		int got = read_answer(c, body, sizeof body);
		if (got != 1) {
			// While it drains, a server may leave what it had not yet received unanswered, never half
			// answered.
			CHECK(run.rough || (got == 0 && atomic_load(&run.draining)));
			return false;
		}
		snprintf(wanted, sizeof wanted, "%ld", first + i);
		CHECK(strcmp(body, wanted) == 0);
		atomic_fetch_add(&run.received, 1);
	}
	c->requests += count;
	return sent;
}

static bool ask_with_body(struct client *c)
{
	static const char pattern[] = "the quick brown fox";
	char head[256], text[BODY_MAX + 4096], body[64], wanted[64];
	size_t bytes = tare_rng_below(&c->rng, BODY_MAX), len = 0, sum = 0;
	bool chunked = tare_rng_below(&c->rng, 2) == 0;
	for (size_t i = 0; i < bytes; i++)
		sum += (unsigned char)pattern[i % (sizeof pattern - 1)];
	if (chunked)
		snprintf(head, sizeof head, "POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		snprintf(head, sizeof head, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", bytes);
	len = (size_t)(stpcpy(text, head) - text);
	for (size_t i = 0; i < bytes;) {
		size_t n = chunked ? TARE_MIN(bytes - i, (size_t)97) : bytes;
		if (chunked)
			len += (size_t)snprintf(text + len, sizeof text - len, "%zx\r\n", n);
		for (size_t end = i + n; i < end; i++)
			text[len++] = pattern[i % (sizeof pattern - 1)];
		if (chunked)
			len = (size_t)(stpcpy(text + len, "\r\n") - text);
	}
	if (chunked)
		len = (size_t)(stpcpy(text + len, "0\r\n\r\n") - text);
	bool sent = send_in_pieces(c, text, len);
	int got = read_answer(c, body, sizeof body);
	if (got != 1) {
		CHECK(run.rough || (got == 0 && atomic_load(&run.draining)));
		return false;
	}
	snprintf(wanted, sizeof wanted, "%zu:%zu", bytes, sum);
	CHECK(strcmp(body, wanted) == 0);
	atomic_fetch_add(&run.received, 1);
	c->requests++;
	return sent;
}

static int client_main(void *arg)
{
	struct client *c = arg;
	for (long dials = 200; dials > 0 && c->requests < SCALED(2000) + 20 && !atomic_load(&run.draining); dials--) {
		if (tare_stream_dial(&c->stream, &run.addr, TARE_NEVER) < 0) {
			CHECK(atomic_load(&run.draining));
			return 0;
		}
		c->len = 0;
		bool on = true;
		for (long left = 1 + (long)tare_rng_below(&c->rng, 8); on && left > 0; left--) {
			on = tare_rng_below(&c->rng, 4) == 0 ? ask_with_body(c) : ask_pipelined(c);
			if (tare_rng_below(&c->rng, 4) == 0)
				(void)tare_sleep(
				    (int64_t)tare_rng_below(&c->rng, 1000000)); // the connection turns idle
		}
		tare_stream_close(&c->stream);
	}
	return 0;
}

static void clients_start(struct tare_scope *scope)
{
	CHECK(tare_scope_open(scope, TARE_NEVER, 0) == 0);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i].number = i;
		clients[i].requests = 0;
		tare_rng_init(&clients[i].rng, tare_rng_next(&run.rng));
		CHECK(tare_scope_go(scope, client_main, &clients[i]) == 0);
	}
}

// ---- tests --------------------------------------------------------------------------------------------------------

static void with_server(int workers, tare_task_fn *fn)
{
	tare_rng_init(&run.rng, (uint64_t)workers);
	run_in_task(workers, fn);
	tare_http_server_free(run.server);
	run.server = NULL;
}

static int serve_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	server_start();
	clients_start(&scope);
	CHECK(tare_scope_join(&scope) == 0);
	server_drain();
	CHECK(atomic_load(&run.handled) == atomic_load(&run.received));
	return 0;
}

TEST(every_request_is_answered_once_in_order_and_whole)
{
	for (int workers = 1; workers <= 3; workers++)
		with_server(workers, serve_main);
}

static int drain_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	server_start();
	clients_start(&scope);
	(void)tare_sleep((int64_t)tare_rng_below(&run.rng, 3 * TARE_NS_PER_MS));
	server_drain();
	CHECK(tare_scope_join(&scope) == 0);
	CHECK(atomic_load(&run.handled) == atomic_load(&run.received)); // no answer was lost on its way
	return 0;
}

TEST(a_drain_under_load_loses_no_answer)
{
	for (int round = 0; round < (SIMULATED ? 1 : 10); round++)
		for (int workers = 1; workers <= 3; workers++)
			with_server(workers, drain_main);
}

// Reads to the end. *ret_found: where `what` begins in them, or -1.
static void read_all(struct client *c, const char *what, ssize_t *ret_found)
{
	static char all[2 * MUCH + 4096];
	size_t len = 0;
	for (ssize_t n; (n = tare_stream_read(&c->stream, all + len, sizeof all - 1 - len, TARE_NEVER)) > 0;)
		len += (size_t)n;
	all[len] = '\0';
	const char *found = len > 0 ? memmem(all + 1, len - 1, what, strlen(what)) : NULL;
	*ret_found = found != NULL ? found - all : -1;
}

static void dial_and_send(struct client *c, const char *text)
{
	CHECK(tare_stream_dial(&c->stream, &run.addr, TARE_NEVER) == 0);
	CHECK(tare_stream_write(&c->stream, text, strlen(text), TARE_NEVER) == 0);
}

static int stalled_main(void *arg)
{
	(void)arg;
	struct client *c = &clients[0];
	ssize_t at;
	server_start_with(20 * TARE_NS_PER_MS);
	dial_and_send(c, "GET /much HTTP/1.1\r\nHost: x\r\n\r\nGET /much HTTP/1.1\r\nHost: x\r\n\r\n");
	(void)tare_sleep(500 * TARE_NS_PER_MS); // longer than the server waits for its reader
	read_all(c, "HTTP/1.1 ", &at);
	CHECK(at < 0 || at > MUCH); // an answer that was cut is the last
	tare_stream_close(&c->stream);
	dial_and_send(c, "HEAD /echo?n=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /echo");
	read_all(c, "did not arrive in time", &at);
	CHECK(at > 0); // the 408 is no answer to HEAD
	tare_stream_close(&c->stream);
	server_drain();
	return 0;
}

TEST(what_was_cut_is_the_last_and_what_is_late_is_told)
{
	with_server(2, stalled_main);
}

static int unread_main(void *arg)
{
	(void)arg;
	struct client *c = &clients[0];
	static const char request[] = "GET /unread HTTP/1.1\r\nHost: x\r\n\r\n";
	static char four[4 * sizeof request];
	server_start_with(50 * TARE_NS_PER_MS);
	given_up.over = (struct tare_event){0};
	atomic_store(&given_up.asked, 0);
	four[0] = '\0';
	for (int i = 0; i < 4; i++)
		strcat(four, request);
	dial_and_send(c, four);
	// In a simulation a request may come alone: then it is given up without a word to its handler, and a reset may
	// take with it what was on its way.
	int64_t patience_ns = SIMULATED ? 500 * TARE_NS_PER_MS : 30 * TARE_NS_PER_S;
	int rc = tare_event_wait_until(&given_up.over, tare_now_ns() + patience_ns);
	CHECK(rc == 0 || SIMULATED);
	// From here on there is room again: whatever else the server has to say would arrive.
	int asked = atomic_load(&given_up.asked);
	char last = '\0';
	for (ssize_t n; (n = tare_stream_read(&c->stream, c->in, sizeof c->in, TARE_NEVER)) > 0;)
		last = c->in[n - 1];
	CHECK(last == 'm' || (SIMULATED && last == '\0')); // in the midst of an answer
	CHECK(asked < 4 && atomic_load(&given_up.asked) == asked);
	tare_stream_close(&c->stream);
	server_drain();
	return 0;
}

TEST(nothing_follows_an_answer_that_was_cut)
{
	with_server(2, unread_main);
}

// ---- one client beside another ------------------------------------------------------------------------------------

static int flood_main(void *arg)
{
	(void)arg;
	struct client *ahead = &clients[0], *other = &clients[1];
	static char text[FLOOD_AHEAD * sizeof flood.request];
	char body[64];
	server_start();
	size_t head = (size_t)snprintf(flood.request, sizeof flood.request, "GET /feed HTTP/1.1\r\nHost: x\r\nX: ");
	memset(flood.request + head, 'x', sizeof flood.request - head);
	memcpy(flood.request + sizeof flood.request - 4, "\r\n\r\n", 4);
	for (size_t i = 0; i < FLOOD_AHEAD; i++)
		memcpy(text + i * sizeof flood.request, flood.request, sizeof flood.request);
	flood.begun = (struct tare_event){0};
	flood.left = FLOOD_REQUESTS;
	flood.stream = NULL;
	CHECK(tare_stream_dial(&ahead->stream, &run.addr, TARE_NEVER) == 0);
	CHECK(tare_stream_write(&ahead->stream, text, sizeof text, TARE_NEVER) == 0);
	flood.stream = &ahead->stream;
	tare_event_wait(&flood.begun);
	dial_and_send(other, "GET /echo?n=5 HTTP/1.1\r\nHost: x\r\n\r\n");
	other->len = 0;
	CHECK(read_answer(other, body, sizeof body) == 1 && strcmp(body, "5") == 0);
	CHECK(flood.left > 0); // it was answered while the other still went on
	flood.stream = NULL;
	tare_stream_close(&ahead->stream);
	tare_stream_close(&other->stream);
	server_drain();
	return 0;
}

TEST(a_client_that_always_has_more_does_not_keep_the_others_waiting)
{
	if (SIMULATED)
		skip(); // there, what is sent is on its way for a while
	with_server(1, flood_main);
}

// ---- a drain ------------------------------------------------------------------------------------------------------

static int idle_main(void *arg)
{
	(void)arg;
	struct tare_http_stats stats;
	char body[64];
	server_start();
	for (int i = 0; i < CLIENTS; i++) {
		dial_and_send(&clients[i], "GET /echo?n=5 HTTP/1.1\r\nHost: x\r\n\r\n");
		clients[i].len = 0;
		CHECK(read_answer(&clients[i], body, sizeof body) == 1);
	}
	// All of them idle, or, in a simulation, some only about to be.
	do {
		tare_yield();
		tare_http_server_stats(run.server, &stats);
	} while (stats.connections_idle < (SIMULATED ? 1 : CLIENTS));
	server_drain(); // 0: none was left to be cut at the drain's deadline
	for (int i = 0; i < CLIENTS; i++) {
		CHECK(read_answer(&clients[i], body, sizeof body) == 0);
		tare_stream_close(&clients[i].stream);
	}
	CHECK(atomic_load(&run.handled) == CLIENTS);
	return 0;
}

TEST(a_drain_closes_idle_connections_and_leaves_none_open)
{
	for (int workers = 1; workers <= 3; workers++)
		with_server(workers, idle_main);
}

TEST(a_timeout_may_be_never)
{
	idle_timeout_ns = TARE_NEVER;
	with_server(2, serve_main);
	idle_timeout_ns = 0;
}

#ifdef TARE_SIM
static int drain_beside(void *arg)
{
	(void)arg;
	server_drain();
	return 0;
}

static int late_word_main(void *arg)
{
	(void)arg;
	struct client *c = &clients[0];
	struct tare_task *drain;
	struct tare_http_stats stats;
	char text[64], body[64];
	server_start();
	CHECK(tare_stream_dial(&c->stream, &run.addr, TARE_NEVER) == 0);
	c->len = 0;
	do {
		(void)tare_sleep(10 * TARE_NS_PER_US);
		tare_http_server_stats(run.server, &stats);
	} while (stats.connections_idle == 0);
	CHECK(tare_spawn(&drain, NULL, drain_beside, NULL) == 0);
	do { // until the drain has come to this connection
		(void)tare_sleep(10 * TARE_NS_PER_US);
		tare_http_server_stats(run.server, &stats);
	} while (stats.connections_idle > 0);
	CHECK(tare_stream_write(&c->stream, text, make_get(text, sizeof text, 7), TARE_NEVER) == 0);
	CHECK(read_answer(c, body, sizeof body) == 1 && strcmp(body, "7") == 0);
	CHECK(read_answer(c, body, sizeof body) == 0);
	CHECK(tare_join(drain) == 0);
	tare_stream_close(&c->stream);
	return 0;
}

// The server waits a second for that, which only a simulation's clock can promise to be enough.
TEST(a_client_that_was_accepted_just_before_a_drain_is_heard)
{
	with_server(1, late_word_main);
	with_server(2, late_word_main);
}

// Two heads, each within its time, but not both within the first one's.
static int slow_heads_main(void *arg)
{
	(void)arg;
	struct client *c = &clients[0];
	char body[64];
	server_start_with(10 * TARE_NS_PER_S);
	dial_and_send(c, "GET /echo?n=1 HTTP/1.1\r\nHo");
	c->len = 0;
	(void)tare_sleep(7 * TARE_NS_PER_S);
	static const char on[] = "st: x\r\n\r\nGET /echo?n=2 HTTP/1.1\r\nHo", end[] = "st: x\r\n\r\n";
	CHECK(tare_stream_write(&c->stream, on, sizeof on - 1, TARE_NEVER) == 0);
	CHECK(read_answer(c, body, sizeof body) == 1 && strcmp(body, "1") == 0);
	(void)tare_sleep(7 * TARE_NS_PER_S);
	CHECK(tare_stream_write(&c->stream, end, sizeof end - 1, TARE_NEVER) == 0);
	CHECK(read_answer(c, body, sizeof body) == 1 && strcmp(body, "2") == 0);
	tare_stream_close(&c->stream);
	server_drain();
	return 0;
}

TEST(each_head_has_a_time_of_its_own)
{
	with_server(1, slow_heads_main);
	with_server(2, slow_heads_main);
}

static int used_now_and_then_main(void *arg)
{
	(void)arg;
	struct client *c = &clients[0];
	char text[64], body[64];
	server_start();
	CHECK(tare_stream_dial(&c->stream, &run.addr, TARE_NEVER) == 0);
	c->len = 0;
	for (int i = 0; i < 4; i++) {
		CHECK(tare_stream_write(&c->stream, text, make_get(text, sizeof text, i), TARE_NEVER) == 0);
		CHECK(read_answer(c, body, sizeof body) == 1);
		(void)tare_sleep(7 * TARE_NS_PER_S);
	}
	int64_t begin_ns = tare_now_ns();
	CHECK(read_answer(c, body, sizeof body) == 0); // not used any more, it is closed
	CHECK(tare_now_ns() - begin_ns < 10 * TARE_NS_PER_S);
	tare_stream_close(&c->stream);
	server_drain();
	return 0;
}

TEST(a_connection_is_idle_from_its_last_use_on)
{
	idle_timeout_ns = 10 * TARE_NS_PER_S;
	with_server(1, used_now_and_then_main);
	with_server(2, used_now_and_then_main);
	idle_timeout_ns = 0;
}

// Connections are reset at any moment, segments lost, and for a while nothing arrives at all.
static int rough_main(void *arg)
{
	(void)arg;
	struct tare_scope scope;
	rt_sim_net_set(
	    &(struct rt_sim_net){.delay_max_ns = TARE_NS_PER_MS, .loss_per_mille = 50, .reset_per_mille = 20});
	server_start();
	clients_start(&scope);
	(void)tare_sleep((int64_t)tare_rng_below(&run.rng, 20 * TARE_NS_PER_MS));
	rt_sim_net_partition(tare_now_ns() + 300 * TARE_NS_PER_MS);
	CHECK(tare_scope_join(&scope) == 0);
	server_drain();
	CHECK(atomic_load(&run.handled) >= atomic_load(&run.received));
	rt_sim_net_set(&(struct rt_sim_net){.delay_max_ns = 200 * TARE_NS_PER_US, .loss_per_mille = 5});
	return 0;
}

TEST(resets_losses_and_partitions_harm_only_their_own_connection)
{
	run.rough = true;
	for (int workers = 1; workers <= 3; workers++)
		with_server(workers, rough_main);
	run.rough = false;
}
#endif
