// SPDX-License-Identifier: MIT
//
// Goal: whatever is mended of the naive path, it gives the optimised path's bytes; each thing that is mended makes it
// call the heap less, and with all of them it calls it as often as the other path: never.
// Method: every combination of fixes, on both heaps and in both formats, over records with every kind of text, into
// storage of exactly the room that was asked for; the heaps' counters before and after.
#include "in_task.h"

#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>

#include <stdlib.h>

static const char controls[] = "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
			       "\x01\x01\x01\x01\x01\x01\x01\x01\x01";
static const char *const categories[] = {"category-0001", "", "a \"quoted\" one\n with \\ and \x01", "caf\xc3\xa9",
					 controls};

enum { RECORDS = 40, BIN_MAX = 1024, FIXES = SVC_FIX_ALL + 1 };

struct sample {
	struct tare_record record;
	struct tare_record_view view;
	char payload[300], json[2048], bin[BIN_MAX];
	size_t json_len, bin_len;
};
static struct sample samples[RECORDS];

static void make_samples(void)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 11);
	for (unsigned i = 0; i < RECORDS; i++) {
		struct sample *s = &samples[i];
		const char *category = categories[i % TARE_ARRAY_LEN(categories)];
		size_t len = i < 4 ? i : tare_rng_below(&rng, sizeof s->payload);
		for (size_t k = 0; k < len; k++)
			s->payload[k] = (char)tare_rng_next(&rng);
		s->record = (struct tare_record){.id = tare_rng_next(&rng) >> 1,
						 .bid_micros = -(int64_t)(tare_rng_next(&rng) >> 1),
						 .budget_micros = INT64_MIN,
						 .spend_micros = (int64_t)i,
						 .impressions = INT64_MAX,
						 .clicks = tare_rng_next(&rng) >> 30,
						 .hot = i % 2 == 0,
						 .active = i % 3 == 0};
		s->view = (struct tare_record_view){&s->record, {category, strlen(category)}, {s->payload, len}};
		s->json_len = svc_json_write(s->json, &s->view);
		svc_bin_write(s->bin, &s->view);
		s->bin_len = svc_bin_bytes(&s->view);
	}
}

// A buffer of exactly what was asked for; libc's, which the counters leave out.
struct answer {
	char *text;
	size_t len, room;
	bool full; // there is no room
};

static char *answer_reserve(void *arg, size_t bytes)
{
	struct answer *answer = arg;
	answer->room = bytes;
	answer->text = answer->full ? NULL : malloc(bytes);
	return answer->text;
}

static void answer_commit(void *arg, size_t bytes)
{
	((struct answer *)arg)->len = bytes;
}

static bool gives(int (*write)(unsigned, const struct tare_record_view *, const struct svc_sink *), unsigned fixes,
		  const struct tare_record_view *view, const char *want, size_t want_len)
{
	struct answer answer = {NULL, 0, 0, false};
	int rc = write(fixes, view, &(struct svc_sink){answer_reserve, answer_commit, &answer});
	bool right =
	    rc == 0 && answer.len == want_len && answer.len <= answer.room && memcmp(answer.text, want, want_len) == 0;
	free(answer.text);
	return right;
}

static unsigned wrong_documents(unsigned fixes, bool collected)
{
	unsigned wrong = 0;
	for (unsigned i = 0; i < RECORDS; i++) {
		const struct sample *s = &samples[i];
		wrong += !gives(collected ? svc_gc_json : svc_naive_json, fixes, &s->view, s->json, s->json_len);
		wrong += !gives(collected ? svc_gc_bin : svc_naive_bin, fixes, &s->view, s->bin, s->bin_len);
	}
	return wrong;
}

TEST(every_combination_of_fixes_gives_the_same_bytes)
{
	svc_naive_setup();
	make_samples();
	for (unsigned fixes = 0; fixes < FIXES; fixes++)
		assert_int_equal(wrong_documents(fixes, false), 0);
}

static int collected_documents(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .min_bytes = 256 << 10}, &err) == 0);
	for (unsigned fixes = 0; fixes < FIXES; fixes++)
		CHECK(wrong_documents(fixes, true) == 0);
	tare_gc_close();
	return 0;
}

TEST(every_combination_of_fixes_gives_the_same_bytes_on_the_collected_heap)
{
	make_samples();
	run_in_task(2, collected_documents);
}

// ---- what is allocated --------------------------------------------------------------------------------------------

static uint64_t heap_calls(void)
{
	struct tare_heap_stats stats;
	tare_heap_stats_read(&stats);
	return stats.allocs;
}

// Heap calls of one request, the access line too; everything is freed again.
static uint64_t calls_of(unsigned fixes, const struct sample *s, enum svc_format format)
{
	uint64_t before = heap_calls();
	if (format == SVC_JSON)
		assert_true(gives(svc_naive_json, fixes, &s->view, s->json, s->json_len));
	else
		assert_true(gives(svc_naive_bin, fixes, &s->view, s->bin, s->bin_len));
	svc_access_note(fixes, false, &(struct svc_access){5, {1, format}, 200, s->json_len});
	return heap_calls() - before;
}

TEST(each_fix_saves_heap_calls_and_all_of_them_leave_none)
{
	svc_naive_setup();
	make_samples();
	const struct sample *s = &samples[5];
	// Of JSON: record, category, payload; the payload's text; some twenty of jansson's; the document; the line.
	uint64_t none = calls_of(0, s, SVC_JSON);
	assert_int_equal(none - calls_of(SVC_FIX_COPY, s, SVC_JSON), 3);
	assert_true(none - calls_of(SVC_FIX_BASE64, s, SVC_JSON) >= 1); // and the tree's copy of it
	assert_true(none - calls_of(SVC_FIX_TREE, s, SVC_JSON) > 15);
	assert_int_equal(none - calls_of(SVC_FIX_TEXT, s, SVC_JSON), 1);
	assert_int_equal(none - calls_of(SVC_FIX_LOG, s, SVC_JSON), 1);
	assert_int_equal(calls_of(0, s, SVC_BIN), 5);
	assert_int_equal(calls_of(SVC_FIX_COPY | SVC_FIX_TEXT, s, SVC_BIN), 1);
	for (unsigned i = 0; i < RECORDS; i++) {
		assert_int_equal(calls_of(SVC_FIX_ALL, &samples[i], SVC_JSON), 0);
		assert_int_equal(calls_of(SVC_FIX_ALL, &samples[i], SVC_BIN), 0);
	}
	// What is mended never adds to what it costs beside another.
	for (unsigned fixes = 0; fixes < FIXES; fixes++)
		for (unsigned fix = 1; fix < FIXES; fix *= 2)
			assert_true(calls_of(fixes | fix, s, SVC_JSON) <= calls_of(fixes, s, SVC_JSON));
	svc_access_done();
}

TEST(nothing_is_left_on_the_heap_whatever_is_mended)
{
	svc_naive_setup();
	make_samples();
	struct answer full = {.full = true};
	const struct svc_sink sink = {answer_reserve, answer_commit, &full};
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (unsigned fixes = 0; fixes < FIXES; fixes++) {
		assert_int_equal(wrong_documents(fixes, false), 0);
		for (int i = 0; i < 300; i++) // past the ring's end
			svc_access_note(fixes, false, &(struct svc_access){.status = 200});
		assert_int_equal(svc_naive_json(fixes, &samples[1].view, &sink), -ENOBUFS);
		assert_int_equal(svc_naive_bin(fixes, &samples[1].view, &sink), -ENOBUFS);
	}
	svc_access_done();
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live, before.bytes_live);
	assert_int_equal(full.len, 0);
}

static uint64_t objects_made(unsigned fixes)
{
	struct tare_gc_stats before, after;
	tare_gc_stats_read(&before);
	for (int i = 0; i < 2000; i++) {
		CHECK(gives(svc_gc_json, fixes, &samples[5].view, samples[5].json, samples[5].json_len));
		svc_access_note(fixes, true, &(struct svc_access){.status = 200});
	}
	tare_gc_stats_read(&after);
	return after.objects_made - before.objects_made;
}

static int collected_counts(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	CHECK(tare_gc_open(&(struct tare_gc_options){.min_bytes = 16 << 20}, &err) == 0);
	svc_access_open();
	(void)objects_made(0); // counted ahead, up to 8 KiB a type
	uint64_t none = objects_made(0);
	CHECK(none > 2000 * 25);
	for (unsigned fix = 1; fix < FIXES; fix *= 2)
		CHECK(objects_made(fix) < none - 1500);
	tare_gc_collect(); // what it needs of the other heap is its own
	uint64_t heap = heap_calls();
	CHECK(objects_made(SVC_FIX_ALL) == 0);
	CHECK(heap_calls() == heap);
	tare_gc_close();
	svc_access_done();
	return 0;
}

TEST(all_fixes_leave_the_collected_heap_alone)
{
	make_samples();
	run_in_task(1, collected_counts);
}

// ---- the access line ----------------------------------------------------------------------------------------------

static void expect_lines(bool collected)
{
	static const struct {
		struct svc_access access;
		const char *line;
	} cases[] = {
	    {{0, {0, SVC_JSON}, 200, 0}, "0.000000 GET /lookup key=0 fmt=json 200 0"},
	    {{1234567890123456789, {42, SVC_BIN}, 503, 318}, "1234567890.123456 GET /lookup key=42 fmt=bin 503 318"},
	    {{999999999, {UINT64_MAX, SVC_JSON}, 500, SIZE_MAX},
	     "0.999999 GET /lookup key=18446744073709551615 fmt=json 500 18446744073709551615"},
	    {{INT64_MAX, {7, SVC_JSON}, 200, 1}, "9223372036.854775 GET /lookup key=7 fmt=json 200 1"},
	};
	for (unsigned fixes = 0; fixes < FIXES; fixes += SVC_FIX_LOG) {
		for (unsigned i = 0; i < 300; i++) {
			char line[SVC_ACCESS_BYTES + 1];
			svc_access_note(fixes, collected, &cases[i % TARE_ARRAY_LEN(cases)].access);
			size_t len = svc_access_last(fixes, collected, line);
			line[len] = '\0';
			CHECK(strcmp(line, cases[i % TARE_ARRAY_LEN(cases)].line) == 0);
		}
	}
}

static int lines_in_task(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	char line[SVC_ACCESS_BYTES];
	CHECK(tare_gc_open(&(struct tare_gc_options){.min_bytes = 1 << 20}, &err) == 0);
	svc_access_open();
	expect_lines(false);
	expect_lines(true);
	tare_gc_collect();
	CHECK(svc_access_last(0, true, line) > 0); // the ring holds it
	tare_gc_close();
	svc_access_done();
	CHECK(svc_access_last(0, true, line) == 0 && svc_access_last(0, false, line) == 0);
	return 0;
}

TEST(access_lines_are_the_same_mended_or_not)
{
	run_in_task(1, lines_in_task);
}

static int note_many(void *arg)
{
	bool collected = arg != NULL;
	for (unsigned i = 0; i < SCALED(20000u); i++) {
		svc_access_note(i % 2 == 0 ? 0 : SVC_FIX_LOG, collected,
				&(struct svc_access){i, {i, SVC_JSON}, 200, i});
		if (i % 16 == 0)
			tare_yield();
	}
	return 0;
}

static int note_on_all(void *arg)
{
	(void)arg;
	enum { TASKS = 6 };
	struct tare_task *tasks[TASKS];
	struct tare_error err = {""};
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .min_bytes = 256 << 10}, &err) == 0);
	svc_access_open();
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, note_many, i % 2 == 0 ? &err : NULL) == 0);
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_gc_close();
	svc_access_done();
	return 0;
}

// A sanitizer sees two that share a line.
TEST(many_tasks_note_at_once)
{
	run_in_task(3, note_on_all);
}
