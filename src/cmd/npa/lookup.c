// SPDX-License-Identifier: MIT
// The instructions of a whole request: `tare svc` under Callgrind, asked one request at a time over a kept connection.
//
// Requests to /healthz stand between the batches: Callgrind writes what it counted whenever the handler of that is
// entered. The parts hold N and 2N requests each; their difference is N requests, from the read to the end of the
// write, with the poller and the scheduler between them, and without start, connection and health check. The middle one
// of the repeats.
// Threads: the client's runtime has one worker, and its task does everything in turn.
#include "cmd/npa/npa.h"

#include <tare/net.h>
#include <tare/rt.h>

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>

enum { REQUESTS = 400, REPEATS = 3, ANSWER_MAX = 1 << 16 };

#define TIMEOUT_NS (60 * TARE_NS_PER_S)

static const struct lookup {
	const char *name, *format, *why;
} lookups[] = {
    {"lookup_json", "json", "One request of the service, answered with JSON: the whole way."},
    {"lookup_bin", "bin", "One request of the service, answered with the binary document."},
};

// One request, one answer: its head and as many bytes as that says.
static int ask(struct tare_stream *stream, const char *target)
{
	static char buf[ANSWER_MAX];
	char request[256];
	int64_t deadline_ns = tare_now_ns() + TIMEOUT_NS;
	size_t len = 0, want = 0;
	int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: npa\r\n\r\n", target);
	int rc = tare_stream_write(stream, request, (size_t)n, deadline_ns);
	while (rc == 0 && (want == 0 || len < want)) {
		ssize_t got = tare_stream_read(stream, buf + len, sizeof buf - 1 - len, deadline_ns);
		if (got <= 0)
			return got < 0 ? (int)got : -EPIPE;
		len += (size_t)got;
		buf[len] = '\0';
		const char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "\r\ncontent-length:");
		if (end != NULL && length != NULL && length < end)
			want = (size_t)(end + 4 - buf) + strtoul(length + 17, NULL, 10);
	}
	if (rc < 0)
		return rc;
	return strncmp(buf, "HTTP/1.1 200", 12) == 0 ? 0 : -EPROTO;
}

static int ask_often(struct tare_stream *stream, const struct lookup *lookup, int count)
{
	char target[128];
	int rc = 0;
	for (int i = 0; i < count && rc == 0; i++) {
		snprintf(target, sizeof target, "/lookup?key=%d&fmt=%s", 100 + i % 100, lookup->format);
		rc = ask(stream, target);
	}
	return rc;
}

// For each lookup: warm, then REPEATS times N and 2N, a health check behind each.
static int drive(struct tare_stream *stream)
{
	int rc = 0;
	for (size_t k = 0; k < TARE_ARRAY_LEN(lookups); k++) {
		rc = rc < 0 ? rc : ask_often(stream, &lookups[k], REQUESTS);
		rc = rc < 0 ? rc : ask(stream, "/healthz");
		for (int i = 0; i < REPEATS; i++) {
			rc = rc < 0 ? rc : ask_often(stream, &lookups[k], REQUESTS);
			rc = rc < 0 ? rc : ask(stream, "/healthz");
			rc = rc < 0 ? rc : ask_often(stream, &lookups[k], 2 * REQUESTS);
			rc = rc < 0 ? rc : ask(stream, "/healthz");
		}
	}
	return rc;
}

struct client {
	char addr[64];
	struct tare_error *err;
};

static int run_client(void *arg)
{
	struct client *client = arg;
	struct tare_addr addr;
	struct tare_stream stream;
	int rc = tare_addr_parse(&addr, client->addr, client->err);
	if (rc < 0)
		return rc;
	rc = tare_stream_dial(&stream, &addr, tare_now_ns() + TIMEOUT_NS);
	if (rc == 0) {
		rc = drive(&stream);
		tare_stream_close(&stream);
	}
	return rc < 0 ? tare_error_set(client->err, rc, "the service did not answer: %s", strerror(-rc)) : 0;
}

// Asks the server whose first line of output names its address, {"url":"http://127.0.0.1:PORT",…}.
static int client(FILE *out, struct tare_error *err)
{
	char text[2048];
	struct client client = {.err = err};
	int result = 0;
	const char *at = fgets(text, sizeof text, out) != NULL ? strstr(text, "127.0.0.1:") : NULL;
	if (at == NULL)
		return tare_error_set(err, -EPROTO, "the service did not say where it listens");
	snprintf(client.addr, sizeof client.addr, "%.*s", (int)strcspn(at, "\""), at);
	int rc = tare_run(&(struct tare_rt_options){.workers = 1}, run_client, &client, &result, err);
	return rc < 0 ? rc : result;
}

static int append(json_t *rows, const struct npa_parts *parts, struct tare_error *err)
{
	enum { PARTS = 1 + 2 * REPEATS };
	if (parts->count < TARE_ARRAY_LEN(lookups) * PARTS)
		return tare_error_set(err, -EPROTO, "only %zu health checks were seen", parts->count);
	for (size_t k = 0; k < TARE_ARRAY_LEN(lookups); k++) {
		double each[REPEATS];
		for (size_t i = 0; i < REPEATS; i++) {
			const double *at = parts->counts + k * PARTS + 1 + 2 * i;
			each[i] = (at[1] - at[0]) / REQUESTS;
		}
		json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:f, s:i, s:i}", "row", lookups[k].name, "why",
					lookups[k].why, "group", "whole request", "file", "tare svc", "instructions",
					round(npa_middle(each)), "per", 1, "count", (int)REQUESTS);
		if (row == NULL || json_array_append_new(rows, row) < 0)
			return tare_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int serve_and_drive(const char *tare, const char *folder, struct tare_error *err)
{
	char option[600];
	struct npa_child child = {.folder = folder};
	npa_parts_option(option, sizeof option, folder);
	char *const args[] = {NPA_ARG("valgrind"),
			      NPA_ARG("--quiet"),
			      NPA_ARG("--tool=callgrind"),
			      option,
			      NPA_ARG("--dump-before=svc_healthz*"),
			      NPA_ARG(tare),
			      NPA_ARG("svc"),
			      NPA_ARG("--index-size"),
			      NPA_ARG("1M"),
			      NPA_ARG("--workers"),
			      NPA_ARG("1"),
			      NPA_ARG("--io"),
			      NPA_ARG("epoll"),
			      NPA_ARG("--path"),
			      NPA_ARG("opt"),
			      NPA_ARG("--pool"),
			      NPA_ARG("on"),
			      NPA_ARG("--listen"),
			      NPA_ARG("127.0.0.1:0"),
			      NPA_ARG("--admin"),
			      NPA_ARG("off"),
			      NPA_ARG("--json"),
			      NPA_ARG("--idle-timeout"),
			      NPA_ARG("10m"),
			      NULL};
	int rc = npa_child_start(&child, args, err);
	if (rc < 0)
		return rc;
	rc = client(child.out, err);
	(void)kill(child.pid, SIGTERM);
	struct tare_error end_err;
	int end = npa_child_end(&child, "tare svc under valgrind", &end_err);
	return rc == 0 && end < 0 ? tare_error_set(err, end, "%s", end_err.text) : rc;
}

int npa_count_lookups(const char *tare, json_t *rows, struct tare_error *err)
{
	char folder[512];
	struct npa_parts parts;
	int rc = npa_folder_make(folder, sizeof folder, err);
	if (rc < 0)
		return rc;
	rc = serve_and_drive(tare, folder, err);
	if (rc == 0)
		rc = npa_parts_read(&parts, folder, err);
	if (rc == 0) {
		rc = append(rows, &parts, err);
		free(parts.counts);
	}
	npa_folder_remove(folder);
	return rc;
}
