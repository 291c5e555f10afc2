// SPDX-License-Identifier: MIT
// Goal: every byte arrives once and in order over each kind of stream, however it is cut; ends, deadlines and refusals
// are what they are called.
// Method: one task writes a known pattern in odd pieces, another reads it in other odd pieces.
#include "in_task.h"

#include <tare/net.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOTAL = 300000 };

// Static: see tare_fd on storage.
static struct tare_stream ends[2], accepted;
static struct tare_listener listener;
static struct tare_addr addr;

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static int write_pattern(void *arg)
{
	struct tare_stream *stream = arg;
	static unsigned char bytes[TOTAL];
	struct tare_rng rng;
	tare_rng_init(&rng, 3);
	for (size_t i = 0; i < TOTAL; i++)
		bytes[i] = pattern(i);
	for (size_t at = 0; at < TOTAL;) {
		struct iovec iov[4];
		size_t count = 1 + tare_rng_below(&rng, 4);
		for (size_t i = 0; i < count; i++) {
			size_t n = tare_rng_below(&rng, 20000);
			iov[i] = (struct iovec){bytes + at, TARE_MIN(n, TOTAL - at)};
			at += iov[i].iov_len;
		}
		int rc = count == 1 ? tare_stream_write(stream, iov[0].iov_base, iov[0].iov_len, TARE_NEVER)
				    : tare_stream_writev(stream, iov, count, TARE_NEVER);
		CHECK(rc == 0);
	}
	return 0;
}

static void read_pattern(struct tare_stream *stream)
{
	unsigned char one[977], other[4001];
	size_t at = 0;
	for (bool both = false; at < TOTAL; both = !both) {
		struct iovec iov[2] = {{one, sizeof one}, {other, sizeof other}};
		ssize_t n = tare_stream_readv(stream, iov, both ? 2 : 1, TARE_NEVER);
		CHECK(n > 0);
		if (n <= 0)
			return;
		for (size_t i = 0; i < (size_t)n; i++, at++)
			if ((i < sizeof one ? one[i] : other[i - sizeof one]) != pattern(at)) {
				CHECK(false);
				return;
			}
	}
	CHECK(at == TOTAL);
}

// What is written to `from` comes out of `to`.
static void carry(struct tare_stream *from, struct tare_stream *to)
{
	struct tare_task *writer;
	CHECK(tare_spawn(&writer, NULL, write_pattern, from) == 0);
	read_pattern(to);
	(void)tare_join(writer);
}

static int pair_main(void *arg)
{
	(void)arg;
	char byte;
	CHECK(tare_stream_pair(&ends[0], &ends[1]) == 0);
	carry(&ends[0], &ends[1]);
	carry(&ends[1], &ends[0]);
	CHECK(tare_stream_read(&ends[0], &byte, 1, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	CHECK(tare_stream_writev(&ends[0], NULL, TARE_IOV_MAX + 1, TARE_NEVER) == -EINVAL);
	tare_stream_shutdown(&ends[0], SHUT_WR);
	CHECK(tare_stream_read(&ends[1], &byte, 1, TARE_NEVER) == 0);
	CHECK(tare_stream_write(&ends[1], "x", 1, TARE_NEVER) == 0); // the other way is still open
	CHECK(tare_stream_read(&ends[0], &byte, 1, TARE_NEVER) == 1 && byte == 'x');
	CHECK(tare_stream_write(&ends[0], "x", 1, TARE_NEVER) == -EPIPE);
	tare_stream_close(&ends[0]);
	CHECK(tare_stream_read(&ends[1], &byte, 1, TARE_NEVER) == 0);
	tare_stream_close(&ends[1]);
	return 0;
}

TEST(a_pair_carries_every_byte_both_ways_and_ends_one_way_at_a_time)
{
	run_in_task(1, pair_main);
	run_in_task(2, pair_main);
}

static int dial(void *arg)
{
	(void)arg;
	return tare_stream_dial(&ends[0], &addr, TARE_NEVER);
}

static void through_listener(void)
{
	struct tare_addr peer;
	struct tare_task *dialer;
	CHECK(tare_spawn(&dialer, NULL, dial, NULL) == 0);
	int fd = tare_accept(&listener, &peer, TARE_NEVER);
	CHECK(fd >= 0 && tare_stream_open(&accepted, fd) == 0);
	CHECK(tare_join(dialer) == 0);
	carry(&ends[0], &accepted);
	carry(&accepted, &ends[0]);
	tare_stream_close(&ends[0]);
	tare_stream_close(&accepted);
	CHECK(tare_accept(&listener, &peer, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
}

static int tcp_main(void *arg)
{
	struct tare_error err = {""};
	CHECK(tare_addr_parse(&addr, arg, &err) == 0);
	CHECK(tare_listen(&listener, &addr, 16, false, &err) == 0 && tare_addr_port(&addr) != 0);
	through_listener();
	tare_listener_close(&listener);
	CHECK(tare_stream_dial(&ends[0], &addr, TARE_NEVER) == -ECONNREFUSED);
	return 0;
}

TEST(tcp)
{
	static char v4[] = "127.0.0.1:0";
	for (int workers = 1; workers <= 2; workers++)
		run_with(&(struct tare_rt_options){.workers = workers, .seed = 1}, tcp_main, v4);
}

#ifndef TARE_SIM // the rest is the kernel's
static int unix_main(void *arg)
{
	struct tare_error err = {""};
	struct stat st;
	char text[TARE_ADDR_TEXT_BYTES];
	snprintf(text, sizeof text, "unix:%s/sock", (const char *)arg);
	CHECK(tare_addr_parse(&addr, text, &err) == 0);
	// A path that somebody left behind is taken over; one that somebody listens on is not.
	int left_behind = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(left_behind, &addr.sa, addr.len) == 0 && close(left_behind) == 0);
	CHECK(tare_listen(&listener, &addr, 16, false, &err) == 0);
	through_listener();
	through_listener(); // also when the accept was there first
	static struct tare_listener second;
	CHECK(tare_listen(&second, &addr, 16, false, &err) == -EADDRINUSE && strstr(err.text, text) != NULL);
	CHECK(stat(text + 5, &st) == 0);
	tare_listener_close(&listener);
	CHECK(stat(text + 5, &st) < 0); // gone with its listener
	return 0;
}

TEST(unix_sockets_leave_no_path_behind)
{
	char folder[] = "/tmp/tare-test-XXXXXX";
	assert_non_null(mkdtemp(folder));
	for (int workers = 1; workers <= 2; workers++)
		run_with(&(struct tare_rt_options){.workers = workers, .seed = 1}, unix_main, folder);
	assert_int_equal(rmdir(folder), 0);
}

static int pipe_main(void *arg)
{
	(void)arg;
	char byte;
	CHECK(tare_pipe(&ends[0], &ends[1]) == 0);
	carry(&ends[1], &ends[0]);
	CHECK(tare_stream_read(&ends[0], &byte, 1, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	tare_stream_close(&ends[1]);
	CHECK(tare_stream_read(&ends[0], &byte, 1, TARE_NEVER) == 0);
	tare_stream_close(&ends[0]);
	FILE *file = tmpfile();
	CHECK(tare_stream_open(&ends[0], fileno(file)) == -EPERM); // a plain file is never waited for
	fclose(file);
	return 0;
}

TEST(pipes)
{
	run_in_task(1, pipe_main);
	run_in_task(2, pipe_main);
}

static FILE *file;

static int send_file(void *arg)
{
	struct tare_stream *stream = arg;
	return tare_stream_sendfile(stream, fileno(file), 100, TOTAL, TARE_NEVER);
}

static int sendfile_main(void *arg)
{
	(void)arg;
	struct tare_task *sender;
	char rest[16];
	file = tmpfile();
	for (size_t i = 0; i < 100; i++)
		CHECK(fputc('-', file) == '-');
	for (size_t i = 0; i < TOTAL; i++)
		(void)fputc(pattern(i), file);
	CHECK(fflush(file) == 0);
	CHECK(tare_stream_pair(&ends[0], &ends[1]) == 0);
	CHECK(tare_spawn(&sender, NULL, send_file, &ends[0]) == 0);
	read_pattern(&ends[1]);
	CHECK(tare_join(sender) == 0);
	CHECK(tare_stream_sendfile(&ends[0], fileno(file), 100 + TOTAL - 5, 10, TARE_NEVER) == -EIO); // it ends before
	CHECK(tare_stream_read(&ends[1], rest, sizeof rest, TARE_NEVER) == 5);
	tare_stream_close(&ends[0]);
	tare_stream_close(&ends[1]);
	fclose(file);
	return 0;
}

TEST(a_file_is_sent_whole_and_its_early_end_is_an_error)
{
	run_in_task(1, sendfile_main);
	run_in_task(2, sendfile_main);
}

static struct tare_udp udp[2];

static int udp_main(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	struct tare_addr addrs[2], from;
	char buf[600];
	for (int i = 0; i < 2; i++) {
		CHECK(tare_addr_parse(&addrs[i], "127.0.0.1:0", &err) == 0);
		CHECK(tare_udp_open(&udp[i], &addrs[i], &err) == 0 && tare_addr_port(&addrs[i]) != 0);
	}
	CHECK(tare_udp_recv(&udp[1], buf, sizeof buf, &from, tare_now_ns() + TARE_NS_PER_MS) == -ETIMEDOUT);
	memset(buf, 'u', sizeof buf);
	for (size_t len = 0; len <= sizeof buf; len += 100) {
		CHECK(tare_udp_send(&udp[0], buf, len, &addrs[1], TARE_NEVER) == 0);
		CHECK(tare_udp_recv(&udp[1], buf, sizeof buf, &from, TARE_NEVER) == (ssize_t)len);
		CHECK(tare_addr_port(&from) == tare_addr_port(&addrs[0]));
		CHECK(tare_udp_send(&udp[1], buf, len, &from, TARE_NEVER) == 0);
		CHECK(tare_udp_recv(&udp[0], buf, sizeof buf, NULL, TARE_NEVER) == (ssize_t)len);
	}
	CHECK(tare_udp_send(&udp[0], buf, sizeof buf, &addrs[1], TARE_NEVER) == 0);
	CHECK(tare_udp_recv(&udp[1], buf, 10, NULL, TARE_NEVER) == -EMSGSIZE);
	static struct tare_udp third;
	CHECK(tare_udp_open(&third, &addrs[0], &err) == -EADDRINUSE && strstr(err.text, "bind") != NULL);
	tare_udp_close(&udp[0]);
	tare_udp_close(&udp[1]);
	return 0;
}

TEST(datagrams_keep_their_bounds)
{
	run_in_task(1, udp_main);
	run_in_task(2, udp_main);
}
#endif
