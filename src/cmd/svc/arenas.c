// SPDX-License-Identifier: MIT
// Arenas in /debug/allocs and /metrics, by name.
//
// Threads: any worker. Rows are on the stack, some 6 KiB.
#include "cmd/svc/svc.h"

#include <tare/arena.h>

#include <inttypes.h>
#include <stdio.h>

enum { ROWS_MAX = 64 }; // there are no more names

static void write_row(struct tare_text *text, const struct tare_arena_row *row)
{
	const struct tare_arena_stats *stats = &row->stats;
	tare_text_printf(text, "{\"name\":");
	svc_json_write_string(text, row->name);
	tare_text_printf(text,
			 ",\"arenas\":%" PRIu64 ",\"used\":%" PRIu64 ",\"used_max\":%" PRIu64 ",\"reserved\":%" PRIu64
			 ",\"reserved_max\":%" PRIu64 ",\"blocks\":%" PRIu64,
			 row->arenas, stats->used, stats->used_max, stats->reserved, stats->reserved_max,
			 stats->blocks);
	tare_text_printf(text,
			 ",\"resets\":%" PRIu64 ",\"heap_allocs\":%" PRIu64 ",\"refused_memory\":%" PRIu64
			 ",\"refused_limit\":%" PRIu64 "}",
			 stats->resets, stats->heap_allocs, stats->refused_memory, stats->refused_limit);
}

static size_t read_rows(struct tare_arena_row rows[ROWS_MAX])
{
	return TARE_MIN(tare_arenas_read(rows, ROWS_MAX), (size_t)ROWS_MAX);
}

void svc_arenas_write(struct tare_text *text)
{
	struct tare_arena_row rows[ROWS_MAX];
	size_t count = read_rows(rows);
	tare_text_printf(text, "[");
	for (size_t i = 0; i < count; i++) {
		tare_text_printf(text, "%s", i == 0 ? "" : ",");
		write_row(text, &rows[i]);
	}
	tare_text_printf(text, "]");
}

// ---- /metrics -----------------------------------------------------------------------------------------------------

// A row a name: the field of struct tare_arena_row whose place is arg.
static void each_row(void *arg, struct tare_rows *rows)
{
	struct tare_arena_row arenas[ROWS_MAX];
	size_t count = read_rows(arenas);
	for (size_t i = 0; i < count; i++)
		tare_rows_put(rows, "arena", arenas[i].name, svc_field_read(&arenas[i], arg));
}

int svc_arenas_register(struct tare_registry *registry)
{
	static const struct svc_field fields[] = {
	    {"tare_arenas", "Arenas, by name.", offsetof(struct tare_arena_row, arenas), false},
	    {"tare_arena_used_bytes", "Bytes taken from arenas.", offsetof(struct tare_arena_row, stats.used), false},
	    {"tare_arena_used_bytes_max", "The most taken from one arena between two resets.",
	     offsetof(struct tare_arena_row, stats.used_max), false},
	    {"tare_arena_reserved_bytes", "Bytes that arenas have from the heap.",
	     offsetof(struct tare_arena_row, stats.reserved), false},
	    {"tare_arena_resets_total", "Resets of arenas.", offsetof(struct tare_arena_row, stats.resets), true},
	    {"tare_arena_heap_allocs_total", "Heap calls of arenas.",
	     offsetof(struct tare_arena_row, stats.heap_allocs), true},
	    {"tare_arena_refused_memory_total", "Takings that the heap refused.",
	     offsetof(struct tare_arena_row, stats.refused_memory), true},
	    {"tare_arena_refused_limit_total", "Takings that an arena's limit refused.",
	     offsetof(struct tare_arena_row, stats.refused_limit), true},
	};
	return svc_rows_register(registry, fields, TARE_ARRAY_LEN(fields), each_row);
}
