// SPDX-License-Identifier: MIT
//
// Where objects are made, by samples, in the same profile as memory of <tare/heap.h>.
//
// Each worker counts down the bytes of its runs, as they are taken; a run in which the countdown ends is cut before the
// object that ends it, and the next one begins with that: so it is made by the way that is slow anyhow, where its stack
// is read. Whoever makes it, whatever the loop it is made in, each object of n bytes is a sample with the same
// probability (base/heap_sample.c), although only each run is looked at. Bytes are those of slots, and of whole spans
// for large objects: what the heap counts.
//
// A sample's object and site are noted in a record. When marks are final the leader looks through the records: objects
// without a mark will be freed, and are counted so.
//
// Invariants
//   1. A record's object is in use: it is noted before the next safepoint of who makes it, and taken out before it is
//      freed. What is noted while the leader looks was born black.
//   2. What is left of a run that is given back, and what it said of the object behind it, is forgotten: a countdown
//      does not remember, so what is made there later is a sample as likely as anything.
//   3. A record that there is no memory for is counted as freed at once: sites' totals are right, and what is in use is
//      too little.
//
// Threads: workers note, under a spinlock; the leader takes all records out and looks at them without it. Cost: a
// comparison a run, 2 to 5 us a sample, and for each record a look a collection.
// Rejected: sampling the object that a run happens to be taken for (two that are made in turn in one loop would be seen
// always and never); a bit beside each slot's state (marking would load a word more, and sweeping would have to look
// for it).
#include "gc/gc_int.h"

static struct tare_tag heap_tag = TARE_TAG("collector");

struct record {
	uintptr_t object;
	size_t bytes;
	uint32_t site;
};

enum { PAGE_BYTES = 16384, PAGE_RECORDS = (PAGE_BYTES - 2 * sizeof(void *)) / sizeof(struct record) };
struct page {
	struct page *next;
	size_t count;
	struct record records[PAGE_RECORDS];
};
_Static_assert(sizeof(struct page) <= PAGE_BYTES, "a page's records fill it");

static struct {
	struct tare_spin spin;
	struct page *first; // the one that has room; guarded by spin
} samples;

extern const char __start_tare_gc_makes[], __stop_tare_gc_makes[]; // the linker's

// ---- countdowns ---------------------------------------------------------------------------------------------------

uint32_t gc_sample_cut(struct tare_heap_countdown *countdown, bool *sampled, size_t bytes, uint32_t count,
		       bool *ret_now)
{
	uint32_t counted = *sampled; // a sample has been counted down already
	*ret_now = *sampled;
	*sampled = false;
	while ((uint64_t)countdown->bytes < (uint64_t)(count - counted) * bytes) {
		uint32_t ends = counted + (uint32_t)((uint64_t)countdown->bytes / bytes); // the countdown, in this one
		bool off = countdown->rate == 0;
		tare_heap_countdown_draw(countdown);
		if (!off && ends > 0) {
			*sampled = true;
			return ends;
		}
		*ret_now = *ret_now || !off;
		counted = ends + 1;
	}
	countdown->bytes -= (int64_t)((count - counted) * bytes);
	return count;
}

// ---- records ------------------------------------------------------------------------------------------------------

static void page_free(struct page *page)
{
	tare_pages_free(&heap_tag, page, sizeof *page);
}

static bool record_add(const struct record *record)
{
	tare_spin_lock(&samples.spin);
	struct page *page = samples.first;
	if (page == NULL || page->count == PAGE_RECORDS) {
		// The call is the profile's own, and not that of who makes the object, who may forbid calls.
		const char *forbidden = tare_heap_forbid(NULL);
		page = tare_pages(&heap_tag, sizeof *page);
		(void)tare_heap_forbid(forbidden);
		if (page != NULL) {
			page->next = samples.first;
			samples.first = page;
		}
	}
	if (page != NULL)
		page->records[page->count++] = *record;
	tare_spin_unlock(&samples.spin);
	return page != NULL;
}

GC_MAKES void gc_sample_note(const struct tare_heap_countdown *countdown, const void *object, size_t bytes,
			     const struct tare_gc_type *type)
{
	if (countdown->rate == 0) // since a moment ago
		return;
	struct tare_heap_sample sample = {
	    .tag = type != NULL ? type->name : "gc noscan",
	    .bytes = bytes,
	    .rate = countdown->rate,
	    .code = __start_tare_gc_makes,
	    .code_end = __stop_tare_gc_makes,
	};
	uint32_t site = tare_heap_sample(&sample);
	if (site != 0 && !record_add(&(struct record){(uintptr_t)object, bytes, site}))
		tare_heap_sample_freed(site, bytes);
}

static bool lives(const struct record *record)
{
	uint32_t slot;
	const struct gc_span *span = gc_slot_of(record->object, &slot);
	TARE_ASSERT(span != NULL);
	return (atomic_load_explicit(&span->states[slot], memory_order_relaxed) & SLOT_MARK) != 0;
}

// Those that stay move towards the front, over all pages.
void gc_sample_look(void)
{
	tare_spin_lock(&samples.spin);
	struct page *pages = samples.first, *to = pages;
	samples.first = NULL;
	tare_spin_unlock(&samples.spin);
	if (pages == NULL)
		return;
	size_t kept = 0;
	for (struct page *from = pages; from != NULL; from = from->next) {
		size_t count = from->count;
		for (size_t i = 0; i < count; i++) {
			const struct record record = from->records[i];
			if (!lives(&record)) {
				tare_heap_sample_freed(record.site, record.bytes);
				continue;
			}
			if (kept == PAGE_RECORDS) {
				to->count = kept;
				to = to->next;
				kept = 0;
			}
			to->records[kept++] = record;
		}
		tare_breathe(tare_now_ns());
	}
	to->count = kept;
	for (struct page *page = to->next, *next; page != NULL; page = next) {
		next = page->next;
		page_free(page);
	}
	// What room the others' first page has is lost until the next look.
	tare_spin_lock(&samples.spin);
	to->next = samples.first;
	samples.first = pages;
	tare_spin_unlock(&samples.spin);
}

// ---- life ---------------------------------------------------------------------------------------------------------

void gc_sample_init(void)
{
	samples.first = NULL;
	for (int i = 0; i < gc.workers; i++)
		tare_heap_countdown_draw(&gc.caches[i].countdown);
}

void gc_sample_done(void)
{
	for (struct page *page = samples.first, *next; page != NULL; page = next) {
		next = page->next;
		for (size_t i = 0; i < page->count; i++)
			tare_heap_sample_freed(page->records[i].site, page->records[i].bytes);
		page_free(page);
	}
	samples.first = NULL;
}
