// SPDX-License-Identifier: MIT
// Records laid out for serving: the three layouts on two heaps, lookups, and updates.
//
//   map                                               flat, offheap
//   slots: | tag, 3 | 0 | tag, 1 | tag, 2 |           base: the index's own slots and records, never written
//                |                                    pages: NULL until the first update
//                v                                            | page | NULL | page |        one a PAGE_RECORDS records
//   objects: | object | object | object |                          |
//                         |                                        v
//   object: | record | payload | category |                  | NULL | object | NULL | …       by the record's position
//                          |        |
//                          v        v
//                        bytes    text
//
// A map's slots are the index's own, copied: a key's tag and the record's position (index_int.h). So all pointers are
// in `objects`, in the order in which the objects were made, and so a collection goes through memory from one end to
// the other.
//
// Invariants
//   1. An object's fields are written before the pointer to it is stored, and never again: who follows a pointer sees a
//      whole record. What changes is which object an entry of `objects` or of a page points to, one word; its key never
//      does.
//   2. A map's slots are never written once they are copied.
//   3. Everything on the collected heap hangs on `held`, a root; each store into it or an object is tare_gc_store's.
//   4. On malloc's heap nothing is replaced, so what a lookup found lives until tare_records_free.
//
// Threads: as the face says; who replaces is alone, by the caller's care (this room has no mutex that parks a task, and
// making an object may park it).
// Rejected: a map whose slots hold the key and the pointer (a lookup saves a cache miss, but its pointers are in the
// order of hashes: 99 million objects in 8.4 GB took ten times as long to mark, since each was a miss of the TLB, its
// span and its state as well); inserting (a table that grows while it is read, and figures of the index that no longer
// hold); a flat block that is written in place (a reader would see half of each, or would have to look twice); objects
// counted by their readers (two writes to a shared line a lookup); freeing malloc's after a grace period (a handler
// holds a record while it waits for room in a slow client's buffer, which may take --write-timeout: what is replaced
// meanwhile would pile up without a bound).
#include "index/index_int.h"

#include <tare/gc.h>
#include <tare/heap.h>
#include <tare/records.h>

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

static struct tare_tag heap_tag = TARE_TAG("records");

enum {
	PAGE_RECORDS = 512,
	PROGRESS_RECORDS = 1024, // well under a millisecond
	PROGRESS_BYTES = 4 << 20,
	RELEASE_BYTES = 16 << 20,
};

struct text {
	uint32_t len;
	char bytes[];
};

// What a Go programmer's *Record is: the fields, and pointers to what has no fixed size.
struct object {
	struct tare_record record; // but for payload_offset and category
	const char *payload;
	const struct text *category;
};
_Static_assert(sizeof(struct object) == 80, "five grains of the collected heap");

static const uint32_t object_pointers[] = {offsetof(struct object, payload), offsetof(struct object, category)};
static struct tare_gc_type object_type = TARE_GC_TYPE(struct object, object_pointers);
static const uint32_t word_pointers[] = {0};
static struct tare_gc_type word_type = TARE_GC_TYPE(void *, word_pointers);

struct tare_records {
	enum tare_layout layout;
	bool collected, intern;
	const struct tare_index *base; // flat: &flat; offheap: the index; map: NULL
	struct tare_index flat;        // rebased into held.block
	uint64_t count;                // records
	uint64_t mask;                 // held.slots - 1
	uint32_t categories;           // texts of held.dictionary
	struct {
		uint64_t *slots;
		const struct object **objects; // by position
		void *block;
		void **pages;                   // see the head
		const struct text **dictionary; // of a map that interns, by the index's numbers
	} held;
	struct tare_gc_root root; // held
	atomic_ullong replaced;
	uint64_t made_bytes, made_objects; // by who lays out or replaces
	uint64_t heap_bytes, heap_objects; // of them, those that were laid out
};

static struct tare_str text_str(const struct text *text)
{
	return (struct tare_str){text->bytes, text->len};
}

// ---- making, on either heap ---------------------------------------------------------------------------------------

static void *counted(struct tare_records *records, void *made, size_t bytes)
{
	records->made_bytes += bytes;
	records->made_objects++;
	return made;
}

static void *make_array(struct tare_records *records, struct tare_gc_type *type, size_t count)
{
	void *made =
	    records->collected ? tare_gc_new_array(type, count) : tare_alloc_zeroed(&heap_tag, count, type->bytes);
	return counted(records, made, count * type->bytes);
}

static void *make_bytes(struct tare_records *records, size_t bytes)
{
	void *made = records->collected ? tare_gc_new_noscan(bytes) : tare_alloc(&heap_tag, TARE_MAX(bytes, (size_t)1));
	return counted(records, made, bytes);
}

static void *make_block(struct tare_records *records, size_t bytes)
{
	void *made = records->collected ? tare_gc_new_noscan(bytes) : tare_alloc_aligned(&heap_tag, INDEX_ALIGN, bytes);
	return counted(records, made, bytes);
}

static struct text *text_new(struct tare_records *records, struct tare_str from)
{
	struct text *text = make_bytes(records, sizeof *text + from.len);
	if (text == NULL)
		return NULL;
	text->len = (uint32_t)from.len; // a category's: at most TARE_RECORD_CATEGORY_MAX
	memcpy(text->bytes, from.ptr, from.len);
	return text;
}

static void object_free(const struct tare_records *records, const struct object *object)
{
	if (records->collected || object == NULL)
		return;
	tare_free((void *)(uintptr_t)object->payload);
	if (!records->intern)
		tare_free((void *)(uintptr_t)object->category);
	tare_free((void *)(uintptr_t)object);
}

// category: a text that is shared; NULL: a copy of the view's. NULL: out of memory.
static struct object *object_new(struct tare_records *records, const struct tare_record_view *from,
				 const struct text *category)
{
	struct object *object =
	    records->collected ? tare_gc_new(&object_type) : tare_alloc_zeroed(&heap_tag, 1, sizeof *object);
	if (object == NULL)
		return NULL;
	counted(records, object, sizeof *object);
	object->record = *from->record;
	object->record.payload_offset = object->record.category = 0;
	object->record.payload_len = (uint32_t)from->payload.len;
	char *payload = make_bytes(records, from->payload.len);
	if (payload != NULL && from->payload.len > 0)
		memcpy(payload, from->payload.ptr, from->payload.len);
	tare_gc_store(&object->payload, payload);
	if (category == NULL)
		category = text_new(records, from->category);
	tare_gc_store(&object->category, category);
	if (payload != NULL && category != NULL)
		return object;
	object_free(records, object);
	return NULL;
}

// ---- laying out ---------------------------------------------------------------------------------------------------

struct layer {
	struct tare_records *records;
	struct tare_index *index;
	const struct tare_records_options *options;
	struct tare_error *err;
	size_t released[3]; // bytes of the index that are the system's again, of each part
};

enum { RECORDS, PAYLOADS, COPIED };

static int full(const struct layer *l, uint64_t done)
{
	return tare_error_set(l->err, -ENOMEM,
			      "%s has no room for more than %" PRIu64 " of %" PRIu64
			      " records; give it more, or fewer records",
			      l->records->collected ? "the collected heap" : "the heap", done, l->records->count);
}

static int progress(const struct layer *l, uint64_t done)
{
	int rc =
	    l->options->progress != NULL ? l->options->progress(l->options->progress_arg, done, l->records->count) : 0;
	return rc == 0 ? 0 : tare_error_set(l->err, rc, "was stopped at record %" PRIu64, done);
}

// What is below `to` of the part is copied and not read again; only memory depends on it.
static void release(struct layer *l, int part, const void *start, size_t to)
{
	size_t from = l->released[part];
	to = to / INDEX_ALIGN * INDEX_ALIGN;
	if (to < from + RELEASE_BYTES)
		return;
	(void)madvise((char *)(uintptr_t)start + from, to - from, MADV_DONTNEED);
	l->released[part] = to;
}

// Copies len bytes of the index, with which as many records are laid out.
static int copy(struct layer *l, void *to, const void *from, size_t len, uint64_t count)
{
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < len; at += PROGRESS_BYTES) {
		size_t piece = TARE_MIN(len - at, (size_t)PROGRESS_BYTES);
		memcpy((char *)to + at, (const char *)from + at, piece);
		release(l, COPIED, from, at + piece);
		rc = progress(l, (uint64_t)((double)(at + piece) / (double)len * (double)count));
	}
	return rc;
}

static int make_dictionary(struct layer *l)
{
	struct tare_records *records = l->records;
	records->categories = l->index->view.stats.categories;
	tare_gc_store(&records->held.dictionary, make_array(records, &word_type, records->categories));
	if (records->held.dictionary == NULL)
		return full(l, 0);
	for (uint32_t i = 0; i < records->categories; i++) {
		const struct tare_record named = {.category = (uint16_t)i};
		const struct text *text = text_new(records, tare_index_category(l->index, &named));
		if (text == NULL)
			return full(l, 0);
		tare_gc_store(&records->held.dictionary[i], text);
	}
	return 0;
}

static int lay_out_record(struct layer *l, uint64_t position)
{
	struct tare_records *records = l->records;
	const struct tare_record *record = tare_index_record(l->index, position);
	const struct tare_record_view view = {
	    .record = record,
	    .category = tare_index_category(l->index, record),
	    .payload = tare_index_payload(l->index, record),
	};
	const struct object *object =
	    object_new(records, &view, records->intern ? records->held.dictionary[record->category] : NULL);
	if (object == NULL)
		return full(l, position);
	tare_gc_store(&records->held.objects[position], object);
	if ((position + 1) % PROGRESS_RECORDS != 0)
		return 0;
	release(l, RECORDS, l->index->view.records, position * sizeof *record);
	release(l, PAYLOADS, l->index->view.payloads, record->payload_offset);
	return progress(l, position + 1);
}

static int lay_out_map(struct layer *l)
{
	struct tare_records *records = l->records;
	size_t bytes = (l->index->view.mask + 1) * sizeof *records->held.slots;
	records->mask = l->index->view.mask;
	tare_gc_store(&records->held.slots, make_block(records, bytes));
	tare_gc_store(&records->held.objects, make_array(records, &word_type, records->count));
	int rc = records->held.slots != NULL && records->held.objects != NULL ? 0 : full(l, 0);
	if (rc == 0)
		rc = copy(l, records->held.slots, l->index->view.slots, bytes, 0);
	if (rc == 0 && records->intern)
		rc = make_dictionary(l);
	for (uint64_t i = 0; rc == 0 && i < records->count; i++)
		rc = lay_out_record(l, i);
	tare_index_free(l->index);
	return rc;
}

static int lay_out_flat(struct layer *l)
{
	struct tare_records *records = l->records;
	char *from = l->index->base;
	size_t len = l->index->len;
	char *to = make_block(records, len);
	tare_gc_store(&records->held.block, to);
	int rc = to != NULL ? copy(l, to, from, len, records->count) : full(l, 0);
	struct index_view view = l->index->view;
	tare_index_free(l->index);
	if (rc != 0)
		return rc;
#define REBASE(field) (view.field = (const void *)(to + ((const char *)view.field - from)))
	REBASE(slots);
	REBASE(records);
	REBASE(category_offsets);
	REBASE(category_text);
	REBASE(payloads);
#undef REBASE
	view.stats.mapped = false;
	records->flat = (struct tare_index){.view = view, .base = to, .len = len};
	records->base = &records->flat;
	return 0;
}

int tare_records_new(struct tare_records **ret, struct tare_index *index, const struct tare_records_options *options,
		     struct tare_error *err)
{
	struct tare_records *records = tare_alloc_zeroed(&heap_tag, 1, sizeof *records);
	if (records == NULL) {
		tare_index_free(index);
		return tare_error_set(err, -ENOMEM, "out of memory for records");
	}
	records->layout = options->layout;
	records->collected = options->collected;
	records->intern = options->intern;
	records->count = index->view.stats.records;
	struct layer l = {.records = records, .index = index, .options = options, .err = err};
	int rc = 0;
	if (records->collected)
		tare_gc_root_add(&records->root, &records->held, sizeof records->held / sizeof(void *));
	if (options->layout == TARE_LAYOUT_MAP)
		rc = lay_out_map(&l);
	else if (options->layout == TARE_LAYOUT_FLAT)
		rc = lay_out_flat(&l);
	else
		records->base = index;
	if (rc != 0) {
		if (records->collected)
			tare_gc_root_remove(&records->root);
		tare_records_free(records);
		return rc;
	}
	records->heap_bytes = records->made_bytes;
	records->heap_objects = records->made_objects;
	*ret = records;
	return 0;
}

static void free_map(struct tare_records *records)
{
	for (uint64_t i = 0; records->held.objects != NULL && i < records->count; i++)
		object_free(records, records->held.objects[i]);
	for (uint32_t i = 0; records->held.dictionary != NULL && i < records->categories; i++)
		tare_free((void *)(uintptr_t)records->held.dictionary[i]);
	tare_free(records->held.slots);
	tare_free(records->held.objects);
	tare_free(records->held.dictionary);
}

void tare_records_free(struct tare_records *records)
{
	if (records == NULL)
		return;
	if (records->layout == TARE_LAYOUT_OFFHEAP)
		tare_index_free((struct tare_index *)(uintptr_t)records->base);
	if (!records->collected) {
		free_map(records);
		tare_free(records->held.block);
	}
	tare_free(records);
}

// ---- lookups ------------------------------------------------------------------------------------------------------

static const struct object *entry_object(const struct object *const *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE); // pairs with the release of tare_gc_store
}

static const void *match_object(const void *objects, uint64_t place, uint64_t key)
{
	const struct object *const *entry = (const struct object *const *)objects + place - 1;
	return entry_object(entry)->record.id == key ? entry : NULL;
}

// The entry of a map's record with this key; NULL: there is none.
static const struct object *const *map_entry(const struct tare_records *records, uint64_t key)
{
	return index_find(records->held.slots, records->mask, key, match_object, records->held.objects);
}

static bool object_view(const struct object *object, struct tare_record_view *ret)
{
	if (object == NULL)
		return false;
	*ret = (struct tare_record_view){
	    .record = &object->record,
	    .category = text_str(object->category),
	    .payload = {object->payload, object->record.payload_len},
	};
	return true;
}

// What stands in the place of the base's record at this position; NULL: nothing.
static const struct object *replacement(const struct tare_records *records, uint64_t position)
{
	// acquire, both: they pair with the release of tare_gc_store
	void **pages = __atomic_load_n(&records->held.pages, __ATOMIC_ACQUIRE);
	if (TARE_LIKELY(pages == NULL))
		return NULL;
	void **page = __atomic_load_n((void ***)&pages[position / PAGE_RECORDS], __ATOMIC_ACQUIRE);
	return page != NULL ? entry_object((const struct object **)&page[position % PAGE_RECORDS]) : NULL;
}

bool tare_records_find(const struct tare_records *records, uint64_t key, struct tare_record_view *ret)
{
	if (records->layout == TARE_LAYOUT_MAP) {
		const struct object *const *entry = map_entry(records, key);
		return entry != NULL && object_view(entry_object(entry), ret);
	}
	const struct tare_record *record = tare_index_find(records->base, key);
	if (record == NULL)
		return false;
	if (object_view(replacement(records, (uint64_t)(record - records->base->view.records)), ret))
		return true;
	*ret = (struct tare_record_view){
	    .record = record,
	    .category = tare_index_category(records->base, record),
	    .payload = tare_index_payload(records->base, record),
	};
	return true;
}

// ---- updates ------------------------------------------------------------------------------------------------------

static int check_view(const struct tare_record_view *with, struct tare_error *err)
{
	struct tare_str category = with->category;
	bool plain = category.len > 0 && category.len <= TARE_RECORD_CATEGORY_MAX;
	for (size_t i = 0; plain && i < category.len; i++)
		plain = category.ptr[i] >= ' ' && category.ptr[i] <= '~' && category.ptr[i] != '"' &&
			category.ptr[i] != '\\';
	if (!plain)
		return tare_error_set(err, -EINVAL,
				      "category should be 1 to %d bytes of printable ASCII, without '\"' and '\\'",
				      TARE_RECORD_CATEGORY_MAX);
	if (with->payload.len > TARE_RECORD_PAYLOAD_MAX)
		return tare_error_set(err, -EINVAL, "payload has %zu bytes; it should have at most %d",
				      (size_t)with->payload.len, TARE_RECORD_PAYLOAD_MAX);
	return 0;
}

// The text that records of this category share; NULL: a map doesn't, or the category is new.
static const struct text *interned(const struct tare_records *records, struct tare_str category)
{
	if (records->held.dictionary == NULL)
		return NULL;
	for (uint32_t i = 0; i < records->categories; i++)
		if (tare_str_eq(text_str(records->held.dictionary[i]), category))
			return records->held.dictionary[i];
	return NULL;
}

// The word that points to the position's replacement, made with its page where there is none yet. NULL: out of memory.
static void *replacement_word(struct tare_records *records, uint64_t position)
{
	if (records->held.pages == NULL)
		tare_gc_store(&records->held.pages,
			      make_array(records, &word_type, (records->count + PAGE_RECORDS - 1) / PAGE_RECORDS));
	if (records->held.pages == NULL)
		return NULL;
	void **entry = &records->held.pages[position / PAGE_RECORDS];
	if (*entry == NULL)
		tare_gc_store(entry, make_array(records, &word_type, PAGE_RECORDS));
	void **page = *entry;
	return page != NULL ? &page[position % PAGE_RECORDS] : NULL;
}

static int full_update(struct tare_error *err)
{
	return tare_error_set(err, -ENOMEM, "the collected heap is full");
}

int tare_records_replace(struct tare_records *records, const struct tare_record_view *with, struct tare_error *err)
{
	struct tare_record_view old;
	uint64_t key = with->record->id;
	if (!records->collected)
		return tare_error_set(err, -ENOTSUP, "records are replaced on the collected heap only");
	int rc = check_view(with, err);
	if (rc < 0)
		return rc;
	if (!tare_records_find(records, key, &old))
		return tare_error_set(err, -ENOENT, "no record has the id %" PRIu64, key);
	const struct object *object = object_new(records, with, interned(records, with->category));
	if (object == NULL)
		return full_update(err);
	void *word;
	if (records->layout == TARE_LAYOUT_MAP) {
		word = (void *)(uintptr_t)map_entry(records, key);
	} else {
		const struct tare_record *record = tare_index_find(records->base, key);
		word = replacement_word(records, (uint64_t)(record - records->base->view.records));
	}
	if (word == NULL)
		return full_update(err);
	tare_gc_store(word, object);
	atomic_fetch_add_explicit(&records->replaced, 1, memory_order_relaxed); // a figure
	return 0;
}

void tare_records_stats_get(const struct tare_records *records, struct tare_records_stats *ret)
{
	*ret = (struct tare_records_stats){
	    .replaced = atomic_load_explicit(&records->replaced, memory_order_relaxed),
	    .heap_bytes = records->heap_bytes,
	    .heap_objects = records->heap_objects,
	};
}
