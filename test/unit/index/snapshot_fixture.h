// SPDX-License-Identifier: MIT
// A small snapshot in memory that tests damage, and what they need to damage it knowingly.
#ifndef TARE_TEST_SNAPSHOT_FIXTURE_H
#define TARE_TEST_SNAPSHOT_FIXTURE_H

#include "index/index_int.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct image {
	char *base; // aligned as a mapping is
	size_t len;
};

// A folder of the test's own; removed by folder_done, which fails the test when something is left in it.
struct folder {
	char path[64];
};

static inline void folder_init(struct folder *folder)
{
	strcpy(folder->path, "/tmp/tare-index-XXXXXX");
	assert_non_null(mkdtemp(folder->path));
}

static inline void folder_done(struct folder *folder)
{
	assert_return_code(rmdir(folder->path), 0);
}

static inline struct image image_new(uint64_t records, uint32_t categories)
{
	struct tare_gen_options options = {.records = records, .seed = 7, .categories = categories};
	struct index_plan plan;
	struct tare_error err;
	assert_int_equal(index_plan_make(&options, &plan, &err), 0);
	struct image image = {.len = plan.file_bytes};
	image.base = aligned_alloc(INDEX_ALIGN, index_align_up(image.len));
	assert_non_null(image.base);
	memset(image.base, 0, index_align_up(image.len));
	struct index_sink sink = {.base = image.base};
	assert_int_equal(index_generate(&plan, &options, &sink, &err), 0);
	return image;
}

static inline struct index_header *image_header(struct image image)
{
	return (struct index_header *)image.base;
}

static inline void *image_section(struct image image, enum index_section section)
{
	return image.base + image_header(image)->entries[section - 1].offset;
}

// Makes the checksums true again, so that what was changed is judged by itself.
static inline void image_seal(struct image image)
{
	struct index_header *header = image_header(image);
	for (int i = INDEX_CATEGORIES; i < TARE_INDEX_SECTIONS; i++) {
		struct index_entry *entry = &header->entries[i - 1];
		if (entry->offset <= image.len && entry->bytes <= image.len - entry->offset)
			entry->checksum = XXH3_64bits(image.base + entry->offset, entry->bytes);
	}
	header->checksum = XXH3_64bits(header, offsetof(struct index_header, checksum));
}

static inline int image_verify(struct image image, struct tare_error *err)
{
	struct index_view view;
	err->text[0] = '\0';
	return index_verify(image.base, image.len, "t.tare", &view, err);
}

#define assert_contains(text, part)                                                                                    \
	do {                                                                                                           \
		if (strstr(text, part) == NULL)                                                                        \
			fail_msg("'%s' does not contain '%s'", text, part);                                            \
	} while (0)

#endif
