// SPDX-License-Identifier: MIT
// The `tare` program: finds the subcommand and hands it its arguments.
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

static int cmd_help(int argc, char **argv);

static bool asks_for_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

// "tare 0.1.0", or "tare 0.1.0 (asan)": who measures a sanitized program should know.
static int cmd_version(int argc, char **argv)
{
	if (argc > 1 && asks_for_help(argv[1])) {
		printf("usage: tare version\n\nPrints the version, and the build's mode where it is not a release.\n");
		return CMD_OK;
	}
	if (argc > 1) {
		(void)cmd_fail("version", "takes no arguments, got '%s'", argv[1]);
		return CMD_USAGE;
	}
	bool release = strcmp(TARE_MODE, "release") == 0;
	printf("tare %s%s%s%s\n", TARE_VERSION, release ? "" : " (", release ? "" : TARE_MODE, release ? "" : ")");
	return CMD_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
    {"gen", cmd_gen, "generate a snapshot of records"},
    {"loadindex", cmd_loadindex, "load a snapshot, verify it, and report on it"},
    {"svc", cmd_svc, "serve lookups over HTTP"},
    {"load", cmd_load, "drive a server with open-model load and report percentiles"},
    {"layout", cmd_layout, "show how structs lie in memory, and what packing saves"},
    {"schema", cmd_schema, "write C from a message schema, or check a change of one"},
    {"npa", cmd_npa, "measure what abstractions cost, and hold it to a baseline"},
    {"lab", cmd_lab, "experiments on memory, Go's service beside Tare's, with a report"},
    {"version", cmd_version, "print the version"},
    {"help", cmd_help, "print this list, or a command's options"},
};

// The command of this name, argv[0], with its arguments; CMD_USAGE where there is none.
static int run_command(const char *name, int argc, char **argv)
{
	for (size_t i = 0; i < TARE_ARRAY_LEN(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc, argv);
	fprintf(stderr, "tare: unknown command '%s'; 'tare help' lists them\n", name);
	return CMD_USAGE;
}

static int cmd_help(int argc, char **argv)
{
	if (argc > 2) {
		(void)cmd_fail("help", "takes one command, got '%s' too", argv[2]);
		return CMD_USAGE;
	}
	if (argc == 2 && !asks_for_help(argv[1]) && strcmp(argv[1], "help") != 0) {
		char help[] = "--help";
		char *args[] = {argv[1], help, NULL};
		return run_command(argv[1], 2, args);
	}
	printf("usage: tare COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < TARE_ARRAY_LEN(commands); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].what);
	printf("\n'tare help COMMAND' tells a command's options; 'man tare-COMMAND' tells all.\n");
	return CMD_OK;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "tare: no command given; 'tare help' lists them\n");
		return CMD_USAGE;
	}
	const char *name = argv[1];
	if (asks_for_help(name))
		name = "help";
	if (strcmp(name, "--version") == 0)
		name = "version";
	return run_command(name, argc - 1, argv + 1);
}
