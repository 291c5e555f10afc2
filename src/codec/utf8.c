// SPDX-License-Identifier: MIT
// Strict UTF-8, as RFC 3629 has it: the shortest form of each code point, no surrogates, nothing past U+10FFFF.
//
// Texts are nearly always ASCII, so runs of it are passed eight bytes at a time. Pure functions.
#include "codec/codec_int.h"

// Bytes of the sequence that begins at p, within n; 0 where it is not one.
static size_t sequence(const unsigned char *p, size_t n)
{
	unsigned char lead = p[0], low = 0x80, high = 0xbf;
	size_t len;
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		len = 2;
	else if (lead >= 0xe0 && lead <= 0xef)
		len = 3;
	else if (lead >= 0xf0 && lead <= 0xf4)
		len = 4;
	else
		return 0;
	if (lead == 0xe0)
		low = 0xa0; // overlong
	else if (lead == 0xed)
		high = 0x9f; // a surrogate
	else if (lead == 0xf0)
		low = 0x90; // overlong
	else if (lead == 0xf4)
		high = 0x8f; // past U+10FFFF
	if (n < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

size_t codec_utf8_prefix(const unsigned char *text, size_t len)
{
	size_t i = 0;
	while (i < len) {
		if (len - i >= 8 && (TARE_CODEC_LOAD(tare_codec_u64, text + i) & UINT64_C(0x8080808080808080)) == 0) {
			i += 8;
			continue;
		}
		size_t n = sequence(text + i, len - i);
		if (n == 0)
			return i;
		i += n;
	}
	return len;
}

bool tare_codec_utf8(const void *text, size_t len)
{
	return codec_utf8_prefix(text, len) == len;
}
