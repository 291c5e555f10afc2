// SPDX-License-Identifier: MIT
// What the collected heap costs: making an object of 32 bytes, and marking a pointer-heavy map (buckets, a node and a record
// with 200 bytes of payload each). build/release/bench/gc [OBJECTS [WORKERS]]; one line a figure.
#include <tare/gc.h>
#include <tare/rt.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct leaf {
	struct leaf *next;
	uint64_t rest[3];
};
static const uint32_t leaf_pointers[] = {offsetof(struct leaf, next)};
static struct tare_gc_type leaf_type = TARE_GC_TYPE(struct leaf, leaf_pointers);

struct record {
	uint64_t key;
	char *payload;
	struct record *next;
};
static const uint32_t record_pointers[] = {offsetof(struct record, payload), offsetof(struct record, next)};
static struct tare_gc_type record_type = TARE_GC_TYPE(struct record, record_pointers);
static const uint32_t first_word[] = {0};
static struct tare_gc_type pointer_type = TARE_GC_TYPE(struct record *, first_word);

enum { PAYLOAD_BYTES = 200, MARKINGS = 5 };

static size_t objects_wanted = 2000000;

static void must(bool ok)
{
	if (!ok) {
		fprintf(stderr, "bench/gc: out of memory\n");
		exit(1);
	}
}

static void make_objects(void)
{
	enum { COUNT = 20000000 };
	int64_t since_ns = tare_now_ns();
	for (int i = 0; i < COUNT; i++) {
		struct leaf *volatile leaf = tare_gc_new(&leaf_type);
		must(leaf != NULL);
	}
	printf("new_32      %6.2f ns an object, collecting included\n", (double)(tare_now_ns() - since_ns) / COUNT);
}

// The map's nodes are visited by marking in another order than they lie in memory.
static struct record **make_map(size_t records)
{
	struct record **buckets = tare_gc_new_array(&pointer_type, records);
	must(buckets != NULL);
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (size_t i = 0; i < records; i++) {
		struct record *record = tare_gc_new(&record_type);
		must(record != NULL);
		record->key = i;
		char *payload = tare_gc_new_noscan(PAYLOAD_BYTES);
		must(payload != NULL);
		tare_gc_store(&record->payload, payload);
		struct record **bucket = &buckets[tare_rng_below(&rng, records)];
		tare_gc_store(&record->next, *bucket);
		tare_gc_store(bucket, record);
	}
	return buckets;
}

static void mark_map(void)
{
	struct tare_gc_stats stats;
	struct record **buckets = make_map(objects_wanted / 2);
	struct tare_gc_pin pin;
	tare_gc_pin(&pin, buckets);
	for (int i = 0; i < MARKINGS; i++) {
		int64_t since_ns = tare_now_ns();
		tare_gc_collect();
		int64_t took_ns = tare_now_ns() - since_ns;
		tare_gc_stats_read(&stats);
		printf("mark_map    %6.2f ns an object of the marking tasks' time; %" PRIu64 " MiB, %.1f ms in all\n",
		       (double)stats.mark_ns / (double)objects_wanted, stats.marked_bytes >> 20, (double)took_ns / 1e6);
	}
	printf(
	    "safepoints  %6.1f us the longest that a worker was held, %.1f us the longest that a collection waited\n",
	    (double)stats.handshake_max_ns / 1e3, (double)stats.late_max_ns / 1e3);
	tare_gc_unpin(&pin);
}

static int bench_main(void *arg)
{
	struct tare_error err = {""};
	(void)arg;
	if (tare_gc_open(NULL, &err) < 0) {
		fprintf(stderr, "bench/gc: %s\n", err.text);
		return 1;
	}
	make_objects();
	mark_map();
	tare_gc_close();
	return 0;
}

int main(int argc, char **argv)
{
	struct tare_error err = {""};
	int result = 1;
	if (argc > 1)
		objects_wanted = strtoull(argv[1], NULL, 10);
	const struct tare_rt_options options = {.workers = argc > 2 ? atoi(argv[2]) : 1, .watchdog_ns = -1};
	if (tare_run(&options, bench_main, NULL, &result, &err) < 0)
		fprintf(stderr, "bench/gc: %s\n", err.text);
	return result;
}
