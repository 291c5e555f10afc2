// SPDX-License-Identifier: MIT
// The server's metrics, under their Prometheus names. Reading sums the workers' counters; nothing is paid while
// serving.
#include "http/http_int.h"

#include <stdio.h>

#define READER(name, field)                                                                                            \
	static double name(void *arg)                                                                                  \
	{                                                                                                              \
		struct tare_http_stats stats;                                                                          \
		tare_http_server_stats(arg, &stats);                                                                   \
		return (double)stats.field;                                                                            \
	}

READER(read_live, connections_live)
READER(read_idle, connections_idle)
READER(read_total, connections_total)
READER(read_refused_limit, refused_limit)
READER(read_refused_address, refused_address)
READER(read_refused_fds, refused_fds)
READER(read_refused_memory, refused_memory)
READER(read_shed, shed)
READER(read_parse, errors_parse)
READER(read_timeout, errors_timeout)
READER(read_io, errors_io)

static double read_class(const struct tare_http_server *server, unsigned class)
{
	uint64_t total = 0;
	for (int i = 0; i < server->worker_count; i++)
		total += atomic_load_explicit(&server->workers[i].stats.classes[class], memory_order_relaxed);
	return (double)total;
}

static double read_2xx(void *arg)
{
	return read_class(arg, 2);
}

static double read_3xx(void *arg)
{
	return read_class(arg, 3);
}

static double read_4xx(void *arg)
{
	return read_class(arg, 4);
}

static double read_5xx(void *arg)
{
	return read_class(arg, 5);
}

static void fill_duration(void *arg, struct tare_hist *into)
{
	const struct tare_http_server *server = arg;
	for (int i = 0; i < server->worker_count; i++)
		tare_hist_merge(into, server->workers[i].stats.duration);
}

int tare_http_server_register(struct tare_http_server *server, struct tare_registry *registry)
{
	static const char requests_help[] = "Requests answered, by the first digit of their status.";
	static const char refused_help[] = "Connections refused or kept waiting, by what ran out.";
	static const char errors_help[] = "Requests and connections that failed, by kind.";
	const struct {
		const char *metric, *label, *value, *help;
		double (*read)(void *arg);
		bool gauge;
	} rows[] = {
	    {"http_requests_total", "code", "2xx", requests_help, read_2xx, false},
	    {"http_requests_total", "code", "3xx", requests_help, read_3xx, false},
	    {"http_requests_total", "code", "4xx", requests_help, read_4xx, false},
	    {"http_requests_total", "code", "5xx", requests_help, read_5xx, false},
	    {"http_connections", "state", "open", "Connections open, and those of them that are idle.", read_live,
	     true},
	    {"http_connections", "state", "idle", "Connections open, and those of them that are idle.", read_idle,
	     true},
	    {"http_connections_total", NULL, NULL, "Connections accepted.", read_total, false},
	    {"http_connections_refused_total", "limit", "connections", refused_help, read_refused_limit, false},
	    {"http_connections_refused_total", "limit", "address", refused_help, read_refused_address, false},
	    {"http_connections_refused_total", "limit", "descriptors", refused_help, read_refused_fds, false},
	    {"http_connections_refused_total", "limit", "memory", refused_help, read_refused_memory, false},
	    {"http_requests_shed_total", NULL, NULL, "Requests answered 503 because memory was at its limit.",
	     read_shed, false},
	    {"http_errors_total", "kind", "request", errors_help, read_parse, false},
	    {"http_errors_total", "kind", "timeout", errors_help, read_timeout, false},
	    {"http_errors_total", "kind", "io", errors_help, read_io, false},
	};
	_Static_assert(TARE_ARRAY_LEN(rows) < HTTP_LABELS_MAX, "each row keeps its label text in the server");
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(rows) && rc == 0; i++) {
		char *labels = server->labels[i];
		if (rows[i].label != NULL)
			snprintf(labels, sizeof server->labels[i], "server=\"%s\",%s=\"%s\"", server->options.name,
				 rows[i].label, rows[i].value);
		else
			snprintf(labels, sizeof server->labels[i], "server=\"%s\"", server->options.name);
		rc = rows[i].gauge
			 ? tare_registry_gauge(registry, rows[i].metric, labels, rows[i].help, rows[i].read, server)
			 : tare_registry_counter_fn(registry, rows[i].metric, labels, rows[i].help, rows[i].read,
						    server);
	}
	if (rc < 0)
		return rc;
	char *labels = server->labels[TARE_ARRAY_LEN(rows)];
	snprintf(labels, sizeof server->labels[0], "server=\"%s\"", server->options.name);
	return tare_registry_hist(registry, "http_request_duration_seconds", labels,
				  "From the poller's wake-up to the end of the write.", 1e-9, 1e-6, 10, fill_duration,
				  server, 2, HTTP_DURATION_MAX_NS);
}
