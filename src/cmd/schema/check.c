// SPDX-License-Identifier: MIT
// What a newer schema must not do, so that programs with either read the messages of both.
//
// Messages: fields are only appended, since a version that the older schema does not have; every field keeps its name
// (JSON's key), its type, its shape, its default and its version. Records never change. Enums and unions may grow at
// their end. Each finding is a line, FILE:LINE:COLUMN: what; what to do, and all of them are found. One thread.
#include "cmd/schema/schema.h"

#include <errno.h>

struct comparison {
	const struct schema *older, *newer;
	FILE *out;
	size_t findings;
};

static void find(struct comparison *c, struct schema_place at, const char *format, ...) TARE_PRINTF(3, 4);
static void find(struct comparison *c, struct schema_place at, const char *format, ...)
{
	fprintf(c->out, "%s:%d:%d: ", c->newer->path, at.line, at.column);
	va_list args;
	va_start(args, format);
	vfprintf(c->out, format, args);
	va_end(args);
	fputc('\n', c->out);
	c->findings++;
}

static const struct schema_type *type_named(const struct schema *schema, struct tare_str name)
{
	for (size_t i = 0; i < schema->type_count; i++)
		if (tare_str_eq(schema->types[i].name, name))
			return &schema->types[i];
	return NULL;
}

// "u16[8]", "segment[]"
struct type_text {
	char text[SCHEMA_NAME_MAX + 24];
};

static struct type_text type_text(const struct schema_member *m)
{
	struct type_text shown;
	struct tare_str name = {schema_kind_name(m->kind), strlen(schema_kind_name(m->kind))};
	if (m->type != NULL)
		name = m->type->name;
	char shape[16] = "";
	if (m->shape == TARE_CODEC_ARRAY)
		snprintf(shape, sizeof shape, "[%u]", m->count);
	else if (m->shape == TARE_CODEC_VECTOR)
		snprintf(shape, sizeof shape, "[]");
	snprintf(shown.text, sizeof shown.text, "%.*s%s", SCHEMA_SHOW(name), shape);
	return shown;
}

static bool same_type(const struct schema_member *a, const struct schema_member *b)
{
	if (a->kind != b->kind || a->shape != b->shape || a->count != b->count)
		return false;
	return a->type == NULL || tare_str_eq(a->type->name, b->type->name);
}

// A field, a value or a variant that both have, at the same position.
static void compare_member(struct comparison *c, const struct schema_member *old, const struct schema_member *new,
			   const struct schema_type *in)
{
	if (!tare_str_eq(old->name, new->name)) {
		find(c, new->at,
		     "'%.*s' stands where '%.*s' of %.*s was; keep its name, and append new ones at the end",
		     SCHEMA_SHOW(new->name), SCHEMA_SHOW(old->name), SCHEMA_SHOW(in->name));
		return;
	}
	if (!same_type(old, new))
		find(c, new->at, "'%.*s' was %s and is %s; keep its type, and append a field of the new one",
		     SCHEMA_SHOW(new->name), type_text(old).text, type_text(new).text);
	else if (memcmp(old->value, new->value, sizeof old->value) != 0)
		find(c, new->at,
		     "the default of '%.*s' has changed, which old messages that lack it would read otherwise; keep it",
		     SCHEMA_SHOW(new->name));
	if (old->since != new->since)
		find(c, new->at, "'%.*s' was since version %u and is since %u; keep it", SCHEMA_SHOW(new->name),
		     old->since, new->since);
}

static void compare_members(struct comparison *c, const struct schema_type *old, const struct schema_type *new)
{
	size_t both = TARE_MIN(old->count, new->count);
	for (size_t i = 0; i < both; i++)
		compare_member(c, &old->members[i], &new->members[i], new);
	for (size_t i = both; i < old->count; i++)
		find(c, new->at, "'%.*s' is gone from '%.*s'; keep it, messages that hold it are still read",
		     SCHEMA_SHOW(old->members[i].name), SCHEMA_SHOW(new->name));
}

static const char *kind_text(enum schema_type_kind kind)
{
	return kind == SCHEMA_ENUM ? "an enum" : kind == SCHEMA_UNION ? "a union" : "a record";
}

static void compare_type(struct comparison *c, const struct schema_type *old, bool *grown)
{
	const struct schema_type *new = type_named(c->newer, old->name);
	if (new == NULL) // gone is well where no field had it; a field that has it is found with its type
		return;
	if (new->kind != old->kind) {
		find(c, new->at, "'%.*s' was %s and is %s; choose another name", SCHEMA_SHOW(new->name),
		     kind_text(old->kind), kind_text(new->kind));
		return;
	}
	size_t before = c->findings;
	compare_members(c, old, new);
	*grown |= new->count > old->count || c->findings > before;
	if (new->kind == SCHEMA_RECORD &&new->count > old->count)
		find(c, new->members[old->count].at,
		     "record '%.*s' has grown; a record never changes: declare another, and append a field that holds "
		     "it",
		     SCHEMA_SHOW(new->name));
}

static void compare_appended(struct comparison *c)
{
	const struct schema_type *root = &c->newer->root;
	for (size_t i = c->older->root.count; i < root->count; i++) {
		const struct schema_member *m = &root->members[i];
		if (m->since <= c->older->version)
			find(c, m->at, "'%.*s' is new and since version %u, which exists without it; write 'since %u'",
			     SCHEMA_SHOW(m->name), m->since, TARE_MAX(c->older->version + 1, c->newer->version));
	}
}

size_t schema_check(const struct schema *older, const struct schema *newer, FILE *out)
{
	struct comparison c = {.older = older, .newer = newer, .out = out};
	bool grown = newer->root.count > older->root.count;
	if (!tare_str_eq(older->name, newer->name))
		find(&c, newer->at, "message '%.*s' was '%.*s'; keep its name", SCHEMA_SHOW(newer->name),
		     SCHEMA_SHOW(older->name));
	if (older->id != newer->id)
		find(&c, newer->at, "id 0x%x was 0x%x; keep it, it tells a message's schema", newer->id, older->id);
	for (size_t i = 0; i < older->type_count; i++)
		compare_type(&c, &older->types[i], &grown);
	compare_members(&c, &older->root, &newer->root);
	compare_appended(&c);
	if (newer->version < older->version)
		find(&c, newer->at, "version %u was %u; versions only grow", newer->version, older->version);
	else if (grown && c.findings == 0 && newer->version == older->version)
		find(&c, newer->at, "the schema has grown within version %u; write 'version %u'", newer->version,
		     newer->version + 1);
	return c.findings;
}
