// SPDX-License-Identifier: MIT
// Goal: programs of any version read messages of any version: what both know is equal, what an older message lacks has
// its default, and what a newer one has more does no harm.
//
// Method: three versions of one schema, each a reader and a writer, in all pairs; then every cut and every changed byte
// of such messages. tare schema check accepts the three as successors of each other (test/e2e/test_schema.py).
#include "message.h"

#include "schema/shape_1.tare.h"
#include "schema/shape_2.tare.h"
#include "schema/shape_3.tare.h"
#include "shapes.h"

MESSAGE_TYPE(shape_1);
MESSAGE_TYPE(shape_2);
MESSAGE_TYPE(shape_3);

enum { VERSIONS = 3 };

static const struct message_type *const types[VERSIONS] = {&shape_1_type, &shape_2_type, &shape_3_type};

// A message of a version, with all of its fields.
static size_t make(int version, unsigned char *buf)
{
	ssize_t n = from_json(types[version - 1], buf, MESSAGE_MAX, shape_texts[version - 1]);
	assert_in_range(n, TARE_CODEC_HEAD_BYTES, MESSAGE_MAX);
	return (size_t)n;
}

static void check_begins(const char *text, ssize_t len, const char *begin)
{
	assert_true((size_t)len > strlen(begin) && memcmp(text, begin, strlen(begin)) == 0);
}

TEST(any_version_reads_the_fields_of_any_other)
{
	static unsigned char buf[MESSAGE_MAX];
	static char text[TEXT_MAX];
	static union message_view view;
	struct tare_error err = {.text = ""};
	for (int writer = 1; writer <= VERSIONS; writer++)
		for (int reader = 1; reader <= VERSIONS; reader++) {
			unsigned char *at = guarded(buf, make(writer, buf));
			size_t len = (size_t)(guard_end() - at);
			int rc = types[reader - 1]->verify(&view, at, len, &err);
			assert_string_equal(err.text, "");
			assert_int_equal(rc, 0);
			assert_int_equal(view.view.version, writer);
			// In JSON stands all that the reader sees: what version 1 has, in its order, comes first.
			ssize_t n = tare_codec_json_write(&view.view, text, sizeof text, &err);
			static unsigned char again[MESSAGE_MAX];
			static char same[TEXT_MAX];
			struct tare_codec_view own;
			ssize_t bytes = tare_codec_json_read(&shape_1_schema, again, sizeof again, shape_texts[0],
							     strlen(shape_texts[0]), NULL, &err);
			assert_int_equal(tare_codec_verify(&shape_1_schema, &own, NULL, again, (size_t)bytes, &err), 0);
			ssize_t common = tare_codec_json_write(&own, same, sizeof same, &err) - 1; // without its brace
			same[common] = '\0';
			check_begins(text, n, same);
		}
}

TEST(what_an_older_message_lacks_has_its_default)
{
	static unsigned char buf[MESSAGE_MAX];
	struct shape_3_view view;
	assert_int_equal(shape_3_verify(&view, buf, make(1, buf), NULL), 0);
	assert_int_equal(shape_3_a_u8(&view), 1);
	assert_int_equal(shape_3_more(&view), 77);
	assert_int_equal(shape_3_note(&view).len, 0);
	assert_int_equal(shape_3_tail(&view), 9);
	assert_int_equal(shape_3_things(&view).count, 0);
	assert_int_equal(shape_3_other_kind(&view), SHAPE_3_THING_NONE);
	assert_int_equal(shape_3_extra(&view)->b, 0);
	assert_true(tare_str_eq(shape_3_last(&view), TARE_STR("end")));
	// Encoded again it is a message of version 3, which says the same.
	static unsigned char again[MESSAGE_MAX];
	struct shape_3 in;
	shape_3_read(&in, &view);
	ssize_t n = shape_3_encode(&in, again, sizeof again, NULL);
	assert_true(n > 0);
	assert_int_equal(shape_3_verify(&view, again, (size_t)n, NULL), 0);
	assert_int_equal(view.view.version, 3);
	assert_int_equal(shape_3_more(&view), 77);
}

TEST(names_that_only_a_newer_version_has_are_numbers)
{
	static unsigned char buf[MESSAGE_MAX];
	static char text[TEXT_MAX];
	struct shape_3 in;
	struct shape_1_view view;
	struct tare_error err = {.text = ""};
	shape_3_init(&in);
	in.colour = SHAPE_3_COLOUR_VIOLET;
	in.thing.kind = SHAPE_3_THING_LARGE;
	shape_3_pair_init(&in.thing.large);
	ssize_t n = shape_3_encode(&in, buf, sizeof buf, &err);
	assert_true(n > 0);
	assert_int_equal(shape_1_verify(&view, guarded(buf, (size_t)n), (size_t)n, &err), 0);
	assert_int_equal(shape_1_colour(&view), 3);
	assert_null(shape_1_colour_name(shape_1_colour(&view)));
	assert_int_equal(shape_1_thing_kind(&view), 3);
	assert_null(shape_1_thing_point(&view));
	assert_null(shape_1_thing_plain(&view));
	ssize_t len = shape_1_json_write(&view, text, sizeof text - 1, &err);
	assert_true(len > 0);
	text[len] = '\0';
	assert_non_null(strstr(text, "\"colour\":3,\"bytes8\""));
	assert_non_null(strstr(text, "\"thing\":null,\"pairs\""));
	struct shape_1 out;
	shape_1_read(&out, &view);
	assert_int_equal(out.thing.kind, 3);
	// A message of its own version must not hold them.
	unsigned char *at = guarded(buf, (size_t)n);
	uint16_t version = 1;
	memcpy(at + 4, &version, sizeof version);
	assert_int_equal(shape_1_verify(&view, at, (size_t)n, &err), -EBADMSG);
}

TEST(a_version_has_exactly_its_own_block_and_slots)
{
	static unsigned char buf[MESSAGE_MAX];
	static union message_view view;
	struct tare_error err;
	for (int writer = 1; writer <= VERSIONS; writer++)
		for (uint16_t claimed = 1; claimed <= VERSIONS; claimed++) {
			size_t len = make(writer, buf);
			memcpy(buf + 4, &claimed, sizeof claimed);
			int rc = shape_3_type.verify(&view, buf, len, &err);
			assert_int_equal(rc, claimed == writer ? 0 : -EBADMSG);
		}
}

// A message with more bytes in its block, or fewer, and everything behind them moved.
static size_t lengthen_block(unsigned char *buf, size_t len, int more)
{
	uint32_t total, block;
	uint16_t slots;
	memcpy(&total, buf + 8, 4);
	memcpy(&block, buf + 12, 4);
	memcpy(&slots, buf + 6, 2);
	unsigned char *end = buf + TARE_CODEC_HEAD_BYTES + block;
	memmove(end + more, end, len - TARE_CODEC_HEAD_BYTES - block);
	for (int i = 0; i < more; i++)
		end[i] = 0xaa;
	for (uint16_t i = 0; i < slots; i++) {
		uint32_t at;
		memcpy(&at, end + more + 8 * i, 4);
		at += (uint32_t)more;
		memcpy(end + more + 8 * i, &at, 4);
	}
	total += (uint32_t)more;
	block += (uint32_t)more;
	memcpy(buf + 8, &total, 4);
	memcpy(buf + 12, &block, 4);
	return total;
}

TEST(only_a_newer_version_has_a_longer_block)
{
	static unsigned char buf[MESSAGE_MAX];
	static union message_view view;
	struct tare_error err;
	for (int writer = 1; writer <= VERSIONS; writer++) {
		size_t len = lengthen_block(buf, make(writer, buf), 5);
		assert_int_equal(shape_3_type.verify(&view, buf, len, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "byte 12: a block of "));
		uint16_t claimed = 4;
		memcpy(buf + 4, &claimed, sizeof claimed);
		assert_int_equal(shape_3_type.verify(&view, guarded(buf, len), len, &err), writer == 3 ? 0 : -EBADMSG);
	}
	struct shape_3_view newer;
	uint16_t claimed = 65535;
	size_t len = lengthen_block(buf, make(3, buf), -1);
	memcpy(buf + 4, &claimed, sizeof claimed);
	assert_int_equal(shape_3_verify(&newer, guarded(buf, len), len, &err), -EBADMSG);
	len = lengthen_block(buf, make(3, buf), 700);
	memcpy(buf + 4, &claimed, sizeof claimed);
	assert_int_equal(shape_3_verify(&newer, buf, len, &err), 0);
	assert_int_equal(shape_3_tail(&newer), 1);
	assert_true(tare_str_eq(shape_3_last(&newer), TARE_STR("end")));
}

// A view of an older version holds a copy of its own: what is refused later must not get into it.
TEST(a_view_is_written_only_by_what_is_accepted)
{
	static unsigned char good[MESSAGE_MAX], buf[MESSAGE_MAX];
	static struct shape_3_view view;
	static unsigned char before[sizeof view]; // bytes: a copy of the struct need not have its padding
	unsigned refused = 0;
	for (int writer = 1; writer <= VERSIONS; writer++) {
		size_t len = make(writer, good);
		assert_int_equal(shape_3_verify(&view, good, len, NULL), 0);
		for (size_t i = 0; i < len; i++) {
			memcpy(buf, good, len);
			buf[i] ^= 0xff;
			memcpy(before, &view, sizeof view);
			if (shape_3_verify(&view, buf, len, NULL) == 0) {
				assert_int_equal(shape_3_verify(&view, good, len, NULL), 0);
				continue;
			}
			refused++;
			assert_memory_equal(&view, before, sizeof view);
		}
	}
	assert_true(refused > 300);
}

TEST(cut_and_changed_messages_of_other_versions_are_refused_or_read_safely)
{
	static unsigned char buf[MESSAGE_MAX];
	for (int writer = 1; writer <= VERSIONS; writer += 2)
		for (int reader = 1; reader <= VERSIONS; reader++) {
			if (reader == writer)
				continue;
			size_t len = make(writer, buf);
			check_truncations(types[reader - 1], buf, len);
			for (size_t i = 0; i < len; i++)
				for (unsigned bit = 0; bit < 8; bit++) {
					unsigned char *at = guarded(buf, len);
					at[i] ^= (unsigned char)(1U << bit);
					(void)check_bytes(types[reader - 1], at, len, true);
				}
		}
}
