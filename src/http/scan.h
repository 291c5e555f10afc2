// SPDX-License-Identifier: MIT
//
// http: scanners that find the first byte outside a class, 16 bytes a step (SSE2, NEON) or one (plain).
//
// Each takes begin <= p <= end, where [begin, end) is readable, and returns the first byte of [p, end) outside its
// class, or end. Nothing outside [begin, end) is read: the last partial block is loaded so that it ends at end and the
// bytes before p are shifted out; a range shorter than a block is scanned a byte at a time.
//
// The plain scanners are always built and define the classes; test/unit/http/test_scan.c proves the others equal to
// them. With HTTP_PLAIN defined, or on other machines, the parser uses the plain ones.
//
// The block scanners are inline: names and values are shorter than 32 bytes, and out of line they make a browser's head
// of 472 bytes some 4 % dearer (bench/http_parse.c: 244 ns inline, 255 ns not, 367 ns plain).
#ifndef TARE_HTTP_SCAN_H
#define TARE_HTTP_SCAN_H

#include <tare/base.h>

enum {
	HTTP_CLASS_TOKEN = 1,  // tchar: letters, digits, !#$%&'*+-.^_`|~
	HTTP_CLASS_VALUE = 2,  // all but control bytes; tab is in, DEL is not
	HTTP_CLASS_TARGET = 4, // 0x21 to 0x7e without '#'
	HTTP_CLASS_HOST = 8,   // a host name's, without '%' and ',': letters, digits, -._~!$&'()*+;=
};

// A bit a class for each byte.
extern const uint8_t http_classes[256];

static inline bool http_is_token(char c)
{
	return (http_classes[(unsigned char)c] & HTTP_CLASS_TOKEN) != 0;
}

static inline bool http_is_host(char c)
{
	return (http_classes[(unsigned char)c] & HTTP_CLASS_HOST) != 0;
}

const char *http_scan_token_plain(const char *begin, const char *p, const char *end);
const char *http_scan_value_plain(const char *begin, const char *p, const char *end);
const char *http_scan_target_plain(const char *begin, const char *p, const char *end);

#if defined(__x86_64__)
#include <emmintrin.h>
#define HTTP_BLOCKS 1
#define HTTP_LANE_SHIFT 0 // bits of a mask that stand for one byte: 1 << HTTP_LANE_SHIFT
typedef __m128i http_block;

static inline http_block http_block_load(const char *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}
static inline http_block http_block_eq(http_block v, uint8_t c)
{
	return _mm_cmpeq_epi8(v, _mm_set1_epi8((char)c));
}
// Lanes within [low, high].
static inline http_block http_block_in(http_block v, uint8_t low, uint8_t high)
{
	__m128i x = _mm_sub_epi8(v, _mm_set1_epi8((char)low));
	return _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8((char)(high - low))), x);
}
static inline http_block http_block_or(http_block a, http_block b)
{
	return _mm_or_si128(a, b);
}
static inline http_block http_block_set_bit5(http_block v)
{
	return _mm_or_si128(v, _mm_set1_epi8(0x20));
}
static inline uint64_t http_block_mask(http_block v)
{
	return (unsigned)_mm_movemask_epi8(v);
}
#define HTTP_MASK_ALL UINT64_C(0xffff)

#elif defined(__aarch64__)
#include <arm_neon.h>
#define HTTP_BLOCKS 1
#define HTTP_LANE_SHIFT 2
typedef uint8x16_t http_block;

static inline http_block http_block_load(const char *p)
{
	return vld1q_u8((const uint8_t *)p);
}
static inline http_block http_block_eq(http_block v, uint8_t c)
{
	return vceqq_u8(v, vdupq_n_u8(c));
}
// Lanes within [low, high].
static inline http_block http_block_in(http_block v, uint8_t low, uint8_t high)
{
	return vcleq_u8(vsubq_u8(v, vdupq_n_u8(low)), vdupq_n_u8((uint8_t)(high - low)));
}
static inline http_block http_block_or(http_block a, http_block b)
{
	return vorrq_u8(a, b);
}
static inline http_block http_block_set_bit5(http_block v)
{
	return vorrq_u8(v, vdupq_n_u8(0x20));
}
// NEON has no movemask: a narrowing shift leaves four bits a lane.
static inline uint64_t http_block_mask(http_block v)
{
	return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(v), 4)), 0);
}
#define HTTP_MASK_ALL UINT64_MAX
#endif

#ifdef HTTP_BLOCKS

// Masks of the bytes to stop at in the block at p.

// Token bytes other than letters, digits and '-' stop it too: they are rare, and http_scan_token_blocks steps over
// them.
static inline uint64_t http_stop_token(const char *p)
{
	http_block v = http_block_load(p);
	http_block in = http_block_or(http_block_in(http_block_set_bit5(v), 'a', 'z'),
				      http_block_or(http_block_in(v, '0', '9'), http_block_eq(v, '-')));
	return http_block_mask(in) ^ HTTP_MASK_ALL;
}

static inline uint64_t http_stop_value(const char *p)
{
	http_block v = http_block_load(p);
	http_block out =
	    http_block_or(http_block_or(http_block_in(v, 0, 8), http_block_in(v, 10, 31)), http_block_eq(v, 0x7f));
	return http_block_mask(out);
}

static inline uint64_t http_stop_target(const char *p)
{
	http_block v = http_block_load(p);
	http_block in = http_block_or(http_block_in(v, 0x21, 0x22), http_block_in(v, 0x24, 0x7e));
	return http_block_mask(in) ^ HTTP_MASK_ALL;
}

static inline __attribute__((always_inline)) const char *
http_scan_blocks(uint64_t (*stop)(const char *), const char *(*plain)(const char *, const char *, const char *),
		 const char *begin, const char *p, const char *end)
{
	for (; end - p >= 16; p += 16) {
		uint64_t mask = stop(p);
		if (mask != 0)
			return p + (__builtin_ctzll(mask) >> HTTP_LANE_SHIFT);
	}
	if (p == end)
		return end;
	if (end - begin < 16)
		return plain(begin, p, end);
	uint64_t mask = stop(end - 16) >> ((16 - (end - p)) << HTTP_LANE_SHIFT);
	return mask != 0 ? p + (__builtin_ctzll(mask) >> HTTP_LANE_SHIFT) : end;
}

static inline const char *http_scan_token_blocks(const char *begin, const char *p, const char *end)
{
	for (;;) {
		p = http_scan_blocks(http_stop_token, http_scan_token_plain, begin, p, end);
		if (p == end || !http_is_token(*p))
			return p;
		p++;
	}
}

static inline const char *http_scan_value_blocks(const char *begin, const char *p, const char *end)
{
	return http_scan_blocks(http_stop_value, http_scan_value_plain, begin, p, end);
}

static inline const char *http_scan_target_blocks(const char *begin, const char *p, const char *end)
{
	return http_scan_blocks(http_stop_target, http_scan_target_plain, begin, p, end);
}
#endif

#if defined(HTTP_BLOCKS) && !defined(HTTP_PLAIN)
#define http_scan_token http_scan_token_blocks
#define http_scan_value http_scan_value_blocks
#define http_scan_target http_scan_target_blocks
#else
#define http_scan_token http_scan_token_plain
#define http_scan_value http_scan_value_plain
#define http_scan_target http_scan_target_plain
#endif

#endif
