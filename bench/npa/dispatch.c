// SPDX-License-Identifier: MIT
// What it costs to choose, at run time or when compiling, which code runs.
//
// First the bare kinds of call: direct, through a switch, a function pointer, and a table of functions that an object
// points to. Each takes the same eight cases in a fixed order (the predictor knows it by heart) or in one drawn at
// random.
// Then a case from practice: three ways to pick a table for compaction out of 847 candidates, by the score that each
// candidate has under its strategy. The strategies stand behind a table of eight functions, as storage engines have it,
// or are known where the loop is compiled. `same`: all candidates under one strategy; `mixed`: under all three, as they
// come. `pressed`: 96 KiB of other memory are read before each pick, twice what the first cache holds.
#include <tare/npa.h>

enum { ORDER = 4096, CASES = 8, OBJECTS = 64, CANDIDATES = 847, PRESS_BYTES = 96 << 10 };

// ---- the bare call ------------------------------------------------------------------------------------------------

struct shape;
struct shape_ops {
	uint64_t (*area)(const struct shape *shape, uint64_t x);
	void (*unused[7])(void); // a line of them
};
struct shape {
	const struct shape_ops *ops;
	uint64_t size;
};

#define SHAPES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

#define FN(k)                                                                                                          \
	TARE_NOIPA static uint64_t plain_##k(uint64_t x)                                                               \
	{                                                                                                              \
		return x + k;                                                                                          \
	}                                                                                                              \
	TARE_NOIPA static uint64_t area_##k(const struct shape *shape, uint64_t x)                                     \
	{                                                                                                              \
		return x + shape->size;                                                                                \
	}                                                                                                              \
	static const struct shape_ops ops_##k = {.area = area_##k};
SHAPES(FN)
#undef FN

typedef uint64_t plain_fn(uint64_t x);
#define FN(k) plain_##k,
static plain_fn *plains[CASES] = {SHAPES(FN)};
#undef FN
#define FN(k) {&ops_##k, k},
static struct shape shapes[CASES] = {SHAPES(FN)};
#undef FN

static uint8_t drawn[ORDER];

static void draw(void)
{
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	for (int i = 0; i < ORDER; i++)
		drawn[i] = (uint8_t)tare_rng_below(&rng, CASES);
}

static TARE_INLINE uint64_t by_switch(unsigned which, uint64_t x)
{
	switch (which) {
#define FN(k)                                                                                                          \
	case k:                                                                                                        \
		return plain_##k(x);
		SHAPES(FN)
#undef FN
	default:
		return x;
	}
}

TARE_NPA(call_inlined, "What a call that the compiler sees through costs: the addition alone.", 1)
{
	TARE_NPA_KEEP(TARE_NPA_HIDE(i) + 3);
}

TARE_NPA(call_direct, "A call: code in one place instead of many; the processor is told where to.", 2)
{
	TARE_NPA_KEEP(plain_3(i));
}

TARE_NPA(call_switch, "A closed set of cases, each a direct call: nothing can be added from outside.", 3)
{
	TARE_NPA_KEEP(by_switch((unsigned)TARE_NPA_HIDE(i % CASES), i));
}

TARE_NPA(call_switch_random, "The same where the cases come in no order: a misprediction most times.", 25,
	 .prepare = draw)
{
	TARE_NPA_KEEP(by_switch(drawn[i % ORDER], i));
}

TARE_NPA(call_pointer, "A callback: who calls need not know whom.", 3)
{
	TARE_NPA_KEEP(plains[TARE_NPA_HIDE(i % CASES)](i));
}

TARE_NPA(call_pointer_random, "The same where the callbacks come in no order.", 25, .prepare = draw)
{
	TARE_NPA_KEEP(plains[drawn[i % ORDER]](i));
}

TARE_NPA(call_vtable, "An interface: kinds can be added without touching who calls. Two loads before the call.", 4)
{
	const struct shape *shape = &shapes[TARE_NPA_HIDE(i % CASES)];
	TARE_NPA_KEEP(shape->ops->area(shape, i));
}

TARE_NPA(call_vtable_random, "The same where the kinds come in no order.", 25, .prepare = draw)
{
	const struct shape *shape = &shapes[drawn[i % ORDER]];
	TARE_NPA_KEEP(shape->ops->area(shape, i));
}

// The same under pressure: 64 of each, in the order of the cases, after other memory has pushed out what they load. An
// object has a line of its own, as objects from the heap have; callbacks are eight a line, and a direct call loads
// nothing.
static struct {
	alignas(TARE_CACHE_LINE) struct shape shape;
} apart[OBJECTS];
static plain_fn *callbacks[OBJECTS];
static uint8_t kinds[OBJECTS];
static alignas(TARE_CACHE_LINE) uint64_t pressed[PRESS_BYTES / 8];

static void objects_make(void)
{
	for (int i = 0; i < OBJECTS; i++) {
		apart[i].shape = shapes[i % CASES];
		callbacks[i] = plains[i % CASES];
		kinds[i] = (uint8_t)(i % CASES);
	}
}

static inline void press(void)
{
	for (size_t k = 0; k < PRESS_BYTES / 8; k += TARE_CACHE_LINE / 8)
		TARE_NPA_KEEP(pressed[k]);
}

#define PRESSED .per = OBJECTS, .prepare = objects_make

TARE_NPA_AFTER(call_direct_pressed, press(), "A call that was chosen when it was compiled: nothing to load.", 3,
	       PRESSED)
{
	for (uint64_t k = 0; k < OBJECTS; k++)
		TARE_NPA_KEEP(plain_3(k));
}

TARE_NPA_AFTER(call_switch_pressed, press(), "A closed set of cases, 64 to the line, which was pushed out.", 6, PRESSED)
{
	for (uint64_t k = 0; k < OBJECTS; k++)
		TARE_NPA_KEEP(by_switch(kinds[k], k));
}

TARE_NPA_AFTER(call_pointer_pressed, press(), "Callbacks, eight to the line, which were pushed out.", 6, PRESSED)
{
	for (uint64_t k = 0; k < OBJECTS; k++)
		TARE_NPA_KEEP(callbacks[k](k));
}

TARE_NPA_AFTER(call_vtable_pressed, press(), "Objects behind an interface, a line each, and their tables pushed out.",
	       10, PRESSED)
{
	for (uint64_t k = 0; k < OBJECTS; k++)
		TARE_NPA_KEEP(apart[k].shape.ops->area(&apart[k].shape, k));
}

// ---- three pickers ------------------------------------------------------------------------------------------------

// A table that compaction could take next: what a storage engine keeps of one in memory.
struct candidate {
	uint64_t bytes, overlap_bytes;
	uint32_t newest_s, level;
};

struct picker;
struct picker_ops {
	uint64_t (*score)(const struct picker *picker, const struct candidate *c);
	void (*unused[7])(void);
};
struct picker {
	const struct picker_ops *ops;
	uint64_t target_bytes;
	uint32_t window_s, now_s;
};

// Which window it belongs to; old windows first.
static TARE_INLINE uint64_t score_window(const struct picker *p, const struct candidate *c)
{
	return p->now_s - c->newest_s > p->window_s ? c->bytes : 0;
}

// How much of the next level it touches, against what it brings.
static TARE_INLINE uint64_t score_leveled(const struct picker *p, const struct candidate *c)
{
	return c->bytes + p->target_bytes * c->level - c->overlap_bytes;
}

// Small ones first, to be merged with their like.
static TARE_INLINE uint64_t score_tiered(const struct picker *p, const struct candidate *c)
{
	return c->bytes < p->target_bytes ? p->target_bytes - c->bytes : 0;
}

TARE_NOIPA static uint64_t window_call(const struct picker *p, const struct candidate *c)
{
	return score_window(p, c);
}

TARE_NOIPA static uint64_t leveled_call(const struct picker *p, const struct candidate *c)
{
	return score_leveled(p, c);
}

TARE_NOIPA static uint64_t tiered_call(const struct picker *p, const struct candidate *c)
{
	return score_tiered(p, c);
}

enum strategy { WINDOW, LEVELED, TIERED, STRATEGIES };
static const struct picker_ops picker_ops[STRATEGIES] = {
    {.score = window_call}, {.score = leveled_call}, {.score = tiered_call}};
static struct picker pickers[STRATEGIES];
static struct candidate candidates[CANDIDATES];
static struct picker *owners[CANDIDATES];   // whose each candidate is, mixed
static uint8_t strategies[ORDER];           // a strategy each
static struct candidate sorted[CANDIDATES]; // by strategy
static size_t sorted_from[STRATEGIES + 1];  // where each strategy's begin

static void candidates_make(void)
{
	struct tare_rng rng;
	size_t count = 0;
	tare_rng_init(&rng, 847);
	for (int s = 0; s < STRATEGIES; s++)
		pickers[s] = (struct picker){&picker_ops[s], 64 << 20, 3600, 1000000};
	for (int i = 0; i < ORDER; i++)
		strategies[i] = (uint8_t)tare_rng_below(&rng, STRATEGIES);
	for (int i = 0; i < CANDIDATES; i++) {
		candidates[i] = (struct candidate){tare_rng_below(&rng, 128 << 20), tare_rng_below(&rng, 512 << 20),
						   (uint32_t)(1000000 - tare_rng_below(&rng, 8000)),
						   (uint32_t)tare_rng_below(&rng, 7)};
		owners[i] = &pickers[strategies[i]];
	}
	for (int s = 0; s < STRATEGIES; s++) {
		sorted_from[s] = count;
		for (int i = 0; i < CANDIDATES; i++)
			if (strategies[i] == s)
				sorted[count++] = candidates[i];
	}
	sorted_from[STRATEGIES] = count;
}

static void candidates_evict(void)
{
	tare_npa_flush(candidates, sizeof candidates);
	tare_npa_flush(sorted, sizeof sorted);
	tare_npa_flush(owners, sizeof owners);
	tare_npa_flush(pickers, sizeof pickers);
	tare_npa_flush(picker_ops, sizeof picker_ops);
}

// Candidates come in another order each time: an odd stride goes through all of the strategies drawn. Always the same
// order is something that the predictor learns: 847 calls in a row, by heart.
static inline void mix(uint64_t i)
{
	for (uint64_t k = 0; k < CANDIDATES; k++)
		owners[k] = &pickers[strategies[(k * (2 * i + 1) + i) % ORDER]];
}

TARE_NOIPA static size_t pick_vtable(const struct picker *p)
{
	size_t best = 0;
	uint64_t most = 0;
	for (size_t k = 0; k < CANDIDATES; k++) {
		uint64_t score = p->ops->score(p, &candidates[k]);
		if (TARE_UNLIKELY(score > most)) { // it rarely grows
			most = score;
			best = k;
		}
	}
	return best;
}

TARE_NOIPA static size_t pick_vtable_mixed(void)
{
	size_t best = 0;
	uint64_t most = 0;
	for (size_t k = 0; k < CANDIDATES; k++) {
		uint64_t score = owners[k]->ops->score(owners[k], &candidates[k]);
		if (TARE_UNLIKELY(score > most)) { // it rarely grows
			most = score;
			best = k;
		}
	}
	return best;
}

TARE_NOIPA static size_t pick_switch_mixed(void)
{
	size_t best = 0;
	uint64_t most = 0;
	for (size_t k = 0; k < CANDIDATES; k++) {
		const struct picker *p = owners[k];
		uint64_t score = p == &pickers[WINDOW]    ? score_window(p, &candidates[k])
				 : p == &pickers[LEVELED] ? score_leveled(p, &candidates[k])
							  : score_tiered(p, &candidates[k]);
		if (TARE_UNLIKELY(score > most)) { // it rarely grows
			most = score;
			best = k;
		}
	}
	return best;
}

// The loop, made anew for each strategy: `score` is known where this is compiled.
static TARE_INLINE size_t pick_static(uint64_t (*score)(const struct picker *p, const struct candidate *c),
				      const struct picker *p, const struct candidate *from, size_t count,
				      uint64_t *most)
{
	size_t best = 0;
	for (size_t k = 0; k < count; k++) {
		uint64_t got = score(p, &from[k]);
		if (TARE_UNLIKELY(got > *most)) {
			*most = got;
			best = k;
		}
	}
	return best;
}

TARE_NOIPA static size_t pick_static_same(void)
{
	uint64_t most = 0;
	return pick_static(score_leveled, &pickers[LEVELED], candidates, CANDIDATES, &most);
}

TARE_NOIPA static size_t pick_static_mixed(void)
{
	uint64_t most = 0;
	size_t best = pick_static(score_window, &pickers[WINDOW], sorted, sorted_from[1], &most);
	size_t from = sorted_from[1],
	       at = pick_static(score_leveled, &pickers[LEVELED], sorted + from, sorted_from[2] - from, &most);
	best = at != 0 ? from + at : best;
	from = sorted_from[2];
	at = pick_static(score_tiered, &pickers[TIERED], sorted + from, sorted_from[3] - from, &most);
	return at != 0 ? from + at : best;
}

#define PICK                                                                                                           \
	.group = "compaction", .per = CANDIDATES, .prepare = candidates_make, .evict = candidates_evict, .count = 64

TARE_NPA(pick_vtable_same, "A strategy chosen once, at run time, behind an interface.", 4, PICK)
{
	TARE_NPA_KEEP(pick_vtable(TARE_NPA_HIDE(&pickers[LEVELED])));
}

TARE_NPA(pick_static_same, "The same, chosen when it was compiled: a loop a strategy, nothing called.", 1, PICK)
{
	TARE_NPA_KEEP(pick_static_same());
}

TARE_NPA_AFTER(pick_vtable_mixed, mix(i),
	       "Each candidate brings its own strategy: an indirect call that can't be predicted.", 25, PICK)
{
	TARE_NPA_KEEP(pick_vtable_mixed());
}

TARE_NPA_AFTER(pick_switch_mixed, mix(i),
	       "The same through a switch over the three: the branch is as hard to predict as the call.", 25, PICK)
{
	TARE_NPA_KEEP(pick_switch_mixed());
}

TARE_NPA(pick_static_mixed, "Candidates kept by strategy, and a compiled loop for each: nothing to predict.", 1, PICK)
{
	TARE_NPA_KEEP(pick_static_mixed());
}

TARE_NPA_AFTER(pick_vtable_same_pressed, press(), "One strategy behind an interface, its lines pushed out before.", 5,
	       PICK)
{
	TARE_NPA_KEEP(pick_vtable(TARE_NPA_HIDE(&pickers[LEVELED])));
}

TARE_NPA_AFTER(pick_static_same_pressed, press(), "One compiled strategy, its lines pushed out before.", 2, PICK)
{
	TARE_NPA_KEEP(pick_static_same());
}

TARE_NPA_AFTER(pick_vtable_mixed_pressed, (mix(i), press()),
	       "All strategies behind an interface, lines pushed out before.", 25, PICK)
{
	TARE_NPA_KEEP(pick_vtable_mixed());
}

TARE_NPA_AFTER(pick_static_mixed_pressed, press(), "All strategies compiled, lines pushed out before.", 2, PICK)
{
	TARE_NPA_KEEP(pick_static_mixed());
}
