// SPDX-License-Identifier: MIT
//
// Static tracepoints (USDT): places where bpftrace, perf or systemtap may look in. Each is one no-op instruction and a
// note in the file until somebody does. Any room may include this. docs/bpftrace/ has scripts.
//
//   accept  (descriptor)                     a connection was accepted
//   read    (descriptor, bytes)              bytes came; 0: the peer's end
//   write   (descriptor, bytes)              bytes went
//   park    (task, reason)                   a task waits; reason as in tare_reason_name
//   wake    (task)                           a task that waited may run again
//   run     (task, worker)                   a task is about to run
//   handler_start (exchange)                 an HTTP request's handler is about to be called
//   handler_end   (exchange, status)         it has returned
//
// A task is told by its address: one that ended and another that began may have the same. Without <sys/sdt.h>
// (systemtap-sdt-dev) there are none.
#ifndef TARE_BASE_PROBE_H
#define TARE_BASE_PROBE_H

#if __has_include(<sys/sdt.h>) && !defined(TARE_SIM)
#include <sys/sdt.h>
#define TARE_PROBE1(name, a) DTRACE_PROBE1(tare, name, a)
#define TARE_PROBE2(name, a, b) DTRACE_PROBE2(tare, name, a, b)
#else
#define TARE_PROBE1(name, a) ((void)(a))
#define TARE_PROBE2(name, a, b) ((void)(a), (void)(b))
#endif

#endif
