// SPDX-License-Identifier: MIT
// Running programs of rows, and reading what they say: a JSON object a line.
//
// Standard error is left to the child, but under valgrind: there the last that it said goes into the error. Threads:
// one.
#include "cmd/npa/npa.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

double npa_figure(const json_t *row, const char *name)
{
	const json_t *value = json_object_get(row, name);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *npa_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

json_t *npa_row(const json_t *report, const char *name)
{
	size_t i;
	json_t *row;
	for (i = 0; (row = json_array_get(json_object_get(report, "rows"), i)) != NULL; i++)
		if (strcmp(npa_text(row, "row"), name) == 0)
			return row;
	return NULL;
}

// What libc is told where instructions are counted: its string functions follow the processor, and counts shall not.
#define LIBC_VARIABLE "GLIBC_TUNABLES"
#define LIBC_VALUE                                                                                                     \
	"glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-BMI1,-BMI2,-LZCNT,-MOVBE,-RTM,-ERMS,-FSRM,"         \
	"-AVX_Fast_Unaligned_Load,-FMA,-FMA4"

static void said_path(char *out, size_t cap, const char *folder)
{
	snprintf(out, cap, "%s/said", folder);
}

// In the child, between fork and exec.
TARE_NORETURN static void child_exec(const struct npa_child *child, char *const argv[], const int ends[2])
{
	char path[600];
	dup2(ends[1], STDOUT_FILENO);
	close(ends[0]);
	close(ends[1]);
	if (child->folder != NULL) {
		said_path(path, sizeof path, child->folder);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd >= 0)
			dup2(fd, STDERR_FILENO);
		setenv(LIBC_VARIABLE, LIBC_VALUE, 1);
	}
	execvp(argv[0], argv);
	_exit(127);
}

int npa_child_start(struct npa_child *child, char *const argv[], struct tare_error *err)
{
	int ends[2];
	if (pipe(ends) < 0)
		return tare_error_set(err, -errno, "a pipe: %s", strerror(errno));
	FILE *out = fdopen(ends[0], "r");
	fflush(stdout);
	child->pid = out != NULL ? fork() : -1;
	if (child->pid == 0)
		child_exec(child, argv, ends);
	int rc = child->pid < 0 ? -errno : 0;
	close(ends[1]);
	child->out = out;
	if (rc == 0)
		return 0;
	if (out != NULL)
		(void)fclose(out);
	else
		close(ends[0]);
	return tare_error_set(err, rc, "a child: %s", strerror(-rc));
}

// The last line that a child under valgrind has said, behind a ": ", or nothing.
static void last_said(const struct npa_child *child, char *out, size_t cap)
{
	char path[600], text[256] = "";
	out[0] = '\0';
	if (child->folder == NULL)
		return;
	said_path(path, sizeof path, child->folder);
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(text, sizeof text, file) != NULL)
		continue;
	if (file != NULL)
		(void)fclose(file);
	text[strcspn(text, "\n")] = '\0';
	if (text[0] != '\0')
		snprintf(out, cap, ": %s", text);
}

int npa_child_end(struct npa_child *child, const char *what, struct tare_error *err)
{
	int status;
	char said[300];
	if (child->out != NULL)
		(void)fclose(child->out);
	child->out = NULL;
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return tare_error_set(err, -errno, "%s: %s", what, strerror(errno));
	last_said(child, said, sizeof said);
	if (WIFSIGNALED(status))
		return tare_error_set(err, -EIO, "%s died of signal %d (%s)%s", what, WTERMSIG(status),
				      strsignal(WTERMSIG(status)), said);
	if (WEXITSTATUS(status) == 127)
		return tare_error_set(err, -ENOENT, "%s could not be run; is it there, and a program?", what);
	if (WEXITSTATUS(status) != 0)
		return tare_error_set(err, -EIO, "%s ended with exit code %d%s", what, WEXITSTATUS(status), said);
	return 0;
}

// Whatever else a program prints is no row.
static int one_line(const char *text, const char *what, int (*fn)(void *arg, json_t *line), void *arg,
		    struct tare_error *err)
{
	json_error_t at;
	json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, &at);
	if (!json_is_object(line)) {
		json_decref(line);
		return tare_error_set(err, -EPROTO,
				      "%s said '%.60s', which is no row; does its main return tare_npa_main, and does "
				      "nothing else print?",
				      what, text);
	}
	const char *error = json_string_value(json_object_get(line, "error"));
	int rc = error != NULL ? tare_error_set(err, -EINVAL, "%s: %s", what, error) : fn(arg, line);
	json_decref(line);
	return rc;
}

int npa_ask(char *const argv[], int (*fn)(void *arg, json_t *line), void *arg, struct tare_error *err)
{
	struct npa_child child = {.folder = NULL};
	char *text = NULL;
	size_t cap = 0;
	int rc = npa_child_start(&child, argv, err);
	if (rc < 0)
		return rc;
	while (rc == 0 && getline(&text, &cap, child.out) > 0) {
		text[strcspn(text, "\n")] = '\0';
		rc = one_line(text, argv[0], fn, arg, err);
	}
	free(text);
	struct tare_error end_err;
	int end = npa_child_end(&child, argv[0], &end_err);
	// The first that went wrong says most.
	if (rc == 0 && end < 0)
		rc = tare_error_set(err, end, "%s", end_err.text);
	return rc;
}
