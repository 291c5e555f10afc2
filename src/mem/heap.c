// SPDX-License-Identifier: MIT
// Counted heap calls: libc's allocator behind sharded counters.
//
// Threads: any. Sizes come from malloc_usable_size, so that no header is needed and a block can be freed by size alone.
#include <tare/mem.h>
#include <tare/stat.h>

#include <malloc.h>
#include <stdlib.h>

static struct tare_counter allocs, frees, bytes_allocated, bytes_freed;

static _Thread_local uint64_t calls_here;

TARE_NOIPA uint64_t tare_heap_calls_here(void)
{
	return calls_here;
}

TARE_NOIPA static void count_here(void)
{
	calls_here++;
}

static void *count_alloc(void *ptr)
{
	if (TARE_LIKELY(ptr != NULL)) {
		count_here();
		tare_counter_add(&allocs, 1);
		tare_counter_add(&bytes_allocated, (long long)malloc_usable_size(ptr));
	}
	return ptr;
}

void *tare_alloc(size_t bytes)
{
	return count_alloc(malloc(bytes));
}

void *tare_alloc_zeroed(size_t count, size_t bytes)
{
	return count_alloc(calloc(count, bytes));
}

void *tare_alloc_aligned(size_t alignment, size_t bytes)
{
	void *ptr = NULL;
	if (posix_memalign(&ptr, TARE_MAX(alignment, sizeof(void *)), bytes) != 0)
		return NULL;
	return count_alloc(ptr);
}

void *tare_realloc(void *ptr, size_t bytes)
{
	size_t before = ptr != NULL ? malloc_usable_size(ptr) : 0;
	void *moved = realloc(ptr, bytes);
	if (moved == NULL)
		return NULL;
	if (ptr != NULL) {
		tare_counter_add(&frees, 1);
		tare_counter_add(&bytes_freed, (long long)before);
	}
	return count_alloc(moved);
}

void tare_free(void *ptr)
{
	if (ptr == NULL)
		return;
	tare_counter_add(&frees, 1);
	tare_counter_add(&bytes_freed, (long long)malloc_usable_size(ptr));
	free(ptr);
}

char *tare_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = tare_alloc(bytes);
	return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

void tare_heap_stats_read(struct tare_heap_stats *ret)
{
	long long freed = tare_counter_read(&bytes_freed);
	long long allocated = tare_counter_read(&bytes_allocated);
	*ret = (struct tare_heap_stats){
	    .frees = (uint64_t)tare_counter_read(&frees),
	    .allocs = (uint64_t)tare_counter_read(&allocs),
	    .bytes_total = (uint64_t)allocated,
	    .bytes_live = (uint64_t)(allocated - freed),
	};
}
