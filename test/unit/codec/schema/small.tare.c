// SPDX-License-Identifier: MIT
// Messages of small, version 1: made by `tare schema compile` of small.tare, not by hand.
// clang-format off
#include "small.tare.h"

#include <errno.h>

static const struct tare_codec_field message_fields[] = {
	{.name = "number", .name_bytes = 6, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "on", .name_bytes = 2, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 4, .count = 0},
};
static const unsigned char message_defaults[5];
__attribute__((unused)) static const struct tare_codec_record message_record = {
	.name = "small", .fields = message_fields, .defaults = message_defaults, .bytes = 5, .field_count = 2,
	.slots = 0, .checked = true,
};
static const struct tare_codec_version message_versions[] = {{5, 0}};
const struct tare_codec_schema small_schema = {
	.name = "small", .root = &message_record, .versions = message_versions, .id = 0x00000001, .version = 1,
};

__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct tare_error *err)
{
	if (total == SIZE_MAX)
		return tare_error_set(err, -EMSGSIZE, "small: more than 4 GiB, or an unknown variant");
	return tare_error_set(err, -ENOSPC, "small: %zu bytes do not fit into %zu", total, cap);
}

// A text that is not ASCII, or a value that is not valid.
__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct tare_error *err)
{
	struct small_view view;
	int rc = small_verify(&view, buf, total, err);
	return rc < 0 ? rc : (ssize_t)total;
}

size_t small_encoded_bytes(const struct small *in)
{
	(void)in;
	return SMALL_FIXED_BYTES;
}

ssize_t small_encode(const struct small *in, void *buf, size_t cap, struct tare_error *err)
{
	const size_t total = small_encoded_bytes(in);
	if (TARE_UNLIKELY(total > cap))
		return too_long(total, cap, err);
	unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;
	uint64_t wrong = 0;
	TARE_CODEC_STORE(tare_codec_u64, m, SMALL_ID | (uint64_t)SMALL_VERSION << 32 | (uint64_t)SMALL_SLOTS << 48);
	TARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)SMALL_BLOCK_BYTES << 32);
	TARE_CODEC_STORE(tare_codec_u32, b + 0, in->number);
	b[4] = (unsigned char)in->on;
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

int small_verify(struct small_view *view, const void *buf, size_t len, struct tare_error *err)
{
	const unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + SMALL_BLOCK_BYTES;
	if (TARE_UNLIKELY(len - SMALL_FIXED_BYTES > UINT32_MAX - SMALL_FIXED_BYTES)) // too short, or too long
		goto wrong;
	uint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^
		(SMALL_ID | (uint64_t)SMALL_VERSION << 32 | (uint64_t)SMALL_SLOTS << 48);
	wrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)SMALL_BLOCK_BYTES << 32);
	uint64_t at = SMALL_FIXED_BYTES;
	wrong |= b[4] >= 2;
	if (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, s)))
		goto wrong;
	view->view = (struct tare_codec_view){m, b, s, &small_schema, (uint32_t)len, SMALL_VERSION};
	return 0;
wrong: // or of another version
	return tare_codec_verify(&small_schema, &view->view, view->local, buf, len, err);
}

void small_init(struct small *out)
{
	memset(out, 0, sizeof *out);
}

void small_read(struct small *out, const struct small_view *view)
{
	out->number = small_number(view);
	out->on = small_on(view);
}
