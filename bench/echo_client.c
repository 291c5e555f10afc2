// SPDX-License-Identifier: MIT
//
// echo_client: sends messages of 512 bytes to an echo server and times what comes back. One JSON line.
//
//   echo_client [--connections N] [--seconds S] [--rate R] [--seed N] PORT
//
// Without a rate it is a closed loop: every connection has one message under way, always. With one, messages are meant
// to be sent at the times of a Poisson process of that rate, on one connection after the other; a message whose
// connection is still busy waits its turn, and its latency counts from when it was meant to be sent. Latencies are
// nanoseconds. What comes back is compared with what was sent.
//
// One thread, raw epoll. With a rate it never sleeps, so that it is on time: give it a CPU of its own.
#include <tare/measure.h>
#include <tare/stat.h>

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 512, CONN_MAX = 4096, EVENT_MAX = 256, QUEUE_MAX = 1024 };
#define LATENCY_MAX_NS (60 * TARE_NS_PER_S)
#define QUIET_MAX_NS (10 * TARE_NS_PER_S) // a server that says nothing for so long has failed

struct conn {
	int fd;
	size_t got;            // of the answer under way
	uint64_t number;       // of the message under way; the message says it
	int64_t began_ns;      // when that was meant to be sent; 0: none is under way
	unsigned first, count; // of the queue
	int64_t queue[QUEUE_MAX];
};

static struct {
	uint64_t connections, seconds, rate, seed;
} options = {.connections = 64, .seconds = 2, .seed = 1};

static struct conn conns[CONN_MAX];
static struct tare_hist *latencies;
static uint64_t sent_count, answered_count;
static int poller;

TARE_NORETURN static void die(const char *what, int rc)
{
	fprintf(stderr, "echo_client: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void message_of(uint64_t number, char *out)
{
	memset(out, (int)('a' + number % 26), MESSAGE_BYTES);
	memcpy(out, &number, sizeof number);
}

// The socket's buffer is larger than a message and empty, so the kernel takes all of it.
static void send_next(struct conn *conn, int64_t meant_ns)
{
	char message[MESSAGE_BYTES];
	conn->began_ns = meant_ns;
	conn->got = 0;
	conn->number = sent_count++;
	message_of(conn->number, message);
	ssize_t sent = send(conn->fd, message, sizeof message, MSG_NOSIGNAL);
	if (sent != MESSAGE_BYTES)
		die("send", sent < 0 ? -errno : -EIO);
}

// True: an answer is complete.
static bool receive(struct conn *conn)
{
	char buf[2 * MESSAGE_BYTES], message[MESSAGE_BYTES];
	ssize_t got = recv(conn->fd, buf, sizeof buf, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0)
		die("receive", got < 0 ? -errno : -ECONNRESET);
	message_of(conn->number, message);
	if (conn->began_ns == 0 || conn->got + (size_t)got > MESSAGE_BYTES ||
	    memcmp(buf, message + conn->got, (size_t)got) != 0)
		die("the answer is not what was sent", -EBADMSG);
	conn->got += (size_t)got;
	return conn->got == MESSAGE_BYTES;
}

static void answered(struct conn *conn, int64_t now_ns)
{
	int64_t took_ns = now_ns - conn->began_ns;
	tare_hist_record(latencies, took_ns > 0 ? (uint64_t)took_ns : 0);
	answered_count++;
	conn->began_ns = 0;
}

static void connect_all(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (uint64_t i = 0; i < options.connections; i++) {
		int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
			die("connect", -errno);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		conns[i].fd = fd;
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &conns[i]};
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0)
			die("epoll_ctl", -errno);
	}
}

// Takes what has come, and calls next for every connection that is free again.
static void take_answers(int timeout_ms, void (*next)(struct conn *conn, int64_t now_ns))
{
	struct epoll_event events[EVENT_MAX];
	int count = epoll_wait(poller, events, EVENT_MAX, timeout_ms);
	if (count < 0 && errno != EINTR)
		die("epoll_wait", -errno);
	if (count == 0 && timeout_ms > 0)
		die("no answer", -ETIMEDOUT);
	for (int i = 0; i < count; i++) {
		struct conn *conn = events[i].data.ptr;
		if (!receive(conn))
			continue;
		int64_t now_ns = tare_clock_ns();
		answered(conn, now_ns);
		next(conn, now_ns);
	}
}

// ---- closed -------------------------------------------------------------------------------------------------------

static int64_t closed_end_ns;

static void closed_next(struct conn *conn, int64_t now_ns)
{
	if (now_ns < closed_end_ns)
		send_next(conn, now_ns);
}

static void closed_loop(int64_t begin_ns)
{
	closed_end_ns = begin_ns + (int64_t)options.seconds * TARE_NS_PER_S;
	for (uint64_t i = 0; i < options.connections; i++)
		send_next(&conns[i], tare_clock_ns());
	while (answered_count < sent_count)
		take_answers((int)(QUIET_MAX_NS / TARE_NS_PER_MS), closed_next);
}

// ---- open ---------------------------------------------------------------------------------------------------------

static void open_next(struct conn *conn, int64_t now_ns)
{
	(void)now_ns;
	if (conn->count == 0)
		return;
	int64_t meant_ns = conn->queue[conn->first];
	conn->first = (conn->first + 1) % QUEUE_MAX;
	conn->count--;
	send_next(conn, meant_ns);
}

static void open_send(struct conn *conn, int64_t meant_ns)
{
	if (conn->began_ns == 0) {
		send_next(conn, meant_ns);
		return;
	}
	if (conn->count == QUEUE_MAX)
		die("the server is too slow for this rate", -EOVERFLOW);
	conn->queue[(conn->first + conn->count++) % QUEUE_MAX] = meant_ns;
}

static void open_loop(int64_t begin_ns)
{
	struct tare_arrivals arrivals;
	tare_arrivals_init(&arrivals, begin_ns, (double)options.rate, true, options.seed);
	int64_t end_ns = begin_ns + (int64_t)options.seconds * TARE_NS_PER_S;
	int64_t meant_ns = tare_arrivals_next(&arrivals), last_ns = begin_ns;
	uint64_t last_answered = 0;
	for (uint64_t turn = 0; meant_ns < end_ns || answered_count < sent_count;) {
		int64_t now_ns = tare_clock_ns();
		for (; meant_ns < end_ns && meant_ns <= now_ns; meant_ns = tare_arrivals_next(&arrivals))
			open_send(&conns[turn++ % options.connections], meant_ns);
		take_answers(0, open_next);
		if (answered_count != last_answered || answered_count == sent_count) {
			last_answered = answered_count;
			last_ns = now_ns;
		}
		if (now_ns - last_ns > QUIET_MAX_NS)
			die("no answer", -ETIMEDOUT);
	}
}

// ---- main ---------------------------------------------------------------------------------------------------------

static bool parse_arguments(int argc, char **argv, uint64_t *ret_port)
{
	static const struct option flags[] = {{"connections", required_argument, NULL, 0},
					      {"seconds", required_argument, NULL, 1},
					      {"rate", required_argument, NULL, 2},
					      {"seed", required_argument, NULL, 3},
					      {0}};
	uint64_t *const values[] = {&options.connections, &options.seconds, &options.rate, &options.seed};
	for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
		if (flag == '?' || tare_parse_u64((struct tare_str){optarg, strlen(optarg)}, values[flag]) < 0)
			return false;
	if (options.connections < 1 || options.connections > CONN_MAX || options.seconds < 1 || optind + 1 != argc)
		return false;
	return tare_parse_u64((struct tare_str){argv[optind], strlen(argv[optind])}, ret_port) == 0 && *ret_port >= 1 &&
	       *ret_port <= UINT16_MAX;
}

int main(int argc, char **argv)
{
	uint64_t port;
	if (!parse_arguments(argc, argv, &port)) {
		fprintf(stderr, "usage: echo_client [--connections N] [--seconds S] [--rate R] [--seed N] PORT\n");
		return 2;
	}
	int rc = tare_hist_new(&latencies, 3, LATENCY_MAX_NS);
	if (rc < 0)
		die("memory", rc);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		die("epoll_create1", -errno);
	connect_all((uint16_t)port);
	int64_t begin_ns = tare_clock_ns();
	if (options.rate == 0)
		closed_loop(begin_ns);
	else
		open_loop(begin_ns);
	double seconds = (double)(tare_clock_ns() - begin_ns) / 1e9;
	printf("{\"requests\": %" PRIu64 ", \"seconds\": %.6f, \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64
	       ", \"max_ns\": %" PRIu64 "}\n",
	       answered_count, seconds, tare_hist_quantile(latencies, 0.5), tare_hist_quantile(latencies, 0.99),
	       tare_hist_max(latencies));
	return 0;
}
