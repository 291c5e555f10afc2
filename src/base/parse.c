// SPDX-License-Identifier: MIT
// Numbers, sizes and durations as people type them, numbers as servers print them, and the digits of base64.
#include <tare/base.h>

#include <errno.h>

int tare_parse_u64(struct tare_str text, uint64_t *ret_value)
{
	if (text.len == 0)
		return -EINVAL;
	uint64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
		if (digit > 9)
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
			return -ERANGE;
	}
	*ret_value = value;
	return 0;
}

int tare_parse_size(const char *text, uint64_t *ret_bytes)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t value;
	int rc = tare_parse_u64((struct tare_str){text, digits}, &value);
	if (rc < 0)
		return rc;
	const char *unit = text + digits;
	unsigned shift = 0;
	if (*unit != '\0' && *unit != 'B') {
		const char *const units = "KMGT";
		const char *found = strchr(units, *unit >= 'a' ? *unit - ('a' - 'A') : *unit);
		if (found == NULL)
			return -EINVAL;
		shift = 10 * (unsigned)(found - units + 1);
		unit++;
		if (*unit == 'i')
			unit++;
	}
	if (*unit == 'B')
		unit++;
	if (*unit != '\0')
		return -EINVAL;
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = value << shift;
	return 0;
}

int tare_parse_duration(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {{"ns", 1},
		     {"us", TARE_NS_PER_US},
		     {"ms", TARE_NS_PER_MS},
		     {"s", TARE_NS_PER_S},
		     {"m", 60 * TARE_NS_PER_S},
		     {"h", 3600 * TARE_NS_PER_S},
		     {"", TARE_NS_PER_S}};
	size_t digits = strspn(text, "0123456789");
	uint64_t whole;
	int rc = tare_parse_u64((struct tare_str){text, digits}, &whole);
	if (rc < 0)
		return rc;
	const char *rest = text + digits;
	double fraction = 0, place = 0.1;
	if (*rest == '.') {
		const char *first = ++rest;
		for (; *rest >= '0' && *rest <= '9'; rest++, place /= 10)
			fraction += (*rest - '0') * place;
		if (rest == first)
			return -EINVAL;
	}
	for (size_t i = 0; i < TARE_ARRAY_LEN(units); i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		int64_t ns;
		if (whole > INT64_MAX || __builtin_mul_overflow((int64_t)whole, units[i].ns, &ns) ||
		    __builtin_add_overflow(ns, (int64_t)(fraction * (double)units[i].ns + 0.5), &ns))
			return -ERANGE;
		*ret_ns = ns;
		return 0;
	}
	return -EINVAL;
}

// The eight decimal digits of n < 10^8, a byte each, the first one lowest: split into halves of four, two and one
// digits, all lanes at once. The multiplications by reciprocals are exact in these ranges.
static uint64_t eight_digits(uint32_t n)
{
	uint32_t high = (uint32_t)((n * UINT64_C(3518437209)) >> 45); // n / 10^4
	uint64_t fours = high | (uint64_t)(n - high * 10000) << 32;
	uint64_t hundreds = (fours * 5243) >> 19 & UINT64_C(0x0000007f0000007f);
	uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
	uint64_t tens = (twos * 103) >> 10 & UINT64_C(0x000f000f000f000f);
	return tens | (twos - tens * 10) << 8;
}

static const uint64_t ascii_zeros = UINT64_C(0x3030303030303030);

static char *put_eight(char *out, uint64_t digits)
{
	digits += ascii_zeros;
	memcpy(out, &digits, sizeof digits);
	return out + 8;
}

// Without leading zeros; eight bytes are written all the same.
static char *put_first(char *out, uint64_t digits)
{
	unsigned zeros = digits == 0 ? 7 : (unsigned)__builtin_ctzll(digits) / 8; // a lone zero is one digit
	return put_eight(out, digits >> zeros * 8) - zeros;
}

// Digits stay in registers and go out by stores of eight bytes: no table, no loop, no division; the reason for the
// 20 bytes of room.
size_t tare_format_u64(char *out, uint64_t v)
{
	if (TARE_LIKELY(v < 100000000))
		return (size_t)(put_first(out, eight_digits((uint32_t)v)) - out);
	char *end = out;
	uint64_t high = v / 100000000;
	if (TARE_LIKELY(high < 100000000)) {
		end = put_first(end, eight_digits((uint32_t)high));
	} else {
		// at most four digits: those that a store of eight would put beyond them are overwritten
		end = put_first(end, eight_digits((uint32_t)(high / 100000000)));
		end = put_eight(end, eight_digits((uint32_t)(high % 100000000)));
	}
	end = put_eight(end, eight_digits((uint32_t)(v % 100000000)));
	return (size_t)(end - out);
}

size_t tare_format_i64(char *out, int64_t v)
{
	if (v >= 0)
		return tare_format_u64(out, (uint64_t)v);
	*out = '-';
	return 1 + tare_format_u64(out + 1, 0 - (uint64_t)v);
}

int tare_base64_digit(int32_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}
