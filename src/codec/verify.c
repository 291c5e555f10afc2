// SPDX-License-Identifier: MIT
// Verifies a message by its schema's tables, and names the byte and the rule that it breaks.
//
// The generated verifiers do the same for messages of their own version, unrolled and without a branch a field; they
// come here when something is wrong, and for messages of other versions. Steps, each of which makes the next one's
// reads safe:
//   1. verify_head    the head is there, and its parts fit into the bytes that were given
//   2. verify_slots   every slot of the message, known or not, begins where the one before it ends; the last ends the
//                     message
//   3. check_values   every value that not all bytes are valid for
//   4. adopt          the view's block and slots: in place, or a short block copied over the defaults. Last, since a
//                     view that was good before may point into that copy
// No recursion: nested records are entered with a stack (struct walk). Pure functions.
// Rejected: a text for the error made by the generated code itself (a second copy of the rules for each schema).
#include "codec/codec_int.h"

#include <errno.h>
#include <inttypes.h>

int tare_codec_peek(struct tare_codec_head *ret, const void *buf, size_t len)
{
	const unsigned char *p = buf;
	if (len < TARE_CODEC_HEAD_BYTES)
		return -EAGAIN;
	struct tare_codec_head head = {
	    .schema = codec_u32(p),
	    .version = TARE_CODEC_LOAD(tare_codec_u16, p + 4),
	    .slots = TARE_CODEC_LOAD(tare_codec_u16, p + 6),
	    .total_bytes = codec_u32(p + 8),
	    .block_bytes = codec_u32(p + 12),
	};
	uint64_t least = TARE_CODEC_HEAD_BYTES + (uint64_t)head.block_bytes + TARE_CODEC_SLOT_BYTES * head.slots;
	if (least > head.total_bytes)
		return -EBADMSG;
	*ret = head;
	return 0;
}

// ---- 1. the head --------------------------------------------------------------------------------------------------

static int verify_version(const struct tare_codec_schema *schema, const struct tare_codec_head *head,
			  struct tare_error *err)
{
	if (head->version == 0)
		return tare_error_set(err, -EBADMSG, "byte 4: version 0; versions begin at 1");
	bool newer = head->version > schema->version;
	const struct tare_codec_version *want = &schema->versions[newer ? schema->version - 1 : head->version - 1];
	if (newer ? head->block_bytes < want->block_bytes : head->block_bytes != want->block_bytes)
		return tare_error_set(
		    err, -EBADMSG, "byte 12: a block of %" PRIu32 " bytes; version %d of %s has %s%" PRIu32,
		    head->block_bytes, head->version, schema->name, newer ? "at least " : "", want->block_bytes);
	if (newer ? head->slots < want->slots : head->slots != want->slots)
		return tare_error_set(err, -EBADMSG, "byte 6: %d slots; version %d of %s has %s%" PRIu32, head->slots,
				      head->version, schema->name, newer ? "at least " : "", want->slots);
	return 0;
}

static int verify_head(const struct tare_codec_schema *schema, struct tare_codec_head *head, const void *buf,
		       size_t len, struct tare_error *err)
{
	int rc = tare_codec_peek(head, buf, len);
	if (rc == -EAGAIN)
		return tare_error_set(err, -EBADMSG, "byte %zu: the message ends within its head of %d bytes", len,
				      TARE_CODEC_HEAD_BYTES);
	if (rc < 0)
		return tare_error_set(err, -EBADMSG,
				      "byte 8: a total of %" PRIu32 " bytes is less than head, block and slots",
				      codec_u32((const unsigned char *)buf + 8));
	if (head->schema != schema->id)
		return tare_error_set(err, -EBADMSG, "byte 0: schema 0x%08" PRIx32 ", not 0x%08" PRIx32 " of %s",
				      head->schema, schema->id, schema->name);
	if (head->total_bytes != len)
		return tare_error_set(err, -EBADMSG, "byte 8: a total of %" PRIu32 " bytes, and %zu are there",
				      head->total_bytes, len);
	return verify_version(schema, head, err);
}

// ---- 2. the slots -------------------------------------------------------------------------------------------------

static int verify_slots(const struct tare_codec_head *head, const unsigned char *base, struct tare_error *err)
{
	uint32_t first = TARE_CODEC_HEAD_BYTES + head->block_bytes; // no overflow: tare_codec_peek
	uint64_t expected = first + TARE_CODEC_SLOT_BYTES * (uint64_t)head->slots;
	for (uint32_t i = 0; i < head->slots; i++) {
		const unsigned char *slot = base + first + TARE_CODEC_SLOT_BYTES * i;
		uint32_t at = codec_u32(slot), bytes = codec_u32(slot + 4);
		if (at != expected)
			return tare_error_set(err, -EBADMSG,
					      "byte %td: slot %" PRIu32 " begins at %" PRIu32 ", not at %" PRIu64
					      " where the one before it ends",
					      slot - base, i, at, expected);
		if (bytes > head->total_bytes - at)
			return tare_error_set(err, -EBADMSG,
					      "byte %td: slot %" PRIu32 " of %" PRIu32
					      " bytes goes past the message's end",
					      slot + 4 - base, i, bytes);
		expected += bytes;
	}
	if (expected != head->total_bytes)
		return tare_error_set(err, -EBADMSG, "byte %" PRIu64 ": bytes behind the last payload", expected);
	return 0;
}

// ---- 3. the values ------------------------------------------------------------------------------------------------

struct walk_frame {
	const struct tare_codec_record *record;
	const unsigned char *bytes; // the record's
	uint32_t left;              // elements of the vector that follow this one
	uint16_t next, slot;        // the next field; the record's first slot
};

struct walk {
	const struct tare_codec_view *view; // of what stands in the message, not yet of what it lacks
	const struct tare_codec_head *head;
	struct tare_error *err;
	size_t depth;
	bool newer;
	struct walk_frame stack[CODEC_STACK_MAX];
};

static size_t place(const struct walk *walk, const unsigned char *p)
{
	return (size_t)(p - walk->view->base);
}

// Whether a field of the message itself was appended after its version.
static bool is_lacking(const struct walk *walk, const struct tare_codec_field *field)
{
	bool varying = codec_is_varying(field), nested = field->kind == TARE_CODEC_RECORD && !varying;
	bool has_slot = varying || (nested && field->record->slots > 0);
	bool has_place = nested ? field->record->bytes > 0 : !varying || field->kind == TARE_CODEC_UNION;
	return (has_slot && field->slot >= walk->head->slots) ||
	       (has_place && field->offset >= walk->head->block_bytes);
}

static void enter(struct walk *walk, const struct tare_codec_record *record, const unsigned char *bytes, uint32_t left,
		  uint16_t slot)
{
	if (!record->checked && record->slots == 0)
		return;
	TARE_ASSERT(walk->depth < CODEC_STACK_MAX);
	walk->stack[walk->depth++] = (struct walk_frame){record, bytes, left, 0, slot};
}

static int check_scalars(const struct walk *walk, const struct tare_codec_field *field, const unsigned char *p,
			 uint32_t count)
{
	unsigned limit = field->kind == TARE_CODEC_BOOL   ? 2
			 : field->kind == TARE_CODEC_ENUM ? field->names->count
							  : 256;
	if (limit == 256 || (walk->newer && field->kind == TARE_CODEC_ENUM))
		return 0;
	for (uint32_t i = 0; i < count; i++)
		if (p[i] >= limit)
			return tare_error_set(walk->err, -EBADMSG, "byte %zu: %s is %d; %s goes up to %u",
					      place(walk, p + i), field->name, p[i],
					      field->kind == TARE_CODEC_BOOL ? "a bool" : field->names->name,
					      limit - 1);
	return 0;
}

static int check_union(struct walk *walk, const struct tare_codec_field *field, const unsigned char *tag_at,
		       const unsigned char *payload, uint32_t bytes)
{
	uint8_t tag = *tag_at;
	if (tag > field->names->count && walk->newer)
		return 0;
	if (tag > field->names->count)
		return tare_error_set(walk->err, -EBADMSG, "byte %zu: %s is variant %d; %s goes up to %d",
				      place(walk, tag_at), field->name, tag, field->names->name, field->names->count);
	const struct tare_codec_record *record = tag == 0 ? NULL : field->names->records[tag - 1];
	uint32_t want = record == NULL ? 0 : record->bytes;
	if (bytes != want)
		return tare_error_set(walk->err, -EBADMSG,
				      "byte %zu: %s of %" PRIu32 " bytes; this variant has %" PRIu32,
				      place(walk, payload), field->name, bytes, want);
	if (record != NULL)
		enter(walk, record, payload, 0, 0);
	return 0;
}

static int check_varying(struct walk *walk, const struct tare_codec_field *field, const struct walk_frame *frame)
{
	unsigned slot = frame->slot + field->slot;
	const unsigned char *payload = tare_codec_slot_ptr(walk->view, slot);
	uint32_t bytes = (uint32_t)tare_codec_slot_bytes(walk->view, slot);
	if (field->shape == TARE_CODEC_VECTOR) {
		uint32_t each = codec_element_bytes(field);
		if (bytes % each != 0)
			return tare_error_set(walk->err, -EBADMSG,
					      "byte %zu: %s of %" PRIu32 " bytes is no multiple of %" PRIu32,
					      place(walk, payload), field->name, bytes, each);
		if (field->record == NULL)
			return check_scalars(walk, field, payload, bytes / each);
		if (bytes > 0)
			enter(walk, field->record, payload, bytes / each - 1, 0);
		return 0;
	}
	if (field->kind == TARE_CODEC_UNION)
		return check_union(walk, field, frame->bytes + field->offset, payload, bytes);
	if (field->kind == TARE_CODEC_STRING) {
		size_t good = codec_utf8_prefix(payload, bytes);
		if (good < bytes)
			return tare_error_set(walk->err, -EBADMSG, "byte %zu: %s is not UTF-8",
					      place(walk, payload) + good, field->name);
	}
	return 0;
}

static int check_values(struct walk *walk)
{
	const struct tare_codec_view *view = walk->view;
	enter(walk, view->schema->root, view->block, 0, 0);
	while (walk->depth > 0) {
		struct walk_frame *frame = &walk->stack[walk->depth - 1];
		if (frame->next == frame->record->field_count) {
			frame->bytes += frame->record->bytes;
			frame->next = 0;
			if (frame->left-- == 0)
				walk->depth--;
			continue;
		}
		const struct tare_codec_field *field = &frame->record->fields[frame->next++];
		const unsigned char *bytes = frame->bytes + field->offset;
		int rc = 0;
		if (walk->depth == 1 && is_lacking(walk, field))
			continue;
		if (codec_is_varying(field))
			rc = check_varying(walk, field, frame);
		else if (field->kind == TARE_CODEC_RECORD)
			enter(walk, field->record, bytes, 0, (uint16_t)(frame->slot + field->slot));
		else
			rc = check_scalars(walk, field, bytes, field->shape == TARE_CODEC_ARRAY ? field->count : 1);
		if (rc < 0)
			return rc;
	}
	return 0;
}

// ---- 4. the view --------------------------------------------------------------------------------------------------

// What an older version lacks has its default: numbers from the schema, everything that varies empty.
static void adopt(struct tare_codec_view *view, unsigned char *local, const struct tare_codec_head *head)
{
	const struct tare_codec_record *root = view->schema->root;
	if (head->block_bytes >= root->bytes && head->slots >= root->slots)
		return;
	memcpy(local, root->defaults, root->bytes);
	memcpy(local, view->block, head->block_bytes);
	unsigned char *slots = local + root->bytes;
	if (head->slots > 0)
		memcpy(slots, view->slots, TARE_CODEC_SLOT_BYTES * (size_t)head->slots);
	for (uint32_t i = head->slots; i < root->slots; i++)
		tare_codec_slot_put(slots, i, 0, 0);
	view->block = local;
	view->slots = slots;
}

int tare_codec_verify(const struct tare_codec_schema *schema, struct tare_codec_view *view, unsigned char *local,
		      const void *buf, size_t len, struct tare_error *err)
{
	struct tare_codec_head head = {0};
	int rc = verify_head(schema, &head, buf, len, err);
	if (rc == 0)
		rc = verify_slots(&head, buf, err);
	if (rc < 0)
		return rc;
	const unsigned char *block = (const unsigned char *)buf + TARE_CODEC_HEAD_BYTES;
	struct tare_codec_view made = {.base = buf,
				       .block = block,
				       .slots = block + head.block_bytes,
				       .schema = schema,
				       .total_bytes = head.total_bytes,
				       .version = head.version};
	struct walk walk = {.view = &made, .head = &head, .err = err, .newer = head.version > schema->version};
	rc = check_values(&walk);
	if (rc < 0)
		return rc;
	adopt(&made, local, &head);
	*view = made;
	return 0;
}
