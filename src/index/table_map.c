// SPDX-License-Identifier: MIT
// One map of slots: its memory, its size for a number of keys, placing a key, and the secrets.
//
// Small maps are the heap's, so that a table of a few keys does not take whole pages; large ones are the system's,
// which brings them zeroed when they are first touched, so that making one costs nothing in proportion to its size.
// Threads: no state. Ownership: a map is the phase's or the change's that holds it.
#include "index/table_int.h"

#include <tare/heap.h>

#include <sys/mman.h>
#include <sys/random.h>

static struct tare_tag heap_tag = TARE_TAG("table");

#if defined(TARE_SIM) || defined(TARE_HARD)
// Every map is the system's, so that a reader in one that was given back finds zeros.
enum { HEAP_BYTES_MAX = 0, HUGE_PAGE = 2 << 20 };
#else
enum { HEAP_BYTES_MAX = 64 << 10, HUGE_PAGE = 2 << 20 };
#endif

uint64_t index_table_keys_at_load(uint64_t homes, unsigned load_percent)
{
	uint64_t slots = homes * TABLE_WIDTH;
	return slots / 100 * load_percent + slots % 100 * load_percent / 100;
}

uint64_t index_table_homes_for(uint64_t keys, unsigned load_percent)
{
	TARE_ASSERT(keys <= TABLE_KEYS_MAX);
	uint64_t homes = TABLE_HOMES_MIN;
	while (index_table_keys_at_load(homes, load_percent) < keys)
		homes *= 2;
	return homes;
}

bool index_table_map_make(struct table_map *ret, uint64_t homes, bool huge_pages)
{
	struct table_map map = {
	    .homes = homes,
	    .shift = 64 - (unsigned)__builtin_ctzll(homes),
	    .reach = TARE_MIN(homes, (uint64_t)TABLE_REACH_MAX),
	};
	size_t bytes = table_bytes(&map);
	map.memory = bytes <= HEAP_BYTES_MAX ? TABLE_HEAP : TABLE_PAGES;
	void *base = map.memory == TABLE_HEAP ? tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, bytes)
					      : tare_pages(&heap_tag, bytes);
	if (base == NULL)
		return false;
	table_map_place(&map, base);
	if (map.memory == TABLE_HEAP)
		memset(map.lines, 0, bytes);
	else if (huge_pages && bytes >= HUGE_PAGE)
		(void)madvise(map.lines, bytes, MADV_HUGEPAGE); // only speed depends on it
	*ret = map;
	return true;
}

void index_table_map_free(struct table_map *map)
{
	if (map->lines != NULL && map->memory == TABLE_HEAP)
		tare_free(map->lines);
	else if (map->lines != NULL && map->memory == TABLE_PAGES)
		tare_pages_free(&heap_tag, map->lines, table_bytes(map));
	map->lines = NULL;
}

bool index_table_copy(const struct table_map *map, uint64_t hash, uint64_t key, uint64_t value)
{
	struct table_slot end = table_probe(map, hash, key);
	TARE_DEBUG_ASSERT(end.at == TABLE_WIDTH);
	return table_place(map, end.line, hash, key, value);
}

void index_table_seed_draw(uint64_t seed[2], uint64_t from)
{
#if defined(TARE_SIM)
	from = from != 0 ? from : UINT64_C(0x7461626c65); // a simulation repeats
#endif
	// A system without random numbers has at least a clock, and addresses that differ.
	if (from == 0 && getrandom(&from, sizeof from, 0) != sizeof from)
		from = (uint64_t)tare_clock_ns() ^ (uint64_t)(uintptr_t)&from << 20;
	struct tare_rng rng;
	tare_rng_init(&rng, from);
	seed[0] = tare_rng_next(&rng);
	seed[1] = tare_rng_next(&rng) | 1;
}
