// SPDX-License-Identifier: MIT
// Memory that nobody may touch for now, as AddressSanitizer is told; nothing elsewhere.
//
// Both ends on 8 bytes, but for what is unpoisoned: its end may be anywhere, and what follows up to 8 stays poisoned.
#ifndef TARE_MEM_POISON_H
#define TARE_MEM_POISON_H

#include <tare/base.h>

#ifdef TARE_ASAN
#include <sanitizer/asan_interface.h>

enum { MEM_REDZONE = 16 }; // between two blocks of an arena

static inline void mem_poison(const void *ptr, size_t bytes)
{
	__asan_poison_memory_region(ptr, bytes);
}

static inline void mem_unpoison(const void *ptr, size_t bytes)
{
	__asan_unpoison_memory_region(ptr, bytes);
}

static inline bool mem_is_poisoned(const void *ptr)
{
	return __asan_address_is_poisoned(ptr) != 0;
}
#else
enum { MEM_REDZONE = 0 };

static inline void mem_poison(const void *ptr, size_t bytes)
{
	(void)ptr;
	(void)bytes;
}

static inline void mem_unpoison(const void *ptr, size_t bytes)
{
	(void)ptr;
	(void)bytes;
}

static inline bool mem_is_poisoned(const void *ptr)
{
	(void)ptr;
	return false;
}
#endif

#endif
