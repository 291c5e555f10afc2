// SPDX-License-Identifier: MIT
//
// What arenas report: each to its owner, and those without a parent to anyone, by name.
//
// Invariants
//   1. An arena without a parent is in one list, that of its name in the shard of the thread that made it, from its
//      making to its end.
//   2. What only grows in a row (resets, heap calls, refusals) never shrinks: an arena that ends leaves its counts
//      there.
//
// Threads: a shard is under a spinlock of its own, so that threads which make and free arenas all the time do not meet.
// Names are only ever added. A reader looks into arenas that others use at that moment. What it reads is relaxed
// atomics, but for the words of the current block, which the inline part of a taking writes plainly: they are read as
// they come, compared, and never followed.
#include "mem/arena.h"

enum { KINDS_MAX = 64, SHARDS = 16 };

static const char others[] = "(others)";

static struct tare_spin names_spin; // held to add one
static const char *names[KINDS_MAX];
static atomic_uint kind_count; // release: pairs with who reads the names

static struct shard {
	alignas(TARE_CACHE_LINE) struct tare_spin spin; // guards the rest; nothing is locked under it
	struct {
		struct tare_list arenas; // head; zero before the first
		uint64_t count;
		struct tare_arena_stats gone; // of those that ended
	} of[KINDS_MAX];
} shards[SHARDS];

TARE_NO_TSAN uint64_t mem_arena_used(const struct arena *arena)
{
	const volatile struct arena *look = arena;
	uintptr_t start = (uintptr_t)look->start, at = (uintptr_t)look->face.at;
	uint64_t full = look->full_bytes + look->large_bytes;
	uint64_t most = atomic_load_explicit(&arena->reserved, memory_order_relaxed) + look->options.block_bytes;
	return TARE_MIN(full + (at > start ? at - start : 0), most);
}

static unsigned kind_find(const char *name, unsigned count)
{
	unsigned i = 0;
	while (i < count && names[i] != name && strcmp(names[i], name) != 0)
		i++;
	return i;
}

static unsigned kind_of(const char *name)
{
	unsigned count = atomic_load_explicit(&kind_count, memory_order_acquire);
	unsigned kind = kind_find(name, count);
	if (TARE_LIKELY(kind < count))
		return kind;
	tare_spin_lock(&names_spin);
	count = atomic_load_explicit(&kind_count, memory_order_relaxed);
	kind = TARE_MIN(kind_find(name, count), (unsigned)KINDS_MAX - 1);
	if (kind == count) {
		names[kind] = kind == KINDS_MAX - 1 ? others : name;
		atomic_store_explicit(&kind_count, count + 1, memory_order_release);
	}
	tare_spin_unlock(&names_spin);
	return kind;
}

static void add(struct tare_arena_stats *sum, const struct tare_arena_stats *stats)
{
	sum->used += stats->used;
	sum->used_max = TARE_MAX(sum->used_max, stats->used_max);
	sum->reserved += stats->reserved;
	sum->reserved_max = TARE_MAX(sum->reserved_max, stats->reserved_max);
	sum->blocks += stats->blocks;
	sum->resets += stats->resets;
	sum->heap_allocs += stats->heap_allocs;
	sum->refused_memory += stats->refused_memory;
	sum->refused_limit += stats->refused_limit;
}

static void look_at(const struct arena *arena, struct tare_arena_stats *ret)
{
	uint64_t used = mem_arena_used(arena);
	uint64_t used_max = atomic_load_explicit(&arena->used_max, memory_order_relaxed);
	*ret = (struct tare_arena_stats){
	    .used = used,
	    .used_max = TARE_MAX(used, used_max),
	    .reserved = atomic_load_explicit(&arena->reserved, memory_order_relaxed),
	    .reserved_max = atomic_load_explicit(&arena->reserved_max, memory_order_relaxed),
	    .blocks = atomic_load_explicit(&arena->blocks, memory_order_relaxed),
	    .resets = atomic_load_explicit(&arena->resets, memory_order_relaxed),
	    .heap_allocs = atomic_load_explicit(&arena->heap_allocs, memory_order_relaxed),
	    .refused_memory = atomic_load_explicit(&arena->refused_memory, memory_order_relaxed),
	    .refused_limit = atomic_load_explicit(&arena->refused_limit, memory_order_relaxed),
	};
}

void mem_arena_list(struct arena *arena)
{
	arena->kind = kind_of(arena->options.name);
	arena->shard = tare_shard() % SHARDS;
	struct shard *shard = &shards[arena->shard];
	struct tare_list *head = &shard->of[arena->kind].arenas;
	tare_spin_lock(&shard->spin);
	if (head->next == NULL)
		tare_list_init(head);
	tare_list_push_back(head, &arena->link);
	shard->of[arena->kind].count++;
	tare_spin_unlock(&shard->spin);
}

void mem_arena_unlist(struct arena *arena)
{
	struct tare_arena_stats stats;
	look_at(arena, &stats);
	// What was the most stays too; what is held goes.
	stats.used = stats.reserved = stats.blocks = 0;
	struct shard *shard = &shards[arena->shard];
	tare_spin_lock(&shard->spin);
	tare_list_remove(&arena->link);
	shard->of[arena->kind].count--;
	add(&shard->of[arena->kind].gone, &stats);
	tare_spin_unlock(&shard->spin);
}

void tare_arena_stats_read(struct tare_arena *face, struct tare_arena_stats *ret)
{
	look_at(TARE_CONTAINER_OF(face, struct arena, face), ret);
}

static void shard_add(struct shard *shard, unsigned kind, struct tare_arena_row *row)
{
	tare_spin_lock(&shard->spin);
	const struct tare_list *head = &shard->of[kind].arenas;
	row->arenas += shard->of[kind].count;
	add(&row->stats, &shard->of[kind].gone);
	for (const struct tare_list *node = head->next; node != NULL && node != head; node = node->next) {
		struct tare_arena_stats stats;
		look_at(TARE_CONTAINER_OF(node, struct arena, link), &stats);
		add(&row->stats, &stats);
	}
	tare_spin_unlock(&shard->spin);
}

size_t tare_arenas_read(struct tare_arena_row *rows, size_t max)
{
	unsigned count = atomic_load_explicit(&kind_count, memory_order_acquire);
	for (unsigned i = 0; i < count && i < max; i++) {
		rows[i] = (struct tare_arena_row){.name = names[i]};
		for (unsigned k = 0; k < SHARDS; k++)
			shard_add(&shards[k], i, &rows[i]);
	}
	return count;
}
