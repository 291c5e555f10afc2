// SPDX-License-Identifier: MIT
// release: what a process keeps of its memory when a load spike is over, by how the memory is given back; and what
// the next spike pays for that.
//
// Pages that were written are left as they are, given up by MADV_FREE (the kernel takes them when it is short) or
// MADV_DONTNEED (at once), or unmapped; then all are written once more. After that the library's own ways with a
// spike of the same size: the collected heap's, in the background while nothing else goes on; a pool's, aged by
// ticks; malloc's, whose blocks of this size are mapped one by one.
// Figures: for keep, free, dontneed and unmap: WAY_resident_bytes (more than before the spike), WAY_call_ms,
// WAY_again_ms; for collected, pool and heap: NAME_spike_bytes and NAME_after_bytes resident, NAME_ms until it had
// gone, or until nothing more went; collected_released_bytes.
#include "cmd/lab/probe.h"

#include <tare/heap.h>
#include <tare/pool.h>
#include <tare/rt.h>

#include <errno.h>
#include <jansson.h>
#include <sys/mman.h>

enum { PAGE = 4096, BLOCK = 64 << 10, WAIT_MS = 5000, LOOK_MS = 10, QUIET_LOOKS = 100, TICKS = 3 };

static struct tare_tag heap_tag = TARE_TAG("probe");

struct release {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	uint64_t bytes;
};

static double ms_since(int64_t ns)
{
	return (double)(tare_clock_ns() - ns) / 1e6;
}

static void touch(char *base, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += PAGE)
		base[at] = 1;
	lab_probe_keep(base);
}

// ---- the kernel's ways --------------------------------------------------------------------------------------------

static int by_advice(const struct release *r, const char *name, int advice)
{
	char *base = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return tare_error_set(r->err, -errno, "no memory for the spike: %s", strerror(errno));
	(void)madvise(base, r->bytes, MADV_NOHUGEPAGE); // whole pages come and go, whatever the machine's setting
	double before = lab_probe_resident();
	touch(base, r->bytes);
	int64_t since_ns = tare_clock_ns();
	int rc = advice >= 0 ? madvise(base, r->bytes, advice) : 0;
	if (rc < 0) {
		rc = tare_error_set(r->err, -errno, "madvise for %s: %s", name, strerror(errno));
		munmap(base, r->bytes);
		return rc;
	}
	lab_probe_figure(r->out, ms_since(since_ns), "%s_call_ms", name);
	lab_probe_figure(r->out, lab_probe_resident() - before, "%s_resident_bytes", name);
	since_ns = tare_clock_ns();
	touch(base, r->bytes);
	lab_probe_figure(r->out, ms_since(since_ns), "%s_again_ms", name);
	munmap(base, r->bytes);
	return 0;
}

static int by_unmapping(const struct release *r)
{
	double before = lab_probe_resident();
	for (int again = 0; again < 2; again++) {
		int64_t since_ns = tare_clock_ns();
		char *base = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (base == MAP_FAILED)
			return tare_error_set(r->err, -errno, "no memory for the spike: %s", strerror(errno));
		(void)madvise(base, r->bytes, MADV_NOHUGEPAGE);
		touch(base, r->bytes);
		if (again > 0)
			lab_probe_figure(r->out, ms_since(since_ns), "unmap_again_ms");
		since_ns = tare_clock_ns();
		munmap(base, r->bytes);
		lab_probe_figure(r->out, ms_since(since_ns), "unmap_call_ms");
	}
	lab_probe_figure(r->out, lab_probe_resident() - before, "unmap_resident_bytes");
	return 0;
}

// ---- the library's ------------------------------------------------------------------------------------------------

static void note(const struct release *r, const char *name, double before, double spike, double ms)
{
	lab_probe_figure(r->out, spike - before, "%s_spike_bytes", name);
	lab_probe_figure(r->out, lab_probe_resident() - before, "%s_after_bytes", name);
	lab_probe_figure(r->out, ms, "%s_ms", name);
}

// A task of its own, so that no stack holds a part of the spike afterwards.
static int spike_collected(void *arg)
{
	const struct release *r = arg;
	for (uint64_t made = 0; made < r->bytes; made += BLOCK) {
		static char
		    *held; // by nothing that is looked into: garbage at once, but not collected before it is due
		held = tare_gc_new_noscan(BLOCK);
		if (held == NULL)
			return -ENOMEM;
		touch(held, BLOCK);
	}
	return 0;
}

static int collected(void *arg)
{
	const struct release *r = arg;
	struct tare_task *task;
	struct tare_gc_stats stats;
	double before = lab_probe_resident(), quiet_ms = 0;
	int rc = tare_gc_open(&(struct tare_gc_options){.percent = TARE_GC_OFF}, r->err);
	if (rc < 0)
		return rc;
	rc = tare_spawn(&task, NULL, spike_collected, arg);
	rc = rc < 0 ? rc : tare_join(task);
	double spike = lab_probe_resident();
	(void)tare_gc_set_percent(100);
	int64_t since_ns = tare_clock_ns();
	tare_gc_collect();
	uint64_t released = 0;
	for (int quiet = 0; rc == 0 && quiet < QUIET_LOOKS && ms_since(since_ns) < WAIT_MS; quiet++) {
		tare_gc_stats_read(&stats);
		if (stats.released_bytes != released) {
			quiet = 0;
			quiet_ms = ms_since(since_ns);
		}
		released = stats.released_bytes;
		(void)tare_sleep(LOOK_MS * TARE_NS_PER_MS);
	}
	note(r, "collected", before, spike, quiet_ms);
	lab_probe_figure(r->out, (double)released, "collected_released_bytes");
	tare_gc_close();
	return rc < 0 ? tare_error_set(r->err, rc, "no memory for the spike") : 0;
}

static int pooled(const struct release *r)
{
	struct tare_pool *pool;
	uint64_t count = r->bytes / BLOCK, taken = 0;
	double before = lab_probe_resident();
	void **objects = tare_alloc_zeroed(&heap_tag, count, sizeof *objects);
	int rc = objects == NULL
		     ? -ENOMEM
		     : tare_pool_new(&pool, &(struct tare_pool_options){.name = "probe", .object_bytes = BLOCK});
	if (rc < 0) {
		tare_free(objects);
		return tare_error_set(r->err, rc, "no memory for the spike");
	}
	for (; taken < count && (objects[taken] = tare_pool_take(pool)) != NULL; taken++)
		touch(objects[taken], BLOCK);
	double spike = lab_probe_resident();
	for (uint64_t i = 0; i < taken; i++)
		tare_pool_give(pool, objects[i]);
	int64_t since_ns = tare_clock_ns();
	for (int tick = 0; tick < TICKS; tick++)
		(void)tare_pools_age();
	note(r, "pool", before, spike, ms_since(since_ns));
	tare_pool_free(pool);
	tare_free(objects);
	return taken == count ? 0 : tare_error_set(r->err, -ENOMEM, "no memory for the spike");
}

static int from_heap(const struct release *r)
{
	double before = lab_probe_resident();
	char *block = tare_alloc(&heap_tag, r->bytes);
	if (block == NULL)
		return tare_error_set(r->err, -ENOMEM, "no memory for the spike");
	touch(block, r->bytes);
	double spike = lab_probe_resident();
	int64_t since_ns = tare_clock_ns();
	tare_free(block);
	note(r, "heap", before, spike, ms_since(since_ns));
	return 0;
}

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct release r = {args, out, err, lab_probe_value(args, "spike")};
	int rc = by_advice(&r, "keep", -1);
	rc = rc < 0 ? rc : by_advice(&r, "free", MADV_FREE);
	rc = rc < 0 ? rc : by_advice(&r, "dontneed", MADV_DONTNEED);
	rc = rc < 0 ? rc : by_unmapping(&r);
	rc = rc < 0 ? rc : pooled(&r);
	rc = rc < 0 ? rc : from_heap(&r);
	lab_probe_figure(out, (double)r.bytes, "spike_bytes");
	return rc < 0 ? rc : lab_probe_in_task(2, collected, &r, err);
}

const struct lab_probe lab_probe_release = {
    .name = "release",
    .about = "memory after a load spike, by how it is given back",
    .run = run,
    .keys = {{"spike", "of memory", true, 256 << 20, 16 << 20, 4 << 20, UINT64_C(1) << 36}},
    .axes = {{"", "time since the spike's end", "s", false, "resident memory", "B", false}}, // of Go's scavenger
};
