// SPDX-License-Identifier: MIT
// What operators read: /healthz, /debug/allocs, /debug/tasks. Metrics are metrics.c's, profiles are profiles.c's.
//
// Each report names the active path and every knob. Numbers are read while requests run: each is right, no two are of
// the same instant. Threads: any worker.
#include "cmd/svc/svc.h"

#include <tare/arena.h>
#include <tare/heap.h>
#include <tare/limit.h>
#include <tare/pool.h>
#include <tare/rt.h>

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { TASKS_SHOWN_MAX = 2000 }; // what an answer has room for

void svc_healthz(struct tare_http_exchange *x, void *arg)
{
	struct svc *svc = arg;
	if (atomic_load_explicit(&svc->draining, memory_order_relaxed)) {
		tare_http_problem(x, 503, "the service is draining; send new requests elsewhere");
		return;
	}
	tare_http_start(x, 200, "text/plain; charset=utf-8");
	tare_http_write(x, "ok\n", 3);
}

void svc_debug_tasks(struct tare_http_exchange *x, void *arg)
{
	(void)arg;
	tare_http_start(x, 200, "text/plain; charset=utf-8");
	struct tare_text text = tare_http_text(x);
	tare_tasks_write(&text, TASKS_SHOWN_MAX);
}

// ---- /debug/allocs ------------------------------------------------------------------------------------------------

// A JSON array, or null where the arena has no room for the rows.
static void write_pools(struct tare_text *text, struct tare_arena *arena)
{
	size_t count = tare_pools_read(NULL, 0);
	struct tare_pool_row *rows = tare_arena_alloc(arena, count * sizeof *rows);
	if (rows == NULL) {
		tare_text_printf(text, "null"); // out of memory; the rest of the report needs none
		return;
	}
	count = TARE_MIN(tare_pools_read(rows, count), count); // another pool may have come meanwhile
	tare_text_printf(text, "[");
	for (size_t i = 0; i < count; i++) {
		const struct tare_pool_stats *stats = &rows[i].stats;
		tare_text_printf(text, "%s{\"name\":", i == 0 ? "" : ",");
		svc_json_write_string(text, rows[i].name);
		tare_text_printf(text,
				 ",\"hits\":%" PRIu64 ",\"misses\":%" PRIu64 ",\"overflows\":%" PRIu64
				 ",\"refusals\":%" PRIu64 ",\"live\":%" PRIu64 ",\"overflow_live\":%" PRIu64
				 ",\"peak\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"limit\":%" PRIu64 ",\"advice\":%" PRIu64
				 "}",
				 stats->hits, stats->misses, stats->overflows, stats->refusals, stats->live,
				 stats->overflow_live, stats->peak, stats->bytes, stats->limit, stats->advice);
	}
	tare_text_printf(text, "]");
}

static void write_tags(struct tare_text *text)
{
	struct tare_tag_row rows[TARE_TAGS_MAX];
	size_t count = tare_tags_read(rows, TARE_TAGS_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct tare_heap_stats *stats = &rows[i].stats;
		tare_text_printf(text, "%s{\"tag\":", i == 0 ? "" : ",");
		svc_json_write_string(text, rows[i].name);
		tare_text_printf(text,
				 ",\"live_bytes\":%" PRIu64 ",\"live_objects\":%" PRIu64 ",\"total_bytes\":%" PRIu64
				 ",\"total_objects\":%" PRIu64 "}",
				 stats->bytes_live, stats->allocs - stats->frees, stats->bytes_total, stats->allocs);
	}
}

// The libraries' heap calls too, where the interposer counts them.
static void write_process_heap(struct tare_text *text)
{
	void (*read)(struct tare_process_heap *);
	*(void **)&read = dlsym(RTLD_DEFAULT, "tare_process_heap_read");
	if (read == NULL)
		return;
	struct tare_process_heap heap;
	read(&heap);
	tare_text_printf(text,
			 ",\"process_heap\":{\"allocs\":%" PRIu64 ",\"frees\":%" PRIu64 ",\"total_bytes\":%" PRIu64 "}",
			 heap.allocs, heap.frees, heap.bytes_total);
}

static const char *const pressure_names[] = {
    [TARE_PRESSURE_NONE] = "none", [TARE_PRESSURE_SOFT] = "soft", [TARE_PRESSURE_HARD] = "hard"};

// 0: it can't be read.
static uint64_t resident_bytes(void)
{
	char buf[128];
	uint64_t pages = 0;
	if (tare_proc_read("/proc/self/statm", buf, sizeof buf) < 0 || sscanf(buf, "%*u %" SCNu64, &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void write_process(struct tare_text *text)
{
	struct timespec used = {0};
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used); // there is no process without this clock
	tare_text_printf(text, ",\"cpu_seconds\":%.9f,\"rss_bytes\":%" PRIu64,
			 (double)used.tv_sec + (double)used.tv_nsec / 1e9, resident_bytes());
}

static void write_stacks(struct tare_text *text)
{
	struct tare_rt_stats rt;
	tare_rt_stats_read(&rt);
	tare_text_printf(text,
			 ",\"stacks\":{\"made\":%" PRIu64 ",\"live\":%" PRIu64 ",\"cached\":%" PRIu64
			 ",\"trimmed_bytes\":%" PRIu64 "}",
			 rt.stacks_made, rt.stacks_live, rt.stacks_cached, rt.stacks_trimmed_bytes);
}

static void write_limit(struct tare_text *text, uint64_t shed)
{
	struct tare_limit_stats stats;
	tare_limit_stats_read(&stats);
	tare_text_printf(text,
			 ",\"memory\":{\"limit\":%" PRIu64 ",\"used\":%" PRIu64
			 ",\"pressure\":\"%s\",\"soft_entered\":%" PRIu64 ",\"hard_entered\":%" PRIu64
			 ",\"requests_shed\":%" PRIu64,
			 stats.limit_bytes, stats.used_bytes, pressure_names[stats.pressure], stats.soft_entered,
			 stats.hard_entered, shed);
	double seconds = (double)stats.release_ns / (double)TARE_NS_PER_S;
	tare_text_printf(text,
			 ",\"releases\":%" PRIu64 ",\"released_bytes\":%" PRIu64
			 ",\"release_seconds\":%.9f,\"release_bytes_per_second\":%.0f}",
			 stats.releases, stats.released_bytes, seconds,
			 seconds > 0 ? (double)stats.released_bytes / seconds : 0.0);
}

static void write_allocs(struct svc *svc, struct tare_arena *arena, bool types, struct tare_text *text)
{
	tare_text_printf(text, "{\"path\":\"%s\"", svc_path_name(&svc->options));
	svc_collector_write(svc, text);
	if (types)
		svc_types_write(svc, text);
	struct tare_http_stats http = {0};
	if (svc->server != NULL)
		tare_http_server_stats(svc->server, &http);
	tare_text_printf(text, ",\"requests\":%" PRIu64 ",\"lookups\":{\"hits\":%lld,\"misses\":%lld,\"refused\":%lld}",
			 http.requests, tare_counter_read(&svc->hits), tare_counter_read(&svc->misses),
			 tare_counter_read(&svc->refused));
	tare_text_printf(text, ",\"updates\":{\"done\":%lld,\"refused\":%lld}", tare_counter_read(&svc->updates_done),
			 tare_counter_read(&svc->updates_refused));
	tare_text_printf(text, ",\"connections\":{\"live\":%" PRIu64 ",\"idle\":%" PRIu64 ",\"total\":%" PRIu64 "}",
			 http.connections_live, http.connections_idle, http.connections_total);
	tare_text_printf(text, ",\"index\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"mapped\":%s",
			 svc->index_stats.records, svc->index_stats.bytes, svc->index_stats.mapped ? "true" : "false");
	tare_text_printf(text, ",\"record_struct\":{\"mispacked_bytes\":%zu,\"packed_bytes\":%zu}}",
			 sizeof(struct tare_record_mispacked), sizeof(struct tare_record));
	write_process(text);
	write_limit(text, http.shed);
	write_stacks(text);
	write_process_heap(text);
	tare_text_printf(text, ",\"heap_by_tag\":[");
	write_tags(text);
	tare_text_printf(text, "],\"pools\":");
	write_pools(text, arena);
	tare_text_printf(text, ",\"arenas\":");
	svc_arenas_write(text);
	tare_text_printf(text, ",\"workers\":%d,\"knobs\":", tare_worker_count());
	svc_knobs_write_json(&svc->options, text);
	tare_text_printf(text, "}\n");
}

void svc_debug_allocs(struct tare_http_exchange *x, void *arg)
{
	uint64_t types = 0;
	if (!svc_query_number(x, "types", 0, 1, &types))
		return;
	tare_http_start(x, 200, "application/json");
	struct tare_text text = tare_http_text(x);
	write_allocs(arg, tare_http_arena(x), types == 1, &text);
}
