// SPDX-License-Identifier: MIT
//
// index: records by 64-bit key, in one block of memory that is also the file format (a snapshot).
//
//   struct tare_index *index;
//   struct tare_error err;
//   if (tare_index_open(&index, "stage0.tare", &err) < 0)
//           die(err.text);
//   const struct tare_record *record = tare_index_find(index, key);
//   if (record != NULL)
//           use(record->bid_micros, tare_index_category(index, record), tare_index_payload(index, record));
//   tare_index_free(index);
//
// A snapshot is mapped read-only and served in place: opening verifies it and copies nothing. Verification covers every
// byte, padding too: a flipped byte, a truncation, appended bytes, and a checksummed lie (a slot, a category or a
// payload that points outside) are refused with one line that names the section and its offset in the file. So no
// function below checks again.
//
// Threads: an index is immutable from open or build to free; any number of threads may read it. Nothing here blocks
// after open but on a page fault.
// Ownership: records, categories and payloads point into the index and live as long as it does.
// The file must not be written in place while it is mapped. tare_snapshot_write never does: it renames a new file over
// the old one, and who has the old one open keeps it.
#ifndef TARE_INDEX_H
#define TARE_INDEX_H

#include <tare/base.h>

// ---- records ------------------------------------------------------------------------------------------------------

// One record as it stands in memory and in the file: little-endian, one cache line, no padding.
//
//   0        8        16       24       32       40       48       56    60    62  63  64
//   | id     | bid    | budget | spend  | impres | clicks | offset | len | cat |hot|act|
struct tare_record {
	uint64_t id;
	int64_t bid_micros;
	int64_t budget_micros;
	int64_t spend_micros;
	uint64_t impressions;
	uint64_t clicks;
	uint64_t payload_offset; // bytes from the start of the payloads section; read it through tare_index_payload
	uint32_t payload_len;    // bytes
	uint16_t category;       // a position in the dictionary; read it through tare_index_category
	bool hot;
	bool active;
};

// The same record as it comes to mind: fields in order of thought, so that each bool costs eight bytes, and its own
// pointer and length for each string. The baseline that layout experiments and `tare loadindex` compare with. (The same
// fields well ordered take 88 bytes; offsets and a dictionary instead of slices give the 64 above.)
struct tare_record_mispacked {
	uint64_t id;
	bool hot; // and seven bytes of hole
	int64_t bid_micros;
	bool active; // and seven bytes of hole
	int64_t budget_micros;
	struct tare_str category;
	int64_t spend_micros;
	uint64_t impressions;
	struct tare_str payload;
	uint64_t clicks;
};

_Static_assert(sizeof(struct tare_record) == 64, "a record is one cache line");
_Static_assert(sizeof(struct tare_record_mispacked) == 96, "the baseline's size is part of reports");

// ---- making -------------------------------------------------------------------------------------------------------

#define TARE_GEN_CATEGORIES 1000

// The first eight bytes of every snapshot, whatever its version.
#define TARE_SNAPSHOT_MAGIC "TARESNAP"

// What to generate. The same size or records, seed and categories give the same bytes on every machine.
//
// Ids are dense: of N records, every key in [0, N) hits and every other misses. Records stand in a seeded random order,
// so that neighbouring keys are not neighbours in memory.
struct tare_gen_options {
	uint64_t size;    // bytes of the whole snapshot, never more and at most a few percent less; 0: `records` says
	uint64_t records; // used when size is 0
	uint64_t seed;
	uint32_t categories; // of the dictionary, up to 65,535; 0: TARE_GEN_CATEGORIES
	// Called now and then with the share that is done; NULL: not called. Other than 0 cancels, and is returned.
	int (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

// What the options come to, without making it. -EINVAL: neither or both of size and records, or too many categories;
// -ERANGE: the size is too small for one record, or there are 2^32 - 1 records or more.
TARE_MUST_USE int tare_gen_plan(const struct tare_gen_options *options, uint64_t *ret_records, uint64_t *ret_bytes,
				struct tare_error *err);

// Generates a snapshot file. It is written under no name (or, where the file system can't, a temporary one in the same
// directory), synced, and renamed to path: on any error, a full disk included, path is as it was before and nothing is
// left beside it. Memory: the hash table (16 to 32 bytes a record) and 1 MiB. Blocks on the disk. Errors:
// tare_gen_plan's; -ENOSPC, -EDQUOT, -EFBIG and whatever the file system says; -ENOMEM; what progress returned. SIGXFSZ
// must be ignored by the program for -EFBIG to be seen.
TARE_MUST_USE int tare_snapshot_write(const char *path, const struct tare_gen_options *options, struct tare_error *err);

// ---- opening ------------------------------------------------------------------------------------------------------

struct tare_index;

// Maps the snapshot at path and verifies all of it. *ret is the caller's to free.
// Cost: one pass over the file, about 0.4 ns a byte from the page cache.
// Errors: -EBADMSG: not a snapshot, or a damaged one; -EPROTONOSUPPORT: another version or byte order; what open(2) or
// mmap(2) said; -EIO: the file changed or could not be read while it was verified.
TARE_MUST_USE int tare_index_open(struct tare_index **ret, const char *path, struct tare_error *err);

// The same index, made in anonymous memory. Errors: tare_gen_plan's; -ENOMEM; what progress returned.
TARE_MUST_USE int tare_index_build(struct tare_index **ret, const struct tare_gen_options *options,
				   struct tare_error *err);

// NULL is fine. No thread may hold a record any more.
void tare_index_free(struct tare_index *index);

// ---- reading ------------------------------------------------------------------------------------------------------

// The record with this id, or NULL. Every key is allowed. Cost when nothing is cached: one miss for the slot and one
// for the record; a key that is absent costs the slot's alone.
const struct tare_record *tare_index_find(const struct tare_index *index, uint64_t key);

// Starts fetching the slot that tare_index_find will read first. Worth calling for each of a batch of keys before the
// finds.
void tare_index_prefetch(const struct tare_index *index, uint64_t key);

// The record at a position in [0, records): for walking all of them in memory order.
const struct tare_record *tare_index_record(const struct tare_index *index, uint64_t position);

// 1 to 64 bytes of printable ASCII without '"' and '\': they stand in JSON as they are.
struct tare_str tare_index_category(const struct tare_index *index, const struct tare_record *record);

// Any bytes.
struct tare_str tare_index_payload(const struct tare_index *index, const struct tare_record *record);

// ---- reporting ----------------------------------------------------------------------------------------------------

enum { TARE_INDEX_SECTIONS = 5 };

struct tare_index_section {
	const char *name; // static: "header", "categories", "records", "slots", "payloads"
	uint64_t offset;  // in the file
	uint64_t bytes;   // without the padding behind it
	uint64_t checksum;
};

struct tare_index_stats {
	uint32_t version;
	uint32_t categories;
	uint64_t seed; // it was generated with
	uint64_t records;
	uint64_t slots;
	uint64_t bytes; // of the whole snapshot, padding included
	struct tare_index_section sections[TARE_INDEX_SECTIONS];
	uint64_t key_min, key_max;
	double load_factor; // records / slots, at most 0.5
	double probe_mean;  // slots read to find a key that is there: 1 is the least
	uint64_t probe_max;
	uint64_t run_max;           // longest run of taken slots: no lookup, hit or miss, reads more than this and one
	uint64_t payload_bytes_max; // the longest payload
	int64_t verify_ns;          // what verification took
	bool mapped;                // from a file; false: built in anonymous memory
	// Of a file: what memory did not hold once all was read, as far as the system tells. Lookups there wait for the
	// disk.
	uint64_t absent_bytes;
};

void tare_index_stats_get(const struct tare_index *index, struct tare_index_stats *ret);

#endif
