// SPDX-License-Identifier: MIT
//
// The simulated network: stream sockets in memory, behind the same seam as the kernel's.
//
// What is sent is cut into segments that arrive each after a delay of its own, in order; a lost one arrives after the
// time that its repetition would take. A socket's room is bounded, so writes come up short or not at all. Errors are
// the kernel's: a closed peer is -EPIPE or -ECONNRESET, closing with unread bytes resets, nobody listening is
// -ECONNREFUSED. rt_sim_net_set makes it worse: resets, partitions.
//
// Readiness is edge-triggered: an event is queued with its time, and delivered by the poller that holds the descriptor,
// at that time or a little later. Now and then one comes for nothing, as the kernel's may.
//
// Threads: one (see sim.c); nothing in here is a point at which it switches, but for rt_fd_event at the end.
#include "rt/rt_int.h"

#ifdef TARE_SIM
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

enum { SOCKS_MAX = 4096, FIRST_FD = 1 << 20, ROOM_BYTES = 64 * 1024, SEGMENT_MAX = 4096, EPHEMERAL_PORT = 40000 };

struct segment {
	struct segment *next;
	int64_t at_ns;
	size_t len, used;
	char bytes[];
};

struct sock {
	bool open, listens, turned_away;
	struct sockaddr_storage addr; // the local one
	struct tare_fd *fd;           // registered; NULL: not
	struct rt_poller *poller;
	struct sock *peer; // NULL: gone, or not connected
	int connect_rc;    // -EINPROGRESS until connected_ns
	int64_t connected_ns;

	struct segment *first, *last; // to be received
	size_t room_used;             // bytes in them
	int64_t last_ns;              // when the last of them arrives: order is kept
	int64_t end_ns, reset_ns;     // TARE_NEVER: not
	bool ended;                   // it has sent its own end
	bool wants_room;              // a write was refused: an event when there is room again

	struct sock *queue_first,
	    *queue_next; // a listener's connections, oldest first; when each arrived is connected_ns
	int queue_length, backlog;
};

struct event {
	int64_t at_ns;
	struct sock *sock;
	int side;
};

static struct rt_sim_net settings = {.delay_max_ns = 200 * TARE_NS_PER_US, .loss_per_mille = 5};

static struct {
	struct sock *socks[SOCKS_MAX];
	unsigned sock_count;
	struct event *events;
	size_t event_count, event_capacity;
	int64_t partition_end_ns;
	uint16_t next_port;
} net;

void rt_sim_net_set(const struct rt_sim_net *wanted)
{
	settings = *wanted;
}

void rt_sim_net_partition(int64_t until_ns)
{
	net.partition_end_ns = until_ns;
}

static bool chance(unsigned per_mille)
{
	return rt_sim_random_below(1000) < per_mille;
}

static int64_t arrival_ns(void)
{
	int64_t at_ns = rt_sim_now_ns() + (int64_t)rt_sim_random_below((uint64_t)settings.delay_max_ns + 1);
	if (chance(settings.loss_per_mille))
		at_ns += 200 * TARE_NS_PER_MS; // the first repetition
	return TARE_MAX(at_ns, net.partition_end_ns);
}

// Order is kept.
static int64_t arrival_after_ns(int64_t last_ns)
{
	int64_t at_ns = arrival_ns();
	return TARE_MAX(last_ns, at_ns);
}

// The C library's own allocator: ours has points at which the simulation switches.
static void *must_alloc(size_t bytes)
{
	void *p = calloc(1, bytes);
	TARE_ASSERT(p != NULL);
	return p;
}

// ---- sockets ------------------------------------------------------------------------------------------------------

static struct sock *sock_new(int *ret_fd)
{
	if (net.sock_count == SOCKS_MAX)
		return NULL;
	struct sock *s = must_alloc(sizeof *s);
	s->open = true;
	s->end_ns = s->reset_ns = TARE_NEVER;
	*ret_fd = FIRST_FD + (int)net.sock_count;
	net.socks[net.sock_count++] = s;
	return s;
}

static struct sock *sock_of(int fd)
{
	TARE_ASSERT(fd >= FIRST_FD && fd < FIRST_FD + (int)net.sock_count); // a descriptor of the kernel's
	struct sock *s = net.socks[fd - FIRST_FD];
	TARE_ASSERT(s->open); // used after it was closed
	return s;
}

static int fd_of(const struct sock *s)
{
	for (unsigned i = 0; i < net.sock_count; i++)
		if (net.socks[i] == s)
			return FIRST_FD + (int)i;
	return -1;
}

static void segments_drop(struct sock *s)
{
	for (struct segment *next; s->first != NULL; s->first = next) {
		next = s->first->next;
		free(s->first);
	}
	s->last = NULL;
	s->room_used = 0;
}

void rt_sim_net_done(void)
{
	for (unsigned i = 0; i < net.sock_count; i++) {
		segments_drop(net.socks[i]);
		free(net.socks[i]);
	}
	free(net.events);
	memset(&net, 0, sizeof net);
}

// ---- events -------------------------------------------------------------------------------------------------------

static void event_add(struct sock *s, int side, int64_t at_ns)
{
	if (net.event_count == net.event_capacity) {
		net.event_capacity = TARE_MAX(2 * net.event_capacity, (size_t)64);
		net.events = realloc(net.events, net.event_capacity * sizeof *net.events);
		TARE_ASSERT(net.events != NULL);
	}
	net.events[net.event_count++] = (struct event){at_ns, s, side};
}

int64_t rt_sim_net_next_ns(const struct rt_poller *poller)
{
	int64_t first_ns = TARE_NEVER;
	for (size_t i = 0; i < net.event_count; i++)
		if (net.events[i].sock->poller == poller)
			first_ns = TARE_MIN(first_ns, net.events[i].at_ns);
	return first_ns;
}

// The index of an event that is due, any of them; event_count when there is none.
static size_t event_due(const struct rt_poller *poller)
{
	size_t chosen = net.event_count, due = 0;
	for (size_t i = 0; i < net.event_count; i++) {
		const struct event *event = &net.events[i];
		if (event->at_ns <= rt_sim_now_ns() && event->sock->poller == poller && rt_sim_random_below(++due) == 0)
			chosen = i;
	}
	return chosen;
}

unsigned rt_sim_net_deliver(struct rt_poller *poller)
{
	unsigned delivered = 0;
	for (size_t i; (i = event_due(poller)) < net.event_count; delivered++) {
		struct event event = net.events[i];
		struct sock *s = event.sock;
		net.events[i] = net.events[--net.event_count];
		struct tare_fd *fd = s->fd;
		if (!s->open || fd == NULL)
			continue;
		// From here on it may be closed by another worker: an event that comes too late, as from the kernel.
		if (s->end_ns <= rt_sim_now_ns() || s->reset_ns <= rt_sim_now_ns())
			atomic_store(&fd->hangup, true);
		rt_fd_event(fd, event.side);
	}
	return delivered;
}

int rt_sim_fd_add(struct rt_poller *poller, struct tare_fd *fd)
{
	struct sock *s = sock_of(fd->fd);
	s->fd = fd;
	s->poller = poller;
	// What is true already is reported once, as the kernel does; what is under way comes when it arrives.
	int64_t now_ns = rt_sim_now_ns();
	if (s->first != NULL)
		event_add(s, TARE_READ, TARE_MAX(now_ns, s->first->at_ns));
	if (s->queue_first != NULL)
		event_add(s, TARE_READ, TARE_MAX(now_ns, s->queue_first->connected_ns));
	if (s->end_ns != TARE_NEVER)
		event_add(s, TARE_READ, TARE_MAX(now_ns, s->end_ns));
	if (!s->listens)
		event_add(s, TARE_WRITE, TARE_MAX(now_ns, s->connected_ns));
	return 0;
}

// ---- ends ---------------------------------------------------------------------------------------------------------

static void send_end(struct sock *s)
{
	if (s->ended || s->peer == NULL)
		return;
	s->ended = true;
	struct sock *to = s->peer;
	to->end_ns = to->last_ns = arrival_after_ns(to->last_ns);
	event_add(to, TARE_READ, to->end_ns);
}

static void reset_peer(struct sock *s)
{
	struct sock *to = s->peer;
	if (to == NULL)
		return;
	to->reset_ns = arrival_after_ns(to->last_ns);
	event_add(to, TARE_READ, to->reset_ns);
	event_add(to, TARE_WRITE, to->reset_ns);
}

static void sock_close(struct sock *s)
{
	if (s->first != NULL)
		reset_peer(s); // unread bytes
	else
		send_end(s);
	if (s->peer != NULL)
		s->peer->peer = NULL;
	for (struct sock *waiting = s->queue_first, *next; waiting != NULL; waiting = next) {
		next = waiting->queue_next;
		reset_peer(waiting); // nobody will accept it
		if (waiting->peer != NULL)
			waiting->peer->peer = NULL;
		waiting->open = false;
	}
	segments_drop(s);
	s->open = false;
	s->fd = NULL;
	s->poller = NULL;
}

void rt_sim_fd_close(struct rt_poller *poller, struct tare_fd *fd)
{
	(void)poller;
	sock_close(sock_of(fd->fd));
}

void rt_sim_shutdown(struct tare_fd *fd, int how)
{
	if (how != SHUT_RD)
		send_end(sock_of(fd->fd));
}

void rt_sim_dismiss(int os_fd, const void *last_words, size_t len)
{
	struct tare_fd fd = {.fd = os_fd};
	if (len > 0)
		(void)rt_sim_send(&fd, last_words, len);
	sock_close(sock_of(os_fd));
}

// ---- bytes --------------------------------------------------------------------------------------------------------

static size_t take_bytes(struct sock *s, char *buf, size_t len)
{
	size_t got = 0;
	while (got < len && s->first != NULL && s->first->at_ns <= rt_sim_now_ns()) {
		struct segment *segment = s->first;
		size_t n = TARE_MIN(len - got, segment->len - segment->used);
		memcpy(buf + got, segment->bytes + segment->used, n);
		segment->used += n;
		s->room_used -= n;
		got += n;
		if (segment->used < segment->len)
			break;
		s->first = segment->next;
		if (s->first == NULL)
			s->last = NULL;
		free(segment);
	}
	return got;
}

ssize_t rt_sim_recv(struct tare_fd *fd, void *buf, size_t len)
{
	struct sock *s = sock_of(fd->fd);
	if (s->reset_ns <= rt_sim_now_ns()) {
		segments_drop(s);
		return -ECONNRESET;
	}
	if (chance(settings.reset_per_mille)) {
		reset_peer(s);
		s->reset_ns = rt_sim_now_ns();
		return -ECONNRESET;
	}
	size_t got = take_bytes(s, buf, len);
	if (got == 0)
		return s->end_ns <= rt_sim_now_ns() && s->first == NULL ? 0 : -EAGAIN;
	struct sock *from = s->peer;
	if (from != NULL && from->wants_room && s->room_used < ROOM_BYTES * 2 / 3) {
		from->wants_room = false;
		event_add(from, TARE_WRITE, arrival_ns());
	}
	if (chance(10))
		event_add(s, TARE_READ, rt_sim_now_ns()); // for nothing
	return (ssize_t)got;
}

static void send_segment(struct sock *to, const char *from, size_t len)
{
	struct segment *segment = must_alloc(sizeof *segment + len);
	memcpy(segment->bytes, from, len);
	segment->len = len;
	segment->at_ns = to->last_ns = arrival_after_ns(to->last_ns);
	if (to->last != NULL)
		to->last->next = segment;
	else
		to->first = segment;
	to->last = segment;
	to->room_used += len;
	event_add(to, TARE_READ, segment->at_ns);
}

ssize_t rt_sim_send(struct tare_fd *fd, const void *buf, size_t len)
{
	struct sock *s = sock_of(fd->fd);
	if (s->connect_rc != 0 && s->connected_ns > rt_sim_now_ns())
		return -EAGAIN;
	if (s->reset_ns <= rt_sim_now_ns())
		return -ECONNRESET;
	if (s->ended)
		return -EPIPE;
	struct sock *to = s->peer;
	if (to == NULL) { // closed: the first write is answered by a reset
		s->reset_ns = rt_sim_now_ns();
		return (ssize_t)len;
	}
	size_t room = to->room_used < ROOM_BYTES ? ROOM_BYTES - to->room_used : 0;
	if (room == 0) {
		s->wants_room = true;
		return -EAGAIN;
	}
	size_t all = TARE_MIN(len, room);
	if (all > 1 && chance(100))
		all = 1 + rt_sim_random_below(all);
	for (size_t at = 0; at < all;) {
		size_t n = 1 + rt_sim_random_below(SEGMENT_MAX);
		n = TARE_MIN(n, all - at);
		send_segment(to, (const char *)buf + at, n);
		at += n;
	}
	// A short write means that the rest would have to wait; there is room, so say so.
	if (all < len)
		event_add(s, TARE_WRITE, arrival_ns());
	return (ssize_t)all;
}

ssize_t rt_sim_sendv(struct tare_fd *fd, const struct iovec *iov, size_t count)
{
	ssize_t sent = 0;
	for (size_t i = 0; i < count; i++) {
		ssize_t n = rt_sim_send(fd, iov[i].iov_base, iov[i].iov_len);
		if (n < 0)
			return sent > 0 ? sent : n;
		sent += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return sent;
}

// ---- connections --------------------------------------------------------------------------------------------------

static uint16_t *port_of(struct sockaddr_storage *addr)
{
	// At the same place in both families.
	return &((struct sockaddr_in *)(void *)addr)->sin_port;
}

int rt_sim_listen(struct sockaddr *addr, socklen_t *len, int backlog, bool reuse_port, const char **ret_step)
{
	int fd;
	(void)reuse_port;
	*ret_step = "listen";
	struct sock *s = sock_new(&fd);
	if (s == NULL)
		return -EMFILE;
	memcpy(&s->addr, addr, *len);
	if (addr->sa_family != AF_UNIX && *port_of(&s->addr) == 0)
		*port_of(&s->addr) = htons((uint16_t)(EPHEMERAL_PORT + net.next_port++));
	memcpy(addr, &s->addr, *len);
	s->listens = true;
	s->backlog = backlog;
	return fd;
}

// One of those that listen on the address.
static struct sock *listener_of(const struct sockaddr *addr, socklen_t len)
{
	struct sock *found = NULL;
	size_t count = 0;
	for (unsigned i = 0; i < net.sock_count; i++) {
		struct sock *s = net.socks[i];
		if (s->open && s->listens && !s->turned_away && memcmp(&s->addr, addr, len) == 0 &&
		    rt_sim_random_below(++count) == 0)
			found = s;
	}
	return found;
}

static void connect_pair(struct sock *a, struct sock *b)
{
	a->peer = b;
	b->peer = a;
}

int rt_sim_dial(const struct sockaddr *addr, socklen_t len)
{
	int fd, accepted_fd;
	struct sock *s = sock_new(&fd);
	struct sock *listener = listener_of(addr, len);
	if (s == NULL)
		return -EMFILE;
	s->connect_rc = listener != NULL ? 0 : -ECONNREFUSED;
	s->connected_ns = arrival_ns();
	if (listener == NULL) {
		s->reset_ns = s->connected_ns;
		return fd;
	}
	struct sock *accepted = sock_new(&accepted_fd);
	if (accepted == NULL)
		return -EMFILE;
	accepted->addr = listener->addr;
	connect_pair(s, accepted);
	// A full queue drops what comes; the caller's kernel tries again after a second.
	accepted->connected_ns = s->connected_ns + (listener->queue_length >= listener->backlog ? TARE_NS_PER_S : 0);
	struct sock **end = &listener->queue_first;
	while (*end != NULL)
		end = &(*end)->queue_next;
	*end = accepted;
	listener->queue_length++;
	event_add(listener, TARE_READ, accepted->connected_ns);
	return fd;
}

int rt_sim_dial_result(struct tare_fd *fd)
{
	struct sock *s = sock_of(fd->fd);
	return s->connected_ns > rt_sim_now_ns() ? -EINPROGRESS : s->connect_rc;
}

int rt_sim_accept(struct tare_fd *fd, struct sockaddr *ret_peer, socklen_t *len)
{
	struct sock *listener = sock_of(fd->fd), *accepted = listener->queue_first;
	if (accepted == NULL || accepted->connected_ns > rt_sim_now_ns())
		return -EAGAIN;
	listener->queue_first = accepted->queue_next;
	listener->queue_length--;
	accepted->queue_next = NULL;
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	*len = (socklen_t)TARE_MIN((size_t)*len, sizeof peer);
	memcpy(ret_peer, &peer, *len);
	return fd_of(accepted);
}

void rt_sim_turn_away(struct tare_fd *fd)
{
	sock_of(fd->fd)->turned_away = true;
}

int rt_sim_pair(int ret[2])
{
	struct sock *a = sock_new(&ret[0]), *b = sock_new(&ret[1]);
	if (a == NULL || b == NULL)
		return -EMFILE;
	connect_pair(a, b);
	return 0;
}
#endif
