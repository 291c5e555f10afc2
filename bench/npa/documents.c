// SPDX-License-Identifier: MIT
// What it costs to write a record down and to read it: JSON against the binary document, written straight into the
// answer against the everyday way, texts as slices against copies, values that say what they are against values whose
// type is known.
//
// The record is the service's, with some 300 bytes of payload; jansson stands for what one takes without thinking about
// it.
#include "rows.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static char *json_text;
static size_t json_len;
static char *bin_data;

static void record_make(void)
{
	rows_index();
	if (json_text != NULL)
		return;
	(void)json_object_seed(1); // hashes, and so counts, are the same in each run
	json_text = malloc(svc_json_bytes_max(&rows_view));
	bin_data = malloc(svc_bin_bytes(&rows_view));
	if (json_text == NULL || bin_data == NULL)
		rows_die("memory", -ENOMEM);
	json_len = svc_json_write(json_text, &rows_view);
	svc_bin_write(bin_data, &rows_view);
}

static void record_evict(void)
{
	tare_npa_flush(rows_view.record, sizeof *rows_view.record);
	tare_npa_flush(rows_view.category.ptr, rows_view.category.len);
	tare_npa_flush(rows_view.payload.ptr, rows_view.payload.len);
	tare_npa_flush(json_text, json_len);
	tare_npa_flush(bin_data, svc_bin_bytes(&rows_view));
}

#define RECORD .prepare = record_make, .evict = record_evict

// ---- a record, written --------------------------------------------------------------------------------------------

TARE_NPA(write_bin, "The binary document: a fixed head and two copies. What the service offers to who wants speed.", 40,
	 RECORD)
{
	svc_bin_write(rows_out, &rows_view);
	TARE_NPA_KEEP(rows_out);
}

TARE_NPA(write_json, "The same as JSON, that every client reads: six numbers in decimal, base64 for the payload.", 400,
	 RECORD)
{
	TARE_NPA_KEEP(svc_json_write(rows_out, &rows_view));
}

// An answer's buffer that has room.
static char *sink_reserve(void *arg, size_t bytes)
{
	(void)bytes;
	return arg;
}

static void sink_commit(void *arg, size_t bytes)
{
	(void)bytes;
	TARE_NPA_KEEP(arg);
}

static const struct svc_sink rows_sink = {sink_reserve, sink_commit, rows_out};

TARE_NPA(write_json_naive, "JSON by a tree that is built and printed: nothing to think about. Replaced by write_json.",
	 6000, RECORD, .count = 128)
{
	must(svc_naive_json(0, &rows_view, &rows_sink), "JSON");
}

TARE_NPA(write_bin_naive, "The binary document by copies of its own at each step. Replaced by write_bin.", 400, RECORD)
{
	must(svc_naive_bin(0, &rows_view, &rows_sink), "binary");
}

// ---- a record, read -----------------------------------------------------------------------------------------------

TARE_NPA(read_bin, "Reading the binary document: eight loads, two slices, all lengths checked.", 10, RECORD)
{
	const char *at = TARE_NPA_HIDE(bin_data);
	uint32_t length, category_len, payload_len;
	uint64_t sum = 0, word;
	memcpy(&length, at, sizeof length);
	memcpy(&category_len, at + 56, sizeof category_len);
	memcpy(&payload_len, at + 60, sizeof payload_len);
	bool whole = le32toh(length) == UINT64_C(64) + le32toh(category_len) + le32toh(payload_len);
	for (size_t k = 8; k < 56 && whole; k += sizeof word) {
		memcpy(&word, at + k, sizeof word);
		sum += le64toh(word);
	}
	TARE_NPA_KEEP(sum);
}

TARE_NPA(read_json_jansson, "Reading the JSON document into a tree, and six numbers out of it.", 6000, RECORD,
	 .count = 128)
{
	static const char *const names[] = {"id",           "bid_micros",  "budget_micros",
					    "spend_micros", "impressions", "clicks"};
	json_t *document = json_loadb(json_text, json_len, 0, NULL);
	json_int_t sum = 0;
	for (size_t k = 0; k < TARE_ARRAY_LEN(names); k++)
		sum += json_integer_value(json_object_get(document, names[k]));
	TARE_NPA_KEEP(sum);
	json_decref(document);
}

// ---- texts --------------------------------------------------------------------------------------------------------

static const char target[] = "/lookup?key=1234567&fmt=json";

TARE_NPA(text_slice, "A text as a pointer and a length into somebody else's bytes: nothing is copied.", 2)
{
	const char *at = TARE_NPA_HIDE(&target[0]);
	struct tare_str path = {at, 7}, query = {at + 8, sizeof target - 9};
	TARE_NPA_KEEP(path.ptr);
	TARE_NPA_KEEP(query.ptr);
	TARE_NPA_KEEP(query.len);
}

TARE_NPA(text_copy, "The same two texts as strings of their own: each may outlive the buffer.", 60)
{
	const char *at = TARE_NPA_HIDE(&target[0]);
	char *path = strndup(at, 7), *query = strdup(at + 8);
	TARE_NPA_KEEP(path);
	TARE_NPA_KEEP(query);
	free(path);
	free(query);
}

// ---- formatting ---------------------------------------------------------------------------------------------------

TARE_NPA(format_typed, "A number in decimal by a function that knows its type.", 12)
{
	TARE_NPA_KEEP(tare_format_u64(rows_out, TARE_NPA_HIDE(UINT64_C(1234567890123))));
}

TARE_NPA(format_printf, "The same by a format that is read at run time, with arguments whose types it tells.", 120)
{
	TARE_NPA_KEEP(snprintf(rows_out, sizeof rows_out, "%" PRIu64, TARE_NPA_HIDE(UINT64_C(1234567890123))));
}

// A value that says itself what it is, on the heap, as dynamic languages have it.
struct boxed {
	enum { BOXED_U64, BOXED_TEXT } kind;
	union {
		uint64_t number;
		const char *text;
	};
};

TARE_NOIPA static struct boxed *box(uint64_t number)
{
	struct boxed *b = malloc(sizeof *b);
	if (b != NULL)
		*b = (struct boxed){.kind = BOXED_U64, .number = number};
	return b;
}

TARE_NOIPA static size_t boxed_format(char *out, const struct boxed *b)
{
	if (b->kind == BOXED_U64)
		return tare_format_u64(out, b->number);
	size_t len = strlen(b->text);
	memcpy(out, b->text, len);
	return len;
}

TARE_NPA(format_boxed, "The same of a value in a box of its own: any type goes through one function.", 50)
{
	struct boxed *b = box(TARE_NPA_HIDE(UINT64_C(1234567890123)));
	TARE_NPA_KEEP(boxed_format(rows_out, b));
	free(b);
}
