// SPDX-License-Identifier: MIT
//
// Reservoirs: a stack of free buffers a class, all of them cut beforehand from a pool a class.
//
// Invariants
//   1. A buffer is taken or in its class's stack; taken + stacked == count.
//   2. The pools cut exactly count objects, and keep none: the stock is the bound.
//
// Threads: any; a class is under a spinlock of its own.
// Rejected: taking from the pools each time. What a pool holds in one thread's cache is not to be had by another, so a
// take could be refused while buffers are free, and who waited for a semaphore's unit could wait for ever.
// Under AddressSanitizer a buffer in the stack is poisoned.
#include <tare/heap.h>
#include <tare/pool.h>
#include <tare/reservoir.h>

#include "mem/poison.h"

#include <errno.h>
#include <stdio.h>

static struct tare_tag heap_tag = TARE_TAG("reservoirs");

enum { NAME_BYTES = 64 };

struct class
{
	alignas(TARE_CACHE_LINE) struct tare_spin spin; // guards free_count, free's places and the counts
	unsigned count, free_count;
	unsigned taken_max;
	size_t bytes;
	void **free;
	uint64_t takes, spills;
	atomic_ullong refused; // relaxed
	struct tare_pool *pool;
	char name[NAME_BYTES];
};

struct tare_reservoir {
	const char *name;
	void **places; // of all the stacks
	unsigned class_count;
	bool spill;
	struct class classes[];
};

unsigned tare_reservoir_plan(struct tare_reservoir_class classes[TARE_RESERVOIR_CLASSES_MAX], size_t bytes_min,
			     size_t bytes_max, uint64_t bytes_total)
{
	TARE_ASSERT(bytes_min > 0 && bytes_min <= bytes_max && bytes_max <= SIZE_MAX / 4);
	unsigned count = 0;
	size_t bytes = 1;
	while (bytes < bytes_min)
		bytes *= 2;
	for (;; bytes *= 2) {
		if (count == TARE_RESERVOIR_CLASSES_MAX)
			return 0;
		classes[count++].bytes = bytes;
		if (bytes >= bytes_max)
			break;
	}
	// The largest first: what its share does not divide into is the others'.
	for (unsigned i = count; i-- > 0;) {
		uint64_t fit = TARE_MAX(bytes_total / (i + 1) / classes[i].bytes, UINT64_C(1));
		classes[i].count = (unsigned)TARE_MIN(fit, (uint64_t)UINT32_MAX);
		if (classes[i].count * (uint64_t)classes[i].bytes > bytes_total)
			return 0;
		bytes_total -= classes[i].count * (uint64_t)classes[i].bytes;
	}
	return count;
}

// The class's whole stock, out of a pool of its own.
static int class_fill(struct class *class, size_t alignment)
{
	int rc = tare_pool_new(&class->pool, &(struct tare_pool_options){.name = class->name,
									 .object_bytes = class->bytes,
									 .alignment = alignment,
									 .limit = class->count});
	if (rc < 0)
		return rc;
	while (class->free_count < class->count) {
		void *ptr = tare_pool_take(class->pool);
		if (ptr == NULL)
			return -ENOMEM;
		mem_poison(ptr, class->bytes);
		class->free[class->count - ++class->free_count] = ptr; // the first cut is taken first
	}
	return 0;
}

int tare_reservoir_new(struct tare_reservoir **ret, const struct tare_reservoir_options *options)
{
	unsigned count = options->class_count;
	uint64_t buffers = 0;
	TARE_ASSERT(count >= 1 && count <= TARE_RESERVOIR_CLASSES_MAX);
	for (unsigned i = 0; i < count; i++) {
		TARE_ASSERT(options->classes[i].bytes > 0 && options->classes[i].count > 0);
		TARE_ASSERT(i == 0 || options->classes[i - 1].bytes < options->classes[i].bytes);
		buffers += options->classes[i].count;
	}
	size_t bytes = sizeof(struct tare_reservoir) + count * sizeof(struct class);
	struct tare_reservoir *reservoir = tare_alloc_aligned(&heap_tag, TARE_CACHE_LINE, bytes);
	if (reservoir == NULL)
		return -ENOMEM;
	memset(reservoir, 0, bytes);
	reservoir->name = options->name;
	reservoir->spill = options->spill;
	reservoir->class_count = count;
	reservoir->places = tare_alloc_zeroed(&heap_tag, buffers, sizeof *reservoir->places);
	int rc = reservoir->places != NULL ? 0 : -ENOMEM;
	void **places = reservoir->places;
	for (unsigned i = 0; i < count && rc == 0; i++) {
		struct class *class = &reservoir->classes[i];
		class->bytes = options->classes[i].bytes;
		class->count = options->classes[i].count;
		class->free = places;
		places += class->count;
		snprintf(class->name, sizeof class->name, "%s/%zu", options->name, class->bytes);
		rc = class_fill(class, options->alignment != 0 ? options->alignment : TARE_CACHE_LINE);
	}
	if (rc < 0) {
		tare_reservoir_free(reservoir);
		return rc;
	}
	*ret = reservoir;
	return 0;
}

void tare_reservoir_free(struct tare_reservoir *reservoir)
{
	if (reservoir == NULL)
		return;
	for (unsigned i = 0; i < reservoir->class_count; i++) {
		struct class *class = &reservoir->classes[i];
		for (unsigned k = 0; k < class->count; k++)
			if (class->free[k] != NULL)
				mem_unpoison(class->free[k], class->bytes);
		tare_pool_free(class->pool);
	}
	tare_free(reservoir->places);
	tare_free(reservoir);
}

static void *class_take(struct class *class, bool spilled)
{
	void *ptr = NULL;
	tare_spin_lock(&class->spin);
	if (class->free_count > 0) {
		ptr = class->free[--class->free_count];
		class->takes++;
		class->spills += spilled;
		class->taken_max = TARE_MAX(class->taken_max, class->count - class->free_count);
	}
	tare_spin_unlock(&class->spin);
	return ptr;
}

struct tare_buffer tare_reservoir_take(struct tare_reservoir *reservoir, size_t bytes)
{
	unsigned wanted = 0;
	while (wanted < reservoir->class_count && reservoir->classes[wanted].bytes < bytes)
		wanted++;
	for (unsigned i = wanted; i < reservoir->class_count; i++) {
		struct class *class = &reservoir->classes[i];
		void *ptr = class_take(class, i > wanted);
		if (ptr != NULL) {
			mem_unpoison(ptr, class->bytes);
			return (struct tare_buffer){ptr, class->bytes};
		}
		if (!reservoir->spill)
			break;
	}
	wanted = TARE_MIN(wanted, reservoir->class_count - 1);
	atomic_fetch_add_explicit(&reservoir->classes[wanted].refused, 1, memory_order_relaxed);
	return (struct tare_buffer){NULL, 0};
}

void tare_reservoir_give(struct tare_reservoir *reservoir, struct tare_buffer buffer)
{
	if (buffer.ptr == NULL)
		return;
	unsigned i = 0;
	while (i < reservoir->class_count && reservoir->classes[i].bytes != buffer.bytes)
		i++;
	TARE_ASSERT(i < reservoir->class_count && !mem_is_poisoned(buffer.ptr));
	struct class *class = &reservoir->classes[i];
	mem_poison(buffer.ptr, class->bytes);
	tare_spin_lock(&class->spin);
	TARE_ASSERT(class->free_count < class->count);
	class->free[class->free_count++] = buffer.ptr;
	tare_spin_unlock(&class->spin);
}

size_t tare_reservoir_stats_read(const struct tare_reservoir *reservoir, struct tare_reservoir_stats *ret, size_t max)
{
	for (size_t i = 0; i < TARE_MIN(reservoir->class_count, max); i++) {
		struct class *class = (struct class *)&reservoir->classes[i]; // for its lock alone
		tare_spin_lock(&class->spin);
		ret[i] = (struct tare_reservoir_stats){
		    .bytes = class->bytes,
		    .count = class->count,
		    .taken = class->count - class->free_count,
		    .taken_max = class->taken_max,
		    .takes = class->takes,
		    .spills = class->spills,
		};
		tare_spin_unlock(&class->spin);
		ret[i].refused = atomic_load_explicit(&class->refused, memory_order_relaxed);
	}
	return reservoir->class_count;
}

const char *tare_reservoir_name(const struct tare_reservoir *reservoir)
{
	return reservoir->name;
}

uint64_t tare_reservoir_bytes(const struct tare_reservoir *reservoir)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < reservoir->class_count; i++)
		bytes += (uint64_t)reservoir->classes[i].bytes * reservoir->classes[i].count;
	return bytes;
}
