// SPDX-License-Identifier: MIT
// The same bid request as JSON through simdjson's on-demand interface, its fastest, with every field read in the document's order,
// which suits it best. peer_simdjson FILE.json
#include "bench.h"

#include <simdjson.h>
#include <string_view>

using namespace simdjson;

static uint64_t number(ondemand::object &object, const char *key)
{
	return object.find_field(key).get_uint64().value();
}

static uint64_t length(ondemand::object &object, const char *key)
{
	return object.find_field(key).get_string().value().size();
}

static uint64_t flag(ondemand::object &object, const char *key)
{
	return object.find_field(key).get_bool().value() ? 1 : 0;
}

static uint64_t numbers(ondemand::object &object, const char *key)
{
	uint64_t sum = 0;
	for (auto value : object.find_field(key).get_array())
		sum += value.get_uint64().value();
	return sum;
}

static void add_context(bench_sum &sum, ondemand::object &root)
{
	ondemand::object impression = root.find_field("impression").get_object();
	ondemand::object banner = impression.find_field("banner").get_object();
	sum.whole += number(banner, "width") + number(banner, "height") + number(banner, "position") +
		     flag(banner, "interstitial") + numbers(banner, "blocked");
	ondemand::object site = root.find_field("site").get_object();
	sum.whole += length(site, "domain") + length(site, "page") + number(site, "publisher") + flag(site, "secure") +
		     number(site, "category");
	ondemand::object device = root.find_field("device").get_object();
	BENCH_USED(length(device, "kind"));
	BENCH_USED(length(device, "connection"));
	sum.whole += numbers(device, "ip") + length(device, "user_agent") + length(device, "language");
	ondemand::object geo = device.find_field("geo").get_object();
	sum.real += geo.find_field("lat").get_double().value() + geo.find_field("lon").get_double().value();
	sum.whole += number(geo, "country") + number(geo, "region") + number(geo, "accuracy_m");
	sum.whole += flag(device, "do_not_track");
}

static void add_user(bench_sum &sum, ondemand::object &root)
{
	ondemand::object user = root.find_field("user").get_object();
	sum.whole += length(user, "id") + number(user, "year_of_birth");
	for (auto value : user.find_field("segments").get_array()) {
		ondemand::object one = value.get_object();
		sum.whole += number(one, "id") + number(one, "provider") + number(one, "score") + number(one, "age_s");
	}
	for (auto value : root.find_field("deals").get_array()) {
		ondemand::object one = value.get_object();
		sum.whole += number(one, "id") + number(one, "floor_micros");
		BENCH_USED(length(one, "auction"));
	}
	for (auto value : root.find_field("caps").get_array()) {
		ondemand::object one = value.get_object();
		sum.whole += number(one, "campaign") + number(one, "shown") + number(one, "limit") +
			     number(one, "window_s") + number(one, "since_s");
	}
	for (auto value : root.find_field("campaigns").get_array()) {
		ondemand::object one = value.get_object();
		sum.whole += number(one, "id");
		BENCH_USED(length(one, "reason"));
		sum.whole += number(one, "bid_micros") + number(one, "budget_micros");
		sum.real += one.find_field("pacing").get_double().value();
	}
}

static bench_sum read_all(ondemand::parser &parser, const padded_string &text)
{
	bench_sum sum = {0, 0};
	ondemand::document document = parser.iterate(text);
	ondemand::object root = document.get_object();
	sum.whole += length(root, "id") + number(root, "at_ms") + number(root, "time_left_ms");
	BENCH_USED(length(root, "auction"));
	sum.whole += flag(root, "test") + number(root, "floor_micros");
	add_context(sum, root);
	add_user(sum, root);
	sum.whole += numbers(root, "blocked_categories");
	BENCH_USED(length(root, "consent"));
	sum.whole += number(root, "currency");
	return sum;
}

int main(int argc, char **argv)
{
	static char text[65536];
	size_t len = argc == 2 ? bench_load(argv[1], text, sizeof text) : 0;
	if (len == 0) {
		fprintf(stderr, "usage: peer_simdjson FILE.json\n");
		return 2;
	}
	padded_string padded(text, len);
	ondemand::parser parser;
	dom::parser tree;
	bench_print_sum("sum", read_all(parser, padded), len);
	BENCH("read", 2000, BENCH_USED(read_all(parser, padded).whole));
	BENCH("parse into a tree", 2000, BENCH_USED(tree.parse(padded).error()));
	return 0;
}
