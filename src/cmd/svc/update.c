// SPDX-License-Identifier: MIT
// PUT /record?key=N on the admin address: one record is replaced by the document in the body, which is the one that
// /lookup?key=N answers with.
//
// A document is whole: every field but id, which the key says already, has to be there, and no other. So that what is
// stored is what was sent, and a misspelt field isn't a record half changed. Numbers are jansson's, up to 2^63 - 1.
// The body is looked over before it is parsed: a record holds nothing that nests, and a parser that follows nesting
// does so on the task's stack.
// Rejected: the codec's reader of the lookup schema. It gives a missing field its default and doesn't tell, so that
// half a document would set the rest to 0; its messages name bytes and types, not what a field should be.
// Threads: any worker; updates are one at a time. Ownership: what a document holds is freed when it is stored, or
// refused.
#include "cmd/svc/svc.h"

#include <tare/heap.h>
#include <tare/limit.h>
#include <tare/sync.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

static struct tare_tag heap_tag = TARE_TAG("updates");

// ---- base64 -------------------------------------------------------------------------------------------------------

// Strict: one text for each payload, the one that svc_base64_write makes. out has room for text.len / 4 * 3 bytes.
int svc_base64_read(struct tare_str text, char *out, size_t *ret_len)
{
	if (text.len % 4 != 0)
		return -EINVAL;
	size_t len = 0;
	for (size_t at = 0; at < text.len; at += 4) {
		const char *quad = text.ptr + at;
		size_t padding = at + 4 < text.len || quad[3] != '=' ? 0 : quad[2] != '=' ? 1 : 2;
		uint32_t bits = 0;
		for (size_t i = 0; i < 4 - padding; i++) {
			int value = tare_base64_digit(quad[i]);
			if (value < 0)
				return -EINVAL;
			bits |= (uint32_t)value << (18 - 6 * i);
		}
		if ((bits & ((UINT32_C(1) << (8 * padding)) - 1)) != 0)
			return -EINVAL;
		for (size_t i = 0; i < 3 - padding; i++)
			out[len++] = (char)(bits >> (16 - 8 * i));
	}
	*ret_len = len;
	return 0;
}

// ---- the document -------------------------------------------------------------------------------------------------

static int refuse_field(const char *name, const char *should, struct tare_error *err)
{
	return tare_error_set(err, -EINVAL, "field '%s' %s", name, should);
}

static int read_number(const json_t *value, const char *name, bool negative, int64_t *ret, struct tare_error *err)
{
	if (!json_is_integer(value))
		return refuse_field(name, "should be a whole number", err);
	if (!negative && json_integer_value(value) < 0)
		return refuse_field(name, "should not be negative", err);
	*ret = json_integer_value(value);
	return 0;
}

static int read_bool(const json_t *value, const char *name, bool *ret, struct tare_error *err)
{
	if (!json_is_boolean(value))
		return refuse_field(name, "should be true or false", err);
	*ret = json_is_true(value);
	return 0;
}

static int read_payload(const json_t *value, struct svc_document *ret, struct tare_error *err)
{
	struct tare_str text = {json_string_value(value), json_string_length(value)};
	if (!json_is_string(value))
		return refuse_field("payload", "should be a string in base64", err);
	ret->payload = tare_alloc(&heap_tag, text.len / 4 * 3 + 1);
	if (ret->payload == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory");
	if (svc_base64_read(text, ret->payload, &ret->view.payload.len) < 0)
		return refuse_field("payload", "is not base64 (the standard alphabet, padded with '=')", err);
	ret->view.payload.ptr = ret->payload;
	return 0;
}

enum { FIELD_ID = 1, FIELDS = 10 };

static int read_field(const char *name, const json_t *value, struct svc_document *ret, struct tare_error *err)
{
	static const struct {
		const char *name;
		size_t offset;
		bool negative;
	} numbers[] = {
	    {"bid_micros", offsetof(struct tare_record, bid_micros), true},
	    {"budget_micros", offsetof(struct tare_record, budget_micros), true},
	    {"spend_micros", offsetof(struct tare_record, spend_micros), true},
	    {"impressions", offsetof(struct tare_record, impressions), false},
	    {"clicks", offsetof(struct tare_record, clicks), false},
	};
	int64_t number;
	for (size_t i = 0; i < TARE_ARRAY_LEN(numbers); i++) {
		if (strcmp(name, numbers[i].name) != 0)
			continue;
		int rc = read_number(value, name, numbers[i].negative, &number, err);
		if (rc == 0)
			memcpy((char *)&ret->record + numbers[i].offset, &number, sizeof number);
		return rc;
	}
	if (strcmp(name, "id") == 0) {
		ret->has_id = true;
		int rc = read_number(value, name, false, &number, err);
		if (rc == 0 && (uint64_t)number != ret->record.id)
			rc = tare_error_set(err, -EINVAL, "field 'id' is %" PRId64 ", but the key is %" PRIu64, number,
					    ret->record.id);
		return rc;
	}
	if (strcmp(name, "hot") == 0)
		return read_bool(value, name, &ret->record.hot, err);
	if (strcmp(name, "active") == 0)
		return read_bool(value, name, &ret->record.active, err);
	if (strcmp(name, "payload") == 0)
		return read_payload(value, ret, err);
	if (strcmp(name, "category") != 0)
		return tare_error_set(err, -EINVAL, "field '%.40s' is unknown", name);
	if (!json_is_string(value))
		return refuse_field(name, "should be a string", err);
	ret->view.category = (struct tare_str){json_string_value(value), json_string_length(value)};
	return 0;
}

// Neither an array nor an object within the one that the body is. Names and texts are not looked into.
static bool is_flat(struct tare_str body)
{
	bool in_string = false;
	unsigned opened = 0;
	for (size_t i = 0; i < body.len; i++) {
		char c = body.ptr[i];
		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string)
			opened += c == '{' || c == '[';
	}
	return opened <= 1;
}

static int read_tree(struct svc_document *ret, struct tare_error *err)
{
	static const char *const names[FIELDS] = {"id",          "bid_micros", "budget_micros", "spend_micros",
						  "impressions", "clicks",     "hot",           "active",
						  "category",    "payload"};
	const char *name;
	json_t *value;
	if (!json_is_object(ret->tree))
		return tare_error_set(err, -EINVAL, "the body should be a JSON object with a record's fields");
	json_object_foreach(ret->tree, name, value)
	{
		int rc = read_field(name, value, ret, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = FIELD_ID; i < FIELDS; i++)
		if (json_object_get(ret->tree, names[i]) == NULL)
			return tare_error_set(err, -EINVAL, "field '%s' is missing; a record is replaced as a whole",
					      names[i]);
	return 0;
}

int svc_document_read(struct svc_document *ret, uint64_t key, struct tare_str body, struct tare_error *err)
{
	*ret = (struct svc_document){.record = {.id = key}};
	if (body.len == 0)
		return tare_error_set(err, -EINVAL, "the body is empty; send the record as /lookup gives it");
	if (!is_flat(body))
		return tare_error_set(err, -EINVAL,
				      "a record's fields are numbers, booleans and strings, nothing nested");
	json_error_t where;
	ret->tree = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &where);
	if (ret->tree == NULL && json_error_code(&where) == json_error_out_of_memory)
		return tare_error_set(err, -ENOMEM, "out of memory");
	int rc = ret->tree != NULL ? read_tree(ret, err)
				   : tare_error_set(err, -EINVAL, "the body is not JSON: %s (line %d, column %d)",
						    where.text, where.line, where.column);
	if (rc < 0) {
		svc_document_done(ret);
		return rc;
	}
	ret->view.record = &ret->record;
	return 0;
}

void svc_document_done(struct svc_document *document)
{
	json_decref(document->tree);
	tare_free(document->payload);
	*document = (struct svc_document){0};
}

// ---- the handler --------------------------------------------------------------------------------------------------

static int read_key(struct tare_str query, uint64_t *ret_key, struct tare_error *err)
{
	static const struct tare_str key = TARE_STR("key=");
	if (query.len < key.len || memcmp(query.ptr, key.ptr, key.len) != 0)
		return tare_error_set(err, -EINVAL, "key is missing; say PUT /record?key=N");
	if (memchr(query.ptr, '&', query.len) != NULL)
		return tare_error_set(err, -EINVAL, "there is more than a key; say PUT /record?key=N");
	return svc_key_parse((struct tare_str){query.ptr + key.len, query.len - key.len}, ret_key, err);
}

// What /lookup could not answer with is not stored.
static int check_answer(const struct svc *svc, const struct svc_document *document, struct tare_error *err)
{
	if (svc_json_bytes_max(&document->view) <= svc->options.answer_bytes_max)
		return 0;
	return tare_error_set(err, -EINVAL,
			      "field 'payload' has %zu bytes: more than an answer of --max-answer-bytes has room for",
			      document->view.payload.len);
}

static int replace(struct svc *svc, uint64_t key, struct tare_str body, struct tare_error *err)
{
	struct svc_document document;
	int rc = svc_document_read(&document, key, body, err);
	if (rc < 0)
		return rc;
	rc = check_answer(svc, &document, err);
	if (rc == 0) {
		tare_mutex_lock(&svc->updates);
		rc = tare_records_replace(svc->records, &document.view, err);
		tare_mutex_unlock(&svc->updates);
	}
	svc_document_done(&document);
	return rc;
}

void svc_record_put(struct tare_http_exchange *x, void *arg)
{
	struct svc *svc = arg;
	struct tare_error err = {""};
	uint64_t key = 0;
	int rc = svc->options.heap == SVC_HEAP_GC ? read_key(tare_http_query(x), &key, &err) : -ENOTSUP;
	if (rc == 0)
		rc = tare_pressure() == TARE_PRESSURE_HARD ? -ENOMEM : replace(svc, key, tare_http_body(x), &err);
	tare_counter_add(rc == 0 ? &svc->updates_done : &svc->updates_refused, 1);
	switch (rc) {
	case 0:
		tare_http_start(x, 204, NULL);
		break;
	case -EINVAL:
		tare_http_problem(x, 400, "%s", err.text);
		break;
	case -ENOENT:
		svc_key_problem(svc, x, key);
		break;
	case -ENOTSUP:
		tare_http_problem(x, 501,
				  "records are replaced on the collected heap only; start the service with --heap=gc");
		break;
	default:
		tare_http_problem(x, 503, "%s; try again later", err.text[0] != '\0' ? err.text : "out of memory");
	}
}
