// SPDX-License-Identifier: MIT
// Writes the source of a schema: its tables, the encoder, the verifier, and the decoder.
//
// The verifier reads every slot and adds up what is wrong without a branch a field; one branch at the end finds that
// nothing is. Only then payloads are looked into. Neighbouring strings lie side by side, so one loop sees whether all
// of them are ASCII. Whatever is wrong is told by tare_codec_verify, from the tables. The encoder writes forward once,
// looks at the same values while it has them in hand, and asks tare_codec_verify only where something may be wrong.
#include "cmd/schema/schema.h"

#include <inttypes.h>
#include <stdlib.h>

static bool is_fixed_record(const struct schema_member *m)
{
	return m->kind == TARE_CODEC_RECORD && m->shape == TARE_CODEC_ONE;
}

// ---- tables -------------------------------------------------------------------------------------------------------

static void emit_names(const struct schema *s, const struct schema_type *type, FILE *out)
{
	fprintf(out, "\nstatic const char *const %.*s_names_list[] = {", SCHEMA_SHOW(type->name));
	for (size_t i = 0; i < type->count; i++)
		fprintf(out, "%s\"%.*s\"", i > 0 ? ", " : "", SCHEMA_SHOW(type->members[i].name));
	fprintf(out, "};\n");
	if (type->kind == SCHEMA_UNION) {
		fprintf(out, "static const struct tare_codec_record *const %.*s_variants[] = {",
			SCHEMA_SHOW(type->name));
		for (size_t i = 0; i < type->count; i++)
			fprintf(out, "%s&%.*s_record", i > 0 ? ", " : "", SCHEMA_SHOW(type->members[i].type->name));
		fprintf(out, "};\n");
	}
	fprintf(out,
		"__attribute__((unused)) static const struct tare_codec_names %.*s_names = {\"%.*s\", %zu, "
		"%.*s_names_list, ",
		SCHEMA_SHOW(type->name), SCHEMA_SHOW(type->name), type->count, SCHEMA_SHOW(type->name));
	if (type->kind == SCHEMA_UNION)
		fprintf(out, "%.*s_variants};\n", SCHEMA_SHOW(type->name));
	else
		fprintf(out,
			"NULL};\n\nconst char *%.*s_%.*s_name(uint8_t value)\n{\n\treturn value < %zu ? "
			"%.*s_names_list[value] : NULL;\n}\n",
			SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name), type->count, SCHEMA_SHOW(type->name));
}

static void emit_field(const struct schema_member *m, FILE *out)
{
	static const char *const kinds[] = {"U8",  "U16", "U32",  "U64",  "I8",     "I16",    "I32",   "I64",
					    "F32", "F64", "BOOL", "ENUM", "RECORD", "STRING", "BYTES", "UNION"};
	static const char *const shapes[] = {"ONE", "ARRAY", "VECTOR"};
	fprintf(out,
		"\t{.name = \"%.*s\", .name_bytes = %zu, .kind = TARE_CODEC_%s, .shape = TARE_CODEC_%s, .element_bytes "
		"= %u,",
		SCHEMA_SHOW(m->name), m->name.len, kinds[m->kind], shapes[m->shape], schema_scalar_bytes(m->kind));
	fprintf(out, " .slot = %u, .offset = %u, .count = %u", m->slot, m->offset, m->count);
	if (m->kind == TARE_CODEC_RECORD)
		fprintf(out, ", .record = &%.*s_record", SCHEMA_SHOW(m->type->name));
	else if (m->type != NULL)
		fprintf(out, ", .names = &%.*s_names", SCHEMA_SHOW(m->type->name));
	fprintf(out, "},\n");
}

// root: the message's own record, whose tables have names that no type's can have.
static void emit_record_tables(const struct schema_type *type, bool root, FILE *out)
{
	struct tare_str name = root ? TARE_STR("message") : type->name;
	unsigned char *bytes = calloc(1, type->bytes + 1);
	TARE_ASSERT(bytes != NULL);
	schema_default_bytes(type, bytes);
	fprintf(out, "\nstatic const struct tare_codec_field %.*s_fields[] = {\n", SCHEMA_SHOW(name));
	for (size_t i = 0; i < type->count; i++)
		emit_field(&type->members[i], out);
	fprintf(out, "};\nstatic const unsigned char %.*s_defaults[%u]", SCHEMA_SHOW(name), TARE_MAX(type->bytes, 1U));
	if (type->has_defaults) {
		fprintf(out, " = {");
		const char *separator = "";
		for (uint32_t i = 0; i < type->bytes; i++)
			if (bytes[i] != 0) {
				fprintf(out, "%s[%u] = 0x%02x", separator, i, bytes[i]);
				separator = ", ";
			}
		fprintf(out, "}");
	}
	free(bytes);
	fprintf(out, ";\n__attribute__((unused)) static const struct tare_codec_record %.*s_record = {\n",
		SCHEMA_SHOW(name));
	fprintf(
	    out,
	    "\t.name = \"%.*s\", .fields = %.*s_fields, .defaults = %.*s_defaults, .bytes = %u, .field_count = %zu,",
	    SCHEMA_SHOW(type->name), SCHEMA_SHOW(name), SCHEMA_SHOW(name), type->bytes, type->count);
	fprintf(out, "\n\t.slots = %u, .checked = %s,\n};\n", type->slots, type->checked ? "true" : "false");
}

static void emit_tables(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->type_count; i++) {
		if (s->types[i].kind == SCHEMA_RECORD)
			emit_record_tables(&s->types[i], false, out);
		else
			emit_names(s, &s->types[i], out);
	}
	emit_record_tables(&s->root, true, out);
	fprintf(out, "static const struct tare_codec_version message_versions[] = {");
	for (uint32_t v = 0; v < s->version; v++)
		fprintf(out, "%s{%u, %u}", v > 0 ? ", " : "", s->versions[v].block_bytes, s->versions[v].slots);
	fprintf(out, "};\n");
	fprintf(out, "const struct tare_codec_schema %.*s_schema = {\n", SCHEMA_SHOW(s->name));
	fprintf(out,
		"\t.name = \"%.*s\", .root = &message_record, .versions = message_versions, .id = 0x%08" PRIx32 ",",
		SCHEMA_SHOW(s->name), s->id);
	fprintf(out, " .version = %u,\n};\n", s->version);
}

// ---- values that not all bytes are valid for ----------------------------------------------------------------------

// `\t|| value is wrong` for each such value of a record that begins at the expression p.
static void emit_wrong(const struct schema_member *m, const char *p, uint32_t offset, FILE *out)
{
	uint32_t limit = schema_value_count(m);
	if (limit > 0 && m->shape == TARE_CODEC_ONE)
		fprintf(out, "\twrong |= %s[%u] >= %u;\n", p, offset, limit);
	else if (limit > 0 && m->shape == TARE_CODEC_ARRAY)
		fprintf(out, "\twrong |= tare_codec_past(%s + %u, %u, %u);\n", p, offset, m->count, limit);
	else if (is_fixed_record(m) && m->type->checked)
		fprintf(out, "\twrong |= %.*s_wrong(%s + %u);\n", SCHEMA_SHOW(m->type->name), p, offset);
}

static void emit_wrong_functions(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->type_count; i++) {
		const struct schema_type *type = &s->types[i];
		if (type->kind != SCHEMA_RECORD || type->slots > 0 || !type->checked)
			continue;
		fprintf(out, "\n__attribute__((unused)) static inline uint64_t %.*s_wrong(const unsigned char *p)\n{\n",
			SCHEMA_SHOW(type->name));
		fprintf(out, "\tuint64_t wrong = 0;\n");
		for (size_t k = 0; k < type->count; k++)
			emit_wrong(&type->members[k], "p", type->members[k].offset, out);
		fprintf(out, "\treturn wrong;\n}\n");
	}
}

// The payload of a leaf that is n bytes at p: a vector's elements, a union's variant. Texts are seen elsewhere.
static void emit_payload_wrong(const struct schema_leaf *leaf, const char *p, const char *n, const char *tag, FILE *out)
{
	const struct schema_member *m = leaf->member;
	if (m->shape == TARE_CODEC_VECTOR && m->kind == TARE_CODEC_RECORD && m->type->checked) {
		fprintf(out, "\tfor (size_t i = 0; i < %s; i += %u)\n", n, m->type->bytes);
		fprintf(out, "\t\twrong |= %.*s_wrong(%s + i);\n", SCHEMA_SHOW(m->type->name), p);
	} else if (m->shape == TARE_CODEC_VECTOR && schema_value_count(m) > 0) {
		fprintf(out, "\twrong |= tare_codec_past(%s, %s, %u);\n", p, n, schema_value_count(m));
	} else if (m->kind == TARE_CODEC_UNION) {
		for (size_t i = 0; i < m->type->count; i++)
			if (m->type->members[i].type->checked)
				fprintf(out, "\tif (%s == %zu)\n\t\twrong |= %.*s_wrong(%s);\n", tag, i + 1,
					SCHEMA_SHOW(m->type->members[i].type->name), p);
	}
}

static bool payload_is_checked(const struct schema_leaf *leaf)
{
	const struct schema_member *m = leaf->member;
	if (m->shape == TARE_CODEC_VECTOR)
		return m->kind == TARE_CODEC_RECORD ? m->type->checked : schema_value_count(m) > 0;
	for (size_t i = 0; m->kind == TARE_CODEC_UNION && i < m->type->count; i++)
		if (m->type->members[i].type->checked)
			return true;
	return false;
}

// ---- the encoder --------------------------------------------------------------------------------------------------

static void emit_union_sizes(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->type_count; i++) {
		const struct schema_type *type = &s->types[i];
		if (type->kind != SCHEMA_UNION)
			continue;
		fprintf(out, "\n// Past the last variant nothing is of the right size.\n");
		fprintf(out,
			"__attribute__((unused)) static inline uint64_t %.*s_bytes(uint8_t kind)\n{\n\tstatic const "
			"uint32_t bytes[] = {0",
			SCHEMA_SHOW(type->name));
		for (size_t k = 0; k < type->count; k++)
			fprintf(out, ", %u", type->members[k].type->bytes);
		fprintf(out, "};\n\treturn kind < %zu ? bytes[kind] : UINT64_C(1) << 33;\n}\n", type->count + 1);
	}
}

// The bytes of what varies, as an expression of `in`.
static void emit_length(const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	if (m->shape == TARE_CODEC_VECTOR)
		fprintf(out, "(uint64_t)in->%s.count * %u", leaf->path, schema_element_bytes(m));
	else if (m->kind == TARE_CODEC_UNION)
		fprintf(out, "%.*s_bytes(in->%s.kind)", SCHEMA_SHOW(m->type->name), leaf->path);
	else
		fprintf(out, "in->%s.len", leaf->path);
}

static void emit_sizer(const struct schema *s, FILE *out)
{
	struct schema_upper name = schema_upper(s->name);
	fprintf(out, "\nsize_t %.*s_encoded_bytes(const struct %.*s *in)\n{\n", SCHEMA_SHOW(s->name),
		SCHEMA_SHOW(s->name));
	if (s->root.slots == 0) {
		fprintf(out, "\t(void)in;\n\treturn %s_FIXED_BYTES;\n}\n", name.text);
		return;
	}
	fprintf(out, "\tuint64_t all = 0, total = %s_FIXED_BYTES;\n", name.text);
	for (size_t i = 0; i < s->leaf_count; i++) {
		const struct schema_leaf *leaf = &s->leaves[i];
		if (!schema_is_varying(leaf->member))
			continue;
		if (leaf->member->kind != TARE_CODEC_UNION || leaf->member->shape == TARE_CODEC_VECTOR)
			fprintf(out, "\tall |= in->%s.%s;\n", leaf->path,
				leaf->member->shape == TARE_CODEC_VECTOR ? "count" : "len");
		fprintf(out, "\ttotal += ");
		emit_length(leaf, out);
		fprintf(out, ";\n");
	}
	fprintf(out, "\treturn all > UINT32_MAX || total > UINT32_MAX ? SIZE_MAX : total;\n}\n");
}

static void emit_fixed_store(const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	if (is_fixed_record(m)) {
		fprintf(out, "\tmemcpy(b + %u, &in->%s, %u);\n", leaf->offset, leaf->path, m->type->bytes);
	} else if (m->shape == TARE_CODEC_ARRAY) {
		fprintf(out, "\tmemcpy(b + %u, in->%s, %u);\n", leaf->offset, leaf->path,
			m->count * schema_scalar_bytes(m->kind));
	} else if (schema_scalar_bytes(m->kind) == 1) {
		fprintf(out, "\tb[%u] = (unsigned char)in->%s;\n", leaf->offset, leaf->path);
	} else {
		fprintf(out, "\tTARE_CODEC_STORE(tare_codec_%s, b + %u, in->%s);\n", schema_kind_name(m->kind),
			leaf->offset, leaf->path);
	}
	// A bool of C is 0 or 1 already.
	if (m->kind != TARE_CODEC_BOOL || m->shape != TARE_CODEC_ONE)
		emit_wrong(m, "b", leaf->offset, out);
}

static void emit_varying_store(const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	fprintf(out, "\tn = ");
	emit_length(leaf, out);
	fprintf(out, ";\n\ttare_codec_slot_put(s, %u, (uint64_t)(p - m), n);\n", leaf->slot);
	char tag[SCHEMA_PATH_MAX + 16] = "";
	if (m->kind == TARE_CODEC_STRING) {
		fprintf(out, "\twrong |= tare_codec_copy_text(p, in->%s.ptr, n);\n", leaf->path);
	} else if (m->shape != TARE_CODEC_VECTOR && m->kind == TARE_CODEC_UNION) {
		snprintf(tag, sizeof tag, "in->%s.kind", leaf->path);
		fprintf(out, "\tb[%u] = %s;\n", leaf->offset, tag);
		// Every variant begins where the first does.
		fprintf(out, "\tmemcpy(p, &in->%s.%.*s, n);\n", leaf->path, SCHEMA_SHOW(m->type->members[0].name));
	} else {
		fprintf(out, "\tif (n > 0)\n\t\tmemcpy(p, in->%s.%s, n);\n", leaf->path,
			m->shape == TARE_CODEC_VECTOR ? "at" : "ptr");
	}
	emit_payload_wrong(leaf, "p", "n", tag, out);
	fprintf(out, "\tp += n;\n");
}

static void emit_encoder(const struct schema *s, FILE *out)
{
	struct schema_upper name = schema_upper(s->name);
	bool varies = s->root.slots > 0;
	emit_sizer(s, out);
	fprintf(out, "\nssize_t %.*s_encode(const struct %.*s *in, void *buf, size_t cap, struct tare_error *err)\n{\n",
		SCHEMA_SHOW(s->name), SCHEMA_SHOW(s->name));
	fprintf(out, "\tconst size_t total = %.*s_encoded_bytes(in);\n", SCHEMA_SHOW(s->name));
	fprintf(out, "\tif (TARE_UNLIKELY(total > cap))\n\t\treturn too_long(total, cap, err);\n");
	fprintf(out, "\tunsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES;\n");
	if (varies)
		fprintf(out,
			"\tunsigned char *const s = b + %s_BLOCK_BYTES, *p = s + %s_SLOTS * TARE_CODEC_SLOT_BYTES;\n"
			"\tuint64_t n;\n",
			name.text, name.text);
	fprintf(out, "\tuint64_t wrong = 0;\n");
	fprintf(
	    out,
	    "\tTARE_CODEC_STORE(tare_codec_u64, m, %s_ID | (uint64_t)%s_VERSION << 32 | (uint64_t)%s_SLOTS << 48);\n",
	    name.text, name.text, name.text);
	fprintf(out, "\tTARE_CODEC_STORE(tare_codec_u64, m + 8, total | (uint64_t)%s_BLOCK_BYTES << 32);\n", name.text);
	for (size_t i = 0; i < s->leaf_count; i++) {
		if (schema_is_varying(s->leaves[i].member))
			emit_varying_store(&s->leaves[i], out);
		else
			emit_fixed_store(&s->leaves[i], out);
	}
	fprintf(out, "\tif (TARE_UNLIKELY(wrong != 0))\n\t\treturn look_closer(m, total, err);\n");
	fprintf(out, "\treturn (ssize_t)total;\n}\n");
}

// What encoders come to seldom.
static void emit_encoder_parts(const struct schema *s, FILE *out)
{
	fprintf(out, "\n__attribute__((cold, noinline)) static ssize_t too_long(size_t total, size_t cap, struct "
		     "tare_error *err)\n{\n");
	fprintf(out,
		"\tif (total == SIZE_MAX)\n\t\treturn tare_error_set(err, -EMSGSIZE, \"%.*s: more than 4 GiB, or an "
		"unknown variant\");\n",
		SCHEMA_SHOW(s->name));
	fprintf(out,
		"\treturn tare_error_set(err, -ENOSPC, \"%.*s: %%zu bytes do not fit into %%zu\", total, cap);\n}\n",
		SCHEMA_SHOW(s->name));
	fprintf(out, "\n// A text that is not ASCII, or a value that is not valid.\n");
	fprintf(out, "__attribute__((cold, noinline)) static ssize_t look_closer(const void *buf, size_t total, struct "
		     "tare_error *err)\n{\n");
	fprintf(out, "\tstruct %.*s_view view;\n\tint rc = %.*s_verify(&view, buf, total, err);\n",
		SCHEMA_SHOW(s->name), SCHEMA_SHOW(s->name));
	fprintf(out, "\treturn rc < 0 ? rc : (ssize_t)total;\n}\n");
}

// ---- the verifier -------------------------------------------------------------------------------------------------

static bool is_string(const struct schema_leaf *leaf)
{
	return leaf->member->kind == TARE_CODEC_STRING;
}

static void emit_slot_checks(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->leaf_count; i++) {
		const struct schema_leaf *leaf = &s->leaves[i];
		const struct schema_member *m = leaf->member;
		if (!schema_is_varying(m)) {
			emit_wrong(m, "b", leaf->offset, out);
			continue;
		}
		fprintf(out, "\tw = TARE_CODEC_LOAD(tare_codec_u64, s + %u);\n", leaf->slot * TARE_CODEC_SLOT_BYTES);
		fprintf(out, "\twrong |= at ^ (uint32_t)w;\n\tat += w >> 32;\n");
		if (m->shape == TARE_CODEC_VECTOR && schema_element_bytes(m) > 1)
			fprintf(out, "\twrong |= (uint32_t)(w >> 32) %% %uU;\n", schema_element_bytes(m));
		else if (m->shape != TARE_CODEC_VECTOR && m->kind == TARE_CODEC_UNION)
			fprintf(out, "\twrong |= (w >> 32) ^ %.*s_bytes(b[%u]);\n", SCHEMA_SHOW(m->type->name),
				leaf->offset);
	}
}

// Strings of neighbouring slots: from first to last, as positions among the leaves.
static void emit_run(const struct schema *s, size_t first, size_t last, FILE *out)
{
	uint32_t a = s->leaves[first].slot * 8, z = s->leaves[last].slot * 8;
	fprintf(out, "\tbegin = TARE_CODEC_LOAD(tare_codec_u32, s + %u);\n", a);
	fprintf(out, "\tw = TARE_CODEC_LOAD(tare_codec_u64, s + %u);\n", z);
	fprintf(out, "\tif (tare_codec_high_bits(m + begin, (uint32_t)w - begin + (w >> 32)) != 0)\n");
	fprintf(out, "\t\twrong |= !all_utf8(m, s + %u, %u);\n", a, (z - a) / 8 + 1);
}

static void emit_payload_checks(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->leaf_count; i++) {
		const struct schema_leaf *leaf = &s->leaves[i];
		if (is_string(leaf)) {
			size_t last = i;
			// Fields without a payload in between don't part them.
			for (size_t k = i + 1; k < s->leaf_count; k++) {
				if (is_string(&s->leaves[k]))
					last = k;
				else if (schema_is_varying(s->leaves[k].member))
					break;
			}
			emit_run(s, i, last, out);
			i = last;
		} else if (schema_is_varying(leaf->member) && payload_is_checked(leaf)) {
			char tag[24];
			snprintf(tag, sizeof tag, "b[%u]", leaf->offset);
			fprintf(out, "\tw = TARE_CODEC_LOAD(tare_codec_u64, s + %u);\n", leaf->slot * 8);
			emit_payload_wrong(leaf, "(m + (uint32_t)w)", "w >> 32", tag, out);
		}
	}
}

static bool has_strings(const struct schema *s)
{
	for (size_t i = 0; i < s->leaf_count; i++)
		if (is_string(&s->leaves[i]))
			return true;
	return false;
}

static bool has_checked_payloads(const struct schema *s)
{
	bool any = has_strings(s);
	for (size_t i = 0; i < s->leaf_count; i++)
		any |= schema_is_varying(s->leaves[i].member) && payload_is_checked(&s->leaves[i]);
	return any;
}

static void emit_values_right(const struct schema *s, FILE *out)
{
	if (has_strings(s))
		fprintf(out, "\n__attribute__((noinline)) static bool all_utf8(const unsigned char *m, const unsigned "
			     "char *s, unsigned n)\n{\n"
			     "\tfor (; n > 0; n--, s += TARE_CODEC_SLOT_BYTES)\n"
			     "\t\tif (!tare_codec_utf8(m + TARE_CODEC_LOAD(tare_codec_u32, s), "
			     "TARE_CODEC_LOAD(tare_codec_u32, s + 4)))\n"
			     "\t\t\treturn false;\n\treturn true;\n}\n");
	fprintf(out, "\n// The message's payloads, whose places are known to be right.\n");
	fprintf(out, "static inline bool payloads_right(const unsigned char *m, const unsigned char *b, const unsigned "
		     "char *s)\n{\n");
	if (has_checked_payloads(s)) {
		fprintf(out, "\tuint64_t wrong = 0, w;\n");
		if (has_strings(s))
			fprintf(out, "\tuint32_t begin;\n");
		emit_payload_checks(s, out);
		fprintf(out, "\t(void)b;\n\treturn wrong == 0;\n}\n");
	} else {
		fprintf(out, "\t(void)m;\n\t(void)b;\n\t(void)s;\n\treturn true;\n}\n");
	}
}

static void emit_verifier(const struct schema *s, FILE *out)
{
	struct schema_upper name = schema_upper(s->name);
	emit_values_right(s, out);
	fprintf(out,
		"\nint %.*s_verify(struct %.*s_view *view, const void *buf, size_t len, struct tare_error *err)\n{\n",
		SCHEMA_SHOW(s->name), SCHEMA_SHOW(s->name));
	fprintf(out,
		"\tconst unsigned char *const m = buf, *const b = m + TARE_CODEC_HEAD_BYTES, *const s = b + "
		"%s_BLOCK_BYTES;\n",
		name.text);
	fprintf(out,
		"\tif (TARE_UNLIKELY(len - %s_FIXED_BYTES > UINT32_MAX - %s_FIXED_BYTES)) // too short, or too long\n"
		"\t\tgoto wrong;\n",
		name.text, name.text);
	fprintf(out,
		"\tuint64_t wrong = TARE_CODEC_LOAD(tare_codec_u64, m) ^\n"
		"\t\t(%s_ID | (uint64_t)%s_VERSION << 32 | (uint64_t)%s_SLOTS << 48);\n",
		name.text, name.text, name.text);
	fprintf(out, "\twrong |= TARE_CODEC_LOAD(tare_codec_u64, m + 8) ^ (len | (uint64_t)%s_BLOCK_BYTES << 32);\n",
		name.text);
	fprintf(out, "\tuint64_t at = %s_FIXED_BYTES;\n", name.text);
	if (s->root.slots > 0)
		fprintf(out, "\tuint64_t w;\n");
	emit_slot_checks(s, out);
	fprintf(out, "\tif (TARE_UNLIKELY((wrong | (at ^ len)) != 0) || TARE_UNLIKELY(!payloads_right(m, b, "
		     "s)))\n\t\tgoto wrong;\n");
	fprintf(out, "\tview->view = (struct tare_codec_view){m, b, s, &%.*s_schema, (uint32_t)len, %s_VERSION};\n",
		SCHEMA_SHOW(s->name), name.text);
	fprintf(out, "\treturn 0;\nwrong: // or of another version\n");
	fprintf(out, "\treturn tare_codec_verify(&%.*s_schema, &view->view, view->local, buf, len, err);\n}\n",
		SCHEMA_SHOW(s->name));
}

// ---- the decoder and the defaults ---------------------------------------------------------------------------------

static void emit_read_leaf(const struct schema *s, const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	if (m->shape != TARE_CODEC_VECTOR && m->kind == TARE_CODEC_UNION) {
		fprintf(out, "\tn = tare_codec_slot_bytes(&view->view, %u);\n", leaf->slot);
		fprintf(out, "\tmemset(&out->%s, 0, sizeof out->%s);\n", leaf->path, leaf->path);
		fprintf(out, "\tout->%s.kind = view->view.block[%u];\n", leaf->path, leaf->offset);
		// One of a newer version may be longer than any that is known.
		fprintf(
		    out,
		    "\tif (out->%s.kind <= %zu)\n\t\tmemcpy(&out->%s.%.*s, tare_codec_slot_ptr(&view->view, %u), n);\n",
		    leaf->path, m->type->count, leaf->path, SCHEMA_SHOW(m->type->members[0].name), leaf->slot);
	} else if (is_fixed_record(m)) {
		fprintf(out, "\tmemcpy(&out->%s, view->view.block + %u, %u);\n", leaf->path, leaf->offset,
			m->type->bytes);
	} else if (m->shape == TARE_CODEC_ARRAY) {
		fprintf(out, "\tmemcpy(out->%s, view->view.block + %u, %u);\n", leaf->path, leaf->offset,
			m->count * schema_scalar_bytes(m->kind));
	} else {
		fprintf(out, "\tout->%s = %.*s_%s(view);\n", leaf->path, SCHEMA_SHOW(s->name), leaf->name);
	}
}

static bool has_unions(const struct schema *s)
{
	for (size_t i = 0; i < s->leaf_count; i++)
		if (s->leaves[i].member->kind == TARE_CODEC_UNION)
			return true;
	return false;
}

static void emit_default(const struct schema *s, const struct schema_leaf *leaf, FILE *out)
{
	const struct schema_member *m = leaf->member;
	if (is_fixed_record(m) && m->type->has_defaults)
		fprintf(out, "\t%.*s_%.*s_init(&out->%s);\n", SCHEMA_SHOW(s->name), SCHEMA_SHOW(m->type->name),
			leaf->path);
	else if (m->has_default)
		fprintf(out, "\tmemcpy(&out->%s, message_defaults + %u, sizeof out->%s);\n", leaf->path, leaf->offset,
			leaf->path);
}

static void emit_plain(const struct schema *s, FILE *out)
{
	for (size_t i = 0; i < s->type_count; i++) {
		const struct schema_type *type = &s->types[i];
		if (type->kind == SCHEMA_RECORD && type->slots == 0)
			fprintf(out,
				"\nvoid %.*s_%.*s_init(struct %.*s_%.*s *out)\n{\n\tmemcpy(out, %.*s_defaults, sizeof "
				"*out);\n}\n",
				SCHEMA_SHOW(s->name), SCHEMA_SHOW(type->name), SCHEMA_SHOW(s->name),
				SCHEMA_SHOW(type->name), SCHEMA_SHOW(type->name));
	}
	fprintf(out, "\nvoid %.*s_init(struct %.*s *out)\n{\n\tmemset(out, 0, sizeof *out);\n", SCHEMA_SHOW(s->name),
		SCHEMA_SHOW(s->name));
	for (size_t i = 0; i < s->leaf_count; i++)
		emit_default(s, &s->leaves[i], out);
	fprintf(out, "}\n\nvoid %.*s_read(struct %.*s *out, const struct %.*s_view *view)\n{\n", SCHEMA_SHOW(s->name),
		SCHEMA_SHOW(s->name), SCHEMA_SHOW(s->name));
	if (has_unions(s))
		fprintf(out, "\tsize_t n;\n");
	for (size_t i = 0; i < s->leaf_count; i++)
		emit_read_leaf(s, &s->leaves[i], out);
	fprintf(out, "}\n");
}

void schema_emit_source(const struct schema *s, FILE *out)
{
	const char *file = strrchr(s->path, '/');
	fprintf(out, "// SPDX-License-Identifier: MIT\n");
	fprintf(out, "// Messages of %.*s, version %u: made by `tare schema compile` of %s, not by hand.\n",
		SCHEMA_SHOW(s->name), s->version, file != NULL ? file + 1 : s->path);
	fprintf(out, "// clang-format off\n#include \"%.*s.tare.h\"\n\n#include <errno.h>\n", SCHEMA_SHOW(s->name));
	emit_tables(s, out);
	emit_wrong_functions(s, out);
	emit_union_sizes(s, out);
	emit_encoder_parts(s, out);
	emit_encoder(s, out);
	emit_verifier(s, out);
	emit_plain(s, out);
}
