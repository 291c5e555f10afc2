// SPDX-License-Identifier: MIT
// A cgroup's CPU quota, apart from the cgroup that this process is in.
#ifndef TARE_BASE_CPU_INT_H
#define TARE_BASE_CPU_INT_H

// CPUs' worth of time that a file like cpu.max grants ("150000 100000": 1.5). 0: no quota, or it can't be read.
double base_cpu_quota_of(const char *path);

#endif
