// SPDX-License-Identifier: MIT
// Floats as text and back, exactly: what is written is the shortest text that reads back as the same value.
//
// Most numbers in messages have few digits, and for those a division suffices: where the digits and the power of ten
// are both exact, IEEE 754 rounds their quotient as it would the decimal number. That holds for digits up to 2^53 and
// powers up to 10^22 in double, 2^24 and 10^10 in float. All others go through the C library, in its C locale.
// Pure functions; no heap call: the C locale is the C library's own.
#include "codec/codec_int.h"

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { F64_POWER_MAX = 22, F32_POWER_MAX = 10, PLACES_MAX = 6 };

static const double powers[F64_POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
						 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const float powers_f32[F32_POWER_MAX + 1] = {1e0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F, 1e8F, 1e9F, 1e10F};

// With all categories asked for, glibc gives the one that it was built with.
static locale_t c_locale(void)
{
	return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static void copy_number(char *out, const struct codec_number *number)
{
	memcpy(out, number->text, number->bytes); // at most CODEC_NUMBER_BYTES_MAX: codec_json_number
	out[number->bytes] = '\0';
}

int codec_f64_read(const struct codec_number *number, double *ret)
{
	int64_t e = number->exponent;
	double value;
	if (number->exact && number->digits <= UINT64_C(1) << 53 && e >= -F64_POWER_MAX && e <= F64_POWER_MAX) {
		value = (double)number->digits;
		value = e < 0 ? value / powers[-e] : value * powers[e];
		value = number->negative ? -value : value;
	} else {
		char text[CODEC_NUMBER_BYTES_MAX + 1];
		copy_number(text, number);
		value = strtod_l(text, NULL, c_locale());
	}
	if (!isfinite(value))
		return -ERANGE;
	*ret = value;
	return 0;
}

int codec_f32_read(const struct codec_number *number, float *ret)
{
	int64_t e = number->exponent;
	float value;
	if (number->exact && number->digits <= 1U << 24 && e >= -F32_POWER_MAX && e <= F32_POWER_MAX) {
		value = (float)number->digits;
		value = e < 0 ? value / powers_f32[-e] : value * powers_f32[e];
		value = number->negative ? -value : value;
	} else {
		char text[CODEC_NUMBER_BYTES_MAX + 1];
		copy_number(text, number);
		value = strtof_l(text, NULL, c_locale());
	}
	if (!isfinite(value))
		return -ERANGE;
	*ret = value;
	return 0;
}

// digits / 10^places
static size_t put_decimal(char *out, bool negative, uint64_t digits, unsigned places)
{
	char text[20];
	char *p = out;
	size_t n = tare_format_u64(text, digits);
	if (negative)
		*p++ = '-';
	if (n <= places) {
		*p++ = '0';
	} else {
		memcpy(p, text, n - places);
		p += n - places;
	}
	if (places > 0) {
		*p++ = '.';
		for (size_t i = n; i < places; i++)
			*p++ = '0';
		size_t shown = TARE_MIN(n, (size_t)places);
		memcpy(p, text + n - shown, shown);
		p += shown;
	}
	return (size_t)(p - out);
}

static bool put_digits(char *out, size_t *ret_bytes, double value, int precision, bool single)
{
	int n = snprintf(out, CODEC_FLOAT_BYTES_MAX, "%.*g", precision, value);
	*ret_bytes = (size_t)n;
	return single ? strtof(out, NULL) == (float)value : strtod(out, NULL) == value;
}

// By the C library, with as few digits as read back the same. A type's safe digits are those that every decimal number
// survives: where they don't suffice, fewer don't either; three more always do.
static size_t put_shortest(char *out, double value, int safe_digits, bool single)
{
	size_t n = 0;
	locale_t before = uselocale(c_locale());
	int precision = put_digits(out, &n, value, safe_digits, single) ? 1 : safe_digits + 1;
	while (!put_digits(out, &n, value, precision, single))
		precision++;
	uselocale(before);
	return n;
}

size_t codec_f64_write(char *out, double value)
{
	double size = fabs(value);
	if (size < 1e9 && (size >= 1e-3 || size == 0)) // then digits stay below 2^53
		for (unsigned places = 0; places <= PLACES_MAX; places++) {
			double scaled = nearbyint(size * powers[places]);
			if (scaled / powers[places] == size)
				return put_decimal(out, signbit(value), (uint64_t)scaled, places);
		}
	return put_shortest(out, value, DBL_DIG, false);
}

size_t codec_f32_write(char *out, float value)
{
	float size = fabsf(value);
	if (size < 1e6F && (size >= 1e-3F || size == 0))
		for (unsigned places = 0; places <= PLACES_MAX; places++) {
			float scaled = nearbyintf(size * powers_f32[places]);
			if (scaled > 0x1p24F)
				break;
			if (scaled / powers_f32[places] == size)
				return put_decimal(out, signbit(value), (uint64_t)scaled, places);
		}
	return put_shortest(out, (double)value, FLT_DIG, true);
}
