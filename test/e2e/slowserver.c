// SPDX-License-Identifier: MIT
// A serial HTTP server whose every PERIOD-th answer takes STALL_MS longer, during which everybody waits: what a
// stop-the-world pause looks like from outside. slowserver PORT PERIOD STALL_MS; prints "listening" when it does.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 512 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void stall(long ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&left, NULL);
}

// One request a read: the clients of this test do not pipeline.
static int serve(int fd, long period, long stall_ms)
{
	static long count;
	char buf[4096];
	ssize_t n = recv(fd, buf, sizeof buf, 0);
	if (n <= 0)
		return -1;
	if (++count % period == 0)
		stall(stall_ms);
	return send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (argc != 4)
		return 2;
	address.sin_port = htons((unsigned short)atoi(argv[1]));
	long period = atol(argv[2]), stall_ms = atol(argv[3]);
	struct pollfd fds[CONNECTIONS_MAX];
	int one = 1;
	fds[0] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
	setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fds[0].fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fds[0].fd, 512) < 0)
		return 1;
	printf("listening\n");
	fflush(stdout);
	for (nfds_t count = 1; poll(fds, count, -1) >= 0;) {
		for (nfds_t i = 1; i < count; i++)
			if (fds[i].revents != 0 && serve(fds[i].fd, period, stall_ms) < 0) {
				close(fds[i].fd);
				fds[i--] = fds[--count];
			}
		if ((fds[0].revents & POLLIN) != 0 && count < CONNECTIONS_MAX)
			fds[count++] = (struct pollfd){.fd = accept(fds[0].fd, NULL, NULL), .events = POLLIN};
	}
	return 1;
}
