// SPDX-License-Identifier: MIT
// An index in use: opening a snapshot, building one in memory, and the lookups.
//
// Invariants: a struct tare_index exists only over a block that index_verify accepted, mapped without write permission.
// Threads: immutable, so any. Ownership: the index owns its mapping.
//
// A lookup trusts what was verified: slots point at records, and every run of taken slots ends.
// Rejected: reading the file into huge pages of our own (faster lookups by some TLB misses, but a second copy of the
// page cache's, and start-up time; tare_index_build has them); finding as an inline function (a call costs about 1 ns
// of 10).
#include "index/index_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <sys/mman.h>

static struct tare_tag heap_tag = TARE_TAG("index");

// ---- open, build, free --------------------------------------------------------------------------------------------

static int index_make(struct tare_index **ret, void *base, size_t len, const char *name, bool mapped,
		      struct tare_error *err)
{
	struct tare_index *index = tare_alloc(&heap_tag, sizeof *index);
	if (index == NULL)
		return tare_error_set(err, -ENOMEM, "%.200s: out of memory", name);
	*index = (struct tare_index){.base = base, .len = len};
	int rc = index_verify(base, len, name, &index->view, err);
	if (rc < 0) {
		tare_free(index);
		return rc;
	}
	index->view.stats.mapped = mapped;
	*ret = index;
	return 0;
}

int tare_index_open(struct tare_index **ret, const char *path, struct tare_error *err)
{
	struct index_input input = {0};
	int rc =
	    index_input_open(&input, path, "'tare gen' makes a snapshot", "give a snapshot made by 'tare gen'", err);
	if (rc < 0)
		return rc;
	struct tare_index *index = NULL;
	rc = index_make(&index, input.base, input.len, path, true, err);
	if (rc == 0)
		rc = index_input_settle(&input, err);
	if (rc < 0) {
		tare_free(index);
		index_input_drop(&input);
		return rc;
	}
	index->view.stats.absent_bytes = input.absent_bytes;
	*ret = index;
	return 0;
}

int tare_index_build(struct tare_index **ret, const struct tare_gen_options *options, struct tare_error *err)
{
	struct index_plan plan;
	int rc = index_plan_make(options, &plan, err);
	if (rc < 0)
		return rc;
	size_t len = plan.file_bytes;
	void *base = tare_pages(&heap_tag, len);
	if (base == NULL)
		return tare_error_set(err, -ENOMEM, "an index of %zu bytes: %s; ask for a smaller size", len,
				      strerror(errno));
	(void)madvise(base, len, MADV_HUGEPAGE); // only speed depends on it
	struct index_sink sink = {.base = base};
	rc = index_generate(&plan, options, &sink, err);
	if (rc == 0 && mprotect(base, len, PROT_READ) < 0)
		rc = tare_error_set(err, -errno, "an index of %zu bytes: can't be made read-only: %s", len,
				    strerror(errno));
	if (rc == 0)
		rc = index_make(ret, base, len, "(in memory)", false, err);
	if (rc != 0)
		tare_pages_free(&heap_tag, base, len);
	return rc;
}

void tare_index_free(struct tare_index *index)
{
	if (index == NULL)
		return;
	if (index->view.stats.mapped)
		munmap(index->base, index->len);
	else
		tare_pages_free(&heap_tag, index->base, index->len);
	tare_free(index);
}

// ---- reading ------------------------------------------------------------------------------------------------------

static const void *match_record(const void *index, uint64_t place, uint64_t key)
{
	const struct tare_record *record = &((const struct tare_index *)index)->view.records[place - 1];
	return record->id == key ? record : NULL;
}

const struct tare_record *tare_index_find(const struct tare_index *index, uint64_t key)
{
	return index_find(index->view.slots, index->view.mask, key, match_record, index);
}

void tare_index_prefetch(const struct tare_index *index, uint64_t key)
{
	__builtin_prefetch(&index->view.slots[index_hash(key) & index->view.mask]);
}

const struct tare_record *tare_index_record(const struct tare_index *index, uint64_t position)
{
	TARE_ASSERT(position < index->view.stats.records);
	return &index->view.records[position];
}

struct tare_str tare_index_category(const struct tare_index *index, const struct tare_record *record)
{
	const uint32_t *offsets = index->view.category_offsets + record->category;
	return (struct tare_str){index->view.category_text + offsets[0], offsets[1] - offsets[0]};
}

struct tare_str tare_index_payload(const struct tare_index *index, const struct tare_record *record)
{
	return (struct tare_str){index->view.payloads + record->payload_offset, record->payload_len};
}

void tare_index_stats_get(const struct tare_index *index, struct tare_index_stats *ret)
{
	*ret = index->view.stats;
}
