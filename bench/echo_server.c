// SPDX-License-Identifier: MIT
//
// echo_server: sends back what it receives, a task a connection on one worker; bench/peers/echo_epoll.c does it by
// hand. `echo_server [--plain] [--hog CONNECTIONS] PORT`
//
// A read that fills less than its buffer has drained the socket, so the task waits before it reads again instead of
// asking in vain: the bare loop does the same. --plain is the loop that everybody writes first, read and write, to show
// what that costs. --hog: two workers; the one that accepted so many connections, and whose poller they are in, then
// computes for ever.
//
// Ownership: connections are indexed by descriptor and never freed, as <tare/fd.h> wants their storage to stay.
#include <tare/net.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONN_MAX = 65536, BUF_BYTES = 4096, BACKLOG = 4096 };

static struct tare_stream streams[CONN_MAX];
static bool plain;
static int hog_after;

static bool drained(const struct tare_stream *stream, ssize_t got)
{
	return got < BUF_BYTES && !atomic_load_explicit(&stream->fd.hangup, memory_order_relaxed);
}

static int echo(void *arg)
{
	struct tare_stream *stream = arg;
	char buf[BUF_BYTES];
	for (;;) {
		ssize_t got = tare_stream_read(stream, buf, sizeof buf, TARE_NEVER);
		if (got <= 0 || tare_stream_write(stream, buf, (size_t)got, TARE_NEVER) < 0)
			break;
		if (!plain && drained(stream, got) && tare_fd_wait(&stream->fd, TARE_READ, TARE_NEVER) < 0)
			break;
	}
	tare_stream_close(stream);
	return 0;
}

static void serve(int fd)
{
	struct tare_stream *stream = fd < CONN_MAX ? &streams[fd] : NULL;
	if (stream == NULL || tare_fd_open(&stream->fd, fd) < 0)
		tare_fd_dismiss(fd, NULL, 0);
	else if (tare_go(echo, stream) < 0)
		tare_stream_close(stream);
}

static void compute(void)
{
	for (;;)
		__asm__ volatile("");
}

static int accept_all(void *arg)
{
	static struct tare_listener listener;
	char text[TARE_ADDR_TEXT_BYTES];
	struct tare_addr addr;
	struct tare_error err = {""};
	snprintf(text, sizeof text, "127.0.0.1:%s", (const char *)arg);
	if (tare_addr_parse(&addr, text, &err) < 0 || tare_listen(&listener, &addr, BACKLOG, false, &err) < 0) {
		fprintf(stderr, "echo_server: %s\n", err.text);
		return 1;
	}
	struct tare_rt_stats stats;
	tare_rt_stats_read(&stats);
	tare_addr_format(&addr, text);
	printf("listening on %s (%s)\n", text, stats.io);
	fflush(stdout);
	for (int served = 0;;) {
		struct tare_addr peer;
		int fd = tare_accept(&listener, &peer, TARE_NEVER);
		if (fd >= 0) {
			serve(fd);
			if (++served == hog_after)
				compute();
		} else if (fd != -ECONNABORTED)
			return fprintf(stderr, "echo_server: accept: %s\n", strerror(-fd)) > 0;
	}
}

// The first task stays on worker 0, so that the hog is another.
static int accept_on_worker_1(void *arg)
{
	struct tare_task *task;
	int rc =
	    tare_spawn(&task, &(struct tare_task_options){.name = "hog", .pinned = true, .worker = 1}, accept_all, arg);
	return rc < 0 ? 1 : tare_join(task);
}

static void no_report(void *arg, const char *text, size_t len)
{
	(void)arg, (void)text, (void)len;
}

int main(int argc, char **argv)
{
	int at = 1, result = 1;
	plain = at < argc && strcmp(argv[at], "--plain") == 0;
	at += plain;
	if (at + 1 < argc && strcmp(argv[at], "--hog") == 0) {
		hog_after = atoi(argv[at + 1]);
		at += 2;
	}
	if (argc != at + 1) {
		fprintf(stderr, "usage: echo_server [--plain] [--hog CONNECTIONS] PORT\n");
		return 2;
	}
	struct tare_rt_options options = {.workers = 1};
	if (hog_after > 0)
		options = (struct tare_rt_options){.workers = 2, .report = no_report};
	struct tare_error err = {""};
	if (tare_run(&options, hog_after > 0 ? accept_on_worker_1 : accept_all, argv[at], &result, &err) < 0)
		fprintf(stderr, "echo_server: %s\n", err.text);
	return result;
}
