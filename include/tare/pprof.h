// SPDX-License-Identifier: MIT
//
// pprof: profiles that `go tool pprof` reads, made of samples of stacks. <tare/profile.h> takes the runtime's own.
//
// A profile is gathered (tare_pprof_add), given names (tare_pprof_resolve), and written, gzipped profile.proto or text.
// It belongs to one thread at a time. All that can fail for want of memory is -ENOMEM. Nothing here blocks but the
// writer that the caller gives.
#ifndef TARE_PPROF_H
#define TARE_PPROF_H

#include <tare/base.h>
#include <tare/stat.h>

struct tare_pprof;

// What is longer is cut: frames of a stack, functions inlined at one address, bytes of a name.
enum {
	TARE_PPROF_VALUES_MAX = 4,
	TARE_PPROF_LABELS_MAX = 2,
	TARE_PPROF_FRAMES_MAX = 128,
	TARE_PPROF_INLINED_MAX = 8,
};

// ---- gathering ----------------------------------------------------------------------------------------------------

// What a value counts, and in what: "cpu", "nanoseconds"; "contentions", "count".
struct tare_pprof_type {
	const char *type, *unit;
};

struct tare_pprof_options {
	const char *name;                                    // of the text's first line
	struct tare_pprof_type types[TARE_PPROF_VALUES_MAX]; // of each sample's values
	unsigned type_count;
	unsigned shown; // index of the type that a viewer shows first
	// One sample stands for so much of that; an empty type: for nothing in particular.
	struct tare_pprof_type period_type;
	int64_t period;
	int64_t began_ns;    // of the wall clock, since 1970
	int64_t duration_ns; // 0: a moment
};

// A tag of a sample. A NULL value: none.
struct tare_pprof_label {
	const char *key, *value;
};

// Texts of options and labels are copied. Free with tare_pprof_free (NULL is fine).
TARE_MUST_USE int tare_pprof_new(struct tare_pprof **ret, const struct tare_pprof_options *options);
void tare_pprof_free(struct tare_pprof *profile);
// Adds values, one a type, to the sample with this stack and these labels. frames: addresses of code, the innermost
// first; where a call returns to is one too far, so take 1 from it. Values are rounded when they are written.
TARE_MUST_USE int tare_pprof_add(struct tare_pprof *profile, const uintptr_t *frames, unsigned count,
				 const double *values, const struct tare_pprof_label *labels, unsigned label_count);
// Code of a file that is mapped at low, up to high; offset: of low in the file. build_id: in hexadecimal, or "".
TARE_MUST_USE int tare_pprof_mapping(struct tare_pprof *profile, uintptr_t low, uintptr_t high, uint64_t offset,
				     const char *file, const char *build_id);

// ---- names --------------------------------------------------------------------------------------------------------

// Where an address is, by the program's source. file: NULL when it is not known, and then line is 0.
struct tare_pprof_line {
	const char *function, *file;
	int line;
	int function_line; // where the function begins; 0: not known
};

// Asks lines for each address: it fills at most TARE_PPROF_INLINED_MAX, the innermost of what was inlined first, and
// returns how many; 0: nothing is known. The texts are copied before the next call.
TARE_MUST_USE int tare_pprof_resolve(struct tare_pprof *profile,
				     unsigned (*lines)(void *arg, uintptr_t address, struct tare_pprof_line *ret),
				     void *arg);

// ---- what it says -------------------------------------------------------------------------------------------------

// The sum of that value over all samples.
double tare_pprof_total(const struct tare_pprof *profile, unsigned type);
// Samples, after equal ones were put together.
unsigned tare_pprof_samples(const struct tare_pprof *profile);
// profile.proto, gzipped (plain where Tare was built without zlib: pprof takes both). 0, -ENOMEM, or text->rc.
TARE_MUST_USE int tare_pprof_write(struct tare_pprof *profile, struct tare_text *text);
// For people: a line a sample, the largest first, with its stack below.
TARE_MUST_USE int tare_pprof_write_text(struct tare_pprof *profile, struct tare_text *text);

#endif
