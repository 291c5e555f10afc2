// SPDX-License-Identifier: MIT
// `tare schema`: a schema as it is parsed and laid out, and what is done with it.
//
// Order: schema_parse fills everything but places; schema_layout gives each field its place and refuses names that
// would collide in C; then schema_check compares two, or schema_emit_header and schema_emit_source write C. One thread.
// Ownership: a schema owns its text, into which all names point, and its lists; schema_done frees them.
#ifndef TARE_CMD_SCHEMA_H
#define TARE_CMD_SCHEMA_H

#include <stdio.h>

#include <tare/codec.h>

enum {
	SCHEMA_TYPES_MAX = 256,
	SCHEMA_NAME_MAX = 64,   // bytes of a name
	SCHEMA_NAMES_MAX = 255, // of an enum or a union
	SCHEMA_VERSION_MAX = 255,
	SCHEMA_FILE_BYTES_MAX = 1 << 20,
	SCHEMA_PATH_MAX = (SCHEMA_NAME_MAX + 1) * (TARE_CODEC_NEST_MAX + 1),
};

struct schema_place {
	int line, column; // from 1
};

enum schema_type_kind { SCHEMA_ENUM, SCHEMA_UNION, SCHEMA_RECORD };

struct schema_type;

// A field, an enum's value, or a union's variant (whose type is a record).
struct schema_member {
	struct tare_str name;
	struct schema_place at;
	enum tare_codec_kind kind;
	enum tare_codec_shape shape;
	const struct schema_type *type; // of an enum, a record or a union
	uint32_t count;                 // an array's elements
	uint32_t since;
	bool has_default;
	unsigned char value[8]; // the default, as it stands in a message
	uint32_t offset;        // within the record
	uint32_t slot;
};

struct schema_type {
	struct tare_str name;
	struct schema_place at;
	enum schema_type_kind kind;
	struct schema_member *members;
	size_t count;
	uint32_t bytes, slots, depth;
	bool checked;      // not every sequence of its bytes is valid
	bool has_defaults; // its default is not all zeros
};

// A field of the message that is not entered: everything but records that hold what varies.
struct schema_leaf {
	const struct schema_member *member;
	char path[SCHEMA_PATH_MAX]; // "site.domain"
	char name[SCHEMA_PATH_MAX]; // "site_domain"
	uint32_t offset, slot;      // within the block, among the message's slots
};

struct schema {
	const char *path;
	char *text;
	struct tare_str name;
	struct schema_place at;
	uint32_t id, version;
	struct schema_type types[SCHEMA_TYPES_MAX];
	size_t type_count;
	struct schema_type root;
	struct schema_leaf *leaves;
	size_t leaf_count;
	struct tare_codec_version versions[SCHEMA_VERSION_MAX];
};

// Arguments for "%.*s".
#define SCHEMA_SHOW(name) (int)(name).len, (name).ptr

// All errors are of the form FILE:LINE:COLUMN: what; what to do. -EINVAL, or what reading the file gave.
TARE_MUST_USE int schema_parse(struct schema *schema, const char *path, struct tare_error *err);
TARE_MUST_USE int schema_layout(struct schema *schema, struct tare_error *err);
void schema_done(struct schema *schema);
int schema_fail(const struct schema *schema, struct schema_place at, struct tare_error *err, const char *format, ...)
    TARE_PRINTF(4, 5);

// What newer must not do to messages of older. Prints a line each into out; how many.
size_t schema_check(const struct schema *older, const struct schema *newer, FILE *out);

// The name as it is in C's constants.
struct schema_upper {
	char text[SCHEMA_NAME_MAX + 1];
};
struct schema_upper schema_upper(struct tare_str name);
// A number, bool or enum as C's type.
const char *schema_c_type(enum tare_codec_kind kind);
uint32_t schema_scalar_bytes(enum tare_codec_kind kind);
const char *schema_kind_name(enum tare_codec_kind kind);
// How many values the kind has, for those that not all bytes are valid for; otherwise 0.
uint32_t schema_value_count(const struct schema_member *member);
uint32_t schema_element_bytes(const struct schema_member *member);
bool schema_is_varying(const struct schema_member *member);
void schema_default_bytes(const struct schema_type *record, unsigned char *out);

void schema_emit_header(const struct schema *schema, FILE *out);
void schema_emit_source(const struct schema *schema, FILE *out);

#endif
