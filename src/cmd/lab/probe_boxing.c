// SPDX-License-Identifier: MIT
// boxing: texts that are copied to change what they are called, and values that carry their type, against slices and
// numbers where they stand. Nanoseconds, heap calls and bytes of each operation.
//
// What is measured, each as everyday code has it and then without (the pairs of `cases` below):
//   string_copy, string_slice   a number is read out of a query by one parser: from a copy; or where it stands
//   bytes_copy, bytes_view      a payload becomes a string of its own before it is written to the answer; or goes there
//                               directly
//   format_boxed, format_typed  an access line: its values go, each in a box, through a formatter that asks each what
//                               it is, to a string of its own; or are put together, by their types, in place
//   format_printf               the same line by printf, once for its length and once into a string: no boxes, and
//                               nothing that Go has
//   value_boxed, value_typed    ten fields summed: each a value of its own on the heap that says what it is; or numbers
// A box is an object of the heap, but for numbers below 256, which share boxes made beforehand: as in Go.
// Figures: NAME_ns, NAME_allocs, NAME_bytes (asked of the heap), each an operation.
#include "cmd/lab/probe.h"
#include "cmd/svc/svc.h"

#include <tare/heap.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { FIELDS = 10, PAYLOAD_BYTES = 300, COUNTED = 1000, LINE_VALUES = 6, SHARED_NUMBERS = 256 };

static struct tare_tag heap_tag = TARE_TAG("probe");

static struct {
	struct tare_str query;
	char payload[PAYLOAD_BYTES], answer[PAYLOAD_BYTES];
	// As a record's is: not known to the compiler, which would copy by an instruction that begins slowly.
	volatile size_t payload_bytes;
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
		uint64_t value = 0;
		lab_probe_keep(text);
		if (text != NULL && tare_parse_u64((struct tare_str){text, work.query.len}, &value) == 0)
			work.seen = value;
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

// ---- boxes --------------------------------------------------------------------------------------------------------

// A value that says itself what it is.
struct value {
	enum { NUMBER, TEXT } kind;
	union {
		uint64_t number;
		struct tare_str text;
	};
};

static struct value shared[SHARED_NUMBERS];

static struct value *box(struct value value)
{
	struct value *made = must(tare_alloc(&heap_tag, sizeof *made));
	if (made != NULL)
		*made = value;
	return made;
}

static struct value *box_number(uint64_t number)
{
	return number < SHARED_NUMBERS ? &shared[number] : box((struct value){.kind = NUMBER, .number = number});
}

static void unbox(struct value *value)
{
	if (value < shared || value >= shared + SHARED_NUMBERS)
		tare_free(value);
}

// ---- formats ------------------------------------------------------------------------------------------------------

static struct svc_access access_of(uint64_t i)
{
	i += COUNTED; // past the numbers that share boxes
	return (struct svc_access){(int64_t)i * TARE_NS_PER_US, {i, SVC_JSON}, 200, PAYLOAD_BYTES};
}

static size_t put_value(char *out, const struct value *value, size_t width)
{
	char digits[20];
	if (value->kind == TEXT) {
		memcpy(out, value->text.ptr, value->text.len);
		return value->text.len;
	}
	size_t len = tare_format_u64(digits, value->number), zeros = width > len ? width - len : 0;
	memset(out, '0', zeros);
	memcpy(out + zeros, digits, len);
	return zeros + len;
}

// "%v" is the next value, as what it says that it is, "%6v" with zeros before it. There is room.
static size_t put_values(char *out, const char *format, struct value *const *values)
{
	char *p = out;
	while (*format != '\0') {
		size_t width = 0;
		if (*format != '%') {
			*p++ = *format++;
			continue;
		}
		for (format++; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (size_t)(*format - '0');
		format++; // the v
		p += put_value(p, *values++, width);
	}
	return (size_t)(p - out);
}

static char *print_boxed(const struct svc_access *access)
{
	char line[SVC_ACCESS_BYTES], *text = NULL;
	int64_t micros = access->now_ns / TARE_NS_PER_US;
	struct value *const values[LINE_VALUES] = {
	    box_number((uint64_t)(micros / 1000000)),
	    box_number((uint64_t)(micros % 1000000)),
	    box_number(access->query.key),
	    box((struct value){.kind = TEXT, .text = TARE_STR("json")}),
	    box_number(access->status),
	    box_number(access->bytes),
	};
	lab_probe_keep(values);
	if (!work.failed)
		text = copied(line, put_values(line, "%v.%6v GET /lookup key=%v fmt=%v %v %v", values));
	for (size_t i = 0; i < LINE_VALUES; i++)
		unbox(values[i]);
	return text;
}

static void format_boxed(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		const struct svc_access access = access_of(i);
		char *line = print_boxed(&access);
		lab_probe_keep(line);
		tare_free(line);
	}
}

static void format_printf(void *arg, uint64_t n)
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

// What is compared must be one line.
static int check_lines(struct tare_error *err)
{
	const struct svc_access access = access_of(5);
	char typed[SVC_ACCESS_BYTES];
	size_t len = svc_access_write(typed, &access);
	char *const printed[] = {print_boxed(&access), svc_access_print(&access)};
	int rc = 0;
	for (size_t i = 0; i < TARE_ARRAY_LEN(printed); i++) {
		if (must(printed[i]) != NULL && (strlen(printed[i]) != len || memcmp(printed[i], typed, len) != 0))
			rc = tare_error_set(err, -EPROTO, "the lines differ: '%s' and '%.*s'", printed[i], (int)len,
					    typed);
		tare_free(printed[i]);
	}
	return rc;
}

// ---- values -------------------------------------------------------------------------------------------------------

static void value_boxed(void *arg, uint64_t n)
{
	(void)arg;
	for (uint64_t i = 0; i < n && !work.failed; i++) {
		struct value *values[FIELDS];
		uint64_t sum = 0;
		for (size_t k = 0; k < FIELDS; k++)
			values[k] = box_number(work.fields[k]);
		lab_probe_keep(values);
		for (size_t k = 0; k < FIELDS; k++)
			sum += values[k] != NULL && values[k]->kind == NUMBER ? values[k]->number : 0;
		for (size_t k = 0; k < FIELDS; k++)
			unbox(values[k]);
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

static void prepare(void)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	work.query = TARE_STR("1234567890");
	work.failed = false;
	work.payload_bytes = PAYLOAD_BYTES;
	for (size_t i = 0; i < PAYLOAD_BYTES; i++)
		work.payload[i] = (char)tare_rng_next(&rng);
	for (size_t i = 0; i < FIELDS; i++)
		work.fields[i] = tare_rng_next(&rng) | SHARED_NUMBERS; // each in a box of its own
	for (uint64_t i = 0; i < SHARED_NUMBERS; i++)
		shared[i] = (struct value){.kind = NUMBER, .number = i};
}

static int run(const struct lab_probe_args *args, json_t *out, struct tare_error *err)
{
	static const struct {
		const char *name;
		void (*work)(void *arg, uint64_t n);
	} cases[] = {{"string_copy", string_copy},   {"string_slice", string_slice}, {"bytes_copy", bytes_copy},
		     {"bytes_view", bytes_view},     {"format_boxed", format_boxed}, {"format_printf", format_printf},
		     {"format_typed", format_typed}, {"value_boxed", value_boxed},   {"value_typed", value_typed}};
	prepare();
	int rc = check_lines(err);
	if (rc < 0)
		return rc;
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
