// SPDX-License-Identifier: MIT
// A record as a document, the way most C services do it: copy the record into a struct of its own strings, build a tree
// of the fields, print the tree into a string, copy the string into the answer.
//
// It is the honest other side of lookup_json.c: nothing here is slowed down on purpose, and every step is what a
// reviewer would let pass in code that nobody had measured. Each of them can be mended by itself (enum svc_fix), so
// that what each costs can be measured; with all of them mended what is left is lookup_json.c's.
// Where the tree is left and the payload's text goes into the document directly, it is put behind what the tree gave,
// whose last member it is.
// Ownership: each step's memory is from tare_alloc (jansson's too, after svc_naive_setup) and freed here. Threads:
// pure, after svc_naive_setup.
#include "cmd/svc/svc.h"

#include <tare/heap.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("naive path");
static struct tare_tag jansson_tag = TARE_TAG("jansson");

// ---- what is mended -----------------------------------------------------------------------------------------------

int svc_fixes_parse(unsigned *ret, const char *text, struct tare_error *err)
{
	static const struct {
		struct tare_str name;
		unsigned fixes;
	} names[] = {{{"none", 4}, 0},
		     {{"all", 3}, SVC_FIX_ALL},
		     {{"copy", 4}, SVC_FIX_COPY},
		     {{"base64", 6}, SVC_FIX_BASE64},
		     {{"tree", 4}, SVC_FIX_TREE},
		     {{"text", 4}, SVC_FIX_TEXT},
		     {{"log", 3}, SVC_FIX_LOG}};
	unsigned fixes = 0;
	for (const char *at = text;; at++) {
		struct tare_str name = {at, strcspn(at, ",")};
		size_t i = 0;
		while (i < TARE_ARRAY_LEN(names) && !tare_str_eq(name, names[i].name))
			i++;
		if (i == TARE_ARRAY_LEN(names))
			return tare_error_set(err, -EINVAL,
					      "'%.*s' is nothing to mend; give some of copy,base64,tree,text,log, or "
					      "none or all",
					      (int)TARE_MIN(name.len, (size_t)40), name.ptr);
		fixes |= names[i].fixes;
		at += name.len;
		if (*at == '\0')
			break;
	}
	*ret = fixes;
	return 0;
}

// ---- the copy -----------------------------------------------------------------------------------------------------

static void *jansson_alloc(size_t bytes)
{
	return tare_alloc(&jansson_tag, bytes);
}

void svc_naive_setup(void)
{
	json_set_alloc_funcs(jansson_alloc, tare_free);
	json_object_seed(0);
}

static void ad_free(struct svc_ad *ad)
{
	if (ad == NULL)
		return;
	tare_free((char *)ad->category.ptr);
	tare_free((char *)ad->payload.ptr);
	tare_free(ad);
}

// With a NUL behind, for jansson.
static struct tare_str copy_bytes(struct tare_str bytes)
{
	char *copy = tare_alloc(&heap_tag, bytes.len + 1);
	if (copy == NULL)
		return (struct tare_str){NULL, 0};
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	return (struct tare_str){copy, bytes.len};
}

static struct svc_ad *ad_new(const struct tare_record_view *view)
{
	struct svc_ad *ad = tare_alloc(&heap_tag, sizeof *ad);
	if (ad == NULL)
		return NULL;
	*ad = (struct svc_ad){*view->record, copy_bytes(view->category), copy_bytes(view->payload)};
	if (ad->category.ptr == NULL || ad->payload.ptr == NULL) {
		ad_free(ad);
		return NULL;
	}
	return ad;
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

static char *base64_text(struct tare_str data)
{
	char *text = tare_alloc(&heap_tag, svc_base64_len(data.len) + 1);
	if (text == NULL)
		return NULL;
	svc_base64_write(text, data.ptr, data.len);
	text[svc_base64_len(data.len)] = '\0';
	return text;
}

// payload NULL: the tree has none. NULL: out of memory, or the category is not UTF-8. json_object_set_new takes its
// value, even NULL, and says so.
static json_t *ad_tree(const struct tare_record_view *ad, const char *payload)
{
	const struct tare_record *r = ad->record;
	json_t *tree = json_object();
	int rc = json_object_set_new(tree, "id", json_integer((json_int_t)r->id));
	rc |= json_object_set_new(tree, "bid_micros", json_integer(r->bid_micros));
	rc |= json_object_set_new(tree, "budget_micros", json_integer(r->budget_micros));
	rc |= json_object_set_new(tree, "spend_micros", json_integer(r->spend_micros));
	rc |= json_object_set_new(tree, "impressions", json_integer((json_int_t)r->impressions));
	rc |= json_object_set_new(tree, "clicks", json_integer((json_int_t)r->clicks));
	rc |= json_object_set_new(tree, "hot", json_boolean(r->hot));
	rc |= json_object_set_new(tree, "active", json_boolean(r->active));
	rc |= json_object_set_new(tree, "category", json_stringn(ad->category.ptr, ad->category.len));
	if (payload != NULL)
		rc |= json_object_set_new(tree, "payload", json_string(payload));
	if (rc == 0)
		return tree;
	json_decref(tree);
	return NULL;
}

// A document that is about to be written.
struct making {
	struct tare_record_view view; // the record's, or its copy's
	char *payload;                // as base64; NULL: it is yet to be made
	json_t *tree;                 // NULL: none
	size_t tree_len;
};

// Of room. 0: out of memory. What a tree gives is measured, then dumped into memory of that size: json_dumps, growing
// its text, leaves out the names that it has no memory for.
static size_t making_bytes(struct making *m)
{
	if (m->tree == NULL)
		return svc_json_bytes_max(&m->view);
	m->tree_len = json_dumpb(m->tree, NULL, 0, JSON_COMPACT);
	return m->tree_len == 0 || m->payload != NULL ? m->tree_len : m->tree_len + svc_json_payload_bytes(&m->view);
}

// What was written; 0: out of memory.
static size_t making_write(const struct making *m, char *out)
{
	if (m->tree == NULL && m->payload == NULL)
		return svc_json_write(out, &m->view);
	if (m->tree == NULL)
		return svc_json_write_text(out, &m->view,
					   (struct tare_str){m->payload, svc_base64_len(m->view.payload.len)});
	if (json_dumpb(m->tree, out, m->tree_len, JSON_COMPACT) != m->tree_len)
		return 0;
	if (m->payload != NULL)
		return m->tree_len;
	return m->tree_len - 1 + svc_json_write_payload(out + m->tree_len - 1, &m->view); // over its brace
}

static int making_answer(struct making *m, unsigned fixes, const struct svc_sink *sink)
{
	size_t bytes = making_bytes(m);
	if (bytes == 0)
		return -ENOMEM;
	if ((fixes & SVC_FIX_TEXT) != 0) {
		char *out = sink->reserve(sink->arg, bytes);
		size_t len = out != NULL ? making_write(m, out) : 0;
		if (len > 0)
			sink->commit(sink->arg, len);
		return out == NULL ? -ENOBUFS : len > 0 ? 0 : -ENOMEM;
	}
	char *text = tare_alloc(&heap_tag, bytes);
	size_t len = text != NULL ? making_write(m, text) : 0;
	int rc = len > 0 ? svc_sink_put(sink, text, len) : -ENOMEM;
	tare_free(text);
	return rc;
}

int svc_naive_json(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink)
{
	const struct tare_record *r = view->record;
	bool has_tree = (fixes & SVC_FIX_TREE) == 0;
	if (has_tree && (r->id > INT64_MAX || r->impressions > INT64_MAX || r->clicks > INT64_MAX))
		return -ERANGE;
	int rc = -ENOMEM;
	struct making making = {.view = *view};
	struct svc_ad *ad = NULL;
	if ((fixes & SVC_FIX_COPY) == 0) {
		ad = ad_new(view);
		if (ad == NULL)
			return -ENOMEM;
		making.view = (struct tare_record_view){&ad->record, ad->category, ad->payload};
	}
	if ((fixes & SVC_FIX_BASE64) == 0) {
		making.payload = base64_text(making.view.payload);
		if (making.payload == NULL)
			goto free_ad;
	}
	if (has_tree) {
		making.tree = ad_tree(&making.view, making.payload);
		if (making.tree == NULL)
			goto free_payload;
	}
	rc = making_answer(&making, fixes, sink);
	json_decref(making.tree);
free_payload:
	tare_free(making.payload);
free_ad:
	ad_free(ad);
	return rc;
}

// ---- binary -------------------------------------------------------------------------------------------------------

int svc_naive_bin(unsigned fixes, const struct tare_record_view *view, const struct svc_sink *sink)
{
	struct tare_record_view from = *view;
	struct svc_ad *ad = NULL;
	if ((fixes & SVC_FIX_COPY) == 0) {
		ad = ad_new(view);
		if (ad == NULL)
			return -ENOMEM;
		from = (struct tare_record_view){&ad->record, ad->category, ad->payload};
	}
	size_t len = svc_bin_bytes(&from);
	bool in_place = (fixes & SVC_FIX_TEXT) != 0;
	char *data = in_place ? sink->reserve(sink->arg, len) : tare_alloc(&heap_tag, len);
	int rc = data != NULL ? 0 : in_place ? -ENOBUFS : -ENOMEM;
	if (data != NULL)
		svc_bin_write(data, &from);
	if (rc == 0 && in_place)
		sink->commit(sink->arg, len);
	else if (rc == 0)
		rc = svc_sink_put(sink, data, len);
	if (!in_place)
		tare_free(data);
	ad_free(ad);
	return rc;
}
