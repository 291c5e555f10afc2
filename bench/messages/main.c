// SPDX-License-Identifier: MIT
// What a bid request costs through the codec, and the lookup service's answer beside the one written by hand: a JSON
// line a figure. `bench/codec` runs it and its peers. messages FILE.json
#include "bench.h"
#include "fields.h"

#include <stdlib.h>

#include "cmd/svc/svc.h"
#include "codec/schema/lookup.tare.h"

enum { TEXT_MAX = 65536, CALLS = 20000, CALLS_SLOW = 500 };

static char text[TEXT_MAX], out_text[TEXT_MAX];
static unsigned char message[TEXT_MAX], out[TEXT_MAX];

static void must(bool holds, const char *what, const char *why)
{
	if (holds)
		return;
	fprintf(stderr, "messages: %s: %s\n", what, why);
	exit(1);
}

static void bench_bid_request(size_t text_len)
{
	struct tare_error err = {.text = ""};
	struct bid_request_view view;
	struct bid_request in;
	static unsigned char local[TEXT_MAX];
	struct tare_codec_view by_tables;
	ssize_t n = bid_request_json_read(message, sizeof message, text, text_len, NULL, &err);
	must(n > 0, "JSON", err.text);
	size_t len = (size_t)n;
	must(bid_request_verify(&view, message, len, &err) == 0, "verify", err.text);
	bid_request_read(&in, &view);
	bench_print_sum("sum", read_all(&view), len);
	BENCH("encode", CALLS, BENCH_USED(bid_request_encode(&in, out, sizeof out, NULL)));
	BENCH("verify", CALLS, BENCH_USED(bid_request_verify(&view, message, len, NULL)));
	BENCH("read", CALLS, BENCH_USED(read_all(&view).whole));
	BENCH("verify and read", CALLS, {
		BENCH_USED(bid_request_verify(&view, message, len, NULL));
		BENCH_USED(read_all(&view).whole);
	});
	BENCH("round trip", CALLS, {
		BENCH_USED(bid_request_encode(&in, out, sizeof out, NULL));
		BENCH_USED(bid_request_verify(&view, out, len, NULL));
		BENCH_USED(read_all(&view).whole);
	});
	BENCH("verify by tables", CALLS_SLOW,
	      BENCH_USED(tare_codec_verify(&bid_request_schema, &by_tables, local, message, len, NULL)));
	BENCH("write JSON", CALLS_SLOW, BENCH_USED(bid_request_json_write(&view, out_text, sizeof out_text, NULL)));
	BENCH("read JSON", CALLS_SLOW, BENCH_USED(bid_request_json_read(out, sizeof out, text, text_len, NULL, NULL)));
}

static void bench_lookup(void)
{
	static const unsigned char payload[96] = {1, 2, 3};
	const struct tare_record record = {.id = 7,
					   .bid_micros = 1,
					   .budget_micros = 2,
					   .spend_micros = 3,
					   .impressions = 4,
					   .clicks = 5,
					   .hot = true};
	const struct tare_record_view by_hand = {
	    &record, TARE_STR("sports/football"), {(const char *)payload, sizeof payload}};
	struct lookup in = {.id = 7,
			    .bid_micros = 1,
			    .budget_micros = 2,
			    .spend_micros = 3,
			    .impressions = 4,
			    .clicks = 5,
			    .hot = true,
			    .category = TARE_STR("sports/football"),
			    .payload = by_hand.payload};
	BENCH("lookup by hand", CALLS, {
		BENCH_USED(&by_hand);
		svc_bin_write((char *)out, &by_hand);
	});
	BENCH("lookup by the codec", CALLS, {
		BENCH_USED(&in);
		BENCH_USED(lookup_encode(&in, out, sizeof out, NULL));
	});
	printf("{\"name\": \"lookup bytes\", \"by_hand\": %zu, \"codec\": %zu}\n", svc_bin_bytes(&by_hand),
	       lookup_encoded_bytes(&in));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: messages FILE.json\n");
		return 2;
	}
	size_t len = bench_load(argv[1], text, sizeof text);
	must(len > 0, argv[1], "can't be read");
	bench_bid_request(len);
	bench_lookup();
	return 0;
}
