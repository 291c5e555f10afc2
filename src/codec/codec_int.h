// SPDX-License-Identifier: MIT
// What the files of the codec share: walking a record without recursion, strict JSON tokens, and floats as text.
#ifndef TARE_CODEC_INT_H
#define TARE_CODEC_INT_H

#include <tare/codec.h>

// ---- walking a record ---------------------------------------------------------------------------------------------

// Nested records are entered with a stack: a record stands in the message at most TARE_CODEC_NEST_MAX deep, and a
// vector's elements or a union's variant begin once more, because they hold nothing that varies.
enum { CODEC_STACK_MAX = 2 * TARE_CODEC_NEST_MAX + 2 };

static inline uint32_t codec_u32(const void *p)
{
	return TARE_CODEC_LOAD(tare_codec_u32, p);
}

static inline bool codec_is_varying(const struct tare_codec_field *field)
{
	return field->shape == TARE_CODEC_VECTOR || field->kind >= TARE_CODEC_STRING;
}

// Bytes of one element of an array or a vector, or of the field itself.
static inline uint32_t codec_element_bytes(const struct tare_codec_field *field)
{
	return field->record != NULL ? field->record->bytes : field->element_bytes;
}

// Where a sequence that is not UTF-8 begins; len where there is none.
size_t codec_utf8_prefix(const unsigned char *text, size_t len);

// ---- JSON tokens --------------------------------------------------------------------------------------------------

enum {
	CODEC_JSON_DEPTH_DEFAULT = 32,
	CODEC_JSON_DEPTH_MAX = 1024,
	CODEC_NUMBER_BYTES_MAX = 1024, // of a number's text; more is refused
};

struct codec_json {
	const unsigned char *text, *p, *end;
	struct tare_error *err;
	unsigned depth, depth_max;
};

// A number's text, taken apart: (-1)^negative × digits × 10^exponent, unless digits is not exact.
struct codec_number {
	const unsigned char *text;
	size_t bytes;
	uint64_t digits;
	int64_t exponent;
	bool negative, integer, exact;
};

// 0, or -EMSGSIZE past the limits.
TARE_MUST_USE int codec_json_init(struct codec_json *json, const char *text, size_t len,
				  const struct tare_codec_limits *limits, struct tare_error *err);
// `byte N: …`, with N of the place `at`. Returns code.
int codec_json_fail(const struct codec_json *json, int code, const unsigned char *at, const char *format, ...)
    TARE_PRINTF(4, 5);
void codec_json_space(struct codec_json *json);
// Skips white space, and the byte where it is c.
bool codec_json_take(struct codec_json *json, unsigned char c);
// An object or array that begins: counts its depth, and steps over its first byte.
TARE_MUST_USE int codec_json_enter(struct codec_json *json);
// One value of any kind, passed over.
TARE_MUST_USE int codec_json_skip(struct codec_json *json);
// The end of the document, white space before it.
TARE_MUST_USE int codec_json_end(struct codec_json *json);
// What every string begins with.
TARE_MUST_USE int codec_json_open_string(struct codec_json *json);
// The string's next character, as a code point; -1 for the quote that ends it, which is passed; -EBADMSG (below -1).
int32_t codec_json_char(struct codec_json *json);
// A whole string as UTF-8; its bytes, of which at most cap were written. out may be NULL with cap 0.
TARE_MUST_USE ssize_t codec_json_string(struct codec_json *json, unsigned char *out, size_t cap);
TARE_MUST_USE int codec_json_number(struct codec_json *json, struct codec_number *ret);
// true or false
TARE_MUST_USE int codec_json_bool(struct codec_json *json, bool *ret);
bool codec_json_null(struct codec_json *json);

// ---- floats -------------------------------------------------------------------------------------------------------

enum { CODEC_FLOAT_BYTES_MAX = 32 };

// The nearest double or float; -ERANGE where it is not finite.
TARE_MUST_USE int codec_f64_read(const struct codec_number *number, double *ret);
TARE_MUST_USE int codec_f32_read(const struct codec_number *number, float *ret);
// The shortest digits that read back as the same; out has room for CODEC_FLOAT_BYTES_MAX. The value is finite.
size_t codec_f64_write(char *out, double value);
size_t codec_f32_write(char *out, float value);

#endif
