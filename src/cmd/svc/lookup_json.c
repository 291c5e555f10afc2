// SPDX-License-Identifier: MIT
// A record as a JSON or a binary document, written once into memory that the caller has reserved.
//
// Cost: no heap call, no second pass, no length computed twice; about the price of copying the bytes plus six numbers.
// Threads: pure functions.
// Rejected: a growing buffer (the bound is cheap and exact enough), printf (parses its format anew each request).
//
// The JSON document, in this order and without spaces:
//   {"id":…,"bid_micros":…,"budget_micros":…,"spend_micros":…,"impressions":…,"clicks":…,"hot":…,"active":…,
//    "category":"…","payload":"base64"}
//
// The binary document, version 1, little-endian:
//   0        4     6     8    16    24       32      40            48       56      60      64
//   | length | ver | flg | id | bid | budget | spend | impressions | clicks | cat_n | pay_n | category | payload |
//   length: of the whole document; flg: bit 0 hot, bit 1 active; cat_n, pay_n: bytes of what follows.
#include "cmd/svc/svc.h"

#include <endian.h>
#ifdef __SSSE3__
#include <tmmintrin.h>
#endif

// ---- base64 -------------------------------------------------------------------------------------------------------

static const char base64_digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64_put(char *out, uint32_t bits24)
{
	out[0] = base64_digits[bits24 >> 18];
	out[1] = base64_digits[bits24 >> 12 & 63];
	out[2] = base64_digits[bits24 >> 6 & 63];
	out[3] = base64_digits[bits24 & 63];
	return out + 4;
}

#ifdef __SSSE3__
// Sixteen digits from twelve bytes, of which sixteen must be readable: spread the bytes so that each 32-bit lane holds
// the three it needs, shift the four six-bit fields into bytes of their own (by two multiplications), then add to each
// field the distance to its letter, which depends on its range alone.
static __m128i base64_16(__m128i bytes)
{
	__m128i spread = _mm_shuffle_epi8(bytes, _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
	__m128i even = _mm_mulhi_epu16(_mm_and_si128(spread, _mm_set1_epi32(0x0fc0fc00)), _mm_set1_epi32(0x04000040));
	__m128i odd = _mm_mullo_epi16(_mm_and_si128(spread, _mm_set1_epi32(0x003f03f0)), _mm_set1_epi32(0x01000010));
	__m128i fields = _mm_or_si128(even, odd);
	// 0 for 26…51, 1…12 for 52…63 (digits, '+', '/'), 13 for 0…25
	__m128i range = _mm_subs_epu8(fields, _mm_set1_epi8(51));
	range = _mm_or_si128(range, _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), fields), _mm_set1_epi8(13)));
	const __m128i distance = _mm_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
					       '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
	return _mm_add_epi8(_mm_shuffle_epi8(distance, range), fields);
}
#endif

void svc_base64_write(char *out, const void *data, size_t len)
{
	const unsigned char *p = data;
#ifdef __SSSE3__
	for (; len >= 16; p += 12, len -= 12, out += 16)
		_mm_storeu_si128((__m128i *)(void *)out, base64_16(_mm_loadu_si128((const __m128i *)(const void *)p)));
#endif
	// Six bytes from one load; eight must be readable.
	for (; len >= 8; p += 6, len -= 6) {
		uint64_t word;
		memcpy(&word, p, sizeof word);
		word = be64toh(word);
		out = base64_put(out, (uint32_t)(word >> 40));
		out = base64_put(out, (uint32_t)(word >> 16) & 0xffffff);
	}
	for (; len >= 3; p += 3, len -= 3)
		out = base64_put(out, (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]);
	if (len == 0)
		return;
	out = base64_put(out, (uint32_t)p[0] << 16 | (len == 2 ? (uint32_t)p[1] << 8 : 0));
	out[-1] = '=';
	if (len == 1)
		out[-2] = '=';
}

// ---- strings ------------------------------------------------------------------------------------------------------

static const char hex_digits[17] = "0123456789ABCDEF";

// The escapes that jansson chooses, so that both paths give the same bytes.
static char *escape_put(char *out, unsigned char c)
{
	static const char short_escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	*out++ = '\\';
	for (size_t i = 0; i < sizeof short_escapes - 1; i += 2) {
		if ((unsigned char)short_escapes[i] == c) {
			*out++ = short_escapes[i + 1];
			return out;
		}
	}
	memcpy(out, "u00", 3);
	out[3] = hex_digits[c >> 4];
	out[4] = hex_digits[c & 15];
	return out + 5;
}

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

// Top bits where a byte is zero; exact for the lowest such byte, which is all that a test for "none" needs.
static uint64_t zero_bytes(uint64_t word)
{
	return (word - EVERY_BYTE(1)) & ~word & EVERY_BYTE(0x80);
}

static bool needs_no_escape(uint64_t word)
{
	uint64_t control = (word - EVERY_BYTE(0x20)) & ~word & EVERY_BYTE(0x80);
	return (control | zero_bytes(word ^ EVERY_BYTE('"')) | zero_bytes(word ^ EVERY_BYTE('\\'))) == 0;
}

// At most six bytes a byte. Bytes from 0x80 on are taken to be UTF-8 and stand as they are.
TARE_INLINE static char *string_put(char *out, struct tare_str s)
{
	size_t i = 0;
	while (i < s.len) {
		uint64_t word;
		if (s.len - i >= sizeof word) {
			memcpy(&word, s.ptr + i, sizeof word);
			if (needs_no_escape(word)) {
				memcpy(out, &word, sizeof word);
				out += sizeof word;
				i += sizeof word;
				continue;
			}
		}
		unsigned char c = (unsigned char)s.ptr[i++];
		if (c < 0x20 || c == '"' || c == '\\')
			out = escape_put(out, c);
		else
			*out++ = (char)c;
	}
	return out;
}

size_t svc_string_write(char *out, struct tare_str s)
{
	return (size_t)(string_put(out, s) - out);
}

// ---- the documents ------------------------------------------------------------------------------------------------

#define PUT(out, literal) (memcpy(out, "" literal, sizeof(literal) - 1), (out) + sizeof(literal) - 1)

// Everything but the two texts: the names and braces, six numbers of at most 20 bytes, two booleans of at most 5.
enum {
	JSON_NAMES_BYTES =
	    sizeof("{\"id\":,\"bid_micros\":,\"budget_micros\":,\"spend_micros\":,\"impressions\":,\"clicks\":,"
		   "\"hot\":,\"active\":,\"category\":\"\",\"payload\":\"\"}"),
	JSON_FIXED_BYTES_MAX = JSON_NAMES_BYTES + 6 * 20 + 2 * 5,
};

size_t svc_json_bytes_max(const struct tare_record_view *view)
{
	return JSON_FIXED_BYTES_MAX + 6 * view->category.len + svc_base64_len(view->payload.len);
}

static char *bool_put(char *out, bool value)
{
	return value ? PUT(out, "true") : PUT(out, "false");
}

size_t svc_json_write(char *const out, const struct tare_record_view *view)
{
	const struct tare_record *r = view->record;
	char *p = PUT(out, "{\"id\":");
	p += tare_format_u64(p, r->id);
	p = PUT(p, ",\"bid_micros\":");
	p += tare_format_i64(p, r->bid_micros);
	p = PUT(p, ",\"budget_micros\":");
	p += tare_format_i64(p, r->budget_micros);
	p = PUT(p, ",\"spend_micros\":");
	p += tare_format_i64(p, r->spend_micros);
	p = PUT(p, ",\"impressions\":");
	p += tare_format_u64(p, r->impressions);
	p = PUT(p, ",\"clicks\":");
	p += tare_format_u64(p, r->clicks);
	p = PUT(p, ",\"hot\":");
	p = bool_put(p, r->hot);
	p = PUT(p, ",\"active\":");
	p = bool_put(p, r->active);
	p = PUT(p, ",\"category\":\"");
	p = string_put(p, view->category);
	p = PUT(p, "\",\"payload\":\"");
	svc_base64_write(p, view->payload.ptr, view->payload.len);
	p += svc_base64_len(view->payload.len);
	p = PUT(p, "\"}");
	return (size_t)(p - out);
}

// The document with an empty payload, and the text over its end: what is hot is left as it is.
size_t svc_json_write_text(char *out, const struct tare_record_view *view, struct tare_str payload)
{
	struct tare_record_view bare = *view;
	bare.payload.len = 0;
	char *p = out + svc_json_write(out, &bare) - (sizeof("\"}") - 1);
	memcpy(p, payload.ptr, payload.len);
	return (size_t)(PUT(p + payload.len, "\"}") - out);
}

size_t svc_json_payload_bytes(const struct tare_record_view *view)
{
	return sizeof(",\"payload\":\"\"}") - 1 + svc_base64_len(view->payload.len);
}

size_t svc_json_write_payload(char *out, const struct tare_record_view *view)
{
	char *p = PUT(out, ",\"payload\":\"");
	svc_base64_write(p, view->payload.ptr, view->payload.len);
	return (size_t)(PUT(p + svc_base64_len(view->payload.len), "\"}") - out);
}

enum { BIN_VERSION = 1, BIN_HEAD_BYTES = 64, BIN_HOT = 1, BIN_ACTIVE = 2 };

size_t svc_bin_bytes(const struct tare_record_view *view)
{
	return BIN_HEAD_BYTES + view->category.len + view->payload.len;
}

static void put_le16(char *out, unsigned value)
{
	uint16_t v = htole16((uint16_t)value);
	memcpy(out, &v, sizeof v);
}

static void put_le32(char *out, size_t value)
{
	uint32_t v = htole32((uint32_t)value);
	memcpy(out, &v, sizeof v);
}

static void put_le64(char *out, uint64_t value)
{
	uint64_t v = htole64(value);
	memcpy(out, &v, sizeof v);
}

void svc_bin_write(char *out, const struct tare_record_view *view)
{
	const struct tare_record *r = view->record;
	TARE_ASSERT(svc_bin_bytes(view) <= UINT32_MAX);
	put_le32(out, svc_bin_bytes(view));
	put_le16(out + 4, BIN_VERSION);
	put_le16(out + 6, (r->hot ? BIN_HOT : 0u) | (r->active ? BIN_ACTIVE : 0u));
	put_le64(out + 8, r->id);
	put_le64(out + 16, (uint64_t)r->bid_micros);
	put_le64(out + 24, (uint64_t)r->budget_micros);
	put_le64(out + 32, (uint64_t)r->spend_micros);
	put_le64(out + 40, r->impressions);
	put_le64(out + 48, r->clicks);
	put_le32(out + 56, view->category.len);
	put_le32(out + 60, view->payload.len);
	memcpy(out + BIN_HEAD_BYTES, view->category.ptr, view->category.len);
	if (view->payload.len > 0)
		memcpy(out + BIN_HEAD_BYTES + view->category.len, view->payload.ptr, view->payload.len);
}
