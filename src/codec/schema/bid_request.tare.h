// SPDX-License-Identifier: MIT
// Messages of bid_request, version 2: made by `tare schema compile` of bid_request.tare, not by hand.
// clang-format off
#ifndef BID_REQUEST_TARE_H
#define BID_REQUEST_TARE_H

#include <tare/codec.h>

#define BID_REQUEST_ID UINT32_C(0x42524551)
#define BID_REQUEST_VERSION 2
#define BID_REQUEST_BLOCK_BYTES 49
#define BID_REQUEST_SLOTS 13
// Head, block and slots: what the shortest message takes.
#define BID_REQUEST_FIXED_BYTES 169

struct bid_request_u16_slice {
	const tare_codec_u16 *at;
	size_t count;
};

enum bid_request_device_type {
	BID_REQUEST_DEVICE_TYPE_UNKNOWN,
	BID_REQUEST_DEVICE_TYPE_MOBILE,
	BID_REQUEST_DEVICE_TYPE_DESKTOP,
	BID_REQUEST_DEVICE_TYPE_TV,
	BID_REQUEST_DEVICE_TYPE_PHONE,
	BID_REQUEST_DEVICE_TYPE_TABLET,
	BID_REQUEST_DEVICE_TYPE_CONNECTED,
	BID_REQUEST_DEVICE_TYPE_SET_TOP_BOX,
};
// NULL for a value of a newer version.
const char *bid_request_device_type_name(uint8_t value);

enum bid_request_connection {
	BID_REQUEST_CONNECTION_UNKNOWN,
	BID_REQUEST_CONNECTION_ETHERNET,
	BID_REQUEST_CONNECTION_WIFI,
	BID_REQUEST_CONNECTION_CELL,
	BID_REQUEST_CONNECTION_CELL_2G,
	BID_REQUEST_CONNECTION_CELL_3G,
	BID_REQUEST_CONNECTION_CELL_4G,
	BID_REQUEST_CONNECTION_CELL_5G,
};
// NULL for a value of a newer version.
const char *bid_request_connection_name(uint8_t value);

enum bid_request_auction {
	BID_REQUEST_AUCTION_FIRST_PRICE,
	BID_REQUEST_AUCTION_SECOND_PRICE,
	BID_REQUEST_AUCTION_FIXED,
};
// NULL for a value of a newer version.
const char *bid_request_auction_name(uint8_t value);

enum bid_request_reason {
	BID_REQUEST_REASON_ELIGIBLE,
	BID_REQUEST_REASON_PAUSED,
	BID_REQUEST_REASON_OUT_OF_BUDGET,
	BID_REQUEST_REASON_CAPPED,
	BID_REQUEST_REASON_NOT_TARGETED,
	BID_REQUEST_REASON_BLOCKED_CATEGORY,
	BID_REQUEST_REASON_BELOW_FLOOR,
};
// NULL for a value of a newer version.
const char *bid_request_reason_name(uint8_t value);

struct bid_request_geo {
	float lat;
	float lon;
	uint16_t country;
	uint16_t region;
	uint16_t accuracy_m;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_geo) == 14, "as in messages");
// Fills in the defaults.
void bid_request_geo_init(struct bid_request_geo *out);

struct bid_request_segment {
	uint32_t id;
	uint16_t provider;
	uint16_t score;
	uint32_t age_s;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_segment) == 12, "as in messages");
// Fills in the defaults.
void bid_request_segment_init(struct bid_request_segment *out);
struct bid_request_segment_slice {
	const struct bid_request_segment *at;
	size_t count;
};

struct bid_request_frequency_cap {
	uint32_t campaign;
	uint16_t shown;
	uint16_t limit;
	uint32_t window_s;
	uint32_t since_s;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_frequency_cap) == 16, "as in messages");
// Fills in the defaults.
void bid_request_frequency_cap_init(struct bid_request_frequency_cap *out);
struct bid_request_frequency_cap_slice {
	const struct bid_request_frequency_cap *at;
	size_t count;
};

struct bid_request_campaign {
	uint32_t id;
	uint8_t reason; // enum bid_request_reason
	uint32_t bid_micros;
	uint64_t budget_micros;
	float pacing;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_campaign) == 21, "as in messages");
// Fills in the defaults.
void bid_request_campaign_init(struct bid_request_campaign *out);
struct bid_request_campaign_slice {
	const struct bid_request_campaign *at;
	size_t count;
};

struct bid_request_deal {
	uint32_t id;
	uint32_t floor_micros;
	uint8_t auction; // enum bid_request_auction
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_deal) == 9, "as in messages");
// Fills in the defaults.
void bid_request_deal_init(struct bid_request_deal *out);
struct bid_request_deal_slice {
	const struct bid_request_deal *at;
	size_t count;
};

struct bid_request_banner {
	uint16_t width;
	uint16_t height;
	uint8_t position;
	bool interstitial;
	uint16_t blocked[4];
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_banner) == 14, "as in messages");
// Fills in the defaults.
void bid_request_banner_init(struct bid_request_banner *out);

struct bid_request_video {
	uint16_t min_s;
	uint16_t max_s;
	bool skippable;
	uint8_t protocols[6];
	uint16_t width;
	uint16_t height;
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct bid_request_video) == 15, "as in messages");
// Fills in the defaults.
void bid_request_video_init(struct bid_request_video *out);

enum bid_request_creative_kind {
	BID_REQUEST_CREATIVE_NONE,
	BID_REQUEST_CREATIVE_BANNER,
	BID_REQUEST_CREATIVE_VIDEO,
};

struct bid_request_creative {
	uint8_t kind; // enum bid_request_creative_kind
	union {
		struct bid_request_banner banner;
		struct bid_request_video video;
	};
};

struct bid_request_site {
	struct tare_str domain;
	struct tare_str page;
	uint32_t publisher;
	bool secure;
	uint16_t category;
};

struct bid_request_device {
	uint8_t kind; // enum bid_request_device_type
	uint8_t connection; // enum bid_request_connection
	uint8_t ip[4];
	struct tare_str user_agent;
	struct tare_str language;
	struct bid_request_geo geo;
	bool do_not_track;
};

struct bid_request_user {
	struct tare_str id;
	uint16_t year_of_birth;
	struct bid_request_segment_slice segments;
};

// What is encoded; texts, bytes and vectors stay the caller's.
struct bid_request {
	struct tare_str id;
	uint64_t at_ms;
	uint16_t time_left_ms;
	uint8_t auction; // enum bid_request_auction
	bool test;
	uint32_t floor_micros;
	struct bid_request_creative impression;
	struct bid_request_site site;
	struct bid_request_device device;
	struct bid_request_user user;
	struct bid_request_deal_slice deals;
	struct bid_request_frequency_cap_slice caps;
	struct bid_request_campaign_slice campaigns;
	struct bid_request_u16_slice blocked_categories;
	struct tare_str consent; // bytes
	uint16_t currency;
};

// Made by bid_request_verify alone. It is not copied: it may point into itself.
struct bid_request_view {
	struct tare_codec_view view;
	unsigned char local[153];
};

extern const struct tare_codec_schema bid_request_schema;

// Fills in the defaults; everything that varies is empty.
void bid_request_init(struct bid_request *out);
// What bid_request_encode will take; SIZE_MAX where that is more than a message can be.
size_t bid_request_encoded_bytes(const struct bid_request *in);
// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a union's kind that there is
// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has the text, or is NULL.
TARE_MUST_USE ssize_t bid_request_encode(const struct bid_request *in, void *buf, size_t cap, struct tare_error *err);
// Whether these bytes are a message. Only then the view is written; it points into buf. -EBADMSG with a text.
TARE_MUST_USE int bid_request_verify(struct bid_request_view *view, const void *buf, size_t len, struct tare_error *err);
// All fields at once; texts, bytes and vectors point into the message.
void bid_request_read(struct bid_request *out, const struct bid_request_view *view);

// See <tare/codec.h>.
TARE_MUST_USE static inline ssize_t bid_request_json_read(void *buf, size_t cap, const char *text, size_t len,
	const struct tare_codec_limits *limits, struct tare_error *err)
{
	return tare_codec_json_read(&bid_request_schema, buf, cap, text, len, limits, err);
}
TARE_MUST_USE static inline ssize_t bid_request_json_write(const struct bid_request_view *view, char *buf, size_t cap,
	struct tare_error *err)
{
	return tare_codec_json_write(&view->view, buf, cap, err);
}
TARE_MUST_USE static inline ssize_t bid_request_print(const struct bid_request_view *view, char *buf, size_t cap)
{
	return tare_codec_print(&view->view, buf, cap);
}

static inline struct tare_str bid_request_id(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 0);
}
static inline uint64_t bid_request_at_ms(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u64, view->view.block + 0);
}
static inline uint16_t bid_request_time_left_ms(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u16, view->view.block + 8);
}
static inline uint8_t bid_request_auction(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 10);
}
static inline bool bid_request_test(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 11);
}
static inline uint32_t bid_request_floor_micros(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->view.block + 12);
}
static inline uint8_t bid_request_impression_kind(const struct bid_request_view *view)
{
	return view->view.block[16];
}
static inline const struct bid_request_banner *bid_request_impression_banner(const struct bid_request_view *view)
{
	return view->view.block[16] == 1 ? (const void *)tare_codec_slot_ptr(&view->view, 1) : NULL;
}
static inline const struct bid_request_video *bid_request_impression_video(const struct bid_request_view *view)
{
	return view->view.block[16] == 2 ? (const void *)tare_codec_slot_ptr(&view->view, 1) : NULL;
}
static inline struct tare_str bid_request_site_domain(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 2);
}
static inline struct tare_str bid_request_site_page(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 3);
}
static inline uint32_t bid_request_site_publisher(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->view.block + 17);
}
static inline bool bid_request_site_secure(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 21);
}
static inline uint16_t bid_request_site_category(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u16, view->view.block + 22);
}
static inline uint8_t bid_request_device_kind(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 24);
}
static inline uint8_t bid_request_device_connection(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(uint8_t, view->view.block + 25);
}
static inline const uint8_t *bid_request_device_ip(const struct bid_request_view *view)
{
	return (const void *)(view->view.block + 26);
}
static inline struct tare_str bid_request_device_user_agent(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 4);
}
static inline struct tare_str bid_request_device_language(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 5);
}
static inline const struct bid_request_geo *bid_request_device_geo(const struct bid_request_view *view)
{
	return (const void *)(view->view.block + 30);
}
static inline bool bid_request_device_do_not_track(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_bool, view->view.block + 44);
}
static inline struct tare_str bid_request_user_id(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 6);
}
static inline uint16_t bid_request_user_year_of_birth(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u16, view->view.block + 45);
}
static inline struct bid_request_segment_slice bid_request_user_segments(const struct bid_request_view *view)
{
	return (struct bid_request_segment_slice){(const void *)tare_codec_slot_ptr(&view->view, 7), tare_codec_slot_bytes(&view->view, 7) / 12};
}
static inline struct bid_request_deal_slice bid_request_deals(const struct bid_request_view *view)
{
	return (struct bid_request_deal_slice){(const void *)tare_codec_slot_ptr(&view->view, 8), tare_codec_slot_bytes(&view->view, 8) / 9};
}
static inline struct bid_request_frequency_cap_slice bid_request_caps(const struct bid_request_view *view)
{
	return (struct bid_request_frequency_cap_slice){(const void *)tare_codec_slot_ptr(&view->view, 9), tare_codec_slot_bytes(&view->view, 9) / 16};
}
static inline struct bid_request_campaign_slice bid_request_campaigns(const struct bid_request_view *view)
{
	return (struct bid_request_campaign_slice){(const void *)tare_codec_slot_ptr(&view->view, 10), tare_codec_slot_bytes(&view->view, 10) / 21};
}
static inline struct bid_request_u16_slice bid_request_blocked_categories(const struct bid_request_view *view)
{
	return (struct bid_request_u16_slice){(const void *)tare_codec_slot_ptr(&view->view, 11), tare_codec_slot_bytes(&view->view, 11) / 2};
}
static inline struct tare_str bid_request_consent(const struct bid_request_view *view)
{
	return tare_codec_slot_str(&view->view, 12);
}
static inline uint16_t bid_request_currency(const struct bid_request_view *view)
{
	return TARE_CODEC_LOAD(tare_codec_u16, view->view.block + 47);
}

#endif
