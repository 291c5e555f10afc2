// SPDX-License-Identifier: MIT
// regions: what a request makes and drops, from a region that is given back as a whole, from malloc's heap, and from
// the collected heap beside a live one; what the region saves, and what it costs in safety.
//
// A request is a list of parts of 16 to 256 bytes, one object each, written and read once. From malloc's heap each part
// is freed by itself.
// Figures: region_ns, heap_ns, collected_ns of CPU time a request, the collector's included; collected_gc_ns: its part;
// collected_collections; region_heap_calls, heap_heap_calls a request; stale_corrupted and stale_caught: what this
// build makes of a pointer that is read when its region was reset (1 or 0; neither: the next request's bytes were not
// seen).
// Texts: stale.
#include "cmd/lab/probe.h"

#include <tare/arena.h>
#include <tare/heap.h>
#include <tare/rt.h>

#include <errno.h>
#include <jansson.h>

enum { SIZES = 256, SIZE_STEP = 97, PART_MAX = 256, PARTS_MAX = 1000 };

static struct tare_tag heap_tag = TARE_TAG("probe");

struct part {
	struct part *next;
	uint64_t bytes;
};
static const uint32_t part_pointers[] = {offsetof(struct part, next)};
// Parts of all sizes: the pointer is the first word of each.
static struct tare_gc_type part_types[PART_MAX / 16];

struct regions {
	const struct lab_probe_args *args;
	json_t *out;
	struct tare_error *err;
	struct tare_arena *arena;
	uint64_t parts, requests, seen;
	size_t sizes[SIZES];
	bool failed;
};

static struct lab_probe_node *live; // a root
static struct tare_gc_root root;

static char pattern[PART_MAX] = {1}; // what parts are filled with

static size_t size_of(const struct regions *r, uint64_t i, uint64_t k)
{
	return r->sizes[(i + k) % SIZES];
}

static void finish(struct part *part, struct part *next, size_t bytes)
{
	part->bytes = bytes;
	memcpy(part + 1, pattern, bytes - sizeof *part);
	part->next = next;
}

static uint64_t sum_of(const struct part *part)
{
	uint64_t sum = 0;
	for (; part != NULL; part = part->next)
		sum += part->bytes;
	return sum;
}

static void from_region(void *arg, uint64_t n)
{
	struct regions *r = arg;
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		struct part *first = NULL;
		for (uint64_t k = 0; k < r->parts && !r->failed; k++) {
			size_t bytes = size_of(r, i, k);
			struct part *part = tare_arena_alloc(r->arena, bytes);
			r->failed = part == NULL;
			if (part != NULL)
				finish(part, first, bytes);
			first = part;
		}
		r->seen += sum_of(first);
		tare_arena_reset(r->arena);
	}
}

static void from_heap(void *arg, uint64_t n)
{
	struct regions *r = arg;
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		struct part *first = NULL, *next;
		for (uint64_t k = 0; k < r->parts && !r->failed; k++) {
			size_t bytes = size_of(r, i, k);
			struct part *part = tare_alloc(&heap_tag, bytes);
			r->failed = part == NULL;
			if (part == NULL)
				break;
			finish(part, first, bytes);
			first = part;
		}
		r->seen += sum_of(first);
		for (struct part *part = first; part != NULL; part = next) {
			next = part->next;
			tare_free(part);
		}
	}
}

static void from_collected(void *arg, uint64_t n)
{
	struct regions *r = arg;
	for (uint64_t i = 0; i < n && !r->failed; i++) {
		struct part *first = NULL;
		for (uint64_t k = 0; k < r->parts && !r->failed; k++) {
			size_t bytes = size_of(r, i, k);
			struct part *part = tare_gc_new(&part_types[(bytes - 1) / 16]);
			r->failed = part == NULL;
			if (part == NULL)
				break;
			part->bytes = bytes;
			memcpy(part + 1, pattern, bytes - sizeof *part);
			tare_gc_store(&part->next, first);
			first = part;
		}
		r->seen += sum_of(first);
	}
}

static double requests_ns(struct regions *r, void (*work)(void *arg, uint64_t n))
{
	int64_t since_ns = lab_probe_cpu_ns();
	work(r, r->requests);
	return (double)(lab_probe_cpu_ns() - since_ns) / (double)r->requests;
}

static double heap_calls(void)
{
	struct tare_heap_stats stats;
	tare_heap_stats_read(&stats);
	return (double)stats.allocs;
}

static int measure(void *arg)
{
	struct regions *r = arg;
	struct tare_gc_stats before, after;
	int rc = tare_gc_open(NULL, r->err);
	if (rc < 0)
		return rc;
	tare_gc_root_add(&root, &live, 1);
	tare_gc_store(&live, lab_probe_grow(lab_probe_value(r->args, "live") / sizeof(struct lab_probe_node)));
	tare_gc_collect();
	from_region(r, 1); // its blocks
	double calls = heap_calls();
	lab_probe_figure(r->out, requests_ns(r, from_region), "region_ns");
	lab_probe_figure(r->out, (heap_calls() - calls) / (double)r->requests, "region_heap_calls");
	calls = heap_calls();
	lab_probe_figure(r->out, requests_ns(r, from_heap), "heap_ns");
	lab_probe_figure(r->out, (heap_calls() - calls) / (double)r->requests, "heap_heap_calls");
	tare_gc_stats_read(&before);
	lab_probe_figure(r->out, requests_ns(r, from_collected), "collected_ns");
	tare_gc_stats_read(&after);
	lab_probe_figure(r->out,
			 (lab_probe_gc_seconds(&after) - lab_probe_gc_seconds(&before)) * 1e9 / (double)r->requests,
			 "collected_gc_ns");
	lab_probe_figure(r->out, (double)(after.cycles - before.cycles), "collected_collections");
	lab_probe_figure(r->out, (double)after.marked_bytes, "live_bytes");
	tare_gc_close();
	live = NULL;
	return r->failed ? tare_error_set(r->err, -ENOMEM, "out of memory") : 0;
}

// ---- what it costs in safety --------------------------------------------------------------------------------------

// A request keeps a pointer past its region's reset, and the next request's part lies there.
static int read_stale(void)
{
	struct tare_arena *arena;
	if (tare_arena_new(&arena, &(struct tare_arena_options){.name = "probe"}) < 0)
		return LAB_PROBE_NO_MEMORY;
	uint64_t *old = tare_arena_alloc(arena, 64);
	if (old == NULL)
		return LAB_PROBE_NO_MEMORY;
	*old = 1;
	tare_arena_reset(arena);
	uint64_t *fresh = tare_arena_alloc(arena, 64);
	if (fresh == NULL)
		return LAB_PROBE_NO_MEMORY;
	*fresh = 2;
	lab_probe_keep(fresh);
	return *(volatile uint64_t *)old == 2 ? LAB_PROBE_CORRUPTED : LAB_PROBE_NOTHING;
}

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	struct regions r = {.args = args,
			    .out = out,
			    .err = err,
			    .parts = lab_probe_value(args, "parts"),
			    .requests = lab_probe_value(args, "requests")};
	struct lab_probe_outcome outcome;
	int rc = lab_probe_in_child(read_stale, &outcome, err); // while the process has one thread
	if (rc < 0)
		return rc;
	lab_probe_outcome(out, "stale", "the next request's bytes were seen", &outcome);
	for (size_t i = 0; i < SIZES; i++) // every size about once, neighbours far apart; Go's are the same
		r.sizes[i] = sizeof(struct part) + i * SIZE_STEP % (PART_MAX - sizeof(struct part) + 1);
	for (size_t i = 0; i < TARE_ARRAY_LEN(part_types); i++)
		part_types[i] = (struct tare_gc_type){
		    .name = "part", .bytes = (uint32_t)(i + 1) * 16, .pointer_count = 1, .pointers = part_pointers};
	rc = tare_arena_new(&r.arena, &(struct tare_arena_options){.name = "probe"});
	if (rc < 0)
		return tare_error_set(err, rc, "out of memory");
	rc = lab_probe_in_task((int)lab_probe_value(args, "workers"), measure, &r, err);
	tare_arena_free(r.arena);
	return rc;
}

const struct lab_probe lab_probe_regions = {
    .name = "regions",
    .about = "a request's parts from a region, from malloc's heap, from the collected one",
    .run = run,
    .keys = {{"live", "of the collected heap", true, 64 << 20, 2 << 20, 64 << 10, UINT64_C(1) << 40},
	     {"requests", "of each kind", false, 200000, 5000, 1, 1000000000},
	     {"parts", "a request", false, 20, 20, 1, PARTS_MAX},
	     {"workers", "threads", false, 2, 2, 1, 64}},
};
