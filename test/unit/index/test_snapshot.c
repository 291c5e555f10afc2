// SPDX-License-Identifier: MIT
// Goal: a snapshot file is whole or not there; equal seeds give equal files; what is no snapshot is refused by name.
// Method: files in a folder of each test's own, which must be empty in the end; a full disk is a file size limit, and,
// where the process may mount, a file system of 256 KiB.
#include "test.h"
#include "snapshot_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int entries_in(const char *path)
{
	DIR *dir = opendir(path);
	assert_non_null(dir);
	int count = 0;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return count;
}

static struct image file_read(const char *path)
{
	struct image image = {.base = NULL};
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	struct stat st;
	assert_return_code(fstat(fileno(file), &st), errno);
	image.len = (size_t)st.st_size;
	image.base = malloc(image.len + 1);
	assert_non_null(image.base);
	assert_int_equal(fread(image.base, 1, image.len + 1, file), image.len);
	fclose(file);
	return image;
}

static void file_write(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void in_folder(const struct folder *folder, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", folder->path, name);
}

static struct image generated(const struct folder *folder, uint64_t size, uint64_t seed)
{
	char path[128];
	struct tare_error err;
	in_folder(folder, "g.tare", path);
	struct tare_gen_options options = {.size = size, .seed = seed};
	if (tare_snapshot_write(path, &options, &err) != 0)
		fail_msg("%s", err.text);
	struct image image = file_read(path);
	assert_return_code(unlink(path), errno);
	return image;
}

TEST(equal_seeds_give_equal_files_and_others_do_not)
{
	struct folder folder;
	folder_init(&folder);
	struct image a = generated(&folder, 2 << 20, 1), b = generated(&folder, 2 << 20, 1),
		     c = generated(&folder, 2 << 20, 2);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.base, b.base, a.len);
	assert_int_equal(image_header(a)->records, image_header(c)->records);
	assert_true(memcmp(a.base + INDEX_ALIGN, c.base + INDEX_ALIGN, TARE_MIN(a.len, c.len) - INDEX_ALIGN) != 0);
	// Known bytes: a change of generator or format that forgets the version shows here.
	assert_int_equal(XXH3_64bits(a.base, a.len), UINT64_C(0xfbdd2db983e8af5a));
	free(a.base);
	free(b.base);
	free(c.base);
	folder_done(&folder);
}

TEST(a_file_and_memory_hold_the_same)
{
	struct folder folder;
	folder_init(&folder);
	struct image file = generated(&folder, 1 << 20, 3);
	struct tare_gen_options options = {.size = 1 << 20, .seed = 3};
	struct tare_index *index;
	assert_int_equal(tare_index_build(&index, &options, NULL), 0);
	assert_int_equal(index->len, file.len);
	assert_memory_equal(index->base, file.base, file.len);
	tare_index_free(index);
	free(file.base);
	folder_done(&folder);
}

TEST(sizes_are_met_from_below)
{
	// Around a doubling of the table, too, where a size may seem to have no fitting number of records.
	for (uint64_t size = 60 << 10; size < UINT64_C(50) << 30; size += size / 7) {
		struct tare_gen_options options = {.size = size, .seed = 1};
		uint64_t records, bytes;
		assert_int_equal(tare_gen_plan(&options, &records, &bytes, NULL), 0);
		assert_true(bytes <= size);
		assert_true(bytes >= size - size / 50);
	}
}

TEST(impossible_options_are_refused)
{
	static const struct {
		struct tare_gen_options options;
		int code;
		const char *what;
	} cases[] = {
	    {{.size = 0}, -EINVAL, "either a size or a number of records"},
	    {{.size = 1 << 20, .records = 3}, -EINVAL, "either a size or a number of records"},
	    {{.size = 100}, -ERANGE, "too small"},
	    {{.size = UINT64_MAX}, -ERANGE, "too large"},
	    {{.records = UINT32_MAX}, -ERANGE, "at most 4294967294"},
	    {{.records = 1, .categories = 65536}, -EINVAL, "at most 65535"},
	};
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "x", path);
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct tare_error err;
		struct tare_index *index = NULL;
		assert_int_equal(tare_snapshot_write(path, &cases[i].options, &err), cases[i].code);
		assert_contains(err.text, cases[i].what);
		assert_int_equal(tare_index_build(&index, &cases[i].options, &err), cases[i].code);
		assert_null(index);
	}
	folder_done(&folder);
}

TEST(an_opened_file_serves)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "s.tare", path);
	struct tare_gen_options options = {.records = 1000, .seed = 4};
	struct tare_error err;
	struct tare_index *index;
	assert_int_equal(tare_snapshot_write(path, &options, &err), 0);
	assert_int_equal(tare_index_open(&index, path, &err), 0);
	// The old file stays whole for who has it open when a new one takes its name.
	options.seed = 5;
	assert_int_equal(tare_snapshot_write(path, &options, &err), 0);
	struct tare_index_stats stats;
	tare_index_stats_get(index, &stats);
	assert_true(stats.mapped);
	assert_int_equal(stats.seed, 4);
	for (uint64_t key = 0; key < 1000; key++)
		assert_int_equal(tare_index_find(index, key)->id, key);
	assert_null(tare_index_find(index, 1000));
	tare_index_free(index);
	assert_return_code(unlink(path), errno);
	folder_done(&folder);
}

static void assert_not_opened(const char *path, int code, const char *what)
{
	struct tare_index *index = NULL;
	struct tare_error err;
	assert_int_equal(tare_index_open(&index, path, &err), code);
	assert_null(index);
	assert_contains(err.text, path);
	assert_contains(err.text, what);
}

TEST(what_is_no_snapshot_is_not_opened)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "f", path);
	assert_not_opened(path, -ENOENT, "No such file");
	assert_not_opened(folder.path, -EISDIR, "not a regular file");
	assert_not_opened("/dev/null", -EINVAL, "not a regular file");
	file_write(path, "", 0);
	assert_not_opened(path, -EBADMSG, "section 'header' at offset 0: not a snapshot: it is empty");
	file_write(path, "hello\n", 6);
	assert_not_opened(path, -EBADMSG, "section 'header' at offset 0: not a snapshot");
	unlink(path);
	assert_return_code(mkfifo(path, 0600), errno);
	assert_not_opened(path, -EINVAL, "not a regular file");
	unlink(path);
	folder_done(&folder);
}

TEST(a_damaged_file_is_not_opened)
{
	struct folder folder;
	folder_init(&folder);
	struct image image = generated(&folder, 64 << 10, 1);
	char path[128];
	in_folder(&folder, "d.tare", path);
	for (size_t at = 0; at < image.len; at += 509) {
		image.base[at] = (char)~image.base[at];
		file_write(path, image.base, image.len);
		image.base[at] = (char)~image.base[at];
		struct tare_index *index = NULL;
		struct tare_error err;
		int rc = tare_index_open(&index, path, &err);
		assert_true(rc == -EBADMSG || rc == -EPROTONOSUPPORT);
		assert_null(index);
		assert_contains(err.text, "section '");
		assert_contains(err.text, "at offset ");
	}
	for (int i = 0; i < TARE_INDEX_SECTIONS - 1; i++) {
		for (int delta = -1; delta <= 1; delta++) {
			file_write(path, image.base, image_header(image)->entries[i].offset + (size_t)delta);
			assert_not_opened(path, -EBADMSG, "truncated");
		}
	}
	unlink(path);
	free(image.base);
	folder_done(&folder);
}

// As another user, because root may read everything.
TEST(an_unreadable_file_is_named)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "u", path);
	file_write(path, "x", 1);
	assert_return_code(chmod(path, 0), errno);
	assert_return_code(chmod(folder.path, 0755), errno);
	pid_t child = fork();
	assert_return_code(child, errno);
	if (child == 0) {
		struct tare_index *index;
		struct tare_error err;
		if (getuid() == 0 && setuid(65534) < 0)
			_exit(2);
		_exit(tare_index_open(&index, path, &err) == -EACCES && strstr(err.text, "Permission denied") ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	unlink(path);
	folder_done(&folder);
}

// ---- a full disk --------------------------------------------------------------------------------------------------

TEST(a_file_size_limit_leaves_nothing)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "l.tare", path);
	struct rlimit before, limit;
	assert_return_code(getrlimit(RLIMIT_FSIZE, &before), errno);
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	// Where the file system can't reserve space, the limit is met later and later in the file.
	for (rlim_t bytes = 0; bytes < 1 << 20; bytes += 1 << 17) {
		limit = before;
		limit.rlim_cur = bytes;
		assert_return_code(setrlimit(RLIMIT_FSIZE, &limit), errno);
		struct tare_gen_options options = {.size = 1 << 20, .seed = 1};
		struct tare_error err;
		int rc = tare_snapshot_write(path, &options, &err);
		assert_return_code(setrlimit(RLIMIT_FSIZE, &before), errno);
		assert_int_equal(rc, -EFBIG);
		assert_contains(err.text, path);
		assert_contains(err.text, "free some space, or choose another place");
		assert_int_equal(entries_in(folder.path), 0);
	}
	signal(SIGXFSZ, handler);
	folder_done(&folder);
}

enum { CANT_MOUNT = 77 };

// In a process of its own, whose mounts are its own: an exit code, 0 when all is well.
static int fill_small_disk(const struct folder *folder, bool proc)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", folder->path, "tmpfs", 0, "size=256k") < 0 ||
	    (!proc && mount("tmpfs", "/proc", "tmpfs", 0, "size=4k") < 0))
		return CANT_MOUNT;
	char path[128];
	in_folder(folder, "t.tare", path);
	struct tare_gen_options options = {.size = 100 << 10, .seed = 1};
	struct tare_error err;
	if (tare_snapshot_write(path, &options, &err) != 0 || entries_in(folder->path) != 1)
		return 1;
	struct image old = file_read(path);
	options.size = 1 << 20;
	if (tare_snapshot_write(path, &options, &err) != -ENOSPC || strstr(err.text, "No space left") == NULL)
		return 2;
	struct image now = file_read(path);
	bool same = now.len == old.len && memcmp(now.base, old.base, old.len) == 0;
	free(old.base);
	free(now.base);
	return same && entries_in(folder->path) == 1 ? 0 : 3;
}

// With /proc the file has no name until it is whole; without, a temporary one.
TEST(a_full_disk_leaves_the_old_file)
{
	struct folder folder;
	folder_init(&folder);
	int worst = 0;
	for (int proc = 0; proc < 2; proc++) {
		pid_t child = fork();
		assert_return_code(child, errno);
		if (child == 0)
			_exit(fill_small_disk(&folder, proc));
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		worst = TARE_MAX(worst, WEXITSTATUS(status));
	}
	folder_done(&folder);
	if (worst == CANT_MOUNT)
		skip();
	assert_int_equal(worst, 0);
}

// Lets `left` calls pass, then cancels.
static int cancel_after(void *arg, uint64_t done, uint64_t total)
{
	int *left = arg;
	assert_true(done > 0 && done <= total);
	return (*left)-- > 0 ? 0 : -EINTR;
}

TEST(a_cancelled_run_leaves_nothing)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	in_folder(&folder, "c.tare", path);
	for (int calls = 0; calls < 3; calls++) {
		int left = calls;
		struct tare_gen_options options = {
		    .records = 400000, .seed = 1, .progress = cancel_after, .progress_arg = &left};
		struct tare_index *index = NULL;
		assert_int_equal(tare_snapshot_write(path, &options, NULL), -EINTR);
		assert_int_equal(entries_in(folder.path), 0);
		left = calls;
		assert_int_equal(tare_index_build(&index, &options, NULL), -EINTR);
		assert_null(index);
	}
	folder_done(&folder);
}

// What the kernel was told of the mapping at this address: two letters each, "rr" for reads that are random.
static bool told(const void *at, const char *letters)
{
	char line[512];
	uintptr_t from, to;
	bool here = false, found = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	assert_non_null(smaps);
	while (fgets(line, sizeof line, smaps) != NULL) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			here = from <= (uintptr_t)at && (uintptr_t)at < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, letters) != NULL;
	}
	fclose(smaps);
	return found;
}

TEST(of_a_file_that_memory_does_not_hold_a_lookup_reads_a_page)
{
	struct folder folder;
	folder_init(&folder);
	char path[128];
	struct tare_gen_options options = {.size = 4 << 20, .seed = 1};
	in_folder(&folder, "large", path);
	assert_int_equal(tare_snapshot_write(path, &options, NULL), 0);
	struct index_input input = {0};
	for (int held = 1; held >= 0; held--) {
		assert_int_equal(index_input_open(&input, path, "", "", NULL), 0);
		// What a lack of memory does.
		if (!held) {
			assert_return_code(madvise(input.base, input.len, MADV_DONTNEED), errno);
			assert_int_equal(posix_fadvise(input.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		}
		assert_int_equal(index_input_settle(&input, NULL), 0);
		bool by_page = told(input.base, " rr") && !told(input.base, " hg");
		uint64_t absent = input.absent_bytes;
		munmap(input.base, input.len);
		if (!held && absent == 0) { // a file system in memory
			unlink(path);
			folder_done(&folder);
			skip();
		}
		assert_int_equal(by_page, !held);
		assert_true(held ? absent == 0 : absent <= input.len);
	}
	unlink(path);
	folder_done(&folder);
}

TEST(only_regular_files_are_replaced)
{
	struct folder folder;
	folder_init(&folder);
	char path[128], link_path[128];
	struct tare_gen_options options = {.records = 10, .seed = 1};
	struct tare_error err;
	assert_int_equal(tare_snapshot_write(folder.path, &options, &err), -EISDIR);
	in_folder(&folder, "", path);
	assert_int_equal(tare_snapshot_write(path, &options, &err), -EISDIR);
	assert_int_equal(tare_snapshot_write("/dev/null", &options, &err), -EINVAL);
	assert_contains(err.text, "is not a regular file");
	in_folder(&folder, "none/x", path);
	assert_int_equal(tare_snapshot_write(path, &options, &err), -ENOENT);
	assert_contains(err.text, "its directory can't be opened");
	in_folder(&folder, "link", link_path);
	assert_return_code(symlink("elsewhere", link_path), errno);
	assert_int_equal(tare_snapshot_write(link_path, &options, &err), -EINVAL);
	unlink(link_path);
	folder_done(&folder);
}
