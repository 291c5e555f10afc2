// SPDX-License-Identifier: MIT
// Messages of shape_1, version 1: made by `tare schema compile` of shape_1.tare, not by hand.
// clang-format off
#include "shape_1.tare.h"

#include <errno.h>

static const char *const colour_names_list[] = {"red", "green", "blue"};
__attribute__((unused)) static const struct tare_codec_names colour_names = {"colour", 3, colour_names_list, NULL};

const char *shape_1_colour_name(uint8_t value)
{
	return value < 3 ? colour_names_list[value] : NULL;
}

static const struct tare_codec_field point_fields[] = {
	{.name = "x", .name_bytes = 1, .kind = TARE_CODEC_I32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "y", .name_bytes = 1, .kind = TARE_CODEC_I16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 4, .count = 0},
	{.name = "good", .name_bytes = 4, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 6, .count = 0},
	{.name = "colour", .name_bytes = 6, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 7, .count = 0, .names = &colour_names},
};
static const unsigned char point_defaults[8] = {[0] = 0xf9, [1] = 0xff, [2] = 0xff, [3] = 0xff, [6] = 0x01, [7] = 0x02};
__attribute__((unused)) static const struct tare_codec_record point_record = {
	.name = "point", .fields = point_fields, .defaults = point_defaults, .bytes = 8, .field_count = 4,
	.slots = 0, .checked = true,
};

static const struct tare_codec_field pair_fields[] = {
	{.name = "from", .name_bytes = 4, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0, .record = &point_record},
	{.name = "to", .name_bytes = 2, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 8, .count = 0, .record = &point_record},
	{.name = "weights", .name_bytes = 7, .kind = TARE_CODEC_F32, .shape = TARE_CODEC_ARRAY, .element_bytes = 4, .slot = 0, .offset = 16, .count = 2},
	{.name = "flags", .name_bytes = 5, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ARRAY, .element_bytes = 1, .slot = 0, .offset = 24, .count = 3},
	{.name = "colours", .name_bytes = 7, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ARRAY, .element_bytes = 1, .slot = 0, .offset = 27, .count = 2, .names = &colour_names},
};
static const unsigned char pair_defaults[29] = {[0] = 0xf9, [1] = 0xff, [2] = 0xff, [3] = 0xff, [6] = 0x01, [7] = 0x02, [8] = 0xf9, [9] = 0xff, [10] = 0xff, [11] = 0xff, [14] = 0x01, [15] = 0x02};
__attribute__((unused)) static const struct tare_codec_record pair_record = {
	.name = "pair", .fields = pair_fields, .defaults = pair_defaults, .bytes = 29, .field_count = 5,
	.slots = 0, .checked = true,
};

static const struct tare_codec_field plain_fields[] = {
	{.name = "a", .name_bytes = 1, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 0, .count = 0},
	{.name = "b", .name_bytes = 1, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 2, .count = 0},
};
static const unsigned char plain_defaults[10];
__attribute__((unused)) static const struct tare_codec_record plain_record = {
	.name = "plain", .fields = plain_fields, .defaults = plain_defaults, .bytes = 10, .field_count = 2,
	.slots = 0, .checked = false,
};

static const char *const thing_names_list[] = {"point", "plain"};
static const struct tare_codec_record *const thing_variants[] = {&point_record, &plain_record};
__attribute__((unused)) static const struct tare_codec_names thing_names = {"thing", 2, thing_names_list, thing_variants};

static const struct tare_codec_field label_fields[] = {
	{.name = "text", .name_bytes = 4, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0},
	{.name = "raw", .name_bytes = 3, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 0, .count = 0},
	{.name = "points", .name_bytes = 6, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 2, .offset = 0, .count = 0, .record = &point_record},
	{.name = "at", .name_bytes = 2, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 3, .offset = 0, .count = 0, .record = &point_record},
	{.name = "thing", .name_bytes = 5, .kind = TARE_CODEC_UNION, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 3, .offset = 8, .count = 0, .names = &thing_names},
};
static const unsigned char label_defaults[9] = {[0] = 0xf9, [1] = 0xff, [2] = 0xff, [3] = 0xff, [6] = 0x01, [7] = 0x02};
__attribute__((unused)) static const struct tare_codec_record label_record = {
	.name = "label", .fields = label_fields, .defaults = label_defaults, .bytes = 9, .field_count = 5,
	.slots = 4, .checked = true,
};

static const struct tare_codec_field outer_fields[] = {
	{.name = "name", .name_bytes = 4, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0},
	{.name = "label", .name_bytes = 5, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 0, .count = 0, .record = &label_record},
	{.name = "depth", .name_bytes = 5, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 5, .offset = 9, .count = 0},
};
static const unsigned char outer_defaults[10] = {[0] = 0xf9, [1] = 0xff, [2] = 0xff, [3] = 0xff, [6] = 0x01, [7] = 0x02, [9] = 0x03};
__attribute__((unused)) static const struct tare_codec_record outer_record = {
	.name = "outer", .fields = outer_fields, .defaults = outer_defaults, .bytes = 10, .field_count = 3,
	.slots = 5, .checked = true,
};

static const struct tare_codec_field message_fields[] = {
	{.name = "a_u8", .name_bytes = 4, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 0, .count = 0},
	{.name = "a_u16", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 1, .count = 0},
	{.name = "a_u32", .name_bytes = 5, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 3, .count = 0},
	{.name = "a_u64", .name_bytes = 5, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 7, .count = 0},
	{.name = "a_i8", .name_bytes = 4, .kind = TARE_CODEC_I8, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 15, .count = 0},
	{.name = "a_i16", .name_bytes = 5, .kind = TARE_CODEC_I16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 16, .count = 0},
	{.name = "a_i32", .name_bytes = 5, .kind = TARE_CODEC_I32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 18, .count = 0},
	{.name = "a_i64", .name_bytes = 5, .kind = TARE_CODEC_I64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 22, .count = 0},
	{.name = "a_f32", .name_bytes = 5, .kind = TARE_CODEC_F32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 30, .count = 0},
	{.name = "a_f64", .name_bytes = 5, .kind = TARE_CODEC_F64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 34, .count = 0},
	{.name = "yes", .name_bytes = 3, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 42, .count = 0},
	{.name = "colour", .name_bytes = 6, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 43, .count = 0, .names = &colour_names},
	{.name = "bytes8", .name_bytes = 6, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ARRAY, .element_bytes = 1, .slot = 0, .offset = 44, .count = 8},
	{.name = "numbers", .name_bytes = 7, .kind = TARE_CODEC_I16, .shape = TARE_CODEC_ARRAY, .element_bytes = 2, .slot = 0, .offset = 52, .count = 3},
	{.name = "name", .name_bytes = 4, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 58, .count = 0},
	{.name = "title", .name_bytes = 5, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 58, .count = 0},
	{.name = "raw", .name_bytes = 3, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 2, .offset = 58, .count = 0},
	{.name = "pair", .name_bytes = 4, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 3, .offset = 58, .count = 0, .record = &pair_record},
	{.name = "outer", .name_bytes = 5, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 3, .offset = 87, .count = 0, .record = &outer_record},
	{.name = "thing", .name_bytes = 5, .kind = TARE_CODEC_UNION, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 8, .offset = 97, .count = 0, .names = &thing_names},
	{.name = "pairs", .name_bytes = 5, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 9, .offset = 98, .count = 0, .record = &pair_record},
	{.name = "plains", .name_bytes = 6, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 10, .offset = 98, .count = 0, .record = &plain_record},
	{.name = "words", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_VECTOR, .element_bytes = 2, .slot = 11, .offset = 98, .count = 0},
	{.name = "reals", .name_bytes = 5, .kind = TARE_CODEC_F64, .shape = TARE_CODEC_VECTOR, .element_bytes = 8, .slot = 12, .offset = 98, .count = 0},
	{.name = "colours", .name_bytes = 7, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_VECTOR, .element_bytes = 1, .slot = 13, .offset = 98, .count = 0, .names = &colour_names},
	{.name = "switches", .name_bytes = 8, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_VECTOR, .element_bytes = 1, .slot = 14, .offset = 98, .count = 0},
	{.name = "last", .name_bytes = 4, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 15, .offset = 98, .count = 0},
};
static const unsigned char message_defaults[98] = {[0] = 0xc8, [1] = 0xef, [2] = 0xbe, [4] = 0x28, [5] = 0x6b, [6] = 0xee, [7] = 0xff, [8] = 0xff, [9] = 0xff, [10] = 0xff, [11] = 0xff, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0x80, [17] = 0x80, [21] = 0x80, [29] = 0x80, [30] = 0xcd, [31] = 0xcc, [32] = 0xcc, [33] = 0x3d, [34] = 0x35, [35] = 0x58, [37] = 0x66, [38] = 0x2d, [39] = 0xeb, [40] = 0x41, [41] = 0xfe, [42] = 0x01, [43] = 0x01, [58] = 0xf9, [59] = 0xff, [60] = 0xff, [61] = 0xff, [64] = 0x01, [65] = 0x02, [66] = 0xf9, [67] = 0xff, [68] = 0xff, [69] = 0xff, [72] = 0x01, [73] = 0x02, [87] = 0xf9, [88] = 0xff, [89] = 0xff, [90] = 0xff, [93] = 0x01, [94] = 0x02, [96] = 0x03};
__attribute__((unused)) static const struct tare_codec_record message_record = {
	.name = "shape_1", .fields = message_fields, .defaults = message_defaults, .bytes = 98, .field_count = 27,
	.slots = 16, .checked = true,
};
static const struct tare_codec_version message_versions[] = {{98, 16}};
const struct tare_codec_schema shape_1_schema = {
	.name = "shape_1", .root = &message_record, .versions = message_versions, .id = 0x53484150, .version = 1,
};

__attribute__((unused)) static inline uint64_t point_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= p[6] >= 2;
	wrong |= p[7] >= 3;
	return wrong;
}

__attribute__((unused)) static inline uint64_t pair_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= point_wrong(p + 0);
	wrong |= point_wrong(p + 8);
	wrong |= tare_codec_past(p + 24, 3, 2);
	wrong |= tare_codec_past(p + 27, 2, 3);
	return wrong;
}

// Past the last variant nothing is of the right size.
__attribute__((unused)) static inline uint64_t thing_bytes(uint8_t kind)
{
	static const uint32_t bytes[] = {0, 8, 10};
	return kind < 3 ? bytes[kind] : UINT64_C(1) << 33;
}

__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct tare_error *err)
{
	if (total == SIZE_MAX)
		return tare_error_set(err, -EMSGSIZE, "shape_1: more than 4 GiB, or an unknown variant");
	return tare_error_set(err, -ENOSPC, "shape_1: %zu bytes do not fit into %zu", total, cap);
}

// A text that is not ASCII, or a value that is not valid.
__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct tare_error *err)
{
	struct shape_1_view view;
	int rc = shape_1_verify(&view, buf, total, err);
	return rc < 0 ? rc : (ssize_t)total;
}

size_t shape_1_encoded_bytes(const struct shape_1 *in)
{
	uint64_t all = 0, total = SHAPE_1_FIXED_BYTES;
	all |= in->name.len;
	total += in->name.len;
	all |= in->title.len;
	total += in->title.len;
	all |= in->raw.len;
	total += in->raw.len;
	all |= in->outer.name.len;
	total += in->outer.name.len;
	all |= in->outer.label.text.len;
	total += in->outer.label.text.len;
	all |= in->outer.label.raw.len;
	total += in->outer.label.raw.len;
	all |= in->outer.label.points.count;
	total += (uint64_t)in->outer.label.points.count * 8;
	total += thing_bytes(in->outer.label.thing.kind);
	total += thing_bytes(in->thing.kind);
	all |= in->pairs.count;
	total += (uint64_t)in->pairs.count * 29;
	all |= in->plains.count;
	total += (uint64_t)in->plains.count * 10;
	all |= in->words.count;
	total += (uint64_t)in->words.count * 2;
	all |= in->reals.count;
	total += (uint64_t)in->reals.count * 8;
	all |= in->colours.count;
	total += (uint64_t)in->colours.count * 1;
	all |= in->switches.count;
	total += (uint64_t)in->switches.count * 1;
	all |= in->last.len;
	total += in->last.len;
	return all > UINT32_MAX || total > UINT32_MAX ? SIZE_MAX : total;
}

ssize_t shape_1_encode(const struct shape_1 *in, void *buf, size_t cap, struct tare_error *err)
{
	const size_t total = shape_1_encoded_bytes(in);
	if (TARE_UNLIKELY(total > cap))
		return too_long(total, cap, err);
	unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;
	unsigned char *const s = b + SHAPE_1_BLOCK_BYTES, *p = s + SHAPE_1_SLOTS * TARE_CODEC_SLOT_BYTES;
	uint64_t n;
	uint64_t wrong = 0;
	TARE_CODEC_STORE(tare_codec_u64, m, SHAPE_1_ID | (uint64_t)SHAPE_1_VERSION << 32 | (uint64_t)SHAPE_1_SLOTS << 48);
	TARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)SHAPE_1_BLOCK_BYTES << 32);
	b[0] = (unsigned char)in->a_u8;
	TARE_CODEC_STORE(tare_codec_u16, b + 1, in->a_u16);
	TARE_CODEC_STORE(tare_codec_u32, b + 3, in->a_u32);
	TARE_CODEC_STORE(tare_codec_u64, b + 7, in->a_u64);
	b[15] = (unsigned char)in->a_i8;
	TARE_CODEC_STORE(tare_codec_i16, b + 16, in->a_i16);
	TARE_CODEC_STORE(tare_codec_i32, b + 18, in->a_i32);
	TARE_CODEC_STORE(tare_codec_i64, b + 22, in->a_i64);
	TARE_CODEC_STORE(tare_codec_f32, b + 30, in->a_f32);
	TARE_CODEC_STORE(tare_codec_f64, b + 34, in->a_f64);
	b[42] = (unsigned char)in->yes;
	b[43] = (unsigned char)in->colour;
	wrong |= b[43] >= 3;
	memcpy(b + 44, in->bytes8, 8);
	memcpy(b + 52, in->numbers, 6);
	n = in->name.len;
	tare_codec_slot_put(s, 0, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->name.ptr, n);
	p += n;
	n = in->title.len;
	tare_codec_slot_put(s, 1, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->title.ptr, n);
	p += n;
	n = in->raw.len;
	tare_codec_slot_put(s, 2, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->raw.ptr, n);
	p += n;
	memcpy(b + 58, &in->pair, 29);
	wrong |= pair_wrong(b + 58);
	n = in->outer.name.len;
	tare_codec_slot_put(s, 3, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->outer.name.ptr, n);
	p += n;
	n = in->outer.label.text.len;
	tare_codec_slot_put(s, 4, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->outer.label.text.ptr, n);
	p += n;
	n = in->outer.label.raw.len;
	tare_codec_slot_put(s, 5, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->outer.label.raw.ptr, n);
	p += n;
	n = (uint64_t)in->outer.label.points.count * 8;
	tare_codec_slot_put(s, 6, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->outer.label.points.at, n);
	for (size_t i = 0; i < n; i += 8)
		wrong |= point_wrong(p + i);
	p += n;
	memcpy(b + 87, &in->outer.label.at, 8);
	wrong |= point_wrong(b + 87);
	n = thing_bytes(in->outer.label.thing.kind);
	tare_codec_slot_put(s, 7, (uint64_t)(p - m), n);
	b[95] = in->outer.label.thing.kind;
	memcpy(p, &in->outer.label.thing.point, n);
	if (in->outer.label.thing.kind == 1)
		wrong |= point_wrong(p);
	p += n;
	b[96] = (unsigned char)in->outer.depth;
	n = thing_bytes(in->thing.kind);
	tare_codec_slot_put(s, 8, (uint64_t)(p - m), n);
	b[97] = in->thing.kind;
	memcpy(p, &in->thing.point, n);
	if (in->thing.kind == 1)
		wrong |= point_wrong(p);
	p += n;
	n = (uint64_t)in->pairs.count * 29;
	tare_codec_slot_put(s, 9, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->pairs.at, n);
	for (size_t i = 0; i < n; i += 29)
		wrong |= pair_wrong(p + i);
	p += n;
	n = (uint64_t)in->plains.count * 10;
	tare_codec_slot_put(s, 10, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->plains.at, n);
	p += n;
	n = (uint64_t)in->words.count * 2;
	tare_codec_slot_put(s, 11, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->words.at, n);
	p += n;
	n = (uint64_t)in->reals.count * 8;
	tare_codec_slot_put(s, 12, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->reals.at, n);
	p += n;
	n = (uint64_t)in->colours.count * 1;
	tare_codec_slot_put(s, 13, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->colours.at, n);
	wrong |= tare_codec_past(p, n, 3);
	p += n;
	n = (uint64_t)in->switches.count * 1;
	tare_codec_slot_put(s, 14, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->switches.at, n);
	wrong |= tare_codec_past(p, n, 2);
	p += n;
	n = in->last.len;
	tare_codec_slot_put(s, 15, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->last.ptr, n);
	p += n;
	if (TARE_UNLIKELY(wrong != 0))
		return look_closer(m, total, err);
	return (ssize_t)total;
}

__attribute__((noinline)) static bool all_utf8(const unsigned char *m, const unsigned char *s, unsigned n)
{
	for (; n > 0; n--, s += TARE_CODEC_SLOT_BYTES)
		if (!tare_codec_utf8(m + TARE_CODEC_LOAD(tare_codec_u32, s), TARE_CODEC_LOAD(tare_codec_u32, s + 4)))
			return false;
	return true;
}

// The message's payloads, whose places are known to be right.
static inline bool payloads_right(const unsigned char *m, const unsigned char *b, const unsigned char *s)
{
	uint64_t wrong = 0, w;
	uint32_t begin;
	begin = TARE_CODEC_LOAD(tare_codec_u32, s + 0);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	if (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)
		wrong |= !all_utf8(m, s + 0, 2);
	begin = TARE_CODEC_LOAD(tare_codec_u32, s + 24);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 32);
	if (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)
		wrong |= !all_utf8(m, s + 24, 2);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 48);
	for (size_t i = 0; i < w >> 32; i += 8)
		wrong |= point_wrong((m + (uint32_t)w) + i);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 56);
	if (b[95] == 1)
		wrong |= point_wrong((m + (uint32_t)w));
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 64);
	if (b[97] == 1)
		wrong |= point_wrong((m + (uint32_t)w));
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 72);
	for (size_t i = 0; i < w >> 32; i += 29)
		wrong |= pair_wrong((m + (uint32_t)w) + i);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 104);
	wrong |= tare_codec_past((m + (uint32_t)w), w >> 32, 3);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 112);
	wrong |= tare_codec_past((m + (uint32_t)w), w >> 32, 2);
	begin = TARE_CODEC_LOAD(tare_codec_u32, s + 120);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 120);
	if (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)
		wrong |= !all_utf8(m, s + 120, 1);
	(void)b;
	return wrong == 0;
}

int shape_1_verify(struct shape_1_view *view, const void *buf, size_t len, struct tare_error *err)
{
	const unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + SHAPE_1_BLOCK_BYTES;
	if (TARE_UNLIKELY(len - SHAPE_1_FIXED_BYTES > UINT32_MAX - SHAPE_1_FIXED_BYTES)) // too short, or too long
		goto wrong;
	uint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^
		(SHAPE_1_ID | (uint64_t)SHAPE_1_VERSION << 32 | (uint64_t)SHAPE_1_SLOTS << 48);
	wrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)SHAPE_1_BLOCK_BYTES << 32);
	uint64_t at = SHAPE_1_FIXED_BYTES;
	uint64_t w;
	wrong |= b[42] >= 2;
	wrong |= b[43] >= 3;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 0);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 16);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= pair_wrong(b + 58);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 24);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 32);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 40);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 48);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 8U;
	wrong |= point_wrong(b + 87);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 56);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (w >> 32) ^ thing_bytes(b[95]);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 64);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (w >> 32) ^ thing_bytes(b[97]);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 72);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 29U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 80);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 10U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 88);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 2U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 96);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 8U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 104);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 112);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 120);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	if (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, s)))
		goto wrong;
	view->view = (struct tare_codec_view){m, b, s, &shape_1_schema, (uint32_t)len, SHAPE_1_VERSION};
	return 0;
wrong: // or of another version
	return tare_codec_verify(&shape_1_schema, &view->view, view->local, buf, len, err);
}

void shape_1_point_init(struct shape_1_point *out)
{
	memcpy(out, point_defaults, sizeof *out);
}

void shape_1_pair_init(struct shape_1_pair *out)
{
	memcpy(out, pair_defaults, sizeof *out);
}

void shape_1_plain_init(struct shape_1_plain *out)
{
	memcpy(out, plain_defaults, sizeof *out);
}

void shape_1_init(struct shape_1 *out)
{
	memset(out, 0, sizeof *out);
	memcpy(&out->a_u8, message_defaults + 0, sizeof out->a_u8);
	memcpy(&out->a_u16, message_defaults + 1, sizeof out->a_u16);
	memcpy(&out->a_u32, message_defaults + 3, sizeof out->a_u32);
	memcpy(&out->a_u64, message_defaults + 7, sizeof out->a_u64);
	memcpy(&out->a_i8, message_defaults + 15, sizeof out->a_i8);
	memcpy(&out->a_i16, message_defaults + 16, sizeof out->a_i16);
	memcpy(&out->a_i32, message_defaults + 18, sizeof out->a_i32);
	memcpy(&out->a_i64, message_defaults + 22, sizeof out->a_i64);
	memcpy(&out->a_f32, message_defaults + 30, sizeof out->a_f32);
	memcpy(&out->a_f64, message_defaults + 34, sizeof out->a_f64);
	memcpy(&out->yes, message_defaults + 42, sizeof out->yes);
	memcpy(&out->colour, message_defaults + 43, sizeof out->colour);
	shape_1_pair_init(&out->pair);
	shape_1_point_init(&out->outer.label.at);
	memcpy(&out->outer.depth, message_defaults + 96, sizeof out->outer.depth);
}

void shape_1_read(struct shape_1 *out, const struct shape_1_view *view)
{
	size_t n;
	out->a_u8 = shape_1_a_u8(view);
	out->a_u16 = shape_1_a_u16(view);
	out->a_u32 = shape_1_a_u32(view);
	out->a_u64 = shape_1_a_u64(view);
	out->a_i8 = shape_1_a_i8(view);
	out->a_i16 = shape_1_a_i16(view);
	out->a_i32 = shape_1_a_i32(view);
	out->a_i64 = shape_1_a_i64(view);
	out->a_f32 = shape_1_a_f32(view);
	out->a_f64 = shape_1_a_f64(view);
	out->yes = shape_1_yes(view);
	out->colour = shape_1_colour(view);
	memcpy(out->bytes8, view->view.block + 44, 8);
	memcpy(out->numbers, view->view.block + 52, 6);
	out->name = shape_1_name(view);
	out->title = shape_1_title(view);
	out->raw = shape_1_raw(view);
	memcpy(&out->pair, view->view.block + 58, 29);
	out->outer.name = shape_1_outer_name(view);
	out->outer.label.text = shape_1_outer_label_text(view);
	out->outer.label.raw = shape_1_outer_label_raw(view);
	out->outer.label.points = shape_1_outer_label_points(view);
	memcpy(&out->outer.label.at, view->view.block + 87, 8);
	n = tare_codec_slot_bytes(&view->view, 7);
	memset(&out->outer.label.thing, 0, sizeof out->outer.label.thing);
	out->outer.label.thing.kind = view->view.block[95];
	if (out->outer.label.thing.kind <= 2)
		memcpy(&out->outer.label.thing.point, tare_codec_slot_ptr(&view->view, 7), n);
	out->outer.depth = shape_1_outer_depth(view);
	n = tare_codec_slot_bytes(&view->view, 8);
	memset(&out->thing, 0, sizeof out->thing);
	out->thing.kind = view->view.block[97];
	if (out->thing.kind <= 2)
		memcpy(&out->thing.point, tare_codec_slot_ptr(&view->view, 8), n);
	out->pairs = shape_1_pairs(view);
	out->plains = shape_1_plains(view);
	out->words = shape_1_words(view);
	out->reals = shape_1_reals(view);
	out->colours = shape_1_colours(view);
	out->switches = shape_1_switches(view);
	out->last = shape_1_last(view);
}
