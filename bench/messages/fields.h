// SPDX-License-Identifier: MIT
// Every field of a bid request, read by its getter: what "all fields read" means wherever a benchmark says it.
#ifndef BENCH_MESSAGES_FIELDS_H
#define BENCH_MESSAGES_FIELDS_H

#include "bench.h"

#include "codec/schema/bid_request.tare.h"

static inline void add_lists(struct bench_sum *sum, const struct bid_request_view *v)
{
	struct bid_request_segment_slice segments = bid_request_user_segments(v);
	for (size_t i = 0; i < segments.count; i++) {
		const struct bid_request_segment *s = &segments.at[i];
		sum->whole += s->id + s->provider + s->score + (uint64_t)s->age_s;
	}
	struct bid_request_deal_slice deals = bid_request_deals(v);
	for (size_t i = 0; i < deals.count; i++) {
		sum->whole += deals.at[i].id + (uint64_t)deals.at[i].floor_micros;
		BENCH_USED(deals.at[i].auction);
	}
	struct bid_request_frequency_cap_slice caps = bid_request_caps(v);
	for (size_t i = 0; i < caps.count; i++) {
		const struct bid_request_frequency_cap *c = &caps.at[i];
		sum->whole += c->campaign + c->shown + c->limit + (uint64_t)c->window_s + c->since_s;
	}
	struct bid_request_campaign_slice campaigns = bid_request_campaigns(v);
	for (size_t i = 0; i < campaigns.count; i++) {
		const struct bid_request_campaign *c = &campaigns.at[i];
		sum->whole += c->id + c->bid_micros + c->budget_micros;
		sum->real += (double)c->pacing;
		BENCH_USED(c->reason);
	}
	struct bid_request_u16_slice blocked = bid_request_blocked_categories(v);
	for (size_t i = 0; i < blocked.count; i++)
		sum->whole += blocked.at[i];
}

static __attribute__((noinline)) struct bench_sum read_all(const struct bid_request_view *v)
{
	struct bench_sum sum = {0, 0};
	sum.whole += bid_request_id(v).len + bid_request_at_ms(v) + bid_request_time_left_ms(v) + bid_request_test(v) +
		     bid_request_floor_micros(v);
	BENCH_USED(bid_request_auction(v));
	const struct bid_request_banner *banner = bid_request_impression_banner(v);
	if (banner != NULL) {
		sum.whole += (uint64_t)banner->width + banner->height + banner->position + banner->interstitial;
		for (int i = 0; i < 4; i++)
			sum.whole += banner->blocked[i];
	}
	sum.whole += bid_request_site_domain(v).len + bid_request_site_page(v).len + bid_request_site_publisher(v) +
		     bid_request_site_secure(v) + bid_request_site_category(v);
	BENCH_USED(bid_request_device_kind(v));
	BENCH_USED(bid_request_device_connection(v));
	for (int i = 0; i < 4; i++)
		sum.whole += bid_request_device_ip(v)[i];
	const struct bid_request_geo *geo = bid_request_device_geo(v);
	sum.real += (double)geo->lat + (double)geo->lon;
	sum.whole += (uint64_t)geo->country + geo->region + geo->accuracy_m;
	sum.whole += bid_request_device_user_agent(v).len + bid_request_device_language(v).len +
		     bid_request_device_do_not_track(v);
	sum.whole += bid_request_user_id(v).len + bid_request_user_year_of_birth(v) + bid_request_currency(v);
	BENCH_USED(bid_request_consent(v).ptr);
	add_lists(&sum, v);
	return sum;
}

#endif
