// SPDX-License-Identifier: MIT
// Goal: a message is read as it was written, and bytes that are no message are refused, wherever they are wrong;
// nothing outside the bytes that were given is read, and what is accepted encodes to the same bytes.
//
// Method: messages with every kind of field, cut at every length and changed in every byte to every value, right before
// a page that can't be read. The generated verifier and the one that goes by tables must always agree.
#include "message.h"

#include "codec/schema/bid_request.tare.h"
#include "schema/shape_3.tare.h"
#include "schema/small.tare.h"
#include "schema/wide.tare.h"
#include "shapes.h"

MESSAGE_TYPE(bid_request);
MESSAGE_TYPE(shape_3);
MESSAGE_TYPE(small);

static const char bid_text[] =
    "{\"id\":\"8f14e45f\",\"at_ms\":1732190400123,\"auction\":\"first_price\",\"floor_micros\":350000,\"impression\":"
    "{\"video\":{\"min_s\":5,\"max_s\":30,\"skippable\":true,\"protocols\":[2,3,0,0,0,0],\"width\":640,\"height\":360}}"
    ","
    "\"site\":{\"domain\":\"example.com\",\"page\":\"https://example.com/?q=\xc3\xa4\",\"secure\":true},"
    "\"device\":{\"kind\":\"phone\",\"ip\":[203,0,113,42],\"user_agent\":\"Mozilla/5.0\",\"geo\":{\"lat\":52.52}},"
    "\"user\":{\"id\":\"b7c0\",\"segments\":[{\"id\":1,\"score\":9000},{\"id\":2}]},\"deals\":[{\"id\":7,\"auction\":"
    "\"fixed\"}],\"campaigns\":[{\"id\":1,\"reason\":\"capped\"},{\"id\":2}],\"blocked_categories\":[7,39]}";

// The longest message that the tests use; its bytes.
static size_t make(const struct message_type *type, const char *text, unsigned char *buf)
{
	ssize_t n = from_json(type, buf, MESSAGE_MAX, text);
	assert_in_range(n, TARE_CODEC_HEAD_BYTES, MESSAGE_MAX);
	return (size_t)n;
}

TEST(a_message_without_anything_that_varies_is_head_and_block)
{
	static const unsigned char want[] = {1,  0, 0, 0, 1, 0, 0, 0, // schema, version, slots
					     21, 0, 0, 0, 5, 0, 0, 0, // total, block
					     4,  3, 2, 1, 1};         // number, on
	struct small in = {.number = 0x01020304, .on = true};
	unsigned char buf[sizeof want];
	assert_int_equal(small_encoded_bytes(&in), sizeof want);
	assert_int_equal(small_encode(&in, buf, sizeof buf, NULL), sizeof want);
	assert_memory_equal(buf, want, sizeof want);
	struct small_view view;
	assert_int_equal(small_verify(&view, buf, sizeof buf, NULL), 0);
	assert_int_equal(small_number(&view), 0x01020304);
	assert_true(small_on(&view));
	check_truncations(&small_type, want, sizeof want);
	check_changes(&small_type, want, sizeof want);
}

TEST(every_kind_of_field_is_read_as_it_was_written)
{
	static unsigned char buf[MESSAGE_MAX];
	struct shape_3_view view;
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	assert_int_equal(shape_3_verify(&view, buf, len, NULL), 0);
	assert_int_equal(shape_3_a_u8(&view), 1);
	assert_int_equal(shape_3_a_i64(&view), -4);
	assert_true(shape_3_a_f32(&view) == 0.25F && shape_3_a_f64(&view) == 0.1);
	assert_false(shape_3_yes(&view));
	assert_string_equal(shape_3_colour_name(shape_3_colour(&view)), "blue");
	assert_int_equal(shape_3_bytes8(&view)[7], 255);
	assert_int_equal(shape_3_numbers(&view)[2], 32767);
	assert_true(tare_str_eq(shape_3_title(&view), TARE_STR("T\xc3\xa4re \xf0\x9f\x98\x80 \"q\\\n")));
	assert_true(tare_str_eq(shape_3_raw(&view), ((struct tare_str){"\0\1\2\3\4", 5})));
	const struct shape_3_pair *pair = shape_3_pair(&view);
	assert_int_equal(pair->to.x, 2);
	assert_true(pair->weights[1] == 1e-30F && pair->flags[2] && pair->colours[0] == SHAPE_3_COLOUR_GREEN);
	assert_true(tare_str_eq(shape_3_outer_label_text(&view), TARE_STR("in it")));
	assert_int_equal(shape_3_outer_label_points(&view).at[1].x, 6);
	assert_int_equal(shape_3_outer_label_at(&view)->x, 7);
	assert_int_equal(shape_3_outer_label_thing_kind(&view), SHAPE_3_THING_PLAIN);
	assert_int_equal(shape_3_outer_label_thing_plain(&view)->a, 513);
	assert_null(shape_3_outer_label_thing_point(&view));
	assert_int_equal(shape_3_outer_depth(&view), 4);
	assert_int_equal(shape_3_pairs(&view).count, 2);
	assert_true(shape_3_plains(&view).at[0].b == UINT64_MAX);
	assert_int_equal(shape_3_words(&view).at[1], 65535);
	assert_true(shape_3_reals(&view).at[2] == 2e-300);
	assert_int_equal(shape_3_colours(&view).at[1], SHAPE_3_COLOUR_BLUE);
	assert_true(shape_3_switches(&view).at[0]);
	assert_int_equal(shape_3_other_large(&view)->from.x, 1);
	assert_int_equal(shape_3_tail(&view), 1);
}

TEST(what_is_not_said_has_its_default)
{
	static unsigned char buf[MESSAGE_MAX], again[MESSAGE_MAX];
	size_t len = make(&shape_3_type, "{}", buf);
	struct shape_3 in;
	shape_3_init(&in);
	assert_int_equal(shape_3_encode(&in, again, sizeof again, NULL), len);
	assert_memory_equal(buf, again, len);
	struct shape_3_view view;
	assert_int_equal(shape_3_verify(&view, buf, len, NULL), 0);
	assert_int_equal(shape_3_a_u32(&view), 4000000000);
	assert_true(shape_3_a_i64(&view) == INT64_MIN && shape_3_a_u64(&view) == UINT64_MAX);
	assert_true(shape_3_a_f32(&view) == 0.1F && shape_3_a_f64(&view) == -1.5e300);
	assert_int_equal(shape_3_pair(&view)->from.x, -7);
	assert_int_equal(shape_3_outer_label_at(&view)->colour, SHAPE_3_COLOUR_BLUE);
	assert_int_equal(shape_3_outer_depth(&view), 3);
	assert_int_equal(shape_3_thing_kind(&view), SHAPE_3_THING_NONE);
	assert_int_equal(shape_3_last(&view).len, 0);
	len = make(&shape_3_type, "{\"pairs\":[{}]}", buf);
	assert_int_equal(shape_3_verify(&view, buf, len, NULL), 0);
	assert_int_equal(shape_3_pairs(&view).at[0].to.x, -7);
}

TEST(every_truncation_is_refused)
{
	static unsigned char buf[MESSAGE_MAX];
	check_truncations(&bid_request_type, buf, make(&bid_request_type, bid_text, buf));
	check_truncations(&shape_3_type, buf, make(&shape_3_type, shape_texts[2], buf));
	check_truncations(&shape_3_type, buf, make(&shape_3_type, "{}", buf));
}

TEST(every_change_of_a_byte_is_refused_or_read_safely)
{
	static unsigned char buf[MESSAGE_MAX];
	check_changes(&bid_request_type, buf, make(&bid_request_type, bid_text, buf));
	check_changes(&shape_3_type, buf,
		      make(&shape_3_type, "{\"name\":\"n\\u00e4h\",\"pairs\":[{}],\"thing\":{\"point\":{}}}", buf));
}

static uint32_t load(const unsigned char *p)
{
	uint32_t value;
	memcpy(&value, p, sizeof value);
	return value;
}

static void add(unsigned char *p, int difference)
{
	uint32_t value = load(p) + (uint32_t)difference;
	memcpy(p, &value, sizeof value);
}

// A boundary between two payloads, moved so that everything stays contiguous: a text may end elsewhere, but a vector
// holds whole elements and a union its variant.
TEST(payloads_have_sizes_that_their_types_can_have)
{
	static unsigned char buf[MESSAGE_MAX];
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	const size_t slots = TARE_CODEC_HEAD_BYTES + SHAPE_3_BLOCK_BYTES;
	int accepted = 0, refused = 0;
	for (size_t i = 0; i + 1 < SHAPE_3_SLOTS; i++)
		for (int by = -24; by <= 24; by++) {
			unsigned char *at = guarded(buf, len), *slot = at + slots + i * TARE_CODEC_SLOT_BYTES;
			if (by == 0 || (int)load(slot + 4) + by < 0 || (int)load(slot + 12) - by < 0)
				continue;
			add(slot + 4, by);
			add(slot + 8, by);
			add(slot + 12, -by);
			bool good = check_bytes(&shape_3_type, at, len, true);
			accepted += good;
			refused += !good;
		}
	assert_true(accepted > 10 && refused > 100);
	// A vector of pairs that lacks its last byte, which the text behind it has.
	unsigned char *at = guarded(buf, len);
	struct shape_3_view view;
	struct tare_error err = {.text = ""};
	for (size_t i = 0; i + 1 < SHAPE_3_SLOTS; i++) {
		unsigned char *slot = at + slots + i * TARE_CODEC_SLOT_BYTES;
		if (load(slot + 4) != 2 * sizeof(struct shape_3_pair))
			continue;
		add(slot + 4, -1);
		add(slot + 8, -1);
		add(slot + 12, 1);
		assert_int_equal(shape_3_verify(&view, at, len, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "pairs of 57 bytes is no multiple of 29"));
		return;
	}
	fail();
}

TEST(slots_that_overlap_or_leave_gaps_are_refused)
{
	static unsigned char buf[MESSAGE_MAX];
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	const size_t slots = TARE_CODEC_HEAD_BYTES + SHAPE_3_BLOCK_BYTES;
	for (size_t i = 0; i < SHAPE_3_SLOTS; i++)
		for (int by = -3; by <= 3; by++) {
			if (by == 0)
				continue;
			unsigned char *at = guarded(buf, len), *slot = at + slots + i * TARE_CODEC_SLOT_BYTES;
			add(slot, by); // begins elsewhere
			assert_false(check_bytes(&shape_3_type, at, len, false));
			add(slot + 4, -by); // and ends where it did
			assert_false(check_bytes(&shape_3_type, at, len, false));
		}
}

// A total has 32 bits: what is 4 GiB longer than it says is no message, however its slots add up.
TEST(a_message_of_more_than_4_gib_is_refused)
{
	const size_t total = 100, len = (UINT64_C(1) << 32) + total, first = WIDE_FIXED_BYTES, half = UINT64_C(1) << 31;
	unsigned char *buf =
	    mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(buf, MAP_FAILED);
	struct wide in = {.number = 1};
	struct wide_view view;
	assert_int_equal(wide_encode(&in, buf, len, NULL), first);
	const uint32_t slots[] = {(uint32_t)first, (uint32_t)half, (uint32_t)(first + half),
				  (uint32_t)(len - first - half)};
	memcpy(buf + first - sizeof slots, slots, sizeof slots);
	memcpy(buf + 8, &(uint32_t){(uint32_t)total}, sizeof(uint32_t));
	struct tare_error err = {.text = ""};
	assert_int_equal(wide_verify(&view, buf, len, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "a total of 100 bytes"));
	munmap(buf, len);
}

TEST(a_message_lies_at_any_address)
{
	static unsigned char buf[MESSAGE_MAX], moved[MESSAGE_MAX + 16];
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	for (size_t shift = 0; shift < 16; shift++) {
		memcpy(moved + shift, buf, len);
		assert_true(check_bytes(&shape_3_type, moved + shift, len, true));
	}
}

TEST(an_encoder_writes_no_byte_past_its_room)
{
	static unsigned char buf[MESSAGE_MAX];
	struct bid_request_view view;
	struct bid_request in;
	struct tare_error err = {.text = ""};
	size_t len = make(&bid_request_type, bid_text, buf);
	assert_int_equal(bid_request_verify(&view, buf, len, NULL), 0);
	bid_request_read(&in, &view);
	for (size_t cap = 0; cap <= len; cap++) {
		unsigned char *at = guard_end() - cap;
		ssize_t n = bid_request_encode(&in, at, cap, &err);
		assert_int_equal(n, cap == len ? (ssize_t)len : -ENOSPC);
		n = tare_codec_json_read(&bid_request_schema, at, cap, bid_text, strlen(bid_text), NULL, &err);
		assert_int_equal(n, cap == len ? (ssize_t)len : -ENOSPC);
	}
	assert_memory_equal(guard_end() - len, buf, len);
}

TEST(an_encoder_refuses_what_a_verifier_would)
{
	static unsigned char buf[MESSAGE_MAX];
	struct bid_request_campaign campaign = {.reason = 7};
	struct tare_error err = {.text = ""};
	struct bid_request in;
	bid_request_init(&in);
	in.auction = 3;
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), -EBADMSG);
	assert_string_equal(err.text, "byte 26: auction is 3; auction goes up to 2");
	bid_request_init(&in);
	in.campaigns = (struct bid_request_campaign_slice){&campaign, 1};
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), -EBADMSG);
	assert_string_equal(err.text, "byte 173: reason is 7; reason goes up to 6");
	bid_request_init(&in);
	in.site.page = TARE_STR("caf\xe9");
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), -EBADMSG);
	assert_string_equal(err.text, "byte 172: page is not UTF-8");
	in.site.page = TARE_STR("caf\xc3\xa9");
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), BID_REQUEST_FIXED_BYTES + 5);
	in.impression.kind = 3;
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), -EMSGSIZE);
	bid_request_init(&in);
	in.campaigns = (struct bid_request_campaign_slice){&campaign, SIZE_MAX / 21 + 2}; // its bytes overflow
	assert_int_equal(bid_request_encode(&in, buf, sizeof buf, &err), -EMSGSIZE);
}

TEST(errors_name_the_byte_and_the_rule)
{
	static unsigned char buf[MESSAGE_MAX];
	struct shape_3_view view;
	struct tare_error err = {.text = ""};
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	static const struct {
		size_t at;
		unsigned char flip;
		const char *text;
	} cases[] = {
	    {0, 1, "byte 0: schema 0x53484151, not 0x53484150 of shape_3"},
	    {4, 3, "byte 4: version 0; versions begin at 1"},
	    {6, 1, "byte 6: "},
	    {8, 1, "byte 8: a total of "},
	    {12, 1, "byte 12: a block of "},
	    {TARE_CODEC_HEAD_BYTES + SHAPE_3_BLOCK_BYTES + 8, 1, "slot 1 begins at "},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		buf[cases[i].at] ^= cases[i].flip;
		assert_int_equal(shape_3_verify(&view, buf, len, &err), -EBADMSG);
		assert_non_null(strstr(err.text, cases[i].text));
		buf[cases[i].at] ^= cases[i].flip;
	}
	assert_int_equal(shape_3_verify(&view, buf, 3, &err), -EBADMSG);
	assert_string_equal(err.text, "byte 3: the message ends within its head of 16 bytes");
	assert_int_equal(shape_3_verify(&view, buf, 3, NULL), -EBADMSG);
}

TEST(a_head_tells_where_a_message_in_a_stream_ends)
{
	static unsigned char buf[MESSAGE_MAX];
	struct tare_codec_head head = {0};
	size_t len = make(&bid_request_type, bid_text, buf);
	assert_int_equal(tare_codec_peek(&head, guarded(buf, 15), 15), -EAGAIN);
	assert_int_equal(tare_codec_peek(&head, guarded(buf, 16), 16), 0);
	assert_int_equal(head.total_bytes, len);
	assert_int_equal(head.schema, BID_REQUEST_ID);
	assert_int_equal(head.version, BID_REQUEST_VERSION);
	buf[15] = 1; // a block of 16 MiB
	assert_int_equal(tare_codec_peek(&head, buf, len), -EBADMSG);
}

TEST(printing_tells_its_size_and_writes_no_more_than_there_is_room)
{
	static unsigned char buf[MESSAGE_MAX];
	static char text[TEXT_MAX];
	struct shape_3_view view;
	size_t len = make(&shape_3_type, shape_texts[2], buf);
	assert_int_equal(shape_3_verify(&view, buf, len, NULL), 0);
	ssize_t lines = shape_3_print(&view, NULL, 0), json = shape_3_json_write(&view, NULL, 0, NULL);
	assert_int_equal(shape_3_print(&view, text, sizeof text), lines);
	assert_non_null(memmem(text, (size_t)lines, "\n  a_f64: 0.1\n", 14));
	assert_int_equal(json, shape_3_json_write(&view, (char *)guard_end() - json, (size_t)json, NULL));
	assert_int_equal(json, shape_3_json_write(&view, (char *)guard_end() - 9, 9, NULL));
	assert_memory_equal(guard_end() - 9, "{\"a_u8\":1", 9);
}
