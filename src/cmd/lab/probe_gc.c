// SPDX-License-Identifier: MIT
// limit-spiral: a memory limit the closer it comes to what is live: how much of the program's work is left, with the
// limiter and without. generations: garbage that dies young beside a live heap that is larger each time, and the same
// from a pool.
//
// The limiter steps in when collecting has taken a second's CPU time of each worker more than the program: each limit
// is kept for a while before it is measured.
// Live is a balanced tree of objects of 64 bytes, garbage are single ones. Percent are of what the live tree takes of
// memory, the heap's tables included.
// Figures of limit-spiral: live_bytes; for P per cent and L, `limiter` or `unlimited`: pP_L_objects_per_second,
// pP_L_throughput_percent (of p200_L's), pP_L_gc_percent (of the workers' CPU time), pP_L_idle_percent (marked beside
// that by workers with nothing to run, as where the maker waits its turn past the limit), pP_L_collections_per_second,
// pP_L_mapped_percent (of the limit), pP_L_stepped_in (the limiter did: 1 or 0). Series throughput_L and gc_percent_L
// against P.
// Figures of generations: for N MiB live: liveN_ns (CPU time an object, the collector's included), liveN_gc_ns (its
// part), liveN_heap_bytes and liveN_collections with GOGC=100, where the heap may be twice what is live; headroomN_…
// with the heap held to so much more than live; live_least_ns, live_most_ns, headroom_least_ns and headroom_most_ns:
// of the least and the most that was live; pool_ns.
#include "cmd/lab/probe.h"

#include <tare/gc.h>
#include <tare/pool.h>
#include <tare/rt.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

enum { BATCH = 1000, ROOMY_PERCENT = 200 };

static struct lab_probe_node *tree; // a root while the heap is open
static struct tare_gc_root root;

struct probe {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	double roomy[2]; // objects a second at 200 %, with the limiter and without
};

// The heap with a live tree of so many bytes; end_live closes it.
static int begin_live(const struct probe *probe, const struct tare_gc_options *options, uint64_t bytes)
{
	int rc = tare_gc_open(options, probe->err);
	if (rc < 0)
		return rc;
	tare_gc_root_add(&root, &tree, 1);
	tare_gc_store(&tree, lab_probe_grow(bytes / sizeof(struct lab_probe_node)));
	if (tree == NULL && bytes >= sizeof(struct lab_probe_node)) {
		tare_gc_close();
		return tare_error_set(probe->err, -ENOMEM, "the live heap can't be made; give less");
	}
	return 0;
}

static void end_live(void)
{
	tree = NULL; // nothing is marked any more
	tare_gc_close();
}

// False: the heap refuses.
static bool make_garbage(int count)
{
	for (int i = 0; i < count; i++) {
		struct lab_probe_node *volatile node = tare_gc_new(&lab_probe_node_type);
		if (node == NULL)
			return false;
	}
	return true;
}

// How many in so long, or until the heap refuses.
static uint64_t make_garbage_for(int64_t ns, double *ret_seconds)
{
	uint64_t made = 0;
	int64_t since_ns = tare_now_ns(), now_ns = since_ns;
	for (; now_ns - since_ns < ns && make_garbage(BATCH); made += BATCH)
		now_ns = tare_now_ns();
	*ret_seconds = (double)TARE_MAX(now_ns - since_ns, 1) / 1e9;
	return made;
}

// ---- limits -------------------------------------------------------------------------------------------------------

static void put_limit(struct probe *probe, uint64_t percent, bool limiter_off, double rate, double gc_percent)
{
	const char *name = limiter_off ? "unlimited" : "limiter";
	if (percent == ROOMY_PERCENT)
		probe->roomy[limiter_off] = rate;
	lab_probe_figure(probe->out, rate, "p%" PRIu64 "_%s_objects_per_second", percent, name);
	if (probe->roomy[limiter_off] > 0)
		lab_probe_figure(probe->out, rate / probe->roomy[limiter_off] * 100,
				 "p%" PRIu64 "_%s_throughput_percent", percent, name);
	lab_probe_figure(probe->out, gc_percent, "p%" PRIu64 "_%s_gc_percent", percent, name);
	lab_probe_point(probe->out, limiter_off ? "throughput_unlimited" : "throughput_limiter", (double)percent, rate);
	lab_probe_point(probe->out, limiter_off ? "gc_percent_unlimited" : "gc_percent_limiter", (double)percent,
			gc_percent);
}

static int at_limit(struct probe *probe, uint64_t percent, bool limiter_off)
{
	const char *name = limiter_off ? "unlimited" : "limiter";
	int workers = (int)lab_probe_value(probe->args, "workers");
	int64_t want_ns = (int64_t)lab_probe_value(probe->args, "milliseconds") * TARE_NS_PER_MS;
	struct tare_gc_stats before, after;
	const struct tare_gc_options options = {
	    .percent = TARE_GC_OFF, .limit_heap_alone = true, .limiter_off = limiter_off};
	int rc = begin_live(probe, &options, lab_probe_value(probe->args, "live"));
	if (rc < 0)
		return rc;
	(void)tare_gc_set_limit(UINT64_C(1) << 50); // so that what counts is reckoned
	tare_gc_collect();
	tare_gc_stats_read(&before);
	uint64_t live = before.mapped_bytes + before.others_bytes;
	(void)tare_gc_set_limit(live / 100 * percent);
	double seconds;
	(void)make_garbage_for((int64_t)lab_probe_value(probe->args, "settle") * TARE_NS_PER_MS, &seconds);
	tare_gc_stats_read(&before);
	uint64_t made = make_garbage_for(want_ns, &seconds);
	tare_gc_stats_read(&after);
	double rate = (double)made / seconds;
	double cpu = seconds * workers, idle = (double)(after.idle_ns - before.idle_ns) / 1e9;
	double gc_percent = (lab_probe_gc_seconds(&after) - lab_probe_gc_seconds(&before) - idle) / cpu * 100;
	double mapped = (double)(after.mapped_bytes + after.others_bytes) / (double)after.limit_bytes * 100;
	end_live();
	lab_probe_figure(probe->out, (double)live, "live_bytes");
	put_limit(probe, percent, limiter_off, rate, gc_percent);
	lab_probe_figure(probe->out, idle / cpu * 100, "p%" PRIu64 "_%s_idle_percent", percent, name);
	lab_probe_figure(probe->out, (double)(after.cycles - before.cycles) / seconds,
			 "p%" PRIu64 "_%s_collections_per_second", percent, name);
	lab_probe_figure(probe->out, mapped, "p%" PRIu64 "_%s_mapped_percent", percent, name);
	lab_probe_figure(probe->out, after.limited_cycles > 0, "p%" PRIu64 "_%s_stepped_in", percent, name);
	return 0;
}

static int measure_limits(void *arg)
{
	static const uint64_t percents[] = {ROOMY_PERCENT, 110, 105, 101};
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(percents); i++)
		for (int off = 0; off < 2 && rc == 0; off++)
			rc = at_limit(arg, percents[i], off != 0);
	return rc;
}

static int run_limits(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct probe probe = {.args = args, .out = out, .err = err};
	return lab_probe_in_task((int)lab_probe_value(args, "workers"), measure_limits, &probe, err);
}

const struct lab_probe lab_probe_limit_spiral = {
    .name = "limit-spiral",
    .about = "a memory limit of 200, 110, 105 and 101 % of what is live, with the limiter and without",
    .run = run_limits,
    .keys = {{"live", "heap", true, 32 << 20, 2 << 20, 64 << 10, UINT64_C(1) << 40},
	     {"settle", "milliseconds at each limit before it is measured", false, 1500, 10, 0, 600000},
	     {"milliseconds", "that are measured", false, 800, 50, 1, 600000},
	     {"workers", "threads; one task makes garbage", false, 1, 1, 1, 64}},
    .axes = {{"throughput", "limit", "% of live", false, "objects", "/s", false},
	     {"gc_percent", "limit", "% of live", false, "the collector's share of the CPU", "%", false}},
};

// ---- generations --------------------------------------------------------------------------------------------------

// *least_ns is written where it is 0.
static int churn(const struct probe *probe, const char *name, uint64_t mib, const struct tare_gc_options *options,
		 double *least_ns)
{
	uint64_t objects = lab_probe_value(probe->args, "objects");
	struct tare_gc_stats before, after;
	int rc = begin_live(probe, options, mib << 20);
	if (rc < 0)
		return rc;
	tare_gc_collect();
	tare_gc_stats_read(&before);
	int64_t since_ns = lab_probe_cpu_ns();
	bool made = true;
	for (uint64_t i = 0; i < objects && made; i += BATCH)
		made = make_garbage(BATCH);
	double ns = (double)(lab_probe_cpu_ns() - since_ns);
	tare_gc_stats_read(&after);
	end_live();
	if (!made)
		return tare_error_set(probe->err, -ENOMEM, "the collected heap is full");
	double gc_ns = (lab_probe_gc_seconds(&after) - lab_probe_gc_seconds(&before)) * 1e9;
	if (*least_ns == 0)
		*least_ns = ns / (double)objects;
	lab_probe_figure(probe->out, *least_ns, "%s_least_ns", name);
	lab_probe_figure(probe->out, ns / (double)objects, "%s_most_ns", name); // the last one's stays
	lab_probe_figure(probe->out, ns / (double)objects, "%s%" PRIu64 "_ns", name, mib);
	lab_probe_figure(probe->out, gc_ns / (double)objects, "%s%" PRIu64 "_gc_ns", name, mib);
	lab_probe_figure(probe->out, (double)after.goal_bytes, "%s%" PRIu64 "_heap_bytes", name, mib);
	lab_probe_figure(probe->out, (double)(after.cycles - before.cycles), "%s%" PRIu64 "_collections", name, mib);
	lab_probe_point(probe->out, name, (double)mib, ns / (double)objects);
	return 0;
}

static void pool_pairs(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct lab_probe_node *node = tare_pool_take(arg);
		lab_probe_keep(node);
		if (node != NULL)
			tare_pool_give(arg, node);
	}
}

static int measure_generations(void *arg)
{
	const struct probe *probe = arg;
	uint64_t headroom = TARE_MAX(lab_probe_value(probe->args, "headroom") >> 20, UINT64_C(1));
	uint64_t most = lab_probe_value(probe->args, "live") >> 20;
	double live_ns = 0, headroom_ns = 0;
	struct tare_pool *pool;
	int rc = 0;
	for (uint64_t mib = 2; mib <= most && rc == 0; mib *= 4) {
		const struct tare_gc_options twice = {.percent = 100};
		const struct tare_gc_options held = {.percent = (int)TARE_MIN(TARE_MAX(headroom * 100 / mib, 1), 100),
						     .min_bytes = (mib + headroom) << 20};
		rc = churn(probe, "live", mib, &twice, &live_ns);
		rc = rc < 0 ? rc : churn(probe, "headroom", mib, &held, &headroom_ns);
	}
	if (rc < 0)
		return rc;
	rc = tare_pool_new(&pool,
			   &(struct tare_pool_options){.name = "nodes", .object_bytes = sizeof(struct lab_probe_node)});
	if (rc < 0)
		return tare_error_set(probe->err, rc, "no memory for a pool");
	lab_probe_figure(probe->out, lab_probe_time(pool_pairs, pool, 20 * TARE_NS_PER_MS), "pool_ns");
	tare_pool_free(pool);
	return 0;
}

static int run_generations(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct probe probe = {.args = args, .out = out, .err = err};
	return lab_probe_in_task((int)lab_probe_value(args, "workers"), measure_generations, &probe, err);
}

const struct lab_probe lab_probe_generations = {
    .name = "generations",
    .about = "garbage that dies young beside a growing live heap, and the same from a pool",
    .run = run_generations,
    .keys = {{"live", "the most; from 2M on, four times as much each time", true, 128 << 20, 8 << 20, 2 << 20,
	      UINT64_C(1) << 40},
	     {"headroom", "that the heap may grow past what is live", true, 16 << 20, 2 << 20, 1 << 20,
	      UINT64_C(1) << 40},
	     {"objects", "of garbage, 64 bytes each", false, 10000000, 100000, 1000, 1000000000},
	     {"workers", "threads", false, 2, 2, 1, 64}},
    .axes = {{"", "live heap", "MiB", true, "CPU an object", "ns", false}},
};
