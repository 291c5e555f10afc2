// SPDX-License-Identifier: MIT
// Goal: a handler finds its request's arena empty, has it to itself until its answer is complete, and is told of the
// limit; cleanups run once a request; nothing is paid for by requests that don't ask, and none by the heap once it is
// warm.
// Method: a server and a client as tasks of one runtime; the client pipelines, so that requests follow one another on
// the same buffers.
#include "in_task.h"

#include <tare/http.h>
#include <tare/mem.h>

#include <stdio.h>

enum { LIMIT = 64 * 1024 };

static struct {
	struct tare_http_server *server;
	bool pool;
	atomic_int cleanups, handlers;
	struct tare_stream stream;
	char answers[65536];
} run;

// ---- the server ---------------------------------------------------------------------------------------------------

static void count_cleanup(void *arg)
{
	CHECK(strcmp(arg, "mine") == 0); // what it refers to in the arena is still there
	atomic_fetch_add(&run.cleanups, 1);
}

// n copies of a word, each taken by itself.
static void words(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	struct tare_arena *arena = tare_http_arena(x);
	struct tare_arena_stats stats;
	tare_arena_stats_read(arena, &stats);
	CHECK(stats.used == 0);
	CHECK(tare_http_arena(x) == arena);
	CHECK(tare_arena_cleanup(arena, count_cleanup, tare_arena_strdup(arena, "mine")) == 0);
	struct tare_str value = {"1", 1};
	(void)tare_http_query_get(tare_http_query(x), TARE_STR("n"), &value);
	uint64_t n;
	CHECK(tare_parse_u64(value, &n) == 0);
	char **copies = tare_arena_alloc_zeroed(arena, n, sizeof *copies);
	for (uint64_t i = 0; copies != NULL && i < n; i++)
		if ((copies[i] = tare_arena_printf(arena, "word %d,", (int)i)) == NULL)
			copies = NULL;
	atomic_fetch_add(&run.handlers, 1);
	if (copies == NULL) {
		CHECK(tare_arena_error(arena) == -EDQUOT);
		tare_http_problem(x, 503, "%s", tare_arena_report(arena, "no room for %d words", (int)n));
		return;
	}
	tare_yield(); // others use their arenas meanwhile
	tare_http_start(x, 200, "text/plain");
	for (uint64_t i = 0; i < n; i++)
		tare_http_write(x, copies[i], strlen(copies[i]));
}

static void sparing(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	CHECK(tare_arena_alloc(tare_http_arena(x), 7000) != NULL); // of what comes with the buffers
	tare_http_start(x, 204, NULL);
}

static void plain(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	tare_http_start(x, 200, "text/plain");
	tare_http_write(x, "ok", 2);
}

static const struct tare_http_route routes[] = {
    {"/words", TARE_HTTP_ALLOW(TARE_HTTP_GET), words, NULL, false},
    {"/sparing", TARE_HTTP_ALLOW(TARE_HTTP_GET), sparing, NULL, true},
    {"/plain", TARE_HTTP_ALLOW(TARE_HTTP_GET), plain, NULL, true},
};

static struct tare_arena_row row_of_requests(void)
{
	struct tare_arena_row rows[64];
	size_t count = tare_arenas_read(rows, 64);
	for (size_t i = 0; i < count; i++)
		if (strcmp(rows[i].name, "http_request") == 0)
			return rows[i];
	return (struct tare_arena_row){0};
}

// ---- the client ---------------------------------------------------------------------------------------------------

static void connect_to_server(void)
{
	struct tare_error err = {""};
	struct tare_addr addr;
	struct tare_http_options options = {
	    .name = "test", .routes = routes, .route_count = TARE_ARRAY_LEN(routes), .pool = run.pool};
	tare_http_limits_default(&options.limits);
	options.limits.arena_bytes_max = LIMIT;
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&run.server, &options, &err) == 0);
	CHECK(tare_http_server_listen(run.server, &addr, &err) == 0);
	CHECK(tare_stream_dial(&run.stream, &addr, TARE_NEVER) == 0);
}

// Asks for each target at once and reads until as many answers came as were asked for.
static void ask(const char *target, int times)
{
	char request[256], *p;
	int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
	for (int i = 0; i < times; i++)
		CHECK(tare_stream_write(&run.stream, request, (size_t)len, TARE_NEVER) == 0);
	size_t have = 0;
	for (int whole = 0; whole < times;) {
		ssize_t n =
		    tare_stream_read(&run.stream, run.answers + have, sizeof run.answers - 1 - have, TARE_NEVER);
		CHECK(n > 0);
		if (n <= 0)
			return;
		have += (size_t)n;
		run.answers[have] = '\0';
		whole = 0;
		for (p = run.answers; (p = strstr(p, "HTTP/1.1 ")) != NULL; p++) {
			char *length = strstr(p, "Content-Length:"), *body = strstr(p, "\r\n\r\n");
			size_t body_len =
			    length != NULL && body != NULL && length < body ? strtoul(length + 15, NULL, 10) : 0;
			whole += body != NULL && body + 4 + body_len <= run.answers + have;
		}
	}
}

static int occurrences(const char *text)
{
	int count = 0;
	for (const char *p = run.answers; (p = strstr(p, text)) != NULL; p++)
		count++;
	return count;
}

static int requests_task(void *arg)
{
	(void)arg;
	connect_to_server();
	uint64_t before = row_of_requests().arenas;
	ask("/plain", 10);
	CHECK(row_of_requests().arenas == before); // who does not ask has none
	ask("/words?n=100", 10);
	CHECK(occurrences("word 99,") == 10 && occurrences("word 0,word 1,") == 10);
	CHECK(atomic_load(&run.cleanups) == 10);
	ask("/words?n=5000", 2); // each is over the limit by itself
	CHECK(occurrences("503 Service Unavailable") == 2 && occurrences("no room for 5000 words") == 2);
	CHECK(atomic_load(&run.cleanups) == atomic_load(&run.handlers));
	ask("/sparing", 3);
	ask("/words?n=500", 3);
	CHECK(occurrences("word 499,") == 3); // what others left behind stands in nobody's way
	struct tare_arena_row row = row_of_requests();
	CHECK(row.stats.used == 0 && row.stats.refused_limit >= 2);
	CHECK(row.stats.reserved_max <= LIMIT);
	tare_stream_close(&run.stream);
	CHECK(tare_http_server_drain(run.server) == 0);
	return 0;
}

static void run_requests(bool pool)
{
	memset(&run, 0, sizeof run);
	run.pool = pool;
	uint64_t before = row_of_requests().arenas;
	run_in_task(2, requests_task);
	tare_http_server_free(run.server);
	assert_int_equal(row_of_requests().arenas, before);
	assert_int_equal(row_of_requests().stats.reserved, 0);
}

TEST(each_request_has_an_arena_to_itself)
{
	run_requests(true);
}

TEST(buffers_that_are_not_recycled_take_their_arena_with_them)
{
	run_requests(false);
}

static int warm_task(void *arg)
{
	(void)arg;
	connect_to_server();
	struct tare_heap_stats before, after;
	for (int i = 0; i < 30; i++)
		ask("/words?n=100", 5);
	tare_heap_stats_read(&before);
	for (int i = 0; i < 30; i++)
		ask("/words?n=100", 5);
	tare_heap_stats_read(&after);
	CHECK(after.allocs == before.allocs);
	tare_stream_close(&run.stream);
	CHECK(tare_http_server_drain(run.server) == 0);
	return 0;
}

TEST(a_request_that_needs_little_never_calls_the_heap)
{
	memset(&run, 0, sizeof run);
	run.pool = true;
	run_in_task(1, warm_task);
	tare_http_server_free(run.server);
}

// ---- the end of the runtime ---------------------------------------------------------------------------------------

static void on_lost_stack(void *arg)
{
	(void)arg;
	atomic_fetch_add(&run.cleanups, 1);
}

static void never_ends(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	int here = 0;
	CHECK(tare_arena_cleanup(tare_http_arena(x), on_lost_stack, &here) == 0);
	CHECK(tare_arena_alloc(tare_http_arena(x), 10000) != NULL);
	atomic_fetch_add(&run.handlers, 1);
	(void)tare_sleep(3600 * TARE_NS_PER_S);
}

static const struct tare_http_route endless[] = {{"/", TARE_HTTP_ALLOW(TARE_HTTP_GET), never_ends, NULL, false}};

static int cut_task(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	struct tare_addr addr;
	struct tare_http_options options = {.name = "test", .routes = endless, .route_count = 1, .pool = true};
	tare_http_limits_default(&options.limits);
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&run.server, &options, &err) == 0);
	CHECK(tare_http_server_listen(run.server, &addr, &err) == 0);
	CHECK(tare_stream_dial(&run.stream, &addr, TARE_NEVER) == 0);
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	CHECK(tare_stream_write(&run.stream, request, sizeof request - 1, TARE_NEVER) == 0);
	while (atomic_load(&run.handlers) == 0)
		tare_yield();
	tare_stream_close(&run.stream);
	return 0; // the handler is still in the middle
}

TEST(a_handler_that_the_runtimes_end_cuts_off_is_not_cleaned_up_after)
{
	memset(&run, 0, sizeof run);
	run_in_task(2, cut_task);
	uint64_t before = row_of_requests().stats.reserved;
	assert_true(before > 0);
	tare_http_server_free(run.server);
	assert_int_equal(row_of_requests().stats.reserved, 0);
	assert_int_equal(atomic_load(&run.cleanups), 0);
}

TEST(an_arena_limit_that_no_arena_fits_in_is_refused)
{
	struct tare_error err = {""};
	struct tare_http_options options = {.name = "test"};
	struct tare_http_server *server;
	tare_http_limits_default(&options.limits);
	options.limits.arena_bytes_max = 8191;
	assert_int_equal(tare_http_server_new(&server, &options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "8191"));
}
