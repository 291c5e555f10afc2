// SPDX-License-Identifier: MIT
// Writes what `tare layout` found: structs member by member, an overview with a line each, rules kept and broken; as
// text for people and as JSON for programs. The two tell the same.
//
// Cache lines are counted from the struct's beginning: that is right for objects that begin on one.
#include "cmd/layout/layout.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { ORDER_COLUMN_MAX = 100, WHY_MAX = 256 };

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

// Saturates: nobody has so many records.
static uint64_t times(uint64_t bytes, uint64_t count)
{
	uint64_t product;
	return __builtin_mul_overflow(bytes, count, &product) || product > INT64_MAX ? INT64_MAX : product;
}

static uint64_t saved(const struct layout *l)
{
	return l->size - l->best_bytes;
}

static bool is_described(const struct layout_report *report, const struct layout *l)
{
	for (size_t i = 0; i < report->pattern_count; i++)
		if (layout_matches(report->patterns[i], l->name))
			return true;
	return false;
}

// ---- a struct as text ---------------------------------------------------------------------------------------------

static void print_place(uint64_t at, uint64_t bits, bool bit_field)
{
	char place[40], size[40];
	if (bit_field || at % 8 != 0)
		snprintf(place, sizeof place, "%" PRIu64 ".%" PRIu64, at / 8, at % 8);
	else
		snprintf(place, sizeof place, "%" PRIu64, at / 8);
	if (bit_field || bits % 8 != 0)
		snprintf(size, sizeof size, "%" PRIu64 " bit%s", bits, plural(bits));
	else
		snprintf(size, sizeof size, "%" PRIu64, bits / 8);
	printf("  %8s %8s  ", place, size);
}

static void print_gap(const struct layout_member *m)
{
	print_place(m->at - m->gap_bits, m->gap_bits, false);
	printf("%s\n", m->gap_asked      ? m->bit_field ? "    -- asked for: the next bit-field begins anew --"
							: "    -- asked for: the next member's alignment --"
		       : m->gap_bits < 8 ? "    -- unused --"
					 : "    -- hole --");
}

static void print_member(const struct layout_report *report, const struct layout *l, const struct layout_member *m,
			 uint64_t *line)
{
	if (m->gap_bits > 0)
		print_gap(m);
	uint64_t at = m->at / 8 / report->line_bytes;
	if (at != *line && !l->is_union)
		printf("  %8s %8s  -- cache line %" PRIu64 " --\n", "", "", at);
	*line = at;
	print_place(m->at, m->bits, m->bit_field);
	printf("%s", m->text);
	if (m->bit_field)
		printf(" : %" PRIu64, m->bits);
	if (m->crosses)
		printf("    [crosses a cache line]");
	if (m->inner_bytes > 0)
		printf("    [%" PRIu64 " byte%s idle inside]", m->inner_bytes, plural(m->inner_bytes));
	printf("\n");
}

static void print_sums(const struct layout *l)
{
	uint64_t idle = l->hole_bytes + l->asked_bytes + l->padding_bytes;
	if (l->is_union || l->open_end)
		printf("  %zu members", l->count);
	else
		printf("  %" PRIu64 " bytes of members", l->size - TARE_MIN(idle, l->size));
	if (l->holes > 0)
		printf(", %" PRIu64 " in %u hole%s", l->hole_bytes, l->holes, plural(l->holes));
	else if (!l->is_union)
		printf(", no holes");
	if (l->asked_bytes > 0)
		printf(", %" PRIu64 " asked for by alignment", l->asked_bytes);
	printf(", %" PRIu64 " of padding at the end\n", l->padding_bytes);
	if (l->crossing > 0)
		printf("  %u member%s that would fit in a cache line stand%s on two\n", l->crossing,
		       plural(l->crossing), l->crossing == 1 ? "s" : "");
}

static void print_order(const struct layout *l)
{
	int column = ORDER_COLUMN_MAX;
	for (size_t i = 0; i < l->count; i++) {
		const struct layout_member *m = &l->members[l->order[i]];
		const char *name = m->name[0] != '\0' ? m->name : m->text;
		int need = (int)strlen(name) + 2;
		if (column + need > ORDER_COLUMN_MAX) {
			printf("%s     ", i == 0 ? "" : "\n");
			column = 5;
		}
		printf(" %s%s", name, i + 1 < l->count ? "," : "\n");
		column += need;
	}
}

static void print_advice(const struct layout_report *report, const struct layout *l)
{
	if (l->order != NULL) {
		printf("  reordered it takes %" PRIu64 " bytes, %" PRIu64 " less", l->best_bytes, saved(l));
		if (report->count > 0) {
			uint64_t total = times(saved(l), report->count);
			printf("; of %" PRIu64 " records %" PRIu64 " bytes (%.1f MiB) less", report->count, total,
			       mib(total));
		}
		printf(":\n");
		print_order(l);
	} else if (l->reorders) {
		printf("  no order of its members takes less\n");
	} else {
		printf("  no order is proposed: %s\n",
		       l->is_union                     ? "a union's members share their place"
		       : l->open_end                   ? "it has virtual base classes"
		       : l->packed                     ? "it is packed already, against its types' alignments"
		       : l->count > LAYOUT_REORDER_MAX ? "it has too many members"
						       : "its members do not stand where C's rules would put them");
	}
}

static void print_struct(const struct layout_report *report, const struct layout *l)
{
	printf("%s %s: %" PRIu64 " byte%s, %" PRIu64 " cache line%s, aligned to %" PRIu64, l->kind, l->name, l->size,
	       plural(l->size), l->lines, plural(l->lines), l->align);
	if (l->file != NULL)
		printf("    (%s:%d)", l->file, l->line);
	printf("\n");
	if (l->count > 0)
		printf("  %8s %8s  member\n", "offset", "size");
	uint64_t line = 0;
	for (size_t i = 0; i < l->count; i++)
		print_member(report, l, &l->members[i], &line);
	if (l->padding_bytes > 0) {
		print_place((l->size - l->padding_bytes) * 8, l->padding_bytes * 8, false);
		printf("    -- padding --\n");
	}
	print_sums(l);
	if (report->count > 0)
		printf("  %" PRIu64 " records take %" PRIu64 " bytes (%.1f MiB)\n", report->count,
		       times(l->size, report->count), mib(times(l->size, report->count)));
	print_advice(report, l);
}

// ---- everything as text -------------------------------------------------------------------------------------------

static void print_overview(const struct layout_report *report)
{
	const struct layout_set *set = report->set;
	printf("%8s %8s %8s %8s %8s%s  struct\n", "size", "lines", "holes", "padding", "saves",
	       report->count > 0 ? "     saves in all" : "");
	for (size_t i = 0; i < set->count; i++) {
		const struct layout *l = set->items[i];
		printf("%8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64, l->size, l->lines,
		       l->hole_bytes, l->padding_bytes, saved(l));
		if (report->count > 0)
			printf(" %16" PRIu64, times(saved(l), report->count));
		printf("  %s", l->name);
		if (l->file != NULL)
			printf(" (%s:%d)", l->file, l->line);
		printf("\n");
	}
	printf("%zu struct%s, all figures bytes but lines; 'tare layout FILE NAME' shows one member by member\n",
	       set->count, plural(set->count));
}

static void print_check(struct layout_report *report, const struct layout_rule *rule, const struct layout *l)
{
	char why[WHY_MAX];
	bool kept = layout_rule_kept(rule, l, why, sizeof why);
	report->broken += !kept;
	printf("%s %s: %" PRIu64 " bytes, %" PRIu64 " of holes, %" PRIu64 " of padding", kept ? "ok  " : "FAIL",
	       l->name, l->size, l->hole_bytes, l->padding_bytes);
	if (!kept)
		printf(": %s", why);
	if (!kept && l->file != NULL)
		printf(" (%s:%d)", l->file, l->line);
	printf("\n");
}

void layout_write_text(struct layout_report *report)
{
	const struct layout_set *set = report->set;
	bool first = true;
	if (report->overview)
		print_overview(report);
	for (size_t i = 0; i < set->count; i++) {
		if (report->overview || !is_described(report, set->items[i]))
			continue;
		printf("%s", first ? "" : "\n");
		print_struct(report, set->items[i]);
		first = false;
	}
	if (report->rule_count > 0 && !first)
		printf("\n");
	for (size_t r = 0; r < report->rule_count; r++)
		for (size_t i = 0; i < set->count; i++)
			if (layout_matches(report->rules[r].name, set->items[i]->name))
				print_check(report, &report->rules[r], set->items[i]);
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

static json_t *json_member(const struct layout_report *report, const struct layout_member *m)
{
	json_t *member = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:I}", "name", m->name, "declaration", m->text,
				   "offset", (json_int_t)(m->at / 8), "bytes", (json_int_t)(m->bits / 8), "line",
				   (json_int_t)(m->at / 8 / report->line_bytes), "crosses_line", (int)m->crosses,
				   "idle_bytes_inside", (json_int_t)m->inner_bytes);
	int rc = member == NULL ? -1 : 0;
	if (rc == 0 && m->bit_field) {
		rc |= json_object_set_new(member, "bit_offset", json_integer((json_int_t)m->at));
		rc |= json_object_set_new(member, "bit_size", json_integer((json_int_t)m->bits));
	}
	if (rc == 0)
		return member;
	json_decref(member);
	return NULL;
}

static json_t *json_gap(const struct layout_member *m)
{
	uint64_t at = m->at - m->gap_bits;
	return json_pack("{s:I, s:I, s:I, s:b, s:s}", "bit_offset", (json_int_t)at, "bits", (json_int_t)m->gap_bits,
			 "bytes", (json_int_t)(m->gap_bits / 8), "asked_for", (int)m->gap_asked, "before", m->name);
}

// NULL: out of memory. json_array_append_new takes even NULL, and says so.
static json_t *json_reordered(const struct layout_report *report, const struct layout *l)
{
	if (!l->reorders)
		return json_null();
	json_t *order = json_array();
	int rc = order == NULL ? -1 : 0;
	for (size_t i = 0; i < l->count && rc == 0; i++) {
		const struct layout_member *m = &l->members[l->order != NULL ? l->order[i] : i];
		rc |= json_array_append_new(order, json_string(m->name[0] != '\0' ? m->name : m->text));
	}
	json_t *total = report->count > 0 ? json_integer((json_int_t)times(saved(l), report->count)) : json_null();
	if (rc == 0)
		return json_pack("{s:I, s:I, s:o, s:o}", "bytes", (json_int_t)l->best_bytes, "saved_bytes",
				 (json_int_t)saved(l), "saved_bytes_in_all", total, "order", order);
	json_decref(order);
	json_decref(total);
	return NULL;
}

static json_t *json_struct(const struct layout_report *report, const struct layout *l, bool whole)
{
	json_t *members = json_array(), *gaps = json_array();
	int rc = 0;
	for (size_t i = 0; i < l->count && whole; i++) {
		rc |= json_array_append_new(members, json_member(report, &l->members[i]));
		if (l->members[i].gap_bits > 0)
			rc |= json_array_append_new(gaps, json_gap(&l->members[i]));
	}
	json_t *root =
	    json_pack("{s:s, s:s, s:s?, s:i, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "kind", l->kind,
		      "name", l->name, "file", l->file, "line", l->line, "bytes", (json_int_t)l->size, "alignment",
		      (json_int_t)l->align, "cache_lines", (json_int_t)l->lines, "packed", (int)l->packed, "holes",
		      (json_int_t)l->holes, "hole_bytes", (json_int_t)l->hole_bytes, "asked_bytes",
		      (json_int_t)l->asked_bytes, "padding_bytes", (json_int_t)l->padding_bytes, "crossing_members",
		      (json_int_t)l->crossing, "reordered", json_reordered(report, l));
	if (whole) {
		rc |= json_object_set_new(root, "members", members);
		rc |= json_object_set_new(root, "gaps", gaps);
	} else {
		json_decref(members);
		json_decref(gaps);
	}
	if (rc == 0)
		return root;
	json_decref(root);
	return NULL;
}

static json_t *json_checks(struct layout_report *report, int *rc)
{
	json_t *checks = json_array();
	for (size_t r = 0; r < report->rule_count; r++) {
		for (size_t i = 0; i < report->set->count; i++) {
			const struct layout *l = report->set->items[i];
			if (!layout_matches(report->rules[r].name, l->name))
				continue;
			char why[WHY_MAX];
			bool kept = layout_rule_kept(&report->rules[r], l, why, sizeof why);
			report->broken += !kept;
			json_t *check = json_pack("{s:s, s:s, s:b, s:s}", "rule", report->rules[r].text, "struct",
						  l->name, "kept", (int)kept, "why", why);
			*rc |= json_array_append_new(checks, check);
		}
	}
	return checks;
}

int layout_write_json(struct layout_report *report)
{
	int rc = 0;
	json_t *structs = json_array();
	for (size_t i = 0; i < report->set->count; i++) {
		const struct layout *l = report->set->items[i];
		if (report->overview || is_described(report, l))
			rc |= json_array_append_new(structs, json_struct(report, l, !report->overview));
	}
	json_t *checks = json_checks(report, &rc);
	json_t *root =
	    json_pack("{s:s?, s:I, s:I, s:o, s:o}", "file", report->path, "line_bytes", (json_int_t)report->line_bytes,
		      "count", (json_int_t)report->count, "structs", structs, "checks", checks);
	if (rc == 0)
		rc = root != NULL ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;
	json_decref(root);
	printf("\n");
	return rc < 0 ? -1 : 0;
}
