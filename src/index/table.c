// SPDX-License-Identifier: MIT
// The table: writing, looking up, and looking up beside a writer. table_int.h draws what it is made of.
//
// Why a reader beside a writer is right (tare_table_read)
//
// A reader loads the phase, the mark of its key's hash, and the split; probes; and loads mark and phase again. Where
// both are as they were, its answer was true at one moment in between. It writes nothing. Everything below rests on two
// habits of the writer: a slot is filled value first, key second (table_fill), and the mark of a key is raised after
// the key can be found where it is now, or no more at all, and before the slot where it stood gets anything else
// (index_table_vacate). All those stores are release and the reader's loads acquire, so who sees one of them sees all
// before it.
//
//   Adding     fills an empty slot. A reader that sees the key sees its value. One that sees the slot empty looked
//              before the key was there.
//   Replacing  stores one word.
//   Removing   moves each key of the row that a removal would cut off from its home:
//
//                the removed key's slot says TABLE_GONE → raise its mark → that slot is the hole
//                copy K, from behind, into the hole → raise K's mark → where it stood is the next hole
//                no K is left: the last hole is emptied
//
//              (a) A reader that sees its mark raised after it began looks again. Let it have begun after the last
//              raise that it sees; then it sees what came before that. (b) The removed key: it is in no slot.
//              (c) A moved key: its copy. That stands before the old place, and of two places that hold a key readers
//              take the first; so it does not matter what the old place holds. (d) A reader that began before a raise,
//              and met what came after it in a hole (another key, an empty slot, a value that belongs to another key),
//              sees the raised mark: all that is stored into a hole is stored after it. (e) One that found a line's
//              bit in `over` clear, between K's home and K, either came before K was there, as the bits are set before
//              the key is; or saw it cleared because no key behind needed it: so K had been moved before, see (d).
//   Growing    copies, then raises the split. What lies before the split in main changes no more. A reader that loaded
//              the split before finds there what was true when it loaded it; one that loaded it after sees the copies.
//   Phases     A reader whose phase is no longer in force when it is done begins anew; so whatever became of that
//              phase's maps does not matter, as long as they can be read. They can: they are never unmapped, only given
//              back (MADV_DONTNEED), and that only after the next phase was stored. A page that is read as zeros
//              afterwards was faulted in anew, under the page table's lock that the giving back had held: so the phase
//              is seen.
//
// A reader waits for nobody: a writer that was stopped anywhere above has raised a mark once, not locked it. A reader
// begins anew only when the writer got something done. 256 marks of 64 bits: one in 256 removals in a busy row
// is in a reader's way, and none comes round again.
//
// ThreadSanitizer understands all of it, since every slot is atomic, and no fence is needed. A simulation of the
// threads goes through it step by step (test_table_readers). It found what an earlier version of (b) had missed: the
// key stood in its slot after its mark was raised, and a reader that began then took another key's value with it.
//
// Rejected: one sequence lock for the table (any removal would send all readers back, and a stopped writer would stop
// them); 16-byte atomic loads (not on every processor, and a call into libatomic); tombstones instead of moving (rows
// only grow until a rebuild); readers that register (a store each lookup).
#include "index/table_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <sys/mman.h>

static struct tare_tag heap_tag = TARE_TAG("table");

enum { LOAD_DEFAULT = 50, LOAD_MIN = 10, LOAD_MAX = 75, TOGETHER = 64, ASIDES = 2 };

// ---- making -------------------------------------------------------------------------------------------------------

int tare_table_new(struct tare_table **ret, const struct tare_table_options *options)
{
	static const struct tare_table_options defaults;
	const struct tare_table_options *o = options != NULL ? options : &defaults;
	unsigned load_percent = o->load_percent != 0 ? o->load_percent : LOAD_DEFAULT;
	if (load_percent < LOAD_MIN || load_percent > LOAD_MAX)
		return -EINVAL;
	if (o->keys > TABLE_KEYS_MAX)
		return -ERANGE;
	struct tare_table *table = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, sizeof *table);
	if (table == NULL)
		return -ENOMEM;
	memset(table, 0, sizeof *table);
	table->readers = o->readers;
	table->huge_pages = o->huge_pages;
	table->load_percent = load_percent;
	uint64_t homes = index_table_homes_for(o->keys, load_percent);
	if (!index_table_map_make(&table->first.main, homes, o->huge_pages)) {
		tare_free(table);
		return -ENOMEM;
	}
	index_table_seed_draw(table->first.seed, o->seed);
	index_table_publish(table, &table->first);
	table->grow_at = index_table_keys_at_load(homes, load_percent);
	*ret = table;
	return 0;
}

void tare_table_free(struct tare_table *table)
{
	if (table == NULL)
		return;
	struct table_phase *phase = table_phase(table);
	index_table_map_free(&phase->main);
	index_table_map_free(&phase->next);
	index_table_changes_free(table);
	if (table->file != NULL)
		munmap(table->file, table->file_len);
	tare_free(table);
}

_Static_assert(offsetof(struct tare_table, view) == 0, "tare_table_get finds it there");

// ---- looking up ---------------------------------------------------------------------------------------------------

static bool get_aside(const struct tare_table *table, uint64_t key, uint64_t *ret_value)
{
	const struct table_aside *aside = &table->aside[key & 1];
	for (;;) {
		// acquire, both: pairs with the release in put_aside
		uint64_t turns = atomic_load_explicit(&aside->turns, memory_order_acquire);
		if (turns % 2 == 0)
			return false;
		uint64_t value = atomic_load_explicit(&aside->value, memory_order_acquire);
		if (atomic_load_explicit(&aside->turns, memory_order_relaxed) != turns)
			continue; // the value may be one that is only about to be put
		*ret_value = value;
		return true;
	}
}

bool tare_table_get_rare(const struct tare_table *table, uint64_t key, uint64_t *ret_value)
{
	if (table_is_aside(key))
		return get_aside(table, key, ret_value);
	const struct table_phase *phase = table_phase(table);
	uint64_t hash = tare_table_hash(phase->seed, key);
	const struct table_map *map = table_map_of(phase, hash);
	return tare_table_find(map->lines, map->over, table_home(map, hash), key, ret_value);
}

uint64_t *tare_table_at(struct tare_table *table, uint64_t key)
{
	TARE_ASSERT(table->file == NULL);
	if (table_is_aside(key)) {
		struct table_aside *aside = &table->aside[key & 1];
		return table_aside_taken(aside) ? (uint64_t *)&aside->value : NULL;
	}
	const struct table_phase *phase = table_phase(table);
	uint64_t hash = tare_table_hash(phase->seed, key);
	struct table_slot slot = table_probe(table_map_of(phase, hash), hash, key);
	return slot.at != TABLE_WIDTH ? (uint64_t *)&slot.line->values[slot.at] : NULL;
}

// table_probe beside a writer, with the value. acquire: what follows is loaded after it, and it pairs with the release
// in table_fill.
static TARE_INLINE bool probe_beside(const struct table_map *map, uint64_t hash, uint64_t key, uint64_t *ret_value)
{
	uint64_t at = table_home(map, hash);
	for (unsigned looked = 0; looked < TABLE_REACH_MAX; looked++, at++) {
		const struct tare_table_line *line = &map->lines[at];
		unsigned match = table_match(line, key);
		if (match != 0) {
			*ret_value = atomic_load_explicit(&line->values[__builtin_ctz(match)], memory_order_acquire);
			return true;
		}
		uint32_t bits = atomic_load_explicit(&map->over[at / 32], memory_order_acquire);
		if (TARE_LIKELY((bits >> at % 32 & 1) == 0))
			return false;
	}
	return false;
}

// One attempt; false: the writer was in the way.
static TARE_INLINE bool read_once(const struct tare_table *table, uint64_t key, uint64_t *ret_value, bool *ret_found)
{
	// acquire: pairs with the release in publish()
	const struct table_phase *phase = atomic_load_explicit(&table->phase, memory_order_acquire);
	uint64_t hash = tare_table_hash(phase->seed, key);
	const _Atomic uint64_t *mark = &table->marks[table_mark(hash)];
	uint64_t before = atomic_load_explicit(mark, memory_order_acquire);
	*ret_found = probe_beside(table_map_of(phase, hash), hash, key, ret_value);
	return TARE_LIKELY(atomic_load_explicit(mark, memory_order_relaxed) == before &&
			   atomic_load_explicit(&table->phase, memory_order_relaxed) == phase);
}

bool tare_table_read(const struct tare_table *table, uint64_t key, uint64_t *ret_value)
{
	if (TARE_UNLIKELY(table_is_aside(key)))
		return get_aside(table, key, ret_value);
	uint64_t value = 0;
	bool found;
	while (!read_once(table, key, &value, &found))
		tare_cpu_relax();
	if (found)
		*ret_value = value;
	return found;
}

static TARE_INLINE void fetch(const struct table_phase *phase, uint64_t hash)
{
	const struct table_map *map = table_map_of(phase, hash);
	__builtin_prefetch(&map->lines[table_home(map, hash)]);
}

// All lines of up to so many keys are asked for, then all are looked up: with 64, the processor is never without lines
// to wait for, and the first has not left the cache when its turn comes (docs/table.md has the figures).
static size_t get_together(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
			   bool *found)
{
	const struct tare_table_view view = table->view;
	uint64_t homes[TOGETHER];
	size_t hits = 0;
	for (size_t i = 0; i < count; i++) {
		homes[i] = tare_table_hash(view.seed, keys[i]) >> view.shift;
		__builtin_prefetch(&view.lines[homes[i]]);
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 0;
		bool there = TARE_UNLIKELY(table_is_aside(keys[i]))
				 ? get_aside(table, keys[i], &value)
				 : tare_table_find(view.lines, view.over, homes[i], keys[i], &value);
		values[i] = value;
		if (found != NULL)
			found[i] = there;
		hits += there;
	}
	return hits;
}

static size_t get_together_growing(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
				   bool *found)
{
	const struct table_phase *phase = table_phase(table);
	size_t hits = 0;
	for (size_t i = 0; i < count; i++)
		fetch(phase, tare_table_hash(phase->seed, keys[i]));
	for (size_t i = 0; i < count; i++) {
		values[i] = 0;
		bool there = tare_table_get_rare(table, keys[i], &values[i]);
		if (found != NULL)
			found[i] = there;
		hits += there;
	}
	return hits;
}

size_t tare_table_get_many(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
			   bool *found)
{
	size_t hits = 0;
	for (size_t i = 0; i < count; i += TOGETHER) {
		size_t n = TARE_MIN(count - i, (size_t)TOGETHER);
		bool *founds = found != NULL ? found + i : NULL;
		hits += table->view.growing ? get_together_growing(table, keys + i, n, values + i, founds)
					    : get_together(table, keys + i, n, values + i, founds);
	}
	return hits;
}

// A phase whose maps were given back is fetched from as well as any other: a prefetch never faults.
size_t tare_table_read_many(const struct tare_table *table, const uint64_t *keys, size_t count, uint64_t *values,
			    bool *found)
{
	size_t hits = 0;
	for (size_t begin = 0; begin < count; begin += TOGETHER) {
		size_t n = TARE_MIN(count - begin, (size_t)TOGETHER);
		const struct table_phase *phase = atomic_load_explicit(&table->phase, memory_order_acquire);
		for (size_t i = begin; i < begin + n; i++)
			fetch(phase, tare_table_hash(phase->seed, keys[i]));
		for (size_t i = begin; i < begin + n; i++) {
			values[i] = 0;
			bool there = tare_table_read(table, keys[i], &values[i]);
			if (found != NULL)
				found[i] = there;
			hits += there;
		}
	}
	return hits;
}

uint64_t tare_table_count(const struct tare_table *table)
{
	return atomic_load_explicit(&table->count, memory_order_relaxed);
}

// ---- writing ------------------------------------------------------------------------------------------------------

static void count_add(struct tare_table *table, uint64_t n)
{
	uint64_t count = atomic_load_explicit(&table->count, memory_order_relaxed);
	atomic_store_explicit(&table->count, count + n, memory_order_relaxed); // one writer
}

static void work(struct tare_table *table)
{
	if (TARE_UNLIKELY(table->giving != NULL)) // a growth, or what one left behind
		index_table_work(table);
}

static int put_aside(struct tare_table *table, uint64_t key, uint64_t value, bool replace)
{
	struct table_aside *aside = &table->aside[key & 1];
	bool taken = table_aside_taken(aside);
	if (taken && !replace)
		return -EEXIST;
	// release, both: pairs with the acquire in get_aside
	atomic_store_explicit(&aside->value, value, memory_order_release);
	if (!taken)
		atomic_fetch_add_explicit(&aside->turns, 1, memory_order_release);
	count_add(table, !taken);
	return 0;
}

static int put(struct tare_table *table, uint64_t key, uint64_t value, bool replace)
{
	if (TARE_UNLIKELY(table->file != NULL))
		return -EROFS;
	work(table);
	if (TARE_UNLIKELY(table_is_aside(key)))
		return put_aside(table, key, value, replace);
	for (bool room = false;;) {
		const struct table_phase *phase = table_phase(table);
		uint64_t hash = tare_table_hash(phase->seed, key);
		const struct table_map *map = table_map_of(phase, hash);
		struct table_slot slot = table_probe(map, hash, key);
		if (slot.at != TABLE_WIDTH) {
			if (!replace)
				return -EEXIST;
			atomic_store_explicit(&slot.line->values[slot.at], value, memory_order_release);
			return 0;
		}
		int rc = room ? 0 : index_table_make_room(table);
		room = true;
		if (rc == 0 && phase != table_phase(table))
			continue; // the key has another place now
		if (rc == 0 && table_place(map, slot.line, hash, key, value)) {
			count_add(table, 1);
			return 0;
		}
		if (rc == 0)
			rc = index_table_rebuild(table);
		if (rc < 0)
			return rc;
	}
}

int tare_table_put(struct tare_table *table, uint64_t key, uint64_t value)
{
	return put(table, key, value, true);
}

int tare_table_add(struct tare_table *table, uint64_t key, uint64_t value)
{
	return put(table, key, value, false);
}

// From the lines behind: a key that belongs in this line or before.
static bool find_mover(const struct table_map *map, const uint64_t seed[2], const struct tare_table_line *to,
		       struct table_slot *ret)
{
	uint64_t home_max = (uint64_t)(to - map->lines);
	for (uint64_t line = home_max; table_is_over(map, line) && line < home_max + map->reach;) {
		line++;
		for (unsigned at = TABLE_WIDTH; at-- > 0;) {
			uint64_t key = table_key(&map->lines[line], at);
			if (key != 0 && table_home(map, tare_table_hash(seed, key)) <= home_max) {
				*ret = (struct table_slot){&map->lines[line], at};
				return true;
			}
		}
	}
	return false;
}

// After a removal: of these lines, some may have nothing behind them any more. In this order, so that find_mover never
// goes by a bit that was cleared too early.
static void clear_over(const struct table_map *map, const uint64_t seed[2], uint64_t from, uint64_t to)
{
	struct table_slot any;
	for (; from < to; from++)
		if (!find_mover(map, seed, &map->lines[from], &any))
			table_over_set(map, from, false);
}

// The copy first, then the mark; what becomes of the place it came from is the next step's.
static void move(struct tare_table *table, const uint64_t seed[2], struct table_slot to, struct table_slot from)
{
	uint64_t key = table_key(from.line, from.at);
	table_fill(to, key, table_value(from.line, from.at));
	table_mark_bump(table, tare_table_hash(seed, key));
}

void index_table_vacate(struct tare_table *table, const struct table_map *map, const uint64_t seed[2],
			struct table_slot slot)
{
	uint64_t hash = tare_table_hash(seed, table_key(slot.line, slot.at));
	// release: a reader that sees the raised mark sees that the key is gone.
	atomic_store_explicit(&slot.line->keys[slot.at], TABLE_GONE, memory_order_release);
	table_mark_bump(table, hash);
	struct table_slot from;
	for (; find_mover(map, seed, slot.line, &from); slot = from)
		move(table, seed, slot, from);
	uint64_t last = (uint64_t)(slot.line - map->lines);
	// Nothing behind needs this line full any more: its last key closes the gap.
	from = (struct table_slot){slot.line, TABLE_WIDTH - 1};
	while (table_key(from.line, from.at) == 0)
		from.at--;
	if (from.at != slot.at)
		move(table, seed, slot, from);
	table_fill(from, 0, 0); // the value too, for files
	clear_over(map, seed, table_home(map, hash), last);
}

bool tare_table_remove(struct tare_table *table, uint64_t key, uint64_t *ret_value)
{
	TARE_ASSERT(table->file == NULL);
	work(table);
	uint64_t value;
	if (!tare_table_get(table, key, &value))
		return false;
	if (table_is_aside(key)) {
		atomic_fetch_add_explicit(&table->aside[key & 1].turns, 1, memory_order_release);
	} else {
		const struct table_phase *phase = table_phase(table);
		uint64_t hash = tare_table_hash(phase->seed, key);
		const struct table_map *map = table_map_of(phase, hash);
		index_table_vacate(table, map, phase->seed, table_probe(map, hash, key));
	}
	count_add(table, UINT64_MAX);
	if (ret_value != NULL)
		*ret_value = value;
	return true;
}

int tare_table_reserve(struct tare_table *table, uint64_t keys)
{
	if (table->file != NULL)
		return -EROFS;
	if (keys > TABLE_KEYS_MAX)
		return -ERANGE;
	int rc = index_table_finish(table);
	uint64_t homes = index_table_homes_for(keys, table->load_percent);
	if (rc == 0 && homes > table_phase(table)->main.homes)
		rc = index_table_grow_to(table, homes);
	return rc;
}

// ---- walking ------------------------------------------------------------------------------------------------------

// Places in order: key 0 and key -1, main from what was copied on, next. A key that was copied is not in main any more.
bool tare_table_next(const struct tare_table *table, struct tare_table_cursor *cursor, uint64_t *ret_key,
		     uint64_t *ret_value)
{
	const struct table_phase *phase = table_phase(table);
	const struct table_map *maps[] = {&phase->main, &phase->next};
	for (; cursor->at < ASIDES; cursor->at++)
		if (get_aside(table, -cursor->at, ret_value)) {
			*ret_key = -cursor->at++;
			return true;
		}
	uint64_t first = ASIDES, copied = table_growing(table) ? table->copied * TABLE_WIDTH : 0;
	cursor->at = TARE_MAX(cursor->at, first + copied);
	for (size_t i = 0; i < TARE_ARRAY_LEN(maps) && maps[i]->lines != NULL; i++) {
		uint64_t end = first + table_lines(maps[i]) * TABLE_WIDTH;
		while (cursor->at < end) {
			uint64_t slot = cursor->at++ - first;
			const struct tare_table_line *line = &maps[i]->lines[slot / TABLE_WIDTH];
			uint64_t key = table_key(line, slot % TABLE_WIDTH);
			if (key == 0)
				continue;
			*ret_key = key;
			*ret_value = table_value(line, slot % TABLE_WIDTH);
			return true;
		}
		first = end;
	}
	return false;
}

// ---- reporting ----------------------------------------------------------------------------------------------------

static void count_map(const struct table_map *map, const struct table_phase *phase, uint64_t from,
		      struct tare_table_stats *stats, uint64_t *probes)
{
	uint64_t run = 0;
	for (uint64_t line = from; line < table_lines(map); line++) {
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			uint64_t key = table_key(&map->lines[line], at);
			if (key == 0)
				break;
			uint64_t read = line - table_home(map, tare_table_hash(phase->seed, key)) + 1;
			stats->probe_max = TARE_MAX(stats->probe_max, read);
			*probes += read;
		}
		run = table_full(&map->lines[line]) ? run + 1 : 0;
		stats->full_max = TARE_MAX(stats->full_max, run);
	}
	stats->slots += map->homes * TABLE_WIDTH;
	stats->bytes += table_bytes(map);
}

void tare_table_stats_get(const struct tare_table *table, struct tare_table_stats *ret)
{
	const struct table_phase *phase = table_phase(table);
	struct tare_table_stats stats = {
	    .keys = tare_table_count(table),
	    .growths = table->growths,
	    .rebuilds = table->rebuilds,
	    .growing = table_growing(table),
	    .mapped = table->file != NULL,
	};
	uint64_t probes = 0;
	for (size_t i = 0; i < ASIDES; i++)
		probes += table_aside_taken(&table->aside[i]);
	uint64_t in_slots = stats.keys - probes;
	count_map(&phase->main, phase, stats.growing ? table->copied : 0, &stats, &probes);
	if (stats.growing)
		count_map(&phase->next, phase, 0, &stats, &probes);
	stats.bytes += index_table_left_behind(table);
	stats.load_factor = (double)in_slots / (double)stats.slots;
	stats.probe_mean = stats.keys > 0 ? (double)probes / (double)stats.keys : 0;
	*ret = stats;
}
