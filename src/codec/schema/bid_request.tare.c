// SPDX-License-Identifier: MIT
// Messages of bid_request, version 2: made by `tare schema compile` of bid_request.tare, not by hand.
// clang-format off
#include "bid_request.tare.h"

#include <errno.h>

static const char *const device_type_names_list[] = {"unknown", "mobile", "desktop", "tv", "phone", "tablet", "connected", "set_top_box"};
__attribute__((unused)) static const struct tare_codec_names device_type_names = {"device_type", 8, device_type_names_list, NULL};

const char *bid_request_device_type_name(uint8_t value)
{
	return value < 8 ? device_type_names_list[value] : NULL;
}

static const char *const connection_names_list[] = {"unknown", "ethernet", "wifi", "cell", "cell_2g", "cell_3g", "cell_4g", "cell_5g"};
__attribute__((unused)) static const struct tare_codec_names connection_names = {"connection", 8, connection_names_list, NULL};

const char *bid_request_connection_name(uint8_t value)
{
	return value < 8 ? connection_names_list[value] : NULL;
}

static const char *const auction_names_list[] = {"first_price", "second_price", "fixed"};
__attribute__((unused)) static const struct tare_codec_names auction_names = {"auction", 3, auction_names_list, NULL};

const char *bid_request_auction_name(uint8_t value)
{
	return value < 3 ? auction_names_list[value] : NULL;
}

static const char *const reason_names_list[] = {"eligible", "paused", "out_of_budget", "capped", "not_targeted", "blocked_category", "below_floor"};
__attribute__((unused)) static const struct tare_codec_names reason_names = {"reason", 7, reason_names_list, NULL};

const char *bid_request_reason_name(uint8_t value)
{
	return value < 7 ? reason_names_list[value] : NULL;
}

static const struct tare_codec_field geo_fields[] = {
	{.name = "lat", .name_bytes = 3, .kind = TARE_CODEC_F32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "lon", .name_bytes = 3, .kind = TARE_CODEC_F32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 4, .count = 0},
	{.name = "country", .name_bytes = 7, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 8, .count = 0},
	{.name = "region", .name_bytes = 6, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 10, .count = 0},
	{.name = "accuracy_m", .name_bytes = 10, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 12, .count = 0},
};
static const unsigned char geo_defaults[14];
__attribute__((unused)) static const struct tare_codec_record geo_record = {
	.name = "geo", .fields = geo_fields, .defaults = geo_defaults, .bytes = 14, .field_count = 5,
	.slots = 0, .checked = false,
};

static const struct tare_codec_field segment_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "provider", .name_bytes = 8, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 4, .count = 0},
	{.name = "score", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 6, .count = 0},
	{.name = "age_s", .name_bytes = 5, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 8, .count = 0},
};
static const unsigned char segment_defaults[12];
__attribute__((unused)) static const struct tare_codec_record segment_record = {
	.name = "segment", .fields = segment_fields, .defaults = segment_defaults, .bytes = 12, .field_count = 4,
	.slots = 0, .checked = false,
};

static const struct tare_codec_field frequency_cap_fields[] = {
	{.name = "campaign", .name_bytes = 8, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "shown", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 4, .count = 0},
	{.name = "limit", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 6, .count = 0},
	{.name = "window_s", .name_bytes = 8, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 8, .count = 0},
	{.name = "since_s", .name_bytes = 7, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 12, .count = 0},
};
static const unsigned char frequency_cap_defaults[16];
__attribute__((unused)) static const struct tare_codec_record frequency_cap_record = {
	.name = "frequency_cap", .fields = frequency_cap_fields, .defaults = frequency_cap_defaults, .bytes = 16, .field_count = 5,
	.slots = 0, .checked = false,
};

static const struct tare_codec_field campaign_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "reason", .name_bytes = 6, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 4, .count = 0, .names = &reason_names},
	{.name = "bid_micros", .name_bytes = 10, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 5, .count = 0},
	{.name = "budget_micros", .name_bytes = 13, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 0, .offset = 9, .count = 0},
	{.name = "pacing", .name_bytes = 6, .kind = TARE_CODEC_F32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 17, .count = 0},
};
static const unsigned char campaign_defaults[21];
__attribute__((unused)) static const struct tare_codec_record campaign_record = {
	.name = "campaign", .fields = campaign_fields, .defaults = campaign_defaults, .bytes = 21, .field_count = 5,
	.slots = 0, .checked = true,
};

static const struct tare_codec_field deal_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 0, .count = 0},
	{.name = "floor_micros", .name_bytes = 12, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 0, .offset = 4, .count = 0},
	{.name = "auction", .name_bytes = 7, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 8, .count = 0, .names = &auction_names},
};
static const unsigned char deal_defaults[9];
__attribute__((unused)) static const struct tare_codec_record deal_record = {
	.name = "deal", .fields = deal_fields, .defaults = deal_defaults, .bytes = 9, .field_count = 3,
	.slots = 0, .checked = true,
};

static const struct tare_codec_field banner_fields[] = {
	{.name = "width", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 0, .count = 0},
	{.name = "height", .name_bytes = 6, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 2, .count = 0},
	{.name = "position", .name_bytes = 8, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 4, .count = 0},
	{.name = "interstitial", .name_bytes = 12, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 5, .count = 0},
	{.name = "blocked", .name_bytes = 7, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ARRAY, .element_bytes = 2, .slot = 0, .offset = 6, .count = 4},
};
static const unsigned char banner_defaults[14];
__attribute__((unused)) static const struct tare_codec_record banner_record = {
	.name = "banner", .fields = banner_fields, .defaults = banner_defaults, .bytes = 14, .field_count = 5,
	.slots = 0, .checked = true,
};

static const struct tare_codec_field video_fields[] = {
	{.name = "min_s", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 0, .count = 0},
	{.name = "max_s", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 2, .count = 0},
	{.name = "skippable", .name_bytes = 9, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 4, .count = 0},
	{.name = "protocols", .name_bytes = 9, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ARRAY, .element_bytes = 1, .slot = 0, .offset = 5, .count = 6},
	{.name = "width", .name_bytes = 5, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 11, .count = 0},
	{.name = "height", .name_bytes = 6, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 0, .offset = 13, .count = 0},
};
static const unsigned char video_defaults[15];
__attribute__((unused)) static const struct tare_codec_record video_record = {
	.name = "video", .fields = video_fields, .defaults = video_defaults, .bytes = 15, .field_count = 6,
	.slots = 0, .checked = true,
};

static const char *const creative_names_list[] = {"banner", "video"};
static const struct tare_codec_record *const creative_variants[] = {&banner_record, &video_record};
__attribute__((unused)) static const struct tare_codec_names creative_names = {"creative", 2, creative_names_list, creative_variants};

static const struct tare_codec_field site_fields[] = {
	{.name = "domain", .name_bytes = 6, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0},
	{.name = "page", .name_bytes = 4, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 0, .count = 0},
	{.name = "publisher", .name_bytes = 9, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 2, .offset = 0, .count = 0},
	{.name = "secure", .name_bytes = 6, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 2, .offset = 4, .count = 0},
	{.name = "category", .name_bytes = 8, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 2, .offset = 5, .count = 0},
};
static const unsigned char site_defaults[7];
__attribute__((unused)) static const struct tare_codec_record site_record = {
	.name = "site", .fields = site_fields, .defaults = site_defaults, .bytes = 7, .field_count = 5,
	.slots = 2, .checked = true,
};

static const struct tare_codec_field device_fields[] = {
	{.name = "kind", .name_bytes = 4, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 0, .count = 0, .names = &device_type_names},
	{.name = "connection", .name_bytes = 10, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 0, .offset = 1, .count = 0, .names = &connection_names},
	{.name = "ip", .name_bytes = 2, .kind = TARE_CODEC_U8, .shape = TARE_CODEC_ARRAY, .element_bytes = 1, .slot = 0, .offset = 2, .count = 4},
	{.name = "user_agent", .name_bytes = 10, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 6, .count = 0},
	{.name = "language", .name_bytes = 8, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 6, .count = 0},
	{.name = "geo", .name_bytes = 3, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 2, .offset = 6, .count = 0, .record = &geo_record},
	{.name = "do_not_track", .name_bytes = 12, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 2, .offset = 20, .count = 0},
};
static const unsigned char device_defaults[21];
__attribute__((unused)) static const struct tare_codec_record device_record = {
	.name = "device", .fields = device_fields, .defaults = device_defaults, .bytes = 21, .field_count = 7,
	.slots = 2, .checked = true,
};

static const struct tare_codec_field user_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0},
	{.name = "year_of_birth", .name_bytes = 13, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 1, .offset = 0, .count = 0},
	{.name = "segments", .name_bytes = 8, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 1, .offset = 2, .count = 0, .record = &segment_record},
};
static const unsigned char user_defaults[2];
__attribute__((unused)) static const struct tare_codec_record user_record = {
	.name = "user", .fields = user_fields, .defaults = user_defaults, .bytes = 2, .field_count = 3,
	.slots = 2, .checked = true,
};

static const struct tare_codec_field message_fields[] = {
	{.name = "id", .name_bytes = 2, .kind = TARE_CODEC_STRING, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 0, .offset = 0, .count = 0},
	{.name = "at_ms", .name_bytes = 5, .kind = TARE_CODEC_U64, .shape = TARE_CODEC_ONE, .element_bytes = 8, .slot = 1, .offset = 0, .count = 0},
	{.name = "time_left_ms", .name_bytes = 12, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 1, .offset = 8, .count = 0},
	{.name = "auction", .name_bytes = 7, .kind = TARE_CODEC_ENUM, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 1, .offset = 10, .count = 0, .names = &auction_names},
	{.name = "test", .name_bytes = 4, .kind = TARE_CODEC_BOOL, .shape = TARE_CODEC_ONE, .element_bytes = 1, .slot = 1, .offset = 11, .count = 0},
	{.name = "floor_micros", .name_bytes = 12, .kind = TARE_CODEC_U32, .shape = TARE_CODEC_ONE, .element_bytes = 4, .slot = 1, .offset = 12, .count = 0},
	{.name = "impression", .name_bytes = 10, .kind = TARE_CODEC_UNION, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 1, .offset = 16, .count = 0, .names = &creative_names},
	{.name = "site", .name_bytes = 4, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 2, .offset = 17, .count = 0, .record = &site_record},
	{.name = "device", .name_bytes = 6, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 4, .offset = 24, .count = 0, .record = &device_record},
	{.name = "user", .name_bytes = 4, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 6, .offset = 45, .count = 0, .record = &user_record},
	{.name = "deals", .name_bytes = 5, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 8, .offset = 47, .count = 0, .record = &deal_record},
	{.name = "caps", .name_bytes = 4, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 9, .offset = 47, .count = 0, .record = &frequency_cap_record},
	{.name = "campaigns", .name_bytes = 9, .kind = TARE_CODEC_RECORD, .shape = TARE_CODEC_VECTOR, .element_bytes = 0, .slot = 10, .offset = 47, .count = 0, .record = &campaign_record},
	{.name = "blocked_categories", .name_bytes = 18, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_VECTOR, .element_bytes = 2, .slot = 11, .offset = 47, .count = 0},
	{.name = "consent", .name_bytes = 7, .kind = TARE_CODEC_BYTES, .shape = TARE_CODEC_ONE, .element_bytes = 0, .slot = 12, .offset = 47, .count = 0},
	{.name = "currency", .name_bytes = 8, .kind = TARE_CODEC_U16, .shape = TARE_CODEC_ONE, .element_bytes = 2, .slot = 13, .offset = 47, .count = 0},
};
static const unsigned char message_defaults[49] = {[8] = 0x64, [10] = 0x01, [47] = 0xd2, [48] = 0x03};
__attribute__((unused)) static const struct tare_codec_record message_record = {
	.name = "bid_request", .fields = message_fields, .defaults = message_defaults, .bytes = 49, .field_count = 16,
	.slots = 13, .checked = true,
};
static const struct tare_codec_version message_versions[] = {{47, 12}, {49, 13}};
const struct tare_codec_schema bid_request_schema = {
	.name = "bid_request", .root = &message_record, .versions = message_versions, .id = 0x42524551, .version = 2,
};

__attribute__((unused)) static inline uint64_t campaign_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= p[4] >= 7;
	return wrong;
}

__attribute__((unused)) static inline uint64_t deal_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= p[8] >= 3;
	return wrong;
}

__attribute__((unused)) static inline uint64_t banner_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= p[5] >= 2;
	return wrong;
}

__attribute__((unused)) static inline uint64_t video_wrong(const unsigned char *p)
{
	uint64_t wrong = 0;
	wrong |= p[4] >= 2;
	return wrong;
}

// Past the last variant nothing is of the right size.
__attribute__((unused)) static inline uint64_t creative_bytes(uint8_t kind)
{
	static const uint32_t bytes[] = {0, 14, 15};
	return kind < 3 ? bytes[kind] : UINT64_C(1) << 33;
}

__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct tare_error *err)
{
	if (total == SIZE_MAX)
		return tare_error_set(err, -EMSGSIZE, "bid_request: more than 4 GiB, or an unknown variant");
	return tare_error_set(err, -ENOSPC, "bid_request: %zu bytes do not fit into %zu", total, cap);
}

// A text that is not ASCII, or a value that is not valid.
__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct tare_error *err)
{
	struct bid_request_view view;
	int rc = bid_request_verify(&view, buf, total, err);
	return rc < 0 ? rc : (ssize_t)total;
}

size_t bid_request_encoded_bytes(const struct bid_request *in)
{
	uint64_t all = 0, total = BID_REQUEST_FIXED_BYTES;
	all |= in->id.len;
	total += in->id.len;
	total += creative_bytes(in->impression.kind);
	all |= in->site.domain.len;
	total += in->site.domain.len;
	all |= in->site.page.len;
	total += in->site.page.len;
	all |= in->device.user_agent.len;
	total += in->device.user_agent.len;
	all |= in->device.language.len;
	total += in->device.language.len;
	all |= in->user.id.len;
	total += in->user.id.len;
	all |= in->user.segments.count;
	total += (uint64_t)in->user.segments.count * 12;
	all |= in->deals.count;
	total += (uint64_t)in->deals.count * 9;
	all |= in->caps.count;
	total += (uint64_t)in->caps.count * 16;
	all |= in->campaigns.count;
	total += (uint64_t)in->campaigns.count * 21;
	all |= in->blocked_categories.count;
	total += (uint64_t)in->blocked_categories.count * 2;
	all |= in->consent.len;
	total += in->consent.len;
	return all > UINT32_MAX || total > UINT32_MAX ? SIZE_MAX : total;
}

ssize_t bid_request_encode(const struct bid_request *in, void *buf, size_t cap, struct tare_error *err)
{
	const size_t total = bid_request_encoded_bytes(in);
	if (TARE_UNLIKELY(total > cap))
		return too_long(total, cap, err);
	unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;
	unsigned char *const s = b + BID_REQUEST_BLOCK_BYTES, *p = s + BID_REQUEST_SLOTS * TARE_CODEC_SLOT_BYTES;
	uint64_t n;
	uint64_t wrong = 0;
	TARE_CODEC_STORE(tare_codec_u64, m, BID_REQUEST_ID | (uint64_t)BID_REQUEST_VERSION << 32 | (uint64_t)BID_REQUEST_SLOTS << 48);
	TARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)BID_REQUEST_BLOCK_BYTES << 32);
	n = in->id.len;
	tare_codec_slot_put(s, 0, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->id.ptr, n);
	p += n;
	TARE_CODEC_STORE(tare_codec_u64, b + 0, in->at_ms);
	TARE_CODEC_STORE(tare_codec_u16, b + 8, in->time_left_ms);
	b[10] = (unsigned char)in->auction;
	wrong |= b[10] >= 3;
	b[11] = (unsigned char)in->test;
	TARE_CODEC_STORE(tare_codec_u32, b + 12, in->floor_micros);
	n = creative_bytes(in->impression.kind);
	tare_codec_slot_put(s, 1, (uint64_t)(p - m), n);
	b[16] = in->impression.kind;
	memcpy(p, &in->impression.banner, n);
	if (in->impression.kind == 1)
		wrong |= banner_wrong(p);
	if (in->impression.kind == 2)
		wrong |= video_wrong(p);
	p += n;
	n = in->site.domain.len;
	tare_codec_slot_put(s, 2, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->site.domain.ptr, n);
	p += n;
	n = in->site.page.len;
	tare_codec_slot_put(s, 3, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->site.page.ptr, n);
	p += n;
	TARE_CODEC_STORE(tare_codec_u32, b + 17, in->site.publisher);
	b[21] = (unsigned char)in->site.secure;
	TARE_CODEC_STORE(tare_codec_u16, b + 22, in->site.category);
	b[24] = (unsigned char)in->device.kind;
	wrong |= b[24] >= 8;
	b[25] = (unsigned char)in->device.connection;
	wrong |= b[25] >= 8;
	memcpy(b + 26, in->device.ip, 4);
	n = in->device.user_agent.len;
	tare_codec_slot_put(s, 4, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->device.user_agent.ptr, n);
	p += n;
	n = in->device.language.len;
	tare_codec_slot_put(s, 5, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->device.language.ptr, n);
	p += n;
	memcpy(b + 30, &in->device.geo, 14);
	b[44] = (unsigned char)in->device.do_not_track;
	n = in->user.id.len;
	tare_codec_slot_put(s, 6, (uint64_t)(p - m), n);
	wrong |= tare_codec_copy_text(p, in->user.id.ptr, n);
	p += n;
	TARE_CODEC_STORE(tare_codec_u16, b + 45, in->user.year_of_birth);
	n = (uint64_t)in->user.segments.count * 12;
	tare_codec_slot_put(s, 7, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->user.segments.at, n);
	p += n;
	n = (uint64_t)in->deals.count * 9;
	tare_codec_slot_put(s, 8, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->deals.at, n);
	for (size_t i = 0; i < n; i += 9)
		wrong |= deal_wrong(p + i);
	p += n;
	n = (uint64_t)in->caps.count * 16;
	tare_codec_slot_put(s, 9, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->caps.at, n);
	p += n;
	n = (uint64_t)in->campaigns.count * 21;
	tare_codec_slot_put(s, 10, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->campaigns.at, n);
	for (size_t i = 0; i < n; i += 21)
		wrong |= campaign_wrong(p + i);
	p += n;
	n = (uint64_t)in->blocked_categories.count * 2;
	tare_codec_slot_put(s, 11, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->blocked_categories.at, n);
	p += n;
	n = in->consent.len;
	tare_codec_slot_put(s, 12, (uint64_t)(p - m), n);
	if (n > 0)
		memcpy(p, in->consent.ptr, n);
	p += n;
	TARE_CODEC_STORE(tare_codec_u16, b + 47, in->currency);
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
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	if (b[16] == 1)
		wrong |= banner_wrong((m + (uint32_t)w));
	if (b[16] == 2)
		wrong |= video_wrong((m + (uint32_t)w));
	begin = TARE_CODEC_LOAD(tare_codec_u32, s + 16);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 48);
	if (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)
		wrong |= !all_utf8(m, s + 16, 5);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 64);
	for (size_t i = 0; i < w >> 32; i += 9)
		wrong |= deal_wrong((m + (uint32_t)w) + i);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 80);
	for (size_t i = 0; i < w >> 32; i += 21)
		wrong |= campaign_wrong((m + (uint32_t)w) + i);
	(void)b;
	return wrong == 0;
}

int bid_request_verify(struct bid_request_view *view, const void *buf, size_t len, struct tare_error *err)
{
	const unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + BID_REQUEST_BLOCK_BYTES;
	if (TARE_UNLIKELY(len - BID_REQUEST_FIXED_BYTES > UINT32_MAX - BID_REQUEST_FIXED_BYTES)) // too short, or too long
		goto wrong;
	uint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^
		(BID_REQUEST_ID | (uint64_t)BID_REQUEST_VERSION << 32 | (uint64_t)BID_REQUEST_SLOTS << 48);
	wrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)BID_REQUEST_BLOCK_BYTES << 32);
	uint64_t at = BID_REQUEST_FIXED_BYTES;
	uint64_t w;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 0);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= b[10] >= 3;
	wrong |= b[11] >= 2;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 8);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (w >> 32) ^ creative_bytes(b[16]);
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 16);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 24);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= b[21] >= 2;
	wrong |= b[24] >= 8;
	wrong |= b[25] >= 8;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 32);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 40);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= b[44] >= 2;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 48);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 56);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 12U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 64);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 9U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 72);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 16U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 80);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 21U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 88);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	wrong |= (uint32_t)(w >> 32) % 2U;
	w = TARE_CODEC_LOAD(tare_codec_u64, s + 96);
	wrong |= at ^ (uint32_t)w;
	at += w >> 32;
	if (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, s)))
		goto wrong;
	view->view = (struct tare_codec_view){m, b, s, &bid_request_schema, (uint32_t)len, BID_REQUEST_VERSION};
	return 0;
wrong: // or of another version
	return tare_codec_verify(&bid_request_schema, &view->view, view->local, buf, len, err);
}

void bid_request_geo_init(struct bid_request_geo *out)
{
	memcpy(out, geo_defaults, sizeof *out);
}

void bid_request_segment_init(struct bid_request_segment *out)
{
	memcpy(out, segment_defaults, sizeof *out);
}

void bid_request_frequency_cap_init(struct bid_request_frequency_cap *out)
{
	memcpy(out, frequency_cap_defaults, sizeof *out);
}

void bid_request_campaign_init(struct bid_request_campaign *out)
{
	memcpy(out, campaign_defaults, sizeof *out);
}

void bid_request_deal_init(struct bid_request_deal *out)
{
	memcpy(out, deal_defaults, sizeof *out);
}

void bid_request_banner_init(struct bid_request_banner *out)
{
	memcpy(out, banner_defaults, sizeof *out);
}

void bid_request_video_init(struct bid_request_video *out)
{
	memcpy(out, video_defaults, sizeof *out);
}

void bid_request_init(struct bid_request *out)
{
	memset(out, 0, sizeof *out);
	memcpy(&out->time_left_ms, message_defaults + 8, sizeof out->time_left_ms);
	memcpy(&out->auction, message_defaults + 10, sizeof out->auction);
	memcpy(&out->currency, message_defaults + 47, sizeof out->currency);
}

void bid_request_read(struct bid_request *out, const struct bid_request_view *view)
{
	size_t n;
	out->id = bid_request_id(view);
	out->at_ms = bid_request_at_ms(view);
	out->time_left_ms = bid_request_time_left_ms(view);
	out->auction = bid_request_auction(view);
	out->test = bid_request_test(view);
	out->floor_micros = bid_request_floor_micros(view);
	n = tare_codec_slot_bytes(&view->view, 1);
	memset(&out->impression, 0, sizeof out->impression);
	out->impression.kind = view->view.block[16];
	if (out->impression.kind <= 2)
		memcpy(&out->impression.banner, tare_codec_slot_ptr(&view->view, 1), n);
	out->site.domain = bid_request_site_domain(view);
	out->site.page = bid_request_site_page(view);
	out->site.publisher = bid_request_site_publisher(view);
	out->site.secure = bid_request_site_secure(view);
	out->site.category = bid_request_site_category(view);
	out->device.kind = bid_request_device_kind(view);
	out->device.connection = bid_request_device_connection(view);
	memcpy(out->device.ip, view->view.block + 26, 4);
	out->device.user_agent = bid_request_device_user_agent(view);
	out->device.language = bid_request_device_language(view);
	memcpy(&out->device.geo, view->view.block + 30, 14);
	out->device.do_not_track = bid_request_device_do_not_track(view);
	out->user.id = bid_request_user_id(view);
	out->user.year_of_birth = bid_request_user_year_of_birth(view);
	out->user.segments = bid_request_user_segments(view);
	out->deals = bid_request_deals(view);
	out->caps = bid_request_caps(view);
	out->campaigns = bid_request_campaigns(view);
	out->blocked_categories = bid_request_blocked_categories(view);
	out->consent = bid_request_consent(view);
	out->currency = bid_request_currency(view);
}
