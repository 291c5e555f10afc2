// SPDX-License-Identifier: MIT
// The naive path on the collected heap: what lookup_naive.c does step by step, as it is written where nothing has to be freed.
//
// A copy of the record with strings of its own, its payload as base64 in one more, a tree of boxed values, a text that grows
// as the tree is printed, and a last copy of exactly its length: some forty objects and 2 KiB of garbage a request, as a map[string]any
// handed to encoding/json makes them in Go. The same steps as the malloc path, so that the two can be compared: what one
// frees by hand the other leaves to the collector.
// jansson itself can't live here: its stores have no barrier.
//
// Threads: any task. Ownership: the collector's; what a request needs is held by its stack.
#include "cmd/svc/svc.h"

#include <tare/gc.h>

#include <errno.h>

enum { TEXT_BYTES_MIN = 64, PIECE_BYTES = 32, DIGITS_MAX = 20 };

// A record with strings of its own.
struct ad {
	uint64_t id;
	int64_t bid_micros, budget_micros, spend_micros;
	uint64_t impressions, clicks;
	bool hot, active;
	char *category;
	size_t category_len;
	char *payload;
	size_t payload_len;
};
static const uint32_t ad_pointers[] = {offsetof(struct ad, category), offsetof(struct ad, payload)};
static struct tare_gc_type ad_type = TARE_GC_TYPE(struct ad, ad_pointers);

enum kind { BOOLEAN, SIGNED, UNSIGNED, STRING };

// A boxed value.
struct value {
	enum kind kind;
	uint64_t number; // a string's length
	char *string;
};
static const uint32_t value_pointers[] = {offsetof(struct value, string)};
static struct tare_gc_type value_type = TARE_GC_TYPE(struct value, value_pointers);

struct member {
	struct tare_str name; // of this file
	struct value *value;
	struct member *next;
};
static const uint32_t member_pointers[] = {offsetof(struct member, value), offsetof(struct member, next)};
static struct tare_gc_type member_type = TARE_GC_TYPE(struct member, member_pointers);

// An object of JSON, in the order in which its members came.
struct tree {
	struct member *first, *last;
};
static const uint32_t tree_pointers[] = {offsetof(struct tree, first), offsetof(struct tree, last)};
static struct tare_gc_type tree_type = TARE_GC_TYPE(struct tree, tree_pointers);

// Text that grows; on the task's stack.
struct growing {
	char *bytes;
	size_t len, cap;
	bool full; // there was no memory
};

static char *copy_bytes(struct tare_str bytes)
{
	char *copy = tare_gc_new_noscan(bytes.len);
	if (copy != NULL && bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

static struct ad *ad_new(const struct tare_record_view *view)
{
	struct ad *ad = tare_gc_new(&ad_type);
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
	tare_gc_store(&ad->category, copy_bytes(view->category));
	ad->category_len = view->category.len;
	tare_gc_store(&ad->payload, copy_bytes(view->payload));
	ad->payload_len = view->payload.len;
	return ad->category != NULL && ad->payload != NULL ? ad : NULL;
}

// ---- the tree -----------------------------------------------------------------------------------------------------

static int tree_add(struct tree *tree, struct tare_str name, enum kind kind, uint64_t number, const char *string)
{
	struct value *value = tare_gc_new(&value_type);
	struct member *member = tare_gc_new(&member_type);
	if (value == NULL || member == NULL)
		return -ENOMEM;
	value->kind = kind;
	value->number = number;
	tare_gc_store(&value->string, string);
	member->name = name;
	tare_gc_store(&member->value, value);
	tare_gc_store(tree->last != NULL ? &tree->last->next : &tree->first, member);
	tare_gc_store(&tree->last, member);
	return 0;
}

static struct tree *ad_tree(const struct ad *ad)
{
	size_t len = svc_base64_len(ad->payload_len);
	char *payload = tare_gc_new_noscan(len);
	struct tree *tree = tare_gc_new(&tree_type);
	if (payload == NULL || tree == NULL)
		return NULL;
	svc_base64_write(payload, ad->payload, ad->payload_len);
	int rc = tree_add(tree, TARE_STR("id"), UNSIGNED, ad->id, NULL);
	rc |= tree_add(tree, TARE_STR("bid_micros"), SIGNED, (uint64_t)ad->bid_micros, NULL);
	rc |= tree_add(tree, TARE_STR("budget_micros"), SIGNED, (uint64_t)ad->budget_micros, NULL);
	rc |= tree_add(tree, TARE_STR("spend_micros"), SIGNED, (uint64_t)ad->spend_micros, NULL);
	rc |= tree_add(tree, TARE_STR("impressions"), UNSIGNED, ad->impressions, NULL);
	rc |= tree_add(tree, TARE_STR("clicks"), UNSIGNED, ad->clicks, NULL);
	rc |= tree_add(tree, TARE_STR("hot"), BOOLEAN, ad->hot, NULL);
	rc |= tree_add(tree, TARE_STR("active"), BOOLEAN, ad->active, NULL);
	rc |= tree_add(tree, TARE_STR("category"), STRING, ad->category_len, ad->category);
	rc |= tree_add(tree, TARE_STR("payload"), STRING, len, payload);
	return rc == 0 ? tree : NULL;
}

// ---- the text -----------------------------------------------------------------------------------------------------

// Room for so many bytes more: twice as much, and a copy. NULL: no memory.
static char *room(struct growing *text, size_t bytes)
{
	if (text->full)
		return NULL;
	if (bytes <= text->cap - text->len)
		return text->bytes + text->len;
	size_t cap = TARE_MAX(TARE_MAX(text->cap * 2, (size_t)TEXT_BYTES_MIN), text->len + bytes);
	char *more = tare_gc_new_noscan(cap);
	text->full = more == NULL;
	if (more == NULL)
		return NULL;
	if (text->len > 0)
		memcpy(more, text->bytes, text->len);
	text->bytes = more;
	text->cap = cap;
	return more + text->len;
}

static void append(struct growing *text, struct tare_str bytes)
{
	char *to = room(text, bytes.len);
	if (to == NULL)
		return;
	memcpy(to, bytes.ptr, bytes.len);
	text->len += bytes.len;
}

static void append_string(struct growing *text, struct tare_str string)
{
	append(text, TARE_STR("\""));
	for (size_t at = 0; at < string.len; at += PIECE_BYTES) {
		struct tare_str piece = {string.ptr + at, TARE_MIN(string.len - at, (size_t)PIECE_BYTES)};
		char *to = room(text, SVC_ESCAPED_BYTES_MAX * piece.len);
		if (to != NULL)
			text->len += svc_string_write(to, piece);
	}
	append(text, TARE_STR("\""));
}

static void append_value(struct growing *text, const struct value *value)
{
	char digits[DIGITS_MAX];
	switch (value->kind) {
	case BOOLEAN:
		append(text, value->number != 0 ? TARE_STR("true") : TARE_STR("false"));
		break;
	case SIGNED:
		append(text, (struct tare_str){digits, tare_format_i64(digits, (int64_t)value->number)});
		break;
	case UNSIGNED:
		append(text, (struct tare_str){digits, tare_format_u64(digits, value->number)});
		break;
	case STRING:
		append_string(text, (struct tare_str){value->string, value->number});
		break;
	}
}

int svc_gc_json(const struct tare_record_view *view, const char **ret_text, size_t *ret_len)
{
	const struct ad *ad = ad_new(view);
	const struct tree *tree = ad != NULL ? ad_tree(ad) : NULL;
	if (tree == NULL)
		return -ENOMEM;
	struct growing text = {0};
	append(&text, TARE_STR("{"));
	for (const struct member *m = tree->first; m != NULL; m = m->next) {
		if (m != tree->first)
			append(&text, TARE_STR(","));
		append_string(&text, m->name);
		append(&text, TARE_STR(":"));
		append_value(&text, m->value);
	}
	append(&text, TARE_STR("}"));
	const char *document = text.full ? NULL : copy_bytes((struct tare_str){text.bytes, text.len});
	if (document == NULL)
		return -ENOMEM;
	*ret_text = document;
	*ret_len = text.len;
	return 0;
}

int svc_gc_bin(const struct tare_record_view *view, const char **ret_data, size_t *ret_len)
{
	const struct ad *ad = ad_new(view);
	if (ad == NULL)
		return -ENOMEM;
	const struct tare_record_view copy = {
	    view->record, {ad->category, ad->category_len}, {ad->payload, ad->payload_len}};
	size_t len = svc_bin_bytes(&copy);
	char *data = tare_gc_new_noscan(len);
	if (data == NULL)
		return -ENOMEM;
	svc_bin_write(data, &copy);
	*ret_data = data;
	*ret_len = len;
	return 0;
}
