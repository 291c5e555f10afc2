// SPDX-License-Identifier: MIT
//
// Source files, lines and inlined functions of code, from its debugging information by libdw (elfutils), for profiles.
//
// libdw is loaded when the first profile asks and not linked: a service that is never profiled, or runs where elfutils
// is not installed, does without, and its profiles then have names alone. It reads what is in the loaded files
// themselves; no server is asked and no other folder searched.
//
// Threads: one at a time for each struct rt_lines; blocks for the files. Cost: milliseconds for the first address of a
// source file, microseconds for the next.
// Rejected: linking it (three libraries more for every user), reading DWARF here (a thousand lines for what the system
// has), addr2line (a program that may be missing).
#include <tare/pprof.h>

#include "rt/rt_int.h"

#if __has_include(<elfutils/libdwfl.h>)
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

static struct tare_tag heap_tag = TARE_TAG("profiles");

#define CALLS(X)                                                                                                       \
	X(dwfl_begin)                                                                                                  \
	X(dwfl_end)                                                                                                    \
	X(dwfl_report_begin)                                                                                           \
	X(dwfl_report_elf)                                                                                             \
	X(dwfl_report_end)                                                                                             \
	X(dwfl_addrmodule)                                                                                             \
	X(dwfl_module_addrdie)                                                                                         \
	X(dwfl_module_getsrc)                                                                                          \
	X(dwfl_lineinfo)                                                                                               \
	X(dwarf_getscopes)                                                                                             \
	X(dwarf_getscopes_die)                                                                                         \
	X(dwarf_diename)                                                                                               \
	X(dwarf_tag)                                                                                                   \
	X(dwarf_attr_integrate)                                                                                        \
	X(dwarf_formudata)                                                                                             \
	X(dwarf_diecu)                                                                                                 \
	X(dwarf_getsrcfiles)                                                                                           \
	X(dwarf_filesrc)

static struct {
	void *handle;
#define POINTER(name) __typeof__(name) *name;
	CALLS(POINTER)
} dw;

struct rt_lines {
	Dwfl *dwfl;
};

// Once a process; false for ever where it is not there.
static bool load(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static enum { UNTRIED, LOADED, MISSING } state;
	pthread_mutex_lock(&lock);
	if (state == UNTRIED) {
		dw.handle = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
		state = dw.handle != NULL ? LOADED : MISSING;
#define FIND(name)                                                                                                     \
	dw.name = state == LOADED ? (__typeof__(dw.name))dlsym(dw.handle, #name) : NULL;                               \
	if (dw.name == NULL)                                                                                           \
		state = MISSING;
		CALLS(FIND)
	}
	bool loaded = state == LOADED;
	pthread_mutex_unlock(&lock);
	return loaded;
}

// ---- the loaded files ---------------------------------------------------------------------------------------------

// Never asked: every file is reported by its name.
static int no_elf(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, char **path, Elf **elf)
{
	(void)module, (void)data, (void)name, (void)base, (void)path, (void)elf;
	return -1;
}

static int no_debuginfo(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
			const char *link, GElf_Word crc, char **path)
{
	(void)module, (void)data, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)path;
	return -1;
}

static int on_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct rt_lines *lines = arg;
	bool program = info->dlpi_name == NULL || info->dlpi_name[0] == '\0';
	const char *path = program ? "/proc/self/exe" : info->dlpi_name;
	// What can't be read (the kernel's own code has no file) has no lines.
	(void)dw.dwfl_report_elf(lines->dwfl, path, path, -1, info->dlpi_addr, false);
	return 0;
}

struct rt_lines *rt_lines_new(void)
{
	static const Dwfl_Callbacks callbacks = {.find_elf = no_elf, .find_debuginfo = no_debuginfo};
	struct rt_lines *lines = load() ? tare_alloc_zeroed(&heap_tag, 1, sizeof *lines) : NULL;
	if (lines == NULL)
		return NULL;
	lines->dwfl = dw.dwfl_begin(&callbacks);
	if (lines->dwfl == NULL) {
		tare_free(lines);
		return NULL;
	}
	dw.dwfl_report_begin(lines->dwfl);
	(void)dl_iterate_phdr(on_module, lines);
	(void)dw.dwfl_report_end(lines->dwfl, NULL, NULL);
	return lines;
}

void rt_lines_free(struct rt_lines *lines)
{
	if (lines == NULL)
		return;
	dw.dwfl_end(lines->dwfl);
	tare_free(lines);
}

// ---- an address ---------------------------------------------------------------------------------------------------

static int number_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	Dwarf_Word value;
	if (dw.dwarf_attr_integrate(die, name, &attribute) == NULL || dw.dwarf_formudata(&attribute, &value) != 0)
		return 0;
	return (int)value;
}

// The file from which an inlined function was called.
static const char *caller_file(Dwarf_Die *inlined)
{
	Dwarf_Die unit;
	Dwarf_Files *files;
	size_t count;
	int number = number_of(inlined, DW_AT_call_file);
	if (number == 0 || dw.dwarf_diecu(inlined, &unit, NULL, NULL) == NULL ||
	    dw.dwarf_getsrcfiles(&unit, &files, &count) != 0)
		return NULL;
	return dw.dwarf_filesrc(files, (size_t)number, NULL, NULL);
}

// The functions around an address, the innermost first, as they were inlined one into the other. How many DIEs; free
// them.
static int scopes_at(Dwfl_Module *module, uintptr_t address, Dwarf_Die **ret)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = dw.dwfl_module_addrdie(module, address, &bias);
	Dwarf_Die *around = NULL;
	// This one gives what is around the source of an inlined function, the next what is around its copy here.
	if (unit == NULL || dw.dwarf_getscopes(unit, address - bias, &around) <= 0)
		return 0;
	Dwarf_Die innermost = around[0];
	free(around);
	return dw.dwarf_getscopes_die(&innermost, ret);
}

unsigned rt_lines_at(struct rt_lines *lines, uintptr_t address, struct tare_pprof_line *ret)
{
	Dwfl_Module *module = dw.dwfl_addrmodule(lines->dwfl, address);
	if (module == NULL)
		return 0;
	Dwarf_Die *scopes = NULL;
	int scope_count = scopes_at(module, address, &scopes), line = 0;
	Dwfl_Line *found = dw.dwfl_module_getsrc(module, address);
	const char *file = found != NULL ? dw.dwfl_lineinfo(found, NULL, &line, NULL, NULL, NULL) : NULL;
	unsigned count = 0;
	// Each knows the line into which it was inlined, which is a line of the next.
	for (int i = 0; i < scope_count && count < TARE_PPROF_INLINED_MAX; i++) {
		int tag = dw.dwarf_tag(&scopes[i]);
		const char *name = dw.dwarf_diename(&scopes[i]);
		if ((tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine) || name == NULL)
			continue;
		ret[count++] = (struct tare_pprof_line){name, file, file != NULL ? line : 0,
							number_of(&scopes[i], DW_AT_decl_line)};
		if (tag == DW_TAG_subprogram)
			break;
		line = number_of(&scopes[i], DW_AT_call_line);
		file = caller_file(&scopes[i]);
	}
	free(scopes);
	return count;
}
#else
struct rt_lines *rt_lines_new(void)
{
	return NULL;
}

void rt_lines_free(struct rt_lines *lines)
{
	(void)lines;
}

unsigned rt_lines_at(struct rt_lines *lines, uintptr_t address, struct tare_pprof_line *ret)
{
	(void)lines, (void)address, (void)ret;
	return 0;
}
#endif
