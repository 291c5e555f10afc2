// SPDX-License-Identifier: MIT
// What the index room's files share: the snapshot's layout, the hash, and the view of a verified block.
//
// A snapshot, in the file and in memory; every section begins on a page, in this order, as early as it can:
//
//   0          4096         …             …           …            end of file
//   | header   | categories | 0 | records | 0 | slots | 0 | payloads |
//
//   header      struct index_header, 4,096 bytes, the last eight a checksum over those before
//   categories  u32 offsets[count + 1], then their text: entry i is text[offsets[i], offsets[i + 1])
//   records     struct tare_record[records]; any order, ids unique
//   slots       u64[slots], a power of two and at least 2 × records
//   payloads    the records' payloads in the records' order, without gaps
//
// Invariants that index_verify proves and everyone else relies on:
//   1. A section's place follows from the lengths before it: nothing overlaps, and the file ends where payloads end.
//   2. Padding is zero; sections and header match their XXH3-64. So every byte is covered.
//   3. Each record's payload begins where the one before it ended, and the last ends the section: no overlap can be
//      said.
//   4. Every record is found by its id, and as many slots are taken as there are records: slots and records pair off.
//   5. No run of taken slots is longer than INDEX_RUN_MAX, so every lookup ends, soon.
//
// A slot is 8 bytes, so a cache line holds eight and a probe seldom leaves it:
//
//   63            32 31            0
//   | hash >> 32    | record + 1    |     0: empty
//
// The hash's upper half filters: a slot of another key is told apart without touching its record but once in 2^32. So a
// hit costs one miss for the slot and one for the record, and an absent key only the first. Rejected: {key, index} in
// 16 bytes (the same misses, twice the table, half as much of it in the cache); u32 index alone (4 bytes, but every
// probe of a taken slot is a miss on its record: 1.5 a hit and 2.5 an absent key at load 0.5); the record within the
// slot (64 bytes × 2 to 4).
#ifndef TARE_INDEX_INT_H
#define TARE_INDEX_INT_H

#include <tare/index.h>

#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "snapshots are little-endian and served in place");

enum {
	INDEX_VERSION = 1,
	INDEX_BYTE_ORDER = 0x01020304,
	INDEX_ALIGN = 4096,
	INDEX_SLOTS_MIN = 8,
	INDEX_RUN_MAX = 1024, // about 110 is the longest that 2^28 random keys at load 0.5 come to
	INDEX_CATEGORY_MAX = 64,
};

#define INDEX_RECORDS_MAX (UINT64_C(0xffffffff) - 1) // record + 1 fits 32 bits

enum index_section { INDEX_HEADER, INDEX_CATEGORIES, INDEX_RECORDS, INDEX_SLOTS, INDEX_PAYLOADS };
_Static_assert(INDEX_PAYLOADS + 1 == TARE_INDEX_SECTIONS, "the public count is the sections'");

struct index_entry {
	char name[16]; // NUL-padded
	uint64_t offset;
	uint64_t bytes; // without padding
	uint64_t checksum;
};

struct index_header {
	char magic[8];
	uint32_t version;
	uint32_t byte_order;
	uint64_t bytes; // of the whole file
	uint64_t seed;
	uint64_t records;
	uint64_t slots;
	uint32_t categories;
	uint32_t record_bytes;
	uint32_t align;
	uint32_t sections; // entries that follow
	struct index_entry entries[TARE_INDEX_SECTIONS - 1];
	uint8_t zero[INDEX_ALIGN - 64 - (TARE_INDEX_SECTIONS - 1) * sizeof(struct index_entry) - 8];
	uint64_t checksum;
};
_Static_assert(sizeof(struct index_header) == INDEX_ALIGN, "the header is one page");
_Static_assert(offsetof(struct index_header, entries) == 64, "no padding in the header");

extern const char *const index_section_names[TARE_INDEX_SECTIONS];

// A verified block: pointers into it, and what was learnt.
struct index_view {
	const uint64_t *slots;
	uint64_t mask; // slots - 1
	const struct tare_record *records;
	const uint32_t *category_offsets;
	const char *category_text;
	const char *payloads;
	struct tare_index_stats stats;
};

struct tare_index {
	struct index_view view;
	void *base; // mapped, len bytes
	size_t len;
};

// Bijective on 64 bits, so different keys differ in place or tag; two multiply rounds spread dense keys over both
// halves.
static inline uint64_t index_hash(uint64_t key)
{
	key ^= key >> 32;
	key *= UINT64_C(0xd6e8feb86659fd93);
	key ^= key >> 29;
	key *= UINT64_C(0xa0761d6478bd642f);
	return key ^ key >> 32;
}

static inline uint64_t index_slot(uint64_t hash, uint64_t position)
{
	return (hash & UINT64_C(0xffffffff00000000)) | (position + 1);
}

// What stands for record place - 1, if its id is the key; else NULL.
typedef const void *index_match(const void *of, uint64_t place, uint64_t key);

// What match says of the record with this key; NULL: there is none. Inlined with it, so that a lookup is one loop.
static TARE_INLINE const void *index_find(const uint64_t *slots, uint64_t mask, uint64_t key, index_match *match,
					  const void *of)
{
	uint64_t hash = index_hash(key);
	for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
		uint64_t slot = slots[at];
		if (slot == 0)
			return NULL;
		if (slot >> 32 != hash >> 32)
			continue;
		const void *found = match(of, slot & UINT32_MAX, key);
		if (TARE_LIKELY(found != NULL))
			return found;
	}
}

static inline uint64_t index_align_up(uint64_t offset)
{
	return (offset + INDEX_ALIGN - 1) & ~(uint64_t)(INDEX_ALIGN - 1);
}

// Checks all of len bytes at base (aligned to a cache line) and fills *ret on success. name is what errors call the
// file.
TARE_MUST_USE int index_verify(const void *base, size_t len, const char *name, struct index_view *ret,
			       struct tare_error *err);

// ---- generating (generate.c) --------------------------------------------------------------------------------------

struct index_plan {
	uint64_t records, slots, seed;
	uint32_t categories;
	uint32_t payload_len_min; // lengths are this to 63 more
	uint64_t offset[TARE_INDEX_SECTIONS], bytes[TARE_INDEX_SECTIONS];
	uint64_t file_bytes;
};

TARE_MUST_USE int index_plan_make(const struct tare_gen_options *options, struct index_plan *ret,
				  struct tare_error *err);

// Where a generated snapshot goes: into memory of file_bytes zeroed bytes, or through put in pieces that do not
// overlap.
struct index_sink {
	char *base; // or NULL
	int (*put)(void *arg, const void *data, size_t len, uint64_t offset);
	void *arg;
};

// Writes a file of that many bytes, which fill gives the sink; path is as it was before until all of it is safe.
// Errors: what fill returned, and what the file system says.
typedef int index_fill(void *arg, const struct index_sink *sink, struct tare_error *err);
TARE_MUST_USE int index_write(const char *path, uint64_t bytes, index_fill *fill, void *arg, struct tare_error *err);

// Generates what was planned. Errors: -ENOMEM; what put or options->progress returned.
TARE_MUST_USE int index_generate(const struct index_plan *plan, const struct tare_gen_options *options,
				 const struct index_sink *sink, struct tare_error *err);

// ---- reading files (input.c) --------------------------------------------------------------------------------------

// A file that is mapped read-only, all of it in memory; an empty one is a line of zeros with len 0.
struct index_input {
	const char *path;
	void *base;
	size_t len;
	int fd;
	struct stat stat;
	uint64_t absent_bytes; // settled: what memory did not hold
};

// missing and irregular: what to do about a path that can't be opened, or is no regular file.
TARE_MUST_USE int index_input_open(struct index_input *ret, const char *path, const char *missing,
				   const char *irregular, struct tare_error *err);
// After the verification: -EIO when the file was written to meanwhile. The mapping is the caller's then.
TARE_MUST_USE int index_input_settle(struct index_input *input, struct tare_error *err);
void index_input_drop(struct index_input *input);

#endif
