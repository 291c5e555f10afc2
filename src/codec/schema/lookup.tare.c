// SPDX-License-Identifier: MIT
// Messages of lookup, version 1: made by `tare schema compile` of lookup.tare, not by hand.
// clang-format off
#include "lookup.tare.h"

#include <errno.h>

static const struct tare_codec_field message_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 0, .count = 0},
	{.name = "bid_micros", .name_bytes = 10, .kind = TARE_CODEC_I64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 8, .count = 0},
	{.name = "budget_micros", .name_bytes = 13, .kind = TARE_CODEC_I64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 16, .count = 0},
	{.name = "spend_micros", .name_bytes = 12, .kind = TARE_CODEC_I64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 24, .count = 0},
	{.name = "impressions", .name_bytes = 11, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 32, .count = 0},
	{.name = "clicks", .name_bytes = 6, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 40, .count = 0},
	{.name = "hot", .name_bytes = 3, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 48, .count = 0},
	{.name = "active", .name_bytes = 6, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 49, .count = 0},
	{.name = "category", .name_bytes = 8, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 50, .count = 0},
	{.name = "payload", .name_bytes = 7, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 50, .count = 0},
};
static const unsigned char message_defaults[50];
__attribute__((unused)) static const struct tare_codec_record message_record = {
	.name = "lookup", .fields = message_fields, .defaults = message_defaults, .bytes = 50, .field_count = 10,
	.slots = 2, .checked = true,
};
static const struct tare_codec_version message_versions[] = {{50, 2}};
const struct tare_codec_schema lookup_schema = {
	.name = "lookup", .root = &message_record, .versions = message_versions, .id = 0x4c4b5550, .version = 1,
};

__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct tare_error *err)
{
	if (total == SIZE_MAX)
		return tare_error_set(err, -EMSGSIZE, "lookup: more than 4 GiB, or an unknown variant");
	return tare_error_set(err, -ENOSPC, "lookup: %zu bytes do not fit into %zu", total, cap);
}

// A text that is not ASCII, or a value that is not valid.
__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct tare_error *err)
{
	struct lookup_view view;
	int rc = lookup_verify(&view, buf, total, err);
	return rc < 0 ? rc : (ssize_t)total;
}

size_t lookup_encoded_bytes(const struct lookup *in)
{
	uint64_t all = 0, total = LOOKUP_FIXED_BYTES;
	all |= in->category.len;
	total += in->category.len;
	all |= in->payload.len;
	total += in->payload.len;
	return all > UINT32_MAX || total > UINT32_MAX ? SIZE_MAX : total;
}

ssize_t lookup_encode(const struct lookup *in, void *buf, size_t cap, struct tare_error *err)
{
	const size_t total = lookup_encoded_bytes(in);
	if (TARE_UNLIKELY(total > cap))
		return too_long(total, cap, err);
	unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;
	unsigned char *const s = b + LOOKUP_BLOCK_BYTES, *p = s + LOOKUP_SLOTS * TARE_CODEC_SLOT_BYTES;
	uint64_t n;
	uint64_t wrong = 0;
	TARE_CODEC_STORE(tare_codec_u64, m, LOOKUP_ID | (uint64_t)LOOKUP_VERSION << 32 | (uint64_t)LOOKUP_SLOTS << 48);
	TARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)LOOKUP_BLOCK_BYTES << 32);
	TARE_CODEC_STORE(tare_codec_u64, b + 0, in->id);
	TARE_CODEC_STORE(tare_codec_i64, b + 8, in->bid_micros);
	TARE_CODEC_STORE(tare_codec_i64, b + 16, in->budget_micros);
	TARE_CODEC_STORE(tare_codec_i64, b + 24, in->spend_micros);
	TARE_CODEC_STORE(tare_codec_u64, b + 32, in->impressions);
	TARE_CODEC_STORE(tare_codec_u64, b + 40, in->clicks);
	b[48] = (unsigned char)in->hot;
	b[49] = (unsigned char)in->active;
	n = in->category.len;
	tare_codec_slot_put(s, 0, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->category.ptr, n);
	p += n;
	n = in->payload.len;
	tare_codec_slot_put(s, 1, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->payload.ptr, n);
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
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 0);
	if (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)
		wrong |= !all_utf8(m, s + 0, 1);
	(void)b;
	return wrong == 0;
}

int lookup_verify(struct lookup_view *view, const void *buf, size_t len, struct tare_error *err)
{
	const unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + LOOKUP_BLOCK_BYTES;
	if (TARE_UNLIKELY(len - LOOKUP_FIXED_BYTES > UINT32_MAX - LOOKUP_FIXED_BYTES)) // too short, or too long
		goto wrong;
	uint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^
		(LOOKUP_ID | (uint64_t)LOOKUP_VERSION << 32 | (uint64_t)LOOKUP_SLOTS << 48);
	wrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)LOOKUP_BLOCK_BYTES << 32);
	uint64_t at = LOOKUP_FIXED_BYTES;
	uint64_t w;
	wrong |= b[48] >= 2;
	wrong |= b[49] >= 2;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 0);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	if (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, s)))
		goto wrong;
	view->view = (struct tare_codec_view){m, b, s, &lookup_schema, (uint32_t)len, LOOKUP_VERSION};
	return 0;
wrong: // or of another version
	return tare_codec_verify(&lookup_schema, &view->view, view->local, buf, len, err);
}

void lookup_init(struct lookup *out)
{
	memset(out, 0, sizeof *out);
}

void lookup_read(struct lookup *out, const struct lookup_view *view)
{
	out->id = lookup_id(view);
	out->bid_micros = lookup_bid_micros(view);
	out->budget_micros = lookup_budget_micros(view);
	out->spend_micros = lookup_spend_micros(view);
	out->impressions = lookup_impressions(view);
	out->clicks = lookup_clicks(view);
	out->hot = lookup_hot(view);
	out->active = lookup_active(view);
	out->category = lookup_category(view);
	out->payload = lookup_payload(view);
}
