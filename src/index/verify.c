// SPDX-License-Identifier: MIT
// Proves a snapshot: the invariants of index_int.h, in the order in which each check may rely on those before it.
//
//   header → places → padding → checksums → dictionary → slots → records
//
// Every error names the file, the section and its offset; where one thing in a section is wrong, that thing's offset
// too. Cost: two passes over the block, and one cache miss a record for its slot, fetched ahead. Threads: no state.
// Ownership: the view points into the block. Rejected: checking structure while checksumming, which saves a pass but
// calls a flipped byte a bad category.
#include "index/index_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

const char *const index_section_names[TARE_INDEX_SECTIONS] = {"header", "categories", "records", "slots", "payloads"};

enum { FETCH_AHEAD = 16 };

struct check {
	const char *base;
	size_t len;
	const char *name;
	const struct index_header *header;
	struct tare_error *err;
};

static uint64_t section_offset(const struct check *c, enum index_section section)
{
	return section == INDEX_HEADER ? 0 : c->header->entries[section - 1].offset;
}

static uint64_t section_bytes(const struct check *c, enum index_section section)
{
	return section == INDEX_HEADER ? INDEX_ALIGN : c->header->entries[section - 1].bytes;
}

static const void *section_at(const struct check *c, enum index_section section)
{
	return c->base + section_offset(c, section);
}

static int refuse_as(const struct check *c, int code, enum index_section section, uint64_t offset, const char *format,
		     ...) TARE_PRINTF(5, 6);
static int refuse_as(const struct check *c, int code, enum index_section section, uint64_t offset, const char *format,
		     ...)
{
	char what[300];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return tare_error_set(c->err, code,
			      "%.120s: section '%s' at offset %" PRIu64 ": %s; regenerate it with 'tare gen'", c->name,
			      index_section_names[section], offset, what);
}

#define REFUSE(c, section, ...) refuse_as(c, -EBADMSG, section, section_offset(c, section), __VA_ARGS__)

// ---- header -------------------------------------------------------------------------------------------------------

static int check_identity(const struct check *c)
{
	const struct index_header *h = c->header;
	if (c->len < sizeof h->magic || memcmp(h->magic, TARE_SNAPSHOT_MAGIC, sizeof h->magic) != 0)
		return refuse_as(c, -EBADMSG, INDEX_HEADER, 0, "not a snapshot: it %s",
				 c->len == 0 ? "is empty" : "does not begin with '" TARE_SNAPSHOT_MAGIC "'");
	if (c->len < INDEX_ALIGN)
		return refuse_as(c, -EBADMSG, INDEX_HEADER, 0, "truncated: the file has %zu of its %d bytes", c->len,
				 INDEX_ALIGN);
	uint64_t checksum = XXH3_64bits(h, offsetof(struct index_header, checksum));
	// A valid file of another kind is told from a damaged one of ours, as far as the two fields can tell.
	if (h->byte_order != INDEX_BYTE_ORDER)
		return refuse_as(c, -EPROTONOSUPPORT, INDEX_HEADER, 0,
				 "byte order mark is %08" PRIx32 ", not %08x: it is %s", h->byte_order,
				 INDEX_BYTE_ORDER,
				 h->byte_order == __builtin_bswap32(INDEX_BYTE_ORDER) ? "big-endian" : "damaged");
	if (h->version != INDEX_VERSION)
		return refuse_as(c, -EPROTONOSUPPORT, INDEX_HEADER, 0,
				 "version is %" PRIu32 ", and this program reads version %d", h->version,
				 INDEX_VERSION);
	if (checksum != h->checksum)
		return REFUSE(c, INDEX_HEADER, "checksum mismatch (stored %016" PRIx64 ", computed %016" PRIx64 ")",
			      h->checksum, checksum);
	return 0;
}

// The counts, by themselves; after it none of their products overflows.
static int check_counts(const struct check *c)
{
	const struct index_header *h = c->header;
	if (h->record_bytes != sizeof(struct tare_record) || h->align != INDEX_ALIGN ||
	    h->sections != TARE_ARRAY_LEN(h->entries))
		return REFUSE(c, INDEX_HEADER,
			      "%" PRIu32 " bytes a record, alignment %" PRIu32 ", %" PRIu32
			      " sections: should be %zu, %d, %zu",
			      h->record_bytes, h->align, h->sections, sizeof(struct tare_record), INDEX_ALIGN,
			      TARE_ARRAY_LEN(h->entries));
	if (h->records == 0 || h->records > INDEX_RECORDS_MAX)
		return REFUSE(c, INDEX_HEADER, "%" PRIu64 " records: should be 1 to %" PRIu64, h->records,
			      INDEX_RECORDS_MAX);
	if (h->slots < INDEX_SLOTS_MIN || (h->slots & (h->slots - 1)) != 0 || h->slots > UINT64_C(1) << 33 ||
	    h->slots / 2 < h->records)
		return REFUSE(c, INDEX_HEADER,
			      "%" PRIu64 " slots: should be a power of two of at least twice the %" PRIu64 " records",
			      h->slots, h->records);
	if (h->categories == 0 || h->categories > UINT16_MAX)
		return REFUSE(c, INDEX_HEADER, "%" PRIu32 " categories: should be 1 to %d", h->categories, UINT16_MAX);
	for (size_t i = 0; i < sizeof h->zero; i++)
		if (h->zero[i] != 0)
			return REFUSE(c, INDEX_HEADER, "the byte at offset %zu is not zero",
				      offsetof(struct index_header, zero) + i);
	return 0;
}

static int check_entry(const struct check *c, enum index_section section, uint64_t *end)
{
	const struct index_header *h = c->header;
	const struct index_entry *entry = &h->entries[section - 1];
	char name[sizeof entry->name] = {0};
	memcpy(name, index_section_names[section], strlen(index_section_names[section]));
	if (memcmp(entry->name, name, sizeof name) != 0)
		return REFUSE(c, INDEX_HEADER, "entry %d is not named '%s'", section, name);
	if (entry->offset != index_align_up(*end))
		return REFUSE(c, section, "it should begin at offset %" PRIu64, index_align_up(*end));
	uint64_t least = 0, most = UINT64_C(1) << 56;
	if (section == INDEX_CATEGORIES)
		least = (h->categories + UINT64_C(1)) * sizeof(uint32_t);
	else if (section == INDEX_RECORDS)
		least = most = h->records * sizeof(struct tare_record);
	else if (section == INDEX_SLOTS)
		least = most = h->slots * sizeof(uint64_t);
	if (entry->bytes < least || entry->bytes > most)
		return REFUSE(c, section, "%" PRIu64 " bytes do not fit the header's counts", entry->bytes);
	*end = entry->offset + entry->bytes;
	if (*end > c->len)
		return REFUSE(c, section, "truncated: it ends at offset %" PRIu64 ", and the file at %zu", *end,
			      c->len);
	return 0;
}

static int check_places(const struct check *c)
{
	uint64_t end = INDEX_ALIGN;
	for (int section = INDEX_CATEGORIES; section < TARE_INDEX_SECTIONS; section++) {
		int rc = check_entry(c, (enum index_section)section, &end);
		if (rc < 0)
			return rc;
	}
	if (end != c->len)
		return REFUSE(c, INDEX_PAYLOADS, "%" PRIu64 " bytes follow its end at offset %" PRIu64, c->len - end,
			      end);
	if (c->header->bytes != c->len)
		return REFUSE(c, INDEX_HEADER, "it tells of %" PRIu64 " bytes, and the file has %zu", c->header->bytes,
			      c->len);
	return 0;
}

static int check_padding(const struct check *c)
{
	for (int section = INDEX_CATEGORIES; section < INDEX_PAYLOADS; section++) {
		uint64_t end =
		    section_offset(c, (enum index_section)section) + section_bytes(c, (enum index_section)section);
		for (uint64_t at = end; at < index_align_up(end); at++)
			if (c->base[at] != 0)
				return REFUSE(c, (enum index_section)section,
					      "the padding behind it is not zero at offset %" PRIu64, at);
	}
	return 0;
}

static int check_checksums(const struct check *c)
{
	for (int section = INDEX_CATEGORIES; section < TARE_INDEX_SECTIONS; section++) {
		uint64_t stored = c->header->entries[section - 1].checksum;
		uint64_t computed = XXH3_64bits(section_at(c, (enum index_section)section),
						section_bytes(c, (enum index_section)section));
		if (stored != computed)
			return REFUSE(c, (enum index_section)section,
				      "checksum mismatch (stored %016" PRIx64 ", computed %016" PRIx64 ")", stored,
				      computed);
	}
	return 0;
}

// ---- structure ----------------------------------------------------------------------------------------------------

static int check_categories(const struct check *c)
{
	const uint32_t *offsets = section_at(c, INDEX_CATEGORIES);
	uint32_t count = c->header->categories;
	const char *text = (const char *)(offsets + count + 1);
	uint64_t text_bytes = section_bytes(c, INDEX_CATEGORIES) - (count + UINT64_C(1)) * sizeof(uint32_t);
	if (offsets[0] != 0 || offsets[count] != text_bytes)
		return REFUSE(c, INDEX_CATEGORIES, "its entries do not fill its %" PRIu64 " bytes of text", text_bytes);
	for (uint32_t i = 0; i < count; i++)
		if (offsets[i + 1] <= offsets[i] || offsets[i + 1] - offsets[i] > INDEX_CATEGORY_MAX ||
		    offsets[i + 1] > text_bytes)
			return REFUSE(c, INDEX_CATEGORIES, "entry %" PRIu32 " is not 1 to %d bytes within the section",
				      i, INDEX_CATEGORY_MAX);
	for (uint64_t i = 0; i < text_bytes; i++)
		if (text[i] < ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\')
			return REFUSE(c, INDEX_CATEGORIES, "byte %" PRIu64 " of its text is not plain printable ASCII",
				      i);
	return 0;
}

// Every slot points at a record; as many are taken as there are records; runs are short, the one around the end
// included.
static int check_slots(const struct check *c, struct index_view *view)
{
	const struct index_header *h = c->header;
	uint64_t taken = 0, run = 0, run_max = 0, run_first = 0;
	for (uint64_t i = 0; i < h->slots; i++) {
		uint64_t slot = view->slots[i];
		if (slot == 0) {
			if (taken == i)
				run_first = run;
			run = 0;
			continue;
		}
		uint64_t position = (slot & UINT32_MAX) - 1; // wraps for 0
		if (position >= h->records)
			return REFUSE(c, INDEX_SLOTS,
				      "slot %" PRIu64 " at offset %" PRIu64 " points outside the %" PRIu64 " records",
				      i, section_offset(c, INDEX_SLOTS) + i * sizeof slot, h->records);
		taken++;
		run++;
		run_max = TARE_MAX(run_max, run);
	}
	run_max = TARE_MAX(run_max, run + run_first);
	if (taken != h->records)
		return REFUSE(c, INDEX_SLOTS, "%" PRIu64 " slots are taken for %" PRIu64 " records", taken, h->records);
	if (run_max > INDEX_RUN_MAX)
		return REFUSE(c, INDEX_SLOTS, "%" PRIu64 " taken slots stand in a row: should be at most %d", run_max,
			      INDEX_RUN_MAX);
	view->stats.run_max = run_max;
	return 0;
}

// How many slots a lookup reads to find the record at this position, or 0 when it finds another or none.
// Needs check_slots before it: every slot points at a record, and every run ends.
static uint64_t probes_to(const struct index_view *view, uint64_t position)
{
	uint64_t id = view->records[position].id;
	uint64_t hash = index_hash(id);
	uint64_t probes = 1;
	for (uint64_t at = hash & view->mask; view->slots[at] != 0; at = (at + 1) & view->mask, probes++) {
		uint64_t other = (view->slots[at] & UINT32_MAX) - 1;
		if (view->slots[at] >> 32 == hash >> 32 && view->records[other].id == id)
			return other == position ? probes : 0;
	}
	return 0;
}

static int check_record(const struct check *c, struct index_view *view, uint64_t position, uint64_t *payload_end)
{
	const struct tare_record *record = &view->records[position];
	uint64_t offset = section_offset(c, INDEX_RECORDS) + position * sizeof *record;
	uint8_t hot, active; // read as bytes: a bool that is neither 0 nor 1 must not be read as one
	memcpy(&hot, &record->hot, 1);
	memcpy(&active, &record->active, 1);
	if (hot > 1 || active > 1)
		return REFUSE(c, INDEX_RECORDS,
			      "record %" PRIu64 " at offset %" PRIu64 ": 'hot' and 'active' should be 0 or 1", position,
			      offset);
	if (record->category >= c->header->categories)
		return REFUSE(c, INDEX_RECORDS,
			      "record %" PRIu64 " at offset %" PRIu64
			      ": category %u is not in the dictionary of %" PRIu32,
			      position, offset, record->category, c->header->categories);
	uint64_t room = section_bytes(c, INDEX_PAYLOADS) - *payload_end;
	if (record->payload_offset != *payload_end || record->payload_len > room)
		return REFUSE(c, INDEX_RECORDS,
			      "record %" PRIu64 " at offset %" PRIu64 ": its payload should begin at %" PRIu64
			      " of the section and end within it",
			      position, offset, *payload_end);
	*payload_end += record->payload_len;
	return 0;
}

static void count_record(struct tare_index_stats *stats, const struct tare_record *record, uint64_t probes)
{
	stats->key_min = TARE_MIN(stats->key_min, record->id);
	stats->key_max = TARE_MAX(stats->key_max, record->id);
	stats->probe_max = TARE_MAX(stats->probe_max, probes);
	stats->payload_bytes_max = TARE_MAX(stats->payload_bytes_max, (uint64_t)record->payload_len);
}

static int check_records(const struct check *c, struct index_view *view)
{
	uint64_t count = c->header->records, payload_end = 0, probes_all = 0;
	view->stats.key_min = UINT64_MAX;
	for (uint64_t i = 0; i < count; i++) {
		if (i + FETCH_AHEAD < count)
			__builtin_prefetch(&view->slots[index_hash(view->records[i + FETCH_AHEAD].id) & view->mask]);
		int rc = check_record(c, view, i, &payload_end);
		if (rc < 0)
			return rc;
		uint64_t probes = probes_to(view, i);
		if (probes == 0)
			return REFUSE(c, INDEX_SLOTS,
				      "record %" PRIu64 " with id %" PRIu64
				      " is not found by its id (lost, or a duplicate)",
				      i, view->records[i].id);
		probes_all += probes;
		count_record(&view->stats, &view->records[i], probes);
	}
	if (payload_end != section_bytes(c, INDEX_PAYLOADS))
		return REFUSE(c, INDEX_PAYLOADS, "%" PRIu64 " of its %" PRIu64 " bytes belong to no record",
			      section_bytes(c, INDEX_PAYLOADS) - payload_end, section_bytes(c, INDEX_PAYLOADS));
	view->stats.probe_mean = (double)probes_all / (double)count;
	return 0;
}

static void fill_view(const struct check *c, struct index_view *view)
{
	const struct index_header *h = c->header;
	*view = (struct index_view){
	    .slots = section_at(c, INDEX_SLOTS),
	    .mask = h->slots - 1,
	    .records = section_at(c, INDEX_RECORDS),
	    .category_offsets = section_at(c, INDEX_CATEGORIES),
	    .payloads = section_at(c, INDEX_PAYLOADS),
	    .stats = {.version = h->version,
		      .categories = h->categories,
		      .seed = h->seed,
		      .records = h->records,
		      .slots = h->slots,
		      .bytes = c->len,
		      .load_factor = (double)h->records / (double)h->slots},
	};
	view->category_text = (const char *)(view->category_offsets + h->categories + 1);
	for (int i = 0; i < TARE_INDEX_SECTIONS; i++)
		view->stats.sections[i] = (struct tare_index_section){
		    .name = index_section_names[i],
		    .offset = section_offset(c, (enum index_section)i),
		    .bytes = section_bytes(c, (enum index_section)i),
		    .checksum = i == INDEX_HEADER ? h->checksum : h->entries[i - 1].checksum,
		};
}

int index_verify(const void *base, size_t len, const char *name, struct index_view *ret, struct tare_error *err)
{
	TARE_ASSERT((uintptr_t)base % TARE_CACHE_LINE == 0);
	static int (*const before[])(const struct check *) = {check_identity, check_counts,    check_places,
							      check_padding,  check_checksums, check_categories};
	struct check c = {.base = base, .len = len, .name = name, .header = base, .err = err};
	int64_t start_ns = tare_clock_ns();
	for (size_t i = 0; i < TARE_ARRAY_LEN(before); i++) {
		int rc = before[i](&c);
		if (rc < 0)
			return rc;
	}
	struct index_view view;
	fill_view(&c, &view);
	int rc = check_slots(&c, &view);
	if (rc == 0)
		rc = check_records(&c, &view);
	if (rc < 0)
		return rc;
	view.stats.verify_ns = tare_clock_ns() - start_ns;
	*ret = view;
	return 0;
}
