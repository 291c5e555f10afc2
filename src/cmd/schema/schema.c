// SPDX-License-Identifier: MIT
// `tare schema compile FILE --out DIR` writes C from a schema; `tare schema check OLD NEW` refuses an incompatible
// change.
//
// A file is written beside its name and renamed, so that a build never sees half of one, and only where it has changed,
// so that nothing is compiled anew for nothing. Threads: one.
#include "cmd/schema/schema.h"

#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

// Parsed and laid out, or told on standard error.
static int load(struct schema **ret, const char *path)
{
	struct tare_error err;
	struct schema *schema = calloc(1, sizeof *schema);
	if (schema == NULL)
		return cmd_fail("schema", "out of memory");
	*ret = schema;
	int rc = schema_parse(schema, path, &err);
	if (rc == 0)
		rc = schema_layout(schema, &err);
	return rc < 0 ? cmd_fail("schema", "%s", err.text) : CMD_OK;
}

static void unload(struct schema *schema)
{
	if (schema != NULL)
		schema_done(schema);
	free(schema);
}

// ---- compile ------------------------------------------------------------------------------------------------------

static bool holds_already(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	char *there = malloc(len + 1);
	size_t n = there != NULL ? fread(there, 1, len + 1, file) : 0;
	bool same = there != NULL && n == len && memcmp(there, text, len) == 0;
	free(there);
	fclose(file);
	return same;
}

static int write_file(const char *folder, const struct schema *schema, char suffix, const char *text, size_t len)
{
	char path[4096], half[4096 + 16];
	int n = snprintf(path, sizeof path, "%s/%.*s.tare.%c", folder, SCHEMA_SHOW(schema->name), suffix);
	if (n < 0 || (size_t)n >= sizeof path)
		return cmd_fail("schema", "--out: %s: the path is too long", folder);
	if (holds_already(path, text, len))
		return CMD_OK;
	snprintf(half, sizeof half, "%s.%d.tmp", path, (int)getpid());
	FILE *file = fopen(half, "we");
	if (file == NULL)
		return cmd_fail("schema", "%s: %s; --out names a folder that is there", half, strerror(errno));
	bool written = fwrite(text, 1, len, file) == len;
	if (fclose(file) != 0 || !written || rename(half, path) != 0) {
		int failed = errno;
		unlink(half);
		return cmd_fail("schema", "%s: %s", path, strerror(failed));
	}
	return CMD_OK;
}

static int emit(const struct schema *schema, const char *folder, char suffix,
		void (*emit_one)(const struct schema *schema, FILE *out))
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (out == NULL)
		return cmd_fail("schema", "out of memory");
	emit_one(schema, out);
	int rc = fclose(out) == 0 ? write_file(folder, schema, suffix, text, len) : cmd_fail("schema", "out of memory");
	free(text);
	return rc;
}

static int run_compile(int argc, char **argv)
{
	const char *path = NULL, *folder = ".";
	const struct cmd_option options[] = {
	    {.name = "FILE", .type = CMD_TEXT, .value = &path, .help = "the schema, by custom NAME.tare"},
	    {.name = "out",
	     .type = CMD_TEXT,
	     .value = &folder,
	     .placeholder = "DIR",
	     .help = "where MESSAGE.tare.h and MESSAGE.tare.c go; also -o"},
	};
	for (int i = 1; i < argc; i++) // as compilers have it
		if (strcmp(argv[i], "-o") == 0) {
			static char out[] = "--out";
			argv[i] = out;
		}
	int rc = cmd_parse("schema compile", "Writes a schema's C: encoder, verifier, getters, JSON.", options,
			   TARE_ARRAY_LEN(options), argc, argv);
	if (rc != -1)
		return rc;
	struct schema *schema = NULL;
	rc = load(&schema, path);
	if (rc == CMD_OK)
		rc = emit(schema, folder, 'h', schema_emit_header);
	if (rc == CMD_OK)
		rc = emit(schema, folder, 'c', schema_emit_source);
	unload(schema);
	return rc;
}

// ---- check --------------------------------------------------------------------------------------------------------

static int run_check(int argc, char **argv)
{
	const char *old_path = NULL, *new_path = NULL;
	const struct cmd_option options[] = {
	    {.name = "OLD", .type = CMD_TEXT, .value = &old_path, .help = "the schema that is in use"},
	    {.name = "NEW", .type = CMD_TEXT, .value = &new_path, .help = "the one that is to follow"},
	};
	int rc = cmd_parse("schema check", "Fails unless programs with either schema read the messages of both.",
			   options, TARE_ARRAY_LEN(options), argc, argv);
	if (rc != -1)
		return rc;
	struct schema *older = NULL, *newer = NULL;
	rc = load(&older, old_path);
	if (rc == CMD_OK)
		rc = load(&newer, new_path);
	if (rc == CMD_OK) {
		size_t findings = schema_check(older, newer, stdout);
		if (fflush(stdout) != 0)
			rc = cmd_fail("schema", "standard output: %s", strerror(errno));
		else if (findings > 0)
			rc = cmd_fail("schema", "%s can't follow %s: %zu change%s, see above", new_path, old_path,
				      findings, findings == 1 ? "" : "s");
	}
	unload(older);
	unload(newer);
	return rc;
}

static int usage(FILE *out)
{
	fprintf(out,
		"usage: tare schema compile FILE [--out DIR]\n"
		"       tare schema check OLD NEW\n\n"
		"compile writes C from a schema of binary messages; check fails unless programs with either of two\n"
		"schemas read the messages of both.\n\n"
		"  --out DIR                   where MESSAGE.tare.h and MESSAGE.tare.c go; also -o (default: .)\n"
		"  --help                      print this and exit\n");
	return fflush(out) == 0 ? CMD_OK : cmd_fail("schema", "standard output: %s", strerror(errno));
}

int cmd_schema(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "compile") == 0)
		return run_compile(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "check") == 0)
		return run_check(argc - 1, argv + 1);
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return usage(stdout);
	if (argc >= 2)
		(void)cmd_fail("schema", "unknown action '%.200s'; there are compile and check", argv[1]);
	else
		(void)cmd_fail("schema", "say compile or check; 'tare schema --help' tells more");
	return CMD_USAGE;
}
