// SPDX-License-Identifier: MIT
// Strict JSON tokens, RFC 8259 to the letter: what is not in its grammar is refused, with the byte where that shows.
//
// Strings are UTF-8 and their escapes make UTF-8, so a lone surrogate is refused. No recursion: codec_json_skip keeps a
// bit for each open object or array. Cost: one pass. Pure functions over the caller's text.
// Rejected: a table of the document's structure built first, as simdjson does: messages of a few kilobytes whose schema
// is known are read once, in order, and need no index.
#include "codec/codec_int.h"

#include <errno.h>
#include <stdio.h>

enum { TEXT_BYTES_MAX_DEFAULT = 1 << 20, SHOWN_MAX = 400 };

int codec_json_init(struct codec_json *json, const char *text, size_t len, const struct tare_codec_limits *limits,
		    struct tare_error *err)
{
	size_t bytes_max =
	    limits != NULL && limits->text_bytes_max != 0 ? limits->text_bytes_max : TEXT_BYTES_MAX_DEFAULT;
	unsigned depth_max = limits != NULL && limits->depth_max != 0 ? limits->depth_max : CODEC_JSON_DEPTH_DEFAULT;
	const unsigned char *p = (const unsigned char *)text;
	*json = (struct codec_json){.text = p,
				    .p = p,
				    .end = p + len,
				    .err = err,
				    .depth_max = TARE_MIN(depth_max, (unsigned)CODEC_JSON_DEPTH_MAX)};
	bytes_max = TARE_MIN(bytes_max, (size_t)UINT32_MAX);
	if (len > bytes_max)
		return tare_error_set(err, -EMSGSIZE, "byte %zu: a text of %zu bytes is past the limit of %zu",
				      bytes_max, len, bytes_max);
	return 0;
}

int codec_json_fail(const struct codec_json *json, int code, const unsigned char *at, const char *format, ...)
{
	char what[SHOWN_MAX];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return tare_error_set(json->err, code, "byte %td: %s", at - json->text, what);
}

static int unexpected(const struct codec_json *json, const char *wanted)
{
	if (json->p == json->end)
		return codec_json_fail(json, -EBADMSG, json->p, "the text ends where there should be %s", wanted);
	unsigned char c = *json->p;
	if (c > ' ' && c < 0x7f)
		return codec_json_fail(json, -EBADMSG, json->p, "'%c' where there should be %s", c, wanted);
	return codec_json_fail(json, -EBADMSG, json->p, "byte 0x%02x where there should be %s", c, wanted);
}

void codec_json_space(struct codec_json *json)
{
	if (json->p<json->end && * json->p> ' ')
		return;
	while (json->p < json->end && (*json->p == ' ' || *json->p == '\n' || *json->p == '\r' || *json->p == '\t'))
		json->p++;
}

bool codec_json_take(struct codec_json *json, unsigned char c)
{
	codec_json_space(json);
	if (json->p == json->end || *json->p != c)
		return false;
	json->p++;
	return true;
}

int codec_json_enter(struct codec_json *json)
{
	if (json->depth == json->depth_max)
		return codec_json_fail(json, -EMSGSIZE, json->p, "deeper than the limit of %u", json->depth_max);
	json->depth++;
	json->p++;
	return 0;
}

int codec_json_end(struct codec_json *json)
{
	codec_json_space(json);
	return json->p == json->end ? 0 : unexpected(json, "the end");
}

// ---- strings ------------------------------------------------------------------------------------------------------

int codec_json_open_string(struct codec_json *json)
{
	if (!codec_json_take(json, '"'))
		return unexpected(json, "a string");
	return 0;
}

static int32_t hex4(struct codec_json *json)
{
	int32_t value = 0;
	for (int i = 0; i < 4; i++, json->p++) {
		unsigned char c = json->p < json->end ? *json->p : 0;
		unsigned digit;
		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10U;
		else
			return unexpected(json, "a hexadecimal digit");
		value = value << 4 | (int32_t)digit;
	}
	return value;
}

// Behind "\u".
static int32_t unicode_escape(struct codec_json *json, const unsigned char *begin)
{
	int32_t high = hex4(json);
	if (high < 0xd800 || high > 0xdfff)
		return high;
	if (high >= 0xdc00 || json->end - json->p < 2 || json->p[0] != '\\' || json->p[1] != 'u')
		return codec_json_fail(json, -EBADMSG, begin, "a lone surrogate");
	json->p += 2;
	int32_t low = hex4(json);
	if (low < 0)
		return low;
	if (low < 0xdc00 || low > 0xdfff)
		return codec_json_fail(json, -EBADMSG, begin, "a lone surrogate");
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

// At the backslash.
static int32_t escape(struct codec_json *json)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const unsigned char *begin = json->p++;
	if (json->p == json->end)
		return unexpected(json, "an escape");
	if (*json->p == 'u') {
		json->p++;
		return unicode_escape(json, begin);
	}
	const char *found = *json->p == '\0' ? NULL : strchr(from, *json->p);
	if (found == NULL)
		return unexpected(json, "an escape: one of \" \\ / b f n r t u");
	json->p++;
	return to[found - from];
}

// A sequence of two to four bytes, not ASCII.
static int32_t utf8_char(struct codec_json *json)
{
	size_t there = TARE_MIN((size_t)(json->end - json->p), (size_t)4);
	// The longest prefix of one character's size that is valid is that character.
	size_t n = *json->p >= 0xf0 ? 4 : *json->p >= 0xe0 ? 3 : 2;
	if (n > there || codec_utf8_prefix(json->p, n) != n)
		return codec_json_fail(json, -EBADMSG, json->p, "not UTF-8");
	int32_t code = *json->p & (0xff >> (n + 1));
	for (size_t i = 1; i < n; i++)
		code = code << 6 | (json->p[i] & 0x3f);
	json->p += n;
	return code;
}

int32_t codec_json_char(struct codec_json *json)
{
	if (json->p == json->end)
		return unexpected(json, "the string's closing quote");
	unsigned char c = *json->p;
	if (c == '"') {
		json->p++;
		return -1;
	}
	if (c == '\\')
		return escape(json);
	if (c < 0x20)
		return codec_json_fail(json, -EBADMSG, json->p, "control character 0x%02x in a string; write \\u%04x",
				       c, c);
	if (c >= 0x80)
		return utf8_char(json);
	json->p++;
	return c;
}

static size_t utf8_put(unsigned char *out, int32_t code)
{
	if (code < 0x80) {
		out[0] = (unsigned char)code;
		return 1;
	}
	size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		out[i] = (unsigned char)(0x80 | (code & 0x3f));
	out[0] = (unsigned char)((0xf00 >> n & 0xff) | code);
	return n;
}

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

// Top bits of bytes that end a run of plain ASCII: the lowest one that is set is right, those above it may be too many.
static uint64_t special_bytes(uint64_t word)
{
	uint64_t quote = word ^ EVERY_BYTE('"'), backslash = word ^ EVERY_BYTE('\\');
	uint64_t found = ((word - EVERY_BYTE(0x20)) | (quote - EVERY_BYTE(1)) | (backslash - EVERY_BYTE(1))) & ~word;
	return (found | word) & EVERY_BYTE(0x80);
}

// Bytes of plain ASCII from p on.
static size_t plain(const unsigned char *p, const unsigned char *end)
{
	const unsigned char *begin = p;
	for (; end - p >= 8; p += 8) {
		uint64_t special = special_bytes(TARE_CODEC_LOAD(tare_codec_u64, p));
		if (special != 0)
			return (size_t)(p - begin) + (unsigned)__builtin_ctzll(special) / 8;
	}
	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return (size_t)(p - begin);
}

ssize_t codec_json_string(struct codec_json *json, unsigned char *out, size_t cap)
{
	int rc = codec_json_open_string(json);
	if (rc < 0)
		return rc;
	size_t len = 0;
	for (;;) {
		size_t n = plain(json->p, json->end);
		if (n > 0 && len < cap)
			memcpy(out + len, json->p, TARE_MIN(n, cap - len));
		len += n;
		json->p += n;
		if (json->p < json->end && *json->p == '"') {
			json->p++;
			return (ssize_t)len;
		}
		int32_t code = codec_json_char(json);
		if (code < 0)
			return code;
		unsigned char bytes[4];
		n = utf8_put(bytes, code);
		if (len < cap)
			memcpy(out + len, bytes, TARE_MIN(n, cap - len));
		len += n;
	}
}

// ---- numbers and words --------------------------------------------------------------------------------------------

static bool is_digit(const struct codec_json *json)
{
	return json->p < json->end && *json->p >= '0' && *json->p <= '9';
}

// At least one. Returns how many.
static int64_t digits(struct codec_json *json, struct codec_number *number)
{
	const unsigned char *p = json->p, *const end = json->end;
	uint64_t value = number->digits;
	for (unsigned digit; p < end && (digit = *p - (unsigned)'0') <= 9; p++) {
		if (TARE_UNLIKELY(value > (UINT64_MAX - 9) / 10) &&
		    (value > UINT64_MAX / 10 || (value == UINT64_MAX / 10 && digit > UINT64_MAX % 10)))
			number->exact = false;
		value = value * 10 + digit;
	}
	int64_t count = p - json->p;
	number->digits = value;
	json->p = p;
	return count == 0 ? unexpected(json, "a digit") : count;
}

static int exponent(struct codec_json *json, struct codec_number *number)
{
	json->p++; // e
	bool negative = json->p < json->end && *json->p == '-';
	if (json->p < json->end && (*json->p == '-' || *json->p == '+'))
		json->p++;
	struct codec_number e = {.exact = true};
	int64_t n = digits(json, &e);
	if (n < 0)
		return (int)n;
	int64_t value = e.exact && e.digits < 1000000 ? (int64_t)e.digits : 1000000; // all of them are past every float
	number->exponent += negative ? -value : value;
	return 0;
}

int codec_json_number(struct codec_json *json, struct codec_number *ret)
{
	codec_json_space(json);
	struct codec_number number = {.text = json->p, .integer = true, .exact = true};
	if (json->p < json->end && *json->p == '-') {
		number.negative = true;
		json->p++;
	}
	const unsigned char *first = json->p;
	if (!is_digit(json))
		return unexpected(json, "a number");
	int64_t n = digits(json, &number);
	if (*first == '0' && n > 1)
		return codec_json_fail(json, -EBADMSG, first, "a number with a leading zero");
	if (json->p < json->end && *json->p == '.') {
		json->p++;
		n = digits(json, &number);
		if (n < 0)
			return (int)n;
		number.exponent = -n;
		number.integer = false;
	}
	if (json->p < json->end && (*json->p == 'e' || *json->p == 'E')) {
		number.integer = false;
		int rc = exponent(json, &number);
		if (rc < 0)
			return rc;
	}
	number.bytes = (size_t)(json->p - number.text);
	if (number.bytes > CODEC_NUMBER_BYTES_MAX)
		return codec_json_fail(json, -EMSGSIZE, number.text, "a number longer than the limit of %d digits",
				       CODEC_NUMBER_BYTES_MAX);
	*ret = number;
	return 0;
}

static bool word(struct codec_json *json, const char *text)
{
	codec_json_space(json);
	size_t n = strlen(text);
	if ((size_t)(json->end - json->p) < n || memcmp(json->p, text, n) != 0)
		return false;
	json->p += n;
	return true;
}

int codec_json_bool(struct codec_json *json, bool *ret)
{
	if (word(json, "true"))
		*ret = true;
	else if (word(json, "false"))
		*ret = false;
	else
		return unexpected(json, "true or false");
	return 0;
}

bool codec_json_null(struct codec_json *json)
{
	return word(json, "null");
}

// ---- any value ----------------------------------------------------------------------------------------------------

static int skip_scalar(struct codec_json *json)
{
	struct codec_number number;
	bool value = false;
	unsigned char c = json->p < json->end ? *json->p : 0;
	if (c == '"') {
		ssize_t n = codec_json_string(json, NULL, 0);
		return n < 0 ? (int)n : 0;
	}
	if (c == '-' || (c >= '0' && c <= '9'))
		return codec_json_number(json, &number);
	if (c == 't' || c == 'f')
		return codec_json_bool(json, &value);
	return codec_json_null(json) ? 0 : unexpected(json, "a value");
}

static int skip_key(struct codec_json *json)
{
	ssize_t n = codec_json_string(json, NULL, 0);
	if (n < 0)
		return (int)n;
	return codec_json_take(json, ':') ? 0 : unexpected(json, "':'");
}

// A set of bits: whether what is open at a depth is an object.
struct open_set {
	uint64_t words[CODEC_JSON_DEPTH_MAX / 64 + 1];
};

static void open_set_put(struct open_set *set, unsigned depth, bool object)
{
	uint64_t bit = UINT64_C(1) << depth % 64;
	set->words[depth / 64] = object ? set->words[depth / 64] | bit : set->words[depth / 64] & ~bit;
}

static bool open_set_has(const struct open_set *set, unsigned depth)
{
	return (set->words[depth / 64] >> depth % 64 & 1) != 0;
}

// Behind a value: closes what ends here, until another value is to come. 1: none, all that was opened is closed.
static int after_value(struct codec_json *json, const struct open_set *open, unsigned bottom)
{
	while (json->depth > bottom) {
		bool object = open_set_has(open, json->depth);
		if (codec_json_take(json, ','))
			return object ? skip_key(json) : 0;
		if (!codec_json_take(json, object ? '}' : ']'))
			return unexpected(json, object ? "',' or '}'" : "',' or ']'");
		json->depth--;
	}
	return 1;
}

int codec_json_skip(struct codec_json *json)
{
	struct open_set open = {{0}};
	const unsigned bottom = json->depth;
	for (;;) {
		codec_json_space(json);
		bool object = json->p < json->end && *json->p == '{';
		int rc;
		if (object || (json->p < json->end && *json->p == '[')) {
			rc = codec_json_enter(json);
			if (rc < 0)
				return rc;
			open_set_put(&open, json->depth, object);
			if (!codec_json_take(json, object ? '}' : ']')) {
				rc = object ? skip_key(json) : 0;
				if (rc < 0)
					return rc;
				continue;
			}
			json->depth--;
		} else {
			rc = skip_scalar(json);
			if (rc < 0)
				return rc;
		}
		rc = after_value(json, &open, bottom);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
}

int tare_codec_json_check(const char *text, size_t len, const struct tare_codec_limits *limits, struct tare_error *err)
{
	struct codec_json json;
	int rc = codec_json_init(&json, text, len, limits, err);
	if (rc == 0)
		rc = codec_json_skip(&json);
	return rc < 0 ? rc : codec_json_end(&json);
}
