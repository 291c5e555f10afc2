// SPDX-License-Identifier: MIT
// Messages of lookup, version 1: made by `tare schema compile` of lookup.tare, not by hand.
// clang-format off
#ifndef LOOKUP_TARE_H
#define LOOKUP_TARE_H

#include <tare/codec.h>

#define LOOKUP_ID UINT32_C(0x4c4b5550)
#define LOOKUP_VERSION 1
#define LOOKUP_BLOCK_BYTES 50
#define LOOKUP_SLOTS 2
// Head, block and slots: what the shortest message takes.
#define LOOKUP_FIXED_BYTES 82

// What is encoded; texts, bytes and vectors stay the caller's.
struct lookup {
	uint64_t id;
	int64_t bid_micros;
	int64_t budget_micros;
	int64_t spend_micros;
	uint64_t impressions;
	uint64_t clicks;
	bool hot;
	bool active;
	struct tare_str category;
	struct tare_str payload; // bytes
};

// Made by lookup_verify alone. It is not copied: it may point into itself.
struct lookup_view {
	struct tare_codec_view view;
	unsigned char local[66];
};

extern const struct tare_codec_schema lookup_schema;

// Fills in the defaults; everything that varies is empty.
void lookup_init(struct lookup *out);
// What lookup_encode will take; SIZE_MAX where that is more than a message can be.
size_t lookup_encoded_bytes(const struct lookup *in);
// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a union's kind that there is
// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has the text, or is NULL.
TARE_MUST_USE ssize_t lookup_encode(const struct lookup *in, void *buf, size_t cap, struct tare_error *err);
// Whether these bytes are a message. Only then the view is written; it points into buf. -EBADMSG with a text.
TARE_MUST_USE int lookup_verify(struct lookup_view *view, const void *buf, size_t len, struct tare_error *err);
// All fields at once; texts, bytes and vectors point into the message.
void lookup_read(struct lookup *out, const struct lookup_view *view);

// See <tare/codec.h>.
TARE_MUST_USE static inline ssize_t lookup_json_read(void *buf, size_t cap, const char *text, size_t len,
	const struct tare_codec_limits *limits, struct tare_error *err)
{
	return tare_codec_json_read(&lookup_schema, buf, cap, text, len, limits, err);
}
TARE_MUST_USE static inline ssize_t lookup_json_write(const struct lookup_view *view, char *buf, size_t cap,
	struct tare_error *err)
{
	return tare_codec_json_write(&view->view, buf, cap, err);
}
TARE_MUST_USE static inline ssize_t lookup_print(const struct lookup_view *view, char *buf, size_t cap)
{
	return tare_codec_print(&view->view, buf, cap);
}

static inline uint64_t lookup_id(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u64, view->view.block + 0);
}
static inline int64_t lookup_bid_micros(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i64, view->view.block + 8);
}
static inline int64_t lookup_budget_micros(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i64, view->view.block + 16);
}
static inline int64_t lookup_spend_micros(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_i64, view->view.block + 24);
}
static inline uint64_t lookup_impressions(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u64, view->view.block + 32);
}
static inline uint64_t lookup_clicks(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u64, view->view.block + 40);
}
static inline bool lookup_hot(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 48);
}
static inline bool lookup_active(const struct lookup_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 49);
}
static inline struct tare_str lookup_category(const struct lookup_view *view)
{
	return tare_codec_slot_str(&view->view, 0);
}
static inline struct tare_str lookup_payload(const struct lookup_view *view)
{
	return tare_codec_slot_str(&view->view, 1);
}

#endif
