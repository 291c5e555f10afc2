// SPDX-License-Identifier: MIT
//
// What the files of a profile share.
//
//   pprof.c        gathering: samples, locations, functions and texts, each kept once
//   pprof_write.c  profile.proto, gzip, text
#ifndef TARE_STAT_PPROF_INT_H
#define TARE_STAT_PPROF_INT_H

#include <tare/pprof.h>

// Things of one size, each once, numbered from 0 in the order of their coming. Open addressing over numbers plus one.
struct stat_set {
	char *items;
	uint32_t *hashes; // of each item
	uint32_t *slots;
	uint32_t count, cap, slot_count;
	size_t item_bytes;
};

struct stat_sample {
	uint32_t frames_at, frame_count; // in profile->frames: numbers of locations
	uint32_t label_count;
	uint32_t labels[2 * TARE_PPROF_LABELS_MAX]; // key, value: numbers of texts
	double values[TARE_PPROF_VALUES_MAX];
};

struct stat_location {
	uintptr_t address;
	uint32_t lines_at, line_count; // in profile->lines
};

struct stat_line {
	uint32_t function; // its number
	int line;
};

struct stat_function {
	uint32_t name, file; // texts
	int line;
};

struct stat_text {
	char *ptr;
	size_t len;
};

struct stat_mapping {
	uintptr_t low, high;
	uint64_t offset;
	uint32_t file, build_id;
};

enum { STAT_MAPPINGS_MAX = 128 };

struct tare_pprof {
	struct tare_pprof_options options; // its texts are not kept: see below
	uint32_t name, types[TARE_PPROF_VALUES_MAX][2], period_type[2];
	struct stat_set texts, samples, locations, functions; // text 0 is ""
	uint32_t *frames;
	size_t frame_count, frame_cap;
	struct stat_line *lines;
	size_t line_count, line_cap;
	struct stat_mapping mappings[STAT_MAPPINGS_MAX];
	unsigned mapping_count;
};

#define STAT_ITEM(set, type, number) (&((type *)(void *)(set).items)[number])

// Room for one element more. -ENOMEM.
TARE_MUST_USE int stat_grow(void **array, size_t *cap, size_t count, size_t element_bytes);

static inline const struct stat_text *stat_text_at(const struct tare_pprof *p, uint32_t number)
{
	return STAT_ITEM(p->texts, struct stat_text, number);
}

static inline struct stat_sample *stat_sample_at(const struct tare_pprof *p, uint32_t number)
{
	return STAT_ITEM(p->samples, struct stat_sample, number);
}

static inline struct stat_location *stat_location_at(const struct tare_pprof *p, uint32_t number)
{
	return STAT_ITEM(p->locations, struct stat_location, number);
}

static inline const struct stat_function *stat_function_at(const struct tare_pprof *p, uint32_t number)
{
	return STAT_ITEM(p->functions, struct stat_function, number);
}

#endif
