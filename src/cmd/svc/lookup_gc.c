// SPDX-License-Identifier: MIT
// The naive path on the collected heap: what lookup_naive.c does step by step, as it is written where nothing has to be
// freed.
//
// A copy of the record with strings of its own, its payload as base64 in one more, a tree of boxed values, a text that
// grows as the tree is printed, and a last copy of exactly its length: some forty objects and 2 KiB of garbage a
// request. (Everyday Go hands encoding/json a struct with its types, and has no tree: bench/peers/go/svc/naive.go.) The
// same steps as the malloc path, so that the two can be compared: what one frees by hand the other leaves to the
// collector; and each is mended as there (enum svc_fix). jansson itself can't live here: its stores have no barrier.
//
// Threads: any task. Ownership: the collector's; what a request needs is held by its stack.
#include "cmd/svc/svc.h"

#include <tare/gc.h>

#include <errno.h>

enum { TEXT_BYTES_MIN = 64, PIECE_BYTES = 32, DIGITS_MAX = 20 };

// ---- the copy -----------------------------------------------------------------------------------------------------

static const uint32_t ad_pointers[] = {offsetof(struct svc_ad, category.ptr), offsetof(struct svc_ad, payload.ptr)};
static struct tare_gc_type ad_type = TARE_GC_TYPE(struct svc_ad, ad_pointers);

static char *copy_bytes(struct tare_str bytes)
{
	char *copy = tare_gc_new_noscan(bytes.len);
	if (copy != NULL && bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

static struct svc_ad *ad_new(const struct tare_record_view *view)
{
	struct svc_ad *ad = tare_gc_new(&ad_type);
	if (ad == NULL)
		return NULL;
	ad->record = *view->record;
	tare_gc_store(&ad->category.ptr, copy_bytes(view->category));
	ad->category.len = view->category.len;
	tare_gc_store(&ad->payload.ptr, copy_bytes(view->payload));
	ad->payload.len = view->payload.len;
	return ad->category.ptr != NULL && ad->payload.ptr != NULL ? ad : NULL;
}

// The record as what follows is to read it. -ENOMEM.
static int view_of(unsigned fixes, const struct tare_record_view *view, struct tare_record_view *ret)
{
	*ret = *view;
	if ((fixes & SVC_FIX_COPY) != 0)
		return 0;
	const struct svc_ad *ad = ad_new(view);
	if (ad == NULL)
		return -ENOMEM;
	*ret = (struct tare_record_view){&ad->record, ad->category, ad->payload};
	return 0;
}

// ---- the tree -----------------------------------------------------------------------------------------------------

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

// payload.ptr NULL: the tree has none.
static struct tree *ad_tree(const struct tare_record_view *ad, struct tare_str payload)
{
	const struct tare_record *r = ad->record;
	struct tree *tree = tare_gc_new(&tree_type);
	if (tree == NULL)
		return NULL;
	int rc = tree_add(tree, TARE_STR("id"), UNSIGNED, r->id, NULL);
	rc |= tree_add(tree, TARE_STR("bid_micros"), SIGNED, (uint64_t)r->bid_micros, NULL);
	rc |= tree_add(tree, TARE_STR("budget_micros"), SIGNED, (uint64_t)r->budget_micros, NULL);
	rc |= tree_add(tree, TARE_STR("spend_micros"), SIGNED, (uint64_t)r->spend_micros, NULL);
	rc |= tree_add(tree, TARE_STR("impressions"), UNSIGNED, r->impressions, NULL);
	rc |= tree_add(tree, TARE_STR("clicks"), UNSIGNED, r->clicks, NULL);
	rc |= tree_add(tree, TARE_STR("hot"), BOOLEAN, r->hot, NULL);
	rc |= tree_add(tree, TARE_STR("active"), BOOLEAN, r->active, NULL);
	rc |= tree_add(tree, TARE_STR("category"), STRING, ad->category.len, ad->category.ptr);
	if (payload.ptr != NULL)
		rc |= tree_add(tree, TARE_STR("payload"), STRING, payload.len, payload.ptr);
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

static void append_tree(struct growing *text, const struct tree *tree)
{
	append(text, TARE_STR("{"));
	for (const struct member *m = tree->first; m != NULL; m = m->next) {
		if (m != tree->first)
			append(text, TARE_STR(","));
		append_string(text, m->name);
		append(text, TARE_STR(":"));
		append_value(text, m->value);
	}
	append(text, TARE_STR("}"));
}

// The document of the tree, or without one of the fields; the payload is made where it has no text yet.
static void append_document(struct growing *text, const struct tare_record_view *ad, const struct tree *tree,
			    struct tare_str payload)
{
	char *to;
	if (tree == NULL) {
		to = room(text, svc_json_bytes_max(ad));
		if (to != NULL)
			text->len +=
			    payload.ptr == NULL ? svc_json_write(to, ad) : svc_json_write_text(to, ad, payload);
		return;
	}
	append_tree(text, tree);
	if (payload.ptr != NULL)
		return;
	to = room(text, svc_json_payload_bytes(ad));
	if (to != NULL)
		text->len += svc_json_write_payload(to - 1, ad) - 1; // over the brace
}

// ---- the answer ---------------------------------------------------------------------------------------------------

int svc_gc_json(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink)
{
	struct tare_record_view ad;
	if (view_of(fixes, view, &ad) < 0)
		return -ENOMEM;
	struct tare_str payload = {NULL, 0};
	if ((fixes & SVC_FIX_BASE64) == 0) {
		char *text = tare_gc_new_noscan(svc_base64_len(ad.payload.len));
		if (text == NULL)
			return -ENOMEM;
		svc_base64_write(text, ad.payload.ptr, ad.payload.len);
		payload = (struct tare_str){text, svc_base64_len(ad.payload.len)};
	}
	const struct tree *tree = NULL;
	if ((fixes & SVC_FIX_TREE) == 0) {
		tree = ad_tree(&ad, payload);
		if (tree == NULL)
			return -ENOMEM;
	}
	struct growing text = {0};
	if ((fixes & SVC_FIX_TEXT) !=
	    0) { // room for any document of the record, and for what a piece asks ahead: it does not grow
		text.cap = svc_json_bytes_max(&ad) + (size_t)SVC_ESCAPED_BYTES_MAX * PIECE_BYTES;
		char *out = text.bytes = sink->reserve(sink->arg, text.cap);
		if (out == NULL)
			return -ENOBUFS;
		append_document(&text, &ad, tree, payload);
		TARE_ASSERT(text.bytes == out);
		sink->commit(sink->arg, text.len);
		return 0;
	}
	append_document(&text, &ad, tree, payload);
	const char *document = text.full ? NULL : copy_bytes((struct tare_str){text.bytes, text.len});
	return document != NULL ? svc_sink_put(sink, document, text.len) : -ENOMEM;
}

int svc_gc_bin(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink)
{
	struct tare_record_view ad;
	if (view_of(fixes, view, &ad) < 0)
		return -ENOMEM;
	size_t len = svc_bin_bytes(&ad);
	bool in_place = (fixes & SVC_FIX_TEXT) != 0;
	char *data = in_place ? sink->reserve(sink->arg, len) : tare_gc_new_noscan(len);
	if (data == NULL)
		return in_place ? -ENOBUFS : -ENOMEM;
	svc_bin_write(data, &ad);
	if (!in_place)
		return svc_sink_put(sink, data, len);
	sink->commit(sink->arg, len);
	return 0;
}
