// SPDX-License-Identifier: MIT
//
// Lookups of names by c-ares, driven by the task that asks.
//
// Each lookup has a channel of its own, which lives as long as the lookup and which its task alone touches: c-ares 1.18
// has no locks. Its sockets are ours (ares_set_socket_functions), in slots: c-ares makes, uses and closes them through
// the functions below, and they wait in the runtime's poller.
//
//   FREE --sock_make--> MADE --sock_state--> WATCHED --slots_open--> REGISTERED --sock_close--> FREE
//                         +----------------------+-------sock_close----------------------------> FREE
//
// The task waits either until a TCP socket can be written (tare_fd_wait), or, all others being idle descriptors
// (tare_fd_idle), for its event, which on_ready sets when one of them can be read. The queries of one lookup must all
// end before it does, so a write that is waited for keeps nothing else from ending.
//
// Invariants
//   1. While c-ares runs, no slot is idle: so what c-ares closes has no callback under way that matters (2).
//   2. A lookup's storage is type-stable, from a pool that is kept for as long as the process lives. An on_ready that
//      comes late finds the event of whoever has the storage now, who looks once too often; nothing else is written.
//   3. Readiness is edge-triggered: a slot goes idle only after a read of it said EAGAIN (dry).
//   4. The channel is destroyed before the lookup returns, whatever it returns: that ends its queries and its sockets.
//
// Threads: the task's. But the channel is made, and the lookup begun, on a spare thread (tare_block), because that
// reads files; the task waits for it, so there is still one at a time. (Only where /etc/nsswitch.conf has the hosts
// after the name servers, that file is read on the worker.)
//
// Rejected: one channel for all, under a lock or driven by a task (that task would outlive every scope, and be dropped
// with the runtime; all queries would share a source port, which makes answers easier to forge; one cancelled lookup
// can't be taken out of a channel). ares_getsock and select. c-ares' own sockets, registered as duplicates: closing
// those in time is not ours. The price of a channel is some 75 KiB, hence tare_resolver_options.lookups_max.
#include "net/net_int.h"

#include <errno.h>

#ifndef TARE_NO_ARES
#include <tare/block.h>
#include <tare/pool.h>
#include <tare/sync.h>

#include <ares.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <unistd.h>

// READS_MAX: of one socket before the others have their turn.
enum { SLOTS_MAX = 2 * NET_SERVERS_MAX, READS_MAX = 64, LENGTH_BYTES = 2 };

// Of an answer's header (RFC 1035). c-ares asks the next server then, and keeps to itself why the last one failed.
enum { RCODE_SERVFAIL = 2, RCODE_NOTIMP = 4, RCODE_REFUSED = 5 };

enum slot_state { SLOT_FREE = 0, SLOT_MADE, SLOT_WATCHED, SLOT_REGISTERED };

struct lookup;

struct slot {
	struct tare_fd fd;     // while registered
	struct lookup *lookup; // set once: a lookup's slots are always its own
	enum slot_state state;
	int os_fd;
	bool stream;
	bool wants_write;
	bool dry;     // see invariant 3
	bool refused; // of datagrams: the next read's error
	int reads_left;
	bool at_header;        // of a stream: an answer's header comes next
	size_t left;           // of the answer that is being read
	unsigned length;       // as far as it is read
	unsigned length_bytes; // so many
};

struct lookup {
	struct tare_event event;
	struct slot slots[SLOTS_MAX];
	const struct net_query *query;
	const char *host;
	ares_channel channel;
	struct ares_addrinfo *result; // c-ares' memory
	int status;                   // ARES_…, once done
	bool done;
	int rcode;    // of the last answer that said the server failed or refused; 0: none
	int os_error; // for which a socket could not be made, negative; 0: none
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static _Atomic(struct tare_pool *) lookups; // never freed: invariant 2

// ---- sockets, as c-ares calls them --------------------------------------------------------------------------------

static struct slot *slot_of(struct lookup *l, int os_fd)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (l->slots[i].state != SLOT_FREE && l->slots[i].os_fd == os_fd)
			return &l->slots[i];
	TARE_ASSERT(false); // c-ares has sockets from us alone
	return NULL;
}

static ares_socket_t sock_fail(struct lookup *l, int error)
{
	if (error != EAFNOSUPPORT)
		l->os_error = -error;
	errno = error;
	return ARES_SOCKET_BAD;
}

static ares_socket_t sock_make(int family, int type, int protocol, void *arg)
{
	struct lookup *l = arg;
	struct slot *slot = l->slots;
	while (slot < l->slots + SLOTS_MAX && slot->state != SLOT_FREE)
		slot++;
	if (slot == l->slots + SLOTS_MAX)
		return sock_fail(l, EMFILE);
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return sock_fail(l, errno);
	int one = 1;
	slot->stream = type == SOCK_STREAM;
	if (slot->stream)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	slot->os_fd = fd;
	slot->state = SLOT_MADE;
	slot->wants_write = false;
	slot->reads_left = READS_MAX;
	slot->dry = true; // what comes before it is registered is told then
	slot->at_header = slot->refused = false;
	slot->left = slot->length_bytes = 0;
	return fd;
}

static int sock_close(ares_socket_t fd, void *arg)
{
	struct slot *slot = slot_of(arg, fd);
	if (slot->state == SLOT_REGISTERED)
		tare_fd_close(&slot->fd);
	else
		close(fd);
	slot->state = SLOT_FREE;
	return 0;
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *addr, ares_socklen_t len, void *arg)
{
	(void)arg;
	return connect(fd, addr, len);
}

// Whether what was read from a stream begins with an answer's header. c-ares reads the two bytes of its length first,
// and never more than to the end of either.
static bool stream_header(struct slot *slot, const unsigned char *data, size_t n)
{
	if (slot->left > 0) {
		bool header = slot->at_header;
		slot->at_header = false;
		slot->left -= TARE_MIN(n, slot->left);
		return header;
	}
	for (size_t i = 0; i < n; i++) {
		slot->length = (slot->length << 8 | data[i]) & 0xffff;
		slot->at_header = ++slot->length_bytes == LENGTH_BYTES;
	}
	if (slot->at_header) {
		slot->left = slot->length;
		slot->length_bytes = 0;
	}
	return false;
}

static void note_rcode(struct lookup *l, struct slot *slot, const unsigned char *data, size_t n)
{
	bool header = !slot->stream || stream_header(slot, data, n);
	if (!header || n < 4)
		return;
	int rcode = data[3] & 15;
	if (rcode == RCODE_SERVFAIL || rcode == RCODE_NOTIMP || rcode == RCODE_REFUSED)
		l->rcode = rcode;
}

static ares_ssize_t sock_recv(ares_socket_t fd, void *buf, size_t len, int flags, struct sockaddr *from,
			      ares_socklen_t *from_len, void *arg)
{
	struct lookup *l = arg;
	struct slot *slot = slot_of(l, fd);
	if (slot->reads_left-- <= 0) {
		slot->dry = false;
		errno = EAGAIN;
		return -1;
	}
	ssize_t n;
	if (slot->refused) {
		slot->refused = false;
		n = -ECONNREFUSED;
	} else if (slot->stream) {
		n = slot->state == SLOT_REGISTERED ? tare_fd_recv(&slot->fd, buf, len) : -EAGAIN;
	} else {
		struct iovec iov = {buf, len};
		struct msghdr msg = {.msg_name = from, .msg_namelen = *from_len, .msg_iov = &iov, .msg_iovlen = 1};
		do
			n = recvmsg(fd, &msg, flags);
		while (n < 0 && errno == EINTR);
		n = n < 0 ? -errno : n;
		*from_len = msg.msg_namelen;
	}
	slot->dry = n < 0;
	if (n >= 0)
		note_rcode(l, slot, buf, (size_t)n);
	else
		errno = (int)-n;
	return n < 0 ? -1 : n;
}

// A refusal that a send of datagrams meets is that of one before, whose query would wait for an answer until its time
// is up, while c-ares moved only the new one to the next server. As the error of a read it moves both.
static ares_ssize_t send_datagram(struct slot *slot, const struct iovec *iov, int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
	ssize_t n;
	do
		n = sendmsg(slot->os_fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0 || errno != ECONNREFUSED)
		return n;
	slot->refused = true;
	slot->dry = false;
	for (n = 0; count > 0; count--)
		n += (ssize_t)iov[count - 1].iov_len;
	return n;
}

static ares_ssize_t sock_send(ares_socket_t fd, const struct iovec *iov, int count, void *arg)
{
	struct slot *slot = slot_of(arg, fd);
	if (!slot->stream)
		return send_datagram(slot, iov, count);
	ssize_t n = slot->state == SLOT_REGISTERED ? tare_fd_sendv(&slot->fd, iov, (size_t)count) : -EAGAIN;
	if (n < 0)
		errno = (int)-n;
	return n < 0 ? -1 : n;
}

static const struct ares_socket_functions sock_functions = {
    .asocket = sock_make,
    .aclose = sock_close,
    .aconnect = sock_connect,
    .arecvfrom = sock_recv,
    .asendv = sock_send,
};

// Registering waits until c-ares has returned: it may fail, and may not be done from a spare thread.
static void sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct slot *slot = slot_of(arg, fd);
	if (slot->state == SLOT_MADE && (readable || writable))
		slot->state = SLOT_WATCHED;
	slot->wants_write = writable != 0;
}

// ---- the channel --------------------------------------------------------------------------------------------------

static void on_result(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
	(void)timeouts;
	struct lookup *l = arg;
	l->status = status;
	l->result = result;
	l->done = true;
}

static int set_servers(struct lookup *l)
{
	struct ares_addr_port_node nodes[NET_SERVERS_MAX];
	for (unsigned i = 0; i < l->query->server_count; i++) {
		const struct tare_addr *addr = &l->query->servers[i];
		int port = tare_addr_port(addr);
		nodes[i] =
		    (struct ares_addr_port_node){.family = addr->sa.sa_family, .udp_port = port, .tcp_port = port};
		if (addr->sa.sa_family == AF_INET6)
			memcpy(&nodes[i].addr.addr6, &addr->v6.sin6_addr, sizeof nodes[i].addr.addr6);
		else
			nodes[i].addr.addr4 = addr->v4.sin_addr;
		if (i > 0)
			nodes[i - 1].next = &nodes[i];
	}
	return ares_set_servers_ports(l->channel, nodes);
}

// On a spare thread: reads the configuration and the hosts, and sends the first queries.
static int begin(void *arg)
{
	struct lookup *l = arg;
	struct ares_options options = {.sock_state_cb = sock_state, .sock_state_cb_data = l};
	int mask = ARES_OPT_SOCK_STATE_CB;
	if (l->query->try_ns > 0) {
		options.timeout = (int)(l->query->try_ns / TARE_NS_PER_MS);
		mask |= ARES_OPT_TIMEOUTMS;
	}
	if (l->query->tries > 0) {
		options.tries = (int)l->query->tries;
		mask |= ARES_OPT_TRIES;
	}
	int status = ares_init_options(&l->channel, &options, mask);
	if (status != ARES_SUCCESS) {
		l->channel = NULL;
		on_result(l, status, 0, NULL);
		return 0;
	}
	ares_set_socket_functions(l->channel, &sock_functions, l);
	if (l->query->server_count > 0)
		status = set_servers(l);
	if (status != ARES_SUCCESS) {
		on_result(l, status, 0, NULL);
		return 0;
	}
	const struct ares_addrinfo_hints hints = {
	    .ai_family = l->query->family, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_ENVHOSTS};
	ares_getaddrinfo(l->channel, l->host, NULL, &hints, on_result, l);
	return 0;
}

// Has c-ares read, write and look at the clock.
static void process(struct lookup *l)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		l->slots[i].reads_left = READS_MAX;
	for (unsigned i = 0; i < SLOTS_MAX && !l->done; i++) {
		struct slot *slot = &l->slots[i];
		if (slot->state != SLOT_REGISTERED)
			continue;
		ares_process_fd(l->channel, slot->os_fd, slot->wants_write ? slot->os_fd : ARES_SOCKET_BAD);
	}
	if (!l->done)
		ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); // what is late, also without a socket
}

// ---- waiting ------------------------------------------------------------------------------------------------------

// From the poller, on a worker's own stack; maybe late (invariant 2).
static void on_ready(struct tare_fd *fd)
{
	tare_event_wake(&TARE_CONTAINER_OF(fd, struct slot, fd)->lookup->event);
}

static int slots_open(struct lookup *l)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct slot *slot = &l->slots[i];
		if (slot->state != SLOT_WATCHED)
			continue;
		int rc = tare_fd_open(&slot->fd, slot->os_fd);
		if (rc < 0)
			return rc;
		slot->state = SLOT_REGISTERED;
	}
	return 0;
}

static int wait_readable(struct lookup *l, int64_t until_ns)
{
	unsigned idle = 0;
	bool ready = false;
	while (idle < SLOTS_MAX && !ready) {
		struct slot *slot = &l->slots[idle++];
		ready = slot->state == SLOT_REGISTERED && !tare_fd_idle(&slot->fd, on_ready);
	}
	int rc = ready ? 0 : tare_event_wait_until(&l->event, until_ns);
	while (idle-- > 0)
		if (l->slots[idle].state == SLOT_REGISTERED && tare_fd_unidle(&l->slots[idle].fd))
			continue; // else it has been ready: process reads them all
	return rc;
}

// c-ares' next timeout is in whole milliseconds, rounded down.
static int64_t next_try_ns(struct lookup *l)
{
	struct timeval left;
	if (ares_timeout(l->channel, NULL, &left) == NULL)
		return TARE_NEVER;
	int64_t left_ns = left.tv_sec * TARE_NS_PER_S + left.tv_usec * TARE_NS_PER_US + TARE_NS_PER_MS;
	return tare_time_after(tare_now_ns(), left_ns);
}

static int wait_any(struct lookup *l, int64_t deadline_ns)
{
	struct slot *writer = NULL;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (l->slots[i].state == SLOT_REGISTERED && l->slots[i].wants_write)
			writer = &l->slots[i];
	int64_t again_ns = next_try_ns(l);
	int64_t until_ns = TARE_MIN(again_ns, deadline_ns);
	int rc = writer != NULL ? tare_fd_wait(&writer->fd, TARE_WRITE, until_ns) : wait_readable(l, until_ns);
	if (rc == -ETIMEDOUT && tare_cancelled() == 0 && tare_now_ns() < deadline_ns)
		return 0; // it was c-ares' own
	return rc;
}

// Whether there is something to read that no event will tell of.
static bool is_more(const struct lookup *l)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (l->slots[i].state == SLOT_REGISTERED && !l->slots[i].dry)
			return true;
	return false;
}

static int drive(struct lookup *l, int64_t deadline_ns)
{
	while (!l->done) {
		int rc = slots_open(l);
		if (rc == 0 && is_more(l)) {
			int64_t now_ns = tare_now_ns();
			tare_breathe(now_ns);
			rc = now_ns >= deadline_ns ? -ETIMEDOUT : tare_cancelled();
		} else if (rc == 0) {
			rc = wait_any(l, deadline_ns);
		}
		if (rc < 0)
			return rc;
		process(l);
	}
	return 0;
}

// ---- results ------------------------------------------------------------------------------------------------------

static int fail_rcode(int rcode, const char *host, struct tare_error *err)
{
	if (rcode == RCODE_SERVFAIL)
		return tare_error_set(
		    err, -EREMOTEIO,
		    "host '%s': the name server failed to look it up (try again later, or ask another "
		    "server: /etc/resolv.conf)",
		    host);
	return tare_error_set(err, -EACCES,
			      "host '%s': the name server refuses to answer (ask one that serves this machine: "
			      "/etc/resolv.conf)",
			      host);
}

static int fail_ares(const struct lookup *l, struct tare_error *err)
{
	const char *host = l->host;
	const char *kind = l->query->family == AF_INET ? "IPv4 " : l->query->family == AF_INET6 ? "IPv6 " : "";
	switch (l->status) {
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
		return tare_error_set(err, -ENOENT, "host '%s': there is none of this name (check its spelling)", host);
	case ARES_ENODATA:
		return tare_error_set(err, -ENODATA, "host '%s': it has no %saddress", host, kind);
	case ARES_ESERVFAIL:
	case ARES_EFORMERR:
		return fail_rcode(RCODE_SERVFAIL, host, err);
	case ARES_ENOTIMP:
	case ARES_EREFUSED:
		return fail_rcode(RCODE_REFUSED, host, err);
	case ARES_ECONNREFUSED: // also c-ares' word for every server having failed
		if (l->rcode != 0)
			return fail_rcode(l->rcode, host, err);
		if (l->os_error != 0)
			return tare_error_set(err, l->os_error, "host '%s': no socket for asking: %s", host,
					      strerror(-l->os_error));
		return tare_error_set(
		    err, -ECONNREFUSED,
		    "host '%s': no name server could be reached (check /etc/resolv.conf and the network)", host);
	case ARES_ETIMEOUT:
		return tare_error_set(
		    err, -ETIMEDOUT,
		    "host '%s': no name server answered in time (check /etc/resolv.conf and the network)", host);
	case ARES_EBADNAME:
	case ARES_EBADQUERY:
		return tare_error_set(err, -EINVAL, "host '%s': is no name that could be looked up", host);
	case ARES_ENOMEM:
		return tare_error_set(err, -ENOMEM, "host '%s': out of memory", host);
	default:
		return tare_error_set(err, -EBADMSG, "host '%s': the name server's answer can't be read: %s", host,
				      ares_strerror(l->status));
	}
}

static bool known(const struct tare_addr *addr, const struct tare_addr *ret, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (addr->len == ret[i].len && memcmp(&addr->sa, &ret[i].sa, addr->len) == 0)
			return true;
	return false;
}

// A file of hosts may say a thing twice.
static int take_result(const struct lookup *l, uint16_t port, struct tare_addr *ret, size_t max, struct tare_error *err)
{
	size_t count = 0;
	for (const struct ares_addrinfo_node *node = l->result->nodes; node != NULL && count < max;
	     node = node->ai_next) {
		struct tare_addr addr = {.len = (socklen_t)node->ai_addrlen};
		if (addr.len > sizeof addr.v6 || (node->ai_family != AF_INET && node->ai_family != AF_INET6))
			continue;
		memcpy(&addr.sa, node->ai_addr, addr.len);
		tare_addr_set_port(&addr, port);
		if (!known(&addr, ret, count))
			ret[count++] = addr;
	}
	if (count == 0)
		return tare_error_set(err, -ENODATA, "host '%s': it has no address", l->host);
	return (int)count;
}

static int fail_wait(int rc, const char *host, struct tare_error *err)
{
	const char *why = rc == -ETIMEDOUT   ? "no answer before the deadline"
			  : rc == -ECANCELED ? "the lookup was cancelled"
					     : strerror(-rc);
	return tare_error_set(err, rc, "host '%s': %s", host, why);
}

static struct lookup *lookup_take(void)
{
	// acquire: pairs with the release in net_ares_init
	struct lookup *l = tare_pool_take(atomic_load_explicit(&lookups, memory_order_acquire));
	if (l == NULL)
		return NULL;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (l->slots[i].lookup == NULL) // once: a late on_ready reads it
			l->slots[i].lookup = l;
	l->channel = NULL;
	l->result = NULL;
	l->done = false;
	l->rcode = l->os_error = 0;
	return l;
}

int net_ares_lookup(const struct net_query *query, const char *host, uint16_t port, struct tare_addr *ret, size_t max,
		    int64_t deadline_ns, struct tare_error *err)
{
	struct lookup *l = lookup_take();
	if (l == NULL)
		return tare_error_set(err, -ENOMEM, "host '%s': out of memory", host);
	l->query = query;
	l->host = host;
	(void)tare_block(begin, l);
	int rc = drive(l, deadline_ns);
	if (rc < 0)
		rc = fail_wait(rc, host, err);
	else if (l->status != ARES_SUCCESS)
		rc = fail_ares(l, err);
	else
		rc = take_result(l, port, ret, max, err);
	if (l->channel != NULL)
		ares_destroy(l->channel); // may still call on_result
	if (l->result != NULL)
		ares_freeaddrinfo(l->result);
	tare_pool_give(atomic_load_explicit(&lookups, memory_order_relaxed), l);
	return rc;
}

static void library_init(void)
{
	(void)ares_library_init(ARES_LIB_INIT_ALL); // here it only counts
}

int net_ares_init(struct tare_error *err)
{
	struct tare_pool *pool = NULL, *none = NULL;
	(void)pthread_once(&library_once, library_init);
	if (atomic_load_explicit(&lookups, memory_order_acquire) != NULL)
		return 0;
	int rc = tare_pool_new(
	    &pool,
	    &(struct tare_pool_options){.name = "name lookups", .object_bytes = sizeof(struct lookup), .stable = true});
	if (rc < 0)
		return tare_error_set(err, rc, "out of memory for the pool of lookups");
	if (!TARE_CAS(&lookups, &none, pool))
		tare_pool_free(pool); // another thread was faster
	return 0;
}

#else // built without c-ares
int net_ares_init(struct tare_error *err)
{
	(void)err;
	return 0;
}

int net_ares_lookup(const struct net_query *query, const char *host, uint16_t port, struct tare_addr *ret, size_t max,
		    int64_t deadline_ns, struct tare_error *err)
{
	(void)query, (void)port, (void)ret, (void)max, (void)deadline_ns;
	return tare_error_set(err, -ENOSYS, "host '%s': this build resolves no names (write a numeric address)", host);
}
#endif
