// SPDX-License-Identifier: MIT
// What dwarf.c and member.c share: the reader of one module's debug information.
#ifndef TARE_CMD_LAYOUT_DWARF_INT_H
#define TARE_CMD_LAYOUT_DWARF_INT_H

#include "cmd/layout/layout.h"

#include <elfutils/libdw.h>

struct layout_seen {
	uint64_t *keys; // 0: empty
	uint64_t *values;
	size_t count, cap; // cap is a power of two, or 0
};

// The value of a key that is not 0; what is new is entered with this value, and *ret_new is true. NULL: out of memory.
uint64_t *layout_seen_at(struct layout_seen *seen, uint64_t key, uint64_t value, bool *ret_new);
void layout_seen_done(struct layout_seen *seen);

struct layout_reader {
	struct layout_pool *pool;
	Dwarf *dwarf;
	uint64_t address_bytes;
	uint64_t align_max;       // of a base type: 4 where the machine's ABI says so
	struct layout_seen types; // a type's place -> its alignment and what stands idle in it
	unsigned depth;           // types within types that are being measured
	bool damaged;             // something could not be followed
	bool no_memory;
};

// Reads the struct, class or union at die. NULL: out of memory, or what stands there is none; the reader tells.
// texts: declarations too, which only a report needs.
struct layout *layout_struct_read(struct layout_reader *r, Dwarf_Die *die, bool texts);

// A copy that is printable, of at most LAYOUT_NAME_MAX bytes. "": there was none, or memory ran out.
const char *layout_text_copy(struct layout_reader *r, const char *text);

bool layout_is_aggregate(int tag);

// A declaration that stands for a type in a unit of its own becomes that type.
void layout_type_complete(Dwarf_Die *die);

#endif
