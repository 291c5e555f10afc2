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
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("index");

enum { POPULATE_BYTES = 64 << 20 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

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

// Reads all of it and fills the page table, so that a disk that can't read is an error here and not a SIGBUS, and so
// that lookups fault no more. Before Linux 5.14 verification does the reading.
static int populate(const char *path, char *base, size_t len, struct tare_error *err)
{
	for (size_t at = 0; at < len; at += POPULATE_BYTES) {
		size_t piece = TARE_MIN(len - at, (size_t)POPULATE_BYTES);
		while (madvise(base + at, piece, MADV_POPULATE_READ) < 0) {
			if (errno == EINVAL)
				return 0;
			if (errno != EINTR && errno != EAGAIN)
				return tare_error_set(
				    err, errno == ENOMEM ? -ENOMEM : -EIO,
				    "%.200s: can't be read between offsets %zu and %zu (%s); check the disk, or "
				    "whether it was cut short meanwhile",
				    path, at, at + piece, strerror(errno));
		}
	}
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

// The descriptor, or a negative errno.
static int open_regular(const char *path, struct stat *ret_stat, struct tare_error *err)
{
	// Not blocking: opening a FIFO would wait for a writer.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return tare_error_set(err, -errno, "%.200s: can't be opened: %s; 'tare gen' makes a snapshot", path,
				      strerror(errno));
	int rc = fstat(fd, ret_stat) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(ret_stat->st_mode))
		rc = S_ISDIR(ret_stat->st_mode) ? -EISDIR : -EINVAL;
	if (rc == 0)
		return fd;
	close(fd);
	return tare_error_set(err, rc, "%.200s: is not a regular file; give a snapshot made by 'tare gen'", path);
}

static int open_mapped(struct tare_index **ret, const char *path, int fd, const struct stat *st, struct tare_error *err)
{
	size_t len = (size_t)st->st_size;
	// An empty file can't be mapped; verification says what is wrong with it.
	alignas(TARE_CACHE_LINE) static const char nothing[TARE_CACHE_LINE];
	struct index_view view;
	if (len == 0)
		return index_verify(nothing, 0, path, &view, err);
	void *base = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED)
		return tare_error_set(err, -errno, "%.200s: %zu bytes can't be mapped: %s", path, len, strerror(errno));
	(void)madvise(
	    base, len,
	    MADV_HUGEPAGE); // what is not in the page cache yet is read into huge pages; only speed depends on it
	struct tare_index *index = NULL;
	int rc = populate(path, base, len, err);
	if (rc == 0)
		rc = index_make(&index, base, len, path, true, err);
	struct stat now;
	if (rc == 0 && (fstat(fd, &now) < 0 || !same_file(st, &now)))
		rc = tare_error_set(err, -EIO, "%.200s: was written to while it was verified; try again", path);
	if (rc < 0) {
		tare_free(index);
		munmap(base, len);
		return rc;
	}
	*ret = index;
	return 0;
}

int tare_index_open(struct tare_index **ret, const char *path, struct tare_error *err)
{
	struct stat st = {0};
	int fd = open_regular(path, &st, err);
	if (fd < 0)
		return fd;
	int rc = open_mapped(ret, path, fd, &st, err);
	close(fd); // the mapping holds the file
	return rc;
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

const struct tare_record *tare_index_find(const struct tare_index *index, uint64_t key)
{
	uint64_t hash = index_hash(key);
	const uint64_t *slots = index->view.slots;
	uint64_t mask = index->view.mask;
	for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
		uint64_t slot = slots[at];
		if (slot == 0)
			return NULL;
		if (slot >> 32 != hash >> 32)
			continue;
		const struct tare_record *record = &index->view.records[(slot & UINT32_MAX) - 1];
		if (TARE_LIKELY(record->id == key))
			return record;
	}
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
