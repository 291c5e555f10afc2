// SPDX-License-Identifier: MIT
// What the rows of several groups share: the runtime that some run in, and the index whose records they work on.
#ifndef BENCH_NPA_ROWS_H
#define BENCH_NPA_ROWS_H

#include "cmd/svc/svc.h"

#include <tare/npa.h>

TARE_NORETURN void rows_die(const char *what, int rc);
static inline void must(int rc, const char *what)
{
	if (TARE_UNLIKELY(rc < 0))
		rows_die(what, rc);
}

// .within of rows that are a task's: a runtime with one worker.
void rows_in_task(void (*fn)(void *arg), void *arg);

// Made once and kept: 1 MiB of records. .prepare of the rows that use what is below.
void rows_index(void);
enum { ROWS_KEYS = 4096 };
extern struct tare_index *rows_index_made;
extern struct tare_record_view rows_view;    // the 42nd record's
extern uint64_t rows_keys[ROWS_KEYS];        // that are there, in no order
extern uint64_t rows_absent_keys[ROWS_KEYS]; // that are not
extern char rows_out[1 << 16];

// tables.c: the keys of all tables, none 0; those that are asked for, in no order. rows_table_make draws them.
enum { ROWS_TABLE_KEYS = 8000, ROWS_TABLE_ASKED = 32768 }; // more than a branch predictor learns by heart
void rows_table_make(void);
extern uint64_t rows_table_keys[ROWS_TABLE_KEYS], rows_table_here[ROWS_TABLE_ASKED],
    rows_table_absent[ROWS_TABLE_ASKED];

#endif
