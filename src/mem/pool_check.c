// SPDX-License-Identifier: MIT
//
// Misuse of pools: what is found, and what is said of it before the process aborts.
//
// Always: a second release, a release to another pool, a pointer that is no object's. Where POOL_CHECKED, besides: a
// free object is filled with POISON, which whoever still reads it sees, and what was written into it shows when it is
// taken next, when its memory goes, or when the pool does; the message says where it was taken and released last. With
// a reset its contents are kept aside meanwhile; without one the next owner sees the poison, so that nobody relies on
// what an earlier one left. Under AddressSanitizer the touch itself is reported, and on_error adds the pool's part.
// Stable pools' objects are left as they are: a stale pointer may look at them.
//
// Threads: an object's trail and bytes are its owner's, in the depot those of whoever holds the lock.
#include "mem/pool_int.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef TARE_ASAN
#include <sanitizer/asan_interface.h>
#endif

enum { POISON = 0xdb };

// ---- words --------------------------------------------------------------------------------------------------------

static void say_place(const char *what, const void *pc)
{
	Dl_info info;
	if (pc == NULL)
		return;
	if (dladdr(pc, &info) == 0 || info.dli_fname == NULL) {
		fprintf(stderr, "  %-15s %p\n", what, pc);
		return;
	}
	// The call, not what is after it.
	fprintf(stderr, "  %-15s %s+0x%" PRIxPTR "\n", what, info.dli_fname,
		(uintptr_t)pc - 1 - (uintptr_t)info.dli_fbase);
}

static void say_trail(const struct tare_pool *pool, uint64_t index)
{
	if (!POOL_CHECKED) {
		fprintf(stderr, "  (a debug build says where it was taken and released)\n");
		return;
	}
	say_place("taken at", pool->trails[index].taken_by);
	say_place("released at", pool->trails[index].given_by);
}

TARE_NORETURN static void say_end(void)
{
	if (POOL_CHECKED)
		fprintf(stderr, "  ('addr2line -fie FILE OFFSET' tells the lines)\n");
	abort();
}

static void say_object(const struct tare_pool *pool, uint64_t index, const char *what)
{
	fprintf(stderr, "tare: pool '%s': object %p (number %" PRIu64 ", %zu bytes) %s\n", pool->options.name,
		mem_pool_object(pool, index), index, pool->options.object_bytes, what);
}

uintptr_t mem_pool_overflow_tag(const struct mem_pool_overflow *head)
{
	return ((uintptr_t)head ^ (uintptr_t)&mem_pool_overflow_tag) * (uintptr_t)UINT64_C(0x9e3779b97f4a7c15);
}

void mem_pool_misused(const struct tare_pool *pool, const void *object, void *caller)
{
	const struct tare_pool *owner = mem_pool_owner_of(object);
	uint64_t index = owner != NULL ? mem_pool_index(owner, object) : 0;
	if (owner == NULL || index >= atomic_load_explicit(&owner->made, memory_order_acquire)) {
		fprintf(stderr,
			"tare: pool '%s': %p is no pool's object; or it came from the heap past the limit and was "
			"released before\n",
			pool->options.name, object);
		say_place("released at", caller);
		say_end();
	}
	if (owner != pool) {
		fprintf(stderr,
			"tare: pool '%s': object %p was released to it, but is of pool '%s' (number %" PRIu64
			", %zu bytes)\n",
			pool->options.name, object, owner->options.name, index, owner->options.object_bytes);
	} else if (object != mem_pool_object(pool, index)) {
		fprintf(stderr, "tare: pool '%s': %p was released, which is byte %td of object %p\n",
			pool->options.name, object, (const char *)object - (char *)mem_pool_object(pool, index),
			mem_pool_object(pool, index));
	} else {
		say_object(pool, index, "was released twice");
	}
	say_trail(owner, index);
	say_place(owner == pool ? "and again at" : "to this one at", caller);
	say_end();
}

#if POOL_CHECKED
// ---- poison -------------------------------------------------------------------------------------------------------

static void asan_close(const void *object, size_t bytes)
{
#ifdef TARE_ASAN
	__asan_poison_memory_region(object, bytes);
#else
	(void)object, (void)bytes;
#endif
}

static void asan_open(const void *object, size_t bytes)
{
#ifdef TARE_ASAN
	__asan_unpoison_memory_region(object, bytes);
#else
	(void)object, (void)bytes;
#endif
}

TARE_NORETURN static void say_written(const struct tare_pool *pool, uint64_t index, size_t at, void *caller)
{
	char what[96];
	const unsigned char *bytes = mem_pool_object(pool, index);
	snprintf(what, sizeof what, "was written to after its release: byte %zu is 0x%02x", at, bytes[at]);
	say_object(pool, index, what);
	say_trail(pool, index);
	say_place("found at", caller);
	say_end();
}

// That nobody wrote since it was given.
static void look_for_writes(struct tare_pool *pool, uint64_t index, void *caller)
{
	const unsigned char *bytes = mem_pool_object(pool, index);
	size_t count = pool->options.object_bytes, at = 0;
	asan_open(bytes, count);
	if (bytes[0] == POISON && memcmp(bytes, bytes + 1, count - 1) == 0)
		return;
	while (bytes[at] == POISON)
		at++;
	say_written(pool, index, at, caller);
}

void mem_pool_check_made(struct tare_pool *pool, uint64_t index)
{
	char *object = mem_pool_object(pool, index);
	size_t bytes = pool->options.object_bytes;
	pool->trails[index] = (struct mem_pool_trail){0};
	asan_close(object, pool->stride);
	if (pool->options.stable)
		asan_open(object, bytes);
}

void mem_pool_check_open(struct tare_pool *pool, uint64_t index)
{
	asan_open(mem_pool_object(pool, index), pool->options.object_bytes);
}

void mem_pool_check_taken(struct tare_pool *pool, uint64_t index, void *caller)
{
	struct mem_pool_trail *trail = &pool->trails[index];
	TARE_ASSERT(!mem_pool_taken(pool, index));
	mem_pool_check_open(pool, index);
	if (trail->poisoned) {
		look_for_writes(pool, index, caller);
		if (pool->copies != NULL)
			memcpy(mem_pool_object(pool, index), pool->copies + index * pool->stride,
			       pool->options.object_bytes);
		trail->poisoned = false;
	}
	trail->taken_by = caller;
}

void mem_pool_check_given(struct tare_pool *pool, uint64_t index, void *caller)
{
	void *object = mem_pool_object(pool, index);
	size_t bytes = pool->options.object_bytes;
	pool->trails[index].given_by = caller;
	if (pool->options.stable)
		return;
	if (pool->copies != NULL)
		memcpy(pool->copies + index * pool->stride, object, bytes);
	memset(object, POISON, bytes);
	pool->trails[index].poisoned = true;
	asan_close(object, bytes);
}

void mem_pool_check_free(struct tare_pool *pool, uint64_t index)
{
	if (!pool->trails[index].poisoned)
		return;
	look_for_writes(pool, index, NULL);
	pool->trails[index].poisoned = false;
	asan_close(mem_pool_object(pool, index), pool->options.object_bytes);
}

void mem_pool_check_done(struct tare_pool *pool)
{
	uint64_t made = atomic_load_explicit(&pool->made, memory_order_relaxed);
	for (uint64_t i = 0; i < made; i++)
		if (!mem_pool_taken(pool, i))
			mem_pool_check_free(pool, i);
	asan_open(pool->base, made * pool->stride);
}
#endif

#ifdef TARE_ASAN
// AddressSanitizer calls it before it reports. Weak: the program may have its own.
void __asan_on_error(void);
__attribute__((weak, visibility("default"), no_sanitize("address"))) void __asan_on_error(void)
{
	const void *at = __asan_get_report_address();
	const struct tare_pool *pool = at != NULL ? mem_pool_owner_of(at) : NULL;
	uint64_t index = pool != NULL ? mem_pool_index(pool, at) : 0;
	if (pool == NULL || index >= atomic_load_explicit(&pool->made, memory_order_acquire))
		return;
	bool taken = mem_pool_taken(pool, index);
	say_object(pool, index, taken ? "is taken; past its end was touched" : "was touched after its release");
	say_trail(pool, index);
}
#endif
