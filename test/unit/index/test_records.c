// SPDX-License-Identifier: MIT
//
// Goal: every layout on every heap finds what the index has, byte for byte; a replaced record is whole for whoever
// finds it, stays so for as long as he looks, and is free soon after; what can't be done is refused with a reason and
// leaves nothing behind.
// Method: all keys beside a second index of the same seed; one task replaces records whose every byte follows from a
// version, while others find them, look, yield, and look again, with collections going on and checked; live bytes are
// counted.
#include "in_task.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/index.h>
#include <tare/records.h>

#include <stdlib.h>

static const enum tare_layout layouts[] = {TARE_LAYOUT_MAP, TARE_LAYOUT_FLAT, TARE_LAYOUT_OFFHEAP};

static struct tare_index *built(uint64_t records)
{
	struct tare_gen_options options = {.records = records, .seed = 11, .categories = 40};
	struct tare_index *index = NULL;
	CHECK(tare_index_build(&index, &options, NULL) == 0);
	return index;
}

static struct tare_records *laid_out(uint64_t count, enum tare_layout layout, bool collected, bool intern)
{
	const struct tare_records_options options = {.layout = layout, .collected = collected, .intern = intern};
	struct tare_records *records = NULL;
	struct tare_error err = {""};
	CHECK(tare_records_new(&records, built(count), &options, &err) == 0);
	return records;
}

static void open_heap(const struct tare_gc_options *options)
{
	struct tare_error err = {""};
	CHECK(tare_gc_open(options, &err) == 0);
}

static bool str_is(struct tare_str str, const char *text)
{
	return tare_str_eq(str, (struct tare_str){text, strlen(text)});
}

static bool same(const struct tare_record_view *view, const struct tare_index *index, const struct tare_record *r)
{
	const struct tare_record *v = view->record;
	return v->id == r->id && v->bid_micros == r->bid_micros && v->budget_micros == r->budget_micros &&
	       v->spend_micros == r->spend_micros && v->impressions == r->impressions && v->clicks == r->clicks &&
	       v->hot == r->hot && v->active == r->active && v->payload_len == r->payload_len &&
	       tare_str_eq(view->category, tare_index_category(index, r)) &&
	       tare_str_eq(view->payload, tare_index_payload(index, r));
}

static void check_all(const struct tare_records *records, uint64_t count)
{
	struct tare_index *index = built(count);
	struct tare_record_view view;
	uint64_t wrong = 0;
	for (uint64_t key = 0; key < count; key++)
		wrong += !tare_records_find(records, key, &view) || !same(&view, index, tare_index_find(index, key));
	CHECK(wrong == 0);
	for (uint64_t key = count; key < 3 * count; key++)
		wrong += tare_records_find(records, key, &view);
	CHECK(wrong == 0);
	CHECK(!tare_records_find(records, UINT64_MAX, &view));
	tare_index_free(index);
}

// ---- finding ------------------------------------------------------------------------------------------------------

static const uint64_t sizes[] = {1, 2, 3, 4, 63, 512, 513, 20000};

TEST(malloc_layouts_find_what_the_index_has_and_free_it_all)
{
	struct tare_heap_stats before, after;
	atomic_store(&check_failures, 0);
	tare_index_free(built(3)); // what is allocated once
	tare_heap_stats_read(&before);
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++) {
		for (size_t k = 0; k < TARE_ARRAY_LEN(sizes); k++) {
			struct tare_records *records = laid_out(sizes[k], layouts[i], false, k % 2 != 0);
			check_all(records, sizes[k]);
			tare_records_free(records);
		}
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live, before.bytes_live);
	assert_int_equal(atomic_load(&check_failures), 0);
	tare_records_free(NULL);
}

static int find_collected(void *arg)
{
	(void)arg;
	size_t most = SIMULATED ? TARE_ARRAY_LEN(sizes) - 1 : TARE_ARRAY_LEN(sizes);
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++) {
		for (size_t k = 0; k < most; k++) {
			open_heap(&(struct tare_gc_options){.check = true, .min_bytes = 64 << 10});
			struct tare_records *records = laid_out(sizes[k], layouts[i], true, k % 2 != 0);
			tare_gc_collect();
			check_all(records, sizes[k]);
			tare_gc_close();
			tare_records_free(records);
		}
	}
	return 0;
}

TEST(collected_layouts_find_what_the_index_has)
{
	run_in_task(2, find_collected);
}

static int count_objects(void *arg)
{
	(void)arg;
	enum { COUNT = 3000 };
	struct tare_records_stats stats[3];
	uint64_t marked[3];
	for (int i = 0; i < 3; i++) { // shared texts, texts of their own, flat
		struct tare_gc_stats gc;
		open_heap(NULL);
		struct tare_records *records =
		    laid_out(COUNT, i < 2 ? TARE_LAYOUT_MAP : TARE_LAYOUT_FLAT, true, i == 0);
		tare_gc_collect();
		tare_gc_stats_read(&gc);
		marked[i] = gc.marked_bytes;
		tare_records_stats_get(records, &stats[i]);
		tare_gc_close();
		tare_records_free(records);
	}
	// slots, pointers, dictionary, its texts; records and payloads
	CHECK(stats[0].heap_objects == 2 + 1 + 40 + 2 * COUNT);
	CHECK(stats[1].heap_objects == 2 + 3 * COUNT);
	CHECK(stats[2].heap_objects == 1);
	CHECK(marked[0] < marked[1]); // interning is worth it
	CHECK(marked[2] > 0);
	return 0;
}

TEST(a_map_is_an_object_a_record_a_payload_and_a_category)
{
	run_in_task(1, count_objects);
}

// ---- what can't be done -------------------------------------------------------------------------------------------

struct stopping {
	uint64_t calls, last, stop_at;
};

static int stop_later(void *arg, uint64_t done, uint64_t total)
{
	struct stopping *s = arg;
	CHECK(done >= s->last && done <= total);
	s->last = done;
	return ++s->calls == s->stop_at ? -EINTR : 0;
}

TEST(progress_is_told_and_can_stop_it)
{
	struct tare_heap_stats before, after;
	atomic_store(&check_failures, 0);
	tare_heap_stats_read(&before);
	for (size_t i = 0; i < 2; i++) { // off-heap there is nothing to do
		struct stopping stopping = {0};
		struct tare_records_options options = {
		    .layout = layouts[i], .progress = stop_later, .progress_arg = &stopping};
		struct tare_records *records = NULL;
		struct tare_error err = {""};
		assert_int_equal(tare_records_new(&records, built(50000), &options, &err), 0);
		assert_true(stopping.calls >= 1);
		tare_records_free(records);
		records = NULL;
		stopping = (struct stopping){.stop_at = 1};
		assert_int_equal(tare_records_new(&records, built(50000), &options, &err), -EINTR);
		assert_null(records);
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live, before.bytes_live);
	assert_int_equal(atomic_load(&check_failures), 0);
}

static int lay_out_too_much(void *layout)
{
	struct tare_records_options options = {.layout = *(const enum tare_layout *)layout, .collected = true};
	struct tare_records *records = NULL;
	struct tare_error err = {""};
	CHECK(tare_records_new(&records, built(20000), &options, &err) == -ENOMEM && records == NULL);
	CHECK(strstr(err.text, "the collected heap has no room for more than ") == err.text);
	CHECK(strstr(err.text, " of 20000 records") != NULL);
	return 0;
}

static int fill_heap(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < 2; i++) {
		struct tare_task *task;
		struct tare_gc_stats stats;
		open_heap(&(struct tare_gc_options){.reserve_bytes = 1 << 20});
		// whose stack is gone then, with what it forgot there
		CHECK(tare_spawn(&task, NULL, lay_out_too_much, (void *)(uintptr_t)&layouts[i]) == 0);
		CHECK(tare_join(task) == 0);
		tare_gc_collect(); // what was laid out is garbage
		tare_gc_stats_read(&stats);
		CHECK(stats.marked_bytes < 64 << 10);
		tare_gc_close();
	}
	return 0;
}

TEST(a_heap_that_is_too_small_is_told_and_given_back)
{
	run_in_task(2, fill_heap);
}

static struct tare_record_view put_view(struct tare_record *record, const char *category)
{
	return (struct tare_record_view){record, {category, strlen(category)}, TARE_STR("payload")};
}

TEST(nothing_is_replaced_on_mallocs_heap)
{
	struct tare_record record = {.id = 1, .bid_micros = 5};
	struct tare_record_view view = put_view(&record, "c");
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++) {
		struct tare_error err = {""};
		struct tare_records *records = laid_out(10, layouts[i], false, false);
		assert_int_equal(tare_records_replace(records, &view, &err), -ENOTSUP);
		assert_string_equal(err.text, "records are replaced on the collected heap only");
		check_all(records, 10);
		tare_records_free(records);
	}
}

static int refuse(void *arg)
{
	(void)arg;
	static const char *const bad[] = {
	    "",     "a\"b",        "a\\b",
	    "a\nb", "caf\xc3\xa9", "12345678901234567890123456789012345678901234567890123456789012345"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++) {
		open_heap(NULL);
		struct tare_error err = {""};
		struct tare_record record = {.id = 100};
		struct tare_records_stats stats;
		struct tare_records *records = laid_out(100, layouts[i], true, false);
		struct tare_record_view view = put_view(&record, "c");
		CHECK(tare_records_replace(records, &view, &err) == -ENOENT);
		CHECK(strcmp(err.text, "no record has the id 100") == 0);
		record.id = 1;
		for (size_t k = 0; k < TARE_ARRAY_LEN(bad); k++) {
			view = put_view(&record, bad[k]);
			CHECK(tare_records_replace(records, &view, &err) == -EINVAL);
			CHECK(strstr(err.text, "category should be 1 to 64 bytes") == err.text);
		}
		view = put_view(&record, "c");
		view.payload.len = (size_t)TARE_RECORD_PAYLOAD_MAX + 1;
		CHECK(tare_records_replace(records, &view, &err) == -EINVAL);
		check_all(records, 100);
		tare_records_stats_get(records, &stats);
		CHECK(stats.replaced == 0);
		tare_gc_close();
		tare_records_free(records);
	}
	return 0;
}

// ---- replacing ----------------------------------------------------------------------------------------------------

// What a version of a record looks like: every byte of it.
static uint64_t mixed(uint64_t id, uint64_t version)
{
	return (id + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ version * UINT64_C(0xc2b2ae3d27d4eb4f);
}

static size_t version_len(uint64_t id, uint64_t version)
{
	return mixed(id, version) >> 16 & 255; // none, too
}

static struct tare_record version_record(uint64_t id, uint64_t version)
{
	return (struct tare_record){
	    .id = id,
	    .bid_micros = (int64_t)version,
	    .budget_micros = (int64_t)mixed(id, version),
	    .spend_micros = -(int64_t)version,
	    .impressions = ~version,
	    .clicks = mixed(version, id),
	    .hot = version % 2 != 0,
	    .active = version % 3 != 0,
	};
}

static void version_category(uint64_t version, char out[32])
{
	snprintf(out, 32, "version-%llu", (unsigned long long)version % 7);
}

static int put_version(struct tare_records *records, uint64_t id, uint64_t version)
{
	char category[32], payload[256];
	struct tare_record record = version_record(id, version);
	struct tare_error err = {""};
	version_category(version, category);
	size_t len = version_len(id, version);
	memset(payload, (int)(mixed(id, version) & 0xff), sizeof payload);
	const struct tare_record_view view = {&record, {category, strlen(category)}, {payload, len}};
	return tare_records_replace(records, &view, &err);
}

// The version that the view shows, if it is one and whole; else 0.
static uint64_t version_of(const struct tare_record_view *view, uint64_t id)
{
	char category[32];
	const struct tare_record *r = view->record;
	uint64_t version = (uint64_t)r->bid_micros;
	struct tare_record want = version_record(id, version);
	version_category(version, category);
	bool whole = r->id == id && r->budget_micros == want.budget_micros && r->spend_micros == want.spend_micros &&
		     r->impressions == want.impressions && r->clicks == want.clicks && r->hot == want.hot &&
		     r->active == want.active && r->payload_len == version_len(id, version) &&
		     view->payload.len == r->payload_len && str_is(view->category, category);
	for (size_t i = 0; whole && i < view->payload.len; i++)
		whole = (unsigned char)view->payload.ptr[i] == (mixed(id, version) & 0xff);
	return whole ? version : 0;
}

static int replace_each(void *arg)
{
	(void)arg;
	enum { COUNT = 1200 }; // three pages of replacements
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++) {
		open_heap(&(struct tare_gc_options){.check = true, .min_bytes = 64 << 10});
		struct tare_records *records = laid_out(COUNT, layouts[i], true, true);
		struct tare_index *index = built(COUNT);
		for (uint64_t key = 0; key < COUNT; key += 3)
			CHECK(put_version(records, key, 1 + key % 5) == 0);
		for (uint64_t key = 0; key < COUNT; key += 6)
			CHECK(put_version(records, key, 9) == 0);
		tare_gc_collect();
		for (uint64_t key = 0; key < COUNT; key++) {
			struct tare_record_view view;
			CHECK(tare_records_find(records, key, &view));
			if (key % 3 != 0)
				CHECK(same(&view, index, tare_index_find(index, key)));
			else
				CHECK(version_of(&view, key) == (key % 6 == 0 ? 9 : 1 + key % 5));
		}
		struct tare_records_stats stats;
		tare_records_stats_get(records, &stats);
		CHECK(stats.replaced == COUNT / 3 + COUNT / 6);
		tare_index_free(index);
		tare_gc_close();
		tare_records_free(records);
	}
	return 0;
}

TEST(what_is_replaced_is_found_and_nothing_else_changed)
{
	run_in_task(2, replace_each);
	run_in_task(1, refuse);
}

enum { KEYS = 24, READERS = 4, HELD = 12 };

static struct {
	struct tare_records *records;
	atomic_ullong issued; // the newest version; released before it is put
	atomic_bool over;
} updating;

// Holds what it found for a while, as a handler does whose client is slow: collections begin and end meanwhile.
static int read_versions(void *arg)
{
	struct tare_rng rng;
	struct {
		struct tare_record_view view;
		uint64_t key, version; // 0: nothing
	} held[HELD] = {0};
	uint64_t seen[KEYS] = {0}, finds = 0;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)arg);
	while (!atomic_load(&updating.over) || finds == 0) {
		uint64_t key = tare_rng_below(&rng, KEYS), at = tare_rng_below(&rng, HELD);
		if (held[at].version != 0) // replaced by now, and collected but for this stack
			CHECK(version_of(&held[at].view, held[at].key) == held[at].version);
		CHECK(tare_records_find(updating.records, key, &held[at].view));
		held[at].key = key;
		held[at].version = version_of(&held[at].view, key);
		CHECK(held[at].version >= seen[key] && held[at].version <= atomic_load(&updating.issued));
		CHECK(held[at].version != 0);
		seen[key] = held[at].version;
		tare_yield();
		finds++;
	}
	return 0;
}

static uint64_t live_bytes(void)
{
	struct tare_gc_stats stats;
	tare_gc_collect();
	tare_gc_collect(); // the first counts what workers had ready for new objects
	tare_gc_stats_read(&stats);
	return stats.marked_bytes;
}

static int collect_always(void *arg)
{
	(void)arg;
	while (!atomic_load(&updating.over))
		tare_gc_collect();
	return 0;
}

static void update_under_load(enum tare_layout layout)
{
	struct tare_task *readers[READERS], *collector;
	unsigned rounds = SIMULATED ? 6 : SCALED(2000u);
	open_heap(&(struct tare_gc_options){.check = true, .percent = 50, .min_bytes = 256 << 10});
	updating.records = laid_out(SIMULATED ? 200 : 5000, layout, true, false); // marking takes its time
	atomic_store(&updating.issued, 1);
	atomic_store(&updating.over, false);
	for (uint64_t key = 0; key < KEYS; key++)
		CHECK(put_version(updating.records, key, 1) == 0);
	uint64_t before = live_bytes();
	for (uintptr_t i = 0; i < READERS; i++)
		CHECK(tare_spawn(&readers[i], NULL, read_versions, (void *)(i + 1)) == 0);
	CHECK(tare_spawn(&collector, NULL, collect_always, NULL) == 0);
	for (unsigned round = 0; round < rounds; round++) {
		for (uint64_t key = 0; key < KEYS; key++) {
			uint64_t version = atomic_fetch_add(&updating.issued, 1) + 1;
			CHECK(put_version(updating.records, key, version) == 0);
			if (key % 4 == 0)
				tare_yield();
		}
	}
	atomic_store(&updating.over, true);
	CHECK(tare_join(collector) == 0);
	for (int i = 0; i < READERS; i++)
		CHECK(tare_join(readers[i]) == 0);
	// Flat: what was replaced is gone. A stale word on a stack may hold one or another.
	CHECK(live_bytes() < before + 16 * 1024);
	tare_gc_close();
	tare_records_free(updating.records);
}

static int update_all_layouts(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < TARE_ARRAY_LEN(layouts); i++)
		update_under_load(layouts[i]);
	return 0;
}

TEST(readers_see_whole_records_while_they_are_replaced_and_old_ones_are_collected)
{
	run_in_task(3, update_all_layouts);
}

static int fill_by_updates(void *arg)
{
	(void)arg;
	open_heap(&(struct tare_gc_options){.reserve_bytes = 4 << 20});
	const uint64_t count = SIMULATED ? 100 : 2000; // there spans hold little
	struct tare_records *records = laid_out(count, TARE_LAYOUT_MAP, true, true);
	size_t len = 1 << 20;
	char *payload = calloc(1, len);
	struct tare_record record = {.id = 0};
	struct tare_error err = {""};
	int rc = 0;
	for (; rc == 0 && record.id < 10; record.id++) { // ten records of a mebibyte don't fit
		const struct tare_record_view view = {&record, TARE_STR("c"), {payload, len}};
		rc = tare_records_replace(records, &view, &err);
	}
	CHECK(rc == -ENOMEM && strcmp(err.text, "the collected heap is full") == 0);
	for (uint64_t key = 0; key < count; key++) { // what is there is still served
		struct tare_record_view view;
		CHECK(tare_records_find(records, key, &view));
	}
	record.id = 0;
	const struct tare_record_view small = {&record, TARE_STR("c"), {payload, 10}};
	CHECK(tare_records_replace(records, &small, &err) == 0); // and there is room again
	free(payload);
	tare_gc_close();
	tare_records_free(records);
	return 0;
}

TEST(a_full_heap_refuses_an_update_and_serves_on)
{
	run_in_task(2, fill_by_updates);
}
