// SPDX-License-Identifier: MIT
// Reads a schema's text. A type is declared before it is used, so nothing can hold itself, and one pass suffices.
//
//   file    = { enum | record | union } message
//   enum    = "enum" name "{" name { "," name } [ "," ] "}"
//   record  = "record" name "{" { field } "}"
//   union   = "union" name "{" { name ":" record ";" } "}"
//   message = "message" name "id" number "version" number "{" { field } "}"
//   field   = name ":" type [ "[" [ number ] "]" ] [ "=" value ] [ "since" number ] ";"
//
// `#` and `//` begin comments. Every mistake is told with its place and what to do; the first ends the reading.
#include "cmd/schema/schema.h"

#include <errno.h>
#include <stdlib.h>

enum token_kind { TOKEN_NAME, TOKEN_NUMBER, TOKEN_MARK, TOKEN_END };

struct token {
	enum token_kind kind;
	struct tare_str text;
	struct schema_place at;
};

struct parser {
	struct schema *schema;
	struct tare_error *err;
	const char *p, *line_begin;
	int line;
	struct token token; // the next
};

static const char *const c_words[] = {
    "auto",     "bool",     "break",  "case",     "char",   "const",   "continue", "default",  "do",       "double",
    "else",     "enum",     "extern", "float",    "for",    "goto",    "if",       "inline",   "int",      "long",
    "register", "restrict", "return", "short",    "signed", "sizeof",  "static",   "struct",   "switch",   "typedef",
    "union",    "unsigned", "void",   "volatile", "while",  "asm",     "typeof",   "linux",    "unix",     "true",
    "false",    "class",    "new",    "delete",   "this",   "private", "public",   "template", "operator", "namespace",
    "errno",    "stdin",    "stdout", "stderr",   "NULL",
};

static const char *const kind_names[] = {
    [TARE_CODEC_U8] = "u8",         [TARE_CODEC_U16] = "u16",       [TARE_CODEC_U32] = "u32",
    [TARE_CODEC_U64] = "u64",       [TARE_CODEC_I8] = "i8",         [TARE_CODEC_I16] = "i16",
    [TARE_CODEC_I32] = "i32",       [TARE_CODEC_I64] = "i64",       [TARE_CODEC_F32] = "f32",
    [TARE_CODEC_F64] = "f64",       [TARE_CODEC_BOOL] = "bool",     [TARE_CODEC_ENUM] = "enum",
    [TARE_CODEC_RECORD] = "record", [TARE_CODEC_STRING] = "string", [TARE_CODEC_BYTES] = "bytes",
    [TARE_CODEC_UNION] = "union",
};

int schema_fail(const struct schema *schema, struct schema_place at, struct tare_error *err, const char *format, ...)
{
	char what[400];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return tare_error_set(err, -EINVAL, "%s:%d:%d: %s", schema->path, at.line, at.column, what);
}

const char *schema_kind_name(enum tare_codec_kind kind)
{
	return kind_names[kind];
}

static bool is_text(struct tare_str text, const char *word)
{
	return tare_str_eq(text, (struct tare_str){word, strlen(word)});
}

// ---- tokens -------------------------------------------------------------------------------------------------------

static bool is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void skip_space(struct parser *p)
{
	for (;; p->p++) {
		if (*p->p == '#' || (p->p[0] == '/' && p->p[1] == '/'))
			p->p += strcspn(p->p, "\n");
		if (*p->p == '\n') {
			p->line++;
			p->line_begin = p->p + 1;
		} else if (*p->p != ' ' && *p->p != '\t' && *p->p != '\r') {
			return;
		}
	}
}

static void advance(struct parser *p)
{
	skip_space(p);
	const char *begin = p->p;
	struct token *token = &p->token;
	token->at = (struct schema_place){p->line, (int)(begin - p->line_begin) + 1};
	bool number = (*begin >= '0' && *begin <= '9') || *begin == '-';
	if (*begin == '\0') {
		token->kind = TOKEN_END;
	} else if (number || is_word_char(*begin)) {
		token->kind = number ? TOKEN_NUMBER : TOKEN_NAME;
		p->p++;
		while (is_word_char(*p->p) || (number && (*p->p == '.' || ((*p->p == '+' || *p->p == '-') &&
									   (p->p[-1] == 'e' || p->p[-1] == 'E')))))
			p->p++;
	} else {
		token->kind = TOKEN_MARK;
		do // a whole character
			p->p++;
		while (((unsigned char)*p->p & 0xc0) == 0x80);
	}
	token->text = (struct tare_str){begin, (size_t)(p->p - begin)};
}

static int unexpected(struct parser *p, const char *wanted)
{
	if (p->token.kind == TOKEN_END)
		return schema_fail(p->schema, p->token.at, p->err, "the file ends here; write %s", wanted);
	return schema_fail(p->schema, p->token.at, p->err, "'%.*s' where there should be %s",
			   (int)TARE_MIN(p->token.text.len, (size_t)80), p->token.text.ptr, wanted);
}

static bool take(struct parser *p, const char *text)
{
	if (p->token.kind == TOKEN_END || !is_text(p->token.text, text))
		return false;
	advance(p);
	return true;
}

static int expect(struct parser *p, const char *text)
{
	char wanted[16];
	snprintf(wanted, sizeof wanted, "'%s'", text);
	return take(p, text) ? 0 : unexpected(p, wanted);
}

static int take_name(struct parser *p, struct tare_str *ret, struct schema_place *ret_at, const char *wanted)
{
	struct token token = p->token;
	if (token.kind != TOKEN_NAME)
		return unexpected(p, wanted);
	if (token.text.len > SCHEMA_NAME_MAX)
		return schema_fail(p->schema, token.at, p->err, "a name of %zu bytes; use at most %d", token.text.len,
				   SCHEMA_NAME_MAX);
	for (size_t i = 0; i < token.text.len; i++) {
		char c = token.text.ptr[i];
		if ((c >= 'A' && c <= 'Z') || (i == 0 && c == '_'))
			return schema_fail(p->schema, token.at, p->err,
					   "name '%.*s'; write names as a-z, 0-9 and _, with a letter in front",
					   SCHEMA_SHOW(token.text));
	}
	for (size_t i = 0; i < TARE_ARRAY_LEN(c_words); i++)
		if (is_text(token.text, c_words[i]))
			return schema_fail(p->schema, token.at, p->err,
					   "'%s' means something in C or C++; choose another name", c_words[i]);
	*ret = token.text;
	*ret_at = token.at;
	advance(p);
	return 0;
}

// Decimal, or hexadecimal with 0x; false where it is neither, or does not fit.
static bool to_number(const char *text, const char *end, uint64_t *ret)
{
	char *stopped;
	bool hex = end - text > 2 && text[0] == '0' && text[1] == 'x';
	if (text == end || *text == '-' || *text == '+' || (!hex && *text == '0' && end - text > 1))
		return false;
	errno = 0;
	*ret = strtoull(text, &stopped, hex ? 16 : 10);
	return stopped == end && errno == 0;
}

static int take_number(struct parser *p, uint64_t min, uint64_t max, uint32_t *ret, const char *what)
{
	struct token token = p->token;
	if (token.kind != TOKEN_NUMBER)
		return unexpected(p, what);
	uint64_t value = 0;
	if (!to_number(token.text.ptr, token.text.ptr + token.text.len, &value) || value < min || value > max)
		return schema_fail(p->schema, token.at, p->err, "%s is a number from %llu to %llu, not '%.*s'", what,
				   (unsigned long long)min, (unsigned long long)max, SCHEMA_SHOW(token.text));
	*ret = (uint32_t)value;
	advance(p);
	return 0;
}

// ---- members ------------------------------------------------------------------------------------------------------

// A place for one more, whose name must be new.
static int add_member(struct parser *p, struct schema_type *type, size_t max, struct schema_member **ret,
		      const char *wanted)
{
	struct schema_member made = {.since = 1};
	int rc = take_name(p, &made.name, &made.at, wanted);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < type->count; i++)
		if (tare_str_eq(type->members[i].name, made.name))
			return schema_fail(p->schema, made.at, p->err,
					   "'%.*s' is there already, on line %d; choose another name",
					   SCHEMA_SHOW(made.name), type->members[i].at.line);
	if (type->count == max)
		return schema_fail(p->schema, made.at, p->err, "'%.*s' has more than %zu members; split it",
				   SCHEMA_SHOW(type->name), max);
	if ((type->count & (type->count - 1)) == 0) { // grows at 0, 1, 2, 4, …
		void *grown = realloc(type->members, sizeof made * (type->count == 0 ? 1 : 2 * type->count));
		if (grown == NULL)
			return tare_error_set(p->err, -ENOMEM, "out of memory");
		type->members = grown;
	}
	*ret = &type->members[type->count++];
	**ret = made;
	return 0;
}

static const struct schema_type *find_type(const struct schema *schema, struct tare_str name)
{
	for (size_t i = 0; i < schema->type_count; i++)
		if (tare_str_eq(schema->types[i].name, name))
			return &schema->types[i];
	return NULL;
}

static int parse_type(struct parser *p, struct schema_member *member)
{
	struct token token = p->token;
	if (token.kind != TOKEN_NAME)
		return unexpected(p, "a type");
	advance(p);
	for (int i = 0; i < (int)TARE_ARRAY_LEN(kind_names); i++) {
		if (i == TARE_CODEC_ENUM || i == TARE_CODEC_RECORD || i == TARE_CODEC_UNION)
			continue;
		if (is_text(token.text, kind_names[i])) {
			member->kind = (enum tare_codec_kind)i;
			return 0;
		}
	}
	member->type = find_type(p->schema, token.text);
	if (member->type == NULL)
		return schema_fail(
		    p->schema, token.at, p->err,
		    "unknown type '%.*s'; there are u8 to u64, i8 to i64, f32, f64, bool, string, bytes, and what "
		    "is declared above",
		    (int)TARE_MIN(token.text.len, (size_t)80), token.text.ptr);
	member->kind = member->type->kind == SCHEMA_ENUM    ? TARE_CODEC_ENUM
		       : member->type->kind == SCHEMA_UNION ? TARE_CODEC_UNION
							    : TARE_CODEC_RECORD;
	return 0;
}

static int parse_shape(struct parser *p, struct schema_member *member)
{
	struct schema_place at = p->token.at;
	if (!take(p, "["))
		return 0;
	bool plain = member->kind < TARE_CODEC_RECORD;
	if (take(p, "]")) {
		member->shape = TARE_CODEC_VECTOR;
		if (plain || (member->kind == TARE_CODEC_RECORD && member->type->slots == 0))
			return 0;
		if (member->kind == TARE_CODEC_RECORD)
			return schema_fail(
			    p->schema, at, p->err,
			    "record '%.*s' holds what varies in size, so a vector can't hold it; keep texts in the "
			    "message, or numbers that stand for them",
			    SCHEMA_SHOW(member->type->name));
		return schema_fail(p->schema, at, p->err, "a vector holds numbers, bools, enums or records, no %s",
				   kind_names[member->kind]);
	}
	member->shape = TARE_CODEC_ARRAY;
	if (!plain)
		return schema_fail(p->schema, at, p->err, "an array holds numbers, bools or enums; write a vector: []");
	int rc = take_number(p, 1, TARE_CODEC_BLOCK_BYTES_MAX, &member->count, "an array's length");
	return rc < 0 ? rc : expect(p, "]");
}

// ---- defaults -----------------------------------------------------------------------------------------------------

static int bad_default(struct parser *p, const struct token *token, const struct schema_member *member)
{
	return schema_fail(p->schema, token->at, p->err, "'%.*s' is no value of %s; write one, or leave '=' out for 0",
			   (int)TARE_MIN(token->text.len, (size_t)80), token->text.ptr, kind_names[member->kind]);
}

static bool integer_default(struct tare_str text, struct schema_member *member)
{
	bool is_signed = member->kind >= TARE_CODEC_I8, negative = text.ptr[0] == '-';
	unsigned bits = 8 * schema_scalar_bytes(member->kind) - is_signed;
	uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	uint64_t value = 0;
	if (!to_number(text.ptr + negative, text.ptr + text.len, &value))
		return false;
	if (value > max + (negative && is_signed) || (negative && !is_signed && value != 0))
		return false;
	value = negative ? -value : value;
	memcpy(member->value, &value, sizeof value);
	return true;
}

static bool float_default(struct tare_str text, struct schema_member *member)
{
	char *end;
	double value = strtod(text.ptr, &end);
	float single = strtof(text.ptr, NULL);
	bool is_f32 = member->kind == TARE_CODEC_F32;
	if (end != text.ptr + text.len || !(is_f32 ? __builtin_isfinite(single) : __builtin_isfinite(value)))
		return false;
	if (is_f32)
		memcpy(member->value, &single, sizeof single);
	else
		memcpy(member->value, &value, sizeof value);
	return true;
}

static bool name_default(struct tare_str text, struct schema_member *member)
{
	if (member->kind == TARE_CODEC_BOOL) {
		member->value[0] = is_text(text, "true");
		return member->value[0] != 0 || is_text(text, "false");
	}
	for (size_t i = 0; i < member->type->count; i++)
		if (tare_str_eq(member->type->members[i].name, text)) {
			member->value[0] = (unsigned char)i;
			return true;
		}
	return false;
}

static int parse_default(struct parser *p, struct schema_member *member)
{
	struct token token = p->token;
	if (!take(p, "="))
		return 0;
	if (member->shape != TARE_CODEC_ONE || member->kind >= TARE_CODEC_RECORD)
		return schema_fail(
		    p->schema, token.at, p->err,
		    "only a single number, bool or enum has a default; leave '=' out: the default is empty or 0");
	token = p->token;
	bool good = false;
	if (member->kind == TARE_CODEC_BOOL || member->kind == TARE_CODEC_ENUM)
		good = token.kind == TOKEN_NAME && name_default(token.text, member);
	else if (token.kind == TOKEN_NUMBER)
		good = member->kind == TARE_CODEC_F32 || member->kind == TARE_CODEC_F64
			   ? float_default(token.text, member)
			   : integer_default(token.text, member);
	if (!good)
		return bad_default(p, &token, member);
	member->has_default = true;
	advance(p);
	return 0;
}

// ---- declarations -------------------------------------------------------------------------------------------------

static int parse_since(struct parser *p, const struct schema_type *type, struct schema_member *member)
{
	struct token token = p->token;
	uint32_t before = type->count > 1 ? type->members[type->count - 2].since : 1;
	if (take(p, "since")) {
		if (type != &p->schema->root)
			return schema_fail(
			    p->schema, token.at, p->err,
			    "a record never changes; declare another, and append a field that holds it to the message");
		token = p->token;
		int rc = take_number(p, 1, p->schema->version, &member->since, "since, up to the message's version,");
		if (rc < 0)
			return rc;
	}
	if (member->since < before)
		return schema_fail(p->schema, token.at, p->err,
				   "'%.*s' is since version %u and stands behind one since %u; append it: since %u",
				   SCHEMA_SHOW(member->name), member->since, before, p->schema->version);
	return 0;
}

static int parse_field(struct parser *p, struct schema_type *type)
{
	struct schema_member *member = NULL;
	int rc = add_member(p, type, TARE_CODEC_FIELDS_MAX, &member, "a field's name or '}'");
	if (rc == 0)
		rc = expect(p, ":");
	if (rc == 0)
		rc = parse_type(p, member);
	if (rc == 0)
		rc = parse_shape(p, member);
	if (rc == 0)
		rc = parse_default(p, member);
	if (rc == 0)
		rc = parse_since(p, type, member);
	return rc == 0 ? expect(p, ";") : rc;
}

static int parse_value(struct parser *p, struct schema_type *type)
{
	struct schema_member *member = NULL;
	int rc = add_member(p, type, SCHEMA_NAMES_MAX, &member, "a value's name or '}'");
	if (rc == 0 && !take(p, ",") && !is_text(p->token.text, "}"))
		rc = unexpected(p, "',' or '}'; values are numbered 0, 1, 2, … in their order");
	return rc;
}

static int parse_variant(struct parser *p, struct schema_type *type)
{
	struct schema_member *member = NULL;
	int rc = add_member(p, type, SCHEMA_NAMES_MAX, &member, "a variant's name or '}'");
	if (rc == 0)
		rc = expect(p, ":");
	struct schema_place at = p->token.at;
	if (rc == 0)
		rc = parse_type(p, member);
	if (rc == 0 && (member->kind != TARE_CODEC_RECORD || member->type->slots > 0))
		rc = schema_fail(p->schema, at, p->err,
				 "a variant is a record of fixed size; declare one above the union and name it here");
	return rc == 0 ? expect(p, ";") : rc;
}

static int parse_body(struct parser *p, struct schema_type *type,
		      int (*parse_one)(struct parser *, struct schema_type *))
{
	int rc = expect(p, "{");
	while (rc == 0 && !take(p, "}"))
		rc = parse_one(p, type);
	if (rc == 0 && type->count == 0)
		rc = schema_fail(p->schema, type->at, p->err, "'%.*s' is empty; give it a member",
				 SCHEMA_SHOW(type->name));
	return rc;
}

// What the record's users need to know; places come with schema_layout.
static void sum_up(struct schema_type *type)
{
	for (size_t i = 0; i < type->count; i++) {
		const struct schema_member *m = &type->members[i];
		const struct schema_type *inner = m->kind == TARE_CODEC_RECORD ? m->type : NULL;
		bool varying = schema_is_varying(m);
		type->slots += varying ? 1 : inner != NULL ? inner->slots : 0;
		if (inner != NULL)
			type->depth = TARE_MAX(type->depth, inner->depth + 1);
		type->checked |= varying || schema_value_count(m) > 0 || (inner != NULL && inner->checked);
		type->has_defaults |= inner != NULL && !varying && inner->has_defaults;
		for (size_t b = 0; b < sizeof m->value; b++)
			type->has_defaults |= m->value[b] != 0;
	}
}

static int parse_message(struct parser *p)
{
	struct schema *schema = p->schema;
	int rc = take_name(p, &schema->name, &schema->at, "the message's name");
	if (rc == 0 && schema->name.len >= 4 && memcmp(schema->name.ptr, "tare", 4) == 0)
		rc = schema_fail(schema, schema->at, p->err,
				 "names that begin with 'tare' are the library's; choose another");
	schema->root.name = schema->name;
	schema->root.at = schema->at;
	schema->root.kind = SCHEMA_RECORD;
	if (rc == 0)
		rc = expect(p, "id");
	if (rc == 0)
		rc = take_number(p, 1, UINT32_MAX, &schema->id, "an id");
	if (rc == 0)
		rc = expect(p, "version");
	if (rc == 0)
		rc = take_number(p, 1, SCHEMA_VERSION_MAX, &schema->version, "a version");
	if (rc == 0)
		rc = parse_body(p, &schema->root, parse_field);
	if (rc == 0 && p->token.kind != TOKEN_END)
		rc = schema_fail(schema, p->token.at, p->err,
				 "the message ends a file; declare types above it, other messages "
				 "in files of their own");
	if (rc == 0)
		sum_up(&schema->root);
	return rc;
}

static int parse_declaration(struct parser *p, enum schema_type_kind kind)
{
	static int (*const parse_one[])(struct parser *, struct schema_type *) = {
	    [SCHEMA_ENUM] = parse_value, [SCHEMA_UNION] = parse_variant, [SCHEMA_RECORD] = parse_field};
	struct schema *schema = p->schema;
	if (schema->type_count == SCHEMA_TYPES_MAX)
		return schema_fail(schema, p->token.at, p->err, "more than %d types; split the schema",
				   SCHEMA_TYPES_MAX);
	struct schema_type *type = &schema->types[schema->type_count];
	type->kind = kind;
	int rc = take_name(p, &type->name, &type->at, "a name");
	if (rc == 0 && is_text(type->name, "message"))
		rc = schema_fail(schema, type->at, p->err,
				 "only the message itself has tables of that name; choose another");
	const struct schema_type *same = rc == 0 ? find_type(schema, type->name) : NULL;
	if (same != NULL)
		rc = schema_fail(schema, type->at, p->err, "'%.*s' is there already, on line %d; choose another name",
				 SCHEMA_SHOW(type->name), same->at.line);
	if (rc == 0)
		rc = parse_body(p, type, parse_one[kind]);
	schema->type_count++; // found from here on, and freed
	if (rc == 0)
		sum_up(type);
	return rc;
}

static int parse_file(struct parser *p)
{
	int rc = 0;
	while (rc == 0) {
		if (take(p, "message"))
			return parse_message(p);
		if (take(p, "enum"))
			rc = parse_declaration(p, SCHEMA_ENUM);
		else if (take(p, "union"))
			rc = parse_declaration(p, SCHEMA_UNION);
		else if (take(p, "record"))
			rc = parse_declaration(p, SCHEMA_RECORD);
		else
			rc = unexpected(p, "enum, union, record or message");
	}
	return rc;
}

static int read_text(struct schema *schema, const char *path, struct tare_error *err)
{
	FILE *file = fopen(path, "re");
	schema->text = calloc(1, SCHEMA_FILE_BYTES_MAX + 2);
	size_t n = file != NULL && schema->text != NULL ? fread(schema->text, 1, SCHEMA_FILE_BYTES_MAX + 1, file) : 0;
	int failed = file == NULL || ferror(file) ? errno : schema->text == NULL ? ENOMEM : 0;
	if (file != NULL)
		fclose(file);
	if (failed != 0)
		return tare_error_set(err, -failed, "%s: %s", path, strerror(failed));
	if (n > SCHEMA_FILE_BYTES_MAX)
		return tare_error_set(err, -EFBIG, "%s: longer than a schema may be, %d bytes", path,
				      SCHEMA_FILE_BYTES_MAX);
	if (strlen(schema->text) != n)
		return tare_error_set(err, -EINVAL, "%s: holds a zero byte; a schema is text", path);
	return 0;
}

int schema_parse(struct schema *schema, const char *path, struct tare_error *err)
{
	schema->path = path;
	int rc = read_text(schema, path, err);
	if (rc < 0)
		return rc;
	struct parser p = {.schema = schema, .err = err, .p = schema->text, .line_begin = schema->text, .line = 1};
	advance(&p);
	return parse_file(&p);
}

void schema_done(struct schema *schema)
{
	for (size_t i = 0; i < schema->type_count; i++)
		free(schema->types[i].members);
	free(schema->root.members);
	free(schema->leaves);
	free(schema->text);
}
