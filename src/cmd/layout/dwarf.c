// SPDX-License-Identifier: MIT
// Finds the structs of an ELF file in its debug information.
//
// libdwfl opens the file: it applies what relocations an object file needs, unpacks compressed sections, walks
// archives, and finds debug information that stands in a file of its own (by build id or debug link, under
// /usr/lib/debug). Then every unit is walked from its root: namespaces, classes and functions may hold structs. One
// that several units describe alike is taken once, by its name and what it looks like.
//
// The file may be damaged: the walk is bounded in depth, always moves forward, and what libdw refuses ends it with an
// error. Threads: one. Ownership: the set's pool; the file is closed before layout_read returns.
// Rejected: the kernel's BTF (C alone, and few programs have it); asking a debugger (a process, and its texts change).
#include "cmd/layout/dwarf_int.h"

#include "cmd/cmd.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCOPE_DEPTH_MAX = 128, BLOCK_BYTES = 64 << 10 };

// ---- memory -------------------------------------------------------------------------------------------------------

struct layout_block {
	struct layout_block *next;
	size_t used, cap;
	alignas(max_align_t) char data[];
};

void *layout_alloc(struct layout_pool *pool, size_t count, size_t bytes)
{
	size_t need;
	if (__builtin_mul_overflow(count, bytes, &need) || need > SIZE_MAX / 2)
		return NULL;
	need = (need + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct layout_block *block = pool->blocks;
	if (block == NULL || block->cap - block->used < need) {
		size_t cap = TARE_MAX(need, (size_t)BLOCK_BYTES);
		block = calloc(1, sizeof *block + cap);
		if (block == NULL)
			return NULL;
		block->cap = cap;
		block->next = pool->blocks;
		pool->blocks = block;
	}
	void *memory = block->data + block->used;
	block->used += need;
	return memory;
}

void layout_pool_done(struct layout_pool *pool)
{
	for (struct layout_block *block = pool->blocks, *next; block != NULL; block = next) {
		next = block->next;
		free(block);
	}
	pool->blocks = NULL;
}

void layout_seen_done(struct layout_seen *seen)
{
	free(seen->keys);
	free(seen->values);
	*seen = (struct layout_seen){.keys = NULL};
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

static size_t seen_slot(const struct layout_seen *seen, uint64_t key)
{
	size_t at = mix(0, key) & (seen->cap - 1);
	while (seen->keys[at] != 0 && seen->keys[at] != key)
		at = (at + 1) & (seen->cap - 1);
	return at;
}

static int seen_grow(struct layout_seen *seen)
{
	struct layout_seen bigger = {.cap = seen->cap == 0 ? 1024 : seen->cap * 2, .count = seen->count};
	bigger.keys = calloc(bigger.cap, sizeof *bigger.keys);
	bigger.values = calloc(bigger.cap, sizeof *bigger.values);
	if (bigger.keys == NULL || bigger.values == NULL) {
		layout_seen_done(&bigger);
		return -ENOMEM;
	}
	for (size_t i = 0; i < seen->cap; i++) {
		if (seen->keys[i] == 0)
			continue;
		size_t at = seen_slot(&bigger, seen->keys[i]);
		bigger.keys[at] = seen->keys[i];
		bigger.values[at] = seen->values[i];
	}
	layout_seen_done(seen);
	*seen = bigger;
	return 0;
}

uint64_t *layout_seen_at(struct layout_seen *seen, uint64_t key, uint64_t value, bool *ret_new)
{
	if (seen->count * 2 >= seen->cap && seen_grow(seen) < 0)
		return NULL;
	size_t at = seen_slot(seen, key);
	*ret_new = seen->keys[at] == 0;
	if (*ret_new) {
		seen->keys[at] = key;
		seen->values[at] = value;
		seen->count++;
	}
	return &seen->values[at];
}

// ---- one struct ---------------------------------------------------------------------------------------------------

struct walk {
	struct layout_set *set;
	struct layout_reader reader;
	struct layout_seen seen; // structs, by what they look like
	const char *const *patterns;
	size_t pattern_count;
	char scope[LAYOUT_NAME_MAX]; // "ns::Foo::"
	size_t scope_len;
	unsigned depth;
	size_t units;
	bool missing_split; // a unit stands in a .dwo file that is not there
	int rc;             // -ENOMEM, -EOVERFLOW; ends the walk
};

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; text != NULL && *text != '\0'; text++)
		hash = mix(hash, (unsigned char)*text);
	return mix(hash, 0x100);
}

static bool is_new(struct walk *w, uint64_t hash)
{
	bool fresh = false;
	if (layout_seen_at(&w->seen, hash | 1, 0, &fresh) == NULL)
		w->rc = -ENOMEM;
	return fresh;
}

// The same struct as every unit that includes its header tells it.
static bool is_new_look(struct walk *w, const struct layout *l)
{
	uint64_t hash = mix(hash_text(2, l->name), l->size);
	for (size_t i = 0; i < l->count; i++)
		hash = mix(mix(hash_text(hash, l->members[i].name), l->members[i].at), l->members[i].bits);
	return is_new(w, hash);
}

static void append(struct walk *w, struct layout *l)
{
	struct layout_set *set = w->set;
	if (set->count == set->cap) {
		size_t cap = set->cap == 0 ? 256 : set->cap * 2;
		struct layout **items = reallocarray(set->items, cap, sizeof *items);
		if (items == NULL || cap > LAYOUT_STRUCTS_MAX) {
			w->rc = items == NULL ? -ENOMEM : -EOVERFLOW;
			set->items = items == NULL ? set->items : items;
			return;
		}
		set->items = items;
		set->cap = cap;
	}
	set->items[set->count++] = l;
}

static bool is_wanted(const struct walk *w, const char *name)
{
	for (size_t i = 0; i < w->pattern_count; i++)
		if (layout_matches(w->patterns[i], name))
			return true;
	return w->pattern_count == 0;
}

// Not dwarf_decl_file: before elfutils 0.189 it refuses a unit's first file, which DWARF 5 counts from 0.
static const char *declared_in(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die unit;
	Dwarf_Files *files;
	Dwarf_Word number;
	size_t count;
	if (dwarf_attr_integrate(die, DW_AT_decl_file, &attr) == NULL || dwarf_formudata(&attr, &number) != 0 ||
	    dwarf_diecu(die, &unit, NULL, NULL) == NULL || dwarf_getsrcfiles(&unit, &files, &count) != 0 ||
	    number >= count)
		return NULL;
	return dwarf_filesrc(files, number, NULL, NULL);
}

// The name with its scopes in out. What was declared in one place and completed in another belongs to the first's.
static void full_name(const struct walk *w, Dwarf_Die *die, const char *name, char *out, size_t cap)
{
	Dwarf_Attribute attr;
	Dwarf_Die declaration, *scopes = NULL;
	int count = 0;
	size_t len = 0;
	if (dwarf_attr(die, DW_AT_specification, &attr) != NULL && dwarf_formref_die(&attr, &declaration) != NULL)
		count = dwarf_getscopes_die(&declaration, &scopes);
	for (int i = count - 1; i > 0 && len < cap; i--) { // the outermost stands last
		int tag = dwarf_tag(&scopes[i]);
		const char *scope = dwarf_diename(&scopes[i]);
		int n = 0;
		if (tag == DW_TAG_namespace || layout_is_aggregate(tag))
			n = snprintf(out + len, cap - len, "%s::", scope != NULL ? scope : "(anonymous)");
		len += n < 0 ? 0 : (size_t)n;
	}
	if (len < cap && snprintf(out + len, cap - len, "%s%s", count > 0 ? "" : w->scope, name) < 0) // too long: cut
		out[len] = '\0';
	free(scopes);
}

// die is the struct, namer what gives it its name: itself or a typedef.
static void take(struct walk *w, Dwarf_Die *die, Dwarf_Die *namer)
{
	const char *name = dwarf_diename(namer);
	if (name == NULL || w->rc < 0)
		return;
	char full[LAYOUT_NAME_MAX];
	full_name(w, namer, name, full, sizeof full);
	if (!is_wanted(w, full))
		return;
	int line = 0;
	const char *file = declared_in(namer);
	(void)dwarf_decl_line(namer, &line);
	Dwarf_Word size = 0;
	Dwarf_Attribute attr;
	if (dwarf_attr(die, DW_AT_byte_size, &attr) == NULL || dwarf_formudata(&attr, &size) != 0)
		return; // a declaration
	uint64_t place = mix(mix(hash_text(hash_text(1, full), file), (uint64_t)line), size);
	if (!is_new(w, file != NULL ? place : mix(place, (uint64_t)(uintptr_t)die->addr)))
		return;
	struct layout *l = layout_struct_read(&w->reader, die, true);
	if (l == NULL || w->reader.no_memory) {
		w->rc = w->reader.no_memory ? -ENOMEM : w->rc;
		return;
	}
	l->name = layout_text_copy(&w->reader, full);
	l->file = file != NULL ? layout_text_copy(&w->reader, file) : NULL;
	l->line = line;
	if (dwarf_tag(namer) == DW_TAG_typedef)
		l->kind = "typedef";
	if (is_new_look(w, l))
		append(w, l);
}

// A struct without a name of its own has its typedef's. One that has its own is listed under that, and found under
// both.
static void take_typedef(struct walk *w, Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die target;
	if (dwarf_attr(die, DW_AT_type, &attr) == NULL || dwarf_formref_die(&attr, &target) == NULL ||
	    !layout_is_aggregate(dwarf_tag(&target)))
		return;
	layout_type_complete(&target);
	const char *own = dwarf_diename(&target), *name = dwarf_diename(die);
	if (name != NULL && (own == NULL || (w->pattern_count > 0 && strcmp(own, name) != 0)))
		take(w, &target, die);
}

// ---- the walk -----------------------------------------------------------------------------------------------------

static void walk_children(struct walk *w, Dwarf_Die *parent);

static void walk_scope(struct walk *w, Dwarf_Die *die)
{
	Dwarf_Die whole = *die;
	layout_type_complete(&whole); // a stand-in may have no name
	const char *name = dwarf_diename(&whole);
	name = name != NULL ? name : "(anonymous)";
	size_t len = w->scope_len;
	int n = snprintf(w->scope + len, sizeof w->scope - len, "%.200s::", name);
	if (n > 0 && (size_t)n < sizeof w->scope - len)
		w->scope_len += (size_t)n;
	else
		w->scope[len] = '\0'; // nested too deep to be told
	walk_children(w, die);
	w->scope_len = len;
	w->scope[len] = '\0';
}

static void walk_die(struct walk *w, Dwarf_Die *die)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_structure_type:
	case DW_TAG_class_type:
	case DW_TAG_union_type:
		take(w, die, die);
		walk_scope(w, die);
		break;
	case DW_TAG_namespace:
		walk_scope(w, die);
		break;
	case DW_TAG_typedef:
		take_typedef(w, die);
		break;
	case DW_TAG_subprogram:
	case DW_TAG_lexical_block:
	case DW_TAG_module:
		walk_children(w, die);
		break;
	default:
		break;
	}
}

static void walk_children(struct walk *w, Dwarf_Die *parent)
{
	Dwarf_Die die;
	if (w->depth >= SCOPE_DEPTH_MAX)
		return;
	w->depth++;
	int rc = dwarf_child(parent, &die);
	while (rc == 0 && w->rc == 0) {
		Dwarf_Off at = dwarf_dieoffset(&die);
		walk_die(w, &die);
		rc = dwarf_siblingof(&die, &die);
		if (rc == 0 && dwarf_dieoffset(&die) <= at) // a loop
			rc = -1;
	}
	w->reader.damaged |= rc < 0;
	w->depth--;
}

static void walk_units(struct walk *w)
{
	Dwarf_CU *unit = NULL;
	Dwarf_Half version;
	uint8_t type;
	Dwarf_Die root, sub;
	int rc = 0;
	while (w->rc == 0 && (rc = dwarf_get_units(w->reader.dwarf, unit, &unit, &version, &type, &root, &sub)) == 0) {
		w->scope_len = 0;
		w->scope[0] = '\0';
		w->units++;
		if (type != DW_UT_skeleton) {
			walk_children(w, &root);
			continue;
		}
		// Split: the root says where the rest stands, and sub is that rest where it was found.
		if (sub.addr != NULL)
			walk_children(w, &sub);
		else
			w->missing_split = true;
	}
	w->reader.damaged |= w->rc == 0 && rc < 0;
}

// ---- the file -----------------------------------------------------------------------------------------------------

// i386's ABI aligns nothing in a struct to more than 4, m68k's to more than 2.
static uint64_t align_limit(Elf *elf)
{
	GElf_Ehdr head;
	if (elf == NULL || gelf_getehdr(elf, &head) == NULL)
		return 16;
	if (head.e_machine == EM_386)
		return 4;
	if (head.e_machine == EM_68K)
		return 2;
	return head.e_ident[EI_CLASS] == ELFCLASS32 || head.e_machine == EM_S390 ? 8 : 16;
}

// libdw's own would print another program's line. It must not return.
__attribute__((noreturn)) static void on_no_memory(void)
{
	exit(cmd_fail("layout", "out of memory while debug information was read"));
}

static int walk_module(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr start, void *arg)
{
	(void)user, (void)name, (void)start;
	struct walk *w = arg;
	Dwarf_Addr bias;
	Dwarf *dwarf = dwfl_module_getdwarf(module, &bias);
	if (dwarf == NULL)
		return DWARF_CB_OK; // an archive's member may have none
	(void)dwarf_new_oom_handler(dwarf, on_no_memory);
	w->reader.dwarf = dwarf;
	w->reader.align_max = align_limit(dwarf_getelf(dwarf));
	GElf_Ehdr head;
	bool wide = gelf_getehdr(dwarf_getelf(dwarf), &head) == NULL || head.e_ident[EI_CLASS] != ELFCLASS32;
	w->reader.address_bytes = wide ? 8 : 4;
	walk_units(w);
	layout_seen_done(&w->reader.types); // its keys are places in this module
	return w->rc < 0 ? DWARF_CB_ABORT : DWARF_CB_OK;
}

static int open_elf(const char *path, struct tare_error *err)
{
	char magic[8] = "";
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); // not waiting for a FIFO's writer
	if (fd < 0)
		return tare_error_set(err, -errno, "%.200s: can't be opened: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return tare_error_set(err, -EINVAL, "%.200s: is not a regular file; give a program, library or object",
				      path);
	}
	ssize_t n = pread(fd, magic, sizeof magic, 0);
	if (n == sizeof magic && (memcmp(magic, "\177ELF", 4) == 0 || memcmp(magic, "!<arch>\n", 8) == 0))
		return fd;
	close(fd);
	return tare_error_set(err, -ENOEXEC, "%.200s: is not an ELF file; give a program, library or object", path);
}

static int walk_verdict(const struct walk *w, const char *path, struct tare_error *err)
{
	if (w->rc == -ENOMEM || w->reader.no_memory)
		return tare_error_set(err, -ENOMEM, "%.200s: out of memory", path);
	if (w->rc < 0)
		return tare_error_set(err, w->rc, "%.200s: has more than %d structs; name those to read", path,
				      LAYOUT_STRUCTS_MAX / 2);
	if (w->reader.damaged)
		return tare_error_set(err, -EBADMSG, "%.200s: its debug information is damaged; compile it again",
				      path);
	if (w->missing_split && w->set->count == 0)
		return tare_error_set(
		    err, -ENOENT,
		    "%.200s: its debug information stands in .dwo files that are not there; compile it "
		    "without -gsplit-dwarf",
		    path);
	if (w->units == 0)
		return tare_error_set(
		    err, -ENODATA, "%.200s: has no debug information; compile it with -g, or install its debug package",
		    path);
	return 0;
}

static int read_all(struct walk *w, const char *path, int fd, struct tare_error *err)
{
	static const Dwfl_Callbacks callbacks = {
	    .find_elf = dwfl_build_id_find_elf,
	    .find_debuginfo = dwfl_standard_find_debuginfo,
	    .section_address = dwfl_offline_section_address,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	if (dwfl == NULL) {
		close(fd);
		return tare_error_set(err, -ENOMEM, "%.200s: %s", path, dwfl_errmsg(-1));
	}
	int rc;
	if (dwfl_report_offline(dwfl, path, path, fd) == NULL) {
		close(fd);
		rc = tare_error_set(err, -ENOEXEC, "%.200s: can't be read as an ELF file: %s", path, dwfl_errmsg(-1));
	} else {
		dwfl_report_end(dwfl, NULL, NULL);
		ptrdiff_t next = 0;
		do
			next = dwfl_getmodules(dwfl, walk_module, w, next);
		while (next > 0 && w->rc == 0);
		rc = walk_verdict(w, path, err);
	}
	layout_seen_done(&w->reader.types);
	dwfl_end(dwfl);
	return rc;
}

int layout_read(struct layout_set *set, const char *path, const char *const *patterns, size_t count,
		struct tare_error *err)
{
	int fd = open_elf(path, err);
	if (fd < 0)
		return fd;
	struct walk w = {.set = set, .patterns = patterns, .pattern_count = count, .reader = {.pool = &set->pool}};
	int rc = read_all(&w, path, fd, err);
	layout_seen_done(&w.seen);
	return rc;
}

void layout_set_done(struct layout_set *set)
{
	free(set->items);
	set->items = NULL;
	set->count = set->cap = 0;
	layout_pool_done(&set->pool);
}
