// SPDX-License-Identifier: MIT
// What it costs to write and read messages through the codec, and the same as JSON: a bid request of some 2.3 KB of
// JSON (docs/codec.md), and the service's answer.
//
// Both ways by code of this tree, so what is compared is the two formats and not two libraries; bench/codec has others.
// In "read", every field is read by its getter, lists and all.
#include "../messages/fields.h"
#include "rows.h"

#include "codec/schema/lookup.tare.h"

#include <errno.h>

extern const char rows_bid_request[], rows_bid_request_end[];

enum { MESSAGE_MAX = 8192 };

static unsigned char bid_bytes[MESSAGE_MAX], answer_bytes[MESSAGE_MAX], out_bytes[MESSAGE_MAX];
static size_t bid_len, answer_len, answer_text_len;
static char answer_text[MESSAGE_MAX];
static struct bid_request bid;
static struct bid_request_view bid_view;
static struct lookup answer;
static struct lookup_view answer_view;

static ssize_t sized(ssize_t len, const struct tare_error *err)
{
	if (len < 0)
		rows_die(err->text, (int)len);
	return len;
}

static size_t bid_text_len(void)
{
	size_t len = (size_t)(rows_bid_request_end - rows_bid_request);
	return rows_bid_request[len - 1] == '\n' ? len - 1 : len;
}

static void bid_make(void)
{
	struct tare_error err = {""};
	if (bid_len != 0)
		return;
	bid_len = (size_t)sized(
	    bid_request_json_read(bid_bytes, sizeof bid_bytes, rows_bid_request, bid_text_len(), NULL, &err), &err);
	must(bid_request_verify(&bid_view, bid_bytes, bid_len, &err), err.text);
	bid_request_read(&bid, &bid_view);
}

static void answer_make(void)
{
	struct tare_error err = {""};
	rows_index();
	if (answer_len != 0)
		return;
	const struct tare_record *r = rows_view.record;
	answer = (struct lookup){.id = r->id,
				 .bid_micros = r->bid_micros,
				 .budget_micros = r->budget_micros,
				 .spend_micros = r->spend_micros,
				 .impressions = r->impressions,
				 .clicks = r->clicks,
				 .hot = r->hot,
				 .active = r->active,
				 .category = rows_view.category,
				 .payload = rows_view.payload};
	answer_len = (size_t)sized(lookup_encode(&answer, answer_bytes, sizeof answer_bytes, &err), &err);
	must(lookup_verify(&answer_view, answer_bytes, answer_len, &err), err.text);
	answer_text_len = (size_t)sized(lookup_json_write(&answer_view, answer_text, sizeof answer_text, &err), &err);
}

static void bid_evict(void)
{
	tare_npa_flush(&bid, sizeof bid);
	tare_npa_flush(bid_bytes, bid_len);
	tare_npa_flush(out_bytes, bid_len);
	tare_npa_flush(rows_bid_request, bid_text_len());
}

static void answer_evict(void)
{
	tare_npa_flush(&answer, sizeof answer);
	tare_npa_flush(answer_bytes, answer_len);
	tare_npa_flush(out_bytes, answer_len);
	tare_npa_flush(answer_text, answer_text_len);
}

#define BID .prepare = bid_make, .evict = bid_evict
#define ANSWER .prepare = answer_make, .evict = answer_evict

// ---- the bid request ----------------------------------------------------------------------------------------------

TARE_NPA(bid_encode, "A bid request as a message: one pass forward, vectors by one copy each.", 150, BID)
{
	TARE_NPA_KEEP(bid_request_encode(TARE_NPA_HIDE(&bid), out_bytes, sizeof out_bytes, NULL));
}

TARE_NPA(bid_verify, "What nobody vouches for is verified once; then reading checks nothing more.", 100, BID)
{
	struct bid_request_view view;
	TARE_NPA_KEEP(bid_request_verify(&view, TARE_NPA_HIDE(&bid_bytes[0]), bid_len, NULL));
	TARE_NPA_KEEP(&view);
}

TARE_NPA(bid_verify_read, "The same, and every field read where it lies: a message that has come, used.", 200, BID)
{
	struct bid_request_view view;
	TARE_NPA_KEEP(bid_request_verify(&view, TARE_NPA_HIDE(&bid_bytes[0]), bid_len, NULL));
	TARE_NPA_KEEP(read_all(&view).whole);
}

TARE_NPA(bid_json_write, "The same message as JSON, for people and for who has no schema.", 8000, BID)
{
	TARE_NPA_KEEP(bid_request_json_write(TARE_NPA_HIDE(&bid_view), rows_out, sizeof rows_out, NULL));
}

TARE_NPA(bid_json_read, "JSON into the message, each rule of RFC 8259 and of the schema checked.", 16000, BID)
{
	TARE_NPA_KEEP(bid_request_json_read(out_bytes, sizeof out_bytes, TARE_NPA_HIDE(&rows_bid_request[0]),
					    bid_text_len(), NULL, NULL));
}

TARE_NPA(bid_json_read_fields, "The same, and then every field read: JSON that has come, used.", 16000, BID)
{
	struct bid_request_view view;
	ssize_t len = bid_request_json_read(out_bytes, sizeof out_bytes, TARE_NPA_HIDE(&rows_bid_request[0]),
					    bid_text_len(), NULL, NULL);
	TARE_NPA_KEEP(bid_request_verify(&view, out_bytes, (size_t)len, NULL));
	TARE_NPA_KEEP(read_all(&view).whole);
}

// ---- the service's answer -----------------------------------------------------------------------------------------

static TARE_INLINE uint64_t answer_fields(const struct lookup_view *v)
{
	return lookup_id(v) + (uint64_t)lookup_bid_micros(v) + (uint64_t)lookup_budget_micros(v) +
	       (uint64_t)lookup_spend_micros(v) + lookup_impressions(v) + lookup_clicks(v) + lookup_hot(v) +
	       lookup_active(v) + lookup_category(v).len + lookup_payload(v).len;
}

TARE_NPA(answer_encode, "The service's answer as a message. By hand it is write_bin, as fast and 18 bytes less.", 60,
	 ANSWER)
{
	TARE_NPA_KEEP(lookup_encode(TARE_NPA_HIDE(&answer), out_bytes, sizeof out_bytes, NULL));
}

TARE_NPA(answer_verify, "Whether it may be read.", 40, ANSWER)
{
	struct lookup_view view;
	TARE_NPA_KEEP(lookup_verify(&view, TARE_NPA_HIDE(&answer_bytes[0]), answer_len, NULL));
	TARE_NPA_KEEP(&view);
}

TARE_NPA(answer_verify_read, "The same, and every field read.", 60, ANSWER)
{
	struct lookup_view view;
	TARE_NPA_KEEP(lookup_verify(&view, TARE_NPA_HIDE(&answer_bytes[0]), answer_len, NULL));
	TARE_NPA_KEEP(answer_fields(&view));
}

TARE_NPA(answer_json_write, "The same message as JSON, by its schema. By hand it is write_json.", 2500, ANSWER)
{
	TARE_NPA_KEEP(lookup_json_write(TARE_NPA_HIDE(&answer_view), rows_out, sizeof rows_out, NULL));
}

TARE_NPA(answer_json_read, "The JSON answer into a message: what a client of the JSON form pays.", 4000, ANSWER)
{
	TARE_NPA_KEEP(
	    lookup_json_read(out_bytes, sizeof out_bytes, TARE_NPA_HIDE(&answer_text[0]), answer_text_len, NULL, NULL));
}
