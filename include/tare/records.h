// SPDX-License-Identifier: MIT
//
// records: an index's records laid out for serving, with point updates: as a pointer-heavy map, as a flat block, or in
// place outside every heap; on the collected heap or on malloc's. Lookups answer the same whichever it is.
//
//   layout    what stands where                                                           what a collection looks into
//   map       slots, and pointers; a record, its payload and its category an object each  pointers and records
//   flat      the snapshot's bytes, copied into one object without pointers               nothing
//   offheap   the snapshot where it is: mapped, or built in pages of its own              nothing
//
// What was replaced stands as objects, as in a map, whatever the layout: a flat or mapped block never changes, and a
// table of pointers, made with the first update, says which of its records are passed over.
//
// On the collected heap a record that was replaced is garbage as soon as the last reader's stack forgets it; nobody
// counts, and readers take no lock and write nothing. On malloc's heap nobody knows when that is, so there updates are
// refused.
//
// Threads: any number of tasks read, and one at a time replaces, beside them (on malloc's heap any thread reads).
#ifndef TARE_RECORDS_H
#define TARE_RECORDS_H

#include <tare/base.h>
#include <tare/index.h>

enum tare_layout { TARE_LAYOUT_MAP, TARE_LAYOUT_FLAT, TARE_LAYOUT_OFFHEAP };

struct tare_records_options {
	enum tare_layout layout;
	bool collected; // on the collected heap (<tare/gc.h>), which is open; false: on malloc's
	bool intern;    // of a map: records of one category share its text; false: a text each
	// Called every millisecond or so with the records that are laid out; it may yield. NULL: not called. Other than
	// 0 cancels, and is returned.
	int (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

struct tare_records;

// Lays out the index's records, and takes the index: with all but the off-heap layout it is freed, piece by piece as it
// is copied, so that memory holds it about once. On an error the index is freed too. From a task where `collected`,
// which it keeps from its worker for a while. Errors: -ENOMEM; what progress returned.
TARE_MUST_USE int tare_records_new(struct tare_records **ret, struct tare_index *index,
				   const struct tare_records_options *options, struct tare_error *err);
// NULL is fine. Nobody may hold a record any more, and a collected heap is closed by then (tare_gc_close).
void tare_records_free(struct tare_records *records);

// A record with its texts. Of the collected heap: good for as long as a pointer into each is on the task's stack, in
// what else is looked into, or nothing is replaced. Of malloc's: for as long as the records are.
struct tare_record_view {
	const struct tare_record *record; // its category and payload_offset mean nothing here
	struct tare_str category, payload;
};

// Finds the record with this id; every key is allowed. Neither locks nor waits.
// Cost when nothing is cached: a map two misses more than the index itself, for the record's pointer and for its
// payload's, which is in the record.
bool tare_records_find(const struct tare_records *records, uint64_t key, struct tare_record_view *ret);

enum { TARE_RECORD_CATEGORY_MAX = 64, TARE_RECORD_PAYLOAD_MAX = 1 << 30 }; // bytes

// Puts a copy of `with` in the place of the record that has its id; who looks up meanwhile finds the one or the other,
// whole. From a task. No record is added: an index's figures (records, keys, bytes) stay true.
// Errors: -ENOENT: no record has this id; -EINVAL: the category is not 1 to TARE_RECORD_CATEGORY_MAX bytes of printable
// ASCII without '"' and '\', or the payload is too long; -ENOTSUP: not on the collected heap; -ENOMEM: it is full. With
// a text.
TARE_MUST_USE int tare_records_replace(struct tare_records *records, const struct tare_record_view *with,
				       struct tare_error *err);

struct tare_records_stats {
	uint64_t replaced;   // times that a record was
	uint64_t heap_bytes; // asked of the heap when the records were laid out
	uint64_t heap_objects;
};
// From any thread.
void tare_records_stats_get(const struct tare_records *records, struct tare_records_stats *ret);

#endif
