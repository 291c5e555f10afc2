// SPDX-License-Identifier: MIT
// Generates snapshots: what a size comes to, and then every byte, from a seed.
//
// Invariants: 1. The bytes follow from seed, records, categories and payload length alone, never from the machine, the
// chunk size or the sink. 2. index_verify accepts them. 3. A record's fields but the payload's place follow from seed
// and id, so the same id tells the same in a larger snapshot.
//
// Payload lengths: each group of 64 records uses each of 64 successive lengths once, in a seeded order, so that the
// size of any number of records is known without making them. Order: a seeded permutation of [0, N) made of bijections
// on the next power of two, walked until it falls within N (under two steps on average): no table, so a snapshot larger
// than memory can be written. Threads: no state. Ownership: nothing is kept. Rejected: random lengths (a pass over all
// records to know the size); a shuffle (8 bytes a record in memory).
#include "index/index_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <xxhash.h>

static struct tare_tag heap_tag = TARE_TAG("index");

enum {
	PAYLOAD_LEN_MIN = 32,
	PAYLOAD_LENGTHS = 64, // a power of two
	PAYLOAD_LEN_LIMIT = 4096,
	// Written in pieces of 8 MiB: a file system with large folios then keeps most of the file in huge pages, and a
	// lookup saves its page walks.
	CHUNK_RECORDS = 128 * 1024,
	CHUNK_PAYLOAD_BYTES = 8 << 20,
};

// ---- categories ---------------------------------------------------------------------------------------------------

// 25 × 40 names; past that a number follows. At most INDEX_CATEGORY_MAX bytes.
static size_t category_name(uint32_t i, char *out, size_t cap)
{
	static const char *const fields[] = {
	    "arts",    "autos",   "beauty",  "books",   "business", "careers", "education", "events", "family",
	    "fashion", "finance", "food",    "games",   "garden",   "health",  "home",      "law",    "music",
	    "news",    "pets",    "science", "society", "sports",   "tech",    "travel"};
	static const char *const kinds[] = {
	    "advice",  "analysis", "awards", "bargains",  "basics",    "calendar", "classics",  "clubs",
	    "courses", "culture",  "deals",  "design",    "equipment", "experts",  "festivals", "gifts",
	    "guides",  "history",  "ideas",  "insurance", "jobs",      "local",    "luxury",    "magazines",
	    "markets", "offers",   "parts",  "people",    "plans",     "rentals",  "reviews",   "safety",
	    "schools", "services", "shops",  "stars",     "supplies",  "tickets",  "trends",    "video"};
	uint32_t named = TARE_ARRAY_LEN(fields) * TARE_ARRAY_LEN(kinds);
	const char *field = fields[i % TARE_ARRAY_LEN(fields)];
	const char *kind = kinds[i / TARE_ARRAY_LEN(fields) % TARE_ARRAY_LEN(kinds)];
	int len = i < named ? snprintf(out, cap, "%s/%s", field, kind)
			    : snprintf(out, cap, "%s/%s/%" PRIu32, field, kind, i / named);
	TARE_ASSERT(len > 0 && (size_t)len < cap);
	return (size_t)len;
}

static uint64_t categories_bytes(uint32_t count)
{
	char name[INDEX_CATEGORY_MAX];
	uint64_t bytes = (count + UINT64_C(1)) * sizeof(uint32_t);
	for (uint32_t i = 0; i < count; i++)
		bytes += category_name(i, name, sizeof name);
	return bytes;
}

static void categories_fill(uint32_t count, uint32_t *offsets)
{
	char name[INDEX_CATEGORY_MAX];
	char *text = (char *)(offsets + count + 1);
	uint32_t end = 0;
	for (uint32_t i = 0; i < count; i++) {
		size_t len = category_name(i, name, sizeof name);
		offsets[i] = end;
		memcpy(text + end, name, len);
		end += (uint32_t)len;
	}
	offsets[count] = end;
}

// ---- the plan -----------------------------------------------------------------------------------------------------

static uint32_t payload_len(const struct index_plan *plan, uint64_t position)
{
	// Times an odd number and xor a number: both are bijections of the 64 places of a group.
	uint64_t group = index_hash(position / PAYLOAD_LENGTHS + plan->seed);
	return plan->payload_len_min + (uint32_t)(((position * 37) ^ group) % PAYLOAD_LENGTHS);
}

static uint64_t payloads_bytes(const struct index_plan *plan)
{
	uint64_t whole = plan->records / PAYLOAD_LENGTHS * PAYLOAD_LENGTHS;
	uint64_t bytes =
	    whole * plan->payload_len_min + whole / PAYLOAD_LENGTHS * (PAYLOAD_LENGTHS * (PAYLOAD_LENGTHS - 1) / 2);
	for (uint64_t i = whole; i < plan->records; i++)
		bytes += payload_len(plan, i);
	return bytes;
}

// Records and payload_len_min to everything else. Grows with both.
static void plan_lay_out(struct index_plan *plan)
{
	plan->slots = INDEX_SLOTS_MIN;
	while (plan->slots / 2 < plan->records)
		plan->slots *= 2;
	plan->bytes[INDEX_HEADER] = INDEX_ALIGN;
	plan->bytes[INDEX_RECORDS] = plan->records * sizeof(struct tare_record);
	plan->bytes[INDEX_SLOTS] = plan->slots * sizeof(uint64_t);
	plan->bytes[INDEX_PAYLOADS] = payloads_bytes(plan);
	uint64_t end = 0;
	for (int i = 0; i < TARE_INDEX_SECTIONS; i++) {
		plan->offset[i] = index_align_up(end);
		end = plan->offset[i] + plan->bytes[i];
	}
	plan->file_bytes = end;
}

// The most records that fit, then the longest payloads: the table doubles at powers of two, and what a doubling does
// not leave room for is given to payloads, so that the size is met within a byte a record.
static int plan_fit(struct index_plan *plan, uint64_t size, struct tare_error *err)
{
	plan->records = 1;
	plan_lay_out(plan);
	if (plan->file_bytes > size)
		return tare_error_set(
		    err, -ERANGE, "size %" PRIu64 ": too small; one record with its dictionary takes %" PRIu64 " bytes",
		    size, plan->file_bytes);
	uint64_t low = 1, high = TARE_MIN(INDEX_RECORDS_MAX, size / sizeof(struct tare_record) + 1);
	while (low < high) { // low fits; above high nothing does
		plan->records = low + (high - low + 1) / 2;
		plan_lay_out(plan);
		if (plan->file_bytes <= size)
			low = plan->records;
		else
			high = plan->records - 1;
	}
	// Whole groups, whose bytes are the same for every seed: so a size tells the number of records by itself.
	plan->records = low < PAYLOAD_LENGTHS ? low : low / PAYLOAD_LENGTHS * PAYLOAD_LENGTHS;
	plan_lay_out(plan);
	uint64_t longer = (size - plan->file_bytes) / plan->records;
	if (longer > PAYLOAD_LEN_LIMIT)
		return tare_error_set(err, -ERANGE,
				      "size %" PRIu64 ": too large; %" PRIu64 " records take %" PRIu64 " bytes", size,
				      plan->records, plan->file_bytes);
	plan->payload_len_min += (uint32_t)longer;
	plan_lay_out(plan);
	return 0;
}

int index_plan_make(const struct tare_gen_options *options, struct index_plan *ret, struct tare_error *err)
{
	if ((options->size != 0) == (options->records != 0))
		return tare_error_set(err, -EINVAL, "give either a size or a number of records");
	if (options->categories > UINT16_MAX)
		return tare_error_set(err, -EINVAL, "%" PRIu32 " categories: at most %d", options->categories,
				      UINT16_MAX);
	if (options->records > INDEX_RECORDS_MAX)
		return tare_error_set(err, -ERANGE, "%" PRIu64 " records: at most %" PRIu64, options->records,
				      INDEX_RECORDS_MAX);
	struct index_plan plan = {
	    .records = options->records,
	    .seed = options->seed,
	    .categories = options->categories != 0 ? options->categories : TARE_GEN_CATEGORIES,
	    .payload_len_min = PAYLOAD_LEN_MIN,
	};
	plan.bytes[INDEX_CATEGORIES] = categories_bytes(plan.categories);
	int rc = 0;
	if (options->size != 0)
		rc = plan_fit(&plan, options->size, err);
	else
		plan_lay_out(&plan);
	if (rc == 0)
		*ret = plan;
	return rc;
}

int tare_gen_plan(const struct tare_gen_options *options, uint64_t *ret_records, uint64_t *ret_bytes,
		  struct tare_error *err)
{
	struct index_plan plan;
	int rc = index_plan_make(options, &plan, err);
	if (rc < 0)
		return rc;
	*ret_records = plan.records;
	*ret_bytes = plan.file_bytes;
	return 0;
}

// ---- records ------------------------------------------------------------------------------------------------------

// A bijection of [0, count).
struct permutation {
	uint64_t count, mask;
	unsigned shift;
	uint64_t factor[3], offset[3];
};

static void permutation_init(struct permutation *p, uint64_t count, uint64_t seed)
{
	struct tare_rng rng;
	tare_rng_init(&rng, seed ^ UINT64_C(0x7065726d75746521));
	unsigned bits = count > 1 ? 64 - (unsigned)__builtin_clzll(count - 1) : 1;
	p->count = count;
	p->mask = (UINT64_C(1) << bits) - 1;
	p->shift = (bits + 1) / 2;
	for (size_t i = 0; i < TARE_ARRAY_LEN(p->factor); i++) {
		p->factor[i] = tare_rng_next(&rng) | 1;
		p->offset[i] = tare_rng_next(&rng);
	}
}

static uint64_t permute(const struct permutation *p, uint64_t x)
{
	do {
		for (size_t i = 0; i < TARE_ARRAY_LEN(p->factor); i++) {
			x = (x * p->factor[i] + p->offset[i]) & p->mask;
			x ^= x >> p->shift;
		}
	} while (x >= p->count);
	return x;
}

// In [0, bound), without the rejection that makes tare_rng_below exact: the bias is under bound / 2^64.
static uint64_t draw(struct tare_rng *rng, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)tare_rng_next(rng) * bound >> 64);
}

static void fill_payload(struct tare_rng *rng, char *out, size_t len)
{
	for (; len >= 8; out += 8, len -= 8) {
		uint64_t bytes = tare_rng_next(rng);
		memcpy(out, &bytes, 8);
	}
	uint64_t bytes = tare_rng_next(rng);
	memcpy(out, &bytes, len);
}

static void fill_record(struct tare_rng *rng, const struct index_plan *plan, struct tare_record *out)
{
	enum { MICROS = 1000000 };
	uint64_t flags = tare_rng_next(rng);
	out->bid_micros = (int64_t)(10000 + draw(rng, 20 * MICROS));
	out->budget_micros = (int64_t)(MICROS + draw(rng, UINT64_C(100000) * MICROS));
	out->spend_micros = (int64_t)draw(rng, (uint64_t)out->budget_micros);
	if ((flags >> 8 & 0xff) == 0) // one in 256 got money back
		out->spend_micros = -(out->spend_micros / 1000) - 1;
	out->impressions = draw(rng, UINT64_C(1000000000));
	out->clicks = draw(rng, out->impressions / 16 + 1);
	out->category = (uint16_t)draw(rng, plan->categories);
	out->hot = (flags & 0xf) == 0;
	out->active = (flags >> 4 & 7) != 0;
}

static void insert(uint64_t *slots, uint64_t mask, uint64_t id, uint64_t position)
{
	uint64_t hash = index_hash(id);
	uint64_t at = hash & mask;
	while (slots[at] != 0)
		at = (at + 1) & mask;
	slots[at] = index_slot(hash, position);
}

struct generator {
	const struct index_plan *plan;
	const struct tare_gen_options *options;
	const struct index_sink *sink;
	struct permutation permutation;
	uint64_t *slots;
	void *chunk; // of the chunk's records and payloads; NULL when they are made in place
	uint64_t chunk_records;
	XXH3_state_t *records_hash, *payloads_hash;
	uint64_t payload_end; // bytes of the section that are made
	struct index_header header;
};

// Records [first, first + count), one after the other; returns the bytes of their payloads.
static uint64_t fill_chunk(struct generator *g, uint64_t first, uint64_t count, struct tare_record *records,
			   char *payloads)
{
	uint64_t bytes = 0;
	for (uint64_t i = 0; i < count; i++) {
		struct tare_record *record = &records[i];
		struct tare_rng rng;
		record->id = permute(&g->permutation, first + i);
		tare_rng_init(&rng, g->plan->seed ^ index_hash(record->id + 1));
		fill_record(&rng, g->plan, record);
		record->payload_offset = g->payload_end + bytes;
		record->payload_len = payload_len(g->plan, first + i);
		fill_payload(&rng, payloads + bytes, record->payload_len);
		bytes += record->payload_len;
		insert(g->slots, g->plan->slots - 1, record->id, first + i);
	}
	return bytes;
}

static int sink_put(const struct index_sink *sink, const void *data, uint64_t len, uint64_t offset)
{
	if (sink->put != NULL)
		return sink->put(sink->arg, data, len, offset);
	if (data != sink->base + offset)
		memcpy(sink->base + offset, data, len);
	return 0;
}

static int generate_chunk(struct generator *g, uint64_t first)
{
	const struct index_plan *plan = g->plan;
	uint64_t count = TARE_MIN(g->chunk_records, plan->records - first);
	uint64_t records_at = plan->offset[INDEX_RECORDS] + first * sizeof(struct tare_record);
	uint64_t payloads_at = plan->offset[INDEX_PAYLOADS] + g->payload_end;
	struct tare_record *records = g->chunk != NULL ? g->chunk : (void *)(g->sink->base + records_at);
	char *payloads = g->chunk != NULL ? (char *)(records + g->chunk_records) : g->sink->base + payloads_at;
	uint64_t bytes = fill_chunk(g, first, count, records, payloads);
	g->payload_end += bytes;
	XXH3_64bits_update(g->records_hash, records, count * sizeof *records);
	XXH3_64bits_update(g->payloads_hash, payloads, bytes);
	int rc = sink_put(g->sink, records, count * sizeof *records, records_at);
	if (rc == 0)
		rc = sink_put(g->sink, payloads, bytes, payloads_at);
	if (rc == 0 && g->options->progress != NULL)
		rc = g->options->progress(g->options->progress_arg, first + count, plan->records);
	return rc;
}

static int generate_categories(struct generator *g, uint64_t *ret_checksum)
{
	uint64_t bytes = g->plan->bytes[INDEX_CATEGORIES];
	uint32_t *categories = tare_alloc(&heap_tag, bytes);
	if (categories == NULL)
		return -ENOMEM;
	categories_fill(g->plan->categories, categories);
	*ret_checksum = XXH3_64bits(categories, bytes);
	int rc = sink_put(g->sink, categories, bytes, g->plan->offset[INDEX_CATEGORIES]);
	tare_free(categories);
	return rc;
}

static void header_fill(const struct index_plan *plan, const uint64_t checksums[TARE_INDEX_SECTIONS],
			struct index_header *out)
{
	*out = (struct index_header){
	    .version = INDEX_VERSION,
	    .byte_order = INDEX_BYTE_ORDER,
	    .bytes = plan->file_bytes,
	    .seed = plan->seed,
	    .records = plan->records,
	    .slots = plan->slots,
	    .categories = plan->categories,
	    .record_bytes = sizeof(struct tare_record),
	    .align = INDEX_ALIGN,
	    .sections = TARE_INDEX_SECTIONS - 1,
	};
	memcpy(out->magic, TARE_SNAPSHOT_MAGIC, sizeof out->magic);
	for (int i = INDEX_CATEGORIES; i < TARE_INDEX_SECTIONS; i++) {
		struct index_entry *entry = &out->entries[i - 1];
		memcpy(entry->name, index_section_names[i], strlen(index_section_names[i]));
		entry->offset = plan->offset[i];
		entry->bytes = plan->bytes[i];
		entry->checksum = checksums[i];
	}
	out->checksum = XXH3_64bits(out, offsetof(struct index_header, checksum));
}

// The header last: what a crash leaves is no snapshot.
static int generate_all(struct generator *g)
{
	const struct index_plan *plan = g->plan;
	uint64_t checksums[TARE_INDEX_SECTIONS] = {0};
	permutation_init(&g->permutation, plan->records, plan->seed);
	int rc = generate_categories(g, &checksums[INDEX_CATEGORIES]);
	for (uint64_t first = 0; rc == 0 && first < plan->records; first += g->chunk_records)
		rc = generate_chunk(g, first);
	if (rc == 0) {
		TARE_ASSERT(g->payload_end == plan->bytes[INDEX_PAYLOADS]);
		checksums[INDEX_RECORDS] = XXH3_64bits_digest(g->records_hash);
		checksums[INDEX_PAYLOADS] = XXH3_64bits_digest(g->payloads_hash);
		checksums[INDEX_SLOTS] = XXH3_64bits(g->slots, plan->bytes[INDEX_SLOTS]);
		rc = sink_put(g->sink, g->slots, plan->bytes[INDEX_SLOTS], plan->offset[INDEX_SLOTS]);
	}
	if (rc == 0) {
		header_fill(plan, checksums, &g->header);
		rc = sink_put(g->sink, &g->header, sizeof g->header, 0);
	}
	return rc;
}

// What a sink without memory of its own needs: the table, and a chunk of records with their payloads.
static int buffers_make(struct generator *g)
{
	if (g->sink->base != NULL) {
		g->slots = (void *)(g->sink->base + g->plan->offset[INDEX_SLOTS]);
		g->chunk_records = CHUNK_RECORDS;
		return 0;
	}
	uint64_t len_max = g->plan->payload_len_min + PAYLOAD_LENGTHS - 1;
	g->chunk_records = TARE_MIN((uint64_t)CHUNK_RECORDS, CHUNK_PAYLOAD_BYTES / len_max);
	g->chunk = tare_alloc(&heap_tag, g->chunk_records * (sizeof(struct tare_record) + len_max));
	void *slots = tare_pages(&heap_tag, g->plan->bytes[INDEX_SLOTS]);
	if (slots == NULL)
		return -ENOMEM;
	(void)madvise(slots, g->plan->bytes[INDEX_SLOTS], MADV_HUGEPAGE); // only speed depends on it
	g->slots = slots;
	return g->chunk != NULL ? 0 : -ENOMEM;
}

int index_generate(const struct index_plan *plan, const struct tare_gen_options *options, const struct index_sink *sink,
		   struct tare_error *err)
{
	struct generator g = {.plan = plan, .options = options, .sink = sink};
	int rc = buffers_make(&g);
	g.records_hash = XXH3_createState();
	g.payloads_hash = XXH3_createState();
	if (g.records_hash == NULL || g.payloads_hash == NULL)
		rc = -ENOMEM;
	if (rc == 0) {
		XXH3_64bits_reset(g.records_hash);
		XXH3_64bits_reset(g.payloads_hash);
		rc = generate_all(&g);
	}
	if (sink->base == NULL && g.slots != NULL)
		tare_pages_free(&heap_tag, g.slots, plan->bytes[INDEX_SLOTS]);
	tare_free(g.chunk);
	XXH3_freeState(g.records_hash);
	XXH3_freeState(g.payloads_hash);
	if (rc == -ENOMEM)
		tare_error_set(err, rc, "out of memory for a hash table of %" PRIu64 " bytes; ask for a smaller size",
			       plan->bytes[INDEX_SLOTS]);
	return rc;
}
