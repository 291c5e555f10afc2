// SPDX-License-Identifier: MIT
// Goal: a profile puts equal stacks together and is written as profile.proto, gzipped, and as text. Method: a decoder
// of its own for the two shapes of the encoding; test/e2e/test_pprof.py has another for whole profiles.
#include "test.h"

#include <tare/pprof.h>

#include <errno.h>
#include <stdlib.h>
#ifndef TARE_NO_ZLIB
#include <zlib.h>
#endif

struct out {
	char ptr[65536];
	size_t len, room;
};

static int out_write(void *arg, const char *ptr, size_t len)
{
	struct out *out = arg;
	if (len > out->room - out->len)
		return -ENOSPC;
	memcpy(out->ptr + out->len, ptr, len);
	out->len += len;
	out->ptr[out->len] = '\0';
	return 0;
}

static struct tare_pprof *profile_new(void)
{
	struct tare_pprof *p = NULL;
	const struct tare_pprof_options options = {
	    .name = "test",
	    .types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
	    .type_count = 2,
	    .shown = 1,
	    .period_type = {"cpu", "nanoseconds"},
	    .period = 1000,
	    .began_ns = 77,
	    .duration_ns = 88,
	};
	assert_int_equal(tare_pprof_new(&p, &options), 0);
	return p;
}

static void add(struct tare_pprof *p, uintptr_t first, uintptr_t second, double n, const char *label)
{
	const uintptr_t frames[] = {first, second};
	const struct tare_pprof_label labels[] = {{"task", label}};
	assert_int_equal(tare_pprof_add(p, frames, 2, (double[]){n, n * 1000}, labels, 1), 0);
}

static unsigned lines_at(void *arg, uintptr_t address, struct tare_pprof_line *ret)
{
	(void)arg;
	if (address == 0x1000) {
		ret[0] = (struct tare_pprof_line){"inner", "a.c", 10, 5};
		ret[1] = (struct tare_pprof_line){"outer", "b.c", 20, 15};
		return 2;
	}
	ret[0] = (struct tare_pprof_line){.function = "caller"};
	return address == 0x2000;
}

// ---- decoding -----------------------------------------------------------------------------------------------------

static uint64_t varint(const unsigned char **at, const unsigned char *end)
{
	uint64_t value = 0;
	for (unsigned shift = 0; *at < end; shift += 7) {
		unsigned char byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			break;
	}
	return value;
}

// How often each field is there, and the last number of it.
static void decode(const unsigned char *at, const unsigned char *end, unsigned counts[16], uint64_t numbers[16])
{
	memset(counts, 0, 16 * sizeof *counts);
	while (at < end) {
		uint64_t tag = varint(&at, end), value = varint(&at, end);
		assert_true(tag >> 3 >= 1 && tag >> 3 < 16);
		counts[tag >> 3]++;
		numbers[tag >> 3] = value;
		if ((tag & 7) == 2) {
			assert_true(value <= (uint64_t)(end - at));
			at += value;
		} else {
			assert_int_equal(tag & 7, 0);
		}
	}
}

static size_t unpacked(struct out *in, unsigned char *out, size_t room)
{
#ifdef TARE_NO_ZLIB
	assert_true(in->len <= room);
	memcpy(out, in->ptr, in->len);
	return in->len;
#else
	z_stream z = {.next_in = (Bytef *)in->ptr, .avail_in = (uInt)in->len, .next_out = out, .avail_out = (uInt)room};
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	size_t len = z.total_out;
	inflateEnd(&z);
	return len;
#endif
}

TEST(equal_stacks_are_one_sample)
{
	struct tare_pprof *p = profile_new();
	add(p, 0x1000, 0x2000, 1, "a");
	add(p, 0x1000, 0x2000, 2, "a");
	add(p, 0x1000, 0x2000, 4, "b");
	add(p, 0x1000, 0x3000, 8, NULL);
	assert_int_equal(tare_pprof_samples(p), 3);
	assert_int_equal(tare_pprof_total(p, 0), 15);
	assert_int_equal(tare_pprof_total(p, 1), 15000);
	tare_pprof_free(p);
}

TEST(it_is_written_as_profile_proto)
{
	static struct out out = {.room = 65535};
	static unsigned char plain[65536];
	struct tare_pprof *p = profile_new();
	add(p, 0x1000, 0x2000, 3, "a");
	add(p, 0x1000, 0x3000, 4, "a");
	assert_int_equal(tare_pprof_mapping(p, 0x1000, 0x4000, 0x500, "/bin/program", "abcd"), 0);
	assert_int_equal(tare_pprof_resolve(p, lines_at, NULL), 0);
	struct tare_text text = {.write = out_write, .arg = &out};
	assert_int_equal(tare_pprof_write(p, &text), 0);
	size_t len = unpacked(&out, plain, sizeof plain);
	unsigned counts[16];
	uint64_t numbers[16];
	decode(plain, plain + len, counts, numbers);
	assert_int_equal(counts[1], 2); // types
	assert_int_equal(counts[2], 2); // samples
	assert_int_equal(counts[3], 1); // mappings
	assert_int_equal(counts[4], 3); // locations
	assert_int_equal(counts[5], 3); // functions
	assert_int_equal(numbers[9], 77);
	assert_int_equal(numbers[10], 88);
	assert_int_equal(numbers[12], 1000);
	assert_int_equal(counts[14], 1);
	tare_pprof_free(p);
}

TEST(the_text_shows_the_largest_first_with_its_lines)
{
	static struct out out = {.room = 65535};
	struct tare_pprof *p = profile_new();
	add(p, 0x1000, 0x2000, 1.4, NULL);
	add(p, 0x3000, 0x2000, 7.6, "busy");
	assert_int_equal(tare_pprof_resolve(p, lines_at, NULL), 0);
	struct tare_text text = {.write = out_write, .arg = &out};
	assert_int_equal(tare_pprof_write_text(p, &text), 0);
	assert_string_equal(out.ptr, "test profile: 9 samples 9000 cpu/nanoseconds\n\n"
				     "8 7600 @ 0x3000 0x2000\n# labels: task=busy\n#\t0x3000\n#\t0x2000\tcaller\n\n"
				     "1 1400 @ 0x1000 0x2000\n#\t0x1000\tinner\ta.c:10\n#\t0x1000\touter\tb.c:20\n"
				     "#\t0x2000\tcaller\n\n");
	tare_pprof_free(p);
}

TEST(many_stacks_and_deep_ones)
{
	static struct out small = {.room = 10}, out = {.room = 65535};
	uintptr_t deep[TARE_PPROF_FRAMES_MAX + 10];
	struct tare_pprof *p = profile_new();
	for (uintptr_t i = 0; i < TARE_PPROF_FRAMES_MAX + 10; i++)
		deep[i] = 0x100000 + i;
	assert_int_equal(tare_pprof_add(p, deep, TARE_PPROF_FRAMES_MAX + 10, (double[]){1, 1}, NULL, 0), 0);
	for (int round = 0; round < 2; round++)
		for (uintptr_t i = 0; i < 1000; i++)
			add(p, 0x1000 + i, 0x9000 + i % 7, 1, NULL);
	assert_int_equal(tare_pprof_samples(p), 1001);
	assert_int_equal(tare_pprof_total(p, 0), 2001);
	struct tare_text text = {.write = out_write, .arg = &small};
	assert_int_equal(tare_pprof_write_text(p, &text), -ENOSPC);
	text = (struct tare_text){.write = out_write, .arg = &small};
	assert_int_equal(tare_pprof_write(p, &text), -ENOSPC);
	text = (struct tare_text){.write = out_write, .arg = &out};
	assert_int_equal(tare_pprof_write(p, &text), 0);
	tare_pprof_free(p);
	tare_pprof_free(NULL);
}
