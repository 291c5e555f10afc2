// SPDX-License-Identifier: MIT
// Reads one struct from its debug information: the members' places and sizes, the alignments that their types imply,
// and the declarations as they were written.
//
// DWARF tells places and sizes. Alignments it tells only where the source asked for one; otherwise a base type's is its
// size, bounded by what the machine's ABI allows, and a struct's is its members' largest. pack.c checks the result
// against the places before it relies on it.
//
// The file may be damaged: chains of types are followed for TYPE_STEPS_MAX steps, types within types for DEPTH_MAX,
// places and sizes are bounded by LAYOUT_BYTES_MAX, and a measured type is not measured again.
// Threads: one. Ownership: the reader's pool.
#include "cmd/layout/dwarf_int.h"

#include <dwarf.h>
#include <stdio.h>

enum { TYPE_STEPS_MAX = 64, DEPTH_MAX = 64, TEXT_MAX = 256, ALIGN_MAX = 1 << 20, INNER_NAMES_MAX = 6 };

// What a member needs to know of its type.
struct type {
	uint64_t bytes; // LAYOUT_UNKNOWN: not told
	uint64_t align;
	uint64_t inner_bytes; // of holes and padding
	bool flexible;
};

bool layout_is_aggregate(int tag)
{
	return tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_union_type;
}

const char *layout_text_copy(struct layout_reader *r, const char *text)
{
	size_t len = text != NULL ? strnlen(text, LAYOUT_NAME_MAX - 1) : 0;
	char *copy = layout_alloc(r->pool, 1, len + 1);
	if (copy == NULL) {
		r->no_memory = true;
		return "";
	}
	// Names of other alphabets are rare and nobody's structure depends on them: one '?' a byte.
	for (size_t i = 0; i < len; i++)
		copy[i] = text[i];
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)copy[i] < ' ' || (unsigned char)copy[i] >= 0x7f)
			copy[i] = '?';
	return copy;
}

// ---- attributes ---------------------------------------------------------------------------------------------------

// Of the die alone: what completes a declaration is none itself.
static bool flag_at(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;
	bool flag = false;
	return dwarf_attr(die, name, &attr) != NULL && dwarf_formflag(&attr, &flag) == 0 && flag;
}

static bool number_at(Dwarf_Die *die, unsigned name, uint64_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word word;
	if (dwarf_attr_integrate(die, name, &attr) == NULL || dwarf_formudata(&attr, &word) != 0)
		return false;
	*ret = word;
	return true;
}

void layout_type_complete(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die whole;
	if (layout_is_aggregate(dwarf_tag(die)) && !dwarf_hasattr(die, DW_AT_byte_size) &&
	    dwarf_attr(die, DW_AT_signature, &attr) != NULL && dwarf_formref_die(&attr, &whole) != NULL)
		*die = whole;
}

static bool type_at(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;
	if (dwarf_attr_integrate(die, DW_AT_type, &attr) == NULL || dwarf_formref_die(&attr, ret) == NULL)
		return false;
	layout_type_complete(ret);
	return true;
}

// An alignment that the source asked for; 0: none.
static uint64_t align_at(Dwarf_Die *die)
{
	uint64_t align = 0;
	bool told = number_at(die, DW_AT_alignment, &align);
	return told && align <= ALIGN_MAX && (align & (align - 1)) == 0 ? align : 0;
}

// ---- types --------------------------------------------------------------------------------------------------------

static struct type type_measure(struct layout_reader *r, Dwarf_Die *die);

static uint64_t scalar_align(const struct layout_reader *r, uint64_t bytes)
{
	uint64_t align = bytes & -bytes;
	return align == 0 ? 1 : TARE_MIN(align, r->align_max);
}

// The type's alignment and its idle bytes in one word, as struct layout_seen keeps them.
static uint64_t pack_facts(uint64_t align, uint64_t inner_bytes)
{
	return align << 41 | TARE_MIN(inner_bytes, LAYOUT_BYTES_MAX);
}

static void measure_aggregate(struct layout_reader *r, Dwarf_Die *die, struct type *type)
{
	bool is_new;
	uint64_t key = (uint64_t)(uintptr_t)die->addr;
	uint64_t *facts = layout_seen_at(&r->types, key, pack_facts(1, 0), &is_new);
	if (facts == NULL) {
		r->no_memory = true;
		return;
	}
	if (is_new && r->depth < DEPTH_MAX) {
		r->depth++;
		struct layout *l = layout_struct_read(r, die, false);
		r->depth--;
		if (l != NULL) {
			layout_measure(l, 64);
			uint64_t inner_bytes = l->hole_bytes + l->padding_bytes;
			for (size_t i = 0; i < l->count && !l->is_union; i++)
				inner_bytes += TARE_MIN(l->members[i].inner_bytes, LAYOUT_BYTES_MAX);
			facts = layout_seen_at(&r->types, key, 0, &is_new); // the table may have moved
			if (facts != NULL)
				*facts = pack_facts(l->align, inner_bytes);
		}
	}
	if (facts == NULL)
		return;
	type->align = *facts >> 41;
	type->inner_bytes = *facts & ((UINT64_C(1) << 41) - 1);
}

// The number of elements in one dimension; LAYOUT_UNKNOWN: not told, as for a flexible array.
static uint64_t dimension(Dwarf_Die *range)
{
	uint64_t count, low = 0;
	if (number_at(range, DW_AT_count, &count))
		return count;
	if (!number_at(range, DW_AT_upper_bound, &count))
		return LAYOUT_UNKNOWN;
	(void)number_at(range, DW_AT_lower_bound, &low);
	return count - low + 1; // an upper bound of -1 is an array of none
}

static void measure_array(struct layout_reader *r, Dwarf_Die *die, struct type *type)
{
	Dwarf_Die element, range;
	if (!type_at(die, &element))
		return;
	struct type one = type_measure(r, &element);
	*type = one;
	uint64_t count = 1;
	int rc = dwarf_child(die, &range);
	for (bool first = true; rc == 0; rc = dwarf_siblingof(&range, &range), first = false) {
		uint64_t n = dimension(&range);
		type->flexible |= first && (n == LAYOUT_UNKNOWN || n == 0);
		if (__builtin_mul_overflow(count, n == LAYOUT_UNKNOWN ? 0 : n, &count) || count > LAYOUT_BYTES_MAX)
			count = LAYOUT_BYTES_MAX;
	}
	if (one.bytes == LAYOUT_UNKNOWN)
		return;
	if (__builtin_mul_overflow(one.bytes, count, &type->bytes))
		type->bytes = LAYOUT_UNKNOWN;
	if (__builtin_mul_overflow(one.inner_bytes, count, &type->inner_bytes))
		type->inner_bytes = 0;
	if (flag_at(die, DW_AT_GNU_vector) && type->bytes != LAYOUT_UNKNOWN)
		type->align = TARE_MAX(type->bytes & -type->bytes, (uint64_t)1);
}

static void measure_scalar(struct layout_reader *r, Dwarf_Die *die, int tag, struct type *type)
{
	Dwarf_Die target;
	uint64_t encoding = 0;
	if (type->bytes == LAYOUT_UNKNOWN && tag != DW_TAG_base_type) {
		type->bytes = r->address_bytes;
		if (tag == DW_TAG_ptr_to_member_type && type_at(die, &target) &&
		    dwarf_tag(&target) == DW_TAG_subroutine_type)
			type->bytes *= 2;
	}
	if (type->bytes == LAYOUT_UNKNOWN)
		return;
	(void)number_at(die, DW_AT_encoding, &encoding);
	bool pair =
	    encoding == DW_ATE_complex_float || (tag == DW_TAG_ptr_to_member_type && type->bytes > r->address_bytes);
	type->align = scalar_align(r, pair ? type->bytes / 2 : type->bytes);
}

// What is no wrapper around another type.
static struct type measure_bare(struct layout_reader *r, Dwarf_Die *die)
{
	struct type type = {.bytes = LAYOUT_UNKNOWN, .align = 1};
	int tag = dwarf_tag(die);
	if (number_at(die, DW_AT_byte_size, &type.bytes) && type.bytes > LAYOUT_BYTES_MAX)
		type.bytes = LAYOUT_UNKNOWN;
	switch (tag) {
	case DW_TAG_structure_type:
	case DW_TAG_class_type:
	case DW_TAG_union_type:
		measure_aggregate(r, die, &type);
		break;
	case DW_TAG_array_type:
		measure_array(r, die, &type);
		break;
	case DW_TAG_base_type:
	case DW_TAG_enumeration_type:
	case DW_TAG_pointer_type:
	case DW_TAG_reference_type:
	case DW_TAG_rvalue_reference_type:
	case DW_TAG_ptr_to_member_type:
	case DW_TAG_unspecified_type: // of nullptr
		measure_scalar(r, die, tag, &type);
		break;
	default:
		break;
	}
	uint64_t asked = align_at(die);
	if (asked != 0)
		type.align = asked;
	return type;
}

static struct type type_measure(struct layout_reader *r, Dwarf_Die *die)
{
	uint64_t asked = 0;
	bool atomic = false;
	for (unsigned step = 0; step < TYPE_STEPS_MAX; step++) {
		int tag = dwarf_tag(die);
		bool wrapper = tag == DW_TAG_typedef || tag == DW_TAG_const_type || tag == DW_TAG_volatile_type ||
			       tag == DW_TAG_restrict_type || tag == DW_TAG_atomic_type;
		if (!wrapper) {
			struct type type = measure_bare(r, die);
			if (atomic && type.bytes <= 16 && (type.bytes & (type.bytes - 1)) == 0)
				type.align = TARE_MAX(type.align, TARE_MIN(type.bytes, r->align_max));
			if (asked != 0)
				type.align = asked;
			return type;
		}
		asked = asked != 0 ? asked : align_at(die);
		atomic |= tag == DW_TAG_atomic_type;
		Dwarf_Die next;
		if (!type_at(die, &next))
			break;
		*die = next;
	}
	r->damaged = true;
	return (struct type){.bytes = LAYOUT_UNKNOWN, .align = 1};
}

// ---- declarations as they are written -----------------------------------------------------------------------------

struct text {
	char at[TEXT_MAX];
};

static void wrap(struct text *t, const char *before, const char *after)
{
	struct text old = *t;
	if (snprintf(t->at, sizeof t->at, "%s%s%s", before, old.at, after) < 0) // too long: cut
		*t = old;
}

// A pointer to an array or to a function binds less than what follows.
static void wrap_pointer(struct text *t)
{
	if (t->at[0] == '*' || t->at[0] == '&' || strstr(t->at, "::*") != NULL)
		wrap(t, "(", ")");
}

// "Foo::*name"
static void wrap_member_pointer(struct text *t, Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die owner;
	const char *name = NULL;
	if (dwarf_attr(die, DW_AT_containing_type, &attr) != NULL && dwarf_formref_die(&attr, &owner) != NULL)
		name = dwarf_diename(&owner);
	char before[TEXT_MAX / 2];
	snprintf(before, sizeof before, "%.100s::*", name != NULL ? name : "");
	wrap(t, before, "");
}

static void wrap_array(struct text *t, Dwarf_Die *die)
{
	char dimensions[TEXT_MAX / 4] = "";
	size_t len = 0;
	Dwarf_Die range;
	int rc = dwarf_child(die, &range);
	for (; rc == 0 && len < sizeof dimensions - 24; rc = dwarf_siblingof(&range, &range)) {
		uint64_t n = dimension(&range);
		int wrote = n == LAYOUT_UNKNOWN ? snprintf(dimensions + len, 24, "[]")
						: snprintf(dimensions + len, 24, "[%llu]", (unsigned long long)n);
		len += wrote < 0 ? 0 : (size_t)wrote;
	}
	wrap_pointer(t);
	wrap(t, "", dimensions);
}

// "{ left; right; … }": an anonymous struct or union is told by what is in it.
static void inner_names(Dwarf_Die *die, char *out, size_t cap)
{
	Dwarf_Die child;
	size_t len = (size_t)snprintf(out, cap, "{ ");
	int rc = dwarf_child(die, &child);
	for (unsigned shown = 0; rc == 0 && len < cap; rc = dwarf_siblingof(&child, &child)) {
		if (dwarf_tag(&child) != DW_TAG_member)
			continue;
		const char *name = dwarf_diename(&child);
		int n = snprintf(out + len, cap - len, "%.40s; ",
				 shown == INNER_NAMES_MAX ? "..."
				 : name == NULL           ? "{ ... }"
							  : name);
		len += n < 0 ? 0 : (size_t)n;
		if (shown++ == INNER_NAMES_MAX)
			break;
	}
	if (len < cap)
		snprintf(out + len, cap - len, "}");
}

// Where the chain of types ends: "struct foo", "int", "void".
static void finish(struct text *t, Dwarf_Die *die, const char *qualifiers)
{
	char inner[TEXT_MAX / 2], base[TEXT_MAX];
	int tag = die != NULL ? dwarf_tag(die) : DW_TAG_invalid;
	const char *name = die != NULL ? dwarf_diename(die) : "void";
	const char *word = tag == DW_TAG_structure_type     ? "struct "
			   : tag == DW_TAG_class_type       ? "class "
			   : tag == DW_TAG_union_type       ? "union "
			   : tag == DW_TAG_enumeration_type ? "enum "
							    : "";
	if (name == NULL && layout_is_aggregate(tag)) {
		inner_names(die, inner, sizeof inner);
		name = inner;
	} else if (name == NULL) {
		name = tag == DW_TAG_enumeration_type ? "{ ... }" : "(unnamed)";
	}
	snprintf(base, sizeof base, "%s%s%.120s%s", qualifiers, word, name, t->at[0] != '\0' ? " " : "");
	wrap(t, base, "");
}

// Declarators are written from the name outwards.
static void declare(Dwarf_Die *member, const char *name, bool is_base, struct text *ret)
{
	struct text t;
	char qualifiers[40] = "";
	Dwarf_Die die, next;
	snprintf(t.at, sizeof t.at, "%.120s", name);
	bool more = type_at(member, &die);
	for (unsigned step = 0; more && step < TYPE_STEPS_MAX; step++) {
		int tag = dwarf_tag(&die);
		const char *word = tag == DW_TAG_const_type      ? "const "
				   : tag == DW_TAG_volatile_type ? "volatile "
				   : tag == DW_TAG_atomic_type   ? "_Atomic "
								 : NULL;
		if (word != NULL) {
			size_t len = strlen(qualifiers);
			snprintf(qualifiers + len, sizeof qualifiers - len, "%s", word);
		} else if (tag == DW_TAG_pointer_type || tag == DW_TAG_reference_type ||
			   tag == DW_TAG_rvalue_reference_type) {
			wrap(&t, qualifiers, "");
			wrap(&t, tag == DW_TAG_pointer_type ? "*" : tag == DW_TAG_reference_type ? "&" : "&&", "");
			qualifiers[0] = '\0';
		} else if (tag == DW_TAG_ptr_to_member_type) {
			wrap_member_pointer(&t, &die);
		} else if (tag == DW_TAG_array_type) {
			wrap_array(&t, &die);
		} else if (tag == DW_TAG_subroutine_type) {
			wrap_pointer(&t);
			wrap(&t, "", "(...)");
		} else if (tag != DW_TAG_restrict_type) {
			break;
		}
		more = type_at(&die, &next);
		if (more)
			die = next;
	}
	finish(&t, more ? &die : NULL, qualifiers);
	if (is_base)
		wrap(&t, "base ", "");
	*ret = t;
}

// ---- members ------------------------------------------------------------------------------------------------------

// Bits from the struct's beginning. False: not told, as of a virtual base class.
static bool place_of(Dwarf_Die *die, const struct layout_member *m, uint64_t storage_bytes, bool big_endian,
		     uint64_t *ret)
{
	uint64_t bytes = 0, bits = 0;
	if (number_at(die, DW_AT_data_bit_offset, ret))
		return true;
	if (!number_at(die, DW_AT_data_member_location, &bytes)) {
		if (dwarf_hasattr_integrate(die, DW_AT_data_member_location))
			return false;
		bytes = 0; // a union's
	}
	if (bytes > LAYOUT_BYTES_MAX)
		return false;
	*ret = bytes * 8;
	if (!m->bit_field || !number_at(die, DW_AT_bit_offset, &bits))
		return true;
	// As DWARF 3 has it: counted from the most significant bit of the storage unit. It may be negative.
	(void)number_at(die, DW_AT_byte_size, &storage_bytes);
	*ret += big_endian ? bits : storage_bytes * 8 - bits - m->bits;
	return true;
}

static bool is_big_endian(const struct layout_reader *r)
{
	const char *ident = elf_getident(dwarf_getelf(r->dwarf), NULL);
	return ident != NULL && ident[EI_DATA] == ELFDATA2MSB;
}

static bool is_static(Dwarf_Die *die, int tag)
{
	return tag == DW_TAG_member && (flag_at(die, DW_AT_external) || flag_at(die, DW_AT_declaration)) &&
	       !dwarf_hasattr(die, DW_AT_data_member_location) && !dwarf_hasattr(die, DW_AT_data_bit_offset);
}

static bool is_virtual_table(const char *name)
{
	return strncmp(name, "_vptr", 5) == 0;
}

// Appends the member at die. False: there is nothing of it in the struct.
static bool read_member(struct layout_reader *r, Dwarf_Die *die, bool texts, struct layout *l)
{
	struct layout_member *m = &l->members[l->count];
	int tag = dwarf_tag(die);
	Dwarf_Die type_die;
	if (is_static(die, tag))
		return false;
	struct type type = {.bytes = LAYOUT_UNKNOWN, .align = 1};
	if (type_at(die, &type_die))
		type = type_measure(r, &type_die);
	*m = (struct layout_member){.number = (unsigned)l->count, .align = type.align, .text = "", .name = ""};
	m->bits = type.bytes > LAYOUT_BYTES_MAX ? LAYOUT_UNKNOWN : type.bytes * 8;
	m->inner_bytes = type.inner_bytes;
	m->bit_field = number_at(die, DW_AT_bit_size, &m->bits);
	m->flexible = type.flexible && type.bytes == 0;
	if (!place_of(die, m, type.bytes, is_big_endian(r), &m->at)) {
		l->open_end = true;
		return false;
	}
	if (m->at > LAYOUT_BYTES_MAX * 8 || (m->bits > LAYOUT_BYTES_MAX * 8 && m->bits != LAYOUT_UNKNOWN)) {
		r->damaged = true;
		return false;
	}
	uint64_t asked = align_at(die);
	m->own_align = asked > m->align;
	m->align = asked != 0 ? asked : m->align;
	const char *name = dwarf_diename(tag == DW_TAG_inheritance ? &type_die : die);
	m->name = layout_text_copy(r, name);
	m->pinned = tag == DW_TAG_inheritance || is_virtual_table(m->name);
	if (texts) {
		struct text text;
		declare(die, tag == DW_TAG_inheritance ? "" : m->name, tag == DW_TAG_inheritance, &text);
		m->text = layout_text_copy(r, text.at);
	}
	return true;
}

static size_t count_members(struct layout_reader *r, Dwarf_Die *die)
{
	Dwarf_Die child;
	size_t count = 0;
	int rc = dwarf_child(die, &child);
	for (; rc == 0 && count <= LAYOUT_MEMBERS_MAX; rc = dwarf_siblingof(&child, &child))
		count += dwarf_tag(&child) == DW_TAG_member || dwarf_tag(&child) == DW_TAG_inheritance;
	if (rc < 0 || count > LAYOUT_MEMBERS_MAX) {
		r->damaged = true;
		return LAYOUT_UNKNOWN;
	}
	return count;
}

struct layout *layout_struct_read(struct layout_reader *r, Dwarf_Die *die, bool texts)
{
	uint64_t size;
	if (flag_at(die, DW_AT_declaration) || !number_at(die, DW_AT_byte_size, &size))
		return NULL;
	size_t count = count_members(r, die);
	if (size > LAYOUT_BYTES_MAX || count > LAYOUT_MEMBERS_MAX) {
		r->damaged = true;
		return NULL;
	}
	struct layout *l = layout_alloc(r->pool, 1, sizeof *l);
	struct layout_member *members = layout_alloc(r->pool, count + 1, sizeof *members);
	if (l == NULL || members == NULL) {
		r->no_memory = true;
		return NULL;
	}
	*l = (struct layout){.name = "", .size = size, .align = align_at(die), .members = members};
	int tag = dwarf_tag(die);
	l->is_union = tag == DW_TAG_union_type;
	l->kind = l->is_union ? "union" : tag == DW_TAG_class_type ? "class" : "struct";
	Dwarf_Die child;
	int rc = dwarf_child(die, &child);
	for (; rc == 0 && l->count < count; rc = dwarf_siblingof(&child, &child)) {
		int child_tag = dwarf_tag(&child);
		if (child_tag == DW_TAG_member || child_tag == DW_TAG_inheritance)
			l->count += read_member(r, &child, texts, l);
	}
	return l;
}
