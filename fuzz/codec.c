// SPDX-License-Identifier: MIT
//
// Fuzzes the codec. Goal: no read outside the bytes that are there, and on every input what test/unit/codec checks of
// its own messages: both verifiers agree; what is accepted prints, encodes to the same bytes, and says the same through
// JSON; what the JSON reader accepts is JSON and makes a valid message.
//
// The first byte says what the rest is:
//   0…63     a message, as it is
//   64…127   a message whose head and slots are made right for one of the schemas, so that a few bytes reach the values
//   128…     JSON; an odd number: unknown keys are passed over
//
// FUZZ_SOURCES: src/base/*.c src/codec/*.c src/codec/schema/bid_request.tare.c test/unit/codec/schema/shape_1.tare.c
// test/unit/codec/schema/shape_2.tare.c test/unit/codec/schema/shape_3.tare.c -lm
//
// tools/fuzz codec SECONDS runs it under libFuzzer.
#include "../src/codec/schema/bid_request.tare.h"
#include "../test/unit/codec/schema/shape_1.tare.h"
#include "../test/unit/codec/schema/shape_2.tare.h"
#include "../test/unit/codec/schema/shape_3.tare.h"

#include "fuzz.h"

#include <errno.h>

enum { INPUT_MAX = 4096, MESSAGE_MAX = 1 << 16, TEXT_MAX = 1 << 20, STRUCT_MAX = 4096 };

struct type {
	const struct tare_codec_schema *schema;
	int (*verify)(void *view, const void *buf, size_t len, struct tare_error *err);
	void (*read)(void *in, const void *view);
	ssize_t (*encode)(const void *in, void *buf, size_t cap, struct tare_error *err);
};

union storage {
	struct tare_codec_view view; // every generated view begins with it
	unsigned char bytes[STRUCT_MAX];
};

#define TYPE(name)                                                                                                     \
	static int name##_do_verify(void *view, const void *buf, size_t len, struct tare_error *err)                   \
	{                                                                                                              \
		_Static_assert(sizeof(struct name##_view) <= STRUCT_MAX && sizeof(struct name) <= STRUCT_MAX, "");     \
		return name##_verify(view, buf, len, err);                                                             \
	}                                                                                                              \
	static void name##_do_read(void *in, const void *view)                                                         \
	{                                                                                                              \
		name##_read(in, view);                                                                                 \
	}                                                                                                              \
	static ssize_t name##_do_encode(const void *in, void *buf, size_t cap, struct tare_error *err)                 \
	{                                                                                                              \
		return name##_encode(in, buf, cap, err);                                                               \
	}
TYPE(bid_request)
TYPE(shape_1)
TYPE(shape_2)
TYPE(shape_3)

#define FUNCTIONS(name)                                                                                                \
	{                                                                                                              \
		&name##_schema, name##_do_verify, name##_do_read, name##_do_encode                                     \
	}
static const struct type types[] = {FUNCTIONS(bid_request), FUNCTIONS(shape_1), FUNCTIONS(shape_2), FUNCTIONS(shape_3)};

static void hold_json(const struct type *type, const struct tare_codec_view *view)
{
	static char text[TEXT_MAX];
	static unsigned char again[MESSAGE_MAX];
	const struct tare_codec_limits limits = {.text_bytes_max = TEXT_MAX};
	struct tare_error err = {.text = ""};
	ssize_t n = tare_codec_json_write(view, text, sizeof text, &err);
	if (n == -EDOM)
		return;
	fuzz_hold(n > 0 && n <= TEXT_MAX, "a message was not written as JSON");
	fuzz_hold(tare_codec_json_check(text, (size_t)n, &limits, &err) == 0, "what was written is not JSON");
	if (view->version != type->schema->version)
		return;
	ssize_t bytes = tare_codec_json_read(type->schema, again, sizeof again, text, (size_t)n, &limits, &err);
	fuzz_hold(bytes == view->total_bytes && memcmp(again, view->base, (size_t)bytes) == 0,
		  "JSON does not give the same bytes");
}

// The bytes stand in a block of their own length, so that a read behind them is seen.
static bool hold_message(const struct type *type, const uint8_t *bytes, size_t len)
{
	static unsigned char again[MESSAGE_MAX], local[STRUCT_MAX];
	static char lines[TEXT_MAX];
	static union storage view, in;
	struct tare_codec_view other;
	struct tare_error err = {.text = ""}, other_err = {.text = ""};
	int rc = type->verify(&view, bytes, len, &err);
	fuzz_hold(rc == tare_codec_verify(type->schema, &other, local, bytes, len, &other_err), "the verifiers differ");
	fuzz_hold(strcmp(err.text, other_err.text) == 0, "the verifiers' texts differ");
	fuzz_hold(rc == 0 || (rc == -EBADMSG && strncmp(err.text, "byte ", 5) == 0), "an error does not name its byte");
	if (rc < 0)
		return false;
	fuzz_hold(tare_codec_print(&view.view, lines, sizeof lines) > 0, "a message was not printed");
	type->read(&in, &view);
	if (view.view.version == type->schema->version) {
		ssize_t n = type->encode(&in, again, sizeof again, &err);
		fuzz_hold(n == (ssize_t)len && memcmp(again, bytes, len) == 0,
			  "a message does not encode to the same bytes");
	}
	hold_json(type, &view.view);
	return true;
}

// Head and slots made right: what each slot holds is taken from its length modulo what is left, rounded to whole
// elements by nothing, so that wrong lengths are tried too.
static void seal(const struct type *type, uint8_t *bytes, size_t len)
{
	const struct tare_codec_schema *schema = type->schema;
	size_t fixed =
	    TARE_CODEC_HEAD_BYTES + schema->root->bytes + TARE_CODEC_SLOT_BYTES * (size_t)schema->root->slots;
	if (len < fixed)
		return;
	uint32_t total = (uint32_t)len, block = schema->root->bytes, at = (uint32_t)fixed;
	uint16_t slots = schema->root->slots;
	memcpy(bytes, &schema->id, 4);
	memcpy(bytes + 4, &schema->version, 2);
	memcpy(bytes + 6, &slots, 2);
	memcpy(bytes + 8, &total, 4);
	memcpy(bytes + 12, &block, 4);
	for (unsigned i = 0; i < slots; i++) {
		uint8_t *slot = bytes + TARE_CODEC_HEAD_BYTES + block + TARE_CODEC_SLOT_BYTES * (size_t)i;
		uint32_t wanted = 0;
		memcpy(&wanted, slot + 4, 4);
		wanted = i + 1 == slots ? total - at : wanted % (total - at + 1);
		memcpy(slot, &at, 4);
		memcpy(slot + 4, &wanted, 4);
		at += wanted;
	}
}

static void hold_text(const char *text, size_t len, bool skip_unknown)
{
	static unsigned char buf[MESSAGE_MAX];
	const struct tare_codec_limits limits = {.skip_unknown = skip_unknown};
	struct tare_error err = {.text = ""};
	bool is_json = tare_codec_json_check(text, len, &limits, &err) == 0;
	fuzz_hold(is_json || strncmp(err.text, "byte ", 5) == 0, "an error in JSON does not name its byte");
	for (size_t i = 0; i < TARE_ARRAY_LEN(types); i++) {
		size_t cap = len % 2 == 0 ? sizeof buf : TARE_MIN(sizeof buf, len);
		ssize_t n = tare_codec_json_read(types[i].schema, buf, cap, text, len, &limits, &err);
		if (n < 0)
			continue;
		fuzz_hold(is_json, "what is no JSON was read");
		fuzz_hold(hold_message(&types[i], buf, (size_t)n), "what was read is no message");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > INPUT_MAX)
		return 0;
	uint8_t what = data[0];
	size_t len = size - 1;
	uint8_t *bytes = fuzz_copy(data + 1, len);
	if (bytes == NULL)
		return 0;
	if (what >= 128) {
		hold_text((const char *)bytes, len, what % 2 != 0);
	} else {
		if (what >= 64)
			seal(&types[what % TARE_ARRAY_LEN(types)], bytes, len);
		for (size_t i = 0; i < TARE_ARRAY_LEN(types); i++)
			(void)hold_message(&types[i], bytes, len);
	}
	free(bytes);
	return 0;
}
