// SPDX-License-Identifier: MIT
//
// base: what every room stands on. Errors, asserts, clock, random, atomics, intrusive list, CPU topology.
//
// Conventions that hold in all of Tare:
//   - A function that can fail returns int: 0, or a negative errno. Outputs are `ret_*`, written only on success.
//   - Times are nanoseconds of CLOCK_MONOTONIC in int64_t; a deadline is an absolute time; TARE_NEVER waits for ever.
//   - Nothing here blocks, and nothing allocates.
#ifndef TARE_BASE_H
#define TARE_BASE_H

#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

// The version of these headers; pkg-config tells that of the library. NUMBER grows with every release: 0.1.0 is 100,
// and 1.2.3 is 10203.
#define TARE_VERSION "0.1.0"
#define TARE_VERSION_MAJOR 0
#define TARE_VERSION_MINOR 1
#define TARE_VERSION_PATCH 0
#define TARE_VERSION_NUMBER (TARE_VERSION_MAJOR * 10000 + TARE_VERSION_MINOR * 100 + TARE_VERSION_PATCH)

#define TARE_MUST_USE __attribute__((warn_unused_result))
#define TARE_NORETURN __attribute__((noreturn))
#define TARE_PRINTF(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))
#define TARE_LIKELY(x) __builtin_expect(!!(x), 1)
#define TARE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TARE_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TARE_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
// Each evaluates one of its arguments twice: no calls in them that do something.
#define TARE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TARE_MAX(a, b) ((a) > (b) ? (a) : (b))

// Not inlined, not cloned, and not merged with an equal call before it: what a thread-local accessor must be
// (docs/decisions.md).
#if defined(__clang__)
#define TARE_NOIPA __attribute__((noinline, optnone))
#else
#define TARE_NOIPA __attribute__((noipa))
#endif

// What says where it was called from: inlined, it would name its caller's caller.
#define TARE_NOINLINE __attribute__((noinline))
#define TARE_INLINE __attribute__((always_inline)) inline
// For looks at what others own, which ThreadSanitizer would rightly call races; say there why they do no harm.
#define TARE_NO_TSAN __attribute__((no_sanitize("thread"), noinline))

#define TARE_CACHE_LINE 64

#if defined(__SANITIZE_ADDRESS__)
#define TARE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TARE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TARE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TARE_TSAN 1
#endif
#endif

// ---- asserts ------------------------------------------------------------------------------------------------------

// A broken precondition of the caller's is a bug, not an operating error: TARE_ASSERT says where and aborts, in release
// too. TARE_DEBUG_ASSERT is for what costs more than a compare; it is on where TARE_DEBUG is defined.
TARE_NORETURN void tare_assert_failed(const char *file, int line, const char *condition);
#define TARE_ASSERT(condition) (TARE_LIKELY(condition) ? (void)0 : tare_assert_failed(__FILE__, __LINE__, #condition))
#ifdef TARE_DEBUG
#define TARE_DEBUG_ASSERT(condition) TARE_ASSERT(condition)
#else
#define TARE_DEBUG_ASSERT(condition) ((void)sizeof(condition))
#endif

// ---- errors -------------------------------------------------------------------------------------------------------

// One line of text that goes with a negative errno: what, where, and what to do about it. The caller's storage.
struct tare_error {
	char text[512];
};

// Formats into err (which may be NULL) and returns code, so that a function can end in `return tare_error_set(err,
// -EINVAL, …)`.
int tare_error_set(struct tare_error *err, int code, const char *format, ...) TARE_PRINTF(3, 4);

// ---- slices -------------------------------------------------------------------------------------------------------

// Bytes that someone else owns; not NUL-terminated.
struct tare_str {
	const char *ptr;
	size_t len;
};

#define TARE_STR(literal) ((struct tare_str){"" literal, sizeof(literal) - 1})

// Byte by byte.
static inline bool tare_str_eq(struct tare_str a, struct tare_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

// "64M", "2GiB", "1500": digits and an optional K, M, G or T (powers of 1,024; "B" and "iB" may follow).
// -EINVAL for any other text, -ERANGE past UINT64_MAX.
TARE_MUST_USE int tare_parse_size(const char *text, uint64_t *ret_bytes);
// "250ms", "10s", "1m30s" is not: one number, with an optional fraction, and one of ns, us, ms, s, m, h. A bare number
// is seconds.
TARE_MUST_USE int tare_parse_duration(const char *text, int64_t *ret_ns);
// Decimal digits only. -EINVAL, -ERANGE.
TARE_MUST_USE int tare_parse_u64(struct tare_str text, uint64_t *ret_value);
// Writes v in decimal at out and returns the number of digits; no NUL. out has room for 20 bytes (21 with a sign), and
// any of them may be written.
size_t tare_format_u64(char *out, uint64_t v);
size_t tare_format_i64(char *out, int64_t v);
// What a digit of base64 in RFC 4648's standard alphabet (A-Z a-z 0-9 + /) stands for, 0 to 63; -1: c is none, '='
// neither.
int tare_base64_digit(int32_t c);

// ---- clock --------------------------------------------------------------------------------------------------------

#define TARE_NEVER INT64_MAX
#define TARE_NS_PER_US INT64_C(1000)
#define TARE_NS_PER_MS INT64_C(1000000)
#define TARE_NS_PER_S INT64_C(1000000000)

// CLOCK_MONOTONIC. About 22 ns on a VM. Code that runs in tasks asks tare_now_ns of <tare/rt.h>, which a simulation can
// replace.
int64_t tare_clock_ns(void);
// A time so much later, or TARE_NEVER where that would overflow.
static inline int64_t tare_time_after(int64_t from_ns, int64_t ns)
{
	int64_t at_ns;
	return __builtin_add_overflow(from_ns, ns, &at_ns) ? TARE_NEVER : at_ns;
}

// ---- random -------------------------------------------------------------------------------------------------------

// xoshiro256**; not for secrets. One owner; never shared between threads.
struct tare_rng {
	uint64_t s[4];
};

// Any seed is good, 0 too. The same seed gives the same numbers everywhere.
void tare_rng_init(struct tare_rng *rng, uint64_t seed);
uint64_t tare_rng_next(struct tare_rng *rng);
// Uniform in [0, bound); bound > 0.
uint64_t tare_rng_below(struct tare_rng *rng, uint64_t bound);
// Uniform in (0, 1].
double tare_rng_unit(struct tare_rng *rng);

// ---- intrusive list -----------------------------------------------------------------------------------------------

// Circular and doubly linked; the head is a node of its own. Not thread-safe: whoever owns the head says what guards
// it.
struct tare_list {
	struct tare_list *next, *prev;
};

// A head, or a node that is in no list: linked to itself.
static inline void tare_list_init(struct tare_list *head)
{
	head->next = head->prev = head;
}

static inline bool tare_list_empty(const struct tare_list *head)
{
	return head->next == head;
}

static inline void tare_list_push_back(struct tare_list *head, struct tare_list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

// The node may be removed again: it is left linked to itself.
static inline void tare_list_remove(struct tare_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	tare_list_init(node);
}

// NULL when the list is empty. TARE_CONTAINER_OF leads from the node to what it is embedded in.
static inline struct tare_list *tare_list_pop_front(struct tare_list *head)
{
	struct tare_list *node = head->next;
	if (node == head)
		return NULL;
	tare_list_remove(node);
	return node;
}

// ---- alone --------------------------------------------------------------------------------------------------------

// A runtime with one worker, in a process of one thread, needs no locked instruction: between tare_alone_enter, which
// says true there, and tare_alone_leave nobody else runs. It ends for good when a second thread first comes to a
// primitive: that thread takes the right away, and waits (some nanoseconds) until the worker is not between the two; so
// do all that come meanwhile. Elsewhere tare_alone_enter says false. In between: a few plain loads and stores, no
// calls, no switches.
//
//   worker                                      second thread (tare_alone_end)        third
//   inside = true                               on = ENDING                           on? not 0: waits until it is
//   (compiler barrier)                          membarrier: a full barrier on
//                                                 the worker's CPU too
//   on == 1? yes: go ahead … inside = false     until (!inside)
//                                               on = 0
enum { TARE_ALONE_ENDING = 2 };
struct tare_alone {
	atomic_uchar on;    // 1: some thread may be alone; ENDING: it may not be told yet; 0: none is
	atomic_bool inside; // and is between enter and leave
};
extern struct tare_alone tare_alone;
extern _Thread_local bool tare_alone_thread __attribute__((tls_model("initial-exec"))); // it is this one

// For the runtime. begin: false where the kernel or the process does not allow it.
bool tare_alone_begin(void);
void tare_alone_end(void);

#if defined(TARE_TSAN) || !defined(__x86_64__)
// ThreadSanitizer knows no membarrier; on aarch64 the address of a thread-local may be kept across a task switch.
static inline bool tare_alone_enter(void)
{
	return false;
}
#else
static inline bool tare_alone_enter(void)
{
	if (!tare_alone_thread) {
		// acquire: pairs with the release of the 0 in tare_alone_end
		if (TARE_UNLIKELY(atomic_load_explicit(&tare_alone.on, memory_order_acquire) != 0))
			tare_alone_end();
		return false;
	}
	atomic_store_explicit(&tare_alone.inside, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (TARE_LIKELY(atomic_load_explicit(&tare_alone.on, memory_order_relaxed) == 1))
		return true;
	atomic_store_explicit(&tare_alone.inside, false, memory_order_release);
	return false;
}
#endif

static inline void tare_alone_leave(void)
{
	atomic_store_explicit(&tare_alone.inside, false, memory_order_release); // pairs with tare_alone_end's acquire
}

// Compare and swap: false leaves what was found in *expected. Both orders are acq_rel.
#define TARE_CAS(word, expected, desired)                                                                              \
	__extension__({                                                                                                \
		__typeof__(word) tare_word = (word);                                                                   \
		__typeof__(expected) tare_expected = (expected);                                                       \
		bool tare_swapped;                                                                                     \
		if (tare_alone_enter()) {                                                                              \
			__typeof__(*tare_expected) tare_found = atomic_load_explicit(tare_word, memory_order_relaxed); \
			tare_swapped = tare_found == *tare_expected;                                                   \
			if (tare_swapped)                                                                              \
				atomic_store_explicit(tare_word, (desired), memory_order_relaxed);                     \
			tare_alone_leave();                                                                            \
			*tare_expected = tare_found;                                                                   \
		} else {                                                                                               \
			tare_swapped = atomic_compare_exchange_strong_explicit(                                        \
			    tare_word, tare_expected, (desired), memory_order_acq_rel, memory_order_acquire);          \
		}                                                                                                      \
		tare_swapped;                                                                                          \
	})

// ---- spinlock -----------------------------------------------------------------------------------------------------

// For a few instructions that never block, never switch tasks and never call out. It yields the CPU after a short spin,
// because on two cores the holder may be the thread that is not running.
struct tare_spin {
	atomic_uint held;
};

// The slow part of tare_spin_lock.
void tare_spin_wait(struct tare_spin *spin);

static inline void tare_spin_lock(struct tare_spin *spin)
{
	if (tare_alone_enter()) {
		bool free = atomic_load_explicit(&spin->held, memory_order_relaxed) == 0;
		if (TARE_LIKELY(free))
			atomic_store_explicit(&spin->held, 1, memory_order_relaxed);
		tare_alone_leave();
		if (TARE_LIKELY(free))
			return;
	}
	// acquire: pairs with the release in tare_spin_unlock
	if (TARE_UNLIKELY(atomic_exchange_explicit(&spin->held, 1, memory_order_acquire)))
		tare_spin_wait(spin);
}

static inline void tare_spin_unlock(struct tare_spin *spin)
{
	atomic_store_explicit(&spin->held, 0, memory_order_release);
}

// For loops that wait for another thread: lets the processor's other thread go first.
static inline void tare_cpu_relax(void)
{
#if defined(TARE_SIM) // a simulation of the threads: src/rt/sim.c
	if (tare_sim_hook != NULL)
		tare_sim_hook(true);
#elif defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

// ---- counters of one writer ---------------------------------------------------------------------------------------

// A counter that one thread writes and any reads: a plain load and store, no locked instruction.
static inline void tare_bump(atomic_ullong *counter, unsigned long long n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

// ---- small files --------------------------------------------------------------------------------------------------

// The beginning of a file, at most cap - 1 bytes of it, with a NUL behind: of /proc and /sys, where a read is all there
// is. How many bytes, or a negative errno of open or read, and then buf is empty. cap is at least 1 (asserted). No heap
// call. It blocks the thread, as reading any file does: a real one belongs on a spare thread (<tare/block.h>).
TARE_MUST_USE ssize_t tare_proc_read(const char *path, char *buf, size_t cap);

// ---- CPU topology and threads -------------------------------------------------------------------------------------

// CPUs this process may use: its affinity mask, lowered by a cgroup v2 CPU quota (rounded up). At least 1.
int tare_cpu_count(void);
// A cgroup v2 CPU quota, in CPUs: 1.5 is one and a half. 0: there is none. Reads a file of /sys.
double tare_cpu_quota(void);

// Address space that the process may take (ulimit -v), used or not; UINT64_MAX: no limit.
uint64_t tare_address_space(void);

// A small number that is this thread's own for as long as it lives: 0, 1, 2, …; given back when the thread ends, and
// never TARE_SHARD_MAX or more (past that, threads share the last). Sharded counters and caches are indexed by it. It
// must be read anew after every point where a task may have moved to another thread.
#define TARE_SHARD_MAX 128
unsigned tare_shard(void);
// The same without a call, plus 1; 0: not asked yet. Only for functions that are never inlined into a task's: there a
// thread-local's address may be kept across a switch. A simulation's threads are told apart by tare_shard alone.
extern _Thread_local unsigned tare_shard_plus_1 __attribute__((tls_model("initial-exec")));
// For the pools: fn is called on each thread that ends, before its number is given back, which it may have kept
// something of. There is one such function; to say so again is cheap.
void tare_shard_on_end(void (*fn)(void));

#endif
