// SPDX-License-Identifier: MIT
// The `tare` program: finds the subcommand and hands it its arguments.
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

static int cmd_help(int argc, char **argv);

static int cmd_version(int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr, "tare version: takes no arguments, got '%s'\n", argv[1]);
		return CMD_USAGE;
	}
	printf("tare %s\n", TARE_VERSION);
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
    {"version", cmd_version, "print the version"},
    {"help", cmd_help, "print this list"},
};

static int cmd_help(int argc, char **argv)
{
	(void)argc, (void)argv;
	printf("usage: tare COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].what);
	printf("\n'tare COMMAND --help' tells a command's options; 'man tare-COMMAND' tells all.\n");
	return CMD_OK;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "tare: no command given; 'tare help' lists them\n");
		return CMD_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0)
		name = "version";
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "tare: unknown command '%s'; 'tare help' lists them\n", name);
	return CMD_USAGE;
}
