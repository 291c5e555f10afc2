// SPDX-License-Identifier: MIT
// Writes the header of a schema: types in C, and getters that read in place.
//
// A record of fixed size is a packed struct whose bytes are the message's, so a vector is an array of them. One that
// holds what varies is a plain struct for encoding; its getters are the message's.
#include "cmd/schema/schema.h"

#include <inttypes.h>

const char *schema_c_type(enum tare_codec_kind kind)
{
	static const char *const types[] = {
	    [TARE_CODEC_U8] = "uint8_t",   [TARE_CODEC_U16] = "uint16_t", [TARE_CODEC_U32] = "uint32_t",
	    [TARE_CODEC_U64] = "uint64_t", [TARE_CODEC_I8] = "int8_t",    [TARE_CODEC_I16] = "int16_t",
	    [TARE_CODEC_I32] = "int32_t",  [TARE_CODEC_I64] = "int64_t",  [TARE_CODEC_F32] = "float",
	    [TARE_CODEC_F64] = "double",   [TARE_CODEC_BOOL] = "bool",    [TARE_CODEC_ENUM] = "uint8_t",
	};
	return types[kind];
}

// The same at any address.
static const char *unaligned(const struct schema_member *m, char name[32])
{
	if (m->kind == TARE_CODEC_U8 || m->kind == TARE_CODEC_ENUM)
		return schema_c_type(m->kind);
	snprintf(name, 32, "tare_codec_%s", schema_kind_name(m->kind));
	return name;
}

// "u32" of a vector of numbers; enums are u8.
static struct tare_str slice_name(const struct schema_member *m)
{
	if (m->kind == TARE_CODEC_RECORD)
		return m->type->name;
	const char *name = m->kind == TARE_CODEC_ENUM ? "u8" : schema_kind_name(m->kind);
	return (struct tare_str){name, strlen(name)};
}

static void emit_constants(const struct schema *s, FILE *out)
{
	struct schema_upper name = schema_upper(s->name);
	fprintf(out, "#define %s_ID UINT32_C(0x%08" PRIx32 ")\n", name.text, s->id);
	fprintf(out, "#define %s_VERSION %u\n", name.text, s->version);
	fprintf(out, "#define %s_BLOCK_BYTES %u\n", name.text, s->root.bytes);
	fprintf(out, "#define %s_SLOTS %u\n", name.text, s->root.slots);
	fprintf(out, "// Head, block and slots: what the shortest message takes.\n");
	fprintf(out, "#define %s_FIXED_BYTES %u\n", name.text,
		TARE_CODEC_HEAD_BYTES + s->root.bytes + TARE_CODEC_SLOT_BYTES * s->root.slots);
}

// ---- types --------------------------------------------------------------------------------------------------------

static void emit_enum(const struct schema *s, const struct schema_type *type, FILE *out)
{
	struct schema_upper message = schema_upper(s->name), name = schema_upper(type->name);
	fprintf(out, "\nenum %.*s_%.*s%s {\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name),
		type->kind == SCHEMA_UNION ? "_kind" : "");
	if (type->kind == SCHEMA_UNION)
		fprintf(out, "\t%s_%s_NONE,\n", message.text, name.text);
	for (size_t i = 0; i < type->count; i++)
		fprintf(out, "\t%s_%s_%s,\n", message.text, name.text, schema_upper(type->members[i].name).text);
	fprintf(out, "};\n");
	if (type->kind == SCHEMA_ENUM) {
		fprintf(out, "// NULL for a value of a newer version.\n");
		fprintf(out, "const char *%.*s_%.*s_name(uint8_t value);\n", SCHEMA_SHOW(s->name),
			SCHEMA_SHOW(type->name));
	}
}

static void emit_union(const struct schema *s, const struct schema_type *type, FILE *out)
{
	fprintf(out, "\nstruct %.*s_%.*s {\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name));
	fprintf(out, "\tuint8_t kind; // enum %.*s_%.*s_kind\n\tunion {\n", SCHEMA_SHOW(s->name),
		SCHEMA_SHOW(type->name));
	for (size_t i = 0; i < type->count; i++)
		fprintf(out, "\t\tstruct %.*s_%.*s %.*s;\n", SCHEMA_SHOW(s->name),
			SCHEMA_SHOW(type->members[i].type->name), SCHEMA_SHOW(type->members[i].name));
	fprintf(out, "\t};\n};\n");
}

static void emit_member(const struct schema *s, const struct schema_member *m, FILE *out)
{
	if (m->shape == TARE_CODEC_VECTOR) {
		struct tare_str slice = slice_name(m);
		fprintf(out, "\tstruct %.*s_%.*s_slice %.*s;\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(slice),
			SCHEMA_SHOW(m->name));
	} else if (m->kind == TARE_CODEC_RECORD || m->kind == TARE_CODEC_UNION) {
		fprintf(out, "\tstruct %.*s_%.*s %.*s;\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(m->type->name),
			SCHEMA_SHOW(m->name));
	} else if (m->kind == TARE_CODEC_STRING || m->kind == TARE_CODEC_BYTES) {
		fprintf(out, "\tstruct tare_str %.*s;%s\n", SCHEMA_SHOW(m->name),
			m->kind == TARE_CODEC_BYTES ? " // bytes" : "");
	} else {
		fprintf(out, "\t%s %.*s", schema_c_type(m->kind), SCHEMA_SHOW(m->name));
		if (m->shape == TARE_CODEC_ARRAY)
			fprintf(out, "[%u]", m->count);
		if (m->kind == TARE_CODEC_ENUM)
			fprintf(out, "; // enum %.*s_%.*s\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(m->type->name));
		else
			fprintf(out, ";\n");
	}
}

static bool is_vector_of(const struct schema_type *record, const struct schema_type *type)
{
	for (size_t i = 0; i < record->count; i++) {
		const struct schema_member *m = &record->members[i];
		if (m->shape == TARE_CODEC_VECTOR && m->type == type)
			return true;
	}
	return false;
}

static void emit_record(const struct schema *s, const struct schema_type *type, FILE *out)
{
	bool used = is_vector_of(&s->root, type);
	for (size_t i = 0; !used && i < s->type_count; i++)
		used = s->types[i].kind == SCHEMA_RECORD && is_vector_of(&s->types[i], type);
	fprintf(out, "\nstruct %.*s_%.*s {\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name));
	for (size_t i = 0; i < type->count; i++)
		emit_member(s, &type->members[i], out);
	if (type->slots > 0) {
		fprintf(out, "};\n");
		return;
	}
	fprintf(out, "} __attribute__((packed, may_alias));\n");
	fprintf(out, "_Static_assert(sizeof(struct %.*s_%.*s) == %u, \"as in messages\");\n", SCHEMA_SHOW(s->name),
		SCHEMA_SHOW(type->name), type->bytes);
	fprintf(out, "// Fills in the defaults.\n");
	fprintf(out, "void %.*s_%.*s_init(struct %.*s_%.*s *out);\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name),
		SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name));
	if (used)
		fprintf(out, "struct %.*s_%.*s_slice {\n\tconst struct %.*s_%.*s *at;\n\tsize_t count;\n};\n",
			SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name), SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name));
}

static void emit_slices_of(const struct schema *s, const struct schema_type *record, bool done[TARE_CODEC_RECORD],
			   FILE *out)
{
	for (size_t i = 0; i < record->count; i++) {
		const struct schema_member *m = &record->members[i];
		if (m->shape != TARE_CODEC_VECTOR || m->kind == TARE_CODEC_RECORD)
			continue;
		unsigned kind = m->kind == TARE_CODEC_ENUM ? TARE_CODEC_U8 : m->kind;
		if (done[kind])
			continue;
		done[kind] = true;
		char name[32];
		fprintf(out, "\nstruct %.*s_%.*s_slice {\n\tconst %s *at;\n\tsize_t count;\n};\n", SCHEMA_SHOW(s->name),
			SCHEMA_SHOW(slice_name(m)), unaligned(m, name));
	}
}

// A struct for each kind of number that some vector holds.
static void emit_slices(const struct schema *s, FILE *out)
{
	bool done[TARE_CODEC_RECORD] = {false};
	for (size_t i = 0; i < s->type_count; i++)
		if (s->types[i].kind == SCHEMA_RECORD)
			emit_slices_of(s, &s->types[i], done, out);
	emit_slices_of(s, &s->root, done, out);
}

static void emit_types(const struct schema *s, FILE *out)
{
	emit_slices(s, out);
	for (size_t i = 0; i < s->type_count; i++) {
		const struct schema_type *type = &s->types[i];
		if (type->kind != SCHEMA_RECORD)
			emit_enum(s, type, out);
		if (type->kind == SCHEMA_UNION)
			emit_union(s, type, out);
		if (type->kind == SCHEMA_RECORD)
			emit_record(s, type, out);
	}
	fprintf(out, "\n// What is encoded; texts, bytes and vectors stay the caller's.\nstruct %.*s {\n",
		SCHEMA_SHOW(s->name));
	for (size_t i = 0; i < s->root.count; i++)
		emit_member(s, &s->root.members[i], out);
	fprintf(out, "};\n\n// Made by %.*s_verify alone. It is not copied: it may point into itself.\n",
		SCHEMA_SHOW(s->name));
	fprintf(out, "struct %.*s_view {\n\tstruct tare_codec_view view;\n\tunsigned char local[%u];\n};\n",
		SCHEMA_SHOW(s->name), s->root.bytes + TARE_CODEC_SLOT_BYTES * s->root.slots);
}

// ---- functions ----------------------------------------------------------------------------------------------------

static void emit_functions(const struct schema *s, FILE *out)
{
	int n = (int)s->name.len;
	const char *m = s->name.ptr;
	fprintf(out, "\nextern const struct tare_codec_schema %.*s_schema;\n", n, m);
	fprintf(out,
		"\n// Fills in the defaults; everything that varies is empty.\nvoid %.*s_init(struct %.*s *out);\n", n,
		m, n, m);
	fprintf(out, "// What %.*s_encode will take; SIZE_MAX where that is more than a message can be.\n", n, m);
	fprintf(out, "size_t %.*s_encoded_bytes(const struct %.*s *in);\n", n, m, n, m);
	fprintf(out, "// The message's bytes. -ENOSPC where cap does not suffice, -EMSGSIZE past 4 GiB or for a "
		     "union's kind that there is\n"
		     "// not, -EBADMSG for an enum's value that there is not and a string that is not UTF-8. err has "
		     "the text, or is NULL.\n");
	fprintf(out,
		"TARE_MUST_USE ssize_t %.*s_encode(const struct %.*s *in, void *buf, size_t cap, struct tare_error "
		"*err);\n",
		n, m, n, m);
	fprintf(out, "// Whether these bytes are a message. Only then the view is written; it points into buf. "
		     "-EBADMSG with a text.\n");
	fprintf(out,
		"TARE_MUST_USE int %.*s_verify(struct %.*s_view *view, const void *buf, size_t len, struct tare_error "
		"*err);\n",
		n, m, n, m);
	fprintf(out, "// All fields at once; texts, bytes and vectors point into the message.\n");
	fprintf(out, "void %.*s_read(struct %.*s *out, const struct %.*s_view *view);\n", n, m, n, m, n, m);
	fprintf(out, "\n// See <tare/codec.h>.\n");
	fprintf(
	    out,
	    "TARE_MUST_USE static inline ssize_t %.*s_json_read(void *buf, size_t cap, const char *text, size_t len,\n"
	    "\tconst struct tare_codec_limits *limits, struct tare_error *err)\n"
	    "{\n\treturn tare_codec_json_read(&%.*s_schema, buf, cap, text, len, limits, err);\n}\n",
	    n, m, n, m);
	fprintf(
	    out,
	    "TARE_MUST_USE static inline ssize_t %.*s_json_write(const struct %.*s_view *view, char *buf, size_t cap,\n"
	    "\tstruct tare_error *err)\n{\n\treturn tare_codec_json_write(&view->view, buf, cap, err);\n}\n",
	    n, m, n, m);
	fprintf(out,
		"TARE_MUST_USE static inline ssize_t %.*s_print(const struct %.*s_view *view, char *buf, size_t cap)\n"
		"{\n\treturn tare_codec_print(&view->view, buf, cap);\n}\n\n",
		n, m, n, m);
}

static void emit_head(const struct schema *s, const char *type, const char *space, const struct schema_leaf *leaf,
		      FILE *out)
{
	fprintf(out, "static inline %s%s%.*s_%s(const struct %.*s_view *view)\n{\n", type, space, SCHEMA_SHOW(s->name),
		leaf->name, SCHEMA_SHOW(s->name));
}

static void emit_vector_getter(const struct schema *s, const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	struct tare_str slice = slice_name(m);
	char type[2 * SCHEMA_NAME_MAX + 24];
	snprintf(type, sizeof type, "struct %.*s_%.*s_slice", SCHEMA_SHOW(s->name), SCHEMA_SHOW(slice));
	emit_head(s, type, " ", leaf, out);
	fprintf(out, "\treturn (%s){(const void *)tare_codec_slot_ptr(&view->view, %u), ", type, leaf->slot);
	fprintf(out, "tare_codec_slot_bytes(&view->view, %u) / %u};\n}\n", leaf->slot, schema_element_bytes(m));
}

static void emit_union_getters(const struct schema *s, const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_type *type = leaf->member->type;
	fprintf(out, "static inline uint8_t %.*s_%s_kind(const struct %.*s_view *view)\n{\n", SCHEMA_SHOW(s->name),
		leaf->name, SCHEMA_SHOW(s->name));
	fprintf(out, "\treturn view->view.block[%u];\n}\n", leaf->offset);
	for (size_t i = 0; i < type->count; i++) {
		const struct schema_member *v = &type->members[i];
		fprintf(out, "static inline const struct %.*s_%.*s *%.*s_%s_%.*s(const struct %.*s_view *view)\n{\n",
			SCHEMA_SHOW(s->name), SCHEMA_SHOW(v->type->name), SCHEMA_SHOW(s->name), leaf->name,
			SCHEMA_SHOW(v->name), SCHEMA_SHOW(s->name));
		fprintf(out,
			"\treturn view->view.block[%u] == %zu ? (const void *)tare_codec_slot_ptr(&view->view, %u) : "
			"NULL;\n}\n",
			leaf->offset, i + 1, leaf->slot);
	}
}

static void emit_getter(const struct schema *s, const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	char name[32], type[2 * SCHEMA_NAME_MAX + 24];
	if (m->shape == TARE_CODEC_VECTOR) {
		emit_vector_getter(s, leaf, out);
	} else if (m->kind == TARE_CODEC_UNION) {
		emit_union_getters(s, leaf, out);
	} else if (m->kind == TARE_CODEC_STRING || m->kind == TARE_CODEC_BYTES) {
		emit_head(s, "struct tare_str", " ", leaf, out);
		fprintf(out, "\treturn tare_codec_slot_str(&view->view, %u);\n}\n", leaf->slot);
	} else if (m->kind == TARE_CODEC_RECORD) {
		snprintf(type, sizeof type, "const struct %.*s_%.*s *", SCHEMA_SHOW(s->name),
			 SCHEMA_SHOW(m->type->name));
		emit_head(s, type, "", leaf, out);
		fprintf(out, "\treturn (const void *)(view->view.block + %u);\n}\n", leaf->offset);
	} else if (m->shape == TARE_CODEC_ARRAY) {
		snprintf(type, sizeof type, "const %s *", unaligned(m, name));
		emit_head(s, type, "", leaf, out);
		fprintf(out, "\treturn (const void *)(view->view.block + %u);\n}\n", leaf->offset);
	} else {
		emit_head(s, schema_c_type(m->kind), " ", leaf, out);
		fprintf(out, "\treturn TARE_CODEC_LOAD(%s, view->view.block + %u);\n}\n", unaligned(m, name),
			leaf->offset);
	}
}

void schema_emit_header(const struct schema *s, FILE *out)
{
	struct schema_upper name = schema_upper(s->name);
	const char *file = strrchr(s->path, '/');
	fprintf(out, "// SPDX-License-Identifier: MIT\n");
	fprintf(out, "// Messages of %.*s, version %u: made by `tare schema compile` of %s, not by hand.\n",
		SCHEMA_SHOW(s->name), s->version, file != NULL ? file + 1 : s->path);
	fprintf(out, "// clang-format off\n#ifndef %s_TARE_H\n#define %s_TARE_H\n\n#include <tare/codec.h>\n\n",
		name.text, name.text);
	emit_constants(s, out);
	emit_types(s, out);
	emit_functions(s, out);
	for (size_t i = 0; i < s->leaf_count; i++)
		emit_getter(s, &s->leaves[i], out);
	fprintf(out, "\n#endif\n");
}
