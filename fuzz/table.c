// SPDX-License-Identifier: MIT
// Fuzzes index_table_verify: whatever it accepts must be safe to look up in, and nothing may make it read outside the
// file.
//
// An input that begins with the magic is taken as a file as it is. Any other is a recipe, so that a few bytes reach
// behind the checksums:
//
//   0      1        2       4        4 + 11 i
//   | keys | flags | length | patches: what u8, place u16, value u64 |
//
// A file of that many keys is made in memory, patched, sealed with true checksums (flags & 1), and cut or grown by
// length bytes (flags & 2, & 4). A patch writes 8 bytes: into the header (what is even), or into the lines.
//
// FUZZ_SOURCES: src/base/*.c src/index/input.c src/index/output.c src/index/table*.c -lxxhash -lm
#include "index/table_int.h"

#include "fuzz.h"

#include <xxhash.h>

enum { RECIPE_HEAD = 4, PATCH_BYTES = 11 };

// Every key that stands there is found there, and every lookup ends.
static void look_up_all(const struct table_map *map, const struct table_header *header)
{
	uint64_t keys = header->aside_taken[0] + header->aside_taken[1], value;
	for (uint64_t line = 0; line < table_lines(map); line++)
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			uint64_t key = table_key(&map->lines[line], at);
			uint64_t absent = key ^ UINT64_C(1) << (line * TABLE_WIDTH + at) % 64;
			uint64_t hash = tare_table_hash(header->seed, absent);
			(void)tare_table_find(map->lines, map->over, table_home(map, hash), absent | 1, &value);
			if (key == 0)
				continue;
			keys++;
			hash = tare_table_hash(header->seed, key);
			TARE_ASSERT(tare_table_find(map->lines, map->over, table_home(map, hash), key, &value));
			TARE_ASSERT(value == table_value(&map->lines[line], at));
		}
	TARE_ASSERT(keys == header->keys);
}

static void verify_and_look_up(const void *data, size_t len)
{
	void *base = fuzz_copy(data, len);
	if (base == NULL)
		return;
	struct table_map map;
	struct tare_error err = {.text = ""};
	if (index_table_verify(base, len, "fuzz", &map, &err) == 0)
		look_up_all(&map, base);
	else
		TARE_ASSERT(strstr(err.text, "at offset ") != NULL && strchr(err.text, '\n') == NULL);
	free(base);
}

static void header_make(struct table_header *header, const struct tare_table *table)
{
	const struct table_phase *phase = table_phase(table);
	*header = (struct table_header){
	    .version = TABLE_FILE_VERSION,
	    .byte_order = 0x01020304,
	    .bytes = TABLE_FILE_ALIGN + table_bytes(&phase->main),
	    .homes = phase->main.homes,
	    .reach = phase->main.reach,
	    .keys = tare_table_count(table),
	    .seed = {phase->seed[0], phase->seed[1]},
	    .load_percent = 50,
	};
	memcpy(header->magic, TABLE_FILE_MAGIC, sizeof header->magic);
	for (size_t i = 0; i < 2; i++) {
		header->aside_taken[i] = table_aside_taken(&table->aside[i]);
		header->aside_value[i] = table->aside[i].value;
	}
}

static void patch(char *image, size_t len, const uint8_t *bytes)
{
	uint16_t place;
	memcpy(&place, bytes + 1, sizeof place);
	size_t at =
	    bytes[0] % 2 == 0 ? place % 16 * 8 : TABLE_FILE_ALIGN + place * (size_t)8 % (len - TABLE_FILE_ALIGN);
	memcpy(image + at, bytes + 3, 8);
}

static void seal(char *image, size_t len)
{
	struct table_header *header = (struct table_header *)image;
	header->lines_checksum = XXH3_64bits(image + TABLE_FILE_ALIGN, len - TABLE_FILE_ALIGN);
	header->checksum = XXH3_64bits(header, offsetof(struct table_header, checksum));
}

static void run_recipe(const uint8_t *data, size_t size)
{
	struct tare_table *table;
	if (tare_table_new(&table, &(struct tare_table_options){.seed = 1}) < 0)
		return;
	bool all = true;
	for (uint64_t key = 0; key < data[0]; key++)
		all = all && tare_table_put(table, key, ~key) == 0;
	all = all && tare_table_reserve(table, data[0]) == 0;
	const struct table_map *map = &table_phase(table)->main;
	size_t whole = TABLE_FILE_ALIGN + table_bytes(map), len = whole;
	char *image = NULL;
	if (all && posix_memalign((void **)&image, TABLE_FILE_ALIGN, whole + UINT16_MAX) == 0) {
		memset(image, 0, whole + UINT16_MAX);
		header_make((struct table_header *)image, table);
		memcpy(image + TABLE_FILE_ALIGN, (const void *)map->lines, table_bytes(map));
		for (size_t at = RECIPE_HEAD; at + PATCH_BYTES <= size; at += PATCH_BYTES)
			patch(image, whole, data + at);
		len = fuzz_length(data[1], len, data + 2);
		if ((data[1] & FUZZ_SEAL) != 0 && len >= TABLE_FILE_ALIGN)
			seal(image, len);
		verify_and_look_up(image, len);
	}
	free(image);
	tare_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 8 && memcmp(data, TABLE_FILE_MAGIC, 8) == 0)
		verify_and_look_up(data, size);
	else if (size >= RECIPE_HEAD)
		run_recipe(data, size);
	return 0;
}
