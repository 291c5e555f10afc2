// SPDX-License-Identifier: MIT
//
// Goal: a document that was sent is read whole or refused with what is wrong with it; the naive path on the collected
// heap makes the documents that the other paths make.
// Method: documents that svc_json_write makes, read back and written again; each mistake once, with its text; records
// at random through all three paths while collections go on, compared byte by byte.
#include "in_task.h"

#include "cmd/svc/svc.h"

#include <tare/gc.h>
#include <tare/heap.h>

#include <stdlib.h>

// ---- base64 -------------------------------------------------------------------------------------------------------

TEST(base64_reads_what_it_writes_and_nothing_else)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 5);
	for (size_t len = 0; len < 200; len++) {
		char data[200], text[300], back[300];
		size_t back_len = 999;
		for (size_t i = 0; i < len; i++)
			data[i] = (char)tare_rng_next(&rng);
		svc_base64_write(text, data, len);
		assert_int_equal(svc_base64_read((struct tare_str){text, svc_base64_len(len)}, back, &back_len), 0);
		assert_int_equal(back_len, len);
		assert_memory_equal(back, data, len);
	}
	static const char *const bad[] = {"A",    "AA",   "AAA",      "=AAA",     "A=AA", "AA=A",
					  "A===", "====", "AAA*",     "AA_A",     "AA-A", "AA A",
					  "QR==", "QUJ=", "AA==AAAA", "QUE=QUE=", "AAA\n"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		char out[16];
		size_t len = 999;
		assert_int_equal(svc_base64_read((struct tare_str){bad[i], strlen(bad[i])}, out, &len), -EINVAL);
		assert_int_equal(len, 999);
	}
}

// ---- documents ----------------------------------------------------------------------------------------------------

static int read_text(struct svc_document *document, uint64_t key, const char *text, struct tare_error *err)
{
	// Of exactly its length, so that a sanitizer sees what reads past it.
	size_t len = strlen(text);
	char *body = malloc(len + (len == 0));
	assert_non_null(body);
	memcpy(body, text, len);
	int rc = svc_document_read(document, key, (struct tare_str){body, len}, err);
	free(body); // what was read stands on its own
	return rc;
}

static const char whole[] =
    "{\"id\":7,\"bid_micros\":-1,\"budget_micros\":2,\"spend_micros\":-3,\"impressions\":4,"
    "\"clicks\":5,\"hot\":true,\"active\":false,\"category\":\"arts/deals\",\"payload\":\"QUJD\"}";

TEST(a_document_is_read_as_it_was_written)
{
	struct svc_document document;
	struct tare_error err = {""};
	char out[1024];
	svc_naive_setup();
	assert_int_equal(read_text(&document, 7, whole, &err), 0);
	const struct tare_record_view view = {document.view.record, document.view.category, document.view.payload};
	size_t len = svc_json_write(out, &view);
	assert_int_equal(len, sizeof whole - 1);
	assert_memory_equal(out, whole, len);
	svc_document_done(&document);
	// Without an id, in another order, with spaces.
	assert_int_equal(
	    read_text(&document, 9,
		      " {\"payload\":\"\", \"category\":\"x\",\n\"active\":true,\"hot\":false,\"clicks\":0,"
		      "\"impressions\":9223372036854775807,\"spend_micros\":0,\"budget_micros\":0,"
		      "\"bid_micros\":-9223372036854775808}",
		      &err),
	    0);
	assert_int_equal(document.record.id, 9);
	assert_int_equal(document.record.impressions, INT64_MAX);
	assert_true(document.record.bid_micros == INT64_MIN);
	assert_int_equal(document.view.payload.len, 0);
	svc_document_done(&document);
}

// `whole` with one part replaced. Static: until the next call.
static const char *changed(const char *part, const char *by)
{
	static char text[1024];
	const char *at = strstr(whole, part);
	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, by, at + strlen(part));
	return text;
}

TEST(a_document_with_a_mistake_is_refused_with_what_it_is)
{
	static const struct {
		const char *part, *by, *text;
	} cases[] = {
	    {whole, "", "the body is empty; send the record as /lookup gives it"},
	    {whole, "7", "the body is not JSON: "},
	    {whole, "[]", "the body should be a JSON object with a record's fields"},
	    {whole, "{", "the body is not JSON: "},
	    {"{\"id\":7", "\"id\":7", "the body is not JSON: "},
	    {"\"hot\":true", "\"hot\":{}", "a record's fields are numbers, booleans and strings, nothing nested"},
	    {"\"hot\":true", "\"hot\":[[]]", "a record's fields are numbers, booleans and strings, nothing nested"},
	    {"\"clicks\":5", "\"clicks\":5,\"clicks\":6", "the body is not JSON: "},
	    {"\"id\":7", "\"id\":8", "field 'id' is 8, but the key is 7"},
	    {"\"id\":7", "\"id\":-7", "field 'id' should not be negative"},
	    {"\"id\":7", "\"id\":\"7\"", "field 'id' should be a whole number"},
	    {"\"bid_micros\":-1", "\"bid_micros\":1.5", "field 'bid_micros' should be a whole number"},
	    {"\"bid_micros\":-1,", "", "field 'bid_micros' is missing; a record is replaced as a whole"},
	    {",\"payload\":\"QUJD\"", "", "field 'payload' is missing; a record is replaced as a whole"},
	    {"\"budget_micros\":2", "\"budget\":2", "field 'budget' is unknown"},
	    {"\"spend_micros\":-3", "\"spend_micros\":null", "field 'spend_micros' should be a whole number"},
	    {"\"impressions\":4", "\"impressions\":-4", "field 'impressions' should not be negative"},
	    {"\"clicks\":5", "\"clicks\":true", "field 'clicks' should be a whole number"},
	    {"\"hot\":true", "\"hot\":1", "field 'hot' should be true or false"},
	    {"\"active\":false", "\"active\":\"false\"", "field 'active' should be true or false"},
	    {"\"arts/deals\"", "5", "field 'category' should be a string"},
	    {"\"QUJD\"", "5", "field 'payload' should be a string in base64"},
	    {"\"QUJD\"", "\"QUJ\"", "field 'payload' is not base64 (the standard alphabet, padded with '=')"},
	    {"\"clicks\":5", "\"clicks\":9223372036854775808", "the body is not JSON: "},
	};
	struct tare_heap_stats before, after;
	svc_naive_setup();
	tare_heap_stats_read(&before);
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct svc_document document;
		struct tare_error err = {""};
		assert_int_equal(read_text(&document, 7, changed(cases[i].part, cases[i].by), &err), -EINVAL);
		assert_ptr_equal(strstr(err.text, cases[i].text), err.text); // the parser's own words follow
	}
	tare_heap_stats_read(&after);
	assert_int_equal(after.bytes_live, before.bytes_live);
}

TEST(a_document_that_nests_deeply_is_refused_before_it_is_parsed)
{
	enum { DEPTH = 200000 };
	struct svc_document document;
	struct tare_error err = {""};
	char *deep = malloc(DEPTH + 1);
	assert_non_null(deep);
	memset(deep, '[', DEPTH);
	deep[DEPTH] = '\0';
	assert_int_equal(read_text(&document, 7, deep, &err), -EINVAL);
	assert_string_equal(err.text, "a record's fields are numbers, booleans and strings, nothing nested");
	free(deep);
	// Brackets in texts don't nest.
	svc_naive_setup();
	assert_int_equal(read_text(&document, 7, changed("arts/deals", "[[{\\\"{"), &err), 0);
	svc_document_done(&document);
}

// ---- the naive path on the collected heap -------------------------------------------------------------------------

// An answer's buffer of malloc's.
struct answer {
	char *text;
	size_t len;
};

static char *answer_reserve(void *arg, size_t bytes)
{
	struct answer *answer = arg;
	tare_yield(); // to a collection, perhaps: what is to be written is held by this task alone
	answer->text = malloc(bytes);
	return answer->text;
}

static void answer_commit(void *arg, size_t bytes)
{
	((struct answer *)arg)->len = bytes;
}

static bool same(struct answer *answer, const char *want, size_t len)
{
	bool is = answer->len == len && memcmp(answer->text, want, len) == 0;
	free(answer->text);
	*answer = (struct answer){NULL, 0};
	return is;
}

static bool paths_agree(const struct tare_record_view *view, unsigned fixes)
{
	struct answer answer = {NULL, 0};
	const struct svc_sink sink = {answer_reserve, answer_commit, &answer};
	char *out = malloc(svc_json_bytes_max(view)), *bin = malloc(svc_bin_bytes(view));
	size_t len = svc_json_write(out, view);
	svc_bin_write(bin, view);
	CHECK(svc_gc_json(fixes, view, &sink) == 0);
	bool agree = same(&answer, out, len);
	CHECK(svc_gc_bin(fixes, view, &sink) == 0);
	agree = same(&answer, bin, svc_bin_bytes(view)) && agree;
	free(out);
	free(bin);
	return agree;
}

static int make_documents(void *arg)
{
	static const char *const categories[] = {"arts/deals", "", "a \"quoted\" one\n with \\ and \x01", "caf\xc3\xa9",
						 "0123456789012345678901234567890123456789\"123456789012345678901\n3"};
	struct tare_rng rng;
	tare_rng_init(&rng, (uint64_t)(uintptr_t)arg);
	unsigned wrong = 0, rounds = SCALED(3000u);
	for (unsigned round = 0; round < rounds; round++) {
		char payload[300];
		size_t len = tare_rng_below(&rng, sizeof payload);
		for (size_t i = 0; i < len; i++)
			payload[i] = (char)tare_rng_next(&rng);
		const char *category = categories[round % TARE_ARRAY_LEN(categories)];
		struct tare_record record = {
		    .id = tare_rng_next(&rng) >> tare_rng_below(&rng, 64),
		    .bid_micros = -(int64_t)(tare_rng_next(&rng) >> 1),
		    .budget_micros = INT64_MIN,
		    .impressions = UINT64_MAX,
		    .hot = round % 2 == 0,
		};
		struct tare_record_view view = {&record, {category, strlen(category)}, {payload, len}};
		wrong += !paths_agree(&view, round % (SVC_FIX_ALL + 1));
	}
	CHECK(wrong == 0);
	return 0;
}

static int make_documents_on_all(void *arg)
{
	(void)arg;
	enum { TASKS = 4 };
	struct tare_task *tasks[TASKS];
	struct tare_gc_stats stats;
	struct tare_error err = {""};
	CHECK(tare_gc_open(&(struct tare_gc_options){.check = true, .percent = 50, .min_bytes = 256 << 10}, &err) == 0);
	for (uintptr_t i = 0; i < TASKS; i++)
		CHECK(tare_spawn(&tasks[i], NULL, make_documents, (void *)(i + 1)) == 0);
	for (int i = 0; i < TASKS; i++)
		CHECK(tare_join(tasks[i]) == 0);
	tare_gc_collect();
	tare_gc_collect();
	tare_gc_stats_read(&stats);
	CHECK(stats.cycles > 2);
	CHECK(stats.marked_bytes < 16 * 1024); // all of it was garbage
	tare_gc_close();
	return 0;
}

TEST(naive_documents_of_the_collected_heap_are_the_other_paths)
{
	run_in_task(3, make_documents_on_all);
}

static int make_documents_without_room(void *arg)
{
	(void)arg;
	struct tare_error err = {""};
	const struct tare_record record = {.id = 1};
	char *payload = calloc(1, 1 << 20);
	const struct tare_record_view view = {&record, TARE_STR("c"), {payload, 1 << 20}};
	struct answer answer = {NULL, 0};
	const struct svc_sink sink = {answer_reserve, answer_commit, &answer};
	CHECK(tare_gc_open(&(struct tare_gc_options){.reserve_bytes = 1 << 20}, &err) == 0);
	CHECK(svc_gc_json(0, &view, &sink) == -ENOMEM && answer.text == NULL);
	CHECK(svc_gc_bin(0, &view, &sink) == -ENOMEM && answer.text == NULL);
	const struct tare_record_view small = {&record, TARE_STR("c"), {payload, 100}};
	CHECK(paths_agree(&small, 0)); // nothing was left behind
	tare_gc_close();
	free(payload);
	return 0;
}

TEST(a_full_collected_heap_is_an_ordinary_error)
{
	run_in_task(1, make_documents_without_room);
}
