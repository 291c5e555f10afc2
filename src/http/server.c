// SPDX-License-Identifier: MIT
//
// The server: a listener and an accepting task a worker, the limits on connections, the drain, the counts.
//
// The kernel shares connections out among the listeners by their addresses and ports, also to one whose worker is kept
// busy by a task. So the accepting tasks are lendable: another worker then accepts, and serves what it accepts.
//
// Invariants
//   1. server->live is the number of connections, plus one for the server itself until it drains. Whoever takes it to 0
//      wakes the drain and touches the server no more.
//   2. A connection is in exactly one worker's list from http_conn_start to its close.
//   3. A listener is closed only when nothing is left in its queue and nothing can enter it (tare_listener_drain).
//
// When descriptors run out, one kept in reserve is given up for a moment, so that the connection at the head of the
// queue hears 503 instead of waiting for ever; without even that, accepting pauses and the kernel's queue holds the
// callers.
#include "http/http_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("http server");

enum {
	REFUSED_LIVE_MAX = 64,
	ACCEPT_PAUSE_MS = 20,
	ROUSE_MS = 100,
	BACKLOG_DEFAULT = 4096,
	// How long a handshake may take to complete while the server drains.
	HANDSHAKE_MS = 50
};

void tare_http_limits_default(struct tare_http_limits *limits)
{
	*limits = (struct tare_http_limits){
	    .head_bytes_max = 8 * 1024,
	    .headers_max = 100,
	    .target_bytes_max = 4 * 1024,
	    .body_bytes_max = 1024 * 1024,
	    .answer_bytes_max = 4 * 1024 * 1024,
	    .arena_bytes_max = 1024 * 1024,
	    .pipeline_max = 64,
	    .connections_max = 65536,
	    .connections_per_address_max = 0,
	    .head_timeout_ns = 10 * TARE_NS_PER_S,
	    .body_timeout_ns = 30 * TARE_NS_PER_S,
	    .idle_timeout_ns = 60 * TARE_NS_PER_S,
	    .write_timeout_ns = 30 * TARE_NS_PER_S,
	    .drain_timeout_ns = 30 * TARE_NS_PER_S,
	};
}

// ---- accepting ----------------------------------------------------------------------------------------------------

// Says 503 without a task: the few bytes fit any socket's buffer. A client that sends first may see a reset instead.
static void refuse_now(int fd)
{
	static const char text[] =
	    "HTTP/1.1 503 Service Unavailable\r\nServer: tare\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
	    "Connection: close\r\n\r\n";
	tare_fd_dismiss(fd, text, sizeof text - 1);
}

// A descriptor over a limit. A bounded number of them get a task that reads the request first, so that the answer
// survives.
static void refuse(struct tare_http_server *server, int fd, const struct http_peer *peer)
{
	if (atomic_load(&server->refused_live) >= REFUSED_LIVE_MAX || http_conn_start(server, fd, peer, true) < 0)
		refuse_now(fd);
}

static void admit(struct tare_http_server *server, int fd, const struct tare_addr *addr)
{
	struct http_worker_stats *stats = &http_worker_self(server)->stats;
	const struct http_peer peer = http_peer_of(addr);
	tare_bump(&stats->accepted, 1);
	int admitted = atomic_load_explicit(&server->live, memory_order_relaxed) - 1 -
		       atomic_load_explicit(&server->refused_live, memory_order_relaxed);
	if (admitted >= (int)server->options.limits.connections_max) {
		tare_bump(&stats->refused_limit, 1);
		refuse(server, fd, &peer);
		return;
	}
	if (TARE_UNLIKELY(http_is_short(server))) {
		tare_bump(&stats->refused_memory, 1);
		refuse(server, fd, &peer);
		return;
	}
	if (server->peers != NULL && http_peers_enter(server->peers, &peer) < 0) {
		tare_bump(&stats->refused_address, 1);
		refuse(server, fd, &peer);
		return;
	}
	http_trace(server, TARE_STEP_ACCEPT);
	int rc = http_conn_start(server, fd, &peer, false);
	if (rc == 0)
		return;
	if (server->peers != NULL)
		http_peers_leave(server->peers, &peer);
	tare_bump(rc == -ENOMEM ? &stats->errors_io : &stats->refused_limit, 1);
	refuse_now(fd);
}

// Descriptors ran out: with the spare one's place, the first caller in the queue is told.
static bool refuse_with_spare(struct tare_http_server *server, struct tare_listener *listener)
{
	tare_spin_lock(&server->spare_spin);
	int spare = server->spare_fd;
	server->spare_fd = -1;
	tare_spin_unlock(&server->spare_spin);
	if (spare < 0)
		return false;
	close(spare);
	struct tare_addr peer;
	int fd = tare_accept_try(listener, &peer);
	if (fd >= 0)
		refuse_now(fd);
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	tare_spin_lock(&server->spare_spin);
	server->spare_fd = spare;
	tare_spin_unlock(&server->spare_spin);
	return fd >= 0;
}

// Accepts until the queue is empty. 0, or the error that stopped it.
static int accept_queue(struct tare_http_server *server, struct http_worker *worker)
{
	for (;;) {
		struct tare_addr peer;
		int fd = tare_accept_try(&worker->listener, &peer);
		if (fd >= 0) {
			admit(server, fd, &peer);
			tare_breathe(tare_now_ns());
			continue;
		}
		if (fd == -EAGAIN)
			return 0;
		tare_bump(&http_worker_self(server)->stats.refused_fds, 1);
		if (!refuse_with_spare(server, &worker->listener))
			return fd;
	}
}

static int accept_task(void *arg)
{
	struct http_worker *worker = arg; // the listener's: while a task keeps that one busy another runs this
	struct tare_http_server *server = worker->server;
	while (!atomic_load(&server->draining)) {
		if (accept_queue(server, worker) < 0)
			tare_sleep(ACCEPT_PAUSE_MS * TARE_NS_PER_MS);
		else
			(void)tare_fd_wait(&worker->listener.fd, TARE_READ, TARE_NEVER);
	}
	tare_listener_drain(&worker->listener);
	for (bool quiet = false; !quiet && tare_now_ns() < server->drain_deadline_ns;) {
		if (accept_queue(server, worker) < 0)
			tare_sleep(ACCEPT_PAUSE_MS * TARE_NS_PER_MS);
		else
			quiet = tare_fd_wait(&worker->listener.fd, TARE_READ,
					     tare_now_ns() + HANDSHAKE_MS * TARE_NS_PER_MS) == -ETIMEDOUT;
	}
	tare_listener_close(&worker->listener);
	return 0;
}

// ---- start --------------------------------------------------------------------------------------------------------

struct listen_job {
	struct tare_http_server *server;
	struct tare_error *err;
};

// On the worker whose poller shall hold the listener.
static int listen_task(void *arg)
{
	struct listen_job *job = arg;
	struct tare_http_server *server = job->server;
	int backlog = server->options.backlog > 0 ? server->options.backlog : BACKLOG_DEFAULT;
	return tare_listen(&http_worker_self(server)->listener, &server->addr, backlog, true, job->err);
}

static int run_on(int worker, tare_task_fn *fn, void *arg)
{
	struct tare_task *task;
	int rc =
	    tare_spawn(&task, &(struct tare_task_options){.name = "listen", .pinned = true, .worker = worker}, fn, arg);
	return rc < 0 ? rc : tare_join(task);
}

static int close_task(void *arg)
{
	struct tare_http_server *server = arg;
	tare_listener_close(&http_worker_self(server)->listener);
	return 0;
}

static int listen_all(struct tare_http_server *server, struct tare_error *err)
{
	if (tare_addr_taken(&server->addr)) {
		char text[TARE_ADDR_TEXT_BYTES];
		tare_addr_format(&server->addr, text);
		return tare_error_set(err, -EADDRINUSE,
				      "can't listen on %s: another program listens there: stop it or choose "
				      "another port",
				      text);
	}
	struct listen_job job = {server, err};
	for (int i = 0; i < server->worker_count; i++) {
		int rc = run_on(i, listen_task, &job);
		if (rc < 0) {
			while (i-- > 0)
				(void)run_on(i, close_task, server);
			return rc;
		}
	}
	return 0;
}

static int accept_all(struct tare_http_server *server, struct tare_error *err)
{
	for (int i = 0; i < server->worker_count; i++) {
		struct tare_task_options options = {.name = "accept", .pinned = true, .worker = i, .lendable = true};
		int rc = tare_spawn(&server->accept_tasks[i], &options, accept_task, &server->workers[i]);
		if (rc == 0)
			continue;
		atomic_store(&server->draining, true);
		for (int j = 0; j < server->worker_count; j++) {
			if (j >= i) {
				(void)run_on(j, close_task, server);
				continue;
			}
			tare_fd_kick(&server->workers[j].listener.fd, TARE_READ);
			(void)tare_join(server->accept_tasks[j]);
		}
		atomic_store(&server->draining, false);
		return tare_error_set(err, rc, "out of memory for the accepting tasks");
	}
	return 0;
}

static int workers_init(struct tare_http_server *server)
{
	server->workers =
	    tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, (size_t)server->worker_count * sizeof *server->workers);
	server->accept_tasks = tare_alloc_zeroed(&heap_tag, (size_t)server->worker_count, sizeof(struct tare_task *));
	if (server->workers == NULL || server->accept_tasks == NULL)
		return -ENOMEM;
	memset(server->workers, 0, (size_t)server->worker_count * sizeof *server->workers);
	for (int i = 0; i < server->worker_count; i++) {
		struct http_worker *worker = &server->workers[i];
		worker->server = server;
		tare_list_init(&worker->conns);
		worker->listener.fd.fd = -1;
		int rc = tare_hist_new(&worker->stats.duration, 2, HTTP_DURATION_MAX_NS);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int pools_init(struct tare_http_server *server)
{
	const struct tare_http_limits *limits = &server->options.limits;
	snprintf(server->conns_name, sizeof server->conns_name, "%s_http_connections", server->options.name);
	snprintf(server->buffers_name, sizeof server->buffers_name, "%s_http_buffers", server->options.name);
	int rc = tare_pool_new(&server->conns, &(struct tare_pool_options){.name = server->conns_name,
									   .object_bytes = sizeof(struct http_conn),
									   .alignment = TARE_CACHE_LINE,
									   .stable = true});
	if (rc == 0)
		rc = tare_pool_new(&server->buffers,
				   &(struct tare_pool_options){.name = server->buffers_name,
							       .object_bytes = sizeof(struct http_buffers),
							       .alignment = TARE_CACHE_LINE,
							       .passthrough = !server->options.pool});
	if (rc == 0 && limits->connections_per_address_max > 0)
		rc = http_peers_new(&server->peers, limits->connections_max + REFUSED_LIVE_MAX,
				    limits->connections_per_address_max);
	return rc;
}

static int limits_check(const struct tare_http_limits *limits, struct tare_error *err)
{
	if (limits->head_bytes_max < 64 || limits->head_bytes_max > HTTP_BUFFER_BYTES)
		return tare_error_set(err, -EINVAL, "head limit of %zu bytes: must be between 64 and %d",
				      limits->head_bytes_max, HTTP_BUFFER_BYTES);
	if (limits->headers_max < 1 || limits->headers_max > HTTP_HEADERS_CAP)
		return tare_error_set(err, -EINVAL, "limit of %u headers: must be between 1 and %d",
				      limits->headers_max, HTTP_HEADERS_CAP);
	if (limits->arena_bytes_max < HTTP_ARENA_BLOCK_BYTES)
		return tare_error_set(err, -EINVAL, "limit of %zu bytes of a request's arena: must be at least %d",
				      limits->arena_bytes_max, HTTP_ARENA_BLOCK_BYTES);
	if (limits->connections_max < 1 || limits->pipeline_max < 1)
		return tare_error_set(err, -EINVAL, "limits of connections and pipelined requests must be at least 1");
	return 0;
}

int tare_http_server_new(struct tare_http_server **ret, const struct tare_http_options *options, struct tare_error *err)
{
	int rc = limits_check(&options->limits, err);
	if (rc < 0)
		return rc;
	struct tare_http_server *server = tare_alloc_zeroed(&heap_tag, 1, sizeof *server);
	if (server == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory for the server");
	server->options = *options;
	server->grammar = (struct http_limits){
	    .head_bytes_max = options->limits.head_bytes_max,
	    .target_bytes_max = options->limits.target_bytes_max,
	    .headers_max = options->limits.headers_max,
	    .body_bytes_max = options->limits.body_bytes_max,
	};
	server->worker_count = tare_worker_count();
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); // without it a full table only means waiting
	atomic_store(&server->live, 1);
	rc = workers_init(server);
	if (rc == 0)
		rc = pools_init(server);
	if (rc < 0) {
		tare_http_server_free(server);
		return tare_error_set(err, rc, "out of memory for the server's pools and counters");
	}
	*ret = server;
	return 0;
}

int tare_http_server_listen(struct tare_http_server *server, struct tare_addr *addr, struct tare_error *err)
{
	if (addr->sa.sa_family == AF_UNIX)
		return tare_error_set(err, -EAFNOSUPPORT, "HTTP is served on TCP addresses, not on unix sockets");
	server->addr = *addr;
	int rc = listen_all(server, err);
	if (rc == 0)
		rc = accept_all(server, err);
	if (rc == 0)
		*addr = server->addr;
	return rc;
}

// ---- drain --------------------------------------------------------------------------------------------------------

// Hands every idle connection to a task, which closes it unless bytes have come.
static void rouse_idle(struct tare_http_server *server)
{
	for (int i = 0; i < server->worker_count; i++) {
		struct http_worker *worker = &server->workers[i];
		tare_spin_lock(&worker->spin);
		for (struct tare_list *node = worker->conns.next; node != &worker->conns; node = node->next) {
			struct http_conn *conn = TARE_CONTAINER_OF(node, struct http_conn, link);
			// On failure it is idle again, and the next round tries once more.
			if (tare_fd_unidle(&conn->stream.fd) && http_conn_rouse(conn) < 0)
				break;
		}
		tare_spin_unlock(&worker->spin);
	}
}

// What did not end in time finds its connection at an end.
static void cut_all(struct tare_http_server *server)
{
	for (int i = 0; i < server->worker_count; i++) {
		struct http_worker *worker = &server->workers[i];
		tare_spin_lock(&worker->spin);
		for (struct tare_list *node = worker->conns.next; node != &worker->conns; node = node->next)
			tare_fd_shutdown(&TARE_CONTAINER_OF(node, struct http_conn, link)->stream.fd, SHUT_RDWR);
		tare_spin_unlock(&worker->spin);
	}
}

int tare_http_server_drain(struct tare_http_server *server)
{
	server->drain_deadline_ns = tare_time_after(tare_now_ns(), server->options.limits.drain_timeout_ns);
	atomic_store(&server->draining, true);
	for (int i = 0; i < server->worker_count; i++) {
		tare_fd_kick(&server->workers[i].listener.fd, TARE_READ);
		(void)tare_join(server->accept_tasks[i]);
	}
	if (atomic_fetch_sub(&server->live, 1) == 1)
		return 0;
	for (;;) {
		rouse_idle(server);
		int64_t now_ns = tare_now_ns();
		if (now_ns >= server->drain_deadline_ns)
			break;
		if (tare_event_wait_until(&server->drained,
					  TARE_MIN(server->drain_deadline_ns, now_ns + ROUSE_MS * TARE_NS_PER_MS)) == 0)
			return 0;
	}
	cut_all(server);
	return -ETIMEDOUT;
}

// Connections that were cut, and whose tasks the runtime's end has dropped, are still listed.
static void worker_free(struct http_worker *worker)
{
	for (struct tare_list *node = worker->conns.next; node != NULL && node != &worker->conns; node = node->next) {
		struct http_conn *conn = TARE_CONTAINER_OF(node, struct http_conn, link);
		if (conn->arena != NULL)
			http_arena_end(conn, true);
		if (conn->stream.fd.fd >= 0)
			tare_fd_dismiss(conn->stream.fd.fd, NULL, 0);
	}
	tare_hist_free(worker->stats.duration);
}

void tare_http_server_free(struct tare_http_server *server)
{
	if (server == NULL)
		return;
	for (int i = 0; server->workers != NULL && i < server->worker_count; i++)
		worker_free(&server->workers[i]);
	tare_free(server->workers);
	tare_free(server->accept_tasks);
	tare_pool_free(server->conns);
	tare_pool_free(server->buffers);
	http_peers_free(server->peers);
	if (server->spare_fd >= 0)
		close(server->spare_fd);
	tare_free(server);
}

// ---- statistics ---------------------------------------------------------------------------------------------------

// Sums one counter of the workers, by its place in struct http_worker_stats.
static uint64_t sum(const struct tare_http_server *server, size_t offset)
{
	uint64_t total = 0;
	for (int i = 0; i < server->worker_count; i++) {
		const char *stats = (const char *)&server->workers[i].stats;
		total +=
		    atomic_load_explicit((const atomic_ullong *)(const void *)(stats + offset), memory_order_relaxed);
	}
	return total;
}

#define SUM(server, field) sum(server, offsetof(struct http_worker_stats, field))

void tare_http_server_stats(const struct tare_http_server *server, struct tare_http_stats *ret)
{
	int live = atomic_load(&server->live) - !atomic_load(&server->draining);
	*ret = (struct tare_http_stats){
	    .connections_live = (uint64_t)TARE_MAX(live, 0),
	    .connections_idle = (uint64_t)TARE_MAX(atomic_load(&server->idle), 0),
	    .connections_total = SUM(server, accepted),
	    .refused_limit = SUM(server, refused_limit),
	    .refused_address = SUM(server, refused_address),
	    .refused_fds = SUM(server, refused_fds),
	    .refused_memory = SUM(server, refused_memory),
	    .shed = SUM(server, shed),
	    .requests = SUM(server, requests),
	    .errors_parse = SUM(server, errors_parse),
	    .errors_timeout = SUM(server, errors_timeout),
	    .errors_io = SUM(server, errors_io),
	};
}
