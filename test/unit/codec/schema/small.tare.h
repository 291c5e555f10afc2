// SPDX-License-Identifier: MIT
// Messages of small, version 1: made by `tare schema compile` of small.tare, not by hand.
// clang-format off
#ifndef SMALL_TARE_H
#define SMALL_TARE_H

#include <tare/codec.h>

#define SMALL_ID UINT32_C(0x00000001)
#define SMALL_VERSION 1
#define SMALL_BLOCK_BYTES 5
#define SMALL_SLOTS 0
// Head, block and slots: what the shortest message takes.
#define SMALL_FIXED_BYTES 21

// What is encoded; texts, bytes and vectors stay the caller's.
struct small {
	uint32_t number;
	bool on;
};

// Made by small_verify alone. It is not copied: it may point into itself.
struct small_view {
	struct tare_codec_view view;
	unsigned char local[5];
};

extern const struct tare_codec_schema small_schema;

// Fills in the defaults; everything that varies is empty.
void small_init(struct small *out);
// What small_encode will take; SIZE_MAX where that is more than a message can be.
size_t small_encoded_bytes(const struct small *in);
// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a union's kind that there is
// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has the text, or is NULL.
TARE_MUST_USE ssize_t small_encode(const struct small *in, void *buf, size_t cap, struct tare_error *err);
// Whether these bytes are a message. Only then the view is written; it points into buf. -EBADMSG with a text.
TARE_MUST_USE int small_verify(struct small_view *view, const void *buf, size_t len, struct tare_error *err);
// All fields at once; texts, bytes and vectors point into the message.
void small_read(struct small *out, const struct small_view *view);

// See <tare/codec.h>.
TARE_MUST_USE static inline ssize_t small_json_read(void *buf, size_t cap, const char *text, size_t len,
	const struct tare_codec_limits *limits, struct tare_error *err)
{
	return tare_codec_json_read(&small_schema, buf, cap, text, len, limits, err);
}
TARE_MUST_USE static inline ssize_t small_json_write(const struct small_view *view, char *buf, size_t cap,
	struct tare_error *err)
{
	return tare_codec_json_write(&view->view, buf, cap, err);
}
TARE_MUST_USE static inline ssize_t small_print(const struct small_view *view, char *buf, size_t cap)
{
	return tare_codec_print(&view->view, buf, cap);
}

static inline uint32_t small_number(const struct small_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->view.block + 0);
}
static inline bool small_on(const struct small_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 4);
}

#endif
