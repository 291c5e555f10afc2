// SPDX-License-Identifier: MIT
// What heap.c asks of heap_sample.c: where memory is allocated, seen by samples.
#ifndef TARE_BASE_HEAP_SAMPLE_H
#define TARE_BASE_HEAP_SAMPLE_H

#include <tare/base.h>

// The block of so many bytes took the thread's countdown below zero. Where it was counted, for base_heap_sample_freed;
// 0: it is no sample. Sets the countdown anew. tag: its number. The caller is the heap's function that the program
// called.
uint32_t base_heap_sample(int64_t *countdown, size_t bytes, uint32_t tag);
void base_heap_sample_freed(uint32_t site, size_t bytes);

// Of heap.c, for the names of tags.
const char *base_heap_tag_name(uint32_t tag);

#endif
