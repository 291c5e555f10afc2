// SPDX-License-Identifier: MIT
// A message as JSON, or as lines for people, by its schema's tables.
//
// Both are the same walk over the message; they differ in what stands between values (struct writer, lines). Output
// past the buffer's end is counted and not written, so that one call tells the size. No recursion: a stack of frames.
// Pure functions.
#include "codec/codec_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

struct write_frame {
	const struct tare_codec_record *record;
	const unsigned char *bytes;
	uint32_t left;       // elements of the vector that follow this one
	uint16_t next, slot; // the next field; the record's first slot
	bool element, variant;
};

struct writer {
	const struct tare_codec_view *view;
	char *out;
	size_t cap, len;
	size_t depth;
	bool lines; // for people
	struct write_frame stack[CODEC_STACK_MAX];
};

static void put(struct writer *w, const char *text, size_t n)
{
	if (w->len < w->cap)
		memcpy(w->out + w->len, text, TARE_MIN(n, w->cap - w->len));
	w->len += n;
}

static void put_char(struct writer *w, char c)
{
	if (w->len < w->cap)
		w->out[w->len] = c;
	w->len++;
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_line(struct writer *w, size_t indent)
{
	if (!w->lines)
		return;
	put_char(w, '\n');
	while (indent-- > 0)
		put(w, "  ", 2);
}

// ---- values -------------------------------------------------------------------------------------------------------

static void put_escape(struct writer *w, unsigned char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *found = c == '\0' ? NULL : strchr(from, c);
	if (found != NULL) {
		put_char(w, '\\');
		put_char(w, to[found - from]);
		return;
	}
	char text[8];
	put(w, text, (size_t)snprintf(text, sizeof text, "\\u%04x", c));
}

static void put_string(struct writer *w, const char *text, size_t n)
{
	put_char(w, '"');
	size_t begin = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(w, text + begin, i - begin);
		put_escape(w, c);
		begin = i + 1;
	}
	put(w, text + begin, n - begin);
	put_char(w, '"');
}

static void put_base64(struct writer *w, const unsigned char *p, size_t n)
{
	static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	put_char(w, '"');
	for (size_t i = 0; i < n; i += 3) {
		size_t there = TARE_MIN(n - i, (size_t)3);
		uint32_t bits = (uint32_t)p[i] << 16;
		bits |= there > 1 ? (uint32_t)p[i + 1] << 8 : 0;
		bits |= there > 2 ? p[i + 2] : 0;
		char group[4] = {digits[bits >> 18], digits[bits >> 12 & 63], digits[bits >> 6 & 63],
				 digits[bits & 63]};
		memset(group + there + 1, '=', 3 - there);
		put(w, group, sizeof group);
	}
	put_char(w, '"');
}

static int put_float(struct writer *w, const struct tare_codec_field *field, const unsigned char *p)
{
	char text[CODEC_FLOAT_BYTES_MAX];
	bool is_f32 = field->kind == TARE_CODEC_F32;
	double value = is_f32 ? (double)TARE_CODEC_LOAD(tare_codec_f32, p) : TARE_CODEC_LOAD(tare_codec_f64, p);
	if (isfinite(value))
		put(w, text, is_f32 ? codec_f32_write(text, (float)value) : codec_f64_write(text, value));
	else if (w->lines)
		put_text(w, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
	else
		return -EDOM;
	return 0;
}

static int64_t load_signed(const unsigned char *p, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return (int8_t)*p;
	case 2:
		return TARE_CODEC_LOAD(tare_codec_i16, p);
	case 4:
		return TARE_CODEC_LOAD(tare_codec_i32, p);
	default:
		return TARE_CODEC_LOAD(tare_codec_i64, p);
	}
}

static int put_scalar(struct writer *w, const struct tare_codec_field *field, const unsigned char *p)
{
	char digits[24];
	uint64_t value = 0;
	memcpy(&value, p, field->element_bytes);
	switch ((enum tare_codec_kind)field->kind) {
	case TARE_CODEC_F32:
	case TARE_CODEC_F64:
		return put_float(w, field, p);
	case TARE_CODEC_BOOL:
		put_text(w, value != 0 ? "true" : "false");
		return 0;
	case TARE_CODEC_ENUM:
		if (value < field->names->count)
			put_string(w, field->names->names[value], strlen(field->names->names[value]));
		else
			put(w, digits, tare_format_u64(digits, value)); // of a newer version
		return 0;
	case TARE_CODEC_I8:
	case TARE_CODEC_I16:
	case TARE_CODEC_I32:
	case TARE_CODEC_I64:
		put(w, digits, tare_format_i64(digits, load_signed(p, field->element_bytes)));
		return 0;
	default:
		put(w, digits, tare_format_u64(digits, value));
		return 0;
	}
}

static int put_scalars(struct writer *w, const struct tare_codec_field *field, const unsigned char *p, size_t count)
{
	int rc = 0;
	put_char(w, '[');
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (i > 0)
			put(w, ", ", w->lines ? 2 : 1);
		rc = put_scalar(w, field, p + i * field->element_bytes);
	}
	put_char(w, ']');
	return rc;
}

// ---- the walk -----------------------------------------------------------------------------------------------------

static void enter(struct writer *w, struct write_frame frame)
{
	TARE_ASSERT(w->depth < CODEC_STACK_MAX);
	w->stack[w->depth++] = frame;
	put_char(w, '{');
}

static void put_key(struct writer *w, const char *name, size_t n)
{
	put_line(w, w->depth);
	if (!w->lines)
		put_char(w, '"');
	put(w, name, n);
	put_text(w, w->lines ? ": " : "\":");
}

static void put_union(struct writer *w, const struct tare_codec_field *field, uint8_t tag, const unsigned char *payload)
{
	if (tag == 0 || tag > field->names->count) { // none, or one of a newer version
		put_text(w, "null");
		return;
	}
	const char *name = field->names->names[tag - 1];
	put_char(w, '{');
	put_key(w, name, strlen(name));
	enter(w, (struct write_frame){.record = field->names->records[tag - 1], .bytes = payload, .variant = true});
}

static int put_varying(struct writer *w, const struct tare_codec_field *field, const struct write_frame *frame)
{
	unsigned slot = frame->slot + field->slot;
	const unsigned char *payload = tare_codec_slot_ptr(w->view, slot);
	size_t n = tare_codec_slot_bytes(w->view, slot), each = codec_element_bytes(field);
	if (field->shape == TARE_CODEC_VECTOR && (field->record == NULL || n == 0))
		return put_scalars(w, field, payload, n / each);
	if (field->shape == TARE_CODEC_VECTOR) {
		put_char(w, '[');
		enter(w, (struct write_frame){.record = field->record,
					      .bytes = payload,
					      .left = (uint32_t)(n / each - 1),
					      .element = true});
	} else if (field->kind == TARE_CODEC_UNION) {
		put_union(w, field, frame->bytes[field->offset], payload);
	} else if (field->kind == TARE_CODEC_BYTES) {
		put_base64(w, payload, n);
	} else {
		put_string(w, (const char *)payload, n);
	}
	return 0;
}

static int put_field(struct writer *w, const struct tare_codec_field *field, const struct write_frame *frame)
{
	const unsigned char *p = frame->bytes + field->offset;
	put_key(w, field->name, field->name_bytes);
	if (codec_is_varying(field))
		return put_varying(w, field, frame);
	if (field->kind == TARE_CODEC_RECORD) {
		enter(w, (struct write_frame){
			     .record = field->record, .bytes = p, .slot = (uint16_t)(frame->slot + field->slot)});
		return 0;
	}
	return field->shape == TARE_CODEC_ARRAY ? put_scalars(w, field, p, field->count) : put_scalar(w, field, p);
}

// Behind a record's last field.
static void leave(struct writer *w)
{
	struct write_frame *frame = &w->stack[w->depth - 1];
	put_line(w, w->depth - 1);
	put_char(w, '}');
	if (frame->left > 0) {
		frame->left--;
		frame->next = 0;
		frame->bytes += frame->record->bytes;
		put(w, ", {", w->lines ? 2 : 1);
		put_char(w, '{');
		return;
	}
	if (frame->element)
		put_char(w, ']');
	if (frame->variant)
		put_char(w, '}');
	w->depth--;
}

// *ret_field: where it failed.
static int put_message(struct writer *w, const struct tare_codec_field **ret_field)
{
	enter(w, (struct write_frame){.record = w->view->schema->root, .bytes = w->view->block});
	while (w->depth > 0) {
		struct write_frame *frame = &w->stack[w->depth - 1];
		if (frame->next == frame->record->field_count) {
			leave(w);
			continue;
		}
		if (frame->next > 0 && !w->lines)
			put_char(w, ',');
		const struct tare_codec_field *field = &frame->record->fields[frame->next++];
		int rc = put_field(w, field, frame);
		if (rc < 0) {
			*ret_field = field;
			return rc;
		}
	}
	return 0;
}

ssize_t tare_codec_json_write(const struct tare_codec_view *view, char *buf, size_t cap, struct tare_error *err)
{
	struct writer w = {.view = view, .out = buf, .cap = cap};
	const struct tare_codec_field *field = NULL;
	int rc = put_message(&w, &field);
	if (rc < 0)
		return tare_error_set(err, rc, "%s is not a finite number, which JSON can't say", field->name);
	return (ssize_t)w.len;
}

ssize_t tare_codec_print(const struct tare_codec_view *view, char *buf, size_t cap)
{
	struct writer w = {.view = view, .out = buf, .cap = cap, .lines = true};
	const struct tare_codec_field *field = NULL;
	char head[160];
	int n = snprintf(head, sizeof head, "%.100s, version %d, %u bytes ", view->schema->name, view->version,
			 (unsigned)view->total_bytes);
	put(&w, head, TARE_MIN((size_t)n, sizeof head - 1));
	int rc = put_message(&w, &field);
	put_char(&w, '\n');
	return rc < 0 ? rc : (ssize_t)w.len;
}
