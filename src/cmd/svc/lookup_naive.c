// SPDX-License-Identifier: MIT
// A record as a document, the way most C services do it: copy the record into a struct of its own strings, build a tree
// of the fields, print the tree into a string, copy the string into the answer.
//
// It is the honest other side of lookup_json.c: nothing here is slowed down on purpose, and every step is what a
// reviewer would let pass in code that nobody had measured. Ownership: each step's memory is from tare_alloc (jansson's
// too, after svc_naive_setup) and freed here; the result is the caller's. Threads: pure, after svc_naive_setup.
#include "cmd/svc/svc.h"

#include <tare/heap.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("naive path");
static struct tare_tag jansson_tag = TARE_TAG("jansson");

static void *jansson_alloc(size_t bytes)
{
	return tare_alloc(&jansson_tag, bytes);
}

void svc_naive_setup(void)
{
	json_set_alloc_funcs(jansson_alloc, tare_free);
	json_object_seed(0);
}

// A record with strings of its own.
struct ad {
	uint64_t id;
	int64_t bid_micros, budget_micros, spend_micros;
	uint64_t impressions, clicks;
	bool hot, active;
	char *category;
	char *payload;
	size_t payload_len;
};

static void ad_free(struct ad *ad)
{
	if (ad == NULL)
		return;
	tare_free(ad->category);
	tare_free(ad->payload);
	tare_free(ad);
}

static char *copy_bytes(struct tare_str bytes)
{
	char *copy = tare_alloc(&heap_tag, bytes.len + 1);
	if (copy == NULL)
		return NULL;
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	return copy;
}

static struct ad *ad_new(const struct tare_record_view *view)
{
	struct ad *ad = tare_alloc_zeroed(&heap_tag, 1, sizeof *ad);
	if (ad == NULL)
		return NULL;
	const struct tare_record *r = view->record;
	ad->id = r->id;
	ad->bid_micros = r->bid_micros;
	ad->budget_micros = r->budget_micros;
	ad->spend_micros = r->spend_micros;
	ad->impressions = r->impressions;
	ad->clicks = r->clicks;
	ad->hot = r->hot;
	ad->active = r->active;
	ad->category = copy_bytes(view->category);
	ad->payload = copy_bytes(view->payload);
	ad->payload_len = view->payload.len;
	if (ad->category == NULL || ad->payload == NULL) {
		ad_free(ad);
		return NULL;
	}
	return ad;
}

static char *base64_text(const char *data, size_t len)
{
	char *text = tare_alloc(&heap_tag, svc_base64_len(len) + 1);
	if (text == NULL)
		return NULL;
	svc_base64_write(text, data, len);
	text[svc_base64_len(len)] = '\0';
	return text;
}

// NULL: out of memory, or the category is not UTF-8. json_object_set_new takes its value, even NULL, and says so.
static json_t *ad_tree(const struct ad *ad, const char *payload)
{
	json_t *tree = json_object();
	int rc = json_object_set_new(tree, "id", json_integer((json_int_t)ad->id));
	rc |= json_object_set_new(tree, "bid_micros", json_integer(ad->bid_micros));
	rc |= json_object_set_new(tree, "budget_micros", json_integer(ad->budget_micros));
	rc |= json_object_set_new(tree, "spend_micros", json_integer(ad->spend_micros));
	rc |= json_object_set_new(tree, "impressions", json_integer((json_int_t)ad->impressions));
	rc |= json_object_set_new(tree, "clicks", json_integer((json_int_t)ad->clicks));
	rc |= json_object_set_new(tree, "hot", json_boolean(ad->hot));
	rc |= json_object_set_new(tree, "active", json_boolean(ad->active));
	rc |= json_object_set_new(tree, "category", json_string(ad->category));
	rc |= json_object_set_new(tree, "payload", json_string(payload));
	if (rc == 0)
		return tree;
	json_decref(tree);
	return NULL;
}

// Measured, then dumped into memory of that size: json_dumps, growing its text, leaves out the names that it has no
// memory for.
static int tree_text(const json_t *tree, char **ret_text)
{
	size_t len = json_dumpb(tree, NULL, 0, JSON_COMPACT);
	char *text = len > 0 ? tare_alloc(&heap_tag, len + 1) : NULL;
	if (text == NULL)
		return -ENOMEM;
	if (json_dumpb(tree, text, len, JSON_COMPACT) != len) {
		tare_free(text);
		return -ENOMEM;
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

int svc_naive_json(const struct tare_record_view *view, char **ret_text)
{
	const struct tare_record *r = view->record;
	if (r->id > INT64_MAX || r->impressions > INT64_MAX || r->clicks > INT64_MAX)
		return -ERANGE;
	int rc = -ENOMEM;
	char *payload = NULL;
	struct ad *ad = ad_new(view);
	if (ad == NULL)
		return -ENOMEM;
	payload = base64_text(ad->payload, ad->payload_len);
	if (payload == NULL)
		goto free_ad;
	json_t *tree = ad_tree(ad, payload);
	if (tree == NULL)
		goto free_payload;
	rc = tree_text(tree, ret_text);
	json_decref(tree);
free_payload:
	tare_free(payload);
free_ad:
	ad_free(ad);
	return rc;
}

int svc_naive_bin(const struct tare_record_view *view, char **ret_data, size_t *ret_len)
{
	struct ad *ad = ad_new(view);
	if (ad == NULL)
		return -ENOMEM;
	int rc = -ENOMEM;
	struct tare_record_view copy = {
	    view->record, {ad->category, view->category.len}, {ad->payload, ad->payload_len}};
	size_t len = svc_bin_bytes(&copy);
	char *data = tare_alloc(&heap_tag, len);
	if (data != NULL) {
		svc_bin_write(data, &copy);
		*ret_data = data;
		*ret_len = len;
		rc = 0;
	}
	ad_free(ad);
	return rc;
}
