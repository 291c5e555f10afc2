// SPDX-License-Identifier: MIT
//
// Gathering a profile: equal stacks are one sample, and every text, address and function is kept once, so that a
// profile of a million tasks is as large as the few stacks they share.
//
//   sample --> locations (addresses) --> lines --> functions --> texts
//
// Everything refers by number, as profile.proto does; numbers are given in the order of coming and never change.
// Threads: one at a time. Memory: the heap's, by doubling; a call that fails leaves what there was.
#include "stat/pprof_int.h"

#include <tare/heap.h>

#include <errno.h>

static struct tare_tag heap_tag = TARE_TAG("profiles");

// ---- growing ------------------------------------------------------------------------------------------------------

int stat_grow(void **array, size_t *cap, size_t count, size_t element_bytes)
{
	if (count < *cap)
		return 0;
	size_t wanted = TARE_MAX(2 * *cap, (size_t)64);
	void *ptr = tare_realloc(&heap_tag, *array, wanted * element_bytes);
	if (ptr == NULL)
		return -ENOMEM;
	*array = ptr;
	*cap = wanted;
	return 0;
}

static int slots_grow(struct stat_set *set)
{
	uint32_t wanted = TARE_MAX(2 * set->slot_count, 128U);
	uint32_t *slots = tare_alloc_zeroed(&heap_tag, wanted, sizeof *slots);
	if (slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < set->count; i++) {
		uint32_t at = set->hashes[i] & (wanted - 1);
		while (slots[at] != 0)
			at = (at + 1) & (wanted - 1);
		slots[at] = i + 1;
	}
	tare_free(set->slots);
	set->slots = slots;
	set->slot_count = wanted;
	return 0;
}

static int items_grow(struct stat_set *set)
{
	uint32_t wanted = TARE_MAX(2 * set->cap, 64U);
	char *items = tare_realloc(&heap_tag, set->items, wanted * set->item_bytes);
	if (items != NULL)
		set->items = items;
	uint32_t *hashes = items != NULL ? tare_realloc(&heap_tag, set->hashes, wanted * sizeof *hashes) : NULL;
	if (hashes == NULL)
		return -ENOMEM;
	set->hashes = hashes;
	set->cap = wanted;
	return 0;
}

typedef bool same_fn(const struct tare_pprof *p, const void *item, const void *key);

// The number of the item that is like the key, or UINT32_MAX and, with room made for it, where its number goes.
static int set_find(struct tare_pprof *p, struct stat_set *set, uint32_t hash, same_fn *same, const void *key,
		    uint32_t *ret_number, uint32_t *ret_slot)
{
	if (2 * (set->count + 1) > set->slot_count && slots_grow(set) < 0)
		return -ENOMEM;
	if (set->count == set->cap && items_grow(set) < 0)
		return -ENOMEM;
	uint32_t at = hash & (set->slot_count - 1);
	for (; set->slots[at] != 0; at = (at + 1) & (set->slot_count - 1)) {
		uint32_t number = set->slots[at] - 1;
		if (set->hashes[number] == hash && same(p, set->items + number * set->item_bytes, key)) {
			*ret_number = number;
			return 0;
		}
	}
	*ret_number = UINT32_MAX;
	*ret_slot = at;
	return 0;
}

static uint32_t set_put(struct stat_set *set, uint32_t hash, uint32_t slot, const void *item)
{
	memcpy(set->items + set->count * set->item_bytes, item, set->item_bytes);
	set->hashes[set->count] = hash;
	set->slots[slot] = ++set->count;
	return set->count - 1;
}

static uint32_t hash_bytes(const void *ptr, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const unsigned char *)ptr)[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(hash ^ (hash >> 32));
}

// ---- texts, locations, functions ----------------------------------------------------------------------------------

static bool same_text(const struct tare_pprof *p, const void *item, const void *key)
{
	(void)p;
	const struct stat_text *a = item, *b = key;
	return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

static int text_number(struct tare_pprof *p, const char *text, uint32_t *ret)
{
	text = text != NULL ? text : "";
	struct stat_text key = {(char *)(uintptr_t)text, strlen(text)};
	uint32_t hash = hash_bytes(key.ptr, key.len), slot;
	int rc = set_find(p, &p->texts, hash, same_text, &key, ret, &slot);
	if (rc < 0 || *ret != UINT32_MAX)
		return rc;
	struct stat_text copy = {tare_alloc(&heap_tag, key.len + 1), key.len};
	if (copy.ptr == NULL)
		return -ENOMEM;
	memcpy(copy.ptr, text, key.len + 1);
	*ret = set_put(&p->texts, hash, slot, &copy);
	return 0;
}

static bool same_location(const struct tare_pprof *p, const void *item, const void *key)
{
	(void)p;
	return ((const struct stat_location *)item)->address == *(const uintptr_t *)key;
}

static int location_number(struct tare_pprof *p, uintptr_t address, uint32_t *ret)
{
	uint32_t hash = hash_bytes(&address, sizeof address), slot;
	int rc = set_find(p, &p->locations, hash, same_location, &address, ret, &slot);
	if (rc == 0 && *ret == UINT32_MAX)
		*ret = set_put(&p->locations, hash, slot, &(struct stat_location){.address = address});
	return rc;
}

static bool same_function(const struct tare_pprof *p, const void *item, const void *key)
{
	(void)p;
	const struct stat_function *a = item, *b = key;
	return a->name == b->name && a->file == b->file && a->line == b->line;
}

static int function_number(struct tare_pprof *p, const struct tare_pprof_line *line, uint32_t *ret)
{
	struct stat_function key = {.line = line->function_line};
	int rc = text_number(p, line->function, &key.name);
	if (rc == 0)
		rc = text_number(p, line->file, &key.file);
	if (rc < 0)
		return rc;
	uint32_t hash = hash_bytes(&key, sizeof key), slot;
	rc = set_find(p, &p->functions, hash, same_function, &key, ret, &slot);
	if (rc == 0 && *ret == UINT32_MAX)
		*ret = set_put(&p->functions, hash, slot, &key);
	return rc;
}

// ---- samples ------------------------------------------------------------------------------------------------------

struct sample_key {
	const uint32_t *frames;
	uint32_t frame_count, label_count;
	uint32_t labels[2 * TARE_PPROF_LABELS_MAX];
};

static bool same_sample(const struct tare_pprof *p, const void *item, const void *key)
{
	const struct stat_sample *a = item;
	const struct sample_key *b = key;
	return a->frame_count == b->frame_count && a->label_count == b->label_count &&
	       memcmp(a->labels, b->labels, sizeof a->labels) == 0 &&
	       memcmp(&p->frames[a->frames_at], b->frames, b->frame_count * sizeof *b->frames) == 0;
}

static int frames_put(struct tare_pprof *p, const uint32_t *frames, uint32_t count, uint32_t *ret_at)
{
	while (p->frame_cap - p->frame_count < count) {
		int rc = stat_grow((void **)&p->frames, &p->frame_cap, p->frame_cap, sizeof *p->frames);
		if (rc < 0)
			return rc;
	}
	memcpy(&p->frames[p->frame_count], frames, count * sizeof *frames);
	*ret_at = (uint32_t)p->frame_count;
	p->frame_count += count;
	return 0;
}

int tare_pprof_add(struct tare_pprof *p, const uintptr_t *frames, unsigned count, const double *values,
		   const struct tare_pprof_label *labels, unsigned label_count)
{
	uint32_t numbers[TARE_PPROF_FRAMES_MAX + 1] = {0};
	struct sample_key key = {.frames = numbers, .frame_count = TARE_MIN(count, (unsigned)TARE_PPROF_FRAMES_MAX)};
	int rc = 0;
	for (uint32_t i = 0; i < key.frame_count && rc == 0; i++)
		rc = location_number(p, frames[i], &numbers[i]);
	TARE_ASSERT(label_count <= TARE_PPROF_LABELS_MAX);
	for (unsigned i = 0; i < label_count && rc == 0; i++) {
		if (labels[i].value == NULL)
			continue;
		uint32_t *pair = &key.labels[2 * (size_t)key.label_count++];
		rc = text_number(p, labels[i].key, &pair[0]);
		if (rc == 0)
			rc = text_number(p, labels[i].value, &pair[1]);
	}
	uint32_t hash =
	    hash_bytes(numbers, key.frame_count * sizeof *numbers) ^ hash_bytes(key.labels, sizeof key.labels);
	uint32_t number = 0, slot = 0;
	if (rc == 0)
		rc = set_find(p, &p->samples, hash, same_sample, &key, &number, &slot);
	if (rc == 0 && number == UINT32_MAX) {
		struct stat_sample sample = {.frame_count = key.frame_count, .label_count = key.label_count};
		memcpy(sample.labels, key.labels, sizeof sample.labels);
		rc = frames_put(p, numbers, key.frame_count, &sample.frames_at);
		if (rc == 0)
			number = set_put(&p->samples, hash, slot, &sample);
	}
	for (unsigned i = 0; i < p->options.type_count && rc == 0; i++)
		stat_sample_at(p, number)->values[i] += values[i];
	return rc;
}

double tare_pprof_total(const struct tare_pprof *p, unsigned type)
{
	double total = 0;
	for (uint32_t i = 0; i < p->samples.count; i++)
		total += stat_sample_at(p, i)->values[type];
	return total;
}

unsigned tare_pprof_samples(const struct tare_pprof *p)
{
	return p->samples.count;
}

// ---- mappings and names -------------------------------------------------------------------------------------------

int tare_pprof_mapping(struct tare_pprof *p, uintptr_t low, uintptr_t high, uint64_t offset, const char *file,
		       const char *build_id)
{
	if (p->mapping_count == STAT_MAPPINGS_MAX)
		return 0; // its addresses then have no mapping, which the format allows
	struct stat_mapping mapping = {.low = low, .high = high, .offset = offset};
	int rc = text_number(p, file, &mapping.file);
	if (rc == 0)
		rc = text_number(p, build_id, &mapping.build_id);
	if (rc == 0)
		p->mappings[p->mapping_count++] = mapping;
	return rc;
}

static int resolve_one(struct tare_pprof *p, struct stat_location *location, const struct tare_pprof_line *lines,
		       unsigned count)
{
	location->lines_at = (uint32_t)p->line_count;
	for (unsigned i = 0; i < count; i++) {
		struct stat_line line = {.line = lines[i].line};
		int rc = function_number(p, &lines[i], &line.function);
		if (rc == 0)
			rc = stat_grow((void **)&p->lines, &p->line_cap, p->line_count, sizeof *p->lines);
		if (rc < 0)
			return rc;
		p->lines[p->line_count++] = line;
		location->line_count = i + 1;
	}
	return 0;
}

int tare_pprof_resolve(struct tare_pprof *p,
		       unsigned (*lines)(void *arg, uintptr_t address, struct tare_pprof_line *ret), void *arg)
{
	int rc = 0;
	for (uint32_t i = 0; i < p->locations.count && rc == 0; i++) {
		struct stat_location *location = stat_location_at(p, i);
		struct tare_pprof_line found[TARE_PPROF_INLINED_MAX];
		if (location->line_count == 0)
			rc = resolve_one(p, location, found, lines(arg, location->address, found));
	}
	return rc;
}

// ---- life ---------------------------------------------------------------------------------------------------------

static int type_numbers(struct tare_pprof *p, const struct tare_pprof_type *type, uint32_t ret[2])
{
	int rc = text_number(p, type->type, &ret[0]);
	return rc < 0 ? rc : text_number(p, type->unit, &ret[1]);
}

int tare_pprof_new(struct tare_pprof **ret, const struct tare_pprof_options *options)
{
	TARE_ASSERT(options->type_count > 0 && options->type_count <= TARE_PPROF_VALUES_MAX &&
		    options->shown < options->type_count);
	struct tare_pprof *p = tare_alloc_zeroed(&heap_tag, 1, sizeof *p);
	if (p == NULL)
		return -ENOMEM;
	p->options = *options;
	p->texts.item_bytes = sizeof(struct stat_text);
	p->samples.item_bytes = sizeof(struct stat_sample);
	p->locations.item_bytes = sizeof(struct stat_location);
	p->functions.item_bytes = sizeof(struct stat_function);
	uint32_t empty;
	int rc = text_number(p, "", &empty);
	if (rc == 0)
		rc = text_number(p, options->name, &p->name);
	for (unsigned i = 0; i < options->type_count && rc == 0; i++)
		rc = type_numbers(p, &options->types[i], p->types[i]);
	if (rc == 0)
		rc = type_numbers(p, &options->period_type, p->period_type);
	if (rc < 0)
		tare_pprof_free(p);
	else
		*ret = p;
	return rc;
}

static void set_done(struct stat_set *set)
{
	tare_free(set->items);
	tare_free(set->hashes);
	tare_free(set->slots);
}

void tare_pprof_free(struct tare_pprof *p)
{
	if (p == NULL)
		return;
	for (uint32_t i = 0; i < p->texts.count; i++)
		tare_free(stat_text_at(p, i)->ptr);
	set_done(&p->texts);
	set_done(&p->samples);
	set_done(&p->locations);
	set_done(&p->functions);
	tare_free(p->frames);
	tare_free(p->lines);
	tare_free(p);
}
