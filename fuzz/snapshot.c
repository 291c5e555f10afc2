// SPDX-License-Identifier: MIT
// Fuzzes index_verify: whatever it accepts must be safe to serve, and nothing may make it read outside the block.
//
// An input that begins with the magic is taken as a snapshot as it is. Any other is a recipe, so that a few bytes reach
// behind the checksums and the corpus stays small:
//
//   0         1            2       3        5        5 + 12 i
//   | records | categories | flags | length | patches: section u8, width u8, place u16, value u64 |
//
// A good image of that many records is made, patched, sealed with true checksums (flags & 1), and cut or grown by
// length bytes (flags & 2, & 4). A patch writes its value's first 1, 2, 4 or 8 bytes at place × width within the
// section.
//
// FUZZ_SOURCES: src/base/*.c src/index/generate.c src/index/index.c src/index/input.c src/index/output.c
// src/index/snapshot.c src/index/verify.c -lxxhash -lm
#include "index/index_int.h"

#include "fuzz.h"

#include <xxhash.h>

enum { RECIPE_HEAD = 5, PATCH_BYTES = 12 };

// What a service does with an index it was given: everything, over all records.
static void serve_all(struct tare_index *index)
{
	const struct index_view *view = &index->view;
	uint64_t sum = 0;
	TARE_ASSERT(view->stats.load_factor <= 0.5 && view->stats.probe_max <= view->stats.run_max);
	for (uint64_t i = 0; i < view->stats.records; i++) {
		const struct tare_record *record = tare_index_record(index, i);
		struct tare_str category = tare_index_category(index, record),
				payload = tare_index_payload(index, record);
		TARE_ASSERT(tare_index_find(index, record->id) == record);
		TARE_ASSERT(category.len >= 1 && category.len <= INDEX_CATEGORY_MAX);
		TARE_ASSERT(payload.len <= view->stats.payload_bytes_max);
		TARE_ASSERT(record->id >= view->stats.key_min && record->id <= view->stats.key_max);
		sum += XXH3_64bits(category.ptr, category.len) + XXH3_64bits(payload.ptr, payload.len);
		const struct tare_record *other = tare_index_find(index, record->id ^ UINT64_C(1) << i % 64);
		TARE_ASSERT(other == NULL || other->id == (record->id ^ UINT64_C(1) << i % 64));
	}
	__asm__ __volatile__("" : : "r"(sum)); // the bytes were read
}

static void verify_and_serve(const void *data, size_t len)
{
	void *base = fuzz_copy(data, len);
	if (base == NULL)
		return;
	struct tare_index index = {.base = base, .len = len};
	struct tare_error err = {.text = ""};
	if (index_verify(base, len, "fuzz", &index.view, &err) == 0)
		serve_all(&index);
	else
		TARE_ASSERT(strstr(err.text, "section '") != NULL && strchr(err.text, '\n') == NULL);
	free(base);
}

static void patch(char *image, const struct index_plan *plan, const uint8_t *bytes)
{
	unsigned section = bytes[0] % TARE_INDEX_SECTIONS;
	size_t width = (size_t)1 << bytes[1] % 4;
	uint16_t place;
	memcpy(&place, bytes + 2, sizeof place);
	uint64_t room = plan->bytes[section] / width;
	if (room > 0)
		memcpy(image + plan->offset[section] + place % room * width, bytes + 4, width);
}

static void seal(char *image, size_t len)
{
	struct index_header *header = (struct index_header *)image;
	for (size_t i = 0; i < TARE_ARRAY_LEN(header->entries); i++) {
		struct index_entry *entry = &header->entries[i];
		if (entry->offset <= len && entry->bytes <= len - entry->offset)
			entry->checksum = XXH3_64bits(image + entry->offset, entry->bytes);
	}
	header->checksum = XXH3_64bits(header, offsetof(struct index_header, checksum));
}

static void run_recipe(const uint8_t *data, size_t size)
{
	struct tare_gen_options options = {
	    .records = data[0] + UINT64_C(1), .seed = 1, .categories = data[1] + UINT32_C(1)};
	struct index_plan plan;
	if (index_plan_make(&options, &plan, NULL) != 0)
		return;
	size_t len = plan.file_bytes;
	char *image = NULL;
	if (posix_memalign((void **)&image, INDEX_ALIGN, len + UINT16_MAX) != 0)
		return;
	memset(image, 0, len + UINT16_MAX);
	struct index_sink sink = {.base = image};
	if (index_generate(&plan, &options, &sink, NULL) == 0) {
		for (size_t at = RECIPE_HEAD; at + PATCH_BYTES <= size; at += PATCH_BYTES)
			patch(image, &plan, data + at);
		len = fuzz_length(data[2], len, data + 3);
		if ((data[2] & FUZZ_SEAL) != 0 && len >= INDEX_ALIGN)
			seal(image, len);
		verify_and_serve(image, len);
	}
	free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 8 && memcmp(data, TARE_SNAPSHOT_MAGIC, 8) == 0)
		verify_and_serve(data, size);
	else if (size >= RECIPE_HEAD)
		run_recipe(data, size);
	return 0;
}
