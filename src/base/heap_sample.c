// SPDX-License-Identifier: MIT
//
// Where memory is allocated, by samples: the stacks of one allocation a so many bytes.
//
// Each thread counts down an exponentially distributed number of bytes, whose mean is the rate; the allocation that
// takes it below zero is a sample. So a block of n bytes is one with the probability p = 1 - exp(-n / rate), whatever
// was allocated before, and stands for 1 / p blocks like it: sums are right on average, for small blocks and large. A
// sample's site is in its head, and freeing it takes away what it stood for.
//
// Invariants
//   1. A site is a stack, a tag and a rate; it never moves and is never given up. All of it is guarded by `spin`.
//   2. The memory is one mapping, touched as it fills; when it is full, new sites are not recorded and their blocks not
//      marked.
//   3. No call of the heap is made here: it would count itself.
//
// The stack is read by frame pointers through process_vm_readv, which fails where a plain read would fault: the bounds
// of the stack are not known here, and the program's code may keep none. Where that call is forbidden, the caller alone
// is known.
// Threads: any. Cost: 2 to 5 µs a sample. Rejected: every n-th allocation (large blocks would be missed), every n-th
// byte exactly (a loop that allocates in step with it would be seen always or never).
#include "base/heap_sample.h"

#include <tare/heap.h>
#include <tare/heap_sample.h>

#include <math.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SLOTS = 16384, FULL = SLOTS / 4 * 3, SITES_BYTES = 4 << 20, SITE_UNIT = 8, WINDOW_WORDS = 256 };
#define OFF_LOOK_BYTES (INT64_C(16) << 20) // while it is off: when a thread asks again

struct site {
	uint64_t hash;
	const char *tag;
	size_t rate;
	uint32_t count;
	double values[TARE_HEAP_VALUES];
	uintptr_t frames[];
};

struct map {
	uint32_t count, used;  // sites, and their bytes
	uint32_t slots[SLOTS]; // a site's place plus one unit
	alignas(struct site) char sites[SITES_BYTES];
};

#ifdef TARE_SIM // a sample takes a lock, which would be a step of the simulation
enum { RATE_DEFAULT = 0 };
#else
enum { RATE_DEFAULT = 512 * 1024 };
#endif
static atomic_size_t rate_now = RATE_DEFAULT;

static struct tare_spin spin;
static struct map *map; // guarded by spin; never given back
static bool map_failed;
static struct tare_rng rng = {{0}};
static bool rng_ready;

// ---- the stack ----------------------------------------------------------------------------------------------------

// A copy of a piece of the stack, a page's rest at a time at most: what is behind may not be there.
struct window {
	uintptr_t begin, end;
	uintptr_t words[WINDOW_WORDS];
};

static bool window_move(struct window *w, uintptr_t address)
{
	size_t bytes = TARE_MIN(sizeof w->words, (size_t)(4096 - address % 4096));
	struct iovec here = {w->words, bytes}, there = {(void *)address, bytes};
	if (syscall(SYS_process_vm_readv, (long)getpid(), &here, 1L, &there, 1L, 0L) != (long)bytes)
		return false;
	w->begin = address;
	w->end = address + bytes;
	return true;
}

static bool window_read(struct window *w, uintptr_t address, uintptr_t *ret)
{
	bool inside = address >= w->begin && address + sizeof *ret <= w->end;
	if (!inside && !window_move(w, address))
		return false;
	*ret = w->words[(address - w->begin) / sizeof *ret];
	return true;
}

// From the frame of the heap's function, which is ours, so that its two words are there: who called it, and so on.
static unsigned walk(const uintptr_t *own, uintptr_t frames[TARE_HEAP_FRAMES_MAX])
{
	struct window w = {.begin = 0, .end = 0};
	unsigned count = 0;
	uintptr_t low = (uintptr_t)own + 1, frame = own[0], to, next;
	frames[count++] = own[1];
	while (count < TARE_HEAP_FRAMES_MAX && frame >= low && frame % sizeof frame == 0) {
		if (!window_read(&w, frame, &next) || !window_read(&w, frame + sizeof to, &to) || to == 0)
			break;
		frames[count++] = to;
		low = frame + 1;
		frame = next;
	}
	return count;
}

// ---- sites, with the lock -----------------------------------------------------------------------------------------

static bool map_ready(void)
{
	if (map != NULL || map_failed)
		return map != NULL;
	void *got = mmap(NULL, sizeof *map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	map_failed = got == MAP_FAILED;
	map = map_failed ? NULL : got;
	return map != NULL;
}

static struct site *site_at(uint32_t number)
{
	return (struct site *)(void *)(map->sites + (size_t)(number - 1) * SITE_UNIT);
}

static bool same(const struct site *site, const struct site *key, const uintptr_t *frames)
{
	return site->hash == key->hash && site->tag == key->tag && site->rate == key->rate &&
	       site->count == key->count && memcmp(site->frames, frames, key->count * sizeof *frames) == 0;
}

static uint64_t hash_of(const struct site *key, const uintptr_t *frames)
{
	uint64_t hash = (uintptr_t)key->tag ^ (uint64_t)key->rate << 8;
	for (uint32_t i = 0; i < key->count; i++) {
		hash = (hash ^ frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

// Its number; 0: there is no room.
static uint32_t site_number(struct site *key, const uintptr_t *frames)
{
	key->hash = hash_of(key, frames);
	if (!map_ready())
		return 0;
	unsigned slot = (unsigned)key->hash % SLOTS;
	for (; map->slots[slot] != 0; slot = (slot + 1) % SLOTS)
		if (same(site_at(map->slots[slot]), key, frames))
			return map->slots[slot];
	size_t bytes = sizeof *key + key->count * sizeof *frames;
	if (map->count == FULL || SITES_BYTES - map->used < bytes)
		return 0;
	uint32_t number = map->used / SITE_UNIT + 1;
	struct site *site = site_at(number);
	*site = *key;
	memcpy(site->frames, frames, key->count * sizeof *frames);
	map->slots[slot] = number;
	map->count++;
	map->used += (uint32_t)bytes;
	return number;
}

// For how many blocks of that size one sample stands.
static double weight_of(size_t bytes, size_t rate)
{
	return -1 / expm1(-(double)TARE_MAX(bytes, (size_t)1) / (double)rate);
}

static void count(struct site *site, size_t bytes, bool freed)
{
	double weight = weight_of(bytes, site->rate);
	site->values[freed ? TARE_HEAP_FREES : TARE_HEAP_ALLOCS] += weight;
	site->values[freed ? TARE_HEAP_BYTES_FREED : TARE_HEAP_BYTES_ALLOCATED] += weight * (double)bytes;
}

// How many bytes until the next sample.
static int64_t draw(size_t rate)
{
	if (!rng_ready)
		tare_rng_init(&rng, (uint64_t)tare_clock_ns());
	rng_ready = true;
	double uniform = ((double)(tare_rng_next(&rng) >> 11) + 1) * 0x1p-53; // above 0, at most 1
	return (int64_t)(-log(uniform) * (double)rate);
}

// ---- for heap.c ---------------------------------------------------------------------------------------------------

// Far below zero: the thread has yet to begin.
TARE_NOIPA uint32_t base_heap_sample(int64_t *countdown, size_t bytes, uint32_t tag)
{
	size_t rate = atomic_load_explicit(&rate_now, memory_order_relaxed);
	if (rate == 0) {
		*countdown = OFF_LOOK_BYTES;
		return 0;
	}
	bool begins = *countdown < INT64_MIN / 4;
	uintptr_t frames[TARE_HEAP_FRAMES_MAX];
	struct site key = {.tag = base_heap_tag_name(tag), .rate = rate};
	uint32_t number = 0;
	if (begins) {
		tare_spin_lock(&spin);
		*countdown = draw(rate) - (int64_t)bytes;
		tare_spin_unlock(&spin);
		if (*countdown >= 0)
			return 0;
	}
	// This function's frame, then its caller's, the heap's function; what that returns to is the program's.
	const uintptr_t *own = __builtin_frame_address(0);
	key.count = walk((const uintptr_t *)own[0], frames);
	tare_spin_lock(&spin);
	number = site_number(&key, frames);
	if (number != 0)
		count(site_at(number), bytes, false);
	*countdown = draw(rate);
	tare_spin_unlock(&spin);
	return number;
}

void base_heap_sample_freed(uint32_t number, size_t bytes)
{
	tare_spin_lock(&spin);
	count(site_at(number), bytes, true);
	tare_spin_unlock(&spin);
}

// ---- for other allocators -----------------------------------------------------------------------------------------

void tare_heap_countdown_draw(struct tare_heap_countdown *ret)
{
	ret->rate = atomic_load_explicit(&rate_now, memory_order_relaxed);
	ret->bytes = OFF_LOOK_BYTES;
	if (ret->rate == 0)
		return;
	tare_spin_lock(&spin);
	ret->bytes = draw(ret->rate);
	tare_spin_unlock(&spin);
}

TARE_NOIPA uint32_t tare_heap_sample(const struct tare_heap_sample *sample)
{
	uintptr_t buffer[TARE_HEAP_FRAMES_MAX], *frames = buffer;
	struct site key = {.tag = sample->tag, .rate = sample->rate};
	key.count = walk(__builtin_frame_address(0), frames);
	// The allocator's own, up to the program's.
	size_t code_bytes = (uintptr_t)sample->code_end - (uintptr_t)sample->code;
	for (; key.count > 1 && *frames - (uintptr_t)sample->code < code_bytes; frames++)
		key.count--;
	tare_spin_lock(&spin);
	uint32_t number = site_number(&key, frames);
	if (number != 0)
		count(site_at(number), sample->bytes, false);
	tare_spin_unlock(&spin);
	return number;
}

void tare_heap_sample_freed(uint32_t number, size_t bytes)
{
	base_heap_sample_freed(number, bytes);
}

// ---- for programs -------------------------------------------------------------------------------------------------

size_t tare_heap_rate(void)
{
	return atomic_load_explicit(&rate_now, memory_order_relaxed);
}

void tare_heap_rate_set(size_t bytes)
{
	atomic_store_explicit(&rate_now, bytes, memory_order_relaxed);
}

bool tare_heap_sites_each(bool (*fn)(void *arg, const struct tare_heap_site *site), void *arg)
{
	uint32_t place = 0;
	for (;;) {
		uintptr_t frames[TARE_HEAP_FRAMES_MAX];
		struct tare_heap_site copy = {.frames = frames};
		tare_spin_lock(&spin);
		bool any = map != NULL && place < map->used;
		if (any) {
			const struct site *site = site_at(place / SITE_UNIT + 1);
			copy.count = site->count;
			copy.tag = site->tag;
			memcpy(copy.values, site->values, sizeof copy.values);
			memcpy(frames, site->frames, site->count * sizeof *frames);
			place += (uint32_t)(sizeof *site + site->count * sizeof *frames);
		}
		tare_spin_unlock(&spin);
		if (!any)
			return true;
		if (!fn(arg, &copy))
			return false;
	}
}
