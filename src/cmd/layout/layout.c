// SPDX-License-Identifier: MIT
// `tare layout`: how structs of a program lie in memory, what stands idle in them, and what packing saves; with
// --check, rules that a build can be held to.
//
// Without names it prints an overview of all structs, those first that reordering makes smaller. Threads: one.
// Ownership: what was read is the set's; the lists point into argv.
#include "cmd/layout/layout.h"

#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIST_MAX = 256, LINE_BYTES = 64 };

struct request {
	struct layout_report report;
	const char *struct_items[LIST_MAX], *check_items[LIST_MAX];
	struct cmd_list structs, checks;
	uint64_t holes_max;
	bool holes_given, json;
	struct layout_set set;
	const char *patterns[2 * LIST_MAX]; // of structs, then of rules
	size_t pattern_count;
};

static int parse(struct request *q, int argc, char **argv)
{
	q->structs = (struct cmd_list){q->struct_items, 0, LIST_MAX};
	q->checks = (struct cmd_list){q->check_items, 0, LIST_MAX};
	q->report.line_bytes = LINE_BYTES;
	const struct cmd_option options[] = {
	    {.name = "FILE", .type = CMD_TEXT, .value = &q->report.path, .help = "program, library or object file"},
	    {.name = "STRUCT",
	     .type = CMD_LIST,
	     .value = &q->structs,
	     .help = "names, or patterns such as 'rt_*'; none: an overview of all"},
	    {.name = "count",
	     .type = CMD_U64,
	     .value = &q->report.count,
	     .min = 1,
	     .max = UINT64_C(1) << 50,
	     .placeholder = "N",
	     .help = "tell what N records take, and what reordering saves of it"},
	    {.name = "check",
	     .type = CMD_LIST,
	     .value = &q->checks,
	     .placeholder = "RULE",
	     .help = "fail unless 'NAME', 'NAME<=BYTES' or 'NAME<=BYTES,holes<=BYTES,padding<=BYTES' holds"},
	    {.name = "max-holes",
	     .type = CMD_U64,
	     .value = &q->holes_max,
	     .given = &q->holes_given,
	     .placeholder = "BYTES",
	     .help = "fail where a named struct has more bytes of holes"},
	    {.name = "line",
	     .type = CMD_U64,
	     .value = &q->report.line_bytes,
	     .min = 8,
	     .max = 4096,
	     .placeholder = "BYTES",
	     .help = "of a cache line"},
	    {.name = "json", .type = CMD_FLAG, .value = &q->json, .help = "report as JSON"},
	};
	return cmd_parse("layout", "Shows how structs lie in memory, what stands idle in them, and what packing saves.",
			 options, TARE_ARRAY_LEN(options), argc, argv);
}

// One rule a --check, and with --max-holes one a STRUCT.
static int make_rules(struct request *q)
{
	size_t count = q->checks.count + (q->holes_given ? q->structs.count : 0);
	struct layout_rule *rules = layout_alloc(&q->set.pool, count + 1, sizeof *rules);
	struct tare_error err;
	if (rules == NULL)
		return cmd_fail("layout", "out of memory");
	for (size_t i = 0; i < count; i++) {
		bool check = i < q->checks.count;
		const char *text = check ? q->check_items[i] : q->struct_items[i - q->checks.count];
		if (layout_rule_parse(&rules[i], text, q->holes_max, &err) < 0) {
			(void)cmd_fail("layout", "%s: %s", check ? "--check" : "STRUCT", err.text);
			return CMD_USAGE;
		}
		if (check)
			q->patterns[q->structs.count + i] = rules[i].name;
	}
	for (size_t i = 0; i < q->structs.count; i++)
		q->patterns[i] = q->struct_items[i];
	q->pattern_count = q->structs.count + q->checks.count;
	q->report.patterns = q->patterns;
	q->report.pattern_count = q->structs.count;
	q->report.rules = rules;
	q->report.rule_count = count;
	q->report.overview = q->pattern_count == 0;
	return -1;
}

static int compare_overview(const void *a, const void *b)
{
	const struct layout *left = *(struct layout *const *)a, *right = *(struct layout *const *)b;
	uint64_t l = left->size - left->best_bytes, r = right->size - right->best_bytes;
	if (l != r)
		return l > r ? -1 : 1;
	if (left->hole_bytes != right->hole_bytes)
		return left->hole_bytes > right->hole_bytes ? -1 : 1;
	return strcmp(left->name, right->name);
}

// Every name that was given must be there: a rule for a struct that was renamed holds nothing.
static int find_missing(const struct request *q)
{
	for (size_t p = 0; p < q->pattern_count; p++) {
		bool found = false;
		for (size_t i = 0; i < q->set.count && !found; i++)
			found = layout_matches(q->patterns[p], q->set.items[i]->name);
		if (!found)
			return cmd_fail("layout",
					"%s: its debug information has no struct '%.200s'; 'tare layout FILE' lists "
					"those there are",
					q->report.path, q->patterns[p]);
	}
	return CMD_OK;
}

static int run(struct request *q)
{
	struct tare_error err;
	if (layout_read(&q->set, q->report.path, q->patterns, q->pattern_count, &err) < 0)
		return cmd_fail("layout", "%s", err.text);
	if (find_missing(q) != CMD_OK)
		return CMD_FAILED;
	for (size_t i = 0; i < q->set.count; i++) {
		layout_measure(q->set.items[i], q->report.line_bytes);
		if (layout_reorder(q->set.items[i], &q->set.pool) < 0)
			return cmd_fail("layout", "%s: out of memory", q->report.path);
	}
	if (q->report.overview && q->set.count > 0)
		qsort(q->set.items, q->set.count, sizeof *q->set.items, compare_overview);
	q->report.set = &q->set;
	if (!q->json)
		layout_write_text(&q->report);
	else if (layout_write_json(&q->report) < 0)
		return cmd_fail("layout", "%s: the report could not be written as JSON", q->report.path);
	if (fflush(stdout) != 0 || ferror(stdout))
		return cmd_fail("layout", "standard output: %s", strerror(errno));
	if (q->report.broken > 0)
		return cmd_fail("layout",
				"%s: %zu rule%s broken, see above; reorder the members, or allow what is there",
				q->report.path, q->report.broken, q->report.broken == 1 ? " is" : "s are");
	return CMD_OK;
}

int cmd_layout(int argc, char **argv)
{
	struct request q = {.holes_max = 0};
	int rc = parse(&q, argc, argv);
	if (rc == -1 && q.holes_given && q.structs.count + q.checks.count == 0) {
		(void)cmd_fail("layout", "--max-holes holds named structs to it; name them after FILE, all as '*'");
		rc = CMD_USAGE;
	}
	if (rc == -1)
		rc = make_rules(&q);
	if (rc == -1)
		rc = run(&q);
	layout_set_done(&q.set);
	return rc;
}
