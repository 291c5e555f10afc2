// SPDX-License-Identifier: MIT
//
// table: a hash table from 64-bit keys to 64-bit values, for lookups that must be fast and never slow.
//
//   struct tare_table *seen;
//   if (tare_table_new(&seen, NULL) < 0)
//           die("out of memory");
//   if (tare_table_put(seen, user_id, position) < 0)
//           die("out of memory");
//   uint64_t value;
//   if (tare_table_get(seen, user_id, &value))
//           use(&users[value]);
//   tare_table_free(seen);
//
// A value is 8 bytes: a number, a pointer, or the position of something larger in an array of the caller's. Four keys
// and their values fill a cache line, and nearly every lookup reads one, whether the key is there or not. Every key and
// every value is allowed, 0 too.
//
// Open addressing, linear probing from line to line, a power of two of slots, of which at most half are taken unless
// told otherwise. A removal leaves no mark behind: the keys after it move up, so a table that only changes never slows
// down. Each table scatters its keys by secrets of its own, so that nobody can choose keys that fall together. No
// lookup reads more than 256 lines, whatever the keys: where a key would stand further from its place, the table draws
// new secrets.
//
// Growing never stops the caller: each write moves a few keys to the larger table, four lines of the old one, until it
// is done (and on to the end of the row of full lines that it is in). tare_table_reserve does it all at once, ahead. A
// removal moves up what is behind it in such a row.
//
// Threads: one at a time writes; who, is the caller's to settle. What reads beside the writer uses tare_table_read and
// tare_table_read_many of a table that was made with `readers`, from any number of threads; they take no lock, write
// nothing that is shared, and never wait for the writer, even one that was stopped in the middle of a write. All else
// is for the writer, or for any thread while nobody writes. A table that was opened from a file never changes:
// everything that does not write may be called from any thread, but tare_table_at, which is there to be written
// through. Nothing here blocks but on page faults, and on files where it says so. Allocated: the slots, when a table is
// made and when it grows, from the heap or, above 64 KiB, from the system.
#ifndef TARE_TABLE_H
#define TARE_TABLE_H

#include <tare/base.h>

#if defined(__SSE4_1__)
#include <smmintrin.h>
#endif

// ---- making -------------------------------------------------------------------------------------------------------

struct tare_table;

// What is 0 or false has the default.
struct tare_table_options {
	uint64_t keys;         // room for so many before it first grows
	uint64_t seed;         // of the secrets, for tests that repeat; 0: drawn from the system
	unsigned load_percent; // of slots may be taken, 10 to 75; 0: 50. Less is faster and takes more memory
	bool huge_pages;       // from 2 MiB of slots on, if the system has any: faster past some 500,000 keys
	bool readers;          // tare_table_read will be called beside a writer
};

// options NULL: all defaults. Errors: -ENOMEM; -EINVAL: load_percent; -ERANGE: more than 2^40 keys.
TARE_MUST_USE int tare_table_new(struct tare_table **ret, const struct tare_table_options *options);

// NULL is fine. No thread may be within any call, nor hold what tare_table_at returned.
void tare_table_free(struct tare_table *table);

// ---- writing ------------------------------------------------------------------------------------------------------

// Adds the key, or gives it another value. -ENOMEM: it is new and the table can't grow; nothing has changed. Where only
// the growth failed and there is still room, the key is added all the same. -EROFS: the table is a file's.
TARE_MUST_USE int tare_table_put(struct tare_table *table, uint64_t key, uint64_t value);

// The same for a key that is not there yet. -EEXIST: it is, and keeps its value.
TARE_MUST_USE int tare_table_add(struct tare_table *table, uint64_t key, uint64_t value);

// Whether the key was there; *ret_value (may be NULL) is the value that it had. Never fails; a table of a file must not
// be written to (asserted).
bool tare_table_remove(struct tare_table *table, uint64_t key, uint64_t *ret_value);

// Room for so many keys in all, at once: what growing would do over many writes, and a growth that has begun is
// finished.
// Cost: about 10 ns a key, and a page fault each 4 KiB. -ENOMEM, -ERANGE, -EROFS: as above, and nothing has changed.
TARE_MUST_USE int tare_table_reserve(struct tare_table *table, uint64_t keys);

// ---- inside tare_table_get ----------------------------------------------------------------------------------------

// What tare_table_get looks at; nobody else should, and it may change. It is inline because a call is a fifth of a
// lookup in a cached table (docs/table.md).
struct tare_table_line {
	_Atomic uint64_t keys[4]; // 0: an empty slot; the taken ones come first
	_Atomic uint64_t values[4];
};
struct tare_table_view { // a table begins with it
	const struct tare_table_line *lines;
	const _Atomic uint32_t *over; // a bit a line: a key that belongs there, or before, stands behind it
	uint64_t seed[2];
	unsigned shift;
	bool growing; // there are two sets of lines
};

// One multiplication whose both halves count, by secrets on both sides, and one that carries all bits to the top.
static inline uint64_t tare_table_hash(const uint64_t seed[2], uint64_t key)
{
	unsigned __int128 product = (unsigned __int128)(key ^ seed[0]) * seed[1];
	return ((uint64_t)product ^ (uint64_t)(product >> 64)) * UINT64_C(0x9e3779b97f4a7c15);
}

// One bit a slot of the line that holds the key; all four are compared at once.
static inline unsigned tare_table_match(const struct tare_table_line *line, uint64_t key)
{
#if defined(__SSE4_1__) && !defined(TARE_SIM)
	__m128i wanted = _mm_set1_epi64x((long long)key);
	__m128i low = _mm_cmpeq_epi64(_mm_load_si128((const __m128i *)(const void *)&line->keys[0]), wanted);
	__m128i high = _mm_cmpeq_epi64(_mm_load_si128((const __m128i *)(const void *)&line->keys[2]), wanted);
	return (unsigned)_mm_movemask_ps(_mm_shuffle_ps(_mm_castsi128_ps(low), _mm_castsi128_ps(high), 0x88));
#else
	unsigned match = 0;
	for (unsigned i = 0; i < 4; i++)
		match |= (unsigned)(atomic_load_explicit(&line->keys[i], memory_order_relaxed) == key) << i;
	return match;
#endif
}

// No key is as many lines from its home.
enum { TARE_TABLE_REACH = 256 };

// Looks from the line that is the key's home to the first behind which there is nothing to look for. That bit is asked,
// not whether the line is full: at a load of one half 15 lines of 100 are full and keys stand behind 6, and each that
// is not foreseen is a mispredicted branch.
static inline bool tare_table_find(const struct tare_table_line *lines, const _Atomic uint32_t *over, uint64_t at,
				   uint64_t key, uint64_t *ret_value)
{
	for (unsigned looked = 0; looked < TARE_TABLE_REACH; looked++, at++) {
		unsigned match = tare_table_match(&lines[at], key);
		if (match != 0) {
			unsigned slot = (unsigned)__builtin_ctz(match);
			*ret_value = atomic_load_explicit(&lines[at].values[slot], memory_order_relaxed);
			return true;
		}
		uint32_t bits = atomic_load_explicit(&over[at / 32], memory_order_relaxed);
		if (TARE_LIKELY((bits >> at % 32 & 1) == 0))
			return false;
	}
	return false;
}

// The keys 0 and 2^64 - 1, and all keys while the table grows.
bool tare_table_get_rare(const struct tare_table *table, uint64_t key, uint64_t *ret_value);

// ---- reading ------------------------------------------------------------------------------------------------------

// Whether the key is there; *ret_value is written only if so.
static inline bool tare_table_get(const struct tare_table *table, uint64_t key, uint64_t *ret_value)
{
	const struct tare_table_view *view = (const struct tare_table_view *)(const void *)table;
	uint64_t hash = tare_table_hash(view->seed, key);
	if (TARE_UNLIKELY(key + 1 <= 1 || view->growing))
		return tare_table_get_rare(table, key, ret_value);
	return tare_table_find(view->lines, view->over, hash >> view->shift, key, ret_value);
}

// The key's value in place, or NULL. Good until the next put, add, remove or reserve (each of them moves on a growth
// that is under way). Not of a table that was opened from a file (asserted). Readers beside the writer must not be
// there when it is written through.
uint64_t *tare_table_at(struct tare_table *table, uint64_t key);

// Looks many keys up, each slot fetched ahead: in a table that is larger than the cache several times as fast as one
// after the other. values[i] and found[i] are of keys[i]; the value of an absent key is 0. found may be NULL. Returns
// how many were found.
size_t tare_table_get_many(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
			   bool *found);

// Beside a writer: as tare_table_get, for a table that was made with `readers`. What it says was so at one moment
// between call and return. It looks again when the writer has moved this key meanwhile (or one of the 1/256 that share
// its mark), or began or ended a growth.
bool tare_table_read(const struct tare_table *table, uint64_t key, uint64_t *ret_value);

// As tare_table_get_many, beside a writer. Each answer is as tare_table_read's; together they are of no one moment.
size_t tare_table_read_many(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
			    bool *found);

// How many keys there are; from any thread.
uint64_t tare_table_count(const struct tare_table *table);

// A walk over all keys, in no order: begins with a cursor of zeros, and ends with false. Nothing may write meanwhile,
// but values through tare_table_at.
struct tare_table_cursor {
	uint64_t at;
};
bool tare_table_next(const struct tare_table *table, struct tare_table_cursor *cursor, uint64_t *ret_key,
		     uint64_t *ret_value);

// ---- files --------------------------------------------------------------------------------------------------------

// Writes the table to a file from which tare_table_open maps it. Finishes a growth first. On any error path is as it
// was before and nothing is left beside it; otherwise it is a whole table that was synced. Blocks on the disk. The file
// holds the table's secrets. Errors: -ENOSPC, -EDQUOT, -EFBIG and whatever the file system says; -ENOMEM.
TARE_MUST_USE int tare_table_save(struct tare_table *table, const char *path, struct tare_error *err);

// Maps the table at path and verifies all of it: every byte is covered by a checksum, every key is found at its place,
// none twice, and every lookup ends. It can't be written to. Cost: some passes over the file. Blocks on the disk. The
// file must not be written in place while it is mapped; tare_table_save never does.
// Errors: -EBADMSG: not a table, or a damaged one; -EPROTONOSUPPORT: another version or byte order; what open(2) or
// mmap(2) said; -EIO: the file changed or could not be read while it was verified.
TARE_MUST_USE int tare_table_open(struct tare_table **ret, const char *path, struct tare_error *err);

// ---- reporting ----------------------------------------------------------------------------------------------------

struct tare_table_stats {
	uint64_t keys;
	uint64_t slots;     // of the table that lookups use; while it grows, of both
	uint64_t bytes;     // of memory for slots; what a growth left behind and is not yet given back is among them
	double load_factor; // keys / slots
	double probe_mean;  // cache lines read to find a key that is there: 1 is the least
	uint64_t probe_max;
	uint64_t
	    full_max;     // the longest row of full lines: no lookup reads more than this and one, nor TARE_TABLE_REACH
	uint64_t growths; // begun
	uint64_t rebuilds; // for new secrets, because keys fell together
	bool growing;
	bool mapped; // from a file
};

// Reads every slot. Not beside a writer.
void tare_table_stats_get(const struct tare_table *table, struct tare_table_stats *ret);

#endif
