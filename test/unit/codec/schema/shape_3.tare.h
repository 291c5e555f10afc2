// SPDX-License-Identifier: MIT
// Messages of shape_3, version 3: made by `tare schema compile` of shape_3.tare, not by hand.
// clang-format off
#ifndef SHAPE_3_TARE_H
#define SHAPE_3_TARE_H

#include <tare/codec.h>

#define SHAPE_3_ID UINT32_C(0x53484150)
#define SHAPE_3_VERSION 3
#define SHAPE_3_BLOCK_BYTES 115
#define SHAPE_3_SLOTS 19
// Head, block and slots: what the shortest message takes.
#define SHAPE_3_FIXED_BYTES 283

struct shape_3_u16_slice {
	const tare_codec_u16 *at;
	size_t count;
};

struct shape_3_f64_slice {
	const tare_codec_f64 *at;
	size_t count;
};

struct shape_3_u8_slice {
	const uint8_t *at;
	size_t count;
};

struct shape_3_bool_slice {
	const tare_codec_bool *at;
	size_t count;
};

enum shape_3_colour {
	SHAPE_3_COLOUR_RED,
	SHAPE_3_COLOUR_GREEN,
	SHAPE_3_COLOUR_BLUE,
	SHAPE_3_COLOUR_VIOLET,
};
// NULL for a value of a newer version.
const char *shape_3_colour_name(uint8_t value);

struct shape_3_point {
	int32_t x;
	int16_t y;
	bool good;
	uint8_t colour; // enum shape_3_colour
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct shape_3_point) == 8, "as in messages");
// Fills in the defaults.
void shape_3_point_init(struct shape_3_point *out);
struct shape_3_point_slice {
	const struct shape_3_point *at;
	size_t count;
};

struct shape_3_pair {
	struct shape_3_point from;
	struct shape_3_point to;
	float weights[2];
	bool flags[3];
	uint8_t colours[2]; // enum shape_3_colour
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct shape_3_pair) == 29, "as in messages");
// Fills in the defaults.
void shape_3_pair_init(struct shape_3_pair *out);
struct shape_3_pair_slice {
	const struct shape_3_pair *at;
	size_t count;
};

struct shape_3_plain {
	uint16_t a;
	uint64_t b;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct shape_3_plain) == 10, "as in messages");
// Fills in the defaults.
void shape_3_plain_init(struct shape_3_plain *out);
struct shape_3_plain_slice {
	const struct shape_3_plain *at;
	size_t count;
};

enum shape_3_thing_kind {
	SHAPE_3_THING_NONE,
	SHAPE_3_THING_POINT,
	SHAPE_3_THING_PLAIN,
	SHAPE_3_THING_LARGE,
};

struct shape_3_thing {
	uint8_t kind; // enum shape_3_thing_kind
	union {
		struct shape_3_point point;
		struct shape_3_plain plain;
		struct shape_3_pair large;
	};
};

struct shape_3_label {
	struct tare_str text;
	struct tare_str raw; // bytes
	struct shape_3_point_slice points;
	struct shape_3_point at;
	struct shape_3_thing thing;
};

struct shape_3_outer {
	struct tare_str name;
	struct shape_3_label label;
	uint8_t depth;
};

// What is encoded; texts, bytes and vectors stay the caller's.
struct shape_3 {
	uint8_t a_u8;
	uint16_t a_u16;
	uint32_t a_u32;
	uint64_t a_u64;
	int8_t a_i8;
	int16_t a_i16;
	int32_t a_i32;
	int64_t a_i64;
	float a_f32;
	double a_f64;
	bool yes;
	uint8_t colour; // enum shape_3_colour
	uint8_t bytes8[8];
	int16_t numbers[3];
	struct tare_str name;
	struct tare_str title;
	struct tare_str raw; // bytes
	struct shape_3_pair pair;
	struct shape_3_outer outer;
	struct shape_3_thing thing;
	struct shape_3_pair_slice pairs;
	struct shape_3_plain_slice plains;
	struct shape_3_u16_slice words;
	struct shape_3_f64_slice reals;
	struct shape_3_u8_slice colours;
	struct shape_3_bool_slice switches;
	struct tare_str last;
	uint32_t more;
	struct tare_str note;
	uint8_t tint; // enum shape_3_colour
	struct shape_3_plain extra;
	struct shape_3_point_slice things;
	struct shape_3_thing other;
	uint8_t tail;
};

// Made by shape_3_verify alone. It is not copied: it may point into itself.
struct shape_3_view {
	struct tare_codec_view view;
	unsigned char local[267];
};

extern const struct tare_codec_schema shape_3_schema;

// Fills in the defaults; everything that varies is empty.
void shape_3_init(struct shape_3 *out);
// What shape_3_encode will take; SIZE_MAX where that is more than a message can be.
size_t shape_3_encoded_bytes(const struct shape_3 *in);
// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a union's kind that there is
// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has the text, or is NULL.
TARE_MUST_USE ssize_t shape_3_encode(const struct shape_3 *in, void *buf, size_t cap, struct tare_error *err);
// Whether these bytes are a message. Only then the view is written; it points into buf. -EBADMSG with a text.
TARE_MUST_USE int shape_3_verify(struct shape_3_view *view, const void *buf, size_t len, struct tare_error *err);
// All fields at once; texts, bytes and vectors point into the message.
void shape_3_read(struct shape_3 *out, const struct shape_3_view *view);

// See <tare/codec.h>.
TARE_MUST_USE static inline ssize_t shape_3_json_read(void *buf, size_t cap, const char *text, size_t len,
	const struct tare_codec_limits *limits, struct tare_error *err)
{
	return tare_codec_json_read(&shape_3_schema, buf, cap, text, len, limits, err);
}
TARE_MUST_USE static inline ssize_t shape_3_json_write(const struct shape_3_view *view, char *buf, size_t cap,
	struct tare_error *err)
{
	return tare_codec_json_write(&view->view, buf, cap, err);
}
TARE_MUST_USE static inline ssize_t shape_3_print(const struct shape_3_view *view, char *buf, size_t cap)
{
	return tare_codec_print(&view->view, buf, cap);
}

static inline uint8_t shape_3_a_u8(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 0);
}
static inline uint16_t shape_3_a_u16(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u16, view->view.block + 1);
}
static inline uint32_t shape_3_a_u32(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->view.block + 3);
}
static inline uint64_t shape_3_a_u64(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u64, view->view.block + 7);
}
static inline int8_t shape_3_a_i8(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i8, view->view.block + 15);
}
static inline int16_t shape_3_a_i16(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i16, view->view.block + 16);
}
static inline int32_t shape_3_a_i32(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i32, view->view.block + 18);
}
static inline int64_t shape_3_a_i64(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i64, view->view.block + 22);
}
static inline float shape_3_a_f32(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_f32, view->view.block + 30);
}
static inline double shape_3_a_f64(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_f64, view->view.block + 34);
}
static inline bool shape_3_yes(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 42);
}
static inline uint8_t shape_3_colour(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 43);
}
static inline const uint8_t *shape_3_bytes8(const struct shape_3_view *view)
{
	return (const void *)(view->view.block + 44);
}
static inline const tare_codec_i16 *shape_3_numbers(const struct shape_3_view *view)
{
	return (const void *)(view->view.block + 52);
}
static inline struct tare_str shape_3_name(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 0);
}
static inline struct tare_str shape_3_title(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 1);
}
static inline struct tare_str shape_3_raw(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 2);
}
static inline const struct shape_3_pair *shape_3_pair(const struct shape_3_view *view)
{
	return (const void *)(view->view.block + 58);
}
static inline struct tare_str shape_3_outer_name(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 3);
}
static inline struct tare_str shape_3_outer_label_text(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 4);
}
static inline struct tare_str shape_3_outer_label_raw(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 5);
}
static inline struct shape_3_point_slice shape_3_outer_label_points(const struct shape_3_view *view)
{
	return (struct shape_3_point_slice){(const void *)tare_codec_slot_ptr(&view->view, 6), tare_codec_slot_bytes(&view->view, 6) / 8};
}
static inline const struct shape_3_point *shape_3_outer_label_at(const struct shape_3_view *view)
{
	return (const void *)(view->view.block + 87);
}
static inline uint8_t shape_3_outer_label_thing_kind(const struct shape_3_view *view)
{
	return view->view.block[95];
}
static inline const struct shape_3_point *shape_3_outer_label_thing_point(const struct shape_3_view *view)
{
	return view->view.block[95] == 1 ? (const void *)tare_codec_slot_ptr(&view->view, 7) : NULL;
}
static inline const struct shape_3_plain *shape_3_outer_label_thing_plain(const struct shape_3_view *view)
{
	return view->view.block[95] == 2 ? (const void *)tare_codec_slot_ptr(&view->view, 7) : NULL;
}
static inline const struct shape_3_pair *shape_3_outer_label_thing_large(const struct shape_3_view *view)
{
	return view->view.block[95] == 3 ? (const void *)tare_codec_slot_ptr(&view->view, 7) : NULL;
}
static inline uint8_t shape_3_outer_depth(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 96);
}
static inline uint8_t shape_3_thing_kind(const struct shape_3_view *view)
{
	return view->view.block[97];
}
static inline const struct shape_3_point *shape_3_thing_point(const struct shape_3_view *view)
{
	return view->view.block[97] == 1 ? (const void *)tare_codec_slot_ptr(&view->view, 8) : NULL;
}
static inline const struct shape_3_plain *shape_3_thing_plain(const struct shape_3_view *view)
{
	return view->view.block[97] == 2 ? (const void *)tare_codec_slot_ptr(&view->view, 8) : NULL;
}
static inline const struct shape_3_pair *shape_3_thing_large(const struct shape_3_view *view)
{
	return view->view.block[97] == 3 ? (const void *)tare_codec_slot_ptr(&view->view, 8) : NULL;
}
static inline struct shape_3_pair_slice shape_3_pairs(const struct shape_3_view *view)
{
	return (struct shape_3_pair_slice){(const void *)tare_codec_slot_ptr(&view->view, 9), tare_codec_slot_bytes(&view->view, 9) / 29};
}
static inline struct shape_3_plain_slice shape_3_plains(const struct shape_3_view *view)
{
	return (struct shape_3_plain_slice){(const void *)tare_codec_slot_ptr(&view->view, 10), tare_codec_slot_bytes(&view->view, 10) / 10};
}
static inline struct shape_3_u16_slice shape_3_words(const struct shape_3_view *view)
{
	return (struct shape_3_u16_slice){(const void *)tare_codec_slot_ptr(&view->view, 11), tare_codec_slot_bytes(&view->view, 11) / 2};
}
static inline struct shape_3_f64_slice shape_3_reals(const struct shape_3_view *view)
{
	return (struct shape_3_f64_slice){(const void *)tare_codec_slot_ptr(&view->view, 12), tare_codec_slot_bytes(&view->view, 12) / 8};
}
static inline struct shape_3_u8_slice shape_3_colours(const struct shape_3_view *view)
{
	return (struct shape_3_u8_slice){(const void *)tare_codec_slot_ptr(&view->view, 13), tare_codec_slot_bytes(&view->view, 13) / 1};
}
static inline struct shape_3_bool_slice shape_3_switches(const struct shape_3_view *view)
{
	return (struct shape_3_bool_slice){(const void *)tare_codec_slot_ptr(&view->view, 14), tare_codec_slot_bytes(&view->view, 14) / 1};
}
static inline struct tare_str shape_3_last(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 15);
}
static inline uint32_t shape_3_more(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->view.block + 98);
}
static inline struct tare_str shape_3_note(const struct shape_3_view *view)
{
	return tare_codec_slot_str(&view->view, 16);
}
static inline uint8_t shape_3_tint(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 102);
}
static inline const struct shape_3_plain *shape_3_extra(const struct shape_3_view *view)
{
	return (const void *)(view->view.block + 103);
}
static inline struct shape_3_point_slice shape_3_things(const struct shape_3_view *view)
{
	return (struct shape_3_point_slice){(const void *)tare_codec_slot_ptr(&view->view, 17), tare_codec_slot_bytes(&view->view, 17) / 8};
}
static inline uint8_t shape_3_other_kind(const struct shape_3_view *view)
{
	return view->view.block[113];
}
static inline const struct shape_3_point *shape_3_other_point(const struct shape_3_view *view)
{
	return view->view.block[113] == 1 ? (const void *)tare_codec_slot_ptr(&view->view, 18) : NULL;
}
static inline const struct shape_3_plain *shape_3_other_plain(const struct shape_3_view *view)
{
	return view->view.block[113] == 2 ? (const void *)tare_codec_slot_ptr(&view->view, 18) : NULL;
}
static inline const struct shape_3_pair *shape_3_other_large(const struct shape_3_view *view)
{
	return view->view.block[113] == 3 ? (const void *)tare_codec_slot_ptr(&view->view, 18) : NULL;
}
static inline uint8_t shape_3_tail(const struct shape_3_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 114);
}

#endif
