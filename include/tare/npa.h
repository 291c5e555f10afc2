// SPDX-License-Identifier: MIT
//
// npa: nanoseconds per abstraction. A row is declared in C next to what it measures; `tare npa` runs rows, reports them
// and holds them to a baseline.
//
//   #include <tare/npa.h>
//   #include "queue.h"
//
//   static struct queue queue;
//
//   TARE_NPA(queue_push_pop, "The queue keeps producers off the consumer's cache line.", 12) {
//           queue_push(&queue, TARE_NPA_HIDE(i));
//           TARE_NPA_KEEP(queue_pop(&queue));
//   }
//
//   int main(int argc, char **argv)
//   {
//           return tare_npa_main(argc, argv);
//   }
//
//   $ gcc -O2 rows.c queue.c $(pkg-config --cflags --libs tare) -o rows && tare npa ./rows
//
// The braces are one operation. It becomes the body of a loop in a function of its own, and beside it stands a twin:
// the same loop around nothing. What a row costs is the difference, so the loop, the call and the timer are in no
// figure. docs/npa.md has the rest.
//
// Threads: rows run on one thread, one at a time. Ownership: rows are static, and nothing is copied.
#ifndef TARE_NPA_H
#define TARE_NPA_H

#include <tare/base.h>

// ---- rows ---------------------------------------------------------------------------------------------------------

// The first three are TARE_NPA's arguments; those below may follow them: TARE_NPA(name, why, budget, .per = 847) { … }.
struct tare_npa_row {
	const char *name;      // letters, digits and '_'; unique in the program
	const char *why;       // the justification: what the cost buys. Not empty
	double budget_ns;      // the mean it may take; > 0
	const char *group;     // of the report; NULL: the source file's name
	unsigned per;          // things that one operation does: every figure is divided by it. 0: 1
	uint64_t count;        // operations while instructions and system calls are counted; 0: 256
	void (*prepare)(void); // once, before the row first runs
	void (*finish)(void);  // once, after it last ran
	// Calls fn(arg) where the row wants to run: in a task, with a lock held. NULL: called as it is.
	void (*within)(void (*fn)(void *arg), void *arg);
	void (*evict)(void); // cold rows: calls tare_npa_flush for what the operation reads on the heap
	bool not_counted;    // its instructions depend on the moment (it spins, or races): they are told but not gated
	bool hidden;         // only run when it is named

	// The macro's.
	void (*body)(uint64_t first, uint64_t n);
	void (*twin)(uint64_t first, uint64_t n);
	const char *file, *compiler;
	int line;
	struct tare_npa_row *next;
};

// Neither inlined nor cloned nor merged with an equal function, and beginning on a cache line.
#if defined(__clang__)
#define TARE_NPA_FN __attribute__((noinline, aligned(64)))
#else
#define TARE_NPA_FN __attribute__((noipa, aligned(64)))
#endif

// TARE_NPA(name, justification, budget_ns, fields of struct tare_npa_row…) { one operation }
// In the braces `i` is the number of the operation, from 0 within each batch.
#define TARE_NPA(name_, why_, budget_ns_, ...) TARE_NPA_AFTER(name_, (void)0, why_, budget_ns_, ##__VA_ARGS__)

// The same, with a statement before each operation, in the twin too, so that it is in no figure: what puts the caches
// under pressure, say. It may use `i`. It should not take much longer than the operation: its noise stays.
#define TARE_NPA_AFTER(name_, before_, why_, budget_ns_, ...)                                                          \
	_Static_assert(sizeof(why_) > 1, "a row must say what its cost buys");                                         \
	static TARE_INLINE void tare_npa_##name_##_once(uint64_t i);                                                   \
	TARE_NPA_FN static void tare_npa_##name_##_body(uint64_t tare_first, uint64_t tare_n)                          \
	{                                                                                                              \
		for (uint64_t i = tare_first, tare_end = tare_first + tare_n; i < tare_end; i++) {                     \
			before_;                                                                                       \
			tare_npa_##name_##_once(i);                                                                    \
			__asm__ volatile("" ::: "memory");                                                             \
		}                                                                                                      \
	}                                                                                                              \
	TARE_NPA_FN static void tare_npa_##name_##_twin(uint64_t tare_first, uint64_t tare_n)                          \
	{                                                                                                              \
		for (uint64_t i = tare_first, tare_end = tare_first + tare_n; i < tare_end; i++) {                     \
			before_;                                                                                       \
			__asm__ volatile("" ::: "memory");                                                             \
		}                                                                                                      \
	}                                                                                                              \
	static struct tare_npa_row tare_npa_##name_##_row = {.name = #name_,                                           \
							     .why = why_,                                              \
							     .budget_ns = budget_ns_,                                  \
							     .body = tare_npa_##name_##_body,                          \
							     .twin = tare_npa_##name_##_twin,                          \
							     .file = __FILE__,                                         \
							     .compiler = TARE_NPA_COMPILER,                            \
							     .line = __LINE__,                                         \
							     ##__VA_ARGS__};                                           \
	__attribute__((constructor)) static void tare_npa_##name_##_register(void)                                     \
	{                                                                                                              \
		tare_npa_register(&tare_npa_##name_##_row);                                                            \
	}                                                                                                              \
	static TARE_INLINE void tare_npa_##name_##_once(__attribute__((unused)) uint64_t i)

#if defined(__clang__)
#define TARE_NPA_COMPILER __VERSION__
#else
#define TARE_NPA_COMPILER "gcc " __VERSION__
#endif

// The value, an integer or a pointer, as something that the compiler knows nothing of: what was computed from it can't
// be computed beforehand.
#define TARE_NPA_HIDE(value)                                                                                           \
	__extension__({                                                                                                \
		__auto_type tare_hidden = (value);                                                                     \
		__asm__ volatile("" : "+r"(tare_hidden));                                                              \
		tare_hidden;                                                                                           \
	})

// Uses an integer, a pointer or a double as far as the compiler can tell: its computation can't be left out.
#define TARE_NPA_KEEP(value)                                                                                           \
	do {                                                                                                           \
		__auto_type tare_kept = (value);                                                                       \
		__asm__ volatile("" : : "g"(tare_kept) : "memory");                                                    \
	} while (0)

// TARE_NPA's, before main.
void tare_npa_register(struct tare_npa_row *row);

// ---- what rows may call -------------------------------------------------------------------------------------------

// From a row's evict: takes these bytes out of every cache. Some nanoseconds a line.
void tare_npa_flush(const void *ptr, size_t bytes);

// ---- programs of rows ---------------------------------------------------------------------------------------------

// The main of a program of rows: answers what `tare npa PROGRAM` asks it, on standard output, in lines of JSON, and
// returns an exit code. Called from one thread, before others are started; the thread is pinned to the CPU that it is
// on.
int tare_npa_main(int argc, char **argv);

#endif
