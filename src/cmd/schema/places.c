// SPDX-License-Identifier: MIT
// Gives each field of a schema its place, within the limits, and refuses what would be the same name in C.
//
// Fields lie packed in their order, so appending one moves none. A record that holds what varies has no bytes of its
// own kind in C: its fields are the message's, under a path of names (struct schema_leaf).
#include "cmd/schema/schema.h"

#include <errno.h>
#include <stdlib.h>

uint32_t schema_scalar_bytes(enum tare_codec_kind kind)
{
	static const uint8_t bytes[] = {
	    [TARE_CODEC_U8] = 1,  [TARE_CODEC_U16] = 2, [TARE_CODEC_U32] = 4,  [TARE_CODEC_U64] = 8,
	    [TARE_CODEC_I8] = 1,  [TARE_CODEC_I16] = 2, [TARE_CODEC_I32] = 4,  [TARE_CODEC_I64] = 8,
	    [TARE_CODEC_F32] = 4, [TARE_CODEC_F64] = 8, [TARE_CODEC_BOOL] = 1, [TARE_CODEC_ENUM] = 1,
	};
	return kind < TARE_ARRAY_LEN(bytes) ? bytes[kind] : 0;
}

uint32_t schema_value_count(const struct schema_member *member)
{
	return member->kind == TARE_CODEC_BOOL   ? 2
	       : member->kind == TARE_CODEC_ENUM ? (uint32_t)member->type->count
						 : 0;
}

uint32_t schema_element_bytes(const struct schema_member *member)
{
	return member->kind == TARE_CODEC_RECORD ? member->type->bytes : schema_scalar_bytes(member->kind);
}

bool schema_is_varying(const struct schema_member *member)
{
	return member->shape == TARE_CODEC_VECTOR || member->kind >= TARE_CODEC_STRING;
}

struct schema_upper schema_upper(struct tare_str name)
{
	struct schema_upper upper = {.text = ""};
	for (size_t i = 0; i < TARE_MIN(name.len, (size_t)SCHEMA_NAME_MAX); i++)
		upper.text[i] =
		    (char)(name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? name.ptr[i] - 'a' + 'A' : name.ptr[i]);
	return upper;
}

void schema_default_bytes(const struct schema_type *record, unsigned char *out)
{
	memset(out, 0, record->bytes);
	for (size_t i = 0; i < record->count; i++) {
		const struct schema_member *m = &record->members[i];
		if (m->has_default)
			memcpy(out + m->offset, m->value, schema_scalar_bytes(m->kind));
		else if (m->kind == TARE_CODEC_RECORD && m->shape == TARE_CODEC_ONE)
			schema_default_bytes(m->type, out + m->offset);
	}
}

static int place_members(struct schema *schema, struct schema_type *record, struct tare_error *err)
{
	uint64_t offset = 0;
	uint32_t slot = 0;
	for (size_t i = 0; i < record->count; i++) {
		struct schema_member *m = &record->members[i];
		bool varying = schema_is_varying(m);
		m->offset = (uint32_t)offset;
		m->slot = slot;
		if (!varying)
			offset += (uint64_t)schema_element_bytes(m) * (m->shape == TARE_CODEC_ARRAY ? m->count : 1);
		else if (m->kind == TARE_CODEC_UNION)
			offset += 1; // its tag
		slot += varying ? 1 : m->kind == TARE_CODEC_RECORD ? m->type->slots : 0;
		if (offset > TARE_CODEC_BLOCK_BYTES_MAX)
			return schema_fail(schema, m->at, err, "'%.*s' ends past %d bytes; make it a vector",
					   SCHEMA_SHOW(m->name), TARE_CODEC_BLOCK_BYTES_MAX);
		if (slot > TARE_CODEC_SLOTS_MAX)
			return schema_fail(schema, m->at, err,
					   "more than %d strings, vectors and unions; split the message",
					   TARE_CODEC_SLOTS_MAX);
	}
	if (record->depth >= TARE_CODEC_NEST_MAX)
		return schema_fail(schema, record->at, err, "records nest %u deep; at most %d", record->depth + 1,
				   TARE_CODEC_NEST_MAX);
	record->bytes = (uint32_t)offset;
	return 0;
}

// ---- leaves -------------------------------------------------------------------------------------------------------

// out has room: a name's length and how deep records nest are bounded before.
static void join(char *out, const char *above, char separator, struct tare_str name)
{
	size_t n = 0;
	if (above != NULL) {
		n = strlen(above);
		memcpy(out, above, n);
		out[n++] = separator;
	}
	TARE_ASSERT(n + name.len < SCHEMA_PATH_MAX);
	memcpy(out + n, name.ptr, name.len);
	out[n + name.len] = '\0';
}

// The members of one record of the message, in place; records that hold what varies are entered.
static void add_leaves(struct schema *schema, const struct schema_type *record, const struct schema_leaf *above)
{
	for (size_t i = 0; i < record->count; i++) {
		const struct schema_member *m = &record->members[i];
		struct schema_leaf leaf = {.member = m, .offset = m->offset, .slot = m->slot};
		join(leaf.path, above != NULL ? above->path : NULL, '.', m->name);
		join(leaf.name, above != NULL ? above->name : NULL, '_', m->name);
		if (above != NULL) {
			leaf.offset += above->offset;
			leaf.slot += above->slot;
		}
		if (m->kind == TARE_CODEC_RECORD && m->shape == TARE_CODEC_ONE && m->type->slots > 0)
			add_leaves(schema, m->type, &leaf);
		else
			schema->leaves[schema->leaf_count++] = leaf;
	}
}

static size_t count_leaves(const struct schema_type *record)
{
	size_t count = 0;
	for (size_t i = 0; i < record->count; i++) {
		const struct schema_member *m = &record->members[i];
		bool entered = m->kind == TARE_CODEC_RECORD && m->shape == TARE_CODEC_ONE && m->type->slots > 0;
		count += entered ? count_leaves(m->type) : 1;
	}
	return count;
}

// ---- names --------------------------------------------------------------------------------------------------------

// All that begins with `<message>_` in C.
struct name_list {
	const struct schema *schema;
	struct tare_error *err;
	char (*items)[SCHEMA_PATH_MAX + SCHEMA_NAME_MAX];
	size_t count, cap;
};

static int claim(struct name_list *list, struct schema_place at, const char *format, ...) TARE_PRINTF(3, 4);
static int claim(struct name_list *list, struct schema_place at, const char *format, ...)
{
	if (list->count == list->cap) {
		size_t cap = list->cap * 2 + 64;
		void *grown = realloc(list->items, cap * sizeof list->items[0]);
		if (grown == NULL)
			return tare_error_set(list->err, -ENOMEM, "out of memory");
		list->items = grown;
		list->cap = cap;
	}
	char *name = list->items[list->count];
	va_list args;
	va_start(args, format);
	vsnprintf(name, sizeof list->items[0], format, args);
	va_end(args);
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], name) == 0)
			return schema_fail(list->schema, at, list->err,
					   "two things would be called %.*s_%s in C; choose another name",
					   SCHEMA_SHOW(list->schema->name), name);
	list->count++;
	return 0;
}

// What the source file has for itself: of interest where it begins as the message's own things do.
static int claim_static(struct name_list *list, struct schema_place at, struct tare_str name, const char *suffix)
{
	char whole[2 * SCHEMA_NAME_MAX];
	struct tare_str message = list->schema->name;
	snprintf(whole, sizeof whole, "%.*s%s", SCHEMA_SHOW(name), suffix);
	if (strncmp(whole, message.ptr, message.len) != 0 || whole[message.len] != '_')
		return 0;
	return claim(list, at, "%s", whole + message.len + 1);
}

static int claim_statics(struct name_list *list)
{
	static const char *const own[] = {"too_long",       "look_closer",    "all_utf8",         "payloads_right",
					  "message_fields", "message_record", "message_defaults", "message_versions"};
	static const char *const of_records[] = {"_fields", "_defaults", "_record", "_wrong"};
	static const char *const of_names[] = {"_names", "_names_list", "_variants", "_bytes"};
	const struct schema *schema = list->schema;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < TARE_ARRAY_LEN(own); i++)
		rc = claim_static(list, schema->at, TARE_STR(""), own[i]);
	for (size_t i = 0; i < schema->type_count; i++) {
		const struct schema_type *type = &schema->types[i];
		const char *const *suffixes = type->kind == SCHEMA_RECORD ? of_records : of_names;
		for (size_t k = 0; rc == 0 && k < TARE_ARRAY_LEN(of_names); k++)
			rc = claim_static(list, type->at, type->name, suffixes[k]);
	}
	return rc;
}

static int claim_functions(struct name_list *list)
{
	static const char *const own[] = {"schema", "init",      "encoded_bytes", "encode", "verify",
					  "read",   "json_read", "json_write",    "print"};
	const struct schema *schema = list->schema;
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(own); i++)
		rc = rc < 0 ? rc : claim(list, schema->at, "%s", own[i]);
	rc = rc < 0 ? rc : claim_statics(list);
	for (size_t i = 0; rc == 0 && i < schema->type_count; i++) {
		const struct schema_type *type = &schema->types[i];
		if (type->kind != SCHEMA_UNION)
			rc = claim(list, type->at, "%.*s_%s", SCHEMA_SHOW(type->name),
				   type->kind == SCHEMA_ENUM ? "name" : "init");
	}
	for (size_t i = 0; rc == 0 && i < schema->leaf_count; i++) {
		const struct schema_leaf *leaf = &schema->leaves[i];
		const struct schema_member *m = leaf->member;
		if (m->kind != TARE_CODEC_UNION) {
			rc = claim(list, m->at, "%s", leaf->name);
			continue;
		}
		rc = claim(list, m->at, "%s_kind", leaf->name);
		for (size_t v = 0; rc == 0 && v < m->type->count; v++)
			rc = claim(list, m->at, "%s_%.*s", leaf->name, SCHEMA_SHOW(m->type->members[v].name));
	}
	return rc;
}

// Struct tags, which C keeps apart from functions.
static int claim_types(struct name_list *list)
{
	static const char *const own[] = {"view",      "u8_slice",  "u16_slice", "u32_slice",
					  "u64_slice", "i8_slice",  "i16_slice", "i32_slice",
					  "i64_slice", "f32_slice", "f64_slice", "bool_slice"};
	const struct schema *schema = list->schema;
	int rc = 0;
	list->count = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(own); i++)
		rc = rc < 0 ? rc : claim(list, schema->at, "%s", own[i]);
	for (size_t i = 0; rc == 0 && i < schema->type_count; i++) {
		rc = claim(list, schema->types[i].at, "%.*s", SCHEMA_SHOW(schema->types[i].name));
		if (rc == 0)
			rc = claim(list, schema->types[i].at, "%.*s_%s", SCHEMA_SHOW(schema->types[i].name),
				   schema->types[i].kind == SCHEMA_UNION ? "kind" : "slice");
	}
	return rc;
}

// Constants, `<MESSAGE>_<TYPE>_<NAME>`.
static int claim_constants(struct name_list *list)
{
	static const char *const own[] = {"id", "version", "block_bytes", "slots", "fixed_bytes", "tare_h"};
	const struct schema *schema = list->schema;
	int rc = 0;
	list->count = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(own); i++)
		rc = rc < 0 ? rc : claim(list, schema->at, "%s", own[i]);
	for (size_t i = 0; i < schema->type_count; i++) {
		const struct schema_type *type = &schema->types[i];
		if (rc == 0 && type->kind == SCHEMA_UNION)
			rc = claim(list, type->at, "%.*s_none", SCHEMA_SHOW(type->name));
		for (size_t v = 0; rc == 0 && type->kind != SCHEMA_RECORD && v < type->count; v++)
			rc = claim(list, type->members[v].at, "%.*s_%.*s", SCHEMA_SHOW(type->name),
				   SCHEMA_SHOW(type->members[v].name));
	}
	return rc;
}

// ---- all ----------------------------------------------------------------------------------------------------------

static void fill_versions(struct schema *schema)
{
	for (uint32_t v = 1; v <= schema->version; v++) {
		struct tare_codec_version version = {schema->root.bytes, schema->root.slots};
		for (size_t i = schema->root.count; i > 0; i--) {
			const struct schema_member *m = &schema->root.members[i - 1];
			if (m->since > v)
				version = (struct tare_codec_version){m->offset, m->slot};
		}
		schema->versions[v - 1] = version;
	}
}

int schema_layout(struct schema *schema, struct tare_error *err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < schema->type_count; i++)
		if (schema->types[i].kind == SCHEMA_RECORD)
			rc = place_members(schema, &schema->types[i], err);
	if (rc == 0)
		rc = place_members(schema, &schema->root, err);
	if (rc < 0)
		return rc;
	fill_versions(schema);
	schema->leaves = calloc(count_leaves(&schema->root), sizeof *schema->leaves);
	if (schema->leaves == NULL)
		return tare_error_set(err, -ENOMEM, "out of memory");
	add_leaves(schema, &schema->root, NULL);
	struct name_list list = {.schema = schema, .err = err};
	rc = claim_functions(&list);
	if (rc == 0)
		rc = claim_types(&list);
	if (rc == 0)
		rc = claim_constants(&list);
	free(list.items);
	return rc;
}
