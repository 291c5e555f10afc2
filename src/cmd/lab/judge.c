// SPDX-License-Identifier: MIT
// Verdicts on a page's criteria, and where Go is ahead.
//
// What was not measured is not judged: latency of a service that did not answer, pauses of a collector that had nothing
// to do, a difference that is smaller than the spread. Such a verdict is neither met nor missed, and says why.
// Where Go's figure is the better one as it stands, that is told even so.
#include "cmd/lab/draft.h"
#include "cmd/page.h"

#include <math.h>

// ---- verdicts -----------------------------------------------------------------------------------------------------

static bool is_latency(const char *key)
{
	return key[0] == 'p' && key[1] >= '0' && key[1] <= '9';
}

static bool begins_with_one_of(const char *key, const char *const *prefixes)
{
	for (; *prefixes != NULL; prefixes++)
		if (strncmp(key, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

// Figures that mean something only at the rate that was asked for.
static bool is_of_rate(const char *key)
{
	static const char *const prefixes[] = {"cpu_us_per", "gc_cpu_share", "gc_us_per", "cycles_per_s", NULL};
	return is_latency(key) || begins_with_one_of(key, prefixes);
}

// What a request makes is the same at any rate.
static bool is_of_request(const char *key)
{
	return strcmp(key, "allocs_per_request") == 0 || strcmp(key, "bytes_per_request") == 0;
}

// Figures of what collections do.
static bool is_of_collections(const char *key)
{
	static const char *const prefixes[] = {"gc_cpu_share", "gc_us_per",   "pause_p99", "pause_max", "wait_p99",
					       "trace_mark",   "trace_pause", "mark_ms",   NULL};
	return begins_with_one_of(key, prefixes);
}

static bool is_collectors_cpu(const char *key)
{
	static const char *const prefixes[] = {"gc_cpu_share", "gc_us_per", NULL};
	return begins_with_one_of(key, prefixes);
}

static bool has_collector(const json_t *result)
{
	const char *collector = json_string_value(json_object_get(json_object_get(result, "allocs"), "collector"));
	return collector == NULL || strcmp(collector, "none") != 0;
}

// That there is a collector, and it had nothing to do.
static bool was_idle(const json_t *result)
{
	return lab_figure_of(result, "gc_cycles") == 0 && has_collector(result);
}

// That latency is judged of it as of a service that collects, and it made garbage without collecting any.
static bool kept_its_garbage(const struct lab_run *run, const json_t *result)
{
	return was_idle(result) && strstr(run->knobs, "--path=naive") != NULL &&
	       strstr(run->knobs, "--gogc off") == NULL;
}

// What the plan alone makes of a figure, whatever was measured.
static const char *unfit_by_plan(const struct lab_run *run, const char *key)
{
	static const char *const forced[] = {"gc_cpu_share", "gc_us_per", "cycles_per_s", NULL};
	return run->collect && begins_with_one_of(key, forced) ? "a collection was asked for in each window" : NULL;
}

static const char *unfit_as_measured(const struct lab_run *run, const json_t *result, const char *key)
{
	if (json_is_true(json_object_get(result, "generator_limited")) && !is_of_request(key))
		return strcmp(key, "rate_max") == 0 ? "the generator, not the service, may have set it"
						    : "the run was generator-limited";
	if (is_latency(key) && json_is_true(json_object_get(result, "noisy")))
		return "the run was noisy";
	if (is_of_rate(key) && lab_figure_of(result, "missed") > LAB_MISSED_MOST)
		return "more than 1 % of the requests were not answered";
	if (strcmp(key, "p999_us") == 0 && lab_figure_of(result, "missed") > LAB_MISSED_MOST / 10)
		return "more than 0.1 % of the requests were not answered";
	if (is_latency(key) && lab_figure_of(result, "errors") > 0)
		return "requests failed";
	if (is_latency(key) && kept_its_garbage(run, result))
		return "no collection ran in any window: it is no latency of a service that collects";
	if (is_of_collections(key) && was_idle(result))
		return "no collection ran in any window";
	// The mean of the other windows would be without what this one had most of.
	if (is_collectors_cpu(key) && lab_figure_of(result, "gc_cpu_over") > 0)
		return "in a window the collector told more CPU time than its process had";
	return isnan(lab_figure_of(result, key)) ? "the run has no such figure" : NULL;
}

const char *lab_unfit(const struct lab_run *run, const json_t *result, const char *key)
{
	const char *why = unfit_by_plan(run, key);
	return why != NULL ? why : unfit_as_measured(run, result, key);
}

const char *draft_unfit(const struct lab_draft *p, const char *name, const char *key)
{
	const struct lab_run *run = draft_run(p, name);
	const json_t *result = draft_result(p, name);
	if (run == NULL || result == NULL)
		return "the run is no part of this laboratory";
	if (draft_skipped(result) != NULL)
		return draft_skipped(result);
	return lab_unfit(run, result, key);
}

// A point's figure, how far off it may be (of a difference alone), and why there is none.
struct judged {
	const char *why;
	double value, noise;
};

// Why on less off says nothing of the collector.
static const char *unfit_pair(const struct lab_draft *p, const struct lab_criterion *c)
{
	const struct lab_run *off = draft_run(p, c->less);
	if (off == NULL || strstr(off->knobs, "--gogc off") == NULL)
		return NULL;
	if (was_idle(draft_result(p, c->run)))
		return "no collection ran in any window";
	return lab_figure_of(draft_result(p, c->less), "gc_cycles") > 0
		   ? "the run with the collector off had collections"
		   : NULL;
}

static struct judged judge(const struct lab_draft *p, const struct lab_criterion *c)
{
	const json_t *result = draft_result(p, c->run), *less = c->less != NULL ? draft_result(p, c->less) : NULL;
	struct judged j = {.why = draft_unfit(p, c->run, c->key), .value = NAN};
	if (j.why == NULL && c->less != NULL)
		j.why = draft_unfit(p, c->less, c->key);
	if (j.why == NULL)
		j.why = unfit_pair(p, c);
	if (j.why == NULL && c->less != NULL && (!lab_spread_known(result, c->key) || !lab_spread_known(less, c->key)))
		j.why = "one of the two was read in one window: how far another would be from it is not known";
	if (j.why != NULL)
		return j;
	j.value = lab_figure_of(result, c->key);
	if (c->less != NULL) {
		j.value -= lab_figure_of(less, c->key);
		j.noise = fmax(lab_noise_of(result, c->key), lab_noise_of(less, c->key));
	}
	return j;
}

// null: it can't be known.
static json_t *met(const struct judged *j, double bound, bool least)
{
	if (j->why != NULL || bound < 0)
		return json_null();
	if (least)
		return json_boolean(j->value >= bound);
	if (j->value + j->noise <= bound)
		return json_true();
	return j->value - j->noise > bound ? json_false() : json_null();
}

// The point with what it was judged at: the rate, the size where that is not the small one, and how often there was a
// collection.
static json_t *point_text(const struct lab_draft *p, const struct lab_criterion *c, const json_t *result)
{
	const struct lab_run *run = draft_run(p, c->run);
	double rate = json_number_value(json_object_get(result, "rate_asked"));
	double cycles = lab_figure_of(result, "gc_cycles");
	char figure[PAGE_FIGURE], size[PAGE_FIGURE + 16] = "", collections[48] = "";
	if (rate <= 0 || run == NULL)
		return json_string(c->point);
	if (run->size != LAB_SMALL)
		snprintf(size, sizeof size, ", %s of records",
			 page_figure(figure, (double)lab_size_bytes(p->lab, run->size), "B"));
	if (!isnan(cycles) && has_collector(result))
		snprintf(collections, sizeof collections, ", with %.0f collection%s", cycles, cycles == 1 ? "" : "s");
	return json_sprintf("%s (at %.0f requests a second%s%s)", c->point, rate, size, collections);
}

// What is beside a verdict: why there is none, or that it stands on a single reading of what varies.
static const char *reason(const struct lab_draft *p, const struct lab_criterion *c, const struct judged *j,
			  const json_t *is_met)
{
	if (j->why != NULL)
		return j->why;
	if (json_is_null(is_met))
		return "the spread of the two runs is too wide to tell";
	return is_of_rate(c->key) && !lab_spread_known(draft_result(p, c->run), c->key) ? "read in one window" : "";
}

static json_t *verdict(const struct lab_draft *p, const struct lab_criterion *c)
{
	char asked[64], own[64] = "", figure[64] = "", evidence[LAB_NAME] = "";
	struct judged j = judge(p, c);
	lab_figure_text(asked, sizeof asked, c->key, c->most);
	if (c->own >= 0)
		lab_figure_text(own, sizeof own, c->key, c->own);
	if (j.why == NULL)
		lab_figure_text(figure, sizeof figure, c->key, j.value);
	if (draft_done(draft_result(p, c->run)))
		lab_run_name(evidence, p->plan, c->run);
	bool within = j.why == NULL && c->less != NULL && fabs(j.value) <= j.noise;
	json_t *is_met = met(&j, c->most, c->least);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s}", "point", point_text(p, c, draft_result(p, c->run)),
			 "asked", json_sprintf("at %s %s", c->least ? "least" : "most", asked), "figure",
			 json_sprintf("%s%s", figure, within ? ": no difference beyond the spread" : ""), "met", is_met,
			 "own_asked", own[0] != '\0' ? json_sprintf("at most %s", own) : json_string(""), "own_met",
			 met(&j, c->own, false), "evidence", evidence, "why", reason(p, c, &j, is_met));
}

void draft_verdicts(const struct lab_draft *p, json_t *acceptance)
{
	for (size_t i = 0; i < p->plan->criterion_count; i++) {
		json_t *json = verdict(p, &p->plan->criteria[i]);
		json_array_append(draft_list(p, "verdicts"), json);
		// The last list is of what was missed without being asked for there.
		const struct lab_run *run = draft_run(p, p->plan->criteria[i].run);
		int point = p->plan->criteria[i].acceptance;
		bool ours = run != NULL && (run->peer == LAB_TARE || run->peer == LAB_TARE_PROBE);
		if (point == 0 && ours && json_is_false(json_object_get(json, "met")))
			point = LAB_ACCEPTANCE + 1;
		if (point > 0)
			json_array_append(json_array_get(acceptance, (size_t)point - 1), json);
		json_decref(json);
	}
}

// ---- where Go is ahead --------------------------------------------------------------------------------------------

// Go's run of the same work as ours, by name.
static void draft_twin(const struct lab_run *run, char out[LAB_NAME])
{
	snprintf(out, LAB_NAME, "go-%s", run->name + strlen("tare-"));
}

// A line of the list. a: NAN where Tare's is not known. why: the list's.
static void add_behind(const struct lab_draft *p, const char *what, const char *key, double a, double b, json_t *why,
		       json_t *behind)
{
	const struct lab_figure *figure = lab_figure(key);
	json_array_append_new(behind, json_pack("{s:s, s:s, s:o, s:o, s:s, s:o}", "page", p->plan->id, "what", what,
						"tare", draft_cell(key, a), "go", draft_cell(key, b), "unit",
						figure != NULL ? figure->unit : "", "why", why));
}

// Two figures of which the first is ours.
struct pair {
	double a, b, noise;
	bool known;        // noise is
	const char *unfit; // why they can't be compared, or NULL
	bool failed;       // and that is because ours did not answer
};

// What is said of them where ours is not ahead, or by less than the noise; NULL: it is ahead.
static json_t *why_not_ahead(const struct pair *x, bool better)
{
	bool within = x->a == x->b || (x->known && fabs(x->a - x->b) <= x->noise);
	if (better && !x->failed && (!within || x->unfit != NULL))
		return NULL;
	if (x->unfit != NULL)
		return json_sprintf("not judged: %s", x->unfit);
	if (x->a == x->b)
		return json_string("they are equal");
	if (within)
		return json_sprintf("%swithin the windows' spread", better ? "ahead, but " : "");
	return json_string(x->known ? "" : "each was read once");
}

// That the service itself did less than was asked of it, whose other figures look the better for it.
static bool did_not_answer(const json_t *result)
{
	return lab_figure_of(result, "missed") > LAB_MISSED_MOST || lab_figure_of(result, "errors") > 0;
}

// Both reached the end of the search, which says nothing of either's own.
static bool both_held_all(const struct lab_draft *p, const char *key, double a, double b)
{
	return strcmp(key, "rate_max") == 0 && a >= p->lab->high_wanted && b >= p->lab->high_wanted;
}

// One figure of the two. Where it could not be judged and Go's is the better one as it stands, that is told, too; so is
// where ours is not known, and where ours did not answer.
static void behind_figure(const struct lab_draft *p, const struct lab_run *run, const char *against, const char *key,
			  json_t *behind)
{
	const json_t *ours = draft_result(p, run->name), *theirs = draft_result(p, against);
	const struct lab_figure *figure = lab_figure(key);
	struct pair x = {.a = lab_figure_of(ours, key),
			 .b = lab_figure_of(theirs, key),
			 .noise = fmax(lab_noise_of(ours, key), lab_noise_of(theirs, key)),
			 .known = lab_spread_known(ours, key) || lab_spread_known(theirs, key),
			 .unfit = draft_unfit(p, run->name, key)};
	char what[LAB_NAME * 3];
	snprintf(what, sizeof what, "%s, %s against %s", figure != NULL ? figure->title : key, run->name, against);
	if (isnan(x.b) || (x.a == 0 && x.b == 0) || both_held_all(p, key, x.a, x.b))
		return;
	if (isnan(x.a)) {
		// Without a collector there are no pauses to be behind with.
		if (!is_of_collections(key) || has_collector(ours))
			add_behind(p, what, key, x.a, x.b, json_sprintf("not known: %s", x.unfit), behind);
		return;
	}
	x.failed = x.unfit != NULL && did_not_answer(ours) && !did_not_answer(theirs);
	if (x.unfit == NULL)
		x.unfit = draft_unfit(p, against, key);
	if (x.unfit != NULL)
		draft_add(p, "notes", "%s: not compared: %s", what, x.unfit);
	json_t *why = why_not_ahead(&x, strcmp(key, "rate_max") == 0 ? x.a > x.b : x.a < x.b);
	if (why != NULL)
		add_behind(p, what, key, x.a, x.b, why, behind);
}

// Records in the mapped file, where pages of the file are no need of the service's: the system has them back when it
// likes.
static bool is_off_heap(const struct lab_run *run)
{
	return strstr(run->knobs, "--layout=") == NULL || strstr(run->knobs, "--layout=offheap") != NULL;
}

void draft_behind(const struct lab_draft *p, const struct lab_run *run, json_t *behind)
{
	static const char *const keys[] = {"missed",       "cpu_us_per_request", "p99_us", "gc_cpu_share",
					   "pause_p99_us", "rss_bytes",          NULL};
	char twin[LAB_NAME];
	draft_twin(run, twin);
	const char *const others[] = {twin, run->against};
	for (size_t i = 0; i < TARE_ARRAY_LEN(others); i++) {
		const struct lab_run *other = draft_run(p, others[i]);
		if (other == NULL || !draft_done(draft_result(p, others[i])))
			continue;
		bool off_heap = is_off_heap(run) || is_off_heap(other);
		for (const char *const *key = run->load == LAB_SEARCH ? draft_search_columns : keys; *key != NULL;
		     key++)
			behind_figure(p, run, others[i],
				      off_heap && strcmp(*key, "rss_bytes") == 0 ? "anon_bytes" : *key, behind);
	}
}

void draft_behind_costs(const struct lab_draft *p, json_t *behind)
{
	for (size_t i = 0; i < p->plan->lesson_count; i++) {
		const struct lab_lesson *lesson = &p->plan->lessons[i];
		if (lesson->kind == LAB_COST && draft_done(draft_result(p, lesson->b)))
			behind_figure(p, draft_run(p, lesson->a), lesson->b, lesson->key, behind);
	}
}
