// SPDX-License-Identifier: MIT
// What each step of a request takes the first time: `tare svc --trace-one` in a process of its own, often, and the
// median of each step. Everything is cold: code, data, branches, the kernel's side of the connection. What the steps
// take when all is warm, rows of their own tell.
//
// Threads: one.
#include "cmd/npa/npa.h"

#include <errno.h>
#include <stdlib.h>

enum { RUNS = 15, STEPS = 9 };

struct steps {
	double ns[STEPS][RUNS];
	char titles[STEPS][160];
	int run;
};

static int on_trace(void *arg, json_t *line)
{
	struct steps *steps = arg;
	const json_t *list = json_object_get(line, "steps");
	if (json_array_size(list) != STEPS)
		return -EPROTO;
	for (size_t k = 0; k < STEPS; k++) {
		const json_t *step = json_array_get(list, k);
		steps->ns[k][steps->run] = npa_figure(step, "ns");
		snprintf(steps->titles[k], sizeof steps->titles[k], "Step %zu, %s.", k + 1, npa_text(step, "title"));
	}
	return 0;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// "Step 1, accept: …" is row first_1_accept.
static int append(json_t *rows, struct steps *steps, size_t k)
{
	char name[64];
	const char *word = strchr(steps->titles[k], ',') + 2;
	qsort(steps->ns[k], RUNS, sizeof steps->ns[k][0], compare_doubles);
	snprintf(name, sizeof name, "first_%zu_%.*s", k + 1, (int)strcspn(word, ":"), word);
	json_t *row =
	    json_pack("{s:s, s:s, s:s, s:s, s:f, s:b, s:b}", "row", name, "why", steps->titles[k], "group",
		      "first request", "file", "tare svc", "cold", steps->ns[k][RUNS / 2], "resolved", 1, "traced", 1);
	return row != NULL ? json_array_append_new(rows, row) : -1;
}

int npa_trace_steps(const char *tare, json_t *rows, struct tare_error *err)
{
	static struct steps steps;
	char *argv[] = {NPA_ARG(tare),
			NPA_ARG("svc"),
			NPA_ARG("--trace-one"),
			NPA_ARG("--json"),
			NPA_ARG("--index-size"),
			NPA_ARG("1M"),
			NPA_ARG("--io"),
			NPA_ARG("epoll"),
			NPA_ARG("--path"),
			NPA_ARG("opt"),
			NPA_ARG("--pool"),
			NPA_ARG("on"),
			NULL};
	int rc = 0;
	for (steps.run = 0; steps.run < RUNS && rc == 0; steps.run++)
		rc = npa_ask(argv, on_trace, &steps, err);
	if (rc == -EPROTO)
		return tare_error_set(err, rc, "%s svc --trace-one did not tell of %d steps", tare, STEPS);
	for (size_t k = 0; k < STEPS && rc == 0; k++)
		if (append(rows, &steps, k) < 0)
			rc = tare_error_set(err, -ENOMEM, "out of memory");
	return rc;
}
