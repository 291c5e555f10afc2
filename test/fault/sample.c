// SPDX-License-Identifier: MIT
//
// sample: a small program that takes every failed call well, unless it's told to have a bug. The test of the fault
// driver runs it both ways: a driver that finds nothing here finds nothing anywhere.
//
//   sample write FILE [BUG]  writes 64 KiB to FILE by way of FILE.part
//     crash  an unchecked malloc
//     hang   waits for ever when fsync fails
//     half   leaves the part
//     mute   fails without a message
//     lost   ignores a failed write
//     code   exits with 3
//   sample serve PORT [BUG]  answers 200 "ok" to every request, one connection after the other, until SIGTERM
//     crash  an unchecked malloc a request
//     gone   ends when a recv fails
//     stuck  keeps a connection open that it will not answer
//     deaf   serves no more once an accept failed
//
// One thread; owns nothing past main.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILE_BYTES = 65536, REQUEST_MAX = 4096 };

static const char *bug = "";

static bool has(const char *name)
{
	return strcmp(bug, name) == 0;
}

static int fail(const char *what)
{
	if (!has("mute"))
		fprintf(stderr, "sample: %s: %s\n", what, strerror(errno));
	return has("code") ? 3 : 1;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t wrote = write(fd, data, len < 16384 ? len : 16384);
		if (wrote < 0)
			return has("lost") ? 0 : -1;
		data += wrote;
		len -= (size_t)wrote;
	}
	if (fsync(fd) == 0)
		return 0;
	while (has("hang"))
		pause();
	return -1;
}

static int write_file(const char *path)
{
	char part[4096];
	int result = 0;
	snprintf(part, sizeof part, "%s.part", path);
	char *data = malloc(FILE_BYTES);
	if (data == NULL && !has("crash"))
		return fail("out of memory");
	memset(data, 'x', FILE_BYTES);
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write_all(fd, data, FILE_BYTES) != 0 || rename(part, path) != 0)
		result = fail(part);
	if (result != 0 && fd >= 0 && !has("half"))
		unlink(part);
	if (fd >= 0)
		close(fd);
	free(data);
	return result;
}

// ---- serve --------------------------------------------------------------------------------------------------------

static void leave(int number)
{
	(void)number;
	_exit(0);
}

// The blank lines that end in data; the caller's requests have no bodies and are never split.
static int count_requests(const char *data, size_t len)
{
	int count = 0;
	for (size_t i = 0; i + 4 <= len; i++)
		count += memcmp(data + i, "\r\n\r\n", 4) == 0;
	return count;
}

// False: the connection is over.
static bool serve_once(int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	char *data = malloc(REQUEST_MAX);
	if (data == NULL && !has("crash"))
		return false;
	data[0] = '\0';
	ssize_t got = recv(fd, data, REQUEST_MAX, 0);
	if (got < 0 && has("gone"))
		exit(1);
	if (got < 0 && has("stuck") && dup(fd) < 0)
		exit(1);
	bool alive = got > 0;
	for (int count = alive ? count_requests(data, (size_t)got) : 0; count > 0 && alive; count--)
		alive = send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) > 0;
	free(data);
	return alive;
}

static int serve(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	signal(SIGTERM, leave);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		return fail("socket");
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0)
		return fail("bind");
	if (write(STDOUT_FILENO, "listening\n", 10) != 10)
		return fail("write");
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		while (fd < 0 && has("deaf"))
			pause();
		if (fd < 0)
			continue;
		while (serve_once(fd))
			continue;
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	bug = argc > 3 ? argv[3] : "";
	return strcmp(argv[1], "write") == 0 ? write_file(argv[2]) : serve(argv[2]);
}
