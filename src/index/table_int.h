// SPDX-License-Identifier: MIT
// What the table's files share: lines, maps, phases, and the probe.
//
// A map is an array of lines, a cache line each, of four keys and their values. A key's home is the line that the top
// bits of its hash name. It stands there or behind, and all lines in between are full. In a line the taken slots come
// first, so that its last slot tells whether it is full. Nothing wraps around: behind the last home are as many lines
// as a key may be away from its own, of which the last is never full.
//
//   0                     homes                  homes + reach          a line
//   | line | line | …     | overhang …           | over                 | k0 | k1 | k2 | k3 | v0 | v1 | v2 | v3 |
//
// Behind the lines is a bit for each: whether a key stands behind it that belongs into it or before. A search goes on
// where there is one. It could go on wherever a line is full; but at a load of one half 15 lines of 100 are full and 6
// have something behind them, and the branch, which nothing foretells, is what an absent key costs in a cached table:
// of 1,000 keys 5.8 ns by full lines, 3.8 by the bits. Those of a million keys are 64 KiB.
//
// In a slot, key 0 means that it is empty, and key TABLE_GONE that it is about to be filled anew. The user's keys of
// these values stand in the table, beside the maps.
//
// Four at a time, because what a lookup in a cached table costs is mispredicted branches: slot by slot, the length of
// each row is a surprise (an absent key of 1,000 took 22 ns, now 6). At a load of one half 97 of 100 keys are in their
// home line, and the four comparisons have no branch.
//
// A phase says which map a key is in. While the table grows there are two: hashes below `split` are in next, the others
// still in main. Maps are ordered by hash, so `split` is a place in main too: the lines before it have been copied.
//
//   steady            main: all keys                 next: none       split = 0
//     grow_begin: a write finds main at its load                        v
//   growing           main: hashes from split on     next: the rest   split rises with each write (grow_step)
//     grow_end: split passes the last home                              v
//   steady            main: what was next            next: none       split = 0
//
// index_table_rebuild replaces both maps and the secrets at once.
//
// Invariants:
//   1. Between a key's home and its line all lines are full; a key stands less than `reach` lines from its home.
//   2. In a line, no empty slot comes before a taken one.
//   3. The line before `split` in main is not full, or split is 0: no key before it belongs behind it, or the other way
//      round.
//   4. A phase's maps and seeds never change; its split only rises.
//   5. Copied lines of main never change again, but for being given back once another phase is in force.
//   6. A line's bit in `over` is set if and only if a key stands behind the line whose home is not behind it. Then the
//      line is full.
//
// Rejected: storing the hash instead of the key (it would have to be undone for walks, and a hash costs 3 ns where
// shifting needs it); a control byte a slot, searched 16 at a time (a second cache miss a hit, which is what there is
// to save); wrapping around (a row that crosses the end is in the way of growing bit by bit).
#ifndef TARE_INDEX_TABLE_INT_H
#define TARE_INDEX_TABLE_INT_H

#include <tare/table.h>

enum {
	TABLE_WIDTH = 4, // slots a line
	TABLE_HOMES_MIN = 4,
	TABLE_REACH_MAX = TARE_TABLE_REACH, // lines; at load 0.75 a billion random keys come to about 40
	TABLE_MARKS = 256,
	TABLE_STEP_LINES = 4, // of main that a write copies
};
#define TABLE_KEYS_MAX (UINT64_C(1) << 40)
#define TABLE_GONE UINT64_MAX

_Static_assert(sizeof(struct tare_table_line) == TARE_CACHE_LINE, "a lookup that misses the cache does so once");
_Static_assert(TABLE_WIDTH == 4, "as tare_table_match has it");

enum table_memory { TABLE_HEAP, TABLE_PAGES, TABLE_FILE };

struct table_map {
	struct tare_table_line *lines; // NULL: no map
	_Atomic uint32_t *over;        // behind the lines, in the same memory
	unsigned shift;                // 64 - log2(homes)
	enum table_memory memory;
	uint64_t homes;
	uint64_t reach;
};

struct table_phase {
	struct table_map main;
	_Atomic uint64_t split;
	uint64_t seed[2];
	struct table_map next;
};

// One growth or rebuild: the phases that it brings, and the maps that it leaves behind. Kept until the table is freed,
// as a reader may hold a phase for as long as it likes; there are few, some 400 bytes each.
struct table_change {
	struct table_change *next; // the one that came later
	struct table_phase during, after;
	struct table_map old[2]; // no longer in use; no lines: none, or freed
	unsigned giving;         // which of old is being given back
	uint64_t given_back;     // bytes of it
};

// A key that means something else in a slot. Written by the writer alone: value before turns, with release. Who finds
// turns odd and the same again after reading the value has read one that stood there.
struct table_aside {
	_Atomic uint64_t value;
	_Atomic uint64_t turns; // how often it came and went: odd while it is there
};

static inline bool table_aside_taken(const struct table_aside *aside)
{
	return atomic_load_explicit(&aside->turns, memory_order_relaxed) % 2 != 0;
}

struct tare_table {
	// What every lookup reads and few writes change.
	struct tare_table_view view;         // for tare_table_get: a copy of the phase's main and seeds; first
	_Atomic(struct table_phase *) phase; // the writer's; readers load it with acquire
	bool readers;
	bool huge_pages;
	unsigned load_percent;
	uint64_t grow_at;         // keys that begin a growth
	struct table_phase first; // until the first change
	// The writer's, on lines of its own: readers would lose theirs with every write.
	alignas(TARE_CACHE_LINE) struct table_aside aside[2]; // of key 0 and of TABLE_GONE
	_Atomic uint64_t count;                               // of all keys; relaxed: a number by itself
	uint64_t growths, rebuilds;
	uint64_t copied;                     // lines of main before split
	struct table_change *changes, *last; // all, in order
	struct table_change *giving;         // the first that has left something that is not given back
	void *file;                          // the mapping of a table from a file, file_len bytes
	size_t file_len;
	// How often a key of this mark has been moved or removed. Written by the writer, with release, after a key's
	// copy and before its old slot changes; read by readers before and after they look.
	alignas(TARE_CACHE_LINE) _Atomic uint64_t marks[TABLE_MARKS];
};

// Whether the key stands beside the maps: 0 or TABLE_GONE. Then its lowest bit says where.
static inline bool table_is_aside(uint64_t key)
{
	return key + 1 <= 1;
}

// The low bits, of which homes know nothing.
static inline unsigned table_mark(uint64_t hash)
{
	return (unsigned)(hash >> 4) % TABLE_MARKS;
}

static inline uint64_t table_lines(const struct table_map *map)
{
	return map->homes + map->reach;
}

// Of a map's memory, and of a file behind its header: whole lines.
static inline size_t table_bytes(const struct table_map *map)
{
	size_t lines = table_lines(map) * sizeof(struct tare_table_line), over = (table_lines(map) + 31) / 32 * 4;
	return lines + (over + TARE_CACHE_LINE - 1) / TARE_CACHE_LINE * TARE_CACHE_LINE;
}

static inline void table_map_place(struct table_map *map, void *base)
{
	map->lines = base;
	map->over = (_Atomic uint32_t *)(void *)&map->lines[table_lines(map)];
}

// For the writer.
static inline bool table_is_over(const struct table_map *map, uint64_t line)
{
	return (atomic_load_explicit(&map->over[line / 32], memory_order_relaxed) >> line % 32 & 1) != 0;
}

// For the writer. release: who sees it clear sees the marks that were raised before (table.c).
static inline void table_over_set(const struct table_map *map, uint64_t line, bool over)
{
	uint32_t bits = atomic_load_explicit(&map->over[line / 32], memory_order_relaxed), bit = UINT32_C(1)
												 << line % 32;
	atomic_store_explicit(&map->over[line / 32], over ? bits | bit : bits & ~bit, memory_order_release);
}

static inline uint64_t table_home(const struct table_map *map, uint64_t hash)
{
	return hash >> map->shift;
}

// For the writer, whose phase it is.
static inline struct table_phase *table_phase(const struct tare_table *table)
{
	return atomic_load_explicit(&table->phase, memory_order_relaxed);
}

// The map where a key of this hash stands, or would. acquire: pairs with the release in table_grow_step, so that
// whoever sees the split sees the copies before it.
static TARE_INLINE const struct table_map *table_map_of(const struct table_phase *phase, uint64_t hash)
{
	uint64_t split = atomic_load_explicit(&phase->split, memory_order_acquire);
	if (TARE_LIKELY(split ==
			0)) // a branch that is foreseen, where choosing would make the address wait for the hash
		return &phase->main;
	return hash < split ? &phase->next : &phase->main;
}

// A slot: a line and a place in it. at == TABLE_WIDTH: there is none, and the search ended in this line.
struct table_slot {
	struct tare_table_line *line;
	unsigned at;
};

// tare_table_match beside a writer: each key is loaded at once and with acquire (table.c). On x86 so does a load of 16
// aligned bytes, half by half: the processor splits no aligned 8 bytes and takes no load before an earlier one, and the
// fences keep the compiler from it. ThreadSanitizer and the simulation are shown the loads one by one.
static TARE_INLINE unsigned table_match(const struct tare_table_line *line, uint64_t key)
{
#if defined(__SSE4_1__) && !defined(TARE_SIM) && !defined(TARE_TSAN)
	atomic_signal_fence(memory_order_acq_rel);
	unsigned match = tare_table_match(line, key);
	atomic_signal_fence(memory_order_acq_rel);
	return match;
#else
	unsigned match = 0;
	for (unsigned i = 0; i < TABLE_WIDTH; i++)
		match |= (unsigned)(atomic_load_explicit(&line->keys[i], memory_order_acquire) == key) << i;
	return match;
#endif
}

static inline uint64_t table_key(const struct tare_table_line *line, unsigned at)
{
	return atomic_load_explicit(&line->keys[at], memory_order_relaxed);
}

static inline uint64_t table_value(const struct tare_table_line *line, unsigned at)
{
	return atomic_load_explicit(&line->values[at], memory_order_relaxed);
}

static inline bool table_full(const struct tare_table_line *line)
{
	return table_key(line, TABLE_WIDTH - 1) != 0;
}

// Looks for a key other than 0, from its home to the first line behind which it can't be.
static TARE_INLINE struct table_slot table_probe(const struct table_map *map, uint64_t hash, uint64_t key)
{
	uint64_t line = table_home(map, hash);
	for (unsigned looked = 1;; looked++, line++) {
		unsigned match = tare_table_match(&map->lines[line], key);
		if (match != 0)
			return (struct table_slot){&map->lines[line], (unsigned)__builtin_ctz(match)};
		if (TARE_LIKELY(!table_is_over(map, line)) || looked == TABLE_REACH_MAX)
			return (struct table_slot){&map->lines[line], TABLE_WIDTH};
	}
}

// For the writer: a key has left its slot, or will. release: its copy, if there is one, is seen by whoever sees this.
static inline void table_mark_bump(struct tare_table *table, uint64_t hash)
{
	_Atomic uint64_t *mark = &table->marks[table_mark(hash)];
	atomic_store_explicit(mark, atomic_load_explicit(mark, memory_order_relaxed) + 1, memory_order_release);
}

// Fills a slot: first the value, then the key. release, both: see table.c.
static inline void table_fill(struct table_slot slot, uint64_t key, uint64_t value)
{
	atomic_store_explicit(&slot.line->values[slot.at], value, memory_order_release);
	atomic_store_explicit(&slot.line->keys[slot.at], key, memory_order_release);
}

// Puts a key that is neither 0 nor in the map into the first line with room, from that in which the search for it
// ended. False: it is out of reach, and nothing has changed.
static inline bool table_place(const struct table_map *map, struct tare_table_line *line, uint64_t hash, uint64_t key,
			       uint64_t value)
{
	uint64_t from = (uint64_t)(line - map->lines);
	while (TARE_UNLIKELY(table_full(line)))
		line++;
	uint64_t to = (uint64_t)(line - map->lines);
	if (to - table_home(map, hash) >= map->reach)
		return false;
	for (; from < to; from++) // before the key: who sees that finds it
		table_over_set(map, from, true);
	unsigned at = 0;
	while (table_key(line, at) != 0)
		at++;
	table_fill((struct table_slot){line, at}, key, value);
	return true;
}

// Empties a slot and moves up what stands behind it and belongs before it (table.c).
void index_table_vacate(struct tare_table *table, const struct table_map *map, const uint64_t seed[2],
			struct table_slot slot);

// ---- table_map.c --------------------------------------------------------------------------------------------------

// A map of so many home lines (a power of two), all empty. False: no memory.
bool index_table_map_make(struct table_map *ret, uint64_t homes, bool huge_pages);
void index_table_map_free(struct table_map *map);
// How many keys may be in so many home lines.
uint64_t index_table_keys_at_load(uint64_t homes, unsigned load_percent);
// The fewest home lines that so many keys may be in.
uint64_t index_table_homes_for(uint64_t keys, unsigned load_percent);
// Copies a key, neither 0 nor in the map yet. False: it has no place within reach, and nothing has changed.
bool index_table_copy(const struct table_map *map, uint64_t hash, uint64_t key, uint64_t value);
// from 0: of the system's random numbers.
void index_table_seed_draw(uint64_t seed[2], uint64_t from);

// ---- table_grow.c -------------------------------------------------------------------------------------------------

static inline bool table_growing(const struct tare_table *table)
{
	return table_phase(table)->next.lines != NULL;
}

// Puts a phase in force. The copies of its keys come first.
void index_table_publish(struct tare_table *table, struct table_phase *phase);
// Before a new key is written: begins a growth that is due. -ENOMEM only where no room is left without one.
TARE_MUST_USE int index_table_make_room(struct tare_table *table);
// With each write: copies some slots of a growth that is under way, and gives back some memory of one that is over.
void index_table_work(struct tare_table *table);
// The growth that is under way, to its end. -ENOMEM: not all could be placed, and there is no memory for a rebuild.
TARE_MUST_USE int index_table_finish(struct tare_table *table);
// Grows to so many home lines, more than are in use, in one go. No growth is under way.
TARE_MUST_USE int index_table_grow_to(struct tare_table *table, uint64_t homes);
// All keys into a new map under new secrets. -ENOMEM: nothing has changed.
TARE_MUST_USE int index_table_rebuild(struct tare_table *table);
// Bytes that earlier maps have not given back yet.
uint64_t index_table_left_behind(const struct tare_table *table);
// All changes and the maps they left behind, when the table is freed.
void index_table_changes_free(struct tare_table *table);

// ---- table_file.c -------------------------------------------------------------------------------------------------

#define TABLE_FILE_MAGIC "TARETABL"
enum { TABLE_FILE_ALIGN = 4096, TABLE_FILE_VERSION = 2 }; // 1 had no bits behind the lines

struct table_header {
	char magic[8];
	uint32_t version;
	uint32_t byte_order; // as in a snapshot
	uint64_t bytes;      // of the whole file
	uint64_t homes;
	uint64_t reach;
	uint64_t keys;
	uint64_t seed[2];
	uint64_t load_percent;
	uint64_t aside_taken[2]; // of key 0 and of 2^64 - 1: 0 or 1
	uint64_t aside_value[2];
	uint64_t lines_checksum;
	uint8_t zero[TABLE_FILE_ALIGN - 112 - 8];
	uint64_t checksum; // of all before it
};

// Checks all of len bytes at base (aligned to a cache line); name is what errors call the file. *ret is the map in it.
TARE_MUST_USE int index_table_verify(const void *base, size_t len, const char *name, struct table_map *ret,
				     struct tare_error *err);

#endif
