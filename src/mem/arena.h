// SPDX-License-Identifier: MIT
// What the arena's files share: arena.c takes and gives back, arena_list.c counts and lists.
#ifndef TARE_MEM_ARENA_H
#define TARE_MEM_ARENA_H

#include <tare/arena.h>

//   struct arena        data of the first block               struct block   data
//   +------------------+--------------+-----------------+     +------------+------------------+
//   | face … | first   | taken        | free            |  -> | next …     | kept, unreached  | -> …
//   +------------------+--------------+-----------------+     +------------+------------------+
//                        start          face.at           face.end
struct block {
	struct block *next;
	size_t bytes;     // its head included
	uint64_t reached; // the window in which it was last the current one
	uint64_t unused;
};

// What has a block of its own.
struct large {
	struct large *next; // older
	uint64_t serial;
	size_t bytes; // of the heap's block
	char *data;
};

struct cleanup {
	struct cleanup *next; // older
	uint64_t serial;
	void (*fn)(void *arg);
	void *arg;
};

struct arena {
	struct tare_arena face; // first
	char *start;            // of the current block's data
	uint64_t full_bytes;    // taken of the blocks before it
	uint64_t large_bytes;
	struct block *block; // the current one; those before it are taken, those behind it unreached
	struct large *larges;
	struct cleanup *cleanups;
	struct arena *parent;
	struct tare_list children; // the oldest first
	struct tare_list link;     // of the parent's children; without one of arena_list.c's, guarded by its spinlock
	uint64_t serial;           // among its parent's children, cleanups and large blocks
	uint64_t last_serial;
	struct tare_arena_options options; // with no defaults left open
	size_t large_over;                 // what is larger than this has a block of its own
	size_t kept_bytes;                 // of the chain of blocks
	unsigned kind, shard;              // whose list it is in
	int error;
	bool settling; // its cleanups run

	// Written by the owner alone, read by any where it has no parent: relaxed.
	atomic_ullong used_max, reserved, reserved_max, blocks, resets, heap_allocs, refused_memory, refused_limit;

	char reserve[TARE_ARENA_RESERVE];
	alignas(TARE_ARENA_ALIGNMENT) struct block first; // last: its data follows
};

// Taken since the last reset. A look at another's arena is right for some moment, or no more than it has.
uint64_t mem_arena_used(const struct arena *arena);
// Of an arena without a parent.
void mem_arena_list(struct arena *arena);
void mem_arena_unlist(struct arena *arena);

#endif
