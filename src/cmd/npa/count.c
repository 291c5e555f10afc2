// SPDX-License-Identifier: MIT
// Exact counts, taken from outside: instructions by Valgrind's Callgrind, system calls by ptrace.
//
// The program runs all rows between marks (src/measure/npa.c). Callgrind is asked to write what it has counted whenever
// the mark's function is entered: part k holds what ran between marks k - 1 and k. A row has the parts
//
//   warm-up, then REPEATS times: body(N), body(2N), twin(N), twin(2N)
//
// and costs ((body(2N) - body(N)) - (twin(2N) - twin(N))) / N, the middle one of the repeats: a thread besides, such as
// the runtime's monitor, does something now and then. System calls are counted alike, of all threads.
//
// libc picks its string functions by the processor. While we count it is told to leave out whatever newer processors
// have, so that the counts are the same on each. Code that asks the processor by itself is not told.
// Threads: one. Rejected: perf's counters (virtual machines rarely have them, and they are not exact), single steps by
// ptrace (exact as well, but libc would follow the processor).
#include "cmd/npa/npa.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPEATS = 3, PARTS = 1 + 4 * REPEATS, MARK = 0x4e504100, TALLY_MAX = NPA_ROWS_MAX * PARTS };

// ---- a folder -----------------------------------------------------------------------------------------------------

int npa_folder_make(char *ret_path, size_t cap, struct tare_error *err)
{
	const char *base = getenv("TMPDIR");
	int len = snprintf(ret_path, cap, "%s/tare-npa-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
	if (len < 0 || (size_t)len >= cap)
		return tare_error_set(err, -ENAMETOOLONG, "TMPDIR is too long");
	if (mkdtemp(ret_path) == NULL)
		return tare_error_set(err, -errno, "%s: %s", ret_path, strerror(errno));
	return 0;
}

void npa_folder_remove(const char *path)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	while (folder != NULL && (entry = readdir(folder)) != NULL)
		(void)unlinkat(dirfd(folder), entry->d_name, 0); // "." and ".." are refused
	if (folder != NULL)
		(void)closedir(folder);
	(void)rmdir(path);
}

void npa_parts_option(char *out, size_t cap, const char *folder)
{
	snprintf(out, cap, "--callgrind-out-file=%s/part", folder);
}

// The line "totals: N" of one file; -ENOENT where there is no such file.
static int part_read(const char *path, double *ret)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t cap = 0;
	int rc = -EPROTO;
	if (file == NULL)
		return -ENOENT;
	while (getline(&text, &cap, file) > 0)
		if (sscanf(text, "totals: %lf", ret) == 1)
			rc = 0;
	free(text);
	(void)fclose(file);
	return rc;
}

int npa_parts_read(struct npa_parts *ret, const char *folder, struct tare_error *err)
{
	char path[1024];
	double value = 0;
	*ret = (struct npa_parts){NULL, 0};
	for (size_t k = 1;; k++) {
		snprintf(path, sizeof path, "%s/part.%zu", folder, k);
		int rc = part_read(path, &value);
		if (rc == -ENOENT)
			return 0;
		double *more = rc == 0 ? realloc(ret->counts, k * sizeof *more) : NULL;
		if (more == NULL) {
			free(ret->counts);
			ret->counts = NULL;
			return tare_error_set(err, rc < 0 ? rc : -ENOMEM,
					      "%s: no totals; Callgrind may have been cut off", path);
		}
		ret->counts = more;
		ret->counts[ret->count++] = value;
	}
}

double npa_middle(const double of[3])
{
	double low = fmin(of[0], of[1]), high = fmax(of[0], of[1]);
	return fmax(low, fmin(high, of[2]));
}

// ---- figures ------------------------------------------------------------------------------------------------------

// Writes the figure that each row's parts come to.
static int figures_set(json_t *rows, const char *name, const double *parts, size_t count, struct tare_error *err)
{
	size_t i;
	json_t *row;
	if (count < json_array_size(rows) * PARTS)
		return tare_error_set(err, -EPROTO, "only %zu of %zu marks were seen", count,
				      json_array_size(rows) * PARTS);
	for (i = 0; (row = json_array_get(rows, i)) != NULL; i++) {
		double n = npa_figure(row, "count"), per = npa_figure(row, "per"), each[REPEATS];
		for (size_t k = 0; k < REPEATS; k++) {
			const double *at = parts + i * PARTS + 1 + 4 * k;
			each[k] = ((at[1] - at[0]) - (at[3] - at[2])) / n / per;
		}
		double figure = round(npa_middle(each) * 1000) / 1000;
		if (json_object_set_new(row, name, json_real(figure)) < 0)
			return tare_error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

// argv of `PROGRAM count ROW…`, behind what is given. The caller's to free; the texts are the rows'.
static char **argv_make(const char *const before[], const char *program, const json_t *rows)
{
	size_t count = 0, i;
	json_t *row;
	while (before[count] != NULL)
		count++;
	char **argv = calloc(count + json_array_size(rows) + 3, sizeof *argv);
	if (argv == NULL)
		return NULL;
	memcpy(argv, before, count * sizeof *argv);
	argv[count++] = NPA_ARG(program);
	argv[count++] = NPA_ARG("count");
	for (i = 0; (row = json_array_get(rows, i)) != NULL; i++)
		argv[count++] = NPA_ARG(npa_text(row, "row"));
	return argv;
}

// ---- instructions -------------------------------------------------------------------------------------------------

int npa_valgrind(char *ret_version, size_t cap)
{
	FILE *pipe = popen("exec valgrind --version 2>/dev/null", "re");
	char text[64] = "";
	if (pipe == NULL)
		return -ENOENT;
	bool said = fgets(text, sizeof text, pipe) != NULL;
	if (pclose(pipe) != 0 || !said || strncmp(text, "valgrind-", 9) != 0)
		return -ENOENT;
	text[strcspn(text, "\n")] = '\0';
	snprintf(ret_version, cap, "%s", text + 9);
	return 0;
}

int npa_count_instructions(const char *program, json_t *rows, struct tare_error *err)
{
	char folder[512], option[600];
	struct npa_child child = {.folder = folder};
	struct npa_parts parts;
	int rc = npa_folder_make(folder, sizeof folder, err);
	if (rc < 0)
		return rc;
	npa_parts_option(option, sizeof option, folder);
	const char *const before[] = {"valgrind", "--quiet", "--tool=callgrind", option, "--dump-before=measure_mark",
				      NULL};
	char **argv = argv_make(before, program, rows);
	rc = argv == NULL ? tare_error_set(err, -ENOMEM, "out of memory") : npa_child_start(&child, argv, err);
	if (rc == 0)
		rc = npa_child_end(&child, "valgrind", err);
	if (rc == 0)
		rc = npa_parts_read(&parts, folder, err);
	if (rc == 0) {
		rc = figures_set(rows, "instructions", parts.counts, parts.count, err);
		free(parts.counts);
	}
	free(argv);
	npa_folder_remove(folder);
	return rc;
}

// ---- system calls -------------------------------------------------------------------------------------------------

struct tally {
	double parts[TALLY_MAX];
	size_t count;
	double calls; // since the last mark
};

// A thread stopped at a system call: counts it, or ends a part, where the call begins.
static void on_call(struct tally *tally, pid_t thread)
{
	struct __ptrace_syscall_info info;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	if (info.entry.nr != SYS_prctl || info.entry.args[0] != MARK) {
		tally->calls++;
		return;
	}
	if (tally->count < TALLY_MAX)
		tally->parts[tally->count++] = tally->calls;
	tally->calls = 0;
}

// Until the program has ended; its status, or a negative errno.
static int trace(struct tally *tally, pid_t program)
{
	for (;;) {
		int status;
		pid_t thread = waitpid(-1, &status, __WALL);
		if (thread < 0 && errno == EINTR)
			continue;
		if (thread < 0)
			return -errno;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (thread == program)
				return status;
			continue;
		}
		int signal = WSTOPSIG(status);
		if (signal == (SIGTRAP | 0x80))
			on_call(tally, thread);
		// Stops of ptrace's own, and the one that a new thread begins with, are no signals of the program's.
		if ((signal & 0x7f) == SIGTRAP || signal == SIGSTOP)
			signal = 0;
		(void)ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(intptr_t)signal);
	}
}

static pid_t traced_start(char **argv)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) {
		(void)raise(SIGSTOP);
		execvp(argv[0], argv);
	}
	_exit(127);
}

static int count_calls(struct tally *tally, char **argv, struct tare_error *err)
{
	int status;
	pid_t pid = traced_start(argv);
	if (pid < 0)
		return tare_error_set(err, -errno, "a child: %s", strerror(errno));
	if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status))
		return tare_error_set(err, -EPERM, "the system allows no ptrace");
	long flags = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)flags) < 0 || ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0) {
		int rc = tare_error_set(err, -errno, "ptrace: %s", strerror(errno));
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, __WALL);
		return rc;
	}
	status = trace(tally, pid);
	if (status != 0)
		return tare_error_set(err, -EIO, "%s did not end well while its system calls were counted (status %#x)",
				      argv[0], (unsigned)status);
	return 0;
}

int npa_count_syscalls(const char *program, json_t *rows, struct tare_error *err)
{
	const char *const before[] = {NULL};
	char **argv = argv_make(before, program, rows);
	struct tally *tally = calloc(1, sizeof *tally);
	int rc = argv == NULL || tally == NULL ? tare_error_set(err, -ENOMEM, "out of memory")
					       : count_calls(tally, argv, err);
	if (rc == 0)
		rc = figures_set(rows, "syscalls", tally->parts, tally->count, err);
	free(tally);
	free(argv);
	return rc;
}
