// SPDX-License-Identifier: MIT
// /metrics: what the service registers, and the readers of those numbers. Arenas' are arenas.c's.
//
// tare_info names every knob. Numbers are read while requests run: each is right, no two are of the same instant.
// Threads: any worker; the registry is complete before the first listener is.
#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/limit.h>
#include <tare/pool.h>
#include <tare/rt.h>

#include <stdio.h>

// ---- what is registered -------------------------------------------------------------------------------------------

static double read_one(void *arg)
{
	(void)arg;
	return 1;
}

static double read_u64(void *arg)
{
	return (double)*(const uint64_t *)arg;
}

static double read_load_seconds(void *arg)
{
	return (double)*(const int64_t *)arg / (double)TARE_NS_PER_S;
}

// A field of a struct that a function fills anew: which one stands in arg.
static double read_heap_field(void *arg)
{
	struct tare_heap_stats heap;
	tare_heap_stats_read(&heap);
	return svc_field_read(&heap, arg);
}

static double read_rt_field(void *arg)
{
	struct tare_rt_stats rt;
	tare_rt_stats_read(&rt);
	return svc_field_read(&rt, arg);
}

static double read_task_count(void *arg)
{
	return (double)atomic_load_explicit((atomic_ullong *)arg, memory_order_relaxed);
}

static double read_workers(void *arg)
{
	(void)arg;
	return tare_worker_count();
}

// 1 for the backend that arg names.
static double read_io(void *arg)
{
	struct tare_rt_stats rt;
	tare_rt_stats_read(&rt);
	return strcmp(rt.io, arg) == 0;
}

static double read_io_fell_back(void *arg)
{
	(void)arg;
	struct tare_rt_stats rt;
	tare_rt_stats_read(&rt);
	return rt.io_fell_back;
}

int svc_rows_register(struct tare_registry *registry, const struct svc_field *fields, size_t count,
		      void (*fn)(void *arg, struct tare_rows *rows))
{
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = tare_registry_rows(registry, fields[i].name, fields[i].help, fields[i].counter, fn,
					(void *)(uintptr_t)fields[i].offset);
	return rc;
}

static const struct svc_field heap_fields[] = {
    {"tare_heap_allocs_total", "Heap calls that allocated.", offsetof(struct tare_heap_stats, allocs), true},
    {"tare_heap_frees_total", "Heap calls that freed.", offsetof(struct tare_heap_stats, frees), true},
    {"tare_heap_allocated_bytes_total", "Bytes ever allocated on the heap.",
     offsetof(struct tare_heap_stats, bytes_total), true},
    {"tare_heap_live_bytes", "Bytes on the heap now.", offsetof(struct tare_heap_stats, bytes_live), false},
};

static void each_tag(void *arg, struct tare_rows *rows)
{
	struct tare_tag_row tags[TARE_TAGS_MAX];
	size_t count = tare_tags_read(tags, TARE_TAGS_MAX);
	for (size_t i = 0; i < count; i++)
		tare_rows_put(rows, "tag", tags[i].name, svc_field_read(&tags[i].stats, arg));
}

static int register_tags(struct tare_registry *r)
{
	static const struct svc_field fields[] = {
	    {"tare_heap_tag_live_bytes", "Bytes on the heap now, by what they are for.",
	     offsetof(struct tare_heap_stats, bytes_live), false},
	    {"tare_heap_tag_allocated_bytes_total", "Bytes ever allocated on the heap, by what they are for.",
	     offsetof(struct tare_heap_stats, bytes_total), true},
	};
	return svc_rows_register(r, fields, TARE_ARRAY_LEN(fields), each_tag);
}

enum { POOLS_MAX = 32 }; // of which there are rows; tare_pools tells how many there are

// What several pools of one name have is one row.
static void each_pool(void *arg, struct tare_rows *rows)
{
	struct tare_pool_row pools[POOLS_MAX];
	size_t count = TARE_MIN(tare_pools_read(pools, POOLS_MAX), (size_t)POOLS_MAX);
	for (size_t i = 0; i < count; i++) {
		double sum = 0;
		bool seen = false;
		for (size_t k = 0; k < count; k++) {
			if (strcmp(pools[k].name, pools[i].name) != 0)
				continue;
			sum += svc_field_read(&pools[k].stats, arg);
			seen = seen || k < i;
		}
		if (!seen)
			tare_rows_put(rows, "pool", pools[i].name, sum);
	}
}

static double read_pools(void *arg)
{
	(void)arg;
	return (double)tare_pools_read(NULL, 0);
}

static int register_pools(struct tare_registry *r)
{
	static const struct svc_field fields[] = {
	    {"tare_pool_hits_total", "Takes that the pool served.", offsetof(struct tare_pool_stats, hits), true},
	    {"tare_pool_misses_total", "Takes that made new objects.", offsetof(struct tare_pool_stats, misses), true},
	    {"tare_pool_overflows_total", "Takes past the limit, served by the heap.",
	     offsetof(struct tare_pool_stats, overflows), true},
	    {"tare_pool_refusals_total", "Takes that failed.", offsetof(struct tare_pool_stats, refusals), true},
	    {"tare_pool_live", "Objects taken and not given back.", offsetof(struct tare_pool_stats, live), false},
	    {"tare_pool_overflow_live", "Those of them that are the heap's.",
	     offsetof(struct tare_pool_stats, overflow_live), false},
	    {"tare_pool_peak", "The most that were taken at once.", offsetof(struct tare_pool_stats, peak), false},
	    {"tare_pool_bytes", "Memory of objects, taken and free.", offsetof(struct tare_pool_stats, bytes), false},
	    {"tare_pool_limit", "The limit in objects; 0: none.", offsetof(struct tare_pool_stats, limit), false},
	    {"tare_pool_advice", "The limit that the peak asks for.", offsetof(struct tare_pool_stats, advice), false},
	};
	int rc =
	    tare_registry_gauge(r, "tare_pools", NULL, "Pools; the rows below are of the first 32.", read_pools, NULL);
	return rc < 0 ? rc : svc_rows_register(r, fields, TARE_ARRAY_LEN(fields), each_pool);
}

static double read_limit_field(void *arg)
{
	struct tare_limit_stats stats;
	tare_limit_stats_read(&stats);
	return svc_field_read(&stats, arg);
}

static double read_pressure(void *arg)
{
	return tare_pressure() == (enum tare_pressure)(uintptr_t)arg;
}

static double read_release_seconds(void *arg)
{
	(void)arg;
	struct tare_limit_stats stats;
	tare_limit_stats_read(&stats);
	return (double)stats.release_ns / (double)TARE_NS_PER_S;
}

static const struct svc_field limit_fields[] = {
    {"tare_memory_limit_bytes", "The limit; 0: none.", offsetof(struct tare_limit_stats, limit_bytes), false},
    {"tare_memory_used_bytes", "Resident for this process alone, at the last look.",
     offsetof(struct tare_limit_stats, used_bytes), false},
    {"tare_memory_soft_entered_total", "Times memory came near its limit.",
     offsetof(struct tare_limit_stats, soft_entered), true},
    {"tare_memory_hard_entered_total", "Times memory was at its limit.",
     offsetof(struct tare_limit_stats, hard_entered), true},
    {"tare_memory_releases_total", "Times memory was given back to the system.",
     offsetof(struct tare_limit_stats, releases), true},
    {"tare_memory_released_bytes_total", "Bytes given back to the system.",
     offsetof(struct tare_limit_stats, released_bytes), true},
};

static const struct svc_field rt_fields[] = {
    {"tare_rt_tasks_started_total", "Tasks started.", offsetof(struct tare_rt_stats, tasks_started), true},
    {"tare_rt_tasks", "Tasks now.", offsetof(struct tare_rt_stats, tasks_live), false},
    {"tare_rt_switches_total", "Switches between tasks.", offsetof(struct tare_rt_stats, switches), true},
    {"tare_rt_steals_total", "Times a worker took another's tasks.", offsetof(struct tare_rt_stats, steals), true},
    {"tare_rt_polls_total", "Calls of the kernel's poller.", offsetof(struct tare_rt_stats, polls), true},
    {"tare_rt_poll_events_total", "Events the poller gave.", offsetof(struct tare_rt_stats, poll_events), true},
    {"tare_rt_read_bytes_total", "Bytes read from descriptors.", offsetof(struct tare_rt_stats, bytes_read), true},
    {"tare_rt_written_bytes_total", "Bytes written to descriptors.", offsetof(struct tare_rt_stats, bytes_written),
     true},
    {"tare_rt_wakes_total", "Workers woken.", offsetof(struct tare_rt_stats, wakes), true},
    {"tare_rt_timers_fired_total", "Timers that ran.", offsetof(struct tare_rt_stats, timers_fired), true},
    {"tare_rt_stacks_made_total", "Stacks cut from the arena.", offsetof(struct tare_rt_stats, stacks_made), true},
    {"tare_rt_stacks_live", "Stacks under a task.", offsetof(struct tare_rt_stats, stacks_live), false},
    {"tare_rt_stacks_cached", "Stacks that wait for a task.", offsetof(struct tare_rt_stats, stacks_cached), false},
    {"tare_rt_stacks_trimmed_bytes_total", "Bytes of stacks given back to the system, touched or not.",
     offsetof(struct tare_rt_stats, stacks_trimmed_bytes), true},
    {"tare_rt_tasks_slow_total", "Tasks that ran past the watchdog's limit without yielding.",
     offsetof(struct tare_rt_stats, tasks_slow), true},
    {"tare_rt_rescues_total", "Times a worker looked after what another's slow task held up.",
     offsetof(struct tare_rt_stats, rescues), true},
};

static int register_fields(struct tare_registry *registry, const struct svc_field *fields, size_t count,
			   double (*read)(void *arg))
{
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		void *arg = (void *)(uintptr_t)fields[i].offset;
		if (fields[i].counter)
			rc = tare_registry_counter_fn(registry, fields[i].name, NULL, fields[i].help, read, arg);
		else
			rc = tare_registry_gauge(registry, fields[i].name, NULL, fields[i].help, read, arg);
	}
	return rc;
}

static int register_limit(struct tare_registry *r)
{
	static const char name[] = "tare_memory_pressure", help[] = "1 for how near memory is to its limit.";
	static const char *const labels[] = {"state=\"none\"", "state=\"soft\"", "state=\"hard\""};
	int rc = register_fields(r, limit_fields, TARE_ARRAY_LEN(limit_fields), read_limit_field);
	for (uintptr_t i = 0; i < TARE_ARRAY_LEN(labels) && rc == 0; i++)
		rc = tare_registry_gauge(r, name, labels[i], help, read_pressure, (void *)i);
	return rc < 0 ? rc
		      : tare_registry_counter_fn(r, "tare_memory_release_seconds_total", "",
						 "Time that giving memory back took.", read_release_seconds, NULL);
}

static int register_service(struct svc *svc)
{
	struct tare_registry *r = svc->registry;
	static const char updates[] = "tare_updates_total", updates_help[] = "Records put, by result.";
	static const char lookups[] = "tare_lookups_total", lookups_help[] = "Lookups by result.";
	int rc = svc_knobs_write_labels(&svc->options, svc->info_labels, sizeof svc->info_labels);
	rc = rc < 0
		 ? rc
		 : tare_registry_gauge(r, "tare_info", svc->info_labels, "The version and every knob.", read_one, NULL);
	rc = rc < 0 ? rc : tare_registry_counter(r, lookups, "result=\"hit\"", lookups_help, &svc->hits);
	rc = rc < 0 ? rc : tare_registry_counter(r, lookups, "result=\"miss\"", lookups_help, &svc->misses);
	rc = rc < 0 ? rc : tare_registry_counter(r, lookups, "result=\"refused\"", lookups_help, &svc->refused);
	rc = rc < 0 ? rc : tare_registry_counter(r, updates, "result=\"done\"", updates_help, &svc->updates_done);
	rc = rc < 0 ? rc : tare_registry_counter(r, updates, "result=\"refused\"", updates_help, &svc->updates_refused);
	rc = rc < 0 ? rc
		    : tare_registry_gauge(r, "tare_index_records", NULL, "Records served.", read_u64,
					  &svc->index_stats.records);
	rc = rc < 0 ? rc
		    : tare_registry_gauge(r, "tare_index_bytes", NULL, "Bytes of the snapshot.", read_u64,
					  &svc->index_stats.bytes);
	rc = rc < 0 ? rc
		    : tare_registry_gauge(r, "tare_index_load_seconds", NULL, "Time to load and verify it.",
					  read_load_seconds, &svc->load_ns);
	rc = rc < 0 ? rc : tare_registry_gauge(r, "tare_rt_workers", NULL, "Worker threads.", read_workers, NULL);
	return rc;
}

static void each_call(void *arg, struct tare_rows *rows)
{
	(void)arg;
	struct tare_rt_stats rt;
	tare_rt_stats_read(&rt);
	tare_rows_put(rows, "call", "recv", (double)rt.recvs);
	tare_rows_put(rows, "call", "send", (double)rt.sends);
	tare_rows_put(rows, "call", "accept", (double)rt.accepts);
	tare_rows_put(rows, "call", "register", (double)rt.registers);
	tare_rows_put(rows, "call", "poll", (double)rt.polls);
}

static int register_io(struct tare_registry *r)
{
	static char epoll[] = "epoll", uring[] = "uring";
	static const char name[] = "tare_rt_io", help[] = "What polls the sockets.";
	int rc = tare_registry_gauge(r, name, "backend=\"epoll\"", help, read_io, epoll);
	rc = rc < 0 ? rc : tare_registry_gauge(r, name, "backend=\"uring\"", help, read_io, uring);
	rc = rc < 0 ? rc
		    : tare_registry_rows(r, "tare_rt_syscalls_total", "System calls of descriptors and the poller.",
					 true, each_call, NULL);
	return rc < 0 ? rc
		      : tare_registry_gauge(r, "tare_rt_io_fell_back", NULL,
					    "1: io_uring was asked for and is not to be had.", read_io_fell_back, NULL);
}

static int register_rt_hists(struct tare_registry *r)
{
	int rc =
	    tare_registry_hist(r, "tare_rt_runnable_seconds", NULL,
			       "How long tasks were runnable before they ran; of one in 256, chosen at random.", 1e-9,
			       1e-7, 10, tare_rt_runnable_fill, NULL, TARE_RT_HIST_DIGITS, TARE_RT_RUNNABLE_NS_MAX);
	return rc < 0 ? rc
		      : tare_registry_hist(r, "tare_rt_poll_batch_events", NULL,
					   "Events a poll, of the polls that gave any.", 1, 1, 1000,
					   tare_rt_batches_fill, NULL, TARE_RT_HIST_DIGITS, TARE_RT_BATCH_MAX);
}

static int register_task_counts(struct svc *svc)
{
	static const char *const states[] = {"state=\"running\"", "state=\"runnable\"", "state=\"done\""};
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(states) && rc == 0; i++)
		rc = tare_registry_gauge(svc->registry, "tare_rt_tasks_by_state", states[i],
					 "Tasks now that are not parked.", read_task_count, &svc->task_counts[i]);
	for (unsigned i = 0; tare_reason_name(i) != NULL && rc == 0; i++) {
		char *labels = svc->reason_labels[i];
		snprintf(labels, sizeof svc->reason_labels[i], "reason=\"%s\"", tare_reason_name(i));
		rc = tare_registry_gauge(svc->registry, "tare_rt_tasks_parked", labels,
					 "Tasks parked now, by what they wait for.", read_task_count,
					 &svc->task_counts[3 + i]);
	}
	return rc;
}

// ---- the collected heap -------------------------------------------------------------------------------------------

static const struct {
	const char *name, *labels, *help;
	bool counter;
} gc_metrics[SVC_GC_METRICS] = {
    [SVC_GC_CYCLES] = {"tare_gc_cycles_total", NULL, "Collections.", true},
    [SVC_GC_HEAP] = {"tare_gc_heap_bytes", NULL, "Objects, reachable or not yet collected.", false},
    [SVC_GC_LIVE] = {"tare_gc_heap_live_bytes", NULL, "Objects that the last collection found reachable.", false},
    [SVC_GC_GOAL] = {"tare_gc_heap_goal_bytes", NULL, "The heap at which the next collection is to have ended.", false},
    [SVC_GC_MAPPED] = {"tare_gc_mapped_bytes", NULL, "Memory that the heap has of the system.", false},
    [SVC_GC_RELEASED] = {"tare_gc_released_bytes_total", NULL, "Memory that the heap has given back.", true},
    [SVC_GC_MADE] = {"tare_gc_allocated_bytes_total", NULL, "Objects ever made.", true},
    [SVC_GC_OBJECTS] = {"tare_gc_allocated_objects_total", NULL, "Objects ever made.", true},
    [SVC_GC_ASSIST] = {"tare_gc_cpu_seconds_total", "class=\"assist\"", "The collector's time, by whose it was.", true},
    [SVC_GC_BACKGROUND] = {"tare_gc_cpu_seconds_total", "class=\"background\"", "", true},
    [SVC_GC_IDLE] = {"tare_gc_cpu_seconds_total", "class=\"idle\"", "", true},
    [SVC_GC_SWEEP] = {"tare_gc_cpu_seconds_total", "class=\"sweep\"", "", true},
    [SVC_GC_PAUSE] = {"tare_gc_cpu_seconds_total", "class=\"pause\"", "", true},
    [SVC_GC_LIMITING] = {"tare_gc_limiter_enabled", NULL, "1: assists stop, since collecting takes too much.", false},
};

static double read_gc(void *arg)
{
	return atomic_load_explicit((_Atomic(double) *)arg, memory_order_relaxed);
}

static void fill_gc_pauses(void *arg, struct tare_hist *into)
{
	if (((const struct svc *)arg)->gc_open)
		tare_gc_pauses_merge(into);
}

static void fill_gc_waits(void *arg, struct tare_hist *into)
{
	if (((const struct svc *)arg)->gc_open)
		tare_gc_waits_merge(into);
}

static int register_gc(struct svc *svc)
{
	int rc = 0;
	for (unsigned i = 0; i < SVC_GC_METRICS && rc == 0; i++) {
		const char *help = gc_metrics[i].help[0] != '\0' ? gc_metrics[i].help : gc_metrics[SVC_GC_ASSIST].help;
		rc = gc_metrics[i].counter
			 ? tare_registry_counter_fn(svc->registry, gc_metrics[i].name, gc_metrics[i].labels, help,
						    read_gc, &svc->gc_values[i])
			 : tare_registry_gauge(svc->registry, gc_metrics[i].name, gc_metrics[i].labels, help, read_gc,
					       &svc->gc_values[i]);
	}
	rc = rc < 0 ? rc
		    : tare_registry_hist(svc->registry, "tare_gc_pauses_seconds", NULL,
					 "What a worker had to do at once for the collector.", 1e-9, 1e-7, 1,
					 fill_gc_pauses, svc, 2, (uint64_t)(10 * TARE_NS_PER_S));
	return rc < 0 ? rc
		      : tare_registry_hist(svc->registry, "tare_gc_safepoint_wait_seconds", NULL,
					   "Until every worker had passed a safepoint; the program goes on meanwhile.",
					   1e-9, 1e-7, 1, fill_gc_waits, svc, 2, (uint64_t)(10 * TARE_NS_PER_S));
}

static void count_gc(struct svc *svc)
{
	struct tare_gc_stats gc;
	tare_gc_stats_read(&gc);
	const double values[SVC_GC_METRICS] = {
	    [SVC_GC_CYCLES] = (double)gc.cycles,
	    [SVC_GC_HEAP] = (double)gc.heap_bytes,
	    [SVC_GC_LIVE] = (double)gc.marked_bytes,
	    [SVC_GC_GOAL] = (double)gc.goal_bytes,
	    [SVC_GC_MAPPED] = (double)gc.mapped_bytes,
	    [SVC_GC_RELEASED] = (double)gc.released_bytes,
	    [SVC_GC_MADE] = (double)gc.bytes_made,
	    [SVC_GC_OBJECTS] = (double)gc.objects_made,
	    [SVC_GC_ASSIST] = (double)gc.assist_ns / 1e9,
	    [SVC_GC_BACKGROUND] = (double)gc.background_ns / 1e9,
	    [SVC_GC_IDLE] = (double)gc.idle_ns / 1e9,
	    [SVC_GC_SWEEP] = (double)gc.sweep_ns / 1e9,
	    [SVC_GC_PAUSE] = (double)gc.pause_ns / 1e9,
	    [SVC_GC_LIMITING] = gc.limiting, // 0 or 1
	};
	for (unsigned i = 0; i < SVC_GC_METRICS; i++)
		atomic_store_explicit(&svc->gc_values[i], values[i], memory_order_relaxed);
}

// ---- all of them --------------------------------------------------------------------------------------------------

int svc_metrics_register(struct svc *svc)
{
	int rc = register_service(svc);
	if (rc == 0)
		rc = tare_http_server_register(svc->server, svc->registry);
	if (rc == 0 && svc->admin != NULL)
		rc = tare_http_server_register(svc->admin, svc->registry);
	if (rc == 0)
		rc = register_fields(svc->registry, heap_fields, TARE_ARRAY_LEN(heap_fields), read_heap_field);
	if (rc == 0)
		rc = register_tags(svc->registry);
	if (rc == 0)
		rc = register_pools(svc->registry);
	if (rc == 0)
		rc = register_limit(svc->registry);
	if (rc == 0)
		rc = register_fields(svc->registry, rt_fields, TARE_ARRAY_LEN(rt_fields), read_rt_field);
	if (rc == 0)
		rc = svc_arenas_register(svc->registry);
	if (rc == 0)
		rc = register_io(svc->registry);
	if (rc == 0)
		rc = register_rt_hists(svc->registry);
	if (rc == 0)
		rc = register_task_counts(svc);
	if (rc == 0 && svc->options.heap == SVC_HEAP_GC)
		rc = register_gc(svc);
	if (rc == 0)
		rc = tare_registry_process(svc->registry);
	return rc;
}

// ---- the answer ---------------------------------------------------------------------------------------------------

static void count_tasks(struct svc *svc)
{
	struct tare_task_counts counts;
	tare_task_counts_read(&counts);
	atomic_store_explicit(&svc->task_counts[0], counts.running, memory_order_relaxed);
	atomic_store_explicit(&svc->task_counts[1], counts.runnable, memory_order_relaxed);
	atomic_store_explicit(&svc->task_counts[2], counts.done, memory_order_relaxed);
	for (unsigned i = 0; i < TARE_REASONS_MAX; i++)
		atomic_store_explicit(&svc->task_counts[3 + i], counts.parked[i], memory_order_relaxed);
}

void svc_metrics(struct tare_http_exchange *x, void *arg)
{
	struct svc *svc = arg;
	count_tasks(svc);
	if (svc->gc_open)
		count_gc(svc);
	tare_http_start(x, 200, "text/plain; version=0.0.4; charset=utf-8");
	struct tare_text text = tare_http_text(x);
	tare_registry_write(svc->registry, &text);
}
