// SPDX-License-Identifier: MIT
// Goal: what `tare layout` says of a struct's gaps is right, the order it proposes is the smallest there is, and its
// rules are read as they are written.
// Method: made-up structs are laid out here by C's rules, member by member; orders are compared with every permutation.
#include "test.h"

#include "cmd/layout/layout.h"

#include <errno.h>

enum { MEMBERS_MAX = 6, ROUNDS = 3000 };

static uint64_t round_up(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

// The size in bytes of the members in this order, by C's rules; writes their places.
static uint64_t lay_out(struct layout_member *members, const unsigned *order, size_t count)
{
	uint64_t end = 0, align = 1;
	for (size_t i = 0; i < count; i++) {
		struct layout_member *m = &members[order[i]];
		uint64_t unit = m->align * 8;
		if (!m->bit_field)
			end = round_up(end, unit);
		else if (end % unit + m->bits > unit)
			end = round_up(end, unit);
		m->at = end;
		end += m->bits;
		align = TARE_MAX(align, m->align);
	}
	return round_up(end, align * 8) / 8;
}

static const unsigned identity[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct layout laid_out(struct layout_member *members, size_t count)
{
	for (size_t i = 0; i < count; i++)
		members[i].number = (unsigned)i;
	struct layout l = {.kind = "struct", .name = "s", .members = members, .count = count};
	l.size = lay_out(members, identity, count);
	return l;
}

static uint64_t smallest(struct layout_member *members, unsigned *order, size_t count, size_t at)
{
	if (at == count)
		return lay_out(members, order, count);
	uint64_t best = UINT64_MAX;
	for (size_t i = at; i < count; i++) {
		unsigned taken = order[i];
		order[i] = order[at];
		order[at] = taken;
		best = TARE_MIN(best, smallest(members, order, count, at + 1));
		order[at] = order[i];
		order[i] = taken;
	}
	return best;
}

static struct layout_member scalar(uint64_t bytes)
{
	return (struct layout_member){.name = "m", .text = "", .bits = bytes * 8, .align = bytes};
}

static struct layout_member array(uint64_t bytes, uint64_t count)
{
	return (struct layout_member){.name = "m", .text = "", .bits = bytes * count * 8, .align = bytes};
}

static struct layout_member bit_field(uint64_t type_bytes, uint64_t bits)
{
	return (struct layout_member){.name = "m", .text = "", .bits = bits, .align = type_bytes, .bit_field = true};
}

// The size that the proposed order really has.
static uint64_t proposed(const struct layout *l)
{
	struct layout_member copy[16];
	assert_true(l->count <= TARE_ARRAY_LEN(copy));
	memcpy(copy, l->members, l->count * sizeof *copy);
	return lay_out(copy, l->order != NULL ? l->order : identity, l->count);
}

TEST(the_order_is_the_smallest_of_all)
{
	struct layout_pool pool = {NULL};
	struct tare_rng rng;
	tare_rng_init(&rng, 1);
	unsigned shrunk = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct layout_member members[MEMBERS_MAX], scratch[MEMBERS_MAX];
		size_t count = 1 + tare_rng_below(&rng, MEMBERS_MAX);
		for (size_t i = 0; i < count; i++)
			members[i] = array(UINT64_C(1) << tare_rng_below(&rng, 5), 1 + tare_rng_below(&rng, 3));
		struct layout l = laid_out(members, count);
		layout_measure(&l, 64);
		assert_int_equal(layout_reorder(&l, &pool), 0);
		assert_true(l.reorders);
		unsigned order[MEMBERS_MAX];
		memcpy(order, identity, sizeof order);
		memcpy(scratch, members, sizeof scratch);
		assert_int_equal(l.best_bytes, smallest(scratch, order, count, 0));
		assert_int_equal(l.best_bytes, proposed(&l));
		shrunk += l.best_bytes < l.size;
	}
	assert_true(shrunk > ROUNDS / 10);
	layout_pool_done(&pool);
}

TEST(runs_of_bit_fields_move_as_one)
{
	struct layout_pool pool = {NULL};
	struct tare_rng rng;
	tare_rng_init(&rng, 2);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct layout_member members[8];
		size_t count = 2 + tare_rng_below(&rng, 7);
		for (size_t i = 0; i < count; i++)
			members[i] = tare_rng_below(&rng, 2) == 0 ? scalar(UINT64_C(1) << tare_rng_below(&rng, 4))
								  : bit_field(4, 1 + tare_rng_below(&rng, 32));
		struct layout l = laid_out(members, count);
		layout_measure(&l, 64);
		assert_int_equal(layout_reorder(&l, &pool), 0);
		assert_true(l.reorders);
		assert_true(l.best_bytes <= l.size);
		assert_int_equal(l.best_bytes, l.order != NULL ? proposed(&l) : l.size);
		for (size_t i = 0; i + 1 < count && l.order != NULL; i++)
			if (l.members[l.order[i]].bit_field && l.order[i] + 1 < count &&
			    l.members[l.order[i] + 1].bit_field)
				assert_int_equal(l.order[i + 1], l.order[i] + 1);
	}
	layout_pool_done(&pool);
}

TEST(holes_and_padding_are_told_apart)
{
	struct layout_member members[] = {scalar(1), scalar(8), scalar(2), scalar(4), scalar(1)};
	struct layout l = laid_out(members, 5);
	layout_measure(&l, 64);
	assert_int_equal(l.size, 32);
	assert_int_equal(l.align, 8);
	assert_int_equal(l.holes, 2);
	assert_int_equal(l.hole_bytes, 7 + 2);
	assert_int_equal(l.padding_bytes, 7);
	assert_int_equal(l.asked_bytes, 0);
}

TEST(a_hole_is_filled_without_moving_the_rest)
{
	struct layout_pool pool = {NULL};
	struct layout_member members[] = {scalar(8), scalar(1), scalar(8), scalar(4), scalar(8), scalar(1)};
	struct layout l = laid_out(members, 6);
	layout_measure(&l, 64);
	assert_int_equal(layout_reorder(&l, &pool), 0);
	assert_int_equal(l.size, 48);
	assert_int_equal(l.best_bytes, 32);
	static const unsigned filled[] = {0, 1, 5, 3, 2, 4};
	assert_memory_equal(l.order, filled, sizeof filled);
	struct layout_member few[] = {scalar(8), scalar(1), scalar(8), scalar(1), scalar(8)};
	struct layout m = laid_out(few, 5);
	layout_measure(&m, 64);
	assert_int_equal(layout_reorder(&m, &pool), 0);
	static const unsigned moved[] = {0, 1, 3, 2, 4};
	assert_memory_equal(m.order, moved, sizeof moved);
	layout_pool_done(&pool);
}

// head | alignas(64) tail, c, x | alignas(64) other, y
TEST(members_stay_on_their_side_of_an_asked_alignment)
{
	struct layout_pool pool = {NULL};
	struct layout_member members[] = {scalar(4), scalar(4), scalar(1), scalar(8), scalar(1), scalar(4), scalar(2)};
	members[1].align = members[5].align = 64;
	for (unsigned told = 0; told < 2; told++) { // by the debug information, or only to be seen in the places
		for (unsigned i = 0; i < 7; i++) {
			members[i].align = i == 1 || i == 5 ? 64 : members[i].bits / 8;
			members[i].own_align = false;
		}
		struct layout l = laid_out(members, 7);
		for (unsigned i = 0; i < 2; i++) {
			members[1 + 4 * i].align = told == 1 ? 64 : 4;
			members[1 + 4 * i].own_align = told == 1;
		}
		layout_measure(&l, 64);
		assert_int_equal(l.align, 64);
		assert_int_equal(l.size, 192);
		assert_int_equal(l.asked_bytes, 60 + 47);
		assert_int_equal(l.hole_bytes, 3);
		assert_int_equal(layout_reorder(&l, &pool), 0);
		assert_true(l.reorders);
		assert_null(l.order); // each group is a line, whatever the order in it
	}
	layout_pool_done(&pool);
}

TEST(a_packed_struct_is_left_alone)
{
	struct layout_pool pool = {NULL};
	struct layout_member members[] = {scalar(1), scalar(8), scalar(1)};
	members[1].at = 8;
	members[2].at = 72;
	members[1].number = 1;
	members[2].number = 2;
	struct layout l = {.size = 10, .members = members, .count = 3};
	layout_measure(&l, 64);
	assert_true(l.packed);
	assert_int_equal(l.hole_bytes + l.padding_bytes, 0);
	assert_int_equal(l.align, 1);
	assert_int_equal(layout_reorder(&l, &pool), 0);
	assert_false(l.reorders);
	assert_int_equal(l.best_bytes, 10);
}

TEST(a_flexible_array_stays_last)
{
	struct layout_pool pool = {NULL};
	struct layout_member members[] = {scalar(1), scalar(8), scalar(1), scalar(4)};
	members[3].bits = 0;
	members[3].flexible = true;
	struct layout l = laid_out(members, 4);
	layout_measure(&l, 64);
	assert_int_equal(layout_reorder(&l, &pool), 0);
	assert_int_equal(l.size, 24);
	assert_int_equal(l.best_bytes, 16);
	assert_int_equal(l.order[3], 3);
	layout_pool_done(&pool);
}

TEST(members_that_cross_a_line_are_those_that_need_not)
{
	struct layout_member members[] = {array(8, 7), array(4, 4), array(8, 20), scalar(8)};
	struct layout l = laid_out(members, 4);
	layout_measure(&l, 64);
	assert_false(members[0].crosses);
	assert_true(members[1].crosses);
	assert_false(members[2].crosses); // larger than a line: it has to
	assert_int_equal(l.crossing, 1);
	assert_int_equal(l.lines, 4);
}

// What a damaged file may tell: nothing here may hang, divide by zero or read out of bounds.
TEST(nonsense_is_survived)
{
	struct layout_pool pool = {NULL};
	struct tare_rng rng;
	tare_rng_init(&rng, 3);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct layout_member members[MEMBERS_MAX];
		size_t count = tare_rng_below(&rng, MEMBERS_MAX + 1);
		for (unsigned i = 0; i < count; i++) {
			members[i] = scalar(UINT64_C(1) << tare_rng_below(&rng, 8));
			members[i].at = tare_rng_below(&rng, 1000);
			members[i].bits = tare_rng_below(&rng, 10) == 0 ? LAYOUT_UNKNOWN : tare_rng_below(&rng, 1000);
			members[i].bit_field = tare_rng_below(&rng, 2) == 0;
			members[i].flexible = tare_rng_below(&rng, 9) == 0;
			members[i].pinned = tare_rng_below(&rng, 9) == 0;
			members[i].number = i;
		}
		struct layout l = {.size = tare_rng_below(&rng, 300), .members = members, .count = count};
		l.is_union = tare_rng_below(&rng, 5) == 0;
		l.open_end = tare_rng_below(&rng, 5) == 0;
		layout_measure(&l, 64);
		assert_int_equal(layout_reorder(&l, &pool), 0);
		assert_true(l.best_bytes <= l.size);
	}
	layout_pool_done(&pool);
}

TEST(rules_are_read_from_the_right)
{
	static const struct {
		const char *text, *name;
		uint64_t size, holes, padding;
	} cases[] = {
	    {"tare_task", "tare_task", UINT64_MAX, 3, UINT64_MAX},
	    {" tare_task <= 160 ", "tare_task", 160, 3, UINT64_MAX},
	    {"tare_task<=160,holes<=8", "tare_task", 160, 8, UINT64_MAX},
	    {"rt_*, padding<=4 , holes<=0", "rt_*", UINT64_MAX, 0, 4},
	    {"ns::Pair<int, long><=16", "ns::Pair<int, long>", 16, 3, UINT64_MAX},
	    {"struct s<=1", "struct s", 1, 3, UINT64_MAX},
	};
	for (size_t i = 0; i < TARE_ARRAY_LEN(cases); i++) {
		struct layout_rule rule;
		assert_int_equal(layout_rule_parse(&rule, cases[i].text, 3, NULL), 0);
		assert_string_equal(rule.name, cases[i].name);
		assert_int_equal(rule.size_max, cases[i].size);
		assert_int_equal(rule.holes_max, cases[i].holes);
		assert_int_equal(rule.padding_max, cases[i].padding);
	}
	static const char *const bad[] = {"",
					  "  ",
					  "<=4",
					  "s<=x",
					  "s<=",
					  "s<=4,hole<=3",
					  "s,holes",
					  "s,holes<=-1",
					  "s<=4,size<=3",
					  "s<=99999999999999999999"};
	for (size_t i = 0; i < TARE_ARRAY_LEN(bad); i++) {
		struct layout_rule rule;
		struct tare_error err;
		assert_int_equal(layout_rule_parse(&rule, bad[i], 0, &err), -EINVAL);
		assert_non_null(strstr(err.text, "is not a rule"));
	}
}

TEST(names_match_with_and_without_their_scopes)
{
	assert_true(layout_matches("tare_task", "tare_task"));
	assert_true(layout_matches("struct tare_task", "tare_task"));
	assert_true(layout_matches("tare_*", "tare_task"));
	assert_false(layout_matches("tare", "tare_task"));
	assert_true(layout_matches("Foo", "ns::Foo"));
	assert_true(layout_matches("Foo", "a::b::Foo"));
	assert_true(layout_matches("b::Foo*", "b::Foo<int[3]>"));
	assert_false(layout_matches("b::Foo", "a::b::Foo"));
	assert_true(layout_matches("Foo<int[3]>", "Foo<int[3]>"));
}

TEST(a_broken_rule_says_by_how_much)
{
	const struct layout l = {.size = 96, .hole_bytes = 14, .padding_bytes = 2};
	struct layout_rule rule = {.size_max = 95, .holes_max = 0, .padding_max = UINT64_MAX};
	char why[200];
	assert_false(layout_rule_kept(&rule, &l, why, sizeof why));
	assert_string_equal(why, "96 bytes, 95 allowed; 14 bytes of holes, 0 allowed");
	rule = (struct layout_rule){.size_max = 96, .holes_max = 14, .padding_max = 2};
	assert_true(layout_rule_kept(&rule, &l, why, sizeof why));
}
