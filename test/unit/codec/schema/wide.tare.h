// SPDX-License-Identifier: MIT
// Messages of wide, version 1: made by `tare schema compile` of wide.tare, not by hand.
// clang-format off
#ifndef WIDE_TARE_H
#define WIDE_TARE_H

#include <tare/codec.h>

#define WIDE_ID UINT32_C(0x00000003)
#define WIDE_VERSION 1
#define WIDE_BLOCK_BYTES 1
#define WIDE_SLOTS 2
// Head, block and slots: what the shortest message takes.
#define WIDE_FIXED_BYTES 33

// What is encoded; texts, bytes and vectors stay the caller's.
struct wide {
	uint8_t number;
	struct tare_str first; // bytes
	struct tare_str second; // bytes
};

// Made by wide_verify alone. It is not copied: it may point into itself.
struct wide_view {
	struct tare_codec_view view;
	unsigned char local[17];
};

extern const struct tare_codec_schema wide_schema;

// Fills in the defaults; everything that varies is empty.
void wide_init(struct wide *out);
// What wide_encode will take; SIZE_MAX where that is more than a message can be.
size_t wide_encoded_bytes(const struct wide *in);
// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a union's kind that there is
// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has the text, or is NULL.
TARE_MUST_USE ssize_t wide_encode(const struct wide *in, void *buf, size_t cap, struct tare_error *err);
// Whether these bytes are a message. Only then the view is written; it points into buf. -EBADMSG with a text.
TARE_MUST_USE int wide_verify(struct wide_view *view, const void *buf, size_t len, struct tare_error *err);
// All fields at once; texts, bytes and vectors point into the message.
void wide_read(struct wide *out, const struct wide_view *view);

// See <tare/codec.h>.
TARE_MUST_USE static inline ssize_t wide_json_read(void *buf, size_t cap, const char *text, size_t len,
	const struct tare_codec_limits *limits, struct tare_error *err)
{
	return tare_codec_json_read(&wide_schema, buf, cap, text, len, limits, err);
}
TARE_MUST_USE static inline ssize_t wide_json_write(const struct wide_view *view, char *buf, size_t cap,
	struct tare_error *err)
{
	return tare_codec_json_write(&view->view, buf, cap, err);
}
TARE_MUST_USE static inline ssize_t wide_print(const struct wide_view *view, char *buf, size_t cap)
{
	return tare_codec_print(&view->view, buf, cap);
}

static inline uint8_t wide_number(const struct wide_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 0);
}
static inline struct tare_str wide_first(const struct wide_view *view)
{
	return tare_codec_slot_str(&view->view, 0);
}
static inline struct tare_str wide_second(const struct wide_view *view)
{
	return tare_codec_slot_str(&view->view, 1);
}

#endif
