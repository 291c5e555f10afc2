// SPDX-License-Identifier: MIT
//
// Writing a profile: the encoding of profile.proto (github.com/google/pprof/proto) by hand, gzip around it, and a text.
//
// The encoding is two shapes: a number is a tag and a varint, and a message or a text is a tag, its length and its
// bytes. A message is put together in a buffer of its own, because its length goes before it. Numbers of locations,
// functions and mappings begin at 1 there.
// Rejected: protoc-c (a compiler and a library for two shapes).
#include "stat/pprof_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#ifndef TARE_NO_ZLIB
#include <zlib.h>
#endif

static struct tare_tag heap_tag = TARE_TAG("profiles");

// ---- two shapes ---------------------------------------------------------------------------------------------------

struct bytes {
	char *ptr;
	size_t len, cap;
	int rc;
};

static void put_bytes(struct bytes *b, const void *ptr, size_t len)
{
	if (b->rc == 0 && b->cap - b->len < len) {
		size_t cap = TARE_MAX(2 * b->cap, b->len + len + 256);
		char *moved = tare_realloc(&heap_tag, b->ptr, cap);
		if (moved == NULL) {
			b->rc = -ENOMEM;
			return;
		}
		b->ptr = moved;
		b->cap = cap;
	}
	if (b->rc == 0 && len > 0) {
		memcpy(b->ptr + b->len, ptr, len);
		b->len += len;
	}
}

static void put_varint(struct bytes *b, uint64_t value)
{
	unsigned char out[10];
	size_t len = 0;
	for (; value >= 0x80; value >>= 7)
		out[len++] = (unsigned char)(value | 0x80);
	out[len++] = (unsigned char)value;
	put_bytes(b, out, len);
}

enum { VARINT = 0, BYTES = 2 };

// 0 is what a field that is not there means.
static void put_number(struct bytes *b, unsigned field, uint64_t value)
{
	if (value == 0)
		return;
	put_varint(b, field << 3 | VARINT);
	put_varint(b, value);
}

static void put_string(struct bytes *b, unsigned field, const void *ptr, size_t len)
{
	put_varint(b, field << 3 | BYTES);
	put_varint(b, len);
	put_bytes(b, ptr, len);
}

// Ends a message: it goes into the one around it, and its buffer is ready for the next.
static void put_message(struct bytes *b, unsigned field, struct bytes *message)
{
	put_string(b, field, message->ptr, message->len);
	b->rc = b->rc == 0 ? message->rc : b->rc;
	message->len = 0;
}

// ---- the messages -------------------------------------------------------------------------------------------------

struct encoder {
	struct bytes out, message, part;
};

static uint64_t rounded(double value)
{
	return (uint64_t)llround(value);
}

static void put_type(struct encoder *e, unsigned field, const uint32_t type[2])
{
	put_number(&e->message, 1, type[0]);
	put_number(&e->message, 2, type[1]);
	put_message(&e->out, field, &e->message);
}

static void put_sample(struct encoder *e, const struct tare_pprof *p, const struct stat_sample *sample)
{
	for (uint32_t i = 0; i < sample->frame_count; i++)
		put_varint(&e->part, p->frames[sample->frames_at + i] + 1);
	put_message(&e->message, 1, &e->part);
	for (unsigned i = 0; i < p->options.type_count; i++)
		put_varint(&e->part, rounded(sample->values[i]));
	put_message(&e->message, 2, &e->part);
	for (uint32_t i = 0; i < sample->label_count; i++) {
		put_number(&e->part, 1, sample->labels[2 * (size_t)i]);
		put_number(&e->part, 2, sample->labels[2 * (size_t)i + 1]);
		put_message(&e->message, 3, &e->part);
	}
	put_message(&e->out, 2, &e->message);
}

static void put_mapping(struct encoder *e, const struct tare_pprof *p, unsigned number)
{
	const struct stat_mapping *mapping = &p->mappings[number];
	put_number(&e->message, 1, number + 1);
	put_number(&e->message, 2, mapping->low);
	put_number(&e->message, 3, mapping->high);
	put_number(&e->message, 4, mapping->offset);
	put_number(&e->message, 5, mapping->file);
	put_number(&e->message, 6, mapping->build_id);
	// It has functions, files, lines and what was inlined, as far as they are known here: a viewer need not look.
	for (unsigned field = 7; field <= 10; field++)
		put_number(&e->message, field, p->line_count > 0);
	put_message(&e->out, 3, &e->message);
}

static uint64_t mapping_of(const struct tare_pprof *p, uintptr_t address)
{
	for (unsigned i = 0; i < p->mapping_count; i++)
		if (address >= p->mappings[i].low && address < p->mappings[i].high)
			return i + 1;
	return 0;
}

static void put_location(struct encoder *e, const struct tare_pprof *p, uint32_t number)
{
	const struct stat_location *location = stat_location_at(p, number);
	put_number(&e->message, 1, number + 1);
	put_number(&e->message, 2, mapping_of(p, location->address));
	put_number(&e->message, 3, location->address);
	for (uint32_t i = 0; i < location->line_count; i++) {
		const struct stat_line *line = &p->lines[location->lines_at + i];
		put_number(&e->part, 1, line->function + 1);
		put_number(&e->part, 2, (uint64_t)line->line);
		put_message(&e->message, 4, &e->part);
	}
	put_message(&e->out, 4, &e->message);
}

static void put_function(struct encoder *e, const struct tare_pprof *p, uint32_t number)
{
	const struct stat_function *function = stat_function_at(p, number);
	put_number(&e->message, 1, number + 1);
	put_number(&e->message, 2, function->name);
	put_number(&e->message, 3, function->name);
	put_number(&e->message, 4, function->file);
	put_number(&e->message, 5, (uint64_t)function->line);
	put_message(&e->out, 5, &e->message);
}

static void encode(struct encoder *e, const struct tare_pprof *p)
{
	for (unsigned i = 0; i < p->options.type_count; i++)
		put_type(e, 1, p->types[i]);
	for (uint32_t i = 0; i < p->samples.count; i++)
		put_sample(e, p, stat_sample_at(p, i));
	for (unsigned i = 0; i < p->mapping_count; i++)
		put_mapping(e, p, i);
	for (uint32_t i = 0; i < p->locations.count; i++)
		put_location(e, p, i);
	for (uint32_t i = 0; i < p->functions.count; i++)
		put_function(e, p, i);
	for (uint32_t i = 0; i < p->texts.count; i++)
		put_string(&e->out, 6, stat_text_at(p, i)->ptr, stat_text_at(p, i)->len);
	put_number(&e->out, 9, (uint64_t)p->options.began_ns);
	put_number(&e->out, 10, (uint64_t)p->options.duration_ns);
	if (p->period_type[0] != 0)
		put_type(e, 11, p->period_type);
	put_number(&e->out, 12, (uint64_t)p->options.period);
	put_number(&e->out, 14, p->types[p->options.shown][0]);
}

// ---- gzip ---------------------------------------------------------------------------------------------------------

#ifdef TARE_NO_ZLIB
static int put_gzip(struct tare_text *text, struct bytes *in)
{
	tare_text_put(text, in->ptr, in->len);
	return text->rc;
}
#else
enum { GZIP = 15 + 16, MEMORY_LEVEL = 8 };

static int put_gzip(struct tare_text *text, struct bytes *in)
{
	z_stream z = {.next_in = (Bytef *)in->ptr, .avail_in = (uInt)in->len};
	if (in->len > UINT32_MAX)
		return -E2BIG;
	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	unsigned char out[4096];
	int rc;
	do {
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = deflate(&z, Z_FINISH);
		tare_text_put(text, (const char *)out, sizeof out - z.avail_out);
	} while (rc == Z_OK && text->rc == 0);
	deflateEnd(&z);
	return text->rc;
}
#endif

int tare_pprof_write(struct tare_pprof *p, struct tare_text *text)
{
	struct encoder e = {.out = {.ptr = NULL}};
	encode(&e, p);
	int rc = e.out.rc == 0 ? put_gzip(text, &e.out) : e.out.rc;
	tare_free(e.out.ptr);
	tare_free(e.message.ptr);
	tare_free(e.part.ptr);
	return rc;
}

// ---- text ---------------------------------------------------------------------------------------------------------

struct rank {
	double value;
	uint32_t number;
};

static int by_value(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;
	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return x->number < y->number ? -1 : 1;
}

static void write_text(const struct tare_pprof *p, struct tare_text *text, uint32_t number)
{
	const struct stat_text *t = stat_text_at(p, number);
	tare_text_put(text, t->ptr, t->len);
}

static void write_location(const struct tare_pprof *p, struct tare_text *text, const struct stat_location *location)
{
	for (uint32_t i = 0; i < location->line_count; i++) {
		const struct stat_line *line = &p->lines[location->lines_at + i];
		const struct stat_function *function = stat_function_at(p, line->function);
		tare_text_printf(text, "#\t0x%" PRIxPTR "\t", location->address);
		write_text(p, text, function->name);
		if (function->file != 0) {
			tare_text_put(text, "\t", 1);
			write_text(p, text, function->file);
			tare_text_printf(text, ":%d", line->line);
		}
		tare_text_put(text, "\n", 1);
	}
	if (location->line_count == 0)
		tare_text_printf(text, "#\t0x%" PRIxPTR "\n", location->address);
}

static void write_sample(const struct tare_pprof *p, struct tare_text *text, const struct stat_sample *sample)
{
	for (unsigned i = 0; i < p->options.type_count; i++)
		tare_text_printf(text, "%s%" PRIu64, i > 0 ? " " : "", rounded(sample->values[i]));
	tare_text_put(text, " @", 2);
	for (uint32_t i = 0; i < sample->frame_count; i++)
		tare_text_printf(text, " 0x%" PRIxPTR, stat_location_at(p, p->frames[sample->frames_at + i])->address);
	for (uint32_t i = 0; i < sample->label_count; i++) {
		tare_text_put(text, i == 0 ? "\n# labels: " : ", ", i == 0 ? 11 : 2);
		write_text(p, text, sample->labels[2 * (size_t)i]);
		tare_text_put(text, "=", 1);
		write_text(p, text, sample->labels[2 * (size_t)i + 1]);
	}
	tare_text_put(text, "\n", 1);
	for (uint32_t i = 0; i < sample->frame_count; i++)
		write_location(p, text, stat_location_at(p, p->frames[sample->frames_at + i]));
	tare_text_put(text, "\n", 1);
}

int tare_pprof_write_text(struct tare_pprof *p, struct tare_text *text)
{
	uint32_t count = p->samples.count;
	struct rank *ranks = tare_alloc(&heap_tag, TARE_MAX(count, 1U) * sizeof *ranks);
	if (ranks == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		ranks[i] = (struct rank){stat_sample_at(p, i)->values[p->options.shown], i};
	qsort(ranks, count, sizeof *ranks, by_value);
	write_text(p, text, p->name);
	tare_text_printf(text, " profile:");
	for (unsigned i = 0; i < p->options.type_count; i++) {
		tare_text_printf(text, " %" PRIu64 " ", rounded(tare_pprof_total(p, i)));
		write_text(p, text, p->types[i][0]);
		if (strcmp(stat_text_at(p, p->types[i][1])->ptr, "count") != 0) {
			tare_text_put(text, "/", 1);
			write_text(p, text, p->types[i][1]);
		}
	}
	tare_text_printf(text, "\n\n");
	for (uint32_t i = 0; i < count && text->rc == 0; i++)
		write_sample(p, text, stat_sample_at(p, ranks[i].number));
	tare_free(ranks);
	return text->rc;
}
