// SPDX-License-Identifier: MIT
// A page of the report while it is written: what the files that write it share.
//
//   page.c   tables, plots, sentences
//   judge.c  verdicts, and where Go is ahead
#ifndef TARE_CMD_LAB_DRAFT_H
#define TARE_CMD_LAB_DRAFT_H

#include "cmd/lab/lab.h"

struct lab_draft {
	struct lab *lab;
	const struct lab_page *plan;
	json_t *json;
};

static inline json_t *draft_list(const struct lab_draft *p, const char *key)
{
	return json_object_get(p->json, key);
}

// A line more in one of its lists.
void draft_add(const struct lab_draft *p, const char *list, const char *format, ...) TARE_PRINTF(3, 4);

static inline json_t *draft_result(const struct lab_draft *p, const char *run)
{
	return lab_result(p->lab, p->plan, run);
}

static inline const char *draft_skipped(const json_t *result)
{
	return json_string_value(json_object_get(result, "skipped"));
}

static inline bool draft_done(const json_t *result)
{
	return result != NULL && draft_skipped(result) == NULL;
}

// The run of this name on the page, or NULL.
const struct lab_run *draft_run(const struct lab_draft *p, const char *name);
// A figure as it is shown: scaled, without digits that mean nothing; null: NAN.
json_t *draft_cell(const char *key, double value);
extern const char *const draft_search_columns[]; // of runs that search

// Why no verdict and no sentence can be had of a figure of the page's run of this name, or NULL.
const char *draft_unfit(const struct lab_draft *p, const char *run, const char *key);
// Into the page, and of the acceptance list's points also into that.
void draft_verdicts(const struct lab_draft *p, json_t *acceptance);
// Where ours is not ahead of its peer, or by no more than the spread, or not known, into behind; what could not be
// compared, into the page's notes.
void draft_behind(const struct lab_draft *p, const struct lab_run *run, json_t *behind);
// The same of the probes' costs that the page compares.
void draft_behind_costs(const struct lab_draft *p, json_t *behind);

#endif
