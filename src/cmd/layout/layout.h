// SPDX-License-Identifier: MIT
// What the files of `tare layout` share: a struct as its debug information tells it, what stands idle in it, and the
// rules it is held to.
//
// dwarf.c finds structs in a file, member.c reads one, pack.c measures it and finds the order that packs it, check.c
// holds it to a rule, report.c writes. Threads: one.
// Ownership: everything that is read is a pool's, and is freed with it.
#ifndef TARE_CMD_LAYOUT_H
#define TARE_CMD_LAYOUT_H

#include <tare/base.h>

enum {
	LAYOUT_MEMBERS_MAX = 65536,   // of a struct; more: the file is taken for damaged
	LAYOUT_STRUCTS_MAX = 1 << 20, // of a report
	LAYOUT_REORDER_MAX = 4096,    // members of a struct that is reordered: the search is quadratic
	LAYOUT_NAME_MAX = 1024,       // bytes of a name; what is longer is cut
};

#define LAYOUT_BYTES_MAX (UINT64_C(1) << 40) // of a struct; more: the file is taken for damaged

// ---- memory -------------------------------------------------------------------------------------------------------

struct layout_pool {
	struct layout_block *blocks;
};

// Zeroed memory of the pool's, or NULL.
void *layout_alloc(struct layout_pool *pool, size_t count, size_t bytes);
void layout_pool_done(struct layout_pool *pool);

// ---- a struct -----------------------------------------------------------------------------------------------------

#define LAYOUT_UNKNOWN UINT64_MAX

struct layout_member {
	const char *name;     // "" where it has none
	const char *text;     // its declaration, without the semicolon
	uint64_t at;          // bits from the struct's beginning
	uint64_t bits;        // that it takes; LAYOUT_UNKNOWN: all up to the next member
	uint64_t align;       // bytes; of a bit-field, those of its type
	uint64_t inner_bytes; // of holes and padding within its type
	unsigned number;      // as declared
	bool bit_field;
	bool own_align; // asks for more alignment than its type does: begins a group that nothing moves into or out of
	bool pinned;    // stays where it is: a base class, a pointer to virtual functions
	bool flexible;  // an array without a length: stays last
	// layout_measure writes these.
	uint64_t gap_bits; // nobody's, in front of it
	bool gap_asked;    // its alignment asked for that gap
	bool crosses;      // stands on two cache lines, and would fit in one
	bool fresh;        // a bit-field that begins a unit of its own (`: 0` before it)
};

struct layout {
	const char *kind; // "struct", "class", "union" or "typedef"
	const char *name; // with its namespaces
	const char *file; // where it is declared, or NULL
	int line;
	uint64_t size;
	uint64_t align; // 0: not told, layout_measure finds it
	bool is_union;
	bool open_end;                 // virtual base classes stand somewhere in it
	struct layout_member *members; // in the order of their places, after layout_measure
	size_t count;
	// layout_measure writes these.
	bool packed;            // members stand where their types would not let them
	unsigned holes;         // gaps of a byte or more that nobody asked for
	uint64_t hole_bytes;    // in them
	uint64_t asked_bytes;   // in gaps that an alignment asks for
	uint64_t padding_bytes; // at the end
	uint64_t lines;         // cache lines that it takes when it begins on one
	unsigned crossing;      // members with .crosses
	// layout_reorder writes these.
	bool reorders;       // false: there is no order to be found, or nothing is known of one
	unsigned *order;     // positions in members; NULL where the present order is as good
	uint64_t best_bytes; // the size in that order
};

// Sorts the members and finds what stands idle between them. line_bytes: of a cache line.
void layout_measure(struct layout *l, uint64_t line_bytes);

// Finds the order that makes a measured struct smallest. Nested structs, runs of bit-fields, base classes and groups
// behind an alignment of their own stay whole. Order and working memory are the pool's. Cost: quadratic in the members.
// -ENOMEM.
TARE_MUST_USE int layout_reorder(struct layout *l, struct layout_pool *pool);

// ---- a file's structs ---------------------------------------------------------------------------------------------

struct layout_set {
	struct layout_pool pool;
	struct layout **items;
	size_t count, cap;
};

// A name as people write it: "tare_task", "struct tare_task", "rt_*", "ns::Foo". Without "::" it matches in every
// namespace.
bool layout_matches(const char *pattern, const char *name);

// Reads all structs of an ELF file whose names match one of the patterns; no patterns: all. *set is zeroed before and
// done with layout_set_done even after an error. Blocks on the disk. Errors: one line in err, a negative errno.
TARE_MUST_USE int layout_read(struct layout_set *set, const char *path, const char *const *patterns, size_t count,
			      struct tare_error *err);
void layout_set_done(struct layout_set *set);

// ---- rules --------------------------------------------------------------------------------------------------------

// "tare_task<=256,holes<=8,padding<=4"
struct layout_rule {
	const char *text;
	char name[LAYOUT_NAME_MAX];
	uint64_t size_max, holes_max, padding_max; // bytes; UINT64_MAX: no limit
};

// -EINVAL: not a rule. holes_max: what the rule allows where it does not say.
TARE_MUST_USE int layout_rule_parse(struct layout_rule *ret, const char *text, uint64_t holes_max,
				    struct tare_error *err);

// Whether a measured struct keeps the rule; if not, why is a text of what it breaks.
bool layout_rule_kept(const struct layout_rule *rule, const struct layout *l, char *why, size_t cap);

// ---- reports ------------------------------------------------------------------------------------------------------

struct layout_report {
	const char *path;
	const struct layout_set *set;
	uint64_t line_bytes;
	uint64_t count; // records to reckon savings for; 0: not asked
	const struct layout_rule *rules;
	size_t rule_count;
	const char *const *patterns; // the structs to describe
	size_t pattern_count;
	bool overview; // a line a struct
	size_t broken; // rules that a struct broke: layout_write_* count them
};

void layout_write_text(struct layout_report *report);
TARE_MUST_USE int layout_write_json(struct layout_report *report);

#endif
