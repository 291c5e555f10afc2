// SPDX-License-Identifier: MIT
// Goal: a handler gets a request's header fields by name, whatever their case, the first where there are several, and
// is told of one that is not there.
// Method: requests over a connection to a handler that answers with what it got.
#include "in_task.h"

#include <tare/http.h>
#include <tare/pool.h>

#include <stdio.h>

static void show(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	static const char *const names[] = {"x-colour", "X-COLOUR", "Host", "X-Empty", "X-Colou", "X-Colours"};
	tare_http_start(x, 200, "text/plain");
	for (size_t i = 0; i < TARE_ARRAY_LEN(names); i++) {
		struct tare_str value = {"untouched", 9};
		bool found = tare_http_header_get(x, names[i], &value);
		tare_http_printf(x, "%s:%s<%.*s>\n", names[i], found ? "" : "none", (int)value.len, value.ptr);
	}
}

static struct tare_stream stream; // type-stable: static storage

static void ask(const char *request, const char *expected)
{
	char answer[1024];
	size_t len = 0;
	CHECK(tare_stream_write(&stream, request, strlen(request), TARE_NEVER) == 0);
	for (;;) {
		ssize_t n = tare_stream_read(&stream, answer + len, sizeof answer - 1 - len, TARE_NEVER);
		CHECK(n > 0);
		if (n <= 0)
			return;
		len += (size_t)n;
		answer[len] = '\0';
		const char *body = strstr(answer, "\r\n\r\n");
		if (body == NULL || strlen(body + 4) < strlen(expected))
			continue;
		CHECK(strcmp(body + 4, expected) == 0);
		return;
	}
}

static int fields_main(void *arg)
{
	(void)arg;
	static const struct tare_http_route routes[] = {{"/", TARE_HTTP_ALLOW(TARE_HTTP_GET), show, NULL, false}};
	struct tare_error err = {""};
	struct tare_addr addr;
	struct tare_http_server *server;
	struct tare_http_options options = {.name = "test", .routes = routes, .route_count = 1, .pool = true};
	tare_http_limits_default(&options.limits);
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&server, &options, &err) == 0);
	CHECK(tare_http_server_listen(server, &addr, &err) == 0);
	CHECK(tare_stream_dial(&stream, &addr, TARE_NEVER) == 0);

	ask("GET / HTTP/1.1\r\nHost: a\r\nX-Colour:  light blue \r\nX-Empty:\r\nX-Colour: red\r\n\r\n",
	    "x-colour:<light blue>\nX-COLOUR:<light blue>\nHost:<a>\nX-Empty:<>\nX-Colou:none<untouched>\n"
	    "X-Colours:none<untouched>\n");
	ask("GET / HTTP/1.1\r\nhost: b\r\n\r\n", // nothing of the request before
	    "x-colour:none<untouched>\nX-COLOUR:none<untouched>\nHost:<b>\nX-Empty:none<untouched>\n"
	    "X-Colou:none<untouched>\nX-Colours:none<untouched>\n");

	tare_stream_close(&stream);
	CHECK(tare_http_server_drain(server) == 0);
	tare_http_server_free(server);
	return 0;
}

TEST(a_header_field_is_found_by_its_name_in_any_case)
{
	run_in_task(1, fields_main);
}

static int pools_main(void *arg)
{
	(void)arg;
	static const char *const names[] = {"one", "two"};
	static const char *const expected[] = {"one_http_connections", "one_http_buffers", "two_http_connections",
					       "two_http_buffers"};
	struct tare_http_server *servers[2];
	struct tare_pool_row rows[32];
	struct tare_error err = {""};
	size_t before = tare_pools_read(rows, 0);
	for (int i = 0; i < 2; i++) {
		struct tare_http_options options = {.name = names[i], .pool = true};
		tare_http_limits_default(&options.limits);
		CHECK(tare_http_server_new(&servers[i], &options, &err) == 0);
	}
	CHECK(tare_pools_read(rows, TARE_ARRAY_LEN(rows)) == before + 4 && before + 4 <= TARE_ARRAY_LEN(rows));
	for (int i = 0; i < 4; i++)
		CHECK(strcmp(rows[before + (size_t)i].name, expected[i]) == 0);
	for (int i = 0; i < 2; i++)
		tare_http_server_free(servers[i]); // neither has listened
	return 0;
}

TEST(servers_pools_are_told_apart_by_their_servers_names)
{
	run_in_task(1, pools_main);
}
