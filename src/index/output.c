// SPDX-License-Identifier: MIT
// Writes a file, a snapshot or a table, so that its name is either as it was or the whole new file.
//
//   reserved ──fill──> written ──fsync──> safe ──link_in──> temporary name ──rename──> final name ──fsync──> done
//
// Invariants: 1. Until rename the final name is untouched. 2. The file has no name until it is safe, so that even a
// killed process leaves nothing; a file system without O_TMPFILE has a temporary one instead, removed on every error.
// 3. Space is reserved first where the file system can, so that a full disk is known before the work.
// Threads: no state but the number in temporary names. Ownership: all descriptors are closed on return.
// Rejected: writing through a mapping (a full disk is a SIGBUS).
#include "index/index_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tare_tag heap_tag = TARE_TAG("index");

enum { TEMP_NAME_MAX = 64, TEMP_NAME_TRIES = 100, WRITE_BYTES_MAX = 16 << 20 };

struct output {
	const char *path; // as the caller wrote it, for errors
	const char *base; // its last part, within directory
	int directory;
	int fd;
	char temp[TEMP_NAME_MAX]; // the temporary name; "" when there is none
};

static int fail(const struct output *out, int code, const char *what, struct tare_error *err)
{
	const char *advice = code == -ENOSPC || code == -EDQUOT || code == -EFBIG
				 ? "; free some space, or choose another place or a smaller size"
				 : "";
	return tare_error_set(err, code, "%.200s: %s: %s%s", out->path, what, strerror(-code), advice);
}

// Different for each call in a process; a leftover of another process with the same number is stepped over.
static void temp_name_next(char name[TEMP_NAME_MAX])
{
	static atomic_uint counter;
	unsigned number = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed); // only uniqueness matters
	snprintf(name, TEMP_NAME_MAX, ".tare-gen-%ld-%u.tmp", (long)getpid(), number);
}

static int open_directory(struct output *out, struct tare_error *err)
{
	const char *slash = strrchr(out->path, '/');
	out->base = slash != NULL ? slash + 1 : out->path;
	if (out->base[0] == '\0')
		return tare_error_set(err, -EISDIR, "%.200s: is a directory; add a file name", out->path);
	char *name = tare_strdup(&heap_tag, slash == NULL ? "." : slash == out->path ? "/" : out->path);
	if (name == NULL)
		return fail(out, -ENOMEM, "can't be written", err);
	if (slash != NULL && slash > out->path)
		name[slash - out->path] = '\0';
	out->directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = out->directory < 0 ? -errno : 0;
	tare_free(name);
	return rc < 0 ? fail(out, rc, "its directory can't be opened", err) : 0;
}

// Only a regular file is replaced: not a directory, and not /dev/null.
static int check_target(const struct output *out, struct tare_error *err)
{
	struct stat st;
	if (fstatat(out->directory, out->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(out, -errno, "can't be written", err);
	if (S_ISDIR(st.st_mode))
		return tare_error_set(err, -EISDIR, "%.200s: is a directory; add a file name", out->path);
	if (!S_ISREG(st.st_mode))
		return tare_error_set(err, -EINVAL, "%.200s: is not a regular file; choose another name", out->path);
	return 0;
}

static int open_named(struct output *out)
{
	for (int tries = 0; tries < TEMP_NAME_TRIES; tries++) {
		temp_name_next(out->temp);
		out->fd = openat(out->directory, out->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (out->fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	int rc = -errno;
	out->temp[0] = '\0';
	return rc;
}

static int open_file(struct output *out, struct tare_error *err)
{
	// A nameless file gets its name through /proc.
	if (access("/proc/self/fd", X_OK) == 0) {
		out->fd = openat(out->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
		if (out->fd >= 0)
			return 0;
	}
	int rc = open_named(out);
	return rc < 0 ? fail(out, rc, "can't be written", err) : 0;
}

static int reserve(const struct output *out, uint64_t bytes, struct tare_error *err)
{
	int rc;
	do
		rc = fallocate(out->fd, 0, 0, (off_t)bytes) < 0 ? -errno : 0;
	while (rc == -EINTR);
	if (rc == 0 || rc == -EOPNOTSUPP || rc == -ENOSYS)
		return 0;
	char what[64];
	snprintf(what, sizeof what, "no room for %" PRIu64 " bytes", bytes);
	return fail(out, rc, what, err);
}

static int put(void *arg, const void *data, size_t len, uint64_t offset)
{
	const struct output *out = arg;
	while (len > 0) {
		ssize_t n = pwrite(out->fd, data, TARE_MIN(len, (size_t)WRITE_BYTES_MAX), (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data = (const char *)data + n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int link_in(struct output *out)
{
	char source[64];
	snprintf(source, sizeof source, "/proc/self/fd/%d", out->fd);
	for (int tries = 0; tries < TEMP_NAME_TRIES; tries++) {
		temp_name_next(out->temp);
		if (linkat(AT_FDCWD, source, out->directory, out->temp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	int rc = -errno;
	out->temp[0] = '\0';
	return rc;
}

static int publish(struct output *out, struct tare_error *err)
{
	int rc = fsync(out->fd) < 0 ? -errno : 0;
	if (rc == 0 && out->temp[0] == '\0')
		rc = link_in(out);
	if (rc == 0 && renameat(out->directory, out->temp, out->directory, out->base) < 0)
		rc = -errno;
	if (rc < 0)
		return fail(out, rc, "can't be written", err);
	out->temp[0] = '\0'; // it is the final name now
	// The file is whole and in place; a directory that can't be synced (some network file systems) doesn't undo
	// that.
	(void)fsync(out->directory);
	return 0;
}

static int write_file(struct output *out, uint64_t bytes, index_fill *fill, void *arg, struct tare_error *err)
{
	int rc = open_file(out, err);
	if (rc < 0)
		return rc;
	rc = reserve(out, bytes, err);
	if (rc == 0) {
		struct index_sink sink = {.put = put, .arg = out};
		struct tare_error inner = {.text = ""};
		rc = fill(arg, &sink, &inner);
		if (rc != 0 && inner.text[0] != '\0')
			tare_error_set(err, rc, "%.200s: %s", out->path, inner.text);
		else if (rc < 0)
			fail(out, rc, "can't be written", err);
	}
	if (rc == 0)
		rc = publish(out, err);
	close(out->fd);
	if (out->temp[0] != '\0')
		unlinkat(out->directory, out->temp, 0);
	return rc;
}

int index_write(const char *path, uint64_t bytes, index_fill *fill, void *arg, struct tare_error *err)
{
	struct output out = {.path = path, .directory = -1, .fd = -1};
	int rc = open_directory(&out, err);
	if (rc == 0)
		rc = check_target(&out, err);
	if (rc == 0)
		rc = write_file(&out, bytes, fill, arg, err);
	if (out.directory >= 0)
		close(out.directory);
	return rc;
}
