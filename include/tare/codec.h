// SPDX-License-Identifier: MIT
//
// codec: binary messages that are verified once and then read in place. What `tare schema compile` writes of a schema
// stands on this; docs/codec.md tells of the schema language and of what is generated.
//
// A message, little-endian, packed, at any address:
//
//   0        4         6       8       12
//   | schema | version | slots | total | block | fixed block | slots × (offset, bytes) | payloads |
//     u32      u16       u16     u32     u32     block bytes   u32, u32
//
// The rules that make a message valid:
//   - total is the number of bytes given; schema is the reader's.
//   - Payloads lie in the order of their slots, the first right behind the slots, each right behind the one before it,
//     and the last ends at total. So there are no gaps, overlaps or cycles, and one pass forward verifies.
//   - The fixed block and the elements of vectors are packed, without padding. A bool is 0 or 1, an enum's value has a
//     name, a string is UTF-8, a vector holds whole elements, a union has the size of the variant that its tag names.
//   - A message of the reader's version, or of an older one, has exactly that version's block and slots. One of a newer
//     version has at least the reader's; what it has more is not looked into, and an enum's value or a union's tag that
//     the reader does not know is allowed.
//
// The same values of the same version always give the same bytes. Nothing here blocks, recurses, or calls the heap.
// Everything may be called from any thread; a view is read by as many as like.
#ifndef TARE_CODEC_H
#define TARE_CODEC_H

#include <tare/base.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are read in place");

#define TARE_CODEC_HEAD_BYTES 16
#define TARE_CODEC_SLOT_BYTES 8

// ---- what a schema says -------------------------------------------------------------------------------------------

// `tare schema compile` writes these; programs pass them on.
enum tare_codec_kind {
	TARE_CODEC_U8,
	TARE_CODEC_U16,
	TARE_CODEC_U32,
	TARE_CODEC_U64,
	TARE_CODEC_I8,
	TARE_CODEC_I16,
	TARE_CODEC_I32,
	TARE_CODEC_I64,
	TARE_CODEC_F32,
	TARE_CODEC_F64,
	TARE_CODEC_BOOL,
	TARE_CODEC_ENUM,
	TARE_CODEC_RECORD,
	TARE_CODEC_STRING,
	TARE_CODEC_BYTES,
	TARE_CODEC_UNION,
};
enum tare_codec_shape { TARE_CODEC_ONE, TARE_CODEC_ARRAY, TARE_CODEC_VECTOR };

// The names of an enum's values, or a union's variants: those of 0 and of 1.
struct tare_codec_names {
	const char *name;
	uint16_t count;
	const char *const *names;
	const struct tare_codec_record *const *records; // of a union: what variant i, whose tag is i + 1, holds
};

struct tare_codec_field {
	const char *name;
	uint8_t name_bytes;
	uint8_t kind, shape;
	uint8_t element_bytes; // of a number, a bool or an enum
	uint16_t slot;         // of what varies: within its record's slots
	uint32_t offset;       // of what is fixed, and of a union's tag: within its record's bytes
	uint32_t count;        // of an array's elements
	const struct tare_codec_record *record;
	const struct tare_codec_names *names;
};

struct tare_codec_record {
	const char *name;
	const struct tare_codec_field *fields;
	const unsigned char *defaults; // bytes of them
	uint32_t bytes;
	uint16_t field_count, slots;
	bool checked; // not every sequence of bytes is valid
};

// What a version's messages have: the first is that of version 1.
struct tare_codec_version {
	uint32_t block_bytes;
	uint32_t slots;
};

struct tare_codec_schema {
	const char *name;
	const struct tare_codec_record *root;
	const struct tare_codec_version *versions;
	uint32_t id;
	uint16_t version;
};

// Bounds of what a schema may say, which `tare schema compile` holds it to.
#define TARE_CODEC_FIELDS_MAX 256
#define TARE_CODEC_SLOTS_MAX 256
#define TARE_CODEC_NEST_MAX 8
#define TARE_CODEC_BLOCK_BYTES_MAX 65536

// ---- messages -----------------------------------------------------------------------------------------------------

struct tare_codec_head {
	uint32_t schema;
	uint16_t version, slots;
	uint32_t total_bytes, block_bytes;
};

// The head of what begins at buf, unverified: for finding a message's end in a stream, and its schema. -EAGAIN: fewer
// than TARE_CODEC_HEAD_BYTES are there. -EBADMSG: its parts don't fit into its total.
TARE_MUST_USE int tare_codec_peek(struct tare_codec_head *ret, const void *buf, size_t len);

// A verified message; it points into the caller's bytes, which must stay as they are, and where the message is of an
// older version with a shorter block into the generated view around it, which must then stay where it is.
struct tare_codec_view {
	const unsigned char *base, *block, *slots;
	const struct tare_codec_schema *schema;
	uint32_t total_bytes;
	uint16_t version; // the message's
};

// Verifies by the schema's tables, and says what is wrong: `byte N: rule`. The generated verifiers come here for
// messages of other versions, and for the text of an error. local: block and slots of the schema's version, used for
// older messages. -EBADMSG with a text; the view is written only on success. Some fifteen times a generated verifier's
// time.
TARE_MUST_USE int tare_codec_verify(const struct tare_codec_schema *schema, struct tare_codec_view *view,
				    unsigned char *local, const void *buf, size_t len, struct tare_error *err);

// Strict UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF.
bool tare_codec_utf8(const void *text, size_t len);

// ---- JSON ---------------------------------------------------------------------------------------------------------

struct tare_codec_limits {
	size_t text_bytes_max; // of JSON; 0: 1 MiB, at most 4 GiB - 1
	unsigned depth_max;    // of objects and arrays in each other; 0: 32, at most 1024
	bool skip_unknown;     // keys that the schema does not have are passed over, not refused
};

// Whether text is one JSON document by RFC 8259 and nothing else: UTF-8 without a byte order mark, no lone surrogate,
// within the limits (NULL: the defaults). Keys are not looked at. -EBADMSG, or -EMSGSIZE past a limit, with a text:
// `byte N: rule`.
TARE_MUST_USE int tare_codec_json_check(const char *text, size_t len, const struct tare_codec_limits *limits,
					struct tare_error *err);

// Writes a message of the schema's version from JSON into buf. A key that is missing takes the field's default; a key
// that comes twice in an object, or that the schema does not have, is refused. The bytes written; -EBADMSG or -EMSGSIZE
// as above; -ENOSPC where cap does not suffice. buf is garbage after an error.
TARE_MUST_USE ssize_t tare_codec_json_read(const struct tare_codec_schema *schema, void *buf, size_t cap,
					   const char *text, size_t len, const struct tare_codec_limits *limits,
					   struct tare_error *err);

// Writes a message as JSON, without spaces, in the schema's order; no NUL. Of a message of the schema's version,
// reading it back gives the same bytes. The bytes that the text takes: where that is more than cap, only cap of them
// were written. -EDOM where a float is not finite, which JSON can't say.
TARE_MUST_USE ssize_t tare_codec_json_write(const struct tare_codec_view *view, char *buf, size_t cap,
					    struct tare_error *err);

// The same for people: a line a field, indented, and whatever the floats are. No NUL.
TARE_MUST_USE ssize_t tare_codec_print(const struct tare_codec_view *view, char *buf, size_t cap);

// ---- what generated code is made of -------------------------------------------------------------------------------

// Numbers at any address, in bytes of any type.
#define TARE_CODEC_ANYWHERE __attribute__((aligned(1), may_alias))
typedef TARE_CODEC_ANYWHERE bool tare_codec_bool;
typedef TARE_CODEC_ANYWHERE int8_t tare_codec_i8;
typedef TARE_CODEC_ANYWHERE uint16_t tare_codec_u16;
typedef TARE_CODEC_ANYWHERE uint32_t tare_codec_u32;
typedef TARE_CODEC_ANYWHERE uint64_t tare_codec_u64;
typedef TARE_CODEC_ANYWHERE int16_t tare_codec_i16;
typedef TARE_CODEC_ANYWHERE int32_t tare_codec_i32;
typedef TARE_CODEC_ANYWHERE int64_t tare_codec_i64;
typedef TARE_CODEC_ANYWHERE float tare_codec_f32;
typedef TARE_CODEC_ANYWHERE double tare_codec_f64;
#define TARE_CODEC_PAIR __attribute__((vector_size(16), aligned(1), may_alias))
typedef TARE_CODEC_PAIR uint64_t tare_codec_block16;

#define TARE_CODEC_LOAD(type, p) (*(const type *)(const void *)(p))
#define TARE_CODEC_STORE(type, p, value) ((void)(*(type *)(void *)(p) = (type)(value)))

static inline const unsigned char *tare_codec_slot_ptr(const struct tare_codec_view *view, unsigned slot)
{
	return view->base + TARE_CODEC_LOAD(tare_codec_u32, view->slots + slot * 8);
}

static inline size_t tare_codec_slot_bytes(const struct tare_codec_view *view, unsigned slot)
{
	return TARE_CODEC_LOAD(tare_codec_u32, view->slots + slot * 8 + 4);
}

static inline struct tare_str tare_codec_slot_str(const struct tare_codec_view *view, unsigned slot)
{
	uint64_t word = TARE_CODEC_LOAD(tare_codec_u64, view->slots + slot * 8);
	return (struct tare_str){(const char *)view->base + (uint32_t)word, (size_t)(word >> 32)};
}

// Not zero where a byte of the text is not ASCII.
static inline uint64_t tare_codec_high_bits(const unsigned char *p, size_t n)
{
	uint64_t seen = 0;
	if (n >= 16) {
		const unsigned char *last = p + n - 16;
		tare_codec_block16 all = TARE_CODEC_LOAD(tare_codec_block16, last);
		for (; p < last; p += 16)
			all |= TARE_CODEC_LOAD(tare_codec_block16, p);
		seen = all[0] | all[1];
	} else if (n >= 8) {
		seen = TARE_CODEC_LOAD(tare_codec_u64, p) | TARE_CODEC_LOAD(tare_codec_u64, p + n - 8);
	} else if (n >= 4) {
		seen = TARE_CODEC_LOAD(tare_codec_u32, p) | TARE_CODEC_LOAD(tare_codec_u32, p + n - 4);
	} else if (n > 0) {
		seen = (uint64_t)p[0] | p[n / 2] | p[n - 1];
	}
	return seen & UINT64_C(0x8080808080808080);
}

// Copies a text, and says what tare_codec_high_bits says of it. Short texts are what messages hold: a call of memcpy
// costs more than copying them.
static inline uint64_t tare_codec_copy_text(unsigned char *out, const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	uint64_t seen = 0;
	if (n >= 16) {
		unsigned char *out_last = out + n - 16;
		tare_codec_block16 tail = TARE_CODEC_LOAD(tare_codec_block16, p + n - 16), all = tail;
		for (; out < out_last; p += 16, out += 16) {
			tare_codec_block16 block = TARE_CODEC_LOAD(tare_codec_block16, p);
			TARE_CODEC_STORE(tare_codec_block16, out, block);
			all |= block;
		}
		TARE_CODEC_STORE(tare_codec_block16, out_last, tail);
		seen = all[0] | all[1];
	} else if (n >= 8) {
		uint64_t a = TARE_CODEC_LOAD(tare_codec_u64, p), b = TARE_CODEC_LOAD(tare_codec_u64, p + n - 8);
		TARE_CODEC_STORE(tare_codec_u64, out, a);
		TARE_CODEC_STORE(tare_codec_u64, out + n - 8, b);
		seen = a | b;
	} else if (n >= 4) {
		uint32_t a = TARE_CODEC_LOAD(tare_codec_u32, p), b = TARE_CODEC_LOAD(tare_codec_u32, p + n - 4);
		TARE_CODEC_STORE(tare_codec_u32, out, a);
		TARE_CODEC_STORE(tare_codec_u32, out + n - 4, b);
		seen = a | b;
	} else if (n > 0) {
		unsigned char a = p[0], b = p[n / 2], c = p[n - 1];
		out[0] = a;
		out[n / 2] = b;
		out[n - 1] = c;
		seen = (uint64_t)a | b | c;
	}
	return seen & UINT64_C(0x8080808080808080);
}

// Not zero where one of count bytes is limit or more.
static inline uint64_t tare_codec_past(const unsigned char *p, size_t count, unsigned limit)
{
	uint64_t past = 0;
	for (size_t i = 0; i < count; i++)
		past |= p[i] >= limit;
	return past;
}

// A slot that begins at `at` and has n bytes.
static inline void tare_codec_slot_put(unsigned char *slots, unsigned slot, uint64_t at, uint64_t n)
{
	TARE_CODEC_STORE(tare_codec_u64, slots + slot * 8, n << 32 | at);
}

#endif
