// SPDX-License-Identifier: MIT
// A table as a file: writing one, verifying one, opening one.
//
//   0                      4096                                  end of file
//   | struct table_header  | lines and `over`, as in memory      |
//
// The lines are looked up where they are mapped. A file is refused unless
//   1. magic, byte order and version are ours, and header and lines match their XXH3-64: so every byte is covered;
//   2. the sizes are those of a map, and the file ends where the lines do;
//   3. the invariants of table_int.h hold: each key is found from its home and no key stands twice, empty slots are
//      zero, the last line is not full, so that every lookup ends within the map; and there are as many keys as the
//      header says.
// After that a lookup checks nothing.
//
// Threads: no state. Ownership: the table owns the mapping.
// Rejected: the index's slots as such a table (its slots are 8 bytes, since the key stands in the record that a hit
// reads anyway: half the memory, and the same misses; and its format would change for nothing).
#include "index/index_int.h"
#include "index/table_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <inttypes.h>
#include <xxhash.h>

static struct tare_tag heap_tag = TARE_TAG("table");

_Static_assert(sizeof(struct table_header) == TABLE_FILE_ALIGN, "the header is one page");
_Static_assert(offsetof(struct table_header, zero) == 112, "no padding in the header");

// ---- writing ------------------------------------------------------------------------------------------------------

static void header_fill(const struct tare_table *table, struct table_header *out)
{
	const struct table_phase *phase = table_phase(table);
	*out = (struct table_header){
	    .version = TABLE_FILE_VERSION,
	    .byte_order = INDEX_BYTE_ORDER,
	    .bytes = TABLE_FILE_ALIGN + table_bytes(&phase->main),
	    .homes = phase->main.homes,
	    .reach = phase->main.reach,
	    .keys = tare_table_count(table),
	    .seed = {phase->seed[0], phase->seed[1]},
	    .load_percent = table->load_percent,
	};
	memcpy(out->magic, TABLE_FILE_MAGIC, sizeof out->magic);
	for (size_t i = 0; i < TARE_ARRAY_LEN(table->aside); i++) {
		out->aside_taken[i] = table_aside_taken(&table->aside[i]);
		if (out->aside_taken[i] != 0)
			out->aside_value[i] = atomic_load_explicit(&table->aside[i].value, memory_order_relaxed);
	}
	out->lines_checksum = XXH3_64bits(phase->main.lines, table_bytes(&phase->main));
	out->checksum = XXH3_64bits(out, offsetof(struct table_header, checksum));
}

static int fill(void *arg, const struct index_sink *sink, struct tare_error *err)
{
	(void)err; // the file's own errors are told by index_write
	const struct tare_table *table = arg;
	const struct table_map *map = &table_phase(table)->main;
	struct table_header *header = tare_alloc(&heap_tag, sizeof *header);
	if (header == NULL)
		return -ENOMEM;
	header_fill(table, header);
	int rc = sink->put(sink->arg, map->lines, table_bytes(map), TABLE_FILE_ALIGN);
	if (rc == 0) // last: what a crash leaves is no table
		rc = sink->put(sink->arg, header, sizeof *header, 0);
	tare_free(header);
	return rc;
}

int tare_table_save(struct tare_table *table, const char *path, struct tare_error *err)
{
	int rc = table->file == NULL ? index_table_finish(table) : 0;
	if (rc < 0)
		return tare_error_set(err, rc, "%.200s: out of memory for a table that is growing", path);
	return index_write(path, TABLE_FILE_ALIGN + table_bytes(&table_phase(table)->main), fill, table, err);
}

// ---- verifying ----------------------------------------------------------------------------------------------------

struct check {
	const struct table_header *header;
	const char *name;
	size_t len;
	struct tare_error *err;
};

static int refuse(const struct check *c, int code, uint64_t offset, const char *what)
{
	return tare_error_set(c->err, code, "%.200s: at offset %" PRIu64 ": %s; write it again with tare_table_save",
			      c->name, offset, what);
}

static int check_header(const struct check *c)
{
	const struct table_header *h = c->header;
	if (c->len < sizeof h->magic || memcmp(h->magic, TABLE_FILE_MAGIC, sizeof h->magic) != 0)
		return refuse(c, -EBADMSG, 0, "not a table: it does not begin with '" TABLE_FILE_MAGIC "'");
	if (c->len < TABLE_FILE_ALIGN)
		return refuse(c, -EBADMSG, 0, "truncated within the header");
	if (h->byte_order != INDEX_BYTE_ORDER)
		return refuse(c, -EPROTONOSUPPORT, offsetof(struct table_header, byte_order),
			      "the byte order is another, or damaged");
	if (h->version != TABLE_FILE_VERSION)
		return refuse(c, -EPROTONOSUPPORT, offsetof(struct table_header, version),
			      "the version is not 2, which this program reads");
	if (h->checksum != XXH3_64bits(h, offsetof(struct table_header, checksum)))
		return refuse(c, -EBADMSG, 0, "the header's checksum does not match");
	return 0;
}

static int check_sizes(const struct check *c)
{
	const struct table_header *h = c->header;
	if (h->homes < TABLE_HOMES_MIN || h->homes > UINT64_C(1) << 40 || (h->homes & (h->homes - 1)) != 0 ||
	    h->reach != TARE_MIN(h->homes, (uint64_t)TABLE_REACH_MAX))
		return refuse(c, -EBADMSG, offsetof(struct table_header, homes), "there is no map of that size");
	uint64_t bytes = TABLE_FILE_ALIGN + table_bytes(&(struct table_map){.homes = h->homes, .reach = h->reach});
	if (h->bytes != bytes || c->len != bytes)
		return refuse(c, -EBADMSG, offsetof(struct table_header, bytes),
			      c->len < bytes ? "truncated: its lines are not all there"
					     : "something follows its lines");
	bool load = h->load_percent >= 1 && h->load_percent <= 100;
	for (size_t i = 0; i < TARE_ARRAY_LEN(h->aside_taken); i++)
		if (!load || h->aside_taken[i] > 1 || (h->aside_taken[i] == 0 && h->aside_value[i] != 0))
			return refuse(c, -EBADMSG, offsetof(struct table_header, load_percent),
				      "the header contradicts itself");
	for (size_t i = 0; i < sizeof h->zero; i++)
		if (h->zero[i] != 0)
			return refuse(c, -EBADMSG, offsetof(struct table_header, zero) + i, "the padding is not zero");
	return 0;
}

// Whether the key stands in this line once, its home is neither behind it nor before `open`, and it is nowhere in the
// lines from there to here.
static bool key_in_place(const struct check *c, const struct table_map *map, uint64_t line, unsigned at, uint64_t open)
{
	uint64_t key = table_key(&map->lines[line], at);
	uint64_t home = table_home(map, tare_table_hash(c->header->seed, key));
	if (key == TABLE_GONE || home > line || home < open || line - home >= map->reach)
		return false;
	for (uint64_t before = home; before < line; before++)
		if (table_match(&map->lines[before], key) != 0)
			return false;
	return table_match(&map->lines[line], key) == 1U << at;
}

static int check_lines(const struct check *c, const struct table_map *map)
{
	uint64_t keys = c->header->aside_taken[0] + c->header->aside_taken[1],
		 open = 0; // from `open` on all lines up to this one are full
	for (uint64_t line = 0; line < table_lines(map); line++) {
		uint64_t offset = TABLE_FILE_ALIGN + line * sizeof(struct tare_table_line);
		unsigned taken = 0;
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			if (table_key(&map->lines[line], at) == 0) {
				if (table_value(&map->lines[line], at) != 0)
					return refuse(c, -EBADMSG, offset, "an empty slot has a value");
				continue;
			}
			if (at != taken++)
				return refuse(c, -EBADMSG, offset, "an empty slot comes before a taken one");
			if (!key_in_place(c, map, line, at, open))
				return refuse(c, -EBADMSG, offset,
					      "a key is not where a lookup finds it, or stands twice");
		}
		keys += taken;
		if (taken < TABLE_WIDTH)
			open = line + 1;
	}
	if (open != table_lines(map))
		return refuse(c, -EBADMSG, TABLE_FILE_ALIGN + (open - 1) * sizeof(struct tare_table_line),
			      "the last line is full");
	if (keys != c->header->keys)
		return refuse(c, -EBADMSG, offsetof(struct table_header, keys),
			      "there are not as many keys as it says");
	return 0;
}

// A bit too few, and a key is not found; one too many at the end, and a lookup leaves the map.
static int check_over(const struct check *c, const struct table_map *map)
{
	uint64_t low = UINT64_MAX; // of the homes of all keys behind the line
	for (uint64_t line = table_lines(map); line-- > 0;) {
		if (table_is_over(map, line) != (low <= line))
			return refuse(c, -EBADMSG,
				      (uint64_t)((const char *)&map->over[line / 32] - (const char *)c->header),
				      "a line says wrongly whether keys stand behind it");
		for (unsigned at = 0; at < TABLE_WIDTH && table_key(&map->lines[line], at) != 0; at++)
			low = TARE_MIN(
			    low, table_home(map, tare_table_hash(c->header->seed, table_key(&map->lines[line], at))));
	}
	for (const char *end = (const char *)c->header + c->len, *at = end;
	     at-- > (const char *)&map->over[(table_lines(map) + 31) / 32];)
		if (*at != 0)
			return refuse(c, -EBADMSG, (uint64_t)(at - (const char *)c->header), "the padding is not zero");
	return 0;
}

int index_table_verify(const void *base, size_t len, const char *name, struct table_map *ret, struct tare_error *err)
{
	TARE_ASSERT((uintptr_t)base % TARE_CACHE_LINE == 0);
	struct check c = {.header = base, .name = name, .len = len, .err = err};
	int rc = check_header(&c);
	if (rc == 0)
		rc = check_sizes(&c);
	if (rc < 0)
		return rc;
	struct table_map map = {
	    .shift = 64 - (unsigned)__builtin_ctzll(c.header->homes),
	    .memory = TABLE_FILE,
	    .homes = c.header->homes,
	    .reach = c.header->reach,
	};
	table_map_place(&map, (char *)(uintptr_t)base + TABLE_FILE_ALIGN);
	if (c.header->lines_checksum != XXH3_64bits(map.lines, table_bytes(&map)))
		return refuse(&c, -EBADMSG, TABLE_FILE_ALIGN, "the lines' checksum does not match");
	rc = check_lines(&c, &map);
	if (rc == 0)
		rc = check_over(&c, &map);
	if (rc == 0)
		*ret = map;
	return rc;
}

// ---- opening ------------------------------------------------------------------------------------------------------

int tare_table_open(struct tare_table **ret, const char *path, struct tare_error *err)
{
	struct index_input input = {0};
	int rc = index_input_open(&input, path, "tare_table_save makes a table",
				  "give a file that tare_table_save made", err);
	if (rc < 0)
		return rc;
	struct tare_table *table = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, sizeof *table);
	if (table == NULL) {
		rc = tare_error_set(err, -ENOMEM, "%.200s: out of memory", path);
	} else {
		memset(table, 0, sizeof *table);
		rc = index_table_verify(input.base, input.len, path, &table->first.main, err);
	}
	if (rc == 0)
		rc = index_input_settle(&input, err);
	if (rc < 0) {
		tare_free(table);
		index_input_drop(&input);
		return rc;
	}
	const struct table_header *header = input.base;
	memcpy(table->first.seed, header->seed, sizeof table->first.seed);
	table->file = input.base;
	table->file_len = input.len;
	table->load_percent = (unsigned)header->load_percent;
	atomic_init(&table->count, header->keys);
	for (size_t i = 0; i < TARE_ARRAY_LEN(table->aside); i++) {
		atomic_init(&table->aside[i].turns, header->aside_taken[i]);
		atomic_init(&table->aside[i].value, header->aside_value[i]);
	}
	index_table_publish(table, &table->first);
	*ret = table;
	return 0;
}
