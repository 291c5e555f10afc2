// SPDX-License-Identifier: MIT
// `tare loadindex`: loads a snapshot, verifies it, and reports what it holds and what it costs.
//
// Resident memory is what the process grew by, as the kernel counts it in /proc/self/status: pages of the file (shared
// with the page cache) apart from memory of its own.
//
// --layout copies the records into an array of their own, of the struct that it names, so that what a layout costs is
// measured and not only reckoned: what the heap counts, and what the kernel does. Threads: one.
#include "cmd/cmd.h"

#include <tare/heap.h>
#include <tare/index.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

struct resident {
	int64_t file_bytes, own_bytes;
};

static struct tare_tag heap_tag = TARE_TAG("records");

enum copy_layout { COPY_NONE, COPY_MISPACKED, COPY_REORDERED, COPY_PACKED };
static const char *const copy_names[] = {"mapped", "mispacked", "reordered", "packed", NULL};

// The mis-packed record in the order that `tare layout` proposes for it: what order alone gains.
struct record_reordered {
	uint64_t id;
	bool hot;
	bool active;
	int64_t bid_micros;
	int64_t budget_micros;
	struct tare_str category;
	int64_t spend_micros;
	uint64_t impressions;
	struct tare_str payload;
	uint64_t clicks;
};

struct copy {
	int layout; // enum copy_layout
	size_t record_bytes;
	uint64_t heap_bytes, resident_bytes;
};

struct load_report {
	const char *path;
	int64_t load_ns;
	struct resident grown;
	struct tare_index_stats stats;
	struct copy copy;
};

static struct resident resident_now(void)
{
	struct resident now = {0, 0};
	FILE *status = fopen("/proc/self/status", "re");
	if (status == NULL)
		return now;
	char line[256];
	int64_t kib;
	while (fgets(line, sizeof line, status) != NULL) {
		if (sscanf(line, "RssFile: %" SCNd64, &kib) == 1)
			now.file_bytes = kib * 1024;
		else if (sscanf(line, "RssAnon: %" SCNd64, &kib) == 1)
			now.own_bytes = kib * 1024;
	}
	fclose(status);
	return now;
}

// ---- copies -------------------------------------------------------------------------------------------------------

// Exact, where the counters of /proc/self/status lag by some pages. 0: not to be had.
static uint64_t anonymous_bytes(void)
{
	FILE *rollup = fopen("/proc/self/smaps_rollup", "re");
	if (rollup == NULL)
		return 0;
	char line[256];
	uint64_t kib = 0;
	while (fgets(line, sizeof line, rollup) != NULL && sscanf(line, "Anonymous: %" SCNu64, &kib) != 1)
		continue;
	fclose(rollup);
	return kib * 1024;
}

static size_t copy_record_bytes(int layout)
{
	static const size_t bytes[] = {[COPY_NONE] = 0,
				       [COPY_MISPACKED] = sizeof(struct tare_record_mispacked),
				       [COPY_REORDERED] = sizeof(struct record_reordered),
				       [COPY_PACKED] = sizeof(struct tare_record)};
	return bytes[layout];
}

// Of a layout with the texts' addresses in it; the members' names are the same.
#define COPIED(type, index, r)                                                                                         \
	((type){.id = (r)->id,                                                                                         \
		.hot = (r)->hot,                                                                                       \
		.active = (r)->active,                                                                                 \
		.bid_micros = (r)->bid_micros,                                                                         \
		.budget_micros = (r)->budget_micros,                                                                   \
		.category = tare_index_category(index, r),                                                             \
		.spend_micros = (r)->spend_micros,                                                                     \
		.impressions = (r)->impressions,                                                                       \
		.payload = tare_index_payload(index, r),                                                               \
		.clicks = (r)->clicks})

static void copy_records(const struct tare_index *index, uint64_t records, int layout, void *to)
{
	for (uint64_t i = 0; i < records; i++) {
		const struct tare_record *r = tare_index_record(index, i);
		if (layout == COPY_MISPACKED)
			((struct tare_record_mispacked *)to)[i] = COPIED(struct tare_record_mispacked, index, r);
		else if (layout == COPY_REORDERED)
			((struct record_reordered *)to)[i] = COPIED(struct record_reordered, index, r);
		else
			((struct tare_record *)to)[i] = *r;
	}
}

// Copies all records and measures what that took. -ENOMEM. The copy is gone afterwards.
static int measure_copy(const struct tare_index *index, uint64_t records, struct copy *copy)
{
	struct tare_heap_stats before, after;
	copy->record_bytes = copy_record_bytes(copy->layout);
	tare_heap_stats_read(&before);
	uint64_t resident = anonymous_bytes();
	void *array = tare_alloc(&heap_tag, records * copy->record_bytes);
	if (array == NULL)
		return -ENOMEM;
	copy_records(index, records, copy->layout, array);
	uint64_t resident_after = anonymous_bytes();
	tare_heap_stats_read(&after);
	copy->resident_bytes = resident_after > resident ? resident_after - resident : 0;
	copy->heap_bytes = after.bytes_live - before.bytes_live;
	tare_free(array);
	return 0;
}

// ---- reports ------------------------------------------------------------------------------------------------------

static double mib(double bytes)
{
	return bytes / (1 << 20);
}

static void print_sections(const struct tare_index_stats *stats)
{
	printf("  %-12s %12s %14s  %s\n", "section", "offset", "bytes", "checksum (XXH3-64)");
	for (int i = 0; i < TARE_INDEX_SECTIONS; i++) {
		const struct tare_index_section *section = &stats->sections[i];
		printf("  %-12s %12" PRIu64 " %14" PRIu64 "  %016" PRIx64 "\n", section->name, section->offset,
		       section->bytes, section->checksum);
	}
}

static uint64_t saved_bytes(const struct tare_index_stats *stats)
{
	return stats->records * (sizeof(struct tare_record_mispacked) - sizeof(struct tare_record));
}

static void print_text(const struct load_report *report)
{
	const struct tare_index_stats *stats = &report->stats;
	printf("%s: verified, version %" PRIu32 ", seed %" PRIu64 "\n", report->path, stats->version, stats->seed);
	printf("records        %" PRIu64 ", keys %" PRIu64 " to %" PRIu64 ", %" PRIu32 " categories\n", stats->records,
	       stats->key_min, stats->key_max, stats->categories);
	printf("bytes          %" PRIu64 " (%.1f MiB, %.1f a record)\n", stats->bytes, mib((double)stats->bytes),
	       (double)stats->bytes / (double)stats->records);
	print_sections(stats);
	printf("load time      %.1f ms, of which verification %.1f ms\n", (double)report->load_ns / 1e6,
	       (double)stats->verify_ns / 1e6);
	printf("resident       %.1f MiB mapped from the file, %.1f MiB of its own\n",
	       mib((double)report->grown.file_bytes), mib((double)report->grown.own_bytes));
	printf("record struct  %zu bytes mis-packed, %zu packed: %.1f MiB saved for these records\n",
	       sizeof(struct tare_record_mispacked), sizeof(struct tare_record), mib((double)saved_bytes(stats)));
	if (report->copy.layout != COPY_NONE)
		printf("records copy   %s, %zu bytes each: %" PRIu64 " bytes on the heap, %" PRIu64 " resident\n",
		       copy_names[report->copy.layout], report->copy.record_bytes, report->copy.heap_bytes,
		       report->copy.resident_bytes);
	printf("hash table     %" PRIu64 " slots, load factor %.3f\n", stats->slots, stats->load_factor);
	printf("probe length   %.3f slots mean, %" PRIu64 " max; longest run of taken slots %" PRIu64 "\n",
	       stats->probe_mean, stats->probe_max, stats->run_max);
}

// Past what JSON integers hold here, a decimal string.
static json_t *json_u64(uint64_t value)
{
	char text[24];
	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof text, "%" PRIu64, value);
	return json_string(text);
}

static json_t *json_sections(const struct tare_index_stats *stats)
{
	json_t *sections = json_array();
	for (int i = 0; i < TARE_INDEX_SECTIONS; i++) {
		const struct tare_index_section *section = &stats->sections[i];
		char checksum[20];
		snprintf(checksum, sizeof checksum, "%016" PRIx64, section->checksum);
		json_array_append_new(sections, json_pack("{s:s, s:I, s:I, s:s}", "name", section->name, "offset",
							  (json_int_t)section->offset, "bytes",
							  (json_int_t)section->bytes, "checksum", checksum));
	}
	return sections;
}

static json_t *json_records_copy(const struct copy *copy)
{
	if (copy->layout == COPY_NONE)
		return json_null();
	return json_pack("{s:s, s:I, s:I, s:I}", "layout", copy_names[copy->layout], "record_bytes",
			 (json_int_t)copy->record_bytes, "heap_bytes", (json_int_t)copy->heap_bytes, "resident_bytes",
			 (json_int_t)copy->resident_bytes);
}

static json_t *json_report(const struct load_report *report)
{
	const struct tare_index_stats *stats = &report->stats;
	return json_pack(
	    "{s:s?, s:i, s:o, s:I, s:i, s:o, s:o, s:I, s:o, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I, s:I}, "
	    "s:{s:I, s:f, s:f, s:I, s:I}, s:o}",
	    "file", report->path, "version", (int)stats->version, "seed", json_u64(stats->seed), "records",
	    (json_int_t)stats->records, "categories", (int)stats->categories, "key_min", json_u64(stats->key_min),
	    "key_max", json_u64(stats->key_max), "bytes", (json_int_t)stats->bytes, "sections", json_sections(stats),
	    "load_ns", (json_int_t)report->load_ns, "verify_ns", (json_int_t)stats->verify_ns, "resident", "file_bytes",
	    (json_int_t)report->grown.file_bytes, "own_bytes", (json_int_t)report->grown.own_bytes, "record_struct",
	    "mispacked_bytes", (json_int_t)sizeof(struct tare_record_mispacked), "packed_bytes",
	    (json_int_t)sizeof(struct tare_record), "saved_bytes", (json_int_t)saved_bytes(stats), "hash_table",
	    "slots", (json_int_t)stats->slots, "load_factor", stats->load_factor, "probe_mean", stats->probe_mean,
	    "probe_max", (json_int_t)stats->probe_max, "run_max", (json_int_t)stats->run_max, "records_copy",
	    json_records_copy(&report->copy));
}

static int print_json(const struct load_report *report)
{
	json_t *root = json_report(report);
	int rc = root != NULL ? json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : -1;
	json_decref(root);
	printf("\n");
	return rc < 0 ? cmd_fail("loadindex", "%s: the report could not be written as JSON", report->path) : CMD_OK;
}

int cmd_loadindex(int argc, char **argv)
{
	struct load_report report = {.path = NULL};
	bool json = false;
	const struct cmd_option options[] = {
	    {.name = "FILE", .type = CMD_TEXT, .value = &report.path, .help = "a snapshot made by 'tare gen'"},
	    {.name = "layout",
	     .type = CMD_CHOICE,
	     .value = &report.copy.layout,
	     .choices = copy_names,
	     .help = "copy the records into structs of this layout, and measure that"},
	    {.name = "json", .type = CMD_FLAG, .value = &json, .help = "report as JSON"},
	};
	int rc = cmd_parse("loadindex", "Loads a snapshot, verifies every byte of it, and reports on it.", options,
			   TARE_ARRAY_LEN(options), argc, argv);
	if (rc != -1)
		return rc;
	struct tare_index *index;
	struct tare_error err;
	struct resident before = resident_now();
	int64_t start_ns = tare_clock_ns();
	if (tare_index_open(&index, report.path, &err) < 0)
		return cmd_fail("loadindex", "%s", err.text);
	report.load_ns = tare_clock_ns() - start_ns;
	struct resident after = resident_now();
	report.grown.file_bytes = after.file_bytes - before.file_bytes;
	report.grown.own_bytes = after.own_bytes - before.own_bytes;
	tare_index_stats_get(index, &report.stats);
	rc = CMD_OK;
	if (report.copy.layout != COPY_NONE && measure_copy(index, report.stats.records, &report.copy) < 0)
		rc = cmd_fail("loadindex", "%s: no memory for a copy of its records; load a smaller snapshot",
			      report.path);
	else if (json)
		rc = print_json(&report);
	else
		print_text(&report);
	tare_index_free(index);
	if (rc == CMD_OK && (fflush(stdout) != 0 || ferror(stdout)))
		rc = cmd_fail("loadindex", "standard output: %s", strerror(errno));
	return rc;
}
