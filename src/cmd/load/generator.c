// SPDX-License-Identifier: MIT
//
// A generator: on one worker, a pacer and its share of the connections.
//
// The pacer follows the schedule and nothing else: each arrival goes to an idle connection (the last one used, whose
// memory is warm) or into the queue, which grows as it must. How late the pacer itself was is recorded for every
// arrival, so that the report can tell the generator's delays from the server's.
#include "cmd/load/load.h"

#include <tare/heap.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>

static struct tare_tag heap_tag = TARE_TAG("load generator");

static const uint64_t latency_max_ns = 600 * UINT64_C(1000000000);

int load_generator_init(struct load_generator *g, struct load_run *run, int idx, size_t conn_count)
{
	*g = (struct load_generator){.run = run, .idx = idx, .conn_count = conn_count, .seq = (uint64_t)idx};
	tare_rng_init(&g->rng, run->options->seed + 1000003 * (uint64_t)idx);
	size_t request_bytes = run->tmpl->bytes_max * run->options->pipeline;
	g->conns = tare_alloc_zeroed(&heap_tag, conn_count, sizeof *g->conns);
	if (g->conns == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < conn_count; i++) {
		struct load_conn *conn = &g->conns[i];
		conn->generator = g;
		conn->stream.fd.fd = -1;
		conn->request = tare_alloc(&heap_tag, request_bytes + LOAD_READ_BYTES);
		if (conn->request == NULL)
			return -ENOMEM;
		conn->buf = conn->request + request_bytes;
	}
	for (int i = 0; i < LOAD_MEASURES; i++) {
		int rc = tare_hist_new(&g->stats.hist[i], 3, latency_max_ns);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void load_generator_done(struct load_generator *g)
{
	for (int i = 0; i < LOAD_MEASURES; i++)
		tare_hist_free(g->stats.hist[i]);
	for (size_t i = 0; g->conns != NULL && i < g->conn_count; i++)
		tare_free(g->conns[i].request);
	tare_free(g->conns);
	tare_free(g->queue);
}

// ---- the queue ----------------------------------------------------------------------------------------------------

bool load_queue_pop(struct load_generator *g, int64_t *ret_intended_ns)
{
	if (g->queue_len == 0)
		return false;
	*ret_intended_ns = g->queue[g->queue_head];
	g->queue_head = (g->queue_head + 1) % g->queue_cap;
	g->queue_len--;
	return true;
}

static int queue_push(struct load_generator *g, int64_t intended_ns)
{
	if (g->queue_len == g->queue_cap) {
		size_t cap = TARE_MAX(2 * g->queue_cap, (size_t)1024);
		int64_t *queue = tare_alloc(&heap_tag, cap * sizeof *queue);
		if (queue == NULL)
			return -ENOMEM;
		for (size_t i = 0; i < g->queue_len; i++)
			queue[i] = g->queue[(g->queue_head + i) % g->queue_cap];
		tare_free(g->queue);
		g->queue = queue;
		g->queue_cap = cap;
		g->queue_head = 0;
	}
	g->queue[(g->queue_head + g->queue_len++) % g->queue_cap] = intended_ns;
	if (g->queue_len > atomic_load_explicit(&g->stats.queued_max, memory_order_relaxed))
		atomic_store_explicit(&g->stats.queued_max, g->queue_len, memory_order_relaxed);
	return 0;
}

// ---- the pacer ----------------------------------------------------------------------------------------------------

static int dispatch(struct load_generator *g, int64_t intended_ns)
{
	tare_wg_add(&g->in_flight, 1);
	struct load_conn *conn = g->idle;
	if (conn == NULL)
		return queue_push(g, intended_ns);
	g->idle = conn->idle_next;
	conn->intended_ns = intended_ns;
	conn->has_work = true;
	tare_event_wake(&conn->work);
	return 0;
}

// Hands out arrivals until the end of the run. 0 or -ENOMEM.
static int pace(struct load_generator *g)
{
	const struct load_run *run = g->run;
	const struct load_options *o = run->options;
	struct tare_arrivals arrivals;
	tare_arrivals_init(&arrivals, run->begin_ns, o->rate / (double)o->threads, o->arrivals == 1,
			   o->seed + 7 * (uint64_t)g->idx);
	for (;;) {
		int64_t intended_ns = tare_arrivals_next(&arrivals);
		if (intended_ns > run->end_ns)
			return 0;
		int64_t now_ns = tare_now_ns();
		if (intended_ns > now_ns) {
			tare_sleep_until(intended_ns);
			now_ns = tare_now_ns();
		}
		if (atomic_load_explicit(&run->stop, memory_order_relaxed))
			return 0;
		if (load_in_window(run, intended_ns)) {
			tare_bump(&g->stats.due, 1);
			tare_hist_record(g->stats.hist[LOAD_LATENESS],
					 (uint64_t)TARE_MAX(now_ns - intended_ns, INT64_C(0)));
		}
		int rc = dispatch(g, intended_ns);
		if (rc < 0)
			return rc;
		// Late: what is due goes out in one go, but the answers get their turn now and then.
		if (arrivals.count % 64 == 0)
			tare_yield();
	}
}

// Lets what is under way end, then cuts what is not.
static void drain(struct load_generator *g)
{
	const struct load_options *o = g->run->options;
	if (!o->closed && tare_wg_wait_until(&g->in_flight, tare_now_ns() + o->drain_ns) < 0)
		atomic_store_explicit(&g->stats.unfinished, (unsigned long long)g->in_flight.count,
				      memory_order_relaxed);
	g->closing = true;
	for (size_t i = 0; i < g->conn_count; i++) {
		struct load_conn *conn = &g->conns[i];
		if (conn->open && atomic_load_explicit(&g->stats.unfinished, memory_order_relaxed) > 0)
			shutdown(conn->stream.fd.fd, SHUT_RDWR); // its task sees the end of the stream
		if (conn->task != NULL)
			tare_event_wake(&conn->work);
	}
}

int load_generator_task(void *arg)
{
	struct load_generator *g = arg;
	bool closed = g->run->options->closed;
	(void)prctl(PR_SET_TIMERSLACK, 1); // nanoseconds: the schedule is kept by this thread's sleeps
	struct tare_task_options options = {.name = "connection", .pinned = true, .worker = -1};
	int rc = 0;
	for (size_t i = 0; i < g->conn_count && rc == 0; i++)
		rc = tare_spawn(&g->conns[i].task, &options, closed ? load_conn_closed_task : load_conn_open_task,
				&g->conns[i]);
	if (rc == 0 && !closed)
		rc = pace(g);
	if (rc < 0)
		atomic_store(&g->run->stop, true);
	if (closed && rc == 0)
		for (size_t i = 0; i < g->conn_count; i++)
			(void)tare_join(g->conns[i].task);
	if (closed && rc == 0)
		return 0;
	drain(g);
	for (size_t i = 0; i < g->conn_count; i++)
		if (g->conns[i].task != NULL)
			(void)tare_join(g->conns[i].task);
	return rc;
}
