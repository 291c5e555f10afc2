// SPDX-License-Identifier: MIT
//
// mem: object pools. They are <tare/pool.h>, and the counted heap below them is <tare/heap.h>; both come with this header.
#ifndef TARE_MEM_H
#define TARE_MEM_H

#include <tare/base.h>
#include <tare/heap.h>
#include <tare/pool.h>

#endif
