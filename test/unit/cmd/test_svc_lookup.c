// SPDX-License-Identifier: MIT
//
// Goal: a lookup's query is read as documented, and both paths make the same, right document of any record.
// Method: queries against expected keys or error texts; base64 against RFC 4648's vectors and a bit-by-bit reference;
// JSON of random records through jansson, byte-equal between the paths, written into storage of exactly the promised
// size so that a sanitizer sees the first byte too many.
#include "test.h"

#include "cmd/svc/svc.h"

#include <tare/mem.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

// ---- the query ----------------------------------------------------------------------------------------------------

static int parse(const char *query, struct svc_query *ret, struct tare_error *err)
{
	return svc_query_parse((struct tare_str){query, strlen(query)}, ret, err);
}

TEST(query_gives_key_and_format)
{
	static const struct {
		const char *query;
		uint64_t key;
		enum svc_format format;
	} cases[] = {
	    {"key=0", 0, SVC_JSON},
	    {"key=42&fmt=json", 42, SVC_JSON},
	    {"fmt=bin&key=7", 7, SVC_BIN},
	    {"key=18446744073709551615", UINT64_MAX, SVC_JSON},
	    {"key=00000000000000000012", 12, SVC_JSON},
	    {"key=5&", 5, SVC_JSON},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct svc_query query;
		struct tare_error err = {""};
		assert_int_equal(parse(cases[i].query, &query, &err), 0);
		assert_int_equal(query.key, cases[i].key);
		assert_int_equal(query.format, cases[i].format);
	}
}

TEST(query_refusals_say_what_and_what_to_do)
{
	static const struct {
		const char *query, *text;
	} cases[] = {
	    {"", "key is missing; ask for /lookup?key=N"},
	    {"fmt=json", "key is missing; ask for /lookup?key=N"},
	    {"key=", "key is empty; give a decimal number, as in key=42"},
	    {"key", "key is empty; give a decimal number, as in key=42"},
	    {"key=4x", "key '4x' is not a decimal number; give digits only, as in key=42"},
	    {"key=-1", "key '-1' is not a decimal number; give digits only, as in key=42"},
	    {"key=+1", "key '+1' is not a decimal number; give digits only, as in key=42"},
	    {"key=%31", "key '%31' is not a decimal number; give digits only, as in key=42"},
	    {"key=18446744073709551616",
	     "key '18446744073709551616' is too large; give a number of at most 18446744073709551615"},
	    {"key=99999999999999999999",
	     "key '99999999999999999999' is too large; give a number of at most 18446744073709551615"},
	    {"key=000000000000000000001",
	     "key '000000000000000000001' is too large; give a number of at most 18446744073709551615"},
	    {"key=00000000000000000000x",
	     "key '00000000000000000000x' is not a decimal number; give digits only, as in key=42"},
	    {"key=99999999999999999999x",
	     "key '99999999999999999999x' is not a decimal number; give digits only, as in key=42"},
	    {"key=1&fmt=xml", "fmt 'xml' is unknown; give fmt=json or fmt=bin"},
	    {"key=1&fmt=", "fmt '' is unknown; give fmt=json or fmt=bin"},
	    {"key=1&fmt=JSON", "fmt 'JSON' is unknown; give fmt=json or fmt=bin"},
	    {"key=1&key=1", "parameter 'key' is given twice; give it once"},
	    {"key=1&fmt=bin&fmt=bin", "parameter 'fmt' is given twice; give it once"},
	    {"key=1&format=bin", "parameter 'format' is unknown; give key=N and, if you like, fmt=json or fmt=bin"},
	    {"&key=1", "parameter '' is unknown; give key=N and, if you like, fmt=json or fmt=bin"},
	    {"key=\x01\xff", "key '\?\?' is not a decimal number; give digits only, as in key=42"},
	    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1",
	     "parameter 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' is unknown; give key=N and, if you like, "
	     "fmt=json or fmt=bin"},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct svc_query query = {.key = 99, .format = SVC_BIN};
		struct tare_error err = {""};
		assert_int_equal(parse(cases[i].query, &query, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].text);
		assert_int_equal(query.key, 99); // outputs are written on success alone
	}
}

// ---- base64 -------------------------------------------------------------------------------------------------------

TEST(base64_gives_the_vectors_of_rfc_4648)
{
	static const char *const cases[][2] = {{"", ""},
					       {"f", "Zg=="},
					       {"fo", "Zm8="},
					       {"foo", "Zm9v"},
					       {"foob", "Zm9vYg=="},
					       {"fooba", "Zm9vYmE="},
					       {"foobar", "Zm9vYmFy"}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		char out[16] = "";
		svc_base64_write(out, cases[i][0], strlen(cases[i][0]));
		assert_string_equal(out, cases[i][1]);
		assert_int_equal(svc_base64_len(strlen(cases[i][0])), strlen(cases[i][1]));
	}
}

// One digit at a time, six bits at a time.
static void base64_reference(char *out, const unsigned char *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t at = 0; at < svc_base64_len(len); at++) {
		unsigned value = 0;
		for (size_t bit = at * 6; bit < at * 6 + 6; bit++) {
			unsigned set = bit / 8 < len ? (unsigned)data[bit / 8] >> (7 - bit % 8) & 1u : 0;
			value = value << 1 | set;
		}
		out[at] = at * 6 >= len * 8 ? '=' : digits[value];
	}
}

TEST(base64_agrees_with_a_reference_at_every_length)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 7);
	for (size_t len = 0; len <= 300; len++) {
		unsigned char *data = malloc(len + 1);
		char *out = malloc(svc_base64_len(len) + 1), *want = malloc(svc_base64_len(len) + 1);
		assert_true(data != NULL && out != NULL && want != NULL);
		// Exactly len bytes are readable for a sanitizer.
		unsigned char *end = realloc(data, len > 0 ? len : 1);
		assert_non_null(end);
		for (size_t i = 0; i < len; i++)
			end[i] = (unsigned char)tare_rng_next(&rng);
		svc_base64_write(out, end, len);
		base64_reference(want, end, len);
		assert_memory_equal(out, want, svc_base64_len(len));
		free(end);
		free(out);
		free(want);
	}
}

// ---- documents ----------------------------------------------------------------------------------------------------

static uint64_t any_number(struct tare_rng *rng, uint64_t max)
{
	static const uint64_t corners[] = {0, 1, 9, 10, 99, 100, UINT32_MAX, INT64_MAX - 1, INT64_MAX, UINT64_MAX};
	uint64_t v = tare_rng_below(rng, 3) == 0 ? corners[tare_rng_below(rng, TARE_ARRAY_LEN(corners))]
						 : tare_rng_next(rng) >> tare_rng_below(rng, 64);
	return TARE_MIN(v, max);
}

static struct tare_record any_record(struct tare_rng *rng, uint64_t max)
{
	return (struct tare_record){
	    .id = any_number(rng, max),
	    .bid_micros = (int64_t)any_number(rng, UINT64_MAX),
	    .budget_micros = -(int64_t)any_number(rng, INT64_MAX),
	    .spend_micros = (int64_t)any_number(rng, UINT64_MAX),
	    .impressions = any_number(rng, max),
	    .clicks = any_number(rng, max),
	    .hot = tare_rng_below(rng, 2) != 0,
	    .active = tare_rng_below(rng, 2) != 0,
	};
}

// A heap copy of exactly len bytes, so that reading past it is seen.
static char *exact(const char *bytes, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

static void check_json(const char *json, size_t len, const struct tare_record_view *view)
{
	static const char *const names[] = {"id",     "bid_micros", "budget_micros", "spend_micros", "impressions",
					    "clicks", "hot",        "active",        "category",     "payload"};
	json_error_t error;
	json_t *tree = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (tree == NULL)
		fail_msg("%s at %d of %.*s", error.text, error.position, (int)len, json);
	assert_int_equal(json_object_size(tree), TARE_ARRAY_LEN(names));
	size_t at = 0;
	const char *name;
	json_t *value;
	json_object_foreach(tree, name, value) assert_string_equal(name, names[at++]);
	const struct tare_record *r = view->record;
	const int64_t numbers[] = {(int64_t)r->id,  r->bid_micros,           r->budget_micros,
				   r->spend_micros, (int64_t)r->impressions, (int64_t)r->clicks};
	for (size_t i = 0; i < TARE_ARRAY_LEN(numbers); i++)
		assert_true(json_integer_value(json_object_get(tree, names[i])) == numbers[i]);
	assert_int_equal(json_is_true(json_object_get(tree, "hot")), r->hot);
	assert_int_equal(json_is_true(json_object_get(tree, "active")), r->active);
	value = json_object_get(tree, "category");
	assert_int_equal(json_string_length(value), view->category.len);
	assert_memory_equal(json_string_value(value), view->category.ptr, view->category.len);
	value = json_object_get(tree, "payload");
	char want[1024];
	base64_reference(want, (const unsigned char *)view->payload.ptr, view->payload.len);
	assert_int_equal(json_string_length(value), svc_base64_len(view->payload.len));
	assert_memory_equal(json_string_value(value), want, svc_base64_len(view->payload.len));
	json_decref(tree);
}

// An answer's buffer that grows; text is free's.
struct answer {
	char *text;
	size_t len;
};

static char *answer_reserve(void *arg, size_t bytes)
{
	struct answer *answer = arg;
	answer->text = malloc(bytes);
	return answer->text;
}

static void answer_commit(void *arg, size_t bytes)
{
	((struct answer *)arg)->len = bytes;
}

static int naive(int (*write)(unsigned, const struct tare_record_view *, const struct svc_sink *),
		 const struct tare_record_view *view, struct answer *ret)
{
	*ret = (struct answer){NULL, 0};
	return write(0, view, &(struct svc_sink){answer_reserve, answer_commit, ret});
}

// Both paths' documents of the view: right, and the same bytes.
static void check_paths(const struct tare_record_view *view)
{
	size_t bytes_max = svc_json_bytes_max(view);
	char *opt = malloc(bytes_max);
	assert_non_null(opt);
	size_t len = svc_json_write(opt, view);
	assert_true(len <= bytes_max);
	check_json(opt, len, view);
	struct answer answer;
	assert_int_equal(naive(svc_naive_json, view, &answer), 0);
	assert_int_equal(answer.len, len);
	assert_memory_equal(answer.text, opt, len);
	free(answer.text);
	free(opt);
}

static const char *const categories[] = {
    "category-0001",
    "a",
    "exactly8",
    "\"",
    "\\",
    "a \"quoted\" category with a \\ and a / in it",
    "line\nbreak\ttab\rreturn\bback\fform",
    "\x01\x02\x03\x0f\x1b\x1f end",
    "\x7f del stands as it is",
    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 is UTF-8 and stands as it is",
    "eight__\"nine",
    "0123456789012345678901234567890123456789012345678901234567890123",
    "",
};

TEST(json_of_both_paths_is_the_same_and_right)
{
	svc_naive_setup();
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (unsigned round = 0; round < 2000; round++) {
		struct tare_record record = any_record(&rng, INT64_MAX);
		const char *text = categories[round % TARE_ARRAY_LEN(categories)];
		char bytes[300];
		size_t payload_len = round < TARE_ARRAY_LEN(categories) ? 0 : tare_rng_below(&rng, sizeof bytes);
		for (size_t i = 0; i < payload_len; i++)
			bytes[i] = (char)tare_rng_next(&rng);
		char *category = exact(text, strlen(text)), *payload = exact(bytes, payload_len);
		struct tare_record_view view = {&record, {category, strlen(text)}, {payload, payload_len}};
		check_paths(&view);
		free(category);
		free(payload);
	}
}

// Each byte of a category alone and among others: every position of the eight-byte step sees every escape.
TEST(json_escapes_every_ascii_byte_at_every_position)
{
	svc_naive_setup();
	struct tare_record record = {.id = 1};
	for (unsigned c = 1; c < 0x80; c++) {
		for (size_t at = 0; at < 17; at++) {
			char category[17];
			memset(category, 'x', sizeof category);
			category[at] = (char)c;
			struct tare_record_view view = {&record, {category, sizeof category}, {"", 0}};
			check_paths(&view);
		}
	}
}

TEST(json_holds_the_largest_record_within_its_bound)
{
	struct tare_record record = {.id = UINT64_MAX,
				     .bid_micros = INT64_MIN,
				     .budget_micros = INT64_MIN,
				     .spend_micros = INT64_MIN,
				     .impressions = UINT64_MAX,
				     .clicks = UINT64_MAX};
	char category[64];
	memset(category, 1, sizeof category);
	struct tare_record_view view = {&record, {category, sizeof category}, {"", 0}};
	char *out = malloc(svc_json_bytes_max(&view));
	assert_non_null(out);
	size_t len = svc_json_write(out, &view);
	assert_true(len <= svc_json_bytes_max(&view));
	assert_true(len + 2 >= svc_json_bytes_max(&view)); // the bound is no guess
	static const char head[] = "{\"id\":18446744073709551615,\"bid_micros\":-9223372036854775808,";
	assert_memory_equal(out, head, sizeof head - 1);
	free(out);
}

TEST(naive_refuses_what_jansson_cannot_hold)
{
	struct answer answer;
	const struct tare_record records[] = {
	    {.id = (uint64_t)INT64_MAX + 1}, {.impressions = UINT64_MAX}, {.clicks = (uint64_t)INT64_MAX + 1}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(records); i++) {
		struct tare_record_view view = {&records[i], TARE_STR("c"), TARE_STR("")};
		assert_int_equal(naive(svc_naive_json, &view, &answer), -ERANGE);
		assert_null(answer.text);
	}
}

TEST(naive_leaves_nothing_on_the_heap)
{
	svc_naive_setup();
	struct tare_record record = {.id = 3};
	struct tare_record_view view = {&record, TARE_STR("category"), TARE_STR("payload")}, bad = view;
	bad.category = TARE_STR("\xff not UTF-8");
	struct tare_heap_stats before, after;
	tare_heap_stats_read(&before);
	for (int i = 0; i < 10; i++) {
		struct answer answer;
		assert_int_equal(naive(svc_naive_json, &view, &answer), 0);
		free(answer.text);
		assert_int_equal(naive(svc_naive_bin, &view, &answer), 0);
		free(answer.text);
		assert_int_equal(naive(svc_naive_json, &bad, &answer), -ENOMEM);
		assert_null(answer.text);
	}
	tare_heap_stats_read(&after);
	assert_true(after.allocs > before.allocs + 100);
	assert_int_equal(after.allocs - before.allocs, after.frees - before.frees);
}

TEST(bin_has_the_documented_layout)
{
	struct tare_record record = {.id = 0x0102030405060708,
				     .bid_micros = -2,
				     .budget_micros = 3,
				     .spend_micros = -4,
				     .impressions = UINT64_MAX,
				     .clicks = 6,
				     .active = true};
	struct tare_record_view view = {&record, TARE_STR("cat"), TARE_STR("\x00\xff pay")};
	static const unsigned char want[] = {73,   0,    0,    0,    1,    0,    2,    0,    8,    7,    6,    5,
					     4,    3,    2,    1,    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
					     3,    0,    0,    0,    0,    0,    0,    0,    0xfc, 0xff, 0xff, 0xff,
					     0xff, 0xff, 0xff, 0xff, //
					     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6,    0,    0,    0,
					     0,    0,    0,    0,    3,    0,    0,    0,    6,    0,    0,    0, //
					     'c',  'a',  't',  0,    0xff, ' ',  'p',  'a',  'y'};
	assert_int_equal(svc_bin_bytes(&view), sizeof want);
	char out[sizeof want];
	struct answer answer;
	svc_bin_write(out, &view);
	assert_memory_equal(out, want, sizeof want);
	assert_int_equal(naive(svc_naive_bin, &view, &answer), 0);
	assert_int_equal(answer.len, sizeof want);
	assert_memory_equal(answer.text, want, sizeof want);
	free(answer.text);
	record.hot = true;
	record.active = false;
	svc_bin_write(out, &view);
	assert_int_equal(out[6], 1);
}

TEST(bin_without_payload_ends_after_the_category)
{
	struct tare_record record = {.id = 1};
	struct tare_record_view view = {&record, TARE_STR("c"), {NULL, 0}};
	char out[65];
	assert_int_equal(svc_bin_bytes(&view), sizeof out);
	svc_bin_write(out, &view);
	assert_int_equal(out[60], 0);
	assert_int_equal(out[64], 'c');
}
