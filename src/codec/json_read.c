// SPDX-License-Identifier: MIT
// Writes a message from JSON, straight into the caller's buffer.
//
// Two passes, because keys come in any order and payloads lie in the order of their slots. The first pass goes over the
// text once: it fills the fixed block and notes where the value of each slot begins. The second goes over the slots and
// writes the payloads one behind the other. So no heap is needed, and what the first pass passed over the second reads.
// No recursion: nested records are entered with a stack (struct reader). Pure functions.
// Rejected: a tree of the document (memory as a multiple of the text); requiring the schema's order of keys.
#include "codec/codec_int.h"

#include <errno.h>
#include <inttypes.h>

enum { KEY_BYTES_MAX = 256 };

// Where a slot's value stands in the text.
struct found {
	const struct tare_codec_field *field;
	const unsigned char *value;
	uint32_t tag_at; // of a union: within the message
};

struct read_frame {
	const struct tare_codec_record *record;
	unsigned char *bytes;
	uint64_t seen[TARE_CODEC_FIELDS_MAX / 64];
	uint16_t slot, expected; // its first slot; the field that comes next if keys are in order
	bool first;
};

struct reader {
	struct codec_json json;
	unsigned char *buf, *limit; // the message, and the buffer's end
	struct found *found;        // by slot; NULL in the second pass
	size_t depth;
	bool skip_unknown;
	struct read_frame stack[CODEC_STACK_MAX];
};

// ---- numbers ------------------------------------------------------------------------------------------------------

static int out_of_range(struct reader *r, const struct codec_number *number, const struct tare_codec_field *field)
{
	return codec_json_fail(&r->json, -EBADMSG, number->text, "%.*s does not fit into %s",
			       (int)TARE_MIN(number->bytes, (size_t)40), number->text, field->name);
}

static int read_integer(struct reader *r, const struct tare_codec_field *field, unsigned char *out)
{
	struct codec_number number;
	int rc = codec_json_number(&r->json, &number);
	if (rc < 0)
		return rc;
	if (!number.integer)
		return codec_json_fail(&r->json, -EBADMSG, number.text,
				       "%s takes whole numbers, without fraction or exponent", field->name);
	bool is_signed = field->kind >= TARE_CODEC_I8;
	unsigned bits = 8U * field->element_bytes - is_signed;
	uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	if (number.negative && is_signed)
		max++;
	else if (number.negative && number.digits != 0)
		return out_of_range(r, &number, field);
	if (!number.exact || number.digits > max)
		return out_of_range(r, &number, field);
	uint64_t value = number.negative ? -number.digits : number.digits;
	memcpy(out, &value, field->element_bytes); // little-endian
	return 0;
}

static int read_float(struct reader *r, const struct tare_codec_field *field, unsigned char *out)
{
	struct codec_number number;
	int rc = codec_json_number(&r->json, &number);
	if (rc < 0)
		return rc;
	double f64 = 0;
	float f32 = 0;
	rc = field->kind == TARE_CODEC_F64 ? codec_f64_read(&number, &f64) : codec_f32_read(&number, &f32);
	if (rc < 0)
		return out_of_range(r, &number, field);
	if (field->kind == TARE_CODEC_F64)
		memcpy(out, &f64, sizeof f64);
	else
		memcpy(out, &f32, sizeof f32);
	return 0;
}

// The string that follows as one of the names: its position, or a negative errno.
static int read_name(struct reader *r, const struct tare_codec_names *names)
{
	unsigned char text[KEY_BYTES_MAX];
	codec_json_space(&r->json);
	const unsigned char *at = r->json.p;
	ssize_t n = codec_json_string(&r->json, text, sizeof text);
	if (n < 0)
		return (int)n;
	for (int i = 0; i < names->count; i++)
		if (strlen(names->names[i]) == (size_t)n && memcmp(names->names[i], text, (size_t)n) == 0)
			return i;
	return codec_json_fail(&r->json, -EBADMSG, at, "%s has no '%.*s'", names->name, (int)TARE_MIN(n, 80), text);
}

static int read_scalar(struct reader *r, const struct tare_codec_field *field, unsigned char *out)
{
	bool value = false;
	int rc;
	switch ((enum tare_codec_kind)field->kind) {
	case TARE_CODEC_F32:
	case TARE_CODEC_F64:
		return read_float(r, field, out);
	case TARE_CODEC_BOOL:
		rc = codec_json_bool(&r->json, &value);
		if (rc == 0)
			*out = value;
		return rc;
	case TARE_CODEC_ENUM:
		rc = read_name(r, field->names);
		if (rc < 0)
			return rc;
		*out = (unsigned char)rc;
		return 0;
	default:
		return read_integer(r, field, out);
	}
}

static int begin(struct reader *r, unsigned char c, const struct tare_codec_field *field)
{
	codec_json_space(&r->json);
	if (r->json.p == r->json.end || *r->json.p != c)
		return codec_json_fail(&r->json, -EBADMSG, r->json.p, "%s takes %s", field->name,
				       c == '[' ? "an array" : "an object");
	return codec_json_enter(&r->json);
}

// Behind an element: 1, another follows; 0, the array has ended.
static int array_goes_on(struct reader *r)
{
	if (codec_json_take(&r->json, ','))
		return 1;
	if (codec_json_take(&r->json, ']')) {
		r->json.depth--;
		return 0;
	}
	return codec_json_fail(&r->json, -EBADMSG, r->json.p, "',' or ']' is missing");
}

static int read_array(struct reader *r, const struct tare_codec_field *field, unsigned char *out)
{
	int rc = begin(r, '[', field);
	for (uint32_t i = 0; rc >= 0 && i < field->count; i++) {
		rc = read_scalar(r, field, out + i * field->element_bytes);
		if (rc == 0)
			rc = array_goes_on(r);
		if (rc >= 0 && rc != (i + 1 < field->count))
			rc = codec_json_fail(&r->json, -EBADMSG, r->json.p, "%s takes %" PRIu32 " elements",
					     field->name, field->count);
	}
	return rc;
}

// ---- records ------------------------------------------------------------------------------------------------------

static int push(struct reader *r, const struct tare_codec_record *record, unsigned char *bytes, uint16_t slot)
{
	TARE_ASSERT(r->depth < CODEC_STACK_MAX);
	struct read_frame *frame = &r->stack[r->depth++];
	*frame = (struct read_frame){.record = record, .bytes = bytes, .slot = slot, .first = true};
	codec_json_space(&r->json);
	if (r->json.p == r->json.end || *r->json.p != '{')
		return codec_json_fail(&r->json, -EBADMSG, r->json.p, "%s takes an object", record->name);
	return codec_json_enter(&r->json);
}

static bool has_name(const struct tare_codec_field *field, const unsigned char *name, size_t n)
{
	return field->name_bytes == n && memcmp(field->name, name, n) == 0;
}

// The field of this name, most likely the one behind the last; field_count where there is none.
static unsigned find_field(struct read_frame *frame, const unsigned char *name, size_t n)
{
	const struct tare_codec_record *record = frame->record;
	unsigned i = frame->expected;
	if (i >= record->field_count || !has_name(&record->fields[i], name, n))
		for (i = 0; i < record->field_count && !has_name(&record->fields[i], name, n); i++)
			;
	frame->expected = (uint16_t)(i + 1);
	return i;
}

// Whether the key that is expected stands there just so, and its colon; nearly always it does.
static bool take_expected(struct codec_json *json, const struct tare_codec_field *field)
{
	size_t n = field->name_bytes;
	if ((size_t)(json->end - json->p) < n + 3 || json->p[0] != '"' || memcmp(json->p + 1, field->name, n) != 0 ||
	    json->p[n + 1] != '"' || json->p[n + 2] != ':')
		return false;
	json->p += n + 3;
	return true;
}

// The key that follows, and its colon. *ret: NULL where it is unknown and its value was passed over.
static int read_key(struct reader *r, struct read_frame *frame, const struct tare_codec_field **ret)
{
	unsigned char name[KEY_BYTES_MAX];
	codec_json_space(&r->json);
	const unsigned char *at = r->json.p;
	unsigned i = frame->expected;
	*ret = NULL;
	// Fields come once in order, so one that is expected is not seen yet, unless the order was broken.
	if (i < frame->record->field_count && (frame->seen[i / 64] >> i % 64 & 1) == 0 &&
	    take_expected(&r->json, &frame->record->fields[i])) {
		frame->expected = (uint16_t)(i + 1);
		frame->seen[i / 64] |= UINT64_C(1) << i % 64;
		*ret = &frame->record->fields[i];
		return 0;
	}
	ssize_t n = codec_json_string(&r->json, name, sizeof name);
	if (n < 0)
		return (int)n;
	int shown = (int)TARE_MIN(n, 80);
	if (!codec_json_take(&r->json, ':'))
		return codec_json_fail(&r->json, -EBADMSG, r->json.p, "':' is missing");
	i = find_field(frame, name, (size_t)n);
	if (i == frame->record->field_count)
		return r->skip_unknown ? codec_json_skip(&r->json)
				       : codec_json_fail(&r->json, -EBADMSG, at, "%s has no key '%.*s'",
							 frame->record->name, shown, name);
	if (frame->seen[i / 64] >> i % 64 & 1)
		return codec_json_fail(&r->json, -EBADMSG, at, "key '%.*s' is there twice", shown, name);
	frame->seen[i / 64] |= UINT64_C(1) << i % 64;
	*ret = &frame->record->fields[i];
	return 0;
}

// The value of a field: entered where it is a record, noted where it varies.
static int read_value(struct reader *r, struct read_frame *frame, const struct tare_codec_field *field)
{
	unsigned char *out = frame->bytes + field->offset;
	if (codec_is_varying(field)) {
		TARE_ASSERT(r->found != NULL); // a vector's elements and variants hold nothing that varies
		codec_json_space(&r->json);
		uint32_t tag_at = field->kind == TARE_CODEC_UNION ? (uint32_t)(out - r->buf) : 0;
		r->found[frame->slot + field->slot] = (struct found){field, r->json.p, tag_at};
		return codec_json_skip(&r->json);
	}
	if (field->kind == TARE_CODEC_RECORD)
		return push(r, field->record, out, (uint16_t)(frame->slot + field->slot));
	return field->shape == TARE_CODEC_ARRAY ? read_array(r, field, out) : read_scalar(r, field, out);
}

// An object into a record, whose bytes hold its defaults.
static int read_record(struct reader *r, const struct tare_codec_record *record, unsigned char *bytes)
{
	int rc = push(r, record, bytes, 0);
	while (rc == 0 && r->depth > 0) {
		struct read_frame *frame = &r->stack[r->depth - 1];
		if (codec_json_take(&r->json, '}')) {
			r->json.depth--;
			r->depth--;
			continue;
		}
		if (!frame->first && !codec_json_take(&r->json, ','))
			return codec_json_fail(&r->json, -EBADMSG, r->json.p, "',' or '}' is missing");
		// Behind a comma there is a key: a closing brace is none.
		const struct tare_codec_field *field = NULL;
		frame->first = false;
		rc = read_key(r, frame, &field);
		if (rc == 0 && field != NULL)
			rc = read_value(r, frame, field);
	}
	return rc;
}

// ---- payloads -----------------------------------------------------------------------------------------------------

static int no_space(struct reader *r)
{
	return codec_json_fail(&r->json, -ENOSPC, r->json.p, "the message does not fit into %td bytes",
			       r->limit - r->buf);
}

// Four digits, the last of which may be '='. The bytes they stand for, 0 at the string's end.
static int base64_group(struct reader *r, unsigned char out[3])
{
	uint32_t bits = 0;
	int padding = 0;
	const unsigned char *at = r->json.p;
	for (int i = 0; i < 4; i++) {
		int32_t c = codec_json_char(&r->json);
		if (c == -1 && i == 0)
			return 0;
		if (c < -1)
			return c;
		int digit = tare_base64_digit(c);
		if (c == '=' && i >= 2)
			padding++;
		else if (digit < 0 || padding > 0)
			return codec_json_fail(&r->json, -EBADMSG, at,
					       "not base64: four of A-Z a-z 0-9 + /, padded with =");
		bits = bits << 6 | (uint32_t)TARE_MAX(digit, 0);
	}
	// The bits that padding leaves over are 0, so that the same bytes are always the same text.
	if ((bits & ((1U << 8 * padding) - 1)) != 0)
		return codec_json_fail(&r->json, -EBADMSG, at, "not base64: bits behind the last byte");
	for (int i = 0; i < 3; i++)
		out[i] = (unsigned char)(bits >> (16 - 8 * i));
	return 3 - padding;
}

static int read_base64(struct reader *r, unsigned char **out)
{
	int rc = codec_json_open_string(&r->json);
	int n = 3;
	while (rc == 0 && n == 3) {
		unsigned char group[3];
		n = base64_group(r, group);
		if (n < 0)
			return n;
		if (n > r->limit - *out)
			return no_space(r);
		memcpy(*out, group, (size_t)n);
		*out += n;
	}
	if (rc == 0 && n != 0 && codec_json_char(&r->json) != -1)
		return codec_json_fail(&r->json, -EBADMSG, r->json.p, "not base64: padding within");
	return rc;
}

static int read_vector(struct reader *r, const struct tare_codec_field *field, unsigned char **out)
{
	uint32_t each = codec_element_bytes(field);
	int rc = begin(r, '[', field);
	if (rc < 0)
		return rc;
	if (codec_json_take(&r->json, ']')) {
		r->json.depth--;
		return 0;
	}
	do {
		if (each > (size_t)(r->limit - *out))
			return no_space(r);
		if (field->record != NULL) {
			memcpy(*out, field->record->defaults, each);
			rc = read_record(r, field->record, *out);
		} else {
			rc = read_scalar(r, field, *out);
		}
		*out += each;
		if (rc == 0)
			rc = array_goes_on(r);
	} while (rc == 1);
	return rc;
}

// {"variant": {…}}, or null for none.
static int read_union(struct reader *r, const struct found *found, unsigned char **out)
{
	const struct tare_codec_names *names = found->field->names;
	if (codec_json_null(&r->json))
		return 0;
	int rc = begin(r, '{', found->field);
	if (rc < 0)
		return rc;
	int variant = read_name(r, names);
	if (variant < 0)
		return variant;
	if (!codec_json_take(&r->json, ':'))
		return codec_json_fail(&r->json, -EBADMSG, r->json.p, "':' is missing");
	const struct tare_codec_record *record = names->records[variant];
	if (record->bytes > (size_t)(r->limit - *out))
		return no_space(r);
	memcpy(*out, record->defaults, record->bytes);
	r->buf[found->tag_at] = (unsigned char)(variant + 1);
	rc = read_record(r, record, *out);
	*out += record->bytes;
	if (rc == 0 && !codec_json_take(&r->json, '}'))
		rc = codec_json_fail(&r->json, -EBADMSG, r->json.p, "%s takes one variant", names->name);
	r->json.depth--;
	return rc;
}

static int read_string(struct reader *r, unsigned char **out)
{
	size_t cap = (size_t)(r->limit - *out);
	ssize_t n = codec_json_string(&r->json, *out, cap);
	if (n < 0)
		return (int)n;
	if ((size_t)n > cap)
		return no_space(r);
	*out += n;
	return 0;
}

static int read_payload(struct reader *r, const struct found *found, unsigned char **out)
{
	r->json.p = found->value;
	if (found->field->shape == TARE_CODEC_VECTOR)
		return read_vector(r, found->field, out);
	if (found->field->kind == TARE_CODEC_UNION)
		return read_union(r, found, out);
	return found->field->kind == TARE_CODEC_BYTES ? read_base64(r, out) : read_string(r, out);
}

// ---- the message --------------------------------------------------------------------------------------------------

static int read_payloads(struct reader *r, const struct found *found, unsigned slot_count, unsigned char *slots,
			 unsigned char **out)
{
	r->json.depth = 1;
	r->found = NULL;
	for (unsigned i = 0; i < slot_count; i++) {
		unsigned char *payload = *out;
		int rc = found[i].field == NULL ? 0 : read_payload(r, &found[i], out);
		if (rc < 0)
			return rc;
		tare_codec_slot_put(slots, i, (uint64_t)(payload - r->buf), (uint64_t)(*out - payload));
	}
	return 0;
}

ssize_t tare_codec_json_read(const struct tare_codec_schema *schema, void *buf, size_t cap, const char *text,
			     size_t len, const struct tare_codec_limits *limits, struct tare_error *err)
{
	const struct tare_codec_record *root = schema->root;
	const size_t fixed = TARE_CODEC_HEAD_BYTES + (size_t)root->bytes + TARE_CODEC_SLOT_BYTES * (size_t)root->slots;
	struct found found[TARE_CODEC_SLOTS_MAX];
	struct reader r = {.buf = buf, .found = found, .skip_unknown = limits != NULL && limits->skip_unknown};
	memset(found, 0, root->slots * sizeof found[0]);
	int rc = codec_json_init(&r.json, text, len, limits, err);
	if (rc < 0)
		return rc;
	cap = TARE_MIN(cap, (size_t)UINT32_MAX);
	r.limit = r.buf + cap;
	if (cap < fixed)
		return no_space(&r);
	unsigned char *block = r.buf + TARE_CODEC_HEAD_BYTES, *out = r.buf + fixed;
	memcpy(block, root->defaults, root->bytes);
	rc = read_record(&r, root, block);
	if (rc == 0)
		rc = codec_json_end(&r.json);
	if (rc == 0)
		rc = read_payloads(&r, found, root->slots, block + root->bytes, &out);
	if (rc < 0)
		return rc;
	TARE_CODEC_STORE(tare_codec_u32, r.buf, schema->id);
	TARE_CODEC_STORE(tare_codec_u16, r.buf + 4, schema->version);
	TARE_CODEC_STORE(tare_codec_u16, r.buf + 6, root->slots);
	TARE_CODEC_STORE(tare_codec_u32, r.buf + 8, out - r.buf);
	TARE_CODEC_STORE(tare_codec_u32, r.buf + 12, root->bytes);
	return out - r.buf;
}
