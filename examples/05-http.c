// SPDX-License-Identifier: MIT
// Tutorial, step 5: an HTTP service that ends without losing a request. docs/tutorial/05-http.md explains it piece by
// piece.
#include "stop.h"

#include <tare/http.h>
#include <tare/rt.h>
#include <tare/stat.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { NOTES_MAX = 100, NOTE_BYTES_MAX = 200, WAIT_S_MAX = 10 };

// The last NOTES_MAX notes that were posted.
static struct {
	struct tare_mutex mutex; // guards the rest
	uint64_t posted;
	struct note {
		size_t len;
		char text[NOTE_BYTES_MAX];
	} note[NOTES_MAX];
} notes;

struct service {
	const char *address;
	struct tare_http_server *server;
	struct tare_registry *registry;
	struct tare_counter waits;
	struct tare_error err;
};

// ---- handlers -----------------------------------------------------------------------------------------------------

// GET /notes: one a line, the oldest first. Room is taken before the lock: under it nothing may block, and writing to
// the answer can, when the client has yet to read earlier ones.
static void notes_get(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	tare_http_start(x, 200, "text/plain; charset=utf-8");
	char *room = tare_http_reserve(x, NOTES_MAX * (NOTE_BYTES_MAX + 1));
	if (room == NULL)
		return; // over a limit, or out of memory: the server answers 500
	size_t len = 0;
	tare_mutex_lock(&notes.mutex);
	uint64_t from = notes.posted > NOTES_MAX ? notes.posted - NOTES_MAX : 0;
	for (uint64_t i = from; i < notes.posted; i++) {
		const struct note *note = &notes.note[i % NOTES_MAX];
		memcpy(room + len, note->text, note->len);
		len += note->len;
		room[len++] = '\n';
	}
	tare_mutex_unlock(&notes.mutex);
	tare_http_commit(x, len);
}

// POST /notes: the body is the note. It points into the connection's buffer: copied, because it shall outlive the
// handler.
static void notes_post(struct tare_http_exchange *x)
{
	struct tare_str body = tare_http_body(x);
	if (body.len == 0 || body.len > NOTE_BYTES_MAX || memchr(body.ptr, '\n', body.len) != NULL) {
		tare_http_problem(x, 400, "a note is one line of 1 to %d bytes", NOTE_BYTES_MAX);
		return;
	}
	tare_mutex_lock(&notes.mutex);
	struct note *note = &notes.note[notes.posted++ % NOTES_MAX];
	note->len = body.len;
	memcpy(note->text, body.ptr, body.len);
	uint64_t posted = notes.posted;
	tare_mutex_unlock(&notes.mutex);
	tare_http_start(x, 201, "text/plain");
	tare_http_printf(x, "%" PRIu64 "\n", posted);
}

static void notes_any(struct tare_http_exchange *x, void *arg)
{
	if (tare_http_method(x) == TARE_HTTP_POST)
		notes_post(x);
	else
		notes_get(x, arg);
}

// GET /wait?for=250ms: answers when the time is over. The handler blocks its task, and nobody else.
static void wait_get(struct tare_http_exchange *x, void *arg)
{
	struct service *service = arg;
	struct tare_str value;
	char text[32];
	int64_t ns;
	if (!tare_http_query_get(tare_http_query(x), TARE_STR("for"), &value) || value.len >= sizeof text) {
		tare_http_problem(x, 400, "say how long: /wait?for=250ms");
		return;
	}
	memcpy(text, value.ptr, value.len);
	text[value.len] = '\0';
	if (tare_parse_duration(text, &ns) < 0 || ns > WAIT_S_MAX * TARE_NS_PER_S) {
		tare_http_problem(x, 400, "'%s' is not a duration of at most %d seconds", text, WAIT_S_MAX);
		return;
	}
	tare_counter_add(&service->waits, 1);
	(void)tare_sleep(ns); // a handler's task is in no scope: nothing can cut it short
	tare_http_start(x, 200, "text/plain");
	tare_http_printf(x, "waited %s\n", text);
}

static void metrics_get(struct tare_http_exchange *x, void *arg)
{
	const struct service *service = arg;
	tare_http_start(x, 200, "text/plain; version=0.0.4");
	struct tare_text text = tare_http_text(x);
	tare_registry_write(service->registry, &text);
}

// ---- from start to drained ----------------------------------------------------------------------------------------

static int set_up(struct service *service)
{
	static struct tare_http_route routes[] = {
	    {"/notes", TARE_HTTP_ALLOW(TARE_HTTP_GET) | TARE_HTTP_ALLOW(TARE_HTTP_POST), notes_any, NULL, false},
	    {"/wait", TARE_HTTP_ALLOW(TARE_HTTP_GET), wait_get, NULL, false},
	    {"/metrics", TARE_HTTP_ALLOW(TARE_HTTP_GET), metrics_get, NULL, false},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(routes); i++)
		routes[i].arg = service;
	struct tare_http_options options = {
	    .name = "notes", .routes = routes, .route_count = TARE_ARRAY_LEN(routes), .pool = true};
	tare_http_limits_default(&options.limits);
	options.limits.body_bytes_max = 4096;
	options.limits.drain_timeout_ns = (WAIT_S_MAX + 5) * TARE_NS_PER_S;
	int rc = tare_http_server_new(&service->server, &options, &service->err);
	if (rc == 0)
		rc = tare_registry_new(&service->registry);
	if (rc == 0)
		rc = tare_http_server_register(service->server, service->registry);
	if (rc == 0)
		rc = tare_registry_counter(service->registry, "notes_waits_total", NULL, "Requests to wait.",
					   &service->waits);
	return rc;
}

static int serve(void *arg)
{
	struct service *service = arg;
	struct tare_addr addr;
	char text[TARE_ADDR_TEXT_BYTES];
	int rc = tare_addr_parse(&addr, service->address, &service->err);
	if (rc == 0)
		rc = set_up(service);
	if (rc == 0)
		rc = tare_http_server_listen(service->server, &addr, &service->err);
	if (rc < 0)
		return rc;
	tare_addr_format(&addr, text);
	printf("listening on http://%s\n", text);
	(void)fflush(stdout);
	rc = stop_wait(&service->err);
	int drained = tare_http_server_drain(service->server);
	if (drained < 0)
		(void)tare_error_set(&service->err, drained,
				     "some requests were cut: they took longer than the drain may");
	return rc < 0 ? rc : drained;
}

int main(int argc, char **argv)
{
	static struct service service;
	int result = 0;
	service.address = argc > 1 ? argv[1] : "127.0.0.1:7002";
	int rc = stop_block();
	if (rc == 0)
		rc = tare_run(NULL, serve, &service, &result, &service.err);
	tare_http_server_free(service.server); // when the runtime has returned: its pollers may have looked at it
	tare_registry_free(service.registry);
	rc = rc < 0 ? rc : result;
	if (rc < 0) {
		fprintf(stderr, "notes: %s\n", service.err.text[0] != '\0' ? service.err.text : strerror(-rc));
		return 1;
	}
	puts("drained");
	return 0;
}
