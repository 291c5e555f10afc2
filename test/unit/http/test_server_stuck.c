// SPDX-License-Identifier: MIT
// Goal: while a task keeps one worker to itself, every connection is accepted and answered, also those that the kernel
// gives to that worker's listener. Method: many connections, so that some of them must be; the task computes until the
// last one is answered, so that without help the test would never end.
#include "in_task.h"

#include <tare/http.h>

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64 };

static struct tare_http_server *server;
static struct tare_addr addr;
static atomic_bool over, hogging;

static void hello(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	tare_http_start(x, 200, "text/plain");
	tare_http_write(x, "hello", 5);
}

static const struct tare_http_route routes[] = {
    {"/hello", TARE_HTTP_ALLOW(TARE_HTTP_GET), hello, NULL, false},
};

static int hog(void *arg)
{
	(void)arg;
	atomic_store(&hogging, true);
	while (!atomic_load(&over))
		continue;
	return 0;
}

static void ask(int fd)
{
	static const char request[] = "GET /hello HTTP/1.1\r\nHost: t\r\n\r\n";
	char answer[1024];
	size_t len = 0;
	CHECK(send(fd, request, sizeof request - 1, 0) == sizeof request - 1);
	for (;;) {
		ssize_t n = recv(fd, answer + len, sizeof answer - 1 - len, 0);
		CHECK(n > 0);
		if (n <= 0)
			return;
		len += (size_t)n;
		answer[len] = '\0';
		if (strstr(answer, "\r\n\r\nhello") != NULL)
			return;
	}
}

// Each one twice: what was accepted beside the hog is also served there.
static void *client(void *arg)
{
	int fds[CONNECTIONS];
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fds[i] >= 0 && connect(fds[i], &addr.sa, addr.len) == 0);
		ask(fds[i]);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		ask(fds[i]);
		close(fds[i]);
	}
	atomic_store(&over, true);
	return arg;
}

static int beside_hog(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	struct tare_http_options options = {
	    .name = "test", .routes = routes, .route_count = TARE_ARRAY_LEN(routes), .pool = true};
	tare_http_limits_default(&options.limits);
	CHECK(tare_addr_parse(&addr, "127.0.0.1:0", &err) == 0);
	CHECK(tare_http_server_new(&server, &options, &err) == 0);
	CHECK(tare_http_server_listen(server, &addr, &err) == 0);
	struct tare_task *task;
	CHECK(tare_spawn(&task, &(struct tare_task_options){.pinned = true, .worker = 1}, hog, NULL) == 0);
	while (!atomic_load(&hogging))
		tare_yield();
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, client, NULL) == 0);
	CHECK(tare_join(task) == 0);
	pthread_join(thread, NULL);
	CHECK(tare_http_server_drain(server) == 0);
	struct tare_http_stats stats;
	tare_http_server_stats(server, &stats);
	CHECK(stats.connections_total == CONNECTIONS && stats.requests == 2 * CONNECTIONS);
	struct tare_rt_stats rt_stats;
	tare_rt_stats_read(&rt_stats);
	CHECK(rt_stats.rescues > 0);
	return 0;
}

static int on_worker_0(void *arg)
{
	struct tare_task *task;
	CHECK(tare_spawn(&task, &(struct tare_task_options){.pinned = true, .worker = 0}, beside_hog, arg) == 0);
	return tare_join(task);
}

static void say_nothing(void *arg, const char *text, size_t len)
{
	(void)arg, (void)text, (void)len;
}

TEST(connections_given_to_a_worker_that_computes_are_accepted_by_another)
{
	atomic_store(&over, false);
	atomic_store(&hogging, false);
	run_with(&(struct tare_rt_options){.workers = 2, .seed = 1, .report = say_nothing}, on_worker_0, NULL);
	tare_http_server_free(server);
}
