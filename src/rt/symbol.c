// SPDX-License-Identifier: MIT
//
// The names of code addresses, for reports: "function+0x1c (program+0x51c)". The second form is what addr2line takes.
//
// A module's file is mapped when its first address is looked up, and its symbol table searched: .symtab, so that static
// functions have names too, or .dynsym where the file was stripped. What was found is kept in a small cache, because
// the stacks of a report are much alike. Every offset of the file is checked before it is followed; a file that is cut
// short while it is mapped would still end the process, as it does for the dynamic linker.
//
// Threads: one at a time for each struct rt_symbols. Not for signal handlers: it allocates. Cost: a search is linear in
// the module's symbols.
// Rejected: backtrace_symbols (knows exported names alone), libdw (it reads for seconds what a report wants at once;
// lines.c has its line numbers for profiles).
#include "rt/rt_int.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODULES_MAX = 16, CACHE_SLOTS = 512, PATH_BYTES = 512 };

struct module {
	uintptr_t low, high; // of its code and data in memory
	uintptr_t bias;      // what to take from an address to get the file's
	char path[PATH_BYTES];
	const char *file; // mapped; NULL: can't be read, or has no symbols
	size_t file_bytes;
	const Elf64_Sym *symbols;
	size_t symbol_count;
	const char *names;
	size_t names_bytes;
};

struct rt_symbols {
	struct module modules[MODULES_MAX];
	unsigned module_count;
	struct {
		uintptr_t pc;
		const struct module *module;
		const Elf64_Sym *symbol;
	} cache[CACHE_SLOTS];
};

int rt_symbols_new(struct rt_symbols **ret)
{
	// Not the heap's: the monitor's reports are no allocations of the program's.
	void *map = mmap(NULL, sizeof **ret, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*ret = map;
	return 0;
}

void rt_symbols_free(struct rt_symbols *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->module_count; i++)
		if (s->modules[i].file != NULL)
			munmap((void *)(uintptr_t)s->modules[i].file, s->modules[i].file_bytes);
	munmap(s, sizeof *s);
}

// ---- a module's file ----------------------------------------------------------------------------------------------

static const void *at(const struct module *m, uint64_t offset, uint64_t bytes)
{
	return offset <= m->file_bytes && bytes <= m->file_bytes - offset ? m->file + offset : NULL;
}

// Takes the table when it and its names lie within the file.
static bool take_table(struct module *m, const Elf64_Shdr *sections, unsigned count, const Elf64_Shdr *table)
{
	if (table->sh_link >= count || table->sh_entsize != sizeof(Elf64_Sym))
		return false;
	const Elf64_Shdr *names = &sections[table->sh_link];
	const Elf64_Sym *symbols = at(m, table->sh_offset, table->sh_size);
	const char *text = at(m, names->sh_offset, names->sh_size);
	if (symbols == NULL || text == NULL || names->sh_size == 0 || text[names->sh_size - 1] != '\0')
		return false;
	m->symbols = symbols;
	m->symbol_count = table->sh_size / sizeof *symbols;
	m->names = text;
	m->names_bytes = names->sh_size;
	return true;
}

static void find_table(struct module *m)
{
	const Elf64_Ehdr *head = at(m, 0, sizeof *head);
	if (head == NULL || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64 ||
	    head->e_shentsize != sizeof(Elf64_Shdr))
		return;
	unsigned count = head->e_shnum;
	const Elf64_Shdr *sections = at(m, head->e_shoff, (uint64_t)count * sizeof *sections);
	if (sections == NULL)
		return;
	static const unsigned wanted[] = {SHT_SYMTAB, SHT_DYNSYM};
	for (unsigned k = 0; k < TARE_ARRAY_LEN(wanted); k++)
		for (unsigned i = 0; i < count; i++)
			if (sections[i].sh_type == wanted[k] && take_table(m, sections, count, &sections[i]))
				return;
}

static void module_map(struct module *m)
{
	int fd = open(m->path[0] != '\0' ? m->path : "/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	struct stat status;
	if (fstat(fd, &status) == 0 && status.st_size > 0) {
		void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED) {
			m->file = map;
			m->file_bytes = (size_t)status.st_size;
			find_table(m);
		}
	}
	close(fd);
}

struct search {
	uintptr_t pc;
	struct module *ret;
};

static int on_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct search *search = arg;
	uintptr_t low = UINTPTR_MAX, high = 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		low = TARE_MIN(low, begin);
		high = TARE_MAX(high, begin + info->dlpi_phdr[i].p_memsz);
	}
	if (search->pc < low || search->pc >= high)
		return 0;
	*search->ret = (struct module){.low = low, .high = high, .bias = info->dlpi_addr};
	snprintf(search->ret->path, sizeof search->ret->path, "%s", info->dlpi_name != NULL ? info->dlpi_name : "");
	return 1;
}

static const struct module *module_of(struct rt_symbols *s, uintptr_t pc)
{
	for (unsigned i = 0; i < s->module_count; i++)
		if (pc >= s->modules[i].low && pc < s->modules[i].high)
			return &s->modules[i];
	if (s->module_count == MODULES_MAX)
		return NULL;
	struct search search = {pc, &s->modules[s->module_count]};
	if (dl_iterate_phdr(on_module, &search) == 0)
		return NULL;
	s->module_count++;
	module_map(search.ret);
	return search.ret;
}

// ---- names --------------------------------------------------------------------------------------------------------

static const Elf64_Sym *symbol_of(const struct module *m, uintptr_t pc)
{
	uintptr_t address = pc - m->bias;
	for (size_t i = 0; i < m->symbol_count; i++) {
		const Elf64_Sym *symbol = &m->symbols[i];
		if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
		    address >= symbol->st_value && address - symbol->st_value < symbol->st_size &&
		    symbol->st_name < m->names_bytes)
			return symbol;
	}
	return NULL;
}

static const char *module_name(const struct module *m)
{
	if (m->path[0] == '\0')
		return program_invocation_short_name;
	const char *slash = strrchr(m->path, '/');
	return slash != NULL ? slash + 1 : m->path;
}

// What is at an address, from the cache or searched for.
static unsigned look_up(struct rt_symbols *s, uintptr_t pc)
{
	unsigned slot = (unsigned)((pc * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % CACHE_SLOTS;
	if (s->cache[slot].pc != pc) {
		const struct module *m = module_of(s, pc);
		s->cache[slot].pc = pc;
		s->cache[slot].module = m;
		s->cache[slot].symbol = m != NULL ? symbol_of(m, pc) : NULL;
	}
	return slot;
}

const char *rt_symbol_name(struct rt_symbols *s, uintptr_t pc)
{
	unsigned slot = look_up(s, pc);
	const Elf64_Sym *symbol = s->cache[slot].symbol;
	return symbol != NULL ? s->cache[slot].module->names + symbol->st_name : NULL;
}

bool rt_symbol_is_own(struct rt_symbols *s, uintptr_t pc)
{
	const char *name = rt_symbol_name(s, pc);
	return name != NULL && strncmp(name, "rt_", 3) == 0;
}

bool rt_symbol_is_code(struct rt_symbols *s, uintptr_t pc)
{
	return s->cache[look_up(s, pc)].module != NULL;
}

void rt_symbol_format(struct rt_symbols *s, uintptr_t pc, bool call, char out[RT_SYMBOL_BYTES])
{
	// A call may be its function's last instruction: what it returns to is then another function's.
	uintptr_t wanted = pc - (call ? 1 : 0);
	unsigned slot = look_up(s, wanted);
	const struct module *m = s->cache[slot].module;
	const Elf64_Sym *symbol = s->cache[slot].symbol;
	if (m == NULL)
		snprintf(out, RT_SYMBOL_BYTES, "0x%" PRIxPTR, pc);
	else if (symbol == NULL)
		snprintf(out, RT_SYMBOL_BYTES, "%.80s+0x%" PRIxPTR, module_name(m), pc - m->bias);
	else
		snprintf(out, RT_SYMBOL_BYTES, "%.120s+0x%" PRIxPTR " (%.80s+0x%" PRIxPTR ")",
			 m->names + symbol->st_name, pc - m->bias - symbol->st_value, module_name(m), pc - m->bias);
}
