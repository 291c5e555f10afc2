// SPDX-License-Identifier: MIT
//
// mem: all that Tare has for memory, in one header: the counted heap (<tare/heap.h>), object pools (<tare/pool.h>),
// arenas (<tare/arena.h>), reservoirs of buffers (<tare/reservoir.h>), and the limit of the process's memory
// (<tare/limit.h>).
#ifndef TARE_MEM_H
#define TARE_MEM_H

#include <tare/arena.h>
#include <tare/heap.h>
#include <tare/limit.h>
#include <tare/pool.h>
#include <tare/reservoir.h>

#endif
