// SPDX-License-Identifier: MIT
// Goal: no damaged snapshot is accepted, and the error names where the damage is.
// Method: every byte of a small snapshot flipped, every kind of cut, and lies with true checksums, each on an image in
// memory; the image is compared with an untouched one in between, so that no test rests on another's damage.
#include "test.h"
#include "snapshot_fixture.h"

#include <errno.h>

enum { RECORDS = 200, CATEGORIES = 30 };

// The section whose bytes or padding hold this offset.
static const char *section_of(struct image image, size_t at)
{
	const char *name = "header";
	for (int i = INDEX_CATEGORIES; i < TARE_INDEX_SECTIONS; i++)
		if (at >= image_header(image)->entries[i - 1].offset)
			name = index_section_names[i];
	return name;
}

static void assert_refused_in(struct image image, int code, const char *section, const char *what)
{
	struct tare_error err;
	assert_int_equal(image_verify(image, &err), code);
	char expected[64];
	snprintf(expected, sizeof expected, "t.tare: section '%s' at offset ", section);
	assert_contains(err.text, expected);
	assert_contains(err.text, what);
	assert_contains(err.text, "; regenerate it with 'tare gen'");
}

TEST(an_untouched_snapshot_is_accepted)
{
	struct tare_error err;
	for (uint64_t records = 1; records < 140; records += 23) {
		struct image image = image_new(records, 1 + (uint32_t)records);
		if (image_verify(image, &err) != 0)
			fail_msg("%s", err.text);
		free(image.base);
	}
}

TEST(a_flipped_bit_in_any_byte_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	for (size_t at = 0; at < image.len; at++) {
		const char *section = section_of(image, at);
		char expected[64];
		snprintf(expected, sizeof expected, "section '%s' at offset ", section);
		struct tare_error err;
		image.base[at] ^= (char)(1 << at % 8);
		int rc = image_verify(image, &err);
		image.base[at] ^= (char)(1 << at % 8);
		if (rc != -EBADMSG && !(at >= 8 && at < 16 && rc == -EPROTONOSUPPORT))
			fail_msg("a flip at %zu in '%s' gave %d: %s", at, section, rc, err.text);
		assert_contains(err.text, expected);
	}
	struct tare_error err;
	assert_int_equal(image_verify(image, &err), 0);
	free(image.base);
}

TEST(every_truncation_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	for (size_t len = 0; len < image.len; len++) {
		struct tare_error err;
		struct image cut = {.base = image.base, .len = len};
		if (image_verify(cut, &err) != -EBADMSG)
			fail_msg("a cut at %zu of %zu was not refused", len, image.len);
	}
	free(image.base);
}

// The error names the first section that is not all there.
TEST(a_truncation_names_the_section)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	uint64_t end_before = INDEX_ALIGN;
	for (int i = INDEX_CATEGORIES; i < TARE_INDEX_SECTIONS; i++) {
		const struct index_entry *entry = &image_header(image)->entries[i - 1];
		size_t cuts[] = {entry->offset - 1, entry->offset, entry->offset + 1, entry->offset + entry->bytes - 1};
		for (size_t k = 0; k < TARE_ARRAY_LEN(cuts); k++) {
			struct image cut = {.base = image.base, .len = cuts[k]};
			int cut_section = cuts[k] < end_before ? i - 1 : i;
			assert_refused_in(cut, -EBADMSG, index_section_names[cut_section], "truncated");
		}
		end_before = entry->offset + entry->bytes;
	}
	struct image none = {.base = image.base, .len = 0};
	assert_refused_in(none, -EBADMSG, "header", "it is empty");
	free(image.base);
}

TEST(appended_bytes_are_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	size_t room = index_align_up(image.len) - image.len;
	assert_true(room > 0);
	for (size_t more = 1; more <= room; more += room - 1) {
		struct image longer = {.base = image.base, .len = image.len + more};
		assert_refused_in(longer, -EBADMSG, "payloads", "bytes follow its end");
	}
	free(image.base);
}

TEST(another_kind_of_file_is_told_apart)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	struct index_header *header = image_header(image), good = *header;
	header->version = 2;
	image_seal(image);
	assert_refused_in(image, -EPROTONOSUPPORT, "header", "version is 2, and this program reads version 1");
	*header = good;
	header->byte_order = 0x04030201;
	image_seal(image);
	assert_refused_in(image, -EPROTONOSUPPORT, "header", "it is big-endian");
	*header = good;
	memcpy(header->magic, "TARESNAQ", 8);
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "header", "not a snapshot");
	free(image.base);
}

// ---- lies with true checksums -------------------------------------------------------------------------------------

struct header_lie {
	const char *section, *what;
	size_t offset, width;
	uint64_t value;
};

#define LIE(section, what, field, value)                                                                               \
	{                                                                                                              \
		section, what, offsetof(struct index_header, field), sizeof(((struct index_header *)0)->field), value  \
	}

TEST(a_lying_header_is_refused)
{
	static const struct header_lie lies[] = {
	    LIE("header", "bytes a record", record_bytes, 72),
	    LIE("header", "alignment", align, 512),
	    LIE("header", "sections", sections, 5),
	    LIE("header", "records", records, 0),
	    LIE("header", "records", records, UINT64_MAX),
	    LIE("header", "power of two", slots, 511),
	    LIE("header", "power of two", slots, 0),
	    LIE("header", "power of two", slots, 256),
	    LIE("header", "power of two", slots, UINT64_C(1) << 63),
	    LIE("slots", "do not fit the header's counts", slots, 1024),
	    LIE("records", "do not fit the header's counts", records, RECORDS - 1),
	    LIE("header", "categories", categories, 0),
	    LIE("header", "categories", categories, 65536),
	    LIE("categories", "do not fit the header's counts", categories, 60000),
	    LIE("header", "it tells of", bytes, 5),
	    LIE("header", "is not zero", zero[100], 1),
	    LIE("header", "is not named 'records'", entries[1].name[0], 'x'),
	    LIE("header", "is not named 'slots'", entries[2].name[15], 'x'),
	    LIE("records", "it should begin at offset", entries[1].offset, 0),
	    LIE("records", "it should begin at offset", entries[1].offset, UINT64_MAX - 63),
	    LIE("payloads", "it should begin at offset", entries[3].offset, 4096),
	    LIE("payloads", "truncated", entries[3].bytes, UINT64_C(1) << 40),
	    LIE("payloads", "do not fit", entries[3].bytes, UINT64_MAX),
	    LIE("payloads", "bytes follow its end", entries[3].bytes, 0),
	};
	struct image image = image_new(RECORDS, CATEGORIES);
	struct index_header good = *image_header(image);
	for (size_t i = 0; i < TARE_ARRAY_LEN(lies); i++) {
		memcpy(image.base + lies[i].offset, &lies[i].value, lies[i].width);
		image_seal(image);
		assert_refused_in(image, -EBADMSG, lies[i].section, lies[i].what);
		*image_header(image) = good;
	}
	free(image.base);
}

TEST(checksummed_padding_is_still_zero)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	for (int i = INDEX_CATEGORIES; i < INDEX_PAYLOADS; i++) {
		const struct index_entry *entry = &image_header(image)->entries[i - 1];
		uint64_t end = entry->offset + entry->bytes;
		for (uint64_t at = end; at < index_align_up(end); at += index_align_up(end) - end - 1) {
			image.base[at] = 1;
			image_seal(image);
			assert_refused_in(image, -EBADMSG, index_section_names[i], "padding behind it is not zero");
			image.base[at] = 0;
		}
	}
	free(image.base);
}

static void refuse_record(struct image image, struct tare_record changed, uint64_t position, const char *what)
{
	struct tare_record *record = (struct tare_record *)image_section(image, INDEX_RECORDS) + position;
	struct tare_record good = *record;
	*record = changed;
	image_seal(image);
	char expected[64];
	snprintf(expected, sizeof expected, "record %llu at offset %llu", (unsigned long long)position,
		 (unsigned long long)((char *)record - image.base));
	assert_refused_in(image, -EBADMSG, "records", what);
	assert_refused_in(image, -EBADMSG, "records", expected);
	*record = good;
	image_seal(image);
}

TEST(a_record_that_points_outside_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	const struct tare_record *records = image_section(image, INDEX_RECORDS);
	uint64_t places[] = {0, 1, RECORDS / 2, RECORDS - 1};
	for (size_t i = 0; i < TARE_ARRAY_LEN(places); i++) {
		struct tare_record changed = records[places[i]];
		changed.category = CATEGORIES;
		refuse_record(image, changed, places[i], "not in the dictionary of 30");
		changed.category = UINT16_MAX;
		refuse_record(image, changed, places[i], "not in the dictionary of 30");
		changed = records[places[i]];
		changed.payload_offset = UINT64_MAX;
		refuse_record(image, changed, places[i], "its payload should begin at");
		changed = records[places[i]];
		changed.payload_offset++;
		refuse_record(image, changed, places[i], "its payload should begin at");
		changed = records[places[i]];
		changed.payload_len = UINT32_MAX;
		refuse_record(image, changed, places[i], "end within it");
		changed = records[places[i]];
		memset(&changed.hot, 2, 1);
		refuse_record(image, changed, places[i], "should be 0 or 1");
		changed = records[places[i]];
		memset(&changed.active, 0xff, 1);
		refuse_record(image, changed, places[i], "should be 0 or 1");
	}
	struct tare_error err;
	assert_int_equal(image_verify(image, &err), 0);
	free(image.base);
}

TEST(payload_bytes_of_no_record_are_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	struct tare_record *records = image_section(image, INDEX_RECORDS);
	records[RECORDS - 1].payload_len--;
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "payloads", "1 of its ");
	records[RECORDS - 1].payload_len += 2;
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "records", "end within it");
	free(image.base);
}

static uint64_t first_taken(const uint64_t *slots)
{
	uint64_t i = 0;
	while (slots[i] == 0)
		i++;
	return i;
}

TEST(a_lying_hash_table_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	uint64_t *slots = image_section(image, INDEX_SLOTS);
	uint64_t taken = first_taken(slots), good = slots[taken];
	const uint64_t tag = good & UINT64_C(0xffffffff00000000);
	const struct {
		uint64_t slot;
		const char *what;
	} lies[] = {
	    {tag | (RECORDS + 1), "points outside the 200 records"},
	    {tag | UINT32_MAX, "points outside the 200 records"},
	    {tag | UINT64_C(0x100000000), "points outside the 200 records"}, // taken, and record 0 - 1
	    {0, "199 slots are taken for 200 records"},
	    {good ^ UINT64_C(1) << 63, "is not found by its id"},
	    {tag | ((good & UINT32_MAX) == 1 ? 2 : 1), "is not found by its id"}, // another's, so its own is lost
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(lies); i++) {
		slots[taken] = lies[i].slot;
		image_seal(image);
		assert_refused_in(image, -EBADMSG, "slots", lies[i].what);
	}
	slots[taken] = good;
	uint64_t empty = 0;
	while (slots[empty] != 0)
		empty++;
	slots[empty] = good;
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "slots", "201 slots are taken for 200 records");
	free(image.base);
}

TEST(a_duplicate_id_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	struct tare_record *records = image_section(image, INDEX_RECORDS);
	records[5].id = records[6].id;
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "slots", "(lost, or a duplicate)");
	free(image.base);
}

// The run goes around the end of the table, where it is as long for a lookup as anywhere.
TEST(a_run_of_taken_slots_has_a_limit)
{
	enum { MANY = INDEX_RUN_MAX + 1 };
	struct image image = image_new(MANY, 1);
	uint64_t *slots = image_section(image, INDEX_SLOTS), count = image_header(image)->slots;
	memset(slots, 0, count * sizeof *slots);
	for (uint64_t i = 0; i < MANY; i++)
		slots[(count - MANY / 2 + i) & (count - 1)] = i + 1;
	image_seal(image);
	assert_refused_in(image, -EBADMSG, "slots", "1025 taken slots stand in a row");
	free(image.base);
}

TEST(a_lying_dictionary_is_refused)
{
	struct image image = image_new(RECORDS, CATEGORIES);
	uint32_t *offsets = image_section(image, INDEX_CATEGORIES);
	char *text = (char *)(offsets + CATEGORIES + 1);
	const struct {
		uint32_t entry, value;
	} lies[] = {{0, 1}, {CATEGORIES, 0}, {CATEGORIES, offsets[CATEGORIES] + 1},
		    {3, 0}, {3, UINT32_MAX}, {4, offsets[3]}};
	for (size_t i = 0; i < TARE_ARRAY_LEN(lies); i++) {
		uint32_t good = offsets[lies[i].entry];
		offsets[lies[i].entry] = lies[i].value;
		image_seal(image);
		assert_refused_in(image, -EBADMSG, "categories", "entr");
		offsets[lies[i].entry] = good;
	}
	const char bytes[] = {'"', '\\', '\n', 0x7f, (char)0x80, '\0'};
	for (size_t i = 0; i < sizeof bytes; i++) {
		char good = text[10];
		text[10] = bytes[i];
		image_seal(image);
		assert_refused_in(image, -EBADMSG, "categories", "byte 10 of its text");
		text[10] = good;
	}
	free(image.base);
}
