// SPDX-License-Identifier: MIT
// How a table grows without stopping anybody, how it changes its secrets, and how what it leaves behind goes back to
// the system. The states are drawn in table_int.h.
//
// A growth copies whole rows of full lines, up to one that is not full, and then moves `split` past them: until then
// they are looked up in main, from then on in next, and what was copied stays in main as it was. So a reader that
// looked at `split` before finds there what was true when it looked.
//
// What was main is given back in pieces, one a write, by MADV_DONTNEED: unmapping a gigabyte at once would take
// milliseconds. Where readers may still look at it, its addresses stay reserved until the table is freed: a late
// reader finds zeros there, or what was there before, and then sees that another phase is in force and begins anew
// (table.c has the argument). So there is nothing to register with, no epoch and no count of readers. The addresses of
// all earlier maps together are fewer than those of the one in use.
//
// Rejected: freeing when all readers have passed (hazard pointers, epochs: a store and a fence a lookup, or a
// registration a thread); growing in another thread (the writer and that thread would both write); growing by more than
// twice (fewer growths, three quarters of the memory unused).
//
// Threads: the writer's. Ownership: the table owns its changes, they the maps that are no longer in use.
#include "index/table_int.h"

#include <tare/heap.h>

#include <errno.h>
#include <sys/mman.h>

static struct tare_tag heap_tag = TARE_TAG("table");

// What a write gives back at most: some 10 µs with pages of 4 KiB, and one huge page, which must not be cut.
enum { PIECE_BYTES = 256 << 10, PIECE_BYTES_HUGE = 2 << 20 };
enum { REBUILDS_AT_ONE_SIZE = 2 };

void index_table_publish(struct tare_table *table, struct table_phase *phase)
{
	table->view = (struct tare_table_view){.lines = phase->main.lines,
					       .over = phase->main.over,
					       .seed = {phase->seed[0], phase->seed[1]},
					       .shift = phase->main.shift,
					       .growing = phase->next.lines != NULL};
	// release: pairs with the acquire in tare_table_read
	atomic_store_explicit(&table->phase, phase, memory_order_release);
}

static uint64_t count_of(const struct tare_table *table)
{
	return atomic_load_explicit(&table->count, memory_order_relaxed);
}

static void phase_set(struct table_phase *phase, const struct table_phase *like, const struct table_map *main_map,
		      const struct table_map *next_map)
{
	phase->main = *main_map;
	phase->next = next_map != NULL ? *next_map : (struct table_map){0};
	atomic_init(&phase->split, 0);
	memcpy(phase->seed, like->seed, sizeof phase->seed);
}

static void change_append(struct tare_table *table, struct table_change *change)
{
	if (table->last != NULL)
		table->last->next = change;
	else
		table->changes = change;
	table->last = change;
	if (table->giving == NULL)
		table->giving = change;
}

static struct table_change *change_new(void)
{
	struct table_change *change = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, sizeof *change);
	if (change != NULL)
		memset(change, 0, sizeof *change);
	return change;
}

// ---- giving back --------------------------------------------------------------------------------------------------

// One piece of what is left behind. False: there is nothing now.
static bool give_back_piece(struct tare_table *table)
{
	struct table_change *change = table->giving;
	if (change == NULL)
		return false;
	struct table_map *map = &change->old[change->giving];
	if (map->lines == NULL) {
		if (change == table->last && table_growing(table))
			return false; // its map is still in use
		if (++change->giving == TARE_ARRAY_LEN(change->old))
			table->giving = change->next;
		return true;
	}
	size_t bytes = table_bytes(map), piece = table->huge_pages ? PIECE_BYTES_HUGE : PIECE_BYTES;
	if (map->memory == TABLE_PAGES && change->given_back < bytes) {
		char *from = (char *)map->lines + change->given_back;
		piece -= (uintptr_t)from % piece; // up to where a huge page begins
		// Which fails for locked pages: then they stay until the table is freed.
		(void)madvise(from, TARE_MIN(piece, bytes - change->given_back), MADV_DONTNEED);
		change->given_back += piece;
		return true;
	}
	change->given_back = 0;
	if (!table->readers)
		index_table_map_free(map);
	if (++change->giving == TARE_ARRAY_LEN(change->old))
		table->giving = change->next;
	return true;
}

uint64_t index_table_left_behind(const struct tare_table *table)
{
	uint64_t bytes = 0;
	for (const struct table_change *change = table->changes; change != NULL; change = change->next)
		for (unsigned i = 0; i < TARE_ARRAY_LEN(change->old); i++)
			if (change->old[i].lines != NULL && change->old[i].memory == TABLE_HEAP)
				bytes += table_bytes(&change->old[i]);
	unsigned giving = table->giving != NULL ? table->giving->giving : 0;
	for (const struct table_change *change = table->giving; change != NULL; change = change->next, giving = 0)
		for (unsigned i = giving; i < TARE_ARRAY_LEN(change->old); i++) {
			const struct table_map *map = &change->old[i];
			if (map->lines != NULL && map->memory == TABLE_PAGES)
				bytes +=
				    table_bytes(map) - TARE_MIN(table_bytes(map), i == giving ? change->given_back : 0);
		}
	return bytes;
}

void index_table_changes_free(struct tare_table *table)
{
	for (struct table_change *change = table->changes, *next; change != NULL; change = next) {
		next = change->next;
		for (size_t i = 0; i < TARE_ARRAY_LEN(change->old); i++)
			index_table_map_free(&change->old[i]);
		tare_free(change);
	}
}

// ---- growing ------------------------------------------------------------------------------------------------------

static int grow_begin(struct tare_table *table, uint64_t homes)
{
	struct table_phase *phase = table_phase(table);
	TARE_ASSERT(!table_growing(table) && homes > phase->main.homes);
	struct table_map next;
	struct table_change *change = change_new();
	if (change == NULL || !index_table_map_make(&next, homes, table->huge_pages)) {
		tare_free(change);
		return -ENOMEM;
	}
	phase_set(&change->during, phase, &phase->main, &next);
	phase_set(&change->after, phase, &next, NULL);
	change_append(table, change);
	table->copied = 0;
	table->grow_at = index_table_keys_at_load(homes, table->load_percent);
	table->growths++;
	index_table_publish(table, &change->during);
	return 0;
}

static void grow_end(struct tare_table *table)
{
	struct table_change *change = table->last;
	index_table_publish(table, &change->after);
	change->old[0] = change->during.main;
}

// The keys in main's lines [from, to), which next must not have: they are looked up in main.
static void uncopy(struct tare_table *table, struct table_phase *phase, uint64_t from, uint64_t to)
{
	for (uint64_t line = from; line < to; line++)
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			uint64_t key = table_key(&phase->main.lines[line], at),
				 hash = tare_table_hash(phase->seed, key);
			struct table_slot slot = table_probe(&phase->next, hash, key);
			if (key != 0 && slot.at != TABLE_WIDTH)
				index_table_vacate(table, &phase->next, phase->seed, slot);
		}
}

// False: not all of the line found a place.
static bool copy_line(const struct table_phase *phase, const struct tare_table_line *line)
{
	for (unsigned at = 0; at < TABLE_WIDTH; at++) {
		uint64_t key = table_key(line, at);
		if (key == 0)
			break;
		if (!index_table_copy(&phase->next, tare_table_hash(phase->seed, key), key, table_value(line, at)))
			return false;
	}
	return true;
}

// Copies so many lines of main, and on to the next that is not full. Cost: some 10 ns a key. -ENOMEM: a key found no
// place, and there is no memory for a rebuild; nothing has changed.
static int grow_step(struct tare_table *table, uint64_t lines)
{
	struct table_phase *phase = table_phase(table);
	uint64_t end = table_lines(&phase->main), at = table->copied, stop = at + TARE_MIN(lines, end - at);
	for (bool full = false; at < end && (at < stop || full); at++) {
		const struct tare_table_line *line = &phase->main.lines[at];
		full = table_full(line);
		if (!copy_line(phase, line)) {
			uncopy(table, phase, table->copied, at + 1);
			return index_table_rebuild(table);
		}
	}
	table->copied = at;
	if (at >= phase->main.homes) // and the line before is not full: the overhang behind holds nothing
		grow_end(table);
	else
		// release: pairs with the acquire in table_map_of; the copies come first.
		atomic_store_explicit(&phase->split, at << phase->main.shift, memory_order_release);
	return 0;
}

int index_table_finish(struct tare_table *table)
{
	int rc = 0;
	while (rc == 0 && table_growing(table))
		rc = grow_step(table, UINT64_MAX);
	while (rc == 0 && give_back_piece(table))
		;
	return rc;
}

int index_table_grow_to(struct tare_table *table, uint64_t homes)
{
	int rc = grow_begin(table, homes);
	return rc == 0 ? index_table_finish(table) : rc;
}

void index_table_work(struct tare_table *table)
{
	if (table_growing(table))
		(void)grow_step(table, TABLE_STEP_LINES); // without memory the next write tries again
	else
		(void)give_back_piece(table);
}

int index_table_make_room(struct tare_table *table)
{
	uint64_t keys = count_of(table);
	if (TARE_LIKELY(keys < table->grow_at))
		return 0;
	int rc = table_growing(table) ? index_table_finish(table) : 0;
	uint64_t homes = table_phase(table)->main.homes;
	if (keys >= TABLE_KEYS_MAX)
		return -ENOMEM;
	if (rc == 0 && keys < index_table_keys_at_load(homes, table->load_percent))
		return 0;
	if (rc == 0)
		rc = grow_begin(table, TARE_MAX(homes * 2, index_table_homes_for(keys + 1, table->load_percent)));
	// Without memory it goes on, slower, to thirteen sixteenths.
	return rc < 0 && keys < homes * TABLE_WIDTH / 16 * 13 ? 0 : rc;
}

// ---- new secrets --------------------------------------------------------------------------------------------------

static bool copy_all(const struct table_phase *phase, const struct table_map *map, uint64_t from, bool below_split,
		     const struct table_phase *after)
{
	uint64_t split = atomic_load_explicit(&phase->split, memory_order_relaxed);
	for (uint64_t line = from; line < table_lines(map); line++)
		for (unsigned at = 0; at < TABLE_WIDTH; at++) {
			uint64_t key = table_key(&map->lines[line], at);
			if (key == 0 || (below_split && tare_table_hash(phase->seed, key) >= split))
				continue;
			if (!index_table_copy(&after->main, tare_table_hash(after->seed, key), key,
					      table_value(&map->lines[line], at)))
				return false;
		}
	return true;
}

static bool fill_anew(const struct tare_table *table, const struct table_phase *phase, const struct table_phase *after)
{
	uint64_t from = phase->next.lines != NULL ? table->copied : 0;
	return copy_all(phase, &phase->main, from, false, after) &&
	       (phase->next.lines == NULL || copy_all(phase, &phase->next, 0, true, after));
}

int index_table_rebuild(struct tare_table *table)
{
	struct table_phase *phase = table_phase(table);
	uint64_t homes = index_table_homes_for(count_of(table) + 1, table->load_percent);
	homes = TARE_MAX(homes, phase->next.lines != NULL ? phase->next.homes : phase->main.homes);
	struct table_change *change = change_new();
	if (change == NULL)
		return -ENOMEM;
	struct table_phase *after = &change->after;
	for (int tries = 1;; tries++) {
		if (!index_table_map_make(&after->main, homes, table->huge_pages)) {
			tare_free(change);
			return -ENOMEM;
		}
		index_table_seed_draw(after->seed, 0);
		if (fill_anew(table, phase, after))
			break;
		// Against all odds; a larger table makes it likelier still.
		index_table_map_free(&after->main);
		if (tries % REBUILDS_AT_ONE_SIZE == 0)
			homes *= 2;
	}
	change_append(table, change);
	table->grow_at = index_table_keys_at_load(homes, table->load_percent);
	table->rebuilds++;
	index_table_publish(table, after);
	change->old[0] = phase->main;
	change->old[1] = phase->next;
	return 0;
}
