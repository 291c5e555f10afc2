// SPDX-License-Identifier: MIT
// Maps a file, a snapshot or a table, read-only, so that what was verified is what is served.
//
//   open ──mmap──> mapped ──populate──> in memory ──(the caller verifies)──> settle: unchanged meanwhile
//
// Of a file that is larger than memory, populating leaves what was read last. A lookup that misses would read a huge
// page then, or as much around it as the disk's read-ahead says (megabytes), and drop as much that others need: it is
// told to read a page.
//
// Threads: no state. Ownership: the mapping is the caller's after index_input_settle; index_input_drop undoes all
// before it.
#include "index/index_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POPULATE_BYTES = 64 << 20, LOOK_BYTES = 4 << 20, PAGE_BYTES = 4096 }; // the smallest page there is

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

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
static int open_regular(const char *path, struct stat *ret_stat, const char *missing, const char *irregular,
			struct tare_error *err)
{
	// Not blocking: opening a FIFO would wait for a writer.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return tare_error_set(err, -errno, "%.200s: can't be opened: %s; %s", path, strerror(errno), missing);
	int rc = fstat(fd, ret_stat) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(ret_stat->st_mode))
		rc = S_ISDIR(ret_stat->st_mode) ? -EISDIR : -EINVAL;
	if (rc == 0)
		return fd;
	close(fd);
	return tare_error_set(err, rc, "%.200s: is not a regular file; %s", path, irregular);
}

int index_input_open(struct index_input *ret, const char *path, const char *missing, const char *irregular,
		     struct tare_error *err)
{
	// An empty file can't be mapped; verification says what is wrong with it.
	alignas(TARE_CACHE_LINE) static char nothing[TARE_CACHE_LINE];
	struct index_input input = {.path = path, .base = nothing};
	input.fd = open_regular(path, &input.stat, missing, irregular, err);
	if (input.fd < 0)
		return input.fd;
	input.len = (size_t)input.stat.st_size;
	int rc = 0;
	if (input.len > 0) {
		void *base = mmap(NULL, input.len, PROT_READ, MAP_PRIVATE, input.fd, 0);
		if (base == MAP_FAILED) {
			rc = tare_error_set(err, -errno, "%.200s: %zu bytes can't be mapped: %s", path, input.len,
					    strerror(errno));
			close(input.fd);
			return rc;
		}
		input.base = base;
		// What is not in the page cache yet is read into huge pages; only speed depends on it.
		(void)madvise(base, input.len, MADV_HUGEPAGE);
		rc = populate(path, base, input.len, err);
	}
	if (rc < 0)
		index_input_drop(&input);
	else
		*ret = input;
	return rc;
}

// What was read and is not there any more. 0 where the kernel doesn't tell, as of a file that is another user's.
static uint64_t absent_bytes(char *base, size_t len)
{
	unsigned char present[LOOK_BYTES / PAGE_BYTES];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t absent = 0;
	TARE_ASSERT(page >= PAGE_BYTES);
	for (size_t at = 0; at < len; at += LOOK_BYTES) {
		size_t piece = TARE_MIN(len - at, (size_t)LOOK_BYTES);
		if (mincore(base + at, piece, present) < 0)
			return 0;
		for (size_t i = 0; i * page < piece; i++)
			absent += (present[i] & 1) == 0 ? TARE_MIN(page, piece - i * page) : 0;
	}
	return absent;
}

int index_input_settle(struct index_input *input, struct tare_error *err)
{
	struct stat now;
	if (fstat(input->fd, &now) < 0 || !same_file(&input->stat, &now))
		return tare_error_set(err, -EIO, "%.200s: was written to while it was verified; try again",
				      input->path);
	close(input->fd); // the mapping holds the file
	input->absent_bytes = absent_bytes(input->base, input->len);
	if (input->absent_bytes > 0) {
		// Only speed depends on it. The first undoes MADV_HUGEPAGE for what is read from here on.
		(void)madvise(input->base, input->len, MADV_NOHUGEPAGE);
		(void)madvise(input->base, input->len, MADV_RANDOM);
	}
	return 0;
}

void index_input_drop(struct index_input *input)
{
	if (input->len > 0)
		munmap(input->base, input->len);
	close(input->fd);
}
