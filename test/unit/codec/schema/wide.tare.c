// SPDX-License-Identifier: MIT
// Messages of wide, version 1: made by `tare schema compile` of wide.tare, not by hand.
// clang-format off
#include "wide.tare.h"

#include <errno.h>

static const struct tare_codec_field message_fields[] = {
	{.name = "number", .name_bytes = 6, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 0, .count = 0},
	{.name = "first", .name_bytes = 5, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 1, .count = 0},
	{.name = "second", .name_bytes = 6, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 1, .count = 0},
};
static const unsigned char message_defaults[1];
__attribute__((unused)) static const struct tare_codec_record message_record = {
	.name = "wide", .fields = message_fields, .defaults = message_defaults, .bytes = 1, .field_count = 3,
	.slots = 2, .checked = true,
};
static const struct tare_codec_version message_versions[] = {{1, 2}};
const struct tare_codec_schema wide_schema = {
	.name = "wide", .root = &message_record, .versions = message_versions, .id = 0x00000003, .version = 1,
};

__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct tare_error *err)
{
	if (total == SIZE_MAX)
		return tare_error_set(err, -EMSGSIZE, "wide: more than 4 GiB, or an unknown variant");
	return tare_error_set(err, -ENOSPC, "wide: %zu bytes do not fit into %zu", total, cap);
}

// A text that is not ASCII, or a value that is not valid.
__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct tare_error *err)
{
	struct wide_view view;
	int rc = wide_verify(&view, buf, total, err);
	return rc < 0 ? rc : (ssize_t)total;
}

size_t wide_encoded_bytes(const struct wide *in)
{
	uint64_t all = 0, total = WIDE_FIXED_BYTES;
	all |= in->first.len;
	total += in->first.len;
	all |= in->second.len;
	total += in->second.len;
	return all > UINT32_MAX || total > UINT32_MAX ? SIZE_MAX : total;
}

ssize_t wide_encode(const struct wide *in, void *buf, size_t cap, struct tare_error *err)
{
	const size_t total = wide_encoded_bytes(in);
	if (TARE_UNLIKELY(total > cap))
		return too_long(total, cap, err);
	unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;
	unsigned char *const s = b + WIDE_BLOCK_BYTES, *p = s + WIDE_SLOTS * TARE_CODEC_SLOT_BYTES;
	uint64_t n;
	uint64_t wrong = 0;
	TARE_CODEC_STORE(tare_codec_u64, m, WIDE_ID | (uint64_t)WIDE_VERSION << 32 | (uint64_t)WIDE_SLOTS << 48);
	TARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)WIDE_BLOCK_BYTES << 32);
	b[0] = (unsigned char)in->number;
	n = in->first.len;
	tare_codec_slot_put(s, 0, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->first.ptr, n);
	p += n;
	n = in->second.len;
	tare_codec_slot_put(s, 1, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->second.ptr, n);
	p += n;
	if (TARE_UNLIKELY(wrong != 0))
		return look_closer(m, total, err);
	return (ssize_t)total;
}

// The message's payloads, whose places are known to be right.
static inline bool payloads_right(const unsigned char *m, const unsigned char *b, const unsigned char *s)
{
	(void)m;
	(void)b;
	(void)s;
	return true;
}

int wide_verify(struct wide_view *view, const void *buf, size_t len, struct tare_error *err)
{
	const unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + WIDE_BLOCK_BYTES;
	if (TARE_UNLIKELY(len - WIDE_FIXED_BYTES > UINT32_MAX - WIDE_FIXED_BYTES)) // too short, or too long
		goto wrong;
	uint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^
		(WIDE_ID | (uint64_t)WIDE_VERSION << 32 | (uint64_t)WIDE_SLOTS << 48);
	wrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)WIDE_BLOCK_BYTES << 32);
	uint64_t at = WIDE_FIXED_BYTES;
	uint64_t w;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 0);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	if (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, s)))
		goto wrong;
	view->view = (struct tare_codec_view){m, b, s, &wide_schema, (uint32_t)len, WIDE_VERSION};
	return 0;
wrong: // or of another version
	return tare_codec_verify(&wide_schema, &view->view, view->local, buf, len, err);
}

void wide_init(struct wide *out)
{
	memset(out, 0, sizeof *out);
}

void wide_read(struct wide *out, const struct wide_view *view)
{
	out->number = wide_number(view);
	out->first = wide_first(view);
	out->second = wide_second(view);
}
