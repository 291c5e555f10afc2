// SPDX-License-Identifier: MIT
// The memory limit's decisions, apart from the process they are about.
#ifndef TARE_MEM_INT_H
#define TARE_MEM_INT_H

#include <tare/limit.h>

enum tare_pressure mem_limit_next_state(enum tare_pressure now, uint64_t used, uint64_t limit);
// Whether the heap lies so far below its peak that giving memory back is worth its cost.
bool mem_limit_spike_is_over(uint64_t live, uint64_t peak);
// How long to wait before memory is reclaimed again: longer and longer while that gives nothing.
int64_t mem_limit_next_pause(int64_t pause_ns, uint64_t released, uint64_t used);
// The least memory.max from the process's cgroup to the root; UINT64_MAX: none. list: /proc/self/cgroup.
uint64_t mem_limit_of_cgroup(const char *list, const char *root);

#endif
