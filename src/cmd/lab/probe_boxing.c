// SPDX-License-Identifier: MIT
// boxing: texts that are copied to change what they are called, and values that carry their type, against slices and numbers
// where they stand. Nanoseconds, heap calls and bytes of each operation.
//
// What is measured, each as everyday code has it and then without (the pairs of `cases` below):
//   string_copy, string_slice    a number is read out of a query: the text is copied so that it ends with NUL, and strtoull'd; or
//                                read where it stands
//   bytes_copy, bytes_view       a payload becomes a string of its own before it is written to the answer; or goes there directly
//   format_boxed, format_typed   an access line: printed by a format twice, for its length and into a string; or put together
//   value_boxed, value_typed     ten fields summed: each a value of its own on the heap that says what it is; or numbers
// Figures: NAME_ns, NAME_allocs, NAME_bytes (asked of the heap), each an operation.
#include "cmd/lab/probe.h"
#include "cmd/svc/svc.h"

#include <tare/heap.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS = 10, PAYLOAD_BYTES = 300, COUNTED = 1000 };

static struct tare_tag heap_tag = TARE_TAG("probe");

static struct {
	struct tare_str query;
	char payload[PAYLOAD_BYTES], answer[PAYLOAD_BYTES];
	volatile size_t
	    payload_bytes; // as a record's is: not known to the compiler, which would copy by an instruction that begins slowly
	uint64_t fields[FIELDS];
	volatile uint64_t seen; // so that nothing is left out
	bool failed;
} work;

static void *must(void *ptr)
{
	work.failed = work.failed || ptr == NULL;
	return ptr;
}

// ---- strings ------------------------------------------------------------------------------------------------------

static char *copied(const char *ptr, size_t len)
{
	char *copy = must(tare_alloc(&heap_tag, len + 1));
	if (copy == NULL)
		return NULL;
	memcpy(copy, ptr, len);
	copy[len] = '\0';
	return copy;
}

static void string_copy(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		char *text = copied(work.query.ptr, work.query.len);
		work.seen = text != NULL ? strtoull(text, NULL, 10) : 0;
		tare_free(text);
	}
}

static void string_slice(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t value = 0;
		lab_probe_keep(work.query.ptr);
		if (tare_parse_u64(work.query, &value) == 0)
			work.seen = value;
	}
}

static void bytes_copy(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		size_t bytes = work.payload_bytes;
		char *text = copied(work.payload, bytes);
		if (text != NULL)
			memcpy(work.answer, text, bytes);
		lab_probe_keep(work.answer);
		tare_free(text);
	}
}

static void bytes_view(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n; i++) {
		memcpy(work.answer, work.payload, work.payload_bytes);
		lab_probe_keep(work.answer);
	}
}

// ---- formats ------------------------------------------------------------------------------------------------------

static struct svc_access access_of(uint64_t i)
{
	return (struct svc_access){(int64_t)i * TARE_NS_PER_US, {i, SVC_JSON}, 200, PAYLOAD_BYTES};
}

static void format_boxed(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		const struct svc_access access = access_of(i);
		char *line = svc_access_print(&access);
		lab_probe_keep(must(line));
		tare_free(line);
	}
}

static void format_typed(void *arg, uint64_t n)
{
	(void)arg;
	char line[SVC_ACCESS_BYTES];
	for (uint64_t i = 0; i < n; i++) {
		const struct svc_access access = access_of(i);
		work.seen = svc_access_write(line, &access);
		lab_probe_keep(line);
	}
}

// ---- values -------------------------------------------------------------------------------------------------------

struct value {
	enum { NUMBER, TEXT } kind;
	uint64_t number;
	const char *text;
};

static struct value *value_of(uint64_t number)
{
	struct value *value = must(tare_alloc(&heap_tag, sizeof *value));
	if (value != NULL)
		*value = (struct value){.kind = NUMBER, .number = number};
	return value;
}

static void value_boxed(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		struct value *values[FIELDS];
		uint64_t sum = 0;
		for (size_t k = 0; k < FIELDS; k++)
			values[k] = value_of(work.fields[k]);
		lab_probe_keep(values);
		for (size_t k = 0; k < FIELDS; k++)
			sum += values[k] != NULL && values[k]->kind == NUMBER ? values[k]->number : 0;
		for (size_t k = 0; k < FIELDS; k++)
			tare_free(values[k]);
		work.seen = sum;
	}
}

static void value_typed(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t sum = 0;
		lab_probe_keep(work.fields);
		for (size_t k = 0; k < FIELDS; k++)
			sum += work.fields[k];
		work.seen = sum;
	}
}

// -------------------------------------------------------------------------------------------------------------------

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	static const struct {
		const char *name;
		void (*work)(void *arg, uint64_t n);
	} cases[] = {{"string_copy", string_copy}, {"string_slice", string_slice}, {"bytes_copy", bytes_copy},
		     {"bytes_view", bytes_view},   {"format_boxed", format_boxed}, {"format_typed", format_typed},
		     {"value_boxed", value_boxed}, {"value_typed", value_typed}};
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	work.query = TARE_STR("1234567890");
	work.failed = false;
	work.payload_bytes = PAYLOAD_BYTES;
	for (size_t i = 0; i < PAYLOAD_BYTES; i++)
		work.payload[i] = (char)tare_rng_next(&rng);
	for (size_t i = 0; i < FIELDS; i++)
		work.fields[i] = tare_rng_next(&rng);
	int64_t repetition_ns = (int64_t)lab_probe_value(args, "milliseconds") * TARE_NS_PER_MS;
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases) && !work.failed; i++) {
		struct tare_heap_stats before, after;
		lab_probe_figure(out, lab_probe_time(cases[i].work, NULL, repetition_ns), "%s_ns", cases[i].name);
		tare_heap_stats_read(&before);
		cases[i].work(NULL, COUNTED);
		tare_heap_stats_read(&after);
		lab_probe_figure(out, (double)(after.allocs - before.allocs) / COUNTED, "%s_allocs", cases[i].name);
		lab_probe_figure(out, (double)(after.bytes_total - before.bytes_total) / COUNTED, "%s_bytes",
				 cases[i].name);
	}
	return work.failed ? tare_error_set(err, -ENOMEM, "out of memory") : 0;
}

const struct lab_probe lab_probe_boxing = {
    .name = "boxing",
    .about = "texts copied and values boxed, against slices and numbers where they stand",
    .run = run,
    .keys = {{"milliseconds", "a repetition, of six and more", false, 50, 1, 1, 1000}},
};
