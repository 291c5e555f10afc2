// SPDX-License-Identifier: MIT
// The same bid request through protobuf-c: packed, unpacked, and every field read. peer_protobuf FILE.json
//
// The values come from the JSON by way of our own codec, so that all programs have the same.
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "codec/schema/bid_request.tare.h"

#if !__has_include("bid_request.pb-c.h")
int main(void)
{
	fprintf(stderr, "peer_protobuf: bench/codec builds it, with what protoc-c makes of bid_request.proto\n");
	return 1;
}
#else
#include "bid_request.pb-c.h"

enum { ITEMS_MAX = 64, CALLS = 4000 };

static char *text_of(struct tare_str text)
{
	return strndup(text.ptr, text.len); // lives as long as the program
}

static void *need(size_t bytes)
{
	void *p = calloc(1, bytes);
	if (p == NULL)
		exit(1);
	return p;
}

// An array of count messages, as protobuf-c wants them.
#define FILL(list, Type, INIT, slice, assign)                                                                          \
	do {                                                                                                           \
		list##_count = (slice).count;                                                                          \
		Type **items_ = need(sizeof *items_ * ((slice).count + 1));                                            \
		for (size_t i = 0; i < (slice).count; i++) {                                                           \
			Type *to = items_[i] = need(sizeof(Type));                                                     \
			const Type init_ = INIT;                                                                       \
			*to = init_;                                                                                   \
			assign;                                                                                        \
		}                                                                                                      \
		list##_items = items_;                                                                                 \
	} while (0)

static void fill_lists(BidRequest *out, const struct bid_request *in)
{
	size_t list_count;
	void *list_items;
	FILL(list, Segment, SEGMENT__INIT, in->user.segments, {
		to->id = in->user.segments.at[i].id;
		to->provider = in->user.segments.at[i].provider;
		to->score = in->user.segments.at[i].score;
		to->age_s = in->user.segments.at[i].age_s;
	});
	out->user->n_segments = list_count;
	out->user->segments = list_items;
	FILL(list, Deal, DEAL__INIT, in->deals, {
		to->id = in->deals.at[i].id;
		to->floor_micros = in->deals.at[i].floor_micros;
		to->auction = in->deals.at[i].auction;
	});
	out->n_deals = list_count;
	out->deals = list_items;
	FILL(list, Cap, CAP__INIT, in->caps, {
		to->campaign = in->caps.at[i].campaign;
		to->shown = in->caps.at[i].shown;
		to->limit = in->caps.at[i].limit;
		to->window_s = in->caps.at[i].window_s;
		to->since_s = in->caps.at[i].since_s;
	});
	out->n_caps = list_count;
	out->caps = list_items;
	FILL(list, Campaign, CAMPAIGN__INIT, in->campaigns, {
		to->id = in->campaigns.at[i].id;
		to->reason = in->campaigns.at[i].reason;
		to->bid_micros = in->campaigns.at[i].bid_micros;
		to->budget_micros = in->campaigns.at[i].budget_micros;
		to->pacing = in->campaigns.at[i].pacing;
	});
	out->n_campaigns = list_count;
	out->campaigns = list_items;
}

static void fill_device(Device *out, const struct bid_request_device *in)
{
	static Geo geo = GEO__INIT;
	out->kind = in->kind;
	out->connection = in->connection;
	out->ip = (ProtobufCBinaryData){4, need(4)};
	memcpy(out->ip.data, in->ip, 4);
	out->user_agent = text_of(in->user_agent);
	out->language = text_of(in->language);
	out->do_not_track = in->do_not_track;
	geo.lat = in->geo.lat;
	geo.lon = in->geo.lon;
	geo.country = in->geo.country;
	geo.region = in->geo.region;
	geo.accuracy_m = in->geo.accuracy_m;
	out->geo = &geo;
}

static void fill(BidRequest *out, const struct bid_request *in)
{
	static Banner banner = BANNER__INIT;
	static Site site = SITE__INIT;
	static Device device = DEVICE__INIT;
	static User user = USER__INIT;
	static uint32_t blocked[4], categories[ITEMS_MAX];
	out->id = text_of(in->id);
	out->at_ms = in->at_ms;
	out->time_left_ms = in->time_left_ms;
	out->auction = in->auction;
	out->test = in->test;
	out->floor_micros = in->floor_micros;
	banner.width = in->impression.banner.width;
	banner.height = in->impression.banner.height;
	banner.position = in->impression.banner.position;
	banner.interstitial = in->impression.banner.interstitial;
	for (size_t i = 0; i < 4; i++)
		blocked[i] = in->impression.banner.blocked[i];
	banner.n_blocked = 4;
	banner.blocked = blocked;
	out->banner = &banner;
	site.domain = text_of(in->site.domain);
	site.page = text_of(in->site.page);
	site.publisher = in->site.publisher;
	site.secure = in->site.secure;
	site.category = in->site.category;
	out->site = &site;
	fill_device(&device, &in->device);
	out->device = &device;
	user.id = text_of(in->user.id);
	user.year_of_birth = in->user.year_of_birth;
	out->user = &user;
	fill_lists(out, in);
	for (size_t i = 0; i < in->blocked_categories.count && i < ITEMS_MAX; i++)
		categories[i] = in->blocked_categories.at[i];
	out->n_blocked_categories = in->blocked_categories.count;
	out->blocked_categories = categories;
	out->consent = (ProtobufCBinaryData){in->consent.len, (uint8_t *)(uintptr_t)in->consent.ptr};
	out->currency = in->currency;
}

static void add_lists(struct bench_sum *sum, const BidRequest *m)
{
	for (size_t i = 0; i < m->user->n_segments; i++) {
		const Segment *s = m->user->segments[i];
		sum->whole += (uint64_t)s->id + s->provider + s->score + s->age_s;
	}
	for (size_t i = 0; i < m->n_deals; i++) {
		sum->whole += (uint64_t)m->deals[i]->id + m->deals[i]->floor_micros;
		BENCH_USED(m->deals[i]->auction);
	}
	for (size_t i = 0; i < m->n_caps; i++) {
		const Cap *c = m->caps[i];
		sum->whole += (uint64_t)c->campaign + c->shown + c->limit + c->window_s + c->since_s;
	}
	for (size_t i = 0; i < m->n_campaigns; i++) {
		const Campaign *c = m->campaigns[i];
		sum->whole += (uint64_t)c->id + c->bid_micros + c->budget_micros;
		sum->real += (double)c->pacing;
		BENCH_USED(c->reason);
	}
	for (size_t i = 0; i < m->n_blocked_categories; i++)
		sum->whole += m->blocked_categories[i];
}

// Lengths by strlen: protobuf-c's texts end in a zero byte and have no other length.
static struct bench_sum read_all(const BidRequest *m)
{
	struct bench_sum sum = {0, 0};
	sum.whole += strlen(m->id) + m->at_ms + m->time_left_ms + (uint64_t)m->test + m->floor_micros;
	BENCH_USED(m->auction);
	sum.whole +=
	    (uint64_t)m->banner->width + m->banner->height + m->banner->position + (uint64_t)m->banner->interstitial;
	for (size_t i = 0; i < m->banner->n_blocked; i++)
		sum.whole += m->banner->blocked[i];
	sum.whole += strlen(m->site->domain) + strlen(m->site->page) + m->site->publisher + (uint64_t)m->site->secure +
		     m->site->category;
	const Device *d = m->device;
	BENCH_USED(d->kind);
	BENCH_USED(d->connection);
	for (size_t i = 0; i < d->ip.len; i++)
		sum.whole += d->ip.data[i];
	sum.whole += strlen(d->user_agent) + strlen(d->language) + (uint64_t)d->do_not_track;
	sum.real += (double)d->geo->lat + (double)d->geo->lon;
	sum.whole += (uint64_t)d->geo->country + d->geo->region + d->geo->accuracy_m;
	sum.whole += strlen(m->user->id) + m->user->year_of_birth + m->currency;
	BENCH_USED(m->consent.data);
	add_lists(&sum, m);
	return sum;
}

int main(int argc, char **argv)
{
	static char text[65536];
	static unsigned char message[65536], packed[65536];
	struct bid_request_view view;
	struct bid_request in;
	size_t len = argc == 2 ? bench_load(argv[1], text, sizeof text) : 0;
	ssize_t n = bid_request_json_read(message, sizeof message, text, len, NULL, NULL);
	if (n < 0 || bid_request_verify(&view, message, (size_t)n, NULL) < 0) {
		fprintf(stderr, "usage: peer_protobuf FILE.json\n");
		return 2;
	}
	bid_request_read(&in, &view);
	BidRequest request = BID_REQUEST__INIT;
	fill(&request, &in);
	size_t bytes = bid_request__pack(&request, packed);
	BidRequest *back = bid_request__unpack(NULL, bytes, packed);
	if (back == NULL)
		return 1;
	bench_print_sum("sum", read_all(back), bytes);
	bid_request__free_unpacked(back, NULL);
	BENCH("encode", CALLS, {
		BENCH_USED(bid_request__get_packed_size(&request));
		BENCH_USED(bid_request__pack(&request, packed));
	});
	BENCH("verify and read", CALLS, {
		back = bid_request__unpack(NULL, bytes, packed);
		BENCH_USED(read_all(back).whole);
		bid_request__free_unpacked(back, NULL);
	});
	return 0;
}
#endif
