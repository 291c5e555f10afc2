// SPDX-License-Identifier: MIT
// The records that the service answers from: loaded, laid out as --layout and --heap say, and closed again; and what
// /debug/allocs says of the collected heap.
//
// Loading has two halves. The index is mapped or made, and verified: what is wrong with a snapshot is known first. Then
// it is laid out: on malloc's heap before the runtime starts, on the collected one, whose objects tasks make, by the
// first task, while nothing listens yet. The default, the index where it is, has nothing to lay out.
// Threads: the one there is, or the first task; but for the readers of figures (any worker).
#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/stat.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>

// ---- laying out ---------------------------------------------------------------------------------------------------

struct laying_out {
	struct cmd_progress progress;
	bool in_task; // before the runtime starts, signals end the process themselves
};

// The signals that end the service are blocked, and nobody receives them yet.
static bool asked_to_end(void)
{
	sigset_t pending;
	return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

static int progress_show(void *arg, uint64_t done, uint64_t total)
{
	struct laying_out *work = arg;
	if (work->in_task)
		tare_breathe(tare_now_ns()); // the collector's tasks are others of this worker
	if (work->in_task && asked_to_end())
		return -EINTR;
	cmd_progress_show(&work->progress, done, total);
	return 0;
}

static int lay_out(struct svc *svc, struct tare_error *err)
{
	const struct svc_options *o = &svc->options;
	struct laying_out work = {.in_task = svc->gc_open};
	cmd_progress_begin(&work.progress, "tare svc: laying out records,");
	const struct tare_records_options options = {
	    .layout = (enum tare_layout)o->layout,
	    .collected = o->heap == SVC_HEAP_GC,
	    .intern = o->intern != 0,
	    .progress = progress_show,
	    .progress_arg = &work,
	};
	struct tare_index *index = svc->index;
	svc->index = NULL; // the records', whatever comes
	int rc = tare_records_new(&svc->records, index, &options, err);
	cmd_progress_end(&work.progress);
	if (rc == 0 && o->layout != TARE_LAYOUT_OFFHEAP)
		svc->index_stats.mapped = false;
	svc->load_ns += tare_clock_ns() - work.progress.start_ns;
	return rc;
}

int svc_records_lay_out(struct svc *svc)
{
	const struct svc_options *o = &svc->options;
	struct tare_error err = {""};
	int rc = 0;
	if (svc->records != NULL)
		return CMD_OK;
	if (o->heap == SVC_HEAP_GC) {
		const struct tare_gc_options gc = {.percent = o->gc_percent,
						   .trace = o->gc_trace,
						   .limiter_off = o->gc_limiter == 0,
						   .min_bytes = o->gc_min_bytes,
						   .reserve_bytes = o->gc_max_bytes};
		rc = tare_hist_new(&svc->phases, 2, (uint64_t)(10 * TARE_NS_PER_S));
		if (rc == 0)
			rc = tare_gc_open(&gc, &err);
		svc->gc_open = rc == 0;
		if (svc->gc_open)
			svc_access_open();
	}
	if (rc < 0)
		return cmd_fail("svc", "--heap=gc: %s", err.text[0] != '\0' ? err.text : strerror(-rc));
	rc = lay_out(svc, &err);
	if (rc == 0 && svc->gc_open)
		tare_gc_collect(); // the pacer then goes by all records, not by those of the last collection on the way
	if (rc == -EINTR)
		return cmd_fail("svc", "interrupted by a signal while the records were laid out");
	if (rc < 0 && svc->gc_open && o->gc_max_bytes != 0)
		return cmd_fail("svc", "--layout=%s: %s (--gc-max-heap counts)", svc_layout_name(o), err.text);
	return rc < 0 ? cmd_fail("svc", "--layout=%s: %s", svc_layout_name(o), err.text) : CMD_OK;
}

void svc_records_close(struct svc *svc)
{
	if (svc->gc_open)
		tare_gc_close();
	svc->gc_open = false;
	tare_hist_free(svc->phases);
	svc->phases = NULL;
	svc_access_done();
}

// ---- /debug/allocs ------------------------------------------------------------------------------------------------

// "pauses", as Go's service has them: [lower edge, upper edge, count] in seconds, those that have any, since the
// process began. The difference of two readings is what was between them.
static void write_pauses(struct svc *svc, struct tare_text *text)
{
	enum { DOUBLINGS = 27, STEPS = 8, EDGES = DOUBLINGS * STEPS }; // from 128 ns to past 10 s
	uint64_t edges[EDGES], below[EDGES], count;
	for (size_t i = 0; i < EDGES; i++)
		edges[i] = (UINT64_C(128) << i / STEPS) / STEPS * (STEPS + i % STEPS);
	tare_mutex_lock(&svc->phases_mutex);
	tare_hist_reset(svc->phases);
	tare_gc_phases_merge(svc->phases);
	for (size_t i = 0; i < EDGES; i++)
		below[i] = tare_hist_count_at_or_below(svc->phases, edges[i]);
	count = tare_hist_count(svc->phases);
	tare_mutex_unlock(&svc->phases_mutex);
	const char *comma = "";
	tare_text_printf(text, ",\"pauses\":{\"count\":%" PRIu64 ",\"buckets\":[", count);
	for (size_t i = 0; i < EDGES; i++) {
		uint64_t before = i > 0 ? below[i - 1] : 0;
		if (below[i] == before)
			continue;
		tare_text_printf(text, "%s[%.9f,%.9f,%" PRIu64 "]", comma, i > 0 ? (double)edges[i - 1] / 1e9 : 0.0,
				 (double)edges[i] / 1e9, below[i] - before);
		comma = ",";
	}
	tare_text_printf(text, "]}");
}

// Under Go's names, of both heaps together where there are two.
void svc_collector_write(struct svc *svc, struct tare_text *text)
{
	struct tare_heap_stats heap;
	struct tare_gc_stats gc = {0};
	tare_heap_stats_read(&heap);
	if (svc->gc_open)
		tare_gc_stats_read(&gc);
	tare_text_printf(text, ",\"live_heap\":%" PRIu64 ",\"total_alloc\":%" PRIu64, heap.bytes_live + gc.heap_bytes,
			 heap.bytes_total + gc.bytes_made);
	if (!svc->gc_open) { // nothing was collected and nothing is due
		tare_text_printf(text, ",\"gc_cycles\":0,\"gc_cpu_fraction\":0,\"pause_p99_ms\":0,\"next_gc\":0,"
				       "\"pauses_max_ms\":0,\"gc_cpu_seconds\":0,\"collector\":\"none\"");
	} else {
		tare_text_printf(text,
				 ",\"gc_cycles\":%" PRIu64
				 ",\"gc_cpu_fraction\":%.6f,\"pause_p99_ms\":%.6f,\"next_gc\":%" PRIu64,
				 gc.cycles, gc.cpu_share, (double)gc.pause_p99_ns / 1e6, gc.goal_bytes);
		tare_text_printf(text, ",\"pauses_max_ms\":%.6f,\"gc_cpu_seconds\":%.9f", (double)gc.pause_max_ns / 1e6,
				 (double)(gc.background_ns + gc.assist_ns + gc.idle_ns + gc.sweep_ns + gc.pause_ns) /
				     1e9);
		tare_text_printf(text,
				 ",\"collector\":\"concurrent\",\"gc\":{\"heap_bytes\":%" PRIu64
				 ",\"marked_bytes\":%" PRIu64 ",\"mapped_bytes\":%" PRIu64 ",\"idle_bytes\":%" PRIu64
				 ",\"bytes_made\":%" PRIu64 ",\"objects_made\":%" PRIu64,
				 gc.heap_bytes, gc.marked_bytes, gc.mapped_bytes, gc.idle_bytes, gc.bytes_made,
				 gc.objects_made);
		tare_text_printf(text,
				 ",\"background_seconds\":%.9f,\"assist_seconds\":%.9f,\"idle_seconds\":%.9f"
				 ",\"sweep_seconds\":%.9f,\"pause_seconds\":%.9f,\"last_mark_seconds\":%.9f"
				 ",\"pause_max_ms\":%.6f,\"wait_p99_ms\":%.6f,\"late_max_ms\":%.6f,\"late_task\":",
				 (double)gc.background_ns / 1e9, (double)gc.assist_ns / 1e9, (double)gc.idle_ns / 1e9,
				 (double)gc.sweep_ns / 1e9, (double)gc.pause_ns / 1e9, (double)gc.mark_ns / 1e9,
				 (double)gc.pause_max_ns / 1e6, (double)gc.wait_p99_ns / 1e6,
				 (double)gc.late_max_ns / 1e6);
		svc_json_write_string(text, gc.late_name);
		tare_text_printf(text, "}");
		write_pauses(svc, text);
	}
	// What is collected is not freed: of the other heap alone.
	tare_text_printf(text, ",\"heap_allocs\":%" PRIu64 ",\"heap_frees\":%" PRIu64, heap.allocs + gc.objects_made,
			 heap.frees);
	if (svc->records == NULL)
		return;
	struct tare_records_stats records;
	tare_records_stats_get(svc->records, &records);
	tare_text_printf(text,
			 ",\"layout\":{\"name\":\"%s\",\"heap\":\"%s\",\"heap_bytes\":%" PRIu64
			 ",\"heap_objects\":%" PRIu64 ",\"replaced\":%" PRIu64 "}",
			 svc_layout_name(&svc->options), svc_heap_name(&svc->options), records.heap_bytes,
			 records.heap_objects, records.replaced);
}

// What is on the collected heap, by type. Only where it is asked for: it looks through the whole heap.
void svc_types_write(const struct svc *svc, struct tare_text *text)
{
	enum { TYPES_SHOWN_MAX = 40 };
	struct tare_gc_type_row rows[TYPES_SHOWN_MAX];
	size_t count = svc->gc_open ? tare_gc_types_read(rows, TYPES_SHOWN_MAX) : 0;
	tare_text_printf(text, ",\"gc_types\":[");
	for (size_t i = 0; i < count; i++) {
		tare_text_printf(text, "%s{\"type\":", i == 0 ? "" : ",");
		svc_json_write_string(text, rows[i].name);
		tare_text_printf(text, ",\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", rows[i].objects,
				 rows[i].bytes);
	}
	tare_text_printf(text, "]");
}
