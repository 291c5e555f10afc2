// SPDX-License-Identifier: MIT
// Numbers, sizes and durations as people type them, and numbers as servers print them.
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

static const char digit_pairs[201] = "0001020304050607080910111213141516171819"
				     "2021222324252627282930313233343536373839"
				     "4041424344454647484950515253545556575859"
				     "6061626364656667686970717273747576777879"
				     "8081828384858687888990919293949596979899";

// Eight digits of n < 10^8, with leading zeros. The integer part of n / 10^6 and then of each hundredfold remainder
// stand in the upper half of a 64-bit fixed-point number: multiplications alone, no division.
static inline __attribute__((always_inline)) void put_8_digits(char *out, uint32_t n)
{
	// 2^48 / 10^6, rounded up twice: the digits are exact for every n < 10^8
	uint64_t fixed = ((n * UINT64_C(281474977)) >> 16) + 1;
	memcpy(out, &digit_pairs[(fixed >> 32) * 2], 2);
	fixed = (uint32_t)fixed * UINT64_C(100);
	memcpy(out + 2, &digit_pairs[(fixed >> 32) * 2], 2);
	fixed = (uint32_t)fixed * UINT64_C(100);
	memcpy(out + 4, &digit_pairs[(fixed >> 32) * 2], 2);
	fixed = (uint32_t)fixed * UINT64_C(100);
	memcpy(out + 6, &digit_pairs[(fixed >> 32) * 2], 2);
}

static unsigned leading_zeros_of(const char *digits)
{
	uint64_t word;
	memcpy(&word, digits, sizeof word);
	word ^= UINT64_C(0x3030303030303030);
	return word == 0 ? 7 : (unsigned)__builtin_ctzll(word) / 8; // a lone zero is one digit
}

// Digits are written with their leading zeros aside and moved by copies of a fixed size: cheaper than loops, and the
// reason for the 20 bytes of room.
size_t tare_format_u64(char *out, uint64_t v)
{
	char digits[40];
	if (TARE_LIKELY(v < 100000000)) {
		put_8_digits(digits, (uint32_t)v);
		unsigned zeros = leading_zeros_of(digits);
		memcpy(out, digits + zeros, 8);
		return 8 - zeros;
	}
	uint64_t high = v / 100000000;
	put_8_digits(digits + 8, (uint32_t)(v % 100000000));
	if (TARE_LIKELY(high < 100000000)) {
		put_8_digits(digits, (uint32_t)high);
		unsigned zeros = leading_zeros_of(digits);
		memcpy(out, digits + zeros, 16);
		return 16 - zeros;
	}
	put_8_digits(digits, (uint32_t)(high % 100000000));
	char top[8];
	put_8_digits(top, (uint32_t)(high / 100000000));
	unsigned zeros = leading_zeros_of(top);
	memcpy(out, top + zeros, 8 - zeros);
	memcpy(out + 8 - zeros, digits, 16);
	return 24 - zeros;
}

size_t tare_format_i64(char *out, int64_t v)
{
	if (v >= 0)
		return tare_format_u64(out, (uint64_t)v);
	*out = '-';
	return 1 + tare_format_u64(out + 1, 0 - (uint64_t)v);
}
