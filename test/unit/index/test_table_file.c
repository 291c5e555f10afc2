// SPDX-License-Identifier: MIT
// Goal: a table that was saved is the same when it is opened, can't be written to, and no damaged file is accepted,
// whether its checksums tell or not.
// Method: tables of several sizes there and back, in the middle of a growth too; every byte of a small file changed,
// every cut; and lies under true checksums, each on an image in memory.
#include "test.h"

#include "snapshot_fixture.h"

#include "index/table_int.h"

#include <errno.h>
#include <stdio.h>

static struct tare_table *table_filled(uint64_t keys, bool zero)
{
	struct tare_table *table;
	assert_int_equal(tare_table_new(&table, &(struct tare_table_options){.seed = keys + 1}), 0);
	for (uint64_t i = 0; i < keys; i++)
		assert_int_equal(tare_table_put(table, i + !zero, ~i), 0);
	return table;
}

static void path_in(const struct folder *folder, char path[128])
{
	snprintf(path, 128, "%s/t.table", folder->path);
}

TEST(a_table_comes_back_from_its_file)
{
	static const uint64_t counts[] = {0, 1, 7, 8, 9, 40, 1000, 33000}; // 9, 33000: in the middle of a growth
	struct folder folder;
	char path[128];
	folder_init(&folder);
	path_in(&folder, path);
	for (size_t i = 0; i < 2 * TARE_ARRAY_LEN(counts); i++) {
		bool zero = i % 2 == 1;
		uint64_t count = counts[i / 2], value;
		struct tare_table *table = table_filled(count, zero), *opened;
		struct tare_error err;
		if (tare_table_save(table, path, &err) < 0 || tare_table_open(&opened, path, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(tare_table_count(opened), count);
		for (uint64_t key = 0; key < count + 50; key++) {
			bool there = key >= !zero && key < count + !zero;
			assert_int_equal(tare_table_get(opened, key, &value), there);
			assert_true(!there || value == ~(key - !zero));
			assert_int_equal(tare_table_read(opened, key, &value), there);
		}
		struct tare_table_stats stats;
		tare_table_stats_get(opened, &stats);
		assert_true(stats.mapped && stats.keys == count);
		assert_int_equal(tare_table_put(opened, 1, 1), -EROFS);
		assert_int_equal(tare_table_add(opened, 1, 1), -EROFS);
		assert_int_equal(tare_table_reserve(opened, 1), -EROFS);
		// The table itself goes on, and a file can be saved from one that was opened.
		assert_int_equal(tare_table_put(table, 1, 1), 0);
		assert_int_equal(tare_table_save(opened, path, &err), 0);
		tare_table_free(opened);
		tare_table_free(table);
	}
	unlink(path);
	folder_done(&folder);
}

TEST(what_is_no_table_is_refused_with_a_line_that_says_so)
{
	struct folder folder;
	char path[128];
	struct tare_table *opened = NULL;
	struct tare_error err;
	folder_init(&folder);
	path_in(&folder, path);
	assert_int_equal(tare_table_open(&opened, path, &err), -ENOENT);
	assert_contains(err.text, "t.table: can't be opened");
	assert_int_equal(tare_table_open(&opened, folder.path, &err), -EISDIR);
	assert_contains(err.text, "not a regular file");
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(tare_table_open(&opened, path, &err), -EBADMSG); // empty
	assert_contains(err.text, "not a table");
	fputs("TARESNAPxxxxxxxxxxxxxxx", file);
	fclose(file);
	assert_int_equal(tare_table_open(&opened, path, &err), -EBADMSG);
	assert_contains(err.text, "not a table");
	assert_null(opened);
	struct tare_table *table = table_filled(3, true);
	assert_int_equal(tare_table_save(table, folder.path, &err), -EISDIR);
	assert_int_equal(tare_table_save(table, "/proc/none/t", &err), -ENOENT);
	tare_table_free(table);
	unlink(path);
	folder_done(&folder);
}

// ---- damage -------------------------------------------------------------------------------------------------------

// A file's bytes, aligned as a mapping is.
static struct image table_image(uint64_t keys)
{
	struct folder folder;
	char path[128];
	struct tare_table *table = table_filled(keys, true);
	folder_init(&folder);
	path_in(&folder, path);
	assert_int_equal(tare_table_save(table, path, NULL), 0);
	tare_table_free(table);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	struct stat st;
	assert_int_equal(fstat(fileno(file), &st), 0);
	struct image image = {.len = (size_t)st.st_size};
	assert_int_equal(posix_memalign((void **)&image.base, TABLE_FILE_ALIGN, image.len), 0);
	assert_int_equal(fread(image.base, 1, image.len, file), image.len);
	fclose(file);
	unlink(path);
	folder_done(&folder);
	return image;
}

static int verify(struct image image, struct tare_error *err)
{
	struct table_map map;
	err->text[0] = '\0';
	return index_table_verify(image.base, image.len, "t.table", &map, err);
}

static void seal(struct image image)
{
	struct table_header *header = (struct table_header *)image.base;
	header->lines_checksum = XXH3_64bits(image.base + TABLE_FILE_ALIGN, image.len - TABLE_FILE_ALIGN);
	header->checksum = XXH3_64bits(header, offsetof(struct table_header, checksum));
}

TEST(a_changed_byte_anywhere_is_refused)
{
	struct image image = table_image(30);
	struct tare_error err;
	for (size_t at = 0; at < image.len; at++)
		for (int bit = 0; bit < 8; bit += 3) {
			image.base[at] ^= (char)(1 << bit);
			int rc = verify(image, &err);
			image.base[at] ^= (char)(1 << bit);
			if (rc != -EBADMSG && !(at >= 8 && at < 16 && rc == -EPROTONOSUPPORT))
				fail_msg("a change at %zu gave %d: %s", at, rc, err.text);
			assert_contains(err.text, "t.table: at offset ");
		}
	assert_int_equal(verify(image, &err), 0);
	free(image.base);
}

TEST(every_cut_and_anything_appended_is_refused)
{
	struct image image = table_image(30);
	struct tare_error err;
	for (size_t len = 0; len < image.len; len++)
		assert_int_equal(verify((struct image){image.base, len}, &err), -EBADMSG);
	image.base = realloc(image.base, image.len + TARE_CACHE_LINE);
	struct image longer = {NULL, image.len + TARE_CACHE_LINE};
	assert_int_equal(posix_memalign((void **)&longer.base, TABLE_FILE_ALIGN, longer.len), 0);
	memset(longer.base, 0, longer.len);
	memcpy(longer.base, image.base, image.len);
	assert_int_equal(verify(longer, &err), -EBADMSG);
	assert_contains(err.text, "something follows");
	free(longer.base);
	free(image.base);
}

// A lie changes the lines or the header of a good image; its checksums are made true before it is verified.
static void lie_value_of_empty(struct table_header *header, struct tare_table_line *lines)
{
	uint64_t line = 0;
	while (table_full(&lines[line]))
		line++;
	atomic_store(&lines[line].values[3], 1);
	(void)header;
}

static void lie_lost_key(struct table_header *header, struct tare_table_line *lines)
{
	for (uint64_t line = 0;; line++)
		if (table_key(&lines[line], 0) != 0 && !table_full(&lines[line])) {
			for (unsigned at = 0; at < TABLE_WIDTH; at++) {
				atomic_store(&lines[line].keys[at], 0);
				atomic_store(&lines[line].values[at], 0);
			}
			break;
		}
	(void)header;
}

static void lie_gap_in_a_line(struct table_header *header, struct tare_table_line *lines)
{
	for (uint64_t line = 0;; line++)
		if (table_key(&lines[line], 1) != 0) {
			atomic_store(&lines[line].keys[0], 0);
			atomic_store(&lines[line].values[0], 0);
			header->keys--;
			break;
		}
}

static void lie_wrong_home(struct table_header *header, struct tare_table_line *lines)
{
	for (uint64_t line = 0;; line++)
		if (table_key(&lines[line], 0) != 0) {
			uint64_t key = table_key(&lines[line], 0);
			while (tare_table_hash(header->seed, key) >> 62 ==
			       tare_table_hash(header->seed, table_key(&lines[line], 0)) >> 62)
				key += 1000;
			atomic_store(&lines[line].keys[0], key);
			break;
		}
}

static void lie_twice(struct table_header *header, struct tare_table_line *lines)
{
	for (uint64_t line = 0;; line++)
		if (table_key(&lines[line], 0) != 0 && table_key(&lines[line], 3) == 0) {
			unsigned at = 1;
			while (table_key(&lines[line], at) != 0)
				at++;
			table_fill((struct table_slot){&lines[line], at}, table_key(&lines[line], 0), 5);
			header->keys++;
			break;
		}
}

static void lie_all_full(struct table_header *header, struct tare_table_line *lines)
{
	// With this seed every hash is 0, and so every home; the keys fill every line, the last one too.
	header->seed[0] = header->seed[1] = 0;
	uint64_t key = 0;
	for (uint64_t line = 0; line < header->homes + header->reach; line++)
		for (unsigned at = 0; at < TABLE_WIDTH; at++)
			table_fill((struct table_slot){&lines[line], at}, ++key, 1);
	header->keys = key;
	memset(header->aside_taken, 0, sizeof header->aside_taken + sizeof header->aside_value);
}

static void lie_behind_a_gap(struct table_header *header, struct tare_table_line *lines)
{
	header->seed[0] = header->seed[1] = 0;
	memset((void *)lines, 0, (header->homes + header->reach) * sizeof *lines);
	table_fill((struct table_slot){&lines[1], 0}, 77, 1); // at home in line 0, which is not full
	header->keys = 1;
	memset(header->aside_taken, 0, sizeof header->aside_taken + sizeof header->aside_value);
}

// The last line says that keys stand behind it: a lookup would go on past the map.
static void lie_over(struct table_header *header, struct tare_table_line *lines)
{
	unsigned char *over = (unsigned char *)&lines[header->homes + header->reach];
	over[(header->homes + header->reach - 1) / 8] |= (unsigned char)(1 << (header->homes + header->reach - 1) % 8);
}

// The first line behind which a key stands denies it.
static void lie_not_over(struct table_header *header, struct tare_table_line *lines)
{
	uint32_t *over = (uint32_t *)(void *)&lines[header->homes + header->reach];
	while (*over == 0)
		over++;
	*over &= *over - 1;
}

static void lie_behind_over(struct table_header *header, struct tare_table_line *lines)
{
	((unsigned char *)&lines[header->homes + header->reach])[TARE_CACHE_LINE - 1] = 1;
}

static void lie_reach(struct table_header *header, struct tare_table_line *lines)
{
	(void)lines;
	header->reach /= 2;
}

static void lie_homes(struct table_header *header, struct tare_table_line *lines)
{
	(void)lines;
	header->homes = UINT64_C(1) << 58; // times 64 is 0
}

static void lie_zero(struct table_header *header, struct tare_table_line *lines)
{
	(void)lines;
	header->aside_taken[1] = 2;
}

TEST(lies_under_true_checksums_are_refused)
{
	static const struct {
		void (*lie)(struct table_header *, struct tare_table_line *);
		const char *what;
	} lies[] = {
	    {lie_value_of_empty, "an empty slot has a value"},
	    {lie_lost_key, "not as many keys"},
	    {lie_gap_in_a_line, "before a taken one"},
	    {lie_wrong_home, "not where a lookup finds it"},
	    {lie_twice, "stands twice"},
	    {lie_all_full, "not where a lookup finds it"},
	    {lie_behind_a_gap, "not where a lookup finds it"},
	    {lie_over, "wrongly whether keys stand behind it"},
	    {lie_not_over, "wrongly whether keys stand behind it"},
	    {lie_behind_over, "padding is not zero"},
	    {lie_reach, "no map of that size"},
	    {lie_homes, "no map of that size"},
	    {lie_zero, "contradicts itself"},
	};
	struct tare_error err;
	for (size_t i = 0; i < TARE_ARRAY_LEN(lies); i++) {
		struct image image = table_image(30);
		lies[i].lie((struct table_header *)image.base,
			    (struct tare_table_line *)(image.base + TABLE_FILE_ALIGN));
		seal(image);
		assert_int_equal(verify(image, &err), -EBADMSG);
		assert_contains(err.text, lies[i].what);
		free(image.base);
	}
}
