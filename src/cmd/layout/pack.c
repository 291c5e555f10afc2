// SPDX-License-Identifier: MIT
// Measures a struct's layout, and finds the order of its members that packs it.
//
// What a gap is: bits between the end of one member and the beginning of the next. It is a hole where the next member's
// type asks for the place it has, and "asked for" where somebody aligned that member further (alignas, or a `: 0`
// between bit-fields): such gaps keep others off a cache line, and are no waste.
//
// Reordering: members move within their group. Groups keep their order; one begins at each base class or pointer to
// virtual functions, at each member with an alignment of its own, and at each member without size (a marker); a
// flexible array stays last. A run of bit-fields moves as one. Within a group the next member is the one that leaves
// the smallest hole, of these the one of the largest alignment, of these the first as declared. Because C's sizes are
// multiples of their alignments, that leaves no hole within a group but where bit-fields or a base class end unevenly.
// Where it is as good to keep members in their order, and only to move some up into holes, that is proposed instead:
// what is used together was often written together.
//
// Before any order is proposed, the present one is laid out by the same rules (those of the System V ABIs); where that
// does not give the places the file tells, nothing is proposed. So no figure rests on rules that do not hold.
//
// Pure functions on what member.c read; places and sizes are bounded there, so sums do not overflow. Threads: any.
// Rejected: trying all orders (a factorial for the same result: the tests try them); moving members across groups
// (smaller, and what the alignment was for is lost).
#include "cmd/layout/layout.h"

#include <errno.h>
#include <stdlib.h>

enum { ALIGN_GUESS_MAX = 4096 };

static uint64_t round_up(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

// ---- measuring ----------------------------------------------------------------------------------------------------

static int compare_places(const void *a, const void *b)
{
	const struct layout_member *left = a, *right = b;
	if (left->at != right->at)
		return left->at < right->at ? -1 : 1;
	return left->number < right->number ? -1 : left->number > right->number;
}

static uint64_t end_of(const struct layout_member *m)
{
	return m->at + m->bits;
}

// Where the compiler puts a member when everything up to bit `at` is taken.
static uint64_t place(const struct layout_member *m, uint64_t at)
{
	uint64_t unit = m->align * 8;
	if (!m->bit_field)
		return round_up(at, unit);
	bool fits = !m->fresh && at % unit + m->bits <= unit;
	return fits ? at : round_up(at, unit);
}

// A member may end earlier than its type says: C++ puts the next one into a base class's padding. What its type does
// not tell goes up to the next.
static void clip(struct layout *l)
{
	for (size_t i = 0; i < l->count; i++) {
		struct layout_member *m = &l->members[i];
		uint64_t limit = i + 1 < l->count ? m[1].at : TARE_MAX(l->size * 8, m->at);
		if (m->bits == LAYOUT_UNKNOWN || (end_of(m) > limit && i + 1 < l->count)) {
			uint64_t lent = m->bits == LAYOUT_UNKNOWN ? 0 : (end_of(m) - limit) / 8;
			m->inner_bytes -= TARE_MIN(m->inner_bytes, lent);
			m->bits = limit - m->at;
			m->pinned = true;
		}
	}
}

// Members that their types' alignments do not allow: then no alignment counts but what members ask for themselves.
static void find_packed(struct layout *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct layout_member *m = &l->members[i];
		if (!m->bit_field && m->at % (m->align * 8) != 0)
			l->packed = true;
		if (!l->open_end && l->size % m->align != 0)
			l->packed = true;
	}
	for (size_t i = 0; i < l->count && l->packed; i++)
		if (!l->members[i].own_align || l->members[i].at % (l->members[i].align * 8) != 0)
			l->members[i].align = 1;
}

// A gap that the member's alignment does not explain was asked for: by the alignment that would, if any does.
static void explain_gap(struct layout_member *m, uint64_t end)
{
	if (m->gap_bits == 0)
		return;
	if (m->bit_field) {
		m->fresh = place(m, end) != m->at && m->at % (m->align * 8) == 0;
		m->gap_asked = m->fresh;
		return;
	}
	if (!m->own_align && place(m, end) != m->at) {
		uint64_t align = m->align;
		while (align < ALIGN_GUESS_MAX && round_up(end, align * 8) != m->at)
			align *= 2;
		m->own_align = true;
		if (round_up(end, align * 8) == m->at)
			m->align = align;
	}
	m->gap_asked = m->own_align;
}

static void find_gaps(struct layout *l)
{
	uint64_t end = 0;
	for (size_t i = 0; i < l->count; i++) {
		struct layout_member *m = &l->members[i];
		m->gap_bits = m->at > end ? m->at - end : 0;
		explain_gap(m, end);
		uint64_t bytes = m->gap_bits / 8;
		if (m->gap_asked) {
			l->asked_bytes += bytes;
		} else if (bytes > 0) {
			l->holes++;
			l->hole_bytes += bytes;
		}
		end = TARE_MAX(end, end_of(m));
	}
	if (!l->open_end && l->count > 0 && l->size * 8 > end)
		l->padding_bytes = (l->size * 8 - end) / 8;
}

// The struct's own alignment: its members' largest, or the one that explains its size.
static void find_align(struct layout *l)
{
	uint64_t align = 1, end = 0;
	for (size_t i = 0; i < l->count; i++) {
		align = TARE_MAX(align, l->packed && l->members[i].bit_field ? 1 : l->members[i].align);
		end = TARE_MAX(end, end_of(&l->members[i]));
	}
	if (l->align != 0 && l->size % l->align == 0)
		return;
	l->align = align;
	if (l->open_end || l->is_union)
		return;
	while (align < ALIGN_GUESS_MAX && round_up(end, align * 8) != l->size * 8)
		align *= 2;
	if (round_up(end, align * 8) == l->size * 8)
		l->align = align;
}

static void measure_union(struct layout *l)
{
	uint64_t end = 0;
	for (size_t i = 0; i < l->count; i++) {
		if (l->members[i].bits == LAYOUT_UNKNOWN)
			l->members[i].bits = l->size * 8;
		end = TARE_MAX(end, end_of(&l->members[i]));
	}
	if (l->count > 0 && l->size * 8 > end)
		l->padding_bytes = (l->size * 8 - end) / 8;
}

void layout_measure(struct layout *l, uint64_t line_bytes)
{
	if (l->count > 0)
		qsort(l->members, l->count, sizeof *l->members, compare_places);
	if (l->is_union) {
		measure_union(l);
	} else {
		clip(l);
		find_packed(l);
		find_gaps(l);
	}
	find_align(l);
	l->lines = (l->size + line_bytes - 1) / line_bytes;
	uint64_t line = line_bytes * 8;
	for (size_t i = 0; i < l->count; i++) {
		struct layout_member *m = &l->members[i];
		m->crosses = m->bits > 0 && m->bits <= line && m->at / line != (end_of(m) - 1) / line;
		l->crossing += m->crosses;
	}
}

// ---- reordering ---------------------------------------------------------------------------------------------------

// What moves as one: a member, or a run of bit-fields.
struct unit {
	unsigned first, count;
	uint64_t align; // to choose by: a run's is what its bytes would ask for
	bool taken;
};

struct search {
	struct layout *l;
	struct unit *units;
	size_t unit_count;
	unsigned *order;
	size_t ordered;
	uint64_t end;
	bool gently;
};

// Where the unit begins and ends after everything up to bit `at`.
static uint64_t place_unit(const struct layout *l, const struct unit *u, uint64_t at, uint64_t *ret_begin)
{
	for (unsigned i = 0; i < u->count; i++) {
		const struct layout_member *m = &l->members[u->first + i];
		uint64_t begin = place(m, m->bit_field ? at : round_up(at, 8));
		if (i == 0)
			*ret_begin = begin;
		at = begin + m->bits;
	}
	return at;
}

// The present order, by the rules of place.
static bool rules_hold(const struct layout *l)
{
	uint64_t end = 0;
	for (size_t i = 0; i < l->count; i++) {
		const struct layout_member *m = &l->members[i];
		if (!m->pinned && place(m, m->bit_field ? end : round_up(end, 8)) != m->at)
			return false;
		end = TARE_MAX(end, end_of(m));
	}
	return round_up(end, l->align * 8) == l->size * 8;
}

static void make_units(struct search *s)
{
	const struct layout_member *members = s->l->members;
	for (unsigned i = 0; i < s->l->count;) {
		struct unit *u = &s->units[s->unit_count++];
		*u = (struct unit){.first = i, .count = 1, .align = members[i].align};
		uint64_t bits = members[i].bits;
		if (members[i].bit_field && !members[i].pinned) {
			while (i + u->count < s->l->count && members[i + u->count].bit_field &&
			       !members[i + u->count].pinned)
				bits += members[i + u->count++].bits;
			u->align = 1;
			while (u->align < 8 && u->align * 8 < bits)
				u->align *= 2;
		}
		i += u->count;
	}
}

static bool begins_group(const struct search *s, size_t unit)
{
	const struct layout_member *m = &s->l->members[s->units[unit].first];
	return m->pinned || m->own_align || m->flexible || m->bits == 0;
}

static void take(struct search *s, struct unit *u)
{
	uint64_t begin;
	s->end = place_unit(s->l, u, s->end, &begin);
	u->taken = true;
	for (unsigned i = 0; i < u->count; i++)
		s->order[s->ordered++] = u->first + i;
}

// The unit of [from, to) that comes next, or NULL.
static struct unit *choose(const struct search *s, size_t from, size_t to)
{
	struct unit *best = NULL;
	uint64_t best_hole = 0;
	for (size_t i = from; i < to; i++) {
		struct unit *u = &s->units[i];
		uint64_t begin;
		if (u->taken)
			continue;
		(void)place_unit(s->l, u, s->end, &begin);
		uint64_t hole = begin - s->end;
		// Less than a byte is lost to whatever follows a bit-field.
		hole = hole < 8 ? 0 : hole;
		if (best == NULL || hole < best_hole || (hole == best_hole && u->align > best->align)) {
			best = u;
			best_hole = hole;
		}
	}
	return best;
}

// The same, but the declared order holds as long as it leaves no hole; a hole is filled with what comes later.
static struct unit *choose_gently(const struct search *s, size_t from, size_t to)
{
	struct unit *due = NULL, *filler = NULL;
	uint64_t due_begin = 0, filler_begin = 0;
	for (size_t i = from; i < to; i++) {
		struct unit *u = &s->units[i];
		uint64_t begin;
		if (u->taken)
			continue;
		uint64_t end = place_unit(s->l, u, s->end, &begin);
		if (due == NULL) {
			due = u;
			due_begin = begin;
			if (begin - s->end < 8)
				return due;
		} else if (end <= due_begin && (filler == NULL || begin < filler_begin ||
						(begin == filler_begin && u->align > filler->align))) {
			filler = u;
			filler_begin = begin;
		}
	}
	return filler != NULL ? filler : due;
}

static void order_groups(struct search *s)
{
	s->end = s->ordered = 0;
	for (size_t i = 0; i < s->unit_count; i++)
		s->units[i].taken = false;
	for (size_t from = 0; from < s->unit_count;) {
		size_t to = from + 1;
		while (to < s->unit_count && !begins_group(s, to))
			to++;
		const struct layout_member *head = &s->l->members[s->units[from].first];
		if (head->pinned) { // it has its place, and what it takes is known from there
			s->end = TARE_MAX(s->end, head->at);
			s->units[from].taken = true;
			s->order[s->ordered++] = s->units[from].first;
			s->end = TARE_MAX(s->end, end_of(head));
		} else if (begins_group(s, from)) {
			take(s, &s->units[from]);
		}
		struct unit *next;
		while ((next = s->gently ? choose_gently(s, from, to) : choose(s, from, to)) != NULL)
			take(s, next);
		from = to;
	}
}

// Finds an order; what the struct takes in it.
static uint64_t order_bytes(struct search *s, bool gently)
{
	s->gently = gently;
	order_groups(s);
	return round_up(s->end, s->l->align * 8) / 8;
}

// A pinned member stays where it is only when all before it are pinned too.
static bool pinned_in_front(const struct layout *l)
{
	for (size_t i = 1; i < l->count; i++)
		if (l->members[i].pinned && !l->members[i - 1].pinned)
			return false;
	return true;
}

int layout_reorder(struct layout *l, struct layout_pool *pool)
{
	l->best_bytes = l->size;
	if (l->is_union || l->open_end || l->packed || l->count > LAYOUT_REORDER_MAX || !rules_hold(l) ||
	    !pinned_in_front(l))
		return 0;
	l->reorders = true;
	if (l->count < 2)
		return 0;
	struct search s = {.l = l};
	s.units = layout_alloc(pool, l->count, sizeof *s.units);
	s.order = layout_alloc(pool, l->count, sizeof *s.order);
	if (s.units == NULL || s.order == NULL)
		return -ENOMEM;
	make_units(&s);
	uint64_t bytes = order_bytes(&s, false);
	uint64_t gentle_bytes = order_bytes(&s, true);
	if (bytes < gentle_bytes)
		(void)order_bytes(&s, false);
	bytes = TARE_MIN(bytes, gentle_bytes);
	if (bytes < l->size) {
		l->best_bytes = bytes;
		l->order = s.order;
	}
	return 0;
}
