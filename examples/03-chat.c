// SPDX-License-Identifier: MIT
// Tutorial, step 3: a chat room over TCP, with channels and select. docs/tutorial/03-chat.md explains it piece by
// piece.
//
// Lines end with LF. The first is the member's name; each later one goes to everyone in the room.
#include "stop.h"

#include <tare/chan.h>
#include <tare/net.h>
#include <tare/rt.h>

#include <errno.h>
#include <stdio.h>

enum {
	MEMBERS_MAX = 64,
	LINE_BYTES_MAX = 400, // of what a member says; more ends the connection
	NAME_BYTES_MAX = 20,
	OUTBOX_LINES = 32,
	PATIENCE_MS = 100, // how long the room waits for a member whose outbox is full
	IDLE_S = 600,
	WRITE_S = 10,
	BACKLOG = 64,
	ACCEPT_PAUSE_MS = 20,
};

// What goes through channels is copied, so nobody asks who frees it.
struct line {
	size_t len;
	char text[NAME_BYTES_MAX + LINE_BYTES_MAX + 8];
};

struct member {
	struct tare_stream stream;
	int os_fd;
	struct tare_scope scope;  // of its two tasks; open for as long as the room knows it
	struct tare_chan *outbox; // of struct line: from the room to the member's writer
	char name[NAME_BYTES_MAX + 1];
	char buf[LINE_BYTES_MAX + 1]; // read and not yet taken as lines
	size_t buf_len;
};

struct chat {
	const char *address;
	struct tare_chan *free;           // of struct member *: those not in use
	struct tare_chan *joins, *leaves; // of struct member *, unbuffered
	struct tare_chan *lines;          // of struct line
	struct tare_scope sessions;
	struct tare_error err;
};

static struct chat chat;
static struct member members[MEMBERS_MAX]; // static: type-stable storage for their streams
static struct tare_listener listener;

// ---- the room -----------------------------------------------------------------------------------------------------

struct room {
	struct member *present[MEMBERS_MAX];
	size_t count;
};

// A member that does not make room in its outbox in time is cut off: it may hold up the others once, and not for long.
static void room_say(struct room *room, const struct line *line)
{
	for (size_t i = 0; i < room->count; i++) {
		struct member *member = room->present[i];
		int64_t deadline_ns = tare_now_ns() + PATIENCE_MS * TARE_NS_PER_MS;
		if (tare_chan_send_until(member->outbox, line, deadline_ns) == 0)
			continue;
		tare_scope_cancel(&member->scope);
		room->present[i--] = room->present[--room->count];
	}
}

// Never looks into the member: it may be somebody else's already, and was perhaps cut off before.
static void room_forget(struct room *room, const struct member *member)
{
	for (size_t i = 0; i < room->count; i++)
		if (room->present[i] == member)
			room->present[i--] = room->present[--room->count];
}

// The one task that knows who is there: no lock, and all see the lines in one order.
static int room_task(void *arg)
{
	(void)arg;
	struct room room = {.count = 0};
	for (;;) {
		struct member *came, *left;
		struct line line;
		struct tare_case cases[] = {
		    {.chan = chat.joins, .recv = &came},
		    {.chan = chat.leaves, .recv = &left},
		    {.chan = chat.lines, .recv = &line},
		};
		int taken = tare_select(cases, TARE_ARRAY_LEN(cases));
		if (taken < 0 || cases[taken].rc < 0)
			return 0; // cancelled; nobody closes these channels
		if (taken == 0)
			room.present[room.count++] = came;
		else if (taken == 1)
			room_forget(&room, left);
		else
			room_say(&room, &line);
		tare_breathe(tare_now_ns());
	}
}

// ---- a member -----------------------------------------------------------------------------------------------------

// Writes what the room sends. Its failure cancels the member's scope, and so ends the reader too.
static int writer(void *arg)
{
	struct member *member = arg;
	for (;;) {
		struct line line;
		int rc = tare_chan_recv(member->outbox, &line);
		if (rc == 0)
			rc = tare_stream_write(&member->stream, line.text, line.len,
					       tare_now_ns() + WRITE_S * TARE_NS_PER_S);
		if (rc < 0)
			return rc;
	}
}

// The next line without its end, as a string in *ret. 0; -EPIPE at the end of the stream; -EMSGSIZE; what a read says.
static int read_line(struct member *member, char ret[LINE_BYTES_MAX + 1])
{
	char *end;
	while ((end = memchr(member->buf, '\n', member->buf_len)) == NULL) {
		size_t room = sizeof member->buf - member->buf_len;
		if (room == 0)
			return -EMSGSIZE;
		ssize_t n = tare_stream_read(&member->stream, member->buf + member->buf_len, room,
					     tare_now_ns() + IDLE_S * TARE_NS_PER_S);
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		member->buf_len += (size_t)n;
	}
	size_t len = (size_t)(end - member->buf);
	memcpy(ret, member->buf, len);
	ret[len > 0 && ret[len - 1] == '\r' ? len - 1 : len] = '\0';
	member->buf_len -= len + 1;
	memmove(member->buf, end + 1, member->buf_len);
	return 0;
}

TARE_PRINTF(1, 2) static int say(const char *format, ...)
{
	struct line line;
	va_list args;
	va_start(args, format);
	int len = vsnprintf(line.text, sizeof line.text, format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof line.text)
		return -EMSGSIZE;
	line.len = (size_t)len;
	return tare_chan_send(chat.lines, &line);
}

static int talk(struct member *member)
{
	char text[LINE_BYTES_MAX + 1];
	int rc = say("* %s came\n", member->name);
	while (rc == 0 && (rc = tare_cancelled()) == 0) {
		tare_breathe(tare_now_ns());
		rc = read_line(member, text);
		if (rc == 0)
			rc = say("%s: %s\n", member->name, text);
	}
	return rc;
}

// Tells the room. In a shield, because it must be said also when the member, or the server, is being cancelled. When
// the send returns, the room has heard it and looks at this member no more.
static void leave(struct member *member)
{
	struct tare_scope shield;
	int rc = tare_scope_open(&shield, TARE_NEVER, TARE_SCOPE_SHIELD);
	TARE_ASSERT(rc == 0); // without a deadline it can only be too deep
	rc = say("* %s left\n", member->name);
	if (rc == 0)
		rc = tare_chan_send(chat.leaves, &member);
	TARE_ASSERT(rc == 0); // the room ends after its members, and closes nothing
	(void)tare_scope_join(&shield);
}

static int take_part(struct member *member)
{
	char name[LINE_BYTES_MAX + 1];
	int rc = read_line(member, name);
	if (rc < 0)
		return rc;
	if (name[0] == '\0' || strlen(name) > NAME_BYTES_MAX)
		return -EINVAL;
	strcpy(member->name, name);
	rc = tare_scope_go(&member->scope, writer, member);
	if (rc == 0)
		rc = tare_chan_send(chat.joins, &member);
	if (rc < 0)
		return rc;
	rc = talk(member);
	leave(member);
	return rc;
}

// The task of one connection; it reads, its writer writes. Why it ended concerns the member alone: so always 0.
static int session(void *arg)
{
	struct member *member = arg;
	member->buf_len = 0;
	member->outbox = NULL;
	int rc = tare_stream_open(&member->stream, member->os_fd);
	if (rc < 0)
		tare_fd_dismiss(member->os_fd, NULL, 0);
	if (rc == 0) {
		rc = tare_chan_new(&member->outbox, sizeof(struct line), OUTBOX_LINES);
		if (rc == 0)
			rc = tare_scope_open(&member->scope, TARE_NEVER, TARE_SCOPE_FAIL_FAST);
		if (rc == 0) {
			(void)take_part(member);
			(void)tare_scope_close(&member->scope);
		}
		tare_stream_close(&member->stream);
	}
	tare_chan_free(member->outbox);
	return tare_chan_send(chat.free, &member); // there is room for all of them: it never waits
}

// ---- the server ---------------------------------------------------------------------------------------------------

// Waits for a member's place, then for a caller. Fails when the server stops, and when descriptors or memory are short.
static int accept_one(void)
{
	struct member *member;
	int rc = tare_chan_recv(chat.free, &member);
	if (rc < 0)
		return rc;
	struct tare_addr peer;
	member->os_fd = tare_accept(&listener, &peer, TARE_NEVER);
	rc = member->os_fd < 0 ? member->os_fd : tare_scope_go(&chat.sessions, session, member);
	if (rc == 0)
		return 0;
	if (member->os_fd >= 0)
		tare_fd_dismiss(member->os_fd, NULL, 0);
	int given = tare_chan_send(chat.free, &member);
	return rc < 0 ? rc : given;
}

static int accept_all(void *arg)
{
	(void)arg;
	while (tare_cancelled() == 0)
		if (accept_one() < 0)
			(void)tare_sleep(ACCEPT_PAUSE_MS *
					 TARE_NS_PER_MS); // a shortage passes; a cancel ends the sleep
	return 0;
}

// The members' tasks are in an inner scope, so that the room outlives them.
static int serve_sessions(void)
{
	int rc = tare_scope_open(&chat.sessions, TARE_NEVER, 0);
	if (rc < 0)
		return rc;
	rc = tare_scope_go(&chat.sessions, accept_all, NULL);
	if (rc == 0)
		rc = stop_wait(&chat.err);
	int result = tare_scope_close(&chat.sessions);
	return rc < 0 ? rc : result;
}

static int serve(void)
{
	struct tare_scope scope;
	int rc = tare_scope_open(&scope, TARE_NEVER, 0);
	if (rc < 0)
		return rc;
	rc = tare_scope_go(&scope, room_task, NULL);
	if (rc == 0)
		rc = serve_sessions();
	int result = tare_scope_close(&scope);
	return rc < 0 ? rc : result;
}

static int channels_new(void)
{
	int rc = tare_chan_new(&chat.free, sizeof(struct member *), MEMBERS_MAX);
	if (rc == 0)
		rc = tare_chan_new(&chat.joins, sizeof(struct member *), 0);
	if (rc == 0)
		rc = tare_chan_new(&chat.leaves, sizeof(struct member *), 0);
	if (rc == 0)
		rc = tare_chan_new(&chat.lines, sizeof(struct line), OUTBOX_LINES);
	for (int i = 0; i < MEMBERS_MAX && rc == 0; i++) {
		struct member *member = &members[i];
		rc = tare_chan_try_send(chat.free, &member);
	}
	return rc;
}

static void channels_free(void)
{
	tare_chan_free(chat.free);
	tare_chan_free(chat.joins);
	tare_chan_free(chat.leaves);
	tare_chan_free(chat.lines);
}

static int first(void *arg)
{
	(void)arg;
	struct tare_addr addr;
	char text[TARE_ADDR_TEXT_BYTES];
	int rc = tare_addr_parse(&addr, chat.address, &chat.err);
	if (rc == 0)
		rc = tare_listen(&listener, &addr, BACKLOG, false, &chat.err);
	if (rc < 0)
		return rc;
	tare_addr_format(&addr, text);
	printf("listening on %s\n", text);
	(void)fflush(stdout);
	rc = serve();
	tare_listener_close(&listener);
	return rc;
}

int main(int argc, char **argv)
{
	int result = 0;
	chat.address = argc > 1 ? argv[1] : "127.0.0.1:7001";
	int rc = stop_block();
	if (rc == 0)
		rc = channels_new();
	if (rc == 0)
		rc = tare_run(NULL, first, NULL, &result, &chat.err);
	channels_free();
	rc = rc < 0 ? rc : result;
	if (rc < 0) {
		fprintf(stderr, "chat: %s\n", chat.err.text[0] != '\0' ? chat.err.text : strerror(-rc));
		return 1;
	}
	puts("stopped");
	return 0;
}
