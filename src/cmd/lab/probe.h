// SPDX-License-Identifier: MIT
// Probes: experiments of the laboratory that need no service. `tare lab --probe NAME [KEY=VALUE]...` runs one in a
// process of its own, with the library's public interface alone, and prints one JSON object:
//
//   {"probe":"packing","figures":{"packed_bytes":64,…},"series":{"name":[[x,y],…]},"texts":{"name":"…"}}
//
// The same seed and keys make the same work; what is measured differs as machines do. A figure's name ends with its
// unit.
// Threads: a probe has the process to itself, and starts and ends a runtime if it needs one.
#ifndef TARE_CMD_LAB_PROBE_H
#define TARE_CMD_LAB_PROBE_H

#include "cmd/cmd.h"

#include <tare/base.h>
#include <tare/gc.h>

#include <sys/types.h>

struct json_t;

// What a probe's work is made of: a number, or a size such as 32M. Quick has a value of its own, for tests and
// `quick=1`.
struct lab_probe_key {
	const char *name, *help;
	bool size;
	uint64_t value, quick, min, max;
};
enum { LAB_PROBE_KEYS_MAX = 6, LAB_PROBE_AXES_MAX = 3 };

// What a series is plotted against, and what is plotted. `series` is what a series' name begins with, "" with all.
struct lab_probe_axes {
	const char *series;
	const char *x_name, *x_unit;
	bool x_log;
	const char *y_name, *y_unit;
	bool y_log;
};

struct lab_probe_args {
	const struct lab_probe *probe;
	uint64_t values[LAB_PROBE_KEYS_MAX]; // by the probe's keys
	bool quick;
};

struct lab_probe {
	const char *name, *about;
	// Puts figures, series and texts into out. A negative errno with a text: it could not be measured.
	int (*run)(const struct lab_probe_args *args, struct json_t *out, struct tare_error *err);
	struct lab_probe_key keys[LAB_PROBE_KEYS_MAX]; // up to one without a name
	// Of its series and those that Go's twin has under the same name; up to one without.
	struct lab_probe_axes axes[LAB_PROBE_AXES_MAX];
};

// All of them, by name.
extern const struct lab_probe *const lab_probes[];
extern const size_t lab_probe_count;
// NULL: there is none.
const struct lab_probe *lab_probe_find(const char *name);
// The first of the probe's axes whose name the series' begins with; NULL: there is no such probe, or it has no such
// series.
const struct lab_probe_axes *lab_probe_axes(const char *probe, const char *series);
// Reads "KEY=VALUE" texts over the defaults. -EINVAL with what is wrong and what to give.
TARE_MUST_USE int lab_probe_args_read(struct lab_probe_args *ret, const struct lab_probe *probe,
				      const char *const *texts, size_t count, struct tare_error *err);
// Runs it; *ret_out is the caller's (json_decref).
TARE_MUST_USE int lab_probe_run(const struct lab_probe_args *args, struct json_t **ret_out, struct tare_error *err);
// What `tare lab --probe NAME KEY=VALUE…` does: prints the result, or for the name "help" a list of the probes. An
// exit code.
int lab_probe_main(const char *name, const char *const *texts, size_t count);

// ---- for probes ---------------------------------------------------------------------------------------------------

// The key is one of the probe's (asserted).
uint64_t lab_probe_value(const struct lab_probe_args *args, const char *key);
// The name is formatted.
void lab_probe_figure(struct json_t *out, double value, const char *name, ...) TARE_PRINTF(3, 4);
void lab_probe_text(struct json_t *out, const char *name, const char *format, ...) TARE_PRINTF(3, 4);
// A point more of a series.
void lab_probe_point(struct json_t *out, const char *series, double x, double y);

// Runs fn(arg) as the first task of a runtime with so many workers. What fn returned, with err's text if that is
// negative.
TARE_MUST_USE int lab_probe_in_task(int workers, int (*fn)(void *arg), void *arg, struct tare_error *err);
// CPU time of this process, all threads: what the collector does beside the program is its price too, and who else
// runs on the machine is left out. Go's probes go by the same clock.
int64_t lab_probe_cpu_ns(void);
// Nanoseconds of one of work's n by that clock: the median of five repetitions of about so long.
double lab_probe_time(void (*work)(void *arg, uint64_t n), void *arg, int64_t repetition_ns);
// Sorts the values.
double lab_probe_median(double *values, size_t count);
// fork, from a process of one thread: the child ends when this process does, however that ends.
pid_t lab_probe_fork(void);

// What a mistake led to that a child made on purpose. All but the last are the child's exit codes; it returns the first
// four of its own accord, CAUGHT is a sanitizer's end.
enum lab_probe_found {
	LAB_PROBE_NOTHING = 0,
	LAB_PROBE_CORRUPTED = 10,
	LAB_PROBE_REFUSED, // by -ESTALE
	LAB_PROBE_NO_MEMORY,
	LAB_PROBE_CAUGHT,  // ended by an abort or a sanitizer, with a message
	LAB_PROBE_CRASHED, // ended in any other way
};
struct lab_probe_outcome {
	enum lab_probe_found found;
	int status;     // waitpid's
	char said[200]; // its first line on standard error
};
// Runs fn, which returns what it found, in a child of this process, which has one thread. A child without memory is an
// error.
TARE_MUST_USE int lab_probe_in_child(int (*fn)(void), struct lab_probe_outcome *ret, struct tare_error *err);
// Figures NAME_caught and NAME_corrupted (not of a crash, of which it is not known), and what was seen as the text
// NAME.
void lab_probe_outcome(struct json_t *out, const char *name, const char *corrupted,
		       const struct lab_probe_outcome *outcome);

// Resident memory, files' pages too; NAN, which makes no figure: it can't be read.
double lab_probe_resident(void);
// The compiler must have the object in memory, and knows nothing of it afterwards.
static inline void lab_probe_keep(const void *object)
{
	__asm__ volatile("" ::"r"(object) : "memory");
}

// The collector's CPU seconds until now, pauses with them, as Go counts its own; it times itself by the wall clock,
// as Go does: where others want the processor too, it is more than lab_probe_cpu_ns says. And the median of what
// marking takes in some collections, in nanoseconds. In a task.
double lab_probe_gc_seconds(const struct tare_gc_stats *stats);
double lab_probe_mark_ns(int collections);

// What live heaps and garbage are of: 64 bytes.
struct lab_probe_node {
	struct lab_probe_node *left, *right;
	uint64_t rest[6];
};
extern struct tare_gc_type lab_probe_node_type;
// A balanced tree. NULL also for no nodes; incomplete where the heap is full.
struct lab_probe_node *lab_probe_grow(uint64_t nodes);

extern const struct lab_probe lab_probe_pool_sizes, lab_probe_pool_footguns, lab_probe_boxing, lab_probe_packing,
    lab_probe_layouts, lab_probe_limit_spiral, lab_probe_pacer, lab_probe_generations, lab_probe_regions,
    lab_probe_release, lab_probe_container;

#endif
