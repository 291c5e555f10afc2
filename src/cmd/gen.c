// SPDX-License-Identifier: MIT
// `tare gen`: generates a snapshot file.
//
// An existing snapshot is replaced, whole or not at all; any other file only with --force, because a mistyped --out is
// likelier than the wish. Interrupted, it leaves nothing.
// Threads: one. The signal handler only sets a flag, which the progress callback reads.
#include "cmd/cmd.h"

#include <tare/index.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE_DEFAULT = 64 << 20 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	interrupted = signal_number;
}

static void catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_interrupt};
	for (size_t i = 0; i < TARE_ARRAY_LEN(signals); i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGXFSZ, SIG_IGN); // a file size limit is then an error of write(2)
}

static int progress_show(void *arg, uint64_t done, uint64_t total)
{
	if (interrupted != 0)
		return -EINTR;
	cmd_progress_show(arg, done, total);
	return 0;
}

// Whether the file at path may be replaced without --force: there is none, or it is empty, or a snapshot. Of what can't
// be read nobody knows that it is one. (What is no regular file, tare_snapshot_write refuses.)
static bool may_replace(const char *path)
{
	char magic[sizeof TARE_SNAPSHOT_MAGIC - 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return access(path, F_OK) < 0;
	struct stat st;
	bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	ssize_t n = regular ? read(fd, magic, sizeof magic) : 0;
	close(fd);
	return n == 0 || (n == (ssize_t)sizeof magic && memcmp(magic, TARE_SNAPSHOT_MAGIC, sizeof magic) == 0);
}

static int report(const char *path, const struct tare_gen_options *options, bool json, int64_t took_ns)
{
	uint64_t records = 0, bytes = 0;
	if (tare_gen_plan(options, &records, &bytes, NULL) < 0)
		return cmd_fail("gen", "%s: was written, and its report is not to be had", path);
	if (json) {
		json_t *root =
		    json_pack("{s:s?, s:I, s:I, s:I, s:I}", "file", path, "records", (json_int_t)records, "bytes",
			      (json_int_t)bytes, "seed", (json_int_t)options->seed, "took_ns", (json_int_t)took_ns);
		if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(2)) < 0)
			cmd_fail("gen", "%s: was written, but the report could not be", path);
		json_decref(root);
		printf("\n");
	} else {
		printf("%s: %" PRIu64 " records, %" PRIu64 " bytes (%.1f MiB), seed %" PRIu64 ", in %.0f ms\n", path,
		       records, bytes, (double)bytes / (1 << 20), options->seed, (double)took_ns / 1e6);
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? CMD_OK
						      : cmd_fail("gen", "standard output: %s", strerror(errno));
}

static int generate(const char *path, struct tare_gen_options *options, bool json)
{
	struct tare_error err = {.text = ""};
	struct cmd_progress progress;
	cmd_progress_begin(&progress, "tare gen:");
	options->progress = progress_show;
	options->progress_arg = &progress;
	catch_signals();
	int rc = tare_snapshot_write(path, options, &err);
	cmd_progress_end(&progress);
	if (rc == -EINTR && interrupted != 0)
		return cmd_fail("gen", "%s: interrupted by a signal; nothing was written", path);
	if (rc < 0)
		return cmd_fail("gen", "%s", err.text);
	return report(path, options, json, tare_clock_ns() - progress.start_ns);
}

int cmd_gen(int argc, char **argv)
{
	struct tare_gen_options gen = {.seed = 1};
	const char *out = NULL;
	bool force = false, json = false;
	const struct cmd_option options[] = {
	    {.name = "size",
	     .type = CMD_SIZE,
	     .value = &gen.size,
	     .min = 1,
	     .help = "bytes of the file, at most (default: 64M)"},
	    {.name = "records", .type = CMD_U64, .value = &gen.records, .min = 1, .help = "records, instead of a size"},
	    {.name = "seed",
	     .type = CMD_U64,
	     .value = &gen.seed,
	     .max = INT64_MAX,
	     .help = "the same seed and size give the same bytes"},
	    {.name = "out", .type = CMD_TEXT, .value = &out, .placeholder = "FILE", .help = "where to; required"},
	    {.name = "force", .type = CMD_FLAG, .value = &force, .help = "replace FILE even if it is no snapshot"},
	    {.name = "json", .type = CMD_FLAG, .value = &json, .help = "report as JSON"},
	};
	int rc = cmd_parse("gen", "Generates a snapshot: a file of records that 'tare svc --index' serves.", options,
			   TARE_ARRAY_LEN(options), argc, argv);
	if (rc != -1)
		return rc;
	if (out == NULL) {
		cmd_fail("gen", "--out is missing; give the file to write: --out FILE");
		return CMD_USAGE;
	}
	if (gen.size != 0 && gen.records != 0) {
		cmd_fail("gen", "--size and --records exclude each other; give one");
		return CMD_USAGE;
	}
	if (gen.size == 0 && gen.records == 0)
		gen.size = SIZE_DEFAULT;
	uint64_t records, bytes;
	struct tare_error err;
	if (tare_gen_plan(&gen, &records, &bytes, &err) < 0) { // its text begins with "size N" or tells of records
		cmd_fail("gen", "--%s%s", gen.size != 0 ? "" : "records: ", err.text);
		return CMD_USAGE;
	}
	if (!force && !may_replace(out))
		return cmd_fail("gen", "%s: exists and is not a snapshot; choose another name, or --force replaces it",
				out);
	return generate(out, &gen, json);
}
