// SPDX-License-Identifier: MIT
//
// The trace of the scheduler: what each worker did last, for the viewers of Chrome and Perfetto.
//
// A ring of events a worker, made when tracing first starts and kept until the runtime ends. Each is written by its
// worker alone; whoever reads it copies the events first and then leaves out those that were written over meanwhile
// (ring->count says how many there ever were). One more is left out for the one that may be half written.
//
// Threads: writers are the workers; tare_trace_start, _stop and _write from any. Cost: a load and a branch a switch
// while off; some 50 ns, two clock readings, while on.
#include "rt/switch.h"

#include <errno.h>
#include <inttypes.h>

static struct tare_tag heap_tag = TARE_TAG("trace");

enum { EVENTS = 16384 };
enum kind { RUN, STOP, STEAL, POLL, WAKE, SPAN };
enum { SPANS_TRACK = 1000 };

struct event {
	int64_t ns;
	const char *name; // of the task, or the span
	uint64_t arg;     // its id; the events of a poll
	uint32_t took_us; // a poll, a span
	uint8_t kind;     // enum kind
	uint8_t reason;   // enum rt_reason of a stop; RT_REASONS: the task ended
};

struct rt_trace {
	atomic_ullong count; // ever written; released by the owner after the event
	struct event events[EVENTS];
};

// Plain stores, which a reader may see half done: it finds out by the count.
TARE_NO_TSAN static void add(struct rt_worker *w, const struct event *event)
{
	struct rt_trace *ring = atomic_load_explicit(&w->trace, memory_order_relaxed);
	uint64_t count = atomic_load_explicit(&ring->count, memory_order_relaxed);
	ring->events[count % EVENTS] = *event;
	atomic_store_explicit(&ring->count, count + 1, memory_order_release);
}

void rt_trace_run(struct rt_worker *w, const struct tare_task *task)
{
	add(w, &(struct event){.ns = tare_now_ns(), .name = task->name, .arg = task->id, .kind = RUN});
}

void rt_trace_stop(struct rt_worker *w, const struct tare_task *task)
{
	bool done = atomic_load_explicit(&task->state, memory_order_relaxed) == RT_DONE;
	add(w, &(struct event){.ns = tare_now_ns(),
			       .name = task->name,
			       .arg = task->id,
			       .kind = STOP,
			       .reason = done ? (uint8_t)RT_REASONS : task->reason});
}

void rt_trace_poll(struct rt_worker *w, int64_t since_ns, unsigned events)
{
	int64_t took_us = (tare_now_ns() - since_ns) / TARE_NS_PER_US;
	add(w, &(struct event){.ns = since_ns,
			       .arg = events,
			       .took_us = (uint32_t)TARE_MIN(took_us, (int64_t)UINT32_MAX),
			       .kind = POLL});
}

void rt_trace_steal(struct rt_worker *w)
{
	add(w, &(struct event){.ns = tare_now_ns(), .kind = STEAL});
}

void rt_trace_wake(struct rt_worker *w)
{
	add(w, &(struct event){.ns = tare_now_ns(), .kind = WAKE});
}

void tare_trace_span(const char *name, int64_t since_ns)
{
	struct rt_worker *w = rt_self();
	if (w == NULL || (rt_watched() & RT_WATCH_TRACE) == 0)
		return;
	int64_t took_us = (tare_now_ns() - since_ns) / TARE_NS_PER_US;
	add(w, &(struct event){.ns = since_ns,
			       .name = name,
			       .took_us = (uint32_t)TARE_MIN(took_us, (int64_t)UINT32_MAX),
			       .kind = SPAN});
}

// ---- on and off ---------------------------------------------------------------------------------------------------

int tare_trace_start(void)
{
	static struct tare_spin spin; // one start at a time makes the rings
	int rc = 0;
	tare_spin_lock(&spin);
	for (int i = 0; i < rt.worker_count && rc == 0; i++) {
		struct rt_worker *w = &rt.workers[i];
		if (atomic_load_explicit(&w->trace, memory_order_relaxed) != NULL)
			continue;
		struct rt_trace *ring = tare_alloc_zeroed(&heap_tag, 1, sizeof *ring);
		if (ring == NULL)
			rc = -ENOMEM;
		else
			atomic_store_explicit(&w->trace, ring, memory_order_relaxed);
	}
	if (rc == 0)
		atomic_fetch_or_explicit(&rt.watched, RT_WATCH_TRACE, memory_order_release); // after the rings
	tare_spin_unlock(&spin);
	return rc;
}

void tare_trace_stop(void)
{
	atomic_fetch_and_explicit(&rt.watched, ~(unsigned)RT_WATCH_TRACE, memory_order_relaxed);
}

void rt_trace_done(struct rt_worker *w)
{
	tare_free(atomic_load_explicit(&w->trace, memory_order_relaxed));
	atomic_store_explicit(&w->trace, NULL, memory_order_relaxed);
}

// ---- writing it ---------------------------------------------------------------------------------------------------

TARE_NO_TSAN static void copy(const struct rt_trace *ring, uint64_t at, struct event *ret)
{
	*ret = ring->events[at % EVENTS];
}

static void write_name(struct tare_text *text, const char *name)
{
	for (; *name != '\0'; name++)
		if ((unsigned char)*name < 0x20 || *name == '"' || *name == '\\')
			tare_text_printf(text, "\\u%04x", (unsigned char)*name);
		else
			tare_text_put(text, name, 1);
}

struct json {
	struct tare_text *text;
	bool any;  // an event was written: a comma goes before the next
	bool runs; // a begin was written whose end was not
};

static void write_event(struct json *json, int worker, const struct event *event)
{
	static const char *const names[] = {[STEAL] = "steal", [POLL] = "poll", [WAKE] = "wake"};
	if (event->kind == STOP && !json->runs)
		return; // its begin was written over, or it began before tracing did
	if (event->kind == RUN && json->runs)
		tare_text_printf(json->text, ",\n{\"ph\":\"E\",\"ts\":%.3f,\"pid\":1,\"tid\":%d}",
				 (double)event->ns / 1e3,
				 worker); // its end was missed: tracing was off, or it was written over
	tare_text_printf(json->text, "%s{\"name\":\"", json->any ? ",\n" : "");
	json->any = true;
	write_name(json->text, event->name != NULL ? event->name : names[event->kind]);
	tare_text_printf(json->text, "\",\"ts\":%.3f,\"pid\":1,\"tid\":%d,\"ph\":", (double)event->ns / 1e3,
			 event->kind == SPAN ? SPANS_TRACK : worker);
	const char *reason = tare_reason_name(event->reason);
	if (event->kind == RUN)
		tare_text_printf(json->text, "\"B\",\"args\":{\"task\":%" PRIu64 "}}", event->arg);
	else if (event->kind == STOP)
		tare_text_printf(json->text, "\"E\",\"args\":{\"task\":%" PRIu64 ",\"why\":\"%s\"}}", event->arg,
				 reason != NULL ? reason : "done");
	else if (event->kind == POLL)
		tare_text_printf(json->text, "\"X\",\"dur\":%" PRIu32 ",\"args\":{\"events\":%" PRIu64 "}}",
				 event->took_us, event->arg);
	else if (event->kind == SPAN)
		tare_text_printf(json->text, "\"X\",\"dur\":%" PRIu32 "}", event->took_us);
	else
		tare_text_printf(json->text, "\"i\",\"s\":\"t\"}");
	json->runs = event->kind == RUN || (json->runs && event->kind != STOP);
}

static void write_worker(struct json *json, const struct rt_worker *w)
{
	const struct rt_trace *ring = atomic_load_explicit(&w->trace, memory_order_relaxed);
	if (ring == NULL)
		return;
	json->runs = false;
	uint64_t count = atomic_load_explicit(&ring->count, memory_order_acquire);
	for (uint64_t at = count > EVENTS ? count - EVENTS : 0; at < count && json->text->rc == 0; at++) {
		struct event event;
		copy(ring, at, &event);
		// The one being written now is at `count`, where at + EVENTS was. The fence keeps the copy before the
		// look.
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load(&((struct rt_trace *)(uintptr_t)ring)->count) < at + EVENTS)
			write_event(json, w->idx, &event);
	}
}

void tare_trace_write(struct tare_text *text)
{
	struct json json = {.text = text};
	tare_text_printf(
	    text,
	    "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,"
	    "\"tid\":%d,\"args\":{\"name\":\"spans\"}}",
	    SPANS_TRACK);
	json.any = true;
	for (int i = 0; i < rt.worker_count; i++) {
		tare_text_printf(text,
				 ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"args\":{\"name\":"
				 "\"worker %d\"}}",
				 i, i);
		write_worker(&json, &rt.workers[i]);
	}
	tare_text_printf(text, "\n]}\n");
}

int tare_trace_dump(int fd)
{
	struct rt_report report;
	rt_report_begin_fd(&report, fd);
	tare_trace_write(&report.text);
	return rt_report_end(&report);
}
